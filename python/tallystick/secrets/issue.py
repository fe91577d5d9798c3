"""Receipts made offline, from a ledger and the ledger secret in force at the transaction.

A receipt needs nothing from the service that the ledger does not hold, except the text of the commit
evidence, which only the ledger secret gives (formats: receipts). The node and service signatures are those
in the first signature transaction after the one asked for, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from tallystick import _native
from tallystick.errors import UnsupportedError, UsageError, VerificationError

__all__ = ["IssuedReceipt", "SignedPosition", "issue_cose_receipt", "issue_json_receipt", "locate"]

TREE_TABLE = "public:ccf.internal.tree"
COSE_TABLE = "public:ccf.internal.cose_signatures"
RAW_TABLE = "public:ccf.internal.signatures"
_SINGLETON = bytes(8)
_VERIFIABLE_DATA_PROOFS = 396
_INCLUSION_PROOFS = -1

Secret = _native.LedgerSecret | bytes
"""A ledger secret; bytes are copied into one."""


@dataclass(frozen=True)
class IssuedReceipt:
    """A receipt and what it is about.

    Attributes:
        document: the receipt, JSON text or COSE_Sign1, as bytes.
        txid: the transaction it is for.
        signature_txid: the signature transaction it rests on.
        root: the signed Merkle root, 32 bytes.
    """

    document: bytes
    txid: str
    signature_txid: str
    root: bytes


@dataclass(frozen=True)
class SignedPosition:
    """A transaction, and the signature transaction that covers it.

    Attributes:
        entry: the transaction.
        signature: the first signature transaction after it that has the signature wanted.
        tree: the Merkle tree that was signed, with the transaction's leaf kept.
    """

    entry: _native.Entry
    signature: _native.Entry
    tree: _native.MerkleTree


def locate(entries: Iterable[_native.Entry], seqno: int, view: int | None, *, cose: bool) -> SignedPosition:
    """Finds transaction ``seqno`` and the first signature transaction after it among ``entries`` (ledger order).

    Args:
        view: the view the caller expects, None for any.
        cose: whether a COSE signature is needed; a raw one otherwise.

    Raises:
        UsageError: the ledger does not hold the transaction, or holds it in another view.
        VerificationError: no signature follows it, or the tree does not hold its leaf.
        UnsupportedError: the embedded tree no longer keeps the leaf.
    """
    target: _native.Entry | None = None
    wanted = COSE_TABLE if cose else RAW_TABLE
    for entry in entries:
        if entry.seqno == seqno:
            target = entry
            if view is not None and entry.view != view:
                raise UsageError(
                    f"transaction {view}.{seqno} is not in this ledger: it holds {entry.view}.{seqno}",
                    code="transaction-not-found",
                )
        elif target is not None and entry.table(wanted) is not None:
            return SignedPosition(target, entry, _signed_tree(entry, target))
    if target is None:
        raise UsageError(f"this ledger does not hold seqno {seqno}", code="transaction-not-found")
    raise VerificationError(
        f"no {'COSE' if cose else 'node'} signature follows: the transaction is not known to be committed",
        code="transaction-not-signed",
        txid=f"{target.view}.{target.seqno}",
    )


def issue_json_receipt(
    position: SignedPosition, ledger_secret: Secret | None, certificate_pem: str | None = None
) -> IssuedReceipt:
    """Makes the JSON receipt that a node would answer with.

    Args:
        certificate_pem: the node's certificate, for ledgers of 1.x whose signatures do not carry it.

    Raises:
        VerificationError: the secret is not the one in force at the transaction.
    """
    entry, path = position.entry, _path(position)
    raw = json.loads(_value(position.signature, RAW_TABLE))
    receipt: dict[str, object] = {"node_id": raw["node"], "signature": raw["sig"]}
    certificate = raw.get("cert") or certificate_pem
    if certificate:
        receipt["cert"] = certificate
    receipt["proof"] = [{"left" if left else "right": sibling.hex()} for left, sibling in path]
    if entry.commit_evidence_digest is None:
        receipt["leaf"] = entry.leaf.hex()
    else:
        components = {
            "commit_evidence": _evidence(entry, ledger_secret),
            "write_set_digest": entry.write_set_digest.hex(),
        }
        if entry.claims_digest is not None:
            components["claims_digest"] = entry.claims_digest.hex()
        receipt["leaf_components"] = components
    document = json.dumps(receipt, separators=(",", ":"), sort_keys=True).encode()
    return _issued(position, document)


def issue_cose_receipt(position: SignedPosition, ledger_secret: Secret | None) -> IssuedReceipt:
    """Makes the COSE receipt (RFC 9942, CCF profile) that a node would answer with.

    Raises:
        UnsupportedError: the entry has no claims digest or commit evidence, which the profile's leaf needs.
        VerificationError: the secret is not the one in force at the transaction.
    """
    entry, path = position.entry, _path(position)
    if entry.claims_digest is None or entry.commit_evidence_digest is None:
        raise UnsupportedError(
            f"entry type {entry.entry_type} has no COSE receipt: its leaf lacks claims or commit evidence",
            code="receipt-not-expressible",
            txid=f"{entry.view}.{entry.seqno}",
        )
    proof = _native.cbor_encode(
        {
            1: [entry.write_set_digest, _evidence(entry, ledger_secret), entry.claims_digest],
            2: [[left, sibling] for left, sibling in path],
        }
    )
    import base64

    signed = base64.b64decode(json.loads(_value(position.signature, COSE_TABLE)), validate=True)
    sign1 = _native.CoseSign1.parse(signed)
    document = _native.cbor_encode(
        _native.CborTag(
            18,
            [sign1.protected, {_VERIFIABLE_DATA_PROOFS: {_INCLUSION_PROOFS: [proof]}}, None, sign1.signature],
        )
    )
    return _issued(position, document)


def _issued(position: SignedPosition, document: bytes) -> IssuedReceipt:
    entry, signature = position.entry, position.signature
    return IssuedReceipt(
        document,
        f"{entry.view}.{entry.seqno}",
        f"{signature.view}.{signature.seqno}",
        position.tree.root_at(signature.seqno),
    )


def _signed_tree(signature: _native.Entry, target: _native.Entry) -> _native.MerkleTree:
    txid = f"{target.view}.{target.seqno}"
    tree = _native.MerkleTree.from_compact(_value(signature, TREE_TABLE))
    if tree.size != signature.seqno:
        raise VerificationError(
            f"embedded tree has the wrong size: expected {signature.seqno}, got {tree.size}",
            code="tree-size",
            txid=f"{signature.view}.{signature.seqno}",
        )
    if target.seqno < tree.first_kept:
        raise UnsupportedError(
            f"the tree in {signature.view}.{signature.seqno} keeps leaves from {tree.first_kept} on",
            code="leaf-not-kept",
            txid=txid,
        )
    if tree.leaf(target.seqno) != target.leaf:
        raise VerificationError(
            f"leaf differs from the signed tree: expected {tree.leaf(target.seqno).hex()}, got {target.leaf.hex()}",
            code="leaf-differs",
            txid=txid,
        )
    return tree


def _path(position: SignedPosition) -> list[tuple[bool, bytes]]:
    return position.tree.path(position.entry.seqno, position.signature.seqno)


def _evidence(entry: _native.Entry, ledger_secret: Secret | None) -> str:
    if ledger_secret is None:
        raise UsageError("the ledger secret in force is not known", code="secret-missing")
    text = _native.commit_evidence(ledger_secret, entry.view, entry.seqno)
    digest = hashlib.sha256(text.encode()).digest()
    if digest != entry.commit_evidence_digest:
        raise VerificationError(
            "the ledger secret given is not the one in force: commit evidence does not match",
            code="commit-evidence-mismatch",
            txid=f"{entry.view}.{entry.seqno}",
        )
    return text


def _value(entry: _native.Entry, table: str) -> bytes:
    value = (entry.table(table) or {}).get(_SINGLETON)
    if value is None:
        raise VerificationError(f"{table} is missing", code="signature-missing", txid=f"{entry.view}.{entry.seqno}")
    return value
