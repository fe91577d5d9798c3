"""Azure Confidential Ledger: its receipt, its claims, and responses that hold both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import FormatError
from tallystick.findings import Verdict
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.receipt.application_claims import claims_digest_of, parse_application_claims
from tallystick.receipt.model import Kind
from tallystick.receipt.verify import audit_receipts, verify_receipt

ENTRY = {
    "kind": "LedgerEntry",
    "ledgerEntry": {
        "collectionId": "subledger:0",
        "contents": "Hello world",
        "protocol": "LedgerEntryV1",
        "secretKey": "Jde/VvaIfyrjQ/B19P+UJCBwmcrgN7sERStoyHnYO0M=",
    },
}
DIGEST = {
    "kind": "ClaimDigest",
    "digest": {
        "protocol": "LedgerEntryV1",
        "value": "feb516ef1f903c64f1e388d9ee9fde11f64d1e2bc170248828c9eab9894f9ab9",
    },
}
ONE = "d08d8764437d09b2d4d07d52293cddaf40f44a3ea2176a0528819a80002df9f6"
BOTH = "101badd94866d0ba66c987c9033a7b197f3ff5cc2772a9ce8453363095ce0d2c"


def test_claims_give_the_digests_of_the_vectors() -> None:
    assert claims_digest_of([ENTRY]).hex() == ONE
    assert claims_digest_of([DIGEST]).hex() == ONE
    assert claims_digest_of([ENTRY, DIGEST]).hex() == BOTH
    snake = {
        "kind": "LedgerEntry",
        "ledger_entry": {
            "collection_id": "subledger:0",
            "contents": "Hello world",
            "protocol": "LedgerEntryV1",
            "secret_key": ENTRY["ledgerEntry"]["secretKey"],  # type: ignore[index]  # a dict, as written above
        },
    }
    assert claims_digest_of([snake]).hex() == ONE


def test_claims_of_the_sample_file(shared_data: Path) -> None:
    samples = json.loads((shared_data / "receipts" / "acl" / "claims.json").read_text())
    for sample in samples.values():
        assert parse_application_claims(json.dumps(sample).encode()).hex() == sample["digest"]


@pytest.mark.parametrize(
    "claims",
    [
        [],
        None,
        {},
        "text",
        [None],
        [{}],
        [{"kind": "Other"}],
        [{"kind": "LedgerEntry"}],
        [{"kind": "LedgerEntry", "ledgerEntry": {**ENTRY["ledgerEntry"], "secretKey": "not base64!"}}],  # type: ignore[dict-item]  # a dict
        [{"kind": "LedgerEntry", "ledgerEntry": {**ENTRY["ledgerEntry"], "secret_key": "AA=="}}],  # type: ignore[dict-item]  # a dict
        [{"kind": "LedgerEntry", "ledgerEntry": {**ENTRY["ledgerEntry"], "protocol": "V2"}}],  # type: ignore[dict-item]  # a dict
        [{"kind": "ClaimDigest", "digest": {"protocol": "LedgerEntryV1", "value": "abcd"}}],
        [{"kind": "ClaimDigest", "digest": {"protocol": "LedgerEntryV1", "value": "zz" * 32}}],
        [ENTRY] * 1025,
    ],
)
def test_anything_else_is_refused(claims: object) -> None:
    with pytest.raises(FormatError) as caught:
        claims_digest_of(claims)
    assert caught.value.code == "claims-malformed"


@pytest.fixture
def receipt(shared_data: Path) -> dict[str, Any]:
    return json.loads((shared_data / "receipts" / "acl" / "receipt_2.35.json").read_text())


@pytest.fixture
def anchor(shared_data: Path) -> TrustAnchor:
    return TrustAnchor.from_options(service_certs=[shared_data / "receipts" / "acl" / "service_cert.pem"])


def _audit(document: object, anchor: TrustAnchor) -> tuple[Kind, Verdict, str]:
    [result] = audit_receipts([(None, json.dumps(document).encode())], anchor)
    return result.kind, result.verdict, result.findings[0].code if result.findings else ""


def test_the_sample_receipt_holds(receipt: dict[str, Any], anchor: TrustAnchor) -> None:
    verified = verify_receipt(json.dumps(receipt).encode(), anchor)
    assert verified.txid == "2.35"
    assert verified.leaf.hex() == "52ce29a3663b093b34c34bda0e8714b83015429577c00078eb73fdb13bb6e9b7"
    assert verified.root.hex() == "283afa446263bcc3be31a980957fe3d0196494bf100df6774249f09d10755101"


def test_a_response_around_it_must_agree_with_it(receipt: dict[str, Any], anchor: TrustAnchor) -> None:
    response = {"receipt": receipt, "transactionId": "2.35", "state": "Ready"}
    assert _audit(response, anchor) == (Kind.ACL, Verdict.VERIFIED, "")
    assert _audit({**response, "transactionId": "2.36"}, anchor) == (Kind.ACL, Verdict.FAILED, "txid-mismatch")
    # This entry has no claims, so none can be said to be in it; and an empty list would check nothing.
    assert _audit({**response, "applicationClaims": [ENTRY]}, anchor)[1:] == (Verdict.FAILED, "claims-digest-mismatch")
    assert _audit({**response, "applicationClaims": []}, anchor)[1:] == (Verdict.FAILED, "claims-malformed")
    assert _audit({**response, "transactionId": 7}, anchor)[1:] == (Verdict.FAILED, "receipt-malformed")
