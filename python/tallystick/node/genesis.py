"""The first transaction of a service: its members, its rules, its first node, and that it is opening."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tallystick.errors import FormatError
from tallystick.node import tables
from tallystick.node.config import InitialMember, NodeConfig, ServiceConfiguration, StartOptions, split_address
from tallystick.node.config_reader import ConfigError
from tallystick.node.keys import read_encryption_key
from tallystick.node.state import NodeStatus, ServiceStatus
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick._native import NodeTransaction
    from tallystick.node.attestation import NodeEvidence
    from tallystick.node.keys import NodeKeys

__all__ = [
    "Addresses",
    "Member",
    "read_certificate",
    "read_constitution",
    "read_json_file",
    "read_members",
    "write_node",
    "write_service",
]

# The first transaction of the first view. A new node counts itself elected at once, which skips view 1.
FIRST_TXID: Final = TxId(2, 1)


@dataclass(frozen=True)
class Member:
    """A member of the consortium that starts a service; certificate and key in PEM."""

    id: str
    certificate: str
    encryption_key: str | None
    data: Any
    recovery_role: str | None


@dataclass(frozen=True)
class Addresses:
    """Where a node listens, ports filled in.

    Attributes:
        node_to_node: value of ``node_to_node_interface``.
        interfaces: value of ``rpc_interfaces``.
    """

    node_to_node: dict[str, Any]
    interfaces: dict[str, dict[str, Any]]


def _read(path: str, key: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read: {error.strerror}") from error


def _read_text(path: str, key: str) -> str:
    try:
        return _read(path, key).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{key}: {path} is not UTF-8 text") from error


def read_json_file(path: str | None, key: str) -> Any:
    """A JSON file that a configuration names; None if it names none.

    Raises:
        ConfigError: it cannot be read, or is not JSON.
    """
    if path is None:
        return None
    try:
        value = json.loads(_read(path, key))
        # NaN and infinities, which the reader takes, are none of JSON's, and would stand in the ledger.
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{key}: {path} is not JSON: {error}") from error
    return value


def read_constitution(files: tuple[str, ...]) -> str:
    """The constitution: the files' text, one line break between each two.

    Raises:
        ConfigError: a file cannot be read, or is not UTF-8.
    """
    return "\n".join(_read_text(path, "command.start.constitution_files") for path in files)


def read_certificate(path: str, key: str) -> str:
    """A PEM certificate that a configuration names.

    Raises:
        ConfigError: it cannot be read, or is no certificate.
    """
    text = _read_text(path, key)
    try:
        x509.load_pem_x509_certificate(text.encode())
    except ValueError as error:
        raise ConfigError(f"{key}: {path} holds no certificate") from error
    return text


def _read_member(member: InitialMember, key: str) -> Member:
    certificate = read_certificate(member.certificate_file, f"{key}.certificate_file")
    der = x509.load_pem_x509_certificate(certificate.encode()).public_bytes(Encoding.DER)
    encryption_key = None
    if member.encryption_public_key_file is not None:
        encryption_key = _read_text(member.encryption_public_key_file, f"{key}.encryption_public_key_file")
        try:
            read_encryption_key(encryption_key)
        except FormatError as error:
            raise ConfigError(
                f"{key}.encryption_public_key_file: {member.encryption_public_key_file}: {error.message}"
            ) from error
    data = read_json_file(member.data_json_file, f"{key}.data_json_file")
    return Member(hashlib.sha256(der).hexdigest(), certificate, encryption_key, data, member.recovery_role)


def read_members(options: StartOptions) -> list[Member]:
    """The members' files, read and checked.

    Raises:
        ConfigError: a file cannot be read or holds something else, or two members are the same.
    """
    members = [_read_member(member, f"command.start.members[{i}]") for i, member in enumerate(options.members)]
    if len({member.id for member in members}) < len(members):
        raise ConfigError("command.start.members: the same certificate is there twice")
    return members


def _write_member(tx: NodeTransaction, member: Member) -> None:
    key = member.id.encode()
    info: dict[str, Any] = {"status": "Accepted"}
    if member.data is not None:
        info["member_data"] = member.data
    if member.recovery_role is not None:
        info["recovery_role"] = member.recovery_role
    tx.set(tables.MEMBERS_CERTS, key, member.certificate.encode())
    if member.encryption_key is not None:
        tx.set(tables.MEMBERS_KEYS, key, member.encryption_key.encode())
    tables.put_json(tx, tables.MEMBERS_INFO, info, key)
    tables.put_json(tx, tables.MEMBERS_ACKS, {"state_digest": ""}, key)


def _service_config(configuration: ServiceConfiguration) -> dict[str, Any]:
    value: dict[str, Any] = {
        "maximum_node_certificate_validity_days": configuration.maximum_node_certificate_validity_days,
        "maximum_service_certificate_validity_days": configuration.maximum_service_certificate_validity_days,
        "recovery_threshold": configuration.recovery_threshold,
    }
    for key in ("recent_cose_proposals_window_size", "reconfiguration_type", "consensus"):
        if (given := getattr(configuration, key)) is not None:
            value[key] = given
    return value


def write_service(
    tx: NodeTransaction,
    *,
    certificate: str,
    constitution: str,
    members: list[Member],
    configuration: ServiceConfiguration,
    service_data: Any,
) -> None:
    """Writes a new service that nobody has opened yet.

    Args:
        certificate: the service's, PEM.
        constitution: JavaScript source.
        service_data: any JSON value, None for none.
    """
    for member in members:
        _write_member(tx, member)
    info: dict[str, Any] = {
        "cert": certificate,
        "current_service_create_txid": str(FIRST_TXID),
        "recovery_count": 0,
        "status": ServiceStatus.OPENING.value,
    }
    if service_data is not None:
        info["service_data"] = service_data
    tables.put_json(tx, tables.CONSTITUTION, constitution)
    tables.put_json(tx, tables.SERVICE_CONFIG, _service_config(configuration))
    tables.put_json(tx, tables.SERVICE_INFO, info)


def write_node(
    tx: NodeTransaction,
    config: NodeConfig,
    keys: NodeKeys,
    addresses: Addresses,
    *,
    signing_request: str,
    endorsed_certificate: str,
    evidence: NodeEvidence,
    node_data: Any,
) -> None:
    """Writes the node itself as trusted, with its certificate and the rows that make its evidence acceptable."""
    bind_host, bind_port = split_address(addresses.node_to_node["bind_address"]) or ("", 0)
    # Clients of the first version of this record know one interface only: the first by name.
    first = addresses.interfaces[next(iter(config.interfaces))]
    rpc_host, rpc_port = split_address(first["bind_address"]) or ("", 0)
    public_host, public_port = split_address(first["published_address"]) or ("", 0)
    info: dict[str, Any] = {
        "certificate_signing_request": signing_request,
        "code_digest": evidence.measurement,
        "encryption_pub_key": keys.encryption_pem,
        "node_to_node_interface": addresses.node_to_node,
        "nodehost": bind_host,
        "nodeport": str(bind_port),
        "pubhost": public_host,
        "pubport": str(public_port),
        "public_key": keys.identity.public_pem,
        "quote_info": evidence.quote_info(),
        "rpc_interfaces": addresses.interfaces,
        "rpchost": rpc_host,
        "rpcport": str(rpc_port),
        "status": NodeStatus.TRUSTED.value,
    }
    if node_data is not None:
        info["node_data"] = node_data
    key = keys.node_id.encode()
    tables.put_json(tx, tables.NODES_INFO, info, key)
    tx.set(tables.NODES_ENDORSED, key, endorsed_certificate.encode())
    for table, rows in evidence.trusting_rows.items():
        for row, value in rows.items():
            tx.set(table, row, value)
