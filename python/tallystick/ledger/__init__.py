"""Ledgers on disk: reading them, and writing them in the same format. Nothing here verifies.

Names are imported when they are first used, so that what needs one of them does not wait for all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tallystick.ledger.chunk import Chunk as Chunk
    from tallystick.ledger.history import KeyWrite as KeyWrite
    from tallystick.ledger.history import key_history as key_history
    from tallystick.ledger.ledger import Ledger as Ledger
    from tallystick.ledger.state import PublicState as PublicState
    from tallystick.ledger.state import Row as Row
    from tallystick.ledger.state import public_state as public_state
    from tallystick.ledger.transaction import Transaction as Transaction

__all__ = ["Chunk", "KeyWrite", "Ledger", "PublicState", "Row", "Transaction", "key_history", "public_state"]

_HOMES = {
    "Chunk": "chunk",
    "KeyWrite": "history",
    "Ledger": "ledger",
    "PublicState": "state",
    "Row": "state",
    "Transaction": "transaction",
    "key_history": "history",
    "public_state": "state",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tallystick.ledger' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tallystick.ledger.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
