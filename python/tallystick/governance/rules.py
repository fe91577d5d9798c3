"""Which governance writes are right without a proposal (formats.md section 11.6).

Joins, retirements, acknowledgements, refreshed JWT keys, recovery: the service makes these on its own or for a
single member. Each row that such a transaction writes is judged by the row's old and new value and by the
state of the service; whatever no rule allows is a finding. Transactions that touch proposals are not judged
here but in ``replay.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from tallystick.errors import FormatError
from tallystick.findings import Finding, finding
from tallystick.governance import names
from tallystick.governance.records import (
    NodeInfo,
    json_object,
    parse_ack,
    parse_json,
    parse_member_info,
    parse_node_info,
    parse_service_info,
)
from tallystick.governance.state import GovernanceState, Step, is_boot, parse_member_certificate
from tallystick.tables.names import (
    COSE_SIGNATURES,
    ENDORSED_CERTIFICATES,
    GOVERNANCE_PREFIX,
    INTERNAL_PREFIX,
    MEMBERS_INFO,
    NODES_INFO,
    SERVICE_INFO,
    SIGNATURES,
    SNAPSHOT_EVIDENCE,
    TREE,
)

__all__ = ["judge_without_proposal"]

# Written by the first transaction of a recovered service: what the new node itself is, as it is trusted at once.
_OWN_CODE = frozenset(
    GOVERNANCE_PREFIX + name
    for name in (
        "nodes.code_ids",
        "nodes.virtual.measurements",
        "nodes.virtual.host_data",
        "nodes.snp.measurements",
        "nodes.snp.host_data",
        "nodes.snp.uvm_endorsements",
        "nodes.snp.tcb_versions",
    )
)

# The service's own records, written by transactions of their own; nothing in them is for members to decide.
_OWN_RECORDS = frozenset(
    {
        SIGNATURES,
        COSE_SIGNATURES,
        TREE,
        SNAPSHOT_EVIDENCE,
        INTERNAL_PREFIX + "values",
        INTERNAL_PREFIX + "consensus",
        INTERNAL_PREFIX + "acme_certificates",
        INTERNAL_PREFIX + "sealed_shares",
        names.PREVIOUS_ROOT,
        names.LAST_RECOVERY_TYPE,
    }
)
# Protocols of nodes among themselves, and ACME challenges: no rows that members decide.
_OWN_PREFIXES = (
    GOVERNANCE_PREFIX + "acme.",
    GOVERNANCE_PREFIX + "recovery_decision_protocol.",
    GOVERNANCE_PREFIX + "nodes.sealed_recovery_keys",
    GOVERNANCE_PREFIX + "nodes.local_sealing_node_id_map",
    GOVERNANCE_PREFIX + "service.signing_identities",
)

_JOIN_TRUSTED = frozenset({"Opening", "Recovering"})

Rule = Callable[[GovernanceState, Step, bytes, bytes | None, bytes | None], str | None]
"""State before, transaction, key, old value, new value: what is wrong, or None."""


def judge_without_proposal(state: GovernanceState, step: Step) -> Iterator[Finding]:
    """Judges a transaction that touches no proposal; yields what no rule allows.

    Args:
        state: governance before the transaction.
        step: the transaction.
    """

    def found(code: str, message: str) -> Finding:
        return finding(code, message, file=step.file, offset=step.offset, txid=str(step.txid))

    tables = [name for name in step.tables if name.startswith((GOVERNANCE_PREFIX, INTERNAL_PREFIX))]
    for table in sorted(step.tables.keys() - set(tables)):
        yield found("gov-write-outside", f"writes {table[:80]} beside governance tables")
    if step.private_size:
        yield found("gov-write-outside", "writes private tables beside governance tables")
    if step.seqno == 1 and not state.started:
        return
    boot = is_boot(step)
    for table in sorted(tables):
        rule = _BOOT_RULES.get(table) if boot else _RULES.get(table)
        if rule is None:
            problem = _without_rule(table, boot, step)
            if problem is not None:
                yield found(*problem)
            continue
        for key, new in step.writes(table).items():
            try:
                wrong = rule(state, step, key, state.get(table, key), new)
            except FormatError as error:
                yield found("gov-record-malformed", f"{table}: {error.message}")
                continue
            if wrong is not None:
                yield found(*_code_of(table, wrong, boot))


def _code_of(table: str, wrong: str, boot: bool) -> tuple[str, str]:
    if boot:
        return "gov-recovery-wrong", f"{table}: {wrong}"
    if table in (NODES_INFO, ENDORSED_CERTIFICATES):
        return "gov-retirement-wrong" if "retire" in wrong else "gov-write-without-proposal", f"{table}: {wrong}"
    if table == names.MEMBERS_ACKS:
        return "gov-ack-wrong", wrong
    return "gov-write-without-proposal", f"{table}: {wrong}"


def _without_rule(table: str, boot: bool, step: Step) -> tuple[str, str] | None:
    if table in _OWN_RECORDS or table.startswith(_OWN_PREFIXES):
        return None
    if boot and table in _OWN_CODE and len(step.writes(table)) == 1:
        return None
    if table.startswith(INTERNAL_PREFIX):
        return "gov-table-unknown", f"writes {table[:80]}, which is not known here"
    if boot:
        return "gov-recovery-wrong", f"recovery writes {table[:80]}"
    if table in (names.COSE_HISTORY, names.HISTORY):
        return "gov-request-unused", "a member's request is recorded, and no proposal changed"
    count = len(step.writes(table))
    rows = "1 row" if count == 1 else f"{count} rows"
    return "gov-write-without-proposal", f"{rows} of {table[:80]} changed without a proposal"


# -------------------------------------------------------------------------------------------------- members


def _member_info(state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None) -> str | None:
    member = key.decode("utf-8", "replace")[:16]
    if old is None or new is None:
        return f"member {member}… was {'added' if old is None else 'removed'}"
    if old == new:
        return None
    before, after = json_object(old, "record of a member"), json_object(new, "record of a member")
    if {**before, "status": None} != {**after, "status": None}:
        return f"data of member {member}… changed"
    if (before.get("status"), after.get("status")) != ("Accepted", "Active"):
        return f"member {member}… went from {before.get('status')} to {after.get('status')}"
    ack = step.writes(names.MEMBERS_ACKS).get(key)
    if ack is None or parse_ack(ack).request is None:
        return f"member {member}… became Active without an acknowledgement of its own"
    return None


def _member_ack(state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None) -> str | None:
    member = key.decode("utf-8", "replace")[:16]
    if state.get(MEMBERS_INFO, key) is None:
        return f"acknowledgement of {member}…, who is no member"
    if old is None or new is None:
        return f"acknowledgement of member {member}… was {'added' if old is None else 'removed'} without a proposal"
    before, after = parse_ack(old), parse_ack(new)
    if after.state_digest == before.state_digest and after.request not in (None, before.request):
        return None
    # An update, or an acknowledgement in 1.x and 2.x, which put the latest root in on the way.
    roots = state.signature.roots if state.signature is not None else frozenset()
    if after.state_digest not in {root.hex() for root in roots}:
        signed = ", ".join(sorted(root.hex()[:16] + "…" for root in roots)) or "no signed root"
        return f"state digest of member {member}… is wrong: expected {signed}, got {after.state_digest[:16]}…"
    return None


# ---------------------------------------------------------------------------------------------------- nodes


def _node_info(state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None) -> str | None:
    node = key.decode("utf-8", "replace")[:16]
    if new is None:
        if old is None or not parse_node_info(old).retired_committed:
            return f"node {node}… was removed before its retirement was committed"
        return None
    after = parse_node_info(new)
    if old is None:
        if after.status == "Pending":
            return None
        if after.status == "Trusted" and state.service_status() in _JOIN_TRUSTED:
            return None
        return f"node {node}… joined as {after.status} while the service was {state.service_status() or 'unknown'}"
    before = parse_node_info(old)
    if before.status == after.status == "Retired" and _kept(before, after):
        return None if after.retired_committed else f"retirement of node {node}… was taken back"
    return f"node {node}… changed from {before.status} to {after.status} without a proposal"


def _kept(before: NodeInfo, after: NodeInfo) -> bool:
    """Whether everything that was known of a node still stands; a newer version may say more."""
    return all(after.rest.get(name) == value for name, value in before.rest.items())


def _endorsed(state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None) -> str | None:
    node = key.decode("utf-8", "replace")[:16]
    info = step.writes(NODES_INFO)
    if new is None:
        return None if key in info and info[key] is None else f"certificate of node {node}… removed, not retired"
    written = info.get(key)
    if old is None and written is not None and parse_node_info(written).status == "Trusted":
        return None
    return f"certificate of node {node}… was {'issued' if old is None else 'replaced'}"


# ------------------------------------------------------------------------------------------ service, secrets


def _service_info(state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None) -> str | None:
    if old is None or new is None:
        return "the record of the service was added or removed"
    before, after = parse_service_info(old), parse_service_info(new)
    if before.certificate != after.certificate:
        return "the service certificate changed without a proposal or recovery"
    if (before.status, after.status) == ("WaitingForRecoveryShares", "Open"):
        return None
    return f"status of the service went from {before.status} to {after.status} without a proposal"


def _submitted_share(
    state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None
) -> str | None:
    status = state.service_status()
    if new is None:
        return None if status == "WaitingForRecoveryShares" else "a recovery share was removed outside a recovery"
    if status != "WaitingForRecoveryShares":
        return f"a recovery share was submitted while the service was {status or 'unknown'}"
    value = state.get(MEMBERS_INFO, key)
    if value is None or parse_member_info(value).status != "Active":
        return "a recovery share was submitted by somebody who is not an active member"
    return None


def _node_secrets(state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None) -> str | None:
    if names.SUBMITTED_SHARES in step.tables and state.service_status() == "WaitingForRecoveryShares":
        return None
    return "ledger secrets were given to nodes outside a rekey or recovery"


def _secrets(state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None) -> str | None:
    """Shares, previous secret, endorsement: at the end of a recovery, and when a recovery member is activated.

    A service that is already open may seal again (CCF issue 6906): then these tables, and nothing else, are
    written once more.
    """
    return (
        None if state.service_status() in ("WaitingForRecoveryShares", "Open") else "written before the service opened"
    )


# ------------------------------------------------------------------------------------------------------ JWT


def _jwt_keys(state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None) -> str | None:
    """Keys of issuers with automatic refresh change without a proposal; those of others do not."""
    refreshed = set()
    for name, issuer in state.tables.items(names.JWT_ISSUERS):
        if json_object(issuer, "JWT issuer").get("auto_refresh") is True:
            refreshed.add(name.decode("utf-8", "replace"))
    if not refreshed:
        return "JWT keys changed without a proposal, and no issuer has automatic refresh"
    for value in (old, new):
        foreign = _issuers(value) - refreshed
        if foreign and _issuers_changed(old, new) & foreign:
            return f"JWT keys of {sorted(foreign)[0][:64]!r} changed without a proposal: no automatic refresh"
    return None


def _entries(value: bytes | None) -> list[dict[str, object]]:
    if value is None:
        return []
    try:
        parsed = parse_json(value, "JWT keys")
    except FormatError:
        return []  # certificates and issuer names stand as they are in the oldest tables
    return [entry for entry in parsed if isinstance(entry, dict)] if isinstance(parsed, list) else []


def _issuers(value: bytes | None) -> set[str]:
    return {str(entry.get("issuer")) for entry in _entries(value)}


def _issuers_changed(old: bytes | None, new: bytes | None) -> set[str]:
    def by_issuer(value: bytes | None) -> set[tuple[str, str]]:
        return {(str(entry.get("issuer")), json.dumps(entry, sort_keys=True)) for entry in _entries(value)}

    return {issuer for issuer, _ in by_issuer(old) ^ by_issuer(new)}


# ----------------------------------------------------------------------------------------------------- boot


def _boot_service(state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None) -> str | None:
    return None


def _boot_previous(state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None) -> str | None:
    service = state.service()
    if new is None or service is None:
        return "the previous service identity was removed"
    named = parse_json(new, "previous service identity")
    if not isinstance(named, str):
        return "the previous service identity is not text"
    expected = parse_member_certificate(service.certificate.encode()).spki_sha256
    got = parse_member_certificate(named.encode()).spki_sha256
    return None if expected == got else f"previous service identity is wrong: expected {expected}, got {got}"


def _boot_node(state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None) -> str | None:
    node = key.decode("utf-8", "replace")[:16]
    if new is None:
        return f"node {node}… was removed by the recovery"
    after = parse_node_info(new)
    if old is None:
        trusted = sum(
            1
            for other, value in step.writes(NODES_INFO).items()
            if value is not None and state.get(NODES_INFO, other) is None
        )
        if after.status != "Trusted" or trusted != 1:
            return f"recovery must add one trusted node: got {trusted}, {node}… is {after.status}"
        return None
    if after.status != "Retired" or not _kept(parse_node_info(old), after):
        return f"old node {node}… was not just retired by the recovery, but is {after.status}"
    return None


def _boot_certificate(
    state: GovernanceState, step: Step, key: bytes, old: bytes | None, new: bytes | None
) -> str | None:
    if new is not None and old is None and key in step.writes(NODES_INFO):
        return None
    return "a certificate of a node that does not start the recovery was changed"


_BOOT_RULES: Mapping[str, Rule] = {
    SERVICE_INFO: _boot_service,
    names.PREVIOUS_IDENTITY: _boot_previous,
    NODES_INFO: _boot_node,
    ENDORSED_CERTIFICATES: _boot_certificate,
}

_RULES: Mapping[str, Rule] = {
    MEMBERS_INFO: _member_info,
    names.MEMBERS_ACKS: _member_ack,
    NODES_INFO: _node_info,
    ENDORSED_CERTIFICATES: _endorsed,
    SERVICE_INFO: _service_info,
    names.SUBMITTED_SHARES: _submitted_share,
    names.ENCRYPTED_SECRETS: _node_secrets,
    names.RECOVERY_SHARES: _secrets,
    names.HISTORICAL_SECRET: _secrets,
    names.ENDORSEMENT: _secrets,
    **dict.fromkeys(names.JWT_KEY_TABLES, _jwt_keys),
}
