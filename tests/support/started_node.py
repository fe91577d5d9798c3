"""A node that is started for real: its own members, its own directory, the data plane running, no HTTP clients."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tallystick._native import ConflictError, NodeTransaction
from tallystick.node import tables
from tallystick.node.attestation import VirtualProvider
from tallystick.node.certificates import parse_subject, self_signed
from tallystick.node.config import parse_config
from tallystick.node.http.context import CommitOptions
from tallystick.node.keys import SigningKey
from tallystick.node.log import Level, Log
from tallystick.node.service import Node
from tallystick.node.startup import start_node
from tallystick.types import TxId

_RSA: list[rsa.RSAPrivateKey] = []


def encryption_key(index: int) -> rsa.RSAPrivateKey:
    """One of a few RSA keys; making them takes long, so tests share them."""
    while len(_RSA) <= index:
        _RSA.append(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    return _RSA[index]


@dataclass
class TestMember:
    """A member with its keys; files are in the node's directory."""

    __test__ = False

    name: str
    certificate: str
    key: SigningKey
    encryption: rsa.RSAPrivateKey
    encryption_file: Path

    @property
    def id(self) -> str:
        der = x509.load_pem_x509_certificate(self.certificate.encode()).public_bytes(Encoding.DER)
        return hashlib.sha256(der).hexdigest()


def make_member(directory: Path, index: int) -> TestMember:
    """A member, its certificate and encryption key written as files."""
    name = f"member{index}"
    key = SigningKey.generate()
    certificate = self_signed(key, parse_subject(f"CN={name}"), datetime.now(timezone.utc), 365)
    encryption = encryption_key(index)
    public = encryption.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = encryption.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / f"{name}_cert.pem").write_text(certificate)
    (directory / f"{name}_enc_pubk.pem").write_bytes(public)
    (directory / f"{name}_enc_privk.pem").write_bytes(private)
    return TestMember(name, certificate, key, encryption, directory / f"{name}_enc_privk.pem")


