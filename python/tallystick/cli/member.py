"""``tallystick member``: what members of a consortium do, from keys to recovery shares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.propose import propose
from tallystick.cli.service_options import Service, Signer, now, print_json, service_options, signer_options

if TYPE_CHECKING:
    from tallystick.member.client import GovernanceClient

__all__ = ["member"]

_TYPES = ("proposal", "ballot", "withdrawal", "ack", "state_digest", "recovery_share")


@click.group()
def member() -> None:
    """Govern a service: keys, proposals, ballots, recovery shares.

    Requests are signed here, in COSE, and sent over TLS under the pinned certificate of the service. With
    prepare and finish they are signed elsewhere: by a key vault, a hardware module, another machine.

    Exit codes: 0 done, 1 the service refused, 2 usage, 3 no answer, or not known whether it was done.
    """


member.add_command(propose)


@member.command()
@click.argument("name")
@click.option(
    "-o",
    "--output-dir",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where files go; default: here.",
)
@click.option("--curve", type=click.Choice(("P-256", "P-384", "P-521")), default="P-384", show_default=True)
@click.option("--days", type=click.IntRange(1, 36500), default=365, show_default=True, help="Validity.")
@click.option("--no-encryption-key", is_flag=True, help="Make no RSA key for recovery shares; for users too.")
def keygen(*, name: str, output_dir: Path, curve: str, days: int, no_encryption_key: bool) -> int:
    """Make the keys and certificate of a member or user.

    Writes NAME_cert.pem and NAME_privk.pem, and for recovery shares NAME_enc_pubk.pem and NAME_enc_privk.pem.
    Private keys are readable by their owner only; nothing is overwritten.
    """
    from datetime import datetime, timedelta, timezone

    from tallystick.member.keys import generate_keys, write_keys

    # A little in the past, so that clocks may differ.
    start = datetime.now(timezone.utc) - timedelta(minutes=5)
    keys = generate_keys(name, start, curve=curve, days=days, encryption=not no_encryption_key)
    files = write_keys(keys, output_dir, name)
    click.echo(f"id  {keys.id}")
    for path in files.all():
        click.echo(str(path))
    return int(ExitStatus.OK)


@member.command()
@signer_options
def ack(*, signer: Signer) -> int:
    """Acknowledge the state of the service, which makes an accepted member active."""
    keys = signer.keys()
    with signer.service.connect() as client:
        outcome = client.acknowledge(keys, now())
        committed = signer.committed(client, outcome)
    signer.service.report(outcome, f"member {keys.id} is active", committed=committed)
    return int(ExitStatus.OK)


@member.command()
@click.argument("proposal_id")
@click.option("--against", is_flag=True, help="Vote no.")
@click.option(
    "--ballot", "script", type=click.Path(), metavar="FILE", help="JavaScript that exports vote(proposal, proposerId)."
)
@signer_options
def vote(*, proposal_id: str, against: bool, script: str | None, signer: Signer) -> int:
    """Vote for a proposal, or against it, or by a script of your own."""
    from tallystick.member.actions import ballot, read_text
    from tallystick.member.requests import GovernanceRequest, RequestType

    if against and script is not None:
        raise click.UsageError("--against and --ballot exclude each other")
    text = read_text(script) if script is not None else vote_script(not against)
    request = GovernanceRequest(RequestType.BALLOT, ballot(text), now(), proposal_id)
    keys = signer.keys()
    with signer.service.connect() as client:
        outcome, committed = signer.send(client, request, keys)
    signer.service.report(outcome, f"proposal {proposal_id} is {_state(outcome.answer)}", committed=committed)
    return int(ExitStatus.OK)


def vote_script(in_favour: bool) -> str:
    """The shortest ballot that always says yes, or no."""
    return f"export function vote(rawProposal, proposerId) {{ return {'true' if in_favour else 'false'}; }}"


@member.command()
@click.argument("proposal_id")
@signer_options
def withdraw(*, proposal_id: str, signer: Signer) -> int:
    """Withdraw a proposal of your own that is still open."""
    from tallystick.member.requests import GovernanceRequest, RequestType

    request = GovernanceRequest(RequestType.WITHDRAWAL, b"", now(), proposal_id)
    keys = signer.keys()
    with signer.service.connect() as client:
        outcome, committed = signer.send(client, request, keys)
    signer.service.report(outcome, f"proposal {proposal_id} is {_state(outcome.answer)}", committed=committed)
    return int(ExitStatus.OK)


def _state(answer: Any) -> str:
    # A withdrawal of what is not there is answered without a body.
    return str(answer.get("proposalState", "not there"))


# ------------------------------------------------------------------ recovery shares


@member.group()
def shares() -> None:
    """Get your recovery share, and hand it in after a disaster."""


@shares.command("get")
@click.option(
    "--cert", "certificate", required=True, envvar="TALLYSTICK_MEMBER_CERT", type=click.Path(), metavar="FILE"
)
@click.option(
    "--encryption-key", type=click.Path(), metavar="FILE", help="The member's RSA key: print the share decrypted."
)
@service_options
def get_share(*, certificate: str, encryption_key: str | None, service: Service) -> int:
    """Print your recovery share in base64: as the service keeps it, or decrypted.

    Decrypted shares are secret: enough of them open all private data of the service.
    """
    import base64

    from tallystick.cose import certificate_fingerprint
    from tallystick.member.keys import read_certificate

    member_id = certificate_fingerprint(read_certificate(certificate))
    with service.connect() as client:
        share = client.encrypted_share(member_id)
    if encryption_key is not None:
        share = _decrypted(share, encryption_key)
    text = base64.b64encode(share).decode()
    if service.output_format == "json":
        print_json({"memberId": member_id, "share": text, "encrypted": encryption_key is None})
    else:
        click.echo(text)
    return int(ExitStatus.OK)


@shares.command("submit")
@click.option("--encryption-key", required=True, type=click.Path(), metavar="FILE", help="The member's RSA key, PEM.")
@signer_options
def submit_share(*, encryption_key: str, signer: Signer) -> int:
    """Fetch your recovery share, decrypt it and hand it in to a service that waits for shares."""
    keys = signer.keys()
    with signer.service.connect() as client:
        share = _decrypted(client.encrypted_share(keys.id), encryption_key)
        outcome = client.submit_share(keys, share, now())
        committed = signer.committed(client, outcome)
    message = " ".join(str(outcome.answer.get("message", "share handed in")).split())
    signer.service.report(outcome, message, committed=committed)
    return int(ExitStatus.OK)


def _decrypted(share: bytes, encryption_key: str) -> bytes:
    from tallystick.errors import UsageError
    from tallystick.secrets.shares import decrypt_share_bytes, load_encryption_key

    plain = decrypt_share_bytes(share, load_encryption_key(encryption_key))
    if plain is None:
        raise UsageError(
            "this key does not decrypt the member's share", code="share-not-for-key", file=encryption_key
        )  # fmt: skip
    return plain


# ------------------------------------------------------------------ what there is


@member.command()
@service_options
def status(*, service: Service) -> int:
    """Show the service, its members, nodes and proposals, as a node tells it.

    What a node tells is proven by nothing but TLS; `tallystick gov show` replays it from the ledger.
    """
    with service.connect() as client:
        info = client.get("/gov/service/info").json()
        members = client.list("/gov/service/members")
        nodes = client.list("/gov/service/nodes")
        proposals = client.list("/gov/members/proposals")
    if service.output_format == "json":
        print_json({"service": info, "members": members, "nodes": nodes, "proposals": proposals})
        return int(ExitStatus.OK)
    _print_status(info, members, nodes, proposals)
    return int(ExitStatus.OK)


def _print_status(
    info: dict[str, Any], members: list[dict[str, Any]], nodes: list[dict[str, Any]], proposals: list[dict[str, Any]]
) -> None:
    from tallystick.printable import printable

    def line(text: str) -> None:
        click.echo(printable(text))

    configuration = info.get("configuration")
    threshold = configuration.get("recoveryThreshold") if isinstance(configuration, dict) else None
    line(f"service    {info.get('status')}, created in {info.get('creationTransactionId')}")
    line(f"recovery   {info.get('recoveryCount', 0)} so far; takes {threshold} shares")
    for entry in members:
        line(f"member     {entry.get('memberId')}  {entry.get('status')}, {entry.get('recoveryRole', 'no role')}")
    for entry in nodes:
        line(f"node       {entry.get('nodeId')}  {entry.get('status')}")
    for entry in proposals:
        count = entry.get("ballotCount", 0)
        ballots = f"{count} ballot{'' if count == 1 else 's'}"
        line(f"proposal   {entry.get('proposalId')}  {entry.get('proposalState')}, {ballots}")


# ------------------------------------------------------------------ signing elsewhere


@member.command()
@click.option("--type", "kind", type=click.Choice(_TYPES), required=True, help="What the request asks for.")
@click.option("--content", type=click.Path(allow_dash=True), metavar="FILE", help="Payload; - for standard input.")
@click.option(
    "--cert", "certificate", required=True, envvar="TALLYSTICK_MEMBER_CERT", type=click.Path(), metavar="FILE",
    help="Certificate of the member who will sign, PEM.",
)  # fmt: skip
@click.option("--proposal-id", help="Of ballots and withdrawals.")
@click.option("--created-at", help="Seconds since 1970, or an ISO 8601 date; default: now.")
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Default: standard output.")
def prepare(
    *, kind: str, content: str | None, certificate: str, proposal_id: str | None, created_at: str | None,
    output: str | None,
) -> int:  # fmt: skip
    """Write what is to be signed elsewhere: its digest, the bytes behind it, and all that finish needs.

    The JSON begins with "alg" and "value" (the digest, base64), as ccf_cose_sign1_prepare prints them.
    """
    import json

    from tallystick.member.keys import read_certificate
    from tallystick.member.requests import GovernanceRequest, PreparedRequest, RequestType

    payload = _read_bytes(content) if content is not None else b""
    request = GovernanceRequest(RequestType(kind), payload, _created_at(created_at), proposal_id)
    prepared = PreparedRequest.create(request, read_certificate(certificate))
    text = json.dumps(prepared.to_json(), indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        Path(output).write_text(text, encoding="utf-8")
    return int(ExitStatus.OK)


@member.command()
@click.argument("request_file", metavar="REQUEST", type=click.Path())
@click.option(
    "--signature", required=True, type=click.Path(allow_dash=True), metavar="FILE",
    help="What the signer gave out: JSON with value or signature, base64, or bytes; r and s, or DER.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(), metavar="FILE", help="Write the message there; default: standard output."
)
@click.option("--submit", is_flag=True, help="Send it, instead of writing it; needs --url and --service-cert.")
@click.option("--url", envvar="TALLYSTICK_URL", metavar="URL")
@click.option(
    "--service-cert",
    "service_certs",
    multiple=True,
    envvar="TALLYSTICK_SERVICE_CERT",
    type=click.Path(),
    metavar="FILE",
)
@click.option("--format", "output_format", type=click.Choice(("text", "json")), default="text", show_default=True)
def finish(
    *, request_file: str, signature: str, output: str | None, submit: bool, url: str | None,
    service_certs: tuple[str, ...], output_format: str,
) -> int:  # fmt: skip
    """Put a signature made elsewhere under a prepared REQUEST, check it, and write or send the message."""
    from tallystick.member.requests import PreparedRequest, read_signature

    prepared = PreparedRequest.from_json(_read_bytes(request_file), request_file)
    message = prepared.finish(read_signature(_read_bytes(signature), signature))
    if not submit:
        if output is None:
            sys.stdout.buffer.write(message)
        else:
            Path(output).write_bytes(message)
        return int(ExitStatus.OK)
    if output is not None:
        raise click.UsageError("--submit and --output exclude each other")
    if url is None or not service_certs:
        raise click.UsageError("--submit needs --url and --service-cert")
    service = Service(url, service_certs, output_format)
    with service.connect() as client:
        _submit(client, service, prepared.request.path(prepared.member_id), message)
    return int(ExitStatus.OK)


def _submit(client: GovernanceClient, service: Service, path: str, message: bytes) -> None:
    outcome = client.post(path, message)
    answer = outcome.answer
    text = f"proposal {answer['proposalId']} is {_state(answer)}" if "proposalId" in answer else "done"
    service.report(outcome, text, committed=False)


def _read_bytes(path: str) -> bytes:
    from tallystick.errors import UsageError

    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(error.strerror or type(error).__name__, code="file-unreadable", file=path) from error


def _created_at(text: str | None) -> int:
    from datetime import datetime

    if text is None:
        return now()
    if text.isdigit() and len(text) <= 20:
        return int(text)
    # Python 3.10 does not know the Z of ISO 8601; a date without an offset is local, as the official tool has it.
    iso = text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text
    try:
        return int(datetime.fromisoformat(iso).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise click.UsageError(f"--created-at: neither seconds nor an ISO 8601 date: {text!r}") from error
