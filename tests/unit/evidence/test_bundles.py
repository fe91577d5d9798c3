"""Bundles of each kind verify on their own, and no tampering with one is believed."""

from __future__ import annotations

import base64
import copy
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support.branches import branch, trunk, two_branches
from support.services import base, new_service, write_some
from tallystick._native import merkle_path_directions
from tallystick.demo.receipts import cose_receipt, json_receipt
from tallystick.demo.service import DemoService
from tallystick.errors import FormatError, VerificationError
from tallystick.evidence import bundle as bundle_module
from tallystick.evidence.bundle import Bundle
from tallystick.evidence.compare import Copy, compare_copies, compare_with_receipt
from tallystick.evidence.links import succession, vouched_for
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.ledger.ledger import Ledger
from tallystick.receipt.verify import verify_receipt
from tallystick.types import TxId

Document = dict[str, Any]
Spoil = Callable[[Document], None]


def _directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="tallystick-evidence-"))


def _copy(path: Path, *certificates: str) -> Copy:
    made = Copy(path.name, Ledger([path], uncommitted=True), certificates)
    made.scan()
    return made


def _with_receipt(path: Path, document: bytes, *certificates: str) -> Bundle:
    receipt = verify_receipt(document, TrustAnchor.from_certificates([pem.encode() for pem in certificates]))
    bundle = compare_with_receipt(_copy(path, *certificates), document, receipt, "receipt").bundle
    assert bundle is not None
    return bundle


@cache
def fork(style: str = "6.x") -> Bundle:
    directory = _directory()
    two_branches(directory, style)
    bundle = compare_copies(_copy(directory / "a"), _copy(directory / "b")).bundle
    assert bundle is not None
    return bundle


@cache
def receipt_fork(issue: Callable[[DemoService, int], bytes] = json_receipt) -> Bundle:
    directory = _directory()
    branches = two_branches(directory, elect=True)
    document = issue(branches.first, branches.trunk + 1)
    return _with_receipt(directory / "b", document, branches.first.service.certificate)


@cache
def truncation() -> Bundle:
    directory = _directory()
    service = trunk(directory / "a")
    recovered = branch(service, directory / "b")
    write_some(service, 60)
    last = service.seqno
    service.sign(close_chunk=True)
    recovered.recover()
    recovered.leave_chunk_open()
    return _with_receipt(directory / "b", json_receipt(service, last), service.service.certificate)


@cache
def double_signature() -> Bundle:
    directory = _directory()
    first = trunk(directory / "a", "7.x")
    second = branch(first, directory / "b")
    same = first.append({"public:records": {b"same": b"same"}})
    second.append_entry(same.entry)
    for number, service in enumerate((first, second)):
        service.append({"public:records": {b"balance": b"%d" % number}})
        service.sign(close_chunk=True)
    document = cose_receipt(first, same.txid.seqno)
    return _with_receipt(directory / "b", document, first.service.certificate)


BUNDLES: dict[str, Callable[[], Bundle]] = {
    "fork, node signatures": lambda: fork("4.x"),
    "fork, both": fork,
    "fork, COSE": lambda: fork("7.x"),
    "receipt-fork, JSON": receipt_fork,
    "receipt-fork, COSE": lambda: receipt_fork(cose_receipt),
    "truncation": truncation,
    "double-signature": double_signature,
}


def document_of(bundle: Bundle) -> Document:
    document: Document = json.loads(bundle.to_bytes())
    return document


def read(document: Document) -> Bundle:
    return Bundle.parse(json.dumps(document).encode())


@pytest.mark.parametrize("make", BUNDLES.values(), ids=BUNDLES)
def test_each_kind_verifies_on_its_own(make: Callable[[], Bundle]) -> None:
    bundle = make()

    read_back = Bundle.parse(bundle.to_bytes())
    evidence = read_back.verify()

    assert read_back == bundle
    assert evidence.kind == bundle.kind
    assert evidence.conclusive
    assert evidence.one_service


# ---------------------------------------------------------------------------------------------- tamperings


def _swap(document: Document, name: str) -> None:
    first, second = document["statements"]
    first[name], second[name] = second[name], first[name]


