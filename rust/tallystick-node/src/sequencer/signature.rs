//! Signature transactions: what signs a root, and the rows that say so (CCF: signature transactions).
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tallystick_core::types::{Digest, TxId, to_hex};

use crate::kv::WriteSet;

/// Key of a table with one row.
pub const SINGLETON: &[u8] = &[0; 8];
const RAW_TABLE: &str = "public:ccf.internal.signatures";
const COSE_TABLE: &str = "public:ccf.internal.cose_signatures";
const TREE_TABLE: &str = "public:ccf.internal.tree";

/// Which signatures a signature transaction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureMode {
    /// The node's and the service's.
    Dual,
    /// The service's COSE signature only.
    CoseOnly,
}

/// A signature could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the Merkle root could not be signed: {0}")]
pub struct SignError(pub String);

/// What signing a root gives.
#[derive(Debug)]
pub struct SignedRoot {
    /// Node's ECDSA signature over the root used as a digest, DER.
    pub raw: Vec<u8>,
    /// Service's COSE_Sign1 over the root, payload detached.
    pub cose: Vec<u8>,
    /// ID of the signing node.
    pub node_id: String,
    /// PEM of its certificate, as endorsed by the service.
    pub node_certificate: String,
}

/// Holds the node's and the service's keys.
pub trait RootSigner: Send + Sync + 'static {
    /// Signs `root` as of signature transaction `txid`.
    ///
    /// # Errors
    /// [`SignError`] when a key cannot be used.
    fn sign(&self, root: &Digest, txid: TxId) -> Result<SignedRoot, SignError>;
}

/// The write set of signature transaction `txid` over `root`.
pub(super) fn write_set(
    mode: SignatureMode,
    signed: &SignedRoot,
    root: &Digest,
    txid: TxId,
    tree: Vec<u8>,
) -> WriteSet {
    let mut writes = WriteSet::new();
    let mut put = |table: &str, value: Vec<u8>| {
        writes.entry(Arc::from(table)).or_default().insert(Bytes::from_static(SINGLETON), Some(value.into()));
    };
    if mode == SignatureMode::Dual {
        // Keys in CCF's order, which is alphabetical.
        let row = serde_json::json!({
            "cert": signed.node_certificate,
            "commit_seqno": 0,
            "commit_view": 0,
            "hashed_nonce": "0".repeat(64),
            "node": signed.node_id,
            "root": to_hex(root),
            "seqno": txid.seqno,
            "sig": STANDARD.encode(&signed.raw),
            "view": txid.view,
        });
        put(RAW_TABLE, row.to_string().into_bytes());
    }
    put(COSE_TABLE, format!("\"{}\"", STANDARD.encode(&signed.cose)).into_bytes());
    put(TREE_TABLE, tree);
    writes
}
