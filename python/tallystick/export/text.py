"""Exports as CSV or JSON lines: a directory with a file a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from tallystick._native import CSV_TRANSACTIONS_HEADER, CSV_WRITES_HEADER, TransactionRows, WriteRows
from tallystick.export.exporter import SignatureRow
from tallystick.export.metadata import write_metadata

__all__ = ["CsvSink", "JsonlSink"]

# Rows that are turned into text at a time; one transaction may have millions.
_SLICE = 16_384

_BUFFER_BYTES = 1 << 20


class _TextSink:
    """Three files that grow."""

    suffix = ""
    headers = ("", "", "")

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = ExitStack()
        names = ("transactions", "writes", "signatures")
        self._transactions, self._writes, self._signatures = (self._open(directory / name) for name in names)
        for file, header in zip((self._transactions, self._writes, self._signatures), self.headers, strict=True):
            file.write(header.encode())

    def _open(self, path: Path) -> BinaryIO:
        return self._files.enter_context(path.with_suffix(self.suffix).open("xb", buffering=_BUFFER_BYTES))

    def finish(self, metadata: Mapping[str, object]) -> None:
        """Writes what is buffered, and what the export says of itself."""
        self.close()
        write_metadata(self._directory, metadata)

    def close(self) -> None:
        """Closes the files, as they are."""
        self._files.close()


def _in_slices(file: BinaryIO, count: int, text: Callable[[int, int], bytes]) -> None:
    for start in range(0, count, _SLICE):
        file.write(text(start, start + _SLICE))


class CsvSink(_TextSink):
    """CSV. ``view`` and ``seqno`` stand for the transaction ID, for ``2.10`` would be read as the number 2.1."""

    suffix = ".csv"
    headers = (CSV_TRANSACTIONS_HEADER, CSV_WRITES_HEADER, ",".join(SignatureRow._fields) + "\n")

    def transactions(self, rows: TransactionRows, file: str) -> None:
        """See :class:`tallystick.export.exporter.Sink`."""
        _in_slices(self._transactions, len(rows), lambda start, stop: rows.csv(start, stop, file))

    def writes(self, rows: WriteRows) -> None:
        """See :class:`tallystick.export.exporter.Sink`."""
        _in_slices(self._writes, len(rows), rows.csv)

    def signatures(self, rows: Sequence[SignatureRow]) -> None:
        """See :class:`tallystick.export.exporter.Sink`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row in rows:
            root = "" if row.root is None else row.root.hex()
            writer.writerow(row._replace(root=root, root_matches=str(row.root_matches).lower()))  # type: ignore[arg-type]  # cells
        self._signatures.write(text.getvalue().encode())


class JsonlSink(_TextSink):
    """JSON, an object a line."""

    suffix = ".jsonl"

    def transactions(self, rows: TransactionRows, file: str) -> None:
        """See :class:`tallystick.export.exporter.Sink`."""
        _in_slices(self._transactions, len(rows), lambda start, stop: rows.jsonl(start, stop, file))

    def writes(self, rows: WriteRows) -> None:
        """See :class:`tallystick.export.exporter.Sink`."""
        _in_slices(self._writes, len(rows), rows.jsonl)

    def signatures(self, rows: Sequence[SignatureRow]) -> None:
        """See :class:`tallystick.export.exporter.Sink`."""
        for row in rows:
            values = {"txid": f"{row.view}.{row.seqno}", **row._asdict(), "root": row.root.hex() if row.root else None}
            self._signatures.write(json.dumps(values, separators=(",", ":")).encode() + b"\n")
