"""A server that answers as a CCF node does for chunks and snapshots, on loopback, with faults on request."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tallystick.ledger.directory import parse_chunk_name

_RANGE = re.compile(r"bytes=(\d+)-(\d*)\Z")


@dataclass
class NodeServer:
    """What the server does.

    Attributes:
        directory: ledger directory; only committed chunks are served, as they are at the time.
        snapshots: directory of snapshots.
        fault: called with (number of the request, path); names what to do wrong, or None.
        spoil: changes the bytes of a file before they are served.
        elsewhere: base URL that ``?since=`` redirects to, instead of itself.
        location: what ``?since=`` redirects to, to the letter.
        inclusive: ranges as RFC 9110 has them, instead of as nodes do.
        ranges: whether Range is understood at all.
        announced: name that ``?since=`` redirects to, instead of the true one.
        total: size that is claimed for files, instead of the true one.
        digests: whether Want-Repr-Digest is answered.
        block: most bytes of one answer.
        requests: paths that were asked for.
    """

    directory: Path
    snapshots: Path | None = None
    fault: Callable[[int, str], str | None] = lambda _number, _path: None
    spoil: Callable[[str, bytes], bytes] = lambda _name, data: data
    elsewhere: str | None = None
    location: str | None = None
    inclusive: bool = False
    ranges: bool = True
    digests: bool = True
    announced: str | None = None
    total: int | None = None
    block: int = 1 << 30
    tls: tuple[Path, Path] | None = None
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def chunk_with(self, seqno: int) -> str | None:
        for path in sorted(self.directory.iterdir()):
            name = parse_chunk_name(path.name)
            if name and name.committed and not name.ignored and name.first <= seqno <= (name.last or 0):
                return path.name
        return None

    def latest_snapshot(self) -> str | None:
        found = sorted(self.snapshots.glob("*.committed")) if self.snapshots else []
        return max(found, key=lambda path: int(path.name.split("_")[1])).name if found else None

    @contextmanager
    def running(self) -> Iterator[str]:
        handler = type("Handler", (_Handler,), {"node": self})
        server = _Server(("127.0.0.1", 0), handler)
        scheme = "http"
        if self.tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.url = f"{scheme}://127.0.0.1:{server.server_port}"
        try:
            yield self.url
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that was killed is what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    node: NodeServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.node.requests.append(f"{self.path} {self.headers.get('range', '')}")
        fault = self.node.fault(len(self.node.requests), self.path)
        parts = urlsplit(self.path)
        if fault == "drop":
            self.close_connection = True
        elif fault == "error":
            self._plain(503, b'{"error":{"code":"x","message":"try later"}}')
        elif fault == "hostile":
            self._plain(503, b'{"error":{"code":"x","message":"later\\u001b[2J\\u202e"}}')
        elif fault == "old":
            self._plain(404, b'{"error":{"code":"ResourceNotFound","message":"Unknown path: /ledger-chunk."}}')
        elif fault == "loop":
            self._redirect(f"{self.node.url}{self.path}")
        elif parts.path in ("/node/ledger-chunk", "/node/snapshot"):
            self._since(parts.path, int(parse_qs(parts.query).get("since", ["0"])[0]))
        else:
            self._file(parts.path, fault)

    def _since(self, path: str, seqno: int) -> None:
        name = self.node.chunk_with(seqno) if path.endswith("chunk") else self.node.latest_snapshot()
        if self.node.location is not None and name is not None:
            self._redirect(self.node.location.replace("NAME", name))
        elif self.node.elsewhere is not None:
            self._redirect(f"{self.node.elsewhere}{self.path}")
        elif name is None:
            self._plain(404, b'{"error":{"code":"ResourceNotFound","message":"no such file"}}')
        else:
            self._redirect(f"{self.node.url}{path}/{self.node.announced or name}")

    def _file(self, path: str, fault: str | None) -> None:
        name = path.rpartition("/")[2]
        chunk = "ledger-chunk" in path
        folder = self.node.directory if chunk else self.node.snapshots
        if folder is None or not (folder / name).is_file():
            self._plain(404, b"{}")
            return
        data = self.node.spoil(name, (folder / name).read_bytes())
        match = _RANGE.match(self.headers.get("range", "")) if self.node.ranges else None
        start, end = 0, len(data)
        if match:
            start = int(match[1])
            asked = int(match[2]) + self.node.inclusive if match[2] else len(data)
            end = min(asked, len(data), start + self.node.block)
        body = data[start:end]
        told = end - 1 if self.node.inclusive else end
        if fault == "wrong-range":
            start, told = start + 1, told + 1
        self.send_response(206 if match else 200)
        self.send_header("content-length", str(len(body)))
        if match:
            self.send_header(
                "content-range", f"bytes {start}-{told}/{self.node.total or len(data) + (fault == 'wrong-total')}"
            )
        self.send_header(f"x-ms-ccf-{'ledger-chunk' if chunk else 'snapshot'}-name", name)
        if self.node.digests and self.headers.get("want-repr-digest"):
            digest = hashlib.sha256(b"other" if fault == "wrong-digest" else data).digest()
            self.send_header("repr-digest", f"sha-256=:{base64.b64encode(digest).decode()}:")
        self.end_headers()
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _redirect(self, location: str) -> None:
        self.send_response(308)
        self.send_header("location", location)
        self.send_header("content-length", "0")
        self.end_headers()

    def _plain(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
