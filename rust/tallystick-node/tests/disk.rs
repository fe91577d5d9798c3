//! What a node does when its disk is full, slow or cuts writes short: it goes on as soon as it can, or ends with one clear
//! error, and nothing that it called committed is lost or changed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails, and this one reads and writes files"
)]
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use support::{put, start, temporary, verify};
use tallystick_core::ledger::ChunkFile;
use tallystick_core::types::TxId;
use tallystick_node::ledger::{LedgerError, LedgerFiles, Options as LedgerOptions};
use tallystick_node::node::{Node, StopError};
use tallystick_node::sequencer::{Committing, Observer};

/// Set in a process that this test starts: where it writes its ledger.
const DIRECTORY: &str = "TALLYSTICK_DISK_DIRECTORY";
/// How large a file the process may write at first.
const FILE_LIMIT: u64 = 100_000;
/// Transactions that may wait for a full file system.
const MAX_AHEAD: u64 = 100;
/// Waits are for conditions; this is when they are given up.
const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Counts commits and refusals, and keeps what the last refusal said.
#[derive(Default)]
struct Seen {
    committed: AtomicU64,
    refusals: AtomicU64,
    reason: Mutex<String>,
}

struct Watching(Arc<Seen>);

impl Observer for Watching {
    fn committed(&self, txid: TxId) {
        self.0.committed.store(txid.seqno, Ordering::SeqCst);
    }
    fn delayed(&self, error: &LedgerError) {
        *self.0.reason.lock() = error.to_string();
        self.0.refusals.fetch_add(1, Ordering::SeqCst);
    }
}

/// Says on standard output what becomes of batches, in one write a line.
struct Telling;

impl Observer for Telling {
    fn committed(&self, txid: TxId) {
        let line = format!("committed {}\n", txid.seqno);
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
        let _ = std::io::stdout().lock().flush();
    }
    fn delayed(&self, error: &LedgerError) {
        let line = format!("delayed {error}\n");
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
        let _ = std::io::stdout().lock().flush();
    }
}

/// Not a test by itself: what [`a_limit_on_files_delays_commits_and_loses_nothing`] starts.
#[test]
fn write_under_a_limit() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    // One chunk, so that it must outgrow the limit.
    let node = start(Path::new(&directory), 1 << 30, Telling);
    for number in 0.. {
        put(&node, "public:records", number, 100);
    }
}

