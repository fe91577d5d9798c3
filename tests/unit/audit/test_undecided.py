"""An undecided verdict says what is missing, and what it names decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.run import codes, tallystick
from support.services import base

# A service of 1.x, whose signatures and receipts carry no certificates; its own keys by life (formats.md section 15).
EOL_FIRST = "43d784ebce2d1cb1b22b09608cf95a98ae2c50474810cfdd2f9e65fc93cea4a3"
EOL_LAST = "cddd7fb3541aac2bd55961a97150d639f13806ec79f95d70821de8db1a6db03d"


def _message(outcome_json: dict[str, object], code: str) -> str:
    findings = outcome_json["findings"]
    assert isinstance(findings, list)
    return next(str(item["message"]) for item in findings if item["code"] == code)


def test_a_suffix_of_early_versions_asks_for_the_chunks_before_it(shared_data: Path) -> None:
    service = shared_data / "ledgers" / "eol_service"
    chunks = [service / "ledger" / f"ledger_{name}.committed" for name in ("1-2", "3-11", "12-18")]

    suffix = tallystick("verify", *chunks[1:], "--service-key-sha256", EOL_FIRST, "--format", "json")
    whole = tallystick("verify", *chunks, "--service-key-sha256", EOL_FIRST, "--format", "json")

    assert suffix.exit_code == 3
    assert "add the chunks before this one" in _message(suffix.json, "signer-before-start")
    assert (whole.exit_code, whole.json["proven"]["last_seqno"]) == (0, 18)


def test_a_pinned_certificate_does_not_help_where_no_signature_names_a_key(shared_data: Path) -> None:
    service = shared_data / "ledgers" / "eol_service"
    chunk = service / "ledger" / "ledger_3-11.committed"

    outcome = tallystick("verify", chunk, "--service-cert", service / "common" / "service_cert.pem", "--format", "json")

    assert outcome.exit_code == 3
    message = _message(outcome.json, "service-key-unknown")
    assert "add the chunks before it" in message
    assert "--service-cert" not in message


def test_a_lone_chunk_pinned_by_fingerprint_asks_for_the_certificate(shared_data: Path) -> None:
    service = shared_data / "ledgers" / "eol_service"
    chunk = service / "ledger" / "ledger_471-493.committed"

    pinned = tallystick("verify", chunk, "--service-key-sha256", EOL_LAST, "--format", "json")
    given = tallystick("verify", chunk, "--service-cert", service / "common" / "service_cert.pem", "--format", "json")

    assert (pinned.exit_code, codes(pinned.json["findings"])) == (3, {"no-genesis", "service-key-unknown"})
    assert "--service-cert" in _message(pinned.json, "service-key-unknown")
    assert (given.exit_code, given.json["verdict"]) == (0, "verified")


def test_a_receipt_without_a_certificate_names_the_command_that_decides(shared_data: Path, tmp_path: Path) -> None:
    service = shared_data / "ledgers" / "eol_service"
    keys = [part for n in range(3) for part in ("--encryption-key", service / "common" / f"member{n}_enc_privk.pem")]
    receipt = tmp_path / "receipt.json"
    issued = tallystick("receipt", "issue", service / "ledger", "2.13", *keys, "-o", receipt)
    assert issued.exit_code == 0, issued.stderr

    alone = tallystick("receipt", "verify", receipt, "--service-key-sha256", EOL_FIRST, "--format", "json")
    decided = tallystick("verify", service / "ledger", "--trust-genesis", "--uncommitted", "--receipt", receipt)

    (result,) = alone.json["results"]
    assert alone.exit_code == 3
    assert "tallystick verify LEDGER --receipt FILE" in _message(result, "node-certificate-needed")
    assert decided.exit_code == 0, decided.stdout


@pytest.mark.parametrize("style", ["6.x", "7.x"])
def test_a_lone_chunk_of_later_versions(style: str) -> None:
    valid = base(style)
    assert valid.service is not None
    chunk = sorted(valid.directory.glob("*.committed"), key=lambda path: int(path.name.split("_")[1].split("-")[0]))[-1]

    pinned = tallystick("verify", chunk, "--service-key-sha256", valid.service.service.fingerprint, "--format", "json")

    assert pinned.exit_code == 3
    assert "--service-cert" in _message(pinned.json, "service-key-unknown")
