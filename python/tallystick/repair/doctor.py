"""What a node would do with a ledger directory, and what it would lose: see :func:`examine`.

(1) look at the directories as a node does (``node_view.py``);
(2) read from the first transaction on, as a node that recovers does, and see where it stops, and why;
(3) what stands beyond is lost to it, unless another file that it reads holds it;
(4) compare copies of the same transactions byte for byte (``ledger/directory.py``);
(5) find the last signature in what is read: a recovery drops what comes after it.

This says what happens to files. Whether what they hold is what a service signed is for ``tallystick verify``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tallystick.repair.codes  # noqa: F401 -- registers the codes of this area
from tallystick import _native
from tallystick.errors import FormatError, LimitExceededError, UsageError
from tallystick.findings import Finding, Verdict, finding, verdict_of
from tallystick.ledger.directory import FileFinding, find_ledger_files, parse_chunk_name
from tallystick.repair.chunk_files import is_signature
from tallystick.repair.node_view import Fate, NodeDirectory, NodeFile, ReadPart, look
from tallystick.types import TxId

__all__ = ["NOT_CHECKED", "Diagnosis", "examine"]

NOT_CHECKED = (
    "signatures, Merkle roots and identities (tallystick verify)",
    "whether peers of the node hold more than it does",
)

# What is said about copies, and means the same for a node. Names and gaps are said in a node's terms instead.
_ABOUT_COPIES = ("copy-conflict", "ledger-fork", "replaced-suffix", "discarded-suffix", "copy-unreadable", "chunk-name")


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`examine` found.

    Attributes:
        directory: the main directory.
        read_only: the read-only directories.
        start: seqno from which a node reads.
        last: last transaction that it finds, going on from there; None when it finds none.
        committed: seqno up to which names say that everything is committed; 0 for nothing.
        last_signature: last signature transaction among those; None when there is none.
        files: every file, with what happens to it.
        parts: what is read from where, in order.
        findings: what there is to say.
    """

    directory: str
    read_only: tuple[str, ...]
    start: int
    last: int | None
    committed: int
    last_signature: TxId | None
    files: tuple[NodeFile, ...]
    parts: tuple[ReadPart, ...]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """Failed: a node would refuse or lose something. Undecided: that depends on what is not here."""
        return verdict_of(self.findings)

    def to_json(self) -> dict[str, object]:
        """The JSON report, ``tallystick.doctor/1``."""
        return {
            "schema": "tallystick.doctor/1",
            "verdict": {"verified": "sound", "failed": "loses", "undecided": "undecided"}[self.verdict.value],
            "directory": self.directory,
            "read_only": list(self.read_only),
            "start": self.start,
            "last_seqno": self.last,
            "committed_seqno": self.committed,
            "last_signature": str(self.last_signature) if self.last_signature is not None else None,
            "files": [_file_json(file, self.parts) for file in self.files],
            "findings": [item.to_json() for item in self.findings],
            "not_checked": list(NOT_CHECKED),
        }


def _file_json(file: NodeFile, parts: Sequence[ReadPart]) -> dict[str, object]:
    read = [part for part in parts if part.file is file]
    return {
        "path": file.path,
        "read_only": file.read_only,
        "fate": file.fate.value,
        "why": file.why,
        "first_seqno": file.first_seqno,
        "transactions": file.count,
        "complete": file.complete,
        "read_from": read[0].first if read else None,
        "read_to": read[-1].last if read else None,
    }


def examine(
    directory: str | os.PathLike[str],
    read_only: Iterable[str | os.PathLike[str]] = (),
    *,
    snapshot: str | os.PathLike[str] | None = None,
) -> Diagnosis:
    """Says what a node of CCF 7.0 would do with its ledger directories; changes nothing.

    Args:
        directory: ``ledger.directory`` of the node's configuration.
        read_only: ``ledger.read_only_directories``.
        snapshot: the snapshot from which the node would start.

    Raises:
        UsageError: a directory or the snapshot is not there.
        FormatError: the snapshot is none.
        OSError: a directory cannot be listed.
    """
    main, others = os.fspath(directory), [os.fspath(path) for path in read_only]
    for path in (main, *others):
        if not Path(path).is_dir():
            raise UsageError("no such directory", code="path-missing", file=path)
    start = 1 if snapshot is None else _snapshot_seqno(snapshot) + 1
    seen = look(main, others)
    findings = [item for file in seen.files for item in _about_file(file)]
    findings += _about_copies([main, *others])
    findings += _about_order(seen)
    parts = seen.read_from(start)
    findings += _about_reach(seen, parts, start, with_snapshot=snapshot is not None)
    if snapshot is not None:
        findings += _about_replay(seen, start)
    last = parts[-1].last if parts else None
    signature = _last_signature(parts)
    if last is not None and (signature is None or signature.seqno < last):
        since = signature.seqno + 1 if signature is not None else start
        message = f"{_number(last - since + 1)} from seqno {since} on, not signed: a recovery drops what is not signed"
        findings.append(finding("unsigned-tail", message))
    return Diagnosis(
        main,
        tuple(others),
        start,
        last,
        seen.committed,
        signature,
        tuple(seen.files),
        tuple(parts),
        tuple(_ordered(findings)),
    )


