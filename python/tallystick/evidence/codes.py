"""Finding codes of comparisons and evidence bundles."""

from __future__ import annotations

from tallystick.findings import CodeInfo, Effect, Severity, register

__all__ = ["CODES"]

CODES = {
    "history-forked": CodeInfo(
        Severity.ERROR,
        "two signed histories differ",
        "A service signed two different transactions under one number. Write an evidence bundle (--evidence FILE) and "
        "show it to whoever relies on this service.",
    ),
    "history-truncated": CodeInfo(
        Severity.ERROR,
        "a history that went on without a transaction that a receipt proves",
        "The service recovered from a ledger that lacks a committed transaction.",
    ),
    "history-behind": CodeInfo(
        Severity.ERROR,
        "a copy ends before a transaction that a receipt proves",
        "The copy is older than the receipt, or was cut. Alone that proves nothing against the service.",
    ),
    "history-unsigned-differs": CodeInfo(
        Severity.WARNING,
        "copies differ where at least one of them is not signed",
        "An unsigned end of a ledger is discarded by a recovery. It was never committed.",
    ),
    "history-disjoint": CodeInfo(
        Severity.WARNING,
        "the copies have no transaction number in common",
        "Nothing can be compared. Give copies that overlap.",
        Effect.UNDECIDES,
    ),
    "evidence-malformed": CodeInfo(
        Severity.ERROR, "an evidence bundle cannot be parsed", "Ask whoever made it for another copy."
    ),
    "evidence-untrue": CodeInfo(
        Severity.ERROR,
        "an evidence bundle does not show what it claims",
        "It proves nothing against the service. Whoever made it may have been mistaken, or lying.",
    ),
    "evidence-anchor": CodeInfo(
        Severity.NOTE,
        "whose signatures these are is the bundle's own word",
        "Pin the service's identity as you know it from elsewhere.",
        Effect.UNDECIDES,
    ),
}

register("evidence", CODES)
