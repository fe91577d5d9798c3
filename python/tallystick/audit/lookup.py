"""Looks single transactions up in the files of a cover."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from tallystick._native import Entry
from tallystick.audit.position import Position
from tallystick.errors import FormatError, LimitExceededError
from tallystick.ledger.directory import CoverPart
from tallystick.ledger.source import open_chunk

__all__ = ["Lookup"]


class Lookup:
    """Random access to the transactions of a cover."""

    def __init__(self, parts: Sequence[CoverPart]) -> None:
        self._parts = parts
        self._starts = [part.first for part in parts]

    def entry(self, seqno: int) -> tuple[Entry, Position] | None:
        """The entry at ``seqno`` and where it stands; None when no file holds it readably."""
        for entry, at in self.entries(seqno):
            return (entry, at) if entry.seqno == seqno else None
        return None

    def entries(self, seqno: int) -> Iterator[tuple[Entry, Position]]:
        """Entries from ``seqno`` on, as far as the files are contiguous and readable."""
        index = bisect_right(self._starts, seqno) - 1
        while 0 <= index < len(self._parts):
            part = self._parts[index]
            try:
                chunk = open_chunk(part.file.path)
                start = seqno - (chunk.first_seqno if chunk.first_seqno is not None else seqno)
                count = chunk.entry_count
                if part.last is not None:
                    count = min(count, part.last - seqno + 1 + start)
                if not 0 <= start < count:
                    return
                for entry in chunk.entries(start, count - start):
                    yield entry, Position(part.file.path, entry.offset, entry.view, entry.seqno)
                    seqno = entry.seqno + 1
            except (FormatError, LimitExceededError):
                return
            index += 1
            if index < len(self._parts) and self._parts[index].first != seqno:
                return
