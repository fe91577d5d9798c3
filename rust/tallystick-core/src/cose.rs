//! COSE_Sign1 (RFC 9052 section 4.2) and the protected headers that CCF puts into it.
//!
//! Parsing says what is claimed; whether a signature holds is for [`crate::signature`].
use crate::cbor::{self, CborError, Decoder, Map, Value, encode_bytes, encode_head, encode_text, major};
use crate::error::Coded;
use crate::types::TxId;

/// Tag of COSE_Sign1.
pub const TAG_SIGN1: u64 = 18;
/// Tag of a time as a number (RFC 8949 section 3.4.2).
const TAG_EPOCH_TIME: u64 = 1;

/// Header labels (IANA COSE header parameters).
pub mod label {
    /// Algorithm.
    pub const ALGORITHM: i64 = 1;
    /// Headers that must be understood.
    pub const CRITICAL: i64 = 2;
    /// Key identifier.
    pub const KID: i64 = 4;
    /// CWT claims (RFC 9597).
    pub const CWT_CLAIMS: i64 = 15;
    /// Receipts of a transparent statement.
    pub const RECEIPTS: i64 = 394;
    /// Verifiable data structure (RFC 9942).
    pub const VDS: i64 = 395;
    /// Verifiable data structure proofs (RFC 9942).
    pub const VDP: i64 = 396;
    /// CCF's own claims.
    pub const CCF: &str = "ccf.v1";
}

/// Claims of a CWT (RFC 8392).
mod claim {
    pub const ISSUER: i64 = 1;
    pub const SUBJECT: i64 = 2;
    pub const ISSUED_AT: i64 = 6;
}

/// Value of [`label::VDS`] for a CCF ledger.
pub const VDS_CCF_LEDGER_SHA256: i64 = 2;

/// Codes of this module; those of [`crate::cbor`] pass through it.
pub const CODES: &[&str] = &[
    "cose-tag",
    "cose-array-length",
    "cose-signature-empty",
    "cose-duplicate-label",
    "cose-header-type",
    "cose-header-critical",
    "cose-payload-twice",
    "cose-payload-missing",
];

/// Why bytes are not the COSE_Sign1 that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoseError {
    /// Not strict CBOR.
    #[error("COSE: {0}")]
    Cbor(#[from] CborError),
    /// Not strict CBOR, inside the protected header.
    #[error("COSE protected header: {0}")]
    Protected(CborError),
    /// Another tag.
    #[error("COSE: expected tag 18 (COSE_Sign1), got tag {tag}")]
    Tag {
        /// The tag met.
        tag: u64,
    },
    /// Not four items.
    #[error("COSE_Sign1: expected an array of 4 items, got {length}")]
    ArrayLength {
        /// Items met.
        length: u64,
    },
    /// A signature of no bytes.
    #[error("COSE_Sign1: expected a signature, got an empty byte string")]
    SignatureEmpty,
    /// A label in both headers.
    #[error("COSE_Sign1: expected each label in one header, got {label} in both")]
    DuplicateLabel {
        /// The label, in diagnostic notation.
        label: String,
    },
    /// A header of another type.
    #[error("COSE protected header {name}: expected {expected}")]
    HeaderType {
        /// The header.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Headers marked critical that the reader does not know.
    #[error("COSE protected header: expected no critical headers, got some")]
    Critical,
    /// A detached payload for a message that has one.
    #[error("COSE_Sign1: expected no detached payload beside an attached one, got {length} bytes")]
    PayloadTwice {
        /// Bytes of the detached payload.
        length: usize,
    },
    /// No payload at all.
    #[error("COSE_Sign1: expected a detached payload where the payload is nil, got none")]
    PayloadMissing,
}

impl CoseError {
    /// Offset into the message, where one is known.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        if let Self::Cbor(error) = self { Some(error.offset()) } else { None }
    }
}

