"""An open service with an application, asked over TLS. The application is written straight into its tables."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from support.started_node import StartedNode
from tallystick.cose import certificate_fingerprint

SINGLETON = bytes(8)


@dataclass(frozen=True)
class Person:
    """A key with a self-signed certificate, and a file that holds both for TLS."""

    key: ec.EllipticCurvePrivateKey
    certificate: str
    file: Path

    @property
    def id(self) -> str:
        return certificate_fingerprint(self.certificate)


def make_person(directory: Path, name: str, *, start: datetime | None = None, days: int = 10) -> Person:
    """A person whose certificate is valid for ``days`` from ``start`` (yesterday if not given)."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = start or datetime.now(timezone.utc) - timedelta(days=1)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start)
    made = builder.not_valid_after(start + timedelta(days=days)).sign(key, hashes.SHA256())
    pem = made.public_bytes(Encoding.PEM).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = directory / f"{name}.pem"
    file.write_text(private + pem)
    return Person(key, pem, file)


@dataclass(frozen=True)
class Answer:
    """What the service answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reasons(self) -> dict[str, str]:
        """Why each policy refused."""
        return {detail["auth_policy"]: detail["message"] for detail in self.json()["error"]["details"]}


class AppService:
    """An application on a started node."""

    def __init__(self, node: StartedNode, interface: str = "main") -> None:
        self.node = node
        addresses = json.loads((node.directory / "rpc_addresses.json").read_text())
        self._host, _, port = addresses[interface].rpartition(":")
        self._port = int(port)

    def install(self, modules: Mapping[str, str], endpoints: Mapping[str, Mapping[str, object]]) -> None:
        """Puts an application in place of the one before: sources by name, properties by ``VERB /path``."""
        rows = [("public:ccf.gov.modules", name.encode(), text.encode()) for name, text in modules.items()]
        rows += [
            ("public:ccf.gov.endpoints", key.encode(), json.dumps(properties).encode())
            for key, properties in endpoints.items()
        ]
        tx = self.node.node.runtime.begin()
        tx.clear("public:ccf.gov.endpoints")
        tx.clear("public:ccf.gov.modules")
        for table, key, value in [*rows, ("public:ccf.gov.interpreter.flush", SINGLETON, b"true")]:
            tx.set(table, key, value)
        self.node.node.commit(tx)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        person: Person | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        context = ssl.create_default_context(cafile=str(self.node.service_certificate))
        context.check_hostname = False
        if person is not None:
            context.load_cert_chain(person.file)
        connection = http.client.HTTPSConnection(self._host, self._port, context=context, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()


def endpoint(function: str, *policies: object, mode: str = "readwrite", **more: object) -> dict[str, object]:
    """Properties of an endpoint of ``/app.js``."""
    return {
        "js_module": "/app.js",
        "js_function": function,
        "mode": mode,
        "forwarding_required": "always",
        "redirection_strategy": "none",
        "authn_policies": list(policies),
        **more,
    }
