"""Snapshots and ledger chunks over HTTP: ranges, digests, entity tags, and our own client."""

import base64
import hashlib
import ssl
import urllib.request

import pytest

from support.bare_node import INTERFACE
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.node.genesis import Addresses
from tallystick.node.http.files import parse_range, wanted_digest
from tallystick.node.http.interfaces import InterfaceRules
from tallystick.remote.fetch import LedgerFetcher
from tallystick.remote.node_client import NodeClient

NAME = "snapshot_10_12.committed"


@pytest.fixture
def chunk(node):
    """Name and content of a committed chunk."""
    node.commit(node.write({"public:x": {b"k": bytes(5000)}}, close_chunk=True))
    [(_, _, path)] = node.runtime.committed_chunks()
    return path.name, path.read_bytes()


@pytest.fixture
def snapshot(node):
    """Content of a file that counts as a snapshot: what is in it does not matter here."""
    node.snapshots.mkdir()
    (node.snapshots / NAME).write_bytes(bytes(range(200)))
    (node.snapshots / "snapshot_20_22").write_bytes(b"not committed")
    (node.snapshots / "snapshot_30_32.committed").write_bytes(b"")
    (node.snapshots / "secret.pem").write_bytes(b"secret")
    return bytes(range(200))


def test_a_chunk_is_found_by_seqno(node, chunk):
    for method in ("GET", "HEAD"):
        answer = node.ask(method, "/node/ledger-chunk?since=1")
        assert (answer.status, answer.body) == (308, b"")
        assert answer.headers["location"] == f"https://127.0.0.1:8000/node/ledger-chunk/{chunk[0]}"
    assert node.get("/node/ledger-chunk?since=100000").error == (404, "ResourceNotFound")
    assert node.get("/node/ledger-chunk").error == (400, "InvalidQueryParameterValue")
    assert node.get("/node/ledger-chunk?since=x").error == (400, "InvalidQueryParameterValue")


def test_redirects_name_the_port_that_the_system_chose(node, chunk):
    node.addresses = Addresses({"published_address": "127.0.0.1:4"}, {INTERFACE: {"published_address": "127.0.0.1:5"}})
    location = node.get("/node/ledger-chunk?since=1").headers["location"]
    assert location == f"https://127.0.0.1:5/node/ledger-chunk/{chunk[0]}"
    assert node.get("/node/config").json == {node.node_id: {"address": "127.0.0.1:4"}}


def test_a_whole_chunk(node, chunk):
    answer = node.get(f"/node/ledger-chunk/{chunk[0]}")
    assert (answer.status, answer.body) == (200, chunk[1])
    assert answer.headers["x-ms-ccf-ledger-chunk-name"] == chunk[0]
    assert answer.headers["accept-ranges"] == "bytes"
    assert "content-range" not in answer.headers


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [("bytes=0-99", 0, 100), ("bytes=100-", 100, None), ("bytes=-50", -50, None), ("bytes=10-999999", 10, None)],
)
def test_a_range_of_a_chunk(node, chunk, header, start, end):
    name, content = chunk
    answer = node.get(f"/node/ledger-chunk/{name}", headers={"range": header})
    assert (answer.status, answer.body) == (206, content[start:end])
    first = start if start >= 0 else len(content) + start
    last = first + len(answer.body) - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(content)}"


@pytest.mark.parametrize(
    "header",
    ["bytes=", "bytes=-", "bytes=5", "bytes=a-b", "bytes=1-2,3-4", "lines=1-2", "bytes=99999999-", "bytes=9-1", "x"],
)
def test_ranges_refused(node, chunk, header):
    answer = node.get(f"/node/ledger-chunk/{chunk[0]}", headers={"range": header})
    assert answer.error == (400, "InvalidHeaderValue")


@pytest.mark.parametrize(
    "name",
    ["ledger_1", "ledger_1-1.committed", "..%2F..%2Fsnapshots%2Fsecret.pem", "%2Fetc%2Fpasswd", "x" * 300, "%00"],
)
def test_no_other_files(node, chunk, snapshot, name):
    assert node.get(f"/node/ledger-chunk/{name}").error == (404, "ResourceNotFound")
    assert node.get(f"/node/snapshot/{name}").error == (404, "ResourceNotFound")


def test_the_latest_snapshot_is_found(node, snapshot):
    answer = node.get("/node/snapshot")
    assert answer.headers["location"] == f"https://127.0.0.1:8000/node/snapshot/{NAME}"
    assert node.get("/node/snapshot?since=9").status == 308
    answer = node.get("/node/snapshot?since=10")
    assert answer.error == (404, "ResourceNotFound")
    assert answer.json["error"]["message"] == "This node has no committed snapshots since 10"
    assert node.get("/node/snapshot?since=x").error == (400, "InvalidQueryParameterValue")


