"""Reads chunk files that are to be cut or joined, and writes the new ones: lossless, and looked at again.

What is written appears under its name only when it is whole: it is put together in a directory of its own beside
the target, synced, compared with its sources byte for byte, and linked to its name, which must be free. Sources
are opened for reading only.

Memory does not grow with the files: entries are copied in blocks.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tallystick.repair.codes  # noqa: F401 -- registers the codes of this area
from tallystick import _native
from tallystick.errors import FormatError, LimitExceededError, UsageError, VerificationError
from tallystick.findings import CATALOGUE, Effect
from tallystick.ledger.directory import ChunkName, parse_chunk_name
from tallystick.tables.names import SIGNATURE_TABLES

__all__ = ["Marks", "Piece", "Plan", "SourceChunk", "WrittenChunk", "is_signature", "open_source", "write_chunks"]

# A block is handed to the writer when it has so many entries or bytes, whichever comes first: enough to make the
# calls few, and some tens of megabytes at most, as single entries can be large.
_BLOCK_ENTRIES = 4_096
_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Marks:
    """What the name of a chunk says beside its seqnos.

    Attributes:
        committed: a node saw the whole chunk committed.
        recovery: written by a recovered service that was not yet open.
    """

    committed: bool = False
    recovery: bool = False


@dataclass(frozen=True)
class SourceChunk:
    """A chunk file that was found sound in its framing.

    Attributes:
        path: as given.
        name: what its name says; None when it is not named as a chunk.
        first, last: seqnos of its first and last whole transaction.
        complete: ends with an offset table.
        tail: (offset, bytes) of a half-written last transaction, which is not copied.
    """

    path: str
    name: ChunkName | None
    first: int
    last: int
    complete: bool
    tail: tuple[int, int] | None

    @property
    def marks(self) -> Marks:
        """Of its name; none for a name that is no chunk's, was set aside, or is a partial download."""
        if self.name is None or self.name.ignored:
            return Marks()
        return Marks(self.name.committed, self.name.recovery)

    def entry(self, seqno: int) -> _native.Entry:
        """The transaction with that seqno, which must be in the file."""
        return _native.ChunkFile.open(self.path).entry(seqno - self.first)

    def entries(self, first: int, last: int) -> Iterator[_native.Entry]:
        """Transactions ``first`` to ``last``, which must be in the file."""
        # Opened when it is read: a range can run over thousands of files, and descriptors are few.
        return _native.ChunkFile.open(self.path).entries(first - self.first, last - first + 1)


@dataclass(frozen=True)
class Piece:
    """Transactions ``first`` to ``last`` of a source."""

    source: SourceChunk
    first: int
    last: int


@dataclass(frozen=True)
class WrittenChunk:
    """A chunk file that was written and compared with its sources.

    Attributes:
        path: where it is.
        first_seqno, last_seqno: the transactions that it holds.
        size: bytes.
        complete: it ends with an offset table.
        committed: its name says ``.committed``, because that of every source did.
        ends_on_signature: its last transaction is a signature transaction, as in every complete chunk of a node.
    """

    path: str
    first_seqno: int
    last_seqno: int
    size: int
    complete: bool
    committed: bool
    ends_on_signature: bool

    @property
    def transactions(self) -> int:
        """How many transactions it holds."""
        return self.last_seqno - self.first_seqno + 1

    def to_json(self) -> dict[str, object]:
        """As in JSON output."""
        return {
            "path": self.path,
            "first_seqno": self.first_seqno,
            "last_seqno": self.last_seqno,
            "transactions": self.transactions,
            "bytes": self.size,
            "complete": self.complete,
            "committed": self.committed,
            "ends_on_signature": self.ends_on_signature,
        }


def is_signature(entry: _native.Entry) -> bool:
    """Whether the transaction carries a signature over the Merkle root."""
    return not frozenset(SIGNATURE_TABLES).isdisjoint(entry.table_names())


# ----------------------------------------------------------------------------------------------- reading


