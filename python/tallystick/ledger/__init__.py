"""Ledgers on disk: reading them, and writing them in the same format. Nothing here verifies."""

from __future__ import annotations

from tallystick.ledger.chunk import Chunk
from tallystick.ledger.history import KeyWrite, key_history
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.state import PublicState, Row, public_state
from tallystick.ledger.transaction import Transaction

__all__ = ["Chunk", "KeyWrite", "Ledger", "PublicState", "Row", "Transaction", "key_history", "public_state"]
