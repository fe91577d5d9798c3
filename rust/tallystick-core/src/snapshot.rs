//! Snapshot files: one entry of type 1, and, since CCF 2.0, a receipt after it.
//!
//! ```text
//! public domain: u8 1 · u64 seqno · u64 max conflict version · blob hash at snapshot (32 B) · blob view history (u64 each)
//!                · maps, each blob name, u64 map version, blob body
//! body:          keys, each blob key, blob value, both padded to a multiple of 8 within the body
//! value:         u64 seqno of the last write (negative in CCF ≤ 2.x: a tombstone) · bytes
//! ```
use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use crate::error::{Coded, coded};
use crate::ledger::crypto::{self, CryptoError};
use crate::ledger::domain::{DomainError, EntryType, PublicHead, put_blob};
use crate::ledger::entry::{EntryOrDomainError, EntryView};
use crate::limits::{MAX_ENTRY_BYTES, MAX_RECEIPT_BYTES};
use crate::reader::{Reader, Short};
use crate::types::{Digest, to_hex};

/// Bytes of the largest snapshot file that is read: an entry and a receipt, each at its limit.
pub const MAX_SNAPSHOT_BYTES: u64 = MAX_ENTRY_BYTES + MAX_RECEIPT_BYTES;

const ALIGNMENT: usize = 8;

/// The key of CCF's SipHash, as two little-endian words (fixed in its sources).
const SIP_KEY: (u64, u64) = (0x7720_796f_726c_694b, 0x2165_7265_6820_7361);

/// What is wrong with a snapshot. `at` counts bytes from the start of the domain, or of the body of a map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A length leads outside.
    #[error("snapshot is truncated: {0}")]
    Truncated(#[from] Short),
    /// An entry of a ledger.
    #[error("snapshot: expected entry type 1, got {actual}")]
    NotASnapshot {
        /// The type met.
        actual: u8,
    },
    /// Snapshots have no flags.
    #[error("snapshot: expected no entry flags, got {actual:#04x}")]
    Flags {
        /// The flags met.
        actual: u8,
    },
    /// The hash is one leaf.
    #[error("snapshot: expected 32 bytes as hash at the snapshot, got {actual}")]
    HashSize {
        /// Bytes met.
        actual: usize,
    },
    /// The view history is a list of 64-bit numbers.
    #[error("snapshot: expected a view history of a multiple of 8 bytes, got {actual}")]
    ViewHistorySize {
        /// Bytes met.
        actual: usize,
    },
    /// Maps have names in UTF-8.
    #[error("snapshot: expected a map name in UTF-8 at byte {at}, got {actual}")]
    NameEncoding {
        /// Where the name begins.
        at: usize,
        /// Its bytes, hexadecimal.
        actual: String,
    },
    /// Maps ascend by name.
    #[error("snapshot: expected a map name above {previous:?} at byte {at}, got {actual:?}")]
    NameOrder {
        /// Where the name begins.
        at: usize,
        /// The name before it.
        previous: String,
        /// The name.
        actual: String,
    },
    /// Only public maps are in the public domain, and the reverse.
    #[error("snapshot: expected {expected} at byte {at}, got {actual:?}")]
    NamePrefix {
        /// Where the name begins.
        at: usize,
        /// What was expected.
        expected: &'static str,
        /// The name.
        actual: String,
    },
    /// Padding is zero.
    #[error("map {map:?} of the snapshot: expected zeros as padding at byte {at}, got {actual}")]
    Padding {
        /// The map.
        map: String,
        /// Where the padding begins.
        at: usize,
        /// Its bytes, hexadecimal.
        actual: String,
    },
    /// Keys ascend by the low 32 bits of their SipHash, and none is there twice.
    #[error(
        "map {map:?} of the snapshot: expected another key, of SipHash {previous:#010x} or above, at byte {at}, got {key} of {actual:#010x}"
    )]
    KeyOrder {
        /// The map.
        map: String,
        /// Where the key begins.
        at: usize,
        /// Low SipHash bits of the key before it.
        previous: u32,
        /// The key, hexadecimal.
        key: String,
        /// Its low SipHash bits.
        actual: u32,
    },
    /// More than is read.
    #[error("snapshot: expected at most {limit} bytes, got {actual}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// Bytes at hand.
        actual: u64,
    },
}

