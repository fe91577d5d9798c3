"""Scripts from a ledger get no further than their budget, and reach nothing but the tables they may read."""

from __future__ import annotations

import time

import pytest

from tallystick._native import GovernanceOutcome, GovernanceReplayer, GovernanceTables, ScriptFailure

RULES = """
export function validate(text) { return { valid: true, description: "" }; }
export function resolve(text, proposer, votes) { return votes.some((v) => v.vote) ? "Accepted" : "Open"; }
export function apply(text, id) {
  const table = ccf.kv["public:ccf.gov.rows"];
  table.set(ccf.strToBuf("key"), ccf.jsonCompatibleToBuf({ id, size: table.size }));
}
"""
MEMBER = "ab" * 32


def _run(
    ballot: str = "export const vote = () => true",
    *,
    rules: str = RULES,
    tables: GovernanceTables | None = None,
    apply: bool = False,
    max_time_ms: int = 100,
    max_heap_bytes: int = 16 << 20,
) -> GovernanceOutcome:
    replayer = GovernanceReplayer(jobs=1, max_time_ms=max_time_ms, max_heap_bytes=max_heap_bytes)
    replayer.submit(
        tables or GovernanceTables(),
        constitution=rules,
        proposal_id="id",
        proposal=b"{}",
        proposer_id=MEMBER,
        ballots={MEMBER: ballot},
        before_resolve={},
        before_apply={},
        validate=True,
        apply=apply,
        ledger_secret_seqno=7,
    )
    (outcome,) = replayer.finish()
    return outcome


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("for (;;);", "timed-out", "budget"),
        ("while (true) { try { for (;;); } catch (e) {} }", "timed-out", "budget"),
        ("/(a+)+$/.test('a'.repeat(64) + 'b');", "timed-out", "budget"),
        ("new Promise((r) => r()).then(() => 1); for (;;);", "timed-out", "budget"),
        ("const all = []; for (;;) all.push(new ArrayBuffer(1 << 16));", "exception", "memory"),
        ("let text = 'x'; for (;;) text += text;", "exception", ""),
        ("vote();", "exception", "stack"),
        ("JSON.parse('['.repeat(1e6));", "exception", ""),
        ("throw new RangeError('no');", "exception", "RangeError: no"),
        ("throw null;", "exception", "null"),
        ("import('fs');", "", ""),
        ("std.exit(1);", "exception", "std"),
        ("require('os');", "exception", "require"),
        ("fetch('http://example.org');", "exception", "fetch"),
        ("performance.now();", "exception", "performance"),
        ("ccf.node.triggerLedgerRekey();", "exception", "undefined"),
        ("ccf.kv['public:ccf.gov.rows'].set(ccf.strToBuf('a'), ccf.strToBuf('b'));", "exception", "read-only"),
        ("ccf.kv['secret'].get(ccf.strToBuf('a'));", "exception", "inaccessible"),
        ("ccf.kv['public:ccf.gov.rows'].get('a');", "exception", "ArrayBuffer"),
    ],
)
def test_a_ballot_gets_no_further(body: str, kind: str, said: str) -> None:
    begin = time.monotonic()
    outcome = _run(f"export function vote () {{ {body} return true; }}")

    assert time.monotonic() - begin < 20
    if not kind:
        assert outcome.votes == {MEMBER: True}
        return
    failure = outcome.vote_failures[MEMBER]
    assert failure.kind == kind
    assert said in failure.message
    assert outcome.resolution == "Open"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("yes", "evaluate"),
        ("export function (", "compile"),
        ("import { x } from 'y'; export const vote = () => true", "compile"),
        ("export const other = () => true", "export"),
        ("export const vote = 1", "export"),
        ("throw 1; export const vote = () => true", "evaluate"),
        ("await new Promise(() => 1); export const vote = () => true", "evaluate"),
        ("", "export"),
        ("export const vote = \0", "compile"),
    ],
)
def test_a_ballot_that_is_no_program(text: str, kind: str) -> None:
    assert _run(text).vote_failures[MEMBER].kind == kind


@pytest.mark.parametrize("value", ["1", "'no'", "[]", "new Promise(() => 1)", "() => false"])
def test_a_vote_is_what_javascript_takes_for_true(value: str) -> None:
    assert _run(f"export const vote = () => ({value})").votes == {MEMBER: True}


@pytest.mark.parametrize("value", ["0", "''", "null", "undefined", "NaN", "0n"])
def test_a_vote_is_what_javascript_takes_for_false(value: str) -> None:
    assert _run(f"export const vote = () => ({value})").votes == {MEMBER: False}


def test_one_ballot_cannot_reach_the_next_call() -> None:
    poison = """export function vote () {
      Array.prototype.some = () => false;
      globalThis.ccf = undefined;
      Object.prototype.toJSON = () => 'poisoned';
      return true;
    }"""
    outcome = _run(poison, apply=True)

    assert outcome.resolution == "Accepted"
    assert outcome.writes == {"public:ccf.gov.rows": {b"key": b'{"id":"id","size":0}'}}


def test_a_constitution_that_does_not_compile() -> None:
    outcome = _run(rules="export function resolve(")

    assert isinstance(outcome.validation, ScriptFailure)
    assert isinstance(outcome.resolution, ScriptFailure)
    assert outcome.resolution.kind == "compile"


def test_tables_are_those_of_the_submission() -> None:
    tables = GovernanceTables()
    tables.update(1, {"public:ccf.gov.rows": {b"a": b"1"}})
    looking = "export const vote = () => ccf.kv['public:ccf.gov.rows'].has(ccf.strToBuf('a'))"
    replayer = GovernanceReplayer(jobs=1)
    arguments = {
        "constitution": RULES,
        "proposal_id": "id",
        "proposal": b"{}",
        "proposer_id": MEMBER,
        "ballots": {MEMBER: looking},
        "before_resolve": {},
        "before_apply": {},
        "validate": False,
        "apply": False,
        "ledger_secret_seqno": 1,
    }
    replayer.submit(tables, **arguments)
    tables.update(2, {"public:ccf.gov.rows": {b"a": None}})
    replayer.submit(tables, **arguments)

    assert [outcome.votes[MEMBER] for outcome in replayer.finish()] == [True, False]


def test_a_copy_of_tables_stays() -> None:
    tables = GovernanceTables()
    tables.update(3, {"t": {b"a": b"1", b"b": b"2"}})
    kept = tables.copy()
    tables.update(4, {"t": {b"a": None}, "u": {}})

    assert kept.items("t") == [(b"a", b"1"), (b"b", b"2")]
    assert (tables.get("t", b"a"), tables.version("t", b"b"), tables.size("t"), tables.names()) == (
        None,
        3,
        1,
        ["t", "u"],
    )
    assert (tables.version("t", b"a"), tables.items("none"), tables.size("none")) == (None, [], 0)
