"""Where a node's evidence about itself comes from.

Two platforms: ``virtual`` proves nothing and says so, and is for development; ``snp`` is AMD SEV-SNP. A
provider makes the evidence that goes into ``nodes.info`` and tells which rows make that evidence acceptable to
the service that the node starts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tallystick.attestation.snp import SnpReport, verify_snp_report
from tallystick.attestation.uvm import verify_uvm_endorsement
from tallystick.errors import UnsupportedError, VerificationError
from tallystick.node import tables
from tallystick.node.tables import json_bytes

__all__ = [
    "AttestationProvider",
    "NodeEvidence",
    "SnpProvider",
    "VirtualProvider",
    "platform_name",
    "platform_provider",
]

VIRTUAL_MEASUREMENT: Final = "Insecure hard-coded virtual measurement v1"
_SNP_DEVICE: Final = Path("/dev/sev-guest")
_READ_BYTES: Final = 1 << 20
_ALLOWED: Final = json_bytes("AllowedToJoin")

Rows = dict[str, dict[bytes, bytes]]


@dataclass(frozen=True)
class NodeEvidence:
    """What a node can show for itself.

    Attributes:
        format: ``Insecure_Virtual`` or ``AMD_SEV_SNP_v1``.
        quote: the evidence itself.
        endorsements: what vouches for the evidence: PEM chain, or empty.
        uvm_endorsements: COSE_Sign1 that vouches for the utility VM's measurement, or None.
        endorsed_tcb: hex TCB version that the endorsements are for, or None.
        measurement: of the code, in hex.
        trusting_rows: rows by which a service trusts just this code on just this platform.
    """

    format: str
    quote: bytes
    endorsements: bytes
    uvm_endorsements: bytes | None
    endorsed_tcb: str | None
    measurement: str
    trusting_rows: Rows

    def quote_info(self) -> dict[str, object]:
        """The ``quote_info`` of a row of ``nodes.info``."""
        value: dict[str, object] = {
            "endorsements": base64.b64encode(self.endorsements).decode(),
            "format": self.format,
            "quote": base64.b64encode(self.quote).decode(),
        }
        if self.uvm_endorsements is not None:
            value["uvm_endorsements"] = base64.b64encode(self.uvm_endorsements).decode()
        if self.endorsed_tcb is not None:
            value["endorsed_tcb"] = self.endorsed_tcb
        return value


class AttestationProvider(Protocol):
    """Makes evidence on one platform."""

    @property
    def platform(self) -> str:
        """``Virtual`` or ``SNP``."""

    def attest(self, report_data: bytes) -> NodeEvidence:
        """Evidence bound to ``report_data``, the SHA-256 of the node's public key.

        Raises:
            VerificationError: the platform's evidence does not hold, or is not bound to ``report_data``.
            OSError: the platform cannot be asked.
        """


class VirtualProvider:
    """Evidence that proves nothing: anybody can write it. For development.

    Args:
        executable: its digest stands in for what a platform would say about the host.
        directory: where the files that operators' tools expect are written.
    """

    platform = "Virtual"

    def __init__(self, executable: Path, directory: Path) -> None:
        digest = hashlib.sha256()
        with executable.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
        self._host_data = digest.hexdigest()
        self._prefix = directory / f"ccf_virtual_attestation.{os.getpid()}"
        self._write("measurement", {})

    def _write(self, suffix: str, more: dict[str, object]) -> dict[str, object]:
        value: dict[str, object] = {"host_data": self._host_data, "measurement": VIRTUAL_MEASUREMENT, **more}
        path = self._prefix.with_name(f"{self._prefix.name}.{suffix}")
        path.write_text(json.dumps(value, indent=2, sort_keys=True), encoding="utf-8")
        return value

    def attest(self, report_data: bytes) -> NodeEvidence:
        """See :class:`AttestationProvider`."""
        value = self._write("attestation", {"report_data": base64.b64encode(report_data).decode()})
        return NodeEvidence(
            format="Insecure_Virtual",
            quote=json_bytes(value),
            endorsements=b"",
            uvm_endorsements=None,
            endorsed_tcb=None,
            measurement=VIRTUAL_MEASUREMENT.encode().hex(),
            trusting_rows={
                tables.VIRTUAL_MEASUREMENTS: {VIRTUAL_MEASUREMENT.encode(): _ALLOWED},
                tables.VIRTUAL_HOST_DATA: {self._host_data.encode(): tables.SET_MEMBER},
            },
        )


class SnpProvider:
    """Evidence from AMD SEV-SNP: a report of the platform, verified before it is used.

    Args:
        get_report: 32 bytes of report data to a report of 1,184 bytes.
        endorsements: PEM chain VCEK, ASK, ARK.
        uvm_endorsements: COSE_Sign1 about the utility VM, or None.
        security_policy: text whose SHA-256 is the report's host data, or None if it is not at hand.
        endorsed_tcb: hex TCB version that the endorsements are for, or None.
    """

    platform = "SNP"

    def __init__(
        self,
        get_report: Callable[[bytes], bytes],
        endorsements: bytes,
        *,
        uvm_endorsements: bytes | None = None,
        security_policy: str | None = None,
        endorsed_tcb: str | None = None,
    ) -> None:
        self._get_report = get_report
        self._endorsements = endorsements
        self._uvm_endorsements = uvm_endorsements
        self._security_policy = security_policy
        self._endorsed_tcb = endorsed_tcb

    def attest(self, report_data: bytes) -> NodeEvidence:
        """See :class:`AttestationProvider`."""
        raw = self._get_report(report_data)
        report = verify_snp_report(raw, self._endorsements, report_data.hex()).report
        host_data = report.host_data.hex()
        policy = self._security_policy or ""
        if policy and hashlib.sha256(policy.encode()).hexdigest() != host_data:
            raise VerificationError(
                f"security policy is not the one of the report: expected SHA-256 {host_data}",
                code="attestation-policy-text",
            )
        rows: Rows = {tables.SNP_HOST_DATA: {host_data.encode(): json_bytes(policy)}}
        rows |= self._code_rows(report)
        if report.cpuid is not None:
            rows[tables.SNP_TCB_VERSIONS] = {report.cpuid.encode(): json_bytes(_tcb_policy(report))}
        return NodeEvidence(
            format="AMD_SEV_SNP_v1",
            quote=raw,
            endorsements=self._endorsements,
            uvm_endorsements=self._uvm_endorsements,
            endorsed_tcb=self._endorsed_tcb,
            measurement=report.measurement.hex(),
            trusting_rows=rows,
        )

    def _code_rows(self, report: SnpReport) -> Rows:
        if self._uvm_endorsements is None:
            return {tables.SNP_MEASUREMENTS: {report.measurement.hex().encode(): _ALLOWED}}
        endorsed = verify_uvm_endorsement(self._uvm_endorsements)
        if endorsed.measurement != report.measurement:
            raise VerificationError(
                f"UVM endorsement is for another measurement: expected {report.measurement.hex()}, "
                f"got {endorsed.measurement.hex()}",
                code="uvm-measurement",
            )
        feeds = {endorsed.feed: {"svn": str(endorsed.svn)}}
        return {tables.SNP_UVM_ENDORSEMENTS: {endorsed.did.encode(): json_bytes(feeds)}}


def _tcb_policy(report: SnpReport) -> dict[str, object]:
    tcb = report.tcb
    value: dict[str, object] = {
        "hexstring": report.reported_tcb[::-1].hex(),
        "boot_loader": tcb.boot_loader,
        "tee": tcb.tee,
        "snp": tcb.snp,
        "microcode": tcb.microcode,
    }
    if tcb.fmc is not None:
        value["fmc"] = tcb.fmc
    return value


def platform_name() -> str:
    """What ``--version`` calls the platform this process runs on: ``SNP`` or ``Virtual``."""
    return SnpProvider.platform if _SNP_DEVICE.exists() else VirtualProvider.platform


def platform_provider(executable: Path, directory: Path) -> AttestationProvider:
    """The provider of the platform this process runs on.

    Raises:
        UnsupportedError: this is an SEV-SNP guest. Evidence is not yet read from its device here, and a node
            must not pretend to be unattested where it could be attested.
        OSError: ``executable`` cannot be read, or ``directory`` not written.
    """
    if _SNP_DEVICE.exists():
        raise UnsupportedError(
            f"this is an AMD SEV-SNP guest ({_SNP_DEVICE}), from whose device evidence is not read yet",
            code="attestation-platform",
            hint="run where the device is not visible to start a node without evidence",
        )
    return VirtualProvider(executable, directory)
