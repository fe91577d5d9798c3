"""Any flipped bit that a signature covers fails, at every level that hashes; none makes a run crash."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import slow
from support.mutation import is_signature
from support.run import tallystick
from support.services import Base, recovered_base


@cache
def covered(style: str) -> list[tuple[str, int, int]]:
    """(file name, first offset, offset after the last) of every run of bytes that a later signature covers."""
    runs = []
    directory = recovered_base(style).directory
    last = max(e.seqno for e in slow.read_ledger(directory) if is_signature(e))
    for path in slow.chunk_paths(directory):
        ends = [e.offset + len(e.raw) for e in slow.read_chunk(path) if e.seqno < last]
        if ends:
            runs.append((path.name, 8, ends[-1]))
    return runs


@pytest.fixture(scope="module", params=["1.x", "6.x", "7.x"])
def pinned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Base, list[str]]:
    base = recovered_base(request.param)
    options = []
    for number, certificate in enumerate(base.certificates):
        path = tmp_path_factory.mktemp("pins") / f"{number}.pem"
        path.write_bytes(certificate)
        options += ["--service-cert", str(path)]
    return base, options


@pytest.mark.parametrize("level", ["merkle", "full"])
@given(data=st.data())
def test_a_bit_under_a_signature(
    pinned: tuple[Base, list[str]], level: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    base, options = pinned
    name, first, end = data.draw(st.sampled_from(covered(base.style)))
    offset = data.draw(st.integers(first, end - 1))
    mask = 1 << data.draw(st.integers(0, 7))
    ledger: Path = tmp_path_factory.mktemp("flip") / "ledger"
    shutil.copytree(base.directory, ledger)
    content = bytearray((ledger / name).read_bytes())
    content[offset] ^= mask
    (ledger / name).write_bytes(content)

    outcome = tallystick("verify", ledger, "--uncommitted", *options, "--level", level, "--format", "json")

    assert outcome.json["verdict"] == "failed"
    assert outcome.exit_code == 1
    shutil.rmtree(ledger.parent)


@pytest.mark.parametrize("level", ["parse", "offsets", "headers"])
@given(data=st.data())
def test_lower_levels_end_in_a_verdict(
    pinned: tuple[Base, list[str]], level: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    base, options = pinned
    ledger: Path = tmp_path_factory.mktemp("flip") / "ledger"
    shutil.copytree(base.directory, ledger)
    path = data.draw(st.sampled_from(slow.chunk_paths(ledger)))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)

    outcome = tallystick("verify", ledger, "--uncommitted", *options, "--level", level, "--format", "json")

    # What a level does not check it must not claim: a run below full never says that it verified.
    assert outcome.json["verdict"] in ("failed", "undecided")
    assert outcome.exit_code in (1, 3)
    shutil.rmtree(ledger.parent)
