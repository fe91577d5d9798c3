"""Governance records and members' requests are parsed as they are, or not at all."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.services import SOURCE
from tallystick._native import PublicKey
from tallystick.demo.cose_messages import sign_request
from tallystick.demo.identities import MemberIdentity
from tallystick.errors import FormatError, LimitExceededError
from tallystick.governance.events import when
from tallystick.governance.records import (
    parse_ack,
    parse_actions,
    parse_member_info,
    parse_node_info,
    parse_proposal_info,
    parse_service_info,
)
from tallystick.identity.requests import ballot_text, parse_cose_request, parse_http_request
from tallystick.ledger.writer import json_bytes

MEMBER = MemberIdentity.create(SOURCE, "member")

PARSERS = [parse_proposal_info, parse_member_info, parse_ack, parse_node_info, parse_service_info, parse_actions]


def test_a_proposal_record() -> None:
    value = {
        "ballots": {"m": "text"},
        "final_votes": {"m": True},
        "proposer_id": "m",
        "state": "Accepted",
        "vote_failures": {"n": {"reason": "x"}},
    }
    info = parse_proposal_info(json_bytes(value))

    assert (info.state, dict(info.ballots), dict(info.final_votes or {})) == ("Accepted", {"m": "text"}, {"m": True})
    assert info.vote_failures == frozenset({"n"})
    assert info.open_value() == b'{"ballots":{"m":"text"},"proposer_id":"m","state":"Open"}'


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b'{"state":"Open"}',
        b'{"proposer_id":"m","state":"Maybe"}',
        b'{"proposer_id":"m","state":"Open","state":"Accepted"}',
        b'{"proposer_id":"m","state":"Open","ballots":{"m":1}}',
        b'{"proposer_id":"m","state":"Open","ballots":[]}',
        b'{"proposer_id":"m","state":"Open","final_votes":{"m":"yes"}}',
        b'{"proposer_id":"m","state":"Open","ballots":{}}\xff',
        b"[" * 100_000,
    ],
)
def test_a_malformed_proposal_record(value: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_proposal_info(value)
    assert caught.value.code == "gov-record-malformed"


@pytest.mark.parametrize("parse", PARSERS)
@given(value=st.one_of(st.binary(max_size=64), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["state", "status", "ballots", "cert", "actions", "name"]), inner),
    max_leaves=8,
)))  # fmt: skip
def test_parsers_are_total(parse: object, value: object) -> None:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    with contextlib.suppress(FormatError):
        parse(data)  # type: ignore[operator]  # parametrised


def _message(**changes: object) -> bytes:
    arguments = {"kind": "ballot", "payload": b"{}", "created_at": 5, "proposal_id": "ab" * 32, **changes}
    return sign_request(MEMBER.key, MEMBER.id, **arguments)  # type: ignore[arg-type]  # as the keywords say


def _recorded(message: bytes) -> bytes:
    return json_bytes(base64.b64encode(message).decode())


def test_a_cose_request() -> None:
    request = parse_cose_request(MEMBER.id, _recorded(_message()))

    assert (request.kind, request.proposal_id, request.created_at, request.body) == ("ballot", "ab" * 32, 5, b"{}")
    key = PublicKey.from_spki(MEMBER.key.spki)
    assert key.verifies_cose(request.signed, request.signature, request.algorithm or 0)
    digest = hashlib.sha256(request.signature)
    assert request.replay_key == b"0000000005:" + digest.hexdigest().encode()
    assert request.proposal_ids([bytes(32)]) == {hashlib.sha256(bytes(32) + digest.digest()).hexdigest()}


@pytest.mark.parametrize("value", [b"", b"1", b'"!"', b'"AAAA"', json_bytes(base64.b64encode(b"\xd2\x84").decode())])
def test_a_malformed_cose_request(value: bytes) -> None:
    with pytest.raises((FormatError, LimitExceededError)):
        parse_cose_request(MEMBER.id, value)


def test_a_request_of_another_member() -> None:
    with pytest.raises(FormatError, match="not that of member"):
        parse_cose_request("cd" * 32, _recorded(_message()))


def _http(**changes: object) -> bytes:
    body = b'{"ballot": "x"}'
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    target = f"(request-target): post /gov/proposals/{'ab' * 32}/ballots"
    lines = [target, f"digest: SHA-256={digest}", f"content-length: {len(body)}"]
    signed = "\n".join(lines).encode()
    record = {
        "key_id": MEMBER.id,
        "md": "NONE",
        "req": base64.b64encode(signed).decode(),
        "request_body": base64.b64encode(body).decode(),
        "sig": base64.b64encode(MEMBER.key.sign(signed)).decode(),
        **changes,
    }
    return json_bytes(record)


def test_an_http_request() -> None:
    request = parse_http_request(MEMBER.id, _http())

    assert (request.kind, request.proposal_id, ballot_text(request.body)) == ("ballot", "ab" * 32, "x")
    assert request.holds(PublicKey.from_spki(MEMBER.key.spki))


@pytest.mark.parametrize(
    "changes",
    [
        {"md": "MD5"},
        {"sig": "!"},
        {"req": None},
        {"request_body": base64.b64encode(b"other").decode()},
        {"req": base64.b64encode(b"(request-target): post /gov/ack\n").decode()},
        {"req": base64.b64encode(b"\xff").decode()},
        {"key_id": "cd" * 32},
    ],
)
def test_a_malformed_http_request(changes: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        parse_http_request(MEMBER.id, _http(**changes))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"ballot": 1}', b"[" * 100_000])
def test_a_body_without_a_ballot(body: bytes) -> None:
    assert ballot_text(body) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1970-01-01T00:00:00Z"), (None, None), (10**18, None), (1_743_112_490, "2025-03-27T21:54:50Z")],
)
def test_when(seconds: int | None, text: str | None) -> None:
    assert when(seconds) == text
