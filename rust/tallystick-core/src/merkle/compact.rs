//! The value of `public:ccf.internal.tree`: counts in big-endian, the leaves that are still kept, and one
//! root for each complete subtree of the leaves that were flushed.
use super::{Frontier, MerkleError};
use crate::limits::MAX_TREE_SIZE;
use crate::types::Digest;

const COUNTS_BYTES: usize = 16;

/// A compact tree, borrowed from its bytes. Nothing about its hashes is checked.
#[derive(Debug, Clone, Copy)]
pub struct CompactTree<'a> {
    first_kept: u64,
    leaves: &'a [[u8; 32]],
    flushed: &'a [[u8; 32]],
}

impl<'a> CompactTree<'a> {
    /// Parses the whole of `value`.
    ///
    /// # Errors
    /// [`MerkleError`] when the sizes do not agree, or there is no leaf at all.
    pub fn parse(value: &'a [u8]) -> Result<Self, MerkleError> {
        let too_short = MerkleError::CompactSize {
            kept: 0,
            first_kept: 0,
            expected: COUNTS_BYTES as u128,
            actual: value.len(),
        };
        let Some((kept, rest)) = value.split_first_chunk::<8>() else { return Err(too_short) };
        let Some((first_kept, digests)) = rest.split_first_chunk::<8>() else { return Err(too_short) };
        let (kept, first_kept) = (u64::from_be_bytes(*kept), u64::from_be_bytes(*first_kept));
        let size = u128::from(kept) + u128::from(first_kept);
        if size > u128::from(MAX_TREE_SIZE) {
            return Err(MerkleError::SizeLimit { limit: MAX_TREE_SIZE, size });
        }
        if size == 0 {
            return Err(MerkleError::CompactEmpty);
        }
        let expected = COUNTS_BYTES as u128 + 32 * (u128::from(kept) + u128::from(first_kept.count_ones()));
        let mismatch = MerkleError::CompactSize { kept, first_kept, expected, actual: value.len() };
        if expected != value.len() as u128 {
            return Err(mismatch);
        }
        // The size is right, so both counts fit.
        let (digests, _) = digests.as_chunks::<32>();
        let Some((leaves, flushed)) =
            usize::try_from(kept).ok().and_then(|kept| digests.split_at_checked(kept))
        else {
            return Err(mismatch);
        };
        Ok(Self { first_kept, leaves, flushed })
    }

    /// Index of the first leaf that is kept.
    #[must_use]
    pub fn first_kept(&self) -> u64 {
        self.first_kept
    }

    /// Number of leaves, flushed ones included.
    #[must_use]
    pub fn size(&self) -> u64 {
        // Bounded by MAX_TREE_SIZE in `parse`.
        self.first_kept + self.leaves.len() as u64
    }

    /// The kept leaves, `first_kept` first.
    #[must_use]
    pub fn leaves(&self) -> &'a [Digest] {
        self.leaves
    }

    /// The roots of the flushed subtrees, smallest subtree first: one for each set bit of `first_kept`.
    #[must_use]
    pub fn flushed(&self) -> &'a [Digest] {
        self.flushed
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.frontier().root()
    }

    /// The tree in logarithmic space.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        let mut frontier = self.flushed_frontier();
        for leaf in self.leaves {
            frontier.append(leaf);
        }
        frontier
    }

    /// The tree over the flushed leaves alone; empty when there are none.
    #[must_use]
    pub fn flushed_frontier(&self) -> Frontier {
        Frontier::from_peaks(self.first_kept, self.flushed.iter().rev().copied().collect())
    }
}

/// Writes a compact tree.
pub(super) fn encode<'l>(
    first_kept: u64,
    leaves: &[Digest],
    flushed_smallest_first: impl Iterator<Item = &'l Digest>,
) -> Vec<u8> {
    let mut value = Vec::with_capacity(COUNTS_BYTES + 32 * (leaves.len() + 64));
    value.extend_from_slice(&(leaves.len() as u64).to_be_bytes());
    value.extend_from_slice(&first_kept.to_be_bytes());
    value.extend_from_slice(leaves.as_flattened());
    for root in flushed_smallest_first {
        value.extend_from_slice(root);
    }
    value
}
