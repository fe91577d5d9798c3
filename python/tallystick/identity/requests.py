"""Signed requests of members, as the ledger keeps them, and what is checked about them.

COSE (3.x and later): ``public:ccf.gov.cose_history`` holds each member's latest request, a COSE_Sign1 with the
content attached; acknowledgements stand in ``public:ccf.gov.members.acks``. HTTP signatures (1.x to 3.x):
``public:ccf.gov.history`` holds the signing string, the body and the signature (formats.md section 11.2).

A parsed request is only that. Whether its signature holds is decided with the member's key of the time, by whoever
has both: the audit of an opening proposal, and the replay of all governance.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tallystick._native import CoseSign1, PublicKey
from tallystick.errors import FormatError

__all__ = ["MemberRequest", "ballot_text", "parse_cose_ack", "parse_cose_request", "parse_http_request"]

# COSE private headers of governance messages.
_TYPE, _CREATED_AT, _PROPOSAL_ID = "ccf.gov.msg.type", "ccf.gov.msg.created_at", "ccf.gov.msg.proposal_id"

_TARGET = re.compile(
    r"\(request-target\): post /gov/(?:proposals(?:/([0-9a-f]{64})/(ballots|withdraw))?|(ack))(?:\?.*)?\Z"
)
_HTTP_KINDS = {None: "proposal", "ballots": "ballot", "withdraw": "withdrawal"}
_HTTP_HASHES = {"NONE": "", "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512"}
_CURVE_HASHES = {"P-256": "sha256", "P-384": "sha384", "P-521": "sha512"}


@dataclass(frozen=True)
class MemberRequest:
    """A signed request.

    Attributes:
        member_id: member in whose row it stands.
        scheme: ``cose`` or ``http``.
        kind: ``proposal``, ``ballot``, ``withdrawal``, ``ack``, or what else its type says; ``other`` for a request to
            another endpoint, of which only the signature counts.
        proposal_id: of a ballot or withdrawal.
        created_at: Unix seconds, as claimed by the signer; None in HTTP and where the header is absent.
        body: what was signed: the proposal, or JSON with the ballot or digest.
        signed: the bytes under the signature.
        signature: DER for HTTP, fixed width for COSE.
        algorithm: COSE algorithm; None for HTTP.
        hash_name: for HTTP: sha256, sha384, sha512, or empty: by the curve of the key.
    """

    member_id: str
    scheme: str
    kind: str
    proposal_id: str | None
    created_at: int | None
    body: bytes
    signed: bytes
    signature: bytes
    algorithm: int | None = None
    hash_name: str = ""

    def holds(self, key: PublicKey) -> bool:
        """Whether ``key`` signed it."""
        if self.algorithm is not None:
            return key.verifies_cose(self.signed, self.signature, self.algorithm)
        hash_name = self.hash_name or _CURVE_HASHES.get(key.kind)
        return hash_name is not None and key.verifies(self.signed, self.signature, hash_name)

    def proposal_ids(self, roots: Iterable[bytes]) -> set[str]:
        """The ids that it gets as a proposal, executed on top of one of ``roots``.

        SHA-256 of the root and of the request's digest: that of the COSE signature, or of the HTTP signing
        string (by the hash of the member's key).
        """
        if self.scheme == "cose":
            digests = [hashlib.sha256(self.signature).digest()]
        else:
            digests = [hashlib.new(name, self.signed).digest() for name in ("sha384", "sha256", "sha512")]
        return {hashlib.sha256(root + digest).hexdigest() for root in roots for digest in digests}

    @property
    def replay_key(self) -> bytes:
        """Key of ``public:ccf.gov.cose_recent_proposals``: creation time and digest of the signature."""
        return b"%010d:%s" % (self.created_at or 0, hashlib.sha256(self.signature).hexdigest().encode())


def _malformed(why: str) -> FormatError:
    return FormatError(f"member's request is malformed: {why}", code="request-malformed")


def _base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise _malformed("expected base64 text")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise _malformed("expected base64 text") from error


def _json(value: bytes) -> object:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise _malformed("expected JSON") from error


def parse_cose_request(member_id: str, value: bytes) -> MemberRequest:
    """Parses a value of ``public:ccf.gov.cose_history``: a JSON string of base64 of a COSE_Sign1.

    Raises:
        FormatError: it is malformed, or bears another member's name.
    """
    return parse_cose_ack(member_id, _json(value))


def parse_cose_ack(member_id: str, text: object) -> MemberRequest:
    """Parses base64 of a COSE_Sign1, as ``members.acks`` holds it.

    Raises:
        FormatError: it is malformed, or bears another member's name.
    """
    sign1 = CoseSign1.parse(_base64(text))
    headers = sign1.protected_headers
    kind, proposal_id, created_at = headers.get(_TYPE), headers.get(_PROPOSAL_ID), headers.get(_CREATED_AT)
    if headers.get(4) != member_id.encode():
        raise _malformed(f"key ID {headers.get(4)!r:.80} is not that of member {member_id}")
    if sign1.payload is None or sign1.algorithm is None or not isinstance(kind, str):
        raise _malformed("it lacks its content, algorithm or type")
    if not isinstance(proposal_id, str | None):
        raise _malformed("its proposal ID is not text")
    if created_at is not None and (not isinstance(created_at, int) or isinstance(created_at, bool) or created_at < 0):
        raise _malformed("its creation time is not a number of seconds")
    return MemberRequest(
        member_id,
        "cose",
        kind,
        proposal_id,
        created_at,
        sign1.payload,
        sign1.signed_bytes(),
        sign1.signature,
        algorithm=sign1.algorithm,
    )


def parse_http_request(member_id: str, value: bytes) -> MemberRequest:
    """Parses a value of ``public:ccf.gov.history``, or the ``signed_req`` of an acknowledgement.

    Raises:
        FormatError: it is malformed, or its digest line is not that of its body.
    """
    record = _json(value)
    if not isinstance(record, dict):
        raise _malformed("expected an object")
    signature, signed, body = (_base64(record.get(name)) for name in ("sig", "req", "request_body"))
    hash_name = _HTTP_HASHES.get(str(record.get("md")))
    if hash_name is None:
        raise _malformed(f"digest {str(record.get('md'))[:16]!r} is unknown")
    if record.get("key_id", member_id) not in (member_id, ""):
        raise _malformed(f"key ID is not that of member {member_id}")
    try:
        lines = signed.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("its signing string is not ASCII") from error
    target = _TARGET.match(lines[0])
    if target is None:
        return MemberRequest(member_id, "http", "other", None, None, body, signed, signature, hash_name=hash_name)
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    if f"digest: SHA-256={digest}" not in lines[1:]:
        raise _malformed("its digest line is not that of its body")
    kind = "ack" if target[3] else _HTTP_KINDS[target[2]]
    return MemberRequest(member_id, "http", kind, target[1], None, body, signed, signature, hash_name=hash_name)


def ballot_text(body: bytes) -> str | None:
    """The script in the body of a ballot request, ``{"ballot": …}``; None when it is not one."""
    try:
        ballot = json.loads(body)
    except (ValueError, RecursionError):
        return None
    text = ballot.get("ballot") if isinstance(ballot, dict) else None
    return text if isinstance(text, str) else None
