"""The shape of Merkle paths: which side siblings stand on is fixed by the leaf's index and the tree's size.

CCF's tree has no domain separation and its proofs carry no index, so a path of another shape than the
transaction's seqno demands must be refused, even if it leads to a signed root.
"""

from __future__ import annotations

from collections.abc import Sequence

from tallystick._native import merkle_path_directions

__all__ = ["fits_some_size", "shape_problem"]


def fits_some_size(index: int, lefts: Sequence[bool]) -> bool:
    """Whether leaf ``index`` has a path with these directions (True: sibling on the left) in a tree of some size.

    At each level the sibling is on the left when that bit of the index is set. Where it is not set, there is a
    sibling on the right only while the tree reaches that far, and the levels where it does come first. So the
    number of right siblings fixes the whole path.
    """
    rights = sum(1 for left in lefts if not left)
    expected = []
    while index or rights:
        if index & 1:
            expected.append(True)
        elif rights:
            expected.append(False)
            rights -= 1
        index >>= 1
    return list(lefts) == expected


def shape_problem(index: int, size: int | None, lefts: Sequence[bool]) -> str | None:
    """What is wrong with the shape of a path, or None.

    Args:
        index: seqno of the transaction.
        size: number of leaves in the tree, which is the seqno of the signature transaction; None if unknown.
        lefts: directions from the leaf up, True: the sibling is on the left.
    """
    if index < 1:
        return f"path of transaction {index}: expected a seqno from 1"
    if size is None:
        if lefts and fits_some_size(index, lefts):
            return None
        return f"path of {_text(lefts)} fits leaf {index} in no tree of any size"
    if index >= size:
        return f"leaf {index} is not under a signature at seqno {size}, which covers the leaves before it"
    expected = merkle_path_directions(index, size)
    if list(lefts) == expected:
        return None
    return f"path of leaf {index} in a tree of {size}: expected {_text(expected)}, got {_text(lefts)}"


def _text(lefts: Sequence[bool]) -> str:
    return "".join("L" if left else "R" for left in lefts) or "nothing"
