"""Keys of token issuers: what is stored, what is refused, and the refresh over HTTPS."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from support.started_node import StartedNode, encryption_key, start
from tallystick.errors import FormatError
from tallystick.node import jwt, tables
from tallystick.node.jwt_refresh import RefreshError, fetch_json

ISSUER = "https://login.example.com"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[StartedNode]:
    started = start(tmp_path)
    yield started
    started.stop()


def _b64u(number: int) -> str:
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def rsa_jwk(kid: str, index: int = 0, **more: object) -> dict[str, Any]:
    """A JSON Web Key of one of the tests' RSA keys."""
    numbers = encryption_key(index).public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "n": _b64u(numbers.n), "e": _b64u(numbers.e), **more}


def ec_jwk(kid: str, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """A JSON Web Key on P-256."""
    numbers = key.public_key().public_numbers()
    return {"kty": "EC", "kid": kid, "crv": "P-256", "x": _b64u(numbers.x), "y": _b64u(numbers.y)}


def _spki(key: Any) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def _stored(service: StartedNode) -> dict[str, Any]:
    return tables.rows_json(service.node.runtime.begin(), tables.JWT_KEYS)


def _set(service: StartedNode, issuer: str, *keys: dict[str, Any]) -> bool:
    """Sets keys; whether that wrote anything."""
    tx = service.node.runtime.begin()
    jwt.set_keys(tx, issuer, {"keys": list(keys)})
    written = not tx.read_only
    service.node.commit(tx)
    return written


def test_keys_are_stored_as_ccf_stores_them(service: StartedNode) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert _set(service, ISSUER, rsa_jwk("a", issuer=ISSUER), ec_jwk("b", key))
    assert _stored(service) == {
        "a": [{"constraint": ISSUER, "issuer": ISSUER, "public_key": _spki(encryption_key(0))}],
        "b": [{"issuer": ISSUER, "public_key": _spki(key)}],
    }


def test_certificates_give_their_keys(service: StartedNode) -> None:
    from tallystick.node.certificates import parse_subject, self_signed
    from tallystick.node.keys import SigningKey

    key = SigningKey.generate()
    pem = self_signed(key, parse_subject("CN=x"), datetime.now(timezone.utc), 1)
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    _set(service, ISSUER, {"kty": "EC", "kid": "c", "x5c": [base64.b64encode(der).decode()]})
    assert _stored(service)["c"][0]["public_key"] == base64.b64encode(key.spki).decode()


def test_an_unchanged_set_writes_nothing(service: StartedNode) -> None:
    assert _set(service, ISSUER, rsa_jwk("a"))
    assert not _set(service, ISSUER, rsa_jwk("a"))


def test_keys_that_are_gone_are_removed_and_those_of_others_stay(service: StartedNode) -> None:
    other = "https://other.example.com"
    _set(service, ISSUER, rsa_jwk("a"), rsa_jwk("shared"))
    _set(service, other, rsa_jwk("shared", 1))
    assert [entry["issuer"] for entry in _stored(service)["shared"]] == [ISSUER, other]
    _set(service, ISSUER, rsa_jwk("new"))
    assert sorted(_stored(service)) == ["new", "shared"]
    assert [entry["issuer"] for entry in _stored(service)["shared"]] == [other]
    tx = service.node.runtime.begin()
    jwt.remove_keys(tx, other)
    service.node.commit(tx)
    assert sorted(_stored(service)) == ["new"]


@pytest.mark.parametrize(
    ("issuer", "constraint", "accepted"),
    [
        ("https://a.example.com", "https://example.com", True),
        ("https://a.example.com", "https://a.example.com/tenant", True),
        ("https://example.com", "https://a.example.com", False),
        ("https://notexample.com", "https://example.com", False),
        ("https://example.com", "nothing", False),
    ],
)
def test_a_provider_speaks_only_for_itself(service: StartedNode, issuer: str, constraint: str, accepted: bool) -> None:
    if accepted:
        assert _set(service, issuer, rsa_jwk("a", issuer=constraint))
        return
    with pytest.raises(FormatError, match="fails validation"):
        _set(service, issuer, rsa_jwk("a", issuer=constraint))


@pytest.mark.parametrize(
    "jwks",
    [
        None,
        {},
        {"keys": []},
        {"keys": [1]},
        {"keys": [{"kty": "RSA"}]},
        {"keys": [{"kid": "a"}]},
        {"keys": [{"kid": "a", "n": "!", "e": "AQAB"}]},
        {"keys": [{"kid": "a", "n": "AQ", "e": "AQ"}]},
        {"keys": [{"kid": "a", "x": "AQ", "y": "AQ", "crv": "P-256"}]},
        {"keys": [{"kid": "a", "x": "AQ", "y": "AQ", "crv": "P-1"}]},
        {"keys": [{"kid": "a", "x5c": ["AQ=="]}]},
        {"keys": [{"kid": "a", "x5c": []}]},
        {"keys": [{"kid": "a"}] * 1001},
    ],
)
def test_sets_that_are_none(service: StartedNode, jwks: object) -> None:
    tx = service.node.runtime.begin()
    with pytest.raises(FormatError):
        jwt.set_keys(tx, ISSUER, jwks)
    assert tx.read_only


# ------------------------------------------------------------ refresh


class Provider:
    """An OpenID provider on loopback, with a certificate of its own."""

    def __init__(self, directory: Path, host: str = "127.0.0.1", *, by_authority: bool = False) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.pause = 0.0
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(timezone.utc)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
        import ipaddress

        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
            .sign(key, SHA256())
        )
        self.ca = certificate.public_bytes(Encoding.PEM).decode()
        if by_authority:
            # The certificate so far becomes the authority that issues another, for another key.
            authority, key = key, ec.generate_private_key(ec.SECP256R1())
            server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
            issued = x509.CertificateBuilder().subject_name(server).issuer_name(name).public_key(key.public_key())
            issued = issued.serial_number(2).not_valid_before(now - timedelta(days=1))
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
            issued = issued.not_valid_after(now + timedelta(days=1)).add_extension(names, critical=False)
            certificate = issued.sign(authority, SHA256())
        files = directory / "provider.pem", directory / "provider_key.pem"
        files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        provider = self

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                status, body = provider.answers.get(self.path, (404, b""))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                try:
                    for byte in range(0, len(body), max(1, len(body) // 20)):
                        self.wfile.write(body[byte : byte + max(1, len(body) // 20)])
                        time.sleep(provider.pause)
                except OSError:
                    return

            def log_message(self, *_arguments: object) -> None:
                """Says nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        self.context = context
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def publish(self, *keys: dict[str, Any]) -> None:
        described = {"jwks_uri": f"{self.url}/keys?v=1", "issuer": self.url}
        self.answers["/.well-known/openid-configuration"] = 200, json.dumps(described).encode()
        self.answers["/keys?v=1"] = 200, json.dumps({"keys": list(keys)}).encode()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    made = Provider(tmp_path)
    yield made
    made.stop()


def _register(service: StartedNode, provider: Provider, ca: str | None = None) -> None:
    metadata = {"issuer": provider.url, "auto_refresh": True, "ca_cert_bundle_name": "ca"}
    service.commit(
        (tables.CA_BUNDLES, b"ca", tables.json_bytes(ca or provider.ca)),
        (tables.JWT_ISSUERS, provider.url.encode(), tables.json_bytes(metadata)),
    )


def test_a_new_issuer_is_refreshed_at_once(service: StartedNode, provider: Provider) -> None:
    provider.publish(rsa_jwk("a"))
    _register(service, provider)
    service.wait_until(lambda: service.node.jwt.metrics.successes == 1)
    entry = {"constraint": provider.url, "issuer": provider.url, "public_key": _spki(encryption_key(0))}
    assert _stored(service) == {"a": [entry]}
    provider.publish(rsa_jwk("b", 1))
    service.node.jwt.refresh()
    assert sorted(_stored(service)) == ["b"]
    before = service.node.runtime.last_seqno
    service.node.jwt.refresh()
    metrics = service.node.jwt.metrics
    assert (metrics.attempts, metrics.successes, metrics.failures) == (3, 3, 0)
    service.settle()
    assert service.node.runtime.last_seqno - before <= 1, "a refresh without news left a trace"


def test_failures_are_counted_and_logged(service: StartedNode, provider: Provider) -> None:
    _register(service, provider)
    service.wait_until(lambda: service.node.jwt.metrics.failures == 1)
    assert "answered 404" in service.log.getvalue()
    provider.answers["/.well-known/openid-configuration"] = 200, b"{}"
    service.node.jwt.refresh()
    assert "no jwks_uri" in service.log.getvalue()
    provider.publish()
    service.node.jwt.refresh()
    assert "JWKS has no keys" in service.log.getvalue()
    assert service.node.jwt.metrics.failures == 3
    assert _stored(service) == {}


def test_only_the_registered_roots_are_trusted(service: StartedNode, provider: Provider, tmp_path: Path) -> None:
    provider.publish(rsa_jwk("a"))
    other = tmp_path / "other"
    other.mkdir()
    stranger = Provider(other)
    try:
        _register(service, provider, stranger.ca)
        service.wait_until(lambda: service.node.jwt.metrics.failures == 1)
        assert not provider.asked
    finally:
        stranger.stop()


def test_issuers_without_refresh_are_left_alone(service: StartedNode, provider: Provider) -> None:
    metadata = tables.json_bytes({"issuer": provider.url, "auto_refresh": False})
    service.commit((tables.JWT_ISSUERS, provider.url.encode(), metadata))
    service.node.jwt.refresh()
    assert service.node.jwt.metrics.attempts == 0
    assert not provider.asked


def test_documents_are_bounded_in_size_and_time(provider: Provider) -> None:
    provider.answers["/big"] = 200, json.dumps("x" * 5000).encode()
    assert fetch_json(f"{provider.url}/big", provider.ca, 6000) == "x" * 5000
    with pytest.raises(RefreshError, match="larger than 4000"):
        fetch_json(f"{provider.url}/big", provider.ca, 4000)
    provider.pause = 0.2
    started = time.monotonic()
    with pytest.raises(RefreshError, match=r"too long|timed out"):
        fetch_json(f"{provider.url}/big", provider.ca, 6000, deadline=0.5)
    assert time.monotonic() - started < 3
    provider.answers["/text"] = 200, b"hello"
    provider.pause = 0
    with pytest.raises(RefreshError, match="not JSON"):
        fetch_json(f"{provider.url}/text", provider.ca, 6000)


def test_a_server_that_never_answers_is_left(provider: Provider) -> None:
    # The system accepts the connection; nobody ever reads from it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(RefreshError, match="took too long"):
            fetch_json(url, provider.ca, 6000, deadline=0.3)


@pytest.mark.parametrize("within_tls", [False, True])
def test_a_server_that_sends_a_byte_now_and_then_is_left(provider: Provider, *, within_tls: bool) -> None:
    # Before the handshake: a record that never ends. After it: a header that never ends.
    beginning = b"HTTP/1.1 200 OK\r\nx: " if within_tls else b"\x16\x03\x03\x40\x00"
    done = threading.Event()

    def drip(connected: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connected.sendall(beginning)
            while not done.wait(0.02):
                connected.sendall(b"a")

    class Dripping(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if not within_tls:
                drip(self.request)
                return
            with contextlib.suppress(OSError), provider.context.wrap_socket(self.request, server_side=True) as secured:
                drip(secured)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            url = f"https://127.0.0.1:{server.server_address[1]}/x"
            with pytest.raises(RefreshError, match="took too long"):
                fetch_json(url, provider.ca, 6000, deadline=0.5)
        finally:
            done.set()
            server.shutdown()


@pytest.mark.parametrize("by_authority", [True, False])
def test_the_host_name_counts_unless_the_certificate_itself_is_named(by_authority: bool, tmp_path: Path) -> None:
    other = Provider(tmp_path, host="127.0.0.2", by_authority=by_authority)
    try:
        other.answers["/x"] = 200, b"{}"
        if by_authority:
            with pytest.raises(RefreshError, match=r"certificate is not for 127\.0\.0\.1"):
                fetch_json(f"{other.url}/x", other.ca, 6000)
        else:
            assert fetch_json(f"{other.url}/x", other.ca, 6000) == {}
    finally:
        other.stop()


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "https://", "https://127.0.0.1:99999/", "nothing", "https://[/"])
def test_urls_that_are_not_fetched(url: str, provider: Provider) -> None:
    with pytest.raises(RefreshError):
        fetch_json(url, provider.ca, 6000)


def test_nobody_there(provider: Provider) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(RefreshError, match="cannot be fetched"):
            fetch_json(url, provider.ca, 6000, deadline=2)


def test_a_bundle_that_is_none(provider: Provider) -> None:
    with pytest.raises(RefreshError):
        fetch_json(f"{provider.url}/x", "no certificates", 6000)
