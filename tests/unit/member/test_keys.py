"""Keys: what is made belongs together, is written with safe modes, and never overwrites."""

from __future__ import annotations

import os
import stat
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cryptography import x509

from tallystick.errors import UsageError
from tallystick.member.keys import CURVES, generate_keys, load_keys, write_keys

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
ALICE = generate_keys("alice", NOW, days=30)


def test_files_have_safe_modes_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files = write_keys(ALICE, tmp_path / "new", "alice")
    finally:
        os.umask(before)

    assert [path.name for path in files.all()] == [
        "alice_cert.pem",
        "alice_privk.pem",
        "alice_enc_privk.pem",
        "alice_enc_pubk.pem",
    ]
    modes = [stat.S_IMODE(path.stat().st_mode) for path in files.all()]
    assert modes == [0o644, 0o600, 0o600, 0o644]


def test_nothing_is_overwritten_and_nothing_half_done_stays(tmp_path: Path) -> None:
    (tmp_path / "alice_enc_privk.pem").write_text("mine")

    with pytest.raises(UsageError, match="never overwritten"):
        write_keys(ALICE, tmp_path, "alice")

    assert [path.name for path in tmp_path.iterdir()] == ["alice_enc_privk.pem"]
    assert (tmp_path / "alice_enc_privk.pem").read_text() == "mine"


@pytest.mark.parametrize("curve", CURVES)
def test_what_is_written_is_read_back(curve: str, tmp_path: Path) -> None:
    keys = generate_keys("bob", NOW, curve=curve, encryption=False)
    files = write_keys(keys, tmp_path, "bob")

    back = load_keys(files.certificate, files.key)

    assert back.id == keys.id
    assert back.key.private_numbers() == keys.key.private_numbers()
    assert files.encryption_key is None


def test_validity_includes_its_last_second() -> None:
    certificate = x509.load_pem_x509_certificate(ALICE.certificate.encode())
    assert str(certificate.not_valid_after_utc - certificate.not_valid_before_utc) == "29 days, 23:59:59"


def test_keys_of_another_certificate_are_refused(tmp_path: Path) -> None:
    alice = write_keys(ALICE, tmp_path, "alice")
    bob = write_keys(generate_keys("bob", NOW, encryption=False), tmp_path, "bob")

    with pytest.raises(UsageError) as mismatch:
        load_keys(alice.certificate, bob.key)
    assert mismatch.value.code == "key-mismatch"
    with pytest.raises(UsageError) as swapped:
        load_keys(alice.key, alice.certificate)
    assert swapped.value.code == "certificate-unreadable"
    with pytest.raises(UsageError, match="expected ECDSA") as wrong:
        load_keys(alice.certificate, alice.encryption_key or "")
    assert wrong.value.hint is not None
    with pytest.raises(UsageError) as missing:
        load_keys(tmp_path / "nowhere", bob.key)
    assert missing.value.code == "key-unreadable"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_names_that_are_no_file_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_keys(ALICE, tmp_path, name)


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb"])
def test_names_that_no_certificate_takes(name: str) -> None:
    with pytest.raises(UsageError):
        generate_keys(name, NOW)
