"""The timeline of a service's identities as text and JSON; nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from tallystick.audit.chain import opening_decides
from tallystick.audit.timeline import (
    CertificateRecord,
    EndorsementRecord,
    IdentityHistory,
    IdentityTimeline,
    NodeHistory,
)
from tallystick.findings import Verdict
from tallystick.printable import printable
from tallystick.report.text import (
    TRUSTED_BY,
    anchor_text,
    counts_text,
    field_lines,
    finding_lines,
    number,
    tail_text,
    wrapped,
)

__all__ = ["SCHEMA", "render_identity_json", "render_identity_text"]

SCHEMA = "tallystick.identity/1"


# ---------------------------------------------------------------------------------------------------- text


def render_identity_text(timeline: IdentityTimeline) -> str:
    """The timeline for people, ending in a newline."""
    verdict = timeline.audited.verdict
    lines = [_headline(timeline)]
    lines += field_lines("anchor", anchor_text(verdict))
    lines += field_lines("read", counts_text(verdict))
    lines += field_lines("unsigned", tail_text(verdict))
    if timeline.identities:
        lines += ["", "Service identities"]
        for index in range(len(timeline.identities)):
            lines += _identity_lines(timeline, index)
    apart = [record for record in timeline.endorsements if record.links is None]
    if apart:
        lines += ["", "Endorsements that link nothing"]
        for record in apart:
            lines += wrapped(f"{record.txid}: {_endorsement_text(record)}", "  - ", "    ")
    if timeline.nodes:
        lines += ["", "Nodes"]
        for node in timeline.nodes:
            lines += _node_lines(node)
    if timeline.explanations:
        lines += ["", "Explained"]
        for text in timeline.explanations:
            lines += wrapped(text, "  - ", "    ")
    if verdict.findings:
        lines += ["", "Findings", *finding_lines(verdict.findings, verdict)]
    if verdict.not_checked:
        lines += ["", "Not checked"]
        for text in verdict.not_checked:
            lines += wrapped(text, "  - ", "    ")
    return "\n".join(printable(line) for line in lines) + "\n"


def _headline(timeline: IdentityTimeline) -> str:
    verdict, count = timeline.audited.verdict, len(timeline.identities)
    trusted = sum(1 for life in timeline.identities if life.trusted_by is not None)
    noun = "service identity" if count == 1 else "service identities"
    told = f"{count} {noun}, {'all' if trusted == count else trusted} trusted"
    proven = verdict.proven
    if verdict.verdict is Verdict.VERIFIED and proven is not None:
        return f"VERIFIED: {told}; proven up to {proven.last_txid}"
    return f"{'FAILED' if verdict.verdict is Verdict.FAILED else 'UNDECIDED'}: {told}"


def _identity_lines(timeline: IdentityTimeline, index: int) -> Iterator[str]:
    life = timeline.identities[index]
    identity = life.identity
    yield f"{index + 1:>3}  {identity.fingerprint or '(key unknown)'}"
    first = str(identity.begin) if identity.begin is not None else "before the start"
    span = f"{first} to {identity.last_signature or 'no signature'}"
    yield from wrapped(
        f"{span}, {number(identity.signatures, 'signature')}; {TRUSTED_BY[life.trusted_by]}", "     ", "     "
    )
    if life.statuses:
        yield from _entry("status", ", ".join(f"{status} ({txid})" for txid, status in life.statuses))
    for record in life.certificates:
        yield from _entry("renewed" if record.renews else "certificate", _certificate_text(record))
    if index > 0:
        yield from _entry("forwards", _forwards(timeline, index))
        yield from _entry("backwards", _backwards(timeline, index))


def _entry(label: str, text: str) -> list[str]:
    return wrapped(text, f"     {label:<13}", " " * 18)


def _certificate_text(record: CertificateRecord) -> str:
    return f"{record.txid}, dated {_date(record.not_before)} to {_date(record.not_after)}"


def _forwards(timeline: IdentityTimeline, index: int) -> str:
    life, older = timeline.identities[index], index
    if life.opening is None:
        problem = f" ({life.identity.opening_problem})" if life.identity.opening_problem else ""
        return f"no opening proposal was accepted, so nothing leads from identity {older} to this one{problem}"
    where = f"opening proposal {life.opening.proposal.proposal_id[:16]}, accepted in {life.opening.accepted}"
    verified = life.identity.opening
    if verified is None:
        return f"{where}, links nothing: {life.identity.opening_problem or 'it was not judged'}"
    votes = (
        f"{verified.plain_yes} of {number(verified.members, 'active member')} of identity {older} plainly for it, "
        f"signatures checked"
    )
    if not verified.named:
        return f"{where}: {votes}; it names no identity, so it links nothing by itself"
    return f"{where}: names identity {older} and this one; {votes}" + (
        "" if opening_decides(life.identity) else "; not plainly a majority, so it links nothing by itself"
    )


def _backwards(timeline: IdentityTimeline, index: int) -> str:
    for record in timeline.endorsements:
        endorsement = record.endorsement
        if record.links is not None and record.links[0] == index and endorsement is not None:
            return (
                f"endorses identity {record.links[1] + 1} in {record.txid}, for {endorsement.begin} to "
                f"{endorsement.end} and the root signed there, as this ledger has it; signature checked"
            )
    return f"no endorsement leads from this identity back to identity {index}"


def _endorsement_text(record: EndorsementRecord) -> str:
    endorsement = record.endorsement
    if endorsement is None:
        return record.told
    return f"{endorsement.endorsing[:16]} endorses {endorsement.endorsed[:16]}: {record.told}"


def _node_lines(node: NodeHistory) -> Iterator[str]:
    yield f"     {node.node_id}"
    yield from _entry("status", ", ".join(f"{status} ({txid})" for txid, status in node.statuses) or "no row")
    for record in node.certificates:
        yield from _entry(
            "renewed" if record.renews else "certificate", f"{_certificate_text(record)}, {_issuer(record)}"
        )


def _issuer(record: CertificateRecord) -> str:
    if record.issued_under is not None:
        return f"issued by service identity {record.issued_under + 1}"
    return "self-signed, as nodes of 1.x are" if record.self_signed else "issued by no identity known here"


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s after 1970"


# ---------------------------------------------------------------------------------------------------- JSON


def render_identity_json(timeline: IdentityTimeline) -> dict[str, object]:
    """The document ``tallystick.identity/1``."""
    verdict = timeline.audited.verdict.to_json()
    return {
        "schema": SCHEMA,
        **{name: verdict[name] for name in ("verdict", "anchor", "proven", "unsigned_tail", "counts")},
        "identities": [_identity_json(life) for life in timeline.identities],
        "endorsements": [_endorsement_json(record) for record in timeline.endorsements],
        "nodes": [_node_json(node) for node in timeline.nodes],
        "explanations": timeline.explanations,
        "findings": verdict["findings"],
        "not_checked": verdict["not_checked"],
    }


def _identity_json(life: IdentityHistory) -> dict[str, object]:
    identity = life.identity
    return {
        "service_key_sha256": identity.fingerprint,
        "first_txid": _text(identity.begin),
        "last_signed_txid": _text(identity.last_signature),
        "last_signed_root": identity.last_root,
        "signatures": identity.signatures,
        "trusted_by": life.trusted_by,
        "statuses": [{"txid": str(txid), "status": status} for txid, status in life.statuses],
        "certificates": [_certificate_json(record) for record in life.certificates],
        "opening": _opening_json(life),
    }


def _opening_json(life: IdentityHistory) -> dict[str, object] | None:
    if life.opening is None:
        return None
    verified = life.identity.opening
    return {
        "proposal_id": life.opening.proposal.proposal_id,
        "proposer_id": life.opening.proposal.proposer_id,
        "accepted_txid": str(life.opening.accepted),
        "signatures_hold": verified is not None,
        "problem": life.identity.opening_problem,
        "previous": verified.previous if verified is not None and verified.named else None,
        "next": verified.next if verified is not None and verified.named else None,
        "voters": list(verified.voters) if verified is not None else [],
        "plainly_for": verified.plain_yes if verified is not None else None,
        "active_members": verified.members if verified is not None else None,
        "links": opening_decides(life.identity),
    }


def _certificate_json(record: CertificateRecord) -> dict[str, object]:
    return {
        "txid": str(record.txid),
        "sha256": record.sha256,
        "not_before": record.not_before,
        "not_after": record.not_after,
        "renews": record.renews,
    }


def _endorsement_json(record: EndorsementRecord) -> dict[str, object]:
    endorsement = record.endorsement
    return {
        "txid": str(record.txid),
        "endorsing": endorsement.endorsing if endorsement else None,
        "endorsed": endorsement.endorsed if endorsement else None,
        "begin": _text(endorsement.begin) if endorsement else None,
        "end": _text(endorsement.end) if endorsement else None,
        "end_root": endorsement.end_root if endorsement else None,
        "signature_holds": endorsement is not None,
        "links": None if record.links is None else {"newer": record.links[0] + 1, "older": record.links[1] + 1},
        "told": record.told,
        "previous_version": record.previous_version,
    }


def _node_json(node: NodeHistory) -> dict[str, object]:
    return {
        "node_id": node.node_id,
        "statuses": [{"txid": str(txid), "status": status} for txid, status in node.statuses],
        "certificates": [
            {
                **_certificate_json(record),
                "issued_under": None if record.issued_under is None else record.issued_under + 1,
                "self_signed": record.self_signed,
            }
            for record in node.certificates
        ],
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
