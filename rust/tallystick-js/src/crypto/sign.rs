//! Signatures, and keys wrapped in keys.
use std::ffi::c_int;
use std::ptr;

use aws_lc_rs::hmac;
use aws_lc_sys as sys;

use super::key::{
    CryptoError, Curve, EcdsaSignature, HashContext, Key, KeyContext, Kind, Number, Result, done,
};

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The hash of a name of the Web Cryptography API.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "SHA-256" => Some(Self::Sha256),
            "SHA-384" => Some(Self::Sha384),
            "SHA-512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn evp(self) -> *const sys::EVP_MD {
        // SAFETY: these return constants of the library.
        unsafe {
            match self {
                Self::Sha256 => sys::EVP_sha256(),
                Self::Sha384 => sys::EVP_sha384(),
                Self::Sha512 => sys::EVP_sha512(),
            }
        }
    }
}

/// A signature scheme with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Fixed-width r ‖ s.
    Ecdsa(Hash),
    /// Hash, and bytes of salt.
    RsaPss(Hash, i32),
    /// Ed25519.
    EdDsa,
}

fn fits(key: &Key, scheme: Scheme) -> Result<()> {
    match (key.kind, scheme) {
        (Kind::Ec(_), Scheme::Ecdsa(_))
        | (Kind::Rsa, Scheme::RsaPss(..))
        | (Kind::Ed25519, Scheme::EdDsa) => Ok(()),
        _ => Err(CryptoError("the key does not fit the signing algorithm")),
    }
}

/// Prepares a context for signing or verifying.
fn prepared(
    key: &Key,
    scheme: Scheme,
    init: unsafe extern "C" fn(
        *mut sys::EVP_MD_CTX,
        *mut *mut sys::EVP_PKEY_CTX,
        *const sys::EVP_MD,
        *mut sys::ENGINE,
        *mut sys::EVP_PKEY,
    ) -> c_int,
) -> Result<HashContext> {
    const WHY: &str = "the signing algorithm cannot be used with this key";
    fits(key, scheme)?;
    let hash = match scheme {
        Scheme::Ecdsa(hash) | Scheme::RsaPss(hash, _) => hash.evp(),
        Scheme::EdDsa => ptr::null(),
    };
    // SAFETY: context and key are alive; the inner context belongs to the outer one.
    unsafe {
        let context = HashContext::own(sys::EVP_MD_CTX_new(), "no memory")?;
        let mut inner = ptr::null_mut();
        done(init(context.as_ptr(), &raw mut inner, hash, ptr::null_mut(), key.as_ptr()), WHY)?;
        if let Scheme::RsaPss(_, salt) = scheme {
            done(sys::EVP_PKEY_CTX_set_rsa_padding(inner, sys::RSA_PKCS1_PSS_PADDING), WHY)?;
            done(sys::EVP_PKEY_CTX_set_rsa_pss_saltlen(inner, salt), "the salt length is not possible")?;
        }
        Ok(context)
    }
}

/// Signs `data` with the private key in `pem`.
pub(crate) fn sign(scheme: Scheme, pem: &str, data: &[u8]) -> Result<Vec<u8>> {
    const WHY: &str = "signing failed";
    let key = Key::private_from_pem(pem)?;
    let context = prepared(&key, scheme, sys::EVP_DigestSignInit)?;
    let mut length = 0;
    // SAFETY: the first call only tells the length; the buffer then has it.
    let signature = unsafe {
        let (at, size) = (data.as_ptr(), data.len());
        done(sys::EVP_DigestSign(context.as_ptr(), ptr::null_mut(), &raw mut length, at, size), WHY)?;
        let mut signature = vec![0; length];
        done(sys::EVP_DigestSign(context.as_ptr(), signature.as_mut_ptr(), &raw mut length, at, size), WHY)?;
        signature.truncate(length);
        signature
    };
    match key.kind {
        Kind::Ec(curve) => fixed_width(&signature, curve),
        _ => Ok(signature),
    }
}

/// HMAC of `data` under `key`.
pub(crate) fn mac(hash: Hash, key: &[u8], data: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
        Hash::Sha512 => hmac::HMAC_SHA512,
    };
    hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
}

/// Whether `signature` over `data` holds under the public key or certificate in `pem`.
pub(crate) fn verify(scheme: Scheme, pem: &str, signature: &[u8], data: &[u8]) -> Result<bool> {
    let key = Key::public_from_pem(pem)?;
    let context = prepared(&key, scheme, sys::EVP_DigestVerifyInit)?;
    let encoded;
    let signature = match key.kind {
        Kind::Ec(curve) => {
            encoded = der(signature, curve)?;
            encoded.as_slice()
        }
        _ => signature,
    };
    // SAFETY: context and both slices are alive during the call.
    let result = unsafe {
        sys::EVP_DigestVerify(
            context.as_ptr(),
            signature.as_ptr(),
            signature.len(),
            data.as_ptr(),
            data.len(),
        )
    };
    Ok(done(result, "").is_ok())
}

