"""What the caller already holds, against the ledger: a transaction ID, and receipts.

Nothing inside a ledger can show that its end was cut off; only something from outside can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tallystick._native import CoseReceipt, Entry, JsonReceipt, MerkleTree
from tallystick.audit.lookup import Lookup
from tallystick.audit.position import FindingLog, Position
from tallystick.errors import FormatError, LimitExceededError, UsageError
from tallystick.types import TxId

__all__ = ["ReceiptClaim", "check_head", "check_receipts", "read_receipts"]

_SIGNATURE_TABLES = ("public:ccf.internal.signatures", "public:ccf.internal.cose_signatures")
_TREE = "public:ccf.internal.tree"
_SINGLETON = bytes(8)

# A receipt is a few kilobytes; the largest, with a path of 64 steps and certificates, stays far below this.
_MAX_RECEIPT_BYTES = 16 << 20


@dataclass(frozen=True)
class ReceiptClaim:
    """What a receipt says about the ledger.

    Attributes:
        file: where it was read.
        txid: the transaction it is for; None for the receipt of a signature transaction, which names none.
        leaf: its leaf; None while a claims digest is missing.
        root: the root it leads to; None as above.
        json: the receipt, to compute leaf and root once the ledger tells the claims digest.
    """

    file: str
    txid: TxId | None
    leaf: bytes | None
    root: bytes | None
    json: JsonReceipt | None = field(default=None, repr=False)


def read_receipts(paths: Sequence[str]) -> list[ReceiptClaim]:
    """Reads JSON and COSE receipts.

    Raises:
        UsageError: a file cannot be read.
        FormatError: a file is not a receipt.
    """
    claims: list[ReceiptClaim] = []
    for path in paths:
        try:
            size = Path(path).stat().st_size
            if size > _MAX_RECEIPT_BYTES:
                raise LimitExceededError(
                    f"receipt is too large: expected at most {_MAX_RECEIPT_BYTES} bytes, got {size}",
                    code="receipt-too-large",
                    file=path,
                )
            data = Path(path).read_bytes()
        except OSError as error:
            raise UsageError(f"receipt cannot be read: {error.strerror}", file=path) from error
        try:
            claims += _parse(path, data)
        except (FormatError, LimitExceededError) as error:
            error.at(file=path)
            raise
    return claims


def _parse(path: str, data: bytes) -> list[ReceiptClaim]:
    if data.lstrip()[:1] == b"{":
        receipt = JsonReceipt.parse(data)
        txid = TxId.parse(receipt.txid) if receipt.txid is not None else None
        leaf = receipt.leaf
        root = receipt.root(leaf) if leaf is not None else None
        return [ReceiptClaim(path, txid, leaf, root, receipt)]
    return [
        ReceiptClaim(path, TxId.parse(proof.txid), proof.leaf, proof.root) for proof in CoseReceipt.parse(data).proofs
    ]


def check_head(
    expected: TxId, lookup: Lookup, *, last_seqno: int | None, last_signed: TxId | None, log: FindingLog
) -> None:
    """Fails a ledger that does not hold, signed, the transaction that the caller knows of."""
    signed = last_signed.seqno if last_signed is not None else 0
    found = lookup.entry(expected.seqno) if last_seqno is not None and expected.seqno <= last_seqno else None
    if found is not None and found[0].view != expected.view:
        entry, at = found
        log.add(
            "head-mismatch",
            f"another transaction stands in its place: expected {expected}, got {entry.view}.{entry.seqno}",
            at,
        )
    elif expected.seqno > signed:
        end = f"{last_signed}" if last_signed is not None else "nothing"
        log.add(
            "shorter-than-head",
            f"ledger is shorter than the expected head: expected {expected}, got {end} as the last signed transaction",
            limits_proof=False,
        )
    elif found is None:
        log.add(
            "receipt-unusable",
            f"expected head {expected} stands before the start of what was read, so it was not compared",
            limits_proof=False,
        )


def check_receipts(
    claims: Sequence[ReceiptClaim],
    lookup: Lookup,
    *,
    first_seqno: int | None,
    last_seqno: int | None,
    roots: set[bytes],
    resumed: bool,
    log: FindingLog,
) -> None:
    """Compares each receipt with the transaction that it is for, and its root with the signature after it."""
    for claim in claims:
        if claim.txid is None:
            _check_signature_receipt(claim, roots, resumed, log)
        elif last_seqno is None or claim.txid.seqno > last_seqno:
            log.add(
                "receipt-beyond-ledger",
                f"receipt {claim.file} proves transaction {claim.txid}, but the ledger ends at seqno {last_seqno}",
                limits_proof=False,
            )
        else:
            found = lookup.entry(claim.txid.seqno)
            if found is None:
                reason = f"transaction {claim.txid} is not in what was read (from seqno {first_seqno})"
                log.add("receipt-unusable", f"receipt {claim.file}: {reason}", limits_proof=False)
            else:
                _compare(claim, claim.txid, found[0], found[1], lookup, log)


def _check_signature_receipt(claim: ReceiptClaim, roots: set[bytes], resumed: bool, log: FindingLog) -> None:
    if claim.root in roots:
        return
    if resumed:
        log.add(
            "receipt-unusable",
            f"receipt {claim.file} is for a signature that may stand before the checkpoint",
            limits_proof=False,
        )
    else:
        log.add(
            "receipt-root-mismatch",
            f"receipt {claim.file} is for a root that no signature here has",
            limits_proof=False,
        )


def _compare(claim: ReceiptClaim, txid: TxId, entry: Entry, at: Position, lookup: Lookup, log: FindingLog) -> None:
    if entry.view != txid.view:
        log.add(
            "receipt-mismatch",
            f"receipt {claim.file} proves another transaction: expected {txid}, got {entry.view}.{entry.seqno}",
            at,
        )
        return
    leaf, root = claim.leaf, claim.root
    if leaf is None and claim.json is not None:
        # The receipt leaves the claims digest to its reader; the ledger has it.
        leaf = (
            claim.json.leaf_with_claims(entry.claims_digest)
            if entry.claims_digest is not None
            else claim.json.leaf_without_claims()
        )
        root = claim.json.root(leaf)
    if leaf != entry.leaf:
        log.add(
            "receipt-mismatch",
            f"receipt {claim.file} proves other content of {txid}: expected leaf {leaf.hex() if leaf else None}, got "
            f"{entry.leaf.hex()}",
            at,
        )
        return
    signed = _root_after(entry.seqno, lookup)
    if signed is None:
        message = f"receipt {claim.file}: no signature follows {txid} here, so its root was not compared"
        log.add("receipt-unusable", message, limits_proof=False)
    elif root != signed:
        log.add(
            "receipt-root-mismatch",
            f"receipt {claim.file} leads to another root: expected {signed.hex()}, got {root.hex() if root else None}",
            at,
        )


def _root_after(seqno: int, lookup: Lookup) -> bytes | None:
    """Root in the first signature transaction after ``seqno``: every receipt that nodes serve uses that one."""
    for entry, _ in lookup.entries(seqno + 1):
        if any(entry.table(table) is not None for table in _SIGNATURE_TABLES):
            value = (entry.table(_TREE) or {}).get(_SINGLETON)
            return None if value is None else MerkleTree.from_compact(value).root()
    return None
