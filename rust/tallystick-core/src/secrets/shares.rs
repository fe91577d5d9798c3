//! Recovery shares: reading, combining and making them.
//!
//! Two formats exist:
//!
//! * 113 bytes, CCF 1.x to 4.x: Shamir over GF(2⁸), byte by byte, of the key of a sealed box that every share carries;
//!   the first 32 bytes of the opened message are the wrapping key;
//! * 44 bytes, CCF 5.x on: Shamir over the prime field 2³¹-1, ten coordinates; the wrapping key is HKDF-SHA256 of the
//!   interpolated 40 bytes, with those same bytes as the info.
//!
//! A share whose x is 0 is the whole secret (a member whose recovery role is Owner).
use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::key::{KEY_BYTES, SecretKey, read_hex};
use super::{SecretError, sealed_box};

const SMALL_BYTES: usize = 44;
const BOXED_BYTES: usize = 113;
const PRIME: u64 = (1 << 31) - 1;
const COORDINATES: usize = 10;
/// A service has at most this many recovery participants: x is one byte in the older format, and a reader must bound the
/// quadratic interpolation.
pub const MAX_SHARES: usize = 255;

/// One recovery share in clear; wiped when it is dropped.
pub struct Share {
    x: u32,
    /// One value a coordinate: 32 of GF(2⁸), or 10 below 2³¹-1.
    y: Zeroizing<Vec<u32>>,
    /// The sealed box of the older format, else empty. It is the same in every share, and encrypted.
    sealed: Vec<u8>,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share(x={}, …)", self.x)
    }
}

impl PartialEq for Share {
    /// In constant time, as far as the values go.
    fn eq(&self, other: &Self) -> bool {
        self.x == other.x
            && self.sealed == other.sealed
            && verify_slices_are_equal(&bytes_of(&self.y), &bytes_of(&other.y)).is_ok()
    }
}

impl Eq for Share {}

fn bytes_of(values: &[u32]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4 * values.len()));
    for value in values {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

impl Share {
    /// Parses the plaintext of a share.
    ///
    /// # Errors
    /// [`SecretError::Share`] when neither format fits.
    pub fn parse(data: &[u8]) -> Result<Self, SecretError> {
        match data.len() {
            BOXED_BYTES => {
                let (x, rest) = data.split_first().unwrap_or((&0, &[]));
                let (y, sealed) = rest.split_at_checked(KEY_BYTES).unwrap_or_default();
                let mut values = Zeroizing::new(Vec::with_capacity(KEY_BYTES));
                values.extend(y.iter().map(|value| u32::from(*value)));
                Ok(Self { x: u32::from(*x), y: values, sealed: sealed.to_vec() })
            }
            SMALL_BYTES => {
                let (words, _) = data.as_chunks::<4>();
                let mut values = Zeroizing::new(Vec::with_capacity(COORDINATES + 1));
                values.extend(words.iter().map(|word| u32::from_le_bytes(*word)));
                if values.iter().any(|value| u64::from(*value) >= PRIME) {
                    return Err(SecretError::Share { why: "it has a value outside its field" });
                }
                let x = values.remove(0);
                Ok(Self { x, y: values, sealed: Vec::new() })
            }
            _ => Err(SecretError::Share { why: "it has neither 44 nor 113 bytes" }),
        }
    }

    /// Parses a share as recovery scripts pass it around: raw, or hex or base64 with white space anywhere.
    ///
    /// # Errors
    /// [`SecretError::Share`].
    pub fn parse_any(data: &[u8]) -> Result<Self, SecretError> {
        if let Ok(share) = Self::parse(data) {
            return Ok(share);
        }
        let mut compact = Zeroizing::new(Vec::with_capacity(data.len()));
        compact.extend(data.iter().filter(|byte| !byte.is_ascii_whitespace()));
        let mut decoded = Zeroizing::new(vec![0; compact.len() / 2]);
        if read_hex(&compact, &mut decoded).is_some() {
            return Self::parse(&decoded);
        }
        let mut decoded = Zeroizing::new(vec![0; compact.len()]);
        let length = STANDARD.decode_slice(&*compact, &mut decoded);
        match length.ok().and_then(|length| decoded.get(..length)) {
            Some(bytes) => Self::parse(bytes),
            None => Err(SecretError::Share { why: "it is neither raw, hex nor base64" }),
        }
    }

    /// The 44 bytes of a share of the newer format: u32 x, then ten u32 y, little-endian.
    ///
    /// # Errors
    /// [`SecretError::Share`]: it is a share of the older format, which is only read.
    pub fn serialise(&self) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        if !self.sealed.is_empty() || self.y.len() != COORDINATES {
            return Err(SecretError::Share { why: "shares of the older format are not written" });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(SMALL_BYTES));
        bytes.extend_from_slice(&self.x.to_le_bytes());
        bytes.extend_from_slice(&bytes_of(&self.y));
        Ok(bytes)
    }

    /// The point at which the polynomials were evaluated; 0 for a full share.
    #[must_use]
    pub fn x(&self) -> u32 {
        self.x
    }
}

