"""Codes that the core emits while it reads a ledger: framing, domains, trees, signature transactions."""

from __future__ import annotations

from tallystick.findings import CodeInfo, Effect, Severity

__all__ = ["SCAN_CODES"]

_ALTERED = "A node never writes this: the bytes were altered or damaged. Get the chunk again from another copy."
_NOT_CCF = "The transaction was not written by CCF, or was altered."


def _fails(summary: str, advice: str = _ALTERED) -> CodeInfo:
    return CodeInfo(Severity.ERROR, summary, advice)


def _limit(summary: str) -> CodeInfo:
    advice = "A limit of this program stopped the work, so the input was neither accepted nor refuted."
    return CodeInfo(Severity.WARNING, summary, advice, Effect.UNDECIDES)


_CHUNKS = {
    "chunk-header-truncated": _fails("a chunk file is shorter than its header"),
    "chunk-header": _fails("the header of a chunk file points at no place for an offset table"),
    "chunk-offsets-missing": _fails(
        "the header of a chunk file points at an offset table beyond the end of the file",
        "The end of the file is missing. Get the chunk again from another copy.",
    ),
    "chunk-offsets-size": _fails(
        "the offset table of a chunk file has another size than its transactions call for",
        "Transactions were hidden behind it, or the table was altered. Get the chunk again from another copy.",
    ),
    "chunk-offsets-differ": _fails(
        "the offset table of a chunk file points elsewhere than where the transactions are",
        "The table was altered: readers that trust it read other transactions. Get the chunk again from another copy.",
    ),
    "chunk-trailing-bytes": _fails(
        "bytes stand between the last transaction and the offset table", "Somebody hid them there, or cut an entry."
    ),
    "chunk-empty": CodeInfo(
        Severity.NOTE, "an open chunk holds no transaction", "As a node leaves it when it stops in time."
    ),
    "chunk-end-not-signature": CodeInfo(
        Severity.WARNING,
        "a complete chunk does not end on a signature transaction",
        "Nodes complete a chunk right after a signature only; a tool can have split it elsewhere. What it holds is "
        "judged by the signatures that follow.",
    ),
    "chunk-writer-seqno": _fails("a chunk was to be written out of order", "A mistake of the program that writes."),
    "chunk-writer-offset": _fails("a chunk was to grow beyond 4 GiB", "Complete the chunk earlier."),
    "chunk-writer-empty": _fails("an empty chunk was to be completed", "A mistake of the program that writes."),
    "tail-damaged": _fails(
        "the last transaction of an open chunk runs past its end, but was not cut there by a crash",
        "Its size was altered, which takes it and all that follows out of the ledger. Get the file from another copy.",
    ),
    "partial-tail": CodeInfo(
        Severity.WARNING,
        "the last transaction of an open chunk is half-written",
        "A crash image: the node would cut it off. What stands before it is judged as ever.",
    ),
}

_ENTRIES = {
    "entry-truncated": _fails("an entry ends before its announced size"),
    "entry-trailing-bytes": _fails("an entry is followed by other bytes"),
    "entry-version": _fails("an entry has another format version than 1"),
    "entry-flags": _fails("an entry has flags that do not exist"),
    "entry-too-small": _fails("an entry is smaller than its fixed parts"),
    "entry-too-large": _limit("an entry is larger than this program reads"),
    "entry-public-domain-size": _fails("the public domain of an entry is larger than the entry"),
    "entry-seqno-mismatch": _fails("the seqno in an entry's public domain is not the one in its IV"),
    "entry-snapshot-bit": _fails("an entry is marked as a snapshot but is none, or the reverse"),
    "entry-view-range": _fails("a view is too large for an entry", "A mistake of the program that writes."),
    "entry-size-limit": _limit("an entry to be written is too large"),
    "entry-gcm-tag": _fails(
        "an entry is not authentic under the ledger secret",
        "Its bytes were altered, or the secret is not the one in force at its seqno.",
    ),
    "shares-box": _fails(
        "the sealed box that recovery shares carry does not open",
        "A share is wrong or of another set, or too few were given.",
    ),
    "ledger-secret-size": _fails("a ledger secret is not 32 bytes", "Give the unwrapped secret."),
    "secret-length": _fails("key material is not 32 bytes", "Give the unwrapped secret."),
    "secret-wrapped-length": _fails("a wrapped ledger secret is not 60 bytes: tag, IV, ciphertext"),
    "secret-unwrap": _fails(
        "a wrapped ledger secret does not open",
        "The key is not the one that it was sealed with, or the record was altered.",
    ),
    "secret-malformed": _fails("a line of a file of ledger secrets is none", "Write HEX or START:HEX, 64 hex digits."),
    "secret-named-twice": _fails("a file of ledger secrets names a seqno twice"),
    "secret-file-empty": _fails("a file holds no ledger secret"),
    "share-malformed": _fails("a recovery share has neither format"),
    "shares-inconsistent": _fails(
        "recovery shares do not belong together",
        "They are of different refreshes or services, or one was altered.",
    ),
    "shares-too-few": _fails("fewer recovery shares than the threshold", "Gather those of more members."),
    "threshold-out-of-range": _fails("a recovery threshold cannot be met by that many shares"),
    "key-unreadable": _fails("a file holds no private key that can be read", "Give PEM without a password."),
    "key-wrong-type": _fails("a private key is no RSA key of 2048 to 8192 bits", "Give the member's encryption key."),
}

