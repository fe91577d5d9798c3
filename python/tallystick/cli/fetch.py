"""``tallystick fetch``: a ledger from a running node, verified as it comes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.ledger_anchor import JOBS, ledger_anchor
from tallystick.printable import printable

if TYPE_CHECKING:
    from tallystick.identity.trust_anchor import TrustAnchor
    from tallystick.remote.fetch import FetchReport
    from tallystick.remote.node_client import NodeClient

__all__ = ["fetch", "fetch_report_json", "open_node", "required_anchor"]

SCHEMA = "tallystick.fetch/1"


def required_anchor(service_certs: tuple[str, ...], service_keys: tuple[str, ...], trust_genesis: bool) -> TrustAnchor:
    """The anchor of a command that keeps, or reports, only what is verified."""
    from tallystick.identity.trust_anchor import TrustAnchor

    anchor = TrustAnchor.from_options(
        service_certs=service_certs, service_key_sha256=service_keys, trust_genesis=trust_genesis
    )
    if not anchor:
        raise click.UsageError("pin the service with --service-cert, --service-key-sha256 or --trust-genesis")
    return anchor


def open_node(url: str, service_certs: tuple[str, ...], tls_ca: tuple[str, ...]) -> NodeClient:
    """A client for the node at ``url``, which trusts the pinned certificates for TLS too."""
    from tallystick.remote.node_client import NodeClient

    return NodeClient(url, tls_ca=[*service_certs, *tls_ca])


@click.command()
@click.argument("url")
@click.option("-o", "--output-dir", required=True, type=click.Path(), metavar="DIR", help="Where verified files go.")
@ledger_anchor
@click.option(
    "--tls-ca", multiple=True, type=click.Path(), metavar="FILE", help="Further certificate for TLS only; repeatable."
)
@click.option(
    "--from", "first_seqno", type=click.IntRange(min=1), default=1, help="Begin with the chunk of this seqno."
)
@click.option("--chunks/--no-chunks", default=True, show_default=True, help="Download ledger chunks.")
@click.option("--snapshot/--no-snapshot", default=True, show_default=True, help="Download the latest snapshot.")
@click.option("--jobs", type=JOBS, default=0, help="Worker threads; 0: one a core.")
@click.option("--format", "output_format", type=click.Choice(("text", "json")), default="text", show_default=True)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing while it goes on.")
def fetch(
    *,
    url: str,
    output_dir: str,
    service_certs: tuple[str, ...],
    service_keys: tuple[str, ...],
    trust_genesis: bool,
    tls_ca: tuple[str, ...],
    first_seqno: int,
    chunks: bool,
    snapshot: bool,
    jobs: int,
    output_format: str,
    quiet: bool,
) -> int:
    """Download a ledger from a running node, verified as it comes.

    URL is an interface of a CCF node (7.0 or later for chunks; the operator enables LedgerChunkRead and
    SnapshotRead on it). A file gets its final name in DIR only once it is verified, in order; a later run goes on
    where this one stopped.

    Exit codes: 0 all that came is verified, 1 something is not what was signed, 2 usage, 3 could not decide.
    """
    from tallystick.remote.fetch import FetchReport, LedgerFetcher

    anchor = required_anchor(service_certs, service_keys, trust_genesis)
    client = open_node(url, service_certs, tls_ca)

    def say(line: str) -> None:
        if not quiet:
            print(printable(line), file=sys.stderr, flush=True)

    fetcher = LedgerFetcher(client, output_dir, anchor, first_seqno=first_seqno, jobs=jobs, say=say)
    try:
        report = fetcher.fetch_chunks() if chunks else FetchReport()
        if snapshot:
            report.snapshot = fetcher.fetch_snapshot()
    finally:
        fetcher.close()
    _print(report, output_format)
    held = report.held or (report.snapshot is not None and report.snapshot.verdict.value != "verified")
    return int(ExitStatus.UNDECIDED if held else ExitStatus.OK)


def fetch_report_json(report: FetchReport) -> dict[str, object]:
    """The report as JSON."""
    return {
        "schema": SCHEMA,
        "head": str(report.head) if report.head is not None else None,
        "new_chunks": report.chunks,
        "new_bytes": report.bytes,
        "held_chunks": report.held,
        "snapshot": None if report.snapshot is None else report.snapshot.to_json(),
        "findings": [item.to_json() for item in report.verdict.findings] if report.verdict is not None else [],
    }


def _print(report: FetchReport, output_format: str) -> None:
    import json

    if output_format == "json":
        click.echo(json.dumps(fetch_report_json(report), indent=2))
        return
    click.echo(f"{len(report.chunks)} new chunks, {report.bytes} bytes; verified up to {report.head or 'nothing'}")
    if report.held:
        cause = report.verdict.deciding if report.verdict is not None else None
        click.echo(f"held back, not proven yet: {', '.join(report.held)}")
        if cause is not None:
            click.echo(printable(f"  {cause.message} [{cause.code}]"))
    if report.snapshot is not None:
        click.echo(f"snapshot at seqno {report.snapshot.seqno}: {report.snapshot.verdict.value}")
