"""Forged services that tests share: made once a run, copied by whoever spoils them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from itertools import count
from pathlib import Path

from support.mutation import LedgerCopy
from tallystick.demo.identities import KeySource
from tallystick.demo.service import DemoService
from tallystick.demo.styles import Style

# One RSA key for all: encryption keys take long to make, and nothing under test depends on them.
SOURCE = KeySource(datetime(2026, 1, 1, tzinfo=timezone.utc), reuse_rsa=True)
_START = 1_770_000_000

STYLES = ("1.x", "2.x", "4.x", "6.x", "7.x")


@dataclass
class Base:
    """A valid ledger with what is needed to verify it.

    Attributes:
        directory: the ledger directory; never changed.
        certificates: service certificates in order of their lives, PEM.
        style: what it is written like.
        service: the forge that wrote it; None for a real ledger.
    """

    directory: Path
    certificates: list[bytes]
    style: str = "6.x"
    service: DemoService | None = field(default=None, repr=False)

    def copy(self, target: Path) -> LedgerCopy:
        return LedgerCopy(self.directory, target)


def new_service(directory: Path, style: str | Style = "6.x", **options: object) -> DemoService:
    """A service that writes to ``directory``; nothing is written yet."""
    return DemoService(directory, style, SOURCE, count(_START).__next__, **options)


def write_some(service: DemoService, number: int = 4) -> None:
    """Application writes, public and private."""
    for i in range(number):
        rows = {"public:records": {b"key %d" % i: b"public value %d" % service.seqno}}
        if i % 2:
            rows["records"] = {b"secret %d" % i: b"private value"}
        service.append(rows)


def fill(service: DemoService) -> None:
    """Genesis, opening, two complete chunks of writes and an open one, all signed to the end."""
    service.genesis()
    service.open()
    write_some(service)
    service.sign()
    write_some(service)
    service.sign(close_chunk=True)
    write_some(service, 2)
    service.sign()
    service.leave_chunk_open()


@cache
def base(style: str = "6.x", curve: str = "P-384") -> Base:
    """A service that never recovered."""
    directory = Path(tempfile.mkdtemp(prefix="tallystick-base-")) / "ledger"
    service = new_service(directory, style, curve=curve)
    fill(service)
    return Base(directory, [service.service.certificate.encode()], style, service)


@cache
def recovered_base(style: str = "6.x") -> Base:
    """A service that recovered twice, with writes in each life."""
    directory = Path(tempfile.mkdtemp(prefix="tallystick-recovered-")) / "ledger"
    service = new_service(directory, style)
    service.genesis()
    service.open()
    for _ in range(2):
        write_some(service)
        service.sign()
        service.recover()
    write_some(service)
    service.sign()
    service.leave_chunk_open()
    return Base(directory, [i.certificate.encode() for i in service.identities], style, service)


def outsider(copy: LedgerCopy, scratch: Path, style: str | Style = "6.x") -> DemoService:
    """A forge without any of the service's keys that goes on from the last signature of ``copy``.

    Its chunks go to ``scratch``.
    """
    forge = new_service(scratch, style)
    forge.take_over(copy.chunks)
    return forge


def entries_after(forge: DemoService, seqno: int) -> list[bytes]:
    """The entries that a forge wrote after ``seqno``."""
    return [written.entry for number, written in sorted(forge.written.items()) if number > seqno]
