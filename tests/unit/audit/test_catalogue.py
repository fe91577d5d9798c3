"""The catalogue of findings is whole: every code that the core can emit is in it."""

from __future__ import annotations

import importlib
import pkgutil

import tallystick
from tallystick import _native
from tallystick.findings import CATALOGUE, Effect, Severity


def test_every_code_of_the_core_is_catalogued() -> None:
    for module in pkgutil.walk_packages(tallystick.__path__, "tallystick."):
        if module.name.rpartition(".")[2] == "codes":
            importlib.import_module(module.name)

    assert set(_native.finding_codes()) <= set(CATALOGUE)


def test_errors_fail_and_nothing_else_does() -> None:
    importlib.import_module("tallystick.audit.codes")

    for code, info in CATALOGUE.items():
        assert (info.severity is Severity.ERROR) == (info.verdict_effect is Effect.FAILS), code
        assert info.summary, code
        assert info.advice, code
