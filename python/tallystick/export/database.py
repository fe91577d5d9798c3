"""Exports as an SQLite database, one file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from tallystick._native import TransactionRows, WriteRows
from tallystick.errors import LimitExceededError
from tallystick.export.exporter import SignatureRow

__all__ = ["SqliteSink"]

# Rows that are Python objects at a time; one transaction may have millions.
_SLICE = 8_192

# Paths and names of tables are kept once. The views are what is meant to be read; docs/export.md describes them.
_SCHEMA = """
CREATE TABLE metadata (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (id INTEGER PRIMARY KEY, path TEXT NOT NULL);
CREATE TABLE table_names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE transaction_rows (
  seqno INTEGER PRIMARY KEY, view INTEGER NOT NULL, entry_type INTEGER NOT NULL, flags INTEGER NOT NULL,
  is_signature INTEGER NOT NULL, file_id INTEGER NOT NULL REFERENCES files (id), "offset" INTEGER NOT NULL,
  size INTEGER NOT NULL, private_size INTEGER NOT NULL, write_set_digest BLOB NOT NULL, commit_evidence_digest BLOB,
  claims_digest BLOB, leaf BLOB NOT NULL, signed_by INTEGER REFERENCES signatures (seqno));
CREATE TABLE write_rows (
  seqno INTEGER NOT NULL REFERENCES transaction_rows (seqno), table_id INTEGER NOT NULL REFERENCES table_names (id),
  key BLOB NOT NULL, value BLOB);
CREATE TABLE signatures (
  seqno INTEGER PRIMARY KEY, view INTEGER NOT NULL, root BLOB, root_matches INTEGER NOT NULL, first_covered INTEGER,
  node_id TEXT, service_key_sha256 TEXT, issued_at INTEGER,
  txid TEXT GENERATED ALWAYS AS (view || '.' || seqno) VIRTUAL);
CREATE VIEW transactions AS
  SELECT t.view || '.' || t.seqno AS txid, t.view, t.seqno, t.entry_type, t.flags, t.is_signature, f.path AS file,
    t."offset", t.size, t.private_size, t.write_set_digest, t.commit_evidence_digest, t.claims_digest, t.leaf,
    t.signed_by, s.root
  FROM transaction_rows t JOIN files f ON f.id = t.file_id LEFT JOIN signatures s ON s.seqno = t.signed_by;
CREATE VIEW writes AS
  SELECT t.view || '.' || w.seqno AS txid, t.view, w.seqno, n.name AS table_name, w.key, w.value,
    w.value IS NULL AS removed
  FROM write_rows w JOIN table_names n ON n.id = w.table_id JOIN transaction_rows t ON t.seqno = w.seqno;
CREATE VIEW history AS
  SELECT t.view || '.' || w.seqno AS txid, t.view, w.seqno, n.name AS table_name, w.key, w.value,
    w.value IS NULL AS removed, f.path AS file, t."offset", t.write_set_digest, t.commit_evidence_digest,
    t.claims_digest, t.leaf, t.signed_by, s.root
  FROM write_rows w JOIN table_names n ON n.id = w.table_id JOIN transaction_rows t ON t.seqno = w.seqno
    JOIN files f ON f.id = t.file_id LEFT JOIN signatures s ON s.seqno = t.signed_by;
"""

_INDEXES = """
CREATE INDEX writes_by_key ON write_rows (table_id, key, seqno);
CREATE INDEX writes_by_seqno ON write_rows (seqno);
"""

_INSERT_TRANSACTION = "INSERT INTO transaction_rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_WRITE = "INSERT INTO write_rows (seqno, table_id, key, value) VALUES (?, ?, ?, ?)"
_INSERT_SIGNATURE = "INSERT INTO signatures VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class SqliteSink:
    """Writes a database that nobody else knows of yet: no journal is needed, for a broken one is thrown away.

    Args:
        path: a file that is not there.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -65536; PRAGMA threads = 2;"
        )
        self._database.executescript(_SCHEMA)
        self._database.execute("BEGIN")
        self._files: dict[str, int] = {}
        self._tables: dict[str, int] = {}

    def transactions(self, rows: TransactionRows, file: str) -> None:
        """See :class:`tallystick.export.exporter.Sink`."""
        number = self._number("files", self._files, file)
        for start in range(0, len(rows), _SLICE):
            self._insert(_INSERT_TRANSACTION, rows.tuples(start, start + _SLICE, number))

    def writes(self, rows: WriteRows) -> None:
        """See :class:`tallystick.export.exporter.Sink`."""
        tables = [self._number("table_names", self._tables, name) for name in rows.tables]
        for start in range(0, len(rows), _SLICE):
            self._insert(_INSERT_WRITE, rows.tuples(start, start + _SLICE, tables))

    def signatures(self, rows: Sequence[SignatureRow]) -> None:
        """See :class:`tallystick.export.exporter.Sink`."""
        self._insert(_INSERT_SIGNATURE, rows)

    def _insert(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            self._database.executemany(statement, rows)
        except (sqlite3.DataError, OverflowError) as error:
            raise LimitExceededError(f"SQLite cannot hold a value: {error}") from error

    def _number(self, table: str, known: dict[str, int], name: str) -> int:
        number = known.get(name)
        if number is None:
            number = known[name] = len(known) + 1
            self._database.execute(f"INSERT INTO {table} VALUES (?, ?)", (number, name))  # noqa: S608 -- ours
        return number

    def finish(self, metadata: Mapping[str, object]) -> None:
        """Adds what the export says of itself, indexes, and closes the file."""
        texts = ((name, value if isinstance(value, str) else json.dumps(value)) for name, value in metadata.items())
        self._database.executemany("INSERT INTO metadata VALUES (?, ?)", texts)
        self._database.execute("COMMIT")
        self._database.executescript(_INDEXES)
        self.close()

    def close(self) -> None:
        """Closes the file, as it is."""
        self._database.close()
