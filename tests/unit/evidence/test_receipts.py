"""A copy of a ledger beside receipts and checkpoints."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.branches import branch, trunk, two_branches
from support.services import base, recovered_base, write_some
from tallystick._native import JsonReceipt
from tallystick.audit.auditor import audit_ledger
from tallystick.demo.receipts import cose_receipt, json_receipt, signature_receipt
from tallystick.demo.service import DemoService
from tallystick.errors import FormatError, UsageError
from tallystick.evidence.bundle import Bundle, VerifiedEvidence
from tallystick.evidence.compare import Comparison, Copy, compare_with_checkpoint, compare_with_receipt
from tallystick.findings import Verdict
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.ledger.ledger import Ledger
from tallystick.receipt.verify import audit_receipts, verify_receipt

Issue = Callable[[DemoService, int], bytes]
ISSUERS = pytest.mark.parametrize("issue", [json_receipt, cose_receipt], ids=["json", "cose"])


def scanned(path: Path, *certificates: str) -> Copy:
    copy = Copy(path.name, Ledger([path], uncommitted=True), certificates)
    copy.scan()
    return copy


def compare(path: Path, document: bytes, *certificates: str) -> Comparison:
    anchor = TrustAnchor.from_certificates([pem.encode() for pem in certificates])
    receipt = verify_receipt(document, anchor)
    return compare_with_receipt(scanned(path, *certificates), document, receipt, "receipt")


def codes(comparison: Comparison) -> list[str]:
    return [item.code for item in comparison.findings]


def evidence_of(comparison: Comparison) -> VerifiedEvidence:
    assert comparison.bundle is not None
    return Bundle.parse(comparison.bundle.to_bytes()).verify()


# ------------------------------------------------------------------------------------------------ receipts


@ISSUERS
def test_the_copy_holds_what_was_proven(issue: Issue) -> None:
    service = base("6.x").service
    assert service is not None

    comparison = compare(base("6.x").directory, issue(service, 9), service.service.certificate)

    assert (comparison.relation, comparison.verdict) == ("agrees", Verdict.VERIFIED)


@ISSUERS
@pytest.mark.parametrize("elect", [False, True])
def test_a_receipt_of_the_other_branch(issue: Issue, elect: bool, tmp_path: Path) -> None:
    """The receipt proves commitment, so a later view must hold it: nothing excuses that it does not."""
    branches = two_branches(tmp_path, elect=elect)
    seqno = branches.trunk + 1

    comparison = compare(tmp_path / "b", issue(branches.first, seqno), branches.first.service.certificate)

    assert (comparison.relation, comparison.verdict) == ("forked", Verdict.FAILED)
    assert codes(comparison) == ["history-forked"]
    shown = evidence_of(comparison)
    assert (shown.kind, shown.conclusive) == ("receipt-fork", True)


@ISSUERS
def test_a_receipt_of_a_later_view_beside_a_branch_that_was_lost(issue: Issue, tmp_path: Path) -> None:
    branches = two_branches(tmp_path, elect=True)
    for path in (tmp_path / "a").glob(f"ledger_{branches.trunk + 1}-*"):
        path.rename(path.with_name(path.name.removesuffix(".committed")))
    seqno = branches.trunk + 2

    comparison = compare(tmp_path / "a", issue(branches.second, seqno), branches.first.service.certificate)

    assert (comparison.relation, comparison.verdict) == ("signed-differs", Verdict.UNDECIDED)
    assert codes(comparison) == ["history-signed-differs"]
    assert not evidence_of(comparison).conclusive


@ISSUERS
def test_a_history_that_went_on_without_it(issue: Issue, tmp_path: Path) -> None:
    """Truncation below a receipt: the service recovered from a ledger that lacked a committed transaction."""
    service = trunk(tmp_path / "a")
    recovered = branch(service, tmp_path / "b")
    old = service.service.certificate
    for _ in range(60):
        service.append({"public:records": {b"k": b"v"}})
    last = service.seqno
    service.sign(close_chunk=True)
    recovered.recover()
    recovered.leave_chunk_open()
    assert recovered.seqno < last

    comparison = compare(tmp_path / "b", issue(service, last), old)

    assert (comparison.relation, comparison.verdict) == ("truncated", Verdict.FAILED)
    assert codes(comparison) == ["history-truncated"]
    shown = evidence_of(comparison)
    assert (shown.kind, shown.conclusive) == ("truncation", True)
    assert set(shown.services) == {service.service.fingerprint, recovered.service.fingerprint}
    # Whoever pins the recovered service has all that is needed; who pins the old one does not.
    assert shown.unpinned(TrustAnchor.from_certificates([recovered.service.certificate.encode()])) == []
    assert shown.unpinned(TrustAnchor.from_certificates([old.encode()])) == [recovered.service.fingerprint]


@ISSUERS
def test_a_recovery_over_a_committed_transaction(issue: Issue, tmp_path: Path) -> None:
    service = trunk(tmp_path / "a")
    recovered = branch(service, tmp_path / "b")
    service.append({"public:records": {b"k": b"v"}})
    seqno = service.seqno
    service.sign(close_chunk=True)
    recovered.recover()
    recovered.leave_chunk_open()

    comparison = compare(tmp_path / "b", issue(service, seqno), service.service.certificate)

    assert comparison.relation == "forked"
    assert evidence_of(comparison).conclusive


def test_a_copy_that_ends_before_it(tmp_path: Path) -> None:
    service = base("6.x").service
    assert service is not None
    shorter = base("6.x").copy(tmp_path / "b")
    shorter.chunks[-1].unlink()

    comparison = compare(shorter.directory, json_receipt(service, service.seqno - 1), service.service.certificate)

    assert (comparison.relation, comparison.verdict) == ("behind", Verdict.FAILED)
    assert codes(comparison) == ["history-behind"]
    assert comparison.bundle is None


def test_a_copy_that_starts_after_it(tmp_path: Path) -> None:
    service = base("6.x").service
    assert service is not None
    later = base("6.x").copy(tmp_path / "b")
    later.chunks[0].unlink()

    comparison = compare(later.directory, json_receipt(service, 1), service.service.certificate)

    assert (comparison.relation, comparison.verdict) == ("disjoint", Verdict.UNDECIDED)


@ISSUERS
def test_what_is_not_signed_here_decides_nothing(issue: Issue, tmp_path: Path) -> None:
    service = trunk(tmp_path / "a")
    other = branch(service, tmp_path / "b")
    service.append({"public:records": {b"k": b"v"}})
    service.sign(close_chunk=True)
    other.append({"public:records": {b"k": b"other"}})
    other.leave_chunk_open()

    comparison = compare(tmp_path / "b", issue(service, service.seqno - 1), service.service.certificate)

    assert (comparison.relation, comparison.verdict) == ("unsigned-differs", Verdict.UNDECIDED)
    assert codes(comparison) == ["history-unsigned"]


@ISSUERS
def test_a_copy_that_was_altered(issue: Issue, tmp_path: Path) -> None:
    service = base("6.x").service
    assert service is not None
    changed = base("6.x").copy(tmp_path / "b")
    place = next(p for p in changed.places() if "public:records" in p.entry.tables)
    changed.flip_in(place, b"public value")

    comparison = compare(changed.directory, issue(service, place.entry.seqno), service.service.certificate)

    assert (comparison.relation, comparison.verdict) == ("altered", Verdict.FAILED)


@ISSUERS
def test_a_copy_of_another_service(issue: Issue, tmp_path: Path) -> None:
    service = base("6.x").service
    assert service is not None
    trunk(tmp_path / "b", transactions=20).leave_chunk_open()

    comparison = compare(tmp_path / "b", issue(service, 9), service.service.certificate)

    assert (comparison.relation, comparison.verdict) == ("other-service", Verdict.FAILED)
    assert codes(comparison) == ["history-other-service"]
    assert comparison.bundle is None


@ISSUERS
def test_the_same_transaction_under_another_root(issue: Issue, tmp_path: Path) -> None:
    """The histories agree in the receipt's transaction and differ in a later one that the same signature covers."""
    first = trunk(tmp_path / "a")
    second = branch(first, tmp_path / "b")
    same = first.append({"public:records": {b"same": b"same"}})
    seqno = same.txid.seqno
    second.append_entry(same.entry)
    for number, service in enumerate((first, second)):
        service.append({"public:records": {b"balance": b"%d" % number}})
        service.sign(close_chunk=True)
        write_some(service, 80)
        service.sign(close_chunk=True)

    comparison = compare(tmp_path / "b", issue(first, seqno), first.service.certificate)

    assert (comparison.relation, comparison.verdict) == ("forked", Verdict.FAILED)
    if issue is cose_receipt:
        assert codes(comparison) == ["history-forked"]
        shown = evidence_of(comparison)
        assert (shown.kind, shown.conclusive) == ("double-signature", True)
    else:
        # A node's signature names no position, so there is nothing that proves it to others.
        assert codes(comparison) == ["history-root-differs"]
        assert comparison.bundle is None