coded!(SnapshotError {
    Truncated => "snapshot-truncated",
    NotASnapshot => "snapshot-entry-type",
    Flags => "snapshot-flags",
    HashSize => "snapshot-hash-size",
    ViewHistorySize => "snapshot-view-history-size",
    NameEncoding => "snapshot-map-encoding",
    NameOrder => "snapshot-map-order",
    NamePrefix => "snapshot-map-prefix",
    Padding => "snapshot-padding",
    KeyOrder => "snapshot-key-order",
    TooLarge => "snapshot-too-large",
} limits { TooLarge });

/// What can be wrong with a snapshot file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotFileError {
    /// The entry.
    #[error(transparent)]
    Entry(#[from] EntryOrDomainError),
    /// What it holds.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl From<DomainError> for SnapshotFileError {
    fn from(error: DomainError) -> Self {
        Self::Entry(error.into())
    }
}

impl Coded for SnapshotFileError {
    fn code(&self) -> &'static str {
        match self {
            Self::Entry(error) => error.code(),
            Self::Snapshot(error) => error.code(),
        }
    }
    fn is_limit(&self) -> bool {
        match self {
            Self::Entry(error) => error.is_limit(),
            Self::Snapshot(error) => error.is_limit(),
        }
    }
}

/// The place of one map in the snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotMap {
    name: String,
    version: i64,
    body: std::ops::Range<usize>,
}

impl SnapshotMap {
    /// Name of the map.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Seqno of the last transaction that changed the map; 0 if none did.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }
}

/// One key of a map in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRow<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Seqno of the last write; negative for a tombstone (CCF ≤ 2.x).
    pub version: i64,
    /// The value.
    pub value: &'a [u8],
}

/// A parsed snapshot file. Nothing about it is verified.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    data: Vec<u8>,
    entry_size: usize,
    public: std::ops::Range<usize>,
    seqno: u64,
    hash_at_snapshot: Digest,
    view_history: Vec<u64>,
    maps: Vec<SnapshotMap>,
}

impl SnapshotFile {
    /// Parses the whole of a snapshot file: the entry, every public map, and whatever follows as the receipt.
    ///
    /// # Errors
    /// [`SnapshotFileError`].
    pub fn parse(data: Vec<u8>) -> Result<Self, SnapshotFileError> {
        if data.len() as u64 > MAX_SNAPSHOT_BYTES {
            return Err(
                SnapshotError::TooLarge { limit: MAX_SNAPSHOT_BYTES, actual: data.len() as u64 }.into()
            );
        }
        let view = EntryView::parse_first(&data).map_err(EntryOrDomainError::from)?;
        let head = PublicHead::parse(view.public_domain)?;
        if head.entry_type != EntryType::Snapshot {
            return Err(SnapshotError::NotASnapshot { actual: head.entry_type as u8 }.into());
        }
        if view.flags != 0 {
            return Err(SnapshotError::Flags { actual: view.flags }.into());
        }
        view.check_header(&head).map_err(EntryOrDomainError::from)?;
        let mut reader = head.maps;
        let hash = reader.blob().map_err(SnapshotError::from)?;
        let hash_at_snapshot =
            Digest::try_from(hash).map_err(|_| SnapshotError::HashSize { actual: hash.len() })?;
        let history = reader.blob().map_err(SnapshotError::from)?;
        let (views, rest) = history.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(SnapshotError::ViewHistorySize { actual: history.len() }.into());
        }
        let maps = parse_maps(reader, true)?;
        let start = view.raw.len() - view.private_domain.len() - view.public_domain.len();
        Ok(Self {
            entry_size: view.raw.len(),
            public: start..start + view.public_domain.len(),
            seqno: head.version,
            hash_at_snapshot,
            view_history: views.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect(),
            maps,
            data,
        })
    }

    /// Seqno of the state.
    #[must_use]
    pub fn seqno(&self) -> u64 {
        self.seqno
    }

    /// Bytes of the entry.
    #[must_use]
    pub fn entry_size(&self) -> usize {
        self.entry_size
    }

    /// The entry, without the receipt. Its SHA-256 is what snapshot evidence holds.
    #[must_use]
    pub fn entry(&self) -> &[u8] {
        self.data.get(..self.entry_size).unwrap_or(&[])
    }

    /// What follows the entry.
    #[must_use]
    pub fn receipt(&self) -> &[u8] {
        self.data.get(self.entry_size..).unwrap_or(&[])
    }

    /// In clear.
    #[must_use]
    pub fn public_domain(&self) -> &[u8] {
        self.data.get(self.public.clone()).unwrap_or(&[])
    }

    /// Ciphertext.
    #[must_use]
    pub fn private_domain(&self) -> &[u8] {
        self.data.get(self.public.end..self.entry_size).unwrap_or(&[])
    }

    /// Leaf of the transaction of the same seqno.
    #[must_use]
    pub fn hash_at_snapshot(&self) -> &Digest {
        &self.hash_at_snapshot
    }

    /// First seqno of view 1, 2, …; an absent view has the start of the next one.
    #[must_use]
    pub fn view_history(&self) -> &[u64] {
        &self.view_history
    }

    /// The public maps, ascending by name.
    #[must_use]
    pub fn maps(&self) -> &[SnapshotMap] {
        &self.maps
    }

    /// The public map `name`.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<&SnapshotMap> {
        self.maps.binary_search_by(|map| map.name.as_str().cmp(name)).ok().and_then(|at| self.maps.get(at))
    }

    /// The rows of one of [`SnapshotFile::maps`], tombstones included, in the order of the file.
    ///
    /// # Errors
    /// None that `parse` has not met before; the bytes cannot change.
    pub fn rows(&self, map: &SnapshotMap) -> Result<Vec<SnapshotRow<'_>>, SnapshotError> {
        parse_body(self.public_domain().get(map.body.clone()).unwrap_or(&[]), &map.name)
    }
}

