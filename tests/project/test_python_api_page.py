"""Every block of docs/python-api.md runs, and both sides of a section print the same."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.services import SOURCE
from tallystick.demo.identities import MemberIdentity
from tallystick.demo.scenario import write_demo

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python-api.md"
SECTION = re.compile(r"^## (?P<title>.*?)\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(?P<language>py|python)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def _sections() -> dict[str, dict[str, str]]:
    """Code by section title; "py" is the official package's, "python" ours."""
    text = PAGE.read_text(encoding="utf-8")
    sections = {}
    for section in SECTION.finditer(text):
        blocks = {block["language"]: block["code"] for block in BLOCK.finditer(section["text"])}
        if blocks:
            sections[section["title"]] = blocks
    assert sum(len(blocks) for blocks in sections.values()) == len(BLOCK.findall(text))
    return sections


SECTIONS = _sections()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as the page describes it."""
    directory = tmp_path_factory.mktemp("api-page")
    files = write_demo(directory, SOURCE, count(1_700_000_000).__next__)
    receipts = {path.suffix: path for path in files.receipts if path.name.startswith(f"{_view(files.last_receipt)}.")}
    (directory / "receipt.json").write_bytes(files.last_receipt.read_bytes())
    (directory / "receipt.cose").write_bytes(receipts[".cose"].read_bytes())
    member = MemberIdentity.create(SOURCE, "member")
    (directory / "member.pem").write_text(member.certificate, encoding="utf-8")
    (directory / "member-key.pem").write_bytes(
        member.key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return directory


def _view(receipt: Path) -> str:
    return receipt.name.partition(".")[0]


def _run(python: Path | str, code: str, place: Path) -> str:
    ended = subprocess.run([python, "-c", code], cwd=place, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("title", SECTIONS)
def test_our_side_runs(title: str, place: Path) -> None:
    _run(sys.executable, SECTIONS[title]["python"], place)


@pytest.mark.parametrize("title", SECTIONS)
def test_both_sides_print_the_same(title: str, place: Path, peer_python: Path) -> None:
    ours = _run(sys.executable, SECTIONS[title]["python"], place)
    assert _run(peer_python, SECTIONS[title]["py"], place) == ours


@pytest.mark.parametrize("title", SECTIONS)
def test_official_side_runs_on_our_names(title: str, place: Path) -> None:
    """The official idioms, with nothing but the import changed, print what they print with the official package."""
    code = re.sub(r"^import ccf\.\w+$", "from tallystick.compat import ccf", SECTIONS[title]["py"], flags=re.MULTILINE)
    code = re.sub(r"^from ccf\.", "from tallystick.compat.ccf.", code, flags=re.MULTILINE)
    assert not re.search(r"^(import|from) ccf\b", code, re.MULTILINE)
    assert _run(sys.executable, code, place) == _run(sys.executable, SECTIONS[title]["python"], place)
