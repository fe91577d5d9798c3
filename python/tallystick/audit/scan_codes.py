"""Codes that the core emits while it reads a ledger."""

from __future__ import annotations

from tallystick.findings import CodeInfo

__all__ = ["SCAN_CODES"]

SCAN_CODES: dict[str, CodeInfo] = {}
