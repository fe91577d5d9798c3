"""The official ccf package agrees on every valid ledger, snapshot and receipt: verdicts, digests, tables."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from support import slow
from support.peer import ask
from support.run import tallystick
from support.services import STYLES, Base, base, new_service, recovered_base, write_some
from tallystick._native import ChunkFile
from tallystick.demo.receipts import cose_receipt, json_receipt
from tallystick.demo.snapshots import take_snapshot

REAL = (
    "acme_containing_service", "cose_flipflop_service", "double_sealed_service", "eol_service", "expired_service",
    "sgx_service",
)  # fmt: skip


def _ours(directories: list[Path]) -> list[dict[str, object]]:
    paths = {slow.first_seqno(p): p for d in directories for p in slow.chunk_paths(d)}
    seen: list[dict[str, object]] = []
    for _, path in sorted(paths.items()):
        for entry in ChunkFile.open(str(path)).entries():
            if seen and entry.seqno <= int(str(seen[-1]["txid"]).split(".")[1]):
                continue
            tables = {
                name: {key.hex(): None if value is None else value.hex() for key, value in rows.items()}
                for name, rows in entry.tables().items()
            }
            seen.append(
                {
                    "txid": f"{entry.view}.{entry.seqno}",
                    "leaf": entry.leaf.hex(),
                    "write_set_digest": entry.write_set_digest.hex(),
                    "claims_digest": entry.claims_digest.hex() if entry.claims_digest else None,
                    "commit_evidence_digest": (
                        entry.commit_evidence_digest.hex() if entry.commit_evidence_digest else None
                    ),
                    "size": entry.size,
                    "tables": hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest(),
                }
            )
    return seen


def _compare(python: Path, directories: list[Path], certificates: list[bytes], scratch: Path) -> None:
    theirs = ask(python, "ledger", *directories)
    pins = []
    for number, certificate in enumerate(certificates):
        path = scratch / f"service-{number}.pem"
        path.write_bytes(certificate)
        pins += ["--service-cert", path]
    report = tallystick("verify", *directories, "--uncommitted", *pins, "--format", "json").json

    assert theirs["verdict"] == "verified", theirs.get("error")
    assert report["verdict"] == "verified", report["findings"]
    assert report["proven"]["last_txid"] == theirs["last_txid"]
    assert report["counts"]["signatures"] == theirs["signatures"]
    assert _ours(directories) == theirs["transactions"]


@pytest.mark.parametrize("style", STYLES)
def test_forged_ledgers_of_every_style(style: str, peer_python: Path, tmp_path: Path) -> None:
    forged: Base = recovered_base(style)
    _compare(peer_python, [forged.directory], forged.certificates, tmp_path)


@pytest.mark.parametrize("curve", ["P-256", "P-521"])
def test_forged_ledgers_on_other_curves(curve: str, peer_python: Path, tmp_path: Path) -> None:
    forged = base("6.x", curve)
    _compare(peer_python, [forged.directory], forged.certificates, tmp_path)


@pytest.mark.parametrize("name", REAL)
def test_real_ledgers(name: str, ledgers: Path, peer_python: Path, tmp_path: Path) -> None:
    service = ledgers / name
    every_life = _service_certificates(service / "ledger")
    _compare(peer_python, [service / "ledger"], every_life, tmp_path)


def _service_certificates(directory: Path) -> list[bytes]:
    """Every certificate that the ledger shows: here the two tools are compared, trust is tested elsewhere."""
    found: list[bytes] = []
    for entry in slow.read_ledger(directory):
        info = entry.tables.get("public:ccf.gov.service.info", {}).get(bytes(8))
        if info:
            certificate = json.loads(info)["cert"].encode()
            if certificate not in found:
                found.append(certificate)
    return found


@pytest.mark.parametrize(
    ("directories", "certificates"),
    [
        (["js1/ledger"], ["js1/common/service_cert.pem"]),
        (
            ["cpp3/state-final/node8/ledger-committed", "cpp3/state-final/node8/ledger-current"],
            ["cpp3/service-cert-1.pem", "cpp3/service-cert-2.pem", "cpp3/service-cert-3.pem"],
        ),
    ],
    ids=["js1", "cpp3"],
)
def test_ledgers_of_built_services(
    directories: list[str], certificates: list[str], ccf_built: Path, peer_python: Path, tmp_path: Path
) -> None:
    _compare(
        peer_python,
        [ccf_built / name for name in directories],
        [(ccf_built / name).read_bytes() for name in certificates],
        tmp_path,
    )


@pytest.mark.parametrize("style", ["4.x", "6.x", "7.x"])
def test_snapshots_and_receipts_of_forged_services(style: str, peer_python: Path, tmp_path: Path) -> None:
    service = new_service(tmp_path / "ledger", style)
    service.genesis()
    service.open()
    write_some(service)
    claims = hashlib.sha256(b"claims").digest()
    seqno = service.append({"public:records": {b"claimed": b"x"}}, claims=claims).txid.seqno
    service.sign(close_chunk=True)
    pending = take_snapshot(service)
    service.sign()
    snapshot = pending.commit(tmp_path / "snapshots")
    certificate = tmp_path / "service.pem"
    certificate.write_text(service.service.certificate)
    made = {}
    if service.style.mode != "cose":
        made["receipt.json"] = json_receipt(service, seqno)
    if service.style.mode != "raw":
        made["receipt.cose"] = cose_receipt(service, seqno)
    files = []
    for name, data in made.items():
        files.append(tmp_path / name)
        files[-1].write_bytes(data)

    theirs = ask(peer_python, "receipts", certificate, claims.hex(), *files)
    ours = tallystick("receipt", "verify", *files, "--service-cert", certificate, "--format", "json").json

    assert theirs["verdicts"] == ["verified"] * len(files)
    assert [result["verdict"] for result in ours["results"]] == ["verified"] * len(files)
    assert ask(peer_python, "snapshot", snapshot)["verdict"] == "verified"
    ours = tallystick("snapshot", "verify", snapshot, "--service-cert", certificate, "--format", "json").json
    assert [result["verdict"] for result in ours["results"]] == ["verified"]
