"""A service whose governance tests may bend: every write of a proposal's life, honest unless told otherwise.

Ledgers that it writes are whole: every root and every signature of the service holds, whatever it was made to
write. Members sign only what they are asked to sign.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

from support.services import SOURCE
from tallystick._native import CoseSign1
from tallystick.demo.cose_messages import sign_request
from tallystick.demo.identities import MemberIdentity
from tallystick.demo.ledger import Tables
from tallystick.demo.service import DemoService
from tallystick.demo.styles import Style
from tallystick.ledger.writer import SignatureMode, WrittenTransaction, json_bytes
from tallystick.tables.names import SINGLETON_KEY

GOV = "public:ccf.gov."
INTERNAL = "public:ccf.internal."
PROPOSALS, PROPOSALS_INFO = GOV + "proposals", GOV + "proposals_info"
COSE_HISTORY, RECENT = GOV + "cose_history", GOV + "cose_recent_proposals"
MEMBERS_INFO, MEMBERS_CERTS, ACKS = GOV + "members.info", GOV + "members.certs", GOV + "members.acks"
USERS_CERTS, USERS_INFO = GOV + "users.certs", GOV + "users.info"
MEASUREMENTS = GOV + "nodes.virtual.measurements"
CONSTITUTION = GOV + "constitution"

YES = "export function vote (proposal, proposerId) { return true }"
NO = "export function vote (proposal, proposerId) { return false }"

_START = 1_770_000_000

# Proposals that the window against replay keeps, by default.
_WINDOW = 100

# Both signatures: constitutions read the latest root from the node's.
_STYLE = Style("tests", mode=SignatureMode.DUAL, endorsements=True)

Changes = dict[str, dict[bytes, bytes | None]]


def rules() -> str:
    """The constitution of these services."""
    return (Path(__file__).parent / "consortium.js").read_text(encoding="utf-8")


def merged(*parts: Mapping[str, Mapping[bytes, bytes | None]]) -> Changes:
    """Tables of several parts; later rows win."""
    tables: Changes = {}
    for part in parts:
        for name, rows in part.items():
            tables.setdefault(name, {}).update(rows)
    return tables


class Consortium(DemoService):
    """Three members, an open service, and the rules of ``consortium.js``.

    Attributes:
        now: Unix seconds of the next request; each takes one second.
    """

    def __init__(self, directory: Path, *, members: int = 3, style: Style = _STYLE) -> None:
        super().__init__(directory, style, SOURCE, count(_START).__next__, members=members)
        self.users = [MemberIdentity.create(SOURCE, f"user{i}") for i in range(3)]
        self.stranger = MemberIdentity.create(SOURCE, "stranger")

    def start(self) -> Consortium:
        """Genesis, opening, and the members' decision for these rules; signed."""
        self.genesis()
        self.open(close_chunk=False)
        proposal_id = self.propose(self.members[0], [{"name": "set_constitution", "args": {"constitution": rules()}}])
        constitution = {CONSTITUTION: {SINGLETON_KEY: json_bytes(rules())}}
        for member in self.members[: self.members_needed - 1]:
            self.ballot(member, proposal_id)
        self.ballot(self.members[self.members_needed - 1], proposal_id, state="Accepted", changes=constitution)
        self.sign()
        return self

    # ------------------------------------------------------------------------------------------- honest parts

    def info(self, proposal_id: str) -> dict[str, object]:
        """The record of a proposal."""
        value: dict[str, object] = json.loads(self.value(PROPOSALS_INFO, proposal_id.encode()) or b"{}")
        return value

    def request(
        self,
        member: MemberIdentity,
        kind: str,
        body: bytes,
        *,
        proposal_id: str | None = None,
        created_at: int | None = None,
        signer: MemberIdentity | None = None,
    ) -> bytes:
        """A COSE request in the name of ``member``, signed by ``signer``."""
        return sign_request(
            (signer or member).key,
            member.id,
            kind,
            body,
            created_at=self.clock() if created_at is None else created_at,
            proposal_id=proposal_id,
        )

    def recorded(self, member: MemberIdentity, message: bytes) -> Changes:
        """The row that keeps a request."""
        return {COSE_HISTORY: {member.id.encode(): json_bytes(base64.b64encode(message).decode())}}

    def proposal_id(self, message: bytes) -> str:
        """The id that a proposal request gets now."""
        digest = hashlib.sha256(CoseSign1.parse(message).signature).digest()
        return hashlib.sha256(self.writer.tree.root() + digest).hexdigest()

    def window_row(self, message: bytes, proposal_id: str) -> Changes:
        """The row of the window against replay."""
        sign1 = CoseSign1.parse(message)
        created_at = sign1.protected_headers["ccf.gov.msg.created_at"]
        key = f"{created_at:010d}:{hashlib.sha256(sign1.signature).hexdigest()}".encode()
        kept = sorted(self.state[RECENT].rows) if RECENT in self.state else []
        oldest = kept[: max(0, len(kept) - (_WINDOW - 1))]
        return {RECENT: {**dict.fromkeys(oldest), key: json_bytes(proposal_id)}}

    def body(self, *actions: tuple[str, object]) -> bytes:
        """Text of a proposal."""
        return json.dumps({"actions": [{"name": name, "args": args} for name, args in actions]}).encode()

    def submit(
        self,
        member: MemberIdentity,
        *actions: tuple[str, object],
        text: bytes | None = None,
        message: bytes | None = None,
        proposal_id: str | None = None,
        window: bool = True,
        more: Tables | None = None,
    ) -> str:
        """Records a proposal; ``text`` is what is recorded, the actions are what is signed."""
        signed = self.body(*actions)
        message = message or self.request(member, "proposal", signed)
        proposal_id = proposal_id or self.proposal_id(message)
        key = proposal_id.encode()
        self.append(
            merged(
                self.recorded(member, message),
                self.window_row(message, proposal_id) if window else {},
                {PROPOSALS: {key: signed if text is None else text}},
                {PROPOSALS_INFO: {key: json_bytes({"ballots": {}, "proposer_id": member.id, "state": "Open"})}},
                more or {},
            )
        )
        return proposal_id

    def closing(self, proposal_id: str) -> Changes:
        """Removal of other proposals that are closed, as when this one closes."""
        return merged(self._forget_other_proposals(proposal_id))

    def ballot(
        self,
        member: MemberIdentity,
        proposal_id: str,
        text: str = YES,
        *,
        state: str = "Open",
        votes: Mapping[str, bool] | None = None,
        changes: Tables | None = None,
        message: bytes | None = None,
        record: Tables | None = None,
        recorded_text: str | None = None,
        info: Mapping[str, object] | None = None,
    ) -> WrittenTransaction:
        """Records a ballot.

        Args:
            state: of the proposal after it.
            votes: ``final_votes`` once closed; by default what plain ballots say.
            changes: what apply() and the service write.
            message: the request; by default the honest one.
            record: rows that keep the request, instead of the honest ones.
            recorded_text: ballot in the record, by default ``text``.
            info: members of the record to change.
        """
        body = json.dumps({"ballot": text}).encode()
        message = message or self.request(member, "ballot", body, proposal_id=proposal_id)
        known = self.info(proposal_id)
        ballots = {**known["ballots"], member.id: text if recorded_text is None else recorded_text}  # type: ignore[dict-item]  # the record is JSON
        written: dict[str, object] = {**known, "ballots": ballots, "state": state}
        if state in ("Accepted", "Rejected"):
            plain = {name: "return true" in ballot for name, ballot in ballots.items()}
            written.update(final_votes=dict(votes if votes is not None else plain), vote_failures={})
        written.update(info or {})
        return self.append(
            merged(
                self.recorded(member, message) if record is None else record,
                {PROPOSALS_INFO: {proposal_id.encode(): json_bytes(written)}},
                self.closing(proposal_id) if state != "Open" else {},
                changes or {},
            )
        )

    def withdraw(
        self, member: MemberIdentity, proposal_id: str, *, signer: MemberIdentity | None = None
    ) -> WrittenTransaction:
        """Records a withdrawal in the name of ``member``."""
        message = self.request(member, "withdrawal", b"", proposal_id=proposal_id, signer=signer)
        info = {**self.info(proposal_id), "state": "Withdrawn"}
        return self.append(
            merged(
                self.recorded(member, message),
                {PROPOSALS_INFO: {proposal_id.encode(): json_bytes(info)}},
                self.closing(proposal_id),
            )
        )

    def user_rows(self, user: MemberIdentity) -> Changes:
        """What set_user writes."""
        key = user.id.encode()
        return {USERS_CERTS: {key: user.certificate.encode()}, USERS_INFO: {key: None}}

    def member_rows(self, member: MemberIdentity, status: str = "Accepted") -> Changes:
        """What set_member writes."""
        key = member.id.encode()
        return {
            MEMBERS_CERTS: {key: member.certificate.encode()},
            MEMBERS_INFO: {key: json_bytes({"status": status})},
            ACKS: {key: json_bytes({"state_digest": self.last_signed_root.hex()})},
        }

    def pass_proposal(self, *actions: tuple[str, object], changes: Tables | None = None) -> str:
        """Proposes, and as many members as are needed say yes."""
        proposal_id = self.submit(self.members[0], *actions)
        *others, last = self.members[: self.members_needed]
        for member in others:
            self.ballot(member, proposal_id)
        self.ballot(last, proposal_id, state="Accepted", changes=changes)
        return proposal_id

    def nearly(self, *actions: tuple[str, object]) -> tuple[str, MemberIdentity]:
        """A proposal that lacks one ballot, and the member to cast it."""
        proposal_id = self.submit(self.members[0], *actions)
        *others, last = self.members[: self.members_needed]
        for member in others:
            self.ballot(member, proposal_id)
        return proposal_id, last

    def entries(self) -> Iterator[WrittenTransaction]:
        """What was written, in order."""
        for _, written in sorted(self.written.items()):
            yield written
