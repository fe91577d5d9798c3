"""What each pin proves of a service that recovered twice, and what nothing but a pin can prove."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.run import codes, tallystick
from support.services import Base, base, recovered_base

FIRST, MIDDLE, LAST = 0, 1, 2


def _pins(valid: Base, which: tuple[int, ...], directory: Path) -> list[str]:
    options = []
    for number in which:
        path = directory / f"life-{number}.pem"
        path.write_bytes(valid.certificates[number])
        options += ["--service-cert", str(path)]
    return options


@pytest.mark.parametrize(
    ("style", "pinned", "verdict"),
    [
        # The members' opening proposals lead forwards from the first identity, whatever the version.
        *((style, (FIRST,), "verified") for style in ("1.x", "2.x", "4.x", "6.x", "7.x")),
        # Endorsements lead backwards, since 6.0.
        *((style, (LAST,), "verified") for style in ("6.x", "7.x")),
        *((style, (MIDDLE,), "verified") for style in ("6.x", "7.x")),
        *((style, (LAST,), "undecided") for style in ("1.x", "2.x", "4.x")),
        *((style, (FIRST, MIDDLE, LAST), "verified") for style in ("1.x", "2.x", "4.x", "6.x", "7.x")),
    ],
)
def test_pins(style: str, pinned: tuple[int, ...], verdict: str, tmp_path: Path) -> None:
    valid = recovered_base(style)

    outcome = tallystick(
        "verify", valid.directory, "--uncommitted", *_pins(valid, pinned, tmp_path), "--format", "json"
    )

    report = outcome.json
    assert report["verdict"] == verdict, report["findings"]
    assert len(report["identities"]) == 3
    if verdict == "verified":
        assert report["proven"]["first_seqno"] == 1
        assert report["proven"]["last_seqno"] == valid.service.seqno
    else:
        assert "service-identity-unreached" in codes(report["findings"])


@pytest.mark.parametrize("style", ["1.x", "4.x", "6.x", "7.x"])
def test_without_an_anchor_nothing_is_verified(style: str) -> None:
    outcome = tallystick("verify", recovered_base(style).directory, "--uncommitted", "--format", "json")

    assert outcome.json["verdict"] == "undecided"
    assert outcome.exit_code == 3
    assert "anchor-missing" in codes(outcome.json["findings"])


@pytest.mark.parametrize("style", ["4.x", "6.x"])
def test_trusting_genesis_is_an_anchor(style: str) -> None:
    outcome = tallystick(
        "verify", recovered_base(style).directory, "--uncommitted", "--trust-genesis", "--format", "json"
    )

    assert outcome.json["verdict"] == "verified", outcome.json["findings"]
    assert outcome.json["anchor"]["kind"] == "genesis"


@pytest.mark.parametrize("style", ["1.x", "6.x", "7.x"])
def test_a_pin_by_fingerprint_is_as_good(style: str) -> None:
    valid = recovered_base(style)
    fingerprint = valid.service.identities[0].fingerprint

    outcome = tallystick(
        "verify", valid.directory, "--uncommitted", "--service-key-sha256", fingerprint, "--format", "json"
    )

    assert outcome.json["verdict"] == "verified", outcome.json["findings"]


def test_the_pin_of_another_service_fails(tmp_path: Path) -> None:
    options = _pins(base("4.x"), (FIRST,), tmp_path)

    outcome = tallystick("verify", recovered_base("6.x").directory, "--uncommitted", *options, "--format", "json")

    assert outcome.json["verdict"] == "failed"
    assert outcome.exit_code == 1
    assert "anchor-mismatch" in codes(outcome.json["findings"])
    assert outcome.json["proven"] is None
