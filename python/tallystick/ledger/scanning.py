"""Scans chunk files here or elsewhere, with the same outcome.

A scan is a map and a fold. Local files go to the core whole, which does both in threads. Files at URLs, and
files that an engine scans, are scanned one by one (:func:`scan_part`), a few at a time, and folded here in
ledger order.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tallystick._native import LedgerScanner, MerkleTree, SignatureBatch, scan_file
from tallystick.ledger.source import is_url, local_copy

if TYPE_CHECKING:
    from concurrent.futures import Future

    from tallystick.ledger.directory import CoverPart

__all__ = [
    "Engine",
    "ScanPart",
    "StartedScan",
    "ThreadEngine",
    "in_order",
    "scan_part",
    "scan_parts",
    "start_scan",
]

# Files scanned at a time from URLs: enough to keep a link busy while others are hashed, and a small spool.
_MAX_THREADS = 8


class ScanPart(NamedTuple):
    """A file, and which of its seqnos are wanted; None: from its start, to its end."""

    path: str
    first: int | None = None
    last: int | None = None


class Engine(Protocol):
    """Scans files somewhere."""

    @property
    def trusts(self) -> str | None:
        """Whose word its outcomes are, for people; None: this machine's own."""

    def scan(self, parts: Sequence[ScanPart], level: str, columns: bool) -> Iterator[bytes]:
        """Outcomes of :func:`scan_part`, one a part, in order, made as they are asked for."""


def scan_part(part: ScanPart, level: str, columns: bool) -> bytes:
    """Scans one file, wherever this runs.

    Raises:
        OSError: it cannot be read; names the path or URL.
    """
    path, first, last = part
    with local_copy(path) as copy:
        try:
            return scan_file(copy, level=level, first_seqno=first, last_seqno=last, columns=columns)
        except OSError as error:
            raise OSError(error.errno or 0, str(error.strerror or error), path) from error


def in_order(submit: Callable[[ScanPart], Future[bytes]], parts: Sequence[ScanPart], window: int) -> Iterator[bytes]:
    """Hands parts to ``submit``, ``window`` at a time, and gives the outcomes back in order."""
    waiting: deque[Future[bytes]] = deque()
    try:
        for part in parts:
            waiting.append(submit(part))
            if len(waiting) >= window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class ThreadEngine:
    """Scans files in threads of this process.

    Args:
        jobs: how many files at a time; 0: one a core, at most eight.
    """

    def __init__(self, jobs: int = 0) -> None:
        self._jobs = min(jobs or os.cpu_count() or 1, _MAX_THREADS)

    @property
    def trusts(self) -> str | None:
        """Nobody else's."""
        return None

    def scan(self, parts: Sequence[ScanPart], level: str, columns: bool) -> Iterator[bytes]:
        """See :class:`Engine`."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self._jobs, thread_name_prefix="tallystick-scan") as pool:
            yield from in_order(lambda part: pool.submit(scan_part, part, level, columns), parts, self._jobs + 1)


def scan_parts(
    parts: Sequence[ScanPart],
    *,
    level: str = "full",
    jobs: int = 0,
    tree: MerkleTree | None = None,
    first_seqno: int | None = None,
    previous_view: int | None = None,
    previous_was_signature: bool = False,
    columns: bool = False,
    engine: Engine | None = None,
) -> LedgerScanner:
    """A scanner over ``parts``; arguments as for :class:`tallystick._native.LedgerScanner`.

    Args:
        engine: where files are scanned; None: local files by the core, files at URLs in threads here.
    """
    if engine is None and any(is_url(part.path) for part in parts):
        engine = ThreadEngine(jobs)
    if engine is None:
        return LedgerScanner(
            [part.path for part in parts],
            level=level,
            jobs=jobs,
            tree=tree,
            first_seqno=first_seqno,
            previous_view=previous_view,
            previous_was_signature=previous_was_signature,
            columns=columns,
            first_seqnos=[part.first for part in parts],
            last_seqnos=[part.last for part in parts],
        )
    return LedgerScanner.from_scanned(
        engine.scan(parts, level, columns),
        level=level,
        tree=tree,
        first_seqno=first_seqno,
        previous_view=previous_view,
        previous_was_signature=previous_was_signature,
    )


class StartedScan(NamedTuple):
    """A scan that goes on by itself until its batches are asked for.

    Attributes:
        scanner: gives the batches.
        signatures: where the first node signatures are being verified under the certificates beside them, so that
            submitting the same checks later finds them done; None below level full.
    """

    scanner: LedgerScanner
    signatures: SignatureBatch | None


def start_scan(
    parts: Sequence[CoverPart], *, level: str = "full", jobs: int = 0, columns: bool = False
) -> StartedScan | None:
    """Begins to scan consecutive files in threads of the core; None if one of them is a URL.

    The scan goes on from an empty tree if the files begin at seqno 1, else from the first tree in them.
    """
    if any(is_url(part.file.path) for part in parts):
        return None
    first = parts[0].first
    scanner = scan_parts(
        [ScanPart(part.file.path, part.first, part.last) for part in parts],
        level=level,
        jobs=jobs,
        tree=MerkleTree() if first == 1 else None,
        first_seqno=first,
        columns=columns,
    )
    signatures = SignatureBatch(jobs=jobs) if level == "full" else None
    scanner.start(signatures)
    return StartedScan(scanner, signatures)
