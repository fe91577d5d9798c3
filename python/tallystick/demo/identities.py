"""Keys and certificates of a demonstration service, made on the spot as CCF makes them.

A service certificate is self-signed with path length 1; a node certificate is issued by the service and names
the node's address; a member certificate is self-signed. Keys live in memory only and are never written.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

__all__ = ["KeySource", "MemberIdentity", "NodeIdentity", "ServiceIdentity", "SigningKey", "certificate_spki"]

_CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_HASHES: dict[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
    "P-256": hashes.SHA256(),
    "P-384": hashes.SHA384(),
    "P-521": hashes.SHA512(),
}
# RFC 9053 section 2.1; the width is that of r and of s.
_COSE_ALGORITHMS = {"P-256": -7, "P-384": -35, "P-521": -36}
_WIDTHS = {"P-256": 32, "P-384": 48, "P-521": 66}
# Smallest RSA size that CCF accepts for encryption keys of members and nodes.
_RSA_BITS = 2048


class SigningKey:
    """An ECDSA key pair.

    Args:
        curve: ``P-256``, ``P-384`` or ``P-521``.
    """

    def __init__(self, curve: str = "P-384") -> None:
        self.curve = curve
        self.private_key = ec.generate_private_key(_CURVES[curve])

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def spki_pem(self) -> str:
        return self.private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def fingerprint(self) -> str:
        """Lower-case hex SHA-256 of the SubjectPublicKeyInfo: a node ID, or what pins a service."""
        return hashlib.sha256(self.spki).hexdigest()

    @property
    def cose_algorithm(self) -> int:
        return _COSE_ALGORITHMS[self.curve]

    @property
    def hash(self) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
        """The hash that goes with the curve."""
        return _HASHES[self.curve]

    def sign_root(self, root: bytes) -> bytes:
        """Signs the 32-byte root as the digest itself, DER: how a CCF node signs."""
        return self.private_key.sign(root, ec.ECDSA(Prehashed(hashes.SHA256())))

    def sign(self, message: bytes) -> bytes:
        """Signs ``message`` with the curve's hash, DER."""
        return self.private_key.sign(message, ec.ECDSA(self.hash))

    def sign_cose(self, message: bytes) -> bytes:
        """Signs ``message`` with the curve's hash, fixed width r‖s."""
        r, s = decode_dss_signature(self.sign(message))
        width = _WIDTHS[self.curve]
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")


class KeySource:
    """Makes keys.

    Args:
        now: the moment at which certificates start.
        reuse_rsa: hand out one RSA key again and again. RSA keys take long to make, and nothing that is
            verified depends on their being different; tests that need many services set this.
    """

    def __init__(self, now: datetime, *, reuse_rsa: bool = False) -> None:
        self._reuse_rsa = reuse_rsa
        self._rsa: rsa.RSAPrivateKey | None = None
        self.now = now

    def rsa(self) -> rsa.RSAPrivateKey:
        if self._rsa is None or not self._reuse_rsa:
            self._rsa = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        return self._rsa


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(
    subject: str,
    key: SigningKey,
    issuer: str,
    issuer_key: SigningKey,
    now: datetime,
    extensions: list[tuple[x509.ExtensionType, bool]],
    days: int = 365,
) -> str:
    issuer_public = issuer_key.private_key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=days) - timedelta(seconds=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.private_key.public_key()), False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public), False)
    return builder.sign(issuer_key.private_key, issuer_key.hash).public_bytes(Encoding.PEM).decode()


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
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


class ServiceIdentity:
    """A service's key pair and its self-signed certificate.

    Args:
        source: where keys come from.
        curve: of the key.
        name: common name; CCF names every life of a service alike.
    """

    def __init__(self, source: KeySource, curve: str = "P-384", name: str = "Tallystick Demo Service") -> None:
        self.key = SigningKey(curve)
        self.name = name
        self.certificate = self.renewed_certificate(source.now)

    def renewed_certificate(self, now: datetime, days: int = 365) -> str:
        """A new certificate for the same key, PEM."""
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=True, path_length=1), True),
            (_key_usage(), True),
        ]
        return _certificate(self.name, self.key, self.name, self.key, now, extensions, days)

    def endorse_key(self, older: ServiceIdentity, now: datetime) -> str:
        """The certificate that JSON receipts carry for a key of an earlier life: issued by this key, PEM."""
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=True, path_length=1), True),
            (_key_usage(), True),
        ]
        return _certificate(older.name, older.key, self.name, self.key, now, extensions)

    @property
    def fingerprint(self) -> str:
        return self.key.fingerprint


class NodeIdentity:
    """A node's key pairs, its signing request and the certificate that the service issued.

    Args:
        source: where keys come from.
        service: the issuer.
        curve: of the signing key.
        address: IPv4 address of the node.
    """

    def __init__(
        self, source: KeySource, service: ServiceIdentity, curve: str = "P-384", address: str = "127.0.0.1"
    ) -> None:
        self.key = SigningKey(curve)
        self.encryption_key = source.rsa()
        self.address = address
        self._alternative_names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        self.signing_request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(_name("CCF Node"))
            .add_extension(self._alternative_names, critical=False)
            .sign(self.key.private_key, self.key.hash)
            .public_bytes(Encoding.PEM)
            .decode()
        )
        self.certificate = self.issue_certificate(service, source.now)

    def issue_certificate(self, service: ServiceIdentity, now: datetime, days: int = 365) -> str:
        """A certificate for this node's key by ``service``, PEM."""
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (self._alternative_names, False),
        ]
        return _certificate("CCF Node", self.key, service.name, service.key, now, extensions, days)

    @property
    def id(self) -> str:
        return self.key.fingerprint

    @property
    def encryption_pem(self) -> str:
        return _rsa_pem(self.encryption_key)


@dataclass(frozen=True)
class MemberIdentity:
    """A consortium member: certificate, signing key and encryption key for its recovery share."""

    key: SigningKey
    encryption_key: rsa.RSAPrivateKey
    certificate: str
    id: str
    """Lower-case hex SHA-256 of the certificate, DER."""

    @classmethod
    def create(cls, source: KeySource, name: str, curve: str = "P-384") -> MemberIdentity:
        key = SigningKey(curve)
        extensions: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(ca=True, path_length=None), True)]
        certificate = _certificate(name, key, name, key, source.now, extensions)
        der = x509.load_pem_x509_certificate(certificate.encode()).public_bytes(Encoding.DER)
        return cls(key, source.rsa(), certificate, hashlib.sha256(der).hexdigest())

    @property
    def encryption_pem(self) -> str:
        return _rsa_pem(self.encryption_key)


def _rsa_pem(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def certificate_spki(pem: str) -> bytes:
    """The SubjectPublicKeyInfo of a certificate, DER."""
    public_key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
