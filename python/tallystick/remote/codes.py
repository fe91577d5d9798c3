"""Codes of what stops a download, a read over the network, or a scan elsewhere."""

from __future__ import annotations

from tallystick.findings import CodeInfo, Effect, Severity, register

_E, _W = Severity.ERROR, Severity.WARNING
_UNDECIDES = Effect.UNDECIDES

CODES: dict[str, CodeInfo] = {
    "offline": CodeInfo(
        _E,
        "the network is forbidden, and something needs it",
        "Copy the files here first, or leave --offline and TALLYSTICK_OFFLINE out. It is a usage error.",
    ),
    "extra-missing": CodeInfo(
        _E,
        "a package that is needed for this kind of source or engine is not installed",
        "Install the extra that the hint names. It is a usage error.",
    ),
    "engine-failed": CodeInfo(
        _W,
        "a cluster could not scan the ledger",
        "Look at the cluster's own logs; all workers must run the same version. Nothing is said about the ledger.",
        _UNDECIDES,
    ),
    "download-failed": CodeInfo(
        _W,
        "a node could not be reached, or did not answer as a node does",
        "Run the command again: it goes on where it stopped.",
        _UNDECIDES,
    ),
    "download-tls": CodeInfo(
        _W,
        "the server's TLS certificate is not one of the service's",
        "After a recovery a service has a new certificate: get it from the operator, and give it with --tls-ca.",
        _UNDECIDES,
    ),
    "download-redirects": CodeInfo(
        _W,
        "redirects lead in a circle, to too many places, or away from TLS",
        "Name another node of the service.",
        _UNDECIDES,
    ),
    "download-range": CodeInfo(
        _W,
        "a server sent other bytes of a file than those that were asked for",
        "Name another node; a proxy in between may be at fault.",
        _UNDECIDES,
    ),
    "download-digest": CodeInfo(
        _W,
        "a file does not have the digest that its server announced",
        "It was damaged on the way, or changed on the node. Run the command again, or name another node.",
        _UNDECIDES,
    ),
    "download-name": CodeInfo(
        _W,
        "a node sent a file whose name is not that of what was asked for",
        "Name another node.",
        _UNDECIDES,
    ),
    "download-too-large": CodeInfo(
        _W,
        "a file is larger than any of its kind can be",
        "Nothing of it was used.",
        _UNDECIDES,
    ),
    "node-has-nothing": CodeInfo(
        _W,
        "a node serves no committed chunk with the transaction that was asked for",
        "Nodes that joined from a snapshot lack older chunks: name another node, or start later with --from. "
        "Nodes serve chunks only where the operator enabled the feature LedgerChunkRead on the interface.",
        _UNDECIDES,
    ),
    "state-busy": CodeInfo(
        _E,
        "another process works on the same directory",
        "Wait for it, or use another directory.",
    ),
    "follow-state": CodeInfo(
        _E,
        "the state of a follower is malformed, or is about something else",
        "Use the state with the source, anchor and output that it was made for, or start with an empty one.",
    ),
    "follow-diverged": CodeInfo(
        _W,
        "what a follower was about to report is not what was verified",
        "The source changed while it was read, time and again. Nothing unverified was reported.",
        _UNDECIDES,
    ),
}

register("download", CODES)
