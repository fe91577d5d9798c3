"""``tallystick node``: a node of a service, from its configuration file; and the same under CCF's host options.

The console script ``tallystick-node`` takes the command line of CCF's own executables (``--config``,
``--log-level``, …), so that it can stand in for one, under whatever name.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.errors import UsageError

if TYPE_CHECKING:
    from tallystick.node.config import NodeConfig

__all__ = ["node", "run_host"]

POLL_SECONDS = 0.02
"""Between two looks for a configuration that is not there yet; CCF looks every 100 ms."""

_LEVELS = ("trace", "debug", "info", "fail", "fatal")
_DURATION = re.compile(r"\s*(\d{1,9})\s*(us|ms|s|min|h|)\s*\Z")
_SECONDS = {"": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


def _duration(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    """Seconds in a time as CCF writes it: a whole number and a unit; microseconds without one."""
    match = _DURATION.match(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no time such as 500ms, 10s or 2min")
    return int(match[1]) * _SECONDS[match[2]]


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from tallystick import __version__
    from tallystick.node.attestation import platform_name

    click.echo(f"CCF host: tallystick-{__version__}")
    click.echo(f"Platform: {platform_name()}")
    ctx.exit()


@click.group()
def node() -> None:
    """Run a node of a service."""


@node.command()
@click.option(
    "-c", "--config", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Configuration, JSON."
)
@click.option(
    "--config-timeout",
    callback=_duration,
    default="0s",
    show_default=True,
    metavar="TIME",
    help="Wait so long for the file to be there and to be JSON.",
)
@click.option("--check", is_flag=True, help="Only check the configuration.")
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True)
@click.option(
    "-v",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show version and platform, and exit.",
)
def start(*, config: Path, config_timeout: float, check: bool, log_level: str) -> int:  # fmt: skip
    """Start a node and run it until SIGTERM, SIGHUP or Ctrl-C.

    The configuration is CCF's: the same keys, the same defaults; docs/node.md says what is understood. The log
    goes to standard output.

    Exit codes: 0 stopped in order (or the configuration is good), 1 could not start or not stop in order, 2 usage or
    configuration.
    """
    from tallystick.node.host import run
    from tallystick.node.log import Level

    settings = _read(config, config_timeout)
    if check:
        return int(ExitStatus.OK)
    # On a platform that proves nothing, the file that was started stands for the code.
    return run(settings, Level[log_level.upper()], Path(sys.argv[0]).resolve())


def _read(path: Path, seconds: float) -> NodeConfig:
    from tallystick.node.config import read_config

    deadline = time.monotonic() + seconds
    while not _is_json(path):
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    if not path.is_file():
        raise UsageError("there is no such configuration file", code="config-missing", file=str(path))
    return read_config(path)


def _is_json(path: Path) -> bool:
    import json

    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return True


def run_host() -> None:
    """The console script ``tallystick-node``: the options of CCF's host, without a command's name."""
    from tallystick.cli.main import main

    sys.exit(main(["node", "start", *sys.argv[1:]]))
