"""Bundles of past identities: a small file that leads from one life of a service to the others.

``tallystick identity PATH --bundle FILE`` writes one, ``tallystick receipt verify --identities FILE`` uses it. A
bundle is evidence, never an anchor: whoever reads it verifies each link again, from the identity that he pins.

* *Backwards* (an old receipt, today's identity) lead the COSE endorsements, as recorded. Each is signed by the
  newer key over the older one, its epoch and its last root; nothing else is needed.
* *Forwards* (today's receipt, an old identity) leads the members' opening proposal, with their signed requests.
  That these are the members, that none was removed since, and how many there were, is a statement about rows
  that were *not* written, and no inclusion proof shows what was not written. So the bundle also holds the
  history: every transaction from the first one to the last opening, which is verified like any ledger. Without
  the history (it can be too large, or not be meant for others) the signatures of the opening can be checked and
  that it is the members who signed cannot: the link stays undecided.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallystick.errors import FormatError, TallystickError, VerificationError
from tallystick.identity.certificates import parse_certificate
from tallystick.identity.endorsements import Endorsement
from tallystick.identity.opening import MemberKey, OpeningProposal, VerifiedOpening, verify_opening
from tallystick.identity.requests import parse_cose_request, parse_http_request
from tallystick.types import TxId

__all__ = [
    "MAX_BUNDLE_BYTES",
    "MAX_HISTORY_BYTES",
    "SCHEMA",
    "IdentityBundle",
    "OpeningEvidence",
    "PastIdentity",
    "SignedRequest",
]

SCHEMA = "tallystick.identities/1"

MAX_HISTORY_BYTES = 32 << 20
"""History that goes into a bundle. More is not a file that people pass around: give the ledger instead."""

MAX_BUNDLE_BYTES = 64 << 20
"""A bundle that is read: a history of that size in base64, and as much again for everything else."""

# A service is recovered a handful of times; these are beyond any history.
_MAX_IDENTITIES = 1000
_MAX_REQUESTS = 10_000


@dataclass(frozen=True)
class PastIdentity:
    """One life of the service, as its ledger has it.

    Attributes:
        certificate: PEM.
        spki: its key, DER SubjectPublicKeyInfo.
        fingerprint: SHA-256 of it, hex.
        first_txid: None when the ledger at hand began in the middle of its life.
        last_signed_txid, last_signed_root: its last signature there; None when there was none.
    """

    certificate: str
    spki: bytes
    fingerprint: str
    first_txid: TxId | None
    last_signed_txid: TxId | None
    last_signed_root: str | None

    @classmethod
    def from_certificate(cls, pem: str, first: TxId | None, last: TxId | None, last_root: str | None) -> PastIdentity:
        """With key and fingerprint taken from the certificate.

        Raises:
            FormatError: it is not one PEM certificate.
        """
        certificate = parse_certificate(pem)
        return cls(pem, certificate.spki, certificate.spki_sha256, first, last, last_root)


@dataclass(frozen=True)
class SignedRequest:
    """A member's request: the value of the history table as recorded, and the member's certificate.

    Attributes:
        scheme: ``cose`` or ``http``.
    """

    member_id: str
    certificate: str
    scheme: str
    record: bytes


@dataclass(frozen=True)
class OpeningEvidence:
    """The opening proposal that leads from one identity to the next.

    Attributes:
        previous, following: fingerprints.
        root: Merkle root on top of which it was executed; its id is derived from it.
        ballots: text of each member's ballot.
        final_votes: as recorded; None where the API leaves them out.
        requests: the proposer's, and one for each ballot.
    """

    previous: str
    following: str
    proposal_id: str
    proposal: bytes
    root: bytes
    proposer_id: str
    ballots: Mapping[str, str]
    final_votes: Mapping[str, bool] | None
    requests: tuple[SignedRequest, ...]

    def verify_signatures(self) -> VerifiedOpening:
        """Verifies the opening as far as the bundle alone allows it: that its members are members is its own word.

        Raises:
            FormatError: a part is malformed.
            VerificationError: it names other identities, or a signature does not hold.
        """
        members: dict[str, MemberKey] = {}
        proposal = OpeningProposal(self.proposal_id, self.proposal, 0, proposer_id=self.proposer_id, roots=(self.root,))
        proposal.ballots = dict(self.ballots)
        proposal.final_votes = None if self.final_votes is None else dict(self.final_votes)
        for item in self.requests:
            certificate = parse_certificate(item.certificate)
            if certificate.sha256 != item.member_id:
                raise VerificationError(
                    f"member id is not that of its certificate: expected {certificate.sha256}, got {item.member_id}",
                    code="opening-unverified",
                )
            members[item.member_id] = MemberKey(certificate.spki.hex(), "Active")
            parse = parse_cose_request if item.scheme == "cose" else parse_http_request
            request = parse(item.member_id, item.record)
            if request.kind == "proposal":
                proposal.request = request
            elif request.kind == "ballot":
                proposal.ballot_requests[item.member_id] = request
        return verify_opening(proposal, members, self.previous, self.following)


@dataclass(frozen=True)
class IdentityBundle:
    """A bundle as made or read; nothing about it is verified.

    Attributes:
        identities: oldest first.
        endorsements: COSE_Sign1 as recorded, oldest first.
        openings: oldest first.
        history: all entries from the first transaction to the last opening, one after the other; None without.
        note: for people; evidence of nothing.
    """

    identities: tuple[PastIdentity, ...]
    endorsements: tuple[Endorsement, ...]
    openings: tuple[OpeningEvidence, ...] = ()
    history: bytes | None = None
    note: str = ""

    def to_bytes(self) -> bytes:
        """The file."""
        document = {
            "schema": SCHEMA,
            "note": self.note,
            "identities": [_identity_json(item) for item in self.identities],
            "endorsements": [_b64(item.raw) for item in self.endorsements],
            "openings": [_opening_json(item) for item in self.openings],
            "history": None if self.history is None else _b64(self.history),
        }
        return json.dumps(document, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> IdentityBundle:
        """Reads a file.

        Raises:
            FormatError: it is not a bundle, or a part is malformed (code ``identities-malformed``).
        """
        if len(data) > MAX_BUNDLE_BYTES:
            raise _malformed(f"expected at most {MAX_BUNDLE_BYTES} bytes")
        try:
            document: Mapping[str, Any] = json.loads(data)
            if not isinstance(document, dict) or document.get("schema") != SCHEMA:
                raise _malformed(f"expected the schema {SCHEMA}")
            history = document["history"]
            return cls(
                tuple(_identity(item) for item in _list(document, "identities", _MAX_IDENTITIES)),
                tuple(Endorsement.parse(_bytes(item)) for item in _list(document, "endorsements", _MAX_IDENTITIES)),
                tuple(_opening(item) for item in _list(document, "openings", _MAX_IDENTITIES)),
                None if history is None else _bytes(history),
                str(document.get("note", "")),
            )
        except TallystickError as error:
            raise _malformed(error.message.removeprefix(_SUBJECT)) from error
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise _malformed(f"{type(error).__name__}: {str(error)[:80]}") from error


def _identity_json(item: PastIdentity) -> dict[str, object]:
    return {
        "service_key_sha256": item.fingerprint,
        "certificate": item.certificate,
        "first_txid": None if item.first_txid is None else str(item.first_txid),
        "last_signed_txid": None if item.last_signed_txid is None else str(item.last_signed_txid),
        "last_signed_root": item.last_signed_root,
    }


def _opening_json(item: OpeningEvidence) -> dict[str, object]:
    return {
        "previous": item.previous,
        "next": item.following,
        "proposal_id": item.proposal_id,
        "proposal": _b64(item.proposal),
        "root": item.root.hex(),
        "proposer_id": item.proposer_id,
        "ballots": dict(item.ballots),
        "final_votes": None if item.final_votes is None else dict(item.final_votes),
        "requests": [
            {
                "member_id": request.member_id,
                "certificate": request.certificate,
                "scheme": request.scheme,
                "record": _b64(request.record),
            }
            for request in item.requests
        ],
    }


def _identity(item: Mapping[str, Any]) -> PastIdentity:
    identity = PastIdentity.from_certificate(
        _text(item["certificate"]), _txid(item["first_txid"]), _txid(item["last_signed_txid"]),
        None if item["last_signed_root"] is None else _text(item["last_signed_root"]),
    )  # fmt: skip
    if item["service_key_sha256"] != identity.fingerprint:
        raise _malformed(
            f"fingerprint of an identity is not that of its certificate: expected {identity.fingerprint}, "
            f"got {str(item['service_key_sha256'])[:64]}"
        )
    return identity


def _opening(item: Mapping[str, Any]) -> OpeningEvidence:
    root = bytes.fromhex(_text(item["root"]))
    ballots, votes = item["ballots"], item["final_votes"]
    if len(root) != 32 or not isinstance(ballots, dict) or not isinstance(votes, dict | None):
        raise _malformed("an opening has a malformed root, ballots or votes")
    return OpeningEvidence(
        _text(item["previous"]),
        _text(item["next"]),
        _text(item["proposal_id"]),
        _bytes(item["proposal"]),
        root,
        _text(item["proposer_id"]),
        {name: _text(text) for name, text in ballots.items()},
        None if votes is None else {name: vote is True for name, vote in votes.items()},
        tuple(_request(request) for request in _list(item, "requests", _MAX_REQUESTS)),
    )


def _request(item: Mapping[str, Any]) -> SignedRequest:
    scheme = _text(item["scheme"])
    if scheme not in ("cose", "http"):
        raise _malformed(f"scheme of a request: expected cose or http, got {scheme[:20]!r}")
    return SignedRequest(_text(item["member_id"]), _text(item["certificate"]), scheme, _bytes(item["record"]))


def _list(item: Mapping[str, Any], name: str, most: int) -> list[Any]:
    value = item[name]
    if not isinstance(value, list) or len(value) > most:
        raise _malformed(f"{name}: expected a list of at most {most}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _malformed(f"expected text, got {type(value).__name__}")
    return value


def _txid(value: object) -> TxId | None:
    return None if value is None else TxId.parse(_text(value))


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except binascii.Error as error:
        raise _malformed("a value is not base64") from error


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_SUBJECT = "bundle of identities is malformed: "


def _malformed(problem: str) -> FormatError:
    return FormatError(_SUBJECT + problem, code="identities-malformed")
