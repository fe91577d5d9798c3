"""`tallystick follow`: every verified transaction once, in order, whatever happens to source and follower."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.growing_service import Scene
from support.mutation import LedgerCopy
from support.run import Outcome, tallystick
from support.services import outsider, write_some
from tallystick.printable import is_printable


def follow(scene: Scene, source: str | Path, *options: str | Path, pin: int = 0) -> Outcome:
    state = scene.target / "state"
    return tallystick(
        "follow", source, "--state", state, "--service-cert", scene.pins[pin], "--once", "--interval", "0.01", *options
    )


def seqnos(text: str) -> list[int]:
    return [json.loads(line)["seqno"] for line in text.splitlines()]


def test_each_transaction_comes_once(scene: Scene) -> None:
    first = follow(scene, scene.node.directory)
    assert first.exit_code == 0, first.stderr
    assert follow(scene, scene.node.directory).stdout == ""
    scene.grow()
    scene.recover()
    scene.grow()
    second = follow(scene, scene.node.directory)
    assert second.exit_code == 0, second.stderr

    lines = [json.loads(line) for line in (first.stdout + second.stdout).splitlines()]
    assert [line["seqno"] for line in lines] == list(range(1, scene.service.seqno + 1))
    assert [line["leaf"] for line in lines] == [
        scene.service.written[seqno].leaf.hex() for seqno in range(1, scene.service.seqno + 1)
    ]
    assert any("public:records" in line["tables"] for line in lines)


def test_only_what_is_signed_comes_of_an_open_chunk(scene: Scene) -> None:
    write_some(scene.service)
    scene.service.sign()
    signed = scene.service.seqno
    write_some(scene.service)
    scene.service.leave_chunk_open()

    committed = seqnos(follow(scene, scene.node.directory).stdout)
    open_too = seqnos(follow(scene, scene.node.directory, "--uncommitted").stdout)

    assert committed + open_too == list(range(1, signed + 1))


def test_a_node_is_followed_and_its_chunks_are_not_kept(scene: Scene) -> None:
    reported = seqnos(follow(scene, scene.node.url).stdout)
    scene.grow()
    scene.recover()
    scene.grow(2)
    outcome = follow(scene, scene.node.url)
    assert outcome.exit_code == 0, outcome.stderr
    reported += seqnos(outcome.stdout)

    assert reported == list(range(1, scene.service.seqno + 1))
    assert len(list((scene.target / "state" / "ledger").glob("*.committed"))) == 1


def test_nothing_that_does_not_verify_comes_out(scene: Scene, tmp_path: Path) -> None:
    copy = LedgerCopy(scene.node.directory, tmp_path / "bad")
    path = copy.chunks[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)

    outcome = follow(scene, tmp_path / "bad")

    assert (outcome.exit_code, outcome.stdout) == (1, "")


def test_a_source_that_goes_back_is_reported(scene: Scene) -> None:
    follow(scene, scene.node.directory)
    newest = max(scene.node.directory.glob("*.committed"), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()
    outcome = follow(scene, scene.node.directory)
    assert (outcome.exit_code, "[checkpoint-rollback]" in outcome.stderr) == (1, True)


def test_another_history_is_reported(scene: Scene, tmp_path: Path) -> None:
    copy = LedgerCopy(scene.node.directory, tmp_path / "fork")
    write_some(scene.service)
    scene.service.sign(close_chunk=True)
    follow(scene, scene.node.directory)
    from support.services import new_service

    other = new_service(tmp_path / "other", "6.x")
    other.take_over(copy.chunks)
    other.recover()
    for path in (tmp_path / "other").glob("*.committed"):
        path.rename(copy.directory / path.name)

    outcome = follow(scene, copy.directory)
    assert outcome.exit_code == 1
    assert "[checkpoint-fork]" in outcome.stderr


def test_an_outsiders_recovery_is_never_reported(scene: Scene, tmp_path: Path) -> None:
    """Reports 16a and 59: the next life of a service is followed only if something vouches for it."""
    copy = LedgerCopy(scene.node.directory, tmp_path / "source")
    first = follow(scene, copy.directory)
    assert seqnos(first.stdout) == list(range(1, scene.service.seqno + 1))
    forge = outsider(copy, tmp_path / "forged")
    forge.recover(vouched=False)
    write_some(forge)
    forge.sign(close_chunk=True)
    for path in (tmp_path / "forged").glob("*.committed"):
        path.rename(copy.directory / path.name)

    after = follow(scene, copy.directory)

    assert after.exit_code != 0
    assert after.stdout == ""
    assert "service-identity-unvouched" in after.stderr


def test_what_a_node_says_cannot_steer_the_terminal(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither while it is waited for, nor in the error that ends a run."""
    scene.node.fault = lambda _number, _path: "hostile"
    ended = follow(scene, scene.node.url)

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tallystick.cli.follow.time.sleep", interrupt)
    pinned = ("--service-cert", scene.pins[0])
    waiting = tallystick("follow", scene.node.url, "--state", scene.target / "state", *pinned, "--interval", "0.01")

    assert (ended.exit_code, waiting.exit_code) == (3, 130)
    assert "waiting: " in waiting.stderr
    for outcome in (ended, waiting):
        assert "later\\x1b[2J\\u202e" in outcome.stderr
        assert is_printable(outcome.stderr, lines=True)


