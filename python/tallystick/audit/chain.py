"""Which service identities of a ledger are trusted, by the two links there are.

Each identity must be pinned by the caller, or reached from a pinned one:

* *forwards* by the members' opening proposal (``identity/opening.py``): an older identity that is trusted
  leads to the next;
* *backwards* by a COSE endorsement (``identity/endorsements.py``): a newer identity that is trusted vouches for
  an older one. Never the reverse: anybody's key can endorse anybody's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from tallystick.audit.position import FindingLog, Position
from tallystick.audit.state import ServiceIdentity, TrustedState
from tallystick.identity.endorsements import VerifiedEndorsement
from tallystick.identity.trust_anchor import TrustAnchor

__all__ = ["Chain", "endorsement_fits", "link_identities", "opening_decides"]


class Chain(NamedTuple):
    """How each identity of the state is trusted.

    Attributes:
        trusted_by: per identity ``pinned``, ``genesis``, ``opening``, ``endorsement``, or None.
    """

    trusted_by: tuple[str | None, ...]

    def trusted(self, index: int) -> bool:
        """Whether the identity at ``index`` is trusted."""
        return self.trusted_by[index] is not None


AcceptsOpening = Callable[[str], bool]
"""Told the id of an opening proposal: whether the constitution accepts it, by executing it."""


def link_identities(
    state: TrustedState, anchor: TrustAnchor, log: FindingLog, accepts_opening: AcceptsOpening | None = None
) -> Chain:
    """Follows the links from the anchor, and reports every identity that none of them reaches.

    Args:
        accepts_opening: asked about openings that name both identities and whose votes alone do not decide.
    """
    state = state if accepts_opening is None else _with_decided_openings(state, accepts_opening)
    identities = state.identities
    pinned: list[str | None] = [
        "pinned" if item.fingerprint is not None and item.spki is not None and anchor.pins(item.fingerprint) else None
        for item in identities
    ]
    if anchor.trust_genesis and identities and state.from_genesis and pinned[0] is None:
        pinned[0] = "genesis"
    trusted_by = _reach(state, pinned)
    if not identities:
        return Chain(())
    if not anchor:
        _report_without_anchor(state, log)
    else:
        _report_unused_pins(state, anchor, log)
        if anchor.trust_genesis and not state.from_genesis:
            log.add(
                "anchor-no-genesis",
                "the first transaction is not here, so there is no genesis to trust: pin a service identity instead",
                limits_proof=False,
            )
        elif any(pinned):
            _report_unreached(state, trusted_by, log)
    return Chain(tuple(trusted_by))


def _with_decided_openings(state: TrustedState, accepts_opening: AcceptsOpening) -> TrustedState:
    identities = [
        replace(identity, opening=replace(identity.opening, accepted=accepts_opening(identity.opening.proposal_id)))
        if identity.opening is not None and identity.opening.named and not identity.opening.decided
        else identity
        for identity in state.identities
    ]
    return replace(state, identities=identities)


def _reach(state: TrustedState, pinned: Sequence[str | None]) -> list[str | None]:
    trusted_by = list(pinned)
    changed = True
    while changed:
        changed = False
        for index in range(len(trusted_by)):
            if trusted_by[index] is not None:
                continue
            link = None
            if index > 0 and trusted_by[index - 1] is not None and opening_decides(state.identities[index]):
                link = "opening"
            elif any(
                trusted_by[newer] is not None and _endorsed(state, index, newer)
                for newer in range(index + 1, len(trusted_by))
            ):
                link = "endorsement"
            if link is not None:
                trusted_by[index] = link
                changed = True
    return trusted_by


def opening_decides(identity: ServiceIdentity) -> bool:
    """Whether the members' opening proposal links an identity to the one before it."""
    return identity.opening is not None and identity.opening.decided


def _endorsed(state: TrustedState, older: int, newer: int) -> bool:
    return any(endorsement_fits(state, item, older, newer) for item in state.endorsements)


def endorsement_fits(state: TrustedState, endorsement: VerifiedEndorsement, older: int, newer: int) -> bool:
    """Whether ``endorsement`` is the newer identity's, for the older one's whole life as this ledger has it."""
    old, new = state.identities[older], state.identities[newer]
    if endorsement.endorsing != new.fingerprint or endorsement.endorsed != old.fingerprint or endorsement.is_self:
        return False
    if endorsement.end != old.last_signature or endorsement.end_root != old.last_root:
        return False
    return old.begin is None or endorsement.begin == old.begin


