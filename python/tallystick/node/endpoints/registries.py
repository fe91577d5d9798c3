"""The three frontends' registries, with every endpoint that a node has by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tallystick.node.endpoints.attestation import add_attestation_endpoints
from tallystick.node.endpoints.common import add_common_endpoints
from tallystick.node.endpoints.downloads import add_download_endpoints
from tallystick.node.endpoints.network import add_network_endpoints
from tallystick.node.endpoints.status import add_status_endpoints
from tallystick.node.historical import History
from tallystick.node.http.openapi import Description
from tallystick.node.http.registry import Registry
from tallystick.node.indexing import Indexer

__all__ = ["build_registries"]

_DESCRIPTIONS = {
    "node": Description("Node API", "The service and its nodes, open to everybody.", "4.14.0"),
    "gov": Description("Governance API", "Members govern the service; everybody may look.", "4.9.0"),
    "app": Description("Application", "What the application that the members installed offers.", "0.0.1"),
}


def build_registries(
    history: History,
    snapshots: Path,
    *,
    indexer: Indexer,
    jwt_metrics: Callable[[], dict[str, int]],
    refresh_jwt: Callable[[], None],
) -> dict[str, Registry]:
    """Registries of ``/node``, ``/gov`` and ``/app``. Governance adds its own to that of ``/gov``.

    Args:
        history: the node's past.
        snapshots: directory of its snapshots.
        indexer: its indexes.
        jwt_metrics: counts attempts, successes and failures of the refresh of JWT keys.
        refresh_jwt: refreshes JWT keys now.
    """
    registries = {api: Registry(api) for api in _DESCRIPTIONS}
    for api, registry in registries.items():
        add_common_endpoints(registry, history, _DESCRIPTIONS[api])
    node = registries["node"]
    add_network_endpoints(node)
    add_status_endpoints(node, indexer, jwt_metrics, refresh_jwt)
    add_attestation_endpoints(node)
    add_download_endpoints(node, snapshots)
    return registries
