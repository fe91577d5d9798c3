"""``tallystick identity`` and the bundles that it writes for ``tallystick receipt verify --identities``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.mutation import LedgerCopy
from support.run import Outcome, codes, tallystick
from support.services import base, new_service, recovered_base, write_some
from tallystick.demo.receipts import json_receipt
from tallystick.demo.snapshots import take_snapshot


def pins(style: str, directory: Path, *lives: int) -> list[str]:
    options = []
    for life in lives:
        path = directory / f"life-{life}.pem"
        path.write_bytes(recovered_base(style).certificates[life])
        options += ["--service-cert", str(path)]
    return options


def identity(style: str, *arguments: str | Path) -> Outcome:
    return tallystick("identity", recovered_base(style).directory, "--uncommitted", *arguments)


@pytest.mark.parametrize("style", ["1.x", "2.x", "4.x", "6.x", "7.x"])
def test_text(style: str, tmp_path: Path) -> None:
    outcome = identity(style, *pins(style, tmp_path, 0))

    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("VERIFIED: 3 service identities, all trusted; proven up to")
    assert all(len(line) <= 80 for line in outcome.stdout.splitlines())
    assert outcome.stdout.count("     forwards     opening proposal") == 2
    assert " ".join(outcome.stdout.split()).count("issued by service identity") == 3
    endorses = "endorses identity 1" in outcome.stdout
    assert endorses == (style in ("6.x", "7.x"))


def test_json(tmp_path: Path) -> None:
    outcome = identity("6.x", *pins("6.x", tmp_path, 2), "--format", "json")

    document = outcome.json
    assert document["schema"] == "tallystick.identity/1"
    assert [item["trusted_by"] for item in document["identities"]] == ["endorsement", "endorsement", "pinned"]
    assert [record["links"] for record in document["endorsements"]] == [
        None,
        {"newer": 2, "older": 1},
        {"newer": 3, "older": 2},
    ]
    assert document["bundle"] is None


def test_without_an_anchor(tmp_path: Path) -> None:
    outcome = identity("6.x", "--format", "json")

    assert outcome.exit_code == 3
    assert "anchor-missing" in codes(outcome.json["findings"])


def receipt_of(directory: Path, life: int) -> Path:
    service = recovered_base("6.x").service
    assert service is not None
    mine = service.identities[life]
    last = [signed for signed in service.signed if signed.service is mine][-1].txid.seqno
    document = json.loads(json_receipt(service, last - 1))
    document.pop("service_endorsements", None)
    path = directory / f"receipt-{life}.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("history", [True, False])
def test_a_bundle_both_ways(history: bool, tmp_path: Path) -> None:
    bundle = tmp_path / "identities.json"
    made = identity("6.x", *pins("6.x", tmp_path, 0), "--bundle", bundle, *([] if history else ["--without-history"]))
    old, new = receipt_of(tmp_path, 0), receipt_of(tmp_path, 2)

    back = tallystick("receipt", "verify", old, "--identities", bundle, *pins("6.x", tmp_path, 2))
    on = tallystick("receipt", "verify", new, "--identities", bundle, *pins("6.x", tmp_path, 0))

    told = " ".join(made.stdout.split())
    assert "3 service certificates, 2 endorsements, 2 openings" in told
    assert ("share the bundle as you would the ledger" in told) == history
    assert back.exit_code == 0
    assert "[service-endorsed]" in back.stdout
    assert on.exit_code == (0 if history else 3)
    assert ("[service-opened]" if history else "[identity-unproven]") in on.stdout


def test_a_bundle_with_snapshots(tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger")
    service.genesis()
    service.open()
    write_some(service, 2)
    service.sign()
    pending = take_snapshot(service)
    service.sign(close_chunk=True)
    snapshot = pending.commit(tmp_path / "snapshots")
    service.recover()
    service.leave_chunk_open()
    (tmp_path / "old.pem").write_text(service.identities[0].certificate)
    (tmp_path / "new.pem").write_text(service.identities[1].certificate)
    bundle = tmp_path / "identities.json"
    anchor = ["--service-cert", tmp_path / "new.pem"]
    made = tallystick("identity", tmp_path / "ledger", "--uncommitted", *anchor, "--bundle", bundle)
    assert made.exit_code == 0, made.stdout

    alone = tallystick("snapshot", "verify", snapshot, *anchor)
    led = tallystick("snapshot", "verify", snapshot, *anchor, "--identities", bundle)

    assert (alone.exit_code, led.exit_code) == (1, 0)
    assert "[service-endorsed]" in led.stdout


def test_no_bundle_of_a_ledger_that_does_not_hold(tmp_path: Path) -> None:
    copy = recovered_base("6.x").copy(tmp_path / "ledger")
    place = next(p for p in copy.places() if "public:records" in p.entry.tables)
    copy.flip_in(place, b"public value")
    bundle = tmp_path / "identities.json"

    outcome = tallystick("identity", copy.directory, "--uncommitted", "--trust-genesis", "--bundle", bundle)

    assert outcome.exit_code == 1
    assert "no bundle was written" in outcome.stderr
    assert not bundle.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"schema": "tallystick.identities/1"}'])
def test_bundles_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bundle").write_bytes(content)
    arguments = ["--identities", tmp_path / "bundle", *pins("6.x", tmp_path, 0)]

    outcome = tallystick("receipt", "verify", receipt_of(tmp_path, 0), *arguments)

    assert outcome.exit_code == 2
    assert "bundle of identities is malformed" in outcome.stderr
    assert "[identities-malformed]" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nonexistent"], "no such file or directory"),
        (["LEDGER", "--without-history"], "add --bundle FILE"),
        (["LEDGER", "--trust-genesis", "--service-key-sha256", "ab" * 32], "cannot be combined"),
    ],
)
def test_usage(arguments: list[str], message: str) -> None:
    outcome = tallystick("identity", *[str(base("6.x").directory) if a == "LEDGER" else a for a in arguments])

    assert outcome.exit_code == 2
    assert message in outcome.stderr


def test_a_missing_bundle(tmp_path: Path) -> None:
    outcome = tallystick(
        "receipt", "verify", receipt_of(tmp_path, 0), "--identities", tmp_path / "none", *pins("6.x", tmp_path, 0)
    )

    assert outcome.exit_code == 2
    assert "bundle of identities cannot be read" in outcome.stderr


def test_a_gap_is_explained(tmp_path: Path) -> None:
    copy: LedgerCopy = recovered_base("6.x").copy(tmp_path / "ledger")
    copy.chunks[2].unlink()

    outcome = tallystick("identity", copy.directory, "--uncommitted", *pins("6.x", tmp_path, 0))

    assert outcome.exit_code == 1
    assert "Identities after the gap are not in this timeline" in " ".join(outcome.stdout.split())
