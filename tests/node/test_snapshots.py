"""Snapshots: when they are taken, and that they are what they say."""

import io
import time

import pytest

from support.peer import ask
from tallystick._native import SnapshotFile
from tallystick.findings import Verdict
from tallystick.identity.ledger_copy import LedgerCopy
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.node.log import Log
from tallystick.node.snapshots import Snapshotter, latest_committed
from tallystick.snapshot.verify import audit_snapshot

PATIENCE_SECONDS = 20
INTERVAL = 20


def snapshotter(node, **options):
    made = Snapshotter(node.runtime, node.history, node.snapshots, INTERVAL, node.after_commit, node.log, **options)
    node.watchers.append(lambda view, seqno: made.committed())
    return made


def wait_for(node, count):
    """So many committed snapshots, by seqno."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = sorted(node.snapshots.glob("*.committed"), key=lambda path: int(path.name.split("_")[1]))
        if len(found) >= count:
            return found
        node.runtime.sign_pending()
        time.sleep(0.02)
    raise AssertionError(f"expected {count} snapshots, got {sorted(node.snapshots.iterdir())}")


def fill(node, transactions):
    for number in range(transactions):
        txid = node.write(
            {
                "public:records": {str(number % 7).encode(): str(number).encode()},
                "records": {b"private": str(number).encode()},
                "public:removed": {b"never": None},
            }
        )
    return node.commit(txid)


@pytest.fixture
def taken(node):
    """Three scheduled snapshots."""
    maker = snapshotter(node)
    for count in (1, 2, 3):
        fill(node, INTERVAL)
        wait_for(node, count)
    yield wait_for(node, 3)
    maker.stop()


def audit(node, path, ledger=None):
    anchor = TrustAnchor.from_certificates([node.service.certificate.encode()])
    return audit_snapshot(path.read_bytes(), anchor, file=str(path), ledger=ledger)


def test_snapshots_verify_against_the_ledger(node, taken):
    node.runtime.stop()
    copy = LedgerCopy([node.directory / "ledger"])
    for path in taken:
        result = audit(node, path, copy)
        assert result.verdict is Verdict.VERIFIED, result.findings
        assert not result.findings


def test_a_snapshot_ends_a_chunk(node, taken):
    ends = {last for _, last, _ in node.runtime.committed_chunks()}
    assert {int(path.name.split("_")[1]) for path in taken} <= ends


def test_private_state_is_there_and_encrypted(node, taken):
    path = taken[-1]
    snapshot = SnapshotFile.parse(path.read_bytes())
    assert "records" not in snapshot.table_names()
    assert snapshot.private_domain
    assert b"private" not in path.read_bytes()


def test_the_official_package_accepts_snapshots(node, taken, peer_python):
    for path in taken:
        assert ask(peer_python, "snapshot", path)["verdict"] == "verified"


def test_a_forced_snapshot_leaves_the_schedule(node):
    maker = snapshotter(node)
    maker.force()
    first = fill(node, 1)
    [path] = wait_for(node, 1)
    assert int(path.name.split("_")[1]) < INTERVAL
    assert audit(node, path).verdict is Verdict.VERIFIED
    assert first.seqno <= int(path.name.split("_")[1])
    maker.stop()


def test_receipts_in_cose(tmp_path):
    from support.bare_node import BareNode

    node = BareNode(tmp_path, cose_only=True)
    maker = snapshotter(node, cose=True)
    try:
        fill(node, INTERVAL)
        [path] = wait_for(node, 1)
        assert SnapshotFile.parse(path.read_bytes()).receipt[:1] == b"\xd2"
        assert audit(node, path).verdict is Verdict.VERIFIED
    finally:
        maker.stop()
        node.close()


def test_a_snapshot_that_gets_no_receipt_is_not_the_last(tmp_path):
    from support.bare_node import BareNode

    # Receipts in JSON, of a service that makes none.
    node = BareNode(tmp_path, cose_only=True)
    said = io.StringIO()
    node.log = Log(stream=said)
    maker = snapshotter(node)
    try:
        for count in (1, 2):
            fill(node, INTERVAL)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while said.getvalue().count("snapshot failed") < count:
                assert time.monotonic() < deadline
                node.runtime.sign_pending()
                time.sleep(0.02)
        assert not list(node.snapshots.glob("*.committed"))
    finally:
        maker.stop()
        node.close()


def test_the_latest_committed(tmp_path):
    assert latest_committed(tmp_path / "missing") is None
    for name in ("snapshot_5_6.committed", "snapshot_9_11.committed", "snapshot_9_10.committed", "snapshot_20_21"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "snapshot_30_31.committed").write_bytes(b"")
    (tmp_path / "snapshot_8_9.committed_12").write_bytes(b"of 1.x")
    assert latest_committed(tmp_path).name == "snapshot_9_11.committed"
    assert latest_committed(tmp_path, 9) is None
    assert latest_committed(tmp_path, 5).name == "snapshot_9_11.committed"
