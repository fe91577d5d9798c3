"""Every mutation of a ledger has the stated verdict, finding and position, on a forged and on a real base."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutations.ledger_table import MUTATIONS, Mutation, Spoilt
from support.run import codes, tallystick
from support.services import Base, base

EXIT_CODES = {"verified": 0, "failed": 1, "undecided": 3}


@pytest.fixture(params=["forged", "acme"])
def valid(request: pytest.FixtureRequest) -> Base:
    if request.param == "forged":
        return base("6.x")
    shared: Path = request.getfixturevalue("shared_data")
    acme = shared / "ledgers" / "acme_containing_service"
    return Base(acme / "ledger", [(acme / "common" / "service_cert.pem").read_bytes()])


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.number)
def test_mutation_has_its_verdict_and_finding(mutation: Mutation, valid: Base, tmp_path: Path) -> None:
    spoilt = Spoilt(valid.copy(tmp_path / "ledger"), tmp_path / "scratch")
    mutation.spoil(spoilt)
    certificate = tmp_path / "service.pem"
    certificate.write_bytes(valid.certificates[0])
    head = ["--expect-head", spoilt.head] if spoilt.head else []

    outcome = tallystick(
        "verify", *(spoilt.paths or [spoilt.copy.directory]), "--uncommitted", "--service-cert", certificate, *head,
        "--format", "json",
    )  # fmt: skip

    report = outcome.json
    found = [(f["code"], f["txid"], f["offset"]) for f in report["findings"]]
    assert report["verdict"] == mutation.verdict, found
    assert outcome.exit_code == EXIT_CODES[mutation.verdict]
    assert set(mutation.codes) <= codes(report["findings"]), found
    for code in mutation.codes[:1]:
        mine = [f for f in report["findings"] if f["code"] == code]
        if spoilt.txid is not None:
            assert spoilt.txid in {f["txid"] for f in mine}, found
        if spoilt.offset is not None:
            assert spoilt.offset in {f["offset"] for f in mine}, found
