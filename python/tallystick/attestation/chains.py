"""Certificate chains of hardware makers, followed by key alone.

Dates are not judged: a ledger outlives its certificates. Revocation lists are not fetched. Both are named
under *not checked* by whoever uses this.
"""

from __future__ import annotations

from collections.abc import Sequence

from tallystick import _native
from tallystick.errors import FormatError, VerificationError

__all__ = ["AMD_ROOTS", "INTEL_SGX_ROOT", "verify_chain"]

# SHA-256 of the SubjectPublicKeyInfo of AMD's root keys (ARK), by product line, as AMD's key server publishes
# them for Milan, Genoa and Turin.
AMD_ROOTS = {
    "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9": "Milan",
    "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831": "Genoa",
    "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08": "Turin",
}
# The same of "Intel SGX Root CA", whose certificate has the SHA-256 fingerprint 44a0196b…cbb8ccfab674d3.
INTEL_SGX_ROOT = "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e"

_RSA_PKCS1 = {
    "1.2.840.113549.1.1.11": "SHA256",
    "1.2.840.113549.1.1.12": "SHA384",
    "1.2.840.113549.1.1.13": "SHA512",
}
_RSA_PSS = "1.2.840.113549.1.1.10"
_COSE_PS384 = -38

# Vendor chains have three certificates; a longer one is not evidence of anything more.
_MAX_CHAIN = 8


def verify_chain(chain: Sequence[_native.Certificate], what: str) -> _native.Certificate:
    """Checks that each certificate is signed by the next, and the last by itself; returns the last.

    Raises:
        FormatError: the chain is empty, too long, or a key cannot be used.
        VerificationError: a signature does not hold.
    """
    if not 1 <= len(chain) <= _MAX_CHAIN:
        raise FormatError(
            f"{what}: expected 1 to {_MAX_CHAIN} certificates, got {len(chain)}", code="attestation-malformed"
        )
    for certificate, issuer in zip(chain, [*chain[1:], chain[-1]], strict=True):
        if not _signed_by(certificate, issuer):
            raise VerificationError(
                f"{what}: certificate {certificate.subject_text} is not signed by {issuer.subject_text}",
                code="attestation-chain",
            )
    return chain[-1]


def _signed_by(certificate: _native.Certificate, issuer: _native.Certificate) -> bool:
    algorithm = certificate.signature_algorithm
    if algorithm == _RSA_PSS:
        # AMD signs with SHA-384 throughout; other parameters make the check fail, as they should.
        key = _native.PublicKey.from_spki(issuer.spki)
        return key.verifies_cose(certificate.tbs, certificate.signature, _COSE_PS384)
    if certificate.ecdsa_hash is not None:
        key = _native.PublicKey.from_spki(issuer.spki)
        return key.verifies(certificate.tbs, certificate.signature, certificate.ecdsa_hash)
    hash_name = _RSA_PKCS1.get(algorithm)
    if hash_name is None:
        raise FormatError(
            f"signature algorithm {algorithm} is not one of a hardware maker", code="attestation-malformed"
        )
    return _signed_pkcs1(certificate, issuer, hash_name)


def _signed_pkcs1(certificate: _native.Certificate, issuer: _native.Certificate, hash_name: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key = load_der_public_key(issuer.spki)
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        key.verify(certificate.signature, certificate.tbs, padding.PKCS1v15(), getattr(hashes, hash_name)())
    except InvalidSignature:
        return False
    return True
