"""The verdict as one HTML page: for people, for print, for the file of an audit.

The page stands alone: no script, no request, nothing from elsewhere (its own content security policy forbids them).
The same verdict gives the same bytes. Everything that comes from a ledger is text: made printable, so that nothing
hides or reverses, then escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

import tallystick
from tallystick.audit.activity import Activity
from tallystick.audit.verdict import IdentityReport, LedgerVerdict
from tallystick.findings import CATALOGUE, Effect, Finding, Verdict
from tallystick.governance.events import Event, when
from tallystick.governance.report import GovernanceReport
from tallystick.printable import printable
from tallystick.report.charts import interval_chart, ledger_strip, rate_chart, time_text
from tallystick.report.page_style import STYLE
from tallystick.report.text import TRUSTED_BY, anchor_text, headline, number, tail_text

__all__ = ["render_html"]

# A browser shows a page of this many rows at once without delay; the complete lists are in other formats.
_LISTED = 1_000
_LISTED_CHANGES = 12

_SIGNS = {Verdict.VERIFIED: "✔", Verdict.FAILED: "✘", Verdict.UNDECIDED: "?"}
_EFFECTS = {Effect.FAILS: "fails", Effect.UNDECIDES: "leaves undecided", Effect.NONE: "none"}

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def render_html(
    verdict: LedgerVerdict,
    *,
    activity: Activity | None = None,
    governance: GovernanceReport | None = None,
) -> str:
    """The report as one HTML page.

    Args:
        verdict: of the ledger.
        activity: what an observer of the same audit saw of its signatures; without it there are no charts of them.
        governance: what an observer of the same audit saw of its governance; without it there is no timeline.
    """
    word, _, meaning = headline(verdict).partition(": ")
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        # Keeps a browser from asking a server for /favicon.ico.
        '<link rel="icon" href="data:,">',
        f"<title>{word.capitalize()}: ledger report</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        "<header>",
        f"<h1>Ledger verification{_of_paths(verdict.paths)}</h1>",
        f'<div class="verdict {verdict.verdict.value}">',
        f'<p class="word"><span aria-hidden="true">{_SIGNS[verdict.verdict]}</span> {word}</p>',
        f"<p>{_text(meaning[0].upper() + meaning[1:])}.</p>",
        *_deciding(verdict),
        "</div>",
        "</header>",
        "<main>",
        *_basis(verdict),
        *_proven(verdict),
        *_identities(verdict),
        *_activity(activity),
        *_governance(governance),
        *_findings(verdict.findings),
        *_section("not-checked", "Not checked", _list(verdict.not_checked) or ["<p>Nothing was left out.</p>"]),
        "</main>",
        "<footer>",
        f"<p>Written by tallystick {_text(tallystick.__version__)}. This page holds everything it shows: it runs no "
        "script and asks no network. The verdict for programs is in the JSON report.</p>",
        "</footer>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


# ------------------------------------------------------------------------------------------------- pieces


def _text(text: object) -> str:
    """Text of whatever origin, for element content and quoted attributes."""
    return escape(printable(str(text)))


def _code(text: object) -> str:
    return f"<code>{_text(text)}</code>"


def _unbroken(text: object) -> str:
    """Text that stays on one line: half a transaction ID is another one."""
    return f'<span class="keep">{_text(text)}</span>'


def _section(name: str, title: str, content: Iterable[str]) -> list[str]:
    return [f'<section aria-labelledby="{name}">', f'<h2 id="{name}">{title}</h2>', *content, "</section>"]


def _list(items: Sequence[str]) -> list[str]:
    return ["<ul>", *(f"<li>{_text(item[0].upper() + item[1:])}.</li>" for item in items), "</ul>"] if items else []


def _facts(rows: Iterable[tuple[str, str]]) -> list[str]:
    return ['<dl class="facts">', *(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows), "</dl>"]


def _of_paths(paths: Sequence[str]) -> str:
    return (
        " of " + ", ".join(_text(path) for path in paths[:3]) + (" and more" if len(paths) > 3 else "") if paths else ""
    )


def _deciding(verdict: LedgerVerdict) -> Iterator[str]:
    deciding = verdict.deciding
    if deciding is not None:
        where = f" at {_text(deciding.txid)}" if deciding.txid is not None else ""
        yield f"<p>Because: {_text(deciding.message)}{where}.</p>"


# ----------------------------------------------------------------------------------------------- sections


def _basis(verdict: LedgerVerdict) -> list[str]:
    kind, *keys = anchor_text(verdict).split("\n")
    anchor = _text(kind) + "".join(f"<br>{_code(key)}" for key in keys)
    read = ", ".join(
        (
            number(verdict.files, "file"),
            number(verdict.transactions, "transaction"),
            number(verdict.signatures, "signature"),
        )
    )
    return _section(
        "basis",
        "What this rests on",
        _facts((("Trust anchor", anchor), ("Read", read), ("Level", _text(verdict.level)))),
    )


def _proven(verdict: LedgerVerdict) -> list[str]:
    proven, lines, open_points = verdict.proven, [], []
    if proven is None:
        open_points.append("nothing of this ledger is proven under the trust anchor given")
    else:
        lines += [
            f"transactions {proven.first_seqno:,} to {proven.last_seqno:,} ({proven.last_txid}) are, byte for byte and "
            "in this order, what was signed; none is missing between them",
            "each signature up to there was made by a node that the service trusted at that point, or by the service "
            "itself, under an identity marked as trusted below",
        ]
        if verdict.first_seqno is not None and verdict.first_seqno < proven.first_seqno:
            open_points.append(f"transactions {verdict.first_seqno:,} to {proven.first_seqno - 1:,}")
        if verdict.last_seqno is not None and verdict.last_seqno > proven.last_seqno and verdict.unsigned_tail is None:
            open_points.append(f"transactions {proven.last_seqno + 1:,} to {verdict.last_seqno:,}")
    if verdict.unsigned_tail is not None:
        open_points.append(tail_text(verdict).replace(", not proven", ": they stand after the last signature"))
    content: list[str] = []
    if verdict.first_seqno is not None and verdict.last_seqno is not None:
        content += ["<figure>", ledger_strip(verdict), "</figure>"]
    content += ["<h3>Proven</h3>", *(_list(lines) or ["<p>Nothing.</p>"])]
    content += ["<h3>Not proven</h3>", *(_list(open_points) or ["<p>Nothing of what was read is left unproven.</p>"])]
    return _section("proven", "What is and is not proven", content)


def _identities(verdict: LedgerVerdict) -> list[str]:
    if not verdict.identities:
        return []
    rows = [_identity(position, item) for position, item in enumerate(verdict.identities, 1)]
    return _section(
        "identities",
        "Service identities",
        _table(
            "oldest first", ("Identity", "Key (SHA-256)", "From", "Last signed", "Status", "Signatures", "Trust"), rows
        ),
    )


def _identity(position: int, item: IdentityReport) -> tuple[str, ...]:
    return (
        str(position),
        _code(item.service_key_sha256) if item.service_key_sha256 else "unknown",
        _unbroken(item.first_txid or "before the start"),
        _unbroken(item.last_signed_txid or "never"),
        _unbroken(item.status or "unknown"),
        f"{item.signatures:,}",
        _text(TRUSTED_BY[item.trusted_by]),
    )


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table whose first column names the row; cells are HTML."""
    # Roles are said, for the style sheet lays tables out as blocks on narrow screens, which would take them away.
    lines = ['<table class="stack" role="table">', f"<caption>{_text(caption)}</caption>"]
    lines.append('<thead role="rowgroup"><tr role="row">')
    lines += [f'<th scope="col" role="columnheader">{_text(head)}</th>' for head in heads]
    lines.append('</tr></thead><tbody role="rowgroup">')
    for first, *rest in rows:
        named = zip(heads[1:], rest, strict=True)
        cells = "".join(f'<td role="cell" data-label="{_text(head)}">{cell}</td>' for head, cell in named)
        lines.append(f'<tr role="row"><th scope="row" role="rowheader">{first}</th>{cells}</tr>')
    return [*lines, "</tbody></table>"]


