"""Split, join and extract: same bytes, right names, nothing overwritten, nothing left behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support import slow
from support.mutation import LedgerCopy
from support.services import base
from tallystick import _native
from tallystick.errors import FormatError, LimitExceededError, UsageError, VerificationError
from tallystick.repair import chunk_files
from tallystick.repair.cutting import extract_range, join_chunks, split_chunk

# The base ledger: committed chunks 1-2, 3-13, 14-23; open ledger_24 with 24 to 26. Signatures: 2, 9, 13, 18, 23, 26.


@pytest.fixture
def copy(tmp_path: Path) -> LedgerCopy:
    return base("6.x").copy(tmp_path / "ledger")


def raw(*paths: Path) -> list[bytes]:
    return [entry.raw for path in paths for entry in slow.read_chunk(path)]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# ------------------------------------------------------------------------------------------------- split


def test_split_of_a_committed_chunk(copy: LedgerCopy, tmp_path: Path) -> None:
    source = copy.directory / "ledger_3-13.committed"
    before = source.read_bytes()

    result = split_chunk(source, 9, tmp_path / "out")

    first, second = (Path(part.path) for part in result.parts)
    assert names(tmp_path / "out") == ["ledger_10-13.committed", "ledger_3-9.committed"]
    assert first.read_bytes() == slow.encode_chunk(raw(source)[:7], complete=True)
    assert second.read_bytes() == slow.encode_chunk(raw(source)[7:], complete=True)
    assert [part.ends_on_signature for part in result.parts] == [True, True]
    assert [part.committed for part in result.parts] == [True, True]
    assert [part.transactions for part in result.parts] == [7, 4]
    assert source.read_bytes() == before


def test_split_of_an_open_chunk_leaves_the_second_part_open(copy: LedgerCopy, tmp_path: Path) -> None:
    copy.append([_next_entry(copy)])

    result = split_chunk(copy.open_chunk, 26, tmp_path / "out")

    assert names(tmp_path / "out") == ["ledger_24-26", "ledger_27"]
    assert [(part.complete, part.committed) for part in result.parts] == [(True, False), (False, False)]
    assert (tmp_path / "out" / "ledger_27").read_bytes() == slow.encode_chunk(raw(copy.open_chunk)[3:], complete=False)


def _next_entry(copy: LedgerCopy) -> bytes:
    last = copy.entries(copy.open_chunk)[-1]
    domain = slow.encode_public_domain(last.seqno + 1, {"public:records": {b"late": b"x"}})
    return slow.seal_entry(last.view, last.seqno + 1, domain, b"", bytes(32))


def test_split_at_the_last_transaction_gives_one_part(copy: LedgerCopy, tmp_path: Path) -> None:
    result = split_chunk(copy.open_chunk, 26, tmp_path / "out")

    assert names(tmp_path / "out") == ["ledger_24-26"]
    assert len(result.parts) == 1
    assert result.parts[0].complete


def test_split_off_a_signature_must_be_asked_for(copy: LedgerCopy, tmp_path: Path) -> None:
    source = copy.directory / "ledger_3-13.committed"
    with pytest.raises(UsageError, match="transaction 5 is not a signature: the next is 9") as raised:
        split_chunk(source, 5, tmp_path / "out")
    assert raised.value.code == "not-a-signature"
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="the one before is 9, the next is 13"):
        split_chunk(source, 11, tmp_path / "out")

    result = split_chunk(source, 5, tmp_path / "out", allow_non_signature=True)

    assert [part.ends_on_signature for part in result.parts] == [False, True]


@pytest.mark.parametrize("seqno", [1, 2, 14, 1 << 62])
def test_split_outside_the_chunk(seqno: int, copy: LedgerCopy, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the chunk holds 3 to 13"):
        split_chunk(copy.directory / "ledger_3-13.committed", seqno, tmp_path / "out")


def test_marks_are_kept(copy: LedgerCopy, tmp_path: Path) -> None:
    source = copy.directory / "ledger_3-13.committed.recovery"
    (copy.directory / "ledger_3-13.committed").rename(source)

    split_chunk(source, 9, tmp_path / "out")

    assert names(tmp_path / "out") == ["ledger_10-13.committed.recovery", "ledger_3-9.committed.recovery"]


def test_set_aside_and_foreign_names_give_no_marks(copy: LedgerCopy, tmp_path: Path) -> None:
    for number, name in enumerate(("ledger_3-13.committed.ignored", "whatever")):
        shutil.copy(copy.directory / "ledger_3-13.committed", copy.directory / name)
        split_chunk(copy.directory / name, 9, tmp_path / str(number))
        assert names(tmp_path / str(number)) == ["ledger_10-13", "ledger_3-9"]


def test_a_half_written_tail_is_refused_or_cut(copy: LedgerCopy, tmp_path: Path) -> None:
    whole = copy.open_chunk.read_bytes()
    copy.open_chunk.write_bytes(whole[:-7])
    with pytest.raises(FormatError, match="half-written") as raised:
        split_chunk(copy.open_chunk, 24, tmp_path / "out", allow_non_signature=True)
    assert raised.value.code == "partial-tail"

    result = split_chunk(copy.open_chunk, 24, tmp_path / "out", allow_non_signature=True, cut_tail=True)

    assert result.cut_tail == len(raw_tail(whole)) - 7
    assert [part.transactions for part in result.parts] == [1, 1]


def test_an_altered_size_is_no_half_written_tail(copy: LedgerCopy, tmp_path: Path) -> None:
    second = copy.entries(copy.open_chunk)[1]
    copy.flip(copy.open_chunk, second.offset + 5)
    with pytest.raises(FormatError) as raised:
        split_chunk(copy.open_chunk, 24, tmp_path / "out", allow_non_signature=True, cut_tail=True)
    assert raised.value.code == "tail-damaged"


def raw_tail(chunk: bytes) -> bytes:
    at, last = 8, b""
    while at < len(chunk):
        size = 8 + int.from_bytes(chunk[at + 2 : at + 8], "little")
        last = chunk[at : at + size]
        at += size
    return last


# -------------------------------------------------------------------------------------------------- join


def test_join_of_committed_chunks(copy: LedgerCopy, tmp_path: Path) -> None:
    in_order = [copy.directory / f"ledger_{seqnos}.committed" for seqnos in ("1-2", "3-13", "14-23")]

    result = join_chunks([in_order[2], in_order[0], in_order[1]], tmp_path / "out")

    assert names(tmp_path / "out") == ["ledger_1-23.committed"]
    assert Path(result.chunk.path).read_bytes() == slow.encode_chunk(raw(*in_order), complete=True)
    assert result.sources == tuple(map(str, in_order))
    # The forge closes chunks by flag, as CCF does.
    assert result.flagged_seams == (3, 14)


def test_join_with_an_open_chunk_is_open(copy: LedgerCopy, tmp_path: Path) -> None:
    paths = [copy.directory / "ledger_14-23.committed", copy.open_chunk]

    result = join_chunks(paths, tmp_path / "out")

    assert names(tmp_path / "out") == ["ledger_14"]
    assert Path(result.chunk.path).read_bytes() == slow.encode_chunk(raw(*paths), complete=False)
    assert not result.chunk.committed


def test_join_is_committed_only_if_all_are(copy: LedgerCopy, tmp_path: Path) -> None:
    (copy.directory / "ledger_1-2.committed").rename(copy.directory / "ledger_1-2")

    join_chunks([copy.directory / "ledger_1-2", copy.directory / "ledger_3-13.committed"], tmp_path / "out")

    assert names(tmp_path / "out") == ["ledger_1-13"]


def test_join_of_what_does_not_fit(copy: LedgerCopy, tmp_path: Path) -> None:
    first, second, third = (
        copy.directory / name for name in ("ledger_1-2.committed", "ledger_3-13.committed", "ledger_14-23.committed")
    )
    with pytest.raises(UsageError, match="leave a gap"):
        join_chunks([first, third], tmp_path / "out")
    with pytest.raises(UsageError, match="overlap"):
        join_chunks([first, second, second], tmp_path / "out")
    with pytest.raises(UsageError, match="at least two"):
        join_chunks([first], tmp_path / "out")
    recovery = copy.directory / "ledger_3-13.committed.recovery"
    second.rename(recovery)
    with pytest.raises(UsageError, match=r"\.recovery"):
        join_chunks([first, recovery], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_join_over_a_falling_view(copy: LedgerCopy, tmp_path: Path) -> None:
    second = copy.directory / "ledger_3-13.committed"
    domain = slow.encode_public_domain(3, {})
    copy.write(copy.directory / "ledger_3-3", [slow.seal_entry(1, 3, domain, b"", bytes(32))], complete=True)
    second.unlink()

    with pytest.raises(FormatError, match="not chunks of one history") as raised:
        join_chunks([copy.directory / "ledger_1-2.committed", copy.directory / "ledger_3-3"], tmp_path / "out")
    assert raised.value.location.txid == "1.3"


def test_half_written_tail_in_the_middle(copy: LedgerCopy, tmp_path: Path) -> None:
    entries = raw(copy.open_chunk)
    half_written = copy.open_chunk
    half_written.write_bytes(slow.encode_chunk(entries[:2], complete=False) + entries[2][:50])
    copy.write(copy.directory / "ledger_26-26", entries[2:], complete=True)

    with pytest.raises(FormatError, match="though others follow"):
        join_chunks([half_written, copy.directory / "ledger_26-26"], tmp_path / "out", cut_tail=True)


# ----------------------------------------------------------------------------------------------- extract


@pytest.mark.parametrize(
    ("first", "last", "name"),
    [
        (None, None, "ledger_1-23.committed"),
        (3, 13, "ledger_3-13.committed"),
        (5, 18, "ledger_5-18.committed"),
        (9, 9, "ledger_9-9.committed"),
        (14, None, "ledger_14-23.committed"),
    ],
)
def test_extract_of_committed_chunks(
    first: int | None, last: int | None, name: str, copy: LedgerCopy, tmp_path: Path
) -> None:
    result = extract_range([copy.directory], first, last, tmp_path / "out")

    every = raw(*copy.chunks)
    assert names(tmp_path / "out") == [name]
    expected = every[(first or 1) - 1 : last or 23]
    assert Path(result.chunk.path).read_bytes() == slow.encode_chunk(expected, complete=True)


def test_extract_to_an_open_chunk(copy: LedgerCopy, tmp_path: Path) -> None:
    result = extract_range([copy.directory], 20, 25, tmp_path / "out", leave_open=True, uncommitted=True)

    assert names(tmp_path / "out") == ["ledger_20"]
    assert Path(result.chunk.path).read_bytes() == slow.encode_chunk(raw(*copy.chunks)[19:25], complete=False)
    assert [Path(path).name for path in result.sources] == ["ledger_14-23.committed", "ledger_24"]


def test_extract_with_uncommitted_is_not_committed(copy: LedgerCopy, tmp_path: Path) -> None:
    extract_range([copy.directory], 19, 26, tmp_path / "out", uncommitted=True)

    assert names(tmp_path / "out") == ["ledger_19-26"]


def test_extract_what_is_not_there(copy: LedgerCopy, tmp_path: Path) -> None:
    for first, last in ((24, 26), (20, 30), (0, 3), (100, None)):
        with pytest.raises(UsageError, match="the ledger holds 1 to 23") as raised:
            extract_range([copy.directory], first, last, tmp_path / "out")
        assert raised.value.code == "transaction-missing"
    with pytest.raises(UsageError, match="not a signature"):
        extract_range([copy.directory], 3, 12, tmp_path / "out")
    (copy.directory / "ledger_3-13.committed").unlink()
    with pytest.raises(FormatError, match="3 to 13 are in no file"):
        extract_range([copy.directory], 1, 23, tmp_path / "out")
    for path in copy.chunks:
        path.unlink()
    with pytest.raises(FormatError, match="no ledger chunk"):
        extract_range([copy.directory], 1, 2, tmp_path / "out")


def test_extract_where_copies_differ(copy: LedgerCopy, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(copy.directory / "ledger_3-13.committed", other)
    copy.flip(other / "ledger_3-13.committed", 200)

    with pytest.raises(FormatError, match="differs from"):
        extract_range([copy.directory, other], 3, 13, tmp_path / "out")
    # What stands before the difference is the same in all copies.
    extract_range([copy.directory, other], 1, 2, tmp_path / "out")


# ------------------------------------------------------------------------------------------- refusals


def _flip_size(data: bytes) -> bytes:
    return data[:10] + bytes([data[10] ^ 1]) + data[11:]


def _flip_table(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _hide_bytes(data: bytes) -> bytes:
    table = int.from_bytes(data[:8], "little")
    return (table + 5).to_bytes(8, "little") + data[8:table] + b"extra" + data[table:]


def _cut_table(data: bytes) -> bytes:
    return data[:-4]


def _no_table(data: bytes) -> bytes:
    return bytes(8) + data[8 : int.from_bytes(data[:8], "little")]


@pytest.mark.parametrize(
    "spoil", [_flip_size, _flip_table, _hide_bytes, _cut_table, _no_table, lambda data: b"", lambda data: bytes(8)]
)
def test_broken_chunks_are_refused(spoil: object, copy: LedgerCopy, tmp_path: Path) -> None:
    source = copy.directory / "ledger_3-13.committed"
    source.write_bytes(spoil(source.read_bytes()))  # type: ignore[operator]  # one of the functions above

    with pytest.raises((FormatError, LimitExceededError)) as raised:
        split_chunk(source, 9, tmp_path / "out")

    assert raised.value.location.file == str(source)
    assert not (tmp_path / "out").exists()


def test_misnamed_chunks_are_refused(copy: LedgerCopy, tmp_path: Path) -> None:
    source = copy.directory / "ledger_103-113.committed"
    (copy.directory / "ledger_3-13.committed").rename(source)
    with pytest.raises(FormatError, match="expected seqnos 103 to 113, got 3 to 13"):
        split_chunk(source, 9, tmp_path / "out")


def test_nothing_is_overwritten(copy: LedgerCopy, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "ledger_10-13.committed").write_bytes(b"mine")

    with pytest.raises(UsageError, match="not overwritten"):
        split_chunk(copy.directory / "ledger_3-13.committed", 9, out)

    assert names(out) == ["ledger_10-13.committed"]
    assert (out / "ledger_10-13.committed").read_bytes() == b"mine"


def test_a_name_taken_meanwhile_undoes_the_other_part(
    copy: LedgerCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    link = os.link

    def racing(source: Path, target: Path) -> None:
        if target.name == "ledger_10-13.committed":
            target.write_bytes(b"somebody else's")
        link(source, target)

    monkeypatch.setattr(os, "link", racing)
    with pytest.raises(UsageError, match="not overwritten"):
        split_chunk(copy.directory / "ledger_3-13.committed", 9, out)

    assert names(out) == ["ledger_10-13.committed"]
    assert (out / "ledger_10-13.committed").read_bytes() == b"somebody else's"


def test_without_hard_links(copy: LedgerCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    split_chunk(copy.directory / "ledger_3-13.committed", 9, tmp_path / "out")

    assert names(tmp_path / "out") == ["ledger_10-13.committed", "ledger_3-9.committed"]


def test_the_source_directory_is_no_output(copy: LedgerCopy) -> None:
    with pytest.raises(UsageError, match="holds the source"):
        split_chunk(copy.directory / "ledger_3-13.committed", 9, copy.directory / ".." / copy.directory.name)


def test_what_is_written_is_read_back(copy: LedgerCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that loses a bit: nothing appears under the final name."""

    class Lossy:
        def __init__(self, directory: str, first: int) -> None:
            self._writer = _native.ChunkWriter(directory, first)

        def append_many(self, entries: list[bytes]) -> None:
            self._writer.append_many(entries)

        def complete(self, *, committed: bool) -> str:
            path = Path(self._writer.complete(committed=committed))
            data = bytearray(path.read_bytes())
            data[200] ^= 1
            path.write_bytes(data)
            return str(path)

    class Module:
        ChunkWriter = Lossy
        ChunkFile = _native.ChunkFile
        LedgerScanner = _native.LedgerScanner
        first_difference = staticmethod(_native.first_difference)

    monkeypatch.setattr(chunk_files, "_native", Module)
    with pytest.raises(VerificationError, match="reads back otherwise") as raised:
        split_chunk(copy.directory / "ledger_3-13.committed", 9, tmp_path / "out")

    assert raised.value.code == "output-differs"
    assert names(tmp_path / "out") == []
