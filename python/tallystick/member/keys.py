"""Keys of members and users: made, written with safe modes, read back.

File names are those of CCF's ``keygenerator.sh``, so that its scripts find them: ``NAME_cert.pem``,
``NAME_privk.pem``, ``NAME_enc_privk.pem``, ``NAME_enc_pubk.pem``.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from tallystick.cose import certificate_fingerprint, key_fingerprint
from tallystick.errors import FormatError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CURVES", "KeyFiles", "MemberKeys", "generate_keys", "load_keys", "read_certificate", "write_keys"]

CURVES: Mapping[str, tuple[ec.EllipticCurve, hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "P-256": (ec.SECP256R1(), hashes.SHA256()),
    "P-384": (ec.SECP384R1(), hashes.SHA384()),
    "P-521": (ec.SECP521R1(), hashes.SHA512()),
}
"""Curves that CCF takes for members and users, with the hash that signs their certificates."""

RSA_BITS = 2048
"""Size of encryption keys: what ``keygenerator.sh`` makes. NIST SP 800-57 holds it good until 2030."""

MAX_KEY_FILE_BYTES = 1 << 20
"""No key or certificate is this large: anything larger was named by mistake."""


@dataclass(frozen=True)
class MemberKeys:
    """A member's or user's identity.

    Attributes:
        certificate: PEM.
        key: signs requests.
        encryption_key: decrypts the member's recovery share; None for users and members without one.
    """

    certificate: str
    key: ec.EllipticCurvePrivateKey
    encryption_key: rsa.RSAPrivateKey | None = None

    @property
    def id(self) -> str:
        """Lower-case hex SHA-256 of the certificate, DER: the member or user id."""
        return certificate_fingerprint(self.certificate)

    @property
    def encryption_public_key(self) -> str | None:
        """PEM of the public half of the encryption key."""
        if self.encryption_key is None:
            return None
        public = self.encryption_key.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@dataclass(frozen=True)
class KeyFiles:
    """Where an identity was written."""

    certificate: Path
    key: Path
    encryption_key: Path | None = None
    encryption_public_key: Path | None = None

    def all(self) -> list[Path]:
        """Every file, in the order of writing."""
        files = (self.certificate, self.key, self.encryption_key, self.encryption_public_key)
        return [path for path in files if path is not None]


def generate_keys(
    name: str, now: datetime, *, curve: str = "P-384", days: int = 365, encryption: bool = True
) -> MemberKeys:
    """A fresh identity with a self-signed certificate.

    Args:
        name: common name in the certificate, 1 to 64 characters (RFC 5280, appendix A.1).
        now: start of validity.
        curve: ``P-256``, ``P-384`` or ``P-521``.
        days: validity.
        encryption: make an RSA key for recovery shares too.

    Raises:
        UsageError: the name or curve is no such.
    """
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise UsageError(f"not a name for a certificate: expected 1 to 64 printable characters, got {name!r}")
    if curve not in CURVES:
        raise UsageError(f"not a curve of members' keys: expected {', '.join(CURVES)}, got {curve!r}")
    kind, digest = CURVES[curve]
    key = ec.generate_private_key(kind)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        # Validity includes its last second.
        .not_valid_after(now + timedelta(days=days) - timedelta(seconds=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, digest)
    )
    encryption_key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS) if encryption else None
    return MemberKeys(certificate.public_bytes(Encoding.PEM).decode(), key, encryption_key)


def write_keys(keys: MemberKeys, directory: Path, name: str) -> KeyFiles:
    """Writes an identity under ``directory``; private keys are readable by their owner alone.

    Raises:
        UsageError: ``name`` is no file name, ``directory`` is a file, or one of the files is there already: keys are
            never overwritten.
        OSError: something cannot be written. Files of this call that were written are removed again.
    """
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise UsageError(f"not a name for files: {name!r}")
    private = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    contents = [("cert", keys.certificate.encode(), 0o644), ("privk", keys.key.private_bytes(*private), 0o600)]
    if keys.encryption_key is not None:
        contents += [
            ("enc_privk", keys.encryption_key.private_bytes(*private), 0o600),
            ("enc_pubk", (keys.encryption_public_key or "").encode(), 0o644),
        ]
    paths = [directory / f"{name}_{suffix}.pem" for suffix, _, _ in contents]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError("not a directory", file=str(directory)) from error
    written: list[Path] = []
    try:
        for path, (_, data, mode) in zip(paths, contents, strict=True):
            _write_new(path, data, mode)
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return KeyFiles(*paths)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        # The mode holds from the first byte on, whatever the umask.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise UsageError(
            "there is a file of this name already, and keys are never overwritten",
            code="key-exists", file=str(path), hint="choose another name or directory",
        ) from error  # fmt: skip
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_certificate(path: str | Path) -> str:
    """The certificate in a file, PEM.

    Raises:
        UsageError: the file holds no certificate in PEM, or cannot be read.
    """
    try:
        text = _read(path).decode("ascii")
        certificate_fingerprint(text)
    except (UnicodeDecodeError, FormatError) as error:
        raise UsageError("not a certificate in PEM", code="certificate-unreadable", file=str(path)) from error
    return text


def load_keys(certificate: str | Path, key: str | Path, password: bytes | None = None) -> MemberKeys:
    """Reads a certificate and the private key that belongs to it.

    Args:
        certificate: PEM file.
        key: PEM file.
        password: of the key file, if it has one.

    Raises:
        UsageError: a file cannot be read, holds something else, or the two do not belong together.
    """
    pem = read_certificate(certificate)
    try:
        private = load_pem_private_key(_read(key), password)
    except TypeError as error:
        raise UsageError(
            "private key is encrypted: its password is missing, or it has none and one was given",
            code="key-unreadable", file=str(key),
        ) from error  # fmt: skip
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError("not a private key in PEM", code="key-unreadable", file=str(key)) from error
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        hint = None
        if isinstance(private, rsa.RSAPrivateKey):
            hint = "this is the key of recovery shares; give the one that signs"
        raise UsageError("wrong kind of key: expected ECDSA", code="key-wrong-type", file=str(key), hint=hint)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if hashlib.sha256(public).hexdigest() != key_fingerprint(pem):
        raise UsageError(
            f"private key does not belong to the certificate {certificate}", code="key-mismatch", file=str(key)
        )
    return MemberKeys(pem, private)


def _read(path: str | Path) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(error.strerror or type(error).__name__, code="key-unreadable", file=str(path)) from error
    if len(data) > MAX_KEY_FILE_BYTES:
        raise UsageError("this is not a key file: it is too long", code="key-unreadable", file=str(path))
    return data
