"""Application claims of Azure Confidential Ledger, and the claims digest that they stand for.

``claims digest = H(u32 LE count ‖ Σ H(protocol name ‖ claim digest))``, where a claim is one of

* ``LedgerEntry`` (protocol ``LedgerEntryV1``): ``H(HMAC(key, collection id) ‖ HMAC(key, contents))``, with
  HMAC-SHA256 and the base64 secret key that came with the entry;
* ``ClaimDigest``: the digest itself, when the content is withheld.

Names are accepted in camelCase (as the service sends them) and in snake_case (as its SDK hands them on).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import struct
from collections.abc import Mapping

from tallystick.errors import FormatError

__all__ = ["claims_digest_of", "parse_application_claims"]

# Claims of one transaction; the service writes one or two.
_MAX_CLAIMS = 1024
_PROTOCOL = "LedgerEntryV1"


def parse_application_claims(data: bytes) -> bytes:
    """The claims digest of a file with a JSON array of claims, or an object that holds one.

    Accepts the array, ``{"applicationClaims": […]}``, ``{"application_claims": […]}`` and ``{"claims": […]}``.

    Raises:
        FormatError: it is anything else, or the array is empty (code ``claims-malformed``).
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"not JSON: {error}") from error
    if isinstance(document, dict):
        document = _pick(document, "applicationClaims", "application_claims", "claims")
    return claims_digest_of(document)


def claims_digest_of(claims: object) -> bytes:
    """The 32-byte claims digest of a list of claims, as parsed from JSON.

    Raises:
        FormatError: it is not a non-empty list of known claims (code ``claims-malformed``). An empty list is
            refused because it would check nothing.
    """
    if not isinstance(claims, list) or not claims:
        raise _malformed("expected a non-empty list of claims")
    if len(claims) > _MAX_CLAIMS:
        raise _malformed(f"expected at most {_MAX_CLAIMS} claims, got {len(claims)}")
    hashed = hashlib.sha256(struct.pack("<I", len(claims)))
    for position, claim in enumerate(claims):
        if not isinstance(claim, dict):
            raise _malformed(f"claim {position} is not an object")
        protocol, digest = _claim_digest(claim, position)
        hashed.update(hashlib.sha256(protocol.encode() + digest).digest())
    return hashed.digest()


def _claim_digest(claim: Mapping[str, object], position: int) -> tuple[str, bytes]:
    kind = claim.get("kind")
    if kind == "LedgerEntry":
        entry = _pick(claim, "ledgerEntry", "ledger_entry")
        if not isinstance(entry, dict):
            raise _malformed(f"claim {position} lacks its ledger entry")
        protocol = _text(entry.get("protocol"), f"protocol of claim {position}")
        if protocol != _PROTOCOL:
            raise _malformed(f"protocol of claim {position}: expected {_PROTOCOL}, got {protocol[:40]!r}")
        try:
            key = base64.b64decode(
                _text(_pick(entry, "secretKey", "secret_key"), f"secret key of claim {position}"), validate=True
            )
        except (binascii.Error, ValueError) as error:
            raise _malformed(f"secret key of claim {position} is not base64") from error
        collection = _text(_pick(entry, "collectionId", "collection_id"), f"collection of claim {position}")
        contents = _text(entry.get("contents"), f"contents of claim {position}")
        parts = (hmac.digest(key, text.encode(), "sha256") for text in (collection, contents))
        return protocol, hashlib.sha256(b"".join(parts)).digest()
    if kind == "ClaimDigest":
        digest = claim.get("digest")
        if not isinstance(digest, dict):
            raise _malformed(f"claim {position} lacks its digest")
        protocol = _text(digest.get("protocol"), f"protocol of claim {position}")
        value = _text(digest.get("value"), f"digest of claim {position}")
        try:
            raw = bytes.fromhex(value)
        except ValueError as error:
            raise _malformed(f"digest of claim {position} is not hexadecimal") from error
        if len(raw) != 32 or len(value) != 64:
            raise _malformed(f"digest of claim {position}: expected 32 bytes, got {len(raw)}")
        return protocol, raw
    raise _malformed(f"claim {position}: expected kind LedgerEntry or ClaimDigest, got {str(kind)[:40]!r}")


def _pick(mapping: Mapping[str, object], *names: str) -> object:
    present = [name for name in names if name in mapping]
    if len(present) > 1:
        raise _malformed(f"both {present[0]!r} and {present[1]!r} are given")
    return mapping[present[0]] if present else None


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise _malformed(f"{what} is not text")
    return value


def _malformed(problem: str) -> FormatError:
    return FormatError(f"application claims are malformed: {problem}", code="claims-malformed")
