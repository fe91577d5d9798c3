"""Query strings, split as CCF splits them.

CCF decodes the whole query before it looks for ``&`` and ``=``, so an encoded ``&`` separates parameters too,
and of a repeated name the last value counts. Clients depend on the first only by accident, but an answer that
differs is worse than one that is odd.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote_plus

from tallystick.node.http.errors import Code, HttpError
from tallystick.types import TxId

__all__ = ["integer_parameter", "parse_query", "required_parameter", "txid_parameter"]

MAX_U64 = 2**64 - 1


def parse_query(query: str) -> dict[str, str]:
    """Parameters by name; a name without ``=`` has the empty value."""
    parameters: dict[str, str] = {}
    for part in unquote_plus(query, errors="replace").split("&"):
        if part:
            name, _, value = part.partition("=")
            parameters[name] = value
    return parameters


def required_parameter(parameters: Mapping[str, str], name: str) -> str:
    """The value of ``name``.

    Raises:
        HttpError: 400, it is missing.
    """
    value = parameters.get(name)
    if value is None:
        raise HttpError(400, Code.INVALID_QUERY_PARAMETER_VALUE, f"No parameter named '{name}' in query.")
    return value


def integer_parameter(parameters: Mapping[str, str], name: str, *, maximum: int = MAX_U64) -> int | None:
    """The value of ``name`` as an unsigned integer, None when it is missing.

    Raises:
        HttpError: 400, it is not a decimal number up to ``maximum``.
    """
    value = parameters.get(name)
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) <= len(str(maximum)) and int(value) <= maximum:
        return int(value)
    raise HttpError(
        400, Code.INVALID_QUERY_PARAMETER_VALUE, f"Unable to parse value '{value[:64]}' in parameter '{name}'"
    )


def txid_parameter(value: str) -> TxId | None:
    """A transaction ID from text of a client; None when it is not one: both numbers are at least 1."""
    if len(value) > 2 * len(str(MAX_U64)) + 1:
        return None
    view, dot, seqno = value.partition(".")
    if not dot or not (view.isascii() and view.isdigit() and seqno.isascii() and seqno.isdigit()):
        return None
    txid = TxId(int(view), int(seqno))
    return txid if 1 <= txid.view <= MAX_U64 and 1 <= txid.seqno <= MAX_U64 else None
