"""A sandbox in a process of its own, for tests that talk to a running service."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.network import tls_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATIENCE_SECONDS = 90.0


@dataclass(frozen=True)
class Answer:
    """What the service answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def transaction_id(self) -> str:
        return self.headers["x-ms-ccf-transaction-id"]


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox that is ready.

    Attributes:
        process: ``tallystick sandbox``.
        workspace: its directory.
        description: ``sandbox.json``.
    """

    process: subprocess.Popen[str]
    workspace: Path
    description: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.description["nodes"][0]["url"])

    @property
    def service_cert(self) -> Path:
        return Path(self.description["service_cert"])

    @property
    def ledger(self) -> Path:
        return Path(self.description["nodes"][0]["ledger"])

    def member_arguments(self, index: int = 0) -> list[str]:
        """Options by which ``tallystick member`` speaks for a member."""
        member = self.description["members"][index]
        return [*self.service_arguments, "--cert", member["cert"], "--key", member["key"]]

    @property
    def service_arguments(self) -> list[str]:
        return ["--url", self.url, "--service-cert", str(self.service_cert)]

    def ask(
        self,
        path: str,
        body: object = None,
        *,
        method: str | None = None,
        user: int | None = 0,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A request, with the certificate of a user unless ``user`` is None."""
        context = tls_context([str(self.service_cert)])
        if user is not None:
            identity = self.description["users"][user]
            context.load_cert_chain(identity["cert"], identity["key"])
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json"} if data is not None else {}
        connection = http.client.HTTPSConnection(self.url.partition("//")[2], timeout=30, context=context)
        try:
            connection.request(method or ("GET" if data is None else "POST"), path, data, {**sent, **(headers or {})})
            response = connection.getresponse()
            return Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        finally:
            connection.close()

    def wait_committed(self, transaction_id: str) -> None:
        self.until(f"/node/tx?transaction_id={transaction_id}", lambda answer: answer.json["status"] == "Committed")

    def until(self, path: str, wanted: Any, **request: Any) -> Answer:
        """Asks until the answer is as wanted."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self.ask(path, **request)
            if wanted(answer):
                return answer
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{path}: {answer}")
            time.sleep(0.02)

    def stop(self) -> int:
        """Ends it, and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


def spawn(*arguments: str | Path) -> subprocess.Popen[str]:
    """Starts ``tallystick sandbox ARGUMENTS``."""
    return subprocess.Popen(
        [sys.executable, "-m", "tallystick", "sandbox", *map(str, arguments)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_ready(process: subprocess.Popen[str], workspace: Path) -> dict[str, Any]:
    """``sandbox.json``, once it is there."""
    ready = workspace / "sandbox.json"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ready.is_file():
        if process.poll() is not None or time.monotonic() >= deadline:
            process.kill()
            out, err = process.communicate()
            log = workspace / "node0" / "node.log"
            words = log.read_text()[-3000:] if log.is_file() else ""
            raise RuntimeError(f"no sandbox: exit code {process.returncode}\n{out}\n{err}\n{words}")
        time.sleep(0.01)
    description: dict[str, Any] = json.loads(ready.read_bytes())
    return description


@contextmanager
def running_sandbox(workspace: Path, *arguments: str | Path) -> Iterator[RunningSandbox]:
    """A sandbox on any free port, ended in order afterwards."""
    process = spawn("--workspace", workspace, "--port", "0", *arguments)
    try:
        sandbox = RunningSandbox(process, workspace, wait_ready(process, workspace))
        yield sandbox
        code = sandbox.stop()
        if code != 0:
            raise RuntimeError(f"the sandbox ended with {code}: {process.communicate()}")
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
