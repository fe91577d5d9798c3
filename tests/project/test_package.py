"""What is installed: typed, licensed, without tests, one version everywhere."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tallystick


def test_versions_agree(repository: Path) -> None:
    cargo = (repository / "Cargo.toml").read_text(encoding="utf-8")
    versions = re.findall(r'^version = "([^"]+)"$', cargo.partition("[workspace.package]")[2], re.MULTILINE)
    assert tallystick.__version__ == versions[0]
    assert importlib.metadata.version("tallystick") == tallystick.__version__


def test_the_package_is_typed() -> None:
    package = Path(tallystick.__file__).parent
    assert (package / "py.typed").is_file()
    assert (package / "_native.pyi").is_file()


def test_the_wheel_holds_what_it_should() -> None:
    distribution = importlib.metadata.distribution("tallystick")
    names = [file.as_posix() for file in distribution.files or []]
    if not any(name == "tallystick/__init__.py" for name in names):
        pytest.skip("an editable install has no wheel's list of files")
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(re.fullmatch(r"tallystick/_native\.abi3\.so", name) for name in names)
    tops = {name.split("/", 1)[0] for name in names if not name.startswith("..")}
    assert tops == {"tallystick", f"tallystick-{distribution.version}.dist-info"}


def test_the_licence_is_apache_2_0(repository: Path) -> None:
    metadata = importlib.metadata.metadata("tallystick")
    assert metadata["License-Expression"] == "Apache-2.0"
    text = (repository / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "APPENDIX: How to apply the Apache License to your work." in text


def test_the_module_runs() -> None:
    run = subprocess.run([sys.executable, "-m", "tallystick", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == f"tallystick {tallystick.__version__}\n"
