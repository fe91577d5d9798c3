//! What a scan reports. The severity of each code, and the prose about it, are the caller's.
use crate::error::Coded;
use crate::types::TxId;

macro_rules! scan_codes {
    ($($(#[doc = $meaning:literal])+ $variant:ident => $code:literal),+ $(,)?) => {
        /// Codes of what only a scan can see: entries beside each other, and beside the tree.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ScanCode {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl ScanCode {
            /// The stable code.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }
        }

        /// The code of every finding that only a scan can make.
        pub const CODES: &[&str] = &[$($code),+];
    };
}

scan_codes! {
    /// The next transaction of the ledger is not the one that follows: some are missing in between.
    SeqnoGap => "seqno-gap",
    /// The next transaction of the ledger has a seqno that was there before, or is out of order.
    SeqnoRepeated => "seqno-repeated",
    /// A transaction has a lower view than the one before it.
    ViewDecreases => "view-decreases",
    /// The view changes although the transaction before it is not a signature transaction.
    ViewChangeUnsigned => "view-change-unsigned",
    /// A chunk holds no entry at all: left behind by a node that stopped in time. Nothing is missing.
    ChunkEmpty => "chunk-empty",
    /// The last entry of an open chunk is half-written: a crash image. The node would cut it off.
    PartialTail => "partial-tail",
    /// The last entry of an open chunk runs past its end, and more than the beginning of one entry stands there.
    TailDamaged => "tail-damaged",
    /// A complete chunk does not end on a signature transaction.
    ChunkEndNotSignature => "chunk-end-not-signature",
    /// A signature transaction writes a table that has no place in it.
    SignatureExtraTable => "signature-tx-extra-table",
    /// A table of a signature transaction is not one value under the key of eight zero bytes.
    SignatureTableShape => "signature-tx-table-shape",
    /// A signature transaction without a node signature and without a COSE signature.
    SignatureMissing => "signature-missing",
    /// A signature transaction without its Merkle tree.
    SignatureTreeMissing => "signature-tree-missing",
    /// A signature names another transaction than the one that it is in.
    SignatureTxid => "signature-txid",
    /// A signature transaction has a claims digest that is not zero.
    SignatureClaims => "signature-tx-claims",
    /// A signature transaction has a private part.
    SignaturePrivate => "signature-tx-private",
    /// The tree in a signature transaction covers another number of transactions than come before it.
    SignatureTreeSize => "signature-tree-size",
    /// The tree in a signature transaction has another root than the transactions before it.
    SignatureTreeRoot => "signature-tree-root",
    /// The root that was signed and the root of the tree beside it differ, and no other tree can tell which is right.
    SignatureRootsDiffer => "signature-roots-differ",
    /// The root that was signed is not that of the transactions before it.
    RootMismatch => "root-mismatch",
    /// A transaction is not the one whose leaf a later signature covers: it was changed, or put in another place.
    LeafDiffers => "leaf-differs",
}

/// One finding, at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable code.
    pub code: &'static str,
    /// One line: what was expected, what was met.
    pub message: String,
    /// Which of the files.
    pub file_index: usize,
    /// Offset in the file.
    pub offset: Option<u64>,
    /// The transaction, as far as it is known.
    pub txid: Option<TxId>,
}

impl Finding {
    pub(super) fn scan(code: ScanCode, message: String, place: Place) -> Self {
        Self {
            code: code.code(),
            message,
            file_index: place.file_index,
            offset: Some(place.offset),
            txid: place.txid,
        }
    }

    pub(super) fn of(error: &dyn Coded, place: Place) -> Self {
        Self {
            code: error.code(),
            message: error.to_string(),
            file_index: place.file_index,
            offset: Some(place.offset),
            txid: place.txid,
        }
    }
}

/// Where something was met.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub file_index: usize,
    pub offset: u64,
    pub txid: Option<TxId>,
}
