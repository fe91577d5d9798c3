//! Strict CBOR (RFC 8949): deterministic in everything but the order of map keys.
//!
//! Lengths are definite and every head has its shortest form, a key occurs once in a map, text is UTF-8 and
//! nothing follows the item. Keys are integers, text or byte strings. Floats and the simple values other than
//! false, true and null have no use in the formats read here and are refused. Keys may come in any order,
//! because CCF and others write headers in an order of their own.
mod error;

pub use error::{CODES, CborError};

use std::collections::HashSet;

use crate::limits::{MAX_CBOR_ITEMS, MAX_NESTING};

/// Major types, the top three bits of a head.
pub mod major {
    /// Unsigned integer.
    pub const UNSIGNED: u8 = 0;
    /// Negative integer, as -1 - n.
    pub const NEGATIVE: u8 = 1;
    /// Byte string.
    pub const BYTES: u8 = 2;
    /// Text.
    pub const TEXT: u8 = 3;
    /// Array.
    pub const ARRAY: u8 = 4;
    /// Map.
    pub const MAP: u8 = 5;
    /// Tag.
    pub const TAG: u8 = 6;
    /// Simple value or float.
    pub const SIMPLE: u8 = 7;
}

const FALSE: u64 = 20;
const TRUE: u64 = 21;
const NULL: u64 = 22;

fn type_name(major_type: u8) -> &'static str {
    match major_type {
        major::UNSIGNED => "an unsigned integer",
        major::NEGATIVE => "a negative integer",
        major::BYTES => "a byte string",
        major::TEXT => "text",
        major::ARRAY => "an array",
        major::MAP => "a map",
        major::TAG => "a tag",
        _ => "a simple value",
    }
}