def open_source(path: str | os.PathLike[str], *, cut_tail: bool = False) -> SourceChunk:
    """Opens a chunk file, and walks it: sizes, table and seqnos must be as a node writes them.

    Args:
        path: a chunk file.
        cut_tail: leave out a half-written last transaction, as a node does, instead of refusing the file.

    Raises:
        UsageError: there is no such file.
        FormatError: its framing is broken, it holds no transaction, its content is not what its name says, or it
            ends in a half-written transaction.
        LimitExceededError: a transaction is larger than this program reads.
    """
    name = os.fspath(path)
    if not Path(name).is_file():
        raise UsageError("no such file", code="path-missing", file=name)
    try:
        chunk = _native.ChunkFile.open(name)
    except (FormatError, LimitExceededError) as error:
        raise error.at(file=name) from None
    if chunk.first_seqno is None or chunk.entry_count == 0:
        raise FormatError("chunk holds no transaction", code="chunk-empty", file=name)
    tail = chunk.partial_tail
    if tail is not None and not cut_tail:
        raise FormatError(
            f"chunk ends in a half-written transaction of {tail[1]} bytes",
            code="partial-tail",
            file=name,
            offset=tail[0],
            hint="--cut-tail leaves it out, as a node does",
        )
    walk(name, chunk.first_seqno)
    source = SourceChunk(
        name,
        parse_chunk_name(Path(name).name),
        chunk.first_seqno,
        chunk.first_seqno + chunk.entry_count - 1,
        chunk.complete,
        tail,
    )
    _check_name(source)
    return source


def walk(path: str, first_seqno: int) -> int:
    """Walks a chunk file from entry to entry; returns how many there are.

    Raises:
        FormatError: the framing is broken, or seqnos do not follow one another.
        LimitExceededError: an entry is larger than this program reads.
    """
    count = 0
    for batch in _native.LedgerScanner([path], level="offsets", first_seqno=first_seqno):
        for item in batch.findings:
            info = CATALOGUE.get(item.code)
            if item.code == "entry-too-large":
                raise LimitExceededError(item.message, code=item.code, file=path, offset=item.offset)
            if info is None or info.verdict_effect is Effect.FAILS:
                raise FormatError(item.message, code=item.code, file=path, offset=item.offset)
        if batch.count and batch.first_seqno != first_seqno + count:
            raise FormatError(
                f"seqno: expected {first_seqno + count}, got {batch.first_seqno}", code="seqno-gap", file=path
            )
        count += batch.count
    return count


def _check_name(source: SourceChunk) -> None:
    name = source.name
    if name is None:
        return
    if name.first != source.first or (name.last is not None and name.last != source.last):
        expected = f"{name.first} to {name.last}" if name.last is not None else f"{name.first} and up"
        raise FormatError(
            f"content does not fit the name: expected seqnos {expected}, got {source.first} to {source.last}",
            code="chunk-name",
            file=source.path,
        )
    if name.committed and not source.complete:
        raise FormatError(
            "offset table missing: expected a complete chunk by its name, got an open one",
            code="chunk-incomplete",
            file=source.path,
            offset=0,
        )


# ----------------------------------------------------------------------------------------------- writing


@dataclass(frozen=True)
class Plan:
    """A chunk file to write: the pieces, in order, and how it ends."""

    pieces: Sequence[Piece]
    complete: bool
    marks: Marks

    @property
    def first(self) -> int:
        """Seqno of its first transaction."""
        return self.pieces[0].first

    @property
    def last(self) -> int:
        """Seqno of its last transaction."""
        return self.pieces[-1].last

    @property
    def file_name(self) -> str:
        """As a node or its tools would name it."""
        name = f"ledger_{self.first}"
        if self.complete:
            name += f"-{self.last}" + (".committed" if self.marks.committed else "")
        return name + (".recovery" if self.marks.recovery else "")


