//! 32 bytes of AES-256 key material.
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::SecretError;

/// Bytes of a ledger secret, and of a key that wraps one.
pub const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const IV_BYTES: usize = 12;
/// Bytes of a wrapped key: tag, IV, ciphertext.
pub const WRAPPED_BYTES: usize = TAG_BYTES + IV_BYTES + KEY_BYTES;

/// A ledger secret, or a key that wraps one. Its bytes stay where they were written and are wiped when it is dropped.
pub struct SecretKey(Box<Zeroizing<[u8; KEY_BYTES]>>);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

impl PartialEq for SecretKey {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.expose(), other.expose()).is_ok()
    }
}

impl Eq for SecretKey {}

impl SecretKey {
    pub(super) fn empty() -> Self {
        Self(Box::default())
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8; KEY_BYTES] {
        &mut self.0
    }

    /// Copies a key from a buffer; wiping that one is the caller's business.
    ///
    /// # Errors
    /// [`SecretError::Length`].
    pub fn copy_of(bytes: &[u8]) -> Result<Self, SecretError> {
        let mut key = Self::empty();
        if bytes.len() != KEY_BYTES {
            return Err(SecretError::Length { actual: bytes.len() });
        }
        key.bytes_mut().copy_from_slice(bytes);
        Ok(key)
    }

    /// Draws a key; `None` if the system gives no random numbers.
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut key = Self::empty();
        rand::fill(key.bytes_mut()).ok()?;
        Some(key)
    }

    /// The key itself, for what needs it in clear.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_slice()
    }

    fn gcm(&self) -> Result<LessSafeKey, SecretError> {
        let length = |_| SecretError::Length { actual: KEY_BYTES };
        UnboundKey::new(&AES_256_GCM, self.expose()).map(LessSafeKey::new).map_err(length)
    }

    /// Seals `other` under this key: tag ‖ IV ‖ ciphertext.
    ///
    /// A key that wraps a single other takes an IV of zeros, as CCF does; any other use needs a fresh `iv`.
    ///
    /// # Errors
    /// None that can be met: AES-GCM takes 32 bytes.
    pub fn wrap(&self, other: &Self, iv: [u8; IV_BYTES]) -> Result<Vec<u8>, SecretError> {
        let mut sealed = other.expose().to_vec();
        let nonce = Nonce::assume_unique_for_key(iv);
        // In place, so that the copy in clear does not outlive this line.
        let tag = self.gcm()?.seal_in_place_separate_tag(nonce, Aad::empty(), &mut sealed);
        let tag = tag.map_err(|_| SecretError::Unwrap)?;
        Ok([tag.as_ref(), &iv, &sealed].concat())
    }

    /// Opens what [`SecretKey::wrap`] sealed.
    ///
    /// # Errors
    /// [`SecretError::WrappedLength`], [`SecretError::Unwrap`].
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<Self, SecretError> {
        let wrong = SecretError::WrappedLength { actual: wrapped.len() };
        let (tag, rest) = wrapped.split_first_chunk::<TAG_BYTES>().ok_or(wrong.clone())?;
        let (iv, ciphertext) = rest.split_first_chunk::<IV_BYTES>().ok_or(wrong.clone())?;
        if ciphertext.len() != KEY_BYTES {
            return Err(wrong);
        }
        let mut opened = Self::empty();
        let nonce = Nonce::assume_unique_for_key(*iv);
        self.gcm()?
            .open_separate_gather(nonce, Aad::empty(), ciphertext, tag, opened.bytes_mut())
            .map_err(|_| SecretError::Unwrap)?;
        Ok(opened)
    }
}

