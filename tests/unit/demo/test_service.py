"""A demonstration service writes what a node would write, down to secrets that nobody here reads back."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from support import slow
from support.services import STYLES, new_service, recovered_base
from tallystick.demo.service import DemoService
from tallystick.demo.shares import split

PRIME = 2**31 - 1


def _open(key: bytes, sealed: bytes) -> bytes:
    tag, iv, ciphertext = sealed[:16], sealed[16:28], sealed[28:]
    return AESGCM(key).decrypt(iv, ciphertext + tag, None)


def _interpolate(shares: list[bytes]) -> bytes:
    """The value at 0 of the polynomials that go through the shares, coordinate by coordinate."""
    points = [[int.from_bytes(share[at : at + 4], "little") for at in range(0, 44, 4)] for share in shares]
    out = b""
    for coordinate in range(1, 11):
        total = 0
        for x, *_ in points:
            term = next(p for p in points if p[0] == x)[coordinate]
            for other, *_ in points:
                if other != x:
                    term = term * other * pow(other - x, -1, PRIME) % PRIME
            total = (total + term) % PRIME
        out += total.to_bytes(4, "little")
    return out


@pytest.mark.parametrize("chosen", [(0, 1), (0, 2), (2, 1), (0, 1, 2)])
def test_any_two_of_three_shares_give_the_secret(chosen: tuple[int, ...]) -> None:
    secret, shares = split(3, 2)

    assert _interpolate([shares[i] for i in chosen]) == secret
    assert _interpolate([shares[0]]) != secret


def _shares_in_ledger(service: DemoService) -> tuple[list[bytes], bytes]:
    value = json.loads(service.value("public:ccf.internal.recovery_shares") or b"{}")
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    shares = [
        member.encryption_key.decrypt(base64.b64decode(value["encrypted_shares"][member.id]), oaep)
        for member in service.members
    ]
    return shares, base64.b64decode(value["wrapped_latest_ledger_secret"])


def test_members_can_recover_every_ledger_secret(tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger")
    service.genesis()
    service.open()
    service.recover()

    shares, wrapped = _shares_in_ledger(service)
    shared = _interpolate(shares[:2])
    secret = _open(HKDF(hashes.SHA256(), 32, None, shared).derive(shared), wrapped)
    assert secret == service.secret
    history = json.loads(service.value("public:ccf.internal.historical_encrypted_ledger_secret") or b"{}")
    older = _open(secret, base64.b64decode(history["previous_ledger_secret"]["encrypted_data"]))
    assert older == service.older_secrets[0][1]
    assert history["next_version"] == service.secret_start


@pytest.mark.parametrize("style", STYLES)
def test_private_data_opens_with_the_secret_of_its_time(style: str) -> None:
    service = recovered_base(style).service
    assert service is not None
    secrets = [*service.older_secrets, (service.secret_start, service.secret)]
    opened = 0
    for entry in slow.read_ledger(service.directory):
        secret = next(key for start, key in reversed(secrets) if start <= entry.seqno)
        iv = entry.seqno.to_bytes(8, "little") + entry.view.to_bytes(4, "little")
        sealed = entry.private_domain + entry.raw[8:24]
        plaintext = AESGCM(secret).decrypt(iv, sealed, entry.public_domain)
        opened += b"private value" in plaintext
    assert opened == 6


def test_keys_of_tables_follow_the_real_ones(shared_data: Path) -> None:
    """The first transaction has the tables that real services of the same kind have, and one-to-one fields."""
    real = next(slow.read_ledger(shared_data / "ccf-built" / "js1" / "ledger")).tables
    service = recovered_base("6.x").service
    assert service is not None
    ours = slow.decode_entry(service.written[1].entry).tables

    assert set(real) - set(ours) == {"public:ccf.gov.nodes.virtual.host_data"}
    assert set(ours) <= set(real)
    for table in ("public:ccf.gov.service.info", "public:ccf.gov.service.config", "public:ccf.gov.members.info"):
        first = next(iter(real[table].values()))
        mine = next(iter(ours[table].values()))
        assert json.loads(mine or b"{}").keys() == json.loads(first or b"{}").keys()


def test_recovery_needs_a_signature_before_it(tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger")
    service.genesis()
    service.open()
    service.append({"public:records": {b"a": b"b"}})

    with pytest.raises(RuntimeError, match="starts from a signature"):
        service.recover()
