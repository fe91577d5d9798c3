"""File names of chunks, and the cover of files that overlap."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tallystick import _native
from tallystick.errors import UsageError
from tallystick.ledger.directory import ChunkName, LedgerFiles, find_ledger_files, parse_chunk_name

SECRET = bytes(32)
SIGNATURES = "public:ccf.internal.signatures"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ledger_1", ChunkName(1)),
        ("ledger_3-13", ChunkName(3, 13)),
        ("ledger_3-13.committed", ChunkName(3, 13, committed=True)),
        ("ledger_3.recovery", ChunkName(3, recovery=True)),
        ("ledger_3-13.committed.recovery", ChunkName(3, 13, committed=True, recovery=True)),
        ("ledger_3-13.committed.ignored", ChunkName(3, 13, committed=True, ignored=True)),
        ("ledger_3.recovery.ignored", ChunkName(3, recovery=True, ignored=True)),
        ("ledger_3-13.committed_prefix", ChunkName(3, 13, committed_prefix=True)),
        ("ledger_3-3", ChunkName(3, 3)),
        ("ledger_03-13.committed", None),
        ("ledger_13-3.committed", None),
        ("ledger_0-3", None),
        ("ledger_3.committed", None),
        ("ledger_3.committed_prefix", None),
        ("ledger_3-13.committed.bak", None),
        ("invalidnameledger_1-14.committed", None),
        ("ledger_", None),
        ("ledger_1-", None),
        ("ledger_1-2-3", None),
        ("ledger_99999999999999999999", None),
        ("ledger_1\n", None),
    ],
)
def test_name(name: str, expected: ChunkName | None) -> None:
    assert parse_chunk_name(name) == expected


def entry(seqno: int, view: int = 2, *, value: bytes = b"value", signed: bool = False, flags: int = 0) -> bytes:
    table = SIGNATURES if signed else "public:records"
    domain = _native.encode_public_domain(seqno, {table: {bytes(8): value}})
    return _native.seal_entry(view, seqno, domain, b"", SECRET, flags=flags)


def write(directory: Path, first: int, last: int, *, name: str | None = None, **changes: object) -> Path:
    """Writes a complete chunk; ``changes``: {seqno: entry bytes} under ``entries``."""
    directory.mkdir(exist_ok=True)
    replaced = changes.get("entries", {})
    assert isinstance(replaced, dict)
    writer = _native.ChunkWriter(str(directory), first)
    for seqno in range(first, last + 1):
        writer.append(replaced.get(seqno) or entry(seqno, signed=seqno == last))
    path = Path(writer.close() if name is not None and "-" not in name else writer.complete())
    return path.rename(directory / name) if name is not None else path


def ranges(files: LedgerFiles) -> list[tuple[str, int, int | None]]:
    return [(Path(part.file.path).name, part.first, part.last) for part in files.parts]


def codes(files: LedgerFiles) -> list[str]:
    return [item.code for item in files.findings]


def test_committed_chunks_follow_each_other(tmp_path: Path) -> None:
    for first, last in ((1, 2), (3, 13), (14, 20)):
        write(tmp_path, first, last)

    files = find_ledger_files([tmp_path])

    assert ranges(files) == [
        ("ledger_1-2.committed", 1, 2),
        ("ledger_3-13.committed", 3, 13),
        ("ledger_14-20.committed", 14, 20),
    ]
    assert codes(files) == []


def test_differently_cut_chunks_of_two_directories(tmp_path: Path) -> None:
    entries = {seqno: entry(seqno, signed=seqno in (2, 14)) for seqno in range(1, 15)}
    write(tmp_path / "a", 1, 2, entries=entries)
    write(tmp_path / "a", 3, 14, entries=entries)
    write(tmp_path / "b", 1, 14, entries=entries)

    files = find_ledger_files([tmp_path / "a", tmp_path / "b"])

    assert ranges(files) == [("ledger_1-14.committed", 1, 14)]
    assert codes(files) == ["redundant-file"]


def test_an_overlap_is_read_once(tmp_path: Path) -> None:
    entries = {seqno: entry(seqno) for seqno in range(1, 11)}
    write(tmp_path / "a", 1, 6, entries=entries)
    write(tmp_path / "b", 4, 10, entries=entries)

    files = find_ledger_files([tmp_path / "a", tmp_path / "b"])

    assert ranges(files) == [("ledger_1-6.committed", 1, 6), ("ledger_4-10.committed", 7, 10)]
    assert codes(files) == []


def test_conflicting_overlap_of_files_that_are_both_read(tmp_path: Path) -> None:
    write(tmp_path / "a", 1, 6, entries={seqno: entry(seqno) for seqno in range(1, 7)})
    write(tmp_path / "b", 4, 10, entries={5: entry(5, value=b"other"), 6: entry(6)})

    files = find_ledger_files([tmp_path / "a", tmp_path / "b"])

    (conflict,) = files.findings
    assert (conflict.code, conflict.seqno) == ("copy-conflict", 5)


def test_conflicting_copy_names_the_first_difference(tmp_path: Path) -> None:
    write(tmp_path / "a", 1, 5)
    other = write(tmp_path / "b", 1, 5, entries={3: entry(3, value=b"other")})

    files = find_ledger_files([tmp_path / "a", tmp_path / "b"])

    conflict = next(item for item in files.findings if item.code == "copy-conflict")
    assert (conflict.file, conflict.seqno, conflict.view) == (str(other), 3, 2)
    assert conflict.offset == 8 + len(entry(1)) + len(entry(2))


def test_stale_open_prefix_of_a_closed_chunk(tmp_path: Path) -> None:
    write(tmp_path, 1, 5)
    write(tmp_path, 1, 2, name="ledger_1", entries={2: entry(2)})

    files = find_ledger_files([tmp_path], uncommitted=True)

    assert ranges(files) == [("ledger_1-5.committed", 1, 5)]
    assert codes(files) == ["redundant-file"]


def test_open_chunk_is_cut_where_a_recovery_goes_on_otherwise(tmp_path: Path) -> None:
    old = {seqno: entry(seqno, signed=seqno == 4) for seqno in range(1, 8)}
    write(tmp_path / "old", 1, 7, name="ledger_1", entries=old)
    write(tmp_path / "new", 5, 9, entries={5: entry(5, view=4, flags=2)})

    files = find_ledger_files([tmp_path / "old", tmp_path / "new"], uncommitted=True)

    assert ranges(files) == [("ledger_1", 1, 4), ("ledger_5-9.committed", 5, 9)]
    (note,) = files.findings
    assert (note.code, note.seqno, note.view) == ("discarded-suffix", 5, 2)


def test_of_two_open_chunks_the_later_view_is_followed(tmp_path: Path) -> None:
    old = {seqno: entry(seqno, signed=seqno == 4) for seqno in range(1, 8)}
    write(tmp_path / "a", 5, 6, name="ledger_5", entries={5: entry(5, view=4, flags=2), 6: entry(6, view=4)})
    write(tmp_path / "b", 1, 7, name="ledger_1", entries=old)

    files = find_ledger_files([tmp_path / "a", tmp_path / "b"], uncommitted=True)

    assert ranges(files) == [("ledger_1", 1, 4), ("ledger_5", 5, 6)]
    assert codes(files) == ["discarded-suffix"]


@pytest.mark.parametrize("name", ["ledger_1", "ledger_1-7"])
def test_a_signed_suffix_that_a_later_view_replaced_is_no_fork(name: str, tmp_path: Path) -> None:
    old = {seqno: entry(seqno, signed=seqno in (4, 7)) for seqno in range(1, 8)}
    write(tmp_path / "old", 1, 7, name=name, entries=old)
    write(tmp_path / "new", 5, 9, entries={5: entry(5, view=4, flags=2)})

    files = find_ledger_files([tmp_path / "old", tmp_path / "new"], uncommitted=True)

    (finding,) = files.findings
    assert (finding.code, finding.seqno, finding.view) == ("replaced-suffix", 5, 2)
    assert finding.file == str(tmp_path / "old" / name)
    assert ranges(files) == [(name, 1, 4), ("ledger_5-9.committed", 5, 9)]


@pytest.mark.parametrize("newer", ["ledger_5", "ledger_5-9", "ledger_5-9.committed"])
def test_what_was_committed_and_is_not_in_a_later_view_is_a_fork(newer: str, tmp_path: Path) -> None:
    old = {seqno: entry(seqno, signed=seqno in (4, 7)) for seqno in range(1, 8)}
    write(tmp_path / "old", 1, 7, entries=old)
    write(tmp_path / "new", 5, 9, name=newer, entries={5: entry(5, view=4, flags=2)})

    files = find_ledger_files([tmp_path / "old", tmp_path / "new"], uncommitted=True)

    forks = [item for item in files.findings if item.code == "ledger-fork"]
    (fork,) = forks
    assert (fork.seqno, fork.offset is not None) == (5, True)
    assert "ledger_1-7.committed says by its name that it was committed" in fork.message


def test_of_two_uncommitted_chunks_the_later_view_is_followed_whether_closed_or_not(tmp_path: Path) -> None:
    old = {seqno: entry(seqno, signed=seqno in (4, 7)) for seqno in range(1, 8)}
    write(tmp_path / "old", 1, 7, name="ledger_1-7", entries=old)
    write(tmp_path / "new", 5, 6, name="ledger_5", entries={5: entry(5, view=4, flags=2), 6: entry(6, view=4)})

    files = find_ledger_files([tmp_path / "old", tmp_path / "new"], uncommitted=True)

    assert ranges(files) == [("ledger_1-7", 1, 4), ("ledger_5", 5, 6)]
    assert codes(files) == ["replaced-suffix"]


def test_one_transaction_id_with_two_contents_is_no_discarded_suffix(tmp_path: Path) -> None:
    write(tmp_path / "old", 1, 4, name="ledger_1", entries={4: entry(4, value=b"other")})
    write(tmp_path / "new", 1, 9)

    files = find_ledger_files([tmp_path / "old", tmp_path / "new"], uncommitted=True)

    assert ("copy-conflict", 4) in [(item.code, item.seqno) for item in files.findings]


def test_gap(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    write(tmp_path, 6, 9)

    files = find_ledger_files([tmp_path])

    (gap,) = files.findings
    assert (gap.code, gap.seqno) == ("chunk-gap", 3)
    assert "seqnos 3 to 5" in gap.message
    assert [len(run) for run in files.runs()] == [1, 1]


def test_a_suffix_is_no_gap(tmp_path: Path) -> None:
    write(tmp_path, 6, 9)

    files = find_ledger_files([tmp_path])

    assert ranges(files) == [("ledger_6-9.committed", 6, 9)]
    assert codes(files) == []


def test_directory_whose_name_contains_a_chunk_name(tmp_path: Path) -> None:
    directory = tmp_path / "ledger_3_backup"
    write(directory, 1, 2)
    write(directory, 3, 4, name="ledger_3")

    files = find_ledger_files([directory], uncommitted=True)

    assert ranges(files) == [("ledger_1-2.committed", 1, 2), ("ledger_3", 3, 4)]


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    write(tmp_path, 3, 4, name="ledger_3-4")
    write(tmp_path, 5, 6, name="ledger_5")
    write(tmp_path, 7, 8, name="ledger_7-8.committed.recovery")
    write(tmp_path, 9, 10, name="ledger_9-10.committed.ignored")
    write(tmp_path, 11, 12, name="ledger_11-12.committed_prefix")

    files = find_ledger_files([tmp_path])

    assert ranges(files) == [("ledger_1-2.committed", 1, 2)]
    reasons = {Path(path).name: reason for path, reason in files.left_out}
    assert "--uncommitted" in reasons["ledger_3-4"]
    assert "--uncommitted" in reasons["ledger_5"]
    assert "--recovery" in reasons["ledger_7-8.committed.recovery"]
    assert set(reasons) == {path.name for path in tmp_path.iterdir()} - {"ledger_1-2.committed"}


def test_directories_below_that_hold_chunks_are_named_and_not_read(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    for name in ("main", "read-only"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, 3, 4)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "notes").write_text("no chunk")
    (tmp_path / "forbidden").mkdir(mode=0)

    files = find_ledger_files([tmp_path])

    assert ranges(files) == [("ledger_1-2.committed", 1, 2)]
    assert [Path(path).name for path in files.below] == ["main", "read-only"]
    assert codes(files) == ["file-ignored", "file-ignored"]
    assert [Path(item.file or "").name for item in files.findings] == ["main", "read-only"]


def test_recovery_files_are_read_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    write(tmp_path, 3, 4, name="ledger_3-4.committed.recovery")

    assert len(find_ledger_files([tmp_path], recovery=True).parts) == 2


@pytest.mark.parametrize("name", ["ledger_1", "ledger_1-2", "ledger_1-2.committed_prefix", "ledger_1.recovery.ignored"])
def test_a_named_file_is_always_read(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, 1, 2, name=name)

    files = find_ledger_files([path])

    assert ranges(files) == [(name, 1, 2)]
    assert codes(files) == []


def test_a_named_file_without_a_chunk_name_is_read_by_content(tmp_path: Path) -> None:
    path = write(tmp_path, 3, 5, name="download-3.bin")

    files = find_ledger_files([path])

    assert ranges(files) == [("download-3.bin", 3, 5)]
    assert codes(files) == ["file-name-unknown"]


def test_a_named_file_with_a_malformed_chunk_name(tmp_path: Path) -> None:
    path = write(tmp_path, 3, 5, name="ledger_03-05.committed")

    assert codes(find_ledger_files([path])) == ["chunk-name"]


def test_the_same_file_twice_is_one_copy(tmp_path: Path) -> None:
    path = write(tmp_path, 1, 2)

    files = find_ledger_files([tmp_path, path, tmp_path])

    assert len(files.parts) == 1
    assert codes(files) == []


def test_other_files_are_noted_together(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    for i in range(7):
        (tmp_path / f"note-{i}.txt").touch()
    (tmp_path / "ledger_1-2.committed.bak").touch()

    files = find_ledger_files([tmp_path])

    assert sorted(codes(files)) == ["file-ignored", "file-name-unknown"]
    note = next(item for item in files.findings if item.code == "file-ignored")
    assert note.message.startswith("7 other files")


def test_content_that_is_not_what_the_name_says(tmp_path: Path) -> None:
    write(tmp_path, 1, 5).rename(tmp_path / "ledger_101-105.committed")

    (finding,) = find_ledger_files([tmp_path]).findings

    assert finding.code == "chunk-name"
    assert "expected seqnos 101 to 105, got 1 to 5" in finding.message


def test_committed_chunk_without_its_table(tmp_path: Path) -> None:
    write(tmp_path, 1, 5, name="ledger_1")
    (tmp_path / "ledger_1").rename(tmp_path / "ledger_1-5.committed")

    assert codes(find_ledger_files([tmp_path])) == ["chunk-incomplete"]


@pytest.mark.parametrize("content", [b"", bytes(8)])
def test_empty_open_chunk(content: bytes, tmp_path: Path) -> None:
    write(tmp_path, 1, 5)
    (tmp_path / "ledger_6").write_bytes(content)

    files = find_ledger_files([tmp_path], uncommitted=True)

    assert len(files.parts) == 1
    assert codes(files) == ["chunk-empty"]


def test_empty_committed_chunk(tmp_path: Path) -> None:
    (tmp_path / "ledger_1-5.committed").write_bytes(bytes(8))

    files = find_ledger_files([tmp_path])

    assert codes(files) == ["chunk-name"]


def test_unreadable_chunk_keeps_its_place(tmp_path: Path) -> None:
    write(tmp_path, 1, 5)
    (tmp_path / "ledger_6-9.committed").write_bytes(b"\xff" * 40)

    files = find_ledger_files([tmp_path])

    assert ranges(files)[-1] == ("ledger_6-9.committed", 6, 9)
    assert not files.parts[-1].file.readable


def test_unreadable_copy_is_not_preferred(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "ledger_1-5.committed").write_bytes(b"\xff" * 40)
    write(tmp_path / "b", 1, 5)

    files = find_ledger_files([tmp_path / "a", tmp_path / "b"])

    assert files.parts[0].file.path.startswith(str(tmp_path / "b"))
    assert codes(files) == ["copy-unreadable"]


def test_missing_path_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        find_ledger_files([tmp_path / "absent"])


def test_a_device_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="neither"):
        find_ledger_files([os.devnull])


def test_empty_directory(tmp_path: Path) -> None:
    files = find_ledger_files([tmp_path])

    assert files.parts == ()
    assert files.runs() == []
