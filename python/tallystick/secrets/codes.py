"""Finding codes of ledger secrets and private state."""

from __future__ import annotations

from tallystick.findings import CodeInfo, Effect, Severity, register

__all__ = ["CODES"]

CODES = {
    "secret-record-malformed": CodeInfo(
        Severity.ERROR,
        "a record of ledger secrets is not what CCF writes",
        "The secret that it records cannot be recovered from this ledger. Compare with another copy.",
    ),
    "secret-chain-broken": CodeInfo(
        Severity.ERROR,
        "a ledger secret does not follow the one before it",
        "Private state before this point may be lost to whoever holds only newer secrets.",
    ),
    "secret-stored-elsewhere": CodeInfo(
        Severity.WARNING,
        "a link names a transaction that did not store the older secret",
        "A node that follows the recorded seqno finds nothing there; the link itself may still open.",
    ),
    "secret-sealed-twice": CodeInfo(
        Severity.WARNING,
        "a previous secret is sealed again under the same successor",
        "Known of services in which the primary changed while a recovery ended. Either record serves.",
    ),
    "entry-tag": CodeInfo(
        Severity.ERROR,
        "an entry does not authenticate under the ledger secret in force",
        "The entry was not written by a node that held this secret, or was changed afterwards.",
    ),
    "commit-evidence-mismatch": CodeInfo(
        Severity.ERROR,
        "the commit evidence digest is not the one that the ledger secret gives",
        "No receipt can ever be issued for the transaction: its evidence does not come from this secret.",
    ),
    "private-domain-malformed": CodeInfo(
        Severity.ERROR,
        "a decrypted private domain is not well-formed",
        "The entry authenticates, so a node wrote it like this.",
    ),
    "secret-unknown": CodeInfo(
        Severity.NOTE,
        "no secret is known for a range of transactions",
        "Give the secret, shares or keys that open it to have the range checked.",
        Effect.UNDECIDES,
    ),
}

register("secrets", CODES)
