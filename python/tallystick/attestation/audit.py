"""Judges the attestation evidence of every node that a ledger trusts.

For each row of ``public:ccf.gov.nodes.info``, when the node first appears and when its evidence changes: the
evidence must be genuine, bound to the node's key, and allowed by the join policy in force *at that
transaction* (the first node of a service writes the policy that lets it in).

Revocation lists, TCB recovery events and Intel's TCB information are of the time, need the network, and are
named under *not checked*.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tallystick.attestation import codes as _codes  # noqa: F401 -- registers the codes of findings
from tallystick.attestation import policy as policies
from tallystick.attestation.policy import CodeChange, JoinPolicy
from tallystick.attestation.sgx import verify_sgx_evidence
from tallystick.attestation.snp import VerifiedSnpReport, verify_snp_report
from tallystick.attestation.uvm import VerifiedUvmEndorsement, verify_uvm_endorsement
from tallystick.errors import FormatError, VerificationError
from tallystick.findings import Finding, Verdict, finding, verdict_of
from tallystick.ledger.transaction import Transaction

__all__ = ["AttestationAudit", "NodeEvidence", "audit_attestation"]

NODES_INFO = "public:ccf.gov.nodes.info"

NOT_CHECKED = (
    "signatures and Merkle roots of the ledger (tallystick verify)",
    "revocation lists of AMD, Intel and the maker of the utility VM",
    "whether firmware and microcode versions were current at the time (TCB recovery, Intel TCB information)",
    "dates of certificates",
)


@dataclass
class NodeEvidence:
    """What is known of one node's evidence.

    Attributes:
        node_id: hex.
        txid: transaction in which the node, or this evidence, first appears.
        platform: ``snp``, ``sgx``, ``virtual`` or the unknown format's name.
        measurement: launch measurement or mrenclave, hex; as claimed until ``verdict`` is verified.
        facts: more of what the evidence says, by name, for people.
    """

    node_id: str
    txid: str
    platform: str
    status: str
    measurement: str | None = None
    facts: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """Verified, failed, or undecided: follows from the findings."""
        return verdict_of(self.findings)


@dataclass
class AttestationAudit:
    """The evidence of all nodes and the history of the join policy."""

    nodes: list[NodeEvidence] = field(default_factory=list)
    changes: list[CodeChange] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        return verdict_of([*self.findings, *(item for node in self.nodes for item in node.findings)])


def audit_attestation(transactions: Iterable[Transaction]) -> AttestationAudit:
    """Judges every node's evidence in a ledger, read in order from its first transaction."""
    audit = AttestationAudit()
    policy = JoinPolicy()
    seen: dict[str, str] = {}
    first = True
    for transaction in transactions:
        if first and transaction.seqno != 1:
            policy.complete = False
            audit.findings.append(
                finding(
                    "attestation-start-unknown",
                    f"the ledger starts at seqno {transaction.seqno}: the join policy before it is not known",
                    file=transaction.file,
                )
            )
        first = False
        names = set(transaction.table_names)
        if names.isdisjoint(policies.POLICY_TABLES) and NODES_INFO not in names:
            continue
        tables = transaction.tables
        audit.changes.extend(policy.apply(str(transaction.txid), tables))
        for key, value in tables.get(NODES_INFO, {}).items():
            node_id = key.decode("utf-8", "backslashreplace")
            if value is None:
                continue
            evidence_digest = _evidence_digest(value)
            if seen.get(node_id) == evidence_digest:
                continue
            seen[node_id] = evidence_digest
            node = _judge(node_id, value, policy, transaction)
            node.findings = [
                item.at(file=transaction.file, offset=transaction.offset, txid=str(transaction.txid))
                for item in node.findings
            ]
            audit.nodes.append(node)
    return audit


def _evidence_digest(row: bytes) -> str:
    """What stands for the evidence in a row: other fields, such as the status, change without it."""
    try:
        quote = json.loads(row).get("quote_info")
    except (ValueError, AttributeError, RecursionError):
        quote = None
    return hashlib.sha256(json.dumps(quote, sort_keys=True).encode()).hexdigest()


