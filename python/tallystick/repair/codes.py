"""Codes of what a node would do with a directory, and of refusals to write chunk files.

Codes of files and framing are those of ledgers (``audit/codes.py``): they mean the same here.
"""

from __future__ import annotations

import tallystick.audit.codes  # noqa: F401 -- registers the codes of ledgers, which are used here too
from tallystick.findings import CodeInfo, Effect, Severity, register

__all__ = ["CODES"]

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

_NODE = {
    "node-refuses-name": CodeInfo(
        _E,
        "a node that finds a file of this name does not start",
        "It takes what follows the first hyphen of every name for a seqno. Move the file out of the directory.",
    ),
    "node-cannot-read": CodeInfo(
        _E,
        "a node counts on a committed chunk that it then cannot read",
        "It takes the name for the fact, and stops at the first transaction in the file. Get the chunk from another "
        "copy.",
    ),
    "node-shadowed": CodeInfo(
        _E,
        "an uncommitted chunk hides transactions in other files from a node",
        "A node looks into its writable chunks first, and looks no further when one of them begins before the "
        "transaction it wants. Move the stale file out of the directory.",
    ),
    "node-loses": CodeInfo(
        _E,
        "transactions stand in files that a node does not use, and nowhere else",
        "They would be lost to it. Rename or move the file that the message names, after verifying it.",
    ),
    "node-order": CodeInfo(
        _W,
        "what a node does with a file depends on the order in which the system lists the directory",
        "It sets the chunk aside if it has seen a committed chunk that reaches as far, and writes to it otherwise. "
        "Move it out of the directory.",
    ),
    "node-sets-aside": CodeInfo(
        _W,
        "a node would rename a file to .ignored when it starts, and never read it again",
        "Nothing is deleted. Move the file away first if it is not the ledger's.",
    ),
    "node-download": CodeInfo(
        _W,
        "a partial download (.committed_prefix) stands in a ledger directory",
        "It is no file of a node. Newer nodes leave it alone, older ones would write to it. Move it away.",
    ),
    "node-needs-snapshot": CodeInfo(
        _W,
        "the first transaction is not here, so a node can start only from a snapshot",
        "Give the snapshot with --snapshot to learn what a node would do from there.",
        Effect.UNDECIDES,
    ),
    "node-replays": CodeInfo(
        _N,
        "committed chunks after the snapshot lose their mark",
        "A node that joins takes these transactions from its peers again, compares them byte for byte, and at the "
        "first difference cuts the file and deletes every later one.",
    ),
    "node-empty": CodeInfo(
        _W,
        "the directory holds no chunk that a node would use",
        "A node would start a new service here, or join one from nothing. Was another directory meant?",
        Effect.UNDECIDES,
    ),
}

_WRITING = {
    "output-exists": CodeInfo(_E, "a file that was to be written is there already", "Nothing is overwritten."),
    "output-in-source": CodeInfo(
        _E, "chunks were to be written beside their source", "A node would find the same transactions twice there."
    ),
    "output-differs": CodeInfo(
        _E, "what was written is not what was read", "The disk, or another program, is at fault. Nothing was kept."
    ),
    "not-a-signature": CodeInfo(
        _E,
        "a complete chunk was to end on a transaction that is not a signature",
        "No node writes such a chunk. Take a signature transaction, or allow it.",
    ),
    "chunks-not-contiguous": CodeInfo(
        _E, "chunks to be joined overlap, or leave a gap", "Give chunks each of which begins where another ends."
    ),
    "chunks-differ-in-marks": CodeInfo(
        _E, "some of the chunks to be joined are marked .recovery", "Whether the service did open is for you to say."
    ),
}

CODES = {**_NODE, **_WRITING}

register("directory", _NODE)
register("chunk writing", _WRITING)
