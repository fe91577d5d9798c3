"""Recovery shares: reading them, combining them, and unwrapping the ledger secret they protect.

Two share formats exist (formats: ledger secrets):

* 113 bytes, CCF 1.x to 4.x: Shamir over GF(2⁸), byte by byte, of the key of a NaCl secret box that every
  share carries; the first 32 bytes of the opened message are the wrapping key.
* 44 bytes, CCF 5.x on: Shamir over the prime field 2³¹-1, ten coordinates; the wrapping key is
  HKDF-SHA256 of the interpolated 40 bytes, with those same bytes as the info.

A share whose x is 0 is the whole secret (a member whose recovery role is Owner).
"""

from __future__ import annotations

import base64
import binascii
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick import _native
from tallystick.errors import FormatError, UsageError, VerificationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

__all__ = [
    "LedgerSecret",
    "Share",
    "combine_shares",
    "decrypt_share",
    "decrypt_share_bytes",
    "load_encryption_key",
    "split_wrapping_key",
    "unwrap_ledger_secret",
    "wrap_ledger_secret",
]

LEDGER_SECRET_BYTES = 32
_SMALL_SHARE_BYTES = 44
_BOXED_SHARE_BYTES = 113
_FIELD_PRIME = 2**31 - 1
_COORDINATES = 10
# A service has at most this many recovery participants: x is one byte in the older format, and a reader must
# bound the quadratic interpolation.
MAX_SHARES = 255


class LedgerSecret(bytes):
    """32 bytes of key material whose text form never shows them."""

    def __new__(cls, value: bytes) -> LedgerSecret:
        if len(value) != LEDGER_SECRET_BYTES:
            raise FormatError(
                f"ledger secret has the wrong length: expected {LEDGER_SECRET_BYTES} bytes, got {len(value)}",
                code="secret-length",
            )
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return "LedgerSecret(…)"

    __str__ = __repr__


@dataclass(frozen=True)
class Share:
    """One recovery share, decrypted.

    Attributes:
        x: the point at which the polynomials were evaluated; 0 for a full share.
        y: one value a coordinate (32 bytes of GF(2⁸), or 10 integers below 2³¹-1).
        box: the sealed box of the older format, else empty.
    """

    x: int
    y: tuple[int, ...]
    box: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Share:
        """Parses the plaintext of a share.

        Raises:
            FormatError: neither format fits.
        """
        if len(data) == _BOXED_SHARE_BYTES:
            return cls(data[0], tuple(data[1:33]), data[33:])
        if len(data) == _SMALL_SHARE_BYTES:
            x, *y = struct.unpack(f"<{_COORDINATES + 1}I", data)
            if x >= _FIELD_PRIME or any(value >= _FIELD_PRIME for value in y):
                raise FormatError("recovery share has a value outside its field", code="share-malformed")
            return cls(x, tuple(y))
        raise FormatError(
            f"recovery share has the wrong length: expected {_SMALL_SHARE_BYTES} or {_BOXED_SHARE_BYTES} bytes, "
            f"got {len(data)}",
            code="share-malformed",
        )

    @classmethod
    def parse_text(cls, text: str) -> Share:
        """Parses a share written as hex or base64, as the recovery scripts pass them around."""
        compact = "".join(text.split())
        for decode in (bytes.fromhex, lambda value: base64.b64decode(value, validate=True)):
            try:
                return cls.parse(decode(compact))
            except (ValueError, binascii.Error, FormatError):
                continue
        raise FormatError("recovery share is neither hex nor base64 of 44 or 113 bytes", code="share-malformed")

    def serialise(self) -> bytes:
        """The 44 bytes of a share of the newer format: u32 x, then ten u32 y, little-endian.

        Raises:
            UsageError: it is a share of the older format, which is only read.
        """
        if self.box or len(self.y) != _COORDINATES:
            raise UsageError("shares of the older format are not written", code="share-malformed")
        return struct.pack(f"<{_COORDINATES + 1}I", self.x, *self.y)

    def __repr__(self) -> str:
        return f"Share(x={self.x}, …)"


