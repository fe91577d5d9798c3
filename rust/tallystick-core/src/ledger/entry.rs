//! One ledger entry, that is, one transaction.
//!
//! ```text
//! +0  u8   format version, 1
//! +1  u8   flags: bit 0 closes the chunk after this transaction, bit 1 starts a new one before it
//! +2  u48  size of everything that follows
//! +8  16 B AES-GCM tag · +24 12 B IV = u64 seqno ‖ u32 view, its top bit set for a snapshot
//! +36 u64  size of the public domain, which follows; the private domain (ciphertext) is the rest
//! ```
use std::sync::Arc;

use super::domain::{Domain, DomainError, EntryType, PublicHead, Visitor, walk};
use crate::error::{Coded, coded};
use crate::hash::sha256;
use crate::limits::MAX_ENTRY_BYTES;
use crate::reader::Reader;
use crate::types::{Digest, TxId};

/// Bytes of the entry header: version, flags, size.
pub const HEADER_BYTES: usize = 8;
/// Bytes before the public domain: header, tag, IV, size of the public domain.
pub const PREFIX_BYTES: usize = 44;
/// The entry format.
pub const FORMAT_VERSION: u8 = 1;
/// Flag: no further entry goes into this chunk.
pub const FLAG_CLOSE_CHUNK: u8 = 1;
/// Flag: this entry is the first of a chunk.
pub const FLAG_NEW_CHUNK: u8 = 2;
/// The bit of the IV that marks a snapshot.
pub const SNAPSHOT_BIT: u32 = 1 << 31;

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Fewer bytes than the entry announces.
    #[error("entry is truncated: expected {expected} bytes, got {actual}")]
    Truncated {
        /// Bytes announced, or of the header.
        expected: u64,
        /// Bytes at hand.
        actual: u64,
    },
    /// Bytes after the one entry that was expected.
    #[error("entry is followed by other bytes: expected {expected} bytes in all, got {actual}")]
    TrailingBytes {
        /// Bytes of the entry.
        expected: u64,
        /// Bytes at hand.
        actual: u64,
    },
    /// Another format.
    #[error("entry format version: expected {FORMAT_VERSION}, got {actual}")]
    Version {
        /// The version met.
        actual: u8,
    },
    /// A flag without meaning.
    #[error("entry flags: expected none but bits 0 and 1, got {actual:#04x}")]
    Flags {
        /// The flags met.
        actual: u8,
    },
    /// Too small for tag, IV and sizes.
    #[error("entry size: expected at least {expected} bytes after the header, got {actual}")]
    TooSmall {
        /// The minimum.
        expected: u64,
        /// The size announced.
        actual: u64,
    },
    /// Larger than any that is read.
    #[error("entry size: expected at most {limit} bytes, got {actual}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// Bytes of the whole entry.
        actual: u64,
    },
    /// The public domain leaves the entry.
    #[error("public domain size: expected at most {limit} bytes, got {actual}")]
    PublicDomainSize {
        /// What the entry has room for.
        limit: u64,
        /// The size announced.
        actual: u64,
    },
    /// Seqno in the IV and version in the public domain differ.
    #[error("entry seqno: expected {expected} as in its IV, got {actual} in its public domain")]
    SeqnoMismatch {
        /// In the IV.
        expected: u64,
        /// In the public domain.
        actual: u64,
    },
    /// The snapshot bit of the IV and the entry type do not agree.
    #[error("entry snapshot bit: expected {expected} for entry type {entry_type}, got {actual}")]
    SnapshotBit {
        /// What the type calls for.
        expected: u8,
        /// The type.
        entry_type: u8,
        /// The bit met.
        actual: u8,
    },
}

coded!(EntryError {
    Truncated => "entry-truncated",
    TrailingBytes => "entry-trailing-bytes",
    Version => "entry-version",
    Flags => "entry-flags",
    TooSmall => "entry-too-small",
    TooLarge => "entry-too-large",
    PublicDomainSize => "entry-public-domain-size",
    SeqnoMismatch => "entry-seqno-mismatch",
    SnapshotBit => "entry-snapshot-bit",
} limits { TooLarge });

/// What is wrong with an entry or what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryOrDomainError {
    /// The frame.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The public domain.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl Coded for EntryOrDomainError {
    fn code(&self) -> &'static str {
        match self {
            Self::Entry(error) => error.code(),
            Self::Domain(error) => error.code(),
        }
    }
    fn is_limit(&self) -> bool {
        matches!(self, Self::Entry(error) if error.is_limit())
    }
}

