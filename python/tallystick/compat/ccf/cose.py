"""``ccf.cose``: signed requests of members, and COSE_Sign1 in general.

``verify_receipt`` stays in its place for old scripts; ``ccf.receipt.verify_cose`` has taken it over.
"""

from __future__ import annotations

import base64
import hashlib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tallystick import _native
from tallystick.compat.ccf._errors import as_value_error
from tallystick.cose.sign1 import create_sign1

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

__all__ = [
    "CCF_PROOF_LEAF_LABEL",
    "CCF_PROOF_PATH_LABEL",
    "COSE_PHDR_VDP_LABEL",
    "COSE_PHDR_VDS_CCF_LEDGER_SHA256",
    "COSE_PHDR_VDS_LABEL",
    "COSE_RECEIPT_INCLUSION_PROOF_LABEL",
    "GOV_MSG_TYPES",
    "GOV_MSG_TYPES_WITH_PROPOSAL_ID",
    "Pem",
    "cert_fingerprint",
    "create_cose_sign1",
    "create_cose_sign1_finish",
    "create_cose_sign1_prepare",
    "default_algorithm_for_key",
    "key_fingerprint_from_cert",
    "key_fingerprint_from_key",
    "verify_cose_sign1_with_cert",
    "verify_cose_sign1_with_key",
    "verify_receipt",
]

Pem = str

GOV_MSG_TYPES_WITH_PROPOSAL_ID = ["ballot", "withdrawal"]
GOV_MSG_TYPES = [
    "proposal",
    "ack",
    "state_digest",
    "recovery_share",
    "encrypted_recovery_share",
    *GOV_MSG_TYPES_WITH_PROPOSAL_ID,
]

# RFC 9942, and the CCF profile of it.
COSE_PHDR_VDP_LABEL = 396
COSE_PHDR_VDS_LABEL = 395
COSE_PHDR_VDS_CCF_LEDGER_SHA256 = 2
COSE_RECEIPT_INCLUSION_PROOF_LABEL = -1
CCF_PROOF_LEAF_LABEL = 1
CCF_PROOF_PATH_LABEL = 2

_SIGN1_TAG = 18
_ALG, _KID = 1, 4
# By key size of an ECDSA key: COSE algorithm, hash.
_ALGORITHMS = {256: (-7, "sha256"), 384: (-35, "sha384"), 521: (-36, "sha512")}

Headers = dict[int | str, Any]


