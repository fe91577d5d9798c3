"""How listings are laid out: transactions, rows and values as JSON objects and as lines for people.

Lines for people fit :data:`WIDTH` columns and pass through ``printable``: names and values in a ledger were
written by strangers. JSON is ASCII, so it is safe on a terminal too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TextIO

from tallystick.errors import FormatError
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.transaction import Transaction
from tallystick.printable import cut, display_width, printable, wrap
from tallystick.tables.decode import Decoded, decode_key, decode_value

__all__ = [
    "WIDTH",
    "JsonDocument",
    "Output",
    "no_chunk",
    "row_lines",
    "rows_json",
    "short_value",
    "transaction_json",
    "value_lines",
    "writes_json",
]

WIDTH = 80
"""Columns that lines for people fit in."""

# Of a value that is shown in one line, only so much is decoded: the rest would be cut anyway.
_SHORT_BYTES = 4096

NO_CLAIMS = bytes(32)


# ------------------------------------------------------------------------------------------------ output


class Output:
    """Standard output in one of the formats ``text``, ``json`` and ``jsonl``."""

    def __init__(self, style: str) -> None:
        self.style = style
        self._stream: TextIO = sys.stdout
        if hasattr(self._stream, "reconfigure"):
            # A terminal without UTF-8 gets escapes instead of an error.
            self._stream.reconfigure(errors="backslashreplace")

    @property
    def is_text(self) -> bool:
        """Whether lines for people are wanted."""
        return self.style == "text"

    def line(self, text: str = "") -> None:
        """One line that is printable already."""
        self._stream.write(text + "\n")

    def json(self, value: object) -> None:
        """One JSON document: indented, or a line of its own in ``jsonl``."""
        indent = 2 if self.style == "json" else None
        separators = None if indent else (",", ":")
        self._stream.write(json.dumps(value, indent=indent, separators=separators) + "\n")

    def document(self, schema: str, head: Mapping[str, object], items: str) -> JsonDocument:
        """A document whose list ``items`` is written as it comes; in ``jsonl`` its items alone."""
        return JsonDocument(self._stream, self.style == "jsonl", schema, head, items)


class JsonDocument:
    """A JSON document with one long list, written in bounded memory.

    The document ends with ``"complete": false`` when what is listed could not be read to its end.
    """

    def __init__(self, stream: TextIO, lines: bool, schema: str, head: Mapping[str, object], items: str) -> None:
        self._stream = stream
        self._lines = lines
        self._head = {"schema": schema, **head, "verified": False}
        self._items = items
        self._count = 0

    def __enter__(self) -> JsonDocument:
        if not self._lines:
            fields = "".join(f"  {json.dumps(name)}: {json.dumps(value)},\n" for name, value in self._head.items())
            self._stream.write("{\n" + fields + f'  "{self._items}": [')
        return self

    def item(self, value: object) -> None:
        """Writes one item."""
        text = json.dumps(value, separators=(",", ":"))
        if self._lines:
            self._stream.write(text + "\n")
        else:
            self._stream.write(("," if self._count else "") + "\n    " + text)
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._lines and not isinstance(error, BrokenPipeError):
            end = "\n  ]" if self._count else "]"
            self._stream.write(f'{end},\n  "complete": {"true" if kind is None else "false"}\n}}\n')


# -------------------------------------------------------------------------------------------------- JSON


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def transaction_json(transaction: Transaction) -> dict[str, object]:
    """The fields of a transaction, without its tables."""
    return {
        "txid": str(transaction.txid),
        "view": transaction.view,
        "seqno": transaction.seqno,
        "file": transaction.file,
        "offset": transaction.offset,
        "size": transaction.size,
        "entry_type": transaction.entry_type,
        "flags": transaction.flags,
        "signature": transaction.is_signature,
        "private_bytes": transaction.private_size,
        "write_set_digest": _hex(transaction.write_set_digest),
        "commit_evidence_digest": _hex(transaction.commit_evidence_digest),
        "claims_digest": _hex(transaction.claims_digest),
        "leaf": _hex(transaction.leaf),
    }


def writes_json(table: str, writes: Mapping[bytes, bytes | None]) -> list[dict[str, object]]:
    """Writes and removes of one table: ``{"key": …, "value": …}`` or ``{"key": …, "removed": true}``."""
    return [
        {"key": decode_key(table, key).key_json(), "removed": True}
        if value is None
        else {"key": decode_key(table, key).key_json(), "value": decode_value(table, value).to_json()}
        for key, value in writes.items()
    ]


def rows_json(table: str, key: bytes, value: bytes, seqno: int) -> dict[str, object]:
    """One row of state."""
    return {
        "key": decode_key(table, key).key_json(),
        "value": decode_value(table, value).to_json(),
        "seqno": seqno,
    }


# -------------------------------------------------------------------------------------------------- text


def short_value(table: str, value: bytes | None, width: int) -> str:
    """A value, or a remove, in at most ``width`` columns."""
    if value is None:
        return cut("(removed)", width)
    size = f" ({len(value):,} bytes)"
    whole = len(value) <= _SHORT_BYTES
    decoded = decode_value(table, value) if whole else _decode_beginning(table, value)
    text = printable(decoded.line())
    if whole and display_width(text) <= width:
        return text
    return cut(text + " " * width if not whole else text, max(1, width - len(size))) + size


def _decode_beginning(table: str, value: bytes) -> Decoded:
    beginning = value[:_SHORT_BYTES]
    text = beginning.decode("utf-8", "ignore")
    if len(text.encode()) >= _SHORT_BYTES - 3:
        return Decoded("text", text, beginning)
    return Decoded("hex", beginning.hex(), beginning)


def value_lines(table: str, value: bytes, indent: int) -> Iterator[str]:
    """A value in full, folded to fit."""
    text = printable(decode_value(table, value).text().replace("\r\n", "\n"), lines=True)
    for line in text.rstrip("\n").split("\n"):
        for piece in wrap(line, WIDTH - indent):
            yield " " * indent + piece


def row_lines(table: str, key: bytes, value: bytes | None, *, indent: int, full: bool, note: str = "") -> Iterator[str]:
    """A row: key, ``note`` and value in one line, or with ``full`` the value below in all its lines."""
    name = printable(decode_key(table, key).line())
    head = " " * indent + (f"{note}  " if note else "")
    if full:
        yield cut(f"{head}{name}" + ("  (removed)" if value is None else ""), WIDTH)
        if value is not None:
            yield from value_lines(table, value, indent + 4)
        return
    room = WIDTH - len(head)
    name = cut(name, max(8, room // 2))
    yield f"{head}{name}  " + short_value(table, value, max(8, room - display_width(name) - 2))


def no_chunk(paths: Sequence[str], ledger: Ledger) -> FormatError:
    """That ``paths`` hold no chunk file that was to be read, and what to do (``ledger-empty``)."""
    where = paths[0] if len(paths) == 1 else None
    return FormatError("no ledger chunk to read", code="ledger-empty", file=where, hint=ledger.files.why_empty)
