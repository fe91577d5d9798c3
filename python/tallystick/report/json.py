"""Reports for programs: one JSON document, or a line for each finding and one for the verdict."""

from __future__ import annotations

import json

from tallystick.audit.verdict import LedgerVerdict

__all__ = ["render_json", "render_jsonl"]


def render_json(verdict: LedgerVerdict) -> str:
    """The verdict as one JSON document (``docs/verdict.schema.json``), ending in a newline."""
    return json.dumps(verdict.to_json(), indent=2, ensure_ascii=False) + "\n"


def render_jsonl(verdict: LedgerVerdict) -> str:
    """A line ``{"type": "finding", …}`` for each finding, then ``{"type": "verdict", …}`` without the findings."""
    document = verdict.to_json()
    lines = [{"type": "finding", **item.to_json()} for item in verdict.findings]
    del document["findings"]
    lines.append({"type": "verdict", **document})
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
