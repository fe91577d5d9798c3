"""A whole node in a process: the data plane, what answers requests, and what works in the background.

The one place that knows all parts; each part knows what it needs alone.
"""

from __future__ import annotations

import threading
from dataclasses import asdict
from pathlib import Path

from tallystick.node.config import NodeConfig
from tallystick.node.endpoints.registries import build_registries
from tallystick.node.governance import governance_endpoints
from tallystick.node.historical import History
from tallystick.node.http.dispatch import Dispatcher
from tallystick.node.http.interfaces import InterfaceRules
from tallystick.node.indexing import Indexer
from tallystick.node.log import Level
from tallystick.node.service import Node
from tallystick.node.snapshots import Snapshotter
from tallystick.node.startup import Handler, make_log, run_node
from tallystick.types import TxId

__all__ = ["make_handler", "run"]


def run(config: NodeConfig, level: Level, executable: Path) -> int:
    """Runs a node until a signal ends it. For the main thread of a process of its own.

    Args:
        config: what to run.
        level: of the log.
        executable: the file that was started; its digest stands for the code on a platform without attestation.

    Returns:
        Exit code: 0 after a clean stop, 1 if the node could not start. The reason is in the log.
    """
    return run_node(config, make_handler, log=make_log(config, level), executable=executable)


def make_handler(node: Node) -> Handler:
    """What answers the requests of ``node`` that are not the app's, with all that it needs around it."""
    config = node.config
    history = History(node.runtime, lambda: node.service)
    snapshots = Path(config.snapshots_directory)
    snapshotter = Snapshotter(
        node.runtime, history, snapshots, config.snapshot_tx_count, node.after_commit, node.log, cose=config.cose_only
    )
    indexer = Indexer(history)
    indexing = _Indexing(indexer, node)
    node.commit_listeners += [lambda _txid: snapshotter.committed(), indexing.committed]
    node.snapshot_listeners.append(lambda _txid: snapshotter.force())
    node.before_stop += [indexing.stop, snapshotter.stop]
    registries = build_registries(
        history, snapshots, indexer=indexer, jwt_metrics=lambda: asdict(node.jwt.metrics), refresh_jwt=node.jwt.refresh
    )
    for endpoint in governance_endpoints():
        registries["gov"].add(endpoint)
    rules = {name: InterfaceRules.from_config(name, each.raw) for name, each in config.interfaces.items()}
    return Dispatcher(node, registries, rules, commit=node.commit_request)


class _Indexing:
    """The thread that feeds indexes; commits wake it."""

    def __init__(self, indexer: Indexer, node: Node) -> None:
        self._indexer = indexer
        self._node = node
        self._committed = 0
        self._stopped = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="indexing", daemon=True)
        self._thread.start()

    def committed(self, txid: TxId) -> None:
        """Hears of a commit; returns at once."""
        with self._news:
            self._committed = txid.seqno
            self._news.notify()

    def stop(self) -> None:
        """Ends the thread after the step that it is at."""
        with self._news:
            self._stopped = True
            self._news.notify()
        self._thread.join()

    def _work(self) -> None:
        done = 0
        while (goal := self._next(done)) is not None:
            try:
                while self._indexer.advance(goal) and not self._stopped:
                    pass
            except Exception as error:  # noqa: BLE001 -- the node must go on without an index
                self._node.log.fail(f"Indexing stopped at {goal}: {type(error).__name__}: {error}")
                return
            done = goal

    def _next(self, done: int) -> int | None:
        """Waits for commits beyond ``done``; None when there is nothing more to do."""
        with self._news:
            self._news.wait_for(lambda: self._stopped or self._committed > done)
            return None if self._stopped else self._committed
