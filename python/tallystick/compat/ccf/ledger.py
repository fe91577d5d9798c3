"""``ccf.ledger``: ledgers, chunks, transactions, snapshots, and their validation.

Reading is :mod:`tallystick.ledger`'s, validation the auditor's (:mod:`tallystick.audit`), without a trust anchor: as in
the official package, the ledger's own word counts for who the service is. :func:`tallystick.verify_ledger` takes an
anchor, and uses all cores.

Example::

    import tallystick.compat.ccf.ledger as ledger

    validator = ledger.LedgerValidator()
    for transaction in ledger.Ledger(["ledger"]).transactions():
        validator.add_transaction(transaction)
"""

from __future__ import annotations

import warnings

from tallystick.compat.ccf._chunks import (
    COMMITTED_FILE_SUFFIX,
    COMMITTED_PREFIX_FILE_SUFFIX,
    IGNORED_FILE_SUFFIX,
    LEDGER_HEADER_SIZE,
    RECOVERY_FILE_SUFFIX,
    CommitIdRangeException,
    Ledger,
    LedgerChunk,
    UnknownTransaction,
    VerificationLevel,
    get_range_from_file,
    is_ledger_chunk_committed,
    range_from_filename,
)
from tallystick.compat.ccf._entries import (
    ENTRY_FORMAT_V1,
    GCM_SIZE_IV,
    GCM_SIZE_TAG,
    LEDGER_DOMAIN_SIZE,
    MIN_ENTRY_SIZE,
    Entry,
    EntryType,
    GcmHeader,
    PublicDomain,
    SimpleBuffer,
    Transaction,
    TransactionFlags,
    TransactionHeader,
)
from tallystick.compat.ccf._snapshots import (
    ENCODED_COSE_SIGN1_TAG,
    InvalidSnapshotException,
    Snapshot,
    is_snapshot_file_committed,
    latest_snapshot,
    snapshot_index_from_filename,
)
from tallystick.compat.ccf._validator import (
    ENDORSED_NODE_CERTIFICATES_TABLE_NAME,
    NODES_TABLE_NAME,
    SERVICE_INFO_TABLE_NAME,
    SHA256_DIGEST_SIZE,
    TREE_TABLE_NAME,
    LedgerValidator,
    NodeStatus,
    digest,
)

__all__ = [
    "COMMITTED_FILE_SUFFIX",
    "COMMITTED_PREFIX_FILE_SUFFIX",
    "ENCODED_COSE_SIGN1_TAG",
    "ENDORSED_NODE_CERTIFICATES_TABLE_NAME",
    "ENTRY_FORMAT_V1",
    "GCM_SIZE_IV",
    "GCM_SIZE_TAG",
    "IGNORED_FILE_SUFFIX",
    "LEDGER_DOMAIN_SIZE",
    "LEDGER_HEADER_SIZE",
    "MIN_ENTRY_SIZE",
    "NODES_TABLE_NAME",
    "RECOVERY_FILE_SUFFIX",
    "SERVICE_INFO_TABLE_NAME",
    "SHA256_DIGEST_SIZE",
    "TREE_TABLE_NAME",
    "CommitIdRangeException",
    "Entry",
    "EntryType",
    "GcmHeader",
    "InvalidSnapshotException",
    "Ledger",
    "LedgerChunk",
    "LedgerValidator",
    "NodeStatus",
    "PublicDomain",
    "SimpleBuffer",
    "Snapshot",
    "Transaction",
    "TransactionFlags",
    "TransactionHeader",
    "UnknownTransaction",
    "VerificationLevel",
    "digest",
    "get_range_from_file",
    "is_ledger_chunk_committed",
    "is_snapshot_file_committed",
    "latest_snapshot",
    "range_from_filename",
    "snapshot_index_from_filename",
]

# Names that moved to `ccf.signatures` in 7.0; old scripts still find them here.
_MOVED = frozenset(
    {
        "COSE_SIGNATURE_TX_TABLE_NAME",
        "InvalidRootCoseSignatureException",
        "InvalidRootException",
        "InvalidRootSignatureException",
        "SIGNATURE_TX_TABLE_NAME",
        "UntrustedNodeException",
        "WELL_KNOWN_SINGLETON_TABLE_KEY",
        "spki_from_cert",
    }
)


def __getattr__(name: str) -> object:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tallystick.compat.ccf import signatures

    warnings.warn(
        f"ccf.ledger.{name} is deprecated; import {name} from ccf.signatures instead.", DeprecationWarning, stacklevel=2
    )
    return getattr(signatures, name)
