"""The ledger of a demonstration service: a :class:`LedgerWriter` that remembers what it wrote.

What it remembers is what a node would have at hand: the state of every table (for snapshots), the leaves
and signatures (for receipts). Nothing here knows governance; see :mod:`tallystick.demo.service`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tallystick._native import ChunkFile, Entry, MerkleTree
from tallystick.demo.identities import NodeIdentity, ServiceIdentity
from tallystick.demo.styles import Style
from tallystick.ledger.writer import (
    CLOSE_CHUNK,
    NEW_CHUNK,
    NO_CLAIMS,
    LedgerWriter,
    NodeSigner,
    ServiceSigner,
    SignatureMode,
    WrittenTransaction,
    json_bytes,
)
from tallystick.tables.names import SINGLETON_KEY, TREE
from tallystick.types import TxId

__all__ = [
    "CLOSE_CHUNK",
    "NEW_CHUNK",
    "NO_CLAIMS",
    "SINGLETON_KEY",
    "LedgerForge",
    "Signed",
    "TableState",
    "json_bytes",
]

Rows = Mapping[bytes, bytes | None]
Tables = Mapping[str, Rows]

# Chunks end where the story says so, never by size.
_NO_SIZE_LIMIT = 2**62


@dataclass(frozen=True)
class Signed:
    """A signature transaction, and who signed: what receipts of earlier transactions are made from."""

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
    """Appends transactions to a ledger directory and remembers them.

    Args:
        directory: where chunks go; made if it is not there.
        style: what the service writes.
        service, node: who signs.
        secret: ledger secret, 32 bytes.
        clock: gives Unix seconds.
    """

    def __init__(
        self,
        directory: Path,
        style: Style,
        service: ServiceIdentity,
        node: NodeIdentity,
        secret: bytes,
        clock: Callable[[], int],
    ) -> None:
        self.directory = directory
        self.style = style
        self.clock = clock
        self.service = service
        self.node = node
        self.writer = LedgerWriter(
            directory, secret, entry_type=style.entry_type, chunk_bytes=_NO_SIZE_LIMIT, clock=self.clock
        )
        self.history = MerkleTree()
        self.written: dict[int, WrittenTransaction] = {}
        self.signed: list[Signed] = []
        self.state: dict[str, TableState] = {}
        self.view_starts: dict[int, int] = {}
        self.last_signed = TxId(0, 0)
        self.last_signed_root = b""

    @property
    def seqno(self) -> int:
        """Seqno of the last transaction."""
        return self.writer.seqno

    @property
    def view(self) -> int:
        """View of the transactions to come."""
        return self.writer.view

    @view.setter
    def view(self, view: int) -> None:
        self.writer.view = view

    def append(self, tables: Tables, *, claims: bytes = NO_CLAIMS, flags: int = 0) -> WrittenTransaction:
        """Writes one transaction; tables not named ``public:…`` go to the private domain."""
        self.writer.entry_type = self.style.entry_type
        # Only 1.x filled in a conflict version; readers ignore it.
        conflict = self.seqno if self.style.entry_type == 0 else 0
        written = self.writer.append(tables, claims_digest=claims, flags=flags, max_conflict_version=conflict)
        self._remember(written, tables)
        return written

    def append_entry(self, entry: bytes) -> WrittenTransaction:
        """Writes an entry that was put together elsewhere, as the next transaction."""
        written = self.writer.append_entry(entry)
        parsed = Entry.parse(entry)
        self._remember(written, parsed.tables())
        return written

    def _remember(self, written: WrittenTransaction, tables: Tables) -> None:
        self.written[written.txid.seqno] = written
        self._take_in(written.txid, written.leaf, tables)

    def _take_in(self, txid: TxId, leaf: bytes, tables: Tables) -> None:
        self.history.append(leaf)
        self.view_starts.setdefault(txid.view, txid.seqno)
        for name, rows in tables.items():
            # A table that is only ever removed from is known with version 0.
            table = self.state.setdefault(name, TableState(0, {}))
            for key, value in rows.items():
                if value is not None:
                    table.rows[key] = (txid.seqno, value)
                    table.version = txid.seqno
                elif table.rows.pop(key, None) is not None:
                    table.version = txid.seqno

    def value(self, table: str, key: bytes = SINGLETON_KEY) -> bytes | None:
        """The current value under ``key``."""
        state = self.state.get(table)
        row = state.rows.get(key) if state is not None else None
        return row[1] if row is not None else None

    # ------------------------------------------------------------ signatures and chunks

    def sign(
        self,
        *,
        close_chunk: bool = False,
        mode: SignatureMode | str | None = None,
        node: NodeIdentity | None = None,
    ) -> Signed:
        """Writes a signature transaction over everything before it.

        Args:
            close_chunk: complete the chunk with it.
            mode: which signatures to write, if not those of the style.
            node: who signs, if not the primary.
        """
        node = node or self.node
        certificate = node.certificate if self.style.certificate_in_signature else None
        self.writer.node = NodeSigner(node.id, certificate, node.key.sign_root)
        key = self.service.key
        self.writer.service = ServiceSigner(key.fingerprint, key.cose_algorithm, key.sign_cose)
        self.writer.entry_type = self.style.entry_type
        committed = None if self.style.certificate_in_signature else self.last_signed
        made = self.writer.sign(
            close_chunk=close_chunk, mode=self.style.mode if mode is None else mode, committed_txid=committed
        )
        self._remember(made.transaction, Entry.parse(made.transaction.entry).tables())
        signed = Signed(made.txid, made.root, node, self.service, made.node_signature, made.cose_signature)
        self.last_signed, self.last_signed_root = made.txid, made.root
        self.signed.append(signed)
        return signed

    def complete_chunk(self, *, committed: bool = True) -> Path:
        """Completes the chunk in hand: table, header, name."""
        return self.writer.complete_chunk(committed=committed)

    def leave_chunk_open(self) -> None:
        """Closes the file of the chunk in hand without completing it, as a stopped node leaves it."""
        self.writer.close()

    # ------------------------------------------------------------ taking over

    def replay(self, paths: list[Path]) -> None:
        """Takes in an existing ledger's chunks, in ledger order, so as to go on from its last signature.

        What follows the last signature is left behind, as a recovery does.
        """
        pending: list[Entry] = []
        for path in paths:
            for entry in ChunkFile.open(str(path)).entries():
                pending.append(entry)
                if TREE in entry.table_names():
                    self._replay(pending)
                    pending = []

    def _replay(self, entries: list[Entry]) -> None:
        for entry in entries:
            txid = TxId(entry.view, entry.seqno)
            if TREE in entry.table_names():
                self.last_signed, self.last_signed_root = txid, self.writer.tree.root()
                self.writer.tree.flush(entry.seqno)
            self.writer.tree.append(entry.leaf)
            self.view = entry.view
            self._take_in(txid, entry.leaf, entry.tables())
