//! Columns in memory, laid out as Apache Arrow lays them out, so that whoever writes Parquet need not convert them.
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::ledger::domain::{Domain, PublicHead, Visitor, walk};
use crate::ledger::entry::{EntryView, peek_txid};
use crate::types::{Digest, TxId};

/// Bits, least significant first.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Bits {
    bytes: Vec<u8>,
    len: usize,
}

impl Bits {
    pub(super) fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let (Some(last), true) = (self.bytes.last_mut(), bit) {
            *last |= 1 << (self.len % 8);
        }
        self.len += 1;
    }

    pub(super) fn set(&mut self, at: usize) {
        if let Some(byte) = self.bytes.get_mut(at / 8).filter(|_| at < self.len) {
            *byte |= 1 << (at % 8);
        }
    }

    /// Bit `at`; false beyond the end.
    #[must_use]
    pub fn get(&self, at: usize) -> bool {
        at < self.len && self.bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
    }

    /// The bytes, the last one filled up with zeros.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Digests, some of which are absent; those are zeros.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Digests {
    /// One a row.
    pub values: Vec<Digest>,
    /// Which rows have one.
    pub present: Bits,
}

impl Digests {
    pub(super) fn push(&mut self, digest: Option<&Digest>) {
        self.values.push(digest.copied().unwrap_or([0; 32]));
        self.present.push(digest.is_some());
    }

    /// The digest of row `at`.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&Digest> {
        self.values.get(at).filter(|_| self.present.get(at))
    }
}

/// A row a transaction.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct TransactionColumns {
    /// Which of the files.
    pub file_index: usize,
    /// As in the IV.
    pub view: Vec<i64>,
    /// As in the IV.
    pub seqno: Vec<i64>,
    /// 0 to 4.
    pub entry_type: Vec<u8>,
    /// Of the header.
    pub flags: Vec<u8>,
    /// Whether it is a signature transaction.
    pub is_signature: Bits,
    /// In its file.
    pub offset: Vec<i64>,
    /// Bytes of the entry.
    pub size: Vec<i64>,
    /// Bytes of its private domain.
    pub private_size: Vec<i64>,
    /// SHA-256 of the entry.
    pub write_set_digest: Vec<Digest>,
    /// Absent in 1.x.
    pub commit_evidence_digest: Digests,
    /// Absent in 1.x; zeros when there are no claims.
    pub claims_digest: Digests,
    /// In the Merkle tree.
    pub leaf: Vec<Digest>,
    /// Seqno of the signature transaction that covers the row; see [`super::CoverQueue`].
    pub signed_by: Vec<i64>,
    /// The root that it signs; present where `signed_by` is.
    pub root: Digests,
}

impl TransactionColumns {
    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seqno.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seqno.is_empty()
    }

    /// What the IV of row `at` says.
    #[must_use]
    pub fn txid(&self, at: usize) -> (i64, i64) {
        (self.view.get(at).copied().unwrap_or(0), self.seqno.get(at).copied().unwrap_or(0))
    }
}

/// A row a write or remove.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WriteColumns {
    /// Of the transaction.
    pub view: Vec<i64>,
    /// Of the transaction.
    pub seqno: Vec<i64>,
    /// Index into `tables`.
    pub table: Vec<i32>,
    /// Where each key begins in `keys`; one more than rows.
    pub key_offsets: Vec<i32>,
    /// All keys.
    pub keys: Vec<u8>,
    /// Where each value begins in `values`; one more than rows. Removes have none.
    pub value_offsets: Vec<i32>,
    /// All values.
    pub values: Vec<u8>,
    /// Rows that are writes.
    pub written: Bits,
    /// Rows that are removes.
    pub removed: Bits,
    /// Names of the tables that are written.
    pub tables: Vec<String>,
    /// To find them while rows are added.
    #[serde(skip)]
    by_name: HashMap<String, i32>,
}

impl Default for WriteColumns {
    fn default() -> Self {
        Self {
            view: Vec::new(),
            seqno: Vec::new(),
            table: Vec::new(),
            key_offsets: vec![0],
            keys: Vec::new(),
            value_offsets: vec![0],
            values: Vec::new(),
            written: Bits::default(),
            removed: Bits::default(),
            tables: Vec::new(),
            by_name: HashMap::new(),
        }
    }
}