/// Recovers the wrapping key from at least `threshold` shares. Shares beyond the threshold must lie on the polynomial
/// that the first ones define.
///
/// # Errors
/// [`SecretError::TooFew`], [`SecretError::Inconsistent`], [`SecretError::Box`].
pub fn combine(shares: &[&Share], threshold: usize) -> Result<SecretKey, SecretError> {
    let Some(first) = shares.first() else { return Err(SecretError::TooFew { threshold, actual: 0 }) };
    if shares.iter().any(|share| share.sealed != first.sealed || share.y.len() != first.y.len()) {
        return Err(SecretError::Inconsistent { why: "they are of different formats or boxes" });
    }
    let mut distinct: Vec<&Share> = shares.to_vec();
    distinct.sort_by_key(|share| share.x);
    distinct.dedup_by(|a, b| a == b);
    if distinct.windows(2).any(|pair| matches!(pair, [a, b] if a.x == b.x)) {
        return Err(SecretError::Inconsistent { why: "two differ at the same point" });
    }
    if let Some(full) = distinct.first().filter(|share| share.x == 0) {
        return wrapping_key(&full.y, &full.sealed);
    }
    if threshold < 1 || distinct.len() < threshold || distinct.len() > MAX_SHARES {
        return Err(SecretError::TooFew { threshold, actual: distinct.len() });
    }
    let (base, extra) = distinct.split_at_checked(threshold).unwrap_or_default();
    let interpolate = if first.sealed.is_empty() { interpolate_prime } else { interpolate_binary };
    for share in extra {
        let expected = interpolate(base, share.x);
        if verify_slices_are_equal(&bytes_of(&expected), &bytes_of(&share.y)).is_err() {
            return Err(SecretError::OffPolynomial { x: share.x });
        }
    }
    wrapping_key(&interpolate(base, 0), &first.sealed)
}

/// A wrapping key, the full share, and the shares of the participants.
pub type Split = (SecretKey, Share, Vec<Share>);

/// Draws a wrapping key and splits it: the key, the full share (x = 0) that an owner gets, and the shares x = 1 to
/// `participants`, any `threshold` of which give it. `None` if the system gives no random numbers.
///
/// # Errors
/// [`SecretError::Threshold`].
pub fn split(participants: usize, threshold: usize) -> Result<Option<Split>, SecretError> {
    if threshold < 1 || participants > MAX_SHARES || (participants > 0 && threshold > participants) {
        return Err(SecretError::Threshold { threshold, participants });
    }
    // One polynomial a coordinate, of degree threshold - 1; its value at 0 is the secret.
    let mut polynomials = Vec::with_capacity(COORDINATES);
    for _ in 0..COORDINATES {
        let mut coefficients = Zeroizing::new(Vec::with_capacity(threshold));
        for _ in 0..threshold {
            let Some(coefficient) = random_element() else { return Ok(None) };
            coefficients.push(coefficient);
        }
        polynomials.push(coefficients);
    }
    let mut shares = Vec::with_capacity(participants);
    let evaluated = |x: u32| {
        let mut y = Zeroizing::new(Vec::with_capacity(COORDINATES));
        for coefficients in &polynomials {
            let value = coefficients.iter().rev().fold(0, |sum, c| (sum * u64::from(x) + c) % PRIME);
            y.push(element(value));
        }
        Share { x, y, sealed: Vec::new() }
    };
    let full = evaluated(0);
    let key = wrapping_key(&full.y, &[])?;
    for x in 1..=u32::try_from(participants).unwrap_or(0) {
        shares.push(evaluated(x));
    }
    Ok(Some((key, full, shares)))
}

