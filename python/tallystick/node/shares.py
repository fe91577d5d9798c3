"""Issuing recovery shares, and the records by which older ledger secrets follow from the newest.

Three rows carry what a recovery needs: the newest secret wrapped under a key that the members' shares give;
each older secret sealed under its successor; and, after a rekey, the new secret encrypted to every node.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tallystick.errors import TallystickError
from tallystick.node import tables
from tallystick.node.keys import encrypt_to_pem
from tallystick.node.ledger_secrets import KnownSecret
from tallystick.secrets.shares import LedgerSecret, split_wrapping_key, wrap_ledger_secret

if TYPE_CHECKING:
    from tallystick._native import NodeTransaction

__all__ = [
    "RecoveryMembers",
    "ShareError",
    "active_recovery_members",
    "broadcast_rekey",
    "issue_shares",
    "link_previous",
    "refresh_shares",
]

_IV_BYTES = 12


class ShareError(TallystickError):
    """Recovery shares cannot be issued to the members there are."""

    default_code = "shares-not-issued"


@dataclass(frozen=True)
class RecoveryMembers:
    """Active members that take part in recovery: member ID to encryption key, PEM.

    Attributes:
        participants: each gets a share.
        owners: each gets the whole wrapping key.
    """

    participants: Mapping[str, str]
    owners: Mapping[str, str]


def active_recovery_members(tx: NodeTransaction) -> RecoveryMembers:
    """Active members with an encryption key, by their part in recovery."""
    participants: dict[str, str] = {}
    owners: dict[str, str] = {}
    for key, pem in sorted(tx.entries(tables.MEMBERS_KEYS)):
        info: dict[str, Any] = tables.get_json(tx, tables.MEMBERS_INFO, key) or {}
        if info.get("status") != "Active":
            continue
        role = info.get("recovery_role") or "Participant"
        if role == "Participant":
            participants[key.decode()] = pem.decode()
        elif role == "Owner":
            owners[key.decode()] = pem.decode()
    return RecoveryMembers(participants, owners)


def _threshold(tx: NodeTransaction) -> int:
    config: dict[str, Any] = tables.get_json(tx, tables.SERVICE_CONFIG) or {}
    return int(config.get("recovery_threshold", 0))


def refresh_shares(tx: NodeTransaction, secret: LedgerSecret) -> None:
    """Writes new shares for ``secret``: for a changed threshold, a new member, or because members want to.

    Raises:
        ShareError: there are fewer active recovery members than the threshold, or none.
    """
    members, threshold = active_recovery_members(tx), _threshold(tx)
    if not members.participants and not members.owners:
        raise ShareError("There should be at least one active recovery member to issue recovery shares")
    if threshold == 0:
        raise ShareError("Recovery threshold should be set before recovery shares are computed")
    if members.participants and threshold > len(members.participants):
        raise ShareError(
            f"Recovery threshold {threshold} should be equal to or less than the number of active recovery "
            f"members {len(members.participants)}"
        )
    if not members.participants and threshold > 1:
        raise ShareError(f"Recovery threshold is {threshold}, but there are only recovery owners: it must be 1")
    key, full, shares = split_wrapping_key(len(members.participants), threshold)
    encrypted = {
        member: encrypt_to_pem(pem, share.serialise())
        for (member, pem), share in zip(sorted(members.participants.items()), shares, strict=True)
    }
    encrypted |= {member: encrypt_to_pem(pem, full.serialise()) for member, pem in members.owners.items()}
    tables.put_json(
        tx,
        tables.RECOVERY_SHARES,
        {
            "encrypted_shares": {member: _b64(share) for member, share in encrypted.items()},
            "wrapped_latest_ledger_secret": _b64(wrap_ledger_secret(secret, key)),
        },
    )


def link_previous(
    tx: NodeTransaction, secret: LedgerSecret, previous: KnownSecret | None, next_version: int | None
) -> None:
    """Records the secret before ``secret``, sealed under it.

    Args:
        secret: the newer secret.
        previous: the older one; None for the first secret of a service.
        next_version: version of ``secret``; None at a rekey, where it is the seqno after this transaction's.
    """
    value: dict[str, object] = {}
    if previous is not None:
        sealed = wrap_ledger_secret(previous.secret, secret, secrets.token_bytes(_IV_BYTES))
        link: dict[str, object] = {"encrypted_data": _b64(sealed), "version": previous.version}
        if previous.previous_stored is not None:
            link["previous_secret_stored_version"] = previous.previous_stored
        value["previous_ledger_secret"] = link
    if next_version is not None:
        value["next_version"] = next_version
    tables.put_json(tx, tables.HISTORICAL_SECRET, value)


def issue_shares(tx: NodeTransaction, latest: KnownSecret, previous: KnownSecret | None) -> None:
    """Writes shares and link of the secret in force: when a service opens, and when a recovery ends.

    Raises:
        ShareError: there are fewer active recovery members than the threshold, or none.
    """
    refresh_shares(tx, latest.secret)
    link_previous(tx, latest.secret, previous, latest.version)


def broadcast_rekey(tx: NodeTransaction, secret: LedgerSecret) -> None:
    """Writes a new secret, encrypted to each trusted node; it comes into force with the next transaction.

    Raises:
        FormatError: the encryption key that a node registered cannot be used.
    """
    value = {
        node: [{"encrypted_secret": _b64(encrypt_to_pem(info["encryption_pub_key"], bytes(secret))), "version": None}]
        for node, info in tables.rows_json(tx, tables.NODES_INFO).items()
        if info.get("status") == "Trusted"
    }
    tables.put_json(tx, tables.ENCRYPTED_SECRETS, value)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
