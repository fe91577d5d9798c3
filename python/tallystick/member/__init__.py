"""What a member of a consortium does from outside a service: keys, signed requests, recovery shares.

The client half of governance (fact sheet: CCF's ``/gov`` API of 2024-07-01). It holds no state of a service, and
trusts what a node says only as far as TLS under the pinned service certificate goes: what must be proven is for
the auditor.
"""

from __future__ import annotations

from tallystick.member.client import GovernanceClient
from tallystick.member.keys import MemberKeys, generate_keys, load_keys
from tallystick.member.requests import GovernanceRequest, PreparedRequest, RequestType

__all__ = [
    "GovernanceClient",
    "GovernanceRequest",
    "MemberKeys",
    "PreparedRequest",
    "RequestType",
    "generate_keys",
    "load_keys",
]
