"""What every test may ask for: the real files beside the checkout, and the official package as second opinion."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent

# `HYPOTHESIS_PROFILE=thorough` digs deeper; the default is quick and the same in every run.
settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=5_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def _shared_root() -> Path:
    named = os.environ.get("TALLYSTICK_SHARED")
    return Path(named) if named else REPOSITORY.parent / "shared"


def _peer_python() -> Path | None:
    named = os.environ.get("TALLYSTICK_PEER_PYTHON")
    python = Path(named) if named else REPOSITORY / ".venv-peer" / "bin" / "python"
    return python if python.is_file() else None


def pytest_report_header() -> list[str]:
    data = _shared_root() / "data"
    peer = _peer_python()
    return [
        f"real files: {data}" if data.is_dir() else f"real files: NONE at {data}, tests on them will be skipped",
        f"official ccf: {peer}" if peer else "official ccf: NONE, differential tests will be skipped (make peer)",
    ]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of files that real CCF wrote (its README says which); skips where it is missing."""
    data = _shared_root() / "data"
    if not data.is_dir():
        pytest.skip(f"no real files at {data}; set TALLYSTICK_SHARED to the folder that holds data/")
    return data


@pytest.fixture(scope="session")
def ledgers(shared_data: Path) -> Path:
    """Folder of ledgers from CCF's own fixtures."""
    return shared_data / "ledgers"


@pytest.fixture(scope="session")
def ccf_built(shared_data: Path) -> Path:
    """Folder of ledgers, receipts and responses of the services js1 and cpp3."""
    return shared_data / "ccf-built"


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """Interpreter that can import the official ``ccf`` package; skips where there is none."""
    python = _peer_python()
    if python is None:
        pytest.skip("the official ccf package is not installed; run `make peer` or set TALLYSTICK_PEER_PYTHON")
    probe = subprocess.run([python, "-c", "import ccf.ledger"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.fail(f"{python} cannot import the official ccf package: {probe.stderr.strip()[-300:]}")
    return python
