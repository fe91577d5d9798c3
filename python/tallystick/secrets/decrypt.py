"""Private tables: every entry authenticated under its ledger secret, private domains decrypted.

AES-256-GCM covers the public domain as associated data, so holding the secret authenticates whole entries,
the unsigned tail included. The commit evidence digest is recomputed from the secret as well
(formats: encryption, commit evidence).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tallystick import _native
from tallystick.errors import FormatError
from tallystick.findings import Finding, finding
from tallystick.secrets import codes as _codes  # noqa: F401 -- registers the codes of findings
from tallystick.secrets.chain import KnownSecrets, SecretsChain

__all__ = ["DecryptionReport", "PrivateTransaction", "decrypt_entries"]

Tables = dict[str, dict[bytes, "bytes | None"]]


@dataclass(frozen=True)
class PrivateTransaction:
    """A transaction whose private domain was opened.

    Attributes:
        txid: transaction ID text.
        tables: private writes by table and key, in ledger order; None marks a remove.
    """

    seqno: int
    txid: str
    tables: Tables


@dataclass
class DecryptionReport:
    """What was authenticated, what was opened, and what was wrong.

    Attributes:
        authenticated: entries whose GCM tag holds under the secret in force.
        private: entries with a private domain that was opened and parsed.
        evidence: entries whose commit evidence digest equals the recomputed one.
        without_secret: entries for which no secret is known, none of them checked.
    """

    authenticated: int = 0
    private: int = 0
    evidence: int = 0
    without_secret: int = 0
    without_secret_private: int = 0
    findings: list[Finding] = field(default_factory=list)


def decrypt_entries(
    blocks: Iterable[tuple[str, Sequence[_native.Entry]]],
    chain: SecretsChain,
    known: KnownSecrets,
    report: DecryptionReport,
) -> Iterator[PrivateTransaction]:
    """Opens the entries of ``blocks`` (file, entries in ledger order) and yields those with private writes.

    Memory is bounded by one block. ``report`` is filled in as the iteration proceeds.
    """
    starts = sorted(set(chain.starts) | set(known.by_start))
    for file, entries in blocks:
        secrets: list[_native.LedgerSecret | None] = []
        for entry in entries:
            start = starts[max(bisect_right(starts, entry.seqno) - 1, 0)]
            secrets.append(known.by_start.get(start))
        opened = _native.open_private_domains(entries, secrets)
        for entry, secret, plaintext in zip(entries, secrets, opened, strict=True):
            if secret is None:
                report.without_secret += 1
                report.without_secret_private += bool(entry.private_domain)
                continue
            txid = f"{entry.view}.{entry.seqno}"
            if plaintext is None:
                report.findings.append(
                    finding(
                        "entry-tag",
                        "the GCM tag does not hold under the ledger secret in force",
                        file=file,
                        offset=entry.offset,
                        txid=txid,
                    )
                )
                continue
            report.authenticated += 1
            _check_evidence(entry, secret, file, txid, report)
            if not plaintext:
                continue
            try:
                tables = _native.parse_private_domain(plaintext)
            except FormatError as error:
                report.findings.append(
                    finding("private-domain-malformed", error.message, file=file, offset=entry.offset, txid=txid)
                )
                continue
            report.private += 1
            yield PrivateTransaction(entry.seqno, txid, tables)


def _check_evidence(
    entry: _native.Entry, secret: _native.LedgerSecret, file: str, txid: str, report: DecryptionReport
) -> None:
    recorded = entry.commit_evidence_digest
    if recorded is None:
        return
    computed = hashlib.sha256(_native.commit_evidence(secret, entry.view, entry.seqno).encode()).digest()
    if computed == recorded:
        report.evidence += 1
        return
    report.findings.append(
        finding(
            "commit-evidence-mismatch",
            f"commit evidence digest differs: expected {computed.hex()}, got {recorded.hex()}",
            file=file,
            offset=entry.offset,
            txid=txid,
        )
    )
