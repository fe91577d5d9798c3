"""An index of a ledger in SQLite: where each transaction stands, and which transactions wrote which key.

Values stay in the ledger and are read from there. The index says nothing about truth; the verifier does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick.ledger.ledger import Ledger
from tallystick.ledger.transaction import Transaction

__all__ = ["Index", "KeyRow", "TransactionRow", "build_index"]

_SCHEMA = """
CREATE TABLE tables (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
CREATE TABLE transactions (
    seqno INTEGER PRIMARY KEY, view INTEGER NOT NULL, size INTEGER NOT NULL, kind INTEGER NOT NULL
);
CREATE TABLE writes (table_id INTEGER NOT NULL, key BLOB NOT NULL, seqno INTEGER NOT NULL, removed INTEGER NOT NULL);
"""
# Made after the rows: many times quicker than keeping them up to date.
_INDEXES = """
CREATE INDEX writes_by_key ON writes (table_id, key, seqno);
CREATE INDEX writes_by_seqno ON writes (seqno);
CREATE INDEX signatures ON transactions (seqno) WHERE kind = 1;
"""
_BLOCK = 8192

KIND_WRITES, KIND_SIGNATURE, KIND_PRIVATE = 0, 1, 2


@dataclass(frozen=True)
class TransactionRow:
    """A line of the transaction list.

    Attributes:
        kind: ``signature``, ``private`` (nothing public written) or ``writes``.
        tables: names of the public tables written.
    """

    seqno: int
    view: int
    size: int
    kind: str
    tables: tuple[str, ...]


@dataclass(frozen=True)
class KeyRow:
    """A key of a table, with the last transaction that wrote or removed it."""

    key: bytes
    seqno: int
    removed: bool
    writes: int


class Index:
    """Queries over an index, from any number of threads.

    A server answers each request in a thread of its own, so connections are kept for whoever comes next, and
    not for a thread that ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []

    def close(self) -> None:
        """Closes every connection; the file stays."""
        while self._idle:
            self._idle.pop().close()

    def _rows(self, query: str, values: Sequence[int | str | bytes] = ()) -> list[Any]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, check_same_thread=False)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            self._idle.append(connection)

    def transactions(
        self, *, before: int | None, table: str | None, kind: str | None, limit: int
    ) -> list[TransactionRow]:
        """Transactions with seqnos below ``before`` (None: from the end), newest first."""
        conditions, values = ["seqno < ?"], [before if before is not None else 1 << 62]
        if table is not None:
            conditions.append(
                "seqno IN (SELECT seqno FROM writes WHERE table_id = (SELECT id FROM tables WHERE name = ?))"
            )
            values.append(table)  # type: ignore[arg-type]  # SQLite takes either
        if kind in _KINDS.values():
            conditions.append("kind = ?")
            values.append(next(number for number, name in _KINDS.items() if name == kind))
        rows = self._rows(
            f"SELECT seqno, view, size, kind FROM transactions WHERE {' AND '.join(conditions)} "  # noqa: S608 -- fixed texts
            "ORDER BY seqno DESC LIMIT ?",
            [*values, limit],
        )
        return [
            TransactionRow(seqno, view, size, _KINDS[number], self.tables_of(seqno))
            for seqno, view, size, number in rows
        ]

    def tables_of(self, seqno: int) -> tuple[str, ...]:
        """Public tables that a transaction wrote."""
        rows = self._rows(
            "SELECT DISTINCT name FROM writes JOIN tables ON id = table_id WHERE seqno = ? ORDER BY name", [seqno]
        )
        return tuple(name for (name,) in rows)

    def tables(self) -> list[tuple[str, int]]:
        """Every public table, with how often it was written."""
        rows = self._rows("SELECT name, (SELECT count(*) FROM writes WHERE table_id = id) FROM tables ORDER BY name")
        return list(rows)

    def keys(self, table: str, *, after: bytes | None, limit: int) -> list[KeyRow]:
        """Keys of a table above ``after``, ascending."""
        rows = self._rows(
            "SELECT key, max(seqno), removed, count(*) FROM writes "
            "WHERE table_id = (SELECT id FROM tables WHERE name = ?) AND key > ? GROUP BY key ORDER BY key LIMIT ?",
            [table, after if after is not None else b"", limit],
        )
        # The empty key sorts first and is not above b"": ask for it on the first page.
        found = [KeyRow(key, seqno, bool(removed), count) for key, seqno, removed, count in rows]
        return ([*self._empty_key(table), *found] if after is None else found)[:limit]

    def _empty_key(self, table: str) -> list[KeyRow]:
        rows = self._rows(
            "SELECT key, max(seqno), removed, count(*) FROM writes "
            "WHERE table_id = (SELECT id FROM tables WHERE name = ?) AND key = x'' GROUP BY key",
            [table],
        )
        return [KeyRow(key, seqno, bool(removed), count) for key, seqno, removed, count in rows]

    def history(self, table: str, key: bytes, *, before: int | None, limit: int) -> list[tuple[int, bool]]:
        """(seqno, removed) of the transactions that wrote a key, newest first."""
        rows = self._rows(
            "SELECT seqno, removed FROM writes WHERE table_id = (SELECT id FROM tables WHERE name = ?) AND key = ? "
            "AND seqno < ? ORDER BY seqno DESC LIMIT ?",
            [table, key, before if before is not None else 1 << 62, limit],
        )
        return [(seqno, bool(removed)) for seqno, removed in rows]

    def covering_signature(self, seqno: int) -> int | None:
        """The first signature transaction after ``seqno``."""
        rows = self._rows("SELECT min(seqno) FROM transactions WHERE kind = 1 AND seqno > ?", [seqno])
        found: int | None = rows[0][0]
        return found

    def find_keys(self, text: bytes, limit: int) -> list[tuple[str, bytes]]:
        """Keys that begin with ``text``, in any table."""
        upper = text + b"\xff" * 8
        rows = self._rows(
            "SELECT DISTINCT name, key FROM tables JOIN writes ON table_id = id AND key >= ? AND key <= ? LIMIT ?",
            [text, upper, limit],
        )
        return list(rows)

    def counts(self) -> tuple[int, int]:
        """(transactions, signature transactions)."""
        transactions, signatures = self._rows("SELECT count(*), coalesce(sum(kind = 1), 0) FROM transactions")[0]
        return int(transactions), int(signatures)


