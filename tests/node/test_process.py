"""A node as a process: what it says, which signals end it, and with which exit code."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.started_node import configuration, make_member

_PROGRAM = """
import sys
from tallystick.node.config import read_config
from tallystick.node.startup import run_node
sys.exit(run_node(read_config(sys.argv[1]), lambda node: lambda request: (404, [], b"", False)))
"""

# A disk that is full from the signal on, and a transaction that comes just before the end.
_FULL_DISK = """
import resource, sys
from pathlib import Path
from tallystick.node.config import read_config
from tallystick.node.startup import run_node

def handler(node):
    def fill():
        room = max(path.stat().st_size for path in Path(node.config.ledger_directory).iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        tx = node.runtime.begin()
        tx.set("public:x", b"key", b"value")
        node.commit(tx)
    node.before_stop.append(fill)
    return lambda request: (404, [], b"", False)

sys.exit(run_node(read_config(sys.argv[1]), handler))
"""


def _prepare(directory: Path, **more: Any) -> Path:
    for index in range(3):
        make_member(directory, index)
    for name in ("a.js", "b.js"):
        (directory / name).write_text("// nothing")
    config = directory / "config.json"
    config.write_text(json.dumps(configuration(directory, **more)))
    return config


class Process:
    """A node in a process of its own, its output in files."""

    def __init__(self, directory: Path, config: Path, program: str = _PROGRAM) -> None:
        self.out, self.err = directory / "out", directory / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, config], stdout=out, stderr=err, cwd=directory
            )

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.out.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{text!r} was never said: {self.out.read_text()} {self.err.read_text()}")
            time.sleep(0.02)

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def exit_code(self) -> int:
        try:
            return self._process.wait(30)
        finally:
            self._process.kill()


@pytest.mark.parametrize(
    ("number", "said"),
    [(signal.SIGTERM, "Terminated: "), (signal.SIGHUP, "Hangup: "), (signal.SIGINT, "Interrupt: ")],
)
def test_signals_end_it_cleanly(tmp_path: Path, number: int, said: str) -> None:
    process = Process(tmp_path, _prepare(tmp_path))
    process.wait_for("Opening members frontend")
    process.send(number)
    assert process.exit_code() == 0
    assert said in process.out.read_text()
    assert process.err.read_bytes() == b""
    assert list((tmp_path / "ledger").iterdir())


def test_what_could_not_be_written_is_told_at_the_end(tmp_path: Path) -> None:
    process = Process(tmp_path, _prepare(tmp_path), _FULL_DISK)
    process.wait_for("Opening members frontend")
    process.send(signal.SIGTERM)
    assert process.exit_code() == 1
    last = process.out.read_text().splitlines()[-1]
    assert re.search(r"\[fatal\].*the node did not end in order: .*", last), last
    assert process.err.read_bytes() == b""


def test_the_first_sigterm_can_be_a_notice(tmp_path: Path) -> None:
    process = Process(tmp_path, _prepare(tmp_path, ignore_first_sigterm=True))
    process.wait_for("Opening members frontend")
    process.send(signal.SIGTERM)
    process.wait_for("Ignoring the first")
    process.send(signal.SIGTERM)
    assert process.exit_code() == 0


def test_a_start_that_fails_says_why_on_standard_output(tmp_path: Path) -> None:
    config = _prepare(tmp_path)
    (tmp_path / "node.pid").write_text("7")
    process = Process(tmp_path, config)
    assert process.exit_code() == 1
    [line] = [line for line in process.out.read_text().splitlines() if "[fatal]" in line]
    assert line.endswith(f"PID file {tmp_path / 'node.pid'} already exists. Exiting.")
    assert process.err.read_bytes() == b""
    assert (tmp_path / "node.pid").read_text() == "7"


def test_a_start_that_fails_leaves_no_pid_file_behind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        network = {
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": {"main": {"bind_address": address}},
        }
        process = Process(tmp_path, _prepare(tmp_path, network=network))
        assert process.exit_code() == 1
    [line] = [line for line in process.out.read_text().splitlines() if "[fatal]" in line]
    assert f"cannot listen at {address}" in line
    assert process.err.read_bytes() == b""
    assert not (tmp_path / "node.pid").exists()


def test_json_lines_only(tmp_path: Path) -> None:
    process = Process(tmp_path, _prepare(tmp_path, logging={"format": "Json"}))
    process.wait_for("Opening members frontend")
    process.send(signal.SIGTERM)
    assert process.exit_code() == 0
    lines = [json.loads(line) for line in process.out.read_text().splitlines()]
    assert {line["level"] for line in lines} == {"info"}
    assert re.fullmatch(r"\d+", lines[0]["number"])