def default_algorithm_for_key(key: Any) -> int:
    """The COSE algorithm for an ECDSA public key: -7, -35 or -36.

    Raises:
        NotImplementedError: for other kinds of keys, and other curves.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if not isinstance(key, EllipticCurvePublicKey):
        raise NotImplementedError("unsupported key type")
    if key.curve.name not in ("secp256r1", "secp384r1", "secp521r1"):
        raise NotImplementedError("unsupported curve")
    return _ALGORITHMS[key.curve.key_size][0]


def cert_fingerprint(cert_pem: Pem) -> bytes:
    """Hex SHA-256 of a certificate, as ASCII bytes: a member or user id, and the key id of their messages.

    Raises:
        ValueError: it is not one certificate.
    """
    return _certificate(cert_pem).sha256.encode()


def key_fingerprint_from_cert(cert_pem: Pem) -> str:
    """Hex SHA-256 of a certificate's public key.

    Raises:
        ValueError: it is not one certificate.
    """
    return _certificate(cert_pem).spki_sha256


def key_fingerprint_from_key(key_pem: Pem) -> str:
    """Hex SHA-256 of a public key.

    Raises:
        ValueError: it is not one PEM public key.
    """
    return hashlib.sha256(_spki(key_pem)).hexdigest()


def _certificate(pem: Pem) -> _native.Certificate:
    with as_value_error():
        return _native.Certificate.parse(pem.encode())


def _spki(key_pem: Pem) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    return load_pem_public_key(key_pem.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# ------------------------------------------------------------------------------------------------ signing


def create_cose_sign1(
    payload: bytes,
    key_priv_pem: Pem,
    cert_pem: Pem,
    additional_protected_header: dict[Any, Any] | None = None,
) -> bytes:
    """A tagged COSE_Sign1 over ``payload``, headers in deterministic order.

    Raises:
        ValueError: a certificate or key is malformed, or the key is not that of the certificate.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(key_priv_pem.encode(), None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise NotImplementedError("unsupported key type")
    # create_sign1 adds the algorithm and the key id, which sort before all others: 1 and 4 are the shortest.
    with as_value_error():
        return create_sign1(payload, key, cert_pem, _in_order(additional_protected_header or {}))


def _in_order(headers: Mapping[Any, Any]) -> dict[Any, Any]:
    """RFC 8949 section 4.2.1: by the bytes of the encoded keys."""
    return dict(sorted(headers.items(), key=lambda item: _native.cbor_encode(item[0])))


def _protected(cert_pem: Pem, additional: dict[Any, Any] | None) -> tuple[int, str, bytes]:
    """Algorithm, its hash, and the serialised protected header."""
    certificate = _certificate(cert_pem)
    with as_value_error():
        kind = _native.PublicKey.from_spki(certificate.spki).kind
    sizes = {"P-256": 256, "P-384": 384, "P-521": 521}
    if kind not in sizes:
        raise NotImplementedError("unsupported key type")
    algorithm, hash_name = _ALGORITHMS[sizes[kind]]
    headers = {_ALG: algorithm, _KID: certificate.sha256.encode(), **(additional or {})}
    return algorithm, hash_name, _native.cbor_encode(_in_order(headers))


def create_cose_sign1_prepare(
    payload: bytes, cert_pem: Pem, additional_protected_header: dict[Any, Any] | None = None
) -> dict[str, Any]:
    """What is to be signed elsewhere: ``alg``, and ``value``, the digest in base64.

    The digest is that of the COSE algorithm, whatever the certificate itself was signed with.

    Raises:
        ValueError: the certificate is malformed.
    """
    algorithm, hash_name, header = _protected(cert_pem, additional_protected_header)
    message = _native.cbor_encode(["Signature1", header, b"", payload])
    return {"alg": algorithm, "value": base64.b64encode(hashlib.new(hash_name, message).digest()).decode()}


def create_cose_sign1_finish(
    payload: bytes,
    cert_pem: Pem,
    signature: str | bytes,
    additional_protected_header: dict[Any, Any] | None = None,
) -> bytes:
    """The message, with a signature made elsewhere (r ‖ s in base64url).

    Raises:
        ValueError: the certificate is malformed, or the signature is none by its key.
    """
    algorithm, _, header = _protected(cert_pem, additional_protected_header)
    raw = base64.urlsafe_b64decode(signature)
    key = _native.PublicKey.from_spki(_certificate(cert_pem).spki)
    if not key.verifies_cose(_native.cbor_encode(["Signature1", header, b"", payload]), raw, algorithm):
        raise ValueError("signature does not hold under the key of the certificate")
    return _native.cbor_encode(_native.CborTag(_SIGN1_TAG, [header, {}, payload, raw]))


# ---------------------------------------------------------------------------------------------- verifying


def verify_cose_sign1_with_cert(
    certificate: bytes, cose_sign1: bytes, use_key: bool = True, payload: bytes | None = None
) -> tuple[Headers, Headers, bytes]:
    """Verifies a message under the key of a certificate.

    Args:
        certificate: PEM.
        cose_sign1: tagged or untagged.
        use_key: the key id names the key; otherwise it names the certificate.
        payload: what was signed, if the message does not carry it.

    Returns:
        Protected headers, unprotected headers, payload.

    Raises:
        ValueError: the message is malformed, names another key, or its signature does not hold.
    """
    parsed = _certificate(certificate.decode())
    kid = parsed.spki_sha256 if use_key else parsed.sha256
    return _verify(parsed.spki, kid, cose_sign1, payload)


def verify_cose_sign1_with_key(
    key: bytes, cose_sign1: bytes, payload: bytes | None = None
) -> tuple[Headers, Headers, bytes]:
    """Verifies a message under a PEM public key; the rest as for :func:`verify_cose_sign1_with_cert`."""
    spki = _spki(key.decode())
    return _verify(spki, hashlib.sha256(spki).hexdigest(), cose_sign1, payload)


def _verify(spki: bytes, kid: str, message: bytes, payload: bytes | None) -> tuple[Headers, Headers, bytes]:
    with as_value_error():
        parsed = _native.CoseSign1.parse(message)
        key = _native.PublicKey.from_spki(spki)
        signed = parsed.signed_bytes(payload)
    for headers in (parsed.protected_headers, parsed.unprotected_headers):
        named = headers.get(_KID)
        if named is not None and named != kid.encode():
            raise ValueError(f"message names another key: expected {kid}, got {named!r}")
    if parsed.algorithm is None or not key.verifies_cose(signed, parsed.signature, parsed.algorithm):
        raise ValueError(f"signature does not hold under key {key.sha256}")
    content = parsed.payload if parsed.payload is not None else payload
    return dict(parsed.protected_headers), dict(parsed.unprotected_headers), content or b""


def verify_receipt(receipt_bytes: bytes, key: CertificatePublicKeyTypes, claim_digest: bytes) -> Headers:
    """Deprecated: use ``ccf.receipt.verify_cose``."""
    from tallystick.compat.ccf.receipt import verify_cose

    warnings.warn(
        "ccf.cose.verify_receipt is deprecated; use ccf.receipt.verify_cose instead.", DeprecationWarning, stacklevel=2
    )
    return verify_cose(receipt_bytes, key, claim_digest)
