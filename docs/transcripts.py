"""Runs the console examples in the pages, so that what they show is what the program prints.

A block of language ``console`` after the comment ``<!-- run -->`` holds lines ``$ COMMAND``, each followed by
what it prints. Each runs in a shell of its own, in a directory in which ``tallystick demo`` has written its files;
what a command of the form ``. FILE`` sets, later ones find set, as in a terminal. Keys are fresh in every run, so two
outputs count as equal when they differ in hexadecimal digits, dates, durations or the name of a temporary directory
only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BLOCK = re.compile(r"(?<=^<!-- run -->\n)\n?^```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

# What readers see in the pages; the program makes a name of its own in it.
TEMPORARY = "/tmp"  # noqa: S108 - as above

# In the stage's directory: read by every shell before its command.
_SETTINGS = ".settings"

_VARYING = (
    (re.compile(r"[0-9a-f]{12,}"), "<hex>"),
    (re.compile(r"\b[0-9a-f]{2}(:[0-9a-f]{2}){5,}"), "<hex>"),
    (re.compile(r"[A-Za-z0-9+/]{40,}={0,2}"), "<base64>"),
    (re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?"), "<date>"),
    (re.compile(r"\b\d+(\.\d+)? m?s\b"), "<duration>"),
    (re.compile(r"\S*tallystick-demo-\w+"), "<directory>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
    # When a service signs depends on the clock, and with it the numbers of what comes later.
    (re.compile(r"\b\d+\.\d+\b"), "<txid>"),
    (re.compile(r"\b(transactions|seqno|to|signatures|chunks) \d+"), r"\1 <number>"),
    (re.compile(r"\b\d+ (transactions|signatures)\b"), r"<number> \1"),
    (re.compile(r"\bledger_\d+\b"), "<chunk>"),
    # Offsets follow the lengths of DER signatures, which vary by a byte or two.
    (re.compile(r"\b(offset|size|bytes)(\"?:?) +\d+"), r"\1\2 <number>"),
)


def same(left: str, right: str) -> bool:
    """Whether two transcripts differ in nothing but what fresh keys and clocks change."""
    return _masked(left) == _masked(right)


def _masked(text: str) -> str:
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    # A wrapped line may break elsewhere when a number in it has another length.
    return " ".join(text.split())


class Stage:
    """A directory with the demonstration service, in which commands run."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self._directory = directory
        self._environment = {
            **{name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "LD_LIBRARY_PATH")},
            "PATH": f"{programs}:{os.environ.get('PATH', '')}",
            "TMPDIR": TEMPORARY,
            "NO_COLOR": "1",
            "BASH_ENV": str(directory / _SETTINGS),
        }
        (directory / _SETTINGS).touch()

    def transcript(self, text: str) -> str:
        """The block anew: its commands, each with what it prints now (stdout and stderr, as a terminal shows)."""
        lines: list[str] = []
        for command in re.findall(r"^\$ (.*(?:\\\n.*)*)$", text, re.MULTILINE):
            output = self._run(command)
            for left_behind in set(re.findall(rf"{TEMPORARY}/tallystick-demo-\w+", output)):
                shutil.rmtree(left_behind, ignore_errors=True)
            if re.fullmatch(r"\. \S+", command):
                with (self._directory / _SETTINGS).open("a", encoding="utf-8") as settings:
                    settings.write(f"{command}\n")
            lines += [f"$ {command}", *(line.rstrip() for line in output.splitlines())]
        return "\n".join(lines) + "\n"

    def _run(self, command: str) -> str:
        # Into a file: a pipe would not end before what the command leaves running in the background does.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
            subprocess.run(
                ["bash", "-c", command],
                cwd=self._directory, env=self._environment, check=False, timeout=120,
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            output.seek(0)
            # Where this stage happens to stand is nobody's business; readers work in a directory of their own.
            return output.read().replace(str(self._directory), "~")


@contextmanager
def stage() -> Iterator[Stage]:
    """Writes the demonstration service and puts the program under test first on the PATH."""
    with tempfile.TemporaryDirectory() as root:
        programs = Path(root) / "bin"
        programs.mkdir()
        program = programs / "tallystick"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tallystick "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        directory = Path(root) / "demo"
        subprocess.run([program, "demo", "--directory", directory], check=True, stdout=subprocess.DEVNULL)
        try:
            yield Stage(directory, programs)
        finally:
            # A page whose example broke off may have left its service running; without its node it ends.
            for ready in directory.glob("*/sandbox.json"):
                for node in json.loads(ready.read_bytes())["nodes"]:
                    with suppress(ProcessLookupError):
                        os.kill(node["pid"], signal.SIGTERM)


def renewed(page: str, on: Stage) -> str:
    """The page with every transcript that has changed written anew; what differs in keys only is left as it is."""

    def block(match: re.Match[str]) -> str:
        now = on.transcript(match["text"])
        if same(now, match["text"]):
            return match[0]
        return match[0].replace(match["text"], now)

    return BLOCK.sub(block, page)