@dataclass
class StartedNode:
    """A node and what it was started from."""

    directory: Path
    node: Node
    members: list[TestMember]
    log: io.StringIO
    _running: Any = field(repr=False)
    stopped: bool = False

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger"

    @property
    def service_certificate(self) -> Path:
        return self.directory / "service_cert.pem"

    def commit(self, *writes: tuple[str, bytes, bytes]) -> TxId:
        """Writes rows in one transaction."""
        tx = self.node.runtime.begin()
        for table, key, value in writes:
            tx.set(table, key, value)
        return self.node.commit(tx)

    def run(self, work: Callable[[NodeTransaction, CommitOptions], Any]) -> tuple[TxId, Any]:
        """Does something in a transaction, again when the node's own transactions came first."""
        while True:
            tx, options = self.node.runtime.begin(), CommitOptions()
            value = work(tx, options)
            try:
                return self.node.commit(tx, options), value
            except ConflictError:
                continue

    def effect(self, name: str, *args: object) -> tuple[TxId, Any]:
        """Calls a privileged function in a transaction of its own."""

        def call(tx: NodeTransaction, options: CommitOptions) -> Any:
            # Governance always writes something besides; flags of a transaction without writes would mean nothing.
            tx.set("public:proposal", b"action", name.encode())
            return self.node.effects.call(tx, name, list(args), options)

        return self.run(call)

    def hand_in(self, member_id: str, share: bytes, *, settle: bool = True) -> bool:
        """A member hands in its recovery share; whether that was enough. It is committed then if ``settle``."""
        recovery = self.node.recovery
        assert recovery is not None

        def submit(tx: NodeTransaction, options: CommitOptions) -> bool:
            submitted = recovery.submit(tx, member_id, share)
            if submitted.is_enough:
                recovery.begin_private(tx, options)
            return submitted.is_enough

        txid, enough = self.run(submit)
        if settle:
            self.settle(txid)
        return bool(enough)

    def settle(self, txid: TxId | None = None) -> None:
        """Waits until everything until now, or a transaction, is committed."""
        self.node.runtime.sign_pending()
        seqno = txid.seqno if txid is not None else self.node.runtime.last_seqno
        if not self.node.runtime.wait_committed(seqno, 10_000):
            raise TimeoutError(f"{seqno} was not committed")

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Waits for what follows from commits on other threads."""
        deadline = time.monotonic() + 10
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("the node did not get there")
            time.sleep(0.005)

    def activate(self) -> None:
        """Makes all members active, as their acks would."""
        for member in self.members:
            tx = self.node.runtime.begin()
            info = tables.get_json(tx, tables.MEMBERS_INFO, member.id.encode())
            tables.put_json(tx, tables.MEMBERS_INFO, {**info, "status": "Active"}, member.id.encode())
            self.node.commit(tx)

    def open(self) -> TxId:
        """Activates the members and opens the service."""
        self.activate()
        txid, _ = self.effect("transitionServiceToOpen", None, self.node.service.certificate.encode())
        self.settle(txid)
        self.wait_until(lambda: self.node.app_open)
        return txid

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self._running.stop()


def configuration(directory: Path, members: int = 3, **more: Any) -> dict[str, Any]:
    """Configuration of a node that keeps everything in ``directory``."""
    listed = [
        {
            "certificate_file": str(directory / f"member{index}_cert.pem"),
            "encryption_public_key_file": str(directory / f"member{index}_enc_pubk.pem"),
        }
        for index in range(members)
    ]
    document: dict[str, Any] = {
        "network": {
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": {
                "main": {"bind_address": "127.0.0.1:0"},
                "node": {"bind_address": "127.0.0.1:0", "endorsement": {"authority": "Node"}},
            },
        },
        "command": {
            "type": "Start",
            "service_certificate_file": str(directory / "service_cert.pem"),
            "start": {
                "members": listed,
                "constitution_files": [str(directory / "a.js"), str(directory / "b.js")],
                "service_configuration": {"recovery_threshold": min(2, members)},
                "service_subject_name": "CN=Test Service",
                "cose_signatures": {"issuer": "service.example.com", "subject": "ledger.signature"},
            },
        },
        "ledger": {"directory": str(directory / "ledger")},
        "snapshots": {"directory": str(directory / "snapshots")},
        "ledger_signatures": {"delay": "50ms"},
        "output_files": {
            "node_certificate_file": str(directory / "node.pem"),
            "pid_file": str(directory / "node.pid"),
            "rpc_addresses_file": str(directory / "rpc_addresses.json"),
            "node_to_node_address_file": str(directory / "node_address.json"),
        },
    }
    return {**document, **more}


def nothing_here(_request: object) -> tuple[int, list[tuple[str, str]], bytes, bool]:
    """Answers every request with 404."""
    return 404, [], b"", False


def start(directory: Path, members: int = 3, **more: Any) -> StartedNode:
    """Starts a node in ``directory``; ``more`` goes into its configuration."""
    made = [make_member(directory, index) for index in range(members)]
    (directory / "a.js").write_text("export function validate(text) { return { valid: true }; }")
    (directory / "b.js").write_text('// ü "quoted"\nexport function resolve() { return "Accepted"; }')
    document = configuration(directory, members, **more)
    (directory / "config.json").write_text(json.dumps(document))
    stream = io.StringIO()
    running = start_node(
        parse_config(document),
        lambda _node: nothing_here,
        log=Log(Level.DEBUG, stream=stream),
        provider=VirtualProvider(Path(__file__), directory),
    )
    return StartedNode(directory, running.node, made, stream, running)


def tomorrow() -> str:
    """A time as proposals write it."""
    return f"{datetime.now(timezone.utc) + timedelta(days=1):%y%m%d%H%M%SZ}"


def recover(directory: Path, service: StartedNode, **more: Any) -> StartedNode:
    """Starts a node in ``directory`` that takes over the ledger of ``service``, which has stopped."""
    shutil.copytree(service.ledger, directory / "ledger")
    document = configuration(directory, **more)
    command = {
        "type": "Recover",
        "service_certificate_file": str(directory / "service_cert.pem"),
        "recover": {"previous_service_identity_file": str(service.service_certificate)},
    }
    document["command"] = command
    stream = io.StringIO()
    running = start_node(
        parse_config(document),
        lambda _node: nothing_here,
        log=Log(Level.DEBUG, stream=stream),
        provider=VirtualProvider(Path(__file__), directory),
    )
    return StartedNode(directory, running.node, service.members, stream, running)
