"""Governance as of one transaction: the public tables, and the few facts that rules ask for again and again.

Everything is taken from the ledger's own writes, transaction by transaction; what replay computes never flows
back. So each replayed step starts from what the service had, and a single lie is reported once and not as a
cascade.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tallystick._native import Certificate, GovernanceTables, PublicKey
from tallystick.errors import FormatError
from tallystick.governance.names import (
    ENCRYPTED_SECRETS,
    HISTORICAL_SECRET,
    MEMBERS_CERTS,
    RECENT_PROPOSALS,
    SERVICE_CONFIG,
)
from tallystick.governance.records import (
    MemberInfo,
    ProposalInfo,
    ServiceInfo,
    json_object,
    json_text,
    parse_member_info,
    parse_proposal_info,
    parse_service_info,
)
from tallystick.tables.names import (
    CONSTITUTION,
    GOVERNANCE_PREFIX,
    INTERNAL_PREFIX,
    MEMBERS_INFO,
    PROPOSALS,
    PROPOSALS_INFO,
    SERVICE_INFO,
    SIGNATURES,
    SINGLETON_KEY,
)
from tallystick.types import TxId

__all__ = ["GovernanceState", "SignatureSeen", "Step", "Writes", "is_boot", "parse_member_certificate"]

Writes = Mapping[str, Mapping[bytes, bytes | None]]

# What CCF assumes where the configuration does not say.
DEFAULT_WINDOW = 100


@dataclass(frozen=True)
class Step:
    """One transaction that governance has to do with.

    Attributes:
        txid: transaction ID.
        tables: its public writes; None marks a remove.
        entry_type: 0 in 1.x; 4 in today's versions.
        private_size: bytes of encrypted writes.
        file, offset: where it stands, as far as known.
    """

    txid: TxId
    tables: Writes
    entry_type: int = 4
    private_size: int = 0
    file: str | None = None
    offset: int | None = None

    @property
    def seqno(self) -> int:
        return self.txid.seqno

    def writes(self, table: str) -> Mapping[bytes, bytes | None]:
        """Its writes to one table; empty when there are none."""
        return self.tables.get(table, {})

    def value(self, table: str) -> bytes | None:
        """The value that it writes to a table of one value."""
        return self.writes(table).get(SINGLETON_KEY)


@dataclass(frozen=True)
class SignatureSeen:
    """A signature transaction, as far as governance has to do with it.

    Attributes:
        txid: transaction ID.
        roots: root that it signs, by whatever signature it carries.
        flags: reads the flags of its header; bit 0: the chunk ends here.
        value: reads what it writes to ``public:ccf.internal.signatures``; None when it does not.
    """

    txid: TxId
    roots: frozenset[bytes]
    flags: Callable[[], int]
    value: Callable[[], bytes | None]


def parse_member_certificate(pem: bytes) -> Certificate:
    """The certificate of a member, which may end in white space or a zero byte.

    Raises:
        FormatError: it is not one certificate.
    """
    return Certificate.parse(pem.strip(b" \t\r\n\0"))


@dataclass
class GovernanceState:
    """Governance before the transaction that comes next."""

    tables: GovernanceTables = field(default_factory=GovernanceTables)
    proposals: dict[str, str] = field(default_factory=dict)
    """State of every proposal that the tables hold, by id."""
    recent: list[bytes] = field(default_factory=list)
    """Keys of the window against replay, ascending."""
    ledger_secret_seqno: int = 1
    """First seqno under the latest ledger secret."""
    signature: SignatureSeen | None = None
    started: bool = False
    _keys: dict[bytes, PublicKey | None] = field(default_factory=dict)
    _constitution: tuple[int, str] | None = None
    _service: tuple[int, ServiceInfo] | None = None
    _signature_known: bool = True

    # ------------------------------------------------------------------------------------------ reading

    def get(self, table: str, key: bytes = SINGLETON_KEY) -> bytes | None:
        """A value, None when it is not there."""
        return self.tables.get(table, key)

    def constitution(self) -> str | None:
        """The constitution in force; None before genesis.

        Raises:
            FormatError: it is not a JSON string.
        """
        version = self.tables.version(CONSTITUTION, SINGLETON_KEY)
        value = self.get(CONSTITUTION)
        if version is None or value is None:
            return None
        if self._constitution is None or self._constitution[0] != version:
            self._constitution = version, json_text(value, "constitution")
        return self._constitution[1]

    def service(self) -> ServiceInfo | None:
        """Certificate and status of the service; None before genesis.

        Raises:
            FormatError: the record is malformed.
        """
        version = self.tables.version(SERVICE_INFO, SINGLETON_KEY)
        value = self.get(SERVICE_INFO)
        if version is None or value is None:
            return None
        if self._service is None or self._service[0] != version:
            self._service = version, parse_service_info(value)
        return self._service[1]

    def service_status(self) -> str:
        """Status of the service; empty before genesis and when the record is malformed."""
        try:
            service = self.service()
        except FormatError:
            return ""
        return service.status if service is not None else ""

    def proposal(self, proposal_id: str) -> ProposalInfo | None:
        """The record of a proposal; None when there is none.

        Raises:
            FormatError: it is malformed.
        """
        value = self.get(PROPOSALS_INFO, proposal_id.encode())
        return None if value is None else parse_proposal_info(value)

    def member(self, member_id: str) -> MemberInfo | None:
        """The record of a member; None when there is none.

        Raises:
            FormatError: it is malformed.
        """
        value = self.get(MEMBERS_INFO, member_id.encode("utf-8", "replace"))
        return None if value is None else parse_member_info(value)

    def member_key(self, member_id: str) -> PublicKey | None:
        """The key of a member's certificate; None when there is none, or it is of no known kind."""
        pem = self.get(MEMBERS_CERTS, member_id.encode("utf-8", "replace"))
        if pem is None:
            return None
        if pem not in self._keys:
            try:
                self._keys[pem] = PublicKey.from_spki(parse_member_certificate(pem).spki)
            except FormatError:
                self._keys[pem] = None
        return self._keys[pem]

    def window_size(self) -> int:
        """How many proposals the window against replay keeps."""
        value = self.get(SERVICE_CONFIG)
        try:
            config = json_object(value, "service configuration") if value is not None else {}
        except FormatError:
            return DEFAULT_WINDOW
        size = config.get("recent_cose_proposals_window_size")
        return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else DEFAULT_WINDOW

    # ----------------------------------------------------------------------------------------- changing

    def update(self, step: Step) -> None:
        """Takes the writes of a transaction to governance and internal tables."""
        kept = {
            name: dict(writes)
            for name, writes in step.tables.items()
            if name.startswith((GOVERNANCE_PREFIX, INTERNAL_PREFIX))
        }
        self.tables.update(step.seqno, kept)
        self.started = True
        for key, value in step.writes(PROPOSALS_INFO).items():
            proposal_id = key.decode("utf-8", "replace")
            self.proposals.pop(proposal_id, None)
            if value is not None:
                self.proposals[proposal_id] = _state_of(value)
        if RECENT_PROPOSALS in step.tables:
            self.recent = [key for key, _ in self.tables.items(RECENT_PROPOSALS)]
        if is_boot(step):
            self.ledger_secret_seqno = step.seqno
        elif PROPOSALS_INFO in step.tables and {ENCRYPTED_SECRETS, HISTORICAL_SECRET} <= step.tables.keys():
            # A rekey: the new secret is used from the next transaction on.
            self.ledger_secret_seqno = step.seqno + 1

    def sign(self, seen: SignatureSeen) -> None:
        """Takes note of a signature transaction."""
        self.signature = seen
        self._signature_known = False

    def load_signature(self) -> None:
        """Puts the latest node signature into the tables, for scripts that read it."""
        if self._signature_known or self.signature is None:
            return
        value = self.signature.value()
        if value is not None:
            self.tables.update(self.signature.txid.seqno, {SIGNATURES: {SINGLETON_KEY: value}})
        self._signature_known = True


def _state_of(value: bytes) -> str:
    try:
        return parse_proposal_info(value).state
    except FormatError:
        return ""


def is_boot(step: Step) -> bool:
    """Whether the transaction starts a service: genesis, or the first one after a disaster."""
    value = step.value(SERVICE_INFO)
    if value is None or PROPOSALS in step.tables or PROPOSALS_INFO in step.tables:
        return False
    try:
        status = parse_service_info(value).status
    except FormatError:
        return False
    return step.seqno == 1 or status == "Recovering"