impl Coded for CoseError {
    fn code(&self) -> &'static str {
        match self {
            Self::Cbor(error) | Self::Protected(error) => error.code(),
            Self::Tag { .. } => "cose-tag",
            Self::ArrayLength { .. } => "cose-array-length",
            Self::SignatureEmpty => "cose-signature-empty",
            Self::DuplicateLabel { .. } => "cose-duplicate-label",
            Self::HeaderType { .. } => "cose-header-type",
            Self::Critical => "cose-header-critical",
            Self::PayloadTwice { .. } => "cose-payload-twice",
            Self::PayloadMissing => "cose-payload-missing",
        }
    }

    fn is_limit(&self) -> bool {
        matches!(self, Self::Cbor(error) | Self::Protected(error) if error.is_limit())
    }
}

/// A parsed COSE_Sign1, borrowed from its encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoseSign1<'a> {
    /// Whether tag 18 stands in front.
    pub tagged: bool,
    /// The protected header, serialised, as signed.
    pub protected: &'a [u8],
    /// The protected header, decoded.
    pub protected_headers: Map<'a>,
    /// The unprotected header, serialised.
    pub unprotected: &'a [u8],
    /// The unprotected header, decoded.
    pub unprotected_headers: Map<'a>,
    /// `None` when detached (nil).
    pub payload: Option<&'a [u8]>,
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> CoseSign1<'a> {
    /// Parses the whole of `bytes` as one COSE_Sign1, tagged or not.
    ///
    /// # Errors
    /// [`CoseError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CoseError> {
        let mut decoder = Decoder::new(bytes);
        let tagged = decoder.at_tag();
        if tagged {
            let tag = decoder.tag()?;
            if tag != TAG_SIGN1 {
                return Err(CoseError::Tag { tag });
            }
        }
        let length = decoder.array()?;
        if length != 4 {
            return Err(CoseError::ArrayLength { length });
        }
        let protected = decoder.byte_string()?;
        let protected_headers = Self::parse_protected(protected)?;
        let before = decoder.position();
        let unprotected_headers = match decoder.value()? {
            Value::Map(map) => map,
            _ => {
                return Err(
                    CborError::Type { offset: before, expected: "a map", found: "another item" }.into()
                );
            }
        };
        let unprotected = bytes.get(before..decoder.position()).unwrap_or_default();
        let payload = if decoder.at_null() {
            decoder.null()?;
            None
        } else {
            Some(decoder.byte_string()?)
        };
        let signature = decoder.byte_string()?;
        decoder.end()?;
        if signature.is_empty() {
            return Err(CoseError::SignatureEmpty);
        }
        for (key, _) in &unprotected_headers {
            if protected_headers.iter().any(|(other, _)| other == key) {
                return Err(CoseError::DuplicateLabel { label: cbor::diagnostic(key) });
            }
        }
        Ok(Self {
            tagged,
            protected,
            protected_headers,
            unprotected,
            unprotected_headers,
            payload,
            signature,
        })
    }

    fn parse_protected(protected: &'a [u8]) -> Result<Map<'a>, CoseError> {
        if protected.is_empty() {
            return Ok(Map::new());
        }
        match cbor::decode(protected).map_err(CoseError::Protected)? {
            Value::Map(map) => Ok(map),
            _ => Err(CoseError::HeaderType { name: "as a whole", expected: "a map" }),
        }
    }

    /// Protected header 1.
    #[must_use]
    pub fn algorithm(&self) -> Option<i64> {
        cbor::get_integer(&self.protected_headers, label::ALGORITHM).and_then(Value::as_integer)
    }

    /// The bytes that are signed, with `detached` in place of a nil payload.
    ///
    /// # Errors
    /// [`CoseError::PayloadTwice`] or [`CoseError::PayloadMissing`] when there is not exactly one payload.
    pub fn signed_bytes(&self, detached: Option<&[u8]>) -> Result<Vec<u8>, CoseError> {
        match (self.payload, detached) {
            (Some(payload), None) | (None, Some(payload)) => Ok(sig_structure(self.protected, payload)),
            (Some(_), Some(detached)) => Err(CoseError::PayloadTwice { length: detached.len() }),
            (None, None) => Err(CoseError::PayloadMissing),
        }
    }
}

