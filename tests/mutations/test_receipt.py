"""Every spoilt receipt and statement has the stated verdict and finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutations.receipt_table import RECEIPTS, ReceiptMutation, holder
from support.run import codes, tallystick

EXIT_CODES = {"verified": 0, "failed": 1, "undecided": 3}


@pytest.mark.parametrize("mutation", RECEIPTS, ids=lambda m: m.number)
def test_receipt_has_its_verdict_and_finding(mutation: ReceiptMutation, tmp_path: Path) -> None:
    made = holder()
    certificate = tmp_path / "service.pem"
    certificate.write_bytes(made.certificate)
    file = tmp_path / f"receipt{mutation.suffix}"
    file.write_bytes(mutation.build(made))

    outcome = tallystick(
        "receipt", "verify", file, "--service-cert", certificate, *mutation.options, "--format", "json"
    )

    (result,) = outcome.json["results"]
    found = [(f["code"], f["message"]) for f in result["findings"]]
    assert result["verdict"] == mutation.verdict, found
    assert outcome.exit_code == EXIT_CODES[mutation.verdict]
    assert set(mutation.codes) <= codes(result["findings"]), found
    if mutation.verdict == "verified" and mutation.number[0] in "RJ" and mutation.number != "J28":
        assert result["txid"] == f"2.{made.seqno}"


def test_without_an_anchor_a_good_receipt_is_undecided(tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    file.write_bytes(next(m for m in RECEIPTS if m.number == "J0").build(holder()))

    outcome = tallystick("receipt", "verify", file, "--format", "json")

    assert outcome.json["results"][0]["verdict"] == "undecided"
    assert outcome.exit_code == 3


def test_one_failure_among_many_fails_the_run(tmp_path: Path) -> None:
    made = holder()
    certificate = tmp_path / "service.pem"
    certificate.write_bytes(made.certificate)
    by_number = {m.number: m for m in RECEIPTS}
    files = []
    for number in ("J0", "J1", "J13"):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_bytes(by_number[number].build(made))

    outcome = tallystick("receipt", "verify", *files, "--service-cert", certificate, "--format", "json")

    assert [r["verdict"] for r in outcome.json["results"]] == ["verified", "undecided", "failed"]
    assert outcome.exit_code == 1
    assert tallystick("receipt", "verify", *files[:2], "--service-cert", certificate).exit_code == 3
    assert tallystick("receipt", "verify", files[0], "--service-cert", certificate).exit_code == 0
