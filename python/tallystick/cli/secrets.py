"""``tallystick secrets`` and ``tallystick decrypt``: the chain of ledger secrets, and what it opens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.listing import Output, no_chunk, row_lines, writes_json
from tallystick.errors import UsageError
from tallystick.findings import Finding, Verdict, verdict_of
from tallystick.ledger.ledger import Ledger
from tallystick.printable import printable
from tallystick.secrets.decrypt import DecryptionReport
from tallystick.secrets.open import PrivateLedger
from tallystick.types import TxId

__all__ = ["decrypt", "issue", "key_options", "secrets"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(dir_okay=False, path_type=Path)


def key_options(command: _Command) -> _Command:
    """Options that name files with keys. A secret never stands on a command line."""
    for decorator in reversed(
        (
            click.option(
                "--ledger-secret", "secret_files", multiple=True, type=_FILE, metavar="FILE",
                help="File with ledger secrets: lines of HEX, or START:HEX.",
            ),
            click.option(
                "--recovery-share", "share_files", multiple=True, type=_FILE, metavar="FILE",
                help="File with a recovery share in clear: hex, base64 or raw.",
            ),
            click.option(
                "--encryption-key", "encryption_keys", multiple=True, type=_FILE, metavar="FILE",
                help="A member's RSA encryption key (PEM): opens that member's share in the ledger.",
            ),
        )
    ):  # fmt: skip
        command = decorator(command)
    return command


def ledger_options(command: _Command) -> _Command:
    """The ledger's paths, and which of its files to read."""
    for decorator in reversed(
        (
            click.argument("paths", nargs=-1, required=True, metavar="PATH..."),
            click.option("--uncommitted", is_flag=True, help="Read chunks that are not marked committed, too."),
            click.option("--recovery", is_flag=True, help="Read .recovery files, too."),
        )
    ):
        command = decorator(command)
    return command


_FORMAT = click.option(
    "--format", "style", type=click.Choice(["text", "json", "jsonl"]), default="text", help="Output format."
)


def _open(
    paths: tuple[str, ...],
    uncommitted: bool,
    recovery: bool,
    secret_files: tuple[Path, ...],
    share_files: tuple[Path, ...],
    encryption_keys: tuple[Path, ...],
) -> PrivateLedger:
    ledger = Ledger(paths, uncommitted=uncommitted, recovery=recovery)
    if ledger.first_seqno is None:
        raise no_chunk(paths, ledger)
    return PrivateLedger(ledger, secret_files=secret_files, share_files=share_files, encryption_keys=encryption_keys)


def _finding_lines(findings: list[Finding]) -> list[str]:
    lines = []
    for item in findings:
        where = f" ({item.txid})" if item.txid else ""
        lines.append(printable(f"{item.severity.value}: {item.message}{where} [{item.code}]"))
    return lines


_EXIT = {
    Verdict.VERIFIED: ExitStatus.OK,
    Verdict.FAILED: ExitStatus.FAILED,
    Verdict.UNDECIDED: ExitStatus.UNDECIDED,
}


@click.command()
@ledger_options
@key_options
@click.option("--reveal", type=_FILE, metavar="FILE", help="Write the secrets that open to this new file (mode 600).")
@_FORMAT
def secrets(
    paths: tuple[str, ...],
    uncommitted: bool,
    recovery: bool,
    secret_files: tuple[Path, ...],
    share_files: tuple[Path, ...],
    encryption_keys: tuple[Path, ...],
    reveal: Path | None,
    style: str,
) -> int:
    """Show the chain of ledger secrets, and check what the keys given open.

    The ledger's signatures are not verified here: run `tallystick verify` for that.
    """
    private = _open(paths, uncommitted, recovery, secret_files, share_files, encryption_keys)
    chain = private.chain
    output = Output(style)
    verdict = verdict_of(chain.findings)
    if output.is_text:
        for start in chain.starts:
            for line in _secret_lines(private, start):
                output.line(line)
        for line in _finding_lines(chain.findings):
            output.line(line)
    else:
        output.json(
            {
                "schema": "tallystick.secrets/1",
                "verdict": verdict.value,
                "secrets": [_secret_json(private, start) for start in chain.starts],
                "findings": [item.to_json() for item in chain.findings],
                "not_checked": ["signatures and Merkle roots of the ledger"],
            }
        )
    if reveal is not None:
        _reveal(private, reveal)
    return int(_EXIT[verdict])


def _secret_lines(private: PrivateLedger, start: int) -> list[str]:
    chain = private.chain
    introduced = [link for link in chain.links if link.start == start]
    reason = introduced[0].reason if introduced else "opening"
    by = ", ".join(link.txid for link in introduced) or "not recorded"
    return [
        f"from seqno {start}: {reason}, introduced by {by}",
        *(
            f"  shares in {record.txid}: any {record.threshold} of {len(record.encrypted_shares)} members"
            for record in chain.shares
            if record.start == start
        ),
        f"  {private.known.origin.get(start, 'not opened: no key at hand')}",
    ]


def _secret_json(private: PrivateLedger, start: int) -> dict[str, object]:
    chain = private.chain
    introduced = [link for link in chain.links if link.start == start]
    return {
        "start": start,
        "reason": introduced[0].reason if introduced else "opening",
        "introduced_by": [link.txid for link in introduced],
        "previous_start": introduced[0].previous_start if introduced else None,
        "shares": [
            {"txid": record.txid, "threshold": record.threshold, "members": sorted(record.encrypted_shares)}
            for record in chain.shares
            if record.start == start
        ],
        "opened": private.known.origin.get(start),
    }


