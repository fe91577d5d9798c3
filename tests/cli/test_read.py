"""log, show, state, history: what they print, and how they end."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.small_ledger import RECORDS
from tallystick.cli.main import main
from tallystick.printable import display_width

Run = Any


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process; gives (exit code, stdout, stderr)."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command


def _fits_and_is_harmless(text: str) -> None:
    for line in text.splitlines():
        assert display_width(line) <= 80, line
    assert text.replace("\n", "").isprintable()


# ------------------------------------------------------------------------------------------------- log


def test_log_lists_every_transaction_and_says_that_it_is_not_verified(run: Run, small_ledger: Path) -> None:
    code, out, err = run("log", small_ledger, "--uncommitted")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["TXID", "BYTES", "WRITES"]
    assert [line.split()[0] for line in lines[1:]] == [
        "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "3.7", "3.8", "3.9", "3.10",
    ]  # fmt: skip
    assert lines[2].endswith("signature")
    assert "private (" in lines[3]
    assert "not verified" in err
    _fits_and_is_harmless(out)


def test_quiet_is_quiet(run: Run, small_ledger: Path) -> None:
    assert run("log", small_ledger, "-q")[2] == ""


@pytest.mark.parametrize(
    ("filters", "seqnos"),
    [
        (["--tables", "^public:counts$"], [5]),
        (["--tables", "records"], [1, 3, 4]),
        (["--key", "a"], [1, 3]),
        (["--key", "7"], [5]),
        (["--key", "0x62"], [1, 4]),
        (["--key", "a", "--tables", "counts"], []),
        (["--range", "2:3"], [2, 3]),
        (["--range", "5:"], [5, 6]),
        (["--range", ":1"], [1]),
        (["--range", "4"], [4]),
        (["--limit", "2"], [1, 2]),
    ],
)
def test_log_filters(run: Run, small_ledger: Path, filters: list[str], seqnos: list[int]) -> None:
    code, out, _ = run("log", small_ledger, "--format", "jsonl", *filters)
    assert code == 0
    assert [json.loads(line)["seqno"] for line in out.splitlines()] == seqnos


def test_log_json(run: Run, small_ledger: Path) -> None:
    _, out, _ = run("log", small_ledger, "--format", "json", "--values", "--range", "3:4")
    document = json.loads(out)
    assert (document["schema"], document["verified"], document["complete"]) == ("tallystick.log/1", False, True)
    third, fourth = document["transactions"]
    assert third["txid"] == "2.3"
    assert third["claims_digest"] == "11" * 32
    assert third["private_bytes"] > 0
    assert third["tables"] == {RECORDS: [{"key": "a", "value": {"text": "second"}}]}
    assert {"key": "b", "removed": True} in fourth["tables"][RECORDS]
    hostile = {"key": {"hex": "1b5d303b6576696c07"}, "value": {"hex": b"\x1b[2Jgone".hex()}}
    assert hostile in fourth["tables"][RECORDS]


def test_nothing_hostile_reaches_the_terminal(run: Run, small_ledger: Path, tmp_path: Path) -> None:
    evil = tmp_path / "ledger\x1b[31m"
    shutil.copytree(small_ledger, evil)
    (evil / "ledger_\x1b[2J").write_bytes(b"")
    for arguments in (
        ["log", evil, "--values"],
        ["log", evil, "--values", "--format", "json"],
        ["show", evil, "4"],
        ["state", evil],
        ["state", evil, "--full", "--at", "4"],
        ["history", evil, RECORDS, "hex:1b5d303b6576696c07"],
        ["history", evil, RECORDS, "a", "--full"],
        ["show", evil, "99"],
    ):
        _, out, err = run(*arguments)
        assert (out + err).replace("\n", "").isprintable()


def test_json_that_ends_early_is_still_json_and_says_so(run: Run, small_ledger: Path, tmp_path: Path) -> None:
    shutil.copytree(small_ledger, tmp_path / "ledger")
    path = tmp_path / "ledger" / "ledger_3-6.committed"
    data = bytearray(path.read_bytes())
    data[8 + 44] = 9
    path.write_bytes(data)
    code, out, err = run("log", tmp_path / "ledger", "--format", "json")
    assert code == 3
    assert json.loads(out)["complete"] is False
    assert "error" in err
    assert "Traceback" not in err


# ------------------------------------------------------------------------------------------------ show


@pytest.mark.parametrize("name", ["2.3", "3"])
def test_show(run: Run, small_ledger: Path, name: str) -> None:
    code, out, err = run("show", small_ledger, name)
    assert code == 0
    assert out.startswith("Transaction 2.3\n")
    assert "second" in out
    assert "11" * 32 in out
    assert "not verified" in err
    _fits_and_is_harmless(out)


def test_show_json(run: Run, small_ledger: Path) -> None:
    _, out, _ = run("show", small_ledger, "5", "--format", "json")
    document = json.loads(out)
    assert document["schema"] == "tallystick.transaction/1"
    assert document["tables"] == {"public:counts": [{"key": {"u64": 7}, "value": {"json": {"n": [1, 2]}}}]}
    assert len(document["gcm_tag"]) == 32


def test_show_checks_the_view(run: Run, small_ledger: Path) -> None:
    code, _, err = run("show", small_ledger, "9.3")
    assert code == 2
    assert "seqno 3 is transaction 2.3" in err


# ---------------------------------------------------------------------------------------- state, history


def test_state(run: Run, small_ledger: Path) -> None:
    code, out, _ = run("state", small_ledger, "--at", "3")
    assert code == 0
    assert out.startswith("Public state at seqno 3\n")
    assert "@3  a  second" in out
    assert "@1  b  2" in out
    _fits_and_is_harmless(out)


@pytest.mark.parametrize("options", [["--tables", "nothing"], ["--key", "nobody"]])
def test_state_without_a_row_says_so(run: Run, small_ledger: Path, options: list[str]) -> None:
    code, _, err = run("state", small_ledger, *options)
    assert code == 0
    assert "no row of a public table fits" in err
    assert "no row" not in run("state", small_ledger, "--tables", "records", "--key", "a")[2]


def test_state_json(run: Run, small_ledger: Path) -> None:
    _, out, _ = run("state", small_ledger, "--at", "4", "--tables", "records", "--key", "a", "--format", "json")
    document = json.loads(out)
    assert document["seqno"] == 4
    assert document["rows"] == [{"table": RECORDS, "key": "a", "value": {"text": "second"}, "seqno": 3}]


def test_state_of_a_snapshot_and_the_chunks_after_it(run: Run, ccf_built: Path) -> None:
    ledger = ccf_built / "js1" / "ledger"
    snapshot = min((ccf_built / "js1" / "snapshots").glob("snapshot_*.committed"))
    seqno = int(snapshot.name.split("_")[1])
    arguments = ["--tables", "records", "--format", "jsonl", "-q"]
    _, alone, _ = run("state", "--snapshot", snapshot, *arguments)
    _, replayed, _ = run("state", ledger, "--at", seqno, *arguments)
    assert alone == replayed
    _, with_rest, _ = run("state", ledger, "--snapshot", snapshot, *arguments)
    _, all_replayed, _ = run("state", ledger, *arguments)
    assert with_rest == all_replayed


def test_history(run: Run, small_ledger: Path) -> None:
    code, out, _ = run("history", small_ledger, RECORDS, "b")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [["2.1", "2"], ["2.4", "(removed)"]]
    _, out, _ = run("history", small_ledger, RECORDS, "b", "--format", "json")
    first, second = json.loads(out)["writes"]
    assert (first["txid"], first["value"]) == ("2.1", {"text": "2"})
    assert (second["txid"], second["removed"]) == ("2.4", True)


def test_history_of_a_key_that_never_was(run: Run, small_ledger: Path) -> None:
    code, out, err = run("history", small_ledger, RECORDS, "nobody")
    assert (code, out) == (0, "")
    assert "never had the key" in err


# ---------------------------------------------------------------------------------------------- endings


@pytest.mark.parametrize(
    "arguments",
    [
        ["log"],
        ["log", "LEDGER", "--tables", "("],
        ["log", "LEDGER", "--range", "x"],
        ["log", "LEDGER", "--range", "4:2"],
        ["log", "LEDGER", "--range", ":"],
        ["log", "LEDGER", "--key", "0xz"],
        ["log", "LEDGER/nothing-here"],
        ["log", "LEDGER", "--limit", "0"],
        ["show", "LEDGER"],
        ["show", "LEDGER", "two.three"],
        ["show", "LEDGER", "999"],
        ["state"],
        ["state", "LEDGER", "--at", "999"],
        ["history", "LEDGER", RECORDS],
    ],
)
def test_usage(run: Run, small_ledger: Path, arguments: list[str]) -> None:
    code, _, err = run(*[argument.replace("LEDGER", str(small_ledger)) for argument in arguments])
    assert code == 2
    assert err
    assert "Traceback" not in err


def test_unreadable(run: Run, tmp_path: Path) -> None:
    code, _, err = run("log", tmp_path)
    assert code == 3
    assert "no ledger chunk to read" in err
    (tmp_path / "ledger_1").write_bytes(b"\x00" * 8)
    code, _, err = run("log", tmp_path)
    assert code == 3
    assert "needs --uncommitted" in err
    (tmp_path / "ledger_1-2.committed").write_bytes(b"garbage")
    code, _, err = run("log", tmp_path)
    assert code == 3
    assert "ledger_1-2.committed" in err


def test_a_broken_pipe_is_quiet(ledgers: Path) -> None:
    command = [sys.executable, "-m", "tallystick", "log", "-q", str(ledgers / "eol_service" / "ledger")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() in (0, 141)


@pytest.mark.parametrize("name", ["acme_containing", "cose_flipflop", "double_sealed", "eol", "expired", "sgx"])
def test_real_ledgers_list_and_fit(run: Run, ledgers: Path, name: str) -> None:
    place = ledgers / f"{name}_service" / "ledger"
    for arguments in (["log", "--values"], ["state"], ["state", "--full"]):
        code, out, _ = run(*arguments, place, "--uncommitted")
        assert code == 0
        _fits_and_is_harmless(out)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_end_in_a_clear_line(
    small_ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    chunk = tmp_path / "ledger_3-6.committed"
    content = bytearray((small_ledger / chunk.name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        content = content or bytearray(1)
    chunk.write_bytes(content)
    for arguments in (["log", "--values"], ["log", "--format", "json"], ["history", RECORDS, "a"], ["show", "4"]):
        command, *rest = arguments
        places = [str(small_ledger / "ledger_1-2.committed"), str(chunk)]
        options = [item for item in rest if item.startswith("-") or item == "json"]
        names = [item for item in rest if item not in options]
        code = main([command, *options, *places, *names])
        out, err = capsys.readouterr()
        assert code in (0, 2, 3)
        assert (code == 0) or "error: " in err
        assert (out + err).replace("\n", "").isprintable()
