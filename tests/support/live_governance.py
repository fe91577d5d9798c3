"""A service in this process: a real data plane, real members, and requests handed straight to the dispatcher."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from io import StringIO
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tallystick.cose import certificate_fingerprint, create_sign1
from tallystick.node.attestation import VirtualProvider
from tallystick.node.config import parse_config
from tallystick.node.constitution import constitution_files
from tallystick.node.governance import governance_endpoints
from tallystick.node.http.dispatch import Dispatcher
from tallystick.node.http.registry import Registry
from tallystick.node.log import Level, Log
from tallystick.node.startup import RunningNode, start_node

API_VERSION = "2024-07-01"
YES = "export function vote (rawProposal, proposerId) { return true }"
NO = "export function vote (rawProposal, proposerId) { return false }"


@dataclass(frozen=True)
class Identity:
    """A key, its self-signed certificate, and an encryption key."""

    key: ec.EllipticCurvePrivateKey
    certificate: str
    encryption_key: rsa.RSAPrivateKey | None = None

    @property
    def id(self) -> str:
        return certificate_fingerprint(self.certificate)

    @property
    def encryption_public_key(self) -> str | None:
        if self.encryption_key is None:
            return None
        return self.encryption_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(
        self, content: bytes, message_type: str, *, created_at: int | None, proposal_id: str | None = None
    ) -> bytes:
        """A governance request."""
        headers: dict[int | str, object] = {"ccf.gov.msg.type": message_type}
        if created_at is not None:
            headers["ccf.gov.msg.created_at"] = created_at
        if proposal_id is not None:
            headers["ccf.gov.msg.proposal_id"] = proposal_id
        return create_sign1(content, self.key, self.certificate, headers)

    def decrypt(self, share: str) -> bytes:
        """What was encrypted to the encryption key."""
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        key = self.encryption_key
        return key.decrypt(base64.b64decode(share), oaep) if key is not None else b""


def make_identity(name: str, *, curve: ec.EllipticCurve | None = None, recovery: bool = False) -> Identity:
    key = ec.generate_private_key(curve or ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start)
    certificate = builder.not_valid_after(start + timedelta(days=3650)).sign(key, hashes.SHA384())
    pem = certificate.public_bytes(Encoding.PEM).decode()
    return Identity(key, pem, rsa.generate_private_key(65537, 2048) if recovery else None)


@dataclass(frozen=True)
class Request:
    """What the HTTP front would have read."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    interface: str = "main"
    session_id: int = 1
    client_certificate: bytes | None = None


