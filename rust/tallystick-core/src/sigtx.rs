//! The values of a signature transaction: the node's signature (`public:ccf.internal.signatures`, JSON) and
//! the service's (`public:ccf.internal.cose_signatures`, a COSE_Sign1 in base64 in a JSON string).
//!
//! Parsing only: roots are compared and signatures verified elsewhere.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use serde::{Deserialize, Serialize};

use crate::cose::{CcfHeaders, CoseError, CoseSign1, VDS_CCF_LEDGER_SHA256, sig_structure};
use crate::error::Coded;
use crate::json::{JsonError, Reader};
use crate::types::{Digest, TxId, digest_from_hex};

/// Codes of this module; those of [`crate::json`], [`crate::cbor`] and [`crate::cose`] pass through it.
pub const CODES: &[&str] = &[
    "signature-key-missing",
    "signature-hex",
    "signature-base64",
    "signature-cose-untagged",
    "signature-cose-payload",
    "signature-cose-unprotected",
    "signature-cose-header-missing",
    "signature-cose-kid",
    "signature-cose-vds",
];

/// Why a value is not the signature that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigtxError {
    /// Not strict JSON, or of another type.
    #[error("signature: {0}")]
    Json(#[from] JsonError),
    /// Not a strict COSE_Sign1.
    #[error("COSE signature: {0}")]
    Cose(#[from] CoseError),
    /// A key that every node signature has.
    #[error("node signature: expected key {key:?}, got none")]
    KeyMissing {
        /// The key.
        key: &'static str,
    },
    /// Not a digest in hex.
    #[error("node signature: expected 64 lower-case hexadecimal digits as {key:?}, got {actual:?}")]
    Hex {
        /// The key.
        key: &'static str,
        /// The text, cut to 80 characters.
        actual: String,
    },
    /// Not base64.
    #[error("{what}: expected base64, got other text")]
    Base64 {
        /// Which value.
        what: &'static str,
    },
    /// CCF tags its signatures.
    #[error("COSE signature: expected tag 18, got an untagged array")]
    Untagged,
    /// The payload is the root, which is never attached.
    #[error("COSE signature: expected a detached payload, got {length} bytes")]
    Payload {
        /// Bytes attached.
        length: usize,
    },
    /// CCF writes no unprotected header.
    #[error("COSE signature: expected an empty unprotected header, got {count} labels")]
    Unprotected {
        /// Labels met.
        count: usize,
    },
    /// A header that every COSE signature of CCF has.
    #[error("COSE signature: expected protected header {name}, got none")]
    HeaderMissing {
        /// The header.
        name: &'static str,
    },
    /// The key identifier is the hex text of a digest.
    #[error("COSE signature: expected 64 lower-case hexadecimal digits as kid, got {length} bytes")]
    Kid {
        /// Bytes met.
        length: usize,
    },
    /// Another verifiable data structure.
    #[error("COSE signature: expected verifiable data structure 2 (CCF ledger), got {vds}")]
    Vds {
        /// The value met.
        vds: i64,
    },
}

impl Coded for SigtxError {
    fn code(&self) -> &'static str {
        match self {
            Self::Json(error) => error.code(),
            Self::Cose(error) => error.code(),
            Self::KeyMissing { .. } => "signature-key-missing",
            Self::Hex { .. } => "signature-hex",
            Self::Base64 { .. } => "signature-base64",
            Self::Untagged => "signature-cose-untagged",
            Self::Payload { .. } => "signature-cose-payload",
            Self::Unprotected { .. } => "signature-cose-unprotected",
            Self::HeaderMissing { .. } => "signature-cose-header-missing",
            Self::Kid { .. } => "signature-cose-kid",
            Self::Vds { .. } => "signature-cose-vds",
        }
    }

    fn is_limit(&self) -> bool {
        match self {
            Self::Json(error) => error.is_limit(),
            Self::Cose(error) => error.is_limit(),
            _ => false,
        }
    }
}