def write_chunks(plans: Sequence[Plan], directory: str | os.PathLike[str]) -> list[WrittenChunk]:
    """Writes chunk files; either all of them appear, or none.

    Args:
        plans: what to write.
        directory: where to; made if it is not there. It must not be one that holds a source: a node would find
            the same transactions twice.

    Raises:
        UsageError: ``directory`` holds a source, or a file of the name is there already.
        LimitExceededError: a chunk would grow beyond the 4 GiB that its table can address.
        VerificationError: what was written is not what was read: the disk is at fault.
        OSError: the file system's.
    """
    target = Path(directory)
    _check_target(target, plans)
    target.mkdir(parents=True, exist_ok=True)
    with _scratch(target) as scratch:
        written = []
        for number, plan in enumerate(plans):
            place = scratch / str(number)
            place.mkdir()
            path = _write(plan, place)
            _verify(plan, path)
            written.append(path)
        finals = _publish([(path, target / plan.file_name) for path, plan in zip(written, plans, strict=True)])
    _sync_directory(target)
    return [_describe(plan, path) for plan, path in zip(plans, finals, strict=True)]


def _check_target(target: Path, plans: Sequence[Plan]) -> None:
    for plan in plans:
        for piece in plan.pieces:
            if Path(piece.source.path).resolve().parent == target.resolve():
                raise UsageError(
                    "output directory holds the source: its transactions would be there twice",
                    code="output-in-source",
                    file=str(target),
                    hint="name another --output-directory",
                )
        final = target / plan.file_name
        if final.exists() or final.is_symlink():
            raise UsageError("file exists, and is not overwritten", code="output-exists", file=str(final))


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    # Beside the target, so that a link to the final name stays within one file system.
    scratch = Path(tempfile.mkdtemp(prefix=".tallystick-", dir=target))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(plan: Plan, place: Path) -> Path:
    writer = _native.ChunkWriter(str(place), plan.first)
    for piece in plan.pieces:
        block: list[bytes] = []
        held = 0
        for entry in piece.source.entries(piece.first, piece.last):
            block.append(entry.raw)
            held += entry.size
            if len(block) >= _BLOCK_ENTRIES or held >= _BLOCK_BYTES:
                writer.append_many(block)
                block, held = [], 0
        writer.append_many(block)
    if plan.complete:
        return Path(writer.complete(committed=plan.marks.committed))
    path = Path(writer.close())
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path


def _verify(plan: Plan, path: Path) -> None:
    """Reads back what was written: framing and table, number of transactions, every byte of every entry."""
    expected = plan.last - plan.first + 1
    try:
        count = walk(str(path), plan.first)
        chunk = _native.ChunkFile.open(str(path))
    except FormatError as error:
        raise _not_the_same(plan, error.message) from error
    if count != expected or chunk.entry_count != expected or chunk.first_seqno != plan.first:
        raise _not_the_same(plan, f"expected {expected} transactions from {plan.first} on, got {count}")
    if chunk.complete != plan.complete or chunk.partial_tail is not None:
        raise _not_the_same(plan, "it does not end as it should")
    for piece in plan.pieces:
        difference = _native.first_difference(piece.source.path, str(path))
        if difference is not None and piece.first <= difference[0] <= piece.last:
            raise _not_the_same(plan, f"transaction {difference[0]} differs")


def _not_the_same(plan: Plan, problem: str) -> VerificationError:
    return VerificationError(
        f"{plan.file_name} reads back otherwise than it was written: {problem}; nothing was kept", code="output-differs"
    )


def _publish(moves: Sequence[tuple[Path, Path]]) -> list[Path]:
    done: list[Path] = []
    try:
        for path, final in moves:
            _give_name(path, final)
            done.append(final)
    except BaseException:
        for final in done:
            final.unlink(missing_ok=True)
        raise
    return done


def _give_name(path: Path, final: Path) -> None:
    try:
        # A link fails where the name is taken; a rename would overwrite.
        os.link(path, final)
    except FileExistsError:
        raise UsageError("file exists, and is not overwritten", code="output-exists", file=str(final)) from None
    except OSError:
        # No hard links here. The empty file reserves the name; only then it is replaced.
        try:
            os.close(os.open(final, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            raise UsageError("file exists, and is not overwritten", code="output-exists", file=str(final)) from None
        path.replace(final)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _describe(plan: Plan, path: Path) -> WrittenChunk:
    last = plan.pieces[-1]
    return WrittenChunk(
        str(path),
        plan.first,
        plan.last,
        path.stat().st_size,
        plan.complete,
        plan.complete and plan.marks.committed,
        is_signature(last.source.entry(last.last)),
    )
