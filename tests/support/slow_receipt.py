"""A slow, obvious Python twin of the core's receipts: leaf, path, root. It checks nothing that it need not."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

_SNAKE = re.compile(r"(?<!^)(?=[A-Z])")


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def fold(leaf: bytes, path: list[tuple[bool, bytes]]) -> bytes:
    """The root that a path leads to."""
    node = leaf
    for left, sibling in path:
        node = sha256(sibling + node if left else node + sibling)
    return node


def txid_of(evidence: str) -> str:
    return evidence.split(":")[1]


@dataclass
class SlowJsonReceipt:
    """A JSON receipt, taken apart."""

    document: dict[str, Any]

    @classmethod
    def parse(cls, data: bytes) -> SlowJsonReceipt:
        document = json.loads(data)
        return cls(_snake(document.get("receipt", document)))

    @property
    def path(self) -> list[tuple[bool, bytes]]:
        return [("left" in step, bytes.fromhex(next(iter(step.values())))) for step in self.document["proof"]]

    @property
    def components(self) -> dict[str, str] | None:
        return self.document.get("leaf_components")

    @property
    def claims_digest(self) -> bytes | None:
        text = (self.components or {}).get("claims_digest")
        return bytes.fromhex(text) if text is not None else None

    @property
    def txid(self) -> str | None:
        return txid_of(self.components["commit_evidence"]) if self.components else None

    def leaf(self, claims_digest: bytes | None = None) -> bytes:
        """The leaf; ``claims_digest`` where the receipt withholds it."""
        if self.components is None:
            return bytes.fromhex(self.document["leaf"])
        claims = self.claims_digest if self.claims_digest is not None else claims_digest
        evidence = sha256(self.components["commit_evidence"].encode())
        return sha256(bytes.fromhex(self.components["write_set_digest"]) + evidence + (claims or b""))

    def root(self, claims_digest: bytes | None = None) -> bytes:
        return fold(self.leaf(claims_digest), self.path)

    @property
    def signature(self) -> bytes:
        return base64.b64decode(self.document["signature"])


def _snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {_SNAKE.sub("_", key).lower(): _snake(item) for key, item in value.items()}
    return value


def directions(index: int, size: int) -> list[bool]:
    """Which side siblings stand on, by walking up the tree (True: left)."""
    found = []
    while size > 1:
        if index % 2:
            found.append(True)
        elif index + 1 < size:
            found.append(False)
        index, size = index // 2, (size + 1) // 2
    return found
