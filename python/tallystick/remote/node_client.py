"""Downloads files from the endpoints of a CCF node: ``/node/ledger-chunk`` and ``/node/snapshot``.

What nodes do (CCF 7; snapshots since 4):

* ``?since=SEQNO`` answers 308 to the file that is meant, on this node or another one; 404 when there is none;
* files come in ranges. Nodes take the end of a range as *exclusive*, and say so in ``content-range``; RFC 9110
  has it inclusive. What counts here is where a range starts and how many bytes come;
* ``Want-Repr-Digest`` is answered with the digest of the whole file.

Nothing that comes is trusted: names, sizes and ranges are checked, and what the bytes are worth is for the
verifier to say. TLS is verified against the service's certificate, which has signed those of its nodes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import io
import json
import re
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, urldefrag, urljoin, urlsplit

from tallystick.errors import LimitExceededError, TallystickError, UndecidedError, UsageError
from tallystick.network import require_network, tls_context

__all__ = ["Download", "NodeClient"]

MAX_REDIRECTS = 20
"""As many as nodes themselves follow when they fetch snapshots."""

RANGE_BYTES = 4 << 20
"""Bytes asked for at a time, as nodes do: a node holds each answer in memory."""

PROBE_BYTES = 64 << 10
"""Bytes asked for first, to learn where a file is, how large, and whether what is here begins alike."""

ATTEMPTS = 5
"""Times in a row without a single new byte until a download is given up."""

_READ_BYTES = 256 << 10
_BACKOFF_SECONDS = 0.2
# Bodies of errors are a line of JSON.
_MAX_ERROR_BYTES = 64 << 10

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})\Z")
_SHA256 = re.compile(r"sha-256=:([A-Za-z0-9+/=]{44}):")


@dataclass(frozen=True)
class Download:
    """A file that has come whole.

    Attributes:
        path: where it is now.
        name: what the node calls it.
        url: where it came from.
        size: bytes.
    """

    path: Path
    name: str
    url: str
    size: int


class _TransientError(Exception):
    """Worth another attempt; carries what to say when there is none left."""

    def __init__(self, error: TallystickError) -> None:
        super().__init__(str(error))
        self.error = error


class _DigestError(Exception):
    """The file came whole, and is another one."""

    def __init__(self, error: TallystickError) -> None:
        super().__init__(str(error))
        self.error = error


class _Progress:
    """Whether attempts get any further."""

    def __init__(self) -> None:
        self._best = 0
        self._advanced = False

    def reach(self, position: int) -> None:
        """So many bytes have come."""
        if position > self._best:
            self._best, self._advanced = position, True

    def take(self) -> bool:
        """Whether more came than ever before since the last call."""
        advanced, self._advanced = self._advanced, False
        return advanced


@dataclass
class _Answer:
    """The head of an answer with (a part of) a file."""

    response: http.client.HTTPResponse
    url: str
    start: int
    length: int
    total: int


class NodeClient:
    """A node, by the URL of one of its interfaces.

    Args:
        url: ``https://HOST:PORT`` (or ``http://``, which gives up secrecy, not integrity).
        tls_ca: PEM files of certificates that sign the nodes' own; those of the system when there is none.
        timeout: seconds for a connection or an answer.
        pause: waits so many seconds between attempts.

    Raises:
        UsageError: the URL is another one, a certificate cannot be read, or the network is forbidden.
    """

    def __init__(
        self,
        url: str,
        *,
        tls_ca: Sequence[str] = (),
        timeout: float = 30.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        require_network(url)
        parts = _split(url)
        if parts is None or parts.query or parts.fragment:
            raise UsageError("not the URL of a node: expected https://HOST:PORT", file=url)
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._pause = pause
        self._context = tls_context(tls_ca) if parts.scheme == "https" else None
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def close(self) -> None:
        """Closes all connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def download(
        self, target: str, directory: Path, *, max_bytes: int, accept: Callable[[str], None]
    ) -> Download | None:
        """Downloads the file that ``target`` leads to into ``directory``, as ``NAME.part``.

        A ``NAME.part`` that is there already is gone on with, if it begins as the file does.

        Args:
            target: path and query on the node.
            directory: where to write.
            max_bytes: largest size.
            accept: called with the file's name; raises unless it is one that may come.

        Returns:
            The file; None when the node knows of none (404).

        Raises:
            UndecidedError: the node is not there, or does not send the file (``download-…``).
            LimitExceededError: the file is too large.
        """
        progress = _Progress()
        failures = 0
        restarted = False
        while True:
            try:
                return self._attempt(target, directory, max_bytes, accept, progress)
            except _DigestError as problem:
                # What was held from an earlier run may be of another file; from scratch it has to fit.
                if restarted:
                    raise problem.error from None
                restarted = True
            except _TransientError as problem:
                failures = 1 if progress.take() else failures + 1
                if failures >= ATTEMPTS:
                    raise problem.error from None
                self._pause(_BACKOFF_SECONDS * 2 ** (failures - 1))

    def _attempt(
        self, target: str, directory: Path, max_bytes: int, accept: Callable[[str], None], progress: _Progress
    ) -> Download | None:
        answer = self._resolve(self.url + target)
        if answer is None:
            return None
        url, total = answer.url, answer.total
        name = urlsplit(url).path.rpartition("/")[2]
        try:
            accept(name)
            _check_announced_name(answer.response, name, url)
            if total > max_bytes:
                message = f"file is too large: expected at most {max_bytes} bytes, got {total}"
                raise LimitExceededError(message, code="download-too-large", file=url)
        except TallystickError:
            self._drop(url)  # its body is of no interest
            raise
        digest = _announced_digest(answer.response)
        path = directory / f"{name}.part"
        with path.open("r+b" if path.exists() else "w+b") as file:
            position = self._begin(answer, file, progress)
            while position < total:
                following = self._request(url, position, RANGE_BYTES)
                if not isinstance(following, _Answer) or following.total != total:
                    raise _transient("download-range", f"file changed under way: expected {total} bytes of it", url)
                position = self._copy(following, file, progress)
            file.truncate(total)
            file.flush()
        if digest is not None and _sha256(path) != digest:
            path.unlink()
            raise _DigestError(_error("download-digest", "file does not have the digest that was announced", url))
        return Download(path, name, url, total)

    def _begin(self, answer: _Answer, file: BinaryIO, progress: _Progress) -> int:
        """Writes the first bytes; what is there already is kept if it begins with them."""
        size = file.seek(0, io.SEEK_END)
        if answer.length > PROBE_BYTES + 1 or size <= answer.length:
            file.truncate(0)
            return self._copy(answer, file, progress)
        file.seek(0)
        before = file.read(answer.length)
        position = self._copy(answer, file, progress)
        file.seek(0)
        if file.read(position) == before:
            return min(size, answer.total)
        file.truncate(position)
        return position

    def _copy(self, answer: _Answer, file: BinaryIO, progress: _Progress) -> int:
        """Writes the body of ``answer`` to its place, piece by piece, and returns where it ends."""
        file.seek(answer.start)
        left = answer.length
        try:
            while left and (piece := answer.response.read(min(left, _READ_BYTES))):
                file.write(piece)
                left -= len(piece)
        except (OSError, http.client.HTTPException):
            pass  # the next attempt goes on from here
        position = answer.start + answer.length - left
        progress.reach(position)
        if left:
            file.flush()
            self._drop(answer.url)
            raise _transient("download-failed", "connection ended before the file did", answer.url)
        answer.response.read()  # marks the connection as free
        return position

    def _resolve(self, url: str) -> _Answer | None:
        """Follows redirects to a file; None for 404."""
        seen: list[str] = []
        while True:
            if url in seen or len(seen) > MAX_REDIRECTS:
                what = "in a circle" if url in seen else f"to more than {MAX_REDIRECTS} places"
                raise _error("download-redirects", f"redirects lead {what}", url)
            seen.append(url)
            answer = self._request(url, 0, PROBE_BYTES)
            if not isinstance(answer, str):
                return answer
            following = _target(url, answer)
            if following is None:
                raise _error("download-redirects", f"redirect leads to no node: {answer[:128]!r}", url)
            if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
                raise _error("download-redirects", f"redirect leads away from TLS: {following}", url)
            url = following

    def _request(self, url: str, start: int, count: int) -> _Answer | str | None:
        """One request: a part of a file, the location of a redirect, or None for 404."""
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        # The range is what nodes ask each other for; its end is exclusive to them and inclusive to others.
        headers = {"Range": f"bytes={start}-{start + count}", "Want-Repr-Digest": "sha-256=1"}
        try:
            connection = self._connection(parts.scheme, parts.netloc)
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            problem = f"TLS certificate is not of this service: {error.verify_message}"
            raise _error("download-tls", problem, url) from error
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            # UnicodeError: a host name that no name service can be asked for.
            self._drop(url)
            raise _transient("download-failed", f"no answer: {error or type(error).__name__}", url) from error
        if response.status in (200, 206):
            try:
                return _file_answer(response, url, start, count)
            except _TransientError:
                self._drop(url)
                raise
        try:
            body = response.read(_MAX_ERROR_BYTES)
        except (OSError, http.client.HTTPException):
            body = b""
        if not response.isclosed():
            self._drop(url)
        if response.status in (307, 308):
            location = response.getheader("location")
            if not location:
                raise _error("download-redirects", "redirect without a location", url)
            return location
        if response.status == 404:
            if "/ledger-chunk" in parts.path and _reason(body).startswith(_NO_SUCH_PATH):
                raise _error("node-has-nothing", "the node does not offer ledger chunks: CCF does since 7.0", url)
            return None
        problem = f"status {response.status}: {_reason(body)}"
        if response.status >= 500 or response.status == 429:
            raise _transient("download-failed", problem, url)
        raise _error("download-failed", problem, url)

    def _connection(self, scheme: str, netloc: str) -> http.client.HTTPConnection:
        known = self._connections.get((scheme, netloc))
        if known is not None:
            return known
        if scheme == "https" and self._context is None:
            self._context = tls_context(())
        made: http.client.HTTPConnection
        if scheme == "https":
            made = http.client.HTTPSConnection(netloc, timeout=self._timeout, context=self._context)
        else:
            made = http.client.HTTPConnection(netloc, timeout=self._timeout)
        self._connections[scheme, netloc] = made
        return made

    def _drop(self, url: str) -> None:
        parts = urlsplit(url)
        connection = self._connections.pop((parts.scheme, parts.netloc), None)
        if connection is not None:
            connection.close()