/// The Sig_structure of RFC 9052 section 4.4, without external data.
#[must_use]
pub fn sig_structure(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    // "If there are no protected attributes, a zero-length byte string is used", however they were written.
    let protected = if protected == [0xa0] { &[] } else { protected };
    let mut out = Vec::with_capacity(protected.len() + payload.len() + 32);
    encode_head(&mut out, major::ARRAY, 4);
    encode_text(&mut out, "Signature1");
    encode_bytes(&mut out, protected);
    encode_bytes(&mut out, &[]);
    encode_bytes(&mut out, payload);
    out
}

/// The protected headers of a CCF signature or receipt, as claimed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CcfHeaders<'a> {
    /// COSE algorithm.
    pub algorithm: Option<i64>,
    /// Key identifier; CCF writes the ASCII hex SHA-256 of the service key.
    pub kid: Option<&'a [u8]>,
    /// Verifiable data structure.
    pub vds: Option<i64>,
    /// CWT claim `iat`, seconds since 1970.
    pub issued_at: Option<i64>,
    /// CWT claim `iss`.
    pub issuer: Option<&'a str>,
    /// CWT claim `sub`.
    pub subject: Option<&'a str>,
    /// `ccf.v1` / `txid`: the signature transaction.
    pub txid: Option<TxId>,
}

impl<'a> CcfHeaders<'a> {
    /// Reads the headers that CCF defines; others are left alone, unless they are marked critical.
    ///
    /// # Errors
    /// [`CoseError`] when one is of another type than CCF gives it, or any is critical.
    pub fn read(protected_headers: &Map<'a>) -> Result<Self, CoseError> {
        let mut headers = Self::default();
        for (key, value) in protected_headers {
            match (key.as_integer(), key.as_text()) {
                (Some(label::ALGORITHM), _) => headers.algorithm = Some(integer("alg (1)", value)?),
                (Some(label::CRITICAL), _) => return Err(CoseError::Critical),
                (Some(label::KID), _) => {
                    let expected = "a byte string";
                    headers.kid =
                        Some(value.as_bytes().ok_or(CoseError::HeaderType { name: "kid (4)", expected })?);
                }
                (Some(label::CWT_CLAIMS), _) => headers.read_claims(value)?,
                (Some(label::VDS), _) => headers.vds = Some(integer("vds (395)", value)?),
                (_, Some(label::CCF)) => headers.read_ccf(value)?,
                _ => {}
            }
        }
        Ok(headers)
    }

