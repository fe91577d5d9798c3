"""The public state of a service at a seqno: every public table, as the transactions up to there left it.

State comes from replaying a ledger from its first transaction, or from a snapshot and the transactions
after it. Nothing is verified; state read from a file is worth what :func:`tallystick.verify_ledger` or
:func:`tallystick.verify_snapshot` says about that file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tallystick import _native
from tallystick.errors import FormatError, LimitExceededError, UsageError
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.transaction import Transaction

__all__ = ["PublicState", "Row", "public_state"]


@dataclass(frozen=True)
class Row:
    """A value, and the seqno of the transaction that wrote it."""

    value: bytes
    seqno: int


class PublicState:
    """Public tables as of a seqno.

    Attributes:
        seqno: of the last transaction that is taken in; 0 at the start.
        tables: rows by table and key. A table whose rows were all removed stays, empty.
    """

    def __init__(self, select: Callable[[str], bool] | None = None) -> None:
        self.seqno = 0
        self.tables: dict[str, dict[bytes, Row]] = {}
        self._select = select

    @classmethod
    def from_snapshot(cls, path: str | os.PathLike[str], select: Callable[[str], bool] | None = None) -> PublicState:
        """The state that a snapshot file holds.

        Args:
            select: which tables to keep, by name; None keeps all.

        Raises:
            FormatError: it is not a snapshot.
            OSError: it cannot be read.
        """
        name = os.fspath(path)
        try:
            snapshot = _native.SnapshotFile.open(name)
        except (FormatError, LimitExceededError) as error:
            raise error.at(file=name) from None
        state = cls(select)
        state.seqno = snapshot.seqno
        for table in snapshot.table_names():
            if select is None or select(table):
                state.tables[table] = {key: Row(value, seqno) for key, (seqno, value) in snapshot.table(table).items()}
        return state

    def apply(self, transaction: Transaction) -> None:
        """Takes in the next transaction.

        Raises:
            FormatError: it is not the next one (``seqno-unexpected``).
        """
        seqno = transaction.seqno
        if seqno != self.seqno + 1:
            raise FormatError(
                f"seqno: expected {self.seqno + 1}, got {seqno}",
                code="seqno-unexpected",
                file=transaction.file,
                offset=transaction.offset,
                txid=str(transaction.txid),
            )
        self.seqno = seqno
        select = self._select
        if select is None:
            touched: Iterable[tuple[str, dict[bytes, bytes | None]]] = transaction.tables.items()
        else:
            touched = self._selected(transaction, select)
        for table, writes in touched:
            rows = self.tables.setdefault(table, {})
            for key, value in writes.items():
                if value is None:
                    rows.pop(key, None)
                else:
                    rows[key] = Row(value, seqno)

    @staticmethod
    def _selected(
        transaction: Transaction, select: Callable[[str], bool]
    ) -> Iterator[tuple[str, dict[bytes, bytes | None]]]:
        for name in transaction.table_names:
            if select(name):
                writes = transaction.table(name)
                if writes is not None:
                    yield name, writes

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value under ``key``, or None."""
        row = self.tables.get(table, {}).get(key)
        return None if row is None else row.value


def public_state(
    ledger: Ledger | None,
    at: int | None = None,
    *,
    snapshot: str | os.PathLike[str] | None = None,
    select: Callable[[str], bool] | None = None,
) -> PublicState:
    """Public state after the transaction with seqno ``at``; by default after the last one.

    Args:
        ledger: must reach from seqno 1, or from right after the snapshot, to ``at``; may be None if the
            snapshot alone is wanted.
        snapshot: snapshot file to start from.
        select: which tables to keep, by name; bounds the memory that is needed.

    Raises:
        UsageError: the files do not reach (``state-incomplete``, ``transaction-missing``).
        FormatError: a file is malformed.
    """
    state = PublicState(select) if snapshot is None else PublicState.from_snapshot(snapshot, select)
    if at is not None and at < state.seqno:
        raise UsageError(f"the snapshot is of seqno {state.seqno}, later than {at}", code="state-incomplete")
    first, last = (None, None) if ledger is None else (ledger.first_seqno, ledger.last_seqno)
    if ledger is not None and first is not None and last is not None and last > state.seqno and at != state.seqno:
        if first > state.seqno + 1:
            raise UsageError(
                f"the ledger begins at seqno {first}: expected {state.seqno + 1} or less",
                code="state-incomplete",
                hint="start from a snapshot of that seqno or later, or give the chunks before it too",
            )
        for transaction in ledger.transactions(state.seqno + 1, at):
            state.apply(transaction)
    if at is not None and state.seqno != at:
        raise UsageError(f"no transaction with seqno {at}: the files end at {state.seqno}", code="transaction-missing")
    return state
