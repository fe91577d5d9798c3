"""Proposals and ballots of the governance API."""

from __future__ import annotations

import hashlib
from typing import Any

from tallystick._native import ScriptFailure
from tallystick.node.governance.authentication import MemberSignaturePolicy, SignedRequest, signed_request
from tallystick.node.governance.describing import described
from tallystick.node.governance.errors import governance_error, path_id
from tallystick.node.governance.records import (
    PROPOSALS,
    Proposal,
    read_proposal,
    read_proposals,
    record_request,
    remove_other_closed_proposals,
)
from tallystick.node.governance.replay_window import admit_proposal
from tallystick.node.governance.resolution import constitution_in_force, resolve_proposal
from tallystick.node.governance.scripts import Scripts, failure_of
from tallystick.node.http.context import Context, Reply, parse_json
from tallystick.node.http.errors import Code, HttpError
from tallystick.node.http.registry import Endpoint

__all__ = [
    "JAVASCRIPT_TYPE",
    "ProposalHandlers",
    "ballot_of",
    "check_proposer",
    "check_signed_for",
    "existing_proposal",
    "state_word",
    "withdraw_proposal",
]

JAVASCRIPT_TYPE = "text/javascript"

_PROPOSAL = "/members/proposals/{proposalId}"
_BALLOT = _PROPOSAL + "/ballots/{memberId}"


