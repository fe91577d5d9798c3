"""``tallystick diff`` and ``tallystick evidence``: same history, and evidence where it is not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallystick.cli.anchor_options import read_input
from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.listing import Output
from tallystick.errors import TallystickError, UsageError
from tallystick.findings import Finding, Verdict
from tallystick.printable import printable

if TYPE_CHECKING:
    from tallystick.evidence.compare import Comparison, Copy

__all__ = ["diff", "evidence"]

_EXIT = {
    Verdict.VERIFIED: ExitStatus.OK,
    Verdict.FAILED: ExitStatus.FAILED,
    Verdict.UNDECIDED: ExitStatus.UNDECIDED,
}
_NOT_CHECKED = (
    "signatures and Merkle roots of either copy as a whole (tallystick verify)",
    "which of two histories is the right one",
)
_RELATIONS = {
    "identical": "identical",
    "rechunked": "identical, cut into other files",
    "prefix": "one is a prefix of the other",
    "overlap": "identical where they overlap",
    "unsigned-differs": "they differ in transactions that are not signed",
    "forked": "FORKED: two signed histories",
    "truncated": "TRUNCATED: the history went on without a proven transaction",
    "behind": "the copy ends before a proven transaction",
    "agrees": "the copy holds what was proven",
    "disjoint": "nothing in common to compare",
}


@click.command()
@click.argument("copies", nargs=-1, required=True, metavar="A [B]")
@click.option("--receipt", "receipts", multiple=True, metavar="FILE", help="Compare A with a receipt. Repeatable.")
@click.option(
    "--checkpoint", "checkpoints", multiple=True, metavar="FILE", help="Compare A with a checkpoint of verify."
)
@click.option("--service-cert", "service_certs", multiple=True, metavar="FILE", help="Service that receipts are from.")
@click.option("--evidence", "target", metavar="FILE", help="Write an evidence bundle there if the histories differ.")
@click.option("--uncommitted", is_flag=True, help="Read chunks that are not marked committed, too.")
@click.option("--recovery", is_flag=True, help="Read .recovery files, too.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", help="Output format.")
def diff(
    copies: tuple[str, ...],
    receipts: tuple[str, ...],
    checkpoints: tuple[str, ...],
    service_certs: tuple[str, ...],
    target: str | None,
    uncommitted: bool,
    recovery: bool,
    style: str,
) -> int:
    """Compare two copies of a ledger, or one with receipts or checkpoints.

    A copy is a directory or file, or several joined by ":" (a node's main and read-only directories). Exit codes:
    0 the same history, 1 histories that differ, 3 nothing to compare.
    """
    from tallystick.evidence.compare import Copy, compare_copies, compare_with_checkpoint
    from tallystick.ledger.ledger import Ledger

    if len(copies) > 2 or (len(copies) == 1 and not receipts and not checkpoints):
        raise UsageError("expected two copies, or one and --receipt or --checkpoint", code="usage")
    opened = [Copy(name, Ledger(name.split(os.pathsep), uncommitted=uncommitted, recovery=recovery)) for name in copies]
    results: list[tuple[str, Comparison]] = []
    if len(opened) == 2:
        results.append((f"{copies[0]} and {copies[1]}", compare_copies(opened[0], opened[1])))
    for path in checkpoints:
        checked = compare_with_checkpoint(Copy(copies[0], opened[0].ledger), Path(path))
        results.append((f"{copies[0]} and checkpoint {path}", checked))
    if receipts:
        results += _with_receipts(opened[0], receipts, service_certs, scanned=len(opened) == 2)
    bundles = [comparison.bundle for _, comparison in results if comparison.bundle is not None]
    if target is not None and bundles:
        Path(target).write_bytes(bundles[0].to_bytes())
    _report(results, target if bundles else None, style)
    return int(_EXIT[_worst([comparison.verdict for _, comparison in results])])


def _with_receipts(
    copy: Copy, receipts: Sequence[str], service_certs: Sequence[str], *, scanned: bool
) -> list[tuple[str, Comparison]]:
    from tallystick.evidence.compare import compare_with_receipt
    from tallystick.identity.trust_anchor import TrustAnchor
    from tallystick.receipt.verify import verify_receipt

    if not service_certs:
        raise UsageError(
            "receipts prove nothing without the service they are from", code="anchor-missing", hint="add --service-cert"
        )
    anchor = TrustAnchor.from_options(service_certs=service_certs)
    certificates = [Path(path).read_text(encoding="utf-8") for path in service_certs]
    if not scanned:
        for _ in copy.leaves():
            continue
    results = []
    for path in receipts:
        document = read_input(path, 16 << 20)
        verified = verify_receipt(document, anchor, file=path)
        results.append((f"receipt {path}", compare_with_receipt(copy, document, verified, path, certificates)))
    return results


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    for verdict in (Verdict.FAILED, Verdict.UNDECIDED):
        if verdict in verdicts:
            return verdict
    return Verdict.VERIFIED


def _report(results: Sequence[tuple[str, Comparison]], bundle: str | None, style: str) -> None:
    output = Output(style)
    if not output.is_text:
        output.json(
            {
                "schema": "tallystick.diff/1",
                "results": [
                    {
                        "compared": name,
                        "relation": comparison.relation,
                        "first_seqno": comparison.compared[0] if comparison.compared else None,
                        "last_seqno": comparison.compared[1] if comparison.compared else None,
                        "first_difference": comparison.first_difference,
                        "findings": [item.to_json() for item in comparison.findings],
                    }
                    for name, comparison in results
                ],
                "evidence": bundle,
                "not_checked": list(_NOT_CHECKED),
            }
        )
        return
    for name, comparison in results:
        output.line(f"{printable(name)}: {_RELATIONS[comparison.relation]}")
        if comparison.compared is not None:
            output.line(f"  compared: seqno {comparison.compared[0]} to {comparison.compared[1]}")
        for item in comparison.findings:
            output.line(f"  {_finding_line(item)}")
    if bundle is not None:
        output.line(f"evidence written to {printable(bundle)}: tallystick evidence verify {printable(bundle)}")
    output.line(f"not checked: {'; '.join(_NOT_CHECKED)}")


def _finding_line(item: Finding) -> str:
    return printable(f"{item.severity.value}: {item.message} [{item.code}]")


@click.group()
def evidence() -> None:
    """Verify evidence bundles that `tallystick diff --evidence` wrote."""


@evidence.command(name="verify")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--service-cert", "service_certs", multiple=True, metavar="FILE", help="Certificate of the service accused."
)
@click.option("--service-key-sha256", multiple=True, metavar="HEX", help="SHA-256 of its public key.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", help="Output format.")
def verify_evidence(
    files: tuple[str, ...], service_certs: tuple[str, ...], service_key_sha256: tuple[str, ...], style: str
) -> int:
    """Verify that a bundle shows two histories of the service that you pin.

    Exit codes: 0 it does, 1 it does not, 3 it is consistent but names services that you did not pin.
    """
    from tallystick.evidence.bundle import MAX_BUNDLE_BYTES, Bundle
    from tallystick.findings import finding, verdict_of
    from tallystick.identity.trust_anchor import TrustAnchor

    anchor = TrustAnchor.from_options(service_certs=service_certs, service_key_sha256=service_key_sha256)
    results = []
    for path in files:
        findings: list[Finding] = []
        shown = None
        try:
            shown = Bundle.parse(read_input(path, MAX_BUNDLE_BYTES)).verify()
            unknown = [key for key in shown.services if not anchor.pins(key)]
            if unknown:
                options = " ".join(f"--service-key-sha256 {key}" for key in unknown)
                findings.append(
                    finding(
                        "evidence-anchor", f"signed by services that are not pinned; if you know them, add {options}"
                    )
                )
        except UsageError:
            raise
        except TallystickError as error:
            code = error.code if error.code in ("evidence-malformed", "evidence-untrue") else "evidence-untrue"
            findings.append(finding(code, error.message, file=path))
        results.append((path, shown, findings, verdict_of(findings)))
    output = Output(style)
    if output.is_text:
        for path, shown, findings, verdict in results:
            output.line(f"{verdict.value:<10} {printable(path)}")
            if shown is not None:
                output.line(f"  {printable(shown.conclusion)}")
                output.line(f"  signed by service {', '.join(shown.services)}")
            for item in findings:
                output.line(f"  {_finding_line(item)}")
    else:
        output.json(
            {
                "schema": "tallystick.evidence-verdict/1",
                "results": [
                    {
                        "file": path,
                        "verdict": verdict.value,
                        "kind": shown.kind if shown else None,
                        "conclusion": shown.conclusion if shown else None,
                        "services": list(shown.services) if shown else [],
                        "findings": [item.to_json() for item in findings],
                    }
                    for path, shown, findings, verdict in results
                ],
            }
        )
    return int(_EXIT[_worst([verdict for *_, verdict in results])])
