"""COSE_Sign1 (RFC 9052 section 4.2) messages that people sign: members' requests to governance.

Receipts, signatures over roots and endorsements are COSE_Sign1 too, and mean more than their signature;
:func:`tallystick.verify_receipt` and :func:`tallystick.verify_ledger` are for those.

Example::

    message = create_sign1(b"{}", key, certificate_pem, {"ccf.gov.msg.type": "proposal"})
    verify_sign1(message, certificate_pem).payload
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm

from tallystick._native import CborTag, Certificate, CoseSign1, PublicKey, cbor_encode
from tallystick.errors import FormatError, VerificationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = [
    "UnsignedSign1",
    "VerifiedSign1",
    "certificate_fingerprint",
    "create_sign1",
    "key_fingerprint",
    "prepare_sign1",
    "verify_sign1",
]

_SIGN1_TAG = 18
_ALG, _KID = 1, 4

# By key size: COSE algorithm, bytes of each of r and s, hash.
_ECDSA = {256: (-7, 32, "SHA256"), 384: (-35, 48, "SHA384"), 521: (-36, 66, "SHA512")}


@dataclass(frozen=True)
class VerifiedSign1:
    """A message whose signature holds under the key that the caller gave. Nothing else was checked.

    Attributes:
        payload: what was signed.
        protected_headers: signed with it.
        unprotected_headers: not signed.
    """

    payload: bytes
    protected_headers: Mapping[int | str, object]
    unprotected_headers: Mapping[int | str, object]


def certificate_fingerprint(certificate: str | bytes) -> str:
    """Hex SHA-256 of a certificate (PEM or DER), as DER: a member or user id.

    Raises:
        FormatError: it is not one certificate.
    """
    return _certificate(certificate).sha256


def key_fingerprint(certificate: str | bytes) -> str:
    """Hex SHA-256 of a certificate's public key: a node id, or what pins a service.

    Raises:
        FormatError: it is not one certificate.
    """
    return _certificate(certificate).spki_sha256


def create_sign1(
    payload: bytes,
    key: EllipticCurvePrivateKey,
    certificate: str | bytes,
    protected: Mapping[int | str, object] | None = None,
) -> bytes:
    """A tagged COSE_Sign1 with the payload attached, as CCF takes it from members and users.

    Args:
        payload: what to sign.
        key: P-256, P-384 or P-521.
        certificate: PEM or DER; its fingerprint becomes the key id.
        protected: further protected headers, after algorithm and key id.

    Raises:
        FormatError: ``certificate`` is not one certificate.
        ValueError: ``key`` is not that of the certificate.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    unsigned = prepare_sign1(payload, certificate, protected)
    signer = _certificate(certificate)
    if key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != signer.spki:
        raise ValueError("the private key is not that of the certificate")
    return unsigned.finish(
        key.sign(unsigned.to_be_signed, ec.ECDSA(getattr(hashes, unsigned.hash_name)())), certificate
    )


@dataclass(frozen=True)
class UnsignedSign1:
    """A message whose signature is made elsewhere: by a hardware module, a key vault, another machine.

    Attributes:
        protected: the protected header, encoded.
        payload: what to sign.
        algorithm: COSE algorithm: -7, -35 or -36.
        hash_name: ``SHA256``, ``SHA384`` or ``SHA512``: the hash that goes with the algorithm.
    """

    protected: bytes
    payload: bytes
    algorithm: int
    hash_name: str

    @property
    def to_be_signed(self) -> bytes:
        """The bytes that are hashed and signed (Sig_structure, RFC 9052 section 4.4)."""
        return cbor_encode(["Signature1", self.protected, b"", self.payload])

    @property
    def digest(self) -> bytes:
        """The hash of :attr:`to_be_signed`, for signers that take digests."""
        return hashlib.new(self.hash_name, self.to_be_signed).digest()

    def finish(self, signature: bytes, certificate: str | bytes) -> bytes:
        """The tagged message, once its signature is known to hold.

        Args:
            signature: r and s at fixed width one after the other (key vaults), or DER (OpenSSL, PKCS#11 tools).
            certificate: of the signer, PEM or DER.

        Raises:
            FormatError: the signature is neither (``cose-signature-malformed``), or no certificate.
            VerificationError: it does not hold (``cose-signature-invalid``).
        """
        width = next(width for algorithm, width, _ in _ECDSA.values() if algorithm == self.algorithm)
        raw = _fixed_width(signature, width)
        message = cbor_encode(CborTag(_SIGN1_TAG, [self.protected, {}, self.payload, raw]))
        verify_sign1(message, certificate)
        return message


def prepare_sign1(
    payload: bytes, certificate: str | bytes, protected: Mapping[int | str, object] | None = None
) -> UnsignedSign1:
    """What :func:`create_sign1` would sign.

    Args:
        payload: what to sign.
        certificate: PEM or DER, P-256, P-384 or P-521; its fingerprint becomes the key id.
        protected: further protected headers, after algorithm and key id.

    Raises:
        FormatError: ``certificate`` is not one certificate, or its key is of another kind.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    signer = _certificate(certificate)
    try:
        key = load_der_public_key(signer.spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError("certificate's key cannot be read", code="certificate-key") from error
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.key_size not in _ECDSA:
        raise FormatError("certificate's key cannot sign: expected P-256, P-384 or P-521", code="certificate-key")
    algorithm, _, hash_name = _ECDSA[key.curve.key_size]
    header = cbor_encode({_ALG: algorithm, _KID: signer.sha256.encode(), **(protected or {})})
    return UnsignedSign1(header, payload, algorithm, hash_name)


def _fixed_width(signature: bytes, width: int) -> bytes:
    """``signature`` as r and s of ``width`` bytes each."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if len(signature) == 2 * width:
        return signature
    try:
        r, s = decode_dss_signature(signature)
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")
    except (ValueError, OverflowError) as error:
        raise FormatError(
            f"signature is neither {2 * width} bytes of r and s nor DER: {len(signature)} bytes",
            code="cose-signature-malformed",
        ) from error


def verify_sign1(message: bytes, certificate: str | bytes, *, detached_payload: bytes | None = None) -> VerifiedSign1:
    """Verifies the signature of a COSE_Sign1 under the key of a certificate that the caller trusts.

    Args:
        message: tagged or untagged.
        certificate: PEM or DER; neither its names nor its dates are judged.
        detached_payload: what was signed, if the message does not carry it.

    Raises:
        FormatError: the message is not a COSE_Sign1, the certificate not one certificate, or the payload is
            neither in the message nor given, or both.
        VerificationError: the signature does not hold (``cose-signature-invalid``).
    """
    parsed = CoseSign1.parse(message)
    key = PublicKey.from_spki(_certificate(certificate).spki)
    algorithm = parsed.algorithm
    if algorithm is None or not key.verifies_cose(parsed.signed_bytes(detached_payload), parsed.signature, algorithm):
        raise VerificationError(f"signature does not hold under key {key.sha256}", code="cose-signature-invalid")
    payload = parsed.payload if parsed.payload is not None else detached_payload
    return VerifiedSign1(payload or b"", parsed.protected_headers, parsed.unprotected_headers)


def _certificate(data: str | bytes) -> Certificate:
    return Certificate.parse(data.encode() if isinstance(data, str) else data)
