"""Receipts that a demonstration service hands out, as a CCF node would: JSON and COSE."""

from __future__ import annotations

import base64
import hashlib

from tallystick._native import CoseSign1
from tallystick.demo.cose_messages import attach_proofs, inclusion_proof
from tallystick.demo.identities import KeySource
from tallystick.demo.ledger import NO_CLAIMS, LedgerForge, Signed, json_bytes

__all__ = ["cose_receipt", "json_receipt", "signature_receipt"]


def _first_signature_after(ledger: LedgerForge, seqno: int) -> Signed:
    for signed in ledger.signed:
        if signed.txid.seqno > seqno:
            return signed
    raise LookupError(f"transaction {seqno} is not covered by a signature yet")


def json_receipt(
    ledger: LedgerForge,
    seqno: int,
    *,
    with_claims: bool = True,
    endorsed_by: KeySource | None = None,
    signed: Signed | None = None,
) -> bytes:
    """The JSON write receipt of a transaction, from the first signature after it.

    Args:
        with_claims: give the claims digest; applications that hand out the claims themselves leave it out.
        endorsed_by: the service has recovered since: add the certificate by which its present key
            endorses the key of that time (the source says from when).
        signed: the first signature after the transaction, where the caller knows it already.

    Raises:
        LookupError: no signature covers the transaction yet, or the signature is COSE only.
    """
    signed = signed or _first_signature_after(ledger, seqno)
    if signed.raw is None:
        raise LookupError(f"signature {signed.txid} has no node signature, which a JSON receipt is made of")
    written = ledger.written[seqno]
    receipt: dict[str, object] = {
        "node_id": signed.node.id,
        "proof": [
            {"left" if left else "right": sibling.hex()}
            for left, sibling in ledger.history.path(seqno, signed.txid.seqno)
        ],
        "signature": base64.b64encode(signed.raw).decode(),
    }
    if ledger.style.certificate_in_signature:
        receipt["cert"] = signed.node.certificate
    if written.commit_evidence:
        components = {
            "commit_evidence": written.commit_evidence,
            "write_set_digest": hashlib.sha256(written.entry).hexdigest(),
        }
        if with_claims and ledger.style.has_claims:
            components["claims_digest"] = (written.claims_digest or NO_CLAIMS).hex()
        receipt["leaf_components"] = components
    else:
        receipt["leaf"] = written.leaf.hex()
    if endorsed_by is not None:
        receipt["service_endorsements"] = [ledger.service.endorse_key(signed.service, endorsed_by.now)]
    return json_bytes(receipt)


def signature_receipt(ledger: LedgerForge, signed: Signed) -> bytes:
    """The receipt of a signature transaction: no proof, and for leaf the signed root itself."""
    if signed.raw is None:
        raise LookupError(f"signature {signed.txid} has no node signature")
    return json_bytes(
        {
            "cert": signed.node.certificate,
            "leaf": signed.root.hex(),
            "node_id": signed.node.id,
            "proof": [],
            "signature": base64.b64encode(signed.raw).decode(),
        }
    )


def cose_receipt(ledger: LedgerForge, *seqnos: int) -> bytes:
    """One COSE receipt for transactions that the same signature covers first.

    Raises:
        LookupError: no COSE signature covers them, or not the same one.
    """
    covering = {_first_signature_after(ledger, seqno).txid for seqno in seqnos}
    if len(covering) != 1:
        raise LookupError("the transactions are not covered by one signature")
    signed = _first_signature_after(ledger, seqnos[0])
    if signed.cose is None:
        raise LookupError(f"signature {signed.txid} has no COSE signature")
    message = CoseSign1.parse(signed.cose)
    proofs = []
    for seqno in seqnos:
        written = ledger.written[seqno]
        path = ledger.history.path(seqno, signed.txid.seqno)
        proofs.append(
            inclusion_proof(
                hashlib.sha256(written.entry).digest(),
                written.commit_evidence or "",
                written.claims_digest or NO_CLAIMS,
                path,
            )
        )
    return attach_proofs(message.protected, message.signature, proofs)
