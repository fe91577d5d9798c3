"""Attestation evidence of real services: what holds, and that no part of it can be changed."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tallystick.attestation import policy as policies
from tallystick.attestation.audit import AttestationAudit, audit_attestation
from tallystick.attestation.policy import JoinPolicy
from tallystick.attestation.sgx import verify_sgx_evidence
from tallystick.attestation.snp import SnpReport, TcbVersion, verify_snp_report
from tallystick.attestation.uvm import verify_uvm_endorsement
from tallystick.errors import FormatError, TallystickError, VerificationError
from tallystick.ledger.ledger import Ledger

NODES = "public:ccf.gov.nodes.info"


@dataclass
class Changed:
    """A transaction of which some tables were replaced: what a malicious service that signs anew would write."""

    original: Any
    replaced: dict[str, dict[bytes, bytes | None]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    @property
    def tables(self) -> dict[str, dict[bytes, bytes | None]]:
        return {**self.original.tables, **self.replaced}


def first_node(ledgers: Path, service: str) -> tuple[Any, str, dict[str, Any]]:
    transaction = Ledger(ledgers / service / "ledger", uncommitted=True).get_transaction(1)
    key, value = next(iter(transaction.tables[NODES].items()))
    assert value is not None
    return transaction, key.decode(), json.loads(value)


def quote_of(row: dict[str, Any], part: str = "quote") -> bytes:
    return base64.b64decode(row["quote_info"][part])


def audit(ledgers: Path, service: str) -> AttestationAudit:
    return audit_attestation(Ledger(ledgers / service / "ledger", uncommitted=True))


def codes(result: AttestationAudit) -> list[str]:
    return sorted(item.code for node in result.nodes for item in node.findings)


def test_a_production_node_is_verified_to_amd_and_to_the_maker_of_its_utility_vm(ledgers: Path) -> None:
    result = audit(ledgers, "cts_canary")
    assert result.verdict.value == "verified"
    (node,) = result.nodes
    assert node.node_id == "9eef2504a6d1caf9d3cdab00c163caa2f0aa44e39e58198c1599e018e96fcfcb"
    assert node.facts["product"] == "Milan"
    assert node.facts["uvm_svn"] == "101"
    assert node.facts["host_data"] == "baae679db10d05a8063a711913af41ad39825e9eb6e6eb436b9566f99a53d547"


def test_nine_enclaves_lead_to_intel_and_three_can_be_debugged(ledgers: Path) -> None:
    result = audit(ledgers, "sgx_service")
    assert Counter(node.verdict.value for node in result.nodes) == {"verified": 6, "undecided": 3}
    assert codes(result) == ["attestation-debug-enclave"] * 3
    assert result.verdict.value == "undecided"


def test_virtual_evidence_proves_nothing(ledgers: Path) -> None:
    result = audit(ledgers, "double_sealed_service")
    assert result.verdict.value == "undecided"
    assert set(codes(result)) == {"attestation-virtual"}


def test_a_node_without_evidence_fails(ledgers: Path) -> None:
    result = audit(ledgers, "expired_service")
    assert result.verdict.value == "failed"
    assert Counter(codes(result)) == {"attestation-missing": 3, "attestation-virtual": 3}


# Offsets into the report: policy, measurement, host data, report data, reported TCB, chip id, signature.
@pytest.mark.parametrize("offset", [0x08, 0x50, 0x90, 0xC0, 0x180, 0x1A0, 0x2A0, 0x2A0 + 72, 0x2A0 + 60])
def test_no_part_of_a_report_can_be_changed(ledgers: Path, offset: int) -> None:
    _, node_id, row = first_node(ledgers, "cts_canary")
    report = bytearray(quote_of(row))
    report[offset] ^= 1
    with pytest.raises(VerificationError) as caught:
        verify_snp_report(bytes(report), quote_of(row, "endorsements"), node_id)
    assert caught.value.code == "attestation-signature"


@pytest.mark.parametrize("size", [0, 1183, 1185])
def test_a_report_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(FormatError):
        SnpReport.parse(bytes(size))


def test_a_report_is_for_one_key_only(ledgers: Path) -> None:
    _, _, row = first_node(ledgers, "cts_canary")
    with pytest.raises(VerificationError) as caught:
        verify_snp_report(quote_of(row), quote_of(row, "endorsements"), "00" * 32)
    assert caught.value.code == "attestation-binding"


def test_a_chain_must_end_in_a_maker_s_root(ledgers: Path) -> None:
    _, node_id, row = first_node(ledgers, "cts_canary")
    blocks = quote_of(row, "endorsements").decode().split("-----END CERTIFICATE-----\n")
    vcek, ask, ark = (block + "-----END CERTIFICATE-----\n" for block in blocks[:3])
    for chain, code in (
        (vcek + ask, "attestation-chain"),
        (vcek + ark, "attestation-chain"),
        (ark, "attestation-signature"),
        (ask + vcek + ark, "attestation-chain"),
    ):
        with pytest.raises((VerificationError, FormatError)) as caught:
            verify_snp_report(quote_of(row), chain.encode(), node_id)
        assert caught.value.code == code


def test_a_chain_of_somebody_else_is_refused(ledgers: Path) -> None:
    _, node_id, snp = first_node(ledgers, "cts_canary")
    _, _, sgx = first_node(ledgers, "sgx_service")
    quote = quote_of(sgx)
    intel = quote[quote.index(b"-----BEGIN") : quote.rindex(b"-----END CERTIFICATE-----") + 26]
    with pytest.raises(VerificationError) as caught:
        verify_snp_report(quote_of(snp), intel, node_id)
    assert caught.value.code == "attestation-root"


# Offsets into the evidence: header, MRENCLAVE, report data, signature, attestation key, its report, claims.
@pytest.mark.parametrize("offset", [20, 48 + 64, 48 + 320, 436, 500, 564 + 320, 948, 1014, -1, -40])
def test_no_part_of_sgx_evidence_can_be_changed(ledgers: Path, offset: int) -> None:
    _, node_id, row = first_node(ledgers, "sgx_service")
    evidence = bytearray(quote_of(row))
    evidence[offset] ^= 1
    with pytest.raises(TallystickError):
        verify_sgx_evidence(bytes(evidence), node_id)


def test_sgx_evidence_cut_anywhere_is_refused(ledgers: Path) -> None:
    _, node_id, row = first_node(ledgers, "sgx_service")
    evidence = quote_of(row)
    for size in range(0, len(evidence), 97):
        with pytest.raises(TallystickError):
            verify_sgx_evidence(evidence[:size], node_id)


def test_a_uvm_endorsement_cannot_be_changed(ledgers: Path) -> None:
    _, _, row = first_node(ledgers, "cts_canary")
    data = quote_of(row, "uvm_endorsements")
    assert verify_uvm_endorsement(data).svn == 101
    payload = data.index(b'"101"')
    for offset in (payload + 1, data.index(b"did:x509") + 20, len(data) - 1):
        changed = bytearray(data)
        changed[offset] ^= 1
        with pytest.raises(TallystickError):
            verify_uvm_endorsement(bytes(changed))


def test_endorsements_in_the_other_layout_hold_too(shared_data: Path) -> None:
    for path in sorted((shared_data / "receipts/scitt/payloads").glob("*.cose")):
        try:
            endorsement = verify_uvm_endorsement(path.read_bytes())
        except FormatError:
            continue  # a statement about something else
        assert len(endorsement.measurement) == 48


@pytest.mark.parametrize(
    ("table", "code"),
    [(policies.SNP_HOST_DATA, "attestation-host-data"), (policies.SNP_UVM, "attestation-measurement")],
)
def test_what_governance_did_not_allow_may_not_join(ledgers: Path, table: str, code: str) -> None:
    transaction, _, _ = first_node(ledgers, "cts_canary")
    result = audit_attestation([Changed(transaction, {table: {}})])  # type: ignore[list-item]  # a stand-in
    assert result.verdict.value == "failed"
    assert codes(result) == [code]


def test_an_enclave_that_is_not_listed_may_not_join(ledgers: Path) -> None:
    transaction, _, _ = first_node(ledgers, "sgx_service")
    result = audit_attestation([Changed(transaction, {policies.CODE_IDS: {}})])  # type: ignore[list-item]  # a stand-in
    assert codes(result) == ["attestation-measurement"]


def test_a_policy_text_must_have_its_digest(ledgers: Path) -> None:
    transaction, _, _ = first_node(ledgers, "cts_canary")
    (digest,) = transaction.tables[policies.SNP_HOST_DATA]
    changed = Changed(transaction, {policies.SNP_HOST_DATA: {digest: b'"package other"'}})
    assert codes(audit_attestation([changed])) == ["attestation-policy-text"]  # type: ignore[list-item]  # a stand-in


def test_a_recorded_digest_must_be_the_measurement(ledgers: Path) -> None:
    transaction, node_id, row = first_node(ledgers, "cts_canary")
    row["code_digest"] = "00" * 48
    changed = Changed(transaction, {NODES: {node_id.encode(): json.dumps(row).encode()}})
    assert codes(audit_attestation([changed])) == ["attestation-code-digest"]  # type: ignore[list-item]  # a stand-in


@pytest.mark.parametrize(
    ("minimum", "verdict"),
    [
        ({"hexstring": "db18000000000004"}, "verified"),
        ({"boot_loader": 4, "tee": 0, "snp": 24, "microcode": 219}, "verified"),
        ({"hexstring": "dc18000000000004"}, "failed"),
        ({"boot_loader": 5, "tee": 0, "snp": 24, "microcode": 219}, "failed"),
    ],
)
def test_the_minimum_tcb_is_enforced(ledgers: Path, minimum: dict[str, Any], verdict: str) -> None:
    transaction, _, _ = first_node(ledgers, "cts_canary")
    changed = Changed(transaction, {policies.SNP_TCB: {b"00a00f11": json.dumps(minimum).encode()}})
    result = audit_attestation([changed])  # type: ignore[list-item]  # a stand-in
    assert result.verdict.value == verdict
    assert set(codes(result)) <= {"attestation-tcb"}


@pytest.mark.parametrize(
    "rows",
    [
        {b"00a10f11": b'{"hexstring": "0000000000000000"}'},
        {b"00a00f11": None},
        {b"00a00f11": b"not JSON"},
        {b"00a00f11": b"{}"},
        {b"00a00f11": b'{"hexstring": "zz"}'},
        {b"00a00f11": b'{"boot_loader": "many", "tee": 0, "snp": 0, "microcode": 0}'},
    ],
    ids=["of another processor", "taken out", "no JSON", "empty", "no hex", "no number"],
)
def test_a_minimum_tcb_that_does_not_apply_lets_nobody_in(ledgers: Path, rows: dict[bytes, bytes | None]) -> None:
    transaction, _, _ = first_node(ledgers, "cts_canary")
    result = audit_attestation([Changed(transaction, {policies.SNP_TCB: rows})])  # type: ignore[list-item]  # a stand-in
    assert (result.verdict.value, codes(result)) == ("failed", ["attestation-tcb"])


def test_a_ledger_without_its_start_is_undecided(ledgers: Path) -> None:
    result = audit_attestation(Ledger(ledgers / "sgx_service/ledger", uncommitted=True).transactions(38))
    assert result.verdict.value == "undecided"
    assert [item.code for item in result.findings] == ["attestation-start-unknown"]


def test_tcb_versions_compare_by_component() -> None:
    assert TcbVersion(4, 0, 24, 219).at_least(TcbVersion(4, 0, 24, 219))
    assert not TcbVersion(9, 9, 23, 255).at_least(TcbVersion(4, 0, 24, 219))
    assert not TcbVersion(4, 0, 24, 219, 0).at_least(TcbVersion(4, 0, 24, 219, 1))


def test_policy_changes_are_told_once() -> None:
    policy = JoinPolicy()
    row = {policies.CODE_IDS: {b"aa": policies.ALLOWED}}
    assert len(policy.apply("2.1", row)) == 1  # type: ignore[arg-type]  # values are never None here
    assert policy.apply("2.2", row) == []  # type: ignore[arg-type]  # values are never None here
    assert [change.value for change in policy.apply("2.3", {policies.CODE_IDS: {b"aa": None}})] == [None]
