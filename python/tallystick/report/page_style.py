"""Style sheet of HTML reports: light and dark, narrow and wide, screen and print; no colour carries meaning alone."""

from __future__ import annotations

__all__ = ["STYLE"]

# Text on its background has a contrast of at least 7:1 in both schemes; lines and hatching at least 3:1.
STYLE = """
:root { --ink: #1b1f24; --soft: #4a5159; --paper: #ffffff; --panel: #f4f5f7; --line: #767d86; --rule: #d5d9de;
  --good: #0b5a2a; --bad: #97161b; --open: #6b4700; --good-panel: #e9f6ed; --bad-panel: #fdeceb; --open-panel: #fff5dd;
  --bar: #3d5a80; --bar-other: #8a6d1f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9ecef; --soft: #b9c0c8; --paper: #14171a; --panel: #1f2429; --line: #8d959e; --rule: #3a4149;
    --good: #8fe0ab; --bad: #ffb3ae; --open: #ffd98a; --good-panel: #12301d; --bad-panel: #3d1517;
    --open-panel: #362a0d; --bar: #9dbce6; --bar-other: #e0c36f; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; overflow-wrap: anywhere; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; }
header, main, footer { max-width: 60rem; margin: 0 auto; padding: 0 1.25rem; }
h1 { font-size: 1.05rem; font-weight: 600; margin: 1.5rem 0 .75rem; color: var(--soft); }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
p, ul, ol, dl, table, figure { margin: .5rem 0 1rem; }
li { margin: .25rem 0; }
code, .id { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; font-size: .9em; }
.verdict { border: 2px solid; border-left-width: .75rem; border-radius: .25rem; padding: .9rem 1.1rem; }
.verdict .word { font-size: 1.7rem; font-weight: 700; line-height: 1.2; margin: 0; letter-spacing: .02em; }
.verdict p { margin: .35rem 0 0; color: var(--ink); }
.verdict p.word { color: inherit; }
.verified { color: var(--good); background: var(--good-panel); }
.failed { color: var(--bad); background: var(--bad-panel); }
.undecided { color: var(--open); background: var(--open-panel); border-style: dashed; border-left-style: solid; }
dl.facts { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .35rem 1.25rem; }
dl.facts dt { color: var(--soft); }
dl.facts dd { margin: 0; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--soft); padding-bottom: .35rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .75rem .45rem 0; border-bottom: 1px solid var(--rule); }
thead th { border-bottom: 2px solid var(--line); white-space: nowrap; }
tbody th { font-weight: 600; }
.keep { white-space: nowrap; }
.note { color: var(--soft); }
.tag { display: inline-block; border: 1px solid currentColor; border-radius: .2rem; padding: 0 .4rem; font-size: .85em;
  font-weight: 600; white-space: nowrap; }
.tag.error { color: var(--bad); border-width: 2px; }
.tag.warning { color: var(--open); border-style: dashed; }
.tag.keep { white-space: nowrap; }
.note { color: var(--soft); border-style: dotted; }
figure { margin-left: 0; margin-right: 0; }
figcaption { font-weight: 600; margin-bottom: .35rem; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .soft { fill: var(--soft); }
svg .axis { stroke: var(--line); stroke-width: 1; fill: none; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .bar { fill: var(--bar); }
svg .curve { fill: none; stroke: var(--bar); stroke-width: 1.75; stroke-linejoin: round; }
svg .peak { fill: none; stroke: var(--bar-other); stroke-width: 1.25; stroke-dasharray: 4 3; }
svg .block { fill: var(--panel); stroke: var(--line); stroke-width: 1.5; }
svg .proven { fill: var(--bar); stroke: var(--bar); }
svg .hatch { stroke: var(--line); stroke-width: 2; }
ol.events { list-style: none; padding: 0; border-left: 2px solid var(--line); margin-left: .4rem; }
ol.events > li { position: relative; padding: 0 0 .6rem 1.25rem; margin: 0; }
ol.events > li::before { content: ""; position: absolute; left: -.4rem; top: .5rem; width: .65rem; height: .65rem;
  border-radius: 50%; background: var(--paper); border: 2px solid var(--line); }
ol.events > li.decided::before { background: var(--line); }
footer { color: var(--soft); border-top: 1px solid var(--rule); margin-top: 2.5rem; padding-top: 1rem;
  padding-bottom: 2.5rem; font-size: .9rem; }
@media (max-width: 40rem) {
  svg text { font-size: 20px; }
  dl.facts { grid-template-columns: 1fr; gap: 0; }
  dl.facts dd { margin-bottom: .5rem; }
  .stack thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .stack tr { display: block; border-bottom: 1px solid var(--line); padding: .5rem 0; }
  .stack th, .stack td { display: block; border: 0; padding: .1rem 0; text-align: left; }
  .stack td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); }
  .stack td:empty { display: none; }
}
@media print {
  :root { --ink: #000; --soft: #222; --paper: #fff; --panel: #fff; --line: #000; --rule: #888; --good: #000;
    --bad: #000; --open: #000; --good-panel: #fff; --bad-panel: #fff; --open-panel: #fff; --bar: #333;
    --bar-other: #000; }
  body { font-size: 10.5pt; }
  header, main, footer { max-width: none; padding: 0; }
  h2, h3, figcaption { break-after: avoid; }
  tr, figure, li, .verdict { break-inside: avoid; }
}
@page { margin: 18mm 16mm; }
"""
