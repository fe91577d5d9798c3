"""Exports as Apache Parquet: a directory with a file a table. Needs pyarrow (the extra ``export``).

The native module lays columns out as Arrow does; pyarrow takes them as they are, and encodes and compresses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tallystick._native import TransactionRows, WriteRows
from tallystick.errors import UsageError
from tallystick.export.exporter import SignatureRow
from tallystick.export.metadata import write_metadata

__all__ = ["ParquetSink"]

# Rows, and bytes of what they hold, that make a row group: what is in memory at a time, and what a reader can skip.
_GROUP_ROWS = 131_072
_GROUP_BYTES = 48 << 20

_DIGEST_BYTES = 32


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed", hint="pip install 'tallystick[export]'"
        ) from error
    return pyarrow, pyarrow.parquet


class _Table:
    """One Parquet file."""

    def __init__(
        self,
        path: Path,
        schema: Any,
        *,
        repetitive: Sequence[str],
        gradual: Sequence[str],
        incompressible: Sequence[str] = (),
    ) -> None:
        self._arrow, parquet = _pyarrow()
        self.schema = schema
        # Digests do not compress, and numbers that go up in small steps are small already; trying costs time.
        bare = {*gradual, *incompressible}
        self._writer = parquet.ParquetWriter(
            path,
            schema,
            use_dictionary=list(repetitive),
            column_encoding=dict.fromkeys(gradual, "DELTA_BINARY_PACKED"),
            compression={name: "NONE" if name in bare else "ZSTD" for name in schema.names},
            compression_level={name: 1 for name in schema.names if name not in bare},
            write_statistics=[name for name in schema.names if name not in incompressible and name != "value"],
            write_page_index=True,
        )
        self._waiting: list[Any] = []
        self._rows = self._bytes = 0
        # Encoding goes on while the next rows are read: one row group a table at a time.
        self._encoder = ThreadPoolExecutor(max_workers=1)
        self._encoding: Future[None] | None = None

    def add(self, columns: Sequence[Any]) -> None:
        """Takes rows, and writes a row group when there are enough."""
        batch = self._arrow.RecordBatch.from_arrays(columns, schema=self.schema)
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            table = self._arrow.Table.from_batches(self._waiting, schema=self.schema)
            self._wait()
            self._encoding = self._encoder.submit(self._writer.write_table, table, row_group_size=self._rows)
        self._waiting, self._rows, self._bytes = [], 0, 0

    def _wait(self) -> None:
        """For the row group that is being written; raises what went wrong with it."""
        if self._encoding is not None:
            self._encoding.result()
            self._encoding = None

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Writes the rest and the footer."""
        self._write()
        self._wait()
        self._writer.add_key_value_metadata(dict(metadata))
        self._writer.close()

    def close(self) -> None:
        """Ends the thread."""
        self._encoder.shutdown()


