"""One node: what it is made of, and how far its start has come."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tallystick.node.effects import Effects
from tallystick.node.state import NodeState

if TYPE_CHECKING:
    from tallystick._native import NodeRuntime
    from tallystick.node.certificates import ServiceIdentity
    from tallystick.node.config import NodeConfig
    from tallystick.node.keys import NodeKeys
    from tallystick.node.ledger_secrets import LedgerSecrets
    from tallystick.node.log import Log
    from tallystick.types import TxId

__all__ = ["Node"]


class Node:
    """A node of a service, as everything above the data plane sees it.

    Args:
        config: its configuration.
        keys: its key pairs.
        service: the service's key and certificate.
        secrets: ledger secrets.
        log: where lines go.

    Attributes:
        state: how far the start has come.
        self_signed_certificate: PEM, valid from the first moment.
        endorsed_certificate: PEM, issued by the service; None until its transaction is committed.
        gov_open, app_open: whether ``/gov`` and ``/app`` answer yet.
        stop_notice: whether the operator announced that the process will stop.
        startup_seqno: seqno of the snapshot from which this node started, 0 for none.
        create_txid: transaction that created (or recovered) the service.
        effects: privileged functions that the constitution calls.
    """

    def __init__(
        self, config: NodeConfig, keys: NodeKeys, service: ServiceIdentity, secrets: LedgerSecrets, log: Log
    ) -> None:
        self.config = config
        self.keys = keys
        self.service = service
        self.secrets = secrets
        self.log = log
        self.state = NodeState.INITIALIZED
        self.self_signed_certificate = ""
        self.endorsed_certificate: str | None = None
        self.gov_open = False
        self.app_open = False
        self.stop_notice = False
        self.startup_seqno = 0
        self.create_txid: TxId | None = None
        self.effects = Effects(self)
        self._runtime: NodeRuntime | None = None
        self._waiting: list[tuple[int, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()

    @property
    def node_id(self) -> str:
        """Hex SHA-256 of the node key's SubjectPublicKeyInfo."""
        return self.keys.node_id

    @property
    def runtime(self) -> NodeRuntime:
        """The data plane.

        Raises:
            RuntimeError: the node has not got that far.
        """
        if self._runtime is None:
            raise RuntimeError("the node's data plane has not been started")
        return self._runtime

    def after_commit(self, txid: TxId, fn: Callable[[], object]) -> None:
        """Calls ``fn`` once ``txid`` is committed, on the thread that tells of commits, in order of seqno."""
        with self._lock:
            heapq.heappush(self._waiting, (txid.seqno, next(self._order), fn))
