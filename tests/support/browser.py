"""Headless Chromium and tools from npm, for tests that look at pages; both are optional and skipped without."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Chromium", "browser_tools"]

# No look-ups of its own, no first-run pages, no profile but a new one; as root it runs without its sandbox.
_SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-domain-reliability", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
_RESULT = re.compile(r'<script type="application/json" id="probe-result">(.*?)</script>', re.DOTALL)


def browser_tools(package_file: str) -> Path:
    """A file of an npm package that ``make browser-tools`` installs; skips where it is missing."""
    named = os.environ.get("TALLYSTICK_BROWSER_TOOLS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(named) if named else cache / "tallystick-browser-tools"
    path = folder / "node_modules" / package_file
    if not path.is_file():
        pytest.skip(f"{package_file} is not installed at {folder}; run `make browser-tools`")
    return path


class Chromium:
    """Runs headless Chromium once a question. Skips where there is none."""

    def __init__(self, scratch: Path) -> None:
        found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if found is None:
            pytest.skip("no Chromium here; install Debian's package chromium to look at pages")
        self._program, self._scratch, self._runs = found, scratch, 0

    def run(self, url: str, *switches: str, width: int = 1200, height: int = 900) -> str:
        """Standard output of one run on ``url``."""
        self._runs += 1
        profile = self._scratch / f"profile-{self._runs}"
        command = [self._program, *_SWITCHES, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        done = subprocess.run([*command, *switches, url], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def probe(self, page: str, script: str, *, width: int = 1200, dark: bool = False) -> Any:
        """The value of ``script``, an expression or promise, evaluated in ``page`` after it is laid out.

        The page's policy against scripts is taken out of the copy that is looked at.
        """
        copy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page, count=1)
        asked = f"""<script>addEventListener("load", async () => {{
          const value = await ({script});
          const holder = document.createElement("script");
          holder.type = "application/json"; holder.id = "probe-result";
          holder.textContent = JSON.stringify(value).replaceAll("<", "\\\\u003c");
          document.body.append(holder);
        }});</script></body>"""
        path = self._scratch / f"probe-{self._runs}.html"
        path.write_text(copy.replace("</body>", asked), encoding="utf-8")
        switches = ["--dump-dom", "--virtual-time-budget=20000"]
        if dark:
            switches += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
        dom = self.run(path.as_uri(), *switches, width=width)
        match = _RESULT.search(dom)
        assert match is not None, dom[-2000:]
        return json.loads(unescape(match[1]) if "&quot;" in match[1] else match[1])

    def screenshot(self, url: str, target: Path, *, width: int = 1200, height: int = 900) -> None:
        """A PNG of the page."""
        self.run(url, f"--screenshot={target}", width=width, height=height)
