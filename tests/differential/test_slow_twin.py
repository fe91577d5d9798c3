"""The Rust core and its slow Python twin write and read the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import slow
from tallystick import _native

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
ROWS = st.dictionaries(st.binary(max_size=20), st.none() | st.binary(max_size=60), min_size=1, max_size=6)
PUBLIC = st.dictionaries(TEXT.map("public:".__add__), ROWS, max_size=5)
PRIVATE = st.dictionaries(TEXT.filter(lambda name: not name.startswith("public:")), ROWS, min_size=1, max_size=3)
DIGEST = st.binary(min_size=32, max_size=32)
SECRET = DIGEST
SEQNO = st.integers(1, 2**40)
VIEW = st.integers(1, 2**31 - 1)


@given(SEQNO, VIEW, PUBLIC, st.sampled_from([0, 2, 3, 4]), DIGEST, DIGEST, st.integers(0, 2**50), SECRET, PRIVATE)
def test_entries(
    seqno: int, view: int, tables: slow.Tables, kind: int, claims: bytes, evidence: bytes, conflict: int,
    secret: bytes, private: slow.Tables,
) -> None:  # fmt: skip
    options = {
        "entry_type": kind, "claims_digest": claims, "commit_evidence_digest": evidence,
        "max_conflict_version": conflict,
    }  # fmt: skip
    domain = _native.encode_public_domain(seqno, tables, **options)
    assert domain == slow.encode_public_domain(seqno, tables, **options)
    plaintext = _native.encode_private_domain(private)
    assert plaintext == slow.encode_tables(private)
    raw = _native.seal_entry(view, seqno, domain, plaintext, secret, flags=1)
    assert raw == slow.seal_entry(view, seqno, domain, plaintext, secret, flags=1)

    read, twin = _native.Entry.parse(raw), slow.decode_entry(raw)
    assert (read.seqno, read.view, read.flags, read.entry_type) == (seqno, view, 1, kind)
    assert read.tables() == tables == twin.tables
    assert read.leaf == twin.leaf
    assert read.raw == raw
    assert _native.open_private_domain(read, secret) == plaintext
    assert _native.parse_private_domain(plaintext) == private
    assert _native.commit_evidence(secret, view, seqno) == slow.commit_evidence(secret, view, seqno)


@given(st.lists(DIGEST, max_size=80), st.data())
def test_merkle_tree(leaves: list[bytes], data: st.DataObject) -> None:
    tree, twin = _native.MerkleTree(), slow.SlowTree()
    for leaf in leaves:
        tree.append(leaf)
        twin.append(leaf)
    size = data.draw(st.integers(1, len(leaves) + 1))
    index = data.draw(st.integers(0, size - 1))

    assert tree.size == len(leaves) + 1
    assert tree.root_at(size) == twin.root_at(size)
    assert tree.path(index, size) == twin.path(index, size)
    assert _native.merkle_root_of_path(twin.leaves[index], twin.path(index, size)) == twin.root_at(size)
    assert _native.merkle_path_directions(index, size) == [left for left, _ in twin.path(index, size)]


@given(st.lists(DIGEST, max_size=80), st.lists(DIGEST, max_size=20), st.data())
def test_compact_tree(leaves: list[bytes], more: list[bytes], data: st.DataObject) -> None:
    tree, twin = _native.MerkleTree(), slow.SlowTree()
    for leaf in leaves:
        tree.append(leaf)
        twin.append(leaf)
    kept = data.draw(st.integers(0, len(leaves)))
    tree.flush(kept)
    assert tree.to_compact() == twin.to_compact(kept)

    again = _native.MerkleTree.from_compact(tree.to_compact())
    for leaf in more:
        again.append(leaf)
        twin.append(leaf)
    assert again.root() == twin.root_at(len(twin.leaves))


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=20))
@pytest.mark.parametrize("complete", [True, False])
def test_chunks(tmp_path_factory: pytest.TempPathFactory, complete: bool, values: list[bytes]) -> None:
    directory: Path = tmp_path_factory.mktemp("chunk")
    entries = [
        slow.seal_entry(2, 7 + i, slow.encode_public_domain(7 + i, {"public:t": {b"k": value}}), b"", bytes(32))
        for i, value in enumerate(values)
    ]
    writer = _native.ChunkWriter(str(directory), 7)
    writer.append(entries[0])
    writer.append_many(entries[1:])
    path = Path(writer.complete() if complete else writer.close())

    assert path.read_bytes() == slow.encode_chunk(entries, complete=complete)
    opened = _native.ChunkFile.open(str(path))
    assert [entry.raw for entry in opened.entries()] == entries
    assert opened.complete is complete
