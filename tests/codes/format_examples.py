"""Bytes that are not the format, one for each code that reading a ledger can give.

Each spoils the last signature transaction (which nothing signs) or the layout of a chunk, so that only the
format is at fault.
"""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from support import cbor
from support.cbor import Pairs, Tagged
from support.mutation import COSE_SIGNATURES, SIGNATURES, TREE, LedgerCopy, encode_domain, reassemble
from support.slow import SlowEntry
from tallystick._native import MerkleTree
from tallystick.demo.ledger import SINGLETON_KEY, json_bytes


@dataclass(frozen=True)
class FormatExample:
    """``spoil`` changes a copy of the ledger; the findings then hold ``code``."""

    code: str
    spoil: Callable[[LedgerCopy], None]


FORMATS: list[FormatExample] = []


def example(code: str) -> Callable[[Callable[[LedgerCopy], None]], Callable[[LedgerCopy], None]]:
    def add(spoil: Callable[[LedgerCopy], None]) -> Callable[[LedgerCopy], None]:
        FORMATS.append(FormatExample(code, spoil))
        return spoil

    return add


# ---------------------------------------------------------------- chunks


def _rewrite(copy: LedgerCopy, change: Callable[[bytes, int], bytes]) -> None:
    path = copy.last_committed
    data = path.read_bytes()
    path.write_bytes(change(data, int.from_bytes(data[:8], "little")))


@example("chunk-header-truncated")
def _short_header(copy: LedgerCopy) -> None:
    copy.open_chunk.write_bytes(bytes(5))


@example("chunk-header")
def _table_inside_the_header(copy: LedgerCopy) -> None:
    _rewrite(copy, lambda data, _: struct.pack("<Q", 4) + data[8:])


@example("chunk-offsets-missing")
def _cut_before_the_table(copy: LedgerCopy) -> None:
    _rewrite(copy, lambda data, table: data[: table - 10])


@example("chunk-offsets-size")
def _odd_table(copy: LedgerCopy) -> None:
    _rewrite(copy, lambda data, _: data + b"\x00")


@example("chunk-offsets-differ")
def _other_offsets(copy: LedgerCopy) -> None:
    _rewrite(copy, lambda data, table: data[: table + 4] + struct.pack("<I", 9) + data[table + 8 :])


@example("chunk-trailing-bytes")
def _bytes_before_the_table(copy: LedgerCopy) -> None:
    def change(data: bytes, table: int) -> bytes:
        return struct.pack("<Q", table + 4) + data[8:table] + b"\x00" * 4 + data[table:]

    _rewrite(copy, change)


# ---------------------------------------------------------------- entries


def _last(copy: LedgerCopy, change: Callable[[SlowEntry], bytes]) -> None:
    entry = copy.last_signature.entry
    copy.replace(entry.seqno, change(entry))


@example("entry-truncated")
def _longer_than_the_chunk(copy: LedgerCopy) -> None:
    path = copy.last_committed
    last = copy.entries(path)[-1]
    data = bytearray(path.read_bytes())
    data[last.offset + 2 : last.offset + 8] = (1 << 20).to_bytes(6, "little")
    path.write_bytes(data)


@example("entry-version")
def _version(copy: LedgerCopy) -> None:
    _last(copy, lambda entry: reassemble(entry, version=3))


@example("entry-flags")
def _flags(copy: LedgerCopy) -> None:
    _last(copy, lambda entry: reassemble(entry, flags=4))


@example("entry-too-small")
def _small(copy: LedgerCopy) -> None:
    path = copy.last_committed
    entry = copy.entries(path)[0]
    data = bytearray(path.read_bytes())
    data[entry.offset + 2 : entry.offset + 8] = (35).to_bytes(6, "little")
    path.write_bytes(data)


@example("entry-too-large")
def _large(copy: LedgerCopy) -> None:
    path = copy.last_committed
    entry = copy.entries(path)[0]
    data = bytearray(path.read_bytes())
    data[entry.offset + 2 : entry.offset + 8] = (1 << 30).to_bytes(6, "little")
    # The file must be as large, or the entry is merely cut: its middle is a hole.
    table = (1 << 30) + (1 << 20)
    data[:8] = table.to_bytes(8, "little")
    path.write_bytes(data)
    os.truncate(path, table + 4)


@example("entry-public-domain-size")
def _domain_size(copy: LedgerCopy) -> None:
    path = copy.last_committed
    entry = copy.entries(path)[0]
    data = bytearray(path.read_bytes())
    data[entry.offset + 36 : entry.offset + 44] = (1 << 30).to_bytes(8, "little")
    path.write_bytes(data)


@example("entry-seqno-mismatch")
def _seqno(copy: LedgerCopy) -> None:
    _last(copy, lambda entry: reassemble(entry, public=encode_domain(entry, entry.tables, seqno=entry.seqno + 7)))


