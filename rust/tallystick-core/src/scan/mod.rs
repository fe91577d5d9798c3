//! Scans a ledger on all cores: frames, checks and hashes every transaction, and compares every root.
//!
//! Three stages, with bounded memory between them:
//!
//! 1. the framer (one thread) reads the files in order and cuts them into segments of whole entries;
//! 2. workers parse and hash segments, in any order;
//! 3. the fold, in ledger order, in the thread of whoever asks for the next batch.
//!
//! What is found does not depend on the number of workers.
mod ahead;
mod budget;
mod finding;
mod fold;
mod framer;
mod record;
mod scanned;
mod segment;

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, available_parallelism};

pub use ahead::ScanAhead;
pub use finding::{CODES, Finding, ScanCode};
pub use fold::Start;
pub use record::SignatureRecord;
pub use scanned::{ScannedError, ScannedFold, scan_file};

use crate::export::Columns;
use crate::ledger::Entry;
use crate::merkle::Frontier;
use crate::types::Digest;
use budget::Budget;
use fold::Fold;
use framer::{Framer, Segment, Stop};
use segment::Parsed;

/// Most bytes of file content in flight between the stages, whatever the size of the ledger.
const MAX_IN_FLIGHT_BYTES: usize = 64 << 20;
/// Segments in flight for each worker: enough that none waits for the framer or for the fold. More would only push
/// each other out of the caches.
const SEGMENTS_PER_JOB: usize = 8;
/// Largest segment: large enough that handing it on costs nothing, small enough that it is still in a cache when it
/// is framed and hashed. Measured: 0.25 to 1 MiB are equal, smaller and larger ones are slower.
const MAX_SEGMENT_BYTES: usize = 512 << 10;
/// Smallest segment, for machines with many cores.
const MIN_SEGMENT_BYTES: usize = 128 << 10;
/// Most worker threads.
const MAX_JOBS: usize = 256;

/// How much is checked; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Framing and domains.
    Parse,
    /// Offset tables.
    Offsets,
    /// Flags, seqnos, views, the shape of signature transactions.
    Headers,
    /// Leaves and roots.
    Merkle,
}

/// One file, and which of its transactions are wanted.
#[derive(Debug, Clone)]
pub struct Part {
    /// The file.
    pub path: PathBuf,
    /// First wanted seqno; `None` for all from the start.
    pub first_seqno: Option<u64>,
    /// Last wanted seqno; `None` for all to the end.
    pub last_seqno: Option<u64>,
}

/// What to scan, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Files, in ledger order.
    pub parts: Vec<Part>,
    /// How much to check.
    pub level: Level,
    /// Workers; 0 for one a core.
    pub jobs: usize,
    /// Where to go on from.
    pub start: Start,
}

/// Consecutive transactions of one file.
#[derive(Debug)]
pub struct Batch {
    /// Which of the files.
    pub file_index: usize,
    /// Seqno of the first transaction, by its place in the ledger.
    pub first_seqno: u64,
    /// Number of transactions.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// View of the last one.
    pub last_view: u64,
    /// Offset of the last one.
    pub last_offset: u64,
    /// The signature transactions among them.
    pub signatures: Vec<SignatureRecord>,
    /// Well-formed transactions that write governance or internal tables; signature transactions only if they
    /// write a table beside those that belong to one.
    pub notable: Vec<Entry>,
    /// Ordered by offset.
    pub findings: Vec<Finding>,
    /// One a transaction; none below [`Level::Merkle`].
    pub leaves: Vec<Digest>,
    /// What they are and wrote; see [`Scanner::collect_columns`].
    pub columns: Option<Box<Columns>>,
}

/// Why a scan stopped.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A file cannot be read.
    #[error("{source}")]
    Io {
        /// Which of the files.
        file_index: usize,
        /// Why.
        source: io::Error,
    },
    /// A defect of this program.
    #[error("scan worker stopped unexpectedly")]
    Worker,
}

enum Outcome {
    Parsed(Box<Parsed>),
    Failed(ScanError),
}

type Ordered = (u64, Outcome);

struct Threads {
    /// Only ever used through `&mut`; the lock makes the scanner `Sync`.
    results: Mutex<Receiver<Ordered>>,
    budget: Arc<Budget>,
    handles: Vec<JoinHandle<()>>,
}

/// A scan in progress.
pub struct Scanner {
    options: Options,
    columns: bool,
    segment_bytes: usize,
    threads: Option<Threads>,
    waiting: BTreeMap<u64, Outcome>,
    next_order: u64,
    fold: Fold,
    finished: bool,
    transactions: u64,
    bytes_read: u64,
}

impl Scanner {
    /// Prepares a scan. Nothing is read before the first batch is asked for.
    #[must_use]
    pub fn new(mut options: Options) -> Self {
        if options.jobs == 0 {
            options.jobs = available_parallelism().map_or(1, usize::from);
        }
        options.jobs = options.jobs.min(MAX_JOBS);
        let segment_bytes = (MAX_IN_FLIGHT_BYTES / (options.jobs * SEGMENTS_PER_JOB))
            .clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        let fold = Fold::new(options.level, std::mem::take(&mut options.start));
        Self {
            options,
            columns: false,
            segment_bytes,
            threads: None,
            waiting: BTreeMap::new(),
            next_order: 0,
            fold,
            finished: false,
            transactions: 0,
            bytes_read: 0,
        }
    }

