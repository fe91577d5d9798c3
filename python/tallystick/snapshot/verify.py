"""Verification of snapshots.

A snapshot is vouched for by a transaction of the ledger that records its digest, and by a receipt of that
transaction at the end of the file. The steps:

(1) the file parses, as an entry of type 1 and a receipt behind it;
(2) the receipt's claims digest is the SHA-256 of the entry;
(3) the receipt holds under the caller's anchor. The service key that the snapshot itself contains is never
    an anchor; it only completes a pin that is given as a fingerprint, when it is the key with that fingerprint;
(4) the seqnos in the file name are those of the content and of the receipt, and the evidence comes after the
    snapshot; where the path passes the leaf of the snapshot's last transaction, it is the one that it claims;
(5) with a copy of the ledger: the leaf of the snapshot's last transaction, the recorded evidence, and the
    whole public state, key by key, with the seqno of each last write.

Without a receipt (CCF 1.x, or not committed yet) the verdict is undecided: ``snapshot-unverified``.
Not done here: the private state, which is encrypted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick._native import Certificate, JsonReceipt, SnapshotFile
from tallystick.errors import (
    FormatError,
    InternalError,
    LimitExceededError,
    UndecidedError,
    UsageError,
    VerificationError,
)
from tallystick.findings import Effect, Finding, Verdict, finding, verdict_of
from tallystick.identity.endorsements import Endorsement
from tallystick.identity.service_keys import IdentityEvidence
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.receipt import not_checked
from tallystick.receipt.model import Expected, Kind, ReceiptResult
from tallystick.receipt.verify import ReceiptVerifier
from tallystick.snapshot import codes as _codes  # noqa: F401 -- registers the codes of this area
from tallystick.snapshot.model import SnapshotName, SnapshotResult, VerifiedSnapshot, parse_snapshot_name
from tallystick.tables import names
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick.identity.ledger_copy import LedgerCopy

__all__ = ["audit_snapshot", "service_spkis", "verify_snapshot"]

PRIVATE_STATE = "private state (encrypted)"
STATE = "whether the ledger's transactions give this state (--ledger PATH)"


def audit_snapshot(
    data: bytes,
    anchor: TrustAnchor,
    *,
    file: str | None = None,
    endorsements: Iterable[Endorsement] = (),
    ledger: LedgerCopy | None = None,
    identities: IdentityEvidence | None = None,
) -> SnapshotResult:
    """Verifies one snapshot; whatever is wrong with it is a finding in the result.

    Args:
        data: content of the file.
        anchor: the pinned service identities.
        file: its name, which is compared with the content if it is one that nodes give.
        endorsements: of older service keys, in any order.
        ledger: a copy of the ledger to compare with.
        identities: what a bundle of past identities adds to the anchor.
    """
    try:
        snapshot = SnapshotFile.parse(data)
    except (FormatError, LimitExceededError) as error:
        malformed = finding("snapshot-malformed", error.message, file=file, offset=error.location.offset)
        return SnapshotResult(file, Verdict.FAILED, findings=(malformed,))
    name = parse_snapshot_name(Path(file).name) if file is not None else None
    findings: list[Finding] = []
    if file is not None and name is None:
        findings.append(finding("snapshot-name-unknown", "file name is not one that nodes give: not compared"))
    links = [*endorsements, *(ledger.endorsements if ledger is not None else ())]
    receipt = _judge_receipt(snapshot, anchor, links, identities, file)
    if receipt is None:
        findings.append(_without_receipt(name))
    else:
        findings += receipt.findings
    findings += _compare_name(snapshot, name, receipt)
    unchecked = [PRIVATE_STATE]
    if receipt is not None:
        unchecked += [item for item in receipt.not_checked if item not in (not_checked.FORK, not_checked.WRITES)]
        findings += _compare_evidence(snapshot, receipt)
    if ledger is None:
        unchecked.append(STATE)
    elif verdict_of(findings) is not Verdict.FAILED:
        compared = list(_compare_with_ledger(snapshot, receipt, ledger))
        findings += compared
        if any(item.code == "snapshot-state-not-compared" for item in compared):
            unchecked.append(STATE)
    return _result(file, snapshot, receipt, findings, unchecked)


def _result(
    file: str | None,
    snapshot: SnapshotFile,
    receipt: ReceiptResult | None,
    findings: list[Finding],
    unchecked: list[str],
) -> SnapshotResult:
    rank = {Effect.FAILS: 0, Effect.UNDECIDES: 1, Effect.NONE: 2}
    ordered = sorted(findings, key=lambda item: rank[item.verdict_effect])
    return SnapshotResult(
        file,
        verdict_of(ordered),
        snapshot.seqno,
        receipt.txid if receipt is not None else None,
        receipt.service_key_sha256 if receipt is not None else None,
        tuple(item.at(file=file) for item in ordered),
        tuple(dict.fromkeys(unchecked)),
    )


def verify_snapshot(
    data: bytes,
    anchor: TrustAnchor,
    *,
    file: str | None = None,
    endorsements: Iterable[Endorsement] = (),
    ledger: LedgerCopy | None = None,
    identities: IdentityEvidence | None = None,
) -> VerifiedSnapshot:
    """Verifies one snapshot; arguments as for :func:`audit_snapshot`.

    Returns:
        What is proven. It says no more than was checked.

    Raises:
        VerificationError: it does not hold, or is malformed; ``code`` is that of the finding.
        UndecidedError: something that must be known to decide is missing: a receipt, or an anchor.
    """
    result = audit_snapshot(data, anchor, file=file, endorsements=endorsements, ledger=ledger, identities=identities)
    if result.verdict is not Verdict.VERIFIED:
        reason = result.findings[0]
        error = VerificationError if result.verdict is Verdict.FAILED else UndecidedError
        raise error(reason.message, code=reason.code, file=file, offset=reason.offset, txid=reason.txid)
    if result.seqno is None or result.evidence_txid is None or result.service_key_sha256 is None:
        raise InternalError("a snapshot was called verified without its evidence or a service key", file=file)
    return VerifiedSnapshot(
        result.seqno,
        result.evidence_txid,
        SnapshotFile.parse(data).entry_digest,
        result.service_key_sha256,
        result.findings,
        result.not_checked,
    )


# -------------------------------------------------------------------------------------------- the receipt


def _without_receipt(name: SnapshotName | None) -> Finding:
    if name is not None and name.committed and name.commit is None:
        message = "snapshot carries no receipt: expected one behind a committed snapshot of CCF 2.x and later"
        return finding("snapshot-receipt-missing", message)
    return finding("snapshot-unverified", "snapshot carries no receipt: nothing vouches for its state")


def _judge_receipt(
    snapshot: SnapshotFile,
    anchor: TrustAnchor,
    endorsements: Iterable[Endorsement],
    identities: IdentityEvidence | None,
    file: str | None,
) -> ReceiptResult | None:
    """(2) and (3): the receipt, with the snapshot's digest as the claims digest that it must prove."""
    if not snapshot.receipt:
        return None
    own_keys = service_spkis(snapshot) if anchor.fingerprints - set(anchor.keys) else []
    verifier = ReceiptVerifier(anchor.with_keys(own_keys), endorsements=endorsements, identities=identities)
    [result] = verifier.audit([(file, snapshot.receipt)], [Expected(claims_digest=snapshot.entry_digest)])
    if result.kind not in (Kind.CCF_JSON, Kind.CCF_COSE):
        message = "what follows the snapshot is not a receipt"
        problem = finding("snapshot-malformed", message, offset=snapshot.entry_size)
        return replace(result, verdict=Verdict.FAILED, findings=(problem,))
    return replace(result, findings=tuple(_in_terms_of_snapshots(item, snapshot) for item in result.findings))


