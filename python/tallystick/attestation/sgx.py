"""Intel SGX evidence, as services up to CCF 5 recorded it (Intel, SGX ECDSA Quote Library Reference, quote version 3).

Verification, in the order of :func:`verify_sgx_evidence`:

(1) the PCK certificate chain in the quote holds and ends in Intel's pinned root;
(2) the quoting enclave's report is signed by the PCK key, and vouches for the attestation key;
(3) the enclave's report is signed by the attestation key;
(4) the report data is the digest of the custom claims, which hold the digest of the node's key.

TCB information and revocation lists need Intel's service at the time, and are not evaluated.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from tallystick import _native
from tallystick.attestation.chains import INTEL_SGX_ROOT, verify_chain
from tallystick.errors import FormatError, VerificationError

__all__ = ["VerifiedSgxEvidence", "verify_sgx_evidence"]

_HEADER_BYTES = 48
_REPORT_BYTES = 384
_QUOTE_VERSION = 3
_ATTESTATION_KEY_TYPE_P256 = 2
_CERTIFICATION_DATA_PCK_CHAIN = 5
_COSE_ES256 = -7
_FLAG_DEBUG = 2
_CLAIM_NAME = b"sgx_report_data\0"
_CLAIMS_PREFIX = struct.pack("<QQQQ", 1, 1, len(_CLAIM_NAME), 32) + _CLAIM_NAME
# SubjectPublicKeyInfo of an uncompressed point on P-256, without the point.
_P256_SPKI_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


@dataclass(frozen=True)
class VerifiedSgxEvidence:
    """A quote that is genuine, and what it vouches for.

    Attributes:
        mrenclave, mrsigner: measurements of the enclave and of its signer, hex.
        debug: whether the enclave could be debugged: then it proves nothing about secrets.
        key_sha256: hex digest of the key that the quote is bound to.
    """

    mrenclave: str
    mrsigner: str
    debug: bool
    key_sha256: str


@dataclass(frozen=True)
class _Quote:
    header: bytes
    report: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_signature: bytes
    qe_auth: bytes
    certificates: bytes
    claims: bytes


def verify_sgx_evidence(evidence: bytes, key_sha256: str) -> VerifiedSgxEvidence:
    """Verifies evidence against Intel's pinned root.

    Args:
        evidence: quote and custom claims, as in ``quote_info.quote``.
        key_sha256: hex SHA-256 of the node key that the quote must vouch for.

    Raises:
        FormatError: the evidence is malformed.
        VerificationError: a step does not hold.
    """
    quote = _parse(evidence)
    # (1)
    chain = _native.Certificate.parse_many(quote.certificates.rstrip(b"\0"))
    root = verify_chain(chain, "SGX PCK chain")
    if root.spki_sha256 != INTEL_SGX_ROOT:
        raise VerificationError(
            f"PCK chain ends in a key that is not Intel's: {root.subject_text}, {root.spki_sha256}",
            code="attestation-root",
        )
    # (2)
    pck = _native.PublicKey.from_spki(chain[0].spki)
    if not pck.verifies_cose(quote.qe_report, quote.qe_signature, _COSE_ES256):
        raise VerificationError("quoting enclave's report is not signed by the PCK key", code="attestation-signature")
    bound = hashlib.sha256(quote.attestation_key + quote.qe_auth).digest()
    if quote.qe_report[320:384] != bound + bytes(32):
        raise VerificationError("quoting enclave does not vouch for the attestation key", code="attestation-binding")
    # (3)
    key = _native.PublicKey.from_spki(_P256_SPKI_PREFIX + b"\x04" + quote.attestation_key)
    if not key.verifies_cose(quote.header + quote.report, quote.signature, _COSE_ES256):
        raise VerificationError("enclave's report is not signed by the attestation key", code="attestation-signature")
    # (4)
    expected_claims = _CLAIMS_PREFIX + bytes.fromhex(key_sha256)
    if quote.claims != expected_claims:
        raise VerificationError(
            f"evidence is not bound to the node's key: expected {key_sha256}, got {quote.claims[-32:].hex()}",
            code="attestation-binding",
        )
    if quote.report[320:352] != hashlib.sha256(quote.claims).digest():
        raise VerificationError("enclave's report is not bound to its claims", code="attestation-binding")
    attributes = int.from_bytes(quote.report[48:56], "little")
    return VerifiedSgxEvidence(
        mrenclave=quote.report[64:96].hex(),
        mrsigner=quote.report[128:160].hex(),
        debug=bool(attributes & _FLAG_DEBUG),
        key_sha256=key_sha256,
    )


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int, what: str) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise FormatError(
                f"SGX evidence ends inside {what}: expected {count} bytes, got {len(self._data) - self._at}",
                code="attestation-malformed",
                offset=self._at,
            )
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what), "little")

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at, "the rest")


def _parse(evidence: bytes) -> _Quote:
    cursor = _Cursor(evidence)
    header = cursor.take(_HEADER_BYTES, "the quote header")
    version, key_type = struct.unpack_from("<HH", header)
    if version != _QUOTE_VERSION or key_type != _ATTESTATION_KEY_TYPE_P256:
        raise FormatError(
            f"SGX quote is of another kind: expected version 3 with a P-256 key, got version {version}, key {key_type}",
            code="attestation-malformed",
        )
    report = cursor.take(_REPORT_BYTES, "the enclave report")
    signed = _Cursor(cursor.take(cursor.number(4, "the signature size"), "the signature data"))
    signature = signed.take(64, "the signature")
    attestation_key = signed.take(64, "the attestation key")
    qe_report = signed.take(_REPORT_BYTES, "the quoting enclave's report")
    qe_signature = signed.take(64, "the quoting enclave's signature")
    qe_auth = signed.take(signed.number(2, "the size of authentication data"), "authentication data")
    kind = signed.number(2, "the kind of certification data")
    if kind != _CERTIFICATION_DATA_PCK_CHAIN:
        raise FormatError(
            f"certification data is of another kind: expected 5 (PCK chain), got {kind}", code="attestation-malformed"
        )
    certificates = signed.take(signed.number(4, "the size of the PCK chain"), "the PCK chain")
    if signed.rest():
        raise FormatError("SGX signature data is followed by more bytes", code="attestation-malformed")
    return _Quote(
        header, report, signature, attestation_key, qe_report, qe_signature, qe_auth, certificates, cursor.rest()
    )
