"""COSE_Sign1 (RFC 9052 section 4.2) messages that people sign: members' requests to governance.

Receipts, signatures over roots and endorsements are COSE_Sign1 too, and mean more than their signature;
:func:`tallystick.verify_receipt` and :func:`tallystick.verify_ledger` are for those.

Example::

    message = create_sign1(b"{}", key, certificate_pem, {"ccf.gov.msg.type": "proposal"})
    verify_sign1(message, certificate_pem).payload
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick._native import CborTag, Certificate, CoseSign1, PublicKey, cbor_encode
from tallystick.errors import VerificationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["VerifiedSign1", "certificate_fingerprint", "create_sign1", "key_fingerprint", "verify_sign1"]

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
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    signer = _certificate(certificate)
    if key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != signer.spki:
        raise ValueError("the private key is not that of the certificate")
    algorithm, width, hash_name = _ECDSA[key.curve.key_size]
    header = cbor_encode({_ALG: algorithm, _KID: signer.sha256.encode(), **(protected or {})})
    message = cbor_encode(["Signature1", header, b"", payload])
    r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(getattr(hashes, hash_name)())))
    signature = r.to_bytes(width, "big") + s.to_bytes(width, "big")
    return cbor_encode(CborTag(_SIGN1_TAG, [header, {}, payload, signature]))


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
