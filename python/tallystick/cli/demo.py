"""``tallystick demo``: a service ledger made on the spot, verified, and three tamperings caught."""

from __future__ import annotations

import itertools
import shlex
import tempfile
import textwrap
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import click

from tallystick.audit.auditor import audit_ledger
from tallystick.cli.exit_status import ExitStatus
from tallystick.demo.identities import KeySource
from tallystick.demo.scenario import DemoFiles, Tampering, tamper, write_demo
from tallystick.errors import UsageError
from tallystick.findings import Finding, Verdict
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.receipt.verify import audit_receipts
from tallystick.report.text import TRUSTED_BY
from tallystick.snapshot.verify import audit_snapshot

# Fits the narrowest terminal that is still usable, and a page of documentation.
_WIDTH = 78
# Certificates start a little in the past, so that clocks may differ.
_CLOCK_SKEW = timedelta(hours=1)


@click.command()
@click.option(
    "--directory", type=click.Path(path_type=Path), help="Where to write the files; default: a new temporary directory."
)
def demo(directory: Path | None) -> int:
    """Write a small service ledger, verify it, catch three tamperings.

    Everything is made on the spot with fresh keys, in CCF's own format: a ledger with governance, private
    data and a disaster recovery, a snapshot, and receipts. The files stay, to be tried with the other commands.

    Exit code 0 only if every outcome is what it must be.
    """
    if directory is None:
        directory = Path(tempfile.mkdtemp(prefix="tallystick-demo-"))
    elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError("there is something already", file=str(directory), hint="name a new directory")
    now = int(time.time())
    source = KeySource(datetime.fromtimestamp(now, timezone.utc) - _CLOCK_SKEW)
    # Each request and signature a second later than the one before.
    clock = itertools.count(now).__next__
    files = write_demo(directory, source, clock)
    tamperings = tamper(files, source, clock)

    show = _Show(files)
    show.introduce()
    show.ledger()
    show.receipts()
    show.snapshot()
    show.heading("Three ways to cheat, each on a copy of that ledger")
    for letter, tampering in zip("abc", tamperings, strict=True):
        show.tampering(letter, tampering)
    show.commands(tamperings)
    return int(ExitStatus.FAILED if show.surprises else ExitStatus.OK)


class _Show:
    """Verifies the files and prints what came out of it.

    Attributes:
        surprises: outcomes that were not what they must be.
    """

    def __init__(self, files: DemoFiles) -> None:
        self._files = files
        self._anchor = TrustAnchor.from_certificates([files.certificate.read_bytes()])
        self._older = TrustAnchor.from_certificates([files.older_certificate.read_bytes()])
        self.surprises = 0

    # ------------------------------------------------------------ printing

    def heading(self, text: str) -> None:
        click.echo(f"\n{text}")

    def _line(self, text: str, indent: int = 3) -> None:
        for line in textwrap.wrap(text, _WIDTH - indent, break_on_hyphens=False) or [""]:
            click.echo(" " * indent + line)

    def _outcome(self, word: str, text: str, *, expected: bool) -> None:
        if not expected:
            self.surprises += 1
            word = f"UNEXPECTED: {word}"
        self._line(f"{word}  {text}")

    def _relative(self, path: Path | str) -> str:
        path = Path(path)
        return str(path.relative_to(self._files.directory)) if path.is_relative_to(self._files.directory) else str(path)

    def _finding(self, item: Finding) -> None:
        self._line(f"[{item.code}] {item.message}", 6)
        place = [self._relative(item.file) if item.file else ""]
        place.append(f"offset {item.offset}" if item.offset is not None else "")
        place.append(f"transaction {item.txid}" if item.txid else "")
        if any(place):
            self._line("at " + ", ".join(part for part in place if part), 6)

    # ------------------------------------------------------------ the story

    def introduce(self) -> None:
        files = self._files
        click.echo("A service, made here and now with fresh keys")
        self._line(f"files         {files.directory}")
        chunks = sum(1 for _ in files.ledger.iterdir())
        self._line(f"ledger        {files.transactions} transactions in {chunks} chunks, one disaster recovery")
        self._line(f"also          1 snapshot, {len(files.receipts) + len(files.older_receipts)} receipts")
        self._line("pinned        service-cert.pem, the service's present identity")

    def ledger(self) -> None:
        self.heading("The ledger")
        verdict = audit_ledger([str(self._files.ledger)], self._anchor)
        proven = verdict.proven
        whole = proven is not None and proven.last_seqno == self._files.transactions
        if proven is None:
            self._outcome(verdict.verdict.name, "nothing is proven", expected=False)
        else:
            text = f"transactions {proven.first_seqno} to {proven.last_seqno}, {verdict.signatures} signatures"
            self._outcome(verdict.verdict.name, text, expected=whole and verdict.verdict is Verdict.VERIFIED)
        for number, identity in enumerate(verdict.identities, start=1):
            key = (identity.service_key_sha256 or "unknown")[:16]
            how = TRUSTED_BY[identity.trusted_by]
            self._line(f"identity {number}: key {key}…, from {identity.first_txid}, {how}", 6)
        if verdict.verdict is not Verdict.VERIFIED and verdict.deciding is not None:
            self._finding(verdict.deciding)

    def receipts(self) -> None:
        self.heading("Receipts, which prove a transaction without the ledger")
        for paths, anchor, note in (
            (self._files.receipts, self._anchor, ""),
            (self._files.older_receipts, self._older, ", under the identity from before the recovery"),
        ):
            results = audit_receipts([(str(path), path.read_bytes()) for path in paths], anchor)
            for path, result in zip(paths, results, strict=True):
                good = result.verdict is Verdict.VERIFIED
                self._outcome(result.verdict.name, f"{path.name}{note}", expected=good)
                if not good and result.findings:
                    self._finding(result.findings[0])

    def snapshot(self) -> None:
        self.heading("The snapshot")
        path = self._files.snapshot
        result = audit_snapshot(path.read_bytes(), self._older, file=str(path))
        good = result.verdict is Verdict.VERIFIED
        text = f"{path.name}, proven by the receipt in it"
        self._outcome(result.verdict.name, text, expected=good)
        if not good and result.findings:
            self._finding(result.findings[0])

    def tampering(self, letter: str, tampering: Tampering) -> None:
        click.echo()
        self._line(f"{letter}. {tampering.title}", 1)
        receipts = [str(tampering.receipt)] if tampering.receipt is not None else []
        verdict = audit_ledger([str(tampering.ledger)], self._anchor, receipts=receipts)
        codes = {item.code for item in verdict.findings}
        caught = verdict.verdict is Verdict.FAILED and bool(codes & set(tampering.codes))
        self._outcome(verdict.verdict.name, "caught" if caught else "", expected=caught)
        if verdict.deciding is not None:
            self._finding(verdict.deciding)
        if verdict.proven is not None:
            self._line(f"still proven: transactions {verdict.proven.first_seqno} to {verdict.proven.last_txid}", 6)

    def commands(self, tamperings: Sequence[Tampering]) -> None:
        self.heading("Try it yourself")
        pin = f"--service-cert {self._relative(self._files.certificate)}"
        lines = [
            f"cd {shlex.quote(str(self._files.directory))}",
            f"tallystick verify ledger {pin}",
            "tallystick log ledger",
            f"tallystick receipt verify {self._relative(self._files.last_receipt)} {pin}",
            f"tallystick verify {self._relative(tamperings[0].ledger)} {pin}",
        ]
        for line in lines:
            click.echo(f"   {line}")
        if self.surprises:
            click.echo(f"\n{self.surprises} outcomes were not what they must be.")
