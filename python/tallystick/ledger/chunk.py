"""One chunk file: a run of transactions, with random access through its offset table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import overload

from tallystick.errors import FormatError, LimitExceededError
from tallystick.ledger.directory import ChunkName, parse_chunk_name
from tallystick.ledger.source import open_chunk
from tallystick.ledger.transaction import Transaction

__all__ = ["Chunk"]


class Chunk:
    """A chunk file.

    A sequence of its transactions: ``len``, iteration in order, ``chunk[0]``, ``chunk[-1]``, slices. Nothing
    is verified, and transactions are given by their position in the file, whatever seqnos they claim: this is
    the class for looking into damaged files. To read a ledger, use :class:`tallystick.Ledger`; to know what
    is proven, :func:`tallystick.verify_ledger`.

    Args:
        path: a chunk file, or a URL of one.

    Raises:
        FormatError: it is not framed as a chunk (code, file, offset).
        OSError: it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._file = open_chunk(self.path)

    @property
    def name(self) -> ChunkName | None:
        """What its file name says; None when it is not named as a chunk."""
        return parse_chunk_name(Path(self.path).name)

    @property
    def is_complete(self) -> bool:
        """Whether it ends with an offset table."""
        return self._file.complete

    @property
    def is_committed(self) -> bool:
        """Whether its node named it ``.committed``: a local marker, which proves nothing."""
        name = self.name
        return name is not None and name.committed

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._file.size

    @property
    def first_seqno(self) -> int | None:
        """Seqno of its first transaction; None when it holds none."""
        return self._file.first_seqno

    @property
    def last_seqno(self) -> int | None:
        """Seqno of its last transaction, if they are consecutive; None when it holds none."""
        first = self._file.first_seqno
        return None if first is None else first + len(self) - 1

    @property
    def partial_tail(self) -> tuple[int, int] | None:
        """(offset, bytes) of a half-written last transaction, as a crash leaves it; None if there is none."""
        return self._file.partial_tail

    def __len__(self) -> int:
        return self._file.entry_count

    def __iter__(self) -> Iterator[Transaction]:
        return self.read()

    def read(self, start: int = 0, count: int | None = None) -> Iterator[Transaction]:
        """Transactions by position, read ahead in blocks.

        Raises:
            FormatError: one is malformed; raised when it is reached.
        """
        path = self.path
        try:
            for entry in self._file.entries(start, count):
                yield Transaction(entry, path)
        except (FormatError, LimitExceededError) as error:
            raise error.at(file=path) from None

    @overload
    def __getitem__(self, position: int) -> Transaction: ...

    @overload
    def __getitem__(self, position: slice) -> list[Transaction]: ...

    def __getitem__(self, position: int | slice) -> Transaction | list[Transaction]:
        if isinstance(position, slice):
            start, stop, step = position.indices(len(self))
            if step == 1:
                return list(self.read(start, max(0, stop - start)))
            return [self[index] for index in range(start, stop, step)]
        index = position + len(self) if position < 0 else position
        if not 0 <= index < len(self):
            raise IndexError(f"position {position}: the chunk holds {len(self)} transactions")
        try:
            return Transaction(self._file.entry(index), self.path)
        except (FormatError, LimitExceededError) as error:
            raise error.at(file=self.path) from None

    def __repr__(self) -> str:
        return f"<Chunk {self.path!r}, {len(self)} transactions from {self.first_seqno}>"
