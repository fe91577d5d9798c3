"""Turns what an audit reads into rows, for one of several formats.

An observer of :func:`tallystick.audit.auditor.audit_ledger`: rows and verdict come from the same pass over the same
bytes. The rows themselves are made in the native module, a column at a time.

An export holds every transaction, or is not made: what cannot be read as a transaction, or is out of order, is an
error here, as it is for :class:`tallystick.Ledger`. What reads well but is not true (a root, a signature) is exported,
and the verdict beside it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tallystick._native import CoverQueue, ScanBatch, TransactionRows, WriteRows
from tallystick.errors import FormatError

__all__ = ["Counts", "Exporter", "SignatureRow", "Sink"]

# Codes of findings of the scan that say: here is something that is no transaction, or not the next one.
_BROKEN = frozenset({"chunk-trailing-bytes", "chunk-header", "chunk-header-truncated", "chunk-offsets-missing"})
_BROKEN |= {"seqno-gap", "seqno-repeated"}
_BROKEN_PREFIXES = ("entry-", "domain-")


class SignatureRow(NamedTuple):
    """A signature transaction. Whether its signatures hold is for the verdict to say.

    Attributes:
        seqno, view: transaction ID.
        root: Merkle root computed here over the transactions before it; None where there was no tree to start from.
        root_matches: whether every root that it claims is this one.
        first_covered: first of the transactions read here that the root covers.
        node_id: of the node that signed, as it claims.
        service_key_sha256: of the service key that the COSE signature names.
        issued_at: Unix seconds that the COSE signature claims.
    """

    seqno: int
    view: int
    root: bytes | None
    root_matches: bool
    first_covered: int | None
    node_id: str | None
    service_key_sha256: str | None
    issued_at: int | None


@dataclass
class Counts:
    """Rows of each table."""

    transactions: int = 0
    writes: int = 0
    signatures: int = 0


class Sink(Protocol):
    """Writes rows somewhere; blocks come in ledger order, each table at its own pace."""

    def transactions(self, rows: TransactionRows, file: str) -> None:
        """Takes transactions of the file ``file``."""

    def writes(self, rows: WriteRows) -> None:
        """Takes writes and removes."""

    def signatures(self, rows: Sequence[SignatureRow]) -> None:
        """Takes signature transactions."""


class Exporter:
    """Feeds a sink from an audit.

    Args:
        sink: takes the rows.
    """

    wants_rows = True

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._queue = CoverQueue()
        self._files: dict[int, str] = {}
        self._next: int | None = None
        self.counts = Counts()

    def observe(self, batch: ScanBatch, path: str) -> None:
        """Takes consecutive transactions of one file.

        Raises:
            FormatError: something in it is no transaction, or not the next one.
        """
        for item in batch.findings:
            if item.code in _BROKEN or item.code.startswith(_BROKEN_PREFIXES):
                txid = f"{item.view}.{item.seqno}" if item.seqno is not None else None
                raise FormatError(
                    item.message,
                    code=item.code,
                    file=path,
                    offset=item.offset,
                    txid=txid,
                    hint="an export holds every transaction or is not made; `tallystick verify` lists what is wrong",
                )
        if batch.first_seqno != self._next:
            # After a gap files are counted anew, and no later root is known to cover what was before.
            self.finish()
            self._files.clear()
        self._next = batch.first_seqno + batch.count
        self._files[batch.file_index] = path
        if batch.signatures:
            self._signatures(batch)
        if batch.write_rows is not None and len(batch.write_rows):
            self._sink.writes(batch.write_rows)
            self.counts.writes += len(batch.write_rows)
        self._hand_on(self._queue.push(batch))

    def _signatures(self, batch: ScanBatch) -> None:
        rows = [
            SignatureRow(
                record.seqno,
                record.view,
                record.root,
                record.root_holds,
                record.first_proven,
                record.node_id,
                record.cose_kid,
                record.cose_issued_at,
            )
            for record in batch.signatures
        ]
        self._sink.signatures(rows)
        self.counts.signatures += len(rows)

    def _hand_on(self, blocks: Sequence[TransactionRows]) -> None:
        for rows in blocks:
            if len(rows):
                self._sink.transactions(rows, self._files[rows.file_index])
                self.counts.transactions += len(rows)

    def finish(self) -> None:
        """Hands on what still waits for a signature; to be called at the end."""
        self._hand_on(self._queue.finish())
