"""Compares two copies of a ledger, or a copy with receipts or an earlier checkpoint.

Copies are compared by Merkle leaves, which cover every byte of every entry. Nothing about either copy is
verified as a whole (``tallystick verify`` does that); what goes into an evidence bundle is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tallystick import _native
from tallystick.errors import FormatError, UsageError
from tallystick.evidence import codes as _codes  # noqa: F401 -- registers the codes of findings
from tallystick.evidence.bundle import Bundle
from tallystick.evidence.statement import Statement, require_entry_size
from tallystick.findings import Finding, Verdict, finding, verdict_of
from tallystick.ledger.ledger import Ledger
from tallystick.types import TxId

__all__ = ["Comparison", "Copy", "compare_copies", "compare_with_checkpoint", "compare_with_receipt"]

SERVICE_INFO = "public:ccf.gov.service.info"
NODES_INFO = "public:ccf.gov.nodes.info"
TREE = "public:ccf.internal.tree"
RAW = "public:ccf.internal.signatures"
COSE = "public:ccf.internal.cose_signatures"
_SINGLETON = bytes(8)
_DIGEST_BYTES = 32


@dataclass
class Copy:
    """One copy of a ledger, and what a comparison needs to know of it.

    Attributes:
        name: how the caller calls it.
        signatures: seqnos of its signature transactions, ascending.
        services: (seqno, PEM) of each service certificate, ascending.
    """

    name: str
    ledger: Ledger
    signatures: list[int] = field(default_factory=list)
    services: list[tuple[int, str]] = field(default_factory=list)
    node_certificates: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """Its first seqno."""
        if self.ledger.first_seqno is None:
            raise FormatError("no ledger chunk to read", code="ledger-empty", file=self.name)
        return self.ledger.first_seqno

    @property
    def last(self) -> int:
        """Its last seqno."""
        return self.ledger.last_seqno or 0

    @property
    def last_signed(self) -> int:
        """Seqno of its last signature transaction; 0 when it has none."""
        return self.signatures[-1] if self.signatures else 0

    def leaves(self) -> Iterator[tuple[int, bytes]]:
        """Runs of Merkle leaves (first seqno, 32 bytes a transaction), noting signatures and services on the way."""
        parts = self.ledger.files.parts
        scanner = _native.LedgerScanner(
            [part.file.path for part in parts],
            level="merkle",
            first_seqnos=[part.first for part in parts],
            last_seqnos=[part.last for part in parts],
        )
        for batch in scanner:
            self.signatures.extend(record.seqno for record in batch.signatures)
            for entry in batch.notable:
                self._note(entry)
            yield batch.first_seqno, batch.leaves

    def _note(self, entry: _native.Entry) -> None:
        for value in (entry.table(SERVICE_INFO) or {}).values():
            pem = _field(value, "cert")
            if pem is not None:
                self.services.append((entry.seqno, pem))
        for key, value in (entry.table(NODES_INFO) or {}).items():
            pem = _field(value, "cert")
            if pem is not None:
                self.node_certificates[key.decode("utf-8", "backslashreplace")] = pem

    def service_at(self, seqno: int) -> str | None:
        """Certificate of the service in force at ``seqno``, as the ledger says."""
        certificates = [pem for start, pem in self.services if start <= seqno]
        return certificates[-1] if certificates else None

    def statement(self, seqno: int) -> Statement:
        """The signed statement about transaction ``seqno``.

        Raises:
            UsageError: no signature covers it here, or a part that a statement needs is not in this copy.
        """
        covering = next((signature for signature in self.signatures if signature > seqno), None)
        if covering is None:
            raise UsageError(f"{self.name}: no signature covers seqno {seqno}", code="evidence-unsigned")
        service = self.service_at(covering)
        if service is None:
            raise UsageError(
                f"{self.name}: the service identity is not in this part of the ledger",
                code="evidence-identity-missing",
                hint="give the copy from its first transaction on",
            )
        entry = self.ledger.get_transaction(seqno).entry
        signature = self.ledger.get_transaction(covering).entry
        require_entry_size(entry.raw)
        raw = (signature.table(RAW) or {}).get(_SINGLETON)
        cose = (signature.table(COSE) or {}).get(_SINGLETON)
        row = {} if raw is None else json.loads(raw)
        certificate = row.get("cert") or self.node_certificates.get(str(row.get("node")))
        return Statement(
            entry=entry.raw,
            path=tuple(self._tree(signature, seqno).path(seqno, covering)),
            signature_txid=TxId(signature.view, signature.seqno),
            service_certificate=service,
            node_certificate=certificate if raw is not None else None,
            raw_signature=None if raw is None else base64.b64decode(row["sig"], validate=True),
            cose_signature=None if cose is None else base64.b64decode(json.loads(cose), validate=True),
        )

    def _tree(self, signature: _native.Entry, seqno: int) -> _native.MerkleTree:
        value = (signature.table(TREE) or {}).get(_SINGLETON)
        if value is not None:
            tree = _native.MerkleTree.from_compact(value)
            if tree.size == signature.seqno and tree.first_kept <= seqno:
                return tree
        return self.tree(signature.seqno)

    def tree(self, size: int) -> _native.MerkleTree:
        """The tree of the first ``size`` leaves, with all of them kept: 64 bytes of memory a transaction.

        Raises:
            UsageError: this copy does not start at the first transaction.
        """
        if self.first != 1:
            raise UsageError(
                f"{self.name} starts at seqno {self.first}: its Merkle tree cannot be built",
                code="evidence-start-missing",
            )
        tree = _native.MerkleTree()
        for first, leaves in Copy(self.name, self.ledger).leaves():
            wanted = max(0, size - first) * _DIGEST_BYTES
            tree.append_many(leaves[:wanted])
            if tree.size >= size:
                break
        return tree


def _field(value: bytes | None, name: str) -> str | None:
    try:
        row = None if value is None else json.loads(value)
    except (ValueError, RecursionError):
        return None
    text = row.get(name) if isinstance(row, dict) else None
    return text if isinstance(text, str) else None


@dataclass
class Comparison:
    """How two histories relate.

    Attributes:
        relation: ``identical``, ``rechunked`` (identical, cut into other files), ``prefix``, ``overlap``,
            ``unsigned-differs``, ``forked``, ``truncated``, ``behind``, ``agrees`` or ``disjoint``.
        compared: (first, last) seqno of what both hold; None when there is nothing.
        first_difference: seqno.
        bundle: evidence for a third party, where there is any.
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


