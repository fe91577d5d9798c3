"""Policies that say who calls.

An endpoint lists policies; the first that accepts names the caller, and if none does the request ends with 401
and the reason of each. A policy must be cheap to refuse, because it runs for whoever connects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tallystick.node.http.context import Caller, Context
from tallystick.node.http.errors import Code, Detail, HttpError

__all__ = [
    "AnyCertificatePolicy",
    "AuthenticationError",
    "AuthenticationPolicy",
    "MemberCertificatePolicy",
    "NodeCertificatePolicy",
    "UserCertificatePolicy",
    "authenticate",
]

Clock = Callable[[], datetime]

MEMBERS_CERTS = "public:ccf.gov.members.certs"
MEMBERS_INFO = "public:ccf.gov.members.info"
USERS_CERTS = "public:ccf.gov.users.certs"
USERS_INFO = "public:ccf.gov.users.info"
NODES_INFO = "public:ccf.gov.nodes.info"

Scheme = tuple[str, Mapping[str, Any]]
"""Name and OpenAPI description of a security scheme."""

MUTUAL_TLS: Mapping[str, Any] = {"type": "mutualTLS", "description": "the client proves to hold a certificate's key"}


class AuthenticationError(Exception):
    """A policy does not accept the request. The message is shown to the client."""


class AuthenticationPolicy(Protocol):
    """One way of telling who calls.

    Attributes:
        name: name in errors and OpenAPI documents.
        challenge: value of ``www-authenticate`` when it refuses; None: no such header.
        scheme: description for OpenAPI documents; None: none.
    """

    @property
    def name(self) -> str: ...
    @property
    def challenge(self) -> str | None: ...
    @property
    def scheme(self) -> Scheme | None: ...

    def authenticate(self, context: Context) -> Caller:
        """Who calls.

        Raises:
            AuthenticationError: it cannot tell, or will not accept.
        """


def authenticate(context: Context, policies: Sequence[AuthenticationPolicy]) -> Caller | None:
    """Who calls according to the first policy that accepts; None if there are no policies.

    Raises:
        HttpError: 401, every policy refuses.
    """
    if not policies:
        return None
    details: list[Detail] = []
    for policy in policies:
        try:
            return policy.authenticate(context)
        except AuthenticationError as refusal:
            code = Code.INVALID_AUTHENTICATION_INFO.value
            details.append({"auth_policy": policy.name, "code": code, "message": str(refusal)})
    challenge = policies[-1].challenge
    raise HttpError(
        401,
        Code.INVALID_AUTHENTICATION_INFO,
        "Invalid authentication credentials.",
        details=details,
        headers=() if challenge is None else (("www-authenticate", challenge),),
    )


class _CertificatePolicy:
    challenge: str | None = None
    scheme: Scheme | None = None
    missing = "No caller certificate"

    def presented(self, context: Context) -> bytes:
        der = context.request.client_certificate
        if der is None:
            raise AuthenticationError(self.missing)
        return der


class MemberCertificatePolicy(_CertificatePolicy):
    """The TLS client certificate is a member's. Its dates are not looked at, as in CCF."""

    name = "member_cert"
    scheme = ("member_cert", MUTUAL_TLS)
    missing = "No caller member certificate"

    def authenticate(self, context: Context) -> Caller:
        """See :class:`AuthenticationPolicy`."""
        der = self.presented(context)
        member_id = hashlib.sha256(der).hexdigest()
        if context.tx.get(MEMBERS_CERTS, member_id.encode()) is None:
            raise AuthenticationError("Could not find matching member certificate")
        return Caller(self.name, member_id, der, _field(context, MEMBERS_INFO, member_id, "member_data"))


class UserCertificatePolicy(_CertificatePolicy):
    """The TLS client certificate is a user's, and valid now.

    Args:
        clock: gives the time, with a time zone.
    """

    name = "user_cert"
    scheme = ("user_cert", MUTUAL_TLS)
    missing = "No caller user certificate"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def authenticate(self, context: Context) -> Caller:
        """See :class:`AuthenticationPolicy`."""
        der = self.presented(context)
        user_id = hashlib.sha256(der).hexdigest()
        if context.tx.get(USERS_CERTS, user_id.encode()) is None:
            raise AuthenticationError("Could not find matching user certificate")
        check_validity(der, self._clock())
        return Caller(self.name, user_id, der, _field(context, USERS_INFO, user_id, "user_data"))


class AnyCertificatePolicy(_CertificatePolicy):
    """Any TLS client certificate that is valid now.

    Args:
        clock: gives the time, with a time zone.
    """

    name = "any_cert"
    scheme = ("any_cert", MUTUAL_TLS)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def authenticate(self, context: Context) -> Caller:
        """See :class:`AuthenticationPolicy`."""
        der = self.presented(context)
        check_validity(der, self._clock())
        return Caller(self.name, hashlib.sha256(der).hexdigest(), der)


class NodeCertificatePolicy(_CertificatePolicy):
    """The key of the TLS client certificate is that of a node of this service."""

    name = "node_cert"
    missing = "No caller node certificate"

    def authenticate(self, context: Context) -> Caller:
        """See :class:`AuthenticationPolicy`."""
        der = self.presented(context)
        try:
            key = x509.load_der_x509_certificate(der).public_key()
            spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except ValueError:
            raise AuthenticationError("Could not parse the caller's certificate") from None
        node_id = hashlib.sha256(spki).hexdigest()
        if context.tx.get(NODES_INFO, node_id.encode()) is None:
            raise AuthenticationError("Could not find matching node certificate")
        return Caller(self.name, node_id, der)


def check_validity(der: bytes, now: datetime) -> None:
    """Checks the dates of a client certificate.

    Raises:
        AuthenticationError: it is not parsable, not valid yet, or not any more.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except ValueError:
        raise AuthenticationError("Could not parse the caller's certificate") from None
    now = now.astimezone(timezone.utc)
    if now < first:
        raise AuthenticationError(f"Certificate is not yet valid: its Not Before is {first.isoformat()}")
    if now > last:
        raise AuthenticationError(f"Certificate has expired: its Not After is {last.isoformat()}")


def _field(context: Context, table: str, key: str, name: str) -> Any:
    row = context.tx.get(table, key.encode())
    value = None if row is None else json.loads(row)
    return value.get(name) if isinstance(value, dict) else None