def _snapshot_seqno(path: str | os.PathLike[str]) -> int:
    name = os.fspath(path)
    if not Path(name).is_file():
        raise UsageError("no such file", code="path-missing", file=name)
    try:
        return _native.SnapshotFile.open(name).seqno
    except (FormatError, LimitExceededError) as error:
        raise error.at(file=name) from None


def _ordered(findings: Iterable[Finding]) -> list[Finding]:
    rank = {"fails": 0, "undecides": 1, "none": 2}
    severity = {"error": 0, "warning": 1, "note": 2}
    return sorted(findings, key=lambda item: (rank[item.verdict_effect.value], severity[item.severity.value]))


# --------------------------------------------------------------------------------------------- each file


def _about_file(file: NodeFile) -> Iterable[Finding]:
    """What happens to a file when a node starts."""
    if file.fate is Fate.FATAL:
        message = "a node does not start: it takes what follows the first hyphen in a name for a seqno"
        yield finding("node-refuses-name", message, file=file.path)
    elif file.base.endswith("ignored"):
        yield finding("file-ignored", "set aside by a node, never read again", file=file.path)
    elif file.fate is Fate.SET_ASIDE:
        yield finding("node-sets-aside", f"renamed to {file.base}.ignored: {file.why}", file=file.path)
        if file.problem is not None and file.start not in (None, -1):
            message = f"what it holds is lost to a node, which cannot read it: {file.problem.message}"
            yield finding("node-loses", message, file=file.path, offset=file.problem.location.offset)
    elif file.fate is Fate.REMOVED:
        yield finding("chunk-empty", "holds no whole transaction: a node removes it", file=file.path)
    elif file.base.endswith(".committed_prefix"):
        yield finding("node-download", "a partial download is no file of a node", file=file.path)
    elif file.committed and file.unreadable is None:
        yield from _about_committed(file)
    elif file.fate is Fate.WRITE and file.problem is not None:
        problem = f"a node writes to this file, and fails on what it reads there: {file.problem.message}"
        yield finding("node-cannot-read", problem, file=file.path, offset=file.problem.location.offset)
    if file.unreadable is not None and file.fate is not Fate.SET_ASIDE:
        yield finding("file-unreadable", f"cannot be read here: {file.unreadable}", file=file.path)
    if file.fate in (Fate.WRITE, Fate.REMOVED) and file.tail is not None and file.damage is not None:
        message = f"a node cuts off {file.tail[1]} bytes that hold more than a half-written transaction: {file.damage}"
        yield finding("node-loses", message, file=file.path, offset=file.tail[0])
    elif file.fate is Fate.WRITE and file.tail is not None:
        message = f"ends in a half-written transaction of {file.tail[1]} bytes: a node cuts it off"
        yield finding("partial-tail", message, file=file.path, offset=file.tail[0])
    if file.fate is Fate.READ and parse_chunk_name(file.base) is None:
        message = "ends in committed, but is not the name of a ledger chunk: a node counts its seqnos all the same"
        yield finding("file-name-unknown", message, file=file.path)


def _about_committed(file: NodeFile) -> Iterable[Finding]:
    if file.fate is not Fate.READ:
        yield finding("node-cannot-read", f"a node does not use it: {file.why}", file=file.path)
    elif not file.complete:
        message = "a node counts on it and cannot read it: committed by its name, but without an offset table"
        yield finding("node-cannot-read", message, file=file.path, offset=0)
    elif file.problem is not None:
        problem = f"a node counts on it and cannot read it: {file.problem.message}"
        yield finding("node-cannot-read", problem, file=file.path, offset=file.problem.location.offset)


def _about_copies(directories: Sequence[str]) -> Iterable[Finding]:
    for item in find_ledger_files(directories, uncommitted=True).findings:
        if item.code in _ABOUT_COPIES:
            yield _taken_over(item)


def _taken_over(item: FileFinding) -> Finding:
    txid = f"{item.view}.{item.seqno}" if item.view is not None and item.seqno is not None else None
    return finding(item.code, item.message, file=item.file, offset=item.offset, txid=txid)


def _about_order(seen: NodeDirectory) -> Iterable[Finding]:
    reach = max((file.last or 0 for file in seen.files if file.committed and not file.read_only), default=0)
    for file in seen.writable:
        if file.last is not None and file.last <= reach:
            message = (
                f"a node may set it aside or write to it, as the system lists the files: committed chunks reach {reach}"
            )
            yield finding("node-order", message, file=file.path)


