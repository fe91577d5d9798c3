"""Verification of receipts: one that must hold, or many with a result each.

Example:
    >>> anchor = TrustAnchor.from_options(service_certs=["service_cert.pem"])     # doctest: +SKIP
    >>> verify_receipt(Path("receipt.json").read_bytes(), anchor).txid           # doctest: +SKIP
    '2.1030'

What is done for each kind is described in :mod:`tallystick.receipt.json_receipt`,
:mod:`tallystick.receipt.cose_receipt` and :mod:`tallystick.receipt.statement`. Here the kinds meet: files are
recognised, drafted one by one, all their signatures are verified together (each distinct one once, on all
cores), and the outcomes are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tallystick._native import CoseReceipt, CoseSign1, JsonReceipt, SignatureBatch
from tallystick.errors import FormatError, InternalError, LimitExceededError, UndecidedError, VerificationError
from tallystick.findings import Verdict, verdict_of
from tallystick.identity.endorsements import Endorsement
from tallystick.identity.issuance import NodeCertificates
from tallystick.identity.service_keys import IdentityEvidence, ServiceKeys
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.receipt import not_checked
from tallystick.receipt.application_claims import claims_digest_of
from tallystick.receipt.cose_receipt import draft_cose_receipt
from tallystick.receipt.documents import Document, recognise
from tallystick.receipt.json_receipt import compare_claims, draft_json_receipt
from tallystick.receipt.model import (
    Draft,
    Expected,
    ReceiptResult,
    SignatureCheck,
    VerifiedReceipt,
)
from tallystick.receipt.refusals import refused
from tallystick.receipt.statement import LegacyReceipt, draft_legacy_receipt, draft_statement
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick.identity.ledger_copy import LedgerCopy

__all__ = ["ReceiptVerifier", "audit_receipts", "verify_receipt"]

# Below this many signatures, starting threads costs more than they save.
_BATCH_FROM = 3


class ReceiptVerifier:
    """Verifies receipts under one anchor; what it learns of certificates serves all of them.

    Args:
        anchor: the pinned service identities.
        endorsements: of older service keys, in any order.
        issuer_keys: DER SubjectPublicKeyInfo by issuer name, as the issuers published them.
        ledger: a copy of the ledger to compare with, and to find keys in.
        identities: what a bundle of past identities adds to the anchor.
        expected: what the caller knows of the transactions.
        jobs: threads for signatures; 0 means one a core.
    """

    def __init__(
        self,
        anchor: TrustAnchor,
        *,
        endorsements: Iterable[Endorsement] = (),
        issuer_keys: Mapping[str, Iterable[bytes]] | None = None,
        ledger: LedgerCopy | None = None,
        identities: IdentityEvidence | None = None,
        expected: Expected = Expected(),  # noqa: B008 -- frozen
        jobs: int = 0,
    ) -> None:
        known = identities if identities is not None else IdentityEvidence()
        links = [*endorsements, *known.endorsements, *(ledger.endorsements if ledger is not None else ())]
        seen = [*known.spkis, *(ledger.service_spkis if ledger is not None else ())]
        self.keys = ServiceKeys(
            anchor,
            endorsements=links,
            issuer_keys=issuer_keys,
            seen=seen,
            opened=known.opened,
            claimed=known.claimed,
        )
        self.expected = expected
        self._nodes = NodeCertificates(self.keys)
        self._ledger = ledger
        self._jobs = jobs

    def audit(
        self, receipts: Sequence[tuple[str | None, bytes]], expected: Sequence[Expected] | None = None
    ) -> list[ReceiptResult]:
        """One result for each (name, content), in order. Nothing in a content makes this raise.

        Args:
            expected: what is known of each transaction, if it is not the same for all.
        """
        documents = recognise([content for _, content in receipts])
        known = expected if expected is not None else [self.expected] * len(documents)
        drafts = [
            self._draft(name, document, what)
            for (name, _), document, what in zip(receipts, documents, known, strict=True)
        ]
        self._run(drafts)
        for draft in drafts:
            _merge_parts(draft)
            self._compare_with_ledger(draft)
            _require_proof(draft)
        return [draft.result() for draft in drafts]

    def _draft(self, name: str | None, document: Document, expected: Expected) -> Draft:
        draft = Draft(name, document.kind)
        if document.problem is not None:
            draft.say(*document.problem)
            return draft
        parsed = document.parsed
        try:
            if isinstance(parsed, JsonReceipt):
                expected = _beside(draft, document, parsed, expected)
                if not draft.failed:
                    draft_json_receipt(draft, parsed, self._nodes, expected, self._ledger)
            elif isinstance(parsed, CoseReceipt):
                draft_cose_receipt(draft, parsed, self.keys, expected)
            elif isinstance(parsed, CoseSign1):
                draft_statement(draft, parsed, self.keys, self._nodes, expected)
            elif isinstance(parsed, LegacyReceipt):
                self._draft_bare_legacy(draft, parsed, expected)
        except (FormatError, LimitExceededError) as error:
            draft.say(*refused(error))
        return draft

    def _draft_bare_legacy(self, draft: Draft, receipt: LegacyReceipt, expected: Expected) -> None:
        if expected.claims_digest is None:
            draft.say("claims-digest-needed", "legacy receipt on its own: give the statement that it is embedded in")
            return
        draft_legacy_receipt(draft, receipt, self._nodes, expected, expected.claims_digest)

    # ------------------------------------------------------------------------------------- signatures

    def _run(self, drafts: Sequence[Draft]) -> None:
        """Verifies every queued signature, each distinct one once, and tells the drafts."""
        flat = [part for draft in drafts for part in (draft, *draft.parts)]
        checks = [check for draft in flat for group in draft.groups for check in group.checks]
        holds = self._outcomes(checks)
        for draft in flat:
            for group in draft.groups:
                position = next((i for i, check in enumerate(group.checks) if holds[check.identity]), None)
                if position is None:
                    draft.findings.append(group.failure())
                elif group.accepted is not None:
                    group.accepted(position)
        self._explain(flat)

    def _explain(self, drafts: Sequence[Draft]) -> None:
        wanted = [
            (draft, probe)
            for draft in drafts
            for probe in draft.probes
            if any(item.code == probe.explains for item in draft.findings)
        ]
        holds = self._outcomes([probe.check for _, probe in wanted])
        for draft, probe in wanted:
            if holds[probe.check.identity]:
                draft.findings = [probe.finding if item.code == probe.explains else item for item in draft.findings]

    def _outcomes(self, checks: Iterable[SignatureCheck]) -> dict[tuple[int, bytes, bytes, int | None], bool]:
        distinct = {check.identity: check for check in checks}
        if len(distinct) < _BATCH_FROM:
            return {identity: check.holds() for identity, check in distinct.items()}
        batch = SignatureBatch(jobs=self._jobs)
        for tag, check in enumerate(distinct.values()):
            if check.algorithm is None:
                batch.submit_prehashed(tag, check.key, check.message, check.signature)
            else:
                batch.submit_cose(tag, check.key, check.message, check.signature, check.algorithm)
        bad = set(batch.finish())
        return {identity: tag not in bad for tag, identity in enumerate(distinct)}

    # ----------------------------------------------------------------------------------------- ledger

    def _compare_with_ledger(self, draft: Draft) -> None:
        if self._ledger is None:
            draft.not_checked.append(not_checked.FORK)
            return
        if draft.txid is None or draft.leaf is None:
            return
        txid = TxId.parse(draft.txid)
        try:
            entry = self._ledger.transaction(txid.seqno)
        except (FormatError, LimitExceededError) as error:
            draft.say("ledger-lacks-transaction", f"the ledger copy cannot be read at {txid}: {error}")
            return
        if entry is None:
            draft.say("ledger-lacks-transaction", f"the ledger copy does not hold transaction {txid}")
        elif entry.view != txid.view:
            draft.say(
                "ledger-leaf-mismatch",
                f"the ledger copy holds transaction {entry.txid} at this seqno, the receipt proves {txid}",
            )
        elif entry.leaf != draft.leaf:
            draft.say(
                "ledger-leaf-mismatch",
                f"leaf of transaction {txid}: expected {draft.leaf.hex()} (by the receipt), got {entry.leaf.hex()} "
                "in the ledger copy",
            )
        else:
            draft.not_checked = [item for item in draft.not_checked if item != not_checked.WRITES]


def _beside(draft: Draft, document: Document, receipt: JsonReceipt, expected: Expected) -> Expected:
    """What a service's response says beside the receipt must be true of the receipt."""
    if document.asked_txid is not None:
        asked = TxId.parse(document.asked_txid)
        if expected.txid is not None and expected.txid != asked:
            draft.say("txid-mismatch", f"transaction ID of the response: expected {expected.txid}, got {asked}")
        expected = replace(expected, txid=asked)
    if document.has_application_claims:
        try:
            digest = claims_digest_of(document.application_claims)
        except FormatError as error:
            draft.say(error.code, error.message)
            return expected
        if receipt.claims_digest is not None:
            draft.claims_digest = receipt.claims_digest
            compare_claims(draft, Expected(claims_digest=digest))
        if expected.claims_digest is None:
            expected = replace(expected, claims_digest=digest)
    return expected


