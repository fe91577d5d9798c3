"""Scripts that run into their time limit keep nobody else waiting."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.live_governance import API_VERSION, LiveService, make_identity

SLOW_REQUESTS = 4
LONGEST_WAIT = 2.0


class Client:
    """Sends requests over TLS, each on a connection of its own."""

    def __init__(self, service: LiveService) -> None:
        self.host, _, self.port = service.running.urls["main"].removeprefix("https://").partition(":")
        self.context = ssl.create_default_context(cafile=str(service.directory / "service.pem"))

    def send(self, method: str, path: str, body: bytes = b"") -> tuple[int, float]:
        """Status, and seconds until the whole answer was there."""
        started = time.monotonic()
        connection = http.client.HTTPSConnection(self.host, int(self.port), timeout=30, context=self.context)
        connection.request(method, path, body, {"content-type": "application/cose"})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, time.monotonic() - started


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    made = LiveService(tmp_path / "node", [make_identity("member", recovery=True), make_identity("other")])
    made.open()
    yield made
    made.stop()


def _longest(client: Client, path: str, busy: list[threading.Thread]) -> float:
    """The longest wait for an answer to ``path`` while all of ``busy`` run."""
    for thread in busy:
        thread.start()
    time.sleep(0.3)
    longest = 0.0
    while any(thread.is_alive() for thread in busy):
        status, seconds = client.send("GET", path)
        assert status == 200
        longest = max(longest, seconds)
    return longest


def test_ballots_that_loop(service: LiveService) -> None:
    member, client = service.members[0], Client(service)
    ballot = json.dumps({"ballot": "export function vote() { for (;;); }"}).encode()
    requests = []
    for _ in range(SLOW_REQUESTS):
        name = service.propose(member, ("trigger_snapshot", None)).json()["proposalId"]
        path = f"/gov/members/proposals/{name}/ballots/{member.id}:submit?api-version={API_VERSION}"
        requests.append((path, member.sign(ballot, "ballot", created_at=service.tick(), proposal_id=name)))
    statuses: list[int] = []

    def submit(path: str, body: bytes) -> None:
        statuses.append(client.send("POST", path, body)[0])

    busy = [threading.Thread(target=submit, args=request) for request in requests]
    assert _longest(client, f"/gov/service/info?api-version={API_VERSION}", busy) < LONGEST_WAIT
    assert statuses == [200] * SLOW_REQUESTS


def test_endpoints_that_loop(service: LiveService) -> None:
    def endpoint(function: str) -> dict[str, object]:
        properties = {"js_module": "a.js", "js_function": function, "mode": "readonly", "openapi": {}}
        return {"get": properties | {"forwarding_required": "never", "authn_policies": ["no_auth"]}}

    module = "export function slow() { for (;;); } export function fast() { return { body: 'here' } }"
    endpoints = {"/slow": endpoint("slow"), "/fast": endpoint("fast")}
    bundle = {"metadata": {"endpoints": endpoints}, "modules": [{"name": "a.js", "module": module}]}
    assert service.pass_proposal(("set_js_app", {"bundle": bundle})).json()["proposalState"] == "Accepted"
    service.sign()
    client = Client(service)
    busy = [threading.Thread(target=client.send, args=("GET", "/app/slow")) for _ in range(SLOW_REQUESTS)]
    assert _longest(client, "/app/fast", busy) < LONGEST_WAIT
