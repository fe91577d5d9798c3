"""``/node/quotes…`` and ``/node/attestations…``: what the nodes' hardware says of them.

Both paths give the same under different names. The evidence is what the node put into the ledger when it
joined; a client that wants to believe it verifies it, which is the auditor's business.
"""

from __future__ import annotations

import json
from typing import Any

from tallystick.node.http.context import Context, Reply
from tallystick.node.http.errors import Code, HttpError
from tallystick.node.http.openapi import describe
from tallystick.node.http.registry import Endpoint, Registry
from tallystick.node.state import NodeStatus
from tallystick.node.tables import NODES_INFO

__all__ = ["add_attestation_endpoints"]


def add_attestation_endpoints(registry: Registry) -> None:
    """Installs them in the registry of ``/node``."""
    for plural, schema, all_schema in (
        ("quotes", "Quote", "GetQuotes__Out"),
        ("attestations", "Attestation", "GetAttestations__Out"),
    ):

        def everybody(context: Context, name: str = plural) -> Reply:
            rows = sorted(context.tx.entries(NODES_INFO))
            nodes = ((key.decode(), json.loads(value)) for key, value in rows)
            return Reply.json(
                {name: [_evidence(node_id, info) for node_id, info in nodes if info["status"] == NodeStatus.TRUSTED]}
            )

        registry.add(
            Endpoint(
                "GET",
                f"/{plural}",
                everybody,
                mode="readonly",
                openapi=describe("Evidence of all trusted nodes", schema=all_schema),
            )
        )
        registry.add(
            Endpoint(
                "GET",
                f"/{plural}/self",
                own,
                mode="readonly",
                local=True,
                openapi=describe("Evidence of this node", schema=schema),
            )
        )


def own(context: Context) -> Reply:
    """``GET /node/quotes/self`` and ``/node/attestations/self``."""
    node_id = context.node.node_id
    row = context.tx.get(NODES_INFO, node_id.encode())
    if row is None:
        raise HttpError(404, Code.RESOURCE_NOT_FOUND, "Could not find node quote")
    return Reply.json(_evidence(node_id, json.loads(row)))


def _evidence(node_id: str, info: dict[str, Any]) -> dict[str, Any]:
    quote = info["quote_info"]
    found = {
        "node_id": node_id,
        "raw": quote["quote"],
        "endorsements": quote.get("endorsements", ""),
        "format": quote["format"],
    }
    if info.get("code_digest"):
        found["measurement"] = info["code_digest"]
    if quote.get("uvm_endorsements"):
        found["uvm_endorsements"] = quote["uvm_endorsements"]
    return found
