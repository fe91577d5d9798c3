"""Names of the tables that CCF itself writes, and what their keys and values are made of.

Tables whose name starts with ``public:`` stand in clear in the ledger, the rest is encrypted. Names under
``public:ccf.gov.`` hold governance, those under ``public:ccf.internal.`` the service's own records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

__all__ = [
    "CATALOGUE",
    "CONSTITUTION",
    "COSE_SIGNATURES",
    "ENDORSED_CERTIFICATES",
    "GOVERNANCE_PREFIX",
    "INTERNAL_PREFIX",
    "MEMBERS_INFO",
    "NODES_INFO",
    "PROPOSALS",
    "PROPOSALS_INFO",
    "PUBLIC_PREFIX",
    "SERVICE_INFO",
    "SIGNATURES",
    "SIGNATURE_TABLES",
    "SINGLETON_KEY",
    "SNAPSHOT_EVIDENCE",
    "TREE",
    "KeyKind",
    "TableInfo",
    "ValueKind",
]

PUBLIC_PREFIX = "public:"
GOVERNANCE_PREFIX = "public:ccf.gov."
INTERNAL_PREFIX = "public:ccf.internal."

SIGNATURES = "public:ccf.internal.signatures"
COSE_SIGNATURES = "public:ccf.internal.cose_signatures"
TREE = "public:ccf.internal.tree"
SNAPSHOT_EVIDENCE = "public:ccf.internal.snapshot_evidence"
CONSTITUTION = "public:ccf.gov.constitution"
SERVICE_INFO = "public:ccf.gov.service.info"
NODES_INFO = "public:ccf.gov.nodes.info"
ENDORSED_CERTIFICATES = "public:ccf.gov.nodes.endorsed_certificates"
MEMBERS_INFO = "public:ccf.gov.members.info"
PROPOSALS = "public:ccf.gov.proposals"
PROPOSALS_INFO = "public:ccf.gov.proposals_info"

SIGNATURE_TABLES = (SIGNATURES, COSE_SIGNATURES)
"""A transaction that writes one of these is a signature transaction."""

SINGLETON_KEY = bytes(8)
"""Key of a table that holds one value: u64 0."""


class KeyKind(Enum):
    """What keys of a table are."""

    U64 = "u64"
    """Unsigned 64-bit, little-endian; a table of one value uses 0."""
    TEXT = "text"
    """UTF-8; identifiers are lower-case hex text."""


class ValueKind(Enum):
    """What values of a table are."""

    JSON = "json"
    TEXT = "text"
    """UTF-8: PEM, source code, plain text."""
    RAW = "raw"
    """Bytes of a layout of their own."""


@dataclass(frozen=True)
class TableInfo:
    """A table that CCF writes.

    Attributes:
        keys, values: what they are made of.
        meaning: one line for people.
    """

    keys: KeyKind
    values: ValueKind
    meaning: str


def _info(keys: str, values: str, meaning: str) -> TableInfo:
    return TableInfo(KeyKind(keys), ValueKind(values), meaning)


_GOVERNANCE: dict[str, TableInfo] = {
    "constitution": _info("u64", "json", "the rules of governance: JavaScript source, as a JSON string"),
    "cose_history": _info("text", "json", "latest signed request of each member (COSE_Sign1)"),
    "cose_recent_proposals": _info("text", "json", "recent proposals by creation time, against replay"),
    "endpoints": _info("text", "json", "endpoints of the JavaScript application"),
    "history": _info("text", "json", "latest signed HTTP request of each member (before 4.0)"),
    "interpreter.flush": _info("u64", "json", "whether to flush cached JavaScript interpreters"),
    "js_runtime_options": _info("u64", "json", "limits of the JavaScript runtime"),
    "jwt.issuers": _info("text", "json", "issuers of JSON Web Tokens"),
    "jwt.public_signing_key_issuer": _info("text", "text", "issuer of each JWT signing key"),
    "jwt.public_signing_keys": _info("text", "raw", "JWT signing keys (DER)"),
    "jwt.public_signing_keys_metadata": _info("text", "json", "JWT signing keys with their issuers"),
    "jwt.public_signing_keys_metadata_v2": _info("text", "json", "JWT signing keys with their issuers"),
    "members.acks": _info("text", "json", "state digest that each member acknowledged, with its request"),
    "members.certs": _info("text", "text", "members' certificates (PEM)"),
    "members.encryption_public_keys": _info("text", "text", "members' keys for recovery shares (PEM)"),
    "members.info": _info("text", "json", "members' status and data"),
    "modules": _info("text", "text", "JavaScript modules of the application"),
    "modules_quickjs_bytecode": _info("text", "raw", "compiled JavaScript modules"),
    "modules_quickjs_version": _info("u64", "text", "version of the JavaScript engine that compiled them"),
    "nodes.code_ids": _info("text", "json", "code identities that may join (SGX)"),
    "nodes.endorsed_certificates": _info("text", "text", "node certificates issued by the service (PEM)"),
    "nodes.info": _info("text", "json", "nodes: status, addresses, attestation"),
    "nodes.snp.host_data": _info("text", "json", "security policies that may join (SEV-SNP)"),
    "nodes.snp.measurements": _info("text", "json", "measurements that may join (SEV-SNP)"),
    "nodes.snp.tcb_versions": _info("text", "json", "firmware versions that may join (SEV-SNP)"),
    "nodes.snp.uvm_endorsements": _info("text", "json", "endorsers of utility VMs (SEV-SNP)"),
    "nodes.virtual.host_data": _info("text", "raw", "security policies that may join (virtual)"),
    "nodes.virtual.measurements": _info("text", "json", "measurements that may join (virtual)"),
    "proposals": _info("text", "text", "proposals as they were submitted"),
    "proposals_info": _info("text", "json", "state and ballots of proposals"),
    "service.config": _info("u64", "json", "service configuration"),
    "service.info": _info("u64", "json", "service certificate and status"),
    "service.previous_service_identity": _info("u64", "json", "certificate of the service before recovery"),
    "tls.ca_cert_bundles": _info("text", "json", "CA certificates for fetching JWT keys"),
    "users.certs": _info("text", "text", "users' certificates (PEM)"),
    "users.info": _info("text", "json", "users' data"),
}

_INTERNAL: dict[str, TableInfo] = {
    "cose_signatures": _info("u64", "json", "service's COSE signature over the Merkle root"),
    "encrypted_ledger_secrets": _info("u64", "json", "ledger secrets encrypted to each node"),
    "encrypted_submitted_shares": _info("text", "json", "recovery shares that members submitted, encrypted"),
    "historical_encrypted_ledger_secret": _info("u64", "json", "previous ledger secret under the next one"),
    "last_recovery_type": _info("u64", "json", "how the latest recovery was done"),
    "previous_service_identity_endorsement": _info("u64", "json", "COSE endorsement of the previous identity"),
    "previous_service_last_signed_root": _info("u64", "json", "last Merkle root the previous service signed"),
    "recovery_shares": _info("u64", "json", "shares of the wrapping key, encrypted to each member"),
    "signatures": _info("u64", "json", "node's signature over the Merkle root"),
    "snapshot_evidence": _info("u64", "json", "digest of a snapshot"),
    "tree": _info("u64", "raw", "Merkle tree in compact form"),
    "values": _info("text", "json", "counters (1.x)"),
}

CATALOGUE: Mapping[str, TableInfo] = MappingProxyType(
    {GOVERNANCE_PREFIX + name: info for name, info in _GOVERNANCE.items()}
    | {INTERNAL_PREFIX + name: info for name, info in _INTERNAL.items()}
)
"""Tables that CCF is known to write. Any other is opaque: it is shown by what its bytes look like."""
