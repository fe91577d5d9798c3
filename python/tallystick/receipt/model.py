"""What the verification of receipts takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from tallystick._native import PublicKey
from tallystick.findings import Effect, Finding, Verdict, finding, verdict_of
from tallystick.receipt import codes as _codes  # noqa: F401 -- registers the codes of this area
from tallystick.types import TxId

__all__ = [
    "Draft",
    "Expected",
    "Kind",
    "Probe",
    "ReceiptResult",
    "SignatureCheck",
    "SignatureGroup",
    "VerifiedReceipt",
]


class Kind(str, Enum):
    """What a file turned out to be, by its content."""

    CCF_JSON = "ccf-json"
    CCF_COSE = "ccf-cose"
    SCITT_STATEMENT = "scitt-statement"
    SCITT_LEGACY = "scitt-legacy"
    ACL = "acl"
    MERKLE_PROOF = "merkle-proof"
    COSE_SIGNATURE = "cose-signature"
    ENDORSEMENT = "endorsement"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Expected:
    """What the caller knows of the transaction from elsewhere; None where it knows nothing.

    Attributes:
        claims_digest: 32 bytes.
        txid: the transaction.
        issuer: name that the receipt must carry as its issuer.
    """

    claims_digest: bytes | None = None
    txid: TxId | None = None
    issuer: str | None = None


@dataclass(frozen=True)
class ReceiptResult:
    """The outcome for one receipt, whatever it was.

    Attributes:
        file: as the caller named it.
        kind: what it is.
        verdict: verified, failed or undecided.
        txid: of the transaction that the receipt proves; None when it names none.
        leaf, root, claims_digest: 32 bytes each, as far as known.
        service_key_sha256: fingerprint of the pinned service key on which the verdict rests; None when there
            is none. When an older key signed, a ``service-endorsed`` finding names it.
        findings: what was met, the reason for the verdict first.
        not_checked: what this verification says nothing about.
    """

    file: str | None
    kind: Kind
    verdict: Verdict
    txid: str | None = None
    leaf: bytes | None = None
    root: bytes | None = None
    claims_digest: bytes | None = None
    service_key_sha256: str | None = None
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """One element of ``results`` in ``tallystick.receipts/1``."""
        return {
            "file": self.file,
            "kind": self.kind.value,
            "verdict": self.verdict.value,
            "txid": self.txid,
            "leaf": _hex(self.leaf),
            "root": _hex(self.root),
            "claims_digest": _hex(self.claims_digest),
            "service_key_sha256": self.service_key_sha256,
            "findings": [item.to_json() for item in self.findings],
            "not_checked": list(self.not_checked),
        }


@dataclass(frozen=True)
class VerifiedReceipt:
    """A receipt that holds under the caller's anchor. It says no more than its attributes.

    Attributes:
        kind: what it is.
        txid: the transaction that is proven to be in the ledger; None for a signed root alone and for CCF 1.x
            receipts, which name no transaction.
        leaf: the transaction's leaf in the Merkle tree, 32 bytes.
        root: the signed root, 32 bytes.
        claims_digest: 32 bytes; zeros when the transaction has no claims; None when the receipt has none.
        service_key_sha256: fingerprint of the pinned service key on which this rests.
        notes: findings that do not change the verdict.
        not_checked: what this says nothing about.
    """

    kind: Kind
    txid: str | None
    leaf: bytes
    root: bytes
    claims_digest: bytes | None
    service_key_sha256: str
    notes: tuple[Finding, ...]
    not_checked: tuple[str, ...]


class SignatureCheck(NamedTuple):
    """One signature that must hold (or, as a probe, may).

    Attributes:
        key: under which key.
        message: the 32-byte root that was signed as a digest (``algorithm`` None), or the signed bytes.
        signature: DER, or fixed width with ``algorithm``.
        algorithm: COSE algorithm, None for an ECDSA signature over ``message`` as digest.
    """

    key: PublicKey
    message: bytes
    signature: bytes
    algorithm: int | None = None

    @property
    def identity(self) -> tuple[int, bytes, bytes, int | None]:
        """Equal for checks that have the same outcome. Keys are parsed once a run, so the object stands for the key."""
        return (id(self.key), self.message, self.signature, self.algorithm)

    def holds(self) -> bool:
        """Runs it here and now."""
        if self.algorithm is None:
            return self.key.verifies_prehashed(self.message, self.signature)
        return self.key.verifies_cose(self.message, self.signature, self.algorithm)


class SignatureGroup(NamedTuple):
    """Checks of which one must hold.

    Attributes:
        checks: the candidates.
        failure: gives the finding for when none holds; it seldom has to.
        accepted: called with the position of the first that holds, if something depends on which.
    """

    checks: list[SignatureCheck]
    failure: Callable[[], Finding]
    accepted: Callable[[int], None] | None = None


class Probe(NamedTuple):
    """A check that is worth running only to explain a finding better.

    Attributes:
        check: the check.
        explains: code of the finding, which is replaced by ``finding`` when the check holds.
        finding: what it then means.
    """

    check: SignatureCheck
    explains: str
    finding: Finding


class Draft:
    """A result in the making: signatures are checked together, so their outcome comes last.

    ``parts`` are the receipts inside a statement; ``label`` says which one a part is. The other attributes are
    those of :class:`ReceiptResult`. Thousands are made at a time, hence the slots.
    """

    __slots__ = (
        "claims_digest",
        "file",
        "findings",
        "groups",
        "kind",
        "label",
        "leaf",
        "not_checked",
        "parts",
        "probes",
        "root",
        "service_key_sha256",
        "txid",
    )

    def __init__(self, file: str | None, kind: Kind) -> None:
        self.file = file
        self.kind = kind
        self.txid: str | None = None
        self.leaf: bytes | None = None
        self.root: bytes | None = None
        self.claims_digest: bytes | None = None
        self.service_key_sha256: str | None = None
        self.findings: list[Finding] = []
        self.not_checked: list[str] = []
        self.groups: list[SignatureGroup] = []
        self.probes: list[Probe] = []
        self.parts: list[Draft] = []
        self.label = ""

    def say(self, code: str, message: str) -> None:
        """Adds a finding."""
        self.findings.append(finding(code, message))

    @property
    def failed(self) -> bool:
        """Whether something claimed is already known not to be true, so that the rest need not be looked at."""
        return any(item.verdict_effect is Effect.FAILS for item in self.findings)

    def result(self) -> ReceiptResult:
        """The outcome, once every finding is in."""
        # The reason for the verdict first, then in the order in which they were met.
        ranked = sorted(self.findings, key=lambda item: _RANK[item.verdict_effect]) if self.findings else ()
        findings = tuple(item.at(file=self.file, txid=self.txid) for item in ranked)
        return ReceiptResult(
            self.file,
            self.kind,
            verdict_of(findings),
            self.txid,
            self.leaf,
            self.root,
            self.claims_digest,
            self.service_key_sha256,
            findings,
            tuple(dict.fromkeys(self.not_checked)),
        )


_RANK = {Effect.FAILS: 0, Effect.UNDECIDES: 1, Effect.NONE: 2}


def _hex(value: bytes | None) -> str | None:
    return value.hex() if value is not None else None
