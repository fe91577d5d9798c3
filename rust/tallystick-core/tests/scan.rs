//! The scanner on ledgers that were tampered with, one way at a time.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a panic is how a test fails, and this one reads and writes files"
)]
mod support;

use std::path::PathBuf;

use support::{
    Directory, RAW_TABLE, Service, TREE_TABLE, codes, findings, genesis, parts, scan, scan_with, seal, table,
};
use tallystick_core::ledger::EntryView;
use tallystick_core::scan::{
    Batch, Level, Options, Part, ScanAhead, ScanError, Scanner, SignatureRecord, Start,
};
use tallystick_core::signature::Batch as Checks;
use tallystick_core::types::TxId;

/// Three chunks of 3 × (5 writes and a signature).
fn three_chunks(directory: &Directory) -> (Service, Vec<PathBuf>) {
    let mut service = Service::new();
    service.run(9, 5);
    let paths = service.entries.chunks(18).map(|entries| directory.chunk(entries, true)).collect();
    (service, paths)
}

fn records(batches: &[Batch]) -> Vec<&SignatureRecord> {
    batches.iter().flat_map(|batch| &batch.signatures).collect()
}

fn total(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.count).sum()
}

/// Where entry `index` begins in a chunk of `entries`.
fn offset_of(entries: &[Vec<u8>], index: usize) -> usize {
    8 + entries[..index].iter().map(Vec::len).sum::<usize>()
}

fn change(path: &PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).position(|window| window == needle).unwrap()
}

#[test]
fn sound_ledger_has_no_findings_whatever_the_number_of_workers() {
    let directory = Directory::new();
    let (service, paths) = three_chunks(&directory);
    let mut seen = Vec::new();
    for jobs in [1, 2, 8] {
        let options = Options { parts: parts(&paths), level: Level::Merkle, jobs, start: genesis() };
        let batches = scan_with(options);
        assert_eq!(codes(&batches), [""; 0]);
        assert_eq!(total(&batches), 54);
        let records = records(&batches);
        assert!(records.iter().all(|record| record.root_holds && record.first_proven == Some(1)));
        assert_eq!(records.len(), 9);
        let leaves: Vec<_> = batches.iter().flat_map(|batch| batch.leaves.clone()).collect();
        let mut tree = tallystick_core::merkle::Tree::new();
        tree.append_many(&leaves);
        assert_eq!(tree.root(), service.tree.root());
        for record in records {
            assert_eq!(record.root, Some(tree.root_at(record.txid.seqno).unwrap()));
        }
        seen.push(format!("{batches:?}"));
    }
    assert!(seen.iter().all(|batches| *batches == seen[0]));
}

#[test]
fn changed_transaction_is_named_and_later_roots_are_still_checked() {
    let directory = Directory::new();
    let (service, paths) = three_chunks(&directory);
    // Transaction 2.21 is the third of the second chunk; the signature at 2.24 covers it.
    let offset = offset_of(&service.entries[18..], 2);
    change(&paths[1], |bytes| bytes[offset + 10] ^= 1);
    let batches = scan(&paths, genesis());
    let findings = findings(&batches);
    assert_eq!(codes(&batches), ["leaf-differs"]);
    assert_eq!(findings[0].txid, Some(TxId { view: 2, seqno: 21 }));
    assert_eq!((findings[0].file_index, findings[0].offset), (1, Some(offset as u64)));
    assert!(findings[0].message.starts_with("transaction 21 is not the one signed at 2.24: expected leaf "));
    let states: Vec<_> =
        records(&batches).iter().map(|r| (r.txid.seqno, r.root_holds, r.first_proven)).collect();
    assert_eq!(
        states[..4],
        [(6, true, Some(1)), (12, true, Some(1)), (18, true, Some(1)), (24, false, Some(1))]
    );
    assert_eq!(states[4..6], [(30, true, Some(22)), (36, true, Some(22))]);
}

#[test]
fn removed_transaction_leaves_a_gap_and_a_root_that_does_not_hold() {
    let directory = Directory::new();
    let mut service = Service::new();
    service.run(1, 3);
    service.sign();
    service.run(1, 3);
    // The first signature is taken out; the second one keeps no leaf but the one that is gone.
    let removed = service.entries.remove(3);
    assert_eq!(EntryView::parse(&removed).unwrap().txid().to_string(), "2.4");
    let mut file = vec![0; 8];
    file.extend(service.entries.concat());
    let batches = scan(&[directory.file("ledger_1", &file)], genesis());
    assert_eq!(codes(&batches), ["seqno-gap", "root-mismatch"]);
    let findings = findings(&batches);
    assert_eq!(findings[0].message, "next transaction: expected seqno 4, got 5");
    assert!(findings[1].message.starts_with("root signed at 2.5: expected "), "{}", findings[1].message);
    assert_eq!(findings[0].offset, Some(offset_of(&service.entries, 3) as u64));
    let states: Vec<_> = records(&batches).iter().map(|r| (r.root_holds, r.first_proven)).collect();
    assert_eq!(states, [(false, Some(1)), (true, Some(5))]);
}

