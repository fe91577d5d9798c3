"""Committed transactions of the past: their writes, and receipts for them.

Nothing is scanned. The data plane knows which signature transaction covers a seqno and where both stand in the
ledger files; a receipt is put together from those two entries alone. The Merkle tree in a signature
transaction is the expensive part (a millisecond for 5,000 leaves), so the trees used last are kept.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tallystick import _native
from tallystick.errors import InternalError, TallystickError, UnsupportedError, VerificationError
from tallystick.node.http.errors import Code, HttpError
from tallystick.node.past_identities import PastIdentities
from tallystick.node.tables import COSE_SIGNATURES, SIGNATURES, SINGLETON, TREE
from tallystick.secrets.issue import SignedPosition, issue_cose_receipt, issue_json_receipt
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick._native import NodeRuntime
    from tallystick.node.certificates import ServiceIdentity

__all__ = ["MAX_TREES", "History", "PastTransaction"]

MAX_TREES = 16
"""Signature transactions kept parsed. A tree of 5,000 leaves takes about half a megabyte."""

Tables = dict[str, dict[bytes, "bytes | None"]]


@dataclass(frozen=True)
class PastTransaction:
    """A committed transaction.

    Attributes:
        txid: its ID.
        entry: its ledger entry.
        tables: what it wrote, by table and key, public and private; None marks a removal.
    """

    txid: TxId
    entry: _native.Entry
    tables: Tables

    @property
    def is_signature(self) -> bool:
        """Whether it is a signature transaction."""
        return SIGNATURES in self.tables or COSE_SIGNATURES in self.tables


class History:
    """The past of one node's ledger. Safe to use from several threads.

    Args:
        runtime: the node's data plane.
        service: gives the current service identity; receipts of services before a recovery are vouched for with it.
    """

    def __init__(self, runtime: NodeRuntime, service: Callable[[], ServiceIdentity]) -> None:
        self._runtime = runtime
        self.identities = PastIdentities(runtime, service, self.entry)
        self._trees: OrderedDict[int, tuple[_native.Entry, _native.MerkleTree]] = OrderedDict()
        self._lock = threading.Lock()

    def require_committed(self, txid: TxId) -> None:
        """Refuses transactions that are not committed, in CCF's words.

        Raises:
            HttpError: 404, it is pending, unknown or invalid.
        """
        status = self._runtime.status(txid.view, txid.seqno)
        if status == "Committed":
            return
        message = f"Only committed transactions can be queried. Transaction {txid} is {status}"
        if status == "Invalid":
            raise HttpError(404, Code.TRANSACTION_INVALID, message)
        raise HttpError(404, Code.TRANSACTION_PENDING_OR_UNKNOWN, message, headers=(("cache-control", "no-cache"),))

    def entry(self, seqno: int) -> _native.Entry:
        """The ledger entry of a committed transaction.

        Raises:
            InternalError: the ledger files do not give it.
        """
        try:
            return _native.Entry.parse(self._runtime.read_entry(seqno))
        except (RuntimeError, TallystickError) as error:
            raise InternalError(f"entry {seqno} cannot be read from the ledger files: {error}") from error

    def transaction(self, txid: TxId) -> PastTransaction:
        """A committed transaction with everything it wrote.

        Raises:
            HttpError: 404, it is not committed.
            InternalError: the ledger files do not give what was written to them.
        """
        self.require_committed(txid)
        return self._open(self.entry(txid.seqno))

    def transactions(self, first: int, last: int) -> Iterator[PastTransaction]:
        """Committed transactions with seqnos ``first`` to ``last``, both included, in order.

        Raises:
            HttpError: 404, the last of them is not committed.
        """
        view = self._runtime.view_at(last)
        if view is None:
            raise HttpError(404, Code.TRANSACTION_PENDING_OR_UNKNOWN, f"Seqno {last} is not committed")
        self.require_committed(TxId(view, last))
        for seqno in range(first, last + 1):
            yield self._open(self.entry(seqno))

    def json_receipt(self, txid: TxId) -> dict[str, Any]:
        """The JSON receipt of a committed transaction, as CCF's ``/receipt`` gives it.

        For a signature transaction that is the root it signed, as ``leaf``, with an empty proof.

        Raises:
            HttpError: 404, it is not committed, or this service signs with COSE only.
        """
        self.require_committed(txid)
        entry = self.entry(txid.seqno)
        if _is_signature(entry):
            return self._signed_root(entry)
        position = self._position(txid, entry)
        if position.signature.table(SIGNATURES) is None:
            raise _no_node_signature(txid)
        receipt: dict[str, Any] = json.loads(issue_json_receipt(position, self._secret(txid)).document)
        return self._vouch(receipt, position.signature)

    def cose_receipt(self, txid: TxId) -> bytes:
        """The COSE receipt (RFC 9942, CCF profile) of a committed transaction.

        Raises:
            HttpError: 404, it is not committed, or it is a signature transaction, which has none.
        """
        self.require_committed(txid)
        entry = self.entry(txid.seqno)
        if _is_signature(entry):
            raise HttpError(
                404, Code.RESOURCE_NOT_FOUND, f"Transaction {txid} is a signature transaction: it has no COSE receipt"
            )
        position = self._position(txid, entry)
        if position.signature.table(COSE_SIGNATURES) is None:
            raise HttpError(404, Code.RESOURCE_NOT_FOUND, f"No COSE signature covers transaction {txid}")
        try:
            return issue_cose_receipt(position, self._secret(txid)).document
        except UnsupportedError as error:
            raise HttpError(404, Code.RESOURCE_NOT_FOUND, str(error)) from error

    def cose_signature(self, txid: TxId) -> bytes:
        """The COSE signature over the root that covers a committed transaction; its own for a signature transaction.

        Raises:
            HttpError: 404, it is not committed, or no COSE signature covers it.
        """
        self.require_committed(txid)
        entry = self.entry(txid.seqno)
        signature = entry if _is_signature(entry) else self._position(txid, entry).signature
        value = (signature.table(COSE_SIGNATURES) or {}).get(SINGLETON)
        if value is None:
            raise HttpError(404, Code.RESOURCE_NOT_FOUND, f"No COSE signature covers transaction {txid}")
        return base64.b64decode(json.loads(value), validate=True)

    def merkle_proof(self, txid: TxId) -> bytes:
        """The inclusion proof alone: the CBOR byte string content that a COSE receipt carries.

        Raises:
            HttpError: 404, it is not committed, or it is a signature transaction.
        """
        self.require_committed(txid)
        entry = self.entry(txid.seqno)
        if _is_signature(entry):
            raise HttpError(404, Code.RESOURCE_NOT_FOUND, f"Transaction {txid} is a signature transaction")
        position = self._position(txid, entry)
        evidence = _native.commit_evidence(self._secret(txid), txid.view, txid.seqno)
        path = position.tree.path(txid.seqno, position.signature.seqno)
        return _native.cbor_encode(
            {
                1: [entry.write_set_digest, evidence, entry.claims_digest],
                2: [[left, sibling] for left, sibling in path],
            }
        )

    def _open(self, entry: _native.Entry) -> PastTransaction:
        txid = TxId(entry.view, entry.seqno)
        tables = entry.tables()
        if entry.private_domain:
            try:
                plaintext = _native.open_private_domain(entry, self._secret(txid))
            except VerificationError as error:
                raise InternalError(f"entry {txid} does not open under the ledger secret in force") from error
            tables |= _native.parse_private_domain(plaintext)
        return PastTransaction(txid, entry, tables)

    def _secret(self, txid: TxId) -> bytes:
        secret = self._runtime.secret_at(txid.seqno)
        if secret is None:
            raise HttpError(
                500, Code.TRANSACTION_PENDING_OR_UNKNOWN, f"No ledger secret is known for transaction {txid}"
            )
        return secret

    def _position(self, txid: TxId, entry: _native.Entry) -> SignedPosition:
        """The transaction with the signature transaction that covers it."""
        try:
            found = self._runtime.evidence(txid.view, txid.seqno)
        except RuntimeError as error:
            raise InternalError(f"the signature over {txid} cannot be read from the ledger files: {error}") from error
        if found is None:
            raise HttpError(
                404,
                Code.TRANSACTION_PENDING_OR_UNKNOWN,
                f"No committed signature covers transaction {txid} yet",
                headers=(("cache-control", "no-cache"),),
            )
        _, signature_bytes, covering, _ = found
        signature, tree = self._signed_tree(covering, signature_bytes)
        if txid.seqno < tree.first_kept or tree.leaf(txid.seqno) != entry.leaf:
            raise InternalError(f"the tree signed in {signature.view}.{signature.seqno} does not hold {txid}")
        return SignedPosition(entry, signature, tree)

    def _signed_tree(self, seqno: int, data: bytes) -> tuple[_native.Entry, _native.MerkleTree]:
        with self._lock:
            known = self._trees.get(seqno)
            if known is not None:
                self._trees.move_to_end(seqno)
                return known
        entry = _native.Entry.parse(data)
        tree = _native.MerkleTree.from_compact(_value(entry, TREE))
        with self._lock:
            self._trees[seqno] = entry, tree
            while len(self._trees) > MAX_TREES:
                self._trees.popitem(last=False)
        return entry, tree

    def _signed_root(self, entry: _native.Entry) -> dict[str, Any]:
        if entry.table(SIGNATURES) is None:
            raise _no_node_signature(TxId(entry.view, entry.seqno))
        signature = json.loads(_value(entry, SIGNATURES))
        receipt = {
            "cert": signature["cert"],
            "leaf": signature["root"],
            "node_id": signature["node"],
            "proof": [],
            "signature": signature["sig"],
        }
        return self._vouch(receipt, entry)

    def _vouch(self, receipt: dict[str, Any], signature: _native.Entry) -> dict[str, Any]:
        """Adds what the reader needs to believe a node of a service before a recovery."""
        certificate = receipt.get("cert")
        if certificate is not None:
            endorsements = self.identities.certificates(certificate, TxId(signature.view, signature.seqno))
            if endorsements is not None:
                receipt["service_endorsements"] = endorsements
        return receipt


def _is_signature(entry: _native.Entry) -> bool:
    return entry.table(SIGNATURES) is not None or entry.table(COSE_SIGNATURES) is not None


def _value(entry: _native.Entry, table: str) -> bytes:
    value = (entry.table(table) or {}).get(SINGLETON)
    if value is None:
        raise InternalError(f"signature transaction {entry.view}.{entry.seqno} has no {table}")
    return value


def _no_node_signature(txid: TxId) -> HttpError:
    return HttpError(
        404,
        Code.RESOURCE_NOT_FOUND,
        f"Transaction {txid} has no JSON receipt: this service signs with COSE only. Ask for /receipt/cose",
    )
