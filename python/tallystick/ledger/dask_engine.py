"""Scans chunk files on a Dask cluster: each file is a task; what comes back is folded here, in ledger order.

Workers read the paths or URLs themselves, so both must mean the same there as here: a shared file system or an
object store. They are trusted as this machine is: a worker that lies about what it read can make a bad ledger
look good. All of them must run the same version of this program, or their outcomes are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any, cast

from tallystick.errors import TallystickError, UndecidedError, UsageError
from tallystick.ledger.scanning import ScanPart, in_order, scan_part
from tallystick.network import require_network

__all__ = ["DaskEngine", "open_engine"]

# Tasks in the cluster for each of its threads: one at work, one next.
_TASKS_A_THREAD = 2

# Seconds for a scheduler to answer; a cluster in the same building answers in milliseconds.
_CONNECT_SECONDS = 10

_SCHEMES = {"dask": "tcp", "dask+tls": "tls"}


def open_engine(url: str) -> DaskEngine:
    """The engine that ``dask://HOST:PORT`` or ``dask+tls://HOST:PORT`` names, connected.

    TLS files are taken from Dask's own configuration.

    Raises:
        UsageError: the URL is another one, the extra ``dask`` is missing, or the network is forbidden.
        UndecidedError: no scheduler answers there.
    """
    scheme, separator, address = url.partition("://")
    if scheme not in _SCHEMES or not separator or not address.rpartition(":")[2].isdigit():
        raise UsageError(f"engine {url!r} is unknown: expected dask://HOST:PORT or dask+tls://HOST:PORT")
    require_network(url)
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(
            "a Dask cluster needs the package distributed", code="extra-missing", hint="pip install 'tallystick[dask]'"
        ) from error
    try:
        client = Client(f"{_SCHEMES[scheme]}://{address}", timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise UndecidedError(f"no Dask scheduler answers at {url}: {error}", code="engine-failed") from error
    return DaskEngine(client, url)


class DaskEngine:
    """Scans files on a cluster.

    Args:
        client: a ``distributed.Client``.
        url: what to call the cluster in messages.
    """

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    @property
    def trusts(self) -> str | None:
        """The cluster: its workers say what they read."""
        return f"the Dask cluster {self._url}"

    def close(self) -> None:
        """Leaves the cluster as it is, and disconnects."""
        self._client.close()

    def scan(self, parts: Sequence[ScanPart], level: str, columns: bool) -> Iterator[bytes]:
        """See :class:`tallystick.ledger.scanning.Engine`.

        Raises:
            UndecidedError: the cluster failed (``engine-failed``).
            OSError: a worker cannot read a file.
        """
        threads = sum(self._client.nthreads().values())
        if not threads:
            raise UndecidedError(f"Dask cluster {self._url} has no workers", code="engine-failed")

        def submit(part: ScanPart) -> Future[bytes]:
            # Not a concurrent.futures.Future by name, but by result() and cancel(), which is all that is used.
            future = self._client.submit(scan_part, part, level, columns, pure=False)
            return cast("Future[bytes]", future)

        try:
            yield from in_order(submit, parts, threads * _TASKS_A_THREAD)
        except (OSError, TallystickError):
            raise
        except Exception as error:
            message = f"Dask cluster {self._url} failed: {type(error).__name__}: {error}"
            raise UndecidedError(message, code="engine-failed") from error
