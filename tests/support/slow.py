"""A slow, obvious Python twin of what the Rust core does: entries, chunks, the Merkle tree, AES-GCM.

It is written from the format alone and shares nothing with the core, so that agreement of the two means
something. It only does what tests compare; it checks little.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ZERO = bytes(32)
Tables = dict[str, dict[bytes, bytes | None]]


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


# ------------------------------------------------------------------ entries


def _blob(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def encode_tables(tables: Tables) -> bytes:
    out = []
    for name in sorted(tables, key=str.encode):
        rows = tables[name]
        writes = sorted(key for key, value in rows.items() if value is not None)
        removes = sorted(key for key, value in rows.items() if value is None)
        out.append(_blob(name.encode()) + struct.pack("<QQQ", 0, 0, len(writes)))
        for key in writes:
            value = rows[key]
            out.append(_blob(key) + _blob(value if value is not None else b""))
        out.append(struct.pack("<Q", len(removes)) + b"".join(_blob(key) for key in removes))
    return b"".join(out)


def encode_public_domain(
    seqno: int,
    tables: Tables,
    *,
    entry_type: int = 4,
    claims_digest: bytes = ZERO,
    commit_evidence_digest: bytes = ZERO,
    max_conflict_version: int = 0,
) -> bytes:
    head = struct.pack("<BQ", entry_type, seqno)
    head += claims_digest if entry_type in (2, 4) else b""
    head += commit_evidence_digest if entry_type in (3, 4) else b""
    return head + struct.pack("<Q", max_conflict_version) + encode_tables(tables)


def assemble_entry(
    view: int,
    seqno: int,
    public_domain: bytes,
    ciphertext: bytes,
    tag: bytes,
    *,
    flags: int = 0,
    version: int = 1,
) -> bytes:
    body = tag + struct.pack("<QI", seqno, view) + struct.pack("<Q", len(public_domain)) + public_domain + ciphertext
    return bytes([version, flags]) + len(body).to_bytes(6, "little") + body


def seal_entry(
    view: int, seqno: int, public_domain: bytes, plaintext: bytes, secret: bytes, *, flags: int = 0
) -> bytes:
    sealed = AESGCM(secret).encrypt(struct.pack("<QI", seqno, view), plaintext, public_domain)
    return assemble_entry(view, seqno, public_domain, sealed[:-16], sealed[-16:], flags=flags)


def commit_evidence(secret: bytes, view: int, seqno: int) -> str:
    commit_secret = hmac.digest(secret, b"Commit S", "sha256")
    return f"ce:{view}.{seqno}:{hmac.digest(commit_secret, f'{view}.{seqno}'.encode(), 'sha256').hex()}"


@dataclass(frozen=True)
class SlowEntry:
    raw: bytes
    offset: int
    flags: int
    view: int
    seqno: int
    entry_type: int
    claims_digest: bytes | None
    commit_evidence_digest: bytes | None
    max_conflict_version: int
    public_domain: bytes
    private_domain: bytes
    tables: Tables

    @property
    def leaf(self) -> bytes:
        parts = [part for part in (self.commit_evidence_digest, self.claims_digest) if part is not None]
        digest = sha256(self.raw)
        return sha256(b"".join([digest, *parts])) if parts else digest


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        part = self.data[self.at : self.at + count]
        if len(part) != count:
            raise ValueError("short")
        self.at += count
        return part

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def blob(self) -> bytes:
        return self.take(self.u64())


def decode_tables(cursor: _Cursor) -> Tables:
    tables: Tables = {}
    while cursor.at < len(cursor.data):
        name = cursor.blob().decode()
        cursor.u64()
        for _ in range(cursor.u64()):
            cursor.blob(), cursor.u64()
        rows: dict[bytes, bytes | None] = {}
        for _ in range(cursor.u64()):
            key = cursor.blob()
            rows[key] = cursor.blob()
        for _ in range(cursor.u64()):
            rows[cursor.blob()] = None
        tables[name] = rows
    return tables


def decode_entry(raw: bytes, offset: int = 0) -> SlowEntry:
    seqno, view = struct.unpack_from("<QI", raw, 24)
    (size,) = struct.unpack_from("<Q", raw, 36)
    public = raw[44 : 44 + size]
    cursor = _Cursor(public)
    entry_type = cursor.take(1)[0]
    cursor.u64()
    claims = cursor.take(32) if entry_type in (2, 4) else None
    evidence = cursor.take(32) if entry_type in (3, 4) else None
    conflict = cursor.u64()
    tables = decode_tables(cursor) if entry_type != 1 else {}
    return SlowEntry(
        raw,
        offset,
        raw[1],
        view,
        seqno,
        entry_type,
        claims,
        evidence,
        conflict,
        public,
        raw[44 + size :],
        tables,
    )


# ------------------------------------------------------------------ chunks


def first_seqno(path: Path) -> int:
    return int(path.name.split("_", 1)[1].split("-")[0].split(".")[0])


def chunk_paths(directory: Path) -> list[Path]:
    """The chunks of a directory in ledger order, `.recovery`, `.ignored` and downloads left out."""
    paths = [p for p in directory.glob("ledger_*") if not p.name.endswith((".recovery", ".ignored", "_prefix"))]
    return sorted((p for p in paths if p.stat().st_size), key=first_seqno)


def read_chunk(path: Path) -> Iterator[SlowEntry]:
    data = path.read_bytes()
    end = int.from_bytes(data[:8], "little") or len(data)
    at = 8
    while at < end:
        size = 8 + int.from_bytes(data[at + 2 : at + 8], "little")
        yield decode_entry(data[at : at + size], at)
        at += size


def read_ledger(directory: Path) -> Iterator[SlowEntry]:
    for path in chunk_paths(directory):
        yield from read_chunk(path)


def encode_chunk(entries: list[bytes], *, complete: bool) -> bytes:
    positions, at = [], 8
    for entry in entries:
        positions.append(at)
        at += len(entry)
    body = b"".join(entries)
    if not complete:
        return bytes(8) + body
    return struct.pack("<Q", at) + body + struct.pack(f"<{len(positions)}I", *positions)


# ------------------------------------------------------------------ Merkle tree


class SlowTree:
    """All leaves, level by level, every time."""

    def __init__(self) -> None:
        self.leaves = [ZERO]

    def append(self, leaf: bytes) -> None:
        self.leaves.append(leaf)

    def _levels(self, size: int) -> list[list[bytes]]:
        levels = [self.leaves[:size]]
        while len(levels[-1]) > 1:
            row = levels[-1]
            pairs = [sha256(row[i] + row[i + 1]) for i in range(0, len(row) - 1, 2)]
            levels.append(pairs + row[len(pairs) * 2 :])
        return levels

    def root_at(self, size: int) -> bytes:
        return self._levels(size)[-1][0]

    def path(self, index: int, size: int) -> list[tuple[bool, bytes]]:
        steps = []
        for row in self._levels(size)[:-1]:
            if index % 2:
                steps.append((True, row[index - 1]))
            elif index + 1 < len(row):
                steps.append((False, row[index + 1]))
            index //= 2
        return steps

    def to_compact(self, first_kept: int) -> bytes:
        """The value of the tree table when leaves before ``first_kept`` have been flushed."""
        size = len(self.leaves)
        flushed, at = [], 0
        for bit in reversed(range(first_kept.bit_length())):
            if first_kept >> bit & 1:
                row = self.leaves[at : at + (1 << bit)]
                at += 1 << bit
                while len(row) > 1:
                    row = [sha256(row[i] + row[i + 1]) for i in range(0, len(row), 2)]
                flushed.append(row[0])
        kept = self.leaves[first_kept:]
        return struct.pack(">QQ", size - first_kept, first_kept) + b"".join(kept) + b"".join(reversed(flushed))
