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
    from tallystick.types import TxId as TxId

__version__: str

_HOMES = {
    "Chunk": "tallystick.ledger.chunk",
    "Ledger": "tallystick.ledger.ledger",
    "LedgerVerdict": "tallystick.audit.verdict",
    "LedgerVerificationError": "tallystick.audit.verdict",
    "MerkleTree": "tallystick.merkle.tree",
    "Transaction": "tallystick.ledger.transaction",
    "TrustAnchor": "tallystick.identity.trust_anchor",
    "TxId": "tallystick.types",
    "VerifiedLedger": "tallystick.audit.verdict",
    "audit_ledger": "tallystick.audit.auditor",
    "verify_ledger": "tallystick.audit.auditor",
}

__all__ = [
    "Chunk",
    "Ledger",
    "LedgerVerdict",
    "LedgerVerificationError",
    "MerkleTree",
    "Transaction",
    "TrustAnchor",
    "TxId",
    "VerifiedLedger",
    "__version__",
    "audit_ledger",
    "verify_ledger",
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
