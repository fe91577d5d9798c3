//! One map at one version.
use rpds::HashTrieMapSync;

use super::Blob;

/// A value and the seqno of the transaction that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Seqno of the writing transaction.
    pub version: u64,
    /// The value.
    pub value: Blob,
}

/// An immutable map. Cloning it shares everything.
#[derive(Clone, Debug, Default)]
pub struct Map {
    entries: HashTrieMapSync<Blob, Versioned>,
    /// Seqno of the last transaction that changed the map; 0 when it only ever saw removes of absent keys,
    /// which is how CCF writes such a map into a snapshot.
    version: u64,
}

impl Map {
    /// Rebuilds a map from a snapshot.
    #[must_use]
    pub fn from_parts(version: u64, entries: impl IntoIterator<Item = (Blob, Versioned)>) -> Self {
        Self { entries: entries.into_iter().collect(), version }
    }

    /// The value of `key`, with its version.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Versioned> {
        self.entries.get(key)
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.size()
    }

    /// Whether the map has no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Seqno of the last transaction that changed the map.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Every key and value, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&Blob, &Versioned)> {
        self.entries.iter()
    }

    /// Applies writes (`Some`) and removes (`None`) of transaction `version`.
    pub(super) fn apply<'a>(
        &mut self,
        version: u64,
        changes: impl Iterator<Item = (&'a Blob, &'a Option<Blob>)>,
    ) {
        let mut changed = false;
        for (key, change) in changes {
            changed |= match change {
                Some(value) => {
                    self.entries.insert_mut(key.clone(), Versioned { version, value: value.clone() });
                    true
                }
                None => self.entries.remove_mut(key),
            };
        }
        if changed {
            self.version = version;
        }
    }
}
