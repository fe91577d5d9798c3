"""CCF's Merkle tree over transactions.

SHA-256 of left ‖ right, an odd last node is promoted unchanged. Leaf 0 is 32 zero bytes and leaf i is that
of the transaction with seqno i, so a tree of size n covers seqnos 1 to n-1. The root that a signature
transaction with seqno n signs is that of the tree of size n: everything before itself.

Example:
    >>> tree = MerkleTree()
    >>> tree.append(bytes(31) + b"a")
    >>> tree.size
    2
    >>> root_of_path(tree.leaf(1), tree.path(1)) == tree.root()
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tallystick import _native

__all__ = ["LEAF_BYTES", "MerkleTree", "Step", "path_directions", "root_of_path"]

LEAF_BYTES = 32

Step = tuple[bool, bytes]
"""One step of an inclusion path: whether the sibling is on the left, and the sibling."""


class MerkleTree:
    """The tree of a ledger, from its start or from the compact form that signature transactions carry.

    Leaves can be forgotten (:meth:`flush`); what was forgotten has no paths any more, roots stay exact.
    """

    __slots__ = ("_native",)

    def __init__(self) -> None:
        self._native = _native.MerkleTree()

    @classmethod
    def from_leaves(cls, leaves: Iterable[bytes]) -> MerkleTree:
        """The tree over the transactions with these leaves, from seqno 1 on.

        Raises:
            ValueError: a leaf is not 32 bytes.
        """
        tree = cls()
        tree.extend(leaves)
        return tree

    @classmethod
    def from_compact(cls, value: bytes) -> MerkleTree:
        """Reads a value of ``public:ccf.internal.tree``.

        Raises:
            FormatError: it is not a compact tree.
        """
        tree = cls.__new__(cls)
        tree._native = _native.MerkleTree.from_compact(value)
        return tree

    def to_compact(self) -> bytes:
        """The value that CCF writes to ``public:ccf.internal.tree``."""
        return self._native.to_compact()

    def append(self, leaf: bytes) -> None:
        """Adds the leaf (32 bytes) of the next transaction.

        Raises:
            ValueError: it is not 32 bytes.
        """
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Adds leaves of 32 bytes each."""
        block = []
        for leaf in leaves:
            if len(leaf) != LEAF_BYTES:
                raise ValueError(f"leaf: expected {LEAF_BYTES} bytes, got {len(leaf)}")
            block.append(leaf)
        self._native.append_many(b"".join(block))

    @property
    def size(self) -> int:
        """Number of leaves, the zero leaf included: the seqno of the next transaction."""
        return self._native.size

    @property
    def first_kept(self) -> int:
        """Index of the first leaf that is still there."""
        return self._native.first_kept

    def leaf(self, index: int) -> bytes:
        """Leaf of the transaction with seqno ``index``; 32 bytes.

        Raises:
            IndexError: there is no such leaf, or it was forgotten.
        """
        if not self.first_kept <= index < self.size:
            raise IndexError(f"leaf {index}: the tree holds leaves {self.first_kept} to {self.size - 1}")
        return self._native.leaf(index)

    def root(self, size: int | None = None) -> bytes:
        """Root over the first ``size`` leaves (all by default); 32 bytes.

        Raises:
            IndexError: there are fewer leaves, or those at the edge were forgotten.
        """
        if size is None:
            return self._native.root()
        self._check_size(size)
        return self._native.root_at(size)

    def path(self, index: int, size: int | None = None) -> list[Step]:
        """Inclusion path of leaf ``index`` in the tree of ``size`` leaves (all by default), from the leaf up.

        Raises:
            IndexError: there is no such leaf in a tree of that size, or it was forgotten.
        """
        size = self.size if size is None else size
        self._check_size(size)
        if not self.first_kept <= index < size:
            raise IndexError(f"leaf {index}: a tree of size {size} kept from {self.first_kept} has no such leaf")
        return self._native.path(index, size)

    def flush(self, first_kept: int) -> None:
        """Forgets leaves before ``first_kept``."""
        self._native.flush(first_kept)

    def _check_size(self, size: int) -> None:
        if not self.first_kept < size <= self.size:
            raise IndexError(f"size {size}: expected {self.first_kept + 1} to {self.size}")


def root_of_path(leaf: bytes, path: Sequence[Step]) -> bytes:
    """The root that ``path`` leads to from ``leaf``."""
    return _native.merkle_root_of_path(leaf, path)


def path_directions(index: int, size: int) -> list[bool]:
    """Which side the siblings of leaf ``index`` stand on in a tree of ``size`` leaves (True: left)."""
    return _native.merkle_path_directions(index, size)
