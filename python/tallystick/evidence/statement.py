"""Signed statements: this transaction is in a history that a service signed, and this root stands at this position.

The parts of a :class:`Statement` are taken from a ledger byte for byte: the entry, its Merkle path, and the
signatures of the first signature transaction after it.

What it proves, and why that is enough although a node's signature covers nothing but 32 bytes of root: the
entry itself holds its view and seqno (in the IV of its header; the seqno in its public domain too), and the leaf
is a digest of the whole entry. So the service's signature over a tree that holds this leaf is a signature over
*this content under this number*, wherever in the tree the leaf stands; and no other preimage of a leaf or inner
node of a genuine tree parses as an entry. The position of the signature (``signature_txid``) is a different matter:
a COSE signature names it, a node's signature does not, and it is reported as proven for the former only.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallystick import _native
from tallystick.errors import FormatError, UsageError, VerificationError
from tallystick.identity.certificates import is_node_certificate, parse_certificate
from tallystick.tables.names import NODES_INFO
from tallystick.types import TxId

__all__ = ["MAX_ENTRY_BYTES", "MAX_PATH", "SignedRoot", "Statement", "VerifiedStatement", "require_entry_size"]

MAX_ENTRY_BYTES = 8 << 20
"""A bundle is passed around by mail and chat; larger entries are compared, but not put into one."""

MAX_PATH = 64
"""Steps of a path: a tree has fewer than 2**64 leaves."""

# A node of 1.x is admitted by an earlier node: real chains have one link, for the first node is the service's.
_MAX_ADMISSIONS = 8


@dataclass(frozen=True)
class VerifiedStatement:
    """A statement whose signatures hold.

    Attributes:
        entry: the transaction's entry, parsed.
        txid: the transaction.
        leaf: its Merkle leaf.
        root: the signed root.
        service_key_sha256: hex fingerprint of the service key that vouches for it.
        signed_by: ``node``, ``service``, or both.
        signature_txid: the signature transaction, where the signature itself names it (COSE); else None.
    """

    entry: _native.Entry
    txid: TxId
    leaf: bytes
    root: bytes
    service_key_sha256: str
    signed_by: tuple[str, ...]
    signature_txid: TxId | None

    @property
    def signed_at(self) -> str:
        """Who signed, and where if that is signed too; for people."""
        who = " and ".join(self.signed_by)
        return f"{who} signature" + (f" at {self.signature_txid}" if self.signature_txid is not None else "")


@dataclass(frozen=True)
class Statement:
    """A statement as made or read; nothing about it is verified.

    Attributes:
        entry: the whole entry.
        path: Merkle path from its leaf; True: the sibling is on the left.
        signature_txid: the signature transaction.
        service_certificate: PEM of the service in force.
        node_certificate: PEM of the signing node; None without a node signature.
        raw_signature: the node's, over the root; DER.
        cose_signature: the service's, a COSE_Sign1.
        admission: for a node of 1.x whose certificate is its own: the statement about the row that made it Trusted.
    """

    entry: bytes
    path: tuple[tuple[bool, bytes], ...]
    signature_txid: TxId
    service_certificate: str
    node_certificate: str | None = None
    raw_signature: bytes | None = None
    cose_signature: bytes | None = None
    admission: Statement | None = None

    def verify(self) -> VerifiedStatement:
        """Verifies the statement under the service certificate that it carries; whose that is, is not judged.

        (1) The entry is well-formed, and its path has the directions of its seqno in a tree that the signature
        transaction signs; (2) every signature that is there holds over the root that the path leads to; (3) the
        node's certificate is issued by the service, or the node was admitted by one whose is.

        Raises:
            FormatError: a part cannot be parsed.
            VerificationError: a signature or the path does not hold.
        """
        if len(self.entry) > MAX_ENTRY_BYTES:
            raise FormatError(f"entry is too large: expected at most {MAX_ENTRY_BYTES} bytes")
        entry = _native.Entry.parse(self.entry)
        txid = TxId(entry.view, entry.seqno)
        self._check_place(txid)
        root = _native.merkle_root_of_path(entry.leaf, list(self.path))
        service = parse_certificate(self.service_certificate)
        service_key = _native.PublicKey.from_spki(service.spki)
        signed_by = []
        if self.raw_signature is not None:
            self._verify_raw(root, service_key)
            signed_by.append("node")
        if self.cose_signature is not None:
            verify_cose_root(self.cose_signature, root, self.signature_txid, service_key)
            signed_by.append("service")
        if not signed_by:
            raise _untrue("statement has no signature", txid)
        return VerifiedStatement(
            entry,
            txid,
            entry.leaf,
            root,
            service.spki_sha256,
            tuple(signed_by),
            self.signature_txid if self.cose_signature is not None else None,
        )

    def _check_place(self, txid: TxId) -> None:
        if txid.seqno >= self.signature_txid.seqno or txid.view > self.signature_txid.view:
            raise _untrue(f"transaction {txid} does not come before its signature {self.signature_txid}", txid)
        expected = _native.merkle_path_directions(txid.seqno, self.signature_txid.seqno)
        if [left for left, _ in self.path] != expected:
            raise _untrue(
                f"path is not that of leaf {txid.seqno} in a tree of {self.signature_txid.seqno} leaves", txid
            )

    def _verify_raw(self, root: bytes, service_key: _native.PublicKey) -> None:
        if self.node_certificate is None or self.raw_signature is None:
            raise _untrue("node signature without a node certificate")
        node = parse_certificate(self.node_certificate)
        if not is_node_certificate(node, service_key.spki.hex()):
            self._verify_admission(node, service_key)
        if not _native.PublicKey.from_spki(node.spki).verifies_prehashed(root, self.raw_signature):
            raise _untrue("node signature does not hold over the root")

    def _verify_admission(self, node: _native.Certificate, service_key: _native.PublicKey) -> None:
        if self.admission is None:
            raise _untrue(
                f"node certificate is not issued to a node by the service: expected {service_key.sha256}, got issuer "
                f"{node.issuer_text}"
            )
        if self.admission.depth >= _MAX_ADMISSIONS:
            raise _untrue(f"node was admitted over too many steps: expected at most {_MAX_ADMISSIONS}")
        admitted = self.admission.verify()
        if admitted.service_key_sha256 != service_key.sha256:
            raise _untrue("node was admitted by another service")
        if not admits(admitted.entry, node):
            raise _untrue(f"transaction {admitted.txid} does not admit node {node.spki_sha256}")

    @property
    def depth(self) -> int:
        """How many admissions are nested in this statement."""
        count, inner = 0, self.admission
        while inner is not None:
            count, inner = count + 1, inner.admission
        return count

    def to_json(self) -> dict[str, object]:
        """The object that a bundle holds."""
        return {
            "entry": encode(self.entry),
            "path": [{"left" if left else "right": sibling.hex()} for left, sibling in self.path],
            "signature_txid": str(self.signature_txid),
            "service_certificate": self.service_certificate,
            "node_certificate": self.node_certificate,
            "raw_signature": None if self.raw_signature is None else encode(self.raw_signature),
            "cose_signature": None if self.cose_signature is None else encode(self.cose_signature),
            "admission": None if self.admission is None else self.admission.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], *, nested: int = 0) -> Statement:
        """Reads the object of a bundle.

        Raises:
            FormatError: it is not one.
            KeyError, TypeError, ValueError: likewise; a part is missing or of another type.
        """
        if nested > _MAX_ADMISSIONS:
            raise FormatError(f"admissions are nested too deep: expected at most {_MAX_ADMISSIONS}")
        path = tuple(_step(step) for step in document["path"])
        if len(path) > MAX_PATH:
            raise FormatError(f"path is too long: expected at most {MAX_PATH} steps")
        raw, cose, admission = document["raw_signature"], document["cose_signature"], document["admission"]
        node = document["node_certificate"]
        return cls(
            decode(document["entry"]),
            path,
            TxId.parse(text(document["signature_txid"])),
            text(document["service_certificate"]),
            None if node is None else text(node),
            None if raw is None else decode(raw),
            None if cose is None else decode(cose),
            None if admission is None else cls.from_json(admission, nested=nested + 1),
        )


@dataclass(frozen=True)
class SignedRoot:
    """A root that a service signed with COSE, which names the position. Nothing about it is verified."""

    root: bytes
    signature_txid: TxId
    service_certificate: str
    cose_signature: bytes

    def verify(self) -> str:
        """Verifies the signature; returns the fingerprint of the service key.

        Raises:
            FormatError: a part cannot be parsed.
            VerificationError: it does not hold.
        """
        service = parse_certificate(self.service_certificate)
        verify_cose_root(self.cose_signature, self.root, self.signature_txid, _native.PublicKey.from_spki(service.spki))
        return service.spki_sha256

    def to_json(self) -> dict[str, object]:
        """The object that a bundle holds."""
        return {
            "root": self.root.hex(),
            "signature_txid": str(self.signature_txid),
            "service_certificate": self.service_certificate,
            "cose_signature": encode(self.cose_signature),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SignedRoot:
        """Reads the object of a bundle.

        Raises:
            FormatError, KeyError, TypeError, ValueError: it is not one.
        """
        root = bytes.fromhex(text(document["root"]))
        if len(root) != 32:
            raise FormatError("root is not 32 bytes")
        return cls(
            root,
            TxId.parse(text(document["signature_txid"])),
            text(document["service_certificate"]),
            decode(document["cose_signature"]),
        )


def verify_cose_root(signature: bytes, root: bytes, txid: TxId, key: _native.PublicKey) -> None:
    """Checks a COSE signature over a root, and that it is the one of the signature transaction ``txid``.

    Raises:
        FormatError: it is not a COSE_Sign1.
        VerificationError: it does not hold, or is of another transaction.
    """
    sign1 = _native.CoseSign1.parse(signature)
    algorithm = sign1.algorithm
    profile = sign1.protected_headers.get("ccf.v1")
    named = profile.get("txid") if isinstance(profile, dict) else None
    if named != str(txid):
        raise _untrue(f"COSE signature is that of another transaction: expected {txid}, got {str(named)[:40]}")
    if sign1.payload is not None:
        raise _untrue("COSE signature has a payload of its own: expected none, for the root is what is signed")
    if algorithm is None or not key.verifies_cose(sign1.signed_bytes(root), sign1.signature, algorithm):
        raise _untrue("COSE signature does not hold over the root")


def admits(entry: _native.Entry, node: _native.Certificate) -> bool:
    """Whether ``entry`` writes the row of 1.x that makes a node with this certificate Trusted."""
    value = (entry.table(NODES_INFO) or {}).get(node.spki_sha256.encode())
    try:
        row = None if value is None else json.loads(value)
        if not isinstance(row, dict) or row.get("status") != "Trusted" or not isinstance(row.get("cert"), str):
            return False
        return parse_certificate(row["cert"]).spki == node.spki
    except (FormatError, ValueError, RecursionError):
        return False


def require_entry_size(entry: bytes) -> None:
    """Refuses entries that do not belong into a file that people pass around.

    Raises:
        UsageError: it is too large.
    """
    if len(entry) > MAX_ENTRY_BYTES:
        raise UsageError(
            f"transaction is too large for an evidence bundle: {len(entry)} bytes, at most {MAX_ENTRY_BYTES}",
            code="evidence-too-large",
        )


def encode(data: bytes) -> str:
    """Base64 text."""
    return base64.b64encode(data).decode()


def decode(value: object) -> bytes:
    """Bytes of base64 text; its size is bounded by that of the bundle.

    Raises:
        FormatError: it is something else.
    """
    try:
        return base64.b64decode(text(value), validate=True)
    except binascii.Error as error:
        raise FormatError("a value is not base64") from error


def text(value: object) -> str:
    """The value, which must be text.

    Raises:
        FormatError: it is something else.
    """
    if not isinstance(value, str):
        raise FormatError(f"expected text, got {type(value).__name__}")
    return value


def _step(step: Mapping[str, object]) -> tuple[bool, bytes]:
    ((side, digest),) = step.items()
    sibling = bytes.fromhex(text(digest))
    if side not in ("left", "right") or len(sibling) != 32:
        raise FormatError("step of a path is malformed")
    return side == "left", sibling


def _untrue(message: str, txid: TxId | None = None) -> VerificationError:
    return VerificationError(message, code="evidence-untrue", txid=None if txid is None else str(txid))
