"""The timeline of identities: on forged services of every style, and on every real ledger that recovered."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.services import SOURCE, base, new_service, outsider, recovered_base, write_some
from tallystick.audit.timeline import IdentityTimeline, trace_identities
from tallystick.demo.ledger import SINGLETON_KEY
from tallystick.findings import Verdict
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.report.identity import render_identity_json, render_identity_text
from tallystick.tables import names


def trace(path: Path, *certificates: bytes) -> IdentityTimeline:
    anchor = TrustAnchor.from_certificates(certificates) if certificates else TrustAnchor.genesis()
    return trace_identities([path], anchor, uncommitted=True)


@pytest.mark.parametrize("style", ["1.x", "2.x", "4.x", "6.x", "7.x"])
def test_two_recoveries(style: str) -> None:
    valid = recovered_base(style)

    timeline = trace(valid.directory)

    assert timeline.audited.verdict.verdict is Verdict.VERIFIED
    assert [life.identity.fingerprint for life in timeline.identities] == [
        identity.fingerprint for identity in valid.service.identities
    ]
    assert [life.trusted_by for life in timeline.identities] == ["genesis", "opening", "opening"]
    assert [status for _, status in timeline.identities[1].statuses] == [
        "Recovering",
        "WaitingForRecoveryShares",
        "Open",
    ]
    for life in timeline.identities[1:]:
        assert life.opening is not None
        assert life.identity.opening is not None
        assert life.identity.opening.proposal_id == life.opening.proposal.proposal_id
        assert len(life.opening.requests) == 1 + len(life.identity.opening.voters)
        assert all(item.certificate is not None for item in life.opening.requests)
    assert [len(node.certificates) for node in timeline.nodes] == [1, 1, 1]
    assert [node.certificates[0].issued_under for node in timeline.nodes] == [0, 1, 2]
    links = [record.links for record in timeline.endorsements]
    assert links == ([None, (1, 0), (2, 1)] if style in ("6.x", "7.x") else [])


def test_without_endorsements_the_way_back_is_explained() -> None:
    timeline = trace(recovered_base("4.x").directory)

    told = [text for text in timeline.explanations if "nothing leads back" in text]
    assert len(told) == 2
    assert "services before 6.0 write no endorsement" in told[0]


def test_a_renewed_certificate_is_the_same_identity(tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger")
    service.genesis()
    service.open()
    service.service.certificate = service.service.renewed_certificate(SOURCE.now, days=30)
    service.append({names.SERVICE_INFO: {SINGLETON_KEY: service.service_info("Open")}})
    service.node.certificate = service.node.issue_certificate(service.service, SOURCE.now, days=30)
    service.append({names.ENDORSED_CERTIFICATES: {service.node.id.encode(): service.node.certificate.encode()}})
    service.sign(close_chunk=True)

    timeline = trace(tmp_path / "ledger")

    assert timeline.audited.verdict.verdict is Verdict.VERIFIED, timeline.audited.verdict.findings
    (life,) = timeline.identities
    assert [record.renews for record in life.certificates] == [False, True]
    (history,) = timeline.nodes
    assert [(record.renews, record.issued_under) for record in history.certificates] == [(False, 0), (True, 0)]
    text = render_identity_text(timeline)
    assert text.count("renewed") == 2


def test_an_outsiders_recovery_is_traced_and_not_trusted(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    forge = outsider(copy, tmp_path / "scratch")
    forge.recover(vouched=False)
    forge.leave_chunk_open()
    first = copy.last_signature.entry.seqno
    for path in (tmp_path / "scratch").iterdir():
        (tmp_path / "ledger" / path.name).write_bytes(path.read_bytes())

    timeline = trace(tmp_path / "ledger", *base("6.x").certificates)

    assert timeline.audited.verdict.verdict is Verdict.FAILED
    assert [life.trusted_by for life in timeline.identities] == ["pinned", None]
    assert timeline.identities[1].identity.begin is not None
    assert timeline.identities[1].identity.begin.seqno == first + 1
    text = render_identity_text(timeline)
    assert text.startswith("FAILED: 2 service identities, 1 trusted")
    assert "no opening proposal was accepted" in text
    assert any("Nothing that could be checked links identity 1 and identity 2" in x for x in timeline.explanations)


def test_a_pointer_to_another_record_is_told(tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger")
    service.genesis()
    service.open()
    state = service.state["public:ccf.internal.previous_service_identity_endorsement"]
    write_some(service, 1)
    service.sign()
    state.version = 1
    service.recover()
    service.leave_chunk_open()

    timeline = trace(tmp_path / "ledger")

    assert timeline.audited.verdict.verdict is Verdict.VERIFIED
    assert timeline.endorsements[1].pointer is not None
    assert any("names seqno 1 as that of the record before it" in text for text in timeline.explanations)


def test_a_suffix_knows_what_it_holds(tmp_path: Path) -> None:
    valid = recovered_base("6.x")
    copy = valid.copy(tmp_path / "ledger")
    copy.chunks[0].unlink()

    timeline = trace(tmp_path / "ledger", *valid.certificates)

    assert [life.trusted_by for life in timeline.identities] == ["pinned"] * 3
    assert timeline.identities[0].identity.begin is None
    assert "before the start" in render_identity_text(timeline)


def test_the_document_is_complete() -> None:
    document = render_identity_json(trace(recovered_base("6.x").directory))

    assert document["schema"] == "tallystick.identity/1"
    assert document["verdict"] == "verified"
    identities = document["identities"]
    assert isinstance(identities, list)
    assert [item["opening"]["links"] for item in identities] == [False, True, True]
    assert identities[1]["opening"]["previous"] == identities[0]["service_key_sha256"]
    assert identities[1]["opening"]["next"] == identities[1]["service_key_sha256"]


# ------------------------------------------------------------------------------------------- real ledgers

# (identities, renewed service certificates, nodes, renewed node certificates, endorsements that link)
REAL = {
    "acme_containing": (1, 0, 3, 0, 0),
    "cose_flipflop": (1, 0, 1, 0, 0),
    "double_sealed": (2, 0, 6, 0, 1),
    "eol": (5, 2, 11, 7, 0),
    "expired": (2, 0, 6, 0, 0),
    "sgx": (4, 0, 9, 0, 0),
}


def counts(timeline: IdentityTimeline) -> tuple[int, ...]:
    return (
        len(timeline.identities),
        sum(record.renews for life in timeline.identities for record in life.certificates),
        len(timeline.nodes),
        sum(record.renews for node in timeline.nodes for record in node.certificates),
        sum(record.links is not None for record in timeline.endorsements),
    )


@pytest.mark.parametrize("name", REAL)
def test_real_services(ledgers: Path, name: str) -> None:
    timeline = trace(ledgers / f"{name}_service" / "ledger")

    assert timeline.audited.verdict.verdict is Verdict.VERIFIED
    assert counts(timeline) == REAL[name]
    assert all(life.trusted_by is not None for life in timeline.identities)
    for node in timeline.nodes:
        assert all(record.issued_under is not None or record.self_signed for record in node.certificates)


def test_real_double_sealing_is_explained(ledgers: Path) -> None:
    timeline = trace(ledgers / "double_sealed_service" / "ledger")

    text = " ".join(timeline.explanations)
    assert "Double sealing in 5.503" in text
    assert "endorsement in 5.503 is of the known bad kind" in text
    bad = timeline.endorsements[-1]
    assert (str(bad.txid), bad.links, bad.previous_version) == ("5.503", None, 498)


def test_real_service_with_renewals_and_two_recoveries(ccf_built: Path) -> None:
    node = ccf_built / "cpp3" / "state-final" / "node8"
    paths = [node / "ledger-committed", node / "ledger-current"]

    timeline = trace_identities(paths, TrustAnchor.genesis(), uncommitted=True)

    assert timeline.audited.verdict.verdict is Verdict.VERIFIED
    assert counts(timeline) == (3, 1, 11, 1, 2)
    assert [record.links for record in timeline.endorsements] == [None, (1, 0), (2, 1)]
    assert [record.pointer for record in timeline.endorsements] == [None, None, None]
    assert [str(life.opening.accepted) for life in timeline.identities if life.opening] == ["2.19", "5.1452", "7.1714"]