/// The value of `public:ccf.internal.signatures`, as claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawSignature {
    /// Id of the signing node: SHA-256 of its key.
    pub node: Digest,
    /// PEM of the signing node; absent in 1.x.
    pub certificate: Option<String>,
    /// The root that was signed.
    pub root: Digest,
    /// ECDSA over the root used as the digest, DER.
    pub signature: Vec<u8>,
    /// The signature transaction itself.
    pub txid: TxId,
    /// Keys that CCF does not write.
    pub unknown_keys: Vec<String>,
}

/// Parses a value of `public:ccf.internal.signatures`.
///
/// # Errors
/// [`SigtxError`].
pub fn parse_raw(value: &[u8]) -> Result<RawSignature, SigtxError> {
    let mut reader = Reader::new(value)?;
    let (mut node, mut root, mut signature) = (None, None, None);
    let (mut view, mut seqno, mut certificate) = (None, None, None);
    let mut unknown_keys = Vec::new();
    reader.object(|reader, key| -> Result<(), SigtxError> {
        match key {
            "cert" => certificate = Some(reader.string()?.into_owned()),
            "node" => node = Some(digest("node", &reader.string()?)?),
            "root" => root = Some(digest("root", &reader.string()?)?),
            "sig" => {
                let text = reader.string()?;
                let decoded = STANDARD.decode(text.as_bytes());
                signature =
                    Some(decoded.map_err(|_| SigtxError::Base64 { what: "node signature, key \"sig\"" })?);
            }
            "seqno" => seqno = Some(reader.unsigned()?),
            "view" => view = Some(reader.unsigned()?),
            // Left over from designs that CCF gave up; they carry nothing, but their types are checked.
            "commit_seqno" | "commit_view" => drop(reader.unsigned()?),
            "hashed_nonce" => drop(digest("hashed_nonce", &reader.string()?)?),
            other => {
                unknown_keys.push(other.to_owned());
                reader.skip()?;
            }
        }
        Ok(())
    })?;
    reader.end()?;
    let missing = |key| SigtxError::KeyMissing { key };
    Ok(RawSignature {
        node: node.ok_or(missing("node"))?,
        certificate,
        root: root.ok_or(missing("root"))?,
        signature: signature.ok_or(missing("sig"))?,
        txid: TxId { view: view.ok_or(missing("view"))?, seqno: seqno.ok_or(missing("seqno"))? },
        unknown_keys,
    })
}

fn digest(key: &'static str, text: &str) -> Result<Digest, SigtxError> {
    digest_from_hex(text).ok_or_else(|| SigtxError::Hex { key, actual: text.chars().take(80).collect() })
}

/// The value of `public:ccf.internal.cose_signatures`, as claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoseSignature {
    /// The COSE_Sign1.
    pub cose: Vec<u8>,
    /// Its protected header, serialised.
    pub protected: Vec<u8>,
    /// COSE algorithm.
    pub algorithm: i64,
    /// SHA-256 of the service key; absent in early 6.0 builds.
    pub kid: Option<Digest>,
    /// Seconds since 1970.
    pub issued_at: Option<i64>,
    /// Issuer; empty or absent in early 6.0 builds.
    pub issuer: Option<String>,
    /// Subject; empty or absent in early 6.0 builds.
    pub subject: Option<String>,
    /// The signature transaction itself.
    pub txid: TxId,
    /// Fixed-width r ‖ s.
    pub signature: Vec<u8>,
}

impl CoseSignature {
    /// The bytes that are signed when the root is `root`.
    #[must_use]
    pub fn signed_bytes(&self, root: &Digest) -> Vec<u8> {
        sig_structure(&self.protected, root)
    }
}

/// Parses a value of `public:ccf.internal.cose_signatures`.
///
/// # Errors
/// [`SigtxError`].
pub fn parse_cose(value: &[u8]) -> Result<CoseSignature, SigtxError> {
    let mut reader = Reader::new(value)?;
    let text = reader.string()?;
    reader.end()?;
    let cose = STANDARD.decode(text.as_bytes()).map_err(|_| SigtxError::Base64 { what: "COSE signature" })?;
    parse_cose_sign1(cose)
}

