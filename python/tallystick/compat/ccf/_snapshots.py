"""Snapshots, under the official names."""

from __future__ import annotations

import os
from pathlib import Path

from tallystick import _native
from tallystick.compat.ccf._chunks import COMMITTED_FILE_SUFFIX
from tallystick.compat.ccf._entries import Entry, GcmHeader, PublicDomain, TransactionHeader
from tallystick.errors import FormatError, LimitExceededError
from tallystick.snapshot.model import parse_snapshot_name

__all__ = [
    "ENCODED_COSE_SIGN1_TAG",
    "InvalidSnapshotException",
    "Snapshot",
    "is_snapshot_file_committed",
    "latest_snapshot",
    "snapshot_index_from_filename",
]

ENCODED_COSE_SIGN1_TAG = 0xD2


class InvalidSnapshotException(Exception):  # noqa: N818 -- the official name
    """A snapshot is malformed, or its receipt does not hold."""


def is_snapshot_file_committed(file_name: str) -> bool:
    """Whether the name of a snapshot says that it is committed."""
    return file_name.endswith(COMMITTED_FILE_SUFFIX)


def snapshot_index_from_filename(filename: str) -> tuple[int, int]:
    """Seqno of a snapshot, and that of its evidence, by its name.

    Raises:
        ValueError: it is not the name of a snapshot.
    """
    name = parse_snapshot_name(Path(filename).name)
    if name is None:
        raise ValueError(f"not the name of a snapshot: {filename}")
    return name.seqno, name.evidence


def latest_snapshot(snapshots_dir: str) -> str | None:
    """Name of the snapshot with the highest seqno in a directory; None when it holds none.

    Raises:
        InvalidSnapshotException: a file in it is not a snapshot.
        OSError: the directory cannot be read.
    """
    best: tuple[int, str] | None = None
    for path in sorted(Path(snapshots_dir).iterdir()):
        with Snapshot(str(path)) as snapshot:
            seqno = snapshot.get_public_domain().get_seqno()
        if best is None or seqno > best[0]:
            best = (seqno, path.name)
    return None if best is None else best[1]


class Snapshot(Entry):
    """A snapshot file. The receipt of a committed one is verified, under the service key that the snapshot holds.

    That key is the snapshot's own word: :func:`tallystick.verify_snapshot` takes a trust anchor instead.

    Args:
        filename: path.

    Raises:
        InvalidSnapshotException: it is malformed, or its receipt does not hold.
        OSError: it cannot be read.
    """

    def __init__(self, filename: str) -> None:
        self._filename = os.fspath(filename)
        data = Path(self._filename).read_bytes()
        self._size = len(data)
        if not data:
            raise InvalidSnapshotException(f"{self._filename} is currently empty")
        try:
            self._snapshot = _native.SnapshotFile.parse(data)
        except (FormatError, LimitExceededError) as error:
            raise InvalidSnapshotException(str(error.at(file=self._filename))) from error
        self._header = TransactionHeader(data[: TransactionHeader.get_size()])
        self.gcm_header = GcmHeader(data[TransactionHeader.get_size() :])
        self._domain: PublicDomain | None = None
        # Snapshots of 1.x carry no receipt.
        if self.is_committed() and not self.is_snapshot_file_1_x():
            self._verify(data)

    def _verify(self, data: bytes) -> None:
        from tallystick.findings import Effect, Verdict
        from tallystick.identity.trust_anchor import TrustAnchor
        from tallystick.snapshot.verify import audit_snapshot, service_spkis

        result = audit_snapshot(data, TrustAnchor.from_keys(service_spkis(self._snapshot)), file=self._filename)
        if result.verdict is not Verdict.VERIFIED:
            reason = next(item for item in result.findings if item.verdict_effect is not Effect.NONE)
            raise InvalidSnapshotException(f"{self._filename}: {reason.message} [{reason.code}]")

    def is_committed(self) -> bool:
        """Whether its name says that it is committed."""
        return COMMITTED_FILE_SUFFIX in Path(self._filename).name

    def is_snapshot_file_1_x(self) -> bool:
        """Whether its name is one of CCF 1.x.

        Raises:
            ValueError: it is not committed.
        """
        if not self.is_committed():
            raise ValueError(f"{self._filename} is not committed")
        return not self._filename.endswith(COMMITTED_FILE_SUFFIX)

    def get_len(self) -> int:
        """Bytes of the file."""
        return self._size

    def get_public_domain(self) -> PublicDomain:
        """All public tables."""
        if self._domain is None:
            self._domain = PublicDomain._of_snapshot(self._snapshot)
        return self._domain

    def get_private_domain_size(self) -> int:
        """Bytes of the encrypted part."""
        return len(self._snapshot.private_domain)

    def get_transaction_header(self) -> TransactionHeader:
        """Its first eight bytes."""
        return self._header
