"""Replays governance: every proposal, ballot, withdrawal and acknowledgement, against the rules in force then.

For each transaction that has to do with governance, in ledger order:

(1) read what it did to proposals (``proposals.py``), or judge it by the rules for what needs none (``rules.py``);
(2) queue the signature of the member's request for checking with the member's key as of the transaction before;
(3) run the constitution in force before it, over the tables as of then: ``validate`` for a new proposal, every
    ballot, ``resolve``, and ``apply`` for one that was accepted; on other threads, within budgets;
(4) compare with what the ledger recorded: votes, state, every write (``application.py``), and what the service
    made itself as far as that can be told (``effects.py``);
(5) take the transaction's writes into the state (``state.py``).

The state only ever comes from the ledger, so steps are independent of each other and of what their replay says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field

import tallystick.governance.codes  # noqa: F401 -- registers the codes of findings
from tallystick._native import (
    GovernanceOutcome,
    GovernanceReplayer,
    GovernanceTables,
    ScriptFailure,
    SignatureBatch,
)
from tallystick.errors import FormatError, LimitExceededError
from tallystick.findings import finding
from tallystick.governance.application import check_application
from tallystick.governance.events import Event
from tallystick.governance.names import MEMBERS_ACKS
from tallystick.governance.proposals import ProposalStep, Roots, read_proposal_step
from tallystick.governance.records import json_object, parse_ack
from tallystick.governance.report import Counts, GovernanceReport, Notes
from tallystick.governance.rules import judge_without_proposal
from tallystick.governance.standing import standing
from tallystick.governance.state import GovernanceState, SignatureSeen, Step, Writes
from tallystick.governance.timeline import proposal_event, step_events
from tallystick.identity.requests import MemberRequest, parse_cose_ack, parse_http_request
from tallystick.tables.names import PROPOSALS, PROPOSALS_INFO
from tallystick.types import TxId

__all__ = ["Budgets", "Replayer"]

# What a recorded state must be for resolve() to have given it.
_RESOLVED = frozenset({"Open", "Accepted", "Rejected"})

# Name of the action that opens a service, as it stands in proposals.
OPENING_ACTION = b"transition_service_to_open"

# Steps that wait for their scripts; each keeps its writes and a snapshot of the tables alive.
_MAX_PENDING = 64

# Signatures in hand before their results are waited for.
_MAX_SIGNATURES = 1024

_MIB = 1 << 20

# Some versions before 5.0 leave final_votes out.
_NO_VOTES = "votes of a closed proposal: the ledger does not record them; its ballots and its state were replayed"


@dataclass(frozen=True)
class Budgets:
    """What each call of a script may use; the defaults are CCF's own.

    Attributes:
        max_heap_bytes, max_stack_bytes: memory.
        max_time_ms: wall time. A machine slower than the service's may need more.
    """

    max_heap_bytes: int = 100 * _MIB
    max_stack_bytes: int = 1 * _MIB
    max_time_ms: int = 5000


@dataclass(frozen=True)
class _Place:
    """Where a finding is."""

    txid: TxId
    file: str | None
    offset: int | None

    @property
    def seqno(self) -> int:
        return self.txid.seqno


@dataclass
class _Pending:
    """A step whose scripts run."""

    step: Step
    found: ProposalStep
    before: GovernanceTables
    event: Event | None
    signature: SignatureSeen | None = None


@dataclass
class Replayer:
    """Takes transactions in ledger order, and reports at the end.

    Args:
        budgets: for scripts.
        jobs: threads for scripts and for signatures, 0 for one a core.
        run_scripts: False leaves out (3) and (4).
        contents_of: start of the id of the proposal whose texts events are to hold.
        keep_events: False leaves the timeline out, so that memory does not grow with the number of proposals.
    """

    budgets: Budgets = field(default_factory=Budgets)
    jobs: int = 0
    run_scripts: bool = True
    contents_of: str | None = None
    keep_events: bool = True

    def __post_init__(self) -> None:
        self.state = GovernanceState()
        self.counts = Counts()
        self.events: list[Event] = []
        self.notes = Notes()
        self._scripts = GovernanceReplayer(
            jobs=self.jobs,
            max_pending=_MAX_PENDING,
            max_heap_bytes=self.budgets.max_heap_bytes,
            max_stack_bytes=self.budgets.max_stack_bytes,
            max_time_ms=self.budgets.max_time_ms,
        )
        self._pending: deque[_Pending] = deque()
        self._openings: set[str] = set()
        self._stopped = False
        self._signatures = SignatureBatch(jobs=self.jobs)
        self._requests: dict[int, tuple[_Place, str]] = {}
        self._seen_requests: set[bytes] = set()
        self._unsigned: list[_Pending] = []
        self._first: int | None = None
        self._last: int | None = None
        self._last_txid: str | None = None

    # ------------------------------------------------------------------------------------------- feeding

    def read_up_to(self, first: int, last: int, txid: str) -> None:
        """Takes note of which transactions were read, whether or not they have to do with governance."""
        self._first = first if self._first is None else min(self._first, first)
        self._last, self._last_txid = last, txid

    def observe_signature(self, seen: SignatureSeen) -> None:
        """Takes a signature transaction."""
        self.state.sign(seen)
        for pending in self._unsigned:
            pending.signature = seen
        self._unsigned.clear()

    def observe(self, step: Step, roots: Roots) -> None:
        """Takes a transaction that writes governance or internal tables, and is no signature transaction.

        Args:
            step: the transaction.
            roots: gives the Merkle roots that it can have been executed on, newest first.
        """
        self.counts.governance_transactions += 1
        if step.seqno == 1:
            self.notes.not_checked(
                "the first transaction: who the first members are and which rules they begin with, nobody voted on",
                str(step.txid),
            )
        if PROPOSALS_INFO in step.tables or PROPOSALS in step.tables:
            self._proposal(step, roots)
        else:
            for item in judge_without_proposal(self.state, step):
                self.notes.add(step.seqno, item)
        self._acks(step)
        if self.keep_events:
            self.events.extend(step_events(self.state, step))
        self.state.update(step)
        self._collect(self._outcomes())

    @property
    def accepted_openings(self) -> frozenset[str]:
        """Proposals to open the service that resolve() accepts over the ballots, as far as scripts have run."""
        return frozenset(self._openings)

    def finish(self) -> GovernanceReport:
        """Waits for what is still running and gives the report."""
        if not self._stopped:
            try:
                self._collect(self._scripts.finish())
            except LimitExceededError as error:
                self._stop(error)
        self._settle_signatures()
        return GovernanceReport.of(
            self.notes,
            self.counts,
            self.events,
            standing(self.state),
            first=self._first,
            last=self._last,
            txid=self._last_txid,
            replayed=self.run_scripts,
        )

    # ----------------------------------------------------------------------------------------- proposals

    def _add(self, step: Step, code: str, message: str) -> None:
        self.notes.add(step.seqno, finding(code, message, file=step.file, offset=step.offset, txid=str(step.txid)))

    def _proposal(self, step: Step, roots: Roots) -> None:
        found, problems = read_proposal_step(self.state, step, roots, self._seen_requests)
        for code, message in problems:
            self._add(step, code, message)
        if step.private_size:
            self._add(step, "gov-write-outside", "writes private tables in a transaction of a proposal")
        if found is None:
            return
        for code, message in found.problems:
            self._add(step, code, message)
        self._count(found)
        if found.request is not None:
            self._check_signature(step, found.request)
        event = self._event(step, found) if self.keep_events else None
        if found.info.state != "Accepted":
            self._no_more_than_bookkeeping(step, found)
        if found.kind == "withdrawal" or not found.sound or self._stopped:
            return
        if self.run_scripts:
            self._run(step, found, event)

    def _event(self, step: Step, found: ProposalStep) -> Event:
        wanted = self.contents_of is not None and found.proposal_id.startswith(self.contents_of)
        event = proposal_event(self.state, step, found, content=wanted)
        self.events.append(event)
        return event

    def _count(self, found: ProposalStep) -> None:
        counts = self.counts
        counts.proposals += found.kind == "proposal"
        counts.ballots += found.kind == "ballot"
        counts.accepted += found.info.state == "Accepted"
        counts.rejected += found.info.state == "Rejected"
        counts.withdrawn += found.info.state == "Withdrawn"
        counts.failed += found.info.state == "Failed"
        counts.dropped += len(found.dropped)

    def _no_more_than_bookkeeping(self, step: Step, found: ProposalStep) -> None:
        """Only an accepted proposal changes anything beside itself."""
        for name in sorted(found.dropped):
            self._add(step, "gov-dropped-wrong", f"proposal {name[:16]}… was dropped, and none was accepted")
        for table, writes in step.tables.items():
            extra = [key for key in writes if key not in found.bookkeeping.get(table, ())]
            extra = [
                key
                for key in extra
                if not (table == PROPOSALS_INFO and key.decode("utf-8", "replace") in found.dropped)
            ]
            if extra:
                rows = "1 row" if len(extra) == 1 else f"{len(extra)} rows"
                self._add(
                    step,
                    "gov-write-unexplained",
                    f"{rows} of {table[:80]} changed with a proposal that is {found.info.state}",
                )

    # ---------------------------------------------------------------------------------------- signatures

    def _check_signature(self, step: Step, request: MemberRequest) -> None:
        key = self.state.member_key(request.member_id)
        if key is None:
            if self.state.member(request.member_id) is not None:
                self._add(step, "gov-request-signature", f"no usable key of member {request.member_id[:16]}…")
            return
        if request.scheme == "http":
            self.counts.request_signatures_http += request.kind != "ack"
            if not request.holds(key):
                self._add(step, "gov-request-signature", _bad_signature(request))
            return
        self.counts.request_signatures_cose += request.kind != "ack"
        tag = len(self._requests)
        # Only what a finding needs: these wait until the end, and there may be many.
        self._requests[tag] = _Place(step.txid, step.file, step.offset), _bad_signature(request)
        self._signatures.submit_cose(tag, key, request.signed, request.signature, request.algorithm or 0)
        if len(self._requests) >= _MAX_SIGNATURES:
            self._settle_signatures()

    def _settle_signatures(self) -> None:
        """Waits for the signatures that are being checked."""
        for tag in sorted(self._signatures.finish()):
            place, what = self._requests[tag]
            self.notes.add(
                place.seqno,
                finding("gov-request-signature", what, file=place.file, offset=place.offset, txid=str(place.txid)),
            )
        self._requests.clear()
        self._signatures = SignatureBatch(jobs=self.jobs)

    def _acks(self, step: Step) -> None:
        for key, value in step.writes(MEMBERS_ACKS).items():
            old = self.state.get(MEMBERS_ACKS, key)
            if value is None or old is None:
                continue
            try:
                before, after = parse_ack(old), parse_ack(value)
            except FormatError:
                continue  # the rule for this table reports it
            if after.request is None or after.request == before.request:
                self.counts.digest_updates += 1
                continue
            self._ack(step, key.decode("utf-8", "replace"), after.cose, after.http, before.state_digest)

    def _ack(self, step: Step, member_id: str, cose: str | None, http: str | None, digest: str) -> None:
        self.counts.ack_signatures += 1
        try:
            request = (
                parse_cose_ack(member_id, cose)
                if cose is not None
                else parse_http_request(member_id, (http or "").encode())
            )
            content = json_object(request.body, "acknowledgement")
        except FormatError as error:
            self._add(step, "gov-ack-wrong", f"acknowledgement of member {member_id[:16]}…: {error.message}")
            return
        signed = content.get("state_digest", content.get("stateDigest"))
        if request.kind != "ack" or signed != digest:
            self._add(
                step,
                "gov-ack-wrong",
                f"acknowledgement of member {member_id[:16]}… is a {request.kind[:32]} for {str(signed)[:16]}…: "
                f"expected an ack for {digest[:16]}…",
            )
        self._check_signature(step, request)

    # ------------------------------------------------------------------------------------------- scripts

    def _run(self, step: Step, found: ProposalStep, event: Event | None) -> None:
        try:
            constitution = self.state.constitution()
        except FormatError as error:
            self._add(step, error.code, error.message)
            return
        if constitution is None:
            self._add(step, "gov-record-malformed", "a proposal is there, and no constitution")
            return
        info, key = found.info, found.proposal_id.encode()
        apply = info.state == "Accepted" or (info.failure or "").startswith("Failed to apply")
        if apply:
            self.state.load_signature()
        own = {
            table: dict(step.writes(table)) for table in found.bookkeeping if table not in (PROPOSALS, PROPOSALS_INFO)
        }
        before_resolve: dict[str, dict[bytes, bytes | None]] = {**own, PROPOSALS_INFO: {key: info.open_value()}}
        if found.kind == "proposal":
            before_resolve[PROPOSALS] = {key: found.body}
        removed: dict[str, dict[bytes, bytes | None]] = {
            table: {name: None for name, value in step.writes(table).items() if value is None}
            for table in (PROPOSALS, PROPOSALS_INFO)
        }
        removed[PROPOSALS_INFO][key] = step.writes(PROPOSALS_INFO)[key]
        try:
            self._scripts.submit(
                self.state.tables,
                constitution=constitution,
                proposal_id=found.proposal_id,
                proposal=found.body or b"",
                proposer_id=info.proposer_id,
                ballots=dict(info.ballots),
                before_resolve=before_resolve,
                before_apply=removed,
                validate=found.kind == "proposal",
                apply=apply,
                ledger_secret_seqno=self.state.ledger_secret_seqno,
                delete_answers=step.entry_type == 0,
            )
        except LimitExceededError as error:
            self._stop(error)
            return
        pending = _Pending(step, found, self.state.tables.copy(), event)
        self._pending.append(pending)
        self._unsigned.append(pending)

    def _stop(self, error: LimitExceededError) -> None:
        self._stopped = True
        self._collect(self._outcomes())
        for pending in self._pending:
            self._add(pending.step, "gov-replay-stopped", error.message)
        if not self._pending:
            self.notes.add(1 << 62, finding("gov-replay-stopped", error.message))
        self._pending.clear()

    def _outcomes(self) -> Iterable[GovernanceOutcome]:
        return self._scripts.outcomes() if self._pending else ()

    def _collect(self, outcomes: Iterable[GovernanceOutcome]) -> None:
        for outcome in outcomes:
            pending = self._pending.popleft()
            for code, message in self._judge(pending, outcome):
                self._add(pending.step, code, message)
            found = pending.found
            if outcome.resolution == found.info.state == "Accepted" and OPENING_ACTION in (found.body or b""):
                self._openings.add(found.proposal_id)

    def _judge(self, pending: _Pending, outcome: GovernanceOutcome) -> Iterator[tuple[str, str]]:
        """Compares the outcome of a step with its record; yields what is wrong."""
        _step, found = pending.step, pending.found
        name = f"{found.proposal_id[:16]}…"
        if outcome.stuck is not None:
            yield "gov-script-stuck", f"{outcome.stuck} of proposal {name} could not be interrupted"
            return
        for what in outcome.unrepeatable:
            yield "gov-unrepeatable", f"a script of proposal {name} used {what}"
        if found.kind == "proposal":
            self.counts.validations += 1
            yield from _judge_validation(name, outcome)
        if found.kind == "ballot" and pending.event is not None:
            pending.event.vote = outcome.votes.get(found.member_id)
        short = yield from self._judge_votes(name, pending, outcome)
        yield from self._judge_state(name, found, outcome, short)
        if outcome.writes is not None:
            yield from self._judge_application(name, pending, outcome)
        if found.info.state == "Open":
            self.counts.states_open += 1
        else:
            self.counts.states_resolved += 1

    def _judge_votes(
        self, name: str, pending: _Pending, outcome: GovernanceOutcome
    ) -> Generator[tuple[str, str], None, bool]:
        """Yields what is wrong about votes; returns whether a budget of ours kept one from ending."""
        info, failures = pending.found.info, outcome.vote_failures
        self.counts.ballot_runs += len(outcome.votes) + len(failures)
        short = False
        for member, failure in failures.items():
            recorded = info.final_votes.get(member) if info.final_votes is not None else None
            if failure.kind == "timed-out" and recorded is not None:
                short = True
                yield "gov-script-budget", f"ballot of member {member[:16]}… on {name}: {failure.message}"
            elif failure.kind in ("compile", "evaluate", "export"):
                yield "gov-vote-wrong", f"ballot of member {member[:16]}… on {name} cannot be run: {failure.message}"
            elif recorded is None:
                yield "gov-ballot-failed", f"ballot of member {member[:16]}… on {name}: {failure.message[:200]}"
        if info.final_votes is None:
            if info.state in ("Accepted", "Rejected") and info.ballots:
                self.notes.not_checked(_NO_VOTES, str(pending.step.txid))
            return short
        self.counts.final_votes += 1
        votes = dict(outcome.votes)
        for member in sorted(votes.keys() | info.final_votes.keys()):
            if short and member in failures:
                continue
            expected, got = votes.get(member), info.final_votes.get(member)
            if expected != got:
                yield (
                    "gov-vote-wrong",
                    f"vote of member {member[:16]}… on {name}: expected {_vote(expected)}, got {_vote(got)}",
                )
        if info.vote_failures is not None and not short and set(failures) != info.vote_failures:
            odd = sorted(set(failures) ^ info.vote_failures)[0]
            yield "gov-vote-wrong", f"failed ballots on {name} differ: member {odd[:16]}…"
        return short

    def _judge_state(
        self, name: str, found: ProposalStep, outcome: GovernanceOutcome, short: bool
    ) -> Iterator[tuple[str, str]]:
        recorded, resolution = found.info.state, outcome.resolution
        if recorded == "Failed" and (found.info.failure or "").startswith("Failed to apply"):
            recorded = "Accepted"
        if isinstance(resolution, ScriptFailure):
            if resolution.kind == "timed-out" and recorded != "Failed":
                yield "gov-script-budget", f"resolve() of {name}: {resolution.message}"
            elif recorded != "Failed":
                yield "gov-state-wrong", f"proposal {name} is {recorded}, and resolve() fails: {resolution.message}"
        elif short and resolution != recorded:
            return
        elif recorded == "Failed":
            if resolution in _RESOLVED:
                yield "gov-state-wrong", f"state of proposal {name}: expected {resolution}, got Failed"
        elif resolution != recorded:
            yield "gov-state-wrong", f"state of proposal {name}: expected {resolution}, got {recorded}"

    def _judge_application(self, name: str, pending: _Pending, outcome: GovernanceOutcome) -> Iterator[tuple[str, str]]:
        step, found, writes = pending.step, pending.found, outcome.writes
        if isinstance(writes, ScriptFailure):
            if found.info.state == "Failed":
                return
            code = "gov-script-budget" if writes.kind == "timed-out" else "gov-apply-failed"
            yield code, f"apply() of proposal {name}: {writes.message[:300]}"
            return
        if writes is None:
            return
        if found.info.state == "Failed":
            yield "gov-state-wrong", f"proposal {name} is Failed, and its apply() succeeds"
            return
        self.counts.applications += 1
        effects = outcome.effects
        check = check_application(writes, effects, step, bookkeeping=found.bookkeeping, before=pending.before)
        self.counts.writes_equal += check.equal
        self.counts.writes_by_service += check.made
        self.counts.states_dropped += _dropped_as_replayed(found, writes)
        for difference in check.differences:
            code = "gov-dropped-wrong" if difference.startswith(PROPOSALS_INFO) else "gov-apply-differs"
            yield code, f"proposal {name}: {difference}"
        for unexplained in check.unexplained:
            code = "gov-dropped-wrong" if unexplained.startswith(PROPOSALS_INFO) else "gov-write-unexplained"
            yield code, f"proposal {name}: {unexplained}"
        for problem in check.effects.problems:
            yield problem.code, f"proposal {name}: {problem.message}"
        for what in check.effects.not_checked:
            self.notes.not_checked(what, str(step.txid))
        if any(function == "triggerLedgerChunk" for function, _ in effects):
            yield from self._judge_chunk(name, pending)

    def _judge_chunk(self, name: str, pending: _Pending) -> Iterator[tuple[str, str]]:
        """The signature after a proposal to end the chunk must end it."""
        if pending.signature is None:
            self.notes.not_checked("whether a chunk ended as asked: no signature was read yet", str(pending.step.txid))
        elif not pending.signature.flags() & 1:
            yield "gov-effect-wrong", f"proposal {name}: the chunk goes on after signature {pending.signature.txid}"


def _bad_signature(request: MemberRequest) -> str:
    return f"signature of member {request.member_id[:16]}… on its {request.kind[:32]} does not hold"


def _vote(vote: bool | None) -> str:
    return "none" if vote is None else "yes" if vote else "no"


def _judge_validation(name: str, outcome: GovernanceOutcome) -> Iterator[tuple[str, str]]:
    validation = outcome.validation
    if isinstance(validation, ScriptFailure):
        code = "gov-script-budget" if validation.kind == "timed-out" else "gov-validate-failed"
        yield code, f"validate() of proposal {name}: {validation.message[:300]}"
    elif validation is not None and not validation[0]:
        yield "gov-validate-failed", f"validate() refuses proposal {name}: {validation[1][:300]}"


def _dropped_as_replayed(found: ProposalStep, writes: Writes) -> int:
    replayed = writes.get(PROPOSALS_INFO, {})
    return sum(1 for name, value in found.dropped.items() if replayed.get(name.encode()) == value)
