"""One step in the life of a proposal, read from the transaction that recorded it, before anything is run.

A transaction may create one proposal, bring one ballot, or withdraw one; along with it come the member's signed
request, the window against replay, and the removal of proposals that are closed. Whatever in it does not fit is
a problem; what fits is the bookkeeping that every such transaction has, and the rest is for ``apply()``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tallystick.errors import FormatError
from tallystick.governance.names import COSE_HISTORY, HISTORY, RECENT_PROPOSALS
from tallystick.governance.records import ProposalInfo, json_text, parse_proposal_info
from tallystick.governance.state import GovernanceState, Step
from tallystick.identity.requests import MemberRequest, ballot_text, parse_cose_request, parse_http_request
from tallystick.tables.names import PROPOSALS, PROPOSALS_INFO

__all__ = ["ProposalStep", "read_proposal_step"]

Roots = Callable[[], Iterable[bytes]]
"""Merkle roots on top of which the transaction can have been executed, newest first."""

# Creation times have ten digits in the window's keys.
_MAX_CREATED_AT = 9_999_999_999


@dataclass
class ProposalStep:
    """What a transaction did to one proposal.

    Attributes:
        proposal_id: its id.
        kind: ``proposal``, ``ballot`` or ``withdrawal``.
        member_id: who did it, according to the record; empty when that cannot be told.
        info: the record written.
        body: the proposal as submitted; None when the tables do not hold it.
        request: the member's request.
        dropped: other proposals that it records as Dropped.
        bookkeeping: writes that every such transaction makes, by table and key.
        problems: code and message of what does not fit.
        sound: whether scripts can be run on it.
    """

    proposal_id: str
    kind: str
    member_id: str
    info: ProposalInfo
    body: bytes | None = None
    request: MemberRequest | None = None
    dropped: dict[str, bytes] = field(default_factory=dict)
    bookkeeping: dict[str, set[bytes]] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    sound: bool = True

    def wrong(self, code: str, message: str) -> None:
        self.problems.append((code, message))

    def book(self, table: str, key: bytes) -> None:
        self.bookkeeping.setdefault(table, set()).add(key)


def read_proposal_step(
    state: GovernanceState, step: Step, roots: Roots, seen_requests: set[bytes]
) -> tuple[ProposalStep | None, list[tuple[str, str]]]:
    """Reads a transaction that writes proposals.

    Args:
        state: governance before it.
        step: the transaction.
        roots: roots that the proposal's id may rest on.
        seen_requests: replay keys of every proposal request so far; grows.

    Returns:
        The step, None when it cannot be told what was done; and problems that belong to no step.
    """
    problems: list[tuple[str, str]] = []
    records: dict[str, ProposalInfo] = {}
    for key, value in step.writes(PROPOSALS_INFO).items():
        if value is None:
            continue
        try:
            records[key.decode("utf-8", "replace")] = parse_proposal_info(value)
        except FormatError as error:
            problems.append((error.code, error.message))
    acting = [proposal_id for proposal_id, info in records.items() if info.state != "Dropped"]
    requests = _requests(step, problems)
    if len(acting) != 1:
        if acting:
            problems.append(("gov-write-unexplained", f"{len(acting)} proposals change in one transaction"))
        elif records:
            problems.append(("gov-dropped-wrong", f"{len(records)} proposals are dropped, and none was accepted"))
        elif not problems:
            problems.append(("gov-proposal-removed", "proposals change, and no record of one is written"))
        return None, problems
    proposal_id = acting[0]
    info = records[proposal_id]
    try:
        old = state.proposal(proposal_id)
    except FormatError as error:
        return None, [*problems, (error.code, error.message)]
    found = _classify(state, step, proposal_id, info, old)
    found.problems[:0] = problems
    found.dropped = {
        other: step.writes(PROPOSALS_INFO)[other.encode()] or b"" for other in records if other != proposal_id
    }
    found.book(PROPOSALS_INFO, proposal_id.encode())
    _match_request(state, step, found, requests)
    if found.kind == "proposal":
        _check_id(found, roots)
        _check_window(state, step, found, seen_requests)
    _check_removals(state, step, found)
    return found, []


def _requests(step: Step, problems: list[tuple[str, str]]) -> list[MemberRequest]:
    requests = []
    for table, parse in ((COSE_HISTORY, parse_cose_request), (HISTORY, parse_http_request)):
        for key, value in step.writes(table).items():
            if value is None:
                continue
            try:
                request = parse(key.decode("utf-8", "replace"), value)
                if request.kind == "other":
                    raise FormatError("member's request is malformed: its target is no endpoint of governance")
                requests.append(request)
            except FormatError as error:
                problems.append(
                    (error.code if error.code.startswith("gov-") else "gov-record-malformed", error.message)
                )
    return requests


def _classify(
    state: GovernanceState, step: Step, proposal_id: str, info: ProposalInfo, old: ProposalInfo | None
) -> ProposalStep:
    """Tells creation, ballot and withdrawal apart, and compares the record with the one before."""
    key = proposal_id.encode()
    written = step.writes(PROPOSALS).get(key)
    if old is None:
        found = ProposalStep(proposal_id, "proposal", info.proposer_id, info, body=written)
        found.book(PROPOSALS, key)
        if written is None:
            found.wrong("gov-proposal-changed", f"proposal {proposal_id[:16]}… is recorded without its text")
            found.sound = False
        if info.ballots:
            found.wrong("gov-proposal-changed", f"proposal {proposal_id[:16]}… is created with ballots")
        if info.state == "Withdrawn":
            found.wrong("gov-proposal-not-open", f"proposal {proposal_id[:16]}… is created withdrawn")
            found.sound = False
        return found
    body = state.get(PROPOSALS, key)
    withdrawn = info.state == "Withdrawn"
    added = sorted(info.ballots.keys() - old.ballots.keys())
    member = old.proposer_id if withdrawn else added[0] if len(added) == 1 else ""
    found = ProposalStep(proposal_id, "withdrawal" if withdrawn else "ballot", member, info, body=body)
    found.sound = not withdrawn
    if key in step.writes(PROPOSALS):
        found.wrong("gov-proposal-changed", f"text of proposal {proposal_id[:16]}… was written again")
    if body is None:
        found.wrong("gov-proposal-changed", f"text of proposal {proposal_id[:16]}… is not in the tables")
        found.sound = False
    if old.state != "Open":
        found.wrong("gov-proposal-not-open", f"proposal {proposal_id[:16]}… was {old.state} and is now {info.state}")
    if info.proposer_id != old.proposer_id:
        found.wrong("gov-proposal-changed", f"proposer of {proposal_id[:16]}… changed")
    changed = [name for name, text in old.ballots.items() if info.ballots.get(name) != text]
    for name in changed:
        what = "changed" if name in info.ballots else "disappeared"
        found.wrong("gov-proposal-changed", f"ballot of member {name[:16]}… on {proposal_id[:16]}… {what}")
    if len(added) != (0 if withdrawn else 1):
        expected = "none" if withdrawn else "one"
        found.wrong(
            "gov-proposal-changed",
            f"{len(added)} ballots were added to {proposal_id[:16]}… in one transaction: expected {expected}",
        )
    return found


def _match_request(state: GovernanceState, step: Step, found: ProposalStep, requests: list[MemberRequest]) -> None:
    """Finds the member's request among those recorded, and compares it with what was recorded."""
    what = (
        f"{found.kind} on {found.proposal_id[:16]}…"
        if found.kind != "proposal"
        else f"proposal {found.proposal_id[:16]}…"
    )
    mine = [request for request in requests if request.member_id == found.member_id]
    for request in requests:
        if request not in mine:
            found.wrong(
                "gov-request-unused", f"{request.kind} of member {request.member_id[:16]}… is recorded beside {what}"
            )
        found.book(COSE_HISTORY if request.scheme == "cose" else HISTORY, request.member_id.encode())
    if not mine:
        found.wrong("gov-request-missing", f"no request of member {found.member_id[:16] or '?'}… for the {what}")
        return
    request = found.request = mine[0]
    if request.kind != found.kind:
        found.wrong("gov-request-mismatch", f"request for the {what} is a {request.kind[:32]}")
    if found.kind != "proposal" and request.proposal_id != found.proposal_id:
        found.wrong(
            "gov-request-mismatch",
            f"{found.kind} on {found.proposal_id[:16]}… was signed for {(request.proposal_id or 'none')[:16]}…",
        )
    if found.kind == "proposal" and found.body is not None and request.body != found.body:
        found.wrong("gov-request-mismatch", f"text of the {what} is not what its proposer signed")
    if found.kind == "ballot" and ballot_text(request.body) != found.info.ballots.get(found.member_id):
        found.wrong("gov-request-mismatch", f"{what} is not what member {found.member_id[:16]}… signed")
    if request.scheme == "cose" and request.created_at is None and _window_in_use(state):
        found.wrong("gov-request-mismatch", f"request for the {what} does not say when it was created")
    _check_member(state, found, what)


