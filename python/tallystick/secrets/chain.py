"""The chain of ledger secrets, as the ledger records it and as keys at hand can open it.

A ledger secret is valid from its start seqno up to the start of the next one. The ledger never holds a
secret in clear. It holds, under ``public:ccf.internal.``:

* ``recovery_shares``: the latest secret, wrapped under a key that the recovery shares give;
* ``historical_encrypted_ledger_secret``: each older secret, sealed under its successor (a *link*);

(formats: ledger secrets). :class:`SecretsChain` reads these records and states what they say.
:meth:`SecretsChain.open` starts from what the caller holds (secrets, shares, members' encryption keys) and
walks the links backwards until nothing more opens.
"""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tallystick.errors import FormatError, TallystickError, UsageError, VerificationError
from tallystick.findings import Finding, finding
from tallystick.secrets import codes as _codes  # noqa: F401 -- registers the codes of findings
from tallystick.secrets.shares import LedgerSecret, Share, ShareDecryptionKey, combine_shares

__all__ = ["KnownSecrets", "SecretLink", "SecretsChain", "SharesRecord"]

SHARES_TABLE = "public:ccf.internal.recovery_shares"
HISTORY_TABLE = "public:ccf.internal.historical_encrypted_ledger_secret"
NODES_TABLE = "public:ccf.internal.encrypted_ledger_secrets"
SUBMITTED_TABLE = "public:ccf.internal.encrypted_submitted_shares"
CONFIG_TABLE = "public:ccf.gov.service.config"
_SINGLETON = bytes(8)
FIRST_SECRET_START = 1


@dataclass(frozen=True)
class SharesRecord:
    """One write of the recovery shares.

    Attributes:
        txid: the transaction that wrote them.
        start: seqno from which the wrapped secret is valid.
        threshold: how many shares give the wrapping key, as configured at that transaction.
        encrypted_shares: member ID to the share, encrypted to that member's key.
        wrapped: the latest ledger secret, wrapped (60 bytes).
    """

    seqno: int
    txid: str
    start: int
    threshold: int
    encrypted_shares: Mapping[str, bytes]
    wrapped: bytes


@dataclass(frozen=True)
class SecretLink:
    """A secret's introduction, with its predecessor sealed under it.

    Attributes:
        txid: the transaction that wrote the record.
        start: seqno from which the newer secret is valid.
        previous_start: that of the older secret; None at the first opening of a service.
        sealed: the older secret under the newer one (60 bytes); None likewise.
        previous_stored_at: seqno of the transaction that stored the older secret, as claimed.
        reason: ``opening``, ``recovery`` or ``rekey``.
    """

    seqno: int
    txid: str
    start: int
    previous_start: int | None
    sealed: bytes | None
    previous_stored_at: int | None
    reason: str


@dataclass
class KnownSecrets:
    """Secrets that could be opened, by the seqno from which each is valid, and how each was found."""

    by_start: dict[int, LedgerSecret] = field(default_factory=dict)
    origin: dict[int, str] = field(default_factory=dict)

    def add(self, start: int, secret: LedgerSecret, origin: str) -> None:
        """Records a secret.

        Raises:
            VerificationError: another one is already known for that start.
        """
        known = self.by_start.get(start)
        if known is not None and known != secret:
            raise VerificationError(
                f"two different ledger secrets open for seqno {start}: one {self.origin[start]}, one {origin}",
                code="secret-conflict",
            )
        if known is None:
            self.by_start[start] = secret
            self.origin[start] = origin