def _both(change: Spoil) -> Spoil:
    def spoil(document: Document) -> None:
        for statement in document["statements"]:
            change(statement)

    return spoil


def _flip(text: str, at: int = 60) -> str:
    data = bytearray(base64.b64decode(text))
    data[at % len(data)] ^= 1
    return base64.b64encode(data).decode()


def _same_statement(document: Document) -> None:
    document["statements"][1] = copy.deepcopy(document["statements"][0])


def _flip_digest(step: dict[str, str]) -> None:
    side = next(iter(step))
    step[side] = f"{int(step[side][:2], 16) ^ 1:02x}{step[side][2:]}"


def _turn(step: dict[str, str]) -> None:
    ((side, digest),) = list(step.items())
    step.clear()
    step["left" if side == "right" else "right"] = digest


def _move(statement: Document, by: int) -> None:
    view, seqno = statement["signature_txid"].split(".")
    statement["signature_txid"] = f"{view}.{int(seqno) + by}"


def _other_service(document: Document) -> None:
    document["statements"][0]["service_certificate"] = base("6.x").certificates[0].decode()


def _other_node(document: Document) -> None:
    stranger = new_service(_directory() / "x")
    document["statements"][0]["node_certificate"] = stranger.node.certificate


def _self_made_node(document: Document) -> None:
    """A signature by a key of one's own, over a root of one's own choice, with a certificate by nobody."""
    document["statements"][0]["node_certificate"] = document["statements"][0]["service_certificate"]


def _no_signature(statement: Document) -> None:
    statement.update(raw_signature=None, cose_signature=None)


def _no_node(statement: Document) -> None:
    statement["node_certificate"] = None


FORKS: dict[str, Spoil] = {
    "entries swapped": lambda d: _swap(d, "entry"),
    "paths swapped": lambda d: _swap(d, "path"),
    "the same statement twice": _same_statement,
    "a byte of an entry flipped": lambda d: d["statements"][0].update(entry=_flip(d["statements"][0]["entry"])),
    "a byte of a tag flipped": lambda d: d["statements"][0].update(entry=_flip(d["statements"][0]["entry"], 12)),
    "a digest in a path flipped": lambda d: _flip_digest(d["statements"][0]["path"][0]),
    "a step of a path turned": lambda d: _turn(d["statements"][0]["path"][0]),
    "a step of a path left out": lambda d: d["statements"][0]["path"].pop(),
    "a step of a path twice": lambda d: d["statements"][0]["path"].append(d["statements"][0]["path"][-1]),
    "no path": lambda d: d["statements"][0].update(path=[]),
    "a signature said to be much later": lambda d: _move(d["statements"][0], 100),
    "signature before the transaction": lambda d: d["statements"][0].update(signature_txid="2.1"),
    "an earlier view": lambda d: d["statements"][0].update(
        signature_txid="1." + d["statements"][0]["signature_txid"].split(".")[1]
    ),
    "another service's certificate": _other_service,
    "no signatures": _both(_no_signature),
}
NODE_SIGNED: dict[str, Spoil] = {
    "signatures swapped": lambda d: _swap(d, "raw_signature"),
    "a byte of a node signature flipped": lambda d: d["statements"][0].update(
        raw_signature=_flip(d["statements"][0]["raw_signature"], 20)
    ),
    "another node's certificate": _other_node,
    "the service's own certificate for the node's": _self_made_node,
    "no node certificate": _both(_no_node),
}
COSE_SIGNED: dict[str, Spoil] = {
    "a signature said to be one earlier": lambda d: _move(d["statements"][0], -1),
    "a signature said to be one later": lambda d: _move(d["statements"][0], 1),
    "COSE signatures swapped": lambda d: _swap(d, "cose_signature"),
    "a byte of a COSE signature flipped": lambda d: d["statements"][0].update(
        cose_signature=_flip(d["statements"][0]["cose_signature"], -5)
    ),
}


def refused(document: Document) -> str:
    """The code with which a bundle is refused."""
    with pytest.raises((FormatError, VerificationError)) as caught:
        read(document).verify()
    assert caught.value.code in ("evidence-malformed", "evidence-untrue")
    assert isinstance(caught.value, FormatError) == (caught.value.code == "evidence-malformed")
    return caught.value.code


