//! All maps at one version, and the current one among them.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use rpds::HashTrieMapSync;

use super::Map;
use super::transaction::{Transaction, WriteSet};

/// Every map after transaction `version`.
#[derive(Clone, Debug, Default)]
pub struct State {
    maps: HashTrieMapSync<Arc<str>, Map>,
    version: u64,
    view: u64,
    /// Counts rollbacks: a transaction that began before one never commits after it, even if the keys it read
    /// have the same versions again.
    generation: u64,
}

impl State {
    /// A state rebuilt from a snapshot.
    #[must_use]
    pub fn from_parts(version: u64, view: u64, maps: impl IntoIterator<Item = (Arc<str>, Map)>) -> Self {
        Self { maps: maps.into_iter().collect(), version, view, generation: 0 }
    }

    /// The map `name`, if any transaction has ever written it.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<&Map> {
        self.maps.get(name)
    }

    /// Every map, in no particular order.
    pub fn maps(&self) -> impl Iterator<Item = (&Arc<str>, &Map)> {
        self.maps.iter()
    }

    /// Seqno of the last transaction applied.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// View of the last transaction applied.
    #[must_use]
    pub fn view(&self) -> u64 {
        self.view
    }

    pub(crate) fn apply(&mut self, view: u64, version: u64, writes: &WriteSet) {
        for (name, changes) in writes {
            let mut map = self.maps.get(name).cloned().unwrap_or_default();
            map.apply(version, changes.iter());
            self.maps.insert_mut(Arc::clone(name), map);
        }
        self.version = version;
        self.view = view;
    }
}

/// Something that the transaction read has changed: run it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transaction conflicts with one that committed first")]
pub struct Conflict;

/// The current state, and the earlier ones that a rollback may still need.
///
/// Callers serialise `check`, `apply`, `roll_back` and `compact` among themselves (the sequencer's lock);
/// `begin` may be called at any time.
#[derive(Debug, Default)]
pub struct Store {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    current: Arc<State>,
    /// States at the ends of batches that are not committed yet, oldest first.
    retained: VecDeque<Arc<State>>,
}

impl Store {
    /// A store that begins at `state`.
    #[must_use]
    pub fn new(state: State) -> Self {
        let current = Arc::new(state);
        Self { inner: Mutex::new(Inner { retained: VecDeque::from([Arc::clone(&current)]), current }) }
    }

    /// Opens a transaction over the current state.
    #[must_use]
    pub fn begin(&self) -> Transaction {
        Transaction::new(self.current())
    }

    /// The current state.
    #[must_use]
    pub fn current(&self) -> Arc<State> {
        Arc::clone(&self.inner.lock().current)
    }

    /// Whether `transaction` may still commit.
    ///
    /// # Errors
    /// [`Conflict`] when something that it read has changed since. Blind writes never conflict.
    pub fn check(&self, transaction: &Transaction) -> Result<(), Conflict> {
        let current = self.current();
        if Arc::ptr_eq(&current, &transaction.base) {
            return Ok(());
        }
        if current.generation != transaction.base.generation {
            return Err(Conflict);
        }
        for (name, dependencies) in &transaction.reads {
            let map = current.map(name);
            let version = map.map_or(0, Map::version);
            if dependencies.whole.is_some_and(|seen| seen != version) {
                return Err(Conflict);
            }
            for (key, seen) in &dependencies.keys {
                if map.and_then(|map| map.get(key)).map(|found| found.version) != *seen {
                    return Err(Conflict);
                }
            }
        }
        Ok(())
    }

    /// Applies `writes` as transaction `view.version`.
    pub fn apply(&self, view: u64, version: u64, writes: &WriteSet) {
        let mut inner = self.inner.lock();
        // Open transactions hold the old state, so this copies its root (a few words) and shares the rest.
        Arc::make_mut(&mut inner.current).apply(view, version, writes);
    }

    /// Adds maps that were not known before, to the current state and to all that a rollback could return to.
    pub fn adopt(&self, maps: &BTreeMap<Arc<str>, Map>) {
        let mut inner = self.inner.lock();
        let Inner { current, retained } = &mut *inner;
        for state in retained.iter_mut().chain([current]) {
            let state = Arc::make_mut(state);
            for (name, map) in maps {
                if !state.maps.contains_key(name) {
                    state.maps.insert_mut(Arc::clone(name), map.clone());
                }
            }
            // What was read without these maps must not commit beside them.
            state.generation += 1;
        }
    }

