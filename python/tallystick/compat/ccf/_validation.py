"""Verifies transactions as they are handed over, one by one, with the auditor's own parts.

The auditor reads files, and on all cores; a script for the official package hands transactions over and wants to hear
at once. So transactions are kept until one comes that matters: a signature, or one that says who may sign. Then the run
is laid out as a chunk, scanned (framing, order, domains, roots), folded into the trusted state, and its signature
checked, exactly as :func:`tallystick.audit_ledger` does with a ledger.

Left out, as in the official package: which service identity is the right one. The ledger's own word counts.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

import tallystick.audit.codes  # noqa: F401 -- registers the codes of findings
from tallystick import _native
from tallystick.audit.position import FindingLog, Position
from tallystick.audit.signatures import SignatureChecker
from tallystick.audit.state import TrustedState
from tallystick.audit.trusted_ledger import TrustedLedger
from tallystick.compat.ccf.signatures import (
    InvalidRootCoseSignatureException,
    InvalidRootException,
    InvalidRootSignatureException,
    UntrustedNodeException,
)
from tallystick.errors import FormatError, LimitExceededError
from tallystick.findings import Effect, Finding
from tallystick.identity.opening import ROOTS_TRIED
from tallystick.tables.names import ENDORSED_CERTIFICATES, NODES_INFO, SERVICE_INFO, SIGNATURE_TABLES

__all__ = ["Validation", "check_layout"]

# A run is scanned when it has so many transactions or bytes, even if nothing in it matters, so that memory stays
# bounded: a service signs long before.
_RUN_ENTRIES = 4_096
_RUN_BYTES = 16 << 20

_CHUNK_HEADER = bytes(8)
_SIGNED = frozenset(SIGNATURE_TABLES)
_WHO_SIGNS = frozenset({SERVICE_INFO, NODES_INFO, ENDORSED_CERTIFICATES})

_EXCEPTIONS: dict[str, type[Exception]] = {
    **dict.fromkeys(
        ("root-mismatch", "signature-tree-root", "signature-tree-size", "signature-roots-differ", "leaf-differs"),
        InvalidRootException,
    ),
    "signature-invalid": InvalidRootSignatureException,
    **dict.fromkeys(("cose-signature-invalid", "cose-kid-mismatch"), InvalidRootCoseSignatureException),
    **dict.fromkeys(
        (
            "signer-unknown",
            "signer-not-trusted",
            "signer-not-endorsed",
            "signer-key-mismatch",
            "signer-certificate",
            "signer-before-start",
            "service-key-unknown",
            "node-not-endorsed",
            "node-id-mismatch",
        ),
        UntrustedNodeException,
    ),
}


def check_layout(path: str, first_seqno: int | None) -> None:
    """Walks a chunk file: sizes, offset table, order of seqnos.

    Raises:
        ValueError: something is wrong.
    """
    log = FindingLog()
    try:
        for batch in _native.LedgerScanner([path], level="offsets", first_seqno=first_seqno):
            for item in batch.findings:
                log.add(item.code, item.message, Position(path, item.offset, item.view, item.seqno))
    except (FormatError, LimitExceededError) as error:
        raise ValueError(str(error.at(file=path))) from error
    raise_first(log)


def raise_first(log: FindingLog) -> None:
    """Raises for the first finding that fails a ledger, or leaves it undecided; returns when there is none."""
    for effect in (Effect.FAILS, Effect.UNDECIDES):
        if log.effects[effect]:
            raise _exception(next(item for item in log.ordered() if item.verdict_effect is effect))


def _exception(item: Finding) -> Exception:
    where = ", ".join(
        part
        for part in (
            item.file or "",
            f"offset {item.offset}" if item.offset is not None else "",
            f"transaction {item.txid}" if item.txid is not None else "",
        )
        if part
    )
    text = f"{where}: {item.message} [{item.code}]" if where else f"{item.message} [{item.code}]"
    return _EXCEPTIONS.get(item.code, ValueError)(text)


class Validation:
    """The trusted state of one ledger, from its first transaction on.

    Args:
        full: check signatures and signers; otherwise only that everything is consistent with the signed roots.
    """

    def __init__(self, *, full: bool) -> None:
        self.state = TrustedState()
        self._full = full
        self._log = FindingLog()
        self._ledger = TrustedLedger(self.state, self._log, self._roots_before)
        self._checker: SignatureChecker | None = None
        if full:
            batch = _native.SignatureBatch(jobs=_JOBS)
            self._checker = SignatureChecker(self._ledger, self._log, candidate_keys=(), place=self._place, batch=batch)
        self._tree: _native.MerkleTree | None = None
        self._run: list[_native.Entry] = []
        self._places: list[str | None] = []
        self._held = 0
        self._last: tuple[int, bool] | None = None
        self._next_seqno: int | None = None
        self._failed: Exception | None = None
        # One file for all runs, gone with this object.
        self._descriptor, self._path = tempfile.mkstemp(prefix="tallystick-", dir=_scratch())
        weakref.finalize(self, _discard, self._descriptor, self._path)

    def add(self, entry: _native.Entry, file: str | None) -> bool:
        """Adds the next transaction; returns whether it is a signature transaction, verified by now.

        Raises:
            InvalidRootException, InvalidRootSignatureException, InvalidRootCoseSignatureException,
            UntrustedNodeException, ValueError: it, or one since the last that mattered, does not hold.
        """
        if self._failed is not None:
            raise self._failed
        self._check_order(entry)
        names = entry.table_names()
        signature = not _SIGNED.isdisjoint(names)
        self._run.append(entry)
        self._places.append(file)
        self._held += entry.size
        if signature or not _WHO_SIGNS.isdisjoint(names) or len(self._run) >= _RUN_ENTRIES or self._held >= _RUN_BYTES:
            try:
                self._judge_run(signature)
            except Exception as error:
                # Nothing that comes after can be proven.
                self._failed = error
                raise
        return signature

    def _check_order(self, entry: _native.Entry) -> None:
        expected = self._next_seqno
        if expected is not None and entry.seqno != expected:
            raise ValueError(f"transaction {entry.view}.{entry.seqno}: expected seqno {expected} next")
        self._next_seqno = entry.seqno + 1

    # ------------------------------------------------------------------------------------------ judging

    def _judge_run(self, signature: bool) -> None:
        run = self._run
        if self._last is None and run[0].seqno == 1:
            self._ledger.begin_at_genesis()
            self._tree = _native.MerkleTree()
        scanner = _native.LedgerScanner(
            [self._write(run)],
            level="full" if self._full else "merkle",
            jobs=_JOBS,
            tree=self._tree,
            first_seqno=run[0].seqno,
            previous_view=self._last[0] if self._last is not None else None,
            previous_was_signature=self._last is not None and self._last[1],
        )
        tree = self._tree
        for batch in scanner:
            for item in batch.findings:
                self._log.add(item.code, item.message, self._place(0, 0, item.view, item.seqno))
            if tree is not None:
                tree.append_many(batch.leaves)
            self._fold(batch)
        if tree is None:
            # No genesis: the scan goes on from the tree that the first signature carries.
            self._tree = scanner.tree()
        elif tree.size - tree.first_kept > 2 * ROOTS_TRIED:
            tree.flush(tree.size - ROOTS_TRIED)
        if self._checker is not None and signature:
            self._checker.flush()
        raise_first(self._log)
        self._last = (run[-1].view, signature)
        self._run, self._places, self._held = [], [], 0

    def _fold(self, batch: _native.ScanBatch) -> None:
        if self._checker is None:
            return
        records = list(batch.signatures)
        for entry in batch.notable:
            before = [record for record in records if record.seqno < entry.seqno]
            self._checker.check(before)
            records = records[len(before) :]
            if self._ledger.apply(entry, self._place(0, entry.offset, entry.view, entry.seqno)):
                self._checker.governance_changed()
        self._checker.check(records)

    def _place(self, _file_index: int, _offset: int, view: int | None, seqno: int | None) -> Position:
        """Where a transaction of this run stands in the caller's files."""
        index = -1 if seqno is None else seqno - self._run[0].seqno
        if not 0 <= index < len(self._run):
            return Position(None, None, view, seqno)
        return Position(self._places[index], self._run[index].offset, view, seqno)

    def _roots_before(self, seqno: int) -> list[bytes]:
        tree = self._tree
        if tree is None:
            return []
        oldest = max(tree.first_kept + 1, seqno - ROOTS_TRIED)
        return [tree.root_at(size) for size in range(min(seqno, tree.size), oldest - 1, -1)]

    def _write(self, run: Sequence[_native.Entry]) -> str:
        data = memoryview(b"".join((_CHUNK_HEADER, *(entry.raw for entry in run))))
        os.ftruncate(self._descriptor, 0)
        written = 0
        while written < len(data):
            written += os.pwrite(self._descriptor, data[written:], written)
        return self._path


def _discard(descriptor: int, path: str) -> None:
    os.close(descriptor)
    Path(path).unlink(missing_ok=True)


def _scratch() -> str | None:
    """A directory in memory where the system has one; runs are small, and written often."""
    return _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None


_IN_MEMORY = "/dev/shm"  # noqa: S108 -- the file in it gets a name of its own

# One run holds some transactions and at most a few signatures: threads would cost more than they save.
_JOBS = 1
