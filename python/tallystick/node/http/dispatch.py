"""From a request to an answer.

Order of steps, which is CCF's and which clients can observe:

1. back-pressure: too much waits for its commit (not on ``/node``);
2. is the frontend open;
3. which endpoint: exact path, then template; else 404, or 405 with ``allow`` (``OPTIONS`` gets 204);
4. does the interface serve it;
5. who calls;
6. is the API version one that is known (``/gov``);
7. the handler, in a transaction;
8. commit, or nothing when the answer is no success; a conflict starts over at (1);
9. the transaction ID goes into the answer if the transaction touched any map.

What can go wrong is answered with the error bodies of :mod:`~tallystick.node.http.errors`; an exception that
nobody expected becomes 500 and a line in the log, never a dead connection.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from tallystick._native import ConflictError
from tallystick.errors import TallystickError
from tallystick.node.http.authentication import authenticate
from tallystick.node.http.context import CommitOptions, Context, NodeHandle, Reply, Request, Transaction
from tallystick.node.http.errors import JSON_TYPE, Code, HttpError
from tallystick.node.http.interfaces import InterfaceRules
from tallystick.node.http.query import parse_query
from tallystick.node.http.registry import AmbiguousPathError, Endpoint, Found, Registry
from tallystick.types import TxId

__all__ = ["API_VERSIONS", "MAX_ATTEMPTS", "TXID_HEADER", "Answer", "Dispatcher", "split_path"]

Answer = tuple[int, list[tuple[str, str]], bytes, bool]
"""Status, headers, body, and whether to close the connection: what the native front expects."""

Commit = Callable[[Transaction, CommitOptions], tuple[int, int]]

MAX_ATTEMPTS = 30
"""How often a conflicting transaction is run before the client is told to come back; CCF's number."""

RETRY_AFTER_SECONDS = 3
TXID_HEADER = "x-ms-ccf-transaction-id"
API_VERSIONS = ("2023-06-01-preview", "2024-07-01")
"""Versions of the governance API that are answered."""

_PREFIXES = ("gov", "node", "app")


class Dispatcher:
    """Answers requests. Called from several threads at once.

    Args:
        node: the node.
        registries: one for each of ``node``, ``gov`` and ``app``.
        interfaces: rules by interface name; an interface that is not listed serves everything.
        commit: commits a transaction and gives its ID; by default ``node.runtime.commit``.
    """

    def __init__(
        self,
        node: NodeHandle,
        registries: Mapping[str, Registry],
        interfaces: Mapping[str, InterfaceRules] | None = None,
        *,
        commit: Commit | None = None,
    ) -> None:
        self.node = node
        self.registries = dict(registries)
        self.interfaces = dict(interfaces or {})
        self._commit = commit or self._commit_to_runtime
        self._exclusive = threading.Lock()

    def __call__(self, request: Request) -> Answer:
        """Answers one request, whatever happens."""
        try:
            reply = self._answer(request)
        except HttpError as error:
            reply = _error_reply(error)
        except AmbiguousPathError as error:
            # CCF closes the connection when it cannot even tell which endpoint is meant.
            internal = HttpError(500, Code.INTERNAL_ERROR, f"Exception: {error}")
            reply = Reply(500, (("content-type", JSON_TYPE),), internal.body, close=True)
        except Exception as error:  # noqa: BLE001 -- a request must get an answer, and the node must stay up
            self.node.log.fail(f"request failed: {request.method} {request.path}: {traceback.format_exc()}")
            reply = _error_reply(HttpError(500, Code.INTERNAL_ERROR, str(error)))
        return reply.status, list(reply.headers), reply.body, reply.close

    def is_open(self, api: str) -> bool:
        """Whether a frontend is open: ``/gov`` once there is a service, ``/app`` once that is open for users."""
        if api == "app":
            return self.node.app_open
        return api == "node" or self.node.gov_open

    def _answer(self, request: Request) -> Reply:
        api, path = split_path(request.path)
        rules = self.interfaces.get(request.interface) or InterfaceRules(request.interface)
        for attempt in range(MAX_ATTEMPTS):
            if api != "node" and self.node.runtime.saturated:
                raise HttpError(
                    503,
                    Code.TOO_MANY_PENDING_TRANSACTIONS,
                    "Too many transactions pending commit on the service.",
                )
            if not self.is_open(api):
                raise HttpError(404, Code.FRONTEND_NOT_OPEN, "Frontend is not open.")
            found = self._find(api, request.method, path)
            if isinstance(found, Reply):
                return found
            refused = _refusal(found.endpoint, rules)
            if refused is not None:
                return refused
            query = parse_query(request.query)
            context = Context(request, self.node, found.endpoint, rules, path, found.parameters, query)
            try:
                # Not at the first attempt: whoever cannot even say who it is must not keep others waiting.
                with self._exclusive if found.endpoint.exclusive and attempt else nullcontext():
                    return self._run(context)
            except ConflictError:
                continue
        raise HttpError(
            503,
            Code.TRANSACTION_COMMIT_ATTEMPTS_EXCEED_LIMIT,
            f"Transaction continued to conflict after {MAX_ATTEMPTS} attempts. Retry later.",
            headers=(("retry-after", str(RETRY_AFTER_SECONDS)),),
        )

    def _find(self, api: str, method: str, path: str) -> Found | Reply:
        registry = self.registries[api]
        found = registry.find(method, path)
        if found is not None:
            return found
        verbs = registry.allowed(path)
        if not verbs:
            raise HttpError(404, Code.RESOURCE_NOT_FOUND, f"Unknown path: {path}.")
        allow = ", ".join(["OPTIONS", *verbs])
        if method == "OPTIONS":
            return Reply(204, (("allow", allow),))
        raise HttpError(
            405,
            Code.UNSUPPORTED_HTTP_VERB,
            f"Allowed methods for '{path}' are: {allow}.",
            headers=(("allow", allow),),
        )

    def _run(self, context: Context) -> Reply:
        context.caller = authenticate(context, context.endpoint.policies)
        accepted = accepted_types(context.request.headers.get("accept"))
        if context.endpoint.versioned:
            check_api_version(context.query)
        try:
            reply = context.endpoint.handler(context)
        except HttpError:
            raise
        except TallystickError as error:
            raise HttpError(500, Code.INTERNAL_ERROR, str(error)) from error
        _require_acceptable(reply, accepted, context.request.method)
        transaction = context.opened
        if transaction is None or not reply.commits or transaction.untouched:
            return reply
        txid = TxId(*self._commit(transaction, context.commit))
        if not transaction.read_only:
            for notify in context.commit.on_local_commit:
                notify(txid)
        named = any(name == TXID_HEADER for name, _ in reply.headers)
        headers = reply.headers if named else (*reply.headers, (TXID_HEADER, str(txid)))
        return Reply(reply.status, headers, reply.body, reply.close)

    def _commit_to_runtime(self, transaction: Transaction, options: CommitOptions) -> tuple[int, int]:
        arguments: dict[str, Any] = options.arguments()
        txid: tuple[int, int] = self.node.runtime.commit(transaction, **arguments)
        return txid


