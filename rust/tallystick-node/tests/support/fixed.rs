//! For tests of everything but signatures.
use tallystick_core::types::{Digest, TxId};
use tallystick_node::sequencer::{RootSigner, SignError, SignedRoot};

/// Signs nothing: what it gives has the form of a signature only.
pub(crate) struct FixedSigner;

impl RootSigner for FixedSigner {
    fn sign(&self, _root: &Digest, _txid: TxId) -> Result<SignedRoot, SignError> {
        Ok(SignedRoot {
            raw: vec![0x30],
            cose: vec![0xd2],
            node_id: "0".repeat(64),
            node_certificate: "cert".to_owned(),
        })
    }
}
