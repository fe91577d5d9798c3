"""Runs the command line inside the test's own process and reads what it prints."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick import network
from tallystick.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def tallystick(*arguments: str | Path) -> Outcome:
    """Runs ``tallystick ARGUMENTS``."""
    out, err = io.StringIO(), io.StringIO()
    was_offline = network._State.offline
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            exit_code = main([str(argument) for argument in arguments])
    finally:
        # A command that goes offline ends with its process; here other tests come after it.
        network._State.offline = was_offline
    return Outcome(exit_code, out.getvalue(), err.getvalue())


def codes(findings: list[dict[str, Any]]) -> set[str]:
    """The codes of a report's findings."""
    return {finding["code"] for finding in findings}