def _judge(node_id: str, value: bytes, policy: JoinPolicy, transaction: Transaction) -> NodeEvidence:
    txid = str(transaction.txid)
    try:
        row = json.loads(value)
        quote_info = row["quote_info"]
        kind, status = str(quote_info["format"]), str(row["status"])
        quote = base64.b64decode(quote_info["quote"], validate=True)
        endorsements = base64.b64decode(quote_info["endorsements"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        node = NodeEvidence(node_id, txid, "unknown", "unknown")
        node.findings.append(
            finding("attestation-malformed", f"row of node {node_id} holds no evidence that can be read")
        )
        return node
    judges = {"AMD_SEV_SNP_v1": _judge_snp, "OE_SGX_v1": _judge_sgx, "Insecure_Virtual": _judge_virtual}
    node = NodeEvidence(node_id, txid, _PLATFORMS.get(kind, kind[:40]), status)
    judge = judges.get(kind)
    try:
        if judge is None:
            node.findings.append(
                finding(
                    "attestation-platform-unknown", f"node {node_id} has evidence of the unknown format {kind[:40]!r}"
                )
            )
        elif not quote and kind != "Insecure_Virtual":
            node.findings.append(finding("attestation-missing", f"node {node_id} is {status} without evidence"))
        else:
            judge(node, quote, endorsements, row, policy)
    except (FormatError, VerificationError) as error:
        node.findings.append(finding(_known(error.code), f"node {node_id}: {error.message}"))
    _check_recorded_digest(node, row)
    return node


_PLATFORMS = {"AMD_SEV_SNP_v1": "snp", "OE_SGX_v1": "sgx", "Insecure_Virtual": "virtual"}


def _known(code: str) -> str:
    """Codes of the parsers below (certificates, COSE) count as evidence that cannot be parsed."""
    return code if code.startswith(("attestation-", "uvm-")) else "attestation-malformed"


def _judge_snp(node: NodeEvidence, quote: bytes, endorsements: bytes, row: dict[str, Any], policy: JoinPolicy) -> None:
    verified = verify_snp_report(quote, endorsements, node.node_id)
    report = verified.report
    node.measurement = report.measurement.hex()
    node.facts.update(
        product=verified.product,
        tcb=str(report.tcb),
        host_data=report.host_data.hex(),
        guest_svn=str(report.guest_svn),
        chip=report.chip_id.hex(),
    )
    _check_host_data(node, report.host_data.hex(), policy)
    uvm = row["quote_info"].get("uvm_endorsements")
    if uvm is not None:
        _check_uvm(node, base64.b64decode(uvm), verified, policy)
    elif policy.complete and not policy.allows(policies.SNP_MEASUREMENTS, node.measurement):
        node.findings.append(
            finding("attestation-measurement", f"node {node.node_id}: measurement {node.measurement} may not join")
        )
    _check_tcb(node, verified, policy)


def _check_host_data(node: NodeEvidence, digest: str, policy: JoinPolicy) -> None:
    text = policy.host_data_text(digest)
    if text is None:
        if not policy.complete:
            return
        node.findings.append(finding("attestation-host-data", f"node {node.node_id}: host data {digest} may not join"))
    elif text:
        computed = hashlib.sha256(text.encode()).hexdigest()
        if computed != digest:
            node.findings.append(
                finding(
                    "attestation-policy-text",
                    f"security policy filed under {digest} has another digest: got {computed}",
                )
            )


def _check_uvm(node: NodeEvidence, data: bytes, verified: VerifiedSnpReport, policy: JoinPolicy) -> None:
    endorsement: VerifiedUvmEndorsement = verify_uvm_endorsement(data)
    node.facts.update(uvm_issuer=endorsement.did, uvm_feed=endorsement.feed, uvm_svn=str(endorsement.svn))
    if endorsement.measurement != verified.report.measurement:
        raise VerificationError(
            f"UVM endorsement is for another measurement: expected {verified.report.measurement.hex()}, "
            f"got {endorsement.measurement.hex()}",
            code="uvm-measurement",
        )
    least = policy.minimum_uvm_svn(endorsement.did, endorsement.feed)
    if least is None and not policy.complete:
        return
    if least is None or endorsement.svn < least:
        wanted = "no version" if least is None else f"version {least} or later"
        node.findings.append(
            finding(
                "attestation-measurement",
                f"node {node.node_id}: utility VM {endorsement.feed} version {endorsement.svn} of {endorsement.did} "
                f"may not join: expected {wanted}",
            )
        )


def _check_tcb(node: NodeEvidence, verified: VerifiedSnpReport, policy: JoinPolicy) -> None:
    if not policy.demands_tcb:
        return
    cpuid = verified.report.cpuid
    if cpuid is None or not policy.has(policies.SNP_TCB, cpuid):
        # Nodes turn those away whose processor has no row, as they do those below it.
        if policy.complete:
            message = f"node {node.node_id}: no minimum TCB version is set for its processor {cpuid or '(not named)'}"
            node.findings.append(finding("attestation-tcb", message))
        return
    least = policy.minimum_tcb(cpuid)
    if least is None:
        message = f"node {node.node_id}: minimum TCB version for its processor {cpuid} cannot be read"
        node.findings.append(finding("attestation-tcb", message))
    elif not verified.report.tcb.at_least(least):
        node.findings.append(
            finding(
                "attestation-tcb",
                f"node {node.node_id}: TCB version is below the minimum: expected at least {least}, "
                f"got {verified.report.tcb}",
            )
        )


def _judge_sgx(node: NodeEvidence, quote: bytes, endorsements: bytes, row: dict[str, Any], policy: JoinPolicy) -> None:
    verified = verify_sgx_evidence(quote, node.node_id)
    node.measurement = verified.mrenclave
    node.facts.update(mrsigner=verified.mrsigner, debug="yes" if verified.debug else "no")
    if policy.complete and not policy.allows(policies.CODE_IDS, verified.mrenclave):
        node.findings.append(
            finding("attestation-measurement", f"node {node.node_id}: enclave {verified.mrenclave} may not join")
        )
    if verified.debug:
        node.findings.append(
            finding("attestation-debug-enclave", f"node {node.node_id} ran in an enclave that can be debugged")
        )


def _judge_virtual(
    node: NodeEvidence, quote: bytes, endorsements: bytes, row: dict[str, Any], policy: JoinPolicy
) -> None:
    node.findings.append(
        finding(
            "attestation-virtual", f"node {node.node_id} ran on the virtual platform, whose evidence proves nothing"
        )
    )
    if not quote:
        return
    try:
        document = json.loads(quote)
        measurement, host_data = str(document["measurement"]), str(document["host_data"])
        report_data = base64.b64decode(document["report_data"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise FormatError("virtual evidence is not the known JSON", code="attestation-malformed") from error
    node.measurement = measurement.encode().hex()
    node.facts.update(measurement_text=measurement, host_data=host_data)
    if report_data[:32].hex() != node.node_id:
        raise VerificationError(
            f"virtual evidence is not for the node's key: expected {node.node_id}, got {report_data[:32].hex()}",
            code="attestation-binding",
        )
    if policy.complete and not policy.allows(policies.VIRTUAL_MEASUREMENTS, measurement):
        node.findings.append(
            finding("attestation-measurement", f"node {node.node_id}: measurement {measurement[:80]!r} may not join")
        )
    if policy.complete and not policy.has(policies.VIRTUAL_HOST_DATA, host_data):
        node.findings.append(
            finding("attestation-host-data", f"node {node.node_id}: host data {host_data[:80]} may not join")
        )


def _check_recorded_digest(node: NodeEvidence, row: dict[str, Any]) -> None:
    recorded = row.get("code_digest")
    if isinstance(recorded, str) and node.measurement is not None and recorded != node.measurement:
        node.findings.append(
            finding(
                "attestation-code-digest",
                f"node {node.node_id}: recorded code digest differs: expected {node.measurement}, got {recorded}",
            )
        )
