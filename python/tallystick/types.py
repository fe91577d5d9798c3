"""Small values that every part shares."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tallystick.errors import FormatError

__all__ = ["TxId"]

_TXID = re.compile(r"(0|[1-9][0-9]{0,19})\.(0|[1-9][0-9]{0,19})\Z")


@dataclass(frozen=True, order=True)
class TxId:
    """A transaction ID.

    Attributes:
        view: the view (consensus term) in which the transaction was executed.
        seqno: its position in the ledger, from 1.
    """

    view: int
    seqno: int

    @classmethod
    def parse(cls, text: str) -> TxId:
        """Parses the canonical text ``view.seqno``: decimal, no signs, no leading zeros.

        Raises:
            FormatError: the text is anything else.
        """
        match = _TXID.match(text)
        if match is None:
            raise FormatError(f"transaction ID {text[:64]!r} is malformed: expected VIEW.SEQNO", code="txid-malformed")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.view}.{self.seqno}"
