"""Where the official package answers wrongly on a spoilt ledger, as the mutation table says; so it stays true."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutations.ledger_table import MUTATIONS, Mutation, Spoilt
from support.peer import ask
from support.services import base, new_service, write_some
from tallystick.demo.styles import STYLES

WRONG = [m for m in MUTATIONS if m.official in ("accepts", "rejects")]


@pytest.mark.parametrize("mutation", WRONG, ids=lambda m: m.number)
def test_official_verdict(mutation: Mutation, peer_python: Path, tmp_path: Path) -> None:
    spoilt = Spoilt(base("6.x").copy(tmp_path / "ledger"), tmp_path / "scratch")
    mutation.spoil(spoilt)

    answer = ask(peer_python, "verify", *(spoilt.paths or [spoilt.copy.directory]))

    assert answer["verdict"] == ("verified" if mutation.official == "accepts" else "failed")


def test_official_verdict_on_a_ledger_through_every_style(peer_python: Path, tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger", "1.x")
    service.genesis()
    service.open()
    for style in ("2.x", "4.x", "6.x", "7.x"):
        service.style = STYLES[style]
        service.recover()
        write_some(service, 2)
        service.sign()
    service.leave_chunk_open()

    answer = ask(peer_python, "verify", service.directory)

    assert answer["verdict"] == "verified", answer
    assert answer["transactions"] == service.seqno
