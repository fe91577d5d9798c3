"""Errors that clients see: an HTTP status, a code for programs and a message for people.

The body is ``{"error": {"code", "message", "details"?}}`` (the OData shape that CCF's clients read); the codes
are CCF's, because clients compare them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from tallystick.node.tables import json_bytes

__all__ = ["JSON_TYPE", "Code", "HttpError", "odata_body"]

JSON_TYPE = "application/json"

Detail = Mapping[str, str]
"""One detail of an error, such as why one authentication policy refused: ``auth_policy``, ``code``, ``message``."""


class Code(str, Enum):
    """Error codes. The text is what stands in the body."""

    AUTHORIZATION_FAILED = "AuthorizationFailed"
    INTERNAL_ERROR = "InternalError"
    NOT_IMPLEMENTED = "NotImplemented"
    INVALID_AUTHENTICATION_INFO = "InvalidAuthenticationInfo"
    INVALID_HEADER_VALUE = "InvalidHeaderValue"
    INVALID_INPUT = "InvalidInput"
    INVALID_QUERY_PARAMETER_VALUE = "InvalidQueryParameterValue"
    INVALID_RESOURCE_NAME = "InvalidResourceName"
    MISSING_REQUIRED_HEADER = "MissingRequiredHeader"
    RESOURCE_NOT_FOUND = "ResourceNotFound"
    REQUEST_NOT_SIGNED = "RequestNotSigned"
    UNSUPPORTED_HTTP_VERB = "UnsupportedHttpVerb"
    UNSUPPORTED_CONTENT_TYPE = "UnsupportedContentType"
    PRECONDITION_FAILED = "PreconditionFailed"
    FRONTEND_NOT_OPEN = "FrontendNotOpen"
    KEY_NOT_FOUND = "KeyNotFound"
    NODE_ALREADY_RECOVERING = "NodeAlreadyRecovering"
    PROPOSAL_NOT_OPEN = "ProposalNotOpen"
    PROPOSAL_NOT_FOUND = "ProposalNotFound"
    PROPOSAL_FAILED_TO_VALIDATE = "ProposalFailedToValidate"
    PROPOSAL_REPLAY = "ProposalReplay"
    PROPOSAL_CREATED_TOO_LONG_AGO = "ProposalCreatedTooLongAgo"
    INVALID_CREATED_AT = "InvalidCreatedAt"
    SERVICE_NOT_WAITING_FOR_RECOVERY_SHARES = "ServiceNotWaitingForRecoveryShares"
    STATE_DIGEST_MISMATCH = "StateDigestMismatch"
    TRANSACTION_NOT_FOUND = "TransactionNotFound"
    TRANSACTION_COMMIT_ATTEMPTS_EXCEED_LIMIT = "TransactionCommitAttemptsExceedLimit"
    TRANSACTION_REPLICATION_FAILED = "TransactionReplicationFailed"
    UNKNOWN_CERTIFICATE = "UnknownCertificate"
    VOTE_NOT_FOUND = "VoteNotFound"
    VOTE_ALREADY_EXISTS = "VoteAlreadyExists"
    NODE_CANNOT_HANDLE_REQUEST = "NodeCannotHandleRequest"
    TRANSACTION_PENDING_OR_UNKNOWN = "TransactionPendingOrUnknown"
    TRANSACTION_INVALID = "TransactionInvalid"
    PRIMARY_NOT_FOUND = "PrimaryNotFound"
    BACKUP_NOT_FOUND = "BackupNotFound"
    NODE_NOT_RETIRED_COMMITTED = "NodeNotRetiredCommitted"
    JS_EXCEPTION = "JSException"
    TOO_MANY_PENDING_TRANSACTIONS = "TooManyPendingTransactions"
    MISSING_API_VERSION_PARAMETER = "MissingApiVersionParameter"
    UNSUPPORTED_API_VERSION_VALUE = "UnsupportedApiVersionValue"
    CONSENSUS_TYPE_MISMATCH = "ConsensusTypeMismatch"
    INVALID_QUOTE = "InvalidQuote"
    INVALID_NODE_STATE = "InvalidNodeState"
    NODE_ALREADY_EXISTS = "NodeAlreadyExists"
    STARTUP_SEQNO_IS_OLD = "StartupSeqnoIsOld"
    CSR_PUBLIC_KEY_INVALID = "CSRPublicKeyInvalid"


class HttpError(Exception):
    """Ends a request with an error. Nothing that the handler wrote is kept.

    Args:
        status: HTTP status, 400 to 599.
        code: word for programs.
        message: sentence for people.
        details: further errors, for instance one for each authentication policy that refused.
        headers: response headers beside the content type.
    """

    def __init__(
        self,
        status: int,
        code: Code | str,
        message: str,
        *,
        details: Sequence[Detail] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code.value if isinstance(code, Code) else code
        self.message = message
        self.details = tuple(details)
        self.headers = tuple(headers)

    @property
    def body(self) -> bytes:
        """The response body."""
        return odata_body(self.code, self.message, self.details)


def odata_body(code: Code | str, message: str, details: Sequence[Detail] = ()) -> bytes:
    """Body of an error response: UTF-8 JSON."""
    error: dict[str, object] = {"code": code.value if isinstance(code, Code) else code, "message": message}
    if details:
        error["details"] = [dict(detail) for detail in details]
    return json_bytes({"error": error})
