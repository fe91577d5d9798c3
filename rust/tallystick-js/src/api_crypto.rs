//! `ccf.crypto`: keys, signatures, wrapped keys, certificates.
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use rquickjs::{Ctx, Exception, Object, Result, Value};

use crate::api::{Late, buffer, exactly, native, new_buffer, new_text, string, text};
use crate::crypto::{self, CryptoError, Family, Hash, Scheme, Wrapping};

const NOT_A_BUFFER: &str = "Argument must be an ArrayBuffer";
/// Exponent of RSA keys when none is asked for.
const RSA_EXPONENT: u64 = 65537;

/// Is told when a script uses a source of values that another run would not repeat.
pub(crate) type Notice = Rc<dyn Fn(&'static str)>;

/// Functions from PEM to JWK and back: names, which keys, whether private.
const CONVERSIONS: [(&str, &str, Family, bool); 6] = [
    ("pubPemToJwk", "pubJwkToPem", Family::Ec, false),
    ("pemToJwk", "jwkToPem", Family::Ec, true),
    ("pubRsaPemToJwk", "pubRsaJwkToPem", Family::Rsa, false),
    ("rsaPemToJwk", "rsaJwkToPem", Family::Rsa, true),
    ("pubEddsaPemToJwk", "pubEddsaJwkToPem", Family::Okp, false),
    ("eddsaPemToJwk", "eddsaJwkToPem", Family::Okp, true),
];

/// Installs `ccf.crypto` and, if `older`, the names that CCF 1.x to 4.x had on `ccf` itself.
pub(crate) fn install<'js>(ctx: &Ctx<'js>, ccf: &Object<'js>, notice: &Notice, older: bool) -> Result<()> {
    let namespace = Object::new(ctx.clone())?;
    for object in std::iter::once(&namespace).chain(older.then_some(ccf)) {
        install_digest(ctx, object)?;
        install_certificates(ctx, object, notice)?;
        install_generators(ctx, object, notice)?;
        install_wrapping(ctx, object, notice)?;
    }
    install_signatures(ctx, &namespace, notice)?;
    install_conversions(ctx, &namespace)?;
    ccf.set("crypto", namespace)
}

fn thrown<'js, T>(ctx: &Ctx<'js>, result: std::result::Result<T, CryptoError>) -> Result<T> {
    result.map_err(|error| Exception::throw_internal(ctx, error.0))
}

fn argument<'a, 'js>(ctx: &Ctx<'js>, arguments: &'a [Value<'js>], index: usize) -> Result<&'a Value<'js>> {
    arguments.get(index).ok_or_else(|| Exception::throw_type(ctx, "an argument is missing"))
}

fn bytes<'js>(ctx: &Ctx<'js>, arguments: &[Value<'js>], index: usize) -> Result<Vec<u8>> {
    buffer(ctx, argument(ctx, arguments, index)?, NOT_A_BUFFER)
}

fn number<'js>(ctx: &Ctx<'js>, value: &Value<'js>, what: &str) -> Result<u32> {
    let number: rquickjs::Coerced<f64> = value.get()?;
    if !(0.0..=f64::from(u32::MAX)).contains(&number.0) {
        return Err(Exception::throw_range(ctx, &format!("invalid {what}")));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
    Ok(number.0 as u32)
}

fn install_digest<'js>(ctx: &Ctx<'js>, object: &Object<'js>) -> Result<()> {
    native(ctx, object, "digest", 2, |ctx, arguments| {
        exactly(ctx, arguments, 2)?;
        if string(ctx, argument(ctx, arguments, 0)?)? != "SHA-256" {
            return Err(Exception::throw_range(ctx, "unsupported digest algorithm, supported: SHA-256"));
        }
        new_buffer(ctx, &crypto::sha256(&bytes(ctx, arguments, 1)?))
    })
}

fn install_certificates<'js>(ctx: &Ctx<'js>, object: &Object<'js>, notice: &Notice) -> Result<()> {
    let pem =
        |value: Option<&Value<'js>>| value.and_then(Value::as_string).and_then(|pem| pem.to_string().ok());
    native(ctx, object, "isValidX509CertBundle", 1, move |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        let valid = pem(arguments.first()).is_some_and(|pem| crypto::certificates(&pem).is_some());
        Ok(Value::new_bool(ctx.clone(), valid))
    })?;
    let tell = Rc::clone(notice);
    native(ctx, object, "isValidX509CertChain", 2, move |ctx, arguments| {
        exactly(ctx, arguments, 2)?;
        // The answer depends on the time.
        tell("isValidX509CertChain");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let valid = match (pem(arguments.first()), pem(arguments.get(1))) {
            (Some(chain), Some(trusted)) => crypto::is_valid_chain(&chain, &trusted, now),
            _ => false,
        };
        Ok(Value::new_bool(ctx.clone(), valid))
    })
}

fn key_pair<'js>(
    ctx: &Ctx<'js>,
    pair: std::result::Result<(String, String), CryptoError>,
) -> Result<Value<'js>> {
    let (private, public) = thrown(ctx, pair)?;
    let object = Object::new(ctx.clone())?;
    object.set("privateKey", private)?;
    object.set("publicKey", public)?;
    Ok(object.into_value())
}

