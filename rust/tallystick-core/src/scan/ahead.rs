//! A scan that runs ahead of whoever asks for its batches, and of the one who will judge its signatures.
//!
//! Between a start and the first question, a program may have much to load. Meanwhile files are read and folded, and
//! node signatures are verified under the certificates that stand beside them. That judges nobody: whether such a key
//! may sign is asked later, by [`Batch::submit`], which then finds the verdict there.
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::{io, mem};

use super::{Batch as ScanBatch, Part, ScanError, Scanner};
use crate::merkle::Frontier;
use crate::signature::HeadStart;

/// Batches that may wait. Each is of one segment of file content, and holds less than that.
const MAX_WAITING: usize = 64;

/// A batch, and where the scan stands after it.
struct Step {
    batch: ScanBatch,
    tree: Option<Frontier>,
}

type Answer = Result<Step, ScanError>;

enum Stage {
    /// Nothing has been read.
    Prepared(Box<Scanner>),
    /// Only ever used through `&mut`; the lock makes the scan `Sync`.
    Running(Mutex<Receiver<Answer>>, JoinHandle<()>),
    /// All has been given out.
    Over,
}

/// A scan with a thread of its own.
pub struct ScanAhead {
    stage: Stage,
    parts: Vec<Part>,
    tree: Option<Frontier>,
    transactions: u64,
    bytes_read: u64,
}

impl ScanAhead {
    /// Takes a scanner of which no batch has been asked for. Nothing is read yet.
    #[must_use]
    pub fn new(scanner: Scanner) -> Self {
        let (parts, tree) = (scanner.parts().to_vec(), scanner.tree().cloned());
        Self { stage: Stage::Prepared(Box::new(scanner)), parts, tree, transactions: 0, bytes_read: 0 }
    }

    /// Begins to read, if that has not begun. With `head_start`, node signatures are verified as they are met, until
    /// the first check is submitted to its batch.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(&mut self, head_start: Option<HeadStart>) -> io::Result<()> {
        let scanner = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Prepared(scanner) => scanner,
            other => {
                self.stage = other;
                return Ok(());
            }
        };
        let (to_caller, answers) = sync_channel(MAX_WAITING);
        let thread = Builder::new().name("tallystick-fold".into());
        let handle = thread.spawn(move || run(*scanner, &to_caller, head_start))?;
        self.stage = Stage::Running(Mutex::new(answers), handle);
        Ok(())
    }

    /// The next batch; as [`Scanner::next_batch`].
    ///
    /// # Errors
    /// [`ScanError`]; the scan is over then.
    pub fn next_batch(&mut self) -> Result<Option<ScanBatch>, ScanError> {
        self.start(None).map_err(|source| ScanError::Io { file_index: 0, source })?;
        let Stage::Running(answers, _) = &mut self.stage else { return Ok(None) };
        match answers.get_mut().unwrap_or_else(PoisonError::into_inner).recv() {
            Ok(Ok(step)) => {
                self.tree = step.tree;
                self.transactions += step.batch.count;
                self.bytes_read += step.batch.bytes;
                Ok(Some(step.batch))
            }
            Ok(Err(error)) => {
                self.stop();
                Err(error)
            }
            // The thread has ended: after the last batch, unless it panicked.
            Err(_) if self.stop() => Ok(None),
            Err(_) => Err(ScanError::Worker),
        }
    }

    /// The tree after the last batch that was given out; `None` while there is none.
    #[must_use]
    pub fn tree(&self) -> Option<&Frontier> {
        self.tree.as_ref()
    }

    /// Transactions in the batches given out.
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
        &self.parts
    }

    /// Ends the thread; false if it had panicked.
    fn stop(&mut self) -> bool {
        match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Running(answers, handle) => {
                drop(answers);
                handle.join().is_ok()
            }
            Stage::Prepared(_) | Stage::Over => true,
        }
    }
}

impl Drop for ScanAhead {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(mut scanner: Scanner, to_caller: &SyncSender<Answer>, mut head_start: Option<HeadStart>) {
    loop {
        let answer = match scanner.next_batch() {
            Ok(None) => return,
            Ok(Some(batch)) => {
                if let Some(going) = &mut head_start
                    && !going.offer(&batch.signatures)
                {
                    head_start = None;
                }
                Ok(Step { batch, tree: scanner.tree().cloned() })
            }
            Err(error) => Err(error),
        };
        let failed = answer.is_err();
        if to_caller.send(answer).is_err() || failed {
            return;
        }
    }
}
