"""The life of a node's process: from its configuration to the signal that ends it.

What others can watch, in this order: the PID file, the listening sockets, the files with their addresses, the
certificate files, the first transaction. Everything is said on standard output; standard error stays empty.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from tallystick import __version__
from tallystick._native import NodeRuntime
from tallystick.errors import TallystickError, UnsupportedError
from tallystick.node import genesis
from tallystick.node.attestation import AttestationProvider, platform_provider
from tallystick.node.certificates import ServiceIdentity, endorse_request
from tallystick.node.config import Interface, NodeConfig, split_address
from tallystick.node.genesis import Addresses
from tallystick.node.http.context import CommitOptions
from tallystick.node.http.interfaces import InterfaceRules
from tallystick.node.identity_endorsement import RECOVERY_VIEW_STEP
from tallystick.node.keys import NodeKeys
from tallystick.node.ledger_secrets import KnownSecret, LedgerSecrets
from tallystick.node.log import Level, Log
from tallystick.node.recovery import LedgerJudge, Recovery, write_recovered_service
from tallystick.node.service import NODE_IDENTITY, SERVICE_IDENTITY, Node
from tallystick.node.state import NodeState
from tallystick.secrets.shares import LedgerSecret
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick._native import NodeRecovery, NodeRequest, NodeTransaction

__all__ = ["Handler", "RunningNode", "StartError", "make_log", "run_node", "start_node"]

Handler = Callable[["NodeRequest"], tuple[int, list[tuple[str, str]], bytes, bool]]
"""What answers requests: status, headers, body, and whether to close the connection."""

# Threads on which Python answers requests, where the configuration does not say.
_DEFAULT_WORKERS: Final = 8
_FIRST_VIEW: Final = genesis.FIRST_TXID.view
_FIRST_SECRET_VERSION: Final = 1
_MILLISECOND_US: Final = 1000

_AUTHORITIES: Final = {"Service": SERVICE_IDENTITY, "Node": NODE_IDENTITY, "Unsecured": None}


class StartError(TallystickError):
    """The node cannot start."""

    default_code = "node-start"


@dataclass
class RunningNode:
    """A node that is up.

    Attributes:
        node: the node.
        urls: interface name to URL.
    """

    node: Node
    urls: dict[str, str]
    _node_socket: socket.socket

    def stop(self) -> None:
        """Stops answering, signs and writes what is pending, and closes the ledger.

        Raises:
            RuntimeError: what was pending could not be signed or written; everything is closed all the same.
        """
        for end in self.node.before_stop:
            end()
        try:
            self.node.runtime.stop()
        finally:
            self.node.detach()
            self._node_socket.close()


def make_log(config: NodeConfig, level: Level = Level.INFO) -> Log:
    """The log that a configuration asks for."""
    return Log(level, as_json=config.log_json)


def start_node(
    config: NodeConfig,
    make_handler: Callable[[Node], Handler],
    *,
    log: Log,
    provider: AttestationProvider | None = None,
    executable: Path | None = None,
) -> RunningNode:
    """Starts a node and returns when it is part of its service.

    Args:
        config: what to start.
        make_handler: makes what answers requests, once the node is there.
        log: where lines go.
        provider: source of evidence; that of the platform if not given.
        executable: whose digest stands for the code on a virtual platform; this interpreter if not given.

    Raises:
        StartError: something that the node needs is in the way or missing.
        ConfigError: a file that the configuration names cannot be used.
        UnsupportedError: the configuration asks for something that this node does not do yet.
    """
    if config.command == "Join":
        raise UnsupportedError("command.type Join is not offered yet: a service has one node here", code="node-command")
    starter = _Starter(config, log, provider or _platform(executable))
    try:
        return starter.recover(make_handler) if config.command == "Recover" else starter.start(make_handler)
    except BaseException:
        starter.remove_pid()
        raise


def _platform(executable: Path | None) -> AttestationProvider:
    try:
        return platform_provider(executable or Path("/proc/self/exe"), Path.cwd())
    except OSError as error:
        raise StartError(f"evidence about this node cannot be made: {error}") from error


class _Starter:
    """The steps of a start. One object a start."""

    def __init__(self, config: NodeConfig, log: Log, provider: AttestationProvider) -> None:
        self.config = config
        self.log = log
        self.provider = provider
        self._wrote_pid = False

    def start(self, make_handler: Callable[[Node], Handler]) -> RunningNode:
        config, options = self.config, self.config.start
        if options is None:
            raise StartError("configuration has no command.start")
        members = genesis.read_members(options)
        constitution = genesis.read_constitution(options.constitution_files)
        service_data = genesis.read_json_file(config.service_data_file, "service_data_json_file")
        node_data = genesis.read_json_file(config.node_data_file, "node_data_json_file")
        _require_empty(Path(config.ledger_directory))
        self._write_pid()
        keys = NodeKeys.generate(config.curve)
        now = datetime.now(timezone.utc)
        days = options.initial_service_certificate_validity_days
        service = ServiceIdentity.create(options.service_subject_name, config.curve, now, days)
        secret = LedgerSecret.random()
        node = self._make_node(keys, service, secret, _FIRST_SECRET_VERSION)
        endorsed = self._endorse(node, service, now)

        def open_ledger() -> NodeRuntime:
            return NodeRuntime(
                config.ledger_directory, secret, node.signer, node.observe, view=_FIRST_VIEW, **self._options()
            )

        running = self._listen(node, make_handler, open_ledger)
        try:
            tx = node.runtime.begin()
            genesis.write_service(
                tx,
                certificate=service.certificate,
                constitution=constitution,
                members=members,
                configuration=options.service_configuration,
                service_data=service_data,
            )
            self._write_node(tx, node, endorsed, node_data)
            self._create(node, tx, genesis.FIRST_TXID, NodeState.PART_OF_NETWORK)
            node.jwt.start()
        except BaseException:
            running.stop()
            raise
        return running

    def recover(self, make_handler: Callable[[Node], Handler]) -> RunningNode:
        """Takes over the ledger of a service whose nodes are lost; members then hand in their shares."""
        config, options = self.config, self.config.recover
        if options is None:
            raise StartError("configuration has no command.recover")
        previous = genesis.read_certificate(
            options.previous_service_identity_file, "command.recover.previous_service_identity_file"
        )
        service_data = genesis.read_json_file(config.service_data_file, "service_data_json_file")
        node_data = genesis.read_json_file(config.node_data_file, "node_data_json_file")
        if not Path(config.ledger_directory).is_dir():
            raise StartError(f"there is no ledger to recover in {config.ledger_directory}")
        self._write_pid()
        keys = NodeKeys.generate(config.curve)
        now = datetime.now(timezone.utc)
        days = options.initial_service_certificate_validity_days
        service = ServiceIdentity.succeed(previous, config.curve, now, days)
        secret = LedgerSecret.random()
        node = self._make_node(keys, service, secret, _FIRST_SECRET_VERSION)
        node.state = NodeState.READING_PUBLIC_LEDGER
        endorsed = self._endorse(node, service, now)
        judge = LedgerJudge(previous)
        found: list[NodeRecovery] = []

        def open_ledger() -> NodeRuntime:
            self.log.info(f"Reading the public ledger in {config.ledger_directory}")
            runtime, recovery = NodeRuntime.recover(
                config.ledger_directory, secret, node.signer, node.observe, judge, judge.accept, **self._options()
            )
            found.append(recovery)
            return runtime

        running = self._listen(node, make_handler, open_ledger)
        try:
            self._take_over(node, judge, found[0], endorsed, service_data, node_data)
        except BaseException:
            running.stop()
            raise
        return running

    def _take_over(
        self, node: Node, judge: LedgerJudge, found: NodeRecovery, endorsed: str, service_data: Any, node_data: Any
    ) -> None:
        last = TxId(*found.last)
        if found.stopped is not None:
            self.log.fail(f"The ledger was taken over up to {last} only: {found.stopped}")
        self.log.info(f"The public ledger was read up to {last}")
        node.signer.use_claims(judge.issuer, judge.subject)
        node.secrets = LedgerSecrets([KnownSecret(last.seqno + 1, node.secrets.latest.secret)])
        node.recovery = Recovery(node, found.links)
        txid = TxId(last.view + RECOVERY_VIEW_STEP, last.seqno + 1)
        tx = node.runtime.begin()
        retired = write_recovered_service(tx, node.service.certificate, txid, found.last_root, service_data)
        self._write_node(tx, node, endorsed, node_data)
        self._create(node, tx, txid, NodeState.PART_OF_PUBLIC_NETWORK, close_before=True)
        node.after_commit(txid, lambda: node.mark_retired(retired))

    def _endorse(self, node: Node, service: ServiceIdentity, now: datetime) -> str:
        endorsed = endorse_request(node.signing_request, service, now, self.config.node_validity_days)
        node.signer.use_certificate(endorsed)
        return endorsed

    def _make_node(self, keys: NodeKeys, service: ServiceIdentity, secret: LedgerSecret, version: int) -> Node:
        known = LedgerSecrets([KnownSecret(version, secret)])
        evidence = self.provider.attest(bytes.fromhex(keys.node_id))
        if self.provider.platform == "Virtual":
            self.log.info("Platform: Virtual. The evidence of this node proves nothing; it is for development only")
        return Node(self.config, keys, service, known, evidence, self.log)

    def _listen(
        self, node: Node, make_handler: Callable[[Node], Handler], open_ledger: Callable[[], NodeRuntime]
    ) -> RunningNode:
        config = self.config
        node_socket, node_to_node = self._bind_node_socket()
        try:
            node.attach(self._opened(open_ledger))
            try:
                node.runtime.set_identity(NODE_IDENTITY, node.self_signed_certificate, node.keys.identity.private_pem)
                bound = self._serve(node, make_handler(node))
                node.addresses = Addresses(node_to_node, _published(config, bound))
                self._write_addresses(node.addresses, bound)
                self._write_certificates(node)
            except BaseException:
                node.runtime.stop()
                node.detach()
                raise
        except BaseException:
            node_socket.close()
            raise
        return RunningNode(node, _urls(config, bound), node_socket)

    def _options(self) -> dict[str, Any]:
        config = self.config
        return {
            "read_only_directories": list(config.ledger_read_only),
            "signature_tx_count": config.signature_tx_count,
            "signature_delay_ms": max(1, config.signature_delay // _MILLISECOND_US),
            "chunk_size": config.chunk_size,
            "max_uncommitted": config.max_uncommitted,
            "cose_only": config.cose_only,
        }

    def _opened(self, open_ledger: Callable[[], NodeRuntime]) -> NodeRuntime:
        try:
            return open_ledger()
        except (OSError, RuntimeError) as error:
            raise StartError(f"ledger cannot be opened in {self.config.ledger_directory}: {error}") from error

    def _bind_node_socket(self) -> tuple[socket.socket, dict[str, Any]]:
        """Reserves the address for other nodes. Nobody is answered there: one node has nobody to talk to."""
        text = self.config.node_to_node_bind
        host, port = split_address(text) or ("", 0)
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            bound = socket.socket(family, socket.SOCK_STREAM)
            bound.bind(address)
        except (OSError, UnicodeError) as error:
            raise StartError(f"cannot bind network.node_to_node_interface.bind_address {text}: {error}") from error
        port = bound.getsockname()[1]
        return bound, {
            **self.config.node_to_node_raw,
            "bind_address": _with_port(text, port),
            "published_address": _fill_port(self.config.node_to_node_published, port),
        }

    def _serve(self, node: Node, handler: Handler) -> dict[str, int]:
        interfaces = []
        for interface in self.config.interfaces.values():
            address = _resolve(interface)
            identity = _AUTHORITIES[interface.authority]
            interfaces.append(
                (interface.name, address, interface.app_protocol, identity, _limits(interface, self.config))
            )
        try:
            workers = self.config.worker_threads or _DEFAULT_WORKERS
            opened = node.runtime.serve(
                interfaces, handler, workers, app_log=self.log.target(), app_gate=_application_gate(self.config)
            )
        except (OSError, RuntimeError, ValueError) as error:
            wanted = ", ".join(interface.bind_address for interface in self.config.interfaces.values())
            raise StartError(f"cannot listen at {wanted}: {error}") from error
        return {name: int(address.rpartition(":")[2]) for name, address in opened}

    def _write_pid(self) -> None:
        path = Path(self.config.pid_file)
        try:
            with path.open("x", encoding="ascii") as file:
                self._wrote_pid = True
                file.write(str(os.getpid()))
        except FileExistsError as error:
            raise StartError(f"PID file {path} already exists. Exiting.") from error
        except OSError as error:
            raise StartError(f"PID file {path} cannot be written: {error.strerror}") from error

    def remove_pid(self) -> None:
        """Removes the PID file of a start that failed: it names no node, and would stop the next start."""
        if self._wrote_pid:
            with contextlib.suppress(OSError):
                Path(self.config.pid_file).unlink()

    def _write_addresses(self, addresses: Addresses, bound: dict[str, int]) -> None:
        config = self.config
        if config.node_address_file:
            _write_file(
                config.node_address_file,
                json.dumps({"node_to_node_interface": addresses.node_to_node["bind_address"]}),
            )
        if config.rpc_addresses_file:
            listed = {
                name: _with_port(interface.bind_address, bound[name]) for name, interface in config.interfaces.items()
            }
            _write_file(config.rpc_addresses_file, json.dumps(listed))

    def _write_certificates(self, node: Node) -> None:
        _write_file(self.config.node_certificate_file, node.self_signed_certificate)
        _write_file(self.config.service_certificate_file, node.service.certificate)

    def _write_node(self, tx: NodeTransaction, node: Node, endorsed: str, node_data: Any) -> None:
        if node.addresses is None:
            raise StartError("the node does not know its own addresses")
        genesis.write_node(
            tx,
            self.config,
            node.keys,
            node.addresses,
            signing_request=node.signing_request,
            endorsed_certificate=endorsed,
            evidence=node.evidence,
            node_data=node_data,
        )

    def _create(
        self, node: Node, tx: NodeTransaction, expected: TxId, state: NodeState, *, close_before: bool = False
    ) -> None:
        txid = node.commit(tx, CommitOptions(close_before=close_before))
        if txid != expected:
            raise StartError(f"the service was created at {txid}, not at {expected}")
        node.create_txid = txid
        node.state = state
        # Nothing opens before this is committed, so it is signed at once.
        node.runtime.sign_pending()
        self.log.info(f"Network TLS connections now available. Node {node.node_id} created service at {txid}")


def _require_empty(directory: Path) -> None:
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise StartError(f"On start, ledger directory should not exist or be empty ({directory})")
    except OSError as error:
        raise StartError(f"ledger directory {directory} cannot be read: {error.strerror}") from error


def _resolve(interface: Interface) -> str:
    """``host:port`` with a numeric host, as the data plane wants it."""
    host, port = split_address(interface.bind_address) or ("", 0)
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4]
    except (OSError, UnicodeError) as error:
        raise StartError(
            f"network.rpc_interfaces.{interface.name}.bind_address {interface.bind_address}: {error}"
        ) from error
    numeric = str(address[0])
    return f"[{numeric}]:{port}" if ":" in numeric else f"{numeric}:{port}"


def _application_gate(config: NodeConfig) -> Callable[[str, str, str], tuple[int, str | None, str] | None] | None:
    """Says why an interface does not serve an endpoint of the application; None if all serve all."""
    rules = {name: InterfaceRules.from_config(name, interface.raw) for name, interface in config.interfaces.items()}
    if all(rule.accepted_endpoints is None and not rule.unsecured and not rule.redirects for rule in rules.values()):
        return None
    return lambda interface, route, redirects_to: rules[interface].refuses_application(route, redirects_to)


def _limits(interface: Interface, config: NodeConfig) -> dict[str, int]:
    http = interface.http
    idle = config.idle_connection_timeout
    return {
        "max_body_size": http.max_body_size,
        "max_header_size": http.max_header_size,
        "max_headers_count": http.max_headers_count,
        "max_concurrent_streams_count": http.max_concurrent_streams_count,
        "initial_window_size": http.initial_window_size,
        "max_frame_size": http.max_frame_size,
        "max_open_sessions_soft": interface.max_open_sessions_soft,
        "max_open_sessions_hard": interface.max_open_sessions_hard,
        # The data plane takes 0 for "never".
        "idle_timeout_ms": 0 if idle is None else max(1, idle // _MILLISECOND_US),
    }


def _with_port(address: str, port: int) -> str:
    return f"{address.rpartition(':')[0]}:{port}"


def _fill_port(address: str, port: int) -> str:
    return _with_port(address, port) if address.endswith(":0") else address


def _published(config: NodeConfig, bound: dict[str, int]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            **interface.raw,
            "bind_address": _with_port(interface.bind_address, bound[name]),
            "published_address": _fill_port(interface.published_address, bound[name]),
        }
        for name, interface in config.interfaces.items()
    }


def _urls(config: NodeConfig, bound: dict[str, int]) -> dict[str, str]:
    return {
        name: f"{'http' if interface.authority == 'Unsecured' else 'https'}://"
        + _fill_port(interface.published_address, bound[name])
        for name, interface in config.interfaces.items()
    }


def _write_file(path: str, text: str) -> None:
    """Writes a file so that whoever waits for it never sees half of it."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        raise StartError(f"{path} cannot be written: {error.strerror}") from error


