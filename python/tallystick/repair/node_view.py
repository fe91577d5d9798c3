"""A ledger directory as a node sees it when it starts: by names first, and by content only where it must write.

This follows what nodes of CCF 7.0 do with ``ledger.directory`` and ``ledger.read_only_directories``; it looks, and
changes nothing. A node

(1) takes the number after the first ``-`` of a name for the last seqno, and does not start where it is none;
(2) counts, in read-only directories, files whose names end in ``committed``, and no others;
(3) renames files of the main directory that end in ``recovery`` to ``….ignored``, and those that it cannot open;
(4) takes names that end in ``committed`` for the fact, without opening the file;
(5) opens every other file of the main directory for writing: it cuts a half-written end off, and removes a file
    without a transaction;
(6) reads a transaction from the writable file that begins last at or before it, and from nowhere else if there is
    one; then from a file of the main directory whose name holds the seqno, then from the read-only ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tallystick import _native
from tallystick.errors import FormatError, LimitExceededError

__all__ = ["Fate", "NodeDirectory", "NodeFile", "ReadPart", "look"]

# As C's strtol reads a number: white space, a sign, digits; what follows does not matter.
_NUMBER = re.compile(r"\s*[+-]?[0-9]+")
_LARGEST = (1 << 63) - 1


class Fate(str, Enum):
    """What a node would do with a file."""

    READ = "read"
    """Reads it where it is."""
    WRITE = "write"
    """Opens it for writing, and reads it."""
    SET_ASIDE = "set aside"
    """Renames it to .ignored."""
    REMOVED = "removed"
    """Deletes it, as it holds no whole transaction."""
    NOT_USED = "not used"
    """Leaves it alone, and never reads it."""
    FATAL = "refused"
    """Does not start."""


@dataclass
class NodeFile:
    """A file of a ledger directory.

    Attributes:
        path: directory as given, joined with the name.
        read_only: it stands in a read-only directory.
        fate: what a node would do with it.
        why: in a few words.
        start, last: what the node takes from its name; None where it says nothing.
        committed: its name ends in ``committed``.
        count: whole transactions in it, or as many as a node takes it to have; None when it cannot even tell that.
        first_seqno: of its first transaction, by content.
        complete: it ends with an offset table.
        tail: (offset, bytes) of a half-written end.
        damage: why that end is not what a crash leaves, but was altered.
        size: bytes.
        problem: why it could not be opened as a chunk.
        unreadable: the file system would not let us look.
    """

    path: str
    read_only: bool
    fate: Fate = Fate.NOT_USED
    why: str = ""
    start: int | None = None
    last: int | None = None
    committed: bool = False
    count: int | None = None
    first_seqno: int | None = None
    complete: bool = False
    tail: tuple[int, int] | None = None
    damage: str | None = None
    size: int = 0
    problem: FormatError | LimitExceededError | None = None
    unreadable: str | None = None

    @property
    def base(self) -> str:
        """Its name."""
        return Path(self.path).name

    @property
    def end(self) -> int | None:
        """Seqno of its last transaction: from ``start``, counted by its content."""
        return None if self.start is None or self.count is None else self.start + self.count - 1

    @property
    def usable(self) -> bool:
        """Whether a transaction can be read from it."""
        return self.problem is None and bool(self.count) and (self.complete or not self.committed)

    def holds(self, seqno: int) -> bool:
        """Whether that transaction can be read from it."""
        return self.usable and self.start is not None and self.start <= seqno <= (self.end or 0)


@dataclass(frozen=True)
class ReadPart:
    """Transactions ``first`` to ``last``, read from ``file``."""

    file: NodeFile
    first: int
    last: int


@dataclass
class NodeDirectory:
    """What a node makes of its directories.

    Attributes:
        files: all of them, main directory first, by name.
        committed: seqno up to which names say that everything is committed; 0 for nothing.
        last: seqno up to which the node believes that it has transactions.
    """

    files: list[NodeFile] = field(default_factory=list)
    committed: int = 0
    last: int = 0

    @property
    def writable(self) -> list[NodeFile]:
        """Files that it opens for writing, in the order in which it keeps them."""
        chosen = [file for file in self.files if file.fate is Fate.WRITE]
        return sorted(chosen, key=lambda file: (file.end or 0, file.path))

    def source_of(self, seqno: int) -> NodeFile | None:
        """The file in which a node looks for a transaction; None when there is none to look into."""
        for file in reversed(self.writable):
            if file.start is not None and file.start <= seqno:
                return file
        named = [
            file
            for file in self.files
            if file.fate is Fate.READ and file.start is not None and file.start <= seqno <= (file.last or 0)
        ]
        main = [file for file in named if not file.read_only]
        # Within one directory the first that the system lists; take one that serves, the others are reported.
        return next(iter(sorted(main or named, key=lambda file: not file.holds(seqno))), None)

    def read_from(self, seqno: int) -> list[ReadPart]:
        """What a node reads from ``seqno`` on, until it meets a transaction that it does not find."""
        parts: list[ReadPart] = []
        at = seqno
        while at <= self.last:
            file = self.source_of(at)
            if file is None or not file.holds(at):
                break
            last = min(file.end or at, self.last)
            parts.append(ReadPart(file, at, last))
            at = last + 1
        return parts


def look(main: str | os.PathLike[str], read_only: Iterable[str | os.PathLike[str]] = ()) -> NodeDirectory:
    """Looks at a node's ledger directories as the node does when it starts.

    Raises:
        OSError: a directory cannot be listed.
    """
    seen = NodeDirectory()
    for directory in read_only:
        for path in _listing(directory):
            file = _name(path, True)
            _judge_read_only(file)
            if file.fate is Fate.READ:
                seen.committed = max(seen.committed, file.last or 0)
            seen.files.append(file)
    from_read_only = seen.committed
    mine = [_name(path, False) for path in _listing(main)]
    in_main = max((file.last or 0 for file in mine if file.committed), default=0)
    for file in mine:
        _judge_main(file, from_read_only)
    seen.committed = max(seen.committed, in_main)
    seen.files = [*mine, *seen.files]
    writable = seen.writable
    # With a writable file, a node does not count the committed ones of the main directory.
    seen.last = max(from_read_only, writable[-1].end or 0) if writable else seen.committed
    return seen


def _listing(directory: str | os.PathLike[str]) -> list[str]:
    with os.scandir(directory) as entries:
        return sorted(entry.path for entry in entries)


def _number_after(name: str, sign: str) -> int | None:
    """The number after the first ``sign``; None without one, -1 when what follows is no number that a node reads."""
    _, found, rest = name.partition(sign)
    if not found:
        return None
    match = _NUMBER.match(rest)
    number = int(match[0]) if match is not None else -1
    return number if 0 <= number <= _LARGEST else -1


def _name(path: str, read_only: bool) -> NodeFile:
    file = NodeFile(path, read_only)
    file.start = _number_after(file.base, "_")
    file.last = _number_after(file.base, "-")
    file.committed = file.base.endswith("committed")
    return file


def _judge_read_only(file: NodeFile) -> None:
    if file.last == -1:
        file.fate, file.why = Fate.FATAL, "no number follows the hyphen in its name"
    elif file.base.endswith("ignored"):
        file.why = "set aside before"
    elif file.last is None or not file.committed:
        file.why = "not committed, which read-only files must be"
        _open(file)
    elif file.start in (None, -1):
        file.why = "no first seqno in its name"
    else:
        file.fate, file.why = Fate.READ, "committed"
        _open(file)


def _judge_main(file: NodeFile, committed: int) -> None:
    if file.base.endswith("ignored"):
        file.why = "set aside before"
    elif file.base.endswith("recovery"):
        file.fate, file.why = Fate.SET_ASIDE, "written by a recovery that did not come to its end"
        _open(file)
    elif file.last == -1:
        file.fate, file.why = Fate.FATAL, "no number follows the hyphen in its name"
    elif file.base.endswith(".committed_prefix"):
        file.why = "a partial download"
    elif file.committed:
        if file.last is None:
            file.why = "committed by its name, which names no last seqno"
        elif file.start in (None, -1):
            file.why = "no first seqno in its name"
        else:
            file.fate, file.why = Fate.READ, "committed"
        _open(file)
    elif file.last is not None and file.last <= committed:
        file.fate, file.why = Fate.SET_ASIDE, "a read-only directory holds committed transactions as far"
        _open(file)
    else:
        _judge_writable(file)


def _judge_writable(file: NodeFile) -> None:
    if file.start in (None, -1):
        file.fate, file.why = Fate.SET_ASIDE, "its name holds no seqno"
        return
    _open(file)
    if file.unreadable is not None:
        file.fate, file.why = Fate.SET_ASIDE, "cannot be opened"
    elif file.problem is not None and file.count is None:
        file.fate, file.why = Fate.SET_ASIDE, "cannot be read as a chunk"
    elif file.size < _HEADER_BYTES:
        file.fate, file.why = Fate.SET_ASIDE, "has no header yet"
    elif file.count == 0:
        file.fate, file.why = Fate.REMOVED, "holds no whole transaction"
    else:
        file.fate, file.why = Fate.WRITE, "not committed"


_HEADER_BYTES = 8
_OFFSET_BYTES = 4


def _believed_count(file: NodeFile) -> int | None:
    """How many transactions a node takes a broken chunk to have, by its header alone; None when it gives up."""
    with Path(file.path).open("rb") as opened:
        header = opened.read(_HEADER_BYTES)
    table = int.from_bytes(header, "little")
    if len(header) < _HEADER_BYTES or table > file.size:
        return None
    file.complete = table != 0
    return (file.size - table) // _OFFSET_BYTES if table else None


def _open(file: NodeFile) -> None:
    if not Path(file.path).is_file():
        file.unreadable = "not a regular file"
        return
    try:
        file.size = Path(file.path).stat().st_size
        chunk = _native.ChunkFile.open(file.path)
    except (FormatError, LimitExceededError) as error:
        file.problem = error
        file.count = _believed_count(file)
        return
    except OSError as error:
        file.unreadable = error.strerror or str(error)
        return
    file.count, file.complete, file.tail = chunk.entry_count, chunk.complete, chunk.partial_tail
    file.first_seqno, file.damage = chunk.first_seqno, chunk.tail_damage
