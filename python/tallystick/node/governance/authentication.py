"""Who sent a governance request: a COSE_Sign1 (RFC 9052) around the content, signed with a member's key.

Protected headers: algorithm, key ID (the member ID as text), ``ccf.gov.msg.type``, ``ccf.gov.msg.created_at``
(Unix seconds) and, for ballots and withdrawals, ``ccf.gov.msg.proposal_id``. The TLS client does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tallystick._native import CoseSign1, PublicKey
from tallystick.errors import FormatError
from tallystick.governance.state import parse_member_certificate
from tallystick.node import tables
from tallystick.node.http.authentication import AuthenticationError, Scheme
from tallystick.node.http.context import Caller, Context
from tallystick.node.http.errors import Code, HttpError

__all__ = ["COSE_TYPE", "MemberSignaturePolicy", "SignedRequest", "signed_request"]

COSE_TYPE = "application/cose"

_KID = 4
_TYPE = "ccf.gov.msg.type"
_CREATED_AT = "ccf.gov.msg.created_at"
_PROPOSAL_ID = "ccf.gov.msg.proposal_id"

# ES256, ES384 and ES512: what CCF takes from members.
_ALGORITHMS = (-7, -35, -36)

# Keys kept parsed; a service has tens of members, and a certificate stays the same for its member ID.
_KEYS_KEPT = 256


@dataclass(frozen=True)
class SignedRequest:
    """A member's request whose signature holds.

    Attributes:
        member_id: who signed.
        envelope: the whole COSE_Sign1, as sent.
        content: what was signed.
        signature: fixed-width r and s.
        created_at: Unix seconds, as the signer says.
        proposal_id: proposal that it is about, as the signer says; None if it does not.
    """

    member_id: str
    envelope: bytes
    content: bytes
    signature: bytes
    created_at: int
    proposal_id: str | None


class MemberSignaturePolicy:
    """The body is signed by a member, for this purpose.

    Args:
        message_type: what ``ccf.gov.msg.type`` must say.
        active: whether the member must be active. New members acknowledge the state before they are.
    """

    challenge = 'COSE-SIGN1 realm="Signed request access"'

    def __init__(self, message_type: str, *, active: bool = True) -> None:
        self.message_type = message_type
        self.active = active
        self.name = "active_member_cose_sign1" if active else "member_cose_sign1"

    @property
    def scheme(self) -> Scheme:
        """Description for OpenAPI documents."""
        return self.name, {
            "type": "http",
            "scheme": "cose_sign1",
            "description": "The body is a COSE_Sign1 by a member of this service, with the headers of governance.",
        }

    def authenticate(self, context: Context) -> Caller:
        """See :class:`~tallystick.node.http.authentication.AuthenticationPolicy`."""
        content_type = context.header("content-type")
        if content_type is None:
            raise AuthenticationError("Missing content-type header")
        if content_type != COSE_TYPE:
            raise AuthenticationError(f"Content type is not set to {COSE_TYPE}")
        message = _parse(context.body)
        headers = message.protected_headers
        member_id, created_at = _key_id(headers), _created_at(headers)
        if message.algorithm not in _ALGORITHMS:
            raise AuthenticationError(f"Unsupported algorithm: {message.algorithm}")
        certificate = context.tx.get(tables.MEMBERS_CERTS, member_id.encode())
        if certificate is None:
            raise AuthenticationError("Signer is not a known member")
        if not _holds(message, certificate):
            raise AuthenticationError("Failed to validate COSE Sign1")
        self._check_type(headers)
        info: dict[str, Any] = tables.get_json(context.tx, tables.MEMBERS_INFO, member_id.encode()) or {}
        if self.active and info.get("status") != "Active":
            raise AuthenticationError("Signer is not an ACTIVE member")
        request = SignedRequest(
            member_id,
            context.body,
            message.payload or b"",
            message.signature,
            created_at,
            _text(headers, _PROPOSAL_ID),
        )
        return Caller(self.name, member_id, data=info.get("member_data"), evidence=request)

    def _check_type(self, headers: Mapping[int | str, object]) -> None:
        expected, found = self.message_type, _text(headers, _TYPE)
        if found is None:
            raise AuthenticationError(f"Missing {_TYPE}, expected {_TYPE} to be {expected}")
        if found != expected:
            raise AuthenticationError(f"Found {_TYPE} set to {found}, expected {_TYPE} to be {expected}")


def signed_request(context: Context) -> SignedRequest:
    """The request that :class:`MemberSignaturePolicy` accepted.

    Raises:
        HttpError: 401, the endpoint did not ask for one.
    """
    evidence = context.identified.evidence
    if not isinstance(evidence, SignedRequest):
        raise HttpError(401, Code.INVALID_AUTHENTICATION_INFO, "Invalid authentication credentials.")
    return evidence


def _parse(body: bytes) -> CoseSign1:
    try:
        message = CoseSign1.parse(body)
    except FormatError as error:
        raise AuthenticationError(f"Parse COSE CBOR: {error.message}") from None
    if not message.tagged:
        raise AuthenticationError("Parse COSE tag: expected 18")
    if message.payload is None:
        raise AuthenticationError("The COSE Sign1 does not carry its content")
    return message


def _key_id(headers: Mapping[int | str, object]) -> str:
    value = headers.get(_KID)
    try:
        if isinstance(value, bytes):
            return value.decode("ascii")
    except UnicodeDecodeError:
        pass
    raise AuthenticationError("Parse kid in protected header: expected the member ID as a byte string")


def _created_at(headers: Mapping[int | str, object]) -> int:
    value = headers.get(_CREATED_AT)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise AuthenticationError("Parse created_at in protected header: expected seconds since 1970")
    return value


def _text(headers: Mapping[int | str, object], name: str) -> str | None:
    value = headers.get(name)
    if value is not None and not isinstance(value, str):
        raise AuthenticationError(f"Parse {name} in protected header: expected text")
    return value


@lru_cache(maxsize=_KEYS_KEPT)
def _key(certificate: bytes) -> PublicKey:
    return PublicKey.from_spki(parse_member_certificate(certificate).spki)


def _holds(message: CoseSign1, certificate: bytes) -> bool:
    try:
        return _key(certificate).verifies_cose(message.signed_bytes(), message.signature, message.algorithm or 0)
    except FormatError:
        # A certificate without a key that can sign such a message: nothing can hold under it.
        return False