def _in_terms_of_snapshots(item: Finding, snapshot: SnapshotFile) -> Finding:
    if item.code == "claims-digest-mismatch":
        message = item.message.replace("(of the claims given)", "(of the snapshot)")
        return finding("snapshot-digest-mismatch", message, txid=item.txid)
    if item.code == "claims-not-in-receipt":
        message = "receipt gives a leaf only, so it does not vouch for the snapshot"
        return finding("snapshot-unverified", message, offset=snapshot.entry_size)
    if item.code == "receipt-malformed":
        return replace(item, offset=snapshot.entry_size)
    return item


def service_spkis(snapshot: SnapshotFile) -> list[bytes]:
    """The service keys that the state names. They complete a pinned fingerprint, and are nothing else."""
    if names.SERVICE_INFO not in snapshot.table_names():
        return []
    found = []
    for _, value in snapshot.table(names.SERVICE_INFO).values():
        try:
            info = json.loads(value)
            found.append(Certificate.parse(info["cert"].encode()).spki)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, FormatError, LimitExceededError):
            continue
    return found


def _compare_name(
    snapshot: SnapshotFile, name: SnapshotName | None, receipt: ReceiptResult | None
) -> Iterable[Finding]:
    """(4): the file name. A name of the 1.x form promises no receipt, so nothing is called verified under it."""
    if name is None:
        return
    if name.seqno != snapshot.seqno:
        yield finding(
            "snapshot-name-mismatch",
            f"seqno in the file name: expected {snapshot.seqno} (of the content), got {name.seqno}",
        )
    if receipt is None:
        return
    if name.commit is not None:
        message = "file name is of CCF 1.x, whose snapshots carry no receipt, but there is one"
        yield finding("snapshot-unverified", message)
    if receipt.txid is not None and TxId.parse(receipt.txid).seqno != name.evidence:
        seqno = TxId.parse(receipt.txid).seqno
        yield finding(
            "snapshot-name-mismatch",
            f"evidence seqno in the file name: expected {seqno} (by the receipt), got {name.evidence}",
        )