def _position(identity: ServiceIdentity) -> Position:
    begin = identity.begin
    return Position(identity.file, identity.offset, begin.view if begin else None, begin.seqno if begin else None)


def _span(identity: ServiceIdentity) -> str:
    first = str(identity.begin) if identity.begin else "before the start"
    return f"from {first}" + (f" to {identity.last_signature}" if identity.last_signature else "")


def _report_without_anchor(state: TrustedState, log: FindingLog) -> None:
    first = state.identities[0]
    for index in range(1, len(state.identities)):
        if not opening_decides(state.identities[index]) and not _endorsed(state, index - 1, index):
            _report_unvouched(state.identities[index], log)
            break
    option = "--service-cert FILE" if first.fingerprint is None else f"--service-key-sha256 {first.fingerprint}"
    log.add(
        "anchor-missing",
        f"no trust anchor: the service identity is the ledger's own word; if you know it from elsewhere, add {option}",
        limits_proof=False,
    )


def _report_unused_pins(state: TrustedState, anchor: TrustAnchor, log: FindingLog) -> None:
    identities = state.identities
    seen = [item.fingerprint for item in identities if item.fingerprint is not None]
    if not state.from_genesis and any(anchor.pins(fingerprint) for fingerprint in seen):
        return  # the other pins can be of lives before the start, or after the end
    for pin in sorted(anchor.fingerprints):
        if pin in seen:
            continue
        if any(item.spki is None for item in identities):
            missing = (
                "no signature in this part names a service key or brings a certificate; add the chunks before it"
                if pin in anchor.keys
                else "its key is not in this part; give its certificate with --service-cert"
            )
            log.add(
                "service-key-unknown",
                f"whether the pinned identity {pin} is in force here cannot be told: {missing}",
                limits_proof=False,
            )
        else:
            log.add(
                "anchor-mismatch",
                f"pinned service identity does not occur in the ledger: expected {pin}, got {', '.join(seen)}",
                limits_proof=False,
            )


def _report_unvouched(identity: ServiceIdentity, log: FindingLog) -> None:
    if identity.opening is not None:
        votes = identity.opening
        reason = (
            f"was opened by {len(votes.voters)} ballots of {votes.members} members, {votes.plain_yes} of them a plain "
            "yes; whether that suffices is for the constitution, which `tallystick gov verify` executes"
            if votes.named
            else "was opened by a proposal that names no identity"
        )
        log.add(
            "opening-undecided",
            f"service identity {identity.fingerprint} ({_span(identity)}) {reason}: if you know it, add "
            f"--service-key-sha256 {identity.fingerprint}",
            _position(identity),
        )
        return
    reason = identity.opening_problem or "no opening proposal of the members was accepted"
    log.add(
        "service-identity-unvouched",
        f"recovery to service identity {identity.fingerprint} ({_span(identity)}) is vouched for by nothing: {reason}, "
        f"and no trusted newer identity endorses it; only if you know it from elsewhere, add "
        f"--service-key-sha256 {identity.fingerprint}",
        _position(identity),
    )


def _report_unreached(state: TrustedState, trusted_by: Sequence[str | None], log: FindingLog) -> None:
    newest = max(index for index, by in enumerate(trusted_by) if by is not None)
    older = [index for index in range(newest) if trusted_by[index] is None]
    if newest + 1 < len(trusted_by):
        # Those after it hang on it.
        _report_unvouched(state.identities[newest + 1], log)
    if not older:
        return
    missing = _pins_to_add(state, trusted_by, older)
    options = " ".join(f"--service-key-sha256 {pin}" for pin in missing) or "the certificate of the older identity"
    spans = "; ".join(
        f"{state.identities[index].fingerprint or 'unknown key'} {_span(state.identities[index])}" for index in older
    )
    log.add(
        "service-identity-unreached",
        f"nothing leads from the pinned identity back to older ones ({spans}): if you know them, add {options}",
        limits_proof=False,
    )


def _pins_to_add(state: TrustedState, trusted_by: Sequence[str | None], older: Sequence[int]) -> list[str]:
    """Fewest pins, oldest first, from which the links that there are reach the rest."""
    pins: list[str] = []
    assumed = list(trusted_by)
    for index in older:
        fingerprint = state.identities[index].fingerprint
        if assumed[index] is None and fingerprint is not None:
            pins.append(fingerprint)
            assumed[index] = "pinned"
            assumed = _reach(state, assumed)
    return pins
