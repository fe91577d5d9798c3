"""``/node/state``, ``/node/version``, ``/node/metrics`` and the like: how this node is."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tallystick import __version__
from tallystick.node.http.authentication import NodeCertificatePolicy
from tallystick.node.http.context import Context, Reply
from tallystick.node.http.errors import Code, HttpError
from tallystick.node.http.openapi import describe
from tallystick.node.http.registry import Endpoint, Registry
from tallystick.node.indexing import Indexer
from tallystick.node.tables import COSE_SIGNATURES, SIGNATURES, SINGLETON

__all__ = ["CCF_VERSION", "add_status_endpoints"]

CCF_VERSION: Final = "7.0.0"
"""The version of CCF whose interface this is."""

QUICKJS_VERSION: Final = "quickjs-ng-0.16.2"
"""The JavaScript engine. A test holds this to the version of the crate that brings it."""

_BYTECODE: Final = "public:ccf.gov.modules_quickjs_bytecode"
_RUNTIME_OPTIONS: Final = "public:ccf.gov.js_runtime_options"

# Limits of applications that set none of their own, as in CCF: bytes, bytes, milliseconds, interpreters.
_DEFAULT_HEAP: Final = 100 << 20
_DEFAULT_STACK: Final = 1 << 20
_DEFAULT_TIME: Final = 5000
_DEFAULT_INTERPRETERS: Final = 10

_NO_LIMIT: Final = 2**64 - 1
_PAGE: Final = resource.getpagesize()

Metrics = Callable[[], dict[str, int]]


def add_status_endpoints(
    registry: Registry, indexer: Indexer, jwt_metrics: Metrics, refresh_jwt: Callable[[], None]
) -> None:
    """Installs them in the registry of ``/node``.

    Args:
        registry: that of ``/node``.
        indexer: whose indexes ``/node/index/strategies`` lists.
        jwt_metrics: counts attempts, successes and failures of the refresh of JWT keys.
        refresh_jwt: refreshes JWT keys now; raises if it fails.
    """

    def strategies(_: Context) -> Reply:
        return Reply.json(indexer.describe())

    def refresh_metrics(_: Context) -> Reply:
        counts = jwt_metrics()
        return Reply.json({name: counts[name] for name in ("attempts", "successes", "failures")})

    def refresh(context: Context) -> Reply:
        if context.identified.id != context.node.node_id:
            raise HttpError(500, Code.INTERNAL_ERROR, "Only the primary may refresh JWT keys.")
        refresh_jwt()
        return Reply.json(True)

    ready = describe("Whether the frontend is open", status=204)
    role = describe("Whether this node is the primary")
    for path, handler, openapi in (
        ("/version", version, describe("Versions", schema="GetVersion__Out")),
        (
            "/self_signed_certificate",
            self_signed_certificate,
            describe("This node's own certificate", schema="SelfSignedNodeCertificateInfo"),
        ),
        ("/metrics", metrics, describe("Sessions", schema="NodeMetrics")),
        ("/memory", memory, describe("Memory", schema="MemoryUsage__Out")),
        ("/index/strategies", strategies, describe("Indexes", schema="json")),
        ("/ready/app", ready_app, ready),
        ("/ready/gov", ready_gov, ready),
        ("/primary", primary, role),
        ("/backup", backup, describe("Whether this node is a backup")),
    ):
        registry.add(Endpoint("GET", path, handler, mode="none", local=True, openapi=openapi))
    registry.add(Endpoint("HEAD", "/primary", primary, mode="none", local=True, openapi=role))
    described = describe("This node", schema="GetState__Out")
    registry.add(Endpoint("GET", "/state", state, mode="readonly", local=True, openapi=described))
    described = describe("Limits of JavaScript", schema="JavaScriptMetrics")
    registry.add(Endpoint("GET", "/js_metrics", js_metrics, mode="readonly", openapi=described))
    described = describe("Refreshes of JWT keys", schema="JWTRefreshMetrics")
    registry.add(Endpoint("GET", "/jwt_keys/refresh/metrics", refresh_metrics, mode="none", openapi=described))
    # What nodes say to each other and to themselves is nobody else's business, so it is not in the document.
    by_node = (NodeCertificatePolicy(),)
    registry.add(Endpoint("POST", "/jwt_keys/refresh", refresh, policies=by_node, openapi=None))
    registry.add(
        Endpoint("POST", "/network/nodes/set_retired_committed", set_retired_committed, policies=by_node, openapi=None)
    )
    registry.add(Endpoint("POST", "/join", join, mode="none", local=True, openapi=None))
    registry.add(Endpoint("POST", "/create", create, mode="none", local=True, openapi=None))


def state(context: Context) -> Reply:
    """``GET /node/state``. Its transaction ID is that of the latest transaction, which clients rely on."""
    node = context.node
    versions = [context.tx.version_of_previous_write(table, SINGLETON) for table in (SIGNATURES, COSE_SIGNATURES)]
    answer: dict[str, Any] = {
        "node_id": node.node_id,
        "state": str(node.state),
        "last_signed_seqno": max(version or 0 for version in versions),
        "startup_seqno": node.startup_seqno,
        "stop_notice": node.stop_notice,
    }
    return Reply.json(answer)


def version(_: Context) -> Reply:
    """``GET /node/version``."""
    return Reply.json(
        {
            "ccf_version": f"ccf-{CCF_VERSION}-tallystick-{__version__}",
            "quickjs_version": QUICKJS_VERSION,
            "unsafe": False,
        }
    )


def self_signed_certificate(context: Context) -> Reply:
    """``GET /node/self_signed_certificate``."""
    return Reply.json({"self_signed_certificate": context.node.self_signed_certificate})


def metrics(context: Context) -> Reply:
    """``GET /node/metrics``: sessions, by interface.

    The peak over all interfaces is what is known of it: their own peaks may lie at different times, so it is the
    largest of them, or what is open now if that is more.
    """
    configured = context.node.config.interfaces
    interfaces: dict[str, Any] = {}
    total_active = total_peak = 0
    for name, active, peak, parsing, payload, header in context.node.runtime.session_counters():
        total_active += active
        total_peak = max(total_peak, peak)
        interfaces[name] = {
            "active": active,
            "peak": peak,
            "soft_cap": configured[name].max_open_sessions_soft,
            "hard_cap": configured[name].max_open_sessions_hard,
            "errors": {
                "parsing": parsing,
                "request_payload_too_large": payload,
                "request_header_too_large": header,
            },
        }
    return Reply.json(
        {"sessions": {"active": total_active, "peak": max(total_peak, total_active), "interfaces": interfaces}}
    )


def memory(_: Context) -> Reply:
    """``GET /node/memory``, in bytes: what the process may use, uses, and has used at most."""
    limit, _hard = resource.getrlimit(resource.RLIMIT_AS)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return Reply.json(
        {
            "max_total_heap_size": _NO_LIMIT if limit == resource.RLIM_INFINITY else limit,
            "current_allocated_heap_size": resident,
            "peak_allocated_heap_size": max(peak, resident),
        }
    )


def js_metrics(context: Context) -> Reply:
    """``GET /node/js_metrics``: what the application's interpreters may use."""
    compiled = [len(value) for _, value in context.tx.entries(_BYTECODE)]
    row = context.tx.get(_RUNTIME_OPTIONS, SINGLETON)
    options = {} if row is None else json.loads(row)
    return Reply.json(
        {
            "bytecode_size": sum(compiled),
            "bytecode_used": bool(compiled),
            "max_heap_size": options.get("max_heap_bytes", _DEFAULT_HEAP),
            "max_stack_size": options.get("max_stack_bytes", _DEFAULT_STACK),
            "max_execution_time": options.get("max_execution_time_ms", _DEFAULT_TIME),
            "max_cached_interpreters": options.get("max_cached_interpreters", _DEFAULT_INTERPRETERS),
        }
    )


