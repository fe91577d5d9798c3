"""Configuration of a node: CCF's JSON document, with CCF's keys and defaults.

Reference: ``doc/host_config_schema/cchost_config.json`` and ``include/ccf/node/startup_config.h`` of CCF 7.0.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tallystick.node.config_reader import ConfigError, Section

__all__ = [
    "ConfigError",
    "EndorsementServer",
    "HttpLimits",
    "InitialMember",
    "Interface",
    "JoinOptions",
    "NodeConfig",
    "RecoverOptions",
    "ServiceConfiguration",
    "StartOptions",
    "parse_config",
    "read_config",
    "split_address",
]

# A configuration is written by hand; anything larger is another file.
_MAX_CONFIG_BYTES: Final = 16 << 20

_MAX_RECOVERY_THRESHOLD: Final = 254
# A century: certificates end with the year 9999, and no service is meant to outlive this.
_MOST_DAYS: Final = 36_500
# RFC 9113, 6.5.2 and 6.9.2: what a peer may be told of frames and windows.
_FRAME_BYTES: Final = (1 << 14, (1 << 24) - 1)
_MOST_WINDOW_BYTES: Final = (1 << 31) - 1
_SNP_KEYS: Final = ("snp_security_policy_file", "snp_uvm_endorsements_file", "snp_endorsements_file")
_SIGNATURE_MODES: Final = ("Dual", "CoseAllowDualJoin", "CoseOnly")


@dataclass(frozen=True)
class HttpLimits:
    """``http_configuration`` of an interface; sizes in bytes."""

    max_body_size: int = 1 << 20
    max_header_size: int = 16 << 10
    max_headers_count: int = 256
    max_concurrent_streams_count: int = 100
    initial_window_size: int = 64 << 10
    max_frame_size: int = 16 << 10


@dataclass(frozen=True)
class Interface:
    """One entry of ``network.rpc_interfaces``.

    Attributes:
        name: its name.
        bind_address: ``host:port`` to listen at; port 0 lets the system choose.
        published_address: ``host:port`` under which others reach it.
        app_protocol: ``HTTP1`` or ``HTTP2``.
        authority: whose certificate it presents: ``Service``, ``Node``, or ``Unsecured`` for plain TCP.
        max_open_sessions_soft: sessions beyond this get 503.
        max_open_sessions_hard: connections beyond this are closed.
        http: limits of requests.
        raw: the entry as it was written; ``/node/network/nodes`` repeats it.
    """

    name: str
    bind_address: str
    published_address: str
    app_protocol: str
    authority: str
    max_open_sessions_soft: int
    max_open_sessions_hard: int
    http: HttpLimits
    raw: dict[str, Any]


@dataclass(frozen=True)
class InitialMember:
    """One entry of ``command.start.members``: paths, and the member's part in recovery."""

    certificate_file: str
    encryption_public_key_file: str | None
    data_json_file: str | None
    recovery_role: str | None

    @property
    def is_participant(self) -> bool:
        """Whether it gets a share of the ledger secret."""
        return self.encryption_public_key_file is not None and self.recovery_role in (None, "Participant")

    @property
    def is_owner(self) -> bool:
        """Whether it can recover the ledger secret alone."""
        return self.encryption_public_key_file is not None and self.recovery_role == "Owner"


@dataclass(frozen=True)
class ServiceConfiguration:
    """``command.start.service_configuration``; what was not written is None and not stored either."""

    recovery_threshold: int = 0
    maximum_node_certificate_validity_days: int = 365
    maximum_service_certificate_validity_days: int = 365
    recent_cose_proposals_window_size: int | None = None
    reconfiguration_type: str | None = None
    consensus: str | None = None


@dataclass(frozen=True)
class StartOptions:
    """``command.start``."""

    members: tuple[InitialMember, ...]
    constitution_files: tuple[str, ...]
    service_configuration: ServiceConfiguration
    initial_service_certificate_validity_days: int
    service_subject_name: str
    cose_issuer: str
    cose_subject: str


@dataclass(frozen=True)
class JoinOptions:
    """``command.join``; times in microseconds, sizes in bytes."""

    target_rpc_address: str
    retry_timeout: int
    follow_redirect: bool
    fetch_recent_snapshot: bool
    fetch_snapshot_max_attempts: int
    fetch_snapshot_retry_interval: int
    fetch_snapshot_max_size: int


