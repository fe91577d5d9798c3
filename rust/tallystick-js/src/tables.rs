//! Public tables as of one transaction: persistent maps, so that a snapshot costs a pointer and replay can
//! run on other threads while the ledger goes on being read.
use std::collections::BTreeMap;
use std::hash::Hasher;
#[allow(
    deprecated,
    reason = "the standard library's SipHash-2-4 with given keys; only its name is deprecated"
)]
use std::hash::SipHasher;
use std::sync::Arc;

/// A key or a value.
pub type Bytes = Arc<[u8]>;

/// Writes of one transaction: table, key, value; None is a remove.
pub type WriteSet = BTreeMap<Arc<str>, BTreeMap<Bytes, Option<Bytes>>>;

/// Keys of CCF's SipHash-2-4 over map keys (formats.md section 9.2).
const SIPHASH_KEYS: (u64, u64) = (0x7720_796f_726c_694b, 0x2165_7265_6820_7361);

/// Bits of the hash that one level of CCF's map consumes, and levels before keys collide for good.
const INDEX_BITS: u32 = 5;
const COLLISION_DEPTH: u32 = 6;

/// A value with the seqno of the transaction that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Seqno of the last write.
    pub seqno: u64,
    /// The value.
    pub value: Bytes,
}

/// One table: ascending by key.
pub type Table = rpds::RedBlackTreeMapSync<Bytes, Versioned>;

/// All public tables that were given, as of some seqno. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    tables: rpds::RedBlackTreeMapSync<Arc<str>, Table>,
}

impl Tables {
    /// No tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the writes of transaction `seqno`.
    pub fn update(&mut self, seqno: u64, writes: &WriteSet) {
        for (name, keys) in writes {
            let mut table = self.tables.get(name).cloned().unwrap_or_default();
            for (key, value) in keys {
                match value {
                    Some(value) => {
                        table.insert_mut(Arc::clone(key), Versioned { seqno, value: Arc::clone(value) });
                    }
                    None => {
                        table.remove_mut(key.as_ref());
                    }
                }
            }
            self.tables.insert_mut(Arc::clone(name), table);
        }
    }

    /// The value at `key`.
    pub fn get(&self, table: &str, key: &[u8]) -> Option<&Versioned> {
        self.tables.get(table)?.get(key)
    }

    /// A table, if it was ever written.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(name)
    }

    /// Names of the tables, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(AsRef::as_ref)
    }
}

/// The 32 bits by which CCF's maps place a key.
pub fn key_hash(key: &[u8]) -> u32 {
    #[allow(deprecated, reason = "see the import")]
    let mut hasher = SipHasher::new_with_keys(SIPHASH_KEYS.0, SIPHASH_KEYS.1);
    hasher.write(key);
    u32::try_from(hasher.finish() & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The keys of a table in the order in which CCF's map walks them, which is what a script's `forEach` sees.
///
/// The map is a hash trie: at each level the keys that stand alone in their slot come first, then those that
/// share one, level by level. The shape follows from the keys alone unless keys were removed; CCF does not
/// fold a level back then, and neither the order among such keys nor that of full collisions can be told.
pub fn in_map_order(table: &Table) -> Vec<(&Bytes, &Versioned)> {
    let mut slots: Vec<(u32, (&Bytes, &Versioned))> =
        table.iter().map(|(key, value)| (key_hash(key), (key, value))).collect();
    let mut ordered = Vec::with_capacity(slots.len());
    walk(&mut slots, 0, &mut ordered);
    ordered
}

fn walk<'a>(
    slots: &mut [(u32, (&'a Bytes, &'a Versioned))],
    depth: u32,
    ordered: &mut Vec<(&'a Bytes, &'a Versioned)>,
) {
    let index = |hash: u32| hash.checked_shr(depth * INDEX_BITS).unwrap_or(0) & ((1 << INDEX_BITS) - 1);
    slots.sort_by_key(|&(hash, _)| index(hash));
    if depth >= COLLISION_DEPTH {
        ordered.extend(slots.iter().map(|&(_, entry)| entry));
        return;
    }
    for alone in [true, false] {
        for run in slots.chunk_by_mut(|&(a, _), &(b, _)| index(a) == index(b)) {
            match run {
                [(_, entry)] if alone => ordered.push(*entry),
                [_, _, ..] if !alone => walk(run, depth + 1, ordered),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Bytes {
        text.as_bytes().into()
    }

    #[test]
    fn hashes_keys_as_ccf_does() {
        // formats.md section 17, vector 17.
        assert_eq!(key_hash(b"42"), 0x97e3_3cf9);
        assert_eq!(key_hash(&[0; 8]), 0xa6b9_ff73);
        assert_eq!(key_hash(b"aca4ad6e"), 0x653e_0bdb);
    }

    #[test]
    fn a_snapshot_keeps_what_it_saw() {
        let mut tables = Tables::new();
        let write = |value: Option<&str>| {
            WriteSet::from([("t".into(), BTreeMap::from([(bytes("k"), value.map(bytes))]))])
        };
        tables.update(3, &write(Some("a")));
        let earlier = tables.clone();
        tables.update(4, &write(Some("b")));
        assert_eq!(
            earlier.get("t", b"k").map(|found| (found.seqno, found.value.to_vec())),
            Some((3, b"a".to_vec()))
        );
        tables.update(5, &write(None));
        assert_eq!(tables.get("t", b"k"), None);
        assert_eq!(tables.table("t").map(Table::size), Some(0));
    }

    #[test]
    fn walks_every_key_once() {
        let mut table = Table::new_sync();
        for number in 0..5000_u32 {
            table
                .insert_mut(number.to_le_bytes().as_slice().into(), Versioned { seqno: 1, value: bytes("") });
        }
        let ordered = in_map_order(&table);
        assert_eq!(ordered.len(), 5000);
        let distinct: std::collections::BTreeSet<_> = ordered.iter().map(|(key, _)| key.to_vec()).collect();
        assert_eq!(distinct.len(), 5000);
        // Keys alone in their slot of the first level come before all that share one.
        let mut shared = [0_u32; 32];
        for (key, _) in &ordered {
            shared[(key_hash(key) & 31) as usize] += 1;
        }
        let alone = shared.iter().filter(|&&count| count == 1).count();
        assert!(ordered.iter().take(alone).all(|(key, _)| shared[(key_hash(key) & 31) as usize] == 1));
    }
}
