"""SARIF 2.1.0, for code scanning services and editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import tallystick
from tallystick.audit.verdict import LedgerVerdict
from tallystick.findings import CATALOGUE, Finding

__all__ = ["render_sarif"]

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_DOCUMENTATION = "docs/findings.md"


def render_sarif(verdict: LedgerVerdict) -> str:
    """The findings as SARIF, ending in a newline; the verdict stands in the run's properties."""
    codes = sorted({item.code for item in verdict.findings})
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "tallystick",
                "version": tallystick.__version__,
                "rules": [_rule(code) for code in codes],
            }
        },
        "invocations": [{"executionSuccessful": True}],
        "results": [_result(item, codes) for item in verdict.findings],
        "properties": {name: value for name, value in verdict.to_json().items() if name != "findings"},
    }
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _rule(code: str) -> dict[str, Any]:
    info = CATALOGUE[code]
    return {
        "id": code,
        "shortDescription": {"text": info.summary},
        "fullDescription": {"text": info.advice},
        "help": {"text": f"{info.advice} See {_DOCUMENTATION}."},
        "defaultConfiguration": {"level": info.severity.value},
    }


def _result(item: Finding, codes: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": item.code,
        "ruleIndex": codes.index(item.code),
        "level": item.severity.value,
        "message": {"text": item.message},
    }
    location: dict[str, Any] = {}
    if item.file is not None:
        physical: dict[str, Any] = {"artifactLocation": {"uri": quote(Path(item.file).as_posix())}}
        if item.offset is not None:
            physical["region"] = {"byteOffset": item.offset}
        location["physicalLocation"] = physical
    if item.txid is not None:
        location["logicalLocations"] = [{"name": item.txid, "kind": "transaction"}]
    if location:
        result["locations"] = [location]
    return result
