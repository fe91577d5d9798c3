"""Text for terminals: nothing that a ledger holds may steer the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.printable import cut, display_width, is_printable, printable, wrap


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 中", "plain é 中"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b2J", "\\x9b2J"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\u2028", "\\u2028"),
        ("", ""),
    ],
)
def test_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_keep_line_feeds_and_widen_tabs() -> None:
    assert printable("a\n\tb\x07", lines=True) == "a\n    b\\x07"


@given(st.text())
def test_result_is_always_printable(text: str) -> None:
    assert printable(text).isprintable()
    assert is_printable(printable(text, lines=True), lines=True)


@given(st.text(), st.integers(min_value=2, max_value=90))
def test_cut_and_wrap_fit(text: str, width: int) -> None:
    shown = printable(text)
    assert display_width(cut(shown, width)) <= width
    pieces = wrap(shown, width)
    assert "".join(pieces) == shown
    assert all(display_width(piece) <= width for piece in pieces)


def test_cut_says_that_something_is_missing() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("abcd", 4) == "abcd"
    assert cut("中中中", 4) == "中…"
