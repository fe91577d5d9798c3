//! The two halves of a scan apart: one file scanned anywhere, and the fold over what comes back.
//!
//! [`scan_file`] frames, parses and hashes one file, on one core, and writes the outcome as bytes; it needs nothing
//! that stands before the file. [`ScannedFold`] takes these bytes in ledger order. What it finds is what a
//! [`super::Scanner`] over the same files finds, whoever did the first half.
//!
//! The bytes are between two copies of the same version of this program, never a format to keep. They are read as
//! strictly as a file is all the same: they come over a network.
use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::finding::Finding;
use super::fold::{Fold, Start};
use super::framer::{Framer, Stop};
use super::segment::{self, Cut, Parsed, Places, SignatureTx};
use super::{Batch, Level, MAX_SEGMENT_BYTES, Part, ScanError};
use crate::error::all_codes;
use crate::export::Columns;
use crate::ledger::Entry;
use crate::merkle::Frontier;
use crate::types::{Digest, TxId};

/// One segment of one file is held at a time; a single entry that is larger than a segment may be held beside it.
const IN_FLIGHT_BYTES: usize = 2 * MAX_SEGMENT_BYTES;

/// Why the outcome of a scan elsewhere is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScannedError {
    /// Not the bytes that [`scan_file`] of this version writes.
    #[error("outcome of a scan: not in the form that version {expected} writes")]
    Malformed {
        /// This version.
        expected: &'static str,
    },
    /// Written by another version of this program.
    #[error("outcome of a scan: expected one by version {expected}, got one by version {actual}")]
    Version {
        /// This version.
        expected: &'static str,
        /// Theirs.
        actual: String,
    },
    /// Scanned at another level.
    #[error("outcome of a scan: scanned at another level than the one it is wanted for")]
    Level,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn malformed<T>(_: T) -> ScannedError {
    ScannedError::Malformed { expected: VERSION }
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    version: &'a str,
    level: u8,
    segments: usize,
}

#[derive(Serialize, Deserialize)]
struct FindingForm {
    code: String,
    message: String,
    offset: Option<u64>,
    txid: Option<TxId>,
}

#[derive(Serialize, Deserialize)]
struct EntryForm {
    offset: u64,
    raw: Vec<u8>,
}

/// [`Parsed`] without its buffer.
#[derive(Serialize, Deserialize)]
struct Form {
    places: Places,
    findings: Vec<FindingForm>,
    starts_file: bool,
    ends_complete_chunk: bool,
    leaves: Vec<Digest>,
    nodes: Vec<(u32, Digest)>,
    cuts: Vec<Cut>,
    signatures: Vec<SignatureTx>,
    signature_indices: Vec<usize>,
    notable: Vec<EntryForm>,
    columns: Option<Box<Columns>>,
}

impl Form {
    fn new(parsed: Parsed) -> Self {
        let finding = |finding: Finding| FindingForm {
            code: finding.code.into(),
            message: finding.message,
            offset: finding.offset,
            txid: finding.txid,
        };
        let entry = |entry: Entry| EntryForm { offset: entry.offset(), raw: entry.raw().to_vec() };
        Self {
            places: Arc::into_inner(parsed.places).unwrap_or_default(),
            findings: parsed.findings.into_iter().map(finding).collect(),
            starts_file: parsed.starts_file,
            ends_complete_chunk: parsed.ends_complete_chunk,
            leaves: parsed.leaves,
            nodes: parsed.nodes,
            cuts: parsed.cuts,
            signatures: parsed.signatures,
            signature_indices: parsed.signature_indices,
            notable: parsed.notable.into_iter().map(entry).collect(),
            columns: parsed.columns,
        }
    }

