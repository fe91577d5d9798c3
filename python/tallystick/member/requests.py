"""Governance requests: COSE_Sign1 messages that members sign.

What CCF wants of one (fact sheet 3.2): tag 18, the payload attached, and all of it protected: algorithm, key id
(the member id as text), ``ccf.gov.msg.type``, ``ccf.gov.msg.created_at`` in whole seconds, and for ballots and
withdrawals ``ccf.gov.msg.proposal_id``. Headers are in the order of deterministic encoding (RFC 8949 section
4.2.1), so that messages equal those of the official ``ccf_cose_sign1`` byte for byte, up to the signature.

A request can be signed in one place and prepared and sent from another::

    prepared = PreparedRequest.create(request, certificate)
    signature = ...  # over prepared.unsigned.digest, by a key vault
    message = prepared.finish(signature)
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from tallystick.cose import UnsignedSign1, certificate_fingerprint, create_sign1, prepare_sign1
from tallystick.errors import FormatError, UsageError

if TYPE_CHECKING:
    from tallystick.member.keys import MemberKeys

__all__ = ["MAX_CREATED_AT", "GovernanceRequest", "PreparedRequest", "RequestType", "read_signature"]

MAX_CREATED_AT = 9_999_999_999
"""Largest time that CCF takes: it keeps ten decimal digits of it."""

SCHEMA = "tallystick.prepared-request/1"

_PROPOSAL_ID = re.compile(r"[0-9a-fA-F]{64}\Z")
# r and s of P-521 are 132 bytes, base64 of them 176; JSON around it stays far below.
_MAX_SIGNATURE_FILE_BYTES = 64 << 10


class RequestType(str, Enum):
    """What a request asks for: the text of ``ccf.gov.msg.type``."""

    PROPOSAL = "proposal"
    BALLOT = "ballot"
    WITHDRAWAL = "withdrawal"
    ACK = "ack"
    STATE_DIGEST = "state_digest"
    RECOVERY_SHARE = "recovery_share"


_ABOUT_A_PROPOSAL = (RequestType.BALLOT, RequestType.WITHDRAWAL)


@dataclass(frozen=True)
class GovernanceRequest:
    """A request before it is signed.

    Attributes:
        type: what it asks for.
        payload: JSON, or empty.
        created_at: seconds since 1970.
        proposal_id: of ballots and withdrawals, 64 hex digits.

    Raises:
        UsageError: a proposal id is missing, superfluous or malformed, or the time is out of bounds.
    """

    type: RequestType
    payload: bytes
    created_at: int
    proposal_id: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.created_at <= MAX_CREATED_AT:
            raise UsageError(f"time of the request is out of bounds: {self.created_at} seconds since 1970")
        if self.type in _ABOUT_A_PROPOSAL and self.proposal_id is None:
            raise UsageError(f"a {self.type.value} needs the id of the proposal that it is about")
        if self.type not in _ABOUT_A_PROPOSAL and self.proposal_id is not None:
            raise UsageError(f"a request of type {self.type.value} is not about a proposal")
        if self.proposal_id is not None and _PROPOSAL_ID.match(self.proposal_id) is None:
            raise UsageError(f"not a proposal id: expected 64 hex digits, got {self.proposal_id!r}")

    @property
    def headers(self) -> dict[int | str, object]:
        """Protected headers beside algorithm and key id."""
        headers: dict[int | str, object] = {
            "ccf.gov.msg.type": self.type.value,
            "ccf.gov.msg.created_at": self.created_at,
        }
        if self.proposal_id is not None:
            headers["ccf.gov.msg.proposal_id"] = self.proposal_id
        return headers

    def sign(self, keys: MemberKeys) -> bytes:
        """The message, signed with the member's key."""
        return create_sign1(self.payload, keys.key, keys.certificate, self.headers)

    def path(self, member_id: str) -> str:
        """Where the message is to be posted, without the API version."""
        proposal = f"/gov/members/proposals/{self.proposal_id}"
        return {
            RequestType.PROPOSAL: "/gov/members/proposals:create",
            RequestType.BALLOT: f"{proposal}/ballots/{member_id}:submit",
            RequestType.WITHDRAWAL: f"{proposal}:withdraw",
            RequestType.ACK: f"/gov/members/state-digests/{member_id}:ack",
            RequestType.STATE_DIGEST: f"/gov/members/state-digests/{member_id}:update",
            RequestType.RECOVERY_SHARE: f"/gov/recovery/members/{member_id}:recover",
        }[self.type]