@pytest.mark.parametrize("style", ["4.x", "6.x", "7.x"])
@pytest.mark.parametrize("name", [*FORKS, *NODE_SIGNED, *COSE_SIGNED])
def test_forks_that_were_tampered_with(style: str, name: str) -> None:
    if (name in NODE_SIGNED and style == "7.x") or (name in COSE_SIGNED and style == "4.x"):
        pytest.skip(f"{style} writes no such signature")
    document = document_of(fork(style))
    {**FORKS, **NODE_SIGNED, **COSE_SIGNED}[name](document)

    assert refused(document) == "evidence-untrue"


def test_a_position_that_is_not_signed_is_not_claimed() -> None:
    """A node's signature covers the root alone, and trees of several sizes give a leaf a path of the same shape."""
    held = _copy(base("4.x").directory)
    moved = 0
    for seqno in range(1, held.last_signed):
        statement = held.statement(seqno)
        size = statement.signature_txid.seqno
        if merkle_path_directions(seqno, size) == merkle_path_directions(seqno, size + 1):
            other = replace(statement, signature_txid=TxId(statement.signature_txid.view, size + 1))
            assert other.verify().signature_txid is None
            assert other.verify().root == statement.verify().root
            moved += 1
    assert moved > 0


def _bundles_receipt(document: Document, change: Callable[[Document], None]) -> None:
    receipt = json.loads(base64.b64decode(document["receipt"]))
    change(receipt)
    document["receipt"] = base64.b64encode(json.dumps(receipt).encode()).decode()


def _another_number(document: Document) -> None:
    service = base("6.x").service
    assert service is not None
    document["receipt"] = base64.b64encode(json_receipt(service, 9)).decode()
    document["receipt_service_certificate"] = service.service.certificate


RECEIPTS: dict[str, Spoil] = {
    "another claims digest": lambda d: _bundles_receipt(
        d, lambda r: r["leaf_components"].update(claims_digest="11" * 32)
    ),
    "another commit evidence": lambda d: _bundles_receipt(
        d, lambda r: r["leaf_components"].update(commit_evidence=r["leaf_components"]["commit_evidence"][:-1] + "x")
    ),
    "a receipt of another number and service": _another_number,
    "another service's certificate": lambda d: d.update(
        receipt_service_certificate=base("6.x").certificates[0].decode()
    ),
    "a certificate that is none": lambda d: d.update(receipt_service_certificate="x"),
    "a receipt that is none": lambda d: d.update(receipt="AAAA"),
    "an altered statement": lambda d: d["statements"][0].update(entry=_flip(d["statements"][0]["entry"])),
}


@pytest.mark.parametrize("make", [receipt_fork, truncation])
@pytest.mark.parametrize("spoil", RECEIPTS.values(), ids=RECEIPTS)
def test_receipts_that_were_tampered_with(make: Callable[[], Bundle], spoil: Spoil) -> None:
    document = document_of(make())
    spoil(document)

    assert refused(document) in ("evidence-untrue", "evidence-malformed")


def test_a_receipt_for_the_same_transaction_is_no_fork() -> None:
    directory = _directory()
    branches = two_branches(directory)
    seqno = branches.trunk + 1
    statement = _copy(directory / "a").statement(seqno)
    certificate = branches.first.service.certificate
    bundle = Bundle("receipt-fork", (statement,), json_receipt(branches.first, seqno), certificate)

    with pytest.raises(VerificationError, match="about the same transaction"):
        bundle.verify()


def test_receipt_and_statement_about_different_numbers() -> None:
    directory = _directory()
    branches = two_branches(directory)
    statement = _copy(directory / "a").statement(branches.trunk + 1)
    document = json_receipt(branches.second, branches.trunk + 2)
    certificate = branches.first.service.certificate

    with pytest.raises(VerificationError, match="about different numbers"):
        Bundle("receipt-fork", (statement,), document, certificate).verify()
    with pytest.raises(VerificationError, match="does not exclude"):
        Bundle("truncation", (statement,), document, certificate).verify()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(roots=[d["roots"][0]] * 2),
        lambda d: d["roots"][0].update(root=d["roots"][1]["root"]),
        lambda d: d["roots"][0].update(root="00" * 32),
        lambda d: d["roots"][0].update(signature_txid="2.4"),
        lambda d: d["roots"][0].update(cose_signature=d["roots"][1]["cose_signature"]),
        lambda d: d["roots"][0].update(service_certificate=base("6.x").certificates[0].decode()),
    ],
    ids=["twice", "one root", "another root", "another position", "one signature", "another service"],
)
def test_double_signatures_that_were_tampered_with(spoil: Spoil) -> None:
    document = document_of(double_signature())
    spoil(document)

    assert refused(document) == "evidence-untrue"


