//! What can be wrong with CBOR.
use crate::error::Coded;

/// Codes of this module.
pub const CODES: &[&str] = &[
    "cbor-truncated",
    "cbor-indefinite-length",
    "cbor-not-shortest",
    "cbor-reserved",
    "cbor-simple-value",
    "cbor-not-utf8",
    "cbor-duplicate-key",
    "cbor-key-type",
    "cbor-type",
    "cbor-trailing-bytes",
    "cbor-too-deep",
    "cbor-too-many-items",
];

/// Where and why bytes are not the CBOR that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// The item goes beyond the end.
    #[error("CBOR: expected {expected} more bytes at offset {offset}, got {remaining}")]
    Truncated {
        /// Where.
        offset: usize,
        /// Bytes, or items of at least one byte each, that are announced.
        expected: u64,
        /// Bytes left.
        remaining: usize,
    },
    /// An indefinite length.
    #[error("CBOR: expected a definite length at offset {offset}, got an indefinite one")]
    IndefiniteLength {
        /// Where.
        offset: usize,
    },
    /// A number in more bytes than it needs.
    #[error("CBOR: expected the shortest form of {value} at offset {offset}, got a longer one")]
    NotShortest {
        /// Where.
        offset: usize,
        /// The number.
        value: u64,
    },
    /// Additional information 28, 29 or 30.
    #[error("CBOR: expected a head at offset {offset}, got reserved byte 0x{byte:02x}")]
    Reserved {
        /// Where.
        offset: usize,
        /// The byte.
        byte: u8,
    },
    /// A float or an unassigned simple value.
    #[error("CBOR: expected false, true or null at offset {offset}, got byte 0x{byte:02x}")]
    SimpleValue {
        /// Where.
        offset: usize,
        /// The first byte.
        byte: u8,
    },
    /// Text that is not UTF-8.
    #[error("CBOR: expected UTF-8, got another byte at offset {offset}")]
    NotUtf8 {
        /// Offset of the first byte that does not fit.
        offset: usize,
    },
    /// A key twice in one map.
    #[error("CBOR: expected each key once, got {key} again at offset {offset}")]
    DuplicateKey {
        /// The second occurrence.
        offset: usize,
        /// The key, in diagnostic notation.
        key: String,
    },
    /// A key of another type.
    #[error("CBOR: expected an integer, text or byte string as key at offset {offset}, got {found}")]
    KeyType {
        /// Where.
        offset: usize,
        /// The type met.
        found: &'static str,
    },
    /// An item of another type.
    #[error("CBOR: expected {expected} at offset {offset}, got {found}")]
    Type {
        /// Where.
        offset: usize,
        /// What was asked for.
        expected: &'static str,
        /// The type met.
        found: &'static str,
    },
    /// More after the item.
    #[error("CBOR: expected the end at offset {offset}, got {remaining} more bytes")]
    TrailingBytes {
        /// Where.
        offset: usize,
        /// Bytes left.
        remaining: usize,
    },
    /// Nested deeper than the limit.
    #[error("CBOR: expected at most {limit} levels of nesting, got more at offset {offset}")]
    TooDeep {
        /// The limit.
        limit: usize,
        /// Where.
        offset: usize,
    },
    /// More items than the limit.
    #[error("CBOR: expected at most {limit} items, got more at offset {offset}")]
    TooManyItems {
        /// The limit.
        limit: usize,
        /// Where.
        offset: usize,
    },
}

impl CborError {
    /// Offset into the bytes.
    #[must_use]
    pub fn offset(&self) -> usize {
        match self {
            Self::Truncated { offset, .. }
            | Self::IndefiniteLength { offset }
            | Self::NotShortest { offset, .. }
            | Self::Reserved { offset, .. }
            | Self::SimpleValue { offset, .. }
            | Self::NotUtf8 { offset }
            | Self::DuplicateKey { offset, .. }
            | Self::KeyType { offset, .. }
            | Self::Type { offset, .. }
            | Self::TrailingBytes { offset, .. }
            | Self::TooDeep { offset, .. }
            | Self::TooManyItems { offset, .. } => *offset,
        }
    }
}

impl Coded for CborError {
    fn code(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "cbor-truncated",
            Self::IndefiniteLength { .. } => "cbor-indefinite-length",
            Self::NotShortest { .. } => "cbor-not-shortest",
            Self::Reserved { .. } => "cbor-reserved",
            Self::SimpleValue { .. } => "cbor-simple-value",
            Self::NotUtf8 { .. } => "cbor-not-utf8",
            Self::DuplicateKey { .. } => "cbor-duplicate-key",
            Self::KeyType { .. } => "cbor-key-type",
            Self::Type { .. } => "cbor-type",
            Self::TrailingBytes { .. } => "cbor-trailing-bytes",
            Self::TooDeep { .. } => "cbor-too-deep",
            Self::TooManyItems { .. } => "cbor-too-many-items",
        }
    }

    fn is_limit(&self) -> bool {
        matches!(self, Self::TooDeep { .. } | Self::TooManyItems { .. })
    }
}
