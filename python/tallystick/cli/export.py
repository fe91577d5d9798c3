"""``tallystick export``: a ledger for databases and data tools."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.ledger_anchor import JOBS, ledger_anchor

if TYPE_CHECKING:
    from tallystick.export.database import SqliteSink
    from tallystick.export.parquet import ParquetSink
    from tallystick.export.text import CsvSink, JsonlSink

__all__ = ["export"]

_FORMATS = ("sqlite", "parquet", "csv", "jsonl")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@click.option("--to", "kind", type=click.Choice(_FORMATS), required=True, help="Format.")
@click.option(
    "-o", "--output", required=True, type=click.Path(), metavar="TARGET",
    help="Where to: a file for sqlite, else a directory. Must not be there yet.",
)  # fmt: skip
@ledger_anchor
@click.option("--uncommitted", is_flag=True, help="Read uncommitted chunks of directories too.")
@click.option("--recovery", is_flag=True, help="Read .recovery files of directories too.")
@click.option("--jobs", type=JOBS, default=0, help="Worker threads; 0: one a core.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing when it goes well; no progress.")
def export(
    *,
    paths: tuple[str, ...],
    kind: str,
    output: str,
    service_certs: tuple[str, ...],
    service_keys: tuple[str, ...],
    trust_genesis: bool,
    uncommitted: bool,
    recovery: bool,
    jobs: int,
    quiet: bool,
) -> int:
    """Export every transaction and public write, with what proves them.

    The ledger is verified as it is read, and the verdict is part of the export. Without an anchor the export says
    that it is not verified, which is no failure. An export is there whole or not at all.

    Exit codes: 0 exported, and verified if an anchor was given; 1 exported, verification failed; 2 usage; 3 not
    exported, or an anchor was given and it could not be decided.
    """
    from tallystick.audit.auditor import audit_ledger
    from tallystick.cli.verify import ScanProgress
    from tallystick.errors import FormatError
    from tallystick.export.exporter import Exporter
    from tallystick.export.metadata import describe
    from tallystick.export.target import Target
    from tallystick.identity.trust_anchor import TrustAnchor
    from tallystick.report.text import headline

    anchor = TrustAnchor.from_options(
        service_certs=service_certs, service_key_sha256=service_keys, trust_genesis=trust_genesis
    )
    progress = None if quiet or not sys.stderr.isatty() else ScanProgress()
    with Target(output, directory=kind != "sqlite") as target, contextlib.closing(_sink(kind, target.work)) as sink:
        exporter = Exporter(sink)
        try:
            verdict = audit_ledger(
                paths,
                anchor,
                jobs=jobs,
                uncommitted=uncommitted,
                recovery=recovery,
                progress=progress,
                observers=[exporter],
            )
        finally:
            if progress is not None:
                progress.clear()
        exporter.finish()
        if not exporter.counts.transactions:
            raise FormatError("no transaction to export was found", code="nothing-to-verify", file=paths[0])
        sink.finish(describe(exporter.counts, verdict.to_json()))
        target.commit()
    counts = exporter.counts
    if not quiet:
        click.echo(
            f"exported {counts.transactions:,} transactions, {counts.writes:,} writes and {counts.signatures:,} "
            f"signatures to {output}"
        )
        click.echo(headline(verdict))
    if verdict.verdict.value == "failed":
        return int(ExitStatus.FAILED)
    pinned = anchor.kind != "none"
    return int(ExitStatus.UNDECIDED if pinned and verdict.verdict.value != "verified" else ExitStatus.OK)


def _sink(kind: str, work: Path) -> SqliteSink | ParquetSink | CsvSink | JsonlSink:
    # Each format's module, and what it needs, is imported only when it is asked for.
    if kind == "sqlite":
        from tallystick.export.database import SqliteSink

        return SqliteSink(work)
    if kind == "parquet":
        from tallystick.export.parquet import ParquetSink

        return ParquetSink(work)
    from tallystick.export.text import CsvSink, JsonlSink

    return CsvSink(work) if kind == "csv" else JsonlSink(work)
