"""Bad input gives one clear line, the right exit code and no traceback; a reader that goes away, silence."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import slow
from support.run import Outcome, tallystick
from support.services import SOURCE, base
from tallystick.cli.ledger_anchor import ProgressLine

OK, FAILED, USAGE, UNDECIDED = 0, 1, 2, 3


def _pin(directory: Path) -> list[str]:
    path = directory / "pin.pem"
    path.write_bytes(base("6.x").certificates[0])
    return ["--service-cert", str(path)]


def _rsa_certificate() -> bytes:
    from datetime import timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "RSA")])
    key = SOURCE.rsa()
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, SOURCE.now, SOURCE.now + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def _one_line(outcome: Outcome) -> None:
    assert "Traceback" not in outcome.stderr
    lines = outcome.stderr.splitlines()
    assert lines
    assert lines[0].startswith(("tallystick: error: ", "Usage: ", "Error: ")), outcome.stderr
    assert len(lines) <= 4, outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["verify"], USAGE),
        (["verify", "nowhere"], USAGE),
        (["verify", "ledger", "--service-cert", "nowhere.pem"], USAGE),
        (["verify", "ledger", "--service-cert", "text"], USAGE),
        (["verify", "ledger", "--service-cert", "rsa.pem"], USAGE),
        (["verify", "ledger", "--service-key-sha256", "abc"], USAGE),
        (["verify", "ledger", "--expect-head", "2.x"], USAGE),
        (["verify", "ledger", "--level", "everything"], USAGE),
        (["verify", "ledger", "--jobs", "-1"], USAGE),
        (["verify", "ledger", "--jobs", "9999999999"], USAGE),
        (["follow", "ledger", "--state", "state", "--trust-genesis", "--interval", "nan"], USAGE),
        (["follow", "ledger", "--state", "state", "--trust-genesis", "--interval", "inf"], USAGE),
        (["verify", "ledger", "--receipt", "text"], UNDECIDED),
        (["verify", "ledger", "--receipt", "nowhere"], USAGE),
        (["receipt", "verify"], USAGE),
        (["show", "ledger", "9.99999"], USAGE),
        (["state", "nowhere"], USAGE),
        (["no-such-command"], USAGE),
        (["demo", "--directory", "ledger"], USAGE),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_arguments(arguments: list[str], exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base("6.x").copy(tmp_path / "ledger")
    (tmp_path / "text").write_text("nothing of use\n")
    (tmp_path / "rsa.pem").write_bytes(_rsa_certificate())

    outcome = tallystick(*arguments)

    assert outcome.exit_code == exit_code, outcome
    assert outcome.stdout == ""
    _one_line(outcome)


def test_a_name_that_was_mistyped(tmp_path: Path) -> None:
    outcome = tallystick("verfy", tmp_path)
    assert outcome.exit_code == USAGE
    assert "No such command 'verfy'; did you mean 'verify'?" in outcome.stderr


@pytest.mark.parametrize("command", ["verify", "log", "state", "attest", "secrets", "explore", "extract", "diff"])
def test_a_directory_of_directories_names_those_that_hold_chunks(command: str, tmp_path: Path) -> None:
    """A node's own directory: its ledger is one level down."""
    ledger = tmp_path / "node" / "ledger-committed"
    base("6.x").copy(ledger)
    (tmp_path / "node" / "snapshots").mkdir()
    more = {"extract": ["1:2", "-o", tmp_path / "out"], "diff": [ledger]}
    options = more.get(command, [])

    outcome = tallystick(command, tmp_path / "node", *options)

    assert outcome.exit_code == UNDECIDED, outcome
    said = " ".join((outcome.stdout + outcome.stderr).split())
    assert "give as paths the ones that hold chunks" in said
    assert str(ledger) in said
    assert "snapshots" not in said


def test_an_empty_directory_is_not_said_to_hold_open_chunks(tmp_path: Path) -> None:
    for command in ("attest", "secrets", "explore", "log"):
        outcome = tallystick(command, tmp_path)
        assert (outcome.exit_code, "hint" in outcome.stderr) == (UNDECIDED, False), outcome.stderr


def test_an_interrupt_while_the_command_line_loads(tmp_path: Path) -> None:
    # A module that the command line loads; loading it is where the interrupt comes.
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path[1:]])}
    command = [sys.executable, "-m", "tallystick", "verify", "nowhere"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "tallystick: interrupted\n")


def test_a_line_of_progress_never_wraps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    progress = ProgressLine()
    progress.show(lambda: "99 %  1,234,567 transactions  123 MB/s")
    progress.clear()
    written = capsys.readouterr().err
    assert "99 %  1,234,567" in written
    assert max(map(len, written.split("\r"))) < 20


@pytest.mark.parametrize("command", ["receipt", "snapshot"])
def test_one_missing_file_does_not_hide_the_others(command: str, tmp_path: Path) -> None:
    outcome = tallystick(command, "verify", tmp_path / "nowhere", *_pin(tmp_path), "--format", "json")

    (result,) = outcome.json["results"]
    assert outcome.exit_code == UNDECIDED
    assert [finding["code"] for finding in result["findings"]] == ["file-unreadable"]
    assert outcome.stderr == ""