def test_a_receipt_that_names_nothing() -> None:
    service = base("6.x").service
    assert service is not None
    document = signature_receipt(service, service.signed[0])

    with pytest.raises(UsageError, match="names no transaction"):
        compare(base("6.x").directory, document, service.service.certificate)


def test_a_receipt_over_an_endorsement_is_no_evidence(tmp_path: Path) -> None:
    """Endorsement certificates name no epoch: the holder of an old key could accuse a later life with one."""
    service = trunk(tmp_path / "a")
    old_node, old_root_key = service.node, service.service
    service.recover()
    write_some(service, 2)
    service.sign(close_chunk=True)
    seqno = service.seqno - 1
    document = json.loads(json_receipt(service, seqno))
    forged = json.loads(json_receipt(service, seqno))
    forged["leaf_components"]["write_set_digest"] = "ab" * 32
    parsed = JsonReceipt.parse(json.dumps(forged).encode())
    root = parsed.root(parsed.leaf_with_claims(bytes(32)))
    forged.update(
        cert=old_node.certificate,
        node_id=old_node.id,
        signature=base64.b64encode(old_node.key.sign_root(root)).decode(),
        service_endorsements=[service.service.endorse_key(old_root_key, service.source.now)],
    )
    assert document["cert"] != forged["cert"]

    comparison = compare(tmp_path / "a", json.dumps(forged).encode(), service.service.certificate)

    assert (comparison.relation, comparison.verdict) == ("signed-differs", Verdict.UNDECIDED)
    assert "pin that key itself" in comparison.findings[0].message
    assert comparison.bundle is None


