"""``tallystick attest``: the attestation evidence of every node, and the history of what may join."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.listing import Output, no_chunk
from tallystick.findings import Verdict
from tallystick.printable import cut, printable

if TYPE_CHECKING:
    from tallystick.attestation.audit import AttestationAudit, NodeEvidence

__all__ = ["attest"]

_WIDTH = 80


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--uncommitted", is_flag=True, help="Read chunks that are not marked committed, too.")
@click.option("--recovery", is_flag=True, help="Read .recovery files, too.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", help="Output format.")
def attest(paths: tuple[str, ...], uncommitted: bool, recovery: bool, style: str) -> int:
    """Check each node's attestation evidence against the join policy in force when it appeared.

    The evidence is judged as the ledger holds it; whether the ledger is genuine is for `tallystick verify`.
    Exit codes: 0 all evidence verified, 1 some failed, 3 some proves nothing or is not decided.
    """
    from tallystick.attestation.audit import NOT_CHECKED, audit_attestation
    from tallystick.ledger.ledger import Ledger

    ledger = Ledger(paths, uncommitted=uncommitted, recovery=recovery)
    if ledger.first_seqno is None:
        raise no_chunk(paths, ledger)
    audit = audit_attestation(ledger)
    output = Output(style)
    if output.is_text:
        _write_text(output, audit, NOT_CHECKED)
    else:
        output.json(_document(audit, NOT_CHECKED))
    return int(
        {Verdict.VERIFIED: ExitStatus.OK, Verdict.FAILED: ExitStatus.FAILED, Verdict.UNDECIDED: ExitStatus.UNDECIDED}[
            audit.verdict
        ]
    )


def _write_text(output: Output, audit: AttestationAudit, not_checked: tuple[str, ...]) -> None:
    output.line(f"attestation: {audit.verdict.value}, {len(audit.nodes)} nodes")
    for finding in audit.findings:
        _write_wrapped(output, f"{finding.severity.value}: {finding.message} [{finding.code}]", "")
    for node in audit.nodes:
        output.line(f"{node.verdict.value:<10} {node.platform:<8} {node.txid:<8} node {node.node_id[:16]}…")
        if node.measurement is not None:
            _write_wrapped(output, f"measurement {node.measurement}", "  ")
        for name, value in node.facts.items():
            _write_wrapped(output, f"{name.replace('_', ' ')} {value}", "  ")
        for finding in node.findings:
            _write_wrapped(output, f"{finding.severity.value}: {finding.message} [{finding.code}]", "  ")
    if audit.changes:
        output.line("what may join, over time:")
    for change in audit.changes:
        what = "taken out" if change.value is None else cut(printable(change.value), 40)
        table = change.table.removeprefix("public:ccf.gov.nodes.")
        _write_wrapped(output, f"{change.txid} {table} {printable(change.key)}: {what}", "  ")
    output.line("not checked:")
    for item in not_checked:
        _write_wrapped(output, item, "  ")


def _write_wrapped(output: Output, text: str, indent: str) -> None:
    for line in textwrap.wrap(
        printable(text), _WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    ):
        output.line(line)


def _document(audit: AttestationAudit, not_checked: tuple[str, ...]) -> dict[str, object]:
    return {
        "schema": "tallystick.attestation/1",
        "verdict": audit.verdict.value,
        "nodes": [_node(node) for node in audit.nodes],
        "policy_changes": [
            {"txid": change.txid, "table": change.table, "key": change.key, "value": change.value}
            for change in audit.changes
        ],
        "findings": [item.to_json() for item in audit.findings],
        "not_checked": list(not_checked),
    }


def _node(node: NodeEvidence) -> dict[str, object]:
    return {
        "node_id": node.node_id,
        "txid": node.txid,
        "status": node.status,
        "platform": node.platform,
        "verdict": node.verdict.value,
        "measurement": node.measurement,
        "facts": node.facts,
        "findings": [item.to_json() for item in node.findings],
    }