/// Values below the prime fit.
fn element(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

/// Uniform below the prime: 31 bits, drawn again in the one case in two billion that they are all set.
fn random_element() -> Option<u64> {
    let mut bytes = Zeroizing::new([0; 4]);
    loop {
        rand::fill(bytes.as_mut_slice()).ok()?;
        let value = u64::from(u32::from_le_bytes(*bytes) >> 1);
        if value < PRIME {
            return Some(value);
        }
    }
}

struct OneKey;

impl KeyType for OneKey {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

fn wrapping_key(secret: &[u32], sealed: &[u8]) -> Result<SecretKey, SecretError> {
    let mut key = SecretKey::empty();
    if sealed.is_empty() {
        let material = bytes_of(secret);
        let derived = Salt::new(HKDF_SHA256, &[]).extract(&material);
        let info = [material.as_slice()];
        let filled = derived.expand(&info, OneKey).and_then(|okm| okm.fill(key.bytes_mut()));
        filled.map_err(|_| SecretError::Share { why: "no key can be derived from it" })?;
        return Ok(key);
    }
    let mut box_key = Zeroizing::new([0; KEY_BYTES]);
    for (byte, value) in box_key.iter_mut().zip(secret) {
        *byte = binary(*value);
    }
    let message = sealed_box::open(&box_key, sealed)?;
    let opened = message.get(..KEY_BYTES).ok_or(SecretError::Box)?;
    key.bytes_mut().copy_from_slice(opened);
    Ok(key)
}

fn invert_prime(value: u64) -> u64 {
    // Fermat: a^(p-2) = 1/a.
    let (mut result, mut square, mut exponent) = (1, value % PRIME, PRIME - 2);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * square % PRIME;
        }
        square = square * square % PRIME;
        exponent >>= 1;
    }
    result
}

fn interpolate_prime(points: &[&Share], at: u32) -> Zeroizing<Vec<u32>> {
    let difference = |a: u32, b: u32| (u64::from(a) + PRIME - u64::from(b)) % PRIME;
    let mut sums = Zeroizing::new(vec![0_u64; COORDINATES]);
    for point in points {
        let others = points.iter().filter(|other| other.x != point.x);
        let (numerator, denominator) = others.fold((1, 1), |(numerator, denominator), other| {
            (numerator * difference(at, other.x) % PRIME, denominator * difference(point.x, other.x) % PRIME)
        });
        let weight = numerator * invert_prime(denominator) % PRIME;
        for (sum, value) in sums.iter_mut().zip(point.y.iter()) {
            *sum = (*sum + weight * u64::from(*value)) % PRIME;
        }
    }
    let mut values = Zeroizing::new(Vec::with_capacity(COORDINATES));
    values.extend(sums.iter().map(|sum| element(*sum)));
    values
}

/// The low byte of a value that came from one.
fn binary(value: u32) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low
}

/// In GF(2⁸) with the polynomial x⁸ + x⁴ + x³ + x + 1; no branch depends on a value.
fn multiply_binary(a: u8, b: u8) -> u8 {
    let (mut a, mut product) = (a, 0);
    for bit in 0..8 {
        product ^= a & (b >> bit & 1).wrapping_neg();
        a = a << 1 ^ (0x1b & (a >> 7).wrapping_neg());
    }
    product
}

fn invert_binary(a: u8) -> u8 {
    // a²⁵⁴ = 1/a in a field of 256 elements.
    let (mut result, mut square) = (1, a);
    for _ in 0..7 {
        square = multiply_binary(square, square);
        result = multiply_binary(result, square);
    }
    result
}

