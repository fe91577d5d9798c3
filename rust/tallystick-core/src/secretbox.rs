//! The sealed box in recovery shares of CCF 1.x to 4.x: XSalsa20-Poly1305 under an all-zero nonce.
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};

use crate::error::coded;

/// Why a box did not open.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretBoxError {
    /// The tag does not hold under this key.
    #[error("sealed box of the recovery shares does not open with the key that they give")]
    Tag,
}

coded!(SecretBoxError { Tag => "shares-box" } limits {});

/// Opens `sealed` (16-byte tag, then ciphertext) with the 32-byte `key`. CCF uses each key once, hence the
/// fixed nonce.
///
/// # Errors
/// [`SecretBoxError::Tag`] when the key is wrong or the box was changed.
pub fn open(key: &[u8; 32], sealed: &[u8]) -> Result<Vec<u8>, SecretBoxError> {
    XSalsa20Poly1305::new(key.into()).decrypt(&Nonce::default(), sealed).map_err(|_| SecretBoxError::Tag)
}
