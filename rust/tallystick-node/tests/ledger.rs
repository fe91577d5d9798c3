//! A node's data plane writes ledgers that the core accepts, whatever happens meanwhile.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]
#[path = "support/fixed.rs"]
mod fixed;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fixed::FixedSigner;
use tallystick_core::types::{Digest, TxId};
use tallystick_node::entry::LedgerSecret;
use tallystick_node::ledger::{LedgerError, Options as LedgerOptions};
use tallystick_node::node::{Node, Options};
use tallystick_node::sequencer::{
    Committing, Observer, Options as SequencerOptions, RootSigner, SignError, SignatureMode, SignedRoot,
    TxStatus,
};

#[derive(Default)]
struct Counting(Arc<AtomicU64>);

impl Observer for Counting {
    fn committed(&self, txid: TxId) {
        self.0.store(txid.seqno, Ordering::SeqCst);
    }
    fn delayed(&self, _error: &LedgerError) {}
}

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("tallystick-node-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    directory
}

fn start(name: &str, signature_tx_count: u64, chunk_size: u64) -> (Node, Arc<AtomicU64>, PathBuf) {
    let directory = directory(name);
    let options = Options {
        sequencer: SequencerOptions {
            view: 2,
            signature_tx_count,
            chunk_size,
            max_uncommitted: 0,
            mode: SignatureMode::Dual,
        },
        ledger: LedgerOptions { directory: directory.clone(), read_only: Vec::new(), sync: false },
        signature_delay: Duration::from_millis(20),
    };
    let counting = Counting::default();
    let seen = Arc::clone(&counting.0);
    let secret = LedgerSecret::new(&[7; 32]).expect("32 bytes");
    (Node::start(options, secret, Arc::new(FixedSigner), counting).expect("starts"), seen, directory)
}

fn put(node: &Node, map: &str, key: u64, value: &[u8]) -> TxId {
    let sequencer = node.sequencer();
    let mut transaction = sequencer.begin();
    transaction.set(map, Bytes::copy_from_slice(&key.to_le_bytes()), Bytes::copy_from_slice(value));
    sequencer.commit(&transaction, Committing::default()).expect("a blind write never conflicts")
}

#[test]
fn batches_end_in_signatures_and_chunks_are_renamed() {
    let (node, seen, directory) = start("batches", 10, 4096);
    let mut last = TxId { view: 0, seqno: 0 };
    for key in 0..200 {
        last = put(&node, "records", key, b"value");
    }
    assert!(node.sequencer().wait_committed(last.seqno, Duration::from_secs(10)));
    assert_eq!(node.sequencer().status(last), TxStatus::Committed);
    let evidence = node.evidence(TxId { view: 2, seqno: 5 }).expect("reads").expect("committed");
    assert_eq!(evidence.signature_seqno, 11);
    assert!(evidence.commit_evidence.starts_with("ce:2.5:"));
    node.stop().expect("stops");
    assert!(seen.load(Ordering::SeqCst) >= last.seqno);
    let mut committed: Vec<_> = std::fs::read_dir(&directory)
        .expect("exists")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".committed"))
        .collect();
    committed.sort();
    assert!(committed.len() > 3, "{committed:?}");
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn a_transaction_that_was_applied_is_acknowledged_although_its_signature_fails() {
    /// Signs only once it is allowed to.
    struct Reluctant(Arc<AtomicU64>);
    impl RootSigner for Reluctant {
        fn sign(&self, root: &Digest, txid: TxId) -> Result<SignedRoot, SignError> {
            match self.0.load(Ordering::SeqCst) {
                0 => Err(SignError("no key".to_owned())),
                _ => FixedSigner.sign(root, txid),
            }
        }
    }
    let directory = directory("reluctant");
    let options = Options {
        sequencer: SequencerOptions {
            view: 2,
            signature_tx_count: 1,
            chunk_size: 1_000_000,
            max_uncommitted: 0,
            mode: SignatureMode::Dual,
        },
        ledger: LedgerOptions { directory: directory.clone(), read_only: Vec::new(), sync: false },
        signature_delay: Duration::from_millis(5),
    };
    let allowed = Arc::new(AtomicU64::new(0));
    let signer = Arc::new(Reluctant(Arc::clone(&allowed)));
    let node =
        Node::start(options, LedgerSecret::new(&[7; 32]).unwrap(), signer, Counting::default()).unwrap();
    let mut transaction = node.sequencer().begin();
    transaction.set("public:records", Bytes::from_static(b"k"), Bytes::from_static(b"v"));
    let txid = node.sequencer().commit(&transaction, Committing::default()).unwrap();
    assert_eq!(node.sequencer().status(txid), TxStatus::Pending);
    assert!(!node.sequencer().wait_committed(txid.seqno, Duration::from_millis(50)));
    allowed.store(1, Ordering::SeqCst);
    assert!(node.sequencer().wait_committed(txid.seqno, Duration::from_secs(20)));
    assert_eq!(node.sequencer().status(txid), TxStatus::Committed);
    drop(node);
    let _ = std::fs::remove_dir_all(&directory);
}
