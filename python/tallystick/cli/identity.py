"""``tallystick identity``: every identity of a service over time, and how each follows from the anchor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.ledger_anchor import JOBS, check_place, ledger_anchor

if TYPE_CHECKING:
    from tallystick.audit.timeline import IdentityTimeline

__all__ = ["identity"]


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH...")
@ledger_anchor
@click.option("--uncommitted", is_flag=True, help="Read uncommitted chunks of directories too.")
@click.option("--recovery", is_flag=True, help="Read .recovery files of directories too.")
@click.option("--jobs", type=JOBS, default=0, help="Worker threads; 0: one a core.")
@click.option(
    "--bundle",
    type=click.Path(),
    metavar="FILE",
    help="Write a bundle of past identities there, for `tallystick receipt verify --identities`.",
)
@click.option(
    "--without-history",
    is_flag=True,
    help="Leave the ledger's transactions out of the bundle. It then leads from newer identities to older ones only.",
)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def identity(
    *,
    paths: tuple[str, ...],
    service_certs: tuple[str, ...],
    service_keys: tuple[str, ...],
    trust_genesis: bool,
    uncommitted: bool,
    recovery: bool,
    jobs: int,
    bundle: str | None,
    without_history: bool,
    style: str,
) -> int:
    """Show every identity of a service, its certificates, nodes and links, each checked.

    The ledger is verified in full on the way. Links forwards are the members' opening proposals, links backwards
    are endorsements. Dates are noted, not judged.

    Exit codes: 0 verified, 1 failed, 2 usage, 3 could not decide.
    """
    from tallystick.audit.timeline import trace_identities
    from tallystick.cli.listing import Output
    from tallystick.identity.trust_anchor import TrustAnchor
    from tallystick.report.identity import render_identity_json, render_identity_text

    if without_history and bundle is None:
        raise click.UsageError("--without-history is about a bundle: add --bundle FILE")
    check_place("--bundle", bundle)
    anchor = TrustAnchor.from_options(
        service_certs=service_certs, service_key_sha256=service_keys, trust_genesis=trust_genesis
    )
    timeline = trace_identities(paths, anchor, jobs=jobs, uncommitted=uncommitted, recovery=recovery)
    written = None
    if bundle is not None:
        written = _write_bundle(bundle, timeline, paths, not without_history, uncommitted, recovery)
    if style == "json":
        Output(style).json({**render_identity_json(timeline), "bundle": written})
    else:
        click.echo(render_identity_text(timeline), nl=False)
        if written is not None:
            click.echo(_told(written))
    outcomes = {"verified": ExitStatus.OK, "failed": ExitStatus.FAILED, "undecided": ExitStatus.UNDECIDED}
    return int(outcomes[timeline.audited.verdict.verdict.value])


def _write_bundle(
    target: str, timeline: IdentityTimeline, paths: tuple[str, ...], history: bool, uncommitted: bool, recovery: bool
) -> dict[str, object]:
    from tallystick.audit.checkpoint import write_atomically
    from tallystick.audit.identity_bundle import make_bundle
    from tallystick.errors import VerificationError
    from tallystick.findings import Verdict

    if timeline.audited.verdict.verdict is Verdict.FAILED:
        raise VerificationError(
            "no bundle was written: the ledger does not hold", code="ledger-not-verified",
            hint="run tallystick verify to see what is wrong",
        )  # fmt: skip
    made, reason = make_bundle(timeline, paths, history=history, uncommitted=uncommitted, recovery=recovery)
    write_atomically(target, made.to_bytes().decode())
    return {
        "file": target,
        "identities": len(made.identities),
        "endorsements": len(made.endorsements),
        "openings": len(made.openings),
        "history": made.history is not None,
        "no_history_because": reason,
    }


def _told(written: dict[str, object]) -> str:
    from tallystick.printable import printable
    from tallystick.report.text import wrapped

    counts = ((written["identities"], "service certificate"), (written["endorsements"], "endorsement"))
    parts = [
        f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in (*counts, (written["openings"], "opening"))
    ]
    history = (
        "and the history up to the last opening. That is the ledger's public tables, and the private ones encrypted: "
        "share the bundle as you would the ledger"
        if written["history"]
        else f"without history ({written['no_history_because']}): it leads to older identities only"
    )
    told = f"bundle written to {written['file']}: {', '.join(parts)}, {history}"
    return "\n".join(wrapped(printable(told), "", "  "))
