"""Snapshots of a demonstration service, with the evidence transaction and the receipt that vouch for them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tallystick._native import encode_snapshot
from tallystick.demo.ledger import NO_CLAIMS, SINGLETON_KEY, LedgerForge, TableState, json_bytes
from tallystick.demo.receipts import cose_receipt, json_receipt
from tallystick.demo.service import DemoService
from tallystick.types import TxId

__all__ = ["PendingSnapshot", "take_snapshot"]

_EVIDENCE = "public:ccf.internal.snapshot_evidence"


@dataclass(frozen=True)
class PendingSnapshot:
    """A snapshot whose evidence is in the ledger, not signed yet."""

    ledger: LedgerForge
    seqno: int
    evidence: TxId
    entry: bytes

    def commit(self, directory: Path) -> Path:
        """Writes the snapshot with its receipt; call it once a signature covers the evidence."""
        maker = cose_receipt if self.ledger.style.cose_snapshots else json_receipt
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"snapshot_{self.seqno}_{self.evidence.seqno}.committed"
        path.write_bytes(self.entry + maker(self.ledger, self.evidence.seqno))
        return path


def _tables(state: dict[str, TableState], *, public: bool) -> dict[str, tuple[int, dict[bytes, tuple[int, bytes]]]]:
    return {
        name: (table.version, dict(table.rows)) for name, table in state.items() if name.startswith("public:") == public
    }


def take_snapshot(ledger: DemoService) -> PendingSnapshot:
    """Serialises the state after the last transaction and writes the evidence of it."""
    seqno = ledger.seqno
    starts = ledger.view_starts
    # Entry i is where view i+1 starts; a view without transactions starts with the next that has some.
    history = [min(s for v, s in starts.items() if v >= view) for view in range(1, max(starts) + 1)]
    entry = encode_snapshot(
        seqno,
        ledger.written[seqno].leaf,
        history,
        _tables(ledger.state, public=True),
        _tables(ledger.state, public=False),
        ledger.secret,
    )
    digest = hashlib.sha256(entry).digest()
    claims = digest if ledger.style.has_claims else NO_CLAIMS
    evidence = {"hash": digest.hex(), "version": seqno}
    written = ledger.append({_EVIDENCE: {SINGLETON_KEY: json_bytes(evidence)}}, claims=claims)
    return PendingSnapshot(ledger, seqno, written.txid, entry)
