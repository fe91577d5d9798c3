"""Certificates that a node issues: its own, those it endorses as the service, and the service's.

Field by field as CCF issues them (``src/crypto/openssl``): 16 random bytes as serial, an inclusive validity
whose end is one second short of the last day, path length 1 in self-signed certificates, subject alternative
names taken over from the request.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import NameOID

from tallystick.errors import FormatError
from tallystick.node.keys import SigningKey

__all__ = [
    "ServiceIdentity",
    "alternative_names",
    "endorse_past_identity",
    "endorse_request",
    "parse_subject",
    "parse_time",
    "self_signed",
    "signing_request",
    "spki_of",
]

_SERIAL_BYTES: Final = 16
_ATTRIBUTES: Final = {
    "CN": NameOID.COMMON_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
}
_ASN1_TIME: Final = re.compile(r"[0-9]{12}Z|[0-9]{14}Z")


def parse_subject(text: str) -> x509.Name:
    """A subject written as ``CN=name,O=organisation``.

    Raises:
        FormatError: a part is not ``attribute=value``, or the attribute is not one of CN, O, OU, C, ST, L.
    """
    attributes = []
    for part in text.split(","):
        name, equals, value = part.partition("=")
        kind = _ATTRIBUTES.get(name.strip().upper())
        if not equals or kind is None or not value.strip():
            raise FormatError(f"subject name is not of the form CN=name: {text}", code="subject-malformed")
        try:
            attributes.append(x509.NameAttribute(kind, value.strip()))
        except ValueError as error:
            raise FormatError(
                f"subject name cannot stand in a certificate: {error}", code="subject-malformed"
            ) from error
    return x509.Name(attributes)


def alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName | None:
    """Subject alternative names written as ``iPAddress:…`` or ``dNSName:…``; None for none.

    Raises:
        FormatError: a name is of another kind, or malformed.
    """
    parsed: list[x509.GeneralName] = []
    for name in names:
        kind, _, value = name.partition(":")
        try:
            if kind == "iPAddress":
                parsed.append(x509.IPAddress(ipaddress.ip_address(value)))
            elif kind == "dNSName":
                parsed.append(x509.DNSName(value))
            else:
                raise ValueError("expected iPAddress:… or dNSName:…")
        except ValueError as error:
            raise FormatError(f"subject alternative name {name}: {error}", code="alternative-name") from error
    return x509.SubjectAlternativeName(parsed) if parsed else None


def parse_time(text: str) -> datetime:
    """A time as governance writes it: ``YYMMDDHHMMSSZ``, ``YYYYMMDDHHMMSSZ`` or ISO 8601.

    Raises:
        FormatError: it is none of them.
    """
    try:
        if _ASN1_TIME.fullmatch(text):
            layout = "%y%m%d%H%M%SZ" if len(text) == len("YYMMDDHHMMSSZ") else "%Y%m%d%H%M%SZ"
            return datetime.strptime(text, layout).replace(tzinfo=timezone.utc)
        # Python 3.10 does not know the Z of ISO 8601.
        moment = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"not a time: {text}", code="time-malformed") from error


def _issue(
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: SigningKey,
    valid_from: datetime,
    days: int,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    names: x509.SubjectAlternativeName | None,
) -> str:
    start = valid_from.astimezone(timezone.utc).replace(microsecond=0)
    try:
        end = start + timedelta(days=days) - timedelta(seconds=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(int.from_bytes(secrets.token_bytes(_SERIAL_BYTES), "big") or 1)
            .not_valid_before(start)
            .not_valid_after(end)
        )
    except (ValueError, OverflowError) as error:
        raise FormatError(f"validity of {days} days from {start:%Y-%m-%d}: {error}", code="validity") from error
    all_extensions = [
        *extensions,
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.private_key.public_key()), False),
    ]
    if names is not None:
        all_extensions.append((names, False))
    for extension, critical in all_extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key.private_key, issuer_key.hash).public_bytes(Encoding.PEM).decode()


def _authority() -> list[tuple[x509.ExtensionType, bool]]:
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return [(x509.BasicConstraints(ca=True, path_length=1), True), (usage, True)]


def self_signed(
    key: SigningKey,
    subject: x509.Name,
    valid_from: datetime,
    days: int,
    names: x509.SubjectAlternativeName | None = None,
) -> str:
    """A self-signed certificate, PEM: a service's, or that of a node that nobody has endorsed yet.

    Raises:
        FormatError: the validity is not one that a certificate can have.
    """
    public_key = key.private_key.public_key()
    return _issue(subject, public_key, subject, key, valid_from, days, _authority(), names)


def signing_request(key: SigningKey, subject: x509.Name, names: x509.SubjectAlternativeName | None) -> str:
    """A certificate signing request for ``key``, PEM. Signed with SHA-512 whatever the curve, as CCF does."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key.private_key, SHA512()).public_bytes(Encoding.PEM).decode()


