//! Every signature value in the real ledgers parses, wherever those are at hand.
//!
//! The values are found by their text, not through the ledger reader, so that this test stands on its own.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a panic is how a test fails, and this one reads files"
)]
use std::path::{Path, PathBuf};

use tallystick_core::sigtx::{parse_cose, parse_raw};

fn shared() -> Option<PathBuf> {
    let path = std::env::var_os("TALLYSTICK_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from)
        .join("data");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no real files at {}", path.display());
    None
}

fn chunks(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            chunks(&path, found);
        } else if path.file_name().unwrap().to_string_lossy().starts_with("ledger_") {
            found.push(path);
        }
    }
}

/// Values of single-valued tables that start with `start`: each stands after a key of eight zero bytes and its length.
fn values<'a>(bytes: &'a [u8], start: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut position = 16;
    std::iter::from_fn(move || {
        loop {
            let at =
                position + bytes.get(position..)?.windows(start.len()).position(|window| window == start)?;
            position = at + start.len();
            if bytes[at - 16..at - 8] != [0; 8] {
                continue;
            }
            let length = usize::try_from(u64::from_le_bytes(bytes[at - 8..at].try_into().unwrap())).ok();
            if let Some(value) =
                length.filter(|length| *length < 4096).and_then(|length| bytes.get(at..at + length))
            {
                return Some(value);
            }
        }
    })
}

#[test]
fn every_signature_of_the_real_ledgers_parses() {
    let Some(shared) = shared() else { return };
    let mut files = Vec::new();
    chunks(&shared, &mut files);
    let (mut raw, mut cose) = (0, 0);
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        for start in [&b"{\"cert\":\"-----BEGIN"[..], b"{\"commit_seqno\":"] {
            for value in values(&bytes, start).filter(|value| value.windows(8).any(|w| w == b",\"sig\":\"")) {
                let signature =
                    parse_raw(value).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                assert!(signature.unknown_keys.is_empty(), "{:?}", signature.unknown_keys);
                raw += 1;
            }
        }
        for value in values(&bytes, b"\"0oR") {
            let signature = parse_cose(value).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert!([-7, -35].contains(&signature.algorithm));
            cose += 1;
        }
    }
    eprintln!("{raw} node signatures, {cose} service signatures");
    assert!(raw > 2000 && cose > 1500, "only {raw} node and {cose} service signatures found");
}
