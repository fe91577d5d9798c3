//! The store against a plain model, and entries against the core's own writer, on many random histories.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails"
)]
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tallystick_core::hash::sha256;
use tallystick_core::ledger::crypto;
use tallystick_core::ledger::domain::{
    Changes, EntryType, PublicFields, Tables, encode_private, encode_public,
};
use tallystick_core::ledger::entry::{EntryView, leaf};
use tallystick_core::types::TxId;
use tallystick_node::entry::{Domains, LedgerSecret, seal};
use tallystick_node::kv::{Store, Transaction, WriteSet};

/// Small pseudo-random numbers, the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn bytes(&mut self, limit: usize) -> Vec<u8> {
        (0..self.below(limit)).map(|_| self.below(256) as u8).collect()
    }
}

const MAPS: [&str; 3] = ["records", "public:records", "public:ccf.gov.members.info"];
const KEYS: usize = 6;

/// Map and key to value and the seqno that wrote it.
type Rows = BTreeMap<(usize, usize), (u64, u64)>;

/// Seqno of the last transaction that changed each map.
type Versions = [u64; MAPS.len()];

/// What a transaction did, with what it was told.
#[derive(Clone, Debug)]
enum Step {
    Get { map: usize, key: usize, seen: Option<u64> },
    Entries { map: usize, seen: Vec<(usize, u64)> },
    Length { map: usize, seen: usize },
    Set { map: usize, key: usize, value: u64 },
    Remove { map: usize, key: usize },
    Clear { map: usize, seen: Vec<usize> },
}

/// An open transaction of the store, beside its model.
struct Open {
    transaction: Transaction,
    /// Committed rows when it began, and the seqno of the last change of each map.
    base: Rows,
    versions: Versions,
    /// How many rollbacks there had been.
    generation: usize,
    steps: Vec<Step>,
}

/// Runs `steps` one after the other on `rows`; `None` when one of them would see something else than it did.
fn replay(steps: &[Step], rows: &Rows, seqno: u64) -> Option<Rows> {
    let mut rows = rows.clone();
    let of = |rows: &Rows, wanted: usize| -> Vec<(usize, u64)> {
        rows.iter()
            .filter(|((map, _), _)| *map == wanted)
            .map(|((_, key), (value, _))| (*key, *value))
            .collect()
    };
    for step in steps {
        let same = match step {
            Step::Get { map, key, seen } => rows.get(&(*map, *key)).map(|(value, _)| *value) == *seen,
            Step::Entries { map, seen } => of(&rows, *map) == *seen,
            Step::Length { map, seen } => of(&rows, *map).len() == *seen,
            Step::Set { map, key, value } => {
                rows.insert((*map, *key), (*value, seqno));
                true
            }
            Step::Remove { map, key } => {
                rows.remove(&(*map, *key));
                true
            }
            Step::Clear { map, seen } => {
                let keys: Vec<usize> = of(&rows, *map).into_iter().map(|(key, _)| key).collect();
                rows.retain(|(of, _), _| of != map);
                keys == *seen
            }
        };
        if !same {
            return None;
        }
    }
    Some(rows)
}

/// Whether anything that `open` read has another version than it had.
fn reads_changed(open: &Open, rows: &Rows, versions: &Versions) -> bool {
    let mut own: Vec<(usize, usize)> = Vec::new();
    open.steps.iter().any(|step| match step {
        Step::Get { map, key, .. } => {
            !own.contains(&(*map, *key)) && open.base.get(&(*map, *key)) != rows.get(&(*map, *key))
        }
        Step::Entries { map, .. } | Step::Length { map, .. } | Step::Clear { map, .. } => {
            open.versions[*map] != versions[*map]
        }
        Step::Set { map, key, .. } | Step::Remove { map, key } => {
            own.push((*map, *key));
            false
        }
    })
}

