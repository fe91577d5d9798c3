"""Certificates: the fields that CCF gives them, byte-level rules included."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from tallystick.errors import FormatError
from tallystick.node.certificates import (
    ServiceIdentity,
    alternative_names,
    endorse_request,
    parse_subject,
    parse_time,
    self_signed,
    signing_request,
)
from tallystick.node.keys import NodeKeys, SigningKey, decrypt_secret, encrypt_to_pem

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def _load(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


@pytest.mark.parametrize(("curve", "hash_type"), [("Secp384R1", SHA384), ("Secp256R1", SHA256)])
def test_service_certificate(curve: str, hash_type: type) -> None:
    service = ServiceIdentity.create("CN=My Service,O=Example", curve, START, 10)
    certificate = _load(service.certificate)
    assert certificate.version == x509.Version.v3
    assert certificate.subject == certificate.issuer == parse_subject("CN=My Service,O=Example")
    assert certificate.not_valid_before_utc == START
    assert certificate.not_valid_after_utc == START + timedelta(days=10) - timedelta(seconds=1)
    assert isinstance(certificate.signature_hash_algorithm, hash_type)
    assert 0 < certificate.serial_number < 2**128
    kinds = [(extension.value.__class__.__name__, extension.critical) for extension in certificate.extensions]
    assert kinds == [
        ("BasicConstraints", True),
        ("KeyUsage", True),
        ("SubjectKeyIdentifier", False),
        ("AuthorityKeyIdentifier", False),
    ]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 1)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert usage.digital_signature
    assert not usage.crl_sign
    own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert authority.key_identifier == own


def test_a_renewed_service_certificate_keeps_key_and_subject() -> None:
    service = ServiceIdentity.create("CN=My Service", "Secp384R1", START, 1)
    renewed = _load(service.renewed_certificate(START + timedelta(days=1), 5))
    first = _load(service.certificate)
    assert renewed.public_key() == first.public_key()
    assert renewed.subject == first.subject
    assert renewed.serial_number != first.serial_number
    assert renewed.not_valid_after_utc == START + timedelta(days=6) - timedelta(seconds=1)


def test_endorsed_node_certificate() -> None:
    service = ServiceIdentity.create("CN=My Service", "Secp384R1", START, 10)
    keys = NodeKeys.generate()
    names = alternative_names(["iPAddress:127.0.0.1", "dNSName:node.example.com"])
    request = signing_request(keys.identity, parse_subject("CN=CCF Node"), names)
    assert isinstance(x509.load_pem_x509_csr(request.encode()).signature_hash_algorithm, SHA512)
    certificate = _load(endorse_request(request, service, START, 3))
    certificate.verify_directly_issued_by(_load(service.certificate))
    assert SigningKey(keys.identity.private_key).id == keys.node_id
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.critical) == (False, True)
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == names
    authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    issuer = _load(service.certificate).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert authority.key_identifier == issuer.digest


def test_self_signed_node_certificate_names_its_addresses() -> None:
    key = SigningKey.generate("Secp256R1")
    names = alternative_names(["iPAddress:::1"])
    certificate = _load(self_signed(key, parse_subject("CN=CCF Node"), START, 1, names))
    certificate.verify_directly_issued_by(certificate)
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == names


def test_a_tampered_request_is_not_endorsed() -> None:
    service = ServiceIdentity.create("CN=My Service", "Secp384R1", START, 10)
    request = x509.load_pem_x509_csr(
        signing_request(SigningKey.generate(), parse_subject("CN=CCF Node"), None).encode()
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    der = bytearray(request.public_bytes(Encoding.DER))
    der[-1] ^= 1
    import base64

    body = base64.encodebytes(bytes(der)).decode()
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(FormatError):
        endorse_request(pem, service, START, 1)
    with pytest.raises(FormatError):
        endorse_request("no request", service, START, 1)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("260102030405Z", START),
        ("20260102030405Z", START),
        ("2026-01-02T03:04:05", START),
        ("2026-01-02T04:04:05+01:00", START),
        ("2026-01-02 03:04:05", START),
        ("2026-01-02T03:04:05Z", START),
    ],
)
def test_times_of_governance(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "", "tomorrow", "269902030405Z", "26010203040Z", "٢٦0102030405Z", "Z",
        "0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00",
    ],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(FormatError):
        parse_time(text)


@pytest.mark.parametrize("text", ["", "CN", "CN=", "X=1", "CN=a,b"])
def test_what_is_no_subject(text: str) -> None:
    with pytest.raises(FormatError):
        parse_subject(text)


@pytest.mark.parametrize("name", ["", "127.0.0.1", "iPAddress:host", "dNSName:ü"])
def test_what_is_no_alternative_name(name: str) -> None:
    with pytest.raises(FormatError):
        alternative_names([name])


@pytest.mark.parametrize("days", [10**9, -(10**9)])
def test_a_validity_that_no_certificate_has(days: int) -> None:
    key = SigningKey.generate()
    with pytest.raises(FormatError):
        self_signed(key, parse_subject("CN=CCF Node"), START, days)


def test_secrets_go_to_rsa_keys_only() -> None:
    keys = NodeKeys.generate()
    sealed = encrypt_to_pem(keys.encryption_pem, b"secret")
    assert decrypt_secret(keys.encryption, sealed) == b"secret"
    with pytest.raises(FormatError):
        decrypt_secret(NodeKeys.generate().encryption, sealed)
    with pytest.raises(FormatError):
        encrypt_to_pem(keys.identity.public_pem, b"secret")
    with pytest.raises(FormatError):
        encrypt_to_pem("nothing", b"secret")
    # A key by GOST R 34.10-2012, which nothing here can use.
    unknown = base64.b64encode(bytes.fromhex("3011300a06082a8503070101010103030001 02")).decode()
    with pytest.raises(FormatError, match="cannot be read"):
        encrypt_to_pem(f"-----BEGIN PUBLIC KEY-----\n{unknown}\n-----END PUBLIC KEY-----\n", b"secret")


def test_keys_sign_cose_at_fixed_width() -> None:
    assert len(SigningKey.generate().sign_cose(b"message")) == 96
    assert len(SigningKey.generate("Secp256R1").sign_cose(b"message")) == 64
