"""What the constitution may ask of the node: the privileged functions behind ``ccf.node`` and ``ccf.network``.

Each writes, into the transaction in which the constitution runs, the rows that CCF writes; what only takes
effect with the commit goes into the commit's options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tallystick.errors import TallystickError
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick._native import NodeTransaction
    from tallystick.node.service import Node

__all__ = ["CommitOptions", "EffectError", "Effects"]


class EffectError(TallystickError):
    """A privileged function refused; the message reaches the constitution as a JavaScript exception."""

    default_code = "effect-refused"


class CommitOptions(Protocol):
    """What goes with a transaction beside its writes (``node.http.context.CommitOptions``)."""

    claims_digest: bytes | None
    close_chunk: bool
    close_before: bool
    install_secret: bytes | None
    on_local_commit: list[Callable[[TxId], object]]


class Effects:
    """The privileged functions of one node, by the names under which JavaScript knows them.

    Args:
        node: the node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._functions: dict[str, Callable[..., Any]] = {}

    @property
    def names(self) -> frozenset[str]:
        """The functions there are, such as ``triggerLedgerRekey``."""
        return frozenset(self._functions)

    def call(self, tx: NodeTransaction, name: str, args: Sequence[Any], commit: CommitOptions) -> Any:
        """Runs a privileged function inside ``tx``.

        Args:
            tx: the transaction in which the constitution runs.
            name: such as ``transitionServiceToOpen``.
            args: its arguments; buffers as bytes.
            commit: options of the commit to come; the function may fill some in.

        Returns:
            What the function returns to JavaScript: None, a number or text.

        Raises:
            EffectError: there is no such function, or it refuses.
        """
        function = self._functions.get(name)
        if function is None:
            raise EffectError(f"there is no privileged function {name}")
        return function(tx, commit, *args)
