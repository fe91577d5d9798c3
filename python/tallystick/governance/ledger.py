"""Feeds a ledger to the replayer: what governance has to do with, in order, with the Merkle roots it rests on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from tallystick._native import Entry, MerkleTree, ScanBatch, SignatureRecord
from tallystick.errors import FormatError, LimitExceededError
from tallystick.findings import Verdict, finding
from tallystick.governance.replay import Budgets, Replayer
from tallystick.governance.report import GovernanceReport
from tallystick.governance.state import SignatureSeen, Step
from tallystick.ledger.directory import CoverPart, find_ledger_files
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.scanning import ScanPart, scan_parts
from tallystick.tables.names import SIGNATURES, SINGLETON_KEY
from tallystick.types import TxId

__all__ = ["GovernanceObserver", "replay_governance"]

# A request is executed on top of the latest transaction that its node knows; others may commit in between.
ROOTS_TRIED = 64

Progress = Callable[[int], None]
"""Called with the seqno reached, now and then."""


def replay_governance(
    paths: Iterable[str | os.PathLike[str]],
    *,
    uncommitted: bool = False,
    recovery: bool = False,
    budgets: Budgets | None = None,
    jobs: int = 0,
    run_scripts: bool = True,
    contents_of: str | None = None,
    keep_events: bool = True,
    progress: Progress | None = None,
) -> GovernanceReport:
    """Replays the governance of a ledger.

    It reads what the ledger says and checks it against the members' signatures and the constitution. That the
    ledger is the service's own, whole and signed, is another matter: see :func:`tallystick.verify_ledger`.

    Args:
        paths: directories and chunk files, in any order.
        uncommitted, recovery: read uncommitted chunks and ``.recovery`` files of directories too.
        budgets: what each call of a script may use.
        jobs: worker threads, 0 for one a core.
        run_scripts: False checks signatures and rules only.
        contents_of: start of the id of a proposal whose texts the events are to hold.
        keep_events: False leaves the timeline out, so that memory does not grow with the number of proposals.
        progress: called now and then.

    Raises:
        UsageError: a path is not there.
        OSError: a file cannot be read.
    """
    given = [os.fspath(path) for path in paths]
    files = find_ledger_files(given, uncommitted=uncommitted, recovery=recovery)
    replayer = Replayer(budgets if budgets is not None else Budgets(), jobs, run_scripts, contents_of, keep_events)
    runs = files.runs()
    if not runs or runs[0][0].first != 1:
        replayer.notes.add(
            0, finding("gov-no-genesis", "the ledger does not start at seqno 1: governance was not replayed")
        )
        return replayer.finish()
    feed = _Feed(replayer, Ledger(given, uncommitted=uncommitted, recovery=recovery, allow_gaps=True), progress)
    feed.read(runs[0], jobs)
    if len(runs) > 1:
        last = feed.last_seqno
        replayer.notes.add(
            (last or 0) + 1,
            finding("gov-read-stopped", f"seqno {(last or 0) + 1} and what follows is missing: replay stops there"),
        )
    return replayer.finish()


class GovernanceObserver:
    """Replays governance from what an audit reads, so that both speak of the same bytes, read once.

    Args:
        paths: as given to the audit.
        uncommitted, recovery: likewise.
        budgets, jobs, run_scripts, keep_events, progress: as for :func:`replay_governance`.
    """

    wants_rows = False
    _report: GovernanceReport | None = None

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        uncommitted: bool = False,
        recovery: bool = False,
        budgets: Budgets | None = None,
        jobs: int = 0,
        run_scripts: bool = True,
        keep_events: bool = True,
        progress: Progress | None = None,
    ) -> None:
        budgets = budgets if budgets is not None else Budgets()
        self._replayer = Replayer(budgets, jobs, run_scripts, None, keep_events)
        ledger = Ledger(paths, uncommitted=uncommitted, recovery=recovery, allow_gaps=True)
        self._feed = _Feed(self._replayer, ledger, progress)
        self._stopped = False

    def observe(self, batch: ScanBatch, path: str) -> None:
        """Takes the next transactions; what stands after a gap, or without the beginning, is left aside."""
        if self._stopped or not batch.count:
            return
        expected = (self._feed.last_seqno or 0) + 1
        if batch.first_seqno != expected:
            self._stopped = True
            code = "gov-no-genesis" if expected == 1 else "gov-read-stopped"
            message = (
                "the ledger does not start at seqno 1: governance was not replayed"
                if expected == 1
                else f"seqno {expected} and what follows is missing: replay stops there"
            )
            self._replayer.notes.add(expected, finding(code, message))
            return
        try:
            self._feed.take(batch, path)
        except (FormatError, LimitExceededError) as error:
            self._stopped = True
            self._feed.stop(error)

    def report(self) -> GovernanceReport:
        """What came of it; to be called when all has been observed."""
        if self._report is None:
            if self._feed.last_seqno is None and not self._stopped:
                self._stopped = True
                self._replayer.notes.add(0, finding("gov-no-genesis", "nothing was read: governance was not replayed"))
            self._report = self._replayer.finish()
        return self._report

    def accepts_opening(self, proposal_id: str) -> bool:
        """Whether the constitution, executed, accepts this opening proposal, and all governance follows its rules.

        Who may vote on it, and by which rules, is what governance before it decided; so a finding anywhere that speaks
        against the ledger, or leaves it undecided, speaks against this too.
        """
        report = self.report()
        return report.verdict is Verdict.VERIFIED and proposal_id in self._replayer.accepted_openings


class _Feed:
    """Reads consecutive chunk files into a replayer."""

    def __init__(self, replayer: Replayer, ledger: Ledger, progress: Progress | None) -> None:
        self._replayer = replayer
        self._ledger = ledger
        self._progress = progress
        self._tree = MerkleTree()
        self.last_seqno: int | None = None

    def read(self, parts: Sequence[CoverPart], jobs: int) -> None:
        scanner = scan_parts(
            [ScanPart(part.file.path, part.first, part.last) for part in parts],
            level="merkle",
            jobs=jobs,
            tree=MerkleTree(),
            first_seqno=parts[0].first,
        )
        try:
            for batch in scanner:
                self.take(batch, parts[batch.file_index].file.path)
        except (FormatError, LimitExceededError) as error:
            self.stop(error)

    def stop(self, error: FormatError | LimitExceededError) -> None:
        self._replayer.notes.add(
            (self.last_seqno or 0) + 1,
            finding("gov-read-stopped", f"replay stops: {error.message}", file=error.location.file),
        )

    def take(self, batch: ScanBatch, path: str) -> None:
        for item in _in_order(batch):
            seqno = item.seqno
            if isinstance(item, SignatureRecord):
                self._replayer.observe_signature(self._signature(item))
                continue
            self._append(batch, seqno)
            step = Step(
                TxId(item.view, seqno), item.tables(), item.entry_type, len(item.private_domain), path, item.offset
            )
            self._replayer.observe(step, self._roots)
        if batch.count:
            self._append(batch, batch.first_seqno + batch.count)
            self._tree.flush(max(self._tree.first_kept, self._tree.size - ROOTS_TRIED - 1))
            self.last_seqno = batch.first_seqno + batch.count - 1
            self._replayer.read_up_to(batch.first_seqno, self.last_seqno, f"{batch.last_view}.{self.last_seqno}")
            if self._progress is not None:
                self._progress(self.last_seqno)

    def _append(self, batch: ScanBatch, seqno: int) -> None:
        """Extends the tree with the leaves of the batch up to, and without, ``seqno``."""
        begin, end = self._tree.size - batch.first_seqno, seqno - batch.first_seqno
        if end > begin >= 0:
            self._tree.append_many(batch.leaves[32 * begin : 32 * end])

    def _roots(self) -> Iterator[bytes]:
        oldest = max(self._tree.first_kept + 1, self._tree.size - ROOTS_TRIED, 1)
        for size in range(self._tree.size, oldest - 1, -1):
            yield self._tree.root_at(size)

    def _signature(self, record: SignatureRecord) -> SignatureSeen:
        roots = frozenset(root for root in (record.root, record.raw_root) if root is not None)
        ledger, seqno = self._ledger, record.seqno

        def value() -> bytes | None:
            return (ledger.get_transaction(seqno).table(SIGNATURES) or {}).get(SINGLETON_KEY)

        def flags() -> int:
            return ledger.get_transaction(seqno).flags

        return SignatureSeen(TxId(record.view, seqno), roots, flags, value)


def _in_order(batch: ScanBatch) -> Iterator[Entry | SignatureRecord]:
    """Governance transactions and signatures of a batch, by seqno."""
    signatures = batch.signatures
    position = 0
    for entry in batch.notable:
        while position < len(signatures) and signatures[position].seqno < entry.seqno:
            yield signatures[position]
            position += 1
        yield entry
    yield from signatures[position:]
