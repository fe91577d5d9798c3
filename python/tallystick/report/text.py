"""Reports for people: the verdict in the first line, then what it rests on; fits 80 columns, needs no colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from tallystick.audit.verdict import IdentityReport, LedgerVerdict
from tallystick.findings import Effect, Finding, Severity, Verdict

__all__ = [
    "TRUSTED_BY",
    "anchor_text",
    "counts_text",
    "field_lines",
    "finding_lines",
    "headline",
    "number",
    "render_text",
    "tail_text",
    "wrapped",
]

_WIDTH = 80
_LABEL = 12

TRUSTED_BY = {
    "pinned": "pinned by you",
    "genesis": "trusted as the genesis",
    "opening": "opened by the members of the identity before it",
    "endorsement": "endorsed by a newer identity that is trusted",
    None: "not trusted",
}
"""What ``trusted_by`` of an identity says to people."""

_ANCHORS = {
    "service-cert": "service certificate",
    "service-key": "service key fingerprint",
    "genesis": "the first transaction itself (--trust-genesis)",
    "none": "none",
}


def render_text(verdict: LedgerVerdict, *, quiet: bool = False) -> str:
    """The report as text, ending in a newline; ``quiet`` keeps the first line and failing findings."""
    lines = [headline(verdict)]
    if quiet:
        lines += finding_lines([item for item in verdict.findings if item.verdict_effect is not Effect.NONE], verdict)
        return "\n".join(lines) + "\n"
    lines += field_lines("anchor", anchor_text(verdict))
    lines += field_lines("read", counts_text(verdict))
    lines += field_lines("unsigned", tail_text(verdict))
    if verdict.identities:
        lines += ["", "Service identities"]
        for position, identity in enumerate(verdict.identities, 1):
            lines += _identity(position, identity)
    if verdict.findings:
        lines += ["", "Findings", *finding_lines(verdict.findings, verdict)]
    if verdict.not_checked:
        lines += ["", "Not checked"]
        for item in verdict.not_checked:
            lines += wrapped(item, "  - ", "    ")
    return "\n".join(lines) + "\n"


def headline(verdict: LedgerVerdict) -> str:
    """The verdict in one line: a word in capitals, a colon, what it means."""
    proven = verdict.proven
    if verdict.verdict is Verdict.VERIFIED and proven is not None:
        return f"VERIFIED: transactions {proven.first_seqno} to {proven.last_seqno} ({proven.last_txid}) are proven"
    word = "FAILED" if verdict.verdict is Verdict.FAILED else "UNDECIDED"
    if any(item.code == "anchor-missing" for item in verdict.findings) and word == "UNDECIDED":
        return f"{word}: consistent, but the identity of the service is its own word"
    if proven is None:
        return f"{word}: nothing is proven"
    return f"{word}: proven are only transactions {proven.first_seqno} to {proven.last_seqno} ({proven.last_txid})"


def anchor_text(verdict: LedgerVerdict) -> str:
    """The anchor, a line for each of its keys."""
    text = _ANCHORS.get(verdict.anchor_kind, verdict.anchor_kind)
    return text + "".join(f"\n{key}" for key in verdict.anchor_keys)


def counts_text(verdict: LedgerVerdict) -> str:
    """How much was read."""
    parts = [
        number(verdict.files, "file"),
        number(verdict.transactions, "transaction"),
        number(verdict.signatures, "signature"),
    ]
    return f"{', '.join(parts)}; level {verdict.level}"


def number(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def tail_text(verdict: LedgerVerdict) -> str:
    """What follows the last signature."""
    tail = verdict.unsigned_tail
    if tail is None:
        return "nothing after the last signature"
    return f"{number(tail.count, 'transaction')} from seqno {tail.first_seqno} on, not proven"


def _identity(position: int, identity: IdentityReport) -> Iterator[str]:
    yield f"{position:>3}  {identity.service_key_sha256 or '(key unknown)'}"
    first = str(identity.first_txid) if identity.first_txid is not None else "before the start"
    span = f"{first} to {identity.last_signed_txid or 'no signature'}"
    status = f"{identity.status}, " if identity.status else ""
    text = f"{span}, {status}{number(identity.signatures, 'signature')}; {TRUSTED_BY[identity.trusted_by]}"
    yield from wrapped(text, "     ", "     ")


def finding_lines(findings: Iterable[Finding], verdict: LedgerVerdict) -> list[str]:
    """Findings, each with its message and where it was met."""
    lines: list[str] = []
    for item in findings:
        where = f"  {item.txid}" if item.txid is not None else ""
        lines.append(f"  {item.severity.value} {item.code}{where}")
        lines += wrapped(item.message, "    ", "    ")
        if item.file is not None:
            lines.append(f"    {item.file}" + (f", offset {item.offset}" if item.offset is not None else ""))
        if item.severity is Severity.ERROR and item.txid is not None and verdict.proven is not None:
            seqno = int(item.txid.partition(".")[2])
            if seqno > verdict.proven.last_seqno:
                lines.append(f"    last proven transaction before it: {verdict.proven.last_txid}")
    return lines


def field_lines(label: str, text: str) -> list[str]:
    """A labelled field; further lines of the text stand below it."""
    first, *rest = text.split("\n")
    lines = wrapped(first, f"  {label:<{_LABEL - 2}}", " " * _LABEL)
    return lines + [" " * _LABEL + line for line in rest]


def wrapped(text: str, first: str, following: str) -> list[str]:
    """Lines of at most 80 columns."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=following,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]
