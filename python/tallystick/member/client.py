"""Talks to a node's ``/gov`` API (version 2024-07-01) over HTTPS, under the pinned certificate of the service.

Requests are signed by the member; TLS only makes sure that it is the service that answers. Answers are bounded
and parsed totally. A *no* of the service is a :class:`tallystick.errors.RefusedError` that carries its own words;
no answer at all, or one that cannot be understood, leaves the outcome open (:class:`tallystick.errors.UndecidedError`).
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from tallystick.errors import RefusedError, TallystickError, UndecidedError, UsageError
from tallystick.member.requests import GovernanceRequest, RequestType
from tallystick.network import NAME_MISMATCHES, require_network, tls_context

if TYPE_CHECKING:
    from tallystick.member.keys import MemberKeys

__all__ = ["API_VERSION", "Answer", "GovernanceClient", "Outcome"]

API_VERSION = "2024-07-01"
"""Version of the governance API that is spoken: the newest that CCF 5, 6 and 7 share."""

MAX_ANSWER_BYTES = 64 << 20
"""Largest answer: an app's modules and a service's proposals stay far below."""

MAX_REDIRECTS = 5
"""A node sends a client to the primary at most once for each election in between."""

POLL_SECONDS = 0.02
"""Between two questions whether a transaction is committed: well below the time between signatures."""


@dataclass(frozen=True)
class Answer:
    """What a node answered.

    Attributes:
        url: that was asked, after redirects.
        status: of HTTP.
        headers: names in lower case.
        body: as it came.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def transaction_id(self) -> str | None:
        """Of the transaction that the request made or read, ``view.seqno``."""
        return self.headers.get("x-ms-ccf-transaction-id")

    def json(self) -> dict[str, Any]:
        """The body, an object.

        Raises:
            UndecidedError: it is something else.
        """
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise UndecidedError("answer is no JSON", code="answer-malformed", file=self.url) from error
        if not isinstance(value, dict):
            raise UndecidedError("answer is no JSON object", code="answer-malformed", file=self.url)
        return value

    def refusal(self) -> TallystickError:
        """The error that this answer is, in the service's own words."""
        code, message = None, ""
        try:
            error = json.loads(self.body)["error"]
            code, message = str(error["code"]), str(error["message"])
            # Why each way of telling who asks did not: without it a 401 says nothing.
            reasons = [str(detail["message"]) for detail in error.get("details") or ()]
            message = ": ".join([message.removesuffix(".") if reasons else message, *dict.fromkeys(reasons)])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            code, message = None, self.body[:200].decode("utf-8", "replace").strip() or "no explanation"
        # First line only: what follows may be a JavaScript trace.
        line = next((line for line in message.splitlines() if line.strip()), "no explanation")
        text = f"refused with status {self.status}: {f'{code}: ' if code else ''}{line[:500]}"
        return RefusedError(text, status=self.status, file=self.url)


@dataclass(frozen=True)
class Outcome:
    """What became of a request that changes something.

    Attributes:
        answer: the body, parsed; empty when there was none.
        transaction_id: ``view.seqno``; None when the node named none.
    """

    answer: Mapping[str, Any]
    transaction_id: str | None


