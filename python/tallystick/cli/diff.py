"""``tallystick diff`` and ``tallystick evidence``: same history, and evidence where it is not."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallystick.cli.anchor_options import as_usage_error, expand_inputs, read_input, read_option_file
from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.listing import WIDTH, Output
from tallystick.errors import FormatError, TallystickError, UsageError, VerificationError
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
    "signed-differs": "they differ in signed transactions; whether that is a fork is not decided",
    "altered": "one of them was ALTERED after it was signed",
    "other-service": "histories of DIFFERENT services",
    "forked": "FORKED: two signed histories",
    "truncated": "TRUNCATED: the history went on without a proven transaction",
    "behind": "the copy ends before a proven transaction",
    "agrees": "the copy holds what was proven",
    "disjoint": "nothing in common to compare",
    "unusable": "could not be compared",
}

# A pile of receipts is read into memory one by one; real ones have kilobytes.
_MAX_RECEIPT_BYTES = 16 << 20


@click.command()
@click.argument("copies", nargs=-1, required=True, metavar="A [B]")
@click.option(
    "--receipt", "receipts", multiple=True, metavar="FILE", help="Compare A with a receipt, or a directory of them."
)
@click.option(
    "--checkpoint", "checkpoints", multiple=True, metavar="FILE", help="Compare A with a checkpoint of verify."
)
@click.option("--service-cert", "service_certs", multiple=True, metavar="FILE", help="Certificate of the service.")
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
    known = [pem for path in service_certs for pem in _certificates(path)]
    opened = [
        Copy(name, Ledger(name.split(os.pathsep), uncommitted=uncommitted, recovery=recovery), known) for name in copies
    ]
    results: list[tuple[str, Comparison]] = []
    if len(opened) == 2:
        results.append((f"{copies[0]} and {copies[1]}", compare_copies(opened[0], opened[1])))
    elif receipts or checkpoints:
        opened[0].scan()
    for path in checkpoints:
        results.append((f"{copies[0]} and checkpoint {path}", compare_with_checkpoint(opened[0], Path(path))))
    if receipts:
        results += _with_receipts(opened[0], receipts, service_certs)
    written = _write_evidence(target, results)
    _report(results, written, style)
    return int(_EXIT[_worst([comparison.verdict for _, comparison in results])])


def _certificates(path: str) -> list[str]:
    """The certificates in a file, PEM."""
    from tallystick.identity.certificates import split_certificates

    try:
        return split_certificates(read_option_file(path, "service certificate"))
    except FormatError as error:
        raise as_usage_error(error, path) from error


def _with_receipts(copy: Copy, receipts: Sequence[str], service_certs: Sequence[str]) -> list[tuple[str, Comparison]]:
    from tallystick.evidence.compare import Comparison, compare_with_receipt
    from tallystick.findings import finding
    from tallystick.identity.trust_anchor import TrustAnchor
    from tallystick.receipt.verify import verify_receipt

    if not service_certs:
        raise UsageError(
            "receipts prove nothing without the service they are from", code="anchor-missing", hint="add --service-cert"
        )
    anchor = TrustAnchor.from_options(service_certs=service_certs)
    results = []
    for path, found in expand_inputs(receipts):
        try:
            document = read_input(path, _MAX_RECEIPT_BYTES)
            verified = verify_receipt(document, anchor, file=path)
            comparison = compare_with_receipt(copy, document, verified, path)
        except (TallystickError, OSError) as error:
            if found and getattr(error, "code", None) == "not-a-receipt":
                continue
            message = f"receipt {path} cannot be compared: {getattr(error, 'message', error)}"
            comparison = Comparison("unusable", None, findings=[finding("history-receipt-unusable", message)])
        results.append((f"receipt {path}", comparison))
    return results


def _write_evidence(target: str | None, results: Sequence[tuple[str, Comparison]]) -> str | None:
    """Writes the first bundle, those that decide before others; returns where to."""
    bundles = [comparison.bundle for _, comparison in results if comparison.bundle is not None]
    if target is None or not bundles:
        return None
    decisive = [bundle for bundle in bundles if bundle.verify().conclusive]
    Path(target).write_bytes((decisive or bundles)[0].to_bytes())
    return target


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
        _write(output, f"{name}: {_RELATIONS[comparison.relation]}", "")
        if comparison.compared is not None:
            output.line(f"  compared: seqno {comparison.compared[0]} to {comparison.compared[1]}")
        for item in comparison.findings:
            _write(output, _finding_line(item), "  ")
    if bundle is not None:
        output.line(printable(f"evidence written to {bundle}: tallystick evidence verify {bundle}"))
    _write(output, f"not checked: {'; '.join(_NOT_CHECKED)}", "")


def _write(output: Output, text: str, indent: str) -> None:
    for line in textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    ):
        output.line(line)


def _finding_line(item: Finding) -> str:
    return f"{item.severity.value}: {item.message} [{item.code}]"


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

    Exit codes: 0 it does, 1 it does not, 3 it is consistent, but names services that you did not pin, or what it shows
    can have an innocent cause.
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
        except (FormatError, VerificationError) as error:
            findings.append(finding(error.code, error.message, file=path))
        else:
            unknown = shown.unpinned(anchor)
            if unknown:
                options = " ".join(f"--service-key-sha256 {key}" for key in unknown)
                findings.append(
                    finding(
                        "evidence-anchor", f"signed by services that are not pinned; if you know them, add {options}"
                    )
                )
            if shown.caveat is not None:
                findings.append(finding("evidence-inconclusive", shown.caveat))
        results.append((path, shown, findings, verdict_of(findings)))
    output = Output(style)
    if output.is_text:
        for path, shown, findings, verdict in results:
            output.line(f"{verdict.value:<10} {printable(path)}")
            if shown is not None:
                _write(output, shown.conclusion, "  ")
                _write(output, f"signed by service {', '.join(shown.services)}", "  ")
            for item in findings:
                _write(output, _finding_line(item), "  ")
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
                        "conclusive": shown.conclusive if shown else None,
                        "services": list(shown.services) if shown else [],
                        "findings": [item.to_json() for item in findings],
                    }
                    for path, shown, findings, verdict in results
                ],
            }
        )
    return int(_EXIT[_worst([verdict for *_, verdict in results])])
