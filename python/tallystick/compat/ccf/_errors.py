"""Errors of this package as those that scripts written for the official one expect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tallystick.errors import FormatError, LimitExceededError, UndecidedError, UsageError, VerificationError

__all__ = ["as_value_error"]


@contextmanager
def as_value_error() -> Iterator[None]:
    """Raises ``ValueError``, with our message, for what is malformed, not true or not decided."""
    try:
        yield
    except (FormatError, LimitExceededError, UndecidedError, UsageError, VerificationError) as error:
        raise ValueError(str(error)) from error