impl WriteColumns {
    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seqno.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seqno.is_empty()
    }

    /// The key of row `at`.
    #[must_use]
    pub fn key(&self, at: usize) -> &[u8] {
        slice(&self.keys, &self.key_offsets, at)
    }

    /// The value of row `at`; `None` for a remove.
    #[must_use]
    pub fn value(&self, at: usize) -> Option<&[u8]> {
        self.written.get(at).then(|| slice(&self.values, &self.value_offsets, at))
    }

    /// The table of row `at`.
    #[must_use]
    pub fn table_name(&self, at: usize) -> &str {
        let index = self.table.get(at).and_then(|index| usize::try_from(*index).ok());
        index.and_then(|index| self.tables.get(index)).map_or("", String::as_str)
    }

    fn table_index(&mut self, name: &str, latest: i32) -> i32 {
        let same = usize::try_from(latest).ok().and_then(|at| self.tables.get(at)).is_some_and(|t| t == name);
        if same {
            return latest;
        }
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let index = bounded(self.tables.len());
        self.tables.push(name.to_owned());
        self.by_name.insert(name.to_owned(), index);
        index
    }

    fn push(&mut self, txid: TxId, table: i32, key: &[u8], value: Option<&[u8]>) {
        self.view.push(signed(txid.view));
        self.seqno.push(signed(txid.seqno));
        self.table.push(table);
        self.keys.extend_from_slice(key);
        self.key_offsets.push(bounded(self.keys.len()));
        self.values.extend_from_slice(value.unwrap_or(&[]));
        self.value_offsets.push(bounded(self.values.len()));
        self.written.push(value.is_some());
        self.removed.push(value.is_none());
    }
}

fn slice<'a>(bytes: &'a [u8], offsets: &[i32], at: usize) -> &'a [u8] {
    let bound = |at: usize| offsets.get(at).and_then(|offset| usize::try_from(*offset).ok());
    bound(at).zip(bound(at + 1)).and_then(|(from, to)| bytes.get(from..to)).unwrap_or(&[])
}

/// A segment of a scan holds a few MiB, or a single entry of at most 1 GiB: its lengths fit.
fn bounded(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// Seqnos are 63-bit in CCF; one above has a finding of the scan, unless it is alone in its file.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Both tables of one segment.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Columns {
    /// One row an entry, in order.
    pub transactions: TransactionColumns,
    /// In order.
    pub writes: WriteColumns,
}

struct Recorder<'c> {
    writes: &'c mut WriteColumns,
    txid: TxId,
    table: i32,
}

impl<'a> Visitor<'a> for Recorder<'_> {
    fn map(&mut self, name: &'a str) {
        self.table = self.writes.table_index(name, self.table);
    }
    fn write(&mut self, key: &'a [u8], value: &'a [u8]) {
        self.writes.push(self.txid, self.table, key, Some(value));
    }
    fn remove(&mut self, key: &'a [u8]) {
        self.writes.push(self.txid, self.table, key, None);
    }
}

impl Columns {
    /// Appends the entry `raw`, found at `offset`.
    pub fn push(
        &mut self,
        raw: &[u8],
        offset: u64,
        write_set_digest: &Digest,
        leaf: &Digest,
        is_signature: bool,
    ) {
        let txid = peek_txid(raw).unwrap_or(TxId { view: 0, seqno: 0 });
        let view = EntryView::parse_first(raw).ok();
        let head = view.and_then(|view| PublicHead::parse(view.public_domain).ok());
        let rows = &mut self.transactions;
        rows.view.push(signed(txid.view));
        rows.seqno.push(signed(txid.seqno));
        rows.entry_type.push(head.map_or(0, |head| head.entry_type as u8));
        rows.flags.push(view.map_or(0, |view| view.flags));
        rows.is_signature.push(is_signature);
        rows.offset.push(signed(offset));
        rows.size.push(signed(raw.len() as u64));
        rows.private_size.push(view.map_or(0, |view| signed(view.private_domain.len() as u64)));
        rows.write_set_digest.push(*write_set_digest);
        rows.commit_evidence_digest.push(head.and_then(|head| head.commit_evidence_digest));
        rows.claims_digest.push(head.and_then(|head| head.claims_digest));
        rows.leaf.push(*leaf);
        rows.signed_by.push(0);
        rows.root.push(None);
        if let Some(head) = head {
            let table = self.writes.table.last().copied().unwrap_or(0);
            let mut recorder = Recorder { writes: &mut self.writes, txid, table };
            // The scan reports what is wrong.
            let _ = walk(head.maps, Domain::Public, &mut recorder);
        }
    }
}