def _activity(activity: Activity | None) -> list[str]:
    if activity is None or not activity.spans:
        return []
    several = any(span.signatures > 1 for span in activity.spans)
    drawn = "mean (line) and longest (dashed) of neighbouring intervals" if several else "each interval"
    content = [
        "<figure>",
        f"<figcaption>Transactions a signature: {drawn}</figcaption>",
        interval_chart(activity),
        "</figure>",
    ]
    times = activity.times
    if times is None:
        content.append(
            '<p class="note">The rate over time is not shown: signatures of this ledger tell no time, as those of CCF '
            "before 6, or all tell the same.</p>"
        )
    else:
        content += [
            "<figure>",
            "<figcaption>Transactions a second, by the time that signatures claim</figcaption>",
            rate_chart(activity),
            "</figure>",
            '<p class="note">Times are those of the nodes\' clocks; nothing proves them'
            + (
                f". {number(activity.clock_went_back, 'signature')} claim an earlier time than the one before"
                if activity.clock_went_back
                else ""
            )
            + ".</p>",
        ]
    rows = [
        ("Signature intervals", f"{activity.signatures:,}"),
        ("Longest interval", number(max(span.longest for span in activity.spans), "transaction")),
    ]
    if times is not None:
        rows += [("First time told", time_text(times[0])), ("Last time told", time_text(times[1]))]
    return _section("activity", "Activity", [*content, *_facts(rows)])