_KINDS = {KIND_WRITES: "writes", KIND_SIGNATURE: "signature", KIND_PRIVATE: "private"}


def build_index(ledger: Ledger, path: Path, progress: Callable[[int], None] | None = None) -> Index:
    """Reads a ledger once and writes its index to the new file ``path``.

    Raises:
        FormatError: a transaction is malformed.
        OSError: a file cannot be read or written.
    """
    connection = sqlite3.connect(path)
    try:
        # The file is ours alone and can be made again: durability would only cost time.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_SCHEMA)
        names: dict[str, int] = {}
        for block in _blocks(ledger):
            connection.executemany("INSERT INTO transactions VALUES (?, ?, ?, ?)", [_row(item) for item in block])
            connection.executemany("INSERT INTO writes VALUES (?, ?, ?, ?)", list(_writes(block, names)))
            if progress is not None:
                progress(block[-1].seqno)
        connection.executemany("INSERT INTO tables VALUES (?, ?)", [(number, name) for name, number in names.items()])
        connection.executescript(_INDEXES)
        connection.execute("ANALYZE")
        connection.commit()
    finally:
        connection.close()
    return Index(path)


def _blocks(ledger: Ledger) -> Iterator[list[Transaction]]:
    block: list[Transaction] = []
    for transaction in ledger:
        block.append(transaction)
        if len(block) >= _BLOCK:
            yield block
            block = []
    if block:
        yield block


def _row(transaction: Transaction) -> tuple[int, int, int, int]:
    if transaction.is_signature:
        kind = KIND_SIGNATURE
    else:
        kind = KIND_WRITES if transaction.table_names else KIND_PRIVATE
    return transaction.seqno, transaction.view, transaction.size, kind


def _writes(block: list[Transaction], names: dict[str, int]) -> Iterator[tuple[int, bytes, int, int]]:
    for transaction in block:
        seqno = transaction.seqno
        for name, writes in transaction.tables.items():
            table = names.setdefault(name, len(names) + 1)
            for key, value in writes.items():
                yield table, key, seqno, value is None