/// Bytes of the whole entry that begins with `header`.
///
/// # Errors
/// [`EntryError`] when this cannot be the header of an entry that is read. What follows cannot be framed then.
#[inline]
pub fn framed_size(header: &[u8; HEADER_BYTES]) -> Result<u64, EntryError> {
    let word = u64::from_le_bytes(*header);
    let [version, ..] = *header;
    if version != FORMAT_VERSION {
        return Err(EntryError::Version { actual: version });
    }
    let size = word >> 16; // 48 bits, so the sum below cannot overflow
    let expected = (PREFIX_BYTES - HEADER_BYTES) as u64;
    if size < expected {
        return Err(EntryError::TooSmall { expected, actual: size });
    }
    let total = size + HEADER_BYTES as u64;
    if total > MAX_ENTRY_BYTES {
        return Err(EntryError::TooLarge { limit: MAX_ENTRY_BYTES, actual: total });
    }
    Ok(total)
}

/// As [`framed_size`], for an entry of which `left` bytes are there: one that is announced to be larger than that is
/// truncated, whether or not it would also be larger than what is read.
///
/// # Errors
/// [`EntryError`] when there is no whole entry.
pub fn framed_size_within(header: &[u8; HEADER_BYTES], left: u64) -> Result<u64, EntryError> {
    match framed_size(header) {
        Ok(expected) | Err(EntryError::TooLarge { actual: expected, .. }) if expected > left => {
            Err(EntryError::Truncated { expected, actual: left })
        }
        other => other,
    }
}

/// The seqno in the IV of the entry that `start` is the beginning of, whatever the rest of it holds.
#[must_use]
pub fn peek_seqno(start: &[u8]) -> Option<u64> {
    start.get(24..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// The transaction ID in the IV of the entry that `start` is the beginning of, whatever the rest of it holds.
#[must_use]
pub fn peek_txid(start: &[u8]) -> Option<TxId> {
    let seqno = peek_seqno(start)?;
    let tail = start.get(32..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))?;
    Some(TxId { view: u64::from(tail & !SNAPSHOT_BIT), seqno })
}

/// A framed entry, borrowed from its bytes. Neither its flags nor its domains have been looked at.
#[derive(Debug, Clone, Copy)]
pub struct EntryView<'a> {
    /// The whole entry.
    pub raw: &'a [u8],
    /// See [`FLAG_CLOSE_CHUNK`] and [`FLAG_NEW_CHUNK`].
    pub flags: u8,
    /// AES-GCM tag over both domains.
    pub gcm_tag: &'a [u8; 16],
    /// AES-GCM IV.
    pub gcm_iv: &'a [u8; 12],
    /// In clear.
    pub public_domain: &'a [u8],
    /// Ciphertext.
    pub private_domain: &'a [u8],
}

impl<'a> EntryView<'a> {
    /// Frames the entry at the start of `data`, which may go on after it.
    ///
    /// # Errors
    /// [`EntryError`] when there is no whole entry.
    #[inline]
    pub fn parse_first(data: &'a [u8]) -> Result<Self, EntryError> {
        let truncated = |expected: u64| EntryError::Truncated { expected, actual: data.len() as u64 };
        let header = data.first_chunk().ok_or_else(|| truncated(HEADER_BYTES as u64))?;
        let total = framed_size(header)?;
        let mut whole = Reader::new(data);
        let raw = whole.take(total).map_err(|_| truncated(total))?;
        let [_, flags, ..] = *header;
        let mut reader = Reader::new(raw);
        // `framed_size` made sure of these 44 bytes.
        let short = |_| truncated(PREFIX_BYTES as u64);
        reader.array::<HEADER_BYTES>().map_err(short)?;
        let gcm_tag = reader.array().map_err(short)?;
        let gcm_iv = reader.array().map_err(short)?;
        let public_size = reader.u64().map_err(short)?;
        let limit = reader.rest().len() as u64;
        let public_domain = reader
            .take(public_size)
            .map_err(|_| EntryError::PublicDomainSize { limit, actual: public_size })?;
        Ok(Self { raw, flags, gcm_tag, gcm_iv, public_domain, private_domain: reader.rest() })
    }

    /// Frames exactly one entry.
    ///
    /// # Errors
    /// [`EntryError`] when `data` is anything else.
    pub fn parse(data: &'a [u8]) -> Result<Self, EntryError> {
        let view = Self::parse_first(data)?;
        if view.raw.len() < data.len() {
            return Err(EntryError::TrailingBytes {
                expected: view.raw.len() as u64,
                actual: data.len() as u64,
            });
        }
        Ok(view)
    }

