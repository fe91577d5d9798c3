//! Committed transactions of the past, for handlers: what they wrote, and their receipts.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tallystick_core::ledger::crypto;
use tallystick_core::ledger::domain::{Domain, Visitor, walk};
use tallystick_core::ledger::entry::{Entry, EntryView};
use tallystick_core::merkle::Tree;
use tallystick_core::reader::Reader;
use tallystick_core::types::{TxId, to_hex};
use tallystick_js::app::HistoricalState;

use super::bundle::SINGLETON;
use crate::ledger::LedgerFiles;
use crate::sequencer::Sequencer;

const SIGNATURES: &str = "public:ccf.internal.signatures";
const COSE_SIGNATURES: &str = "public:ccf.internal.cose_signatures";
const TREE: &str = "public:ccf.internal.tree";
/// Most transactions that one call may ask for: all of them are in memory at once.
const MAX_RANGE: u64 = 20_000;
/// Most bytes that they may come to. A script's own heap, of 100 MB unless governance says otherwise, holds no more.
const MAX_RANGE_BYTES: usize = 128 * 1024 * 1024;
/// States kept between calls.
const MAX_STATES: usize = 2048;
/// Largest state that is kept: a client decides how much its transactions write.
const MAX_KEPT_STATE_BYTES: usize = 64 * 1024;
/// Trees of signature transactions kept between calls. One of 5,000 leaves takes half a megabyte.
const MAX_TREES: usize = 8;
/// Ranges remembered by handle.
const MAX_HANDLES: usize = 4096;

/// Rows of a signature transaction that receipts need.
struct Signed {
    tree: Tree,
    signature: Value,
}

/// A small cache: what was put in first goes first.
struct Kept<T> {
    values: HashMap<u64, T>,
    order: VecDeque<u64>,
    most: usize,
}

impl<T: Clone> Kept<T> {
    fn new(most: usize) -> Self {
        Self { values: HashMap::new(), order: VecDeque::new(), most }
    }

    fn get(&self, key: u64) -> Option<T> {
        self.values.get(&key).cloned()
    }

    fn put(&mut self, key: u64, value: T) {
        if self.values.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.most {
            if let Some(oldest) = self.order.pop_front() {
                self.values.remove(&oldest);
            }
        }
    }
}

/// The past of one node's ledger.
pub struct History {
    sequencer: Arc<Sequencer>,
    files: Arc<LedgerFiles>,
    states: Mutex<Kept<Arc<HistoricalState>>>,
    trees: Mutex<Kept<Arc<Signed>>>,
    handles: Mutex<Kept<(u64, u64)>>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

/// Tables of one domain.
type Tables = BTreeMap<String, BTreeMap<Bytes, Option<Bytes>>>;

/// Collects what an entry wrote.
struct Collect(Tables, String);

impl<'a> Visitor<'a> for Collect {
    fn map(&mut self, name: &'a str) {
        name.clone_into(&mut self.1);
        self.0.entry(name.to_owned()).or_default();
    }
    fn write(&mut self, key: &'a [u8], value: &'a [u8]) {
        if let Some(table) = self.0.get_mut(&self.1) {
            table.insert(Bytes::copy_from_slice(key), Some(Bytes::copy_from_slice(value)));
        }
    }
    fn remove(&mut self, key: &'a [u8]) {
        if let Some(table) = self.0.get_mut(&self.1) {
            table.insert(Bytes::copy_from_slice(key), None);
        }
    }
}

impl History {
    /// The past that `files` hold, as far as `sequencer` says it is committed.
    #[must_use]
    pub fn new(sequencer: Arc<Sequencer>, files: Arc<LedgerFiles>) -> Self {
        Self {
            sequencer,
            files,
            states: Mutex::new(Kept::new(MAX_STATES)),
            trees: Mutex::new(Kept::new(MAX_TREES)),
            handles: Mutex::new(Kept::new(MAX_HANDLES)),
        }
    }

    /// Transactions `first` to `last`; `None` while the last is not committed yet.
    pub(super) fn range(
        &self,
        handle: u64,
        first: u64,
        last: u64,
    ) -> Result<Option<Vec<Arc<HistoricalState>>>, String> {
        self.range_of(handle, first, last, MAX_RANGE_BYTES)
    }

