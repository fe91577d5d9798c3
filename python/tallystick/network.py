"""Whether this process may use the network at all: ``--offline`` and ``TALLYSTICK_OFFLINE``.

Everything that is about to use the network asks :func:`require_network` first, which gives a clear error.
Once :func:`go_offline` was called, an audit hook of the interpreter refuses every connection and every name
look-up as well, so that no library can reach out unasked. The core has no network code at all.
"""

from __future__ import annotations

import os
import sys

from tallystick.errors import UsageError

__all__ = ["OFFLINE_VARIABLE", "go_offline", "is_offline", "require_network"]

OFFLINE_VARIABLE = "TALLYSTICK_OFFLINE"
"""Environment variable: any value but the empty one and ``0`` forbids the network."""

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