def load_encryption_key(path: str | Path, password: bytes | None = None) -> RSAPrivateKey:
    """Reads a member's RSA encryption private key (PEM).

    Raises:
        UsageError: the file holds no RSA private key.
        OSError: the file cannot be read.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(Path(path).read_bytes(), password)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"no private key can be read: {type(error).__name__}", code="key-unreadable", file=str(path)
        ) from error
    if not isinstance(key, RSAPrivateKey):
        raise UsageError(
            "wrong kind of key: expected a member's RSA encryption key", code="key-wrong-type", file=str(path)
        )
    return key


def decrypt_share(encrypted: bytes, key: RSAPrivateKey) -> Share | None:
    """Decrypts one encrypted share (RSA-OAEP, SHA-256, no label); None when ``key`` is not the one it is for."""
    plaintext = decrypt_share_bytes(encrypted, key)
    return None if plaintext is None else Share.parse(plaintext)


def decrypt_share_bytes(encrypted: bytes, key: RSAPrivateKey) -> bytes | None:
    """As :func:`decrypt_share`, without reading what is inside: what a member hands in."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    try:
        return key.decrypt(encrypted, scheme)
    except ValueError:
        return None


def combine_shares(shares: Sequence[Share], threshold: int) -> bytes:
    """Recovers the wrapping key (32 bytes) from at least ``threshold`` shares.

    Shares beyond the threshold must lie on the polynomial that the first ones define.

    Raises:
        UsageError: too few distinct shares.
        VerificationError: the shares do not belong together.
    """
    distinct = {share.x: share for share in shares}
    if len({len(share.y) for share in shares}) > 1 or len({share.box for share in shares}) > 1:
        raise VerificationError("recovery shares are of different formats or boxes", code="shares-inconsistent")
    if any(distinct[share.x] != share for share in shares):
        raise VerificationError("two recovery shares differ at the same point", code="shares-inconsistent")
    if 0 in distinct:
        return _wrapping_key(list(distinct[0].y), distinct[0].box)
    if threshold < 1 or len(distinct) < threshold or len(distinct) > MAX_SHARES:
        raise UsageError(
            f"not enough recovery shares: expected at least {threshold}, got {len(distinct)}",
            code="shares-too-few",
        )
    points = sorted(distinct.values(), key=lambda share: share.x)
    base, extra = points[:threshold], points[threshold:]
    interpolate = _interpolate_binary if base[0].box else _interpolate_prime
    for share in extra:
        if tuple(interpolate(base, share.x)) != share.y:
            raise VerificationError(
                f"recovery share {share.x} does not lie on the polynomial of the others", code="shares-inconsistent"
            )
    return _wrapping_key(interpolate(base, 0), base[0].box)


def split_wrapping_key(participants: int, threshold: int) -> tuple[bytes, Share, list[Share]]:
    """Draws a random wrapping key and splits it.

    Args:
        participants: how many shares.
        threshold: how many of them recover the key.

    Returns:
        The wrapping key (32 bytes), the full share (x = 0) that an owner gets, and the shares x = 1 … participants.

    Raises:
        UsageError: the threshold is below 1 or above the number of participants (where there are any).
    """
    if threshold < 1 or participants > MAX_SHARES or (participants and threshold > participants):
        raise UsageError(
            f"recovery threshold cannot be met: expected 1 to {participants}, got {threshold}",
            code="threshold-out-of-range",
        )
    # One polynomial a coordinate, of degree threshold - 1; its value at 0 is the secret.
    polynomials = [[secrets.randbelow(_FIELD_PRIME) for _ in range(threshold)] for _ in range(_COORDINATES)]

    def evaluate(polynomial: list[int], x: int) -> int:
        value = 0
        for coefficient in reversed(polynomial):
            value = (value * x + coefficient) % _FIELD_PRIME
        return value

    shares = [Share(x, tuple(evaluate(p, x) for p in polynomials)) for x in range(participants + 1)]
    return _wrapping_key(list(shares[0].y), b""), shares[0], shares[1:]


