"""Endpoints by path and verb."""

import pytest

from tallystick.node.http.context import Reply
from tallystick.node.http.interfaces import InterfaceRules
from tallystick.node.http.query import parse_query, txid_parameter
from tallystick.node.http.registry import AmbiguousPathError, Endpoint, Registry
from tallystick.types import TxId


def endpoint(method: str, path: str, **options: object) -> Endpoint:
    return Endpoint(method, path, lambda context: Reply(), **options)


REGISTRY = Registry(
    "node",
    [
        endpoint("GET", "/nodes/self"),
        endpoint("GET", "/nodes/{node_id}"),
        endpoint("DELETE", "/nodes/{node_id}"),
        endpoint("POST", "/digests/{memberId}:ack"),
        endpoint("POST", "/proposals/{id}/ballots/{memberId}:submit"),
    ],
)


@pytest.mark.parametrize(
    ("method", "path", "template", "parameters"),
    [
        ("GET", "/nodes/self", "/nodes/self", {}),
        ("GET", "/nodes/abc", "/nodes/{node_id}", {"node_id": "abc"}),
        ("GET", "/nodes/a%2Fb", "/nodes/{node_id}", {"node_id": "a%2Fb"}),
        ("POST", "/digests/m:ack", "/digests/{memberId}:ack", {"memberId": "m"}),
        (
            "POST",
            "/proposals/p/ballots/m:submit",
            "/proposals/{id}/ballots/{memberId}:submit",
            {"id": "p", "memberId": "m"},
        ),
    ],
)
def test_finds(method, path, template, parameters):
    found = REGISTRY.find(method, path)
    assert found is not None
    assert (found.endpoint.path_template, dict(found.parameters)) == (template, parameters)


@pytest.mark.parametrize("path", ["/nodes/", "/nodes/a/b", "/digests/a:b:ack", "/digests/:ack", "/nodes", ""])
def test_finds_nothing(path):
    assert REGISTRY.find("GET", path) is None
    assert REGISTRY.find("POST", path) is None


def test_verbs_in_order():
    assert REGISTRY.allowed("/nodes/abc") == ["DELETE", "GET"]
    assert REGISTRY.allowed("/nodes/self") == ["DELETE", "GET"]
    assert REGISTRY.allowed("/none") == []


def test_two_templates_for_one_path_are_reported():
    registry = Registry("app", [endpoint("GET", "/{a}/x", api="app"), endpoint("GET", "/y/{b}", api="app")])
    with pytest.raises(AmbiguousPathError, match="Multiple potential matches for path: /y/x"):
        registry.find("GET", "/y/x")


def test_a_place_is_taken_once():
    registry = Registry("node", [endpoint("GET", "/x")])
    with pytest.raises(ValueError, match="installed already"):
        registry.add(endpoint("GET", "/x"))
    with pytest.raises(ValueError, match="no endpoint of /node"):
        registry.add(endpoint("GET", "/y", api="gov"))


def test_query_is_decoded_before_it_is_split():
    assert parse_query("a=1%26b=2&c&a=3&=x") == {"a": "3", "b": "2", "c": "", "": "x"}


@pytest.mark.parametrize("text", ["", "2", "2.", ".2", "0.1", "1.0", "-1.2", "1.2.3", "1.²", "1." + "9" * 30])
def test_no_transaction_id(text):
    assert txid_parameter(text) is None


def test_transaction_id():
    assert txid_parameter("2.15") == TxId(2, 15)


def test_interface_rules():
    rules = InterfaceRules.from_config("x", {"accepted_endpoints": ["/node/.*"], "bind_address": "h:1"})
    assert rules.accepts("/node/state")
    assert not rules.accepts("/app/node/state")
    assert not InterfaceRules.from_config("y", {"endorsement": {"authority": "Unsecured"}}).accepts("/node/state")
    assert InterfaceRules.from_config("z", {"enabled_operator_features": ["SnapshotRead"]}).offers("SnapshotRead")
    assert not InterfaceRules.from_config("z", {"enabled_operator_features": []}).offers("SnapshotRead")
