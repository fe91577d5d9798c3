"""SCITT transparent statements: a signed statement that carries receipts of its registration.

Registration stores the statement with an empty unprotected header, and the transaction's claims digest is the
hash of exactly that. So the steps are:

(1) at least one receipt under unprotected header 394: without one, nothing says that it was registered;
(2) each receipt verified on its own, with the claims digest expected to be that hash;
(3) the statement's own signature, by the key of the first certificate in its protected x5chain header.

Legacy receipts (2023 and 2024) are arrays of a protected header and a body; the claims digest is then the hash
of a countersignature structure, and a node signed the root, as in JSON receipts.

Not done here: the chain of the statement's certificates to a root, and the rules of ``did:x509``.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple

from tallystick._native import (
    CborTag,
    Certificate,
    CoseReceipt,
    CoseSign1,
    PublicKey,
    cbor_decode,
    cbor_encode,
    merkle_root_of_path,
)
from tallystick.errors import FormatError, LimitExceededError
from tallystick.findings import finding
from tallystick.identity.issuance import NodeCertificate, NodeCertificates
from tallystick.identity.service_keys import ServiceKeys
from tallystick.receipt import not_checked
from tallystick.receipt.cose_receipt import draft_cose_receipt
from tallystick.receipt.json_receipt import check_epoch, compare_claims, compare_txid
from tallystick.receipt.model import Draft, Expected, Kind, SignatureCheck, SignatureGroup
from tallystick.receipt.paths import shape_problem
from tallystick.receipt.refusals import refused
from tallystick.types import TxId

__all__ = ["LegacyReceipt", "draft_statement", "statement_claims_digest"]

RECEIPTS_HEADER = 394
_X5CHAIN_HEADER = 33
_COSE_SIGN1_TAG = 18
_CWT_CLAIMS_HEADER = 15

# Receipts in one statement: one per ledger it was registered in. Real ones hold one or two.
_MAX_RECEIPTS = 64

# COSE algorithms whose signatures are verified here: ECDSA and RSA-PSS with SHA-256, 384 and 512.
_ALGORITHMS = frozenset({-7, -35, -36, -37, -38, -39})


def statement_claims_digest(statement: CoseSign1) -> bytes:
    """Hash of the statement with an empty unprotected header; protected header, payload and signature verbatim."""
    stripped = CborTag(_COSE_SIGN1_TAG, [statement.protected, {}, statement.payload, statement.signature])
    return hashlib.sha256(cbor_encode(stripped)).digest()


def draft_statement(
    draft: Draft, statement: CoseSign1, keys: ServiceKeys, nodes: NodeCertificates, expected: Expected
) -> None:
    """Runs the steps above; each receipt becomes a part of ``draft``."""
    receipts = statement.unprotected_headers.get(RECEIPTS_HEADER)
    if not isinstance(receipts, list) or not receipts:
        draft.say("no-receipt", "signed statement holds no receipt: expected at least one in unprotected header 394")
        return
    if len(receipts) > _MAX_RECEIPTS:
        draft.say("receipt-malformed", f"expected at most {_MAX_RECEIPTS} receipts, got {len(receipts)}")
        return
    digest = statement_claims_digest(statement)
    if expected.claims_digest is not None and expected.claims_digest != digest:
        draft.claims_digest = digest
        compare_claims(draft, expected)
        return
    if len(set(map(repr, receipts))) != len(receipts):
        draft.say("proof-duplicate", "the same receipt is embedded twice")
        return
    for position, receipt in enumerate(receipts):
        part = Draft(draft.file, Kind.CCF_COSE)
        _draft_part(part, receipt, statement, keys, nodes, Expected(digest, expected.txid, expected.issuer))
        if len(receipts) > 1:
            part.label = f"receipt {position + 1} of {len(receipts)}: "
        draft.parts.append(part)
    if all(part.kind is Kind.SCITT_LEGACY for part in draft.parts):
        draft.kind = Kind.SCITT_LEGACY
    _check_own_signature(draft, statement)


def _draft_part(
    part: Draft,
    receipt: object,
    statement: CoseSign1,
    keys: ServiceKeys,
    nodes: NodeCertificates,
    expected: Expected,
) -> None:
    if not isinstance(receipt, bytes):
        part.say("receipt-malformed", "embedded receipt is not a byte string")
        return
    try:
        if receipt[:1] in (b"\x82", b"\x9f"):
            part.kind = Kind.SCITT_LEGACY
            legacy = LegacyReceipt.parse(receipt)
            draft_legacy_receipt(part, legacy, nodes, expected, legacy.claims_digest(statement))
        else:
            draft_cose_receipt(part, CoseReceipt.parse(receipt), keys, expected)
    except (FormatError, LimitExceededError) as error:
        part.say(*refused(error))


def _check_own_signature(draft: Draft, statement: CoseSign1) -> None:
    """(3): the issuer's signature, or why it was not checked."""
    chain = statement.protected_headers.get(_X5CHAIN_HEADER)
    first = chain[0] if isinstance(chain, list) and chain else chain
    algorithm = statement.algorithm
    if not isinstance(first, bytes):
        draft.not_checked.append("the statement's own signature: its protected header holds no certificate")
        return
    if algorithm not in _ALGORITHMS or statement.payload is None:
        draft.not_checked.append(f"the statement's own signature: algorithm {algorithm} is not supported")
        return
    try:
        key = PublicKey.from_spki(Certificate.parse(first).spki)
    except (FormatError, LimitExceededError) as error:
        draft.say("certificate-malformed", f"first certificate of the statement: {error.message}")
        return
    draft.not_checked.append(not_checked.STATEMENT_CHAIN)
    failure = finding(
        "statement-signature-invalid",
        f"statement's own signature does not hold under the key of its first certificate, {key.sha256}",
    )
    check = SignatureCheck(key, statement.signed_bytes(), statement.signature, algorithm)
    draft.groups.append(SignatureGroup([check], lambda: failure))


