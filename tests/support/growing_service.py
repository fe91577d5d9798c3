"""A service that grows, a node that serves its ledger, and where downloads go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from support.node_server import NodeServer
from support.run import Outcome, tallystick
from support.services import write_some
from tallystick.demo.service import DemoService


@dataclass
class Scene:
    """A running service and its node."""

    service: DemoService
    node: NodeServer
    target: Path
    pins: list[Path]

    def grow(self, chunks: int = 1) -> None:
        """Writes and completes chunks."""
        for _ in range(chunks):
            write_some(self.service)
            self.service.sign(close_chunk=True)

    def recover(self) -> None:
        """A disaster recovery; its certificate is pinned from then on only where a test says so."""
        self.service.recover()
        self.pins.append(self.pin_now())

    def pin_now(self) -> Path:
        path = self.target.parent / f"service-{len(self.pins)}.pem"
        path.write_text(self.service.service.certificate, encoding="ascii")
        return path

    def fetch(self, *options: str | Path, pin: int = 0, url: str | None = None) -> Outcome:
        return tallystick("fetch", url or self.node.url, "-o", self.target, "--service-cert", self.pins[pin], *options)

    def names(self, folder: str = ".") -> list[str]:
        return sorted(path.name for path in (self.target / folder).iterdir() if path.is_file())

    def served(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.node.directory.glob("*.committed")}

    def fetched(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.target.glob("*.committed")}
