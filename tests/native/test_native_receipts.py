"""The native receipt parsers and key checks, on every receipt that a real node served."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate, load_der_x509_certificate, load_pem_x509_certificate

from tallystick import _native
from tallystick.errors import FormatError

# Kinds of file beside the receipts: what a node answers when it has none, and its COSE forms.
_NOT_JSON_RECEIPTS = (".err", "cose_", "verdicts")


def key_of(certificate: Certificate) -> _native.PublicKey:
    return _native.PublicKey.from_spki(
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )


def json_receipts(ccf_built: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(ccf_built.glob("*/receipts/**/*.json")):
        if any(word in path.name for word in _NOT_JSON_RECEIPTS):
            continue
        document = json.loads(path.read_bytes())
        yield path, json.dumps(document.get("receipt", document)).encode()


def service_keys(ccf_built: Path) -> dict[str, _native.PublicKey]:
    found = {}
    for path in ccf_built.rglob("*service-cert*.pem"):
        key = key_of(load_pem_x509_certificate(path.read_bytes()))
        found[key.sha256] = key
    for path in ccf_built.rglob("service_cert.pem"):
        key = key_of(load_pem_x509_certificate(path.read_bytes()))
        found[key.sha256] = key
    return found


def claims(ccf_built: Path) -> dict[tuple[str, str], str]:
    return {
        (service, txid): row["claims_digest"]
        for service in ("cpp3", "js1")
        for txid, row in json.loads((ccf_built / service / "claims.json").read_bytes()).items()
        if "claims_digest" in row
    }


def test_json_receipts_of_real_nodes_hold(ccf_built: Path) -> None:
    known_claims = claims(ccf_built)
    batch = _native.SignatureBatch()
    paths, given, withheld = [], 0, 0
    for tag, (path, document) in enumerate(json_receipts(ccf_built)):
        receipt = _native.JsonReceipt.parse(document)
        assert receipt.certificate_pem is not None
        key = key_of(load_pem_x509_certificate(receipt.certificate_pem.encode()))
        assert (key.sha256, receipt.unknown_fields) == (receipt.node_id, []), path
        leaf = receipt.leaf
        if receipt.txid is None:
            given += 1
            assert receipt.path == []
        else:
            seqno = int(receipt.txid.partition(".")[2])
            sizes = receipt.tree_sizes(seqno)
            assert sizes is not None
            size = sizes[0]
            assert [left for left, _ in receipt.path] == _native.merkle_path_directions(seqno, size)
            assert receipt.shape_fits(seqno)
        if leaf is None:
            withheld += 1
            service = path.relative_to(ccf_built).parts[0]
            digest = known_claims.get((service, receipt.txid or ""), "00" * 32)
            leaf = receipt.leaf_with_claims(bytes.fromhex(digest))
            with pytest.raises(ValueError, match="claims digest is missing"):
                batch.submit_receipts([(tag, receipt, key, None)])
        batch.submit_receipts([(tag, receipt, key, leaf)])
        paths.append(path)
    assert [str(paths[tag]) for tag in batch.finish()] == []
    assert (len(paths), given, withheld) == (332, 4, 64)


def test_many_receipts_are_parsed_at_once_and_damaged_ones_named(ccf_built: Path) -> None:
    documents = [document for _, document in json_receipts(ccf_built)]
    documents[7] = documents[7].replace(b'"proof"', b'"prof"')
    documents[100] += b"{}"
    parsed = _native.JsonReceipt.parse_many(documents)
    failures = {
        position: value.code for position, value in enumerate(parsed) if isinstance(value, _native.FormatErrorValue)
    }
    assert failures == {7: "receipt-field-missing", 100: "json-trailing-bytes"}
    alone = _native.JsonReceipt.parse(documents[8])
    beside = parsed[8]
    assert isinstance(beside, _native.JsonReceipt)
    assert (alone.leaf, alone.path, alone.signature) == (beside.leaf, beside.path, beside.signature)


def test_cose_receipts_of_real_nodes_hold_under_their_kid(ccf_built: Path) -> None:
    keys = service_keys(ccf_built)
    count = 0
    for path in sorted(ccf_built.glob("*/receipts/**/*cose_receipt.cose")):
        receipt = _native.CoseReceipt.parse(path.read_bytes())
        assert receipt.kid is not None
        key = keys[receipt.kid.decode()]
        sign1 = receipt.sign1
        assert sign1.algorithm is not None
        for proof in receipt.proofs:
            message = sign1.signed_bytes(proof.root)
            assert key.verifies_cose(message, sign1.signature, sign1.algorithm), path
            assert not key.verifies_cose(sign1.signed_bytes(proof.leaf), sign1.signature, sign1.algorithm)
        bare = path.with_name(path.name.replace("cose_receipt.cose", "cbor_merkle_proof.cbor"))
        alone = _native.CoseProof.parse(bare.read_bytes())
        assert (alone.leaf, alone.root) == (receipt.proofs[0].leaf, receipt.proofs[0].root)
        count += 1
    assert count == 85


def test_every_bit_of_a_cose_receipt_matters(ccf_built: Path) -> None:
    path = ccf_built / "cpp3/receipts/svc3-of-svc1/2.1030-private.cose_receipt.cose"
    data = path.read_bytes()
    keys = service_keys(ccf_built)
    whole = _native.CoseReceipt.parse(data)
    assert whole.kid is not None
    key = keys[whole.kid.decode()]
    root = whole.proofs[0].root
    assert root.hex() == "e5d12df8dab04891e1ac0b2f980a495bff52d4b0b53ac00d2cb074e5e400a3a9"
    for position in range(len(data) * 8):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        try:
            receipt = _native.CoseReceipt.parse(bytes(changed))
        except FormatError:
            continue
        sign1 = receipt.sign1
        assert sign1.algorithm is not None
        message = sign1.signed_bytes(receipt.proofs[0].root)
        assert not key.verifies_cose(message, sign1.signature, sign1.algorithm), f"bit {position}"


def test_transparent_statement(shared_data: Path) -> None:
    statement = (shared_data / "receipts/scitt/transparent_statements/uvm_0.2.10.cose").read_bytes()
    sign1 = _native.CoseSign1.parse(statement)
    receipts = sign1.unprotected_headers[394]
    assert isinstance(receipts, list)
    receipt = _native.CoseReceipt.parse(receipts[0])
    assert receipt.proofs[0].root.hex() == "9a9b439497b18eed7d5a1f3177c3206cb221e12e46e6f66bac935c62053b0466"
    assert receipt.signature_txid == "458.12441"
    assert receipt.issuer == "esrp-cts-db.confidential-ledger.azure.com"
    # The claims digest is that of the statement with an empty unprotected header.
    bare = _native.CborTag(18, [sign1.protected, {}, sign1.payload, sign1.signature])
    assert hashlib.sha256(_native.cbor_encode(bare)).digest() == receipt.proofs[0].claims_digest


def test_third_party_messages_parse_and_their_certificates_verify(shared_data: Path) -> None:
    verified = 0
    for path in sorted((shared_data / "receipts/scitt").rglob("*.cose")):
        sign1 = _native.CoseSign1.parse(path.read_bytes())
        chain = sign1.protected_headers.get(33)
        if chain is None:
            continue
        leaf = chain[0] if isinstance(chain, list) else chain
        assert isinstance(leaf, bytes)
        assert sign1.algorithm is not None
        key = key_of(load_der_x509_certificate(leaf))
        assert key.verifies_cose(sign1.signed_bytes(), sign1.signature, sign1.algorithm), path
        for other in (-7, -35, -36, -37, -38, -39):
            if other != sign1.algorithm:
                assert not key.verifies_cose(sign1.signed_bytes(), sign1.signature, other)
        verified += 1
    assert verified >= 4


def test_confidential_ledger_receipt(shared_data: Path) -> None:
    receipt = _native.JsonReceipt.parse((shared_data / "receipts/acl/receipt_2.35.json").read_bytes())
    assert receipt.leaf is not None
    assert receipt.leaf.hex() == "52ce29a3663b093b34c34bda0e8714b83015429577c00078eb73fdb13bb6e9b7"
    root = receipt.root(receipt.leaf)
    assert root.hex() == "283afa446263bcc3be31a980957fe3d0196494bf100df6774249f09d10755101"
    assert (receipt.is_signature_transaction, receipt.service_endorsements) == (False, [])
    assert receipt.tree_sizes(35) == (36, 36)
    assert receipt.certificate_pem is not None
    key = key_of(load_pem_x509_certificate(receipt.certificate_pem.encode()))
    assert key.kind == "P-256"
    assert key.verifies_prehashed(root, receipt.signature)


def test_endorsements_of_previous_identities_verify_along_the_chain(ccf_built: Path) -> None:
    folder = ccf_built / "cpp3/receipts/svc3-of-svc1"
    current = key_of(load_pem_x509_certificate((ccf_built / "cpp3/service-cert-3.pem").read_bytes()))
    chains = 0
    for path in sorted(folder.glob("*cose_endorsements.json")):
        document = json.loads(path.read_bytes())
        key = current
        for text in document["endorsements"]:
            sign1 = _native.CoseSign1.parse(base64.b64decode(text))
            assert sign1.algorithm is not None
            assert key.verifies_cose(sign1.signed_bytes(), sign1.signature, sign1.algorithm), path
            assert sign1.payload is not None
            key = _native.PublicKey.from_spki(sign1.payload)
        chains += 1
    assert chains > 0
