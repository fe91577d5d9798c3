"""Everything of the governance API, for the registry of the ``/gov`` frontend."""

from __future__ import annotations

from tallystick.node.governance.acks import state_digest_endpoints
from tallystick.node.governance.classic import classic_endpoints
from tallystick.node.governance.proposals import ProposalHandlers
from tallystick.node.governance.recovery import recovery_endpoints
from tallystick.node.governance.scripts import Scripts
from tallystick.node.governance.service_state import service_state_endpoints
from tallystick.node.http.registry import Endpoint

__all__ = ["governance_endpoints"]


def governance_endpoints() -> list[Endpoint]:
    """The endpoints; scripts that they run share what was compiled."""
    proposals = ProposalHandlers(Scripts())
    return [
        *proposals.endpoints(),
        *state_digest_endpoints(),
        *recovery_endpoints(),
        *service_state_endpoints(),
        *classic_endpoints(proposals),
    ]
