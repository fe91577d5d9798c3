"""The official split_ledger.py writes the same files, and takes ours for a ledger where a node would write such."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support import slow
from support.mutation import is_signature
from support.peer import ask
from support.run import tallystick
from tallystick.repair.cutting import split_chunk

SERVICES = ("acme_containing_service", "cose_flipflop_service", "eol_service", "expired_service", "sgx_service")


@pytest.mark.parametrize("service", SERVICES)
def test_same_files(service: str, ledgers: Path, peer_python: Path, tmp_path: Path) -> None:
    cuts = []
    for number, path in enumerate(slow.chunk_paths(ledgers / service / "ledger")):
        seqnos = [entry.seqno for entry in slow.read_chunk(path)]
        # First, middle and last transaction: signatures or not.
        for seqno in {seqnos[0], seqnos[len(seqnos) // 2], seqnos[-1]}:
            cuts.append((str(path), seqno, str(tmp_path / f"theirs-{number}-{seqno}")))
    (tmp_path / "cuts.json").write_text(json.dumps(cuts))
    answers = ask(peer_python, "split", tmp_path / "cuts.json")

    for (path, seqno, theirs), split_in_two in zip(cuts, answers, strict=True):
        ours = tmp_path / "ours"
        result = split_chunk(path, seqno, ours, allow_non_signature=True)
        assert len(result.parts) == 1 + split_in_two
        assert _contents(ours) == _contents(Path(theirs))
        shutil.rmtree(ours)


def _contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("at_signature", [True, False])
def test_both_verify_a_ledger_of_parts(
    service: str, at_signature: bool, ledgers: Path, peer_python: Path, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    shutil.copytree(ledgers / service / "ledger", ledger)
    ledger.chmod(0o755)
    count = 0
    for path in slow.chunk_paths(ledgers / service / "ledger"):
        entries = list(slow.read_chunk(path))[:-1]
        cuts = [entry.seqno for entry in entries if is_signature(entry) == at_signature]
        if path.name.endswith(".committed") and cuts:
            split_chunk(path, cuts[len(cuts) // 2], tmp_path / f"parts-{count}", allow_non_signature=not at_signature)
            (ledger / path.name).unlink()
            for part in (tmp_path / f"parts-{count}").iterdir():
                part.rename(ledger / part.name)
            count += 1

    before = ask(peer_python, "verify", ledgers / service / "ledger")
    after = ask(peer_python, "verify", ledger)
    options = ["--uncommitted", "--trust-genesis", "--format", "json"]
    ours = tallystick("verify", ledger, *options).json
    untouched = tallystick("verify", ledgers / service / "ledger", *options)

    assert count > 0 or (at_signature and service == "acme_containing_service")
    assert after["verdict"] == "verified"
    assert {**after, "seconds": 0} == {**before, "seconds": 0}
    assert (ours["verdict"], ours["proven"]) == (untouched.json["verdict"], untouched.json["proven"])
    found = {finding["code"] for finding in ours["findings"]}
    assert ("chunk-end-not-signature" in found) == (not at_signature)