def _about_replay(seen: NodeDirectory, start: int) -> Iterable[Finding]:
    later = [file for file in seen.files if file.committed and not file.read_only and (file.start or 0) >= start]
    if later:
        message = f"{len(later)} committed files from seqno {start} on lose their mark and are compared with what comes"
        yield finding("node-replays", message, file=later[0].path)


# ----------------------------------------------------------------------------------------- what is reached


def _about_reach(seen: NodeDirectory, parts: Sequence[ReadPart], start: int, *, with_snapshot: bool) -> list[Finding]:
    """Where reading stops, why, and what is lost by it."""
    held = _held(seen)
    if not held:
        return [finding("node-empty", "no chunk that a node would use")]
    reached = parts[-1].last if parts else start - 1
    beyond = [(first, last, file) for first, last, file in held if last > reached]
    if not parts and start == 1 and not with_snapshot:
        first = min(first for first, _, _ in held)
        if first > 1:
            message = f"the first transaction here is {first}: a node can start only from a snapshot at {first - 1}"
            return [finding("node-needs-snapshot", f"{message} or later"), *_gaps_within(seen, first)]
    if not beyond:
        return []
    return [_why_it_stops(seen, reached + 1, beyond)]


def _held(seen: NodeDirectory) -> list[tuple[int, int, NodeFile]]:
    """What stands in files that a node set aside neither before nor by design: (first, last, file)."""
    return sorted(
        (
            (file.start, file.end, file)
            for file in seen.files
            if file.start is not None and file.end is not None and file.count and not _left_behind(file)
        ),
        key=lambda item: (item[0], item[1]),
    )


def _left_behind(file: NodeFile) -> bool:
    return file.base.endswith(("ignored", "recovery", ".committed_prefix")) or parse_chunk_name(file.base) is None


def _gaps_within(seen: NodeDirectory, first: int) -> list[Finding]:
    parts = seen.read_from(first)
    reached = parts[-1].last if parts else first - 1
    beyond = [item for item in _held(seen) if item[1] > reached]
    return [_why_it_stops(seen, reached + 1, beyond)] if beyond else []


def _why_it_stops(seen: NodeDirectory, missing: int, beyond: Sequence[tuple[int, int, NodeFile]]) -> Finding:
    """The finding about transaction ``missing``, which a node does not find, and what stands beyond."""
    what = f"{_number(_count(beyond, missing))} from seqno {max(missing, min(item[0] for item in beyond))} on"
    holders = [file for first, last, file in beyond if first <= missing <= last]
    source = seen.source_of(missing)
    if source is not None and not source.holds(missing) and (source.fate is Fate.READ or source.problem is not None):
        message = f"a node stops at seqno {missing}, which it looks for here: {what} are out of its reach"
        return finding("node-cannot-read", message, file=source.path)
    if not holders:
        until = min(first for first, _, _ in beyond) - 1
        gap = f"seqno {missing} is" if until <= missing else f"seqnos {missing} to {until} are"
        message = f"{gap} in no file: a node stops before, and {what} are out of its reach"
        return finding("chunk-gap", message, file=beyond[0][2].path)
    holder = holders[0]
    if source is not None and not source.holds(missing):
        message = f"hides seqno {missing} in {holder.base}: a node looks no further, and {what} are out of its reach"
        return finding("node-shadowed", message, file=source.path)
    if missing > seen.last and holder.fate in (Fate.READ, Fate.WRITE):
        message = f"a node believes that its ledger ends at {seen.last}, and {what} are out of its reach"
        return finding("node-shadowed", message, file=seen.writable[-1].path if seen.writable else holder.path)
    message = f"a node does not use it ({holder.why}), and {what} are in no other file that it reads"
    return finding("node-loses", message, file=holder.path)


def _number(count: int) -> str:
    return f"{count:,} transaction" + ("" if count == 1 else "s")


def _count(ranges: Sequence[tuple[int, int, NodeFile]], start: int) -> int:
    total, reached = 0, start - 1
    for first, last, _ in ranges:
        if last > reached:
            total += last - max(first, reached + 1) + 1
            reached = last
    return total


def _last_signature(parts: Sequence[ReadPart]) -> TxId | None:
    for part in reversed(parts):
        found = None
        try:
            chunk = _native.ChunkFile.open(part.file.path)
            for entry in chunk.entries(part.first - (part.file.start or part.first), part.last - part.first + 1):
                if is_signature(entry):
                    found = TxId(entry.view, entry.seqno)
        except (FormatError, LimitExceededError):
            # What cannot be parsed is no signature that a node would find; verify says what is wrong with it.
            pass
        if found is not None:
            return found
    return None
