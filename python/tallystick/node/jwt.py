"""Keys of token issuers: reading a JSON Web Key Set and keeping the table of keys in step with it.

The table (``jwt.public_signing_keys_metadata_v2``) holds, under each key ID, one entry an issuer. What did
not change is not written, so that a refresh that brings nothing new leaves no trace in the ledger.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tallystick.errors import FormatError
from tallystick.node import tables

if TYPE_CHECKING:
    from tallystick._native import NodeTransaction

__all__ = ["key_spki", "remove_keys", "set_keys", "url_host"]

# Providers publish a handful of keys; the bound keeps one document from filling the store.
_MAX_KEYS: Final = 1000
_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}

Entries = list[dict[str, Any]]


def _integer(kid: str, text: str) -> int:
    try:
        return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")
    except (ValueError, binascii.Error) as error:
        raise FormatError(f"JWKS kid {kid}: not base64url: {error}", code="jwks-malformed") from error


def _text(jwk: Mapping[str, Any], name: str) -> str | None:
    value = jwk.get(name)
    return value if isinstance(value, str) and value else None


def key_spki(jwk: Mapping[str, Any]) -> bytes:
    """The public key that a JSON Web Key stands for, SubjectPublicKeyInfo in DER.

    Looked for in this order: ``n`` and ``e``, then ``x``, ``y`` and ``crv``, then the first of ``x5c``.

    Raises:
        FormatError: it has none of them, or they make no key.
    """
    kid = str(jwk.get("kid"))
    n, e = _text(jwk, "n"), _text(jwk, "e")
    x, y, curve = _text(jwk, "x"), _text(jwk, "y"), _text(jwk, "crv")
    chain = jwk.get("x5c")
    public: Any
    try:
        if n and e:
            public = rsa.RSAPublicNumbers(_integer(kid, e), _integer(kid, n)).public_key()
        elif x and y and curve:
            if curve not in _CURVES:
                raise FormatError(f"JWKS kid {kid}: unknown curve {curve}", code="jwks-malformed")
            public = ec.EllipticCurvePublicNumbers(_integer(kid, x), _integer(kid, y), _CURVES[curve]).public_key()
        elif isinstance(chain, list) and chain and isinstance(chain[0], str):
            public = x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True)).public_key()
        else:
            raise FormatError(f"JWKS kid {kid} has neither RSA/EC public key or x5c", code="jwks-malformed")
        spki: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except ValueError as error:
        raise FormatError(f"JWKS kid {kid} holds no valid key: {error}", code="jwks-malformed") from error
    return spki


def url_host(text: str) -> str:
    """Host of a URL in lower case; empty if there is none."""
    try:
        return urlsplit(text).hostname or ""
    except ValueError:
        return ""


def _constraint_fits(issuer: str, constraint: str) -> bool:
    # A provider may only speak for itself: the registered issuer's host is the constraint's or lies below it.
    own, limit = url_host(issuer), url_host(constraint)
    return bool(limit) and (own == limit or own.endswith("." + limit))


def _parse(issuer: str, jwks: object) -> dict[str, dict[str, Any]]:
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not keys:
        raise FormatError("JWKS has no keys", code="jwks-malformed")
    if len(keys) > _MAX_KEYS:
        raise FormatError(f"JWKS has {len(keys)} keys, more than {_MAX_KEYS}", code="jwks-malformed")
    entries: dict[str, dict[str, Any]] = {}
    for jwk in keys:
        kid = _text(jwk, "kid") if isinstance(jwk, dict) else None
        if kid is None:
            raise FormatError("Missing kid for JWT signing key", code="jwks-malformed")
        entry: dict[str, Any] = {"public_key": base64.b64encode(key_spki(jwk)).decode(), "issuer": issuer}
        constraint = jwk.get("issuer")
        if constraint is not None:
            if not isinstance(constraint, str) or not _constraint_fits(issuer, constraint):
                raise FormatError(
                    f"JWKS kid {kid} with issuer constraint {constraint} fails validation against issuer {issuer}",
                    code="jwks-constraint",
                )
            entry["constraint"] = constraint
        # The first key of a name wins, as in CCF.
        entries.setdefault(kid, entry)
    return entries


def set_keys(tx: NodeTransaction, issuer: str, jwks: object) -> None:
    """Makes the keys of ``issuer`` those of a JSON Web Key Set; keys that are not in it go.

    Args:
        issuer: as registered.
        jwks: decoded JSON.

    Raises:
        FormatError: the set is empty, a key cannot be read, or claims to speak for an issuer that it may not.
    """
    wanted = _parse(issuer, jwks)
    stored: dict[str, Entries] = tables.rows_json(tx, tables.JWT_KEYS)
    for kid, entry in wanted.items():
        entries = stored.get(kid, [])
        own = [index for index, known in enumerate(entries) if known.get("issuer") == issuer]
        if own and entries[own[0]] == entry:
            continue
        if own:
            entries[own[0]] = entry
        else:
            entries = [*entries, entry]
        tables.put_json(tx, tables.JWT_KEYS, entries, kid.encode())
    for kid, entries in stored.items():
        if kid not in wanted:
            _drop(tx, kid, entries, issuer)


def remove_keys(tx: NodeTransaction, issuer: str) -> None:
    """Removes all keys of ``issuer``."""
    for kid, entries in tables.rows_json(tx, tables.JWT_KEYS).items():
        _drop(tx, kid, entries, issuer)


def _drop(tx: NodeTransaction, kid: str, entries: Entries, issuer: str) -> None:
    left = [entry for entry in entries if entry.get("issuer") != issuer]
    if len(left) == len(entries):
        return
    if left:
        tables.put_json(tx, tables.JWT_KEYS, left, kid.encode())
    else:
        tx.remove(tables.JWT_KEYS, kid.encode())
