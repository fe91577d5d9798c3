"""Requests: headers, signing elsewhere, and what was prepared and then altered."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import datetime, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from hypothesis import given
from hypothesis import strategies as st

from tallystick.cose import verify_sign1
from tallystick.errors import FormatError, UsageError, VerificationError
from tallystick.member.keys import MemberKeys, generate_keys
from tallystick.member.requests import GovernanceRequest, PreparedRequest, RequestType, read_signature

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
ALICE = generate_keys("alice", NOW, encryption=False)
BOB = generate_keys("bob", NOW, encryption=False)
PROPOSAL = "ab" * 32


def _sign_elsewhere(keys: MemberKeys, digest: bytes) -> bytes:
    digests = {32: SHA256(), 48: SHA384(), 64: SHA512()}
    return keys.key.sign(digest, ec.ECDSA(utils.Prehashed(digests[len(digest)])))


def _raw(der: bytes, width: int) -> bytes:
    r, s = utils.decode_dss_signature(der)
    return r.to_bytes(width, "big") + s.to_bytes(width, "big")


@pytest.mark.parametrize("kind", RequestType)
def test_headers_are_protected_and_complete(kind: RequestType) -> None:
    about = PROPOSAL if kind in (RequestType.BALLOT, RequestType.WITHDRAWAL) else None
    verified = verify_sign1(GovernanceRequest(kind, b"{}", 1_700_000_000, about).sign(ALICE), ALICE.certificate)

    headers: dict[int | str, object] = {1: -35, 4: ALICE.id.encode(), "ccf.gov.msg.type": kind.value}
    headers["ccf.gov.msg.created_at"] = 1_700_000_000
    if about is not None:
        headers["ccf.gov.msg.proposal_id"] = about
    assert verified.protected_headers == headers
    assert verified.unprotected_headers == {}
    assert verified.payload == b"{}"


@pytest.mark.parametrize(
    ("kind", "created_at", "proposal_id"),
    [
        (RequestType.BALLOT, 1, None),
        (RequestType.WITHDRAWAL, 1, "xyz"),
        (RequestType.PROPOSAL, 1, PROPOSAL),
        (RequestType.PROPOSAL, -1, None),
        (RequestType.PROPOSAL, 10_000_000_000, None),
    ],
)
def test_requests_that_no_service_takes(kind: RequestType, created_at: int, proposal_id: str | None) -> None:
    with pytest.raises(UsageError):
        GovernanceRequest(kind, b"", created_at, proposal_id)


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
@pytest.mark.parametrize("der", [True, False])
def test_signed_elsewhere(curve: str, der: bool) -> None:
    keys = generate_keys("carol", NOW, curve=curve, encryption=False)
    prepared = PreparedRequest.create(GovernanceRequest(RequestType.PROPOSAL, b"{}", 5), keys.certificate)
    copied = PreparedRequest.from_json(json.dumps(prepared.to_json()).encode(), "request.json")
    signature = _sign_elsewhere(keys, base64.b64decode(str(copied.to_json()["value"])))

    message = copied.finish(signature if der else _raw(signature, (keys.key.curve.key_size + 7) // 8))

    assert verify_sign1(message, keys.certificate).payload == b"{}"


def test_a_signature_that_does_not_hold_is_not_put_under() -> None:
    prepared = PreparedRequest.create(GovernanceRequest(RequestType.PROPOSAL, b"{}", 5), ALICE.certificate)

    with pytest.raises(VerificationError):
        prepared.finish(_sign_elsewhere(BOB, prepared.unsigned.digest))
    with pytest.raises(VerificationError):
        prepared.finish(bytes(96))
    with pytest.raises(FormatError) as malformed:
        prepared.finish(b"\x30\x03\x02\x01\x01")
    assert malformed.value.code == "cose-signature-malformed"


@pytest.mark.parametrize(
    "name", ["alg", "value", "payload", "createdAt", "type", "memberId", "certificate", "toBeSigned"]
)
def test_a_prepared_request_that_was_altered(name: str) -> None:
    document = PreparedRequest.create(GovernanceRequest(RequestType.PROPOSAL, b"{}", 5), ALICE.certificate).to_json()
    other = PreparedRequest.create(GovernanceRequest(RequestType.ACK, b"[]", 6), BOB.certificate).to_json()
    other["alg"] = -7
    altered = {**document, name: other[name]}

    with pytest.raises(UsageError, match="do not fit together"):
        PreparedRequest.from_json(json.dumps(altered).encode(), "request.json")


@given(st.binary(max_size=200))
def test_reading_what_others_wrote_is_total(data: bytes) -> None:
    for read in (PreparedRequest.from_json, read_signature):
        with contextlib.suppress(UsageError):
            read(data, "file")


@pytest.mark.parametrize(
    "text",
    [
        b'{"value": "-_8"}',
        b'{"kid": "x", "signature": "+/8="}',
        b'{"alg": -35, "value": "-_8="}',
        b"+/8=\n",
        b"-_8",
    ],
)
def test_signatures_as_signers_give_them_out(text: bytes) -> None:
    assert read_signature(text, "file") == b"\xfb\xff"
