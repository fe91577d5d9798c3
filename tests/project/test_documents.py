"""Documents that have drifted fail here: commands, links, targets, generated pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tallystick.cli.main import cli

CODE_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
INSTALL = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/tallystick demo"
TEST = "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest"


def _pages(repository: Path) -> list[Path]:
    return [*sorted(repository.glob("*.md")), *sorted((repository / "docs").rglob("*.md"))]


def _commands(text: str) -> list[str]:
    """Command lines of shell blocks: whole `sh` blocks, and the `$ ` lines of `console` blocks."""
    commands = []
    for block in CODE_BLOCK.finditer(text):
        if block["language"] == "sh":
            commands += [line.partition("#")[0].strip() for line in block["text"].replace("\\\n", " ").splitlines()]
        elif block["language"] == "console":
            lines = block["text"].replace("\\\n", " ").splitlines()
            commands += [line[2:].strip() for line in lines if line.startswith("$ ")]
    return [command for command in commands if command]


def test_the_readme_has_the_two_commands_first(repository: Path) -> None:
    blocks = [
        block["text"].strip()
        for block in CODE_BLOCK.finditer((repository / "README.md").read_text(encoding="utf-8"))
        if block["language"] == "sh"
    ]
    assert blocks[:2] == [INSTALL, TEST]


def test_continuous_integration_runs_the_readmes_test_command(repository: Path) -> None:
    assert TEST in (repository / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_links_lead_somewhere(repository: Path) -> None:
    broken = []
    for page in _pages(repository):
        text = CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
        for match in LINK.finditer(text):
            target = match["target"].partition("#")[0]
            if target and "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(repository)}: {match['target']}")
    assert broken == []


def test_make_targets_exist(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    named = {
        (page.relative_to(repository).as_posix(), target)
        for page in _pages(repository)
        for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named
    assert [f"{page}: make {target}" for page, target in sorted(named) if target not in targets] == []


def test_every_make_target_has_a_line_of_help(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\.PHONY: ([a-z-]+)$", makefile, re.MULTILINE)
    assert [target for target in targets if not re.search(rf"^{target}:.*## ", makefile, re.MULTILINE)] == []


def test_commands_in_documents_exist(repository: Path) -> None:
    wrong = []
    for page in _pages(repository):
        for line in _commands(page.read_text(encoding="utf-8")):
            for command in re.split(r"\s*(?:&&|\|\|?|;)\s*", line):
                words = command.split()
                if words and words[0].rpartition("/")[2] == "tallystick":
                    problem = _problem_with(words[1:])
                    if problem:
                        wrong.append(f"{page.relative_to(repository)}: {command}: {problem}")
    assert wrong == []


def _problem_with(words: list[str]) -> str | None:
    """Why ``tallystick WORDS`` cannot be run, as far as names of commands and options tell."""
    command: click.Command = cli
    context = click.Context(cli, info_name="tallystick")
    for word in words:
        if word.startswith("-") and word not in ("-", "--"):
            name = word.partition("=")[0]
            known = {option for parameter in command.get_params(context) for option in parameter.opts}
            known |= {option for parameter in command.get_params(context) for option in parameter.secondary_opts}
            if name not in known:
                return f"no option {name}"
        elif isinstance(command, click.Group):
            inner = command.get_command(context, word)
            if inner is None:
                return f"no command {word}"
            command, context = inner, click.Context(inner, info_name=word, parent=context)
    return None


@pytest.mark.parametrize("arguments", [["--check"]])
def test_generated_pages_are_current(repository: Path, arguments: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, repository / "docs" / "generate.py", *arguments], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_decisions_are_listed(repository: Path) -> None:
    folder = repository / "docs" / "adr"
    listing = (folder / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in sorted(folder.glob("0*.md")) if f"({page.name})" not in listing] == []


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("demonstration") / "files"
    command = [sys.executable, "-m", "tallystick", "demo", "--directory", directory]
    subprocess.run(command, check=True, capture_output=True)
    return directory


def test_the_readmes_python_runs(repository: Path, demonstration: Path) -> None:
    blocks = [
        block["text"]
        for block in CODE_BLOCK.finditer((repository / "README.md").read_text(encoding="utf-8"))
        if block["language"] == "python"
    ]
    assert blocks
    for block in blocks:
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", block], cwd=demonstration, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
