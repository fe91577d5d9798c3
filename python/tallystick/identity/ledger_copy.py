"""A copy of a ledger at hand, asked for single facts: one transaction, a node's keys, the service's keys.

Nothing it says is verified here. It serves to find a key whose fingerprint is pinned, to find endorsements
(which are worth what their signatures are worth), and to compare a transaction with one that a receipt or
snapshot proves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from tallystick._native import Certificate, Entry, PublicKey
from tallystick.errors import FormatError, LimitExceededError, UsageError
from tallystick.identity.endorsements import Endorsement, parse_endorsements
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.scanning import ScanPart, scan_parts
from tallystick.ledger.transaction import Transaction
from tallystick.tables import names

__all__ = ["LedgerCopy"]


class LedgerCopy:
    """Chunk files of one ledger.

    Args:
        paths: directories and files; open chunks are read too.

    Attributes:
        ledger: the transactions.

    Raises:
        UsageError: a path does not exist, or there is no ledger in it.
        OSError: a file cannot be read.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        given = [os.fspath(path) for path in paths]
        self.ledger = Ledger(given, uncommitted=True, allow_gaps=True)
        if self.ledger.first_seqno is None:
            raise UsageError("no ledger found: expected files named ledger_A-B.committed", file=", ".join(given))

    def transaction(self, seqno: int) -> Transaction | None:
        """The transaction at ``seqno``; None when this copy does not hold it.

        Raises:
            FormatError: the chunk that should hold it is malformed.
        """
        try:
            return self.ledger.get_transaction(seqno)
        except UsageError:
            return None

    def node_keys(self, node_id: str | None) -> list[PublicKey]:
        """Keys that the ledger's node tables hold for a node, or for all nodes."""
        return [key for key in self._node_keys if node_id is None or key.sha256 == node_id]

    @property
    def service_spkis(self) -> list[bytes]:
        """DER SubjectPublicKeyInfo of every service identity that the ledger names."""
        return [certificate.spki for certificate in self._records.service]

    @property
    def endorsements(self) -> list[Endorsement]:
        """The endorsements of previous service identities that the ledger records."""
        return self._records.endorsements

    @cached_property
    def _node_keys(self) -> list[PublicKey]:
        spkis = dict.fromkeys(certificate.spki for certificate in self._records.nodes)
        keys = []
        for spki in spkis:
            try:
                keys.append(PublicKey.from_spki(spki))
            except FormatError:
                continue
        return keys

    @cached_property
    def _records(self) -> _Records:
        records = _Records()
        parts = [ScanPart(part.file.path) for part in self.ledger.files.parts]
        try:
            for batch in scan_parts(parts, level="parse"):
                for entry in batch.notable:
                    records.take(entry)
        except (FormatError, LimitExceededError):
            # What was found before the damage still serves; tallystick verify tells about the damage.
            pass
        return records


@dataclass
class _Records:
    """What the ledger's governance and internal tables say of identities."""

    service: list[Certificate] = field(default_factory=list)
    nodes: list[Certificate] = field(default_factory=list)
    endorsements: list[Endorsement] = field(default_factory=list)

    def take(self, entry: Entry) -> None:
        self.service += _parsed(_from_json(value) for value in _values(entry, names.SERVICE_INFO))
        self.nodes += _parsed(_from_json(value) for value in _values(entry, names.NODES_INFO))
        self.nodes += _parsed(_values(entry, names.ENDORSED_CERTIFICATES))
        for value in _values(entry, _ENDORSEMENTS):
            try:
                self.endorsements += parse_endorsements(value)
            except (FormatError, LimitExceededError):
                continue


_ENDORSEMENTS = "public:ccf.internal.previous_service_identity_endorsement"


def _values(entry: Entry, table: str) -> list[bytes]:
    return [value for value in (entry.table(table) or {}).values() if value is not None]


def _from_json(value: bytes) -> bytes:
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return b""
    text = document.get("cert") if isinstance(document, dict) else None
    return text.encode("utf-8", "replace") if isinstance(text, str) else b""


def _parsed(texts: Iterable[bytes]) -> list[Certificate]:
    found = []
    for text in texts:
        try:
            found.append(Certificate.parse(text.strip(b" \t\r\n\0")))
        except (FormatError, LimitExceededError):
            continue
    return found
