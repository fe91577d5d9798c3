//! X.509 certificates, as far as CCF uses them: a key, who signed it, and some words to print.
//!
//! CCF certificates bind node keys to a service key. Path validation in the sense of RFC 5280 section 6 (names,
//! dates, key usage) is neither done by CCF nor wanted here: ledgers outlive their certificates. Whether one
//! certificate's key signed another is for the caller to ask, with [`Certificate::tbs`] and
//! [`Certificate::signature`].
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::error::Coded;
use crate::limits::{MAX_CERTIFICATE_BYTES, MAX_CERTIFICATES};
use crate::types::Digest;

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// Codes of this module.
pub const CODES: &[&str] = &["certificate-malformed"];

/// Why bytes are not a certificate.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum X509Error {
    /// Longer than the limit.
    #[error("certificate is too long: expected at most {limit} bytes, got {actual}")]
    TooLong {
        /// The limit.
        limit: usize,
        /// Bytes given.
        actual: usize,
    },
    /// More certificates than the limit.
    #[error("certificate file holds too many certificates: expected at most {MAX_CERTIFICATES}")]
    TooMany,
    /// No PEM block and no DER.
    #[error("certificate is neither PEM nor DER")]
    NotACertificate,
    /// The PEM armour is damaged.
    #[error("certificate PEM is malformed: {0}")]
    Pem(&'static str),
    /// The DER is damaged.
    #[error("certificate DER is malformed: {0}")]
    Der(String),
    /// Bytes after the certificate.
    #[error("certificate is followed by {0} more bytes")]
    Trailing(usize),
    /// Another number of certificates than one.
    #[error("expected exactly one certificate, got {0}")]
    NotOne(usize),
}

impl Coded for X509Error {
    fn code(&self) -> &'static str {
        "certificate-malformed"
    }
    fn is_limit(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::TooMany)
    }
}

/// A parsed certificate. Nothing about it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Vec<u8>,
    spki: Vec<u8>,
    signature: Vec<u8>,
    signature_algorithm: String,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    subject_text: String,
    issuer_text: String,
    serial: String,
    not_before: i64,
    not_after: i64,
    is_ca: bool,
    extensions: Vec<(String, Vec<u8>)>,
}

impl Certificate {
    /// Parses one certificate, the whole of `data`: DER, or one PEM block with nothing but white space around it.
    ///
    /// # Errors
    /// The bytes are anything else.
    pub fn parse(data: &[u8]) -> Result<Self, X509Error> {
        if looks_like_der(data) {
            return Self::parse_der(data);
        }
        let text = std::str::from_utf8(data).map_err(|_| X509Error::NotACertificate)?;
        let (ders, stray) = decode_pem(text)?;
        match ders.as_slice() {
            [one] if !stray => Self::parse_der(one),
            [_] => Err(X509Error::Pem("text around the certificate")),
            many => Err(X509Error::NotOne(many.len())),
        }
    }

    /// Parses a file of certificates: one in DER, or any number of PEM blocks with explanatory text between
    /// them (RFC 7468 section 2).
    ///
    /// # Errors
    /// There is no certificate in it, or one of them is malformed.
    pub fn parse_many(data: &[u8]) -> Result<Vec<Self>, X509Error> {
        if looks_like_der(data) {
            return Ok(vec![Self::parse_der(data)?]);
        }
        let text = std::str::from_utf8(data).map_err(|_| X509Error::NotACertificate)?;
        let (ders, _) = decode_pem(text)?;
        if ders.is_empty() {
            return Err(X509Error::NotACertificate);
        }
        ders.iter().map(|der| Self::parse_der(der)).collect()
    }

