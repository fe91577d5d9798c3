"""The shape of paths, against the slow twin and the real ones on record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.slow_receipt import directions
from tallystick.receipt.paths import fits_some_size, shape_problem

REAL = [
    (62, 63, "LLLLL"),
    (100, 101, "LLL"),
    (139, 140, "LLLL"),
    (494, 497, "RLLLRLLLL"),
    (494, 503, "RLLLRLLLL"),
    (12440, 12441, "LLLLL"),
    (3, 7, "LLR"),
    (1007, 1009, "LLLLRLLLLL"),
    (26, 28, "RLLL"),
    (938, 941, "RLRLLLLL"),
    (1027, 1029, "LLRL"),
    (1364, 1367, "RRLLLLL"),
]


@pytest.mark.parametrize(("index", "size", "text"), REAL)
def test_paths_of_real_receipts(index: int, size: int, text: str) -> None:
    lefts = [letter == "L" for letter in text]
    assert directions(index, size) == lefts
    assert shape_problem(index, size, lefts) is None
    assert shape_problem(index, None, lefts) is None
    turned = [not lefts[0], *lefts[1:]]
    assert shape_problem(index, size, turned) is not None
    assert shape_problem(index, size, lefts[:-1]) is not None
    assert shape_problem(index, size, [*lefts, True]) is not None


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_every_path_of_every_tree_fits(index: int, more: int) -> None:
    lefts = directions(index, index + more)
    assert shape_problem(index, index + more, lefts) is None
    assert fits_some_size(index, lefts)


@given(st.integers(1, 300), st.lists(st.booleans(), max_size=12))
def test_fitting_some_size_means_that_there_is_one(index: int, lefts: list[bool]) -> None:
    # 12 steps reach no further than a tree of 2^12 leaves.
    sizes = (index + 1 + more for more in range(4096))
    assert fits_some_size(index, lefts) == any(directions(index, size) == lefts for size in sizes)


def test_a_leaf_is_under_later_signatures_only() -> None:
    assert "not under a signature" in (shape_problem(5, 5, [True]) or "")
    assert "from 1" in (shape_problem(0, 5, [False]) or "")