def run_node(
    config: NodeConfig,
    make_handler: Callable[[Node], Handler],
    *,
    log: Log | None = None,
    executable: Path | None = None,
) -> int:
    """Runs a node until a signal ends it. For the main thread of a process of its own.

    Returns:
        Exit code: 0 after a clean stop, 1 if the node could not start, or not end in order. The reason is in the log.
    """
    log = log or make_log(config)
    log.info(f"Tallystick {__version__} on Python {platform.python_version()}, process {os.getpid()}")
    log.info("Configuration: " + json.dumps(config.raw, separators=(",", ":")))
    if config.ignored:
        log.info("These keys of the configuration have no effect on this node: " + ", ".join(config.ignored))
    stopping = threading.Event()
    running: RunningNode | None = None
    ignore_next = config.ignore_first_sigterm

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal ignore_next
        name = signal.strsignal(number) or str(number)
        if number == signal.SIGTERM and ignore_next:
            ignore_next = False
            if running is not None:
                running.node.stop_notice = True
            log.info(f"{name}: Ignoring the first of these signals, as configured")
            return
        log.info(f"{name}: Shutting down node gracefully...")
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, on_signal)
    try:
        running = start_node(config, make_handler, log=log, executable=executable)
    except TallystickError as error:
        log.fatal(error.message + (f" ({error.hint})" if error.hint else ""))
        return 1
    except Exception as error:  # noqa: BLE001 -- operators read the log, and nothing but the log
        log.debug(traceback.format_exc())
        log.fatal(f"the node cannot start: {error}")
        return 1
    stopping.wait()
    try:
        running.stop()
    except (OSError, RuntimeError) as error:
        log.fatal(f"the node did not end in order: {error}")
        return 1
    log.info("Node has stopped")
    return 0
