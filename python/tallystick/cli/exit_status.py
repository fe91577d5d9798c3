"""Exit codes, the same for every command: "false" and "don't know" never share one."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitStatus"]


class ExitStatus(IntEnum):
    """What a command's end means to a script."""

    OK = 0
    """Verified, or done."""
    FAILED = 1
    """Verification failed."""
    USAGE = 2
    """The arguments are wrong."""
    UNDECIDED = 3
    """Could not decide: unreadable, incomplete, nothing verified, or no trust anchor."""
