"""Entry point: finds a subcommand, runs it, and turns every ending into an exit code and one clear line."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from collections.abc import Sequence

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.errors import RefusedError, TallystickError, UsageError, VerificationError
from tallystick.printable import printable

__all__ = ["cli", "main", "run"]

# Name -> (module:attribute, one line of help). Modules are imported only when their command runs, so that
# --help and small commands answer at once.
_COMMANDS: dict[str, tuple[str, str]] = {
    "verify": ("tallystick.cli.verify:verify", "Verify ledger directories and files."),
    "receipt": ("tallystick.cli.receipt:receipt", "Verify receipts and transparent statements."),
    "snapshot": ("tallystick.cli.snapshot:snapshot", "Verify snapshots."),
    "log": ("tallystick.cli.read:log", "List transactions."),
    "show": ("tallystick.cli.read:show", "Show one transaction in full."),
    "state": ("tallystick.cli.read:state", "Show the public state at a seqno."),
    "history": ("tallystick.cli.read:history", "Show the history of a key."),
    "explore": ("tallystick.cli.explore:explore", "Look at a ledger in the browser."),
    "export": ("tallystick.cli.export:export", "Export to SQLite, Parquet, CSV or JSON lines."),
    "diff": ("tallystick.cli.diff:diff", "Compare copies of a ledger, receipts, checkpoints."),
    "evidence": ("tallystick.cli.diff:evidence", "Verify evidence of two histories."),
    "identity": ("tallystick.cli.identity:identity", "Show every service identity, and what links them."),
    "attest": ("tallystick.cli.attest:attest", "Check the attestation evidence of nodes."),
    "secrets": ("tallystick.cli.secrets:secrets", "Show and check the chain of ledger secrets."),
    "decrypt": ("tallystick.cli.secrets:decrypt", "Authenticate entries and show private tables."),
    "read-ledger": ("tallystick.cli.read_ledger:read_ledger", "Take the official read_ledger.py's flags."),
    "fetch": ("tallystick.cli.fetch:fetch", "Download a ledger from a running node, verified as it comes."),
    "follow": ("tallystick.cli.follow:follow", "Report verified transactions as they come."),
    "gov": ("tallystick.cli.gov:gov", "Replay governance: members, proposals, ballots, rules."),
    "split": ("tallystick.cli.repair:split", "Split a chunk file in two."),
    "join": ("tallystick.cli.repair:join", "Join chunk files into one."),
    "extract": ("tallystick.cli.repair:extract", "Write a range of transactions to a chunk file."),
    "doctor": ("tallystick.cli.repair:doctor", "Say what a node would do with a ledger directory."),
    "sandbox": ("tallystick.cli.sandbox:sandbox", "Run a service of one node on this machine."),
    "member": ("tallystick.cli.member:member", "Govern a service: keys, proposals, ballots, shares."),
    "node": ("tallystick.cli.node:node", "Run a node of a service."),
    "demo": ("tallystick.cli.demo:demo", "Write a small service ledger, verify it, catch three tamperings."),
}


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module_name, attribute = _COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module_name), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module_name}:{attribute} is not a command")
        _add_offline(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            # Loading it takes a while, and most names are right.
            from difflib import get_close_matches

            near = get_close_matches(args[0], _COMMANDS, n=1)
            if not near:
                raise
            raise click.UsageError(f"No such command {args[0]!r}; did you mean {near[0]!r}?", ctx) from error

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Click would end with 1, which here means that a verification failed.
            return _quiet_broken_pipe()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _forbid_network(_ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from tallystick.network import go_offline

        go_offline()


def _add_offline(command: click.Command) -> None:
    """Lets ``--offline`` stand after the name of a command too, without a line in the help of each."""
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _add_offline(inner)
    if not any(parameter.name == "offline" for parameter in command.params):
        command.params.append(
            click.Option(["--offline"], is_flag=True, hidden=True, expose_value=False, callback=_forbid_network)
        )


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from tallystick import __version__

    click.echo(f"tallystick {__version__}")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Show the version and exit.",
)  # fmt: skip
@click.option(
    "--offline", is_flag=True, expose_value=False, callback=_forbid_network,
    help="Make any network access an error; also after a command, or by TALLYSTICK_OFFLINE=1.",
)  # fmt: skip
def cli() -> None:
    """Audit ledgers of the Confidential Consortium Framework (CCF), offline.

    Exit codes: 0 verified or done, 1 verification failed, 2 usage, 3 could not decide.
    """


def _exit_status(error: TallystickError) -> ExitStatus:
    if isinstance(error, UsageError):
        return ExitStatus.USAGE
    if isinstance(error, VerificationError | RefusedError):
        return ExitStatus.FAILED
    return ExitStatus.UNDECIDED


def _quiet_broken_pipe() -> int:
    # The reader of stdout has gone (for example `| head`). Point stdout elsewhere, so that the flush at
    # interpreter exit does not complain, and end as a process that SIGPIPE ended would.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _open_standard_streams() -> None:
    """Opens what was closed when the process started (``>&-``), to nothing.

    Else the next file opened, a ledger's perhaps, would take the number, and get whatever is printed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code; never shows a traceback for bad input."""
    _open_standard_streams()
    try:
        if os.environ.get("TALLYSTICK_OFFLINE", "") not in ("", "0"):
            from tallystick.network import go_offline

            go_offline()
        result = cli.main(args=arguments, prog_name="tallystick", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.ClickException as error:
        error.show()
        return int(ExitStatus.USAGE)
    except (click.Abort, KeyboardInterrupt):
        print("tallystick: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return _quiet_broken_pipe()
    except TallystickError as error:
        # Messages quote names from files, which strangers chose.
        print(printable(f"tallystick: error: {error} [{error.code}]"), file=sys.stderr)
        if error.hint:
            print(printable(f"hint: {error.hint}"), file=sys.stderr)
        return int(_exit_status(error))
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        print(printable(f"tallystick: error: {name}{error.strerror or error}"), file=sys.stderr)
        return int(ExitStatus.UNDECIDED)
    return int(result) if isinstance(result, int) else int(ExitStatus.OK)


# Objects made between two looks for garbage: loading modules makes tens of thousands, and none of them is any.
_GC_THRESHOLD = 50_000


def run() -> None:
    """The console script."""
    gc.set_threshold(_GC_THRESHOLD)
    status = main()
    # The interpreter would go through all that is left once more before the process ends.
    gc.freeze()
    sys.exit(status)


if __name__ == "__main__":
    run()
