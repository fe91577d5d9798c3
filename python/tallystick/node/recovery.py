"""Taking over a service whose nodes are lost: judging its ledger, and opening it again with the members' shares.

The public part of the ledger is read as far as its signatures are genuine; the service goes on under a new
identity. Its private part stays closed until enough members have handed in their shares of the last ledger
secret, from which the older ones follow.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets as random_source
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tallystick._native import ConflictError, CoseSign1, PublicKey
from tallystick.errors import FormatError, TallystickError, UnsupportedError, VerificationError
from tallystick.node import shares, tables
from tallystick.node.certificates import spki_of
from tallystick.node.identity_endorsement import endorse_previous_identity
from tallystick.node.keys import encrypt_to_pem
from tallystick.node.ledger_secrets import KnownSecret
from tallystick.node.state import NodeState, NodeStatus, ServiceStatus
from tallystick.secrets.shares import (
    LedgerSecret,
    Share,
    combine_shares,
    unwrap_ledger_secret,
)
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick._native import NodeTransaction
    from tallystick.node.effects import CommitOptions
    from tallystick.node.service import Node

__all__ = ["LedgerJudge", "Recovery", "SubmittedShares", "write_recovered_service"]

_CWT_CLAIMS: Final = 15
_ISSUER: Final = 1
_SUBJECT: Final = 2
_TAG_BYTES: Final = 16
_IV_BYTES: Final = 12
_COMMIT_ATTEMPTS: Final = 30


class LedgerJudge:
    """Says which signature transactions of a ledger are genuine, in ledger order.

    A signature counts if the service made it whose certificate the ledger holds at that point, or a node that
    this service vouches for. Whether the last of these services is the right one is for :meth:`accept`.

    Args:
        previous_certificate: PEM certificate of the service that is to be recovered.

    Attributes:
        issuer, subject: CWT claims of the last COSE signature; empty where there is none.
    """

    def __init__(self, previous_certificate: str) -> None:
        self._expected = spki_of(previous_certificate)
        self._service_row = b""
        self._service: x509.Certificate | None = None
        self._service_key: PublicKey | None = None
        self._nodes: dict[str, PublicKey] = {}
        self.issuer = ""
        self.subject = ""

    def __call__(
        self, root: bytes, view: int, seqno: int, raw: bytes | None, cose: bytes | None, service: bytes | None
    ) -> None:
        """Judges one signature transaction.

        Raises:
            TallystickError: it is not genuine.
        """
        if service is None:
            raise VerificationError("there is no service yet that could have signed", code="recovery-no-service")
        self._take_service(service)
        if raw is not None:
            self._judge_raw(raw, root, TxId(view, seqno))
        if cose is not None:
            self._judge_cose(cose, root, TxId(view, seqno))

    def accept(self, _view: int, _seqno: int) -> None:
        """Whether the ledger is that of the service to be recovered.

        Raises:
            VerificationError: it is another one's.
        """
        if self._service_key is None or self._service_key.spki != self._expected:
            found = "none" if self._service_key is None else self._service_key.sha256
            wanted = PublicKey.from_spki(self._expected).sha256
            raise VerificationError(
                f"the ledger is not that of the previous service: expected key {wanted}, got {found}",
                code="recovery-identity",
            )

    def _take_service(self, row: bytes) -> None:
        if row == self._service_row:
            return
        try:
            pem = str(json.loads(row)["cert"])
            certificate = x509.load_pem_x509_certificate(pem.encode())
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError("service.info holds no certificate", code="certificate-malformed") from error
        key = PublicKey.from_spki(spki_of(pem))
        if self._service_key is None or key != self._service_key:
            self._nodes.clear()
        self._service_row, self._service, self._service_key = row, certificate, key

    def _node_key(self, pem: str) -> PublicKey:
        """Key of a node certificate that the service vouches for."""
        known = self._nodes.get(pem)
        if known is not None:
            return known
        service = self._service.public_key() if self._service is not None else None
        try:
            certificate = x509.load_pem_x509_certificate(pem.encode())
            algorithm = certificate.signature_hash_algorithm
            if not isinstance(service, ec.EllipticCurvePublicKey) or algorithm is None:
                raise VerificationError("node certificates cannot be checked under this service's key")
            service.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(algorithm))
        except (ValueError, InvalidSignature) as error:
            raise VerificationError("the service does not vouch for the node that signed") from error
        self._nodes[pem] = key = PublicKey.from_spki(spki_of(pem))
        return key

    def _judge_raw(self, row: bytes, root: bytes, txid: TxId) -> None:
        try:
            value = json.loads(row)
            if "cert" not in value:
                raise UnsupportedError(
                    "node signature does not carry the node's certificate, as in CCF 1.x",
                    code="recovery-old-format",
                    hint="recover the service with CCF 2 or later first",
                )
            signature = base64.b64decode(value["sig"], validate=True)
            claimed, at = value["root"], (value["view"], value["seqno"])
            key = self._node_key(str(value["cert"]))
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise FormatError(f"node signature cannot be read: {error}", code="signature-malformed") from error
        if claimed != root.hex() or at != (txid.view, txid.seqno):
            raise VerificationError("node signature is about another root or transaction")
        if not key.verifies_prehashed(root, signature):
            raise VerificationError("node signature does not hold")

    def _judge_cose(self, row: bytes, root: bytes, txid: TxId) -> None:
        try:
            message = CoseSign1.parse(base64.b64decode(json.loads(row), validate=True))
        except (ValueError, TypeError, binascii.Error) as error:
            raise FormatError(f"COSE signature cannot be read: {error}", code="signature-malformed") from error
        headers = message.protected_headers
        about = headers.get("ccf.v1")
        if not isinstance(about, dict) or about.get("txid") != str(txid):
            raise VerificationError("COSE signature is about another transaction")
        algorithm, key = message.algorithm, self._service_key
        signed = message.signed_bytes(root)
        if key is None or algorithm is None or not key.verifies_cose(signed, message.signature, algorithm):
            raise VerificationError("COSE signature does not hold under the service's key")
        claims = headers.get(_CWT_CLAIMS)
        if isinstance(claims, dict):
            self.issuer, self.subject = str(claims.get(_ISSUER, "")), str(claims.get(_SUBJECT, ""))


def write_recovered_service(
    tx: NodeTransaction, certificate: str, txid: TxId, last_root: bytes, service_data: Any
) -> list[str]:
    """Writes that the service is being recovered under a new identity, and that its nodes are gone.

    Args:
        certificate: the new service certificate, PEM.
        txid: ID that the transaction will have.
        last_root: root of the last signature that was taken over.
        service_data: any JSON value, None for none.

    Returns:
        IDs of the nodes that are retired by it.
    """
    before: dict[str, Any] = tables.get_json(tx, tables.SERVICE_INFO)
    created = TxId.parse(str(before["current_service_create_txid"]))
    info: dict[str, Any] = {
        "cert": certificate,
        "current_service_create_txid": str(txid),
        "previous_service_identity_version": created.seqno,
        "recovery_count": int(before.get("recovery_count") or 0) + 1,
        "status": ServiceStatus.RECOVERING.value,
    }
    if service_data is not None:
        info["service_data"] = service_data
    tables.put_json(tx, tables.SERVICE_INFO, info)
    tables.put_json(tx, tables.PREVIOUS_IDENTITY, before["cert"])
    tables.put_json(tx, tables.LAST_SIGNED_ROOT, last_root.hex())
    retired = []
    for node_id, node in tables.rows_json(tx, tables.NODES_INFO).items():
        if node.get("status") != NodeStatus.RETIRED:
            tables.put_json(tx, tables.NODES_INFO, {**node, "status": NodeStatus.RETIRED.value}, node_id.encode())
            retired.append(node_id)
    return retired


@dataclass(frozen=True)
class SubmittedShares:
    """What a member learns when it hands in its share.

    Attributes:
        count: shares handed in until now.
        threshold: how many it takes.
        full_key: whether this one was an owner's, which is enough by itself.
    """

    count: int
    threshold: int
    full_key: bool

    @property
    def is_enough(self) -> bool:
        """Whether the private part can be recovered now."""
        return self.full_key or self.count >= self.threshold


class Recovery:
    """The second half of a recovery: from the members' shares to an open service.

    Args:
        node: the node.
        links: writes of the record that links ledger secrets, in ledger order: seqno and value.
    """

    def __init__(self, node: Node, links: Sequence[tuple[int, bytes]]) -> None:
        self._node = node
        self._links = [(seqno, json.loads(value)) for seqno, value in links]
        self._finishing = False

    def submit(self, tx: NodeTransaction, member_id: str, share: bytes) -> SubmittedShares:
        """Keeps a member's share, encrypted, in the ledger.

        Args:
            share: the 44 bytes.

        Raises:
            FormatError: it is no share.
        """
        parsed = Share.parse(share)
        sealed = _seal(parsed.serialise(), self._node.secrets.latest.secret)
        tables.put_json(tx, tables.SUBMITTED_SHARES, base64.b64encode(sealed).decode(), member_id.encode())
        config: dict[str, Any] = tables.get_json(tx, tables.SERVICE_CONFIG) or {}
        count = len(tx.entries(tables.SUBMITTED_SHARES))
        return SubmittedShares(count, int(config.get("recovery_threshold", 0)), parsed.x == 0)

    def forget_shares(self, tx: NodeTransaction) -> None:
        """Removes the shares that were handed in: members start over."""
        for key, _ in tx.entries(tables.SUBMITTED_SHARES):
            tx.remove(tables.SUBMITTED_SHARES, key)

    def begin_private(self, tx: NodeTransaction, commit: CommitOptions) -> None:
        """Opens the ledger secrets with the shares handed in; once that is committed, the private part is read.

        Raises:
            TallystickError: the shares do not belong together, or the ledger's records do not fit.
        """
        known = self._restore(tx)
        value = {
            node_id: [_encrypted(secret, str(info["encryption_pub_key"])) for secret in known]
            for node_id, info in tables.rows_json(tx, tables.NODES_INFO).items()
            if info.get("status") == NodeStatus.TRUSTED
        }
        tables.put_json(tx, tables.ENCRYPTED_SECRETS, value)

        def finish() -> None:
            # Shares beyond the threshold may come in before the commit that starts this. All such calls come from the
            # thread that tells of commits.
            if self._finishing:
                return
            self._finishing = True
            threading.Thread(target=self._finish, args=(known,), name="private-recovery", daemon=True).start()

        commit.on_local_commit.append(lambda txid: self._node.after_commit(txid, finish))

    def _submitted(self, tx: NodeTransaction) -> list[Share]:
        latest = self._node.secrets.latest.secret
        return [
            Share.parse(_open_sealed(base64.b64decode(json.loads(value)), latest))
            for _, value in tx.entries(tables.SUBMITTED_SHARES)
        ]

    def _restore(self, tx: NodeTransaction) -> list[KnownSecret]:
        """All secrets of before, oldest first."""
        record: dict[str, Any] = tables.get_json(tx, tables.RECOVERY_SHARES) or {}
        config: dict[str, Any] = tables.get_json(tx, tables.SERVICE_CONFIG) or {}
        wrapping_key = combine_shares(self._submitted(tx), int(config.get("recovery_threshold", 0)))
        newest = unwrap_ledger_secret(base64.b64decode(record["wrapped_latest_ledger_secret"]), wrapping_key)
        if not self._links:
            raise VerificationError("the ledger holds no record of ledger secrets", code="secret-record-malformed")
        seqno, last = self._links[-1]
        stored = tx.version_of_previous_write(tables.HISTORICAL_SECRET, tables.SINGLETON)
        known = [KnownSecret(int(last.get("next_version") or seqno + 1), newest, stored)]
        for _, link in reversed(self._links):
            previous = link.get("previous_ledger_secret")
            if previous is None:
                break
            version = int(previous["version"])
            if any(secret.version == version for secret in known):
                # Openings repeat what a rekey recorded.
                continue
            opened = unwrap_ledger_secret(base64.b64decode(previous["encrypted_data"]), known[-1].secret)
            known.append(KnownSecret(version, opened, previous.get("previous_secret_stored_version")))
        return sorted(known, key=lambda secret: secret.version)

    def _finish(self, known: list[KnownSecret]) -> None:
        node = self._node
        node.state = NodeState.READING_PRIVATE_LEDGER
        node.log.info(f"Reading the private ledger with {len(known)} ledger secrets")
        try:
            node.runtime.recover_private([(secret.version, secret.secret) for secret in known])
            for secret in known:
                node.secrets.add(secret)
            txid = self._reopen(known[-1])
            node.runtime.finish_recovery()
        except (RuntimeError, ValueError, TallystickError) as error:
            # Members may hand in their shares again; what is public goes on working.
            node.state = NodeState.PART_OF_PUBLIC_NETWORK
            self._finishing = False
            node.log.fatal(f"Private recovery failed: {error}")
            return
        node.state = NodeState.PART_OF_NETWORK
        node.jwt.start()
        node.runtime.sign_pending()
        node.log.info(f"Recovery is complete: the service opens with transaction {txid}")

    def _reopen(self, previous: KnownSecret) -> TxId:
        node = self._node
        current = node.secrets.latest
        for _ in range(_COMMIT_ATTEMPTS):
            tx = node.runtime.begin()
            info: dict[str, Any] = tables.get_json(tx, tables.SERVICE_INFO)
            self.forget_shares(tx)
            shares.issue_shares(tx, current, previous)
            tables.put_json(tx, tables.SERVICE_INFO, {**info, "status": ServiceStatus.OPEN.value})
            endorse_previous_identity(tx, node.service.key)
            try:
                txid = node.commit(tx)
            except ConflictError:
                continue
            node.request_snapshot(txid)
            return txid
        raise VerificationError("the end of the recovery could not be written: other transactions came first")


def _encrypted(secret: KnownSecret, public_key: str) -> dict[str, Any]:
    value: dict[str, Any] = {
        "encrypted_secret": base64.b64encode(encrypt_to_pem(public_key, bytes(secret.secret))).decode(),
        "version": secret.version,
    }
    if secret.previous_stored is not None:
        value["previous_secret_stored_version"] = secret.previous_stored
    return value


def _seal(plaintext: bytes, key: LedgerSecret) -> bytes:
    """tag ‖ IV ‖ ciphertext, as submitted shares lie in the ledger."""
    iv = random_source.token_bytes(_IV_BYTES)
    sealed = AESGCM(bytes(key)).encrypt(iv, plaintext, None)
    return sealed[-_TAG_BYTES:] + iv + sealed[:-_TAG_BYTES]


def _open_sealed(sealed: bytes, key: LedgerSecret) -> bytes:
    tag, iv, ciphertext = (
        sealed[:_TAG_BYTES],
        sealed[_TAG_BYTES : _TAG_BYTES + _IV_BYTES],
        sealed[_TAG_BYTES + _IV_BYTES :],
    )
    try:
        return AESGCM(bytes(key)).decrypt(iv, ciphertext + tag, None)
    except (InvalidTag, ValueError) as error:
        raise VerificationError("a submitted share does not open", code="secret-unwrap") from error
