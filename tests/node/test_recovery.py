"""Recovering a service whose only node is lost: its ledger, its identity, its private part."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from support.peer import ask
from support.started_node import StartedNode, recover, start
from tallystick.audit.auditor import audit_ledger
from tallystick.errors import TallystickError
from tallystick.findings import Verdict
from tallystick.identity.endorsements import Endorsement
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.ledger import Ledger
from tallystick.node import tables
from tallystick.node.effects import EffectError
from tallystick.node.historical import History
from tallystick.node.keys import decrypt_secret
from tallystick.node.startup import StartError
from tallystick.node.state import NodeState
from tallystick.receipt.model import Expected
from tallystick.receipt.verify import ReceiptVerifier
from tallystick.secrets.open import PrivateLedger
from tallystick.types import TxId

PRIVATE = "private"


def _lived(directory: Path, **more: Any) -> StartedNode:
    """A service that wrote under three ledger secrets, and whose node is gone."""
    service = start(directory, **more)
    service.open()
    service.commit((PRIVATE, b"a", b"1"), ("public:x", b"k", b"1"))
    service.settle()
    service.effect("triggerLedgerRekey")
    service.commit((PRIVATE, b"a", b"2"), (PRIVATE, b"b", b"2"))
    service.effect("triggerLedgerRekey")
    service.commit((PRIVATE, b"b", b"3"))
    service.stop()
    return service


def _json(node: StartedNode, table: str, key: bytes = tables.SINGLETON) -> Any:
    return tables.get_json(node.node.runtime.begin(), table, key)


def _hand_in(node: StartedNode, index: int, share: bytes | None = None, *, settle: bool = True) -> bool:
    """A member hands in its share; whether that was enough."""
    member = node.members[index]
    encrypted = _json(node, tables.RECOVERY_SHARES)["encrypted_shares"][member.id]
    plain = share or decrypt_secret(member.encryption, base64.b64decode(encrypted))
    return node.hand_in(member.id, plain, settle=settle)


def _propose_opening(node: StartedNode, before: StartedNode) -> None:
    previous = before.service_certificate.read_bytes()
    txid, _ = node.effect("transitionServiceToOpen", previous, node.node.service.certificate.encode())
    node.settle(txid)


def _recover_fully(directory: Path, before: StartedNode, **more: Any) -> StartedNode:
    node = recover(directory, before, **more)
    _propose_opening(node, before)
    assert not _hand_in(node, 0)
    assert _hand_in(node, 1)
    node.wait_until(lambda: node.node.state == NodeState.PART_OF_NETWORK and node.node.app_open)
    return node


@pytest.fixture
def lost(tmp_path: Path) -> StartedNode:
    directory = tmp_path / "first"
    directory.mkdir()
    return _lived(directory)


@pytest.fixture
def second(tmp_path: Path) -> Path:
    directory = tmp_path / "second"
    directory.mkdir()
    return directory


def _audit(node: StartedNode, *earlier: StartedNode) -> Any:
    # Nobody voted in these tests, so that each identity has to be trusted for itself.
    anchor = TrustAnchor.from_certificates([each.service_certificate.read_bytes() for each in (node, *earlier)])
    return audit_ledger([node.ledger], anchor, uncommitted=True)


def test_everything_comes_back_and_everybody_accepts_it(lost: StartedNode, second: Path, peer_python: Path) -> None:
    node = _recover_fully(second, lost)
    tx = node.node.runtime.begin()
    assert (tx.get(PRIVATE, b"a"), tx.get(PRIVATE, b"b"), tx.get("public:x", b"k")) == (b"2", b"3", b"1")
    node.commit((PRIVATE, b"a", b"4"))
    node.effect("triggerLedgerRekey")
    node.commit((PRIVATE, b"a", b"5"))
    node.stop()
    assert not [path.name for path in node.ledger.iterdir() if path.suffix in (".recovery", ".ignored")]
    verdict = _audit(node, lost)
    assert verdict.verdict is Verdict.VERIFIED, verdict.findings
    assert ask(peer_python, "verify", node.ledger)["verdict"] == "verified"
    keys = [member.encryption_file for member in node.members[1:3]]
    private = PrivateLedger(Ledger([node.ledger], uncommitted=True), encryption_keys=keys)
    assert len(private.known.by_start) == 5


def test_a_service_recovers_twice(lost: StartedNode, second: Path, tmp_path: Path, peer_python: Path) -> None:
    node = _recover_fully(second, lost)
    node.commit((PRIVATE, b"c", b"6"))
    node.stop()
    third = tmp_path / "third"
    third.mkdir()
    again = _recover_fully(third, node)
    tx = again.node.runtime.begin()
    assert (tx.get(PRIVATE, b"a"), tx.get(PRIVATE, b"c")) == (b"2", b"6")
    info = _json(again, tables.SERVICE_INFO)
    assert info["recovery_count"] == 2
    again.stop()
    assert _audit(again, node, lost).verdict is Verdict.VERIFIED
    assert ask(peer_python, "verify", again.ledger)["verdict"] == "verified"


def test_rows_of_a_recovery_are_those_of_a_real_one(lost: StartedNode, second: Path, ccf_built: Path) -> None:
    real = Ledger(
        [ccf_built / "cpp3" / "state-final" / "node8" / "ledger-committed"], uncommitted=True, allow_gaps=True
    )
    node = _recover_fully(second, lost)
    created = node.node.create_txid
    assert created is not None
    assert created.view == 4
    node.stop()
    ours = Ledger([node.ledger], uncommitted=True)
    by_status = {}
    for transaction in ours:
        row = transaction.tables.get(tables.SERVICE_INFO)
        if row is not None and transaction.seqno >= created.seqno:
            info = json.loads(next(iter(row.values())) or b"")
            by_status[info["status"]] = (sorted(transaction.tables), sorted(info))
    for seqno, status in ((1423, "Recovering"), (1458, "Open")):
        theirs = real.get_transaction(seqno)
        info = json.loads(theirs.tables[tables.SERVICE_INFO][tables.SINGLETON] or b"")
        assert by_status[status] == (sorted(theirs.tables), sorted(info)), status
    assert by_status["WaitingForRecoveryShares"][0] == sorted(
        [tables.SERVICE_INFO, tables.LAST_RECOVERY_TYPE, "public:proposal"]
    )


def test_until_the_shares_are_in_only_the_public_part_is_there(lost: StartedNode, second: Path) -> None:
    node = recover(second, lost)
    try:
        assert node.node.state == NodeState.PART_OF_PUBLIC_NETWORK
        assert _json(node, tables.SERVICE_INFO)["status"] == "Recovering"
        tx = node.node.runtime.begin()
        assert tx.get("public:x", b"k") == b"1"
        assert tx.get(PRIVATE, b"a") is None
        assert not node.node.app_open
        old = _json(node, tables.NODES_INFO, lost.node.node_id.encode())
        assert old["status"] == "Retired"
        node.settle()
        node.wait_until(
            lambda: _json(node, tables.NODES_INFO, lost.node.node_id.encode()).get("retired_committed") is True
        )
        names = sorted(path.name for path in node.ledger.iterdir())
        assert any(name.endswith(".recovery") for name in names), names
        with pytest.raises(EffectError, match="Could not rekey"):
            node.effect("triggerLedgerRekey")
    finally:
        node.stop()


def test_the_previous_identity_must_be_named(lost: StartedNode, second: Path) -> None:
    node = recover(second, lost)
    try:
        certificate = node.node.service.certificate.encode()
        with pytest.raises(EffectError, match=r"Unable to open service: Previous service identity does not match\."):
            node.effect("transitionServiceToOpen", certificate, certificate)
        with pytest.raises(EffectError, match="needs its previous identity"):
            node.effect("transitionServiceToOpen", None, certificate)
    finally:
        node.stop()


def test_wrong_shares_open_nothing(lost: StartedNode, second: Path) -> None:
    node = recover(second, lost)
    try:
        _propose_opening(node, lost)
        _hand_in(node, 0)
        member = node.members[1]
        encrypted = _json(node, tables.RECOVERY_SHARES)["encrypted_shares"][member.id]
        share = bytearray(decrypt_secret(member.encryption, base64.b64decode(encrypted)))
        share[5] ^= 1
        with pytest.raises(TallystickError):
            _hand_in(node, 1, bytes(share))
        with pytest.raises(TallystickError):
            _hand_in(node, 1, b"no share")
        assert node.node.state == NodeState.PART_OF_PUBLIC_NETWORK
        assert _hand_in(node, 1), "a good share after a bad one"
        node.wait_until(lambda: node.node.state == NodeState.PART_OF_NETWORK)
    finally:
        node.stop()


def test_shares_beyond_the_threshold_start_no_second_recovery(lost: StartedNode, second: Path) -> None:
    # Nothing is committed before the last of them is in.
    node = recover(second, lost, ledger_signatures={"delay": "1h"})
    try:
        _propose_opening(node, lost)
        assert [_hand_in(node, index, settle=False) for index in range(3)] == [False, True, True]
        node.settle()
        node.wait_until(lambda: "Recovery is complete" in node.log.getvalue())
        node.settle()
        node.wait_until(lambda: node.node.app_open)
        # What was told of commits is dealt with before it ends.
        node.stop()
        assert node.node.state == NodeState.PART_OF_NETWORK
        log = node.log.getvalue()
        assert log.count("Reading the private ledger") == 1
        assert "[fatal]" not in log
    finally:
        node.stop()
    assert _audit(node, lost).verdict is Verdict.VERIFIED


def test_a_ledger_of_another_service_is_refused_and_left_alone(lost: StartedNode, second: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = start(other)
    stranger.stop()
    before = {path.name: path.read_bytes() for path in lost.ledger.iterdir()}
    lost_certificate = lost.service_certificate.read_bytes()
    lost.service_certificate.write_bytes(stranger.service_certificate.read_bytes())
    with pytest.raises(StartError, match="not that of the previous service"):
        recover(second, lost)
    lost.service_certificate.write_bytes(lost_certificate)
    assert {path.name: path.read_bytes() for path in (second / "ledger").iterdir()} == before


def test_what_no_signature_covers_is_cut_off(lost: StartedNode, second: Path) -> None:
    [path] = [each for each in lost.ledger.iterdir() if not each.name.endswith(".committed")]
    last = max(each.seqno for each in Ledger([lost.ledger], uncommitted=True))
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    node = recover(second, lost)
    created = node.node.create_txid
    node.stop()
    assert created is not None
    assert created.seqno <= last
    assert "public:x" in {name for each in Ledger([node.ledger], uncommitted=True) for name in each.table_names}


def test_a_tampered_ledger_is_taken_over_only_up_to_the_damage(lost: StartedNode, second: Path) -> None:
    [path] = [each for each in lost.ledger.iterdir() if not each.name.endswith(".committed")]
    data = bytearray(path.read_bytes())
    target = data.rindex(b"public:x")
    data[target + 60] ^= 1
    path.write_bytes(data)
    node = recover(second, lost)
    try:
        assert "was taken over up to" in node.log.getvalue()
        assert node.node.runtime.begin().get("public:x", b"k") is None
    finally:
        node.stop()


def test_no_ledger_no_recovery(lost: StartedNode, second: Path) -> None:
    for path in lost.ledger.iterdir():
        path.unlink()
    with pytest.raises(StartError, match="no signature transaction"):
        recover(second, lost)


def test_receipts_of_every_life_verify_under_the_last_identity(
    lost: StartedNode, second: Path, tmp_path: Path, peer_python: Path
) -> None:
    node = _recover_fully(second, lost)
    later = node.commit((PRIVATE, b"c", b"6"))
    node.stop()
    third = tmp_path / "third"
    third.mkdir()
    again = _recover_fully(third, node)
    last = again.commit((PRIVATE, b"d", b"7"))
    again.settle()
    history = History(again.node.runtime, lambda: again.node.service)
    certificate = again.service_certificate
    anchor = TrustAnchor.from_certificates([certificate.read_bytes()])
    for txid, endorsed in ((TxId(2, 1), 2), (TxId(2, 2), 2), (later, 1), (last, 0)):
        receipt = history.json_receipt(txid)
        assert len(receipt.get("service_endorsements", [])) == min(endorsed, 1)
        path = tmp_path / "receipt.json"
        path.write_text(json.dumps(receipt))
        assert ask(peer_python, "receipts", certificate, "", path)["verdicts"] == ["verified"]
        assert len(history.identities.endorsements(txid)) == endorsed
        if "leaf_components" not in receipt:
            continue
        for document in (path.read_bytes(), history.cose_receipt(txid)):
            links = [Endorsement.parse(message) for message in history.identities.endorsements(txid)]
            [result] = ReceiptVerifier(anchor, endorsements=links).audit([("r", document)], [Expected(txid=txid)])
            assert result.verdict is Verdict.VERIFIED, result.findings
    again.stop()


def test_a_service_that_signs_in_cose_only_comes_back(tmp_path: Path, second: Path, peer_python: Path) -> None:
    mode = {"delay": "50ms", "mode": "CoseOnly"}
    first = tmp_path / "cose"
    first.mkdir()
    lost = _lived(first, ledger_signatures=mode)
    node = _recover_fully(second, lost, ledger_signatures=mode)
    assert node.node.runtime.begin().get(PRIVATE, b"b") == b"3"
    node.stop()
    assert _audit(node, lost).verdict is Verdict.VERIFIED
    assert ask(peer_python, "verify", node.ledger)["verdict"] == "verified"


def test_a_recovery_that_was_given_up_leaves_the_ledger_as_it_was(
    lost: StartedNode, second: Path, tmp_path: Path
) -> None:
    given_up = recover(second, lost)
    created = given_up.node.create_txid
    given_up.stop()
    assert any(path.name.endswith(".recovery") for path in given_up.ledger.iterdir())
    given_up.service_certificate.write_bytes(lost.service_certificate.read_bytes())
    third = tmp_path / "third"
    third.mkdir()
    node = _recover_fully(third, given_up)
    assert node.node.create_txid == created
    tx = node.node.runtime.begin()
    assert (tx.get(PRIVATE, b"a"), tx.get(PRIVATE, b"b")) == (b"2", b"3")
    node.stop()
    assert any(path.name.endswith(".recovery.ignored") for path in node.ledger.iterdir())
    assert _audit(node, lost).verdict is Verdict.VERIFIED
