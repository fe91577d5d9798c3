"""COSE endorsements: a newer service key vouches for an older one, for one epoch of the ledger.

A recovered service signs the key of the service before it (CCF 6 and later; table
``public:ccf.internal.previous_service_identity_endorsement``), and its nodes hand the chain out, newest first.
Trust runs *backwards* along it: who holds the newer key may believe the older one inside its epoch. The
reverse says nothing, because anybody's key can endorse anybody's.

An endorsement is a COSE_Sign1 whose payload is the older key's SubjectPublicKeyInfo; its protected header
``ccf.v1`` holds ``epoch.start.txid``, ``epoch.end.txid`` and ``epoch.end.merkle.root``. The very first service
life endorses itself, without an end; that links nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from tallystick._native import CoseSign1, PublicKey, cbor_decode
from tallystick.errors import FormatError, VerificationError
from tallystick.types import TxId

__all__ = ["Endorsement", "Epoch", "VerifiedEndorsement", "parse_endorsements", "verify_endorsement_record"]

# A service is recovered a handful of times; a thousand recoveries are beyond any history.
_MAX_ENDORSEMENTS = 1000

_CCF_HEADER = "ccf.v1"
_CWT_CLAIMS_HEADER = 15
_ISSUED_AT_CLAIM = 6


class Epoch:
    """The part of a ledger that one service identity wrote.

    Attributes:
        begin: its first transaction.
        end: its last one; None while it goes on.
    """

    begin: TxId
    end: TxId | None

    def follows(self, older: Epoch) -> bool:
        """Whether it starts where ``older`` ends: the next seqno, and two views on, as a recovery does."""
        return (
            older.end is not None and self.begin.seqno == older.end.seqno + 1 and self.begin.view == older.end.view + 2
        )

    @property
    def epoch(self) -> str:
        """It, for people."""
        return f"{self.begin} to {self.end}" if self.end is not None else f"{self.begin} and later"


@dataclass(frozen=True)
class Endorsement(Epoch):
    """One parsed endorsement; its signature is not verified.

    Attributes:
        raw: the COSE_Sign1 as it was given.
        endorsed_spki: DER SubjectPublicKeyInfo of the older key.
        endorsed: lower-case hex SHA-256 of it.
        begin: first transaction of the older key's epoch.
        end: last one; None in a self-endorsement, which is open-ended.
        end_root: root signed at the end of the epoch, 32 bytes.
        issued_at: seconds since 1970, as claimed.
    """

    raw: bytes
    endorsed_spki: bytes
    endorsed: str
    begin: TxId
    end: TxId | None
    end_root: bytes | None
    issued_at: int | None

    @classmethod
    def parse(cls, data: bytes) -> Endorsement:
        """Parses one COSE_Sign1.

        Raises:
            FormatError: it is not an endorsement (code ``endorsement-malformed``, or a CBOR or COSE code).
        """
        sign1 = CoseSign1.parse(data)
        headers = sign1.protected_headers
        epoch = headers.get(_CCF_HEADER)
        if not isinstance(epoch, dict) or "epoch.start.txid" not in epoch:
            raise _malformed("expected the protected header 'ccf.v1' with 'epoch.start.txid', got none")
        if sign1.payload is None:
            raise _malformed("expected the endorsed key as payload, got none")
        PublicKey.from_spki(sign1.payload)
        end_root = epoch.get("epoch.end.merkle.root")
        if end_root is not None and not (isinstance(end_root, bytes) and len(end_root) == 32):
            raise _malformed("'epoch.end.merkle.root' is not 32 bytes")
        if ("epoch.end.txid" in epoch) != (end_root is not None):
            raise _malformed("the epoch has only one of an end and a root")
        claims = headers.get(_CWT_CLAIMS_HEADER)
        issued_at = claims.get(_ISSUED_AT_CLAIM) if isinstance(claims, dict) else None
        return cls(
            raw=data,
            endorsed_spki=sign1.payload,
            endorsed=hashlib.sha256(sign1.payload).hexdigest(),
            begin=_txid(epoch["epoch.start.txid"]),
            end=_txid(epoch["epoch.end.txid"]) if "epoch.end.txid" in epoch else None,
            end_root=end_root,
            issued_at=issued_at if isinstance(issued_at, int) else None,
        )

    def verify_signature(self, key: PublicKey) -> None:
        """Checks that ``key`` signed this endorsement.

        Raises:
            VerificationError: it did not (code ``endorsement-signature-invalid``).
        """
        sign1 = CoseSign1.parse(self.raw)
        algorithm = sign1.algorithm
        if algorithm is None or not key.verifies_cose(sign1.signed_bytes(), sign1.signature, algorithm):
            raise VerificationError(
                f"endorsement of service key {self.endorsed} is not signed by service key {key.sha256}",
                code="endorsement-signature-invalid",
                txid=str(self.begin),
            )

    def covers(self, txid: TxId) -> bool:
        """Whether ``txid`` lies in the epoch. An epoch that ends before it begins covers nothing."""
        if self.end is None or not self.begin.seqno <= txid.seqno <= self.end.seqno:
            return False
        return self.begin.view <= txid.view <= self.end.view


@dataclass(frozen=True)
class VerifiedEndorsement:
    """An endorsement as a ledger records it, its signature verified under the key that the record names.

    That key is not trusted by this: an outsider's key can endorse anybody's.

    Attributes:
        endorsing: fingerprint of the newer key, which signed.
        endorsed: fingerprint of the older key.
        endorsed_spki: the older key, DER SubjectPublicKeyInfo in hex.
        begin, end: the epoch of the older key; no ``end`` in a self-endorsement at a first opening.
        end_root: root in the last signature of that epoch, hex.
        seqno: where the ledger holds it; None when it came from elsewhere.
    """

    endorsing: str
    endorsed: str
    endorsed_spki: str
    begin: TxId
    end: TxId | None
    end_root: str | None
    seqno: int | None = None

    @property
    def is_self(self) -> bool:
        """The key endorses itself, as a service does when it first opens."""
        return self.endorsing == self.endorsed

    @property
    def epoch_is_reversed(self) -> bool:
        """Known bad records of real services: the epoch ends before it begins. They vouch for nothing."""
        return self.end is not None and self.end.seqno < self.begin.seqno


def verify_endorsement_record(value: bytes, *, seqno: int | None = None) -> VerifiedEndorsement:
    """Verifies a value of ``public:ccf.internal.previous_service_identity_endorsement``.

    (1) The record names the endorsing key; (2) the COSE_Sign1 is signed by it; (3) the epoch in the record
    equals the one that is signed.

    Raises:
        FormatError: the record or the COSE_Sign1 is malformed.
        VerificationError: the signature does not hold, or the record says other than what is signed (code
            ``endorsement-invalid``).
    """
    record = _record(value)
    endorsing = PublicKey.from_spki(_bytes(record.get("endorsing_key")))
    endorsement = Endorsement.parse(_bytes(record.get("endorsement")))
    try:
        endorsement.verify_signature(endorsing)
    except VerificationError as error:
        raise VerificationError(
            f"endorsement is not signed by the key it names, {endorsing.sha256}", code="endorsement-invalid"
        ) from error
    for name, signed in (("begin", endorsement.begin), ("end", endorsement.end)):
        expected = str(signed) if signed is not None else None
        claimed = record.get(f"endorsement_epoch_{name}")
        if claimed != expected:
            raise VerificationError(
                f"endorsement_epoch_{name} of the record differs from what is signed: "
                f"expected {expected}, got {claimed}",
                code="endorsement-invalid",
            )
    return VerifiedEndorsement(
        endorsing.sha256,
        endorsement.endorsed,
        endorsement.endorsed_spki.hex(),
        endorsement.begin,
        endorsement.end,
        endorsement.end_root.hex() if endorsement.end_root is not None else None,
        seqno,
    )


def _record(value: bytes) -> dict[str, object]:
    try:
        record = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise _malformed("record is not JSON") from error
    if not isinstance(record, dict):
        raise _malformed("record is not a JSON object")
    return record


def parse_endorsements(data: bytes) -> list[Endorsement]:
    """Parses a file of endorsements in any form they are served or kept in.

    These are: one COSE_Sign1; a CBOR array of them (as byte strings); JSON ``{"endorsements": [base64, …]}`` or
    the array alone; a ledger record ``{"endorsement": base64, …}``.

    Raises:
        FormatError: anything else (code ``endorsement-malformed``, or a CBOR or COSE code).
    """
    start = data[:1]
    if start == b"\xd2":
        return [Endorsement.parse(data)]
    items = _from_json(data) if start in (b"{", b"[") else cbor_decode(data)
    if not isinstance(items, list) or not items:
        raise _malformed("expected at least one endorsement, got none")
    if len(items) > _MAX_ENDORSEMENTS:
        raise _malformed(f"expected at most {_MAX_ENDORSEMENTS} endorsements, got {len(items)}")
    return [Endorsement.parse(_bytes(item)) for item in items]


def _from_json(data: bytes) -> object:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"not JSON: {error}") from error
    if isinstance(document, dict):
        if "endorsement" in document:
            return [document["endorsement"]]
        return document.get("endorsements")
    return document


def _bytes(item: object) -> bytes:
    if isinstance(item, bytes):
        return item
    if not isinstance(item, str):
        raise _malformed("expected base64 text or a byte string")
    try:
        return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed("not base64") from error


def _txid(value: object) -> TxId:
    if not isinstance(value, str):
        raise _malformed("a transaction ID of the epoch is not text")
    return TxId.parse(value)


def _malformed(problem: str) -> FormatError:
    return FormatError(f"endorsement of a service key is malformed: {problem}", code="endorsement-malformed")
