//! Bearer tokens: JSON Web Tokens signed by keys that governance listed.
use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tallystick_core::x509::Certificate;
use tallystick_js::app::Data;

use crate::kv::Transaction;

const KEYS: &str = "public:ccf.gov.jwt.public_signing_keys_metadata_v2";
/// The same with certificates in place of keys.
const OLDER_KEYS: &str = "public:ccf.gov.jwt.public_signing_keys_metadata";
/// One certificate by key ID.
const OLDEST_KEYS: &str = "public:ccf.gov.jwt.public_signing_key";
/// Its issuer.
const OLDEST_ISSUERS: &str = "public:ccf.gov.jwt.public_signing_key_issuer";
/// Keys kept parsed; CCF keeps ten.
const MAX_KEYS: usize = 64;
/// Microsoft's identity platform: one key serves many tenants.
const ENTRA_HOST: &str = "login.microsoftonline.com";
const TENANT: &str = "{tenantid}";

/// A key that may sign tokens.
#[derive(Debug, Deserialize)]
struct Listed {
    /// DER of a public key, base64.
    public_key: Option<String>,
    /// DER of a certificate, base64, in the older table.
    cert: Option<String>,
    issuer: String,
    #[serde(default)]
    constraint: Option<String>,
}

/// Keys parsed before, by their DER.
#[derive(Default)]
pub(super) struct Keys(Mutex<HashMap<Vec<u8>, Option<Arc<ParsedPublicKey>>>>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// The key in `spki`, under the algorithm that its kind has here.
    fn parsed(&self, spki: &[u8]) -> Option<Arc<ParsedPublicKey>> {
        let mut kept = self.0.lock();
        if let Some(key) = kept.get(spki) {
            return key.clone();
        }
        let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki)
            .or_else(|_| ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, spki))
            .ok()
            .map(Arc::new);
        if kept.len() >= MAX_KEYS {
            kept.clear();
        }
        kept.insert(spki.to_vec(), key.clone());
        key
    }
}

