"""What a file is, by its content: the first byte, then the parts that only one kind has.

Nothing is decided by names. Whatever cannot be a receipt at all is ``unknown``; what has the parts of one but
does not parse is a malformed receipt, which fails.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import NamedTuple

from tallystick._native import CoseReceipt, CoseSign1, FormatErrorValue, JsonReceipt, cbor_decode
from tallystick.errors import FormatError, LimitExceededError
from tallystick.receipt.model import Kind
from tallystick.receipt.refusals import refused
from tallystick.receipt.statement import RECEIPTS_HEADER, LegacyReceipt

__all__ = ["MAX_DOCUMENT_BYTES", "Document", "recognise"]

# Bytes of one file. The largest real statements, with attested payloads, stay below 1 MiB.
MAX_DOCUMENT_BYTES = 16 << 20

_PROOFS_HEADER = 396
_DATA_STRUCTURE_HEADER = 395
_CCF_HEADER = "ccf.v1"

# Parts that only JSON receipts have, in either spelling.
_RECEIPT_KEYS = frozenset({"proof", "signature", "leaf", "leaf_components", "leafComponents", "cert"})


class Document(NamedTuple):
    """A recognised file.

    Attributes:
        kind: what it is.
        parsed: the receipt or statement; None where there is none to verify.
        problem: (finding code, message) instead.
        asked_txid: transaction ID beside the receipt, in a service's response.
        application_claims: the claims beside the receipt, as parsed from JSON.
        has_application_claims: whether there was such a field at all.
    """

    kind: Kind
    parsed: JsonReceipt | CoseReceipt | CoseSign1 | LegacyReceipt | None = None
    problem: tuple[str, str] | None = None
    asked_txid: str | None = None
    application_claims: object = None
    has_application_claims: bool = False


def recognise(contents: Sequence[bytes]) -> list[Document]:
    """Recognises and parses each of ``contents``, JSON receipts on all cores."""
    plain = [position for position, data in enumerate(contents) if _starts_like_json(data)]
    parsed = dict(zip(plain, JsonReceipt.parse_many([contents[i] for i in plain]), strict=True)) if plain else {}
    documents = []
    for position, data in enumerate(contents):
        receipt = parsed.get(position)
        if isinstance(receipt, JsonReceipt):
            documents.append(Document(Kind.CCF_JSON, receipt))
        elif receipt is not None:
            documents.append(_other_json(data, receipt))
        else:
            documents.append(_binary(data))
    return documents


def _starts_like_json(data: bytes) -> bool:
    return data[:64].lstrip(b" \t\r\n")[:1] == b"{" and len(data) <= MAX_DOCUMENT_BYTES


# ------------------------------------------------------------------------------------------------- JSON


def _other_json(data: bytes, error: FormatErrorValue) -> Document:
    """JSON that is not a bare receipt: a response around one, something else of CCF, or a damaged receipt."""
    try:
        document = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as problem:
        if any(f'"{key}"'.encode() in data for key in _RECEIPT_KEYS):
            return _malformed(Kind.CCF_JSON, f"receipt is not JSON: {problem}")
        return Document(Kind.UNKNOWN, problem=("not-a-receipt", f"neither JSON nor COSE: {problem}"))
    if not isinstance(document, dict):
        return Document(Kind.UNKNOWN, problem=("not-a-receipt", "JSON, but not an object"))
    if isinstance(document.get("receipt"), dict):
        return _response(document)
    if isinstance(document.get("cose_signature"), str):
        return _cose_signature_response(document["cose_signature"])
    if "endorsements" in document or "endorsement" in document:
        return _endorsement()
    if _RECEIPT_KEYS & document.keys():
        return Document(Kind.CCF_JSON, problem=refused(error))
    message = "JSON without a receipt in it"
    if isinstance(document.get("error"), dict):
        message = "the error response of a service, not a receipt"
    return Document(Kind.UNKNOWN, problem=("not-a-receipt", message))


def _response(document: dict[str, object]) -> Document:
    """A service's response with a receipt in it: Azure Confidential Ledger's, or a sample application's."""
    names = ("transactionId", "transaction_id", "applicationClaims", "application_claims")
    kind = Kind.ACL if any(name in document for name in names) else Kind.CCF_JSON
    inner = json.dumps(document["receipt"]).encode()
    try:
        receipt = JsonReceipt.parse(inner)
    except (FormatError, LimitExceededError) as error:
        return Document(kind, problem=refused(error))
    txid = document.get("transactionId", document.get("transaction_id"))
    if txid is not None and not isinstance(txid, str):
        return _malformed(kind, "transaction ID beside the receipt is not text")
    claims = document.get("applicationClaims", document.get("application_claims"))
    has_claims = "applicationClaims" in document or "application_claims" in document
    return Document(kind, receipt, asked_txid=txid, application_claims=claims, has_application_claims=has_claims)


