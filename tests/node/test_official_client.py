"""The official command line tool signs, curl sends: over TLS, as an operator would."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.live_governance import API_VERSION, YES, Identity, LiveService, make_identity


class OfficialClient:
    """Governs a service with ``ccf_cose_sign1`` and curl.

    Args:
        tool: ``ccf_cose_sign1``.
        service: whom to talk to.
        directory: for files.
    """

    def __init__(self, tool: Path, service: LiveService, directory: Path) -> None:
        self.tool = tool
        self.service = service
        self.directory = directory
        self.url = service.running.urls["main"]
        self.now = datetime(2026, 11, 1, tzinfo=timezone.utc)

    def sign(self, member: Identity, kind: str, content: object | None, proposal_id: str | None) -> Path:
        """A signed request, in a file."""
        key, certificate = self.directory / "key.pem", self.directory / "cert.pem"
        key.write_bytes(member.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        certificate.write_text(member.certificate)
        body = self.directory / "content.json"
        body.write_text("" if content is None else json.dumps(content))
        self.now += timedelta(seconds=1)
        command = [self.tool, "--ccf-gov-msg-type", kind, "--ccf-gov-msg-created_at", self.now.isoformat()]
        command += ["--signing-key", key, "--signing-cert", certificate, "--content", body]
        if proposal_id is not None:
            command += ["--ccf-gov-msg-proposal_id", proposal_id]
        signed = self.directory / "signed.cose"
        signed.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
        return signed

    def send(
        self, member: Identity, path: str, kind: str, content: object | None = None, proposal_id: str | None = None
    ) -> Any:
        """Signs and posts; the answer, None if it is empty."""
        signed = self.sign(member, kind, content, proposal_id)
        command = [
            "curl",
            "--silent",
            "--show-error",
            "--fail-with-body",
            f"{self.url}{path}?api-version={API_VERSION}",
        ]
        command += ["--cacert", str(self.service.directory / "service.pem"), "--data-binary", f"@{signed}"]
        command += ["-H", "content-type: application/cose"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return json.loads(done.stdout) if done.stdout else None


def test_the_official_tool_governs(peer_python: Path, tmp_path: Path) -> None:
    tool = peer_python.parent / "ccf_cose_sign1"
    if shutil.which("curl") is None or not tool.is_file():
        pytest.skip("needs curl, and ccf_cose_sign1 beside the official package's interpreter")
    members = [make_identity(f"member{index}", recovery=True) for index in range(2)]
    service = LiveService(tmp_path / "node", members)
    client = OfficialClient(tool, service, tmp_path)
    try:
        for member in members:
            path = f"/gov/members/state-digests/{member.id}"
            digest = client.send(member, path + ":update", "state_digest")
            assert client.send(member, path + ":ack", "ack", digest) is None
        arguments = {"next_service_identity": (service.directory / "service.pem").read_text()}
        content = {"actions": [{"name": "transition_service_to_open", "args": arguments}]}
        proposal = client.send(members[0], "/gov/members/proposals:create", "proposal", content)
        name = proposal["proposalId"]
        for member in members:
            path = f"/gov/members/proposals/{name}/ballots/{member.id}:submit"
            proposal = client.send(member, path, "ballot", {"ballot": YES}, name)
        assert proposal["proposalState"] == "Accepted"
        content = {"actions": [{"name": "trigger_snapshot"}]}
        name = client.send(members[1], "/gov/members/proposals:create", "proposal", content)["proposalId"]
        path = f"/gov/members/proposals/{name}:withdraw"
        assert client.send(members[1], path, "withdrawal", None, name)["proposalState"] == "Withdrawn"
    finally:
        service.stop()
