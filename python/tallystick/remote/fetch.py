"""Downloads a ledger from a node into a directory that holds nothing unverified.

    DIR/ledger_1-20.committed …   verified, in order, without gaps
    DIR/snapshots/snapshot_…      verified
    DIR/.tallystick/              incoming/ what is being downloaded; held/ what has come whole and is not proven
                                  yet; rejected/ what did not verify, kept as evidence; checkpoint.json

(1) the chunk with the next seqno is downloaded to ``incoming``, and moved to ``held`` when it is whole;
(2) the auditor goes on from the checkpoint over what is held, with the last verified chunk before it;
(3) verified: the chunks get their final names, and only then is the new checkpoint put in place. A crash before
    that leaves chunks that are verified again, never a checkpoint ahead of them;
(4) failed: what failed is moved to ``rejected``, and the run ends;
(5) neither, because what vouches for an identity comes later in the ledger (the endorsement of an older
    identity by the newer one that is pinned; the members' opening after a recovery): the chunk is held. The
    next look is taken when twice as many are held, so that all looks together cost no more than a few.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tallystick.audit.auditor import audit_ledger
from tallystick.audit.checkpoint import Checkpoint
from tallystick.audit.verdict import LedgerVerdict
from tallystick.errors import UndecidedError, VerificationError
from tallystick.findings import Effect, Verdict
from tallystick.identity.ledger_copy import LedgerCopy
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.ledger.directory import ChunkName, parse_chunk_name
from tallystick.ledger.urls import MAX_CHUNK_BYTES
from tallystick.remote import codes as _codes  # noqa: F401 -- registers the codes of this area
from tallystick.remote.node_client import Download, NodeClient
from tallystick.remote.state_files import lock_directory, sync_directory, sync_file
from tallystick.snapshot.model import SnapshotResult, parse_snapshot_name
from tallystick.snapshot.verify import audit_snapshot
from tallystick.types import TxId

__all__ = ["HOLDING_CODES", "FetchReport", "LedgerFetcher", "is_held"]

HOLDING_CODES = frozenset({"anchor-mismatch", "service-identity-unvouched", "service-identity-unreached"})
"""What the auditor finds wrong with the beginning of a good ledger whose later part is missing."""

# A snapshot is parsed in memory, as a node does it.
_MAX_SNAPSHOT_BYTES = 8 << 30

Say = Callable[[str], None]


def is_held(verdict: LedgerVerdict) -> bool:
    """Whether later transactions can still make a verdict that is not ``verified`` so."""
    failing = [item for item in verdict.findings if item.verdict_effect is Effect.FAILS]
    return verdict.verdict is not Verdict.VERIFIED and all(item.code in HOLDING_CODES for item in failing)


@dataclass
class FetchReport:
    """What a run did.

    Attributes:
        chunks: names of chunks that got their final name.
        bytes: bytes of them.
        head: last proven transaction in the directory.
        held: names of chunks that are not proven yet.
        verdict: the auditor's last word; None when nothing was to be judged.
        snapshot: the snapshot that was looked at.
    """

    chunks: list[str] = field(default_factory=list)
    bytes: int = 0
    head: TxId | None = None
    held: list[str] = field(default_factory=list)
    verdict: LedgerVerdict | None = None
    snapshot: SnapshotResult | None = None


class LedgerFetcher:
    """A directory, and the node that it is filled from.

    Args:
        client: the node.
        directory: made if it is not there; one process at a time works on it.
        anchor: the pinned service identities.
        first_seqno: where to begin an empty directory.
        jobs: worker threads of the auditor.
        say: told what happens, a line at a time.

    Raises:
        UsageError: another process works on the directory (``state-busy``).
        OSError: it cannot be written.
    """

    def __init__(
        self,
        client: NodeClient,
        directory: str | os.PathLike[str],
        anchor: TrustAnchor,
        *,
        first_seqno: int = 1,
        jobs: int = 0,
        say: Say = lambda _: None,
    ) -> None:
        self._client = client
        self.directory = Path(directory)
        self._anchor = anchor
        self._first = first_seqno
        self._jobs = jobs
        self._say = say
        work = self.directory / ".tallystick"
        self._incoming, self._held, self._rejected = (work / name for name in ("incoming", "held", "rejected"))
        for place in (self._incoming, self._held, self._rejected):
            place.mkdir(parents=True, exist_ok=True)
        self._checkpoint = work / "checkpoint.json"
        self._candidate = work / "checkpoint.candidate"
        self._lock = lock_directory(work)

    def close(self) -> None:
        """Closes the connections, and lets another process work on the directory."""
        self._client.close()
        os.close(self._lock)

    # --------------------------------------------------------------------------------------------- chunks

    def fetch_chunks(self) -> FetchReport:
        """Downloads and verifies every chunk that follows on what is there.

        Raises:
            VerificationError: a chunk does not verify; it is in ``rejected``.
            UndecidedError: the node does not answer, or does not have the first chunk.
            LimitExceededError: a chunk is too large.
        """
        report = FetchReport()
        self._catch_up(report)
        threshold = 1
        while self._download_next():
            if len(self._held_chunks()) >= threshold:
                threshold = 1 if self._prove(report) else 2 * len(self._held_chunks())
        if self._held_chunks():
            self._prove(report)
        report.held = [path.name for path, _ in self._held_chunks()]
        report.head = self._head()
        if not self.chunks() and not report.held:
            raise UndecidedError(
                f"node has no committed chunk with transaction {self._first}",
                code="node-has-nothing",
                file=self._client.url,
                hint="name another node, or --from a later seqno",
            )
        return report

    def chunks(self) -> list[tuple[Path, ChunkName]]:
        """The verified chunks, in order."""
        return _chunks_in(self.directory)

    def drop_before(self, seqno: int) -> None:
        """Deletes verified chunks that end before ``seqno``, but for the last one, from which a run goes on."""
        for path, name in self.chunks()[:-1]:
            if name.last is not None and name.last < seqno:
                path.unlink()

    def _held_chunks(self) -> list[tuple[Path, ChunkName]]:
        return _chunks_in(self._held)

    def _has_chunks(self) -> bool:
        return bool(self.chunks() or self._held_chunks())

    def _head(self) -> TxId | None:
        checkpoint = Checkpoint.read(self._checkpoint, self._anchor)
        return checkpoint.head if checkpoint is not None else None

    def _next_seqno(self) -> int:
        ends = [name.last for _, name in [*self.chunks(), *self._held_chunks()] if name.last is not None]
        return max(ends) + 1 if ends else self._first

    def _catch_up(self, report: FetchReport) -> None:
        """Verifies final chunks that the checkpoint does not cover, after a crash or when they were put there."""
        head, chunks = self._head(), self.chunks()
        covered = head.seqno if head is not None else 0
        if not chunks or (chunks[-1][1].last or 0) <= covered:
            return
        verdict = self._audit([path for path, name in chunks if (name.last or 0) >= covered])
        report.verdict = verdict
        if verdict.verdict is Verdict.FAILED and not is_held(verdict):
            raise _refused(verdict, str(self.directory), "files in the directory do not verify")
        if verdict.verdict is Verdict.VERIFIED:
            self._keep_checkpoint()

    def _download_next(self) -> bool:
        wanted = self._next_seqno()

        def accept(name: str) -> None:
            parsed = parse_chunk_name(name)
            good = parsed is not None and parsed.committed and not parsed.recovery and not parsed.ignored
            # A node sends the chunk that holds the seqno. One that begins earlier is of use only at the start.
            fits = good and parsed is not None and (parsed.last or 0) >= wanted
            if not fits or parsed is None or (parsed.first != wanted and (parsed.first > wanted or self._has_chunks())):
                raise UndecidedError(
                    f"node sends {name[:128]!r} as the chunk with transaction {wanted}",
                    code="download-name",
                    file=self._client.url,
                )

        came = self._client.download(
            f"/node/ledger-chunk?since={wanted}", self._incoming, max_bytes=MAX_CHUNK_BYTES, accept=accept
        )
        if came is None:
            return False
        sync_file(came.path)
        came.path.replace(self._held / came.name)
        self._say(f"downloaded {came.name}, {came.size} bytes, from {came.url}")
        return True

    def _audit(self, paths: list[Path]) -> LedgerVerdict:
        self._candidate.unlink(missing_ok=True)
        if self._checkpoint.exists():
            shutil.copyfile(self._checkpoint, self._candidate)
        return audit_ledger(paths, self._anchor, jobs=self._jobs, checkpoint=self._candidate)

    def _prove(self, report: FetchReport) -> bool:
        """Judges what is held; returns whether it got its final names."""
        held = self._held_chunks()
        verdict = self._audit_after_last(held)
        report.verdict = verdict
        if verdict.verdict is Verdict.VERIFIED and verdict.unsigned_tail is None:
            self._promote(held, report)
            return True
        if is_held(verdict) and verdict.unsigned_tail is None:
            return False
        failing = {item.file for item in verdict.findings if item.verdict_effect is Effect.FAILS}
        bad = next((index for index, (path, _) in enumerate(held) if str(path) in failing), 0)
        if bad and self._audit_after_last(held[:bad]).verdict is Verdict.VERIFIED:
            self._promote(held[:bad], report)
            held = held[bad:]
        elif bad:
            held = held[bad:]
        for path, _ in held:
            path.replace(self._rejected / path.name)
        names = ", ".join(path.name for path, _ in held)
        raise _refused(verdict, self._client.url, f"{names} from the node does not verify", self._rejected)

    def _audit_after_last(self, held: list[tuple[Path, ChunkName]]) -> LedgerVerdict:
        # Without a checkpoint (yet: a start in the middle has one from its second signature on) all is read again.
        before = self.chunks()[-1:] if self._checkpoint.exists() else self.chunks()
        return self._audit([path for path, _ in [*before, *held]])

    def _keep_checkpoint(self) -> None:
        if self._candidate.exists():
            self._candidate.replace(self._checkpoint)
            sync_directory(self._checkpoint.parent)

    def _promote(self, held: list[tuple[Path, ChunkName]], report: FetchReport) -> None:
        for path, _ in held:
            size = path.stat().st_size
            path.replace(self.directory / path.name)
            report.chunks.append(path.name)
            report.bytes += size
        sync_directory(self.directory)
        self._keep_checkpoint()
        self._say(f"verified {', '.join(path.name for path, _ in held)}")

    # ------------------------------------------------------------------------------------------ snapshots

    def fetch_snapshot(self) -> SnapshotResult | None:
        """Downloads the node's latest snapshot, unless it is here, and verifies it; None when there is none.

        Raises:
            VerificationError: it does not verify; it is in ``rejected``.
            UndecidedError: the node does not answer.
        """
        came = self._client.download(
            "/node/snapshot", self._incoming, max_bytes=_MAX_SNAPSHOT_BYTES, accept=self._accept_snapshot
        )
        return None if came is None else self._judge_snapshot(came)

    def _accept_snapshot(self, name: str) -> None:
        parsed = parse_snapshot_name(name)
        if parsed is None or not name.endswith(".committed"):
            raise UndecidedError(
                f"node sends {name[:128]!r} as a snapshot", code="download-name", file=self._client.url
            )

    def _judge_snapshot(self, came: Download) -> SnapshotResult:
        place = self._held / came.name
        sync_file(came.path)
        came.path.replace(place)
        data = place.read_bytes()
        result = audit_snapshot(data, self._anchor, file=str(place))
        if result.verdict is not Verdict.VERIFIED and self.chunks():
            # One of an earlier life of the service: the ledger holds the endorsements that lead there.
            links = LedgerCopy([self.directory]).endorsements
            result = audit_snapshot(data, self._anchor, file=str(place), endorsements=links)
        if result.verdict is Verdict.VERIFIED:
            target = self.directory / "snapshots"
            target.mkdir(exist_ok=True)
            place.replace(target / came.name)
            sync_directory(target)
            self._say(f"verified {came.name}")
        elif result.verdict is Verdict.FAILED:
            place.replace(self._rejected / came.name)
            cause = next(item for item in result.findings if item.verdict_effect is Effect.FAILS)
            raise VerificationError(
                f"{came.name} from the node does not verify: {cause.message}",
                code=cause.code,
                file=self._client.url,
                hint=f"it is kept in {self._rejected}",
            )
        return result


def _chunks_in(directory: Path) -> list[tuple[Path, ChunkName]]:
    found = []
    for path in directory.iterdir():
        name = parse_chunk_name(path.name)
        if name is not None and name.committed and not (name.recovery or name.ignored) and path.is_file():
            found.append((path, name))
    return sorted(found, key=lambda item: item[1].first)


def _refused(verdict: LedgerVerdict, source: str, what: str, kept: Path | None = None) -> VerificationError:
    cause = verdict.deciding
    message = cause.message if cause is not None else "its end is not signed"
    return VerificationError(
        f"{what}: {message}",
        code=cause.code if cause is not None else "unsigned-tail",
        file=source,
        txid=cause.txid if cause is not None else None,
        hint=f"what was rejected is kept in {kept}" if kept is not None else None,
    )
