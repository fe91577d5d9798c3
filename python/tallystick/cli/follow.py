"""``tallystick follow``: verified transactions as they come."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.fetch import open_node, required_anchor
from tallystick.cli.ledger_anchor import JOBS, SECONDS, ledger_anchor
from tallystick.errors import TallystickError, UndecidedError, UsageError, VerificationError
from tallystick.printable import printable

if TYPE_CHECKING:
    from tallystick.audit.verdict import LedgerVerdict
    from tallystick.identity.trust_anchor import TrustAnchor
    from tallystick.ledger.transaction import Transaction
    from tallystick.remote.fetch import LedgerFetcher
    from tallystick.remote.follow import Follower, Round
    from tallystick.types import TxId

__all__ = ["follow"]

# A node that completes a chunk while it is read can make one look wrong. What is wrong stays wrong.
_FAILED_ROUNDS = 3


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="PATH|URL")
@click.option(
    "--state", required=True, type=click.Path(), metavar="DIR", help="Directory that remembers how far was reported."
)
@click.option("--output", type=click.Path(), metavar="FILE", help="Append there: each transaction exactly once.")
@ledger_anchor
@click.option(
    "--tls-ca", multiple=True, type=click.Path(), metavar="FILE", help="Further certificate for TLS only; repeatable."
)
@click.option("--from", "first_seqno", type=click.IntRange(min=1), default=1, help="Node: begin with this chunk.")
@click.option("--uncommitted", is_flag=True, help="Read uncommitted chunks of directories too: sooner, but revocable.")
@click.option("--tables/--no-tables", default=True, show_default=True, help="Say what each transaction wrote.")
@click.option("--interval", type=SECONDS, default=1.0, show_default=True, help="Seconds to wait.")
@click.option("--once", is_flag=True, help="Report what is there, and end.")
@click.option("--jobs", type=JOBS, default=0, help="Worker threads; 0: one a core.")
def follow(
    *,
    sources: tuple[str, ...],
    state: str,
    output: str | None,
    service_certs: tuple[str, ...],
    service_keys: tuple[str, ...],
    trust_genesis: bool,
    tls_ca: tuple[str, ...],
    first_seqno: int,
    uncommitted: bool,
    tables: bool,
    interval: float,
    once: bool,
    jobs: int,
) -> int:
    """Report verified transactions as they come, one JSON line each.

    The source is a ledger directory, an object store (s3://…), or a running node (http:// or https://), whose
    chunks are downloaded to the state and deleted once reported.

    The state is written last. With --output, every transaction is in the file exactly once, whatever happens in
    between; lines on standard output may come again after a crash.

    Exit codes: 0 with --once, all reported; 1 the ledger does not verify; 2 usage; 3 could not decide.
    """
    from tallystick.remote.fetch import LedgerFetcher
    from tallystick.remote.follow import Follower

    anchor = required_anchor(service_certs, service_keys, trust_genesis)
    node = _node_url(sources)
    fetcher, paths = None, list(sources)
    if node is not None:
        client = open_node(node, service_certs, tls_ca)
        fetcher = LedgerFetcher(client, Path(state) / "ledger", anchor, first_seqno=first_seqno, jobs=jobs)
        paths = [str(fetcher.directory)]

    def render(transaction: Transaction, head: TxId) -> str:
        return _line(transaction, head, tables)

    follower = Follower(
        paths,
        anchor,
        state,
        render,
        output=output,
        write=_write_line,
        uncommitted=uncommitted,
        jobs=jobs,
    )
    try:
        return _loop(fetcher, follower, anchor, interval, once)
    finally:
        follower.close()
        if fetcher is not None:
            fetcher.close()


def _node_url(sources: tuple[str, ...]) -> str | None:
    nodes = [source for source in sources if source.startswith(("http://", "https://"))]
    if nodes and len(sources) > 1:
        raise UsageError("a node is followed alone: expected one URL", file=nodes[0])
    return nodes[0] if nodes else None


def _loop(fetcher: LedgerFetcher | None, follower: Follower, anchor: TrustAnchor, interval: float, once: bool) -> int:
    failures = 0
    said = ""
    while True:
        problem: TallystickError | OSError | None = None
        outcome: Round | None = None
        try:
            if fetcher is not None:
                fetcher.fetch_chunks()
            outcome = follower.round()
            if fetcher is not None:
                fetcher.drop_before(follower.emitted + 1)
            problem = _problem(outcome.verdict)
        except VerificationError:
            raise
        except (TallystickError, OSError) as error:
            problem = error
        if problem is None:
            failures, said = 0, ""
            if once:
                return int(ExitStatus.OK)
        else:
            final = not _may_pass(problem, outcome, follower.emitted > 0)
            failures = failures + 1 if final else 0
            if once or failures >= _FAILED_ROUNDS:
                raise problem
            # Said once, not in every round.
            if str(problem) != said and not final:
                said = str(problem)
                print(printable(f"tallystick: waiting: {said}"), file=sys.stderr, flush=True)
        time.sleep(interval)


def _problem(verdict: LedgerVerdict) -> TallystickError | None:
    """Why a round reported nothing; None when it is verified."""
    from tallystick.audit.verdict import LedgerVerificationError
    from tallystick.findings import Verdict

    if verdict.verdict is Verdict.VERIFIED:
        return None
    if verdict.verdict is Verdict.FAILED:
        return LedgerVerificationError(verdict)
    cause = verdict.deciding
    message = cause.message if cause is not None else "nothing is proven"
    return UndecidedError(message, code=cause.code if cause is not None else None)


def _may_pass(problem: TallystickError | OSError, outcome: Round | None, started: bool) -> bool:
    """Whether waiting can help: a source that is away, or whose later transactions settle it."""
    from tallystick.remote.fetch import is_held

    if outcome is not None:
        return is_held(outcome.verdict)
    if getattr(problem, "code", "") == "path-missing":
        return started
    return isinstance(problem, OSError | UndecidedError)


def _line(transaction: Transaction, head: TxId, tables: bool) -> str:
    from tallystick.cli.listing import transaction_json, writes_json

    value = transaction_json(transaction)
    value["proven_by"] = str(head)
    if tables:
        value["tables"] = {name: writes_json(name, writes) for name, writes in transaction.tables.items()}
    return json.dumps(value, separators=(",", ":"))


def _write_line(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()
