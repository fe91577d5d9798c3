"""Members' requests equal those of the official ``ccf_cose_sign1`` tools byte for byte, up to the signature."""

from __future__ import annotations

import base64
import json
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from support.run import tallystick
from tallystick.cose import verify_sign1
from tallystick.member.keys import MemberKeys, generate_keys, load_keys, write_keys
from tallystick.member.requests import GovernanceRequest, RequestType

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
DATE = "2026-03-04T05:06:07+01:00"
PROPOSAL = "ab" * 32
CASES = [
    ("P-256", "proposal", b'{"actions": []}', None),
    ("P-384", "proposal", b'{"actions": []}', None),
    ("P-521", "proposal", b'{"actions": []}', None),
    ("P-384", "ballot", '{"ballot": "export function vote() { return \u00e9; }"}'.encode(), PROPOSAL),
    ("P-384", "withdrawal", b"", PROPOSAL),
    ("P-384", "ack", b'{"stateDigest": "00"}', None),
    ("P-384", "state_digest", b"", None),
    ("P-384", "recovery_share", b'{"share": "AA=="}', None),
]
DIGESTS = {32: SHA256(), 48: SHA384(), 64: SHA512()}


def _official(peer: Path, tool: str, *arguments: str | Path) -> bytes:
    script = f"import sys; from ccf.cose import {tool}_cli as run; sys.exit(run())"
    return subprocess.run([peer, "-c", script, *map(str, arguments)], capture_output=True, check=True).stdout


def _signed(message: bytes, keys: MemberKeys) -> bytes:
    """All of a message but its signature, which comes last, once that holds."""
    verify_sign1(message, keys.certificate)
    return message[: -2 * ((keys.key.curve.key_size + 7) // 8)]


@pytest.mark.parametrize(
    ("curve", "kind", "payload", "proposal_id"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES]
)
def test_signed_messages(
    curve: str, kind: str, payload: bytes, proposal_id: str | None, tmp_path: Path, peer_python: Path
) -> None:
    files = write_keys(generate_keys("member", NOW, curve=curve, encryption=False), tmp_path, "member")
    content = tmp_path / "content"
    content.write_bytes(payload)
    common = [
        "--content", content, "--signing-cert", files.certificate,
        "--ccf-gov-msg-type", kind, "--ccf-gov-msg-created_at", DATE,
    ]  # fmt: skip
    if proposal_id is not None:
        common += ["--ccf-gov-msg-proposal_id", proposal_id]
    keys = load_keys(files.certificate, files.key)
    created_at = int(datetime.fromisoformat(DATE).timestamp())

    # Signed by each.
    theirs = _official(peer_python, "sign", *common, "--signing-key", files.key)
    ours = GovernanceRequest(RequestType(kind), payload, created_at, proposal_id).sign(keys)
    assert _signed(ours, keys) == _signed(theirs, keys)

    # Prepared by each: the same digest, in the same form.
    request = tmp_path / "request.json"
    arguments: list[str | Path] = ["member", "prepare", "--type", kind, "--content", content, "--created-at", DATE]
    arguments += ["--proposal-id", proposal_id] if proposal_id is not None else []
    assert tallystick(*arguments, "--cert", files.certificate, "-o", request).exit_code == 0
    prepared: dict[str, Any] = json.loads(request.read_bytes())
    assert json.loads(_official(peer_python, "prepare", *common)) == {key: prepared[key] for key in ("alg", "value")}

    # Finished by each with the same signature: the same message.
    signature = _sign_digest(keys, prepared["value"], tmp_path)
    finished = tmp_path / "message.cose"
    assert tallystick("member", "finish", request, "--signature", signature, "-o", finished).exit_code == 0
    assert finished.read_bytes() == _official(peer_python, "finish", *common, "--signature", signature)


def _sign_digest(keys: MemberKeys, digest: str, directory: Path) -> Path:
    """Signs as a key vault does, and writes what it answers."""
    value = base64.b64decode(digest)
    r, s = utils.decode_dss_signature(keys.key.sign(value, ec.ECDSA(utils.Prehashed(DIGESTS[len(value)]))))
    width = (keys.key.curve.key_size + 7) // 8
    path = directory / "signature.json"
    raw = r.to_bytes(width, "big") + s.to_bytes(width, "big")
    path.write_text(json.dumps({"kid": "key", "value": base64.urlsafe_b64encode(raw).decode()}))
    return path
