"""Reports about governance: the timeline, what stands at the end, and the combined verdict."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tallystick.audit.verdict import LedgerVerdict
from tallystick.findings import Effect, Finding, Verdict
from tallystick.governance.events import Event, when
from tallystick.governance.report import GovernanceReport, Member, Standing
from tallystick.printable import printable

__all__ = ["GovernanceVerdict", "event_lines", "render_verdict", "standing_lines"]

SCHEMA = "tallystick.governance-verdict/1"

# What the ledger's verdict leaves to this one.
_REPLAYED_HERE = "governance: "

_WIDTH = 80
_LISTED_CHANGES = 12


@dataclass(frozen=True)
class GovernanceVerdict:
    """Governance replay together with the verification of the ledger that it was read from.

    Attributes:
        ledger: whether the ledger is the service's own.
        governance: whether it follows its rules.
    """

    ledger: LedgerVerdict
    governance: GovernanceReport

    @property
    def verdict(self) -> Verdict:
        """Verified only if both are; failed if either is."""
        both = (self.ledger.verdict, self.governance.verdict)
        if Verdict.FAILED in both:
            return Verdict.FAILED
        return Verdict.UNDECIDED if Verdict.UNDECIDED in both else Verdict.VERIFIED

    @property
    def proven_to(self) -> int | None:
        """Last seqno that both cover; None when there is none."""
        proven, last = self.ledger.proven, self.governance.last_seqno
        return None if proven is None or last is None else min(proven.last_seqno, last)

    def to_json(self) -> dict[str, object]:
        """The JSON verdict."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict.value,
            "proven_to_seqno": self.proven_to,
            "ledger": self.ledger.to_json(),
            "governance": self.governance.to_json(),
        }


def render_verdict(verdict: GovernanceVerdict, style: str, *, quiet: bool = False) -> str:
    """The combined verdict as ``text``, ``json`` or ``jsonl``, ending in a newline."""
    if style == "json":
        return json.dumps(verdict.to_json(), indent=2) + "\n"
    if style == "jsonl":
        items = [("ledger", item) for item in verdict.ledger.findings]
        items += [("governance", item) for item in verdict.governance.findings]
        lines: list[dict[str, object]] = [{"type": "finding", "about": of, **item.to_json()} for of, item in items]
        lines.append({"type": "verdict", **verdict.to_json()})
        return "".join(json.dumps(line) + "\n" for line in lines)
    return "\n".join(_verdict_lines(verdict, quiet)) + "\n"


def _verdict_lines(verdict: GovernanceVerdict, quiet: bool) -> Iterator[str]:
    ledger, governance = verdict.ledger, verdict.governance
    yield _headline(verdict)
    bad = [item for item in (*ledger.findings, *governance.findings) if item.verdict_effect is not Effect.NONE]
    if quiet:
        yield from _finding_lines(bad)
        return
    proven = ledger.proven
    text = f"{ledger.verdict.value}; "
    text += "nothing is proven" if proven is None else f"proven: seqno {proven.first_seqno} to {proven.last_seqno}"
    yield from _field("ledger", text)
    yield from _field("anchor", ledger.anchor_kind + "".join(f" {key}" for key in ledger.anchor_keys))
    yield from _field("governance", f"{governance.verdict.value}; read to {governance.last_txid or 'nothing'}")
    yield ""
    yield "Checked"
    yield from _count_lines(governance)
    findings = [*governance.findings, *(item for item in ledger.findings if item.verdict_effect is not Effect.NONE)]
    if findings:
        yield ""
        yield "Findings"
        yield from _finding_lines(findings)
    yield ""
    yield "Not checked"
    for missing in governance.not_checked:
        yield from _wrap(str(missing), "  - ", "    ")
    for text in ledger.not_checked:
        if not text.startswith(_REPLAYED_HERE):
            yield from _wrap(text, "  - ", "    ")


def _headline(verdict: GovernanceVerdict) -> str:
    reached = verdict.proven_to
    if verdict.verdict is Verdict.VERIFIED:
        counts = verdict.governance.counts
        return (
            f"VERIFIED: governance follows its rules up to seqno {reached}: {counts.proposals} proposals, "
            f"{counts.ballots} ballots"
        )
    word = verdict.verdict.value.upper()
    if verdict.ledger.verdict is not Verdict.VERIFIED:
        told = verdict.governance.verdict.value
        return f"{word}: the ledger is {verdict.ledger.verdict.value}, governance as it tells it {told}"
    return f"{word}: the ledger is verified, its governance {verdict.governance.verdict.value}"


