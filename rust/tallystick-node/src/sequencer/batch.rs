//! The sequencer itself.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use tallystick_core::merkle::Tree;
use tallystick_core::types::{Digest, TxId};

use super::replicate::{Batch, Observer, Replicator};
use super::secrets::LedgerSecrets;
use super::signature::{RootSigner, SignError, SignatureMode, write_set};
use super::snapshots::{Snapshot, Snapshots};
use super::status::{TxStatus, ViewHistory};
use crate::entry::{CLOSE_AFTER, CLOSE_BEFORE, Domains, EntryError, LedgerSecret, seal};
use crate::kv::{Conflict, Map, Store, Transaction, WriteSet};
use crate::ledger::LedgerError;
use crate::recovery::Resumed;

/// How the sequencer works.
#[derive(Clone, Debug)]
pub struct Options {
    /// View in which it executes.
    pub view: u64,
    /// A signature transaction follows after this many transactions at the latest.
    pub signature_tx_count: u64,
    /// Bytes of entries after which a chunk ends, at the next signature transaction.
    pub chunk_size: u64,
    /// Transactions that may wait for their commit before more are refused; 0 means no limit.
    pub max_uncommitted: u64,
    /// Which signatures are made.
    pub mode: SignatureMode,
}

/// What goes with a transaction beside its write set.
#[derive(Debug, Default)]
pub struct Committing {
    /// Claims digest; zeros when there are no claims.
    pub claims_digest: Digest,
    /// End the chunk at the next signature transaction.
    pub close_chunk: bool,
    /// Start a new chunk before this transaction.
    pub close_before: bool,
    /// A ledger secret that is in force from the next transaction on.
    pub install_secret: Option<LedgerSecret>,
}

/// Why a transaction did not commit.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Run it again.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// It cannot be written.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// No signature can be made, so nothing can be committed any more.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

/// Orders transactions and makes batches of them.
pub struct Sequencer {
    options: Options,
    store: Store,
    signer: Arc<dyn RootSigner>,
    replicator: RwLock<Option<Arc<dyn Replicator>>>,
    inner: Mutex<Inner>,
    committed: Mutex<TxId>,
    committed_seqno: AtomicU64,
    last_seqno: AtomicU64,
    progressed: Condvar,
    stopped: AtomicBool,
}

struct Inner {
    next: u64,
    tree: Tree,
    secrets: LedgerSecrets,
    views: ViewHistory,
    batch: Vec<Bytes>,
    batch_first: u64,
    /// Bytes of entries since the last chunk ended.
    chunk_bytes: u64,
    close_chunk: bool,
    close_before: bool,
    /// Seqnos of signature transactions, ascending: the index that receipts need.
    signatures: Vec<u64>,
    snapshots: Snapshots,
    /// The private part of a ledger that was taken over is still missing. A snapshot would lack it for good.
    public_only: bool,
}

impl Inner {
    fn empty() -> Self {
        Self {
            next: 1,
            tree: Tree::new(),
            secrets: LedgerSecrets::default(),
            views: ViewHistory::default(),
            batch: Vec::new(),
            batch_first: 1,
            chunk_bytes: 0,
            close_chunk: false,
            close_before: false,
            signatures: Vec::new(),
            snapshots: Snapshots::default(),
            public_only: false,
        }
    }
}