class LegacyReceipt(NamedTuple):
    """A receipt of a SCITT service of 2023 or 2024.

    Attributes:
        protected: the protected header as bytes: it enters the claims digest.
        issuer: as claimed.
        signature: fixed width r‖s over the root.
        node_pem: the node's certificate.
        path: (sibling on the left, sibling) from the leaf up.
        write_set_digest: 32 bytes.
        commit_evidence: text.
    """

    protected: bytes
    issuer: str | None
    signature: bytes
    node_pem: str
    path: tuple[tuple[bool, bytes], ...]
    write_set_digest: bytes
    commit_evidence: str

    @classmethod
    def parse(cls, data: bytes) -> LegacyReceipt:
        """Parses the CBOR array ``[protected header, [signature, certificate, path, leaf]]``.

        Raises:
            FormatError: it is anything else.
        """
        document = cbor_decode(data)
        if not isinstance(document, list) or len(document) != 2:
            raise _malformed("expected a protected header and a body")
        protected, body = document
        header = cbor_decode(protected) if isinstance(protected, bytes) else None
        if not isinstance(header, dict) or header.get("tree_alg") != "CCF":
            raise _malformed("expected tree_alg CCF in its protected header")
        if not isinstance(body, list) or len(body) != 4:
            raise _malformed("body is not an array of 4")
        signature, certificate, path, leaf = body
        if not isinstance(signature, bytes) or not isinstance(certificate, bytes):
            raise _malformed("signature or certificate is not a byte string")
        if not isinstance(path, list) or not isinstance(leaf, list) or len(leaf) != 2:
            raise _malformed("path or leaf is not an array")
        wsd, evidence = leaf
        if not isinstance(wsd, bytes) or len(wsd) != 32 or not isinstance(evidence, bytes):
            raise _malformed("leaf is not a digest of 32 bytes and the commit evidence")
        issuer = header.get(391)
        return cls(
            protected,
            issuer if isinstance(issuer, str) else None,
            signature,
            _pem(certificate),
            tuple(_step(step) for step in path[: _MAX_STEPS + 1]),
            wsd,
            evidence.decode("ascii", "replace"),
        )

    @property
    def txid(self) -> TxId:
        """From the commit evidence ``ce:VIEW.SEQNO:DIGEST``.

        Raises:
            FormatError: it is malformed.
        """
        parts = self.commit_evidence.split(":")
        if len(parts) != 3 or parts[0] != "ce" or len(parts[2]) != 64:
            raise FormatError("commit evidence is malformed", code="commit-evidence-malformed")
        return TxId.parse(parts[1])

    def claims_digest(self, statement: CoseSign1) -> bytes:
        """Hash of the countersignature structure over ``statement``."""
        structure = [
            "CounterSignatureV2",
            statement.protected,
            self.protected,
            b"",
            statement.payload,
            [statement.signature],
        ]
        return hashlib.sha256(cbor_encode(structure)).digest()

    def leaf(self, claims_digest: bytes) -> bytes:
        """The transaction's leaf."""
        evidence = hashlib.sha256(self.commit_evidence.encode()).digest()
        return hashlib.sha256(self.write_set_digest + evidence + claims_digest).digest()


