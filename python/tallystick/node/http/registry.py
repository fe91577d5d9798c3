"""Endpoints by path and verb.

A path template such as ``/network/nodes/{node_id}`` stands without the frontend's prefix. ``{name}`` matches
one or more characters other than ``/`` and other than the character that follows in the template, so
``/state-digests/{memberId}:ack`` takes everything up to the colon. A path without parameters wins over a
template; two templates that match the same path are a mistake and end the request with 500.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tallystick.node.http.authentication import AuthenticationPolicy
from tallystick.node.http.context import Context, Reply

__all__ = ["MODES", "VERBS", "AmbiguousPathError", "Endpoint", "Found", "Registry"]

Handler = Callable[[Context], Reply]

MODES = ("readwrite", "readonly", "historical", "none")
VERBS = ("DELETE", "GET", "HEAD", "POST", "PUT", "OPTIONS", "PATCH")
"""Verbs in the order in which CCF lists them in ``allow``."""

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class AmbiguousPathError(Exception):
    """More than one template matches a path."""


@dataclass(frozen=True)
class Endpoint:
    """One verb at one path.

    Attributes:
        method: the verb.
        path_template: path without the frontend's prefix.
        handler: answers the request; raises ``HttpError`` to end it with an error.
        policies: ways of telling who calls, in order; empty: nobody is asked.
        mode: ``readwrite``; ``readonly`` when the handler never writes; ``historical`` when it reads committed
            transactions of the past; ``none`` when it needs no transaction at all.
        api: frontend: ``node``, ``gov`` or ``app``.
        openapi: operation object for the OpenAPI document: summary, description, parameters, request body,
            responses; None hides the endpoint.
        with_root: open the transaction together with the Merkle root over everything before it.
        redirection: ``none``, ``to_primary`` or ``to_backup``: who answers when interfaces redirect.
        local: whether the node answers for itself, whatever its role.
        feature: operator feature that the interface must have opted in to; None: none.
        versioned: whether ``api-version`` must be given.
        exclusive: after a conflict, run one request at a time of all that are: for transactions that always conflict
            with each other.
    """

    method: str
    path_template: str
    handler: Handler
    policies: tuple[AuthenticationPolicy, ...] = ()
    mode: str = "readwrite"
    api: str = "node"
    openapi: Mapping[str, Any] | None = field(default_factory=dict)
    with_root: bool = False
    redirection: str | None = None
    local: bool = False
    feature: str | None = None
    versioned: bool = False
    exclusive: bool = False

    def __post_init__(self) -> None:
        if self.method not in VERBS:
            raise ValueError(f"verb {self.method}: expected one of {', '.join(VERBS)}")
        if self.mode not in MODES:
            raise ValueError(f"mode {self.mode}: expected one of {', '.join(MODES)}")
        if not self.path_template.startswith("/"):
            raise ValueError(f"path {self.path_template}: expected it to start with /")

    @property
    def full_path(self) -> str:
        """Path template with the frontend's prefix."""
        return f"/{self.api}{self.path_template}"

    @property
    def forwarding(self) -> str:
        """What a node that is not the primary does with the request: ``always``, ``sometimes`` or ``never`` forward."""
        if self.local:
            return "never"
        return "always" if self.mode == "readwrite" else "sometimes"

    @property
    def redirects_to(self) -> str:
        """Who answers when interfaces redirect: by default the primary whatever writes."""
        if self.redirection is not None:
            return self.redirection
        return "to_primary" if self.mode == "readwrite" and not self.local else "none"

    @property
    def parameters(self) -> list[str]:
        """Names of the path parameters, in order."""
        return _PARAMETER.findall(self.path_template)


@dataclass(frozen=True)
class Found:
    """An endpoint, and the path parameters as they stand in the path."""

    endpoint: Endpoint
    parameters: Mapping[str, str]


class Registry:
    """Endpoints of one frontend.

    Args:
        api: ``node``, ``gov`` or ``app``.
        endpoints: what it holds from the start.
    """

    def __init__(self, api: str, endpoints: Iterable[Endpoint] = ()) -> None:
        self.api = api
        self._exact: dict[str, dict[str, Endpoint]] = {}
        self._templates: dict[str, tuple[re.Pattern[str], dict[str, Endpoint]]] = {}
        for endpoint in endpoints:
            self.add(endpoint)

    def add(self, endpoint: Endpoint) -> None:
        """Installs an endpoint.

        Raises:
            ValueError: it belongs to another frontend, or its place is taken.
        """
        if endpoint.api != self.api:
            raise ValueError(f"{endpoint.full_path} is no endpoint of /{self.api}")
        template = endpoint.path_template
        if "{" in template:
            verbs = self._templates.setdefault(template, (_compile(template), {}))[1]
        else:
            verbs = self._exact.setdefault(template, {})
        if endpoint.method in verbs:
            raise ValueError(f"{endpoint.method} {endpoint.full_path} is installed already")
        verbs[endpoint.method] = endpoint

    def find(self, method: str, path: str) -> Found | None:
        """The endpoint for ``path`` (without the prefix, percent-encoded), None if there is none.

        Raises:
            AmbiguousPathError: several templates match.
        """
        exact = self._exact.get(path, {}).get(method)
        if exact is not None:
            return Found(exact, {})
        matches = []
        for pattern, verbs in self._templates.values():
            endpoint = verbs.get(method)
            match = pattern.fullmatch(path) if endpoint is not None else None
            if endpoint is not None and match is not None:
                matches.append(Found(endpoint, dict(zip(endpoint.parameters, match.groups(), strict=True))))
        if len(matches) > 1:
            listed = "".join(f"\n  {found.endpoint.path_template}" for found in matches)
            raise AmbiguousPathError(f"Multiple potential matches for path: {path}{listed}")
        return matches[0] if matches else None

    def allowed(self, path: str) -> list[str]:
        """Verbs that ``path`` takes, in the order of :data:`VERBS`."""
        verbs = set(self._exact.get(path, {}))
        for pattern, installed in self._templates.values():
            if pattern.fullmatch(path):
                verbs.update(installed)
        return [verb for verb in VERBS if verb in verbs]

    def endpoints(self) -> list[Endpoint]:
        """Every endpoint, by path and verb; those without parameters first."""
        exact = [endpoint for verbs in self._exact.values() for endpoint in verbs.values()]
        templates = [endpoint for _, verbs in self._templates.values() for endpoint in verbs.values()]
        order = _by_path
        return sorted(exact, key=order) + sorted(templates, key=order)


def _by_path(endpoint: Endpoint) -> tuple[str, int]:
    return endpoint.path_template, VERBS.index(endpoint.method)


def _compile(template: str) -> re.Pattern[str]:
    pattern, position = "", 0
    for parameter in _PARAMETER.finditer(template):
        following = template[parameter.end() : parameter.end() + 1]
        excluded = "/" if following in ("", "/", "{") else f"/{re.escape(following)}"
        pattern += re.escape(template[position : parameter.start()]) + f"([^{excluded}]+)"
        position = parameter.end()
    return re.compile(pattern + re.escape(template[position:]))
