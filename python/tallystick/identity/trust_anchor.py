"""Trust anchors: the service identities that the caller knows from outside.

An anchor is always an input. What a ledger, snapshot or receipt says about its own service is evidence to be
checked against the anchor, never an anchor itself.

Example:
    >>> anchor = TrustAnchor.from_options(service_key_sha256=["ab" * 32])
    >>> anchor.kind, anchor.pins("ab" * 32)
    ('service-key', True)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from tallystick._native import Certificate, PublicKey
from tallystick.errors import FormatError, UsageError

__all__ = ["TrustAnchor"]

_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class TrustAnchor:
    """The pinned service identities.

    An identity is a key: a service renews its certificate and keeps its key. So only keys are compared, and
    neither names nor dates of a pinned certificate are judged.

    Attributes:
        fingerprints: lower-case hex SHA-256 of each pinned SubjectPublicKeyInfo.
        keys: DER SubjectPublicKeyInfo by fingerprint, for those pins of which the key itself is known.
        trust_genesis: whether the caller accepts the identity in the first transaction of a ledger.
        kind: how it was given, as reports print it: ``service-cert``, ``service-key``, ``genesis``, ``none``.
    """

    fingerprints: frozenset[str] = frozenset()
    keys: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    trust_genesis: bool = False
    kind: str = "none"

    @classmethod
    def none(cls) -> TrustAnchor:
        """No anchor: whatever follows is consistent at best, never verified."""
        return cls()

    @classmethod
    def genesis(cls) -> TrustAnchor:
        """Trusts the identity in the first transaction of the ledger at hand."""
        return cls(trust_genesis=True, kind="genesis")

    @classmethod
    def from_keys(cls, spkis: Iterable[bytes], *, fingerprints: Iterable[str] = (), kind: str = "") -> TrustAnchor:
        """Pins keys given as DER SubjectPublicKeyInfo, and keys of which only the fingerprint is known.

        Raises:
            UsageError: a fingerprint is not 64 hexadecimal digits.
        """
        keys = {PublicKey.from_spki(spki).sha256: spki for spki in spkis}
        pins = frozenset(keys) | {_fingerprint(text) for text in fingerprints}
        default = "service-cert" if keys else "service-key" if pins else "none"
        return cls(pins, MappingProxyType(keys), kind=kind or default)

    @classmethod
    def from_certificates(cls, files: Iterable[bytes]) -> TrustAnchor:
        """Pins the key of every certificate in ``files`` (contents, PEM or DER).

        Raises:
            FormatError: a file holds no certificate, a malformed one, or one whose key no service can have.
        """
        return cls.from_keys(spki for data in files for spki in _service_keys(data))

    @classmethod
    def from_options(
        cls,
        *,
        service_certs: Iterable[str | Path] = (),
        service_key_sha256: Iterable[str] = (),
        trust_genesis: bool = False,
    ) -> TrustAnchor:
        """Pins what the command line options name.

        Args:
            service_certs: paths of certificates (PEM, several a file allowed, or DER).
            service_key_sha256: fingerprints, 64 hexadecimal digits; colons and capitals are accepted.
            trust_genesis: accept the identity in the first transaction.

        Raises:
            UsageError: a file cannot be read or holds no certificate, a fingerprint is malformed, or
                ``trust_genesis`` is combined with pins.
        """
        spkis: list[bytes] = []
        for path in service_certs:
            try:
                spkis += _service_keys(Path(path).read_bytes())
            except OSError as error:
                raise UsageError(f"service certificate cannot be read: {error.strerror}", file=str(path)) from error
            except FormatError as error:
                raise UsageError(error.message, code=error.code, file=str(path)) from error
        anchor = cls.from_keys(spkis, fingerprints=service_key_sha256)
        if not trust_genesis:
            return anchor
        if anchor.fingerprints:
            raise UsageError(
                "--trust-genesis cannot be combined with a pinned service identity: expected one of them",
                hint="drop --trust-genesis; the pinned identity says more",
            )
        return cls.genesis()

    def pins(self, fingerprint: str) -> bool:
        """Whether the key with this lower-case hex SHA-256 is pinned."""
        return fingerprint in self.fingerprints

    def __bool__(self) -> bool:
        return bool(self.fingerprints) or self.trust_genesis

    def with_keys(self, spkis: Iterable[bytes]) -> TrustAnchor:
        """The same pins, with the keys of those among ``spkis`` that are pinned by fingerprint filled in.

        A key that is not pinned is left out, so data at hand can complete an anchor but never widen it.
        """
        found = {PublicKey.from_spki(spki).sha256: spki for spki in spkis}
        known = {**self.keys, **{name: spki for name, spki in found.items() if name in self.fingerprints}}
        return TrustAnchor(self.fingerprints, MappingProxyType(known), self.trust_genesis, self.kind)

    def to_json(self) -> dict[str, object]:
        """The ``anchor`` object of reports; several pins are joined by commas, in ascending order."""
        return {"kind": self.kind, "service_key_sha256": ",".join(sorted(self.fingerprints)) or None}


def _service_keys(data: bytes) -> list[bytes]:
    spkis = [certificate.spki for certificate in Certificate.parse_many(data)]
    for spki in spkis:
        kind = PublicKey.from_spki(spki).kind
        if kind == "RSA":
            raise FormatError("certificate is no service's: expected an ECDSA key, got RSA", code="key-not-spki")
    return spkis


def _fingerprint(text: str) -> str:
    compact = text.replace(":", "").strip().lower()
    if _FINGERPRINT.match(compact) is None:
        raise UsageError(
            f"service key fingerprint {text[:80]!r} is malformed: expected 64 hexadecimal digits",
            hint="it is the SHA-256 of the service key's SubjectPublicKeyInfo: openssl x509 -in service_cert.pem "
            "-pubkey -noout | openssl pkey -pubin -outform DER | sha256sum",
        )
    return compact