def _require_proof(draft: Draft) -> None:
    """Last line of defence: nothing is verified without a root, a service key, and a signature that held."""
    signed = bool(draft.groups) or any(part.groups for part in draft.parts)
    complete = draft.root is not None and draft.service_key_sha256 is not None and signed
    if not complete and verdict_of(draft.findings) is Verdict.VERIFIED:
        draft.say("unsupported", "nothing in it could be verified")


def _merge_parts(draft: Draft) -> None:
    """A statement stands for all its receipts: the first gives it its values, every one its findings."""
    for part in draft.parts:
        draft.findings += [replace(item, message=part.label + item.message) for item in part.findings]
        draft.not_checked += part.not_checked
    if draft.parts:
        first = draft.parts[0]
        draft.txid, draft.leaf, draft.root = first.txid, first.leaf, first.root
        draft.claims_digest, draft.service_key_sha256 = first.claims_digest, first.service_key_sha256


def audit_receipts(
    receipts: Sequence[tuple[str | None, bytes]],
    anchor: TrustAnchor,
    *,
    endorsements: Iterable[Endorsement] = (),
    issuer_keys: Mapping[str, Iterable[bytes]] | None = None,
    ledger: LedgerCopy | None = None,
    identities: IdentityEvidence | None = None,
    expected: Expected = Expected(),  # noqa: B008 -- frozen
    jobs: int = 0,
) -> list[ReceiptResult]:
    """Verifies many receipts; arguments as for :class:`ReceiptVerifier`.

    Returns:
        One result for each (name, content), in order; whatever is wrong with one is a finding there.
    """
    verifier = ReceiptVerifier(
        anchor,
        endorsements=endorsements,
        issuer_keys=issuer_keys,
        ledger=ledger,
        identities=identities,
        expected=expected,
        jobs=jobs,
    )
    return verifier.audit(receipts)


