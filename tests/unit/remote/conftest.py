"""A service that grows, a node that serves its ledger, and where downloads go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.growing_service import Scene
from support.node_server import NodeServer
from support.services import new_service
from tallystick.remote import node_client


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(node_client, "_BACKOFF_SECONDS", 0.001)
    service = new_service(tmp_path / "node", "6.x")
    service.genesis()
    service.open()
    made = Scene(service, NodeServer(tmp_path / "node"), tmp_path / "copy", [])
    made.pins.append(made.pin_now())
    made.grow(2)
    with made.node.running():
        yield made
