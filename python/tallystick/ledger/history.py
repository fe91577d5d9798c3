"""How one key of a public table changed over time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tallystick.ledger.ledger import Ledger
from tallystick.ledger.transaction import Transaction

__all__ = ["KeyWrite", "key_history"]


@dataclass(frozen=True)
class KeyWrite:
    """One write or remove of a key.

    Attributes:
        transaction: where it stands.
        key: which key (a search may be for several).
        value: what was written; None: removed.
    """

    transaction: Transaction
    key: bytes
    value: bytes | None


def key_history(
    ledger: Ledger,
    table: str,
    keys: bytes | Collection[bytes],
    *,
    first: int | None = None,
    last: int | None = None,
) -> Iterator[KeyWrite]:
    """Writes and removes of ``keys`` in a public table, in ledger order; nothing is verified.

    Args:
        keys: one key, or several.
        first, last: seqnos, both included.

    Raises:
        FormatError: a transaction is malformed, or seqnos are missing; raised when reached.
    """
    wanted = frozenset({keys}) if isinstance(keys, bytes) else frozenset(keys)
    for transaction in ledger.transactions(first, last):
        writes = transaction.table(table)
        if writes:
            for key, value in writes.items():
                if key in wanted:
                    yield KeyWrite(transaction, key, value)
