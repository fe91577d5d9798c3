//! SHA-256 of messages in memory.
use sha2::{Digest as _, Sha256};

use crate::types::Digest;

/// SHA-256 of `data`.
#[must_use]
#[inline]
pub fn sha256(data: &[u8]) -> Digest {
    Sha256::digest(data).into()
}
