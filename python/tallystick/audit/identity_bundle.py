"""Makes bundles of past identities from a traced ledger, and proves what a bundle links from an anchor.

The format, and why a link forwards needs the history: ``identity/bundle.py``. To prove it, the history is audited
as the ledger that it is, under the reader's own anchor; nothing that the bundle says beside it counts.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tallystick.audit.auditor import AuditedLedger, audit_and_watch
from tallystick.audit.chain import Chain
from tallystick.audit.lookup import Lookup
from tallystick.audit.openings import RecordedOpening
from tallystick.audit.timeline import IdentityTimeline
from tallystick.errors import FormatError, TallystickError, VerificationError
from tallystick.findings import Effect
from tallystick.identity.bundle import (
    MAX_HISTORY_BYTES,
    IdentityBundle,
    OpeningEvidence,
    PastIdentity,
    SignedRequest,
)
from tallystick.identity.endorsements import Endorsement
from tallystick.identity.service_keys import ClaimedKey, IdentityEvidence, OpenedKey
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.ledger.directory import find_ledger_files
from tallystick.types import TxId

__all__ = ["make_bundle", "prove_bundle"]

# An open chunk: eight zero bytes, and no table of offsets after the entries.
_OPEN_CHUNK_HEADER = bytes(8)


# -------------------------------------------------------------------------------------------------- making


def make_bundle(
    timeline: IdentityTimeline,
    paths: Iterable[str | os.PathLike[str]],
    *,
    history: bool = True,
    uncommitted: bool = False,
    recovery: bool = False,
) -> tuple[IdentityBundle, str | None]:
    """The bundle of a traced ledger.

    Args:
        history: put the history in, if it is not too large and leads anywhere.

    Returns:
        The bundle, and why it holds no history; None when it does.
    """
    identities = []
    for life in timeline.identities:
        if life.certificates:
            item = life.identity
            identities.append(
                PastIdentity.from_certificate(
                    life.certificates[-1].pem, item.begin, item.last_signature, item.last_root
                )
            )
    endorsements = [
        Endorsement.parse(record.raw)
        for record in timeline.endorsements
        if record.raw is not None and record.links is not None
    ]
    openings = [opening for index in range(1, len(timeline.identities)) if (opening := _opening(timeline, index))]
    entries, reason = _history(timeline, paths, uncommitted, recovery) if history else (None, "it was not asked for")
    return IdentityBundle(tuple(identities), tuple(endorsements), tuple(openings), entries), reason


def _opening(timeline: IdentityTimeline, index: int) -> OpeningEvidence | None:
    recorded, previous = timeline.identities[index].opening, timeline.identities[index - 1].identity.fingerprint
    following = timeline.identities[index].identity.fingerprint
    if recorded is None or previous is None or following is None:
        return None
    proposal = recorded.proposal
    root = _root_of(recorded)
    if root is None:
        return None
    return OpeningEvidence(
        previous,
        following,
        proposal.proposal_id,
        proposal.body,
        root,
        proposal.proposer_id,
        proposal.ballots,
        proposal.final_votes,
        tuple(
            SignedRequest(item.member_id, item.certificate.decode("utf-8", "replace"), item.scheme, item.record)
            for item in recorded.requests
            if item.certificate is not None
        ),
    )


def _root_of(recorded: RecordedOpening) -> bytes | None:
    proposal = recorded.proposal
    if proposal.request is None:
        return None
    return next(
        (root for root in proposal.roots if proposal.proposal_id in proposal.request.proposal_ids([root])), None
    )


def _history(
    timeline: IdentityTimeline, paths: Iterable[str | os.PathLike[str]], uncommitted: bool, recovery: bool
) -> tuple[bytes | None, str | None]:
    trusted = timeline.audited.chain.trusted_by
    accepted = [
        life.opening.accepted.seqno
        for index, life in enumerate(timeline.identities)
        if index > 0 and life.opening is not None and life.identity.opening is not None and trusted[index] is not None
    ]
    if not accepted:
        return None, "no opening leads forwards from one identity to the next"
    if not timeline.audited.state.from_genesis:
        return None, "the ledger does not start at its first transaction, so the members are not known"
    last = max(accepted)
    files = find_ledger_files([os.fspath(path) for path in paths], uncommitted=uncommitted, recovery=recovery)
    entries, size = [], 0
    for entry, _ in Lookup(files.parts).entries(1):
        size += entry.size
        if size > MAX_HISTORY_BYTES:
            return None, f"it is larger than {MAX_HISTORY_BYTES >> 20} MiB up to the last opening"
        entries.append(entry.raw)
        if entry.seqno == last:
            return b"".join(entries), None
    return None, f"transactions up to the last opening at seqno {last} are not all readable"


# ------------------------------------------------------------------------------------------------- proving


def prove_bundle(bundle: IdentityBundle, anchor: TrustAnchor) -> IdentityEvidence:
    """What a bundle adds to ``anchor``.

    Nothing in a bundle makes this raise: what cannot be proven is left out, and told where it would be needed.
    """
    opened: dict[bytes, OpenedKey] = {}
    problem = "the bundle holds no history"
    if not anchor.fingerprints:
        problem = "no identity is pinned"
    elif bundle.history is not None:
        try:
            audited = _audit_history(bundle.history, anchor)
        except (TallystickError, OSError) as error:
            problem = f"the history in the bundle cannot be audited: {error}"
        else:
            opened, problem = _opened_keys(audited)
    claimed = []
    for item in bundle.identities:
        if item.spki not in opened and not anchor.pins(item.fingerprint):
            claimed.append(ClaimedKey(item.spki, _why_not(bundle, item, anchor, problem)))
    spkis = [item.spki for item in bundle.identities] + [item.endorsed_spki for item in bundle.endorsements]
    return IdentityEvidence(bundle.endorsements, tuple(opened.values()), tuple(claimed), tuple(dict.fromkeys(spkis)))


def _audit_history(history: bytes, anchor: TrustAnchor) -> AuditedLedger:
    with tempfile.TemporaryDirectory(prefix="tallystick-identities-") as directory:
        chunk = Path(directory) / "ledger_1"
        chunk.write_bytes(_OPEN_CHUNK_HEADER + history)
        return audit_and_watch([chunk], anchor, uncommitted=True)


def _opened_keys(audited: AuditedLedger) -> tuple[dict[bytes, OpenedKey], str]:
    """Keys that members opened, and why there are no more of them."""
    # A pin of a life that this history does not reach takes nothing from the pins that it holds.
    failing = next(
        (
            item
            for item in audited.verdict.findings
            if item.verdict_effect is Effect.FAILS and item.code != "anchor-mismatch"
        ),
        None,
    )
    if failing is not None:
        return {}, f"the history in the bundle does not hold: {failing.message} [{failing.code}]"
    state, chain = audited.state, audited.chain
    opened: dict[bytes, OpenedKey] = {}
    for index in range(1, len(state.identities)):
        before, identity = state.identities[index - 1], state.identities[index]
        # The members are those in the rows up to the last signature before the recovery: it must hold.
        complete = before.last_signature is not None and before.last_proven == before.last_signature
        if chain.trusted_by[index] != "opening" or not state.from_genesis or not complete:
            continue
        if identity.spki is None or identity.begin is None:
            continue
        spki = bytes.fromhex(identity.spki)
        opened[spki] = OpenedKey(spki, identity.begin, _end(audited, index), _pinned_below(audited, index))
    return opened, "no opening in its history leads to it"


def _end(audited: AuditedLedger, index: int) -> TxId | None:
    # A later life ends this one only if it is believed itself.
    later = index + 1 < len(audited.state.identities) and audited.chain.trusted(index + 1)
    return audited.state.identities[index].last_signature if later else None


def _pinned_below(audited: AuditedLedger, index: int) -> str:
    """The pinned identity that an opening rests on: the nearest older one, else the nearest of all."""
    state, chain = audited.state, audited.chain
    order = [*range(index - 1, -1, -1), *range(index + 1, len(state.identities))]
    return next((state.identities[i].fingerprint or "" for i in order if _is_pinned(chain, i)), "")


def _is_pinned(chain: Chain, index: int) -> bool:
    return chain.trusted_by[index] == "pinned"


def _why_not(bundle: IdentityBundle, item: PastIdentity, anchor: TrustAnchor, problem: str) -> str:
    place = bundle.identities.index(item)
    opening = next((opening for opening in bundle.openings if opening.following == item.fingerprint), None)
    if not any(anchor.pins(older.fingerprint) for older in bundle.identities[:place]) or opening is None:
        # Nothing leads forwards to it; and if an endorsement led back to it, it would not be asked for.
        return "no endorsement leads back to it from a pinned identity, and no opening leads on to it from one"
    try:
        verified = opening.verify_signatures()
    except (FormatError, VerificationError) as error:
        return f"its opening proposal {opening.proposal_id[:16]} does not hold: {error.message}"
    return (
        f"{len(verified.voters)} ballots for its opening are signed by keys that the bundle calls members of identity "
        f"{verified.previous}; that they are, and how many there were, it does not prove: {problem}"
    )
