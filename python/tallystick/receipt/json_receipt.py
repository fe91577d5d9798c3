"""JSON receipts: write receipts, and receipts of signature transactions.

The steps, each with its own finding code when it fails:

(1) leaf: given, or ``H(write set digest ‖ H(commit evidence) ‖ claims digest)``; a claims digest that the
    application withheld comes from the caller, and is compared when both are there;
(2) transaction ID: from the commit evidence, compared with the one that was asked for;
(3) root: the path folded over the leaf, its directions consistent with the seqno in a tree of some size
    (a JSON receipt does not name the size);
(4) node: the certificate's key signed the root, used directly as the digest; the node ID is that key's hash;
(5) service: the certificate was issued by a believed service key, directly or over the endorsement
    certificates in the receipt, and for a key that is endorsed, the transaction lies in its epoch.

Not done here: node attestation, and whether governance trusted the node. Only the ledger can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick._native import JsonReceipt
from tallystick.findings import Finding, finding
from tallystick.identity.issuance import Issuance, NodeCertificate, NodeCertificates
from tallystick.identity.service_keys import OpenedKey, ServiceKey
from tallystick.receipt import not_checked
from tallystick.receipt.model import Draft, Expected, Probe, SignatureCheck, SignatureGroup
from tallystick.receipt.paths import shape_problem
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick.identity.ledger_copy import LedgerCopy

__all__ = ["check_epoch", "compare_claims", "compare_txid", "draft_json_receipt"]

_ZEROS = bytes(32)
_BASE_NOT_CHECKED = (not_checked.NODE, not_checked.DATES, not_checked.WRITES)


def draft_json_receipt(
    draft: Draft,
    receipt: JsonReceipt,
    nodes: NodeCertificates,
    expected: Expected,
    ledger: LedgerCopy | None = None,
) -> None:
    """Runs the steps above on ``receipt``; signatures are queued in ``draft``, not verified."""
    draft.not_checked += _BASE_NOT_CHECKED
    leaf = _leaf(draft, receipt, expected)
    draft.txid = receipt.txid
    compare_txid(draft, expected)
    _check_shape(draft, receipt)
    if draft.failed:
        return
    pem = receipt.certificate_pem
    if pem is None:
        _without_certificate(draft, receipt, leaf, ledger)
        return
    node = nodes.parse(pem)
    if not isinstance(node, NodeCertificate):
        draft.findings.append(node)
        return
    node_id = receipt.node_id
    if node_id is not None and node_id != node.node_id:
        draft.say("node-id-mismatch", f"node ID: expected {node.node_id} (of the certificate's key), got {node_id}")
    _queue_signature(draft, receipt, node, leaf)
    _check_service(draft, nodes.issuance(pem, receipt.service_endorsements))


def _leaf(draft: Draft, receipt: JsonReceipt, expected: Expected) -> bytes | None:
    """(1): the leaf; None while the claims digest is missing."""
    claims = receipt.claims_digest
    if receipt.leaf_given:
        draft.not_checked.append(not_checked.WRITE_SET)
        if expected.claims_digest is not None:
            draft.say("claims-not-in-receipt", "receipt gives a leaf only, so the claims given cannot be compared")
        draft.leaf = receipt.leaf
    elif claims is not None:
        draft.claims_digest = claims
        draft.leaf = receipt.leaf
        compare_claims(draft, expected)
    elif expected.claims_digest is not None:
        draft.claims_digest = expected.claims_digest
        draft.leaf = receipt.leaf_with_claims(expected.claims_digest)
    else:
        draft.say("claims-digest-needed", _CLAIMS_NEEDED)
    if draft.leaf is not None:
        draft.root = receipt.root(draft.leaf)
    return draft.leaf


_CLAIMS_NEEDED = (
    "receipt leaves its claims digest out, for the reader to compute: "
    "add --claims FILE, --claims-text FILE or --claims-digest HEX"
)


def compare_claims(draft: Draft, expected: Expected) -> None:
    """Compares the receipt's claims digest with the caller's, or says that nobody did."""
    claims = draft.claims_digest
    if expected.claims_digest is None:
        if claims != _ZEROS:
            draft.not_checked.append(not_checked.CLAIMS)
    elif claims is not None and claims != expected.claims_digest:
        draft.say(
            "claims-digest-mismatch",
            f"claims digest: expected {expected.claims_digest.hex()} (of the claims given), got {claims.hex()}",
        )


def compare_txid(draft: Draft, expected: Expected) -> None:
    """(2): compares the transaction ID with the one that the caller asked for."""
    if expected.txid is None or draft.txid == str(expected.txid):
        return
    if draft.txid is None:
        draft.say("epoch-unknown", f"receipt names no transaction, so it cannot be compared with {expected.txid}")
    else:
        draft.say("txid-mismatch", f"transaction ID: expected {expected.txid}, got {draft.txid}")


def _check_shape(draft: Draft, receipt: JsonReceipt) -> None:
    """(3): the directions of the path, where the receipt says what they must be."""
    if receipt.leaf_given:
        if not receipt.path:
            draft.say(
                "signed-root-only",
                "receipt of a signature transaction: the node signed this root; it proves the inclusion of no "
                "transaction and names none",
            )
        elif receipt.is_signature_transaction:
            draft.say("receipt-contradictory", "receipt of a signature transaction: expected no path, got one")
        return
    if receipt.is_signature_transaction:
        draft.say("receipt-contradictory", "receipt of a signature transaction: expected a leaf, got leaf components")
        return
    draft.not_checked.append(not_checked.TREE_SIZE)
    if draft.txid is None:
        return
    # The core gives the canonical form, so the seqno is what follows the dot.
    seqno = int(draft.txid.rpartition(".")[2])
    # The path of a leaf with a seqno is never empty, and an empty one does not fit.
    if not receipt.shape_fits(seqno):
        problem = shape_problem(seqno, None, [left for left, _ in receipt.path])
        draft.say("path-shape", problem or f"path does not fit leaf {seqno}")


def _without_certificate(draft: Draft, receipt: JsonReceipt, leaf: bytes | None, ledger: LedgerCopy | None) -> None:
    """A receipt of the oldest form: the node's certificate is in the ledger only, and so is what vouches for it."""
    if ledger is None:
        draft.say(
            "node-certificate-needed",
            "receipt does not hold the certificate of the node that signed it (CCF 1.x): only the ledger has it, and "
            "what vouches for it; to decide, run tallystick verify LEDGER --receipt FILE",
        )
        return
    candidates = ledger.node_keys(receipt.node_id)
    if not candidates:
        draft.say("node-certificate-needed", f"the ledger holds no certificate of node {receipt.node_id or '(any)'}")
        return
    root = draft.root
    if root is not None:
        checks = [SignatureCheck(key, root, receipt.signature) for key in candidates]
        draft.groups.append(SignatureGroup(checks, lambda: _signature_failure(root, "any node")))
    draft.say(
        "node-certificate-needed",
        "the signing node's certificate comes from the ledger copy, and only the ledger can vouch for it: "
        "verify it with tallystick verify LEDGER --receipt FILE",
    )