def _compare_evidence(snapshot: SnapshotFile, receipt: ReceiptResult) -> Iterable[Finding]:
    """(4): the evidence comes after the snapshot; the path may pass the snapshot's own leaf."""
    if receipt.txid is None:
        return
    evidence = TxId.parse(receipt.txid).seqno
    if evidence <= snapshot.seqno:
        yield finding(
            "snapshot-evidence-order",
            f"evidence transaction {receipt.txid}: expected one after seqno {snapshot.seqno}",
            txid=receipt.txid,
        )
        return
    if evidence != snapshot.seqno + 1 or evidence % 2 == 0 or receipt.kind is not Kind.CCF_JSON:
        return
    # The evidence is the right-hand neighbour of the snapshot's last transaction, so its first sibling is that leaf.
    path = JsonReceipt.parse(snapshot.receipt).path
    if path and path[0] != (True, snapshot.hash_at_snapshot):
        yield finding(
            "snapshot-leaf-mismatch",
            f"leaf of seqno {snapshot.seqno}: expected {path[0][1].hex()} (by the receipt's path), "
            f"got {snapshot.hash_at_snapshot.hex()}",
        )


# ---------------------------------------------------------------------------------------- the ledger copy


def _compare_with_ledger(
    snapshot: SnapshotFile, receipt: ReceiptResult | None, ledger: LedgerCopy
) -> Iterable[Finding]:
    """(5)."""
    try:
        last = ledger.transaction(snapshot.seqno)
        if last is None:
            yield finding("ledger-lacks-transaction", f"the ledger copy does not hold seqno {snapshot.seqno}")
            return
        if last.leaf != snapshot.hash_at_snapshot:
            yield finding(
                "snapshot-leaf-mismatch",
                f"leaf of seqno {snapshot.seqno}: expected {last.leaf.hex()} (in the ledger copy), "
                f"got {snapshot.hash_at_snapshot.hex()}",
            )
            return
        yield from _compare_record(snapshot, receipt, ledger)
        yield from _compare_state(snapshot, ledger)
    except (FormatError, LimitExceededError) as error:
        yield finding("ledger-lacks-transaction", f"the ledger copy cannot be read: {error}")


def _compare_record(snapshot: SnapshotFile, receipt: ReceiptResult | None, ledger: LedgerCopy) -> Iterable[Finding]:
    if receipt is None or receipt.txid is None:
        return
    txid = TxId.parse(receipt.txid)
    evidence = ledger.transaction(txid.seqno)
    if evidence is None:
        yield finding("ledger-lacks-transaction", f"the ledger copy does not hold transaction {txid}")
        return
    if evidence.txid != txid or evidence.leaf != receipt.leaf:
        yield finding(
            "ledger-leaf-mismatch",
            f"the ledger copy holds another transaction at seqno {txid.seqno} than the receipt proves",
            txid=receipt.txid,
        )
        return
    expected = {"hash": snapshot.entry_digest.hex(), "version": snapshot.seqno}
    records = [_json(value) for value in (evidence.table(names.SNAPSHOT_EVIDENCE) or {}).values()]
    if expected not in records or evidence.claims_digest != snapshot.entry_digest:
        yield finding(
            "snapshot-evidence-mismatch",
            f"evidence of snapshot {snapshot.seqno} in transaction {txid}: expected {expected}, "
            f"got {str(records)[:200]}",
            txid=receipt.txid,
        )


def _compare_state(snapshot: SnapshotFile, ledger: LedgerCopy) -> Iterable[Finding]:
    if ledger.ledger.first_seqno != 1:
        yield finding(
            "snapshot-state-not-compared",
            f"the ledger copy begins at seqno {ledger.ledger.first_seqno}: expected 1 to compare the state",
        )
        return
    from tallystick.ledger.state import public_state

    try:
        state = public_state(ledger.ledger, snapshot.seqno)
    except UsageError as error:
        yield finding("snapshot-state-not-compared", error.message)
        return
    tables = {name for name in snapshot.table_names() if name.startswith(names.PUBLIC_PREFIX)}
    for table in sorted(tables | set(state.tables)):
        held = snapshot.table(table) if table in tables else {}
        expected = {key: (row.seqno, row.value) for key, row in state.tables.get(table, {}).items()}
        if held == expected:
            continue
        key = min(key for key in held.keys() | expected.keys() if held.get(key) != expected.get(key))
        yield finding(
            "snapshot-state-mismatch",
            f"table {table}, key {key.hex()[:80]}: expected {_row(expected.get(key))} (by the ledger copy), "
            f"got {_row(held.get(key))}",
        )
        return


def _row(row: tuple[int, bytes] | None) -> str:
    if row is None:
        return "no value"
    seqno, value = row
    return f"{len(value)} bytes {value[:16].hex()}… written at seqno {seqno}"


def _json(value: bytes | None) -> object:
    try:
        return json.loads(value) if value is not None else None
    except (ValueError, RecursionError):
        return None