class ProposalHandlers:
    """Handlers of ``/gov/members/proposals``.

    Args:
        scripts: runs the constitution and ballots.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def endpoints(self) -> list[Endpoint]:
        """What to install."""

        def signed(path: str, handler: Any, message_type: str, summary: str, *, with_root: bool = False) -> Endpoint:
            return Endpoint(
                "POST",
                path,
                handler,
                (MemberSignaturePolicy(message_type),),
                api="gov",
                openapi=described(summary, signed=True),
                with_root=with_root,
                versioned=True,
                exclusive=True,
            )

        def read(path: str, handler: Any, summary: str, **options: Any) -> Endpoint:
            openapi = described(summary, **options)
            return Endpoint("GET", path, handler, mode="readonly", api="gov", openapi=openapi, versioned=True)

        return [
            signed("/members/proposals:create", self.create, "proposal", "Propose actions", with_root=True),
            signed(_PROPOSAL + ":withdraw", self.withdraw, "withdrawal", "Withdraw a proposal"),
            signed(_BALLOT + ":submit", self.submit_ballot, "ballot", "Vote on a proposal"),
            read("/members/proposals", self.list, "Every proposal that is still held"),
            read(_PROPOSAL, self.get, "A proposal"),
            read(_PROPOSAL + "/actions", self.actions, "The text of a proposal"),
            read(_BALLOT, self.get_ballot, "A member's ballot", content_type=JAVASCRIPT_TYPE, text=True),
        ]

    # ----------------------------------------------------------------------------------------------- writing

    def create(self, context: Context) -> Reply:
        """Takes a proposal."""
        return Reply.json(self.created(context).api())

    def created(self, context: Context) -> Proposal:
        """Validates a proposal, records it, and resolves it at once: a constitution may accept without a vote.

        Raises:
            HttpError: it is not valid, was sent before or is too old; or something failed on the way.
        """
        request, tx = signed_request(context), context.tx
        if tx.root is None:
            raise governance_error(context, 500, Code.INTERNAL_ERROR, "Proposal failed to bind to state.")
        # The same text proposed again is another proposal, and none can be prepared for a state yet to come.
        digest = hashlib.sha256(request.signature).digest()
        proposal_id = hashlib.sha256(tx.root + digest).hexdigest()
        constitution = constitution_in_force(context, "proposals")
        text = request.content.decode("utf-8", "replace")
        self._validate(context, constitution, text)
        if tx.get(PROPOSALS, proposal_id.encode()) is not None:
            raise governance_error(context, 500, Code.INTERNAL_ERROR, "Proposal ID collision.")
        tx.set(PROPOSALS, proposal_id.encode(), request.content)
        proposal = Proposal(proposal_id, request.member_id)
        record_request(tx, request)
        admit_proposal(context, request, proposal_id)
        resolve_proposal(context, self._scripts, constitution, proposal, text)
        return proposal

    def _validate(self, context: Context, constitution: str, text: str) -> None:
        answer = self._scripts.validate(context, constitution, text)
        if isinstance(answer, ScriptFailure):
            failure = failure_of(answer)
            message = f"Failed to execute validation: {failure.reason} {failure.trace or ''}"
            raise governance_error(context, 500, Code.INTERNAL_ERROR, message)
        if answer is None:
            message = "Validation failed to return an object"
            raise governance_error(context, 500, Code.INTERNAL_ERROR, message)
        valid, description = answer
        if not valid:
            message = f"Proposal failed to validate: {description}"
            raise governance_error(context, 400, Code.PROPOSAL_FAILED_TO_VALIDATE, message)

    def withdraw(self, context: Context) -> Reply:
        """Takes a proposal back; its proposer may, while it is open."""
        request = signed_request(context)
        proposal_id = path_id(context, "proposalId", "proposal")
        check_signed_for(context, request, proposal_id)
        proposal = read_proposal(context.tx, proposal_id)
        if proposal is None:
            # It may have been withdrawn, or closed and removed since: what the member wants is the case.
            return Reply.no_content()
        check_proposer(context, request, proposal)
        if proposal.state not in ("Open", "Withdrawn"):
            message = f"Proposal {proposal_id} is currently in state {state_word(proposal)} and cannot be withdrawn."
            raise governance_error(context, 400, Code.PROPOSAL_NOT_OPEN, message)
        if proposal.state == "Open":
            withdraw_proposal(context, request, proposal)
        return Reply.json(proposal.api())

    def submit_ballot(self, context: Context) -> Reply:
        """Takes a member's ballot; the same again changes nothing."""
        request = signed_request(context)
        proposal_id = path_id(context, "proposalId", "proposal")
        check_signed_for(context, request, proposal_id)
        if path_id(context, "memberId", "member") != request.member_id:
            message = "Authenticated member id does not match URL"
            raise governance_error(context, 400, Code.INVALID_RESOURCE_NAME, message)
        proposal, text = self.open_proposal(context, proposal_id)
        ballot = ballot_of(context, request)
        before = proposal.ballots.get(request.member_id)
        if before is not None:
            if before == ballot:
                return Reply.json(proposal.api())
            message = f"Different ballot already submitted by m[{request.member_id}] for {proposal_id}."
            raise governance_error(context, 400, Code.VOTE_ALREADY_EXISTS, message)
        self.cast(context, request, proposal, text, ballot)
        return Reply.json(proposal.api())

    def open_proposal(self, context: Context, proposal_id: str) -> tuple[Proposal, str]:
        """A proposal on which members may vote, and its text.

        Raises:
            HttpError: 404, there is no such proposal; 400, it is closed.
        """
        proposal = existing_proposal(context, proposal_id)
        if proposal.state != "Open":
            closed = f"Proposal {proposal_id} is currently in state {state_word(proposal)}"
            message = f"{closed} - only open proposals can receive votes"
            raise governance_error(context, 400, Code.PROPOSAL_NOT_OPEN, message)
        text = context.tx.get(PROPOSALS, proposal_id.encode())
        if text is None:
            raise _not_found(context, proposal_id)
        return proposal, text.decode("utf-8", "replace")

    def cast(self, context: Context, request: SignedRequest, proposal: Proposal, text: str, ballot: str) -> None:
        """Adds a ballot, and resolves the proposal anew with all there are.

        Raises:
            HttpError: 500, something failed on the way; nothing is kept.
        """
        constitution = constitution_in_force(context, "ballots")
        proposal.ballots[request.member_id] = ballot
        record_request(context.tx, request)
        member = request.member_id
        resolve_proposal(context, self._scripts, constitution, proposal, text, new_ballot=member)

    # ----------------------------------------------------------------------------------------------- reading

    def list(self, context: Context) -> Reply:
        """Every proposal that the tables still hold."""
        return Reply.json({"value": [proposal.api() for proposal in read_proposals(context.tx)]})

    def get(self, context: Context) -> Reply:
        """One proposal."""
        return Reply.json(existing_proposal(context, path_id(context, "proposalId", "proposal")).api())

    def actions(self, context: Context) -> Reply:
        """The text of a proposal, as it was signed."""
        proposal_id = path_id(context, "proposalId", "proposal")
        text = context.tx.get(PROPOSALS, proposal_id.encode())
        if text is None:
            raise _not_found(context, proposal_id)
        return Reply(200, (("content-type", "application/json"),), text)

    def get_ballot(self, context: Context) -> Reply:
        """A member's ballot."""
        proposal_id = path_id(context, "proposalId", "proposal")
        member_id = path_id(context, "memberId", "member")
        proposal = read_proposal(context.tx, proposal_id)
        if proposal is None:
            message = f"Proposal {proposal_id} does not exist."
            raise governance_error(context, 404, Code.PROPOSAL_NOT_FOUND, message)
        ballot = proposal.ballots.get(member_id)
        if ballot is None:
            message = f"Member m[{member_id}] has not voted for proposal {proposal_id}."
            raise governance_error(context, 404, Code.VOTE_NOT_FOUND, message)
        return Reply.text(ballot, content_type=JAVASCRIPT_TYPE)