@dataclass(frozen=True)
class Response:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and code of an error."""
        return self.status, self.json()["error"]["code"]

    @property
    def message(self) -> str:
        """Message of an error."""
        message: str = self.json()["error"]["message"]
        return message

    @property
    def refusal(self) -> str:
        """Why the signature was not accepted."""
        (detail,) = self.json()["error"]["details"]
        return str(detail["message"])


class LiveService:
    """A service with its members.

    Args:
        directory: of the node; made if it is missing.
        members: who starts the service.
        constitution: its pieces.
        threshold: recovery threshold.
        signatures: which signatures the ledger gets.
        options: further options of the service configuration.
    """

    def __init__(
        self,
        directory: Path,
        members: Sequence[Identity],
        *,
        constitution: Sequence[Path] | None = None,
        threshold: int = 1,
        signatures: str = "Dual",
        **options: object,
    ) -> None:
        self.directory = directory
        self.members = list(members)
        self.output = StringIO()
        self.clock = 1_790_000_000
        directory.mkdir(parents=True, exist_ok=True)
        listed = []
        for index, member in enumerate(members):
            (directory / f"member{index}.pem").write_text(member.certificate)
            entry: dict[str, object] = {"certificate_file": str(directory / f"member{index}.pem")}
            if member.encryption_public_key is not None:
                (directory / f"member{index}_enc.pem").write_text(member.encryption_public_key)
                entry["encryption_public_key_file"] = str(directory / f"member{index}_enc.pem")
            listed.append(entry)
        pieces = [str(path) for path in constitution or constitution_files()]
        start = {
            "members": listed,
            "constitution_files": pieces,
            "service_configuration": {"recovery_threshold": threshold} | options,
        }
        document = {
            "network": {
                "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
                "rpc_interfaces": {"main": {"bind_address": "127.0.0.1:0"}},
            },
            "command": {"type": "Start", "start": start, "service_certificate_file": str(directory / "service.pem")},
            "ledger": {"directory": str(self.ledger), "chunk_size": "100KB"},
            "snapshots": {"directory": str(directory / "snapshots")},
            "ledger_signatures": {"tx_count": 100, "delay": "20ms", "mode": signatures},
            "output_files": {
                "node_certificate_file": str(directory / "node.pem"),
                "pid_file": str(directory / "node.pid"),
            },
        }
        log = Log(Level.INFO, stream=self.output)
        provider = VirtualProvider(Path(__file__), directory)
        self.running: RunningNode = start_node(parse_config(document), self._handler, log=log, provider=provider)
        self.sign()
        deadline = time.monotonic() + 10
        while not self.dispatcher.is_open("gov"):
            if time.monotonic() > deadline:
                raise TimeoutError("governance does not open")
            time.sleep(0.005)

    @property
    def ledger(self) -> Path:
        """Where the ledger is."""
        return self.directory / "ledger"

    def _handler(self, node: Any) -> Dispatcher:
        registries = {"gov": Registry("gov", governance_endpoints()), "node": Registry("node"), "app": Registry("app")}
        self.dispatcher = Dispatcher(node, registries, commit=node.commit_request)
        return self.dispatcher

    def stop(self) -> None:
        """Ends the node; the ledger is complete then."""
        self.running.stop()

    def sign(self) -> None:
        """Has everything so far signed and committed."""
        runtime = self.running.node.runtime
        runtime.sign_pending()
        if not runtime.wait_committed(runtime.last_signature or 0, 10_000):
            raise TimeoutError("nothing is committed")

    def read(self, table: str, key: bytes = bytes(8)) -> Any:
        """A row, parsed."""
        value = self.running.node.runtime.begin().get(table, key)
        return None if value is None else json.loads(value)

    # ------------------------------------------------------------------------------------------------ requests

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        query: str = f"api-version={API_VERSION}",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Hands a request to the dispatcher."""
        given = headers if headers is not None else {"content-type": "application/cose"}
        status, answered, content, _ = self.dispatcher(Request(method, path, query, body, given))
        return Response(status, dict(answered), content)

    def get(self, path: str, *, query: str = f"api-version={API_VERSION}") -> Response:
        return self.request("GET", path, query=query)

    def tick(self) -> int:
        """A later second."""
        self.clock += 1
        return self.clock

    def acknowledge(self, member: Identity) -> Response:
        """Fetches the state digest and acknowledges it."""
        path = f"/gov/members/state-digests/{member.id}"
        updated = self.request("POST", path + ":update", member.sign(b"", "state_digest", created_at=self.tick()))
        if updated.status != 200:
            return updated
        content = json.dumps({"stateDigest": updated.json()["stateDigest"]}).encode()
        return self.request("POST", path + ":ack", member.sign(content, "ack", created_at=self.tick()))

    def propose(self, member: Identity, *actions: tuple[str, object], created_at: int | None = None) -> Response:
        """Proposes actions, given as name and arguments."""
        listed = [{"name": name} | ({} if args is None else {"args": args}) for name, args in actions]
        content = json.dumps({"actions": listed}).encode()
        return self.propose_text(member, content, created_at=created_at)

    def propose_text(self, member: Identity, content: bytes, *, created_at: int | None = None) -> Response:
        signed = member.sign(content, "proposal", created_at=self.tick() if created_at is None else created_at)
        return self.request("POST", "/gov/members/proposals:create", signed)

    def vote(self, member: Identity, proposal_id: str, ballot: str = YES) -> Response:
        content = json.dumps({"ballot": ballot}).encode()
        signed = member.sign(content, "ballot", created_at=self.tick(), proposal_id=proposal_id)
        return self.request("POST", f"/gov/members/proposals/{proposal_id}/ballots/{member.id}:submit", signed)

    def withdraw(self, member: Identity, proposal_id: str) -> Response:
        signed = member.sign(b"", "withdrawal", created_at=self.tick(), proposal_id=proposal_id)
        return self.request("POST", f"/gov/members/proposals/{proposal_id}:withdraw", signed)

    def pass_proposal(self, *actions: tuple[str, object]) -> Response:
        """Proposes and has everybody vote for it until it is closed; returns the last answer."""
        answer = self.propose(self.members[0], *actions)
        for member in self.members:
            if answer.status != 200 or answer.json()["proposalState"] != "Open":
                break
            answer = self.vote(member, answer.json()["proposalId"])
        return answer

    def open(self) -> None:
        """Has everybody acknowledge, and opens the service."""
        for member in self.members:
            answer = self.acknowledge(member)
            if answer.status != 204:
                raise AssertionError(answer.body)
        certificate = self.running.node.service.certificate
        opened = self.pass_proposal(("transition_service_to_open", {"next_service_identity": certificate}))
        if opened.status != 200 or opened.json()["proposalState"] != "Accepted":
            raise AssertionError(opened.body)
        self.sign()
