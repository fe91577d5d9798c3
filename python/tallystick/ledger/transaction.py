"""One transaction, as it stands in a ledger file."""

from __future__ import annotations

from tallystick import _native
from tallystick.tables.names import COSE_SIGNATURES, SIGNATURES
from tallystick.types import TxId

__all__ = ["Transaction"]


class Transaction:
    """A transaction that was read from a chunk file, or parsed from bytes.

    It is well-formed; nothing about it is verified. What is proven, and under which service identity, is
    what :func:`tallystick.verify_ledger` answers.

    Attributes:
        file: path of the chunk file it was read from; None when parsed from bytes.
    """

    __slots__ = ("_entry", "file")

    def __init__(self, entry: _native.Entry, file: str | None = None) -> None:
        self._entry = entry
        self.file = file

    @classmethod
    def parse(cls, data: bytes) -> Transaction:
        """Parses the bytes of exactly one transaction, its 8-byte header included.

        Raises:
            FormatError: the bytes are anything else.
        """
        return cls(_native.Entry.parse(data))

    # ---------------------------------------------------------------------------------------- position

    @property
    def txid(self) -> TxId:
        """Transaction ID; prints as ``view.seqno``."""
        return TxId(self._entry.view, self._entry.seqno)

    @property
    def view(self) -> int:
        """View in which it was executed."""
        return self._entry.view

    @property
    def seqno(self) -> int:
        """Position in the ledger, from 1."""
        return self._entry.seqno

    @property
    def offset(self) -> int:
        """Bytes from the start of its file; 0 when parsed from bytes."""
        return self._entry.offset

    @property
    def size(self) -> int:
        """Bytes in its file, header included."""
        return self._entry.size

    # ----------------------------------------------------------------------------------------- content

    @property
    def tables(self) -> dict[str, dict[bytes, bytes | None]]:
        """Public writes by table and key, in ledger order; None marks a remove."""
        return self._entry.tables()

    def table(self, name: str) -> dict[bytes, bytes | None] | None:
        """Writes to one public table, or None if it does not touch it."""
        return self._entry.table(name)

    @property
    def table_names(self) -> list[str]:
        """Public tables that it touches, ascending."""
        return self._entry.table_names()

    @property
    def is_signature(self) -> bool:
        """Whether it carries a signature over the Merkle root, by the node or the service."""
        names = self._entry.table_names()
        return SIGNATURES in names or COSE_SIGNATURES in names

    @property
    def private_size(self) -> int:
        """Bytes of encrypted writes, 0 when there are none."""
        return len(self._entry.private_domain)

    @property
    def private_domain(self) -> bytes:
        """The encrypted writes (AES-256-GCM under the ledger secret)."""
        return self._entry.private_domain

    @property
    def public_domain(self) -> bytes:
        """The public part as serialised; also what the encryption authenticates."""
        return self._entry.public_domain

    @property
    def raw(self) -> bytes:
        """The whole transaction as in the file, header included."""
        return self._entry.raw

    # ----------------------------------------------------------------------------------------- digests

    @property
    def write_set_digest(self) -> bytes:
        """SHA-256 of :attr:`raw`; 32 bytes."""
        return self._entry.write_set_digest

    @property
    def commit_evidence_digest(self) -> bytes | None:
        """SHA-256 of the commit evidence text; 32 bytes, None in 1.x."""
        return self._entry.commit_evidence_digest

    @property
    def claims_digest(self) -> bytes | None:
        """Digest that the application attached; 32 bytes, zeros for none; None before 2.0."""
        return self._entry.claims_digest

    @property
    def leaf(self) -> bytes:
        """Its leaf in the Merkle tree; 32 bytes."""
        return self._entry.leaf

    # -------------------------------------------------------------------------------------- raw fields

    @property
    def flags(self) -> int:
        """Header flags: 1 close the chunk after it, 2 start a new chunk before it."""
        return self._entry.flags

    @property
    def entry_type(self) -> int:
        """0 write set, 1 snapshot, 2 with claims, 3 with commit evidence, 4 with both."""
        return self._entry.entry_type

    @property
    def gcm_tag(self) -> bytes:
        """16 bytes."""
        return self._entry.gcm_tag

    @property
    def gcm_iv(self) -> bytes:
        """12 bytes: seqno and view."""
        return self._entry.gcm_iv

    @property
    def max_conflict_version(self) -> int:
        """Filled in by 1.x only."""
        return self._entry.max_conflict_version

    @property
    def entry(self) -> _native.Entry:
        """The parsed entry of the native module, for other parts of this package."""
        return self._entry

    def __eq__(self, other: object) -> bool:
        return self._entry.raw == other._entry.raw if isinstance(other, Transaction) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._entry.write_set_digest)

    def __repr__(self) -> str:
        where = f" of {self.file!r} at {self.offset}" if self.file is not None else ""
        return f"<Transaction {self.txid}{where}, {self.size} bytes>"
