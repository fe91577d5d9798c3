"""Text that is safe to print: what a ledger holds was written by strangers.

Names and values from files go to terminals only through :func:`printable`, so that they cannot move the
cursor, set titles, hide text, or reverse its direction.

Example:
    >>> printable("a\\x1b[31mb")
    'a\\\\x1b[31mb'
"""

from __future__ import annotations

import unicodedata

__all__ = ["cut", "display_width", "is_printable", "printable", "wrap"]

_ELLIPSIS = "…"


def is_printable(text: str, *, lines: bool = False) -> bool:
    """Whether every character shows as itself; with ``lines``, line feeds and tabs are fine too.

    Controls, format characters (which include changes of direction), surrogates, private and unassigned
    code points, and spaces other than the plain one are not printable.
    """
    if text.isprintable():
        return True
    return lines and all(part.isprintable() for line in text.split("\n") for part in line.split("\t"))


def printable(text: str, *, lines: bool = False) -> str:
    r"""``text`` with every other character escaped as ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``.

    Args:
        lines: leave line feeds, turn tabs into four spaces.
    """
    if text.isprintable():
        return text
    if lines:
        return "\n".join(printable(line.replace("\t", "    ")) for line in text.split("\n"))
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def display_width(text: str) -> int:
    """Columns that printable text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, width: int) -> str:
    """Printable text cut to ``width`` columns, with an ellipsis where something is missing."""
    if display_width(text) <= width:
        return text
    kept: list[str] = []
    room = width - 1
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + _ELLIPSIS


def wrap(line: str, width: int) -> list[str]:
    """One line of printable text in pieces of at most ``width`` columns, cut wherever they are full."""
    if line.isascii():
        return [line[start : start + width] for start in range(0, len(line), width)] or [""]
    pieces: list[str] = []
    piece: list[str] = []
    used = 0
    for character in line:
        columns = _columns(character)
        if used + columns > width:
            pieces.append("".join(piece))
            piece, used = [], 0
        piece.append(character)
        used += columns
    return [*pieces, "".join(piece)]