/// A token, taken apart. Nothing about it is verified.
struct Token<'a> {
    header: Value,
    payload: Value,
    kid: String,
    issuer: String,
    expires: u64,
    not_before: Option<u64>,
    tenant: Option<String>,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    fn extract(headers: &'a HeaderMap) -> Result<Self, String> {
        let value = headers.get(header::AUTHORIZATION).ok_or("Missing authorization header")?;
        let value = value.to_str().map_err(|_| "Authorization header is not text")?;
        let (scheme, token) = value.split_once(' ').ok_or("Authorization header only contains one field")?;
        if scheme != "Bearer" {
            return Err("Authorization header does not have Bearer scheme".to_owned());
        }
        Self::parse(token)
    }

    fn parse(token: &'a str) -> Result<Self, String> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts.as_slice() else {
            return Err("Malformed JWT: must contain exactly 3 parts".to_owned());
        };
        let raw = |part: &str| URL_SAFE_NO_PAD.decode(part.trim_end_matches('='));
        let json = |part: &str| -> Result<Value, String> {
            let raw =
                raw(part).map_err(|error| format!("JWT header or payload is not base64url: {error}"))?;
            serde_json::from_slice(&raw)
                .map_err(|error| format!("JWT header or payload is not valid JSON: {error}"))
        };
        let signed = token.get(..header.len() + 1 + payload.len()).unwrap_or_default();
        let (header, payload) = (json(header)?, json(payload)?);
        if !header.is_object() || !payload.is_object() {
            return Err("JWT header or payload is not an object".to_owned());
        }
        let member = |object: &Value, name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
        let schema = |name: &str| format!("JWT header does not follow schema: {name}");
        let algorithm = member(&header, "alg").ok_or_else(|| schema("alg is missing"))?;
        if !["RS256", "ES256"].contains(&algorithm.as_str()) {
            return Err(schema(&format!("alg is {algorithm}, not RS256 or ES256")));
        }
        let kid = member(&header, "kid").ok_or_else(|| schema("kid is missing"))?;
        let required = |name: &str| format!("JWT payload is missing required field: {name}");
        let number = |name: &str| match payload.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_u64()
                .or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(whole_seconds))
                .map(Some)
                .ok_or_else(|| required(name)),
        };
        Ok(Self {
            kid,
            issuer: member(&payload, "iss").ok_or_else(|| required("iss"))?,
            expires: number("exp")?.ok_or_else(|| required("exp"))?,
            not_before: number("nbf")?,
            tenant: member(&payload, "tid"),
            signed,
            signature: raw(signature).map_err(|error| format!("JWT signature is not base64url: {error}"))?,
            header,
            payload,
        })
    }

    /// Why the token cannot be accepted with `listed`, a key that verified it, at `now`.
    fn refusal(&self, listed: &Listed, now: u64) -> Option<String> {
        if let Some(start) = self.not_before.filter(|start| now < *start) {
            return Some(format!("Current time {now} is before token's Not Before (nbf) claim {start}"));
        }
        if now > self.expires {
            let end = self.expires;
            return Some(format!("Current time {now} is after token's Expiration Time (exp) claim {end}"));
        }
        let constraint = listed.constraint.as_deref().filter(|constraint| !self.satisfies(constraint))?;
        Some(format!("Kid {} failed issuer constraint validation {constraint}", self.kid))
    }

    /// Whether the token's issuer is the one that its key's publisher names.
    fn satisfies(&self, constraint: &str) -> bool {
        if host_and_path(constraint).0 != ENTRA_HOST {
            // The tenant is a claim of Entra's; elsewhere it has no meaning and must not be there.
            return self.issuer == constraint && self.tenant.is_none();
        }
        let Some(tenant) = &self.tenant else { return false };
        if self.issuer != constraint.replacen(TENANT, tenant, 1) {
            return false;
        }
        let (_, path) = host_and_path(&self.issuer);
        path.split('/').find(|segment| !segment.is_empty()) == Some(tenant.as_str())
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates; it is not negative"
)]
fn whole_seconds(number: f64) -> u64 {
    number as u64
}

/// Host and path of a URL.
fn host_and_path(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(at).unwrap_or((rest, ""));
    (authority.split(':').next().unwrap_or(authority), path)
}

/// The caller that the token names.
pub(super) fn accept(
    keys: &Keys,
    headers: &HeaderMap,
    transaction: &mut Transaction,
    now: u64,
) -> Result<Vec<(String, Data)>, String> {
    let token = Token::extract(headers)?;
    let listed = listed(transaction, &token.kid)?;
    let mut reason = format!("JWT signing key not found for kid {}", token.kid);
    for listed in listed {
        let key = spki(&listed).and_then(|spki| keys.parsed(&spki));
        let verified =
            key.is_some_and(|key| key.verify_sig(token.signed.as_bytes(), &token.signature).is_ok());
        if !verified {
            "Signature verification failed".clone_into(&mut reason);
            continue;
        }
        match token.refusal(&listed, now) {
            Some(refusal) => reason = refusal,
            None => {
                let jwt = vec![
                    ("keyIssuer".to_owned(), Data::Text(listed.issuer)),
                    ("header".to_owned(), Data::Json(token.header.to_string())),
                    ("payload".to_owned(), Data::Json(token.payload.to_string())),
                ];
                return Ok(vec![("jwt".to_owned(), Data::Object(jwt))]);
            }
        }
    }
    Err(reason)
}

