"""Cuts and joins chunk files without loss, and says what a node would do with a ledger directory."""
