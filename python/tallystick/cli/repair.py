"""``tallystick split``, ``join``, ``extract`` and ``doctor``: chunk files cut anew, and a node's view."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.listing import WIDTH, Output
from tallystick.cli.read import parse_range
from tallystick.errors import UsageError
from tallystick.findings import Finding, Verdict
from tallystick.printable import printable

if TYPE_CHECKING:
    from tallystick.repair.chunk_files import WrittenChunk
    from tallystick.repair.doctor import Diagnosis
    from tallystick.repair.node_view import NodeFile

__all__ = ["doctor", "extract", "join", "split"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_NOT_A_NODES = "does not end on a signature transaction: a node can read such a chunk, but writes none"


def _output(command: _Command) -> _Command:
    formats = click.Choice(["text", "json"])
    style = click.option("--format", "style", type=formats, default="text", help="Output format.")
    where = click.option(
        "-o", "--output-directory", "target", required=True, metavar="DIR",
        help="Where to write; not where the source is.",
    )  # fmt: skip
    return where(style(command))


_cut_tail = click.option("--cut-tail", is_flag=True, help="Leave out a half-written last transaction, as a node does.")
_allow = click.option("--allow-non-signature", is_flag=True, help="Let a complete chunk end on any transaction.")


@click.command()
@click.argument("path", metavar="PATH")
@click.argument("seqno", type=click.IntRange(min=1))
@_allow
@_cut_tail
@_output
def split(path: str, seqno: int, allow_non_signature: bool, cut_tail: bool, target: str, style: str) -> int:
    """Split chunk file PATH in two after transaction SEQNO.

    Lossless, and read back: entries byte for byte, offset tables anew. PATH stays as it is, nothing is overwritten.
    Nothing is verified.
    """
    from tallystick.repair.cutting import split_chunk

    result = split_chunk(path, seqno, target, allow_non_signature=allow_non_signature, cut_tail=cut_tail)
    output = Output(style)
    if not output.is_text:
        output.json(_written_json("split", [path], result.parts, {"cut_tail_bytes": result.cut_tail}))
        return ExitStatus.OK
    _written_text(output, result.parts, result.cut_tail)
    if len(result.parts) == 1:
        output.line(f"note: {seqno} is the last transaction: nothing follows, so there is one part")
    return ExitStatus.OK


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@_cut_tail
@_output
def join(paths: tuple[str, ...], cut_tail: bool, target: str, style: str) -> int:
    """Join chunk files, each of which begins where another ends, into one.

    Lossless, and read back. The files stay as they are, nothing is overwritten. Nothing is verified.
    """
    from tallystick.repair.cutting import join_chunks

    result = join_chunks(paths, target, cut_tail=cut_tail)
    output = Output(style)
    if not output.is_text:
        more = {"cut_tail_bytes": result.cut_tail, "flagged_seams": list(result.flagged_seams)}
        output.json(_written_json("join", result.sources, [result.chunk], more))
        return ExitStatus.OK
    _written_text(output, [result.chunk], result.cut_tail)
    if result.flagged_seams:
        seams = ", ".join(map(str, result.flagged_seams[:5])) + (", …" if len(result.flagged_seams) > 5 else "")
        output.line(f"note: by its flags a new chunk begins at {seams}: nodes keep these transactions in several files")
    return ExitStatus.OK


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH... RANGE")
@click.option("--open", "leave_open", is_flag=True, help="Write an open chunk, without an offset table.")
@_allow
@click.option("--uncommitted", is_flag=True, help="Read chunks that are not marked committed, too.")
@click.option("--recovery", is_flag=True, help="Read .recovery files, too.")
@_output
def extract(
    paths: tuple[str, ...],
    leave_open: bool,
    allow_non_signature: bool,
    uncommitted: bool,
    recovery: bool,
    target: str,
    style: str,
) -> int:
    """Write transactions RANGE (A:B, A:, :B or one seqno) of a ledger to one chunk file.

    Lossless, and read back. The files stay as they are, nothing is overwritten. Nothing is verified.
    """
    from tallystick.repair.cutting import extract_range

    if len(paths) < 2:
        raise UsageError("expected PATH... RANGE", code="usage")
    first, last = parse_range(paths[-1], "RANGE")
    result = extract_range(
        paths[:-1],
        first,
        last,
        target,
        leave_open=leave_open,
        uncommitted=uncommitted,
        recovery=recovery,
        allow_non_signature=allow_non_signature,
    )
    output = Output(style)
    if output.is_text:
        _written_text(output, [result.chunk], 0)
    else:
        output.json(_written_json("extract", result.sources, [result.chunk], {}))
    return ExitStatus.OK


def _written_json(
    what: str, sources: Sequence[str], chunks: Sequence[WrittenChunk], more: dict[str, object]
) -> dict[str, object]:
    return {
        "schema": f"tallystick.{what}/1",
        "verified": False,
        "sources": list(sources),
        "chunks": [chunk.to_json() for chunk in chunks],
        **more,
    }


def _written_text(output: Output, chunks: Sequence[WrittenChunk], tail: int) -> None:
    for chunk in chunks:
        state = "committed" if chunk.committed else "complete" if chunk.complete else "open"
        output.line(printable(f"wrote {chunk.path}"))
        output.line(
            f"  transactions {chunk.first_seqno} to {chunk.last_seqno} ({chunk.transactions:,}), "
            f"{chunk.size:,} bytes, {state}; reads back byte for byte"
        )
        if chunk.complete and not chunk.ends_on_signature:
            output.line(f"  note: {_NOT_A_NODES}")
    if tail:
        output.line(f"note: left out a half-written transaction of {tail:,} bytes")


# ------------------------------------------------------------------------------------------------ doctor


@click.command()
@click.argument("directory", metavar="DIR")
@click.option("--read-only", "read_only", multiple=True, metavar="DIR", help="A read-only directory. Repeatable.")
@click.option("--snapshot", metavar="FILE", help="The snapshot from which the node would start.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", help="Output format.")
def doctor(directory: str, read_only: tuple[str, ...], snapshot: str | None, style: str) -> int:
    """Say what a node would do with ledger directory DIR, and what it would lose. Changes nothing.

    Exit codes: 0 nothing is lost, 1 a node would refuse or lose something, 3 that depends on what is not here.
    """
    from tallystick.repair.doctor import examine

    diagnosis = examine(directory, read_only, snapshot=snapshot)
    output = Output(style)
    if output.is_text:
        _doctor_text(output, diagnosis)
    else:
        output.json(diagnosis.to_json())
    return {
        Verdict.VERIFIED: ExitStatus.OK,
        Verdict.FAILED: ExitStatus.FAILED,
        Verdict.UNDECIDED: ExitStatus.UNDECIDED,
    }[diagnosis.verdict]


_WORDS = {
    Verdict.VERIFIED: "SOUND: a node loses nothing here",
    Verdict.FAILED: "LOSES: a node would refuse or lose something here",
    Verdict.UNDECIDED: "UNDECIDED: what a node does depends on what is not here",
}


def _doctor_text(output: Output, diagnosis: Diagnosis) -> None:
    from tallystick.repair.doctor import NOT_CHECKED

    output.line(_WORDS[diagnosis.verdict])
    read = "nothing" if diagnosis.last is None else f"transactions {diagnosis.start} to {diagnosis.last}"
    signature = f", the last signature is {diagnosis.last_signature}" if diagnosis.last_signature is not None else ""
    output.line(f"  reads     {read}{signature}")
    output.line(f"  committed to {diagnosis.committed} by the names of files")
    touched = [file for file in diagnosis.files if file.fate.value not in ("read", "write")]
    used = len(diagnosis.files) - len(touched)
    output.line(f"  files     {used} used" + (f", {len(touched)} not:" if touched else ""))
    for file in touched:
        output.line(_file_line(file))
    if diagnosis.findings:
        output.line("")
        output.line("Findings")
    for found in diagnosis.findings:
        for line in _finding_lines(found):
            output.line(line)
    output.line("")
    output.line("Not checked")
    for item in NOT_CHECKED:
        output.line(f"  - {item}")


def _file_line(file: NodeFile) -> str:
    return printable(f"    {file.fate.value:<9} {file.path}")


def _finding_lines(item: Finding) -> list[str]:
    lines = [printable(f"  {item.severity.value} {item.code}" + (f"  {item.txid}" if item.txid else ""))]
    lines += textwrap.wrap(
        printable(item.message),
        WIDTH,
        initial_indent="    ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    if item.file is not None:
        lines.append(printable(f"    {item.file}" + (f", offset {item.offset}" if item.offset is not None else "")))
    return lines
