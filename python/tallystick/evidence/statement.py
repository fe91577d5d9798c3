"""A signed statement about one position: this transaction, at this number, is in a history that a service signed.

Its parts are taken from a ledger byte for byte: the entry, its Merkle path, and the signatures of the first
signature transaction after it. The entry itself holds its number (in its IV and its public domain), so a
statement cannot be passed off as one about another position.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallystick import _native
from tallystick.errors import FormatError, UsageError, VerificationError
from tallystick.types import TxId

__all__ = ["MAX_ENTRY_BYTES", "Statement", "VerifiedStatement"]

# A bundle is passed around by mail and chat; larger entries are compared, but not put into one.
MAX_ENTRY_BYTES = 64 << 20
_MAX_PATH = 64


@dataclass(frozen=True)
class VerifiedStatement:
    """A statement whose signatures hold.

    Attributes:
        txid: the transaction.
        leaf: its Merkle leaf.
        signature_txid: the signature transaction.
        root: the signed root.
        service_key_sha256: hex fingerprint of the service key that vouches for it.
        signed_by: ``node``, ``service``, or both.
        position_signed: whether the signature itself names its transaction ID (COSE signatures do).
    """

    txid: TxId
    leaf: bytes
    signature_txid: TxId
    root: bytes
    service_key_sha256: str
    signed_by: tuple[str, ...]
    position_signed: bool


@dataclass(frozen=True)
class Statement:
    """A statement as made or read; nothing about it is verified.

    Attributes:
        entry: the whole entry.
        path: Merkle path from its leaf; True: the sibling is on the left.
        node_certificate: PEM of the signing node, issued by the service; None without a node signature.
        service_certificate: PEM of the service in force.
    """

    entry: bytes
    path: tuple[tuple[bool, bytes], ...]
    signature_txid: TxId
    service_certificate: str
    node_certificate: str | None = None
    raw_signature: bytes | None = None
    cose_signature: bytes | None = None

    def verify(self) -> VerifiedStatement:
        """Verifies the statement under the service certificate that it carries; whose that is, is not judged.

        Raises:
            FormatError: a part cannot be parsed.
            VerificationError: a signature or the path does not hold.
        """
        entry = _native.Entry.parse(self.entry)
        txid = TxId(entry.view, entry.seqno)
        expected = _native.merkle_path_directions(entry.seqno, self.signature_txid.seqno)
        if [left for left, _ in self.path] != expected:
            raise VerificationError(
                f"path is not that of leaf {entry.seqno} in a tree of {self.signature_txid.seqno} leaves",
                code="evidence-untrue",
                txid=str(txid),
            )
        root = _native.merkle_root_of_path(entry.leaf, list(self.path))
        service = _native.Certificate.parse(self.service_certificate.encode())
        service_key = _native.PublicKey.from_spki(service.spki)
        signed_by = []
        if self.raw_signature is not None:
            self._verify_raw(root, service_key)
            signed_by.append("node")
        if self.cose_signature is not None:
            self._verify_cose(root, service_key)
            signed_by.append("service")
        if not signed_by:
            raise VerificationError("statement has no signature", code="evidence-untrue", txid=str(txid))
        return VerifiedStatement(
            txid,
            entry.leaf,
            self.signature_txid,
            root,
            service.spki_sha256,
            tuple(signed_by),
            self.cose_signature is not None,
        )

    def _verify_raw(self, root: bytes, service_key: _native.PublicKey) -> None:
        if self.node_certificate is None or self.raw_signature is None:
            raise VerificationError("node signature without a node certificate", code="evidence-untrue")
        node = _native.Certificate.parse(self.node_certificate.encode())
        if node.ecdsa_hash is None or not service_key.verifies(node.tbs, node.signature, node.ecdsa_hash):
            raise VerificationError(
                f"node certificate is not issued by the service: expected {service_key.sha256}, "
                f"got issuer {node.issuer_text}",
                code="evidence-untrue",
            )
        if not _native.PublicKey.from_spki(node.spki).verifies_prehashed(root, self.raw_signature):
            raise VerificationError("node signature does not hold over the root", code="evidence-untrue")

    def _verify_cose(self, root: bytes, service_key: _native.PublicKey) -> None:
        sign1 = _native.CoseSign1.parse(self.cose_signature or b"")
        algorithm = sign1.algorithm
        profile = sign1.protected_headers.get("ccf.v1")
        named = profile.get("txid") if isinstance(profile, dict) else None
        if named != str(self.signature_txid):
            raise VerificationError(
                f"COSE signature is that of another transaction: expected {self.signature_txid}, got {named}",
                code="evidence-untrue",
            )
        if algorithm is None or not service_key.verifies_cose(sign1.signed_bytes(root), sign1.signature, algorithm):
            raise VerificationError("COSE signature does not hold over the root", code="evidence-untrue")

    def to_json(self) -> dict[str, object]:
        """The object that a bundle holds."""
        return {
            "entry": base64.b64encode(self.entry).decode(),
            "path": [{"left" if left else "right": sibling.hex()} for left, sibling in self.path],
            "signature_txid": str(self.signature_txid),
            "service_certificate": self.service_certificate,
            "node_certificate": self.node_certificate,
            "raw_signature": None if self.raw_signature is None else base64.b64encode(self.raw_signature).decode(),
            "cose_signature": None if self.cose_signature is None else base64.b64encode(self.cose_signature).decode(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Statement:
        """Reads the object of a bundle.

        Raises:
            FormatError: it is not one.
        """
        try:
            path = tuple(_step(step) for step in document["path"])
            if len(path) > _MAX_PATH:
                raise FormatError(f"path is too long: expected at most {_MAX_PATH} steps", code="evidence-malformed")
            return cls(
                _decode(document["entry"]),
                path,
                TxId.parse(document["signature_txid"]),
                str(document["service_certificate"]),
                None if document["node_certificate"] is None else str(document["node_certificate"]),
                None if document["raw_signature"] is None else _decode(document["raw_signature"]),
                None if document["cose_signature"] is None else _decode(document["cose_signature"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise FormatError(f"statement is malformed: {type(error).__name__}", code="evidence-malformed") from error


def _decode(text: object) -> bytes:
    if not isinstance(text, str) or len(text) > 2 * MAX_ENTRY_BYTES:
        raise FormatError("expected base64 text", code="evidence-malformed")
    return base64.b64decode(text, validate=True)


def _step(step: Mapping[str, str]) -> tuple[bool, bytes]:
    ((side, digest),) = step.items()
    sibling = bytes.fromhex(digest)
    if side not in ("left", "right") or len(sibling) != 32:
        raise FormatError("path step is malformed", code="evidence-malformed")
    return side == "left", sibling


def require_entry_size(entry: bytes) -> None:
    """Refuses entries that do not belong into a file that people pass around."""
    if len(entry) > MAX_ENTRY_BYTES:
        raise UsageError(
            f"transaction is too large for an evidence bundle: {len(entry)} bytes, at most {MAX_ENTRY_BYTES}",
            code="evidence-too-large",
        )
