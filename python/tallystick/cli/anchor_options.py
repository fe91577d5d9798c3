"""Options that receipts and snapshots share: the anchor, and what leads from it to other keys."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallystick.errors import FormatError, LimitExceededError, TallystickError, UsageError

if TYPE_CHECKING:
    from tallystick.identity.endorsements import Endorsement
    from tallystick.identity.ledger_copy import LedgerCopy
    from tallystick.identity.service_keys import IdentityEvidence
    from tallystick.identity.trust_anchor import TrustAnchor

__all__ = [
    "anchor_options",
    "build_anchor",
    "expand_inputs",
    "open_ledger_copy",
    "output_options",
    "read_endorsements",
    "read_identities",
    "read_input",
    "read_option_file",
    "write_output",
]

Command = Callable[..., Any]


def anchor_options(command: Command) -> Command:
    """Adds --service-cert, --service-key-sha256, --endorsements, --identities and --ledger."""
    for option in reversed(
        [
            click.option(
                "--service-cert",
                "service_certs",
                multiple=True,
                metavar="FILE",
                help="Certificate of a service that you trust (PEM or DER). Repeatable.",
            ),
            click.option(
                "--service-key-sha256",
                multiple=True,
                metavar="HEX",
                help="SHA-256 of the public key of a service that you trust. Repeatable.",
            ),
            click.option(
                "--endorsements",
                multiple=True,
                metavar="FILE",
                help="COSE endorsements that lead from a trusted service key to older ones, as a node serves them "
                "or a ledger records them. Repeatable.",
            ),
            click.option(
                "--identities",
                multiple=True,
                metavar="BUNDLE",
                help="Bundle of past identities that `tallystick identity --bundle` wrote. Each link in it is "
                "verified again from the service that you trust. Repeatable.",
            ),
            click.option(
                "--ledger",
                "ledgers",
                multiple=True,
                metavar="PATH",
                help="Copy of the ledger to compare with. Repeatable.",
            ),
        ]
    ):
        command = option(command)
    return command


def output_options(command: Command) -> Command:
    """Adds --format and --output."""
    command = click.option("--output", metavar="FILE", help="Write there instead of to standard output.")(command)
    return click.option(
        "--format", "format_", type=click.Choice(["text", "json", "jsonl"]), default="text", show_default=True
    )(command)


def build_anchor(service_certs: Iterable[str], service_key_sha256: Iterable[str]) -> TrustAnchor:
    """The anchor that the options name."""
    from tallystick.identity.trust_anchor import TrustAnchor

    return TrustAnchor.from_options(service_certs=service_certs, service_key_sha256=service_key_sha256)


def read_option_file(path: str, what: str) -> bytes:
    """Content of a file that an option names.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {error.strerror}", file=path) from error


def as_usage_error(error: TallystickError, path: str) -> UsageError:
    """A malformed file that an option names is the caller's fault, not the receipt's."""
    return UsageError(error.message, code=error.code, file=path, hint=error.hint)


def read_endorsements(paths: Iterable[str]) -> list[Endorsement]:
    """Endorsements in the files that --endorsements names."""
    from tallystick.identity.endorsements import parse_endorsements

    found: list[Endorsement] = []
    for path in paths:
        try:
            found += parse_endorsements(read_option_file(path, "endorsements"))
        except (FormatError, LimitExceededError) as error:
            raise as_usage_error(error, path) from error
    return found


def read_identities(paths: Iterable[str], anchor: TrustAnchor) -> IdentityEvidence | None:
    """What the bundles that --identities names add to the anchor; None without any."""
    given = list(paths)
    if not given:
        return None
    from tallystick.audit.identity_bundle import prove_bundle
    from tallystick.identity.bundle import MAX_BUNDLE_BYTES, IdentityBundle
    from tallystick.identity.service_keys import IdentityEvidence

    proven = []
    for path in given:
        try:
            data = read_input(path, MAX_BUNDLE_BYTES)
            proven.append(prove_bundle(IdentityBundle.parse(data), anchor))
        except OSError as error:
            raise UsageError(f"bundle of identities cannot be read: {error.strerror}", file=path) from error
        except FormatError as error:
            raise as_usage_error(error, path) from error
    return IdentityEvidence(
        tuple(link for item in proven for link in item.endorsements),
        tuple(key for item in proven for key in item.opened),
        tuple(key for item in proven for key in item.claimed),
        tuple(spki for item in proven for spki in item.spkis),
    )


def open_ledger_copy(paths: Iterable[str]) -> LedgerCopy | None:
    """The ledger copy that --ledger names."""
    given = list(paths)
    if not given:
        return None
    from tallystick.identity.ledger_copy import LedgerCopy

    return LedgerCopy(given)


def expand_inputs(paths: Iterable[str], pattern: str | None = None) -> list[tuple[str, bool]]:
    """Files to read, each with whether it was found in a directory rather than named.

    Directories are descended into, in order of names; hidden files, and those whose name does not match
    ``pattern``, are left out there. A path that does not exist stays, to be reported as unreadable.
    """
    files: list[tuple[str, bool]] = []
    matches = re.compile(pattern).match if pattern is not None else None
    for path in paths:
        if path == "-" or not Path(path).is_dir():
            files.append((path, False))
            continue
        for folder, folders, found in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            wanted = (name for name in sorted(found) if not name.startswith("."))
            files += [(f"{folder}{os.sep}{name}", True) for name in wanted if matches is None or matches(name)]
    return files


def read_input(path: str, limit: int) -> bytes:
    """Content of an input, ``-`` for standard input; at most one byte more than ``limit``, so that excess shows."""
    if path == "-":
        return sys.stdin.buffer.read(limit + 1)
    # Plain calls: buffered streams and Path objects for ten thousand files cost more than reading them.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode) and status.st_size <= _ONE_READ:
            return os.read(handle, status.st_size + 1)
        with os.fdopen(handle, "rb", closefd=False) as stream:
            return stream.read(limit + 1)
    finally:
        os.close(handle)


# Up to this size a regular file is read in one call.
_ONE_READ = 1 << 20


def write_output(text: str, output: str | None) -> None:
    """Writes the report."""
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"output cannot be written: {error.strerror}", file=output) from error
