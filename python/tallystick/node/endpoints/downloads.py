"""``/node/snapshot…`` and ``/node/ledger-chunk…``: files to download.

A request without a name is answered with 308 to the file that is meant. What is served is committed and never
changes under its name, and it is what the service shows anybody: private data in it is encrypted.
"""

from __future__ import annotations

from pathlib import Path

from tallystick.ledger.directory import parse_chunk_name
from tallystick.node.http.context import Context, Reply
from tallystick.node.http.errors import Code, HttpError
from tallystick.node.http.files import serve_file
from tallystick.node.http.openapi import describe
from tallystick.node.http.query import integer_parameter
from tallystick.node.http.registry import Endpoint, Registry
from tallystick.node.snapshots import latest_committed
from tallystick.snapshot.model import parse_snapshot_name

__all__ = ["add_download_endpoints"]

SNAPSHOT_FEATURE = "SnapshotRead"
CHUNK_FEATURE = "LedgerChunkRead"
SNAPSHOT_NAME = "x-ms-ccf-snapshot-name"
CHUNK_NAME = "x-ms-ccf-ledger-chunk-name"


def add_download_endpoints(registry: Registry, snapshots: Path) -> None:
    """Installs them in the registry of ``/node``.

    Args:
        registry: that of ``/node``.
        snapshots: directory of the node's snapshots.
    """

    def find_snapshot(context: Context) -> Reply:
        since = integer_parameter(context.query, "since") or 0
        found = latest_committed(snapshots, since)
        if found is None:
            raise HttpError(404, Code.RESOURCE_NOT_FOUND, f"This node has no committed snapshots since {since}")
        return _redirect(context, f"/node/snapshot/{found.name}")

    def snapshot(context: Context) -> Reply:
        name = context.parameter("snapshot_name")
        parsed = parse_snapshot_name(name)
        path = snapshots / name
        # The name decides what is a snapshot: nothing else in that directory, or beside it, is for anybody.
        if parsed is None or not parsed.committed or not path.is_file():
            raise HttpError(404, Code.RESOURCE_NOT_FOUND, f"This node does not have a snapshot named {name[:128]}")
        return serve_file(context, path, (SNAPSHOT_NAME, name), snapshot=True)

    since = [("since", "uint64", False)]
    required = [("since", "uint64", True)]
    for method in ("HEAD", "GET"):
        registry.add(
            Endpoint(
                method,
                "/snapshot",
                find_snapshot,
                mode="none",
                local=True,
                feature=SNAPSHOT_FEATURE,
                openapi=describe("Where the latest snapshot is", query=since, status=308),
            )
        )
        registry.add(
            Endpoint(
                method,
                "/snapshot/{snapshot_name}",
                snapshot,
                mode="none",
                local=True,
                feature=SNAPSHOT_FEATURE,
                openapi=describe("A snapshot, or a range of it", status=200 if method == "HEAD" else 206),
            )
        )
        registry.add(
            Endpoint(
                method,
                "/ledger-chunk",
                find_chunk,
                mode="none",
                local=True,
                feature=CHUNK_FEATURE,
                openapi=describe("Where the ledger chunk with a seqno is", query=required, status=308),
            )
        )
        registry.add(
            Endpoint(
                method,
                "/ledger-chunk/{chunk_name}",
                chunk,
                mode="none",
                local=True,
                feature=CHUNK_FEATURE,
                openapi=describe("A ledger chunk, or a range of it"),
            )
        )


def find_chunk(context: Context) -> Reply:
    """``GET`` and ``HEAD /node/ledger-chunk``."""
    since = integer_parameter(context.query, "since")
    if since is None:
        raise HttpError(400, Code.INVALID_QUERY_PARAMETER_VALUE, "Missing required query parameter 'since'")
    for first, last, path in context.node.runtime.committed_chunks():
        if first <= since <= last:
            return _redirect(context, f"/node/ledger-chunk/{Path(path).name}")
    raise HttpError(404, Code.RESOURCE_NOT_FOUND, f"This node has no ledger chunk including index {since}")


def chunk(context: Context) -> Reply:
    """``GET`` and ``HEAD /node/ledger-chunk/{chunk_name}``."""
    name = context.parameter("chunk_name")
    parsed = parse_chunk_name(name)
    if parsed is not None and parsed.committed:
        for _, _, path in context.node.runtime.committed_chunks():
            if Path(path).name == name:
                return serve_file(context, Path(path), (CHUNK_NAME, name), snapshot=False)
    raise HttpError(404, Code.RESOURCE_NOT_FOUND, f"This node does not have a ledger chunk named {name[:128]}")


def _redirect(context: Context, path: str) -> Reply:
    scheme = "http" if context.interface.unsecured else "https"
    return Reply(308, (("location", f"{scheme}://{context.published_address}{path}"),))
