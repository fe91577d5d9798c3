"""``tallystick receipt``: verify receipts and transparent statements."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from tallystick.cli.anchor_options import (
    anchor_options,
    as_usage_error,
    build_anchor,
    expand_inputs,
    open_ledger_copy,
    output_options,
    read_endorsements,
    read_identities,
    read_input,
    read_option_file,
    write_output,
)
from tallystick.cli.exit_status import ExitStatus
from tallystick.cli.ledger_anchor import JOBS
from tallystick.errors import FormatError, LimitExceededError, UndecidedError, UsageError

if TYPE_CHECKING:
    from tallystick.findings import Verdict
    from tallystick.receipt.model import Expected, ReceiptResult
    from tallystick.receipt.verify import ReceiptVerifier

__all__ = ["exit_status_of", "json_document", "receipt"]

SCHEMA = "tallystick.receipts/1"

# New objects before the garbage collector looks for cycles; Python's own default is 700.
_GARBAGE_THRESHOLD = 200_000

# Files read at a time, so that memory does not grow with their number.
_RUN = 4096


class _ReceiptGroup(click.Group):
    """Imports the module of `issue` only when it is wanted: verifying must answer at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), "issue"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "issue":
            from tallystick.cli.secrets import issue

            return issue
        return super().get_command(ctx, cmd_name)


@click.group(cls=_ReceiptGroup)
def receipt() -> None:
    """Verify receipts and transparent statements, and issue receipts from a ledger."""


@receipt.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@anchor_options
@click.option(
    "--jwks",
    multiple=True,
    metavar="ISSUER=FILE",
    help="Keys that ISSUER published (JWKS, or parameters of a SCITT service). They count for receipts of that "
    "issuer only. Repeatable.",
)
@click.option("--claims", metavar="FILE", help="Application claims (JSON) whose digest the transaction must carry.")
@click.option("--claims-text", metavar="FILE", help="Content whose SHA-256 must be the claims digest.")
@click.option("--claims-digest", metavar="HEX", help="The claims digest that the transaction must carry.")
@click.option("--txid", metavar="VIEW.SEQNO", help="The transaction that the receipt must be about.")
@click.option("--issuer", metavar="NAME", help="The issuer that a COSE receipt must name.")
@click.option("--jobs", type=JOBS, default=0, metavar="N", help="Threads; 0 is one a core.")
@output_options
def verify(
    files: tuple[str, ...],
    service_certs: tuple[str, ...],
    service_key_sha256: tuple[str, ...],
    endorsements: tuple[str, ...],
    identities: tuple[str, ...],
    ledgers: tuple[str, ...],
    jwks: tuple[str, ...],
    claims: str | None,
    claims_text: str | None,
    claims_digest: str | None,
    txid: str | None,
    issuer: str | None,
    jobs: int,
    format_: str,
    output: str | None,
) -> int:
    """Verify receipts: JSON, COSE, transparent statements, Azure Confidential Ledger.

    FILE may be a directory, or - for standard input. What a file is, is decided by its content.

    Exit codes: 0 all verified, 1 some failed, 2 usage, 3 none failed but some are undecided.
    """
    from tallystick.receipt.verify import ReceiptVerifier

    anchor = build_anchor(service_certs, service_key_sha256)
    verifier = ReceiptVerifier(
        anchor,
        endorsements=read_endorsements(endorsements),
        issuer_keys=_issuer_keys(jwks),
        ledger=open_ledger_copy(ledgers),
        identities=read_identities(identities, anchor),
        expected=_expected(claims, claims_text, claims_digest, txid, issuer),
        jobs=jobs,
    )
    results, skipped = _verify_files(verifier, expand_inputs(files))
    if skipped and format_ == "text":
        click.echo(f"tallystick: {len(skipped)} file(s) in directories are not receipts: {_names(skipped)}", err=True)
    if not results:
        raise UndecidedError("no receipt found: nothing was verified", code="nothing-to-verify", file=", ".join(files))
    write_output(_render(results, format_), output)
    return int(exit_status_of(result.verdict for result in results))


