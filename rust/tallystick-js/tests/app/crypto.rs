//! `ccf.crypto` inside a handler.
use super::{thrown, value_of};

#[test]
fn signs_and_verifies() {
    let data = "const data = ccf.strToBuf('data'), other = ccf.strToBuf('other');";
    let checked = |statements: &str| value_of(&format!("(() => {{ {data} {statements} }})()"));
    for (generate, algorithm) in [
        ("generateEcdsaKeyPair('secp256r1')", "{ name: 'ECDSA', hash: 'SHA-256' }"),
        ("generateEcdsaKeyPair('secp384r1')", "{ name: 'ECDSA', hash: 'SHA-256' }"),
        ("generateRsaKeyPair(2048)", "{ name: 'RSA-PSS', hash: 'SHA-256' }"),
        ("generateRsaKeyPair(2048, 3)", "{ name: 'RSA-PSS', hash: 'SHA-256', saltLength: 20 }"),
        ("generateEddsaKeyPair('curve25519')", "{ name: 'EdDSA' }"),
    ] {
        let statements = format!(
            "const pair = ccf.crypto.{generate}; const signature = ccf.crypto.sign({algorithm}, pair.privateKey, data);
             return [ccf.crypto.verifySignature({algorithm}, pair.publicKey, signature, data),
                ccf.crypto.verifySignature({algorithm}, pair.publicKey, signature, other)];"
        );
        assert_eq!(checked(&statements), "[true,false]", "{algorithm}");
    }
    // Salts of another length do not verify.
    assert_eq!(
        checked(
            "const pair = ccf.crypto.generateRsaKeyPair(2048), a = { name: 'RSA-PSS', hash: 'SHA-256' };
             const signature = ccf.crypto.sign({ ...a, saltLength: 32 }, pair.privateKey, data);
             return [a, { ...a, saltLength: 32 }].map((a) => ccf.crypto.verifySignature(a, pair.publicKey, signature, data));"
        ),
        "[false,true]"
    );
    // RFC 4231, test case 2.
    assert_eq!(
        checked(
            "return Array.from(new Uint8Array(ccf.crypto.sign({ name: 'HMAC', hash: 'SHA-256' }, 'Jefe', ccf.strToBuf('what do ya want for nothing?'))), (b) => b.toString(16).padStart(2, '0')).join('')"
        ),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    let pair = "const pair = ccf.crypto.generateEcdsaKeyPair('secp256r1'), data = ccf.strToBuf('x');";
    assert!(
        thrown(&format!("{pair} ccf.crypto.sign({{ name: 'X' }}, pair.privateKey, data)"))
            .starts_with("RangeError")
    );
    assert!(
        thrown(&format!("{pair} ccf.crypto.sign({{ name: 'ECDSA', hash: 'MD5' }}, pair.privateKey, data)"))
            .starts_with("RangeError")
    );
    assert!(
        thrown(&format!("{pair} ccf.crypto.sign({{ name: 'EdDSA' }}, pair.privateKey, data)"))
            .contains("does not fit")
    );
    assert!(thrown(&format!("{pair} ccf.crypto.verifySignature({{ name: 'ECDSA', hash: 'SHA-384' }}, pair.publicKey, data, data)")).starts_with("RangeError"));
    assert!(thrown(&format!("{pair} ccf.crypto.verifySignature({{ name: 'ECDSA', hash: 'SHA-256' }}, pair.publicKey, data, data)")).contains("wrong length"));
    assert!(thrown("ccf.crypto.generateEcdsaKeyPair('secp256k1')").starts_with("RangeError"));
    for exponent in [0, 1, 2, 65536] {
        let message = thrown(&format!("ccf.crypto.generateRsaKeyPair(2048, {exponent})"));
        assert!(message.contains("Invalid RSA exponent"), "{message}");
    }
    assert!(thrown("ccf.crypto.generateEddsaKeyPair('p')").starts_with("RangeError"));
    assert!(
        thrown("ccf.crypto.sign({ name: 'EdDSA' }, 'no key', ccf.strToBuf('x'))")
            .contains("Failed to parse PEM")
    );
}

#[test]
fn wraps_and_unwraps() {
    let rsa = "const pair = ccf.crypto.generateRsaKeyPair(2048), aes = ccf.crypto.generateAesKey(192), key = ccf.strToBuf('a key of some length');";
    for algorithm in [
        "{ name: 'RSA-OAEP' }",
        "{ name: 'RSA-OAEP', label: ccf.strToBuf('label') }",
        "{ name: 'RSA-OAEP-AES-KWP', aesKeySize: 256 }",
        "{ name: 'RSA-OAEP-AES-KWP', aesKeySize: 128, label: ccf.strToBuf('label') }",
    ] {
        let expression = format!(
            "(() => {{ {rsa} const a = {algorithm}; const wrapped = ccf.crypto.wrapKey(key, ccf.strToBuf(pair.publicKey), a);
             return ccf.bufToStr(ccf.crypto.unwrapKey(wrapped, ccf.strToBuf(pair.privateKey), a)); }})()"
        );
        assert_eq!(value_of(&expression), "a key of some length", "{algorithm}");
    }
    // RFC 5649 section 6, first example.
    let vector = "(() => { const hex = (t) => new Uint8Array(t.match(/../g).map((b) => parseInt(b, 16))).buffer;
        const kek = hex('5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8'), key = hex('c37b7e6492584340bed12207808941155068f738');
        const wrapped = ccf.crypto.wrapKey(key, kek, { name: 'AES-KWP' });
        return Array.from(new Uint8Array(wrapped), (b) => b.toString(16).padStart(2, '0')).join('') + ccf.crypto.unwrapKey(wrapped, kek, { name: 'AES-KWP' }).byteLength; })()";
    assert_eq!(value_of(vector), "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a20");
    assert!(thrown("const k = ccf.crypto.generateAesKey(128); ccf.crypto.unwrapKey(new ArrayBuffer(24), k, { name: 'AES-KWP' })").contains("not authentic"));
    assert!(thrown(&format!("{rsa} ccf.crypto.unwrapKey(ccf.crypto.wrapKey(key, ccf.strToBuf(pair.publicKey), {{ name: 'RSA-OAEP' }}), ccf.strToBuf(pair.privateKey), {{ name: 'RSA-OAEP', label: key }})")).contains("RSA-OAEP failed"));
    assert!(
        thrown("ccf.crypto.wrapKey(new ArrayBuffer(1), new ArrayBuffer(1), { name: 'X' })")
            .starts_with("RangeError")
    );
    assert!(thrown("ccf.crypto.generateAesKey(100)").starts_with("RangeError"));
}

