"""The demonstration does what it says, on a narrow terminal, and leaves files that the commands it prints accept."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from support.run import tallystick

MAX_WIDTH = 80


def test_demo_shows_a_good_ledger_and_three_tamperings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "demo"

    outcome = tallystick("demo", "--directory", directory)

    assert outcome.exit_code == 0, outcome.stdout
    assert outcome.stderr == ""
    assert outcome.stdout.count("VERIFIED") >= 8
    assert outcome.stdout.count("FAILED") == 3
    for code in ("leaf-differs", "service-identity-unvouched", "receipt-beyond-ledger"):
        assert f"[{code}]" in outcome.stdout
    # The directory is the caller's, however long its name.
    assert all(len(line) <= MAX_WIDTH for line in outcome.stdout.replace(str(directory), "DIR").splitlines())

    monkeypatch.chdir(directory)
    commands = [shlex.split(line) for line in outcome.stdout.splitlines() if line.strip().startswith("tallystick ")]
    assert len(commands) >= 4
    for command in commands:
        expected = 1 if any("tampered" in word for word in command) else 0
        assert tallystick(*command[1:]).exit_code == expected, command


def test_demo_does_not_write_over_anything(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")

    outcome = tallystick("demo", "--directory", tmp_path)

    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    assert "something already" in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
