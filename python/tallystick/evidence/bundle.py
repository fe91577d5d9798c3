"""Evidence bundles: small self-contained files that show that a service has two histories.

Three kinds, each checked without anything but the bundle and the service's identity:

* ``fork``: two statements about one transaction number, with different entries;
* ``truncation``: a receipt for transaction v.s, and a statement about a transaction at or before s in a later
  view than v, so that the history with the statement went on without the receipt's transaction. Seqnos of a
  view are contiguous and views never fall, so v.s cannot be in it;
* ``receipt-fork``: a receipt and a statement about the same transaction number, with different leaves.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallystick.errors import FormatError, TallystickError, VerificationError
from tallystick.evidence import codes as _codes  # noqa: F401 -- registers the codes of findings
from tallystick.evidence.statement import Statement, VerifiedStatement
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.receipt.model import VerifiedReceipt
from tallystick.receipt.verify import verify_receipt
from tallystick.types import TxId

__all__ = ["MAX_BUNDLE_BYTES", "SCHEMA", "Bundle", "VerifiedEvidence"]

SCHEMA = "tallystick.evidence/1"
MAX_BUNDLE_BYTES = 512 << 20
KINDS = ("fork", "truncation", "receipt-fork")


@dataclass(frozen=True)
class VerifiedEvidence:
    """What a bundle shows.

    Attributes:
        conclusion: one sentence for people.
        services: fingerprints of the service keys whose signatures it rests on.
    """

    kind: str
    conclusion: str
    services: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """A bundle as made or read; nothing about it is verified.

    Attributes:
        kind: ``fork``, ``truncation`` or ``receipt-fork``.
        statements: two for a fork, one otherwise.
        receipt: JSON or COSE receipt, as bytes; None for a fork.
        note: where the parts come from, in the maker's words; evidence of nothing.
    """

    kind: str
    statements: tuple[Statement, ...]
    receipt: bytes | None = None
    receipt_service_certificate: str | None = None
    note: str = ""

    def to_bytes(self) -> bytes:
        """The file."""
        document = {
            "schema": SCHEMA,
            "kind": self.kind,
            "note": self.note,
            "statements": [statement.to_json() for statement in self.statements],
            "receipt": None if self.receipt is None else base64.b64encode(self.receipt).decode(),
            "receipt_service_certificate": self.receipt_service_certificate,
        }
        return json.dumps(document, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Bundle:
        """Reads a file.

        Raises:
            FormatError: it is not a bundle.
        """
        if len(data) > MAX_BUNDLE_BYTES:
            raise FormatError(
                f"evidence bundle is too large: expected at most {MAX_BUNDLE_BYTES} bytes", code="evidence-malformed"
            )
        try:
            document: Mapping[str, Any] = json.loads(data)
            if document["schema"] != SCHEMA:
                raise FormatError(f"expected schema {SCHEMA}", code="evidence-malformed")
            receipt, certificate = document["receipt"], document["receipt_service_certificate"]
            return cls(
                str(document["kind"]),
                tuple(Statement.from_json(item) for item in document["statements"]),
                None if receipt is None else base64.b64decode(receipt, validate=True),
                None if certificate is None else str(certificate),
                str(document.get("note", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise FormatError(
                f"evidence bundle is malformed: {type(error).__name__}", code="evidence-malformed"
            ) from error

    def verify(self) -> VerifiedEvidence:
        """Verifies the bundle under the service certificates that it carries.

        Whose they are is for the caller: compare :attr:`VerifiedEvidence.services` with the identities pinned.

        Raises:
            FormatError: a part cannot be parsed.
            VerificationError: it does not show what it claims.
        """
        if self.kind not in KINDS:
            raise FormatError(f"unknown kind of evidence {self.kind[:40]!r}", code="evidence-malformed")
        expected = 2 if self.kind == "fork" else 1
        if len(self.statements) != expected:
            raise FormatError(
                f"{self.kind} needs {expected} statements, got {len(self.statements)}", code="evidence-malformed"
            )
        verified = [statement.verify() for statement in self.statements]
        if self.kind == "fork":
            return _fork(verified[0], verified[1])
        receipt = self._verify_receipt()
        return _truncation(verified[0], receipt) if self.kind == "truncation" else _receipt_fork(verified[0], receipt)

    def _verify_receipt(self) -> VerifiedReceipt:
        if self.receipt is None or self.receipt_service_certificate is None:
            raise FormatError(f"{self.kind} needs a receipt and its service certificate", code="evidence-malformed")
        anchor = TrustAnchor.from_certificates([self.receipt_service_certificate.encode()])
        try:
            return verify_receipt(self.receipt, anchor)
        except TallystickError as error:
            raise VerificationError(f"receipt does not hold: {error.message}", code="evidence-untrue") from error


def _fork(first: VerifiedStatement, second: VerifiedStatement) -> VerifiedEvidence:
    if first.txid.seqno != second.txid.seqno:
        raise VerificationError(
            f"statements are about different numbers: {first.txid} and {second.txid}", code="evidence-untrue"
        )
    if first.leaf == second.leaf:
        raise VerificationError(f"both statements are about the same transaction {first.txid}", code="evidence-untrue")
    return VerifiedEvidence(
        "fork",
        f"two different transactions with number {first.txid.seqno} are signed: {first.txid} (leaf {first.leaf.hex()}, "
        f"signed at {first.signature_txid}) and {second.txid} (leaf {second.leaf.hex()}, signed at "
        f"{second.signature_txid})",
        _services(first.service_key_sha256, second.service_key_sha256),
    )


def _receipt_txid(receipt: VerifiedReceipt) -> TxId:
    if receipt.txid is None:
        raise VerificationError("receipt names no transaction", code="evidence-untrue")
    return TxId.parse(str(receipt.txid))


def _receipt_fork(statement: VerifiedStatement, receipt: VerifiedReceipt) -> VerifiedEvidence:
    txid = _receipt_txid(receipt)
    if txid.seqno != statement.txid.seqno:
        raise VerificationError(
            f"receipt and statement are about different numbers: {txid} and {statement.txid}", code="evidence-untrue"
        )
    leaf = bytes.fromhex(receipt.leaf) if isinstance(receipt.leaf, str) else receipt.leaf
    if leaf == statement.leaf:
        raise VerificationError(f"receipt and statement are about the same transaction {txid}", code="evidence-untrue")
    return VerifiedEvidence(
        "receipt-fork",
        f"a receipt proves {txid}, and another transaction {statement.txid} is signed under the same number "
        f"(at {statement.signature_txid})",
        _services(str(receipt.service_key_sha256), statement.service_key_sha256),
    )


def _truncation(statement: VerifiedStatement, receipt: VerifiedReceipt) -> VerifiedEvidence:
    txid = _receipt_txid(receipt)
    if statement.txid.seqno > txid.seqno or statement.txid.view <= txid.view:
        raise VerificationError(
            f"{statement.txid} does not exclude {txid}: expected a number up to {txid.seqno} in a later view",
            code="evidence-untrue",
        )
    return VerifiedEvidence(
        "truncation",
        f"a receipt proves {txid}, and a signed history has {statement.txid} before that number: it went on without it",
        _services(str(receipt.service_key_sha256), statement.service_key_sha256),
    )


def _services(*fingerprints: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fingerprints))
