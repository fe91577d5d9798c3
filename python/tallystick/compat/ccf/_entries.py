"""Transactions and their parts, under the official names."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, Flag
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tallystick import _native
from tallystick.compat.ccf._errors import as_value_error
from tallystick.compat.ccf.tx_id import TxID

__all__ = [
    "ENTRY_FORMAT_V1",
    "GCM_SIZE_IV",
    "GCM_SIZE_TAG",
    "LEDGER_DOMAIN_SIZE",
    "MIN_ENTRY_SIZE",
    "Entry",
    "EntryType",
    "GcmHeader",
    "PublicDomain",
    "SimpleBuffer",
    "Transaction",
    "TransactionFlags",
    "TransactionHeader",
]

GCM_SIZE_TAG = 16
GCM_SIZE_IV = 12
LEDGER_DOMAIN_SIZE = 8
ENTRY_FORMAT_V1 = 1
MIN_ENTRY_SIZE = GCM_SIZE_TAG + GCM_SIZE_IV + LEDGER_DOMAIN_SIZE

_HEADER_BYTES = 8
_IV = struct.Struct("<QI")
_VIEW_MASK = 0x7FFF_FFFF
_SNAPSHOT_BIT = 0x8000_0000
_VERSION = struct.Struct("<Q")

_Self = TypeVar("_Self", bound="Entry")

Tables = dict[str, dict[bytes, bytes | None]]


class EntryType(Enum):
    """What an entry is, and what it carries beside its writes."""

    WRITE_SET = 0
    SNAPSHOT = 1
    WRITE_SET_WITH_CLAIMS = 2
    WRITE_SET_WITH_COMMIT_EVIDENCE = 3
    WRITE_SET_WITH_COMMIT_EVIDENCE_AND_CLAIMS = 4

    def has_claims(self) -> bool:
        """Whether it carries a claims digest."""
        return self.value in (2, 4)

    def has_commit_evidence(self) -> bool:
        """Whether it carries a commit evidence digest."""
        return self.value in (3, 4)

    def is_deprecated(self) -> bool:
        """Whether current versions no longer write it."""
        return self.value in (0, 2, 3)


class TransactionFlags(Flag):
    """Where a chunk ends, by the word of a transaction."""

    FORCE_CHUNK_AFTER = 1
    FORCE_CHUNK_BEFORE = 2


class SimpleBuffer:
    """Bytes with a position."""

    def __init__(self, name: str, buffer: bytes, at_loc: int = 0) -> None:
        self.name = name
        self._buffer = buffer
        self._at = min(at_loc, len(buffer))

    def __len__(self) -> int:
        return len(self._buffer)

    def tell(self) -> int:
        """The position."""
        return self._at

    def seek(self, loc: int) -> int:
        """Moves the position, to the end at most; returns it."""
        self._at = min(loc, len(self._buffer))
        return self._at

    def read(self, size: int | None = None) -> bytes:
        """The next ``size`` bytes, all by default, fewer at the end."""
        end = len(self._buffer) if size is None else min(self._at + size, len(self._buffer))
        data = self._buffer[self._at : end]
        self._at = end
        return data

    def clone(self, at_loc: int = 0) -> SimpleBuffer:
        """The same bytes, at another position."""
        return SimpleBuffer(self.name, self._buffer, at_loc)

    @staticmethod
    def from_file(filename: str) -> SimpleBuffer:
        """The bytes of a file."""
        return SimpleBuffer(filename, Path(filename).read_bytes())


class GcmHeader:
    """Tag and IV of an entry: 28 bytes.

    Attributes:
        view, seqno: as in the IV.
    """

    view: int
    seqno: int

    def __init__(self, buffer: bytes) -> None:
        if len(buffer) < GcmHeader.size():
            raise ValueError(f"GCM header: expected {GcmHeader.size()} bytes, got {len(buffer)}")
        self.seqno, view = _IV.unpack_from(buffer, GCM_SIZE_TAG)
        self.view = view & _VIEW_MASK

    @staticmethod
    def size() -> int:
        """Bytes."""
        return GCM_SIZE_TAG + GCM_SIZE_IV


@dataclass(init=False)
class TransactionHeader:
    """The first eight bytes of an entry.

    Attributes:
        version: of the format, 1.
        flags: see :class:`TransactionFlags`.
        size: bytes that follow.
    """

    version: int
    flags: int
    size: int

    def __init__(self, buffer: bytes) -> None:
        if len(buffer) != TransactionHeader.get_size():
            raise ValueError(f"transaction header: expected {TransactionHeader.get_size()} bytes, got {len(buffer)}")
        self.version, self.flags = buffer[0], buffer[1]
        self.size = int.from_bytes(buffer[2:], "little")

    @staticmethod
    def get_size() -> int:
        """Bytes."""
        return _HEADER_BYTES


class PublicDomain:
    """The public part of a transaction or snapshot.

    Args:
        buffer: exactly the serialised public domain.

    Raises:
        ValueError: it is anything else.
    """

    def __init__(self, buffer: bytes) -> None:
        self._entry_type = EntryType(buffer[0]) if buffer else None
        if self._entry_type is None:
            raise ValueError("public domain: expected an entry type, got nothing")
        entry = _enclose(buffer, self._entry_type is EntryType.SNAPSHOT)
        with as_value_error():
            if self._entry_type is EntryType.SNAPSHOT:
                self._take_snapshot(_native.SnapshotFile.parse(entry))
            else:
                self._take_entry(_native.Entry.parse(entry))

    @classmethod
    def _of(cls, entry: _native.Entry) -> PublicDomain:
        domain = cls.__new__(cls)
        domain._entry_type = EntryType(entry.entry_type)
        with as_value_error():
            domain._take_entry(entry)
        return domain

    @classmethod
    def _of_snapshot(cls, snapshot: _native.SnapshotFile) -> PublicDomain:
        domain = cls.__new__(cls)
        domain._entry_type = EntryType.SNAPSHOT
        with as_value_error():
            domain._take_snapshot(snapshot)
        return domain

    def _take_entry(self, entry: _native.Entry) -> None:
        self._tables: Tables = entry.tables()
        self._version = entry.seqno
        self._claims_digest, self._commit_evidence_digest = entry.claims_digest, entry.commit_evidence_digest

    def _take_snapshot(self, snapshot: _native.SnapshotFile) -> None:
        self._tables = {
            name: {key: value for key, (_, value) in snapshot.table(name).items()} for name in snapshot.table_names()
        }
        self._version = snapshot.seqno
        self._claims_digest = self._commit_evidence_digest = None

    def get_tables(self) -> Tables:
        """Public writes by table and key; None marks a remove."""
        return self._tables

    def get_seqno(self) -> int:
        """Seqno of the transaction."""
        return self._version

    def get_claims_digest(self) -> bytes | None:
        """32 bytes; None in versions that had none."""
        return self._claims_digest

    def get_commit_evidence_digest(self) -> bytes | None:
        """32 bytes; None in versions that had none."""
        return self._commit_evidence_digest

    def is_deprecated(self) -> bool:
        """Whether current versions no longer write entries of this type."""
        return self._entry_type is not None and self._entry_type.is_deprecated()

    def get_version_size(self) -> int:
        """Bytes of a version."""
        return _VERSION.size


def _enclose(domain: bytes, snapshot: bool) -> bytes:
    """An entry around a public domain that came alone: what the engine parses."""
    seqno = int.from_bytes(domain[1:9], "little")
    view = _SNAPSHOT_BIT if snapshot else 0
    body = bytes(GCM_SIZE_TAG) + _IV.pack(seqno, view) + _VERSION.pack(len(domain)) + domain
    return bytes([ENTRY_FORMAT_V1, 0]) + len(body).to_bytes(6, "little") + body


class Entry:
    """What transactions and snapshots have in common."""

    gcm_header: GcmHeader

    def __init__(self, *_: Any) -> None:
        raise TypeError("Entry is not instantiable")

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return

    def get_txid(self) -> TxID:
        """View and seqno."""
        return TxID(self.gcm_header.view, self.gcm_header.seqno)

    def get_public_domain(self) -> PublicDomain:
        """The public part; empty, but there, when all writes are private."""
        raise NotImplementedError

    def get_private_domain_size(self) -> int:
        """Bytes of the encrypted part."""
        raise NotImplementedError

    def get_transaction_header(self) -> TransactionHeader:
        """Its first eight bytes."""
        raise NotImplementedError


class Transaction(Entry):
    """One transaction.

    Args:
        file: bytes, positioned at its start.

    Raises:
        ValueError: no whole, well-formed transaction stands there.
    """

    def __init__(self, file: SimpleBuffer) -> None:
        offset = file.tell()
        header = TransactionHeader(file.read(_HEADER_BYTES))
        if header.size < MIN_ENTRY_SIZE:
            raise ValueError(
                f"entry at offset {offset}: size {header.size} is smaller than the minimum entry size {MIN_ENTRY_SIZE}"
            )
        if header.size > len(file) - file.tell():
            raise ValueError(
                f"entry at offset {offset}: expected {header.size} bytes, only {len(file) - file.tell()} bytes are "
                "available"
            )
        file.seek(offset)
        with as_value_error():
            self._take(_native.Entry.parse(file.read(_HEADER_BYTES + header.size)), file.name, offset)

    @classmethod
    def _of(cls, entry: _native.Entry, file: str) -> Transaction:
        transaction = cls.__new__(cls)
        transaction._take(entry, file, entry.offset)
        return transaction

    def _take(self, entry: _native.Entry, file: str, offset: int) -> None:
        self._entry, self._file_name, self._offset = entry, file, offset
        self._domain: PublicDomain | None = None
        self.gcm_header = GcmHeader.__new__(GcmHeader)
        self.gcm_header.view, self.gcm_header.seqno = entry.view, entry.seqno

    def get_public_domain(self) -> PublicDomain:
        """The public part; empty, but there, when all writes are private."""
        if self._domain is None:
            self._domain = PublicDomain._of(self._entry)
        return self._domain

    def get_private_domain_size(self) -> int:
        """Bytes of the encrypted part."""
        return len(self._entry.private_domain)

    def get_transaction_header(self) -> TransactionHeader:
        """Its first eight bytes."""
        return TransactionHeader(self._entry.raw[:_HEADER_BYTES])

    def get_raw_tx(self) -> bytes:
        """All its bytes, header included."""
        return self._entry.raw

    def get_len(self) -> int:
        """Bytes, header included."""
        return self._entry.size

    def get_offsets(self) -> tuple[int, int]:
        """Where it begins in its file, and its bytes."""
        return self._offset, self._entry.size

    def get_write_set_digest(self) -> bytes:
        """SHA-256 of all its bytes."""
        return self._entry.write_set_digest

    def get_tx_digest(self) -> bytes:
        """Its leaf in the Merkle tree."""
        return self._entry.leaf