def test_signatures_at_two_positions_are_no_double_signature() -> None:
    service = trunk(_directory() / "a", "7.x")
    write_some(service, 1)
    service.sign(close_chunk=True)
    made = _copy(service.directory)
    roots = tuple(root for seqno in [place.seqno for place in made.signatures] if (root := made.signed_root(seqno)))

    with pytest.raises(VerificationError, match="of different transactions"):
        Bundle("double-signature", roots=roots[-2:]).verify()


# --------------------------------------------------------------------------------------------------- links


def test_without_links_two_keys_show_nothing() -> None:
    document = document_of(truncation())
    document["links"] = []

    assert refused(document) == "evidence-untrue"


def test_a_link_must_be_signed_by_the_service_that_it_brings() -> None:
    document = document_of(truncation())
    document["links"][0]["service_certificate"] = document["receipt_service_certificate"]

    assert refused(document) == "evidence-untrue"


def test_a_link_must_be_about_a_recovery() -> None:
    document = document_of(truncation())
    document["links"][0] = copy.deepcopy(document_of(fork("6.x"))["statements"][0])

    assert refused(document) == "evidence-untrue"


def test_two_services_of_one_owner_are_no_fork() -> None:
    """Both are pinned, both signed a transaction 2.3, and neither did anything wrong."""
    statements = []
    for name in ("a", "b"):
        service = trunk(_directory() / name)
        service.leave_chunk_open()
        statements.append(_copy(service.directory).statement(3))

    with pytest.raises(VerificationError, match="two services have two histories"):
        Bundle("fork", tuple(statements)).verify()


def test_what_an_ended_life_signs_later_is_no_evidence() -> None:
    """Who holds a key of an earlier life cannot accuse a later one: its views were over."""
    directory = _directory()
    service = trunk(directory / "a")
    rogue = branch(service, directory / "b")
    service.recover()
    write_some(service, 3)
    service.sign(close_chunk=True)
    service.leave_chunk_open()
    rogue.view = service.view
    while rogue.seqno < service.seqno:
        write_some(rogue, 1)
    rogue.sign()
    rogue.leave_chunk_open()
    seqno = service.seqno - 1
    good, bad = _copy(directory / "a"), _copy(directory / "b")
    bundle = Bundle("fork", (good.statement(seqno), bad.statement(seqno)), links=good.links())

    with pytest.raises(VerificationError, match="whose life had ended when the next one began"):
        bundle.verify()


def test_succession_needs_both_rows() -> None:
    made = _copy(base("6.x").directory)

    assert succession(made.ledger.get_transaction(1).entry) is None
    assert succession(made.ledger.get_transaction(2).entry) is None
    assert vouched_for({}, "ab") == ("ab",)


# ------------------------------------------------------------------------------------------- malformed files


def _nest(document: Document) -> None:
    statement = document["statements"][0]
    for _ in range(20):
        statement["admission"] = copy.deepcopy({**document["statements"][1], "admission": None})
        statement = statement["admission"]