@example("entry-snapshot-bit")
def _snapshot_bit(copy: LedgerCopy) -> None:
    _last(copy, lambda entry: reassemble(entry, view=entry.view | 1 << 31))


# ---------------------------------------------------------------- public domains


def _domain(copy: LedgerCopy, change: Callable[[bytes], bytes]) -> None:
    _last(copy, lambda entry: reassemble(entry, public=change(entry.public_domain)))


def _block(name: bytes, writes: list[tuple[bytes, bytes]], removes: tuple[bytes, ...] = ()) -> bytes:
    def blob(data: bytes) -> bytes:
        return struct.pack("<Q", len(data)) + data

    return (
        blob(name)
        + struct.pack("<QQQ", 0, 0, len(writes))
        + b"".join(blob(key) + blob(value) for key, value in writes)
        + struct.pack("<Q", len(removes))
        + b"".join(map(blob, removes))
    )


@example("domain-truncated")
def _cut_domain(copy: LedgerCopy) -> None:
    _domain(copy, lambda domain: domain[:-1])


@example("domain-entry-type")
def _entry_type(copy: LedgerCopy) -> None:
    _domain(copy, lambda domain: b"\x05" + domain[1:])


@example("domain-map-encoding")
def _name(copy: LedgerCopy) -> None:
    _domain(copy, lambda domain: domain + _block(b"public:\xff", []))


@example("domain-map-prefix")
def _private_name(copy: LedgerCopy) -> None:
    _domain(copy, lambda domain: domain + _block(b"records", []))


@example("domain-map-order")
def _order(copy: LedgerCopy) -> None:
    _domain(copy, lambda domain: domain + _block(b"public:a", []))


@example("domain-key-order")
def _keys(copy: LedgerCopy) -> None:
    _domain(copy, lambda domain: domain + _block(b"public:z", [(b"b", b""), (b"a", b"")]))


@example("domain-key-conflict")
def _conflict(copy: LedgerCopy) -> None:
    _domain(copy, lambda domain: domain + _block(b"public:z", [(b"a", b"")], (b"a",)))


# ---------------------------------------------------------------- signature transactions


def _values(copy: LedgerCopy, table: str, value: bytes) -> None:
    entry = copy.last_signature.entry
    entry.tables[table] = {SINGLETON_KEY: value}
    copy.replace(entry.seqno, reassemble(entry, public=encode_domain(entry, entry.tables)))


def _raw(copy: LedgerCopy) -> dict[str, object]:
    return json.loads(copy.last_signature.entry.tables[SIGNATURES][SINGLETON_KEY] or b"")


@example("signature-key-missing")
def _no_node(copy: LedgerCopy) -> None:
    value = _raw(copy)
    del value["node"]
    _values(copy, SIGNATURES, json_bytes(value))


@example("signature-hex")
def _root_text(copy: LedgerCopy) -> None:
    _values(copy, SIGNATURES, json_bytes({**_raw(copy), "root": "AB" * 32}))


@example("signature-base64")
def _signature_text(copy: LedgerCopy) -> None:
    _values(copy, SIGNATURES, json_bytes({**_raw(copy), "sig": "***"}))


@example("json-duplicate-key")
def _twice(copy: LedgerCopy) -> None:
    value = json_bytes(_raw(copy))
    _values(copy, SIGNATURES, value[:-1] + b',"view":2}')


@example("json-syntax")
def _no_json(copy: LedgerCopy) -> None:
    _values(copy, SIGNATURES, b"{")


@example("json-type")
def _list(copy: LedgerCopy) -> None:
    _values(copy, SIGNATURES, b"[]")


def _cose(copy: LedgerCopy, body: list[object] | Tagged) -> None:
    message = cbor.encode(body if isinstance(body, Tagged) else Tagged(18, body))
    _values(copy, COSE_SIGNATURES, json_bytes(base64.b64encode(message).decode()))


def _protected(copy: LedgerCopy, **changes: object) -> bytes:
    entry = copy.last_signature.entry
    header: dict[object, object] = {
        1: -35, 4: ("ab" * 32).encode(), 395: 2, 15: {6: 1, 1: "i", 2: "s"},
        "ccf.v1": {"txid": f"{entry.view}.{entry.seqno}"},
    }  # fmt: skip
    for name, value in changes.items():
        key = int(name.removeprefix("h")) if name.startswith("h") else "ccf.v1"
        if value is None:
            del header[key]
        else:
            header[key] = value
    return cbor.encode(Pairs(list(header.items())))


@example("signature-cose-untagged")
def _untagged(copy: LedgerCopy) -> None:
    message = cbor.encode([_protected(copy), {}, None, bytes(96)])
    _values(copy, COSE_SIGNATURES, json_bytes(base64.b64encode(message).decode()))


@example("signature-cose-payload")
def _attached(copy: LedgerCopy) -> None:
    _cose(copy, [_protected(copy), {}, bytes(32), bytes(96)])


