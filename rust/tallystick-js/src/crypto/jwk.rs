//! JSON Web Keys (RFC 7517, 7518, 8037) from PEM, and back.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::key::{CryptoError, Curve, EcNumbers, Key, Kind, Result, RsaNumbers};

/// Which keys a conversion takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Elliptic curves of ECDSA.
    Ec,
    /// RSA.
    Rsa,
    /// Ed25519 and X25519.
    Okp,
}

impl Family {
    fn of(key: &Key) -> Self {
        match key.kind {
            Kind::Ec(_) => Self::Ec,
            Kind::Rsa => Self::Rsa,
            Kind::Ed25519 | Kind::X25519 => Self::Okp,
        }
    }
}

fn put(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    object.insert(name.to_owned(), Value::String(URL_SAFE_NO_PAD.encode(bytes)));
}

/// The JSON Web Key of a PEM key, as JSON text.
pub(crate) fn from_pem(family: Family, private: bool, pem: &str, kid: Option<&str>) -> Result<String> {
    let key = if private { Key::private_from_pem(pem)? } else { Key::public_from_pem(pem)? };
    if Family::of(&key) != family {
        return Err(CryptoError("the key is of another kind"));
    }
    let mut jwk = Map::new();
    if let Some(kid) = kid {
        jwk.insert("kid".to_owned(), kid.into());
    }
    match key.kind {
        Kind::Ec(_) => {
            let EcNumbers { curve, x, y, d } = key.ec_numbers()?;
            jwk.insert("kty".to_owned(), "EC".into());
            jwk.insert("crv".to_owned(), curve.jwk_name().into());
            put(&mut jwk, "x", &x);
            put(&mut jwk, "y", &y);
            if let Some(d) = d {
                put(&mut jwk, "d", &d);
            }
        }
        Kind::Rsa => {
            let numbers = key.rsa_numbers()?;
            jwk.insert("kty".to_owned(), "RSA".into());
            put(&mut jwk, "n", &numbers.n);
            put(&mut jwk, "e", &numbers.e);
            for (name, number) in
                ["d", "p", "q", "dp", "dq", "qi"].iter().zip(numbers.private.iter().flatten())
            {
                put(&mut jwk, name, number);
            }
        }
        Kind::Ed25519 | Kind::X25519 => {
            let (x, d) = key.bytes_25519()?;
            let curve = if key.kind == Kind::Ed25519 { "Ed25519" } else { "X25519" };
            jwk.insert("kty".to_owned(), "OKP".into());
            jwk.insert("crv".to_owned(), curve.into());
            put(&mut jwk, "x", &x);
            if let Some(d) = d {
                put(&mut jwk, "d", &d);
            }
        }
    }
    Ok(Value::Object(jwk).to_string())
}

/// The PEM key of a JSON Web Key given as JSON text.
pub(crate) fn to_pem(family: Family, private: bool, jwk: &str) -> Result<String> {
    let jwk: Value = serde_json::from_str(jwk).map_err(|_| CryptoError("the JWK is not JSON"))?;
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| {
        let text = text(name).ok_or(CryptoError("the JWK lacks a field"))?;
        URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|_| CryptoError("a field of the JWK is not base64url"))
    };
    let kind = match family {
        Family::Ec => "EC",
        Family::Rsa => "RSA",
        Family::Okp => "OKP",
    };
    if text("kty") != Some(kind) {
        return Err(CryptoError("the JWK is of another kind"));
    }
    let unknown = CryptoError("the JWK's curve is unknown");
    let key = match family {
        Family::Ec => {
            let curve =
                Curve::ALL.into_iter().find(|curve| text("crv") == Some(curve.jwk_name())).ok_or(unknown)?;
            let d = if private { Some(bytes("d")?) } else { None };
            Key::from_ec_numbers(curve, &bytes("x")?, &bytes("y")?, d.as_deref())?
        }
        Family::Rsa => {
            let numbers = if private {
                let [d, p, q, dp, dq, qi] = ["d", "p", "q", "dp", "dq", "qi"].map(bytes);
                Some([d?, p?, q?, dp?, dq?, qi?])
            } else {
                None
            };
            Key::from_rsa_numbers(&RsaNumbers { n: bytes("n")?, e: bytes("e")?, private: numbers })?
        }
        Family::Okp => {
            let kind = match text("crv") {
                Some("Ed25519") => Kind::Ed25519,
                Some("X25519") => Kind::X25519,
                _ => return Err(unknown),
            };
            if private {
                Key::private_25519(kind, &bytes("d")?)?
            } else {
                Key::public_25519(kind, &bytes("x")?)?
            }
        }
    };
    if private { key.private_pem() } else { key.public_pem() }
}