fn interpolate_binary(points: &[&Share], at: u32) -> Zeroizing<Vec<u32>> {
    let mut values = Zeroizing::new(vec![0; KEY_BYTES]);
    for point in points {
        let others = points.iter().filter(|other| other.x != point.x);
        let (numerator, denominator) = others.fold((1, 1), |(numerator, denominator), other| {
            (
                multiply_binary(numerator, binary(at ^ other.x)),
                multiply_binary(denominator, binary(point.x ^ other.x)),
            )
        });
        let weight = multiply_binary(numerator, invert_binary(denominator));
        for (sum, value) in values.iter_mut().zip(point.y.iter()) {
            *sum ^= u32::from(multiply_binary(weight, binary(*value)));
        }
    }
    values
}

/// The content of the first PEM block with this label.
fn pem_block(pem: &[u8], label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let find =
        |text: &[u8], mark: &str| text.windows(mark.len()).position(|window| window == mark.as_bytes());
    let begin = format!("-----BEGIN {label}-----");
    let rest = pem.get(find(pem, &begin)? + begin.len()..)?;
    let body = rest.get(..find(rest, &format!("-----END {label}-----"))?)?;
    let mut compact = Zeroizing::new(Vec::with_capacity(body.len()));
    compact.extend(body.iter().filter(|byte| !byte.is_ascii_whitespace()));
    let mut der = Zeroizing::new(vec![0; compact.len()]);
    let length = STANDARD.decode_slice(&*compact, &mut der).ok()?;
    der.truncate(length);
    Some(der)
}

/// Puts an RSAPrivateKey (RFC 8017 appendix A.1.2) into a PrivateKeyInfo (RFC 5208 section 5).
fn pkcs8_of(pkcs1: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    /// Version 0; algorithm rsaEncryption with NULL parameters.
    const HEAD: [u8; 18] = [2, 1, 0, 0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    /// Tag, 0x82, and two bytes of length.
    const TAG_AND_LENGTH: usize = 4;
    let length = |bytes: usize| u16::try_from(bytes).map(u16::to_be_bytes).map_err(|_| SecretError::KeyType);
    let inner = length(pkcs1.len())?;
    let outer = length(HEAD.len() + TAG_AND_LENGTH + pkcs1.len())?;
    let mut der = Zeroizing::new(Vec::with_capacity(2 * TAG_AND_LENGTH + HEAD.len() + pkcs1.len()));
    der.extend_from_slice(&[0x30, 0x82]);
    der.extend_from_slice(&outer);
    der.extend_from_slice(&HEAD);
    der.extend_from_slice(&[4, 0x82]);
    der.extend_from_slice(&inner);
    der.extend_from_slice(pkcs1);
    Ok(der)
}

/// A member's RSA key, to which shares are encrypted (RSA-OAEP, SHA-256, no label).
pub struct DecryptionKey(OaepPrivateDecryptingKey);

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecryptionKey(…)")
    }
}

