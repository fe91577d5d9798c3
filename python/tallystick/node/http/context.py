"""What a handler is given, and what it gives back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from tallystick._native import NodeTransaction as Transaction
from tallystick.node.http.errors import JSON_TYPE, Code, HttpError
from tallystick.node.tables import json_bytes
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick._native import LedgerSecret
    from tallystick.node.http.interfaces import InterfaceRules
    from tallystick.node.http.registry import Endpoint

__all__ = ["Caller", "CommitOptions", "Context", "NodeHandle", "Reply", "Request", "RuntimeHandle", "Transaction"]


class Request(Protocol):
    """A request as the HTTP front read it (``_native.NodeRequest``). Header names are lower-case."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def interface(self) -> str: ...
    @property
    def session_id(self) -> int: ...
    @property
    def client_certificate(self) -> bytes | None: ...


class RuntimeHandle(Protocol):
    """What endpoints use of the data plane (``_native.NodeRuntime``)."""

    def begin(self) -> Any: ...
    def begin_with_root(self) -> Any: ...
    def commit(self, transaction: Any, **options: Any) -> tuple[int, int]: ...
    def status(self, view: int, seqno: int) -> str: ...
    def view_at(self, seqno: int) -> int | None: ...
    def view_history(self) -> list[int]: ...
    @property
    def committed(self) -> tuple[int, int]: ...
    @property
    def last_seqno(self) -> int: ...
    @property
    def saturated(self) -> bool: ...


class NodeHandle(Protocol):
    """What endpoints use of the node (``node.service.Node``)."""

    @property
    def runtime(self) -> Any: ...
    @property
    def config(self) -> Any: ...
    @property
    def state(self) -> Any: ...
    @property
    def node_id(self) -> str: ...
    @property
    def keys(self) -> Any: ...
    @property
    def service(self) -> Any: ...
    @property
    def secrets(self) -> Any: ...
    @property
    def log(self) -> Any: ...
    @property
    def effects(self) -> Any: ...
    @property
    def addresses(self) -> Any: ...
    @property
    def self_signed_certificate(self) -> str: ...
    @property
    def startup_seqno(self) -> int: ...
    @property
    def stop_notice(self) -> bool: ...
    @property
    def create_txid(self) -> TxId | None: ...
    @property
    def gov_open(self) -> bool: ...
    @property
    def app_open(self) -> bool: ...
    @property
    def recovery(self) -> Any: ...
    def after_commit(self, txid: Any, fn: Callable[[], object]) -> None: ...


@dataclass(frozen=True)
class Caller:
    """Who calls, according to the policy that accepted the request.

    Attributes:
        policy: name of the policy.
        id: member, user or node ID in hex; empty when the policy establishes none.
        certificate: DER of the TLS client certificate, when the policy looked at one.
        data: what the service holds about the member or user (``member_data``, ``user_data``), decoded JSON.
        evidence: what else the policy read: for signed requests the parsed and verified COSE message.
    """

    policy: str
    id: str = ""
    certificate: bytes | None = None
    data: Any = None
    evidence: Any = None


@dataclass(frozen=True)
class Reply:
    """An answer. A status outside 200 to 299 undoes what the handler wrote, unless ``keep_writes`` says otherwise.

    Attributes:
        status: HTTP status.
        headers: names in lower case; ``content-length`` is added by the front.
        body: bytes to send.
        close: whether to close the connection afterwards.
        keep_writes: whether the transaction is committed; None: if the status is 2xx.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    close: bool = False
    keep_writes: bool | None = None

    @classmethod
    def json(cls, value: object, status: int = 200, *, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
        """``value`` as compact JSON with sorted keys, as CCF writes it."""
        return cls(status, (("content-type", JSON_TYPE), *headers), json_bytes(value))

    @classmethod
    def text(cls, text: str, status: int = 200, *, content_type: str = "text/plain") -> Reply:
        """``text`` in UTF-8."""
        return cls(status, (("content-type", content_type),), text.encode())

    @classmethod
    def no_content(cls) -> Reply:
        """204."""
        return cls(204)

    @property
    def commits(self) -> bool:
        """Whether the handler's writes are to be kept."""
        return self.keep_writes if self.keep_writes is not None else 200 <= self.status < 300


