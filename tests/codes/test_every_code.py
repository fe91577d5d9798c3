"""Every code in the catalogue is triggered by some input, and the examples are what they say."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from codes.document_examples import DOCUMENTS, DocumentExample
from codes.format_examples import FORMATS, FormatExample
from codes.ledger_examples import EXAMPLES, Example
from codes.native_examples import NATIVE, NativeExample
from codes.receipt_format_examples import RECEIPT_FORMATS
from mutations.ledger_table import MUTATIONS
from mutations.receipt_table import RECEIPTS
from mutations.snapshot_table import SNAPSHOTS
from support.run import codes, tallystick
from support.services import base
from tallystick.errors import TallystickError
from tallystick.findings import CATALOGUE

# Codes that take more than a test can spend (gigabytes), or that no caller from Python can bring about; the
# core's own tests trigger each.
ONLY_IN_RUST = {
    "chunk-writer-offset",
    "entry-size-limit",
    "merkle-path-too-long",
    "merkle-subtree-unaligned",
    "snapshot-too-large",
}

# The areas that this module answers for; what governance, attestation and secrets can say is tested beside them.
AREAS = {"ledger", "ledger format", "identity", "receipt", "receipt format", "snapshot"}

# Tests whose subject is a code's meaning, not its mention: the catalogues are generated from the same tables.
TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.code)
def test_example_triggers_its_code(example: Example, tmp_path: Path) -> None:
    outcome = tallystick("verify", *example.build(tmp_path), "--format", "json")

    if outcome.stdout:
        findings = outcome.json["findings"]
        assert example.code in codes(findings), [(f["code"], f["message"]) for f in findings]
    else:
        assert re.search(rf"\[{example.code}\]$", outcome.stderr, re.MULTILINE), outcome.stderr


@pytest.mark.parametrize("example", DOCUMENTS, ids=lambda e: e.code)
def test_document_triggers_its_code(example: DocumentExample, tmp_path: Path) -> None:
    outcome = tallystick(*example.build(tmp_path), "--format", "json")

    if outcome.stdout:
        (result,) = outcome.json["results"]
        assert example.code in codes(result["findings"]), [(f["code"], f["message"]) for f in result["findings"]]
    else:
        assert re.search(rf"\[{example.code}\]$", outcome.stderr, re.MULTILINE), outcome.stderr


@pytest.mark.parametrize("example", FORMATS, ids=lambda e: e.code)
def test_bytes_trigger_their_code(example: FormatExample, tmp_path: Path) -> None:
    valid = base("6.x")
    copy = valid.copy(tmp_path / "ledger")
    example.spoil(copy)
    pin = tmp_path / "pin.pem"
    pin.write_bytes(valid.certificates[0])

    outcome = tallystick("verify", copy.directory, "--uncommitted", "--service-cert", pin, "--format", "json")

    findings = outcome.json["findings"]
    assert outcome.json["verdict"] == "failed"
    (mine, *_) = [f for f in findings if f["code"] == example.code] or pytest.fail(str(findings))
    assert mine["file"].startswith(str(copy.directory))
    assert mine["offset"] is not None


@pytest.mark.parametrize("example", [*NATIVE, *RECEIPT_FORMATS], ids=lambda e: e.code)
def test_calls_trigger_their_code(example: NativeExample, tmp_path: Path) -> None:
    expected = (ValueError, IndexError) if example.mistake else TallystickError
    with pytest.raises(expected, match=r"\w") as raised:
        example.call(tmp_path)

    if isinstance(raised.value, TallystickError):
        assert raised.value.code == example.code


def _catalogue() -> set[str]:
    """Every code of these areas."""
    for module in pkgutil.walk_packages(importlib.import_module("tallystick").__path__, "tallystick."):
        if module.name.endswith("codes"):
            importlib.import_module(module.name)
    return {code for code, info in CATALOGUE.items() if info.area in AREAS}


def _named_in_other_tests() -> str:
    return "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py") if path.parent.name != "codes")


def test_every_code_has_an_example() -> None:
    shown = {example.code for example in (*EXAMPLES, *DOCUMENTS, *FORMATS, *NATIVE, *RECEIPT_FORMATS)}
    for table in (MUTATIONS, RECEIPTS, SNAPSHOTS):
        shown |= {code for row in table for code in row.codes}
    catalogued, elsewhere = _catalogue(), _named_in_other_tests()

    missing = sorted(
        code
        for code in catalogued - shown - ONLY_IN_RUST
        if f'"{code}"' not in elsewhere and f"[{code}]" not in elsewhere
    )
    assert missing == []
    assert sorted(shown - catalogued) == []
    assert sorted(ONLY_IN_RUST & shown) == []
