"""Recovery shares: reading them, combining them, and unwrapping the ledger secret they protect.

Two share formats exist (formats: ledger secrets):

* 113 bytes, CCF 1.x to 4.x: Shamir over GF(2⁸), byte by byte, of the key of a NaCl secret box that every
  share carries; the first 32 bytes of the opened message are the wrapping key;
* 44 bytes, CCF 5.x on: Shamir over the prime field 2³¹-1, ten coordinates; the wrapping key is
  HKDF-SHA256 of the interpolated 40 bytes, with those same bytes as the info.

A share whose x is 0 is the whole secret (a member whose recovery role is Owner).

Secrets, shares and members' keys are objects of the core, which wipes them when they are let go of. Their bytes become
Python's, which cannot be wiped, only where somebody asks for them: ``bytes(secret)``, :meth:`Share.serialise`,
:func:`decrypt_share_bytes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tallystick._native import LedgerSecret, ShareDecryptionKey, combine_shares, split_shares
from tallystick._native import RecoveryShare as Share

__all__ = [
    "LEDGER_SECRET_BYTES",
    "LedgerSecret",
    "Share",
    "ShareDecryptionKey",
    "combine_shares",
    "decrypt_share_bytes",
    "load_encryption_key",
    "split_wrapping_key",
    "unwrap_ledger_secret",
    "wrap_ledger_secret",
]

LEDGER_SECRET_BYTES = 32


def load_encryption_key(path: str | Path) -> ShareDecryptionKey:
    """Reads a member's RSA encryption private key: PEM, PKCS #8 or PKCS #1, without a password.

    Raises:
        UsageError: the file holds no such key (``key-unreadable``, ``key-wrong-type``).
        OSError: the file cannot be read.
    """
    return ShareDecryptionKey.open(str(path))


def decrypt_share_bytes(encrypted: bytes, key: ShareDecryptionKey) -> bytes | None:
    """A share that was encrypted to ``key``, as its member hands it in; None when the key is another one."""
    return key.reveal_share(encrypted)


def split_wrapping_key(participants: int, threshold: int) -> tuple[LedgerSecret, Share, Sequence[Share]]:
    """Draws a random wrapping key and splits it.

    Args:
        participants: how many shares.
        threshold: how many of them recover the key.

    Returns:
        The wrapping key, the full share (x = 0) that an owner gets, and the shares x = 1 … participants.

    Raises:
        UsageError: the threshold is below 1 or above the number of participants (where there are any), or there are
            more than 255 (``threshold-out-of-range``).
    """
    return split_shares(participants, threshold)


def wrap_ledger_secret(secret: LedgerSecret | bytes, key: LedgerSecret | bytes, iv: bytes = bytes(12)) -> bytes:
    """Seals a ledger secret under ``key`` as tag ‖ IV ‖ ciphertext (60 bytes), AES-256-GCM.

    A wrapping key seals one secret only, with an IV of zeros, as CCF does. Under a ledger secret, which seals
    more than one thing, the caller must give a random IV.
    """
    return _held(key).wrap(secret, iv)


def unwrap_ledger_secret(wrapped: bytes, wrapping_key: LedgerSecret | bytes) -> LedgerSecret:
    """Opens tag ‖ IV ‖ ciphertext (16 + 12 + 32 bytes), AES-256-GCM without associated data.

    Raises:
        FormatError: the length is another (``secret-wrapped-length``).
        VerificationError: the key is not the one that it was sealed with (``secret-unwrap``).
    """
    return _held(wrapping_key).unwrap(wrapped)


def _held(key: LedgerSecret | bytes) -> LedgerSecret:
    return key if isinstance(key, LedgerSecret) else LedgerSecret(key)