/// One item, borrowed from its encoding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value<'a> {
    /// 0 … 2⁶⁴-1.
    Unsigned(u64),
    /// -1 - n.
    Negative(u64),
    /// Byte string.
    Bytes(&'a [u8]),
    /// Text.
    Text(&'a str),
    /// Array.
    Array(Vec<Value<'a>>),
    /// Map, in the order of the encoding.
    Map(Map<'a>),
    /// Tagged item.
    Tag(u64, Box<Value<'a>>),
    /// False or true.
    Bool(bool),
    /// Null.
    Null,
}

/// Keys and values of a map, in the order of the encoding; no key occurs twice.
pub type Map<'a> = Vec<(Value<'a>, Value<'a>)>;

impl<'a> Value<'a> {
    /// The integer, if it is one that an `i64` holds.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Unsigned(value) => i64::try_from(*value).ok(),
            Self::Negative(value) => i64::try_from(*value).ok().map(|value| -1 - value),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&'a str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The byte string, if it is one.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The map, if it is one.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map<'a>> {
        if let Self::Map(map) = self { Some(map) } else { None }
    }

    fn type_name(&self) -> &'static str {
        type_name(match self {
            Self::Unsigned(_) => major::UNSIGNED,
            Self::Negative(_) => major::NEGATIVE,
            Self::Bytes(_) => major::BYTES,
            Self::Text(_) => major::TEXT,
            Self::Array(_) => major::ARRAY,
            Self::Map(_) => major::MAP,
            Self::Tag(..) => major::TAG,
            Self::Bool(_) | Self::Null => major::SIMPLE,
        })
    }

    /// Appends the encoding in shortest form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Unsigned(value) => encode_head(out, major::UNSIGNED, *value),
            Self::Negative(value) => encode_head(out, major::NEGATIVE, *value),
            Self::Bytes(bytes) => encode_bytes(out, bytes),
            Self::Text(text) => encode_text(out, text),
            Self::Array(items) => {
                encode_head(out, major::ARRAY, items.len() as u64);
                items.iter().for_each(|item| item.encode(out));
            }
            Self::Map(members) => {
                encode_head(out, major::MAP, members.len() as u64);
                for (key, value) in members {
                    key.encode(out);
                    value.encode(out);
                }
            }
            Self::Tag(tag, value) => {
                encode_head(out, major::TAG, *tag);
                value.encode(out);
            }
            Self::Bool(value) => encode_bool(out, *value),
            Self::Null => encode_null(out),
        }
    }
}

/// The value of integer key `key`.
#[must_use]
pub fn get_integer<'m, 'a>(map: &'m Map<'a>, key: i64) -> Option<&'m Value<'a>> {
    map.iter().find(|(candidate, _)| candidate.as_integer() == Some(key)).map(|(_, value)| value)
}

/// The value of text key `key`.
#[must_use]
pub fn get_text<'m, 'a>(map: &'m Map<'a>, key: &str) -> Option<&'m Value<'a>> {
    map.iter().find(|(candidate, _)| candidate.as_text() == Some(key)).map(|(_, value)| value)
}

/// Appends a head in its shortest form.
pub fn encode_head(out: &mut Vec<u8>, major_type: u8, value: u64) {
    let top = major_type << 5;
    // Each arm is reached only by values that its width holds.
    #[allow(clippy::cast_possible_truncation, reason = "bounded by the match arm")]
    match value {
        0..=23 => out.push(top | value as u8),
        24..=0xff => out.extend_from_slice(&[top | 24, value as u8]),
        0x100..=0xffff => {
            out.push(top | 25);
            out.extend_from_slice(&(value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(top | 26);
            out.extend_from_slice(&(value as u32).to_be_bytes());
        }
        _ => {
            out.push(top | 27);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// Appends a byte string.
pub fn encode_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    encode_head(out, major::BYTES, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends text.
pub fn encode_text(out: &mut Vec<u8>, text: &str) {
    encode_head(out, major::TEXT, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Appends false or true.
pub fn encode_bool(out: &mut Vec<u8>, value: bool) {
    encode_head(out, major::SIMPLE, if value { TRUE } else { FALSE });
}

/// Appends null.
pub fn encode_null(out: &mut Vec<u8>) {
    encode_head(out, major::SIMPLE, NULL);
}

/// Decodes the whole of `bytes` as one item.
///
/// # Errors
/// [`CborError`].
pub fn decode(bytes: &[u8]) -> Result<Value<'_>, CborError> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.value()?;
    decoder.end()?;
    Ok(value)
}

/// Reads items one by one, of the types that the caller asks for.
pub struct Decoder<'a> {
    bytes: &'a [u8],
    position: usize,
    depth: usize,
    items: usize,
}

impl<'a> Decoder<'a> {
    /// Starts reading `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, depth: 0, items: 0 }
    }

    /// Offset of the next byte.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Checks that nothing follows.
    ///
    /// # Errors
    /// [`CborError::TrailingBytes`].
    pub fn end(&self) -> Result<(), CborError> {
        match self.remaining() {
            0 => Ok(()),
            remaining => Err(CborError::TrailingBytes { offset: self.position, remaining }),
        }
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let taken = usize::try_from(length)
            .ok()
            .and_then(|length| self.bytes.get(self.position..)?.get(..length))
            .ok_or(CborError::Truncated {
                offset: self.position,
                expected: length,
                remaining: self.remaining(),
            })?;
        self.position += taken.len();
        Ok(taken)
    }

    /// The major type of the next item.
    fn peek(&self) -> Result<u8, CborError> {
        let truncated = CborError::Truncated { offset: self.position, expected: 1, remaining: 0 };
        self.bytes.get(self.position).map(|byte| byte >> 5).ok_or(truncated)
    }

    /// Whether null is next.
    #[must_use]
    pub fn at_null(&self) -> bool {
        self.bytes.get(self.position) == Some(&0xf6)
    }

    /// Whether a tag is next.
    #[must_use]
    pub fn at_tag(&self) -> bool {
        self.peek() == Ok(major::TAG)
    }

    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let offset = self.position;
        self.items += 1;
        if self.items > MAX_CBOR_ITEMS {
            return Err(CborError::TooManyItems { limit: MAX_CBOR_ITEMS, offset });
        }
        let byte = self.take(1)?.first().copied().unwrap_or_default();
        let major_type = byte >> 5;
        let width = match byte & 0x1f {
            info @ 0..=23 => return Ok((major_type, u64::from(info))),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            31 if (major::BYTES..=major::MAP).contains(&major_type) => {
                return Err(CborError::IndefiniteLength { offset });
            }
            _ => return Err(CborError::Reserved { offset, byte }),
        };
        let value = self.take(width)?.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        if major_type == major::SIMPLE {
            return Err(CborError::SimpleValue { offset, byte });
        }
        let smallest = match width {
            1 => 24,
            2 => 1 << 8,
            4 => 1 << 16,
            _ => 1 << 32,
        };
        if value < smallest {
            return Err(CborError::NotShortest { offset, value });
        }
        Ok((major_type, value))
    }

    fn expect(&mut self, wanted: u8, expected: &'static str) -> Result<u64, CborError> {
        let offset = self.position;
        match self.head()? {
            (found, value) if found == wanted => Ok(value),
            (found, _) => Err(CborError::Type { offset, expected, found: type_name(found) }),
        }
    }

    /// Reads a byte string.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn byte_string(&mut self) -> Result<&'a [u8], CborError> {
        let length = self.expect(major::BYTES, "a byte string")?;
        self.take(length)
    }

    /// Reads text.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn text(&mut self) -> Result<&'a str, CborError> {
        let length = self.expect(major::TEXT, "text")?;
        self.utf8(length)
    }

    fn utf8(&mut self, length: u64) -> Result<&'a str, CborError> {
        let offset = self.position;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes)
            .map_err(|error| CborError::NotUtf8 { offset: offset + error.valid_up_to() })
    }

    /// Reads the head of an array and returns the number of its items.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn array(&mut self) -> Result<u64, CborError> {
        self.expect(major::ARRAY, "an array")
    }

    /// Reads the head of a map and returns the number of its members.
    ///
    /// The caller reads keys and values, and checks that no key occurs twice.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn map(&mut self) -> Result<u64, CborError> {
        self.expect(major::MAP, "a map")
    }

    /// Reads a tag; its item is next.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn tag(&mut self) -> Result<u64, CborError> {
        self.expect(major::TAG, "a tag")
    }

    /// Reads an integer that an `i64` holds.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn integer(&mut self) -> Result<i64, CborError> {
        let offset = self.position;
        let (found, value) = self.head()?;
        let integer = match found {
            major::UNSIGNED => Value::Unsigned(value).as_integer(),
            major::NEGATIVE => Value::Negative(value).as_integer(),
            _ => None,
        };
        integer.ok_or(CborError::Type {
            offset,
            expected: "a signed 64-bit integer",
            found: type_name(found),
        })
    }

    /// Reads false or true.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn boolean(&mut self) -> Result<bool, CborError> {
        let offset = self.position;
        match self.head()? {
            (major::SIMPLE, FALSE) => Ok(false),
            (major::SIMPLE, TRUE) => Ok(true),
            (found, _) => Err(CborError::Type { offset, expected: "false or true", found: type_name(found) }),
        }
    }

    /// Reads null.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn null(&mut self) -> Result<(), CborError> {
        let offset = self.position;
        match self.head()? {
            (major::SIMPLE, NULL) => Ok(()),
            (found, _) => Err(CborError::Type { offset, expected: "null", found: type_name(found) }),
        }
    }

    /// Reads one item of any type.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn value(&mut self) -> Result<Value<'a>, CborError> {
        let offset = self.position;
        let (major_type, argument) = self.head()?;
        Ok(match major_type {
            major::UNSIGNED => Value::Unsigned(argument),
            major::NEGATIVE => Value::Negative(argument),
            major::BYTES => Value::Bytes(self.take(argument)?),
            major::TEXT => Value::Text(self.utf8(argument)?),
            major::ARRAY => {
                self.deeper(offset)?;
                let mut items = Vec::with_capacity(self.bounded(argument, 1)?);
                for _ in 0..argument {
                    items.push(self.value()?);
                }
                self.depth -= 1;
                Value::Array(items)
            }
            major::MAP => {
                self.deeper(offset)?;
                let members = self.members(argument)?;
                self.depth -= 1;
                Value::Map(members)
            }
            major::TAG => {
                self.deeper(offset)?;
                let value = self.value()?;
                self.depth -= 1;
                Value::Tag(argument, Box::new(value))
            }
            _ => match argument {
                FALSE => Value::Bool(false),
                TRUE => Value::Bool(true),
                NULL => Value::Null,
                _ => {
                    let byte = self.bytes.get(offset).copied().unwrap_or_default();
                    return Err(CborError::SimpleValue { offset, byte });
                }
            },
        })
    }

    fn deeper(&mut self, offset: usize) -> Result<(), CborError> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(CborError::TooDeep { limit: MAX_NESTING, offset });
        }
        Ok(())
    }

    /// Refuses a count that the bytes left cannot hold, so that what is allocated stays within the input.
    fn bounded(&self, count: u64, bytes_each: u64) -> Result<usize, CborError> {
        let remaining = self.remaining();
        let expected = count.saturating_mul(bytes_each);
        match usize::try_from(expected) {
            Ok(needed) if needed <= remaining => Ok(usize::try_from(count).unwrap_or(0).min(MAX_CBOR_ITEMS)),
            _ => Err(CborError::Truncated { offset: self.position, expected, remaining }),
        }
    }

    fn members(&mut self, count: u64) -> Result<Map<'a>, CborError> {
        let mut members: Map<'a> = Vec::with_capacity(self.bounded(count, 2)?);
        // Real headers have a handful of members, where a walk is cheapest; a set keeps large maps linear.
        let mut seen: Option<HashSet<Value<'a>>> = (count > 16).then(HashSet::new);
        for _ in 0..count {
            let offset = self.position;
            let key = self.value()?;
            if !matches!(key, Value::Unsigned(_) | Value::Negative(_) | Value::Bytes(_) | Value::Text(_)) {
                return Err(CborError::KeyType { offset, found: key.type_name() });
            }
            let fresh = match &mut seen {
                Some(seen) => seen.insert(key.clone()),
                None => members.iter().all(|(other, _)| *other != key),
            };
            if !fresh {
                return Err(CborError::DuplicateKey { offset, key: diagnostic(&key) });
            }
            let value = self.value()?;
            members.push((key, value));
        }
        Ok(members)
    }
}

