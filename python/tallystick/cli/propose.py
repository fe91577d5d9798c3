"""``tallystick member propose``: actions from a file, by name, or in forms for what is wanted most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.service_options import Signer, now, signer_options

__all__ = ["propose"]


@click.group()
def propose() -> None:
    """Propose a change: members then vote on it.

    With --print, any form prints the proposal instead of sending it, to be combined with others in one file,
    or signed elsewhere (member prepare).
    """


class _Form(click.Command):
    """A form: with ``--print`` neither a service nor keys are needed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--print" in args:
            for parameter in self.params:
                if parameter.name in ("url", "service_certs", "certificate", "key"):
                    parameter.required = False
        return super().parse_args(ctx, args)


def _form(name: str) -> Callable[[Callable[..., bytes]], click.Command]:
    """Decorator of a form: a function that makes the proposal; options to sign, send or print it are added."""

    def decorate(make: Callable[..., bytes]) -> click.Command:
        @propose.command(name, cls=_Form, help=make.__doc__)
        @click.option("--print", "print_only", is_flag=True, help="Print the proposal; send nothing.")
        @click.option("--vote", "vote_too", is_flag=True, help="Vote for it at once.")
        @signer_options
        def command(*, print_only: bool, vote_too: bool, signer: Signer, **values: Any) -> int:
            content = make(**values)
            if print_only:
                click.echo(content.decode())
            else:
                _send(content, vote_too, signer)
            return int(ExitStatus.OK)

        command.params = [*getattr(make, "__click_params__", [])[::-1], *command.params]
        return command

    return decorate


def _send(content: bytes, vote_too: bool, signer: Signer) -> None:
    from tallystick.member.actions import ballot
    from tallystick.member.requests import GovernanceRequest, RequestType

    keys = signer.keys()
    with signer.service.connect() as client:
        outcome = client.send(keys, GovernanceRequest(RequestType.PROPOSAL, content, now()))
        if vote_too and outcome.answer.get("proposalState") == "Open":
            script = "export function vote(rawProposal, proposerId) { return true; }"
            identifier = str(outcome.answer.get("proposalId"))
            outcome = client.send(keys, GovernanceRequest(RequestType.BALLOT, ballot(script), now(), identifier))
        committed = signer.committed(client, outcome)
    answer = outcome.answer
    signer.service.report(
        outcome, f"proposal {answer.get('proposalId')} is {answer.get('proposalState')}", committed=committed
    )


@_form("file")
@click.argument("file", type=click.Path())
def _file(file: str) -> bytes:
    """Propose what a JSON FILE holds: {"actions": [{"name": ..., "args": {...}}, ...]}."""
    from tallystick.member.actions import read_proposal

    return read_proposal(file)


@_form("action")
@click.argument("name")
@click.argument("arguments", required=False, metavar="[JSON]")
def _action(name: str, arguments: str | None) -> bytes:
    """Propose one action by NAME, with its arguments as JSON.

    Example: tallystick member propose action set_recovery_threshold '{"recovery_threshold": 2}'
    """
    import json

    from tallystick.member.actions import action, proposal

    values = None
    if arguments is not None:
        try:
            values = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            raise click.UsageError(f"arguments are not JSON: {error}") from error
        if not isinstance(values, dict):
            raise click.UsageError("arguments are not a JSON object")
    return proposal([action(name, values)])


@_form("set-app")
@click.argument("directory", metavar="DIR", type=click.Path())
@click.option("--no-bytecode", is_flag=True, help="Keep no compiled form of the modules.")
def _set_app(directory: str, no_bytecode: bool) -> bytes:
    """Install the JavaScript app in DIR: app.json and src, or what was built into dist, or a bundle file."""
    from tallystick.member.actions import action, proposal, read_bundle

    return proposal([action("set_js_app", {"bundle": read_bundle(directory), "disable_bytecode_cache": no_bytecode})])


@_form("add-member")
@click.argument("certificate_file", metavar="CERTIFICATE", type=click.Path())
@click.option("--encryption-key", type=click.Path(), metavar="FILE", help="Public RSA key for a recovery share, PEM.")
@click.option("--data", type=click.Path(), metavar="FILE", help="JSON to keep with the member.")
@click.option(
    "--role", type=click.Choice(("NonParticipant", "Participant", "Owner")), help="In a recovery; default by the key."
)
def _add_member(certificate_file: str, encryption_key: str | None, data: str | None, role: str | None) -> bytes:
    """Add a member; it becomes active when it acknowledges (member ack)."""
    from tallystick.member.actions import action, proposal, read_json, read_text
    from tallystick.member.keys import read_certificate

    arguments: dict[str, object] = {"cert": read_certificate(certificate_file)}
    if encryption_key is not None:
        text = read_text(encryption_key)
        if "PRIVATE KEY" in text:
            raise click.UsageError(f"{encryption_key} is a private key: give the public one (…_enc_pubk.pem)")
        arguments["encryption_pub_key"] = text
    if data is not None:
        arguments["member_data"] = read_json(data)
    if role is not None:
        arguments["recovery_role"] = role
    return proposal([action("set_member", arguments)])


@_form("remove-member")
@click.argument("member_id")
def _remove_member(member_id: str) -> bytes:
    """Remove the member of this id."""
    from tallystick.member.actions import action, proposal

    return proposal([action("remove_member", {"member_id": member_id})])


@_form("add-user")
@click.argument("certificate_file", metavar="CERTIFICATE", type=click.Path())
@click.option("--data", type=click.Path(), metavar="FILE", help="JSON to keep with the user.")
def _add_user(certificate_file: str, data: str | None) -> bytes:
    """Add a user of the app."""
    from tallystick.member.actions import action, proposal, read_json
    from tallystick.member.keys import read_certificate

    arguments: dict[str, object] = {"cert": read_certificate(certificate_file)}
    if data is not None:
        arguments["user_data"] = read_json(data)
    return proposal([action("set_user", arguments)])


@_form("remove-user")
@click.argument("user_id")
def _remove_user(user_id: str) -> bytes:
    """Remove the user of this id."""
    from tallystick.member.actions import action, proposal

    return proposal([action("remove_user", {"user_id": user_id})])


@_form("open-service")
@click.argument("next_certificate", metavar="CERTIFICATE", type=click.Path())
@click.option(
    "--previous", type=click.Path(), metavar="FILE", help="Certificate of the service before its recovery, PEM."
)
def _open_service(next_certificate: str, previous: str | None) -> bytes:
    """Open the service to users, named by its CERTIFICATE; after a recovery name the one before too."""
    from tallystick.member.actions import action, proposal
    from tallystick.member.keys import read_certificate

    arguments: dict[str, object] = {"next_service_identity": read_certificate(next_certificate)}
    if previous is not None:
        arguments["previous_service_identity"] = read_certificate(previous)
    return proposal([action("transition_service_to_open", arguments)])


@_form("set-constitution")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
def _set_constitution(files: tuple[str, ...]) -> bytes:
    """Replace the constitution by these files, one after the other."""
    from tallystick.member.actions import action, proposal, read_text

    return proposal([action("set_constitution", {"constitution": "\n".join(read_text(file) for file in files)})])


@_form("rekey")
def _rekey() -> bytes:
    """Encrypt what is written from now on with a new ledger secret."""
    from tallystick.member.actions import action, proposal

    return proposal([action("trigger_ledger_rekey")])