fn install_generators<'js>(ctx: &Ctx<'js>, object: &Object<'js>, notice: &Notice) -> Result<()> {
    let tell = Rc::clone(notice);
    native(ctx, object, "generateAesKey", 1, move |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        tell("generateAesKey");
        let bits = number(ctx, argument(ctx, arguments, 0)?, "key size")?;
        match crypto::random_aes_key(bits) {
            Ok(key) => new_buffer(ctx, &key),
            Err(error) => Err(Exception::throw_range(ctx, error.0)),
        }
    })?;
    let tell = Rc::clone(notice);
    native(ctx, object, "generateRsaKeyPair", 1, move |ctx, arguments| {
        if !(1..=2).contains(&arguments.len()) {
            let message = format!("Passed {} arguments, but expected 1 or 2", arguments.len());
            return Err(Exception::throw_type(ctx, &message));
        }
        tell("generateRsaKeyPair");
        let bits = number(ctx, argument(ctx, arguments, 0)?, "key size")?;
        let exponent = match arguments.get(1) {
            Some(value) => u64::from(number(ctx, value, "exponent")?),
            None => RSA_EXPONENT,
        };
        let late = ctx.userdata::<Late>().map(|late| Rc::clone(&late.0));
        key_pair(ctx, crypto::generate_rsa(bits, exponent, &|| late.as_ref().is_some_and(|late| late())))
    })?;
    let tell = Rc::clone(notice);
    native(ctx, object, "generateEcdsaKeyPair", 1, move |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        tell("generateEcdsaKeyPair");
        match crypto::generate_ecdsa(&string(ctx, argument(ctx, arguments, 0)?)?) {
            Some(pair) => key_pair(ctx, pair),
            None => Err(Exception::throw_range(ctx, "Unsupported curve id, supported: secp256r1, secp384r1")),
        }
    })?;
    let tell = Rc::clone(notice);
    native(ctx, object, "generateEddsaKeyPair", 1, move |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        tell("generateEddsaKeyPair");
        match crypto::generate_eddsa(&string(ctx, argument(ctx, arguments, 0)?)?) {
            Some(pair) => key_pair(ctx, pair),
            None => Err(Exception::throw_range(ctx, "Unsupported curve id, supported: curve25519, x25519")),
        }
    })
}

/// A member of an algorithm object.
fn member<'js>(ctx: &Ctx<'js>, algorithm: &Value<'js>, name: &str) -> Result<Value<'js>> {
    match algorithm.as_object() {
        Some(object) => object.get(name),
        None => Err(Exception::throw_type(ctx, "Argument must be an object with a name")),
    }
}

fn wrapping<'js>(ctx: &Ctx<'js>, algorithm: &Value<'js>) -> Result<Wrapping> {
    let label = |ctx: &Ctx<'js>| -> Result<Vec<u8>> {
        let label = member(ctx, algorithm, "label")?;
        if label.is_undefined() || label.is_null() {
            Ok(Vec::new())
        } else {
            buffer(ctx, &label, "label must be an ArrayBuffer")
        }
    };
    match string(ctx, &member(ctx, algorithm, "name")?)?.as_str() {
        "RSA-OAEP" => Ok(Wrapping::RsaOaep(label(ctx)?)),
        "AES-KWP" => Ok(Wrapping::AesKwp),
        "RSA-OAEP-AES-KWP" => {
            let bits = number(ctx, &member(ctx, algorithm, "aesKeySize")?, "AES key size")?;
            Ok(Wrapping::Combined(bits, label(ctx)?))
        }
        _ => Err(Exception::throw_range(
            ctx,
            "unsupported key wrapping algorithm, supported: RSA-OAEP, AES-KWP, RSA-OAEP-AES-KWP",
        )),
    }
}

fn install_wrapping<'js>(ctx: &Ctx<'js>, object: &Object<'js>, notice: &Notice) -> Result<()> {
    let tell = Rc::clone(notice);
    native(ctx, object, "wrapKey", 3, move |ctx, arguments| {
        exactly(ctx, arguments, 3)?;
        tell("wrapKey");
        let (key, wrapping_key) = (bytes(ctx, arguments, 0)?, bytes(ctx, arguments, 1)?);
        let wrapping = wrapping(ctx, argument(ctx, arguments, 2)?)?;
        new_buffer(ctx, &thrown(ctx, crypto::wrap(&wrapping, &wrapping_key, &key))?)
    })?;
    native(ctx, object, "unwrapKey", 3, |ctx, arguments| {
        exactly(ctx, arguments, 3)?;
        let (wrapped, unwrapping_key) = (bytes(ctx, arguments, 0)?, bytes(ctx, arguments, 1)?);
        let wrapping = wrapping(ctx, argument(ctx, arguments, 2)?)?;
        new_buffer(ctx, &thrown(ctx, crypto::unwrap(&wrapping, &unwrapping_key, &wrapped))?)
    })
}

