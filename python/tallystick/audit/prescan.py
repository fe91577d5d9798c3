"""A first look through a part of a ledger that does not start at its beginning, for service keys.

Which key is in force at the start stands before the start. A pinned certificate tells it if it is that one;
else later transactions may: service.info when a certificate is renewed or the service recovers, the previous
identity that a recovery names, endorsements. Each is a candidate only: it must fit the signatures, and be
reached from the anchor, to count for anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from tallystick.audit.trusted_ledger import ENDORSEMENT, PREVIOUS_IDENTITY, SERVICE_INFO
from tallystick.errors import FormatError, LimitExceededError, VerificationError
from tallystick.identity.certificates import parse_certificate, public_key
from tallystick.identity.endorsements import verify_endorsement_record
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.ledger.directory import CoverPart
from tallystick.ledger.scanning import Engine, ScanPart, scan_parts

__all__ = ["claimed_service_keys"]

_TABLES = (SERVICE_INFO, PREVIOUS_IDENTITY, ENDORSEMENT)
_SINGLETON = bytes(8)


def claimed_service_keys(
    parts: Sequence[CoverPart], anchor: TrustAnchor, jobs: int, engine: Engine | None
) -> list[str]:
    """SubjectPublicKeyInfo (hex) of service keys: pinned ones first, then those that the ledger part claims."""
    found: dict[str, None] = {spki.hex(): None for _, spki in sorted(anchor.keys.items())}
    scanner = scan_parts(
        [ScanPart(part.file.path, part.first, part.last) for part in parts],
        level="headers",
        jobs=jobs,
        first_seqno=parts[0].first,
        engine=engine,
    )
    try:
        for batch in scanner:
            for entry in batch.notable:
                for table in _TABLES:
                    value = (entry.table(table) or {}).get(_SINGLETON)
                    if value is not None:
                        found.update(dict.fromkeys(_keys(table, value)))
    except (FormatError, LimitExceededError):
        pass  # the scan proper meets the same, and reports it
    return list(found)


def _keys(table: str, value: bytes) -> list[str]:
    try:
        if table == ENDORSEMENT:
            return [verify_endorsement_record(value).endorsed_spki]
        parsed = json.loads(value)
        pem = parsed.get("cert") if isinstance(parsed, dict) else parsed
        if not isinstance(pem, str):
            return []
        spki = parse_certificate(pem).spki.hex()
        public_key(spki)
    except (FormatError, VerificationError, ValueError, RecursionError):
        return []  # judged where it stands, by the fold
    return [spki]
