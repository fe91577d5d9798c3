"""Service keys that an issuer publishes, saved to a file: JWKS, or the parameters of a SCITT service.

A JWKS (RFC 7517) is what a transparency service serves at the ``jwks_uri`` of its
``/.well-known/transparency-configuration``; its ``kid`` is the hex SHA-256 of the key. Older services served
``{"parameters": [{"serviceCertificate": base64 DER, …}]}``. Nothing is fetched here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping

from tallystick._native import Certificate, PublicKey
from tallystick.errors import FormatError

__all__ = ["parse_published_keys"]

# DER of a SubjectPublicKeyInfo up to the point (RFC 5480), and the width of a coordinate.
_CURVES = {
    "P-256": (bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200"), 32),
    "P-384": (bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200"), 48),
    "P-521": (bytes.fromhex("30819b301006072a8648ce3d020106052b8104002303818600"), 66),
}


def parse_published_keys(data: bytes) -> list[bytes]:
    """DER SubjectPublicKeyInfo of every elliptic-curve key in the file.

    Raises:
        FormatError: it is neither form, a key is malformed, or a ``kid`` is not that of its key (code
            ``published-keys-malformed``).
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _malformed("expected an object")
    if isinstance(document.get("keys"), list):
        found = [_from_jwk(key) for key in document["keys"] if not _is_other(key)]
    elif isinstance(document.get("parameters"), list):
        found = [_from_parameters(item) for item in document["parameters"]]
    else:
        raise _malformed("expected 'keys' (a JWKS) or 'parameters' (of a SCITT service)")
    if not found:
        raise _malformed("expected at least one elliptic-curve key, got none")
    return list(dict.fromkeys(found))


def _is_other(key: object) -> bool:
    return isinstance(key, dict) and key.get("kty") != "EC"


def _from_jwk(key: object) -> bytes:
    if not isinstance(key, dict):
        raise _malformed("a key is not an object")
    curve = key.get("crv")
    if not isinstance(curve, str) or curve not in _CURVES:
        raise _malformed(f"curve: expected P-256, P-384 or P-521, got {str(curve)[:40]!r}")
    prefix, width = _CURVES[curve]
    spki = prefix + b"\x04" + _coordinate(key, "x", width) + _coordinate(key, "y", width)
    PublicKey.from_spki(spki)
    kid = key.get("kid")
    if isinstance(kid, str) and len(kid) == 64 and kid != hashlib.sha256(spki).hexdigest():
        raise _malformed(f"kid {kid}: expected the SHA-256 of its key, {hashlib.sha256(spki).hexdigest()}")
    return spki


def _coordinate(key: Mapping[str, object], name: str, width: int) -> bytes:
    text = key.get(name)
    if not isinstance(text, str):
        raise _malformed(f"a key lacks its coordinate {name}")
    try:
        value = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed(f"coordinate {name} is not base64url") from error
    if len(value) != width:
        raise _malformed(f"coordinate {name}: expected {width} bytes, got {len(value)}")
    return value


def _from_parameters(item: object) -> bytes:
    text = item.get("serviceCertificate") if isinstance(item, dict) else None
    if not isinstance(text, str):
        raise _malformed("a parameter lacks its serviceCertificate")
    try:
        return Certificate.parse(base64.b64decode(text, validate=True)).spki
    except (binascii.Error, ValueError) as error:
        raise _malformed("a serviceCertificate is not base64") from error


def _malformed(problem: str) -> FormatError:
    return FormatError(f"published keys are malformed: {problem}", code="published-keys-malformed")
