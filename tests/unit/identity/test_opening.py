"""The members' opening proposal: what must hold for it to carry trust forwards."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from support.services import SOURCE, new_service
from tallystick.demo.cose_messages import sign_request
from tallystick.demo.identities import MemberIdentity, ServiceIdentity
from tallystick.demo.service import DemoService
from tallystick.errors import FormatError, VerificationError
from tallystick.identity.certificates import is_issued_by, parse_certificate, parse_public_key_pem, public_key
from tallystick.identity.opening import MemberKey, OpeningProposal, named_identities, verify_opening
from tallystick.identity.requests import MemberRequest, parse_cose_request, parse_http_request

YES = "export function vote (proposal, proposer_id) { return true }"
ROOT = hashlib.sha256(b"tree before").digest()
OLD, NEW = ServiceIdentity(SOURCE), ServiceIdentity(SOURCE)
MEMBERS = [MemberIdentity.create(SOURCE, f"member{i}") for i in range(3)]
KNOWN = {m.id: MemberKey(parse_certificate(m.certificate).spki.hex(), "Active") for m in MEMBERS}


def cose_value(message: bytes) -> bytes:
    import base64

    return json.dumps(base64.b64encode(message).decode()).encode()


def request(
    member: MemberIdentity,
    kind: str,
    body: bytes,
    proposal_id: str | None = None,
    *,
    signer: MemberIdentity | None = None,
) -> MemberRequest:
    key = (signer or member).key
    message = sign_request(key, member.id, kind, body, created_at=1, proposal_id=proposal_id)
    return parse_cose_request(member.id, cose_value(message))


def body(previous: str = OLD.certificate, following: str = NEW.certificate) -> bytes:
    arguments = {"previous_service_identity": previous, "next_service_identity": following}
    return json.dumps({"actions": [{"name": "transition_service_to_open", "args": arguments}]}).encode()


def proposal(
    text: bytes | None = None, *, voters: list[MemberIdentity] | None = None, ballot: str = YES
) -> OpeningProposal:
    text = text or body()
    sent = request(MEMBERS[0], "proposal", text)
    proposal_id = hashlib.sha256(ROOT + hashlib.sha256(sent.signature).digest()).hexdigest()
    made = OpeningProposal(proposal_id, text, 9, MEMBERS[0].id, sent, (ROOT,))
    for member in voters if voters is not None else MEMBERS[:2]:
        made.ballots[member.id] = ballot
        made.ballot_requests[member.id] = request(
            member, "ballot", json.dumps({"ballot": ballot}).encode(), proposal_id
        )
    made.final_votes = dict.fromkeys(made.ballots, True)
    return made


def verify(made: OpeningProposal, members: dict[str, MemberKey] = KNOWN) -> object:
    return verify_opening(made, members, OLD.fingerprint, NEW.fingerprint)


def test_a_majority_of_plain_ballots_decides() -> None:
    verified = verify_opening(proposal(), KNOWN, OLD.fingerprint, NEW.fingerprint)

    assert (verified.plain_yes, verified.members, verified.decided) == (2, 3, True)
    assert verified.proposer_id == MEMBERS[0].id
    assert set(verified.voters) == {m.id for m in MEMBERS[:2]}


@pytest.mark.parametrize(
    ("made", "plain"),
    [
        (proposal(voters=MEMBERS[:1]), 1),
        (proposal(voters=[]), 1),
        # What these say must be executed to know.
        (proposal(ballot="export function vote (p, i) { return p.length > 3 }"), 0),
        (proposal(ballot="export function vote () { return false }"), 0),
        (proposal(ballot="export function vote () { return true } throw new Error()"), 0),
    ],
)
def test_less_is_undecided(made: OpeningProposal, plain: int) -> None:
    verified = verify_opening(made, KNOWN, OLD.fingerprint, NEW.fingerprint)

    assert verified.plain_yes == plain
    assert not verified.decided


def test_members_that_are_not_active_do_not_count() -> None:
    members = {name: replace(key, status="Accepted") for name, key in KNOWN.items()}

    verified = verify_opening(proposal(), members, OLD.fingerprint, NEW.fingerprint)

    assert not verified.decided


def test_ballots_of_members_who_joined_since_are_not_counted() -> None:
    members = {m.id: KNOWN[m.id] for m in MEMBERS[:1]}

    verified = verify_opening(proposal(voters=MEMBERS), members, OLD.fingerprint, NEW.fingerprint)

    assert verified.voters == (MEMBERS[0].id,)


@pytest.mark.parametrize(
    "text",
    [
        body(following=OLD.certificate),
        body(previous=NEW.certificate),
        json.dumps({"actions": [{"name": "set_user"}]}).encode(),
        # One action that fits does not excuse another.
        json.dumps(
            {"actions": [*json.loads(body())["actions"], *json.loads(body(NEW.certificate))["actions"]]}
        ).encode(),
    ],
)
def test_other_identities(text: bytes) -> None:
    with pytest.raises(VerificationError, match="names other identities"):
        verify(proposal(text))


def test_a_proposal_that_names_nobody_decides_nothing() -> None:
    made = proposal(json.dumps({"actions": [{"name": "transition_service_to_open"}]}).encode())

    verified = verify_opening(made, KNOWN, OLD.fingerprint, NEW.fingerprint)

    assert verified.plain_yes == 2
    assert not verified.decided


def test_proposer_must_have_been_a_member_before() -> None:
    with pytest.raises(VerificationError, match="not a member under the previous identity"):
        verify(proposal(), {m.id: KNOWN[m.id] for m in MEMBERS[1:]})


def test_proposal_must_be_what_its_proposer_signed() -> None:
    made = proposal()
    made.body = body() + b" "

    with pytest.raises(VerificationError, match="not what its proposer signed"):
        verify(made)


def test_proposal_without_its_request() -> None:
    made = proposal()
    made.request = None

    with pytest.raises(VerificationError, match="signed request is not in the ledger"):
        verify(made)


def test_a_ballot_is_no_proposal() -> None:
    made = proposal()
    made.request = request(MEMBERS[0], "ballot", made.body, made.proposal_id)

    with pytest.raises(VerificationError, match="signed request is not in the ledger"):
        verify(made)


def test_forged_proposal_signature() -> None:
    made = proposal()
    made.request = request(MEMBERS[0], "proposal", made.body, signer=MEMBERS[1])

    with pytest.raises(VerificationError, match="does not hold"):
        verify(made)


def test_id_of_another_proposal() -> None:
    # Members once voted for this id; the proposal under it is now another.
    made = proposal()
    made.roots = (hashlib.sha256(b"another tree").digest(),)

    with pytest.raises(VerificationError, match="is not that of the signed request"):
        verify(made)


def test_a_request_executed_a_few_transactions_earlier() -> None:
    made = proposal()
    made.roots = (hashlib.sha256(b"newer").digest(), ROOT)

    assert verify(made)


def test_ballot_for_another_proposal() -> None:
    made = proposal()
    moved = request(MEMBERS[1], "ballot", json.dumps({"ballot": YES}).encode(), "0" * 64)
    made.ballot_requests[MEMBERS[1].id] = moved

    with pytest.raises(VerificationError, match="cast for another proposal"):
        verify(made)


def test_ballot_that_was_changed() -> None:
    made = proposal(ballot="export function vote () { return false }")
    made.ballots[MEMBERS[1].id] = YES

    with pytest.raises(VerificationError, match="not what it signed"):
        verify(made)


def test_ballot_without_its_request() -> None:
    made = proposal()
    del made.ballot_requests[MEMBERS[1].id]

    with pytest.raises(VerificationError, match="signed ballot of member"):
        verify(made)


def test_forged_ballot_signature() -> None:
    made = proposal()
    text = json.dumps({"ballot": YES}).encode()
    made.ballot_requests[MEMBERS[1].id] = request(MEMBERS[1], "ballot", text, made.proposal_id, signer=MEMBERS[2])

    with pytest.raises(VerificationError, match="does not hold"):
        verify(made)


def test_without_final_votes_every_ballot_counts() -> None:
    made = proposal()
    made.final_votes = None

    assert verify_opening(made, KNOWN, OLD.fingerprint, NEW.fingerprint).plain_yes == 2


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"actions": 3}', b'{"actions": [{"name": "transition_service_to_open", "args": 3}]}',
             b'{"actions": [{"name": "transition_service_to_open", "args": {"next_service_identity": 3}}]}',
             b'{"actions": [{"name": "transition_service_to_open", "args": {"next_service_identity": "PEM"}}]}'],
)  # fmt: skip
def test_malformed_proposals(text: bytes) -> None:
    with pytest.raises(FormatError):
        named_identities(text)


@pytest.mark.parametrize("value", [b"", b"{}", b'"%%%"', b'"AAAA"', b"[" * 100_000])
def test_malformed_requests(value: bytes) -> None:
    with pytest.raises(FormatError):
        parse_cose_request("ab", value)
    with pytest.raises(FormatError):
        parse_http_request("ab", value)


def test_a_request_in_the_row_of_another_member() -> None:
    message = sign_request(MEMBERS[0].key, MEMBERS[0].id, "proposal", b"{}", created_at=1)

    with pytest.raises(FormatError, match="is not that of member"):
        parse_cose_request(MEMBERS[1].id, cose_value(message))


def http_service(tmp_path: Path) -> DemoService:
    return new_service(tmp_path / "ledger", "2.x")


def test_http_request(tmp_path: Path) -> None:
    service = http_service(tmp_path)
    member = service.members[0]
    value = service._http_request(member, "/gov/proposals", b"{}")

    parsed = parse_http_request(member.id, json.dumps(value).encode())

    assert (parsed.kind, parsed.proposal_id, parsed.body) == ("proposal", None, b"{}")
    assert parsed.holds(public_key(parse_certificate(member.certificate).spki.hex()))
    assert not parsed.holds(public_key(parse_certificate(service.members[1].certificate).spki.hex()))


def test_http_request_whose_body_was_changed(tmp_path: Path) -> None:
    import base64

    service = http_service(tmp_path)
    value = service._http_request(service.members[0], "/gov/proposals", b"{}")
    value["request_body"] = base64.b64encode(b"[]").decode()

    with pytest.raises(FormatError, match="digest line"):
        parse_http_request(service.members[0].id, json.dumps(value).encode())


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (f"/gov/proposals/{'a' * 64}/ballots", "ballot"),
        (f"/gov/proposals/{'a' * 64}/withdraw", "withdrawal"),
        ("/gov/ack", "ack"),
        ("/gov/ack/update_state_digest", "other"),
        ("/app/gov/proposals", "other"),
    ],
)
def test_http_request_kinds(target: str, kind: str, tmp_path: Path) -> None:
    service = http_service(tmp_path)
    member = service.members[0]
    value = service._http_request(member, target, b"{}")

    assert parse_http_request(member.id, json.dumps(value).encode()).kind == kind
    with pytest.raises(FormatError, match="is not that of member"):
        parse_http_request("x", json.dumps(value).encode())


def test_certificates_are_compared_by_key() -> None:
    padded = parse_certificate(OLD.certificate.rstrip("\n") + "\n\0")

    assert padded.spki == parse_certificate(OLD.certificate).spki
    assert is_issued_by(padded, parse_certificate(OLD.certificate).spki.hex())
    assert not is_issued_by(padded, parse_certificate(NEW.certificate).spki.hex())


def test_public_key_pem() -> None:
    assert parse_public_key_pem(OLD.key.spki_pem) == OLD.key.spki
    for text in ("", OLD.certificate, OLD.key.spki_pem + OLD.key.spki_pem, "-----BEGIN PUBLIC KEY-----\n%\n-----END"):
        with pytest.raises(FormatError):
            parse_public_key_pem(text)