    fn parse_der(data: &[u8]) -> Result<Self, X509Error> {
        if data.len() > MAX_CERTIFICATE_BYTES {
            return Err(X509Error::TooLong { limit: MAX_CERTIFICATE_BYTES, actual: data.len() });
        }
        let (rest, parsed) =
            X509Certificate::from_der(data).map_err(|error| X509Error::Der(error.to_string()))?;
        if !rest.is_empty() {
            return Err(X509Error::Trailing(rest.len()));
        }
        let tbs = &parsed.tbs_certificate;
        check_frame(data)?;
        Ok(Self {
            der: data.to_vec(),
            tbs: tbs.as_ref().to_vec(),
            spki: tbs.subject_pki.raw.to_vec(),
            signature: parsed.signature_value.data.to_vec(),
            signature_algorithm: parsed.signature_algorithm.algorithm.to_id_string(),
            subject: tbs.subject.as_raw().to_vec(),
            issuer: tbs.issuer.as_raw().to_vec(),
            subject_text: tbs.subject.to_string(),
            issuer_text: tbs.issuer.to_string(),
            serial: tbs.raw_serial_as_string().replace(':', ""),
            not_before: tbs.validity.not_before.timestamp(),
            not_after: tbs.validity.not_after.timestamp(),
            is_ca: tbs.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca),
            extensions: tbs
                .extensions()
                .iter()
                .map(|extension| (extension.oid.to_id_string(), extension.value.to_vec()))
                .collect(),
        })
    }

    /// The certificate in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }
    /// The signed part.
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }
    /// The SubjectPublicKeyInfo, in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
    /// The issuer's signature over [`Self::tbs`]; DER `ECDSA-Sig-Value` for ECDSA.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
    /// Object identifier of the signature algorithm, dotted.
    #[must_use]
    pub fn signature_algorithm(&self) -> &str {
        &self.signature_algorithm
    }
    /// The hash of an `ecdsa-with-SHA…` signature (RFC 5758 section 3.2); None for other algorithms.
    #[must_use]
    pub fn ecdsa_hash(&self) -> Option<&'static str> {
        match self.signature_algorithm.as_str() {
            "1.2.840.10045.4.3.2" => Some("sha256"),
            "1.2.840.10045.4.3.3" => Some("sha384"),
            "1.2.840.10045.4.3.4" => Some("sha512"),
            _ => None,
        }
    }
    /// The subject name, in DER.
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }
    /// The issuer name, in DER.
    #[must_use]
    pub fn issuer(&self) -> &[u8] {
        &self.issuer
    }
    /// The subject name, for people.
    #[must_use]
    pub fn subject_text(&self) -> &str {
        &self.subject_text
    }
    /// The issuer name, for people.
    #[must_use]
    pub fn issuer_text(&self) -> &str {
        &self.issuer_text
    }
    /// The serial number, hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }
    /// Start of validity, seconds since 1970.
    #[must_use]
    pub fn not_before(&self) -> i64 {
        self.not_before
    }
    /// End of validity, seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }
    /// Whether the basic constraints say that this is a certificate authority.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// The value of the extension with object identifier `oid` (dotted), as the certificate holds it.
    #[must_use]
    pub fn extension(&self, oid: &str) -> Option<&[u8]> {
        self.extensions.iter().find(|(name, _)| name == oid).map(|(_, value)| value.as_slice())
    }
    /// SHA-256 of the certificate: a member or user id.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        Sha256::digest(&self.der).into()
    }
    /// SHA-256 of the SubjectPublicKeyInfo: a node id, or a service key's fingerprint.
    #[must_use]
    pub fn spki_sha256(&self) -> Digest {
        Sha256::digest(&self.spki).into()
    }
}

fn looks_like_der(data: &[u8]) -> bool {
    // A certificate is a SEQUENCE; ASCII '0' is the same byte, but no PEM file starts with it.
    data.first() == Some(&0x30)
}

/// Checks what nobody signs: the frame around the signed part, in which the parser accepts more than DER.
///
/// A certificate is `SEQUENCE { signed part, algorithm, BIT STRING signature }`, and the algorithm must be byte
/// for byte the one inside the signed part (RFC 5280 section 4.1.1.2).
fn check_frame(data: &[u8]) -> Result<(), X509Error> {
    let frame = || -> Option<()> {
        let (whole, nothing) = element(0x30, data)?;
        let (signed, rest) = element(0x30, whole)?;
        let (algorithm, rest) = element(0x30, rest)?;
        let (signature, end) = element(0x03, rest)?;
        let after_version = element(0xa0, signed).map_or(signed, |(_, rest)| rest);
        let (_, after_serial) = element(0x02, after_version)?;
        let (inner_algorithm, _) = element(0x30, after_serial)?;
        let same = algorithm == inner_algorithm;
        // No unused bits: signatures are whole bytes.
        (same && nothing.is_empty() && end.is_empty() && signature.first() == Some(&0)).then_some(())
    };
    frame().ok_or_else(|| {
        X509Error::Der("frame or signature algorithm is not DER, or differs from what is signed".into())
    })
}

