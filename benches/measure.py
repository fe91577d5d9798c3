"""Runs commands and says how long they took and how much memory they held."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Run", "blocks", "machine_limits", "median_seconds", "run"]


@dataclass(frozen=True)
class Run:
    """One run of a command.

    Attributes:
        seconds: wall clock from process start to end.
        cpu_seconds: processor time, over all cores: tells how busy the machine was with other things.
        peak_bytes: largest resident set.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    exit_code: int
    stdout: str


def run(command: Sequence[str | Path]) -> Run:
    """Runs ``command`` and measures it, as an installed program: its modules are compiled once, not at every start."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    stdout = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    # Linux counts kibibytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, process.returncode, stdout)


def median_seconds(command: Sequence[str | Path], times: int) -> tuple[float, Run]:
    """Median over ``times`` runs after one that warms the file cache, and the last run."""
    run(command)
    runs = [run(command) for _ in range(times)]
    return statistics.median(r.seconds for r in runs), runs[-1]


def machine_limits() -> tuple[float, float]:
    """What one core can do at best: SHA-256 blocks of 64 bytes a second, P-384 signatures verified a second.

    Hashing is measured on OpenSSL over a long message, so that nothing but blocks counts; verification on the
    batch verifier with one worker, whose inner loop is aws-lc's, over signatures that all differ. Both in
    processor time, so that other programs on the machine do not count.
    """
    import hashlib

    from tallystick._native import PublicKey, SignatureBatch
    from tallystick.demo.identities import SigningKey

    data = bytes(16 * 1024 * 1024)
    best_hash = float("inf")
    for _ in range(5):
        started = time.process_time()
        hashlib.sha256(data).digest()
        best_hash = min(best_hash, time.process_time() - started)

    key = SigningKey("P-384")
    public = PublicKey.from_spki(key.spki)
    signed = [(root, key.sign_root(root)) for root in (os.urandom(32) for _ in range(2_000))]
    best_verify = float("inf")
    for _ in range(3):
        batch = SignatureBatch(jobs=1)
        started = time.process_time()
        for tag, (root, signature) in enumerate(signed):
            batch.submit_prehashed(tag, public, root, signature)
        if batch.finish():
            raise RuntimeError("a good signature was refused")
        best_verify = min(best_verify, time.process_time() - started)
    return len(data) / 64 / best_hash, len(signed) / best_verify


def blocks(message_bytes: int) -> int:
    """SHA-256 blocks of a message, its padding included."""
    return (message_bytes + 9 + 63) // 64
