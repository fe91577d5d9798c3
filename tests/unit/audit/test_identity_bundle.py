"""Bundles of past identities: what they prove from each pin, and that no tampering makes them prove more."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support.services import base, new_service, outsider, recovered_base
from tallystick.audit import identity_bundle
from tallystick.audit.identity_bundle import make_bundle, prove_bundle
from tallystick.audit.timeline import trace_identities
from tallystick.demo.cose_messages import sign_endorsement
from tallystick.demo.receipts import cose_receipt, json_receipt
from tallystick.demo.service import DemoService
from tallystick.errors import FormatError, VerificationError
from tallystick.findings import Verdict
from tallystick.identity import bundle as bundle_module
from tallystick.identity.bundle import IdentityBundle
from tallystick.identity.endorsements import Endorsement
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.receipt.model import ReceiptResult
from tallystick.receipt.verify import audit_receipts
from tallystick.snapshot.verify import audit_snapshot
from tallystick.types import TxId


@cache
def bundle_of(style: str = "6.x", *, history: bool = True) -> IdentityBundle:
    valid = recovered_base(style)
    timeline = trace_identities([valid.directory], TrustAnchor.genesis(), uncommitted=True)
    made, reason = make_bundle(timeline, [valid.directory], history=history, uncommitted=True)
    assert (made.history is not None) == history
    assert (reason is None) == history
    return IdentityBundle.parse(made.to_bytes())


def pin(style: str, *lives: int) -> TrustAnchor:
    return TrustAnchor.from_certificates(recovered_base(style).certificates[life] for life in lives)


def transaction_of(service: DemoService, life: int) -> int:
    """A transaction in one life that a signature of that life covers, with no claims."""
    identity = service.identities[life]
    last = [signed for signed in service.signed if signed.service is identity][-1].txid.seqno
    return max(seqno for seqno in service.written if seqno < last and seqno + 1 != last)


def receipt_of(style: str, life: int) -> tuple[bytes, TxId]:
    """A JSON receipt as a node of that life gave it: it knows of no later life."""
    service = recovered_base(style).service
    assert service is not None
    seqno = transaction_of(service, life)
    document = json.loads(json_receipt(service, seqno))
    document.pop("service_endorsements", None)
    return json.dumps(document).encode(), service.written[seqno].txid


def judge(receipt: bytes, anchor: TrustAnchor, bundle: IdentityBundle) -> ReceiptResult:
    [result] = audit_receipts([("receipt", receipt)], anchor, identities=prove_bundle(bundle, anchor))
    return result


def codes(result: ReceiptResult) -> list[str]:
    return [item.code for item in result.findings]


# ------------------------------------------------------------------------------------------- what is proven


@pytest.mark.parametrize("style", ["4.x", "6.x"])
@pytest.mark.parametrize("life", [0, 1, 2])
@pytest.mark.parametrize("pinned", [0, 1, 2])
def test_receipts_of_each_life_under_each_pin(style: str, life: int, pinned: int) -> None:
    receipt, _ = receipt_of(style, life)

    result = judge(receipt, pin(style, pinned), bundle_of(style))

    if pinned < life:
        assert (result.verdict, codes(result)) == (Verdict.VERIFIED, ["service-opened"])
    elif pinned == life:
        assert (result.verdict, codes(result)) == (Verdict.VERIFIED, [])
    elif style == "6.x":
        assert (result.verdict, codes(result)) == (Verdict.VERIFIED, ["service-endorsed"])
    else:
        # Services before 6.0 endorse nothing: only a pin leads back.
        assert (result.verdict, codes(result)) == (Verdict.UNDECIDED, ["identity-unproven"])
        assert "--service-key-sha256" in result.findings[0].message
    if result.verdict is Verdict.VERIFIED:
        assert result.service_key_sha256 == next(iter(pin(style, pinned).fingerprints))


@pytest.mark.parametrize("life", [0, 1, 2])
@pytest.mark.parametrize("pinned", [0, 1, 2])
def test_cose_receipts(life: int, pinned: int) -> None:
    service = recovered_base("7.x").service
    assert service is not None

    result = judge(cose_receipt(service, transaction_of(service, life)), pin("7.x", pinned), bundle_of("7.x"))

    assert result.verdict is Verdict.VERIFIED, result.findings
    expected = "service-opened" if pinned < life else "service-endorsed" if pinned > life else None
    assert codes(result) == ([] if expected is None else [expected])


@pytest.mark.parametrize("kind", [json_receipt, cose_receipt])
def test_without_history_nothing_leads_forwards(kind: Callable[[DemoService, int], bytes]) -> None:
    service = recovered_base("6.x").service
    assert service is not None
    bundle = bundle_of("6.x", history=False)

    result = judge(kind(service, transaction_of(service, 1)), pin("6.x", 0), bundle)

    assert (result.verdict, codes(result)[0]) == (Verdict.UNDECIDED, "identity-unproven")
    message = result.findings[0].message
    assert "ballots for its opening are signed by keys that the bundle calls members" in message
    assert message.endswith(f"add --service-key-sha256 {service.identities[1].fingerprint}")


def test_a_fingerprint_is_enough_of_a_pin() -> None:
    anchor = TrustAnchor.from_options(service_key_sha256=[next(iter(pin("6.x", 2).fingerprints))])

    result = judge(receipt_of("6.x", 0)[0], anchor, bundle_of("6.x"))

    assert (result.verdict, codes(result)) == (Verdict.VERIFIED, ["service-endorsed"])


def test_without_a_pin_nothing_is_decided() -> None:
    result = judge(receipt_of("6.x", 0)[0], TrustAnchor.none(), bundle_of("6.x"))

    assert (result.verdict, codes(result)) == (Verdict.UNDECIDED, ["anchor-missing"])


def test_pins_of_other_services_take_nothing_away() -> None:
    both = TrustAnchor.from_certificates([recovered_base("6.x").certificates[0], *base("4.x").certificates])

    result = judge(receipt_of("6.x", 2)[0], both, bundle_of("6.x"))

    assert (result.verdict, codes(result)) == (Verdict.VERIFIED, ["service-opened"])


def test_another_service_is_not_led_to() -> None:
    anchor = TrustAnchor.from_certificates(base("4.x").certificates)

    result = judge(receipt_of("6.x", 1)[0], anchor, bundle_of("6.x"))

    assert (result.verdict, codes(result)) == (Verdict.UNDECIDED, ["identity-unproven"])
    assert "no opening leads on to it from one" in result.findings[0].message


def test_what_an_opening_does_not_show_is_said() -> None:
    result = judge(receipt_of("6.x", 1)[0], pin("6.x", 0), bundle_of("6.x"))

    assert any("the older life went on" in item for item in result.not_checked)


# --------------------------------------------------------------------------------------------- epochs


def test_an_opened_key_counts_for_its_own_life_only() -> None:
    """The second key signs a transaction of the first life: its holder could issue such receipts at will."""
    service = recovered_base("6.x").service
    assert service is not None
    first_life = transaction_of(service, 0)
    later = next(signed for signed in service.signed if signed.service is service.identities[1])
    document = json.loads(json_receipt(service, first_life))
    path = service.history.path(first_life, later.txid.seqno)
    document.update(
        cert=later.node.certificate,
        node_id=later.node.id,
        signature=base64.b64encode(later.node.key.sign_root(later.root)).decode(),
        proof=[{"left" if left else "right": sibling.hex()} for left, sibling in path],
    )
    document.pop("service_endorsements", None)

    result = judge(json.dumps(document).encode(), pin("6.x", 0), bundle_of("6.x"))

    assert (result.verdict, codes(result)[0]) == (Verdict.FAILED, "epoch-mismatch")


# ------------------------------------------------------------------------------------------ tamperings


def entries_of(bundle: IdentityBundle) -> list[bytes]:
    data, entries = bundle.history or b"", []
    while data:
        size = 8 + int.from_bytes(data[2:8], "little")
        entries.append(data[:size])
        data = data[size:]
    return entries


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def without(entries: list[bytes], index: int) -> bytes:
    return b"".join(entries[:index] + entries[index + 1 :])


def swapped(entries: list[bytes], index: int) -> bytes:
    return b"".join([*entries[:index], entries[index + 1], entries[index], *entries[index + 2 :]])


HISTORIES: dict[str, Callable[[list[bytes]], bytes]] = {
    "a byte flipped": lambda entries: b"".join(entries[:5]) + flipped(entries[5], 60) + b"".join(entries[6:]),
    "a byte of an early tag flipped": lambda entries: flipped(entries[0], 9) + b"".join(entries[1:]),
    "the genesis left out": lambda entries: b"".join(entries[1:]),
    "an entry left out": lambda entries: without(entries, 7),
    "two entries swapped": lambda entries: swapped(entries, 3),
    "an entry twice": lambda entries: b"".join([*entries[:9], entries[8], *entries[9:]]),
    "cut before the openings": lambda entries: b"".join(entries[:6]),
    "cut in the middle of an entry": lambda entries: b"".join(entries)[:-20],
    "empty": lambda _: b"",
    "something else": lambda _: b"\x01" * 4000,
}


@pytest.mark.parametrize("spoil", HISTORIES.values(), ids=HISTORIES)
def test_a_history_that_was_tampered_with_leads_nowhere(spoil: Callable[[list[bytes]], bytes]) -> None:
    bundle = bundle_of("6.x")
    spoilt = replace(bundle, history=spoil(entries_of(bundle)))

    proven = prove_bundle(IdentityBundle.parse(spoilt.to_bytes()), pin("6.x", 0))
    result = judge(receipt_of("6.x", 2)[0], pin("6.x", 0), spoilt)

    newest = recovered_base("6.x").service.identities[2].fingerprint  # type: ignore[union-attr]  # forged
    assert newest not in {hashlib.sha256(key.spki).hexdigest() for key in proven.opened}
    assert (result.verdict, codes(result)) == (Verdict.UNDECIDED, ["identity-unproven"])


def test_a_history_by_an_outsider_leads_nowhere(tmp_path: Path) -> None:
    """He has the ledger, and opens a service of his own with members of his own."""
    copy = base("6.x").copy(tmp_path / "ledger")
    forge = outsider(copy, tmp_path / "scratch")
    forge.recover()
    forge.leave_chunk_open()
    seqno = transaction_of(forge, 1)
    entries = [place.entry.raw for place in copy.places()]
    last = max(forge.written)
    entries = entries[: min(forge.written) - 1] + [forge.written[n].entry for n in range(min(forge.written), last + 1)]
    bundle = IdentityBundle((bundle_of("6.x").identities[0],), (), (), b"".join(entries), note="believe me")
    anchor = TrustAnchor.from_certificates(base("6.x").certificates)

    proven = prove_bundle(bundle, anchor)
    receipt = json.loads(json_receipt(forge, seqno))
    receipt.pop("service_endorsements", None)
    result = judge(json.dumps(receipt).encode(), anchor, bundle)

    assert proven.opened == ()
    assert result.verdict is Verdict.FAILED
    assert codes(result) == ["node-certificate-issuer"]


def test_old_members_who_were_removed_cannot_open(tmp_path: Path) -> None:
    """The reason for the history: rows that were written prove nothing about rows that were written later."""
    service = new_service(tmp_path / "ledger", "6.x")
    service.genesis()
    service.open()
    gone = service.members[1:]
    service.decide(
        "remove_member",
        {"member_id": gone[0].id},
        lambda: {
            "public:ccf.gov.members.certs": {member.id.encode(): None for member in gone},
            "public:ccf.gov.members.info": {member.id.encode(): None for member in gone},
        },
    )
    service.sign()
    stayed, service.members = service.members[0], gone
    assert stayed not in service.members
    service.members_needed = 2
    service.recover()
    service.leave_chunk_open()
    anchor = TrustAnchor.from_certificates([service.identities[0].certificate.encode()])
    timeline = trace_identities([tmp_path / "ledger"], anchor, uncommitted=True)
    history = b"".join(service.written[n].entry for n in range(1, service.seqno + 1))
    assert timeline.identities[1].trusted_by is None

    proven = prove_bundle(IdentityBundle((), (), (), history), anchor)

    assert proven.opened == ()


def test_endorsements_that_were_tampered_with_lead_nowhere() -> None:
    service = recovered_base("6.x").service
    assert service is not None
    first, second, third = service.identities
    bundle = bundle_of("6.x", history=False)
    stranger = new_service(Path("unused"), "6.x").service
    forged = sign_endorsement(
        stranger.key, first.key.spki, issued_at=1, epoch_begin="2.1", epoch_end="2.20", last_root=bytes(32)
    )
    reversed_epoch = sign_endorsement(
        third.key, first.key.spki, issued_at=1, epoch_begin="4.90", epoch_end="2.20", last_root=bytes(32)
    )
    for links in (
        (),
        (bundle.endorsements[1],),
        (Endorsement.parse(forged), bundle.endorsements[1]),
        (Endorsement.parse(reversed_epoch), bundle.endorsements[1]),
    ):
        result = judge(receipt_of("6.x", 0)[0], pin("6.x", 2), replace(bundle, endorsements=links))

        assert (result.verdict, codes(result)) == (Verdict.UNDECIDED, ["identity-unproven"])
    assert second.fingerprint in {item.endorsed for item in bundle.endorsements}


# ------------------------------------------------------------------------------- openings without history


def document_of(bundle: IdentityBundle) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(bundle.to_bytes())
    return document


def _other_ballot(opening: dict[str, Any]) -> None:
    member = next(iter(opening["ballots"]))
    opening["ballots"][member] = "export function vote () { return false }"


def _other_voter(opening: dict[str, Any]) -> None:
    opening["requests"][1]["record"] = opening["requests"][0]["record"]


def _no_proposer(opening: dict[str, Any]) -> None:
    del opening["requests"][0]


def _other_certificate(opening: dict[str, Any]) -> None:
    opening["requests"][1]["certificate"] = base("4.x").certificates[0].decode()


def _other_root(opening: dict[str, Any]) -> None:
    opening["root"] = "00" * 32


def _other_proposal(opening: dict[str, Any]) -> None:
    opening["proposal"] = base64.b64encode(base64.b64decode(opening["proposal"]) + b" ").decode()


def _other_next(opening: dict[str, Any]) -> None:
    opening["previous"], opening["next"] = opening["next"], opening["previous"]


@pytest.mark.parametrize(
    "spoil",
    [_other_ballot, _other_voter, _no_proposer, _other_certificate, _other_root, _other_proposal, _other_next],
)
def test_openings_that_were_tampered_with(spoil: Callable[[dict[str, Any]], None]) -> None:
    document = document_of(bundle_of("6.x", history=False))
    spoil(document["openings"][0])

    bundle = IdentityBundle.parse(json.dumps(document).encode())

    with pytest.raises((VerificationError, FormatError)):
        bundle.openings[0].verify_signatures()
    assert bundle.openings[1].verify_signatures().plain_yes == 2


# ----------------------------------------------------------------------------------------- malformed files


def _deep(document: dict[str, Any]) -> bytes:
    return b'{"schema": "tallystick.identities/1", "identities": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


MALFORMED: dict[str, Callable[[dict[str, Any]], bytes | None]] = {
    "another schema": lambda d: d.update(schema="tallystick.identities/2"),
    "no identities": lambda d: d.pop("identities") and None,
    "identities that are no list": lambda d: d.update(identities={}),
    "a certificate that is none": lambda d: d["identities"][0].update(certificate="PEM"),
    "another fingerprint": lambda d: d["identities"][0].update(service_key_sha256="00" * 32),
    "a transaction ID that is none": lambda d: d["identities"][0].update(first_txid="2"),
    "an endorsement that is none": lambda d: d.update(endorsements=["AAAA"]),
    "base64 that is none": lambda d: d.update(history="?"),
    "a history that is no text": lambda d: d.update(history=5),
    "a root that is too short": lambda d: d["openings"][0].update(root="00"),
    "a root that is no hex": lambda d: d["openings"][0].update(root="zz"),
    "ballots that are no object": lambda d: d["openings"][0].update(ballots=[]),
    "an unknown scheme": lambda d: d["openings"][0]["requests"][0].update(scheme="ftp"),
    "openings of text": lambda d: d.update(openings=["x"]),
    "too many endorsements": lambda d: d.update(endorsements=d["endorsements"] * 600),
    "a list": lambda d: b"[]",
    "no JSON": lambda d: b"\xff\xfe",
    "deep nesting": _deep,
    "a number without end": lambda d: b'{"schema": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("spoil", MALFORMED.values(), ids=MALFORMED)
def test_malformed_bundles(spoil: Callable[[dict[str, Any]], bytes | None]) -> None:
    document = document_of(bundle_of("6.x", history=False))
    data = spoil(document)

    with pytest.raises(FormatError) as caught:
        IdentityBundle.parse(data if data is not None else json.dumps(document).encode())

    assert caught.value.code == "identities-malformed"
    assert str(caught.value).startswith("bundle of identities is malformed: ")


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bundle_of("6.x").to_bytes()
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE_BYTES", len(data) - 1)

    with pytest.raises(FormatError, match="expected at most"):
        IdentityBundle.parse(data)


def test_a_history_that_is_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    valid = recovered_base("6.x")
    timeline = trace_identities([valid.directory], TrustAnchor.genesis(), uncommitted=True)
    monkeypatch.setattr(identity_bundle, "MAX_HISTORY_BYTES", 10_000)

    made, reason = make_bundle(timeline, [valid.directory], uncommitted=True)

    assert made.history is None
    assert reason is not None
    assert "larger than" in reason


def test_a_service_that_never_recovered_needs_no_history() -> None:
    valid = base("6.x")
    timeline = trace_identities([valid.directory], TrustAnchor.genesis(), uncommitted=True)

    made, reason = make_bundle(timeline, [valid.directory], uncommitted=True)

    assert (len(made.identities), made.endorsements, made.openings, made.history) == (1, (), (), None)
    assert reason == "no opening leads forwards from one identity to the next"


def test_the_history_is_the_ledger_up_to_the_last_opening() -> None:
    bundle = bundle_of("6.x")
    service = recovered_base("6.x").service
    assert service is not None

    entries = entries_of(bundle)

    assert entries == [service.written[seqno].entry for seqno in range(1, len(entries) + 1)]
    timeline = trace_identities([recovered_base("6.x").directory], TrustAnchor.genesis(), uncommitted=True)
    opening = timeline.identities[2].opening
    assert opening is not None
    assert opening.accepted.seqno == len(entries)


def test_receipts_of_the_real_service(ccf_built: Path) -> None:
    """Both ways over two real recoveries, with the receipts that nodes of each life served."""
    cpp3 = ccf_built / "cpp3"
    node = cpp3 / "state-final" / "node8"
    paths = [node / "ledger-committed", node / "ledger-current"]
    timeline = trace_identities(paths, TrustAnchor.genesis(), uncommitted=True)
    bundle, reason = make_bundle(timeline, paths, uncommitted=True)
    assert reason is None
    files = sorted((cpp3 / "receipts").glob("*/*.cose_receipt.cose"))
    assert len(files) == 85
    contents = [(str(path), path.read_bytes()) for path in files]
    for number in (1, 2, 3):
        anchor = TrustAnchor.from_certificates([(cpp3 / f"service-cert-{number}.pem").read_bytes()])

        results = audit_receipts(contents, anchor, identities=prove_bundle(bundle, anchor))

        assert {result.verdict for result in results} == {Verdict.VERIFIED}
        assert {result.service_key_sha256 for result in results} == set(anchor.fingerprints)


@pytest.mark.parametrize(
    ("name", "seqno", "life"), [("eol", 493, 4), ("expired", 61, 1), ("sgx", 99, 2), ("sgx", 138, 3)]
)
def test_snapshots_of_real_services_that_were_recovered(ledgers: Path, name: str, seqno: int, life: int) -> None:
    """Members lead on from the first life over up to four recoveries; nothing leads back before 6.0."""
    folder = ledgers / f"{name}_service"
    timeline = trace_identities([folder / "ledger"], TrustAnchor.genesis(), uncommitted=True)
    bundle, _ = make_bundle(timeline, [folder / "ledger"], uncommitted=True)
    [path] = (folder / "snapshots").glob(f"snapshot_{seqno}_*")
    pins = [item.fingerprint for item in bundle.identities]
    codes_by_pin = []
    for fingerprint in pins:
        anchor = TrustAnchor.from_options(service_key_sha256=[fingerprint])
        found = audit_snapshot(path.read_bytes(), anchor, file=path.name, identities=prove_bundle(bundle, anchor))
        codes_by_pin.append((found.verdict, [item.code for item in found.findings]))

    for pinned, outcome in enumerate(codes_by_pin):
        if pinned < life:
            assert outcome == (Verdict.VERIFIED, ["service-opened"])
        elif pinned == life:
            assert outcome == (Verdict.VERIFIED, [])
        else:
            assert outcome == (Verdict.UNDECIDED, ["identity-unproven"])