    fn parsed(
        mut self,
        file_index: usize,
        codes: &[&'static str],
        level: Level,
    ) -> Result<Parsed, ScannedError> {
        self.places.file_index = file_index;
        let leaves = if level >= Level::Merkle { self.places.count } else { 0 };
        if !self.places.is_consistent() || self.leaves.len() != leaves {
            return Err(malformed(()));
        }
        let mut columns = self.columns;
        if let Some(columns) = &mut columns {
            if columns.transactions.len() != self.places.count {
                return Err(malformed(()));
            }
            columns.transactions.file_index = file_index;
        }
        let finding = |form: FindingForm| {
            let code = codes.binary_search(&form.code.as_str()).ok().and_then(|at| codes.get(at).copied());
            Ok(Finding {
                code: code.ok_or_else(|| malformed(()))?,
                message: form.message,
                file_index,
                offset: form.offset,
                txid: form.txid,
            })
        };
        let findings: Result<Vec<Finding>, ScannedError> = self.findings.into_iter().map(finding).collect();
        let notable = self.notable.into_iter().map(|form| Entry::new(form.raw, form.offset));
        let notable: Result<Vec<Entry>, _> = notable.collect();
        Ok(Parsed {
            places: Arc::new(self.places),
            buffer: Vec::new(),
            findings: findings?,
            starts_file: self.starts_file,
            ends_complete_chunk: self.ends_complete_chunk,
            leaves: self.leaves,
            nodes: self.nodes,
            cuts: self.cuts,
            signatures: self.signatures,
            signature_indices: self.signature_indices,
            notable: notable.map_err(malformed)?,
            columns,
        })
    }
}

/// Scans one file in this thread, and writes the outcome down for a [`ScannedFold`].
///
/// `columns`: as [`super::Scanner::collect_columns`].
///
/// # Errors
/// [`ScanError::Io`], with file index 0, when it cannot be read.
pub fn scan_file(part: &Part, level: Level, columns: bool) -> Result<Vec<u8>, ScanError> {
    let columns = columns && level >= Level::Merkle;
    let budget = Budget::new(IN_FLIGHT_BYTES);
    let mut framer = Framer { level, segment_bytes: MAX_SEGMENT_BYTES, budget: &budget, order: 0, columns };
    let mut bodies = Vec::new();
    let mut segments = 0;
    let mut failed = false;
    let outcome = framer.file(0, part, &mut |segment| {
        let mut parsed = segment::parse(segment, level);
        budget.give_back(std::mem::take(&mut parsed.buffer), MAX_SEGMENT_BYTES);
        segments += 1;
        match postcard::to_extend(&Form::new(parsed), std::mem::take(&mut bodies)) {
            Ok(extended) => bodies = extended,
            Err(_) => failed = true,
        }
        !failed
    });
    match outcome {
        Ok(()) if !failed => {}
        Err(Stop::Io(source)) => return Err(ScanError::Io { file_index: 0, source }),
        _ => return Err(ScanError::Worker),
    }
    let head = Head { version: VERSION, level: level as u8, segments };
    let mut bytes = postcard::to_allocvec(&head).map_err(|_| ScanError::Worker)?;
    bytes.extend_from_slice(&bodies);
    Ok(bytes)
}

/// The second half of a scan, over the outcomes of [`scan_file`].
pub struct ScannedFold {
    fold: Fold,
    level: Level,
    codes: Vec<&'static str>,
    files: usize,
    waiting: VecDeque<Parsed>,
    transactions: u64,
    bytes_read: u64,
}

impl ScannedFold {
    /// Goes on from `start`.
    #[must_use]
    pub fn new(level: Level, start: Start) -> Self {
        Self {
            fold: Fold::new(level, start),
            level,
            codes: all_codes(),
            files: 0,
            waiting: VecDeque::new(),
            transactions: 0,
            bytes_read: 0,
        }
    }

    /// Takes the outcome for the next file.
    ///
    /// # Errors
    /// [`ScannedError`]; nothing of it is taken then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ScannedError> {
        let (head, mut rest) = postcard::take_from_bytes::<Head<'_>>(bytes).map_err(malformed)?;
        if head.version != VERSION {
            return Err(ScannedError::Version { expected: VERSION, actual: head.version.into() });
        }
        if head.level != self.level as u8 {
            return Err(ScannedError::Level);
        }
        let mut segments = Vec::new();
        for _ in 0..head.segments {
            let (form, after) = postcard::take_from_bytes::<Form>(rest).map_err(malformed)?;
            segments.push(form.parsed(self.files, &self.codes, self.level)?);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(malformed(()));
        }
        self.waiting.extend(segments);
        self.files += 1;
        Ok(())
    }

    /// The next batch, in ledger order; `None` when more has to be fed.
    pub fn next_batch(&mut self) -> Option<Batch> {
        while let Some(parsed) = self.waiting.pop_front() {
            let (batch, _) = self.fold.segment(parsed);
            self.transactions += batch.count;
            self.bytes_read += batch.bytes;
            if batch.count > 0 || !batch.findings.is_empty() {
                return Some(batch);
            }
        }
        None
    }

    /// The tree after the last batch; `None` while there is none.
    #[must_use]
    pub fn tree(&self) -> Option<&Frontier> {
        self.fold.tree()
    }

    /// Transactions in the batches so far.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Bytes of these transactions.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write the files that they scan")]
mod tests {
    use super::*;

    fn small_chunk() -> (std::path::PathBuf, u64) {
        let directory = std::env::temp_dir().join(format!("tallystick-scanned-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("ledger_1");
        std::fs::write(&path, [0_u8; 8]).unwrap();
        (path, 8)
    }

    #[test]
    fn a_finding_survives_the_way() {
        let (path, _) = small_chunk();
        let part = Part { path, first_seqno: None, last_seqno: None };
        let bytes = scan_file(&part, Level::Merkle, false).unwrap();

        let mut fold = ScannedFold::new(Level::Merkle, Start::default());
        fold.feed(&bytes).unwrap();
        let batch = fold.next_batch().unwrap();

        assert_eq!(batch.findings[0].code, "chunk-empty");
        assert!(fold.next_batch().is_none());
    }

    #[test]
    fn what_is_cut_or_longer_or_of_another_level_is_refused() {
        let (path, _) = small_chunk();
        let part = Part { path, first_seqno: None, last_seqno: None };
        let bytes = scan_file(&part, Level::Merkle, true).unwrap();
        let mut fold = ScannedFold::new(Level::Merkle, Start::default());

        for length in 0..bytes.len() {
            assert!(fold.feed(&bytes[..length]).is_err(), "{length}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(fold.feed(&longer).is_err());
        let mut other = ScannedFold::new(Level::Parse, Start::default());
        assert_eq!(other.feed(&bytes), Err(ScannedError::Level));
        assert!(fold.next_batch().is_none());
    }
}
