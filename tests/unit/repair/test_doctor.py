"""What a node would do with directories in every state on record."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.mutation import LedgerCopy
from support.services import base, fill, new_service, outsider, write_some
from tallystick.demo.snapshots import take_snapshot
from tallystick.errors import FormatError, UsageError
from tallystick.findings import Verdict
from tallystick.repair.doctor import Diagnosis, examine
from tallystick.repair.node_view import Fate

# The base ledger: committed chunks 1-2, 3-13, 14-23; open ledger_24 with 24 to 26, all signed.
SOUND, LOSES, UNDECIDED = Verdict.VERIFIED, Verdict.FAILED, Verdict.UNDECIDED


@dataclass(frozen=True)
class Case:
    """A directory, spoilt, and what is to be said of it."""

    name: str
    spoil: Callable[[LedgerCopy, Path], None]
    verdict: Verdict
    last: int | None
    codes: tuple[str, ...]
    fates: tuple[tuple[str, Fate], ...] = ()
    read_only: bool = False


CASES: list[Case] = []


def case(
    name: str,
    verdict: Verdict,
    last: int | None,
    *codes: str,
    fates: tuple[tuple[str, Fate], ...] = (),
    read_only: bool = False,
) -> Callable[[Callable[[LedgerCopy, Path], None]], Callable[[LedgerCopy, Path], None]]:
    def add(spoil: Callable[[LedgerCopy, Path], None]) -> Callable[[LedgerCopy, Path], None]:
        CASES.append(Case(name, spoil, verdict, last, codes, fates, read_only))
        return spoil

    return add


def _named(copy: LedgerCopy, name: str) -> Path:
    return copy.directory / name


@case("nothing wrong", SOUND, 26, fates=(("ledger_24", Fate.WRITE), ("ledger_3-13.committed", Fate.READ)))
def _sound(_copy: LedgerCopy, _read_only: Path) -> None:
    return


@case("half-written tail", SOUND, 25, "partial-tail", "unsigned-tail")
def _tail(copy: LedgerCopy, _read_only: Path) -> None:
    path = _named(copy, "ledger_24")
    path.write_bytes(path.read_bytes()[:-7])


@case("a size that was altered", LOSES, 24, "node-loses", "unsigned-tail")
def _altered_size(copy: LedgerCopy, _read_only: Path) -> None:
    # The second transaction claims to reach past the end, and swallows the signature behind it.
    second = copy.entries(_named(copy, "ledger_24"))[1]
    copy.flip(_named(copy, "ledger_24"), second.offset + 5)


@case("0-byte open file", SOUND, 26, "node-sets-aside", fates=(("ledger_27", Fate.SET_ASIDE),))
def _empty_file(copy: LedgerCopy, _read_only: Path) -> None:
    _named(copy, "ledger_27").write_bytes(b"")


@case("open file with a header alone", SOUND, 26, "chunk-empty", fates=(("ledger_27", Fate.REMOVED),))
def _header_alone(copy: LedgerCopy, _read_only: Path) -> None:
    _named(copy, "ledger_27").write_bytes(bytes(8))


@case("open file with half a transaction", SOUND, 26, "chunk-empty", fates=(("ledger_27", Fate.REMOVED),))
def _half_a_transaction(copy: LedgerCopy, _read_only: Path) -> None:
    _named(copy, "ledger_27").write_bytes(bytes(8) + _named(copy, "ledger_24").read_bytes()[8:60])


@case("recovery file", SOUND, 26, "node-sets-aside", fates=(("ledger_27.recovery", Fate.SET_ASIDE),))
def _recovery(copy: LedgerCopy, _read_only: Path) -> None:
    shutil.copy(_named(copy, "ledger_24"), _named(copy, "ledger_27.recovery"))


@case("ignored file", SOUND, 26, "file-ignored", fates=(("ledger_9.ignored", Fate.NOT_USED),))
def _ignored(copy: LedgerCopy, _read_only: Path) -> None:
    _named(copy, "ledger_9.ignored").write_bytes(b"")


@case("missing chunk", LOSES, 2, "chunk-gap")
def _gap(copy: LedgerCopy, _read_only: Path) -> None:
    _named(copy, "ledger_3-13.committed").unlink()


@case("missing start", UNDECIDED, None, "node-needs-snapshot")
def _no_start(copy: LedgerCopy, _read_only: Path) -> None:
    _named(copy, "ledger_1-2.committed").unlink()


@case("missing start and a gap", LOSES, None, "node-needs-snapshot", "chunk-gap")
def _no_start_and_gap(copy: LedgerCopy, _read_only: Path) -> None:
    _named(copy, "ledger_1-2.committed").unlink()
    _named(copy, "ledger_14-23.committed").unlink()


@case("committed without a table", LOSES, 13, "node-cannot-read")
def _committed_open(copy: LedgerCopy, _read_only: Path) -> None:
    path = _named(copy, "ledger_14-23.committed")
    data = path.read_bytes()
    path.write_bytes(bytes(8) + data[8 : int.from_bytes(data[:8], "little")])


@case("committed, its header wiped", LOSES, 13, "node-cannot-read")
def _committed_wiped(copy: LedgerCopy, _read_only: Path) -> None:
    path = _named(copy, "ledger_14-23.committed")
    path.write_bytes(bytes(8) + path.read_bytes()[8:])


@case("committed, cut", LOSES, 13, "node-cannot-read")
def _committed_cut(copy: LedgerCopy, _read_only: Path) -> None:
    path = _named(copy, "ledger_14-23.committed")
    path.write_bytes(path.read_bytes()[:500])


@case("committed without a last seqno in its name", LOSES, 13, "node-cannot-read")
def _committed_without_last(copy: LedgerCopy, _read_only: Path) -> None:
    _named(copy, "ledger_14-23.committed").rename(_named(copy, "ledger_14.committed"))
    _named(copy, "ledger_24").unlink()


@case("a name that a node stumbles over", LOSES, 26, "node-refuses-name", fates=(("read-me.txt", Fate.FATAL),))
def _fatal_name(copy: LedgerCopy, _read_only: Path) -> None:
    _named(copy, "read-me.txt").write_text("hello")


@case("a name that a node renames", SOUND, 26, "node-sets-aside", fates=(("README", Fate.SET_ASIDE),))
def _other_name(copy: LedgerCopy, _read_only: Path) -> None:
    _named(copy, "README").write_text("hello")


@case("a directory among the files", SOUND, 26, "node-sets-aside", fates=(("old_1", Fate.SET_ASIDE),))
def _directory(copy: LedgerCopy, _read_only: Path) -> None:
    _named(copy, "old_1").mkdir()


@case("a foreign name that ends in committed", SOUND, 26, "file-name-unknown")
def _foreign_committed(copy: LedgerCopy, _read_only: Path) -> None:
    shutil.copy(_named(copy, "ledger_3-13.committed"), _named(copy, "copy_3-13.committed"))


@case("a partial download", SOUND, 26, "node-download")
def _download(copy: LedgerCopy, _read_only: Path) -> None:
    shutil.copy(_named(copy, "ledger_24"), _named(copy, "ledger_24-26.committed_prefix"))


@case("an open chunk that is no chunk", LOSES, 23, "node-cannot-read")
def _bad_open_chunk(copy: LedgerCopy, _read_only: Path) -> None:
    path = _named(copy, "ledger_24")
    # The header points into the file, so that a node takes the rest for a table of three numbers and a bit.
    data = path.read_bytes()
    path.write_bytes((len(data) - 13).to_bytes(8, "little") + data[8:])


@case(
    "an open chunk whose table is gone",
    LOSES,
    23,
    "node-sets-aside",
    "node-loses",
    fates=(("ledger_24", Fate.SET_ASIDE),),
)
def _open_chunk_without_table(copy: LedgerCopy, _read_only: Path) -> None:
    path = _named(copy, "ledger_24")
    path.write_bytes((1 << 30).to_bytes(8, "little") + path.read_bytes()[8:])


@case("stale open chunk before committed ones", LOSES, 15, "node-shadowed", "unsigned-tail")
def _stale(copy: LedgerCopy, _read_only: Path) -> None:
    entries = [entry.raw for entry in copy.entries(_named(copy, "ledger_14-23.committed"))]
    _named(copy, "ledger_24").unlink()
    copy.write(_named(copy, "ledger_14"), entries[:2], complete=False)


@case("open chunk with another history", LOSES, 20, "discarded-suffix", "node-shadowed", "unsigned-tail")
def _discarded(copy: LedgerCopy, read_only: Path) -> None:
    # After a recovery at 20: what the old node wrote from 19 on was not signed.
    for path in (_named(copy, "ledger_14-23.committed"), _named(copy, "ledger_24")):
        path.unlink()
    for name in ("ledger_14-18.committed", "ledger_19-23.committed"):
        shutil.copy(_FORKED / name, _named(copy, name))
    copy.write(_named(copy, "ledger_19"), [entry.raw for entry in _old_entries()][5:7], complete=False)


@case("two copies that differ", LOSES, 26, "copy-conflict", read_only=True)
def _conflict(copy: LedgerCopy, read_only: Path) -> None:
    path = read_only / "ledger_3-13.committed"
    shutil.copy(_named(copy, "ledger_3-13.committed"), path)
    copy.flip(path, 200)


@case("chunks in a read-only directory", SOUND, 26, read_only=True)
def _read_only(copy: LedgerCopy, read_only: Path) -> None:
    for name in ("ledger_1-2.committed", "ledger_3-13.committed"):
        _named(copy, name).rename(read_only / name)


@case("an uncommitted chunk in a read-only directory", LOSES, 13, "node-loses", read_only=True)
def _read_only_uncommitted(copy: LedgerCopy, read_only: Path) -> None:
    _named(copy, "ledger_14-23.committed").rename(read_only / "ledger_14-23")


@case("read-only directory ahead of an open chunk", LOSES, 24, "node-shadowed", "unsigned-tail", read_only=True)
def _ahead(copy: LedgerCopy, read_only: Path) -> None:
    entries = [entry.raw for entry in copy.entries(_named(copy, "ledger_24"))]
    copy.write(read_only / "ledger_24-26.committed", entries, complete=True)
    copy.write(_named(copy, "ledger_24"), entries[:1], complete=False)


@case("a chunk that read-only ones cover", SOUND, 23, "node-sets-aside", read_only=True)
def _covered(copy: LedgerCopy, read_only: Path) -> None:
    shutil.copy(_named(copy, "ledger_14-23.committed"), read_only)
    _named(copy, "ledger_14-23.committed").rename(_named(copy, "ledger_14-23"))
    _named(copy, "ledger_24").unlink()


@case("what the listing order decides", SOUND, 26, "node-order")
def _order(copy: LedgerCopy, _read_only: Path) -> None:
    shutil.copy(_named(copy, "ledger_14-23.committed"), _named(copy, "ledger_14-23"))


@case("content that is not what the name says", LOSES, 26, "chunk-name")
def _renamed(copy: LedgerCopy, read_only: Path) -> None:
    path = _named(copy, "ledger_3-13.committed")
    entries = [entry.raw for entry in copy.entries(path)]
    copy.write(path, [*entries[1:], entries[-1]], complete=True)


@case("nothing", UNDECIDED, None, "node-empty")
def _nothing(copy: LedgerCopy, _read_only: Path) -> None:
    for path in copy.chunks:
        path.unlink()


_FORKED = Path()
_OLD: list[object] = []


def _old_entries() -> list[object]:
    return _OLD


@pytest.fixture(scope="module", autouse=True)
def forked(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The base ledger as a recovery at seqno 18 goes on: chunks 14-18 and 19-23, of the next view."""
    global _FORKED
    root = tmp_path_factory.mktemp("forked")
    copy = base("6.x").copy(root / "ledger")
    old = copy.entries(copy.directory / "ledger_14-23.committed")
    _OLD[:] = old
    copy.write(copy.directory / "ledger_14-18.committed", [entry.raw for entry in old[:5]], complete=True)
    (copy.directory / "ledger_14-23.committed").unlink()
    (copy.directory / "ledger_24").unlink()
    forge = outsider(copy, root / "scratch")
    forge.view += 2
    while forge.seqno < 22:
        forge.append({"public:records": {b"new": b"history"}})
    forge.sign(close_chunk=True)
    [path] = (root / "scratch").glob("ledger_19-23.committed")
    shutil.copy(path, copy.directory)
    _FORKED = copy.directory