#[test]
fn converts_keys_to_json_and_back() {
    for (generate, to_public, to_private, from_public, from_private, kind) in [
        ("generateEcdsaKeyPair('secp384r1')", "pubPemToJwk", "pemToJwk", "pubJwkToPem", "jwkToPem", "EC"),
        ("generateRsaKeyPair(2048)", "pubRsaPemToJwk", "rsaPemToJwk", "pubRsaJwkToPem", "rsaJwkToPem", "RSA"),
        (
            "generateEddsaKeyPair('curve25519')",
            "pubEddsaPemToJwk",
            "eddsaPemToJwk",
            "pubEddsaJwkToPem",
            "eddsaJwkToPem",
            "OKP",
        ),
        (
            "generateEddsaKeyPair('x25519')",
            "pubEddsaPemToJwk",
            "eddsaPemToJwk",
            "pubEddsaJwkToPem",
            "eddsaJwkToPem",
            "OKP",
        ),
    ] {
        let expression = format!(
            "(() => {{ const c = ccf.crypto, pair = c.{generate};
             const open = c.{to_public}(pair.publicKey, 'id'), whole = c.{to_private}(pair.privateKey);
             return [open.kid, open.kty, open.d === undefined, whole.kid === undefined, whole.d !== undefined,
                c.{from_public}(open) === pair.publicKey, c.{from_public}(whole) === pair.publicKey,
                c.{from_private}(whole) === pair.privateKey]; }})()"
        );
        assert_eq!(
            value_of(&expression),
            format!("[\"id\",\"{kind}\",true,true,true,true,true,true]"),
            "{generate}"
        );
    }
    for bad in [
        "{}",
        "{ kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' }",
        "{ kty: 'EC', crv: 'P-1', x: 'AA', y: 'AA' }",
        "null",
        "{ kty: 'RSA' }",
    ] {
        assert!(!thrown(&format!("ccf.crypto.pubJwkToPem({bad})")).is_empty(), "{bad}");
    }
    assert!(!thrown("ccf.crypto.pubJwkToPem(undefined)").is_empty());
    assert!(
        thrown("ccf.crypto.pubPemToJwk(ccf.crypto.generateRsaKeyPair(2048).publicKey)")
            .contains("another kind")
    );
    assert!(thrown("ccf.crypto.pubPemToJwk('x')").contains("Failed to parse PEM"));
    assert_eq!(
        value_of("[ccf.crypto.isValidX509CertBundle('x'), ccf.crypto.isValidX509CertChain('x', 'y')]"),
        "[false,false]"
    );
}
