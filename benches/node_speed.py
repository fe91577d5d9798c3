"""Speed of a node beside CCF's own: the same app, client and machine, in turn, in one run.

Usage: python benches/node_speed.py [--ccf EXECUTABLE] [--node EXECUTABLE] [--rounds N] [--seconds S] [--behind N]
                                    [--constitution FILE]… [--app DIR] [--markdown FILE] [--directory DIR]

``--ccf`` (or TALLYSTICK_CCF_JS_GENERIC) names CCF's ``js_generic``; without it only our node is measured. Both are
started with the same configuration, governed by the same client, and asked by ``benches/load``, which must have been
built (``cargo build --release -p tallystick-load``). Run everything under ``chrt -r 5`` on a machine with other work.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from support.running_node import (  # noqa: E402 -- the tests' helpers, once they can be found
    Consortium,
    RunningNode,
    configuration,
    open_service,
    start_command,
    start_node,
)
from tallystick.member.actions import read_bundle  # noqa: E402 -- likewise
from tallystick.node.constitution import constitution_files  # noqa: E402 -- likewise

APP = REPOSITORY / "benches" / "logging_app"
PATH = "/app/log/private"
WRITE_BODY = '{"id": {n}, "msg": "a message of some length, as apps write them"}'
KEYS = 1000
# One receipt of CCF's takes seconds, and some never come: few, and each only so long.
COLD_RECEIPTS = 20
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Shape:
    """How many requests are under way: connections, and unanswered requests on each."""

    connections: int
    depth: int

    def __str__(self) -> str:
        return f"{self.connections} × {self.depth}"


SHAPES = (Shape(4, 16), Shape(10, 1), Shape(1, 1))


@dataclass
class Contestant:
    """One node under test and what was measured on it: scenario to results, one a round."""

    name: str
    node: RunningNode
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


class Client:
    """The load client, as a user of a consortium."""

    def __init__(self, program: Path, consortium: Consortium, prefix: Sequence[str]) -> None:
        self._program = program
        self._consortium = consortium
        self._prefix = prefix

    def run(self, contestant: Contestant, scenario: str, work: dict[str, Any]) -> dict[str, Any]:
        """Runs one plan, records and returns its result.

        Raises:
            RuntimeError: the client failed, or the node refused requests: such a run measures nothing.
        """
        plan = {
            "address": contestant.node.address,
            "ca": str(contestant.node.service_certificate),
            "certificate": str(self._consortium.file("user0_cert")),
            "key": str(self._consortium.file("user0_privk")),
            **work,
        }
        done = subprocess.run(
            [*self._prefix, str(self._program)], input=json.dumps(plan), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{contestant.name}, {scenario}: {done.stderr.strip()}")
        result: dict[str, Any] = json.loads(done.stdout)
        if result["failed"]:
            raise RuntimeError(f"{contestant.name}, {scenario}: {result['statuses']}")
        contestant.results.setdefault(scenario, []).append(result)
        return result


def writes(shape: Shape, **until: float) -> dict[str, Any]:
    """A plan of writes to changing keys."""
    return {
        "kind": "requests", "connections": shape.connections, "depth": shape.depth, **until,
        "method": "POST", "path": PATH, "body": WRITE_BODY, "keys": KEYS,
    }  # fmt: skip


def reads(shape: Shape, seconds: float) -> dict[str, Any]:
    """A plan of reads of the keys that were written."""
    return {
        "kind": "requests", "connections": shape.connections, "depth": shape.depth, "seconds": seconds,
        "method": "GET", "path": f"{PATH}?id={{n}}", "keys": KEYS,
    }  # fmt: skip


def measure(client: Client, contestants: Sequence[Contestant], rounds: int, seconds: float) -> None:
    """Requests of every shape, the contestants in turn, so that what else the machine does meets them alike."""
    for contestant in contestants:
        client.run(contestant, "warm-up", writes(Shape(4, 16), seconds=1.0))
    for _ in range(rounds):
        for shape in SHAPES:
            for contestant in contestants:
                client.run(contestant, f"write {shape}", writes(shape, seconds=seconds))
            for contestant in contestants:
                client.run(contestant, f"read {shape}", reads(shape, seconds))
        for contestant in contestants:
            work = {"kind": "commit", "path": PATH, "body": WRITE_BODY.replace("{n}", "1"), "times": 20}
            client.run(contestant, "commit of a write", work)


def cold_receipts(client: Client, contestants: Sequence[Contestant], behind: int) -> None:
    """Receipts of transactions that have ``behind`` others behind them, each asked for the first time."""
    for contestant in contestants:
        client.run(contestant, "filling", writes(Shape(4, 16), seconds=0.0, total=behind))
        # What is asked for must be committed.
        client.run(
            contestant, "settling",
            {"kind": "commit", "path": PATH, "body": WRITE_BODY.replace("{n}", "1"), "times": 1},
        )  # fmt: skip
        view = contestant.results["settling"][-1]["last_transaction"].split(".")[0]
        # The same seqnos for everybody, far from each other: none is warmed up by the one before.
        numbers = random.Random(1).sample(range(behind // 10, behind // 2), COLD_RECEIPTS)
        paths = [f"/app/receipt?transaction_id={view}.{number}" for number in numbers]
        client.run(contestant, "cold receipt", {"kind": "until", "paths": paths, "patience": PATIENCE_SECONDS})
        client.run(contestant, "warm receipt", {"kind": "until", "paths": paths[-1:] * 20, "patience": 5.0})


def table(contestants: Sequence[Contestant]) -> str:
    """Everything measured, as Markdown: medians over the rounds."""
    lines = ["| | " + " | ".join(c.name for c in contestants) + " | ratio |", "|---" * (len(contestants) + 2) + "|"]
    for scenario in contestants[0].results:
        if scenario in ("warm-up", "settling", "filling"):
            continue
        rate = scenario.startswith(("write", "read"))
        cells, values = [], []
        for contestant in contestants:
            results = contestant.results[scenario]
            middle = {key: statistics.median(r[key] for r in results) for key in ("rate", "p50_us", "p99_us")}
            times = f"p50 {middle['p50_us'] / 1000:.2f} ms, p99 {middle['p99_us'] / 1000:.2f} ms"
            given_up = sum(r.get("given_up", 0) for r in results)
            late = f", {given_up} not within {PATIENCE_SECONDS:.0f} s" if given_up else ""
            cells.append((f"{middle['rate']:,.0f}/s, " if rate else "") + times + late)
            values.append(middle["rate"] if rate else 1 / middle["p50_us"])
        ratio = f"{values[0] / values[1]:.2f}×" if len(values) == 2 else "-"
        lines.append(f"| {scenario} | " + " | ".join(cells) + f" | {ratio} |")
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed of a node beside CCF's own.")
    parser.add_argument("--ccf", default=os.environ.get("TALLYSTICK_CCF_JS_GENERIC"), help="CCF's js_generic")
    parser.add_argument("--node", type=Path, help="our node as an executable (default: tallystick node start)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--behind", type=int, default=1_000_000, help="transactions behind a cold receipt; 0: none")
    parser.add_argument("--constitution", type=Path, action="append", help="files (default: our own)")
    parser.add_argument("--app", type=Path, default=APP, help="an app with the paths of benches/logging_app")
    parser.add_argument("--directory", type=Path, help="where the nodes run (default: a temporary one)")
    parser.add_argument("--prefix", default="", help="what both nodes and the client run under, e.g. 'chrt -r 5'")
    parser.add_argument("--client", type=Path, default=_target() / "release" / "tallystick-load")
    parser.add_argument("--markdown", type=Path, help="also write the table there")
    return parser.parse_args()


def _target() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))


def main() -> int:
    """Runs the bench."""
    options = _arguments()
    prefix = options.prefix.split()
    constitution = options.constitution or constitution_files()
    ours: list[str | Path] = [options.node.resolve()] if options.node else [
        Path(sys.executable).with_name("tallystick"), "node", "start",
    ]  # fmt: skip
    executables: dict[str, list[str | Path]] = {"tallystick": ours}
    if options.ccf:
        executables["CCF js_generic"] = [Path(options.ccf).resolve()]
    directory = options.directory or Path(tempfile.mkdtemp(prefix="tallystick-node-speed-"))
    contestants: list[Contestant] = []
    try:
        consortium = Consortium.create(directory / "keys")
        bundle = read_bundle(options.app)
        client = Client(options.client, consortium, prefix)
        command = start_command(consortium, [path.resolve() for path in constitution])
        for name, executable in executables.items():
            where = directory / name.replace(" ", "-")
            node = start_node(executable, where, configuration(command), prefix=prefix)
            contestants.append(Contestant(name, node))
            open_service(node, consortium, bundle)
        measure(client, contestants, options.rounds, options.seconds)
        if options.behind:
            cold_receipts(client, contestants, options.behind)
        text = table(contestants)
        print(text)
        if options.markdown:
            options.markdown.write_text(text)
    finally:
        for contestant in contestants:
            contestant.node.stop()
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