#[test]
fn damaged_tree_and_damaged_root_are_told_apart() {
    let directory = Directory::new();
    let (service, paths) = three_chunks(&directory);
    let original = std::fs::read(&paths[0]).unwrap();
    let start = offset_of(&service.entries, 11);
    let tree = start + find(&original[start..], TREE_TABLE.as_bytes()) + 120;
    change(&paths[0], |bytes| bytes[tree] ^= 1);
    let batches = scan(&paths[..1], genesis());
    assert_eq!(codes(&batches)[0], "signature-tree-root");
    assert!(!records(&batches)[1].root_holds);

    let root = start + find(&original[start..], b"\"root\":\"") + 8;
    std::fs::write(&paths[0], &original).unwrap();
    change(&paths[0], |bytes| bytes[root] = if bytes[root] == b'0' { b'1' } else { b'0' });
    let batches = scan(&paths[..1], genesis());
    // The transaction itself was changed too, so the next signature does not cover it.
    assert_eq!(codes(&batches), ["root-mismatch", "leaf-differs"]);
    assert_eq!(findings(&batches)[0].txid.unwrap().seqno, 12);
}

#[test]
fn missing_and_repeated_chunks_are_gaps_after_which_the_scan_goes_on() {
    let directory = Directory::new();
    let (_, paths) = three_chunks(&directory);
    let batches = scan(&[paths[0].clone(), paths[2].clone()], genesis());
    assert_eq!(codes(&batches), ["seqno-gap"]);
    assert_eq!(findings(&batches)[0].message, "next transaction: expected seqno 19, got 37");
    let states: Vec<_> = records(&batches).iter().map(|r| (r.root_holds, r.first_proven)).collect();
    assert_eq!(states[2..5], [(true, Some(1)), (true, Some(37)), (true, Some(37))]);

    let batches = scan(&[paths[0].clone(), paths[0].clone()], genesis());
    assert_eq!(codes(&batches), ["seqno-repeated"]);
    let batches = scan(&paths[1..], genesis());
    assert_eq!(codes(&batches), ["seqno-gap"]);
}

#[test]
fn suffix_starts_from_the_first_tree() {
    let directory = Directory::new();
    let (service, paths) = three_chunks(&directory);
    let batches = scan(&paths[1..], Start::default());
    assert_eq!(codes(&batches), [""; 0]);
    let states: Vec<_> = records(&batches).iter().map(|r| (r.root_holds, r.first_proven)).collect();
    assert!(states.iter().all(|state| *state == (true, Some(19))), "{states:?}");
    // A changed transaction shows against that tree as well.
    let offset = offset_of(&service.entries[18..], 1);
    change(&paths[1], |bytes| bytes[offset + 10] ^= 1);
    let batches = scan(&paths[1..], Start::default());
    assert_eq!(codes(&batches), ["leaf-differs"]);
    assert_eq!(findings(&batches)[0].txid.unwrap().seqno, 20);
    assert_eq!(records(&batches)[0].first_proven, Some(21));
    assert!(!records(&batches)[0].root_holds);
    assert!(records(&batches)[1].root_holds);
}

#[test]
fn scan_goes_on_from_a_checkpoint() {
    let directory = Directory::new();
    let (_, paths) = three_chunks(&directory);
    let options = Options { parts: parts(&paths[..1]), level: Level::Merkle, jobs: 1, start: genesis() };
    let mut scanner = Scanner::new(options);
    while scanner.next_batch().unwrap().is_some() {}
    let start = Start {
        tree: scanner.tree().cloned(),
        first_seqno: Some(19),
        previous_view: Some(2),
        previous_was_signature: true,
    };
    assert_eq!(start.tree.as_ref().map(tallystick_core::merkle::Frontier::size), Some(19));
    let batches = scan(&paths[1..], start.clone());
    assert_eq!(codes(&batches), [""; 0]);
    assert!(records(&batches).iter().all(|record| record.root_holds && record.first_proven == Some(19)));
    assert_eq!(codes(&scan(&paths[2..], start)), ["seqno-gap"]);
}