# ------------------------------------------------------------------------------------------ real receipts


def test_real_receipts_of_each_life_agree(ccf_built: Path) -> None:
    cpp3 = ccf_built / "cpp3"
    node = cpp3 / "state-final" / "node8"
    pems = [(cpp3 / f"service-cert-{number}.pem").read_text() for number in (1, 2, 3)]
    copy = Copy("cpp3", Ledger([node / "ledger-committed", node / "ledger-current"], uncommitted=True), pems)
    copy.scan()
    anchor = TrustAnchor.from_certificates([pem.encode() for pem in pems])
    relations = set()
    files = sorted((cpp3 / "receipts").glob("*/*.cose_receipt.cose"))
    files += sorted((cpp3 / "receipts").glob("*/*.historical_receipt.json"))
    for path in files:
        document = path.read_bytes()
        [result] = audit_receipts([(path.name, document)], anchor)
        if [item.code for item in result.findings] == ["claims-digest-needed"]:
            continue
        receipt = verify_receipt(document, anchor)
        relations.add(compare_with_receipt(copy, document, receipt, path.name).relation)
    assert relations == {"agrees"}


# -------------------------------------------------------------------------------------------- checkpoints


def checkpoint(service: DemoService, path: Path) -> Path:
    anchor = TrustAnchor.from_certificates([service.identities[0].certificate.encode()])
    verdict = audit_ledger([service.directory], anchor, uncommitted=True, checkpoint=path)
    assert verdict.verdict is Verdict.VERIFIED
    return path


