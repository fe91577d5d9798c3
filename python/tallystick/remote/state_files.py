"""Files that must be whole after a crash: locks and fsync."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tallystick.errors import UsageError

__all__ = ["lock_directory", "sync_directory", "sync_file"]


def lock_directory(directory: Path) -> int:
    """Takes the directory's lock for this process; the kernel gives it back when the process ends.

    Raises:
        UsageError: another process has it (``state-busy``).
    """
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise UsageError("another process works on it", code="state-busy", file=str(directory)) from error
    return descriptor


def sync_file(path: Path) -> None:
    """Waits until the file's content is on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Waits until the directory's names are on disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
