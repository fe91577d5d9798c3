"""Speed and memory, side by side with the official package on the same bytes: ``make bench``.

Each scenario prints what was measured, the ratio, and whether its bar is met. Without the official package
(TALLYSTICK_PEER_PYTHON, or ``make peer``) only our side is measured.

Usage: python benches/compare.py [--directory DIR] [--only NAME]… [--times N] [--smaller N] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledgers import Workload, cache_directory, make_governance, make_ledger, make_private, make_receipts
from measure import Run, blocks, machine_limits, median_seconds, run

REPOSITORY = Path(__file__).resolve().parent.parent
TALLYSTICK = Path(sys.executable).with_name("tallystick")
PEER_PROGRAM = REPOSITORY / "tests" / "support" / "peer_program.py"
PEER_EXPORT = REPOSITORY / "benches" / "peer_export.py"
MEGABYTE = 1_000_000
# A busy machine measures itself; the table says how busy it was.
_LOAD = os.getloadavg()[0]


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    scenario: str
    ours: str
    official: str
    result: str
    bar: str
    met: bool | None


@dataclass(frozen=True)
class Setting:
    """How to measure.

    Attributes:
        smaller: workloads are divided by this; bars are only meant for 1.
    """

    directory: Path
    times: int
    smaller: int
    peer: Path | None


def _peer_python() -> Path | None:
    named = os.environ.get("TALLYSTICK_PEER_PYTHON")
    python = Path(named) if named else REPOSITORY / ".venv-peer" / "bin" / "python"
    return python if python.is_file() else None


def _ask(setting: Setting, *arguments: str | Path) -> tuple[Run, dict[str, object]]:
    """The run of the official tool's process, and its answer."""
    assert setting.peer is not None
    done = run([setting.peer, PEER_PROGRAM, *arguments])
    if done.exit_code != 0:
        raise RuntimeError(f"the official package failed on {arguments}")
    return done, json.loads(done.stdout)


def _verify(ledger: Path, certificate: Path, times: int) -> tuple[float, Run, dict[str, object]]:
    command = [TALLYSTICK, "verify", ledger, "--service-cert", certificate, "--format", "json"]
    seconds, last = median_seconds(command, times)
    report = json.loads(last.stdout)
    if report["verdict"] != "verified":
        raise RuntimeError(f"{ledger} did not verify: {report['findings'][:3]}")
    return seconds, last, report


