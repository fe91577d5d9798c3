"""The sandbox's node: a process of its own, which never outlives the sandbox."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tallystick.errors import TallystickError, UsageError
from tallystick.sandbox.workspace import Workspace

__all__ = ["NodeProcess", "SandboxError", "require_free_port"]

_T = TypeVar("_T")

POLL_SECONDS = 0.005
STOP_SECONDS = 10.0
"""Time that a node has to sign and write what is pending, before it is killed; CCF's harness gives as much."""

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_MAX_LOG_TAIL_BYTES = 64 << 10


class SandboxError(TallystickError):
    """The sandbox could not be brought up, or its node has ended."""

    default_code = "sandbox"


def require_free_port(port: int) -> None:
    """Asks whether a port of 127.0.0.1 can be listened at, before anything is written.

    Raises:
        UsageError: it cannot (``port-taken``).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A port in TIME_WAIT is free to a server, which sets this too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError as error:
            raise UsageError(
                f"port {port} of 127.0.0.1 cannot be used: {error.strerror}",
                code="port-taken", hint="choose another with --port; 0 takes any that is free",
            ) from error  # fmt: skip


class NodeProcess:
    """A running ``tallystick node start``.

    Args:
        workspace: whose node it is. Its configuration may still be missing: the node waits for it.
        wait_seconds: how long it waits.
        log_level: of the node.
    """

    def __init__(self, workspace: Workspace, wait_seconds: int, log_level: str = "info") -> None:
        workspace.node.mkdir(exist_ok=True)
        self._workspace = workspace
        with workspace.log_file.open("ab") as log:
            # The arguments are this interpreter and paths of ours.
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "tallystick", "node", "start", "--config", str(workspace.config_file),
                    "--config-timeout", f"{wait_seconds}s", "--log-level", log_level,
                ],
                cwd=workspace.node,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal goes to the whole group; the sandbox stops the node itself, in order.
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def require_running(self) -> None:
        """Asks whether the node still runs.

        Raises:
            SandboxError: it has ended; the message ends with its own last words.
        """
        code = self._process.poll()
        if code is None:
            return
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise SandboxError(f"node has ended with {how}: {self._last_words()}", file=str(self._workspace.log_file))

    def wait(self, seconds: float) -> bool:
        """Waits so long for the node to end, and tells whether it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is not None

    def stop(self) -> int:
        """Ends the node in order, and by force if it does not come to an end.

        Returns:
            Its exit code; negative for a signal.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            # A stopped process does not see other signals until it goes on.
            self._process.send_signal(signal.SIGCONT)
            if not self.wait(STOP_SECONDS):
                self._process.kill()
        return self._process.wait()

    def url(self, deadline: float) -> str:
        """The node's URL, once it listens.

        Args:
            deadline: of :func:`time.monotonic`.

        Raises:
            SandboxError: it has ended, or does not listen in time.
        """
        addresses = self.until(lambda: _read_json(self._workspace.addresses_file), "listen", deadline)
        self.until(self._workspace.service_certificate.is_file, "write the service's certificate", deadline)
        return f"https://{addresses['main']}"

    def until(self, ask: Callable[[], _T], what: str, deadline: float) -> _T:
        """Asks again and again until the answer is true, as long as the node runs.

        Raises:
            SandboxError: the node has ended, or time is up.
        """
        while not (answer := ask()):
            self.require_running()
            if time.monotonic() >= deadline:
                raise SandboxError(
                    f"node did not {what} in time: {self._last_words()}", file=str(self._workspace.log_file)
                )
            time.sleep(POLL_SECONDS)
        return answer

    def _last_words(self) -> str:
        """The line of the log that most likely says why: the last fatal one, or the last."""
        try:
            with self._workspace.log_file.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _MAX_LOG_TAIL_BYTES))
                lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        except OSError:
            lines = []
        fatal = [line for line in lines if "[fatal]" in line or "error:" in line]
        line = (fatal or lines or ["its log is empty"])[-1]
        return line.rpartition("| ")[2][:500]


def _die_with_parent() -> None:
    """Asks the kernel to end this process when the one that started it ends, however that comes about."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _read_json(path: Path) -> dict[str, str]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
