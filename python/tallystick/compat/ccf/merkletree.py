"""``ccf.merkletree``: a Merkle tree that starts empty.

:class:`tallystick.MerkleTree` starts with CCF's zero leaf, so that leaf *i* is transaction *i*; it gives paths, too.
"""

from __future__ import annotations

import hashlib
import struct

from tallystick import _native
from tallystick.compat.ccf._errors import as_value_error

__all__ = ["MerkleTree"]

_LEAF_BYTES = 32
_HEAD = struct.Struct(">QQ")


class MerkleTree:
    """Leaves in order, and the root over them."""

    def __init__(self) -> None:
        self._tree: _native.MerkleTree | None = None

    def reset_tree(self) -> None:
        """Forgets everything."""
        self._tree = None

    def add_leaf(self, values: bytes, do_hash: bool = True) -> None:
        """Adds the SHA-256 of ``values``, or ``values`` itself without ``do_hash``.

        Raises:
            ValueError: a leaf that is not hashed is not 32 bytes.
        """
        leaf = hashlib.sha256(values).digest() if do_hash else bytes(values)
        if len(leaf) != _LEAF_BYTES:
            raise ValueError(f"leaf: expected {_LEAF_BYTES} bytes, got {len(leaf)}")
        if self._tree is None:
            # The engine's tree starts with a leaf; the compact form says which.
            self._tree = _native.MerkleTree.from_compact(_HEAD.pack(1, 0) + leaf)
        else:
            self._tree.append(leaf)

    @property
    def leaves(self) -> list[bytes]:
        """The leaves that are kept."""
        tree = self._tree
        return [] if tree is None else [tree.leaf(index) for index in range(tree.first_kept, tree.size)]

    def get_leaf(self, index: int) -> bytes:
        """One of the leaves that are kept, counted from the first of them.

        Raises:
            IndexError: there is no such leaf.
        """
        count = self.get_leaf_count()
        position = index + count if index < 0 else index
        if self._tree is None or not 0 <= position < count:
            raise IndexError(f"leaf {index}: the tree keeps {count} leaves")
        return self._tree.leaf(self._tree.first_kept + position)

    def get_leaf_count(self) -> int:
        """How many leaves are kept."""
        return 0 if self._tree is None else self._tree.size - self._tree.first_kept

    def get_merkle_root(self) -> bytes:
        """The root; 32 bytes.

        Raises:
            ValueError: the tree has no leaf.
        """
        if self._tree is None:
            raise ValueError("Empty tree: there is no root")
        return self._tree.root()

    def deserialise(self, buffer: bytes, position: int = 0) -> int:
        """Reads the compact form that signature transactions carry, from ``position`` on.

        Returns:
            The position after it.

        Raises:
            ValueError: it is not there.
        """
        head = buffer[position : position + _HEAD.size]
        if len(head) < _HEAD.size:
            raise ValueError(f"compact tree: expected {_HEAD.size} bytes, got {len(head)}")
        kept, flushed = (int(number) for number in _HEAD.unpack(head))
        end = position + _HEAD.size + _LEAF_BYTES * (kept + flushed.bit_count())
        if end > len(buffer):
            raise ValueError(f"compact tree: expected {end - position} bytes, got {len(buffer) - position}")
        if kept == 0:
            if flushed:
                raise ValueError("compact tree with no retained leaves")
            self._tree = None
            return end
        with as_value_error():
            self._tree = _native.MerkleTree.from_compact(bytes(buffer[position:end]))
        return end
