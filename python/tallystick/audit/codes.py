"""The codes of findings about ledgers: severity, meaning and advice, said once.

Codes of the core (framing, domains, trees, signature transactions) are in ``scan_codes.py``.
"""

from __future__ import annotations

from tallystick.audit.scan_codes import SCAN_CODES
from tallystick.findings import CodeInfo, Effect, Severity, register

__all__ = ["LEDGER_CODES"]

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE
_UNDECIDES = Effect.UNDECIDES

_FILES: dict[str, CodeInfo] = {
    "path-missing": CodeInfo(
        _E,
        "a path does not exist, or is neither a directory nor a file",
        "Correct the path. It is a usage error; nothing was verified.",
    ),
    "chunk-name": CodeInfo(
        _E,
        "the name of a chunk file is malformed, or its content is not what the name says",
        "A node never writes such a file: it was renamed, cut or replaced. Get the chunk again from another copy.",
    ),
    "chunk-incomplete": CodeInfo(
        _E,
        "a file that is complete by its name has no offset table",
        "The end of the file is missing or its header was overwritten. Get the chunk again from another copy.",
    ),
    "chunk-gap": CodeInfo(
        _E,
        "transactions between two chunks are in no file",
        "The history is not whole. Add the missing chunk, or the directory that holds it, to the command line.",
    ),
    "copy-conflict": CodeInfo(
        _E,
        "two copies of the same transaction differ",
        "One transaction ID has two contents, so at least one copy was altered. The finding names the copy that was "
        "not read; verify each directory on its own to see which one holds.",
    ),
    "ledger-fork": CodeInfo(
        _E,
        "two files hold different transactions at the same seqno, and the older one is signed and was committed",
        "Two histories exist: the service was recovered from a ledger that lacked committed transactions, or somebody "
        "forged one. Keep both, and ask the operator. `tallystick diff` makes evidence of it.",
    ),
    "replaced-suffix": CodeInfo(
        _W,
        "a copy ends in signed transactions that a later view replaced",
        "A primary signs before its transactions are committed, and what it had not committed is lost when another one "
        "takes over; the copy does not say that these were. A receipt for one of them shows that it was: give it with "
        "--receipt, and the ledger fails.",
    ),
    "copy-unreadable": CodeInfo(
        _W,
        "a second copy of transactions that were read elsewhere is not readable",
        "The ledger was verified from the other copy. Replace the broken one.",
    ),
    "redundant-file": CodeInfo(
        _N,
        "all transactions of a file were read from other files",
        "Usual where a node's main and read-only directories overlap, or after a crash. They were compared byte by "
        "byte.",
    ),
    "discarded-suffix": CodeInfo(
        _N,
        "an open chunk ends in unsigned transactions that the service later discarded",
        "Expected after a disaster recovery or an election: what no signature covers was never committed.",
    ),
    "file-name-unknown": CodeInfo(
        _W,
        "a file or name that looks like the ledger's is not a chunk, and was not read",
        "Rename it to ledger_A-B.committed if it is one, else remove it from the directory.",
    ),
    "file-ignored": CodeInfo(
        _N, "files that are no part of the history were not read", "Nothing to do, unless one was to be read."
    ),
    "file-unreadable": CodeInfo(
        _W,
        "a file could not be read",
        "Correct the permissions or get the file again; what it holds could not be judged.",
        _UNDECIDES,
    ),
    "nothing-to-verify": CodeInfo(
        _W,
        "no transaction was found",
        "The directory holds no chunk that may be read. Open and uncommitted chunks need --uncommitted, .recovery "
        "files --recovery.",
        _UNDECIDES,
    ),
    "no-genesis": CodeInfo(
        _N,
        "the ledger does not start at its first transaction",
        "What stands before is not judged, and neither are nodes, members and proposals from before. The verdict "
        "names the range that is proven.",
    ),
    "findings-not-listed": CodeInfo(
        _N, "more findings of the same code were met than are listed", "Mend the listed ones first."
    ),
}

