"""What a governance replay found: counts, findings, events, and what was not checked."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, fields

from tallystick.findings import CATALOGUE, Effect, Finding, Verdict, verdict_of
from tallystick.governance.events import Event, when

__all__ = ["SCHEMA", "Counts", "GovernanceReport", "Member", "NotChecked", "Notes", "Standing"]

SCHEMA = "tallystick.governance/1"

# Findings of one code that are listed; the rest is counted. A forged ledger can earn millions.
_LISTED = 200

# Transaction IDs listed for one thing that was not checked.
_EXAMPLES = 5


@dataclass
class Counts:
    """What was replayed and checked. Every number counts checks that were made, whatever came of them."""

    proposals: int = 0
    accepted: int = 0
    rejected: int = 0
    withdrawn: int = 0
    dropped: int = 0
    failed: int = 0
    ballots: int = 0
    request_signatures_cose: int = 0
    request_signatures_http: int = 0
    ack_signatures: int = 0
    digest_updates: int = 0
    states_open: int = 0
    states_resolved: int = 0
    states_dropped: int = 0
    validations: int = 0
    ballot_runs: int = 0
    final_votes: int = 0
    applications: int = 0
    writes_equal: int = 0
    writes_by_service: int = 0
    governance_transactions: int = 0

    def to_json(self) -> dict[str, int]:
        """By name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True)
class NotChecked:
    """Something that this run did not look at, or could not.

    Attributes:
        what: in words.
        count: how often it was met.
        examples: transaction IDs of the first ones.
    """

    what: str
    count: int
    examples: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return {"what": self.what, "count": self.count, "examples": list(self.examples)}

    def __str__(self) -> str:
        where = ", ".join(self.examples)
        more = f" and {self.count - len(self.examples)} more" if self.count > len(self.examples) else ""
        return f"{self.what} ({where}{more})" if where else self.what


@dataclass(frozen=True)
class Member:
    """A member at the end of what was read.

    Attributes:
        member_id: hex SHA-256 of its certificate.
        status: ``Accepted`` or ``Active``.
        subject: of its certificate; None when that is malformed.
        not_before, not_after: its validity, Unix seconds.
        recovery_role: ``Participant``, ``Owner``, ``NonParticipant``; None without an encryption key.
        data: ``member_data``, as JSON text; None when there is none.
    """

    member_id: str
    status: str
    subject: str | None
    not_before: int | None
    not_after: int | None
    recovery_role: str | None
    data: str | None

    def to_json(self) -> dict[str, object]:
        return {
            "member_id": self.member_id,
            "status": self.status,
            "subject": self.subject,
            "not_before": when(self.not_before),
            "not_after": when(self.not_after),
            "recovery_role": self.recovery_role,
            "member_data": None if self.data is None else json.loads(self.data),
        }


@dataclass(frozen=True)
class Standing:
    """Governance at the end of what was read.

    Attributes:
        service_status: status of the service.
        service_key_sha256: fingerprint of its key.
        constitution_sha256: of the constitution's text.
        recovery_threshold: shares that a recovery needs.
        members: by id.
        open_proposals: ids.
    """

    service_status: str
    service_key_sha256: str | None
    constitution_sha256: str | None
    recovery_threshold: int | None
    members: tuple[Member, ...]
    open_proposals: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return {
            "service_status": self.service_status,
            "service_key_sha256": self.service_key_sha256,
            "constitution_sha256": self.constitution_sha256,
            "recovery_threshold": self.recovery_threshold,
            "members": [member.to_json() for member in self.members],
            "open_proposals": list(self.open_proposals),
        }


@dataclass
class Notes:
    """Collects findings and what was not checked; bounded."""

    _findings: list[tuple[int, Finding]] = field(default_factory=list)
    _codes: Counter[str] = field(default_factory=Counter)
    _effects: set[Effect] = field(default_factory=set)
    _not_checked: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def add(self, seqno: int, item: Finding) -> None:
        """Adds a finding about transaction ``seqno``."""
        self._codes[item.code] += 1
        self._effects.add(item.verdict_effect)
        if self._codes[item.code] <= _LISTED:
            self._findings.append((seqno, item))

    def not_checked(self, what: str, txid: str | None = None) -> None:
        """Adds something that was not checked."""
        count, examples = self._not_checked.setdefault(what, (0, []))
        if txid is not None and len(examples) < _EXAMPLES:
            examples.append(txid)
        self._not_checked[what] = count + 1, examples

    def findings(self) -> tuple[Finding, ...]:
        """Findings by position, then what was left out."""
        ordered = [item for _, item in sorted(self._findings, key=lambda pair: pair[0])]
        for code, count in sorted(self._codes.items()):
            if count > _LISTED:
                info = CATALOGUE["gov-findings-not-listed"]
                message = f"{count - _LISTED} more findings {code}"
                ordered.append(Finding("gov-findings-not-listed", info.severity, message, effect=info.verdict_effect))
        return tuple(ordered)

    def all_not_checked(self) -> tuple[NotChecked, ...]:
        """In the order in which each was met first."""
        return tuple(NotChecked(what, count, tuple(seen)) for what, (count, seen) in self._not_checked.items())


@dataclass(frozen=True)
class GovernanceReport:
    """The outcome of a replay. It speaks of governance only: whether the ledger is genuine is another verdict.

    Attributes:
        verdict: verified, failed or undecided.
        first_seqno, last_seqno: transactions that were read.
        last_txid: the last of them.
        counts: what was checked.
        findings: by position.
        not_checked: what was not.
        events: the timeline.
        standing: governance at the end.
        replayed: whether scripts were run.
    """

    verdict: Verdict
    first_seqno: int | None
    last_seqno: int | None
    last_txid: str | None
    counts: Counts
    findings: tuple[Finding, ...]
    not_checked: tuple[NotChecked, ...]
    events: tuple[Event, ...]
    standing: Standing
    replayed: bool = True

    @classmethod
    def of(
        cls,
        notes: Notes,
        counts: Counts,
        events: list[Event],
        standing: Standing,
        *,
        first: int | None,
        last: int | None,
        txid: str | None,
        replayed: bool,
    ) -> GovernanceReport:
        """A report over ``notes``; verified needs at least one transaction, scripts run, and nothing against it."""
        findings = notes.findings()
        verdict = verdict_of(findings)
        if verdict is Verdict.VERIFIED and (first is None or not replayed):
            verdict = Verdict.UNDECIDED
        return cls(
            verdict, first, last, txid, counts, findings, notes.all_not_checked(), tuple(events), standing, replayed
        )

    def to_json(self) -> dict[str, object]:
        """The JSON report, without the events."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict.value,
            "first_seqno": self.first_seqno,
            "last_seqno": self.last_seqno,
            "last_txid": self.last_txid,
            "replayed": self.replayed,
            "standing": self.standing.to_json(),
            "counts": self.counts.to_json(),
            "findings": [item.to_json() for item in self.findings],
            "not_checked": [item.to_json() for item in self.not_checked],
        }
