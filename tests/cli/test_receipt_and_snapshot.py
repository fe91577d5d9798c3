"""``tallystick receipt verify`` and ``tallystick snapshot verify`` as people and scripts meet them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from support.run import Outcome, tallystick


@pytest.fixture
def cpp3(ccf_built: Path) -> Path:
    return ccf_built / "cpp3"


def _validated(repository: Path, schema: str, outcome: Outcome) -> list[dict[str, Any]]:
    document = json.loads((repository / "docs" / schema).read_text())
    jsonschema.Draft202012Validator.check_schema(document)
    jsonschema.Draft202012Validator(document).validate(outcome.json)
    return list(outcome.json["results"])


def test_a_directory_of_everything(repository: Path, cpp3: Path) -> None:
    certificate = cpp3 / "service-cert-1.pem"
    folder = cpp3 / "receipts" / "svc1-backup"
    outcome = tallystick("receipt", "verify", folder, "--service-cert", certificate, "--format", "json")
    results = _validated(repository, "receipts.schema.json", outcome)
    assert outcome.exit_code == 3
    kinds = {(result["kind"], result["verdict"]) for result in results}
    assert kinds == {
        ("ccf-json", "verified"),
        ("ccf-json", "undecided"),
        ("ccf-cose", "verified"),
        ("merkle-proof", "undecided"),
        ("cose-signature", "undecided"),
    }
    assert not any("err404" in result["file"] for result in results)


def test_exit_codes(cpp3: Path, tmp_path: Path) -> None:
    receipt = cpp3 / "receipts/svc1/2.24-private.node.json"
    pin = ("--service-cert", cpp3 / "service-cert-1.pem")
    assert tallystick("receipt", "verify", receipt, *pin).exit_code == 0
    assert tallystick("receipt", "verify", receipt).exit_code == 3
    assert tallystick("receipt", "verify", receipt, "--service-cert", cpp3 / "service-cert-2.pem").exit_code == 1
    assert tallystick("receipt", "verify", receipt, tmp_path / "missing", *pin).exit_code == 3
    spoilt = tmp_path / "spoilt.json"
    spoilt.write_bytes(receipt.read_bytes()[:-1])
    both = tallystick("receipt", "verify", receipt, spoilt, tmp_path / "missing", *pin)
    assert both.exit_code == 1
    assert "3 receipts: 1 verified, 1 undecided, 1 failed" in both.stdout
    assert "[receipt-malformed]" in both.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--service-cert", "missing.pem"),
        ("--service-key-sha256", "abcd"),
        ("--claims-digest", "abcd"),
        ("--claims-digest", "00" * 32, "--claims-text", "x"),
        ("--claims", "missing"),
        ("--claims-text", "missing"),
        ("--txid", "2"),
        ("--jwks", "issuer"),
        ("--jwks", "issuer=missing"),
        ("--endorsements", "missing"),
        ("--ledger", "missing"),
        ("--output", "missing/directory/file"),
        ("--no-such-option",),
    ],
)
def test_bad_arguments_are_usage_errors(cpp3: Path, arguments: tuple[str, ...]) -> None:
    outcome = tallystick("receipt", "verify", cpp3 / "receipts/svc1/2.24-private.node.json", *arguments)
    assert outcome.exit_code == 2
    assert outcome.stderr.count("\n") <= 5
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""


def test_option_files_that_are_malformed_are_usage_errors(cpp3: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    empty = tmp_path / "empty.json"
    empty.write_bytes(b"[]")
    receipt = cpp3 / "receipts/svc1/2.24-private.node.json"
    for option in ("--service-cert", "--endorsements", "--claims"):
        assert tallystick("receipt", "verify", receipt, option, junk).exit_code == 2
    assert tallystick("receipt", "verify", receipt, "--jwks", f"a={junk}").exit_code == 2
    outcome = tallystick("receipt", "verify", receipt, "--claims", empty)
    assert outcome.exit_code == 2
    assert "non-empty list" in outcome.stderr


def test_claims_from_content(cpp3: Path, tmp_path: Path) -> None:
    known = json.loads((cpp3 / "claims.json").read_text())["2.26"]
    content = tmp_path / "message"
    content.write_text(known["claim_text"], encoding="utf-8")
    receipt = cpp3 / "receipts/svc1/2.26-public_claim.historical_receipt.json"
    pin = ("--service-cert", cpp3 / "service-cert-1.pem")
    assert tallystick("receipt", "verify", receipt, *pin).exit_code == 3
    assert tallystick("receipt", "verify", receipt, *pin, "--claims-text", content).exit_code == 0
    assert tallystick("receipt", "verify", receipt, *pin, "--claims-digest", known["claims_digest"]).exit_code == 0
    content.write_text("something else", encoding="utf-8")
    assert tallystick("receipt", "verify", receipt, *pin, "--claims-text", content).exit_code == 1


def test_standard_input_and_output_file(cpp3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (cpp3 / "receipts/svc1/2.24-private.cose_receipt.cose").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    report = tmp_path / "report.jsonl"
    pin = ("--service-cert", cpp3 / "service-cert-1.pem")
    outcome = tallystick("receipt", "verify", "-", *pin, "--format", "jsonl", "--output", report)
    assert (outcome.exit_code, outcome.stdout) == (0, "")
    assert json.loads(report.read_text())["txid"] == "2.24"


def test_the_transaction_that_was_asked_for(cpp3: Path) -> None:
    receipt = cpp3 / "receipts/svc1/2.24-private.cose_receipt.cose"
    pin = ("--service-cert", cpp3 / "service-cert-1.pem", "--format", "json")
    assert tallystick("receipt", "verify", receipt, *pin, "--txid", "2.24").exit_code == 0
    outcome = tallystick("receipt", "verify", receipt, *pin, "--txid", "2.25")
    assert outcome.exit_code == 1
    assert outcome.json["results"][0]["findings"][0]["code"] == "txid-mismatch"


def test_text_says_what_was_not_checked(cpp3: Path) -> None:
    receipt = cpp3 / "receipts/svc1/2.24-private.node.json"
    outcome = tallystick("receipt", "verify", receipt, "--service-cert", cpp3 / "service-cert-1.pem")
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["verified", "ccf-json", "2.24", str(receipt)]
    assert lines[-1].startswith("not checked: ")


def test_nothing_to_verify_is_not_success(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no receipt")
    for command in ("receipt", "snapshot"):
        outcome = tallystick(command, "verify", tmp_path)
        assert outcome.exit_code == 3
        assert f"no {command} found" in outcome.stderr


def test_snapshots(repository: Path, shared_data: Path, tmp_path: Path) -> None:
    service = shared_data / "ledgers" / "expired_service"
    pin = ("--service-cert", service / "common" / "service_cert.pem")
    outcome = tallystick("snapshot", "verify", service / "snapshots", *pin, "--format", "json")
    [result] = _validated(repository, "snapshots.schema.json", outcome)
    assert outcome.exit_code == 0
    assert (result["verdict"], result["seqno"], result["evidence_txid"]) == ("verified", 61, "4.62")
    assert tallystick("snapshot", "verify", service / "snapshots").exit_code == 3
    text = tallystick("snapshot", "verify", service / "snapshots", *pin, "--ledger", service / "ledger")
    assert text.exit_code == 0
    assert text.stdout.startswith("verified   seqno 61, evidence 4.62  ")
    missing = tallystick("snapshot", "verify", tmp_path / "snapshot_1_2.committed", *pin, "--format", "json")
    [result] = _validated(repository, "snapshots.schema.json", missing)
    assert (missing.exit_code, result["findings"][0]["code"]) == (3, "file-unreadable")


def test_a_real_statement_from_the_command_line(repository: Path, shared_data: Path) -> None:
    folder = shared_data / "receipts" / "scitt" / "transparent_statements"
    keys = f"esrp-cts-db.confidential-ledger.azure.com={folder / 'esrp-cts-db.json'}"
    outcome = tallystick("receipt", "verify", folder / "uvm_0.2.10.cose", "--jwks", keys, "--format", "json")
    [result] = _validated(repository, "receipts.schema.json", outcome)
    assert (outcome.exit_code, result["kind"], result["txid"]) == (0, "scitt-statement", "458.12440")
