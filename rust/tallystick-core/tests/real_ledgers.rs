//! Every real ledger and snapshot, wherever they are at hand: all of it parses, every signed root holds, and what is
//! written again has the same bytes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a panic is how a test fails, and this one reads files"
)]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use support::{Directory, codes, genesis, scan, shared};
use tallystick_core::ledger::domain::{PublicFields, Tables, Visitor, encode_public};
use tallystick_core::ledger::{ChunkFile, ChunkWriter, Entry, first_difference};
use tallystick_core::scan::Start;
use tallystick_core::snapshot::{SnapshotFile, encode_public as encode_snapshot};
use tallystick_core::types::to_hex;

fn files(directory: &Path, prefix: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, prefix, found);
        } else if path.file_name().unwrap().to_string_lossy().starts_with(prefix) {
            found.push(path);
        }
    }
}

fn first_seqno(path: &Path) -> u64 {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    name.trim_start_matches("ledger_").split(['-', '.']).next().unwrap().parse().unwrap()
}

/// The chunk files by directory, each in ledger order.
fn ledgers() -> Option<BTreeMap<PathBuf, Vec<PathBuf>>> {
    let mut found = Vec::new();
    files(&shared()?, "ledger_", &mut found);
    let mut by_directory: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for path in found {
        by_directory.entry(path.parent().unwrap().to_owned()).or_default().push(path);
    }
    by_directory.values_mut().for_each(|paths| paths.sort_by_key(|path| first_seqno(path)));
    Some(by_directory)
}

#[test]
fn every_signed_root_holds() {
    let Some(ledgers) = ledgers() else { return };
    // Transactions, signature transactions, those with a COSE signature.
    let expected = BTreeMap::from([
        ("acme_containing_service/ledger", (22, 8, 8)),
        ("cose_flipflop_service/ledger", (46, 23, 5)),
        ("cts_canary/ledger", (14, 6, 6)),
        ("double_sealed_service/ledger", (509, 156, 156)),
        ("eol_service/ledger", (500, 85, 0)),
        ("expired_service/ledger", (74, 26, 18)),
        ("sgx_service/ledger", (153, 54, 0)),
        ("js1/ledger", (1194, 329, 329)),
        ("state-before-dr1/node1/ledger-current", (1422, 414, 414)),
        ("state-final/node9/ledger-current", (1910, 562, 562)),
    ]);
    let mut met = 0;
    for (directory, paths) in ledgers {
        let genesis = if first_seqno(&paths[0]) == 1 { genesis() } else { Start::default() };
        let batches = scan(&paths, genesis);
        assert_eq!(codes(&batches), [""; 0], "{}", directory.display());
        let records: Vec<_> = batches.iter().flat_map(|batch| &batch.signatures).collect();
        assert!(records.iter().all(|record| record.root_holds && record.raw.is_some()));
        let cose = records.iter().filter(|record| record.cose.is_some()).count();
        let transactions: u64 = batches.iter().map(|batch| batch.count).sum();
        for (_, numbers) in expected.iter().filter(|(name, _)| directory.ends_with(name)) {
            assert_eq!((transactions, records.len(), cose), *numbers, "{}", directory.display());
            met += 1;
        }
    }
    assert_eq!(met, expected.len());
}

#[derive(Default)]
struct Collect(Tables);

impl<'a> Visitor<'a> for Collect {
    fn map(&mut self, name: &'a str) {
        self.0.push((name.into(), Vec::new()));
    }
    fn write(&mut self, key: &'a [u8], value: &'a [u8]) {
        self.0.last_mut().unwrap().1.push((key.into(), Some(value.into())));
    }
    fn remove(&mut self, key: &'a [u8]) {
        self.0.last_mut().unwrap().1.push((key.into(), None));
    }
}

fn encode_again(entry: &Entry) -> Vec<u8> {
    let mut collected = Collect::default();
    entry.walk(&mut collected).unwrap();
    collected.0.reverse();
    let head = entry.head().unwrap();
    let fields = PublicFields {
        entry_type: head.entry_type,
        version: head.version,
        claims_digest: head.claims_digest.copied().unwrap_or_default(),
        commit_evidence_digest: head.commit_evidence_digest.copied().unwrap_or_default(),
        max_conflict_version: head.max_conflict_version,
    };
    encode_public(&fields, collected.0).unwrap()
}

