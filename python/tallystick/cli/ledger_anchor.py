"""What commands on ledgers share: options for the anchor, a look at where results go, the line that says how far."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tallystick.printable import cut

__all__ = ["JOBS", "SECONDS", "ProgressLine", "check_place", "ledger_anchor"]

Command = Callable[..., Any]

# More threads than machines have cores; far beyond it the system gives none, and says only that it would block.
JOBS = click.IntRange(0, 1024)
"""Type of ``--jobs``."""

# Shorter than this is a busy loop, longer than a day no waiting.
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.01, 86_400.0


class _Seconds(click.FloatRange):
    """Seconds to wait; "nan" is a number to Python, below no limit and above none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return number


SECONDS = _Seconds(_SHORTEST_SECONDS, _LONGEST_SECONDS)
"""Type of options that say how long to wait between looks."""

# A line this often is enough for eyes, and costs nothing.
_PROGRESS_SECONDS = 0.2


def ledger_anchor(command: Command) -> Command:
    """Adds --service-cert, --service-key-sha256 and --trust-genesis."""
    for option in reversed(
        [
            click.option(
                "--service-cert",
                "service_certs",
                multiple=True,
                type=click.Path(),
                metavar="FILE",
                help="Certificate of the service, known to you from elsewhere; repeatable.",
            ),
            click.option(
                "--service-key-sha256",
                "service_keys",
                multiple=True,
                metavar="HEX",
                help="SHA-256 of the service's public key (SubjectPublicKeyInfo); repeatable.",
            ),
            click.option(
                "--trust-genesis",
                is_flag=True,
                help="Trust the identity in the first transaction, whoever wrote it.",
            ),
        ]
    ):
        command = option(command)
    return command


def check_place(option: str, path: str | None) -> None:
    """Refuses a file that cannot be written, before the work whose result would be lost.

    Raises:
        click.UsageError: its directory does not exist, or it is a directory itself.
    """
    if path is None:
        return
    place = Path(path)
    if place.is_dir():
        raise click.UsageError(f"{option} is a directory: {path}")
    if not place.absolute().parent.is_dir():
        raise click.UsageError(f"directory of {option} does not exist: {path}")


class ProgressLine:
    """A line on stderr that is written over, now and then."""

    def __init__(self) -> None:
        self._next = 0.0
        self._width = 0

    def show(self, text: Callable[[], str]) -> None:
        """Writes what ``text`` gives, unless the line was written a moment ago."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _PROGRESS_SECONDS
        # A line that wraps would be written over in its last row only.
        line = cut(text(), max(shutil.get_terminal_size().columns - 1, 1))
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)

    def clear(self) -> None:
        """Removes the line."""
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
