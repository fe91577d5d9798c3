"""Split, join and extract: the same transactions in other chunk files, byte for byte.

A node completes a chunk right after a signature transaction only. A complete chunk that ends elsewhere can be read,
by nodes too, but no node would have written it; what is written here ends so only when the caller says that it may.

Not done here: verification. Whether the transactions are what a service signed is for ``tallystick verify``, before
or after.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tallystick.errors import FormatError, UsageError
from tallystick.ledger.directory import LedgerFiles, find_ledger_files
from tallystick.repair.chunk_files import (
    Marks,
    Piece,
    Plan,
    SourceChunk,
    WrittenChunk,
    is_signature,
    open_source,
    write_chunks,
)

__all__ = ["Extract", "Join", "Split", "extract_range", "join_chunks", "split_chunk"]

CLOSE_AFTER, NEW_BEFORE = 1, 2
"""Flags of an entry: the chunk ends after it; a new one begins before it."""

# What two files of a ledger must not say of one transaction when a copy of it is made.
_CONFLICTS = ("copy-conflict", "ledger-fork")


@dataclass(frozen=True)
class Split:
    """What :func:`split_chunk` wrote.

    Attributes:
        parts: two chunks; one when nothing follows the seqno.
        cut_tail: bytes of a half-written last transaction that were left out.
    """

    parts: tuple[WrittenChunk, ...]
    cut_tail: int


@dataclass(frozen=True)
class Join:
    """What :func:`join_chunks` wrote.

    Attributes:
        chunk: the joined chunk.
        sources: the files, in the order in which they were joined.
        flagged_seams: seqnos at which a new chunk begins by the flags of the transactions around: a node cuts
            there, so its own copy of these transactions stays in several files.
        cut_tail: bytes of a half-written last transaction that were left out.
    """

    chunk: WrittenChunk
    sources: tuple[str, ...]
    flagged_seams: tuple[int, ...]
    cut_tail: int


@dataclass(frozen=True)
class Extract:
    """What :func:`extract_range` wrote, and the files that it came from, in order."""

    chunk: WrittenChunk
    sources: tuple[str, ...]


# ------------------------------------------------------------------------------------------------- split


def split_chunk(
    path: str | os.PathLike[str],
    seqno: int,
    directory: str | os.PathLike[str],
    *,
    allow_non_signature: bool = False,
    cut_tail: bool = False,
) -> Split:
    """Writes the transactions of a chunk up to ``seqno`` to one file, and the rest to another.

    The first part is complete; the second is as the source is, complete or open. Both carry the source's marks
    (``.committed``, ``.recovery``) as far as they apply.

    Args:
        path: a chunk file, which stays as it is.
        seqno: last transaction of the first part.
        directory: where the parts go; not that of the source.
        allow_non_signature: ``seqno`` need not be a signature transaction.
        cut_tail: leave out a half-written last transaction instead of refusing the file.

    Raises:
        UsageError: ``seqno`` is not in the chunk, or not a signature transaction; the output is there already.
        FormatError: the chunk is broken, or ends in a half-written transaction.
        VerificationError, LimitExceededError, OSError: as for
            :func:`tallystick.repair.chunk_files.write_chunks`.
    """
    source = open_source(path, cut_tail=cut_tail)
    if not source.first <= seqno <= source.last:
        raise UsageError(
            f"no transaction with seqno {seqno}: the chunk holds {source.first} to {source.last}",
            code="transaction-missing",
            file=source.path,
        )
    if not allow_non_signature:
        _require_signature([Piece(source, source.first, source.last)], seqno)
    plans = [Plan([Piece(source, source.first, seqno)], True, source.marks)]
    if seqno < source.last:
        plans.append(Plan([Piece(source, seqno + 1, source.last)], source.complete, source.marks))
    parts = write_chunks(plans, directory)
    return Split(tuple(parts), source.tail[1] if source.tail is not None else 0)


def _require_signature(pieces: Sequence[Piece], seqno: int) -> None:
    before = after = None
    for piece in pieces:
        if piece.first <= seqno <= piece.last and is_signature(piece.source.entry(seqno)):
            return
    for piece in pieces:
        for entry in piece.source.entries(piece.first, piece.last):
            if entry.seqno < seqno and is_signature(entry):
                before = entry.seqno
            elif entry.seqno > seqno and is_signature(entry):
                after = entry.seqno
                break
        if after is not None:
            break
    near = [f"the one before is {before}"] if before is not None else []
    near += [f"the next is {after}"] if after is not None else []
    raise UsageError(
        f"transaction {seqno} is not a signature: {', '.join(near) or 'there is none'}",
        code="not-a-signature",
        file=pieces[0].source.path if len(pieces) == 1 else None,
        hint="--allow-non-signature ends a complete chunk there all the same, as no node does",
    )


# -------------------------------------------------------------------------------------------------- join


def join_chunks(
    paths: Iterable[str | os.PathLike[str]], directory: str | os.PathLike[str], *, cut_tail: bool = False
) -> Join:
    """Writes the transactions of several chunks, each of which begins where another ends, to one file.

    The result is complete if the last chunk is, ``.committed`` if all of them are, ``.recovery`` if all of them are.

    Args:
        paths: chunk files in any order; they stay as they are.
        directory: where the result goes; not that of a source.
        cut_tail: leave out a half-written last transaction instead of refusing a file.

    Raises:
        UsageError: fewer than two files, chunks that are not contiguous, marks that differ; the output is there.
        FormatError: a chunk is broken, or the view goes down from one to the next.
        VerificationError, LimitExceededError, OSError: as for
            :func:`tallystick.repair.chunk_files.write_chunks`.
    """
    sources = sorted((open_source(path, cut_tail=cut_tail) for path in paths), key=lambda source: source.first)
    if len(sources) < 2:
        raise UsageError("expected at least two chunk files to join", code="usage")
    seams = [after.first for before, after in pairwise(sources) if _check_seam(before, after)]
    for source in sources[:-1]:
        if source.tail is not None:
            raise FormatError(
                f"chunk ends in a half-written transaction of {source.tail[1]} bytes, though others follow",
                code="partial-tail",
                file=source.path,
                offset=source.tail[0],
            )
    marks = _common_marks(sources)
    plan = Plan([Piece(source, source.first, source.last) for source in sources], sources[-1].complete, marks)
    [chunk] = write_chunks([plan], directory)
    tail = sources[-1].tail
    return Join(chunk, tuple(s.path for s in sources), tuple(seams), tail[1] if tail is not None else 0)


def _check_seam(before: SourceChunk, after: SourceChunk) -> bool:
    """Whether the flags of the transactions around the seam say that a chunk ends there.

    Raises:
        UsageError: the second chunk does not begin where the first ends.
        FormatError: the view goes down, so that these are not chunks of one history.
    """
    if after.first != before.last + 1:
        what = "overlap" if after.first <= before.last else "leave a gap"
        raise UsageError(
            f"chunks {what}: {before.path} ends at {before.last}, expected {before.last + 1} next, "
            f"got {after.first} in {after.path}",
            code="chunks-not-contiguous",
        )
    last, first = before.entry(before.last), after.entry(after.first)
    if first.view < last.view:
        raise FormatError(
            f"view goes down from {last.view} to {first.view} at the seam: these are not chunks of one history",
            code="view-decreases",
            file=after.path,
            offset=first.offset,
            txid=f"{first.view}.{first.seqno}",
        )
    return bool(last.flags & CLOSE_AFTER or first.flags & NEW_BEFORE)


def _common_marks(sources: Sequence[SourceChunk]) -> Marks:
    recovery = {source.marks.recovery for source in sources}
    if len(recovery) > 1:
        raise UsageError(
            "some chunks are marked .recovery and others are not",
            code="chunks-differ-in-marks",
            hint="rename them first, if the service did open",
        )
    return Marks(all(source.marks.committed for source in sources), recovery.pop())


# ----------------------------------------------------------------------------------------------- extract


def extract_range(
    paths: Iterable[str | os.PathLike[str]],
    first: int | None,
    last: int | None,
    directory: str | os.PathLike[str],
    *,
    leave_open: bool = False,
    uncommitted: bool = False,
    recovery: bool = False,
    allow_non_signature: bool = False,
) -> Extract:
    """Writes transactions ``first`` to ``last`` of a ledger, both included, to one chunk file.

    Args:
        paths: directories and chunk files, in any order; where they overlap, the copies must be equal.
        first, last: seqnos; None: from the start, to the end.
        directory: where the chunk goes; not that of a source.
        leave_open: write an open chunk, without a table; otherwise it is complete, and ``.committed`` if the files
            that it comes from are.
        uncommitted, recovery: read uncommitted chunks and ``.recovery`` files of directories too.
        allow_non_signature: a complete chunk need not end on a signature transaction.

    Raises:
        UsageError: a path or a transaction is not there, or ``last`` is not a signature transaction.
        FormatError: a chunk is broken, transactions are missing, or two copies differ.
        VerificationError, LimitExceededError, OSError: as for
            :func:`tallystick.repair.chunk_files.write_chunks`.
    """
    files = find_ledger_files(paths, uncommitted=uncommitted, recovery=recovery)
    if not files.parts:
        raise FormatError("no ledger chunk to read", code="ledger-empty", hint=files.why_empty)
    pieces = _pieces(files, first, last)
    end = pieces[-1].last
    for item in files.findings:
        if item.code in _CONFLICTS and (item.seqno is None or item.seqno <= end):
            raise FormatError(item.message, code=item.code, file=item.file, offset=item.offset)
    if not leave_open and not allow_non_signature:
        _require_signature(pieces, end)
    marks = Marks(not leave_open and all(piece.source.marks.committed for piece in pieces))
    [chunk] = write_chunks([Plan(pieces, not leave_open, marks)], directory)
    return Extract(chunk, tuple(dict.fromkeys(piece.source.path for piece in pieces)))


def _pieces(files: LedgerFiles, first: int | None, last: int | None) -> list[Piece]:
    """The parts of the cover that hold transactions ``first`` to ``last``.

    Raises:
        UsageError: the ledger does not reach so far, at either end.
        FormatError: transactions in between are missing, or a file is broken.
    """
    begin = files.parts[0].first if first is None else first
    pieces: list[Piece] = []
    for part in files.parts:
        if (part.last is not None and part.last < begin) or (last is not None and part.first > last):
            continue
        # Only what is a half-written end of the ledger is left out; the range ends before it.
        source = open_source(part.file.path, cut_tail=True)
        end = source.last if part.last is None else min(part.last, source.last)
        piece = Piece(source, max(part.first, begin), end if last is None else min(end, last))
        if piece.last < piece.first:
            continue
        if pieces and piece.first != pieces[-1].last + 1:
            missing = f"{pieces[-1].last + 1} to {piece.first - 1}"
            raise FormatError(f"transactions {missing} are in no file", code="chunk-gap", file=source.path)
        pieces.append(piece)
    if not pieces or pieces[0].first != begin or (last is not None and pieces[-1].last != last):
        wanted = f"{begin} to {last}" if last is not None else f"from {begin} on"
        raise UsageError(f"no transactions {wanted}: the ledger holds {_held(files)}", code="transaction-missing")
    return pieces


def _held(files: LedgerFiles) -> str:
    end = files.parts[-1]
    last = str(end.last) if end.last is not None else f"the end of {Path(end.file.path).name}"
    return f"{files.parts[0].first} to {last}"