/// r ‖ s of an ECDSA signature in DER.
fn fixed_width(der: &[u8], curve: Curve) -> Result<Vec<u8>> {
    const WHY: &str = "the signature cannot be converted";
    let mut bytes = vec![0; 2 * curve.width()];
    let (to_r, to_s) = bytes.split_at_mut(curve.width());
    // SAFETY: r and s are borrowed from the signature, which is alive; the buffers have the given width.
    unsafe {
        let signature = EcdsaSignature::own(sys::ECDSA_SIG_from_bytes(der.as_ptr(), der.len()), WHY)?;
        let (mut r, mut s) = (ptr::null(), ptr::null());
        sys::ECDSA_SIG_get0(signature.as_ptr(), &raw mut r, &raw mut s);
        done(sys::BN_bn2bin_padded(to_r.as_mut_ptr(), to_r.len(), r), WHY)?;
        done(sys::BN_bn2bin_padded(to_s.as_mut_ptr(), to_s.len(), s), WHY)?;
    }
    Ok(bytes)
}

/// DER of an ECDSA signature r ‖ s.
fn der(fixed: &[u8], curve: Curve) -> Result<Vec<u8>> {
    const WHY: &str = "the signature is malformed";
    if fixed.len() != 2 * curve.width() {
        return Err(CryptoError("the signature has the wrong length for the key's curve"));
    }
    let (r, s) = fixed.split_at(curve.width());
    let (r, s) = (Number::from_bytes(r)?, Number::from_bytes(s)?);
    // SAFETY: on success the signature owns both numbers, so they must not be freed here; its bytes are copied
    // and then freed.
    unsafe {
        let signature = EcdsaSignature::own(sys::ECDSA_SIG_new(), "no memory")?;
        done(sys::ECDSA_SIG_set0(signature.as_ptr(), r.as_ptr(), s.as_ptr()), WHY)?;
        std::mem::forget((r, s));
        let (mut start, mut length) = (ptr::null_mut(), 0);
        done(sys::ECDSA_SIG_to_bytes(&raw mut start, &raw mut length, signature.as_ptr()), WHY)?;
        let bytes = std::slice::from_raw_parts(start, length).to_vec();
        sys::OPENSSL_free(start.cast());
        Ok(bytes)
    }
}

/// What RSA does to a short message.
type RsaStep = unsafe extern "C" fn(*mut sys::EVP_PKEY_CTX, *mut u8, *mut usize, *const u8, usize) -> c_int;

fn oaep(
    key: &Key,
    init: unsafe extern "C" fn(*mut sys::EVP_PKEY_CTX) -> c_int,
    step: RsaStep,
    input: &[u8],
    label: &[u8],
) -> Result<Vec<u8>> {
    const WHY: &str = "RSA-OAEP failed";
    if key.kind != Kind::Rsa {
        return Err(CryptoError("the wrapping key is not an RSA key"));
    }
    // SAFETY: context and key are alive; the label's copy is the library's from the successful call on; the
    // output buffer has the length that the first call told.
    unsafe {
        let context = KeyContext::own(sys::EVP_PKEY_CTX_new(key.as_ptr(), ptr::null_mut()), "no memory")?;
        let raw = context.as_ptr();
        done(init(raw), WHY)?;
        done(sys::EVP_PKEY_CTX_set_rsa_padding(raw, sys::RSA_PKCS1_OAEP_PADDING), WHY)?;
        done(sys::EVP_PKEY_CTX_set_rsa_oaep_md(raw, sys::EVP_sha256()), WHY)?;
        done(sys::EVP_PKEY_CTX_set_rsa_mgf1_md(raw, sys::EVP_sha256()), WHY)?;
        if !label.is_empty() {
            let copy = sys::OPENSSL_malloc(label.len()).cast::<u8>();
            if copy.is_null() {
                return Err(CryptoError("no memory"));
            }
            ptr::copy_nonoverlapping(label.as_ptr(), copy, label.len());
            if sys::EVP_PKEY_CTX_set0_rsa_oaep_label(raw, copy, label.len()) != 1 {
                sys::OPENSSL_free(copy.cast());
                done(0, WHY)?;
            }
        }
        let mut length = 0;
        done(step(raw, ptr::null_mut(), &raw mut length, input.as_ptr(), input.len()), WHY)?;
        let mut output = vec![0; length];
        done(step(raw, output.as_mut_ptr(), &raw mut length, input.as_ptr(), input.len()), WHY)?;
        output.truncate(length);
        Ok(output)
    }
}

/// How a key is wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrapping {
    /// RSA-OAEP with SHA-256 and a label.
    RsaOaep(Vec<u8>),
    /// AES key wrap with padding (RFC 5649).
    AesKwp,
    /// A new AES key of so many bits, wrapped by RSA-OAEP with a label, wraps the key.
    Combined(u32, Vec<u8>),
}

fn text(key: &[u8]) -> Result<&str> {
    std::str::from_utf8(key).map_err(|_| CryptoError("the wrapping key is not PEM text"))
}

