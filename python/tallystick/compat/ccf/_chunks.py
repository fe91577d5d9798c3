"""Chunk files and ledgers of them, under the official names."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import overload

from tallystick import _native
from tallystick.compat.ccf._entries import Transaction
from tallystick.compat.ccf._errors import as_value_error
from tallystick.errors import FormatError, LimitExceededError
from tallystick.ledger.directory import parse_chunk_name

__all__ = [
    "COMMITTED_FILE_SUFFIX",
    "COMMITTED_PREFIX_FILE_SUFFIX",
    "IGNORED_FILE_SUFFIX",
    "LEDGER_HEADER_SIZE",
    "RECOVERY_FILE_SUFFIX",
    "CommitIdRangeException",
    "Ledger",
    "LedgerChunk",
    "UnknownTransaction",
    "VerificationLevel",
    "get_range_from_file",
    "is_ledger_chunk_committed",
    "range_from_filename",
]

LEDGER_HEADER_SIZE = 8
COMMITTED_FILE_SUFFIX = ".committed"
COMMITTED_PREFIX_FILE_SUFFIX = ".committed_prefix"
RECOVERY_FILE_SUFFIX = ".recovery"
IGNORED_FILE_SUFFIX = ".ignored"


class CommitIdRangeException(Exception):  # noqa: N818 -- the official name
    """A chunk is missing in a ledger directory."""


class UnknownTransaction(Exception):  # noqa: N818 -- the official name
    """The ledger does not hold the transaction."""


class VerificationLevel(IntEnum):
    """How much is checked, each level including those before it."""

    NONE = 0
    OFFSETS = 1
    HEADERS = 2
    MERKLE = 3
    FULL = 4


def is_ledger_chunk_committed(file_name: str) -> bool:
    """Whether the name of a chunk says that all of it is committed."""
    return file_name.endswith(COMMITTED_FILE_SUFFIX)


def range_from_filename(filename: str) -> tuple[int, int | None]:
    """First and last seqno by the name of a chunk file; the last is None for an open chunk.

    Raises:
        ValueError: it is not the name of a chunk.
    """
    name = parse_chunk_name(Path(filename).name)
    if name is None or name.ignored or (name.committed_prefix and name.recovery):
        raise ValueError(f"not the name of a ledger chunk: {filename}")
    return name.first, name.last


def get_range_from_file(ledger_file_path: str) -> tuple[int, int | None]:
    """As :func:`range_from_filename`; the last seqno of a complete chunk without one in its name is counted.

    Raises:
        ValueError: it is not the name of a chunk.
    """
    first, last = range_from_filename(ledger_file_path)
    if last is not None:
        return first, last
    try:
        chunk = _native.ChunkFile.open(ledger_file_path)
    except (FormatError, LimitExceededError, OSError):
        # Whatever else an open chunk is, its end is not known: it may be in the making.
        return first, None
    return first, first + chunk.entry_count - 1 if chunk.complete and chunk.entry_count else None


class LedgerChunk:
    """One chunk file: a sequence of its transactions.

    Args:
        name: path; its last part must be the name of a chunk.
        verification_level: from ``OFFSETS`` on, the file is walked first.

    Raises:
        ValueError: it is not framed as a chunk, or its content is not what its name says.
        OSError: it cannot be read.
    """

    def __init__(self, name: str, verification_level: VerificationLevel = VerificationLevel.NONE) -> None:
        self._filename = os.fspath(name)
        self.start_seqno, self.end_seqno = range_from_filename(self._filename)
        try:
            self._chunk = _native.ChunkFile.open(self._filename)
        except (FormatError, LimitExceededError) as error:
            raise ValueError(str(error.at(file=self._filename))) from error
        self._torn = self._chunk.partial_tail
        if verification_level >= VerificationLevel.OFFSETS:
            self._check_layout()
        self._check_name()

    def _check_layout(self) -> None:
        from tallystick.compat.ccf._validation import check_layout

        if self._torn is not None:
            raise ValueError(self._torn_text())
        check_layout(self._filename, self._chunk.first_seqno)

    def _check_name(self) -> None:
        count, first = self._chunk.entry_count, self._chunk.first_seqno
        if self.end_seqno is not None and self.end_seqno - self.start_seqno + 1 != count:
            expected = self.end_seqno - self.start_seqno + 1
            raise ValueError(f"{self._filename}: expected {expected} transactions by its name, got {count}")
        if first is not None and first != self.start_seqno:
            raise ValueError(f"{self._filename}: expected seqno {self.start_seqno} first by its name, got {first}")

    def _torn_text(self) -> str:
        offset, size = self._torn or (0, 0)
        return f"{self._filename}: entry at offset {offset} extends beyond file size: only {size} bytes are available"

    def __len__(self) -> int:
        return self._chunk.entry_count + (self._torn is not None)

    def __iter__(self) -> Iterator[Transaction]:
        with as_value_error():
            for entry in self._chunk.entries():
                yield Transaction._of(entry, self._filename)
        if self._torn is not None:
            raise ValueError(self._torn_text())

    @overload
    def __getitem__(self, key: int) -> Transaction: ...

    @overload
    def __getitem__(self, key: slice) -> list[Transaction]: ...

    def __getitem__(self, key: int | slice) -> Transaction | list[Transaction]:
        if isinstance(key, slice):
            return [self[index] for index in range(*key.indices(len(self)))]
        if not isinstance(key, int):
            raise KeyError(f"unsupported type of index: {type(key)}")
        index = key + len(self) if key < 0 else key
        if not 0 <= index < len(self):
            raise IndexError(f"index {key}: the chunk holds {len(self)} transactions")
        if index == self._chunk.entry_count:
            raise ValueError(self._torn_text())
        with as_value_error():
            return Transaction._of(self._chunk.entry(index), self._filename)

    def filename(self) -> str:
        """The path as given."""
        return self._filename

    def is_committed(self) -> bool:
        """Whether its name says that all of it is committed."""
        return is_ledger_chunk_committed(self._filename)

    def is_complete(self) -> bool:
        """Whether it ends with an offset table."""
        return self._chunk.complete

    def get_seqnos(self) -> tuple[int, int | None]:
        """First and last seqno by its name; the last is None for an open chunk."""
        return self.start_seqno, self.end_seqno


class Ledger:
    """The chunks of a ledger, in order.

    Args:
        paths: directories and chunk files. A chunk that is there several times under the same name is read once;
            the copies must be equal.
        committed_only: leave out chunks that are not marked ``.committed``.
        read_recovery_files: read ``.recovery`` files too.
        verification_level: from ``OFFSETS`` on, each chunk is walked when it is opened.
        contiguous_suffix: take the last run of contiguous chunks, instead of refusing a ledger with gaps.

    Raises:
        ValueError: a path is not there, chunks are not contiguous, or two copies of one differ.
        OSError: a directory or file cannot be read.
    """

    def __init__(
        self,
        paths: list[str],
        committed_only: bool = True,
        read_recovery_files: bool = False,
        verification_level: VerificationLevel = VerificationLevel.NONE,
        contiguous_suffix: bool = False,
    ) -> None:
        self._verification_level = verification_level
        found = list(_chunk_files(paths, committed_only, read_recovery_files))
        ordered = sorted(_without_copies(found), key=lambda path: range_from_filename(path)[0])
        self._filenames = _contiguous(ordered, contiguous_suffix)

    @property
    def last_committed_chunk_range(self) -> tuple[int, int | None]:
        """Seqnos of the last chunk, by its name.

        Raises:
            IndexError: there is none.
        """
        return range_from_filename(self._filenames[-1])

    def __len__(self) -> int:
        return len(self._filenames)

    def __iter__(self) -> Iterator[LedgerChunk]:
        for filename in self._filenames:
            yield LedgerChunk(filename, self._verification_level)

    @overload
    def __getitem__(self, key: int) -> LedgerChunk: ...

    @overload
    def __getitem__(self, key: slice) -> list[LedgerChunk]: ...

    def __getitem__(self, key: int | slice) -> LedgerChunk | list[LedgerChunk]:
        if isinstance(key, int):
            return LedgerChunk(self._filenames[key], self._verification_level)
        if isinstance(key, slice):
            return [LedgerChunk(filename, self._verification_level) for filename in self._filenames[key]]
        raise KeyError(f"unsupported type of index: {type(key)}")

    def transactions(self) -> Iterator[Transaction]:
        """Every transaction, in order."""
        for chunk in self:
            yield from chunk

    def get_transaction(self, seqno: int) -> Transaction:
        """The transaction with that seqno; whether it is signed or committed is not looked at.

        Raises:
            ValueError: ``seqno`` is below 1, or the chunk is malformed.
            UnknownTransaction: the ledger does not hold it.
        """
        if seqno < 1:
            raise ValueError(f"seqno: expected 1 or more, got {seqno}")
        for filename in self._filenames:
            first, last = range_from_filename(filename)
            if first <= seqno and (last is None or seqno <= last):
                chunk = LedgerChunk(filename)
                if seqno - first < len(chunk):
                    return chunk[seqno - first]
        raise UnknownTransaction(f"the ledger holds no transaction with seqno {seqno}")

    def get_latest_public_state(self) -> tuple[dict[str, dict[bytes, bytes]], int]:
        """All public tables after the last transaction, and its seqno; nothing is verified.

        When a transaction cannot be read, a warning says so, and the state before it is returned: a node that recovers
        drops such an end, too.
        """
        state: dict[str, dict[bytes, bytes]] = {}
        latest = 0
        try:
            for chunk in self:
                for transaction in chunk:
                    domain = transaction.get_public_domain()
                    latest = domain.get_seqno()
                    for name, writes in domain.get_tables().items():
                        table = state.setdefault(name, {})
                        for key, value in writes.items():
                            if value is None:
                                table.pop(key, None)
                            else:
                                table[key] = value
        except (ValueError, OSError) as error:
            warnings.warn(f"state after seqno {latest} only: {error}", RuntimeWarning, stacklevel=2)
        return state, latest


def _chunk_files(paths: Iterable[str], committed_only: bool, read_recovery_files: bool) -> Iterator[str]:
    for given in paths:
        path = os.fspath(given)
        if Path(path).is_dir():
            for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
                if entry.is_file() and _is_wanted(entry.name, committed_only, read_recovery_files):
                    yield entry.path
        elif not Path(path).is_file():
            raise ValueError(f"{path} is not a ledger directory or ledger chunk")
        elif _is_wanted(Path(path).name, committed_only, read_recovery_files):
            yield path


def _is_wanted(name: str, committed_only: bool, read_recovery_files: bool) -> bool:
    if name.endswith(IGNORED_FILE_SUFFIX):
        return False
    if name.endswith(RECOVERY_FILE_SUFFIX):
        if not read_recovery_files:
            return False
        name = name.removesuffix(RECOVERY_FILE_SUFFIX)
    if name.endswith(COMMITTED_PREFIX_FILE_SUFFIX):
        return False
    return name.endswith(COMMITTED_FILE_SUFFIX) or not committed_only


def _without_copies(paths: Iterable[str]) -> list[str]:
    """Each name once.

    Raises:
        ValueError: two files of one name hold different transactions.
    """
    by_name: dict[str, str] = {}
    for path in paths:
        first = by_name.setdefault(Path(path).name, path)
        if first != path and not Path(first).samefile(path):
            try:
                difference = _native.first_difference(first, path)
            except (FormatError, LimitExceededError) as error:
                raise ValueError(str(error)) from error
            if difference is not None:
                raise ValueError(f"{path} differs from {first} at seqno {difference[0]}, offset {difference[2]}")
    return list(by_name.values())


def _contiguous(ordered: list[str], suffix_only: bool) -> list[str]:
    """The chunks, if each begins where the one before ends; else the last run of such, if that will do."""
    start = 0
    for index, (older, newer) in enumerate(pairwise(ordered), 1):
        last, first = range_from_filename(older)[1], range_from_filename(newer)[0]
        if last is not None and last + 1 == first:
            continue
        if not suffix_only:
            reason = "following open chunk" if last is None else "not contiguous with"
            raise ValueError(f"ledger cannot be read: chunk {newer} {reason} {older}")
        start = index
    return ordered[start:]