class ParquetSink:
    """Writes three Parquet files.

    Args:
        directory: an empty one.

    Raises:
        UsageError: pyarrow is not installed.
    """

    def __init__(self, directory: Path) -> None:
        arrow, _ = _pyarrow()
        self._arrow = arrow
        self._directory = directory
        number, small, text, truth = arrow.int64(), arrow.uint8(), arrow.string(), arrow.bool_()
        self._digest = arrow.binary(_DIGEST_BYTES)
        self._transactions = _Table(
            directory / "transactions.parquet",
            arrow.schema(
                [
                    ("txid", text), ("view", number), ("seqno", number), ("entry_type", small), ("flags", small),
                    ("is_signature", truth), ("file", text), ("offset", number), ("size", number),
                    ("private_size", number), ("write_set_digest", self._digest),
                    ("commit_evidence_digest", self._digest), ("claims_digest", self._digest),
                    ("leaf", self._digest), ("signed_by", number), ("root", self._digest),
                ]
            ),
            repetitive=["view", "entry_type", "flags", "file", "claims_digest", "signed_by", "root"],
            gradual=["seqno", "offset", "size", "private_size"],
            incompressible=["write_set_digest", "commit_evidence_digest", "leaf"],
        )  # fmt: skip
        self._writes = _Table(
            directory / "writes.parquet",
            arrow.schema(
                [
                    ("txid", text), ("view", number), ("seqno", number), ("table_name", text),
                    ("key", arrow.binary()), ("value", arrow.binary()), ("removed", truth),
                ]
            ),
            repetitive=["view", "table_name"],
            gradual=["seqno"],
        )  # fmt: skip
        self._signatures = _Table(
            directory / "signatures.parquet",
            arrow.schema(
                [
                    ("txid", text), ("seqno", number), ("view", number), ("root", self._digest),
                    ("root_matches", truth), ("first_covered", number), ("node_id", text),
                    ("service_key_sha256", text), ("issued_at", number),
                ]
            ),
            repetitive=["view", "node_id", "service_key_sha256"],
            gradual=["seqno", "first_covered"],
            incompressible=["root"],
        )  # fmt: skip

    # -------------------------------------------------------------------------------------------- columns

    def _plain(self, kind: Any, count: int, data: bytes, valid: bytes | None = None) -> Any:
        buffers = [None if valid is None else self._arrow.py_buffer(valid), self._arrow.py_buffer(data)]
        return self._arrow.Array.from_buffers(kind, count, buffers)

    def _numbers(self, count: int, buffers: Mapping[str, bytes], name: str, valid: bytes | None = None) -> Any:
        return self._plain(self._arrow.int64(), count, buffers[name], valid)

    def _digests(self, count: int, buffers: Mapping[str, bytes], name: str) -> Any:
        return self._plain(self._digest, count, buffers[name], buffers.get(name + "?"))

    def _repeated(self, value: str, count: int) -> Any:
        return self._arrow.repeat(self._arrow.scalar(value, self._arrow.string()), count)

    # ------------------------------------------------------------------------------------------------ rows

    def transactions(self, rows: TransactionRows, file: str) -> None:
        """See :class:`tallystick.export.exporter.Sink`."""
        count, buffers, arrow = len(rows), rows.buffers(), self._arrow
        view, seqno = self._numbers(count, buffers, "view"), self._numbers(count, buffers, "seqno")
        self._transactions.add(
            [
                self._binary(arrow.string(), count, buffers, "txid"),
                view,
                seqno,
                self._plain(arrow.uint8(), count, buffers["entry_type"]),
                self._plain(arrow.uint8(), count, buffers["flags"]),
                self._plain(arrow.bool_(), count, buffers["is_signature"]),
                self._repeated(file, count),
                *(self._numbers(count, buffers, name) for name in ("offset", "size", "private_size")),
                *(
                    self._digests(count, buffers, name)
                    for name in ("write_set_digest", "commit_evidence_digest", "claims_digest", "leaf")
                ),
                self._numbers(count, buffers, "signed_by", buffers["root?"]),
                self._digests(count, buffers, "root"),
            ]
        )

    def writes(self, rows: WriteRows) -> None:
        """See :class:`tallystick.export.exporter.Sink`."""
        count, buffers, arrow = len(rows), rows.buffers(), self._arrow
        view, seqno = self._numbers(count, buffers, "view"), self._numbers(count, buffers, "seqno")
        tables = arrow.DictionaryArray.from_arrays(
            self._plain(arrow.int32(), count, buffers["table"]), arrow.array(rows.tables, arrow.string())
        )
        self._writes.add(
            [
                self._binary(arrow.string(), count, buffers, "txid"),
                view,
                seqno,
                tables.dictionary_decode(),
                self._binary(arrow.binary(), count, buffers, "key"),
                self._binary(arrow.binary(), count, buffers, "value"),
                self._plain(arrow.bool_(), count, buffers["removed"]),
            ]
        )

    def _binary(self, kind: Any, count: int, buffers: Mapping[str, bytes], name: str) -> Any:
        parts = [buffers.get(name + "?"), buffers[name + "_offsets"], buffers[name]]
        wrapped = [None if part is None else self._arrow.py_buffer(part) for part in parts]
        return self._arrow.Array.from_buffers(kind, count, wrapped)

    def signatures(self, rows: Sequence[SignatureRow]) -> None:
        """See :class:`tallystick.export.exporter.Sink`."""
        columns = [[f"{row.view}.{row.seqno}" for row in rows], *zip(*rows, strict=True)]
        kinds = self._signatures.schema.types
        self._signatures.add(
            [self._arrow.array(list(values), kind) for values, kind in zip(columns, kinds, strict=True)]
        )

    def finish(self, metadata: Mapping[str, object]) -> None:
        """Adds what the export says of itself to every file, and closes them."""
        texts = {"tallystick.export": json.dumps(metadata)}
        for table in (self._transactions, self._writes, self._signatures):
            table.finish(texts)
        write_metadata(self._directory, metadata)

    def close(self) -> None:
        """Leaves the files as they are."""
        for table in (self._transactions, self._writes, self._signatures):
            table.close()
