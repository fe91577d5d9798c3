"""The timeline of a service's identities: every life, certificate, link and node, as an audit meets them.

Nothing is judged here. :func:`trace_identities` runs the audit (``auditor.py``) with a watcher beside its fold,
and puts on record what the audit decided of each row, and why: which identity is trusted by what, which
opening proposals and endorsements link, who issued which node certificate. Dates are noted, never judged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from tallystick._native import Certificate, Entry
from tallystick.audit.auditor import AuditedLedger, audit_and_watch
from tallystick.audit.chain import endorsement_fits, opening_decides
from tallystick.audit.openings import OpeningWatcher, RecordedOpening
from tallystick.audit.state import ServiceIdentity, TrustedState
from tallystick.audit.trusted_ledger import ENDORSEMENT, NODE_CERTIFICATES, NODES_INFO, SERVICE_INFO
from tallystick.errors import FormatError, VerificationError
from tallystick.identity.certificates import is_issued_by, parse_certificate
from tallystick.identity.endorsements import VerifiedEndorsement, parse_endorsements, verify_endorsement_record
from tallystick.identity.opening import OpeningProposal
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.secrets.chain import SecretsChain
from tallystick.types import TxId

__all__ = [
    "CertificateRecord",
    "EndorsementRecord",
    "IdentityHistory",
    "IdentityTimeline",
    "NodeHistory",
    "trace_identities",
]

_SINGLETON = bytes(8)


@dataclass(frozen=True)
class CertificateRecord:
    """A certificate, where it was written.

    Attributes:
        pem: as written.
        sha256: of its DER, hex.
        not_before, not_after: seconds since 1970, as it says.
        renews: an earlier certificate is there for the same key.
        issued_under: index of the service identity that issued it, for a node's; None if none did.
        self_signed: its own key signed it, as for services and for nodes that joined a service of 1.x.
    """

    txid: TxId
    pem: str
    sha256: str
    not_before: int
    not_after: int
    renews: bool
    issued_under: int | None = None
    self_signed: bool = False


@dataclass(frozen=True)
class EndorsementRecord:
    """A row that endorses a previous identity.

    Attributes:
        raw: the COSE_Sign1 as recorded; None when the record does not hold one.
        endorsement: what is signed; None when it does not hold.
        links: indexes (newer, older) of the identities that it links; None when it links none.
        told: what it is, or why it links nothing.
        previous_version: seqno of the record before it, as it claims.
        pointer: None, or how that claim is wrong.
    """

    txid: TxId
    raw: bytes | None
    endorsement: VerifiedEndorsement | None
    links: tuple[int, int] | None
    told: str
    previous_version: int | None = None
    pointer: str | None = None


@dataclass
class NodeHistory:
    """A node: when its status changed, and what certificates it got."""

    node_id: str
    statuses: list[tuple[TxId, str]] = field(default_factory=list)
    certificates: list[CertificateRecord] = field(default_factory=list)


@dataclass
class IdentityHistory:
    """One life of the service, as the audit left it and as it came about.

    Attributes:
        identity: the audit's record.
        trusted_by: how it is trusted (:class:`~tallystick.audit.chain.Chain`).
        opening: what the members decided about it, if anything.
    """

    identity: ServiceIdentity
    trusted_by: str | None = None
    certificates: list[CertificateRecord] = field(default_factory=list)
    statuses: list[tuple[TxId, str]] = field(default_factory=list)
    opening: RecordedOpening | None = None


@dataclass
class IdentityTimeline:
    """Identities oldest first, nodes and endorsements in the order in which they appeared.

    Attributes:
        explanations: what is unusual or missing, in sentences for people.
    """

    audited: AuditedLedger
    identities: list[IdentityHistory]
    nodes: list[NodeHistory]
    endorsements: list[EndorsementRecord]
    explanations: list[str]


def trace_identities(
    paths: Iterable[str | os.PathLike[str]],
    anchor: TrustAnchor,
    *,
    jobs: int = 0,
    uncommitted: bool = False,
    recovery: bool = False,
) -> IdentityTimeline:
    """Audits a ledger and traces its identities; arguments and errors as for ``audit_ledger``."""
    watcher = _Watcher()
    audited = audit_and_watch(paths, anchor, watcher, jobs=jobs, uncommitted=uncommitted, recovery=recovery)
    return watcher.conclude(audited)


class _Watcher:
    """Keeps what the fold's state forgets."""

    def __init__(self) -> None:
        self._lives: list[IdentityHistory] = []
        self._nodes: dict[str, NodeHistory] = {}
        self._endorsements: list[EndorsementRecord] = []
        self._openings = OpeningWatcher()
        self._secrets = SecretsChain()

    def __call__(self, entry: Entry, state: TrustedState, accepted: OpeningProposal | None) -> None:
        names = entry.table_names()
        txid = TxId(entry.view, entry.seqno)
        if SERVICE_INFO in names:
            self._see_service(entry, txid, state)
        if NODES_INFO in names or NODE_CERTIFICATES in names:
            self._see_nodes(entry, txid, state)
        if ENDORSEMENT in names:
            value = (entry.table(ENDORSEMENT) or {}).get(_SINGLETON)
            if value is not None:
                self._endorsements.append(_endorsement_record(txid, value, self._endorsements))
        self._openings(entry, state, accepted)
        self._secrets.apply(entry.seqno, str(txid), entry.tables())

    def _see_service(self, entry: Entry, txid: TxId, state: TrustedState) -> None:
        row = _json_object((entry.table(SERVICE_INFO) or {}).get(_SINGLETON))
        identity = state.identity
        if row is None or identity is None:
            return
        while len(self._lives) < len(state.identities):
            self._lives.append(IdentityHistory(state.identities[len(self._lives)]))
        life, pem, status = self._lives[-1], row.get("cert"), row.get("status")
        certificate = _certificate(pem)
        if certificate is not None and certificate.spki_sha256 == identity.fingerprint:
            _add_certificate(life.certificates, txid, str(pem), certificate)
        if isinstance(status, str) and (not life.statuses or life.statuses[-1][1] != status):
            life.statuses.append((txid, status))

    def _see_nodes(self, entry: Entry, txid: TxId, state: TrustedState) -> None:
        for key, value in (entry.table(NODES_INFO) or {}).items():
            node = self._node(key)
            row = _json_object(value)
            status = "removed" if value is None else str((row or {}).get("status"))
            if row is not None and row.get("retired_committed") is True:
                status += ", committed"
            if not node.statuses or node.statuses[-1][1] != status:
                node.statuses.append((txid, status))
            if row is not None and isinstance(row.get("cert"), str) and row["cert"]:
                self._see_node_certificate(node, txid, str(row["cert"]), state)
        for key, value in (entry.table(NODE_CERTIFICATES) or {}).items():
            if value is not None:
                self._see_node_certificate(self._node(key), txid, value.decode("utf-8", "replace"), state)

    def _node(self, key: bytes) -> NodeHistory:
        name = key.decode("utf-8", "backslashreplace")
        return self._nodes.setdefault(name, NodeHistory(name))

    def _see_node_certificate(self, node: NodeHistory, txid: TxId, pem: str, state: TrustedState) -> None:
        certificate = _certificate(pem)
        known = state.nodes.get(node.node_id)
        if certificate is None:
            return
        # Rows that the audit refused left no key or issuer in the state.
        taken = known is not None and known.spki == certificate.spki.hex() and known.joined is None
        under = known.endorsed_under if known is not None and taken else None
        _add_certificate(node.certificates, txid, pem, certificate, under)

    # --------------------------------------------------------------------------------------- conclusion

    def conclude(self, audited: AuditedLedger) -> IdentityTimeline:
        """The timeline, once the audit has its verdict."""
        state, chain = audited.state, audited.chain
        while len(self._lives) < len(state.identities):
            self._lives.append(IdentityHistory(state.identities[len(self._lives)]))
        for index, life in enumerate(self._lives):
            life.identity = state.identities[index]
            life.trusted_by = chain.trusted_by[index] if index < len(chain.trusted_by) else None
            life.opening = self._openings.of(index)
        endorsements = [_linked(record, state) for record in self._endorsements]
        timeline = IdentityTimeline(audited, self._lives, list(self._nodes.values()), endorsements, [])
        timeline.explanations += _explain(timeline, self._secrets)
        return timeline


