"""``tallystick sandbox``: a working service on this machine, in one command."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from tallystick.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from tallystick.sandbox import SandboxOptions
    from tallystick.sandbox.bring_up import OpenSandbox

__all__ = ["sandbox"]

# How often the node is looked at while nothing else happens.
_WATCH_SECONDS = 0.2
# Endpoints that are listed: what fits a terminal beside the rest.
_MOST_ENDPOINTS = 10


class _ManyFiles(click.Command):
    """Lets ``--constitution a.js b.js`` stand for ``--constitution a.js --constitution b.js``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        after_constitution = 0
        for text in args:
            if text == "--constitution":
                after_constitution = 1
                spread.append(text)
            elif text.startswith("-") or not after_constitution:
                if after_constitution == 1:
                    # Click would take the next option for the file, and then wonder at what is left over.
                    raise click.BadOptionUsage("constitution", "Option '--constitution' requires an argument.", ctx)
                after_constitution = 0
                spread.append(text)
            else:
                if after_constitution > 1:
                    spread.append("--constitution")
                after_constitution += 1
                spread.append(text)
        return super().parse_args(ctx, spread)


@click.command(cls=_ManyFiles)
@click.option(
    "--app", type=click.Path(path_type=Path), metavar="DIR", help="App to install; default: a log of messages."
)
@click.option(
    "--workspace",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where files go, missing or empty; default: a new temporary directory.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free.")
@click.option(
    "--constitution",
    "constitution",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE...",
    help="Constitution, in order; default: a majority of the members decides.",
)
@click.option("--members", type=click.IntRange(1, 100), default=3, show_default=True, help="How many members to make.")
@click.option("--users", type=click.IntRange(1, 100), default=1, show_default=True, help="How many users to make.")
@click.option(
    "--log-level", type=click.Choice(("trace", "debug", "info", "fail", "fatal")), default="info", show_default=True
)
def sandbox(
    *, app: Path | None, workspace: Path | None, port: int, constitution: tuple[Path, ...], members: int, users: int,
    log_level: str,
) -> int:  # fmt: skip
    """Run a service of one node on this machine: members, a user, an app, open for requests.

    Everything is made on the spot, and done as in production: members open the service and install the app by
    proposals and votes. DIR/sandbox.json is written when it is ready. It runs until Ctrl-C or SIGTERM; the ledger
    and the keys stay in DIR.

    It is for trying things out: keys lie in files, and the node proves nothing about its hardware.
    """
    from tallystick.sandbox.bring_up import DEFAULT_APP, SandboxOptions

    options = SandboxOptions(
        app=app if app is not None else DEFAULT_APP, port=port, constitution=constitution, members=members,
        users=users, log_level=log_level,
    )  # fmt: skip
    directory = workspace if workspace is not None else Path(tempfile.mkdtemp(prefix="tallystick-sandbox-"))
    try:
        return _run(directory, options)
    except BaseException:
        if workspace is None:
            # A directory that nobody chose, and in which nothing came about, is litter.
            _remove_if_unused(directory)
        raise


def _remove_if_unused(directory: Path) -> None:
    from tallystick.sandbox.workspace import LOCK_NAME

    with contextlib.suppress(OSError):
        if {path.name for path in directory.iterdir()} <= {LOCK_NAME}:
            (directory / LOCK_NAME).unlink(missing_ok=True)
            directory.rmdir()


def _run(directory: Path, options: SandboxOptions) -> int:
    from tallystick.sandbox import Workspace, open_sandbox

    workspace = Workspace.create(directory)
    opened: OpenSandbox | None = None
    try:
        with _signals():
            opened = open_sandbox(workspace, options)
            _introduce(opened)
            while not opened.node.wait(_WATCH_SECONDS):
                pass
            opened.node.require_running()
    except _Ended as ending:
        if opened is None:
            print("tallystick: interrupted before the service was ready", file=sys.stderr)
            return 128 + ending.number
    finally:
        code = opened.node.stop() if opened is not None else 0
        workspace.release()
    if code != 0:
        print(f"tallystick: the node did not end in order: {code}", file=sys.stderr)
        return int(ExitStatus.UNDECIDED)
    return int(ExitStatus.OK)


class _Ended(BaseException):
    """A signal asks the sandbox to end; no error, and not to be caught as one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Turns the first SIGTERM, SIGHUP or Ctrl-C into :class:`_Ended`, and ignores more while that is obeyed."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def on_signal(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise _Ended(number)

    for number in numbers:
        signal.signal(number, on_signal)
    yield


def _introduce(opened: OpenSandbox) -> None:
    """Says what there is and what to try."""
    workspace, user = opened.workspace, opened.workspace.users[0].files
    place = workspace.directory
    click.echo(f"The service is open at {opened.url}; Ctrl-C ends it.")
    click.echo(f"   in        {place}")
    click.echo(f"   members   {len(workspace.members)}, users {len(workspace.users)}: keys in members/ and users/")
    click.echo("   log       node0/node.log")
    click.echo("   ledger    node0/ledger")
    click.echo()
    click.echo("The app answers to")
    for verb, path in opened.endpoints[:_MOST_ENDPOINTS]:
        click.echo(f"   {verb:<6} /app{path}")
    if len(opened.endpoints) > _MOST_ENDPOINTS:
        click.echo(f"   and {len(opened.endpoints) - _MOST_ENDPOINTS} more: GET /app/api")
    click.echo()
    click.echo("Try, in another terminal")
    lines = [
        f"cd {shlex.quote(str(place))} && . ./env",
        f"curl --cacert service_cert.pem {opened.url}/node/network",
    ]
    caller = f"curl --cacert service_cert.pem --cert {user.certificate.relative_to(place)}"
    caller += f" --key {user.key.relative_to(place)}"
    if opened.is_default_app:
        lines += [
            f'{caller} {opened.url}/app/log/public --json \'{{"id": 1, "msg": "hello"}}\' -i',
            f"{caller} '{opened.url}/app/log/public?id=1'",
            f"curl --cacert service_cert.pem '{opened.url}/app/receipt?transaction_id=ID' > receipt.json",
            "tallystick receipt verify receipt.json --service-cert service_cert.pem",
        ]
    else:
        lines += [f"{caller} {opened.url}/app/commit"]
    lines += ["tallystick member status", "tallystick verify node0/ledger --service-cert service_cert.pem"]
    for line in lines:
        click.echo(f"   {line}")
