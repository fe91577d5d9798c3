"""JUnit XML, for continuous integration: a case for the verdict, and one for each finding."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

from tallystick.audit.verdict import LedgerVerdict
from tallystick.findings import Effect, Finding, Verdict

__all__ = ["render_junit"]

# What XML 1.0 cannot hold at all, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(verdict: LedgerVerdict) -> str:
    """A test suite: failing findings are failures, undeciding ones are skipped cases, the rest pass."""
    cases = [_verdict_case(verdict), *(_case(item) for item in verdict.findings)]
    failures = sum("<failure " in case for case in cases)
    skipped = sum("<skipped " in case for case in cases)
    counts = f'tests="{len(cases)}" failures="{failures}" errors="0" skipped="{skipped}"'
    name = _attribute("tallystick verify " + " ".join(verdict.paths))
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f"<testsuites {counts}>",
            f"  <testsuite name={name} {counts}>",
            *cases,
            "  </testsuite>",
            "</testsuites>",
            "",
        ]
    )


def _verdict_case(verdict: LedgerVerdict) -> str:
    deciding = verdict.deciding
    message = deciding.message if deciding is not None else "nothing is proven"
    head = '    <testcase classname="tallystick.verify" name="verdict"'
    if verdict.verdict is Verdict.VERIFIED:
        return f"{head}/>"
    element = "failure" if verdict.verdict is Verdict.FAILED else "skipped"
    return f"{head}><{element} message={_attribute(message)}/></testcase>"


def _case(item: Finding) -> str:
    place = item.txid or item.file or "ledger"
    head = f'    <testcase classname="tallystick.verify.{item.code}" name={_attribute(place)}'
    text = f"{item.file or ''} {'' if item.offset is None else item.offset}".strip()
    if item.verdict_effect is Effect.FAILS:
        return (
            f"{head}><failure type={_attribute(item.code)} message={_attribute(item.message)}>"
            f"{escape(_clean(text))}</failure></testcase>"
        )
    if item.verdict_effect is Effect.UNDECIDES:
        return f"{head}><skipped message={_attribute(item.message)}/></testcase>"
    return f"{head}><system-out>{escape(_clean(item.message))}</system-out></testcase>"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("�", text)


def _attribute(text: str) -> str:
    return quoteattr(_clean(text))
