"""The unversioned governance API, as scripts for older versions of CCF use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from support.live_governance import YES, Identity, LiveService, Request, Response, make_identity
from support.run import tallystick


class Script:
    """Sends what such scripts send."""

    def __init__(self, service: LiveService) -> None:
        self.service = service

    def post(
        self, member: Identity, path: str, kind: str, content: object = None, proposal_id: str | None = None
    ) -> Response:
        body = b"" if content is None else json.dumps(content).encode()
        signed = member.sign(body, kind, created_at=self.service.tick(), proposal_id=proposal_id)
        return self.service.request("POST", f"/gov{path}", signed, query="")

    def get(self, path: str, member: Identity | None = None) -> Response:
        certificate = None
        if member is not None:
            certificate = x509.load_pem_x509_certificate(member.certificate.encode()).public_bytes(Encoding.DER)
        return self.send("GET", path, certificate)

    def send(self, method: str, path: str, certificate: bytes | None) -> Response:
        request = Request(method, f"/gov{path}", client_certificate=certificate)
        status, headers, body, _ = self.service.dispatcher(request)
        return Response(status, dict(headers), body)


@pytest.fixture
def service(tmp_path: Path) -> Any:
    made = LiveService(tmp_path / "node", [make_identity(f"member{index}", recovery=True) for index in range(2)])
    yield made
    made.stop()


def test_the_life_of_a_service(service: LiveService) -> None:
    script, (first, second) = Script(service), service.members
    assert script.get("/members").json()[first.id]["status"] == "Accepted"
    early = script.post(first, "/proposals", "proposal", {"actions": []})
    assert early.error == (403, "AuthorizationFailed")
    for member in service.members:
        der = x509.load_pem_x509_certificate(member.certificate.encode()).public_bytes(Encoding.DER)
        # Either the certificate of the connection or a signature says who asks. A signature may come in between.
        assert len(script.send("POST", "/ack/update_state_digest", der).json()["state_digest"]) == 64
        digest = script.post(member, "/ack/update_state_digest", "state_digest").json()
        assert script.post(member, "/ack", "ack", {"state_digest": "ab"}).error == (400, "StateDigestMismatch")
        assert script.post(member, "/ack", "ack", digest).status == 204
    assert script.get("/members").json()[second.id]["status"] == "Active"
    arguments = {"next_service_identity": service.running.node.service.certificate}
    actions = {"actions": [{"name": "transition_service_to_open", "args": arguments}]}
    created = script.post(first, "/proposals", "proposal", actions).json()
    name = created["proposal_id"]
    assert created == {"proposal_id": name, "proposer_id": first.id, "state": "Open", "ballot_count": 0}
    assert script.get("/proposals").json() == {name: {"ballots": {}, "proposer_id": first.id, "state": "Open"}}
    assert script.get(f"/proposals/{name}/actions").json() == actions
    path = f"/proposals/{name}/ballots"
    assert script.post(first, path, "ballot", {"ballot": YES}, name).json()["ballot_count"] == 1
    assert script.post(first, path, "ballot", {"ballot": YES}, name).error == (400, "VoteAlreadyExists")
    assert script.get(f"{path}/{first.id}").json() == {"ballot": YES}
    assert script.get(f"{path}/{second.id}").error == (404, "VoteNotFound")
    accepted = script.post(second, path, "ballot", {"ballot": YES}, name).json()
    assert (accepted["state"], accepted["votes"]) == ("Accepted", {first.id: True, second.id: True})
    assert script.get(f"/proposals/{name}").json()["state"] == "Accepted"
    share = script.get("/recovery_share", first).json()["encrypted_share"]
    assert share == script.get(f"/encrypted_recovery_share/{first.id}").json()["encrypted_share"]
    assert len(first.decrypt(share)) == 44
    _check_withdrawal(script, first, second)
    _check_tables(script, first)
    service.sign()
    service.stop()
    pinned = ("--uncommitted", "--service-cert", service.directory / "service.pem", service.ledger)
    replayed = tallystick("gov", "verify", *pinned)
    assert replayed.exit_code == 0, replayed.stdout


def _check_withdrawal(script: Script, first: Identity, second: Identity) -> None:
    name = script.post(first, "/proposals", "proposal", {"actions": []}).json()["proposal_id"]
    path = f"/proposals/{name}/withdraw"
    assert script.post(second, path, "withdrawal", None, name).error == (403, "AuthorizationFailed")
    assert script.post(first, path, "withdrawal", None, "ab" * 32).error == (400, "InvalidResourceName")
    assert script.post(first, path, "withdrawal", None, name).json()["state"] == "Withdrawn"
    assert script.post(first, path, "withdrawal", None, name).error == (400, "ProposalNotOpen")
    unknown = "ab" * 32
    gone = script.post(first, f"/proposals/{unknown}/withdraw", "withdrawal", None, unknown)
    assert gone.error == (400, "ProposalNotFound")


def _check_tables(script: Script, first: Identity) -> None:
    assert script.get("/kv/members/certs").json()[first.id] == first.certificate
    assert script.get("/kv/members/info").json()[first.id] == {"status": "Active"}
    assert script.get("/kv/service/info").json()["status"] == "Open"
    assert script.get("/kv/constitution").json().startswith("// What actions are made of")
    assert script.get("/kv/js_runtime_options").json() is None
    assert len(script.get("/kv/nodes/virtual/host_data").json()) == 1
    assert script.get("/kv/proposals_info").status == 200
    assert script.get("/kv/modules_quickjs_bytecode").error == (404, "ResourceNotFound")
    assert script.get("/jwt_keys/all").json() == {}
