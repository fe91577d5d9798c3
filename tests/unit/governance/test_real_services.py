"""Replay agrees with what every real service recorded, and checks all there is (formats.md sections 11.5, 15)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tallystick.governance.ledger import replay_governance
from tallystick.governance.report import GovernanceReport

FIXTURES = (
    "acme_containing_service",
    "cose_flipflop_service",
    "cts_canary",
    "double_sealed_service",
    "eol_service",
    "expired_service",
    "sgx_service",
)
SERVICES = (*FIXTURES, "js1", "cpp3")


def _paths(data: Path, service: str) -> list[Path]:
    if service in FIXTURES:
        return [data / "ledgers" / service / "ledger"]
    if service == "js1":
        return [data / "ccf-built" / "js1" / "ledger"]
    node = data / "ccf-built" / "cpp3" / "state-final" / "node8"
    return [node / "ledger-committed", node / "ledger-current"]


@cache
def _report(data: Path, service: str) -> GovernanceReport:
    return replay_governance(_paths(data, service), uncommitted=True)


@pytest.mark.parametrize("service", SERVICES)
def test_replay_agrees(shared_data: Path, service: str) -> None:
    report = _report(shared_data, service)

    assert report.findings == ()
    assert report.verdict.value == "verified"
    assert report.counts.applications == report.counts.accepted
    assert report.counts.validations == report.counts.proposals
    assert report.counts.states_dropped == report.counts.dropped


def test_counts_are_those_of_the_fact_sheet(shared_data: Path) -> None:
    counts = [_report(shared_data, service).counts for service in SERVICES]

    assert sum(count.accepted for count in counts) == 125
    assert sum(count.states_open for count in counts) == 314
    assert sum(count.states_dropped for count in counts) == 6
    assert sum(count.final_votes for count in counts) == 114
    assert sum(count.request_signatures_cose for count in counts) == 390
    assert sum(count.request_signatures_http for count in counts) == 51
    assert sum(count.proposals for count in counts) == 133


@pytest.mark.parametrize(
    ("service", "proposals", "accepted", "withdrawn", "dropped", "ballots", "requests", "acks"),
    [("js1", 34, 30, 1, 3, 88, 123, 5), ("cpp3", 44, 40, 1, 3, 119, 164, 13)],
)
def test_counts_of_a_service(
    shared_data: Path,
    service: str,
    proposals: int,
    accepted: int,
    withdrawn: int,
    dropped: int,
    ballots: int,
    requests: int,
    acks: int,
) -> None:
    counts = _report(shared_data, service).counts

    assert (counts.proposals, counts.accepted, counts.withdrawn, counts.dropped) == (
        proposals,
        accepted,
        withdrawn,
        dropped,
    )
    assert (counts.ballots, counts.request_signatures_cose, counts.ack_signatures) == (ballots, requests, acks)


def test_what_is_not_checked_is_named(shared_data: Path) -> None:
    named = {missing.what.partition(":")[0] for missing in _report(shared_data, "js1").not_checked}

    assert named == {
        "the first transaction",
        "bytecode of application modules",
        "recovery shares and wrapped ledger secret of the opening",
        "new recovery shares",
        "new ledger secret and its recovery shares",
    }


def test_members_and_rules_at_the_end(shared_data: Path) -> None:
    held = _report(shared_data, "js1").standing

    assert held.service_status == "Open"
    assert held.service_key_sha256 == "f369bd38bdb957de797839d95604eec1438dc9d4ef30cd85d509f07d79700346"
    assert held.recovery_threshold == 2
    assert [member.subject for member in held.members] == ["CN=member2", "CN=member0", "CN=member4", "CN=member1"]
    assert {member.status for member in held.members} == {"Active"}


def test_a_prefix_replays_as_the_whole_does(shared_data: Path) -> None:
    before = shared_data / "ccf-built" / "cpp3" / "state-before-dr1"
    node = next(path for path in sorted(before.iterdir()) if path.is_dir())
    report = replay_governance([node / "ledger-committed", node / "ledger-current"], uncommitted=True)

    assert report.findings == ()
    assert report.last_txid == "3.1422"
    longer = _report(shared_data, "cpp3")
    ours = [event.txid for event in report.events]
    assert ours == [event.txid for event in longer.events][: len(ours)]