/// Keys under `kid`, from the newest table that knows it.
fn listed(transaction: &mut Transaction, kid: &str) -> Result<Vec<Listed>, String> {
    for table in [KEYS, OLDER_KEYS] {
        if let Some(row) = transaction.get(table, kid.as_bytes()) {
            return serde_json::from_slice(&row)
                .map_err(|error| format!("Keys of kid {kid} are malformed: {error}"));
        }
    }
    let text = |row: Option<bytes::Bytes>| row.and_then(|row| serde_json::from_slice::<String>(&row).ok());
    let cert = text(transaction.get(OLDEST_KEYS, kid.as_bytes()));
    let issuer = text(transaction.get(OLDEST_ISSUERS, kid.as_bytes()));
    Ok(match (cert, issuer) {
        (Some(cert), Some(issuer)) => {
            vec![Listed { public_key: None, cert: Some(cert), issuer, constraint: None }]
        }
        _ => Vec::new(),
    })
}

/// DER of the public key.
fn spki(listed: &Listed) -> Option<Vec<u8>> {
    if let Some(key) = &listed.public_key {
        return STANDARD.decode(key).ok();
    }
    let der = STANDARD.decode(listed.cert.as_ref()?).ok()?;
    Certificate::parse(&der).ok().map(|certificate| certificate.spki().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(issuer: &str, tenant: Option<&str>) -> Token<'static> {
        Token {
            header: Value::Null,
            payload: Value::Null,
            kid: "k".into(),
            issuer: issuer.into(),
            expires: 20,
            not_before: Some(10),
            tenant: tenant.map(str::to_owned),
            signed: "",
            signature: Vec::new(),
        }
    }

    #[test]
    fn issuers_must_be_those_that_keys_are_for() {
        let entra = "https://login.microsoftonline.com/{tenantid}/v2.0";
        for (issuer, tenant, constraint, expected) in [
            ("https://a.example", None, "https://a.example", true),
            ("https://a.example", Some("t"), "https://a.example", false),
            ("https://b.example", None, "https://a.example", false),
            ("https://login.microsoftonline.com/t/v2.0", Some("t"), entra, true),
            ("https://login.microsoftonline.com/t/v2.0", None, entra, false),
            ("https://login.microsoftonline.com/u/v2.0", Some("t"), entra, false),
            (
                "https://login.microsoftonline.com/t/v2.0",
                Some("t"),
                "https://login.microsoftonline.com/t/v2.0",
                true,
            ),
            (
                "https://login.microsoftonline.com/t/v2.0",
                Some("u"),
                "https://login.microsoftonline.com/t/v2.0",
                false,
            ),
        ] {
            assert_eq!(
                token(issuer, tenant).satisfies(constraint),
                expected,
                "{issuer} {tenant:?} {constraint}"
            );
        }
    }

    #[test]
    fn times_are_whole_seconds_without_tolerance() {
        let listed = Listed { public_key: None, cert: None, issuer: String::new(), constraint: None };
        let refused = |now| token("i", None).refusal(&listed, now).is_some();
        assert_eq!([9, 10, 20, 21].map(refused), [true, false, false, true]);
    }

    #[test]
    fn takes_tokens_apart() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let parse = |header: &str, payload: &str| {
            Token::parse(&format!("{}.{}.AAAA", encode(header), encode(payload))).map(|token| token.kid)
        };
        let header = r#"{"alg":"RS256","kid":"k"}"#;
        assert_eq!(parse(header, r#"{"exp":1,"iss":"i"}"#), Ok("k".to_owned()));
        for (header, payload) in [
            (r#"{"alg":"none","kid":"k"}"#, r#"{"exp":1,"iss":"i"}"#),
            (r#"{"alg":"RS256"}"#, r#"{"exp":1,"iss":"i"}"#),
            (header, r#"{"iss":"i"}"#),
            (header, r#"{"exp":"1","iss":"i"}"#),
            (header, r#"{"exp":-1,"iss":"i"}"#),
            (header, "[]"),
            ("{", "{}"),
        ] {
            assert!(parse(header, payload).is_err(), "{header} {payload}");
        }
        assert!(Token::parse("a.b").is_err() && Token::parse("a.b.c.d").is_err());
    }
}
