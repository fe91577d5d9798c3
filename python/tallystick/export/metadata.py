"""What an export says of itself: what it holds, and whether the ledger that it was made from was verified."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import tallystick
from tallystick.export.exporter import Counts

__all__ = ["SCHEMA", "describe", "write_metadata"]

SCHEMA = "tallystick.export/1"


def describe(counts: Counts, verdict: Mapping[str, object]) -> dict[str, object]:
    """The metadata.

    Args:
        counts: rows of each table.
        verdict: the JSON verdict of the audit that the rows were made by.
    """
    return {
        "schema": SCHEMA,
        "tallystick": tallystick.__version__,
        "verified": verdict["verdict"] == "verified",
        "rows": asdict(counts),
        "verdict": dict(verdict),
    }


def write_metadata(directory: Path, metadata: Mapping[str, object]) -> None:
    """Writes ``export.json`` into an export that is a directory."""
    (directory / "export.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
