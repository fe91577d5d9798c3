"""``tallystick gov``: who decided what in a service, and whether its rules were followed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.ledger_anchor import JOBS, ProgressLine, check_place, ledger_anchor
from tallystick.errors import FormatError, UsageError

if TYPE_CHECKING:
    from tallystick.findings import Verdict
    from tallystick.governance.events import Event
    from tallystick.governance.report import GovernanceReport

__all__ = ["gov"]

_Command = Callable[..., Any]

_UNVERIFIED = "note: as the ledger tells it; run `tallystick gov verify` to learn what is proven"

# Events that are left out of the log unless asked for: housekeeping of single members and nodes.
_DETAILS = frozenset({"digest-updated", "node"})

_DEFAULT_TIME_MS = 5000


def _reading(command: _Command) -> _Command:
    """Options of every subcommand: what to read, how to run scripts, how to print."""
    for option in reversed(
        [
            click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH..."),
            click.option("--uncommitted", is_flag=True, help="Read uncommitted chunks of directories too."),
            click.option("--recovery", is_flag=True, help="Read .recovery files of directories too."),
            click.option("--jobs", type=JOBS, default=0, help="Worker threads; 0: one a core."),
            click.option(
                "--max-time",
                "max_time_ms",
                type=click.IntRange(min=1, max=3_600_000),
                default=_DEFAULT_TIME_MS,
                show_default=True,
                metavar="MS",
                help="Time that one script may take.",
            ),
            click.option(
                "--format",
                "style",
                type=click.Choice(["text", "json", "jsonl"]),
                default="text",
                show_default=True,
            ),
            click.option("-q", "--quiet", is_flag=True, help="No notes and no progress on standard error."),
        ]
    ):
        command = option(command)
    return command


@click.group()
def gov() -> None:
    """Governance: members, proposals, ballots, and the rules they follow.

    Scripts from the ledger (the constitution, ballots) run in a sandbox, with limits on time and memory.
    """


@gov.command()
@_reading
@click.option("--member", metavar="ID", help="Only what this member did; a prefix will do.")
@click.option("--details", is_flag=True, help="Also updates of state digests, and nodes.")
@click.option("--no-replay", is_flag=True, help="Run no scripts: votes are shown as recorded.")
def log(
    *, paths: tuple[str, ...], member: str | None, details: bool, no_replay: bool, style: str, quiet: bool, **rest: Any
) -> int:
    """The timeline: who proposed, who voted what, when, and what changed."""
    report = _replay(paths, run_scripts=not no_replay, quiet=quiet, **rest)
    events = [
        event
        for event in report.events
        if (details or event.kind not in _DETAILS)
        and (member is None or (event.member_id or "").startswith(member.lower()))
    ]
    _print_events(events, report, style, quiet)
    return int(ExitStatus.OK if report.last_seqno is not None else ExitStatus.UNDECIDED)


@gov.command()
@_reading
@click.option("--proposal", metavar="ID", help="The life of one proposal, with its text; a prefix will do.")
@click.option("--member", metavar="ID", help="What one member did and what became of it; a prefix will do.")
def show(
    *, paths: tuple[str, ...], proposal: str | None, member: str | None, style: str, quiet: bool, **rest: Any
) -> int:
    """Members, rules and open proposals at the end; or one proposal; or one member."""
    if proposal is not None and member is not None:
        raise UsageError("--proposal and --member exclude each other")
    wanted = None if proposal is None else proposal.lower()
    report = _replay(paths, run_scripts=wanted is not None, quiet=quiet, contents_of=wanted, **rest)
    if wanted is None and member is None:
        _print_standing(report, style, quiet)
        return int(ExitStatus.OK if report.last_seqno is not None else ExitStatus.UNDECIDED)
    events = [event for event in report.events if _concerns(event, wanted, member)]
    subjects = {event.proposal_id if wanted is not None else event.member_id for event in events}
    what = "proposal" if wanted is not None else "member"
    if not events:
        raise UsageError(f"no {what} begins with {wanted or member!r}", code=f"{what}-missing")
    if len(subjects) > 1:
        raise UsageError(f"{len(subjects)} {what}s begin with {wanted or member!r}", code=f"{what}-ambiguous")
    _print_events(events, report, style, quiet)
    return int(ExitStatus.OK)


def _concerns(event: Event, proposal: str | None, member: str | None) -> bool:
    if proposal is not None:
        return event.proposal_id is not None and event.proposal_id.startswith(proposal)
    return event.member_id is not None and event.member_id.startswith((member or "").lower())


@gov.command()
@_reading
@ledger_anchor
@click.option("--output", type=click.Path(), metavar="FILE", help="Write the report to a file.")
def verify(
    *,
    paths: tuple[str, ...],
    service_certs: tuple[str, ...],
    service_keys: tuple[str, ...],
    trust_genesis: bool,
    style: str,
    quiet: bool,
    output: str | None,
    uncommitted: bool,
    recovery: bool,
    jobs: int,
    max_time_ms: int,
) -> int:
    """Verify the ledger, then replay its governance from the first transaction on.

    Members' signatures are checked with the certificates of the time; the constitution in force and every ballot
    are run again; what they give must be what the ledger recorded, byte for byte. What only the service or its
    members could make is checked as far as it can be, and named where it cannot. Where the constitution accepts the
    opening after a recovery, trust goes over to the new service identity, whatever ballots the members cast.

    Exit codes: 0 verified, 1 failed, 2 usage, 3 could not decide.
    """
    from tallystick.audit.auditor import audit_ledger
    from tallystick.cli.anchor_options import write_output
    from tallystick.governance.ledger import GovernanceObserver
    from tallystick.governance.replay import Budgets
    from tallystick.identity.trust_anchor import TrustAnchor
    from tallystick.report.governance import GovernanceVerdict, render_verdict

    check_place("--output", output)
    anchor = TrustAnchor.from_options(
        service_certs=service_certs, service_key_sha256=service_keys, trust_genesis=trust_genesis
    )
    progress = None if quiet or not sys.stderr.isatty() else _Progress()
    # One pass: what is replayed is what was verified. The timeline is left out, so that memory does not grow with it.
    governance = GovernanceObserver(
        paths,
        uncommitted=uncommitted,
        recovery=recovery,
        budgets=Budgets(max_time_ms=max_time_ms),
        jobs=jobs,
        keep_events=False,
        progress=progress,
    )
    try:
        ledger = audit_ledger(
            paths,
            anchor,
            jobs=jobs,
            uncommitted=uncommitted,
            recovery=recovery,
            observers=[governance],
            accepts_opening=governance.accepts_opening,
        )
        report = governance.report()
    finally:
        if progress is not None:
            progress.clear()
    verdict = GovernanceVerdict(ledger, report)
    write_output(render_verdict(verdict, style, quiet=quiet), output)
    return _exit(verdict.verdict)


def _exit(verdict: Verdict) -> int:
    outcomes = {"verified": ExitStatus.OK, "failed": ExitStatus.FAILED, "undecided": ExitStatus.UNDECIDED}
    return int(outcomes[verdict.value])


def _replay(
    paths: Iterable[str],
    *,
    uncommitted: bool,
    recovery: bool,
    jobs: int,
    max_time_ms: int,
    quiet: bool,
    run_scripts: bool = True,
    contents_of: str | None = None,
    keep_events: bool = True,
) -> GovernanceReport:
    from tallystick.governance.ledger import replay_governance
    from tallystick.governance.replay import Budgets

    progress = None if quiet or not sys.stderr.isatty() else _Progress()
    try:
        report = replay_governance(
            paths,
            uncommitted=uncommitted,
            recovery=recovery,
            budgets=Budgets(max_time_ms=max_time_ms),
            jobs=jobs,
            run_scripts=run_scripts,
            contents_of=contents_of,
            keep_events=keep_events,
            progress=progress,
        )
    finally:
        if progress is not None:
            progress.clear()
    return report


class _Progress(ProgressLine):
    def __call__(self, seqno: int) -> None:
        self.show(lambda: f"replayed up to seqno {seqno:,}")


def _print_events(events: list[Event], report: GovernanceReport, style: str, quiet: bool) -> None:
    if style == "jsonl":
        for event in events:
            click.echo(json.dumps(event.to_json()))
        return
    if style == "json":
        document = {
            "schema": "tallystick.governance-log/1",
            "verified": False,
            "last_txid": report.last_txid,
            "events": [event.to_json() for event in events],
        }
        click.echo(json.dumps(document, indent=2))
        return
    from tallystick.report.governance import event_lines

    for event in events:
        for line in event_lines(event):
            click.echo(line)
    if not events and not quiet:
        print("note: no event that was asked for", file=sys.stderr)
    _note_findings(report, quiet)


def _print_standing(report: GovernanceReport, style: str, quiet: bool) -> None:
    if style != "text":
        document = {
            "schema": "tallystick.governance-standing/1",
            "verified": False,
            "last_txid": report.last_txid,
            **report.standing.to_json(),
        }
        click.echo(json.dumps(document, indent=2 if style == "json" else None))
        return
    from tallystick.report.governance import standing_lines

    for line in standing_lines(report):
        click.echo(line)
    _note_findings(report, quiet)


def _note_findings(report: GovernanceReport, quiet: bool) -> None:
    if report.last_seqno is None:
        raise FormatError("no governance to show: the ledger does not start at seqno 1", code="gov-no-genesis")
    if quiet:
        return
    from tallystick.findings import Effect

    bad = sum(item.verdict_effect is not Effect.NONE for item in report.findings)
    if bad:
        click.echo(f"note: {bad} findings; run `tallystick gov verify` to see them", err=True)
    click.echo(_UNVERIFIED, err=True)
