"""Snapshots of the service's state: when they are taken, how they are written, what vouches for them.

::

    signature transaction n is committed, and a snapshot is due
      → the state as of n, encoded and encrypted (a file named snapshot_n_e once e is known)
      → evidence transaction e: SHA-256 of the snapshot in the ledger and as claims digest
      → the signature that covers e is committed: its receipt is appended, the file is renamed to ….committed

A snapshot is due ``tx_count`` transactions after the last one, and at the next signature after it was asked for.
Files are synced before they get a name that means something: a crash leaves a file without receipt, which
nobody takes for a snapshot, never half of a committed one.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tallystick.errors import TallystickError
from tallystick.node.http.errors import HttpError
from tallystick.node.tables import SINGLETON, json_bytes
from tallystick.snapshot.model import parse_snapshot_name
from tallystick.tables.names import SNAPSHOT_EVIDENCE
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick._native import NodeRuntime
    from tallystick.node.historical import History

__all__ = ["MAX_PENDING", "SnapshotLog", "Snapshotter", "latest_committed"]

MAX_PENDING = 5
"""Snapshots on their way at a time, as in CCF: each holds a whole state."""

AfterCommit = Callable[[TxId, Callable[[], object]], None]


class SnapshotLog(Protocol):
    """Where the snapshotter tells what it does."""

    def info(self, message: str) -> None: ...
    def fail(self, message: str) -> None: ...


class Snapshotter:
    """Takes the snapshots of one node.

    Args:
        runtime: the node's data plane.
        history: where receipts come from.
        directory: where snapshots go; made if it is not there.
        tx_count: transactions between two snapshots.
        after_commit: calls a function once a transaction is committed, such as ``Node.after_commit``.
        log: told what happens.
        cose: receipts in COSE rather than JSON: for services that sign with COSE only.
    """

    def __init__(
        self,
        runtime: NodeRuntime,
        history: History,
        directory: Path,
        tx_count: int,
        after_commit: AfterCommit,
        log: SnapshotLog,
        *,
        cose: bool = False,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._runtime = runtime
        self._history = history
        self._directory = directory
        self._after_commit = after_commit
        self._log = log
        self._cose = cose
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._pending = 0
        self._lock = threading.Lock()
        runtime.schedule_snapshots(tx_count)
        self._thread = threading.Thread(target=self._work, name="snapshots", daemon=True)
        self._thread.start()

    def committed(self) -> None:
        """Looks whether a snapshot is due. To be called after each commit; returns at once."""
        state = self._runtime.take_snapshot()
        if state is None:
            return
        with self._lock:
            if self._pending >= MAX_PENDING:
                self._log.fail(f"snapshot at {state.seqno} left out: {MAX_PENDING} are on their way")
                return
            self._pending += 1
        self._jobs.put(lambda: self._record(state.encode(), state.seqno))

    def force(self) -> None:
        """Takes a snapshot at the next signature transaction, whatever the schedule says."""
        self._runtime.force_snapshot()

    def stop(self) -> None:
        """Ends what is queued, then the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except (OSError, RuntimeError, TallystickError, HttpError) as error:
                # The next snapshot may fare better; the ledger does not depend on any.
                self._done()
                self._log.fail(f"snapshot failed: {error}")

    def _done(self) -> None:
        with self._lock:
            self._pending -= 1

    def _record(self, snapshot: bytes, seqno: int) -> None:
        """Commits the evidence and writes the file."""
        digest = hashlib.sha256(snapshot).digest()
        transaction = self._runtime.begin()
        transaction.set(SNAPSHOT_EVIDENCE, SINGLETON, json_bytes({"hash": digest.hex(), "version": seqno}))
        txid = TxId(*self._runtime.commit(transaction, claims_digest=digest))
        path = self._directory / f"snapshot_{seqno}_{txid.seqno}"
        with path.open("xb") as file:
            file.write(snapshot)
            file.flush()
            os.fsync(file.fileno())
        self._after_commit(txid, lambda: self._jobs.put(lambda: self._finish(path, txid)))
        self._log.info(f"snapshot {path.name} written, evidence in transaction {txid}")

    def _finish(self, path: Path, txid: TxId) -> None:
        """Appends the receipt and gives the file its final name."""
        if self._cose:
            receipt = self._history.cose_receipt(txid)
        else:
            receipt = json.dumps(self._history.json_receipt(txid), separators=(",", ":"), sort_keys=True).encode()
        with path.open("ab") as file:
            file.write(receipt)
            file.flush()
            os.fsync(file.fileno())
        final = path.with_name(f"{path.name}.committed")
        path.rename(final)
        _sync_directory(self._directory)
        self._done()
        self._log.info(f"snapshot {final.name} committed")


def latest_committed(directory: Path, since: int = 0) -> Path | None:
    """The newest committed snapshot in ``directory`` with a seqno above ``since``; None if there is none.

    Empty files, which a full disk leaves behind, do not count.
    """
    best: tuple[int, int, Path] | None = None
    try:
        candidates = sorted(directory.iterdir())
    except OSError:
        return None
    for path in candidates:
        name = parse_snapshot_name(path.name)
        if name is None or not name.committed or name.commit is not None or name.seqno <= since:
            continue
        try:
            if path.stat().st_size == 0:
                continue
        except OSError:
            continue
        if best is None or (name.seqno, name.evidence) > best[:2]:
            best = name.seqno, name.evidence, path
    return None if best is None else best[2]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
