//! Whatever kills a node, its ledger verifies up to its last signature, and holds all that was called committed.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails, and this one reads and writes files"
)]
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use support::{put, start, temporary, verify};
use tallystick_core::types::TxId;
use tallystick_node::ledger::LedgerError;
use tallystick_node::sequencer::Observer;

/// Set in the process that is to be killed: where it writes its ledger.
const DIRECTORY: &str = "TALLYSTICK_CRASH_DIRECTORY";
/// How often a process is killed; `TALLYSTICK_CRASHES` overrides it.
const CRASHES: u64 = 200;

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