    /// Asks for the columns of every batch, at [`Level::Merkle`]. To be called before the first batch is asked for.
    pub fn collect_columns(&mut self) {
        self.columns = self.options.level >= Level::Merkle;
    }

    /// The next batch, in ledger order; `None` at the end. A file without transactions and without findings gives
    /// no batch.
    ///
    /// # Errors
    /// [`ScanError`]; the scan is over then.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, ScanError> {
        while !self.finished {
            let parsed = match self.next_outcome() {
                Ok(Some(Outcome::Parsed(parsed))) => *parsed,
                Ok(Some(Outcome::Failed(error))) | Err(error) => {
                    self.stop();
                    return Err(error);
                }
                Ok(None) => break,
            };
            let (batch, buffer) = self.fold.segment(parsed);
            if let Some(threads) = &self.threads {
                threads.budget.give_back(buffer, self.segment_bytes);
            }
            self.transactions += batch.count;
            self.bytes_read += batch.bytes;
            if batch.count > 0 || !batch.findings.is_empty() {
                return Ok(Some(batch));
            }
        }
        self.stop();
        Ok(None)
    }

    /// The tree after the last batch; `None` while there is none.
    #[must_use]
    pub fn tree(&self) -> Option<&Frontier> {
        self.fold.tree()
    }

    /// Transactions in the batches so far.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Bytes of these transactions.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The files.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.options.parts
    }

    fn next_outcome(&mut self) -> Result<Option<Outcome>, ScanError> {
        if self.threads.is_none() {
            let started = self.spawn().map_err(|source| ScanError::Io { file_index: 0, source })?;
            self.threads = Some(started);
        }
        let Some(threads) = &mut self.threads else { return Ok(None) };
        let results = threads.results.get_mut().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(outcome) = self.waiting.remove(&self.next_order) {
                self.next_order += 1;
                return Ok(Some(outcome));
            }
            match results.recv() {
                Ok((order, outcome)) => {
                    self.waiting.insert(order, outcome);
                }
                // All threads are done: what is still waiting would have no predecessor.
                Err(_) if self.waiting.is_empty() => return Ok(None),
                Err(_) => return Err(ScanError::Worker),
            }
        }
    }

    fn spawn(&self) -> io::Result<Threads> {
        let (to_workers, segments) = sync_channel::<Segment>(self.options.jobs * 2);
        let (to_fold, results) = channel::<Ordered>();
        let segments = Arc::new(Mutex::new(segments));
        let budget = Arc::new(Budget::new(self.segment_bytes * self.options.jobs * SEGMENTS_PER_JOB));
        let mut threads =
            Threads { results: Mutex::new(results), budget: Arc::clone(&budget), handles: Vec::new() };
        for _ in 0..self.options.jobs {
            let (segments, results, level) = (Arc::clone(&segments), to_fold.clone(), self.options.level);
            let worker = Builder::new().name("tallystick-scan".into());
            threads.handles.push(worker.spawn(move || {
                loop {
                    let next = segments.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(segment) = next else { break };
                    let order = segment.order;
                    let outcome = match catch_unwind(AssertUnwindSafe(|| segment::parse(segment, level))) {
                        Ok(parsed) => Outcome::Parsed(Box::new(parsed)),
                        Err(_) => Outcome::Failed(ScanError::Worker),
                    };
                    if results.send((order, outcome)).is_err() {
                        break;
                    }
                }
            })?);
        }
        let (parts, level, segment_bytes) =
            (self.options.parts.clone(), self.options.level, self.segment_bytes);
        let columns = self.columns;
        let framer = Builder::new().name("tallystick-read".into());
        threads.handles.push(framer.spawn(move || {
            frame(
                &parts,
                Framer { level, segment_bytes, budget: &budget, order: 0, columns },
                &to_workers,
                |failure| {
                    // If nobody listens, nobody misses it.
                    let _ = to_fold.send(failure);
                },
            );
        })?);
        Ok(threads)
    }

    fn stop(&mut self) {
        self.finished = true;
        self.waiting.clear();
        if let Some(threads) = self.threads.take() {
            threads.budget.close();
            drop(threads.results);
            for handle in threads.handles {
                // A worker's panic has been reported as `ScanError::Worker`.
                let _ = handle.join();
            }
        }
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        self.stop();
    }
}

fn frame(parts: &[Part], mut framer: Framer<'_>, to_workers: &SyncSender<Segment>, fail: impl Fn(Ordered)) {
    for (file_index, part) in parts.iter().enumerate() {
        match framer.file(file_index, part, &mut |segment| to_workers.send(segment).is_ok()) {
            Ok(()) => {}
            Err(Stop::Closed) => return,
            Err(Stop::Io(source)) => {
                fail((framer.order, Outcome::Failed(ScanError::Io { file_index, source })));
                return;
            }
        }
    }
}