#[test]
fn chunks_and_public_domains_are_written_again_byte_for_byte() {
    let Some(ledgers) = ledgers() else { return };
    for path in ledgers.into_values().flatten() {
        let chunk = ChunkFile::open(&path).unwrap();
        let directory = Directory::new();
        let mut writer = ChunkWriter::create(&directory.0, first_seqno(&path)).unwrap();
        let mut reader = chunk.entries_from(0).unwrap();
        let mut count = 0;
        while let Some(entry) = reader.next_entry().unwrap() {
            assert_eq!(encode_again(&entry), entry.public_domain(), "{} at {}", entry.txid(), path.display());
            writer.append(entry.raw()).unwrap();
            count += 1;
        }
        assert_eq!(count, chunk.entry_count());
        let written = if chunk.is_complete() {
            writer.complete(path.extension().is_some()).unwrap()
        } else {
            writer.flush().unwrap();
            writer.path().to_owned()
        };
        assert_eq!(std::fs::read(&written).unwrap(), std::fs::read(&path).unwrap(), "{}", path.display());
        assert_eq!(written.file_name(), path.file_name());
        let again = ChunkFile::open(&written).unwrap();
        assert_eq!(first_difference(&chunk, &again).unwrap(), None);
        let middle = chunk.entry_count() / 2;
        let entry = chunk.entries_from(middle).unwrap().next_entry().unwrap().unwrap();
        assert_eq!(entry.txid().seqno, chunk.first_seqno().unwrap() + middle);
    }
}

#[test]
fn snapshots_are_written_again_byte_for_byte() {
    let Some(shared) = shared() else { return };
    let mut found = Vec::new();
    files(&shared, "snapshot_", &mut found);
    assert!(!found.is_empty());
    for path in found {
        let snapshot = SnapshotFile::parse(std::fs::read(&path).unwrap()).unwrap();
        let maps = snapshot.maps().iter().map(|map| {
            let rows = snapshot.rows(map).unwrap();
            let rows = rows.iter().map(|row| (row.key.to_vec(), row.version, row.value.to_vec())).collect();
            (map.name().to_owned(), map.version(), rows)
        });
        let again = encode_snapshot(
            snapshot.seqno(),
            snapshot.hash_at_snapshot(),
            snapshot.view_history(),
            maps.collect(),
        );
        assert_eq!(again, snapshot.public_domain(), "{}", path.display());
    }
}

#[test]
fn vectors_of_the_format_notes_hold() {
    let Some(shared) = shared() else { return };
    let leaf_at = |path: &str, position| {
        let chunk = ChunkFile::open(shared.join("ledgers").join(path)).unwrap();
        let entry = chunk.entries_from(position).unwrap().next_entry().unwrap().unwrap();
        (
            entry.txid().to_string(),
            to_hex(&entry.write_set_digest()),
            to_hex(&entry.leaf().unwrap()),
            entry.flags(),
        )
    };
    // 3: entry type 0, where the leaf is the write set digest.
    let (txid, digest, leaf, _) = leaf_at("eol_service/ledger/ledger_1-2.committed", 0);
    assert_eq!((txid.as_str(), &digest), ("2.1", &leaf));
    assert_eq!(leaf, "e0b6c56d87d7d15b633cea3d46c75b536a17a4f79e551905100b347288d515eb");
    // 4: entry type 3.
    let (txid, digest, leaf, _) = leaf_at("expired_service/ledger/ledger_1-4.committed", 1);
    assert_eq!(txid, "2.2");
    assert_eq!(digest, "1df2fd54689f4a44d5646f649ad350c7a512fe56da9a0933974e1f3030bf55ff");
    assert_eq!(leaf, "352a997e9259ef7fcf53e4fc7d1fa895da74f01ca3094e243347f057485b5ecd");
    // 5: entry type 4, the first transaction of a recovered service.
    let (txid, _, leaf, flags) = leaf_at("eol_service/ledger/ledger_36-37.committed", 0);
    assert_eq!((txid.as_str(), flags), ("4.36", 2));
    assert_eq!(leaf, "2be89ac6f0ead9ea72b2167c36aab24684e48f319541cc8887cdd2f6560893fd");
    // 15: a snapshot.
    let path = "ledgers/expired_service/snapshots/snapshot_61_62.committed";
    let bytes = std::fs::read(shared.join(path)).unwrap();
    let snapshot = SnapshotFile::parse(bytes).unwrap();
    assert_eq!((snapshot.seqno(), snapshot.entry_size()), (61, 91_655));
    assert_eq!(
        to_hex(&tallystick_core::hash::sha256(snapshot.entry())),
        "dec8e46577b9e3cef3a2275f5a97db026aac4a5e7683c530c483bcb2d1d11671"
    );
}