/// A key for people.
#[must_use]
pub fn diagnostic(key: &Value<'_>) -> String {
    match key {
        Value::Unsigned(value) => value.to_string(),
        Value::Negative(value) => (-1 - i128::from(*value)).to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Bytes(bytes) => format!("h'{}'", crate::types::to_hex(bytes)),
        other => other.type_name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Coded as _;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn items_of_rfc_8949_appendix_a_round_trip() {
        for text in [
            "00",
            "01",
            "0a",
            "17",
            "1818",
            "1819",
            "1864",
            "1903e8",
            "1a000f4240",
            "1b000000e8d4a51000",
            "1bffffffffffffffff",
            "3bffffffffffffffff",
            "20",
            "29",
            "3863",
            "3903e7",
            "f4",
            "f5",
            "f6",
            "c11a514b67b0",
            "d818456449455446",
            "40",
            "4401020304",
            "60",
            "6161",
            "64494554461a514b67b0",
            "62c3bc",
            "63e6b0b4",
            "80",
            "83010203",
            "8301820203820405",
            "a0",
            "a201020304",
            "a26161016162820203",
        ] {
            let bytes = hex(text);
            match decode(&bytes) {
                Ok(value) => {
                    let mut again = Vec::new();
                    value.encode(&mut again);
                    assert_eq!(again, bytes, "{text}");
                }
                Err(error) => {
                    assert_eq!((text, error.code()), ("64494554461a514b67b0", "cbor-trailing-bytes"))
                }
            }
        }
    }

    #[test]
    fn what_is_not_strict_is_refused_with_the_reason() {
        for (text, code) in [
            ("", "cbor-truncated"),
            ("18", "cbor-truncated"),
            ("1817", "cbor-not-shortest"),
            ("190018", "cbor-not-shortest"),
            ("1a0000ffff", "cbor-not-shortest"),
            ("1b00000000ffffffff", "cbor-not-shortest"),
            ("5803010203", "cbor-not-shortest"),
            ("4401", "cbor-truncated"),
            ("5bffffffffffffffff00", "cbor-truncated"),
            ("5f4101ff", "cbor-indefinite-length"),
            ("9fff", "cbor-indefinite-length"),
            ("bfff", "cbor-indefinite-length"),
            ("7fff", "cbor-indefinite-length"),
            ("ff", "cbor-reserved"),
            ("1c", "cbor-reserved"),
            ("1f", "cbor-reserved"),
            ("df00", "cbor-reserved"),
            ("fc", "cbor-reserved"),
            ("f7", "cbor-simple-value"),
            ("f0", "cbor-simple-value"),
            ("f815", "cbor-simple-value"),
            ("f93c00", "cbor-simple-value"),
            ("fb3ff199999999999a", "cbor-simple-value"),
            ("61ff", "cbor-not-utf8"),
            ("62c328", "cbor-not-utf8"),
            ("0000", "cbor-trailing-bytes"),
            ("a201010102", "cbor-duplicate-key"),
            ("a2616101616102", "cbor-duplicate-key"),
            ("a18001", "cbor-key-type"),
            ("a1f601", "cbor-key-type"),
            ("a1c10001", "cbor-key-type"),
            ("8201", "cbor-truncated"),
            ("9bffffffffffffffff", "cbor-truncated"),
            ("bbffffffffffffffff00", "cbor-truncated"),
            ("a101", "cbor-truncated"),
            ("c1", "cbor-truncated"),
        ] {
            assert_eq!(decode(&hex(text)).unwrap_err().code(), code, "{text}");
        }
    }

    #[test]
    fn depth_and_items_are_limited() {
        let nested = |depth| [vec![0x81; depth], vec![0]].concat();
        decode(&nested(MAX_NESTING)).unwrap();
        for bytes in [nested(MAX_NESTING + 1), vec![0xc1; 1_000_000], [0xa1, 0x00].repeat(500_000)] {
            let error = decode(&bytes).unwrap_err();
            assert_eq!(error.code(), "cbor-too-deep");
            assert!(error.is_limit());
        }
        let mut many = Vec::new();
        encode_head(&mut many, major::ARRAY, MAX_CBOR_ITEMS as u64);
        many.resize(many.len() + MAX_CBOR_ITEMS, 0);
        assert_eq!(decode(&many).unwrap_err().code(), "cbor-too-many-items");
    }

    #[test]
    fn duplicate_keys_are_found_in_large_maps() {
        let map = |keys: &[u64]| {
            let mut out = Vec::new();
            encode_head(&mut out, major::MAP, keys.len() as u64);
            for key in keys {
                encode_head(&mut out, major::UNSIGNED, *key);
                encode_null(&mut out);
            }
            out
        };
        let mut keys: Vec<u64> = (0..1000).collect();
        decode(&map(&keys)).unwrap();
        keys[999] = 3;
        assert_eq!(decode(&map(&keys)).unwrap_err().code(), "cbor-duplicate-key");
    }

    #[test]
    fn integers_keep_their_sign_and_range() {
        assert_eq!(Decoder::new(&hex("1b7fffffffffffffff")).integer(), Ok(i64::MAX));
        assert_eq!(Decoder::new(&hex("3b7fffffffffffffff")).integer(), Ok(i64::MIN));
        assert!(Decoder::new(&hex("1b8000000000000000")).integer().is_err());
        assert_eq!(Decoder::new(&hex("3822")).integer(), Ok(-35));
    }
}
