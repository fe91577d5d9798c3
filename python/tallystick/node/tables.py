"""Names of the tables that a node itself reads and writes, and how it encodes their rows.

Encodings are CCF's: JSON without spaces and with sorted keys, singletons under eight zero bytes, sets with
eight zero bytes as value (``include/ccf/service/map.h``).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tallystick._native import NodeTransaction

__all__ = ["SINGLETON", "get_json", "get_text", "json_bytes", "put_json", "rows_json"]

SINGLETON: Final = bytes(8)
SET_MEMBER: Final = bytes(8)

_GOV: Final = "public:ccf.gov."
_INTERNAL: Final = "public:ccf.internal."

MEMBERS_CERTS: Final = _GOV + "members.certs"
MEMBERS_KEYS: Final = _GOV + "members.encryption_public_keys"
MEMBERS_INFO: Final = _GOV + "members.info"
MEMBERS_ACKS: Final = _GOV + "members.acks"
USERS_CERTS: Final = _GOV + "users.certs"
USERS_INFO: Final = _GOV + "users.info"
NODES_INFO: Final = _GOV + "nodes.info"
NODES_ENDORSED: Final = _GOV + "nodes.endorsed_certificates"
NODES_CODE_IDS: Final = _GOV + "nodes.code_ids"
VIRTUAL_MEASUREMENTS: Final = _GOV + "nodes.virtual.measurements"
VIRTUAL_HOST_DATA: Final = _GOV + "nodes.virtual.host_data"
SNP_MEASUREMENTS: Final = _GOV + "nodes.snp.measurements"
SNP_HOST_DATA: Final = _GOV + "nodes.snp.host_data"
SNP_UVM_ENDORSEMENTS: Final = _GOV + "nodes.snp.uvm_endorsements"
SNP_TCB_VERSIONS: Final = _GOV + "nodes.snp.tcb_versions"
SERVICE_INFO: Final = _GOV + "service.info"
SERVICE_CONFIG: Final = _GOV + "service.config"
PREVIOUS_IDENTITY: Final = _GOV + "service.previous_service_identity"
CONSTITUTION: Final = _GOV + "constitution"
CA_BUNDLES: Final = _GOV + "tls.ca_cert_bundles"
JWT_ISSUERS: Final = _GOV + "jwt.issuers"
JWT_KEYS: Final = _GOV + "jwt.public_signing_keys_metadata_v2"
ENCRYPTED_SECRETS: Final = _INTERNAL + "encrypted_ledger_secrets"
HISTORICAL_SECRET: Final = _INTERNAL + "historical_encrypted_ledger_secret"
RECOVERY_SHARES: Final = _INTERNAL + "recovery_shares"
SUBMITTED_SHARES: Final = _INTERNAL + "encrypted_submitted_shares"
SIGNATURES: Final = _INTERNAL + "signatures"
COSE_SIGNATURES: Final = _INTERNAL + "cose_signatures"
TREE: Final = _INTERNAL + "tree"
IDENTITY_ENDORSEMENT: Final = _INTERNAL + "previous_service_identity_endorsement"
LAST_SIGNED_ROOT: Final = _INTERNAL + "previous_service_last_signed_root"
LAST_RECOVERY_TYPE: Final = _INTERNAL + "last_recovery_type"


def json_bytes(value: object) -> bytes:
    """``value`` as the ledger holds it and as clients get it: JSON without spaces, keys sorted, text as UTF-8.

    Half a surrogate pair, which JSON can spell and UTF-8 cannot, stays the escape that it came as.
    """
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace")


def get_json(tx: NodeTransaction, table: str, key: bytes = SINGLETON) -> Any:
    """Value of a row, parsed; None when there is no such row.

    Raises:
        ValueError: the row is not JSON.
    """
    value = tx.get(table, key)
    return None if value is None else json.loads(value)


def get_text(tx: NodeTransaction, table: str, key: bytes) -> str | None:
    """Value of a row that holds text itself, such as a certificate."""
    value = tx.get(table, key)
    return None if value is None else value.decode()


def put_json(tx: NodeTransaction, table: str, value: object, key: bytes = SINGLETON) -> None:
    """Writes a JSON value."""
    tx.set(table, key, json_bytes(value))


def rows_json(tx: NodeTransaction, table: str) -> dict[str, Any]:
    """All rows of a table whose keys are text and whose values are JSON, by key."""
    return {key.decode(): json.loads(value) for key, value in sorted(tx.entries(table))}
