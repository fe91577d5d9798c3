//! Whatever kills a node, its ledger verifies up to its last signature, and holds all that was called committed.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails, and this one reads and writes files"
)]
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
use tallystick_node::ledger::{LedgerError, LedgerFiles, Options as LedgerOptions};
use tallystick_node::node::{Node, Options};
use tallystick_node::sequencer::{
    Committing, Observer, Options as SequencerOptions, RootSigner, SignError, SignatureMode, SignedRoot,
};

/// Set in the process that is to be killed: where it writes its ledger.
const DIRECTORY: &str = "TALLYSTICK_CRASH_DIRECTORY";
/// How often a process is killed; `TALLYSTICK_CRASHES` overrides it.
const CRASHES: u64 = 200;

/// Signs with keys of its own. Prehashed signing is not on offer, so the node's signature is over the root's hash:
/// it is as long and as slow as a true one, and the scan does not verify it.
struct Signer {
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

/// Says on standard output what is committed, in one write a line, so that a killed process leaves whole lines.
struct Telling;

impl Observer for Telling {
    fn committed(&self, txid: TxId) {
        let line = format!("committed {}\n", txid.seqno);
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
        let _ = std::io::stdout().lock().flush();
    }
    fn delayed(&self, _error: &LedgerError) {}
}

fn start(directory: &Path, chunk_size: u64, observer: impl Observer) -> Node {
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

fn put(node: &Node, map: &str, key: u64, length: usize) -> TxId {
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

/// Not a test by itself: what [`a_killed_node_loses_nothing_that_it_called_committed`] starts and kills.
#[test]
fn write_until_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let node = Arc::new(start(Path::new(&directory), 20_000, Telling));
    let writers: Vec<_> = (0..3_u64)
        .map(|writer| {
            let node = Arc::clone(&node);
            std::thread::spawn(move || {
                for number in 0.. {
                    let map = if writer == 0 { "public:records" } else { "records" };
                    put(&node, map, number, usize::try_from(number % 300).unwrap());
                }
            })
        })
        .collect();
    for writer in writers {
        let _ = writer.join();
    }
}

/// What the scan says of a file whose writing was cut short.
const CUT: [&str; 1] = ["partial-tail"];

#[derive(Debug)]
struct Verified {
    /// Last transaction on disk.
    last: u64,
    /// Last signature transaction whose root holds.
    signed: u64,
    completed_chunks: usize,
}

/// Scans a ledger directory as the auditor does, and panics at whatever a crash cannot explain.
fn verify(directory: &Path) -> Verified {
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

fn temporary(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("tallystick-crash-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    directory
}

#[test]
fn a_killed_node_loses_nothing_that_it_called_committed() {
    let crashes =
        std::env::var("TALLYSTICK_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(CRASHES);
    let directory = temporary("kill");
    let (mut transactions, mut chunks, mut torn) = (0, 0, 0);
    for crash in 0..crashes {
        let _ = std::fs::remove_dir_all(&directory);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["write_until_killed", "--exact", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, &directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let told = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&told);
        let reader = std::thread::spawn(move || {
            for line in output.lines() {
                let Ok(line) = line else { break };
                // The harness prints a heading before the first of them.
                if let Some((_, seqno)) = line.split_once("committed ") {
                    seen.store(seqno.parse().unwrap(), Ordering::SeqCst);
                }
            }
        });
        while told.load(Ordering::SeqCst) == 0 {
            assert!(child.try_wait().unwrap().is_none(), "the writer ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Spread over the life of several batches, chunks and renames.
        std::thread::sleep(Duration::from_micros(crash * 7919 % 40_000));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        let committed = told.load(Ordering::SeqCst);
        let verified = verify(&directory);
        assert!(committed <= verified.signed, "called committed: {committed}, on disk: {verified:?}");
        transactions += verified.signed;
        chunks += verified.completed_chunks;
        torn += u64::from(verified.last > verified.signed);
    }
    let _ = std::fs::remove_dir_all(&directory);
    println!("{crashes} kills: {transactions} transactions, {chunks} chunks, {torn} unsigned tails");
    assert!(chunks > 0 && transactions > crashes);
}

#[test]
fn a_full_disk_delays_commits_and_loses_nothing() {
    /// Whether the disk refused anything.
    struct Refusals(Arc<AtomicU64>);
    impl Observer for Refusals {
        fn committed(&self, _txid: TxId) {}
        fn delayed(&self, _error: &LedgerError) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let directory = temporary("full");
    let refusals = Arc::new(AtomicU64::new(0));
    let node = start(&directory, 4000, Refusals(Arc::clone(&refusals)));
    let first = put(&node, "public:records", 0, 100);
    assert!(node.sequencer().wait_committed(first.seqno, Duration::from_secs(10)));
    // Where the next chunk would go, there is no room: a directory stands in its place.
    let mut last = first;
    let mut blocked = None;
    for number in 1..400 {
        last = put(&node, "public:records", number, 100);
        if number == 20 {
            let next: Vec<PathBuf> = (1..2000)
                .map(|seqno| directory.join(format!("ledger_{seqno}")))
                .filter(|path| !path.exists())
                .collect();
            for path in &next {
                std::fs::create_dir(path).unwrap();
            }
            blocked = Some(next);
        }
    }
    assert!(!node.sequencer().wait_committed(last.seqno, Duration::from_millis(600)), "the disk took it");
    assert!(refusals.load(Ordering::SeqCst) > 0);
    for path in blocked.unwrap() {
        std::fs::remove_dir(path).unwrap();
    }
    assert!(node.sequencer().wait_committed(last.seqno, Duration::from_secs(10)), "{last} never committed");
    node.stop().unwrap();
    let verified = verify(&directory);
    assert!(verified.signed >= last.seqno);
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn a_write_that_the_disk_cut_short_is_written_again() {
    let directory = temporary("torn");
    let options = LedgerOptions { directory: directory.clone(), read_only: Vec::new(), sync: true };
    let files = LedgerFiles::create(options).unwrap();
    let entry = |byte: u8| Bytes::from([&[1, 0, 4, 0, 0, 0, 0, 0][..], &[byte; 4]].concat());
    files.append(1, &[entry(1), entry(2)], false, false).unwrap();
    // Half an entry, as a write that was cut short leaves it: the next batch goes over it.
    let open = directory.join("ledger_1");
    let mut bytes = std::fs::read(&open).unwrap();
    bytes.extend_from_slice(&[1, 0, 200]);
    std::fs::write(&open, &bytes).unwrap();
    files.append(3, &[entry(3)], false, true).unwrap();
    files.commit(3).unwrap();
    for seqno in 1..=3_u8 {
        assert_eq!(files.read(u64::from(seqno)).unwrap(), entry(seqno));
    }
    assert_eq!(files.committed().len(), 1);
    let _ = std::fs::remove_dir_all(&directory);
}
