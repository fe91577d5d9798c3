"""The sandbox: ready in one command, ended by a signal, and clear about what is wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.run import tallystick
from support.sandbox import PATIENCE_SECONDS, RunningSandbox, running_sandbox, spawn, wait_ready

OK, USAGE, UNDECIDED = 0, 2, 3


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> RunningSandbox:
    with running_sandbox(tmp_path_factory.mktemp("sandbox") / "workspace") as running:
        yield running


def test_the_description(sandbox: RunningSandbox) -> None:
    description = sandbox.description

    assert set(description) == {"nodes", "service_cert", "members", "users"}
    [node] = description["nodes"]
    assert set(node) == {"url", "ledger", "snapshots", "pid"}
    assert node["url"].startswith("https://127.0.0.1:")
    assert Path(node["ledger"]).is_dir()
    assert Path(node["snapshots"]).is_dir()
    os.kill(node["pid"], 0)
    for member in description["members"]:
        assert set(member) == {"id", "cert", "key", "encryption_key"}
    for user in description["users"]:
        assert set(user) == {"id", "cert", "key"}
    for identity in [*description["members"], *description["users"]]:
        for name in set(identity) - {"id", "cert"}:
            assert stat.S_IMODE(Path(identity[name]).stat().st_mode) == 0o600
    assert sandbox.service_cert.read_text().startswith("-----BEGIN CERTIFICATE-----")


def test_it_answers(sandbox: RunningSandbox) -> None:
    written = sandbox.ask("/app/log/private", {"id": 1, "msg": "hello"})
    assert (written.status, written.json) == (200, True)
    read = sandbox.ask("/app/log/private?id=1")
    assert (read.status, read.json) == (200, {"msg": "hello"})
    assert sandbox.ask("/app/log/private?id=1", user=None).status == 401
    missing = sandbox.ask("/app/log/private?id=2")
    assert (missing.status, missing.json["error"]["code"]) == (404, "ResourceNotFound")
    # A number that JavaScript cannot count with.
    for uncountable in ("9999999999999999", "-1", "1e3", "1.5", "x"):
        refused = sandbox.ask(f"/app/log/private?id={uncountable}")
        assert (refused.status, refused.json["error"]["code"]) == (400, "InvalidInput")
    assert sandbox.ask("/app/log/private", b"{", method="POST").status == 400


def test_only_requests_count_as_malformed(sandbox: RunningSandbox) -> None:
    def malformed() -> int:
        metrics = sandbox.ask("/node/metrics", user=None).json["sessions"]["interfaces"]["main"]
        return int(metrics["errors"]["parsing"])

    before = malformed()
    host, _, port = sandbox.url.removeprefix("https://").rpartition(":")
    address = (host, int(port))
    for probe in (b"", b"no TLS\r\n\r\n"):
        with socket.create_connection(address, timeout=PATIENCE_SECONDS) as plain:
            plain.sendall(probe)
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(1024):
                pass
    assert malformed() == before
    context = ssl.create_default_context(cafile=str(sandbox.service_cert))
    with (
        socket.create_connection(address, timeout=PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        secured.sendall(b"no request\r\n\r\n")
        assert secured.recv(1024).startswith(b"HTTP/1.1 400 ")
    assert malformed() == before + 1


def test_a_second_one_in_the_same_workspace(sandbox: RunningSandbox) -> None:
    outcome = tallystick("sandbox", "--workspace", sandbox.workspace, "--port", "0")

    assert outcome.exit_code == USAGE
    assert "another sandbox is running in this workspace" in outcome.stderr
    assert sandbox.ask("/node/network").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_order(number: signal.Signals, tmp_path: Path) -> None:
    process = spawn("--workspace", tmp_path, "--port", "0", "--members", "1")
    description = wait_ready(process, tmp_path)

    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (OK, "")
    assert description["nodes"][0]["url"] in out
    with pytest.raises(ProcessLookupError):
        os.kill(description["nodes"][0]["pid"], 0)
    pinned = ["--service-cert", tmp_path / "service_cert.pem"]
    assert tallystick("verify", description["nodes"][0]["ledger"], *pinned).exit_code == OK


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    process = spawn("--workspace", tmp_path / "w", "--port", "0", "--members", "20")
    deadline = time.monotonic() + 60
    while not (tmp_path / "w" / "members").is_dir() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGINT
    assert out == ""
    assert err == "tallystick: interrupted before the service was ready\n"


def test_the_node_does_not_outlive_the_sandbox(tmp_path: Path) -> None:
    process = spawn("--workspace", tmp_path, "--port", "0", "--members", "1")
    pid = wait_ready(process, tmp_path)["nodes"][0]["pid"]

    process.kill()
    process.communicate(timeout=60)

    deadline = time.monotonic() + 30
    while _is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_running(pid)


def test_the_sandbox_tells_when_its_node_is_gone(tmp_path: Path) -> None:
    process = spawn("--workspace", tmp_path, "--port", "0", "--members", "1")
    os.kill(wait_ready(process, tmp_path)["nodes"][0]["pid"], signal.SIGKILL)
    _, err = process.communicate(timeout=60)

    assert process.returncode == UNDECIDED
    assert "node has ended with signal 9" in err
    assert "Traceback" not in err


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_nobody_reads_what_it_prints(tmp_path: Path) -> None:
    process = spawn("--workspace", tmp_path, "--port", "0", "--members", "1")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stream:
        err = stream.read()

    assert process.wait(60) == 128 + signal.SIGPIPE
    assert err == ""


def test_port_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outcome = tallystick("sandbox", "--workspace", tmp_path / "w", "--port", str(taken.getsockname()[1]))

    assert outcome.exit_code == USAGE
    assert "cannot be used: Address already in use" in outcome.stderr
    assert "--port" in outcome.stderr
    assert not (tmp_path / "w" / "members").exists()


def test_wrong_arguments(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "app.json").write_text("{")
    (tmp_path / "app" / "src").mkdir()
    (tmp_path / "app" / "src" / "a.js").write_text("")
    cases: list[tuple[list[str | Path], str]] = [
        (["--workspace", tmp_path / "full"], "workspace is not empty"),
        (["--workspace", tmp_path / "file"], "no directory"),
        (["--app", tmp_path / "nowhere"], "no such directory"),
        (["--app", tmp_path / "app"], "not JSON"),
        (["--constitution", tmp_path / "nowhere.js"], "nowhere.js: No such file"),
        (["--constitution", "--users", "2"], "'--constitution' requires an argument"),
        (["--port", "70000"], "70000"),
        (["--members", "0"], "0"),
        (["--nothing"], "--nothing"),
    ]
    for arguments, words in cases:
        outcome = tallystick("sandbox", "--port", "0", *arguments)
        assert (outcome.exit_code, outcome.stdout) == (USAGE, "")
        assert words in outcome.stderr
        assert "Traceback" not in outcome.stderr
    assert (tmp_path / "full" / "mine").read_text() == "mine"


def test_a_constitution_that_does_not_compile(tmp_path: Path) -> None:
    (tmp_path / "broken.js").write_text("export function validate( {")
    outcome = tallystick(
        "sandbox", "--workspace", tmp_path / "w", "--port", "0", "--constitution", tmp_path / "broken.js"
    )

    assert outcome.exit_code != OK
    assert outcome.stderr.startswith("tallystick: error: ")
    assert "Traceback" not in outcome.stderr


def test_a_constitution_in_several_files(tmp_path: Path) -> None:
    from tallystick.node.constitution import constitution_files

    files = constitution_files("sandbox", virtual=True)
    with running_sandbox(tmp_path / "w", "--constitution", *files, "--members", "2") as running:
        text = running.ask("/gov/service/constitution?api-version=2024-07-01", user=None).body.decode()
        assert text == "\n".join(path.read_text() for path in files)


def test_an_app_of_ones_own(tmp_path: Path) -> None:
    app = tmp_path / "app"
    (app / "src").mkdir(parents=True)
    endpoint = {
        "js_module": "hello.js", "js_function": "hello", "mode": "readonly", "authn_policies": ["no_auth"],
        "forwarding_required": "never",
    }  # fmt: skip
    (app / "app.json").write_text(json.dumps({"endpoints": {"/hello": {"get": endpoint}}}))
    (app / "src" / "hello.js").write_text("export function hello() { return { body: 'hello' }; }")
    with running_sandbox(tmp_path / "w", "--app", app, "--members", "1") as running:
        assert running.ask("/app/hello", user=None).body == b"hello"


def test_from_a_directory_with_a_space(tmp_path: Path) -> None:
    workspace = tmp_path / "a workspace"
    with running_sandbox(workspace, "--members", "1") as running:
        run = subprocess.run(
            ["bash", "-c", f'. "{workspace}/env" && "{sys.executable}" -m tallystick member status'],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "Open" in run.stdout
        assert running.url
