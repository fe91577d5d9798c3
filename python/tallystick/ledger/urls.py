"""Files at URLs, through fsspec: S3, Azure Blob, Google Cloud Storage, HTTP, SFTP and what else it knows.

Credentials and endpoints come from where each store's own library takes them (its environment variables and
files), or from fsspec's configuration; nothing of the kind is on the command line.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tallystick.errors import UsageError
from tallystick.ledger.source import FoundFile
from tallystick.network import require_network

__all__ = ["MAX_CHUNK_BYTES", "list_url", "outline", "spooled"]

MAX_CHUNK_BYTES = 1 << 32
"""Largest chunk file: the numbers of its offset table have 32 bits."""

# Schemes that stay on this machine.
_LOCAL = ("memory", "file", "local")

# Bytes copied at a time.
_BLOCK = 4 << 20

# An offset table and a first entry that are larger than this are not worth reading apart from the rest.
_MAX_OUTLINE = 32 << 20


def _open_filesystem(url: str) -> tuple[Any, str, str]:
    """(file system, path in it, scheme)."""
    scheme = url.partition("://")[0].lower()
    if scheme not in _LOCAL:
        require_network(url)
    try:
        import fsspec
    except ImportError as error:
        raise UsageError(
            "reading URLs needs fsspec", code="extra-missing", file=url, hint="pip install 'tallystick[remote]'"
        ) from error
    try:
        # Instances are kept by fsspec, and with them connections; listings must not be: ledgers grow.
        filesystem, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise UsageError(
            f"URL cannot be read: {error}", code="extra-missing", file=url, hint="pip install 'tallystick[remote]'"
        ) from error
    return filesystem, path, scheme


@contextmanager
def _errors_named(url: str) -> Iterator[None]:
    """Gives every failure of a store the shape of a failed read, with the URL as its file."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError("no such file or directory", code="path-missing", file=url) from error
    except OSError as error:
        raise OSError(error.errno or 0, str(error.strerror or error), url) from error
    except UsageError:
        raise
    except Exception as error:
        raise OSError(0, f"{type(error).__name__}: {error}", url) from error


def list_url(url: str) -> tuple[bool, list[FoundFile]]:
    """What a URL names: (whether it is a directory, what is in it by name, or the file itself).

    Raises:
        UsageError: nothing is there (``path-missing``), or URLs of this kind cannot be read.
        OSError: the store does not answer, or refuses.
    """
    filesystem, path, scheme = _open_filesystem(url)
    with _errors_named(url):
        if filesystem.isdir(path):
            found = [_found(item, scheme, url) for item in filesystem.ls(path, detail=True)]
            # Some stores list a directory as an object in itself.
            return True, sorted((item for item in found if item.name), key=lambda item: item.name)
        if not filesystem.exists(path):
            raise FileNotFoundError
        info = filesystem.info(path)
        return False, [FoundFile(url, url.rstrip("/").rpartition("/")[2], _size(info, url), True, url)]


def _found(item: dict[str, Any], scheme: str, url: str) -> FoundFile:
    full = str(item["name"])
    name = "" if full.endswith("/") and item["type"] == "file" else full.rstrip("/").rpartition("/")[2]
    is_file = item["type"] == "file"
    path = full if "://" in full else f"{url.rstrip('/')}/{name}"
    # HTTP listings tell no sizes; a file is asked for its own.
    size = _size(item, path) if is_file and item.get("size") is not None else 0
    if is_file and item.get("size") is None and name.startswith("ledger_"):
        filesystem, place, _ = _open_filesystem(path)
        size = _size(filesystem.info(place), path)
    return FoundFile(path, name, size, is_file, path)


def _size(info: dict[str, Any], url: str) -> int:
    size = info.get("size")
    if not isinstance(size, int):
        raise OSError(0, "server does not tell the size of the file", url)
    return size


@contextmanager
def _temporary() -> Iterator[str]:
    descriptor, name = tempfile.mkstemp(prefix="tallystick-")
    os.close(descriptor)
    try:
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def spooled(url: str) -> Iterator[str]:
    """A temporary copy of the file at ``url``.

    Raises:
        UsageError: nothing is there.
        OSError: it cannot be read, or is larger than any chunk can be.
    """
    filesystem, path, scheme = _open_filesystem(url)
    # Web servers need not know ranges: files of theirs are read as they come.
    block = 0 if scheme in ("http", "https") else _BLOCK
    with _temporary() as name:
        with _errors_named(url), filesystem.open(path, "rb", cache_type="none", block_size=block) as source:
            copied = 0
            with Path(name).open("wb") as target:
                while block := source.read(_BLOCK):
                    copied += len(block)
                    if copied > MAX_CHUNK_BYTES:
                        raise OSError(
                            errno.EFBIG, f"larger than the {MAX_CHUNK_BYTES} bytes that a chunk can have", url
                        )
                    target.write(block)
        yield name


@contextmanager
def outline(url: str, size: int) -> Iterator[str]:
    """A temporary file that has the size, the first entry and the offset table of the chunk at ``url``.

    In between is a hole: of a complete chunk, only this much tells which transactions it holds. Everything
    else, and whatever is odd, is copied whole.
    """
    filesystem, path, _ = _open_filesystem(url)
    with _errors_named(url), filesystem.open(path, "rb", cache_type="none", block_size=_BLOCK) as source:
        try:
            pieces = _read_ends(source, size)
        except ValueError:
            pieces = None  # a web server that does not know ranges
    if pieces is None:
        with spooled(url) as copy:
            yield copy
        return
    head, table_offset, table = pieces
    with _temporary() as name:
        with Path(name).open("wb") as target:
            target.write(head)
            target.seek(table_offset)
            target.write(table)
            target.truncate(size)
        yield name


def _read_ends(source: Any, size: int) -> tuple[bytes, int, bytes] | None:
    """(Up to the end of the first entry, where the offset table is, offset table); None where that is not simple."""
    table_offset = int.from_bytes(source.read(8), "little")
    if not 8 < table_offset < size or size - table_offset > _MAX_OUTLINE:
        return None
    source.seek(table_offset)
    table = source.read(size - table_offset)
    first_end = int.from_bytes(table[4:8], "little") if len(table) >= 8 else table_offset
    if len(table) != size - table_offset or not 8 < first_end <= min(table_offset, _MAX_OUTLINE):
        return None
    source.seek(0)
    head = source.read(first_end)
    return (head, table_offset, table) if len(head) == first_end else None