#[test]
fn swapped_transactions_are_out_of_order() {
    let directory = Directory::new();
    let mut service = Service::new();
    service.run(2, 5);
    service.entries.swap(7, 8);
    let mut file = vec![0; 8];
    file.extend(service.entries.concat());
    let batches = scan(&[directory.file("ledger_1", &file)], genesis());
    assert_eq!(codes(&batches), ["seqno-gap", "leaf-differs", "seqno-repeated"]);
}

#[test]
fn layout_of_a_chunk_is_checked() {
    let directory = Directory::new();
    let (service, paths) = three_chunks(&directory);
    let original = std::fs::read(&paths[2]).unwrap();
    let entries = &service.entries[36..];
    let table = offset_of(entries, entries.len());
    let check = |name: &str, expected: &[&str], edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = original.clone();
        edit(&mut bytes);
        let path = directory.file("ledger_37-54.committed", &bytes);
        let batches = scan(&[paths[0].clone(), paths[1].clone(), path], genesis());
        assert_eq!(codes(&batches), expected, "{name}");
        assert!(findings(&batches).iter().all(|finding| finding.file_index == 2), "{name}");
    };
    let set_table = |bytes: &mut Vec<u8>, offset: u64| bytes[..8].copy_from_slice(&offset.to_le_bytes());
    check("sound", &[], &|_| {});
    check("two offsets swapped", &["chunk-offsets-differ"], &|bytes| bytes[table..table + 8].rotate_left(4));
    check("one offset short", &["chunk-offsets-size"], &|bytes| bytes.truncate(bytes.len() - 4));
    check("part of an offset", &["chunk-offsets-size"], &|bytes| bytes.truncate(bytes.len() - 1));
    check("more after the table", &["chunk-offsets-size"], &|bytes| bytes.extend([0; 4]));
    check("hidden transactions", &["chunk-offsets-size"], &|bytes| bytes.truncate(bytes.len() - 12));
    check("foreign bytes", &["chunk-trailing-bytes"], &|bytes| {
        bytes.splice(table..table, [0xaa; 1000]);
        set_table(bytes, table as u64 + 1000);
    });
    check("table cut off", &["chunk-offsets-missing", "entry-truncated"], &|bytes| bytes.truncate(table - 1));
    check("header inside itself", &["chunk-header", "entry-version"], &|bytes| set_table(bytes, 7));
    check("wrong format version", &["entry-version"], &|bytes| bytes[8] = 2);
    check("header of four bytes", &["chunk-header-truncated"], &|bytes| bytes.truncate(4));
    check("unknown flag", &["entry-flags", "leaf-differs"], &|bytes| bytes[9] |= 4);
    check("completed elsewhere", &["chunk-end-not-signature"], &|bytes| {
        let cut = offset_of(entries, entries.len() - 1);
        bytes.truncate(cut);
        for index in 0..entries.len() - 1 {
            bytes.extend(u32::try_from(offset_of(entries, index)).unwrap().to_le_bytes());
        }
        set_table(bytes, cut as u64);
    });
}

#[test]
fn a_table_without_a_header_is_a_crash_image_only_where_nothing_was_completed() {
    let directory = Directory::new();
    let (service, paths) = three_chunks(&directory);
    let entries = &service.entries[36..];
    let end = offset_of(entries, 18);
    let mut bytes = std::fs::read(&paths[2]).unwrap();
    bytes.truncate(end);
    bytes[..8].fill(0);
    for index in 0..18 {
        bytes.extend(u32::try_from(offset_of(entries, index)).unwrap().to_le_bytes());
    }
    let check = |name: &str, bytes: &[u8], expected: &str| {
        let path = directory.file(name, bytes);
        let batches = scan(&[paths[0].clone(), paths[1].clone(), path], genesis());
        assert_eq!(codes(&batches), [expected], "{name}, {} bytes", bytes.len());
        assert_eq!(total(&batches), 54);
    };
    for length in end + 1..=bytes.len() {
        check("ledger_37", &bytes[..length], "partial-tail");
    }
    check("ledger_37-54.committed", &bytes, "entry-version");
    let mut longer = bytes.clone();
    longer.extend([0; 4]);
    check("ledger_37", &longer, "entry-version");
    bytes[end + 20] ^= 1;
    check("ledger_37", &bytes, "entry-version");
}