@example("signature-cose-unprotected")
def _unprotected(copy: LedgerCopy) -> None:
    _cose(copy, [_protected(copy), {"note": b""}, None, bytes(96)])


@example("signature-cose-header-missing")
def _no_txid(copy: LedgerCopy) -> None:
    _cose(copy, [_protected(copy, ccf=None), {}, None, bytes(96)])


@example("signature-cose-kid")
def _kid(copy: LedgerCopy) -> None:
    _cose(copy, [_protected(copy, h4=bytes(32)), {}, None, bytes(96)])


@example("signature-cose-vds")
def _vds(copy: LedgerCopy) -> None:
    _cose(copy, [_protected(copy, h395=1), {}, None, bytes(96)])


@example("cose-signature-empty")
def _no_bytes(copy: LedgerCopy) -> None:
    _cose(copy, [_protected(copy), {}, None, b""])


@example("cose-tag")
def _tag(copy: LedgerCopy) -> None:
    _cose(copy, Tagged(98, [_protected(copy), {}, None, bytes(96)]))


def _tree_value(copy: LedgerCopy) -> bytes:
    return copy.last_signature.entry.tables[TREE][SINGLETON_KEY] or b""


@example("signature-tree-missing")
def _no_tree(copy: LedgerCopy) -> None:
    entry = copy.last_signature.entry
    tables = {name: rows for name, rows in entry.tables.items() if name != TREE}
    copy.replace(entry.seqno, reassemble(entry, public=encode_domain(entry, tables)))


@example("signature-tree-size")
def _other_size(copy: LedgerCopy) -> None:
    tree = MerkleTree.from_compact(_tree_value(copy))
    tree.append(bytes(32))
    _values(copy, TREE, tree.to_compact())


@example("signature-tree-root")
def _other_leaf(copy: LedgerCopy) -> None:
    value = _tree_value(copy)
    _values(copy, TREE, value[:16] + bytes(32) + value[48:])


@example("signature-roots-differ")
def _roots(copy: LedgerCopy) -> None:
    # Alone, the last chunk says nothing of the root but what stands in it.
    for path in copy.chunks[:-1]:
        path.unlink()
    _values(copy, SIGNATURES, json_bytes({**_raw(copy), "root": "ab" * 32}))


@example("leaf-differs")
def _altered_in_a_suffix(copy: LedgerCopy) -> None:
    for path in copy.chunks[:-1]:
        path.unlink()
    copy.flip(copy.open_chunk, copy.entries(copy.open_chunk)[0].offset + 8)


@example("signature-txid")
def _other_txid(copy: LedgerCopy) -> None:
    _values(copy, SIGNATURES, json_bytes({**_raw(copy), "view": 9}))


@example("signature-missing")
def _no_signature(copy: LedgerCopy) -> None:
    entry = copy.last_signature.entry
    copy.replace(entry.seqno, reassemble(entry, public=encode_domain(entry, {TREE: entry.tables[TREE]})))


@example("signature-tx-extra-table")
def _extra_table(copy: LedgerCopy) -> None:
    _values(copy, "public:records", b"more")


@example("signature-tx-table-shape")
def _two_rows(copy: LedgerCopy) -> None:
    entry = copy.last_signature.entry
    entry.tables[TREE][b"\x01" * 8] = b""
    copy.replace(entry.seqno, reassemble(entry, public=encode_domain(entry, entry.tables)))


@example("signature-tx-claims")
def _claims(copy: LedgerCopy) -> None:
    _last(copy, lambda entry: reassemble(entry, public=encode_domain(entry, entry.tables, claims_digest=b"\x01" * 32)))


@example("signature-tx-private")
def _private(copy: LedgerCopy) -> None:
    _last(copy, lambda entry: reassemble(entry, private=b"ciphertext"))


# ---------------------------------------------------------------- order


@example("view-change-unsigned")
def _view_up(copy: LedgerCopy) -> None:
    path = copy.open_chunk
    entry = copy.entries(path)[1]
    copy.replace(entry.seqno, reassemble(entry, view=entry.view + 1))


@example("view-decreases")
def _view_down(copy: LedgerCopy) -> None:
    _last(copy, lambda entry: reassemble(entry, view=1))


@example("seqno-gap")
def _left_out(copy: LedgerCopy) -> None:
    path = copy.open_chunk
    copy.write(path, [copy.entries(path)[0].raw, copy.last_signature.entry.raw])


@example("seqno-repeated")
def _again(copy: LedgerCopy) -> None:
    path = copy.open_chunk
    entries = [entry.raw for entry in copy.entries(path)]
    copy.write(path, [entries[0], *entries])


@example("merkle-compact-size")
def _tree_size(copy: LedgerCopy) -> None:
    value = copy.last_signature.entry.tables[TREE][SINGLETON_KEY] or b""
    _values(copy, TREE, value + b"\x00")


@example("merkle-compact-empty")
def _tree_empty(copy: LedgerCopy) -> None:
    _values(copy, TREE, bytes(16))
