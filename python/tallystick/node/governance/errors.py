"""Errors of the governance API, which are also log lines, and names in paths.

Messages spell members ``m[…]``, users ``u[…]`` and nodes ``n[…]``, because clients look for CCF's words.
"""

from __future__ import annotations

import re

from tallystick.node.http.context import Context
from tallystick.node.http.errors import Code, HttpError

__all__ = ["GOVERNANCE_TAG", "governance_error", "path_id"]

GOVERNANCE_TAG = "gov"
"""Tag of log lines about governance."""

_ID = re.compile(r"[0-9a-fA-F]{64}")


def governance_error(context: Context, status: int, code: Code, message: str) -> HttpError:
    """An error for the client, written to the log on the way: who votes on what is everybody's business."""
    request = context.request
    context.node.log.info(f"{request.method} {request.path} returning error {status}: {message}", GOVERNANCE_TAG)
    return HttpError(status, code, message)


def path_id(context: Context, parameter: str, what: str) -> str:
    """The member, proposal, user or node named in the path.

    Args:
        parameter: its name in the path template.
        what: ``member``, ``proposal``, ``user`` or ``node``.

    Raises:
        HttpError: 400, it is not 64 hexadecimal characters.
    """
    value = context.parameters[parameter]
    if _ID.fullmatch(value) is None:
        message = f"'{value}' is not a valid hex-encoded {what} ID"
        raise governance_error(context, 400, Code.INVALID_RESOURCE_NAME, message)
    return value
