"""Two copies of a ledger: how they relate, and what the first difference amounts to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support import slow
from support.branches import branch, trunk, two_branches
from support.mutation import SIGNATURES, TREE, encode_domain, reassemble
from support.services import base, recovered_base, write_some
from tallystick._native import Entry, MerkleTree
from tallystick.demo.identities import NodeIdentity, ServiceIdentity
from tallystick.demo.service import DemoService
from tallystick.errors import UndecidedError, UsageError
from tallystick.evidence import statement
from tallystick.evidence.bundle import Bundle
from tallystick.evidence.compare import Comparison, Copy, compare_copies
from tallystick.findings import Verdict
from tallystick.ledger.ledger import Ledger


def copy(path: Path, *certificates: str, **options: bool) -> Copy:
    return Copy(path.name, Ledger([path], uncommitted=options.get("uncommitted", True)), certificates)


def compare(a: Path, b: Path) -> Comparison:
    return compare_copies(copy(a), copy(b))


def codes(comparison: Comparison) -> list[str]:
    return [item.code for item in comparison.findings]


def verified(comparison: Comparison) -> Bundle:
    """The bundle of a comparison, as another reads it."""
    assert comparison.bundle is not None
    bundle = Bundle.parse(comparison.bundle.to_bytes())
    assert bundle == comparison.bundle
    bundle.verify()
    return bundle


# ------------------------------------------------------------------------------------------------ the same


def test_identical(tmp_path: Path) -> None:
    shutil.copytree(base("6.x").directory, tmp_path / "b")

    comparison = compare(base("6.x").directory, tmp_path / "b")

    assert (comparison.relation, comparison.verdict, codes(comparison)) == ("identical", Verdict.VERIFIED, [])
    assert comparison.compared == (1, base("6.x").service.seqno)  # type: ignore[union-attr]  # forged


def test_cut_into_other_files(tmp_path: Path) -> None:
    source = base("6.x").copy(tmp_path / "b")
    entries = [place.entry.raw for place in source.places()]
    for path in source.chunks:
        path.unlink()
    (source.directory / f"ledger_1-{len(entries)}.committed").write_bytes(slow.encode_chunk(entries, complete=True))

    comparison = compare(base("6.x").directory, source.directory)

    assert (comparison.relation, comparison.verdict) == ("rechunked", Verdict.VERIFIED)


def test_a_prefix(tmp_path: Path) -> None:
    shorter = base("6.x").copy(tmp_path / "b")
    shorter.chunks[-1].unlink()

    comparison = compare(base("6.x").directory, shorter.directory)

    assert (comparison.relation, comparison.verdict) == ("prefix", Verdict.VERIFIED)


def test_an_overlap(tmp_path: Path) -> None:
    early, late = base("6.x").copy(tmp_path / "a"), base("6.x").copy(tmp_path / "b")
    early.chunks[-1].unlink()
    late.chunks[0].unlink()

    comparison = compare(early.directory, late.directory)

    assert (comparison.relation, comparison.verdict) == ("overlap", Verdict.VERIFIED)
    assert comparison.compared is not None
    assert comparison.compared[0] == 3


def test_nothing_in_common(tmp_path: Path) -> None:
    early, late = base("6.x").copy(tmp_path / "a"), base("6.x").copy(tmp_path / "b")
    for path in early.chunks[1:]:
        path.unlink()
    late.chunks[0].unlink()

    comparison = compare(early.directory, late.directory)

    assert (comparison.relation, comparison.verdict) == ("disjoint", Verdict.UNDECIDED)
    assert codes(comparison) == ["history-disjoint"]


def test_the_same_real_service_at_three_times(ccf_built: Path) -> None:
    cpp3 = ccf_built / "cpp3"
    states = [cpp3 / "state-before-dr1" / "node1", cpp3 / "state-before-dr2" / "node5", cpp3 / "state-final" / "node8"]
    copies = [
        Copy(state.name, Ledger([state / "ledger-committed", state / "ledger-current"], uncommitted=True))
        for state in states
    ]

    assert [compare_copies(copies[0], other).relation for other in copies[1:]] == ["prefix", "prefix"]
    assert compare_copies(copies[0], copies[1]).compared == (1, 1422)
    assert compare_copies(copies[1], copies[2]).compared == (1, 1686)


# ------------------------------------------------------------------------------------------------- unsigned


def test_an_unsigned_end_beside_the_recovered_service(tmp_path: Path) -> None:
    """What a dead service leaves: its last transactions, that nobody signed, beside what came instead."""
    service = trunk(tmp_path / "dead")
    recovered = branch(service, tmp_path / "recovered")
    write_some(service, 2)
    service.leave_chunk_open()
    recovered.recover()
    recovered.leave_chunk_open()

    comparison = compare(tmp_path / "dead", tmp_path / "recovered")

    assert (comparison.relation, comparison.verdict) == ("unsigned-differs", Verdict.VERIFIED)
    assert codes(comparison) == ["history-unsigned-differs"]
    assert comparison.first_difference == service.seqno - 1
    assert comparison.bundle is None


def test_a_file_without_any_signature_decides_nothing(tmp_path: Path) -> None:
    """Who strips the signatures off what he changed is not told that the histories agree."""
    changed = base("6.x").copy(tmp_path / "b")
    entries = [place.entry for place in changed.places()]
    for path in changed.chunks:
        path.unlink()
    body = [reassemble(entry, public=encode_domain(entry, {"public:records": {b"k": b"changed"}})) for entry in entries]
    (changed.directory / "ledger_1").write_bytes(slow.encode_chunk(body, complete=False))

    comparison = compare(base("6.x").directory, changed.directory)

    assert (comparison.relation, comparison.verdict) == ("unsigned-differs", Verdict.UNDECIDED)
    assert codes(comparison) == ["history-unsigned"]


# -------------------------------------------------------------------------------------------------- altered


def test_a_copy_that_was_altered(tmp_path: Path) -> None:
    changed = base("6.x").copy(tmp_path / "b")
    place = next(p for p in changed.places() if "public:records" in p.entry.tables)
    changed.flip_in(place, b"public value")

    comparison = compare(base("6.x").directory, changed.directory)

    assert (comparison.relation, comparison.verdict) == ("altered", Verdict.FAILED)
    assert codes(comparison) == ["history-altered"]
    assert comparison.first_difference == place.entry.seqno
    assert "b: the signature at" in comparison.findings[0].message
    assert comparison.bundle is None


def test_a_copy_whose_signature_was_altered(tmp_path: Path) -> None:
    """A bit in a signature transaction: the next signature covers it, and does not hold."""
    changed = base("6.x").copy(tmp_path / "b")
    signatures = [p for p in changed.places() if SIGNATURES in p.entry.tables]
    changed.flip(signatures[1].path, signatures[1].entry.offset + 12)

    comparison = compare(base("6.x").directory, changed.directory)

    assert (comparison.relation, codes(comparison)) == ("altered", ["history-altered"])


# ---------------------------------------------------------------------------------------------------- forks


@pytest.mark.parametrize("style", ["1.x", "2.x", "4.x", "6.x", "7.x"])
def test_a_fork_in_one_view(style: str, tmp_path: Path) -> None:
    branches = two_branches(tmp_path, style)

    comparison = compare(tmp_path / "a", tmp_path / "b")

    assert (comparison.relation, comparison.verdict) == ("forked", Verdict.FAILED)
    assert codes(comparison) == ["history-forked"]
    assert comparison.first_difference == branches.trunk + 1
    evidence = verified(comparison).verify()
    assert evidence.kind == "fork"
    assert evidence.conclusive
    assert evidence.caveat is None
    assert evidence.services == (branches.first.service.fingerprint,)
    # A node's signature does not name its position, so the conclusion must not either.
    assert ("signature at" in evidence.conclusion) == (style in ("6.x", "7.x"))


@pytest.mark.parametrize("style", ["4.x", "6.x", "7.x"])
def test_a_signed_branch_of_an_earlier_view_may_have_been_lost(style: str, tmp_path: Path) -> None:
    two_branches(tmp_path, style, elect=True)
    for path in (tmp_path / "a").glob("*.committed"):
        first, last = path.name.removeprefix("ledger_").removesuffix(".committed").split("-")
        path.rename(path.with_name(f"ledger_{first}-{last}"))

    comparison = compare(tmp_path / "a", tmp_path / "b")

    assert (comparison.relation, comparison.verdict) == ("signed-differs", Verdict.UNDECIDED)
    assert codes(comparison) == ["history-signed-differs"]
    assert "may have been signed and never committed" in comparison.findings[0].message
    evidence = verified(comparison).verify()
    assert not evidence.conclusive
    assert evidence.caveat is not None


def test_what_is_marked_committed_cannot_have_been_lost(tmp_path: Path) -> None:
    two_branches(tmp_path, elect=True)

    comparison = compare(tmp_path / "a", tmp_path / "b")

    assert (comparison.relation, comparison.verdict) == ("forked", Verdict.FAILED)
    assert "marked committed" in comparison.findings[0].message
    assert not verified(comparison).verify().conclusive


@pytest.mark.parametrize("style", ["1.x", "4.x", "6.x", "7.x"])
def test_a_recovery_from_a_ledger_that_was_cut(style: str, tmp_path: Path) -> None:
    """The old service signed on; the new one says itself that it succeeds it."""
    service = trunk(tmp_path / "a", style)
    recovered = branch(service, tmp_path / "b")
    write_some(service, 3)
    service.sign(close_chunk=True)
    recovered.recover()
    recovered.leave_chunk_open()

    comparison = compare(tmp_path / "a", tmp_path / "b")

    assert comparison.relation == "forked"
    bundle = verified(comparison)
    evidence = bundle.verify()
    assert evidence.services == (service.service.fingerprint, recovered.service.fingerprint)
    assert evidence.one_service
    assert len(bundle.links) == 1


def test_services_that_nothing_connects(tmp_path: Path) -> None:
    other = trunk(tmp_path / "b")
    other.leave_chunk_open()

    comparison = compare(base("6.x").directory, tmp_path / "b")

    assert (comparison.relation, comparison.verdict) == ("other-service", Verdict.FAILED)
    assert codes(comparison) == ["history-other-service"]
    assert comparison.bundle is None


# ----------------------------------------------------------------------------------------- parts of ledgers


def test_a_fork_in_suffixes(tmp_path: Path) -> None:
    """Neither copy holds the service's certificate; the caller does."""
    branches = two_branches(tmp_path)
    for directory in ("a", "b"):
        for path in sorted((tmp_path / directory).iterdir()):
            if int(path.name.split("_")[1].split("-")[0]) <= branches.trunk - 4:
                path.unlink()
    without = compare_copies(copy(tmp_path / "a"), copy(tmp_path / "b"))
    certificate = branches.first.service.certificate
    comparison = compare_copies(copy(tmp_path / "a", certificate), copy(tmp_path / "b", certificate))

    assert (without.relation, without.verdict) == ("signed-differs", Verdict.UNDECIDED)
    assert "service identity is not in this part" in without.findings[0].message
    assert (comparison.relation, comparison.verdict) == ("forked", Verdict.FAILED)
    assert verified(comparison).verify().conclusive


