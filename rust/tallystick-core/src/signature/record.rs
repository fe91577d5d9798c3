//! The checks that a scanned signature transaction asks for.
use std::sync::Arc;

use super::{Check, Claim, PublicKey};
use crate::limits::MAX_TREE_SIZE;
use crate::scan::SignatureRecord;

/// Why a record cannot be checked against a key that was given for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There is nothing to compare the signature with.
    #[error("signature transaction {seqno}: expected a computed root to check signatures over, got none")]
    NoRoot {
        /// The transaction.
        seqno: u64,
    },
    /// Its tags would not fit; no ledger is this long.
    #[error("signature transaction {seqno}: expected a seqno below {limit}")]
    SeqnoLimit {
        /// The transaction.
        seqno: u64,
        /// The limit.
        limit: u64,
    },
    /// A key for a signature that is not there.
    #[error("signature transaction {seqno}: expected a {which} signature to check, got none")]
    NoSignature {
        /// The transaction.
        seqno: u64,
        /// Node or COSE.
        which: &'static str,
    },
}

/// The checks of `record`: its node signature under `node_key` with tag 2 × seqno, its COSE signature under
/// `service_key` with tag 2 × seqno + 1, both over the root that was computed here. Without a key, no check.
///
/// # Errors
/// [`RecordError`] when a key is given and there is nothing that it could be tried on: skipping in silence
/// would pass for success.
pub fn record_checks(
    record: &SignatureRecord,
    node_key: Option<&Arc<PublicKey>>,
    service_key: Option<&Arc<PublicKey>>,
) -> Result<Vec<(u64, Check)>, RecordError> {
    let seqno = record.txid.seqno;
    if seqno >= MAX_TREE_SIZE {
        return Err(RecordError::SeqnoLimit { seqno, limit: MAX_TREE_SIZE });
    }
    let mut checks = Vec::with_capacity(2);
    let root = || record.root.ok_or(RecordError::NoRoot { seqno });
    if let Some(key) = node_key {
        let raw = record.raw.as_ref().ok_or(RecordError::NoSignature { seqno, which: "node" })?;
        let claim = Claim::Prehashed(root()?);
        checks.push((2 * seqno, Check { key: Arc::clone(key), claim, signature: raw.signature.clone() }));
    }
    if let Some(key) = service_key {
        let cose = record.cose.as_ref().ok_or(RecordError::NoSignature { seqno, which: "COSE" })?;
        let claim = Claim::Cose { message: cose.signed_bytes(&root()?), algorithm: cose.algorithm };
        checks
            .push((2 * seqno + 1, Check { key: Arc::clone(key), claim, signature: cose.signature.clone() }));
    }
    Ok(checks)
}
