"""Options of commands that talk to a running service: where it is, which one it must be, and who signs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from tallystick.member.client import GovernanceClient, Outcome
    from tallystick.member.keys import MemberKeys
    from tallystick.member.requests import GovernanceRequest

__all__ = ["Service", "Signer", "now", "print_json", "service_options", "signer_options"]

# What click decorates: a function by keyword arguments, or the command made of one.
_F = TypeVar("_F", bound=Any)


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


def print_json(value: object) -> None:
    """Prints JSON as every command does."""
    click.echo(json.dumps(value, indent=2))


@dataclass(frozen=True)
class Service:
    """A service as the options name it.

    Attributes:
        url: of a node.
        service_certs: PEM files.
        output_format: ``text`` or ``json``.
    """

    url: str
    service_certs: tuple[str, ...]
    output_format: str

    def connect(self) -> GovernanceClient:
        """A client for it."""
        from tallystick.member.client import GovernanceClient

        return GovernanceClient(self.url, self.service_certs)

    def report(self, outcome: Outcome, text: str, *, committed: bool) -> None:
        """Prints what became of a request: ``text`` and the transaction, or the service's answer as JSON."""
        from tallystick.printable import printable

        if self.output_format == "json":
            print_json({**outcome.answer, "transactionId": outcome.transaction_id, "committed": committed})
            return
        where = f" in transaction {outcome.transaction_id}" if outcome.transaction_id else ""
        state = ", committed" if committed else ""
        click.echo(printable(f"{text}{where}{state}"))


@dataclass(frozen=True)
class Signer:
    """A service, and the member who signs what is sent to it.

    Attributes:
        service: where to.
        certificate, key: PEM files.
        wait: seconds to wait until what was sent is committed; 0 for not at all.
    """

    service: Service
    certificate: str
    key: str
    wait: float

    def keys(self) -> MemberKeys:
        """The member's identity."""
        from tallystick.member.keys import load_keys

        return load_keys(self.certificate, self.key)

    def send(self, client: GovernanceClient, request: GovernanceRequest, keys: MemberKeys) -> tuple[Outcome, bool]:
        """Signs and sends, and waits; returns the outcome and whether it is committed."""
        outcome = client.send(keys, request)
        return outcome, self.committed(client, outcome)

    def committed(self, client: GovernanceClient, outcome: Outcome) -> bool:
        """Waits for the transaction of ``outcome``, and tells whether it is known to be committed."""
        if not self.wait or outcome.transaction_id is None:
            return False
        client.wait_for_commit(outcome.transaction_id, self.wait)
        return True


def service_options(command: _F) -> _F:
    """Adds ``--url``, ``--service-cert`` and ``--format``; the command takes ``service``."""
    options = (
        click.option(
            "--url", required=True, envvar="TALLYSTICK_URL", metavar="URL",
            help="A node of the service: https://HOST:PORT.  [env: TALLYSTICK_URL]",
        ),
        click.option(
            "--service-cert", "service_certs", multiple=True, required=True, envvar="TALLYSTICK_SERVICE_CERT",
            type=click.Path(), metavar="FILE",
            help="Certificate of the service, known from elsewhere; repeatable.  [env: TALLYSTICK_SERVICE_CERT]",
        ),
        click.option(
            "--format", "output_format", type=click.Choice(("text", "json")), default="text", show_default=True
        ),
    )  # fmt: skip
    return _with(command, options, _service)


def signer_options(command: _F) -> _F:
    """Adds ``--cert``, ``--key`` and ``--wait`` to those of the service; the command takes ``signer``."""
    options = (
        click.option(
            "--cert", "certificate", required=True, envvar="TALLYSTICK_MEMBER_CERT", type=click.Path(), metavar="FILE",
            help="The member's certificate, PEM.  [env: TALLYSTICK_MEMBER_CERT]",
        ),
        click.option(
            "--key", required=True, envvar="TALLYSTICK_MEMBER_KEY", type=click.Path(), metavar="FILE",
            help="The member's signing key, PEM.  [env: TALLYSTICK_MEMBER_KEY]",
        ),
        click.option(
            "--wait", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS",
            help="Wait so long until it is committed; 0: do not wait.",
        ),
    )  # fmt: skip
    return service_options(_with(command, options, _signer))


def _service(values: dict[str, Any]) -> dict[str, Any]:
    service = Service(values.pop("url"), values.pop("service_certs"), values.pop("output_format"))
    return {**values, "service": service}


def _signer(values: dict[str, Any]) -> dict[str, Any]:
    signer = Signer(values.pop("service"), values.pop("certificate"), values.pop("key"), values.pop("wait"))
    return {**values, "signer": signer}


def _with(
    command: _F, options: tuple[Callable[[_F], _F], ...], gather: Callable[[dict[str, Any]], dict[str, Any]]
) -> _F:
    """``command`` with the options, whose values ``gather`` turns into one argument."""
    import functools

    @functools.wraps(command)
    def gathered(**values: Any) -> Any:
        return command(**gather(values))

    wrapped: Any = gathered
    for option in reversed(options):
        wrapped = option(wrapped)
    return cast(_F, wrapped)
