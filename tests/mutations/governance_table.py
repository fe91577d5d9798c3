"""What a malicious service can do to its own governance: each with the finding that must catch it.

The service signs what it writes, so every root and every signature of the ledger holds; members sign only what
they mean. What gives the service away is that ledger, members' requests and rules do not agree.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass

from support.consortium import (
    ACKS,
    CONSTITUTION,
    GOV,
    INTERNAL,
    MEASUREMENTS,
    MEMBERS_INFO,
    NO,
    PROPOSALS,
    PROPOSALS_INFO,
    RECENT,
    USERS_CERTS,
    YES,
    Consortium,
    merged,
    rules,
)
from tallystick.demo.identities import MemberIdentity, ServiceIdentity
from tallystick.ledger.writer import json_bytes
from tallystick.tables.names import SINGLETON_KEY

SERVICE_INFO, NODES_INFO = GOV + "service.info", GOV + "nodes.info"
ENDORSED = GOV + "nodes.endorsed_certificates"
SHARES = INTERNAL + "recovery_shares"


@dataclass(frozen=True)
class Cheat:
    """One way to cheat.

    Attributes:
        name: what was done.
        codes: of these findings, each must be there.
        commit: does it to a service that is open and honest so far; the caller signs afterwards.
    """

    name: str
    codes: tuple[str, ...]
    commit: Callable[[Consortium], object]


CHEATS: list[Cheat] = []


def _cheat(name: str, *codes: str) -> Callable[[Callable[[Consortium], object]], Callable[[Consortium], object]]:
    def register(commit: Callable[[Consortium], object]) -> Callable[[Consortium], object]:
        CHEATS.append(Cheat(name, codes, commit))
        return commit

    return register


def _user(service: Consortium, number: int = 0) -> tuple[str, object]:
    return "set_user", {"cert": service.users[number].certificate}


# --------------------------------------------------------------------------------------------------- ballots


@_cheat("a ballot against is counted as one in favour", "gov-vote-wrong", "gov-state-wrong")
def _wrong_vote(service: Consortium) -> None:
    proposal_id, last = service.nearly(_user(service))
    rows = service.user_rows(service.users[0])
    votes = {member.id: True for member in service.members[:2]}
    service.ballot(last, proposal_id, NO, state="Accepted", votes=votes, changes=rows)


@_cheat("an earlier ballot disappears", "gov-proposal-changed")
def _dropped_ballot(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    service.ballot(service.members[0], proposal_id, NO)
    service.ballot(service.members[1], proposal_id, info={"ballots": {service.members[1].id: YES}})


@_cheat("an earlier ballot is rewritten", "gov-proposal-changed")
def _rewritten_ballot(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    service.ballot(service.members[0], proposal_id, NO)
    ballots = {member.id: YES for member in service.members[:2]}
    service.ballot(
        service.members[1],
        proposal_id,
        state="Accepted",
        votes=dict.fromkeys(ballots, True),
        info={"ballots": ballots},
        changes=service.user_rows(service.users[0]),
    )


@_cheat("a ballot is recorded other than it was signed", "gov-request-mismatch")
def _altered_ballot(service: Consortium) -> None:
    proposal_id, last = service.nearly(_user(service))
    rows = service.user_rows(service.users[0])
    service.ballot(last, proposal_id, NO, recorded_text=YES, state="Accepted", changes=rows)


@_cheat("a ballot is made up, without a request", "gov-request-missing")
def _made_up_ballot(service: Consortium) -> None:
    proposal_id, last = service.nearly(_user(service))
    service.ballot(last, proposal_id, state="Accepted", record={}, changes=service.user_rows(service.users[0]))


@_cheat("a ballot is signed with another key than its member's", "gov-request-signature")
def _forged_ballot(service: Consortium) -> None:
    proposal_id, last = service.nearly(_user(service))
    body = json.dumps({"ballot": YES}).encode()
    message = service.request(last, "ballot", body, proposal_id=proposal_id, signer=service.stranger)
    rows = service.user_rows(service.users[0])
    service.ballot(last, proposal_id, message=message, state="Accepted", changes=rows)


@_cheat("a ballot for one proposal is counted for another", "gov-request-mismatch")
def _moved_ballot(service: Consortium) -> None:
    other = service.submit(service.members[1], _user(service, 1))
    proposal_id, last = service.nearly(_user(service))
    message = service.request(last, "ballot", json.dumps({"ballot": YES}).encode(), proposal_id=other)
    rows = service.user_rows(service.users[0])
    service.ballot(last, proposal_id, message=message, state="Accepted", changes=rows)


@_cheat("a withdrawal is taken for a ballot", "gov-request-mismatch")
def _wrong_type(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    body = json.dumps({"ballot": YES}).encode()
    message = service.request(service.members[0], "withdrawal", body, proposal_id=proposal_id)
    service.ballot(service.members[0], proposal_id, message=message)


@_cheat("a ballot is received and not counted", "gov-request-unused")
def _ignored_ballot(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    message = service.request(
        service.members[1], "ballot", json.dumps({"ballot": NO}).encode(), proposal_id=proposal_id
    )
    service.append(service.recorded(service.members[1], message))


@_cheat("a second ballot slips in with the first", "gov-proposal-changed")
def _two_ballots(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    ballots = {member.id: YES for member in service.members[:2]}
    service.ballot(
        service.members[0],
        proposal_id,
        state="Accepted",
        votes=dict.fromkeys(ballots, True),
        info={"ballots": ballots},
        changes=service.user_rows(service.users[0]),
    )


@_cheat("somebody who is no member votes", "gov-request-unknown-member", "gov-vote-wrong")
def _stranger_votes(service: Consortium) -> None:
    proposal_id, _ = service.nearly(_user(service))
    votes = {service.members[0].id: True}
    rows = service.user_rows(service.users[0])
    service.ballot(service.stranger, proposal_id, state="Accepted", votes=votes, changes=rows)


@_cheat("a member votes before it is active", "gov-member-inactive")
def _inactive_votes(service: Consortium) -> None:
    _add_member(service)
    proposal_id = service.submit(service.members[0], _user(service))
    service.ballot(service.stranger, proposal_id)


@_cheat("a ballot that throws is counted as one in favour", "gov-vote-wrong", "gov-state-wrong")
def _throwing_ballot(service: Consortium) -> None:
    proposal_id, last = service.nearly(_user(service))
    votes = {member.id: True for member in service.members[:2]}
    throwing = "export function vote () { throw new Error('no') }"
    rows = service.user_rows(service.users[0])
    service.ballot(last, proposal_id, throwing, state="Accepted", votes=votes, changes=rows)


@_cheat("a ballot that is no program is counted", "gov-vote-wrong")
def _broken_ballot(service: Consortium) -> None:
    proposal_id, last = service.nearly(_user(service))
    votes = {member.id: True for member in service.members[:2]}
    rows = service.user_rows(service.users[0])
    service.ballot(last, proposal_id, "yes, please", state="Accepted", votes=votes, changes=rows)


# ------------------------------------------------------------------------------------------------- proposals


@_cheat("a proposal is altered after it was signed", "gov-request-mismatch")
def _altered_proposal(service: Consortium) -> None:
    other = service.body(_user(service, 1))
    service.submit(service.members[0], _user(service), text=other)


@_cheat("a proposal is in the name of a member who did not sign it", "gov-request-signature")
def _forged_proposal(service: Consortium) -> None:
    body = service.body(_user(service))
    message = service.request(service.members[0], "proposal", body, signer=service.stranger)
    service.submit(service.members[0], _user(service), message=message)


@_cheat("a proposal comes from somebody who is no member", "gov-request-unknown-member")
def _foreign_proposal(service: Consortium) -> None:
    service.submit(service.stranger, _user(service))


@_cheat("a proposal gets an ID of the service's choice", "gov-proposal-id")
def _wrong_id(service: Consortium) -> None:
    service.submit(service.members[0], _user(service), proposal_id="ab" * 32)


@_cheat("a signed proposal is used a second time", "gov-request-replayed")
def _replayed(service: Consortium) -> None:
    message = service.request(service.members[0], "proposal", service.body(_user(service)))
    service.submit(service.members[0], _user(service), message=message)
    service.submit(service.members[0], _user(service), message=message)


@_cheat("a proposal is replayed at another place under its old ID", "gov-proposal-changed")
def _replayed_same_id(service: Consortium) -> None:
    message = service.request(service.members[0], "proposal", service.body(_user(service)))
    proposal_id = service.submit(service.members[0], _user(service), message=message)
    service.submit(service.members[0], _user(service), message=message, proposal_id=proposal_id)


@_cheat("a request older than the window is accepted", "gov-request-too-old")
def _too_old(service: Consortium) -> None:
    for _ in range(3):
        service.submit(service.members[0], _user(service))
    message = service.request(service.members[1], "proposal", service.body(_user(service)), created_at=1_600_000_000)
    service.submit(service.members[1], _user(service), message=message)


@_cheat("a request is not put into the window against replay", "gov-replay-window")
def _no_window(service: Consortium) -> None:
    service.submit(service.members[0], _user(service), window=False)


@_cheat("the window against replay is emptied", "gov-replay-window")
def _emptied_window(service: Consortium) -> None:
    rows = service.state[RECENT].rows
    service.submit(service.members[0], _user(service), more={RECENT: dict.fromkeys(rows)})


@_cheat("the rules refuse a proposal, and it is recorded", "gov-validate-failed")
def _invalid_proposal(service: Consortium) -> None:
    service.submit(service.members[0], ("mint_money", {"amount": 1}))


@_cheat("a proposal is accepted with too few ballots", "gov-state-wrong")
def _too_few(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    service.ballot(service.members[0], proposal_id, state="Accepted", changes=service.user_rows(service.users[0]))


@_cheat("a proposal is accepted with neither request nor ballots", "gov-request-missing", "gov-state-wrong")
def _out_of_nothing(service: Consortium) -> None:
    key = b"ab" * 32
    info = {"ballots": {}, "final_votes": {}, "proposer_id": service.members[0].id, "state": "Accepted"}
    text = service.body(("set_constitution", {"constitution": "x"}))
    service.append(
        merged(
            {PROPOSALS: {key: text}, PROPOSALS_INFO: {key: json_bytes(info)}},
            {CONSTITUTION: {SINGLETON_KEY: json_bytes("x")}},
            service.closing("ab" * 32),
        )
    )


@_cheat("a proposal with a majority is kept open", "gov-state-wrong")
def _kept_open(service: Consortium) -> None:
    proposal_id, last = service.nearly(_user(service))
    service.ballot(last, proposal_id)


@_cheat("a proposal with a majority is rejected", "gov-state-wrong")
def _rejected(service: Consortium) -> None:
    proposal_id, last = service.nearly(_user(service))
    service.ballot(last, proposal_id, state="Rejected")


@_cheat("a ballot changes a proposal that was closed", "gov-proposal-not-open")
def _late_ballot(service: Consortium) -> None:
    proposal_id = service.pass_proposal(_user(service), changes=service.user_rows(service.users[0]))
    service.ballot(service.members[2], proposal_id, state="Accepted", changes=service.user_rows(service.users[0]))


@_cheat("a proposal gets another proposer", "gov-proposal-changed")
def _other_proposer(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    service.ballot(service.members[1], proposal_id, info={"proposer_id": service.members[2].id})


@_cheat("a proposal is withdrawn, not by its proposer", "gov-request-signature")
def _withdrawn(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    service.withdraw(service.members[0], proposal_id, signer=service.stranger)


@_cheat("a proposal is withdrawn on another member's request", "gov-request-missing")
def _withdrawn_by_other(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    service.withdraw(service.members[1], proposal_id)


@_cheat("an open proposal is removed", "gov-proposal-removed")
def _removed(service: Consortium) -> None:
    other = service.submit(service.members[1], _user(service, 1)).encode()
    gone = {PROPOSALS: {other: None}, PROPOSALS_INFO: {other: None}}
    service.pass_proposal(_user(service), changes=merged(service.user_rows(service.users[0]), gone))


@_cheat("an open proposal is removed in a transaction of its own", "gov-proposal-removed")
def _removed_alone(service: Consortium) -> None:
    other = service.submit(service.members[1], _user(service, 1)).encode()
    service.append({PROPOSALS: {other: None}, PROPOSALS_INFO: {other: None}})


@_cheat("a proposal is dropped, and nothing drops it", "gov-dropped-wrong")
def _dropped(service: Consortium) -> None:
    other = service.submit(service.members[1], _user(service, 1))
    gone = {PROPOSALS_INFO: {other.encode(): json_bytes({**service.info(other), "state": "Dropped"})}}
    service.pass_proposal(_user(service), changes=merged(service.user_rows(service.users[0]), gone))


@_cheat("a proposal that must be dropped stays open", "gov-dropped-wrong")
def _not_dropped(service: Consortium) -> None:
    service.submit(service.members[1], _user(service, 1))
    service.pass_proposal(
        ("trust_code", {"measurement": "good"}), changes={MEASUREMENTS: {b"good": json_bytes("AllowedToJoin")}}
    )


# ----------------------------------------------------------------------------------------------- application


@_cheat("another user is added than the one decided on", "gov-apply-differs", "gov-write-unexplained")
def _other_user(service: Consortium) -> None:
    service.pass_proposal(_user(service), changes=service.user_rows(service.users[1]))


@_cheat("what was decided is not done", "gov-apply-differs")
def _not_done(service: Consortium) -> None:
    service.pass_proposal(_user(service))


@_cheat("another constitution is set than the one decided on", "gov-apply-differs")
def _other_rules(service: Consortium) -> None:
    mine = rules().replace("2 * yes > active", "yes > 0")
    service.pass_proposal(
        ("set_constitution", {"constitution": rules()}), changes={CONSTITUTION: {SINGLETON_KEY: json_bytes(mine)}}
    )


@_cheat("a member is added along with a user", "gov-write-unexplained")
def _smuggled_member(service: Consortium) -> None:
    rows = merged(service.user_rows(service.users[0]), service.member_rows(service.stranger))
    service.pass_proposal(_user(service), changes=rows)


@_cheat("code is trusted along with a ballot", "gov-write-unexplained")
def _smuggled_code(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    service.ballot(service.members[0], proposal_id, changes={MEASUREMENTS: {b"evil": json_bytes("AllowedToJoin")}})


@_cheat("application data change along with a ballot", "gov-write-unexplained")
def _smuggled_data(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    service.ballot(service.members[0], proposal_id, changes={"public:application": {b"balance": b"1000000"}})


@_cheat("private data change along with a ballot", "gov-write-outside")
def _smuggled_secret(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    service.ballot(service.members[0], proposal_id, changes={"balances": {b"mallory": b"1000000"}})


@_cheat("a proposal is accepted whose actions fail", "gov-apply-failed")
def _failing(service: Consortium) -> None:
    service.pass_proposal(("fail", {}))


@_cheat("a node gets a certificate from somebody else", "gov-effect-wrong")
def _foreign_certificate(service: Consortium) -> None:
    other = ServiceIdentity(service.source, service.curve)
    pem = service.node.issue_certificate(other, service.source.now)
    _renew_node(service, pem)


@_cheat("a node gets a certificate for longer than decided", "gov-effect-wrong")
def _long_certificate(service: Consortium) -> None:
    pem = service.node.issue_certificate(service.service, service.source.now, days=300)
    _renew_node(service, pem)


@_cheat("a renewed service certificate has another key", "gov-effect-wrong")
def _other_service_key(service: Consortium) -> None:
    other = ServiceIdentity(service.source, service.curve)
    info = {**json.loads(service.value(SERVICE_INFO) or b"{}"), "cert": other.certificate}
    arguments = {"valid_from": service.source.now.strftime("%y%m%d%H%M%SZ"), "days": 365}
    service.pass_proposal(("renew_service", arguments), changes={SERVICE_INFO: {SINGLETON_KEY: json_bytes(info)}})


@_cheat("recovery shares go to somebody who is no member", "gov-effect-wrong")
def _foreign_share(service: Consortium) -> None:
    shares = json.loads(service.value(SHARES) or b"{}")
    shares["encrypted_shares"][service.stranger.id] = "AAAA"
    service.pass_proposal(("refresh_shares", {}), changes={SHARES: {SINGLETON_KEY: json_bytes(shares)}})


@_cheat("recovery shares that were asked for are not made", "gov-effect-wrong")
def _no_shares(service: Consortium) -> None:
    service.pass_proposal(("refresh_shares", {}))


# ------------------------------------------------------------------------------------------- without proposal


@_cheat("a member is added in silence", "gov-write-without-proposal")
def _silent_member(service: Consortium) -> None:
    service.append(service.member_rows(service.stranger, "Active"))


@_cheat("a member is removed in silence", "gov-write-without-proposal")
def _silent_removal(service: Consortium) -> None:
    key = service.members[2].id.encode()
    service.append({MEMBERS_INFO: {key: None}, GOV + "members.certs": {key: None}, ACKS: {key: None}})


@_cheat("a member's certificate is replaced in silence", "gov-write-without-proposal")
def _silent_certificate(service: Consortium) -> None:
    key = service.members[2].id.encode()
    service.append({GOV + "members.certs": {key: service.stranger.certificate.encode()}})


@_cheat("a member becomes active without an acknowledgement", "gov-write-without-proposal")
def _silent_activation(service: Consortium) -> None:
    _add_member(service)
    service.append({MEMBERS_INFO: {service.stranger.id.encode(): json_bytes({"status": "Active"})}})


@_cheat("an acknowledgement is forged", "gov-request-signature")
def _forged_ack(service: Consortium) -> None:
    _acknowledge(service, service.members[0], signer=service.stranger)


@_cheat("an acknowledgement of another digest is recorded", "gov-ack-wrong")
def _other_ack(service: Consortium) -> None:
    _acknowledge(service, service.members[0], digest="ab" * 32)


@_cheat("a state digest is made up", "gov-ack-wrong")
def _wrong_digest(service: Consortium) -> None:
    service.append({ACKS: {service.members[0].id.encode(): json_bytes({"state_digest": "ab" * 32})}})


@_cheat("code is trusted in silence", "gov-write-without-proposal")
def _silent_code(service: Consortium) -> None:
    service.append({MEASUREMENTS: {b"evil": json_bytes("AllowedToJoin")}})


@_cheat("the constitution is replaced in silence", "gov-write-without-proposal")
def _silent_rules(service: Consortium) -> None:
    service.append({CONSTITUTION: {SINGLETON_KEY: json_bytes(rules().replace("2 * yes > active", "yes > 0"))}})


@_cheat("a user is added in silence", "gov-write-without-proposal")
def _silent_user(service: Consortium) -> None:
    service.append({USERS_CERTS: {service.users[0].id.encode(): service.users[0].certificate.encode()}})


@_cheat("the service's certificate is replaced in silence", "gov-write-without-proposal")
def _silent_service(service: Consortium) -> None:
    info = json.loads(service.value(SERVICE_INFO) or b"{}")
    pem = service.service.renewed_certificate(service.source.now, days=700)
    service.append({SERVICE_INFO: {SINGLETON_KEY: json_bytes({**info, "cert": pem})}})


@_cheat("JWT keys change in silence", "gov-write-without-proposal")
def _silent_jwt(service: Consortium) -> None:
    service.append({GOV + "jwt.public_signing_keys_metadata_v2": {b"kid": json_bytes([{"issuer": "https://a"}])}})


@_cheat("a node is trusted at once by an open service", "gov-write-without-proposal")
def _silent_node(service: Consortium) -> None:
    service.add_node(service.new_node())


@_cheat("a node is removed before its retirement", "gov-retirement-wrong")
def _removed_node(service: Consortium) -> None:
    key = service.node.id.encode()
    service.append({NODES_INFO: {key: None}, ENDORSED: {key: None}})


@_cheat("a node's retirement is committed before it is retired", "gov-write-without-proposal")
def _early_retirement(service: Consortium) -> None:
    key = service.node.id.encode()
    info = {**json.loads(service.value(NODES_INFO, key) or b"{}"), "status": "Retired", "retired_committed": True}
    service.append({NODES_INFO: {key: json_bytes(info)}})


@_cheat("application data change along with governance", "gov-write-outside")
def _mixed(service: Consortium) -> None:
    _acknowledge(service, service.members[0], more={"public:application": {b"balance": b"1000000"}})


@_cheat("recovery shares are submitted outside a recovery", "gov-write-without-proposal")
def _share(service: Consortium) -> None:
    service.append({INTERNAL + "encrypted_submitted_shares": {service.members[0].id.encode(): json_bytes("AAAA")}})


@_cheat("ledger secrets are given to nodes without a rekey", "gov-write-without-proposal")
def _secrets(service: Consortium) -> None:
    service.append({INTERNAL + "encrypted_ledger_secrets": {SINGLETON_KEY: json_bytes({})}})


@_cheat("a recovery adds a member", "gov-recovery-wrong")
def _recovery_member(service: Consortium) -> None:
    service.sign()
    service.recover(boot_writes=service.member_rows(service.stranger, "Active"))


@_cheat("a recovery replaces the constitution", "gov-recovery-wrong")
def _recovery_rules(service: Consortium) -> None:
    service.sign()
    service.recover(boot_writes={CONSTITUTION: {SINGLETON_KEY: json_bytes(rules() + "\n")}})


@_cheat("a recovery names another service as the one before", "gov-recovery-wrong")
def _recovery_identity(service: Consortium) -> None:
    service.sign()
    other = ServiceIdentity(service.source, service.curve)
    service.recover(
        boot_writes={GOV + "service.previous_service_identity": {SINGLETON_KEY: json_bytes(other.certificate)}}
    )


@_cheat("a recovery trusts two pieces of code", "gov-recovery-wrong")
def _recovery_code(service: Consortium) -> None:
    service.sign()
    trusted = {name: json_bytes("AllowedToJoin") for name in (b"good", b"evil")}
    service.recover(boot_writes={MEASUREMENTS: trusted})


@_cheat("members open another service than the one recovered", "gov-opening-identity")
def _other_opening(service: Consortium) -> None:
    service.sign()
    previous = service.service.certificate
    service.recover(vouched=False)
    arguments = {"previous_service_identity": previous, "next_service_identity": previous}
    info = {**json.loads(service.value(SERVICE_INFO) or b"{}"), "status": "WaitingForRecoveryShares"}
    service.pass_proposal(
        ("transition_service_to_open", arguments), changes={SERVICE_INFO: {SINGLETON_KEY: json_bytes(info)}}
    )


# ------------------------------------------------------------------------------------------- records, scripts


@_cheat("the record of a proposal is not JSON", "gov-record-malformed")
def _malformed(service: Consortium) -> None:
    service.append({PROPOSALS_INFO: {b"ab" * 32: b"{"}})


@_cheat("a recorded request is not COSE", "gov-record-malformed")
def _malformed_request(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    member = service.members[0]
    row = {GOV + "cose_history": {member.id.encode(): json_bytes(base64.b64encode(b"\xd2\x80").decode())}}
    service.ballot(member, proposal_id, record=row)


# -------------------------------------------------------------------------------------------------- honest


def _add_member(service: Consortium) -> None:
    change = ("set_member", {"cert": service.stranger.certificate})
    service.pass_proposal(change, changes=service.member_rows(service.stranger))


def _acknowledge(
    service: Consortium,
    member: MemberIdentity,
    *,
    digest: str | None = None,
    signer: MemberIdentity | None = None,
    more: dict[str, dict[bytes, bytes | None]] | None = None,
) -> None:
    """Update of the digest, and the acknowledgement; ``digest`` is what is signed."""
    root, key = service.last_signed_root.hex(), member.id.encode()
    service.append({ACKS: {key: json_bytes({"state_digest": root})}})
    body = json.dumps({"state_digest": digest or root}).encode()
    message = service.request(member, "ack", body, signer=signer)
    ack = {"cose_sign1_req": base64.b64encode(message).decode(), "state_digest": root}
    service.append(merged({ACKS: {key: json_bytes(ack)}}, more or {}))


def _renew_node(service: Consortium, pem: str) -> None:
    node = service.node.id
    begin = service.source.now.strftime("%y%m%d%H%M%SZ")
    service.pass_proposal(
        ("renew_node", {"node_id": node, "valid_from": begin, "days": 90}),
        changes={ENDORSED: {node.encode(): pem.encode()}},
    )


def honest_life(service: Consortium) -> None:
    """All that the cheats do, done honestly."""
    change = service.user_rows(service.users[0])
    service.pass_proposal(_user(service), changes=change)
    _add_member(service)
    _acknowledge(service, service.members[0])
    service.submit(service.members[1], _user(service, 1))
    withdrawn = service.submit(service.members[2], _user(service, 2))
    service.withdraw(service.members[2], withdrawn)
    proposal_id = service.submit(service.members[0], _user(service, 2))
    service.ballot(service.members[0], proposal_id, NO)
    service.ballot(service.members[1], proposal_id, NO, state="Rejected")
    _renew_node(service, service.node.issue_certificate(service.service, service.source.now, days=90))
    service.pass_proposal(("set_application", {"a": "1"}), changes={"public:application": {b"a": b"1"}})
    service.pass_proposal(("nothing", {}))
    service.pass_proposal(("refresh_shares", {}), changes={SHARES: {SINGLETON_KEY: service.value(SHARES)}})
    pending = service.submit(service.members[1], _user(service, 1))
    still_open = [pending, *_open_proposals(service)]
    service.pass_proposal(
        ("trust_code", {"measurement": "good"}),
        changes=merged(
            {MEASUREMENTS: {b"good": json_bytes("AllowedToJoin")}},
            {
                PROPOSALS_INFO: {
                    name.encode(): json_bytes({**service.info(name), "state": "Dropped"}) for name in still_open
                }
            },
        ),
    )


def _open_proposals(service: Consortium) -> list[str]:
    rows = service.state[PROPOSALS_INFO].rows
    return [key.decode() for key, (_, value) in rows.items() if json.loads(value)["state"] == "Open"]


# ------------------------------------------------------------------------------------ odd, and no proof of cheating


@dataclass(frozen=True)
class Oddity:
    """Something that is worth a finding and proves nothing by itself.

    Attributes:
        name: what was done.
        codes: of these findings, each must be there.
        commit: does it.
        verdict: of the replay.
        stuck: whether it costs the replay a thread, and some seconds.
    """

    name: str
    codes: tuple[str, ...]
    commit: Callable[[Consortium], object]
    verdict: str
    stuck: bool = False


ODDITIES: list[Oddity] = []

# Fills a typed array that claims 2^53 elements: a loop inside the engine that looks at no deadline.
ENDLESS = """export function vote () {
  const a = new Uint8Array(1);
  Object.defineProperty(a, 'length', { value: 2 ** 53 - 1 });
  return Array.prototype.fill.call(a, 1).length > 0;
}"""


def _oddity(
    name: str, *codes: str, verdict: str, stuck: bool = False
) -> Callable[[Callable[[Consortium], object]], Callable[[Consortium], object]]:
    def register(commit: Callable[[Consortium], object]) -> Callable[[Consortium], object]:
        ODDITIES.append(Oddity(name, codes, commit, verdict, stuck))
        return commit

    return register


@_oddity("a ballot throws, and is not counted", "gov-ballot-failed", verdict="verified")
def _failed_ballot(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    service.ballot(service.members[2], proposal_id, "export function vote () { throw new Error('no') }")
    service.ballot(service.members[0], proposal_id)
    votes = {member.id: True for member in service.members[:2]}
    failures = {service.members[2].id: {"reason": "Error: no"}}
    rows = service.user_rows(service.users[0])
    service.ballot(
        service.members[1], proposal_id, state="Accepted", votes=votes, info={"vote_failures": failures}, changes=rows
    )


@_oddity("a ballot runs for ever here, and gave a vote there", "gov-script-budget", verdict="undecided")
def _looping_ballot(service: Consortium) -> None:
    proposal_id, last = service.nearly(_user(service))
    votes = {member.id: True for member in service.members[:2]}
    rows = service.user_rows(service.users[0])
    service.ballot(
        last, proposal_id, "export function vote () { for (;;); }", state="Accepted", votes=votes, changes=rows
    )


@_oddity("a ballot cannot be interrupted", "gov-script-stuck", verdict="undecided", stuck=True)
def _stuck_ballot(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    service.ballot(service.members[0], proposal_id, ENDLESS)


@_oddity(
    "ballot after ballot cannot be interrupted",
    "gov-script-stuck",
    "gov-replay-stopped",
    verdict="undecided",
    stuck=True,
)
def _stuck_ballots(service: Consortium) -> None:
    for number in range(6):
        proposal_id = service.submit(service.members[0], _user(service))
        service.ballot(service.members[0], proposal_id, f"// {number}\n{ENDLESS}")


@_oddity("a ballot looks at the clock", "gov-unrepeatable", verdict="verified")
def _clock(service: Consortium) -> None:
    proposal_id = service.submit(service.members[0], _user(service))
    service.ballot(service.members[0], proposal_id, "export function vote () { return Date.now() > 0 }")


@_oddity("a table of the service is not known", "gov-table-unknown", verdict="verified")
def _unknown_table(service: Consortium) -> None:
    service.append({INTERNAL + "something_new": {SINGLETON_KEY: json_bytes(1)}})


@_oddity(
    "there are too many findings to list", "gov-findings-not-listed", "gov-write-without-proposal", verdict="failed"
)
def _many(service: Consortium) -> None:
    rows = {f"nodes.kind_{number:03}": number for number in range(210)}
    service.append({GOV + name: {SINGLETON_KEY: json_bytes(value)} for name, value in rows.items()})
