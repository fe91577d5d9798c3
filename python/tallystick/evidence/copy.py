"""A copy of a ledger as a comparison needs it, and statements taken from it.

What a copy says is not believed: a statement is verified before it is handed out, and only the parts that verify
are kept.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tallystick import _native
from tallystick.errors import FormatError, TallystickError, UndecidedError, UsageError, VerificationError
from tallystick.evidence.links import PREVIOUS_IDENTITY, succession
from tallystick.evidence.statement import SignedRoot, Statement, admits, require_entry_size
from tallystick.identity.certificates import is_node_certificate, parse_certificate
from tallystick.ledger.directory import CoverPart, parse_chunk_name
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.scanning import ScanPart, scan_parts
from tallystick.tables.names import (
    COSE_SIGNATURES,
    ENDORSED_CERTIFICATES,
    NODES_INFO,
    SERVICE_INFO,
    SIGNATURES,
    SINGLETON_KEY,
    TREE,
)
from tallystick.types import TxId

__all__ = ["Copy", "SignaturePlace"]

_DIGEST_BYTES = 32

# What is kept of a copy while it is scanned; a hostile one must not fill memory with certificates.
_MAX_CERTIFICATES = 10_000


@dataclass(frozen=True)
class SignaturePlace:
    """A signature transaction: its number, and the root computed for it where there was a tree to start from."""

    txid: TxId
    root: bytes | None

    @property
    def seqno(self) -> int:
        """Its seqno: the size of the tree that it signs."""
        return self.txid.seqno


@dataclass
class Copy:
    """One copy of a ledger, and what a comparison needs to know of it, once :meth:`leaves` has been read to its end.

    Attributes:
        name: how the caller calls it.
        certificates: service certificates (PEM) that the caller knows; they serve where the copy holds none.
        signatures: its signature transactions, ascending.
        services: (seqno, PEM) of each service certificate, ascending.
        previous: (seqno, PEM) of each identity that a recovery names as the one before it.
        boots: seqnos of recoveries' first transactions.
    """

    name: str
    ledger: Ledger
    certificates: Sequence[str] = ()
    signatures: list[SignaturePlace] = field(default_factory=list)
    services: list[tuple[int, str]] = field(default_factory=list)
    previous: list[tuple[int, str]] = field(default_factory=list)
    boots: list[int] = field(default_factory=list)
    _nodes: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    _kept: int = 0

    @property
    def first(self) -> int:
        """Its first seqno.

        Raises:
            UndecidedError: it holds nothing.
        """
        if self.ledger.first_seqno is None:
            raise UndecidedError(
                "no transaction to compare", code="nothing-to-read", file=self.name, hint=self.ledger.files.why_empty
            )
        return self.ledger.first_seqno

    @property
    def last(self) -> int:
        """Its last seqno."""
        return self.ledger.last_seqno or 0

    @property
    def last_signed(self) -> int:
        """Seqno of its last signature transaction; 0 when it has none."""
        return self.signatures[-1].seqno if self.signatures else 0

    def part_of(self, seqno: int) -> CoverPart | None:
        """The part that ``seqno`` is read from."""
        held = [part for part in self.ledger.files.parts if part.first <= seqno]
        return held[-1] if held else None

    def says_committed(self, seqno: int) -> bool:
        """Whether ``seqno`` stands in a chunk whose name says that the node saw it committed."""
        part = self.part_of(seqno)
        name = None if part is None else parse_chunk_name(Path(part.file.path).name)
        return name is not None and (name.committed or name.committed_prefix)

    # ------------------------------------------------------------------------------------------ scanning

    def scan(self) -> None:
        """Reads the copy to its end for what a comparison needs to know, without its leaves."""
        for _ in self.leaves():
            continue

    def leaves(self) -> Iterator[tuple[int, bytes]]:
        """Runs of Merkle leaves (first seqno, 32 bytes a transaction), noting signatures and services on the way."""
        self.signatures, self.services, self.previous, self.boots = [], [], [], []
        self._nodes, self._kept = {}, 0
        parts = self.ledger.files.parts
        scanner = scan_parts(
            [ScanPart(part.file.path, part.first, part.last) for part in parts],
            level="merkle",
            tree=_native.MerkleTree() if parts and parts[0].first == 1 else None,
        )
        for batch in scanner:
            self.signatures += [
                SignaturePlace(TxId(record.view, record.seqno), record.root) for record in batch.signatures
            ]
            for entry in batch.notable:
                self._note(entry)
            yield batch.first_seqno, batch.leaves

    def _note(self, entry: _native.Entry) -> None:
        rows = entry.table(SERVICE_INFO) or {}
        pem = _field(rows.get(SINGLETON_KEY), "cert")
        if pem is not None and self._keep():
            self.services.append((entry.seqno, pem))
        before = _json((entry.table(PREVIOUS_IDENTITY) or {}).get(SINGLETON_KEY))
        if isinstance(before, str) and self._keep():
            self.previous.append((entry.seqno, before))
            if succession(entry) is not None:
                self.boots.append(entry.seqno)
        for key, value in (entry.table(NODES_INFO) or {}).items():
            cert = _field(value, "cert")
            if cert is not None and self._keep():
                self._nodes.setdefault(_text(key), []).append((entry.seqno, cert))
        for key, value in (entry.table(ENDORSED_CERTIFICATES) or {}).items():
            if value is not None and self._keep():
                self._nodes.setdefault(_text(key), []).append((entry.seqno, value.decode("utf-8", "replace")))

    def _keep(self) -> bool:
        self._kept += 1
        return self._kept <= _MAX_CERTIFICATES

    # ---------------------------------------------------------------------------------------- statements

    def services_at(self, seqno: int) -> list[str]:
        """Certificates of the service that may be in force at ``seqno``, likeliest first.

        That is what the copy says; what it does not say, because it starts later, the recovery after it may tell, or
        the caller.
        """
        held = [pem for start, pem in self.services if start <= seqno][-1:]
        named = [pem for start, pem in self.previous if start > seqno][:1]
        later = [pem for start, pem in self.services if start > seqno][:1]
        return list(dict.fromkeys([*held, *named, *self.certificates, *later]))

    def statement(self, seqno: int) -> Statement:
        """The signed statement about transaction ``seqno``; it verifies.

        Raises:
            UsageError: no signature covers it here, or a part that a statement needs is not in this copy.
            VerificationError: the signature that covers it does not hold.
        """
        covering = next((place for place in self.signatures if place.seqno > seqno), None)
        if covering is None:
            raise UsageError(f"{self.name}: no signature covers seqno {seqno}", code="evidence-unsigned")
        return self._signed_by(seqno, covering, nested=0)

    def _signed_by(self, seqno: int, covering: SignaturePlace, *, nested: int) -> Statement:
        services = self.services_at(covering.seqno)
        if not services:
            raise UsageError(
                f"{self.name}: the service identity is not in this part of the ledger",
                code="evidence-identity-missing",
                hint="give the copy from its first transaction on, or --service-cert",
            )
        entry = self.ledger.get_transaction(seqno).entry
        signature = self.ledger.get_transaction(covering.seqno).entry
        require_entry_size(entry.raw)
        problem: TallystickError | None = None
        try:
            for tree in self._trees(signature, seqno):
                path = tuple(tree.path(seqno, covering.seqno))
                for service in services:
                    try:
                        statement = self._assemble(entry.raw, path, signature, service, nested)
                        statement.verify()
                    except (FormatError, VerificationError) as error:
                        problem = problem or error
                        continue
                    return statement
        except UsageError:
            # No tree can be built here. If the embedded one was tried, that is the answer.
            if problem is None:
                raise
        reason = f": {problem.message}" if problem is not None else ""
        raise VerificationError(
            f"{self.name}: the signature at {covering.txid} does not vouch for transaction {seqno}{reason}",
            code="history-altered",
        )

    def _assemble(
        self, entry: bytes, path: tuple[tuple[bool, bytes], ...], signature: _native.Entry, service: str, nested: int
    ) -> Statement:
        row = _json((signature.table(SIGNATURES) or {}).get(SINGLETON_KEY))
        cose = _json((signature.table(COSE_SIGNATURES) or {}).get(SINGLETON_KEY))
        raw = _decoded(row.get("sig")) if isinstance(row, dict) else None
        node: str | None = None
        admission: Statement | None = None
        if isinstance(row, dict) and raw is not None:
            node, admission = self._signer(row, signature.seqno, service, nested)
        return Statement(
            entry=entry,
            path=path,
            signature_txid=TxId(signature.view, signature.seqno),
            service_certificate=service,
            node_certificate=node,
            raw_signature=raw,
            cose_signature=_decoded(cose),
            admission=admission,
        )

    def _signer(
        self, row: dict[str, object], seqno: int, service: str, nested: int
    ) -> tuple[str | None, Statement | None]:
        """The signing node's certificate by the service, or its own and the statement that admitted it (1.x)."""
        name, embedded = str(row.get("node")), row.get("cert")
        held = [pem for start, pem in self._nodes.get(name, []) if start < seqno]
        candidates = ([embedded] if isinstance(embedded, str) and embedded else []) + held[::-1]
        spki = parse_certificate(service).spki.hex()
        own: str | None = None
        for pem in candidates:
            try:
                certificate = parse_certificate(pem)
            except FormatError:
                continue
            if certificate.spki_sha256 != name:
                continue
            if is_node_certificate(certificate, spki):
                return pem, None
            own = own or pem
        return own, None if own is None or nested else self._admission(name, own, seqno, nested)

    def _admission(self, name: str, pem: str, before: int, nested: int) -> Statement | None:
        """The statement about the row of 1.x that made a node Trusted, signed by another node before it signed."""
        node = parse_certificate(pem)
        for row, _ in self._nodes.get(name, []):
            if row >= before or not admits(self.ledger.get_transaction(row).entry, node):
                continue
            for covering in self.signatures:
                if row < covering.seqno < before:
                    try:
                        return self._signed_by(row, covering, nested=nested + 1)
                    except (UsageError, VerificationError):
                        continue  # signed by the node itself, say
        return None

    def _trees(self, signature: _native.Entry, seqno: int) -> Iterator[_native.MerkleTree]:
        """Trees that the signature may be over, with the leaf of ``seqno`` kept: the embedded one, then one built here.

        Raises:
            UsageError: neither is to be had.
        """
        embedded = _embedded_tree(signature)
        if embedded is not None and embedded.first_kept <= seqno < embedded.size == signature.seqno:
            yield embedded
        yield self.tree(signature.seqno, seqno)

    def tree(self, size: int, kept: int = 0) -> _native.MerkleTree:
        """The tree of the first ``size`` leaves, with those from ``kept`` on: 64 bytes of memory a transaction.

        It is built from the first transaction, or from the tree that a signature at or before ``kept`` embeds.

        Raises:
            UsageError: the copy holds neither.
        """
        tree, start = self._start_of_tree(kept)
        for first, leaves in Copy(self.name, self.ledger).leaves():
            skipped = max(0, start - first) * _DIGEST_BYTES
            wanted = max(0, size - first) * _DIGEST_BYTES
            tree.append_many(leaves[skipped:wanted])
            if tree.size >= size:
                break
        return tree

    def _start_of_tree(self, kept: int) -> tuple[_native.MerkleTree, int]:
        if self.first == 1:
            return _native.MerkleTree(), 1
        for place in reversed(self.signatures):
            if place.seqno <= kept:
                tree = _embedded_tree(self.ledger.get_transaction(place.seqno).entry)
                if tree is not None and tree.size == place.seqno:
                    return tree, place.seqno
        raise UsageError(
            f"{self.name} starts at seqno {self.first}, and holds no signature before seqno {kept}: its Merkle tree "
            "cannot be built",
            code="evidence-start-missing",
        )

    def signed_root(self, seqno: int) -> SignedRoot | None:
        """The root that the signature transaction ``seqno`` signs with COSE; None without, or when it does not hold."""
        place = next((place for place in self.signatures if place.seqno == seqno), None)
        if place is None or place.root is None:
            return None
        signature = self.ledger.get_transaction(seqno).entry
        cose = _decoded(_json((signature.table(COSE_SIGNATURES) or {}).get(SINGLETON_KEY)))
        if cose is None:
            return None
        for service in self.services_at(seqno):
            root = SignedRoot(place.root, place.txid, service, cose)
            try:
                root.verify()
            except (FormatError, VerificationError):
                continue
            return root
        return None

    def links(self) -> tuple[Statement, ...]:
        """Statements about every recovery here that is signed; those that do not hold are left out."""
        found = []
        for seqno in self.boots:
            try:
                found.append(self.statement(seqno))
            except (UsageError, VerificationError):
                continue
        return tuple(found)


def _embedded_tree(signature: _native.Entry) -> _native.MerkleTree | None:
    value = (signature.table(TREE) or {}).get(SINGLETON_KEY)
    try:
        return None if value is None else _native.MerkleTree.from_compact(value)
    except FormatError:
        return None


def _json(value: bytes | None) -> object:
    try:
        return None if value is None else json.loads(value)
    except (ValueError, RecursionError):
        return None


def _field(value: bytes | None, name: str) -> str | None:
    row = _json(value)
    found = row.get(name) if isinstance(row, dict) else None
    return found if isinstance(found, str) and found else None


def _decoded(value: object) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except binascii.Error:
        return None


def _text(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")
