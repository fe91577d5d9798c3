"""The same script on the official package and on our names: what it prints is the same, byte for byte."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import slow
from support.mutation import SIGNATURES, LedgerCopy, is_signature
from support.services import STYLES, base, new_service, recovered_base, write_some
from tallystick.demo.snapshots import take_snapshot

SCRIPT = Path(__file__).resolve().parents[1] / "support" / "compat_script.py"
SERVICES = (
    "acme_containing_service", "cose_flipflop_service", "double_sealed_service", "eol_service", "expired_service",
    "sgx_service",
)  # fmt: skip


def run(python: Path | str, package: str, question: str, arguments: Sequence[str | Path]) -> str:
    done = subprocess.run(
        [python, SCRIPT, package, question, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def same(peer_python: Path, question: str, *arguments: str | Path) -> str:
    ours = run(sys.executable, "ours", question, arguments)
    assert ours == run(peer_python, "official", question, arguments)
    return ours


def test_values(peer_python: Path) -> None:
    same(peer_python, "values")


@pytest.mark.parametrize("question", ["ledger", "signatures"])
@pytest.mark.parametrize("service", SERVICES)
def test_real_ledgers(service: str, question: str, ledgers: Path, peer_python: Path) -> None:
    printed = same(peer_python, question, ledgers / service / "ledger")
    assert printed.startswith("NONE ") or question == "signatures"


@pytest.mark.parametrize(
    "directories",
    [
        ["js1/ledger"],
        ["cpp3/state-final/node8/ledger-committed", "cpp3/state-final/node8/ledger-current"],
        ["cpp3/state-before-dr1/node3/ledger-committed", "cpp3/state-before-dr1/node3/ledger-current"],
    ],
    ids=["js1", "cpp3", "cpp3-before"],
)
def test_ledgers_of_built_services(directories: list[str], ccf_built: Path, peer_python: Path) -> None:
    paths = [ccf_built / name for name in directories]
    printed = same(peer_python, "ledger", *paths)
    assert printed.splitlines()[4].startswith("FULL ")
    same(peer_python, "signatures", *paths)


@pytest.mark.parametrize("style", STYLES)
def test_forged_ledgers(style: str, peer_python: Path) -> None:
    same(peer_python, "ledger", recovered_base(style).directory)


def test_snapshots(shared_data: Path, peer_python: Path) -> None:
    paths = [path for path in sorted(shared_data.rglob("snapshot_*")) if path.is_file()]
    assert len(paths) > 30
    printed = same(peer_python, "snapshots", *paths)
    assert "invalid" not in printed


def test_spoilt_snapshots(peer_python: Path, tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger", "6.x")
    service.genesis()
    service.open()
    write_some(service)
    service.sign()
    pending = take_snapshot(service)
    service.sign()
    good = pending.commit(tmp_path / "snapshots")
    data = good.read_bytes()
    paths = [good]
    chance = random.Random(1)
    for number in range(20):
        path = tmp_path / f"snapshot_{number}_99.committed"
        offset = chance.randrange(len(data) - 2)
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        paths.append(path)

    ours = run(sys.executable, "ours", "snapshots", paths).splitlines()
    assert "invalid" not in ours[0]
    assert all(line.endswith("invalid") for line in ours[1:])


def test_receipts(ccf_built: Path, peer_python: Path) -> None:
    services = [*sorted(ccf_built.glob("cpp3/service-cert-[123].pem")), ccf_built / "js1/common/service_cert.pem"]
    assert len(services) == 4
    files = [
        path
        for folder in ("js1", "cpp3")
        for path in sorted((ccf_built / folder / "receipts").rglob("*"))
        if path.suffix in (".json", ".cose") and path.name != "verdicts.json"
    ]
    printed = same(peer_python, "receipts", ":".join(map(str, services)), *files)
    assert printed.count("ccf.v1") > 50


def test_requests(ccf_built: Path, peer_python: Path) -> None:
    common = ccf_built / "js1" / "common"
    ours = run(sys.executable, "ours", "requests", [common / "member0_privk.pem", common / "member0_cert.pem"])
    theirs = run(peer_python, "official", "requests", [common / "member0_privk.pem", common / "member0_cert.pem"])
    assert ours == theirs


# ------------------------------------------------------------------------------------------ spoilt ledgers


def _flip_signature(copy: LedgerCopy, table: str) -> None:
    place = copy.find(lambda entry: table in entry.tables and entry.seqno > 10)
    value = place.entry.tables[table][bytes(8)] or b""
    marker = value.index(b'"sig":"') + 40 if table == SIGNATURES else len(value) - 40
    at = place.entry.offset + place.entry.raw.index(value) + marker
    # Another base64 digit, so that it is the signature that is wrong and not its encoding.
    data = bytearray(place.path.read_bytes())
    data[at] = ord("B") if data[at] != ord("B") else ord("C")
    place.path.write_bytes(data)


def _flip_transaction(copy: LedgerCopy) -> None:
    place = copy.find(lambda entry: "public:records" in entry.tables)
    copy.flip_in(place, b"public value")


def test_the_same_exceptions(peer_python: Path, tmp_path: Path) -> None:
    spoils = {
        "InvalidRootException": _flip_transaction,
        "InvalidRootSignatureException": lambda copy: _flip_signature(copy, SIGNATURES),
    }
    directories = []
    for name, spoil in spoils.items():
        copy = base("4.x").copy(tmp_path / name)
        spoil(copy)
        directories.append(copy.directory)
    theirs = run(peer_python, "official", "verdicts", directories)
    assert [line.split()[1] for line in theirs.splitlines()] == list(spoils)
    assert run(sys.executable, "ours", "verdicts", directories) == theirs


@pytest.mark.parametrize("style", ["1.x", "6.x", "7.x"])
def test_whatever_they_refuse_we_refuse(style: str, peer_python: Path, tmp_path: Path) -> None:
    """Flipped bits anywhere under a signature: ours raises for each, and is never further than theirs."""
    forged = recovered_base(style)
    last = max(entry.seqno for entry in slow.read_ledger(forged.directory) if is_signature(entry))
    chance = random.Random(style)
    directories = []
    for number in range(24):
        copy = forged.copy(tmp_path / str(number))
        place = chance.choice([place for place in copy.places() if place.entry.seqno < last])
        copy.flip(place.path, place.entry.offset + chance.randrange(len(place.entry.raw)), 1 << chance.randrange(8))
        directories.append(copy.directory)

    ours = run(sys.executable, "ours", "verdicts", directories).splitlines()
    theirs = run(peer_python, "official", "verdicts", directories).splitlines()

    assert [line.split()[0] for line in ours] == ["raises"] * len(ours)
    for mine, other in zip(ours, theirs, strict=True):
        reached, official = (int(line.split()[-1].partition(".")[2]) for line in (mine, other))
        assert reached <= official
