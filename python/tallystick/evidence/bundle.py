"""Evidence bundles: small self-contained files that show that a service has two histories.

Each is checked without anything but the bundle and the service's identity. Four kinds:

* ``fork``: two statements about one transaction number, with different entries;
* ``double-signature``: two COSE signatures of one identity, of the same signature transaction, over two roots;
* ``receipt-fork``: a receipt and a statement about the same number, with different leaves;
* ``truncation``: a receipt for transaction v.s, and a statement about a transaction at or before s in a later
  view than v. Seqnos of a view are contiguous and views never fall, so v.s is not in that history.

What excuses the service, and what does not. A view has one primary, which writes each number once: two
transactions with the same view and number, both signed, have no innocent cause. With *different* views they can
have one: a primary signs before its transactions are committed, and what it signed and did not commit is lost when
another takes over. So a signed transaction can be replaced in a later view, unless it was committed. A receipt shows
that: the commit evidence in it is given out after commit, and every later view holds what was committed. A bundle of
two statements in different views therefore decides nothing (``conclusive`` is False), and says so.

Which identities are lives of one service, a bundle shows by ``links`` (``links.py``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallystick.errors import FormatError, TallystickError, VerificationError
from tallystick.evidence import codes as _codes  # noqa: F401 -- registers the codes of findings
from tallystick.evidence.links import Succession, verify_links, vouched_for
from tallystick.evidence.statement import SignedRoot, Statement, VerifiedStatement, decode, encode, text
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.receipt.model import VerifiedReceipt
from tallystick.receipt.verify import verify_receipt
from tallystick.types import TxId

__all__ = ["KINDS", "MAX_BUNDLE_BYTES", "SCHEMA", "Bundle", "VerifiedEvidence"]

SCHEMA = "tallystick.evidence/1"

MAX_BUNDLE_BYTES = 48 << 20
"""Two entries of the largest size in base64, and as much again for everything else."""

KINDS = ("fork", "double-signature", "receipt-fork", "truncation")
_STATEMENTS = {"fork": 2, "double-signature": 0, "receipt-fork": 1, "truncation": 1}

# A service is recovered a handful of times.
_MAX_LINKS = 100


@dataclass(frozen=True)
class VerifiedEvidence:
    """What a bundle shows.

    Attributes:
        conclusion: one sentence for people.
        conclusive: no innocent course of events leads to it.
        caveat: what would excuse it; None when conclusive.
        services: fingerprints of the service keys whose signatures it rests on.
        before: recoveries by the identity that each brought, by that identity's own signed word.
    """

    kind: str
    conclusion: str
    conclusive: bool
    caveat: str | None
    services: tuple[str, ...]
    before: Mapping[str, Succession]

    def unpinned(self, anchor: TrustAnchor) -> list[str]:
        """The services that are neither pinned nor earlier lives of a pinned one by its own word."""
        held = {older for pin in anchor.fingerprints for older in vouched_for(self.before, pin)}
        return [service for service in self.services if service not in held]

    @property
    def one_service(self) -> bool:
        """Whether all the keys are of one service: one key, or lives that the links connect."""
        return any(set(self.services) <= set(vouched_for(self.before, service)) for service in self.services)


@dataclass(frozen=True)
class Bundle:
    """A bundle as made or read; nothing about it is verified.

    Attributes:
        kind: one of :data:`KINDS`.
        statements: two for a fork, none for a double signature, one otherwise.
        receipt: JSON or COSE receipt, as bytes.
        receipt_service_certificate: PEM of the service that it verifies under.
        roots: two for a double signature.
        links: statements about recoveries.
        note: where the parts come from, in the maker's words; evidence of nothing.
    """

    kind: str
    statements: tuple[Statement, ...] = ()
    receipt: bytes | None = None
    receipt_service_certificate: str | None = None
    note: str = ""
    roots: tuple[SignedRoot, ...] = ()
    links: tuple[Statement, ...] = ()

    def to_bytes(self) -> bytes:
        """The file."""
        document = {
            "schema": SCHEMA,
            "kind": self.kind,
            "note": self.note,
            "statements": [statement.to_json() for statement in self.statements],
            "roots": [root.to_json() for root in self.roots],
            "receipt": None if self.receipt is None else encode(self.receipt),
            "receipt_service_certificate": self.receipt_service_certificate,
            "links": [statement.to_json() for statement in self.links],
        }
        return json.dumps(document, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Bundle:
        """Reads a file.

        Raises:
            FormatError: it is not a bundle (code ``evidence-malformed``).
        """
        if len(data) > MAX_BUNDLE_BYTES:
            raise _malformed(f"expected at most {MAX_BUNDLE_BYTES} bytes")
        try:
            document = json.loads(data)
            if not isinstance(document, dict) or document.get("schema") != SCHEMA:
                raise _malformed(f"expected schema {SCHEMA}")
            return cls._read(document)
        except TallystickError as error:
            raise _malformed(error.message.removeprefix(_SUBJECT)) from error
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise _malformed(f"{type(error).__name__}: {str(error)[:80]}") from error

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> Bundle:
        kind = text(document["kind"])
        if kind not in KINDS:
            raise _malformed(f"kind: expected one of {', '.join(KINDS)}, got {kind[:40]!r}")
        statements, roots, links = document["statements"], document["roots"], document["links"]
        for name, items, most in (("statements", statements, 2), ("roots", roots, 2), ("links", links, _MAX_LINKS)):
            if not isinstance(items, list) or len(items) > most:
                raise _malformed(f"{name}: expected a list of at most {most}")
        receipt, certificate = document["receipt"], document["receipt_service_certificate"]
        return cls(
            kind,
            tuple(Statement.from_json(item) for item in statements),
            None if receipt is None else decode(receipt),
            None if certificate is None else text(certificate),
            text(document.get("note", "")),
            tuple(SignedRoot.from_json(item) for item in roots),
            tuple(Statement.from_json(item) for item in links),
        )

    def verify(self) -> VerifiedEvidence:
        """Verifies the bundle under the service certificates that it carries.

        Whose they are is for the caller: see :meth:`VerifiedEvidence.unpinned`.

        Raises:
            FormatError: a part cannot be parsed (code ``evidence-malformed``).
            VerificationError: it does not show what it claims (code ``evidence-untrue``).
        """
        self._require_parts()
        try:
            evidence = self._verify()
        except VerificationError as error:
            if error.code == "evidence-untrue":
                raise
            raise _untrue(error.message) from error
        except TallystickError as error:
            raise _malformed(error.message) from error
        if not evidence.one_service:
            raise _untrue(
                f"nothing shows that these are lives of one service: {', '.join(evidence.services)}; two services "
                "have two histories"
            )
        return evidence

    def _require_parts(self) -> None:
        expected = _STATEMENTS.get(self.kind)
        if expected is None:
            raise _malformed(f"unknown kind {self.kind[:40]!r}")
        if len(self.statements) != expected:
            raise _malformed(f"{self.kind} needs {expected} statements, got {len(self.statements)}")
        if len(self.roots) != (2 if self.kind == "double-signature" else 0):
            raise _malformed(f"{self.kind} has {len(self.roots)} signed roots")
        needs_receipt = self.kind in ("receipt-fork", "truncation")
        if needs_receipt != (self.receipt is not None and self.receipt_service_certificate is not None):
            word = "needs a receipt and its service certificate" if needs_receipt else "has a receipt too many"
            raise _malformed(f"{self.kind} {word}")

    def _verify(self) -> VerifiedEvidence:
        before = verify_links(self.links)
        if self.kind == "double-signature":
            return _double_signature(self.roots[0], self.roots[1], before)
        verified = [statement.verify() for statement in self.statements]
        if self.kind == "fork":
            return _fork(verified[0], verified[1], before)
        receipt = self._verify_receipt()
        judge = _truncation if self.kind == "truncation" else _receipt_fork
        return judge(verified[0], receipt, before)

    def _verify_receipt(self) -> VerifiedReceipt:
        certificate, receipt = self.receipt_service_certificate, self.receipt
        if certificate is None or receipt is None:
            raise _malformed(f"{self.kind} needs a receipt and its service certificate")
        anchor = TrustAnchor.from_certificates([certificate.encode("utf-8", "surrogatepass")])
        try:
            verified = verify_receipt(receipt, anchor)
        except TallystickError as error:
            raise _untrue(f"receipt does not hold: {error.message}") from error
        if any(note.code == "service-endorsed" for note in verified.notes):
            # Endorsement certificates name no epoch, so an old key could accuse a later life with them.
            raise _untrue("receipt is signed by an older service key: expected the certificate of that key beside it")
        return verified


def _check_lives(before: Mapping[str, Succession], *signed: tuple[str, TxId]) -> None:
    """Refuses what an identity signed for views in which a later life had begun: its key was out of force by then."""
    for service, txid in signed:
        for step in before.values():
            if step.previous == service and txid.view >= step.boot.view:
                raise _untrue(
                    f"{txid} is signed by service key {service}, whose life had ended when the next one began at "
                    f"{step.boot}"
                )


def _fork(first: VerifiedStatement, second: VerifiedStatement, before: Mapping[str, Succession]) -> VerifiedEvidence:
    if first.txid.seqno != second.txid.seqno:
        raise _untrue(f"statements are about different numbers: {first.txid} and {second.txid}")
    if first.leaf == second.leaf:
        raise _untrue(f"both statements are about the same transaction {first.txid}")
    _check_lives(before, *((item.service_key_sha256, item.txid) for item in (first, second)))
    conclusive = first.txid.view == second.txid.view
    lower = min(first.txid, second.txid)
    return VerifiedEvidence(
        "fork",
        f"two different transactions with number {first.txid.seqno} are signed: {_told(first)} and {_told(second)}",
        conclusive,
        None if conclusive else _rollback(lower),
        _services(first.service_key_sha256, second.service_key_sha256),
        before,
    )


def _told(statement: VerifiedStatement) -> str:
    return f"{statement.txid} with leaf {statement.leaf.hex()} ({statement.signed_at})"


def _rollback(lower: TxId) -> str:
    return (
        f"{lower} may have been signed and never committed, and lost when a later view began; that would be no fault, "
        f"and a receipt for {lower} would rule it out"
    )


def _double_signature(first: SignedRoot, second: SignedRoot, before: Mapping[str, Succession]) -> VerifiedEvidence:
    services = [root.verify() for root in (first, second)]
    if services[0] != services[1]:
        raise _untrue("the two roots are signed by different service keys")
    if first.signature_txid != second.signature_txid:
        raise _untrue(f"signatures are of different transactions: {first.signature_txid} and {second.signature_txid}")
    if first.root == second.root:
        raise _untrue(f"both signatures are over the same root {first.root.hex()}")
    return VerifiedEvidence(
        "double-signature",
        f"one service identity signed two roots at {first.signature_txid}: {first.root.hex()} and {second.root.hex()}",
        True,
        None,
        (services[0],),
        before,
    )


def _receipt_txid(receipt: VerifiedReceipt) -> TxId:
    # Only commit evidence names a transaction and shows that it was committed.
    if receipt.txid is None:
        raise _untrue("receipt names no transaction")
    return TxId.parse(receipt.txid)


def _receipt_fork(
    statement: VerifiedStatement, receipt: VerifiedReceipt, before: Mapping[str, Succession]
) -> VerifiedEvidence:
    txid = _receipt_txid(receipt)
    if txid.seqno != statement.txid.seqno:
        raise _untrue(f"receipt and statement are about different numbers: {txid} and {statement.txid}")
    if receipt.leaf == statement.leaf:
        raise _untrue(f"receipt and statement are about the same transaction {txid}")
    _check_lives(before, (receipt.service_key_sha256, txid), (statement.service_key_sha256, statement.txid))
    # What a receipt shows to be committed is in every later view, and what an earlier view held may be lost.
    conclusive = statement.txid.view >= txid.view
    return VerifiedEvidence(
        "receipt-fork",
        f"a receipt proves that {txid} with leaf {receipt.leaf.hex()} was committed, and another transaction with that "
        f"number is signed: {_told(statement)}",
        conclusive,
        None if conclusive else _rollback(statement.txid),
        _services(receipt.service_key_sha256, statement.service_key_sha256),
        before,
    )


def _truncation(
    statement: VerifiedStatement, receipt: VerifiedReceipt, before: Mapping[str, Succession]
) -> VerifiedEvidence:
    txid = _receipt_txid(receipt)
    if statement.txid.seqno > txid.seqno or statement.txid.view <= txid.view:
        raise _untrue(f"{statement.txid} does not exclude {txid}: expected a number up to {txid.seqno} in a later view")
    _check_lives(before, (receipt.service_key_sha256, txid), (statement.service_key_sha256, statement.txid))
    return VerifiedEvidence(
        "truncation",
        f"a receipt proves that {txid} was committed, and a signed history has {_told(statement)} at or before that "
        f"number in a later view: it went on without {txid}",
        True,
        None,
        _services(receipt.service_key_sha256, statement.service_key_sha256),
        before,
    )


def _services(*fingerprints: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fingerprints))


_SUBJECT = "evidence bundle is malformed: "


def _malformed(problem: str) -> FormatError:
    return FormatError(_SUBJECT + problem, code="evidence-malformed")


def _untrue(message: str) -> VerificationError:
    return VerificationError(message, code="evidence-untrue")
