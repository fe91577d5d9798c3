"""Compares what an accepted proposal's ``apply()`` wrote when it was run again with what the ledger recorded.

Values must be equal byte for byte. Where the service put in something that only it could make, replay wrote a
placeholder: the recorded text in its place is taken out and checked for itself (``effects.py``). What neither
``apply()`` nor an effect of its explains must not be in the transaction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tallystick._native import GOVERNANCE_PLACEHOLDER, GovernanceTables
from tallystick.errors import FormatError
from tallystick.governance.effects import TABLES_OF_EFFECT, EffectCheck, check_certificate, check_effects
from tallystick.governance.state import Step, Writes
from tallystick.tables.names import ENDORSED_CERTIFICATES

__all__ = ["ApplicationCheck", "check_application"]

_PLACEHOLDER = re.compile(GOVERNANCE_PLACEHOLDER.encode())


@dataclass
class ApplicationCheck:
    """Result of the comparison.

    Attributes:
        equal: writes that are equal byte for byte.
        made: writes that the service made, or filled in.
        differences: what is not as replayed, in words.
        unexplained: what nothing explains, in words.
        effects: about what the service made.
    """

    equal: int = 0
    made: int = 0
    differences: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    effects: EffectCheck = field(default_factory=EffectCheck)


def check_application(
    replayed: Writes,
    effects: list[tuple[str, str]],
    step: Step,
    *,
    bookkeeping: Mapping[str, set[bytes]],
    before: GovernanceTables,
) -> ApplicationCheck:
    """Compares the writes of ``apply()`` and its effects with the transaction that recorded them.

    Args:
        replayed: what ``apply()`` wrote.
        effects: what it asked of the service: function and JSON array of arguments.
        step: the transaction.
        bookkeeping: writes that the service makes for every proposal, by table and key.
        before: tables before the transaction.
    """
    check = ApplicationCheck()
    after = before.copy()
    after.update(step.seqno, {name: dict(writes) for name, writes in step.tables.items()})
    check.effects = check_effects(effects, step, before, after)
    by_effects = {table for function, _ in effects for table in TABLES_OF_EFFECT.get(function, frozenset())}
    for table, writes in replayed.items():
        for key, value in writes.items():
            _compare(check, table, key, value, effects, step, by_effects, before)
    for table, recorded in step.tables.items():
        for key in recorded:
            if key in bookkeeping.get(table, ()) or key in replayed.get(table, {}):
                continue
            if table in by_effects:
                check.made += 1
            else:
                check.unexplained.append(_named(table, key))
    return check


def _named(table: str, key: bytes) -> str:
    text = key.decode("ascii", "replace") if key.isascii() and key.strip(b"\0") else "0x" + key.hex()
    return f"{table}[{text[:80]}]"


def _compare(
    check: ApplicationCheck,
    table: str,
    key: bytes,
    value: bytes | None,
    effects: list[tuple[str, str]],
    step: Step,
    by_effects: set[str],
    before: GovernanceTables,
) -> None:
    recorded = step.writes(table)
    if key not in recorded:
        # CCF 1.x does not record the remove of a key that is not there.
        if value is None and before.get(table, key) is None:
            check.equal += 1
        elif table in by_effects and value is None:
            check.made += 1
        else:
            check.differences.append(f"{_named(table, key)} was not written")
        return
    got = recorded[key]
    if got == value:
        check.equal += 1
    elif table in by_effects:
        check.made += 1
    elif got is None or value is None:
        check.differences.append(
            f"{_named(table, key)}: expected {'a remove' if value is None else 'a value'}, "
            f"got {'a remove' if got is None else 'a value'}"
        )
    elif _PLACEHOLDER.search(value) is not None and _fill(check, table, key, value, got, effects, before):
        check.made += 1
    else:
        check.differences.append(f"{_named(table, key)}: expected {_short(value)}, got {_short(got)}")


def _short(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return repr(text if len(text) <= 120 else text[:117] + "…")


def _fill(
    check: ApplicationCheck,
    table: str,
    key: bytes,
    value: bytes,
    got: bytes,
    effects: list[tuple[str, str]],
    before: GovernanceTables,
) -> bool:
    """Takes what stands in place of placeholders out of the recorded value, and checks it."""
    parts = _PLACEHOLDER.split(value)
    # Texts and effect numbers alternate. What stands inside JSON is escaped as JSON.
    pattern, numbers = re.escape(parts[0]), []
    for number, text in zip(parts[1::2], parts[2::2], strict=True):
        numbers.append(int(number))
        pattern += rb"((?:[^\"\\]|\\.)*?)" + re.escape(text) if text else rb"(.*)" + re.escape(text)
    match = re.fullmatch(pattern, got, re.DOTALL)
    if match is None:
        return False
    for number, found in zip(numbers, match.groups(), strict=True):
        if number >= len(effects):
            return False
        function, arguments = effects[number]
        text = found.decode("utf-8", "replace")
        try:
            pem = text if b"\n" in found else str(json.loads(f'"{text}"'))
            check_certificate(
                check.effects,
                function,
                json.loads(arguments),
                pem,
                node_id=key.decode("ascii", "replace") if table == ENDORSED_CERTIFICATES else None,
                before=before,
            )
        except (FormatError, ValueError) as error:
            check.effects.wrong(f"{_named(table, key)} holds no certificate: {error}")
    return True
