"""Finding codes of snapshots; what a snapshot's receipt has to say uses the codes of receipts."""

from __future__ import annotations

from tallystick.findings import CodeInfo, Effect, Severity, register
from tallystick.receipt.codes import RECEIPT_CODES

__all__ = ["SNAPSHOT_CODES"]

SNAPSHOT_CODES = {
    "file-unreadable": RECEIPT_CODES["file-unreadable"],
    "snapshot-malformed": CodeInfo(
        Severity.ERROR,
        "The file is not a snapshot, or is cut or damaged.",
        "A node would refuse it; no part of it is believed.",
    ),
    "snapshot-unverified": CodeInfo(
        Severity.WARNING,
        "Nothing in the file vouches for the state.",
        "Snapshots of CCF 1.x, and those that were not committed yet, carry no receipt. Compare it with a verified "
        "ledger, or use a later snapshot.",
        Effect.UNDECIDES,
    ),
    "snapshot-receipt-missing": CodeInfo(
        Severity.ERROR,
        "The file is named as a committed snapshot, and carries no receipt.",
        "From CCF 2.x on a node appends the receipt when it renames the file: somebody took it away.",
    ),
    "snapshot-digest-mismatch": CodeInfo(
        Severity.ERROR,
        "The receipt is for another snapshot, or the state was changed.",
        "The receipt's claims digest must be the SHA-256 of the snapshot.",
    ),
    "snapshot-name-mismatch": CodeInfo(
        Severity.ERROR,
        "The file name gives other seqnos than the content.",
        "A node chooses snapshots by name: a renamed one is started from in place of another.",
    ),
    "snapshot-name-unknown": CodeInfo(
        Severity.NOTE, "The file is not named as a node names snapshots.", "The name was not compared with the content."
    ),
    "snapshot-evidence-order": CodeInfo(
        Severity.ERROR,
        "The transaction that the receipt proves does not come after the snapshot.",
        "A snapshot's evidence is written after the transaction that it holds the state of.",
    ),
    "snapshot-leaf-mismatch": CodeInfo(
        Severity.ERROR,
        "The leaf of the snapshot's last transaction is not the one in the ledger, or in the receipt's path.",
        "The state belongs to another history.",
    ),
    "snapshot-evidence-mismatch": CodeInfo(
        Severity.ERROR,
        "The ledger copy records other evidence for the snapshot.",
        "The transaction that the receipt proves must record this snapshot's digest and seqno.",
    ),
    "snapshot-state-mismatch": CodeInfo(
        Severity.ERROR,
        "The public state differs from what the ledger copy's transactions give.",
        "The message names the first table and key that differ.",
    ),
    "snapshot-state-not-compared": CodeInfo(
        Severity.WARNING,
        "The ledger copy does not reach from the first transaction to the snapshot.",
        "Give the chunks from seqno 1 on to compare the state.",
        Effect.NONE,
    ),
}

register("snapshot", SNAPSHOT_CODES)
