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

from tallystick.demo.identities import KeySource, MemberIdentity
from tallystick.demo.receipts import json_receipt
from tallystick.demo.service import DemoService, demo_constitution
from tallystick.ledger.writer import DEFAULT_CHUNK_BYTES, json_bytes
from tallystick.tables.names import CONSTITUTION, SINGLETON_KEY

__all__ = ["Workload", "cache_directory", "make_governance", "make_ledger", "make_receipts"]

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


def make_private(number: int, directory: Path) -> tuple[Path, Path]:
    """A ledger of ``number`` small private transactions, and the file of its ledger secret."""
    home = directory / f"private-{number}-v1"
    ledger, secret, done = home / "ledger", home / "secret", home / "done"
    if done.exists():
        return ledger, secret
    shutil.rmtree(home, ignore_errors=True)
    service = DemoService(ledger, "6.x", KeySource(_SOURCE_DATE, reuse_rsa=True), count(1_770_000_000).__next__)
    service.genesis()
    service.open()
    service.writer.sign_every = 5_000
    service.writer.chunk_bytes = DEFAULT_CHUNK_BYTES
    service.writer.append_many(
        {"records": {b"key %d" % i: b"a private value of some forty bytes, %d" % i}} for i in range(number)
    )
    service.writer.sign(close_chunk=True)
    secret.write_text(f"1:{service.secret.hex()}\n", encoding="utf-8")
    done.touch()
    return ledger, secret


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


def _constitution_of_usual_size() -> str:
    """The demonstration's rules among as much code as real constitutions have: some 50 kB, none of it called."""
    action = """
function unusedAction%d(args) {
  if (typeof args.name !== "string" || args.name.length > %d) {
    throw new Error(`name ${args.name} of action %d must be a short string`);
  }
  const table = ccf.kv["public:ccf.gov.example.table%d"];
  table.set(ccf.strToBuf(args.name), ccf.jsonCompatibleToBuf({ number: %d, value: args.value ?? null }));
}
"""
    return demo_constitution() + "".join(action % ((number,) * 5) for number in range(140))


def make_governance(proposals: int, directory: Path) -> tuple[Path, Path]:
    """A ledger of ``proposals`` proposals that three ballots of five members accept, and its certificate."""
    home = directory / f"governance-{proposals}-v1"
    ledger, certificate, done = home / "ledger", home / "service-cert.pem", home / "done"
    if done.exists():
        return ledger, certificate
    shutil.rmtree(home, ignore_errors=True)
    started = time.perf_counter()
    source = KeySource(_SOURCE_DATE, reuse_rsa=True)
    service = DemoService(ledger, "6.x", source, count(1_770_000_000).__next__, members=5)
    service.genesis()
    service.open()
    rules = _constitution_of_usual_size()
    rows = {CONSTITUTION: {SINGLETON_KEY: json_bytes(rules)}}
    service.decide("set_constitution", {"constitution": rules}, lambda: rows)
    users = [MemberIdentity.create(source, f"user{number}") for number in range(3)]
    for number in range(proposals):
        user = users[number % len(users)]
        service.set_user(user.certificate, user.id)
        if number % 25 == 24:
            service.sign(close_chunk=number % 1000 == 999)
    service.sign(close_chunk=True)
    certificate.write_text(service.service.certificate, encoding="utf-8")
    done.touch()
    print(f"made {home.name} in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return ledger, certificate
