"""What governance tables hold, parsed: proposals, members, acknowledgements, the service.

Each ``parse_*`` takes a value as written and gives a frozen value, or raises ``FormatError``. Unknown members
of JSON objects are kept out of the way: newer versions add some.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from tallystick.errors import FormatError

__all__ = [
    "Ack",
    "Action",
    "MemberInfo",
    "NodeInfo",
    "ProposalInfo",
    "ServiceInfo",
    "json_object",
    "json_text",
    "parse_ack",
    "parse_actions",
    "parse_json",
    "parse_member_info",
    "parse_node_info",
    "parse_proposal_info",
    "parse_service_info",
]

PROPOSAL_STATES = frozenset({"Open", "Accepted", "Rejected", "Withdrawn", "Failed", "Dropped"})


def _malformed(what: str, why: str) -> NoReturn:
    raise FormatError(f"{what} is malformed: {why}", code="gov-record-malformed")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is given twice")
    return members


def parse_json(value: bytes, what: str) -> object:
    """JSON in UTF-8, names unique.

    Raises:
        FormatError: it is not.
    """
    try:
        parsed: object = json.loads(value.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        _malformed(what, f"not JSON: {error}")
    return parsed


def json_object(value: bytes, what: str) -> dict[str, object]:
    """A JSON object.

    Raises:
        FormatError: it is not.
    """
    parsed = parse_json(value, what)
    if not isinstance(parsed, dict):
        _malformed(what, "expected an object")
    return parsed


def json_text(value: bytes, what: str) -> str:
    """A JSON string.

    Raises:
        FormatError: it is not.
    """
    parsed = parse_json(value, what)
    if not isinstance(parsed, str):
        _malformed(what, "expected a string")
    return parsed


def _text(members: Mapping[str, object], name: str, what: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        _malformed(what, f"{name} is not a string")
    return value


def _mapping(members: Mapping[str, object], name: str, what: str) -> dict[str, object] | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        _malformed(what, f"{name} is not an object")
    return value


@dataclass(frozen=True)
class ProposalInfo:
    """A value of ``public:ccf.gov.proposals_info``.

    Attributes:
        proposer_id: member who proposed.
        state: Open, Accepted, Rejected, Withdrawn, Failed or Dropped.
        ballots: JavaScript text by member.
        final_votes: what was counted; None while open, and in some versions when accepted at once.
        vote_failures: members whose ballot failed when it was counted; None where the record has no such member.
        failure: reason of a Failed proposal.
    """

    proposer_id: str
    state: str
    ballots: Mapping[str, str]
    final_votes: Mapping[str, bool] | None = None
    vote_failures: frozenset[str] | None = None
    failure: str | None = None

    def open_value(self) -> bytes:
        """The record as the service has it in the table while ballots are run: open, nothing counted yet."""
        record = {"ballots": dict(self.ballots), "proposer_id": self.proposer_id, "state": "Open"}
        return json.dumps(record, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def parse_proposal_info(value: bytes) -> ProposalInfo:
    """Parses a value of ``public:ccf.gov.proposals_info``.

    Raises:
        FormatError: it is malformed.
    """
    what = "record of a proposal"
    members = json_object(value, what)
    state = _text(members, "state", what)
    if state not in PROPOSAL_STATES:
        _malformed(what, f"state {state[:32]!r} is unknown")
    ballots = {}
    for member, ballot in (_mapping(members, "ballots", what) or {}).items():
        if not isinstance(ballot, str):
            _malformed(what, "a ballot is not a string")
        ballots[member] = ballot
    votes: dict[str, bool] | None = None
    recorded = _mapping(members, "final_votes", what)
    if recorded is not None:
        votes = {}
        for member, vote in recorded.items():
            if not isinstance(vote, bool):
                _malformed(what, "a vote is not a boolean")
            votes[member] = vote
    failures = _mapping(members, "vote_failures", what)
    failure = _mapping(members, "failure", what)
    reason = failure.get("reason") if failure is not None else None
    return ProposalInfo(
        _text(members, "proposer_id", what),
        state,
        ballots,
        votes,
        None if failures is None else frozenset(failures),
        reason if isinstance(reason, str) else None,
    )


@dataclass(frozen=True)
class Action:
    """One action of a proposal: its name and arguments."""

    name: str
    arguments: object = field(hash=False)


def parse_actions(proposal: bytes) -> list[Action]:
    """The actions of a proposal of the usual shape, ``{"actions": [{"name": …, "args": …}]}``.

    Raises:
        FormatError: it has another shape, which a constitution of its own may well accept.
    """
    what = "proposal"
    actions = json_object(proposal, what).get("actions")
    if not isinstance(actions, list):
        _malformed(what, "actions is not a list")
    parsed = []
    for action in actions:
        if not isinstance(action, dict):
            _malformed(what, "an action is not an object")
        parsed.append(Action(_text(action, "name", what), action.get("args")))
    return parsed


@dataclass(frozen=True)
class MemberInfo:
    """A value of ``public:ccf.gov.members.info``."""

    status: str
    recovery_role: str | None


def parse_member_info(value: bytes) -> MemberInfo:
    """Parses a value of ``public:ccf.gov.members.info``.

    Raises:
        FormatError: it is malformed.
    """
    what = "record of a member"
    members = json_object(value, what)
    role = members.get("recovery_role")
    return MemberInfo(_text(members, "status", what), role if isinstance(role, str) else None)


@dataclass(frozen=True)
class Ack:
    """A value of ``public:ccf.gov.members.acks``.

    Attributes:
        state_digest: lower-case hex; empty until the first update.
        cose: the COSE_Sign1 in base64.
        http: the signed HTTP request, as in ``public:ccf.gov.history``.
    """

    state_digest: str
    cose: str | None
    http: str | None

    @property
    def request(self) -> str | None:
        """The request that acknowledged, whichever form; None when there is none."""
        return self.cose or self.http


def parse_ack(value: bytes) -> Ack:
    """Parses a value of ``public:ccf.gov.members.acks``.

    Raises:
        FormatError: it is malformed.
    """
    what = "acknowledgement"
    members = json_object(value, what)
    cose = members.get("cose_sign1_req")
    if not isinstance(cose, str | None):
        _malformed(what, "cose_sign1_req is not a string")
    http = _mapping(members, "signed_req", what)
    # An acknowledgement that was never given holds a request of empty strings in 1.x.
    given = http is not None and any(http.values())
    return Ack(_text(members, "state_digest", what), cose or None, json.dumps(http) if given else None)


@dataclass(frozen=True)
class NodeInfo:
    """A value of ``public:ccf.gov.nodes.info``: what governance rules need of it."""

    status: str
    retired_committed: bool
    rest: Mapping[str, object] = field(hash=False)


def parse_node_info(value: bytes) -> NodeInfo:
    """Parses a value of ``public:ccf.gov.nodes.info``.

    Raises:
        FormatError: it is malformed.
    """
    what = "record of a node"
    members = json_object(value, what)
    status = _text(members, "status", what)
    rest = {name: value for name, value in members.items() if name not in ("status", "retired_committed")}
    return NodeInfo(status, members.get("retired_committed") is True, rest)


@dataclass(frozen=True)
class ServiceInfo:
    """The value of ``public:ccf.gov.service.info``."""

    certificate: str
    status: str


def parse_service_info(value: bytes) -> ServiceInfo:
    """Parses the value of ``public:ccf.gov.service.info``.

    Raises:
        FormatError: it is malformed.
    """
    what = "record of the service"
    members = json_object(value, what)
    return ServiceInfo(_text(members, "cert", what), _text(members, "status", what))