/// A process whose files may not grow beyond [`FILE_LIMIT`], and what it said.
struct Limited {
    child: Child,
    seen: Arc<Seen>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Limited {
    /// Starts it; `None` where limits cannot be set.
    fn start(directory: &Path) -> Option<Self> {
        // A write beyond the limit must fail, as on a full disk, and not kill.
        let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
        let mut child = Command::new("prlimit")
            .args([&format!("--fsize={FILE_LIMIT}:unlimited"), "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .args(["write_under_a_limit", "--exact", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let output = BufReader::new(child.stdout.take().unwrap());
        let seen = Arc::<Seen>::default();
        let told = Watching(Arc::clone(&seen));
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, seqno)) = line.split_once("committed ") {
                    told.committed(TxId { view: 2, seqno: seqno.parse().unwrap() });
                } else if let Some((_, reason)) = line.split_once("delayed ") {
                    reason.clone_into(&mut told.0.reason.lock());
                    told.0.refusals.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Some(Self { child, seen, reader: Some(reader) })
    }

    fn committed(&self) -> u64 {
        self.seen.committed.load(Ordering::SeqCst)
    }

    fn refusals(&self) -> u64 {
        self.seen.refusals.load(Ordering::SeqCst)
    }

    /// Kills it; what it said is read to the end.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first `count` entries of the chunk that begins at seqno 1, as they are on disk.
fn entries(directory: &Path, count: u64) -> Vec<u8> {
    let path = directory.join("ledger_1");
    let chunk = ChunkFile::open(&path).unwrap();
    let mut frames = chunk.entries_from(0).unwrap();
    let mut end = 0;
    for _ in 0..count {
        let (offset, size) = frames.next_frame().unwrap().unwrap();
        end = usize::try_from(offset + size).unwrap();
    }
    std::fs::read(&path).unwrap().get(8..end).unwrap().to_vec()
}

#[test]
fn a_limit_on_files_delays_commits_and_loses_nothing() {
    let directory = temporary("limit");
    let Some(mut limited) = Limited::start(&directory) else {
        println!("skipped: prlimit, which limits the size of files, is not installed");
        return;
    };
    until("the limit is met", || limited.refusals() > 0);
    let reason = limited.seen.reason.lock().clone();
    assert!(reason.contains("ledger_1") && reason.contains("File too large"), "{reason}");
    let committed = limited.committed();
    assert!(committed > 0);
    let verified = verify(&directory);
    assert!(committed <= verified.signed, "called committed: {committed}, on disk: {verified:?}");
    let before = entries(&directory, committed);
    // Room again: it goes on by itself.
    let pid = limited.child.id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().unwrap();
    assert!(raised.success());
    until("it goes on", || limited.committed() > committed + 5000);
    limited.kill();
    // What was told of the delay was told once, not at each attempt.
    assert_eq!(limited.refusals(), 1);
    let verified = verify(&directory);
    assert!(limited.committed() <= verified.signed, "{} {verified:?}", limited.committed());
    assert_eq!(entries(&directory, committed), before);
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn a_node_that_is_killed_at_a_limit_on_files_leaves_a_ledger_that_verifies() {
    let directory = temporary("killed-at-limit");
    let Some(mut limited) = Limited::start(&directory) else {
        println!("skipped: prlimit, which limits the size of files, is not installed");
        return;
    };
    until("the limit is met", || limited.refusals() > 0);
    limited.kill();
    let verified = verify(&directory);
    let committed = limited.committed();
    assert!(committed > 0 && committed <= verified.signed, "{committed} {verified:?}");
    let _ = std::fs::remove_dir_all(&directory);
}

/// Not a test by itself: what [`a_full_file_system_delays_commits_and_loses_nothing`] runs where it may mount one.
#[test]
fn write_to_a_full_file_system() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    std::fs::create_dir_all(&directory).unwrap();
    let options = ["-t", "tmpfs", "-o", "size=512k", "tmpfs"];
    let mounted = Command::new("mount").args(options).arg(&directory).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("{SKIPPED}");
        return;
    }
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![0; 300_000]).unwrap();
    let seen = Arc::<Seen>::default();
    let ledger = directory.join("ledger");
    let node = start(&ledger, 20_000, Watching(Arc::clone(&seen)));
    let refusals = || seen.refusals.load(Ordering::SeqCst);
    // Fills it until a transaction stays unwritten: refusing an offset table alone holds no transaction up.
    let fill = |from: u64| {
        let mut numbers = from..;
        let mut met = refusals();
        let mut last = TxId { view: 2, seqno: 0 };
        loop {
            if refusals() > met {
                met = refusals();
                last = put(&node, "public:records", from, 100);
                if !node.sequencer().wait_committed(last.seqno, Duration::from_secs(1)) {
                    break;
                }
            }
            // What waits for the disk must fit into the room that is made later.
            if last.seqno > node.sequencer().committed().seqno + MAX_AHEAD {
                std::thread::sleep(Duration::from_millis(1));
            } else if let Some(number) = numbers.next() {
                last = put(&node, "public:records", number, 100);
            }
        }
        assert!(seen.reason.lock().contains("No space left on device"), "{}", seen.reason.lock());
        last
    };
    let last = fill(0);
    let committed = node.sequencer().committed().seqno;
    assert!(committed > 0 && committed < last.seqno);
    assert!(verify(&ledger).signed >= committed);
    let before: Vec<_> = (1..=committed).map(|seqno| node.files().read(seqno).unwrap()).collect();
    // Whoever makes room need do nothing else.
    std::fs::remove_file(&ballast).unwrap();
    assert!(node.sequencer().wait_committed(last.seqno, PATIENCE), "it does not go on");
    let after: Vec<_> = (1..=committed).map(|seqno| node.files().read(seqno).unwrap()).collect();
    assert!(before == after, "what was committed has changed");
    // Full for good this time: it ends, and says what it could not keep.
    fill(1_000_000);
    let committed = node.sequencer().committed().seqno;
    let unwritten = match node.stop() {
        Err(StopError::Unwritten(seqno)) => seqno,
        other => panic!("{other:?}"),
    };
    assert_eq!(unwritten, seen.committed.load(Ordering::SeqCst) + 1);
    let verified = verify(&ledger);
    assert!(verified.signed >= committed && verified.signed < unwritten, "{verified:?}");
    println!("{FILLED}");
}

const SKIPPED: &str = "skipped: this process may not mount a file system";
const FILLED: &str = "the file system was filled";

#[test]
fn a_full_file_system_delays_commits_and_loses_nothing() {
    let directory = temporary("tmpfs");
    // In a mount namespace of its own, so that nothing is left mounted however it ends.
    let ran = Command::new("unshare")
        .args(["--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["write_to_a_full_file_system", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, &directory)
        .output();
    let _ = std::fs::remove_dir_all(&directory);
    let Ok(ran) = ran else {
        println!("skipped: unshare is not installed");
        return;
    };
    let (told, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    // Where it may not make a namespace, the test was never started.
    if told.contains(SKIPPED) || (!told.contains("running 1 test") && errors.contains("unshare")) {
        println!("{SKIPPED} {errors}");
        return;
    }
    assert!(ran.status.success() && told.contains(FILLED), "{told}\n{errors}");
}

/// Holds the thread that writes the ledger after each batch, until it is let go: a disk that takes its time.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    seen: Mutex<Vec<u64>>,
}

struct Held(Arc<Gate>);

impl Observer for Held {
    fn committed(&self, txid: TxId) {
        self.0.seen.lock().push(txid.seqno);
        let mut open = self.0.open.lock();
        while !*open {
            self.0.opened.wait(&mut open);
        }
    }
    fn delayed(&self, error: &LedgerError) {
        panic!("{error}");
    }
}

#[test]
fn a_slow_disk_holds_back_writers_and_nobody_else() {
    let directory = temporary("slow");
    let gate = Arc::<Gate>::default();
    let node: Node = start(&directory, 20_000, Held(Arc::clone(&gate)));
    let first = put(&node, "public:records", 0, 100);
    assert!(node.sequencer().wait_committed(first.seqno, PATIENCE));
    let held = node.sequencer().committed();
    // What the disk has not taken is bounded, and none of it counts as committed.
    let mut last = held;
    let mut number = 1;
    while !node.sequencer().is_saturated() {
        last = put(&node, "public:records", number, 100);
        number += 1;
    }
    assert!(!node.sequencer().wait_for_room(Duration::from_millis(20)));
    assert!(last.seqno < held.seqno + 2200, "{last} after {held}");
    assert_eq!(node.sequencer().committed(), held);
    assert!(verify(&directory).signed <= held.seqno);
    // Reads go on meanwhile: of the store, and of the ledger.
    let mut transaction = node.sequencer().begin();
    let newest = (number - 1).to_le_bytes();
    assert!(transaction.get("public:records", &newest).is_some());
    assert_eq!(
        node.sequencer().commit(&transaction, Committing::default()).unwrap().seqno,
        node.sequencer().last()
    );
    assert!(node.files().read(first.seqno).is_ok());
    *gate.open.lock() = true;
    gate.opened.notify_all();
    assert!(node.sequencer().wait_committed(last.seqno, PATIENCE));
    node.stop().unwrap();
    assert!(verify(&directory).signed >= last.seqno);
    let seen = gate.seen.lock();
    assert!(seen.is_sorted() && seen.last().is_some_and(|seqno| *seqno >= last.seqno));
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn a_chunk_that_cannot_be_created_delays_commits_and_loses_nothing() {
    let directory = temporary("blocked");
    let seen = Arc::<Seen>::default();
    let node = start(&directory, 4000, Watching(Arc::clone(&seen)));
    let first = put(&node, "public:records", 0, 100);
    assert!(node.sequencer().wait_committed(first.seqno, Duration::from_secs(10)));
    // Where the next chunk would go, a directory stands.
    let mut last = first;
    let mut blocked = None;
    for number in 1..400 {
        last = put(&node, "public:records", number, 100);
        if number == 20 {
            let next: Vec<PathBuf> = (1..2000)
                .map(|seqno| directory.join(format!("ledger_{seqno}")))
                // Not where a chunk is already.
                .filter(|path| std::fs::create_dir(path).is_ok())
                .collect();
            blocked = Some(next);
        }
    }
    assert!(!node.sequencer().wait_committed(last.seqno, Duration::from_millis(600)), "the disk took it");
    assert!(seen.refusals.load(Ordering::SeqCst) > 0);
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
