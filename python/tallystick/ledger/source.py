"""Where chunk files are read from: paths of this machine, and URLs that fsspec understands.

The core reads local files. A file at a URL is copied to a temporary file for as long as it is looked at, one
or a few at a time, so neither memory nor disk grows with the ledger. Everything that is said about a file
names its URL, never the copy.

URLs need the extra ``remote`` (``fsspec``, and for each kind of store what fsspec wants for it).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tallystick._native import ChunkFile
from tallystick.errors import FormatError, LimitExceededError, UsageError

__all__ = ["ChunkFacts", "FoundFile", "chunk_facts", "is_url", "list_place", "local_copy", "open_chunk", "parent_of"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class FoundFile(NamedTuple):
    """Something with a name in a directory, or a file that was named itself.

    Attributes:
        path: path or URL.
        name: last part of it.
        size: bytes.
        is_file: a regular file.
        identity: the same for two names of one file.
    """

    path: str
    name: str
    size: int
    is_file: bool
    identity: object


class ChunkFacts(NamedTuple):
    """What choosing files needs to know of a chunk; as in :class:`tallystick._native.ChunkFile`."""

    first_seqno: int | None
    entry_count: int
    complete: bool
    partial_tail: tuple[int, int] | None
    tail_damage: str | None


def is_url(path: str) -> bool:
    """Whether ``path`` is a URL (``scheme://…``) rather than a path."""
    return _URL.match(path) is not None


def parent_of(path: str) -> str:
    """The directory of a path or URL."""
    return path.rpartition("/")[0] if is_url(path) else str(Path(path).parent)


def list_place(path: str) -> tuple[bool, list[FoundFile]]:
    """What a path or URL names: (whether it is a directory, what is in it by name, or the file itself).

    Raises:
        UsageError: nothing is there, or neither a directory nor a regular file (``path-missing``).
        OSError: it cannot be read.
    """
    if is_url(path):
        from tallystick.ledger import urls

        return urls.list_url(path)
    place = Path(path)
    if place.is_dir():
        with os.scandir(path) as listing:
            entries = sorted(listing, key=lambda item: item.name)
        return True, [_local(entry.path, entry.name) for entry in entries]
    if place.is_file():
        return False, [_local(path, place.name)]
    problem = "neither a directory nor a regular file" if place.exists() else "no such file or directory"
    raise UsageError(problem, code="path-missing", file=path)


def _local(path: str, name: str) -> FoundFile:
    if not Path(path).is_file():
        return FoundFile(path, name, 0, False, path)
    status = Path(path).stat()
    return FoundFile(path, name, status.st_size, True, (status.st_dev, status.st_ino))


@contextmanager
def local_copy(path: str) -> Iterator[str]:
    """A local path of the file: itself, or for a URL a temporary copy that is gone afterwards.

    Raises:
        UsageError: the URL cannot be read at all (scheme, extra, ``--offline``).
        OSError: the file cannot be read.
    """
    if not is_url(path):
        yield path
        return
    from tallystick.ledger import urls

    with urls.spooled(path) as copy:
        yield copy


def open_chunk(path: str) -> ChunkFile:
    """Opens a chunk file; that of a URL keeps its copy on disk, without a name, until it is dropped.

    Raises:
        FormatError: it is not framed as a chunk (code, file, offset).
        OSError: it cannot be read.
    """
    try:
        with local_copy(path) as copy:
            return ChunkFile.open(copy)
    except (FormatError, LimitExceededError) as error:
        raise error.at(file=path) from None


def chunk_facts(path: str, size: int) -> ChunkFacts:
    """Framing of a chunk; of a complete chunk at a URL only the ends are read.

    Raises:
        FormatError: it is not framed as a chunk.
        OSError: it cannot be read.
    """
    if is_url(path):
        from tallystick.ledger import urls

        with urls.outline(path, size) as copy:
            chunk = ChunkFile.open(copy)
    else:
        chunk = ChunkFile.open(path)
    return ChunkFacts(chunk.first_seqno, chunk.entry_count, chunk.complete, chunk.partial_tail, chunk.tail_damage)
