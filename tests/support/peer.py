"""Asks the official ccf package, in its own interpreter."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).with_name("peer_program.py")


def ask(python: Path, question: str, *arguments: str | Path) -> Any:
    """The answer to a question of ``peer_program.py``."""
    done = subprocess.run(
        [python, _PROGRAM, question, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)