def ready_app(context: Context) -> Reply:
    """``GET /node/ready/app``."""
    return _ready(context, open_now=context.node.app_open)


def ready_gov(context: Context) -> Reply:
    """``GET /node/ready/gov``."""
    return _ready(context, open_now=context.node.gov_open)


def _ready(context: Context, *, open_now: bool) -> Reply:
    return Reply(204 if open_now and not context.node.stop_notice else 503)


def primary(_: Context) -> Reply:
    """``GET`` and ``HEAD /node/primary``: one node is always its own primary."""
    return Reply(200)


def backup(_: Context) -> Reply:
    """``GET /node/backup``."""
    raise HttpError(404, Code.RESOURCE_NOT_FOUND, "Node is not backup")


def join(_: Context) -> Reply:
    """``POST /node/join``."""
    raise HttpError(
        501, Code.NOT_IMPLEMENTED, "This service runs on one node: it does not replicate yet, so no other can join."
    )


def create(_: Context) -> Reply:
    """``POST /node/create``: in CCF a request that a node makes to itself, once. This node has no use for it."""
    raise HttpError(403, Code.INTERNAL_ERROR, "Node is not in initial state.")


def set_retired_committed(_: Context) -> Reply:
    """``POST /node/network/nodes/set_retired_committed``."""
    raise HttpError(
        501, Code.NOT_IMPLEMENTED, "This service runs on one node: no node of it can retire, so none is recorded."
    )