    fn range_of(
        &self,
        handle: u64,
        first: u64,
        last: u64,
        most: usize,
    ) -> Result<Option<Vec<Arc<HistoricalState>>>, String> {
        if first == 0 || last < first {
            return Err(format!("Invalid range: {first} to {last}"));
        }
        self.handles.lock().put(handle, (first, last));
        if last > self.sequencer.committed().seqno {
            return Ok(None);
        }
        if last - first >= MAX_RANGE {
            return Err(format!("Invalid range: {first} to {last} is more than {MAX_RANGE} transactions"));
        }
        let mut states = Vec::new();
        let mut bytes = 0;
        for seqno in first..=last {
            let view = self
                .sequencer
                .view_at(seqno)
                .ok_or_else(|| format!("the view of seqno {seqno} is unknown"))?;
            let state = self.state(TxId { view, seqno })?;
            bytes += size_of(&state);
            if bytes > most {
                return Err(format!("Invalid range: {first} to {last} is more than {most} bytes"));
            }
            states.push(state);
        }
        Ok(Some(states))
    }

    /// Forgets the range of `handle`; says whether there was one.
    pub(super) fn drop_range(&self, handle: u64) -> bool {
        self.handles.lock().values.remove(&handle).is_some()
    }

    /// A committed transaction.
    ///
    /// # Errors
    /// Text, when the ledger files do not give what was written to them.
    pub(super) fn state(&self, txid: TxId) -> Result<Arc<HistoricalState>, String> {
        if let Some(state) = self.states.lock().get(txid.seqno) {
            return Ok(state);
        }
        let failed = |why: &dyn std::fmt::Display| format!("transaction {txid} cannot be read: {why}");
        let raw = self.files.read(txid.seqno).map_err(|error| failed(&error))?;
        let entry = Entry::new(raw, 0).map_err(|error| failed(&error))?;
        if entry.txid() != txid {
            return Err(failed(&format!("the ledger has {} there", entry.txid())));
        }
        let mut collect = Collect(Tables::new(), String::new());
        entry.walk(&mut collect).map_err(|error| failed(&error))?;
        let receipt = self.receipt(txid, &entry, &collect.0).map_err(|error| failed(&error))?;
        let mut tables = collect.0;
        if !entry.private_domain().is_empty() {
            let secrets = self.sequencer.secrets();
            let secret =
                secrets.at(txid.seqno).ok_or_else(|| failed(&"its ledger secret is not known here"))?;
            let view = EntryView::parse(entry.raw()).map_err(|error| failed(&error))?;
            let plaintext = crypto::open(&view, secret.raw()).map_err(|error| failed(&error))?;
            let mut private = Collect(Tables::new(), String::new());
            walk(Reader::new(&plaintext), Domain::Private, &mut private).map_err(|error| failed(&error))?;
            tables.append(&mut private.0);
        }
        let state = Arc::new(HistoricalState {
            transaction_id: txid.to_string(),
            receipt: receipt.to_string(),
            tables,
        });
        if size_of(&state) <= MAX_KEPT_STATE_BYTES {
            self.states.lock().put(txid.seqno, Arc::clone(&state));
        }
        Ok(state)
    }

    /// The receipt as handlers see it.
    fn receipt(&self, txid: TxId, entry: &Entry, tables: &Tables) -> Result<Value, String> {
        if tables.contains_key(SIGNATURES) || tables.contains_key(COSE_SIGNATURES) {
            let signature = signature_row(tables)?;
            let root = signature.get("root").cloned().unwrap_or(Value::Null);
            let mut receipt = base(&signature, true);
            insert(&mut receipt, "root_hex", root);
            return Ok(receipt);
        }
        let covering = self.sequencer.covering_signature(txid.seqno).ok_or("no signature covers it yet")?;
        let signed = self.signed(covering)?;
        let head = entry.head().map_err(|error| error.to_string())?;
        let secrets = self.sequencer.secrets();
        let secret = secrets.at(txid.seqno).ok_or("its ledger secret is not known here")?;
        let evidence = crypto::commit_evidence(secret.raw(), txid).map_err(|error| error.to_string())?;
        let mut leaf =
            json!({ "write_set_digest": to_hex(&entry.write_set_digest()), "commit_evidence": evidence });
        if let Some(claims) = head.claims_digest {
            insert(&mut leaf, "claims_digest", Value::String(to_hex(claims)));
        }
        let path = signed.tree.path(txid.seqno, covering).map_err(|error| error.to_string())?;
        let proof = path.iter().map(|(left, sibling)| {
            let side = if *left { "left" } else { "right" };
            json!({ side: to_hex(sibling) })
        });
        let mut receipt = base(&signed.signature, false);
        insert(&mut receipt, "leaf_components", leaf);
        insert(&mut receipt, "proof", Value::Array(proof.collect()));
        Ok(receipt)
    }

