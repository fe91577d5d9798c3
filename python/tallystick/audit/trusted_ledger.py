"""Folds governance and internal tables into the trusted state, transaction by transaction.

Each transaction is judged by the state before it: service identities and their status, nodes and the
certificates that the service gave them, members, opening proposals with the requests that signed them, and
endorsements of previous identities. Tables that verification does not need are not looked at.

Not done here: signatures over roots (``signatures.py``), which identities are trusted (``chain.py``),
re-execution of the constitution.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from tallystick._native import Entry
from tallystick.audit.position import FindingLog, Position
from tallystick.audit.state import NodeState, ServiceIdentity, TrustedState
from tallystick.errors import FormatError, VerificationError
from tallystick.identity.certificates import (
    is_node_certificate,
    parse_certificate,
    parse_public_key_pem,
    public_key,
)
from tallystick.identity.endorsements import verify_endorsement_record
from tallystick.identity.opening import MemberKey, OpeningProposal, named_identities, verify_opening
from tallystick.identity.requests import MemberRequest, parse_cose_request, parse_http_request
from tallystick.types import TxId

__all__ = ["TrustedLedger"]

SERVICE_INFO = "public:ccf.gov.service.info"
PREVIOUS_IDENTITY = "public:ccf.gov.service.previous_service_identity"
LAST_SIGNED_ROOT = "public:ccf.internal.previous_service_last_signed_root"
ENDORSEMENT = "public:ccf.internal.previous_service_identity_endorsement"
NODES_INFO = "public:ccf.gov.nodes.info"
NODE_CERTIFICATES = "public:ccf.gov.nodes.endorsed_certificates"
MEMBER_CERTIFICATES = "public:ccf.gov.members.certs"
MEMBERS_INFO = "public:ccf.gov.members.info"
PROPOSALS = "public:ccf.gov.proposals"
PROPOSALS_INFO = "public:ccf.gov.proposals_info"
COSE_HISTORY = "public:ccf.gov.cose_history"
HTTP_HISTORY = "public:ccf.gov.history"

_RELEVANT = frozenset(
    {
        SERVICE_INFO,
        ENDORSEMENT,
        NODES_INFO,
        NODE_CERTIFICATES,
        MEMBER_CERTIFICATES,
        MEMBERS_INFO,
        PROPOSALS,
        PROPOSALS_INFO,
    }
)

_SINGLETON = bytes(8)

_BOOT_STATUSES = ("Recovering", "Opening")
_STATUS_STEPS = frozenset(
    {
        ("Opening", "Open"),
        ("Opening", "WaitingForRecoveryShares"),
        ("Recovering", "WaitingForRecoveryShares"),
        ("Recovering", "Open"),
        ("WaitingForRecoveryShares", "Open"),
    }
)
_NODE_STEPS = frozenset(
    {(None, "Pending"), (None, "Trusted"), ("Pending", "Trusted"), ("Pending", "Retired"), ("Trusted", "Retired")}
)

# A recovery starts two views after the last one, so that no election of the old service can claim its view.
_RECOVERY_VIEWS = 2
_NEW_CHUNK_FLAG = 2

# Opening proposals that are kept while open. A service has one at a time; older ones are let go, and what
# they would have vouched for then fails rather than passes.
_MAX_OPENINGS = 32
# Endorsements kept: one a recovery.
_MAX_ENDORSEMENTS = 1024

Rows = Mapping[bytes, bytes | None]
Tables = Mapping[str, Rows]


class TrustedLedger:
    """The fold over notable transactions.

    Args:
        state: where to go on from.
        log: takes the findings.
        roots_before: candidate Merkle roots on top of which a transaction can have been executed, newest first.

    Attributes:
        accepted_opening: the opening proposal that the transaction last applied accepted, if it did.
    """

    def __init__(self, state: TrustedState, log: FindingLog, roots_before: Callable[[int], list[bytes]]) -> None:
        self.state = state
        self.accepted_opening: OpeningProposal | None = None
        self._log = log
        self._roots_before = roots_before

    def begin_at_genesis(self) -> None:
        """Says that the next transaction is the first of the service."""
        self.state.complete = True
        self.state.from_genesis = True

    def apply(self, entry: Entry, at: Position) -> bool:
        """Applies one notable transaction; returns whether it changed who may sign."""
        names = entry.table_names()
        self.accepted_opening = None
        if entry.seqno == 1 and SERVICE_INFO not in names:
            self._log.add("genesis-malformed", f"first transaction lacks a row of {SERVICE_INFO}", at)
        if _RELEVANT.isdisjoint(names):
            return False
        tables = entry.tables()
        if SERVICE_INFO in tables:
            self._apply_service(tables, entry, at)
        if NODES_INFO in tables or NODE_CERTIFICATES in tables:
            self._apply_nodes(tables, entry, at)
        if MEMBER_CERTIFICATES in tables or MEMBERS_INFO in tables:
            self._apply_members(tables, at)
        if PROPOSALS in tables or PROPOSALS_INFO in tables:
            self._apply_proposals(tables, entry, at)
        if ENDORSEMENT in tables:
            self._apply_endorsement(tables[ENDORSEMENT], at)
        return SERVICE_INFO in tables or NODES_INFO in tables or NODE_CERTIFICATES in tables

    def cover_nodes(self, seqno: int) -> bool:
        """A trusted node signed everything before ``seqno``: nodes of 1.x that joined before it now count."""
        waiting = [name for name, node in self.state.nodes.items() if node.joined is not None and node.joined < seqno]
        for name in waiting:
            self.state.nodes[name] = replace(self.state.nodes[name], joined=None)
        return bool(waiting)

    # ------------------------------------------------------------------------------------------ service

    def _apply_service(self, tables: Tables, entry: Entry, at: Position) -> None:
        row = self._singleton(tables[SERVICE_INFO], SERVICE_INFO, at)
        if row is None:
            return
        status, pem = row.get("status"), row.get("cert")
        if not isinstance(status, str) or not isinstance(pem, str):
            self._log.add("row-malformed", f"{SERVICE_INFO}: expected a certificate and a status", at)
            return
        try:
            certificate = parse_certificate(pem)
            fingerprint = public_key(certificate.spki.hex()).sha256
        except FormatError as error:
            self._log.add("row-malformed", f"{SERVICE_INFO}: {error.message}", at)
            return
        spki = certificate.spki.hex()
        current = self.state.identity
        if current is None:
            self._first_identity(spki, fingerprint, status, at)
        elif current.fingerprint == fingerprint:
            self._change_status(current, status, at)
        elif current.spki is None and status not in _BOOT_STATUSES:
            self.state.update_identity(spki=spki, fingerprint=fingerprint, status=status)
        else:
            self._begin_recovery(current, spki, fingerprint, status, tables, entry, at)

    def _first_identity(self, spki: str, fingerprint: str, status: str, at: Position) -> None:
        boot = at.seqno == 1 or status == "Recovering"
        if self.state.from_genesis and (at.seqno != 1 or status not in _BOOT_STATUSES):
            self._log.add(
                "genesis-malformed",
                f"service identity first appears with status {status}: expected Opening in transaction 1",
                at,
            )
        begin = TxId(at.view or 0, at.seqno or 0) if boot else None
        if boot:
            self.state.complete = True
        self.state.identities.append(ServiceIdentity(spki, fingerprint, begin, at.file, at.offset, status))

    def _change_status(self, current: ServiceIdentity, status: str, at: Position) -> None:
        if current.status not in (None, status) and (current.status, status) not in _STATUS_STEPS:
            self._log.add(
                "service-status", f"service status goes from {current.status} to {status}, which no service does", at
            )
        self.state.update_identity(status=status)

    def _begin_recovery(
        self,
        current: ServiceIdentity,
        spki: str,
        fingerprint: str,
        status: str,
        tables: Tables,
        entry: Entry,
        at: Position,
    ) -> None:
        if status not in _BOOT_STATUSES:
            self._log.add(
                "service-identity-changed",
                f"service key changes outside of a recovery: expected {current.fingerprint}, got {fingerprint}",
                at,
            )
        self._check_boot_place(entry, at)
        self._check_boot_claims(current, tables, at)
        problem = None if self.state.from_genesis else "the members before the start of this part are not known"
        self.state.complete = True
        self.state.identities.append(
            ServiceIdentity(
                spki,
                fingerprint,
                TxId(entry.view, entry.seqno),
                at.file,
                at.offset,
                status,
                members=dict(self.state.members),
                opening_problem=problem,
            )
        )

    def _check_boot_place(self, entry: Entry, at: Position) -> None:
        last = self.state.last_signature
        if last is None:
            return
        if entry.seqno != last.seqno + 1:
            self._log.add(
                "recovery-boot",
                f"recovery does not follow a signature: expected it at seqno {last.seqno + 1}, got {entry.seqno}",
                at,
            )
        if entry.view != last.view + _RECOVERY_VIEWS:
            self._log.add(
                "recovery-boot",
                f"recovery in a view of its own: expected view {last.view + _RECOVERY_VIEWS}, got {entry.view}",
                at,
            )
        if not entry.flags & _NEW_CHUNK_FLAG:
            self._log.add("recovery-flag", "recovery does not ask for a new chunk: expected flag 2 in its header", at)

    def _check_boot_claims(self, current: ServiceIdentity, tables: Tables, at: Position) -> None:
        pem = self._singleton_text(tables.get(PREVIOUS_IDENTITY), PREVIOUS_IDENTITY, at)
        if pem is not None and current.fingerprint is not None:
            try:
                claimed = parse_certificate(pem).spki_sha256
            except FormatError as error:
                claimed = error.message
            if claimed != current.fingerprint:
                self._log.add(
                    "recovery-previous-identity",
                    f"recovery names another previous identity: expected {current.fingerprint}, got {claimed}",
                    at,
                )
        root = self._singleton_text(tables.get(LAST_SIGNED_ROOT), LAST_SIGNED_ROOT, at)
        if root is not None and current.last_root is not None and root != current.last_root:
            self._log.add(
                "recovery-last-root",
                f"recovery names another last signed root: expected {current.last_root}, got {root}",
                at,
            )

    # -------------------------------------------------------------------------------------------- nodes

    def _apply_nodes(self, tables: Tables, entry: Entry, at: Position) -> None:
        touched: list[str] = []
        for key, value in tables.get(NODES_INFO, {}).items():
            node_id = _text(key)
            if value is None:
                self.state.nodes.pop(node_id, None)
            else:
                self._apply_node(node_id, value, entry, at)
                touched.append(node_id)
        refused = [
            _text(key)
            for key, value in tables.get(NODE_CERTIFICATES, {}).items()
            if not self._apply_node_certificate(_text(key), value, at)
        ]
        for node_id in touched:
            if node_id not in refused:
                self._check_trusted_node(node_id, at)

    def _apply_node(self, node_id: str, value: bytes, entry: Entry, at: Position) -> None:
        row = self._object(value, NODES_INFO, at)
        if row is None:
            return
        status = row.get("status")
        known = self.state.nodes.get(node_id)
        if status not in ("Pending", "Trusted", "Retired"):
            self._log.add("row-malformed", f"{NODES_INFO}: node {node_id} has the unknown status {status!r}", at)
            return
        before = known.status if known is not None else None
        if before != status and (before, status) not in _NODE_STEPS and (known is not None or self.state.from_genesis):
            self._log.add(
                "node-status",
                f"status of node {node_id} goes from {before or 'absent'} to {status}, which none does",
                at,
            )
        node = replace(
            known or NodeState(str(status)), status=str(status), retired_committed=row.get("retired_committed") is True
        )
        self.state.nodes[node_id] = self._with_key(node, node_id, row, entry, at)

    def _with_key(self, node: NodeState, node_id: str, row: dict[str, object], entry: Entry, at: Position) -> NodeState:
        pem, cert = row.get("public_key"), row.get("cert")
        try:
            if isinstance(pem, str) and pem:
                spki = parse_public_key_pem(pem).hex()
            elif isinstance(cert, str) and cert:
                spki = parse_certificate(cert).spki.hex()
            else:
                return node
            actual = public_key(spki).sha256
        except FormatError as error:
            self._log.add("row-malformed", f"{NODES_INFO}: node {node_id}: {error.message}", at)
            return node
        if actual != node_id:
            self._log.add("node-id-mismatch", f"node id is not that of its key: expected {actual}, got {node_id}", at)
            return node
        if isinstance(cert, str) and cert and node.spki != spki:
            return self._admit_old_style(replace(node, spki=spki), cert, entry)
        return replace(node, spki=spki)

    def _admit_old_style(self, node: NodeState, cert: str, entry: Entry) -> NodeState:
        """A node of 1.x: its certificate stands in its row, by the service (the first node) or by itself."""
        identity = self.state.identity
        if identity is not None and identity.spki is not None:
            if is_node_certificate(parse_certificate(cert), identity.spki):
                return replace(node, endorsed_under=self.state.identity_index)
            if not self.state.endorses_nodes:
                return replace(node, endorsed_under=self.state.identity_index, joined=entry.seqno)
        return node

    def _apply_node_certificate(self, node_id: str, value: bytes | None, at: Position) -> bool:
        """Applies a certificate row; returns False when it was refused, with a finding."""
        node = self.state.nodes.get(node_id)
        if value is None:
            if node is not None:
                self.state.nodes[node_id] = replace(node, endorsed_under=None)
            return True
        self.state.endorses_nodes = True
        try:
            certificate = parse_certificate(value)
        except FormatError as error:
            self._log.add("row-malformed", f"{NODE_CERTIFICATES}: node {node_id}: {error.message}", at)
            return False
        if certificate.spki_sha256 != node_id:
            self._log.add(
                "node-id-mismatch",
                f"certificate is for another node: expected key {node_id}, got {certificate.spki_sha256}",
                at,
            )
            return False
        identity = self.state.identity
        if identity is None or identity.spki is None:
            return True  # a suffix whose service key nothing has told yet
        if not is_node_certificate(certificate, identity.spki):
            self._log.add(
                "node-not-endorsed",
                f"certificate of node {node_id} is not issued to a node by the service in force: expected the key "
                f"{identity.fingerprint}, got issuer {certificate.issuer_text}",
                at,
            )
            return False
        if node is None:
            if self.state.complete:
                self._log.add(
                    "node-certificate-stray", f"certificate for node {node_id}, which is not in {NODES_INFO}", at
                )
                return True
            # In a suffix the row can stand before the start; the service's word for the key is what counts.
            node = NodeState("Trusted")
        self.state.nodes[node_id] = replace(
            node, spki=certificate.spki.hex(), endorsed_under=self.state.identity_index, joined=None
        )
        return True

    def _check_trusted_node(self, node_id: str, at: Position) -> None:
        node = self.state.nodes.get(node_id)
        if node is None or node.status != "Trusted" or not self.state.complete:
            return
        if node.endorsed_under != self.state.identity_index:
            self._log.add(
                "node-not-endorsed", f"node {node_id} is Trusted without a certificate of the service in force", at
            )

    # ------------------------------------------------------------------------------------------ members

    def _apply_members(self, tables: Tables, at: Position) -> None:
        members = self.state.members
        for key, value in tables.get(MEMBER_CERTIFICATES, {}).items():
            member_id = _text(key)
            if value is None:
                members.pop(member_id, None)
                continue
            try:
                certificate = parse_certificate(value)
            except FormatError as error:
                self._log.add("row-malformed", f"{MEMBER_CERTIFICATES}: member {member_id}: {error.message}", at)
                continue
            if certificate.sha256 != member_id:
                self._log.add(
                    "member-id-mismatch",
                    f"member id is not that of its certificate: expected {certificate.sha256}, got {member_id}",
                    at,
                )
                continue
            known = members.get(member_id)
            members[member_id] = MemberKey(certificate.spki.hex(), known.status if known else "Accepted")
        for key, value in tables.get(MEMBERS_INFO, {}).items():
            member_id = _text(key)
            row = None if value is None else self._object(value, MEMBERS_INFO, at)
            if row is not None and member_id in members:
                members[member_id] = replace(members[member_id], status=str(row.get("status")))

    # ---------------------------------------------------------------------------------------- proposals

    def _apply_proposals(self, tables: Tables, entry: Entry, at: Position) -> None:
        openings = self.state.openings
        bodies = tables.get(PROPOSALS, {})
        for key, value in bodies.items():
            if value is not None and b"transition_service_to_open" in value:
                proposal_id = _text(key)
                openings[proposal_id] = OpeningProposal(
                    proposal_id, value, entry.seqno, roots=tuple(self._roots_before(entry.seqno))
                )
        if openings:
            requests = _requests(tables)
            for key, value in tables.get(PROPOSALS_INFO, {}).items():
                opening = openings.get(_text(key))
                row = None if opening is None or value is None else self._object(value, PROPOSALS_INFO, at)
                if opening is not None and row is not None:
                    self._record_opening(opening, row, requests, at)
            for key, value in bodies.items():
                if value is None:
                    openings.pop(_text(key), None)
        while len(openings) > _MAX_OPENINGS:
            del openings[next(iter(openings))]

    def _record_opening(
        self, opening: OpeningProposal, row: dict[str, object], requests: Mapping[str, MemberRequest], at: Position
    ) -> None:
        proposer, ballots, votes = row.get("proposer_id"), row.get("ballots") or {}, row.get("final_votes")
        if not isinstance(proposer, str) or not isinstance(ballots, dict) or not isinstance(votes, dict | None):
            self._log.add("row-malformed", f"{PROPOSALS_INFO}: proposal {opening.proposal_id} is malformed", at)
            return
        if opening.seqno == at.seqno:
            opening.proposer_id = proposer
            opening.request = requests.get(proposer)
        for member, text in ballots.items():
            if isinstance(text, str) and opening.ballots.get(member) != text:
                opening.ballots[member] = text
                opening.ballot_requests.pop(member, None)
                if member in requests:
                    opening.ballot_requests[member] = requests[member]
        if row.get("state") == "Open":
            return
        del self.state.openings[opening.proposal_id]
        if row.get("state") == "Accepted":
            opening.final_votes = None if votes is None else {name: vote is True for name, vote in votes.items()}
            self.accepted_opening = opening
            self._judge_opening(opening, at)

    def _judge_opening(self, opening: OpeningProposal, at: Position) -> None:
        identity = self.state.identity
        if identity is None or identity.fingerprint is None:
            return
        try:
            if self.state.identity_index == 0:
                self._check_first_opening(opening, identity.fingerprint, at)
                return
            previous = self.state.identities[-2].fingerprint
            if identity.opening is not None or previous is None or not self.state.from_genesis:
                return
            verified = verify_opening(opening, identity.members, previous, identity.fingerprint)
        except (FormatError, VerificationError) as error:
            problem = f"opening proposal {opening.proposal_id} at seqno {at.seqno}: {error.message}"
            self.state.update_identity(opening_problem=problem)
            return
        self.state.update_identity(opening=verified, opening_problem=None, members={})

    def _check_first_opening(self, opening: OpeningProposal, fingerprint: str, at: Position) -> None:
        # In 1.x the action has no arguments.
        for _, following in named_identities(opening.body):
            if following not in (None, fingerprint) and self.state.from_genesis:
                self._log.add(
                    "opening-identity-mismatch",
                    f"members opened another service: expected identity {fingerprint}, got {following}",
                    at,
                )

    def _apply_endorsement(self, rows: Rows, at: Position) -> None:
        value = self._singleton_value(rows, ENDORSEMENT, at)
        if value is None:
            return
        try:
            endorsement = verify_endorsement_record(value, seqno=at.seqno)
        except (FormatError, VerificationError) as error:
            self._log.add("endorsement-invalid", f"endorsement of the previous identity: {error.message}", at)
            return
        if endorsement.epoch_is_reversed:
            self._log.add(
                "endorsement-epoch-reversed",
                f"endorsement for an epoch that ends before it begins ({endorsement.begin} to {endorsement.end}), "
                "left aside: known of services that recovered with an early build of 6.0",
                at,
            )
        elif len(self.state.endorsements) < _MAX_ENDORSEMENTS:
            self.state.endorsements.append(endorsement)

    # ------------------------------------------------------------------------------------------- values

    def _singleton_value(self, rows: Rows, table: str, at: Position) -> bytes | None:
        if list(rows) != [_SINGLETON]:
            self._log.add("row-malformed", f"{table}: expected one row under a key of eight zero bytes", at)
        value = rows.get(_SINGLETON)
        if value is None:
            self._log.add("row-malformed", f"{table}: its row is removed, which no service does", at)
        return value

    def _singleton(self, rows: Rows, table: str, at: Position) -> dict[str, object] | None:
        value = self._singleton_value(rows, table, at)
        return None if value is None else self._object(value, table, at)

    def _singleton_text(self, rows: Rows | None, table: str, at: Position) -> str | None:
        if rows is None:
            return None
        value = self._singleton_value(rows, table, at)
        try:
            text = None if value is None else json.loads(value)
        except (ValueError, RecursionError):
            text = None
        if not isinstance(text, str):
            self._log.add("row-malformed", f"{table}: expected a JSON string", at)
            return None
        return text

    def _object(self, value: bytes, table: str, at: Position) -> dict[str, object] | None:
        try:
            row = json.loads(value)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            self._log.add("row-malformed", f"{table}: expected a JSON object", at)
            return None
        return row


def _text(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")


def _requests(tables: Tables) -> dict[str, MemberRequest]:
    requests: dict[str, MemberRequest] = {}
    for table, parse in ((COSE_HISTORY, parse_cose_request), (HTTP_HISTORY, parse_http_request)):
        for key, value in tables.get(table, {}).items():
            if value is None:
                continue
            try:
                requests[_text(key)] = parse(_text(key), value)
            except FormatError:
                # Not usable as evidence; an opening that needs it is then not vouched for.
                continue
    return requests
