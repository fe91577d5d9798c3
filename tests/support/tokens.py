"""JSON web tokens and their issuer, and proposals that all members of a sandbox accept."""

from __future__ import annotations

import base64
import json
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from support.run import tallystick
from support.sandbox import RunningSandbox


def decide(sandbox: RunningSandbox, proposal: dict[str, Any]) -> str:
    """Proposes, lets members vote for it until it is accepted and committed, and returns its id."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "proposal.json"
        path.write_text(json.dumps(proposal))
        outcome = tallystick("member", "propose", "file", path, "--format", "json", *sandbox.member_arguments())
    if outcome.exit_code != 0:
        raise RuntimeError(outcome.stderr)
    identifier, state = outcome.json["proposalId"], outcome.json["proposalState"]
    for index in range(len(sandbox.description["members"])):
        if state != "Open":
            break
        outcome = tallystick("member", "vote", identifier, "--format", "json", *sandbox.member_arguments(index))
        if outcome.exit_code != 0:
            raise RuntimeError(outcome.stderr)
        state = outcome.json["proposalState"]
    if state != "Accepted":
        raise RuntimeError(f"proposal is {state}")
    return str(identifier)


class Issuer:
    """An issuer of tokens with one RSA key."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.key_id = "key-1"
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
        now = datetime.now(timezone.utc)
        builder = x509.CertificateBuilder(
            subject, subject, self.key.public_key(), 1, now - timedelta(hours=1), now + timedelta(days=1)
        )
        self.certificate = builder.sign(self.key, SHA256())

    def set_issuer_action(self) -> dict[str, Any]:
        """The action that makes a service trust this issuer."""
        der = base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()
        keys = [{"kty": "RSA", "kid": self.key_id, "x5c": [der], "issuer": self.name}]
        return {
            "name": "set_jwt_issuer",
            "args": {"issuer": self.name, "auto_refresh": False, "jwks": {"keys": keys}},
        }

    def token(self, claims: dict[str, Any]) -> str:
        """A token with these claims, valid for an hour."""
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT", "kid": self.key_id}
        payload = {"iss": self.name, "nbf": now - 60, "exp": now + 3600, **claims}
        signed = f"{_encoded(header)}.{_encoded(payload)}"
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), SHA256())
        return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
