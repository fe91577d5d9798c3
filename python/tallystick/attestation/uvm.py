"""UVM endorsements: the maker of the utility VM vouches for the launch measurement of an SNP guest.

A COSE_Sign1 whose signer is named by a ``did:x509`` (did:x509 method specification, version 0): the SHA-256 of
a CA certificate in the chain, and an extended key usage that the leaf must have. Two layouts are known: text
headers ``iss`` and ``feed`` over a JSON payload, and CWT claims (header 15) over the bare measurement.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from tallystick import _native
from tallystick.attestation.chains import verify_chain
from tallystick.errors import FormatError, VerificationError

__all__ = ["VerifiedUvmEndorsement", "verify_uvm_endorsement"]

_ALGORITHM, _CONTENT_TYPE, _CWT_CLAIMS, _X5CHAIN = 1, 3, 15, 33
_ISSUER, _SUBJECT = 1, 2
_MEASUREMENT_BYTES = 48
_DID_PREFIX = "did:x509:0:sha256:"
_EXTENDED_KEY_USAGE = "2.5.29.37"


@dataclass(frozen=True)
class VerifiedUvmEndorsement:
    """A launch measurement, and who vouches for it.

    Attributes:
        did: issuer, a did:x509 that the certificate chain satisfies.
        feed: what the measurement is of, for example ``ContainerPlat-AMD-UVM``.
        svn: security version number of the utility VM.
        measurement: launch measurement, 48 bytes.
    """

    did: str
    feed: str
    svn: int
    measurement: bytes


def verify_uvm_endorsement(data: bytes) -> VerifiedUvmEndorsement:
    """Verifies an endorsement against the issuer that it names.

    Whether that issuer is to be believed is for the join policy to say.

    Raises:
        FormatError: neither layout fits.
        VerificationError: the signature, the chain, or its fit to the issuer does not hold.
    """
    sign1 = _native.CoseSign1.parse(data)
    headers = sign1.protected_headers
    chain = _chain(headers.get(_X5CHAIN))
    verify_chain(chain, "UVM endorsement")
    algorithm = headers.get(_ALGORITHM)
    key = _native.PublicKey.from_spki(chain[0].spki)
    if not isinstance(algorithm, int) or not key.verifies_cose(sign1.signed_bytes(), sign1.signature, algorithm):
        raise VerificationError("UVM endorsement's signature does not hold under its leaf", code="uvm-signature")
    if sign1.payload is None:
        raise FormatError("UVM endorsement has no payload", code="uvm-malformed")
    claims = headers.get(_CWT_CLAIMS)
    endorsement = (
        _from_claims(claims, sign1.payload) if isinstance(claims, dict) else _from_text(dict(headers), sign1.payload)
    )
    _check_did(endorsement.did, chain)
    return endorsement


def _chain(value: object) -> list[_native.Certificate]:
    chain = []
    for der in value if isinstance(value, list) else [value]:
        if not isinstance(der, bytes):
            raise FormatError("UVM endorsement has no certificate chain", code="uvm-malformed")
        chain.append(_native.Certificate.parse(der))
    return chain


def _from_text(headers: dict[Any, object], payload: bytes) -> VerifiedUvmEndorsement:
    try:
        document = json.loads(payload)
        measurement = bytes.fromhex(document["x-ms-sevsnpvm-launchmeasurement"])
        svn = int(document["x-ms-sevsnpvm-guestsvn"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError("UVM endorsement's payload is not the known JSON", code="uvm-malformed") from error
    return _endorsement(headers.get("iss"), headers.get("feed"), svn, measurement)


def _from_claims(claims: dict[Any, object], payload: bytes) -> VerifiedUvmEndorsement:
    return _endorsement(claims.get(_ISSUER), claims.get(_SUBJECT), claims.get("svn"), payload)


def _endorsement(did: object, feed: object, svn: object, measurement: bytes) -> VerifiedUvmEndorsement:
    if not isinstance(did, str) or not isinstance(feed, str) or not isinstance(svn, int) or isinstance(svn, bool):
        raise FormatError("UVM endorsement lacks an issuer, a feed or a version number", code="uvm-malformed")
    if len(measurement) != _MEASUREMENT_BYTES:
        raise FormatError(
            f"launch measurement has the wrong size: expected {_MEASUREMENT_BYTES} bytes, got {len(measurement)}",
            code="uvm-malformed",
        )
    return VerifiedUvmEndorsement(did, feed, svn, measurement)


def _check_did(did: str, chain: list[_native.Certificate]) -> None:
    if not did.startswith(_DID_PREFIX):
        raise FormatError(f"issuer {did[:80]!r} is not a did:x509 with SHA-256", code="uvm-malformed")
    fingerprint, *policies = did[len(_DID_PREFIX) :].split("::")
    # The fingerprint is that of a CA in the chain, never of the leaf (did:x509, section on the method).
    named = {
        base64.urlsafe_b64encode(hashlib.sha256(certificate.der).digest()).rstrip(b"=").decode()
        for certificate in chain[1:]
    }
    if fingerprint not in named:
        raise VerificationError("no certificate of the chain is the one that the issuer names", code="uvm-issuer")
    if not policies:
        raise VerificationError("issuer names no policy for the leaf", code="uvm-issuer")
    for policy in policies:
        kind, _, value = policy.partition(":")
        if kind != "eku" or not value:
            raise FormatError(f"issuer's policy {kind[:20]!r} is not supported: expected eku", code="uvm-malformed")
        if value not in _key_usages(chain[0]):
            raise VerificationError(f"leaf lacks the key usage {value} that its issuer names", code="uvm-issuer")


def _key_usages(certificate: _native.Certificate) -> list[str]:
    value = certificate.extension(_EXTENDED_KEY_USAGE)
    if value is None:
        return []
    from cryptography.x509 import load_der_x509_certificate
    from cryptography.x509.oid import ExtensionOID

    usages = load_der_x509_certificate(certificate.der).extensions.get_extension_for_oid(
        ExtensionOID.EXTENDED_KEY_USAGE
    )
    return [usage.dotted_string for usage in usages.value]  # type: ignore[attr-defined]  # ExtensionType, not narrowed