class GovernanceClient:
    """A node of a service, by the URL of one of its interfaces.

    Args:
        url: ``https://HOST:PORT``.
        service_certs: PEM files of the service's certificate, known from elsewhere.
        timeout: seconds for a connection or an answer.
        pause: waits so many seconds.

    Raises:
        UsageError: the URL is another one, nothing is pinned, a certificate cannot be read, or the network is
            forbidden.
    """

    def __init__(
        self,
        url: str,
        service_certs: Sequence[str],
        *,
        timeout: float = 30.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme != "https" or not parts.hostname or port == -1 or parts.path.strip("/") or parts.query:
            raise UsageError("not the URL of a node: expected https://HOST:PORT", file=url)
        if not service_certs:
            raise UsageError(
                "nothing says which service this must be", file=url, hint="pin its certificate with --service-cert"
            )
        require_network(url)
        self.url = f"https://{parts.netloc}"
        self._timeout = timeout
        self._pause = pause
        self._context = tls_context(service_certs)
        self._connection: http.client.HTTPSConnection | None = None
        self._netloc = parts.netloc

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> GovernanceClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ one request

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Sends a request, and follows redirects to other nodes of the service.

        Raises:
            UndecidedError: no answer came, or one that is none (``no-answer``, ``node-tls``, ``answer-malformed``).
        """
        url = f"https://{self._netloc}{path}"
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._once(method, url, body, headers or {})
            if answer.status not in (307, 308):
                return answer
            url = urljoin(url, answer.headers.get("location", ""))
            if urlsplit(url).scheme != "https" or not urlsplit(url).hostname:
                raise UndecidedError("redirect leads away from TLS", code="answer-malformed", file=url)
        raise UndecidedError(f"more than {MAX_REDIRECTS} redirects", code="answer-malformed", file=url)

    def _once(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(url)
        if parts.netloc != self._netloc:
            self.close()
            self._netloc = parts.netloc
        kept = self._connection is not None
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(parts.netloc, timeout=self._timeout, context=self._context)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            self._connection.request(method, target, body=body, headers=dict(headers))
            response = self._connection.getresponse()
            data = response.read(MAX_ANSWER_BYTES + 1)
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise _distrusted(error, url) from error
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            if kept and method == "GET":
                # An idle connection may be closed at any moment; asking again changes nothing.
                return self._once(method, url, body, headers)
            raise self._no_answer(error, url) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._no_answer(error, url) from error
        if len(data) > MAX_ANSWER_BYTES:
            self.close()
            raise UndecidedError(f"answer exceeds {MAX_ANSWER_BYTES} bytes", code="answer-malformed", file=url)
        return Answer(url, response.status, {name.lower(): value for name, value in response.getheaders()}, data)

    @staticmethod
    def _no_answer(error: Exception, url: str) -> UndecidedError:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        return UndecidedError(f"no answer: {text}", code="no-answer", file=url, hint="is the node running there?")

    def get(self, path: str) -> Answer:
        """Reads ``/gov…`` with the API version.

        Raises:
            RefusedError: the answer is not 200.
            UndecidedError: see :meth:`request`.
        """
        answer = self.request("GET", _versioned(path))
        if answer.status != 200:
            raise answer.refusal()
        return answer

    def list(self, path: str) -> list[dict[str, Any]]:
        """The entries of a list answer.

        Raises:
            RefusedError, UndecidedError: see :meth:`get`.
        """
        entries = self.get(path).json().get("value")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UndecidedError("answer is no list", code="answer-malformed", file=self.url + path)
        return entries

    # ------------------------------------------------------------ signed requests

    def post(self, path: str, message: bytes) -> Outcome:
        """Posts a signed message.

        Raises:
            RefusedError: the service does not take it.
            UndecidedError: see :meth:`request`; the request may have been done or not.
        """
        answer = self.request("POST", _versioned(path), message, {"content-type": "application/cose"})
        if answer.status not in (200, 204):
            raise answer.refusal()
        return Outcome(answer.json() if answer.body else {}, answer.transaction_id)

    def send(self, keys: MemberKeys, request: GovernanceRequest) -> Outcome:
        """Signs ``request`` and posts it; see :meth:`post`."""
        return self.post(request.path(keys.id), request.sign(keys))

    def acknowledge(self, keys: MemberKeys, now: int) -> Outcome:
        """Fetches a fresh state digest and acknowledges it, which makes an accepted member active.

        Args:
            now: seconds since 1970, signed into both requests.

        Raises:
            RefusedError, UndecidedError: see :meth:`post`.
        """
        updated = self.send(keys, GovernanceRequest(RequestType.STATE_DIGEST, b"", now))
        payload = json.dumps({"stateDigest": updated.answer.get("stateDigest")}).encode()
        return self.send(keys, GovernanceRequest(RequestType.ACK, payload, now))

    def encrypted_share(self, member_id: str) -> bytes:
        """The member's recovery share, encrypted to its encryption key.

        Raises:
            RefusedError: there is none.
            UndecidedError: see :meth:`request`.
        """
        answer = self.get(f"/gov/recovery/encrypted-shares/{member_id}")
        text = answer.json().get("encryptedShare")
        try:
            return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
        except binascii.Error as error:
            raise UndecidedError("answer holds no share in base64", code="answer-malformed", file=answer.url) from error

    def submit_share(self, keys: MemberKeys, share: bytes, now: int) -> Outcome:
        """Hands in a decrypted recovery share.

        Raises:
            RefusedError, UndecidedError: see :meth:`post`.
        """
        payload = json.dumps({"share": base64.b64encode(share).decode()}).encode()
        return self.send(keys, GovernanceRequest(RequestType.RECOVERY_SHARE, payload, now))

    # ------------------------------------------------------------ commit

    def wait_for_commit(self, transaction_id: str, seconds: float) -> None:
        """Waits until a transaction is committed.

        Raises:
            RefusedError: the transaction is void: what it did is undone.
            UndecidedError: it was still pending after so many seconds (``commit-pending``), or see :meth:`request`.
        """
        waited = 0.0
        while True:
            answer = self.get(f"/gov/service/transactions/{transaction_id}")
            status = answer.json().get("status")
            if status == "Committed":
                return
            if status == "Invalid":
                text = f"transaction {transaction_id} was rolled back; send the request again"
                raise RefusedError(text, status=answer.status, file=answer.url)
            if not waited < seconds:
                raise UndecidedError(
                    f"transaction {transaction_id} is not committed after {seconds:g} s: {status}",
                    code="commit-pending", file=answer.url,
                )  # fmt: skip
            self._pause(POLL_SECONDS)
            waited += POLL_SECONDS


def _distrusted(error: ssl.SSLCertVerificationError, url: str) -> UndecidedError:
    text = f"TLS certificate is not of the pinned service: {error.verify_message}"
    hint = "a service has a new certificate after a recovery or a renewal: get it from the operator"
    if error.verify_code in NAME_MISMATCHES:
        text = f"TLS certificate is of the pinned service, and for another host: {error.verify_message}"
        hint = "ask the node under an address that its certificate names"
    return UndecidedError(text, code="node-tls", file=url, hint=hint)


def _versioned(path: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}api-version={API_VERSION}"
