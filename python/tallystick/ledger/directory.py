"""Which files of a ledger to read: chunk file names, and a consistent cover of files that overlap.

Names (CCF ledger directories)::

    ledger_<first>                               open chunk, still being written
    ledger_<first>-<last>                        complete
    ledger_<first>-<last>.committed              complete and committed
    <any of these>.recovery                      written while a recovered service was not yet open
    <any of these>.ignored                       set aside by a node; not part of the history
    ledger_<first>-<last>.committed_prefix       a download of the committed part of an open chunk

``.committed`` is a local marker, not a statement that anybody signed: it decides only which of several
files is read, never whether what it holds is true. Copies that are not read are compared with what is.

Example:
    >>> parse_chunk_name("ledger_3-13.committed").last
    13
    >>> parse_chunk_name("ledger_13-3.committed") is None
    True
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from tallystick import _native
from tallystick.errors import FormatError, LimitExceededError
from tallystick.ledger.source import (
    ChunkFacts,
    FoundFile,
    chunk_facts,
    is_url,
    list_place,
    local_copy,
    open_chunk,
    parent_of,
)

__all__ = [
    "ChunkName",
    "CoverPart",
    "FileFinding",
    "LedgerFile",
    "LedgerFiles",
    "find_ledger_files",
    "parse_chunk_name",
]

# At most 19 digits: seqnos are 63-bit. No leading zeros, so that one range has one name.
_NAME = re.compile(
    r"ledger_(?P<first>[1-9][0-9]{0,18})(?:-(?P<last>[1-9][0-9]{0,18}))?"
    r"(?:(?P<committed>\.committed)|(?P<prefix>\.committed_prefix))?"
    r"(?P<recovery>\.recovery)?(?P<ignored>\.ignored)?\Z"
)

# Rank of a file that its node marked as committed.
_COMMITTED = 3

# Names shown in one message about many files.
_NAMES_SHOWN = 5


class ChunkName(NamedTuple):
    """What the name of a chunk file says.

    Attributes:
        first: seqno of the first transaction.
        last: seqno of the last one, None while the chunk is open.
        committed: the node saw the whole chunk committed.
        recovery: written by a recovered service that was not yet open.
        ignored: set aside by a node.
        committed_prefix: a download of the committed part of an open chunk.
    """

    first: int
    last: int | None = None
    committed: bool = False
    recovery: bool = False
    ignored: bool = False
    committed_prefix: bool = False


def parse_chunk_name(name: str) -> ChunkName | None:
    """Parses the base name of a chunk file; None when it is not one (other words, padded or reversed ranges)."""
    match = _NAME.match(name)
    if match is None:
        return None
    first = int(match["first"])
    last = int(match["last"]) if match["last"] is not None else None
    if last is not None and last < first:
        return None
    if last is None and (match["committed"] or match["prefix"]):
        return None
    return ChunkName(
        first,
        last,
        committed=match["committed"] is not None,
        recovery=match["recovery"] is not None,
        ignored=match["ignored"] is not None,
        committed_prefix=match["prefix"] is not None,
    )


class FileFinding(NamedTuple):
    """Something about the files, as opposed to the transactions in them; codes as in ``docs/findings.md``."""

    code: str
    message: str
    file: str | None = None
    offset: int | None = None
    seqno: int | None = None
    view: int | None = None


class LedgerFile(NamedTuple):
    """A chunk file that may be read.

    Attributes:
        path: as found (directory argument joined with the name), or as named by the caller.
        name: what its name says; None for a file the caller named that has no chunk name.
        explicit: named by the caller itself.
        size: bytes.
        complete: ends with an offset table.
        first, last: seqnos it holds (by content where that could be read, else by name); ``last`` is None
            when neither tells.
        readable: False when its framing is broken, so that only its name tells what it should hold.
    """

    path: str
    name: ChunkName | None
    explicit: bool
    size: int
    complete: bool
    first: int
    last: int | None
    readable: bool = True

    @property
    def rank(self) -> int:
        """Which of two files with the same transactions is read: the higher one."""
        if self.name is not None and self.name.committed:
            return _COMMITTED
        if self.name is not None and self.name.last is not None and not self.name.committed_prefix:
            return 2
        return 1 if self.name is not None and self.name.committed_prefix else 0

    @property
    def says_committed(self) -> bool:
        """Its node saw all of it committed, by its name."""
        return self.rank == _COMMITTED


class CoverPart(NamedTuple):
    """The part of a file that is read: seqnos ``first`` to ``last`` (None: to its end)."""

    file: LedgerFile
    first: int
    last: int | None


class LedgerFiles(NamedTuple):
    """What :func:`find_ledger_files` chose.

    Attributes:
        parts: the cover, by seqno; neighbours are contiguous except where a ``chunk-gap`` finding says so.
        left_out: (path, reason) of chunk files that were not read, because of their kind.
        spares: files whose transactions are all read from other files.
        findings: names that are not understood, gaps, conflicts.
        below: directories in the given ones that hold chunk files, which were not read.
    """

    parts: tuple[CoverPart, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    spares: tuple[LedgerFile, ...] = ()
    findings: tuple[FileFinding, ...] = ()
    below: tuple[str, ...] = ()

    @property
    def why_empty(self) -> str | None:
        """What keeps a ledger without a part from having one, and what to do; None where nothing is known."""
        if self.left_out:
            reasons = "; ".join(sorted({reason for _, reason in self.left_out}))
            files = "chunk file was" if len(self.left_out) == 1 else "chunk files were"
            return f"{len(self.left_out)} {files} left out ({reasons})"
        if self.below:
            shown = ", ".join(self.below[:_NAMES_SHOWN]) + (", …" if len(self.below) > _NAMES_SHOWN else "")
            return f"directories are not searched: give as paths the ones that hold chunks: {shown}"
        return None

    def runs(self) -> list[list[CoverPart]]:
        """The cover, cut at its gaps."""
        runs: list[list[CoverPart]] = []
        for part in self.parts:
            previous = runs[-1][-1] if runs else None
            if previous is None or (previous.last is not None and part.first != previous.last + 1):
                runs.append([])
            runs[-1].append(part)
        return runs


@dataclass
class _Collected:
    files: list[LedgerFile] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    findings: list[FileFinding] = field(default_factory=list)
    below: list[str] = field(default_factory=list)


def find_ledger_files(
    paths: Iterable[str | os.PathLike[str]],
    *,
    uncommitted: bool = False,
    recovery: bool = False,
    compare_copies: bool = True,
) -> LedgerFiles:
    """Chooses which chunk files under ``paths`` to read, so that each seqno is read once.

    Args:
        paths: directories (not descended into) and files, in any order; overlaps are expected, since a
            node's main and read-only directories share chunks. A file named here is always read.
        uncommitted: read chunks that are not marked ``.committed`` too.
        recovery: read ``.recovery`` files too.
        compare_copies: compare files that are not read with those that are, entry by entry.

    Raises:
        UsageError: a path does not exist, or is neither a directory nor a file.
        OSError: a directory or file cannot be read.
    """
    collected = _collect(paths, uncommitted=uncommitted, recovery=recovery)
    files, conflicts = _settle_uncommitted(collected.files, compare_copies)
    parts, spares = _choose_cover(files)
    findings = [*collected.findings, *conflicts]
    if compare_copies:
        findings += _compare_spares(spares, parts)
        findings += _compare_neighbours(parts)
    for before, after in pairwise(parts):
        if before.last is not None and after.first > before.last + 1:
            findings.append(_gap(before, after))
    return LedgerFiles(tuple(parts), tuple(collected.left_out), tuple(spares), tuple(findings), tuple(collected.below))


# ------------------------------------------------------------------------------------------- collecting


def _collect(paths: Iterable[str | os.PathLike[str]], *, uncommitted: bool, recovery: bool) -> _Collected:
    collected = _Collected()
    seen: set[object] = set()
    for given in paths:
        path = os.fspath(given)
        is_directory, found = list_place(path)
        if is_directory:
            _collect_directory(path, found, collected, seen, uncommitted=uncommitted, recovery=recovery)
        else:
            for item in found:
                if _is_new(item, seen):
                    _collect_file(item, parse_chunk_name(item.name), True, collected)
    return collected


def _is_new(item: FoundFile, seen: set[object]) -> bool:
    # The same file given twice (a directory and one of its chunks, a link) is one copy, not two.
    if item.identity in seen:
        return False
    seen.add(item.identity)
    return True


def _collect_directory(
    directory: str,
    entries: Sequence[FoundFile],
    collected: _Collected,
    seen: set[object],
    *,
    uncommitted: bool,
    recovery: bool,
) -> None:
    others: list[str] = []
    for item in entries:
        if not item.is_file:
            if parse_chunk_name(item.name) is not None:
                message = "has the name of a chunk but is not a regular file, not read"
                collected.findings.append(FileFinding("file-unreadable", message, item.path))
            elif _holds_chunks(item.path):
                collected.below.append(item.path)
                message = "directory that holds ledger chunks, not read: directories in directories have to be named"
                collected.findings.append(FileFinding("file-ignored", message, item.path))
            continue
        name = parse_chunk_name(item.name)
        if name is None:
            if "ledger" in item.name:
                message = "not the name of a ledger chunk (expected ledger_A-B.committed and the like), not read"
                collected.findings.append(FileFinding("file-name-unknown", message, item.path))
            else:
                others.append(item.name)
            continue
        reason = _reason_to_leave_out(name, uncommitted=uncommitted, recovery=recovery)
        if reason is not None:
            collected.left_out.append((item.path, reason))
            if name.ignored or name.committed_prefix:
                collected.findings.append(FileFinding("file-ignored", f"not read: {reason}", item.path))
        elif _is_new(item, seen):
            _collect_file(item, name, False, collected)
    if others:
        shown = ", ".join(others[:_NAMES_SHOWN]) + (", …" if len(others) > _NAMES_SHOWN else "")
        files = "file is" if len(others) == 1 else "files are"
        collected.findings.append(
            FileFinding("file-ignored", f"{len(others)} other {files} not of the ledger, not read: {shown}", directory)
        )


def _holds_chunks(path: str) -> bool:
    """Whether this is a local directory in which a chunk file is; False also where nobody can look."""
    if is_url(path):
        return False
    try:
        with os.scandir(path) as listing:
            return any(parse_chunk_name(entry.name) is not None for entry in listing)
    except OSError:
        return False


def _reason_to_leave_out(name: ChunkName, *, uncommitted: bool, recovery: bool) -> str | None:
    if name.ignored:
        return "set aside by a node (.ignored)"
    if name.committed_prefix:
        return "a partial download (.committed_prefix), read only when named itself"
    if name.recovery and not recovery:
        return "written during a recovery, needs --recovery"
    if not name.committed and not uncommitted:
        return "not committed, needs --uncommitted"
    return None


def _collect_file(item: FoundFile, name: ChunkName | None, explicit: bool, collected: _Collected) -> None:
    path, size, base = item.path, item.size, item.name
    if name is None:
        code = "chunk-name" if base.startswith("ledger_") else "file-name-unknown"
        collected.findings.append(FileFinding(code, f"{base!r} is not a well-formed name of a ledger chunk", path))
    if size == 0 and name is not None and name.last is None:
        collected.findings.append(FileFinding("chunk-empty", "open chunk without a byte, as a node leaves it", path))
        return
    try:
        facts = chunk_facts(path, size)
        content_first, count, complete = facts.first_seqno, facts.entry_count, facts.complete
    except (FormatError, LimitExceededError) as error:
        if name is None:
            collected.findings.append(FileFinding(error.code, error.message, path, error.location.offset))
            return
        # The scan will say what is wrong, and where; here only the name can tell what it should hold.
        collected.files.append(
            LedgerFile(path, name, explicit, size, name.last is not None, name.first, name.last, readable=False)
        )
        return
    if content_first is None or count == 0:
        _note_empty(path, name, facts, collected)
        return
    content_last = content_first + count - 1
    if name is not None:
        collected.findings += _name_findings(path, name, content_first, content_last, complete)
    first = name.first if name is not None else content_first
    last = name.last if name is not None and name.last is not None else first + count - 1
    collected.files.append(LedgerFile(path, name, explicit, size, complete, first, last))


def _note_empty(path: str, name: ChunkName | None, chunk: ChunkFacts, collected: _Collected) -> None:
    if chunk.partial_tail is not None:
        offset, size = chunk.partial_tail
        reason = chunk.tail_damage
        if reason is None:
            message = f"open chunk holds nothing but a half-written entry of {size} bytes"
            collected.findings.append(FileFinding("partial-tail", message, path, offset))
        else:
            message = f"entry runs past the end of its chunk, but was not cut: {reason}"
            collected.findings.append(FileFinding("tail-damaged", message, path, offset))
    elif name is not None and name.last is not None:
        message = f"content does not fit the name: expected seqnos {name.first} to {name.last}, got no transaction"
        collected.findings.append(FileFinding("chunk-name", message, path, seqno=name.first))
    else:
        collected.findings.append(FileFinding("chunk-empty", "open chunk without a transaction", path))


def _name_findings(path: str, name: ChunkName, first: int, last: int, complete: bool) -> list[FileFinding]:
    findings = []
    if first != name.first or (name.last is not None and last != name.last):
        expected = f"{name.first} to {name.last}" if name.last is not None else f"{name.first} and up"
        message = f"content does not fit the name: expected seqnos {expected}, got {first} to {last}"
        findings.append(FileFinding("chunk-name", message, path, seqno=first))
    if name.last is not None and not name.committed_prefix and not complete:
        message = "offset table missing: expected a complete chunk by its name, got an open one"
        findings.append(FileFinding("chunk-incomplete", message, path, offset=0, seqno=first))
    return findings


# --------------------------------------------------------------------------------------------- choosing


def _overlap(a: LedgerFile, b: LedgerFile) -> bool:
    if a.last is None or b.last is None:
        return a.first == b.first
    return a.first <= b.last and b.first <= a.last


def _settle_uncommitted(files: Sequence[LedgerFile], compare: bool) -> tuple[list[LedgerFile], list[FileFinding]]:
    """Cuts uncommitted chunks where another file holds other transactions, so that the cover follows one history.

    A committed chunk wins over one that is not; of two that are not, the higher view at the first difference wins: its
    primary replaced what the older view had not committed.
    """
    settled = list(files)
    findings: list[FileFinding] = []
    if not compare:
        return settled, findings
    for i, file in enumerate(settled):
        if file.says_committed or not file.readable:
            continue
        for j, other in enumerate(settled):
            if i == j or not other.readable or (not other.says_committed and j < i):
                continue
            mine = settled[i]
            if not _overlap(mine, other):
                continue
            difference = _difference(mine, other)
            if difference is None:
                continue
            seqno, offset_mine, offset_other = difference
            if any(file.last is not None and seqno > file.last for file in (mine, other)):
                continue  # cut before that already
            view_mine, view_other = _view_at(mine, seqno), _view_at(other, seqno)
            loser_is_mine = other.says_committed or view_mine < view_other
            if view_mine == view_other:
                loser_is_mine = mine.rank <= other.rank
            loser, winner = (i, j) if loser_is_mine else (j, i)
            offset = offset_mine if loser_is_mine else offset_other
            findings.append(_judge_conflict(settled[loser], settled[winner], seqno, offset))
            settled[loser] = settled[loser]._replace(last=seqno - 1)
    return [file for file in settled if file.last is None or file.last >= file.first], findings


def _difference(a: LedgerFile, b: LedgerFile) -> tuple[int, int, int] | None:
    try:
        with local_copy(a.path) as path_a, local_copy(b.path) as path_b:
            return _native.first_difference(path_a, path_b)
    except (FormatError, LimitExceededError):
        # What is broken is read by the scan, or named as unreadable; there is nothing to compare.
        return None


def _view_at(file: LedgerFile, seqno: int) -> int:
    chunk = open_chunk(file.path)
    return chunk.entry(seqno - (chunk.first_seqno or seqno)).view


_SIGNATURE_TABLES = ("public:ccf.internal.signatures", "public:ccf.internal.cose_signatures")


def _signed_at_or_after(file: LedgerFile, seqno: int) -> int | None:
    chunk = open_chunk(file.path)
    start = max(0, seqno - (chunk.first_seqno or seqno))
    for entry in chunk.entries(start):
        if any(entry.table(table) is not None for table in _SIGNATURE_TABLES):
            return entry.seqno
    return None


def _judge_conflict(loser: LedgerFile, winner: LedgerFile, seqno: int, offset: int) -> FileFinding:
    view, other_view = _view_at(loser, seqno), _view_at(winner, seqno)
    what = f"differs from {winner.path} at seqno {seqno}: transaction {view}.{seqno} here, {other_view}.{seqno} there"
    if view == other_view:
        # One transaction ID, two contents: never explained by an election or a recovery.
        return FileFinding("copy-conflict", what, loser.path, offset, seqno, view)
    older = loser if view < other_view else winner
    signed = _signed_at_or_after(older, seqno)
    if older.says_committed:
        # Every later view holds what was committed, so that no election explains it.
        code = "copy-conflict" if signed is None else "ledger-fork"
        message = f"{what}; {older.path} says by its name that it was committed: two histories"
        return FileFinding(code, message, loser.path, offset, seqno, view)
    if signed is None:
        message = f"{what}; an unsigned suffix that a recovery or election discarded"
        return FileFinding("discarded-suffix", message, loser.path, offset, seqno, view)
    message = f"{what}; a suffix, signed by seqno {signed}, that a later view replaced: no fault unless committed"
    return FileFinding("replaced-suffix", message, loser.path, offset, seqno, view)


def _choose_cover(files: Sequence[LedgerFile]) -> tuple[list[CoverPart], list[LedgerFile]]:
    parts: list[CoverPart] = []
    ordered = sorted(files, key=lambda file: file.first)
    position = ordered[0].first if ordered else 0
    active: list[LedgerFile] = []
    index = 0
    while True:
        while index < len(ordered) and ordered[index].first <= position:
            active.append(ordered[index])
            index += 1
        # A file whose end is unknown covers its first seqno only, for want of better.
        active = [file for file in active if (file.last if file.last is not None else file.first) >= position]
        if not active:
            if index == len(ordered):
                break
            position = ordered[index].first
            continue
        best = max(active, key=lambda file: (file.readable, file.rank, file.last or 0, file.first))
        last = _end_of_part(best, ordered[index:])
        parts.append(CoverPart(best, position, last))
        position = (last if last is not None else best.first) + 1
    used = {part.file.path for part in parts}
    return parts, [file for file in ordered if file.path not in used]


def _end_of_part(best: LedgerFile, later: Sequence[LedgerFile]) -> int | None:
    # A better file that begins inside takes over where it begins, so that closed chunks are read whole.
    for file in later:
        if best.last is None or file.first > best.last:
            break
        if file.rank > best.rank and file.readable:
            return file.first - 1
    return best.last


def _compare_spares(spares: Sequence[LedgerFile], parts: Sequence[CoverPart]) -> list[FileFinding]:
    findings = _note_redundant([spare for spare in spares if spare.readable])
    for spare in spares:
        if not spare.says_committed and spare.readable:
            continue  # compared before the cover was chosen
        if not spare.readable:
            message = "this copy is not readable as a chunk; its transactions were read from other files"
            findings.append(FileFinding("copy-unreadable", message, spare.path))
            continue
        for part in parts:
            if not part.file.says_committed or not _overlap(spare, part.file):
                continue
            difference = _difference(spare, part.file)
            if difference is not None:
                findings.append(_judge_conflict(spare, part.file, difference[0], difference[1]))
                break
    return findings


def _note_redundant(spares: Sequence[LedgerFile]) -> list[FileFinding]:
    # One note a directory: a second copy of a whole ledger is nothing special.
    by_directory: dict[str, list[LedgerFile]] = {}
    for spare in spares:
        by_directory.setdefault(parent_of(spare.path), []).append(spare)
    findings = []
    for directory, files in by_directory.items():
        if len(files) == 1:
            message = f"seqnos {files[0].first} to {files[0].last} are read from other files"
            findings.append(FileFinding("redundant-file", message, files[0].path))
        else:
            message = f"{len(files)} files hold nothing that is not read from other files"
            findings.append(FileFinding("redundant-file", message, directory))
    return findings


def _compare_neighbours(parts: Sequence[CoverPart]) -> list[FileFinding]:
    # Files that are both read, each for a part of what it holds, must agree where they overlap.
    findings = []
    for i, before in enumerate(parts):
        for after in parts[i + 1 :]:
            if before.file.last is None or after.file.first > before.file.last:
                break
            if before.file.path == after.file.path:
                continue
            if not before.file.says_committed or not after.file.says_committed:
                continue  # compared before the cover was chosen
            difference = _difference(before.file, after.file)
            if difference is not None:
                findings.append(_judge_conflict(before.file, after.file, difference[0], difference[1]))
    return findings


def _gap(before: CoverPart, after: CoverPart) -> FileFinding:
    first, last = (before.last or 0) + 1, after.first - 1
    missing = f"seqno {first} is" if first == last else f"seqnos {first} to {last} are"
    message = f"{missing} in no file: expected {first} next, got {after.first}"
    return FileFinding("chunk-gap", message, after.file.path, seqno=first)
