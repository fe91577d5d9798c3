"""The life of a demonstration service: genesis, acks, opening, application writes, disaster recovery.

Each method writes the transactions that a CCF node writes for it, with the same tables and values, every
signature genuine. What the service does not do: it runs no constitution (it applies the few actions that it
proposes itself) and checks nobody's requests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hashes import Hash

from tallystick._native import CoseSign1
from tallystick.demo.cose_messages import sign_endorsement, sign_request
from tallystick.demo.identities import (
    KeySource,
    MemberIdentity,
    NodeIdentity,
    ServiceIdentity,
    certificate_spki,
)
from tallystick.demo.ledger import NEW_CHUNK, SINGLETON_KEY, LedgerForge, Rows, Signed, json_bytes
from tallystick.demo.shares import encrypt_to, new_secret, seal, wrap_secret
from tallystick.demo.styles import STYLES, Style
from tallystick.ledger.writer import WrittenTransaction
from tallystick.types import TxId

__all__ = ["BALLOT", "DemoService", "demo_constitution"]

BALLOT = "export function vote (proposal, proposerId) { return true; }"

_MEASUREMENT = "Insecure hard-coded virtual measurement v1"
_GOV = "public:ccf.gov."
_INTERNAL = "public:ccf.internal."
_SERVICE_INFO = _GOV + "service.info"
_NODES_INFO = _GOV + "nodes.info"
_ENDORSED = _GOV + "nodes.endorsed_certificates"
_MEMBERS_INFO = _GOV + "members.info"
_ACKS = _GOV + "members.acks"
_PROPOSALS = _GOV + "proposals"
_RECENT = _GOV + "cose_recent_proposals"
_PROPOSALS_INFO = _GOV + "proposals_info"
_ENDORSEMENT = _INTERNAL + "previous_service_identity_endorsement"
_SHARES = _INTERNAL + "recovery_shares"
_SUBMITTED = _INTERNAL + "encrypted_submitted_shares"
_LAST_ROOT = _INTERNAL + "previous_service_last_signed_root"
_HISTORICAL = _INTERNAL + "historical_encrypted_ledger_secret"

# Proposals that the window against replay keeps, as CCF does by default.
_RECENT_REQUESTS = 100

# A recovered service starts two views after the last one: one for the election that never came.
RECOVERY_VIEW_STEP = 2

Changes = dict[str, dict[bytes, bytes | None]]


def demo_constitution() -> str:
    """Source of the demonstration's constitution."""
    return (files("tallystick.demo") / "constitution.js").read_text(encoding="utf-8")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class DemoService(LedgerForge):
    """A service with one primary node and a consortium.

    Args:
        directory: ledger directory.
        style: name of a style in :data:`tallystick.demo.styles.STYLES`, or one of your own.
        source: where keys come from.
        clock: gives Unix seconds, for requests, endorsements and signatures.
        curve: of the service's and nodes' keys: ``P-256``, ``P-384`` or ``P-521``.
        members: how many members the consortium has.
        threshold: how many recovery shares a recovery takes.

    Attributes:
        members_needed: ballots that decide a proposal; at first a strict majority.
        boot_flags: entry flags of a recovery's first transaction; a node sets :data:`NEW_CHUNK`.
    """

    def __init__(
        self,
        directory: Path,
        style: str | Style,
        source: KeySource,
        clock: Callable[[], int],
        *,
        curve: str = "P-384",
        members: int = 3,
        threshold: int = 2,
    ) -> None:
        self.source = source
        self.curve = curve
        self.threshold = threshold
        self.members = [MemberIdentity.create(self.source, f"member{i}") for i in range(members)]
        service = ServiceIdentity(self.source, curve)
        self.secret = new_secret()
        node = NodeIdentity(self.source, service, curve)
        style = STYLES[style] if isinstance(style, str) else style
        super().__init__(directory, style, service, node, self.secret, clock)
        self.secret_start = 1
        self.secret_stored = 0
        self.older_secrets: list[tuple[int, bytes]] = []
        self.shares: dict[str, bytes] = {}
        self.identities = [self.service]
        self.boot = TxId(2, 1)
        self.recoveries = 0
        self.members_needed = members // 2 + 1
        self.boot_flags = NEW_CHUNK
        self._previous_boot = 0
        self._previous_epoch = ("", "")
        self._retired: list[bytes] = []

    def new_node(self, address: str = "127.0.0.1") -> NodeIdentity:
        """Keys and a certificate for one more node; nothing is written."""
        return NodeIdentity(self.source, self.service, self.curve, address)

    # ------------------------------------------------------------ values of tables

    def node_info(self, node: NodeIdentity, status: str = "Trusted") -> dict[str, object]:
        """A value of ``nodes.info`` in this service's style."""
        report = {
            "host_data": hashlib.sha256(b"tallystick demo").hexdigest(),
            "measurement": _MEASUREMENT,
            "report_data": _b64(hashlib.sha256(node.key.spki).digest()),
        }
        address = f"{node.address}:8000"
        info: dict[str, object] = {
            "code_digest": _MEASUREMENT.encode().hex(),
            "encryption_pub_key": node.encryption_pem,
            "quote_info": {
                "endorsements": "",
                "format": "Insecure_Virtual",
                "quote": _b64(json_bytes(report)),
            },
            "status": status,
        }
        if self.style.certificate_in_info:
            host, port = node.address, "8000"
            info.update(cert=node.certificate, nodehost=host, nodeport=port, rpchost=host, rpcport=port)
        else:
            info["certificate_signing_request"] = node.signing_request
            info["public_key"] = node.key.spki_pem
            info["node_to_node_interface"] = {"bind_address": address, "published_address": address}
            info["rpc_interfaces"] = {
                "primary_rpc_interface": {
                    "bind_address": address,
                    "endorsement": {"authority": "Service"},
                    "published_address": address,
                }
            }
        return info

    def node_rows(self, node: NodeIdentity, status: str = "Trusted") -> Changes:
        """What makes ``node`` known: its info and, after 1.x, its endorsed certificate."""
        rows: Changes = {_NODES_INFO: {node.id.encode(): json_bytes(self.node_info(node, status))}}
        if not self.style.certificate_in_info:
            rows[_ENDORSED] = {node.id.encode(): node.certificate.encode()}
        return rows

    def service_info(self, status: str) -> bytes:
        """A value of ``service.info`` in this service's style."""
        info: dict[str, object] = {"cert": self.service.certificate, "status": status}
        if self.style.entry_type == 4:
            info["current_service_create_txid"] = str(self.boot)
            info["recovery_count"] = self.recoveries
        previous = self._previous_identity_version()
        if previous is not None:
            info["previous_service_identity_version"] = previous
        return json_bytes(info)

    def _previous_identity_version(self) -> int | None:
        if self.recoveries == 0:
            return None
        if self.style.boot_seqno_in_info:
            return self._previous_boot
        return self.state[_SERVICE_INFO].version

    # ------------------------------------------------------------ genesis and opening

    def genesis(self, *, claims: bytes = bytes(32)) -> Signed:
        """Transaction 2.1, its signature 2.2, and the chunk that holds just these."""
        certificates: Rows = {m.id.encode(): m.certificate.encode() for m in self.members}
        tables: Changes = {
            _GOV + "constitution": {SINGLETON_KEY: json_bytes(demo_constitution())},
            _ACKS: {m.id.encode(): json_bytes({"state_digest": ""}) for m in self.members},
            _GOV + "members.certs": dict(certificates),
            _GOV + "members.encryption_public_keys": {m.id.encode(): m.encryption_pem.encode() for m in self.members},
            _MEMBERS_INFO: {m.id.encode(): json_bytes({"status": "Accepted"}) for m in self.members},
            _GOV + "nodes.virtual.measurements": {_MEASUREMENT.encode(): json_bytes("AllowedToJoin")},
            _GOV + "service.config": {
                SINGLETON_KEY: json_bytes(
                    {
                        "maximum_node_certificate_validity_days": 365,
                        "maximum_service_certificate_validity_days": 365,
                        "recovery_threshold": self.threshold,
                    }
                )
            },
            _SERVICE_INFO: {SINGLETON_KEY: self.service_info("Opening")},
        }
        self.append({**tables, **self.node_rows(self.node)}, claims=claims)
        return self.sign(close_chunk=True)

    def acknowledge(self, member: MemberIdentity) -> WrittenTransaction:
        """A member updates its state digest, signs it and becomes Active."""
        digest = self.last_signed_root.hex()
        key = member.id.encode()
        known = json.loads(self.value(_ACKS, key) or b"{}")
        self.append({_ACKS: {key: json_bytes({**known, "state_digest": digest})}})
        ack: dict[str, object] = {"state_digest": digest}
        body = json.dumps({"state_digest": digest}).encode()
        if self.style.http_requests:
            ack["signed_req"] = self._http_request(member, "/gov/ack", body)
        else:
            ack["cose_sign1_req"] = _b64(sign_request(member.key, member.id, "ack", body, created_at=self.clock()))
        tables: Changes = {
            _ACKS: {key: json_bytes(ack)},
            _MEMBERS_INFO: {key: json_bytes({"status": "Active"})},
        }
        return self.append(tables)

    def open(self, *, close_chunk: bool = True) -> Signed:
        """Every member acks, and the consortium opens the service."""
        for member in self.members:
            self.acknowledge(member)
        self.sign()
        arguments: dict[str, object] = (
            {} if self.style.certificate_in_info else {"next_service_identity": self.service.certificate}
        )
        self.decide("transition_service_to_open", arguments, self._opening_writes)
        return self.sign(close_chunk=close_chunk)

    def _opening_writes(self) -> Changes:
        tables: Changes = {
            _SERVICE_INFO: {SINGLETON_KEY: self.service_info("Open")},
            _HISTORICAL: {SINGLETON_KEY: json_bytes({"next_version": 1})},
            _SHARES: {SINGLETON_KEY: self._new_shares()},
        }
        if self.style.endorsements:
            tables[_ENDORSEMENT] = {SINGLETON_KEY: self._endorsement(self.service.key.spki, str(self.boot), None, None)}
        self.secret_stored = self.seqno + 1
        return tables

    def _new_shares(self) -> bytes:
        value, self.shares = wrap_secret(self.secret, self.members, self.threshold)
        return json_bytes(value)

    def _endorsement(self, endorsed_spki: bytes, begin: str, end: str | None, last_root: bytes | None) -> bytes:
        message = sign_endorsement(
            self.service.key,
            endorsed_spki,
            issued_at=self.clock(),
            epoch_begin=begin,
            epoch_end=end,
            last_root=last_root,
        )
        value: dict[str, object] = {
            "endorsement": _b64(message),
            "endorsing_key": _b64(self.service.key.spki),
            "endorsement_epoch_begin": begin,
        }
        if end is not None:
            value["endorsement_epoch_end"] = end
        if _ENDORSEMENT in self.state:
            value["previous_version"] = self.state[_ENDORSEMENT].version
        return json_bytes(value)

    # ------------------------------------------------------------ members' requests

    def _http_request(self, member: MemberIdentity, target: str, body: bytes) -> dict[str, object]:
        digest = _b64(hashlib.sha256(body).digest())
        lines = [
            f"(request-target): post {target}",
            f"digest: SHA-256={digest}",
            f"content-length: {len(body)}",
        ]
        request = "\n".join(lines).encode()
        return {
            "key_id": member.id,
            "md": "NONE",
            "req": _b64(request),
            "request_body": _b64(body),
            "sig": _b64(member.key.sign(request)),
        }

    def _request(
        self, member: MemberIdentity, kind: str, target: str, body: bytes, proposal_id: str | None
    ) -> tuple[Changes, bytes, int]:
        """Tables that keep a member's request, its digest that goes into a proposal ID, and when it was made."""
        key, created_at = member.id.encode(), self.clock()
        if self.style.http_requests:
            request = self._http_request(member, target, body)
            hasher = Hash(hashes.SHA384())
            hasher.update(base64.b64decode(str(request["req"])))
            return {_GOV + "history": {key: json_bytes(request)}}, hasher.finalize(), created_at
        message = sign_request(member.key, member.id, kind, body, created_at=created_at, proposal_id=proposal_id)
        digest = hashlib.sha256(CoseSign1.parse(message).signature).digest()
        return {_GOV + "cose_history": {key: json_bytes(_b64(message))}}, digest, created_at

    def propose(self, member: MemberIdentity, actions: Sequence[dict[str, object]]) -> str:
        """A member's proposal; returns its ID."""
        payload = json.dumps({"actions": list(actions)}).encode()
        tables, digest, created_at = self._request(member, "proposal", "/gov/proposals", payload, None)
        proposal_id = hashlib.sha256(self.writer.tree.root() + digest).hexdigest()
        if not self.style.http_requests:
            recent = f"{created_at:010d}:{digest.hex()}".encode()
            tables[_RECENT] = {**self._oldest_requests(), recent: json_bytes(proposal_id)}
        info = {"ballots": {}, "proposer_id": member.id, "state": "Open"}
        tables[_PROPOSALS] = {proposal_id.encode(): payload}
        tables[_PROPOSALS_INFO] = {proposal_id.encode(): json_bytes(info)}
        self.append(tables)
        return proposal_id

    def _oldest_requests(self) -> dict[bytes, bytes | None]:
        """Rows that leave the window against replay when one more request comes in."""
        kept = sorted(self.state[_RECENT].rows) if _RECENT in self.state else []
        return dict.fromkeys(kept[: max(0, len(kept) - (_RECENT_REQUESTS - 1))])

    def vote(
        self, member: MemberIdentity, proposal_id: str, apply: Callable[[], Changes] | None = None
    ) -> WrittenTransaction:
        """A ballot in favour; ``apply`` gives the writes of the proposal if this ballot decides it."""
        key = proposal_id.encode()
        info = json.loads(self.value(_PROPOSALS_INFO, key) or b"{}")
        body = json.dumps({"ballot": BALLOT}).encode()
        target = f"/gov/proposals/{proposal_id}/ballots"
        tables, _, _ = self._request(member, "ballot", target, body, proposal_id)
        info["ballots"][member.id] = BALLOT
        if apply is not None:
            info.update(state="Accepted", final_votes=dict.fromkeys(info["ballots"], True), vote_failures={})
            tables.update(apply())
            tables.update(self._forget_other_proposals(proposal_id))
        tables.setdefault(_PROPOSALS_INFO, {})[key] = json_bytes(info)
        return self.append(tables)

    def _forget_other_proposals(self, proposal_id: str) -> Changes:
        rows = self.state[_PROPOSALS_INFO].rows if _PROPOSALS_INFO in self.state else {}
        closed: dict[bytes, bytes | None] = {
            key: None
            for key, (_, value) in rows.items()
            if key != proposal_id.encode() and json.loads(value)["state"] != "Open"
        }
        return {_PROPOSALS: dict(closed), _PROPOSALS_INFO: closed} if closed else {}

    def decide(self, action: str, arguments: dict[str, object], apply: Callable[[], Changes]) -> str:
        """Proposes an action, and as many members as are needed vote for it."""
        step: dict[str, object] = {"name": action, "args": arguments} if arguments else {"name": action}
        proposal_id = self.propose(self.members[0], [step])
        *others, last = self.members[: self.members_needed]
        for member in others:
            self.vote(member, proposal_id)
        self.vote(last, proposal_id, apply)
        return proposal_id

    def set_user(self, certificate: str, user_id: str) -> str:
        """The consortium adds a user."""
        key = user_id.encode()
        return self.decide(
            "set_user",
            {"cert": certificate},
            lambda: {_GOV + "users.certs": {key: certificate.encode()}, _GOV + "users.info": {key: None}},
        )

    # ------------------------------------------------------------ nodes and views

    def add_node(self, node: NodeIdentity, status: str = "Trusted") -> WrittenTransaction:
        """A node joins; only while the service is not open is it trusted at once."""
        return self.append(self.node_rows(node, status))

    def elect(self, node: NodeIdentity | None = None, views: int = 1) -> Signed:
        """A new view, which begins with its primary's signature. Call it directly after a signature."""
        self.view += views
        self.node = node or self.node
        return self.sign()

    # ------------------------------------------------------------ disaster recovery

    def take_over(self, paths: Sequence[Path]) -> None:
        """Goes on from the last signature of somebody's ledger, whose chunks are given in order.

        Only :meth:`recover` makes sense next: nobody but the ledger's own service has its keys.
        """
        self.replay(list(paths))
        info = json.loads(self.value(_SERVICE_INFO) or b"{}")
        self.boot = TxId.parse(info.get("current_service_create_txid", "2.1"))
        self.recoveries = info.get("recovery_count", 0)

    def recover(self, *, vouched: bool = True, boot_writes: Changes | None = None) -> Signed:
        """The service is lost and comes back with new keys.

        Args:
            vouched: the members approve the new identity, submit shares and the service opens. If not, the
                recovered service only boots: an outsider without any member's key can do as much.
            boot_writes: more rows for the boot transaction (which no node writes; for tests).
        """
        previous = str(json.loads(self.value(_SERVICE_INFO) or b"{}")["cert"])
        if self.seqno != self.last_signed.seqno:
            raise RuntimeError("a recovery starts from a signature: unsigned transactions are lost by then")
        self._boot(previous, boot_writes or {})
        self.sign(close_chunk=True)
        if not vouched:
            return self.sign()
        self._retire_completely()
        self._approve(previous)
        self._submit_shares()
        return self._reopen(previous)

    def _boot(self, previous: str, more: Changes) -> None:
        old_nodes = dict(self.state[_NODES_INFO].rows)
        self._previous_boot = self.boot.seqno
        self._previous_epoch = (str(self.boot), str(TxId(self.view, self.seqno)))
        self.service = ServiceIdentity(self.source, self.curve)
        self.identities.append(self.service)
        self.node = self.new_node()
        self.older_secrets.append((self.secret_start, self.secret))
        self.secret, self.secret_start = new_secret(), self.seqno + 1
        self.writer.use_ledger_secret(self.secret)
        self.view += RECOVERY_VIEW_STEP
        self.boot = TxId(self.view, self.seqno + 1)
        self.recoveries += 1
        tables = self.node_rows(self.node)
        for key, (_, value) in old_nodes.items():
            tables[_NODES_INFO][key] = json_bytes({**json.loads(value), "status": "Retired"})
        tables[_SERVICE_INFO] = {SINGLETON_KEY: self.service_info("Recovering")}
        tables[_GOV + "service.previous_service_identity"] = {SINGLETON_KEY: json_bytes(previous)}
        if self.style.endorsements:
            root = json_bytes(self.last_signed_root.hex())
            tables[_LAST_ROOT] = {SINGLETON_KEY: root}
        self._retired = list(old_nodes)
        self.append({**tables, **more}, flags=self.boot_flags)

    def _retire_completely(self) -> None:
        if not self.style.has_claims:
            # WrittenTransaction since 2.0.5.
            return
        rows = self.state[_NODES_INFO].rows
        done: dict[bytes, bytes | None] = {
            key: json_bytes({**json.loads(rows[key][1]), "retired_committed": True}) for key in self._retired
        }
        self.append({_NODES_INFO: done})

    def _approve(self, previous: str) -> None:
        def waiting() -> Changes:
            tables: Changes = {_SERVICE_INFO: {SINGLETON_KEY: self.service_info("WaitingForRecoveryShares")}}
            if self.style.boot_seqno_in_info:
                tables[_INTERNAL + "last_recovery_type"] = {SINGLETON_KEY: json_bytes("RECOVERY_SHARES")}
            return tables

        for member in self.members:
            self.acknowledge(member)
        self.sign()
        arguments: dict[str, object] = {
            "previous_service_identity": previous,
            "next_service_identity": self.service.certificate,
        }
        self.decide("transition_service_to_open", arguments, waiting)
        self.sign(close_chunk=True)

    def _submit_shares(self) -> None:
        for count, member in enumerate(self.members[: self.threshold], start=1):
            share = self.shares.get(member.id, b"")
            sealed = seal(self.secret, share, secrets.token_bytes(12))
            tables: Changes = {_SUBMITTED: {member.id.encode(): json_bytes(_b64(sealed))}}
            if count == self.threshold:
                known = [
                    {"encrypted_secret": _b64(encrypt_to(self.node.encryption_key, secret)), "version": start}
                    for start, secret in self.older_secrets
                ]
                tables[_INTERNAL + "encrypted_ledger_secrets"] = {SINGLETON_KEY: json_bytes({self.node.id: known})}
            self.append(tables)
        self.sign()

    def _reopen(self, previous: str) -> Signed:
        start, older = self.older_secrets[-1]
        link = {
            "encrypted_data": _b64(seal(self.secret, older)),
            "previous_secret_stored_version": self.secret_stored,
            "version": start,
        }
        history = {"next_version": self.secret_start, "previous_ledger_secret": link}
        tables: Changes = {
            _SERVICE_INFO: {SINGLETON_KEY: self.service_info("Open")},
            _SUBMITTED: {member.id.encode(): None for member in self.members[: self.threshold]},
            _HISTORICAL: {SINGLETON_KEY: json_bytes(history)},
            _SHARES: {SINGLETON_KEY: self._new_shares()},
        }
        if self.style.endorsements:
            begin, end = self._previous_epoch
            root = bytes.fromhex(json.loads(self.value(_LAST_ROOT) or b'""'))
            tables[_ENDORSEMENT] = {SINGLETON_KEY: self._endorsement(certificate_spki(previous), begin, end, root)}
        self.secret_stored = self.seqno + 1
        self.append(tables)
        return self.sign(close_chunk=True)
