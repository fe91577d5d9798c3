"""Refreshing the keys of token issuers: on a timer, and whenever an issuer changes.

For every issuer with ``auto_refresh`` the node asks ``<issuer>/.well-known/openid-configuration`` and then
the ``jwks_uri`` named there, over TLS with exactly the CA bundle that governance registered as trust roots.
Answers are bounded in size and time; redirects are not followed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tallystick._native import ConflictError
from tallystick.errors import TallystickError
from tallystick.network import NAME_MISMATCHES, require_network
from tallystick.node import jwt, tables

if TYPE_CHECKING:
    from tallystick.node.service import Node
    from tallystick.types import TxId

__all__ = ["JwtRefresh", "RefreshError", "RefreshMetrics", "fetch_json"]

# A provider that takes longer than this for one document is taken for unreachable.
_DEADLINE_SECONDS: Final = 10.0
_READ_BYTES: Final = 64 << 10
_COMMIT_ATTEMPTS: Final = 30
_HTTPS_PORT: Final = 443


class RefreshError(TallystickError):
    """Keys of an issuer could not be refreshed."""

    default_code = "jwt-refresh"


@dataclass
class RefreshMetrics:
    """How often keys were asked for, once an issuer and run (``/node/jwt_keys/refresh/metrics``)."""

    attempts: int = 0
    successes: int = 0
    failures: int = 0


def fetch_json(url: str, ca_bundle_pem: str, max_bytes: int, *, deadline: float = _DEADLINE_SECONDS) -> Any:
    """Fetches a JSON document over HTTPS.

    Args:
        url: an ``https`` URL.
        ca_bundle_pem: the only trust roots.
        max_bytes: how large the document may be.
        deadline: seconds for everything together.

    Raises:
        RefreshError: it cannot be fetched in time, is too large, is not JSON, or the server is not trusted.
        UsageError: the network is forbidden.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _HTTPS_PORT
    except ValueError as error:
        raise RefreshError(f"not a URL: {url}: {error}") from error
    if parts.scheme != "https" or not host:
        raise RefreshError(f"not an https URL: {url}")
    require_network(url)
    with _Deadline(deadline) as limit:
        try:
            connection = _connected(host, port, ca_bundle_pem, limit)
            try:
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("GET", target, headers={"accept": "application/json"})
                response = connection.getresponse()
                body = _read(response, max_bytes)
            finally:
                connection.close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            # A single wait may take all the time there is, and then ends first.
            late = limit.passed or isinstance(error, TimeoutError)
            reason = "the answer took too long" if late else error
            raise RefreshError(f"{url} cannot be fetched: {reason}") from error
        if limit.passed:
            raise RefreshError(f"{url} cannot be fetched: the answer took too long")
    if response.status != http.client.OK:
        raise RefreshError(f"{url} answered {response.status} {response.reason}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefreshError(f"{url} is not JSON: {error}") from error


class _Deadline:
    """Ends a conversation after so many seconds, whatever it is at.

    Time-outs of sockets begin anew with each byte that comes, so a server that sends one now and then, in the
    handshake or in a header, could hold its client for hours.

    Args:
        seconds: from entering the context on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self.passed = False

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self.watch(None)

    @property
    def left(self) -> float:
        """Seconds left; never 0, which would mean something else to a socket."""
        return max(0.001, self._end - time.monotonic())

    def watch(self, connected: socket.socket | None) -> None:
        """The socket to shut down when time is up."""
        with self._lock:
            self._socket = connected
            if self.passed and connected is not None:
                _shut_down(connected)

    def _cut(self) -> None:
        with self._lock:
            self.passed = True
            if self._socket is not None:
                _shut_down(self._socket)


def _shut_down(connected: socket.socket) -> None:
    # That of the class underneath: TLS has no say, and its state belongs to the thread that uses it.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _connected(host: str, port: int, ca_bundle_pem: str, limit: _Deadline) -> http.client.HTTPSConnection:
    """A connection to a server that the bundle vouches for.

    The certificate must be for ``host``, or be itself in the bundle: then members have named the very server, and a
    name adds nothing. CCF does not look at names at all.

    Raises:
        OSError: it cannot be had.
    """
    context = ssl.create_default_context(cadata=ca_bundle_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        return _handshake(host, port, context, limit)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code not in NAME_MISMATCHES:
            raise
    context.check_hostname = False
    connection = _handshake(host, port, context, limit)
    presented = connection.sock.getpeercert(binary_form=True) if isinstance(connection.sock, ssl.SSLSocket) else None
    bundle = x509.load_pem_x509_certificates(ca_bundle_pem.encode())
    if presented not in [certificate.public_bytes(Encoding.DER) for certificate in bundle]:
        connection.close()
        raise ssl.SSLCertVerificationError(f"certificate is not for {host}, and not itself in the bundle")
    return connection


def _handshake(host: str, port: int, context: ssl.SSLContext, limit: _Deadline) -> http.client.HTTPSConnection:
    plain = socket.create_connection((host, port), timeout=limit.left)
    secured = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    limit.watch(secured)
    try:
        secured.do_handshake()
    except BaseException:
        secured.close()
        raise
    connection = http.client.HTTPSConnection(host, port, context=context)
    connection.sock = secured
    return connection


def _read(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    body = bytearray()
    while piece := response.read1(_READ_BYTES):
        body += piece
        if len(body) > max_bytes:
            raise RefreshError(f"the answer is larger than {max_bytes} bytes")
    return bytes(body)


class JwtRefresh:
    """Refreshes issuers' keys from a thread of its own.

    Args:
        node: the node; only its tables and its log are used.
        interval: seconds between runs.
        max_bytes: how large a document may be.
    """

    def __init__(self, node: Node, interval: float, max_bytes: int) -> None:
        self._node = node
        self._interval = interval
        self._max_bytes = max_bytes
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.metrics = RefreshMetrics()

    def start(self) -> None:
        """Starts the timer; the first run comes after one interval."""
        self._thread = threading.Thread(target=self._run, name="jwt-refresh", daemon=True)
        self._thread.start()

    def soon(self) -> None:
        """Asks for a run at once."""
        self._wake.set()

    def stop(self) -> None:
        """Ends the timer. A fetch under way is left to its deadline."""
        self._stopping.set()
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._interval)
            self._wake.clear()
            if not self._stopping.is_set():
                try:
                    self.refresh()
                except Exception as error:  # noqa: BLE001 -- the next run may fare better, and must come
                    self._node.log.fail(f"JWT key auto-refresh: {type(error).__name__}: {error}")

    def refresh(self) -> None:
        """Refreshes every issuer that wants it, one after the other."""
        tx = self._node.runtime.begin()
        for issuer, metadata in tables.rows_json(tx, tables.JWT_ISSUERS).items():
            if isinstance(metadata, dict) and metadata.get("auto_refresh"):
                self._refresh_one(issuer, metadata)

    def _refresh_one(self, issuer: str, metadata: dict[str, Any]) -> None:
        self.metrics.attempts += 1
        try:
            jwks = self._fetch(issuer, metadata)
            self._commit(lambda tx: jwt.set_keys(tx, issuer, jwks))
        except TallystickError as error:
            self.metrics.failures += 1
            self._node.log.fail(f"JWT key auto-refresh: {issuer}: {error.message}")
        else:
            self.metrics.successes += 1
            self._node.log.debug(f"JWT key auto-refresh: refreshed keys of issuer '{issuer}'")

    def _fetch(self, issuer: str, metadata: dict[str, Any]) -> Any:
        name = metadata.get("ca_cert_bundle_name")
        tx = self._node.runtime.begin()
        bundle = tables.get_json(tx, tables.CA_BUNDLES, str(name).encode()) if name else None
        if not isinstance(bundle, str):
            raise RefreshError(f"CA cert bundle with name '{name}' not found")
        described = fetch_json(f"{issuer}/.well-known/openid-configuration", bundle, self._max_bytes)
        uri = described.get("jwks_uri") if isinstance(described, dict) else None
        if not isinstance(uri, str):
            raise RefreshError("OpenID metadata has no jwks_uri")
        jwks = fetch_json(uri, bundle, self._max_bytes)
        speaks_for = described.get("issuer")
        if isinstance(speaks_for, str) and isinstance(jwks, dict) and isinstance(jwks.get("keys"), list):
            # Keys speak for the issuer of the document that led to them, unless they name one themselves.
            for jwk in jwks["keys"]:
                if isinstance(jwk, dict) and jwk.get("issuer") is None:
                    jwk["issuer"] = speaks_for
        return jwks

    def _commit(self, change: Callable[[Any], None]) -> TxId | None:
        for _ in range(_COMMIT_ATTEMPTS):
            tx = self._node.runtime.begin()
            change(tx)
            if tx.read_only:
                return None
            try:
                return self._node.commit(tx)
            except ConflictError:
                continue
        raise RefreshError("keys could not be stored: other transactions came first each time")
