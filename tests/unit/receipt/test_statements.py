"""Transparent statements and legacy receipts of a real SCITT service."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import cbor
from support.cbor import Tagged
from tallystick._native import CoseSign1
from tallystick.errors import VerificationError
from tallystick.findings import Verdict
from tallystick.identity.published_keys import parse_published_keys
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.receipt.model import Expected, Kind
from tallystick.receipt.statement import statement_claims_digest
from tallystick.receipt.verify import audit_receipts, verify_receipt

ISSUER = "esrp-cts-db.confidential-ledger.azure.com"
KEY = "da7694f16def5a056ca96afb21e89a9450e4cc875e2de351da76d99544a3e849"
CLAIMS = "a60138fb1591fe6c433b41128b0349cf3636bce74fc8c2e7140bc13b74612649"


@pytest.fixture
def scitt(shared_data: Path) -> Path:
    return shared_data / "receipts" / "scitt"


@pytest.fixture
def statement(scitt: Path) -> bytes:
    return (scitt / "transparent_statements" / "uvm_0.2.10.cose").read_bytes()


@pytest.fixture
def keys(scitt: Path) -> list[bytes]:
    return parse_published_keys((scitt / "transparent_statements" / "esrp-cts-db.json").read_bytes())


def _with_receipts(statement: bytes, receipts: object) -> bytes:
    parsed = CoseSign1.parse(statement)
    unprotected = {} if receipts is None else {394: receipts}
    return cbor.encode(Tagged(18, [parsed.protected, unprotected, parsed.payload, parsed.signature]))


def test_a_real_statement_holds_under_its_issuers_keys(statement: bytes, keys: list[bytes]) -> None:
    verified = verify_receipt(statement, TrustAnchor.none(), issuer_keys={ISSUER: keys})
    assert verified.kind is Kind.SCITT_STATEMENT
    assert verified.txid == "458.12440"
    assert verified.leaf.hex() == "64bd996fc2a6dd1a268b6d0f90a311d9ba3c1e874fb7841d17c7318062a102cd"
    assert verified.root.hex() == "9a9b439497b18eed7d5a1f3177c3206cb221e12e46e6f66bac935c62053b0466"
    assert verified.claims_digest is not None
    assert verified.claims_digest.hex() == CLAIMS
    assert verified.service_key_sha256 == KEY
    assert any("chain of the statement's certificates" in item for item in verified.not_checked)


def test_a_real_statement_holds_under_a_pinned_key(statement: bytes, keys: list[bytes]) -> None:
    assert verify_receipt(statement, TrustAnchor.from_keys(keys)).service_key_sha256 == KEY


def test_keys_count_for_the_issuer_that_published_them_only(statement: bytes, keys: list[bytes]) -> None:
    [result] = audit_receipts([(None, statement)], TrustAnchor.none(), issuer_keys={"other.example": keys})
    assert (result.verdict, result.findings[0].code) == (Verdict.FAILED, "issuer-mismatch")
    # A second issuer that lists the same key binds it to its own name too, and to no further one.
    both = {"other.example": keys, ISSUER: keys}
    assert verify_receipt(statement, TrustAnchor.none(), issuer_keys=both).txid == "458.12440"
    with pytest.raises(VerificationError) as caught:
        verify_receipt(statement, TrustAnchor.from_keys(keys), issuer="other.example")
    assert caught.value.code == "issuer-mismatch"


@pytest.mark.parametrize("receipts", [None, []])
def test_no_receipt_is_a_failure_whatever_is_trusted(statement: bytes, receipts: object) -> None:
    [result] = audit_receipts([(None, _with_receipts(statement, receipts))], TrustAnchor.none())
    assert (result.verdict, result.findings[0].code) == (Verdict.FAILED, "no-receipt")


def test_every_payload_without_receipts_fails(scitt: Path) -> None:
    for path in sorted((scitt / "payloads").glob("*.cose")):
        parsed = CoseSign1.parse(path.read_bytes())
        if 394 in parsed.unprotected_headers:
            continue
        [result] = audit_receipts([(path.name, path.read_bytes())], TrustAnchor.none())
        assert (result.verdict, result.findings[0].code) == (Verdict.FAILED, "no-receipt"), path.name


def test_the_same_receipt_twice_and_one_bad_receipt_fail(statement: bytes, keys: list[bytes]) -> None:
    [receipt] = CoseSign1.parse(statement).unprotected_headers[394]  # type: ignore[misc]  # a list, as just parsed
    anchor = TrustAnchor.from_keys(keys)
    [twice] = audit_receipts([(None, _with_receipts(statement, [receipt, receipt]))], anchor)
    assert (twice.verdict, twice.findings[0].code) == (Verdict.FAILED, "proof-duplicate")
    spoilt = receipt[:-1] + bytes([receipt[-1] ^ 1])
    [mixed] = audit_receipts([(None, _with_receipts(statement, [receipt, spoilt]))], anchor)
    assert (mixed.verdict, mixed.findings[0].code) == (Verdict.FAILED, "root-signature-invalid")
    assert mixed.findings[0].message.startswith("receipt 2 of 2: ")


def test_a_changed_statement_is_not_the_registered_one(statement: bytes, keys: list[bytes]) -> None:
    parsed = CoseSign1.parse(statement)
    payload = parsed.payload or b""
    changed = cbor.encode(
        Tagged(18, [parsed.protected, parsed.unprotected_headers, payload[:-1] + b"\0", parsed.signature])
    )
    [result] = audit_receipts([(None, changed)], TrustAnchor.from_keys(keys))
    assert result.verdict is Verdict.FAILED
    assert {item.code for item in result.findings if item.severity.value == "error"} == {
        "claims-digest-mismatch",
        "statement-signature-invalid",
    }


def test_claims_digest_of_a_statement_ignores_its_unprotected_header(statement: bytes) -> None:
    assert statement_claims_digest(CoseSign1.parse(statement)).hex() == CLAIMS
    assert statement_claims_digest(CoseSign1.parse(_with_receipts(statement, None))).hex() == CLAIMS
    [result] = audit_receipts([(None, statement)], TrustAnchor.none(), expected=Expected(claims_digest=bytes(32)))
    assert (result.verdict, result.findings[0].code) == (Verdict.FAILED, "claims-digest-mismatch")


def test_a_legacy_receipt_leads_to_its_nodes_signature(scitt: Path, keys: list[bytes]) -> None:
    data = (scitt / "payloads" / "cts-hashv-cwtclaims-b64url.cose").read_bytes()
    [result] = audit_receipts([(None, data)], TrustAnchor.none())
    # The service's certificate is not among the samples, so who vouches for the node stays open; the rest holds.
    assert (result.kind, result.verdict) == (Kind.SCITT_LEGACY, Verdict.UNDECIDED)
    assert [item.code for item in result.findings] == ["anchor-missing"]
    assert result.txid == "225.3563"
    [other] = audit_receipts([(None, data)], TrustAnchor.from_keys(keys))
    assert (other.verdict, other.findings[0].code) == (Verdict.FAILED, "node-certificate-issuer")
    parsed = CoseSign1.parse(data)
    payload = parsed.payload or b""
    changed = cbor.encode(
        Tagged(18, [parsed.protected, parsed.unprotected_headers, payload[:-1] + b"\0", parsed.signature])
    )
    [spoilt] = audit_receipts([(None, changed)], TrustAnchor.none())
    assert spoilt.verdict is Verdict.FAILED
    assert spoilt.findings[0].code in ("root-signature-invalid", "statement-signature-invalid")
