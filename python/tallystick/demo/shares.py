"""Ledger secrets of a demonstration service and the shares that recover them.

Layouts as in CCF since 5.x: a share is 44 bytes over the field of the prime 2^31-1, the wrapping key comes
from the 40 shared bytes, and what is wrapped is sealed with AES-256-GCM as tag, IV, ciphertext.
"""

from __future__ import annotations

import base64
import secrets
import struct
from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tallystick.demo.identities import MemberIdentity

__all__ = ["encrypt_to", "new_secret", "seal", "split", "wrap_secret"]

_PRIME = 2**31 - 1
# 10 coordinates of 31 bits: enough for 256 bits of entropy.
_COORDINATES = 10
_SECRET_BYTES = 32
_IV_BYTES = 12
_TAG_BYTES = 16


def new_secret() -> bytes:
    """A fresh 32-byte ledger secret."""
    return secrets.token_bytes(_SECRET_BYTES)


def seal(key: bytes, plaintext: bytes, iv: bytes = bytes(_IV_BYTES)) -> bytes:
    """tag ‖ IV ‖ ciphertext under AES-256-GCM without associated data, as CCF lays it out."""
    sealed = AESGCM(key).encrypt(iv, plaintext, None)
    return sealed[-_TAG_BYTES:] + iv + sealed[:-_TAG_BYTES]


def encrypt_to(key: rsa.RSAPrivateKey, plaintext: bytes) -> bytes:
    """RSA-OAEP with SHA-256 to the public half of ``key``."""
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return key.public_key().encrypt(plaintext, oaep)


def split(participants: int, threshold: int) -> tuple[bytes, list[bytes]]:
    """Draws a random secret and splits it.

    Returns:
        The 40 secret bytes, and one 44-byte share a participant: u32 x, then 10 u32 y, little-endian.
    """
    polynomials = [[secrets.randbelow(_PRIME) for _ in range(threshold)] for _ in range(_COORDINATES)]
    shares = []
    for x in range(1, participants + 1):
        values = [sum(c * pow(x, power, _PRIME) for power, c in enumerate(p)) % _PRIME for p in polynomials]
        shares.append(struct.pack(f"<{1 + _COORDINATES}I", x, *values))
    return struct.pack(f"<{_COORDINATES}I", *(p[0] for p in polynomials)), shares


def wrap_secret(
    ledger_secret: bytes, members: Sequence[MemberIdentity], threshold: int
) -> tuple[dict[str, object], dict[str, bytes]]:
    """Wraps a ledger secret under a key that ``threshold`` of the members can recover.

    Returns:
        The value of ``public:ccf.internal.recovery_shares``, and the plain shares by member ID.
    """
    ordered = sorted(members, key=lambda member: member.id)
    shared, shares = split(len(ordered), threshold)
    wrapping_key = HKDF(hashes.SHA256(), 32, salt=None, info=shared).derive(shared)
    by_member = {member.id: share for member, share in zip(ordered, shares, strict=True)}
    value: dict[str, object] = {
        "encrypted_shares": {
            member.id: base64.b64encode(encrypt_to(member.encryption_key, by_member[member.id])).decode()
            for member in ordered
        },
        "wrapped_latest_ledger_secret": base64.b64encode(seal(wrapping_key, ledger_secret)).decode(),
    }
    return value, by_member
