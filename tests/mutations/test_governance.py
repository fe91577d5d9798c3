"""A service that cheats at its own governance is caught, however well it signs; an honest one is not accused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mutations.governance_table import CHEATS, ODDITIES, Cheat, Oddity, honest_life
from support.consortium import Consortium
from tallystick import _native
from tallystick.demo.styles import STYLES
from tallystick.governance.codes import GOVERNANCE_CODES
from tallystick.governance.ledger import replay_governance
from tallystick.governance.replay import Budgets
from tallystick.governance.report import GovernanceReport
from tallystick.ledger.directory import find_ledger_files

# Budgets for scripts that are to run into them.
_SHORT = Budgets(max_time_ms=50)


def _written(service: Consortium) -> Path:
    service.sign()
    service.leave_chunk_open()
    return service.directory


def _replay(directory: Path, budgets: Budgets | None = None) -> GovernanceReport:
    return replay_governance([directory], uncommitted=True, budgets=budgets)


def _codes(report: GovernanceReport) -> set[str]:
    return {item.code for item in report.findings}


@pytest.mark.parametrize("style", ["4.x", "6.x"])
def test_an_honest_service_is_not_accused(style: str, tmp_path: Path) -> None:
    service = Consortium(tmp_path / "ledger", style=STYLES[style]).start()
    honest_life(service)
    service.sign()
    service.recover()
    report = _replay(_written(service))

    assert report.findings == ()
    assert report.verdict.value == "verified"
    assert (report.counts.accepted, report.counts.rejected, report.counts.withdrawn, report.counts.dropped) == (
        10,
        1,
        1,
        2,
    )
    assert report.counts.states_dropped == 2


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_cheat_is_caught(cheat: Cheat, tmp_path: Path) -> None:
    service = Consortium(tmp_path / "ledger").start()
    honest = service.seqno
    cheat.commit(service)
    directory = _written(service)
    report = _replay(directory)

    assert set(cheat.codes) <= _codes(report), [(item.code, item.message) for item in report.findings]
    assert report.verdict.value == "failed"
    # What was honest stays so: the finding is where the cheat is, or where its consequences are.
    assert all(int((item.txid or "0.0").partition(".")[2]) > honest for item in report.findings)
    assert _roots_hold(directory)


def _roots_hold(directory: Path) -> bool:
    parts = find_ledger_files([str(directory)], uncommitted=True).runs()[0]
    scanner = _native.LedgerScanner(
        [part.file.path for part in parts], level="merkle", tree=_native.MerkleTree(), first_seqno=1
    )
    return all(record.root_holds for batch in scanner for record in batch.signatures)


@pytest.mark.parametrize("oddity", ODDITIES, ids=lambda oddity: oddity.name)
def test_oddity_is_told(oddity: Oddity, tmp_path: Path) -> None:
    service = Consortium(tmp_path / "ledger").start()
    oddity.commit(service)
    directory = _written(service)
    if oddity.stuck:
        # A thread that cannot be stopped lives as long as its process: give it one of its own.
        command = [sys.executable, "-m", "tallystick", "gov", "verify", directory, "--uncommitted", "--trust-genesis"]
        outcome = subprocess.run([*command, "--max-time", "50", "--format", "json"], capture_output=True, check=False)
        governance = json.loads(outcome.stdout)["governance"]
        codes, verdict = {item["code"] for item in governance["findings"]}, governance["verdict"]
        assert outcome.returncode == 3
    else:
        report = _replay(directory, _SHORT)
        codes, verdict = _codes(report), report.verdict.value

    assert set(oddity.codes) <= codes
    assert verdict == oddity.verdict


def test_replay_needs_the_beginning(tmp_path: Path) -> None:
    service = Consortium(tmp_path / "ledger").start()
    directory = _written(service)
    min(directory.glob("ledger_1-*")).unlink()
    report = _replay(directory)

    assert _codes(report) == {"gov-no-genesis"}
    assert report.verdict.value == "undecided"


def test_replay_stops_at_a_gap(tmp_path: Path) -> None:
    service = Consortium(tmp_path / "ledger").start()
    for _ in range(2):
        service.append({"public:records": {b"k": b"v"}})
        service.sign(close_chunk=True)
    directory = _written(service)
    chunks = sorted(directory.glob("ledger_*"), key=lambda path: int(path.name.split("_")[1].split("-")[0]))
    chunks[-2].unlink()
    report = _replay(directory)

    assert "gov-read-stopped" in _codes(report)
    assert report.verdict.value == "undecided"
    assert report.counts.accepted == 2


def test_every_code_is_shown() -> None:
    shown = {code for row in (*CHEATS, *ODDITIES) for code in row.codes}
    # By the two tests above.
    shown |= {"gov-no-genesis", "gov-read-stopped"}

    assert shown == set(GOVERNANCE_CODES)
