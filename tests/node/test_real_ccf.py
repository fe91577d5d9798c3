"""CCF itself recovers a service from the ledger, and from a snapshot, that our node wrote.

Needs a build of CCF: TALLYSTICK_CCF_JS_GENERIC names its ``js_generic``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.running_node import (
    Consortium,
    RunningNode,
    configuration,
    open_service,
    recover_command,
    recover_service,
    start_command,
    start_node,
)
from tallystick.member.actions import read_bundle
from tallystick.node.constitution import constitution_files

REPOSITORY = Path(__file__).resolve().parents[2]
APP = REPOSITORY / "benches" / "logging_app"
OUR_NODE = (sys.executable, "-m", "tallystick", "node", "start")
RECORDS = 40


@pytest.fixture
def js_generic() -> Path:
    named = os.environ.get("TALLYSTICK_CCF_JS_GENERIC")
    if not named or not Path(named).is_file():
        pytest.skip("no build of CCF: set TALLYSTICK_CCF_JS_GENERIC to its js_generic")
    return Path(named)


def _caller(consortium: Consortium) -> tuple[Path, Path]:
    return consortium.file("user0_cert"), consortium.file("user0_privk")


def _write(node: RunningNode, consortium: Consortium, numbers: range) -> str:
    """Writes a record for each number; the last transaction ID."""
    txid = ""
    for number in numbers:
        body = json.dumps({"id": number, "msg": f"record {number}"}).encode()
        status, headers, answer = node.request("POST", "/app/log/private", body, caller=_caller(consortium))
        assert status in (200, 204), answer
        txid = headers["x-ms-ccf-transaction-id"]
    return txid


def _read(node: RunningNode, consortium: Consortium, number: int) -> Any:
    status, _, answer = node.request("GET", f"/app/log/private?id={number}", caller=_caller(consortium))
    assert status == 200, answer
    return json.loads(answer)["msg"]


def _committed(node: RunningNode, txid: str) -> None:
    for _ in range(1000):
        _, _, answer = node.request("GET", f"/app/tx?transaction_id={txid}")
        if json.loads(answer)["status"] == "Committed":
            return
    raise AssertionError(f"{txid} is not committed")


def _verdict(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tallystick", *arguments, "--format", "json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    verdict: dict[str, Any] = json.loads(result.stdout)
    return verdict


@pytest.mark.parametrize("from_snapshot", [False, True], ids=["ledger", "snapshot"])
def test_ccf_recovers_what_our_node_wrote(js_generic: Path, tmp_path: Path, from_snapshot: bool) -> None:
    consortium = Consortium.create(tmp_path / "keys", members=3)
    settings = {"snapshots": {"directory": "snapshots", "tx_count": 20}} if from_snapshot else None
    config = configuration(start_command(consortium, constitution_files()), settings=settings)
    with start_node(OUR_NODE, tmp_path / "ours", config) as ours:
        open_service(ours, consortium, read_bundle(APP))
        _committed(ours, _write(ours, consortium, range(RECORDS)))
        assert ours.stop() == 0
    recovered = tmp_path / "theirs"
    shutil.copytree(ours.ledger, recovered / "ledger")
    if from_snapshot:
        shutil.copytree(ours.snapshots, recovered / "snapshots")
        assert list((recovered / "snapshots").glob("*.committed"))
    first_life = len(list((recovered / "ledger").iterdir()))
    with start_node((js_generic,), recovered, configuration(recover_command(ours.service_certificate))) as theirs:
        recover_service(theirs, consortium, ours.service_certificate)
        for number in range(RECORDS):
            assert _read(theirs, consortium, number) == f"record {number}"
        _committed(theirs, _write(theirs, consortium, range(RECORDS, 2 * RECORDS)))
        assert _read(theirs, consortium, 2 * RECORDS - 1) == f"record {2 * RECORDS - 1}"
        theirs.stop()
    ledger = str(recovered / "ledger")
    assert len(list((recovered / "ledger").iterdir())) >= first_life
    verdict = _verdict(
        "verify", ledger, "--uncommitted", "--service-cert", str(ours.service_certificate),
    )  # fmt: skip
    assert verdict["verdict"] == "verified"
    assert len(verdict["identities"]) == 2
    _verdict("gov", "verify", ledger, "--service-cert", str(ours.service_certificate))


def _take_over(executable: tuple[str | Path, ...], lost: RunningNode, directory: Path) -> RunningNode:
    """Another node over a copy of the lost one's ledger."""
    shutil.copytree(lost.ledger, directory / "ledger")
    return start_node(executable, directory, configuration(recover_command(lost.service_certificate)))


def test_our_node_and_ccf_take_over_from_each_other(js_generic: Path, tmp_path: Path) -> None:
    consortium = Consortium.create(tmp_path / "keys", members=3)
    config = configuration(start_command(consortium, constitution_files()))
    with start_node((js_generic,), tmp_path / "1-ccf", config) as first:
        open_service(first, consortium, read_bundle(APP))
        _committed(first, _write(first, consortium, range(10)))
        first.stop()
    lost = first
    for turn, executable in enumerate((OUR_NODE, (js_generic,), OUR_NODE), start=1):
        with _take_over(executable, lost, tmp_path / f"{turn + 1}-{'ours' if turn % 2 else 'ccf'}") as node:
            recover_service(node, consortium, lost.service_certificate)
            for number in range(10 * turn):
                assert _read(node, consortium, number) == f"record {number}"
            _committed(node, _write(node, consortium, range(10 * turn, 10 * turn + 10)))
            node.stop()
        lost = node
    verdict = _verdict("verify", str(lost.ledger), "--uncommitted", "--service-cert", str(first.service_certificate))
    assert verdict["verdict"] == "verified"
    assert len(verdict["identities"]) == 4
    _verdict("gov", "verify", str(lost.ledger), "--uncommitted", "--service-cert", str(first.service_certificate))
