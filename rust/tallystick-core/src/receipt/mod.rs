//! Receipts: what CCF hands out to prove that a transaction is in its ledger.
//!
//! [`JsonReceipt`] is the older form, signed by a node over the root; [`CoseReceipt`] is the CCF profile of COSE
//! receipts (RFC 9942, draft-ietf-scitt-receipts-ccf-profile), signed by the service. Parsing computes leaves and
//! roots and refuses what contradicts itself; no signature is verified and nothing is trusted here.
mod cose;
mod json;

pub use cose::{CoseProof, CoseReceipt};
pub use json::{JsonReceipt, Leaf};

use sha2::{Digest as _, Sha256};

use crate::cbor::CborError;
use crate::cose::CoseError;
use crate::error::Coded;
use crate::json::JsonError;
use crate::limits::{MAX_COMMIT_EVIDENCE_CHARS, MAX_PATH_LENGTH, MAX_RECEIPT_BYTES};
use crate::types::{Digest, TxId, digest_from_hex};

/// Codes of this module; those of [`crate::json`], [`crate::cbor`] and [`crate::cose`] pass through it.
pub const CODES: &[&str] = &[
    "receipt-too-large",
    "receipt-field-missing",
    "receipt-field-twice",
    "receipt-leaf-ambiguous",
    "receipt-hex",
    "receipt-base64",
    "receipt-commit-evidence",
    "receipt-path-step",
    "receipt-path-too-long",
    "receipt-path-shape",
    "receipt-too-many-endorsements",
    "receipt-untagged",
    "receipt-payload-attached",
    "receipt-header-missing",
    "receipt-vds",
    "receipt-proofs",
    "receipt-proof-duplicate",
    "receipt-proof-members",
    "receipt-leaf-members",
    "receipt-digest-size",
    "receipt-view-order",
];

/// Why a document is not the receipt that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Larger than the limit.
    #[error("receipt: expected at most {limit} bytes, got {actual}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// Bytes given.
        actual: usize,
    },
    /// Not strict JSON, or of another type.
    #[error("receipt: {0}")]
    Json(#[from] JsonError),
    /// Not a strict COSE_Sign1, or with other headers.
    #[error("receipt: {0}")]
    Cose(#[from] CoseError),
    /// Not strict CBOR, in proof `index`.
    #[error("receipt: inclusion proof {index}: {error}")]
    Proof {
        /// Position among the proofs, from 0.
        index: usize,
        /// What is wrong, with its offset into the proof.
        error: CborError,
    },
    /// A field that every receipt has.
    #[error("receipt: expected field {field:?}, got none")]
    FieldMissing {
        /// The field.
        field: &'static str,
    },
    /// A field in both spellings.
    #[error("receipt: expected field {field:?} once, got it in both spellings")]
    FieldTwice {
        /// The field, in snake case.
        field: &'static str,
    },
    /// A leaf beside its components, or neither.
    #[error("receipt: expected either \"leaf\" or \"leaf_components\", got {got}")]
    LeafAmbiguous {
        /// What is there.
        got: &'static str,
    },
    /// Not a digest in hex.
    #[error("receipt: expected 64 lower-case hexadecimal digits as {field:?}, got {actual:?}")]
    Hex {
        /// The field.
        field: &'static str,
        /// The text, cut to 80 characters.
        actual: String,
    },
    /// Not base64.
    #[error("receipt: expected base64 as \"signature\", got {actual:?}")]
    Base64 {
        /// The text, cut to 80 characters.
        actual: String,
    },
    /// Not a commit evidence text.
    #[error("receipt: expected commit evidence ce:VIEW.SEQNO:HEX64, got {actual:?}")]
    CommitEvidence {
        /// The text, cut to 80 characters.
        actual: String,
    },
    /// A step of a JSON path that is not one sibling.
    #[error("receipt: expected exactly one of \"left\" and \"right\" in step {index} of the path, got {got}")]
    PathStep {
        /// Position, from 0.
        index: usize,
        /// What is there.
        got: String,
    },
    /// Longer than any path.
    #[error("receipt: expected at most {limit} steps in the path, got {actual}")]
    PathTooLong {
        /// The limit.
        limit: usize,
        /// Steps met; at least.
        actual: u64,
    },
    /// A path that no leaf at this place has.
    #[error(
        "receipt: expected the path of leaf {index} in a tree of {size} leaves, got directions {directions:?}"
    )]
    PathShape {
        /// Leaf index: the seqno in the commit evidence.
        index: u64,
        /// Tree size: the seqno of the signature transaction, if known.
        size: Shown,
        /// L and R, from the leaf up.
        directions: String,
    },
    /// More endorsement certificates than the limit.
    #[error("receipt: expected at most {limit} service endorsements, got more")]
    TooManyEndorsements {
        /// The limit.
        limit: usize,
    },
    /// COSE receipts of CCF are tagged.
    #[error("COSE receipt: expected tag 18, got an untagged array")]
    Untagged,
    /// The payload is the root, which is computed and never attached.
    #[error("COSE receipt: expected a detached payload, got {length} bytes")]
    PayloadAttached {
        /// Bytes attached.
        length: usize,
    },
    /// A header that every COSE receipt has.
    #[error("COSE receipt: expected header {name}, got none")]
    HeaderMissing {
        /// The header.
        name: &'static str,
    },
    /// Another verifiable data structure.
    #[error("COSE receipt: expected verifiable data structure 2 (CCF ledger), got {vds}")]
    Vds {
        /// The value met.
        vds: i64,
    },
    /// Proofs in another shape.
    #[error("COSE receipt: expected proofs {{-1: [bstr, …]}} with at least one in header 396, got {got}")]
    Proofs {
        /// What is there.
        got: String,
    },
    /// A proof twice.
    #[error("COSE receipt: expected each inclusion proof once, got proof {index} again")]
    ProofDuplicate {
        /// Position of the second one, from 0.
        index: usize,
    },
    /// A proof that is not {1: leaf, 2: path}.
    #[error("COSE receipt: expected members 1 (leaf) and 2 (path) in inclusion proof {index}, got {got}")]
    ProofMembers {
        /// Position, from 0.
        index: usize,
        /// What is there.
        got: String,
    },
    /// A leaf or a step that has another number of members.
    #[error(
        "COSE receipt: expected {expected} members in the {what} of inclusion proof {index}, got {actual}"
    )]
    LeafMembers {
        /// Position, from 0.
        index: usize,
        /// Leaf or step.
        what: &'static str,
        /// How many there should be.
        expected: u64,
        /// How many there are.
        actual: u64,
    },
    /// A digest of another size.
    #[error("COSE receipt: expected 32 bytes as {what} of inclusion proof {index}, got {actual}")]
    DigestSize {
        /// Position, from 0.
        index: usize,
        /// Which digest.
        what: &'static str,
        /// Bytes met.
        actual: usize,
    },
    /// A transaction of a later view than the signature over it.
    #[error("COSE receipt: expected a transaction of view {signature} or before, got {transaction}")]
    ViewOrder {
        /// View of the signature transaction.
        signature: u64,
        /// The transaction that is claimed to be covered.
        transaction: TxId,
    },
}