@dataclass
class CommitOptions:
    """What goes with the transaction beside its writes. A handler fills it in while it runs.

    Attributes:
        claims_digest: 32 bytes that the receipt will carry.
        close_chunk: whether the ledger file ends at the next signature transaction.
        close_before: whether a ledger file ends before this transaction.
        install_secret: ledger secret in force from the next transaction on.
        on_local_commit: called in order, each with the transaction ID, after the local commit and before the
            answer is sent; only if there were writes.
    """

    claims_digest: bytes | None = None
    close_chunk: bool = False
    close_before: bool = False
    install_secret: LedgerSecret | bytes | None = None
    on_local_commit: list[Callable[[TxId], object]] = field(default_factory=list)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of ``NodeRuntime.commit``; what is not set is left out."""
        chosen: dict[str, Any] = {"claims_digest": self.claims_digest, "install_secret": self.install_secret}
        chosen |= {"close_chunk": self.close_chunk or None, "close_before": self.close_before or None}
        return {name: value for name, value in chosen.items() if value is not None}


class Context:
    """One attempt at a request. A conflict makes the dispatcher start over with a new one.

    Attributes:
        request: the request.
        node: the node.
        endpoint: the endpoint found.
        interface: rules of the interface on which the request came.
        path: path without the frontend's prefix, still percent-encoded.
        parameters: path parameters by name, still percent-encoded (see :meth:`parameter`).
        query: query parameters by name, decoded.
        caller: who calls; None for endpoints without policies.
        commit: what goes with the transaction beside its writes.
    """

    def __init__(
        self,
        request: Request,
        node: NodeHandle,
        endpoint: Endpoint,
        interface: InterfaceRules,
        path: str,
        parameters: Mapping[str, str],
        query: Mapping[str, str],
    ) -> None:
        self.request = request
        self.node = node
        self.endpoint = endpoint
        self.interface = interface
        self.path = path
        self.parameters = parameters
        self.query = query
        self.caller: Caller | None = None
        self.commit = CommitOptions()
        self._transaction: Transaction | None = None

    @property
    def tx(self) -> Transaction:
        """The transaction, opened when it is first asked for."""
        if self._transaction is None:
            runtime = self.node.runtime
            self._transaction = runtime.begin_with_root() if self.endpoint.with_root else runtime.begin()
        return self._transaction

    @property
    def opened(self) -> Transaction | None:
        """The transaction if it was asked for."""
        return self._transaction

    @property
    def published_address(self) -> str:
        """``host:port`` under which clients reach the interface that the request came on."""
        addresses = self.node.addresses
        bound = {} if addresses is None else addresses.interfaces.get(self.request.interface, {})
        address: str = bound.get("published_address") or self.interface.published_address
        return address

    @property
    def body(self) -> bytes:
        """The request body."""
        return self.request.body

    def header(self, name: str) -> str | None:
        """Value of a request header; ``name`` in lower case."""
        return self.request.headers.get(name)

    def parameter(self, name: str) -> str:
        """Path parameter, decoded."""
        return unquote(self.parameters[name])

    def json(self) -> Any:
        """The request body as JSON.

        Raises:
            HttpError: 400, it is not JSON.
        """
        return parse_json(self.body)

    @property
    def identified(self) -> Caller:
        """Who calls.

        Raises:
            HttpError: 401, the endpoint has no policies, so nobody was asked.
        """
        if self.caller is None:
            raise HttpError(401, Code.INVALID_AUTHENTICATION_INFO, "Invalid authentication credentials.")
        return self.caller


def parse_json(text: bytes) -> Any:
    """JSON sent by a client.

    Raises:
        HttpError: 400, it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HttpError(400, Code.INVALID_INPUT, f"Error parsing JSON: {error}") from None
