//! The sealed box in recovery shares of CCF 1.x to 4.x: XSalsa20-Poly1305 under an all-zero nonce.
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use zeroize::Zeroizing;

use super::SecretError;

/// Opens `sealed` (16-byte tag, then ciphertext) with `key`. CCF uses each key once, hence the fixed nonce.
///
/// # Errors
/// [`SecretError::Box`] when the key is wrong or the box was changed.
pub(super) fn open(key: &[u8; 32], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let message = XSalsa20Poly1305::new(key.into()).decrypt(&Nonce::default(), sealed);
    message.map(Zeroizing::new).map_err(|_| SecretError::Box)
}