@dataclass(frozen=True)
class PreparedRequest:
    """A request and the certificate of the member who is going to sign it elsewhere.

    Its JSON form begins with ``alg`` and ``value`` as ``ccf_cose_sign1_prepare`` prints them, so that what signs
    for the official tool signs for this one.
    """

    request: GovernanceRequest
    certificate: str
    unsigned: UnsignedSign1

    @classmethod
    def create(cls, request: GovernanceRequest, certificate: str) -> PreparedRequest:
        """Prepares ``request`` for the member with this certificate (PEM).

        Raises:
            FormatError: the certificate is none, or its key is of another kind.
        """
        return cls(request, certificate, prepare_sign1(request.payload, certificate, request.headers))

    @property
    def member_id(self) -> str:
        return certificate_fingerprint(self.certificate)

    def finish(self, signature: bytes) -> bytes:
        """The message; see :meth:`tallystick.cose.UnsignedSign1.finish` for what is raised."""
        return self.unsigned.finish(signature, self.certificate)

    def to_json(self) -> dict[str, object]:
        """All that is needed to sign and to finish."""
        return {
            "alg": self.unsigned.algorithm,
            "value": base64.b64encode(self.unsigned.digest).decode(),
            "schema": SCHEMA,
            "hash": self.unsigned.hash_name,
            "toBeSigned": base64.b64encode(self.unsigned.to_be_signed).decode(),
            "type": self.request.type.value,
            "proposalId": self.request.proposal_id,
            "createdAt": self.request.created_at,
            "memberId": self.member_id,
            "certificate": self.certificate,
            "payload": base64.b64encode(self.request.payload).decode(),
        }

    @classmethod
    def from_json(cls, data: bytes, file: str) -> PreparedRequest:
        """Reads what :meth:`to_json` gave.

        What was to be signed is made anew from the rest and must come out the same.

        Raises:
            UsageError: it is something else.
        """
        problem = "not a prepared request"
        try:
            document = json.loads(data)
            if document["schema"] != SCHEMA:
                raise UsageError(f"{problem}: expected schema {SCHEMA}, got {document['schema']!r}", file=file)
            request = GovernanceRequest(
                RequestType(document["type"]),
                base64.b64decode(document["payload"], validate=True),
                int(document["createdAt"]),
                document["proposalId"],
            )
            prepared = cls.create(request, document["certificate"])
            same = prepared.to_json() == document
        except UsageError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, FormatError) as error:
            raise UsageError(f"{problem}: as tallystick member prepare writes it", file=file) from error
        if not same:
            raise UsageError(f"{problem}: its parts do not fit together; it was altered", file=file)
        return prepared


def read_signature(data: bytes, file: str) -> bytes:
    """The signature in what a signer gave out.

    Taken are JSON with ``value``, ``signature`` or ``result`` in base64 or base64url (Azure Key Vault by REST and
    by command line), the same text alone, or the bytes themselves.

    Raises:
        UsageError: it is JSON without one, or too long.
    """
    if len(data) > _MAX_SIGNATURE_FILE_BYTES:
        raise UsageError("this is not a signature: it is too long", file=file)
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        return data
    if text.startswith("{"):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError("signature begins like JSON, and is none", file=file) from error
        found = [document[name] for name in ("value", "signature", "result") if isinstance(document.get(name), str)]
        if not found:
            raise UsageError("signature in JSON is missing: expected a text named value or signature", file=file)
        text = found[0]
    compact = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except binascii.Error:
        # Bytes that happen to be text; whether they are a signature is seen when it is put under the request.
        return data
