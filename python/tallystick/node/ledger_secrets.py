"""The ledger secrets that a node knows, and from which transaction on each is in force."""

from __future__ import annotations

import threading
from bisect import bisect_right
from dataclasses import dataclass

from tallystick.secrets.shares import LedgerSecret

__all__ = ["KnownSecret", "LedgerSecrets"]


@dataclass(frozen=True)
class KnownSecret:
    """One ledger secret.

    Attributes:
        version: seqno of the first transaction that it encrypts.
        secret: the key.
        previous_stored: seqno of the transaction that holds the secret before it, encrypted under this one;
            None for the first secret of a service.
    """

    version: int
    secret: LedgerSecret
    previous_stored: int | None = None


class LedgerSecrets:
    """All ledger secrets in order of their versions. Safe to use from any thread.

    Args:
        known: at least one.
    """

    def __init__(self, known: list[KnownSecret]) -> None:
        self._known = sorted(known, key=lambda item: item.version)
        self._lock = threading.Lock()

    @property
    def latest(self) -> KnownSecret:
        """The secret with the highest version."""
        with self._lock:
            return self._known[-1]

    @property
    def all(self) -> tuple[KnownSecret, ...]:
        """All of them, oldest first."""
        with self._lock:
            return tuple(self._known)

    def at(self, seqno: int) -> KnownSecret | None:
        """The secret in force at ``seqno``; None if all known ones are newer."""
        with self._lock:
            index = bisect_right([item.version for item in self._known], seqno)
            return self._known[index - 1] if index else None

    def add(self, item: KnownSecret) -> None:
        """Adds a secret; one of the same version is replaced."""
        with self._lock:
            self._known = sorted(
                [*(known for known in self._known if known.version != item.version), item],
                key=lambda known: known.version,
            )