_DOMAINS = {
    "domain-truncated": _fails("a length in a domain runs past its end"),
    "domain-entry-type": _fails("an entry has a type that a ledger cannot hold"),
    "domain-map-encoding": _fails("a table name is not UTF-8"),
    "domain-map-prefix": _fails("a private table stands in a public domain, or the reverse"),
    "domain-map-order": _fails("tables of a transaction repeat or are out of order"),
    "domain-key-order": _fails("keys of a table repeat or are out of order"),
    "domain-key-conflict": _fails("a key is both written and removed in one transaction"),
}

_ORDER = {
    "seqno-gap": _fails(
        "transactions are missing between two that follow each other in the files",
        "The history is not whole. Add the missing chunk, or get this one again.",
    ),
    "seqno-repeated": _fails(
        "a transaction has a seqno that was there before", "Transactions were moved, repeated or replayed."
    ),
    "view-decreases": _fails("a transaction has a lower view than the one before it", _NOT_CCF),
    "view-change-unsigned": _fails(
        "the view changes although the transaction before it is not a signature",
        "A new primary or a recovered service starts from a signature. The transaction was altered or put there.",
    ),
}

_SIGNATURES = {
    "signature-tx-extra-table": _fails("a signature transaction writes other tables too", _NOT_CCF),
    "signature-tx-table-shape": _fails("a table of a signature transaction is not one value", _NOT_CCF),
    "signature-tx-claims": _fails("a signature transaction has a claims digest", _NOT_CCF),
    "signature-tx-private": _fails("a signature transaction has a private part", _NOT_CCF),
    "signature-missing": _fails(
        "a signature transaction holds no signature", "At least one is required, by the node or the service."
    ),
    "signature-tree-missing": _fails("a signature transaction lacks its Merkle tree", _NOT_CCF),
    "signature-txid": _fails(
        "a signature names another transaction than the one it stands in",
        "The signature was moved here from elsewhere, or the transaction's header was altered.",
    ),
    "signature-tree-size": _fails("the tree in a signature transaction is for another number of transactions"),
    "signature-tree-root": _fails("the tree in a signature transaction has another root than the transactions"),
    "signature-roots-differ": _fails("the signed root and the root of the tree beside it differ"),
    "root-mismatch": _fails(
        "the signed root is not that of the transactions before it",
        "A transaction between the last good signature and this one was altered, added, removed or moved.",
    ),
    "leaf-differs": _fails(
        "a transaction is not the one that a later signature covers",
        "It was altered, or put in the place of another.",
    ),
    "signature-key-missing": _fails("a node signature lacks a field", _NOT_CCF),
    "signature-hex": _fails("a field of a signature is not lower-case hex of its size", _NOT_CCF),
    "signature-base64": _fails("a signature is not base64", _NOT_CCF),
    "signature-cose-untagged": _fails("a COSE signature lacks its tag", _NOT_CCF),
    "signature-cose-payload": _fails("a COSE signature carries a payload", _NOT_CCF),
    "signature-cose-unprotected": _fails("a COSE signature has unprotected headers", _NOT_CCF),
    "signature-cose-header-missing": _fails("a COSE signature lacks a header", _NOT_CCF),
    "signature-cose-kid": _fails("the key id of a COSE signature is not 64 hexadecimal digits", _NOT_CCF),
    "signature-cose-vds": _fails("a COSE signature is for another kind of tree than a CCF ledger's", _NOT_CCF),
}

