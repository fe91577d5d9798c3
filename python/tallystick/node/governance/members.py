"""Members as governance sees them: who is active, and who takes part in a recovery."""

from __future__ import annotations

from typing import Any

from tallystick.errors import FormatError, TallystickError
from tallystick.node import tables
from tallystick.node.http.context import Transaction
from tallystick.node.keys import read_encryption_key

__all__ = ["MemberError", "activate_member", "recovery_role", "takes_part_in_recovery"]

# Shares are points 1 to 255 of a polynomial in the formats before CCF 5; newer versions kept the limit.
MAX_ACTIVE_PARTICIPANTS = 255

_NONE = "NonParticipant"
_PARTICIPANT = "Participant"


class MemberError(TallystickError):
    """A member cannot be activated."""

    default_code = "member-not-activated"


def recovery_role(tx: Transaction, member_id: str, info: dict[str, Any]) -> str:
    """``NonParticipant``, ``Participant`` or ``Owner``. If nothing is said, an encryption key makes a participant."""
    role = info.get("recovery_role")
    if isinstance(role, str):
        return role
    return _NONE if tx.get(tables.MEMBERS_KEYS, member_id.encode()) is None else _PARTICIPANT


def takes_part_in_recovery(tx: Transaction, member_id: str, info: dict[str, Any]) -> bool:
    """Whether the member gets a recovery share once it is active."""
    has_key = tx.get(tables.MEMBERS_KEYS, member_id.encode()) is not None
    return has_key and recovery_role(tx, member_id, info) != _NONE


def activate_member(tx: Transaction, member_id: str) -> bool:
    """Makes a member active, and writes its row as CCF does, whether or not it was active before.

    Returns:
        Whether it was not.

    Raises:
        MemberError: there is no such member, there are too many active recovery members, or nothing can be encrypted
            to its key.
    """
    info: dict[str, Any] | None = tables.get_json(tx, tables.MEMBERS_INFO, member_id.encode())
    if info is None:
        raise MemberError(f"Member m[{member_id}] cannot be activated as they do not exist")
    newly = info.get("status") == "Accepted"
    if newly and takes_part_in_recovery(tx, member_id, info):
        _check_new_participant(tx, member_id)
    kept = {name: info.get(name) for name in ("member_data", "recovery_role")}
    record = {name: value for name, value in kept.items() if value is not None} | {"status": "Active"}
    tables.put_json(tx, tables.MEMBERS_INFO, record, member_id.encode())
    return newly


def _check_new_participant(tx: Transaction, member_id: str) -> None:
    if _active_participants(tx) >= MAX_ACTIVE_PARTICIPANTS:
        raise MemberError(
            f"Cannot activate new recovery member m[{member_id}]: no more than {MAX_ACTIVE_PARTICIPANTS} active "
            "recovery members are allowed"
        )
    # The constitution does not look at the key. Activated with one that nothing can be encrypted to, the member would
    # keep the service from ever opening, or from coming back after a disaster: every share is issued or none.
    try:
        read_encryption_key(tables.get_text(tx, tables.MEMBERS_KEYS, member_id.encode()) or "")
    except (FormatError, UnicodeDecodeError) as error:
        reason = error.message if isinstance(error, FormatError) else "encryption key is not text"
        raise MemberError(f"Cannot activate new recovery member m[{member_id}]: {reason}") from error


def _active_participants(tx: Transaction) -> int:
    rows = tables.rows_json(tx, tables.MEMBERS_INFO)
    return sum(
        info.get("status") == "Active" and takes_part_in_recovery(tx, member_id, info)
        for member_id, info in rows.items()
    )
