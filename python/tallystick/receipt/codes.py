"""Finding codes of receipts and transparent statements."""

from __future__ import annotations

from tallystick.findings import register
from tallystick.identity.codes import fails, notes, undecides

__all__ = ["RECEIPT_CODES"]


RECEIPT_CODES = {
    # What the file is
    "file-unreadable": undecides("A file could not be read.", "Check its name and permissions."),
    "not-a-receipt": undecides(
        "The content is no receipt, statement or proof that is known here.",
        "Receipts are recognised by content: JSON with a signature and a proof, or a tagged COSE_Sign1.",
    ),
    "receipt-malformed": fails(
        "The receipt is not in the format that it claims to be in.",
        "It was cut, edited or made by something that does not follow the format; no part of it is believed.",
    ),
    "merkle-proof-only": undecides(
        "A Merkle proof on its own: nothing in it is signed.",
        "Ask the service for a receipt of the transaction.",
    ),
    "cose-signature-only": undecides(
        "A signature over a root that is not in the file.",
        "It names a signature transaction and proves nothing about any other; ask for a receipt.",
    ),
    "endorsement-only": undecides(
        "An endorsement of an older service key, not a receipt.",
        "Give it with --endorsements to verify receipts of the older key.",
    ),
    "receipt-contradictory": fails(
        "Two parts of the receipt contradict each other.", "The receipt was put together from different ones."
    ),
    # The proof
    "path-shape": fails(
        "The path cannot be that of the transaction it claims.",
        "A transaction's seqno and the size of the tree fix on which side each sibling stands; this path is other.",
    ),
    "proof-duplicate": fails(
        "The same inclusion proof is given twice.", "A receipt of a service holds each proof once."
    ),
    "data-structure-unknown": fails(
        "The receipt is of another kind of log than a CCF ledger.",
        "Its header names another verifiable data structure than 2, so its proofs mean something else.",
    ),
    "commit-evidence-malformed": fails(
        "The commit evidence does not name a transaction.", "Expected ce:VIEW.SEQNO:DIGEST."
    ),
    "root-signature-invalid": fails(
        "The signature does not hold over the root that the proof leads to.",
        "Something in the receipt (components, path, signature) was changed, or it was signed by another key.",
    ),
    "node-id-mismatch": fails(
        "The node ID is not that of the certificate's key.",
        "A node ID is the SHA-256 of the node's public key; the receipt was put together from different ones.",
    ),
    # Claims
    "claims-digest-needed": undecides(
        "The receipt leaves its claims digest out, for the reader to compute.",
        "Add --claims FILE, --claims-text FILE or --claims-digest HEX, as the application documents.",
    ),
    "claims-digest-mismatch": fails(
        "The claims are not those of the transaction.", "The content at hand is not what was registered."
    ),
    "claims-not-in-receipt": undecides(
        "The receipt has no claims digest to compare with the claims that were given.",
        "A receipt that gives only a leaf says nothing about claims.",
    ),
    "claims-malformed": fails(
        "The application claims are malformed.", "Expected a non-empty list of LedgerEntry or ClaimDigest claims."
    ),
    "txid-mismatch": fails(
        "The receipt is for another transaction than the one that was asked for.",
        "Compare the transaction IDs; a valid receipt of another transaction proves nothing about this one.",
    ),
    "issuer-mismatch": fails(
        "The receipt names an issuer that the signing key is not bound to.",
        "A key counts for the issuer that published it, and for no other name.",
    ),
    "signed-root-only": notes(
        "The receipt of a signature transaction: it proves that the node signed this root.",
        "It proves no inclusion and names no transaction, so it fits any of them.",
    ),
    "unprotected-header": notes("An unprotected header that nobody signed is ignored.", "Do not rely on what it says."),
    # Statements
    "no-receipt": fails(
        "The signed statement holds no receipt.", "It is not transparent: nothing says that it was registered."
    ),
    "statement-signature-invalid": fails(
        "The statement's own signature does not hold.", "The statement was changed after its issuer signed it."
    ),
    # Ledger copies
    "ledger-leaf-mismatch": fails(
        "The ledger copy holds another transaction at this seqno than the receipt proves.",
        "Keep both: a receipt that holds beside a ledger that holds proves a fork.",
    ),
    "ledger-lacks-transaction": undecides(
        "The ledger copy does not hold the transaction.", "It ends before it, or lacks the chunk."
    ),
    "unsupported": undecides("Legal, but not supported here.", "Neither accepted nor refuted."),
}

# Codes of the core for what is malformed in a receipt; findings say receipt-malformed and quote the message.
_CUT = "It was cut, edited or made by something that does not follow the format; no part of it is believed."

RECEIPT_FORMAT_CODES = {
    "receipt-field-missing": fails("A field of the receipt is missing.", _CUT),
    "receipt-field-twice": fails("A field of the receipt is given in both spellings.", _CUT),
    "receipt-leaf-ambiguous": fails("The receipt gives both a leaf and what it is made of, or neither.", _CUT),
    "receipt-hex": fails("A digest in the receipt is not 64 lower-case hexadecimal digits.", _CUT),
    "receipt-base64": fails("The signature in the receipt is not base64.", _CUT),
    "receipt-commit-evidence": fails("The commit evidence in the receipt is malformed.", _CUT),
    "receipt-path-step": fails("A step of the path does not name exactly one side.", _CUT),
    "receipt-path-shape": fails("The path is not that of the leaf in the tree that was signed.", _CUT),
    "receipt-untagged": fails("The COSE receipt lacks its tag.", _CUT),
    "receipt-payload-attached": fails("The COSE receipt carries a payload; the root is to be computed.", _CUT),
    "receipt-header-missing": fails("A header of the COSE receipt is missing.", _CUT),
    "receipt-vds": fails("The COSE receipt is for another kind of tree than a CCF ledger's.", _CUT),
    "receipt-proofs": fails("The COSE receipt holds no inclusion proof.", _CUT),
    "receipt-proof-duplicate": fails("The COSE receipt holds the same proof twice.", _CUT),
    "receipt-proof-members": fails("An inclusion proof has other members than leaf and path.", _CUT),
    "receipt-leaf-members": fails("The leaf or a step of an inclusion proof has other members than it should.", _CUT),
    "receipt-digest-size": fails("A digest in an inclusion proof is not 32 bytes.", _CUT),
    "receipt-view-order": fails("The transaction is of a later view than the signature that covers it.", _CUT),
    "receipt-path-too-long": undecides("The path is longer than that of any ledger.", "A limit of this program."),
    "receipt-too-large": undecides("The receipt is larger than this program reads.", "A limit of this program."),
    "receipt-too-many-endorsements": undecides(
        "The receipt holds more endorsements than this program reads.", "A limit of this program."
    ),
}

register("receipt", RECEIPT_CODES)
register("receipt format", RECEIPT_FORMAT_CODES)
