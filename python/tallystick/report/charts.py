"""Charts of HTML reports, as inline SVG: no script, no colour needed, and a description for those who cannot see them.

Coordinates are in pixels of a drawing 720 wide; the page scales it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape

from tallystick.audit.activity import Activity, Span
from tallystick.audit.verdict import LedgerVerdict

__all__ = ["interval_chart", "ledger_strip", "rate_chart", "time_text"]

_WIDTH = 720
_LEFT, _RIGHT = 88, 12

# Bars of the rate chart: wide enough to be told apart in print.
RATE_BUCKETS = 96


def time_text(seconds: int) -> str:
    """A time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _frame(name: str, height: int, title: str, description: str, body: Sequence[str]) -> str:
    lines = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="{name}-title {name}-text">',
        f'<title id="{name}-title">{escape(title)}</title>',
        f'<desc id="{name}-text">{escape(description)}</desc>',
        *body,
        "</svg>",
    ]
    return "\n".join(lines)


def _number(value: float) -> str:
    """Coordinates with as many digits as a screen can show; the same everywhere."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def short_number(value: float) -> str:
    """A number for an axis."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):,.4g} {unit}"
    return f"{value:,.4g}" if value < 10 else f"{value:,.0f}"


def _ceiling(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 1.0
    while power * 10 < value:
        power *= 10
    while power > value > 0:
        power /= 10
    return next((power * step for step in (1, 2, 5, 10) if power * step >= value), power)


class _Plot:
    """Axes over a plotting area."""

    def __init__(self, height: int, top: float, first: float, last: float) -> None:
        self.height, self.top = height, top
        self.first, self.last = first, last
        self.upper, self.lower = 18, height - 40

    def x(self, value: float) -> float:
        span = (self.last - self.first) or 1
        return _LEFT + (value - self.first) / span * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return self.lower - value / (self.top or 1) * (self.lower - self.upper)

    def axes(self, left: str, right: str, below: str) -> list[str]:
        lines = []
        for part in (0.0, 0.5, 1.0):
            at = _number(self.y(self.top * part))
            if part:
                lines.append(f'<path class="grid" d="M{_LEFT} {at}H{_WIDTH - _RIGHT}"/>')
            label = escape(short_number(self.top * part))
            lines.append(f'<text class="soft" x="{_LEFT - 8}" y="{at}" dy="4" text-anchor="end">{label}</text>')
        lines.append(f'<path class="axis" d="M{_LEFT} {self.upper}V{self.lower}H{_WIDTH - _RIGHT}"/>')
        row = self.height - 12
        lines.append(f'<text class="soft" x="{_LEFT}" y="{row}">{escape(left)}</text>')
        lines.append(
            f'<text class="soft" x="{_number((_LEFT + _WIDTH - _RIGHT) / 2)}" y="{row}" text-anchor="middle">'
            f"{escape(below)}</text>"
        )
        lines.append(f'<text class="soft" x="{_WIDTH - _RIGHT}" y="{row}" text-anchor="end">{escape(right)}</text>')
        return lines


def interval_chart(activity: Activity) -> str:
    """Transactions a signature, along the ledger; the longest interval of a stretch as a second, dashed line."""
    spans = activity.spans
    longest = max(span.longest for span in spans)
    plot = _Plot(220, _ceiling(longest), spans[0].first_seqno, spans[-1].last_seqno)
    body = plot.axes(f"seqno {spans[0].first_seqno:,}", f"{spans[-1].last_seqno:,}", "position in the ledger")
    body.append(f'<path class="curve" d="{_steps(plot, spans, mean=True)}"/>')
    if any(span.signatures > 1 for span in spans):
        body.append(f'<path class="peak" d="{_steps(plot, spans, mean=False)}"/>')
    total = sum(span.transactions for span in spans)
    count = activity.signatures
    text = (
        f"{count:,} signature intervals over {total:,} transactions: {total / count:,.1f} transactions a signature on "
        f"average, {longest:,} at most."
    )
    return _frame("intervals", plot.height, "Transactions a signature", text, body)


def _steps(plot: _Plot, spans: Sequence[Span], *, mean: bool) -> str:
    parts = []
    previous: int | None = None
    for span in spans:
        value = span.transactions / span.signatures if mean else span.longest
        x, y = _number(plot.x(span.first_seqno)), _number(plot.y(value))
        # A gap in the ledger is a gap in the line.
        parts.append(f"M{x} {y}" if previous is None or previous + 1 != span.first_seqno else f"H{x}V{y}")
        parts.append(f"H{_number(plot.x(span.last_seqno + 1 if span is not spans[-1] else span.last_seqno))}")
        previous = span.last_seqno
    return "".join(parts)


def rate_chart(activity: Activity) -> str:
    """Transactions a second over the time that signatures claim; for ledgers whose signatures tell the time."""
    times = activity.times
    if times is None:
        raise ValueError("signatures tell no time")
    buckets = min(RATE_BUCKETS, times[1] - times[0])
    width = (times[1] - times[0]) / buckets
    rates = [count / width for count in activity.over_time(buckets)]
    plot = _Plot(220, _ceiling(max(rates)), 0, buckets)
    body = plot.axes(time_text(times[0]), time_text(times[1]), "")
    for at, rate in enumerate(rates):
        if rate > 0:
            x, y = plot.x(at), plot.y(rate)
            body.append(
                f'<rect class="bar" x="{_number(x + 0.5)}" y="{_number(y)}" '
                f'width="{_number(plot.x(at + 1) - x - 1)}" height="{_number(plot.lower - y)}"/>'
            )
    mean = sum(rates) / len(rates)
    text = (
        f"From {time_text(times[0])} to {time_text(times[1])}: {short_number(mean)} transactions a second on average, "
        f"{short_number(max(rates))} in the busiest stretch of {short_number(width)} seconds."
    )
    return _frame("rate", plot.height, "Transactions a second", text, body)


def ledger_strip(verdict: LedgerVerdict) -> str:
    """The ledger from left to right: whose it was when, and which part of it is proven."""
    first, last = verdict.first_seqno, verdict.last_seqno
    if first is None or last is None:
        raise ValueError("nothing was read")
    scale = (_WIDTH - _LEFT - _RIGHT) / max(last - first + 1, 1)

    def x(seqno: int) -> float:
        return _LEFT + (min(max(seqno, first), last + 1) - first) * scale

    body = [
        '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<path class="hatch" d="M0 0V7"/></pattern></defs>',
        f'<text class="soft" x="{_LEFT - 8}" y="27" text-anchor="end">identity</text>',
        f'<text class="soft" x="{_LEFT - 8}" y="65" text-anchor="end">proven</text>',
    ]
    starts = [first if item.first_txid is None else item.first_txid.seqno for item in verdict.identities]
    for number, begin in enumerate(starts, 1):
        end = starts[number] if number < len(starts) else last + 1
        left, width = x(begin), max(x(end) - x(begin), 1.0)
        body.append(
            f'<rect class="block" x="{_number(left)}" y="10" width="{_number(width)}" height="26"/>'
            + (
                f'<text x="{_number(left + width / 2)}" y="27" text-anchor="middle">{number}</text>'
                if width > 14
                else ""
            )
        )
    body.append(
        f'<rect x="{_LEFT}" y="48" width="{_number(x(last + 1) - _LEFT)}" height="26" fill="url(#hatch)" class="axis"'
        ' style="fill:url(#hatch)"/>'
    )
    text = f"Seqnos {first:,} to {last:,}: {len(starts)} service identities; "
    if verdict.proven is None:
        text += "nothing is proven."
    else:
        begin, end = verdict.proven.first_seqno, verdict.proven.last_seqno
        body.append(
            f'<rect class="proven" x="{_number(x(begin))}" y="48" width="{_number(max(x(end + 1) - x(begin), 1.0))}"'
            ' height="26"/>'
        )
        text += f"proven from {begin:,} to {end:,}."
    body.append(f'<text class="soft" x="{_LEFT}" y="92">seqno {first:,}</text>')
    body.append(f'<text class="soft" x="{_WIDTH - _RIGHT}" y="92" text-anchor="end">{last:,}</text>')
    return _frame("strip", 100, "Service identities and proven range", text, body)
