"""``tallystick snapshot``: verify snapshots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tallystick.cli.anchor_options import (
    anchor_options,
    build_anchor,
    expand_inputs,
    open_ledger_copy,
    output_options,
    read_endorsements,
    read_identities,
    read_input,
    write_output,
)
from tallystick.cli.receipt import exit_status_of, json_document
from tallystick.errors import UndecidedError

if TYPE_CHECKING:
    from tallystick.snapshot.model import SnapshotResult

__all__ = ["snapshot"]

SCHEMA = "tallystick.snapshots/1"

# A snapshot is parsed in memory, as a node does it. Real ones hold at most some hundred MiB.
_MAX_SNAPSHOT_BYTES = 8 << 30


@click.group()
def snapshot() -> None:
    """Verify snapshots."""


@snapshot.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@anchor_options
@output_options
def verify(
    files: tuple[str, ...],
    service_certs: tuple[str, ...],
    service_key_sha256: tuple[str, ...],
    endorsements: tuple[str, ...],
    identities: tuple[str, ...],
    ledgers: tuple[str, ...],
    format_: str,
    output: str | None,
) -> int:
    """Verify snapshots of CCF 1.x to 7.x against a service identity that you trust.

    FILE may be a directory with files named snapshot_..., or - for standard input.

    Exit codes: 0 all verified, 1 some failed, 2 usage, 3 none failed but some are undecided.
    """
    from tallystick.findings import Verdict, finding
    from tallystick.snapshot.model import SnapshotResult
    from tallystick.snapshot.verify import audit_snapshot

    anchor = build_anchor(service_certs, service_key_sha256)
    links = read_endorsements(endorsements)
    known = read_identities(identities, anchor)
    ledger = open_ledger_copy(ledgers)
    results = []
    for path, _ in expand_inputs(files, "snapshot_"):
        try:
            data = read_input(path, _MAX_SNAPSHOT_BYTES)
        except OSError as error:
            problem = finding("file-unreadable", f"cannot be read: {error.strerror or error}", file=path)
            results.append(SnapshotResult(path, Verdict.UNDECIDED, findings=(problem,)))
            continue
        results.append(audit_snapshot(data, anchor, file=path, endorsements=links, ledger=ledger, identities=known))
    if not results:
        raise UndecidedError(
            "no snapshot found: expected files named snapshot_...", code="nothing-to-verify", file=", ".join(files)
        )
    write_output(_render(results, format_), output)
    return int(exit_status_of(result.verdict for result in results))


def _render(results: Sequence[SnapshotResult], format_: str) -> str:
    if format_ == "json":
        return json_document(SCHEMA, (result.to_json() for result in results))
    if format_ == "jsonl":
        return "".join(json.dumps(result.to_json()) + "\n" for result in results)
    lines = []
    for result in results:
        seqno = result.seqno if result.seqno is not None else "-"
        evidence = f", evidence {result.evidence_txid}" if result.evidence_txid else ""
        lines.append(f"{result.verdict.value:<9}  seqno {seqno}{evidence}  {result.file or '-'}")
        lines += [f"  {item.severity.value}: {item.message} [{item.code}]" for item in result.findings]
    proven = [result for result in results if result.verdict.value == "verified"]
    left = dict.fromkeys(item for result in proven for item in result.not_checked)
    if left:
        lines.append("not checked: " + "; ".join(left))
    return "\n".join(lines) + "\n"
