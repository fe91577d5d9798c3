"""Offline audit and receipt verification for ledgers of the Confidential Consortium Framework (CCF).

The paved path is the handful of names below; they are imported when first used, so that ``import
tallystick`` and the command line stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tallystick.ledger.chunk import Chunk as Chunk
    from tallystick.ledger.ledger import Ledger as Ledger
    from tallystick.ledger.transaction import Transaction as Transaction
    from tallystick.merkle.tree import MerkleTree as MerkleTree
    from tallystick.types import TxId as TxId

__version__: str

_HOMES = {
    "Chunk": "tallystick.ledger.chunk",
    "Ledger": "tallystick.ledger.ledger",
    "MerkleTree": "tallystick.merkle.tree",
    "Transaction": "tallystick.ledger.transaction",
    "TxId": "tallystick.types",
}

__all__ = [
    "Chunk",
    "Ledger",
    "MerkleTree",
    "Transaction",
    "TxId",
    "__version__",
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
