"""Keys of a node and of a service.

A node has an EC key, which is its identity and signs roots, and an RSA key, to which others encrypt ledger
secrets. A service has one EC key for all its nodes. All of them live in memory only: a node that stops never
comes back, another takes its place.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from tallystick.errors import FormatError

__all__ = ["CURVES", "NodeKeys", "SigningKey", "decrypt_secret", "encrypt_to_pem", "read_encryption_key"]

# Names of curves in a configuration, and what COSE calls the algorithm that goes with them (RFC 9053, 2.1).
CURVES: Final[dict[str, ec.EllipticCurve]] = {"Secp384R1": ec.SECP384R1(), "Secp256R1": ec.SECP256R1()}
_ALGORITHMS: Final = {384: -35, 256: -7}
_HASHES: Final[dict[int, hashes.SHA256 | hashes.SHA384]] = {384: hashes.SHA384(), 256: hashes.SHA256()}

# Smallest RSA size that CCF accepts, and the one that its nodes use.
_RSA_BITS: Final = 2048


class SigningKey:
    """An EC key pair on P-384 or P-256.

    Args:
        private_key: the key.
    """

    def __init__(self, private_key: ec.EllipticCurvePrivateKey) -> None:
        self.private_key = private_key
        public = private_key.public_key()
        self.spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        """SubjectPublicKeyInfo, DER."""
        self.public_pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        self.id = hashlib.sha256(self.spki).hexdigest()
        """Hex SHA-256 of the SubjectPublicKeyInfo: the ID of a node whose identity this is."""

    @classmethod
    def generate(cls, curve: str = "Secp384R1") -> SigningKey:
        """A fresh key on a curve named as in a configuration."""
        return cls(ec.generate_private_key(CURVES[curve]))

    @property
    def private_pem(self) -> str:
        """The private key, PKCS #8 PEM without encryption: for the TLS stack of this process."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def pkcs8(self) -> bytes:
        """The private key, PKCS #8 DER without encryption: for what signs roots in this process."""
        return self.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    @property
    def hash(self) -> hashes.SHA256 | hashes.SHA384:
        """The hash that goes with the curve."""
        return _HASHES[self.private_key.curve.key_size]

    @property
    def cose_algorithm(self) -> int:
        """-35 (ES384) or -7 (ES256)."""
        return _ALGORITHMS[self.private_key.curve.key_size]

    def sign_cose(self, message: bytes) -> bytes:
        """Signs ``message`` with the curve's hash: r and s at fixed width."""
        r, s = decode_dss_signature(self.private_key.sign(message, ec.ECDSA(self.hash)))
        width = self.private_key.curve.key_size // 8
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")

    def __repr__(self) -> str:
        return f"SigningKey(id={self.id})"


@dataclass(frozen=True)
class NodeKeys:
    """What a node makes when it starts.

    Attributes:
        identity: signs roots and stands in the node's certificates.
        encryption: receives ledger secrets.
    """

    identity: SigningKey
    encryption: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def generate(cls, curve: str = "Secp384R1") -> NodeKeys:
        """Fresh keys; ``curve`` as in a configuration."""
        return cls(SigningKey.generate(curve), rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS))

    @property
    def node_id(self) -> str:
        """Hex SHA-256 of the identity's SubjectPublicKeyInfo."""
        return self.identity.id

    @property
    def encryption_pem(self) -> str:
        """Public half of the encryption key, PEM."""
        return self.encryption.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _oaep() -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def encrypt_to_pem(public_key_pem: str, plaintext: bytes) -> bytes:
    """RSA-OAEP (SHA-256, no label) to an RSA public key.

    Raises:
        FormatError: the PEM holds no RSA public key of at least 2048 bits.
    """
    return read_encryption_key(public_key_pem).encrypt(plaintext, _oaep())


def read_encryption_key(public_key_pem: str) -> rsa.RSAPublicKey:
    """The key to which something can be encrypted.

    Raises:
        FormatError: the PEM holds no RSA public key of at least 2048 bits.
    """
    try:
        key = load_pem_public_key(public_key_pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError("encryption key cannot be read", code="key-unreadable") from error
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _RSA_BITS:
        raise FormatError(f"encryption key is not RSA of at least {_RSA_BITS} bits", code="key-wrong-type")
    return key


def decrypt_secret(key: rsa.RSAPrivateKey, ciphertext: bytes) -> bytes:
    """Opens what :func:`encrypt_to_pem` made.

    Raises:
        FormatError: it was not encrypted to this key.
    """
    try:
        return key.decrypt(ciphertext, _oaep())
    except ValueError as error:
        raise FormatError("ciphertext does not open with this key", code="secret-undecryptable") from error