    /// Seqno, as in the IV.
    #[must_use]
    pub fn seqno(&self) -> u64 {
        self.gcm_iv.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn iv_tail(&self) -> u32 {
        self.gcm_iv.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// View, as in the IV; 0 in a snapshot.
    #[must_use]
    pub fn view(&self) -> u64 {
        u64::from(self.iv_tail() & !SNAPSHOT_BIT)
    }

    /// Whether the IV says that this is a snapshot.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.iv_tail() & SNAPSHOT_BIT != 0
    }

    /// Transaction ID, as in the IV.
    #[must_use]
    pub fn txid(&self) -> TxId {
        TxId { view: self.view(), seqno: self.seqno() }
    }

    /// Checks flags and IV against the public domain.
    ///
    /// # Errors
    /// The first [`EntryError`].
    pub fn check_header(&self, head: &PublicHead<'_>) -> Result<(), EntryError> {
        if self.flags & !(FLAG_CLOSE_CHUNK | FLAG_NEW_CHUNK) != 0 {
            return Err(EntryError::Flags { actual: self.flags });
        }
        let expects_bit = head.entry_type == EntryType::Snapshot;
        if self.is_snapshot() != expects_bit {
            return Err(EntryError::SnapshotBit {
                expected: u8::from(expects_bit),
                entry_type: head.entry_type as u8,
                actual: u8::from(self.is_snapshot()),
            });
        }
        if head.version != self.seqno() {
            return Err(EntryError::SeqnoMismatch { expected: self.seqno(), actual: head.version });
        }
        Ok(())
    }

    /// SHA-256 of the whole entry.
    #[must_use]
    #[inline]
    pub fn write_set_digest(&self) -> Digest {
        sha256(self.raw)
    }
}

/// The leaf of a transaction: its write set digest, hashed together with what else the entry type carries.
#[must_use]
#[inline]
pub fn leaf(write_set_digest: &Digest, claims: Option<&Digest>, commit_evidence: Option<&Digest>) -> Digest {
    match (commit_evidence, claims) {
        (None, None) => *write_set_digest,
        (Some(second), None) | (None, Some(second)) => sha256([*write_set_digest, *second].as_flattened()),
        (Some(evidence), Some(claims)) => sha256([*write_set_digest, *evidence, *claims].as_flattened()),
    }
}

/// An entry that owns its bytes. Its header has been checked; its maps are read on demand.
#[derive(Debug, Clone)]
pub struct Entry {
    raw: Arc<[u8]>,
    offset: u64,
    public_size: usize,
    entry_type: EntryType,
}

impl Entry {
    /// Takes exactly one entry, found at `offset` of its file.
    ///
    /// # Errors
    /// [`EntryOrDomainError`] when `raw` is anything else, or header and public domain do not agree.
    pub fn new(raw: impl Into<Arc<[u8]>>, offset: u64) -> Result<Self, EntryOrDomainError> {
        let raw = raw.into();
        let view = EntryView::parse(&raw)?;
        let head = PublicHead::parse(view.public_domain)?;
        view.check_header(&head)?;
        let (public_size, entry_type) = (view.public_domain.len(), head.entry_type);
        Ok(Self { raw, offset, public_size, entry_type })
    }

    /// The whole entry.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Where it was found.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What it carries.
    #[must_use]
    pub fn entry_type(&self) -> EntryType {
        self.entry_type
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        // `new` made sure of the prefix and the fixed part of the public domain.
        self.raw.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    /// Flags.
    #[must_use]
    pub fn flags(&self) -> u8 {
        let [flags] = self.field(1);
        flags
    }

    /// AES-GCM tag.
    #[must_use]
    pub fn gcm_tag(&self) -> [u8; 16] {
        self.field(8)
    }

    /// AES-GCM IV.
    #[must_use]
    pub fn gcm_iv(&self) -> [u8; 12] {
        self.field(24)
    }

    /// Transaction ID.
    #[must_use]
    pub fn txid(&self) -> TxId {
        let view = u32::from_le_bytes(self.field(32)) & !SNAPSHOT_BIT;
        TxId { view: u64::from(view), seqno: u64::from_le_bytes(self.field(24)) }
    }

    /// In clear.
    #[must_use]
    pub fn public_domain(&self) -> &[u8] {
        self.raw.get(PREFIX_BYTES..).and_then(|rest| rest.get(..self.public_size)).unwrap_or(&[])
    }

    /// Ciphertext.
    #[must_use]
    pub fn private_domain(&self) -> &[u8] {
        self.raw.get(PREFIX_BYTES..).and_then(|rest| rest.get(self.public_size..)).unwrap_or(&[])
    }

    /// The fixed part of the public domain.
    ///
    /// # Errors
    /// None that `new` has not met before; the bytes cannot change.
    pub fn head(&self) -> Result<PublicHead<'_>, DomainError> {
        PublicHead::parse(self.public_domain())
    }

    /// SHA-256 of the whole entry.
    #[must_use]
    pub fn write_set_digest(&self) -> Digest {
        sha256(&self.raw)
    }

    /// The leaf of the Merkle tree.
    ///
    /// # Errors
    /// See [`Entry::head`].
    pub fn leaf(&self) -> Result<Digest, DomainError> {
        let head = self.head()?;
        Ok(leaf(&self.write_set_digest(), head.claims_digest, head.commit_evidence_digest))
    }

    /// Walks what the transaction wrote in public.
    ///
    /// # Errors
    /// [`DomainError`] when the public domain is malformed.
    pub fn walk<'a>(&'a self, visitor: &mut impl Visitor<'a>) -> Result<(), DomainError> {
        walk(self.head()?.maps, Domain::Public, visitor)
    }
}