impl std::fmt::Debug for Sequencer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sequencer").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Sequencer {
    /// The sequencer of a new service: an empty store, the tree of the zero leaf, seqno 1 next.
    #[must_use]
    pub fn new(options: Options, secret: LedgerSecret, signer: Arc<dyn RootSigner>) -> Self {
        let mut views = ViewHistory::default();
        views.begin(options.view, 1);
        Self {
            store: Store::default(),
            signer,
            replicator: RwLock::new(None),
            inner: Mutex::new(Inner {
                secrets: LedgerSecrets::starting_with(1, secret),
                views,
                ..Inner::empty()
            }),
            committed: Mutex::new(TxId { view: 0, seqno: 0 }),
            committed_seqno: AtomicU64::new(0),
            last_seqno: AtomicU64::new(0),
            progressed: Condvar::new(),
            stopped: AtomicBool::new(false),
            options,
        }
    }

    /// The sequencer of a node that takes over a ledger: it goes on after `resumed.last`, in the view of
    /// `options`, under `secret`.
    #[must_use]
    pub fn resume(
        options: Options,
        resumed: Resumed,
        secret: LedgerSecret,
        signer: Arc<dyn RootSigner>,
    ) -> Self {
        let last = resumed.last;
        let next = last.seqno + 1;
        let mut views = resumed.views;
        views.begin(options.view, next);
        let inner = Inner {
            next,
            tree: resumed.tree,
            secrets: LedgerSecrets::starting_with(next, secret),
            views,
            batch_first: next,
            signatures: resumed.signatures,
            public_only: true,
            ..Inner::empty()
        };
        Self {
            store: Store::new(resumed.state),
            signer,
            replicator: RwLock::new(None),
            inner: Mutex::new(inner),
            committed: Mutex::new(last),
            committed_seqno: AtomicU64::new(last.seqno),
            last_seqno: AtomicU64::new(last.seqno),
            progressed: Condvar::new(),
            stopped: AtomicBool::new(false),
            options,
        }
    }

    /// Adds private maps of before a recovery, and the ledger secrets under which they were written.
    pub fn adopt_private(&self, maps: &BTreeMap<Arc<str>, Map>, secrets: &LedgerSecrets) {
        let mut inner = self.inner.lock();
        for (start, secret) in secrets.iter() {
            inner.secrets.share(start, secret);
        }
        self.store.adopt(maps);
        inner.public_only = false;
    }

    /// Where batches go from now on.
    pub fn set_replicator(&self, replicator: Arc<dyn Replicator>) {
        *self.replicator.write() = Some(replicator);
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Opens a transaction.
    #[must_use]
    pub fn begin(&self) -> Transaction {
        self.store.begin()
    }

    /// Opens a transaction, with the Merkle root over everything up to its snapshot.
    #[must_use]
    pub fn begin_with_root(&self) -> (Transaction, Digest) {
        let inner = self.inner.lock();
        (self.store.begin(), inner.tree.root())
    }

    /// Whether so much waits for its commit that writers should be told to come back later.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        let waiting = self.last().saturating_sub(self.committed_seqno.load(Ordering::Acquire));
        self.options.max_uncommitted != 0 && waiting >= self.options.max_uncommitted
    }

    /// Waits until fewer transactions than the limit wait for their commit, for at most `patience`; says whether
    /// it is so. A writer that is held back for a moment neither fails nor asks again.
    pub fn wait_for_room(&self, patience: Duration) -> bool {
        if !self.is_saturated() {
            return true;
        }
        let enough = self.last().saturating_sub(self.options.max_uncommitted.saturating_sub(1));
        self.wait_committed(enough, patience)
    }

    /// Commits `transaction` locally: it has a transaction ID from here on, and is committed once the batch
    /// that it is in is. A transaction without writes takes the ID of the version that it read.
    ///
    /// # Errors
    /// [`CommitError`]; the transaction was not applied.
    pub fn commit(&self, transaction: &Transaction, committing: Committing) -> Result<TxId, CommitError> {
        if transaction.is_read_only() {
            return Ok(self.read_txid(transaction));
        }
        // Serialising needs no transaction ID, so it happens before the lock.
        let domains = Domains::of(transaction.writes());
        let mut inner = self.inner.lock();
        if self.stopped.load(Ordering::Acquire) {
            return Err(CommitError::Stopped);
        }
        self.store.check(transaction)?;
        if committing.close_before {
            // A batch starts at a chunk's start, so what is pending goes first.
            if !inner.batch.is_empty() {
                self.sign(&mut inner)?;
            }
        }
        let flags = if committing.close_before { CLOSE_BEFORE } else { 0 };
        let txid =
            self.append(&mut inner, transaction.writes(), &domains, &committing.claims_digest, flags)?;
        inner.close_before |= committing.close_before;
        inner.close_chunk |= committing.close_chunk;
        if let Some(secret) = committing.install_secret {
            inner.secrets.insert(txid.seqno + 1, secret);
        }
        if inner.batch.len() as u64 >= self.options.signature_tx_count {
            // The transaction is applied, so its caller must not hear that it failed. A root that cannot be signed now
            // is tried again by the next transaction and by the emitter; until then nothing commits.
            let _ = self.sign(&mut inner);
        }
        Ok(txid)
    }

    /// Emits a signature transaction if anything waits for one.
    ///
    /// # Errors
    /// [`CommitError`] when the root cannot be signed.
    pub fn sign_pending(&self) -> Result<Option<TxId>, CommitError> {
        let mut inner = self.inner.lock();
        if inner.batch.is_empty() || self.stopped.load(Ordering::Acquire) {
            return Ok(None);
        }
        self.sign(&mut inner).map(Some)
    }

    /// The transaction ID of the snapshot that `transaction` read.
    #[must_use]
    pub fn read_txid(&self, transaction: &Transaction) -> TxId {
        TxId { view: transaction.base().view(), seqno: transaction.base().version() }
    }

    /// Last transaction executed here.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last_seqno.load(Ordering::Acquire)
    }

    /// Last committed transaction.
    #[must_use]
    pub fn committed(&self) -> TxId {
        *self.committed.lock()
    }

    /// Status of a transaction ID.
    #[must_use]
    pub fn status(&self, target: TxId) -> TxStatus {
        let committed = self.committed();
        let inner = self.inner.lock();
        inner.views.status(target, inner.next - 1, committed)
    }

    /// First seqno of each view.
    #[must_use]
    pub fn view_history(&self) -> Vec<u64> {
        self.inner.lock().views.starts().to_vec()
    }

    /// View of `seqno`, if it is known here.
    #[must_use]
    pub fn view_at(&self, seqno: u64) -> Option<u64> {
        let inner = self.inner.lock();
        (seqno != 0 && seqno < inner.next).then(|| inner.views.view_at(seqno)).flatten()
    }

    /// The ledger secrets known.
    #[must_use]
    pub fn secrets(&self) -> LedgerSecrets {
        self.inner.lock().secrets.clone()
    }

    /// Seqno of the last signature transaction, committed or not.
    #[must_use]
    pub fn last_signature(&self) -> Option<u64> {
        self.inner.lock().signatures.last().copied()
    }

    /// The first committed signature transaction after `seqno`: the one that a receipt for it rests on.
    #[must_use]
    pub fn covering_signature(&self, seqno: u64) -> Option<u64> {
        let committed = self.committed_seqno.load(Ordering::Acquire);
        let inner = self.inner.lock();
        let index = inner.signatures.partition_point(|signature| *signature <= seqno);
        inner.signatures.get(index).copied().filter(|signature| *signature <= committed)
    }

    /// Takes a snapshot every `interval` transactions from now on; 0: only when asked.
    pub fn schedule_snapshots(&self, interval: u64) {
        let mut inner = self.inner.lock();
        let last = inner.next - 1;
        inner.snapshots.schedule(interval, last);
    }

    /// Takes a snapshot at the next signature transaction.
    pub fn force_snapshot(&self) {
        self.inner.lock().snapshots.force();
    }

    /// The oldest snapshot that is committed and that nobody has taken yet.
    #[must_use]
    pub fn take_snapshot(&self) -> Option<Snapshot> {
        let committed = self.committed_seqno.load(Ordering::Acquire);
        self.inner.lock().snapshots.take(committed)
    }

    /// Waits until `seqno` is committed, for at most `patience`; says whether it is.
    pub fn wait_committed(&self, seqno: u64, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut committed = self.committed.lock();
        while committed.seqno < seqno {
            if self.stopped.load(Ordering::Acquire)
                || self.progressed.wait_until(&mut committed, deadline).timed_out()
            {
                return committed.seqno >= seqno;
            }
        }
        true
    }

    /// Signs what is pending, and refuses everything from then on.
    ///
    /// # Errors
    /// [`CommitError`] when the root cannot be signed.
    pub fn stop(&self) -> Result<(), CommitError> {
        let mut inner = self.inner.lock();
        let stopping = !self.stopped.swap(true, Ordering::AcqRel);
        // Under the lock, so that no transaction comes between the last signature and the end.
        let signed =
            if stopping && !inner.batch.is_empty() { self.sign(&mut inner).map(|_| ()) } else { Ok(()) };
        drop(inner);
        // Whoever found it running holds this lock until it sleeps; then it can be woken.
        drop(self.committed.lock());
        self.progressed.notify_all();
        signed
    }

    fn append(
        &self,
        inner: &mut Inner,
        writes: &WriteSet,
        domains: &Domains,
        claims_digest: &Digest,
        flags: u8,
    ) -> Result<TxId, CommitError> {
        let txid = TxId { view: self.options.view, seqno: inner.next };
        let secret = inner.secrets.at(txid.seqno).ok_or(EntryError::SecretLength(0))?;
        let sealed = seal(txid, flags, domains, claims_digest, secret)?;
        if inner.batch.is_empty() {
            inner.batch_first = txid.seqno;
        }
        inner.chunk_bytes += sealed.entry.len() as u64;
        inner.batch.push(sealed.entry);
        inner.tree.append(sealed.leaf);
        self.store.apply(txid.view, txid.seqno, writes);
        inner.next += 1;
        self.last_seqno.store(txid.seqno, Ordering::Release);
        Ok(txid)
    }

    /// Keeps the state after signature transaction `seqno`, which was just applied.
    fn keep_snapshot(&self, inner: &mut Inner, seqno: u64) {
        if let (Ok(leaf), Some(secret)) = (inner.tree.leaf(seqno), inner.secrets.at(seqno)) {
            let (secret, views) = (Arc::clone(secret), inner.views.starts().to_vec());
            inner.snapshots.keep(Snapshot { seqno, state: self.store.current(), leaf, views, secret });
        }
    }

    fn sign(&self, inner: &mut Inner) -> Result<TxId, CommitError> {
        let txid = TxId { view: self.options.view, seqno: inner.next };
        let root = inner.tree.root();
        let signed = self.signer.sign(&root, txid)?;
        let writes = write_set(self.options.mode, &signed, &root, txid, inner.tree.to_compact());
        // A node that starts from a snapshot starts with a new chunk, so the old one ends here.
        let snapshot_due = !inner.public_only && inner.snapshots.due(txid.seqno);
        let close_after = snapshot_due || inner.close_chunk || inner.chunk_bytes >= self.options.chunk_size;
        let flags = if close_after { CLOSE_AFTER } else { 0 };
        self.append(inner, &writes, &Domains::of(&writes), &[0; 32], flags)?;
        inner.signatures.push(txid.seqno);
        self.store.retain();
        if snapshot_due {
            self.keep_snapshot(inner, txid.seqno);
        }
        let batch = Batch {
            view: self.options.view,
            first: inner.batch_first,
            entries: std::mem::take(&mut inner.batch),
            close_before: std::mem::take(&mut inner.close_before),
            close_after,
        };
        if close_after {
            inner.chunk_bytes = 0;
            inner.close_chunk = false;
        }
        if let Some(replicator) = self.replicator.read().as_ref() {
            replicator.submit(batch);
        }
        Ok(txid)
    }
}

/// Follows the replicator's word, and hands it on.
#[derive(Debug)]
pub(crate) struct CommitFollower<Next> {
    pub(crate) sequencer: Arc<Sequencer>,
    pub(crate) next: Next,
}

impl<Next: Observer> Observer for CommitFollower<Next> {
    fn committed(&self, txid: TxId) {
        let sequencer = &self.sequencer;
        {
            let mut inner = sequencer.inner.lock();
            // Later trees are written from the last committed signature on, as CCF's are.
            let _ = inner.tree.flush(txid.seqno);
        }
        sequencer.store.compact(txid.seqno);
        *sequencer.committed.lock() = txid;
        sequencer.committed_seqno.store(txid.seqno, Ordering::Release);
        sequencer.progressed.notify_all();
        self.next.committed(txid);
    }

    fn delayed(&self, error: &LedgerError) {
        self.next.delayed(error);
    }
}