impl DecryptionKey {
    /// Reads a private key: PEM of PKCS #8 or PKCS #1, without a password.
    ///
    /// # Errors
    /// [`SecretError::KeyUnreadable`], [`SecretError::KeyType`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, SecretError> {
        let der = match pem_block(pem, "PRIVATE KEY") {
            Some(der) => der,
            None => pkcs8_of(&pem_block(pem, "RSA PRIVATE KEY").ok_or(SecretError::KeyUnreadable)?)?,
        };
        let key = PrivateDecryptingKey::from_pkcs8(&der).map_err(|_| SecretError::KeyType)?;
        OaepPrivateDecryptingKey::new(key).map(Self).map_err(|_| SecretError::KeyType)
    }

    /// Decrypts what was encrypted to this key; `None` when it was not.
    #[must_use]
    pub fn decrypt(&self, encrypted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut plaintext = Zeroizing::new(vec![0; self.0.min_output_size()]);
        let length = self.0.decrypt(&OAEP_SHA256_MGF1SHA256, encrypted, &mut plaintext, None).ok()?.len();
        plaintext.truncate(length);
        Some(plaintext)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn any_threshold_of_them_gives_the_key_and_fewer_do_not() {
        let (key, full, shares) = split(5, 3).unwrap().unwrap();
        assert_eq!(combine(&[&full], 3).unwrap(), key);
        for pick in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
            let picked: Vec<&Share> = pick.iter().map(|index| &shares[*index]).collect();
            assert_eq!(combine(&picked, 3).unwrap(), key);
            assert_ne!(combine(&picked[..2], 2).unwrap(), key);
            assert_eq!(combine(&picked[..2], 3), Err(SecretError::TooFew { threshold: 3, actual: 2 }));
        }
        let all: Vec<&Share> = shares.iter().collect();
        assert_eq!(combine(&all, 3).unwrap(), key);
        let (_, _, others) = split(5, 3).unwrap().unwrap();
        let inconsistent =
            |shares: &[&Share]| matches!(combine(shares, 3), Err(SecretError::Inconsistent { .. }));
        let mixed = [&shares[0], &shares[1], &shares[2], &others[3]];
        assert_eq!(combine(&mixed, 3), Err(SecretError::OffPolynomial { x: 4 }));
        assert!(inconsistent(&[&shares[0], &others[0], &shares[2]]));
        assert_eq!(combine(&[], 1), Err(SecretError::TooFew { threshold: 1, actual: 0 }));
        assert_eq!(combine(&all[..3], 0), Err(SecretError::TooFew { threshold: 0, actual: 3 }));
        for (participants, threshold) in [(0, 0), (3, 0), (3, 4), (256, 2)] {
            assert!(split(participants, threshold).is_err());
        }
        assert!(split(0, 1).is_ok());
    }

    #[test]
    fn every_form_of_a_share_is_the_same_share() {
        let (_, full, shares) = split(3, 2).unwrap().unwrap();
        for share in shares.iter().chain([&full]) {
            let raw = share.serialise().unwrap();
            let hex = crate::types::to_hex(&raw);
            let base64 = STANDARD.encode(&*raw);
            for text in [raw.as_slice(), hex.as_bytes(), hex.to_uppercase().as_bytes(), base64.as_bytes()] {
                assert_eq!(&Share::parse_any(text).unwrap(), share);
            }
            assert_eq!(
                &Share::parse_any(format!(" {}\n{}\n", &hex[..20], &hex[20..]).as_bytes()).unwrap(),
                share
            );
        }
        assert_eq!(format!("{:?}", shares[1]), "Share(x=2, …)");
        for wrong in [&[0xff; 44][..], &[0; 43], b"", b"zz", &[0; 88]] {
            assert!(matches!(Share::parse_any(wrong), Err(SecretError::Share { .. })), "{wrong:?}");
        }
        let boxed = Share::parse(&[1; 113]).unwrap();
        assert!(boxed.serialise().is_err());
        assert!(combine(&[&boxed, &shares[0]], 1).is_err());
        assert_eq!(combine(&[&boxed], 1), Err(SecretError::Box));
    }

    #[test]
    fn arithmetic_in_both_fields() {
        for a in 1..=255 {
            assert_eq!(multiply_binary(a, invert_binary(a)), 1);
            assert_eq!(multiply_binary(a, 2), multiply_binary(2, a));
        }
        assert_eq!(multiply_binary(0x57, 0x83), 0xc1);
        for a in [1, 2, 3, PRIME - 1, 1_234_567_890] {
            assert_eq!(a * invert_prime(a) % PRIME, 1);
        }
    }

    #[test]
    fn keys_that_are_none() {
        let key = |pem: &[u8]| DecryptionKey::from_pem(pem).unwrap_err();
        assert_eq!(key(b""), SecretError::KeyUnreadable);
        assert_eq!(
            key(b"-----BEGIN PRIVATE KEY-----\n%\n-----END PRIVATE KEY-----"),
            SecretError::KeyUnreadable
        );
        assert_eq!(
            key(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
            SecretError::KeyType
        );
    }
}