/// Wraps `key` under `wrapping_key`: PEM text of an RSA public key, or the bytes of an AES key.
pub(crate) fn wrap(wrapping: &Wrapping, wrapping_key: &[u8], key: &[u8]) -> Result<Vec<u8>> {
    let rsa = |label: &[u8], input: &[u8]| {
        let public = Key::public_from_pem(text(wrapping_key)?)?;
        oaep(&public, sys::EVP_PKEY_encrypt_init, sys::EVP_PKEY_encrypt, input, label)
    };
    match wrapping {
        Wrapping::RsaOaep(label) => rsa(label, key),
        Wrapping::AesKwp => kwp(true, wrapping_key, key),
        Wrapping::Combined(bits, label) => {
            let aes = random_aes_key(*bits)?;
            let mut wrapped = rsa(label, &aes)?;
            wrapped.extend(kwp(true, &aes, key)?);
            Ok(wrapped)
        }
    }
}

/// Undoes [`wrap`], with the RSA private key in place of the public one.
pub(crate) fn unwrap(wrapping: &Wrapping, unwrapping_key: &[u8], wrapped: &[u8]) -> Result<Vec<u8>> {
    let private = || Key::private_from_pem(text(unwrapping_key)?);
    let rsa = |key: &Key, label: &[u8], input: &[u8]| {
        oaep(key, sys::EVP_PKEY_decrypt_init, sys::EVP_PKEY_decrypt, input, label)
    };
    match wrapping {
        Wrapping::RsaOaep(label) => rsa(&private()?, label, wrapped),
        Wrapping::AesKwp => kwp(false, unwrapping_key, wrapped),
        Wrapping::Combined(_, label) => {
            let key = private()?;
            // SAFETY: the key is alive.
            let size = unsafe { sys::EVP_PKEY_size(key.as_ptr()) };
            let parts = usize::try_from(size).ok().and_then(|size| wrapped.split_at_checked(size));
            let (aes, rest) = parts.ok_or(CryptoError("the wrapped key is too short"))?;
            kwp(false, &rsa(&key, label, aes)?, rest)
        }
    }
}

/// A new AES key of 128, 192 or 256 bits.
pub(crate) fn random_aes_key(bits: u32) -> Result<Vec<u8>> {
    if ![128, 192, 256].contains(&bits) {
        return Err(CryptoError("invalid key size"));
    }
    let mut key = vec![0; usize::try_from(bits / 8).unwrap_or(0)];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| CryptoError("no random numbers are available"))?;
    Ok(key)
}

/// AES key wrap with padding, or its inverse.
fn kwp(wraps: bool, key: &[u8], input: &[u8]) -> Result<Vec<u8>> {
    let bits = match key.len() {
        16 => 128,
        24 => 192,
        32 => 256,
        _ => return Err(CryptoError("the wrapping key is not an AES key of 128, 192 or 256 bits")),
    };
    let mut output = vec![0; input.len() + 16];
    let (mut length, room) = (0, output.len());
    // SAFETY: the schedule is filled in before use; the output has the room that is given.
    unsafe {
        let mut schedule = std::mem::MaybeUninit::<sys::AES_KEY>::zeroed();
        let (schedule, to, from) = (schedule.as_mut_ptr(), output.as_mut_ptr(), input.as_ptr());
        let result = if wraps {
            if sys::AES_set_encrypt_key(key.as_ptr(), bits, schedule) != 0 {
                return Err(CryptoError("the wrapping key cannot be used"));
            }
            sys::AES_wrap_key_padded(schedule, to, &raw mut length, room, from, input.len())
        } else {
            if sys::AES_set_decrypt_key(key.as_ptr(), bits, schedule) != 0 {
                return Err(CryptoError("the wrapping key cannot be used"));
            }
            sys::AES_unwrap_key_padded(schedule, to, &raw mut length, room, from, input.len())
        };
        done(result, if wraps { "the key cannot be wrapped" } else { "the wrapped key is not authentic" })?;
    }
    output.truncate(length);
    Ok(output)
}

/// A new RSA key pair: private and public PEM. Given up when `late` says so.
pub(crate) fn generate_rsa(bits: u32, exponent: u64, late: &dyn Fn() -> bool) -> Result<(String, String)> {
    pair(&Key::generate_rsa(bits, exponent, late)?)
}

/// A new ECDSA key pair on `secp256r1` or `secp384r1`.
pub(crate) fn generate_ecdsa(curve: &str) -> Option<Result<(String, String)>> {
    let curve = match curve {
        "secp256r1" => Curve::P256,
        "secp384r1" => Curve::P384,
        _ => return None,
    };
    Some(Key::generate_ec(curve).and_then(|key| pair(&key)))
}

/// A new key pair on `curve25519` (Ed25519) or `x25519`.
pub(crate) fn generate_eddsa(curve: &str) -> Option<Result<(String, String)>> {
    let kind = match curve {
        "curve25519" => Kind::Ed25519,
        "x25519" => Kind::X25519,
        _ => return None,
    };
    Some(Key::generate_25519(kind).and_then(|key| pair(&key)))
}

fn pair(key: &Key) -> Result<(String, String)> {
    Ok((key.private_pem()?, key.public_pem()?))
}
