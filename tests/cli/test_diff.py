"""``tallystick diff`` and ``tallystick evidence verify``: what they print, write and end with."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.branches import branch, trunk, two_branches
from support.run import Outcome, codes, tallystick
from support.services import base, write_some
from tallystick.demo.receipts import cose_receipt, json_receipt
from tallystick.evidence.bundle import Bundle


def pin(directory: Path, certificate: str, name: str = "pin.pem") -> list[str]:
    path = directory / name
    path.write_text(certificate)
    return ["--service-cert", str(path)]


def told(outcome: Outcome) -> str:
    """What was printed, without the breaks between lines."""
    return " ".join(outcome.stdout.split())


def findings(outcome: Outcome) -> set[str]:
    return {code for result in outcome.json["results"] for code in codes(result["findings"])}


def test_identical_copies() -> None:
    directory = base("6.x").directory

    outcome = tallystick("diff", directory, directory, "--uncommitted")

    assert outcome.exit_code == 0
    assert f"{directory} and {directory}: identical" in told(outcome)
    assert "not checked: signatures and Merkle roots" in told(outcome)


def test_a_fork_and_its_evidence(tmp_path: Path) -> None:
    branches = two_branches(tmp_path)
    bundle = tmp_path / "evidence.json"

    outcome = tallystick("diff", tmp_path / "a", tmp_path / "b", "--evidence", bundle)
    alone = tallystick("evidence", "verify", bundle)
    pinned = tallystick("evidence", "verify", bundle, *pin(tmp_path, branches.first.service.certificate))

    assert outcome.exit_code == 1
    assert "FORKED: two signed histories" in told(outcome)
    assert f"first difference at seqno {branches.trunk + 1}" in told(outcome)
    assert f"evidence written to {bundle}" in told(outcome)
    assert (alone.exit_code, pinned.exit_code) == (3, 0)
    assert "[evidence-anchor]" in told(alone)
    assert f"--service-key-sha256 {branches.first.service.fingerprint}" in told(alone)
    assert pinned.stdout.startswith("verified")
    assert "two different transactions with number" in told(pinned)


def test_a_fork_as_json(tmp_path: Path) -> None:
    branches = two_branches(tmp_path)
    bundle = tmp_path / "evidence.json"

    outcome = tallystick("diff", tmp_path / "a", tmp_path / "b", "--evidence", bundle, "--format", "json")
    fingerprint = branches.first.service.fingerprint
    verified = tallystick("evidence", "verify", bundle, "--service-key-sha256", fingerprint, "--format", "json")

    [result] = outcome.json["results"]
    assert outcome.json["schema"] == "tallystick.diff/1"
    assert outcome.json["evidence"] == str(bundle)
    assert (result["relation"], result["first_difference"]) == ("forked", branches.trunk + 1)
    assert codes(result["findings"]) == {"history-forked"}
    [shown] = verified.json["results"]
    assert (shown["verdict"], shown["kind"], shown["conclusive"]) == ("verified", "fork", True)
    assert shown["services"] == [fingerprint]


def test_what_may_have_been_lost_is_not_decided(tmp_path: Path) -> None:
    branches = two_branches(tmp_path, elect=True)
    for path in (tmp_path / "a").glob("*.committed"):
        path.rename(path.with_name(path.name.removesuffix(".committed")))
    bundle = tmp_path / "evidence.json"

    outcome = tallystick("diff", tmp_path / "a", tmp_path / "b", "--uncommitted", "--evidence", bundle)
    verified = tallystick("evidence", "verify", bundle, *pin(tmp_path, branches.first.service.certificate))

    assert (outcome.exit_code, verified.exit_code) == (3, 3)
    assert "[history-signed-differs]" in told(outcome)
    assert "[evidence-inconclusive]" in told(verified)


def test_an_unsigned_end_is_no_fork(tmp_path: Path) -> None:
    service = trunk(tmp_path / "a")
    other = branch(service, tmp_path / "b")
    write_some(service, 1)
    service.leave_chunk_open()
    other.recover()

    outcome = tallystick("diff", tmp_path / "a", tmp_path / "b", "--uncommitted")

    assert outcome.exit_code == 0
    assert "they differ in transactions that are not signed" in told(outcome)


def test_a_pile_of_receipts(tmp_path: Path) -> None:
    """A directory of receipts, in which one is of another branch, one is broken, and one is no receipt."""
    branches = two_branches(tmp_path)
    pile = tmp_path / "receipts"
    pile.mkdir()
    seqno = branches.trunk + 1
    (pile / "good.json").write_bytes(json_receipt(branches.second, seqno))
    (pile / "good.cose").write_bytes(cose_receipt(branches.second, seqno))
    (pile / "forked.json").write_bytes(json_receipt(branches.first, seqno))
    (pile / "broken.json").write_bytes(json_receipt(branches.second, seqno).replace(b'"cert"', b'"trec"'))
    (pile / "notes.txt").write_text("not a receipt")
    certificate = pin(tmp_path, branches.first.service.certificate)
    bundle = tmp_path / "evidence.json"
    arguments = ["--receipt", pile, *certificate, "--evidence", bundle]

    outcome = tallystick("diff", tmp_path / "b", *arguments, "--format", "json")
    verified = tallystick("evidence", "verify", bundle, *certificate)

    relations = {Path(r["compared"].split()[-1]).name: r["relation"] for r in outcome.json["results"]}
    assert relations == {
        "good.json": "agrees",
        "good.cose": "agrees",
        "forked.json": "forked",
        "broken.json": "unusable",
    }
    assert outcome.exit_code == 1
    assert findings(outcome) == {"history-forked", "history-receipt-unusable"}
    assert verified.exit_code == 0


def test_a_receipt_that_was_truncated_away(tmp_path: Path) -> None:
    service = trunk(tmp_path / "a")
    recovered = branch(service, tmp_path / "b")
    write_some(service, 60)
    last = service.seqno
    service.sign(close_chunk=True)
    recovered.recover()
    recovered.leave_chunk_open()
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(json_receipt(service, last))
    old = pin(tmp_path, service.service.certificate, "old.pem")
    new = pin(tmp_path, recovered.service.certificate, "new.pem")
    bundle = tmp_path / "evidence.json"

    outcome = tallystick("diff", tmp_path / "b", "--receipt", receipt, *old, "--evidence", bundle)

    assert outcome.exit_code == 1
    assert "TRUNCATED" in told(outcome)
    # The recovered service says itself that it succeeds the old one, so that its pin is enough; not so the other.
    assert tallystick("evidence", "verify", bundle, *new).exit_code == 0
    assert tallystick("evidence", "verify", bundle, *old).exit_code == 3
    assert tallystick("evidence", "verify", bundle, *old, *new).exit_code == 0


def test_a_checkpoint(tmp_path: Path) -> None:
    branches = two_branches(tmp_path)
    certificate = pin(tmp_path, branches.first.service.certificate)
    checkpoint = tmp_path / "checkpoint"
    assert tallystick("verify", tmp_path / "a", *certificate, "--checkpoint", checkpoint).exit_code == 0

    same = tallystick("diff", tmp_path / "a", "--checkpoint", checkpoint)
    other = tallystick("diff", tmp_path / "b", "--checkpoint", checkpoint)

    assert (same.exit_code, other.exit_code) == (0, 1)
    assert "the copy holds what was proven" in told(same)
    assert "[history-forked]" in told(other)


def test_copies_joined_by_a_colon(tmp_path: Path) -> None:
    """A node's main and read-only directories are one copy."""
    main, only = base("6.x").copy(tmp_path / "main"), base("6.x").copy(tmp_path / "only")
    for path in main.chunks[:2]:
        path.unlink()
    for path in only.chunks[2:]:
        path.unlink()

    outcome = tallystick("diff", f"{main.directory}:{only.directory}", base("6.x").directory, "--uncommitted")

    assert outcome.exit_code == 0
    assert "identical" in told(outcome)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["A"], "expected two copies"),
        (["A", "A", "A"], "expected two copies"),
        (["A", "--receipt", "A"], "prove nothing without the service"),
        (["A", "/nonexistent"], "no such file or directory"),
        (["A", "A", "--service-cert", "/nonexistent"], "cannot be read"),
        (["A", "A", "--service-cert", "PIN"], "certificate"),
    ],
)
def test_usage(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("no certificate")
    named = {"A": str(base("6.x").directory), "PIN": str(tmp_path / "pin")}

    outcome = tallystick("diff", *[named.get(word, word) for word in arguments])

    assert outcome.exit_code == 2
    assert message in outcome.stderr


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b'{"schema": "tallystick.evidence/1"}'])
def test_evidence_that_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bundle").write_bytes(content)

    outcome = tallystick("evidence", "verify", tmp_path / "bundle", "--format", "json")

    assert outcome.exit_code == 1
    assert findings(outcome) == {"evidence-malformed"}


def test_evidence_that_was_tampered_with(tmp_path: Path) -> None:
    two_branches(tmp_path)
    bundle = tmp_path / "evidence.json"
    tallystick("diff", tmp_path / "a", tmp_path / "b", "--evidence", bundle)
    made = Bundle.parse(bundle.read_bytes())
    first = made.statements[0]
    bundle.write_bytes(Bundle(made.kind, (first, first)).to_bytes())

    outcome = tallystick("evidence", "verify", bundle, "--format", "json")

    assert outcome.exit_code == 1
    assert findings(outcome) == {"evidence-untrue"}


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    evil = tmp_path / "a\x1b[2J"
    two_branches(tmp_path)
    (tmp_path / "a").rename(evil)

    outcome = tallystick("diff", evil, tmp_path / "b")

    assert outcome.exit_code == 1
    assert "\x1b" not in outcome.stdout
