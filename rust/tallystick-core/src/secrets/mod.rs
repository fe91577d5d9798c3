//! Key material: held in memory that is wiped when it is let go of, and what is done with it.
//!
//! Rules: a key is written straight into its own allocation, never moved, and wiped with it; a copy is made only by
//! a function whose name says so. What comes out of AES, HMAC and HKDF inside AWS-LC is wiped there.
mod key;
mod sealed_box;
mod shares;

pub use key::{KEY_BYTES, SecretKey, WRAPPED_BYTES, read_keys};
pub use shares::{DecryptionKey, MAX_SHARES, Share, Split, combine, split};

use crate::error::coded;

/// Why a secret cannot be read, opened or put together. No message holds any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not a key.
    #[error("ledger secret has the wrong length: expected {KEY_BYTES} bytes, got {actual}")]
    Length {
        /// Bytes given.
        actual: usize,
    },
    /// Not a wrapped key.
    #[error("wrapped ledger secret has the wrong length: expected {WRAPPED_BYTES} bytes, got {actual}")]
    WrappedLength {
        /// Bytes given.
        actual: usize,
    },
    /// Another key.
    #[error("wrapped ledger secret does not open with this key")]
    Unwrap,
    /// A line of a file of secrets.
    #[error("line {line} is not a ledger secret: expected 64 hex digits or START:HEX")]
    Line {
        /// From 1.
        line: usize,
    },
    /// A start that was there before.
    #[error("line {line} names seqno {start} again")]
    Again {
        /// From 1.
        line: usize,
        /// The seqno.
        start: u64,
    },
    /// No secret at all.
    #[error("the file holds no ledger secret")]
    Empty,
    /// Not a share.
    #[error("recovery share is malformed: {why}")]
    Share {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Shares of different formats, boxes or polynomials.
    #[error("recovery shares do not belong together: {why}")]
    Inconsistent {
        /// What does not fit.
        why: &'static str,
    },
    /// More shares than are needed, of which one belongs to another secret.
    #[error("recovery share {x} does not lie on the polynomial of the others")]
    OffPolynomial {
        /// Its point.
        x: u32,
    },
    /// Not enough of them.
    #[error("not enough recovery shares: expected at least {threshold}, got {actual}")]
    TooFew {
        /// How many are needed.
        threshold: usize,
        /// Distinct ones given.
        actual: usize,
    },
    /// No such number of shares can be needed.
    #[error("recovery threshold cannot be met: expected 1 to {participants}, got {threshold}")]
    Threshold {
        /// As asked for.
        threshold: usize,
        /// How many shares there would be.
        participants: usize,
    },
    /// The sealed box of old shares.
    #[error("sealed box of the recovery shares does not open with the key that they give")]
    Box,
    /// Not a private key.
    #[error("no private key can be read: expected PEM of an RSA key without a password")]
    KeyUnreadable,
    /// Not one for encryption.
    #[error("wrong kind of key: expected a member's RSA encryption key of 2048 to 8192 bits")]
    KeyType,
}

coded!(SecretError {
    Length => "secret-length",
    WrappedLength => "secret-wrapped-length",
    Unwrap => "secret-unwrap",
    Line => "secret-malformed",
    Again => "secret-named-twice",
    Empty => "secret-file-empty",
    Share => "share-malformed",
    Inconsistent => "shares-inconsistent",
    OffPolynomial => "shares-inconsistent",
    TooFew => "shares-too-few",
    Threshold => "threshold-out-of-range",
    Box => "shares-box",
    KeyUnreadable => "key-unreadable",
    KeyType => "key-wrong-type",
} limits {});