@dataclass(frozen=True)
class RecoverOptions:
    """``command.recover``."""

    previous_service_identity_file: str
    initial_service_certificate_validity_days: int
    previous_sealed_ledger_secret_location: str | None


@dataclass(frozen=True)
class EndorsementServer:
    """One entry of ``attestation.snp_endorsements_servers``."""

    kind: str
    url: str
    max_retries_count: int
    max_client_response_size: int


@dataclass(frozen=True)
class NodeConfig:
    """A whole configuration. Times are microseconds, sizes bytes, paths as written.

    Attributes:
        command: ``Start``, ``Join`` or ``Recover``; the section of that name is not None.
        interfaces: by name, in order of names.
        raw: the document as it was read.
        ignored: paths of keys that are there and have no effect on this node.
    """

    raw: dict[str, Any]
    ignored: tuple[str, ...]
    command: str
    service_certificate_file: str
    start: StartOptions | None
    join: JoinOptions | None
    recover: RecoverOptions | None
    node_to_node_bind: str
    node_to_node_published: str
    node_to_node_raw: dict[str, Any]
    interfaces: dict[str, Interface]
    node_subject_name: str
    node_alternative_names: tuple[str, ...]
    curve: str
    node_validity_days: int
    node_data_file: str | None
    service_data_file: str | None
    endorsement_servers: tuple[EndorsementServer, ...]
    snp_security_policy_file: str | None
    snp_uvm_endorsements_file: str | None
    snp_endorsements_file: str | None
    ledger_directory: str
    ledger_read_only: tuple[str, ...]
    chunk_size: int
    snapshots_directory: str
    snapshot_tx_count: int
    snapshots_read_only: str | None
    log_json: bool
    message_timeout: int
    election_timeout: int
    max_uncommitted: int
    signature_tx_count: int
    signature_delay: int
    cose_only: bool
    jwt_refresh_interval: int
    jwt_max_response_size: int
    node_certificate_file: str
    pid_file: str
    node_address_file: str
    rpc_addresses_file: str
    sealed_secret_location: str | None
    idle_connection_timeout: int | None
    client_connection_timeout: int
    slow_io_threshold: int
    worker_threads: int
    ignore_first_sigterm: bool
    historical_cache_size: int


