//! CCF's Merkle tree over transactions.
//!
//! Leaf 0 is 32 zero bytes, leaf *i* belongs to the transaction with seqno *i*, an inner node is
//! SHA-256(left ‖ right) and an odd last node is promoted unchanged. The shape is that of RFC 6962, without
//! its prefixes: a leaf and an inner node cannot be told apart by their hash, so whoever checks a path must
//! also check its shape ([`directions`], [`tree_sizes`]).
mod compact;
mod proof;
mod tree;

pub use compact::CompactTree;
pub use proof::{PathStep, directions, fold_path, tree_sizes};
pub use tree::{Frontier, Tree, subtree_root};

use sha2::{Digest as _, Sha256};

use crate::error::coded;
use crate::types::Digest;

/// Leaf 0 of every tree.
pub const ZERO_LEAF: Digest = [0; 32];

/// The parent of two nodes.
#[must_use]
#[inline]
pub fn hash_pair(left: &Digest, right: &Digest) -> Digest {
    let mut both = [0; 64];
    let (first, second) = both.split_at_mut(32);
    first.copy_from_slice(left);
    second.copy_from_slice(right);
    Sha256::digest(both).into()
}

/// What can be wrong with a tree value, or with a question put to a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MerkleError {
    /// The bytes do not hold the counts that they announce.
    #[error("compact tree: expected {expected} bytes for {kept} leaves from leaf {first_kept}, got {actual}")]
    CompactSize {
        /// Leaves announced.
        kept: u64,
        /// First kept leaf announced.
        first_kept: u64,
        /// Bytes that these counts need; at least 16.
        expected: u128,
        /// Bytes at hand.
        actual: usize,
    },
    /// A tree holds at least the zero leaf.
    #[error("compact tree: expected at least one leaf, got none")]
    CompactEmpty,
    /// More leaves than any ledger can have.
    #[error("Merkle tree: expected at most {limit} leaves, got {size}")]
    SizeLimit {
        /// The limit.
        limit: u64,
        /// The size met.
        size: u128,
    },
    /// Leaves come as a multiple of 32 bytes.
    #[error("leaves: expected a multiple of 32 bytes, got {actual}")]
    LeafBytes {
        /// Bytes at hand.
        actual: usize,
    },
    /// A leaf that this tree does not hold.
    #[error("Merkle tree: expected a leaf index from {first} to below {end}, got {index}")]
    IndexOutOfRange {
        /// First leaf kept.
        first: u64,
        /// End of the leaves.
        end: u64,
        /// The index asked for.
        index: u64,
    },
    /// A tree size that this tree cannot answer for.
    #[error("Merkle tree: expected a size from {first} to {last}, got {size}")]
    SizeOutOfRange {
        /// Smallest size.
        first: u64,
        /// Largest size.
        last: u64,
        /// The size asked for.
        size: u64,
    },
    /// A subtree can only follow a multiple of its own number of leaves.
    #[error(
        "Merkle tree: expected a size that is a multiple of {span} before a subtree of {span} leaves, got {size}"
    )]
    SubtreeUnaligned {
        /// Leaves of the subtree.
        span: u64,
        /// Size of the tree it was appended to.
        size: u64,
    },
}

coded!(MerkleError {
    CompactSize => "merkle-compact-size",
    CompactEmpty => "merkle-compact-empty",
    SizeLimit => "merkle-tree-size-limit",
    LeafBytes => "merkle-leaf-bytes",
    IndexOutOfRange => "merkle-index-out-of-range",
    SizeOutOfRange => "merkle-size-out-of-range",
    SubtreeUnaligned => "merkle-subtree-unaligned",
} limits { SizeLimit });

#[cfg(test)]
mod tests;
