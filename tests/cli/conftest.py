from __future__ import annotations

from pathlib import Path

import pytest

from support.small_ledger import write_small_ledger


@pytest.fixture(scope="session")
def small_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See :func:`support.small_ledger.write_small_ledger`; not to be changed."""
    return write_small_ledger(tmp_path_factory.mktemp("small") / "ledger")