def split_address(text: str) -> tuple[str, int] | None:
    """Host and port of ``host:port`` or ``[host]:port``; None if it is not of that form."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        return None
    return host, int(port)


def _address(section: Section, key: str, default: str | None = None) -> str:
    text = section.text(key, default)
    if split_address(text) is None:
        section.fail(key, f"expected host:port, got {text!r}")
    return text


def _interface(name: str, section: Section, raw: dict[str, Any]) -> Interface:
    bind = _address(section, "bind_address")
    published = _address(section, "published_address", bind) if section.optional_text("published_address") else bind
    protocol = section.text("protocol", "tcp")
    if protocol not in ("tcp", "udp"):
        section.fail("protocol", f"expected tcp or udp, got {protocol!r}")
    if protocol == "udp":
        section.fail("protocol", "udp is not offered by this node; use tcp")
    app_protocol = section.text("app_protocol", "HTTP1")
    if app_protocol not in ("HTTP1", "HTTP2"):
        section.fail("app_protocol", f"expected HTTP1 or HTTP2, got {app_protocol!r}")
    endorsement = section.section("endorsement")
    authority = endorsement.choice("authority", ("Service", "Node", "Unsecured", "ACME"), "Service")
    if authority == "ACME":
        endorsement.fail("authority", "ACME is no longer offered by CCF, nor by this node")
    endorsement.ignore("acme_configuration")
    endorsement.finish()
    accepted = section.texts("accepted_endpoints")
    if authority == "Unsecured" and not accepted:
        section.fail("accepted_endpoints", "missing, expected the paths that an unsecured interface serves")
    for pattern in accepted:
        try:
            re.compile(pattern)
        except re.error as error:
            section.fail("accepted_endpoints", f"{pattern!r} is not a regular expression: {error}")
    soft = section.integer("max_open_sessions_soft", 1000)
    hard = section.integer("max_open_sessions_hard", 1010)
    if hard < soft:
        section.fail("max_open_sessions_hard", f"expected at least max_open_sessions_soft ({soft}), got {hard}")
    limits = _http_limits(section.section("http_configuration"))
    section.integer("forwarding_timeout_ms", 3000)
    _redirections(section.section("redirections"))
    section.texts("enabled_operator_features")
    section.finish()
    return Interface(name, bind, published, app_protocol, authority, soft, hard, limits, raw)


def _http_limits(section: Section) -> HttpLimits:
    limits = HttpLimits(
        section.size("max_body_size", "1MB"),
        section.size("max_header_size", "16KB"),
        section.integer("max_headers_count", 256),
        section.integer("max_concurrent_streams_count", 100, least=1, most=2**31 - 1),
        section.size("initial_window_size", "64KB", most=_MOST_WINDOW_BYTES),
        section.size("max_frame_size", "16KB", least=_FRAME_BYTES[0], most=_FRAME_BYTES[1]),
    )
    section.finish()
    return limits


def _redirections(section: Section) -> None:
    for key in ("to_primary", "to_backup"):
        if not section.has(key):
            continue
        rule = section.section(key)
        kind = rule.choice("kind", ("NodeByRole", "StaticAddress"))
        target = rule.section("target", required=True)
        if kind == "NodeByRole":
            target.choice("role", ("primary", "backup"))
            target.optional_text("interface")
        else:
            target.text("address")
        target.finish()
        rule.finish()
    section.finish()


def _network(section: Section) -> tuple[str, str, dict[str, Any], dict[str, Interface]]:
    node = section.section("node_to_node_interface", required=True)
    bind = _address(node, "bind_address")
    published = _address(node, "published_address", bind) if node.optional_text("published_address") else bind
    node.finish()
    listed = section.section("rpc_interfaces", required=True)
    interfaces = {}
    for name in listed.names("an interface"):
        interfaces[name] = _interface(name, listed.section(name, required=True), listed.raw(name))
    if not interfaces:
        section.fail("rpc_interfaces", "expected at least one interface")
    section.ignore("acme", "will_locally_seal_ledger_secrets")
    section.finish()
    raw = dict(section.raw("node_to_node_interface"))
    return bind, published, raw, interfaces


def _members(section: Section) -> tuple[InitialMember, ...]:
    members = []
    for entry in section.sections("members", required=True):
        role = entry.raw("recovery_role")
        if role is not None:
            entry.choice("recovery_role", ("NonParticipant", "Participant", "Owner"))
        member = InitialMember(
            entry.text("certificate_file"),
            entry.optional_text("encryption_public_key_file"),
            entry.optional_text("data_json_file"),
            role,
        )
        if role in ("Participant", "Owner") and member.encryption_public_key_file is None:
            entry.fail("encryption_public_key_file", f"missing, expected the key of a recovery {role}")
        entry.finish()
        members.append(member)
    if not members:
        section.fail("members", "expected at least one member")
    return tuple(members)


def _service_configuration(section: Section, members: tuple[InitialMember, ...], given: bool) -> ServiceConfiguration:
    threshold = section.integer("recovery_threshold", None if given else 0)
    participants = sum(member.is_participant for member in members)
    owners = sum(member.is_owner for member in members)
    if threshold == 0:
        threshold = participants or (1 if owners else 0)
    elif participants and threshold > participants:
        section.fail("recovery_threshold", f"expected at most {participants}, the recovery members, got {threshold}")
    elif not participants and owners and threshold > 1:
        section.fail("recovery_threshold", f"expected 1, as all recovery members are owners, got {threshold}")
    elif not participants and not owners:
        section.fail("recovery_threshold", f"expected 0, as no member takes part in recovery, got {threshold}")
    if threshold > _MAX_RECOVERY_THRESHOLD:
        section.fail("recovery_threshold", f"expected at most {_MAX_RECOVERY_THRESHOLD}, got {threshold}")
    window = "recent_cose_proposals_window_size"
    configuration = ServiceConfiguration(
        threshold,
        section.integer("maximum_node_certificate_validity_days", 365, least=1),
        section.integer("maximum_service_certificate_validity_days", 365, least=1),
        section.integer(window, least=1, most=10_000) if section.has(window) else None,
        section.optional_text("reconfiguration_type"),
        section.optional_text("consensus"),
    )
    section.finish()
    return configuration


def _start(section: Section) -> StartOptions:
    members = _members(section)
    constitution = section.texts("constitution_files", required=True)
    if not constitution:
        section.fail("constitution_files", "expected at least one file")
    cose = section.section("cose_signatures")
    options = StartOptions(
        members,
        constitution,
        _service_configuration(section.section("service_configuration"), members, section.has("service_configuration")),
        section.integer("initial_service_certificate_validity_days", 1, least=1, most=_MOST_DAYS),
        section.text("service_subject_name", "CN=CCF Service"),
        cose.text("issuer", ""),
        cose.text("subject", ""),
    )
    cose.finish()
    section.finish()
    return options


def _join(section: Section) -> JoinOptions:
    options = JoinOptions(
        _address(section, "target_rpc_address"),
        section.duration("retry_timeout", "1000ms"),
        section.boolean("follow_redirect", True),
        section.boolean("fetch_recent_snapshot", True),
        section.integer("fetch_snapshot_max_attempts", 3),
        section.duration("fetch_snapshot_retry_interval", "1000ms"),
        section.size("fetch_snapshot_max_size", "10GB"),
    )
    section.ignore("host_data_transparent_statement_path")
    section.finish()
    return options


def _recover(section: Section) -> RecoverOptions:
    options = RecoverOptions(
        section.text("previous_service_identity_file"),
        section.integer("initial_service_certificate_validity_days", 1, least=1, most=_MOST_DAYS),
        section.optional_text("previous_sealed_ledger_secret_location"),
    )
    if not options.previous_service_identity_file:
        section.fail("previous_service_identity_file", "missing, expected the certificate of the service to recover")
    section.finish()
    return options


def _servers(section: Section) -> tuple[EndorsementServer, ...]:
    servers = []
    for entry in section.sections("snp_endorsements_servers"):
        servers.append(
            EndorsementServer(
                entry.choice("type", ("Azure", "AMD", "THIM"), "Azure"),
                entry.text("url"),
                entry.integer("max_retries_count", 10),
                entry.integer("max_client_response_size", 1 << 20),
            )
        )
        entry.finish()
    return tuple(servers)


def _certificate_options(section: Section) -> dict[str, Any]:
    options = {
        "node_subject_name": section.text("subject_name", "CN=CCF Node"),
        "node_alternative_names": section.texts("subject_alt_names"),
        "curve": section.choice("curve_id", ("Secp384R1", "Secp256R1"), "Secp384R1"),
        "node_validity_days": section.integer("initial_validity_days", 1, least=1, most=_MOST_DAYS),
    }
    section.finish()
    return options


def _storage_options(document: Section) -> dict[str, Any]:
    ledger, snapshots = document.section("ledger"), document.section("snapshots")
    options = {
        "ledger_directory": ledger.path_text("directory", "ledger"),
        "ledger_read_only": ledger.texts("read_only_directories"),
        "chunk_size": ledger.size("chunk_size", "5MB"),
        "snapshots_directory": snapshots.path_text("directory", "snapshots"),
        "snapshot_tx_count": snapshots.integer("tx_count", 10_000, least=1),
        "snapshots_read_only": snapshots.optional_text("read_only_directory"),
    }
    ledger.ignore("max_transaction_size")
    snapshots.ignore("backup_fetch", "time_interval", "min_tx_count", "read_only_directory")
    ledger.finish()
    snapshots.finish()
    return options


def _attestation_options(section: Section) -> dict[str, Any]:
    options: dict[str, Any] = {"endorsement_servers": _servers(section)}
    for key in _SNP_KEYS:
        options[key] = section.optional_text(key)
    section.ignore("environment", *_SNP_KEYS, "snp_endorsements_servers")
    section.finish()
    return options


def _output_options(section: Section) -> dict[str, Any]:
    options = {
        "node_certificate_file": section.path_text("node_certificate_file", "nodecert.pem"),
        "pid_file": section.path_text("pid_file", "my_node.pid"),
        "node_address_file": section.text("node_to_node_address_file", ""),
        "rpc_addresses_file": section.text("rpc_addresses_file", ""),
        "sealed_secret_location": section.optional_text("sealed_ledger_secret_location"),
    }
    if options["sealed_secret_location"]:
        section.fail("sealed_ledger_secret_location", "this node does not seal ledger secrets to its platform")
    section.finish()
    return options


def _running_options(document: Section) -> dict[str, Any]:
    logging, consensus = document.section("logging"), document.section("consensus")
    signatures, jwt = document.section("ledger_signatures"), document.section("jwt")
    logging.choice("host_level", ("Trace", "Debug", "Info", "Fail", "Fatal"), "Info")
    consensus.choice("type", ("CFT",), "CFT")
    mode = signatures.choice("mode", _SIGNATURE_MODES, "Dual")
    options = {
        "log_json": logging.choice("format", ("Text", "Json"), "Text") == "Json",
        "message_timeout": consensus.duration("message_timeout", "100ms"),
        "election_timeout": consensus.duration("election_timeout", "5000ms"),
        "max_uncommitted": consensus.integer("max_uncommitted_tx_count", 10_000),
        "signature_tx_count": signatures.integer("tx_count", 5000, least=1),
        "signature_delay": signatures.duration("delay", "1000ms"),
        "cose_only": mode != "Dual",
        "jwt_refresh_interval": jwt.duration("key_refresh_interval", "30min"),
        "jwt_max_response_size": jwt.size("key_refresh_max_response_size", "1MB"),
        "idle_connection_timeout": _idle_timeout(document),
        "client_connection_timeout": document.duration("client_connection_timeout", "2000ms"),
        "slow_io_threshold": document.duration("slow_io_logging_threshold", "10ms"),
        "worker_threads": document.integer("worker_threads", 0, most=1024),
        "ignore_first_sigterm": document.boolean("ignore_first_sigterm", False),
        "historical_cache_size": document.size("historical_cache_soft_limit", "512MB"),
    }
    for section in (logging, consensus, signatures, jwt):
        section.finish()
    # Tick, ring buffers and node-to-node limits belong to CCF's host; nothing here has them, so any value will do.
    document.duration("tick_interval", "10ms")
    document.ignore("tick_interval", "memory", "node_client_interface", "node_to_node_message_limit", "enclave")
    document.ignore("files_cleanup", "pending_node_timeout", "identity_history_fetch")
    # Of use once there is more than one node, or more than one thing to wait for.
    document.ignore("client_connection_timeout", "slow_io_logging_threshold", "historical_cache_soft_limit")
    consensus.ignore("message_timeout", "election_timeout")
    return options


def _idle_timeout(document: Section) -> int | None:
    if "idle_connection_timeout" in document.keys and not document.has("idle_connection_timeout"):
        return None
    return document.duration("idle_connection_timeout", "60s")


def parse_config(document: object) -> NodeConfig:
    """Checks decoded JSON against what a node understands.

    Raises:
        ConfigError: a key is unknown, missing or has a value that it cannot have; the message names it.
    """
    root = Section(document)
    bind, published, node_raw, interfaces = _network(root.section("network", required=True))
    command = root.section("command", required=True)
    kind = command.choice("type", ("Start", "Join", "Recover"))
    for other in ("start", "join", "recover"):
        command.raw(other)
    # A document may carry the sections of other commands, filled with anything; only the one asked for is read.
    config = NodeConfig(
        raw=document if isinstance(document, dict) else {},
        ignored=(),
        command=kind,
        service_certificate_file=command.path_text("service_certificate_file", "service_cert.pem"),
        start=_start(command.section("start", required=True)) if kind == "Start" else None,
        join=_join(command.section("join", required=True)) if kind == "Join" else None,
        recover=_recover(command.section("recover", required=True)) if kind == "Recover" else None,
        node_to_node_bind=bind,
        node_to_node_published=published,
        node_to_node_raw=node_raw,
        interfaces=interfaces,
        node_data_file=root.optional_text("node_data_json_file"),
        service_data_file=root.optional_text("service_data_json_file"),
        **_certificate_options(root.section("node_certificate")),
        **_attestation_options(root.section("attestation")),
        **_storage_options(root),
        **_output_options(root.section("output_files")),
        **_running_options(root),
    )
    command.finish()
    root.finish()
    return replace(config, ignored=tuple(sorted(root.ignored)))


def read_config(path: str | Path) -> NodeConfig:
    """Reads and checks a configuration file.

    Raises:
        ConfigError: it cannot be read, is not JSON, or says something that the node cannot do.
    """
    name = str(path)
    try:
        size = Path(path).stat().st_size
        if size > _MAX_CONFIG_BYTES:
            raise ConfigError(f"configuration is larger than {_MAX_CONFIG_BYTES} bytes: {size} bytes", file=name)
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"configuration cannot be read: {error.strerror}", file=name) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"configuration is not JSON: {error}", file=name) from error
    try:
        return parse_config(document)
    except ConfigError as error:
        error.at(file=name)
        raise
