"""What people get wrong with members' commands: one clear line, and the exit code that says what it was."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from base64 import b64decode
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA384

from support.run import Outcome, tallystick
from tallystick.member.keys import generate_keys, load_keys, write_keys

OK, REFUSED, USAGE, UNDECIDED = 0, 1, 2, 3
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
PROPOSAL = "ab" * 32


@pytest.fixture
def alice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory, which is the present one, with Alice's keys; a service that is not there is named."""
    write_keys(generate_keys("alice", NOW), tmp_path, "alice")
    monkeypatch.chdir(tmp_path)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("TALLYSTICK_URL", f"https://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("TALLYSTICK_SERVICE_CERT", "alice_cert.pem")
    monkeypatch.setenv("TALLYSTICK_MEMBER_CERT", "alice_cert.pem")
    monkeypatch.setenv("TALLYSTICK_MEMBER_KEY", "alice_privk.pem")
    return tmp_path


def _one_line(outcome: Outcome) -> str:
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""
    lines = outcome.stderr.splitlines()
    assert lines
    assert lines[0].startswith(("tallystick: error: ", "Usage: ", "Error: ")), outcome.stderr
    assert len(lines) <= 4, outcome.stderr
    return outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vote"], "PROPOSAL_ID"),
        (["vote", "abc"], "64 hex digits"),
        (["vote", PROPOSAL, "--against", "--ballot", "x.js"], "exclude each other"),
        (["vote", PROPOSAL, "--ballot", "nowhere.js"], "nowhere.js: No such file"),
        (["withdraw", "x" * 64], "64 hex digits"),
        (["ack", "--cert", "nowhere.pem"], "nowhere.pem: No such file"),
        (["ack", "--cert", "alice_privk.pem"], "not a certificate"),
        (["ack", "--key", "alice_enc_privk.pem"], "expected ECDSA"),
        (["ack", "--key", "alice_cert.pem"], "not a private key"),
        (["ack", "--url", "http://127.0.0.1:1"], "expected https://HOST:PORT"),
        (["ack", "--url", "https://127.0.0.1:x"], "expected https://HOST:PORT"),
        (["ack", "--service-cert", "nowhere.pem"], "nowhere.pem"),
        (["ack", "--wait", "-1"], "-1"),
        (["propose", "file", "nowhere.json"], "nowhere.json: No such file"),
        (["propose", "file", "alice_cert.pem"], "not JSON"),
        (["propose", "action", "x", "{"], "not JSON"),
        (["propose", "action", "x", "[]"], "not a JSON object"),
        (["propose", "set-app", "."], "no app.json"),
        (["propose", "add-member", "alice_cert.pem", "--encryption-key", "alice_enc_privk.pem"], "private key"),
        (["propose", "open-service", "alice_privk.pem"], "not a certificate"),
        (["propose", "nothing"], "No such command"),
        (["shares", "submit", "--encryption-key", "nowhere.pem"], "nowhere.pem"),
        (["keygen", ""], "not a name"),
        (["keygen", "a/b"], "not a name"),
        (["keygen", "alice"], "never overwritten"),
        (["keygen", "bob", "-o", "alice_cert.pem"], "not a directory"),
        (["prepare", "--type", "ballot"], "id of the proposal"),
        (["prepare", "--type", "proposal", "--created-at", "soon"], "ISO 8601"),
        (["prepare", "--type", "proposal", "--created-at", "99999999999"], "out of bounds"),
        (["prepare", "--type", "proposal", "--content", "nowhere"], "nowhere: No such file"),
        (["finish", "nowhere.json", "--signature", "x"], "nowhere.json: No such file"),
        (["finish", "alice_cert.pem", "--signature", "alice_cert.pem"], "not a prepared request"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_arguments(arguments: list[str], words: str, alice: Path) -> None:
    outcome = tallystick("member", *arguments)

    if arguments[:2] == ["shares", "submit"]:
        # The share is fetched first; nobody answers.
        assert outcome.exit_code == UNDECIDED
        return
    assert outcome.exit_code == USAGE, outcome
    assert words in _one_line(outcome)


@pytest.mark.parametrize("name", ["TALLYSTICK_URL", "TALLYSTICK_SERVICE_CERT", "TALLYSTICK_MEMBER_KEY"])
def test_what_is_missing_is_named(name: str, alice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name)

    outcome = tallystick("member", "ack")

    assert outcome.exit_code == USAGE
    option = {"TALLYSTICK_URL": "--url", "TALLYSTICK_SERVICE_CERT": "--service-cert", "TALLYSTICK_MEMBER_KEY": "--key"}
    assert option[name] in _one_line(outcome)


def test_nobody_answers(alice: Path) -> None:
    for arguments in (["ack"], ["status"], ["vote", PROPOSAL], ["shares", "get"], ["propose", "rekey"]):
        outcome = tallystick("member", *arguments)
        assert outcome.exit_code == UNDECIDED
        assert "no answer" in _one_line(outcome)


def test_the_network_is_forbidden(alice: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tallystick", "--offline", "member", "status"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == USAGE
    assert "network access is forbidden" in run.stderr


def test_forms_print_without_keys_or_service(alice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TALLYSTICK_URL", "TALLYSTICK_SERVICE_CERT", "TALLYSTICK_MEMBER_CERT", "TALLYSTICK_MEMBER_KEY"):
        monkeypatch.delenv(name)
    (alice / "data.json").write_text('{"name": "Alice"}')
    (alice / "a.js").write_text("a")
    (alice / "b.js").write_text("b")
    certificate = (alice / "alice_cert.pem").read_text()
    key = (alice / "alice_enc_pubk.pem").read_text()
    forms: list[tuple[list[str], str, object]] = [
        (["rekey"], "trigger_ledger_rekey", None),
        (["action", "x", '{"y": 1}'], "x", {"y": 1}),
        (
            ["add-member", "alice_cert.pem", "--encryption-key", "alice_enc_pubk.pem", "--data", "data.json"],
            "set_member",
            {"cert": certificate, "encryption_pub_key": key, "member_data": {"name": "Alice"}},
        ),
        (["remove-member", "ab"], "remove_member", {"member_id": "ab"}),
        (["add-user", "alice_cert.pem"], "set_user", {"cert": certificate}),
        (["remove-user", "ab"], "remove_user", {"user_id": "ab"}),
        (
            ["open-service", "alice_cert.pem"],
            "transition_service_to_open",
            {"next_service_identity": certificate},
        ),
        (["set-constitution", "a.js", "b.js"], "set_constitution", {"constitution": "a\nb"}),
    ]
    for arguments, name, values in forms:
        outcome = tallystick("member", "propose", *arguments, "--print")
        assert outcome.exit_code == OK, outcome
        expected = {"name": name} if values is None else {"name": name, "args": values}
        assert outcome.json == {"actions": [expected]}

        (alice / "proposal.json").write_text(outcome.stdout)
        again = tallystick("member", "propose", "file", "proposal.json", "--print")
        assert json.loads(again.stdout) == outcome.json


def test_a_signature_that_does_not_hold(alice: Path) -> None:
    assert tallystick("member", "prepare", "--type", "proposal", "-o", "request.json").exit_code == OK
    (alice / "signature").write_bytes(bytes(range(96)))
    outcome = tallystick("member", "finish", "request.json", "--signature", "signature")
    assert outcome.exit_code == REFUSED
    assert "cose-signature-invalid" in _one_line(outcome)

    (alice / "signature").write_bytes(b"short")
    outcome = tallystick("member", "finish", "request.json", "--signature", "signature")
    assert outcome.exit_code == UNDECIDED
    assert "neither 96 bytes" in _one_line(outcome)


def test_submitting_needs_a_service(alice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TALLYSTICK_URL")
    assert tallystick("member", "prepare", "--type", "proposal", "-o", "request.json").exit_code == OK
    key = load_keys("alice_cert.pem", "alice_privk.pem").key
    request = json.loads((alice / "request.json").read_text())
    (alice / "signature").write_bytes(key.sign(b64decode(request["toBeSigned"]), ECDSA(SHA384())))
    outcome = tallystick("member", "finish", "request.json", "--signature", "signature", "--submit")
    assert outcome.exit_code == USAGE
    assert "--submit needs --url" in outcome.stderr


@pytest.mark.parametrize("columns", ["20", "40", "200"])
@pytest.mark.parametrize("command", [["member"], ["member", "propose", "set-app"], ["sandbox"], ["node", "start"]])
def test_help_fits_any_terminal(command: list[str], columns: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tallystick", *command, "--help"],
        capture_output=True, text=True, check=True, env={"COLUMNS": columns, "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert run.stdout.startswith("Usage: tallystick")
    assert run.stderr == ""
