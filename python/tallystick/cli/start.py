"""Where the console script begins: nothing is loaded yet, so that an interrupt while it loads ends it quietly too."""

from __future__ import annotations

import sys

__all__ = ["run"]

# As shells say it of a process that SIGINT ended: 128 and the number of the signal.
_INTERRUPTED = 130


def run() -> None:
    """The console script; ``python -m tallystick`` too."""
    try:
        from tallystick.cli.main import run as run_command_line

        run_command_line()
    except KeyboardInterrupt:
        sys.stderr.write("tallystick: interrupted\n")
        sys.exit(_INTERRUPTED)
