//! One node's data plane, put together: sequencer, signature emitter, ledger files, and what receipts need.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tallystick_core::types::{Digest, TxId};

use crate::entry::LedgerSecret;
use crate::ledger::{LedgerError, LedgerFiles, Options as LedgerOptions};
use crate::recovery::{Judge, RecoveryError, replay_private, replay_public};
use crate::sequencer::{
    CommitError, CommitFollower, LedgerSecrets, LocalReplicator, Observer, Options as SequencerOptions,
    RootSigner, Sequencer,
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
    /// The ledger cannot be taken over.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// A thread cannot be started.
    #[error("the node's threads cannot start: {0}")]
    Thread(std::io::Error),
}

/// What a node could not do before it ended.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The last root could not be signed.
    #[error(transparent)]
    Sign(#[from] CommitError),
    /// The disk did not take everything.
    #[error("transactions from seqno {0} on could not be written to the ledger; none of them was committed")]
    Unwritten(u64),
}

/// A running data plane.
pub struct Node {
    sequencer: Arc<Sequencer>,
    files: Arc<LedgerFiles>,
    replicator: Arc<LocalReplicator>,
    emitter: Emitter,
    public_end: Option<PublicEnd>,
}

/// Where the public replay of a recovery ended.
#[derive(Debug)]
struct PublicEnd {
    seqno: u64,
    /// Merkle root over everything up to there.
    root: Digest,
}

/// What a recovery found.
#[derive(Debug)]
pub struct Recovered {
    /// The last transaction taken over.
    pub last: TxId,
    /// Root that the last signature is over.
    pub last_root: Digest,
    /// Writes of the record that links ledger secrets, in order: seqno and value.
    pub links: Vec<(u64, Vec<u8>)>,
    /// Why not everything was taken over.
    pub stopped: Option<String>,
}

/// No election takes place before a recovery, which skips a view for it.
const RECOVERY_VIEW_STEP: u64 = 2;

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
        Self::run(files, sequencer, options.signature_delay, None, observer)
    }

    /// Takes over the ledger in the directories of `options`: reads its public part as far as `judge` finds the
    /// signatures genuine and `accept` finds the last one to be of the right service, cuts off the rest, and goes
    /// on under `secret`, two views later, as CCF does.
    ///
    /// # Errors
    /// [`StartError`] when nothing in the ledger is genuine, or the files cannot be read or changed.
    pub fn recover(
        mut options: Options,
        secret: LedgerSecret,
        signer: Arc<dyn RootSigner>,
        observer: impl Observer,
        judge: &mut Judge<'_>,
        accept: impl FnOnce(TxId) -> Result<(), String>,
    ) -> Result<(Self, Recovered), StartError> {
        let chunks = LedgerFiles::locate_chunks(&options.ledger)?;
        let mut resumed = replay_public(&chunks, judge)?;
        // Nothing was changed yet.
        accept(resumed.last).map_err(RecoveryError::Refused)?;
        let recovered = Recovered {
            last: resumed.last,
            last_root: resumed.last_root,
            links: std::mem::take(&mut resumed.links),
            stopped: resumed.stopped.take(),
        };
        options.sequencer.view = recovered.last.view + RECOVERY_VIEW_STEP;
        let files = Arc::new(LedgerFiles::resume(options.ledger, &chunks, recovered.last.seqno)?);
        let public = PublicEnd { seqno: recovered.last.seqno, root: resumed.tree.root() };
        let sequencer = Arc::new(Sequencer::resume(options.sequencer, resumed, secret, signer));
        let node = Self::run(files, sequencer, options.signature_delay, Some(public), observer)?;
        Ok((node, recovered))
    }

    /// Reads the private part of the ledger that was taken over, under `secrets`, into the store.
    ///
    /// # Errors
    /// [`RecoveryError`]; nothing was taken in.
    pub fn recover_private(&self, secrets: &LedgerSecrets) -> Result<(), RecoveryError> {
        let Some(public) = &self.public_end else {
            return Ok(());
        };
        let maps = replay_private(&self.files.paths(), secrets, public.seqno, &public.root)?;
        self.sequencer.adopt_private(&maps, secrets);
        Ok(())
    }

    fn run(
        files: Arc<LedgerFiles>,
        sequencer: Arc<Sequencer>,
        signature_delay: Duration,
        public_end: Option<PublicEnd>,
        observer: impl Observer,
    ) -> Result<Self, StartError> {
        let follower = Arc::new(CommitFollower { sequencer: Arc::clone(&sequencer), next: observer });
        let replicator =
            Arc::new(LocalReplicator::start(Arc::clone(&files), follower).map_err(StartError::Thread)?);
        sequencer.set_replicator(Arc::clone(&replicator) as _);
        let emitter = Emitter::start(Arc::clone(&sequencer), signature_delay).map_err(StartError::Thread)?;
        Ok(Self { sequencer, files, replicator, emitter, public_end })
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
    /// [`StopError`] when the last root could not be signed, or the disk refused; every thread is ended all the same.
    pub fn stop(&self) -> Result<(), StopError> {
        self.emitter.stop();
        let signed = self.sequencer.stop();
        let unwritten = self.replicator.stop();
        signed?;
        unwritten.map_or(Ok(()), |seqno| Err(StopError::Unwritten(seqno)))
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
        let (stop, lock, wake) = &*self.stopping;
        stop.store(true, Ordering::Release);
        // Having found that it is not to stop, it holds the lock until it sleeps: only then is it woken.
        drop(lock.lock());
        wake.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}
