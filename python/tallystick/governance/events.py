"""Events of governance, for people: who proposed, who voted what, when, and what changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

__all__ = ["Change", "Event", "when"]


def when(seconds: int | None) -> str | None:
    """ISO 8601 of a time that a signer claimed; None when there is none or it is out of range."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return None


@dataclass(frozen=True)
class Change:
    """One row that changed.

    Attributes:
        table: name without ``public:``.
        key: as text.
        kind: ``added``, ``changed``, ``removed``, ``rewritten`` (equal bytes), or ``absent`` (a remove of nothing).
    """

    table: str
    key: str
    kind: str

    def to_json(self) -> dict[str, str]:
        return {"table": self.table, "key": self.key, "kind": self.kind}


@dataclass
class Event:
    """One event.

    Attributes:
        txid: transaction ID.
        kind: ``genesis``, ``recovery``, ``proposed``, ``voted``, ``withdrawn``,
            ``dropped``, ``acknowledged``, ``digest-updated``, ``share-submitted``, ``member``,
            ``service``, ``node``.
        proposal_id: whose life it belongs to.
        member_id: who acted.
        created_at: Unix seconds that the member's request claims.
        vote: what the ballot gave; None when it is not known (yet), or the ballot failed.
        actions: names of the proposal's actions.
        summary: one line.
        changes: rows that an accepted proposal, a recovery or genesis changed.
        signature: ``cose``, ``http`` or None: how the request is signed.
        outcome: state that a proposal went to with this event: ``Accepted``, ``Rejected``, ``Failed``; else None.
        content: text of the proposal or ballot; only where it was asked for.
    """

    txid: str
    kind: str
    proposal_id: str | None = None
    member_id: str | None = None
    created_at: int | None = None
    vote: bool | None = None
    actions: tuple[str, ...] = ()
    summary: str = ""
    changes: tuple[Change, ...] = ()
    signature: str | None = None
    outcome: str | None = None
    content: str | None = None

    def to_json(self) -> dict[str, object]:
        """As in JSON output: members that are empty are left out."""
        members: dict[str, object] = {
            "txid": self.txid,
            "kind": self.kind,
            "proposal_id": self.proposal_id,
            "member_id": self.member_id,
            "created_at": when(self.created_at),
            "vote": self.vote,
            "actions": list(self.actions),
            "summary": self.summary,
            "changes": [change.to_json() for change in self.changes],
            "signature": self.signature,
            "outcome": self.outcome,
            "content": self.content,
        }
        return {name: value for name, value in members.items() if value not in (None, "", [])}
