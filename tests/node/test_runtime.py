"""The native data plane as Python holds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# A signer that takes a while, so that threads are inside Python, or want to be, when the runtime goes.
_SCRIPT = """
import sys, time
from tallystick import _native

def sign(root, view, seqno):
    time.sleep(0.02)
    return b"0", b"0", "0" * 64, ""

def runtime(number):
    directory = f"{sys.argv[1]}/{number}"
    made = _native.NodeRuntime(directory, bytes(32), sign, lambda *told: None, signature_delay_ms=1, sync=False)
    made.serve([("rpc", "127.0.0.1:0", "HTTP1", None, {})], lambda request: (200, [], b"", False), 1)
    tx = made.begin()
    tx.set("public:x", b"k", b"v")
    made.commit(tx)
    time.sleep(0.01)
    return made

"""


@pytest.mark.parametrize(
    "end",
    [
        "for number in range(5):\n    runtime(number)\n",
        "kept = runtime(0)\n",
        "kept = runtime(0)\nkept.stop()\nkept.stop()\n",
    ],
    ids=["dropped", "alive-at-exit", "stopped"],
)
def test_a_runtime_that_goes_ends_its_threads(end: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _SCRIPT + end, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
