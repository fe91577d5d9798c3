"""Judges signature transactions: who signed, whether that signer counted at that moment, and whether it holds.

For each signature transaction (see :class:`SignatureChecker`):

(1) there is a node signature, a COSE signature, or both, and the root was recomputed;
(2) the node is known and trusted now: its status, its key, and a certificate of the service in force;
(3) the certificate embedded in the signature is for that key; a renewed one is fine, so keys are compared;
(4) the COSE signature names the service key in force;
(5) every signature that is there holds, over the root that was recomputed here.

(5) runs on all cores, behind the fold: a signature counts only when :meth:`SignatureChecker.flush` has had its
checks back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from tallystick._native import PublicKey, SignatureBatch, SignatureRecord
from tallystick.audit.position import FindingLog, Position
from tallystick.audit.state import NodeState, ServiceIdentity
from tallystick.audit.trusted_ledger import TrustedLedger
from tallystick.errors import FormatError
from tallystick.identity.certificates import is_node_certificate, parse_certificate, public_key
from tallystick.types import TxId

__all__ = ["SignatureChecker"]

_KEY_UNKNOWN = (
    "service key in force is not known here: add the certificate of the service with --service-cert FILE, or the "
    "chunks before this one"
)

# Signatures whose checks may be under way; bounds what is remembered of each (some 300 bytes).
PENDING = 32_768


class _Pending(NamedTuple):
    seqno: int
    view: int
    file_index: int
    offset: int
    first_proven: int | None
    node_id: str | None
    identity: int


class SignatureChecker:
    """Checks the signature transactions of a ledger, in order.

    Args:
        ledger: the trusted state, as of each signature.
        log: takes the findings.
        candidate_keys: SubjectPublicKeyInfo (hex) of service keys that may be in force at the start of a suffix.
        place: position of (file index, offset, view, seqno).
        batch: checks them; some may have begun.
    """

    def __init__(
        self,
        ledger: TrustedLedger,
        log: FindingLog,
        *,
        candidate_keys: Sequence[str],
        place: Callable[[int, int, int, int], Position],
        batch: SignatureBatch,
    ) -> None:
        self._ledger = ledger
        self._state = ledger.state
        self._log = log
        self._candidates = candidate_keys
        self._position = place
        self._batch = batch
        self._signers: dict[tuple[str | None, bytes | None], PublicKey] = {}
        self._pending: list[_Pending] = []
        self._noted: set[tuple[str, str]] = set()
        self._waiting = any(node.joined is not None for node in self._state.nodes.values())
        self.count = 0
        self.unverifiable = 0

    def governance_changed(self) -> None:
        """To be called when a transaction changed nodes or the service: what was known of signers is void."""
        self._signers.clear()
        self._waiting = any(node.joined is not None for node in self._state.nodes.values())

    def check(self, records: Sequence[SignatureRecord]) -> None:
        """Judges a run of signature transactions with no governance between them, and queues their signatures."""
        if not records:
            return
        if self._state.identity is None:
            self._state.identities.append(self._initial_identity(records[0]))
        index = self._state.identity_index
        service_key = self._service_key()
        node_keys: list[PublicKey | None] = []
        service_keys: list[PublicKey | None] = []
        pending = self._pending
        for record in records:
            signer, service = self._judge(record, service_key)
            node_keys.append(signer)
            service_keys.append(service)
            if signer is not None or service is not None:
                pending.append(
                    _Pending(
                        record.seqno,
                        record.view,
                        record.file_index,
                        record.offset,
                        record.first_proven,
                        record.node_id,
                        index,
                    )
                )
            else:
                self.unverifiable += 1
        self._batch.submit_records(records, node_keys, service_keys)
        self._remember(records)
        if len(pending) >= PENDING:
            self.flush()

    def _remember(self, records: Sequence[SignatureRecord]) -> None:
        last, identity = records[-1], self._state.identities[-1]
        txid = TxId(last.view, last.seqno)
        root = last.root if last.root is not None else last.raw_root
        self.count += len(records)
        self._state.last_signature = txid
        self._state.update_identity(
            last_signature=txid,
            last_root=root.hex() if root is not None else None,
            signatures=identity.signatures + len(records),
        )

    # ------------------------------------------------------------------------------------------ judging

    def _service_key(self) -> PublicKey | None:
        identity = self._state.identities[-1]
        return None if identity.spki is None else public_key(identity.spki)

    def _judge(
        self, record: SignatureRecord, service_key: PublicKey | None
    ) -> tuple[PublicKey | None, PublicKey | None]:
        """(1) to (4) for one record: the keys under which its signatures must hold, None where none is to be tried."""
        if record.root is None or not record.root_holds:
            if record.root is not None and not self._log.failed_at_or_before(record.seqno):
                self._log.add("root-mismatch", "root differs from the computed one", self._place(record))
            return None, None
        signer = service = None
        refused = False
        if record.has_raw:
            signer = self._signers.get((record.node_id, record.certificate_pem))
            if signer is None:
                signer, refused = self._find_signer(record)
        if record.has_cose:
            service, wrong = self._cose_key(record, service_key)
            refused = refused or wrong
            if self._state.cose_seen is None:
                self._state.cose_seen = record.seqno
        elif self._state.cose_seen is not None:
            self._note_cose_missing(record)
        if not record.has_raw and not record.has_cose:
            self._log.add(
                "signature-missing", "signature transaction without a node or COSE signature", self._place(record)
            )
        if refused:
            return None, None
        if self._waiting and (signer is not None or service is not None) and self._ledger.cover_nodes(record.seqno):
            self.governance_changed()
        return signer, service

    def _note_cose_missing(self, record: SignatureRecord) -> None:
        self._state.cose_missing += 1
        if self._state.cose_missing == 1:
            self._log.add(
                "cose-signature-missing",
                f"no COSE signature, though one was there at seqno {self._state.cose_seen}: nodes of different "
                "versions, or somebody left it out",
                self._place(record),
            )

    def _cose_key(self, record: SignatureRecord, service_key: PublicKey | None) -> tuple[PublicKey | None, bool]:
        if service_key is None:
            self._undecided("service-key-unknown", _KEY_UNKNOWN, record)
            return None, True
        kid = record.cose_kid
        if kid is not None and kid != service_key.sha256:
            self._log.add(
                "cose-kid-mismatch",
                f"COSE signature names another service key: expected {service_key.sha256}, got {kid}",
                self._place(record),
            )
            return None, True
        return service_key, False

    def _find_signer(self, record: SignatureRecord) -> tuple[PublicKey | None, bool]:
        """(2) and (3); the second value says that the signature must not count."""
        node_id, pem = record.node_id, record.certificate_pem
        node = self._state.nodes.get(node_id or "")
        identity = self._state.identities[-1]
        try:
            embedded = None if pem is None else parse_certificate(pem)
            unseen = node is None or (node.endorsed_under is None and node.status != "Pending")
            if unseen and not self._state.complete:
                key = self._signer_in_suffix(record, identity)
            else:
                key = self._known_signer(record, node)
            if key is not None and embedded is not None and embedded.spki != key.spki:
                self._log.add(
                    "signer-key-mismatch",
                    f"certificate in the signature is for another key: expected {node_id}, got {embedded.spki_sha256}",
                    self._place(record),
                )
                return None, True
        except FormatError as error:
            self._log.add("signer-certificate", f"signer's certificate: {error.message}", self._place(record))
            return None, True
        if key is None:
            return None, True
        self._signers[(node_id, pem)] = key
        return key, False

    def _known_signer(self, record: SignatureRecord, node: NodeState | None) -> PublicKey | None:
        node_id = record.node_id or "absent"
        if node is None:
            self._log.add(
                "signer-unknown", f"signed by node {node_id}, which the ledger does not know", self._place(record)
            )
            return None
        if node.status == "Pending" or node.joined is not None:
            reason = "is Pending" if node.status == "Pending" else "joined after the last signature of a trusted node"
            self._log.add("signer-not-trusted", f"signed by node {node_id}, which {reason}", self._place(record))
            return None
        if node.spki is None or node.endorsed_under != self._state.identity_index:
            self._log.add(
                "signer-not-endorsed",
                f"signed by node {node_id}, which has no certificate of the service in force",
                self._place(record),
            )
            return None
        if node.status == "Retired":
            code = "signer-retired-committed" if node.retired_committed else "signer-retired"
            if (code, node_id) not in self._noted:
                self._noted.add((code, node_id))
                when = "whose retirement is committed" if node.retired_committed else "which is retiring"
                self._log.add(code, f"signed by node {node_id}, {when}", self._place(record))
        return public_key(node.spki)

    # ----------------------------------------------------------------------------------------- suffixes

    def _initial_identity(self, record: SignatureRecord) -> ServiceIdentity:
        """Which of the candidate keys is in force where a suffix begins; unknown when none fits."""
        for spki in self._candidates:
            key = public_key(spki)
            if record.has_cose and record.cose_kid is not None:
                if record.cose_kid == key.sha256:
                    return ServiceIdentity(spki, key.sha256, None)
            elif record.certificate_pem is not None:
                try:
                    if is_node_certificate(parse_certificate(record.certificate_pem), spki):
                        return ServiceIdentity(spki, key.sha256, None)
                except FormatError:
                    continue  # named where the signer is judged
        return ServiceIdentity(None, record.cose_kid, None)

    def _signer_in_suffix(self, record: SignatureRecord, identity: ServiceIdentity) -> PublicKey | None:
        if record.certificate_pem is None:
            self._undecided(
                "signer-before-start",
                f"signed by node {record.node_id}, whose row is before the start, and in 1.x no certificate stands "
                "beside the signature: add the chunks before this one, best from seqno 1 on",
                record,
            )
            return None
        certificate = parse_certificate(record.certificate_pem)
        if certificate.spki_sha256 != record.node_id:
            self._log.add(
                "node-id-mismatch",
                f"certificate is for another node: expected key {record.node_id}, got {certificate.spki_sha256}",
                self._place(record),
            )
            return None
        if identity.spki is None:
            self._undecided("service-key-unknown", _KEY_UNKNOWN, record)
        elif not is_node_certificate(certificate, identity.spki):
            self._log.add(
                "signer-not-endorsed",
                f"certificate of node {record.node_id} is not issued to a node by the service in force: expected "
                f"{identity.fingerprint}, got issuer {certificate.issuer_text}",
                self._place(record),
            )
            return None
        return public_key(certificate.spki.hex())

    def _undecided(self, code: str, message: str, record: SignatureRecord) -> None:
        # Said once: it is the same for each signature until the state changes.
        if (code, "") not in self._noted:
            self._noted.add((code, ""))
            self._log.add(code, message, self._place(record))

    # ----------------------------------------------------------------------------------------- flushing

    def flush(self) -> None:
        """Waits for all checks under way, and moves what is proven."""
        failed = self._batch.finish()
        if failed:
            self._report({tag // 2: [] for tag in failed}, failed)
        proven: dict[int, _Pending] = {}
        for item in self._pending:
            if self._log.failed_at_or_before(item.seqno):
                break
            identity = self._state.identities[item.identity]
            if identity.first_proven is None and item.identity not in proven:
                self._state.identities[item.identity] = replace(identity, first_proven=item.first_proven)
            proven[item.identity] = item
        for index, item in proven.items():
            self._state.identities[index] = replace(
                self._state.identities[index], last_proven=TxId(item.view, item.seqno)
            )
        self._pending.clear()

    def _place(self, record: SignatureRecord) -> Position:
        return self._position(record.file_index, record.offset, record.view, record.seqno)

    def _report(self, by_seqno: dict[int, list[int]], failed: Sequence[int]) -> None:
        for tag in failed:
            by_seqno[tag // 2].append(tag)
        for item in self._pending:
            for tag in by_seqno.get(item.seqno, ()):
                at = self._position(item.file_index, item.offset, item.view, item.seqno)
                if tag % 2:
                    message = "COSE signature does not hold under the service key in force"
                    self._log.add("cose-signature-invalid", message, at)
                else:
                    message = f"signature does not hold under the key of node {item.node_id}"
                    self._log.add("signature-invalid", message, at)
