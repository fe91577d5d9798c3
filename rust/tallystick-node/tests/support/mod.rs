//! What tests share that look at the ledger which a node leaves behind.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(missing_docs, reason = "nobody but tests sees it")]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use bytes::Bytes;
use tallystick_core::cbor::Value;
use tallystick_core::cose::sig_structure;
use tallystick_core::merkle::Tree;
use tallystick_core::scan::{Level, Options as ScanOptions, Part, Scanner, Start};
use tallystick_core::types::{Digest, TxId};
use tallystick_node::entry::LedgerSecret;
use tallystick_node::ledger::Options as LedgerOptions;
use tallystick_node::node::{Node, Options};
use tallystick_node::sequencer::{
    Committing, Observer, Options as SequencerOptions, RootSigner, SignError, SignatureMode, SignedRoot,
};

/// Signs with keys of its own. Prehashed signing is not on offer, so the node's signature is over the root's hash:
/// it is as long and as slow as a true one, and the scan does not verify it.
pub struct Signer {
    node: EcdsaKeyPair,
    service: EcdsaKeyPair,
}

impl Signer {
    fn new() -> Self {
        Self {
            node: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap(),
            service: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
        }
    }
}

impl RootSigner for Signer {
    fn sign(&self, root: &Digest, txid: TxId) -> Result<SignedRoot, SignError> {
        let random = SystemRandom::new();
        let id = "0".repeat(64);
        let txid = txid.to_string();
        let mut protected = Vec::new();
        Value::Map(vec![
            (Value::Unsigned(1), Value::Negative(34)),
            (Value::Unsigned(4), Value::Bytes(id.as_bytes())),
            (Value::Unsigned(395), Value::Unsigned(2)),
            (
                Value::Unsigned(15),
                Value::Map(vec![
                    (Value::Unsigned(6), Value::Unsigned(1_700_000_000)),
                    (Value::Unsigned(1), Value::Text("")),
                    (Value::Unsigned(2), Value::Text("")),
                ]),
            ),
            (Value::Text("ccf.v1"), Value::Map(vec![(Value::Text("txid"), Value::Text(&txid))])),
        ])
        .encode(&mut protected);
        let signature = self.service.sign(&random, &sig_structure(&protected, root)).unwrap();
        let mut cose = Vec::new();
        Value::Tag(
            18,
            Box::new(Value::Array(vec![
                Value::Bytes(&protected),
                Value::Map(Vec::new()),
                Value::Null,
                Value::Bytes(signature.as_ref()),
            ])),
        )
        .encode(&mut cose);
        let raw = self.node.sign(&random, root).unwrap().as_ref().to_vec();
        Ok(SignedRoot { raw, cose, node_id: id, node_certificate: String::new() })
    }
}

/// A node that signs often and refuses soon.
pub fn start(directory: &Path, chunk_size: u64, observer: impl Observer) -> Node {
    let options = Options {
        sequencer: SequencerOptions {
            view: 2,
            signature_tx_count: 37,
            chunk_size,
            max_uncommitted: 2000,
            mode: SignatureMode::Dual,
        },
        ledger: LedgerOptions { directory: directory.to_owned(), read_only: Vec::new(), sync: false },
        signature_delay: Duration::from_millis(3),
    };
    Node::start(options, LedgerSecret::new(&[7; 32]).unwrap(), Arc::new(Signer::new()), observer).unwrap()
}

pub fn put(node: &Node, map: &str, key: u64, length: usize) -> TxId {
    loop {
        if node.sequencer().is_saturated() {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let mut transaction = node.sequencer().begin();
        let value = vec![u8::try_from(key % 251).unwrap(); length];
        transaction.set(map, Bytes::copy_from_slice(&key.to_le_bytes()), value.into());
        return node.sequencer().commit(&transaction, Committing::default()).unwrap();
    }
}

/// What the scan says of a file whose writing was cut short.
const CUT: [&str; 1] = ["partial-tail"];

#[derive(Debug)]
pub struct Verified {
    /// Last transaction on disk.
    pub last: u64,
    /// Last signature transaction whose root holds.
    pub signed: u64,
    pub completed_chunks: usize,
}

/// Scans a ledger directory as the auditor does, and panics at whatever a crash cannot explain.
pub fn verify(directory: &Path) -> Verified {
    let mut files: Vec<(u64, PathBuf)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let first = name.trim_start_matches("ledger_").split(['-', '.']).next().unwrap().parse().unwrap();
            (first, path)
        })
        .collect();
    files.sort();
    let completed_chunks = files.iter().filter(|(_, path)| path.extension().is_some()).count();
    // A file that was just created holds nothing yet.
    files.retain(|(_, path)| path.metadata().unwrap().len() > 8);
    let parts: Vec<Part> = files
        .iter()
        .map(|(_, path)| Part { path: path.clone(), first_seqno: None, last_seqno: None })
        .collect();
    let last_part = parts.len().saturating_sub(1);
    let start = Start { tree: Some(Tree::new().frontier()), ..Start::default() };
    let mut scanner = Scanner::new(ScanOptions { parts, level: Level::Merkle, jobs: 1, start });
    let mut verified = Verified { last: 0, signed: 0, completed_chunks };
    while let Some(batch) = scanner.next_batch().unwrap() {
        verified.last = batch.first_seqno + batch.count - 1;
        for signature in &batch.signatures {
            assert!(signature.root_holds, "the root signed in {} is not that of the ledger", signature.txid);
            assert!(signature.raw.is_some() && signature.cose.is_some());
            verified.signed = signature.txid.seqno;
        }
        for finding in &batch.findings {
            // Only the open file may be cut, at its end.
            assert!(finding.file_index == last_part && CUT.contains(&finding.code), "{finding:?}");
        }
    }
    verified
}

pub fn temporary(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("tallystick-crash-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    directory
}