def _governance(report: GovernanceReport | None) -> list[str]:
    if report is None:
        return []
    content = [
        '<p class="note">As the ledger tells it: signatures of the members\' requests were checked, constitution and '
        "ballots were not run. <code>tallystick gov verify</code> does that.</p>"
    ]
    deciding = [item for item in report.findings if item.verdict_effect is not Effect.NONE]
    if deciding:
        content += ["<h3>Objections</h3>", *_finding_table("to governance; not part of the verdict above", deciding)]
    if report.last_seqno is not None and report.first_seqno is not None:
        held = report.standing
        content += _facts(
            (
                ("Read to", _text(report.last_txid or "nothing")),
                ("Service", _text(held.service_status or "unknown")),
                ("Constitution", _code(held.constitution_sha256 or "unknown")),
                ("Members", number(len(held.members), "member")),
                ("Recovery", f"{held.recovery_threshold} shares needed" if held.recovery_threshold else "unknown"),
            )
        )
    events = report.events[:_LISTED]
    if events:
        content += ["<h3>Timeline</h3>", '<ol class="events">', *(_event(event) for event in events), "</ol>"]
    if len(report.events) > _LISTED:
        content.append(f"<p>And {len(report.events) - _LISTED:,} more: <code>tallystick gov log</code> lists all.</p>")
    return _section("governance", "Governance", content)


def _event(event: Event) -> str:
    parts = [f"<strong>{_text(event.kind)}</strong>"]
    if event.proposal_id is not None:
        parts.append(f"proposal {_code(event.proposal_id[:16])}")
    if event.member_id is not None:
        parts.append(f"by member {_code(event.member_id[:16])}")
    if event.kind == "voted":
        parts.append({True: "voted yes", False: "voted no", None: "vote unknown"}[event.vote])
    if event.outcome is not None:
        parts.append(f"<strong>→ {_text(event.outcome)}</strong>")
    if event.summary:
        parts.append(_text(event.summary))
    line = f"{_code(event.txid)} {', '.join(parts)}"
    claimed = when(event.created_at)
    if claimed is not None:
        line += f'; the request claims <time datetime="{_text(claimed)}">{_text(claimed)}</time>'
    if event.actions and (event.kind == "proposed" or event.outcome is not None):
        line += f'<br><span class="note">actions: {_text(", ".join(event.actions))}</span>'
    if event.changes and event.kind not in ("genesis", "recovery"):
        shown = [f"{item.kind} {item.table}[{item.key[:48]}]" for item in event.changes[:_LISTED_CHANGES]]
        more = f" and {len(event.changes) - _LISTED_CHANGES} more rows" if len(event.changes) > _LISTED_CHANGES else ""
        line += f'<br><span class="note">{_text("; ".join(shown) + more)}</span>'
    return f'<li class="decided">{line}</li>' if event.outcome is not None else f"<li>{line}</li>"


def _findings(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return _section("findings", "Findings", ["<p>None.</p>"])
    content = _finding_table("by position in the ledger", findings[:_LISTED])
    if len(findings) > _LISTED:
        content.append(f"<p>And {len(findings) - _LISTED:,} more: <code>--format json</code> lists all.</p>")
    return _section("findings", "Findings", content)


def _finding_table(caption: str, findings: Iterable[Finding]) -> list[str]:
    rows = []
    for item in findings:
        lines = [_text(item.message)]
        if item.file is not None:
            offset = f", offset {item.offset:,}" if item.offset is not None else ""
            lines.append(_code(item.file) + offset)
        info = CATALOGUE.get(item.code)
        if info is not None:
            lines.append(f'<span class="note">{_text(info.advice)}</span>')
        rows.append(
            (
                f'<span class="tag {item.severity.value}">{item.severity.value}</span> {_code(item.code)}',
                "<br>".join(lines),
                _unbroken(item.txid or ""),
                _EFFECTS[item.verdict_effect],
            )
        )
    return _table(caption, ("Finding", "What was found", "Transaction", "Effect"), rows)