@dataclass(frozen=True)
class ServiceIdentity:
    """A service's key pair and its current certificate.

    Attributes:
        key: stays the same for the life of the service.
        certificate: PEM; a renewal replaces it.
    """

    key: SigningKey
    certificate: str

    @classmethod
    def create(cls, subject: str, curve: str, valid_from: datetime, days: int) -> ServiceIdentity:
        """A new service; ``subject`` as in a configuration.

        Raises:
            FormatError: the subject or the validity is malformed.
        """
        key = SigningKey.generate(curve)
        return cls(key, self_signed(key, parse_subject(subject), valid_from, days))

    @classmethod
    def succeed(cls, previous_certificate: str, curve: str, valid_from: datetime, days: int) -> ServiceIdentity:
        """A new identity with the subject of an earlier one's certificate, PEM.

        Raises:
            FormatError: the validity is malformed.
        """
        key = SigningKey.generate(curve)
        subject = x509.load_pem_x509_certificate(previous_certificate.encode()).subject
        return cls(key, self_signed(key, subject, valid_from, days))

    @property
    def spki_sha256(self) -> str:
        """Hex SHA-256 of the SubjectPublicKeyInfo: what pins a service, and the ``kid`` of its signatures."""
        return self.key.id

    @property
    def subject(self) -> x509.Name:
        """Subject of the certificate."""
        return x509.load_pem_x509_certificate(self.certificate.encode()).subject

    def renewed_certificate(self, valid_from: datetime, days: int) -> str:
        """A new certificate of the same key and subject, PEM.

        Raises:
            FormatError: the validity is not one that a certificate can have.
        """
        return self_signed(self.key, self.subject, valid_from, days)


def endorse_request(request_pem: str, service: ServiceIdentity, valid_from: datetime, days: int) -> str:
    """A node's certificate, issued by the service for a signing request, PEM.

    Raises:
        FormatError: the request cannot be read, its signature is wrong, or the validity is malformed.
    """
    try:
        request = x509.load_pem_x509_csr(request_pem.encode())
        valid = request.is_signature_valid
        public_key = request.public_key()
    except ValueError as error:
        raise FormatError("certificate signing request cannot be read", code="request-malformed") from error
    if not valid or not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise FormatError("certificate signing request is not signed by its own EC key", code="request-signature")
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = None
    constraints: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(ca=False, path_length=None), True)]
    return _issue(request.subject, public_key, service.subject, service.key, valid_from, days, constraints, names)


def endorse_past_identity(spki: bytes, subject: x509.Name, service: ServiceIdentity) -> str:
    """A CA certificate over the key of an earlier service, issued by the current one, PEM.

    Receipts of the earlier service carry it, so that who trusts the current one can verify them. It is valid as
    long as the current service's own certificate.

    Args:
        spki: SubjectPublicKeyInfo of the earlier service's key, DER.
        subject: the earlier service's name.
        service: the current service.

    Raises:
        FormatError: the key is no EC key.
    """
    try:
        public_key = load_der_public_key(spki)
    except ValueError as error:
        raise FormatError("key of an earlier service cannot be read", code="key-unreadable") from error
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise FormatError("key of an earlier service is no EC key", code="key-wrong-type")
    own = x509.load_pem_x509_certificate(service.certificate.encode())
    start, end = own.not_valid_before_utc, own.not_valid_after_utc
    days = (end - start).days + 1
    return _issue(subject, public_key, own.subject, service.key, start, days, _authority(), None)


def spki_of(certificate_pem: str) -> bytes:
    """SubjectPublicKeyInfo of a certificate, DER.

    Raises:
        FormatError: the PEM holds no certificate.
    """
    from cryptography.hazmat.primitives.serialization import PublicFormat

    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except ValueError as error:
        raise FormatError("certificate cannot be read", code="certificate-malformed") from error
