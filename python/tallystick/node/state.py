"""Names of the states that a node and its service go through, as CCF spells them."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["NodeState", "NodeStatus", "ServiceStatus"]


class NodeState(StrEnum):
    """How far the start of this process has come (``GET /node/state``)."""

    UNINITIALIZED = "Uninitialized"
    INITIALIZED = "Initialized"
    PENDING = "Pending"
    PART_OF_PUBLIC_NETWORK = "PartOfPublicNetwork"
    PART_OF_NETWORK = "PartOfNetwork"
    READING_PUBLIC_LEDGER = "ReadingPublicLedger"
    READING_PRIVATE_LEDGER = "ReadingPrivateLedger"


class ServiceStatus(StrEnum):
    """Status in ``public:ccf.gov.service.info``."""

    OPENING = "Opening"
    OPEN = "Open"
    WAITING_FOR_RECOVERY_SHARES = "WaitingForRecoveryShares"
    RECOVERING = "Recovering"


class NodeStatus(StrEnum):
    """Status in ``public:ccf.gov.nodes.info``."""

    PENDING = "Pending"
    TRUSTED = "Trusted"
    RETIRED = "Retired"
