"""The members' opening proposal: the link that carries trust forwards, from one service identity to the next.

After a disaster recovery the service has a new key, and the new key says nothing about itself. What links it
to the old one is a proposal, ``transition_service_to_open``, whose arguments name both identities and which
members signed and voted for. It is judged by the members known under the *old* identity, as they stood when
the recovery began: whoever holds the new key could have written others since.

What is checked (:func:`verify_opening`):

(1) the arguments name the keys of both identities (those of 1.x may name none, which decides nothing);
(2) the proposal's request is signed by its proposer, a member of before, and its body is the proposal;
(3) the proposal's id is the one that this request gets: H(root before it, H(signature)), so that ballots cast
    for another proposal cannot be moved here;
(4) each ballot that the record counts in favour is in a request signed by that member, for this proposal id.

Whether the votes suffice is the constitution's decision, which is not executed here, but by the replay of governance
(``governance/ledger.py``). Without it, more than half of the active members must have signed that they are for it, as
proposer or by the ballot that says yes and nothing else; if they did not, the link is neither accepted nor refuted
(``decided`` is False).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tallystick.errors import FormatError, VerificationError
from tallystick.identity.certificates import parse_certificate, public_key
from tallystick.identity.requests import MemberRequest, ballot_text

__all__ = [
    "MemberKey",
    "OpeningProposal",
    "VerifiedOpening",
    "named_identities",
    "verify_opening",
]

ACTION = "transition_service_to_open"

# The ballot that says yes whatever the proposal: the one that CCF's own clients send.
_PLAIN_YES = re.compile(
    r"\s*export\s+function\s+vote\s*\(\s*\w*\s*(?:,\s*\w+\s*)?\)\s*\{\s*return\s+true\s*;?\s*\}\s*;?\s*\Z"
)

# Requests are executed against the state some transactions back when others commit in between.
ROOTS_TRIED = 64


@dataclass(frozen=True)
class MemberKey:
    """A member as an identity knew it: DER SubjectPublicKeyInfo in hex, and status."""

    spki: str
    status: str


@dataclass
class OpeningProposal:
    """What the ledger recorded about one opening proposal, gathered as it was written.

    Attributes:
        proposal_id: its key in the tables.
        body: the proposal as sent.
        seqno: where it was recorded.
        proposer_id: as recorded.
        request: the proposer's request, if the same transaction holds one.
        roots: Merkle roots on top of which the request can have been executed.
        ballots: text of each member's ballot.
        ballot_requests: the request that brought it.
        final_votes: as recorded on acceptance; None where the API leaves them out.
    """

    proposal_id: str
    body: bytes
    seqno: int
    proposer_id: str = ""
    request: MemberRequest | None = None
    roots: tuple[bytes, ...] = ()
    ballots: dict[str, str] = field(default_factory=dict)
    ballot_requests: dict[str, MemberRequest] = field(default_factory=dict)
    final_votes: dict[str, bool] | None = None


@dataclass(frozen=True)
class VerifiedOpening:
    """An opening proposal whose signatures hold.

    Attributes:
        proposal_id: its id.
        previous, next: fingerprints of both service keys.
        proposer_id: who proposed.
        voters: members whose signed ballots were counted in favour.
        plain_yes: active members who say yes and nothing else, by such a ballot, or as proposer without one.
        members: active members under the previous identity.
        named: the proposal names both identities; those of 1.x could leave them out.
        accepted: the constitution was executed over the ballots, and accepted it.
    """

    proposal_id: str
    previous: str
    next: str
    proposer_id: str
    voters: tuple[str, ...]
    plain_yes: int
    members: int
    named: bool = True
    accepted: bool = False

    @property
    def decided(self) -> bool:
        """It names both identities, and the constitution accepts it or more than half of the members say yes."""
        return self.named and (self.accepted or 2 * self.plain_yes > self.members)


def named_identities(body: bytes) -> list[tuple[str | None, str | None]]:
    """Fingerprints (previous, next) that each opening action in a proposal names.

    Raises:
        FormatError: the proposal is not JSON of the usual shape, or a certificate in it is malformed.
    """
    try:
        proposal = json.loads(body)
        actions = [action for action in proposal["actions"] if action["name"] == ACTION]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError("proposal is not JSON with a list of actions", code="proposal-malformed") from error
    named = []
    for action in actions:
        arguments = action.get("args") or {}
        if not isinstance(arguments, dict):
            raise FormatError("arguments of the opening action are not an object", code="proposal-malformed")
        named.append(
            (
                _fingerprint(arguments.get("previous_service_identity")),
                _fingerprint(arguments.get("next_service_identity")),
            )
        )
    return named


def _fingerprint(pem: object) -> str | None:
    if pem is None:
        return None
    if not isinstance(pem, str):
        raise FormatError("service identity in the proposal is not PEM text", code="proposal-malformed")
    return parse_certificate(pem).spki_sha256


def verify_opening(
    proposal: OpeningProposal, members: Mapping[str, MemberKey], previous: str, following: str
) -> VerifiedOpening:
    """Verifies that members of before opened the service under its next identity.

    Args:
        proposal: what the ledger recorded.
        members: members by id, as the previous identity knew them when the recovery began.
        previous, following: fingerprints of both service keys.

    Raises:
        FormatError: the proposal is malformed.
        VerificationError: it names other identities, or a signature does not hold.
    """
    named = named_identities(proposal.body)
    nameless = all(pair == (None, None) for pair in named)
    if not named or (not nameless and any(pair != (previous, following) for pair in named)):
        raise _problem(f"proposal names other identities: expected {previous} to {following}, got {named}")
    _verify_proposer(proposal, members)
    voters = _verify_ballots(proposal, members)
    active_members = {name for name, member in members.items() if member.status == "Active"}
    plain = {name for name in voters if _PLAIN_YES.match(proposal.ballots[name])}
    if proposal.proposer_id not in proposal.ballots:
        # Who signed the proposal and cast no ballot is for it; a constitution may accept it on that alone.
        plain.add(proposal.proposer_id)
    return VerifiedOpening(
        proposal.proposal_id,
        previous,
        following,
        proposal.proposer_id,
        tuple(voters),
        len(plain & active_members),
        len(active_members),
        named=not nameless,
    )


def _verify_proposer(proposal: OpeningProposal, members: Mapping[str, MemberKey]) -> None:
    request = proposal.request
    if request is None or request.kind != "proposal" or request.member_id != proposal.proposer_id:
        raise _problem("the proposer's signed request is not in the ledger")
    _verify_request(request, members)
    if request.body != proposal.body:
        raise _problem("the proposal is not what its proposer signed")
    if proposal.proposal_id not in request.proposal_ids(proposal.roots):
        raise _problem(f"the proposal's id {proposal.proposal_id} is not that of the signed request")


def _verify_ballots(proposal: OpeningProposal, members: Mapping[str, MemberKey]) -> list[str]:
    counted = (
        [member for member, vote in proposal.final_votes.items() if vote]
        if proposal.final_votes is not None
        else list(proposal.ballots)
    )
    voters = []
    for member in sorted(counted):
        if member not in members:
            continue  # joined since the recovery began: neither counted nor held against it
        request, text = proposal.ballot_requests.get(member), proposal.ballots.get(member)
        if request is None or text is None or request.kind != "ballot":
            raise _problem(f"the signed ballot of member {member} is not in the ledger")
        _verify_request(request, members)
        if request.proposal_id != proposal.proposal_id:
            raise _problem(f"the ballot of member {member} was cast for another proposal")
        if ballot_text(request.body) != text:
            raise _problem(f"the ballot of member {member} is not what it signed")
        voters.append(member)
    return voters


def _verify_request(request: MemberRequest, members: Mapping[str, MemberKey]) -> None:
    member = members.get(request.member_id)
    if member is None:
        raise _problem(f"{request.kind} is signed by {request.member_id}, not a member under the previous identity")
    if not request.holds(public_key(member.spki)):
        raise _problem(f"signature of member {request.member_id} on its {request.kind} does not hold")


def _problem(message: str) -> VerificationError:
    return VerificationError(message, code="opening-unverified")
