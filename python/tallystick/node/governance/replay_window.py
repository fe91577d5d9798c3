"""The window that keeps an old proposal from being sent again.

The latest proposals are remembered by creation time and digest of their signature. A new one must differ from
all of them and must not be older than the median, so that one which has left the window is too old to return.
"""

from __future__ import annotations

import hashlib

from tallystick.governance.state import DEFAULT_WINDOW
from tallystick.node import tables
from tallystick.node.governance.authentication import SignedRequest
from tallystick.node.governance.errors import governance_error
from tallystick.node.http.context import Context
from tallystick.node.http.errors import Code

__all__ = ["admit_proposal"]

_RECENT = "public:ccf.gov.cose_recent_proposals"

# Times are compared as text of ten digits, which lasts until the year 2286.
_LATEST_CREATED_AT = 9_999_999_999


def admit_proposal(context: Context, request: SignedRequest, proposal_id: str) -> None:
    """Puts a proposal into the window, and drops the oldest when there are too many.

    Raises:
        HttpError: 400, it was sent before, it is too old, or its time has more than ten digits.
    """
    if request.created_at > _LATEST_CREATED_AT:
        message = "Header parameter created_at value is too large"
        raise governance_error(context, 400, Code.INVALID_CREATED_AT, message)
    tx = context.tx
    digest = hashlib.sha256(request.signature).hexdigest()
    key = f"{request.created_at:010d}:{digest}".encode()
    known = tables.get_json(tx, _RECENT, key)
    if known is not None:
        message = f"Proposal submission replay, already exists as proposal {known}"
        raise governance_error(context, 400, Code.PROPOSAL_REPLAY, message)
    recent = sorted(name for name, _ in tx.entries(_RECENT))
    if recent:
        median = recent[len(recent) // 2].partition(b":")[0]
        if key.partition(b":")[0] < median:
            message = f"Proposal created too long ago, created_at must be greater than {median.decode()}"
            raise governance_error(context, 400, Code.PROPOSAL_CREATED_TOO_LONG_AGO, message)
    config = tables.get_json(tx, tables.SERVICE_CONFIG) or {}
    window = config.get("recent_cose_proposals_window_size", DEFAULT_WINDOW)
    tx.set(_RECENT, key, tables.json_bytes(proposal_id))
    for name in recent[: max(0, len(recent) - (window - 1))]:
        tx.remove(_RECENT, name)
