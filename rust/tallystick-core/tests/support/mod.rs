//! A small service that writes ledgers for tests: real bytes in every respect, but for signatures, which nobody
//! checks here.
#![allow(dead_code, reason = "each test uses its own part")]
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tallystick_core::ledger::crypto::{commit_evidence, seal_entry};
use tallystick_core::ledger::domain::{Changes, PublicFields, Tables, encode_public};
use tallystick_core::ledger::{ChunkWriter, Entry, EntryType};
use tallystick_core::merkle::Tree;
use tallystick_core::scan::{Batch, Finding, Level, Options, Part, Scanner, Start};
use tallystick_core::types::{TxId, to_hex};

pub const SECRET: [u8; 32] = [7; 32];
pub const RAW_TABLE: &str = "public:ccf.internal.signatures";
pub const TREE_TABLE: &str = "public:ccf.internal.tree";

/// Real files, wherever they are at hand.
pub fn shared() -> Option<PathBuf> {
    let path = std::env::var_os("TALLYSTICK_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from)
        .join("data");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no real files at {}", path.display());
    None
}

/// A directory that is gone after the test.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tallystick-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes entries as a chunk, complete or open.
    pub fn chunk(&self, entries: &[Vec<u8>], complete: bool) -> PathBuf {
        let first = Entry::new(entries[0].as_slice(), 0).unwrap().txid().seqno;
        let mut writer = ChunkWriter::create(&self.0, first).unwrap();
        for entry in entries {
            writer.append(entry).unwrap();
        }
        if complete {
            return writer.complete(true).unwrap();
        }
        writer.flush().unwrap();
        writer.path().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn table(name: &str, key: &[u8], value: &[u8]) -> (String, Changes) {
    (name.into(), vec![(key.to_vec(), Some(value.to_vec()))])
}

pub fn seal(txid: TxId, tables: Tables, private: &[u8], claims_digest: [u8; 32]) -> Vec<u8> {
    let evidence = commit_evidence(&SECRET, txid).unwrap();
    let fields = PublicFields {
        entry_type: EntryType::WithCommitEvidenceAndClaims,
        version: txid.seqno,
        claims_digest,
        commit_evidence_digest: tallystick_core::hash::sha256(evidence.as_bytes()),
        max_conflict_version: 0,
    };
    seal_entry(txid, 0, &encode_public(&fields, tables).unwrap(), private.to_vec(), &SECRET).unwrap()
}

#[derive(Clone)]
pub struct Service {
    pub view: u64,
    pub tree: Tree,
    pub entries: Vec<Vec<u8>>,
}

impl Service {
    pub fn new() -> Self {
        Self { view: 2, tree: Tree::new(), entries: Vec::new() }
    }

    pub fn next(&self) -> TxId {
        TxId { view: self.view, seqno: self.tree.size() }
    }

    pub fn push(&mut self, entry: Vec<u8>) {
        self.tree.append(Entry::new(entry.as_slice(), 0).unwrap().leaf().unwrap());
        self.entries.push(entry);
    }

    pub fn write(&mut self, value: &[u8]) {
        let tables = vec![table("public:records", b"key", value)];
        self.push(seal(self.next(), tables, &[], [0; 32]));
    }

    pub fn signature_tables(&self) -> Tables {
        let txid = self.next();
        let raw = format!(
            "{{\"commit_seqno\":0,\"commit_view\":0,\"hashed_nonce\":\"{zeros}\",\"node\":\"{zeros}\",\"root\":\"{}\",\
             \"seqno\":{},\"sig\":\"{}\",\"view\":{}}}",
            to_hex(&self.tree.root()),
            txid.seqno,
            STANDARD.encode([0x30; 8]),
            txid.view,
            zeros = "0".repeat(64),
        );
        vec![table(RAW_TABLE, &[0; 8], raw.as_bytes()), table(TREE_TABLE, &[0; 8], &self.tree.to_compact())]
    }

    pub fn sign(&mut self) {
        let entry = seal(self.next(), self.signature_tables(), &[], [0; 32]);
        let flushed = self.tree.size();
        self.push(entry);
        self.tree.flush(flushed).unwrap();
    }

    /// `signed` times `between` writes and a signature.
    pub fn run(&mut self, signed: usize, between: usize) {
        for _ in 0..signed {
            for number in 0..between {
                self.write(format!("value {number} of {}", self.next()).as_bytes());
            }
            self.sign();
        }
    }
}

pub fn parts(paths: &[PathBuf]) -> Vec<Part> {
    paths.iter().map(|path| Part { path: path.clone(), first_seqno: None, last_seqno: None }).collect()
}

pub fn genesis() -> Start {
    Start { tree: Some(Tree::new().frontier()), ..Start::default() }
}

pub fn scan_with(options: Options) -> Vec<Batch> {
    let mut scanner = Scanner::new(options);
    let mut batches = Vec::new();
    while let Some(batch) = scanner.next_batch().unwrap() {
        batches.push(batch);
    }
    batches
}

pub fn scan(paths: &[PathBuf], start: Start) -> Vec<Batch> {
    scan_with(Options { parts: parts(paths), level: Level::Merkle, jobs: 2, start })
}

pub fn findings(batches: &[Batch]) -> Vec<&Finding> {
    batches.iter().flat_map(|batch| &batch.findings).collect()
}

pub fn codes(batches: &[Batch]) -> Vec<&'static str> {
    findings(batches).iter().map(|finding| finding.code).collect()
}