def _cose_signature_response(text: str) -> Document:
    try:
        return _binary(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return _malformed(Kind.COSE_SIGNATURE, "cose_signature is not base64")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("an object holds the same key twice")
    return document


# ------------------------------------------------------------------------------------------------- CBOR


def _binary(data: bytes) -> Document:
    if len(data) > MAX_DOCUMENT_BYTES:
        return Document(Kind.UNKNOWN, problem=("unsupported", f"longer than {MAX_DOCUMENT_BYTES} bytes"))
    first = data[:1]
    try:
        if first == b"\xd2":
            return _sign1(data)
        if first == b"\x84":
            return _malformed(Kind.CCF_COSE, "COSE_Sign1 without its tag: expected the first byte d2, got 84")
        if first == b"\x82":
            return Document(Kind.SCITT_LEGACY, LegacyReceipt.parse(data))
        if first == b"\xa2":
            return _merkle_proof(data)
    except (FormatError, LimitExceededError) as error:
        kind = {b"\x82": Kind.SCITT_LEGACY, b"\xa2": Kind.MERKLE_PROOF}.get(first, Kind.CCF_COSE)
        return Document(kind, problem=refused(error))
    message = "empty" if not data else "neither a JSON object nor a tagged COSE_Sign1"
    return Document(Kind.UNKNOWN, problem=("not-a-receipt", message))


def _sign1(data: bytes) -> Document:
    sign1 = CoseSign1.parse(data)
    if _PROOFS_HEADER in sign1.unprotected_headers:
        return Document(Kind.CCF_COSE, CoseReceipt.parse(data))
    ccf = sign1.protected_headers.get(_CCF_HEADER)
    if isinstance(ccf, dict) and "epoch.start.txid" in ccf:
        return _endorsement()
    if _DATA_STRUCTURE_HEADER in sign1.protected_headers and sign1.payload is None:
        txid = ccf.get("txid") if isinstance(ccf, dict) else None
        message = f"signature transaction {txid}'s signature over a root that is not in the file: it proves nothing"
        return Document(Kind.COSE_SIGNATURE, problem=("cose-signature-only", message))
    if RECEIPTS_HEADER in sign1.unprotected_headers or sign1.payload is not None:
        return Document(Kind.SCITT_STATEMENT, sign1)
    return Document(Kind.UNKNOWN, problem=("not-a-receipt", "COSE_Sign1 with neither payload nor proofs"))


def _merkle_proof(data: bytes) -> Document:
    proof = cbor_decode(data)
    leaf = proof.get(1) if isinstance(proof, dict) else None
    if not isinstance(proof, dict) or not isinstance(leaf, list) or not isinstance(proof.get(2), list):
        return Document(Kind.UNKNOWN, problem=("not-a-receipt", "CBOR map that is no Merkle proof"))
    message = "Merkle proof without a signature: it proves nothing on its own"
    return Document(Kind.MERKLE_PROOF, problem=("merkle-proof-only", message))


def _endorsement() -> Document:
    message = "endorsement of an older service key, not a receipt: give it with --endorsements"
    return Document(Kind.ENDORSEMENT, problem=("endorsement-only", message))


def _malformed(kind: Kind, message: str) -> Document:
    return Document(kind, problem=("receipt-malformed", message))
