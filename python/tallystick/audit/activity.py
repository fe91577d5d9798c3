"""How busy a ledger was: transactions a signature, and over time as far as signatures tell the time.

An observer of an audit (:class:`tallystick.audit.auditor.Observer`). Since CCF 6 a COSE signature says when it was
made, by the clock of the node that made it; nothing proves that clock. Memory does not grow with the ledger: once
there are too many intervals, neighbours are joined.

Example:
    >>> from tallystick.audit.activity import Activity
    >>> activity = Activity()
    >>> activity.add(5, None)
    >>> activity.add(8, None)
    >>> [(span.first_seqno, span.last_seqno, span.signatures) for span in activity.spans]
    [(1, 5, 1), (6, 8, 1)]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tallystick._native import ScanBatch

__all__ = ["Activity", "Span"]

# More spans than this are joined in pairs; a chart a thousand pixels wide shows no more.
MAX_SPANS = 2048

# Seconds of 9999-12-31; what is beyond is no time of a signature.
_LAST_SECOND = 253_402_300_799


@dataclass(frozen=True)
class Span:
    """Consecutive signature intervals. An interval ends with its signature transaction.

    Attributes:
        first_seqno, last_seqno: transactions, the signatures included.
        signatures: signature transactions, at least one.
        longest: transactions in the longest interval.
        begin, end: Unix seconds that signatures claim: the last one before the span, and the last one in it; None
            where they claim none.
    """

    first_seqno: int
    last_seqno: int
    signatures: int
    longest: int
    begin: int | None
    end: int | None

    @property
    def transactions(self) -> int:
        """How many, the signatures included."""
        return self.last_seqno - self.first_seqno + 1


class Activity:
    """Collects signature intervals, in ledger order."""

    wants_rows = False

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.clock_went_back = 0
        self._joined = 1  # intervals that a full span holds
        self._next: int | None = None
        self._last_seen = 0
        self._time: int | None = None

    def observe(self, batch: ScanBatch, path: str) -> None:
        """Takes the signatures of a batch; ``path`` does not matter."""
        if self._next is None or batch.first_seqno > self._last_seen + 1:
            # The start, or a gap: what is missing belongs to no interval.
            self._next, self._time = batch.first_seqno, None
        for record in batch.signatures:
            self.add(record.seqno, record.cose_issued_at)
        self._last_seen = batch.first_seqno + batch.count - 1

    def add(self, seqno: int, issued_at: int | None) -> None:
        """Takes one signature transaction; seqnos that do not ascend are left out."""
        first = self._next if self._next is not None else 1
        if seqno < first:
            return
        time = issued_at if issued_at is not None and 0 <= issued_at <= _LAST_SECOND else None
        if time is not None and self._time is not None and time < self._time:
            self.clock_went_back += 1
            time = self._time
        length = seqno - first + 1
        self._append(Span(first, seqno, 1, length, self._time, time))
        self._next, self._time = seqno + 1, time
        if len(self.spans) > MAX_SPANS:
            self._joined *= 2
            spans, self.spans = self.spans, []
            for span in spans:
                self._append(span)

    def _append(self, span: Span) -> None:
        last = self.spans[-1] if self.spans else None
        if (
            last is None
            or last.signatures + span.signatures > self._joined
            or last.last_seqno + 1 != span.first_seqno
            or (last.begin is None, last.end is None) != (span.begin is None, span.end is None)
        ):
            self.spans.append(span)
            return
        self.spans[-1] = replace(
            last,
            last_seqno=span.last_seqno,
            signatures=last.signatures + span.signatures,
            longest=max(last.longest, span.longest),
            end=span.end,
        )

    @property
    def signatures(self) -> int:
        """How many were taken."""
        return sum(span.signatures for span in self.spans)

    @property
    def times(self) -> tuple[int, int] | None:
        """First and last time that signatures claim; None when they tell of fewer than two different ones."""
        told = [time for span in self.spans for time in (span.begin, span.end) if time is not None]
        return (min(told), max(told)) if told and min(told) < max(told) else None

    def over_time(self, buckets: int) -> list[float]:
        """Transactions in each of ``buckets`` equal stretches of time between :attr:`times`; empty without times.

        Transactions are spread evenly over the time of their span, for no more than that is known.
        """
        times = self.times
        if times is None:
            return []
        start, width = times[0], (times[1] - times[0]) / buckets
        counts = [0.0] * buckets
        for span in self.spans:
            if span.begin is None or span.end is None:
                continue
            low, high = (span.begin - start) / width, (span.end - start) / width
            first, last = min(int(low), buckets - 1), min(int(high), buckets - 1)
            for at in range(first, last + 1):
                share = 1.0 if high <= low else (min(high, at + 1) - max(low, at)) / (high - low)
                counts[at] += span.transactions * max(share, 0.0)
        return counts
