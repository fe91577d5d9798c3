use super::*;
use crate::cbor::{encode_bool, encode_bytes, encode_head, encode_text, major};
use crate::merkle::{Tree, directions};
use crate::types::to_hex;

const EVIDENCE: &str = "ce:2.3:2222222222222222222222222222222222222222222222222222222222222222";
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const ONES: &str = "1111111111111111111111111111111111111111111111111111111111111111";

fn json(text: &str) -> Result<JsonReceipt, ReceiptError> {
    JsonReceipt::parse(text.as_bytes())
}

fn receipt() -> String {
    format!(
        r#"{{"signature":"MAA=","proof":[{{"left":"{ONES}"}},{{"right":"{ZEROS}"}}],"leaf_components":{{
        "write_set_digest":"{ONES}","commit_evidence":"{EVIDENCE}","claims_digest":"{ZEROS}"}},"node_id":"{ONES}",
        "cert":"PEM","service_endorsements":["A","B"],"is_signature_transaction":false}}"#
    )
}

#[test]
fn json_receipt_is_read_in_both_spellings() {
    let snake = json(&receipt()).unwrap();
    assert_eq!(snake.txid(), Some(TxId { view: 2, seqno: 3 }));
    assert_eq!(snake.path.iter().map(|step| step.0).collect::<Vec<_>>(), [true, false]);
    assert_eq!(snake.certificate.as_deref(), Some("PEM"));
    assert_eq!(snake.service_endorsements, ["A", "B"]);
    assert_eq!(snake.is_signature_transaction, Some(false));
    assert_eq!(snake.leaf(), snake.leaf_with(Some(&[0; 32])));
    assert_ne!(snake.leaf(), snake.leaf_with(None));
    let camel = receipt()
        .replace("leaf_components", "leafComponents")
        .replace("write_set_digest", "writeSetDigest")
        .replace("commit_evidence", "commitEvidence")
        .replace("claims_digest", "claimsDigest")
        .replace("node_id", "nodeId")
        .replace("service_endorsements", "serviceEndorsements")
        .replace("is_signature_transaction", "isSignatureTransaction");
    assert_eq!(json(&camel).unwrap(), snake);
    let absent = json(&receipt().replace(&format!(",\"claims_digest\":\"{ZEROS}\""), "")).unwrap();
    assert_eq!(absent.leaf(), None);
    assert_eq!(absent.leaf_with(Some(&[0; 32])), snake.leaf());
    let null = json(&receipt().replace("\"PEM\"", "null").replace("[\"A\",\"B\"]", "null")).unwrap();
    assert_eq!((null.certificate, null.service_endorsements.len()), (None, 0));
    let more = json(&receipt().replace("\"cert\"", "\"extra\":[1],\"cert\"")).unwrap();
    assert_eq!(more.unknown_fields, ["extra"]);
}

