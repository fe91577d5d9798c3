"""The join policy: which code and which hardware may join, as governance has it at a transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tallystick.attestation.snp import TcbVersion

__all__ = ["POLICY_TABLES", "CodeChange", "JoinPolicy"]

CODE_IDS = "public:ccf.gov.nodes.code_ids"
SNP_MEASUREMENTS = "public:ccf.gov.nodes.snp.measurements"
SNP_HOST_DATA = "public:ccf.gov.nodes.snp.host_data"
SNP_UVM = "public:ccf.gov.nodes.snp.uvm_endorsements"
SNP_TCB = "public:ccf.gov.nodes.snp.tcb_versions"
VIRTUAL_MEASUREMENTS = "public:ccf.gov.nodes.virtual.measurements"
VIRTUAL_HOST_DATA = "public:ccf.gov.nodes.virtual.host_data"

POLICY_TABLES = frozenset(
    {CODE_IDS, SNP_MEASUREMENTS, SNP_HOST_DATA, SNP_UVM, SNP_TCB, VIRTUAL_MEASUREMENTS, VIRTUAL_HOST_DATA}
)
ALLOWED = b'"AllowedToJoin"'


@dataclass(frozen=True)
class CodeChange:
    """A change of the join policy.

    Attributes:
        table: which part of the policy.
        key: measurement, host data digest, issuer or processor.
        value: what is allowed, as text; None when it was taken out.
    """

    txid: str
    table: str
    key: str
    value: str | None


@dataclass
class JoinPolicy:
    """Rows of the policy tables. Apply transactions in order; each is in force from its own transaction on.

    Attributes:
        complete: whether every change since the first transaction was applied. Otherwise a row that is not here
            may have been written before, so that nothing can be refused for want of one.
    """

    rows: dict[str, dict[str, bytes]] = field(default_factory=dict)
    complete: bool = True

    def apply(self, txid: str, tables: Mapping[str, Mapping[bytes, bytes | None]]) -> list[CodeChange]:
        """Takes in a transaction's writes and returns what they changed."""
        changes = []
        for table in POLICY_TABLES & tables.keys():
            rows = self.rows.setdefault(table, {})
            for raw_key, value in tables[table].items():
                key = raw_key.decode("utf-8", "backslashreplace")
                if value is None:
                    if rows.pop(key, None) is not None:
                        changes.append(CodeChange(txid, table, key, None))
                elif rows.get(key) != value:
                    rows[key] = value
                    changes.append(CodeChange(txid, table, key, value.decode("utf-8", "backslashreplace")))
        return sorted(changes, key=lambda change: (change.table, change.key))

    def allows(self, table: str, key: str) -> bool:
        """Whether ``key`` is in ``table`` with the word that lets it join."""
        return self.rows.get(table, {}).get(key) == ALLOWED

    def has(self, table: str, key: str) -> bool:
        """Whether ``key`` is in ``table``, whatever its value."""
        return key in self.rows.get(table, {})

    def host_data_text(self, digest: str) -> str | None:
        """The security policy filed under ``digest``; empty when governance gave only the digest."""
        value = self.rows.get(SNP_HOST_DATA, {}).get(digest)
        if value is None:
            return None
        try:
            text = json.loads(value)
        except (ValueError, RecursionError):
            return None
        return text if isinstance(text, str) else None

    def minimum_uvm_svn(self, did: str, feed: str) -> int | None:
        """Least version that may join, for an issuer and feed; None when they may not."""
        record = self._object(SNP_UVM, did)
        entry = record.get(feed) if record is not None else None
        svn = entry.get("svn") if isinstance(entry, dict) else None
        try:
            return int(svn) if isinstance(svn, str) else None
        except ValueError:
            return None

    @property
    def demands_tcb(self) -> bool:
        """Whether governance ever set minimum TCB versions; services of CCF before 6 know none."""
        return SNP_TCB in self.rows

    def minimum_tcb(self, cpuid: str) -> TcbVersion | None:
        """Least TCB version for a processor; None when governance set none, or none that can be read."""
        record = self._object(SNP_TCB, cpuid)
        if record is None:
            return None
        try:
            text = record.get("hexstring")
            if isinstance(text, str):
                # Written most significant byte first, as the number that it is.
                return TcbVersion.parse(bytes.fromhex(text)[::-1], _family(cpuid))
            fmc = record.get("fmc")
            return TcbVersion(
                int(str(record["boot_loader"])),
                int(str(record["tee"])),
                int(str(record["snp"])),
                int(str(record["microcode"])),
                None if fmc is None else int(str(fmc)),
            )
        except (KeyError, ValueError, IndexError):
            return None

    def _object(self, table: str, key: str) -> dict[str, object] | None:
        value = self.rows.get(table, {}).get(key)
        if value is None:
            return None
        try:
            record = json.loads(value)
        except (ValueError, RecursionError):
            return None
        return record if isinstance(record, dict) else None


def _family(cpuid: str) -> int | None:
    try:
        eax = int(cpuid, 16)
    except ValueError:
        return None
    return (eax >> 8 & 0xF) + (eax >> 20 & 0xFF)
