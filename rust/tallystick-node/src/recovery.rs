//! Taking over a ledger that another node left behind (CCF: recovery).
//!
//! ```text
//! public replay    every entry's public domain, up to the last signature transaction that verifies
//!   → the node goes on from there, under a new identity, view and ledger secret
//! private replay   the same entries again, once the older ledger secrets are known
//!   → private maps join the store
//! ```
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tallystick_core::ledger::chunk::FileError;
use tallystick_core::ledger::crypto::open_many;
use tallystick_core::ledger::domain::{Visitor, walk};
use tallystick_core::ledger::{ChunkFile, Domain, Entry};
use tallystick_core::merkle::Tree;
use tallystick_core::reader::Reader;
use tallystick_core::secrets::SecretKey;
use tallystick_core::types::{Digest, TxId};

use crate::kv::{Map, MapChanges, State, WriteSet};
use crate::ledger::{LedgerError, Located};
use crate::sequencer::{LedgerSecrets, ViewHistory};

const SIGNATURES: &str = "public:ccf.internal.signatures";
const COSE_SIGNATURES: &str = "public:ccf.internal.cose_signatures";
const SERVICE_INFO: &str = "public:ccf.gov.service.info";
const HISTORICAL_SECRET: &str = "public:ccf.internal.historical_encrypted_ledger_secret";
const SINGLETON: &[u8] = &[0; 8];
/// Views that a ledger may count. The first seqno of each is kept, also of those in which nothing happened, and
/// what an unproven entry says must not decide how much memory that takes. Elections every second reach it in 48 days.
const MAX_VIEW: u64 = 1 << 22;

/// A signature transaction met during the public replay.
#[derive(Debug)]
pub struct MetSignature<'a> {
    /// Root over everything before it.
    pub root: Digest,
    /// Its transaction ID.
    pub txid: TxId,
    /// Value of `signatures`, if it has one.
    pub raw: Option<&'a [u8]>,
    /// Value of `cose_signatures`, if it has one.
    pub cose: Option<&'a [u8]>,
    /// Value of `service.info` as of then: whose service it is.
    pub service: Option<&'a [u8]>,
}

/// Says whether a signature transaction is genuine; the text tells why not.
pub type Judge<'a> = dyn FnMut(&MetSignature<'_>) -> Result<(), String> + 'a;

/// Why a ledger cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The files cannot be read or prepared.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Nothing in it is signed by its service.
    #[error("no signature transaction of the ledger verifies: {0}")]
    Nothing(String),
    /// It is not the ledger that was meant.
    #[error("{0}")]
    Refused(String),
    /// An entry of the private replay does not open, or is not the one of the public replay.
    #[error("transaction {seqno} cannot be recovered: {reason}")]
    Private {
        /// Seqno.
        seqno: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Where a node goes on from.
#[derive(Debug)]
pub struct Resumed {
    /// Public maps.
    pub state: State,
    /// Tree over everything.
    pub tree: Tree,
    /// First seqno of each view.
    pub views: ViewHistory,
    /// Seqnos of signature transactions.
    pub signatures: Vec<u64>,
    /// The last transaction, which is a signature transaction.
    pub last: TxId,
    /// Root that the last signature is over.
    pub last_root: Digest,
    /// Writes of the record that links ledger secrets, in order: seqno and value.
    pub links: Vec<(u64, Vec<u8>)>,
    /// Why the replay stopped before the end of the ledger, if it did.
    pub stopped: Option<String>,
}

/// Collects what a domain writes.
#[derive(Default)]
struct Writes {
    set: WriteSet,
    name: Option<Arc<str>>,
}

impl Writes {
    fn put(&mut self, key: &[u8], change: Option<Bytes>) {
        if let Some(name) = &self.name {
            let changes: &mut MapChanges = self.set.entry(Arc::clone(name)).or_default();
            changes.insert(Bytes::copy_from_slice(key), change);
        }
    }
}

impl<'a> Visitor<'a> for Writes {
    fn map(&mut self, name: &'a str) {
        self.name = Some(name.into());
    }
    fn write(&mut self, key: &'a [u8], value: &'a [u8]) {
        self.put(key, Some(Bytes::copy_from_slice(value)));
    }
    fn remove(&mut self, key: &'a [u8]) {
        self.put(key, None);
    }
}

fn written<'a>(writes: &'a WriteSet, table: &str) -> Option<&'a [u8]> {
    writes.get(table)?.get(SINGLETON)?.as_deref()
}