def state_word(proposal: Proposal) -> str:
    """State of a proposal as messages spell it."""
    return proposal.state.lower()


def _not_found(context: Context, proposal_id: str) -> HttpError:
    return governance_error(context, 404, Code.PROPOSAL_NOT_FOUND, f"Could not find proposal {proposal_id}.")


def existing_proposal(context: Context, proposal_id: str) -> Proposal:
    """A proposal.

    Raises:
        HttpError: 404, the tables hold none of this ID.
    """
    proposal = read_proposal(context.tx, proposal_id)
    if proposal is None:
        raise _not_found(context, proposal_id)
    return proposal


def check_signed_for(context: Context, request: SignedRequest, proposal_id: str) -> None:
    """The proposal in the path must be the one that was signed for.

    Raises:
        HttpError: 400, it is another.
    """
    if request.proposal_id != proposal_id:
        message = "Authenticated proposal id does not match URL"
        raise governance_error(context, 400, Code.INVALID_RESOURCE_NAME, message)


def check_proposer(context: Context, request: SignedRequest, proposal: Proposal) -> None:
    """Only who proposed may withdraw.

    Raises:
        HttpError: 403, somebody else asks.
    """
    if proposal.proposer_id != request.member_id:
        message = (
            f"Proposal {proposal.proposal_id} can only be withdrawn by proposer m[{proposal.proposer_id}], "
            f"not caller m[{request.member_id}]."
        )
        raise governance_error(context, 403, Code.AUTHORIZATION_FAILED, message)


def withdraw_proposal(context: Context, request: SignedRequest, proposal: Proposal) -> None:
    """Closes an open proposal as withdrawn."""
    proposal.state = "Withdrawn"
    proposal.write(context.tx)
    remove_other_closed_proposals(context.tx, proposal.proposal_id)
    record_request(context.tx, request)


def ballot_of(context: Context, request: SignedRequest) -> str:
    """The script in a ballot request.

    Raises:
        HttpError: 400, there is none.
    """
    content = parse_json(request.content)
    ballot = content.get("ballot") if isinstance(content, dict) else None
    # JSON can spell half a surrogate pair, which the ledger cannot hold.
    if isinstance(ballot, str) and not any("\ud800" <= character <= "\udfff" for character in ballot):
        return ballot
    message = 'Signed request body is not a JSON object containing required string field "ballot"'
    raise governance_error(context, 400, Code.INVALID_INPUT, message)
