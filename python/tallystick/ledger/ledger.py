"""A ledger: the transactions of several chunk files, in order, each once."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from tallystick.errors import FormatError, UsageError
from tallystick.ledger.chunk import Chunk
from tallystick.ledger.directory import CoverPart, FileFinding, LedgerFiles, find_ledger_files
from tallystick.ledger.transaction import Transaction

__all__ = ["Ledger"]

# Chunk files kept open for random access. Queries run near one another, and descriptors are few.
_OPEN_CHUNKS = 16

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class Ledger:
    """The transactions of a ledger, read in order across its chunk files.

    Directories and files may overlap (a node's main and read-only directories share chunks): each seqno is
    read once, complete chunks before open ones; what was found about the files is in :attr:`findings`.

    Nothing is verified here: not signatures, not the Merkle tree, not who signed. To know what is proven,
    call :func:`tallystick.verify_ledger` with a trust anchor.

    Memory does not grow with the ledger: chunks are opened one by one and read in blocks.

    Args:
        paths: one or several directories (not descended into) and chunk files, here or at URLs.
        uncommitted: read chunks that are not marked ``.committed`` too.
        recovery: read ``.recovery`` files too.
        allow_gaps: read across missing seqnos instead of raising when they are reached.

    Raises:
        UsageError: a path is not there, or is neither a directory nor a file.
        OSError: a directory or file cannot be read.

    Example::

        ledger = Ledger("0.ledger", uncommitted=True)
        for transaction in ledger:
            print(transaction.txid, transaction.table_names)
    """

    def __init__(
        self,
        paths: Paths,
        *,
        uncommitted: bool = False,
        recovery: bool = False,
        allow_gaps: bool = False,
    ) -> None:
        given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        self._files = find_ledger_files(given, uncommitted=uncommitted, recovery=recovery)
        self._allow_gaps = allow_gaps
        self._open: OrderedDict[str, Chunk] = OrderedDict()

    # ------------------------------------------------------------------------------------- what there is

    @property
    def files(self) -> LedgerFiles:
        """Which files are read, for which seqnos, and which are not, and why."""
        return self._files

    @property
    def findings(self) -> Sequence[FileFinding]:
        """What was found about the files: names not understood, gaps, copies that differ."""
        return self._files.findings

    @property
    def first_seqno(self) -> int | None:
        """Seqno of the first transaction; None when there is none."""
        return self._files.parts[0].first if self._files.parts else None

    @property
    def last_seqno(self) -> int | None:
        """Seqno of the last transaction; None when there is none."""
        return self._last_of(self._files.parts[-1]) if self._files.parts else None

    def _last_of(self, part: CoverPart) -> int:
        if part.last is not None:
            return part.last
        last = self._chunk(part.file.path).last_seqno
        return part.first if last is None else last

    def __len__(self) -> int:
        """Number of transactions."""
        return sum(self._last_of(part) - part.first + 1 for part in self._files.parts)

    def chunks(self) -> Iterator[Chunk]:
        """The chunk files that are read, in order of their first seqno."""
        for part in self._files.parts:
            yield Chunk(part.file.path)

    # ------------------------------------------------------------------------------------------- reading

    def __iter__(self) -> Iterator[Transaction]:
        return self.transactions()

    def transactions(self, first: int | None = None, last: int | None = None) -> Iterator[Transaction]:
        """Transactions with seqnos ``first`` to ``last``, both included; all by default.

        Raises:
            FormatError: one is malformed, has another seqno than its place in the file says
                (``seqno-unexpected``), or seqnos are missing (``chunk-gap``); raised when it is reached.
        """
        expected: int | None = None
        for part in self._files.parts:
            begin = part.first if first is None else max(part.first, first)
            end = part.last if last is None else last if part.last is None else min(part.last, last)
            if end is not None and begin > end:
                continue
            if expected is not None and part.first > expected and not self._allow_gaps:
                raise FormatError(
                    f"seqnos {expected} to {part.first - 1} are missing", code="chunk-gap", file=part.file.path
                )
            seqno = begin
            for transaction in self._read_part(part, begin, end):
                yield transaction
                seqno = transaction.seqno + 1
            expected = seqno

    def _read_part(self, part: CoverPart, begin: int, end: int | None) -> Iterator[Transaction]:
        chunk = Chunk(part.file.path)
        if chunk.first_seqno is None:
            return
        start = begin - chunk.first_seqno
        if start < 0 or (part.last is not None and part.last > (chunk.last_seqno or 0)):
            raise FormatError(
                f"content does not fit the name: expected seqnos {part.first} to {part.last or 'the end'}, "
                f"got {chunk.first_seqno} to {chunk.last_seqno}",
                code="chunk-name",
                file=chunk.path,
            )
        count = None if end is None else end - begin + 1
        for expected, transaction in enumerate(chunk.read(start, count), begin):
            _check_seqno(transaction, expected)
            yield transaction

    def get_transaction(self, seqno: int) -> Transaction:
        """The transaction with that seqno, through the offset table of its chunk where there is one.

        Raises:
            UsageError: the ledger does not hold it.
            FormatError: it is malformed, or another one is in its place.
        """
        for part in self._files.parts:
            if part.first <= seqno <= self._last_of(part):
                chunk = self._chunk(part.file.path)
                position = seqno - (chunk.first_seqno or part.first)
                if not 0 <= position < len(chunk):
                    break
                transaction = chunk[position]
                _check_seqno(transaction, seqno)
                return transaction
        raise UsageError(f"no transaction with seqno {seqno}: {self._describe()}", code="transaction-missing")

    def __getitem__(self, seqno: int) -> Transaction:
        """As :meth:`get_transaction`; seqnos begin at 1."""
        return self.get_transaction(seqno)

    def _describe(self) -> str:
        if self.first_seqno is None:
            return "the ledger is empty"
        return f"the ledger holds seqnos {self.first_seqno} to {self.last_seqno}"

    def _chunk(self, path: str) -> Chunk:
        chunk = self._open.pop(path, None)
        if chunk is None:
            chunk = Chunk(path)
            if len(self._open) >= _OPEN_CHUNKS:
                self._open.popitem(last=False)
        self._open[path] = chunk
        return chunk

    def __repr__(self) -> str:
        return f"<Ledger of {len(self._files.parts)} chunks, {self._describe()}>"


def _check_seqno(transaction: Transaction, expected: int) -> None:
    if transaction.seqno != expected:
        raise FormatError(
            f"seqno: expected {expected}, got {transaction.seqno}",
            code="seqno-unexpected",
            file=transaction.file,
            offset=transaction.offset,
            txid=str(transaction.txid),
        )
