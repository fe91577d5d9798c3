"""A service from its first transaction on: tables as CCF writes them, and ledgers that everybody accepts."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from support.peer import ask
from support.started_node import StartedNode, configuration, make_member, start, tomorrow
from tallystick.audit.auditor import audit_ledger
from tallystick.findings import Verdict
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.ledger import Ledger
from tallystick.node import tables
from tallystick.node.effects import EffectError
from tallystick.node.keys import decrypt_secret
from tallystick.node.startup import StartError
from tallystick.node.state import NodeState
from tallystick.secrets.open import PrivateLedger
from tallystick.secrets.shares import Share


@pytest.fixture
def service(tmp_path: Path) -> Iterator[StartedNode]:
    started = start(tmp_path)
    yield started
    started.stop()


def _rows(node: StartedNode, table: str) -> dict[bytes, bytes]:
    return dict(node.node.runtime.begin().entries(table))


def _json(node: StartedNode, table: str) -> Any:
    return tables.get_json(node.node.runtime.begin(), table)


def _audit(node: StartedNode) -> Any:
    anchor = TrustAnchor.from_certificates([node.service_certificate.read_bytes()])
    return audit_ledger([node.ledger], anchor, uncommitted=True)


# ------------------------------------------------------------ genesis


def _tables_of_first(ledger: Path) -> dict[str, dict[bytes, bytes | None]]:
    first = Ledger([ledger], uncommitted=True).get_transaction(1)
    return {name: dict(rows) for name, rows in first.tables.items()}


def _shape(value: bytes | None) -> Any:
    """What a value looks like: keys of JSON objects, type of everything else."""
    try:
        decoded = json.loads(value or b"")
    except ValueError:
        return (value or b"").splitlines()[:1]
    if isinstance(decoded, dict):
        return {key: type(item).__name__ for key, item in decoded.items()}
    return type(decoded).__name__


def test_genesis_has_the_tables_and_values_of_a_real_one(service: StartedNode, ccf_built: Path) -> None:
    service.settle()
    ours, theirs = _tables_of_first(service.ledger), _tables_of_first(ccf_built / "js1" / "ledger")
    assert sorted(ours) == sorted(theirs)
    for name, rows in theirs.items():
        assert {len(key) for key in ours[name]} == {len(key) for key in rows}, name
        wanted = [_shape(value) for value in rows.values()]
        assert all(_shape(value) in wanted for value in ours[name].values()), name


def test_genesis_holds_what_was_configured(service: StartedNode) -> None:
    constitution = _json(service, tables.CONSTITUTION)
    assert constitution == (service.directory / "a.js").read_text() + "\n" + (service.directory / "b.js").read_text()
    assert _json(service, tables.SERVICE_CONFIG) == {
        "maximum_node_certificate_validity_days": 365,
        "maximum_service_certificate_validity_days": 365,
        "recovery_threshold": 2,
    }
    info = _json(service, tables.SERVICE_INFO)
    assert info["cert"] == service.service_certificate.read_text()
    assert (info["status"], info["current_service_create_txid"], info["recovery_count"]) == ("Opening", "2.1", 0)
    assert sorted(_rows(service, tables.MEMBERS_CERTS)) == sorted(member.id.encode() for member in service.members)
    node = json.loads(_rows(service, tables.NODES_INFO)[service.node.node_id.encode()])
    bound = json.loads((service.directory / "rpc_addresses.json").read_text())
    for name, interface in node["rpc_interfaces"].items():
        assert interface["bind_address"] == interface["published_address"] == bound[name]
    assert node["rpcport"] == bound["main"].rpartition(":")[2]
    quote = json.loads(base64.b64decode(node["quote_info"]["quote"]))
    assert base64.b64decode(quote["report_data"]).hex() == service.node.node_id


def test_files_that_operators_wait_for(service: StartedNode) -> None:
    assert (service.directory / "node.pid").read_text().isdigit()
    listening = json.loads((service.directory / "node_address.json").read_text())
    assert listening["node_to_node_interface"].startswith("127.0.0.1:")
    certificate = x509.load_pem_x509_certificate((service.directory / "node.pem").read_bytes())
    certificate.verify_directly_issued_by(certificate)
    assert stat.S_ISREG((service.directory / "service_cert.pem").stat().st_mode)


def test_each_interface_presents_its_certificate(service: StartedNode) -> None:
    service.settle()
    service.wait_until(lambda: service.node.gov_open)
    bound = json.loads((service.directory / "rpc_addresses.json").read_text())

    def presented(name: str) -> x509.Certificate:
        context = ssl.create_default_context(cafile=str(service.service_certificate))
        if name == "node":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        host, _, port = bound[name].rpartition(":")
        with (
            socket.create_connection((host, int(port)), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            der = secured.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der)

    issuer = x509.load_pem_x509_certificate(service.service_certificate.read_bytes())
    presented("main").verify_directly_issued_by(issuer)
    own = presented("node")
    own.verify_directly_issued_by(own)


# ------------------------------------------------------------ opening, shares, rekeys


def test_a_whole_life_is_accepted_by_everybody(tmp_path: Path, peer_python: Path) -> None:
    service = start(tmp_path)
    service.open()
    service.commit(("private", b"a", b"1"))
    service.effect("triggerLedgerRekey")
    service.commit(("private", b"a", b"2"), ("public:x", b"k", b"v"))
    service.effect("triggerLedgerRekey")
    service.commit(("private", b"a", b"3"))
    service.stop()
    verdict = _audit(service)
    assert verdict.verdict is Verdict.VERIFIED
    assert not verdict.findings
    assert ask(peer_python, "verify", service.ledger)["verdict"] == "verified"
    keys = [member.encryption_file for member in service.members[:2]]
    private = PrivateLedger(Ledger([service.ledger], uncommitted=True), encryption_keys=keys)
    assert len(private.known.by_start) == 3


def test_one_share_is_not_enough(tmp_path: Path) -> None:
    from tallystick.errors import UsageError

    service = start(tmp_path)
    service.open()
    service.stop()
    with pytest.raises(UsageError):
        PrivateLedger(Ledger([service.ledger], uncommitted=True), encryption_keys=[service.members[0].encryption_file])


def test_opening_writes_what_ccf_writes(service: StartedNode) -> None:
    txid = service.open()
    written = Ledger([service.ledger], uncommitted=True).get_transaction(txid.seqno).tables
    assert sorted(written) == [
        tables.SERVICE_INFO,
        tables.HISTORICAL_SECRET,
        tables.IDENTITY_ENDORSEMENT,
        tables.RECOVERY_SHARES,
        "public:proposal",
    ]
    assert _json(service, tables.HISTORICAL_SECRET) == {"next_version": 1}
    assert _json(service, tables.SERVICE_INFO)["status"] == "Open"
    endorsement = _json(service, tables.IDENTITY_ENDORSEMENT)
    assert sorted(endorsement) == ["endorsement", "endorsement_epoch_begin", "endorsing_key"]
    assert endorsement["endorsement_epoch_begin"] == "2.1"
    assert service.node.app_open


def test_opening_again_changes_nothing(service: StartedNode) -> None:
    service.open()
    before = service.node.runtime.last_seqno
    tx = service.node.runtime.begin()
    from tallystick.node.http.context import CommitOptions

    service.node.effects.call(tx, "transitionServiceToOpen", [None, b""], CommitOptions())
    assert tx.read_only
    assert service.node.runtime.last_seqno == before


@pytest.mark.parametrize("following", [None, b"another certificate"])
def test_opening_needs_the_right_identity(service: StartedNode, following: bytes | None) -> None:
    service.activate()
    with pytest.raises(EffectError, match="Service identity mismatch"):
        service.effect("transitionServiceToOpen", None, following)


def test_opening_needs_members_who_hold_shares(service: StartedNode) -> None:
    with pytest.raises(EffectError, match="at least one active recovery member"):
        service.effect("transitionServiceToOpen", None, service.node.service.certificate.encode())


def test_no_rekey_before_the_opening(service: StartedNode) -> None:
    with pytest.raises(EffectError, match="while the service is not open"):
        service.effect("triggerLedgerRekey")


def test_a_rekey_links_the_secrets(service: StartedNode) -> None:
    opened = service.open()
    rekeyed, _ = service.effect("triggerLedgerRekey")
    link = _json(service, tables.HISTORICAL_SECRET)
    assert sorted(link) == ["previous_ledger_secret"]
    assert link["previous_ledger_secret"]["version"] == 1
    assert link["previous_ledger_secret"]["previous_secret_stored_version"] == opened.seqno
    broadcast = _json(service, tables.ENCRYPTED_SECRETS)
    [entry] = broadcast[service.node.node_id]
    assert entry["version"] is None
    secret = decrypt_secret(service.node.keys.encryption, base64.b64decode(entry["encrypted_secret"]))
    assert service.node.runtime.latest_secret() == (rekeyed.seqno + 1, secret)
    assert service.effect("getLatestLedgerSecretSeqno")[1] == rekeyed.seqno + 1
    assert service.node.secrets.latest.version == rekeyed.seqno + 1
    service.effect("triggerLedgerRekey")
    assert (
        _json(service, tables.HISTORICAL_SECRET)["previous_ledger_secret"]["previous_secret_stored_version"]
        == rekeyed.seqno
    )


def test_owners_get_the_whole_key(tmp_path: Path) -> None:
    document = configuration(tmp_path)
    listed = document["command"]["start"]["members"]
    listed[2]["recovery_role"] = "Owner"
    service = start(tmp_path, command=document["command"])
    try:
        service.open()
        shares = _json(service, tables.RECOVERY_SHARES)["encrypted_shares"]
        xs = {}
        for member in service.members:
            plain = decrypt_secret(member.encryption, base64.b64decode(shares[member.id]))
            assert len(plain) == 44
            xs[member.name] = Share.parse(plain).x
        participants = sorted((member.id, member.name) for member in service.members[:2])
        assert xs == {participants[0][1]: 1, participants[1][1]: 2, "member2": 0}
    finally:
        service.stop()
    owner = [service.members[2].encryption_file]
    assert PrivateLedger(Ledger([service.ledger], uncommitted=True), encryption_keys=owner).known.by_start


def test_a_rekey_that_comes_second_conflicts(service: StartedNode) -> None:
    from tallystick._native import ConflictError
    from tallystick.node.http.context import CommitOptions

    service.open()
    first, second = service.node.runtime.begin(), service.node.runtime.begin()
    options = [CommitOptions(), CommitOptions()]
    for tx, option in zip((first, second), options, strict=True):
        service.node.effects.call(tx, "triggerLedgerRekey", [], option)
    service.node.commit(first, options[0])
    with pytest.raises(ConflictError):
        service.node.commit(second, options[1])


# ------------------------------------------------------------ certificates


def test_renewed_node_certificate_is_used(service: StartedNode) -> None:
    service.open()
    request = service.node.signing_request
    _, certificate = service.effect("generateEndorsedCertificate", request, tomorrow(), 30)
    txid = service.commit((tables.NODES_ENDORSED, service.node.node_id.encode(), certificate.encode()))
    service.settle(txid)
    signature = Ledger([service.ledger], uncommitted=True).get_transaction(txid.seqno + 1)
    row = json.loads(next(iter(signature.tables[tables.SIGNATURES].values())) or b"")
    assert row["cert"] == certificate
    service.wait_until(lambda: service.node.endorsed_certificate == certificate)
    endorsed = x509.load_pem_x509_certificate(certificate.encode())
    own = x509.load_pem_x509_certificate(service.node.self_signed_certificate.encode())
    assert own.not_valid_before_utc == endorsed.not_valid_before_utc
    assert own.not_valid_after_utc == endorsed.not_valid_after_utc
    assert own.not_valid_after_utc - own.not_valid_before_utc == timedelta(days=30, seconds=-1)


def test_renewed_service_certificate_is_taken_over(service: StartedNode) -> None:
    service.open()
    _, certificate = service.effect("generateNetworkCertificate", tomorrow(), 30)
    info = _json(service, tables.SERVICE_INFO)
    txid = service.commit((tables.SERVICE_INFO, tables.SINGLETON, tables.json_bytes({**info, "cert": certificate})))
    service.settle(txid)
    service.wait_until(lambda: service.node.service.certificate == certificate)
    service.stop()
    assert _audit(service).verdict is Verdict.VERIFIED


@pytest.mark.parametrize(("valid_from", "days"), [("soon", 1), ("260101000000Z", 0), ("260101000000Z", 1.5)])
def test_validity_must_make_sense(service: StartedNode, valid_from: str, days: float) -> None:
    with pytest.raises(EffectError):
        service.effect("generateNetworkCertificate", valid_from, days)


def test_privileged_functions_refuse_nonsense(service: StartedNode) -> None:
    with pytest.raises(EffectError, match="no privileged function"):
        service.effect("launch")
    with pytest.raises(EffectError, match="arguments"):
        service.effect("generateNetworkCertificate")
    with pytest.raises(EffectError, match="does not seal"):
        service.effect("shuffleSealedShares")


def test_a_chunk_ends_when_asked(service: StartedNode) -> None:
    txid, _ = service.effect("triggerLedgerChunk")
    service.settle(txid)
    service.wait_until((service.ledger / f"ledger_1-{txid.seqno + 1}.committed").exists)


# ------------------------------------------------------------ modes and mistakes


def test_cose_only_signatures(tmp_path: Path, peer_python: Path) -> None:
    service = start(tmp_path, ledger_signatures={"delay": "50ms", "mode": "CoseOnly"})
    service.open()
    service.stop()
    ledger = Ledger([service.ledger], uncommitted=True)
    signatures = [sorted(each.tables) for each in ledger if each.is_signature]
    assert signatures
    assert all(names == [tables.COSE_SIGNATURES, tables.TREE] for names in signatures)
    assert _audit(service).verdict is Verdict.VERIFIED
    assert ask(peer_python, "verify", service.ledger)["verdict"] == "verified"


def test_the_smaller_curve(tmp_path: Path, peer_python: Path) -> None:
    service = start(tmp_path, node_certificate={"curve_id": "Secp256R1"})
    service.open()
    service.stop()
    assert _audit(service).verdict is Verdict.VERIFIED
    assert ask(peer_python, "verify", service.ledger)["verdict"] == "verified"


def test_a_ledger_is_never_started_over(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "ledger_1").touch()
    with pytest.raises(StartError, match="On start, ledger directory should not exist or be empty"):
        start(tmp_path)
    assert not (tmp_path / "node.pid").exists()


def test_a_pid_file_that_is_there_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "node.pid").write_text("1")
    with pytest.raises(StartError, match=r"already exists\. Exiting\."):
        start(tmp_path)
    assert (tmp_path / "node.pid").read_text() == "1"


def test_an_address_in_use_is_named(tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    try:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        network = configuration(tmp_path)["network"]
        network["rpc_interfaces"]["main"]["bind_address"] = address
        with pytest.raises(StartError, match=address):
            start(tmp_path, network=network)
    finally:
        taken.close()


@pytest.mark.parametrize("name", ["a.js", "member1_cert.pem", "member2_enc_pubk.pem"])
def test_files_that_a_configuration_names_must_be_good(tmp_path: Path, name: str) -> None:
    from tallystick.node.attestation import VirtualProvider
    from tallystick.node.config import ConfigError, parse_config
    from tallystick.node.log import Log
    from tallystick.node.startup import start_node

    for index in range(3):
        make_member(tmp_path, index)
    for constitution in ("a.js", "b.js"):
        (tmp_path / constitution).write_text("")
    (tmp_path / name).write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=name):
        start_node(
            parse_config(configuration(tmp_path)),
            lambda _node: lambda _request: (404, [], b"", False),
            log=Log(),
            provider=VirtualProvider(Path(__file__), tmp_path),
        )
    assert not (tmp_path / "ledger").exists()


def test_state_after_the_start(service: StartedNode) -> None:
    assert service.node.state == NodeState.PART_OF_NETWORK
    assert str(service.node.create_txid) == "2.1"
    assert "proves nothing" in service.log.getvalue()
