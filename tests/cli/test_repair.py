"""The repair shop's commands: what they print, how they end, one clear line for bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.run import tallystick
from support.services import base


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return base("6.x").copy(tmp_path / "ledger").directory


def test_split_and_join(ledger: Path, tmp_path: Path) -> None:
    source = ledger / "ledger_3-13.committed"
    outcome = tallystick("split", source, "9", "-o", tmp_path / "parts")

    assert outcome.exit_code == 0
    assert outcome.stderr == ""
    lines = outcome.stdout.splitlines()
    assert lines[0] == f"wrote {tmp_path / 'parts' / 'ledger_3-9.committed'}"
    assert "transactions 3 to 9 (7)" in lines[1]
    assert "committed; reads back byte for byte" in lines[1]
    assert "note" not in outcome.stdout

    outcome = tallystick("join", *sorted((tmp_path / "parts").iterdir()), "-o", tmp_path / "joined", "--format", "json")

    assert outcome.exit_code == 0
    assert outcome.json["schema"] == "tallystick.join/1"
    assert outcome.json["verified"] is False
    [chunk] = outcome.json["chunks"]
    assert (chunk["first_seqno"], chunk["last_seqno"], chunk["transactions"]) == (3, 13, 11)
    assert Path(chunk["path"]).read_bytes() == source.read_bytes()


def test_split_says_what_its_parts_are(ledger: Path, tmp_path: Path) -> None:
    outcome = tallystick(
        "split", ledger / "ledger_3-13.committed", "5", "-o", tmp_path / "parts", "--allow-non-signature"
    )
    assert "does not end on a signature transaction" in outcome.stdout

    outcome = tallystick("split", ledger / "ledger_24", "26", "-o", tmp_path / "one")
    assert "there is one part" in outcome.stdout

    document = tallystick(
        "split", ledger / "ledger_14-23.committed", "18", "-o", tmp_path / "json", "--format", "json"
    ).json
    assert document["schema"] == "tallystick.split/1"
    assert [chunk["ends_on_signature"] for chunk in document["chunks"]] == [True, True]


def test_join_says_where_nodes_cut(ledger: Path, tmp_path: Path) -> None:
    outcome = tallystick(
        "join", ledger / "ledger_1-2.committed", ledger / "ledger_3-13.committed", "-o", tmp_path / "out"
    )
    assert "a new chunk begins at 3" in outcome.stdout


def test_extract(ledger: Path, tmp_path: Path) -> None:
    outcome = tallystick("extract", ledger, "5:18", "-o", tmp_path / "out")
    assert outcome.exit_code == 0
    assert (tmp_path / "out" / "ledger_5-18.committed").is_file()

    outcome = tallystick("extract", ledger, "20:", "--open", "--uncommitted", "-o", tmp_path / "open")
    assert "3 bytes, open" not in outcome.stdout
    assert (tmp_path / "open" / "ledger_20").is_file()
    document = tallystick("extract", ledger, "9", "-o", tmp_path / "one", "--format", "json").json
    assert document["chunks"][0]["transactions"] == 1


def test_extracted_parts_are_read_and_verified(ledger: Path, tmp_path: Path) -> None:
    tallystick("extract", ledger, "3:13", "-o", tmp_path / "out")
    pin = tmp_path / "pin.pem"
    pin.write_bytes(base("6.x").certificates[0])

    outcome = tallystick("verify", tmp_path / "out", "--service-cert", pin, "--format", "json")

    assert outcome.json["verdict"] == "verified"
    assert outcome.json["proven"]["last_seqno"] == 13


def test_doctor(ledger: Path) -> None:
    outcome = tallystick("doctor", ledger)
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("SOUND: ")
    assert "transactions 1 to 26, the last signature is 2.26" in outcome.stdout

    (ledger / "ledger_3-13.committed").unlink()
    outcome = tallystick("doctor", ledger)
    assert outcome.exit_code == 1
    assert outcome.stdout.startswith("LOSES: ")
    assert "error chunk-gap" in outcome.stdout

    (ledger / "ledger_1-2.committed").unlink()
    outcome = tallystick("doctor", ledger, "--format", "json")
    assert outcome.exit_code == 3
    assert outcome.json["schema"] == "tallystick.doctor/1"
    assert outcome.json["verdict"] == "undecided"
    assert {file["fate"] for file in outcome.json["files"]} == {"read", "write"}


def test_doctor_escapes_names(ledger: Path) -> None:
    (ledger / "\x1b]0;evil\x07").write_text("x")
    outcome = tallystick("doctor", ledger)
    assert "\x1b" not in outcome.stdout
    assert "\\x1b]0;evil\\x07" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["split"], 2, "Missing argument"),
        (["split", "nowhere", "5", "-o", "out"], 2, "no such file"),
        (["split", "ledger", "5", "-o", "out"], 2, "no such file"),
        (["split", "ledger/ledger_3-13.committed", "5", "-o", "out"], 2, "not a signature"),
        (["split", "ledger/ledger_3-13.committed", "99", "-o", "out"], 2, "the chunk holds 3 to 13"),
        (["split", "ledger/ledger_3-13.committed", "9"], 2, "Missing option"),
        (["split", "ledger/ledger_3-13.committed", "9", "-o", "ledger"], 2, "holds the source"),
        (["split", "text", "9", "-o", "out"], 3, "text"),
        (["join", "ledger/ledger_1-2.committed", "-o", "out"], 2, "at least two"),
        (["join", "ledger/ledger_1-2.committed", "ledger/ledger_24", "-o", "out"], 2, "leave a gap"),
        (["extract", "ledger", "-o", "out"], 2, "PATH... RANGE"),
        (["extract", "ledger", "9:x", "-o", "out"], 2, "RANGE '9:x'"),
        (["extract", "ledger", "9:3", "-o", "out"], 2, "ends before it begins"),
        (["extract", "nowhere", "1:2", "-o", "out"], 2, "no such file"),
        (["extract", "ledger", "20:99", "-o", "out"], 2, "the ledger holds"),
        (["doctor"], 2, "Missing argument"),
        (["doctor", "nowhere"], 2, "no such directory"),
        (["doctor", "ledger", "--read-only", "text"], 2, "no such directory"),
        (["doctor", "ledger", "--snapshot", "text"], 3, "text"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input(
    arguments: list[str], exit_code: int, words: str, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("nothing of use\n")
    assert ledger.is_dir()

    outcome = tallystick(*arguments)

    assert outcome.exit_code == exit_code, outcome
    assert outcome.stdout == ""
    assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert len(outcome.stderr.splitlines()) <= 4
    assert not Path("out").exists()
