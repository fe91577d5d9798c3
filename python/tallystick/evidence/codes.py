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
        "copies differ after the last signature of one of them",
        "An unsigned end of a ledger is discarded by a recovery or an election. It was never committed.",
    ),
    "history-unsigned": CodeInfo(
        Severity.WARNING,
        "what differs is not signed, and nothing signed stands before it",
        "Anybody can write such files. Give a copy with a signature before the difference, or after it.",
        Effect.UNDECIDES,
    ),
    "history-signed-differs": CodeInfo(
        Severity.WARNING,
        "signed histories differ, which can have an innocent cause or could not be checked",
        "A primary signs before its transactions are committed, and what it did not commit is lost when a later view "
        "begins. A receipt for the transaction of the earlier view would rule that out.",
        Effect.UNDECIDES,
    ),
    "history-altered": CodeInfo(
        Severity.ERROR,
        "copies differ, and the signature that covers the difference does not hold in one of them",
        "That copy was altered after it was signed. It says nothing against the service.",
    ),
    "history-other-service": CodeInfo(
        Severity.ERROR,
        "the histories are signed by services that nothing connects",
        "They are not two histories of one service: one of them is another service, or an outsider's.",
    ),
    "history-root-differs": CodeInfo(
        Severity.ERROR,
        "a receipt leads to a signed root that the copy, which goes on after it, does not have",
        "The histories differ in a transaction other than the receipt's. The service signed both.",
    ),
    "history-receipt-unusable": CodeInfo(
        Severity.WARNING,
        "a receipt could not be compared",
        "It does not hold under the service given, or names no transaction.",
        Effect.UNDECIDES,
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
    "evidence-inconclusive": CodeInfo(
        Severity.WARNING,
        "what a bundle shows can have an innocent cause",
        "The message says which. A receipt for the transaction of the earlier view would rule it out.",
        Effect.UNDECIDES,
    ),
    "evidence-anchor": CodeInfo(
        Severity.NOTE,
        "whose signatures these are is the bundle's own word",
        "Pin the service's identity as you know it from elsewhere.",
        Effect.UNDECIDES,
    ),
}

register("evidence", CODES)