def _reveal(private: PrivateLedger, path: Path) -> None:
    if not private.known.by_start:
        raise UsageError("no secret was opened: there is nothing to write", code="shares-open-nothing")
    text = "".join(f"{start}:{bytes(secret).hex()}\n" for start, secret in sorted(private.known.by_start.items()))
    try:
        # Exclusive, and readable by nobody else from the first byte on.
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError as error:
        raise UsageError("this file exists already", code="output-exists", file=str(path)) from error
    path.write_text(text)


@click.command()
@ledger_options
@key_options
@click.option("--range", "seqnos", metavar="A:B", help="Only seqnos A to B.")
@click.option("-t", "--tables", metavar="REGEX", help="Only tables whose name matches.")
@click.option("-q", "--quiet", is_flag=True, help="Only check; do not list what was written.")
@_FORMAT
def decrypt(
    paths: tuple[str, ...],
    uncommitted: bool,
    recovery: bool,
    secret_files: tuple[Path, ...],
    share_files: tuple[Path, ...],
    encryption_keys: tuple[Path, ...],
    seqnos: str | None,
    tables: str | None,
    quiet: bool,
    style: str,
) -> int:
    """Authenticate every entry under its ledger secret and show private tables.

    The ledger's signatures are not verified here: run `tallystick verify` for that.
    """
    from tallystick.cli.read import table_filter

    first, last = _range(seqnos)
    matches = table_filter(tables)
    private = _open(paths, uncommitted, recovery, secret_files, share_files, encryption_keys)
    if not private.known.by_start:
        raise UsageError(
            "no ledger secret is known",
            code="secret-missing",
            hint="give --ledger-secret, --recovery-share or --encryption-key FILE",
        )
    report = DecryptionReport()
    output = Output(style)
    chosen = (
        (transaction.txid, name, writes)
        for transaction in private.decrypt(report, first, last)
        for name, writes in transaction.tables.items()
        if not quiet and (matches is None or matches(name))
    )
    if output.is_text:
        for txid, name, writes in chosen:
            _write_text(output, txid, name, writes)
    else:
        with output.document("tallystick.private/1", {}, "writes") as document:
            for txid, name, writes in chosen:
                for row in writes_json(name, writes):
                    document.item({"txid": txid, **row})
    _summarise(report)
    return int(_EXIT[verdict_of(report.findings)])


def _write_text(output: Output, txid: str, name: str, writes: dict[bytes, bytes | None]) -> None:
    output.line(f"{txid} {printable(name)}")
    for key, value in writes.items():
        for line in row_lines(name, key, value, indent=2, full=True):
            output.line(line)


def _summarise(report: DecryptionReport) -> None:
    lines = [
        f"{report.authenticated} entries authenticated, {report.private} private domains opened, "
        f"{report.evidence} commit evidence digests recomputed",
        *_finding_lines(report.findings),
    ]
    print("\n".join(lines), file=sys.stderr)


def _range(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    first, separator, last = text.partition(":")
    try:
        if not separator:
            raise ValueError
        return (int(first) if first else None), (int(last) if last else None)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a range of seqnos: expected A:B", code="range-malformed") from error


@click.command(name="issue")
@click.argument("arguments", nargs=-1, required=True, metavar="PATH... TXID")
@click.option("--uncommitted", is_flag=True, help="Read chunks that are not marked committed, too.")
@click.option("--recovery", is_flag=True, help="Read .recovery files, too.")
@key_options
@click.option("--format", "style", type=click.Choice(["json", "cose"]), default="json", help="Kind of receipt.")
@click.option("-o", "--output", "target", type=_FILE, metavar="FILE", help="Write here instead of standard output.")
def issue(
    arguments: tuple[str, ...],
    uncommitted: bool,
    recovery: bool,
    secret_files: tuple[Path, ...],
    share_files: tuple[Path, ...],
    encryption_keys: tuple[Path, ...],
    style: str,
    target: Path | None,
) -> int:
    """Make a receipt for transaction TXID from a ledger and its secret.

    The receipt is as good as the ledger's own signatures: check it with `tallystick receipt verify`.
    """
    from tallystick.secrets.issue import issue_cose_receipt, issue_json_receipt, locate

    *paths, text = arguments
    if not paths:
        raise UsageError("expected PATH... TXID", code="usage")
    txid = TxId.parse(text)
    private = _open(tuple(paths), uncommitted, recovery, secret_files, share_files, encryption_keys)
    secret = private.secret_at(txid.seqno)
    entries = (transaction.entry for transaction in private.ledger.transactions(txid.seqno))
    position = locate(entries, txid.seqno, txid.view, cose=style == "cose")
    if secret is None and position.entry.commit_evidence_digest is not None:
        raise UsageError(
            f"the ledger secret in force at {txid} is not known",
            code="secret-missing",
            hint="give --ledger-secret, --recovery-share or --encryption-key FILE",
        )
    make = issue_cose_receipt if style == "cose" else issue_json_receipt
    receipt = make(position, secret)
    if target is not None:
        target.write_bytes(receipt.document)
    else:
        sys.stdout.buffer.write(receipt.document)
    return int(ExitStatus.OK)
