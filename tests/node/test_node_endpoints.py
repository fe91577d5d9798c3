"""What a node says of itself and of its service, in CCF's shapes."""

import json
import re
from types import SimpleNamespace

import pytest

from support.bare_node import ADDRESS, INTERFACE
from tallystick.node.endpoints.status import metrics
from tallystick.node.state import NodeState
from tallystick.node.tables import NODES_INFO, PREVIOUS_IDENTITY, SERVICE_INFO, SINGLETON, json_bytes


def test_state(node):
    node.commit(node.write({"public:x": {b"k": b"v"}}))
    answer = node.get("/node/state")
    assert answer.json == {
        "last_signed_seqno": node.runtime.last_signature,
        "node_id": node.node_id,
        "startup_seqno": 0,
        "state": "PartOfNetwork",
        "stop_notice": False,
    }
    assert answer.txid == f"2.{node.runtime.last_seqno}"


def test_state_before_the_network(node):
    node.state = NodeState.PENDING
    node.stop_notice = True
    assert node.get("/node/state").json["state"] == "Pending"
    assert node.get("/node/state").json["stop_notice"] is True


def test_network(node):
    assert node.get("/node/network").json == {
        "current_service_create_txid": "2.1",
        "current_view": 2,
        "primary_id": node.node_id,
        "recovery_count": 0,
        "service_certificate": node.service.certificate,
        "service_data": None,
        "service_status": "Opening",
    }


def test_no_network(node):
    node.write({SERVICE_INFO: {SINGLETON: None}})
    assert node.get("/node/network").error == (404, "ResourceNotFound")


def test_previous_identity(node):
    assert node.get("/node/service/previous_identity").error == (404, "ResourceNotFound")
    node.write({PREVIOUS_IDENTITY: {SINGLETON: json_bytes("PEM")}})
    assert node.get("/node/service/previous_identity").json == {"previous_service_identity": "PEM"}


def test_service_configuration(node):
    answer = node.get("/node/service/configuration")
    assert (answer.json, answer.txid) == ({"recovery_threshold": 1}, f"2.{node.runtime.last_seqno}")


@pytest.mark.parametrize("target", ["self", "primary", "{id}"])
def test_one_node(node, target):
    answer = node.get(f"/node/network/nodes/{target.format(id=node.node_id)}")
    assert answer.json == {
        "last_written": 1,
        "node_data": None,
        "node_id": node.node_id,
        "primary": True,
        "rpc_interfaces": {INTERFACE: {"bind_address": ADDRESS, "published_address": ADDRESS}},
        "status": "Trusted",
    }
    assert answer.txid is not None


def test_unknown_node(node):
    answer = node.get("/node/network/nodes/0123")
    assert (answer.error, answer.json["error"]["message"]) == ((404, "ResourceNotFound"), "Node not found")


def test_own_node_before_the_service_knows_it(node):
    node.write({NODES_INFO: {node.node_id.encode(): None}})
    answer = node.get("/node/network/nodes/self").json
    assert (answer["status"], answer["last_written"], answer["primary"]) == ("Pending", 0, False)
    assert answer["rpc_interfaces"][INTERFACE]["bind_address"] == ADDRESS


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 2),
        ("?status=Trusted", 1),
        ("?status=Retired", 1),
        ("?status=Pending", 0),
        ("?host=127.0.0.1", 1),
        ("?host=127.0.0.1&port=8000", 1),
        ("?port=1", 0),
        ("?host=elsewhere", 0),
    ],
)
def test_nodes_by_address_and_status(node, query, found):
    node.write({NODES_INFO: {b"a" * 64: json_bytes({"status": "Retired", "rpc_interfaces": {}})}})
    assert len(node.get(f"/node/network/nodes{query}").json["nodes"]) == found


def test_no_such_status(node):
    assert node.get("/node/network/nodes?status=Lost").error == (400, "InvalidQueryParameterValue")


def test_nodes_that_have_retired_for_good_can_be_forgotten(node):
    key = b"a" * 64
    target = f"/node/network/nodes/{key.decode()}"
    retired = {"status": "Retired", "rpc_interfaces": {}}
    node.commit(node.write({NODES_INFO: {key: json_bytes(retired)}}))
    assert node.get("/node/network/removable_nodes").json == {"nodes": []}
    assert node.ask("DELETE", target).error == (400, "NodeNotRetiredCommitted")
    node.commit(node.write({NODES_INFO: {key: json_bytes({**retired, "retired_committed": True})}}))
    [removable] = node.get("/node/network/removable_nodes").json["nodes"]
    assert removable["node_id"] == key.decode()
    answer = node.ask("DELETE", target)
    assert (answer.status, answer.json) == (200, True)
    assert node.ask("DELETE", target).error == (404, "ResourceNotFound")


def test_consensus(node):
    details = node.get("/node/consensus").json["details"]
    assert details["primary_id"] == node.node_id
    assert details["configs"] == [{"idx": 1, "nodes": {node.node_id: {"address": "127.0.0.1:8001"}}, "rid": 1}]
    assert (details["current_view"], details["leadership_state"], details["ticking"]) == (2, "Leader", True)
    assert node.get("/node/config").json == {node.node_id: {"address": "127.0.0.1:8001"}}


@pytest.mark.parametrize("kind", ["quotes", "attestations"])
def test_evidence(node, kind):
    node.write({NODES_INFO: {b"a" * 64: json_bytes({"status": "Pending", "quote_info": {}})}})
    [one] = node.get(f"/node/{kind}").json[kind]
    assert one == node.get(f"/node/{kind}/self").json
    assert (one["node_id"], one["format"], one["measurement"]) == (node.node_id, "Insecure_Virtual", b"m".hex())


