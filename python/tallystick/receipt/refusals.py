"""Which finding a receipt gets that the core refused to parse."""

from __future__ import annotations

from tallystick._native import FormatErrorValue
from tallystick.errors import FormatError, LimitExceededError

__all__ = ["refused"]

# What the core refuses for a reason of its own, rather than as bytes that are not the format.
_CORE_CODES = {
    "receipt-path-shape": "path-shape",
    "receipt-view-order": "path-shape",
    "receipt-proof-duplicate": "proof-duplicate",
    "receipt-commit-evidence": "commit-evidence-malformed",
    "receipt-vds": "data-structure-unknown",
}


# Whatever is longer than the limit on a whole receipt is neither accepted nor refuted. The other limits (nesting,
# steps of a path) are beyond what any receipt can need, so passing them is malformed.
_TOO_LARGE = frozenset({"receipt-too-large", "cbor-too-many-items"})


def refused(error: FormatError | LimitExceededError | FormatErrorValue) -> tuple[str, str]:
    """Code and message of the finding for a receipt that the core refused."""
    if error.code in _TOO_LARGE:
        return "unsupported", error.message
    return _CORE_CODES.get(error.code, "receipt-malformed"), error.message
