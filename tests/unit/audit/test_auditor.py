"""The auditor on forged services: ranges, expectations, checkpoints, suffixes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.mutation import LedgerCopy
from support.services import Base, base, new_service, outsider, recovered_base, write_some
from tallystick import TrustAnchor, audit_ledger, verify_ledger
from tallystick.audit.checkpoint import Checkpoint
from tallystick.audit.state import TrustedState
from tallystick.audit.verdict import LedgerVerdict, LedgerVerificationError
from tallystick.demo.receipts import json_receipt
from tallystick.errors import FormatError, UsageError, VerificationError


def pin(*certificates: bytes) -> TrustAnchor:
    return TrustAnchor.from_certificates(certificates)


def audit(valid: Base, *paths: Path, **options: object) -> LedgerVerdict:
    return audit_ledger(paths or [valid.directory], pin(valid.certificates[0]), uncommitted=True, **options)  # type: ignore[arg-type]  # options are passed through


def codes(verdict: LedgerVerdict) -> set[str]:
    return {item.code for item in verdict.findings}


def failing(verdict: LedgerVerdict) -> set[str]:
    return {item.code for item in verdict.findings if item.severity.value == "error"}


@pytest.mark.parametrize("style", ["1.x", "2.x", "4.x", "6.x", "7.x"])
def test_every_style_verifies(style: str) -> None:
    valid = base(style)

    verdict = audit(valid)

    assert verdict.verdict.value == "verified", verdict.findings
    assert verdict.proven is not None
    assert verdict.proven.last_seqno == valid.service.seqno
    assert codes(verdict) == set()


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_every_curve_verifies(curve: str) -> None:
    assert audit(base("6.x", curve)).verdict.value == "verified"


def test_committed_chunks_are_read_by_default() -> None:
    valid = base("6.x")

    verdict = audit_ledger([valid.directory], pin(valid.certificates[0]))

    assert verdict.verdict.value == "verified"
    assert any("--uncommitted" in line for line in verdict.not_checked)
    assert verdict.proven is not None
    assert verdict.proven.last_seqno < valid.service.seqno


@pytest.mark.parametrize("level", ["parse", "offsets", "headers", "merkle"])
def test_lower_levels_never_verify(level: str) -> None:
    verdict = audit(base("6.x"), level=level)

    assert verdict.verdict.value == "undecided"
    assert verdict.proven is None
    assert "level-below-full" in codes(verdict)
    assert verdict.transactions == base("6.x").service.seqno


def test_lower_levels_still_fail(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    place = copy.last_signature
    copy.flip(place.path, place.entry.offset)

    assert audit(base("6.x"), copy.directory, level="parse").verdict.value == "failed"


def test_unknown_level() -> None:
    with pytest.raises(UsageError, match="level 'most' is unknown"):
        audit(base("6.x"), level="most")


def test_raising_face(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    place = copy.place(copy.last_signature.entry.seqno - 1)
    copy.flip(place.path, place.entry.offset + 8)

    with pytest.raises(LedgerVerificationError) as caught:
        verify_ledger([copy.directory], pin(base("6.x").certificates[0]), uncommitted=True)

    error = caught.value
    assert error.verdict.verdict.value == "failed"
    assert error.location.txid is not None
    # What stands before the altered transaction stays proven, up to the signature before it.
    assert error.verdict.proven is not None
    assert error.verdict.proven.last_seqno < place.entry.seqno


def test_unsigned_tail_is_not_proven(tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger")
    service.genesis()
    service.open()
    signed = service.seqno
    write_some(service, 3)
    service.leave_chunk_open()

    verdict = audit_ledger([tmp_path / "ledger"], pin(service.service.certificate.encode()), uncommitted=True)

    assert verdict.verdict.value == "verified"
    assert verdict.proven is not None
    assert verdict.proven.last_seqno == signed
    assert verdict.unsigned_tail is not None
    assert (verdict.unsigned_tail.first_seqno, verdict.unsigned_tail.count) == (signed + 1, 3)


# ------------------------------------------------------------------------------------------- suffixes


def suffix(copy: LedgerCopy, number: int = 2) -> LedgerCopy:
    for path in copy.chunks[:-number]:
        path.unlink()
    return copy


@pytest.mark.parametrize("style", ["2.x", "4.x", "6.x", "7.x"])
def test_suffix_with_the_certificate(style: str, tmp_path: Path) -> None:
    valid = base(style)
    copy = suffix(valid.copy(tmp_path / "ledger"))

    verdict = audit(valid, copy.directory)

    assert verdict.verdict.value == "verified", verdict.findings
    assert verdict.proven is not None
    assert verdict.proven.first_seqno > 1
    assert verdict.proven.last_seqno == valid.service.seqno
    assert any("before the start" in line for line in verdict.not_checked)


def test_suffix_of_another_service_fails(tmp_path: Path) -> None:
    copy = suffix(base("6.x").copy(tmp_path / "ledger"))

    verdict = audit_ledger([copy.directory], pin(base("4.x").certificates[0]), uncommitted=True)

    assert verdict.verdict.value != "verified"
    assert verdict.proven is None


@pytest.mark.parametrize("style", ["4.x", "6.x", "7.x"])
def test_suffix_without_an_anchor_is_undecided(style: str, tmp_path: Path) -> None:
    copy = suffix(base(style).copy(tmp_path / "ledger"))

    verdict = audit_ledger([copy.directory], uncommitted=True)

    assert verdict.verdict.value == "undecided"
    assert verdict.proven is None


def test_suffix_that_begins_in_the_life_before_a_recovery(tmp_path: Path) -> None:
    valid = recovered_base("6.x")
    copy = valid.copy(tmp_path / "ledger")
    copy.genesis_chunk.unlink()

    verdict = audit_ledger([copy.directory], pin(valid.certificates[-1]), uncommitted=True)

    # The last identity endorses the one before, and so on: the keys stand in the ledger's later part.
    assert verdict.verdict.value == "verified", verdict.findings
    assert [item.trusted_by for item in verdict.identities] == ["endorsement", "endorsement", "pinned"]


def test_suffix_does_not_trust_members_it_never_saw(tmp_path: Path) -> None:
    valid = recovered_base("4.x")
    copy = valid.copy(tmp_path / "ledger")
    copy.genesis_chunk.unlink()

    verdict = audit_ledger([copy.directory], pin(valid.certificates[0]), uncommitted=True)

    assert "service-identity-unvouched" in failing(verdict)


# --------------------------------------------------------------------------------------- expectations


def test_expected_head() -> None:
    valid = base("6.x")
    last = valid.service.last_signed

    assert audit(valid, expect_head=str(last)).verdict.value == "verified"
    assert failing(audit(valid, expect_head=f"{last.view}.{last.seqno + 1}")) == {"shorter-than-head"}
    assert failing(audit(valid, expect_head=f"{last.view + 1}.{last.seqno}")) == {"head-mismatch"}


def test_expected_head_in_the_unsigned_tail(tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger")
    service.genesis()
    write_some(service, 1)
    service.leave_chunk_open()

    verdict = audit_ledger(
        [tmp_path / "ledger"], pin(service.service.certificate.encode()), uncommitted=True, expect_head="2.3"
    )

    assert failing(verdict) == {"shorter-than-head"}


def write_receipt(path: Path, receipt: object) -> Path:
    path.write_bytes(receipt if isinstance(receipt, bytes) else json.dumps(receipt).encode())
    return path


def test_receipt_of_the_ledger(tmp_path: Path) -> None:
    valid = base("6.x")
    path = write_receipt(tmp_path / "receipt.json", json_receipt(valid.service, 5))

    assert audit(valid, receipts=[path]).verdict.value == "verified"


def test_receipt_beyond_the_end(tmp_path: Path) -> None:
    valid = base("6.x")
    copy = valid.copy(tmp_path / "ledger")
    path = write_receipt(tmp_path / "receipt.json", json_receipt(valid.service, copy.last_signature.entry.seqno - 1))
    copy.open_chunk.unlink()
    copy.last_committed.unlink()

    assert "receipt-beyond-ledger" in failing(audit(valid, copy.directory, receipts=[path]))


def test_receipt_of_another_ledger(tmp_path: Path) -> None:
    path = write_receipt(tmp_path / "receipt.json", json_receipt(recovered_base("6.x").service, 5))

    assert "receipt-mismatch" in failing(audit(base("6.x"), receipts=[path]))


def test_receipt_that_is_none(tmp_path: Path) -> None:
    path = write_receipt(tmp_path / "receipt.json", b"{}")

    with pytest.raises(FormatError):
        audit(base("6.x"), receipts=[path])


# ---------------------------------------------------------------------------------------- checkpoints


def grow(tmp_path: Path, style: str = "6.x") -> tuple[Path, TrustAnchor, object]:
    service = new_service(tmp_path / "ledger", style)
    service.genesis()
    service.open()
    write_some(service)
    service.sign(close_chunk=True)
    return tmp_path / "ledger", pin(service.service.certificate.encode()), service


@pytest.mark.parametrize("style", ["1.x", "4.x", "6.x", "7.x"])
def test_checkpoint_goes_on(style: str, tmp_path: Path) -> None:
    directory, anchor, service = grow(tmp_path, style)
    file = tmp_path / "checkpoint.json"
    first = audit_ledger([directory], anchor, checkpoint=file)
    assert first.verdict.value == "verified"
    write_some(service)
    service.sign(close_chunk=True)
    service.recover()

    second = audit_ledger([directory], anchor, checkpoint=file)
    whole = audit_ledger([directory], anchor)

    assert second.verdict.value == "verified", second.findings
    assert second.proven == whole.proven
    assert (second.transactions, second.signatures) == (whole.transactions, whole.signatures)
    assert second.identities == whole.identities
    assert any("not read again" in line for line in second.not_checked)


def test_checkpoint_with_nothing_new(tmp_path: Path) -> None:
    directory, anchor, _ = grow(tmp_path)
    file = tmp_path / "checkpoint.json"
    first = audit_ledger([directory], anchor, checkpoint=file)
    text = file.read_text()

    second = audit_ledger([directory], anchor, checkpoint=file)

    assert second.verdict.value == "verified", second.findings
    assert second.proven == first.proven
    assert file.read_text() == text


def test_checkpoint_stands_at_the_last_signature_not_in_the_tail(tmp_path: Path) -> None:
    directory, anchor, service = grow(tmp_path)
    node = service.new_node()
    service.append(service.node_rows(node, "Pending"))
    service.leave_chunk_open()
    file = tmp_path / "checkpoint.json"

    audit_ledger([directory], anchor, uncommitted=True, checkpoint=file)

    checkpoint = Checkpoint.read(file, anchor)
    assert checkpoint is not None
    assert checkpoint.head == service.last_signed
    assert node.id not in checkpoint.state.nodes


def test_checkpoint_meets_a_shorter_ledger(tmp_path: Path) -> None:
    directory, anchor, service = grow(tmp_path)
    write_some(service)
    service.sign(close_chunk=True)
    file = tmp_path / "checkpoint.json"
    audit_ledger([directory], anchor, checkpoint=file)
    copy = LedgerCopy(directory, tmp_path / "copy")
    copy.chunks[-1].unlink()

    verdict = audit_ledger([copy.directory], anchor, checkpoint=file)

    assert failing(verdict) == {"checkpoint-rollback"}


def test_checkpoint_whose_chunk_is_not_given(tmp_path: Path) -> None:
    directory, anchor, service = grow(tmp_path)
    file = tmp_path / "checkpoint.json"
    audit_ledger([directory], anchor, checkpoint=file)
    write_some(service)
    service.sign(close_chunk=True)
    newest = LedgerCopy(directory, tmp_path / "copy").chunks[-1]

    verdict = audit_ledger([newest], anchor, checkpoint=file)

    assert verdict.verdict.value == "undecided"
    assert "checkpoint-start" in codes(verdict)


def test_checkpoint_meets_a_rewritten_ledger(tmp_path: Path) -> None:
    directory, anchor, _ = grow(tmp_path)
    file = tmp_path / "checkpoint.json"
    audit_ledger([directory], anchor, checkpoint=file)
    copy = LedgerCopy(directory, tmp_path / "copy")
    place = copy.last_signature
    copy.flip(place.path, place.entry.offset + 8)
    before = file.read_text()

    verdict = audit_ledger([copy.directory], anchor, checkpoint=file)

    assert failing(verdict) == {"checkpoint-fork"}
    assert file.read_text() == before


def test_checkpoint_of_another_anchor_is_refused(tmp_path: Path) -> None:
    directory, anchor, _ = grow(tmp_path)
    file = tmp_path / "checkpoint.json"
    audit_ledger([directory], anchor, checkpoint=file)

    with pytest.raises(VerificationError, match="another trust anchor"):
        audit_ledger([directory], TrustAnchor.genesis(), checkpoint=file)


def test_no_checkpoint_without_a_verdict(tmp_path: Path) -> None:
    directory, _, _ = grow(tmp_path)
    file = tmp_path / "checkpoint.json"

    audit_ledger([directory], checkpoint=file)

    assert not file.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "tallystick.checkpoint/1"}', "[" * 100_000])
def test_malformed_checkpoint(content: str, tmp_path: Path) -> None:
    directory, anchor, _ = grow(tmp_path)
    file = tmp_path / "checkpoint.json"
    file.write_text(content)

    with pytest.raises(FormatError, match="checkpoint is malformed"):
        audit_ledger([directory], anchor, checkpoint=file)


def test_a_checkpoint_needs_level_full(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="level full"):
        audit(base("6.x"), level="merkle", checkpoint=tmp_path / "checkpoint.json")


def test_state_survives_json(tmp_path: Path) -> None:
    directory, anchor, service = grow(tmp_path)
    service.recover(vouched=False)
    # An opening proposal that is not decided yet is part of the state.
    arguments = {
        "previous_service_identity": service.identities[0].certificate,
        "next_service_identity": service.service.certificate,
    }
    proposal = service.propose(service.members[0], [{"name": "transition_service_to_open", "args": arguments}])
    service.vote(service.members[1], proposal)
    service.sign(close_chunk=True)
    file = tmp_path / "checkpoint.json"
    both = pin(*(identity.certificate.encode() for identity in service.identities))
    audit_ledger([directory], both, checkpoint=file)
    checkpoint = Checkpoint.read(file, both)
    assert checkpoint is not None
    assert set(checkpoint.state.openings) == {proposal}

    again = TrustedState.from_json(json.loads(json.dumps(checkpoint.state.to_json())))

    assert again == checkpoint.state
    assert anchor


def test_an_outsider_cannot_hide_behind_a_checkpoint(tmp_path: Path) -> None:
    directory, anchor, _ = grow(tmp_path)
    file = tmp_path / "checkpoint.json"
    audit_ledger([directory], anchor, checkpoint=file)
    forge = outsider(LedgerCopy(directory, tmp_path / "copy"), tmp_path / "scratch")
    forge.writer.directory = directory
    forge.recover(vouched=True)

    verdict = audit_ledger([directory], anchor, uncommitted=True, checkpoint=file)

    assert failing(verdict) == {"service-identity-unvouched"}
