"""Keeps the opening proposals that an audit judged, with the requests as the ledger records them.

The fold's state lets go of a proposal when it is decided; a bundle of identities (``identity/bundle.py``) needs
its parts byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tallystick._native import Entry
from tallystick.audit.state import TrustedState
from tallystick.audit.trusted_ledger import (
    COSE_HISTORY,
    HTTP_HISTORY,
    MEMBER_CERTIFICATES,
    PROPOSALS,
    PROPOSALS_INFO,
)
from tallystick.errors import FormatError
from tallystick.identity.opening import OpeningProposal, named_identities
from tallystick.identity.requests import MemberRequest, parse_cose_request, parse_http_request
from tallystick.types import TxId

__all__ = ["OpeningWatcher", "RecordedOpening", "RecordedRequest"]


@dataclass(frozen=True)
class RecordedRequest:
    """A member's signed request: the value of the history table, and that member's certificate as of then."""

    member_id: str
    scheme: str
    record: bytes
    certificate: bytes | None


@dataclass
class RecordedOpening:
    """An opening proposal that was accepted.

    Attributes:
        proposal: what the audit gathered and judged.
        accepted: the transaction that accepted it.
        requests: the proposer's, then one for each ballot that came with a request.
    """

    proposal: OpeningProposal
    accepted: TxId
    requests: list[RecordedRequest]


class OpeningWatcher:
    """Called with each transaction after the fold took it in."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, bytes], RecordedRequest] = {}
        self._certificates: dict[str, bytes] = {}
        self._accepted: dict[int, RecordedOpening] = {}

    def __call__(self, entry: Entry, state: TrustedState, accepted: OpeningProposal | None) -> None:
        """Takes in ``entry``; ``accepted`` is the opening proposal that it accepted, if it did."""
        names = entry.table_names()
        if MEMBER_CERTIFICATES in names:
            self._see_members(entry.table(MEMBER_CERTIFICATES) or {})
        if PROPOSALS in names or PROPOSALS_INFO in names:
            pending = [*state.openings.values(), *([accepted] if accepted is not None else [])]
            self._see_requests(entry, {key for proposal in pending for key in _keys(proposal)})
        if accepted is not None:
            found = [self._records[key] for key in _keys(accepted) if key in self._records]
            self._keep(RecordedOpening(accepted, TxId(entry.view, entry.seqno), found), state)

    def _keep(self, opening: RecordedOpening, state: TrustedState) -> None:
        """Keeps the opening that links, else the first that was accepted."""
        verified = None if state.identity is None else state.identity.opening
        links = verified is not None and verified.proposal_id == opening.proposal.proposal_id
        if links or (state.identity_index not in self._accepted and _opens(opening.proposal)):
            self._accepted[state.identity_index] = opening

    def of(self, index: int) -> RecordedOpening | None:
        """The opening that was accepted in the life with this index."""
        return self._accepted.get(index)

    def _see_members(self, rows: Mapping[bytes, bytes | None]) -> None:
        for key, value in rows.items():
            if value is not None:
                self._certificates[key.decode("utf-8", "backslashreplace")] = value

    def _see_requests(self, entry: Entry, wanted: set[tuple[str, bytes]]) -> None:
        self._records = {key: record for key, record in self._records.items() if key in wanted}
        for table, scheme in ((COSE_HISTORY, "cose"), (HTTP_HISTORY, "http")):
            for key, value in (entry.table(table) or {}).items():
                name = key.decode("utf-8", "backslashreplace")
                request = None if value is None else _parsed(scheme, name, value)
                if value is not None and request is not None and (name, request.signature) in wanted:
                    record = RecordedRequest(name, scheme, value, self._certificates.get(name))
                    self._records[name, request.signature] = record


def _opens(proposal: OpeningProposal) -> bool:
    # The action's name occurs in constitutions too, so that a proposal to set one looks like an opening at first.
    try:
        return bool(named_identities(proposal.body))
    except FormatError:
        return False


def _keys(proposal: OpeningProposal) -> list[tuple[str, bytes]]:
    requests = [proposal.request, *proposal.ballot_requests.values()]
    return [(request.member_id, request.signature) for request in requests if request is not None]


def _parsed(scheme: str, member_id: str, value: bytes) -> MemberRequest | None:
    try:
        return (parse_cose_request if scheme == "cose" else parse_http_request)(member_id, value)
    except FormatError:
        return None
