"""Writes a ledger in CCF's format, transaction by transaction: entries, the Merkle tree, signatures, chunks.

Nothing here knows governance; see :mod:`tallystick.demo.service` for the life of a service.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tallystick._native import (
    ChunkFile,
    ChunkWriter,
    Entry,
    MerkleTree,
    commit_evidence,
    encode_private_domain,
    encode_public_domain,
    seal_entry,
)
from tallystick.demo.cose_messages import sign_root
from tallystick.demo.identities import NodeIdentity, ServiceIdentity
from tallystick.demo.styles import Style
from tallystick.types import TxId

__all__ = ["NO_CLAIMS", "SINGLETON", "LedgerForge", "Written", "json_bytes"]

Rows = Mapping[bytes, bytes | None]
Tables = Mapping[str, Rows]

NO_CLAIMS = bytes(32)
# The key of a table that holds one value: u64 0.
SINGLETON = bytes(8)
# Entry flags: close the chunk after this transaction, start a new chunk before it.
CLOSE_CHUNK, NEW_CHUNK = 1, 2

_SIGNATURES = "public:ccf.internal.signatures"
_COSE_SIGNATURES = "public:ccf.internal.cose_signatures"
_TREE = "public:ccf.internal.tree"


def json_bytes(value: object) -> bytes:
    """JSON as CCF's C++ writes it: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Written:
    """A transaction that was written.

    Attributes:
        entry: its bytes in the chunk, header included.
        evidence: commit evidence text; empty where the style has none.
    """

    txid: TxId
    entry: bytes
    leaf: bytes
    claims: bytes
    evidence: str


@dataclass(frozen=True)
class Signed:
    """A signature transaction: what receipts of earlier transactions are made from."""

    txid: TxId
    root: bytes
    node: NodeIdentity
    service: ServiceIdentity
    raw: bytes | None
    cose: bytes | None


@dataclass
class TableState:
    """Rows of a table with the seqno that last wrote each, and the table's version as snapshots give it."""

    version: int
    rows: dict[bytes, tuple[int, bytes]]


