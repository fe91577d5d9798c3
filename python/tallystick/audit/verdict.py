"""The verdict on a ledger: one value that every report is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tallystick.errors import VerificationError
from tallystick.findings import Effect, Finding, Verdict
from tallystick.types import TxId

__all__ = [
    "SCHEMA",
    "IdentityReport",
    "LedgerVerdict",
    "LedgerVerificationError",
    "ProvenRange",
    "UnsignedTail",
    "VerifiedLedger",
]

SCHEMA = "tallystick.verdict/1"


class ProvenRange(NamedTuple):
    """Transactions that signatures under a trusted identity cover.

    Attributes:
        first_seqno: the first one.
        last_seqno: the last one: that of the last signature whose checks all hold.
        last_txid: its transaction ID.
    """

    first_seqno: int
    last_seqno: int
    last_txid: TxId


@dataclass(frozen=True)
class UnsignedTail:
    """Transactions after the last signature: present, not proven."""

    first_seqno: int
    count: int


class IdentityReport(NamedTuple):
    """One life of the service.

    Attributes:
        service_key_sha256: fingerprint of its key; None when the ledger part does not tell it.
        first_txid: its first transaction; None when that is before the start of what was read.
        last_signed_txid: its last signature transaction.
        status: latest status of the service under it.
        signatures: signature transactions under it.
        trusted_by: ``pinned``, ``genesis``, ``opening`` (members' proposal), ``endorsement`` (by a newer
            identity), or None.
    """

    service_key_sha256: str | None
    first_txid: TxId | None
    last_signed_txid: TxId | None
    status: str | None
    signatures: int
    trusted_by: str | None

    def to_json(self) -> dict[str, object]:
        """As in the JSON verdict."""
        return {
            "service_key_sha256": self.service_key_sha256,
            "first_txid": _text(self.first_txid),
            "last_signed_txid": _text(self.last_signed_txid),
            "status": self.status,
            "signatures": self.signatures,
            "trusted_by": self.trusted_by,
        }


@dataclass(frozen=True)
class LedgerVerdict:
    """What a run of the auditor found.

    Attributes:
        verdict: verified, failed or undecided.
        level: how much was checked.
        anchor_kind: ``service-cert``, ``service-key``, ``genesis`` or ``none``.
        anchor_keys: fingerprints of the anchor, ascending.
        proven: the range that is proven, None if nothing is.
        unsigned_tail: what follows the last signature.
        first_seqno, last_seqno: the transactions that were read.
        files, transactions, signatures: counts.
        identities: the service's identities, oldest first.
        findings: by position.
        not_checked: what this run did not look at.
    """

    verdict: Verdict
    level: str
    anchor_kind: str
    anchor_keys: tuple[str, ...]
    proven: ProvenRange | None
    unsigned_tail: UnsignedTail | None
    first_seqno: int | None
    last_seqno: int | None
    files: int
    transactions: int
    signatures: int
    identities: tuple[IdentityReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()
    paths: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, object]:
        """The JSON verdict (``docs/verdict.schema.json``)."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict.value,
            "level": self.level,
            "anchor": {"kind": self.anchor_kind, "service_key_sha256": ",".join(self.anchor_keys) or None},
            "proven": None
            if self.proven is None
            else {
                "first_seqno": self.proven.first_seqno,
                "last_seqno": self.proven.last_seqno,
                "last_txid": str(self.proven.last_txid),
            },
            "unsigned_tail": None
            if self.unsigned_tail is None
            else {"first_seqno": self.unsigned_tail.first_seqno, "count": self.unsigned_tail.count},
            "counts": {"files": self.files, "transactions": self.transactions, "signatures": self.signatures},
            "identities": [identity.to_json() for identity in self.identities],
            "findings": [item.to_json() for item in self.findings],
            "not_checked": list(self.not_checked),
        }

    @property
    def deciding(self) -> Finding | None:
        """The first finding that decides the verdict; None when verified."""
        return first_with(self.findings, Effect.FAILS) or first_with(self.findings, Effect.UNDECIDES)


def first_with(findings: Sequence[Finding], effect: Effect) -> Finding | None:
    """The first finding with this effect on the verdict."""
    return next((item for item in findings if item.verdict_effect is effect), None)


def _text(txid: TxId | None) -> str | None:
    return None if txid is None else str(txid)


@dataclass(frozen=True)
class VerifiedLedger:
    """A ledger that was verified in full.

    Attributes:
        verdict: everything that was found, ``proven`` included.
    """

    verdict: LedgerVerdict

    @property
    def proven(self) -> ProvenRange:
        """The range that is proven."""
        if self.verdict.proven is None:
            raise ValueError("a verified ledger has a proven range")
        return self.verdict.proven


class LedgerVerificationError(VerificationError):
    """A ledger was not verified: it failed, or could not be decided.

    Attributes:
        verdict: everything that was found; ``verdict.verdict`` tells which.
    """

    default_code = "ledger-not-verified"

    def __init__(self, verdict: LedgerVerdict) -> None:
        cause = verdict.deciding
        super().__init__(
            f"ledger {verdict.verdict.value}: {cause.message if cause else 'nothing is proven'}",
            code=cause.code if cause else None,
            file=cause.file if cause else None,
            offset=cause.offset if cause else None,
            txid=cause.txid if cause else None,
        )
        self.verdict = verdict