/// Checks and places the maps that `reader` is at. Body ranges count from the start of what `reader` was made of.
fn parse_maps(mut reader: Reader<'_>, public: bool) -> Result<Vec<SnapshotMap>, SnapshotError> {
    let mut maps: Vec<SnapshotMap> = Vec::new();
    while !reader.is_empty() {
        let at = reader.position();
        let name = reader.blob()?;
        let name =
            std::str::from_utf8(name).map_err(|_| SnapshotError::NameEncoding { at, actual: shown(name) })?;
        if let Some(previous) = maps.last().filter(|previous| previous.name.as_str() >= name) {
            let previous = cut(&previous.name);
            return Err(SnapshotError::NameOrder { at, previous, actual: cut(name) });
        }
        if name.starts_with("public:") != public {
            let expected = if public { "a public map" } else { "a private map" };
            return Err(SnapshotError::NamePrefix { at, expected, actual: cut(name) });
        }
        let version = reader.u64()?.cast_signed();
        let body = reader.blob()?;
        parse_body(body, name)?;
        let end = reader.position();
        maps.push(SnapshotMap { name: name.to_owned(), version, body: end - body.len()..end });
    }
    Ok(maps)
}

fn parse_body<'a>(body: &'a [u8], map: &str) -> Result<Vec<SnapshotRow<'a>>, SnapshotError> {
    let mut reader = Reader::new(body);
    let mut rows: Vec<SnapshotRow<'_>> = Vec::new();
    let mut tied = 0; // index of the first row whose hash is that of the last row
    let mut previous = 0;
    while !reader.is_empty() {
        let at = reader.position();
        let key = padded_blob(&mut reader, map)?;
        let mut value = Reader::new(padded_blob(&mut reader, map)?);
        let order = key_order(key);
        let ties = if order == previous { rows.get(tied..).unwrap_or(&[]) } else { &[] };
        if order < previous || ties.iter().any(|row| row.key == key) {
            let actual = order;
            return Err(SnapshotError::KeyOrder { map: cut(map), at, previous, key: shown(key), actual });
        }
        if order != previous {
            (tied, previous) = (rows.len(), order);
        }
        rows.push(SnapshotRow { key, version: value.u64()?.cast_signed(), value: value.rest() });
    }
    Ok(rows)
}

fn padded_blob<'a>(reader: &mut Reader<'a>, map: &str) -> Result<&'a [u8], SnapshotError> {
    let blob = reader.blob()?;
    let at = reader.position();
    let padding = reader.take((blob.len().next_multiple_of(ALIGNMENT) - blob.len()) as u64)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(SnapshotError::Padding { map: cut(map), at, actual: to_hex(padding) });
    }
    Ok(blob)
}

fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}

fn shown(bytes: &[u8]) -> String {
    to_hex(bytes.get(..64).unwrap_or(bytes))
}

/// What keys of a map are sorted by: the low half of CCF's SipHash-2-4.
#[must_use]
pub fn key_order(key: &[u8]) -> u32 {
    let mut hasher = SipHasher24::new_with_keys(SIP_KEY.0, SIP_KEY.1);
    hasher.write(key);
    let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// One map to write: name, map version, and rows of key, version of the last write, and value.
pub type MapToWrite = (String, i64, Vec<(Vec<u8>, i64, Vec<u8>)>);

/// What a snapshot is made of.
#[derive(Debug, Clone)]
pub struct SnapshotFields {
    /// Seqno of the state.
    pub seqno: u64,
    /// Leaf of the transaction of that seqno.
    pub hash_at_snapshot: Digest,
    /// First seqno of view 1, 2, ….
    pub view_history: Vec<u64>,
    /// Public maps.
    pub public: Vec<MapToWrite>,
    /// Private maps.
    pub private: Vec<MapToWrite>,
}

/// The public domain of a snapshot.
#[must_use]
pub fn encode_public(
    seqno: u64,
    hash_at_snapshot: &Digest,
    view_history: &[u64],
    maps: Vec<MapToWrite>,
) -> Vec<u8> {
    let mut bytes = vec![EntryType::Snapshot as u8];
    bytes.extend_from_slice(&seqno.to_le_bytes());
    bytes.extend_from_slice(&0_u64.to_le_bytes()); // max conflict version
    put_blob(&mut bytes, hash_at_snapshot);
    let history: Vec<u8> = view_history.iter().flat_map(|first| first.to_le_bytes()).collect();
    put_blob(&mut bytes, &history);
    encode_maps(&mut bytes, maps);
    bytes
}

fn encode_maps(bytes: &mut Vec<u8>, mut maps: Vec<MapToWrite>) {
    maps.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    for (name, version, mut rows) in maps {
        // Equal hashes have never been seen in a real snapshot; the key itself then decides, so that the result
        // does not depend on the order of the input.
        rows.sort_by_cached_key(|(key, ..)| (key_order(key), key.clone()));
        let mut body = Vec::new();
        for (key, version, value) in &rows {
            put_padded(&mut body, &[key]);
            put_padded(&mut body, &[&version.to_le_bytes(), value]);
        }
        put_blob(bytes, name.as_bytes());
        bytes.extend_from_slice(&version.to_le_bytes());
        put_blob(bytes, &body);
    }
}

fn put_padded(body: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    body.extend_from_slice(&(length as u64).to_le_bytes());
    for part in parts {
        body.extend_from_slice(part);
    }
    body.resize(body.len().next_multiple_of(ALIGNMENT), 0);
}

/// The snapshot entry as CCF writes it, encrypted under `secret`, without a receipt.
///
/// # Errors
/// [`CryptoError`], but never [`CryptoError::Tag`].
pub fn encode(fields: SnapshotFields, secret: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let public = encode_public(fields.seqno, &fields.hash_at_snapshot, &fields.view_history, fields.public);
    let mut private = Vec::new();
    encode_maps(&mut private, fields.private);
    let iv = crypto::snapshot_iv(fields.seqno);
    let (ciphertext, tag) = crypto::seal(secret, iv, &public, private)?;
    crypto::assemble(0, &tag, &iv, &public, &ciphertext)
}

/// Parses the decrypted private domain of a snapshot.
///
/// # Errors
/// [`SnapshotError`].
pub fn parse_private(plaintext: &[u8]) -> Result<Vec<(SnapshotMap, Vec<SnapshotRow<'_>>)>, SnapshotError> {
    parse_maps(Reader::new(plaintext), false)?
        .into_iter()
        .map(|map| {
            let rows = parse_body(plaintext.get(map.body.clone()).unwrap_or(&[]), &map.name)?;
            Ok((map, rows))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_in_ccf() {
        // Vector 17 of the format notes, low halves.
        assert_eq!(key_order(b"42"), 0x97e3_3cf9);
        assert_eq!(key_order(&[0; 8]), 0xa6b9_ff73);
        assert_eq!(key_order(b"aca4ad6e"), 0x653e_0bdb);
    }
}