class LedgerForge:
    """Appends transactions to a ledger directory.

    Args:
        directory: where chunks go; made if it is not there.
        style: what the service writes.
        clock: gives Unix seconds; for signatures and requests.
        keep: remember every transaction and leaf, so that receipts can be made; off for large ledgers.
    """

    def __init__(
        self, directory: Path, style: Style, *, clock: Callable[[], int] | None = None, keep: bool = True
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.style = style
        self.clock = clock or (lambda: int(time.time()))
        self.keep = keep
        self.view = 2
        self.seqno = 0
        self.tree = MerkleTree()
        self.history = MerkleTree()
        self.written: dict[int, Written] = {}
        self.signed: list[Signed] = []
        self.state: dict[str, TableState] = {}
        self.view_starts: dict[int, int] = {}
        self.last_signed_root = b""
        self.last_signed = TxId(0, 0)
        self.issuer, self.subject = "service.example.com", "ledger.signature"
        self.service: ServiceIdentity
        self.node: NodeIdentity
        self.secret: bytes
        self._chunk: ChunkWriter | None = None

    # ------------------------------------------------------------ transactions

    def append(self, tables: Tables, *, claims: bytes = NO_CLAIMS, flags: int = 0) -> Written:
        """Writes one transaction; tables not named ``public:…`` go to the private domain."""
        seqno, view = self.seqno + 1, self.view
        evidence = commit_evidence(self.secret, view, seqno) if self.style.has_evidence else ""
        public = {name: dict(rows) for name, rows in tables.items() if name.startswith("public:")}
        private = {name: dict(rows) for name, rows in tables.items() if not name.startswith("public:")}
        domain = encode_public_domain(
            seqno,
            public,
            entry_type=self.style.entry_type,
            claims_digest=claims,
            commit_evidence_digest=hashlib.sha256(evidence.encode()).digest(),
            # Only 1.x filled this in; readers ignore it.
            max_conflict_version=seqno - 1 if self.style.entry_type == 0 else 0,
        )
        plaintext = encode_private_domain(private) if private else b""
        entry = seal_entry(view, seqno, domain, plaintext, self.secret, flags=flags)
        return self.append_entry(entry, tables, claims=claims, evidence=evidence)

    def append_entry(
        self, entry: bytes, tables: Tables, *, claims: bytes = NO_CLAIMS, evidence: str = ""
    ) -> Written:
        """Writes an entry that was put together by the caller, as the next transaction."""
        parsed = Entry.parse(entry)
        if parsed.flags & NEW_CHUNK and self._chunk is not None:
            self.complete_chunk()
        self.seqno += 1
        self.view_starts.setdefault(self.view, self.seqno)
        self._remember(tables)
        self.tree.append(parsed.leaf)
        written = Written(TxId(self.view, self.seqno), entry, parsed.leaf, claims, evidence)
        if self.keep:
            self.history.append(parsed.leaf)
            self.written[self.seqno] = written
        if self._chunk is None:
            self._chunk = ChunkWriter(str(self.directory), self.seqno)
        self._chunk.append(entry)
        return written

    def _remember(self, tables: Tables) -> None:
        for name, rows in tables.items():
            table = self.state.get(name)
            if table is None:
                # A table that is only ever removed from is known with version 0.
                table = self.state[name] = TableState(0, {})
            for key, value in rows.items():
                if value is not None:
                    table.rows[key] = (self.seqno, value)
                    table.version = self.seqno
                elif table.rows.pop(key, None) is not None:
                    table.version = self.seqno

    def value(self, table: str, key: bytes = SINGLETON) -> bytes | None:
        """The current value under ``key``."""
        state = self.state.get(table)
        row = state.rows.get(key) if state is not None else None
        return row[1] if row is not None else None

    # ------------------------------------------------------------ signatures

    def sign(
        self,
        *,
        close_chunk: bool = False,
        raw: bool | None = None,
        cose: bool | None = None,
        node: NodeIdentity | None = None,
        extra: Tables | None = None,
    ) -> Signed:
        """Writes a signature transaction over everything before it.

        Args:
            close_chunk: complete the chunk with it.
            raw, cose: which signatures to write; default: what the style has.
            node: who signs, if not the primary.
            extra: further tables (which no node writes; for tests).
        """
        node = node or self.node
        txid = TxId(self.view, self.seqno + 1)
        root = self.tree.root()
        tables: dict[str, Rows] = {_TREE: {SINGLETON: self.tree.to_compact()}}
        signature = message = None
        if self.style.raw_signature if raw is None else raw:
            signature = node.key.sign_root(root)
            tables[_SIGNATURES] = {SINGLETON: self._raw_value(txid, root, node, signature)}
        if self.style.cose_signature if cose is None else cose:
            message = sign_root(
                self.service.key,
                root,
                str(txid),
                issued_at=self.clock(),
                issuer=self.issuer,
                subject=self.subject,
            )
            tables[_COSE_SIGNATURES] = {SINGLETON: json_bytes(base64.b64encode(message).decode())}
        tables.update(extra or {})
        self.append(tables, flags=CLOSE_CHUNK if close_chunk else 0)
        self.tree.flush(txid.seqno)
        self.last_signed, self.last_signed_root = txid, root
        signed = Signed(txid, root, node, self.service, signature, message)
        if self.keep:
            self.signed.append(signed)
        if close_chunk:
            self.complete_chunk()
        return signed

    def _raw_value(self, txid: TxId, root: bytes, node: NodeIdentity, signature: bytes) -> bytes:
        value: dict[str, object] = {
            "commit_seqno": 0,
            "commit_view": 0,
            "hashed_nonce": "0" * 64,
            "node": node.id,
            "root": root.hex(),
            "seqno": txid.seqno,
            "sig": base64.b64encode(signature).decode(),
            "view": txid.view,
        }
        if self.style.certificate_in_signature:
            value["cert"] = node.certificate
        else:
            value["commit_seqno"], value["commit_view"] = self.last_signed.seqno, self.last_signed.view
        return json_bytes(value)

    # ------------------------------------------------------------ chunks

    def complete_chunk(self, *, committed: bool = True) -> Path:
        """Completes the chunk in hand: table, header, name."""
        if self._chunk is None:
            raise RuntimeError("there is no open chunk to complete")
        path = Path(self._chunk.complete(committed=committed))
        self._chunk = None
        return path

    def leave_chunk_open(self) -> None:
        """Closes the file of the chunk in hand without completing it, as a stopped node leaves it."""
        if self._chunk is not None:
            self._chunk.close()
            self._chunk = None

    # ------------------------------------------------------------ taking over

    def replay(self, paths: list[Path]) -> None:
        """Takes in an existing ledger's chunks, in ledger order, so as to go on from its last signature.

        What follows the last signature is left behind, as a recovery does.
        """
        pending: list[Entry] = []
        for path in paths:
            for entry in ChunkFile.open(str(path)).entries():
                pending.append(entry)
                if _TREE in entry.table_names():
                    self._take_in(pending)
                    pending = []

    def _take_in(self, entries: list[Entry]) -> None:
        for entry in entries:
            if _TREE in entry.table_names():
                self.last_signed = TxId(entry.view, entry.seqno)
                self.last_signed_root = self.tree.root()
                self.tree.flush(entry.seqno)
            self.seqno, self.view = entry.seqno, entry.view
            self.view_starts.setdefault(self.view, self.seqno)
            self._remember(entry.tables())
            self.tree.append(entry.leaf)
            if self.keep:
                self.history.append(entry.leaf)