def wrap_ledger_secret(secret: bytes, key: bytes, iv: bytes = bytes(12)) -> bytes:
    """Seals a ledger secret under ``key`` as tag ‖ IV ‖ ciphertext (60 bytes), AES-256-GCM.

    A wrapping key seals one secret only, with an IV of zeros, as CCF does. Under a ledger secret, which seals
    more than one thing, the caller must give a random IV.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed = AESGCM(key).encrypt(iv, secret, None)
    return sealed[-16:] + iv + sealed[:-16]


def unwrap_ledger_secret(wrapped: bytes, wrapping_key: bytes) -> LedgerSecret:
    """Opens tag ‖ IV ‖ ciphertext (16 + 12 + 32 bytes), AES-256-GCM without associated data.

    Raises:
        FormatError: the length is another.
        VerificationError: the key is not the one that it was sealed with.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(wrapped) != 16 + 12 + LEDGER_SECRET_BYTES:
        raise FormatError(
            f"wrapped ledger secret has the wrong length: expected 60 bytes, got {len(wrapped)}",
            code="secret-length",
        )
    tag, iv, ciphertext = wrapped[:16], wrapped[16:28], wrapped[28:]
    try:
        return LedgerSecret(AESGCM(wrapping_key).decrypt(iv, ciphertext + tag, None))
    except InvalidTag as error:
        raise VerificationError("wrapped ledger secret does not open with this key", code="secret-unwrap") from error


def _wrapping_key(secret: list[int], box: bytes) -> bytes:
    if box:
        message = _native.open_secret_box(bytes(secret), box)
        return message[:LEDGER_SECRET_BYTES]
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    material = struct.pack(f"<{_COORDINATES}I", *secret)
    return HKDF(hashes.SHA256(), LEDGER_SECRET_BYTES, salt=None, info=material).derive(material)


def _interpolate_prime(points: Sequence[Share], at: int) -> list[int]:
    weights = []
    for point in points:
        numerator = denominator = 1
        for other in points:
            if other.x != point.x:
                numerator = numerator * (at - other.x) % _FIELD_PRIME
                denominator = denominator * (point.x - other.x) % _FIELD_PRIME
        weights.append(numerator * pow(denominator, -1, _FIELD_PRIME) % _FIELD_PRIME)
    return [
        sum(weight * point.y[index] for weight, point in zip(weights, points, strict=True)) % _FIELD_PRIME
        for index in range(_COORDINATES)
    ]


def _multiply_binary(a: int, b: int) -> int:
    # GF(2⁸) with the polynomial x⁸ + x⁴ + x³ + x + 1 (0x11b).
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= 0x11B
        b >>= 1
    return product


def _invert_binary(a: int) -> int:
    # a²⁵⁴ = a⁻¹ in a field of 256 elements.
    result, square, exponent = 1, a, 254
    while exponent:
        if exponent & 1:
            result = _multiply_binary(result, square)
        square = _multiply_binary(square, square)
        exponent >>= 1
    return result


def _interpolate_binary(points: Sequence[Share], at: int) -> list[int]:
    weights = []
    for point in points:
        numerator = denominator = 1
        for other in points:
            if other.x != point.x:
                numerator = _multiply_binary(numerator, at ^ other.x)
                denominator = _multiply_binary(denominator, point.x ^ other.x)
        weights.append(_multiply_binary(numerator, _invert_binary(denominator)))
    result = []
    for index in range(LEDGER_SECRET_BYTES):
        value = 0
        for weight, point in zip(weights, points, strict=True):
            value ^= _multiply_binary(weight, point.y[index])
        result.append(value)
    return result