/// Reads the public domains of `chunks`, from seqno 1 on, and stops where something does not hold.
///
/// # Errors
/// [`RecoveryError::Nothing`] when not even the first signature transaction holds.
pub fn replay_public(chunks: &[Located], judge: &mut Judge<'_>) -> Result<Resumed, RecoveryError> {
    let mut replay = Replay::default();
    let mut stopped = None;
    for located in chunks {
        if let Err(reason) = replay.chunk(located, judge) {
            stopped = Some(reason);
            break;
        }
    }
    let Some(mut kept) = replay.kept.take() else {
        return Err(RecoveryError::Nothing(stopped.unwrap_or_else(|| "it holds none".to_owned())));
    };
    kept.stopped = stopped;
    kept.links = replay.links;
    kept.links.retain(|(seqno, _)| *seqno <= kept.last.seqno);
    // Pushed only once the signature was kept, so there is none beyond it.
    kept.signatures = replay.signatures;
    kept.views = replay.views;
    kept.views.roll_back(kept.last.seqno);
    Ok(kept)
}

struct Replay {
    state: State,
    tree: Tree,
    views: ViewHistory,
    signatures: Vec<u64>,
    links: Vec<(u64, Vec<u8>)>,
    kept: Option<Resumed>,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            state: State::default(),
            tree: Tree::new(),
            views: ViewHistory::default(),
            signatures: Vec::new(),
            links: Vec::new(),
            kept: None,
        }
    }
}

