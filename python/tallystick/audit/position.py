"""Where in a ledger something was met, and the log that orders findings by it."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from tallystick.findings import Effect, Finding, finding

__all__ = ["FindingLog", "Position"]

# Findings of one code that are listed; a broken ledger can have one a transaction, and a report of millions
# helps nobody and would not fit in memory. The rest are counted.
MAX_LISTED_PER_CODE = 100


class Position(NamedTuple):
    """A place in a ledger; what is not known is None."""

    file: str | None = None
    offset: int | None = None
    view: int | None = None
    seqno: int | None = None

    @property
    def txid(self) -> str | None:
        """``view.seqno``, where both are known."""
        if self.seqno is None or self.view is None:
            return None
        return f"{self.view}.{self.seqno}"


NOWHERE = Position()


class FindingLog:
    """Collects findings, bounded, and hands them out ordered by position, so that runs are repeatable.

    Attributes:
        first_failure: the lowest seqno that a failing finding names; what is at or after it is not proven.
            0 when one cannot be placed.
    """

    def __init__(self) -> None:
        self._items: list[tuple[tuple[int, int, int], Finding]] = []
        self._counts: Counter[str] = Counter()
        self.first_failure: int | None = None
        self.effects: Counter[Effect] = Counter()

    def add(self, code: str, message: str, at: Position = NOWHERE, *, limits_proof: bool = True) -> None:
        """Adds a finding.

        Args:
            code: a registered code.
            message: one line for people.
            at: where.
            limits_proof: whether, if the code fails the ledger, what follows ``at`` is unproven by it. False for
                findings about the caller's expectations rather than the ledger's content.
        """
        self._counts[code] += 1
        item = finding(code, message, file=at.file, offset=at.offset, txid=at.txid)
        self.effects[item.verdict_effect] += 1
        if item.verdict_effect is Effect.FAILS and limits_proof:
            seqno = at.seqno if at.seqno is not None else 0
            self.first_failure = seqno if self.first_failure is None else min(self.first_failure, seqno)
        if self._counts[code] <= MAX_LISTED_PER_CODE:
            self._items.append((self._key(at), item))

    def _key(self, at: Position) -> tuple[int, int, int]:
        # Files first, then by transaction, then what concerns the ledger as a whole.
        if at.seqno is not None:
            return (1, at.seqno, len(self._items))
        return (0 if at.file is not None else 2, 0, len(self._items))

    def failed_at_or_before(self, seqno: int) -> bool:
        """Whether a failing finding stands at ``seqno`` or before it."""
        return self.first_failure is not None and self.first_failure <= seqno

    def has(self, code: str) -> bool:
        """Whether a finding with this code was added."""
        return self._counts[code] > 0

    def ordered(self) -> list[Finding]:
        """All listed findings by position, then one line for each code of which more were met."""
        items = [item for _, item in sorted(self._items, key=lambda pair: pair[0])]
        for code, count in sorted(self._counts.items()):
            if count > MAX_LISTED_PER_CODE:
                items.append(finding("findings-not-listed", f"{count - MAX_LISTED_PER_CODE} more findings {code}"))
        return items