def test_an_empty_source_is_waited_for(scene: Scene, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    outcome = follow(scene, empty)
    assert (outcome.exit_code, "[nothing-to-verify]" in outcome.stderr) == (3, True)
    for path in scene.node.directory.glob("*.committed"):
        (empty / path.name).write_bytes(path.read_bytes())
    assert len(seqnos(follow(scene, empty).stdout)) == scene.service.seqno


def test_what_was_written_after_the_state_is_cut_off(scene: Scene) -> None:
    output = scene.target / "out.jsonl"
    scene.target.mkdir()
    assert follow(scene, scene.node.directory, "--output", output).exit_code == 0
    good = output.read_text()
    output.write_text(good + '{"seqno": 1, half a li')
    scene.grow()

    assert follow(scene, scene.node.directory, "--output", output).exit_code == 0

    assert output.read_text().startswith(good)
    assert seqnos(output.read_text()) == list(range(1, scene.service.seqno + 1))


@pytest.mark.parametrize("damage", ["shorter", "no output", "not JSON", "other schema"])
def test_a_state_that_does_not_fit_is_refused(scene: Scene, damage: str) -> None:
    output = scene.target / "out.jsonl"
    scene.target.mkdir()
    follow(scene, scene.node.directory, "--output", output)
    state = scene.target / "state" / "state.json"
    options = ["--output", output]
    if damage == "shorter":
        output.write_text("")
    elif damage == "no output":
        options = []
    else:
        state.write_text("{" if damage == "not JSON" else '{"schema": "x"}')
    outcome = follow(scene, scene.node.directory, *options)
    assert outcome.exit_code in (2, 3)
    assert "[follow-state]" in outcome.stderr


def test_a_change_between_verifying_and_reporting_is_not_reported(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tallystick.remote import follow as module

    real = module.audit_ledger
    spoilt = []

    def audit_then_spoil(*arguments: object, **options: object) -> object:
        verdict = real(*arguments, **options)
        path = sorted(scene.node.directory.glob("*.committed"))[0]
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
        spoilt.append(path)
        return verdict

    monkeypatch.setattr(module, "audit_ledger", audit_then_spoil)
    output = scene.target / "out.jsonl"
    scene.target.mkdir()
    outcome = follow(scene, scene.node.directory, "--output", output)
    assert spoilt
    assert (outcome.exit_code, "[follow-diverged]" in outcome.stderr) == (3, True)
    assert output.read_text() == ""


@pytest.mark.parametrize("kind", ["directory", "node"])
@pytest.mark.timeout(280)
def test_kill_9_again_and_again(scene: Scene, kind: str) -> None:
    """Killed at any moment while the ledger grows, rotates and recovers; nothing is skipped or comes twice."""
    output = scene.target / "out.jsonl"
    scene.target.mkdir()
    source = scene.node.url if kind == "node" else str(scene.node.directory)
    command = [sys.executable, "-m", "tallystick", "follow", source, "--state", str(scene.target / "state")]
    command += ["--output", str(output), "--service-cert", str(scene.pins[0]), "--interval", "0.01"]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    for turn in range(6):
        with start() as process:
            scene.grow()
            if turn == 2:
                scene.recover()
            # From before the first line is written to well after it: a different moment each turn.
            _wait_for_growth(output, process, seconds=0.3 * turn)
            process.send_signal(signal.SIGKILL)
            process.communicate()
    with start() as process:
        deadline = time.monotonic() + 120
        while _lines(output) < scene.service.seqno and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read() if process.stderr else b""
            time.sleep(0.05)
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert follow_to_end(scene, source, output) == 0

    assert seqnos(output.read_text()) == list(range(1, scene.service.seqno + 1))
    leaves = [json.loads(line)["leaf"] for line in output.read_text().splitlines()]
    assert leaves == [scene.service.written[n].leaf.hex() for n in range(1, scene.service.seqno + 1)]


def follow_to_end(scene: Scene, source: str, output: Path) -> int:
    return follow(scene, source, "--output", output).exit_code


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _wait_for_growth(path: Path, process: subprocess.Popen[bytes], seconds: float) -> None:
    before = path.stat().st_size if path.exists() else 0
    deadline = time.monotonic() + seconds + 1
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size != before:
                break
        time.sleep(0.005)
    time.sleep(seconds / 3)


def test_sources_are_one_node_or_paths(scene: Scene) -> None:
    outcome = tallystick(
        "follow", scene.node.url, os.devnull, "--state", scene.target, "--service-cert", scene.pins[0], "--once"
    )
    assert outcome.exit_code == 2
