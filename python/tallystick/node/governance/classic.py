"""The governance API before versions: what clients of CCF 2 to 6 call, without ``api-version``.

Requests are signed the same way, and what they do is the same; paths and names of JSON members differ. CCF
dropped these paths with 7.0, but scripts that use them are still around, the public sample applications' among
them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tallystick.node import tables
from tallystick.node.governance.acks import read_ack, renew_digest, take_acknowledgement
from tallystick.node.governance.authentication import MemberSignaturePolicy, SignedRequest, signed_request
from tallystick.node.governance.errors import governance_error
from tallystick.node.governance.members import recovery_role
from tallystick.node.governance.proposals import (
    ProposalHandlers,
    ballot_of,
    check_proposer,
    check_signed_for,
    existing_proposal,
    state_word,
    withdraw_proposal,
)
from tallystick.node.governance.records import PROPOSALS, PROPOSALS_INFO, Proposal, read_proposal
from tallystick.node.governance.recovery import share_of, take_share, waiting_recovery
from tallystick.node.http.authentication import AuthenticationPolicy, MemberCertificatePolicy
from tallystick.node.http.context import Context, Reply
from tallystick.node.http.errors import Code
from tallystick.node.http.registry import Endpoint
from tallystick.tables.names import CATALOGUE, GOVERNANCE_PREFIX, KeyKind, ValueKind

__all__ = ["classic_endpoints"]

# Tables that are sets: their values say nothing.
_SETS = frozenset({tables.VIRTUAL_HOST_DATA})

# No text that clients could be shown.
_NOT_SHOWN = frozenset({"modules_quickjs_bytecode", "jwt.public_signing_keys"})


def classic_endpoints(proposals: ProposalHandlers) -> list[Endpoint]:
    """What to install beside the versioned API.

    Args:
        proposals: does the work.
    """
    handlers = _Classic(proposals)

    def post(path: str, handler: Callable[[Context], Reply], message_type: str, **options: Any) -> Endpoint:
        # Whoever is not active yet is told so with 403 instead of 401.
        policies: tuple[AuthenticationPolicy, ...] = (MemberSignaturePolicy(message_type, active=False),)
        if options.pop("certificate", False):
            policies = (MemberCertificatePolicy(), *policies)
        return Endpoint("POST", path, handler, policies, api="gov", openapi=None, exclusive=True, **options)

    def get(path: str, handler: Callable[[Context], Reply], *policies: AuthenticationPolicy) -> Endpoint:
        return Endpoint("GET", path, handler, policies, mode="readonly", api="gov", openapi=None)

    proposal = "/proposals/{proposal_id}"
    return [
        post("/ack/update_state_digest", update_state_digest, "state_digest", certificate=True),
        post("/ack", acknowledge, "ack"),
        post("/proposals", handlers.create, "proposal", with_root=True),
        post(proposal + "/withdraw", handlers.withdraw, "withdrawal"),
        post(proposal + "/ballots", handlers.vote, "ballot"),
        post("/recovery_share", recover, "recovery_share"),
        get("/proposals", open_proposals),
        get(proposal, proposal_info),
        get(proposal + "/actions", actions),
        get(proposal + "/ballots/{member_id}", ballot),
        get("/members", members),
        get("/recovery_share", own_share, MemberCertificatePolicy()),
        get("/encrypted_recovery_share/{member_id}", encrypted_share),
        get("/jwt_keys/all", token_keys),
        *(get(path, handler) for path, handler in _table_readers()),
    ]


def _active(context: Context) -> SignedRequest:
    """The signed request of an active member."""
    request = signed_request(context)
    _check_active(context, request.member_id)
    return request


def _check_active(context: Context, member_id: str) -> None:
    info: dict[str, Any] = tables.get_json(context.tx, tables.MEMBERS_INFO, member_id.encode()) or {}
    if info.get("status") != "Active":
        message = f"Member m[{member_id}] is not active."
        raise governance_error(context, 403, Code.AUTHORIZATION_FAILED, message)


def _summary(proposal: Proposal) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "proposal_id": proposal.proposal_id,
        "proposer_id": proposal.proposer_id,
        "state": proposal.state,
        "ballot_count": len(proposal.ballots),
    }
    optional = {"votes": proposal.final_votes, "vote_failures": proposal.vote_failures, "failure": proposal.failure}
    return shown | {name: value for name, value in optional.items() if value is not None}


def _row(context: Context, proposal_id: str) -> Reply:
    """The row of a proposal, as the ledger has it."""
    row = context.tx.get(PROPOSALS_INFO, proposal_id.encode())
    if row is None:
        message = f"Proposal {proposal_id} does not exist."
        raise governance_error(context, 404, Code.PROPOSAL_NOT_FOUND, message)
    return Reply(200, (("content-type", "application/json"),), row)


class _Classic:
    """Handlers that change proposals."""

    def __init__(self, proposals: ProposalHandlers) -> None:
        self._proposals = proposals

    def create(self, context: Context) -> Reply:
        """Takes a proposal."""
        _active(context)
        return Reply.json(_summary(self._proposals.created(context)))

    def withdraw(self, context: Context) -> Reply:
        """Takes a proposal back, once."""
        request, proposal_id = _active(context), context.parameters["proposal_id"]
        check_signed_for(context, request, proposal_id)
        proposal = read_proposal(context.tx, proposal_id)
        if proposal is None:
            message = f"Proposal {proposal_id} does not exist."
            raise governance_error(context, 400, Code.PROPOSAL_NOT_FOUND, message)
        check_proposer(context, request, proposal)
        if proposal.state != "Open":
            state = state_word(proposal)
            message = f"Proposal {proposal_id} is currently in state {state} - only open proposals can be withdrawn."
            raise governance_error(context, 400, Code.PROPOSAL_NOT_OPEN, message)
        withdraw_proposal(context, request, proposal)
        return _row(context, proposal_id)

    def vote(self, context: Context) -> Reply:
        """Takes a ballot, once."""
        request, proposal_id = _active(context), context.parameters["proposal_id"]
        check_signed_for(context, request, proposal_id)
        proposal, text = self._proposals.open_proposal(context, proposal_id)
        if request.member_id in proposal.ballots:
            raise governance_error(context, 400, Code.VOTE_ALREADY_EXISTS, "Vote already submitted.")
        self._proposals.cast(context, request, proposal, text, ballot_of(context, request))
        return Reply.json(_summary(proposal))


# -------------------------------------------------------------------------------------------- acknowledgements


def update_state_digest(context: Context) -> Reply:
    """Puts the latest signed root in the place of what the caller was to acknowledge."""
    member_id = context.identified.id
    if read_ack(context, member_id) is None:
        message = f"No ACK record exists for caller m[{member_id}]."
        raise governance_error(context, 403, Code.AUTHORIZATION_FAILED, message)
    return Reply.json({"state_digest": renew_digest(context, member_id)})


def acknowledge(context: Context) -> Reply:
    """Takes an acknowledgement."""
    take_acknowledgement(context, signed_request(context), "state_digest")
    return Reply.no_content()


# --------------------------------------------------------------------------------------------------- recovery


def own_share(context: Context) -> Reply:
    """The caller's share, encrypted to its key."""
    member_id = context.identified.id
    _check_active(context, member_id)
    return Reply.json({"encrypted_share": share_of(context, member_id)})


