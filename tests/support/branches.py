"""Services with two histories: branches that go on from one ledger with the same keys, or with others."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from support.mutation import LedgerCopy
from support.services import new_service, outsider, write_some
from tallystick.demo.service import DemoService
from tallystick.demo.styles import Style


@dataclass
class Branches:
    """Two services that share a history up to a signature.

    Attributes:
        trunk: seqno of the last transaction that both have.
    """

    first: DemoService
    second: DemoService
    trunk: int


def trunk(directory: Path, style: str | Style = "6.x", *, transactions: int = 3) -> DemoService:
    """A service with a few signed writes, its last chunk complete."""
    service = new_service(directory, style)
    service.genesis()
    service.open()
    write_some(service, transactions)
    service.sign(close_chunk=True)
    return service


def branch(service: DemoService, directory: Path) -> DemoService:
    """The same service, key for key, that goes on from its last signature in another directory."""
    service.leave_chunk_open()
    shutil.copytree(service.directory, directory)
    scratch = directory.parent / f"{directory.name}-scratch"
    other = outsider(LedgerCopy(service.directory, directory.parent / f"{directory.name}-read"), scratch, service.style)
    other.service, other.node, other.members = service.service, service.node, service.members
    other.identities = list(service.identities)
    other.shares, other.secret = service.shares, service.secret
    other.writer.use_ledger_secret(service.secret)
    other.directory = other.writer.directory = directory
    return other


def two_branches(directory: Path, style: str | Style = "6.x", *, elect: bool = False) -> Branches:
    """Two branches with one service key; ``elect``: the second goes on in a later view."""
    first = trunk(directory / "a", style)
    shared = first.seqno
    second = branch(first, directory / "b")
    if elect:
        second.elect()
    for number, service in enumerate((first, second)):
        for _ in range(2):
            service.append({"public:records": {b"balance": b"%d coins" % (100 - number)}})
        write_some(service, 2)
        service.sign(close_chunk=True)
    return Branches(first, second, shared)
