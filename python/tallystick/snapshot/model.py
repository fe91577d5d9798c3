"""What the verification of snapshots takes and gives."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tallystick.findings import Finding, Verdict

__all__ = ["SnapshotName", "SnapshotResult", "VerifiedSnapshot", "parse_snapshot_name"]

# At most 19 digits: seqnos are 63-bit.
_NAME = re.compile(
    r"snapshot_(?P<seqno>0|[1-9][0-9]{0,18})_(?P<evidence>0|[1-9][0-9]{0,18})"
    r"(?P<committed>\.committed(?:_(?P<commit>0|[1-9][0-9]{0,18}))?)?\Z"
)


@dataclass(frozen=True)
class SnapshotName:
    """What a file name says.

    Attributes:
        seqno: the last transaction in the state.
        evidence: the transaction that records the snapshot's digest.
        committed: the node saw the evidence committed.
        commit: seqno of that commit; only CCF 1.x wrote it, whose snapshots carry no receipt.
    """

    seqno: int
    evidence: int
    committed: bool
    commit: int | None


def parse_snapshot_name(name: str) -> SnapshotName | None:
    """Parses ``snapshot_S_E``, ``snapshot_S_E.committed`` and 1.x's ``snapshot_S_E.committed_C``; None otherwise."""
    match = _NAME.match(name)
    if match is None:
        return None
    commit = match["commit"]
    return SnapshotName(
        int(match["seqno"]),
        int(match["evidence"]),
        match["committed"] is not None,
        int(commit) if commit is not None else None,
    )


@dataclass(frozen=True)
class SnapshotResult:
    """The outcome for one file.

    Attributes:
        file: as the caller named it.
        verdict: verified, failed or undecided.
        seqno: last transaction in the state, as the content says; None when it cannot be read.
        evidence_txid: the transaction that the receipt proves.
        service_key_sha256: fingerprint of the pinned service key on which the verdict rests.
        findings: what was met, the reason for the verdict first.
        not_checked: what this verification says nothing about.
    """

    file: str | None
    verdict: Verdict
    seqno: int | None = None
    evidence_txid: str | None = None
    service_key_sha256: str | None = None
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """One element of ``results`` in ``tallystick.snapshots/1``."""
        return {
            "file": self.file,
            "verdict": self.verdict.value,
            "seqno": self.seqno,
            "evidence_txid": self.evidence_txid,
            "findings": [item.to_json() for item in self.findings],
            "not_checked": list(self.not_checked),
        }


@dataclass(frozen=True)
class VerifiedSnapshot:
    """A snapshot whose digest the service recorded, proven under the caller's anchor.

    Attributes:
        seqno: last transaction in the state.
        evidence_txid: the transaction that recorded the digest.
        digest: SHA-256 of the snapshot without its receipt.
        service_key_sha256: fingerprint of the pinned service key on which this rests.
        notes: findings that do not change the verdict.
        not_checked: what this says nothing about.
    """

    seqno: int
    evidence_txid: str
    digest: bytes
    service_key_sha256: str
    notes: tuple[Finding, ...]
    not_checked: tuple[str, ...]
