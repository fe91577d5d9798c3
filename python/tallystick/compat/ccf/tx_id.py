"""``ccf.tx_id``: transaction IDs."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.errors import FormatError
from tallystick.types import TxId

__all__ = ["TxID"]


@dataclass(order=True)
class TxID:
    """A transaction ID, ``view.seqno``; both None when it was made from something else.

    :class:`tallystick.TxId` is stricter: it is frozen, and cannot be made from anything else.
    """

    view: int | None
    seqno: int | None

    def __str__(self) -> str:
        return f"{self.view}.{self.seqno}"

    def valid(self) -> bool:
        """Whether it names a transaction."""
        return self.view is not None and self.seqno != 0

    @staticmethod
    def from_str(s: str) -> TxID:
        """From its text; (None, None) when it is malformed."""
        return TxID(*TxID.parse(s))

    @staticmethod
    def parse(s: str | None) -> tuple[int | None, int | None]:
        """View and seqno of a text; (None, None) when it is malformed."""
        try:
            txid = TxId.parse(s) if isinstance(s, str) else None
        except FormatError:
            txid = None
        return (None, None) if txid is None else (txid.view, txid.seqno)
