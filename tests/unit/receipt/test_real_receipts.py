"""Every receipt that real nodes served, under each identity of its service: what must hold holds, nothing else does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from support.slow_receipt import SlowJsonReceipt
from tallystick.findings import Verdict
from tallystick.identity.endorsements import parse_endorsements
from tallystick.identity.ledger_copy import LedgerCopy
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.receipt.model import Expected, Kind, ReceiptResult
from tallystick.receipt.verify import audit_receipts, verify_receipt

_KINDS = {"json": Kind.CCF_JSON, "cose_receipt.cose": Kind.CCF_COSE, "cbor_merkle_proof.cbor": Kind.MERKLE_PROOF}


@cache
def _service(root: Path) -> list[tuple[str, bytes, dict[str, Any]]]:
    """(name, content, what is known of it) of every receipt of a service."""
    verdicts = json.loads((root / "receipts" / "verdicts.json").read_text())
    return [(name, (root / name).read_bytes(), known) for name, known in sorted(verdicts.items())]


@pytest.fixture(params=["js1", "cpp3"])
def service(request: pytest.FixtureRequest, ccf_built: Path) -> Path:
    return ccf_built / request.param


def _receipts(service: Path) -> list[tuple[str, bytes, dict[str, Any]]]:
    return [row for row in _service(service) if "cose_endorsement." not in row[0]]


def _claims(service: Path) -> dict[str, Any]:
    return json.loads((service / "claims.json").read_text())


def _expected(service: Path, name: str) -> Expected:
    """What the application bound to the transaction, for receipts that withhold it."""
    txid = Path(name).name.split("-")[0]
    digest = _claims(service).get(txid, {}).get("claims_digest")
    if digest is None or not name.endswith("historical_receipt.json"):
        return Expected()
    return Expected(claims_digest=bytes.fromhex(digest))


def _certificates(service: Path) -> list[str]:
    names = {name for _, _, known in _service(service) for name in known.get("service_certs", ())}
    return sorted(name for name in names if (service / name).is_file())


def _trusted(name: str, known: dict[str, Any], certificate: str) -> bool:
    """Whether the receipt must hold under the certificate.

    The record names the identity that was present when it was served. The one of the life that signed, from
    which the node's certificate comes directly, vouches for it as well.
    """
    if certificate in known["service_certs"]:
        return True
    life = re.search(r"svc[23]-of-svc([12])/", name)
    return life is not None and certificate in _LIVES[life[1]]


_LIVES = {"1": ("service-cert-1.pem", "service-cert-renewed.pem"), "2": ("service-cert-2.pem",)}


def _audit(service: Path, certificate: str, rows: list[tuple[str, bytes, dict[str, Any]]]) -> Iterator[ReceiptResult]:
    """One run a receipt's expectation, so that claims differ from file to file."""
    anchor = TrustAnchor.from_options(service_certs=[service / certificate])
    groups: dict[Expected, list[tuple[str | None, bytes]]] = {}
    for name, data, _ in rows:
        groups.setdefault(_expected(service, name), []).append((name, data))
    results = {}
    for expected, receipts in groups.items():
        for result in audit_receipts(receipts, anchor, expected=expected):
            results[result.file] = result
    return iter(results[name] for name, _, _ in rows)


def test_each_receipt_holds_under_its_identity_only(service: Path) -> None:
    rows = [row for row in _receipts(service) if "service_certs" in row[2]]
    counted = 0
    for certificate in _certificates(service):
        for (name, data, known), result in zip(rows, _audit(service, certificate, rows), strict=True):
            trusted = _trusted(name, known, certificate)
            assert (result.verdict is Verdict.VERIFIED) == trusted, (name, certificate, result.findings)
            counted += trusted
            if not trusted:
                assert result.verdict is Verdict.FAILED
                assert result.findings[0].code in ("node-certificate-issuer", "service-key-mismatch")
                continue
            if "leaf" in known:
                assert result.leaf is not None
                assert result.root is not None
                assert (result.leaf.hex(), result.root.hex()) == (known["leaf"], known["root"]), name
            assert any(item.code == "signed-root-only" for item in result.findings) == bool(known.get("signature_tx"))
            assert result.kind is (Kind.CCF_COSE if data[:1] == b"\xd2" else Kind.CCF_JSON)
    assert counted >= len(rows)


