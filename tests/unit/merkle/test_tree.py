"""The tree as callers see it: sizes, roots at any point, paths, the compact form, and misuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import Ledger, MerkleTree
from tallystick.errors import FormatError
from tallystick.merkle import path_directions, root_of_path

LEAVES = [bytes([i]) * 32 for i in range(1, 60)]


def test_the_tree_of_a_new_service() -> None:
    tree = MerkleTree()
    assert (tree.size, tree.first_kept, tree.root(), tree.leaf(0)) == (1, 0, bytes(32), bytes(32))
    assert tree.path(0) == []


@given(st.integers(1, 59), st.data())
def test_paths_lead_to_roots_at_every_size(count: int, data: st.DataObject) -> None:
    tree = MerkleTree.from_leaves(LEAVES)
    size = count + 1
    index = data.draw(st.integers(0, count))
    path = tree.path(index, size)
    assert root_of_path(tree.leaf(index), path) == tree.root(size) == MerkleTree.from_leaves(LEAVES[:count]).root()
    assert [left for left, _ in path] == path_directions(index, size)


@given(st.integers(0, 59), st.integers(0, 20))
def test_forgetting_leaves_keeps_roots_and_survives_the_compact_form(kept: int, more: int) -> None:
    whole, tree = MerkleTree.from_leaves(LEAVES), MerkleTree.from_leaves(LEAVES)
    tree.flush(kept)
    again = MerkleTree.from_compact(tree.to_compact())
    for each in (whole, tree, again):
        each.extend(LEAVES[:more])
    assert whole.root() == tree.root() == again.root()
    assert (again.size, again.first_kept) == (60 + more, kept)
    if kept < 60:
        assert again.path(59) == whole.path(59)


def test_compact_trees_of_real_ledgers_come_back_the_same(ccf_built: Path) -> None:
    compared = 0
    for transaction in Ledger(ccf_built / "js1" / "ledger", uncommitted=True):
        for value in (transaction.table("public:ccf.internal.tree") or {}).values():
            assert value is not None
            assert MerkleTree.from_compact(value).to_compact() == value
            compared += 1
    assert compared == 329


def test_misuse() -> None:
    tree = MerkleTree.from_leaves(LEAVES[:9])
    tree.flush(4)
    for index in (3, 10, -1):
        with pytest.raises(IndexError):
            tree.leaf(index)
        with pytest.raises(IndexError):
            tree.path(index)
    for size in (0, 4, 11):
        with pytest.raises(IndexError):
            tree.root(size)
    with pytest.raises(ValueError, match="expected 32 bytes, got 31"):
        tree.append(bytes(31))
    with pytest.raises(FormatError):
        MerkleTree.from_compact(bytes(15))
