"""Evidence about nodes: virtual evidence as CCF's, hardware evidence against recorded reports."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import VerificationError
from tallystick.ledger import Ledger
from tallystick.node import tables
from tallystick.node.attestation import SnpProvider, VirtualProvider, platform_provider


def test_virtual_evidence_is_what_ccf_writes(tmp_path: Path) -> None:
    executable = tmp_path / "node"
    executable.write_bytes(b"program")
    provider = VirtualProvider(executable, tmp_path)
    digest = hashlib.sha256(b"program").hexdigest()
    prefix = tmp_path / f"ccf_virtual_attestation.{os.getpid()}"
    measured = (tmp_path / f"{prefix.name}.measurement").read_text()
    assert measured == json.dumps(
        {"host_data": digest, "measurement": "Insecure hard-coded virtual measurement v1"}, indent=2
    )
    evidence = provider.attest(bytes(32))
    quote = json.loads(evidence.quote)
    assert base64.b64decode(quote["report_data"]) == bytes(32)
    assert quote["host_data"] == digest
    assert json.loads((tmp_path / f"{prefix.name}.attestation").read_text()) == quote
    assert evidence.quote_info()["format"] == "Insecure_Virtual"
    assert evidence.trusting_rows[tables.VIRTUAL_HOST_DATA] == {digest.encode(): bytes(8)}


def test_this_machine_has_a_provider(tmp_path: Path) -> None:
    if Path("/dev/sev-guest").exists():
        pytest.skip("this is an SEV-SNP guest")
    assert platform_provider(Path(__file__), tmp_path).platform == "Virtual"


@pytest.fixture(scope="module")
def recorded(ledgers: Path) -> dict[str, Any]:
    """Evidence that a node of a real service recorded, and what its service made of it."""
    first = Ledger([ledgers / "cts_canary" / "ledger"], uncommitted=True, allow_gaps=True).get_transaction(1)
    [(node_id, value)] = first.tables[tables.NODES_INFO].items()
    info = json.loads(value or b"")
    quote = {key: base64.b64decode(text) for key, text in info["quote_info"].items() if key != "format"}
    return {"tables": first.tables, "node_id": node_id.decode(), "info": info, **quote}


def _provider(recorded: dict[str, Any], **changed: Any) -> SnpProvider:
    [text] = recorded["tables"][tables.SNP_HOST_DATA].values()
    arguments: dict[str, Any] = {
        "uvm_endorsements": recorded["uvm_endorsements"],
        "security_policy": json.loads(text),
        **changed,
    }
    return SnpProvider(lambda _data: recorded["quote"], recorded["endorsements"], **arguments)


def test_recorded_hardware_evidence_leads_to_the_rows_of_the_real_service(recorded: dict[str, Any]) -> None:
    evidence = _provider(recorded).attest(bytes.fromhex(recorded["node_id"]))
    assert evidence.measurement == recorded["info"]["code_digest"]
    assert evidence.quote_info() == recorded["info"]["quote_info"]
    for table in (tables.SNP_HOST_DATA, tables.SNP_UVM_ENDORSEMENTS):
        assert {key: json.loads(value) for key, value in evidence.trusting_rows[table].items()} == {
            key: json.loads(value) for key, value in recorded["tables"][table].items()
        }


def test_a_measurement_is_trusted_where_nobody_endorses_it(recorded: dict[str, Any]) -> None:
    rows = _provider(recorded, uvm_endorsements=None).attest(bytes.fromhex(recorded["node_id"])).trusting_rows
    assert list(rows[tables.SNP_MEASUREMENTS]) == [recorded["info"]["code_digest"].encode()]
    assert tables.SNP_UVM_ENDORSEMENTS not in rows


def test_evidence_for_another_key_is_refused(recorded: dict[str, Any]) -> None:
    with pytest.raises(VerificationError):
        _provider(recorded).attest(bytes(32))


def test_another_policy_is_refused(recorded: dict[str, Any]) -> None:
    with pytest.raises(VerificationError, match="security policy"):
        _provider(recorded, security_policy="package other").attest(bytes.fromhex(recorded["node_id"]))


def test_a_spoilt_report_is_refused(recorded: dict[str, Any]) -> None:
    raw = bytearray(recorded["quote"])
    raw[0x90] ^= 1
    provider = SnpProvider(lambda _data: bytes(raw), recorded["endorsements"])
    with pytest.raises(VerificationError):
        provider.attest(bytes.fromhex(recorded["node_id"]))
