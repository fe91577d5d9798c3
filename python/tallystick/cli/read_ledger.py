"""``tallystick read-ledger``: takes the flags of the official ``read_ledger.py``.

Two things differ on purpose. The official tool pins no service identity and still ends with exit code 0;
this one says so and ends with 3 (undecided) until ``--service-cert`` or ``--service-key-sha256`` names one.
And an empty directory is an error here, not a success.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.listing import WIDTH, Output, row_lines
from tallystick.cli.read import note, open_ledger, table_filter
from tallystick.errors import UsageError
from tallystick.findings import Verdict
from tallystick.ledger.directory import parse_chunk_name
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.state import PublicState
from tallystick.ledger.transaction import Transaction
from tallystick.printable import cut, printable

__all__ = ["read_ledger"]

LEVELS = ("NONE", "OFFSETS", "HEADERS", "MERKLE", "FULL")


@click.command("read-ledger")
@click.argument("paths", nargs=-1, required=True, metavar="PATHS...")
@click.option("-s", "--snapshot", is_flag=True, help="PATHS is one snapshot file.")
@click.option("--uncommitted", is_flag=True, help="Read chunks that are not marked committed, too.")
@click.option("--recovery", is_flag=True, help="Read .recovery files, too.")
@click.option("-q", "--quiet", is_flag=True, help="List no transactions.")
@click.option("-d", "--digests-only", is_flag=True, help="Only transaction IDs and write set digests.")
@click.option("-t", "--tables", metavar="REGEX", help="Only tables whose name matches from its start.")
@click.option(
    "--verification-level",
    "level",
    type=click.Choice(LEVELS),
    help="How much to verify; default: FULL.",
)
@click.option("--insecure-skip-verification", is_flag=True, help="The same as --verification-level NONE.")
@click.option("--service-cert", multiple=True, metavar="FILE", help="Certificate of a service that you trust.")
@click.option("--service-key-sha256", multiple=True, metavar="HEX", help="Fingerprint of a service key you trust.")
def read_ledger(
    paths: tuple[str, ...],
    snapshot: bool,
    uncommitted: bool,
    recovery: bool,
    quiet: bool,
    digests_only: bool,
    tables: str | None,
    level: str | None,
    insecure_skip_verification: bool,
    service_cert: tuple[str, ...],
    service_key_sha256: tuple[str, ...],
) -> int:
    """List a ledger or a snapshot and verify it, with the flags of the official read_ledger.py.

    Exit codes: 0 verified (or not asked to), 1 failed, 2 usage, 3 could not decide: above all when no
    service identity is pinned with --service-cert or --service-key-sha256.
    """
    if sum((quiet, digests_only, tables is not None)) > 1:
        raise UsageError("-q, -d and -t exclude each other", code="usage")
    # The official tool lets the level win over the deprecated flag.
    chosen = level or ("NONE" if insecure_skip_verification else "FULL")
    # The official tool matches at the start of the name.
    select = table_filter(None if tables is None else f"^(?:{tables})")
    output = Output("text")
    if snapshot:
        if len(paths) != 1:
            raise UsageError("--snapshot: expected one file", code="usage")
        _list_snapshot(output, paths[0], select, quiet=quiet or digests_only)
        return _verify_snapshot(output, paths[0], chosen, service_cert, service_key_sha256)
    ledger = open_ledger(paths, uncommitted=uncommitted, recovery=recovery, quiet=False)
    _list_ledger(output, ledger, select, quiet=quiet, digests_only=digests_only)
    if chosen == "NONE":
        output.line("Not verified: verification was skipped")
        return ExitStatus.OK
    from tallystick.audit.auditor import audit_ledger
    from tallystick.identity.trust_anchor import TrustAnchor

    anchor = TrustAnchor.from_options(service_certs=service_cert, service_key_sha256=service_key_sha256)
    verdict = audit_ledger(paths, anchor, level=chosen.lower(), uncommitted=uncommitted, recovery=recovery)
    sys.stdout.flush()
    for finding in verdict.findings:
        note(f"{finding.severity.value}: {finding.message} [{finding.code}]", False)
    proven = "nothing proven" if verdict.proven is None else f"proven until {verdict.proven.last_txid}"
    output.line(
        f"{verdict.verdict.value.capitalize()} at level {chosen}: {verdict.transactions:,} transactions, "
        f"{verdict.signatures:,} signatures, {proven}"
    )
    _warn_without_anchor(bool(anchor), verdict.verdict)
    return _exit_status(verdict.verdict)


def _exit_status(verdict: Verdict) -> int:
    return {
        Verdict.VERIFIED: ExitStatus.OK,
        Verdict.FAILED: ExitStatus.FAILED,
        Verdict.UNDECIDED: ExitStatus.UNDECIDED,
    }[verdict]


def _warn_without_anchor(pinned: bool, verdict: Verdict) -> None:
    if not pinned and verdict is not Verdict.FAILED:
        note(
            "WARNING: no service identity is pinned, so anybody may have written this; "
            "add --service-cert FILE or --service-key-sha256 HEX",
            False,
        )


# ---------------------------------------------------------------------------------------------- listing


def _list_ledger(
    output: Output, ledger: Ledger, select: Callable[[str], bool] | None, *, quiet: bool, digests_only: bool
) -> None:
    chunks = len(ledger.files.parts)
    output.line(f"Ledger of {chunks} {'chunk' if chunks == 1 else 'chunks'}")
    file = None
    for transaction in ledger:
        if transaction.file != file:
            file = transaction.file
            output.line(_chunk_line(file or ""))
        if digests_only:
            output.line(f"{transaction.txid} {transaction.write_set_digest.hex()}")
        elif not quiet:
            _list_transaction(output, transaction, select)


def _chunk_line(path: str) -> str:
    name = parse_chunk_name(Path(path).name)
    marker = "committed" if name is not None and name.committed else "not committed"
    return printable(f"chunk {path} ({marker})")


def _list_transaction(output: Output, transaction: Transaction, select: Callable[[str], bool] | None) -> None:
    tables = {name: rows for name, rows in transaction.tables.items() if select is None or select(name)}
    shows_private = select is None and transaction.private_size > 0
    if select is not None and not tables:
        return
    flags = f", flags {transaction.flags:#x}" if transaction.flags else ""
    output.line(f"  txid {transaction.txid} ({transaction.size:,} bytes{flags})")
    if shows_private:
        output.line(f"    private: {transaction.private_size:,} bytes")
    for name, rows in tables.items():
        _list_rows(output, name, [(key, value) for key, value in rows.items()])


def _list_rows(output: Output, name: str, rows: list[tuple[bytes, bytes | None]]) -> None:
    count = "1 write" if len(rows) == 1 else f"{len(rows):,} writes"
    output.line(cut(f"    table {printable(name)} ({count})", WIDTH))
    for key, value in rows:
        for line in row_lines(name, key, value, indent=6, full=True):
            output.line(line)


# -------------------------------------------------------------------------------------------- snapshots


def _list_snapshot(output: Output, path: str, select: Callable[[str], bool] | None, *, quiet: bool) -> None:
    if not Path(path).is_file():
        raise UsageError("no such file", code="path-missing", file=path)
    state = PublicState.from_snapshot(path, select)
    output.line(printable(f"Snapshot {path} of seqno {state.seqno}"))
    for name, rows in state.tables.items():
        if not quiet:
            _list_rows(output, name, [(key, rows[key].value) for key in sorted(rows)])


def _verify_snapshot(
    output: Output, path: str, level: str, service_cert: tuple[str, ...], service_key_sha256: tuple[str, ...]
) -> int:
    if level == "NONE":
        output.line("Not verified: verification was skipped")
        return ExitStatus.OK
    from tallystick.identity.trust_anchor import TrustAnchor
    from tallystick.snapshot.verify import audit_snapshot

    anchor = TrustAnchor.from_options(service_certs=service_cert, service_key_sha256=service_key_sha256)
    result = audit_snapshot(Path(path).read_bytes(), anchor, file=path)
    sys.stdout.flush()
    for finding in result.findings:
        note(f"{finding.severity.value}: {finding.message} [{finding.code}]", False)
    output.line(f"{result.verdict.value.capitalize()}: snapshot of seqno {result.seqno}")
    _warn_without_anchor(bool(anchor), result.verdict)
    return _exit_status(result.verdict)
