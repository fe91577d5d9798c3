"""Turns transactions into events for people."""

from __future__ import annotations

from collections.abc import Iterator

from tallystick.errors import FormatError
from tallystick.governance import names
from tallystick.governance.events import Change, Event
from tallystick.governance.proposals import ProposalStep
from tallystick.governance.records import (
    parse_ack,
    parse_actions,
    parse_member_info,
    parse_node_info,
    parse_service_info,
)
from tallystick.governance.state import GovernanceState, Step, is_boot, parse_member_certificate
from tallystick.tables.decode import decode_key
from tallystick.tables.names import (
    MEMBERS_INFO,
    NODES_INFO,
    PROPOSALS,
    PROPOSALS_INFO,
    PUBLIC_PREFIX,
    SERVICE_INFO,
)

__all__ = ["proposal_event", "step_events"]

_KINDS = {"proposal": "proposed", "ballot": "voted", "withdrawal": "withdrawn"}

# Rows listed for one event; a bundle of a large application has thousands.
_LISTED_CHANGES = 500

_BOOKKEEPING = frozenset({PROPOSALS, PROPOSALS_INFO, names.COSE_HISTORY, names.HISTORY, names.RECENT_PROPOSALS})


def _changes(state: GovernanceState, step: Step) -> tuple[Change, ...]:
    changes = []
    for table, writes in step.tables.items():
        if table in _BOOKKEEPING or not table.startswith(PUBLIC_PREFIX):
            continue
        for key, new in writes.items():
            old = state.get(table, key)
            if new is None:
                kind = "absent" if old is None else "removed"
            else:
                kind = "added" if old is None else "rewritten" if old == new else "changed"
            changes.append(Change(table.removeprefix(PUBLIC_PREFIX), decode_key(table, key).text()[:200], kind))
            if len(changes) >= _LISTED_CHANGES:
                return tuple(changes)
    return tuple(changes)


def _actions(body: bytes | None) -> tuple[str, ...]:
    if body is None:
        return ()
    try:
        return tuple(action.name for action in parse_actions(body))
    except FormatError:
        return ()


def proposal_event(state: GovernanceState, step: Step, found: ProposalStep, *, content: bool = False) -> Event:
    """The event of a transaction that created a proposal, brought a ballot, or withdrew one.

    Args:
        state: governance before it.
        step: the transaction.
        found: what was read from it.
        content: whether to keep the text of the proposal or ballot.
    """
    request = found.request
    event = Event(
        str(step.txid),
        _KINDS[found.kind],
        found.proposal_id,
        found.member_id or None,
        request.created_at if request is not None else None,
        actions=_actions(found.body),
        signature=request.scheme if request is not None else None,
    )
    if content:
        event.content = _content(found)
    if found.info.state in ("Accepted", "Rejected", "Failed"):
        event.outcome = found.info.state
        if found.info.state == "Accepted":
            event.changes = _changes(state, step)
        votes = found.info.final_votes or {}
        yes = sum(votes.values())
        if found.info.final_votes is not None:
            event.summary = f"{yes} for, {len(votes) - yes} against"
        if found.kind == "ballot":
            event.vote = votes.get(found.member_id)
    return event


def _content(found: ProposalStep) -> str | None:
    if found.kind == "ballot":
        return found.info.ballots.get(found.member_id)
    return found.body.decode("utf-8", "replace") if found.kind == "proposal" and found.body is not None else None


def step_events(state: GovernanceState, step: Step) -> Iterator[Event]:
    """Events of a transaction beside what happens to its proposal."""
    txid = str(step.txid)
    if is_boot(step):
        kind = "genesis" if step.seqno == 1 else "recovery"
        yield Event(txid, kind, summary=_boot_summary(step, kind), changes=_changes(state, step))
        return
    for key, value in step.writes(PROPOSALS_INFO).items():
        name = key.decode("utf-8", "replace")
        if value is not None and b'"Dropped"' in value and state.proposals.get(name) == "Open":
            yield Event(txid, "dropped", name, summary="dropped by the proposal that was accepted")
    yield from _membership_events(state, step)
    yield from _member_events(state, step)
    yield from _service_events(state, step)


def _boot_summary(step: Step, kind: str) -> str:
    members = sum(value is not None for value in step.writes(MEMBERS_INFO).values())
    return f"service created with {members} members" if kind == "genesis" else "service recovered after a disaster"


def _member_events(state: GovernanceState, step: Step) -> Iterator[Event]:
    txid = str(step.txid)
    for key, value in step.writes(names.MEMBERS_ACKS).items():
        old = state.get(names.MEMBERS_ACKS, key)
        if value is None or old is None or PROPOSALS_INFO in step.tables:
            continue
        member = key.decode("utf-8", "replace")
        try:
            before, after = parse_ack(old), parse_ack(value)
        except FormatError:
            continue
        if after.request is not None and after.request != before.request:
            active = " and became active" if _became_active(state, step, key) else ""
            yield Event(
                txid,
                "acknowledged",
                member_id=member,
                summary=f"acknowledged state digest {after.state_digest[:16]}…{active}",
                signature="cose" if after.cose is not None else "http",
            )
        else:
            yield Event(txid, "digest-updated", member_id=member, summary=f"state digest {after.state_digest[:16]}…")
    for key, value in step.writes(names.SUBMITTED_SHARES).items():
        if value is not None:
            yield Event(txid, "share-submitted", member_id=key.decode("utf-8", "replace"), summary="recovery share")


def _membership_events(state: GovernanceState, step: Step) -> Iterator[Event]:
    """Members who join, leave, or whose data change, by proposal."""
    for key, new in step.writes(MEMBERS_INFO).items():
        old = state.get(MEMBERS_INFO, key)
        if old == new or (old is None and new is None) or _became_active(state, step, key):
            continue
        member = key.decode("utf-8", "replace")
        summary = "joined" if old is None else "left" if new is None else "changed"
        if new is not None:
            summary += _describe_member(step, key, new)
        yield Event(str(step.txid), "member", member_id=member, summary=summary)


def _describe_member(step: Step, key: bytes, value: bytes) -> str:
    try:
        info = parse_member_info(value)
        pem = step.writes(names.MEMBERS_CERTS).get(key)
        subject = f", {parse_member_certificate(pem).subject_text}" if pem is not None else ""
    except FormatError:
        return ""
    recovers = step.writes(names.MEMBERS_ENCRYPTION_KEYS).get(key) is not None
    return f" as {info.status}{subject}{', with a recovery key' if recovers else ''}"


def _became_active(state: GovernanceState, step: Step, key: bytes) -> bool:
    old, new = state.get(MEMBERS_INFO, key), step.writes(MEMBERS_INFO).get(key)
    return old is not None and new is not None and b'"Accepted"' in old and b'"Active"' in new


def _service_events(state: GovernanceState, step: Step) -> Iterator[Event]:
    txid = str(step.txid)
    value, before = step.value(SERVICE_INFO), state.service_status()
    if value is not None:
        try:
            status = parse_service_info(value).status
        except FormatError:
            status = before
        if status != before:
            yield Event(txid, "service", summary=f"service went from {before or 'nothing'} to {status}")
    for key, written in step.writes(NODES_INFO).items():
        node = key.decode("utf-8", "replace")[:16]
        old = state.get(NODES_INFO, key)
        try:
            was = parse_node_info(old).status if old is not None else None
            now = parse_node_info(written).status if written is not None else None
        except FormatError:
            continue
        if was != now:
            text = f"joined as {now}" if was is None else f"went from {was} to {now or 'removed'}"
            yield Event(txid, "node", summary=f"node {node}… {text}")