MALFORMED: dict[str, Callable[[Document], bytes | None]] = {
    "another schema": lambda d: d.update(schema="x"),
    "another kind": lambda d: d.update(kind="rumour"),
    "no statements": lambda d: d.pop("statements") and None,
    "one statement": lambda d: d["statements"].pop() and None,
    "three statements": lambda d: d["statements"].append(d["statements"][0]),
    "roots in a fork": lambda d: d.update(
        roots=[{"root": "00" * 32, "signature_txid": "2.2", "service_certificate": "", "cose_signature": ""}] * 2
    ),
    "a receipt in a fork": lambda d: d.update(receipt="AAAA", receipt_service_certificate="x"),
    "links without end": lambda d: d.update(links=[d["statements"][0]] * 101),
    "statements of text": lambda d: d.update(statements="ab"),
    "an entry that is no base64": lambda d: d["statements"][0].update(entry="?"),
    "an entry of nothing": lambda d: d["statements"][0].update(entry=""),
    "an entry that is cut": lambda d: d["statements"][0].update(entry=d["statements"][0]["entry"][:200]),
    "a path without end": lambda d: d["statements"][0].update(path=d["statements"][0]["path"] * 65),
    "a digest that is too short": lambda d: d["statements"][0]["path"].append({"left": "00"}),
    "a digest that is no hex": lambda d: d["statements"][0]["path"].append({"left": "zz" * 32}),
    "a step that goes both ways": lambda d: d["statements"][0]["path"].append({"left": "", "right": ""}),
    "a step that goes up": lambda d: d["statements"][0]["path"].append({"up": "00" * 32}),
    "a transaction ID that is a number": lambda d: d["statements"][0].update(signature_txid=2.2),
    "a huge transaction ID": lambda d: d["statements"][0].update(signature_txid="2." + "9" * 400),
    "a certificate that is none": lambda d: d["statements"][0].update(service_certificate="x"),
    "a certificate of lone surrogates": lambda d: d["statements"][0].update(service_certificate="\ud800"),
    "a note that is a list": lambda d: d.update(note=[]),
    "nested admissions": _nest,
    "no JSON": lambda d: b"\xff",
    "nothing": lambda d: b"",
    "a list": lambda d: b"[]",
    "deep nesting": lambda d: b"[" * 200_000,
    "a number without end": lambda d: b'{"schema": ' + b"1" * 10_000 + b"}",
}


@pytest.mark.parametrize("spoil", MALFORMED.values(), ids=MALFORMED)
def test_malformed_bundles(spoil: Callable[[Document], bytes | None]) -> None:
    document = document_of(fork("6.x"))
    data = spoil(document)

    with pytest.raises(FormatError) as caught:
        Bundle.parse(data if data is not None else json.dumps(document).encode()).verify()

    assert caught.value.code == "evidence-malformed"


def test_a_bundle_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    data = fork("6.x").to_bytes()
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE_BYTES", len(data) - 1)

    with pytest.raises(FormatError, match="expected at most"):
        Bundle.parse(data)


@pytest.mark.parametrize("make", BUNDLES.values(), ids=BUNDLES)
def test_no_part_can_be_left_out_or_replaced(make: Callable[[], Bundle]) -> None:
    """Each value in a bundle in turn: gone, null, of another type, or flipped; never an exception but ours."""
    document = document_of(make())
    for path in _paths(document):
        for change in (_drop, lambda _: None, lambda _: [], lambda _: "x", _flip_text):
            changed = copy.deepcopy(document)
            if not _change(changed, path, change):
                continue
            try:
                evidence = read(changed).verify()
            except (FormatError, VerificationError):
                continue
            # What is left says the same: the part was no part of the evidence.
            assert evidence.kind == make().kind
            assert path[0] in ("note", "kind", "links") or path[-1] in (
                "raw_signature",
                "cose_signature",
                "node_certificate",
                "admission",
                "receipt",
                "signature_txid",
                "service_certificate",
                "receipt_service_certificate",
            ), path


_DROPPED = object()


def _drop(_: object) -> object:
    return _DROPPED


def _flip_text(value: object) -> object:
    if not isinstance(value, str) or not value:
        return value
    middle = len(value) // 2
    return value[:middle] + ("A" if value[middle] not in "Aa" else "B") + value[middle + 1 :]


def _paths(value: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    found = [at] if at else []
    for key, inner in items:
        found += _paths(inner, (*at, key))
    return found


def _change(document: Any, path: tuple[str | int, ...], change: Callable[[object], object]) -> bool:
    for key in path[:-1]:
        document = document[key]
    value = change(document[path[-1]])
    if value is _DROPPED:
        del document[path[-1]]
        return True
    if value == document[path[-1]]:
        return False
    document[path[-1]] = value
    return True
