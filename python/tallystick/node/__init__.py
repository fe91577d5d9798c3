"""A node that speaks CCF: configuration, keys, genesis, governance and HTTP over the native data plane."""

from __future__ import annotations
