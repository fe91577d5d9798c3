//! A public key, parsed once.
use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::digest::{Digest as AwsDigest, SHA256};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use sha2::{Digest as _, Sha256};

use crate::error::coded;
use crate::types::Digest;

/// Why bytes are not a key that is used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a SubjectPublicKeyInfo of a supported kind.
    #[error(
        "public key: expected a SubjectPublicKeyInfo on P-256, P-384 or P-521, or of RSA, got {length} other bytes"
    )]
    NotSpki {
        /// Bytes given.
        length: usize,
    },
    /// A key in another encoding than the one that everybody hashes to its fingerprint.
    #[error("public key: expected the {expected} bytes of its canonical DER, got {actual} other bytes")]
    NotCanonical {
        /// Bytes of the canonical encoding.
        expected: usize,
        /// Bytes given.
        actual: usize,
    },
}

coded!(KeyError {
    NotSpki => "key-not-spki",
    NotCanonical => "key-not-canonical",
} limits {});

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// RSA of 2048 to 8192 bits.
    Rsa,
}

impl KeyKind {
    /// The name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::Rsa => "RSA",
        }
    }
}

/// A hash function of ECDSA signatures over messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// COSE algorithms (IANA COSE algorithms).
pub mod algorithm {
    /// ECDSA with SHA-256; on P-256 here.
    pub const ES256: i64 = -7;
    /// ECDSA with SHA-384; on P-384 here.
    pub const ES384: i64 = -35;
    /// ECDSA with SHA-512; on P-521 here.
    pub const ES512: i64 = -36;
    /// RSASSA-PSS with SHA-256.
    pub const PS256: i64 = -37;
    /// RSASSA-PSS with SHA-384.
    pub const PS384: i64 = -38;
    /// RSASSA-PSS with SHA-512.
    pub const PS512: i64 = -39;
}

/// A key as one algorithm takes it: made on first use, because checking a point costs as much as a signature.
type Slot = OnceLock<Option<ParsedPublicKey>>;

/// An ECDSA key on P-256, P-384 or P-521, or an RSA key.
pub struct PublicKey {
    kind: KeyKind,
    spki: Box<[u8]>,
    sha256: Digest,
    /// ECDSA with a DER signature, by hash.
    asn1: [Slot; 3],
    /// COSE: one for ECDSA, one by hash for RSA-PSS.
    cose: [Slot; 3],
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind.name(), crate::types::to_hex(&self.sha256))
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