def _verify_files(
    verifier: ReceiptVerifier, files: Sequence[tuple[str, bool]]
) -> tuple[list[ReceiptResult], list[str]]:
    """Results in order, and the files found in directories that are no receipts at all."""
    from tallystick.findings import Verdict, finding
    from tallystick.receipt.documents import MAX_DOCUMENT_BYTES
    from tallystick.receipt.model import Kind, ReceiptResult

    # Thousands of small results live to the end: looking for garbage among them each time costs a tenth of the run.
    gc.set_threshold(_GARBAGE_THRESHOLD)
    results: list[ReceiptResult] = []
    skipped: list[str] = []
    for start in range(0, len(files), _RUN):
        run = files[start : start + _RUN]
        contents: list[tuple[str | None, bytes]] = []
        unreadable: dict[str, ReceiptResult] = {}
        for path, _ in run:
            try:
                contents.append((path, read_input(path, MAX_DOCUMENT_BYTES)))
            except OSError as error:
                problem = finding("file-unreadable", f"cannot be read: {error.strerror or error}", file=path)
                unreadable[path] = ReceiptResult(path, Kind.UNKNOWN, Verdict.UNDECIDED, findings=(problem,))
        outcomes = iter(verifier.audit(contents))
        for path, found in run:
            result = unreadable.get(path) or next(outcomes)
            if found and result.findings and result.findings[0].code == "not-a-receipt":
                skipped.append(path)
            else:
                results.append(result)
    return results, skipped


def _issuer_keys(options: Iterable[str]) -> dict[str, list[bytes]]:
    from tallystick.identity.published_keys import parse_published_keys

    keys: dict[str, list[bytes]] = {}
    for option in options:
        issuer, separator, path = option.partition("=")
        if not separator or not issuer or not path:
            raise UsageError(f"--jwks {option[:80]!r}: expected ISSUER=FILE")
        try:
            keys.setdefault(issuer, []).extend(parse_published_keys(read_option_file(path, "published keys")))
        except (FormatError, LimitExceededError) as error:
            raise as_usage_error(error, path) from error
    return keys


def _expected(
    claims: str | None, claims_text: str | None, claims_digest: str | None, txid: str | None, issuer: str | None
) -> Expected:
    import hashlib

    from tallystick.receipt.application_claims import parse_application_claims
    from tallystick.receipt.model import Expected
    from tallystick.types import TxId

    if sum(option is not None for option in (claims, claims_text, claims_digest)) > 1:
        raise UsageError("--claims, --claims-text and --claims-digest exclude each other: expected one of them")
    digest: bytes | None = None
    if claims is not None:
        try:
            digest = parse_application_claims(read_option_file(claims, "application claims"))
        except FormatError as error:
            raise UsageError(
                error.message,
                code=error.code,
                file=claims,
                hint="for content that is no Azure Confidential Ledger claim, use --claims-text",
            ) from error
    elif claims_text is not None:
        digest = hashlib.sha256(read_option_file(claims_text, "claims")).digest()
    elif claims_digest is not None:
        digest = _digest(claims_digest)
    try:
        asked = TxId.parse(txid) if txid is not None else None
    except FormatError as error:
        raise UsageError(error.message, code=error.code) from error
    return Expected(digest, asked, issuer)


def _digest(text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32 or len(text) != 64:
        raise UsageError(f"--claims-digest {text[:80]!r}: expected 64 hexadecimal digits")
    return digest


# ------------------------------------------------------------------------------------------------ output


def exit_status_of(verdicts: Iterable[Verdict]) -> ExitStatus:
    """1 when any failed, 3 when none failed but some are undecided, else 0."""
    from tallystick.findings import Verdict

    seen = set(verdicts)
    if Verdict.FAILED in seen:
        return ExitStatus.FAILED
    return ExitStatus.UNDECIDED if Verdict.UNDECIDED in seen else ExitStatus.OK


def _render(results: Sequence[ReceiptResult], format_: str) -> str:
    if format_ == "json":
        return json_document(SCHEMA, (result.to_json() for result in results))
    if format_ == "jsonl":
        return "".join(json.dumps(result.to_json()) + "\n" for result in results)
    return _text(results)


def json_document(schema: str, results: Iterable[dict[str, object]]) -> str:
    """One JSON document, a line for each result: readable, and quick with thousands of them."""
    lines = ",\n  ".join(json.dumps(result) for result in results)
    return f'{{"schema": {json.dumps(schema)}, "results": [\n  {lines}\n]}}\n'


def _text(results: Sequence[ReceiptResult]) -> str:
    lines = []
    for result in results:
        lines.append(f"{result.verdict.value:<9}  {result.kind.value}  {result.txid or '-'}  {result.file}")
        lines += [f"  {item.severity.value}: {item.message} [{item.code}]" for item in result.findings]
    if len(results) > 1:
        counts = Counter(result.verdict.value for result in results)
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items(), reverse=True))
        lines.append(f"{len(results)} receipts: {told}")
    proven = [result for result in results if result.verdict.value == "verified"]
    left = dict.fromkeys(item for result in proven for item in result.not_checked)
    if left:
        lines.append("not checked: " + "; ".join(left))
    return "\n".join(lines) + "\n"


def _names(paths: Sequence[str], shown: int = 5) -> str:
    return ", ".join(paths[:shown]) + (", …" if len(paths) > shown else "")
