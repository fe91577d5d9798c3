"""The demonstration's story: a service that lives, recovers once, hands out receipts; and three ways to cheat.

Layout of the directory that it writes::

    ledger/                        the ledger, two lives of one service
    snapshots/                     a snapshot with its receipt
    receipts/                      JSON and COSE receipts of both lives
    service-cert.pem               the present service identity: what to pin
    service-cert-before-recovery.pem
    tampered/flipped-byte/         a byte changed inside a signed value
    tampered/outsider-recovery/    a recovery appended by somebody without any key of the service or its members
    tampered/truncated/            the end cut off, below a transaction that somebody holds a receipt of
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tallystick.demo.identities import KeySource
from tallystick.demo.receipts import cose_receipt, json_receipt
from tallystick.demo.service import DemoService
from tallystick.demo.snapshots import take_snapshot

__all__ = ["DemoFiles", "Tampering", "tamper", "write_demo"]

# A public value that everybody can find in the ledger's bytes, and what a cheat would rather have there.
_PAID = b"invoice 4711: paid"
_SHOWN_TABLE = "public:payments"


@dataclass(frozen=True)
class Tampering:
    """One way to cheat, done to a copy of the ledger.

    Attributes:
        title: what was done, in a few words.
        ledger: the copy.
        receipt: a receipt that the victim holds, where that is what gives the cheat away.
        codes: of these findings, at least one must be there.
    """

    title: str
    ledger: Path
    codes: tuple[str, ...]
    receipt: Path | None = None


@dataclass(frozen=True)
class DemoFiles:
    """What was written.

    Attributes:
        receipts: receipts to verify against ``certificate``; those of the first life need the ledger's
            endorsement, or ``older_certificate``.
        transactions: how many transactions the ledger holds.
    """

    directory: Path
    ledger: Path
    certificate: Path
    older_certificate: Path
    receipts: list[Path]
    older_receipts: list[Path]
    snapshot: Path
    last_receipt: Path
    transactions: int


def _pay(service: DemoService, invoice: int, text: bytes) -> int:
    """An application transaction: a public payment, a private note, and a claim about both."""
    key = str(invoice).encode()
    claims = hashlib.sha256(text).digest()
    rows = {_SHOWN_TABLE: {key: text}, "notes": {key: b"approved in a meeting nobody may know of"}}
    return service.append(rows, claims=claims).txid.seqno


def write_demo(directory: Path, source: KeySource, clock: Callable[[], int]) -> DemoFiles:
    """Writes ledger, snapshot, receipts and service certificates."""
    receipts = directory / "receipts"
    receipts.mkdir(parents=True)
    service = DemoService(directory / "ledger", "6.x", source, clock)
    service.genesis()
    service.open()
    older = directory / "service-cert-before-recovery.pem"
    older.write_text(service.service.certificate, encoding="utf-8")

    early = [_pay(service, 4710 + i, b"invoice %d: paid" % (4710 + i)) for i in range(3)]
    service.sign(close_chunk=True)
    pending = take_snapshot(service)
    service.sign()
    snapshot = pending.commit(directory / "snapshots")
    first_life = [_write(receipts / f"2.{early[1]}.json", json_receipt(service, early[1]))]
    first_life.append(_write(receipts / f"2.{early[1]}.cose", cose_receipt(service, early[1])))

    service.recover()
    certificate = directory / "service-cert.pem"
    certificate.write_text(service.service.certificate, encoding="utf-8")
    late = [_pay(service, 5000 + i, b"invoice %d: paid" % (5000 + i)) for i in range(3)]
    service.sign(close_chunk=True)
    last = _pay(service, 6000, b"invoice 6000: paid")
    service.sign(close_chunk=True)

    view = service.view
    second_life = [
        _write(receipts / f"{view}.{late[0]}.json", json_receipt(service, late[0])),
        _write(receipts / f"{view}.{late[0]}.cose", cose_receipt(service, late[0])),
        _write(receipts / f"2.{early[2]}-endorsed.json", json_receipt(service, early[2], endorsed_by=service.source)),
    ]
    last_receipt = _write(receipts / f"{view}.{last}.json", json_receipt(service, last))
    return DemoFiles(
        directory,
        service.directory,
        certificate,
        older,
        [*second_life, last_receipt],
        first_life,
        snapshot,
        last_receipt,
        service.seqno,
    )


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# ---------------------------------------------------------------- cheating


def tamper(files: DemoFiles, source: KeySource, clock: Callable[[], int]) -> list[Tampering]:
    """Cheats in three ways, each on a copy of the ledger."""
    target = files.directory / "tampered"
    return [
        _flip_byte(files, target / "flipped-byte"),
        _outsider_recovery(files, target / "outsider-recovery", source, clock),
        _truncate(files, target / "truncated"),
    ]


def _chunks(ledger: Path) -> list[Path]:
    return sorted(ledger.iterdir(), key=lambda path: int(path.name.removeprefix("ledger_").split("-")[0]))


def _flip_byte(files: DemoFiles, target: Path) -> Tampering:
    shutil.copytree(files.ledger, target)
    for path in _chunks(target):
        data = path.read_bytes()
        at = data.find(_PAID)
        if at >= 0:
            # 4711 becomes 4710.
            digit = at + len(b"invoice 471")
            path.write_bytes(data[:digit] + bytes([data[digit] ^ 1]) + data[digit + 1 :])
            break
    return Tampering("one byte of a signed value changed", target, ("leaf-differs", "root-mismatch"))


def _outsider_recovery(files: DemoFiles, target: Path, source: KeySource, clock: Callable[[], int]) -> Tampering:
    shutil.copytree(files.ledger, target)
    outsider = DemoService(target, "6.x", source, clock)
    outsider.take_over(_chunks(target))
    outsider.recover(vouched=False)
    _pay(outsider, 9999, b"invoice 9999: paid")
    outsider.sign(close_chunk=True)
    return Tampering("a recovery appended with an outsider's own keys", target, ("service-identity-unvouched",))


def _truncate(files: DemoFiles, target: Path) -> Tampering:
    shutil.copytree(files.ledger, target)
    _chunks(target)[-1].unlink()
    return Tampering(
        "the last chunk removed, of which a receipt is held", target, ("receipt-beyond-ledger",), files.last_receipt
    )