def _json_object(value: bytes | None) -> dict[str, object] | None:
    try:
        row = None if value is None else json.loads(value)
    except (ValueError, RecursionError):
        return None  # the audit reports it
    return row if isinstance(row, dict) else None


def _certificate(pem: object) -> Certificate | None:
    try:
        return parse_certificate(pem) if isinstance(pem, str) else None
    except FormatError:
        return None  # the audit reports it


def _add_certificate(
    known: list[CertificateRecord], txid: TxId, pem: str, certificate: Certificate, under: int | None = None
) -> None:
    if known and known[-1].sha256 == certificate.sha256:
        return
    alone = is_issued_by(certificate, certificate.spki.hex())
    begin, end = certificate.not_before, certificate.not_after
    under = None if alone else under
    known.append(CertificateRecord(txid, pem, certificate.sha256, begin, end, bool(known), under, alone))


def _endorsement_record(txid: TxId, value: bytes, before: list[EndorsementRecord]) -> EndorsementRecord:
    row = _json_object(value) or {}
    version = row.get("previous_version")
    claimed = version if isinstance(version, int) and not isinstance(version, bool) else None
    actual = before[-1].txid.seqno if before else None
    pointer = None
    if claimed is not None and actual is not None and claimed != actual:
        pointer = f"names seqno {claimed} as that of the record before it: expected {actual}"
    try:
        raw = parse_endorsements(value)[0].raw
        endorsement = verify_endorsement_record(value, seqno=txid.seqno)
    except (FormatError, VerificationError) as error:
        return EndorsementRecord(txid, None, None, None, error.message, claimed, pointer)
    return EndorsementRecord(txid, raw, endorsement, None, "", claimed, pointer)


