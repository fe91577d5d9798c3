"""The parts that a verification spends its time in, one by one.

Run with ``pytest benches --benchmark-only``; compare two commits with ``--benchmark-autosave`` and
``--benchmark-compare``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tallystick import _native
from tallystick.demo.identities import SigningKey

_ENTRIES = 20_000


@pytest.fixture(scope="module")
def chunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete chunk of small transactions."""
    directory = tmp_path_factory.mktemp("chunk")
    writer = _native.ChunkWriter(str(directory), 1)
    entries = []
    for seqno in range(1, _ENTRIES + 1):
        domain = _native.encode_public_domain(seqno, {"public:records": {b"key %d" % seqno: b"x" * 100}})
        entries.append(_native.seal_entry(2, seqno, domain, b"", bytes(32)))
    writer.append_many(entries)
    return Path(writer.complete())


@pytest.mark.parametrize("level", ["parse", "merkle"])
def test_scan_a_chunk(benchmark: BenchmarkFixture, chunk: Path, level: str) -> None:
    def scan() -> int:
        tree = _native.MerkleTree() if level == "merkle" else None
        scanner = _native.LedgerScanner([str(chunk)], level=level, tree=tree, first_seqno=1)
        return sum(batch.count for batch in scanner)

    assert benchmark(scan) == _ENTRIES


def test_walk_entries_in_python(benchmark: BenchmarkFixture, chunk: Path) -> None:
    def walk() -> int:
        return sum(entry.seqno for entry in _native.ChunkFile.open(str(chunk)).entries())

    assert benchmark(walk) == _ENTRIES * (_ENTRIES + 1) // 2


def test_append_to_the_merkle_tree(benchmark: BenchmarkFixture) -> None:
    leaves = os.urandom(32 * 100_000)

    def append() -> int:
        tree = _native.MerkleTree()
        tree.append_many(leaves)
        tree.root()
        return tree.size

    assert benchmark(append) == 100_001


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_verify_signatures(benchmark: BenchmarkFixture, curve: str) -> None:
    key = SigningKey(curve)
    public = _native.PublicKey.from_spki(key.spki)
    root = os.urandom(32)
    signature = key.sign_root(root)

    def verify() -> list[int]:
        batch = _native.SignatureBatch()
        for tag in range(1_000):
            batch.submit_prehashed(tag, public, root, signature)
        return batch.finish()

    assert benchmark(verify) == []