def diagnose(entry: Case, tmp_path: Path) -> Diagnosis:
    copy = base("6.x").copy(tmp_path / "ledger")
    read_only = tmp_path / "read-only"
    read_only.mkdir()
    entry.spoil(copy, read_only)
    return examine(copy.directory, [read_only] if entry.read_only else [])


@pytest.mark.parametrize("entry", CASES, ids=lambda entry: entry.name)
def test_case(entry: Case, tmp_path: Path) -> None:
    diagnosis = diagnose(entry, tmp_path)

    found = [(item.code, item.message, item.file) for item in diagnosis.findings]
    assert {code for code, _, _ in found} == set(entry.codes), found
    assert diagnosis.verdict is entry.verdict, found
    assert diagnosis.last == entry.last
    fates = {file.base: file.fate for file in diagnosis.files}
    assert [(name, fates[name]) for name, _ in entry.fates] == list(entry.fates)


@pytest.mark.parametrize("entry", CASES, ids=lambda entry: entry.name)
def test_nothing_is_changed(entry: Case, tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    read_only = tmp_path / "read-only"
    read_only.mkdir()
    entry.spoil(copy, read_only)
    before = _contents(tmp_path)

    examine(copy.directory, [read_only])

    assert _contents(tmp_path) == before


def _contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_from_a_snapshot(tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger")
    fill(service)
    snapshot = tmp_path / "snapshot"
    snapshot.write_bytes(take_snapshot(service).entry)
    write_some(service, 2)
    service.sign(close_chunk=True)
    copy = LedgerCopy(tmp_path / "ledger", tmp_path / "copy")
    for name in ("ledger_1-2.committed", "ledger_3-13.committed"):
        (copy.directory / name).unlink()
    entries = [entry.raw for entry in copy.entries(copy.directory / "ledger_24")]
    (copy.directory / "ledger_24").unlink()
    copy.write(copy.directory / "ledger_24-26.committed", entries, complete=True)

    diagnosis = examine(copy.directory, snapshot=snapshot)

    # The snapshot is of the last signature then, 26; its evidence, two writes and a signature follow.
    assert (diagnosis.start, diagnosis.last) == (27, 30)
    assert diagnosis.verdict is SOUND
    assert {item.code for item in diagnosis.findings} == {"node-replays"}
    assert examine(copy.directory).verdict is UNDECIDED

    (copy.directory / "ledger_27-30.committed").unlink()
    assert examine(copy.directory, snapshot=snapshot).last is None
    assert examine(copy.directory, snapshot=snapshot).verdict is SOUND


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UsageError, match="no such directory"):
        examine(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no such directory"):
        examine(tmp_path / "ledger", [tmp_path / "text"])
    with pytest.raises(UsageError, match="no such file"):
        examine(tmp_path / "ledger", snapshot=tmp_path / "nowhere")
    with pytest.raises(FormatError):
        examine(tmp_path / "ledger", snapshot=tmp_path / "text")


def test_real_ledgers_lose_nothing(ledgers: Path) -> None:
    found = {path.parent.name: examine(path) for path in sorted(ledgers.glob("*_service/ledger"))}

    assert len(found) == 6
    assert {name: item.verdict for name, item in found.items()} == dict.fromkeys(found, SOUND)
    assert [found[name].last for name in sorted(found)] == [22, 46, 509, 500, 74, 153]


def test_directories_of_real_nodes(ccf_built: Path) -> None:
    nodes = sorted(ccf_built.glob("cpp3/state-*/node*"))

    assert len(nodes) == 5
    for node in nodes:
        diagnosis = examine(node / "ledger-current", [node / "ledger-committed"])
        assert diagnosis.verdict is SOUND, (node.name, diagnosis.findings)
        assert diagnosis.last in (1422, 1686, 1910)