/// A number, or that it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown(pub Option<u64>);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("any number of"),
        }
    }
}

impl ReceiptError {
    /// Offset into the document, where one is known.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        match self {
            Self::Json(error) => Some(error.offset()),
            Self::Cose(error) => error.offset(),
            _ => None,
        }
    }
}

impl Coded for ReceiptError {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "receipt-too-large",
            Self::Json(error) => error.code(),
            Self::Cose(error) => error.code(),
            Self::Proof { error, .. } => error.code(),
            Self::FieldMissing { .. } => "receipt-field-missing",
            Self::FieldTwice { .. } => "receipt-field-twice",
            Self::LeafAmbiguous { .. } => "receipt-leaf-ambiguous",
            Self::Hex { .. } => "receipt-hex",
            Self::Base64 { .. } => "receipt-base64",
            Self::CommitEvidence { .. } => "receipt-commit-evidence",
            Self::PathStep { .. } => "receipt-path-step",
            Self::PathTooLong { .. } => "receipt-path-too-long",
            Self::PathShape { .. } => "receipt-path-shape",
            Self::TooManyEndorsements { .. } => "receipt-too-many-endorsements",
            Self::Untagged => "receipt-untagged",
            Self::PayloadAttached { .. } => "receipt-payload-attached",
            Self::HeaderMissing { .. } => "receipt-header-missing",
            Self::Vds { .. } => "receipt-vds",
            Self::Proofs { .. } => "receipt-proofs",
            Self::ProofDuplicate { .. } => "receipt-proof-duplicate",
            Self::ProofMembers { .. } => "receipt-proof-members",
            Self::LeafMembers { .. } => "receipt-leaf-members",
            Self::DigestSize { .. } => "receipt-digest-size",
            Self::ViewOrder { .. } => "receipt-view-order",
        }
    }

    fn is_limit(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::TooManyEndorsements { .. } => true,
            Self::Json(error) => error.is_limit(),
            Self::Cose(error) => error.is_limit(),
            Self::Proof { error, .. } => error.is_limit(),
            _ => false,
        }
    }
}

/// Text that only the service could make, `ce:VIEW.SEQNO:HEX64`; its digest is part of the leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitEvidence {
    text: String,
    txid: TxId,
}

impl CommitEvidence {
    /// Parses the text.
    ///
    /// # Errors
    /// [`ReceiptError::CommitEvidence`].
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        let parsed = || {
            // The profile allows 1024 characters of it; the form that CCF writes has fewer than 120.
            let short = text.len() <= MAX_COMMIT_EVIDENCE_CHARS;
            let (txid, nonce) = text.strip_prefix("ce:").filter(|_| short)?.split_once(':')?;
            digest_from_hex(nonce)?;
            TxId::parse(txid)
        };
        match parsed() {
            Some(txid) => Ok(Self { text: text.to_owned(), txid }),
            None => Err(ReceiptError::CommitEvidence { actual: cut(text) }),
        }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The transaction that it speaks of.
    #[must_use]
    pub fn txid(&self) -> TxId {
        self.txid
    }

    /// SHA-256 of the text, as the ledger holds it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Sha256::digest(self.text.as_bytes()).into()
    }
}

/// The leaf of an entry with commit evidence; `claims` is absent in entries of type 3.
#[must_use]
pub fn leaf_hash(write_set_digest: &Digest, evidence: &CommitEvidence, claims: Option<&Digest>) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(write_set_digest);
    hasher.update(evidence.digest());
    if let Some(claims) = claims {
        hasher.update(claims);
    }
    hasher.finalize().into()
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

fn letters(directions: impl IntoIterator<Item = bool>) -> String {
    directions.into_iter().map(|left| if left { 'L' } else { 'R' }).collect()
}

fn check_size(document: &[u8]) -> Result<(), ReceiptError> {
    let actual = document.len();
    if actual as u64 > MAX_RECEIPT_BYTES {
        return Err(ReceiptError::TooLarge { limit: MAX_RECEIPT_BYTES, actual });
    }
    Ok(())
}

fn check_path_length(actual: u64) -> Result<(), ReceiptError> {
    if actual > MAX_PATH_LENGTH as u64 {
        return Err(ReceiptError::PathTooLong { limit: MAX_PATH_LENGTH, actual });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
