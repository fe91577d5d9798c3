"""AMD SEV-SNP attestation reports (AMD, SEV Secure Nested Paging Firmware ABI, section ATTESTATION_REPORT).

Verification, in the order of :func:`verify_snp_report`:

(1) the endorsements chain VCEK, ASK, ARK holds, and the ARK is one of AMD's pinned roots;
(2) the report's signature holds under the VCEK;
(3) the VCEK is for this chip and this TCB version;
(4) the report is bound to the key it vouches for, and was made by a guest at VMPL 0 that cannot be debugged
    or migrated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tallystick import _native
from tallystick.attestation.chains import AMD_ROOTS, verify_chain
from tallystick.errors import FormatError, VerificationError

__all__ = ["SnpReport", "TcbVersion", "VerifiedSnpReport", "verify_snp_report"]

REPORT_BYTES = 1184
_SIGNED_BYTES = 0x2A0
_SCALAR_BYTES = 72
_P384_BYTES = 48
_COSE_ES384 = -35
_SIGNATURE_ALGORITHM_ECDSA_P384_SHA384 = 1
_POLICY_DEBUG = 1 << 19
_POLICY_MIGRATION = 1 << 18
_VERSIONS = range(2, 6)
# Version 3 of the report added the CPUID fields.
_CPUID_SINCE_VERSION = 3

_VCEK_CHIP_ID = "1.3.6.1.4.1.3704.1.4"
_VCEK_TCB = "1.3.6.1.4.1.3704.1.3."
# Product lines whose TCB versions begin with a byte for the firmware of the memory controller.
_TURIN = (0x1A,)


@dataclass(frozen=True)
class TcbVersion:
    """Security version numbers of what the report's trust rests on, a byte each.

    Attributes:
        fmc: Turin and later only.
    """

    boot_loader: int
    tee: int
    snp: int
    microcode: int
    fmc: int | None = None

    @classmethod
    def parse(cls, raw: bytes, family: int | None) -> TcbVersion:
        """Reads the 8 bytes of a TCB version as the product line with CPUID ``family`` lays them out."""
        if family in _TURIN:
            return cls(raw[1], raw[2], raw[3], raw[7], raw[0])
        return cls(raw[0], raw[1], raw[6], raw[7])

    def at_least(self, minimum: TcbVersion) -> bool:
        """Whether every component is at least that of ``minimum``."""
        pairs = [
            (self.boot_loader, minimum.boot_loader),
            (self.tee, minimum.tee),
            (self.snp, minimum.snp),
            (self.microcode, minimum.microcode),
        ]
        if minimum.fmc is not None:
            pairs.append((self.fmc or 0, minimum.fmc))
        return all(actual >= least for actual, least in pairs)

    def __str__(self) -> str:
        fmc = "" if self.fmc is None else f"fmc {self.fmc} "
        return f"{fmc}boot_loader {self.boot_loader} tee {self.tee} snp {self.snp} microcode {self.microcode}"


@dataclass(frozen=True)
class SnpReport:
    """A parsed report; nothing about it is verified.

    Attributes:
        raw: the whole report, 1184 bytes.
        policy: guest policy bits.
        report_data: 64 bytes that the guest chose.
        measurement: launch measurement, 48 bytes.
        host_data: 32 bytes that the host chose at launch.
        cpuid: family, model and stepping, hex, as in ``nodes.snp.tcb_versions``; None before version 3.
    """

    raw: bytes
    version: int
    guest_svn: int
    policy: int
    vmpl: int
    signature_algorithm: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    reported_tcb: bytes
    cpuid_family: int | None
    cpuid: str | None
    chip_id: bytes

    @classmethod
    def parse(cls, raw: bytes) -> SnpReport:
        """Parses a report.

        Raises:
            FormatError: wrong size or version.
        """
        if len(raw) != REPORT_BYTES:
            raise FormatError(
                f"SNP report has the wrong size: expected {REPORT_BYTES} bytes, got {len(raw)}",
                code="attestation-malformed",
            )
        version, guest_svn, policy = struct.unpack_from("<IIQ", raw, 0)
        if version not in _VERSIONS:
            raise FormatError(
                f"SNP report has an unknown version: expected {_VERSIONS.start} to {_VERSIONS.stop - 1}, got {version}",
                code="attestation-malformed",
            )
        vmpl, algorithm = struct.unpack_from("<II", raw, 0x30)
        has_cpuid = version >= _CPUID_SINCE_VERSION
        family, model, stepping = raw[0x188:0x18B]
        return cls(
            raw=raw,
            version=version,
            guest_svn=guest_svn,
            policy=policy,
            vmpl=vmpl,
            signature_algorithm=algorithm,
            report_data=raw[0x50:0x90],
            measurement=raw[0x90:0xC0],
            host_data=raw[0xC0:0xE0],
            reported_tcb=raw[0x180:0x188],
            cpuid_family=family if has_cpuid else None,
            cpuid=_cpuid_hex(family, model, stepping) if has_cpuid else None,
            chip_id=raw[0x1A0:0x1E0],
        )

    @property
    def tcb(self) -> TcbVersion:
        """The reported TCB version."""
        return TcbVersion.parse(self.reported_tcb, self.cpuid_family)


@dataclass(frozen=True)
class VerifiedSnpReport:
    """A report that is genuine, and what it vouches for.

    Attributes:
        product: AMD's product line.
        key_sha256: hex digest of the key that the report is bound to.
    """

    report: SnpReport
    product: str
    key_sha256: str


def verify_snp_report(raw: bytes, endorsements: bytes, key_sha256: str) -> VerifiedSnpReport:
    """Verifies a report against AMD's pinned roots.

    Args:
        raw: the report.
        endorsements: PEM chain VCEK, ASK, ARK.
        key_sha256: hex SHA-256 of the node key that the report must vouch for.

    Raises:
        FormatError: report or chain is malformed.
        VerificationError: a step does not hold.
    """
    report = SnpReport.parse(raw)
    # (1)
    chain = _native.Certificate.parse_many(endorsements)
    root = verify_chain(chain, "AMD endorsements")
    product = AMD_ROOTS.get(root.spki_sha256)
    if product is None:
        raise VerificationError(
            f"endorsements end in a key that is not AMD's: {root.subject_text}, {root.spki_sha256}",
            code="attestation-root",
        )
    # (2)
    if report.signature_algorithm != _SIGNATURE_ALGORITHM_ECDSA_P384_SHA384:
        raise VerificationError(
            f"report is signed in an unknown way: expected algorithm 1, got {report.signature_algorithm}",
            code="attestation-signature",
        )
    vcek = chain[0]
    if not _native.PublicKey.from_spki(vcek.spki).verifies_cose(raw[:_SIGNED_BYTES], _signature(raw), _COSE_ES384):
        raise VerificationError("report's signature does not hold under its VCEK", code="attestation-signature")
    # (3)
    _check_vcek(report, vcek)
    # (4)
    _check_guest(report, key_sha256)
    return VerifiedSnpReport(report, product, key_sha256)


def _signature(raw: bytes) -> bytes:
    """The fixed-width big-endian form of a signature that the report holds little-endian, with padding."""
    scalars = []
    for start in (_SIGNED_BYTES, _SIGNED_BYTES + _SCALAR_BYTES):
        scalar = raw[start : start + _SCALAR_BYTES]
        if any(scalar[_P384_BYTES:]):
            raise VerificationError("report's signature is larger than its curve", code="attestation-signature")
        scalars.append(scalar[:_P384_BYTES][::-1])
    return b"".join(scalars)


def _check_vcek(report: SnpReport, vcek: _native.Certificate) -> None:
    chip_id = vcek.extension(_VCEK_CHIP_ID)
    if chip_id is None or chip_id[-len(report.chip_id) :] != report.chip_id:
        # Turin's certificates hold the 8 bytes that identify the chip, the report pads them with zeros.
        short = report.chip_id[:8]
        if chip_id is None or chip_id[-8:] != short or any(report.chip_id[8:]):
            raise VerificationError(
                f"VCEK is for another chip: expected {report.chip_id.hex()}, got {(chip_id or b'').hex()}",
                code="attestation-vcek",
            )
    tcb = report.tcb
    expected = {"1": tcb.boot_loader, "2": tcb.tee, "3": tcb.snp, "8": tcb.microcode}
    if tcb.fmc is not None:
        expected["9"] = tcb.fmc
    for number, value in expected.items():
        actual = _der_integer(vcek.extension(_VCEK_TCB + number))
        if actual != value:
            raise VerificationError(
                f"VCEK is for another TCB version (component {number}): expected {value}, got {actual}",
                code="attestation-vcek",
            )


def _der_integer(value: bytes | None) -> int | None:
    # INTEGER of one value byte, or two when the high bit is set.
    if value is None or len(value) < 3 or value[0] != 2 or value[1] != len(value) - 2 or len(value) > 4:
        return None
    return int.from_bytes(value[2:], "big")


def _check_guest(report: SnpReport, key_sha256: str) -> None:
    expected = bytes.fromhex(key_sha256) + bytes(32)
    if report.report_data != expected:
        raise VerificationError(
            f"report is not bound to the node's key: expected report data {expected.hex()}, "
            f"got {report.report_data.hex()}",
            code="attestation-binding",
        )
    if report.policy & _POLICY_DEBUG:
        raise VerificationError("guest policy allows debugging", code="attestation-debug")
    if report.policy & _POLICY_MIGRATION:
        raise VerificationError("guest policy allows a migration agent", code="attestation-migration")
    if report.vmpl != 0:
        raise VerificationError(f"report was made at VMPL {report.vmpl}: expected 0", code="attestation-vmpl")


def _cpuid_hex(family: int, model: int, stepping: int) -> str:
    """CPUID leaf 1 EAX, which is how ``nodes.snp.tcb_versions`` names a processor: 8 hex digits."""
    base_family = min(family, 0xF)
    extended_family = family - base_family
    eax = extended_family << 20 | (model >> 4) << 16 | base_family << 8 | (model & 0xF) << 4 | (stepping & 0xF)
    return f"{eax:08x}"