def _split(url: str) -> SplitResult | None:
    """The parts of a URL of a node; None if it is none."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if valid else None


def _target(url: str, location: str) -> str | None:
    """Where a redirect leads; None if it leads to no node, or holds what no URL does: a stranger wrote it."""
    try:
        following = urldefrag(urljoin(url, location)).url
    except ValueError:
        return None
    plain = following.isascii() and following.isprintable() and " " not in following
    return following if plain and _split(following) is not None else None


def _file_answer(response: http.client.HTTPResponse, url: str, start: int, count: int) -> _Answer:
    """Checks what an answer says of the part of a file that it brings.

    Raises:
        _TransientError: it is another part than the one that was asked for.
    """
    length = response.getheader("content-length", "")
    if not length.isdigit() or len(length) > 19:
        raise _transient("download-range", "answer does not tell its length", url)
    size = int(length)
    if response.status == 200:
        # A server that does not know ranges sends the whole file.
        if start:
            raise _transient("download-range", f"expected bytes from {start} on, got the whole file", url)
        return _Answer(response, url, 0, size, size)
    text = response.getheader("content-range", "")
    match = _CONTENT_RANGE.match(text)
    if match is None:
        raise _transient("download-range", f"content-range {text[:64]!r} is malformed", url)
    first, last, total = (int(group) for group in match.groups())
    whole = min(count + 1, total - start)
    if first != start or not 0 < size <= whole or last not in (first + size, first + size - 1) or start + size > total:
        problem = f"expected bytes from {start} on, at most {whole}, got {size} bytes as {text[:64]!r}"
        raise _transient("download-range", problem, url)
    return _Answer(response, url, start, size, total)


def _check_announced_name(response: http.client.HTTPResponse, name: str, url: str) -> None:
    for header in ("x-ms-ccf-ledger-chunk-name", "x-ms-ccf-snapshot-name"):
        announced = response.getheader(header)
        if announced is not None and announced != name:
            raise _error("download-name", f"file is not the one that was asked for: {announced[:128]!r}", url)


def _announced_digest(response: http.client.HTTPResponse) -> bytes | None:
    match = _SHA256.search(response.getheader("repr-digest", ""))
    if match is None:
        return None
    try:
        return base64.b64decode(match[1], validate=True)
    except binascii.Error:
        return None


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.digest()


# How nodes begin to say that they know no such endpoint, rather than no such file.
_NO_SUCH_PATH = "Unknown path"


def _reason(body: bytes) -> str:
    """What the JSON body of an error says, as far as it can be shown."""
    try:
        return str(json.loads(body)["error"]["message"])[:200]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "no explanation"


def _error(code: str, message: str, url: str) -> UndecidedError:
    return UndecidedError(message, code=code, file=url)


def _transient(code: str, message: str, url: str) -> _TransientError:
    return _TransientError(_error(code, message, url))