def _count_lines(governance: GovernanceReport) -> Iterator[str]:
    counts = governance.counts
    rows = [
        (counts.proposals, f"proposals: {counts.accepted} accepted, {counts.rejected} rejected, "
         f"{counts.withdrawn} withdrawn, {counts.dropped} dropped, {counts.failed} failed"),
        (counts.ballots, "ballots"),
        (counts.request_signatures_cose + counts.request_signatures_http,
         f"signatures of requests ({counts.request_signatures_cose} COSE, {counts.request_signatures_http} HTTP)"),
        (counts.ack_signatures, f"signed acknowledgements, and {counts.digest_updates} updates of state digests"),
    ]  # fmt: skip
    if governance.replayed:
        states = counts.states_open + counts.states_resolved + counts.states_dropped
        rows += [
            (counts.validations, "proposals validated again"),
            (counts.ballot_runs, "ballots run again"),
            (states, f"states decided again ({counts.states_open} open, {counts.states_resolved} closed, "
             f"{counts.states_dropped} dropped)"),
            (counts.final_votes, "recorded sets of votes compared"),
            (counts.applications, f"proposals applied again: {counts.writes_equal} writes equal, "
             f"{counts.writes_by_service} made by the service"),
        ]  # fmt: skip
    for number, text in rows:
        yield from _wrap(f"{number:>7,}  {text}", "", " " * 9)


def _finding_lines(findings: Iterable[Finding]) -> Iterator[str]:
    for item in findings:
        where = f"  {item.txid}" if item.txid is not None else ""
        yield f"  {item.severity.value} {item.code}{where}"
        yield from _wrap(item.message, "    ", "    ")
        if item.file is not None:
            yield printable(f"    {item.file}" + (f", offset {item.offset}" if item.offset is not None else ""))


# ------------------------------------------------------------------------------------------------- timeline


def event_lines(event: Event) -> Iterator[str]:
    """An event for people: a line, and what it changed below it."""
    claimed = when(event.created_at)
    head = f"{event.txid:<10} {event.kind:<15}"
    parts = []
    if event.proposal_id is not None:
        parts.append(f"proposal {event.proposal_id[:16]}")
    if event.member_id is not None:
        parts.append(f"{'by ' if event.proposal_id is not None else ''}member {event.member_id[:16]}")
    if event.kind == "voted":
        parts.append({True: "yes", False: "no", None: "no vote"}[event.vote])
    if event.outcome is not None:
        parts.append(f"→ {event.outcome}")
    if event.summary:
        parts.append(f"({event.summary})" if event.outcome is not None else event.summary)
    if claimed is not None:
        parts.append(f"at {claimed}")
    yield from _wrap(head + " ".join(parts), "", " " * 27)
    if event.actions and (event.kind == "proposed" or event.outcome is not None):
        yield from _wrap(", ".join(event.actions), " " * 11 + "actions: ", " " * 20)
    if event.changes and event.kind not in ("genesis", "recovery"):
        for change in event.changes[:_LISTED_CHANGES]:
            yield from _wrap(f"{change.kind:<10} {change.table}[{_short(change.key)}]", " " * 11, " " * 22)
        if len(event.changes) > _LISTED_CHANGES:
            yield " " * 11 + f"… and {len(event.changes) - _LISTED_CHANGES} more rows"
    if event.content is not None:
        for line in event.content.splitlines() or [""]:
            yield " " * 11 + "| " + printable(line.replace("\t", "    "))


def _short(key: str) -> str:
    return key if len(key) <= 48 else key[:16] + "…"


def standing_lines(report: GovernanceReport) -> Iterator[str]:
    """What stands at the end, for people."""
    held: Standing = report.standing
    yield f"Governance at {report.last_txid or 'nothing'}"
    yield from _field("service", f"{held.service_status or 'unknown'}, key {held.service_key_sha256 or 'unknown'}")
    yield from _field("rules", f"constitution SHA-256 {held.constitution_sha256 or 'unknown'}")
    threshold = "unknown" if held.recovery_threshold is None else str(held.recovery_threshold)
    yield from _field("recovery", f"threshold {threshold}")
    yield ""
    yield f"Members ({len(held.members)})"
    for member in held.members:
        yield from _member_lines(member)
    yield ""
    yield f"Open proposals ({len(held.open_proposals)})"
    for proposal_id in held.open_proposals:
        yield f"  {printable(proposal_id)}"


def _member_lines(member: Member) -> Iterator[str]:
    yield f"  {printable(member.member_id)}"
    parts = [member.status, member.subject or "certificate malformed"]
    if member.not_before is not None:
        parts.append(f"valid {when(member.not_before)} to {when(member.not_after)}")
    parts.append("no recovery key" if member.recovery_role is None else f"recovery {member.recovery_role}")
    if member.data is not None:
        parts.append(f"data {member.data}")
    yield from _wrap(", ".join(parts), "    ", "    ")


# --------------------------------------------------------------------------------------------------- layout


def _field(label: str, text: str) -> Iterator[str]:
    yield from _wrap(text, f"  {label:<12}", " " * 14)


def _wrap(text: str, first: str, following: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        _WIDTH,
        initial_indent=first,
        subsequent_indent=following,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]