#[test]
fn crash_images_of_an_open_chunk_are_notes() {
    let directory = Directory::new();
    let (service, paths) = three_chunks(&directory);
    let mut open = std::fs::read(&paths[2]).unwrap();
    open.truncate(offset_of(&service.entries[36..], 18));
    open[..8].fill(0);
    let check = |length: usize, expected: &[&str], transactions: u64| {
        let path = directory.file("ledger_37", &open[..length]);
        let batches = scan(&[paths[0].clone(), paths[1].clone(), path], genesis());
        assert_eq!(codes(&batches), expected, "{length} bytes");
        assert_eq!(total(&batches), transactions);
    };
    check(open.len(), &[], 54);
    check(open.len() - 1, &["partial-tail"], 53);
    check(13, &["partial-tail"], 36);
    check(8, &["chunk-empty"], 36);
    check(0, &["chunk-empty"], 36);
}

#[test]
fn views_may_change_after_a_signature_only() {
    let directory = Directory::new();
    let mut service = Service::new();
    service.run(1, 2);
    service.view = 4;
    service.run(1, 2);
    service.view = 3;
    service.run(1, 1);
    service.write(b"unsigned");
    service.view = 5;
    service.run(1, 1);
    let batches = scan(&[directory.chunk(&service.entries, false)], genesis());
    assert_eq!(codes(&batches), ["view-decreases", "view-change-unsigned"]);
    let seqnos: Vec<_> = findings(&batches).iter().map(|finding| finding.txid.unwrap().to_string()).collect();
    assert_eq!(seqnos, ["3.7", "5.10"]);
    let start = Start { previous_view: Some(1), ..genesis() };
    let path = directory.0.join("ledger_1");
    assert_eq!(codes(&scan(&[path], start))[0], "view-change-unsigned");
}

#[test]
fn shape_of_signature_transactions_is_checked() {
    let check = |expected: &[&str], make: &dyn Fn(&Service) -> Vec<u8>| {
        let directory = Directory::new();
        let mut service = Service::new();
        service.run(1, 2);
        let entry = make(&service);
        service.push(entry);
        let batches = scan(&[directory.chunk(&service.entries, false)], genesis());
        assert_eq!(codes(&batches), expected);
        assert_eq!(records(&batches).len(), 2);
    };
    let with = |service: &Service, more| {
        let mut tables = service.signature_tables();
        tables.push(more);
        seal(service.next(), tables, &[], [0; 32])
    };
    check(&[], &|service| seal(service.next(), service.signature_tables(), &[], [0; 32]));
    check(&["signature-tx-extra-table"], &|service| with(service, table("public:ccf.gov.x", b"k", b"v")));
    check(&["signature-tx-claims"], &|service| {
        seal(service.next(), service.signature_tables(), &[], [1; 32])
    });
    check(&["signature-tx-private"], &|service| {
        seal(service.next(), service.signature_tables(), &[1, 2, 3], [0; 32])
    });
    let only = |service: &Service, name: &str| {
        let mut tables = service.signature_tables();
        tables.retain(|(table, _)| table == name);
        seal(service.next(), tables, &[], [0; 32])
    };
    check(&["signature-missing"], &|service| only(service, TREE_TABLE));
    check(&["signature-tree-missing"], &|service| only(service, RAW_TABLE));
    check(&["signature-tx-table-shape"], &|service| {
        let mut tables = service.signature_tables();
        tables[0].1.push((vec![1; 8], Some(vec![])));
        seal(service.next(), tables, &[], [0; 32])
    });
    check(&["signature-txid"], &|service| {
        let tables = service.signature_tables();
        seal(TxId { view: 3, ..service.next() }, tables, &[], [0; 32])
    });
    check(&["json-type"], &|service| {
        let mut tables = service.signature_tables();
        tables[0] = table(RAW_TABLE, &[0; 8], b"[]");
        seal(service.next(), tables, &[], [0; 32])
    });
    check(&["merkle-compact-size"], &|service| {
        let mut tables = service.signature_tables();
        tables[1] = table(TREE_TABLE, &[0; 8], &[0; 3]);
        seal(service.next(), tables, &[], [0; 32])
    });
    check(&["signature-tree-size"], &|service| {
        let mut tables = service.signature_tables();
        tables[1] = table(TREE_TABLE, &[0; 8], &tallystick_core::merkle::Tree::new().to_compact());
        seal(service.next(), tables, &[], [0; 32])
    });
}