/// Reads the text of a file of secrets: lines of `HEX` (valid from seqno `default_start` on) or `START:HEX`; `#` begins
/// a comment. Ascending by line.
///
/// # Errors
/// [`SecretError`], which never repeats what stands in the file.
pub fn read_keys(text: &[u8], default_start: u64) -> Result<Vec<(u64, SecretKey)>, SecretError> {
    let mut keys: Vec<(u64, SecretKey)> = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line_number = index + 1;
        let content = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if content.is_empty() {
            continue;
        }
        let malformed = SecretError::Line { line: line_number };
        let (start, digits) = match content.iter().rposition(|byte| *byte == b':') {
            None => (default_start, content),
            Some(at) => {
                let (name, digits) = content.split_at_checked(at).ok_or(malformed.clone())?;
                let start = std::str::from_utf8(name).ok().and_then(|name| name.trim().parse().ok());
                (start.ok_or(malformed.clone())?, digits.get(1..).unwrap_or_default())
            }
        };
        let mut key = SecretKey::empty();
        read_hex(digits.trim_ascii(), key.bytes_mut()).ok_or(malformed)?;
        if keys.iter().any(|(known, _)| *known == start) {
            return Err(SecretError::Again { line: line_number, start });
        }
        keys.push((start, key));
    }
    if keys.is_empty() { Err(SecretError::Empty) } else { Ok(keys) }
}

/// Reads exactly as many hexadecimal digits as fill `target`.
pub(super) fn read_hex(digits: &[u8], target: &mut [u8]) -> Option<()> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != target.len() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    for ([high, low], byte) in pairs.iter().zip(target) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn wrapped_keys_open_with_their_key_only() {
        let (outer, inner) = (SecretKey::random().unwrap(), SecretKey::random().unwrap());
        assert_ne!(outer, inner);
        let wrapped = outer.wrap(&inner, [0; 12]).unwrap();
        assert_eq!(wrapped.len(), WRAPPED_BYTES);
        assert_eq!(outer.unwrap(&wrapped).unwrap(), inner);
        assert_eq!(inner.unwrap(&wrapped), Err(SecretError::Unwrap));
        for bit in 0..wrapped.len() * 8 {
            let mut changed = wrapped.clone();
            *changed.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            assert_eq!(outer.unwrap(&changed), Err(SecretError::Unwrap), "bit {bit}");
        }
        for length in [0, 15, 27, 59, 61] {
            let wrong = vec![0; length];
            assert_eq!(outer.unwrap(&wrong), Err(SecretError::WrappedLength { actual: length }));
        }
        assert_eq!(format!("{inner:?}"), "SecretKey(…)");
        assert_eq!(SecretKey::copy_of(&[0; 31]), Err(SecretError::Length { actual: 31 }));
    }

    #[test]
    fn files_of_secrets_are_read_strictly() {
        let digits = "0f".repeat(32);
        let text = format!("# comment\n\n{digits}\r\n 42:{} # rekey\n", "F0".repeat(32));
        let keys = read_keys(text.as_bytes(), 1).unwrap();
        assert_eq!(keys.iter().map(|(start, _)| *start).collect::<Vec<_>>(), [1, 42]);
        assert_eq!(keys.first().unwrap().1.expose(), [0x0f; 32]);
        assert_eq!(keys.get(1).unwrap().1.expose(), [0xf0; 32]);
        let error = |text: &str| read_keys(text.as_bytes(), 1).unwrap_err();
        assert_eq!(error(""), SecretError::Empty);
        assert_eq!(error("#x"), SecretError::Empty);
        assert_eq!(error(&digits[1..]), SecretError::Line { line: 1 });
        assert_eq!(error(&format!("\n{}", digits.replace('f', "g"))), SecretError::Line { line: 2 });
        assert_eq!(error(&format!("x:{digits}")), SecretError::Line { line: 1 });
        assert_eq!(error(&format!("-1:{digits}")), SecretError::Line { line: 1 });
        assert_eq!(error(&format!("{digits}\n1:{digits}")), SecretError::Again { line: 2, start: 1 });
        assert_eq!(error("é"), SecretError::Line { line: 1 });
    }
}