    fn read_claims(&mut self, value: &Value<'a>) -> Result<(), CoseError> {
        let claims =
            value.as_map().ok_or(CoseError::HeaderType { name: "CWT claims (15)", expected: "a map" })?;
        for (key, value) in claims {
            match key.as_integer() {
                Some(claim::ISSUER) => self.issuer = Some(text("CWT claim iss (15.1)", value)?),
                Some(claim::SUBJECT) => self.subject = Some(text("CWT claim sub (15.2)", value)?),
                Some(claim::ISSUED_AT) => self.issued_at = Some(time("CWT claim iat (15.6)", value)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_ccf(&mut self, value: &Value<'a>) -> Result<(), CoseError> {
        let claims = value.as_map().ok_or(CoseError::HeaderType { name: "ccf.v1", expected: "a map" })?;
        if let Some(value) = cbor::get_text(claims, "txid") {
            let txid = text("ccf.v1 txid", value)?;
            let expected = "a transaction ID, view.seqno";
            self.txid =
                Some(TxId::parse(txid).ok_or(CoseError::HeaderType { name: "ccf.v1 txid", expected })?);
        }
        Ok(())
    }
}

fn integer(name: &'static str, value: &Value<'_>) -> Result<i64, CoseError> {
    value.as_integer().ok_or(CoseError::HeaderType { name, expected: "an integer" })
}

fn text<'a>(name: &'static str, value: &Value<'a>) -> Result<&'a str, CoseError> {
    value.as_text().ok_or(CoseError::HeaderType { name, expected: "text" })
}

fn time(name: &'static str, value: &Value<'_>) -> Result<i64, CoseError> {
    let number = match value {
        Value::Tag(TAG_EPOCH_TIME, number) => number,
        number => number,
    };
    number.as_integer().ok_or(CoseError::HeaderType { name, expected: "whole seconds since 1970" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::to_hex;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn message(prefix: &str, protected: &str, unprotected: &str, rest: &str) -> Vec<u8> {
        let mut out = hex(prefix);
        encode_bytes(&mut out, &hex(protected));
        out.extend(hex(unprotected));
        out.extend(hex(rest));
        out
    }

    #[test]
    fn shapes_of_sign1() {
        let parse = |bytes: &[u8]| CoseSign1::parse(bytes).map(|_| ()).map_err(|error| error.code());
        assert_eq!(parse(&message("d284", "a10126", "a0", "f64101")), Ok(()));
        assert_eq!(parse(&message("84", "", "a0", "41ff4101")), Ok(()));
        assert_eq!(parse(&message("d184", "a10126", "a0", "f64101")), Err("cose-tag"));
        assert_eq!(parse(&message("d2d284", "a10126", "a0", "f64101")), Err("cbor-type"));
        assert_eq!(parse(&message("d283", "a10126", "a0", "f6")), Err("cose-array-length"));
        assert_eq!(parse(&message("d285", "a10126", "a0", "f6410100")), Err("cose-array-length"));
        assert_eq!(parse(&message("d284", "a10126", "a0", "f640")), Err("cose-signature-empty"));
        assert_eq!(parse(&message("d284", "a10126", "80", "f64101")), Err("cbor-type"));
        assert_eq!(parse(&message("d284", "a10126", "a10126", "f64101")), Err("cose-duplicate-label"));
        assert_eq!(parse(&message("d284", "80", "a0", "f64101")), Err("cose-header-type"));
        assert_eq!(parse(&message("d284", "a1012600", "a0", "f64101")), Err("cbor-trailing-bytes"));
        assert_eq!(parse(&message("d284", "a10126", "a0", "f6410100")), Err("cbor-trailing-bytes"));
        assert_eq!(parse(&message("d284", "a10126", "a0", "604101")), Err("cbor-type"));
        assert_eq!(parse(&message("d284", "a2012601380a", "a0", "f64101")), Err("cbor-duplicate-key"));
    }

    #[test]
    fn exactly_one_payload_is_signed() {
        let detached = message("d284", "a10126", "a0", "f64101");
        let attached = message("d284", "a10126", "a0", "42aabb4101");
        let (detached, attached) =
            (CoseSign1::parse(&detached).unwrap(), CoseSign1::parse(&attached).unwrap());
        let expected = "846a5369676e61747572653143a101264042aabb";
        assert_eq!(to_hex(&attached.signed_bytes(None).unwrap()), expected);
        assert_eq!(to_hex(&detached.signed_bytes(Some(&[0xaa, 0xbb])).unwrap()), expected);
        assert_eq!(detached.signed_bytes(None).unwrap_err().code(), "cose-payload-missing");
        assert_eq!(attached.signed_bytes(Some(&[])).unwrap_err().code(), "cose-payload-twice");
        assert_eq!(sig_structure(&[0xa0], &[1]), sig_structure(&[], &[1]));
    }

    #[test]
    fn headers_of_another_type_are_refused() {
        let read = |map: &str| {
            let bytes = hex(map);
            let value = cbor::decode(&bytes).unwrap();
            CcfHeaders::read(value.as_map().unwrap()).map(|_| ()).map_err(|error| error.code())
        };
        assert_eq!(read("a10126"), Ok(()));
        assert_eq!(read("a1016126"), Err("cose-header-type"));
        assert_eq!(read("a10281616b"), Err("cose-header-critical"));
        assert_eq!(read("a1046161"), Err("cose-header-type"));
        assert_eq!(read("a119018b6132"), Err("cose-header-type"));
        assert_eq!(read("a10f00"), Err("cose-header-type"));
        assert_eq!(read("a10fa10601"), Ok(()));
        assert_eq!(read("a10fa106c101"), Ok(()));
        assert_eq!(read("a10fa106c201"), Err("cose-header-type"));
        assert_eq!(read("a10fa10101"), Err("cose-header-type"));
        assert_eq!(read("a1666363662e7631a1647478696463322e31"), Ok(()));
        assert_eq!(read("a1666363662e7631a164747869646430322e31"), Err("cose-header-type"));
    }
}
