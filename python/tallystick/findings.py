"""Findings: what a check has to say, as one model for ledgers, snapshots and receipts.

A finding has a stable kebab-case code. Each area registers a table of its codes (``receipt/codes.py``,
``snapshot/codes.py``, ``audit/codes.py``), so that the severity and the effect on the verdict of a code are
said once, and ``docs/findings.md`` is generated from the same tables.

Example:
    >>> from tallystick.findings import Finding, Severity, Verdict, verdict_of
    >>> verdict_of([Finding("clock", Severity.NOTE, "dates are not judged")])
    <Verdict.VERIFIED: 'verified'>
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

__all__ = [
    "CATALOGUE",
    "CodeInfo",
    "Effect",
    "Finding",
    "Severity",
    "Verdict",
    "finding",
    "register",
    "verdict_of",
]


class Severity(str, Enum):
    """How bad a finding is, as reports print it."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Effect(str, Enum):
    """What a finding does to the verdict."""

    FAILS = "fails"
    """Something claimed is not true."""
    UNDECIDES = "undecides"
    """Something that must be known to decide is missing."""
    NONE = "none"
    """Worth saying; the verdict stands."""


class Verdict(str, Enum):
    """The outcome of a verification."""

    VERIFIED = "verified"
    FAILED = "failed"
    UNDECIDED = "undecided"


class CodeInfo(NamedTuple):
    """What a code means, once for all its findings.

    Attributes:
        severity: severity of every finding with this code.
        summary: one line: what was met.
        advice: one or two sentences: what it means for the reader, and what to do.
        effect: what it does to the verdict; None derives it: errors fail, the rest leave the verdict alone.
        area: ``ledger``, ``snapshot``, ``receipt`` …: set on registration.
    """

    severity: Severity
    summary: str
    advice: str
    effect: Effect | None = None
    area: str = ""

    @property
    def verdict_effect(self) -> Effect:
        """``effect``, or what follows from the severity."""
        if self.effect is not None:
            return self.effect
        return Effect.FAILS if self.severity is Severity.ERROR else Effect.NONE


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say.

    Attributes:
        code: stable kebab-case word for programs.
        severity: as in the catalogue.
        message: one line for people: subject, problem, expected X, got Y.
        file: the file as the caller named it.
        offset: bytes from the start of the file.
        txid: transaction ID text ``view.seqno``.
        effect: what it does to the verdict.
    """

    code: str
    severity: Severity
    message: str
    file: str | None = None
    offset: int | None = None
    txid: str | None = None
    effect: Effect | None = None

    @property
    def verdict_effect(self) -> Effect:
        """``effect``, or what follows from the severity: errors fail, the rest leave the verdict alone."""
        if self.effect is not None:
            return self.effect
        return Effect.FAILS if self.severity is Severity.ERROR else Effect.NONE

    def at(self, *, file: str | None = None, offset: int | None = None, txid: str | None = None) -> Finding:
        """A copy in which what was still unknown of the position is filled in."""
        return replace(
            self,
            file=self.file if self.file is not None else file,
            offset=self.offset if self.offset is not None else offset,
            txid=self.txid if self.txid is not None else txid,
        )

    def to_json(self) -> dict[str, object]:
        """The object that every JSON report holds for a finding."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "message": self.message,
            "file": self.file,
            "offset": self.offset,
            "txid": self.txid,
        }


_CODES: dict[str, CodeInfo] = {}

CATALOGUE: Mapping[str, CodeInfo] = MappingProxyType(_CODES)
"""Every registered code. Complete once the areas' ``codes`` modules are imported."""


def register(area: str, table: Mapping[str, CodeInfo]) -> None:
    """Adds an area's codes to the catalogue.

    Several areas may share a code if they mean the same by it: the first registration stays.

    Raises:
        ValueError: the code is known already with another severity or effect.
    """
    for code, info in table.items():
        known = _CODES.get(code)
        if known is None:
            _CODES[code] = info._replace(area=area)
        elif (known.severity, known.verdict_effect) != (info.severity, info.verdict_effect):
            raise ValueError(f"finding code {code!r} is registered twice with different meanings")


def finding(
    code: str, message: str, *, file: str | None = None, offset: int | None = None, txid: str | None = None
) -> Finding:
    """A finding whose severity and effect come from the catalogue.

    Raises:
        KeyError: the code is not registered.
    """
    info = _CODES[code]
    return Finding(code, info.severity, message, file, offset, txid, info.verdict_effect)


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Failed if any finding fails, else undecided if any undecides, else verified."""
    verdict = Verdict.VERIFIED
    for item in findings:
        effect = item.verdict_effect
        if effect is Effect.FAILS:
            return Verdict.FAILED
        if effect is Effect.UNDECIDES:
            verdict = Verdict.UNDECIDED
    return verdict
