"""Governance of a service, replayed from its ledger: who decided what, and whether the rules were followed."""

from __future__ import annotations

__all__ = ["Budgets", "GovernanceReport", "Replayer", "replay_governance"]


def __getattr__(name: str) -> object:
    # Loaded when asked for: the parts below import the scripting engine's binding and the ledger reader.
    if name in __all__:
        from tallystick.governance import ledger, replay, report

        for module in (ledger, replay, report):
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
