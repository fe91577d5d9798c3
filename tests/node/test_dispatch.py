"""From a request to an answer: what goes wrong on the way, and what happens to the transaction."""

import json

import pytest

from support.bare_node import INTERFACE
from tallystick import _native
from tallystick.node.http.authentication import MemberCertificatePolicy, NodeCertificatePolicy
from tallystick.node.http.context import Reply
from tallystick.node.http.dispatch import MAX_ATTEMPTS, split_path
from tallystick.node.http.errors import HttpError
from tallystick.node.http.interfaces import InterfaceRules
from tallystick.node.http.registry import Endpoint

TABLE = "public:test"


def install(node, handler, method="POST", path="/test", **options):
    node.registries["node"].add(Endpoint(method, path, handler, **options))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/node/state", ("node", "/state")),
        ("/gov/api", ("gov", "/api")),
        ("/app/log/1", ("app", "/log/1")),
        ("/log/1", ("app", "/log/1")),
        ("/node", ("app", "/node")),
        ("/node/", ("app", "/node/")),
        ("/", ("app", "/")),
        ("/nodes/state", ("app", "/nodes/state")),
    ],
)
def test_frontends(path, expected):
    assert split_path(path) == expected


def test_unknown_path(node):
    answer = node.get("/node/nowhere")
    assert answer.error == (404, "ResourceNotFound")
    assert answer.json["error"]["message"] == "Unknown path: /nowhere."
    assert answer.headers["content-type"] == "application/json"


def test_wrong_verb(node):
    answer = node.ask("PUT", "/node/primary")
    assert answer.error == (405, "UnsupportedHttpVerb")
    assert answer.headers["allow"] == "OPTIONS, GET, HEAD"
    assert answer.json["error"]["message"] == "Allowed methods for '/primary' are: OPTIONS, GET, HEAD."


def test_options(node):
    answer = node.ask("OPTIONS", "/node/primary")
    assert (answer.status, answer.body, answer.headers["allow"]) == (204, b"", "OPTIONS, GET, HEAD")
    assert node.ask("OPTIONS", "/node/nowhere").status == 404


def test_frontends_that_are_not_open(node):
    node.app_open = node.gov_open = False
    for target in ("/app/commit", "/commit", "/gov/commit"):
        assert node.get(target).error == (404, "FrontendNotOpen")
        assert node.get(target).json["error"]["message"] == "Frontend is not open."
    assert node.get("/node/commit").status == 200


def test_writes_are_committed_and_named(node):
    def handler(context):
        context.tx.set(TABLE, b"k", context.body)
        return Reply.json(True)

    install(node, handler)
    answer = node.ask("POST", "/node/test", body=b"v")
    view, seqno = map(int, answer.txid.split("."))
    assert node.runtime.begin().get(TABLE, b"k") == b"v"
    assert node.runtime.status(view, seqno) in ("Pending", "Committed")


@pytest.mark.parametrize("error", [HttpError(400, "InvalidInput", "no"), ValueError("broken")])
def test_an_error_undoes_everything(node, error):
    def handler(context):
        context.tx.set(TABLE, b"k", b"v")
        raise error

    install(node, handler)
    answer = node.ask("POST", "/node/test")
    assert answer.status == (400 if isinstance(error, HttpError) else 500)
    assert answer.txid is None
    assert node.runtime.begin().get(TABLE, b"k") is None


def test_a_failure_status_undoes_writes_unless_told_otherwise(node):
    def handler(context):
        context.tx.set(TABLE, b"k", b"v")
        return Reply(403, keep_writes=json.loads(context.body))

    install(node, handler)
    node.ask("POST", "/node/test", body=b"null")
    assert node.runtime.begin().get(TABLE, b"k") is None
    assert node.ask("POST", "/node/test", body=b"true").txid is not None
    assert node.runtime.begin().get(TABLE, b"k") == b"v"


def test_a_read_is_named_by_the_version_that_it_saw(node):
    def handler(context):
        context.tx.get(TABLE, b"k")
        return Reply.json(True)

    install(node, handler)
    written = node.write({TABLE: {b"k": b"v"}})
    assert node.ask("POST", "/node/test").txid >= str(written)


def test_a_conflict_starts_over(node):
    attempts = []

    def handler(context):
        attempts.append(context.tx.get(TABLE, b"k"))
        if len(attempts) == 1:
            node.write({TABLE: {b"k": b"other"}})
        context.tx.set(TABLE, b"k", b"mine")
        return Reply.json(True)

    install(node, handler)
    assert node.ask("POST", "/node/test").status == 200
    assert attempts == [None, b"other"]


def test_endless_conflicts_end(node):
    attempts = []

    def handler(context):
        attempts.append(context.tx.get(TABLE, b"k"))
        node.write({TABLE: {b"k": str(len(attempts)).encode()}})
        context.tx.set(TABLE, b"k", b"mine")
        return Reply.json(True)

    install(node, handler)
    answer = node.ask("POST", "/node/test")
    assert answer.error == (503, "TransactionCommitAttemptsExceedLimit")
    assert answer.headers["retry-after"] == "3"
    assert len(attempts) == MAX_ATTEMPTS


def test_what_goes_with_a_commit(node):
    seen = []

    def handler(context):
        context.tx.set(TABLE, b"k", b"v")
        context.commit.claims_digest = b"c" * 32
        context.commit.on_local_commit.append(seen.append)
        return Reply.json(True)

    install(node, handler)
    answer = node.ask("POST", "/node/test")
    assert [str(txid) for txid in seen] == [answer.txid]
    node.commit(seen[0])
    assert _native.Entry.parse(node.runtime.read_entry(seen[0].seqno)).claims_digest == b"c" * 32


def test_nobody_is_let_in_without_a_certificate(node):
    install(node, lambda context: Reply(), policies=(NodeCertificatePolicy(), MemberCertificatePolicy()))
    answer = node.ask("POST", "/node/test")
    assert answer.error == (401, "InvalidAuthenticationInfo")
    assert [detail["auth_policy"] for detail in answer.json["error"]["details"]] == ["node_cert", "member_cert"]
    assert node.ask("POST", "/node/test", client_certificate=b"no certificate").status == 401


def test_two_templates_for_one_path(node):
    install(node, lambda context: Reply(), path="/{a}/x")
    install(node, lambda context: Reply(), path="/y/{b}")
    answer = node.ask("POST", "/node/y/x")
    assert answer.error == (500, "InternalError")
    assert answer.close


def test_interfaces_serve_what_they_list(node):
    rules = {"accepted_endpoints": ["/node/state", "/node/network/.*"]}
    node.dispatcher.interfaces[INTERFACE] = InterfaceRules.from_config(INTERFACE, rules)
    assert node.get("/node/state").status == 200
    assert node.get("/node/network/nodes").status == 200
    assert node.get("/node/commit").status == 503


def test_features_are_opted_in_to(node):
    rules = {"enabled_operator_features": []}
    node.dispatcher.interfaces[INTERFACE] = InterfaceRules.from_config(INTERFACE, rules)
    answer = node.get("/node/snapshot")
    assert (answer.status, answer.body) == (404, b"")


def test_api_versions(node):
    node.registries["gov"].add(Endpoint("GET", "/x", lambda context: Reply(), api="gov", versioned=True))
    assert node.get("/gov/x").error == (400, "MissingApiVersionParameter")
    assert node.get("/gov/x?api-version=2020-01-01").error == (400, "UnsupportedApiVersionValue")
    assert node.get("/gov/x?api-version=2024-07-01").status == 200
