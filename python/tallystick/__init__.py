"""Offline audit and receipt verification for ledgers of the Confidential Consortium Framework (CCF).

The paved path is the handful of names below; they are imported when first used, so that ``import
tallystick`` and the command line stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tallystick.audit.auditor import audit_ledger as audit_ledger
    from tallystick.audit.auditor import verify_ledger as verify_ledger
    from tallystick.audit.verdict import LedgerVerdict as LedgerVerdict
    from tallystick.audit.verdict import LedgerVerificationError as LedgerVerificationError
    from tallystick.audit.verdict import VerifiedLedger as VerifiedLedger
    from tallystick.identity.trust_anchor import TrustAnchor as TrustAnchor
    from tallystick.ledger.chunk import Chunk as Chunk
    from tallystick.ledger.ledger import Ledger as Ledger
    from tallystick.ledger.transaction import Transaction as Transaction
    from tallystick.merkle.tree import MerkleTree as MerkleTree
    from tallystick.receipt.model import ReceiptResult as ReceiptResult
    from tallystick.receipt.model import VerifiedReceipt as VerifiedReceipt
    from tallystick.receipt.verify import audit_receipts as audit_receipts
    from tallystick.receipt.verify import verify_receipt as verify_receipt
    from tallystick.snapshot.model import SnapshotResult as SnapshotResult
    from tallystick.snapshot.model import VerifiedSnapshot as VerifiedSnapshot
    from tallystick.snapshot.verify import audit_snapshot as audit_snapshot
    from tallystick.snapshot.verify import verify_snapshot as verify_snapshot
    from tallystick.types import TxId as TxId

__version__: str

_HOMES = {
    "Chunk": "tallystick.ledger.chunk",
    "Ledger": "tallystick.ledger.ledger",
    "LedgerVerdict": "tallystick.audit.verdict",
    "LedgerVerificationError": "tallystick.audit.verdict",
    "MerkleTree": "tallystick.merkle.tree",
    "ReceiptResult": "tallystick.receipt.model",
    "SnapshotResult": "tallystick.snapshot.model",
    "Transaction": "tallystick.ledger.transaction",
    "TrustAnchor": "tallystick.identity.trust_anchor",
    "TxId": "tallystick.types",
    "VerifiedLedger": "tallystick.audit.verdict",
    "VerifiedReceipt": "tallystick.receipt.model",
    "VerifiedSnapshot": "tallystick.snapshot.model",
    "audit_ledger": "tallystick.audit.auditor",
    "audit_receipts": "tallystick.receipt.verify",
    "audit_snapshot": "tallystick.snapshot.verify",
    "verify_ledger": "tallystick.audit.auditor",
    "verify_receipt": "tallystick.receipt.verify",
    "verify_snapshot": "tallystick.snapshot.verify",
}

__all__ = [
    "Chunk",
    "Ledger",
    "LedgerVerdict",
    "LedgerVerificationError",
    "MerkleTree",
    "ReceiptResult",
    "SnapshotResult",
    "Transaction",
    "TrustAnchor",
    "TxId",
    "VerifiedLedger",
    "VerifiedReceipt",
    "VerifiedSnapshot",
    "__version__",
    "audit_ledger",
    "audit_receipts",
    "audit_snapshot",
    "verify_ledger",
    "verify_receipt",
    "verify_snapshot",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("tallystick._native").__version__
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tallystick' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
