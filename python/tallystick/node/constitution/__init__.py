"""Constitutions that come with the node: JavaScript modules in pieces that are joined in order.

``default`` lets more than half of the active members decide. The others differ in who decides: ``sandbox``
accepts whatever is proposed, ``veto`` lets one vote reject, ``operator`` and ``operator_provisioner`` give some
members tasks of their own and no vote on the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tallystick.errors import UsageError

__all__ = ["VARIANTS", "constitution_files", "constitution_text", "join_constitution"]

_HERE = Path(__file__).parent

VARIANTS = ("default", "sandbox", "veto", "operator", "operator_provisioner")
"""Names that :func:`constitution_files` takes."""


def constitution_files(variant: str = "default", *, virtual: bool = False) -> list[Path]:
    """The pieces of a constitution, in the order in which they are joined.

    Args:
        variant: one of :data:`VARIANTS`.
        virtual: with the actions that trust nodes without attestation hardware.

    Raises:
        UsageError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise UsageError(
            f"there is no constitution {variant!r}: expected one of {', '.join(VARIANTS)}", code="constitution-unknown"
        )
    resolve = _HERE / "resolve.js" if variant == "default" else _HERE / variant / "resolve.js"
    extra = [_HERE / "virtual" / "actions.js"] if virtual else []
    return [_HERE / "helpers.js", _HERE / "actions.js", *extra, _HERE / "validate.js", resolve, _HERE / "apply.js"]


def constitution_text(variant: str = "default", *, virtual: bool = False) -> str:
    """A whole constitution; see :func:`constitution_files`."""
    return join_constitution(
        [path.read_text(encoding="utf-8") for path in constitution_files(variant, virtual=virtual)]
    )


def join_constitution(pieces: Sequence[str]) -> str:
    """Joins pieces of a constitution, so that no piece ends within a line of the next."""
    return "\n".join(pieces)
