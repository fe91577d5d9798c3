"""Endpoints that exist under every frontend."""

import json

import pytest

from support.bare_node import BareNode
from support.peer import ask
from tallystick._native import CoseSign1
from tallystick.findings import Verdict
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.receipt.model import Expected
from tallystick.receipt.verify import ReceiptVerifier
from tallystick.types import TxId

FRONTENDS = ["/node", "/gov", "/app", ""]


@pytest.fixture
def records(node):
    """Transactions with claims and without, of which all are committed."""
    written = [node.write({"public:records": {b"a": b"1"}, "records": {b"b": b"2"}})]
    written.append(node.write({"records": {b"b": None}}, claims_digest=b"c" * 32))
    written.append(node.write({"public:records": {b"a": b"3"}}))
    for txid in written:
        node.commit(txid)
    return written


@pytest.mark.parametrize("prefix", FRONTENDS)
def test_commit(node, prefix):
    answer = node.get(f"{prefix}/commit")
    view, seqno = node.runtime.committed
    assert (answer.status, answer.json) == (200, {"transaction_id": f"{view}.{seqno}"})
    assert answer.txid is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("view_history=true", ["1.1", "2.1"]),
        ("view_history=false", None),
        ("view_history_since=2", ["2.1"]),
        ("view_history_since=1", ["1.1", "2.1"]),
        ("view_history_since=2&view_history=true", ["1.1", "2.1"]),
        ("view_history_since=2&view_history=false", None),
    ],
)
def test_view_history(node, query, expected):
    assert node.get(f"/node/commit?{query}").json.get("view_history") == expected


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("view_history=yes", 400),
        ("view_history_since=0", 400),
        ("view_history_since=3", 404),
        ("view_history_since=-1", 400),
        ("view_history_since=x", 400),
        (f"view_history_since={2**64}", 400),
    ],
)
def test_view_history_refused(node, query, status):
    assert node.get(f"/node/commit?{query}").error == (status, "InvalidQueryParameterValue")


@pytest.mark.parametrize("prefix", FRONTENDS)
def test_transaction_status(node, records, prefix):
    for txid, status in [
        (records[0], "Committed"),
        (TxId(1, records[0].seqno), "Invalid"),
        (TxId(2, 10_000), "Unknown"),
        (TxId(1, 10_000), "Invalid"),
    ]:
        answer = node.get(f"{prefix}/tx?transaction_id={txid}")
        assert (answer.status, answer.json) == (200, {"transaction_id": str(txid), "status": status})


@pytest.mark.parametrize("query", ["", "?transaction_id=", "?transaction_id=2", "?transaction_id=0.1", "?x=2.1"])
def test_transaction_status_refused(node, query):
    assert node.get(f"/node/tx{query}").error == (400, "InvalidQueryParameterValue")


def verify(node, receipt: bytes, txid: TxId):
    anchor = TrustAnchor.from_certificates([node.service.certificate.encode()])
    [result] = ReceiptVerifier(anchor).audit([("receipt", receipt)], [Expected(txid=txid)])
    assert result.verdict is Verdict.VERIFIED, result.findings
    return result


@pytest.mark.parametrize("prefix", FRONTENDS)
def test_json_receipts_verify(node, records, prefix):
    for txid in [node.genesis, *records]:
        answer = node.get(f"{prefix}/receipt?transaction_id={txid}")
        assert answer.status == 200
        receipt = answer.json
        assert sorted(receipt) == ["cert", "leaf_components", "node_id", "proof", "signature"]
        assert sorted(receipt["leaf_components"]) == ["claims_digest", "commit_evidence", "write_set_digest"]
        assert receipt["node_id"] == node.node_id
        assert receipt["cert"] == node.endorsed_certificate
        verify(node, answer.body, txid)
    assert receipt["leaf_components"]["claims_digest"] == "00" * 32
    claims = node.get(f"{prefix}/receipt?transaction_id={records[1]}").json["leaf_components"]["claims_digest"]
    assert claims == "63" * 32


def test_cose_receipts_verify(node, records):
    for txid in records:
        answer = node.get(f"/app/receipt/cose?transaction_id={txid}")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/cose")
        verify(node, answer.body, txid)


def test_receipts_of_signature_transactions(node, records):
    seqno = node.runtime.committed[1]
    answer = node.get(f"/node/receipt?transaction_id=2.{seqno}")
    assert sorted(answer.json) == ["cert", "leaf", "node_id", "proof", "signature"]
    assert answer.json["proof"] == []
    assert node.get(f"/node/receipt/cose?transaction_id=2.{seqno}").error == (404, "ResourceNotFound")


def test_pieces_of_cose_receipts(node, records):
    for txid in records:
        receipt = CoseSign1.parse(node.history.cose_receipt(txid))
        signature = CoseSign1.parse(node.history.cose_signature(txid))
        assert (receipt.protected, receipt.signature) == (signature.protected, signature.signature)
        assert node.history.merkle_proof(txid) in node.history.cose_receipt(txid)


@pytest.mark.parametrize("path", ["/node/receipt", "/node/receipt/cose"])
def test_receipts_refused(node, records, path):
    assert node.get(path).error == (404, "TransactionInvalid")
    assert node.get(f"{path}?transaction_id=x").error == (404, "TransactionInvalid")
    assert node.get(f"{path}?transaction_id=3.{records[0].seqno}").error == (404, "TransactionInvalid")
    pending = node.get(f"{path}?transaction_id=2.100000")
    assert pending.error == (404, "TransactionPendingOrUnknown")
    assert pending.headers["cache-control"] == "no-cache"


def test_receipts_of_an_earlier_service_wait_for_its_secrets(node, records):
    from tallystick.node.tables import SERVICE_INFO, SINGLETON, json_bytes

    info = {"cert": node.service.certificate, "status": "Recovering", "current_service_create_txid": "4.10"}
    node.write({SERVICE_INFO: {SINGLETON: json_bytes(info)}})
    assert node.get(f"/node/receipt?transaction_id={records[0]}").error == (404, "TransactionInvalid")


def test_services_that_sign_with_cose_only(tmp_path):
    node = BareNode(tmp_path, cose_only=True)
    try:
        txid = node.commit(node.write({"public:records": {b"a": b"1"}}))
        verify(node, node.get(f"/node/receipt/cose?transaction_id={txid}").body, txid)
        assert node.get(f"/node/receipt?transaction_id={txid}").error == (404, "ResourceNotFound")
    finally:
        node.close()


def test_the_official_package_verifies_receipts(node, records, peer_python, tmp_path):
    service = tmp_path / "service.pem"
    service.write_text(node.service.certificate)
    for txid in records:
        receipt = node.get(f"/node/receipt?transaction_id={txid}").body
        claims = json.loads(receipt)["leaf_components"]["claims_digest"]
        paths = [tmp_path / "r.json", tmp_path / "r.cose"]
        paths[0].write_bytes(receipt)
        paths[1].write_bytes(node.get(f"/node/receipt/cose?transaction_id={txid}").body)
        assert ask(peer_python, "receipts", service, claims, *paths)["verdicts"] == ["verified", "verified"]


def test_history_reads_what_was_written(node, records):
    past = node.history.transaction(records[0])
    assert past.tables == {"public:records": {b"a": b"1"}, "records": {b"b": b"2"}}
    assert node.history.transaction(records[1]).tables == {"records": {b"b": None}}
    first, last = records[0].seqno, records[2].seqno
    assert [str(past.txid) for past in node.history.transactions(first, last) if not past.is_signature] == [
        str(txid) for txid in records
    ]
