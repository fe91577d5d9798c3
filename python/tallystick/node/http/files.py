"""Files as answers: ranges, digests, entity tags.

Ledger chunks follow RFC 9110: without a range 200 and the whole file, with one 206 and an inclusive end.
Snapshots follow what CCF nodes send each other: always 206, and the end of a range is *exclusive*, in the
request as well as in ``content-range``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tallystick.node.http.context import Context, Reply
from tallystick.node.http.errors import Code, HttpError

__all__ = ["MAX_PART_BYTES", "ByteRange", "parse_range", "serve_file", "wanted_digest"]

MAX_PART_BYTES = 64 << 20
"""Most bytes in one answer: an answer is held in memory. More comes in further ranges."""

MAX_DIGESTS = 256
"""Digests of whole files that are remembered."""

OCTETS = "application/octet-stream"
_READ_BYTES = 1 << 20
_DIGESTS = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}
_NUMBER = re.compile(r"\d{1,19}\Z")


@dataclass(frozen=True)
class ByteRange:
    """Bytes ``start`` to ``end``, the latter excluded."""

    start: int
    end: int


def parse_range(header: str, total: int, *, inclusive: bool) -> ByteRange:
    """A ``Range`` header applied to a file of ``total`` bytes; what exceeds the file is cut off.

    Args:
        inclusive: whether the last byte named belongs to the range.

    Raises:
        HttpError: 400, it is malformed or begins behind the end.
    """
    unit, _, ranges = header.partition("=")
    if unit.strip() != "bytes":
        raise _invalid("Only 'bytes' is supported as a Range header unit")
    if "," in ranges:
        raise _invalid("Multiple ranges are not supported")
    first, dash, last = ranges.strip().partition("-")
    if not dash or "-" in last:
        raise _invalid(f"Invalid format, cannot parse range in {header[:128]}")
    if not first and not last:
        raise _invalid("Invalid range: Must contain range-start or range-end")
    if not first:
        return ByteRange(max(0, total - _number(last, header, "end of range offset")), total)
    start = _number(first, header, "start of range")
    if start > total:
        raise _invalid(f"Start of range {start} is larger than total file size {total}")
    if not last:
        return ByteRange(start, total)
    end = min(_number(last, header, "end of range") + (1 if inclusive else 0), total)
    if end < start:
        raise _invalid(f"Invalid range: Start ({start}) and end ({end}) out of order")
    return ByteRange(start, end)


def wanted_digest(header: str | None) -> str | None:
    """The digest algorithm to answer a ``Want-Repr-Digest`` header with (RFC 9530); None if none is wanted.

    Of those that are supported the one with the highest preference counts, and SHA-256 if there is none.
    """
    if header is None:
        return None
    best, preference = "sha-256", 0
    for part in header.split(","):
        name, _, weight = part.strip().partition("=")
        weight = weight.partition(";")[0].strip()
        if name.strip() in _DIGESTS and _NUMBER.match(weight) and int(weight) > preference:
            best, preference = name.strip(), int(weight)
    return best


def serve_file(context: Context, path: Path, name_header: tuple[str, str], *, snapshot: bool) -> Reply:
    """Answers ``GET`` or ``HEAD`` with a file.

    Args:
        context: the request.
        path: an existing file.
        name_header: header that tells the file's name.
        snapshot: whether the rules for snapshots apply (see above).

    Raises:
        HttpError: the range cannot be served, or the file cannot be read.
    """
    try:
        total = path.stat().st_size
        headers = [("accept-ranges", "bytes"), name_header]
        algorithm = wanted_digest(context.header("want-repr-digest"))
        if algorithm is not None:
            headers.append(("repr-digest", f"{algorithm}=:{_digest_of(path, _DIGESTS[algorithm])}:"))
        if context.request.method == "HEAD":
            return Reply(200, (*headers, ("content-length", str(total))))
        range_header = context.header("range")
        if range_header is None and not snapshot and total > MAX_PART_BYTES:
            raise _invalid(f"File of {total} bytes is too large for one answer: ask for ranges of it")
        part = ByteRange(0, total)
        if range_header is not None:
            part = parse_range(range_header, total, inclusive=not snapshot)
        part = ByteRange(part.start, min(part.end, part.start + MAX_PART_BYTES))
        with path.open("rb") as file:
            file.seek(part.start)
            body = file.read(part.end - part.start)
    except OSError as error:
        raise HttpError(
            500, Code.INTERNAL_ERROR, f"Server was unable to read the file correctly: {error.strerror}"
        ) from error
    headers.append(("content-type", OCTETS))
    partial = snapshot or range_header is not None
    if partial:
        last = part.end if snapshot else part.end - 1
        headers.append(("content-range", f"bytes {part.start}-{last}/{total}"))
    return _conditional(context.request.headers, Reply(206 if partial else 200, tuple(headers), body))


def _conditional(request_headers: Mapping[str, str], reply: Reply) -> Reply:
    """Adds the entity tag of the bytes sent, or answers that the client has them already."""
    headers = (*reply.headers, ("etag", f'"{_tag("sha-256", reply.body)}"'))
    condition = request_headers.get("if-none-match")
    if condition is not None:
        known = {tag.strip().removeprefix("W/").strip('"') for tag in condition.split(",")}
        # Clients may name the bytes by any digest that could have been asked for.
        named = {name for name in _DIGESTS if any(tag.startswith(name) for tag in known)}
        if "*" in known or any(_tag(name, reply.body) in known for name in named):
            return Reply(304, headers)
    return Reply(reply.status, headers, reply.body)


def _tag(name: str, body: bytes) -> str:
    return f"{name}=:{base64.b64encode(hashlib.new(_DIGESTS[name], body).digest()).decode()}:"


def _digest_of(path: Path, algorithm: str) -> str:
    status = path.stat()
    return _digest_of_version(str(path), algorithm, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=MAX_DIGESTS)
def _digest_of_version(path: str, algorithm: str, _size: int, _changed: int) -> str:
    """Clients ask for the digest of the whole file with each range of it, so it is computed once."""
    digest = hashlib.new(algorithm)
    with Path(path).open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return base64.b64encode(digest.digest()).decode()


def _number(text: str, header: str, what: str) -> int:
    if not _NUMBER.match(text):
        raise _invalid(f"Unable to parse {what} value {text[:32]} in {header[:128]}")
    return int(text)


def _invalid(message: str) -> HttpError:
    return HttpError(400, Code.INVALID_HEADER_VALUE, message)