def compare_copies(a: Copy, b: Copy) -> Comparison:
    """Compares two copies over the seqnos that both hold."""
    first, last = max(a.first, b.first), min(a.last, b.last)
    if first > last:
        message = f"{a.name} holds {a.first} to {a.last}, {b.name} holds {b.first} to {b.last}"
        return Comparison("disjoint", None, findings=[finding("history-disjoint", message)])
    difference = _first_difference(a, b, first, last)
    if difference is None:
        return Comparison(_relation(a, b), (first, last))
    return _differing(a, b, first, last, difference)


def _relation(a: Copy, b: Copy) -> str:
    if (a.first, a.last) == (b.first, b.last):
        cuts = [[(part.first, part.last) for part in copy.ledger.files.parts] for copy in (a, b)]
        return "identical" if cuts[0] == cuts[1] else "rechunked"
    return "prefix" if a.first == b.first else "overlap"


def _first_difference(a: Copy, b: Copy, first: int, last: int) -> int | None:
    streams = [copy.leaves() for copy in (a, b)]
    found: int | None = None
    for seqno, left, right in _aligned(streams[0], streams[1], first, last):
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


def _differing(a: Copy, b: Copy, first: int, last: int, difference: int) -> Comparison:
    txids = [str(copy.ledger.get_transaction(difference).txid) for copy in (a, b)]
    where = a.ledger.get_transaction(difference)
    text = f"first difference at seqno {difference}: {txids[0]} in {a.name}, {txids[1]} in {b.name}"
    unsigned = [copy for copy in (a, b) if copy.last_signed <= difference]
    if unsigned:
        names = " and ".join(copy.name for copy in unsigned)
        found = finding(
            "history-unsigned-differs",
            f"{text}; no signature covers it in {names}",
            file=where.file,
            offset=where.offset,
            txid=txids[0],
        )
        return Comparison("unsigned-differs", (first, last), difference, [found])
    found = finding("history-forked", f"{text}; both are signed", file=where.file, offset=where.offset, txid=txids[0])
    comparison = Comparison("forked", (first, last), difference, [found])
    bundle = Bundle("fork", (a.statement(difference), b.statement(difference)), note=f"{a.name} and {b.name}")
    bundle.verify()
    comparison.bundle = bundle
    return comparison