def test_the_service_before_a_recovery_is_told_by_it(tmp_path: Path) -> None:
    """A suffix that starts in the first life: the recovery in it names that life's certificate."""
    valid = recovered_base("6.x")
    part = valid.copy(tmp_path / "b")
    part.chunks[0].unlink()
    suffix = copy(part.directory)
    suffix.scan()

    assert suffix.services[0][0] > suffix.first
    made = suffix.statement(suffix.first)

    assert made.service_certificate == valid.certificates[0].decode()


@pytest.mark.parametrize("suffix", [False, True])
def test_a_tree_that_does_not_keep_the_leaf(suffix: bool, tmp_path: Path) -> None:
    """The tree in the covering signature keeps later leaves only, so one is built from what stands before."""
    first = trunk(tmp_path / "a")
    second = branch(first, tmp_path / "b")
    shared = first.seqno
    for number, service in enumerate((first, second)):
        service.append({"public:records": {b"balance": b"%d" % number}})
        write_some(service, 4)
        service.writer.tree.flush(service.seqno)
        service.sign(close_chunk=True)
    if suffix:
        for path in (*(tmp_path / "a").iterdir(), *(tmp_path / "b").iterdir()):
            if "_1-" in path.name:
                path.unlink()
    certificate = first.service.certificate
    a, b = copy(tmp_path / "a", certificate), copy(tmp_path / "b", certificate)

    comparison = compare_copies(a, b)

    assert (comparison.relation, comparison.first_difference) == ("forked", shared + 1)
    signature = Entry.parse(first.written[first.seqno].entry)
    embedded = MerkleTree.from_compact((signature.table(TREE) or {})[bytes(8)] or b"")
    assert embedded.first_kept > shared + 1
    assert verified(comparison).verify().conclusive


