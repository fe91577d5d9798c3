"""The service keys that a caller may believe: pinned ones, and those that a pinned one vouches for.

Three sources, and no other:

1. the trust anchor: service certificates, or fingerprints whose keys are met elsewhere (a fingerprint alone
   verifies nothing);
2. keys published by a named issuer, which the caller saved (JWKS, or the parameters of a SCITT service): they
   count for receipts of that issuer only;
3. endorsements that lead backwards from one of these, link by link, for the endorsed epoch only;
4. newer keys that the members of a believed life opened, where the caller verified that in full, for the
   transactions of that newer life only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tallystick._native import PublicKey
from tallystick.errors import VerificationError
from tallystick.identity.endorsements import Endorsement, Epoch
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.types import TxId

__all__ = ["ClaimedKey", "IdentityEvidence", "OpenedKey", "ServiceKey", "ServiceKeys"]


@dataclass(frozen=True)
class OpenedKey(Epoch):
    """A link forwards: members of a believed life opened the service under this newer key.

    Who makes one has verified it against the caller's anchor (``audit/identity_bundle.py``): that takes the whole
    list of members, which only a complete history shows.

    Attributes:
        spki: the newer key, DER SubjectPublicKeyInfo.
        begin: first transaction of its life.
        end: last signature of its life; None when no later life is known.
        pinned: fingerprint of the pinned key on which this rests.
    """

    spki: bytes
    begin: TxId
    end: TxId | None
    pinned: str

    def covers(self, txid: TxId) -> bool:
        """Whether ``txid`` lies in this life."""
        if txid.seqno < self.begin.seqno or txid.view < self.begin.view:
            return False
        return self.end is None or (txid.seqno <= self.end.seqno and txid.view <= self.end.view)


@dataclass(frozen=True)
class ClaimedKey:
    """A key that evidence names as one of the service's, and that nothing leads to from the caller's pins.

    Attributes:
        spki: DER SubjectPublicKeyInfo.
        reason: why it is not believed, for people.
    """

    spki: bytes
    reason: str


@dataclass(frozen=True)
class IdentityEvidence:
    """What a bundle of past identities adds to an anchor, each part verified or worth what it is.

    Attributes:
        endorsements: as recorded; they count where a believed key signed them.
        opened: newer keys, verified.
        claimed: keys that nothing leads to; they only serve to say which pin would help.
        spkis: all keys that it holds, which fill in pins given as fingerprints.
    """

    endorsements: tuple[Endorsement, ...] = ()
    opened: tuple[OpenedKey, ...] = ()
    claimed: tuple[ClaimedKey, ...] = ()
    spkis: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class ServiceKey:
    """A service key that may be believed, and why.

    Attributes:
        fingerprint: lower-case hex SHA-256 of the SubjectPublicKeyInfo.
        key: the key.
        pinned: fingerprint of the pinned key on which this rests; the key's own when it is pinned itself.
        links: from the pinned key to this one; empty when it is pinned itself. An :class:`OpenedKey` stands for
            all openings since the pinned life.
        issuers: names that the key is bound to; empty: it is pinned whatever its name.
    """

    fingerprint: str
    key: PublicKey
    pinned: str
    links: tuple[Endorsement | OpenedKey, ...] = ()
    issuers: frozenset[str] = frozenset()

    def covers(self, txid: TxId) -> bool:
        """Whether the key may vouch for ``txid``: a pinned key for any, one that was linked inside its epoch."""
        return not self.links or self.links[-1].covers(txid)

    @property
    def epoch(self) -> str | None:
        """The epoch for which it was linked, for people; None for a pinned key."""
        return self.links[-1].epoch if self.links else None


class ServiceKeys:
    """All service keys that follow from an anchor and what came with it.

    Args:
        anchor: the pinned identities.
        endorsements: in any order; those that no believed key signed are ignored (see ``unused``).
        issuer_keys: DER SubjectPublicKeyInfo by issuer name, as published by the issuers.
        seen: keys met in the data at hand; they only fill in pins that are given as fingerprints.
        opened: links forwards that the caller verified.
        claimed: keys that evidence names and nothing leads to.
    """

    def __init__(
        self,
        anchor: TrustAnchor,
        *,
        endorsements: Iterable[Endorsement] = (),
        issuer_keys: Mapping[str, Iterable[bytes]] | None = None,
        seen: Iterable[bytes] = (),
        opened: Iterable[OpenedKey] = (),
        claimed: Iterable[ClaimedKey] = (),
    ) -> None:
        links = list(endorsements)
        self._opened = tuple(opened)
        self._claims = tuple(claimed)
        self._given = (links, issuer_keys or {})
        self.anchor = anchor.with_keys([*seen, *(link.endorsed_spki for link in links)])
        self._by_fingerprint: dict[str, list[ServiceKey]] = {}
        for fingerprint, spki in self.anchor.keys.items():
            self._add(ServiceKey(fingerprint, PublicKey.from_spki(spki), fingerprint))
        self._add_issuers(issuer_keys or {})
        self._add_opened()
        self.unused = self._follow(links)
        self.claimed = {
            key.sha256: (key, claim.reason)
            for key, claim in ((PublicKey.from_spki(claim.spki), claim) for claim in self._claims)
            if not self.find(key.sha256)
        }

    def _add(self, key: ServiceKey) -> None:
        self._by_fingerprint.setdefault(key.fingerprint, []).append(key)

    def _add_issuers(self, issuer_keys: Mapping[str, Iterable[bytes]]) -> None:
        names: dict[bytes, set[str]] = {}
        for issuer, spkis in issuer_keys.items():
            for spki in spkis:
                names.setdefault(spki, set()).add(issuer)
        for spki, issuers in names.items():
            fingerprint = hashlib.sha256(spki).hexdigest()
            if fingerprint not in self._by_fingerprint:
                key = PublicKey.from_spki(spki)
                self._add(ServiceKey(fingerprint, key, fingerprint, issuers=frozenset(issuers)))

    def _add_opened(self) -> None:
        for link in self._opened:
            key = PublicKey.from_spki(link.spki)
            # One that was verified under a pin that is not ours proves nothing here.
            if self.anchor.pins(link.pinned) and not self.find(key.sha256):
                self._add(ServiceKey(key.sha256, key, link.pinned, (link,)))

    def _follow(self, links: list[Endorsement]) -> tuple[Endorsement, ...]:
        """Walks the endorsements from the believed keys backwards; returns those that no believed key signed."""
        # Self-endorsements (open-ended) and epochs that end before they begin link nothing. A service that was
        # recovered twice from the same snapshot is known to have written one of the latter.
        left = [link for link in links if link.end is not None and link.begin <= link.end]
        front = list(self)
        while front and left:
            found: list[ServiceKey] = []
            for link in list(left):
                endorser = next((key for key in front if _signed(link, key)), None)
                if endorser is None:
                    continue
                left.remove(link)
                vouched = ServiceKey(
                    link.endorsed,
                    PublicKey.from_spki(link.endorsed_spki),
                    endorser.pinned,
                    (*endorser.links, link),
                    endorser.issuers,
                )
                if not any(not known.links for known in self.find(vouched.fingerprint)):
                    self._add(vouched)
                    found.append(vouched)
            front = found
        return tuple(left)

    def find(self, fingerprint: str) -> list[ServiceKey]:
        """The believed keys with this fingerprint: none, the pinned one, or one an endorsed epoch."""
        return self._by_fingerprint.get(fingerprint, [])

    def __iter__(self) -> Iterator[ServiceKey]:
        return (key for keys in self._by_fingerprint.values() for key in keys)

    def learning(self, spkis: Iterable[bytes]) -> ServiceKeys:
        """The same, with pins filled in that are given as fingerprints and whose key is among ``spkis``."""
        if not self.missing:
            return self
        anchor = self.anchor.with_keys(spkis)
        if anchor.keys == self.anchor.keys:
            return self
        endorsements, issuer_keys = self._given
        return ServiceKeys(
            anchor, endorsements=endorsements, issuer_keys=issuer_keys, opened=self._opened, claimed=self._claims
        )

    @property
    def anchored(self) -> bool:
        """Whether the caller pinned anything at all."""
        return bool(self.anchor.fingerprints) or bool(self._by_fingerprint)

    @property
    def missing(self) -> frozenset[str]:
        """Pinned fingerprints whose key is not known, so that nothing can be verified with them."""
        return self.anchor.fingerprints - set(self.anchor.keys)


def _signed(link: Endorsement, endorser: ServiceKey) -> bool:
    # The next older epoch must end right before the endorser's own began, if that is known.
    if endorser.links and not endorser.links[-1].follows(link):
        return False
    try:
        link.verify_signature(endorser.key)
    except VerificationError:
        return False
    return True
