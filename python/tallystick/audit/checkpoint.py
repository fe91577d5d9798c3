"""Checkpoints: what a later run needs to go on from the last proven signature.

A checkpoint holds the Merkle frontier, the trusted state, and the leaf of the signature transaction where it
stands (its head). A later run first looks whether the ledger still holds that transaction, unchanged: since
the tree in the frontier covers all before it, the ledger then only grew. What stands before is not read again.

The file is written last, to a temporary name in the same directory, and renamed into place.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tallystick._native import MerkleTree
from tallystick.audit.state import TrustedState
from tallystick.errors import FormatError, UsageError, VerificationError
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.types import TxId

__all__ = ["Checkpoint", "anchor_fingerprint", "write_atomically"]

SCHEMA = "tallystick.checkpoint/1"

# The state of a service with thousands of nodes and members stays far below this.
_MAX_CHECKPOINT_BYTES = 256 << 20


@dataclass(frozen=True)
class Checkpoint:
    """Where a run ended.

    Attributes:
        head: the last proven signature transaction.
        leaf: its leaf.
        tree: the tree after it, in compact form.
        state: the trusted state after it.
        anchor: what the run trusted (:func:`anchor_fingerprint`).
        first_seqno: first transaction that was ever read.
        files, transactions, signatures: counts up to the head.
    """

    head: TxId
    leaf: bytes
    tree: bytes
    state: TrustedState
    anchor: str
    first_seqno: int
    files: int
    transactions: int
    signatures: int

    @classmethod
    def read(cls, path: str | os.PathLike[str], anchor: TrustAnchor) -> Checkpoint | None:
        """Reads a checkpoint; None when there is no such file yet.

        Raises:
            FormatError: the file is not a checkpoint.
            VerificationError: it was made under another anchor.
            UsageError: it cannot be read.
        """
        file = Path(path)
        if not file.exists():
            return None
        try:
            if file.stat().st_size > _MAX_CHECKPOINT_BYTES:
                raise _malformed(path, "it is too large")
            value = json.loads(file.read_bytes())
        except OSError as error:
            raise UsageError(f"checkpoint cannot be read: {error.strerror}", file=os.fspath(path)) from error
        except (ValueError, RecursionError) as error:
            raise _malformed(path, "it is not JSON") from error
        checkpoint = cls._decode(value, path)
        if checkpoint.anchor != anchor_fingerprint(anchor):
            raise VerificationError(
                f"checkpoint was made under another trust anchor: expected {anchor_fingerprint(anchor)}, "
                f"got {checkpoint.anchor}",
                code="checkpoint-anchor",
                file=os.fspath(path),
                hint="use the anchor it was made with, or remove the file to verify from the start",
            )
        return checkpoint

    @classmethod
    def _decode(cls, value: object, path: str | os.PathLike[str]) -> Checkpoint:
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise _malformed(path, f"expected schema {SCHEMA}")
        try:
            leaf = bytes.fromhex(value["leaf"])
            tree = base64.b64decode(value["tree"], validate=True)
            head = TxId.parse(value["head"])
            counts = value["counts"]
            numbers = [int(counts[name]) for name in ("files", "transactions", "signatures")]
            first, anchor = int(value["first_seqno"]), str(value["anchor"])
        except (KeyError, TypeError, ValueError, binascii.Error, FormatError) as error:
            raise _malformed(path, "a field is missing or malformed") from error
        if MerkleTree.from_compact(tree).size != head.seqno + 1 or len(leaf) != 32:
            raise _malformed(path, "its tree does not end at its head")
        state = TrustedState.from_json(value.get("state"))
        return cls(head, leaf, tree, state, anchor, first, *numbers)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the file, all or nothing."""
        value = {
            "schema": SCHEMA,
            "head": str(self.head),
            "leaf": self.leaf.hex(),
            "tree": base64.b64encode(self.tree).decode(),
            "anchor": self.anchor,
            "first_seqno": self.first_seqno,
            "counts": {"files": self.files, "transactions": self.transactions, "signatures": self.signatures},
            "state": self.state.to_json(),
        }
        write_atomically(path, json.dumps(value, indent=1) + "\n")


def anchor_fingerprint(anchor: TrustAnchor) -> str:
    """What an anchor trusts, as one text; how it was given does not matter."""
    if anchor.trust_genesis:
        return "genesis"
    return ",".join(sorted(anchor.fingerprints)) or "none"


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Writes ``text`` so that readers see the old file or the whole new one, also after a crash.

    Links are followed. What is there and is no regular file (a pipe, a terminal, ``/dev/null``) is written to and never
    replaced.

    Raises:
        OSError: it cannot be written; names ``path``.
    """
    place = Path(path)
    try:
        if place.exists() and not place.is_file():
            place.write_text(text, encoding="utf-8")
        else:
            _replace(place.resolve(), text)
    except OSError as error:
        raise OSError(error.errno or 0, error.strerror or str(error), os.fspath(path)) from error


def _replace(target: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _malformed(path: str | os.PathLike[str], problem: str) -> FormatError:
    return FormatError(
        f"checkpoint is malformed: {problem}",
        code="checkpoint-malformed",
        file=os.fspath(path),
        hint="remove the file to verify from the start",
    )
