"""One verdict, six renderings; the JSON one against its published schema."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.dom import minidom

import jsonschema
import pytest
from junitparser import JUnitXml

import tallystick.audit.codes  # noqa: F401 -- registers the codes
from support.browser import browser_tools
from tallystick.audit.verdict import IdentityReport, LedgerVerdict, ProvenRange, UnsignedTail
from tallystick.findings import Verdict, finding
from tallystick.report.html import render_html
from tallystick.report.json import render_json, render_jsonl
from tallystick.report.junit import render_junit
from tallystick.report.sarif import render_sarif
from tallystick.report.text import render_text
from tallystick.types import TxId

KEY = "ab" * 32
FINDINGS = (
    finding("file-ignored", "2 other files", file="ledger"),
    finding("copy-conflict", "differs", file="ledger/a b.committed", offset=8, txid="2.7"),
    finding("anchor-missing", "no trust anchor"),
)
FAILED = LedgerVerdict(
    verdict=Verdict.FAILED,
    level="full",
    anchor_kind="service-cert",
    anchor_keys=(KEY,),
    proven=ProvenRange(1, 5, TxId(2, 5)),
    unsigned_tail=UnsignedTail(10, 3),
    first_seqno=1,
    last_seqno=12,
    files=2,
    transactions=12,
    signatures=3,
    identities=(IdentityReport(KEY, TxId(2, 1), TxId(2, 9), "Open", 3, "pinned"),),
    findings=FINDINGS,
    not_checked=("dates of certificates",),
    paths=("ledger",),
)
VERIFIED = replace(FAILED, verdict=Verdict.VERIFIED, findings=(), unsigned_tail=None)
NOTHING = LedgerVerdict(Verdict.UNDECIDED, "merkle", "none", (), None, None, None, None, 0, 0, 0)


@pytest.fixture(scope="module")
def schema(repository: Path) -> dict[str, object]:
    return json.loads((repository / "docs" / "verdict.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("verdict", [FAILED, VERIFIED, NOTHING])
def test_json_follows_its_schema(verdict: LedgerVerdict, schema: dict[str, object]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)

    jsonschema.validate(json.loads(render_json(verdict)), schema)


def test_the_schema_is_strict(schema: dict[str, object]) -> None:
    document = json.loads(render_json(FAILED))
    for broken in (
        {**document, "more": 1},
        {**document, "verdict": "ok"},
        {**document, "proven": {"first_seqno": 1}},
        {name: value for name, value in document.items() if name != "findings"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)


def test_jsonl_has_a_line_a_finding_and_ends_with_the_verdict() -> None:
    lines = [json.loads(line) for line in render_jsonl(FAILED).splitlines()]

    assert [line["type"] for line in lines] == ["finding"] * 3 + ["verdict"]
    assert lines[1]["code"] == "copy-conflict"
    assert lines[-1]["verdict"] == "failed"
    assert "findings" not in lines[-1]


def test_text_says_the_verdict_first_and_fits_the_width() -> None:
    text = render_text(FAILED)

    assert text.splitlines()[0] == "FAILED: proven are only transactions 1 to 5 (2.5)"
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "ledger/a b.committed, offset 8" in text
    assert "last proven transaction before it: 2.5" in text
    assert "3 transactions from seqno 10 on, not proven" in text


@pytest.mark.parametrize(
    ("verdict", "line"),
    [
        (VERIFIED, "VERIFIED: transactions 1 to 5 (2.5) are proven"),
        (NOTHING, "UNDECIDED: nothing is proven"),
    ],
)
def test_first_line(verdict: LedgerVerdict, line: str) -> None:
    assert render_text(verdict).splitlines()[0] == line


def test_quiet_text_keeps_what_decided() -> None:
    text = render_text(FAILED, quiet=True)

    assert "copy-conflict" in text
    assert "anchor-missing" in text
    assert "file-ignored" not in text
    assert "Not checked" not in text


def test_sarif() -> None:
    (run,) = json.loads(render_sarif(FAILED))["runs"]

    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
    conflict = run["results"][1]
    assert conflict["level"] == "error"
    (location,) = conflict["locations"]
    assert location["physicalLocation"]["region"] == {"byteOffset": 8}
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "ledger/a%20b.committed"
    assert location["logicalLocations"][0]["name"] == "2.7"
    assert run["properties"]["verdict"] == "failed"


def test_junit(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(render_junit(FAILED), encoding="utf-8")

    report = JUnitXml.fromfile(str(path))

    assert (report.tests, report.failures, report.skipped) == (4, 2, 1)


def test_junit_survives_any_message() -> None:
    hostile = finding("copy-conflict", "<&\"' \x00\x1b[31m \ud800 ]]>", file="\x07<file>")

    document = minidom.parseString(render_junit(replace(FAILED, findings=(hostile,))))  # noqa: S318 -- our own

    assert len(document.getElementsByTagName("failure")) == 2


def test_junit_of_a_verified_ledger_has_no_failure() -> None:
    assert 'failures="0"' in render_junit(VERIFIED)


def test_sarif_follows_its_schema() -> None:
    schema = json.loads(
        browser_tools("@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8")
    )
    hostile = finding("copy-conflict", "<&\"' \x00\x1b[31m ]]>", file="a\x07 ü#?<file>", offset=2**62, txid="2.7")
    for verdict in (FAILED, VERIFIED, NOTHING, replace(FAILED, findings=(hostile,))):
        jsonschema.Draft7Validator(schema).validate(json.loads(render_sarif(verdict)))

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate({**json.loads(render_sarif(FAILED)), "version": "2.0.0"})


REFERENCE = re.compile(r"""(?:src|href|action|data|srcset|poster|background)\s*=\s*["']?([^"'\s>]+)|url\(([^)]*)\)""")


def test_html_refers_to_nothing_and_runs_nothing() -> None:
    page = render_html(FAILED)

    assert {one or other for one, other in REFERENCE.findall(page)} <= {"data:,", "#hatch"}
    assert "<script" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_html_escapes_what_strangers_wrote() -> None:
    evil = "<script>alert(1)</script>\u202e\x1b[31m\"'&"
    verdict = replace(
        FAILED, findings=(finding("copy-conflict", evil, file=evil, txid=evil),), paths=(evil,), not_checked=(evil,)
    )

    page = render_html(verdict)

    assert "<script" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e\\x1b[31m&quot;&#x27;&amp;" in page


@pytest.mark.parametrize(
    ("verdict", "texts"),
    [
        (FAILED, ["FAILED", "Proven are only transactions 1 to 5 (2.5).", "Because: differs at 2.7.", "seqno 10 on"]),
        (VERIFIED, ["VERIFIED", "Transactions 1 to 5 (2.5) are proven.", "<p>None.</p>"]),
        (NOTHING, ["UNDECIDED", "Nothing is proven.", "<p>Nothing.</p>"]),
    ],
)
def test_html_says_the_verdict_first(verdict: LedgerVerdict, texts: list[str]) -> None:
    page = render_html(verdict)

    assert page.index("<h1>") < page.index(texts[0], page.index("<h1>")) < page.index("<h2")
    for text in texts:
        assert text in page


def test_html_is_well_formed_and_the_same_each_time() -> None:
    document = render_html(FAILED).replace("<!doctype html>", "")
    for void in ("meta", "link"):
        document = re.sub(rf"<{void}([^>]*)>", rf"<{void}\1/>", document)

    parsed = minidom.parseString(document.replace("<br>", "<br/>"))  # noqa: S318 -- our own

    assert parsed.documentElement.getAttribute("lang") == "en"
    assert render_html(FAILED) == render_html(FAILED)
