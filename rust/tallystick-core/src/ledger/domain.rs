//! The public domain of an entry, and the plaintext of its private domain: what a transaction wrote.
//!
//! Layout, all numbers little-endian (a blob is a `u64` length and that many bytes):
//!
//! ```text
//! u8 entry type · u64 version = seqno · [32] claims digest if type 2, 4 · [32] commit evidence digest if type 3, 4
//! u64 max conflict version · maps until the end          (the private domain has the maps only)
//! map = blob name · u64 read version · u64 reads, each blob key, u64 version
//!       · u64 writes, each blob key, blob value · u64 removes, each blob key
//! ```
use crate::error::coded;
use crate::reader::{Reader, Short};
use crate::types::{Digest, to_hex};

/// Names of public maps begin so, and only theirs.
pub const PUBLIC_PREFIX: &str = "public:";

/// Bytes of a hostile name or key that a message shows.
const SHOWN_BYTES: usize = 64;

/// What is wrong with a domain. `at` counts bytes from the start of the domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// A length leads past the end of the domain.
    #[error("domain is truncated: {0}")]
    Truncated(#[from] Short),
    /// Not a type that a ledger may hold.
    #[error("public domain: expected entry type 0, 2, 3 or 4 (1 in a snapshot), got {actual}")]
    EntryType {
        /// The type met.
        actual: u8,
    },
    /// A name that is not UTF-8.
    #[error("map name at byte {at}: expected UTF-8, got {actual}")]
    NameEncoding {
        /// Where the name begins.
        at: usize,
        /// Its bytes, hexadecimal.
        actual: String,
    },
    /// A private map in the public domain, or the reverse.
    #[error("map name at byte {at}: expected {expected}, got {actual}")]
    NamePrefix {
        /// Where the name begins.
        at: usize,
        /// What names begin with here.
        expected: &'static str,
        /// The name.
        actual: String,
    },
    /// Maps ascend by name; each appears once.
    #[error("map name at byte {at}: expected a name above {previous}, got {actual}")]
    NameOrder {
        /// Where the name begins.
        at: usize,
        /// The name before it.
        previous: String,
        /// The name.
        actual: String,
    },
    /// Keys ascend; each appears once.
    #[error("key of map {map} at byte {at}: expected a key above {previous}, got {actual}")]
    KeyOrder {
        /// Where the key begins.
        at: usize,
        /// The map.
        map: String,
        /// The key before it, hexadecimal.
        previous: String,
        /// The key, hexadecimal.
        actual: String,
    },
    /// One transaction cannot both write and remove a key.
    #[error("key of map {map} at byte {at}: expected it written or removed, got both for {key}")]
    KeyConflict {
        /// Where the removed key begins.
        at: usize,
        /// The map.
        map: String,
        /// The key, hexadecimal.
        key: String,
    },
}

coded!(DomainError {
    Truncated => "domain-truncated",
    EntryType => "domain-entry-type",
    NameEncoding => "domain-map-encoding",
    NamePrefix => "domain-map-prefix",
    NameOrder => "domain-map-order",
    KeyOrder => "domain-key-order",
    KeyConflict => "domain-key-conflict",
} limits {});

/// Which of the two domains: it decides what map names look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// In clear; every name begins with `public:`.
    Public,
    /// Decrypted; no name begins with `public:`.
    Private,
}

impl Domain {
    fn holds(self, name: &str) -> bool {
        name.starts_with(PUBLIC_PREFIX) == (self == Self::Public)
    }

    fn name_rule(self) -> &'static str {
        match self {
            Self::Public => "a name that begins with public:",
            Self::Private => "a name that does not begin with public:",
        }
    }
}

/// What an entry carries beside its write set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryType {
    /// CCF 1.x: neither claims nor commit evidence.
    WriteSet = 0,
    /// A snapshot; never in a ledger.
    Snapshot = 1,
    /// With a claims digest.
    WithClaims = 2,
    /// With a commit evidence digest.
    WithCommitEvidence = 3,
    /// With both; every service since 2.0.
    WithCommitEvidenceAndClaims = 4,
}

impl EntryType {
    /// The type that `byte` stands for.
    ///
    /// # Errors
    /// [`DomainError::EntryType`] when there is none.
    pub fn from_byte(byte: u8) -> Result<Self, DomainError> {
        Ok(match byte {
            0 => Self::WriteSet,
            1 => Self::Snapshot,
            2 => Self::WithClaims,
            3 => Self::WithCommitEvidence,
            4 => Self::WithCommitEvidenceAndClaims,
            actual => return Err(DomainError::EntryType { actual }),
        })
    }

    /// Whether entries of this type have a claims digest.
    #[must_use]
    pub fn has_claims(self) -> bool {
        matches!(self, Self::WithClaims | Self::WithCommitEvidenceAndClaims)
    }

    /// Whether entries of this type have a commit evidence digest.
    #[must_use]
    pub fn has_commit_evidence(self) -> bool {
        matches!(self, Self::WithCommitEvidence | Self::WithCommitEvidenceAndClaims)
    }
}