def _check_member(state: GovernanceState, found: ProposalStep, what: str) -> None:
    try:
        member = state.member(found.member_id)
    except FormatError as error:
        found.wrong(error.code, error.message)
        return
    if member is None:
        found.wrong("gov-request-unknown-member", f"{what} is by {found.member_id[:16]}…, who was no member")
    elif member.status != "Active":
        found.wrong("gov-member-inactive", f"{what} is by member {found.member_id[:16]}…, who was {member.status}")


def _check_id(found: ProposalStep, roots: Roots) -> None:
    request = found.request
    if request is None:
        return
    for root in roots():
        if found.proposal_id in request.proposal_ids([root]):
            return
    expected = next(iter(sorted(request.proposal_ids(list(roots())[:1]))), "none: no root is known")
    found.wrong("gov-proposal-id", f"proposal ID is wrong: expected {expected}, got {found.proposal_id}")


# --------------------------------------------------------------------------------------- window against replay


def _window_in_use(state: GovernanceState) -> bool:
    return bool(state.recent)


def _check_window(state: GovernanceState, step: Step, found: ProposalStep, seen_requests: set[bytes]) -> None:
    request = found.request
    writes = step.writes(RECENT_PROPOSALS)
    for key in writes:
        found.book(RECENT_PROPOSALS, key)
    if request is None or request.scheme != "cose":
        if writes:
            found.wrong("gov-replay-window", "window against replay changes without a COSE request")
        return
    if not writes and not _window_in_use(state):
        return  # versions before the window existed
    key = request.replay_key
    if key in seen_requests:
        found.wrong("gov-request-replayed", f"request for proposal {found.proposal_id[:16]}… was used before")
    seen_requests.add(key)
    recent = state.recent
    if request.created_at is None or request.created_at > _MAX_CREATED_AT:
        found.wrong("gov-replay-window", "creation time of the request has more than ten digits, or none")
        return
    if recent and key[:10] < recent[len(recent) // 2][:10]:
        median = recent[len(recent) // 2][:10].decode("ascii", "replace")
        found.wrong("gov-request-too-old", f"request of {request.created_at} is older than the median {median}")
    expected: dict[bytes, str | None] = dict.fromkeys(recent[: max(0, len(recent) - (state.window_size() - 1))])
    expected[key] = found.proposal_id
    got: dict[bytes, str | None] = {}
    for name, value in writes.items():
        try:
            got[name] = None if value is None else json_text(value, "window against replay")
        except FormatError as error:
            found.wrong(error.code, error.message)
    if got != expected:
        odd = sorted(set(got.items()) ^ set(expected.items()), key=lambda pair: pair[0])
        where = odd[0][0].decode("ascii", "replace")[:32]
        found.wrong("gov-replay-window", f"{len(odd)} rows of the window against replay are wrong, first {where}…")


# ------------------------------------------------------------------------------------------------- removals


def _check_removals(state: GovernanceState, step: Step, found: ProposalStep) -> None:
    """When a proposal leaves Open, exactly the other proposals that are not open go from both tables."""
    closed: set[str] = set()
    if found.info.state != "Open":
        closed = {name for name, status in state.proposals.items() if status != "Open" and name != found.proposal_id}
    for table in (PROPOSALS_INFO, PROPOSALS):
        removed = {key.decode("utf-8", "replace") for key, value in step.writes(table).items() if value is None}
        for name in removed:
            found.book(table, name.encode())
        for name in sorted(removed - closed):
            was = state.proposals.get(name, "not there")
            found.wrong("gov-proposal-removed", f"proposal {name[:16]}… was removed from {table} while it was {was}")
        for name in sorted(closed - removed):
            found.wrong("gov-proposal-removed", f"closed proposal {name[:16]}… was not removed from {table}")
