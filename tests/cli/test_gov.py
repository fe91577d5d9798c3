"""``tallystick gov``: what it prints, and how it ends."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from mutations.governance_table import CHEATS, honest_life
from support.consortium import Consortium
from support.run import codes, tallystick
from support.services import new_service
from tallystick.demo.service import DemoService, demo_constitution
from tallystick.ledger.writer import json_bytes
from tallystick.tables.names import CONSTITUTION, SINGLETON_KEY


@cache
def _honest() -> Consortium:
    service = Consortium(Path(mkdtemp(prefix="tallystick-gov-")) / "ledger").start()
    honest_life(service)
    service.sign()
    service.leave_chunk_open()
    return service


def _anchored(service: Consortium) -> tuple[str | Path, ...]:
    return service.directory, "--uncommitted", "--service-key-sha256", service.service.fingerprint


def test_verify_an_honest_service() -> None:
    outcome = tallystick("gov", "verify", *_anchored(_honest()))

    assert outcome.exit_code == 0, outcome.stdout
    first = outcome.stdout.splitlines()[0]
    assert first.startswith("VERIFIED: governance follows its rules up to seqno ")
    assert "proposals applied again" in outcome.stdout
    assert "Not checked" in outcome.stdout
    assert all(len(line) <= 80 for line in outcome.stdout.splitlines())


def test_verify_without_an_anchor_is_undecided() -> None:
    outcome = tallystick("gov", "verify", _honest().directory, "--uncommitted")

    assert outcome.exit_code == 3
    assert outcome.stdout.startswith("UNDECIDED: the ledger is undecided, governance as it tells it verified")


def test_verify_a_cheat(tmp_path: Path) -> None:
    service = Consortium(tmp_path / "ledger").start()
    next(cheat for cheat in CHEATS if cheat.codes == ("gov-write-unexplained",)).commit(service)
    service.sign()
    service.leave_chunk_open()
    outcome = tallystick("gov", "verify", *_anchored(service), "--format", "json")

    assert outcome.exit_code == 1
    document = outcome.json
    assert (document["schema"], document["verdict"]) == ("tallystick.governance-verdict/1", "failed")
    assert document["ledger"]["proven"] is not None
    assert codes(document["governance"]["findings"]) == {"gov-write-unexplained"}
    lines = tallystick("gov", "verify", *_anchored(service), "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["type"] for line in lines][-1] == "verdict"
    quiet = tallystick("gov", "verify", *_anchored(service), "--quiet")
    assert "gov-write-unexplained" in quiet.stdout
    assert "Not checked" not in quiet.stdout


def test_verify_the_wrong_service() -> None:
    outcome = tallystick("gov", "verify", _honest().directory, "--uncommitted", "--service-key-sha256", "ab" * 32)

    assert outcome.exit_code == 1
    assert outcome.stdout.startswith("FAILED: the ledger is failed")


def test_log_tells_who_decided_what() -> None:
    service = _honest()
    outcome = tallystick("gov", "log", service.directory, "--uncommitted")

    assert outcome.exit_code == 0
    assert "→ Accepted (2 for, 0 against)" in outcome.stdout
    assert "→ Rejected" in outcome.stdout
    assert "actions: set_user" in outcome.stdout
    assert "run `tallystick gov verify`" in outcome.stderr
    events = tallystick("gov", "log", service.directory, "--uncommitted", "--format", "jsonl").stdout.splitlines()
    kinds = {json.loads(line)["kind"] for line in events}
    assert {"genesis", "acknowledged", "proposed", "voted", "withdrawn", "dropped", "member", "service"} <= kinds
    votes = [json.loads(line) for line in events if json.loads(line)["kind"] == "voted"]
    assert {vote["vote"] for vote in votes} == {True, False}
    assert all(vote["created_at"].startswith("2026-") and vote["signature"] == "cose" for vote in votes)


def test_log_of_one_member() -> None:
    service = _honest()
    member = service.members[2].id
    outcome = tallystick(
        "gov", "log", service.directory, "--uncommitted", "--member", member[:12], "--format", "json", "--no-replay"
    )

    assert outcome.json["verified"] is False
    assert {event["member_id"] for event in outcome.json["events"]} == {member}


def test_log_of_nobody_says_so() -> None:
    service = _honest()
    outcome = tallystick("gov", "log", service.directory, "--uncommitted", "--member", "nobody", "--no-replay")
    assert (outcome.exit_code, outcome.stdout) == (0, "")
    assert "no event that was asked for" in outcome.stderr


def test_show_what_stands() -> None:
    service = _honest()
    outcome = tallystick("gov", "show", service.directory, "--uncommitted", "--format", "json")

    held = outcome.json
    assert held["service_status"] == "Open"
    assert held["service_key_sha256"] == service.service.fingerprint
    assert {member["member_id"]: member["status"] for member in held["members"]} == {
        **{member.id: "Active" for member in service.members},
        service.stranger.id: "Accepted",
    }
    text = tallystick("gov", "show", service.directory, "--uncommitted").stdout
    assert f"Members ({len(held['members'])})" in text


def test_show_one_proposal() -> None:
    service = _honest()
    events = tallystick("gov", "log", service.directory, "--uncommitted", "--format", "json").json["events"]
    rejected = next(event for event in events if event.get("outcome") == "Rejected")["proposal_id"]
    outcome = tallystick("gov", "show", service.directory, "--uncommitted", "--proposal", rejected)

    assert '| {"actions": [{"name": "set_user"' in outcome.stdout
    assert "| export function vote (proposal, proposerId) { return false }" in outcome.stdout
    assert rejected[:16] in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--proposal", "zz"), "proposal-missing"),
        (("--proposal", ""), "proposal-ambiguous"),
        (("--member", "zz"), "member-missing"),
    ],
)
def test_show_what_is_not_there(arguments: tuple[str, ...], code: str) -> None:
    outcome = tallystick("gov", "show", _honest().directory, "--uncommitted", *arguments)

    assert outcome.exit_code == 2
    assert f"[{code}]" in outcome.stderr


def test_nothing_to_show(tmp_path: Path) -> None:
    outcome = tallystick("gov", "show", tmp_path)

    assert outcome.exit_code == 3
    assert "gov-no-genesis" in outcome.stderr


def _one_vote_suffices(directory: Path) -> DemoService:
    """A service of three members whose rules let one of them decide, recovered and opened by one."""
    service = new_service(directory, members=3)
    service.genesis()
    service.open()
    rules = demo_constitution().replace("2 * inFavour > active", "inFavour >= 1")
    service.decide(
        "set_constitution", {"constitution": rules}, lambda: {CONSTITUTION: {SINGLETON_KEY: json_bytes(rules)}}
    )
    service.members_needed = 1
    return service


def _recovered(service: DemoService) -> list[str | Path]:
    first = service.service.fingerprint
    service.sign()
    service.recover()
    service.sign(close_chunk=True)
    return [service.directory, "--service-key-sha256", first]


def test_the_constitution_decides_whether_an_opening_links(tmp_path: Path) -> None:
    arguments = _recovered(_one_vote_suffices(tmp_path / "ledger"))

    alone = tallystick("verify", *arguments, "--format", "json")
    assert (alone.exit_code, codes(alone.json["findings"])) == (3, {"opening-undecided"})
    replayed = tallystick("gov", "verify", *arguments, "--format", "json")
    assert replayed.exit_code == 0, replayed.stdout
    identities = replayed.json["ledger"]["identities"]
    assert [identity["trusted_by"] for identity in identities] == ["pinned", "opening"]
    assert not any("whether the constitution accepts" in line for line in replayed.json["ledger"]["not_checked"])


def test_an_opening_that_its_constitution_does_not_accept_links_nothing(tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger", members=3)
    service.genesis()
    service.open()
    # The rules want two of three; the service counts one as enough.
    service.members_needed = 1
    arguments = _recovered(service)

    outcome = tallystick("gov", "verify", *arguments, "--format", "json")

    assert outcome.exit_code == 1
    assert "gov-state-wrong" in codes(outcome.json["governance"]["findings"])
    assert "opening-undecided" in codes(outcome.json["ledger"]["findings"])
    assert outcome.json["ledger"]["identities"][1]["trusted_by"] is None


def test_a_majority_is_taken_for_enough_and_said_so(tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger", members=3)
    service.genesis()
    service.open()
    arguments = _recovered(service)

    outcome = tallystick("verify", *arguments, "--format", "json")

    assert outcome.exit_code == 0
    assert any("whether the constitution accepts" in line for line in outcome.json["not_checked"])
