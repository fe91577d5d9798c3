"""``tallystick verify`` as a process sees it: exit codes, streams, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.run import tallystick
from support.services import base


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "service.pem"
    path.write_bytes(base("6.x").certificates[0])
    return path


def test_verified_ledger(certificate: Path) -> None:
    outcome = tallystick("verify", base("6.x").directory, "--uncommitted", "--service-cert", certificate)

    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("VERIFIED: transactions 1 to ")
    assert outcome.stderr == ""


def test_tampered_ledger(certificate: Path, tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    copy.flip(copy.last_committed, 40)

    outcome = tallystick("verify", copy.directory, "--uncommitted", "--service-cert", certificate, "-q")

    assert outcome.exit_code == 1
    assert outcome.stdout.startswith("FAILED: ")


def test_without_an_anchor() -> None:
    outcome = tallystick("verify", base("6.x").directory, "--uncommitted")

    assert outcome.exit_code == 3
    assert "--service-key-sha256" in outcome.stdout


def test_empty_directory(tmp_path: Path) -> None:
    outcome = tallystick("verify", tmp_path, "--format", "json")

    assert outcome.exit_code == 3
    assert outcome.json["findings"][0]["code"] == "nothing-to-verify"


@pytest.mark.parametrize(
    "arguments",
    [
        ["absent"],
        [],
        [".", "--level", "most"],
        [".", "--expect-head", "2,3"],
        [".", "--service-key-sha256", "abc"],
        [".", "--service-cert", "absent.pem"],
        [".", "--receipt", "absent.json"],
        [".", "--trust-genesis", "--service-key-sha256", "ab" * 32],
        [".", "--jobs", "-1"],
        [".", "--output", "absent/report.txt"],
        [".", "--level", "merkle", "--checkpoint", "file"],
    ],
)
def test_usage(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    outcome = tallystick("verify", *arguments)

    assert outcome.exit_code == 2, outcome
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr


def test_a_private_key_is_no_certificate(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n")

    outcome = tallystick("verify", tmp_path, "--service-cert", path)

    assert outcome.exit_code == 2
    assert str(path) in outcome.stderr


@pytest.mark.parametrize("output_format", ["text", "json", "jsonl", "sarif", "junit", "html"])
def test_output_file(output_format: str, certificate: Path, tmp_path: Path) -> None:
    target = tmp_path / "report"

    outcome = tallystick(
        "verify", base("6.x").directory, "--uncommitted", "--service-cert", certificate,
        "--format", output_format, "--output", target,
    )  # fmt: skip

    assert outcome.exit_code == 0
    assert outcome.stdout == ""
    assert "verified" in target.read_text(encoding="utf-8").lower() or output_format == "junit"
    assert list(tmp_path.glob(".report*")) == []


def test_runs_are_repeatable(certificate: Path) -> None:
    arguments = ("verify", base("6.x").directory, "--uncommitted", "--service-cert", certificate, "--format", "json")

    assert tallystick(*arguments, "--jobs", "1").stdout == tallystick(*arguments, "--jobs", "4").stdout


def test_a_reader_that_leaves_is_no_error(certificate: Path) -> None:
    command = [sys.executable, "-m", "tallystick", "verify", str(base("6.x").directory), "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(60)

    assert b"Traceback" not in errors
    assert b"BrokenPipe" not in errors


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_nowhere_to_print_is_no_error(closed: str, certificate: Path) -> None:
    arguments = ["verify", str(base("6.x").directory), "--uncommitted", "--service-cert", str(certificate)]
    command = ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-m", "tallystick", *arguments]

    ended = subprocess.run(command, stderr=subprocess.PIPE, check=False)

    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_unreadable_file(certificate: Path, tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    copy.last_committed.chmod(0)

    outcome = tallystick("verify", copy.directory, "--service-cert", certificate)

    assert outcome.exit_code == 3
    assert str(copy.last_committed) in outcome.stderr


def test_real_ledger_through_the_module(ledgers: Path) -> None:
    directory = ledgers / "acme_containing_service"
    command = [
        sys.executable, "-m", "tallystick", "verify", directory / "ledger", "--uncommitted",
        "--service-cert", directory / "common" / "service_cert.pem", "--format", "json",
    ]  # fmt: skip

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["counts"] == {"files": 4, "transactions": 22, "signatures": 8}
    assert report["proven"] == {"first_seqno": 1, "last_seqno": 22, "last_txid": "2.22"}
