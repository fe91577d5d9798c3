"""Seqnos by key."""

import pytest

from tallystick.errors import InternalError
from tallystick.node.indexing import Indexer, SeqnosByKey

TABLE = "records"


def build(node, tmp_path, writes, **options):
    """An index over so many writes of key ``seqno % 3``."""
    written = {}
    for number in range(writes):
        key = str(number % 3).encode()
        txid = node.write({TABLE: {key: b"v"}, "public:other": {key: b"v"}})
        written.setdefault(key, []).append(txid.seqno)
    node.commit(txid)
    index = SeqnosByKey(TABLE, tmp_path / "index", **options)
    indexer = Indexer(node.history)
    indexer.add(index)
    return index, indexer, written


@pytest.mark.parametrize("bucket", [4, 7, 10_000])
def test_every_write_is_found(node, tmp_path, bucket):
    index, indexer, written = build(node, tmp_path, 60, bucket_seqnos=bucket, max_buckets=2)
    assert index.seqnos(b"0", 1, 10) is None
    while indexer.advance(node.runtime.committed[1]):
        pass
    last = index.indexed.seqno
    for key, expected in written.items():
        assert index.seqnos(key, 1, last) == expected
        assert index.seqnos(key, expected[3], expected[5]) == expected[3:6]
        assert index.seqnos(key, expected[3] + 1, expected[5] - 1) == expected[4:5]
        assert index.last_write(key, expected[4]) == expected[4]
        assert index.last_write(key, expected[4] - 1) == expected[3]
        assert index.last_write(key, last + 100) == expected[-1]
        assert index.last_write(key, expected[0] - 1) is None
    assert index.seqnos(b"absent", 1, last) == []
    assert index.seqnos(b"0", 1, last + 1) is None


def test_memory_is_bounded(node, tmp_path):
    index, indexer, _ = build(node, tmp_path, 60, bucket_seqnos=5, max_buckets=2)
    while indexer.advance(node.runtime.committed[1]):
        pass
    described = index.describe()
    assert described["old_results_current_size"] <= 2
    assert described["indexed_watermark"] == str(index.indexed)
    assert len(list((tmp_path / "index").iterdir())) >= 5
    assert indexer.describe() == [described]


def test_files_tell_nothing(node, tmp_path):
    index, indexer, _ = build(node, tmp_path, 60, bucket_seqnos=5, max_buckets=1)
    while indexer.advance(node.runtime.committed[1]):
        pass
    for path in (tmp_path / "index").iterdir():
        assert b"seqno" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
        data = bytearray(path.read_bytes())
        data[20] ^= 1
        path.write_bytes(data)
    with pytest.raises(InternalError, match="cannot be read back"):
        index.seqnos(b"0", 1, index.indexed.seqno)


def test_order_is_kept(node, tmp_path):
    index, _, _ = build(node, tmp_path, 3)
    with pytest.raises(ValueError, match="expected seqno 1"):
        index.take(node.history.transaction(node.genesis.__class__(2, 2)))