class SecretsChain:
    """What a ledger says about its secrets; fill it with :meth:`apply`, in ledger order."""

    def __init__(self) -> None:
        self.shares: list[SharesRecord] = []
        self.links: list[SecretLink] = []
        self.findings: list[Finding] = []
        self._threshold = 0
        self._latest_start = FIRST_SECRET_START
        self._stored_at: dict[int, list[int]] = {}

    def apply(self, seqno: int, txid: str, tables: Mapping[str, Mapping[bytes, bytes | None]]) -> None:
        """Takes in the public writes of one transaction."""
        try:
            self._apply(seqno, txid, tables)
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            reason = error.message if isinstance(error, TallystickError) else f"{type(error).__name__}: {error}"
            self.findings.append(finding("secret-record-malformed", f"record of ledger secrets: {reason}", txid=txid))

    def _apply(self, seqno: int, txid: str, tables: Mapping[str, Mapping[bytes, bytes | None]]) -> None:
        config = _singleton(tables, CONFIG_TABLE)
        if config is not None:
            self._threshold = _natural(config, "recovery_threshold")
        history = _singleton(tables, HISTORY_TABLE)
        if history is not None:
            self._add_link(seqno, txid, history)
        shares = _singleton(tables, SHARES_TABLE)
        if shares is not None:
            self._stored_at.setdefault(self._latest_start, []).append(seqno)
            encrypted = shares["encrypted_shares"]
            if not isinstance(encrypted, dict):
                raise FormatError("encrypted_shares is not an object", code="secret-record-malformed")
            self.shares.append(
                SharesRecord(
                    seqno,
                    txid,
                    self._latest_start,
                    self._threshold,
                    {member: _decode(value) for member, value in encrypted.items()},
                    _decode(shares["wrapped_latest_ledger_secret"]),
                )
            )

    def _add_link(self, seqno: int, txid: str, record: Mapping[str, Any]) -> None:
        named = record.get("next_version")
        start = seqno + 1 if named is None else _natural(record, "next_version")
        previous = record.get("previous_ledger_secret")
        if previous is None:
            link = SecretLink(seqno, txid, start, None, None, None, "opening")
        else:
            stored_at = previous.get("previous_secret_stored_version")
            link = SecretLink(
                seqno,
                txid,
                start,
                _natural(previous, "version"),
                _decode(previous["encrypted_data"]),
                None if stored_at is None else _natural(previous, "previous_secret_stored_version"),
                "rekey" if named is None else "recovery",
            )
        self._check_link(link)
        self.links.append(link)
        self._latest_start = start

    def _check_link(self, link: SecretLink) -> None:
        if link.previous_start is None:
            if link.start != FIRST_SECRET_START:
                self._problem("secret-chain-broken", f"first secret starts at {link.start}, expected 1", link)
            return
        if any(other.start == link.start for other in self.links):
            self._problem(
                "secret-sealed-twice",
                f"the secret before seqno {link.start} is sealed again (CCF issue 6906); either record serves",
                link,
            )
        elif link.previous_start != self._latest_start:
            self._problem(
                "secret-chain-broken",
                f"the link to the secret before seqno {link.start} names an unexpected predecessor: "
                f"expected start {self._latest_start}, got {link.previous_start}",
                link,
            )
        stored = self._stored_at.get(link.previous_start, [])
        if link.previous_stored_at is not None and link.previous_stored_at not in stored:
            self._problem(
                "secret-stored-elsewhere",
                f"the secret from seqno {link.previous_start} is said to be stored at {link.previous_stored_at}: "
                f"expected one of {stored or 'none'}",
                link,
            )

    def _problem(self, code: str, message: str, link: SecretLink) -> None:
        self.findings.append(finding(code, message, txid=link.txid))

    @property
    def starts(self) -> list[int]:
        """Start seqno of every secret that the ledger names, ascending."""
        named = {FIRST_SECRET_START} | {link.start for link in self.links}
        return sorted(named | {link.previous_start for link in self.links if link.previous_start is not None})

    def start_at(self, seqno: int) -> int:
        """Start of the secret in force at ``seqno``."""
        starts = self.starts
        return starts[max(bisect_right(starts, seqno) - 1, 0)]

    def open(
        self,
        *,
        secrets: Mapping[int, LedgerSecret] | None = None,
        shares: Sequence[Share] = (),
        encryption_keys: Iterable[ShareDecryptionKey] = (),
    ) -> KnownSecrets:
        """Opens what the given keys open.

        Args:
            secrets: secrets that the caller holds, by start seqno.
            shares: recovery shares in clear.
            encryption_keys: members' RSA encryption keys, to decrypt the shares in the ledger.

        Raises:
            UsageError: shares or keys were given, and none of the ledger's records opens with them.
            VerificationError: a link does not open under the secret it is sealed with, or two secrets differ.
        """
        known = KnownSecrets()
        for start, secret in (secrets or {}).items():
            known.add(start, secret, "given by the caller")
        keys = list(encryption_keys)
        if shares or keys:
            opened = self._open_shares(known, shares, keys)
            if not opened and not known.by_start:
                raise UsageError(
                    "the recovery shares and keys given open none of the ledger's wrapped secrets",
                    code="shares-open-nothing",
                    hint=self._what_opens(),
                )
        self._walk_back(known)
        return known

    def _what_opens(self) -> str | None:
        if not self.shares:
            return "this ledger holds no recovery shares, as that of a service that was never opened"
        newest = self.shares[-1]
        needed, members = newest.threshold, len(newest.encrypted_shares)
        return (
            f"the newest shares, written by {newest.txid}, open with any {needed} of {members} members' keys or shares"
        )

    def _open_shares(self, known: KnownSecrets, shares: Sequence[Share], keys: Sequence[ShareDecryptionKey]) -> int:
        opened = 0
        for record in reversed(self.shares):
            candidates = list(shares)
            for encrypted in record.encrypted_shares.values():
                # A member's share is for one key only; trying each is cheap beside reading the ledger.
                decrypted = (key.decrypt_share(encrypted) for key in keys)
                candidates.extend(share for share in decrypted if share is not None)
            try:
                wrapping_key = combine_shares(candidates, record.threshold)
                secret = wrapping_key.unwrap(record.wrapped)
            except (UsageError, VerificationError):
                # Shares of another refresh do not fit this record; another record may be the right one.
                continue
            known.add(record.start, secret, f"opened with recovery shares of {record.txid}")
            opened += 1
        return opened

    def _walk_back(self, known: KnownSecrets) -> None:
        for link in sorted(self.links, key=lambda link: (link.start, link.seqno), reverse=True):
            newer = known.by_start.get(link.start)
            if newer is None or link.sealed is None or link.previous_start is None:
                continue
            try:
                older = newer.unwrap(link.sealed)
            except VerificationError as error:
                raise VerificationError(
                    f"the secret from seqno {link.previous_start} does not open under its successor from seqno "
                    f"{link.start}",
                    code="secret-link",
                    txid=link.txid,
                ) from error
            known.add(link.previous_start, older, f"opened by the link of {link.txid}")


def _singleton(tables: Mapping[str, Mapping[bytes, bytes | None]], name: str) -> dict[str, Any] | None:
    value = tables.get(name, {}).get(_SINGLETON)
    if value is None:
        return None
    record = json.loads(value)
    if not isinstance(record, dict):
        raise FormatError(f"{name} is not a JSON object", code="secret-record-malformed")
    return record


def _natural(record: Mapping[str, Any], name: str) -> int:
    value = record[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FormatError(f"{name} is not a natural number", code="secret-record-malformed")
    return value


def _decode(text: object) -> bytes:
    if not isinstance(text, str):
        raise FormatError("a value is not base64 text", code="secret-record-malformed")
    return base64.b64decode(text, validate=True)
