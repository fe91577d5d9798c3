"""Cutting is lossless wherever it is done: parts joined again are the same file, extracts the same entries."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import slow
from support.services import recovered_base
from tallystick.errors import TallystickError
from tallystick.repair.cutting import extract_range, join_chunks, split_chunk
from tallystick.repair.doctor import examine


@cache
def chunks() -> list[tuple[Path, list[bytes]]]:
    directory = recovered_base("6.x").directory
    return [(path, [entry.raw for entry in slow.read_chunk(path)]) for path in slow.chunk_paths(directory)]


@given(data=st.data())
def test_split_and_join_again(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path, entries = data.draw(st.sampled_from([chunk for chunk in chunks() if len(chunk[1]) > 1]))
    root = tmp_path_factory.mktemp("cut")
    first = slow.first_seqno(path)
    cut = data.draw(st.integers(first, first + len(entries) - 2))

    parts = split_chunk(path, cut, root / "parts", allow_non_signature=True).parts
    joined = join_chunks([part.path for part in parts], root / "joined").chunk

    assert [entry.raw for part in parts for entry in slow.read_chunk(Path(part.path))] == entries
    assert Path(joined.path).name == path.name
    assert Path(joined.path).read_bytes() == path.read_bytes()
    shutil.rmtree(root)


@given(data=st.data())
def test_extract_any_range(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    every = [raw for _, entries in chunks() for raw in entries]
    first = data.draw(st.integers(1, len(every)))
    last = data.draw(st.integers(first, len(every)))
    leave_open = data.draw(st.booleans())
    root = tmp_path_factory.mktemp("extract")

    written = extract_range(
        [recovered_base("6.x").directory],
        first,
        last,
        root / "out",
        leave_open=leave_open,
        uncommitted=True,
        allow_non_signature=True,
    ).chunk

    expected = slow.encode_chunk(every[first - 1 : last], complete=not leave_open)
    assert Path(written.path).read_bytes() == expected
    shutil.rmtree(root)


@given(data=st.data())
def test_damaged_files_give_our_errors_or_the_same_transactions(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever a file holds: split refuses it with an error of ours, or keeps every byte; doctor always answers."""
    path, _ = data.draw(st.sampled_from(chunks()))
    root = tmp_path_factory.mktemp("damaged")
    ledger = root / "ledger"
    ledger.mkdir()
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    del content[len(content) - data.draw(st.integers(0, 40)) :]
    source = ledger / path.name
    source.write_bytes(content)
    cut = slow.first_seqno(path)

    examine(ledger)
    try:
        parts = split_chunk(source, cut, root / "parts", allow_non_signature=True, cut_tail=True).parts
    except TallystickError:
        assert not (root / "parts").exists() or list((root / "parts").iterdir()) == []
    else:
        kept = b"".join(entry.raw for part in parts for entry in slow.read_chunk(Path(part.path)))
        assert bytes(content[8 : 8 + len(kept)]) == kept
        joined = [entry.raw for entry in slow.read_chunk(source)] if parts[-1].complete else None
        assert joined is None or b"".join(joined) == kept
    shutil.rmtree(root)
