//! What a scan says of one signature transaction.
use super::segment::SignatureTx;
use crate::sigtx::{CoseSignature, RawSignature};
use crate::types::{Digest, TxId};

/// A signature transaction. Its values are as claimed; no signature has been verified.
#[derive(Debug)]
pub struct SignatureRecord {
    /// As in its IV.
    pub txid: TxId,
    /// Which of the files.
    pub file_index: usize,
    /// Offset of the entry.
    pub offset: u64,
    /// Root over the leaves before it, computed here; `None` when there was no tree to start from.
    pub root: Option<Digest>,
    /// Every root that it claims is the computed one.
    pub root_holds: bool,
    /// First seqno that the root covers and that this scan has hashed.
    pub first_proven: Option<u64>,
    /// The node's signature.
    pub raw: Option<RawSignature>,
    /// The service's signature.
    pub cose: Option<CoseSignature>,
    pub(super) tree: Option<Vec<u8>>,
    pub(super) malformed: bool,
}

impl SignatureRecord {
    pub(super) fn new(found: SignatureTx, file_index: usize) -> Self {
        let SignatureTx { index: _, txid, offset, raw, cose, tree, malformed } = found;
        Self {
            txid,
            file_index,
            offset,
            root: None,
            root_holds: false,
            first_proven: None,
            raw,
            cose,
            tree,
            malformed,
        }
    }
}
