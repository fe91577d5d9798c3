//! Small values that every format shares.
use std::fmt;

use serde::{Deserialize, Serialize};

/// A SHA-256 digest, 32 bytes.
pub type Digest = [u8; 32];

/// A transaction ID, `view.seqno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TxId {
    /// The view (the consensus term) in which the transaction was executed.
    pub view: u64,
    /// The position in the ledger, from 1.
    pub seqno: u64,
}

impl TxId {
    /// Parses the canonical text `view.seqno`: decimal, no sign, no leading zeros, nothing around it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (view, seqno) = text.split_once('.')?;
        Some(Self { view: parse_canonical_u64(view)?, seqno: parse_canonical_u64(seqno)? })
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.view, self.seqno)
    }
}

fn parse_canonical_u64(text: &str) -> Option<u64> {
    let canonical = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

/// Lower-case hexadecimal text of `bytes`.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    // Without the formatter: ids and roots of every signature transaction come through here.
    let digit = |value: u8| char::from(if value < 10 { b'0' + value } else { b'a' - 10 + value });
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// Parses exactly 64 lower-case hexadecimal digits.
#[must_use]
pub fn digest_from_hex(text: &str) -> Option<Digest> {
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (target, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
        let (Some(high), Some(low)) =
            (pair.first().copied().and_then(nibble), pair.get(1).copied().and_then(nibble))
        else {
            return None;
        };
        *target = high << 4 | low;
    }
    Some(digest)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
