"""`--offline`: no network at all, whoever wants it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.growing_service import Scene

# Notes every attempt of Python code to connect; the server notes what arrives.
SCRIPT = """
import socket, sys
from tallystick.cli.main import main

tried = []
real = socket.socket.connect

def watch(self, address):
    tried.append(address)
    return real(self, address)

class Watched(socket.socket):
    connect = watch

socket.socket = Watched
code = main(sys.argv[1:])
print("TRIED", tried)
sys.exit(code)
"""


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("place", ["before", "after", "environment"])
@pytest.mark.parametrize("command", ["fetch", "follow", "verify", "log", "dask"])
def test_nothing_reaches_out(scene: Scene, command: str, place: str) -> None:
    pin = ["--service-cert", str(scene.pins[0])]
    arguments = {
        "fetch": ["fetch", scene.node.url, "-o", str(scene.target), *pin],
        "follow": ["follow", scene.node.url, "--state", str(scene.target), "--once", *pin],
        "verify": ["verify", f"{scene.node.url}/ledger", *pin],
        "log": ["log", f"{scene.node.url}/ledger"],
        "dask": ["verify", str(scene.node.directory), "--engine", "dask://127.0.0.1:9", *pin],
    }[command]
    if place == "before":
        outcome = run("--offline", *arguments)
    elif place == "after":
        outcome = run(*arguments, "--offline")
    else:
        outcome = run(*arguments, TALLYSTICK_OFFLINE="1")

    assert outcome.returncode == 2, outcome.stderr
    assert "[offline]" in outcome.stderr
    assert "TRIED []" in outcome.stdout
    assert scene.node.requests == []


def test_local_work_goes_on(scene: Scene) -> None:
    outcome = run("verify", scene.node.directory, "--service-cert", scene.pins[0], "--offline")
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('127.0.0.1', PORT))",
        "socket.getaddrinfo('localhost', 80)",
        "socket.gethostbyname('localhost')",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect_ex(('127.0.0.1', PORT))",
        "urllib.request.urlopen('http://127.0.0.1:PORT/')",
    ],
)
def test_no_library_can_either(scene: Scene, attempt: str) -> None:
    port = scene.node.url.rpartition(":")[2]
    script = (
        "import socket, urllib.request\n"
        "from tallystick.network import go_offline\n"
        "go_offline()\n"
        f"{attempt.replace('PORT', port)}\n"
    )
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    assert "network access is forbidden" in outcome.stderr
    assert scene.node.requests == []


def test_in_a_network_namespace_without_any_network(scene: Scene) -> None:
    """Where the kernel lets us have one: local work needs no network of any kind, not even loopback."""
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-m", "tallystick"]
    probe = subprocess.run([*command[:4], "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("this machine gives no network namespace to tests (unshare --user --net)")
    for arguments in (["verify", str(scene.node.directory), "--service-cert", str(scene.pins[0])], ["--help"]):
        outcome = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, outcome.stderr