fn asn1_algorithm(kind: KeyKind, hash: Hash) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (kind, hash) {
        (KeyKind::P256, Hash::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (KeyKind::P256, Hash::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (KeyKind::P256, Hash::Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
        (KeyKind::P384, Hash::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (KeyKind::P384, Hash::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
        (KeyKind::P384, Hash::Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
        (KeyKind::P521, Hash::Sha256) => &signature::ECDSA_P521_SHA256_ASN1,
        (KeyKind::P521, Hash::Sha384) => &signature::ECDSA_P521_SHA384_ASN1,
        (KeyKind::P521, Hash::Sha512) => &signature::ECDSA_P521_SHA512_ASN1,
        (KeyKind::Rsa, _) => return None,
    })
}

/// The algorithm, and its slot, if it belongs to this kind of key.
fn cose_algorithm(kind: KeyKind, algorithm: i64) -> Option<(usize, &'static dyn VerificationAlgorithm)> {
    Some(match (kind, algorithm) {
        (KeyKind::P256, algorithm::ES256) => (0, &signature::ECDSA_P256_SHA256_FIXED),
        (KeyKind::P384, algorithm::ES384) => (0, &signature::ECDSA_P384_SHA384_FIXED),
        (KeyKind::P521, algorithm::ES512) => (0, &signature::ECDSA_P521_SHA512_FIXED),
        (KeyKind::Rsa, algorithm::PS256) => (0, &signature::RSA_PSS_2048_8192_SHA256),
        (KeyKind::Rsa, algorithm::PS384) => (1, &signature::RSA_PSS_2048_8192_SHA384),
        (KeyKind::Rsa, algorithm::PS512) => (2, &signature::RSA_PSS_2048_8192_SHA512),
        _ => return None,
    })
}

impl PublicKey {
    /// Parses a DER SubjectPublicKeyInfo.
    ///
    /// Only the canonical encoding is taken (uncompressed point, named curve), because the hash of these
    /// bytes is the identity of nodes and services.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let candidates: [(KeyKind, &'static dyn VerificationAlgorithm); 4] = [
            (KeyKind::P384, &signature::ECDSA_P384_SHA256_ASN1),
            (KeyKind::P256, &signature::ECDSA_P256_SHA256_ASN1),
            (KeyKind::P521, &signature::ECDSA_P521_SHA256_ASN1),
            (KeyKind::Rsa, &signature::RSA_PSS_2048_8192_SHA256),
        ];
        let (kind, parsed) = candidates
            .into_iter()
            .find_map(|(kind, algorithm)| Some((kind, ParsedPublicKey::new(algorithm, der).ok()?)))
            .ok_or(KeyError::NotSpki { length: der.len() })?;
        // The parser also takes a bare point or RSAPublicKey; written out again they differ.
        let canonical = parsed.as_der().map_err(|_| KeyError::NotSpki { length: der.len() })?;
        let canonical: &[u8] = canonical.as_ref();
        if canonical != der {
            return Err(KeyError::NotCanonical { expected: canonical.len(), actual: der.len() });
        }
        let key = Self {
            kind,
            spki: der.into(),
            sha256: Sha256::digest(der).into(),
            asn1: Default::default(),
            cose: Default::default(),
        };
        let [first, ..] = if kind == KeyKind::Rsa { &key.cose } else { &key.asn1 };
        let _ = first.set(Some(parsed));
        Ok(key)
    }

    /// The DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of the SubjectPublicKeyInfo: a node's id, a service key's fingerprint.
    #[must_use]
    pub fn sha256(&self) -> &Digest {
        &self.sha256
    }

    /// The kind of key.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    fn parsed<'k>(
        &self,
        slot: &'k Slot,
        algorithm: &'static dyn VerificationAlgorithm,
    ) -> Option<&'k ParsedPublicKey> {
        slot.get_or_init(|| ParsedPublicKey::new(algorithm, &self.spki).ok()).as_ref()
    }

    fn asn1(&self, hash: Hash) -> Option<&ParsedPublicKey> {
        let [sha256, sha384, sha512] = &self.asn1;
        let slot = match hash {
            Hash::Sha256 => sha256,
            Hash::Sha384 => sha384,
            Hash::Sha512 => sha512,
        };
        self.parsed(slot, asn1_algorithm(self.kind, hash)?)
    }

    /// Whether `der_signature` is an ECDSA signature over `digest`, which is not hashed any further.
    ///
    /// That is how CCF nodes sign a root, on every curve. An RSA key never fits.
    #[must_use]
    pub fn verifies_prehashed(&self, digest: &Digest, der_signature: &[u8]) -> bool {
        // The algorithm only fixes the length of the digest: 32 bytes are taken as they are on any curve.
        let Ok(digest) = AwsDigest::import_less_safe(digest, &SHA256) else { return false };
        self.asn1(Hash::Sha256).is_some_and(|key| key.verify_digest_sig(&digest, der_signature).is_ok())
    }

    /// Whether `der_signature` is an ECDSA signature over `message` hashed with `hash`. An RSA key never fits.
    #[must_use]
    pub fn verifies(&self, message: &[u8], der_signature: &[u8], hash: Hash) -> bool {
        self.asn1(hash).is_some_and(|key| key.verify_sig(message, der_signature).is_ok())
    }

    /// Whether `signature` is one of COSE `algorithm` over `message`.
    ///
    /// ECDSA algorithms are bound to their curve as CCF uses them (ES256 with P-256, ES384 with P-384, ES512
    /// with P-521) and take fixed-width r ‖ s. An algorithm that does not fit the key never holds.
    #[must_use]
    pub fn verifies_cose(&self, message: &[u8], signature: &[u8], algorithm: i64) -> bool {
        let Some((slot, algorithm)) = cose_algorithm(self.kind, algorithm) else { return false };
        self.cose
            .get(slot)
            .and_then(|slot| self.parsed(slot, algorithm))
            .is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Coded as _;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
    use aws_lc_rs::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _};

    fn pair(algorithm: &'static EcdsaSigningAlgorithm) -> (EcdsaKeyPair, PublicKey) {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let spki = pair.public_key().as_der().unwrap();
        let key = PublicKey::from_spki(spki.as_ref()).unwrap();
        (pair, key)
    }

    #[test]
    fn cose_algorithms_are_bound_to_their_curve() {
        let curves: [(&'static EcdsaSigningAlgorithm, i64, &str); 3] = [
            (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, algorithm::ES256, "P-256"),
            (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, algorithm::ES384, "P-384"),
            (&signature::ECDSA_P521_SHA512_FIXED_SIGNING, algorithm::ES512, "P-521"),
        ];
        for (signing, algorithm, name) in curves {
            let (pair, key) = pair(signing);
            assert_eq!(key.kind().name(), name);
            let signed = pair.sign(&SystemRandom::new(), b"message").unwrap();
            assert!(key.verifies_cose(b"message", signed.as_ref(), algorithm));
            assert!(!key.verifies_cose(b"massage", signed.as_ref(), algorithm));
            assert!(!key.verifies_cose(b"message", &signed.as_ref()[1..], algorithm));
            for other in [-7, -35, -36, -37, -38, -39, -8, 0] {
                assert_eq!(key.verifies_cose(b"message", signed.as_ref(), other), other == algorithm);
            }
        }
    }

    #[test]
    fn a_root_is_verified_as_the_digest_itself_on_every_curve() {
        // Signing SHA-256(message) with ECDSA-SHA256 is signing those 32 bytes as they are.
        let curves: [&'static EcdsaSigningAlgorithm; 2] =
            [&signature::ECDSA_P256_SHA256_ASN1_SIGNING, &signature::ECDSA_P521_SHA256_ASN1_SIGNING];
        for signing in curves {
            let (pair, key) = pair(signing);
            let signed = pair.sign(&SystemRandom::new(), b"root").unwrap();
            let digest: Digest = Sha256::digest(b"root").into();
            assert!(key.verifies_prehashed(&digest, signed.as_ref()));
            assert!(key.verifies(b"root", signed.as_ref(), Hash::Sha256));
            assert!(!key.verifies(b"root", signed.as_ref(), Hash::Sha384));
            assert!(!key.verifies_prehashed(&[0; 32], signed.as_ref()));
            let mut trailing = signed.as_ref().to_vec();
            trailing.push(0);
            assert!(!key.verifies_prehashed(&digest, &trailing));
            assert!(!key.verifies_prehashed(&digest, &[]));
        }
    }

    #[test]
    fn rsa_keys_take_pss_only() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let key = PublicKey::from_spki(pair.public_key().as_der().unwrap().as_ref()).unwrap();
        assert_eq!(key.kind(), KeyKind::Rsa);
        for (encoding, algorithm) in [
            (&signature::RSA_PSS_SHA256, algorithm::PS256),
            (&signature::RSA_PSS_SHA384, algorithm::PS384),
            (&signature::RSA_PSS_SHA512, algorithm::PS512),
        ] {
            let mut signed = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), b"message", &mut signed).unwrap();
            for other in [-7, -35, -36, -37, -38, -39] {
                assert_eq!(key.verifies_cose(b"message", &signed, other), other == algorithm);
            }
            assert!(!key.verifies_prehashed(&[0; 32], &signed));
            assert!(!key.verifies(b"message", &signed, Hash::Sha256));
        }
    }

    #[test]
    fn only_the_canonical_encoding_is_a_key() {
        let (_, key) = pair(&signature::ECDSA_P384_SHA384_FIXED_SIGNING);
        let spki = key.spki().to_vec();
        let code = |der: &[u8]| PublicKey::from_spki(der).map(|_| ()).map_err(|error| error.code());
        assert_eq!(code(&spki), Ok(()));
        assert_eq!(code(&[]), Err("key-not-spki"));
        assert_eq!(code(&spki[..spki.len() - 1]), Err("key-not-spki"));
        assert_eq!(code(&spki[spki.len() - 97..]), Err("key-not-canonical"));
        let mut off_curve = spki.clone();
        *off_curve.last_mut().unwrap() ^= 1;
        assert_eq!(code(&off_curve), Err("key-not-spki"));
        let mut trailing = spki.clone();
        trailing.push(0);
        assert!(code(&trailing).is_err());
        for position in 0..spki.len() {
            let mut changed = spki.clone();
            changed[position] ^= 0x20;
            assert!(code(&changed).is_err(), "byte {position}");
        }
    }
}
