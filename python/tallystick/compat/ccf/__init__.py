"""The names of the official ``ccf`` package (7.0), over this engine.

A script written for it runs by changing its import::

    from tallystick.compat import ccf                # instead of: import ccf.ledger
    import tallystick.compat.ccf.ledger as ledger    # instead of: import ccf.ledger as ledger

What the names do is what the official package documents; the code is this package's own. Where the official one
accepts what no service writes, this one raises: see ``docs/compat.md``.

Like the official package, none of this knows which service is the right one. Scripts that can say so should call
:func:`tallystick.verify_ledger` and :func:`tallystick.verify_receipt` with a trust anchor.
"""

from __future__ import annotations

import importlib

__all__ = ["cose", "ledger", "merkletree", "receipt", "signatures", "tx_id"]


def __getattr__(name: str) -> object:
    # Modules come when they are used: `import ccf.ledger` made them attributes of the package, too.
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
