//! Signs Merkle roots with keys that are held here, so that nothing outside is called under the sequencer's lock.
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Algorithm, Digest as Hash, SHA256, SHA384};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
};
use parking_lot::RwLock;
use tallystick_core::cbor::Value;
use tallystick_core::cose::sig_structure;
use tallystick_core::hash::sha256;
use tallystick_core::types::{Digest, TxId, to_hex};

use super::signature::{RootSigner, SignError, SignedRoot};

/// Tag of a COSE_Sign1 (RFC 9052, 4.2).
const COSE_SIGN1_TAG: u64 = 18;
/// Labels of protected headers: algorithm, key ID, verifiable data structure, CWT claims; and CCF's own, by name.
const ALGORITHM: u64 = 1;
const KEY_ID: u64 = 4;
const DATA_STRUCTURE: u64 = 395;
const CLAIMS: u64 = 15;
const CCF_HEADERS: &str = "ccf.v1";
/// The verifiable data structure: a CCF ledger's Merkle tree of SHA-256.
const CCF_LEDGER_SHA256: u64 = 2;
/// Labels of CWT claims: issued at, issuer, subject.
const ISSUED_AT: u64 = 6;
const ISSUER: u64 = 1;
const SUBJECT: u64 = 2;

/// A curve that identities of nodes and services are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

impl Curve {
    /// The key in `pkcs8`, whichever of `p256` and `p384` it fits.
    fn key(
        pkcs8: &[u8],
        p256: &'static EcdsaSigningAlgorithm,
        p384: &'static EcdsaSigningAlgorithm,
    ) -> Result<(Self, EcdsaKeyPair), SignError> {
        [(Self::P384, p384), (Self::P256, p256)]
            .into_iter()
            .find_map(|(curve, algorithm)| Some((curve, EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).ok()?)))
            .ok_or_else(|| SignError("a key is not on P-256 or P-384, or not PKCS #8".to_owned()))
    }

    /// A root as the digest that a key on this curve signs, and the hash whose digests are as long as its order.
    ///
    /// ECDSA takes a digest for a number. Zeros before a root make it as long as the library wants for P-384, and
    /// leave the number what it is, so that the signature is one over the root itself.
    fn digest(self, root: &Digest) -> Result<Hash, SignError> {
        let (bytes, algorithm): (Vec<u8>, &'static Algorithm) = match self {
            Self::P256 => (root.to_vec(), &SHA256),
            Self::P384 => ([&[0; 16][..], root].concat(), &SHA384),
        };
        Hash::import_less_safe(&bytes, algorithm)
            .map_err(|_| SignError("a root is not as long as a digest".to_owned()))
    }

    /// What COSE calls its algorithm: ES256 is -7, ES384 -35, and a negative number is counted from -1.
    fn cose_algorithm(self) -> Value<'static> {
        match self {
            Self::P256 => Value::Negative(6),
            Self::P384 => Value::Negative(34),
        }
    }
}

/// What signatures state beside the root, and may change while the node runs.
#[derive(Clone, Debug)]
struct Stated {
    node_certificate: String,
    issuer: String,
    subject: String,
}

/// Keys of a node and of its service.
pub struct KeySigner {
    /// `None` where only the service signs.
    node: Option<(Curve, EcdsaKeyPair)>,
    node_id: String,
    service: (Curve, EcdsaKeyPair),
    /// Hex SHA-256 of the service key's SubjectPublicKeyInfo.
    service_id: String,
    random: SystemRandom,
    stated: RwLock<Arc<Stated>>,
}

impl std::fmt::Debug for KeySigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySigner").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}

/// DER of a key's SubjectPublicKeyInfo.
fn spki(key: &EcdsaKeyPair) -> Result<Vec<u8>, SignError> {
    let der: Result<PublicKeyX509Der<'_>, _> = key.public_key().as_der();
    Ok(der.map_err(|_| SignError("a public key has no encoding".to_owned()))?.as_ref().to_vec())
}

impl KeySigner {
    /// Takes the service's key and, unless only the service signs, the node's: EC on P-256 or P-384, PKCS #8 DER.
    /// Issuer and subject are empty until they are said.
    ///
    /// # Errors
    /// [`SignError`] when a key is of another kind.
    pub fn new(
        node_key: Option<&[u8]>,
        node_id: String,
        node_certificate: String,
        service_key: &[u8],
    ) -> Result<Self, SignError> {
        let node = node_key
            .map(|key| Curve::key(key, &ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING))
            .transpose()?;
        let service =
            Curve::key(service_key, &ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING)?;
        let service_id = to_hex(&sha256(&spki(&service.1)?));
        let stated = Stated { node_certificate, issuer: String::new(), subject: String::new() };
        let stated = RwLock::new(Arc::new(stated));
        Ok(Self { node, node_id, service, service_id, random: SystemRandom::new(), stated })
    }

    /// The node's certificate, PEM, that signatures carry from the next one on.
    pub fn use_certificate(&self, node_certificate: String) {
        let mut stated = self.stated.write();
        *stated = Arc::new(Stated { node_certificate, ..(**stated).clone() });
    }

