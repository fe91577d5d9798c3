"""Opening a ledger's private state: from files that hold keys to secrets, tables and receipts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tallystick import _native
from tallystick.errors import UsageError, VerificationError
from tallystick.findings import finding
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.transaction import Transaction
from tallystick.secrets.chain import FIRST_SECRET_START, KnownSecrets, SecretsChain
from tallystick.secrets.decrypt import DecryptionReport, PrivateTransaction, decrypt_entries
from tallystick.secrets.shares import LedgerSecret, Share, load_encryption_key

__all__ = ["PrivateLedger", "read_secret_file", "read_share_file"]

# Transactions handed to the decryption at a time: enough to keep all cores busy, little enough to bound memory.
_BLOCK_TRANSACTIONS = 2048
# A block also ends here: transactions may be large.
_BLOCK_BYTES = 16 << 20


def read_secret_file(path: str | Path) -> dict[int, LedgerSecret]:
    """Reads ledger secrets: lines of ``HEX`` (valid from seqno 1) or ``START:HEX``; ``#`` begins a comment.

    The core reads the file and wipes what it read, so that no part of it becomes an object of Python.

    Raises:
        UsageError: a line is neither, a start is named twice, or there is none (``secret-malformed``,
            ``secret-named-twice``, ``secret-file-empty``).
        OSError: the file cannot be read.
    """
    return _native.read_ledger_secrets(str(path), FIRST_SECRET_START)


def read_share_file(path: str | Path) -> Share:
    """Reads one recovery share: hex, base64, or the raw bytes.

    Raises:
        UsageError: it is none of them.
        OSError: the file cannot be read.
    """
    return Share.open(str(path))


class PrivateLedger:
    """A ledger together with the secrets that could be opened for it.

    Args:
        ledger: the ledger, as read by :class:`tallystick.Ledger`. Nothing here verifies its signatures.
        secret_files: files that :func:`read_secret_file` reads.
        share_files: files that :func:`read_share_file` reads.
        encryption_keys: files with members' RSA encryption keys (PEM).

    Raises:
        UsageError: a file does not hold what it should, or nothing given opens anything.
        VerificationError: secrets contradict each other or a link does not open.
        OSError: a file cannot be read.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        secret_files: Iterable[str | Path] = (),
        share_files: Iterable[str | Path] = (),
        encryption_keys: Iterable[str | Path] = (),
    ) -> None:
        self.ledger = ledger
        self.chain = SecretsChain()
        for transaction in ledger:
            # Only transactions that write internal or governance tables can matter; the rest costs nothing.
            if any(name.startswith("public:ccf.") for name in transaction.table_names) and not transaction.is_signature:
                self.chain.apply(transaction.seqno, str(transaction.txid), transaction.tables)
        given: dict[int, LedgerSecret] = {}
        for path in secret_files:
            for start, secret in read_secret_file(path).items():
                if given.setdefault(start, secret) != secret:
                    raise UsageError(f"two files give different secrets for seqno {start}", code="secret-conflict")
        self._check_given(given)
        self.known: KnownSecrets = self.chain.open(
            secrets=given,
            shares=[read_share_file(path) for path in share_files],
            encryption_keys=[load_encryption_key(path) for path in encryption_keys],
        )

    def _check_given(self, given: dict[int, LedgerSecret]) -> None:
        """A secret that the caller holds must authenticate the first entry that it is for."""
        for start, secret in given.items():
            if start not in self.chain.starts:
                raise UsageError(
                    f"no ledger secret starts at seqno {start}: this ledger has {self.chain.starts}",
                    code="secret-start-unknown",
                )
            first, last = self.ledger.first_seqno, self.ledger.last_seqno
            if first is None or last is None or not first <= start <= last:
                continue
            entry = self.ledger.get_transaction(start).entry
            try:
                _native.open_private_domain(entry, secret)
            except VerificationError as error:
                raise VerificationError(
                    f"the secret given for seqno {start} does not authenticate transaction {entry.view}.{start}",
                    code="secret-wrong",
                    txid=f"{entry.view}.{start}",
                ) from error

    def secret_at(self, seqno: int) -> LedgerSecret | None:
        """The secret in force at ``seqno``, if it is known."""
        return self.known.by_start.get(self.chain.start_at(seqno))

    def decrypt(
        self, report: DecryptionReport, first: int | None = None, last: int | None = None
    ) -> Iterator[PrivateTransaction]:
        """Authenticates every entry and yields those with private writes; ``report`` is filled in meanwhile."""
        yield from decrypt_entries(_blocks(self.ledger.transactions(first, last)), self.chain, self.known, report)
        if report.without_secret:
            unknown = [start for start in self.chain.starts if start not in self.known.by_start]
            report.findings.append(
                finding(
                    "secret-unknown",
                    f"{report.without_secret} transactions were not authenticated: no secret is known from seqno "
                    f"{', '.join(map(str, unknown))}",
                )
            )


def _blocks(transactions: Iterable[Transaction]) -> Iterator[tuple[str, Sequence[_native.Entry]]]:
    file: str | None = None
    block: list[_native.Entry] = []
    size = 0
    for transaction in transactions:
        if block and (
            transaction.file != file or len(block) >= _BLOCK_TRANSACTIONS or size + transaction.size > _BLOCK_BYTES
        ):
            yield file or "", block
            block, size = [], 0
        file = transaction.file
        block.append(transaction.entry)
        size += transaction.size
    if block:
        yield file or "", block
