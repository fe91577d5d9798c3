"""Makes the ledgers that the benches read, once, in a cache outside the checkout."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

from tallystick.demo.identities import KeySource
from tallystick.demo.receipts import json_receipt
from tallystick.demo.service import DemoService
from tallystick.ledger.writer import DEFAULT_CHUNK_BYTES

__all__ = ["Workload", "cache_directory", "make_ledger", "make_receipts"]

_SOURCE_DATE = datetime(2026, 1, 1, tzinfo=timezone.utc)
# Rows are spread over this many keys, so that the values repeat as little as an application's would.
_KEYS = 100_000
_TABLE = "public:records"


@dataclass(frozen=True)
class Workload:
    """A ledger to be made.

    Attributes:
        transactions: application transactions.
        every: a signature after this many.
        value_bytes: length of each value.
        style: of the service: ``6.x`` has node and COSE signatures.
    """

    name: str
    transactions: int
    every: int
    value_bytes: int
    style: str = "6.x"

    @property
    def slug(self) -> str:
        """Names the directory: whatever changes the bytes is in it."""
        return f"{self.name}-{self.style}-{self.transactions}x{self.value_bytes}-every{self.every}-v1"


def cache_directory() -> Path:
    """Where made ledgers are kept: ``$XDG_CACHE_HOME/tallystick-bench``."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "tallystick-bench"


def _rows(workload: Workload) -> Iterator[dict[str, dict[bytes, bytes | None]]]:
    filler = os.urandom(workload.value_bytes)
    for number in range(workload.transactions):
        value = (b"%016d" % number + filler)[: workload.value_bytes]
        yield {_TABLE: {b"key %d" % (number % _KEYS): value}}


def make_ledger(workload: Workload, directory: Path) -> tuple[Path, Path]:
    """The ledger directory and the file of its service certificate, made if they are not there."""
    home = directory / workload.slug
    ledger, certificate, done = home / "ledger", home / "service-cert.pem", home / "done"
    if done.exists():
        return ledger, certificate
    shutil.rmtree(home, ignore_errors=True)
    started = time.perf_counter()
    service = DemoService(
        ledger, workload.style, KeySource(_SOURCE_DATE, reuse_rsa=True), count(1_770_000_000).__next__
    )
    service.genesis()
    service.open()
    service.writer.mode = service.style.mode
    service.writer.sign_every = workload.every
    service.writer.chunk_bytes = DEFAULT_CHUNK_BYTES
    service.writer.append_many(_rows(workload))
    # Ends on a signature, so that both tools have the same to prove.
    service.writer.sign(close_chunk=True)
    certificate.write_text(service.service.certificate, encoding="utf-8")
    done.touch()
    print(f"made {workload.slug} in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return ledger, certificate


def make_receipts(number: int, directory: Path) -> tuple[Path, Path]:
    """A directory of ``number`` JSON receipts and the file of the service certificate.

    Signatures come every 100 transactions, so that 100 receipts share one, as those of a busy service do.
    """
    home = directory / f"receipts-{number}-v1"
    receipts, certificate, done = home / "receipts", home / "service-cert.pem", home / "done"
    if done.exists():
        return receipts, certificate
    shutil.rmtree(home, ignore_errors=True)
    receipts.mkdir(parents=True)
    service = DemoService(
        home / "ledger", "6.x", KeySource(_SOURCE_DATE, reuse_rsa=True), count(1_770_000_000).__next__
    )
    service.genesis()
    service.open()
    seqnos = []
    for i in range(number):
        seqnos.append(service.append({_TABLE: {b"key %d" % i: b"x" * 100}}).txid.seqno)
        if i % 100 == 99:
            service.sign()
    service.sign(close_chunk=True)
    signatures = iter(service.signed)
    covering = next(signatures)
    for seqno in seqnos:
        while covering.txid.seqno < seqno:
            covering = next(signatures)
        (receipts / f"{seqno}.json").write_bytes(json_receipt(service, seqno, signed=covering))
    certificate.write_text(service.service.certificate, encoding="utf-8")
    done.touch()
    return receipts, certificate