#[test]
fn malformed_domains_are_findings_and_the_scan_goes_on() {
    let directory = Directory::new();
    let mut service = Service::new();
    service.run(1, 3);
    service.write(b"to be changed");
    service.run(1, 1);
    let offset = offset_of(&service.entries, 4);
    let path = directory.chunk(&service.entries, false);
    let original = std::fs::read(&path).unwrap();
    let check = |expected: &str, edit: &dyn Fn(&mut [u8])| {
        let mut bytes = original.clone();
        edit(&mut bytes[offset..]);
        std::fs::write(&path, bytes).unwrap();
        let batches = scan(std::slice::from_ref(&path), genesis());
        assert!(codes(&batches).contains(&expected), "{expected}: {:?}", codes(&batches));
        assert_eq!(total(&batches), 7);
    };
    // The public domain begins 44 bytes into the entry, its maps 81 bytes into the domain.
    check("domain-entry-type", &|entry| entry[44] = 1);
    check("domain-entry-type", &|entry| entry[44] = 9);
    check("entry-seqno-mismatch", &|entry| entry[45] = 99);
    check("entry-snapshot-bit", &|entry| entry[35] = 0x80);
    check("entry-public-domain-size", &|entry| entry[43] = 1);
    check("domain-truncated", &|entry| entry[44 + 81 + 7] = 1);
    check("domain-map-prefix", &|entry| entry[44 + 81 + 8] = b'P');
    check("domain-map-encoding", &|entry| entry[44 + 81 + 16] = 0xff);
}

#[test]
fn only_the_wanted_part_of_a_file_is_used_and_entries_cannot_take_themselves_out() {
    let directory = Directory::new();
    let (service, paths) = three_chunks(&directory);
    let whole = directory.0.join("whole");
    std::fs::create_dir(&whole).unwrap();
    let whole = Directory(whole);
    let path = whole.chunk(&service.entries[12..], false);
    let part =
        |path: &PathBuf, first, last| Part { path: path.clone(), first_seqno: first, last_seqno: last };
    let run = |parts| scan_with(Options { parts, level: Level::Merkle, jobs: 2, start: genesis() });
    let batches = run(vec![part(&paths[0], None, Some(14)), part(&path, Some(15), Some(40))]);
    assert_eq!(codes(&batches), [""; 0]);
    assert_eq!(total(&batches), 40);
    // An entry in the wanted part that says that it is another one.
    change(&path, |bytes| bytes[offset_of(&service.entries[12..], 9) + 24] = 3);
    let batches = run(vec![part(&paths[0], None, Some(14)), part(&path, Some(15), Some(40))]);
    assert_eq!(codes(&batches)[..2], ["entry-seqno-mismatch", "seqno-repeated"]);
    assert_eq!(total(&batches), 40);
}

#[test]
fn entries_larger_than_a_segment_pass() {
    let directory = Directory::new();
    let mut service = Service::new();
    for bytes in [10, 5 << 20, 20, 3 << 20, 2 << 20, 30] {
        service.write(&vec![b'x'; bytes]);
        service.sign();
    }
    let batches = scan(&[directory.chunk(&service.entries, true)], genesis());
    assert_eq!(codes(&batches), [""; 0]);
    assert_eq!(total(&batches), 12);
    assert!(batches.len() > 3);
    assert!(records(&batches).iter().all(|record| record.root_holds));
}

#[test]
fn lower_levels_check_less() {
    let directory = Directory::new();
    let (service, paths) = three_chunks(&directory);
    let entry = offset_of(&service.entries, 4);
    let table = offset_of(&service.entries[..18], 18);
    change(&paths[0], |bytes| {
        bytes[entry + 1] = 0x80;
        bytes[table] ^= 1;
    });
    let at = |level| {
        let batches = scan_with(Options { parts: parts(&paths), level, jobs: 2, start: genesis() });
        assert_eq!(records(&batches).len(), 9);
        assert_eq!(batches.iter().all(|batch| batch.leaves.is_empty()), level < Level::Merkle);
        codes(&batches)
    };
    assert_eq!(at(Level::Parse), [""; 0]);
    assert_eq!(at(Level::Offsets), ["chunk-offsets-differ"]);
    assert_eq!(at(Level::Headers), ["entry-flags", "chunk-offsets-differ"]);
    assert_eq!(at(Level::Merkle), ["entry-flags", "leaf-differs", "chunk-offsets-differ"]);
}