def _linked(record: EndorsementRecord, state: TrustedState) -> EndorsementRecord:
    """The record with what it links, now that the ends of all lives are known."""
    endorsement = record.endorsement
    if endorsement is None:
        return record
    links, told = _what_links(endorsement, state)
    return EndorsementRecord(record.txid, record.raw, endorsement, links, told, record.previous_version, record.pointer)


def _what_links(endorsement: VerifiedEndorsement, state: TrustedState) -> tuple[tuple[int, int] | None, str]:
    if endorsement.epoch_is_reversed:
        told = f"its epoch ends ({endorsement.end}) before it begins ({endorsement.begin}), so it vouches for nothing"
        return None, told
    if endorsement.is_self:
        return None, "the identity endorses itself, as a service does when it first opens; that links nothing"
    names = [item.fingerprint for item in state.identities]
    for newer in range(len(names) - 1, 0, -1):
        for older in range(newer):
            if endorsement_fits(state, endorsement, older, newer):
                return (newer, older), "links"
    if endorsement.endorsed not in names or endorsement.endorsing not in names:
        return None, "it is about an identity that is not in this part of the ledger"
    old = state.identities[names.index(endorsement.endorsed)]
    return None, (
        f"it is for {endorsement.begin} to {endorsement.end} with root {endorsement.end_root}, but that identity "
        f"stands from {old.begin} to {old.last_signature} with root {old.last_root}"
    )


# --------------------------------------------------------------------------------------------- explanations


def _explain(timeline: IdentityTimeline, secrets: SecretsChain) -> list[str]:
    lines = []
    for index in range(1, len(timeline.identities)):
        lines += _explain_boot(timeline, index)
        lines += _explain_links(timeline, index)
    for record in timeline.endorsements:
        if record.endorsement is not None and record.endorsement.epoch_is_reversed:
            lines.append(_explain_reversed(timeline, record))
        if record.pointer is not None:
            lines.append(f"The endorsement in {record.txid} {record.pointer}. Nodes that follow it find nothing there.")
    for item in secrets.findings:
        if item.code == "secret-sealed-twice":
            lines.append(
                f"Double sealing in {item.txid}: {item.message}. After a recovery the primary changed before the "
                "service was open again, and the new one completed the recovery a second time."
            )
    lines += [
        f"{item.message}. Identities after the gap are not in this timeline."
        for item in timeline.audited.verdict.findings
        if item.code == "chunk-gap"
    ]
    return lines


def _explain_boot(timeline: IdentityTimeline, index: int) -> list[str]:
    older, newer = timeline.identities[index - 1].identity, timeline.identities[index].identity
    last, begin = older.last_signature, newer.begin
    if last is None or begin is None:
        return []
    if begin.seqno == last.seqno + 1 and begin.view == last.view + 2:
        return [
            f"Identity {index + 1} begins at {begin}, right after the last signature {last} of identity {index}: a "
            "disaster recovery discards what was not signed, and skips a view."
        ]
    return [
        f"Identity {index + 1} begins at {begin}, but the last signature of identity {index} is {last}: a recovery "
        "begins at the next number, two views on."
    ]


def _explain_links(timeline: IdentityTimeline, index: int) -> list[str]:
    forwards = opening_decides(timeline.identities[index].identity)
    backwards = any(record.links == (index, index - 1) for record in timeline.endorsements)
    here = f"identity {index + 1}"
    if forwards and not backwards:
        seen = timeline.audited.state.cose_seen
        begin = timeline.identities[index].identity.begin
        old_version = seen is None or (begin is not None and seen > begin.seqno)
        why = "services before 6.0 write no endorsement" if old_version else "it holds no endorsement of identity"
        why += "" if old_version else f" {index} that fits"
        return [
            f"From identity {index} members lead on to {here}; nothing leads back from {here}: {why}. Who pins "
            f"{here} only, does not reach identity {index}."
        ]
    if backwards and not forwards:
        return [
            f"An endorsement leads from {here} back to identity {index}; no opening proposal that could be checked "
            f"leads on. Who pins identity {index} only, does not reach {here}."
        ]
    return [] if forwards else [f"Nothing that could be checked links identity {index} and {here}."]


def _explain_reversed(timeline: IdentityTimeline, record: EndorsementRecord) -> str:
    endorsement = record.endorsement
    who = endorsement.endorsing[:16] if endorsement is not None else "?"
    others = [
        other.txid
        for other in timeline.endorsements
        if other is not record and other.endorsement is not None and other.endorsement.endorsing[:16] == who
    ]
    before = f", after the one in {others[0]}" if others else ""
    return (
        f"The endorsement in {record.txid} is of the known bad kind (CCF issues 6906 and 6926): the recovery was "
        f"completed twice{before}, so that the identity endorses itself for an epoch that ends before it begins. It "
        "vouches for nothing and was left aside."
    )