_TREES = {
    "merkle-compact-empty": _fails("a compact tree holds no leaf", _NOT_CCF),
    "merkle-compact-size": _fails("a compact tree has another size than its counters say", _NOT_CCF),
    "merkle-tree-size-limit": _limit("a tree is larger than any ledger"),
    "merkle-index-out-of-range": _fails(
        "a tree was asked for a leaf that it does not have", "A mistake of the caller."
    ),
    "merkle-leaf-bytes": _fails("leaves are not 32 bytes each", "A mistake of the caller."),
    "merkle-size-out-of-range": _fails("a tree was asked for a size that it does not have", "A mistake of the caller."),
    "merkle-subtree-unaligned": _fails(
        "a tree was asked for a subtree that it does not have", "A mistake of the caller."
    ),
    "merkle-path-too-long": _limit("a path is longer than that of any ledger"),
}

_SNAPSHOTS = {
    "snapshot-entry-type": _fails("a snapshot is of another entry type"),
    "snapshot-flags": _fails("a snapshot has entry flags"),
    "snapshot-hash-size": _fails("the leaf in a snapshot is not 32 bytes"),
    "snapshot-view-history-size": _fails("the view history of a snapshot has a size that does not fit"),
    "snapshot-map-encoding": _fails("a table name in a snapshot is not UTF-8"),
    "snapshot-map-prefix": _fails("a private table stands in the public part of a snapshot, or the reverse"),
    "snapshot-map-order": _fails("tables of a snapshot repeat or are out of order"),
    "snapshot-key-order": _fails("keys of a table in a snapshot repeat or are out of order"),
    "snapshot-padding": _fails("padding in a snapshot is not zero"),
    "snapshot-truncated": _fails("a snapshot ends too early"),
    "snapshot-too-large": _limit("a snapshot is larger than this program reads"),
}

_ENCODINGS = {
    "json-syntax": _fails("JSON is malformed", _NOT_CCF),
    "json-type": _fails("a JSON value has another type than expected", _NOT_CCF),
    "json-duplicate-key": _fails("a JSON object has a key twice", _NOT_CCF),
    "json-trailing-bytes": _fails("bytes follow a JSON value", _NOT_CCF),
    "json-not-utf8": _fails("JSON is not UTF-8", _NOT_CCF),
    "json-too-deep": _limit("JSON is nested deeper than this program reads"),
    "cbor-truncated": _fails("CBOR ends too early", _NOT_CCF),
    "cbor-trailing-bytes": _fails("bytes follow a CBOR item", _NOT_CCF),
    "cbor-not-shortest": _fails("a CBOR head is not the shortest", _NOT_CCF),
    "cbor-indefinite-length": _fails("a CBOR item has no definite length", _NOT_CCF),
    "cbor-reserved": _fails("a CBOR head is reserved", _NOT_CCF),
    "cbor-simple-value": _fails("a CBOR simple value or float is not supported", _NOT_CCF),
    "cbor-not-utf8": _fails("a CBOR text is not UTF-8", _NOT_CCF),
    "cbor-key-type": _fails("a CBOR map key is neither integer nor text", _NOT_CCF),
    "cbor-duplicate-key": _fails("a CBOR map has a key twice", _NOT_CCF),
    "cbor-type": _fails("a CBOR item has another type than expected", _NOT_CCF),
    "cbor-too-deep": _limit("CBOR is nested deeper than this program reads"),
    "cbor-too-many-items": _limit("CBOR has more items than this program reads"),
    "cose-tag": _fails("a COSE message has another tag than COSE_Sign1", _NOT_CCF),
    "cose-array-length": _fails("a COSE_Sign1 is not an array of four", _NOT_CCF),
    "cose-header-type": _fails("COSE headers have another type than expected", _NOT_CCF),
    "cose-duplicate-label": _fails("a COSE header stands in both header maps", _NOT_CCF),
    "cose-header-critical": _fails("a COSE message has a critical header that is not understood", _NOT_CCF),
    "cose-payload-missing": _fails("a COSE payload is missing", _NOT_CCF),
    "cose-payload-twice": _fails("a COSE payload is both attached and given", "A mistake of the caller."),
    "cose-signature-empty": _fails("a COSE signature is empty", _NOT_CCF),
    "certificate-malformed": _fails("a certificate is malformed", _NOT_CCF),
    "key-not-canonical": _fails("a public key is not in its canonical encoding", _NOT_CCF),
    "key-not-spki": _fails("a public key is not a SubjectPublicKeyInfo of a supported kind", _NOT_CCF),
    "key-malformed": _fails("a public key is not PEM", _NOT_CCF),
    "request-malformed": _fails("a member's request is malformed", _NOT_CCF),
    "proposal-malformed": _fails("a proposal is malformed", _NOT_CCF),
}

SCAN_CODES: dict[str, CodeInfo] = {
    **_CHUNKS, **_ENTRIES, **_DOMAINS, **_ORDER, **_SIGNATURES, **_TREES, **_SNAPSHOTS, **_ENCODINGS,
}  # fmt: skip