@pytest.mark.parametrize("content", ["nothing", "other files", "a directory named as a chunk"])
def test_directory_without_a_ledger(content: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.mkdir()
    if content == "other files":
        (ledger / "README").write_text("hello")
    elif content != "nothing":
        (ledger / "ledger_1-2.committed").mkdir()

    outcome = tallystick("verify", ledger, *_pin(tmp_path))

    assert outcome.exit_code == UNDECIDED
    assert "nothing-to-verify" in outcome.stdout
    assert "Traceback" not in outcome.stdout + outcome.stderr


def _gigabyte_entry(data: bytes) -> bytes:
    return data[:10] + (1 << 30).to_bytes(6, "little") + data[16:]


def _gigabyte_domain(data: bytes) -> bytes:
    return data[:44] + (1 << 30).to_bytes(8, "little") + data[52:]


def _gigabyte_table_name(data: bytes) -> bytes:
    return data[:133] + (1 << 30).to_bytes(8, "little") + data[141:]


@pytest.mark.parametrize("spoil", [_gigabyte_entry, _gigabyte_domain, _gigabyte_table_name])
def test_huge_sizes(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    path = copy.genesis_chunk
    path.write_bytes(spoil(path.read_bytes()))

    outcome = tallystick("verify", copy.directory, "--uncommitted", *_pin(tmp_path), "--format", "json")

    assert outcome.exit_code in (FAILED, UNDECIDED)
    assert outcome.json["verdict"] in ("failed", "undecided")
    assert outcome.json["findings"]
    assert outcome.stderr == ""


@given(data=st.data())
def test_chunks_cut_anywhere(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("cut")
    copy = base("6.x").copy(directory / "ledger")
    path = data.draw(st.sampled_from(copy.chunks))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    complete = path.name.endswith(".committed")

    outcome = tallystick("verify", copy.directory, "--uncommitted", *_pin(directory), "--format", "json")

    # An open chunk that ends early is how a crash leaves it; a complete one never is.
    assert outcome.json["verdict"] == "failed" if complete else outcome.json["verdict"] != "undecided"
    assert outcome.stderr == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    copy.middle_chunk.chmod(0)

    outcome = tallystick("verify", copy.directory, "--uncommitted", *_pin(tmp_path))

    assert outcome.exit_code == UNDECIDED
    assert copy.middle_chunk.name in outcome.stdout + outcome.stderr


def test_unwritable_output(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")

    outcome = tallystick("verify", copy.directory, *_pin(tmp_path), "--output", tmp_path / "no" / "such" / "file")

    assert outcome.exit_code in (USAGE, UNDECIDED)
    _one_line(outcome)


@pytest.mark.parametrize(
    "arguments",
    [["verify", "--output"], ["verify", "--checkpoint"], ["identity", "--bundle"], ["gov", "verify", "--output"]],
    ids=" ".join,
)
@pytest.mark.parametrize(("place", "problem"), [("no/file", "does not exist"), ("there", "is a directory")])
def test_where_results_go_is_looked_at_before_the_work(
    arguments: list[str], place: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    # The ledger is not there either: that would be noticed first if the work had begun.
    outcome = tallystick(*arguments, tmp_path / place, "nowhere", *_pin(tmp_path))
    assert outcome.exit_code == USAGE
    assert problem in outcome.stderr
    assert str(tmp_path / place) in outcome.stderr


def test_output_to_what_is_no_regular_file_does_not_replace_it(tmp_path: Path) -> None:
    """As root, --output /dev/null would else make a file of it."""
    copy = base("6.x").copy(tmp_path / "ledger")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Open for both, so that neither end waits for the other; a report of a few kilobytes fits in.
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        outcome = tallystick("verify", copy.directory, *_pin(tmp_path), "--format", "json", "--output", pipe)
        written = os.read(reader, 1 << 20)
    finally:
        os.close(reader)
    assert outcome.exit_code == OK, outcome.stderr
    assert json.loads(written)["verdict"] == "verified"
    assert pipe.is_fifo()


def test_output_through_a_link(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    (tmp_path / "reports").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "reports" / "newest.txt")
    outcome = tallystick("verify", copy.directory, *_pin(tmp_path), "--output", tmp_path / "link")
    assert outcome.exit_code == OK
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "reports" / "newest.txt").read_text().startswith("VERIFIED")
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["newest.txt"]


def test_an_explorer_on_a_port_that_is_taken(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = tallystick("explore", copy.directory, "--port", str(port))
    assert outcome.exit_code == USAGE
    assert f"cannot listen on 127.0.0.1:{port}" in outcome.stderr


@pytest.mark.parametrize("arguments", [["log", "ledger", "--format", "jsonl"], ["--help"], ["verify", "--help"]])
def test_a_reader_that_goes_away(arguments: list[str], tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    assert slow.chunk_paths(copy.directory)
    program = f"import sys; from tallystick.cli.main import main; sys.exit(main({arguments!r}))"
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True
    )
    # Gone before anything is written.
    os.close(reader)
    os.close(writer)
    _, stderr = process.communicate(timeout=60)

    assert stderr == ""