_TRUST: dict[str, CodeInfo] = {
    "anchor-missing": CodeInfo(
        _W,
        "no trust anchor was given, so the identity of the service is its own word",
        "Get the service certificate or its key's fingerprint from the operator, or from whom you trust, and pin it "
        "with --service-cert or --service-key-sha256. Do not copy the fingerprint from the ledger itself.",
        _UNDECIDES,
    ),
    "anchor-mismatch": CodeInfo(
        _E,
        "a pinned service identity does not occur in the ledger",
        "This is another service's ledger, or a forged one; or the wrong certificate was given.",
    ),
    "anchor-no-genesis": CodeInfo(
        _W,
        "--trust-genesis was given for a part of a ledger that lacks the first transaction",
        "Add the first chunk, or pin a service identity.",
        _UNDECIDES,
    ),
    "service-identity-unvouched": CodeInfo(
        _E,
        "the service changed its identity, and nothing that is trusted vouches for the new one",
        "An outsider can append a recovery with keys of his own. If you know the new identity from elsewhere, pin it "
        "too.",
    ),
    "service-identity-unreached": CodeInfo(
        _W,
        "older identities of the service are not reached from the pinned one",
        "Services before 6.0 recorded no endorsement of older identities. Pin the identity that the message names, "
        "if you know it from elsewhere.",
        _UNDECIDES,
    ),
    "opening-undecided": CodeInfo(
        _W,
        "the members' opening of a recovered service does not decide by itself",
        "Its signed ballots are not plainly a majority, or it names no identity (1.x). `tallystick gov verify` has the "
        "constitution decide; or pin the new identity, if you know it from elsewhere.",
        _UNDECIDES,
    ),
    "opening-identity-mismatch": CodeInfo(
        _E,
        "the members opened a service with another identity than this one",
        "The opening proposal names another certificate than the service has. Ask the members.",
    ),
    "service-identity-changed": CodeInfo(
        _E,
        "the service key changes outside of a recovery",
        "A service keeps its key for life. Whoever wrote this put another key in its place.",
    ),
    "service-status": CodeInfo(
        _E, "the service status takes a step that no service takes", "The transaction was not written by CCF."
    ),
    "service-key-unknown": CodeInfo(
        _W,
        "the key of the service is not known where a part of a ledger begins",
        "Give the certificate, not only its fingerprint, with --service-cert.",
        _UNDECIDES,
    ),
    "genesis-malformed": CodeInfo(
        _E,
        "the first transaction is not that of a service",
        "Every service begins with its identity, status Opening, in transaction 1.",
    ),
    "recovery-boot": CodeInfo(
        _E,
        "a recovery stands where none can begin",
        "A recovered service goes on right after the last signature, two views later.",
    ),
    "recovery-flag": CodeInfo(
        _W, "a recovery does not ask for a new chunk", "CCF sets this flag on the first transaction of a recovery."
    ),
    "recovery-previous-identity": CodeInfo(
        _E,
        "a recovery names another previous identity than the ledger has",
        "The recovered service did not start from this history.",
    ),
    "recovery-last-root": CodeInfo(
        _E,
        "a recovery names another last signed root than the ledger has",
        "The recovered service did not start from this history.",
    ),
    "endorsement-invalid": CodeInfo(
        _E,
        "an endorsement of a previous identity does not hold",
        "Its signature, or what its record says of it, is wrong; CCF writes none that fails.",
    ),
    "endorsement-epoch-reversed": CodeInfo(
        _W,
        "an endorsement is for an epoch that ends before it begins",
        "A known bug of early 6.0 builds. It vouches for nothing and was left aside.",
    ),
}

_SIGNERS: dict[str, CodeInfo] = {
    "signature-invalid": CodeInfo(
        _E,
        "a node's signature does not hold",
        "What was signed is not what stands here. Nothing from the last good signature on is proven.",
    ),
    "cose-signature-invalid": CodeInfo(
        _E,
        "a COSE signature does not hold under the service key",
        "What was signed is not what stands here, or another key signed it.",
    ),
    "cose-signature-missing": CodeInfo(
        _W,
        "a signature transaction has no COSE signature although earlier ones have",
        "Nodes of versions before 6.0 leave it out, so it can alternate during an upgrade. Otherwise somebody removed "
        "it.",
    ),
    "cose-kid-mismatch": CodeInfo(
        _E, "a COSE signature names another service key than the one in force", "Another service signed."
    ),
    "signer-unknown": CodeInfo(
        _E, "the signer is not a node of the service", "Somebody else signed; nothing here is proven by it."
    ),
    "signer-not-trusted": CodeInfo(
        _E,
        "the signer is a node that may not sign at this point",
        "It was never made Trusted, or only its own signature says so.",
    ),
    "signer-not-endorsed": CodeInfo(
        _E,
        "the signer has no certificate of the service in force",
        "Only nodes that the service itself certified may sign for it.",
    ),
    "signer-key-mismatch": CodeInfo(
        _E,
        "the certificate in a signature is for another key than the node's",
        "A renewed certificate keeps the key; this one does not.",
    ),
    "signer-certificate": CodeInfo(
        _E, "the certificate in a signature is malformed", "The transaction was not written by CCF."
    ),
    "signer-before-start": CodeInfo(
        _W,
        "the signer's key stands before the start of this part of the ledger",
        "Signatures of 1.x carry no certificate. Start at the first chunk.",
        _UNDECIDES,
    ),
    "signer-retired": CodeInfo(
        _N, "the signer is retiring", "A node goes on signing until its retirement is committed."
    ),
    "signer-retired-committed": CodeInfo(
        _W,
        "the signer signed after its retirement was committed",
        "Seen of primaries that had not heard of their own retirement; its key and certificate hold.",
    ),
    "nothing-signed": CodeInfo(
        _W,
        "no signature was found that could be checked",
        "Nothing is proven. Add chunks up to the next signature, and the first one.",
        _UNDECIDES,
    ),
    "unsigned-tail": CodeInfo(
        _N,
        "transactions after the last signature",
        "They are present and well-formed, but nobody signed them: they are not proven, and may never be committed.",
    ),
}

