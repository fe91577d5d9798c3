//! What can be wrong with CBOR.
use crate::error::coded;

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

coded!(CborError {
    Truncated => "cbor-truncated",
    IndefiniteLength => "cbor-indefinite-length",
    NotShortest => "cbor-not-shortest",
    Reserved => "cbor-reserved",
    SimpleValue => "cbor-simple-value",
    NotUtf8 => "cbor-not-utf8",
    DuplicateKey => "cbor-duplicate-key",
    KeyType => "cbor-key-type",
    Type => "cbor-type",
    TrailingBytes => "cbor-trailing-bytes",
    TooDeep => "cbor-too-deep",
    TooManyItems => "cbor-too-many-items",
} limits { TooDeep, TooManyItems });