#[test]
fn every_changed_byte_and_every_cut_is_noticed() {
    let directory = Directory::new();
    let mut service = Service::new();
    service.run(2, 1);
    let path = directory.chunk(&service.entries, true);
    let original = std::fs::read(&path).unwrap();
    let last = offset_of(&service.entries, 3);
    let table = offset_of(&service.entries, 4);
    for position in 0..original.len() {
        let mut changed = original.clone();
        changed[position] ^= 0x41;
        std::fs::write(&path, &changed).unwrap();
        let batches = scan(std::slice::from_ref(&path), genesis());
        // Nothing signs the last transaction, so a scan can only see what is inconsistent in it. Its tag, its digests
        // and its node signature are not.
        let unsigned = (last..table).contains(&position);
        assert!(unsigned || !codes(&batches).is_empty(), "byte {position}");
    }
    for length in 0..original.len() {
        std::fs::write(&path, &original[..length]).unwrap();
        assert!(!codes(&scan(std::slice::from_ref(&path), genesis())).is_empty(), "cut at {length}");
    }
}

#[test]
fn unreadable_file_is_an_error_and_ends_the_scan() {
    let directory = Directory::new();
    let (_, mut paths) = three_chunks(&directory);
    paths.insert(1, directory.0.join("absent"));
    let options = Options { parts: parts(&paths), level: Level::Merkle, jobs: 2, start: genesis() };
    let mut scanner = Scanner::new(options);
    assert_eq!(scanner.next_batch().unwrap().map(|batch| batch.count), Some(18));
    let error = scanner.next_batch().unwrap_err();
    assert!(matches!(error, ScanError::Io { file_index: 1, .. }), "{error}");
    assert!(scanner.next_batch().unwrap().is_none());
}

#[test]
fn an_abandoned_scan_stops() {
    let directory = Directory::new();
    let mut service = Service::new();
    for _ in 0..40 {
        service.write(&vec![b'x'; 4 << 20]);
    }
    let path = directory.chunk(&service.entries, false);
    let options = Options { parts: parts(&[path]), level: Level::Merkle, jobs: 2, start: genesis() };
    let mut scanner = Scanner::new(options);
    assert!(scanner.next_batch().unwrap().is_some());
    drop(scanner);
    let entry = EntryView::parse(&service.entries[0]).unwrap();
    assert_eq!(entry.txid(), TxId { view: 2, seqno: 1 });
}

#[test]
fn scan_that_runs_ahead_gives_the_same_batches_and_trees() {
    let directory = Directory::new();
    let (_, paths) = three_chunks(&directory);
    let options = || Options { parts: parts(&paths), level: Level::Merkle, jobs: 2, start: genesis() };
    let mut plain = Scanner::new(options());
    for started in [false, true] {
        let mut ahead = ScanAhead::new(Scanner::new(options()));
        let mut checks = Checks::new(2);
        if started {
            ahead.start(Some(checks.head_start())).unwrap();
            ahead.start(None).unwrap();
        }
        let mut fresh = Scanner::new(options());
        assert_eq!(ahead.tree(), fresh.tree());
        while let Some(expected) = fresh.next_batch().unwrap() {
            let batch = ahead.next_batch().unwrap().unwrap();
            assert_eq!(format!("{batch:?}"), format!("{expected:?}"));
            assert_eq!(ahead.tree(), fresh.tree());
            assert_eq!(ahead.transactions(), fresh.transactions());
            assert_eq!(ahead.bytes_read(), fresh.bytes_read());
        }
        assert!(ahead.next_batch().unwrap().is_none());
        assert!(ahead.next_batch().unwrap().is_none());
        // The certificates of this service are no certificates, and nobody has submitted a check.
        assert_eq!((checks.finish(), checks.checked()), (vec![], 0));
    }
    // Both can be dropped before anything has been asked for, and in the middle.
    let mut dropped = ScanAhead::new(Scanner::new(options()));
    dropped.start(None).unwrap();
    drop(dropped);
    plain.next_batch().unwrap();
}

#[test]
fn scan_that_runs_ahead_reports_what_stops_it() {
    let directory = Directory::new();
    let (_, mut paths) = three_chunks(&directory);
    paths[1] = directory.0.join("missing");
    let options = Options { parts: parts(&paths), level: Level::Merkle, jobs: 2, start: genesis() };
    let mut ahead = ScanAhead::new(Scanner::new(options));
    ahead.start(None).unwrap();
    let error = loop {
        match ahead.next_batch() {
            Ok(batch) => assert!(batch.is_some()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ScanError::Io { file_index: 1, .. }));
    assert!(ahead.next_batch().unwrap().is_none());
}
