"""Certificates and keys as ledgers hold them: lenient about PEM wrapping, strict about what is signed by whom.

Only keys matter here. A renewed certificate with the same key is the same identity, and dates are never
judged: the certificates of old services have expired, and their signatures hold all the same.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache

from tallystick._native import Certificate, PublicKey
from tallystick.errors import FormatError

__all__ = [
    "is_issued_by",
    "is_node_certificate",
    "parse_certificate",
    "parse_public_key_pem",
    "public_key",
    "split_certificates",
]

_PUBLIC_KEY_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]{1,8192})-----END PUBLIC KEY-----\s*\Z")

# A service has tens of nodes and members at a time; a cache of this size serves any of them.
_CACHED = 4096

# Producers end a PEM text with or without a newline; some wrote the terminating zero of a C string too.
_PADDING = b" \t\r\n\0"


@lru_cache(maxsize=_CACHED)
def public_key(spki_hex: str) -> PublicKey:
    """The key with this DER SubjectPublicKeyInfo in hex.

    Raises:
        FormatError: it is not a key of a supported kind.
    """
    return PublicKey.from_spki(bytes.fromhex(spki_hex))


def parse_certificate(pem: bytes | str) -> Certificate:
    """One PEM certificate, as found in a table or in a proposal's arguments.

    Raises:
        FormatError: it is not exactly one certificate.
    """
    data = pem.encode("utf-8", "surrogatepass") if isinstance(pem, str) else pem
    return _parse_certificate(data.strip(_PADDING))


@lru_cache(maxsize=_CACHED)
def _parse_certificate(data: bytes) -> Certificate:
    return Certificate.parse(data)


def split_certificates(data: bytes) -> list[str]:
    """The certificates in a file (PEM, several allowed, or DER), each as PEM of its own.

    Raises:
        FormatError: there is none, or a malformed one.
    """
    return [
        f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(item.der).decode()}-----END CERTIFICATE-----\n"
        for item in Certificate.parse_many(data)
    ]


def parse_public_key_pem(pem: str) -> bytes:
    """DER SubjectPublicKeyInfo of a PEM public key.

    Raises:
        FormatError: it is not one PEM public key.
    """
    match = _PUBLIC_KEY_PEM.match(pem.encode("utf-8", "surrogatepass").strip(_PADDING))
    if match is None:
        raise FormatError("public key is not PEM: expected one PUBLIC KEY block", code="key-malformed")
    try:
        return base64.b64decode(b"".join(match[1].split()), validate=True)
    except binascii.Error as error:
        raise FormatError("public key is not PEM: its base64 is malformed", code="key-malformed") from error


@lru_cache(maxsize=_CACHED)
def _issued(der: bytes, issuer_hex: str) -> bool:
    certificate = Certificate.parse(der)
    hash_name = certificate.ecdsa_hash
    if hash_name is None:
        return False
    return public_key(issuer_hex).verifies(certificate.tbs, certificate.signature, hash_name)


def is_issued_by(certificate: Certificate, issuer_spki_hex: str) -> bool:
    """Whether the issuer's key signed the certificate (ECDSA; names and dates are not compared)."""
    return _issued(certificate.der, issuer_spki_hex)


def is_node_certificate(certificate: Certificate, service_spki_hex: str) -> bool:
    """Whether the service issued this certificate to a node.

    A service also issues certificates of authority, to keys of its earlier lives; whoever holds such a key must
    not pass for a node with it. Nodes' certificates never are certificates of authority.
    """
    return not certificate.is_ca and is_issued_by(certificate, service_spki_hex)