_ROWS: dict[str, CodeInfo] = {
    "row-malformed": CodeInfo(
        _E, "a row of a governance or internal table is malformed", "The transaction was not written by CCF."
    ),
    "node-id-mismatch": CodeInfo(
        _E, "a node's id is not the digest of its key", "The row was forged: the id is derived from the key."
    ),
    "node-not-endorsed": CodeInfo(
        _E,
        "a node lacks a certificate issued by the service in force",
        "Somebody added a node that the service did not admit.",
    ),
    "node-certificate-stray": CodeInfo(
        _W, "a node certificate for a node that is not listed", "It is not used for anything."
    ),
    "node-status": CodeInfo(
        _E, "a node's status takes a step that no node takes", "The transaction was not written by CCF."
    ),
    "member-id-mismatch": CodeInfo(
        _E,
        "a member's id is not the digest of its certificate",
        "The row was forged: the id is derived from the certificate.",
    ),
}

_EXPECTATIONS: dict[str, CodeInfo] = {
    "level-below-full": CodeInfo(
        _W,
        "no signature was checked at this level",
        "What the level names was checked; without signatures nothing is proven. Leave --level out.",
        _UNDECIDES,
    ),
    "shorter-than-head": CodeInfo(
        _E,
        "the ledger is shorter than the transaction ID that the caller holds",
        "Transactions that existed are missing here: this copy is old, or was cut.",
    ),
    "head-mismatch": CodeInfo(
        _E,
        "the ledger holds another transaction at the seqno that the caller holds",
        "Two histories exist: this ledger is not the one the transaction ID came from.",
    ),
    "receipt-beyond-ledger": CodeInfo(
        _E,
        "a receipt proves a transaction after the end of the ledger",
        "The receipt shows that it existed: this copy is old, or was cut. Keep both as evidence.",
    ),
    "receipt-mismatch": CodeInfo(
        _E,
        "a receipt proves another transaction than the ledger holds",
        "Two histories exist. Keep both as evidence.",
    ),
    "receipt-root-mismatch": CodeInfo(
        _E,
        "a receipt leads to a root that the ledger does not have",
        "Its path is wrong, or it was made from another history.",
    ),
    "receipt-unusable": CodeInfo(
        _W,
        "a receipt could not be compared with the ledger",
        "It says too little, or its transaction is before the start of what was read.",
        _UNDECIDES,
    ),
    "checkpoint-malformed": CodeInfo(
        _E, "the checkpoint file is not one", "Remove it to verify from the start.", Effect.FAILS
    ),
    "checkpoint-anchor": CodeInfo(
        _E,
        "the checkpoint was made under another trust anchor",
        "Use the anchor it was made with, or remove it to verify from the start.",
    ),
    "checkpoint-rollback": CodeInfo(
        _E,
        "the ledger ends before the checkpoint",
        "Transactions that were verified before are missing: this copy is old, or was cut.",
    ),
    "checkpoint-fork": CodeInfo(
        _E,
        "the ledger differs from what the checkpoint was made from",
        "The history was rewritten since: it did not only grow.",
    ),
    "checkpoint-start": CodeInfo(
        _W,
        "the transaction at which the checkpoint stands is not in the files given",
        "Add the chunk that holds it.",
        _UNDECIDES,
    ),
}

LEDGER_CODES: dict[str, CodeInfo] = {**_FILES, **_TRUST, **_SIGNERS, **_ROWS, **_EXPECTATIONS}

register("ledger", LEDGER_CODES)
register("ledger format", SCAN_CODES)