def encrypted_share(context: Context) -> Reply:
    """A member's share, encrypted to its key."""
    return Reply.json({"encrypted_share": share_of(context, context.parameters["member_id"])})


def recover(context: Context) -> Reply:
    """Takes a share, when the service waits for shares."""
    request = _active(context)
    return take_share(context, waiting_recovery(context), request)


# ---------------------------------------------------------------------------------------------------- reading


def open_proposals(context: Context) -> Reply:
    """Rows of the proposals that are open, by ID."""
    rows = tables.rows_json(context.tx, PROPOSALS_INFO)
    return Reply.json({name: row for name, row in rows.items() if row.get("state") == "Open"})


def proposal_info(context: Context) -> Reply:
    """The row of a proposal."""
    return _row(context, context.parameters["proposal_id"])


def actions(context: Context) -> Reply:
    """The text of a proposal, as it was signed."""
    proposal = existing_proposal(context, context.parameters["proposal_id"])
    text = context.tx.get(PROPOSALS, proposal.proposal_id.encode())
    return Reply(200, (("content-type", "application/json"),), text or b"")


def ballot(context: Context) -> Reply:
    """A member's ballot."""
    proposal_id, member_id = context.parameters["proposal_id"], context.parameters["member_id"]
    proposal = existing_proposal(context, proposal_id)
    text = proposal.ballots.get(member_id)
    if text is None:
        message = f"Member m[{member_id}] has not voted for proposal {proposal_id}."
        raise governance_error(context, 404, Code.VOTE_NOT_FOUND, message)
    return Reply.json({"ballot": text})


def members(context: Context) -> Reply:
    """Every member, by ID."""
    tx, shown = context.tx, {}
    for member_id, info in tables.rows_json(tx, tables.MEMBERS_INFO).items():
        shown[member_id] = {
            "cert": tables.get_text(tx, tables.MEMBERS_CERTS, member_id.encode()) or "",
            "member_data": info.get("member_data"),
            "public_encryption_key": tables.get_text(tx, tables.MEMBERS_KEYS, member_id.encode()),
            "recovery_role": recovery_role(tx, member_id, info),
            "status": info.get("status"),
        }
    return Reply.json(shown)


def token_keys(context: Context) -> Reply:
    """Keys of token issuers, by key ID."""
    rows = tables.rows_json(context.tx, tables.JWT_KEYS)
    return Reply.json(
        {
            kid: [{"issuer": entry["issuer"], "cert": "", "public_key": entry["public_key"]} for entry in entries]
            for kid, entries in rows.items()
        }
    )


def _table_readers() -> list[tuple[str, Callable[[Context], Reply]]]:
    """Paths and handlers that show each governance table: ``members.info`` at ``/kv/members/info``."""
    readers = []
    for table, kinds in CATALOGUE.items():
        name = table.removeprefix(GOVERNANCE_PREFIX)
        if name == table or name in _NOT_SHOWN:
            continue
        decode = _json if kinds.values is ValueKind.JSON else _text
        reader = _value_reader if kinds.keys is KeyKind.U64 else _set_reader if table in _SETS else _map_reader
        readers.append((f"/kv/{name.replace('.', '/')}", reader(table, decode)))
    return readers


def _json(value: bytes) -> Any:
    return json.loads(value)


def _text(value: bytes) -> Any:
    return value.decode("utf-8", "replace")


def _value_reader(table: str, decode: Callable[[bytes], Any]) -> Callable[[Context], Reply]:
    def read(context: Context) -> Reply:
        value = context.tx.get(table, tables.SINGLETON)
        return Reply.json(None if value is None else decode(value))

    return read


def _map_reader(table: str, decode: Callable[[bytes], Any]) -> Callable[[Context], Reply]:
    def read(context: Context) -> Reply:
        return Reply.json({_text(key): decode(value) for key, value in sorted(context.tx.entries(table))})

    return read


def _set_reader(table: str, _decode: Callable[[bytes], Any]) -> Callable[[Context], Reply]:
    def read(context: Context) -> Reply:
        return Reply.json(sorted(_text(key) for key, _ in context.tx.entries(table)))

    return read
