//! Public keys and the signatures made with them. All cryptography is that of AWS-LC.
mod batch;
mod key;

pub use batch::{Batch, Check, Claim};
pub use key::{Hash, KeyError, KeyKind, PublicKey};

/// Codes of this module.
pub const CODES: &[&str] = &["key-not-spki", "key-not-canonical"];