def test_ends_of_ranges_of_snapshots_are_exclusive(node, snapshot):
    whole = node.get(f"/node/snapshot/{NAME}")
    assert (whole.status, whole.body) == (206, snapshot)
    assert whole.headers["content-range"] == "bytes 0-200/200"
    assert whole.headers["x-ms-ccf-snapshot-name"] == NAME
    part = node.get(f"/node/snapshot/{NAME}", headers={"range": "bytes=0-10"})
    assert (part.status, part.body, part.headers["content-range"]) == (206, snapshot[:10], "bytes 0-10/200")


def test_only_committed_snapshots(node, snapshot):
    for name in ("snapshot_20_22", "secret.pem", "snapshot_1_2.committed"):
        assert node.get(f"/node/snapshot/{name}").error == (404, "ResourceNotFound")


def test_head_tells_the_size(node, chunk, snapshot):
    for target, content in ((f"/node/ledger-chunk/{chunk[0]}", chunk[1]), (f"/node/snapshot/{NAME}", snapshot)):
        answer = node.ask("HEAD", target, headers={"want-repr-digest": "sha-256=1"})
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["content-length"] == str(len(content))
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"


def test_the_digest_is_that_of_the_whole_file(node, chunk):
    name, content = chunk
    headers = {"range": "bytes=0-9", "want-repr-digest": "sha-512=3, sha-256=1"}
    for _ in range(2):
        answer = node.get(f"/node/ledger-chunk/{name}", headers=headers)
        digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
        assert answer.headers["repr-digest"] == f"sha-512=:{digest}:"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("sha-256=1", "sha-256"),
        ("sha-384=2,sha-256=1", "sha-384"),
        ("md5=10", "sha-256"),
        ("sha-512=0", "sha-256"),
        ("sha-512=x", "sha-256"),
        ("", "sha-256"),
    ],
)
def test_wanted_digests(header, expected):
    assert wanted_digest(header) == expected


def test_entity_tags(node, chunk):
    name, content = chunk
    target = f"/node/ledger-chunk/{name}"
    tag = node.get(target).headers["etag"]
    assert tag == f'"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"'
    for condition in (tag, f'"x", {tag}', f"W/{tag}", "*"):
        answer = node.get(target, headers={"if-none-match": condition})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    longer = f'"sha-512=:{base64.b64encode(hashlib.sha512(content).digest()).decode()}:"'
    assert node.get(target, headers={"if-none-match": longer}).status == 304
    assert node.get(target, headers={"if-none-match": '"other"'}).status == 200
    part = node.get(target, headers={"range": "bytes=0-9"})
    assert part.headers["etag"] != tag


def test_ranges_of_an_empty_file():
    assert parse_range("bytes=0-", 0, inclusive=True).end == 0
    assert parse_range("bytes=-5", 0, inclusive=True).start == 0


@pytest.fixture
def served(node, tmp_path):
    """The node on a real interface; its URL and a file with its service's certificate."""
    node.runtime.set_identity("service", node.endorsed_certificate, node.keys.identity.private_pem)
    interfaces = [(INTERFACE, "127.0.0.1:0", "HTTP1", "service", {})]
    [(_, address)] = node.runtime.serve(interfaces, node.dispatcher, 2)
    node.dispatcher.interfaces[INTERFACE] = InterfaceRules.from_config(INTERFACE, {"published_address": address})
    certificate = tmp_path / "service.pem"
    certificate.write_text(node.service.certificate)
    return f"https://{address}", certificate


def test_head_over_the_network(node, served, chunk):
    url, certificate = served
    context = ssl.create_default_context(cafile=str(certificate))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    request = urllib.request.Request(f"{url}/node/ledger-chunk/{chunk[0]}", method="HEAD")  # noqa: S310 - loopback
    with urllib.request.urlopen(request, context=context) as answer:  # noqa: S310 - loopback
        assert answer.status == 200
        assert int(answer.headers["content-length"]) == len(chunk[1])


def test_our_own_client_downloads_the_ledger(node, served, tmp_path):
    for number in range(3):
        node.commit(node.write({"public:x": {b"k": bytes(3000 * number)}}, close_chunk=True))
    url, certificate = served
    client = NodeClient(url, tls_ca=[str(certificate)])
    anchor = TrustAnchor.from_certificates([certificate.read_bytes()])
    try:
        fetcher = LedgerFetcher(client, tmp_path / "copy", anchor)
        report = fetcher.fetch_chunks()
    finally:
        client.close()
    assert [(tmp_path / "copy" / name).read_bytes() for name in report.chunks] == [
        path.read_bytes() for _, _, path in node.runtime.committed_chunks()
    ]
