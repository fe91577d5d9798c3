"""One audit: the phases between the files that were chosen and the verdict; see :mod:`tallystick.audit.auditor`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import tallystick.audit.codes  # noqa: F401 -- registers the codes of findings
from tallystick._native import MerkleTree, ScanBatch, SignatureBatch, SignatureRecord
from tallystick.audit.chain import AcceptsOpening, Chain, link_identities
from tallystick.audit.lookup import Lookup
from tallystick.audit.position import FindingLog, Position
from tallystick.audit.signatures import SignatureChecker
from tallystick.audit.state import TrustedState
from tallystick.audit.trusted_ledger import TrustedLedger
from tallystick.audit.verdict import IdentityReport, LedgerVerdict, ProvenRange, UnsignedTail
from tallystick.errors import FormatError, LimitExceededError
from tallystick.findings import Effect, Verdict
from tallystick.identity.opening import ROOTS_TRIED
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.ledger.directory import CoverPart, LedgerFiles
from tallystick.ledger.scanning import Engine, ScanPart, StartedScan, scan_parts
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick.audit.auditor import Observer, Progress, Watcher
    from tallystick.audit.checkpoint import Checkpoint
    from tallystick.audit.expectations import ReceiptClaim

__all__ = ["AuditRun"]


class AuditRun:
    """One audit.

    Attributes:
        keep_checkpoint: remember what a checkpoint needs.
        watch: sees each transaction that the fold sees.
        chain: how each identity is trusted, once :meth:`audit` has ended.
        observers: see what is read.
        engine: where files are scanned.
        started: the scan of the first run of files, if it has begun already.
        accepts_opening: see :func:`tallystick.audit.auditor.audit_ledger`.
    """

    keep_checkpoint = False
    watch: Watcher | None = None
    chain = Chain(())
    observers: Sequence[Observer] = ()
    engine: Engine | None = None
    started: StartedScan | None = None
    accepts_opening: AcceptsOpening | None = None

    def __init__(
        self,
        files: LedgerFiles,
        anchor: TrustAnchor | None,
        *,
        level: str,
        jobs: int,
        claims: Sequence[ReceiptClaim],
        resume: Checkpoint | None,
        progress: Progress | None,
    ) -> None:
        self._files = files
        self._anchor = anchor if anchor is not None else TrustAnchor.none()
        self._level = level
        self._jobs = jobs
        self._claims = claims
        self._resume = resume
        self._progress = progress
        self._log = FindingLog()
        self.state = resume.state if resume is not None else TrustedState()
        self._ledger = TrustedLedger(self.state, self._log, self._roots_before)
        self._parts: list[CoverPart] = []
        self._lookup = Lookup(files.parts)
        self._checker: SignatureChecker | None = None
        self._tree_before: MerkleTree | None = None
        self._batch: ScanBatch | None = None
        self._wanted_roots = {claim.root for claim in claims if claim.txid is None and claim.root is not None}
        self._found_roots: set[bytes] = set()
        self._transactions = 0
        self._signatures = 0
        self._bytes = 0
        self._last_seqno: int | None = resume.head.seqno if resume is not None else None
        self._last_signature: TxId | None = resume.head if resume is not None else None
        # State, tree and leaf at the latest signature, for a checkpoint.
        self._at_signature: tuple[TrustedState, MerkleTree | None, ScanBatch, SignatureRecord] | None = None
        self._state_kept: TrustedState | None = None

    # ------------------------------------------------------------------------------------------- phases

    def audit(self, head: TxId | None, given: Sequence[str]) -> LedgerVerdict:
        """Runs all phases and returns the verdict."""
        for item in self._files.findings:
            self._log.add(item.code, item.message, Position(item.file, item.offset, item.view, item.seqno))
        runs = self._files.runs()
        if self._resume is not None:
            runs = self._resume_runs(self._resume, runs)
        if runs:
            self._fold(runs[0])
            for run in runs[1:]:
                self._scan_after_gap(run)
        elif self._resume is None:
            why = f": {self._files.why_empty}" if self._files.why_empty else ""
            self._log.add("nothing-to-verify", "no transaction to verify was found" + why)
        self.chain = self._conclude()
        self._check_expectations(head)
        return self._verdict(self.chain, given)

    def _resume_runs(self, resume: Checkpoint, runs: list[list[CoverPart]]) -> list[list[CoverPart]]:
        """Looks whether the ledger still holds the checkpoint's head, and cuts off what stands before."""
        last = max((part.last for part in self._files.parts if part.last is not None), default=0)
        found = self._lookup.entry(resume.head.seqno)
        if found is None:
            if last < resume.head.seqno:
                self._log.add(
                    "checkpoint-rollback",
                    f"ledger ends before the checkpoint: expected {resume.head}, got seqno {last} as the last",
                )
            else:
                self._log.add("checkpoint-start", f"transaction {resume.head} of the checkpoint is not in these files")
            return []
        entry, at = found
        if entry.view != resume.head.view or entry.leaf != resume.leaf:
            self._log.add(
                "checkpoint-fork",
                f"ledger differs from the checkpoint: expected {resume.head} with leaf {resume.leaf.hex()}, got "
                f"{entry.view}.{entry.seqno} with leaf {entry.leaf.hex()}",
                at,
            )
            return []
        start = resume.head.seqno + 1
        rest = [
            [
                CoverPart(part.file, max(part.first, start), part.last)
                for part in run
                if part.last is None or part.last >= start
            ]
            for run in runs
        ]
        return [run for run in rest if run]

    def _fold(self, parts: list[CoverPart]) -> None:
        self._parts = parts
        first = parts[0].first
        tree = MerkleTree.from_compact(self._resume.tree) if self._resume is not None else None
        candidates: list[str] = []
        if self._resume is None and first == 1:
            self._ledger.begin_at_genesis()
            tree = MerkleTree()
        elif self._resume is None:
            self._log.add(
                "no-genesis",
                f"ledger starts at seqno {first}: what stands before is not judged",
                Position(parts[0].file.path, seqno=first),
            )
            if self._level == "full":
                from tallystick.audit.prescan import claimed_service_keys

                candidates = claimed_service_keys(parts, self._anchor, self._jobs, self.engine)
        if self._level == "full":
            checks = self.started.signatures if self.started is not None else None
            self._checker = SignatureChecker(
                self._ledger,
                self._log,
                candidate_keys=candidates,
                place=self._place,
                batch=checks or SignatureBatch(jobs=self._jobs),
            )
        for batch in self._scan(parts, tree):
            self._fold_batch(batch)
            self._show(batch, parts)

    def _show(self, batch: ScanBatch, parts: Sequence[CoverPart]) -> None:
        for observer in self.observers:
            observer.observe(batch, parts[batch.file_index].file.path)

    def _scan(self, parts: Sequence[CoverPart], tree: MerkleTree | None) -> Iterable[ScanBatch]:
        resume, started = self._resume, self.started
        self.started = None
        if started is not None:
            scanner = started.scanner
        else:
            scanner = scan_parts(
                [ScanPart(part.file.path, part.first, part.last) for part in parts],
                level=self._level,
                jobs=self._jobs,
                tree=tree,
                first_seqno=parts[0].first,
                previous_view=resume.head.view if resume is not None else None,
                previous_was_signature=resume is not None,
                columns=any(observer.wants_rows for observer in self.observers),
                engine=self.engine,
            )
        total = sum(part.file.size for part in self._files.parts)
        before = scanner.tree()
        try:
            for batch in scanner:
                self._tree_before, self._batch = before, batch
                self._take_findings(batch, parts)
                self._transactions += batch.count
                self._bytes += batch.bytes
                if batch.count:
                    self._last_seqno = batch.first_seqno + batch.count - 1
                yield batch
                before = scanner.tree()
                if self._progress is not None:
                    self._progress(self._bytes, total, self._transactions)
        except (FormatError, LimitExceededError) as error:
            self._log.add(error.code, error.message, Position(error.location.file, error.location.offset))

    def _take_findings(self, batch: ScanBatch, parts: Sequence[CoverPart]) -> None:
        for item in batch.findings:
            file = parts[item.file_index].file.path if item.file_index < len(parts) else None
            self._log.add(item.code, item.message, Position(file, item.offset, item.view, item.seqno))

    def _fold_batch(self, batch: ScanBatch) -> None:
        records, start = batch.signatures, 0
        if self._checker is not None:
            for entry in batch.notable:
                end = start
                while end < len(records) and records[end].seqno < entry.seqno:
                    end += 1
                self._check(records[start:end], batch)
                start = end
                at = Position(self._parts[batch.file_index].file.path, entry.offset, entry.view, entry.seqno)
                self._keep_state()
                if self._ledger.apply(entry, at):
                    self._checker.governance_changed()
                if self.watch is not None:
                    self.watch(entry, self.state, self._ledger.accepted_opening)
            self._check(records[start:], batch)
        self._signatures += len(records)
        if records:
            self._last_signature = TxId(records[-1].view, records[-1].seqno)
        if self._wanted_roots:
            self._found_roots |= {record.root for record in records if record.root is not None} & self._wanted_roots

    def _check(self, records: Sequence[SignatureRecord], batch: ScanBatch) -> None:
        if records and self._checker is not None:
            self._checker.check(records)
            if self.keep_checkpoint:
                self._state_kept = None
                self._at_signature = (self.state, self._tree_before, batch, records[-1])

    def _keep_state(self) -> None:
        """Before the first change after a signature: the state as that signature left it."""
        if self.keep_checkpoint and self._at_signature is not None and self._state_kept is None:
            self._state_kept = self.state.copy()

    def _scan_after_gap(self, parts: list[CoverPart]) -> None:
        """What stands after a gap: its framing and roots are checked, its signers cannot be."""
        resume, self._resume = self._resume, None
        for batch in self._scan(parts, None):
            self._signatures += len(batch.signatures)
            self._show(batch, parts)
        self._resume = resume

    def _place(self, file_index: int, offset: int, view: int, seqno: int) -> Position:
        return Position(self._parts[file_index].file.path, offset, view, seqno)

    def _roots_before(self, seqno: int) -> list[bytes]:
        """Roots over the leaves before ``seqno``, newest first, as far back as this batch goes."""
        batch, before = self._batch, self._tree_before
        if batch is None or before is None or not batch.leaves:
            return []
        tree = MerkleTree.from_compact(before.to_compact())
        oldest = max(tree.size, seqno - ROOTS_TRIED)
        tree.append_many(batch.leaves[: 32 * (seqno - batch.first_seqno)])
        return [tree.root_at(size) for size in range(tree.size, oldest - 1, -1)]

    # --------------------------------------------------------------------------------------- conclusion

    def _conclude(self) -> Chain:
        if self._checker is not None:
            self._checker.flush()
        if self._level != "full":
            self._log.add("level-below-full", f"consistent at level {self._level} at best: no signature was checked")
            return Chain(())
        if self.state.cose_missing > 1:
            self._log.add(
                "cose-signature-missing", f"{self.state.cose_missing} signature transactions have no COSE signature"
            )
        chain = link_identities(self.state, self._anchor, self._log, self.accepts_opening)
        proven_any = any(identity.last_proven is not None for identity in self.state.identities)
        if self._transactions and not proven_any and not self._log.effects[Effect.FAILS]:
            self._log.add("nothing-signed", "no signature could be checked")
        return chain

    def _check_expectations(self, head: TxId | None) -> None:
        if head is None and not self._claims:
            return
        from tallystick.audit.expectations import check_head, check_receipts

        if head is not None:
            check_head(head, self._lookup, last_seqno=self._last_seqno, last_signed=self._last_signature, log=self._log)
        if self._claims:
            check_receipts(
                self._claims,
                self._lookup,
                first_seqno=self._files.parts[0].first if self._files.parts else None,
                last_seqno=self._last_seqno,
                roots=self._found_roots,
                resumed=self._resume is not None,
                log=self._log,
            )

    def _proven(self, chain: Chain) -> ProvenRange | None:
        """The longest run of consecutive trusted identities with a good signature."""
        best: ProvenRange | None = None
        start: int | None = None
        for index, identity in enumerate(self.state.identities):
            if index >= len(chain.trusted_by) or not chain.trusted(index) or identity.last_proven is None:
                start = None
                continue
            if start is None:
                first = identity.first_proven or 1
                begins = identity.begin.seqno if index > 0 and identity.begin is not None else first
                start = max(first, begins)
            candidate = ProvenRange(start, identity.last_proven.seqno, identity.last_proven)
            if best is None or candidate.last_seqno - candidate.first_seqno >= best.last_seqno - best.first_seqno:
                best = candidate
        return best

    def _tail(self) -> UnsignedTail | None:
        if self._last_seqno is None:
            return None
        first = self._files.parts[0].first if self._files.parts else 1
        begin = max(self._last_signature.seqno + 1 if self._last_signature is not None else first, 1)
        count = self._last_seqno - begin + 1
        return UnsignedTail(begin, count) if count > 0 else None

    def _verdict(self, chain: Chain, given: Sequence[str]) -> LedgerVerdict:
        proven, tail = self._proven(chain), self._tail()
        if tail is not None:
            self._log.add("unsigned-tail", f"{tail.count} transactions from seqno {tail.first_seqno} on are not signed")
        effects = self._log.effects
        if effects[Effect.FAILS]:
            outcome = Verdict.FAILED
        elif effects[Effect.UNDECIDES] or proven is None:
            outcome = Verdict.UNDECIDED
        else:
            outcome = Verdict.VERIFIED
        resume = self._resume
        identities = tuple(
            IdentityReport(
                item.fingerprint,
                item.begin,
                item.last_signature,
                item.status,
                item.signatures,
                chain.trusted_by[index] if index < len(chain.trusted_by) else None,
            )
            for index, item in enumerate(self.state.identities)
        )
        first = resume.first_seqno if resume is not None else None
        if first is None and self._files.parts and self._transactions:
            first = self._files.parts[0].first
        return LedgerVerdict(
            verdict=outcome,
            level=self._level,
            anchor_kind=self._anchor.kind,
            anchor_keys=self._anchor_keys(),
            proven=proven,
            unsigned_tail=tail,
            first_seqno=first,
            last_seqno=self._last_seqno,
            files=len({part.file.path for part in self._files.parts}),
            transactions=self._transactions + (resume.transactions if resume is not None else 0),
            signatures=self._signatures + (resume.signatures if resume is not None else 0),
            identities=identities,
            findings=tuple(self._log.ordered()),
            not_checked=tuple(self._not_checked()),
            paths=tuple(given),
        )

    def _anchor_keys(self) -> tuple[str, ...]:
        if self._anchor.trust_genesis and self.state.from_genesis and self.state.identities:
            fingerprint = self.state.identities[0].fingerprint
            return (fingerprint,) if fingerprint is not None else ()
        return tuple(sorted(self._anchor.fingerprints))

    def _not_checked(self) -> list[str]:
        lines = []
        left_out: dict[str, list[str]] = {}
        for path, reason in self._files.left_out:
            left_out.setdefault(reason, []).append(Path(path).name)
        for reason, names in sorted(left_out.items()):
            shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            files = "chunk file was" if len(names) == 1 else "chunk files were"
            lines.append(f"{len(names)} {files} not read, {reason}: {shown}")
        if self._resume is not None:
            lines.append(
                f"transactions up to {self._resume.head} were verified by an earlier run, by the checkpoint's word; "
                "their files were not read again"
            )
        if self.engine is not None and self.engine.trusts is not None:
            lines.append(f"what {self.engine.trusts} read and hashed: it is trusted as this machine is")
        if self._level != "full":
            lines.append("signatures, signers and the service's identities")
        elif not self.state.from_genesis:
            lines.append("transactions before the start, and nodes, members and proposals from before it")
        assumed = [by for by in self.chain.trusted_by if by == "opening"]
        if assumed and self.accepts_opening is None:
            recoveries = "a recovery" if len(assumed) == 1 else f"{len(assumed)} recoveries"
            lines.append(
                f"whether the constitution accepts the opening after {recoveries}: more than half of the "
                "active members said yes, which was taken for enough (`tallystick gov verify` executes it)"
            )
        lines += [
            "governance: requests, votes and the constitution's decisions, other than openings after a recovery",
            "attestation evidence of nodes",
            "private data, commit evidence and ledger secrets (encrypted)",
            "dates of certificates",
            "whether later transactions exist: the end of a ledger can be cut off (--expect-head, --receipt)",
        ]
        return lines

    # --------------------------------------------------------------------------------------- checkpoint

    def write_checkpoint(self, path: str | os.PathLike[str], verdict: LedgerVerdict) -> None:
        """Writes where a later run can go on; the file stays as it was when nothing new is signed."""
        if self._at_signature is None:
            return
        from tallystick.audit.checkpoint import Checkpoint, anchor_fingerprint

        state, before, batch, record = self._at_signature
        if before is None or not batch.leaves:
            return
        tree = MerkleTree.from_compact(before.to_compact())
        tree.append_many(batch.leaves[: 32 * (record.seqno - batch.first_seqno + 1)])
        leaf = tree.leaf(record.seqno)
        tree.flush(record.seqno)
        resume = self._resume
        if self._state_kept is not None:
            # Kept before the last checks were back, which move what is proven and nothing else.
            state = self._state_kept
            state.identities = [
                replace(kept, first_proven=now.first_proven, last_proven=now.last_proven)
                for kept, now in zip(state.identities, self.state.identities, strict=False)
            ]
        Checkpoint(
            head=TxId(record.view, record.seqno),
            leaf=leaf,
            tree=tree.to_compact(),
            state=state,
            anchor=anchor_fingerprint(self._anchor),
            first_seqno=verdict.first_seqno or 1,
            files=verdict.files,
            transactions=record.seqno - (verdict.first_seqno or 1) + 1,
            signatures=self._signatures + (resume.signatures if resume is not None else 0),
        ).write(path)