def _side_by_side(setting: Setting, workload: Workload, bar: float, label: str) -> list[Row]:
    ledger, certificate = make_ledger(workload, setting.directory)
    seconds, last, report = _verify(ledger, certificate, setting.times)
    counts = report["counts"]
    assert isinstance(counts, dict)
    transactions, signatures = int(counts["transactions"]), int(counts["signatures"])
    size = sum(path.stat().st_size for path in ledger.iterdir())
    ours = f"{seconds:.2f} s, {transactions / seconds:,.0f} tx/s, {size / seconds / MEGABYTE:,.0f} MB/s, "
    ours += f"CPU {last.cpu_seconds:.2f} s"
    rows = []
    if setting.peer is None:
        rows.append(Row(label, ours, "not installed", "-", f"≥ {bar:g}×", None))
    else:
        done, answer = _ask(setting, "verify", ledger)
        theirs = done.seconds
        if (answer["verdict"], answer["transactions"], answer["signatures"]) != ("verified", transactions, signatures):
            raise RuntimeError(f"the tools disagree: {answer}")
        ratio = theirs / seconds
        rows.append(
            Row(
                label,
                ours,
                f"{theirs:.1f} s, {transactions / theirs:,.0f} tx/s, CPU {done.cpu_seconds:.1f} s",
                f"{ratio:.1f}×",
                f"≥ {bar:g}×",
                ratio >= bar,
            )
        )
    block_rate, verifications = machine_limits()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    checks = signatures * (2 if workload.style == "6.x" else 1)
    # The entry; the leaf over three digests; one inner node for each leaf.
    hashed = transactions * (blocks(size // transactions) + blocks(96) + blocks(64))
    least = (hashed / block_rate + checks / verifications) / cores
    share = least / seconds
    rows.append(
        Row(
            f"{label}: share of the machine's limit",
            f"{seconds:.2f} s",
            f"limit {least:.2f} s on {cores} cores",
            f"{share:.0%}",
            "≥ 70 %",
            share >= 0.7,
        )
    )
    return rows


def large(setting: Setting) -> list[Row]:
    """A million transactions, a signature every 5,000."""
    workload = Workload("large", 1_000_000 // setting.smaller, 5_000, 100)
    return _side_by_side(setting, workload, 40, "1,000,000 transactions, a signature every 5,000")


def signatures(setting: Setting) -> list[Row]:
    """A signature every three transactions, by node and service."""
    workload = Workload("signatures", 30_000 // setting.smaller, 3, 100)
    return _side_by_side(setting, workload, 6, "30,000 transactions, raw and COSE signature every 3")


def memory(setting: Setting) -> list[Row]:
    """Peak memory on 2 GB, and that it does not grow with the length."""
    rows, peaks = [], []
    for label, transactions in (("0.5 GB", 500_000), ("2 GB", 2_000_000)):
        workload = Workload("memory", transactions // setting.smaller, 1_000, 800)
        ledger, certificate = make_ledger(workload, setting.directory)
        # The least of three: how much is read ahead at a time depends on what else the machine does.
        runs = [_verify(ledger, certificate, 1) for _ in range(3)]
        seconds, last, _ = min(runs, key=lambda made: made[1].peak_bytes)
        size = sum(path.stat().st_size for path in ledger.iterdir())
        peaks.append(last.peak_bytes)
        peak = last.peak_bytes / MEGABYTE
        rows.append(
            Row(
                f"peak memory, {label}",
                f"{peak:.0f} MB, {size / seconds / MEGABYTE:,.0f} MB/s",
                "-",
                f"{peak:.0f} MB",
                "< 300 MB",
                peak < 300,
            )
        )
    growth = peaks[1] / peaks[0]
    rows.append(Row("peak memory, 2 GB over 0.5 GB", "-", "-", f"{growth:.2f}×", "≤ 1.25×", growth <= 1.25))
    return rows


def receipts(setting: Setting) -> list[Row]:
    """Ten thousand JSON receipts."""
    number = 10_000 // setting.smaller
    directory, certificate = make_receipts(number, setting.directory)
    command = [TALLYSTICK, "receipt", "verify", directory, "--service-cert", certificate]
    checked = run([*command, "--format", "json"])
    if [r["verdict"] for r in json.loads(checked.stdout)["results"]] != ["verified"] * number:
        raise RuntimeError("a receipt did not verify")
    seconds, last = median_seconds(command, setting.times)
    if last.exit_code != 0:
        raise RuntimeError(f"receipts: exit code {last.exit_code}")
    ours = f"{seconds:.2f} s, {number / seconds:,.0f}/s"
    label = f"{number:,} JSON receipts"
    if setting.peer is None:
        return [Row(label, ours, "not installed", "-", "≥ 20×", None)]
    listing = directory.parent / "listing.txt"
    listing.write_text("\n".join(str(path) for path in sorted(directory.iterdir())))
    done, answer = _ask(setting, "receipts_in", certificate, listing)
    if answer["verdicts"] != ["verified"] * number:
        raise RuntimeError("the official package did not accept a receipt")
    theirs = done.seconds
    ratio = theirs / seconds
    return [Row(label, ours, f"{theirs:.1f} s, {number / theirs:,.0f}/s", f"{ratio:.1f}×", "≥ 20×", ratio >= 20)]


def governance(setting: Setting) -> list[Row]:
    """Ten thousand proposals with three ballots each, replayed: signatures, ballots, rules, effects."""
    proposals = 10_000 // setting.smaller
    ledger, certificate = make_governance(proposals, setting.directory)
    command = [TALLYSTICK, "gov", "verify", ledger, "--service-cert", certificate, "--format", "json", "--quiet"]
    # Long enough for one run to tell.
    last = run(command)
    report = json.loads(last.stdout)
    counts = report["governance"]["counts"]
    if (report["verdict"], counts["ballots"]) != ("verified", 3 * (proposals + 2)):
        raise RuntimeError(f"governance did not verify: {report['governance']['findings'][:3]}")
    ours = f"{last.seconds:.1f} s, CPU {last.cpu_seconds:.1f} s, peak {last.peak_bytes / MEGABYTE:.0f} MB"
    seconds = f"{last.seconds:.1f} s"
    return [
        Row(f"{proposals:,} proposals, 3 ballots each, replayed", ours, "cannot", seconds, "< 60 s", last.seconds < 60)
    ]


def private(setting: Setting) -> list[Row]:
    """A million small private transactions: every entry authenticated, decrypted, its commit evidence recomputed."""
    number = 1_000_000 // setting.smaller
    ledger, secret = make_private(number, setting.directory)
    command = [TALLYSTICK, "decrypt", ledger, "--ledger-secret", secret, "--quiet"]
    seconds, last = median_seconds(command, min(setting.times, 3))
    # 0 says that every entry was authenticated and its commit evidence is the secret's.
    if last.exit_code != 0:
        raise RuntimeError(f"decryption: exit code {last.exit_code}")
    ours = f"{seconds:.1f} s, CPU {last.cpu_seconds:.1f} s, peak {last.peak_bytes / MEGABYTE:.0f} MB"
    return [
        Row(f"{number:,} private transactions decrypted", ours, "cannot", f"{seconds:.1f} s", "< 10 s", seconds < 10)
    ]


def startup(setting: Setting) -> list[Row]:
    """What a person waits for: help, and one receipt."""
    directory, certificate = make_receipts(10, setting.directory)
    receipt = next(directory.iterdir())
    rows = []
    for label, command in (
        ("tallystick --help", [TALLYSTICK, "--help"]),
        ("one small receipt", [TALLYSTICK, "receipt", "verify", receipt, "--service-cert", certificate]),
    ):
        seconds, last = median_seconds(command, max(setting.times, 7))
        if last.exit_code != 0:
            raise RuntimeError(f"{label}: exit code {last.exit_code}")
        milliseconds = seconds * 1000
        rows.append(
            Row(label, f"{milliseconds:.0f} ms", "-", f"{milliseconds:.0f} ms", "≤ 150 ms", milliseconds <= 150)
        )
    return rows


def export(setting: Setting) -> list[Row]:
    """A million transactions to Parquet: time, memory, and the history of a key by SQL."""
    rows = []
    for workload, side_by_side in (
        (Workload("large", 1_000_000 // setting.smaller, 5_000, 100), True),
        (Workload("memory", 1_000_000 // setting.smaller, 1_000, 800), False),
    ):
        ledger, certificate = make_ledger(workload, setting.directory)
        with tempfile.TemporaryDirectory(dir=setting.directory) as scratch:
            target = Path(scratch) / "ours"
            command = [TALLYSTICK, "export", ledger, "--service-cert", certificate, "--to", "parquet", "-o", target]
            seconds, last = _export_runs(command, target, setting.times)
            counts = json.loads((target / "export.json").read_text())
            number = counts["rows"]["transactions"]
            label = f"export of {number:,} transactions, values of {workload.value_bytes} bytes"
            ours = f"{seconds:.2f} s, {number / seconds:,.0f} tx/s"
            if side_by_side:
                rows += [_export_row(setting, label, ours, seconds, ledger, Path(scratch) / "theirs", counts["rows"])]
                database = Path(scratch) / "ours.db"
                command[-3:] = ["sqlite", "-o", database]
                run(command)
                rows += _history_rows(target, database)
            peak = last.peak_bytes / MEGABYTE
            rows.append(
                Row(f"{label}: peak memory", f"{peak:.0f} MB, {ours}", "-", f"{peak:.0f} MB", "< 500 MB", peak < 500)
            )
    return rows


def _export_runs(command: list[str | Path], target: Path, times: int) -> tuple[float, Run]:
    """Median seconds of runs that each write the target anew, and the last run."""
    runs = []
    for _ in range(times + 1):
        shutil.rmtree(target, ignore_errors=True)
        runs.append(run(command))
        if runs[-1].exit_code != 0:
            raise RuntimeError("an export failed")
    return statistics.median(each.seconds for each in runs[1:]), runs[-1]


def _export_row(
    setting: Setting, label: str, ours: str, seconds: float, ledger: Path, target: Path, rows: dict[str, int]
) -> Row:
    if setting.peer is None:
        return Row(label, ours, "not installed", "-", "≥ 10×", None)
    done = run([setting.peer, PEER_EXPORT, ledger, target])
    if done.exit_code != 0:
        raise RuntimeError("the loop over the official package failed")
    answer = json.loads(done.stdout)
    if (answer["transactions"], answer["writes"]) != (rows["transactions"], rows["writes"]):
        raise RuntimeError(f"the exports disagree: {answer}, {rows}")
    ratio = done.seconds / seconds
    theirs = f"{done.seconds:.1f} s to {answer['format']}, {answer['transactions'] / done.seconds:,.0f} tx/s"
    return Row(label, ours, theirs, f"{ratio:.1f}×", "≥ 10×", ratio >= 10)


HISTORY = """
SELECT w.txid, w.value, w.removed, t.leaf, t.signed_by, t.root, t.file, t."offset"
FROM '{0}/writes.parquet' w JOIN '{0}/transactions.parquet' t USING (seqno)
WHERE w.table_name = 'public:records' AND w.key = ? ORDER BY seqno
"""


def _history_rows(target: Path, database: Path) -> list[Row]:
    """History of one key with its proofs, by SQL over both kinds of export."""
    sqlite = sqlite3.connect(database)
    rows = [_history_row("SQLite", sqlite, "SELECT * FROM history WHERE table_name = 'public:records' AND key = ?")]
    sqlite.close()
    try:
        import duckdb
    except ImportError:
        return [*rows, Row("history of a key by SQL, Parquet", "DuckDB is not installed", "-", "-", "≤ 100 ms", None)]
    return [*rows, _history_row("Parquet", duckdb.connect(), HISTORY.format(target))]


def _history_row(kind: str, connection: Any, query: str) -> Row:
    times = []
    for _ in range(11):
        started = time.perf_counter()
        found = connection.execute(query, (b"key 471",)).fetchall()
        times.append(1000 * (time.perf_counter() - started))
        if not found:
            raise RuntimeError("the key has no history")
    median = statistics.median(times)
    label, result = f"history of a key by SQL, {kind}", f"{median:.1f} ms"
    return Row(label, result, "-", result, "≤ 100 ms", median <= 100)


SCENARIOS: dict[str, Callable[[Setting], list[Row]]] = {
    "startup": startup,
    "governance": governance,
    "receipts": receipts,
    "signatures": signatures,
    "large": large,
    "private": private,
    "memory": memory,
    "export": export,
}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    done = subprocess.run(
        ["git", "-C", REPOSITORY, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _markdown(rows: list[Row], setting: Setting) -> str:
    cores = os.cpu_count()
    lines = [
        f"{_processor()}, {cores} cores, CPython {platform.python_version()}, commit {_commit()}; medians of "
        f"{setting.times} runs, the official package once. Load of the machine at the start: {_LOAD:.1f}.",
        "",
        "| | tallystick | official ccf 7.0.22 | result | bar | met |",
        "|---|---|---|---|---|---|",
    ]
    marks = {True: "yes", False: "NO", None: "-"}
    lines += [f"| {r.scenario} | {r.ours} | {r.official} | {r.result} | {r.bar} | {marks[r.met]} |" for r in rows]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Runs the scenarios asked for; exit code 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=cache_directory(), help="where made ledgers are kept")
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="this scenario; repeatable")
    parser.add_argument("--times", type=int, default=5, help="runs of ours of which the median is taken")
    parser.add_argument("--smaller", type=int, default=1, help="divide the workloads by this, for a quick look")
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    setting = Setting(options.directory, options.times, options.smaller, _peer_python())
    rows: list[Row] = []
    for name in options.only or SCENARIOS:
        rows += SCENARIOS[name](setting)
        for row in rows[-3:]:
            print(f"{row.scenario}: {row.result} (bar {row.bar})", file=sys.stderr)
    table = _markdown(rows, setting)
    print(table, end="")
    if options.markdown is not None:
        options.markdown.write_text(table, encoding="utf-8")
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
