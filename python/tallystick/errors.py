"""Exceptions, sorted by whose fault they are.

Every error carries a stable kebab-case ``code`` for programs, a message for people (subject, problem:
expected X, got Y), where in the input it was met, and sometimes a hint. Codes are the same words that
findings use (``docs/findings.md``).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "FormatError",
    "InternalError",
    "LimitExceededError",
    "Location",
    "RefusedError",
    "TallystickError",
    "UndecidedError",
    "UnsupportedError",
    "UsageError",
    "VerificationError",
]


class Location(NamedTuple):
    """Where something was met.

    Attributes:
        file: path or URL of the file, as the caller gave it.
        offset: bytes from the start of the file.
        txid: transaction ID text ``view.seqno``.
    """

    file: str | None = None
    offset: int | None = None
    txid: str | None = None

    def __str__(self) -> str:
        parts = [self.file or ""]
        if self.offset is not None:
            parts.append(f"offset {self.offset}")
        if self.txid is not None:
            parts.append(f"transaction {self.txid}")
        return ", ".join(part for part in parts if part)


class TallystickError(Exception):
    """Base class of every error that this package raises on purpose.

    Args:
        message: one line for people, without a full stop.
        code: stable kebab-case word for programs.
        file, offset, txid: where it was met, as far as known.
        hint: what the reader can do about it.
    """

    default_code = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        file: str | None = None,
        offset: int | None = None,
        txid: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.location = Location(file, offset, txid)
        self.hint = hint

    def at(self, *, file: str | None = None, offset: int | None = None, txid: str | None = None) -> TallystickError:
        """Fills in what is still unknown of the location, and returns the error itself."""
        known = self.location
        self.location = Location(
            known.file if known.file is not None else file,
            known.offset if known.offset is not None else offset,
            known.txid if known.txid is not None else txid,
        )
        return self

    def __str__(self) -> str:
        where = str(self.location)
        return f"{where}: {self.message}" if where else self.message


class FormatError(TallystickError):
    """The bytes are not in the format that they claim to be in."""

    default_code = "format"


class VerificationError(TallystickError):
    """Well-formed, but what it claims is not true."""

    default_code = "verification"


class UnsupportedError(TallystickError):
    """Legal, but not implemented here: neither true nor false."""

    default_code = "unsupported"


class LimitExceededError(TallystickError):
    """A limit of ours stopped the work: neither true nor false."""

    default_code = "limit-exceeded"


class UndecidedError(TallystickError):
    """Something that must be known to decide is missing, for example a trust anchor: neither true nor false."""

    default_code = "undecided"


class RefusedError(TallystickError):
    """A service answered, and the answer is no: what was asked for was not done.

    Args:
        status: of the HTTP answer.
    """

    default_code = "refused"

    def __init__(
        self, message: str, *, status: int, code: str | None = None, file: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, code=code, file=file, hint=hint)
        self.status = status


class UsageError(TallystickError):
    """The caller's arguments do not fit together, or name something that is not there."""

    default_code = "usage"


class InternalError(TallystickError):
    """A bug of ours; worth a report."""

    default_code = "internal"
