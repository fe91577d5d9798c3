//! Who calls, by the policies that an endpoint lists: the first that accepts decides.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{StatusCode, header};
use parking_lot::RwLock;
use serde_json::{Value, json};
use tallystick_core::cbor;
use tallystick_core::cose::{CoseSign1, label};
use tallystick_core::signature::PublicKey;
use tallystick_core::signature::algorithm::{ES256, ES384, ES512};
use tallystick_core::types::to_hex;
use tallystick_core::x509::Certificate;
use tallystick_js::app::Data;

use super::bundle::Endpoint;
use super::reply::{Code, error_with};
use super::{App, jwt};
use crate::http::{Request, Response};
use crate::kv::Transaction;

const USERS_CERTS: &str = "public:ccf.gov.users.certs";
const USERS_INFO: &str = "public:ccf.gov.users.info";
const MEMBERS_CERTS: &str = "public:ccf.gov.members.certs";
const MEMBERS_INFO: &str = "public:ccf.gov.members.info";
/// Certificates kept parsed. A client uses one for many requests.
const MAX_CERTIFICATES: usize = 4096;
/// Longest certificate that is kept, DER bytes. Anybody may present any, of up to 64 KiB; the usual ones are a tenth of
/// this.
const MAX_KEPT_CERTIFICATE_BYTES: usize = 8 * 1024;
/// What a client is told that signed requests are wanted.
const COSE_CHALLENGE: &str = "COSE-SIGN1 realm=\"Signed request access\"";
/// What a client is told that a token is wanted.
const JWT_CHALLENGE: &str = "Bearer realm=\"JWT bearer token access\", error=\"invalid_token\"";

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    UserCert,
    MemberCert,
    AnyCert,
    Jwt,
    UserCose,
    MemberCose,
    None,
    /// All of several, ascending by name.
    AllOf(Vec<Policy>),
}

impl Policy {
    /// Reads a policy of `authn_policies`.
    ///
    /// # Errors
    /// Text: nobody knows such a policy.
    pub(super) fn parse(value: &Value) -> Result<Self, String> {
        if let Some(name) = value.as_str() {
            return Self::named(name);
        }
        let members = value.get("all_of").and_then(Value::as_array);
        let Some(members) = members.filter(|members| !members.is_empty()) else {
            return Err(format!("Unsupported authentication policy: {value}"));
        };
        let mut policies = members
            .iter()
            .map(|member| {
                member.as_str().ok_or_else(|| format!("Unsupported authentication policy: {member}"))
            })
            .map(|name| name.and_then(Self::named))
            .collect::<Result<Vec<_>, _>>()?;
        policies.sort_by_key(Self::name);
        let count = policies.len();
        policies.dedup();
        if policies.len() < count {
            return Err(format!("AND authentication policy contains duplicate policies: {value}"));
        }
        Ok(Self::AllOf(policies))
    }

    fn named(name: &str) -> Result<Self, String> {
        match name {
            "user_cert" => Ok(Self::UserCert),
            "member_cert" => Ok(Self::MemberCert),
            "any_cert" => Ok(Self::AnyCert),
            "jwt" => Ok(Self::Jwt),
            "user_cose_sign1" => Ok(Self::UserCose),
            "member_cose_sign1" => Ok(Self::MemberCose),
            "no_auth" => Ok(Self::None),
            _ => Err(format!("Unknown auth policy: {name}")),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::UserCert => "user_cert".to_owned(),
            Self::MemberCert => "member_cert".to_owned(),
            Self::AnyCert => "any_cert".to_owned(),
            Self::Jwt => "jwt".to_owned(),
            Self::UserCose => "user_cose_sign1".to_owned(),
            Self::MemberCose => "member_cose_sign1".to_owned(),
            Self::None => "no_auth".to_owned(),
            Self::AllOf(members) => members.iter().map(Self::name).collect::<Vec<_>>().join("+"),
        }
    }

    fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Jwt => Some(JWT_CHALLENGE),
            Self::UserCose | Self::MemberCose => Some(COSE_CHALLENGE),
            Self::AllOf(members) => members.iter().find_map(Self::challenge),
            _ => None,
        }
    }

    /// The caller's members beside `policy`.
    fn accept(
        &self,
        app: &App,
        request: &Request,
        transaction: &mut Transaction,
    ) -> Result<Vec<(String, Data)>, String> {
        match self {
            Self::UserCert => {
                let presented = app.certificates.presented(request, "No caller user certificate")?;
                if transaction.get(USERS_CERTS, presented.id.as_bytes()).is_none() {
                    return Err("Could not find matching user certificate".to_owned());
                }
                presented.check_dates()?;
                let data = field(transaction, USERS_INFO, &presented.id, "user_data");
                Ok(identity(&presented.id, data, &presented.pem))
            }
            Self::MemberCert => {
                let presented = app.certificates.presented(request, "No caller member certificate")?;
                if transaction.get(MEMBERS_CERTS, presented.id.as_bytes()).is_none() {
                    return Err("Could not find matching member certificate".to_owned());
                }
                // CCF does not look at the dates here.
                let data = field(transaction, MEMBERS_INFO, &presented.id, "member_data");
                Ok(identity(&presented.id, data, &presented.pem))
            }
            Self::AnyCert => {
                let presented = app.certificates.presented(request, "No caller certificate")?;
                presented.check_dates()?;
                Ok(vec![("cert".to_owned(), Data::Text(presented.pem.clone()))])
            }
            Self::Jwt => jwt::accept(&app.keys, &request.headers, transaction, now_seconds()),
            Self::UserCose => signed(request, transaction, USERS_CERTS, USERS_INFO, "user"),
            Self::MemberCose => signed(request, transaction, MEMBERS_CERTS, MEMBERS_INFO, "member"),
            Self::None => Ok(Vec::new()),
            Self::AllOf(members) => {
                let mut names = Vec::new();
                let mut callers = Vec::new();
                for member in members {
                    let accepted = member.accept(app, request, transaction)?;
                    names.push(Data::Text(member.name()));
                    callers.push((member.name(), with_policy(Data::Text(member.name()), accepted)));
                }
                callers.push(("policy".to_owned(), Data::List(names)));
                Ok(callers)
            }
        }
    }
}

fn with_policy(policy: Data, members: Vec<(String, Data)>) -> Data {
    let mut all = vec![("policy".to_owned(), policy)];
    all.extend(members);
    Data::Object(all)
}

fn identity(id: &str, data: Data, pem: &str) -> Vec<(String, Data)> {
    vec![
        ("id".to_owned(), Data::Text(id.to_owned())),
        ("data".to_owned(), data),
        ("cert".to_owned(), Data::Text(pem.to_owned())),
    ]
}

/// Who calls, as the handler sees it, or the answer that refuses.
pub(super) fn authenticate(
    app: &Arc<App>,
    endpoint: &Endpoint,
    request: &Request,
    transaction: &mut Transaction,
) -> Result<Data, Box<Response>> {
    let policies = match &endpoint.policies {
        Ok(policies) if policies.is_empty() => return Ok(Data::Null),
        Ok(policies) => policies,
        Err(message) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let mut answer =
                error_with(status, Code::InternalError, &format!("Exception: {message}"), Vec::new());
            answer.close = true;
            return Err(Box::new(answer));
        }
    };
    let mut details = Vec::with_capacity(policies.len());
    let mut challenge = None;
    for policy in policies {
        match policy.accept(app, request, transaction) {
            Ok(members) if matches!(policy, Policy::AllOf(_)) => return Ok(Data::Object(members)),
            Ok(members) => return Ok(with_policy(Data::Text(policy.name()), members)),
            Err(reason) => {
                let code = Code::InvalidAuthenticationInfo.text();
                details.push(json!({ "auth_policy": policy.name(), "code": code, "message": reason }));
                challenge = policy.challenge().or(challenge);
            }
        }
    }
    let message = "Invalid authentication credentials.";
    let answer = error_with(StatusCode::UNAUTHORIZED, Code::InvalidAuthenticationInfo, message, details);
    Err(Box::new(match challenge {
        Some(challenge) => answer.with(header::WWW_AUTHENTICATE, challenge),
        None => answer,
    }))
}

/// One member of a row of JSON.
fn field(transaction: &mut Transaction, table: &str, key: &str, name: &str) -> Data {
    let row = transaction.get(table, key.as_bytes());
    let row = row.and_then(|row| serde_json::from_slice::<Value>(&row).ok());
    match row.as_ref().and_then(|row| row.get(name)) {
        None | Some(Value::Null) => Data::Null,
        Some(value) => Data::Json(value.to_string()),
    }
}

/// Seconds since 1970.
fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// A client certificate, parsed.
#[derive(Debug)]
struct Presented {
    id: String,
    pem: String,
    /// First and last second of its validity; `None` when it cannot be parsed.
    dates: Option<(i64, i64)>,
}

impl Presented {
    fn new(der: &[u8]) -> Self {
        let dates = Certificate::parse(der).ok().map(|parsed| (parsed.not_before(), parsed.not_after()));
        Self { id: to_hex(&tallystick_core::hash::sha256(der)), pem: pem(der), dates }
    }

    fn check_dates(&self) -> Result<(), String> {
        let Some((first, last)) = self.dates else {
            return Err("Could not parse the caller's certificate".to_owned());
        };
        let now = i64::try_from(now_seconds()).unwrap_or(i64::MAX);
        if now < first {
            return Err(format!("Certificate is not valid yet: Not Before is {first} (seconds since 1970)"));
        }
        if now > last {
            return Err(format!("Certificate has expired: Not After is {last} (seconds since 1970)"));
        }
        Ok(())
    }
}