def test_a_slow_twin_agrees_on_every_json_receipt(service: Path) -> None:
    for name, data, known in _receipts(service):
        if not name.endswith(".json"):
            continue
        twin = SlowJsonReceipt.parse(data)
        claims = _expected(service, name).claims_digest
        assert (twin.leaf(claims).hex(), twin.root(claims).hex()) == (known["leaf"], known["root"])
        key = load_pem_x509_certificate(twin.document["cert"].encode()).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(twin.signature, twin.root(claims), ec.ECDSA(Prehashed(SHA256())))


def test_withheld_claims_leave_it_undecided_until_they_are_given(service: Path) -> None:
    certificate = _certificates(service)[0]
    anchor = TrustAnchor.from_options(service_certs=[service / certificate])
    seen = 0
    for name, data, known in _receipts(service):
        if not name.endswith("historical_receipt.json") or certificate not in known["service_certs"]:
            continue
        components = json.loads(data)["receipt"].get("leaf_components", {})
        if "claims_digest" in components:
            continue
        seen += 1
        [result] = audit_receipts([(name, data)], anchor)
        assert result.verdict is Verdict.UNDECIDED
        assert result.findings[0].code == "claims-digest-needed"
        digest = _claims(service)[Path(name).name.split("-")[0]].get("claims_digest")
        hint = "the signature holds with --claims-digest 0000" in result.findings[0].message
        assert hint == (digest is None or set(digest) == {"0"})
    assert seen


def test_proofs_signatures_and_endorsements_on_their_own_decide_nothing(ccf_built: Path) -> None:
    folder = ccf_built / "cpp3" / "receipts" / "svc3-of-svc1"
    anchor = TrustAnchor.from_options(service_certs=[ccf_built / "cpp3" / "service-cert-3.pem"])
    for suffix, kind, code in (
        ("cbor_merkle_proof.cbor", Kind.MERKLE_PROOF, "merkle-proof-only"),
        ("cose_signature.cose", Kind.COSE_SIGNATURE, "cose-signature-only"),
        ("cose_signature.json", Kind.COSE_SIGNATURE, "cose-signature-only"),
        ("cose_endorsement.0.cose", Kind.ENDORSEMENT, "endorsement-only"),
        ("cose_endorsements.json", Kind.ENDORSEMENT, "endorsement-only"),
    ):
        [result] = audit_receipts([(None, (folder / f"2.1030-private.{suffix}").read_bytes())], anchor)
        assert (result.kind, result.verdict, result.findings[0].code) == (kind, Verdict.UNDECIDED, code)


def test_endorsements_lead_from_the_present_key_to_the_first(ccf_built: Path) -> None:
    cpp3 = ccf_built / "cpp3"
    folder = cpp3 / "receipts" / "svc3-of-svc1"
    anchor = TrustAnchor.from_options(service_certs=[cpp3 / "service-cert-3.pem"])
    links = parse_endorsements((folder / "2.1030-private.cose_endorsements.json").read_bytes())
    receipt = (folder / "2.1030-private.cose_receipt.cose").read_bytes()

    verified = verify_receipt(receipt, anchor, endorsements=links)

    assert verified.txid == "2.1030"
    assert verified.service_key_sha256 == next(iter(anchor.fingerprints))
    assert [note.code for note in verified.notes] == ["service-endorsed"]
    assert "2.1 to 3.1422" in verified.notes[0].message
    # The chain has two links; with either of them missing it leads nowhere.
    for incomplete in (links[:1], links[1:]):
        [result] = audit_receipts([(None, receipt)], anchor, endorsements=incomplete)
        assert (result.verdict, result.findings[0].code) == (Verdict.FAILED, "service-key-mismatch")


def test_a_ledger_copy_brings_its_endorsements_along(ccf_built: Path) -> None:
    cpp3 = ccf_built / "cpp3"
    ledger = LedgerCopy([cpp3 / "state-final/node8/ledger-committed", cpp3 / "state-final/node8/ledger-current"])
    anchor = TrustAnchor.from_options(service_certs=[cpp3 / "service-cert-3.pem"])
    for name, begin in (("svc1/2.24-private", "2.1"), ("svc3-of-svc2/5.1462-private", "5.1423")):
        data = (cpp3 / "receipts" / f"{name}.cose_receipt.cose").read_bytes()
        verified = verify_receipt(data, anchor, ledger=ledger)
        assert begin in verified.notes[0].message