/// The fixed part of a public domain, and where its maps begin.
#[derive(Debug, Clone, Copy)]
pub struct PublicHead<'a> {
    /// What the entry carries.
    pub entry_type: EntryType,
    /// The seqno, for the second time in the entry.
    pub version: u64,
    /// Digest of the application's claims; zero when there are none.
    pub claims_digest: Option<&'a Digest>,
    /// Digest of the commit evidence.
    pub commit_evidence_digest: Option<&'a Digest>,
    /// Of 1.x; later services write 0.
    pub max_conflict_version: u64,
    /// A cursor at the first map.
    pub maps: Reader<'a>,
}

impl<'a> PublicHead<'a> {
    /// Parses the fixed part of `public_domain`.
    ///
    /// # Errors
    /// [`DomainError`] for an unknown type, or when the bytes end early.
    pub fn parse(public_domain: &'a [u8]) -> Result<Self, DomainError> {
        let mut reader = Reader::new(public_domain);
        let entry_type = EntryType::from_byte(reader.u8()?)?;
        let version = reader.u64()?;
        let claims_digest = if entry_type.has_claims() { Some(reader.array()?) } else { None };
        let commit_evidence_digest =
            if entry_type.has_commit_evidence() { Some(reader.array()?) } else { None };
        let max_conflict_version = reader.u64()?;
        Ok(Self {
            entry_type,
            version,
            claims_digest,
            commit_evidence_digest,
            max_conflict_version,
            maps: reader,
        })
    }
}

/// Receives what [`walk`] meets, in the order of the bytes.
pub trait Visitor<'a> {
    /// A map begins.
    fn map(&mut self, name: &'a str);
    /// The map gets `value` at `key`.
    fn write(&mut self, _key: &'a [u8], _value: &'a [u8]) {}
    /// The map loses `key`, which need not have been there.
    fn remove(&mut self, _key: &'a [u8]) {}
}

/// Walks the maps of a domain, and checks that it is exactly what CCF would write: names and keys ascending,
/// no duplicates, nothing left over. Nothing is allocated while all is well.
///
/// # Errors
/// The first [`DomainError`]; what was visited before it stands.
pub fn walk<'a>(
    mut maps: Reader<'a>,
    domain: Domain,
    visitor: &mut impl Visitor<'a>,
) -> Result<(), DomainError> {
    let mut previous: Option<&str> = None;
    while !maps.is_empty() {
        let at = maps.position();
        let name = map_name(maps.blob()?, at, domain)?;
        if let Some(previous) = previous.filter(|previous| *previous >= name) {
            return Err(DomainError::NameOrder {
                at,
                previous: shown_name(previous),
                actual: shown_name(name),
            });
        }
        previous = Some(name);
        visitor.map(name);
        walk_map(&mut maps, name, visitor)?;
    }
    Ok(())
}

fn map_name(name: &[u8], at: usize, domain: Domain) -> Result<&str, DomainError> {
    let Ok(name) = std::str::from_utf8(name) else {
        return Err(DomainError::NameEncoding { at, actual: shown_key(name) });
    };
    if domain.holds(name) {
        Ok(name)
    } else {
        Err(DomainError::NamePrefix { at, expected: domain.name_rule(), actual: shown_name(name) })
    }
}

fn walk_map<'a>(
    reader: &mut Reader<'a>,
    name: &str,
    visitor: &mut impl Visitor<'a>,
) -> Result<(), DomainError> {
    reader.u64()?; // The read version matters to a node that applies the transaction; it states no fact.
    for _ in 0..reader.u64()? {
        reader.blob()?;
        reader.u64()?;
    }
    let writes = reader.u64()?;
    let written = *reader;
    let mut previous: Option<&[u8]> = None;
    for _ in 0..writes {
        let key = ascending_key(reader, name, &mut previous)?;
        visitor.write(key, reader.blob()?);
    }
    let removes = reader.u64()?;
    let mut written = WrittenKeys { reader: written, left: writes };
    previous = None;
    for _ in 0..removes {
        let at = reader.position();
        let key = ascending_key(reader, name, &mut previous)?;
        if written.contains_ascending(key)? {
            return Err(DomainError::KeyConflict { at, map: shown_name(name), key: shown_key(key) });
        }
        visitor.remove(key);
    }
    Ok(())
}

fn ascending_key<'a>(
    reader: &mut Reader<'a>,
    name: &str,
    previous: &mut Option<&'a [u8]>,
) -> Result<&'a [u8], DomainError> {
    let at = reader.position();
    let key = reader.blob()?;
    if let Some(previous) = previous.filter(|previous| *previous >= key) {
        return Err(DomainError::KeyOrder {
            at,
            map: shown_name(name),
            previous: shown_key(previous),
            actual: shown_key(key),
        });
    }
    *previous = Some(key);
    Ok(key)
}

/// A second pass over the written keys of a map, in step with its removed keys: both ascend.
struct WrittenKeys<'a> {
    reader: Reader<'a>,
    left: u64,
}

