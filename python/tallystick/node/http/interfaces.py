"""Rules of one RPC interface that matter once a request is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallystick.errors import UsageError

__all__ = ["InterfaceRules"]


@dataclass(frozen=True)
class InterfaceRules:
    """What an interface lets through.

    Attributes:
        name: its name in the configuration.
        published_address: ``host:port`` under which clients reach it; used in redirects.
        accepted_endpoints: patterns of which one must match the endpoint's whole path template; None: all.
        unsecured: whether it speaks plain HTTP. Such an interface serves only what it lists.
        operator_features: features that it has opted in to, such as ``SnapshotRead``; None: all of them.
        redirects: whether requests that another node must answer are redirected rather than forwarded.
    """

    name: str = ""
    published_address: str = ""
    accepted_endpoints: tuple[re.Pattern[str], ...] | None = None
    unsecured: bool = False
    operator_features: frozenset[str] | None = None
    redirects: bool = False

    @classmethod
    def from_config(cls, name: str, config: Mapping[str, Any]) -> InterfaceRules:
        """From an entry of ``network.rpc_interfaces``, decoded JSON.

        Raises:
            UsageError: a pattern of ``accepted_endpoints`` is not a regular expression.
        """
        patterns = config.get("accepted_endpoints")
        features = config.get("enabled_operator_features")
        try:
            compiled = None if patterns is None else tuple(re.compile(pattern) for pattern in patterns)
        except re.error as error:
            raise UsageError(
                f"interface {name}: accepted_endpoints holds no regular expression but {error.pattern!r}: {error}",
                code="config-invalid",
            ) from None
        return cls(
            name=name,
            published_address=config.get("published_address") or config.get("bind_address", ""),
            accepted_endpoints=compiled,
            unsecured=(config.get("endorsement") or {}).get("authority") == "Unsecured",
            operator_features=None if features is None else frozenset(features),
            redirects=config.get("redirections") is not None,
        )

    def accepts(self, path_template: str) -> bool:
        """Whether an endpoint with this path template (with prefix) is served here."""
        if self.accepted_endpoints is None:
            return not self.unsecured
        return any(pattern.fullmatch(path_template) for pattern in self.accepted_endpoints)

    def refuses_application(self, path_template: str, redirects_to: str) -> tuple[int, str | None, str] | None:
        """Why an endpoint of the application is not served here: status, error code (None: no body), message.

        Args:
            path_template: with prefix.
            redirects_to: the endpoint's redirection strategy.
        """
        if not self.accepts(path_template):
            return 503, None, ""
        if self.redirects and redirects_to == "to_backup":
            # One node is its own primary, so there is nobody to send the client to.
            return 503, "BackupNotFound", "No backup found to redirect to."
        return None

    def offers(self, feature: str) -> bool:
        """Whether it has opted in to an operator feature."""
        return self.operator_features is None or feature in self.operator_features
