//! From a signed batch to a committed one.
//!
//! On one node, committed means written to the ledger. Over several nodes a batch is one entry of the Raft
//! engine, and committed means that the engine says so; the rest of the sequencer cannot tell the difference.
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tallystick_core::types::TxId;

use crate::ledger::{LedgerError, LedgerFiles};

/// How long to wait before a batch that the disk refused is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Transactions that are committed together; the last one is a signature transaction.
#[derive(Clone, Debug)]
pub struct Batch {
    /// View in which the batch was made. It is void under any other.
    pub view: u64,
    /// Seqno of the first entry.
    pub first: u64,
    /// Whole entries, in order.
    pub entries: Vec<Bytes>,
    /// End the current chunk before the batch.
    pub close_before: bool,
    /// End the chunk after the batch.
    pub close_after: bool,
}

impl Batch {
    /// The transaction ID of the signature transaction that ends the batch.
    #[must_use]
    pub fn last(&self) -> TxId {
        TxId { view: self.view, seqno: (self.first + self.entries.len() as u64).saturating_sub(1) }
    }
}

/// Told what becomes of batches.
pub trait Observer: Send + Sync + 'static {
    /// Everything up to `txid` is committed. Called once a batch, in order.
    fn committed(&self, txid: TxId);
    /// The ledger could not be written; it is being tried again. Called when the reason changes, not at every attempt.
    fn delayed(&self, error: &LedgerError);
}

/// Takes batches, in order, and sees to it that they are committed.
pub trait Replicator: Send + Sync {
    /// Hands over a batch. Returns at once.
    fn submit(&self, batch: Batch);
}

/// Writes batches to this node's ledger.
#[derive(Debug)]
pub struct LocalReplicator {
    queue: Mutex<Option<Sender<Batch>>>,
    thread: Mutex<Option<JoinHandle<Option<u64>>>>,
}

impl LocalReplicator {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(files: Arc<LedgerFiles>, observer: Arc<dyn Observer>) -> std::io::Result<Self> {
        let (queue, batches) = channel();
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || write_batches(&batches, &files, observer.as_ref()))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    /// Writes what was submitted, and ends. Should the disk refuse, this does not wait for it to change its mind.
    ///
    /// Returns the first seqno that was not written: it and those after it were never called committed.
    pub fn stop(&self) -> Option<u64> {
        self.queue.lock().take();
        let thread = self.thread.lock().take()?;
        // A thread that panicked, which nothing in it does, leaves nothing to say.
        thread.join().unwrap_or_default()
    }
}

impl Replicator for LocalReplicator {
    fn submit(&self, batch: Batch) {
        if let Some(queue) = self.queue.lock().as_ref() {
            // The receiver lives until the sender is dropped.
            let _ = queue.send(batch);
        }
    }
}

impl Drop for LocalReplicator {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns the first seqno that it was told to leave unwritten.
fn write_batches(batches: &Receiver<Batch>, files: &LedgerFiles, observer: &dyn Observer) -> Option<u64> {
    // What came while an earlier batch was being tried again.
    let mut waiting = VecDeque::new();
    while let Some(batch) = waiting.pop_front().or_else(|| batches.recv().ok()) {
        let last = batch.last();
        let mut told = None;
        while let Err(error) =
            files.append(batch.first, &batch.entries, batch.close_before, batch.close_after)
        {
            // Once is enough for as long as it is the same: a disk may be full for hours.
            let reason = error.to_string();
            if told.as_ref() != Some(&reason) {
                observer.delayed(&error);
                told = Some(reason);
            }
            std::thread::sleep(RETRY_DELAY);
            loop {
                match batches.try_recv() {
                    Ok(next) => waiting.push_back(next),
                    Err(TryRecvError::Empty) => break,
                    // Told to stop while the disk refuses: the batch was never acknowledged as committed.
                    Err(TryRecvError::Disconnected) => return Some(batch.first),
                }
            }
        }
        // The name is for people and tools; the batch is committed once it is written.
        if let Err(error) = files.commit(last.seqno) {
            observer.delayed(&error);
        }
        observer.committed(last);
    }
    None
}