def _queue_signature(draft: Draft, receipt: JsonReceipt, node: NodeCertificate, leaf: bytes | None) -> None:
    """(4): the node's signature; where the claims digest is missing, what would make it hold."""
    root = draft.root
    if leaf is not None and root is not None:
        check = SignatureCheck(node.key, root, receipt.signature)
        draft.groups.append(SignatureGroup([check], lambda: _signature_failure(root, f"node {node.node_id}")))
    if receipt.leaf_given or receipt.claims_digest is not None:
        return
    for candidate, text in (
        (receipt.leaf_with_claims(_ZEROS), f"with --claims-digest {_ZEROS.hex()}: the transaction has no claims"),
        (receipt.leaf_without_claims(), "without any: it is of an entry that has no claims digest"),
    ):
        check = SignatureCheck(node.key, receipt.root(candidate), receipt.signature)
        if leaf is None:
            better = finding("claims-digest-needed", f"{_CLAIMS_NEEDED}; the signature holds {text}")
            draft.probes.append(Probe(check, "claims-digest-needed", better))
        elif candidate != leaf:
            claims = draft.claims_digest or b""
            better = finding(
                "claims-digest-mismatch",
                f"claims digest: {claims.hex()} (of the claims given) is not the transaction's; "
                f"the signature holds {text}",
            )
            draft.probes.append(Probe(check, "root-signature-invalid", better))


def _signature_failure(root: bytes, who: str) -> Finding:
    message = f"signature does not hold: expected one by {who} over root {root.hex()}"
    return finding("root-signature-invalid", message)


def _check_service(draft: Draft, issuance: Issuance) -> None:
    """(5): who vouches for the node."""
    draft.findings += issuance.findings
    if issuance.service is not None:
        draft.service_key_sha256 = issuance.service.pinned
        check_epoch(draft, issuance.service, [draft.txid])


def check_epoch(draft: Draft, service: ServiceKey, txids: list[str | None]) -> None:
    """Refuses transactions outside the epoch for which a service key that is not pinned itself is linked."""
    if not service.links:
        return
    if isinstance(service.links[0], OpenedKey):
        draft.not_checked.append(not_checked.LATER_HISTORY)
    for txid in txids:
        if txid is None:
            draft.say(
                "epoch-unknown",
                f"service key {service.fingerprint} is linked for transactions {service.epoch}, and the receipt "
                "names none: pin that key itself",
            )
        elif not service.covers(TxId.parse(txid)):
            draft.say(
                "epoch-mismatch",
                f"transaction {txid} is outside the epoch of service key {service.fingerprint}: expected one of "
                f"{service.epoch}",
            )
