"""``tallystick explore``: a local web page over a ledger."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.errors import TallystickError, UsageError

if TYPE_CHECKING:
    from tallystick.explore.views import Explorer
    from tallystick.identity.trust_anchor import TrustAnchor

__all__ = ["explore"]


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--service-cert", "service_certs", multiple=True, metavar="FILE", help="Service that you trust. Repeatable."
)
@click.option("--service-key-sha256", multiple=True, metavar="HEX", help="SHA-256 of its public key. Repeatable.")
@click.option("--trust-genesis", is_flag=True, help="Trust the identity in the first transaction.")
@click.option("--uncommitted", is_flag=True, help="Read chunks that are not marked committed, too.")
@click.option("--recovery", is_flag=True, help="Read .recovery files, too.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; 0 takes a free one.")
def explore(
    paths: tuple[str, ...],
    service_certs: tuple[str, ...],
    service_key_sha256: tuple[str, ...],
    trust_genesis: bool,
    uncommitted: bool,
    recovery: bool,
    port: int,
) -> int:
    """Look at a ledger in the browser: transactions, tables, keys, governance, proofs.

    The page is served on this machine only, to whoever has the link that is printed. Ctrl-C ends it.
    """
    from tallystick.cli.listing import no_chunk
    from tallystick.evidence.compare import Copy
    from tallystick.explore.index import build_index
    from tallystick.explore.server import ExplorerServer
    from tallystick.explore.views import Explorer
    from tallystick.identity.trust_anchor import TrustAnchor
    from tallystick.ledger.ledger import Ledger

    anchor = TrustAnchor.from_options(
        service_certs=service_certs, service_key_sha256=service_key_sha256, trust_genesis=trust_genesis
    )
    ledger = Ledger(paths, uncommitted=uncommitted, recovery=recovery)
    if ledger.first_seqno is None:
        raise no_chunk(paths, ledger)
    with tempfile.TemporaryDirectory(prefix="tallystick-explore-") as directory:
        last = ledger.last_seqno or 0
        index = build_index(ledger, Path(directory) / "index.sqlite", lambda seqno: _progress(seqno, last))
        copy = Copy(paths[0], Ledger(paths, uncommitted=uncommitted, recovery=recovery))
        for _ in copy.leaves():
            continue
        explorer = Explorer(ledger, index, copy)
        try:
            server = ExplorerServer(explorer, port)
        except OSError as error:
            raise UsageError(
                f"cannot listen on 127.0.0.1:{port}: {error.strerror}", hint="--port 0 takes a free port"
            ) from error
        _in_background(explorer, "verdict", lambda: _audit(paths, anchor, uncommitted, recovery))
        _in_background(explorer, "governance", lambda: _replay(paths, uncommitted, recovery))
        print(f"open {server.url}\nCtrl-C ends it", flush=True)
        try:
            server.serve_forever(poll_interval=0.2)
        finally:
            server.server_close()
            index.close()
    return int(ExitStatus.OK)


def _progress(seqno: int, last: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if seqno >= last else ""
        print(f"\rreading transaction {seqno:,} of {last:,}", end=end, file=sys.stderr, flush=True)


def _audit(paths: tuple[str, ...], anchor: TrustAnchor, uncommitted: bool, recovery: bool) -> dict[str, object]:
    from tallystick.audit.auditor import audit_ledger

    verdict = audit_ledger(paths, anchor, uncommitted=uncommitted, recovery=recovery)
    return verdict.to_json()


def _replay(paths: tuple[str, ...], uncommitted: bool, recovery: bool) -> dict[str, object]:
    from tallystick.governance.ledger import replay_governance

    report = replay_governance(paths, uncommitted=uncommitted, recovery=recovery)
    return {**report.to_json(), "events": [event.to_json() for event in report.events]}


def _in_background(explorer: Explorer, name: str, work: Callable[[], dict[str, object]]) -> threading.Thread:
    def run() -> None:
        try:
            setattr(explorer, name, work())
        except (TallystickError, OSError) as error:
            explorer.trouble[name] = f"ended without a result: {error}"
        finally:
            # A defect of ours shows on the terminal; the page must not go on saying that work is under way.
            if getattr(explorer, name) is None:
                explorer.trouble.setdefault(name, "ended without a result")

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
