"""Which service identities in a bundle are lives of one service, by the word of the newer ones.

The first transaction of a recovered service names the identity before it. Signed under the newer identity, it is
that identity's own statement of whom it succeeds: enough to hold the *newer* one to what the older one signed, and
never enough to believe the newer one because of the older.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tallystick import _native
from tallystick.errors import FormatError, VerificationError
from tallystick.evidence.statement import Statement
from tallystick.identity.certificates import parse_certificate
from tallystick.tables.names import SERVICE_INFO, SINGLETON_KEY
from tallystick.types import TxId

__all__ = ["PREVIOUS_IDENTITY", "Succession", "succession", "verify_links", "vouched_for"]

PREVIOUS_IDENTITY = "public:ccf.gov.service.previous_service_identity"


@dataclass(frozen=True)
class Succession:
    """A recovery, by the word of the identity that it brought.

    Attributes:
        previous: fingerprint of the identity before.
        boot: the first transaction of the new one.
    """

    previous: str
    boot: TxId


def verify_links(statements: Iterable[Statement]) -> dict[str, Succession]:
    """Verifies statements about recoveries; returns them by the fingerprint of the new identity.

    Raises:
        FormatError: a part cannot be parsed.
        VerificationError: one does not hold, or is not about a recovery.
    """
    before: dict[str, Succession] = {}
    for statement in statements:
        verified = statement.verify()
        pair = succession(verified.entry)
        if pair is None or pair[0] != verified.service_key_sha256:
            raise VerificationError(
                f"transaction {verified.txid} is not the first one of the service that signed it",
                code="evidence-untrue",
                txid=str(verified.txid),
            )
        before[pair[0]] = Succession(pair[1], verified.txid)
    return before


def succession(entry: _native.Entry) -> tuple[str, str] | None:
    """Fingerprints of (new, previous) identity if ``entry`` is the first transaction of a recovered service."""
    info = _json((entry.table(SERVICE_INFO) or {}).get(SINGLETON_KEY))
    previous = _json((entry.table(PREVIOUS_IDENTITY) or {}).get(SINGLETON_KEY))
    pem = info.get("cert") if isinstance(info, Mapping) else None
    if not isinstance(pem, str) or not isinstance(previous, str):
        return None
    try:
        return parse_certificate(pem).spki_sha256, parse_certificate(previous).spki_sha256
    except FormatError:
        return None


def vouched_for(before: Mapping[str, Succession], fingerprint: str) -> tuple[str, ...]:
    """The identities that one is, by its own word and that of its predecessors, a later life of; itself first."""
    found = [fingerprint]
    while (step := before.get(found[-1])) is not None and step.previous not in found:
        found.append(step.previous)
    return tuple(found)


def _json(value: bytes | None) -> object:
    try:
        return None if value is None else json.loads(value)
    except (ValueError, RecursionError):
        return None
