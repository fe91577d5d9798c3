//! A transaction: one snapshot, the keys it read, the changes it wants.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::store::State;
use super::{Blob, Map, Versioned};

/// Changes to one map, ascending by key; `None` removes the key.
pub type MapChanges = BTreeMap<Blob, Option<Blob>>;

/// Changes by map, ascending by name: the order in which they are serialised.
pub type WriteSet = BTreeMap<Arc<str>, MapChanges>;

/// What a transaction depends on in one map.
#[derive(Debug, Default)]
pub(super) struct Dependencies {
    /// Keys read, with the version seen; `None`: it was absent.
    pub(super) keys: HashMap<Blob, Option<u64>>,
    /// The map was iterated, or its size was taken: any change of the map conflicts. Holds the version seen.
    pub(super) whole: Option<u64>,
}

/// An open transaction. Dropping it leaves no trace.
#[derive(Debug)]
pub struct Transaction {
    pub(super) base: Arc<State>,
    pub(super) reads: HashMap<Arc<str>, Dependencies>,
    pub(super) writes: WriteSet,
}

impl Transaction {
    pub(super) fn new(base: Arc<State>) -> Self {
        Self { base, reads: HashMap::new(), writes: WriteSet::new() }
    }

    /// The snapshot that this transaction reads.
    #[must_use]
    pub fn base(&self) -> &Arc<State> {
        &self.base
    }

    /// The value of `key` in `map`: the transaction's own write if there is one, else the snapshot's.
    pub fn get(&mut self, map: &str, key: &[u8]) -> Option<Blob> {
        if let Some(change) = self.writes.get(map).and_then(|changes| changes.get(key)) {
            return change.clone();
        }
        self.read(map, key).map(|found| found.value)
    }

    /// The seqno at which the visible value of `key` was written; `None` for absent keys and own writes.
    pub fn version_of_previous_write(&mut self, map: &str, key: &[u8]) -> Option<u64> {
        if self.writes.get(map).is_some_and(|changes| changes.contains_key(key)) {
            return None;
        }
        self.read(map, key).map(|found| found.version)
    }

    /// Writes `value` under `key`.
    pub fn set(&mut self, map: &str, key: Blob, value: Blob) {
        self.changes(map).insert(key, Some(value));
    }

    /// Removes `key`. A key that is absent is recorded as removed all the same, as CCF does.
    pub fn remove(&mut self, map: &str, key: Blob) {
        self.changes(map).insert(key, None);
    }

    /// Removes every visible key of `map`.
    pub fn clear(&mut self, map: &str) {
        for key in self.keys(map) {
            self.remove(map, key);
        }
    }

    /// Number of visible keys.
    pub fn len(&mut self, map: &str) -> usize {
        let base = self.depend_on_whole(map);
        let mut length = base.as_ref().map_or(0, Map::len);
        for (key, change) in self.writes.get(map).into_iter().flatten() {
            let existed = base.as_ref().is_some_and(|base| base.get(key).is_some());
            match (existed, change.is_some()) {
                (false, true) => length += 1,
                (true, false) => length -= 1,
                _ => {}
            }
        }
        length
    }

    /// Whether `map` has no visible key.
    pub fn is_empty(&mut self, map: &str) -> bool {
        self.len(map) == 0
    }

    /// Every visible key and value, ascending by key.
    pub fn entries(&mut self, map: &str) -> Vec<(Blob, Blob)> {
        let base = self.depend_on_whole(map);
        let mut merged: BTreeMap<Blob, Blob> = base
            .as_ref()
            .map(|base| base.iter().map(|(key, found)| (key.clone(), found.value.clone())).collect())
            .unwrap_or_default();
        for (key, change) in self.writes.get(map).into_iter().flatten() {
            match change {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        merged.into_iter().collect()
    }

    /// Every visible key, ascending.
    pub fn keys(&mut self, map: &str) -> Vec<Blob> {
        self.entries(map).into_iter().map(|(key, _)| key).collect()
    }

    /// Whether the transaction changes nothing.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.writes.values().all(BTreeMap::is_empty)
    }

    /// Whether the transaction touched any map at all.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.writes.is_empty() && self.reads.is_empty()
    }

    /// The changes so far.
    #[must_use]
    pub fn writes(&self) -> &WriteSet {
        &self.writes
    }

    fn changes(&mut self, map: &str) -> &mut MapChanges {
        if !self.writes.contains_key(map) {
            self.writes.insert(Arc::from(map), MapChanges::new());
        }
        // The entry was made just above when it was missing.
        self.writes.entry(Arc::from(map)).or_default()
    }

    fn read(&mut self, map: &str, key: &[u8]) -> Option<Versioned> {
        let found = self.base.map(map).and_then(|map| map.get(key)).cloned();
        let dependencies = self.dependencies(map);
        if !dependencies.keys.contains_key(key) {
            dependencies.keys.insert(Blob::copy_from_slice(key), found.as_ref().map(|found| found.version));
        }
        found
    }

    fn depend_on_whole(&mut self, map: &str) -> Option<Map> {
        let base = self.base.map(map).cloned();
        self.dependencies(map).whole = Some(base.as_ref().map_or(0, Map::version));
        base
    }

    fn dependencies(&mut self, map: &str) -> &mut Dependencies {
        if !self.reads.contains_key(map) {
            self.reads.insert(Arc::from(map), Dependencies::default());
        }
        self.reads.entry(Arc::from(map)).or_default()
    }
}
