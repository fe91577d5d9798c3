"""Audits a ledger end to end: files, scan, fold, signatures, trust, verdict.

(1) choose the files, a consistent cover of what overlaps (``ledger/directory.py``);
(2) scan them on all cores: framing, domains, roots (``_native.LedgerScanner``);
(3) fold, in ledger order: governance into the trusted state (``trusted_ledger.py``), signatures by that state
    (``signatures.py``);
(4) follow the links between service identities from the caller's anchor (``chain.py``);
(5) compare with what the caller already holds (``expectations.py``);
(6) the verdict (``verdict.py``): what is proven, under which identity, and what was not checked.

Two faces: :func:`audit_ledger` collects findings, :func:`verify_ledger` raises unless verified.

Example:
    >>> from tallystick import TrustAnchor, verify_ledger  # doctest: +SKIP
    >>> verify_ledger(["ledger/"], TrustAnchor.from_options(service_certs=["service_cert.pem"])).proven.last_txid
    TxId(view=2, seqno=22)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tallystick.errors import UsageError
from tallystick.ledger.directory import LedgerFiles, find_ledger_files
from tallystick.ledger.scanning import Engine, StartedScan, start_scan
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick._native import Entry, ScanBatch
    from tallystick.audit.chain import AcceptsOpening, Chain
    from tallystick.audit.checkpoint import Checkpoint
    from tallystick.audit.expectations import ReceiptClaim
    from tallystick.audit.state import TrustedState
    from tallystick.audit.verdict import LedgerVerdict, VerifiedLedger
    from tallystick.identity.opening import OpeningProposal
    from tallystick.identity.trust_anchor import TrustAnchor

__all__ = ["LEVELS", "AuditedLedger", "Observer", "audit_and_watch", "audit_ledger", "verify_ledger"]

LEVELS = ("parse", "offsets", "headers", "merkle", "full")
"""How much to check, each level including those before it; only ``full`` checks signatures."""

Progress = Callable[[int, int, int], None]
"""Called with (bytes read, bytes in all, transactions read) as the work goes on."""

Watcher = Callable[["Entry", "TrustedState", "OpeningProposal | None"], None]
"""Called with each governance or internal transaction, the state that it led to, and the opening that it accepted."""


class AuditedLedger(NamedTuple):
    """A verdict, and what it rests on.

    Attributes:
        verdict: what :func:`audit_ledger` returns.
        state: the trusted state at the end of what was read.
        chain: how each of its identities is trusted.
    """

    verdict: LedgerVerdict
    state: TrustedState
    chain: Chain


class Observer(Protocol):
    """Sees what an audit reads, as it reads it: a report's figures, an export's rows.

    Whatever it makes of that speaks of the same bytes as the verdict. It takes no part in the verdict.
    """

    @property
    def wants_rows(self) -> bool:
        """Whether batches are to carry their rows."""

    def observe(self, batch: ScanBatch, path: str) -> None:
        """Takes consecutive transactions of the file ``path``, in ledger order. What it raises ends the audit."""


def audit_ledger(
    paths: Iterable[str | os.PathLike[str]],
    anchor: TrustAnchor | None = None,
    *,
    level: str = "full",
    jobs: int = 0,
    uncommitted: bool = False,
    recovery: bool = False,
    expect_head: TxId | str | None = None,
    receipts: Sequence[str | os.PathLike[str]] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    observers: Sequence[Observer] = (),
    engine: Engine | None = None,
    accepts_opening: AcceptsOpening | None = None,
) -> LedgerVerdict:
    """Audits a ledger, and reports everything that was found.

    Args:
        paths: directories and chunk files, or URLs of such, in any order.
        anchor: the service identities that the caller trusts; without one the verdict is undecided at best.
        level: how much to check, one of :data:`LEVELS`.
        jobs: worker threads, 0 for one a core.
        uncommitted, recovery: read uncommitted chunks and ``.recovery`` files of directories too.
        expect_head: a transaction ID that the ledger must hold, signed.
        receipts: files of receipts whose transactions the ledger must hold.
        checkpoint: file to go on from, and to write when the ledger is verified.
        progress: called now and then.
        observers: see what is read.
        engine: where files are scanned (:mod:`tallystick.ledger.scanning`); None: in threads here.
        accepts_opening: asked, once all has been read, whether the constitution accepts an opening proposal, where
            the votes alone do not tell (``GovernanceObserver.accepts_opening``).

    Raises:
        UsageError: the arguments do not fit together, or name what is not there.
        FormatError: ``checkpoint`` or a receipt is not one.
        VerificationError: the checkpoint was made under another anchor.
        OSError: a file cannot be read or written.
    """
    if level not in LEVELS:
        raise UsageError(f"level {level!r} is unknown: expected one of {', '.join(LEVELS)}")
    if level != "full" and checkpoint is not None:
        raise UsageError("a checkpoint needs level full", hint="leave --level out")
    head = TxId.parse(expect_head) if isinstance(expect_head, str) else expect_head
    claims, resume = _held(receipts, checkpoint, anchor)
    given = [os.fspath(path) for path in paths]
    files = find_ledger_files(given, uncommitted=uncommitted, recovery=recovery)
    started = None
    if resume is None and engine is None:
        started = _start(files, level=level, jobs=jobs, columns=any(observer.wants_rows for observer in observers))
    # What judges takes longer to load than a small ledger to be read, so it is loaded while the scan goes on.
    from tallystick.audit.run import AuditRun
    from tallystick.findings import Verdict

    run = AuditRun(files, anchor, level=level, jobs=jobs, claims=claims, resume=resume, progress=progress)
    run.keep_checkpoint = checkpoint is not None
    run.observers, run.engine, run.started = observers, engine, started
    run.accepts_opening = accepts_opening
    verdict = run.audit(head, given)
    if checkpoint is not None and verdict.verdict is Verdict.VERIFIED:
        run.write_checkpoint(checkpoint, verdict)
    return verdict


def _held(
    receipts: Sequence[str | os.PathLike[str]], checkpoint: str | os.PathLike[str] | None, anchor: TrustAnchor | None
) -> tuple[list[ReceiptClaim], Checkpoint | None]:
    """What the caller holds already, read before the ledger."""
    claims: list[ReceiptClaim] = []
    if receipts:
        from tallystick.audit.expectations import read_receipts

        claims = read_receipts([os.fspath(path) for path in receipts])
    if checkpoint is None:
        return claims, None
    from tallystick.audit.checkpoint import Checkpoint
    from tallystick.identity.trust_anchor import TrustAnchor

    return claims, Checkpoint.read(checkpoint, anchor if anchor is not None else TrustAnchor.none())


def _start(files: LedgerFiles, *, level: str, jobs: int, columns: bool = False) -> StartedScan | None:
    """Begins the scan of the first files; None when it cannot run by itself."""
    runs = files.runs()
    return start_scan(runs[0], level=level, jobs=jobs, columns=columns) if runs else None


def verify_ledger(
    paths: Iterable[str | os.PathLike[str]],
    anchor: TrustAnchor,
    *,
    level: str = "full",
    jobs: int = 0,
    uncommitted: bool = False,
    recovery: bool = False,
    expect_head: TxId | str | None = None,
    receipts: Sequence[str | os.PathLike[str]] = (),
    checkpoint: str | os.PathLike[str] | None = None,
) -> VerifiedLedger:
    """Verifies a ledger against ``anchor``; arguments as for :func:`audit_ledger`.

    Raises:
        LedgerVerificationError: it failed, or could not be decided; ``error.verdict`` holds all findings.
        UsageError, FormatError, VerificationError, OSError: as for :func:`audit_ledger`.
    """
    verdict = audit_ledger(
        paths,
        anchor,
        level=level,
        jobs=jobs,
        uncommitted=uncommitted,
        recovery=recovery,
        expect_head=expect_head,
        receipts=receipts,
        checkpoint=checkpoint,
    )
    from tallystick.audit.verdict import LedgerVerificationError, VerifiedLedger
    from tallystick.findings import Verdict

    if verdict.verdict is not Verdict.VERIFIED:
        raise LedgerVerificationError(verdict)
    return VerifiedLedger(verdict)


def audit_and_watch(
    paths: Iterable[str | os.PathLike[str]],
    anchor: TrustAnchor,
    watch: Watcher | None = None,
    *,
    jobs: int = 0,
    uncommitted: bool = False,
    recovery: bool = False,
) -> AuditedLedger:
    """Audits a ledger in full, with a watcher beside the fold, and returns the state that it led to.

    Args:
        watch: sees each transaction that the fold sees, after it was applied; it must not change the state.

    Raises:
        UsageError: the arguments do not fit together, or name what is not there.
        OSError: a file cannot be read.
    """
    given = [os.fspath(path) for path in paths]
    files = find_ledger_files(given, uncommitted=uncommitted, recovery=recovery)
    started = _start(files, level="full", jobs=jobs)
    from tallystick.audit.run import AuditRun

    run = AuditRun(files, anchor, level="full", jobs=jobs, claims=(), resume=None, progress=None)
    run.watch, run.started = watch, started
    verdict = run.audit(None, given)
    return AuditedLedger(verdict, run.state, run.chain)
