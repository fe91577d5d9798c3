"""Parsers are total: any bytes give a value or one of our own errors, never a panic or another exception."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import slow
from support.services import fill, new_service
from tallystick import _native
from tallystick.demo.receipts import cose_receipt, json_receipt
from tallystick.demo.service import DemoService
from tallystick.demo.snapshots import take_snapshot
from tallystick.errors import FormatError, LimitExceededError


@cache
def samples() -> dict[str, list[bytes]]:
    """Valid inputs of each kind, to be spoilt."""
    # A service of its own: taking a snapshot writes to its ledger. Only bytes are kept.
    with tempfile.TemporaryDirectory(prefix="tallystick-samples-") as directory:
        return _samples_of(new_service(Path(directory) / "ledger", "6.x"))


def _samples_of(service: DemoService) -> dict[str, list[bytes]]:
    fill(service)
    seqno = service.last_signed.seqno - 1
    entries = [written.entry for written in service.written.values()]
    cose = cose_receipt(service, seqno)
    pending = take_snapshot(service)
    return {
        "entry": entries[2:8],
        "chunk": [slow.encode_chunk(entries[2:6], complete=complete) for complete in (True, False)],
        "snapshot": [pending.entry, pending.entry + json_receipt(service, seqno), pending.entry + cose],
        "json": [json_receipt(service, seqno)],
        "cose": [cose, service.signed[-1].cose or b""],
        "compact": [service.value("public:ccf.internal.tree") or b""],
        "private": [slow.encode_tables({"records": {b"a": b"b", b"c": None}})],
    }


def _touch(entry: _native.Entry) -> None:
    entry.tables()
    _ = (entry.leaf, entry.raw, entry.write_set_digest, entry.private_domain, entry.claims_digest)


def _entry(data: bytes) -> None:
    _touch(_native.Entry.parse(data))


def _snapshot(data: bytes) -> None:
    snapshot = _native.SnapshotFile.parse(data)
    for name in snapshot.table_names():
        snapshot.table(name)
    _ = (snapshot.entry_digest, snapshot.receipt, snapshot.view_history)


def _cose_receipt(data: bytes) -> None:
    receipt = _native.CoseReceipt.parse(data)
    for proof in receipt.proofs:
        _ = (proof.root, proof.txid)


def _json_receipt(data: bytes) -> None:
    receipt = _native.JsonReceipt.parse(data)
    if receipt.leaf is not None:
        receipt.root(receipt.leaf)


def _tree(data: bytes) -> None:
    tree = _native.MerkleTree.from_compact(data)
    tree.root()
    tree.append(bytes(32))
    tree.to_compact()


PARSERS: dict[str, tuple[str, Callable[[bytes], object]]] = {
    "entry": ("entry", _entry),
    "private domain": ("private", _native.parse_private_domain),
    "snapshot": ("snapshot", _snapshot),
    "JSON receipt": ("json", _json_receipt),
    "COSE receipt": ("cose", _cose_receipt),
    "COSE_Sign1": ("cose", _native.CoseSign1.parse),
    "CBOR": ("cose", _native.cbor_decode),
    "compact tree": ("compact", _tree),
}


@st.composite
def spoilt(draw: st.DrawFn, kind: str) -> bytes:
    """A valid input with a few bytes changed, removed or added, or cut short."""
    data = bytearray(draw(st.sampled_from(samples()[kind])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "cut", "insert", "delete", "size"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=20))
            case "delete":
                del data[at : at + draw(st.integers(1, 20))]
            case "size":
                data[at : at + 8] = draw(st.integers(0, 2**64 - 1)).to_bytes(8, "little")
            case _:
                pass
    return bytes(data)


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_any_bytes(name: str, data: st.DataObject) -> None:
    kind, parse = PARSERS[name]
    content = data.draw(st.binary(max_size=400) | spoilt(kind))
    try:
        parse(content)
    except (FormatError, LimitExceededError) as error:
        assert error.code  # noqa: PT017 - which of two ends it comes to is the business of the input
        assert error.message  # noqa: PT017 - as above


@given(data=st.data())
def test_any_chunk_file(data: st.DataObject) -> None:
    # A directory for each example, gone with it: there are hundreds.
    with tempfile.TemporaryDirectory(prefix="tallystick-chunk-") as directory:
        path = Path(directory) / "ledger_3-6.committed"
        path.write_bytes(data.draw(st.binary(max_size=400) | spoilt("chunk")))
        try:
            for entry in _native.ChunkFile.open(str(path)).entries():
                _touch(entry)
        except (FormatError, LimitExceededError) as error:
            assert error.code  # noqa: PT017 - which of two ends it comes to is the business of the input
        for batch in _native.LedgerScanner([str(path)], level="full"):
            assert batch.count >= 0
