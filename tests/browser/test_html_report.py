"""The HTML report, looked at in a real browser: layout, accessibility, silence on the network."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.browser import Chromium, browser_tools
from support.services import Base, base, recovered_base
from tallystick.audit.activity import Activity
from tallystick.audit.auditor import audit_ledger
from tallystick.audit.verdict import LedgerVerdict
from tallystick.findings import Verdict, finding
from tallystick.governance.ledger import GovernanceObserver
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.report.html import render_html

HOSTILE = "<script>document.title='owned'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>\u202e\x1b[31m"

LAYOUT = """(() => {
  const wide = [...document.querySelectorAll("body *")].filter(e => !e.closest("svg"))
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.tagName);
  const cut = [...document.querySelectorAll("svg text")].filter(e => {
    const box = e.getBBox(), view = e.ownerSVGElement.viewBox.baseVal;
    return box.x < -1 || box.x + box.width > view.width + 1 || box.y < -1 || box.y + box.height > view.height + 1;
  }).map(e => e.textContent);
  const flat = [...document.querySelectorAll("svg")].filter(e => e.getBoundingClientRect().height < 20).length;
  return {title: document.title, wide, cut, flat, drawings: document.querySelectorAll("svg").length,
          word: document.querySelector(".verdict .word").innerText, scripts: document.querySelectorAll("img").length};
})()"""


def _report(of: Base, *, trusted: bool = True) -> tuple[LedgerVerdict, Activity, GovernanceObserver]:
    anchor = TrustAnchor.from_options(trust_genesis=True) if trusted else None
    activity, governance = Activity(), GovernanceObserver([of.directory], uncommitted=True, run_scripts=False)
    verdict = audit_ledger([of.directory], anchor, uncommitted=True, observers=[activity, governance])
    return verdict, activity, governance


@cache
def page(kind: str) -> str:
    """Pages of all sorts: short and long, good and bad, with and without times."""
    if kind == "old":
        verdict, activity, governance = _report(base("2.x"), trusted=False)
        return render_html(verdict, activity=activity, governance=governance.report())
    if kind == "bare":
        return render_html(LedgerVerdict(Verdict.UNDECIDED, "merkle", "none", (), None, None, None, None, 0, 0, 0))
    verdict, activity, governance = _report(recovered_base("6.x"))
    if kind == "hostile":
        verdict = replace(
            verdict,
            verdict=Verdict.FAILED,
            findings=(finding("copy-conflict", HOSTILE, file=HOSTILE * 3, offset=2**62, txid="2.7"),) * 3,
            paths=(HOSTILE,),
            not_checked=(HOSTILE,),
        )
    return render_html(verdict, activity=activity, governance=governance.report())


KINDS = ("good", "old", "bare", "hostile")


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("kind", KINDS)
def test_layout(kind: str, width: int, chromium: Chromium) -> None:
    seen = chromium.probe(page(kind), LAYOUT, width=width)

    assert seen["wide"] == [], "something sticks out to the right"
    assert seen["cut"] == [], "a label leaves its drawing"
    assert seen["flat"] == 0
    assert seen["drawings"] == {"good": 3, "old": 2, "bare": 0, "hostile": 3}[kind]
    assert seen["scripts"] == 0
    word = {"good": "VERIFIED", "hostile": "FAILED"}.get(kind, "UNDECIDED")
    assert word in seen["word"]
    assert seen["title"] == f"{word.capitalize()}: ledger report"


PLAIN = [(kind, 1200, False) for kind in KINDS]


@pytest.mark.parametrize(("kind", "width", "dark"), [*PLAIN, ("hostile", 1200, True), ("hostile", 360, False)])
def test_accessibility(kind: str, width: int, dark: bool, chromium: Chromium) -> None:
    axe = browser_tools("axe-core/axe.min.js").read_text(encoding="utf-8")
    with_axe = page(kind).replace("</head>", f"<script>{axe}</script></head>")

    result = chromium.probe(
        with_axe,
        "axe.run(document).then(r => ({passes: r.passes.map(p => p.id), violations: r.violations.map(v => "
        "[v.id, v.help, v.nodes.slice(0, 3).map(n => n.html)])}))",
        width=width,
        dark=dark,
    )

    assert result["violations"] == []
    assert {"color-contrast", "html-has-lang", "document-title", "landmark-one-main"} <= set(result["passes"])


def test_dark_is_dark(chromium: Chromium) -> None:
    script = "getComputedStyle(document.body).backgroundColor"

    assert chromium.probe(page("good"), script) == "rgb(255, 255, 255)"
    assert chromium.probe(page("good"), script, dark=True) == "rgb(20, 23, 26)"


@pytest.mark.parametrize("kind", ["good", "hostile"])
def test_no_request_leaves_the_page(kind: str, chromium: Chromium) -> None:
    content, asked = page(kind).encode(), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- the name it is called by
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own = f"http://127.0.0.1:{server.server_port}/report.html"
        chromium.run(own, "--dump-dom")
        server.shutdown()
    resources = chromium.probe(page(kind), "performance.getEntriesByType('resource').map(e => e.name)")

    assert asked == ["/report.html"]
    assert resources == []


def test_it_can_be_looked_at(chromium: Chromium, tmp_path: Path) -> None:
    width = 1200
    path, picture = tmp_path / "report.html", tmp_path / "report.png"
    path.write_text(page("good"), encoding="utf-8")

    chromium.screenshot(path.as_uri(), picture, width=width, height=2400)

    png = picture.read_bytes()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == width
    assert len(png) > 40_000, "a picture of an empty page is much smaller"


def test_it_can_be_printed(chromium: Chromium, tmp_path: Path) -> None:
    path, printed = tmp_path / "report.html", tmp_path / "report.pdf"
    path.write_text(page("hostile"), encoding="utf-8")

    chromium.run(path.as_uri(), f"--print-to-pdf={printed}", "--no-pdf-header-footer")

    assert printed.read_bytes().startswith(b"%PDF")
    assert printed.stat().st_size > 20_000