#[test]
fn receipt_of_a_signature_transaction_gives_its_leaf() {
    let given = json(&format!(r#"{{"leaf":"{ONES}","proof":[],"signature":"MAA=","cert":"PEM"}}"#)).unwrap();
    assert_eq!(given.leaf(), Some([0x11; 32]));
    assert_eq!(given.root(&[0x11; 32]), [0x11; 32]);
    assert_eq!(given.leaf_with(None), None);
    assert_eq!(given.txid(), None);
}

#[test]
fn damaged_json_receipts_are_refused() {
    let replaced = |from: &str, to: &str| {
        assert!(receipt().contains(from), "{from}");
        json(&receipt().replacen(from, to, 1)).unwrap_err().code()
    };
    let steps = |count: usize| format!("[{}]", vec![format!("{{\"left\":\"{ONES}\"}}"); count].join(","));
    let path = &format!(r#"[{{"left":"{ONES}"}},{{"right":"{ZEROS}"}}]"#);
    for (from, to, code) in [
        ("\"signature\"", "\"signatur\"", "receipt-field-missing"),
        ("\"proof\"", "\"prof\"", "receipt-field-missing"),
        ("\"MAA=\"", "null", "receipt-field-missing"),
        ("\"MAA=\"", "\"\"", "receipt-base64"),
        ("\"MAA=\"", "\"MAA\"", "receipt-base64"),
        ("\"MAA=\"", "\"MAB=\"", "receipt-base64"),
        ("leaf_components", "leaf", "json-type"),
        ("leaf_components", "leafs", "receipt-leaf-ambiguous"),
        ("\"cert\"", &format!("\"leaf\":\"{ONES}\",\"cert\""), "receipt-leaf-ambiguous"),
        ("\"cert\"", &format!("\"nodeId\":\"{ONES}\",\"cert\""), "receipt-field-twice"),
        ("\"cert\"", "\"signature\":\"MAA=\",\"cert\"", "receipt-field-twice"),
        ("\"cert\"", "\"x\":1,\"x\":1,\"cert\"", "json-duplicate-key"),
        ("\"cert\"", "\"x\":{\"y\":1,\"y\":1},\"cert\"", "json-duplicate-key"),
        ("\"write_set_digest\"", "\"w\"", "receipt-leaf-ambiguous"),
        ("\"commit_evidence\"", "\"claimsDigest\"", "receipt-hex"),
        (&ONES[1..], &ONES[..62], "receipt-hex"),
        (&ONES[1..], &format!("{}A", &ONES[2..]), "receipt-hex"),
        ("ce:2.3:", "ce:2.03:", "receipt-commit-evidence"),
        ("ce:2.3:", "ce:2.3", "receipt-commit-evidence"),
        ("ce:2.3:", "cf:2.3:", "receipt-commit-evidence"),
        ("ce:2.3:2", "ce:2.3:", "receipt-commit-evidence"),
        ("ce:2.3:2", "ce:2.3:G", "receipt-commit-evidence"),
        ("2222\",", "2222 \",", "receipt-commit-evidence"),
        (path, "[{}]", "receipt-path-step"),
        (path, &format!(r#"[{{"left":"{ONES}","right":"{ONES}"}}]"#), "receipt-path-step"),
        (path, &format!(r#"[{{"left":"{ONES}","left":"{ONES}"}}]"#), "receipt-path-step"),
        (path, &format!(r#"[{{"up":"{ONES}"}}]"#), "receipt-path-step"),
        (path, &format!(r#"["{ONES}"]"#), "json-type"),
        (path, &steps(MAX_PATH_LENGTH + 1), "receipt-path-too-long"),
        ("[\"A\",\"B\"]", "[1]", "json-type"),
        ("false", "0", "json-type"),
        (":false", ":false,", "json-syntax"),
    ] {
        assert_eq!(replaced(from, to), code, "{from} -> {to}");
    }
    json(&receipt().replacen(path, &steps(MAX_PATH_LENGTH), 1)).unwrap();
    assert_eq!(json(&format!("{}x", receipt())).unwrap_err().code(), "json-trailing-bytes");
    assert_eq!(json("[]").unwrap_err().code(), "json-type");
    let large = vec![b' '; usize::try_from(MAX_RECEIPT_BYTES).unwrap() + 1];
    assert!(JsonReceipt::parse(&large).unwrap_err().is_limit());
}

/// Builds a receipt piece by piece, so that each piece can be spoilt.
struct Forge {
    tag: &'static [u8],
    protected: Vec<u8>,
    unprotected: Option<Vec<u8>>,
    proofs: Vec<Vec<u8>>,
    payload: Vec<u8>,
}

fn protected(vds: u64, txid: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode_head(&mut out, major::MAP, 4);
    out.extend([1, 0x38, 34, 4]);
    encode_bytes(&mut out, ONES.as_bytes());
    encode_head(&mut out, major::UNSIGNED, 395);
    encode_head(&mut out, major::UNSIGNED, vds);
    encode_text(&mut out, "ccf.v1");
    encode_head(&mut out, major::MAP, 1);
    encode_text(&mut out, "txid");
    encode_text(&mut out, txid);
    out
}

fn proof(evidence: &str, path: &[(bool, Digest)]) -> Vec<u8> {
    let mut out = vec![0xa2, 1, 0x83];
    encode_bytes(&mut out, &[0x11; 32]);
    encode_text(&mut out, evidence);
    encode_bytes(&mut out, &[0; 32]);
    out.push(2);
    encode_head(&mut out, major::ARRAY, path.len() as u64);
    for (left, hash) in path {
        out.push(0x82);
        encode_bool(&mut out, *left);
        encode_bytes(&mut out, hash);
    }
    out
}

/// Leaf 3 of a tree of 7 leaves.
fn path() -> Vec<(bool, Digest)> {
    vec![(true, [1; 32]), (true, [2; 32]), (false, [3; 32])]
}

impl Forge {
    fn new() -> Self {
        let proofs = vec![proof(EVIDENCE, &path())];
        Self { tag: &[0xd2], protected: protected(2, "2.7"), unprotected: None, proofs, payload: vec![0xf6] }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = self.tag.to_vec();
        out.push(0x84);
        encode_bytes(&mut out, &self.protected);
        match &self.unprotected {
            Some(unprotected) => out.extend(unprotected),
            None => {
                out.extend([0xa1, 0x19, 0x01, 0x8c, 0xa1, 0x20]);
                encode_head(&mut out, major::ARRAY, self.proofs.len() as u64);
                self.proofs.iter().for_each(|proof| encode_bytes(&mut out, proof));
            }
        }
        out.extend(&self.payload);
        encode_bytes(&mut out, &[7; 96]);
        out
    }

    fn code(&self) -> &'static str {
        CoseReceipt::parse(&self.bytes()).map(|_| "").unwrap_or_else(|error| error.code())
    }

    fn with_proof(proof: Vec<u8>) -> &'static str {
        Self { proofs: vec![proof], ..Self::new() }.code()
    }
}

#[test]
fn cose_receipt_is_read() {
    let bytes = Forge::new().bytes();
    let receipt = CoseReceipt::parse(&bytes).unwrap();
    assert_eq!(receipt.headers.kid, Some(ONES.as_bytes()));
    assert_eq!(receipt.headers.txid, Some(TxId { view: 2, seqno: 7 }));
    let proof = &receipt.proofs[0];
    assert_eq!(proof.path, path());
    assert_eq!(proof.leaf, leaf_hash(&[0x11; 32], &CommitEvidence::parse(EVIDENCE).unwrap(), Some(&[0; 32])));
    let mut two = Forge::new();
    two.proofs.push(self::proof(&EVIDENCE.replace(":2222", ":2223"), &path()));
    assert_eq!(CoseReceipt::parse(&two.bytes()).unwrap().proofs.len(), 2);
    let without_txid = Forge { protected: vec![0xa2, 1, 0x26, 0x19, 1, 0x8b, 2], ..Forge::new() };
    assert_eq!(without_txid.code(), "");
}

#[test]
fn damaged_cose_receipts_are_refused() {
    assert_eq!(Forge { tag: &[], ..Forge::new() }.code(), "receipt-untagged");
    assert_eq!(Forge { tag: &[0xd1], ..Forge::new() }.code(), "cose-tag");
    assert_eq!(Forge { payload: vec![0x41, 0], ..Forge::new() }.code(), "receipt-payload-attached");
    assert_eq!(Forge { protected: protected(1, "2.7"), ..Forge::new() }.code(), "receipt-vds");
    assert_eq!(Forge { protected: vec![0xa1, 1, 0x26], ..Forge::new() }.code(), "receipt-header-missing");
    assert_eq!(
        Forge { protected: vec![0xa1, 0x19, 1, 0x8b, 2], ..Forge::new() }.code(),
        "receipt-header-missing"
    );
    assert_eq!(Forge { unprotected: Some(vec![0xa0]), ..Forge::new() }.code(), "receipt-header-missing");
    for vdp in [
        &[0x80][..],
        &[0xa0],
        &[0xa1, 0x21, 0x80],
        &[0xa1, 0x20, 0x80],
        &[0xa1, 0x20, 0x81, 0],
        &[0xa1, 0x20, 0xa0],
    ] {
        let unprotected = Some([&[0xa1, 0x19, 0x01, 0x8c], vdp].concat());
        assert_eq!(Forge { unprotected, ..Forge::new() }.code(), "receipt-proofs", "{vdp:?}");
    }
    let mut twice = Forge::new();
    twice.proofs.push(twice.proofs[0].clone());
    assert_eq!(twice.code(), "receipt-proof-duplicate");
    let mut trailing = Forge::new().bytes();
    trailing.push(0);
    assert_eq!(CoseReceipt::parse(&trailing).unwrap_err().code(), "cbor-trailing-bytes");
    assert_eq!(Forge { protected: protected(2, "1.7"), ..Forge::new() }.code(), "receipt-view-order");
}

#[test]
fn paths_of_another_shape_are_refused() {
    for (txid, path, fits) in [
        ("2.7", path(), true),
        ("2.8", path(), true),
        ("2.4", path(), false),
        ("2.3", path(), false),
        ("2.9", path(), false),
        ("2.7", vec![], false),
        ("2.4", path()[..2].to_vec(), true),
        ("2.7", path().into_iter().map(|(left, hash)| (!left, hash)).collect(), false),
    ] {
        let forge =
            Forge { protected: protected(2, txid), proofs: vec![proof(EVIDENCE, &path)], ..Forge::new() };
        assert_eq!(forge.code(), if fits { "" } else { "receipt-path-shape" }, "{txid} {path:?}");
    }
    assert_eq!(CoseProof::parse(&proof(EVIDENCE, &[])).unwrap_err().code(), "receipt-path-shape");
    CoseProof::parse(&proof(EVIDENCE, &path())).unwrap();
}

#[test]
fn damaged_proofs_are_refused() {
    let good = proof(EVIDENCE, &path());
    assert_eq!(Forge::with_proof(good.clone()), "");
    let mut trailing = good.clone();
    trailing.push(0);
    assert_eq!(Forge::with_proof(trailing), "cbor-trailing-bytes");
    let replaced = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        Forge::with_proof([&good[..at], to, &good[at + from.len()..]].concat())
    };
    assert_eq!(replaced(&[0xa2, 1], &[0xa1, 1]), "receipt-proof-members");
    assert_eq!(replaced(&[0xa2, 1], &[0xa2, 3]), "receipt-proof-members");
    assert_eq!(replaced(&[0xa2, 1, 0x83], &[0xa2, 2, 0x83]), "cbor-type");
    assert_eq!(replaced(&[2, 0x83], &[1, 0x83]), "receipt-proof-members");
    assert_eq!(replaced(&[1, 0x83], &[1, 0x84]), "receipt-leaf-members");
    assert_eq!(replaced(&[0x83, 0x58], &[0x82, 0x58]), "receipt-leaf-members");
    assert_eq!(replaced(&[0x82, 0xf5], &[0x82, 0x01]), "cbor-type");
    assert_eq!(replaced(&[0x82, 0xf5], &[0x82, 0xf6]), "cbor-type");
    assert_eq!(replaced(&[0x82, 0xf5], &[0x83, 0xf5]), "receipt-leaf-members");
    assert_eq!(replaced(&[0x58, 0x20, 0x11], &[0x58, 0x1f]), "receipt-digest-size");
    assert_eq!(replaced(&[0x58, 0x20, 0x01], &[0x58, 0x1f]), "receipt-digest-size");
    assert_eq!(replaced(b"ce:", b"cE:"), "receipt-commit-evidence");
    let long = vec![(true, [0; 32]); MAX_PATH_LENGTH + 1];
    assert_eq!(Forge::with_proof(proof(EVIDENCE, &long)), "receipt-path-too-long");
    for position in 0..good.len() {
        assert_ne!(Forge::with_proof(good[..position].to_vec()), "");
    }
}

#[test]
fn paths_of_a_tree_lead_to_its_root_and_have_its_shape() {
    let mut tree = Tree::new();
    for seqno in 1..60_u8 {
        tree.append([seqno; 32]);
    }
    for size in 1..=60 {
        for index in 0..size {
            let path = tree.path(index, size).unwrap();
            let receipt = JsonReceipt {
                signature: vec![1],
                path,
                leaf: Leaf::Given(tree.leaf(index).unwrap()),
                node_id: None,
                certificate: None,
                service_endorsements: Vec::new(),
                is_signature_transaction: None,
                unknown_fields: Vec::new(),
            };
            assert_eq!(receipt.root(&receipt.leaf().unwrap()), tree.root_at(size).unwrap());
            assert!(receipt.tree_sizes(index).unwrap().contains(&size));
            let sides = directions(index, size).unwrap();
            assert!(receipt.path.iter().map(|step| step.0).eq(sides));
        }
    }
}

#[test]
fn leaf_with_and_without_claims_of_a_real_receipt() {
    let evidence =
        CommitEvidence::parse("ce:2.26:84d0b31e107b2a93671de89504a280c5d83db7186c595f921780d411a0a7e47e")
            .unwrap();
    let write_set =
        digest_from_hex("7b4b7c9d836b7684ab6fa2cf2cfba0e6b6aa7b7f4b615f5238240efe1bc7e7fa").unwrap();
    let claims = digest_from_hex("44b04e461470448dd26068ba101f4f1cdcceb0d02321cc90210123a99461abc3").unwrap();
    let leaf = leaf_hash(&write_set, &evidence, Some(&claims));
    assert_eq!(to_hex(&leaf), "74624703cb1ca6a38459df21fc5719d152719d3395c0e1f132021ebc64c4b957");
    let leaf = leaf_hash(&write_set, &evidence, None);
    assert_eq!(to_hex(&leaf), "7b1da81b8dfebed7e5cae4fb797fbc0c40df720dc484ee7c4fe676fe5600faab");
}
