"""``/node/network…``, ``/node/consensus``, ``/node/config``: the service and its nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tallystick.node.http.context import Context, Reply
from tallystick.node.http.errors import Code, HttpError
from tallystick.node.http.openapi import describe
from tallystick.node.http.registry import Endpoint, Registry
from tallystick.node.state import NodeStatus
from tallystick.node.tables import (
    NODES_ENDORSED,
    NODES_INFO,
    PREVIOUS_IDENTITY,
    SERVICE_CONFIG,
    SERVICE_INFO,
    SINGLETON,
)

__all__ = ["add_network_endpoints"]


def add_network_endpoints(registry: Registry) -> None:
    """Installs them in the registry of ``/node``."""
    nodes_query = [("host", "string", False), ("port", "string", False), ("status", "string", False)]
    node = describe("A node", schema="GetNode__NodeInfo")
    registry.add(_read("/network", network, describe("The service", schema="GetNetworkInfo__Out")))
    registry.add(
        _read(
            "/service/previous_identity",
            previous_identity,
            describe("The service before its recovery", schema="GetServicePreviousIdentity__Out"),
        )
    )
    registry.add(
        _read(
            "/service/configuration",
            service_configuration,
            describe("The service's configuration", schema="ServiceConfiguration"),
            local=True,
        )
    )
    registry.add(_read("/network/nodes", list_nodes, describe("Its nodes", schema="GetNodes__Out", query=nodes_query)))
    registry.add(_read("/network/nodes/self", own_node, node, local=True))
    registry.add(_read("/network/nodes/primary", primary_node, node))
    registry.add(_read("/network/nodes/{node_id}", one_node, node))
    registry.add(
        Endpoint(
            "DELETE", "/network/nodes/{node_id}", delete_node, openapi=describe("Forgets a node", schema="boolean")
        )
    )
    registry.add(
        _read(
            "/network/removable_nodes",
            removable_nodes,
            describe("Nodes that have retired for good", schema="GetNodes__Out"),
        )
    )
    registry.add(
        _plain("/config", configuration, describe("The nodes in consensus", schema="string_to_ConsensusNodeConfig"))
    )
    registry.add(_plain("/consensus", consensus, describe("The state of consensus", schema="ConsensusConfigDetails")))


def _read(path: str, handler: Any, openapi: dict[str, Any], *, local: bool = False) -> Endpoint:
    return Endpoint("GET", path, handler, mode="readonly", openapi=openapi, local=local)


def _plain(path: str, handler: Any, openapi: dict[str, Any]) -> Endpoint:
    return Endpoint("GET", path, handler, mode="none", openapi=openapi, local=True)


# ------------------------------------------------------------------------------------------------ service


def network(context: Context) -> Reply:
    """``GET /node/network``."""
    row = context.tx.get(SERVICE_INFO, SINGLETON)
    if row is None:
        raise HttpError(404, Code.RESOURCE_NOT_FOUND, "Service state not available.")
    service = json.loads(row)
    return Reply.json(
        {
            "service_status": service["status"],
            "service_certificate": service["cert"],
            "recovery_count": service.get("recovery_count", 0),
            "service_data": service.get("service_data"),
            "current_service_create_txid": service.get("current_service_create_txid"),
            "current_view": current_view(context),
            "primary_id": context.node.node_id,
        }
    )


def previous_identity(context: Context) -> Reply:
    """``GET /node/service/previous_identity``."""
    row = context.tx.get(PREVIOUS_IDENTITY, SINGLETON)
    if row is None:
        raise HttpError(404, Code.RESOURCE_NOT_FOUND, "This service is not a recovery of a previous service.")
    return Reply.json({"previous_service_identity": json.loads(row)})


def service_configuration(context: Context) -> Reply:
    """``GET /node/service/configuration``: the row as it stands."""
    row = context.tx.get(SERVICE_CONFIG, SINGLETON)
    if row is None:
        raise HttpError(404, Code.RESOURCE_NOT_FOUND, "Service configuration is not yet available.")
    return Reply.json(json.loads(row))


# -------------------------------------------------------------------------------------------------- nodes


def list_nodes(context: Context) -> Reply:
    """``GET /node/network/nodes``, filtered by published address and status."""
    host, port, status = (context.query.get(name) for name in ("host", "port", "status"))
    if status is not None and status not in set(NodeStatus):
        raise HttpError(
            400, Code.INVALID_QUERY_PARAMETER_VALUE, f"Query parameter '{status[:64]}' is not a valid node status"
        )
    found = [
        node
        for node in _nodes(context)
        if (status is None or node["status"] == status) and _has_address(node["rpc_interfaces"], host, port)
    ]
    return Reply.json({"nodes": found})


def one_node(context: Context) -> Reply:
    """``GET /node/network/nodes/{node_id}``."""
    return Reply.json(_node(context, context.parameter("node_id")))


def own_node(context: Context) -> Reply:
    """``GET /node/network/nodes/self``; from the configuration while the service does not know the node yet."""
    node = context.node
    if context.tx.get(NODES_INFO, node.node_id.encode()) is None:
        return Reply.json(
            {
                "node_id": node.node_id,
                "status": str(NodeStatus.PENDING),
                "primary": False,
                "rpc_interfaces": {name: interface.raw for name, interface in node.config.interfaces.items()},
                "node_data": None,
                "last_written": 0,
            }
        )
    return Reply.json(_node(context, node.node_id))


def primary_node(context: Context) -> Reply:
    """``GET /node/network/nodes/primary``."""
    return Reply.json(_node(context, context.node.node_id))


def removable_nodes(context: Context) -> Reply:
    """``GET /node/network/removable_nodes``: nodes whose retirement is committed, and the record of that as well."""
    committed = context.node.runtime.committed[1]
    rows = sorted(context.tx.entries(NODES_INFO))
    found = [
        _describe(context, key, info)
        for key, info in ((key, json.loads(value)) for key, value in rows)
        if _is_removable(context, key, info, committed)
    ]
    return Reply.json({"nodes": found})


def delete_node(context: Context) -> Reply:
    """``DELETE /node/network/nodes/{node_id}``."""
    node_id = context.parameter("node_id")
    key = node_id.encode()
    row = context.tx.get(NODES_INFO, key)
    if row is None:
        raise HttpError(404, Code.RESOURCE_NOT_FOUND, "No such node")
    if not _is_removable(context, key, json.loads(row), context.node.runtime.committed[1]):
        raise HttpError(400, Code.NODE_NOT_RETIRED_COMMITTED, "Node is not completely retired")
    context.tx.remove(NODES_INFO, key)
    context.tx.remove(NODES_ENDORSED, key)
    return Reply.json(True)


def _is_removable(context: Context, key: bytes, info: dict[str, Any], committed: int) -> bool:
    if info["status"] != NodeStatus.RETIRED or not info.get("retired_committed"):
        return False
    version = context.tx.version_of_previous_write(NODES_INFO, key)
    return version is not None and version <= committed


def _nodes(context: Context) -> Iterator[dict[str, Any]]:
    for key, value in sorted(context.tx.entries(NODES_INFO)):
        yield _describe(context, key, json.loads(value))


def _node(context: Context, node_id: str) -> dict[str, Any]:
    row = context.tx.get(NODES_INFO, node_id.encode())
    if row is None:
        raise HttpError(404, Code.RESOURCE_NOT_FOUND, "Node not found")
    return _describe(context, node_id.encode(), json.loads(row))


def _describe(context: Context, key: bytes, info: dict[str, Any]) -> dict[str, Any]:
    node_id = key.decode()
    return {
        "node_id": node_id,
        "status": info["status"],
        "primary": node_id == context.node.node_id,
        "rpc_interfaces": info.get("rpc_interfaces", {}),
        "node_data": info.get("node_data"),
        "last_written": context.tx.version_of_previous_write(NODES_INFO, key) or 0,
    }


def _has_address(interfaces: dict[str, Any], host: str | None, port: str | None) -> bool:
    if host is None and port is None:
        return True
    for interface in interfaces.values():
        name, _, number = str(interface.get("published_address", "")).rpartition(":")
        if (host is None or name.strip("[]") == host) and (port is None or number == port):
            return True
    return False


# ---------------------------------------------------------------------------------------------- consensus


def current_view(context: Context) -> int:
    """The view in which this node executes."""
    return len(context.node.runtime.view_history())


def _node_address(context: Context) -> str:
    """``host:port`` for other nodes, the port filled in once it is known."""
    node = context.node
    bound = {} if node.addresses is None else node.addresses.node_to_node
    address: str = bound.get("published_address") or node.config.node_to_node_published
    return address


def configuration(context: Context) -> Reply:
    """``GET /node/config``."""
    return Reply.json({context.node.node_id: {"address": _node_address(context)}})


def consensus(context: Context) -> Reply:
    """``GET /node/consensus``: one node, which is its own primary from the transaction that created the service."""
    node = context.node
    created = 1 if node.create_txid is None else node.create_txid.seqno
    return Reply.json(
        {
            "details": {
                "acks": {},
                "configs": [
                    {
                        "idx": created,
                        "rid": created,
                        "nodes": {node.node_id: {"address": _node_address(context)}},
                    }
                ],
                "current_view": current_view(context),
                "leadership_state": "Leader",
                "membership_state": "Active",
                "primary_id": node.node_id,
                "reconfiguration_type": "OneTransaction",
                "ticking": True,
            }
        }
    )