impl Replay {
    fn chunk(&mut self, located: &Located, judge: &mut Judge<'_>) -> Result<(), String> {
        // The files are read by their names afterwards.
        if located.first != self.tree.size() {
            return Err(format!(
                "expected a chunk that begins at {}, got {}",
                self.tree.size(),
                located.path.display()
            ));
        }
        let file = ChunkFile::open(&located.path).map_err(|error| error.to_string())?;
        let mut entries = file.entries_from(0).map_err(|error| error.to_string())?;
        while let Some(entry) = entries.next_entry().map_err(|error| error.to_string())? {
            self.entry(&entry, judge)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, judge: &mut Judge<'_>) -> Result<(), String> {
        let txid = entry.txid();
        if txid.seqno != self.tree.size() {
            return Err(format!("expected seqno {}, got {txid}", self.tree.size()));
        }
        if txid.view < self.state.view() {
            return Err(format!("{txid} goes back to an earlier view"));
        }
        if txid.view > MAX_VIEW {
            return Err(format!("{txid} is in a view beyond {MAX_VIEW}"));
        }
        let mut writes = Writes::default();
        entry.walk(&mut writes).map_err(|error| format!("{txid}: {error}"))?;
        let leaf = entry.leaf().map_err(|error| format!("{txid}: {error}"))?;
        let writes = writes.set;
        let (raw, cose) = (written(&writes, SIGNATURES), written(&writes, COSE_SIGNATURES));
        let root = if raw.is_some() || cose.is_some() {
            let root = self.tree.root();
            let info = self.state.map(SERVICE_INFO).and_then(|map| map.get(SINGLETON));
            let service = info.map(|found| found.value.as_ref());
            judge(&MetSignature { root, txid, raw, cose, service })
                .map_err(|error| format!("{txid}: {error}"))?;
            Some(root)
        } else {
            None
        };
        if let Some(link) = written(&writes, HISTORICAL_SECRET) {
            self.links.push((txid.seqno, link.to_vec()));
        }
        self.views.begin(txid.view, txid.seqno);
        self.state.apply(txid.view, txid.seqno, &writes);
        self.tree.append(leaf);
        if let Some(root) = root {
            self.signatures.push(txid.seqno);
            self.keep(txid, root);
        }
        Ok(())
    }

    /// Everything up to here is good.
    fn keep(&mut self, last: TxId, last_root: Digest) {
        // Leaves before the signature are never asked for again: receipts rest on the trees in the ledger.
        let _ = self.tree.flush(last.seqno);
        self.kept = Some(Resumed {
            state: self.state.clone(),
            tree: self.tree.clone(),
            views: ViewHistory::default(),
            signatures: Vec::new(),
            last,
            last_root,
            links: Vec::new(),
            stopped: None,
        });
    }
}

/// Entries that are opened at a time, on all cores; bounds what is held in memory.
const BATCH_ENTRIES: usize = 2048;

/// Private maps as of transaction `last`, from `chunks`, and checked against `root`, which is the Merkle root over
/// all of them.
///
/// # Errors
/// [`RecoveryError`]: a secret is missing or wrong, or the entries are others than those of the public replay.
pub fn replay_private(
    chunks: &[PathBuf],
    secrets: &LedgerSecrets,
    last: u64,
    root: &Digest,
) -> Result<BTreeMap<Arc<str>, Map>, RecoveryError> {
    let mut keys = BTreeMap::new();
    for (start, secret) in secrets.iter() {
        let key = SecretKey::copy_of(secret.raw())
            .map_err(|error| RecoveryError::Private { seqno: start, reason: error.to_string() })?;
        keys.insert(start, Arc::new(key));
    }
    let mut replay = PrivateReplay { state: State::default(), tree: Tree::new(), batch: Vec::new(), keys };
    for path in chunks {
        let wrong = |error: FileError| RecoveryError::Private { seqno: 0, reason: error.to_string() };
        let mut entries = ChunkFile::open(path).and_then(|chunk| chunk.entries_from(0)).map_err(wrong)?;
        while let Some(entry) = entries.next_entry().map_err(wrong)? {
            if entry.txid().seqno > last {
                break;
            }
            replay.take(entry)?;
        }
    }
    replay.open_batch()?;
    if replay.tree.size() != last + 1 || replay.tree.root() != *root {
        return Err(RecoveryError::Private {
            seqno: last,
            reason: "its Merkle root is not the one of the public replay".to_owned(),
        });
    }
    Ok(replay.state.maps().map(|(name, map)| (Arc::clone(name), map.clone())).collect())
}

struct PrivateReplay {
    state: State,
    tree: Tree,
    batch: Vec<(Entry, Option<Arc<SecretKey>>)>,
    keys: BTreeMap<u64, Arc<SecretKey>>,
}

impl PrivateReplay {
    fn take(&mut self, entry: Entry) -> Result<(), RecoveryError> {
        let seqno = entry.txid().seqno;
        let wrong = |reason: String| RecoveryError::Private { seqno, reason };
        let leaf = entry.leaf().map_err(|error| wrong(error.to_string()))?;
        self.tree.append(leaf);
        let key = self.keys.range(..=seqno).next_back().map(|(_, key)| Arc::clone(key));
        if key.is_none() {
            return Err(wrong("no ledger secret is known for it".to_owned()));
        }
        self.batch.push((entry, key));
        if self.batch.len() >= BATCH_ENTRIES { self.open_batch() } else { Ok(()) }
    }

    fn open_batch(&mut self) -> Result<(), RecoveryError> {
        let batch = std::mem::take(&mut self.batch);
        let opened = open_many(&batch);
        for ((entry, _), plaintext) in batch.iter().zip(opened) {
            let txid = entry.txid();
            let wrong = |reason: String| RecoveryError::Private { seqno: txid.seqno, reason };
            let plaintext =
                plaintext.ok_or_else(|| wrong("it does not open with its ledger secret".to_owned()))?;
            if plaintext.is_empty() {
                continue;
            }
            let mut writes = Writes::default();
            walk(Reader::new(&plaintext), Domain::Private, &mut writes)
                .map_err(|error| wrong(error.to_string()))?;
            self.state.apply(txid.view, txid.seqno, &writes.set);
        }
        Ok(())
    }
}
