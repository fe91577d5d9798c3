"""House rules that no linter has: sizes, reasons for exceptions, words that must not stay."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

MAX_FUNCTION_LINES = 80
MAX_FILE_LINES = 600
# Tables of cases are long because there are many cases.
MAX_TEST_FILE_LINES = 900

# Assembled, so that this file does not break its own rule.
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")
EXCEPTION = re.compile(r"#\s*(type: ignore|noqa)\b(?P<rest>.*)$")
# `[code]` or `: CODE`, then a separator, then the reason.
REASONED = re.compile(r"^(\[[\w-]+(, ?[\w-]+)*\]|: ?[A-Z]+\d+(, ?[A-Z]+\d+)*)\s+(#|--?|–)\s*\w+.*$")
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|root|home)/\w+")


def _python(repository: Path) -> Iterator[Path]:
    for folder in ("python", "tests", "benches", "docs"):
        yield from sorted((repository / folder).rglob("*.py"))


def _texts(repository: Path) -> Iterator[Path]:
    yield from _python(repository)
    yield from sorted((repository / "rust").glob("*/src/**/*.rs"))
    yield from sorted((repository / "rust").glob("fuzz/fuzz_targets/*.rs"))
    yield from sorted(repository.glob("*.md"))
    yield from sorted((repository / "docs").rglob("*.md"))


def test_functions_and_files_stay_small(repository: Path) -> None:
    too_long = []
    for path in _python(repository):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(repository)
        lines = text.count("\n")
        if lines > (MAX_TEST_FILE_LINES if name.parts[0] == "tests" else MAX_FILE_LINES):
            too_long.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    too_long.append(f"{name}:{node.lineno} {node.name}: {length} lines")
    for path in sorted((repository / "rust").glob("*/src/**/*.rs")):
        code = path.read_text(encoding="utf-8").partition("#[cfg(test)]\nmod tests {")[0]
        lines = code.count("\n")
        if lines > (MAX_TEST_FILE_LINES if path.stem.endswith("tests") else MAX_FILE_LINES):
            too_long.append(f"{path.relative_to(repository)}: {lines} lines")
    assert too_long == []


def test_nothing_is_left_unfinished(repository: Path) -> None:
    found = [
        f"{path.relative_to(repository)}:{number}: {line.strip()}"
        for path in _texts(repository)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert found == []


def test_exceptions_from_the_linters_have_reasons(repository: Path) -> None:
    """`# noqa: S301  # why` and `# type: ignore[code]  # why`: the code and the reason are both required."""
    found = []
    for path in _python(repository):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = EXCEPTION.search(line)
            if match and path.name != Path(__file__).name and not REASONED.match(match["rest"]):
                found.append(f"{path.relative_to(repository)}:{number}: {line.strip()}")
    assert found == []


def test_no_paths_of_a_machine(repository: Path) -> None:
    found = [
        f"{path.relative_to(repository)}:{number}: {line.strip()}"
        for path in _texts(repository)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line) and path.name != Path(__file__).name
    ]
    assert found == []


def test_checks_do_not_vanish_under_optimisation(repository: Path) -> None:
    """`python -O` drops assert statements: nothing in the package may rest on one."""
    found = [
        f"{path.relative_to(repository)}:{node.lineno}"
        for path in sorted((repository / "python").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert found == []
