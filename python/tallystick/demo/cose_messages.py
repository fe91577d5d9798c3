"""COSE messages that a demonstration service and its members sign.

Headers and their order are CCF's: endorsements of an earlier service identity, requests of members, and
receipts. Signatures of roots are the ledger writer's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tallystick._native import CborTag, cbor_encode
from tallystick.demo.identities import SigningKey

__all__ = ["attach_proofs", "inclusion_proof", "sign1", "sign_endorsement", "sign_request"]

_SIGN1_TAG = 18
_ALGORITHM, _KEY_ID, _CWT_CLAIMS, _VDP = 1, 4, 15, 396
_ISSUED_AT = 6
_INCLUSION_PROOFS = -1


def sign1(
    key: SigningKey,
    protected: Mapping[int | str, object],
    payload: bytes,
    *,
    detached: bool = False,
    unprotected: Mapping[int | str, object] | None = None,
) -> bytes:
    """A tagged COSE_Sign1 over ``payload``; ``detached`` leaves the payload out of the message."""
    header = cbor_encode(dict(protected))
    signature = key.sign_cose(cbor_encode(["Signature1", header, b"", payload]))
    return cbor_encode(CborTag(_SIGN1_TAG, [header, dict(unprotected or {}), None if detached else payload, signature]))


def sign_endorsement(
    key: SigningKey,
    endorsed_spki: bytes,
    *,
    issued_at: int,
    epoch_begin: str,
    epoch_end: str | None = None,
    last_root: bytes | None = None,
) -> bytes:
    """An endorsement of ``endorsed_spki`` for an epoch of transaction IDs."""
    epoch: dict[int | str, object] = {"epoch.start.txid": epoch_begin}
    if epoch_end is not None:
        epoch["epoch.end.txid"] = epoch_end
    if last_root is not None:
        epoch["epoch.end.merkle.root"] = last_root
    protected: dict[int | str, object] = {
        _ALGORITHM: key.cose_algorithm,
        _CWT_CLAIMS: {_ISSUED_AT: issued_at},
        "ccf.v1": epoch,
    }
    return sign1(key, protected, endorsed_spki)


def sign_request(
    key: SigningKey,
    member_id: str,
    kind: str,
    payload: bytes,
    *,
    created_at: int,
    proposal_id: str | None = None,
) -> bytes:
    """A member's governance request: ``kind`` is proposal, ballot, withdrawal or ack."""
    protected: dict[int | str, object] = {
        _ALGORITHM: key.cose_algorithm,
        _KEY_ID: member_id.encode(),
        "ccf.gov.msg.type": kind,
        "ccf.gov.msg.created_at": created_at,
    }
    if proposal_id is not None:
        protected["ccf.gov.msg.proposal_id"] = proposal_id
    return sign1(key, protected, payload)


def inclusion_proof(
    write_set_digest: bytes, commit_evidence: str, claims_digest: bytes, path: Sequence[tuple[bool, bytes]]
) -> bytes:
    """One inclusion proof of the CCF profile, CBOR."""
    return cbor_encode(
        {
            1: [write_set_digest, commit_evidence, claims_digest],
            2: [[left, sibling] for left, sibling in path],
        }
    )


def attach_proofs(protected: bytes, signature: bytes, proofs: Sequence[bytes]) -> bytes:
    """A COSE receipt: header and signature of a signature transaction, and proofs that lead to its root."""
    unprotected = {_VDP: {_INCLUSION_PROOFS: list(proofs)}}
    return cbor_encode(CborTag(_SIGN1_TAG, [protected, unprotected, None, signature]))