    /// What signature transaction `seqno` says.
    fn signed(&self, seqno: u64) -> Result<Arc<Signed>, String> {
        if let Some(signed) = self.trees.lock().get(seqno) {
            return Ok(signed);
        }
        let raw = self.files.read(seqno).map_err(|error| error.to_string())?;
        let entry = Entry::new(raw, 0).map_err(|error| error.to_string())?;
        let mut collect = Collect(Tables::new(), String::new());
        entry.walk(&mut collect).map_err(|error| error.to_string())?;
        let tree = row(&collect.0, TREE).ok_or("its signature transaction has no tree")?;
        let tree = Tree::from_compact(&tree).map_err(|error| error.to_string())?;
        let signed = Arc::new(Signed { tree, signature: signature_row(&collect.0)? });
        self.trees.lock().put(seqno, Arc::clone(&signed));
        Ok(signed)
    }
}

/// Bytes that a state holds.
fn size_of(state: &HistoricalState) -> usize {
    let rows = state.tables.values().flatten();
    let written = rows.map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len));
    state.receipt.len() + written.sum::<usize>()
}

fn row(tables: &Tables, table: &str) -> Option<Bytes> {
    tables.get(table)?.get(SINGLETON.as_slice())?.clone()
}

/// The node's signature; what is missing under COSE-only signatures is left empty.
fn signature_row(tables: &Tables) -> Result<Value, String> {
    match row(tables, SIGNATURES) {
        Some(row) => serde_json::from_slice(&row).map_err(|error| error.to_string()),
        None => Ok(json!({})),
    }
}

fn base(signature: &Value, is_signature_transaction: bool) -> Value {
    let text = |name: &str| signature.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    // The table holds base64 already; decoding it only makes sure.
    let bytes = STANDARD.decode(text("sig")).unwrap_or_default();
    json!({
        "signature": STANDARD.encode(bytes),
        "cert": text("cert"),
        "node_id": text("node"),
        "is_signature_transaction": is_signature_transaction,
    })
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::time::Duration;

    use tallystick_core::types::Digest;

    use super::*;
    use crate::entry::LedgerSecret;
    use crate::ledger::{LedgerError, Options as LedgerOptions};
    use crate::node::{Node, Options};
    use crate::sequencer::{
        Committing, Observer, Options as SequencerOptions, RootSigner, SignError, SignatureMode, SignedRoot,
    };

    struct Fixed;

    impl RootSigner for Fixed {
        fn sign(&self, _root: &Digest, _txid: TxId) -> Result<SignedRoot, SignError> {
            let (raw, cose) = (vec![0x30], vec![0xd2]);
            Ok(SignedRoot { raw, cose, node_id: String::new(), node_certificate: String::new() })
        }
    }

    impl Observer for Fixed {
        fn committed(&self, _txid: TxId) {}
        fn delayed(&self, _error: &LedgerError) {}
    }

    #[test]
    fn what_is_kept_and_what_is_gathered_is_bounded_in_bytes() {
        let name = format!("tallystick-past-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&directory);
        let options = Options {
            sequencer: SequencerOptions {
                view: 2,
                signature_tx_count: 1,
                chunk_size: 1_000_000,
                max_uncommitted: 0,
                mode: SignatureMode::Dual,
            },
            ledger: LedgerOptions { directory: directory.clone(), read_only: Vec::new(), sync: false },
            signature_delay: Duration::from_millis(5),
        };
        let secret = LedgerSecret::new(&[7; 32]).unwrap();
        let node = Node::start(options, secret, Arc::new(Fixed), Fixed).unwrap();
        let written: Vec<TxId> = [10, MAX_KEPT_STATE_BYTES]
            .into_iter()
            .map(|size| {
                let mut transaction = node.sequencer().begin();
                transaction.set("records", Bytes::from_static(b"key"), vec![1; size].into());
                node.sequencer().commit(&transaction, Committing::default()).unwrap()
            })
            .collect();
        let [small, large] = written.as_slice() else { unreachable!() };
        assert!(node.sequencer().wait_committed(large.seqno, Duration::from_secs(20)));
        let history = History::new(Arc::clone(node.sequencer()), Arc::clone(node.files()));
        let sizes: Vec<usize> = written.iter().map(|txid| size_of(&history.state(*txid).unwrap())).collect();
        assert!(history.states.lock().get(small.seqno).is_some());
        assert!(history.states.lock().get(large.seqno).is_none());
        let range = |most| history.range_of(1, large.seqno, large.seqno, most);
        let size = sizes.last().copied().unwrap();
        assert!(size > MAX_KEPT_STATE_BYTES);
        assert_eq!(range(size).unwrap().map(|states| states.len()), Some(1));
        assert!(range(size - 1).unwrap_err().contains("bytes"));
        drop((history, node));
        let _ = std::fs::remove_dir_all(&directory);
    }
}
