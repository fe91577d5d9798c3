"""Reports the transactions of a growing ledger, each once, and none that is not proven.

A round:

(1) the auditor goes on from the checkpoint of the round before over what is there now, and writes down the leaf of
    every transaction that it reads;
(2) verified: the transactions up to the last proven signature are read again and written out, each compared
    with the leaf that was verified, so that nothing comes out that changed in between;
(3) the output is on disk;
(4) last, the state is put in place, atomically: the checkpoint, how far was reported, and how long the output
    then was.

A crash before (4) leaves the state of the round before. With an output file, what was written since is cut off
when the follower starts again, so that every transaction is in the file exactly once. With a pipe, the lines of
one round may come twice after a crash; each carries its transaction ID.

A source may lose its files for a moment, complete and rename chunks, or recover with a new identity while it
is followed. A round that fails is taken again before it counts.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tallystick._native import ScanBatch
from tallystick.audit.auditor import audit_ledger
from tallystick.audit.checkpoint import Checkpoint, write_atomically
from tallystick.audit.verdict import LedgerVerdict
from tallystick.errors import FormatError, UndecidedError, UsageError
from tallystick.findings import Verdict
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.transaction import Transaction
from tallystick.remote import codes as _codes  # noqa: F401 -- registers the codes of this area
from tallystick.remote.state_files import lock_directory, sync_directory
from tallystick.types import TxId

__all__ = ["Follower", "Round"]

SCHEMA = "tallystick.follow/1"

# The state is a few hundred bytes.
_MAX_STATE_BYTES = 1 << 20

Render = Callable[[Transaction, TxId], str]
"""Makes a line of a transaction and of the signature transaction up to which everything is proven."""


@dataclass(frozen=True)
class Round:
    """What a round came to.

    Attributes:
        reported: number of transactions.
        head: last proven transaction.
        verdict: the auditor's; not ``verified`` when the source has to be looked at again.
    """

    reported: int
    head: TxId | None
    verdict: LedgerVerdict


@dataclass
class _State:
    """What is kept between runs."""

    emitted: int = 0
    checkpoint: str | None = None
    output_bytes: int | None = None


class _LeafKeeper:
    """Writes the leaf of every transaction that the auditor reads to a file."""

    wants_rows = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.first: int | None = None

    def observe(self, batch: ScanBatch, path: str) -> None:
        """See :class:`tallystick.audit.auditor.Observer`."""
        del path
        if self.first is None and batch.count:
            self.first = batch.first_seqno
        self._file.write(batch.leaves)


class Follower:
    """Follows a ledger.

    Args:
        paths: directories and files of the ledger, or URLs of such; they are listed anew in every round.
        anchor: the pinned service identities.
        state: directory of the state, made if it is not there; one process at a time works on it.
        render: makes the line of a transaction, without its end.
        output: file to append to, or None to hand lines to ``write``.
        write: takes lines when there is no output file.
        uncommitted: read uncommitted chunks too. Their transactions are signed, but a node may still take them back;
            the follower stops when one does.
        jobs: worker threads of the auditor.

    Raises:
        UsageError: another process works on the state, or it is that of another output (``follow-state``).
        FormatError: the state is malformed (``follow-state``).
        OSError: state or output cannot be written.
    """

    def __init__(
        self,
        paths: Sequence[str],
        anchor: TrustAnchor,
        state: str | os.PathLike[str],
        render: Render,
        *,
        output: str | os.PathLike[str] | None = None,
        write: Callable[[str], None] = lambda _: None,
        uncommitted: bool = False,
        jobs: int = 0,
    ) -> None:
        self._paths = list(paths)
        self._anchor = anchor
        self._directory = Path(state)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock = lock_directory(self._directory)
        self._render = render
        self._write = write
        self._uncommitted = uncommitted
        self._jobs = jobs
        self._candidate = self._directory / "checkpoint.candidate"
        self._state = self._read_state()
        self._output = self._open_output(Path(output)) if output is not None else None
        if self._output is None and self._state.output_bytes is not None:
            raise UsageError("state is of a follower with an output file", code="follow-state", file=str(state))

    def close(self) -> None:
        """Lets another process work on the state."""
        if self._output is not None:
            self._output.close()
        os.close(self._lock)

    @property
    def emitted(self) -> int:
        """Seqno of the last transaction that was reported; 0 before the first."""
        return self._state.emitted

    # ---------------------------------------------------------------------------------------------- state

    def _state_file(self) -> Path:
        return self._directory / "state.json"

    def _read_state(self) -> _State:
        file = self._state_file()
        if not file.exists():
            return _State()
        try:
            if file.stat().st_size > _MAX_STATE_BYTES:
                raise ValueError
            value = json.loads(file.read_bytes())
            if value["schema"] != SCHEMA:
                raise ValueError
            length = value["output_bytes"]
            state = _State(int(value["emitted"]), str(value["checkpoint"]), None if length is None else int(length))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise FormatError("state of a follower is malformed", code="follow-state", file=str(file)) from error
        if "/" in str(state.checkpoint):
            raise FormatError("state of a follower is malformed", code="follow-state", file=str(file))
        return state

    def _open_output(self, path: Path) -> BinaryIO:
        """Opens the output, and cuts off what was written after the state was."""
        known = self._state.output_bytes
        if self._state_file().exists() and known is None:
            raise UsageError("state is of a follower without an output file", code="follow-state", file=str(path))
        file = path.open("r+b" if path.exists() else "w+b")
        size = file.seek(0, os.SEEK_END)
        if size < (known or 0):
            file.close()
            raise UsageError(
                f"output is shorter than it was: expected at least {known} bytes, got {size}",
                code="follow-state",
                file=str(path),
            )
        if known is None:
            # The first run appends to what is there; that length is state too, or a crash would leave lines twice.
            known = size
            self._state.output_bytes = size
            self._save()
        file.truncate(known)
        file.seek(known)
        return file

    def _save(self) -> None:
        value = {
            "schema": SCHEMA,
            "emitted": self._state.emitted,
            "checkpoint": self._state.checkpoint or "",
            "output_bytes": self._state.output_bytes,
        }
        write_atomically(self._state_file(), json.dumps(value) + "\n")

    def _commit(self, head: TxId) -> None:
        """Puts the state of a finished round in place."""
        name = f"checkpoint-{head.view}.{head.seqno}.json"
        self._candidate.replace(self._directory / name)
        sync_directory(self._directory)
        self._state.emitted, self._state.checkpoint = head.seqno, name
        if self._output is not None:
            self._state.output_bytes = self._output.tell()
        self._save()
        for old in self._directory.glob("checkpoint-*.json"):
            if old.name != name:
                old.unlink()

    # ---------------------------------------------------------------------------------------------- rounds

    def round(self) -> Round:
        """Looks once, and reports what is new.

        Raises:
            UndecidedError: the source changed between verifying and reporting (``follow-diverged``).
            UsageError, FormatError, OSError: as for :func:`tallystick.audit.auditor.audit_ledger`.
        """
        self._candidate.unlink(missing_ok=True)
        if self._state.checkpoint:
            self._candidate.write_bytes((self._directory / self._state.checkpoint).read_bytes())
        with tempfile.TemporaryFile(prefix="tallystick-leaves-") as leaves:
            keeper = _LeafKeeper(leaves)
            verdict = audit_ledger(
                self._paths,
                self._anchor,
                uncommitted=self._uncommitted,
                jobs=self._jobs,
                checkpoint=self._candidate,
                observers=[keeper],
            )
            checkpoint = Checkpoint.read(self._candidate, self._anchor)
            if verdict.verdict is not Verdict.VERIFIED or checkpoint is None or verdict.proven is None:
                return Round(0, None, verdict)
            head = checkpoint.head
            begin = max(self._state.emitted + 1, verdict.proven.first_seqno)
            if keeper.first is None or head.seqno < begin:
                return Round(0, head, verdict)
            self._report(begin, head, leaves, keeper.first)
        self._commit(head)
        return Round(head.seqno - begin + 1, head, verdict)

    def _report(self, begin: int, head: TxId, leaves: BinaryIO, first: int) -> None:
        """Writes lines for ``begin`` to ``head``, each compared with its verified leaf."""
        start = self._output.tell() if self._output is not None else 0
        ledger = Ledger(self._paths, uncommitted=self._uncommitted, allow_gaps=True)
        leaves.seek(32 * (begin - first))
        expected = begin
        try:
            for transaction in ledger.transactions(begin, head.seqno):
                if transaction.seqno != expected or leaves.read(32) != transaction.leaf:
                    raise _diverged(transaction.file, expected)
                self._line(self._render(transaction, head))
                if self._output is None:
                    # Only a crash brings a line again: not a source that changes under way.
                    self._state.emitted = expected
                expected += 1
            if expected != head.seqno + 1:
                raise _diverged(None, expected)
        except BaseException:
            if self._output is not None:
                self._output.truncate(start)
                self._output.seek(start)
            raise
        if self._output is not None:
            self._output.flush()
            os.fsync(self._output.fileno())

    def _line(self, line: str) -> None:
        if self._output is not None:
            self._output.write(line.encode() + b"\n")
        else:
            self._write(line + "\n")


def _diverged(file: str | None, seqno: int) -> UndecidedError:
    return UndecidedError(
        f"transaction {seqno} changed or went away after it was verified", code="follow-diverged", file=file
    )