    /// Keeps the current state as a place to roll back to: the end of a batch.
    pub fn retain(&self) {
        let mut inner = self.inner.lock();
        let current = Arc::clone(&inner.current);
        inner.retained.push_back(current);
    }

    /// Forgets places to roll back to before `committed`, and keeps the last one at or before it.
    pub fn compact(&self, committed: u64) {
        let mut inner = self.inner.lock();
        while inner.retained.get(1).is_some_and(|next| next.version <= committed) {
            inner.retained.pop_front();
        }
    }

    /// Takes the last retained state at or before `version` again, and returns its version.
    ///
    /// Transactions that are open now conflict when they try to commit.
    pub fn roll_back(&self, version: u64) -> u64 {
        let mut inner = self.inner.lock();
        while inner.retained.len() > 1 && inner.retained.back().is_some_and(|last| last.version > version) {
            inner.retained.pop_back();
        }
        let generation = inner.current.generation + 1;
        let mut state = inner.retained.back().map(|state| State::clone(state)).unwrap_or_default();
        state.generation = generation;
        let version = state.version;
        let state = Arc::new(state);
        inner.current = Arc::clone(&state);
        if let Some(last) = inner.retained.back_mut() {
            *last = state;
        }
        version
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]
mod tests {
    use super::super::Blob;
    use super::*;

    fn commit(store: &Store, transaction: &Transaction) -> Result<u64, Conflict> {
        store.check(transaction)?;
        let version = store.current().version() + 1;
        store.apply(2, version, transaction.writes());
        Ok(version)
    }

    fn put(store: &Store, key: &'static str, value: &'static str) -> u64 {
        let mut transaction = store.begin();
        transaction.set("records", Blob::from_static(key.as_bytes()), Blob::from_static(value.as_bytes()));
        commit(store, &transaction).expect("a blind write never conflicts")
    }

    #[test]
    fn reads_see_the_snapshot_and_own_writes() {
        let store = Store::default();
        put(&store, "a", "1");
        let mut reader = store.begin();
        put(&store, "a", "2");
        assert_eq!(reader.get("records", b"a").as_deref(), Some(b"1".as_slice()));
        reader.set("records", Blob::from_static(b"a"), Blob::from_static(b"3"));
        assert_eq!(reader.get("records", b"a").as_deref(), Some(b"3".as_slice()));
        assert_eq!(reader.version_of_previous_write("records", b"a"), None);
    }

    #[test]
    fn a_changed_read_conflicts_and_a_blind_write_does_not() {
        let store = Store::default();
        put(&store, "a", "1");
        let mut reads = store.begin();
        reads.get("records", b"a");
        reads.set("records", Blob::from_static(b"b"), Blob::from_static(b"1"));
        let mut absent = store.begin();
        absent.get("records", b"zz");
        absent.set("records", Blob::from_static(b"c"), Blob::from_static(b"1"));
        let mut sized = store.begin();
        assert_eq!(sized.len("records"), 1);
        sized.set("records", Blob::from_static(b"d"), Blob::from_static(b"1"));
        put(&store, "a", "2");
        assert_eq!(commit(&store, &reads), Err(Conflict));
        assert_eq!(commit(&store, &sized), Err(Conflict));
        assert!(commit(&store, &absent).is_ok());
    }

    #[test]
    fn rollback_returns_to_the_end_of_a_batch() {
        let store = Store::default();
        put(&store, "a", "1");
        store.retain();
        put(&store, "a", "2");
        let mut open = store.begin();
        open.set("records", Blob::from_static(b"b"), Blob::from_static(b"1"));
        assert_eq!(store.roll_back(1), 1);
        assert_eq!(store.begin().get("records", b"a").as_deref(), Some(b"1".as_slice()));
        assert_eq!(commit(&store, &open), Err(Conflict), "began before the rollback");
    }

    #[test]
    fn removing_an_absent_key_is_recorded_but_changes_no_version() {
        let store = Store::default();
        let mut transaction = store.begin();
        transaction.remove("records", Blob::from_static(b"a"));
        assert!(!transaction.is_read_only());
        commit(&store, &transaction).expect("no conflict");
        assert_eq!(store.current().map("records").map(Map::version), Some(0));
    }
}
