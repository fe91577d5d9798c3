"""Descriptions of governance endpoints for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from tallystick.node.http.openapi import describe

__all__ = ["described"]


def described(
    summary: str, *, signed: bool = False, status: int = 200, content_type: str = "application/json", text: bool = False
) -> dict[str, Any]:
    """The ``openapi`` of an endpoint.

    Args:
        summary: one line.
        signed: whether the body is a COSE_Sign1 of a member.
        status: status of success.
        content_type: type of the answer's body.
        text: whether that body is text rather than JSON of a shape of its own.
    """
    query = [("api-version", "string", True)]
    schema = None if status == 204 else "string" if text else "json"
    operation = describe(summary, schema=schema, query=query, status=status, content_type=content_type)
    if signed:
        content = {"application/cose": {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": True, "description": "COSE_Sign1 (RFC 9052)", "content": content}
    return operation
