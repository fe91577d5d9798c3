"""Services that real CCF ran, lost and recovered, recovered once more by this node."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from support.peer import ask
from support.started_node import StartedNode, configuration, nothing_here
from tallystick.audit.auditor import audit_ledger
from tallystick.errors import FormatError
from tallystick.findings import Verdict
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.ledger import Ledger
from tallystick.node import tables
from tallystick.node.attestation import VirtualProvider
from tallystick.node.config import parse_config
from tallystick.node.keys import decrypt_secret
from tallystick.node.log import Level, Log
from tallystick.node.startup import StartError, start_node
from tallystick.node.state import NodeState
from tallystick.secrets.open import PrivateLedger

# Folder of the ledger, the service certificate to recover under, and the folder with members' keys.
SERVICES = {
    "js1": ("ccf-built/js1/ledger", "ccf-built/js1/service-cert-renewed.pem", "ccf-built/js1/common"),
    "cpp3": (
        "ccf-built/cpp3/state-final/node8/ledger-committed",
        "ccf-built/cpp3/state-final/node8/service-cert-3.pem",
        "ccf-built/cpp3/state-final/node8/common",
    ),
    **{
        name: (f"ledgers/{name}/ledger", f"ledgers/{name}/common/service_cert.pem", f"ledgers/{name}/common")
        for name in ("double_sealed_service", "acme_containing_service", "cose_flipflop_service", "expired_service")
    },
}


def _take_over(directory: Path, ledger: Path, certificate: Path) -> StartedNode:
    shutil.copytree(ledger, directory / "ledger")
    # Of some services the chunks that were not committed yet are kept apart.
    for path in ledger.with_name("ledger-current").glob("ledger_*"):
        shutil.copy(path, directory / "ledger")
    document: dict[str, Any] = configuration(directory)
    document["command"] = {
        "type": "Recover",
        "service_certificate_file": str(directory / "service_cert.pem"),
        "recover": {"previous_service_identity_file": str(certificate)},
    }
    stream = io.StringIO()
    provider = VirtualProvider(Path(__file__), directory)
    log = Log(Level.DEBUG, stream=stream)
    running = start_node(parse_config(document), lambda _node: nothing_here, log=log, provider=provider)
    return StartedNode(directory, running.node, [], stream, running)


def _hand_in_all(service: StartedNode, keys: list[Path]) -> None:
    shares = tables.get_json(service.node.runtime.begin(), tables.RECOVERY_SHARES)["encrypted_shares"]
    for path in keys:
        key = load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, RSAPrivateKey)
        for member_id, encrypted in shares.items():
            try:
                share = decrypt_secret(key, base64.b64decode(encrypted))
            except FormatError:
                continue
            if service.hand_in(member_id, share):
                return
    raise AssertionError("not enough shares")


@pytest.mark.parametrize("name", SERVICES)
def test_it_goes_on(name: str, shared_data: Path, tmp_path: Path, peer_python: Path) -> None:
    ledger, certificate, folder = (shared_data / path for path in SERVICES[name])
    keys = sorted(folder.glob("member*_enc_privk.pem"))
    service = _take_over(tmp_path, ledger, certificate)
    try:
        service.effect("transitionServiceToOpen", certificate.read_bytes(), service.node.service.certificate.encode())
        _hand_in_all(service, keys)
        service.wait_until(lambda: service.node.state == NodeState.PART_OF_NETWORK and service.node.app_open)
        written = service.commit(("private", b"k", b"after"))
    finally:
        service.stop()
    assert ask(peer_python, "verify", service.ledger)["verdict"] == "verified"
    anchor = TrustAnchor.from_certificates([certificate.read_bytes(), service.service_certificate.read_bytes()])
    verdict = audit_ledger([service.ledger], anchor, uncommitted=True).verdict
    assert verdict is not Verdict.FAILED
    # Shares issued at the end of the recovery open everything, back to the first transaction.
    private = PrivateLedger(Ledger([service.ledger], uncommitted=True), encryption_keys=keys)
    assert min(private.known.by_start) == 1
    assert max(private.known.by_start) < written.seqno


@pytest.mark.parametrize("name", ["eol_service", "sgx_service"])
def test_ledgers_of_the_first_version_are_refused_in_words(name: str, ledgers: Path, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"as in CCF 1\.x"):
        _take_over(tmp_path, ledgers / name / "ledger", ledgers / name / "common" / "service_cert.pem")


def test_committed_chunks_may_lie_in_directories_that_are_only_read(ccf_built: Path, tmp_path: Path) -> None:
    archive, own = tmp_path / "archive", tmp_path / "ledger"
    shutil.copytree(ccf_built / "js1" / "ledger", archive)
    own.mkdir()
    for path in archive.iterdir():
        if not path.name.endswith(".committed"):
            path.rename(own / path.name)
    before = {path.name: path.read_bytes() for path in archive.iterdir()}
    document = configuration(tmp_path)
    document["ledger"] = {"directory": str(own), "read_only_directories": [str(archive)]}
    document["command"] = {
        "type": "Recover",
        "service_certificate_file": str(tmp_path / "service_cert.pem"),
        "recover": {"previous_service_identity_file": str(ccf_built / "js1" / "service-cert-renewed.pem")},
    }
    provider = VirtualProvider(Path(__file__), tmp_path)
    log = Log(Level.DEBUG, stream=io.StringIO())
    running = start_node(parse_config(document), lambda _node: nothing_here, log=log, provider=provider)
    try:
        assert str(running.node.create_txid) == "4.1195"
        assert running.node.runtime.read_entry(1)
        assert running.node.runtime.read_entry(1194)
    finally:
        running.stop()
    assert {path.name: path.read_bytes() for path in archive.iterdir()} == before
