"""The official validator's interface over the auditor's parts."""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from tallystick import _native
from tallystick.compat.ccf._chunks import VerificationLevel
from tallystick.compat.ccf._entries import ENTRY_FORMAT_V1, MIN_ENTRY_SIZE, Transaction, TransactionHeader
from tallystick.compat.ccf._errors import as_value_error
from tallystick.compat.ccf.tx_id import TxID
from tallystick.tables import names

if TYPE_CHECKING:
    from tallystick.compat.ccf._validation import Validation

__all__ = [
    "ENDORSED_NODE_CERTIFICATES_TABLE_NAME",
    "NODES_TABLE_NAME",
    "SERVICE_INFO_TABLE_NAME",
    "SHA256_DIGEST_SIZE",
    "TREE_TABLE_NAME",
    "DeprecatedEntryError",
    "LedgerValidator",
    "NodeStatus",
    "digest",
]

TREE_TABLE_NAME = names.TREE
NODES_TABLE_NAME = names.NODES_INFO
ENDORSED_NODE_CERTIFICATES_TABLE_NAME = names.ENDORSED_CERTIFICATES
SERVICE_INFO_TABLE_NAME = names.SERVICE_INFO
SHA256_DIGEST_SIZE = 32

# Header flags that exist: close the chunk after, start one before.
_KNOWN_FLAGS = 0b11
_SIGNATURE_TABLES = frozenset(names.SIGNATURE_TABLES)
# The official package's limit, which is no format's.
_MAX_ENTRY_BYTES = 1 << 30


def digest(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


class NodeStatus(Enum):
    """Status of a node."""

    PENDING = "Pending"
    TRUSTED = "Trusted"
    RETIRED = "Retired"


class DeprecatedEntryError(ValueError, AssertionError):
    """An entry of a type that current versions no longer write, where those are not accepted.

    The official package raises ``AssertionError``.
    """


class _HasBytes(Protocol):
    def get_raw_tx(self) -> bytes: ...


class LedgerValidator:
    """Verifies a ledger, transaction by transaction.

    At ``FULL``: framing, order, views, domains, every signed root, who signed and whether that node counted then, every
    signature, and the steps of nodes and service. At ``MERKLE``: the same without signers and signatures, from the tree
    that the first signature carries if the start is missing. Below: the header of each transaction.

    Args:
        accept_deprecated_entry_types: entries that current versions no longer write are fine.
        verification_level: how much to check.

    Attributes:
        signature_count, transaction_count: so far.
        last_verified_view, last_verified_seqno: of the last signature that was verified; 0 before the first.
    """

    def __init__(
        self,
        accept_deprecated_entry_types: bool = True,
        verification_level: VerificationLevel = VerificationLevel.FULL,
    ) -> None:
        self.accept_deprecated_entry_types = accept_deprecated_entry_types
        self.verification_level = verification_level
        self.signature_count = 0
        self.transaction_count = 0
        self.last_verified_view = 0
        self.last_verified_seqno = 0
        self._validation: Validation | None = None

    def last_verified_txid(self) -> TxID:
        """The last signature transaction that was verified; 0.0 before the first."""
        return TxID(self.last_verified_view, self.last_verified_seqno)

    @property
    def service_status(self) -> str | None:
        """Status of the service now, at level ``FULL``."""
        identity = self._validation.state.identity if self._validation is not None else None
        return None if identity is None else identity.status

    @staticmethod
    def validate_transaction_header(header: TransactionHeader) -> None:
        """Checks version, flags and size.

        Raises:
            ValueError: one of them is none that a node writes.
        """
        if header.version != ENTRY_FORMAT_V1:
            raise ValueError(f"Invalid transaction version: expected {ENTRY_FORMAT_V1}, got {header.version}")
        if header.flags & ~_KNOWN_FLAGS:
            raise ValueError(f"Invalid transaction flags: {header.flags:#x} has bits that do not exist")
        if header.size < MIN_ENTRY_SIZE:
            raise ValueError(f"transaction size {header.size} is smaller than the minimum entry size {MIN_ENTRY_SIZE}")
        if header.size > _MAX_ENTRY_BYTES:
            raise ValueError(f"transaction size {header.size} exceeds maximum {_MAX_ENTRY_BYTES}")

    def add_transaction(self, transaction: _HasBytes) -> None:
        """Verifies the next transaction.

        Raises:
            InvalidRootException: the transactions do not have the root that was signed.
            InvalidRootSignatureException: a node's signature does not hold.
            InvalidRootCoseSignatureException: the service's signature does not hold.
            UntrustedNodeException: the node that signed was not entitled to.
            ValueError: anything else is wrong.
        """
        self.transaction_count += 1
        with as_value_error():
            self._add(*_parts(transaction))

    def _add(self, entry: _native.Entry, file: str | None) -> None:
        if self.verification_level >= VerificationLevel.HEADERS:
            self.validate_transaction_header(TransactionHeader(entry.raw[: TransactionHeader.get_size()]))
        if not self.accept_deprecated_entry_types and entry.entry_type in (0, 2, 3):
            raise DeprecatedEntryError(f"transaction {entry.view}.{entry.seqno}: entry type {entry.entry_type}")
        self.signature_count += not _SIGNATURE_TABLES.isdisjoint(entry.table_names())
        if self.verification_level < VerificationLevel.MERKLE:
            return
        if self._validation is None:
            from tallystick.compat.ccf._validation import Validation

            self._validation = Validation(full=self.verification_level >= VerificationLevel.FULL)
        if self._validation.add(entry, file):
            self.last_verified_view, self.last_verified_seqno = entry.view, entry.seqno


def _parts(transaction: _HasBytes) -> tuple[_native.Entry, str | None]:
    if isinstance(transaction, Transaction):
        return transaction._entry, transaction._file_name
    return _native.Entry.parse(transaction.get_raw_tx()), None
