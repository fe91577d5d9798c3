"""Names of the tables that governance rules speak of, beyond those in ``tables/names.py``."""

from __future__ import annotations

from tallystick.tables.names import GOVERNANCE_PREFIX, INTERNAL_PREFIX

__all__ = [
    "BYTECODE",
    "BYTECODE_VERSION",
    "COSE_HISTORY",
    "ENCRYPTED_SECRETS",
    "ENDORSEMENT",
    "HISTORICAL_SECRET",
    "HISTORY",
    "JWT_ISSUERS",
    "JWT_KEYS",
    "JWT_KEY_ISSUER",
    "JWT_KEY_TABLES",
    "JWT_METADATA",
    "JWT_METADATA_V2",
    "LAST_RECOVERY_TYPE",
    "MEMBERS_ACKS",
    "MEMBERS_CERTS",
    "MEMBERS_ENCRYPTION_KEYS",
    "MODULES",
    "PREVIOUS_IDENTITY",
    "PREVIOUS_ROOT",
    "RECENT_PROPOSALS",
    "RECOVERY_SHARES",
    "SERVICE_CONFIG",
    "SUBMITTED_SHARES",
]

MEMBERS_CERTS = GOVERNANCE_PREFIX + "members.certs"
MEMBERS_ENCRYPTION_KEYS = GOVERNANCE_PREFIX + "members.encryption_public_keys"
MEMBERS_ACKS = GOVERNANCE_PREFIX + "members.acks"
COSE_HISTORY = GOVERNANCE_PREFIX + "cose_history"
HISTORY = GOVERNANCE_PREFIX + "history"
RECENT_PROPOSALS = GOVERNANCE_PREFIX + "cose_recent_proposals"
SERVICE_CONFIG = GOVERNANCE_PREFIX + "service.config"
PREVIOUS_IDENTITY = GOVERNANCE_PREFIX + "service.previous_service_identity"
MODULES = GOVERNANCE_PREFIX + "modules"
BYTECODE = GOVERNANCE_PREFIX + "modules_quickjs_bytecode"
BYTECODE_VERSION = GOVERNANCE_PREFIX + "modules_quickjs_version"
JWT_ISSUERS = GOVERNANCE_PREFIX + "jwt.issuers"
JWT_KEYS = GOVERNANCE_PREFIX + "jwt.public_signing_keys"
JWT_KEY_ISSUER = GOVERNANCE_PREFIX + "jwt.public_signing_key_issuer"
JWT_METADATA = GOVERNANCE_PREFIX + "jwt.public_signing_keys_metadata"
JWT_METADATA_V2 = GOVERNANCE_PREFIX + "jwt.public_signing_keys_metadata_v2"
JWT_KEY_TABLES = frozenset({JWT_KEYS, JWT_KEY_ISSUER, JWT_METADATA, JWT_METADATA_V2})

RECOVERY_SHARES = INTERNAL_PREFIX + "recovery_shares"
SUBMITTED_SHARES = INTERNAL_PREFIX + "encrypted_submitted_shares"
ENCRYPTED_SECRETS = INTERNAL_PREFIX + "encrypted_ledger_secrets"
HISTORICAL_SECRET = INTERNAL_PREFIX + "historical_encrypted_ledger_secret"
ENDORSEMENT = INTERNAL_PREFIX + "previous_service_identity_endorsement"
PREVIOUS_ROOT = INTERNAL_PREFIX + "previous_service_last_signed_root"
LAST_RECOVERY_TYPE = INTERNAL_PREFIX + "last_recovery_type"