# Steps of a path: seqnos are below 2^63.
_MAX_STEPS = 64


def draft_legacy_receipt(
    draft: Draft, receipt: LegacyReceipt, nodes: NodeCertificates, expected: Expected, claims_digest: bytes
) -> None:
    """Verifies a legacy receipt: as a JSON receipt, with the claims digest that the statement demands."""
    draft.not_checked += (
        not_checked.NODE,
        not_checked.DATES,
        not_checked.WRITES,
        not_checked.TREE_SIZE,
        not_checked.LEGACY_SERVICE_ID,
    )
    txid = receipt.txid
    draft.txid, draft.claims_digest = str(txid), claims_digest
    draft.leaf = receipt.leaf(claims_digest)
    compare_txid(draft, expected)
    problem = shape_problem(txid.seqno, None, [left for left, _ in receipt.path])
    if problem is not None:
        draft.say("path-shape", problem)
        return
    draft.root = merkle_root_of_path(draft.leaf, receipt.path)
    issuance = nodes.issuance(receipt.node_pem)
    node = nodes.parse(receipt.node_pem)
    draft.findings += issuance.findings
    if issuance.service is not None:
        draft.service_key_sha256 = issuance.service.pinned
        check_epoch(draft, issuance.service, [draft.txid])
    if isinstance(node, NodeCertificate):
        failure = finding(
            "root-signature-invalid",
            f"signature does not hold: expected one by node {node.node_id} over root {draft.root.hex()}, which "
            "follows from the statement",
        )
        check = SignatureCheck(node.key, draft.root, _der_signature(receipt.signature))
        draft.groups.append(SignatureGroup([check], lambda: failure))


def _step(step: object) -> tuple[bool, bytes]:
    if isinstance(step, list) and len(step) == 2:
        left, digest = step
        if isinstance(left, bool) and isinstance(digest, bytes) and len(digest) == 32:
            return left, digest
    raise _malformed("a step of its path is not a direction and a digest of 32 bytes")


def _pem(der: bytes) -> str:
    text = base64.b64encode(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


def _der_signature(fixed: bytes) -> bytes:
    """A fixed-width r‖s as DER ``SEQUENCE { INTEGER r, INTEGER s }``, which node signatures are verified in."""
    half = len(fixed) // 2
    body = b"".join(_der_integer(part) for part in (fixed[:half], fixed[half:]))
    if len(body) > 127:
        return b"\x30\x81" + bytes([len(body)]) + body
    return b"\x30" + bytes([len(body)]) + body


def _der_integer(big_endian: bytes) -> bytes:
    value = big_endian.lstrip(b"\0") or b"\0"
    if value[0] & 0x80:
        value = b"\0" + value
    return b"\x02" + bytes([len(value)]) + value


def _malformed(problem: str) -> FormatError:
    return FormatError(f"legacy receipt is malformed: {problem}", code="receipt-malformed")
