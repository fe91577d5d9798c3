"""HTML for the explorer: every text is escaped, nothing is loaded from anywhere, no script runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

from tallystick.printable import printable

__all__ = [
    "Markup",
    "definition_list",
    "hexdump",
    "join",
    "link",
    "page",
    "path_drawing",
    "preformatted",
    "table",
    "tag",
]

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --dim: #666; --good: #14692f; --bad: #a3121c; --unsure: #7a4f00; }
@media (prefers-color-scheme: dark) { :root { --dim: #aaa; --good: #6fd38c; --bad: #ff8a8a; --unsure: #f0bd5c; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0; }
header { border-bottom: 1px solid var(--line); padding: .6rem 1rem; display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; }
header strong { margin-right: .6rem; }
main { padding: 1rem; max-width: 75rem; margin: 0 auto; }
a { color: inherit; }
h1 { font-size: 1.35rem; } h2 { font-size: 1.1rem; margin-top: 1.8rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td, dd, code, pre { overflow-wrap: anywhere; }
.keep { white-space: nowrap; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { border: 1px solid var(--line); padding: .6rem; overflow-x: auto; white-space: pre-wrap; max-height: 40rem; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .2rem 1rem; margin: 0; }
dt { color: var(--dim); } dd { margin: 0; }
.verified { color: var(--good); font-weight: 600; } .failed { color: var(--bad); font-weight: 600; }
.undecided { color: var(--unsure); font-weight: 600; }
form { display: inline-flex; gap: .4rem; } input, button, select { font: inherit; }
nav.pages { margin: .8rem 0; display: flex; gap: 1rem; }
svg { max-width: 100%; height: auto; } svg text { font: 12px ui-monospace, monospace; fill: currentColor; }
svg line, svg rect { stroke: currentColor; fill: none; } svg .own rect { stroke-width: 2.5; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dt { margin-top: .4rem; } }
"""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = Markup | str | int | None


def _html(content: Content) -> str:
    if isinstance(content, Markup):
        return content
    return escape(printable(str(content if content is not None else ""), lines=True))


def tag(name: str, *content: Content, **attributes: str) -> Markup:
    """One element; trailing underscores of attribute names are dropped (``class_``)."""
    rendered = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{rendered}>{''.join(map(_html, content))}</{name}>")


def join(parts: Iterable[Content], separator: str = "") -> Markup:
    """Several parts in a row."""
    return Markup(escape(separator).join(_html(part) for part in parts))


def link(content: Content, path: str, **query: str | int | None) -> Markup:
    """A link within the explorer; ``path`` segments must be quoted by the caller where they come from the ledger."""
    given = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in query.items() if value is not None)
    return tag("a", content, href=path + (f"?{given}" if given else ""))


def table(heads: Sequence[str], rows: Iterable[Sequence[Content]]) -> Markup:
    """A table with a header row."""
    body = join(tag("tr", *(tag("td", cell) for cell in row)) for row in rows)
    head = tag("tr", *(tag("th", head, scope="col") for head in heads))
    return tag("table", tag("thead", head), tag("tbody", body))


def definition_list(rows: Iterable[tuple[str, Content]]) -> Markup:
    """Names and values; rows without a value are left out."""
    return tag(
        "dl", *(part for name, value in rows if value is not None for part in (tag("dt", name), tag("dd", value)))
    )


def preformatted(text: str) -> Markup:
    """Text as it is."""
    return tag("pre", text, tabindex="0")


def hexdump(data: bytes, limit: int) -> Markup:
    """The first ``limit`` bytes, sixteen a line."""
    lines = []
    for start in range(0, min(len(data), limit), 16):
        piece = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        lines.append(f"{start:08x}  {piece.hex(' '):<47}  {text}")
    if len(data) > limit:
        lines.append(f"… {len(data) - limit} more bytes")
    return preformatted("\n".join(lines))


def path_drawing(leaf: str, path: Sequence[tuple[bool, bytes]], nodes: Sequence[str], root: str) -> Markup:
    """A Merkle path as a drawing: the leaf at the bottom, its siblings beside the nodes on the way to the root."""
    step, width = 56, 560
    height = step * (len(path) + 1) + 20
    parts: list[Markup] = []

    def box(x: int, y: int, text: str, own: bool) -> None:
        rectangle = Markup(f'<rect x="{x}" y="{y}" width="170" height="26" rx="3"/>')
        label = Markup(f'<text x="{x + 8}" y="{y + 17}">{escape(text)}</text>')
        parts.append(tag("g", rectangle, label, class_="own" if own else "sibling"))

    middle = (width - 170) // 2
    for level, (left, sibling) in enumerate(path):
        y = height - 36 - level * step
        side = 10 if left else width - 180
        edge = middle if left else middle + 170
        parts.append(Markup(f'<line x1="{middle + 85}" y1="{y}" x2="{middle + 85}" y2="{y - step + 26}"/>'))
        near = side + 170 if left else side
        parts.append(Markup(f'<line x1="{near}" y1="{y + 13}" x2="{edge}" y2="{y + 13}" stroke-dasharray="4 3"/>'))
        box(side, y, sibling.hex()[:16] + "…", False)
        box(middle, y, (leaf if level == 0 else nodes[level - 1])[:16] + "…", True)
    box(middle, height - 36 - len(path) * step, root[:16] + "…", True)
    description = tag("title", f"Merkle path of {len(path)} steps from the leaf at the bottom to the root at the top")
    frame = f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return Markup(f"{frame}{description}{join(parts)}</svg>")


def page(title: str, status: Markup, body: Markup) -> bytes:
    """A whole page."""
    links = (("Overview", "/"), ("Transactions", "/transactions"), ("Tables", "/tables"), ("Governance", "/governance"))
    search = Markup(
        '<form action="/search" role="search"><label>Find <input name="q" size="28" '
        'placeholder="2.15, a key, a digest"></label> <button>Search</button></form>'
    )
    navigation = tag("nav", *(join([link(name, path), Markup(" &nbsp; ")]) for name, path in links), aria_label="Pages")
    head = tag("header", tag("strong", "Tallystick"), navigation, search, tag("span", status))
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} – Tallystick</title><style>{_STYLE}</style></head>"
        f"<body>{head}{tag('main', tag('h1', title), body)}</body></html>"
    )
    return text.encode("utf-8", "backslashreplace")
