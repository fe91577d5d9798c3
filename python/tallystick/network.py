"""Whether this process may use the network at all: ``--offline`` and ``TALLYSTICK_OFFLINE``.

Everything that is about to use the network asks :func:`require_network` first, which gives a clear error.
Once :func:`go_offline` was called, an audit hook of the interpreter refuses every connection and every name
look-up as well, so that no library can reach out unasked. The core has no network code at all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.errors import UsageError

if TYPE_CHECKING:
    import ssl

__all__ = ["NAME_MISMATCHES", "OFFLINE_VARIABLE", "go_offline", "is_offline", "require_network", "tls_context"]

OFFLINE_VARIABLE = "TALLYSTICK_OFFLINE"
"""Environment variable: any value but the empty one and ``0`` forbids the network."""

NAME_MISMATCHES = (62, 64)
"""Verify codes of TLS for a certificate of another host: X509_V_ERR_HOSTNAME_MISMATCH and
X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h."""

_REFUSED = frozenset(
    {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
    | {"socket.gethostbyaddr", "socket.getnameinfo"}
)


class _State:
    offline = False
    hooked = False


def is_offline() -> bool:
    """Whether the network is forbidden."""
    return _State.offline or os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def go_offline() -> None:
    """Forbids the network for the rest of the process."""
    _State.offline = True
    if not _State.hooked:
        # A hook cannot be taken away again; it looks at the state.
        sys.addaudithook(_hook)
        _State.hooked = True


def require_network(what: str) -> None:
    """Asks whether the network may be used for ``what``, a URL or a short phrase.

    Raises:
        UsageError: it may not (``offline``).
    """
    if is_offline():
        raise _offline(what)


def tls_context(certificates: Sequence[str]) -> ssl.SSLContext:
    """A TLS client's settings that trust these certificates and no others.

    Args:
        certificates: PEM or DER files of certificates that have signed those of the nodes; when there is none,
            what the system trusts.

    Raises:
        UsageError: one of them cannot be read.
    """
    # Loading it takes a while, and most commands never connect.
    import ssl

    if not certificates:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The service's certificate is its own issuer, and lacks what the strict profile of RFC 5280 wants.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    for path in certificates:
        try:
            data = Path(path).read_bytes()
            context.load_verify_locations(cadata=data.decode("ascii") if b"-----BEGIN" in data else data)
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) and error.strerror else "not a certificate"
            raise UsageError(f"TLS certificate cannot be read: {problem}", file=path) from error
    return context


def _offline(what: str) -> UsageError:
    return UsageError(
        f"network access is forbidden (--offline or {OFFLINE_VARIABLE}), but {what} needs it",
        code="offline",
        hint="copy the files here first, or leave --offline out",
    )


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event not in _REFUSED or not is_offline():
        return
    # Sockets of this machine's file system (AF_UNIX) are no network: their addresses are paths.
    if event == "socket.connect" and len(arguments) > 1 and isinstance(arguments[1], str | bytes):
        return
    raise _offline(f"{event} of {arguments[-1]!r}" if event == "socket.connect" else event)