def split_path(path: str) -> tuple[str, str]:
    """Frontend and the path within it. A path without a known first segment is the application's, whole."""
    head, slash, rest = path.removeprefix("/").partition("/")
    if slash and rest and head in _PREFIXES:
        return head, f"/{rest}"
    return "app", path


def accepted_types(header: str | None) -> list[str]:
    """The media ranges of an ``accept`` header (RFC 9110 section 12.5.1), without their parameters; empty: any.

    Raises:
        HttpError: 400, an entry is no media range.
    """
    accepted: list[str] = []
    for entry in (header or "").split(","):
        media = entry.split(";", 1)[0].strip().lower()
        if not media:
            continue
        kind, slash, subtype = media.partition("/")
        if not (kind and slash and subtype):
            raise HttpError(
                400,
                Code.INVALID_HEADER_VALUE,
                f"Entry in accept header is not a valid MIME type: {media[:64]}",
            )
        accepted.append(media)
    return accepted


def _require_acceptable(reply: Reply, accepted: list[str], method: str) -> None:
    """Refuses JSON for clients that want something else. Nothing that a request changed is undone for that."""
    kind = next((value for name, value in reply.headers if name == "content-type"), None)
    if not accepted or method not in ("GET", "HEAD") or kind != JSON_TYPE:
        return
    if not {"*/*", "application/*", JSON_TYPE} & set(accepted):
        raise HttpError(
            406,
            Code.UNSUPPORTED_CONTENT_TYPE,
            "No supported content type in accept header: "
            f"{', '.join(accepted)[:256]}. Only {JSON_TYPE} is currently supported",
        )


def check_api_version(query: Mapping[str, str]) -> str:
    """The version of the governance API that a request asks for.

    Raises:
        HttpError: 400, it names none, or one that is not known.
    """
    accepted = ", ".join(API_VERSIONS)
    version = query.get("api-version")
    if version is None:
        raise HttpError(
            400,
            Code.MISSING_API_VERSION_PARAMETER,
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if version not in API_VERSIONS:
        raise HttpError(
            400,
            Code.UNSUPPORTED_API_VERSION_VALUE,
            f"Unsupported api-version '{version[:64]}'. The supported api-versions are: {accepted}",
        )
    return version


def _refusal(endpoint: Endpoint, rules: InterfaceRules) -> Reply | None:
    if not rules.accepts(endpoint.full_path):
        return Reply(503)
    if endpoint.feature is not None and not rules.offers(endpoint.feature):
        return Reply(404)
    if rules.redirects and endpoint.redirects_to == "to_backup":
        # One node is its own primary, so there is nobody to send the client to.
        raise HttpError(503, Code.BACKUP_NOT_FOUND, "No backup found to redirect to.")
    return None


def _error_reply(error: HttpError) -> Reply:
    return Reply(error.status, (("content-type", JSON_TYPE), *error.headers), error.body)