def test_a_suffix_that_starts_too_late(tmp_path: Path) -> None:
    """Neither a tree that keeps the leaf nor one to start from: said, not guessed."""
    service = trunk(tmp_path / "a", transactions=5)
    service.leave_chunk_open()
    for path in (tmp_path / "a").iterdir():
        if "_1-" in path.name:
            path.unlink()
    part = copy(tmp_path / "a", service.service.certificate)
    part.scan()

    with pytest.raises(UsageError, match="its Merkle tree cannot be built"):
        part.tree(part.last_signed, part.first)


def test_large_transactions_are_compared_and_not_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_branches(tmp_path)
    monkeypatch.setattr(statement, "MAX_ENTRY_BYTES", 50)

    comparison = compare(tmp_path / "a", tmp_path / "b")

    assert (comparison.relation, comparison.verdict) == ("signed-differs", Verdict.UNDECIDED)
    assert "too large for an evidence bundle" in comparison.findings[0].message


def test_an_empty_copy(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    # An empty directory is "don't know" for every command, and no mistake in how it was called.
    with pytest.raises(UndecidedError, match="no transaction to compare") as caught:
        compare(base("6.x").directory, tmp_path / "b")
    assert (caught.value.code, caught.value.location.file) == ("nothing-to-read", "b")


def test_the_oldest_nodes_have_their_certificate_in_their_row(tmp_path: Path) -> None:
    """1.x: a node that joined signs; its certificate is its own, and the first node's signature admits it."""
    service = trunk(tmp_path / "a", "1.x")
    node = self_signed_node(service)
    service.add_node(node)
    service.sign(close_chunk=True)
    service.view += 1
    service.node = node
    service.sign()
    other = branch(service, tmp_path / "b")
    other.node = node
    for number, each in enumerate((service, other)):
        each.append({"public:records": {b"k": b"%d" % number}})
        each.sign(close_chunk=True)

    comparison = compare(tmp_path / "a", tmp_path / "b")

    assert comparison.relation == "forked", comparison.findings
    bundle = verified(comparison)
    assert bundle.statements[0].admission is not None
    assert bundle.verify().conclusive


def self_signed_node(service: DemoService) -> NodeIdentity:
    node = service.new_node()
    alone = ServiceIdentity.__new__(ServiceIdentity)
    alone.key, alone.name = node.key, "CCF Node"
    node.certificate = node.issue_certificate(alone, service.source.now)
    return node


def test_real_first_life_of_the_oldest_service(ledgers: Path) -> None:
    """1.x has no certificates in signatures: statements take them from the nodes' rows."""
    for name in ("eol", "sgx"):
        real = Copy(name, Ledger([ledgers / f"{name}_service" / "ledger"], uncommitted=True))
        real.scan()
        for seqno in (1, 3, 20):
            assert real.statement(seqno).verify().signed_by == ("node",)


def test_every_position_of_a_real_service(ledgers: Path) -> None:
    """A statement can be made about each signed transaction of a ledger, across all its lives."""
    for name in ("acme_containing", "cose_flipflop", "expired", "sgx"):
        real = Copy(name, Ledger([ledgers / f"{name}_service" / "ledger"], uncommitted=True))
        real.scan()
        keys = set()
        for seqno in range(1, real.last_signed):
            verified_statement = real.statement(seqno).verify()
            assert verified_statement.txid.seqno == seqno
            keys.add(verified_statement.service_key_sha256)
        assert len(keys) == {"acme_containing": 1, "cose_flipflop": 1, "expired": 2, "sgx": 4}[name]