    /// Issuer and subject that the service's signatures state from the next one on.
    pub fn use_claims(&self, issuer: String, subject: String) {
        let mut stated = self.stated.write();
        *stated = Arc::new(Stated { issuer, subject, ..(**stated).clone() });
    }

    /// Protected headers, in CCF's order.
    fn protected(&self, stated: &Stated, txid: TxId, issued_at: u64) -> Vec<u8> {
        let txid = txid.to_string();
        let claims = Value::Map(vec![
            (Value::Unsigned(ISSUED_AT), Value::Unsigned(issued_at)),
            (Value::Unsigned(ISSUER), Value::Text(&stated.issuer)),
            (Value::Unsigned(SUBJECT), Value::Text(&stated.subject)),
        ]);
        let mut protected = Vec::new();
        Value::Map(vec![
            (Value::Unsigned(ALGORITHM), self.service.0.cose_algorithm()),
            (Value::Unsigned(KEY_ID), Value::Bytes(self.service_id.as_bytes())),
            (Value::Unsigned(DATA_STRUCTURE), Value::Unsigned(CCF_LEDGER_SHA256)),
            (Value::Unsigned(CLAIMS), claims),
            (Value::Text(CCF_HEADERS), Value::Map(vec![(Value::Text("txid"), Value::Text(&txid))])),
        ])
        .encode(&mut protected);
        protected
    }
}

impl RootSigner for KeySigner {
    fn sign(&self, root: &Digest, txid: TxId) -> Result<SignedRoot, SignError> {
        let refused = |_| SignError("a key refuses".to_owned());
        let stated = Arc::clone(&self.stated.read());
        let raw = match &self.node {
            Some((curve, key)) => key.sign_digest(&curve.digest(root)?).map_err(refused)?.as_ref().to_vec(),
            None => Vec::new(),
        };
        let issued_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let protected = self.protected(&stated, txid, issued_at);
        let signature =
            self.service.1.sign(&self.random, &sig_structure(&protected, root)).map_err(refused)?;
        let mut cose = Vec::new();
        let signed = vec![
            Value::Bytes(&protected),
            Value::Map(Vec::new()),
            Value::Null,
            Value::Bytes(signature.as_ref()),
        ];
        Value::Tag(COSE_SIGN1_TAG, Box::new(Value::Array(signed))).encode(&mut cose);
        Ok(SignedRoot {
            raw,
            cose,
            node_id: self.node_id.clone(),
            node_certificate: stated.node_certificate.clone(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;
    use tallystick_core::cose::CoseSign1;
    use tallystick_core::signature::PublicKey;

    fn key(algorithm: &'static EcdsaSigningAlgorithm) -> (Vec<u8>, PublicKey) {
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).unwrap();
        (document.as_ref().to_vec(), PublicKey::from_spki(&spki(&pair).unwrap()).unwrap())
    }

    #[test]
    fn roots_are_signed_as_the_auditor_checks_them() {
        for (algorithm, cose_algorithm) in
            [(&ECDSA_P256_SHA256_ASN1_SIGNING, -7), (&ECDSA_P384_SHA384_ASN1_SIGNING, -35)]
        {
            let ((node_key, node), (service_key, service)) = (key(algorithm), key(algorithm));
            let signer =
                KeySigner::new(Some(&node_key), "id".to_owned(), "old".to_owned(), &service_key).unwrap();
            signer.use_certificate("new".to_owned());
            signer.use_claims("issuer".to_owned(), "subject".to_owned());
            // Roots of every shape, also those that begin with zeros.
            for first in 0..=255_u8 {
                let mut root = sha256(&[first]);
                root.iter_mut().take(usize::from(first % 4)).for_each(|byte| *byte = 0);
                let signed = signer.sign(&root, TxId { view: 2, seqno: 7 }).unwrap();
                assert!(node.verifies_prehashed(&root, &signed.raw));
                assert!(!node.verifies_prehashed(&sha256(&root), &signed.raw));
                assert!(!service.verifies_prehashed(&root, &signed.raw));
                let message = CoseSign1::parse(&signed.cose).unwrap();
                assert!(message.tagged && message.payload.is_none());
                assert_eq!(message.algorithm(), Some(cose_algorithm));
                let bytes = message.signed_bytes(Some(&root)).unwrap();
                assert!(service.verifies_cose(&bytes, message.signature, cose_algorithm));
                assert_eq!((signed.node_id.as_str(), signed.node_certificate.as_str()), ("id", "new"));
            }
        }
    }

    #[test]
    fn where_only_the_service_signs_the_node_does_not() {
        let (service_key, _) = key(&ECDSA_P384_SHA384_ASN1_SIGNING);
        let signer = KeySigner::new(None, "id".to_owned(), String::new(), &service_key).unwrap();
        let signed = signer.sign(&[1; 32], TxId { view: 2, seqno: 7 }).unwrap();
        assert!(signed.raw.is_empty() && !signed.cose.is_empty());
    }

    #[test]
    fn other_keys_are_refused() {
        for wrong in [&[][..], b"not a key"] {
            assert!(KeySigner::new(None, String::new(), String::new(), wrong).is_err());
        }
    }
}
