"""Recovery shares: members fetch theirs, and hand them in when a service has to be recovered."""

from __future__ import annotations

import base64
from typing import Any

from tallystick.errors import TallystickError
from tallystick.node import tables
from tallystick.node.governance.authentication import MemberSignaturePolicy, SignedRequest, signed_request
from tallystick.node.governance.describing import described
from tallystick.node.governance.errors import GOVERNANCE_TAG, governance_error, path_id
from tallystick.node.http.context import Context, Reply, parse_json
from tallystick.node.http.errors import JSON_TYPE, Code
from tallystick.node.http.registry import Endpoint
from tallystick.node.recovery import Recovery, SubmittedShares
from tallystick.node.state import NodeState, ServiceStatus

__all__ = ["recovery_endpoints", "share_of", "submit_share", "take_share", "waiting_recovery"]


def recovery_endpoints() -> list[Endpoint]:
    """What to install under ``/gov/recovery``."""
    share = "/recovery/encrypted-shares/{memberId}"
    recover = "/recovery/members/{memberId}:recover"
    policies = (MemberSignaturePolicy("recovery_share"),)
    read = described("A member's recovery share, encrypted to its key")
    hand_in = described("Hand in a recovery share", signed=True)
    return [
        Endpoint("GET", share, encrypted_share, mode="readonly", api="gov", openapi=read, versioned=True),
        Endpoint("POST", recover, submit_share, policies, api="gov", openapi=hand_in, versioned=True, exclusive=True),
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
    """Takes the share of the member in the path, when the service waits for shares."""
    recovery = waiting_recovery(context)
    member_id = path_id(context, "memberId", "member")
    request = signed_request(context)
    if request.member_id != member_id:
        message = (
            f"Member ID from path parameter (m[{member_id}]) does not match member ID from body signature "
            f"(m[{request.member_id}])."
        )
        raise governance_error(context, 400, Code.INVALID_AUTHENTICATION_INFO, message)
    return take_share(context, recovery, request)


def waiting_recovery(context: Context) -> Recovery:
    """The recovery that waits for shares.

    Raises:
        HttpError: 403, the service does not wait for any, or has enough of them.
    """
    info: dict[str, Any] = tables.get_json(context.tx, tables.SERVICE_INFO) or {}
    recovery: Recovery | None = context.node.recovery
    if info.get("status") != ServiceStatus.WAITING_FOR_RECOVERY_SHARES or recovery is None:
        message = "Service is not waiting for recovery shares."
        raise governance_error(context, 403, Code.SERVICE_NOT_WAITING_FOR_RECOVERY_SHARES, message)
    if context.node.state == NodeState.READING_PRIVATE_LEDGER:
        message = "Node is already recovering private ledger."
        raise governance_error(context, 403, Code.NODE_ALREADY_RECOVERING, message)
    return recovery


def take_share(context: Context, recovery: Recovery, request: SignedRequest) -> Reply:
    """Takes the share that a member signed; with enough of them the private ledger is read.

    Raises:
        HttpError: 400, the request holds no share; 500, the share is none that was issued.
    """
    share = _share_of(context, parse_json(request.content))
    submitted = _take(context, recovery, request.member_id, share)
    if submitted.full_key:
        message = "Full recovery key successfully submitted"
    else:
        message = f"{submitted.count}/{submitted.threshold} recovery shares successfully submitted"
    if submitted.is_enough:
        message += "\nEnd of recovery procedure initiated"
        context.node.log.info(f"{message} - initiating recovery", GOVERNANCE_TAG)
        try:
            recovery.begin_private(context.tx, context.commit)
        except (TallystickError, ValueError) as error:
            return _start_over(context, recovery, error)
    return Reply.json(
        {
            "message": message,
            "submittedCount": submitted.count,
            "recoveryThreshold": submitted.threshold,
            "fullKeySubmitted": submitted.full_key,
        }
    )


def _share_of(context: Context, content: object) -> bytes:
    text = content.get("share") if isinstance(content, dict) else None
    if not isinstance(text, str):
        raise governance_error(context, 400, Code.INVALID_INPUT, "Signed body has no text 'share'.")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise governance_error(context, 400, Code.INVALID_INPUT, f"Share is not base64: {error}") from error


def _take(context: Context, recovery: Recovery, member_id: str, share: bytes) -> SubmittedShares:
    try:
        return recovery.submit(context.tx, member_id, share)
    except (TallystickError, ValueError) as error:
        context.node.log.debug(f"Error: {error}", GOVERNANCE_TAG)
        raise governance_error(context, 500, Code.INTERNAL_ERROR, "Error submitting recovery shares.") from error


def _start_over(context: Context, recovery: Recovery, error: Exception) -> Reply:
    """Shares that do not fit are forgotten, although the answer is an error."""
    context.node.log.debug(f"Error: {error}", GOVERNANCE_TAG)
    recovery.forget_shares(context.tx)
    refusal = governance_error(context, 500, Code.INTERNAL_ERROR, "Failed to initiate private recovery.")
    return Reply(500, (("content-type", JSON_TYPE),), refusal.body, keep_writes=True)
