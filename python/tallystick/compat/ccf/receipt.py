"""``ccf.receipt``: the steps of verifying a receipt, one by one.

:func:`tallystick.verify_receipt` does all of them, and reaches the service's key from a trust anchor.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tallystick import _native
from tallystick.compat.ccf._errors import as_value_error
from tallystick.errors import VerificationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
    from cryptography.x509 import Certificate

__all__ = ["check_cert_chain", "check_endorsement", "check_endorsements", "root", "verify", "verify_cose"]

_DIGEST_BYTES = 32


def root(leaf: str, proof: Sequence[Mapping[str, str]]) -> str:
    """The root, hex, that a path leads to from a leaf, hex.

    Raises:
        ValueError: a digest is not 32 bytes, or a step does not name exactly one of ``left`` and ``right``.
    """
    path = []
    for step in proof:
        if len(step) != 1 or not {"left", "right"} & set(step):
            raise ValueError(f"step of the path: expected left or right, got {', '.join(step) or 'nothing'}")
        [(side, digest)] = step.items()
        path.append((side == "left", _digest(digest)))
    return _native.merkle_root_of_path(_digest(leaf), path).hex()


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != _DIGEST_BYTES:
        raise ValueError(f"digest: expected {_DIGEST_BYTES} bytes, got {len(digest)}")
    return digest


def verify(root: str, signature: str, cert: Certificate) -> None:
    """Verifies a node's signature (base64) over a root (hex).

    Raises:
        cryptography.exceptions.InvalidSignature: it does not hold.
        ValueError: anything is malformed, or the key is not ECDSA.
    """
    from cryptography.exceptions import InvalidSignature

    key = _public_key(cert)
    if not key.verifies_prehashed(_digest(root), base64.b64decode(signature, validate=True)):
        raise InvalidSignature(f"signature over root {root} does not hold under key {key.sha256}")


def _public_key(certificate: Certificate) -> _native.PublicKey:
    with as_value_error():
        key = _native.PublicKey.from_spki(_native.Certificate.parse(_der(certificate)).spki)
    if key.kind == "RSA":
        raise ValueError("key: expected ECDSA, got RSA")
    return key


def _der(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def check_endorsement(endorsee: Certificate, endorser: Certificate) -> None:
    """Checks that the key of one certificate signed another. Names and dates are not judged.

    Raises:
        cryptography.exceptions.InvalidSignature: it did not.
        ValueError: a key or signature is not ECDSA.
    """
    from cryptography.exceptions import InvalidSignature

    with as_value_error():
        signed = _native.Certificate.parse(_der(endorsee))
    if signed.ecdsa_hash is None:
        raise ValueError(f"certificate's signature: expected ECDSA, got {signed.signature_algorithm}")
    key = _public_key(endorser)
    if not key.verifies(signed.tbs, signed.signature, signed.ecdsa_hash):
        raise InvalidSignature(f"certificate of key {signed.spki_sha256} is not signed by key {key.sha256}")


def check_endorsements(node_cert: Certificate, service_cert: Certificate, endorsements: list[Certificate]) -> None:
    """Checks a chain: the node's certificate, the endorsements in order, the service's certificate.

    Raises:
        cryptography.exceptions.InvalidSignature: a link does not hold.
        ValueError: a key or signature is not ECDSA.
    """
    for endorsee, endorser in pairwise([node_cert, *endorsements, service_cert]):
        check_endorsement(endorsee, endorser)


def check_cert_chain(node_cert: Certificate, service_cert: Certificate, endorsements: list[Certificate]) -> None:
    """Checks the chain as X.509 clients do, names and dates included, at the present time.

    Raises:
        cryptography.x509.verification.VerificationError: it does not hold.
    """
    from cryptography.x509.verification import PolicyBuilder, Store

    policy = PolicyBuilder().store(Store([service_cert]))
    policy.build_client_verifier().verify(node_cert, endorsements)


def verify_cose(receipt_bytes: bytes, key: CertificatePublicKeyTypes, claim_digest: bytes) -> dict[int | str, Any]:
    """Verifies a COSE receipt under the service's key; the transaction must carry the claims digest.

    Returns:
        The protected headers.

    Raises:
        InvalidRootCoseSignatureException: its signature does not hold.
        ValueError: it is malformed, of another key or kind of tree, or for other claims.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from tallystick.compat.ccf.signatures import InvalidRootCoseSignatureException
    from tallystick.identity.trust_anchor import TrustAnchor
    from tallystick.receipt.verify import verify_receipt

    anchor = TrustAnchor.from_keys([key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)])
    with as_value_error():
        parsed = _native.CoseReceipt.parse(receipt_bytes)
        if parsed.kid is not None and parsed.kid.decode("utf-8", "replace") not in anchor.fingerprints:
            [expected] = anchor.fingerprints
            raise ValueError(f"receipt is not signed by the key expected: {expected}, it names {parsed.kid!r}")
        try:
            verify_receipt(receipt_bytes, anchor, claims_digest=claim_digest)
        except VerificationError as error:
            if error.code == "root-signature-invalid":
                raise InvalidRootCoseSignatureException(str(error)) from error
            raise
    return dict(parsed.sign1.protected_headers)
