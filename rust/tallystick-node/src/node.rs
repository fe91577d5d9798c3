//! One node's data plane, put together: sequencer, signature emitter, ledger files, and what receipts need.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tallystick_core::types::TxId;

use crate::entry::LedgerSecret;
use crate::ledger::{LedgerError, LedgerFiles, Options as LedgerOptions};
use crate::sequencer::{
    CommitError, CommitFollower, LocalReplicator, Observer, Options as SequencerOptions, RootSigner,
    Sequencer,
};

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// How it orders transactions.
    pub sequencer: SequencerOptions,
    /// How it keeps the ledger.
    pub ledger: LedgerOptions,
    /// A signature transaction follows a transaction after this long at the latest.
    pub signature_delay: Duration,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger cannot be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A thread cannot be started.
    #[error("the node's threads cannot start: {0}")]
    Thread(std::io::Error),
}

/// A running data plane.
pub struct Node {
    sequencer: Arc<Sequencer>,
    files: Arc<LedgerFiles>,
    replicator: Arc<LocalReplicator>,
    emitter: Emitter,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("sequencer", &self.sequencer).finish_non_exhaustive()
    }
}

impl Node {
    /// Starts the data plane of a new service: an empty ledger, and `secret` from seqno 1 on.
    ///
    /// # Errors
    /// [`StartError`] when the ledger directory is not empty or a thread cannot be started.
    pub fn start(
        options: Options,
        secret: LedgerSecret,
        signer: Arc<dyn RootSigner>,
        observer: impl Observer,
    ) -> Result<Self, StartError> {
        let files = Arc::new(LedgerFiles::create(options.ledger)?);
        let sequencer = Arc::new(Sequencer::new(options.sequencer, secret, signer));
        let follower = Arc::new(CommitFollower { sequencer: Arc::clone(&sequencer), next: observer });
        let replicator =
            Arc::new(LocalReplicator::start(Arc::clone(&files), follower).map_err(StartError::Thread)?);
        sequencer.set_replicator(Arc::clone(&replicator) as _);
        let emitter =
            Emitter::start(Arc::clone(&sequencer), options.signature_delay).map_err(StartError::Thread)?;
        Ok(Self { sequencer, files, replicator, emitter })
    }

    /// The sequencer.
    #[must_use]
    pub fn sequencer(&self) -> &Arc<Sequencer> {
        &self.sequencer
    }

    /// The ledger files.
    #[must_use]
    pub fn files(&self) -> &Arc<LedgerFiles> {
        &self.files
    }

    /// What a receipt for committed transaction `target` is made of; `None` while it is not committed.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger files do not give what was written to them.
    pub fn evidence(&self, target: TxId) -> Result<Option<Evidence>, LedgerError> {
        let Some(signature) = self.sequencer.covering_signature(target.seqno) else {
            return Ok(None);
        };
        let secrets = self.sequencer.secrets();
        let commit_evidence = secrets.at(target.seqno).map(|secret| secret.commit_evidence(target));
        Ok(Some(Evidence {
            entry: self.files.read(target.seqno)?,
            signature: self.files.read(signature)?,
            signature_seqno: signature,
            commit_evidence: commit_evidence.unwrap_or_default(),
        }))
    }

    /// Signs what is pending, writes it, and ends every thread. Calling it again does nothing.
    ///
    /// # Errors
    /// [`CommitError`] when the last root could not be signed; everything else is ended all the same.
    pub fn stop(&self) -> Result<(), CommitError> {
        self.emitter.stop();
        let signed = self.sequencer.stop();
        self.replicator.stop();
        signed
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Entries and text from which a receipt is made.
#[derive(Debug)]
pub struct Evidence {
    /// The transaction's entry.
    pub entry: Vec<u8>,
    /// The entry of the first signature transaction after it. Its tree holds the transaction's leaf.
    pub signature: Vec<u8>,
    /// Seqno of that signature transaction.
    pub signature_seqno: u64,
    /// Text of the commit evidence.
    pub commit_evidence: String,
}

/// Emits signature transactions on time.
struct Emitter {
    stopping: Arc<(AtomicBool, Mutex<()>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Emitter {
    fn start(sequencer: Arc<Sequencer>, delay: Duration) -> std::io::Result<Self> {
        let stopping = Arc::new((AtomicBool::new(false), Mutex::new(()), Condvar::new()));
        let shared = Arc::clone(&stopping);
        let thread = std::thread::Builder::new().name("signatures".into()).spawn(move || {
            let (stop, lock, wake) = &*shared;
            let mut guard = lock.lock();
            while !stop.load(Ordering::Acquire) {
                wake.wait_for(&mut guard, delay);
                // A root that cannot be signed now is tried again at the next turn; meanwhile nothing commits,
                // which clients see.
                let _ = sequencer.sign_pending();
            }
        })?;
        Ok(Self { stopping, thread: Mutex::new(Some(thread)) })
    }

    fn stop(&self) {
        let (stop, _, wake) = &*self.stopping;
        stop.store(true, Ordering::Release);
        wake.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}
