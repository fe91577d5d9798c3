"""Governance of a running service: the versioned API under ``/gov``, members' signed requests, and the
constitution at work.

What it writes is what CCF writes, row by row, so that :mod:`tallystick.governance` can replay it from the ledger.
"""

from tallystick.node.governance.endpoints import governance_endpoints

__all__ = ["governance_endpoints"]