/// Marks the maps that transaction `seqno` changes: a removal of a key that is not there changes nothing.
fn mark(versions: &mut Versions, before: &Rows, writes: &WriteSet, seqno: u64) {
    for (map, table) in MAPS.iter().enumerate() {
        let mut changes = writes.get(*table).into_iter().flatten();
        if changes.any(|(key, change)| change.is_some() || before.contains_key(&(map, number(key)))) {
            versions[map] = seqno;
        }
    }
}

fn name(key: usize) -> Bytes {
    Bytes::from(format!("key {key}"))
}

fn number(key: &Bytes) -> usize {
    std::str::from_utf8(key).unwrap().trim_start_matches("key ").parse().unwrap()
}

fn value_of(value: &Bytes) -> u64 {
    u64::from_le_bytes(value.as_ref().try_into().unwrap())
}

fn step(random: &mut Random, open: &mut Open, counter: &mut u64) {
    let (map, key) = (random.below(MAPS.len()), random.below(KEYS));
    let (table, blob) = (MAPS[map], name(key));
    let transaction = &mut open.transaction;
    let step = match random.below(12) {
        0..=3 => Step::Get { map, key, seen: transaction.get(table, &blob).as_ref().map(value_of) },
        4..=7 => {
            *counter += 1;
            transaction.set(table, blob, Bytes::copy_from_slice(&counter.to_le_bytes()));
            Step::Set { map, key, value: *counter }
        }
        8..=9 => {
            transaction.remove(table, blob);
            Step::Remove { map, key }
        }
        10 if random.below(3) == 0 => {
            let seen = transaction.keys(table).iter().map(number).collect();
            transaction.clear(table);
            Step::Clear { map, seen }
        }
        10 => {
            let entries = transaction.entries(table);
            Step::Entries {
                map,
                seen: entries.iter().map(|(key, value)| (number(key), value_of(value))).collect(),
            }
        }
        _ => Step::Length { map, seen: transaction.len(table) },
    };
    open.steps.push(step);
    // Whatever it was told fits its own snapshot and its own changes.
    assert!(replay(&open.steps, &open.base, 0).is_some(), "{:?} over {:?}", open.steps, open.base);
}

fn assert_same(store: &Store, rows: &Rows) {
    let state = store.current();
    let mut found = Rows::new();
    for (map, table) in MAPS.iter().enumerate() {
        for (key, versioned) in state.map(table).into_iter().flat_map(|table| table.iter()) {
            found.insert((map, number(key)), (value_of(&versioned.value), versioned.version));
        }
    }
    assert_eq!(found, *rows);
}

#[derive(Default)]
struct Tally {
    committed: usize,
    conflicts: usize,
    rollbacks: usize,
}

fn history(seed: u64, tally: &mut Tally) {
    let mut random = Random(seed);
    let (store, mut rows, mut seqno) = (Store::default(), Rows::new(), 0);
    let (mut counter, mut generation, mut versions) = (0, 0, [0; MAPS.len()]);
    // Ends of batches: what a rollback returns to.
    let mut batches: Vec<(u64, Rows, Versions)> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for _ in 0..400 {
        match random.below(20) {
            0..=3 if open.len() < 5 => open.push(Open {
                transaction: store.begin(),
                base: rows.clone(),
                versions,
                generation,
                steps: Vec::new(),
            }),
            4 if seqno > 0 => {
                store.retain();
                batches.push((seqno, rows.clone(), versions));
            }
            5 if batches.len() > 1 && random.below(3) == 0 => {
                let to = batches[random.below(batches.len())].0;
                assert_eq!(store.roll_back(to), to);
                batches.retain(|(end, _, _)| *end <= to);
                (seqno, rows, versions) = batches.last().cloned().unwrap();
                generation += 1;
                tally.rollbacks += 1;
            }
            6..=8 if !open.is_empty() => {
                let ended = open.swap_remove(random.below(open.len()));
                if ended.transaction.is_read_only() {
                    continue;
                }
                if store.check(&ended.transaction).is_ok() {
                    assert_eq!(ended.generation, generation, "it began before a rollback");
                    seqno += 1;
                    store.apply(2, seqno, ended.transaction.writes());
                    mark(&mut versions, &rows, ended.transaction.writes(), seqno);
                    rows = replay(&ended.steps, &rows, seqno).expect_serial(&ended.steps);
                    tally.committed += 1;
                } else {
                    let cause = ended.generation != generation || reads_changed(&ended, &rows, &versions);
                    assert!(cause, "nothing that it read has changed: {:?}", ended.steps);
                    tally.conflicts += 1;
                }
                assert_same(&store, &rows);
            }
            _ if !open.is_empty() => {
                let at = random.below(open.len());
                step(&mut random, &mut open[at], &mut counter);
            }
            _ => {}
        }
    }
    assert_same(&store, &rows);
}

