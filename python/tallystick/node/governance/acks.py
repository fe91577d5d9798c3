"""State digests: what a new member acknowledges before it may vote."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from tallystick._native import MerkleTree
from tallystick.errors import TallystickError
from tallystick.node import tables
from tallystick.node.governance.authentication import MemberSignaturePolicy, SignedRequest, signed_request
from tallystick.node.governance.describing import described
from tallystick.node.governance.errors import governance_error
from tallystick.node.governance.members import activate_member, takes_part_in_recovery
from tallystick.node.http.context import Context, Reply, parse_json
from tallystick.node.http.errors import Code
from tallystick.node.http.registry import Endpoint
from tallystick.node.state import ServiceStatus

__all__ = ["read_ack", "renew_digest", "state_digest_endpoints", "take_acknowledgement"]

_PATH = "/members/state-digests/{memberId}"


def state_digest_endpoints() -> list[Endpoint]:
    """What to install under ``/gov/members/state-digests``."""

    def signed(path: str, handler: Callable[[Context], Reply], kind: str, summary: str, status: int = 200) -> Endpoint:
        policies = (MemberSignaturePolicy(kind, active=False),)
        openapi = described(summary, signed=True, status=status)
        return Endpoint("POST", path, handler, policies, api="gov", openapi=openapi, versioned=True, exclusive=True)

    openapi = described("The state digest that a member has to acknowledge")
    return [
        Endpoint("GET", _PATH, get_digest, mode="readonly", api="gov", openapi=openapi, versioned=True),
        signed(_PATH + ":update", update_digest, "state_digest", "Renew a member's state digest"),
        signed(_PATH + ":ack", acknowledge, "ack", "Acknowledge a state digest", 204),
    ]


def get_digest(context: Context) -> Reply:
    """The digest that a member has to acknowledge."""
    member_id = context.parameters["memberId"]
    ack = read_ack(context, member_id)
    if ack is None:
        message = f"No ACK record exists for member m[{member_id}]."
        raise governance_error(context, 404, Code.RESOURCE_NOT_FOUND, message)
    return Reply.json({"memberId": member_id, "stateDigest": ack["state_digest"]})


def update_digest(context: Context) -> Reply:
    """Puts the latest signed root in the place of what the member was to acknowledge."""
    member_id = _own(context, signed_request(context))
    return Reply.json({"memberId": member_id, "stateDigest": renew_digest(context, member_id)})


def renew_digest(context: Context, member_id: str) -> str:
    """Puts the latest signed root in the place of what a member was to acknowledge.

    Raises:
        HttpError: 500, nothing has been signed yet.
    """
    ack = read_ack(context, member_id) or {}
    tree = context.tx.get(tables.TREE, tables.SINGLETON)
    if tree is None:
        message = "Service has no signatures to ack yet - try again soon."
        raise governance_error(context, 500, Code.INTERNAL_ERROR, message)
    digest = MerkleTree.from_compact(tree).root().hex()
    tables.put_json(context.tx, tables.MEMBERS_ACKS, ack | {"state_digest": digest}, member_id.encode())
    return digest


def acknowledge(context: Context) -> Reply:
    """Takes an acknowledgement."""
    request = signed_request(context)
    _own(context, request)
    take_acknowledgement(context, request, "stateDigest")
    return Reply.no_content()


def take_acknowledgement(context: Context, request: SignedRequest, field: str) -> None:
    """Makes the member active, and gives it a recovery share if it is to have one.

    Args:
        context: of the request.
        request: signed by the member.
        field: member of the signed JSON object that holds the digest.

    Raises:
        HttpError: the digest is not the one asked for, or the member cannot be activated.
    """
    tx, member_id = context.tx, request.member_id
    ack = read_ack(context, member_id)
    if ack is None:
        message = f"No ACK record exists for member m[{member_id}]."
        raise governance_error(context, 403, Code.AUTHORIZATION_FAILED, message)
    _check_digest(context, request, ack["state_digest"], field)
    status = (tables.get_json(tx, tables.SERVICE_INFO) or {}).get("status")
    info: dict[str, Any] = tables.get_json(tx, tables.MEMBERS_INFO, member_id.encode()) or {}
    recoverer = takes_part_in_recovery(tx, member_id, info)
    if status == ServiceStatus.WAITING_FOR_RECOVERY_SHARES and recoverer and info.get("status") != "Active":
        message = "Recovery members cannot be activated during recovery."
        raise governance_error(context, 400, Code.INVALID_INPUT, message)
    tables.put_json(
        tx,
        tables.MEMBERS_ACKS,
        {
            "state_digest": ack["state_digest"],
            "cose_sign1_req": base64.b64encode(request.envelope).decode(),
        },
        member_id.encode(),
    )
    try:
        newly = activate_member(tx, member_id)
    except TallystickError as error:
        message = f"Error activating member: {error.message}"
        raise governance_error(context, 500, Code.INTERNAL_ERROR, message) from error
    if newly and recoverer and status == ServiceStatus.OPEN:
        try:
            context.node.effects.call(tx, "triggerRecoverySharesRefresh", [], context.commit)
        except TallystickError as error:
            message = f"Error issuing new recovery shares: {error.message}"
            raise governance_error(context, 500, Code.INTERNAL_ERROR, message) from error


def _own(context: Context, request: SignedRequest) -> str:
    """The member in the path, who must be the signer."""
    member_id = context.parameters["memberId"]
    if member_id != request.member_id:
        message = (
            f"Member ID from path parameter (m[{member_id}]) does not match member ID from body signature "
            f"(m[{request.member_id}])."
        )
        raise governance_error(context, 400, Code.INVALID_AUTHENTICATION_INFO, message)
    return member_id


def read_ack(context: Context, member_id: str) -> dict[str, Any] | None:
    """A member's row of acknowledgements; None if there is no such member."""
    ack: dict[str, Any] | None = tables.get_json(context.tx, tables.MEMBERS_ACKS, member_id.encode("utf-8", "replace"))
    return ack


def _check_digest(context: Context, request: SignedRequest, expected: str, field: str) -> None:
    content = parse_json(request.content)
    received = content.get(field) if isinstance(content, dict) else None
    if not isinstance(received, str):
        message = f'Signed request body is not a JSON object containing required string field "{field}"'
        raise governance_error(context, 400, Code.INVALID_INPUT, message)
    if received != expected:
        message = f"Submitted state digest is not valid.\nExpected\n {expected}\nReceived\n {received}"
        raise governance_error(context, 400, Code.STATE_DIGEST_MISMATCH, message)