fn scheme<'js>(
    ctx: &Ctx<'js>,
    algorithm: &Value<'js>,
    name: &str,
    hash: Option<Hash>,
    hashes: &str,
) -> Result<Scheme> {
    let hash = |ctx: &Ctx<'js>| {
        hash.ok_or_else(|| {
            Exception::throw_range(ctx, &format!("Unsupported hash algorithm, supported: {hashes}"))
        })
    };
    match name {
        "ECDSA" => Ok(Scheme::Ecdsa(hash(ctx)?)),
        "RSA-PSS" => {
            let salt = member(ctx, algorithm, "saltLength")?;
            let salt = if salt.is_undefined() { 0 } else { number(ctx, &salt, "salt length")? };
            let salt = i32::try_from(salt).map_err(|_| Exception::throw_range(ctx, "invalid salt length"))?;
            Ok(Scheme::RsaPss(hash(ctx)?, salt))
        }
        "EdDSA" => Ok(Scheme::EdDsa),
        _ => Err(Exception::throw_range(
            ctx,
            "Unsupported signing algorithm, supported: RSA-PSS, ECDSA, EdDSA, HMAC",
        )),
    }
}

fn named_hash<'js>(ctx: &Ctx<'js>, algorithm: &Value<'js>) -> Result<Option<Hash>> {
    let hash = member(ctx, algorithm, "hash")?;
    Ok(if hash.is_undefined() { None } else { Hash::named(&string(ctx, &hash)?) })
}

fn install_signatures<'js>(ctx: &Ctx<'js>, object: &Object<'js>, notice: &Notice) -> Result<()> {
    const SIGNING_HASHES: &str = "SHA-256, SHA-384, SHA-512";
    let tell = Rc::clone(notice);
    native(ctx, object, "sign", 3, move |ctx, arguments| {
        exactly(ctx, arguments, 3)?;
        let algorithm = argument(ctx, arguments, 0)?;
        let name = string(ctx, &member(ctx, algorithm, "name")?)?;
        let key = string(ctx, argument(ctx, arguments, 1)?)?;
        let data = bytes(ctx, arguments, 2)?;
        let hash = named_hash(ctx, algorithm)?;
        if name == "HMAC" {
            let Some(hash) = hash else {
                let message = format!("Unsupported hash algorithm, supported: {SIGNING_HASHES}");
                return Err(Exception::throw_range(ctx, &message));
            };
            return new_buffer(ctx, &crypto::mac(hash, key.as_bytes(), &data));
        }
        let scheme = scheme(ctx, algorithm, &name, hash, SIGNING_HASHES)?;
        if scheme != Scheme::EdDsa {
            tell("sign");
        }
        new_buffer(ctx, &thrown(ctx, crypto::sign(scheme, &key, &data))?)
    })?;
    native(ctx, object, "verifySignature", 4, |ctx, arguments| {
        exactly(ctx, arguments, 4)?;
        let algorithm = argument(ctx, arguments, 0)?;
        let name = string(ctx, &member(ctx, algorithm, "name")?)?;
        let key = string(ctx, argument(ctx, arguments, 1)?)?;
        let (signature, data) = (bytes(ctx, arguments, 2)?, bytes(ctx, arguments, 3)?);
        // CCF verifies with no other hash.
        let hash = named_hash(ctx, algorithm)?.filter(|hash| *hash == Hash::Sha256);
        let scheme = scheme(ctx, algorithm, &name, hash, "SHA-256")?;
        let holds = thrown(ctx, crypto::verify(scheme, &key, &signature, &data))?;
        Ok(Value::new_bool(ctx.clone(), holds))
    })
}

fn install_conversions<'js>(ctx: &Ctx<'js>, object: &Object<'js>) -> Result<()> {
    for (to_jwk, to_pem, family, private) in CONVERSIONS {
        native(ctx, object, to_jwk, 1, move |ctx, arguments| {
            if !(1..=2).contains(&arguments.len()) {
                let message = format!("Passed {} arguments, but expected 1 or 2", arguments.len());
                return Err(Exception::throw_type(ctx, &message));
            }
            let pem = string(ctx, argument(ctx, arguments, 0)?)?;
            let kid = match arguments.get(1) {
                Some(kid) if !kid.is_undefined() => Some(string(ctx, kid)?),
                _ => None,
            };
            let jwk = thrown(ctx, crypto::jwk_from_pem(family, private, &pem, kid.as_deref()))?;
            ctx.json_parse(jwk)
        })?;
        native(ctx, object, to_pem, 1, move |ctx, arguments| {
            exactly(ctx, arguments, 1)?;
            let json = ctx.json_stringify(argument(ctx, arguments, 0)?.clone())?;
            let Some(json) = json else { return Err(Exception::throw_type(ctx, "Argument must be a JWK")) };
            let json = text(ctx, &[json.into_value()], 0)?;
            new_text(ctx, &thrown(ctx, crypto::jwk_to_pem(family, private, &json))?)
        })?;
    }
    Ok(())
}
