"""Counting a proposal's ballots, and doing what it says once it is accepted."""

from __future__ import annotations

import json

from tallystick._native import ScriptFailure
from tallystick.node import tables
from tallystick.node.governance.errors import governance_error
from tallystick.node.governance.records import PROPOSALS_INFO, Proposal, remove_other_closed_proposals
from tallystick.node.governance.scripts import Scripts, failure_of
from tallystick.node.http.context import Context
from tallystick.node.http.errors import Code, HttpError

__all__ = ["constitution_in_force", "resolve_proposal"]

# What resolve() may say; the other states a proposal gets in other ways.
_RESOLUTIONS = frozenset({"Open", "Accepted", "Rejected"})

# Failures of a ballot that is not even a script with a vote in it, which its author can mend.
_UNUSABLE = frozenset({"compile", "export"})


def constitution_in_force(context: Context, purpose: str) -> str:
    """The constitution.

    Args:
        purpose: what it is needed for, for the error: ``proposals`` or ``ballots``.

    Raises:
        HttpError: 500, there is none.
    """
    row = context.tx.get(tables.CONSTITUTION, tables.SINGLETON)
    if row is None:
        message = f"No constitution is set - {purpose} cannot be evaluated"
        raise governance_error(context, 500, Code.INTERNAL_ERROR, message)
    text: str = json.loads(row)
    return text


def resolve_proposal(
    context: Context,
    scripts: Scripts,
    constitution: str,
    proposal: Proposal,
    text: str,
    *,
    new_ballot: str | None = None,
) -> None:
    """Runs every ballot, asks the constitution what follows, and does it.

    ``proposal`` and its row are brought up to date.

    Args:
        context: of the request that gives the occasion.
        scripts: runs the scripts.
        constitution: the one in force.
        proposal: open, with every ballot so far.
        text: of the proposal.
        new_ballot: member whose ballot came with this request.

    Raises:
        HttpError: 500, resolving or applying failed, or the new ballot is no script. Nothing is kept.
    """
    proposal.write(context.tx)
    votes, failures = _count(context, scripts, proposal, text, new_ballot)
    answer = scripts.resolve(context, constitution, text, proposal.proposer_id, votes, proposal.proposal_id)
    if isinstance(answer, ScriptFailure):
        proposal.fail(failure_of(answer, "Failed to resolve(): "))
    elif answer in _RESOLUTIONS:
        proposal.state = answer
    else:
        proposal.state = "Failed"
        proposal.failure = {"reason": f'resolve() returned invalid status value: "{answer}"'}
    if proposal.state == "Open":
        return
    remove_other_closed_proposals(context.tx, proposal.proposal_id)
    proposal.final_votes, proposal.vote_failures = votes, failures
    proposal.write(context.tx)
    if proposal.state == "Accepted":
        failed = scripts.apply(context, constitution, text, proposal.proposal_id)
        if failed is not None:
            proposal.fail(failure_of(failed, "Failed to apply(): "))
    if proposal.state == "Failed":
        raise _failed(context, proposal)


def _count(
    context: Context, scripts: Scripts, proposal: Proposal, text: str, new_ballot: str | None
) -> tuple[dict[str, bool], dict[str, dict[str, str]]]:
    votes: dict[str, bool] = {}
    failures: dict[str, dict[str, str]] = {}
    for member, ballot in sorted(proposal.ballots.items()):
        name = f"{PROPOSALS_INFO}[{proposal.proposal_id}].ballots[{member}]"
        vote = scripts.vote(context, ballot, text, proposal.proposer_id, name)
        if not isinstance(vote, ScriptFailure):
            votes[member] = vote
            continue
        if member == new_ballot and vote.kind in _UNUSABLE:
            reason = f"Failed to find export 'vote' in module '{name}'"
            if vote.kind == "compile":
                reason = f"Failed to compile {name}: {vote.message}"
            raise governance_error(context, 500, Code.INTERNAL_ERROR, reason)
        failures[member] = failure_of(vote).record()
    return votes, failures


def _failed(context: Context, proposal: Proposal) -> HttpError:
    failure = proposal.failure or {}
    message = f"{failure.get('reason', '')}\nTrace: {failure.get('trace', 'N/A')}"
    return governance_error(context, 500, Code.INTERNAL_ERROR, message)
