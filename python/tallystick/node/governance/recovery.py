"""Recovery shares: members fetch theirs, and hand them in when a service has to be recovered."""

from __future__ import annotations

from typing import Any

from tallystick.node import tables
from tallystick.node.governance.authentication import MemberSignaturePolicy
from tallystick.node.governance.errors import governance_error, path_id
from tallystick.node.http.context import Context, Reply
from tallystick.node.http.errors import Code
from tallystick.node.http.registry import Endpoint
from tallystick.node.state import ServiceStatus

__all__ = ["recovery_endpoints", "share_of", "submit_share"]


def recovery_endpoints() -> list[Endpoint]:
    """What to install under ``/gov/recovery``."""
    share = "/recovery/encrypted-shares/{memberId}"
    recover = "/recovery/members/{memberId}:recover"
    policies = (MemberSignaturePolicy("recovery_share"),)
    return [
        Endpoint("GET", share, encrypted_share, mode="readonly", api="gov", versioned=True),
        Endpoint("POST", recover, submit_share, policies, api="gov", versioned=True),
    ]


def encrypted_share(context: Context) -> Reply:
    """A member's share, encrypted to its key."""
    member_id = path_id(context, "memberId", "member")
    return Reply.json({"memberId": member_id, "encryptedShare": share_of(context, member_id)})


def share_of(context: Context, member_id: str) -> str:
    """A member's share, encrypted to its key, in base64.

    Raises:
        HttpError: 404, it has none.
    """
    record: dict[str, Any] = tables.get_json(context.tx, tables.RECOVERY_SHARES) or {}
    share: str | None = (record.get("encrypted_shares") or {}).get(member_id)
    if share is None:
        message = f"Recovery share not found for member m[{member_id}]."
        raise governance_error(context, 404, Code.RESOURCE_NOT_FOUND, message)
    return share


def submit_share(context: Context) -> Reply:
    """Takes a share, when the service waits for shares."""
    info: dict[str, Any] = tables.get_json(context.tx, tables.SERVICE_INFO) or {}
    if info.get("status") != ServiceStatus.WAITING_FOR_RECOVERY_SHARES:
        message = "Service is not waiting for recovery shares."
        raise governance_error(context, 403, Code.SERVICE_NOT_WAITING_FOR_RECOVERY_SHARES, message)
    # A service gets into this state by being recovered, which this version of the node does not start.
    message = "This version of the node cannot recover a service."
    raise governance_error(context, 501, Code.NOT_IMPLEMENTED, message)
