"""One node: what it is made of, how far its start has come, and what it does when transactions commit."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import queue
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from cryptography import x509

from tallystick._native import ConflictError, RootSigner
from tallystick.node import tables
from tallystick.node.certificates import ServiceIdentity, alternative_names, parse_subject, self_signed, signing_request
from tallystick.node.effects import CommitOptions, Effects
from tallystick.node.jwt_refresh import JwtRefresh
from tallystick.node.state import NodeState, NodeStatus, ServiceStatus
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick._native import NodeRuntime, NodeTransaction
    from tallystick.node.attestation import NodeEvidence
    from tallystick.node.config import NodeConfig
    from tallystick.node.genesis import Addresses
    from tallystick.node.keys import NodeKeys
    from tallystick.node.ledger_secrets import LedgerSecrets
    from tallystick.node.log import Log
    from tallystick.node.recovery import Recovery

__all__ = ["NODE_IDENTITY", "SERVICE_IDENTITY", "Node"]

NODE_IDENTITY = "node"
"""Name, in the data plane, of the TLS identity with the self-signed certificate."""
SERVICE_IDENTITY = "service"
"""Name of the TLS identity with the certificate that the service issued."""

_MICROSECONDS = 1_000_000
_COMMIT_ATTEMPTS = 30


class Node:
    """A node of a service, as everything above the data plane sees it.

    Args:
        config: its configuration.
        keys: its key pairs.
        service: the service's key and certificate.
        secrets: ledger secrets.
        evidence: what the platform says about this node.
        log: where lines go.

    Attributes:
        state: how far the start has come.
        addresses: where it listens, once it does.
        self_signed_certificate: PEM, valid from the first moment.
        endorsed_certificate: PEM, issued by the service; None until its transaction is committed.
        gov_open, app_open: whether ``/gov`` and ``/app`` answer yet.
        stop_notice: whether the operator announced that the process will stop.
        startup_seqno: seqno of the snapshot from which this node started, 0 for none.
        signer: signs roots for the node and the service.
        create_txid: transaction that created (or recovered) the service.
        effects: privileged functions that the constitution calls.
        jwt: refresh of token issuers' keys, and its metrics.
        recovery: what is left of a recovery to do; None for a node that started its service.
        snapshot_listeners: called with the ID of each transaction that asks for a snapshot.
        commit_listeners: called, on the thread that tells of commits, with the ID up to which all is committed.
        before_stop: called in order before the data plane stops.
    """

    def __init__(
        self,
        config: NodeConfig,
        keys: NodeKeys,
        service: ServiceIdentity,
        secrets: LedgerSecrets,
        evidence: NodeEvidence,
        log: Log,
    ) -> None:
        self.config = config
        self.keys = keys
        self.service = service
        self.secrets = secrets
        self.evidence = evidence
        self.log = log
        self.state = NodeState.INITIALIZED
        self.addresses: Addresses | None = None
        names = alternative_names(default_alternative_names(config))
        self.subject = parse_subject(config.node_subject_name)
        self.signing_request = signing_request(keys.identity, self.subject, names)
        self._alternative_names = names
        self.self_signed_certificate = self._self_sign(datetime.now(timezone.utc), config.node_validity_days)
        self.endorsed_certificate: str | None = None
        self.gov_open = False
        self.app_open = False
        self.stop_notice = False
        self.startup_seqno = 0
        self.create_txid: TxId | None = None
        self.effects = Effects(self)
        self.jwt = JwtRefresh(self, config.jwt_refresh_interval / _MICROSECONDS, config.jwt_max_response_size)
        self.snapshot_listeners: list[Callable[[TxId], None]] = []
        self.commit_listeners: list[Callable[[TxId], None]] = []
        self.before_stop: list[Callable[[], None]] = []
        self.on_app_open: list[Callable[[], None]] = []
        self._runtime: NodeRuntime | None = None
        self._waiting: list[tuple[int, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._commits: queue.SimpleQueue[tuple[TxId, str | None] | None] = queue.SimpleQueue()
        self._watcher: threading.Thread | None = None
        self.recovery: Recovery | None = None
        self._applied: dict[str, int | None] = {}
        start = config.start
        self.signer = RootSigner(
            service.key.pkcs8,
            node_key=None if config.cose_only else keys.identity.pkcs8,
            node_id=keys.node_id,
            certificate=self.self_signed_certificate,
        )
        if start is not None:
            self.signer.use_claims(start.cose_issuer, start.cose_subject)

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

    # ------------------------------------------------------------ for the data plane

    def attach(self, runtime: NodeRuntime) -> None:
        """Takes the data plane, and watches what it commits from now on."""
        self._runtime = runtime
        self._watcher = threading.Thread(target=self._watch, name="node-commits", daemon=True)
        self._watcher.start()

    def detach(self) -> None:
        """Ends the watching; what was committed until now is still told."""
        self.jwt.stop()
        self._commits.put(None)
        if self._watcher is not None:
            self._watcher.join()

    def observe(self, view: int, seqno: int, trouble: str | None) -> None:
        """Hears of a commit, or of trouble with the ledger. Never blocks: the data plane's thread calls it."""
        self._commits.put((TxId(view, seqno), trouble))

    # ------------------------------------------------------------ transactions

    def commit(self, tx: NodeTransaction, options: CommitOptions | None = None) -> TxId:
        """Commits a transaction, applies what follows from its writes, and runs its ``on_local_commit``.

        Raises:
            ConflictError: another transaction came first.
        """
        arguments: dict[str, Any] = {}
        if options is not None:
            arguments = {"claims_digest": options.claims_digest, "close_chunk": options.close_chunk}
            arguments |= {"close_before": options.close_before, "install_secret": options.install_secret}
        txid = TxId(*self.runtime.commit(tx, **arguments))
        if not tx.read_only:
            self.committed_locally(tx)
            for notify in options.on_local_commit if options is not None else ():
                notify(txid)
        return txid

    def commit_request(self, tx: NodeTransaction, options: CommitOptions) -> tuple[int, int]:
        """Commits the transaction of a request; as :meth:`commit`, but the caller runs ``on_local_commit``."""
        txid: tuple[int, int] = self.runtime.commit(
            tx,
            claims_digest=options.claims_digest,
            close_chunk=options.close_chunk,
            close_before=options.close_before,
            install_secret=options.install_secret,
        )
        if not tx.read_only:
            self.committed_locally(tx)
        return txid

    def committed_locally(self, tx: NodeTransaction) -> None:
        """Applies what follows at once from a transaction's writes: the next signature carries a new certificate."""
        writes = tx.writes()
        certificate = writes.get(tables.NODES_ENDORSED, {}).get(self.node_id.encode())
        if certificate is not None:
            self.signer.use_certificate(certificate.decode())
        if tables.JWT_ISSUERS in writes:
            self.jwt.soon()

    def after_commit(self, txid: TxId, fn: Callable[[], object]) -> None:
        """Calls ``fn`` once ``txid`` is committed, on the thread that tells of commits, in order of seqno."""
        with self._lock:
            heapq.heappush(self._waiting, (txid.seqno, next(self._order), fn))
        committed = self.runtime.committed
        if committed[1] >= txid.seqno:
            self._commits.put((TxId(*committed), None))

    def request_snapshot(self, txid: TxId) -> None:
        """Asks whoever makes snapshots for one at the next signature."""
        for listener in self.snapshot_listeners:
            listener(txid)

    def mark_retired(self, node_ids: list[str]) -> None:
        """Records that the retirement of nodes is committed, so that their rows may be deleted."""
        for _ in range(_COMMIT_ATTEMPTS):
            tx = self.runtime.begin()
            for node_id in node_ids:
                info = tables.get_json(tx, tables.NODES_INFO, node_id.encode())
                if info is not None and info.get("status") == NodeStatus.RETIRED:
                    tables.put_json(tx, tables.NODES_INFO, {**info, "retired_committed": True}, node_id.encode())
            try:
                self.commit(tx)
            except ConflictError:
                continue
            return
        self.log.fail("The retirement of nodes could not be recorded: other transactions came first")

    # ------------------------------------------------------------ what follows from commits

    def _watch(self) -> None:
        while (told := self._commits.get()) is not None:
            txid, trouble = told
            if trouble is not None:
                self.log.fail(f"Ledger: {trouble}")
                continue
            try:
                self._apply_committed(txid.seqno)
            except Exception as error:  # noqa: BLE001 -- this thread must go on, or nothing would ever open
                self.log.fail(f"Could not apply commit {txid}: {type(error).__name__}: {error}")
            listening: list[Callable[[], object]] = [partial(listener, txid) for listener in self.commit_listeners]
            for fn in [*self._due(txid.seqno), *listening]:
                try:
                    fn()
                except Exception as error:  # noqa: BLE001 -- as above
                    self.log.fail(f"After commit {txid}: {type(error).__name__}: {error}")

    def _due(self, seqno: int) -> list[Callable[[], object]]:
        with self._lock:
            due = []
            while self._waiting and self._waiting[0][0] <= seqno:
                due.append(heapq.heappop(self._waiting)[2])
            return due

    def _apply_committed(self, seqno: int) -> None:
        tx = self.runtime.begin()
        node_key = self.node_id.encode()
        if self._is_news(tx, tables.NODES_ENDORSED, node_key, seqno):
            certificate = tx.get(tables.NODES_ENDORSED, node_key)
            if certificate is not None:
                self._install_certificate(certificate.decode())
        if self._is_news(tx, tables.SERVICE_INFO, tables.SINGLETON, seqno):
            self._install_service(tables.get_json(tx, tables.SERVICE_INFO) or {})

    def _is_news(self, tx: NodeTransaction, table: str, key: bytes, seqno: int) -> bool:
        """Whether the row in ``tx`` is committed and was not seen before."""
        version = tx.version_of_previous_write(table, key)
        if version is None or version > seqno or self._applied.get(table) == version:
            return False
        self._applied[table] = version
        return True

    def _self_sign(self, valid_from: datetime, days: int) -> str:
        return self_signed(self.keys.identity, self.subject, valid_from, days, self._alternative_names)

    def _install_certificate(self, certificate: str) -> None:
        parsed = x509.load_pem_x509_certificate(certificate.encode())
        start, end = parsed.not_valid_before_utc, parsed.not_valid_after_utc
        # The self-signed certificate lives as long as the endorsed one. Days, because validity is inclusive.
        self.self_signed_certificate = self._self_sign(start, (end - start).days + 1)
        self.endorsed_certificate = certificate
        private_key = self.keys.identity.private_pem
        self.runtime.set_identity(NODE_IDENTITY, self.self_signed_certificate, private_key)
        self.runtime.set_identity(SERVICE_IDENTITY, certificate, private_key)
        if not self.gov_open:
            self.gov_open = True
            self.log.info("Opening members frontend: the node's certificate is committed")

    def _install_service(self, info: dict[str, Any]) -> None:
        certificate = info.get("cert")
        if isinstance(certificate, str) and certificate != self.service.certificate:
            self.service = dataclasses.replace(self.service, certificate=certificate)
            self.log.info("Service certificate was renewed")
        if info.get("status") == ServiceStatus.OPEN and not self.app_open:
            self.app_open = True
            self.log.info("Opening user frontend: service is open")
            for opened in self.on_app_open:
                opened()


def default_alternative_names(config: NodeConfig) -> list[str]:
    """Subject alternative names of the node's certificate: those configured, else the interfaces' hosts."""
    from tallystick.node.config import split_address

    if config.node_alternative_names:
        return list(config.node_alternative_names)
    names = []
    for interface in config.interfaces.values():
        host, _ = split_address(interface.published_address) or ("", 0)
        names.append(f"iPAddress:{host}" if _is_ip(host) else f"dNSName:{host}")
    return list(dict.fromkeys(names))


def _is_ip(host: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