/// Splits off one element with that tag: its content, and what follows it. Lengths in their shortest form only.
fn element(tag: u8, data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = data.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let (length, rest) = match length {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let value = bytes.iter().fold(0_usize, |value, &byte| value << 8 | usize::from(byte));
            let shortest = if bytes.len() == 1 { value > 0x7f } else { bytes.first() != Some(&0) };
            (shortest.then_some(value)?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The DER of every PEM block of `text`, and whether there is anything but white space around the blocks.
fn decode_pem(text: &str) -> Result<(Vec<Vec<u8>>, bool), X509Error> {
    let mut ders = Vec::new();
    let mut stray = false;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(PEM_BEGIN) {
        stray |= !before.trim().is_empty();
        let (body, next) = after.split_once(PEM_END).ok_or(X509Error::Pem("no END line"))?;
        if body.len() > MAX_CERTIFICATE_BYTES * 2 {
            return Err(X509Error::TooLong { limit: MAX_CERTIFICATE_BYTES, actual: body.len() / 4 * 3 });
        }
        if ders.len() == MAX_CERTIFICATES {
            return Err(X509Error::TooMany);
        }
        let compact: String = body.chars().filter(|c| !matches!(c, ' ' | '\t' | '\r' | '\n')).collect();
        ders.push(STANDARD.decode(compact).map_err(|_| X509Error::Pem("not base64"))?);
        rest = next;
    }
    stray |= !rest.trim().is_empty();
    if ders.is_empty() {
        return Err(X509Error::NotACertificate);
    }
    Ok((ders, stray))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::to_hex;

    // Vector 8 of the format notes: the node certificate in a signature transaction of a CCF 6 service.
    const NODE_PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIByTCCAVCgAwIBAgIQHgYdvhaU4oqn5yak1OesJDAKBggqhkjOPQQDAzAbMRkw\nFwYDVQQDDBBDQ0YgVGVzdCBTZXJ2aWNlMB4XDTI1MDUxNDA5MzgyOVoXDTI1MDgx\nMjA5MzgyOFowEzERMA8GA1UEAwwIQ0NGIE5vZGUwdjAQBgcqhkjOPQIBBgUrgQQA\nIgNiAAQHZP1g2aHJK9BjNb8a1L9jRiNiAlczUaCSP/96mYNUjguzn51P7N46iUoA\nDDUEFzJSUFyf8cM1zxuQstLcXLc9PJwhDL2HN7ws/Qzbb4Z8k3G1yRe4wMAEfZie\nDo9vCxijYTBfMAwGA1UdEwEB/wQCMAAwHQYDVR0OBBYEFGsGK+WGP7hcl8/sKTgN\nYIK7B2U8MB8GA1UdIwQYMBaAFGOM7cxAKjqDINga++n9fP/VYD3/MA8GA1UdEQQI\nMAaHBH8AAAEwCgYIKoZIzj0EAwMDZwAwZAIwAzsWxyTdu4Atl143P5fK4s/lEno/\nxlB0l5T2WK0zD5DlPSkWZLYSZaKWBZXqUjHIAjAcVwU8qpNQLl9HjRM62EOD3P6z\n14KPB9ljcXW0FxUT5UUiUbeC/OJlxq4wL7ksiOg=\n-----END CERTIFICATE-----\n";

    #[test]
    fn reads_a_node_certificate() {
        let certificate = Certificate::parse(NODE_PEM.as_bytes()).unwrap();
        assert_eq!(
            to_hex(&certificate.spki_sha256()),
            "fac07a156b829456395d32ca1334c2f0d90e85b3eedc3c162739c4825cc9d63f"
        );
        assert_eq!(certificate.ecdsa_hash(), Some("sha384"));
        assert_eq!(certificate.subject_text(), "CN=CCF Node");
        assert_eq!(certificate.issuer_text(), "CN=CCF Test Service");
        assert!(!certificate.is_ca());
        assert_eq!(certificate.not_after() - certificate.not_before(), 90 * 86_400 - 1);
        let again = Certificate::parse(certificate.der()).unwrap();
        assert_eq!(again, certificate);
    }

    #[test]
    fn refuses_what_is_not_exactly_one_certificate() {
        let twice = format!("{NODE_PEM}{NODE_PEM}");
        assert_eq!(Certificate::parse(twice.as_bytes()), Err(X509Error::NotOne(2)));
        assert_eq!(Certificate::parse_many(twice.as_bytes()).unwrap().len(), 2);
        let commented = format!("hello\n{NODE_PEM}");
        assert!(matches!(Certificate::parse(commented.as_bytes()), Err(X509Error::Pem(_))));
        assert_eq!(Certificate::parse_many(commented.as_bytes()).unwrap().len(), 1);
        let mut der = Certificate::parse(NODE_PEM.as_bytes()).unwrap().der().to_vec();
        der.push(0);
        assert_eq!(Certificate::parse(&der), Err(X509Error::Trailing(1)));
        assert_eq!(Certificate::parse(b"nothing"), Err(X509Error::NotACertificate));
        assert_eq!(Certificate::parse(b""), Err(X509Error::NotACertificate));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_survived() {
        let der = Certificate::parse(NODE_PEM.as_bytes()).unwrap().der().to_vec();
        for length in 0..der.len() {
            assert!(Certificate::parse(der.get(..length).unwrap()).is_err(), "cut at {length}");
        }
        let original = Certificate::parse(&der).unwrap();
        for bit in 0..der.len() * 8 {
            let mut changed = der.clone();
            *changed.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            // Whatever still parses differs in what is signed, or in the signature.
            if let Ok(certificate) = Certificate::parse(&changed) {
                assert!(
                    certificate.tbs() != original.tbs() || certificate.signature() != original.signature(),
                    "bit {bit}"
                );
            }
        }
    }
}
