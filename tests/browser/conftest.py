from __future__ import annotations

import pytest

from support.browser import Chromium


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Chromium:
    """Headless Chromium; skips where there is none."""
    return Chromium(tmp_path_factory.mktemp("chromium"))
