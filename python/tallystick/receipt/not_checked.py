"""The words for what a verified receipt says nothing about."""

from __future__ import annotations

__all__ = [
    "CLAIMS",
    "DATES",
    "FORK",
    "LATER_HISTORY",
    "LEGACY_SERVICE_ID",
    "NODE",
    "STATEMENT_CHAIN",
    "TREE_SIZE",
    "WRITES",
    "WRITE_SET",
]

NODE = "whether governance trusted the signing node, and its attestation"
DATES = "dates of certificates and of signatures"
FORK = "whether a copy of the ledger holds the same transaction (--ledger PATH)"
LATER_HISTORY = "whether the older life went on after the end that the bundle of identities shows, with other members"
CLAIMS = "what the claims digest stands for (--claims FILE, --claims-text FILE, --claims-digest HEX)"
WRITES = "what the transaction wrote"
WRITE_SET = "that the leaf is a write set digest: receipts of this form give the leaf alone"
TREE_SIZE = "the size of the Merkle tree, which this receipt does not name"
LEGACY_SERVICE_ID = "the service_id in the receipt's header"
STATEMENT_CHAIN = "the chain of the statement's certificates to a root, their revocation, and the did: issuer"
