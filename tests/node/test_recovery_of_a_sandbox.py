"""A disaster from end to end: a sandbox is lost, another node takes over its ledger, members decide and recover."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.peer import ask
from support.run import Outcome, tallystick
from support.sandbox import PATIENCE_SECONDS, RunningSandbox, running_sandbox
from tallystick.member import GovernanceClient, GovernanceRequest, RequestType, load_keys
from tallystick.secrets.shares import decrypt_share_bytes, load_encryption_key

OK, REFUSED = 0, 1


def _configuration(before: RunningSandbox, directory: Path) -> Path:
    """That of a node which takes over the ledger of ``before``."""
    document: dict[str, Any] = json.loads((before.workspace / "node0" / "config.json").read_bytes())
    document["command"] = {
        "type": "Recover",
        "service_certificate_file": str(directory / "service_cert.pem"),
        "recover": {
            "previous_service_identity_file": str(before.service_cert),
            "initial_service_certificate_validity_days": 90,
        },
    }
    document["ledger"]["directory"] = str(directory / "ledger")
    document["snapshots"]["directory"] = str(directory / "snapshots")
    for key, value in document["output_files"].items():
        document["output_files"][key] = str(directory / Path(value).name)
    path = directory / "config.json"
    path.write_text(json.dumps(document))
    return path


def _take_over(before: RunningSandbox, directory: Path) -> RunningSandbox:
    directory.mkdir()
    shutil.copytree(before.ledger, directory / "ledger")
    config = _configuration(before, directory)
    document = json.loads(config.read_bytes())
    with (directory / "node.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tallystick", "node", "start", "--config", config],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.PIPE, text=True, cwd=directory,
        )  # fmt: skip
    addresses = Path(document["output_files"]["rpc_addresses_file"])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "Opening members frontend" not in (directory / "node.log").read_text():
        assert process.poll() is None, (directory / "node.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    [address] = json.loads(addresses.read_bytes()).values()
    description = dict(before.description)
    description["nodes"] = [{"url": f"https://{address}", "ledger": str(directory / "ledger"), "pid": process.pid}]
    description["service_cert"] = str(directory / "service_cert.pem")
    return replace(before, process=process, workspace=directory, description=description)


def _member(service: RunningSandbox, index: int, *words: str | Path) -> Outcome:
    return tallystick("member", *words, *service.member_arguments(index))


def _decide(service: RunningSandbox, *words: str | Path) -> None:
    proposed = _member(service, 0, "propose", *words, "--format", "json")
    assert proposed.exit_code == OK, proposed
    for index in (0, 1):
        voted = _member(service, index, "vote", proposed.json["proposalId"])
        assert voted.exit_code == OK, voted


def _hand_in(service: RunningSandbox, index: int) -> Outcome:
    key = service.description["members"][index]["encryption_key"]
    return _member(service, index, "shares", "submit", "--encryption-key", key)


def _hand_in_as_before_versions(service: RunningSandbox, index: int) -> dict[str, Any]:
    """As scripts for CCF 2 to 6 do it: no version, and the signer is who hands in."""
    member = service.description["members"][index]
    keys = load_keys(member["cert"], member["key"])
    with GovernanceClient(service.url, [str(service.service_cert)]) as client:
        encrypted = client.request("GET", f"/gov/encrypted_recovery_share/{keys.id}").json()["encrypted_share"]
        share = decrypt_share_bytes(base64.b64decode(encrypted), load_encryption_key(member["encryption_key"]))
        assert share is not None
        payload = json.dumps({"share": base64.b64encode(share).decode()}).encode()
        message = GovernanceRequest(RequestType.RECOVERY_SHARE, payload, int(time.time())).sign(keys)
        answer = client.request("POST", "/gov/recovery_share", message, {"content-type": "application/cose"})
    assert answer.status == 200, answer
    return answer.json()


@pytest.fixture
def lost(tmp_path: Path) -> RunningSandbox:
    with running_sandbox(tmp_path / "before") as running:
        assert running.ask("/app/log/private", {"id": 7, "msg": "before"}).status == 200
        _decide(running, "rekey")
        answer = running.ask("/app/log/private", {"id": 8, "msg": "after a rekey"})
        running.wait_committed(answer.transaction_id)
    return running


def test_a_lost_service_comes_back(lost: RunningSandbox, tmp_path: Path, peer_python: Path) -> None:
    service = _take_over(lost, tmp_path / "after")
    try:
        assert service.ask("/node/network").json["service_status"] == "Recovering"
        assert service.ask("/node/state").json["state"] == "PartOfPublicNetwork"
        assert service.ask("/app/log/private?id=7").status == 404
        refused = _hand_in(service, 0)
        assert refused.exit_code == REFUSED
        assert "not waiting for recovery shares" in refused.stderr
        _decide(service, "open-service", service.service_cert, "--previous", lost.service_cert)
        assert service.ask("/node/network").json["service_status"] == "WaitingForRecoveryShares"
        classic = _hand_in_as_before_versions(service, 0)
        assert classic["message"] == "1/2 recovery shares successfully submitted"
        assert _hand_in(service, 2).exit_code == OK
        service.until("/node/network", lambda answer: answer.json["service_status"] == "Open")
        service.until("/app/commit", lambda answer: answer.status == 200)
        assert service.ask("/app/log/private?id=7").json == {"msg": "before"}
        assert service.ask("/app/log/private?id=8").json == {"msg": "after a rekey"}
        written = service.ask("/app/log/private", {"id": 9, "msg": "recovered"})
        service.wait_committed(written.transaction_id)
        assert service.ask("/node/network").json["recovery_count"] == 1
    finally:
        service.process.send_signal(signal.SIGTERM)
        _, err = service.process.communicate(timeout=PATIENCE_SECONDS)
    assert service.process.returncode == OK
    assert err == ""
    # Whoever trusted the service before needs nothing new: its members decided on what came after it.
    verified = tallystick("verify", "--uncommitted", service.ledger, "--service-cert", lost.service_cert)
    assert verified.exit_code == OK, verified
    governed = tallystick("gov", "verify", "--uncommitted", service.ledger, "--service-cert", lost.service_cert)
    assert governed.exit_code == OK, governed
    assert ask(peer_python, "verify", service.ledger)["verdict"] == "verified"