def verify_receipt(
    data: bytes,
    anchor: TrustAnchor,
    *,
    claims_digest: bytes | None = None,
    txid: TxId | str | None = None,
    issuer: str | None = None,
    endorsements: Iterable[Endorsement] = (),
    issuer_keys: Mapping[str, Iterable[bytes]] | None = None,
    ledger: LedgerCopy | None = None,
    identities: IdentityEvidence | None = None,
    file: str | None = None,
) -> VerifiedReceipt:
    """Verifies one receipt or transparent statement of any kind.

    Args:
        data: its content.
        anchor: the pinned service identities.
        claims_digest: 32 bytes that the transaction's claims digest must equal.
        txid: the transaction that it must be about.
        issuer: the issuer that it must name.
        endorsements: of older service keys, in any order.
        issuer_keys: DER SubjectPublicKeyInfo by issuer name, as the issuers published them.
        ledger: a copy of the ledger to compare with.
        identities: what a bundle of past identities adds to the anchor.
        file: name for messages.

    Returns:
        What is proven. It says no more than was checked.

    Raises:
        VerificationError: it does not hold, or is malformed; ``code`` is that of the finding.
        UndecidedError: something that must be known to decide is missing, for example an anchor.
    """
    expected = Expected(claims_digest, TxId.parse(txid) if isinstance(txid, str) else txid, issuer)
    [result] = audit_receipts(
        [(file, data)],
        anchor,
        endorsements=endorsements,
        issuer_keys=issuer_keys,
        ledger=ledger,
        identities=identities,
        expected=expected,
    )
    if result.verdict is not Verdict.VERIFIED:
        reason = result.findings[0]
        error = VerificationError if result.verdict is Verdict.FAILED else UndecidedError
        raise error(reason.message, code=reason.code, file=reason.file, txid=reason.txid)
    if result.leaf is None or result.root is None or result.service_key_sha256 is None:
        raise InternalError("a receipt was called verified without a leaf, a root or a service key", file=file)
    return VerifiedReceipt(
        result.kind,
        result.txid,
        result.leaf,
        result.root,
        result.claims_digest,
        result.service_key_sha256,
        result.findings,
        result.not_checked,
    )
