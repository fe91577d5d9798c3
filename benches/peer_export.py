"""Runs inside the official package's interpreter: exports a ledger with a loop over ``ccf.ledger``.

Usage: PYTHON peer_export.py LEDGER TARGET. The same two tables as ``tallystick export``, as Parquet where pyarrow is
there and as CSV where it is not; the answer is a JSON object on stdout. It verifies nothing, which ours does.
"""

import csv
import json
import sys
import warnings
from pathlib import Path

import ccf.ledger

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    pyarrow = None

warnings.simplefilter("ignore")

GROUP_ROWS = 131_072
SIGNATURES = "public:ccf.internal.signatures"
TRANSACTIONS = (
    "txid", "view", "seqno", "entry_type", "flags", "is_signature", "file", "offset", "size", "private_size",
    "write_set_digest", "commit_evidence_digest", "claims_digest", "leaf", "signed_by", "root",
)  # fmt: skip
WRITES = ("txid", "view", "seqno", "table_name", "key", "value", "removed")


class Table:
    """Rows on their way to a file."""

    def __init__(self, directory, name, columns):
        self.columns, self.rows, self.count, self.writer = columns, [], 0, None
        self.path = directory / f"{name}.{'parquet' if pyarrow else 'csv'}"
        if pyarrow is None:
            self.file = self.path.open("w", newline="")
            self.writer = csv.writer(self.file)
            self.writer.writerow(columns)

    def add(self, row):
        self.rows.append(row)
        if len(self.rows) >= GROUP_ROWS:
            self.write()

    def write(self):
        self.count += len(self.rows)
        if pyarrow is None:
            self.writer.writerows([[v.hex() if isinstance(v, bytes) else v for v in row] for row in self.rows])
        elif self.rows:
            columns = [pyarrow.array(values) for values in zip(*self.rows, strict=True)]
            table = pyarrow.Table.from_arrays(columns, names=self.columns)
            if self.writer is None:
                self.writer = pyarrow.parquet.ParquetWriter(self.path, table.schema, compression="zstd")
            self.writer.write_table(table.cast(self.writer.schema))
        self.rows = []

    def close(self):
        self.write()
        if pyarrow is None:
            self.file.close()
        elif self.writer is not None:
            self.writer.close()


def main(ledger, target):
    directory = Path(target)
    directory.mkdir()
    transactions, writes = Table(directory, "transactions", TRANSACTIONS), Table(directory, "writes", WRITES)
    waiting = []
    for chunk in ccf.ledger.Ledger([ledger], committed_only=False):
        for transaction in chunk:
            domain = transaction.get_public_domain()
            header = transaction.gcm_header
            txid = f"{header.view}.{header.seqno}"
            tables = domain.get_tables()
            if SIGNATURES in tables:
                root = bytes.fromhex(json.loads(next(iter(tables[SIGNATURES].values())))["root"])
                for row in waiting:
                    transactions.add((*row, header.seqno, root))
                waiting = []
            waiting.append(
                (
                    txid, header.view, header.seqno, domain._entry_type.value,
                    transaction.get_transaction_header().flags, SIGNATURES in tables, chunk.filename(),
                    transaction.get_offsets()[0], transaction.get_len(), transaction.get_private_domain_size(),
                    transaction.get_write_set_digest(), domain.get_commit_evidence_digest(),
                    domain.get_claims_digest(), transaction.get_tx_digest(),
                )
            )  # fmt: skip
            for name, rows in tables.items():
                for key, value in rows.items():
                    writes.add((txid, header.view, header.seqno, name, key, value, value is None))
    for row in waiting:
        transactions.add((*row, None, None))
    transactions.close()
    writes.close()
    print(
        json.dumps(
            {
                "transactions": transactions.count,
                "writes": writes.count,
                "format": transactions.path.suffix[1:],
                "files": [str(transactions.path), str(writes.path)],
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
