"""Every format holds every transaction and write, equal to what reading the ledger gives."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support.run import Outcome, tallystick
from support.services import base, new_service, recovered_base
from tallystick import Ledger
from tallystick._native import MerkleTree

Row = dict[str, Any]
Rows = tuple[list[Row], list[Row]]

FORMATS = ("sqlite", "parquet", "csv", "jsonl")

csv.field_size_limit(sys.maxsize)


def expected(directory: Path, *, allow_gaps: bool = False) -> Rows:
    """What a loop over the ledger says; signature and root found out the slow way."""
    transactions: list[Row] = []
    writes: list[Row] = []
    tree, uncovered = MerkleTree(), 0
    for item in Ledger(directory, uncommitted=True, allow_gaps=allow_gaps):
        if item.is_signature:
            for row in transactions[uncovered:]:
                row["signed_by"], row["root"] = item.seqno, tree.root_at(tree.size)
            uncovered = len(transactions)
        tree.append(item.leaf)
        names = ("entry_type", "flags", "offset", "size", "write_set_digest", "commit_evidence_digest", "claims_digest")
        transactions.append(
            {
                "view": item.view,
                "seqno": item.seqno,
                "file": item.file,
                "is_signature": item.is_signature,
                "private_size": item.private_size,
                "leaf": item.leaf,
                "signed_by": None,
                "root": None,
                **{name: getattr(item, name) for name in names},
            }
        )
        for table, changes in item.tables.items():
            writes += [
                {"view": item.view, "seqno": item.seqno, "table_name": table, "key": key, "value": value,
                 "removed": value is None}
                for key, value in changes.items()
            ]  # fmt: skip
    return transactions, writes


# --------------------------------------------------------------------------------------------- reading back


def _from_sqlite(path: Path) -> Rows:
    database = sqlite3.connect(path)
    database.row_factory = sqlite3.Row
    found = []
    for table in ("transactions", "writes"):
        rows = [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY seqno")]  # noqa: S608 -- ours
        for row in rows:
            assert row.pop("txid") == f"{row['view']}.{row['seqno']}"
            for name in ("is_signature", "removed"):
                if name in row:
                    row[name] = bool(row[name])
        found.append(rows)
    assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    database.close()
    return found[0], found[1]


def _from_parquet(path: Path) -> Rows:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    found = []
    for table in ("transactions", "writes"):
        rows = parquet.read_table(path / f"{table}.parquet").to_pylist()
        for row in rows:
            assert row.pop("txid") == f"{row['view']}.{row['seqno']}"
        found.append(rows)
    return found[0], found[1]


def _hex(text: str | None) -> bytes | None:
    return bytes.fromhex(text.removeprefix("0x")) if text else None


def _from_csv(path: Path) -> Rows:
    found = []
    for table in ("transactions", "writes"):
        with (path / f"{table}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row.pop("key_text", None)
            row.pop("value_text", None)
            for name, value in row.items():
                if name.endswith("digest") or name in ("leaf", "root", "key", "value"):
                    row[name] = _hex(value)
                elif name in ("is_signature", "removed"):
                    row[name] = {"true": True, "false": False}[value]
                elif name == "table_name":
                    row[name] = bytes.fromhex(value[2:]).decode() if value.startswith("0x") else value
                elif name != "file":
                    row[name] = int(value) if value else None
        found.append(rows)
    return found[0], found[1]


def _from_jsonl(path: Path) -> Rows:
    found = []
    for table in ("transactions", "writes"):
        rows = [json.loads(line) for line in (path / f"{table}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
        for row in rows:
            assert row.pop("txid") == f"{row['view']}.{row['seqno']}"
            for name in ("key", "value"):
                text = row.pop(f"{name}_text", None)
                if text is not None:
                    assert _hex(row[name]) == text.encode()
            for name, value in row.items():
                if name.endswith("digest") or name in ("leaf", "root", "key", "value"):
                    # A value of no bytes is "0x", no value is null.
                    row[name] = None if value is None else bytes.fromhex(value.removeprefix("0x"))
        found.append(rows)
    return found[0], found[1]


READERS: dict[str, Callable[[Path], Rows]] = {
    "sqlite": _from_sqlite,
    "parquet": _from_parquet,
    "csv": _from_csv,
    "jsonl": _from_jsonl,
}


def metadata(kind: str, path: Path) -> dict[str, Any]:
    if kind != "sqlite":
        return json.loads((path / "export.json").read_text(encoding="utf-8"))
    database = sqlite3.connect(path)
    rows = dict(database.execute("SELECT name, value FROM metadata"))
    database.close()
    return {name: value if name in ("schema", "tallystick") else json.loads(value) for name, value in rows.items()}


def run(kind: str, directory: Path, target: Path, *options: str | Path) -> Outcome:
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    return tallystick("export", directory, "--uncommitted", "--to", kind, "-o", target, *options)


def assert_same(found: Rows, wanted: Rows) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        assert len(ours) == len(theirs)
        for row, other in zip(ours, theirs, strict=True):
            assert row == other


# ------------------------------------------------------------------------------------------------- content


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("style", ["1.x", "4.x", "6.x", "7.x"])
def test_every_row_is_there(style: str, kind: str, tmp_path: Path) -> None:
    certificate = tmp_path / "service.pem"
    certificate.write_bytes(base(style).certificates[0])

    outcome = run(kind, base(style).directory, tmp_path / "out", "--service-cert", certificate)

    assert outcome.exit_code == 0, outcome
    wanted = expected(base(style).directory)
    assert_same(READERS[kind](tmp_path / "out"), wanted)
    said = metadata(kind, tmp_path / "out")
    assert said["verified"] is True
    assert said["verdict"]["proven"]["last_seqno"] == wanted[0][-1]["seqno"]
    assert (said["rows"]["transactions"], said["rows"]["writes"]) == (len(wanted[0]), len(wanted[1]))


@pytest.mark.parametrize("kind", FORMATS)
def test_real_ledgers(kind: str, ledgers: Path, tmp_path: Path) -> None:
    seen = 0
    for directory in sorted(path for path in ledgers.rglob("*") if path.is_dir() and list(path.glob("ledger_*"))):
        target = tmp_path / f"out-{seen}"
        outcome = run(kind, directory, target)
        assert outcome.exit_code in (0, 1), (directory, outcome)
        found, wanted = READERS[kind](target), expected(directory, allow_gaps=True)
        if wanted[0][0]["seqno"] != 1:
            # The slow way to roots begins at the first transaction.
            for row in (*found[0], *wanted[0]):
                row["signed_by"] = row["root"] = None
        assert_same(found, wanted)
        seen += 1
    assert seen >= 5


EVIL = {
    "public:=cmd|' /C calc'!A0": {b"=1+1": b"@SUM(A1:A9)", b"-2": b"+3", b"\t=x": b"\r=y", "＝1".encode(): b"-1"},
    'public:a,"b"\n\x00\x1b[31m\u202e': {b"": b"", b"\x00": b"\xff\xfe\x00", b"\xff": "\u202eabc\u2028".encode()},
    "public:text": {
        b'a,"b"\r\nc': b'"',
        b"nul\x00nul": b"x" * 200_000,
        b"gone": None,
        "ключ🙂".encode(): "e\u0301".encode(),
    },
}


@cache
def evil_ledger(directory: Path) -> Path:
    service = new_service(directory / '=evil, "ledger"')
    service.genesis()
    service.open()
    service.append(EVIL)
    service.append({"public:text": {b"gone": None, b"%d" % 2**64: b"1e10"}})
    service.sign()
    service.append({"public:text": {b"after": b"the last signature"}})
    service.leave_chunk_open()
    return directory / '=evil, "ledger"'


@pytest.mark.parametrize("kind", FORMATS)
def test_hostile_values(kind: str, tmp_path: Path) -> None:
    ledger = evil_ledger(tmp_path)

    assert run(kind, ledger, tmp_path / "out").exit_code == 0

    found = READERS[kind](tmp_path / "out")
    wanted = expected(ledger)
    assert_same(found, wanted)
    assert found[0][-1]["signed_by"] is None, "the tail is not signed"
    assert found[0][-2]["signed_by"] is None, "no later signature covers the last one"


def test_no_cell_passes_for_a_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = evil_ledger(tmp_path)
    monkeypatch.chdir(ledger.parent)

    assert run("csv", Path(ledger.name), tmp_path / "out").exit_code == 0

    texts = set()
    for path in sorted((tmp_path / "out").glob("*.csv")):
        content = path.read_bytes()
        assert b"\x00" not in content
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                for cell in row:
                    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝"))
                    texts.add(cell)
    assert {"'=1+1", "'@SUM(A1:A9)", "'＝1", "ключ🙂", "e\u0301"} <= texts
    assert any(cell.startswith("'=evil, ") for cell in texts)


# ------------------------------------------------------------------------------------------------- verdicts


def test_without_an_anchor_it_says_unverified(tmp_path: Path) -> None:
    outcome = run("jsonl", base("6.x").directory, tmp_path / "out")

    assert outcome.exit_code == 0
    assert "UNDECIDED" in outcome.stdout
    said = metadata("jsonl", tmp_path / "out")
    assert said["verified"] is False
    assert said["verdict"]["verdict"] == "undecided"
    assert said["verdict"]["anchor"] == {"kind": "none", "service_key_sha256": None}


def test_with_another_anchor_it_is_undecided_or_worse(tmp_path: Path) -> None:
    outcome = run("jsonl", base("6.x").directory, tmp_path / "out", "--service-key-sha256", "ab" * 32)

    assert outcome.exit_code in (1, 3)
    assert metadata("jsonl", tmp_path / "out")["verified"] is False


@pytest.mark.parametrize("kind", FORMATS)
def test_a_tampered_ledger_is_exported_as_what_it_is(kind: str, tmp_path: Path) -> None:
    certificate = tmp_path / "service.pem"
    certificate.write_bytes(base("6.x").certificates[0])
    copy = base("6.x").copy(tmp_path / "ledger")
    content = copy.last_committed.read_bytes()
    copy.last_committed.write_bytes(content.replace(b"public value", b"public VALUE"))
    assert content != copy.last_committed.read_bytes()

    outcome = run(kind, copy.directory, tmp_path / "out", "--service-cert", certificate)

    assert outcome.exit_code == 1
    said = metadata(kind, tmp_path / "out")
    assert (said["verified"], said["verdict"]["verdict"]) == (False, "failed")
    transactions, writes = READERS[kind](tmp_path / "out")
    assert len(transactions) == len(expected(base("6.x").directory)[0])
    assert any(row["value"] is not None and b"public VALUE" in row["value"] for row in writes)
    # No signature covers what was changed: its leaf is in no root that was signed.
    changed = {row["seqno"] for row in writes if row["value"] is not None and b"public VALUE" in row["value"]}
    assert all(row["signed_by"] is None for row in transactions if row["seqno"] in changed)


# ---------------------------------------------------------------------------------------- parts and damage


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_gap_is_exported_around(kind: str, tmp_path: Path) -> None:
    copy = recovered_base("6.x").copy(tmp_path / "ledger")
    next(copy.directory.glob("ledger_3-*")).unlink()

    outcome = run(kind, copy.directory, tmp_path / "out")

    assert outcome.exit_code in (0, 1), outcome
    found, wanted = READERS[kind](tmp_path / "out"), expected(copy.directory, allow_gaps=True)
    assert [row["seqno"] for row in found[0]] == [row["seqno"] for row in wanted[0]]
    assert [row["file"] for row in found[0]] == [row["file"] for row in wanted[0]]
    assert found[1] == wanted[1]


def test_what_is_no_transaction_is_an_error(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    content = bytearray(copy.last_committed.read_bytes())
    at = content.index(b"public:records")
    content[at : at + 6] = b"secret"
    copy.last_committed.write_bytes(content)

    outcome = run("sqlite", copy.directory, tmp_path / "out")

    assert outcome.exit_code == 3
    assert "domain-map-prefix" in outcome.stderr
    assert str(copy.last_committed) in outcome.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger"]


def test_an_empty_directory_is_no_export(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()

    assert run("csv", tmp_path / "ledger", tmp_path / "out").exit_code == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger"]


# -------------------------------------------------------------------------------------------- all or nothing


@pytest.mark.parametrize("kind", FORMATS)
def test_an_interrupted_export_leaves_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tallystick.export.exporter import Exporter

    def interrupted(self: Exporter, batch: object, path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Exporter, "observe", interrupted)

    assert run(kind, base("6.x").directory, tmp_path / "out").exit_code == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_a_name_that_is_taken_stays_as_it_is(kind: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")

    outcome = run(kind, base("6.x").directory, tmp_path / "out")

    assert outcome.exit_code == 2
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_name_that_is_taken_meanwhile_stays_as_it_is(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tallystick.export.exporter import Exporter

    finish = Exporter.finish

    def slow(self: Exporter) -> None:
        (tmp_path / "out").write_text("theirs")
        finish(self)

    monkeypatch.setattr(Exporter, "finish", slow)

    assert run(kind, base("6.x").directory, tmp_path / "out").exit_code == 2
    assert (tmp_path / "out").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_usage(tmp_path: Path) -> None:
    assert run("csv", base("6.x").directory, tmp_path / "absent" / "out").exit_code == 2
    assert tallystick("export", base("6.x").directory, "-o", tmp_path / "out").exit_code == 2
    assert tallystick("export", tmp_path / "absent", "--to", "csv", "-o", tmp_path / "out").exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    outcome = tallystick("export", base("6.x").directory, "--to", "parquet", "-o", tmp_path / "out")

    assert outcome.exit_code == 2
    assert "tallystick[export]" in outcome.stderr
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------- SQL


def _plan(database: sqlite3.Connection, query: str) -> Iterator[str]:
    yield from (row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {query}"))


def test_the_history_of_a_key_needs_no_scan(tmp_path: Path) -> None:
    assert run("sqlite", base("6.x").directory, tmp_path / "out").exit_code == 0
    database = sqlite3.connect(tmp_path / "out")
    query = "SELECT * FROM history WHERE table_name = 'public:records' AND key = CAST('key 0' AS BLOB) ORDER BY seqno"

    assert all(step.startswith("SEARCH") for step in _plan(database, query))
    assert all(step.startswith("SEARCH") for step in _plan(database, "SELECT * FROM writes WHERE seqno = 20"))
    rows = database.execute(query).fetchall()
    database.close()
    assert len(rows) == sum(
        row["table_name"] == "public:records" and row["key"] == b"key 0" for row in expected(base("6.x").directory)[1]
    )
