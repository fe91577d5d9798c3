"""Which transactions wrote a key, without reading the whole ledger.

An index follows the committed transactions of one table. It keeps, for each key, the seqnos of its writes, in
buckets of a fixed range of seqnos. A bucket that is full is written to a file and dropped from memory, so
memory is bounded by the bucket in progress and the few that were asked for last. Files hold keys of private
tables, so they are encrypted under a key that lives as long as the process: an index is rebuilt at each start
(from the ledger, which outlives it).

File ``<digest>``: 12 bytes nonce ‖ AES-256-GCM(JSON ``{hex key: [seqno…]}``), associated data: table, bucket.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tallystick.errors import InternalError
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick.node.historical import History, PastTransaction

__all__ = ["BUCKET_SEQNOS", "MAX_BUCKETS", "Indexer", "SeqnosByKey"]

BUCKET_SEQNOS = 10_000
"""Seqnos in a bucket, as CCF's own bucketed index has by default."""

MAX_BUCKETS = 20
"""Old buckets kept in memory, as in CCF."""

STEP_SEQNOS = 500
"""Transactions that an indexer takes at a time, so that nothing else waits long."""

_NONCE_BYTES = 12

Bucket = dict[str, list[int]]


class SeqnosByKey:
    """Seqnos of the transactions that wrote each key of one table.

    Args:
        table: name of the table.
        directory: where full buckets go; made when needed.
        bucket_seqnos: seqnos in a bucket.
        max_buckets: old buckets kept in memory.
    """

    def __init__(
        self,
        table: str,
        directory: Path,
        *,
        bucket_seqnos: int = BUCKET_SEQNOS,
        max_buckets: int = MAX_BUCKETS,
    ) -> None:
        self.table = table
        self._directory = directory
        self._bucket_seqnos = bucket_seqnos
        self._max_buckets = max_buckets
        self._key = secrets.token_bytes(32)
        self._current: Bucket = {}
        self._current_start = 0
        self._stored: set[int] = set()
        self._recent: OrderedDict[int, Bucket] = OrderedDict()
        self._indexed = TxId(0, 0)
        self._lock = threading.Lock()

    @property
    def indexed(self) -> TxId:
        """The last transaction that it has taken in; ``0.0`` at first."""
        return self._indexed

    @property
    def next_seqno(self) -> int:
        """Seqno of the transaction that it wants next."""
        return self._indexed.seqno + 1

    def take(self, transaction: PastTransaction) -> None:
        """Takes in the next transaction.

        Raises:
            ValueError: it is another one than the next.
        """
        with self._lock:
            if transaction.txid.seqno != self._indexed.seqno + 1:
                raise ValueError(f"index of {self.table}: expected seqno {self.next_seqno}, got {transaction.txid}")
            start = transaction.txid.seqno - transaction.txid.seqno % self._bucket_seqnos
            if start != self._current_start:
                self._store(self._current_start, self._current)
                self._current, self._current_start = {}, start
            for key in transaction.tables.get(self.table, {}):
                self._current.setdefault(key.hex(), []).append(transaction.txid.seqno)
            self._indexed = transaction.txid

    def seqnos(self, key: bytes, first: int, last: int) -> list[int] | None:
        """Seqnos from ``first`` to ``last``, both included, that wrote ``key``, ascending.

        None while the index has not come to ``last`` yet.

        Raises:
            InternalError: a bucket cannot be read back.
        """
        with self._lock:
            if last > self._indexed.seqno:
                return None
            found: list[int] = []
            start = first - first % self._bucket_seqnos
            for bucket_start in range(start, last + 1, self._bucket_seqnos):
                written = self._bucket(bucket_start).get(key.hex(), [])
                found += written[bisect_left(written, first) : bisect_right(written, last)]
            return found

    def last_write(self, key: bytes, at: int) -> int | None:
        """Seqno of the last write of ``key`` up to seqno ``at``, as far as it is indexed; None for none."""
        with self._lock:
            at = min(at, self._indexed.seqno)
            start = at - at % self._bucket_seqnos
            for bucket_start in range(start, -1, -self._bucket_seqnos):
                written = self._bucket(bucket_start).get(key.hex(), [])
                position = bisect_right(written, at)
                if position:
                    return written[position - 1]
            return None

    def describe(self) -> dict[str, Any]:
        """What ``GET /node/index/strategies`` says of it."""
        with self._lock:
            return {
                "name": f"SeqnosByKey {self.table}",
                "target_map": self.table,
                "indexed_watermark": str(self._indexed),
                "seqnos_per_bucket": self._bucket_seqnos,
                "current_results_size": sum(len(seqnos) for seqnos in self._current.values()),
                "old_results_max_size": self._max_buckets,
                "old_results_current_size": len(self._recent),
            }

    def _bucket(self, start: int) -> Bucket:
        if start == self._current_start:
            return self._current
        if start not in self._stored:
            return {}
        known = self._recent.get(start)
        if known is None:
            known = self._load(start)
            self._remember(start, known)
        else:
            self._recent.move_to_end(start)
        return known

    def _remember(self, start: int, bucket: Bucket) -> None:
        self._recent[start] = bucket
        while len(self._recent) > self._max_buckets:
            self._recent.popitem(last=False)

    def _store(self, start: int, bucket: Bucket) -> None:
        if not bucket:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        text = json.dumps(bucket, separators=(",", ":")).encode()
        path = self._path(start)
        path.write_bytes(nonce + AESGCM(self._key).encrypt(nonce, text, self._binding(start)))
        path.chmod(0o600)
        self._stored.add(start)
        self._remember(start, bucket)

    def _load(self, start: int) -> Bucket:
        path = self._path(start)
        try:
            sealed = path.read_bytes()
            nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            bucket: Bucket = json.loads(AESGCM(self._key).decrypt(nonce, text, self._binding(start)))
        except (OSError, InvalidTag, ValueError) as error:
            raise InternalError(f"index of {self.table}: bucket {start} cannot be read back", file=str(path)) from error
        return bucket

    def _binding(self, start: int) -> bytes:
        return f"{start}:{self.table}".encode()

    def _path(self, start: int) -> Path:
        # Names that tell nothing of tables or ranges to who can only list the directory.
        return self._directory / hmac.new(self._key, self._binding(start), hashlib.sha256).hexdigest()


class Indexer:
    """Feeds indexes with committed transactions.

    Args:
        history: where transactions come from.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._indexes: list[SeqnosByKey] = []
        self._lock = threading.Lock()

    def add(self, index: SeqnosByKey) -> SeqnosByKey:
        """Installs an index; it begins at seqno 1."""
        with self._lock:
            self._indexes.append(index)
        return index

    def advance(self, committed: int) -> bool:
        """Takes in up to :data:`STEP_SEQNOS` transactions, at most to seqno ``committed``.

        Returns:
            Whether there is more to take in.
        """
        with self._lock:
            behind = [index for index in self._indexes if index.next_seqno <= committed]
            if not behind:
                return False
            first = min(index.next_seqno for index in behind)
            last = min(committed, first + STEP_SEQNOS - 1)
            for transaction in self._history.transactions(first, last):
                for index in behind:
                    if index.next_seqno == transaction.txid.seqno:
                        index.take(transaction)
            return last < committed

    def describe(self) -> list[dict[str, Any]]:
        """What ``GET /node/index/strategies`` answers."""
        with self._lock:
            return [index.describe() for index in self._indexes]
