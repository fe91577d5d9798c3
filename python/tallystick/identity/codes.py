"""Finding codes about service identities, shared by receipts and snapshots."""

from __future__ import annotations

from tallystick.findings import CodeInfo, Effect, Severity, register

__all__ = ["IDENTITY_CODES", "fails", "notes", "undecides"]


def fails(summary: str, advice: str) -> CodeInfo:
    """A code that fails the verdict."""
    return CodeInfo(Severity.ERROR, summary, advice)


def undecides(summary: str, advice: str) -> CodeInfo:
    """A code that leaves the verdict undecided."""
    return CodeInfo(Severity.WARNING, summary, advice, Effect.UNDECIDES)


def notes(summary: str, advice: str) -> CodeInfo:
    """A code that leaves the verdict alone."""
    return CodeInfo(Severity.NOTE, summary, advice)


IDENTITY_CODES = {
    "anchor-missing": undecides(
        "Consistent, but nothing says whose service signed it.",
        "Add --service-cert FILE or --service-key-sha256 HEX, obtained from outside the receipt.",
    ),
    "service-key-needed": undecides(
        "The pinned service key is known by its fingerprint only, and a fingerprint verifies nothing.",
        "Add the key itself: --service-cert FILE, --ledger PATH, or --jwks ISSUER=FILE.",
    ),
    "service-key-mismatch": fails(
        "Another service key signed than the pinned ones.",
        "It belongs to another service, or to an earlier life of it: then add --endorsements FILE, or pin that key.",
    ),
    "node-certificate-issuer": fails(
        "The signing node's certificate does not lead to a pinned service key.",
        "The node belongs to another service, or to an earlier life of it: then add --endorsements FILE, or pin that "
        "life's key.",
    ),
    "epoch-mismatch": fails(
        "The transaction is outside the epoch for which the service key is endorsed.",
        "An endorsement counts for the transactions of its epoch only.",
    ),
    "epoch-unknown": undecides(
        "The service key is endorsed for one epoch, and the receipt names no transaction.",
        "Pin that service key itself.",
    ),
    "node-certificate-needed": undecides(
        "The receipt does not hold the certificate of the node that signed it.",
        "Receipts of CCF 1.x need --ledger PATH, where the certificate is.",
    ),
    "certificate-malformed": fails("A certificate in the receipt is malformed.", "No part of it is believed."),
    "endorsement-certificate-not-ca": fails(
        "A certificate that is no certificate authority was given as endorsement of an older service key.",
        "With a node's certificate in that place, whoever holds the node's key could forge receipts.",
    ),
    "identity-unproven": undecides(
        "The bundle of identities names the service key that signed, and does not prove that it is the service's.",
        "Pin that key itself, if you know it from elsewhere.",
    ),
    "service-opened": notes(
        "A newer service key signed; members of the pinned life opened the service under it.",
        "The history in the bundle was verified from the pinned identity on. More than half of the members signed.",
    ),
    "service-endorsed": notes(
        "An older service key signed; a pinned one vouches for it.",
        "The message says by which endorsement, and for which epoch if it names one.",
    ),
}

register("identity", IDENTITY_CODES)
