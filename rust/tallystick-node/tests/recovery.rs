//! Taking over a ledger: what its files claim is checked before anything rests on it, and what is set aside stays.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails, and this one reads and writes files"
)]
#[path = "support/fixed.rs"]
mod fixed;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fixed::FixedSigner;
use tallystick_core::types::TxId;
use tallystick_node::entry::{Domains, LedgerSecret, seal};
use tallystick_node::kv::WriteSet;
use tallystick_node::ledger::{LedgerError, LedgerFiles, Options as LedgerOptions};
use tallystick_node::node::{Node, Options, Recovered, StartError};
use tallystick_node::sequencer::{Committing, Observer, Options as SequencerOptions, SignatureMode};

struct Silent;

impl Observer for Silent {
    fn committed(&self, _txid: TxId) {}
    fn delayed(&self, _error: &LedgerError) {}
}

fn options(directory: &Path) -> Options {
    Options {
        sequencer: SequencerOptions {
            view: 2,
            signature_tx_count: 10,
            chunk_size: 2000,
            max_uncommitted: 0,
            mode: SignatureMode::Dual,
        },
        ledger: LedgerOptions { directory: directory.to_owned(), read_only: Vec::new(), sync: false },
        signature_delay: Duration::from_millis(10),
    }
}

fn secret() -> LedgerSecret {
    LedgerSecret::new(&[7; 32]).unwrap()
}

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("tallystick-recovery-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    directory
}

fn put(node: &Node, count: u64) -> u64 {
    let mut last = 0;
    for key in 0..count {
        let mut transaction = node.sequencer().begin();
        transaction.set(
            "public:records",
            Bytes::copy_from_slice(&key.to_le_bytes()),
            Bytes::from(vec![1; 50]),
        );
        last = node.sequencer().commit(&transaction, Committing::default()).unwrap().seqno;
    }
    last
}

/// A ledger of several chunks; returns its last seqno.
fn written(directory: &Path) -> u64 {
    let node = Node::start(options(directory), secret(), Arc::new(FixedSigner), Silent).unwrap();
    put(&node, 100);
    node.stop().unwrap();
    node.files().last()
}

/// Recovers under a judge that takes every signature for genuine.
fn recover(directory: &Path, accept: Result<(), String>) -> Result<(Node, Recovered), StartError> {
    let signer = Arc::new(FixedSigner);
    Node::recover(options(directory), secret(), signer, Silent, &mut |_| Ok(()), |_| accept)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_ledger_that_was_taken_over_is_read_and_goes_on() {
    let directory = directory("goes-on");
    let last = written(&directory);
    let (node, recovered) = recover(&directory, Ok(())).unwrap();
    assert_eq!((recovered.last.seqno, recovered.stopped), (last, None));
    let next = put(&node, 30);
    assert!(node.sequencer().wait_committed(next, Duration::from_secs(20)));
    for seqno in 1..=next {
        assert!(!node.files().read(seqno).unwrap().is_empty());
    }
    assert!(names(&directory).iter().any(|name| name.ends_with(".recovery")));
    node.files().finish_recovery().unwrap();
    assert!(!names(&directory).iter().any(|name| name.ends_with(".recovery")));
    for seqno in 1..=next {
        assert!(!node.files().read(seqno).unwrap().is_empty());
    }
    drop(node);
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn readers_of_more_chunks_than_stay_open_all_get_their_entries() {
    let directory = directory("readers");
    let mut small = options(&directory);
    small.sequencer.chunk_size = 1;
    let node = Node::start(small, secret(), Arc::new(FixedSigner), Silent).unwrap();
    let last = put(&node, 400);
    assert!(node.sequencer().wait_committed(last, Duration::from_secs(20)));
    assert!(node.files().committed().len() > 20);
    let first: Vec<_> = (1..=last).map(|seqno| node.files().read(seqno).unwrap()).collect();
    std::thread::scope(|scope| {
        for reader in 0..4 {
            let (node, first) = (&node, &first);
            scope.spawn(move || {
                for seqno in (1..=last).rev() {
                    let seqno = (seqno + reader * last / 4) % last + 1;
                    let index = usize::try_from(seqno - 1).unwrap();
                    assert_eq!(Some(&node.files().read(seqno).unwrap()), first.get(index));
                }
            });
        }
    });
    drop(node);
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn a_recovery_that_is_refused_changes_nothing() {
    let directory = directory("refused");
    written(&directory);
    std::fs::write(directory.join("ledger_90.recovery"), b"an earlier attempt").unwrap();
    let before = names(&directory);
    let refused = recover(&directory, Err("another service".to_owned())).unwrap_err();
    assert!(refused.to_string().contains("another service"));
    assert_eq!(names(&directory), before);
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn what_is_set_aside_is_never_written_over() {
    let directory = directory("aside");
    written(&directory);
    for (attempt, name) in ["ledger_90.recovery.ignored", "ledger_90.recovery.1.ignored"].iter().enumerate() {
        let content = format!("attempt {attempt}");
        std::fs::write(directory.join("ledger_90.recovery"), &content).unwrap();
        drop(recover(&directory, Ok(())).unwrap());
        assert_eq!(std::fs::read_to_string(directory.join(name)).unwrap(), content);
    }
    assert_eq!(std::fs::read_to_string(directory.join("ledger_90.recovery.ignored")).unwrap(), "attempt 0");
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn files_that_do_not_follow_one_another_are_not_gone_on_from() {
    let directory = directory("overlap");
    let last = written(&directory);
    let open = names(&directory).into_iter().rfind(|name| !name.ends_with(".committed"));
    // The file that the node would go on writing, once more under a later name inside its own range; and one that
    // says that it begins before the first transaction.
    let chunks = LedgerFiles::locate_chunks(&options(&directory).ledger).unwrap();
    let newest = chunks.last().unwrap();
    assert_eq!(open.is_some(), !newest.committed);
    let plain = directory.join(format!("ledger_{}", newest.first));
    std::fs::rename(&newest.path, &plain).unwrap();
    let inside = directory.join(format!("ledger_{}", newest.first + 1));
    std::fs::copy(&plain, &inside).unwrap();
    std::fs::copy(&plain, directory.join("ledger_0")).unwrap();
    let (node, recovered) = recover(&directory, Ok(())).unwrap();
    assert_eq!(recovered.last.seqno, last);
    assert!(recovered.stopped.unwrap().contains("expected a chunk that begins at"));
    assert!(!inside.exists());
    let next = put(&node, 30);
    assert!(node.sequencer().wait_committed(next, Duration::from_secs(20)));
    for seqno in 1..=next {
        let entry = node.files().read(seqno).unwrap();
        assert_eq!(entry.get(24..32).unwrap(), seqno.to_le_bytes());
    }
    drop(node);
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn a_view_that_no_service_reaches_takes_no_memory() {
    let directory = directory("view");
    let ledger = options(&directory).ledger;
    let files = LedgerFiles::create(ledger).unwrap();
    let txid = TxId { view: (1 << 31) - 1, seqno: 1 };
    let mut writes = WriteSet::new();
    writes
        .entry("public:ccf.internal.signatures".into())
        .or_default()
        .insert(Bytes::from_static(&[0; 8]), Some(Bytes::from_static(b"{}")));
    let sealed = seal(txid, 0, &Domains::of(&writes), &[0; 32], &secret()).unwrap();
    files.append(1, &[sealed.entry], false, false).unwrap();
    drop(files);
    let refused = recover(&directory, Ok(())).unwrap_err();
    assert!(refused.to_string().contains("in a view beyond"), "{refused}");
    let _ = std::fs::remove_dir_all(&directory);
}
