"""Every code about attestation, secrets and evidence is triggered by some input; for governance see mutations."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from codes.area_examples import AREA_EXAMPLES, AreaExample, attest
from support.hardware import utility_vm_maker
from tallystick.findings import CATALOGUE

AREAS = ("attestation", "secrets", "evidence")
# Three enclaves of a real service can be debugged; no such evidence can be made here, for Intel signs it.
ON_REAL_FILES = {"attestation-debug-enclave"}


@pytest.mark.parametrize("example", AREA_EXAMPLES, ids=lambda e: e.code)
def test_example_triggers_its_code(example: AreaExample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert example.code in set(example.find(tmp_path, monkeypatch))


def test_genuine_evidence_triggers_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert attest(tmp_path / "a", monkeypatch) == set()
    # The utility VM is vouched for, and governance did not say that its maker may.
    vouched = attest(tmp_path / "b", monkeypatch, uvm=utility_vm_maker().endorse())
    assert vouched == {"attestation-measurement"}


def test_every_code_has_an_example() -> None:
    for area in AREAS:
        importlib.import_module(f"tallystick.{area}.codes")
    catalogued = {code for code, info in CATALOGUE.items() if info.area in AREAS}
    shown = {example.code for example in AREA_EXAMPLES} | ON_REAL_FILES

    assert sorted(catalogued - shown) == []
    assert sorted(shown - catalogued) == []