def compare_with_receipt(
    copy: Copy, document: bytes, receipt: object, name: str, service_certificates: Sequence[str]
) -> Comparison:
    """Compares a copy with a receipt that was verified already.

    Args:
        document: the receipt's bytes.
        receipt: the :class:`~tallystick.receipt.model.VerifiedReceipt`.
        service_certificates: PEM certificates that the caller pinned; one of them goes into a bundle.
    """
    txid_text, leaf = getattr(receipt, "txid", None), getattr(receipt, "leaf", b"")
    if txid_text is None:
        raise UsageError(
            "receipt names no transaction: nothing can be compared", code="receipt-names-nothing", file=name
        )
    txid = TxId.parse(str(txid_text))
    certificate = _certificate_of(service_certificates, str(getattr(receipt, "service_key_sha256", "")))
    if copy.first <= txid.seqno <= copy.last:
        here = copy.ledger.get_transaction(txid.seqno)
        if here.leaf == leaf:
            return Comparison("agrees", (txid.seqno, txid.seqno))
        found = finding(
            "history-forked",
            f"receipt {name} proves {txid}, this copy holds {here.txid} with another leaf: expected {leaf.hex()}, "
            f"got {here.leaf.hex()}",
            file=here.file,
            offset=here.offset,
            txid=str(here.txid),
        )
        comparison = Comparison("forked", (txid.seqno, txid.seqno), txid.seqno, [found])
        if copy.last_signed > txid.seqno and certificate is not None:
            comparison.bundle = Bundle("receipt-fork", (copy.statement(txid.seqno),), document, certificate, name)
        return _with_checked_bundle(comparison)
    return _beyond(copy, txid, document, certificate, name)


def _beyond(copy: Copy, txid: TxId, document: bytes, certificate: str | None, name: str) -> Comparison:
    if txid.seqno < copy.first:
        message = f"receipt {name} is for {txid}, before the start of this copy at {copy.first}"
        return Comparison("disjoint", None, findings=[finding("history-disjoint", message)])
    later = _first_in_later_view(copy, txid)
    if later is None:
        found = finding(
            "history-behind", f"this copy ends at seqno {copy.last}, before {txid} that receipt {name} proves"
        )
        return Comparison("behind", None, None, [found])
    found = finding(
        "history-truncated",
        f"this copy goes on with {later} where receipt {name} proves {txid} of an earlier view",
        txid=str(later),
    )
    comparison = Comparison("truncated", None, later.seqno, [found])
    if copy.last_signed > later.seqno and certificate is not None:
        comparison.bundle = Bundle("truncation", (copy.statement(later.seqno),), document, certificate, name)
    return _with_checked_bundle(comparison)


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


def _with_checked_bundle(comparison: Comparison) -> Comparison:
    if comparison.bundle is not None:
        comparison.bundle.verify()
    return comparison


def _certificate_of(certificates: Sequence[str], fingerprint: str) -> str | None:
    for pem in certificates:
        if _native.Certificate.parse(pem.encode()).spki_sha256 == fingerprint:
            return pem
    return None


def compare_with_checkpoint(copy: Copy, path: Path) -> Comparison:
    """Whether a copy still holds all that a checkpoint of ``tallystick verify`` had proven.

    Raises:
        FormatError: the file is not a checkpoint.
        UsageError: the copy does not start at the first transaction.
    """
    try:
        document = json.loads(path.read_bytes())
        head = TxId.parse(document["head"])
        tree = _native.MerkleTree.from_compact(base64.b64decode(document["tree"], validate=True))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError("this is not a checkpoint", code="checkpoint-malformed", file=str(path)) from error
    for _ in copy.leaves():
        continue
    if copy.last < head.seqno:
        found = finding("history-behind", f"this copy ends at seqno {copy.last}, before the checkpoint's head {head}")
        return Comparison("behind", None, None, [found])
    if copy.tree(head.seqno + 1).root_at(head.seqno + 1) == tree.root_at(tree.size):
        return Comparison("agrees", (1, head.seqno))
    found = finding(
        "history-forked",
        f"this copy differs from what the checkpoint had proven, somewhere up to {head}: its Merkle root is another",
        txid=str(head),
    )
    return Comparison("forked", (1, head.seqno), None, [found])
