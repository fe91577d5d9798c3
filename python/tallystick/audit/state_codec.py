"""Reads the trusted state back from the JSON of a checkpoint."""

from __future__ import annotations

from typing import Any

from tallystick.audit.state import NodeState, ServiceIdentity, TrustedState
from tallystick.identity.endorsements import VerifiedEndorsement
from tallystick.identity.opening import MemberKey, OpeningProposal, VerifiedOpening
from tallystick.identity.requests import MemberRequest
from tallystick.types import TxId

__all__ = ["decode_state"]


def decode_state(value: Any) -> TrustedState:
    """The inverse of ``TrustedState.to_json``; malformed input raises whatever it happens to raise."""
    return TrustedState(
        complete=bool(value["complete"]),
        from_genesis=bool(value["from_genesis"]),
        identities=[_identity(item) for item in value["identities"]],
        nodes={str(name): NodeState(**item) for name, item in value["nodes"].items()},
        members=_members(value["members"]),
        openings={str(name): _opening(item) for name, item in value["openings"].items()},
        endorsements=[_endorsement(item) for item in value["endorsements"]],
        endorses_nodes=bool(value["endorses_nodes"]),
        cose_seen=value["cose_seen"],
        cose_missing=int(value["cose_missing"]),
        last_signature=_txid(value["last_signature"]),
    )


def _txid(value: Any) -> TxId | None:
    return None if value is None else TxId(int(value["view"]), int(value["seqno"]))


def _required_txid(value: Any) -> TxId:
    return TxId(int(value["view"]), int(value["seqno"]))


def _bytes(value: Any) -> bytes:
    return bytes.fromhex(value["hex"])


def _members(value: Any) -> dict[str, MemberKey]:
    return {str(name): MemberKey(str(item["spki"]), str(item["status"])) for name, item in value.items()}


def _identity(value: Any) -> ServiceIdentity:
    fields = dict(value)
    for name in ("begin", "last_signature", "last_proven"):
        fields[name] = _txid(fields[name])
    fields["members"] = _members(fields["members"])
    opening = fields["opening"]
    fields["opening"] = None if opening is None else VerifiedOpening(**{**opening, "voters": tuple(opening["voters"])})
    return ServiceIdentity(**fields)


def _endorsement(value: Any) -> VerifiedEndorsement:
    return VerifiedEndorsement(**{**value, "begin": _required_txid(value["begin"]), "end": _txid(value["end"])})


def _request(value: Any) -> MemberRequest | None:
    if value is None:
        return None
    return MemberRequest(**{**value, **{name: _bytes(value[name]) for name in ("body", "signed", "signature")}})


def _opening(value: Any) -> OpeningProposal:
    requests = {name: _request(item) for name, item in value["ballot_requests"].items()}
    return OpeningProposal(
        proposal_id=str(value["proposal_id"]),
        body=_bytes(value["body"]),
        seqno=int(value["seqno"]),
        proposer_id=str(value["proposer_id"]),
        request=_request(value["request"]),
        roots=tuple(_bytes(root) for root in value["roots"]),
        ballots=dict(value["ballots"]),
        ballot_requests={name: request for name, request in requests.items() if request is not None},
        final_votes=value["final_votes"],
    )
