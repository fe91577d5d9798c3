"""Endpoints that exist under every frontend: commit, status of a transaction, receipts, OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tallystick.node.historical import History
from tallystick.node.http.context import Context, Reply
from tallystick.node.http.errors import Code, HttpError
from tallystick.node.http.openapi import Description, application_paths, describe, document
from tallystick.node.http.query import integer_parameter, required_parameter, txid_parameter
from tallystick.node.http.registry import Endpoint, Registry
from tallystick.node.tables import SERVICE_INFO, SINGLETON
from tallystick.types import TxId

__all__ = ["COSE_TYPE", "add_common_endpoints"]

COSE_TYPE = "application/cose"
APPLICATION_ENDPOINTS = "public:ccf.gov.endpoints"

_TXID = "transaction_id"
_VIEW_HISTORY = "view_history"
_SINCE = "view_history_since"


def add_common_endpoints(registry: Registry, history: History, description: Description) -> None:
    """Installs the common endpoints.

    Args:
        registry: a frontend's registry.
        history: where receipts come from.
        description: head of the frontend's OpenAPI document.
    """
    endpoints = CommonEndpoints(registry, history, description)
    for path, handler, mode, openapi in endpoints.table():
        registry.add(Endpoint("GET", path, handler, mode=mode, api=registry.api, openapi=openapi))


class CommonEndpoints:
    """Handlers of the common endpoints of one frontend.

    Args:
        registry: the frontend's registry, for its OpenAPI document.
        history: where receipts come from.
        description: head of the OpenAPI document.
    """

    def __init__(self, registry: Registry, history: History, description: Description) -> None:
        self._registry = registry
        self._history = history
        self._description = description

    def table(self) -> list[tuple[str, Callable[[Context], Reply], str, dict[str, Any]]]:
        """Path, handler, mode and description of each."""
        txid = [(_TXID, "TransactionId", True)]
        return [
            (
                "/commit",
                self.commit,
                "none",
                describe(
                    "The last committed transaction",
                    schema="GetCommit__Out",
                    query=[(_VIEW_HISTORY, "boolean", False), (_SINCE, "uint64", False)],
                ),
            ),
            (
                "/tx",
                self.transaction_status,
                "none",
                describe("The status of a transaction", schema="GetTxStatus__Out", query=txid),
            ),
            (
                "/receipt",
                self.receipt,
                "readonly",
                describe("The receipt of a committed transaction", schema="json", query=txid),
            ),
            (
                "/receipt/cose",
                self.cose_receipt,
                "readonly",
                describe(
                    "The COSE receipt of a committed transaction", schema="string", query=txid, content_type=COSE_TYPE
                ),
            ),
            ("/api", self.api, "readonly", describe("This document", schema="json")),
        ]

    def commit(self, context: Context) -> Reply:
        """``GET /commit``."""
        runtime = context.node.runtime
        answer: dict[str, Any] = {_TXID: str(TxId(*runtime.committed))}
        starts = [str(TxId(view, seqno)) for view, seqno in enumerate(runtime.view_history(), start=1)]
        since = integer_parameter(context.query, _SINCE)
        if since is not None:
            if not 1 <= since <= len(starts):
                raise HttpError(
                    400 if since == 0 else 404,
                    Code.INVALID_QUERY_PARAMETER_VALUE,
                    f"Invalid value for {_SINCE}, must be in range [1, current_term]",
                )
            answer[_VIEW_HISTORY] = starts[since - 1 :]
        wanted = context.query.get(_VIEW_HISTORY)
        if wanted == "true":
            answer[_VIEW_HISTORY] = starts
        elif wanted == "false":
            answer.pop(_VIEW_HISTORY, None)
        elif wanted is not None:
            raise HttpError(
                400,
                Code.INVALID_QUERY_PARAMETER_VALUE,
                f"Invalid value for {_VIEW_HISTORY}, must be one of [true, false] when present",
            )
        return Reply.json(answer)

    def transaction_status(self, context: Context) -> Reply:
        """``GET /tx``."""
        text = required_parameter(context.query, _TXID)
        txid = txid_parameter(text)
        if txid is None:
            raise HttpError(
                400,
                Code.INVALID_QUERY_PARAMETER_VALUE,
                f"The value '{text[:64]}' passed as query parameter '{_TXID}' could not be converted to a valid "
                "Transaction ID.",
            )
        status = context.node.runtime.status(txid.view, txid.seqno)
        return Reply.json({_TXID: str(txid), "status": status})

    def receipt(self, context: Context) -> Reply:
        """``GET /receipt``."""
        return Reply.json(self._history.json_receipt(self._past(context)))

    def cose_receipt(self, context: Context) -> Reply:
        """``GET /receipt/cose``."""
        receipt = self._history.cose_receipt(self._past(context))
        return Reply(200, (("content-type", COSE_TYPE),), receipt)

    def api(self, context: Context) -> Reply:
        """``GET /api``: generated each time, because the application changes with governance."""
        paths = None
        if self._registry.api == "app":
            # A transaction of its own: the document is not a statement about the state at some transaction.
            rows = context.node.runtime.begin().entries(APPLICATION_ENDPOINTS)
            paths = application_paths((key.decode(), json.loads(value)) for key, value in rows)
        return Reply.json(document(self._registry, self._description, paths))

    def _past(self, context: Context) -> TxId:
        """The transaction asked for, which must be committed.

        A missing or malformed ID is answered with 404, as in CCF, where this error replaces the better one.
        """
        txid = txid_parameter(context.query.get(_TXID, ""))
        if txid is None:
            raise HttpError(404, Code.TRANSACTION_INVALID, "Could not extract Transaction Id")
        self._history.require_committed(txid)
        require_own_epoch(context, txid)
        return txid


def require_own_epoch(context: Context, txid: TxId) -> None:
    """Refuses transactions of an earlier service while this one is still recovering: it lacks their secrets.

    Raises:
        HttpError: 404, the transaction is of an earlier service.
    """
    row = context.tx.get(SERVICE_INFO, SINGLETON)
    service = {} if row is None else json.loads(row)
    created = txid_parameter(service.get("current_service_create_txid", ""))
    if service.get("status") != "Open" and created is not None and txid.view < created.view:
        raise HttpError(
            404,
            Code.TRANSACTION_INVALID,
            f"Historical transaction {txid} is not signed by the current service identity",
        )
