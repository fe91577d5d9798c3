//! Reading and scanning any file ends, with or without findings, and one worker finds what three find.
#![no_main]

use std::path::PathBuf;

use tallystick_core::ledger::ChunkFile;
use tallystick_core::merkle::Frontier;
use tallystick_core::scan::{Level, Options, Part, Scanner, Start};

fn scan(path: &PathBuf, jobs: usize) -> String {
    let part = Part { path: path.clone(), first_seqno: None, last_seqno: None };
    let start = Start { tree: Some(Frontier::new()), ..Start::default() };
    let mut scanner = Scanner::new(Options { parts: vec![part], level: Level::Merkle, jobs, start });
    let mut found = String::new();
    while let Some(batch) = scanner.next_batch().expect("the file can be read") {
        found += &format!("{batch:?}");
    }
    found
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let path = std::env::temp_dir().join(format!("tallystick-fuzz-chunk-{}", std::process::id()));
    std::fs::write(&path, data).expect("the temporary directory can be written to");
    assert_eq!(scan(&path, 1), scan(&path, 3));
    if let Ok(chunk) = ChunkFile::open(&path) {
        if let Ok(mut entries) = chunk.entries_from(chunk.entry_count() / 2) {
            while let Ok(Some(entry)) = entries.next_entry() {
                assert_eq!(
                    data.get(entry.offset() as usize..).and_then(|rest| rest.get(..entry.raw().len())),
                    Some(entry.raw())
                );
            }
        }
    }
});
