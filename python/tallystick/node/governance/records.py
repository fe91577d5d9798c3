"""Proposals as the ledger holds them, and as the governance API shows them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tallystick.node import tables
from tallystick.node.governance.authentication import SignedRequest
from tallystick.node.governance.scripts import Failure
from tallystick.node.http.context import Transaction

__all__ = [
    "PROPOSALS",
    "PROPOSALS_INFO",
    "Proposal",
    "read_proposal",
    "read_proposals",
    "record_request",
    "remove_other_closed_proposals",
]

PROPOSALS = "public:ccf.gov.proposals"
PROPOSALS_INFO = "public:ccf.gov.proposals_info"
_COSE_HISTORY = "public:ccf.gov.cose_history"


@dataclass
class Proposal:
    """What is known of a proposal beside its text.

    Attributes:
        proposal_id: hex SHA-256.
        proposer_id: member who proposed.
        state: Open, Accepted, Rejected, Withdrawn, Failed or Dropped.
        ballots: JavaScript module by member.
        final_votes: what was counted when it was resolved; None while it is open.
        vote_failures: ballots that failed then; None while it is open.
        failure: why it failed.
    """

    proposal_id: str
    proposer_id: str
    state: str = "Open"
    ballots: dict[str, str] = field(default_factory=dict)
    final_votes: dict[str, bool] | None = None
    vote_failures: dict[str, dict[str, str]] | None = None
    failure: dict[str, str] | None = None

    @classmethod
    def parse(cls, proposal_id: str, record: dict[str, Any]) -> Proposal:
        """From the row of a proposal."""
        return cls(
            proposal_id,
            record["proposer_id"],
            record["state"],
            dict(record.get("ballots") or {}),
            record.get("final_votes"),
            record.get("vote_failures"),
            record.get("failure"),
        )

    def fail(self, failure: Failure) -> None:
        """Ends it as Failed."""
        self.state, self.failure = "Failed", failure.record()

    def write(self, tx: Transaction) -> None:
        """Writes its row."""
        optional = {"final_votes": self.final_votes, "vote_failures": self.vote_failures, "failure": self.failure}
        record = {"proposer_id": self.proposer_id, "state": self.state, "ballots": self.ballots}
        record |= {name: value for name, value in optional.items() if value is not None}
        tx.set(PROPOSALS_INFO, self.proposal_id.encode(), tables.json_bytes(record))

    def api(self) -> dict[str, Any]:
        """As clients see it."""
        optional = {"finalVotes": self.final_votes, "voteFailures": self.vote_failures, "failure": self.failure}
        shown: dict[str, Any] = {
            "proposalId": self.proposal_id,
            "proposerId": self.proposer_id,
            "proposalState": self.state,
            "ballotCount": len(self.ballots),
        }
        return shown | {name: value for name, value in optional.items() if value is not None}


def read_proposal(tx: Transaction, proposal_id: str) -> Proposal | None:
    """A proposal; None when the tables do not hold it (any more)."""
    record = tables.get_json(tx, PROPOSALS_INFO, proposal_id.encode())
    return None if record is None else Proposal.parse(proposal_id, record)


def read_proposals(tx: Transaction) -> Iterator[Proposal]:
    """Every proposal that the tables hold, by ID."""
    for proposal_id, record in tables.rows_json(tx, PROPOSALS_INFO).items():
        yield Proposal.parse(proposal_id, record)


def remove_other_closed_proposals(tx: Transaction, proposal_id: str) -> None:
    """Removes every other proposal that is not open: the ledger keeps them, the tables need not."""
    for other in list(read_proposals(tx)):
        if other.proposal_id != proposal_id and other.state != "Open":
            tx.remove(PROPOSALS, other.proposal_id.encode())
            tx.remove(PROPOSALS_INFO, other.proposal_id.encode())


def record_request(tx: Transaction, request: SignedRequest) -> None:
    """Keeps the signed request for those who audit the ledger."""
    value = tables.json_bytes(base64.b64encode(request.envelope).decode())
    tx.set(_COSE_HISTORY, request.member_id.encode(), value)
