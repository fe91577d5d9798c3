"""Running the constitution and ballots over an open transaction, and what came of it in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tallystick._native import NodeGovernance, ScriptFailure
from tallystick.errors import TallystickError
from tallystick.node import tables
from tallystick.node.governance.errors import GOVERNANCE_TAG
from tallystick.node.http.context import Context
from tallystick.node.log import Level

__all__ = ["Failure", "Scripts", "failure_of"]

JS_RUNTIME_OPTIONS = "public:ccf.gov.js_runtime_options"

# Heap bytes, stack bytes, milliseconds. Options may raise what governance gets, never lower it: members who make
# an application's limits tight must not lock themselves out.
_DEFAULT_LIMITS = (100 << 20, 1 << 20, 5000)
_OPTIONS = ("max_heap_bytes", "max_stack_bytes", "max_execution_time_ms")

# Options come from members; these bound what a slip of a digit can cost the process.
_MOST = (16 << 30, 256 << 20, 3_600_000)

_LEVELS = {"warn": Level.FAIL, "error": Level.FATAL, "debug": Level.DEBUG, "trace": Level.TRACE}

# Privileged functions that take buffers; the rest takes text, numbers and objects.
_BUFFERS = frozenset({"transitionServiceToOpen"})


@dataclass(frozen=True)
class Failure:
    """Why a script gave nothing, as the ledger and clients see it.

    Attributes:
        reason: the exception as text.
        trace: where it was thrown; None if it was no ``Error``.
    """

    reason: str
    trace: str | None = None

    def record(self) -> dict[str, str]:
        """The JSON object of it."""
        return {"reason": self.reason} | ({} if self.trace is None else {"trace": self.trace})

    def __str__(self) -> str:
        return f"{self.reason}\nTrace: {'N/A' if self.trace is None else self.trace}"


def failure_of(failed: ScriptFailure, prefix: str = "") -> Failure:
    """A script's failure, after ``prefix``."""
    reason = "Operation took too long to complete." if failed.kind == "timed-out" else failed.message
    return Failure(prefix + reason, failed.trace)


class Scripts:
    """Runs scripts for requests. Safe to use from several threads."""

    def __init__(self) -> None:
        self._native = NodeGovernance()

    def validate(self, context: Context, constitution: str, proposal: str) -> tuple[bool, str] | ScriptFailure | None:
        """Whether the constitution finds the proposal valid, and what it says; None: it returned no object."""
        return self._native.validate(context.tx, constitution, proposal, **_setting(context))

    def vote(self, context: Context, ballot: str, proposal: str, proposer: str, name: str) -> bool | ScriptFailure:
        """What a ballot says; ``name`` is what traces call it."""
        return self._native.vote(context.tx, ballot, proposal, proposer, name=name, **_setting(context))

    def resolve(
        self,
        context: Context,
        constitution: str,
        proposal: str,
        proposer: str,
        votes: dict[str, bool],
        proposal_id: str,
    ) -> str | ScriptFailure:
        """What the constitution makes of the votes."""
        setting = _setting(context)
        return self._native.resolve(context.tx, constitution, proposal, proposer, votes, proposal_id, **setting)

    def apply(self, context: Context, constitution: str, proposal: str, proposal_id: str) -> ScriptFailure | None:
        """Does what an accepted proposal says; its writes go into the transaction."""

        def effect(name: str, arguments: str) -> Any:
            return _privileged(context, name, json.loads(arguments))

        setting = _setting(context)
        return self._native.apply(context.tx, constitution, proposal, proposal_id, effect=effect, **setting)


def _privileged(context: Context, name: str, arguments: list[Any]) -> Any:
    if name in _BUFFERS:
        arguments = [value.encode() if isinstance(value, str) else value for value in arguments]
    try:
        return context.node.effects.call(context.tx, name, arguments, context.commit)
    except TallystickError as error:
        # Only the message is for the script.
        context.node.log.fail(error.message, GOVERNANCE_TAG)
        raise


def _setting(context: Context) -> dict[str, Any]:
    log = context.node.log

    def console(method: str, line: str) -> None:
        log.write(_LEVELS.get(method, Level.INFO), line, GOVERNANCE_TAG, place="constitution:0")

    return {"limits": _limits(context), "console": console}


def _limits(context: Context) -> tuple[int, int, int]:
    options = tables.get_json(context.tx, JS_RUNTIME_OPTIONS)
    chosen = []
    for name, least, most in zip(_OPTIONS, _DEFAULT_LIMITS, _MOST, strict=True):
        value = options.get(name) if isinstance(options, dict) else None
        chosen.append(min(max(value, least), most) if isinstance(value, int) else least)
    heap, stack, milliseconds = chosen
    return heap, stack, milliseconds