/// Parses the COSE_Sign1 itself.
///
/// # Errors
/// [`SigtxError`].
pub fn parse_cose_sign1(cose: Vec<u8>) -> Result<CoseSignature, SigtxError> {
    let sign1 = CoseSign1::parse(&cose)?;
    if !sign1.tagged {
        return Err(SigtxError::Untagged);
    }
    if let Some(payload) = sign1.payload {
        return Err(SigtxError::Payload { length: payload.len() });
    }
    if !sign1.unprotected_headers.is_empty() {
        return Err(SigtxError::Unprotected { count: sign1.unprotected_headers.len() });
    }
    let headers = CcfHeaders::read(&sign1.protected_headers)?;
    let missing = |name| SigtxError::HeaderMissing { name };
    let vds = headers.vds.ok_or(missing("vds (395)"))?;
    if vds != VDS_CCF_LEDGER_SHA256 {
        return Err(SigtxError::Vds { vds });
    }
    let kid =
        headers.kid.map(|kid| kid_digest(kid).ok_or(SigtxError::Kid { length: kid.len() })).transpose()?;
    let algorithm = headers.algorithm.ok_or(missing("alg (1)"))?;
    let txid = headers.txid.ok_or(missing("ccf.v1 txid"))?;
    let (issuer, subject) = (headers.issuer.map(str::to_owned), headers.subject.map(str::to_owned));
    let (protected, signature) = (sign1.protected.to_vec(), sign1.signature.to_vec());
    let issued_at = headers.issued_at;
    Ok(CoseSignature { protected, algorithm, kid, issued_at, issuer, subject, txid, signature, cose })
}

