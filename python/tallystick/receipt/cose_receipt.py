"""COSE receipts of the CCF profile: a service key's signature over the root, with inclusion proofs.

Source: RFC 9942 (COSE receipts), draft-ietf-scitt-receipts-ccf-profile. The steps, each with its own finding
code when it fails:

(1) proofs: at least one, none twice, each path of exactly the shape that the leaf's seqno and the seqno of
    the signature demand;
(2) claims digest and transaction ID compared with what the caller knows;
(3) key: the one that ``kid`` names among the believed service keys (without ``kid``: any of them), its issuer
    binding and its epoch;
(4) signature: it must hold over the root that every single proof leads to.
"""

from __future__ import annotations

from functools import partial

from tallystick._native import CoseProof, CoseReceipt
from tallystick.findings import Finding, finding
from tallystick.identity.issuance import endorsed_note, key_needed_message, no_anchor_message, unproven_message
from tallystick.identity.service_keys import ServiceKey, ServiceKeys
from tallystick.receipt import not_checked
from tallystick.receipt.json_receipt import check_epoch, compare_claims, compare_txid
from tallystick.receipt.model import Draft, Expected, SignatureCheck, SignatureGroup
from tallystick.receipt.paths import shape_problem
from tallystick.types import TxId

__all__ = ["draft_cose_receipt"]

_PROOFS_HEADER = 396
_LINK_NOTES = ("service-endorsed", "service-opened")


def draft_cose_receipt(draft: Draft, receipt: CoseReceipt, keys: ServiceKeys, expected: Expected) -> None:
    """Runs the steps above on ``receipt``; signatures are queued in ``draft``, not verified."""
    draft.not_checked += (not_checked.NODE, not_checked.DATES, not_checked.WRITES)
    extra = [str(name) for name in receipt.sign1.unprotected_headers if name != _PROOFS_HEADER]
    if extra:
        draft.say("unprotected-header", f"unprotected header {', '.join(extra)[:80]} is ignored: nobody signed it")
    _check_proofs(draft, receipt, expected)
    if draft.failed:
        return
    candidates = _believed_keys(draft, receipt, keys)
    if not candidates or draft.failed:
        return
    if expected.issuer is not None and receipt.issuer != expected.issuer:
        draft.say("issuer-mismatch", f"issuer: expected {expected.issuer!r}, got {receipt.issuer!r}")
        return
    _queue_signatures(draft, receipt, candidates)


def _check_proofs(draft: Draft, receipt: CoseReceipt, expected: Expected) -> None:
    """(1) and (2), for each proof; the first one gives the result its leaf and transaction ID."""
    proofs = receipt.proofs
    if not proofs:
        draft.say("receipt-malformed", "receipt holds no inclusion proof: expected at least one")
        return
    signed_at = receipt.signature_txid
    if signed_at is None:
        draft.not_checked.append(not_checked.TREE_SIZE)
    seen: set[tuple[bytes, tuple[tuple[bool, bytes], ...]]] = set()
    for position, proof in enumerate(proofs):
        label = f"proof {position + 1} of {len(proofs)}: " if len(proofs) > 1 else ""
        identity = (proof.leaf, tuple(proof.path))
        if identity in seen:
            draft.say("proof-duplicate", f"{label}the same proof is given twice")
        seen.add(identity)
        draft.txid, draft.claims_digest = proof.txid, proof.claims_digest
        compare_claims(draft, expected)
        compare_txid(draft, expected)
        _check_shape(draft, proof, signed_at, label)
    first = proofs[0]
    draft.txid, draft.leaf, draft.root = first.txid, first.leaf, first.root
    draft.claims_digest = first.claims_digest


def _check_shape(draft: Draft, proof: CoseProof, signed_at: str | None, label: str) -> None:
    leaf_txid = TxId.parse(proof.txid)
    signature_txid = TxId.parse(signed_at) if signed_at is not None else None
    size = signature_txid.seqno if signature_txid is not None else None
    problem = shape_problem(leaf_txid.seqno, size, [left for left, _ in proof.path])
    if problem is None and signature_txid is not None and leaf_txid.view > signature_txid.view:
        # Views never fall, and the signature comes after the transaction.
        problem = f"transaction {leaf_txid} is of a later view than its signature {signature_txid}"
    if problem is not None:
        draft.say("path-shape", label + problem)


def _believed_keys(draft: Draft, receipt: CoseReceipt, keys: ServiceKeys) -> list[ServiceKey]:
    """(3): the keys under which the signature may hold; a finding when there are none."""
    named = _key_name(receipt)
    if not keys.anchored:
        draft.say("anchor-missing", no_anchor_message([named] if named else []))
        return []
    candidates = keys.find(named) if named is not None else list(keys)
    if not candidates:
        if named is None or named in keys.missing:
            draft.say("service-key-needed", key_needed_message([named] if named else keys.missing))
        elif named in keys.claimed:
            draft.say("identity-unproven", unproven_message(named, keys.claimed[named][1]))
        else:
            pinned = ", ".join(sorted({key.fingerprint for key in keys} | keys.missing))
            draft.say("service-key-mismatch", f"receipt is signed by service key {named}: expected {pinned}")
        return []
    bound = [key for key in candidates if not key.issuers or receipt.issuer in key.issuers]
    if not bound:
        issuers = ", ".join(sorted({name for key in candidates for name in key.issuers}))
        draft.say(
            "issuer-mismatch",
            f"issuer: expected {issuers}, to whom the signing key is bound, got {receipt.issuer!r}",
        )
    return bound


def _key_name(receipt: CoseReceipt) -> str | None:
    """The fingerprint that ``kid`` spells: CCF puts the 64 hexadecimal digits there, as text."""
    kid = receipt.kid
    if kid is None:
        return None
    try:
        return kid.decode("ascii")[:128]
    except UnicodeDecodeError:
        return kid.hex()[:128]


def _queue_signatures(draft: Draft, receipt: CoseReceipt, candidates: list[ServiceKey]) -> None:
    """(4): one group of candidates for each root that is claimed."""
    algorithm = receipt.sign1.algorithm
    if algorithm is None:
        draft.say("receipt-malformed", "receipt names no signature algorithm")
        return
    txids: list[str | None] = [proof.txid for proof in receipt.proofs]
    if receipt.signature_txid is not None:
        txids.append(receipt.signature_txid)
    # An endorsed key may be believed for several epochs; the one that covers the receipt is meant.
    ordered = sorted(candidates, key=lambda key: not all(key.covers(TxId.parse(txid)) for txid in txids if txid))

    def accepted(position: int) -> None:
        service = ordered[position]
        draft.service_key_sha256 = service.pinned
        if service.links and not any(item.code in _LINK_NOTES for item in draft.findings):
            draft.findings.append(endorsed_note(service))
            check_epoch(draft, service, list(dict.fromkeys(txids)))

    signer = ordered[0].fingerprint if len(ordered) == 1 else "any believed service key"
    for root in dict.fromkeys(proof.root for proof in receipt.proofs):
        message = receipt.sign1.signed_bytes(root)
        checks = [SignatureCheck(key.key, message, receipt.sign1.signature, algorithm) for key in ordered]
        failure = partial(_signature_failure, signer, root)
        draft.groups.append(SignatureGroup(checks, failure, accepted))


def _signature_failure(signer: str, root: bytes) -> Finding:
    message = f"signature does not hold: expected one by service key {signer} over root {root.hex()}"
    return finding("root-signature-invalid", message)
