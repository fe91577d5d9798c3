"""CCF's Merkle tree: see :mod:`tallystick.merkle.tree`."""

from __future__ import annotations

from tallystick.merkle.tree import LEAF_BYTES, MerkleTree, Step, path_directions, root_of_path

__all__ = ["LEAF_BYTES", "MerkleTree", "Step", "path_directions", "root_of_path"]
