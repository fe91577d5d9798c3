"""Calls of the core that give its remaining error codes: CBOR, COSE, JSON, keys, trees, snapshots, writers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support import cbor, slow
from support.cbor import Pairs, Tagged
from tallystick import _native
from tallystick.demo.identities import SigningKey
from tallystick.identity.certificates import parse_public_key_pem
from tallystick.identity.opening import named_identities
from tallystick.identity.requests import parse_cose_request

ZERO = bytes(32)


@dataclass(frozen=True)
class NativeExample:
    """``call`` gets a directory and raises an error with ``code``.

    Attributes:
        mistake: it is the caller's own mistake, which Python callers get as ValueError or IndexError.
    """

    code: str
    call: Callable[[Path], object]

    @property
    def mistake(self) -> bool:
        return self.code in MISTAKES


MISTAKES = {
    "merkle-leaf-bytes",
    "merkle-index-out-of-range",
    "merkle-size-out-of-range",
    "entry-view-range",
    "ledger-secret-size",
}


def _sign1(*body: object) -> bytes:
    return cbor.encode(Tagged(18, list(body)))


def _snapshot(**changes: bytes) -> bytes:
    """A snapshot entry put together by hand, with one part of its public domain changed."""
    parts = {
        "type": b"\x01",
        "seqno": struct.pack("<QQ", 7, 0),
        "hash": struct.pack("<Q", 32) + ZERO,
        "views": struct.pack("<QQ", 8, 1),
        "maps": b"",
        **changes,
    }
    domain = b"".join(parts.values())
    body = bytes(16) + struct.pack("<QI", 7, 1 << 31) + struct.pack("<Q", len(domain)) + domain
    return b"\x01" + changes.get("flags", b"\x00") + len(body).to_bytes(6, "little") + body


def _map(name: bytes, *rows: tuple[bytes, bytes], pad: bytes = b"\x00") -> bytes:
    def padded(data: bytes) -> bytes:
        return struct.pack("<Q", len(data)) + data + pad * (-len(data) % 8)

    body = b"".join(padded(key) + padded(struct.pack("<q", 1) + value) for key, value in rows)
    return struct.pack("<Q", len(name)) + name + struct.pack("<Q", 1) + struct.pack("<Q", len(body)) + body


def _entry(seqno: int = 1) -> bytes:
    return slow.seal_entry(2, seqno, slow.encode_public_domain(seqno, {}), b"", ZERO)


def _written(directory: Path) -> _native.ChunkWriter:
    return _native.ChunkWriter(str(directory), 1)


def _wrong_secret(_: Path) -> object:
    return _native.open_private_domain(_native.Entry.parse(_entry()), b"\x01" * 32)


def _json(data: bytes) -> Callable[[Path], object]:
    return lambda _: _native.JsonReceipt.parse(data)


def _cbor(data: bytes) -> Callable[[Path], object]:
    return lambda _: _native.cbor_decode(data)


def _cose(data: bytes) -> Callable[[Path], object]:
    return lambda _: _native.CoseSign1.parse(data)


def _snapshot_file(data: bytes) -> Callable[[Path], object]:
    return lambda _: _native.SnapshotFile.parse(data)


def _tree(size: int) -> _native.MerkleTree:
    tree = _native.MerkleTree()
    tree.append_many(ZERO * (size - 1))
    return tree


NATIVE = [
    NativeExample(code, call)
    for code, call in {
        "cbor-truncated": _cbor(b"\x18"),
        "cbor-trailing-bytes": _cbor(b"\x00\x00"),
        "cbor-not-shortest": _cbor(b"\x18\x01"),
        "cbor-indefinite-length": _cbor(b"\x9f\xff"),
        "cbor-reserved": _cbor(b"\x1c"),
        "cbor-simple-value": _cbor(b"\xf9\x00\x00"),
        "cbor-not-utf8": _cbor(b"\x61\xff"),
        "cbor-key-type": _cbor(cbor.encode(Pairs([([1], 1)]))),
        "cbor-duplicate-key": _cbor(cbor.encode(Pairs([(1, 1), (1, 2)]))),
        "cbor-type": _cose(cbor.encode(7)),
        "cbor-too-deep": _cbor(b"\x81" * 1000 + b"\x00"),
        "cbor-too-many-items": _cbor(b"\x9a\x00\x10\x00\x00" + b"\x00" * (1 << 20)),
        "cose-tag": _cose(cbor.encode(Tagged(17, [b"", {}, b"", bytes(96)]))),
        "cose-array-length": _cose(_sign1(b"", {}, b"")),
        "cose-header-type": _cose(_sign1(cbor.encode([1]), {}, b"", bytes(96))),
        "cose-duplicate-label": _cose(_sign1(cbor.encode({1: -35}), {1: -35}, b"", bytes(96))),
        "cose-header-critical": lambda _: _native.CoseReceipt.parse(
            _sign1(cbor.encode({1: -35, 2: [99], 395: 2}), {396: {-1: [b""]}}, None, bytes(96))
        ),
        "cose-payload-missing": lambda _: _native.CoseSign1.parse(_sign1(b"", {}, None, bytes(96))).signed_bytes(),
        "cose-payload-twice": lambda _: _native.CoseSign1.parse(_sign1(b"", {}, b"", bytes(96))).signed_bytes(b"x"),
        "cose-signature-empty": _cose(_sign1(b"", {}, b"", b"")),
        "json-syntax": _json(b"{"),
        "json-type": _json(b"[]"),
        "json-duplicate-key": _json(b'{"a": 1, "a": 2}'),
        "json-trailing-bytes": _json(b"{} {}"),
        "json-not-utf8": _json(b'{"\xff": 1}'),
        "json-too-deep": _json(b'{"a": ' + b"[" * 1000 + b"]" * 1000 + b"}"),
        "key-not-canonical": lambda _: _native.PublicKey.from_spki(SigningKey("P-384").spki[-97:]),
        "key-malformed": lambda _: parse_public_key_pem("no key"),
        "request-malformed": lambda _: parse_cose_request("00" * 32, b"7"),
        "proposal-malformed": lambda _: named_identities(b"7"),
        "key-not-spki": lambda _: _native.PublicKey.from_spki(b"\x30\x00"),
        "merkle-compact-size": lambda _: _native.MerkleTree.from_compact(bytes(15)),
        "merkle-compact-empty": lambda _: _native.MerkleTree.from_compact(bytes(16)),
        "merkle-tree-size-limit": lambda _: _native.MerkleTree.from_compact(
            struct.pack(">QQ", 1, 1 << 63) + ZERO + ZERO
        ),
        "merkle-leaf-bytes": lambda _: _tree(1).append_many(b"short"),
        "merkle-index-out-of-range": lambda _: _tree(3).leaf(3),
        "merkle-size-out-of-range": lambda _: _tree(3).root_at(4),
        "entry-trailing-bytes": lambda _: _native.Entry.parse(_entry() + b"\x00"),
        "entry-view-range": lambda _: _native.seal_entry(1 << 31, 1, slow.encode_public_domain(1, {}), b"", ZERO),
        "entry-gcm-tag": _wrong_secret,
        "ledger-secret-size": lambda _: _native.seal_entry(2, 1, slow.encode_public_domain(1, {}), b"", b"short"),
        "chunk-writer-empty": lambda directory: _written(directory).complete(),
        "chunk-writer-seqno": lambda directory: _written(directory).append(_entry(5)),
        "snapshot-entry-type": _snapshot_file(_entry()),
        "snapshot-flags": _snapshot_file(_snapshot(flags=b"\x01")),
        "snapshot-hash-size": _snapshot_file(_snapshot(hash=struct.pack("<Q", 31) + bytes(31))),
        "snapshot-view-history-size": _snapshot_file(_snapshot(views=struct.pack("<Q", 7) + bytes(7))),
        "snapshot-map-encoding": _snapshot_file(_snapshot(maps=_map(b"public:\xff"))),
        "snapshot-map-prefix": _snapshot_file(_snapshot(maps=_map(b"records"))),
        "snapshot-map-order": _snapshot_file(_snapshot(maps=_map(b"public:b") + _map(b"public:a"))),
        # SipHash puts 8 zero bytes (0xa6b9ff73) after "42" (0x97e33cf9) by their low 32 bits.
        "snapshot-key-order": _snapshot_file(_snapshot(maps=_map(b"public:a", (bytes(8), b""), (b"42", b"")))),
        "snapshot-padding": _snapshot_file(_snapshot(maps=_map(b"public:a", (b"42", b""), pad=b"\x01"))),
        "snapshot-truncated": _snapshot_file(_snapshot(hash=b"", views=b"")),
    }.items()
]
