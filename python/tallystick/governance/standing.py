"""Who and what governs at the end of what was read."""

from __future__ import annotations

import hashlib
import json

from tallystick.errors import FormatError
from tallystick.governance.names import MEMBERS_CERTS, MEMBERS_ENCRYPTION_KEYS, SERVICE_CONFIG
from tallystick.governance.records import json_object
from tallystick.governance.report import Member, Standing
from tallystick.governance.state import GovernanceState, parse_member_certificate
from tallystick.tables.names import MEMBERS_INFO

__all__ = ["standing"]


def standing(state: GovernanceState) -> Standing:
    """Summarises ``state``; what is malformed is left out, as findings report it elsewhere."""
    members = [_member(state, key, value) for key, value in state.tables.items(MEMBERS_INFO)]
    return Standing(
        state.service_status(),
        _service_key(state),
        _constitution_digest(state),
        _threshold(state),
        tuple(member for member in members if member is not None),
        tuple(sorted(name for name, status in state.proposals.items() if status == "Open")),
    )


def _member(state: GovernanceState, key: bytes, value: bytes) -> Member | None:
    try:
        info = json_object(value, "record of a member")
    except FormatError:
        return None
    subject = begin = end = None
    pem = state.get(MEMBERS_CERTS, key)
    if pem is not None:
        try:
            certificate = parse_member_certificate(pem)
            subject, begin, end = certificate.subject_text, certificate.not_before, certificate.not_after
        except FormatError:
            subject = None
    role = None
    if state.get(MEMBERS_ENCRYPTION_KEYS, key) is not None:
        given = info.get("recovery_role")
        role = given if isinstance(given, str) else "Participant"
    data = info.get("member_data")
    return Member(
        key.decode("utf-8", "replace"),
        str(info.get("status")),
        subject,
        begin,
        end,
        role,
        None if data is None else json.dumps(data),
    )


def _service_key(state: GovernanceState) -> str | None:
    try:
        service = state.service()
        return None if service is None else parse_member_certificate(service.certificate.encode()).spki_sha256
    except FormatError:
        return None


def _constitution_digest(state: GovernanceState) -> str | None:
    try:
        text = state.constitution()
    except FormatError:
        return None
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def _threshold(state: GovernanceState) -> int | None:
    value = state.get(SERVICE_CONFIG)
    try:
        threshold = json_object(value, "service configuration").get("recovery_threshold") if value is not None else None
    except FormatError:
        return None
    return threshold if isinstance(threshold, int) and not isinstance(threshold, bool) else None
