"""The Python in docs/export.md runs, on the demonstration's ledger."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.run import tallystick

PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the exports that the page names."""
    directory = tmp_path_factory.mktemp("demonstration") / "files"
    assert tallystick("demo", "--directory", directory).exit_code == 0
    kinds = {"sqlite": "export.db", "csv": "export.csv", "parquet": "export.parquet"}
    for kind, name in kinds.items():
        if kind != "parquet" or find_spec("pyarrow"):
            certificate = directory / "service-cert.pem"
            outcome = tallystick(
                "export", directory / "ledger", "--service-cert", certificate, "--to", kind, "-o", directory / name
            )
            assert outcome.exit_code == 0, outcome
    return directory


@pytest.mark.parametrize(
    ("library", "needs", "shown"),
    [
        ("sqlite3", (), "under the root signed at"),
        ("duckdb", ("duckdb", "pyarrow"), "invoice 4711: paid"),
        ("pandas", ("pandas", "pyarrow"), "public:payments"),
    ],
)
def test_example(library: str, needs: tuple[str, ...], shown: str, exports: Path, repository: Path) -> None:
    for module in needs:
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed; pip install 'tallystick[export-test]'")
    page = (repository / "docs" / "export.md").read_text(encoding="utf-8")
    (code,) = (block for block in PYTHON.findall(page) if f"import {library}\n" in block)

    done = subprocess.run([sys.executable, "-c", code], cwd=exports, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
