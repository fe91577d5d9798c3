"""``tallystick log``, ``show``, ``state`` and ``history``: reading a ledger, without verifying it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.listing import (
    NO_CLAIMS,
    WIDTH,
    Output,
    no_chunk,
    row_lines,
    rows_json,
    short_value,
    transaction_json,
    value_lines,
    writes_json,
)
from tallystick.errors import FormatError, UsageError
from tallystick.ledger.history import KeyWrite, key_history
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.state import PublicState, public_state
from tallystick.ledger.transaction import Transaction
from tallystick.printable import cut, printable
from tallystick.tables.decode import decode_key, parse_key
from tallystick.tables.names import CATALOGUE
from tallystick.types import TxId

__all__ = ["history", "log", "open_ledger", "parse_range", "show", "state", "table_filter"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_UNVERIFIED = "note: not verified; run `tallystick verify` to learn what is proven"


# ------------------------------------------------------------------------------------- shared options


def _options(*decorators: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def apply(command: _Command) -> _Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply


_PATHS = click.argument("paths", nargs=-1, required=True, metavar="PATH...")

_common = _options(
    click.option("--uncommitted", is_flag=True, help="Read chunks that are not marked committed, too."),
    click.option("--recovery", is_flag=True, help="Read .recovery files, too."),
    click.option(
        "--format", "style", type=click.Choice(["text", "json", "jsonl"]), default="text", help="Output format."
    ),
    click.option("-q", "--quiet", is_flag=True, help="No notes on standard error."),
)

_tables_option = click.option(
    "-t", "--tables", metavar="REGEX", help="Only tables whose name matches (anywhere in it)."
)
_key_option = click.option("--key", metavar="KEY", help="Only this key: text, 0x… hex, or a number.")


def table_filter(pattern: str | None) -> Callable[[str], bool] | None:
    """A test for table names, or None for all.

    Raises:
        UsageError: ``pattern`` is not a regular expression.
    """
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--tables: not a regular expression: {error}", code="regex-malformed") from None
    return lambda name: compiled.search(name) is not None


def note(text: str, quiet: bool) -> None:
    """One line on standard error, unless quiet."""
    if not quiet:
        print(printable(text), file=sys.stderr)


def open_ledger(paths: Iterable[str], *, uncommitted: bool, recovery: bool, quiet: bool) -> Ledger:
    """Opens a ledger for listing, and says on standard error what was found about its files.

    Raises:
        FormatError: there is no chunk file to read (``ledger-empty``).
    """
    given = list(paths)
    ledger = Ledger(given, uncommitted=uncommitted, recovery=recovery, allow_gaps=True)
    for finding in ledger.findings:
        note(f"note: {finding.file or ''}: {finding.message} [{finding.code}]", quiet)
    if not ledger.files.parts:
        raise no_chunk(given, ledger)
    return ledger


def parse_range(text: str | None, what: str = "--range") -> tuple[int | None, int | None]:
    """First and last seqno of ``A:B``, ``A:``, ``:B`` or a single seqno; None where it is open, or ``text`` is.

    Raises:
        UsageError: it is something else.
    """
    if text is None:
        return None, None
    match = re.fullmatch(r"([0-9]{0,19})(?:(:)([0-9]{0,19}))?", text)
    if match is None or not (match[1] or match[3]):
        raise UsageError(f"{what} {text!r}: expected SEQNO, A:B, A: or :B", code="range-malformed")
    first = int(match[1]) if match[1] else None
    if match[2] is None:
        return first, first
    last = int(match[3]) if match[3] else None
    if first is not None and last is not None and last < first:
        raise UsageError(f"{what} {text!r}: ends before it begins", code="range-malformed")
    return first, last


# -------------------------------------------------------------------------------------------------- log


@click.command()
@_PATHS
@_tables_option
@_key_option
@click.option("--range", "seqnos", metavar="A:B", help="Only seqnos A to B, both included.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many transactions.")
@click.option("--values", is_flag=True, help="Show what was written, too.")
@_common
def log(
    paths: tuple[str, ...],
    tables: str | None,
    key: str | None,
    seqnos: str | None,
    limit: int | None,
    values: bool,
    uncommitted: bool,
    recovery: bool,
    style: str,
    quiet: bool,
) -> int:
    """List the transactions of a ledger: its directories and chunk files.

    With --tables or --key only transactions that write or remove something that fits. Nothing is verified.
    """
    select = _Selection(table_filter(tables), None if key is None else parse_key(key))
    first, last = parse_range(seqnos)
    ledger = open_ledger(paths, uncommitted=uncommitted, recovery=recovery, quiet=quiet)
    output = Output(style)
    chosen = _limited(select.of(ledger.transactions(first, last)), limit)
    if output.is_text:
        _log_text(output, chosen, values)
    else:
        with output.document("tallystick.log/1", {}, "transactions") as document:
            for transaction, writes in chosen:
                document.item({**transaction_json(transaction), "tables": _log_tables(writes, values)})
    note(_UNVERIFIED, quiet)
    return ExitStatus.OK


Writes = dict[str, dict[bytes, bytes | None]]


class _Selection:
    """Which transactions to list, and which of their writes."""

    def __init__(self, tables: Callable[[str], bool] | None, keys: frozenset[bytes] | None) -> None:
        self._tables = tables
        self._keys = keys

    def of(self, transactions: Iterable[Transaction]) -> Iterator[tuple[Transaction, Writes]]:
        """Each transaction that fits, with the writes that fit."""
        for transaction in transactions:
            if self._tables is None and self._keys is None:
                yield transaction, transaction.tables
                continue
            writes = self._fitting(transaction)
            if writes:
                yield transaction, writes

    def _fitting(self, transaction: Transaction) -> Writes:
        writes: Writes = {}
        for name in transaction.table_names:
            if self._tables is not None and not self._tables(name):
                continue
            rows = transaction.table(name) or {}
            if self._keys is not None:
                rows = {key: value for key, value in rows.items() if key in self._keys}
                if not rows:
                    continue
            writes[name] = rows
        return writes


_Item = TypeVar("_Item")


def _limited(items: Iterable[_Item], limit: int | None) -> Iterator[_Item]:
    for count, item in enumerate(items, 1):
        yield item
        if count == limit:
            return


def _log_tables(writes: Writes, values: bool) -> dict[str, object]:
    if values:
        return {name: writes_json(name, rows) for name, rows in writes.items()}
    return {
        name: {
            "writes": sum(value is not None for value in rows.values()),
            "removes": sum(value is None for value in rows.values()),
        }
        for name, rows in writes.items()
    }


def _log_text(output: Output, chosen: Iterable[tuple[Transaction, Writes]], values: bool) -> None:
    output.line(f"{'TXID':<12} {'BYTES':>10}  WRITES")
    for transaction, writes in chosen:
        line = f"{transaction.txid!s:<12} {transaction.size:>10,}  {_what(transaction, writes)}"
        output.line(cut(printable(line), WIDTH))
        if values:
            for name, rows in writes.items():
                output.line(cut(f"    {printable(name)}", WIDTH))
                for key, value in rows.items():
                    for row in row_lines(name, key, value, indent=6, full=False):
                        output.line(row)


def _what(transaction: Transaction, writes: Writes) -> str:
    if transaction.is_signature:
        return "signature"
    parts = []
    if transaction.private_size:
        parts.append(f"private ({transaction.private_size:,} bytes)")
    parts += [name if len(rows) == 1 else f"{name} ({len(rows)})" for name, rows in writes.items()]
    return ", ".join(parts) or "nothing"


# ------------------------------------------------------------------------------------------------- show


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH... TXID|SEQNO")
@_tables_option
@_common
def show(paths: tuple[str, ...], tables: str | None, uncommitted: bool, recovery: bool, style: str, quiet: bool) -> int:
    """Show one transaction in full: position, digests, raw header fields, and every public write.

    The last argument is a transaction ID such as 2.15, or a seqno. Nothing is verified.
    """
    *places, wanted = paths
    if not places:
        raise UsageError("expected PATH... and then a transaction ID or a seqno", code="argument-missing")
    seqno, txid = _parse_position(wanted)
    select = table_filter(tables)
    ledger = open_ledger(places, uncommitted=uncommitted, recovery=recovery, quiet=quiet)
    transaction = ledger.get_transaction(seqno)
    if txid is not None and transaction.txid != txid:
        raise UsageError(
            f"no transaction {txid}: seqno {seqno} is transaction {transaction.txid}", code="transaction-missing"
        )
    writes = {name: rows for name, rows in transaction.tables.items() if select is None or select(name)}
    output = Output(style)
    if output.is_text:
        for line in _transaction_lines(transaction, writes):
            output.line(line)
    else:
        output.json(
            {
                "schema": "tallystick.transaction/1",
                "verified": False,
                **transaction_json(transaction),
                "max_conflict_version": transaction.max_conflict_version,
                "gcm_tag": transaction.gcm_tag.hex(),
                "gcm_iv": transaction.gcm_iv.hex(),
                "public_bytes": len(transaction.public_domain),
                "tables": {name: writes_json(name, rows) for name, rows in writes.items()},
            }
        )
    note(_UNVERIFIED, quiet)
    return ExitStatus.OK


def _parse_position(text: str) -> tuple[int, TxId | None]:
    if re.fullmatch(r"[0-9]{1,19}", text):
        return int(text), None
    try:
        txid = TxId.parse(text)
    except FormatError:
        raise UsageError(
            f"{text[:64]!r}: expected a transaction ID such as 2.15, or a seqno", code="txid-malformed"
        ) from None
    return txid.seqno, txid


_ENTRY_TYPES = {
    0: "write set",
    2: "write set, claims",
    3: "write set, commit evidence",
    4: "write set, claims, commit evidence",
}


def _transaction_lines(transaction: Transaction, writes: Writes) -> Iterator[str]:
    private = transaction.private_size
    claims = transaction.claims_digest
    evidence = transaction.commit_evidence_digest
    flags = [name for bit, name in ((1, "close chunk after"), (2, "new chunk before")) if transaction.flags & bit]
    fields = {
        "file": transaction.file or "",
        "offset": f"{transaction.offset}, {transaction.size:,} bytes "
        f"(public {len(transaction.public_domain):,}, private {private:,})",
        "entry type": f"{transaction.entry_type} ({_ENTRY_TYPES.get(transaction.entry_type, 'unknown')})",
        "flags": f"{transaction.flags} ({', '.join(flags) or 'none'})",
        "GCM tag": transaction.gcm_tag.hex(),
        "GCM IV": transaction.gcm_iv.hex(),
        "write set": transaction.write_set_digest.hex(),
        "evidence": "none" if evidence is None else evidence.hex(),
        "claims": "none" if claims is None else "none (zeros)" if claims == NO_CLAIMS else claims.hex(),
        "leaf": transaction.leaf.hex(),
    }
    yield f"Transaction {transaction.txid}" + (", a signature transaction" if transaction.is_signature else "")
    for name, value in fields.items():
        # A file name is cut at its front: its end says more.
        shown = printable(value)
        yield cut(f"  {name:<12}  {shown if len(shown) <= WIDTH - 16 else '…' + shown[-(WIDTH - 17) :]}", WIDTH)
    if transaction.max_conflict_version:
        yield f"  {'conflicts':<12}  {transaction.max_conflict_version}"
    for table, rows in writes.items():
        yield ""
        yield from _table_lines(table, rows)


def _table_lines(table: str, rows: dict[bytes, bytes | None]) -> Iterator[str]:
    yield cut(printable(table), WIDTH)
    info = CATALOGUE.get(table)
    if info is not None:
        yield cut(f"  {info.meaning}", WIDTH)
    for key, value in rows.items():
        name = printable(decode_key(table, key).line())
        yield cut(f"  {name}" + ("  (removed)" if value is None else ""), WIDTH)
        if value is not None:
            yield from value_lines(table, value, 4)


# ------------------------------------------------------------------------------------------------ state


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--at", type=click.IntRange(min=1), metavar="SEQNO", help="As of this seqno; default: the last one.")
@click.option("--snapshot", metavar="FILE", help="Start from this snapshot instead of the first transaction.")
@_tables_option
@_key_option
@click.option("--full", is_flag=True, help="Show values in full.")
@_common
def state(
    paths: tuple[str, ...],
    at: int | None,
    snapshot: str | None,
    tables: str | None,
    key: str | None,
    full: bool,
    uncommitted: bool,
    recovery: bool,
    style: str,
    quiet: bool,
) -> int:
    """Show the public state after a transaction: every public table, by replaying the ledger.

    A ledger that does not begin at seqno 1 needs a snapshot to start from. Nothing is verified.
    """
    if not paths and snapshot is None:
        raise UsageError("expected PATH..., or --snapshot FILE", code="argument-missing")
    keys = None if key is None else parse_key(key)
    select = table_filter(tables)
    ledger = open_ledger(paths, uncommitted=uncommitted, recovery=recovery, quiet=quiet) if paths else None
    found = public_state(ledger, at, snapshot=snapshot, select=select)
    output = Output(style)
    if output.is_text:
        _state_text(output, found, keys, full)
    else:
        _state_json(output, found, keys)
    if (tables or key) and not any(keys is None or not keys.isdisjoint(rows) for rows in found.tables.values()):
        note(f"note: no row of a public table fits --tables or --key at seqno {found.seqno}", quiet)
    note(_UNVERIFIED, quiet)
    return ExitStatus.OK


def _state_text(output: Output, found: PublicState, keys: frozenset[bytes] | None, full: bool) -> None:
    output.line(f"Public state at seqno {found.seqno}")
    for table in sorted(found.tables):
        rows = {key: row for key, row in found.tables[table].items() if keys is None or key in keys}
        if keys is not None and not rows:
            continue
        count = "1 row" if len(rows) == 1 else f"{len(rows):,} rows"
        output.line("")
        output.line(cut(printable(table), WIDTH - len(count) - 2) + f"  {count}")
        for key in sorted(rows):
            row = rows[key]
            for line in row_lines(table, key, row.value, indent=2, full=full, note=f"@{row.seqno}"):
                output.line(line)


def _state_json(output: Output, found: PublicState, keys: frozenset[bytes] | None) -> None:
    with output.document("tallystick.state/1", {"seqno": found.seqno}, "rows") as document:
        for table in sorted(found.tables):
            for key in sorted(found.tables[table]):
                if keys is None or key in keys:
                    row = found.tables[table][key]
                    document.item({"table": table, **rows_json(table, key, row.value, row.seqno)})


# ---------------------------------------------------------------------------------------------- history


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH... TABLE KEY")
@click.option("--range", "seqnos", metavar="A:B", help="Only seqnos A to B, both included.")
@click.option("--full", is_flag=True, help="Show values in full.")
@_common
def history(
    paths: tuple[str, ...],
    seqnos: str | None,
    full: bool,
    uncommitted: bool,
    recovery: bool,
    style: str,
    quiet: bool,
) -> int:
    """Show every write and remove of a key in a public table, in ledger order.

    KEY is text, 0x… hex, or a number; a table with one value has the key 0. Nothing is verified.
    """
    if len(paths) < 3:
        raise UsageError("expected PATH..., then TABLE and KEY", code="argument-missing")
    *places, table, key = paths
    first, last = parse_range(seqnos)
    keys = parse_key(key)
    ledger = open_ledger(places, uncommitted=uncommitted, recovery=recovery, quiet=quiet)
    output = Output(style)
    writes = key_history(ledger, table, keys, first=first, last=last)
    if output.is_text:
        count = _history_text(output, table, writes, full)
        if not count:
            note(f"note: {table} never had the key {key}", quiet)
    else:
        with output.document("tallystick.history/1", {"table": table}, "writes") as document:
            for write in writes:
                document.item(_write_json(table, write))
    note(_UNVERIFIED, quiet)
    return ExitStatus.OK


def _history_text(output: Output, table: str, writes: Iterable[KeyWrite], full: bool) -> int:
    count = 0
    for write in writes:
        count += 1
        txid = f"{write.transaction.txid!s:<12}"
        if full:
            output.line(txid.rstrip() + ("  (removed)" if write.value is None else ""))
            for line in () if write.value is None else value_lines(table, write.value, 4):
                output.line(line)
        else:
            output.line(f"{txid}  {short_value(table, write.value, WIDTH - len(txid) - 2)}")
    return count


def _write_json(table: str, write: KeyWrite) -> dict[str, object]:
    transaction = write.transaction
    (row,) = writes_json(table, {write.key: write.value})
    return {
        "txid": str(transaction.txid),
        "seqno": transaction.seqno,
        "file": transaction.file,
        "offset": transaction.offset,
        **row,
    }
