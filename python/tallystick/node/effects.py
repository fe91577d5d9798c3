"""What the constitution may ask of the node: the privileged functions behind ``ccf.node`` and ``ccf.network``.

Each writes, into the transaction in which the constitution runs, the rows that CCF writes; what only takes
effect with the commit goes into the commit's options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from tallystick.errors import TallystickError
from tallystick.node import jwt, shares, tables
from tallystick.node.certificates import endorse_request, parse_time
from tallystick.node.identity_endorsement import endorse_previous_identity
from tallystick.node.ledger_secrets import KnownSecret
from tallystick.node.state import NodeState, ServiceStatus
from tallystick.secrets.shares import LedgerSecret
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick._native import NodeTransaction
    from tallystick.node.service import Node

__all__ = ["CommitOptions", "EffectError", "Effects"]

# What a certificate lives where neither the proposal nor the service's configuration says.
_DEFAULT_VALIDITY_DAYS: Final = 365
_BYTECODE_TABLES: Final = ("public:ccf.gov.modules_quickjs_bytecode", "public:ccf.gov.modules_quickjs_version")


class EffectError(TallystickError):
    """A privileged function refused; the message reaches the constitution as a JavaScript exception."""

    default_code = "effect-refused"


class CommitOptions(Protocol):
    """What goes with a transaction beside its writes (``node.http.context.CommitOptions``)."""

    claims_digest: bytes | None
    close_chunk: bool
    close_before: bool
    install_secret: LedgerSecret | bytes | None
    on_local_commit: list[Callable[[TxId], object]]


class Effects:
    """The privileged functions of one node, by the names under which JavaScript knows them.

    Args:
        node: the node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._functions: dict[str, Callable[..., Any]] = {
            "triggerLedgerRekey": self._rekey,
            "transitionServiceToOpen": self._open_service,
            "triggerRecoverySharesRefresh": self._refresh_shares,
            "triggerLedgerChunk": self._close_chunk,
            "triggerSnapshot": self._take_snapshot,
            "getLatestLedgerSecretSeqno": self._latest_secret_seqno,
            "generateEndorsedCertificate": self._endorse_node,
            "generateNetworkCertificate": self._renew_service_certificate,
            "refreshAppBytecodeCache": self._refresh_bytecode,
            "setJwtPublicSigningKeys": self._set_jwt_keys,
            "removeJwtPublicSigningKeys": self._remove_jwt_keys,
            "shuffleSealedShares": self._shuffle_sealed_shares,
        }

    @property
    def names(self) -> frozenset[str]:
        """The functions there are, such as ``triggerLedgerRekey``."""
        return frozenset(self._functions)

    def call(self, tx: NodeTransaction, name: str, args: Sequence[Any], commit: CommitOptions) -> Any:
        """Runs a privileged function inside ``tx``.

        Args:
            tx: the transaction in which the constitution runs.
            name: such as ``transitionServiceToOpen``.
            args: its arguments; buffers as bytes.
            commit: options of the commit to come; the function may fill some in.

        Returns:
            What the function returns to JavaScript: None, a number or text.

        Raises:
            EffectError: there is no such function, or it refuses.
        """
        function = self._functions.get(name)
        if function is None:
            raise EffectError(f"there is no privileged function {name}")
        try:
            return function(tx, commit, *args)
        except EffectError:
            raise
        except TallystickError as error:
            raise EffectError(error.message, code=error.code) from error
        except TypeError as error:
            raise EffectError(f"{name} was called with {len(args)} arguments that it does not take") from error

    # ------------------------------------------------------------ opening

    def _open_service(
        self, tx: NodeTransaction, commit: CommitOptions, previous: object = None, following: object = None
    ) -> None:
        info: dict[str, Any] | None = tables.get_json(tx, tables.SERVICE_INFO)
        if info is None:
            raise EffectError("Unable to open service: Service information cannot be found")
        status = info.get("status")
        if status in (ServiceStatus.OPEN, ServiceStatus.WAITING_FOR_RECOVERY_SHARES):
            self._node.log.debug(f"Service in state {status} is already open")
            return
        if status == ServiceStatus.RECOVERING:
            recorded = tables.get_json(tx, tables.PREVIOUS_IDENTITY)
            if recorded is None or previous is None:
                raise EffectError(
                    "Unable to open service: a recovering service needs its previous identity, recorded when the "
                    "recovery began, and a proposal that names the previous and the next identity"
                )
            if _pem(previous) != recorded:
                raise EffectError(
                    "Unable to open service: Previous service identity does not match.\n"
                    f"Actual:\n{recorded}\nIn proposal:\n{_pem(previous)}"
                )
        if following is None or _pem(following) != info.get("cert"):
            raise EffectError(
                "Unable to open service: Service identity mismatch: the next service identity in the "
                "transition_service_to_open proposal does not match the current service identity:\n"
                f"Next:\n{_pem(following)}\nCurrent:\n{info.get('cert')}"
            )
        if self._node.state == NodeState.PART_OF_PUBLIC_NETWORK:
            self._wait_for_shares(tx, info)
        elif self._node.state == NodeState.PART_OF_NETWORK:
            self._open(tx, commit, info)
        else:
            raise EffectError(f"Unable to open service: Node in state {self._node.state} cannot open service")

    def _wait_for_shares(self, tx: NodeTransaction, info: dict[str, Any]) -> None:
        for key, _ in tx.entries(tables.SUBMITTED_SHARES):
            tx.remove(tables.SUBMITTED_SHARES, key)
        tables.put_json(tx, tables.LAST_RECOVERY_TYPE, "RECOVERY_SHARES")
        tables.put_json(tx, tables.SERVICE_INFO, {**info, "status": ServiceStatus.WAITING_FOR_RECOVERY_SHARES.value})

    def _open(self, tx: NodeTransaction, commit: CommitOptions, info: dict[str, Any]) -> None:
        try:
            shares.issue_shares(tx, self._latest_secret(tx), None)
        except shares.ShareError as error:
            raise EffectError(f"Unable to open service: Failed to issue recovery shares: {error.message}") from error
        tables.put_json(tx, tables.SERVICE_INFO, {**info, "status": ServiceStatus.OPEN.value})
        endorse_previous_identity(tx, self._node.service.key)
        self._take_snapshot(tx, commit)

    # ------------------------------------------------------------ ledger secrets

    def _latest_secret(self, tx: NodeTransaction) -> KnownSecret:
        # Reading the record makes this transaction conflict with a rekey that commits first; the data plane's
        # secret is in force from the very commit that installs it.
        stored = tx.version_of_previous_write(tables.HISTORICAL_SECRET, tables.SINGLETON)
        latest = self._node.runtime.latest_secret()
        if latest is None:
            raise EffectError("this node holds no ledger secret")
        version, secret = latest
        return KnownSecret(version, LedgerSecret(secret), stored)

    def _rekey(self, tx: NodeTransaction, commit: CommitOptions) -> None:
        info: dict[str, Any] = tables.get_json(tx, tables.SERVICE_INFO) or {}
        # Before the opening nobody holds shares; during a recovery the older secrets are not known yet.
        if self._node.state != NodeState.PART_OF_NETWORK or info.get("status") != ServiceStatus.OPEN:
            raise EffectError("Could not rekey ledger: Cannot rekey ledger while the service is not open")
        current = self._latest_secret(tx)
        secret = LedgerSecret.random()
        shares.refresh_shares(tx, secret)
        shares.link_previous(tx, secret, current, None)
        shares.broadcast_rekey(tx, secret)
        commit.install_secret = secret
        # The new secret comes into force with the transaction after this one, which is where it is stored.
        commit.on_local_commit.append(
            lambda txid: self._node.secrets.add(KnownSecret(txid.seqno + 1, secret, txid.seqno))
        )

    def _refresh_shares(self, tx: NodeTransaction, _commit: CommitOptions) -> None:
        shares.refresh_shares(tx, self._latest_secret(tx).secret)

    def _latest_secret_seqno(self, tx: NodeTransaction, _commit: CommitOptions) -> int:
        return self._latest_secret(tx).version

    def _shuffle_sealed_shares(self, _tx: NodeTransaction, _commit: CommitOptions) -> None:
        raise EffectError("this node does not seal ledger secrets to its platform, so there are no sealed shares")

    # ------------------------------------------------------------ ledger and snapshots

    @staticmethod
    def _close_chunk(_tx: NodeTransaction, commit: CommitOptions) -> None:
        commit.close_chunk = True

    def _take_snapshot(self, _tx: NodeTransaction, commit: CommitOptions) -> None:
        commit.on_local_commit.append(self._node.request_snapshot)

    @staticmethod
    def _refresh_bytecode(tx: NodeTransaction, _commit: CommitOptions) -> None:
        # Compiled modules are kept in memory here. Bytecode that another node stored is dropped: it would be stale.
        for table in _BYTECODE_TABLES:
            for key, _ in tx.entries(table):
                tx.remove(table, key)

    # ------------------------------------------------------------ certificates

    def _endorse_node(
        self, _tx: NodeTransaction, _commit: CommitOptions, request: str, valid_from: str, days: int
    ) -> str:
        return endorse_request(_pem(request), self._node.service, parse_time(valid_from), _days(days))

    def _renew_service_certificate(
        self, _tx: NodeTransaction, _commit: CommitOptions, valid_from: str, days: int
    ) -> str:
        return self._node.service.renewed_certificate(parse_time(valid_from), _days(days))

    # ------------------------------------------------------------ token issuers

    @staticmethod
    def _set_jwt_keys(
        tx: NodeTransaction, _commit: CommitOptions, issuer: str, _metadata: object, jwks: object
    ) -> None:
        jwt.set_keys(tx, issuer, jwks)

    @staticmethod
    def _remove_jwt_keys(tx: NodeTransaction, _commit: CommitOptions, issuer: str) -> None:
        jwt.remove_keys(tx, issuer)


def _pem(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode(errors="replace")
    return str(value)


def _days(value: object) -> int:
    if value is None:
        return _DEFAULT_VALIDITY_DAYS
    if not isinstance(value, int | float) or isinstance(value, bool) or int(value) != value or value < 1:
        raise EffectError(f"validity period must be a whole number of days, got {value!r}")
    return int(value)