def test_a_copy_that_only_grew(tmp_path: Path) -> None:
    service = trunk(tmp_path / "a")
    kept = checkpoint(service, tmp_path / "checkpoint")
    head = service.seqno
    write_some(service, 3)
    service.sign(close_chunk=True)

    comparison = compare_with_checkpoint(scanned(tmp_path / "a"), kept)

    assert (comparison.relation, comparison.compared, comparison.verdict) == ("agrees", (1, head), Verdict.VERIFIED)


def test_a_copy_that_was_rewritten_since(tmp_path: Path) -> None:
    branches = two_branches(tmp_path)
    kept = checkpoint(branches.first, tmp_path / "checkpoint")

    comparison = compare_with_checkpoint(scanned(tmp_path / "b"), kept)

    assert (comparison.relation, comparison.verdict) == ("forked", Verdict.FAILED)
    assert codes(comparison) == ["history-forked"]


def test_a_copy_that_is_behind(tmp_path: Path) -> None:
    service = trunk(tmp_path / "a")
    branch(service, tmp_path / "b")
    write_some(service, 3)
    service.sign(close_chunk=True)
    kept = checkpoint(service, tmp_path / "checkpoint")

    comparison = compare_with_checkpoint(scanned(tmp_path / "b"), kept)

    assert (comparison.relation, codes(comparison)) == ("behind", ["history-behind"])


def test_a_part_of_a_ledger(tmp_path: Path) -> None:
    valid = recovered_base("6.x")
    service = valid.service
    assert service is not None
    kept = checkpoint(service, tmp_path / "checkpoint")
    part = valid.copy(tmp_path / "b")
    part.chunks[0].unlink()

    copy = scanned(part.directory)
    comparison = compare_with_checkpoint(copy, kept)

    assert comparison.relation == "agrees"
    assert comparison.compared == (copy.signatures[0].seqno, service.last_signed.seqno)


def test_a_part_after_the_checkpoint(tmp_path: Path) -> None:
    service = trunk(tmp_path / "a")
    kept = checkpoint(service, tmp_path / "checkpoint")
    head = service.seqno
    write_some(service, 3)
    service.sign(close_chunk=True)
    for path in (tmp_path / "a").iterdir():
        if not path.name.startswith(f"ledger_{head + 1}-"):
            path.unlink()

    comparison = compare_with_checkpoint(scanned(tmp_path / "a"), kept)

    assert (comparison.relation, codes(comparison)) == ("disjoint", ["history-disjoint"])


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"head": "2.4", "tree": "AAAA"}', b"[" * 100_000])
def test_what_is_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(content)

    with pytest.raises(FormatError) as caught:
        compare_with_checkpoint(scanned(base("6.x").directory), tmp_path / "checkpoint")

    assert caught.value.code == "checkpoint-malformed"


def test_a_checkpoint_whose_tree_is_of_another_head(tmp_path: Path) -> None:
    service = trunk(tmp_path / "a")
    kept = checkpoint(service, tmp_path / "checkpoint")
    document = json.loads(kept.read_text())
    document["head"] = f"2.{service.seqno - 1}"
    kept.write_text(json.dumps(document))

    with pytest.raises(FormatError, match="expected a tree of"):
        compare_with_checkpoint(scanned(tmp_path / "a"), kept)