impl WrittenKeys<'_> {
    /// Whether `key` was written; `key` must not descend from one call to the next.
    fn contains_ascending(&mut self, key: &[u8]) -> Result<bool, Short> {
        while self.left > 0 {
            let before = self.reader;
            let written = self.reader.blob()?;
            if written > key {
                self.reader = before;
                return Ok(false);
            }
            self.reader.blob()?;
            self.left -= 1;
            if written == key {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn shown_name(name: &str) -> String {
    let shown: String = name.chars().take(SHOWN_BYTES).collect();
    if shown.len() < name.len() {
        format!("{shown:?}… ({} bytes)", name.len())
    } else {
        format!("{shown:?}")
    }
}

fn shown_key(key: &[u8]) -> String {
    match key.get(..SHOWN_BYTES) {
        Some(start) if key.len() > SHOWN_BYTES => format!("{}… ({} bytes)", to_hex(start), key.len()),
        _ => to_hex(key),
    }
}

/// What one transaction did to one map: keys with their new value, `None` for a remove.
pub type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What one transaction did, by map name.
pub type Tables = Vec<(String, Changes)>;

/// Why tables cannot be written as a domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A map that belongs into the other domain.
    #[error("map {actual}: expected {expected}")]
    Prefix {
        /// What names begin with here.
        expected: &'static str,
        /// The name.
        actual: String,
    },
    /// The same name, or the same key, twice.
    #[error("{0} is given twice")]
    Duplicate(String),
    /// Snapshots have another layout.
    #[error("expected an entry type of a ledger, got that of a snapshot")]
    SnapshotType,
}

/// Everything of a public domain but its maps.
#[derive(Debug, Clone, Copy)]
pub struct PublicFields {
    /// What the entry carries; the digests below are left out if it does not carry them.
    pub entry_type: EntryType,
    /// The seqno.
    pub version: u64,
    /// Digest of the claims.
    pub claims_digest: Digest,
    /// Digest of the commit evidence.
    pub commit_evidence_digest: Digest,
    /// 0 for every service since 2.0.
    pub max_conflict_version: u64,
}

/// Serialises a public domain as CCF does. The order of `tables` and of their keys does not matter.
///
/// # Errors
/// [`EncodeError`] when the tables cannot be a public domain.
pub fn encode_public(fields: &PublicFields, tables: Tables) -> Result<Vec<u8>, EncodeError> {
    if fields.entry_type == EntryType::Snapshot {
        return Err(EncodeError::SnapshotType);
    }
    let mut bytes = vec![fields.entry_type as u8];
    bytes.extend_from_slice(&fields.version.to_le_bytes());
    if fields.entry_type.has_claims() {
        bytes.extend_from_slice(&fields.claims_digest);
    }
    if fields.entry_type.has_commit_evidence() {
        bytes.extend_from_slice(&fields.commit_evidence_digest);
    }
    bytes.extend_from_slice(&fields.max_conflict_version.to_le_bytes());
    encode_maps(&mut bytes, Domain::Public, tables)?;
    Ok(bytes)
}

/// Serialises the plaintext of a private domain as CCF does.
///
/// # Errors
/// [`EncodeError`] when the tables cannot be a private domain.
pub fn encode_private(tables: Tables) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    encode_maps(&mut bytes, Domain::Private, tables)?;
    Ok(bytes)
}

fn encode_maps(bytes: &mut Vec<u8>, domain: Domain, mut tables: Tables) -> Result<(), EncodeError> {
    tables.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut previous: Option<String> = None;
    for (name, mut changes) in tables {
        if !domain.holds(&name) {
            return Err(EncodeError::Prefix { expected: domain.name_rule(), actual: shown_name(&name) });
        }
        changes.sort_by(|(a, _), (b, _)| a.cmp(b));
        let twice = changes.iter().zip(changes.iter().skip(1)).find(|((a, _), (b, _))| a == b);
        if let Some(((key, _), _)) = twice {
            return Err(EncodeError::Duplicate(format!(
                "key {} of map {}",
                shown_key(key),
                shown_name(&name)
            )));
        }
        if previous.as_ref() == Some(&name) {
            return Err(EncodeError::Duplicate(format!("map {}", shown_name(&name))));
        }
        put_blob(bytes, name.as_bytes());
        bytes.extend_from_slice(&[0; 16]); // read version, number of reads
        let writes = changes.iter().filter(|(_, value)| value.is_some()).count();
        bytes.extend_from_slice(&(writes as u64).to_le_bytes());
        for (key, value) in &changes {
            if let Some(value) = value {
                put_blob(bytes, key);
                put_blob(bytes, value);
            }
        }
        bytes.extend_from_slice(&((changes.len() - writes) as u64).to_le_bytes());
        for (key, _) in changes.iter().filter(|(_, value)| value.is_none()) {
            put_blob(bytes, key);
        }
        previous = Some(name);
    }
    Ok(())
}

pub(crate) fn put_blob(bytes: &mut Vec<u8>, blob: &[u8]) {
    bytes.extend_from_slice(&(blob.len() as u64).to_le_bytes());
    bytes.extend_from_slice(blob);
}
