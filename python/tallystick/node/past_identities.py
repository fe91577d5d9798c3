"""The keys that the service had before its recoveries, and what vouches for them now.

The ledger holds a chain: each recovered service wrote an endorsement of the key before it, with the epoch in which
that key was in force, and where the endorsement before stands. From the newest row one follows it backwards;
nothing is searched. A receipt of an earlier epoch needs what the chain says of the key that signed it: as
certificate in JSON receipts, as the endorsements themselves beside COSE receipts.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from tallystick._native import CoseSign1
from tallystick.errors import FormatError, InternalError
from tallystick.node.certificates import ServiceIdentity, endorse_past_identity
from tallystick.node.tables import IDENTITY_ENDORSEMENT, SINGLETON
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick._native import Entry, NodeRuntime

__all__ = ["PastIdentities", "PastIdentity"]

MAX_IDENTITIES = 1_000
"""Links followed: each is a recovery. A longer chain, or one in a circle, is none that a service wrote."""


@dataclass(frozen=True)
class PastIdentity:
    """A key of the service before a recovery.

    Attributes:
        spki: SubjectPublicKeyInfo, DER.
        begin, end: first and last transaction of its epoch.
        endorsement: COSE_Sign1 in which the key after it vouches for it.
    """

    spki: bytes
    begin: TxId
    end: TxId
    endorsement: bytes


class PastIdentities:
    """The chain of one service, newest first. Safe to use from several threads.

    Args:
        runtime: the node's data plane.
        service: gives the current service identity.
        entry: reads a committed ledger entry by seqno.
    """

    def __init__(
        self, runtime: NodeRuntime, service: Callable[[], ServiceIdentity], entry: Callable[[int], Entry]
    ) -> None:
        self._runtime = runtime
        self._service = service
        self._entry = entry
        self._lock = threading.Lock()
        self._version: int | None = None
        self._chain: list[PastIdentity] = []
        # By certificate of a node: what vouches for it, under which certificate of the service.
        self._endorsed: dict[str, tuple[str, list[str] | None]] = {}

    def certificates(self, node_certificate: str, txid: TxId) -> list[str] | None:
        """What a JSON receipt needs beside the certificate of the node that signed it; None: nothing.

        Args:
            node_certificate: PEM.
            txid: the signature transaction that it signed.

        Raises:
            InternalError: no key of this service is known to have issued it.
        """
        service = self._service()
        with self._lock:
            known = self._endorsed.get(node_certificate)
        if known is not None and known[0] == service.certificate:
            return known[1]
        found = self._endorse(node_certificate, txid, service)
        with self._lock:
            if len(self._endorsed) >= MAX_IDENTITIES:
                self._endorsed.clear()
            self._endorsed[node_certificate] = service.certificate, found
        return found

    def endorsements(self, txid: TxId) -> list[bytes]:
        """COSE endorsements from the current key back to the one in force at ``txid``, newest first; empty for the
        current epoch."""
        chain = self._read_chain()
        return [identity.endorsement for identity in chain if txid.seqno <= identity.end.seqno]

    def _endorse(self, node_certificate: str, txid: TxId, service: ServiceIdentity) -> list[str] | None:
        node = x509.load_pem_x509_certificate(node_certificate.encode())
        if _is_issued_by(node, service):
            return None
        for identity in self._read_chain():
            if identity.begin.seqno <= txid.seqno <= identity.end.seqno:
                return [endorse_past_identity(identity.spki, node.issuer, service)]
        raise InternalError(f"no identity of this service is known to have signed {txid}", txid=str(txid))

    def _read_chain(self) -> list[PastIdentity]:
        transaction = self._runtime.begin()
        row = transaction.get(IDENTITY_ENDORSEMENT, SINGLETON)
        version = transaction.version_of_previous_write(IDENTITY_ENDORSEMENT, SINGLETON)
        with self._lock:
            if version is not None and version == self._version:
                return self._chain
        chain: list[PastIdentity] = []
        while row is not None and len(chain) < MAX_IDENTITIES:
            value = _parsed(row)
            ended, previous = value.get("endorsement_epoch_end"), value.get("previous_version")
            # The first row of a service that was never recovered endorses its own key: no past identity.
            if ended is not None:
                chain.append(_identity(value, str(ended)))
            row = None
            if previous is not None:
                row = (self._entry(int(previous)).table(IDENTITY_ENDORSEMENT) or {}).get(SINGLETON)
        with self._lock:
            self._chain, self._version = chain, version
        return chain


def _is_issued_by(certificate: x509.Certificate, service: ServiceIdentity) -> bool:
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(service.certificate.encode()))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _parsed(row: bytes) -> dict[str, Any]:
    value = json.loads(row)
    if not isinstance(value, dict):
        raise InternalError(f"{IDENTITY_ENDORSEMENT} holds no JSON object")
    return value


def _identity(value: dict[str, Any], ended: str) -> PastIdentity:
    try:
        message = base64.b64decode(value["endorsement"], validate=True)
        payload = CoseSign1.parse(message).payload
        begin, end = TxId.parse(str(value["endorsement_epoch_begin"])), TxId.parse(ended)
    except (KeyError, ValueError, TypeError, FormatError) as error:
        raise InternalError(f"{IDENTITY_ENDORSEMENT} holds no endorsement: {error}") from error
    if payload is None:
        raise InternalError(f"{IDENTITY_ENDORSEMENT} holds an endorsement of no key")
    return PastIdentity(payload, begin, end, message)