trait ExpectSerial {
    fn expect_serial(self, steps: &[Step]) -> Rows;
}

impl ExpectSerial for Option<Rows> {
    /// Committed transactions behave as if each had run alone, at the moment of its commit.
    fn expect_serial(self, steps: &[Step]) -> Rows {
        self.unwrap_or_else(|| {
            panic!("it would have seen something else had it run at its commit: {steps:?}")
        })
    }
}

#[test]
fn committed_transactions_are_serial_and_conflicts_have_a_cause() {
    let mut tally = Tally::default();
    for seed in 1..=300_u64 {
        history(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), &mut tally);
    }
    assert!(tally.committed > 3000 && tally.conflicts > 300 && tally.rollbacks > 100);
}

fn random_writes(random: &mut Random) -> WriteSet {
    let mut writes = WriteSet::new();
    for _ in 0..random.below(5) {
        let table = match random.below(3) {
            0 => format!("public:table {}", random.below(4)),
            1 => format!("public:ccf.gov.{}", random.below(4)),
            _ => format!("table {}", random.below(4)),
        };
        let changes = writes.entry(Arc::from(table)).or_default();
        for _ in 0..random.below(6) {
            let value = (random.below(4) != 0).then(|| random.bytes(90).into());
            changes.insert(random.bytes(12).into(), value);
        }
    }
    writes
}

#[test]
fn entries_are_those_of_the_core() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for seqno in 1..3000 {
        let writes = random_writes(&mut random);
        let txid = TxId { view: 2 + seqno / 100, seqno };
        let (mut claims_digest, flags) = ([0; 32], [0, 1, 2][random.below(3)]);
        if random.below(2) == 0 {
            claims_digest = sha256(&random.bytes(20));
        }
        let raw: Vec<u8> = (0..32).map(|_| random.below(256) as u8).collect();
        let secret = LedgerSecret::new(&raw).unwrap();
        let sealed = seal(txid, flags, &Domains::of(&writes), &claims_digest, &secret).unwrap();

        let evidence = crypto::commit_evidence(&raw, txid).unwrap();
        let evidence = sha256(evidence.as_bytes());
        // A map that was opened for writing and never written leaves no trace.
        let written = writes.iter().filter(|(_, changes)| !changes.is_empty());
        let (public, private): (Tables, Tables) = written
            .map(|(table, changes)| {
                let changes: Changes = changes
                    .iter()
                    .map(|(key, value)| (key.to_vec(), value.as_ref().map(|value| value.to_vec())))
                    .collect();
                (table.to_string(), changes)
            })
            .partition(|(table, _)| table.starts_with("public:"));
        let fields = PublicFields {
            entry_type: EntryType::WithCommitEvidenceAndClaims,
            version: seqno,
            claims_digest,
            commit_evidence_digest: evidence,
            max_conflict_version: 0,
        };
        let public = encode_public(&fields, public).unwrap();
        let expected =
            crypto::seal_entry(txid, flags, &public, encode_private(private).unwrap(), &raw).unwrap();
        assert_eq!(sealed.entry, expected, "{writes:?}");
        let digest = EntryView::parse(&expected).unwrap().write_set_digest();
        assert_eq!(sealed.leaf, leaf(&digest, Some(&claims_digest), Some(&evidence)));
    }
}