def test_json_receipts_without_their_endorsement_need_the_cose_chain(ccf_built: Path) -> None:
    cpp3 = ccf_built / "cpp3"
    anchor = TrustAnchor.from_options(service_certs=[cpp3 / "service-cert-3.pem"])
    links = parse_endorsements((cpp3 / "receipts/svc3-of-svc1/2.1030-private.cose_endorsements.json").read_bytes())
    data = (cpp3 / "receipts/svc1/2.24-private.node.json").read_bytes()
    [alone] = audit_receipts([(None, data)], anchor)
    [helped] = audit_receipts([(None, data)], anchor, endorsements=links)
    assert (alone.verdict, alone.findings[0].code) == (Verdict.FAILED, "node-certificate-issuer")
    assert helped.verdict is Verdict.VERIFIED
    # The receipt of a signature transaction names no transaction, so no epoch can contain it.
    data = (cpp3 / "receipts/svc1/2.2-tx2.node.json").read_bytes()
    [unplaced] = audit_receipts([(None, data)], anchor, endorsements=links)
    assert (unplaced.verdict, unplaced.findings[0].code) == (Verdict.UNDECIDED, "epoch-unknown")


def test_a_fingerprint_is_enough_once_its_key_is_met(ccf_built: Path) -> None:
    cpp3 = ccf_built / "cpp3"
    data = (cpp3 / "receipts/svc1/2.24-private.cose_receipt.cose").read_bytes()
    first = "51aa189b955c240ef50e6688de760ef347a31803f48af447e43a43efda67ce89"
    anchor = TrustAnchor.from_options(service_key_sha256=[first])
    [unknown] = audit_receipts([(None, data)], anchor)
    assert (unknown.verdict, unknown.findings[0].code) == (Verdict.UNDECIDED, "service-key-needed")
    links = parse_endorsements((cpp3 / "receipts/svc3-of-svc1/2.1030-private.cose_endorsements.json").read_bytes())
    assert verify_receipt(data, anchor, endorsements=links).service_key_sha256 == first
    ledger = LedgerCopy([cpp3 / "state-final/node8/ledger-committed"])
    assert verify_receipt(data, anchor, ledger=ledger).service_key_sha256 == first
    # An endorsement certificate in a JSON receipt holds the older key too.
    data = (cpp3 / "receipts/svc3-of-svc1/2.1030-private.node.json").read_bytes()
    assert verify_receipt(data, anchor).service_key_sha256 == first


def test_without_an_anchor_nothing_is_verified(service: Path) -> None:
    rows = [row for row in _receipts(service) if "service_certs" in row[2]]
    results = audit_receipts([(name, data) for name, data, _ in rows], TrustAnchor.none())
    assert {result.verdict for result in results} == {Verdict.UNDECIDED}
    codes = {item.code for result in results for item in result.findings if item.severity.value == "warning"}
    assert codes == {"anchor-missing", "claims-digest-needed"}


def test_every_receipt_agrees_with_its_ledger(service: Path) -> None:
    folders = {"js1": ["ledger"], "cpp3": ["state-final/node8/ledger-committed", "state-final/node8/ledger-current"]}
    ledger = LedgerCopy([service / folder for folder in folders[service.name]])
    rows = [row for row in _receipts(service) if "leaf" in row[2] and "service_certs" in row[2]]
    anchor = TrustAnchor.from_options(service_certs=[service / name for name in _certificates(service)])
    for name, data, _ in rows:
        expected = _expected(service, name)
        [result] = audit_receipts([(name, data)], anchor, expected=expected, ledger=ledger)
        assert result.verdict is Verdict.VERIFIED, (name, result.findings)


def test_a_receipt_of_another_ledger_is_a_fork(ccf_built: Path) -> None:
    cpp3 = ccf_built / "cpp3"
    anchor = TrustAnchor.from_options(service_certs=[cpp3 / "service-cert-1.pem"])
    ledger = LedgerCopy([ccf_built / "js1" / "ledger"])
    data = (cpp3 / "receipts/svc1/2.24-private.node.json").read_bytes()
    [result] = audit_receipts([(None, data)], anchor, ledger=ledger)
    assert (result.verdict, result.findings[0].code) == (Verdict.FAILED, "ledger-leaf-mismatch")
