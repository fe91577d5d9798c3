"""A node with a genuine data plane and identities, and nothing else: for tests of its endpoints."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tallystick import _native
from tallystick.node.certificates import (
    ServiceIdentity,
    alternative_names,
    endorse_request,
    parse_subject,
    self_signed,
    signing_request,
)
from tallystick.node.endpoints.registries import build_registries
from tallystick.node.historical import History
from tallystick.node.http.dispatch import Dispatcher
from tallystick.node.http.interfaces import InterfaceRules
from tallystick.node.indexing import Indexer
from tallystick.node.keys import NodeKeys
from tallystick.node.log import Level, Log
from tallystick.node.state import NodeState
from tallystick.node.tables import (
    NODES_ENDORSED,
    NODES_INFO,
    SERVICE_CONFIG,
    SERVICE_INFO,
    SINGLETON,
    json_bytes,
)
from tallystick.types import TxId

INTERFACE = "primary_rpc_interface"
ADDRESS = "127.0.0.1:8000"
PATIENCE_MS = 10_000


@dataclass
class FakeRequest:
    """What the native front would hand over."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    interface: str = INTERFACE
    session_id: int = 1
    client_certificate: bytes | None = None


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    close: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.json["error"]["code"]

    @property
    def txid(self) -> str | None:
        return self.headers.get("x-ms-ccf-transaction-id")


class BareNode:
    """One node of a service whose frontends are open, although its members have not opened it."""

    def __init__(self, directory: Path, **options: Any) -> None:
        now = datetime.now(timezone.utc)
        self.directory = directory
        self.keys = NodeKeys.generate()
        self.node_id = self.keys.node_id
        self.service = ServiceIdentity.create("CN=Test Service", "Secp384R1", now, 90)
        names = alternative_names(["iPAddress:127.0.0.1"])
        subject = parse_subject("CN=Test Node")
        self.self_signed_certificate = self_signed(self.keys.identity, subject, now, 90, names)
        request = signing_request(self.keys.identity, subject, names)
        self.endorsed_certificate = endorse_request(request, self.service, now, 90)
        self.secrets = None
        self.effects = None
        self.log = Log(Level.FATAL)
        self.state = NodeState.PART_OF_NETWORK
        self.startup_seqno = 0
        self.stop_notice = False
        self.addresses = None
        self.create_txid = TxId(2, 1)
        self.gov_open = self.app_open = True
        self.raw_interface = {"bind_address": ADDRESS, "published_address": ADDRESS}
        self.config = SimpleNamespace(
            interfaces={
                INTERFACE: SimpleNamespace(
                    raw=self.raw_interface, max_open_sessions_soft=1000, max_open_sessions_hard=1010
                )
            },
            node_to_node_published="127.0.0.1:8001",
        )
        self.watchers: list[Any] = []
        self.waiting: list[tuple[int, Any]] = []
        self.lock = threading.Lock()
        signer = _native.RootSigner(
            self.service.key.pkcs8,
            node_key=self.keys.identity.pkcs8,
            node_id=self.node_id,
            certificate=self.endorsed_certificate,
        )
        signer.use_claims("service.example.com", "ledger.signature")
        self.runtime = _native.NodeRuntime(
            str(directory / "ledger"),
            secrets.token_bytes(32),
            signer,
            self._committed,
            **{"signature_delay_ms": 20, "sync": False, **options},
        )
        self.history = History(self.runtime, lambda: self.service)
        self.indexer = Indexer(self.history)
        self.snapshots = directory / "snapshots"
        self.registries = build_registries(
            self.history,
            self.snapshots,
            indexer=self.indexer,
            jwt_metrics=lambda: {"attempts": 0, "successes": 0, "failures": 0},
            refresh_jwt=lambda: None,
        )
        rules = InterfaceRules.from_config(INTERFACE, self.raw_interface)
        self.dispatcher = Dispatcher(self, self.registries, {INTERFACE: rules})
        self.genesis = self.write(self._genesis())

    def _committed(self, view: int, seqno: int, trouble: str | None) -> None:
        for watch in self.watchers:
            watch(view, seqno)
        self._call_due(seqno)

    def after_commit(self, txid: TxId, fn: Any) -> None:
        with self.lock:
            self.waiting.append((txid.seqno, fn))
        # It may have been committed before anybody waited for it.
        self._call_due(self.runtime.committed[1])

    def _call_due(self, seqno: int) -> None:
        with self.lock:
            due = [fn for wanted, fn in self.waiting if wanted <= seqno]
            self.waiting = [entry for entry in self.waiting if entry[0] > seqno]
        for fn in due:
            fn()

    def _genesis(self) -> dict[str, dict[bytes, bytes]]:
        report = {"measurement": "m", "report_data": "", "host_data": ""}
        info = {
            "status": "Trusted",
            "rpc_interfaces": {INTERFACE: self.raw_interface},
            "public_key": self.keys.identity.public_pem,
            "code_digest": b"m".hex(),
            "quote_info": {
                "quote": base64.b64encode(json_bytes(report)).decode(),
                "endorsements": "",
                "format": "Insecure_Virtual",
            },
        }
        service = {
            "cert": self.service.certificate,
            "status": "Opening",
            "current_service_create_txid": "2.1",
            "recovery_count": 0,
        }
        return {
            NODES_INFO: {self.node_id.encode(): json_bytes(info)},
            NODES_ENDORSED: {self.node_id.encode(): self.endorsed_certificate.encode()},
            SERVICE_INFO: {SINGLETON: json_bytes(service)},
            SERVICE_CONFIG: {SINGLETON: json_bytes({"recovery_threshold": 1})},
        }

    def write(self, tables: dict[str, dict[bytes, bytes | None]], **options: Any) -> TxId:
        """Commits writes locally."""
        transaction = self.runtime.begin()
        for table, rows in tables.items():
            for key, value in rows.items():
                if value is None:
                    transaction.remove(table, key)
                else:
                    transaction.set(table, key, value)
        return TxId(*self.runtime.commit(transaction, **options))

    def commit(self, txid: TxId) -> TxId:
        """Waits until a transaction is committed."""
        self.runtime.sign_pending()
        assert self.runtime.wait_committed(txid.seqno, PATIENCE_MS)
        return txid

    def ask(self, method: str, target: str, **request: Any) -> Answer:
        """A request, as if it had come over the network."""
        path, _, query = target.partition("?")
        status, headers, body, close = self.dispatcher(FakeRequest(method, path, query, **request))
        return Answer(status, dict(headers), body, close)

    def get(self, target: str, **request: Any) -> Answer:
        return self.ask("GET", target, **request)

    def close(self) -> None:
        self.runtime.stop()
