"""Rules about imports that import-linter cannot express: extension modules are invisible to it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# What must not know the extension module: it renders, parses options or defines words. Everything that reads or
# writes a format, or runs the core, may.
NATIVE_STRANGERS = (
    "tallystick/cli/",
    "tallystick/report/",
    "tallystick/errors.py",
    "tallystick/findings.py",
    "tallystick/printable.py",
    "tallystick/types.py",
)

# Heavy imports that must not happen while the command line looks for its command (ADR 8).
HEAVY = ("asyncio", "cryptography", "email", "http", "jsonschema", "multiprocessing", "urllib.request", "xml")


def _sources(repository: Path) -> Iterator[Path]:
    yield from sorted((repository / "python" / "tallystick").rglob("*.py"))


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def test_surface_and_words_do_not_know_the_extension_module(repository: Path) -> None:
    offenders = []
    for path in _sources(repository):
        name = path.relative_to(repository / "python").as_posix()
        if not name.startswith(NATIVE_STRANGERS):
            continue
        offenders += [f"{name}:{line}" for line, what in _imports(path) if what.startswith("tallystick._native")]
    assert offenders == []


def test_nothing_opens_a_socket(repository: Path) -> None:
    """The audit is offline: only modules that fetch, when there are any, may name the network."""
    network = ("socket", "ssl", "http", "urllib.request", "asyncio", "requests", "httpx")
    offenders = []
    for path in _sources(repository):
        # The explorer listens on loopback and opens no connection; clients of nodes ask whether they may. So does a
        # node before it asks token issuers for their keys; at its start it reserves an address.
        name = path.relative_to(repository / "python" / "tallystick").as_posix()
        if name in ("explore/server.py", "network.py", "remote/node_client.py", "member/client.py"):
            continue
        if name in ("node/jwt_refresh.py", "node/startup.py", "sandbox/node_process.py"):
            continue
        for line, what in _imports(path):
            if any(what == name or what.startswith(f"{name}.") for name in network):
                offenders.append(f"{path.relative_to(repository)}:{line} imports {what}")
    assert offenders == []


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_the_command_line_starts_light(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from tallystick.cli.main import main\n"
        f"code = main({arguments!r})\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print('HEAVY', code, heavy)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "HEAVY 0 []"
