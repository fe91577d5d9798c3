"""Every spoilt snapshot has the stated verdict and finding, with JSON and with COSE receipts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutations.snapshot_table import SNAPSHOTS, SnapshotBase, SnapshotMutation, snapshot_base
from support.run import codes, tallystick

EXIT_CODES = {"verified": 0, "failed": 1, "undecided": 3}


@pytest.fixture(params=["4.x", "6.x", "7.x", "expired"])
def base(request: pytest.FixtureRequest) -> SnapshotBase:
    if request.param != "expired":
        return snapshot_base(request.param)
    service = request.getfixturevalue("ledgers") / "expired_service"
    other = request.getfixturevalue("ledgers") / "sgx_service" / "snapshots" / "snapshot_99_100.committed"
    certificate = (service / "common" / "service_cert.pem").read_bytes()
    return SnapshotBase(certificate, service / "snapshots" / "snapshot_61_62.committed", other)


@pytest.mark.parametrize("mutation", SNAPSHOTS, ids=lambda m: m.number)
def test_snapshot_has_its_verdict_and_finding(mutation: SnapshotMutation, base: SnapshotBase, tmp_path: Path) -> None:
    certificate = tmp_path / "service.pem"
    certificate.write_bytes(base.certificate)
    name, data = mutation.build(base)
    file = tmp_path / name
    file.write_bytes(data)

    outcome = tallystick("snapshot", "verify", file, "--service-cert", certificate, "--format", "json")

    (result,) = outcome.json["results"]
    found = [(f["code"], f["message"]) for f in result["findings"]]
    assert result["verdict"] in mutation.verdicts, found
    assert outcome.exit_code == EXIT_CODES[result["verdict"]]
    assert set(mutation.codes) <= codes(result["findings"]), found
