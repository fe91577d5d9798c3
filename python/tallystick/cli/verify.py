"""``tallystick verify``: the main job."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.ledger_anchor import JOBS, ProgressLine, check_place, ledger_anchor

if TYPE_CHECKING:
    from tallystick.audit.auditor import Observer
    from tallystick.audit.verdict import LedgerVerdict
    from tallystick.ledger.dask_engine import DaskEngine

_LEVELS = ("parse", "offsets", "headers", "merkle", "full")
_FORMATS = ("text", "json", "jsonl", "sarif", "junit", "html")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@ledger_anchor
@click.option("--expect-head", metavar="TXID", help="Fail unless the ledger holds this transaction ID, signed.")
@click.option(
    "--receipt",
    "receipts",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="Fail unless the ledger holds what this receipt proves; repeatable.",
)
@click.option("--uncommitted", is_flag=True, help="Read uncommitted chunks of directories too.")
@click.option("--recovery", is_flag=True, help="Read .recovery files of directories too.")
@click.option("--level", type=click.Choice(_LEVELS), default="full", show_default=True, help="How much to check.")
@click.option("--jobs", type=JOBS, default=0, help="Worker threads; 0: one a core.")
@click.option("--engine", metavar="URL", help="Scan on a Dask cluster: dask://HOST:PORT.")
@click.option(
    "--checkpoint",
    type=click.Path(),
    metavar="FILE",
    help="Go on from this file if it exists; write it when the ledger is verified.",
)
@click.option("--format", "output_format", type=click.Choice(_FORMATS), default="text", show_default=True)
@click.option("--output", type=click.Path(), metavar="FILE", help="Write the report to a file, all or nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Text: the verdict and what decided it; no progress.")
def verify(
    *,
    paths: tuple[str, ...],
    service_certs: tuple[str, ...],
    service_keys: tuple[str, ...],
    trust_genesis: bool,
    expect_head: str | None,
    receipts: tuple[str, ...],
    uncommitted: bool,
    recovery: bool,
    level: str,
    jobs: int,
    engine: str | None,
    checkpoint: str | None,
    output_format: str,
    output: str | None,
    quiet: bool,
) -> int:
    """Verify ledger directories and chunk files.

    PATHS may be URLs too (s3://, abfs://, gs://, https://), with the extra "remote".

    PATHS may overlap, as a node's main and read-only directories do: copies are compared, and what differs is
    reported. A file named itself is read whatever its kind.

    Pin the service with --service-cert or --service-key-sha256. Without an anchor the verdict is undecided at
    best, for then the ledger only vouches for itself.

    Exit codes: 0 verified, 1 failed, 2 usage, 3 could not decide.
    """
    from tallystick.audit.auditor import audit_ledger
    from tallystick.identity.trust_anchor import TrustAnchor

    anchor = TrustAnchor.from_options(
        service_certs=service_certs, service_key_sha256=service_keys, trust_genesis=trust_genesis
    )
    if expect_head is not None:
        _check_txid(expect_head)
    check_place("--output", output)
    check_place("--checkpoint", checkpoint)
    scanner = _open_engine(engine)
    progress = None if quiet or not sys.stderr.isatty() else ScanProgress()
    figures = (
        _Figures(paths, uncommitted=uncommitted, recovery=recovery, jobs=jobs) if output_format == "html" else None
    )
    try:
        verdict = audit_ledger(
            paths,
            anchor,
            level=level,
            jobs=jobs,
            uncommitted=uncommitted,
            recovery=recovery,
            expect_head=expect_head,
            receipts=receipts,
            checkpoint=checkpoint,
            progress=progress,
            observers=figures.observers if figures is not None else (),
            engine=scanner,
        )
    finally:
        if scanner is not None:
            scanner.close()
        if progress is not None:
            progress.clear()
    _write(figures.page(verdict) if figures is not None else _renderer(output_format, quiet)(verdict), output)
    outcomes = {"verified": ExitStatus.OK, "failed": ExitStatus.FAILED, "undecided": ExitStatus.UNDECIDED}
    return int(outcomes[verdict.verdict.value])


def _open_engine(url: str | None) -> DaskEngine | None:
    if url is None:
        return None
    from tallystick.ledger.dask_engine import open_engine

    return open_engine(url)


def _check_txid(text: str) -> None:
    from tallystick.errors import FormatError
    from tallystick.types import TxId

    try:
        TxId.parse(text)
    except FormatError as error:
        raise click.UsageError(f"--expect-head: {error.message}") from error


def _renderer(output_format: str, quiet: bool) -> Callable[..., str]:
    # Each format's module is imported only when it is asked for.
    if output_format == "text":
        from tallystick.report.text import render_text

        return lambda verdict: render_text(verdict, quiet=quiet)
    if output_format == "sarif":
        from tallystick.report.sarif import render_sarif

        return render_sarif
    if output_format == "junit":
        from tallystick.report.junit import render_junit

        return render_junit
    from tallystick.report.json import render_json, render_jsonl

    return render_jsonl if output_format == "jsonl" else render_json


def _write(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    from tallystick.audit.checkpoint import write_atomically

    write_atomically(output, text)


class _Figures:
    """What an HTML report shows beside the verdict, seen in the same pass over the files."""

    def __init__(self, paths: tuple[str, ...], *, uncommitted: bool, recovery: bool, jobs: int) -> None:
        from tallystick.audit.activity import Activity
        from tallystick.governance.ledger import GovernanceObserver

        self._activity = Activity()
        # Scripts are the business of `gov verify`: they take long, and a page is no place to say what they gave.
        self._governance = GovernanceObserver(
            paths, uncommitted=uncommitted, recovery=recovery, jobs=jobs, run_scripts=False
        )
        self.observers: tuple[Observer, ...] = (self._activity, self._governance)

    def page(self, verdict: LedgerVerdict) -> str:
        from tallystick.report.html import render_html

        return render_html(verdict, activity=self._activity, governance=self._governance.report())


class ScanProgress(ProgressLine):
    """How far a scan is: called with bytes read, bytes in all, transactions read."""

    def __init__(self) -> None:
        super().__init__()
        self._start = time.monotonic()

    def __call__(self, done: int, total: int, transactions: int) -> None:
        def text() -> str:
            rate = done / max(time.monotonic() - self._start, 1e-6) / 1e6
            percent = min(100 * done // total if total else 100, 100)
            return f"{percent} %  {transactions:,} transactions  {rate:,.0f} MB/s"

        self.show(text)
