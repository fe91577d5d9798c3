"""Names of the states that a node and its service go through, as CCF spells them."""

from __future__ import annotations

from enum import Enum

__all__ = ["NodeState", "NodeStatus", "ServiceStatus"]


class _Word(str, Enum):
    """A word that prints as itself."""

    def __str__(self) -> str:
        return str(self.value)


class NodeState(_Word):
    """How far the start of this process has come (``GET /node/state``)."""

    UNINITIALIZED = "Uninitialized"
    INITIALIZED = "Initialized"
    PENDING = "Pending"
    PART_OF_PUBLIC_NETWORK = "PartOfPublicNetwork"
    PART_OF_NETWORK = "PartOfNetwork"
    READING_PUBLIC_LEDGER = "ReadingPublicLedger"
    READING_PRIVATE_LEDGER = "ReadingPrivateLedger"


class ServiceStatus(_Word):
    """Status in ``public:ccf.gov.service.info``."""

    OPENING = "Opening"
    OPEN = "Open"
    WAITING_FOR_RECOVERY_SHARES = "WaitingForRecoveryShares"
    RECOVERING = "Recovering"


class NodeStatus(_Word):
    """Status in ``public:ccf.gov.nodes.info``."""

    PENDING = "Pending"
    TRUSTED = "Trusted"
    RETIRED = "Retired"
