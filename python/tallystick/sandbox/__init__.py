"""A whole service on this machine, for trying things out: one node, members, users, an app.

Everything goes the way it goes in production: keys are made, a node starts from a configuration file in a process
of its own, and members open the service and install the app through governance. Only nothing is protected: keys
lie in files beside each other.
"""

from __future__ import annotations

from tallystick.sandbox.bring_up import SandboxOptions, open_sandbox
from tallystick.sandbox.workspace import Workspace

__all__ = ["SandboxOptions", "Workspace", "open_sandbox"]