/// The digest that a key identifier of CCF spells in hex.
#[must_use]
pub fn kid_digest(kid: &[u8]) -> Option<Digest> {
    digest_from_hex(std::str::from_utf8(kid).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::to_hex;

    const ROOT: &str = "560e72c2db78020d6322854e59dbc69ed34f718e93ba377031d32e0247c3f65e";
    const NODE: &str = "fac07a156b829456395d32ca1334c2f0d90e85b3eedc3c162739c4825cc9d63f";

    fn raw(members: &str) -> Result<RawSignature, SigtxError> {
        parse_raw(format!("{{{members}}}").as_bytes())
    }

    fn whole() -> String {
        format!(
            "\"cert\":\"-----BEGIN\\nEND\\n\",\"commit_seqno\":0,\"commit_view\":0,\"hashed_nonce\":\"{}\",\
             \"node\":\"{NODE}\",\"root\":\"{ROOT}\",\"seqno\":2,\"sig\":\"MGUCMA==\",\"view\":2",
            "0".repeat(64)
        )
    }

    #[test]
    fn node_signature_is_read() {
        let signature = raw(&whole()).unwrap();
        assert_eq!(to_hex(&signature.root), ROOT);
        assert_eq!(to_hex(&signature.node), NODE);
        assert_eq!(signature.signature, [0x30, 0x65, 0x02, 0x30]);
        assert_eq!(signature.txid, TxId { view: 2, seqno: 2 });
        assert_eq!(signature.certificate.as_deref(), Some("-----BEGIN\nEND\n"));
        assert!(signature.unknown_keys.is_empty());
        let extended = raw(&format!("{},\"primary\":{{\"x\":[]}}", whole())).unwrap();
        assert_eq!(extended.unknown_keys, ["primary"]);
    }

    #[test]
    fn damaged_node_signatures_are_refused() {
        let code = |members: &str| raw(members).unwrap_err().code();
        for key in ["node", "root", "sig", "seqno", "view"] {
            let without = whole().replace(&format!("\"{key}\""), "\"other\"");
            assert_eq!(code(&without), "signature-key-missing", "{key}");
        }
        assert_eq!(code(&whole().replace(ROOT, &ROOT.to_uppercase())), "signature-hex");
        assert_eq!(code(&whole().replace(NODE, &NODE[1..])), "signature-hex");
        assert_eq!(code(&whole().replace("MGUCMA==", "MGUCMA=")), "signature-base64");
        assert_eq!(code(&whole().replace("MGUCMA==", "MGUCMB==")), "signature-base64");
        assert_eq!(code(&whole().replace("MGUCMA==", "MGUC MA==")), "signature-base64");
        assert_eq!(code(&whole().replace("\"view\":2", "\"view\":\"2\"")), "json-type");
        assert_eq!(code(&format!("{},\"view\":2", whole())), "json-duplicate-key");
        assert_eq!(parse_raw(format!("{{{}}} ", whole()).as_bytes()).err(), None);
        assert_eq!(
            parse_raw(format!("{{{}}}x", whole()).as_bytes()).unwrap_err().code(),
            "json-trailing-bytes"
        );
    }

    const COSE: &str = "d284588ca50138220458406466373738373564613534353264356434656263613265393063363434666264653966\
        663936623932626336353561383939666463393137313634316666646219018b020fa3061a682464970173736572766963652e6578\
        616d706c652e636f6d02706c65646765722e7369676e6174757265666363662e7631a1647478696464322e3136a0f6586044ef95f2\
        e48868f3bc57cef8f29c12f38c6a9dd2c84ac3f69a7c67eeff348ba57ce581c906189088d316bd78515c55580d230c2fa5e05eb6d3\
        fcb269f502e58ab3403b043852131abb27ac2bb57f2f8076870810ec5cefe5cfe590d3183e271a";

    fn cose() -> Vec<u8> {
        (0..COSE.len()).step_by(2).map(|i| u8::from_str_radix(&COSE[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn service_signature_of_a_real_ledger_is_read() {
        let value = format!("\"{}\"", STANDARD.encode(cose()));
        let signature = parse_cose(value.as_bytes()).unwrap();
        assert_eq!(signature.cose, cose());
        assert_eq!(signature.algorithm, -35);
        assert_eq!(
            to_hex(&signature.kid.unwrap()),
            "df77875da5452d5d4ebca2e90c644fbde9ff96b92bc655a899fdc9171641ffdb"
        );
        assert_eq!(signature.issued_at, Some(1_747_215_511));
        assert_eq!(signature.issuer.as_deref(), Some("service.example.com"));
        assert_eq!(signature.subject.as_deref(), Some("ledger.signature"));
        assert_eq!(signature.txid, TxId { view: 2, seqno: 16 });
        assert_eq!(signature.signature.len(), 96);
        assert_eq!(parse_cose(b"[]").unwrap_err().code(), "json-type");
        assert_eq!(parse_cose(b"\"0oRY\n\"").unwrap_err().code(), "json-syntax");
        assert_eq!(parse_cose(b"\"0oRY!\"").unwrap_err().code(), "signature-base64");
        assert_eq!(parse_cose(b"\"0oRY\"").unwrap_err().code(), "cbor-truncated");
    }

    #[test]
    fn damaged_service_signatures_are_refused() {
        let replaced = |from: &str, to: &str| {
            let text = to_hex(&cose()).replacen(from, to, 1);
            let bytes = (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap());
            parse_cose_sign1(bytes.collect()).unwrap_err().code()
        };
        assert_eq!(replaced("d284", "84"), "signature-cose-untagged");
        assert_eq!(replaced("a0f65860", "a041aa5860"), "signature-cose-payload");
        assert_eq!(replaced("a0f65860", "a10500f65860"), "signature-cose-unprotected");
        assert_eq!(replaced("19018b02", "19018b01"), "signature-cose-vds");
        assert_eq!(replaced("19018b02", "19018a02"), "signature-cose-header-missing");
        assert_eq!(replaced("a5013822", "a5073822"), "signature-cose-header-missing");
        assert_eq!(replaced("647478696464322e3136", "647478797964322e3136"), "signature-cose-header-missing");
        assert_eq!(replaced("04584064", "04584044"), "signature-cose-kid");
        assert_eq!(replaced("64322e3136", "64302d3136"), "cose-header-type");
    }
}
