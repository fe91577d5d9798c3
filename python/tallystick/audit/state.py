"""The trusted state: what verification must remember of a ledger, and nothing else.

All values are immutable or replaced whole, so a copy of the containers is a snapshot of the state; and all
are text and numbers, so a checkpoint can hold them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tallystick.errors import FormatError
from tallystick.identity.endorsements import VerifiedEndorsement
from tallystick.identity.opening import MemberKey, OpeningProposal, VerifiedOpening
from tallystick.types import TxId

__all__ = ["NodeState", "ServiceIdentity", "TrustedState"]


@dataclass(frozen=True)
class NodeState:
    """A node as the ledger knows it.

    Attributes:
        status: ``Pending``, ``Trusted`` or ``Retired``.
        spki: its key, DER SubjectPublicKeyInfo in hex; None before a certificate or key was seen.
        retired_committed: its retirement is committed.
        endorsed_under: index of the service identity that issued its certificate; None if none did.
        joined: seqno of the row that added it, while a 1.x node with a self-signed certificate waits for the
            signature of a trusted node to cover that row; None when it is covered, or endorsed.
    """

    status: str
    spki: str | None = None
    retired_committed: bool = False
    endorsed_under: int | None = None
    joined: int | None = None


@dataclass(frozen=True)
class ServiceIdentity:
    """One life of the service: a key, from the transaction that introduced it.

    Attributes:
        spki: DER SubjectPublicKeyInfo in hex; None when a suffix began in the middle of its life and nothing
            tells the key.
        fingerprint: SHA-256 of it, hex.
        begin: its first transaction; None when that is before the start of what was read.
        file, offset: where that is.
        status: latest status of the service under it.
        last_signature: last signature transaction under it.
        last_root: root signed there, hex.
        first_proven: first seqno that a signature under it, whose checks hold, was seen to cover.
        last_proven: last such signature.
        signatures: how many signature transactions stand under it.
        members: the members known to the previous identity when this one began.
        opening: the verified opening proposal that links it to the previous one.
        opening_problem: why there is none.
    """

    spki: str | None
    fingerprint: str | None
    begin: TxId | None
    file: str | None = None
    offset: int | None = None
    status: str | None = None
    last_signature: TxId | None = None
    last_root: str | None = None
    first_proven: int | None = None
    last_proven: TxId | None = None
    signatures: int = 0
    members: dict[str, MemberKey] = field(default_factory=dict)
    opening: VerifiedOpening | None = None
    opening_problem: str | None = None


@dataclass
class TrustedState:
    """What the fold carries from transaction to transaction.

    Attributes:
        complete: the state was followed from a genesis or a recovery boot, so a node that is not in it is not
            a node. False in a suffix, until then.
        from_genesis: the state was followed from the first transaction, so all members are known.
        identities: service identities, oldest first; the last one is in force.
        nodes, members, member_statuses: by id.
        openings: opening proposals that may still be accepted, by id.
        endorsements: verified endorsements of previous identities.
        endorses_nodes: the service has issued node certificates of its own table (since 2.x).
        cose_seen: seqno of the first COSE signature.
        cose_missing: signature transactions without COSE after it.
        last_signature: last signature transaction met.
    """

    complete: bool = False
    from_genesis: bool = False
    identities: list[ServiceIdentity] = field(default_factory=list)
    nodes: dict[str, NodeState] = field(default_factory=dict)
    members: dict[str, MemberKey] = field(default_factory=dict)
    openings: dict[str, OpeningProposal] = field(default_factory=dict)
    endorsements: list[VerifiedEndorsement] = field(default_factory=list)
    endorses_nodes: bool = False
    cose_seen: int | None = None
    cose_missing: int = 0
    last_signature: TxId | None = None

    @property
    def identity(self) -> ServiceIdentity | None:
        """The service identity in force."""
        return self.identities[-1] if self.identities else None

    @property
    def identity_index(self) -> int:
        """Its index; -1 before the first."""
        return len(self.identities) - 1

    def update_identity(self, **changes: Any) -> None:
        """Replaces fields of the identity in force."""
        self.identities[-1] = replace(self.identities[-1], **changes)

    def copy(self) -> TrustedState:
        """A snapshot: later changes of this state do not show in it."""
        return replace(
            self,
            identities=list(self.identities),
            nodes=dict(self.nodes),
            members=dict(self.members),
            openings={
                name: replace(opening, ballots=dict(opening.ballots), ballot_requests=dict(opening.ballot_requests))
                for name, opening in self.openings.items()
            },
            endorsements=list(self.endorsements),
        )

    def to_json(self) -> dict[str, Any]:
        """JSON form, for a checkpoint. Open opening proposals are kept too."""
        value: dict[str, Any] = _encode(asdict(self))
        return value

    @classmethod
    def from_json(cls, value: object) -> TrustedState:
        """Reads what :meth:`to_json` wrote.

        Raises:
            FormatError: it is something else.
        """
        from tallystick.audit.state_codec import decode_state

        try:
            return decode_state(value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError("state in the checkpoint is malformed", code="checkpoint-malformed") from error


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {name: _encode(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value
