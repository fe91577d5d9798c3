"""Serves the explorer on loopback, to whoever has the token and nobody else.

* It listens on 127.0.0.1 only, and answers only when the ``Host`` header names a loopback address, so that a page
  elsewhere cannot reach it through a name that it controls.
* Without the token (in the first link, then in a cookie that no script and no other site can use) the answer is
  empty. Cookies do not know ports: each explorer's has the port in its name, so that two can be open in one browser.
* Nothing is loaded from elsewhere, and no script runs: the content security policy forbids both.
"""

from __future__ import annotations

import hmac
import secrets
import sys
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tallystick.errors import TallystickError
from tallystick.explore.html import page, tag
from tallystick.explore.views import Explorer, NotFoundError

__all__ = ["ExplorerServer"]

_LOOPBACK = ("127.0.0.1", "localhost")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_MAX_QUERY = 8192
# A request that trickles in for longer is dropped.
_TIMEOUT_SECONDS = 30


class ExplorerServer(ThreadingHTTPServer):
    """An HTTP server for one explorer.

    Args:
        port: 0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, explorer: Explorer, port: int = 0) -> None:
        self.explorer = explorer
        self.token = secrets.token_urlsafe(24)
        super().__init__(("127.0.0.1", port), _Handler)
        self.cookie = f"tallystick-{self.server_address[1]}"

    @property
    def url(self) -> str:
        """The link that lets its reader in."""
        return f"http://127.0.0.1:{self.server_address[1]}/?token={self.token}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Passes over readers who left or are slow; anything else is a defect of ours, and shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ExplorerServer
    server_version = "tallystick"
    sys_version = ""
    timeout = _TIMEOUT_SECONDS

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- named by the base class
        """Says nothing: the terminal belongs to the command."""

    def do_GET(self) -> None:
        try:
            url = urlsplit(self.path[:_MAX_QUERY])
            query = dict(parse_qsl(url.query, keep_blank_values=True, max_num_fields=32) if url.query else [])
        except ValueError:
            self._answer(400, b"", "text/plain")
            return
        if not self._addressed_to_us():
            self._answer(403, b"", "text/plain")
        elif hmac.compare_digest(query.pop("token", "").encode(), self.server.token.encode()):
            # The token leaves the address bar, and with it history and copied links.
            place = "/" + url.path.lstrip("/\\") + (f"?{urlencode(query)}" if query else "")
            self._answer(303, b"", "text/plain", (("Location", place), ("Set-Cookie", self._cookie())))
        elif not self._has_cookie():
            self._answer(403, b"", "text/plain")
        elif url.path.startswith("/raw/"):
            self._raw(url.path[len("/raw/") :])
        else:
            self._page(url.path, query)

    def _cookie(self) -> str:
        return f"{self.server.cookie}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"

    def _addressed_to_us(self) -> bool:
        name = self.headers.get("Host", "").rsplit(":", 1)[0]
        return name in _LOOPBACK

    def _has_cookie(self) -> bool:
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(self.server.cookie)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self.server.token.encode())

    def _page(self, path: str, query: dict[str, str]) -> None:
        explorer = self.server.explorer
        status = 200
        try:
            title, body = explorer.render(path, query)
        except NotFoundError:
            status, title, body = 404, "Not found", tag("p", "There is no such page.")
        except (TallystickError, OSError) as error:
            status, title, body = 500, "This cannot be shown", tag("p", str(error))
        self._answer(status, page(title, explorer.status(), body), "text/html; charset=utf-8")

    def _raw(self, text: str) -> None:
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            self._answer(404, b"", "text/plain")
            return
        try:
            data = self.server.explorer.raw(int(text))
        except (NotFoundError, TallystickError, OSError):
            self._answer(404, b"", "text/plain")
            return
        name = f'attachment; filename="{int(text)}.entry"'
        self._answer(200, data, "application/octet-stream", (("Content-Disposition", name),))

    def _answer(self, status: int, body: bytes, kind: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