/// The PEM text of a certificate, in lines of 64 characters as everybody writes it.
fn pem(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = String::with_capacity(encoded.len() + encoded.len() / 64 + 64);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// Client certificates seen before.
#[derive(Debug, Default)]
pub(super) struct Certificates(RwLock<HashMap<Bytes, Arc<Presented>>>);

impl Certificates {
    fn presented(&self, request: &Request, missing: &str) -> Result<Arc<Presented>, String> {
        let der = request.session.client_certificate.as_ref().ok_or_else(|| missing.to_owned())?;
        if let Some(presented) = self.0.read().get(der) {
            return Ok(Arc::clone(presented));
        }
        let presented = Arc::new(Presented::new(der));
        if der.len() <= MAX_KEPT_CERTIFICATE_BYTES {
            let mut seen = self.0.write();
            if seen.len() >= MAX_CERTIFICATES {
                seen.clear();
            }
            seen.insert(der.clone(), Arc::clone(&presented));
        }
        Ok(presented)
    }
}

/// A body that is a COSE_Sign1 of somebody in `certs`.
fn signed(
    request: &Request,
    transaction: &mut Transaction,
    certs: &str,
    info: &str,
    who: &str,
) -> Result<Vec<(String, Data)>, String> {
    let content_type = request.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if let Some(other) = content_type.filter(|given| *given != "application/cose") {
        return Err(format!("Unsupported content type {other}: expected application/cose"));
    }
    let message =
        CoseSign1::parse(&request.body).map_err(|error| format!("Failed to parse COSE_Sign1: {error}"))?;
    if !message.tagged {
        return Err("COSE_Sign1 is not tagged".to_owned());
    }
    let algorithm = message.algorithm().ok_or("Missing algorithm in protected header")?;
    if ![ES256, ES384, ES512].contains(&algorithm) {
        return Err(format!("Unsupported algorithm: {algorithm}"));
    }
    let kid = match cbor::get_integer(&message.protected_headers, label::KID) {
        Some(cbor::Value::Bytes(kid)) => String::from_utf8_lossy(kid).into_owned(),
        _ => return Err("Missing kid in protected header".to_owned()),
    };
    let payload = message.payload.ok_or("Missing payload: it must be attached")?;
    let stored =
        transaction.get(certs, kid.as_bytes()).ok_or_else(|| format!("Signer is not a known {who}"))?;
    let certificate =
        Certificate::parse(&stored).map_err(|error| format!("Certificate of the {who}: {error}"))?;
    let key = PublicKey::from_spki(certificate.spki()).map_err(|error| error.to_string())?;
    let bytes = message.signed_bytes(None).map_err(|error| error.to_string())?;
    if !key.verifies_cose(&bytes, message.signature, algorithm) {
        return Err("Failed to validate COSE Sign1".to_owned());
    }
    let data = field(transaction, info, &kid, &format!("{who}_data"));
    let mut members = identity(&kid, data, &String::from_utf8_lossy(&stored));
    let content = ("content".to_owned(), Data::Bytes(request.body.slice_ref(payload)));
    members.push(("cose".to_owned(), Data::Object(vec![content])));
    Ok(members)
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::http::Session;

    #[test]
    fn reads_policies() {
        assert_eq!(Policy::parse(&json!("jwt")), Ok(Policy::Jwt));
        let both = Policy::parse(&json!({ "all_of": ["user_cert", "jwt"] })).expect("both are known");
        assert_eq!(both, Policy::AllOf(vec![Policy::Jwt, Policy::UserCert]));
        assert_eq!(both.name(), "jwt+user_cert");
        assert_eq!(both.challenge(), Some(JWT_CHALLENGE));
        for unknown in [
            json!("x"),
            json!(1),
            json!({ "all_of": [] }),
            json!({ "all_of": ["jwt", "jwt"] }),
            json!({ "any": [] }),
        ] {
            assert!(Policy::parse(&unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn keeps_certificates_of_usual_sizes_only() {
        let certificates = Certificates::default();
        for (size, kept) in [(MAX_KEPT_CERTIFICATE_BYTES, 1), (MAX_KEPT_CERTIFICATE_BYTES + 1, 1), (10, 2)] {
            let session = Session {
                id: 1,
                interface: "rpc".into(),
                client_certificate: Some(vec![0; size].into()),
                http2: false,
            };
            let request = Request {
                method: http::Method::GET,
                path: "/".to_owned(),
                query: String::new(),
                headers: http::HeaderMap::new(),
                body: Bytes::new(),
                session: Arc::new(session),
            };
            let presented = certificates.presented(&request, "missing").expect("one is there");
            assert_eq!(presented.id, to_hex(&tallystick_core::hash::sha256(&vec![0; size])));
            assert_eq!(certificates.0.read().len(), kept, "{size}");
        }
    }

    #[test]
    fn writes_certificates_in_lines() {
        let text = pem(&[0; 100]);
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [27, 64, 64, 8, 25]);
    }
}
