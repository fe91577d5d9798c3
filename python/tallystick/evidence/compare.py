"""Compares two copies of a ledger, or a copy with receipts or an earlier checkpoint.

Copies are compared by Merkle leaves, which cover every byte of every entry. Nothing about either copy is
verified as a whole (``tallystick verify`` does that); where they differ, the signatures that cover the first
difference are, for a difference counts only as far as somebody signed it:

* nobody signed one of the two: an unsigned end, which a recovery or an election discards;
* a signature is there and does not hold: that copy was altered;
* both hold, in the same view: a fork, which nothing excuses;
* both hold, in different views: a fork if the older one was committed, as the name of its chunk says or a receipt
  proves. Otherwise it may have been signed and lost, and nothing is decided.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tallystick import _native
from tallystick.errors import FormatError, UsageError, VerificationError
from tallystick.evidence.bundle import Bundle
from tallystick.evidence.copy import Copy
from tallystick.evidence.links import verify_links, vouched_for
from tallystick.evidence.statement import SignedRoot, Statement, VerifiedStatement
from tallystick.findings import Finding, Verdict, finding, verdict_of
from tallystick.receipt.model import VerifiedReceipt
from tallystick.types import TxId

__all__ = ["Comparison", "Copy", "compare_copies", "compare_with_checkpoint", "compare_with_receipt"]

_DIGEST_BYTES = 32

# Makes the outcome from (relation, code, message, bundle); the position is known to it.
_Result = Callable[..., "Comparison"]


@dataclass
class Comparison:
    """How two histories relate.

    Attributes:
        relation: ``identical``, ``rechunked`` (identical, cut into other files), ``prefix``, ``overlap``,
            ``unsigned-differs``, ``altered``, ``signed-differs``, ``other-service``, ``forked``, ``truncated``,
            ``behind``, ``agrees`` or ``disjoint``.
        compared: (first, last) seqno of what both hold; None when there is nothing.
        first_difference: seqno.
        bundle: evidence for a third party, where there is any; it verifies.
    """

    relation: str
    compared: tuple[int, int] | None
    first_difference: int | None = None
    findings: list[Finding] = field(default_factory=list)
    bundle: Bundle | None = None

    @property
    def verdict(self) -> Verdict:
        """Follows from the findings."""
        return verdict_of(self.findings)


# -------------------------------------------------------------------------------------------------- copies


def compare_copies(a: Copy, b: Copy) -> Comparison:
    """Compares two copies over the seqnos that both hold."""
    first, last = max(a.first, b.first), min(a.last, b.last)
    if first > last:
        message = f"{a.name} holds {a.first} to {a.last}, {b.name} holds {b.first} to {b.last}"
        return Comparison("disjoint", None, findings=[finding("history-disjoint", message)])
    difference = _first_difference(a, b, first, last)
    if difference is None:
        return Comparison(_relation(a, b), (first, last))
    return _differing(a, b, (first, last), difference)


def _relation(a: Copy, b: Copy) -> str:
    if (a.first, a.last) == (b.first, b.last):
        # An open chunk does not say where it ends.
        cuts = [[part.first for part in copy.ledger.files.parts] for copy in (a, b)]
        return "identical" if cuts[0] == cuts[1] else "rechunked"
    return "prefix" if a.first == b.first else "overlap"


def _first_difference(a: Copy, b: Copy, first: int, last: int) -> int | None:
    streams = [copy.leaves() for copy in (a, b)]
    found: int | None = None
    compared = first
    for seqno, left, right in _aligned(streams[0], streams[1], first, last):
        compared = seqno + len(left) // _DIGEST_BYTES
        if left != right:
            found = next(
                seqno + index // _DIGEST_BYTES
                for index in range(0, len(left), _DIGEST_BYTES)
                if left[index : index + _DIGEST_BYTES] != right[index : index + _DIGEST_BYTES]
            )
            break
    for stream in streams:
        # To the end of both, so that their signatures and services are known.
        for _ in stream:
            continue
    if found is None and compared != last + 1:
        raise FormatError(f"copies cannot be compared: reading ended at seqno {compared - 1}, expected {last}")
    return found


def _aligned(
    a: Iterator[tuple[int, bytes]], b: Iterator[tuple[int, bytes]], first: int, last: int
) -> Iterator[tuple[int, bytes, bytes]]:
    """Runs of leaves of the same seqnos, in memory bounded by one batch of each."""
    runs = [_skip(a, first), _skip(b, first)]
    heads: list[tuple[int, bytes]] = [next(runs[0], (0, b"")), next(runs[1], (0, b""))]
    seqno = first
    while seqno <= last and heads[0][1] and heads[1][1]:
        size = min(len(heads[0][1]), len(heads[1][1]), (last - seqno + 1) * _DIGEST_BYTES)
        yield seqno, heads[0][1][:size], heads[1][1][:size]
        seqno += size // _DIGEST_BYTES
        for index in (0, 1):
            rest = heads[index][1][size:]
            heads[index] = (seqno, rest) if rest else next(runs[index], (0, b""))


def _skip(stream: Iterator[tuple[int, bytes]], first: int) -> Iterator[tuple[int, bytes]]:
    for start, leaves in stream:
        drop = max(0, first - start) * _DIGEST_BYTES
        if drop < len(leaves):
            yield start + drop // _DIGEST_BYTES, leaves[drop:]


def _differing(a: Copy, b: Copy, compared: tuple[int, int], difference: int) -> Comparison:
    where = a.ledger.get_transaction(difference)
    other = b.ledger.get_transaction(difference)
    text = f"first difference at seqno {difference}: {where.txid} in {a.name}, {other.txid} in {b.name}"

    def result(relation: str, code: str, message: str, bundle: Bundle | None = None) -> Comparison:
        found = finding(code, message, file=where.file, offset=where.offset, txid=str(where.txid))
        return Comparison(relation, compared, difference, [found], bundle)

    unsigned = [copy for copy in (a, b) if copy.last_signed <= difference]
    if unsigned:
        names = " and ".join(copy.name for copy in unsigned)
        # An end that follows a signature is what a recovery or an election leaves; without any, nothing ties it.
        tail = all(any(compared[0] <= place.seqno < difference for place in copy.signatures) for copy in unsigned)
        code = "history-unsigned-differs" if tail else "history-unsigned"
        return result("unsigned-differs", code, f"{text}; no signature covers it in {names}")
    statements: list[Statement] = []
    for copy in (a, b):
        try:
            statements.append(copy.statement(difference))
        except VerificationError as error:
            return result("altered", "history-altered", f"{text}; {error.message}")
        except UsageError as error:
            problem = f"{text}; both have signatures, which cannot be checked: {error.message}"
            return result("signed-differs", "history-signed-differs", problem)
    return _both_signed(a, b, statements, text, result)


def _both_signed(a: Copy, b: Copy, statements: Sequence[Statement], text: str, result: _Result) -> Comparison:
    verified = [statement.verify() for statement in statements]
    keys = " and ".join(dict.fromkeys(item.service_key_sha256 for item in verified))
    bundle = Bundle("fork", tuple(statements), note=f"{a.name} and {b.name}", links=_links(verified, (a, b)))
    try:
        evidence = bundle.verify()
    except VerificationError as error:
        return result("other-service", "history-other-service", f"{text}; {error.message}")
    if evidence.conclusive:
        return result("forked", "history-forked", f"{text}; both are signed, by service {keys}", bundle)
    older = a if verified[0].txid < verified[1].txid else b
    if older.says_committed(verified[0].txid.seqno):
        message = (
            f"{text}; both are signed, by service {keys}, and the older one stands in a chunk of {older.name} that is "
            "marked committed"
        )
        return result("forked", "history-forked", message, bundle)
    return result(
        "signed-differs", "history-signed-differs", f"{text}; both are signed, by service {keys}: {evidence.caveat}",
        bundle,
    )  # fmt: skip


def _links(verified: Sequence[VerifiedStatement], copies: Sequence[Copy]) -> tuple[Statement, ...]:
    """Statements about recoveries, where they are needed to show that two keys are lives of one service."""
    if len({item.service_key_sha256 for item in verified}) == 1:
        return ()
    return tuple(dict.fromkeys(link for copy in copies for link in copy.links()))


# ------------------------------------------------------------------------------------------------ receipts


def compare_with_receipt(copy: Copy, document: bytes, receipt: VerifiedReceipt, name: str) -> Comparison:
    """Compares a copy that was scanned with a receipt that was verified already.

    Args:
        document: the receipt's bytes.

    Raises:
        UsageError: the receipt names no transaction.
    """
    if receipt.txid is None:
        raise UsageError(
            "receipt names no transaction: nothing can be compared", code="receipt-names-nothing", file=name
        )
    txid = TxId.parse(receipt.txid)
    if txid.seqno < copy.first:
        message = f"receipt {name} is for {txid}, before the start of this copy at {copy.first}"
        return Comparison("disjoint", None, findings=[finding("history-disjoint", message)])
    if txid.seqno > copy.last:
        return _beyond(copy, txid, document, receipt, name)
    here = copy.ledger.get_transaction(txid.seqno)
    if here.leaf == receipt.leaf:
        return _compare_root(copy, document, receipt, name, txid)
    text = (
        f"receipt {name} proves {txid}, this copy holds {here.txid} with another leaf: expected {receipt.leaf.hex()}, "
        f"got {here.leaf.hex()}"
    )
    # What an earlier view held may have been lost, unless it was committed.
    excused = here.view < txid.view and not copy.says_committed(txid.seqno)
    outcome = _judge_receipt("receipt-fork", copy, here.txid, document, receipt, name, excused=excused)
    found = finding(outcome[1], text + outcome[2], file=here.file, offset=here.offset, txid=str(here.txid))
    return Comparison(outcome[0], (txid.seqno, txid.seqno), txid.seqno, [found], outcome[3])


def _judge_receipt(
    kind: str, copy: Copy, here: TxId, document: bytes, receipt: VerifiedReceipt, name: str, *, excused: bool = False
) -> tuple[str, str, str, Bundle | None]:
    """What a transaction of the copy that a receipt excludes amounts to: relation, code, reason, evidence."""
    if copy.last_signed <= here.seqno:
        return "unsigned-differs", "history-unsigned", "; no signature covers it in this copy", None
    try:
        statement = copy.statement(here.seqno)
    except VerificationError as error:
        return "altered", "history-altered", f"; {error.message}", None
    except UsageError as error:
        return "signed-differs", "history-signed-differs", f"; {error.message}", None
    key = statement.verify().service_key_sha256
    links = copy.links() if key != receipt.service_key_sha256 else ()
    before = verify_links(links)
    if receipt.service_key_sha256 not in vouched_for(before, key) and key not in vouched_for(
        before, receipt.service_key_sha256
    ):
        reason = f"; it is signed by service {key}, and nothing shows that it is a life of the receipt's service"
        return "other-service", "history-other-service", reason, None
    bundle = _receipt_bundle(kind, copy, statement, document, name)
    if bundle is None and any(note.code == "service-endorsed" for note in receipt.notes):
        # Endorsement certificates name no epoch: whoever holds an old key could write receipts for any time.
        reason = "; the receipt is signed by an older service key and rests on an endorsement: pin that key itself"
        return "signed-differs", "history-signed-differs", reason, None
    if excused:
        reason = f"; {here} may have been signed and never committed, and lost when a later view began"
        return "signed-differs", "history-signed-differs", reason, bundle
    relation, code = ("truncated", "history-truncated") if kind == "truncation" else ("forked", "history-forked")
    return relation, code, f"; both are signed, by service {key}", bundle


def _receipt_bundle(kind: str, copy: Copy, statement: Statement, document: bytes, name: str) -> Bundle | None:
    """A bundle that verifies; None when the receipt does not stand on its own under a certificate at hand."""
    certificates = dict.fromkeys([*copy.certificates, *(pem for _, pem in copy.services)])
    for links in ((), copy.links()):
        for certificate in certificates:
            bundle = Bundle(kind, (statement,), document, certificate, name, links=links)
            try:
                bundle.verify()
            except (FormatError, VerificationError):
                continue
            return bundle
    return None


def _compare_root(copy: Copy, document: bytes, receipt: VerifiedReceipt, name: str, txid: TxId) -> Comparison:
    """The transaction is the same; the root that the receipt leads to must be one that this copy signs, too."""
    compared = (txid.seqno, txid.seqno)
    after = [place for place in copy.signatures if place.seqno > txid.seqno]
    signed_at = _signature_txid(document)
    if signed_at is None:
        # JSON: the size of the tree is not told. Any later signature will do.
        if not after or any(place.root in (receipt.root, None) for place in after):
            return Comparison("agrees", compared)
        sizes = _native.JsonReceipt.parse(document).tree_sizes(txid.seqno)
        if sizes is None or sizes[1] > copy.last_signed:
            return Comparison("agrees", compared)
        message = (
            f"receipt {name} proves {txid}, which this copy holds, by the signed root {receipt.root.hex()}, which no "
            "signature of this copy is over: they differ in another transaction"
        )
        found = finding("history-root-differs", message, txid=str(txid))
        return Comparison("forked", compared, None, [found])
    place = next((place for place in after if place.txid == signed_at), None)
    if place is None or place.root is None or place.root == receipt.root:
        return Comparison("agrees", compared)
    found = finding(
        "history-forked",
        f"receipt {name} proves {txid}, which this copy holds; but the root signed at {signed_at} differs: expected "
        f"{receipt.root.hex()} (by the receipt), got {place.root.hex()}",
        txid=str(signed_at),
    )
    return Comparison("forked", compared, None, [found], _double_signature(copy, document, receipt, name, signed_at))


def _signature_txid(document: bytes) -> TxId | None:
    try:
        named = _native.CoseReceipt.parse(document).signature_txid
        return None if named is None else TxId.parse(named)
    except FormatError:
        return None  # JSON


def _double_signature(
    copy: Copy, document: bytes, receipt: VerifiedReceipt, name: str, signed_at: TxId
) -> Bundle | None:
    here = copy.signed_root(signed_at.seqno)
    certificate = None if here is None else here.service_certificate
    if here is None or certificate is None:
        return None
    sign1 = _native.CoseReceipt.parse(document).sign1
    there = SignedRoot(receipt.root, signed_at, certificate, _detached(sign1))
    bundle = Bundle("double-signature", roots=(there, here), note=name)
    try:
        bundle.verify()
    except VerificationError:
        return None  # other keys signed: then the receipt's own service vouches for its root, and no fork is shown
    return bundle


def _detached(sign1: _native.CoseSign1) -> bytes:
    """The COSE_Sign1 without its proofs, as the ledger holds it."""
    return _native.cbor_encode(_native.CborTag(18, [sign1.protected, {}, None, sign1.signature]))


def _beyond(copy: Copy, txid: TxId, document: bytes, receipt: VerifiedReceipt, name: str) -> Comparison:
    later = _first_in_later_view(copy, txid)
    if later is None:
        found = finding(
            "history-behind", f"this copy ends at seqno {copy.last}, before {txid} that receipt {name} proves"
        )
        return Comparison("behind", None, None, [found])
    relation, code, reason, bundle = _judge_receipt("truncation", copy, later, document, receipt, name)
    text = f"this copy goes on with {later} where receipt {name} proves {txid} of an earlier view"
    found = finding(code, text + reason, txid=str(later))
    return Comparison(relation, None, later.seqno, [found], bundle)


def _first_in_later_view(copy: Copy, txid: TxId) -> TxId | None:
    if copy.ledger.get_transaction(copy.last).view <= txid.view:
        return None
    low, high = copy.first, copy.last
    while low < high:  # views never fall
        middle = (low + high) // 2
        if copy.ledger.get_transaction(middle).view > txid.view:
            high = middle
        else:
            low = middle + 1
    return copy.ledger.get_transaction(low).txid


# ---------------------------------------------------------------------------------------------- checkpoints


def compare_with_checkpoint(copy: Copy, path: Path) -> Comparison:
    """Whether a copy that was scanned still holds all that a checkpoint of ``tallystick verify`` had proven.

    The checkpoint is the caller's own file, and believed.

    Raises:
        FormatError: the file is not a checkpoint.
        UsageError: the copy starts after the checkpoint, or too late to tell.
    """
    head, tree = _read_checkpoint(path)
    if copy.last < head.seqno:
        found = finding("history-behind", f"this copy ends at seqno {copy.last}, before the checkpoint's head {head}")
        return Comparison("behind", None, None, [found])
    if copy.first > head.seqno:
        message = f"this copy starts at seqno {copy.first}, after the checkpoint's head {head}"
        return Comparison("disjoint", None, findings=[finding("history-disjoint", message)])
    here = copy.ledger.get_transaction(head.seqno)
    # A copy that starts later can be compared from its first signature on, which embeds a tree.
    start = 1 if copy.first == 1 or not copy.signatures else copy.signatures[0].seqno
    compared = (start, head.seqno)
    own = copy.tree(head.seqno + 1, min(start, head.seqno))
    if here.txid == head and own.root_at(head.seqno + 1) == tree.root_at(tree.size):
        return Comparison("agrees", compared)
    found = finding(
        "history-forked",
        f"this copy differs from what the checkpoint had proven, somewhere up to {head}: it holds {here.txid} there, "
        f"and its Merkle root is {own.root_at(head.seqno + 1).hex()}, expected {tree.root_at(tree.size).hex()}",
        file=here.file,
        offset=here.offset,
        txid=str(here.txid),
    )
    return Comparison("forked", compared, None, [found])


def _read_checkpoint(path: Path) -> tuple[TxId, _native.MerkleTree]:
    try:
        document = json.loads(path.read_bytes())
        head = TxId.parse(document["head"])
        tree = _native.MerkleTree.from_compact(base64.b64decode(document["tree"], validate=True))
    except (FormatError, ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise FormatError("this is not a checkpoint", code="checkpoint-malformed", file=str(path)) from error
    if tree.size != head.seqno + 1:
        raise FormatError(
            f"checkpoint is malformed: expected a tree of {head.seqno + 1} leaves, got {tree.size}",
            code="checkpoint-malformed",
            file=str(path),
        )
    return head, tree
