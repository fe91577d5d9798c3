"""Spoilt snapshots, after the reference's scorecard (16.2), and what a verifier must say.

S3 and S10 are those that matter most: everything in the file agrees with everything else, and it is still
not the service's.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support.services import new_service, write_some
from tallystick.demo.service import DemoService
from tallystick.demo.snapshots import take_snapshot


@dataclass(frozen=True)
class SnapshotBase:
    """A service's snapshots.

    Attributes:
        snapshot, other: two snapshots with their receipts.
    """

    certificate: bytes
    snapshot: Path
    other: Path


@dataclass(frozen=True)
class SnapshotMutation:
    """A row: ``verdicts`` are those that are right; the name of the file is what ``build`` returns first."""

    number: str
    title: str
    verdicts: tuple[str, ...]
    codes: tuple[str, ...]
    build: Callable[[SnapshotBase], tuple[str, bytes]]


SNAPSHOTS: list[SnapshotMutation] = []


def _with_snapshots(style: str, more: bytes = b"") -> tuple[DemoService, list[Path]]:
    directory = Path(tempfile.mkdtemp(prefix="tallystick-snapshots-"))
    service = new_service(directory / "ledger", style)
    service.genesis()
    service.open()
    paths = []
    for i in range(2):
        write_some(service)
        service.append({"public:records": {b"marker": b"a public value" + more}, "private": {b"marker %d" % i: b"x"}})
        service.sign(close_chunk=True)
        pending = take_snapshot(service)
        service.sign()
        paths.append(pending.commit(directory / "snapshots"))
    return service, paths


@cache
def snapshot_base(style: str) -> SnapshotBase:
    """Snapshots of a service of ``style``."""
    service, (first, second) = _with_snapshots(style)
    return SnapshotBase(service.service.certificate.encode(), second, first)


def row(
    number: str, title: str, *verdicts: str, codes: tuple[str, ...] = ()
) -> Callable[[Callable[[SnapshotBase], tuple[str, bytes]]], Callable[[SnapshotBase], tuple[str, bytes]]]:
    def add(build: Callable[[SnapshotBase], tuple[str, bytes]]) -> Callable[[SnapshotBase], tuple[str, bytes]]:
        SNAPSHOTS.append(SnapshotMutation(number, title, verdicts, codes, build))
        return build

    return add


def _split(data: bytes) -> tuple[bytes, bytes]:
    """The entry, and the receipt after it."""
    size = 8 + int.from_bytes(data[2:8], "little")
    return data[:size], data[size:]


def _public_bit(data: bytes) -> bytes:
    at = 44 + int.from_bytes(data[36:44], "little") // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@row("S0", "control", "verified")
def _control(b: SnapshotBase) -> tuple[str, bytes]:
    return b.snapshot.name, b.snapshot.read_bytes()


@row("S1", "one bit of a public value", "failed")
def _public(b: SnapshotBase) -> tuple[str, bytes]:
    return b.snapshot.name, _public_bit(b.snapshot.read_bytes())


@row("S2", "one bit of the private part", "failed", codes=("snapshot-digest-mismatch",))
def _private(b: SnapshotBase) -> tuple[str, bytes]:
    entry, receipt = _split(b.snapshot.read_bytes())
    return b.snapshot.name, entry[:-1] + bytes([entry[-1] ^ 1]) + receipt


@row("S3", "another state, with a receipt by an outsider's node", "failed", codes=("node-certificate-issuer",))
def _outsider(b: SnapshotBase) -> tuple[str, bytes]:
    _, (_, forged) = _with_snapshots("6.x", b", changed")
    return forged.name, forged.read_bytes()


@row("S4", "the receipt of another snapshot", "failed", codes=("snapshot-digest-mismatch",))
def _other_receipt(b: SnapshotBase) -> tuple[str, bytes]:
    return b.snapshot.name, _split(b.snapshot.read_bytes())[0] + _split(b.other.read_bytes())[1]


@row("S5", "tampered, and named as 1.x named snapshots", "failed", "undecided")
def _old_name(b: SnapshotBase) -> tuple[str, bytes]:
    return f"{b.snapshot.name}_70", _public_bit(b.snapshot.read_bytes())


@row("S5b", "no receipt, and named as 1.x named snapshots", "undecided", codes=("snapshot-unverified",))
def _old_form(b: SnapshotBase) -> tuple[str, bytes]:
    return f"{b.snapshot.name}_70", _split(b.snapshot.read_bytes())[0]


@row("S7", "cut in the middle", "failed")
def _cut(b: SnapshotBase) -> tuple[str, bytes]:
    return b.snapshot.name, b.snapshot.read_bytes()[:2000]


@row("S8", "receipt removed", "failed", codes=("snapshot-receipt-missing",))
def _no_receipt(b: SnapshotBase) -> tuple[str, bytes]:
    return b.snapshot.name, _split(b.snapshot.read_bytes())[0]


@row("S9", "tampered, no receipt, named as not committed", "undecided", codes=("snapshot-unverified",))
def _not_committed(b: SnapshotBase) -> tuple[str, bytes]:
    entry, _ = _split(b.snapshot.read_bytes())
    at = entry.rindex(b"public") if b"public" in entry else 60
    spoilt = entry[:-1] + bytes([entry[-1] ^ 1]) if at < 60 else entry
    return b.snapshot.name.removesuffix(".committed"), spoilt


@row("S10", "forged throughout, COSE receipt by the key found inside", "failed")
def _self_asserted(b: SnapshotBase) -> tuple[str, bytes]:
    _, (_, forged) = _with_snapshots("7.x", b", changed")
    return forged.name, forged.read_bytes()


@row("N4", "named after another seqno", "failed", codes=("snapshot-name-mismatch",))
def _name(b: SnapshotBase) -> tuple[str, bytes]:
    first, second = b.snapshot.name.removesuffix(".committed").split("_")[1:]
    return f"snapshot_{int(first) + 1}_{second}.committed", b.snapshot.read_bytes()


@row("N6", "bytes after the receipt", "failed")
def _trailing(b: SnapshotBase) -> tuple[str, bytes]:
    return b.snapshot.name, b.snapshot.read_bytes() + b"\x00"


# Report 5: an entry that says it is shorter than it is, or a public domain that says it is longer than its entry, was
# read on into the bytes that follow.
_ENTRY_SIZE, _DOMAIN_SIZE = 2, 36


@row("N7", "an entry that is said to end within its public domain", "failed")
def _short_entry(b: SnapshotBase) -> tuple[str, bytes]:
    data = b.snapshot.read_bytes()
    return b.snapshot.name, data[:_ENTRY_SIZE] + (100).to_bytes(6, "little") + data[_ENTRY_SIZE + 6 :]


@row("N8", "an entry that is said to go on into its receipt", "failed")
def _long_entry(b: SnapshotBase) -> tuple[str, bytes]:
    data = b.snapshot.read_bytes()
    size = int.from_bytes(data[_ENTRY_SIZE:8], "little") + 40
    return b.snapshot.name, data[:_ENTRY_SIZE] + size.to_bytes(6, "little") + data[_ENTRY_SIZE + 6 :]


@row("N9", "a public domain that is said to be longer than its entry", "failed")
def _long_domain(b: SnapshotBase) -> tuple[str, bytes]:
    data = b.snapshot.read_bytes()
    size = len(_split(data)[0])
    return b.snapshot.name, data[:_DOMAIN_SIZE] + size.to_bytes(8, "little") + data[_DOMAIN_SIZE + 8 :]


@row("S11", "the receipt without its claims digest", "failed", "undecided")
def _no_claims(b: SnapshotBase) -> tuple[str, bytes]:
    entry, receipt = _split(b.snapshot.read_bytes())
    if not receipt.startswith(b"{"):
        return b.snapshot.name, entry + receipt[:-1]
    value = json.loads(receipt)
    value["leaf_components"]["claims_digest"] = "00" * 32
    return b.snapshot.name, entry + json.dumps(value).encode()