def test_no_evidence(node):
    node.write({NODES_INFO: {node.node_id.encode(): None}})
    assert node.get("/node/quotes/self").error == (404, "ResourceNotFound")


def test_metrics(node):
    node.runtime.set_identity("s", node.self_signed_certificate, node.keys.identity.private_pem)
    node.runtime.serve([(INTERFACE, "127.0.0.1:0", "HTTP1", "s", {})], node.dispatcher, 1)
    sessions = node.get("/node/metrics").json["sessions"]
    errors = {"parsing": 0, "request_header_too_large": 0, "request_payload_too_large": 0}
    one = {"active": 0, "errors": errors, "hard_cap": 1010, "peak": 0, "soft_cap": 1000}
    assert sessions == {"active": 0, "interfaces": {INTERFACE: one}, "peak": 0}


def test_peaks_of_interfaces_do_not_add_up(node, monkeypatch):
    two = SimpleNamespace(max_open_sessions_soft=1, max_open_sessions_hard=2)
    monkeypatch.setattr(node.config, "interfaces", {"a": two, "b": two})
    seen = [("a", 1, 5, 0, 0, 0), ("b", 2, 3, 0, 0, 0)]
    context = SimpleNamespace(node=SimpleNamespace(config=node.config, runtime=SimpleNamespace()))
    context.node.runtime.session_counters = lambda: seen
    assert json.loads(metrics(context).body)["sessions"]["peak"] == 5
    seen[0] = ("a", 4, 5, 0, 0, 0)
    assert json.loads(metrics(context).body)["sessions"]["peak"] == 6


def test_memory(node):
    memory = node.get("/node/memory").json
    assert 0 < memory["current_allocated_heap_size"] <= memory["peak_allocated_heap_size"]
    assert memory["max_total_heap_size"] >= memory["peak_allocated_heap_size"]


def test_limits_of_javascript(node):
    assert node.get("/node/js_metrics").json == {
        "bytecode_size": 0,
        "bytecode_used": False,
        "max_cached_interpreters": 10,
        "max_execution_time": 5000,
        "max_heap_size": 100 << 20,
        "max_stack_size": 1 << 20,
    }
    options = {"max_heap_bytes": 1, "max_stack_bytes": 2, "max_execution_time_ms": 3, "max_cached_interpreters": 4}
    node.write({"public:ccf.gov.js_runtime_options": {SINGLETON: json_bytes(options)}})
    node.write({"public:ccf.gov.modules_quickjs_bytecode": {b"/a.js": b"12345"}})
    assert list(node.get("/node/js_metrics").json.values()) == [5, True, 4, 3, 1, 2]


def test_ready(node):
    assert node.get("/node/ready/app").status == 204
    node.app_open = False
    assert (node.get("/node/ready/app").status, node.get("/node/ready/gov").status) == (503, 204)
    node.stop_notice = True
    assert node.get("/node/ready/gov").status == 503


def test_roles(node):
    assert (node.get("/node/primary").status, node.ask("HEAD", "/node/primary").status) == (200, 200)
    assert node.get("/node/backup").json["error"]["message"] == "Node is not backup"


def test_what_one_node_cannot_do(node):
    assert node.ask("POST", "/node/join", body=b"{}").error == (501, "NotImplemented")
    assert node.ask("POST", "/node/create", body=b"{}").status == 403
    assert node.ask("POST", "/node/network/nodes/set_retired_committed").status == 401
    assert node.ask("POST", "/node/jwt_keys/refresh").status == 401


def test_version_and_certificate(node):
    version = node.get("/node/version").json
    assert sorted(version) == ["ccf_version", "quickjs_version", "unsafe"]
    assert version["ccf_version"].startswith("ccf-7.")
    assert node.get("/node/self_signed_certificate").json == {"self_signed_certificate": node.self_signed_certificate}
    assert node.get("/node/jwt_keys/refresh/metrics").json == {"attempts": 0, "failures": 0, "successes": 0}


def test_the_engine_is_the_one_that_is_built_in(node, repository):
    # The crate bundles the engine and does not tell its version; whoever raises the one looks up the other.
    [crate] = re.findall(r'name = "rquickjs-sys"\nversion = "([^"]+)"', (repository / "Cargo.lock").read_text())
    assert (crate, node.get("/node/version").json["quickjs_version"]) == ("0.14.0", "quickjs-ng-0.16.2")


RECORDED = [
    "attestations", "attestations__self", "config", "consensus", "js_metrics", "jwt_keys__refresh__metrics",
    "memory", "network", "network__nodes", "network__nodes__primary", "network__nodes__self", "quotes",
    "quotes__self", "self_signed_certificate", "state", "version",
]  # fmt: skip
# What depends on the service rather than on the endpoint.
VARYING = {"rpc_interfaces", "nodes.*", "acks", "measurement"}


def shape(value, path=""):
    """The names of all fields, whatever their values."""
    if isinstance(value, dict):
        for key, inner in value.items():
            key = "ID" if len(key) == 64 else key
            yield f"{path}.{key}"
            if key not in VARYING:
                yield from shape(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from shape(inner, f"{path}[]")


@pytest.mark.parametrize("name", RECORDED)
def test_shapes_are_those_of_a_real_node(node, ccf_built, name):
    recorded = ccf_built / "js1" / "api" / "1-open" / f"node__{name}.200"
    answer = node.get(f"/node/{name.replace('__', '/')}")
    assert set(shape(answer.json)) == set(shape(json.loads(recorded.read_text())))
    headers = json.loads(recorded.with_name(f"{recorded.name}.headers.json").read_text())
    assert (answer.txid is not None) == ("x-ms-ccf-transaction-id" in headers)
    assert answer.headers.get("content-type") == headers.get("content-type")
