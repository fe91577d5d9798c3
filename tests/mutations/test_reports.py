"""What users of the official tools ran into, each as the smallest ledger that shows it.

The numbers are those of the reference's list of reports (section 3).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import slow
from support.mutation import SIGNATURES, LedgerCopy, encode_domain, is_signature, reassemble
from support.run import codes, tallystick
from support.services import base, new_service, recovered_base, write_some
from tallystick.demo.ledger import SINGLETON_KEY, json_bytes
from tallystick.demo.service import DemoService

GOV = "public:ccf.gov."


def _verify(*paths: Path, pin: bytes, scratch: Path, options: tuple[str | Path, ...] = ()) -> Any:
    certificate = scratch / "pin.pem"
    certificate.write_bytes(pin)
    outcome = tallystick("verify", *paths, "--service-cert", certificate, *options, "--format", "json")
    assert outcome.exit_code == {"verified": 0, "failed": 1, "undecided": 3}[outcome.json["verdict"]]
    return outcome.json


def _opened(directory: Path, style: str = "6.x") -> DemoService:
    service = new_service(directory / "ledger", style)
    service.genesis()
    service.open()
    return service


def _closed(service: DemoService, scratch: Path, *options: str | Path) -> Any:
    service.leave_chunk_open()
    pin = service.identities[0].certificate.encode()
    return _verify(service.directory, pin=pin, scratch=scratch, options=("--uncommitted", *options))


@pytest.mark.parametrize("committed", [False, True])
def test_1_signatures_of_a_primary_that_is_already_retired(committed: bool, tmp_path: Path) -> None:
    service = _opened(tmp_path)
    info = service.node_info(service.node, "Retired")
    if committed:
        info["retired_committed"] = True
    service.append({GOV + "nodes.info": {service.node.id.encode(): json_bytes(info)}})
    service.sign()

    report = _closed(service, tmp_path)

    assert report["verdict"] == "verified", report["findings"]
    assert ("signer-retired-committed" if committed else "signer-retired") in codes(report["findings"])


def test_2_a_renewed_node_certificate_keeps_the_key(tmp_path: Path) -> None:
    service = _opened(tmp_path)
    in_table = service.node.certificate
    service.node.certificate = service.node.issue_certificate(service.service, service.source.now, days=30)
    assert service.node.certificate != in_table
    service.sign()

    assert _closed(service, tmp_path)["verdict"] == "verified"


def test_2_a_renewed_service_certificate_keeps_the_key(tmp_path: Path) -> None:
    service = _opened(tmp_path)
    renewed = service.service.renewed_certificate(service.source.now, days=30)
    service.service.certificate = renewed
    service.append({GOV + "service.info": {SINGLETON_KEY: service.service_info("Open")}})
    service.sign()
    service.leave_chunk_open()

    report = _verify(service.directory, pin=renewed.encode(), scratch=tmp_path, options=("--uncommitted",))

    assert report["verdict"] == "verified", report["findings"]
    assert len(report["identities"]) == 1


def test_3_signatures_of_1_x_carry_no_certificate(tmp_path: Path) -> None:
    valid = base("1.x")
    value = next(slow.read_chunk(slow.chunk_paths(valid.directory)[0]))
    assert "cert" in json.loads(next(iter(value.tables[GOV + "nodes.info"].values())) or b"")
    assert all(
        "cert" not in json.loads(e.tables[SIGNATURES][SINGLETON_KEY] or b"")
        for e in slow.read_ledger(valid.directory)
        if is_signature(e)
    )

    report = _verify(valid.directory, pin=valid.certificates[0], scratch=tmp_path, options=("--uncommitted",))

    assert report["verdict"] == "verified"


def test_8_node_rows_removed_after_a_recovery(tmp_path: Path) -> None:
    service = _opened(tmp_path)
    old = service.node.id.encode()
    service.recover()
    service.append({GOV + "nodes.info": {old: None}, GOV + "nodes.endorsed_certificates": {old: None}})
    service.sign()

    report = _closed(service, tmp_path)

    assert report["verdict"] == "verified", report["findings"]


@pytest.mark.parametrize(
    ("modes", "verdict"),
    [
        (["dual", "raw", "dual", "cose", "raw"], "verified"),
        (["raw", "raw"], "verified"),
        (["cose", "cose"], "verified"),
    ],
)
def test_11_kinds_of_signatures_may_alternate(modes: list[str], verdict: str, tmp_path: Path) -> None:
    service = _opened(tmp_path)
    for mode in modes:
        write_some(service, 2)
        service.sign(mode=mode)

    report = _closed(service, tmp_path)

    assert report["verdict"] == verdict, report["findings"]
    assert report["proven"]["last_seqno"] == service.seqno


@pytest.mark.parametrize("style", ["2.x", "4.x", "6.x", "7.x"])
def test_13_one_chunk_alone_proves_its_own_range(style: str, tmp_path: Path) -> None:
    valid = base(style)
    chunk = next(p for p in slow.chunk_paths(valid.directory)[1:] if p.name.endswith(".committed"))
    entries = list(slow.read_chunk(chunk))

    report = _verify(chunk, pin=valid.certificates[0], scratch=tmp_path)

    assert report["verdict"] == "verified", report["findings"]
    assert report["proven"] == {
        "first_seqno": entries[0].seqno,
        "last_seqno": entries[-1].seqno,
        "last_txid": f"{entries[-1].view}.{entries[-1].seqno}",
    }
    assert "no-genesis" in codes(report["findings"])


def test_13_an_altered_prefix_of_a_chunk_is_not_proven_at_level_merkle(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    chunk = copy.last_committed
    first = copy.entries(chunk)[0]
    copy.flip(chunk, first.offset + 8)

    report = _verify(chunk, pin=base("6.x").certificates[0], scratch=tmp_path, options=("--level", "merkle"))

    assert report["verdict"] == "failed"
    assert report["proven"] is None
    assert f"{first.view}.{first.seqno}" in {f["txid"] for f in report["findings"]}


def test_15_chunks_cut_in_other_places_in_another_directory(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    other = tmp_path / "other"
    other.mkdir()
    first, second = copy.chunks[:2]
    entries = [e.raw for path in (first, second) for e in copy.entries(path)]
    (other / f"ledger_1-{len(entries)}.committed").write_bytes(slow.encode_chunk(entries, complete=True))

    both = [copy.directory, other]
    for paths in (both, both[::-1]):
        report = _verify(*paths, pin=base("6.x").certificates[0], scratch=tmp_path, options=("--uncommitted",))
        assert report["verdict"] == "verified", report["findings"]
        assert report["counts"]["transactions"] == len(copy.places())
    second.unlink()
    report = _verify(*both, pin=base("6.x").certificates[0], scratch=tmp_path, options=("--uncommitted",))
    assert report["verdict"] == "verified", report["findings"]


def test_16_two_copies_that_differ_name_the_first_difference(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    other = LedgerCopy(copy.directory, tmp_path / "other")
    place = other.find(lambda e: e.seqno == 16)
    other.flip(place.path, place.entry.offset + 40 + len(place.entry.public_domain))

    report = _verify(
        copy.directory, other.directory, pin=base("6.x").certificates[0], scratch=tmp_path,
        options=("--uncommitted",),
    )  # fmt: skip

    assert report["verdict"] == "failed"
    (finding,) = [f for f in report["findings"] if f["code"] == "copy-conflict"]
    assert finding["txid"] == "2.16"


@pytest.mark.parametrize("options", [(), ("--uncommitted",)])
def test_19_uncommitted_chunks_are_only_read_when_asked_for(options: tuple[str, ...], tmp_path: Path) -> None:
    valid = base("6.x")
    committed = [p for p in slow.chunk_paths(valid.directory) if p.name.endswith(".committed")]
    expected = [e for p in committed for e in slow.read_chunk(p)][-1].seqno

    report = _verify(valid.directory, pin=valid.certificates[0], scratch=tmp_path, options=options)

    assert report["verdict"] == "verified"
    assert report["proven"]["last_seqno"] == (valid.service.seqno if options else expected)


def test_20_an_endorsement_for_a_reversed_epoch_is_left_aside(ledgers: Path, tmp_path: Path) -> None:
    service = ledgers / "double_sealed_service"

    outcome = tallystick("verify", service / "ledger", "--uncommitted", "--trust-genesis", "--format", "json")

    report = outcome.json
    assert report["verdict"] == "verified", report["findings"]
    (finding,) = [f for f in report["findings"] if f["code"] == "endorsement-epoch-reversed"]
    assert finding["txid"].endswith(".503")


def test_21_checks_hold_where_assertions_are_off(ledgers: Path, tmp_path: Path) -> None:
    """The official check of ledger secrets is made of assertions, and passes under ``python -O`` whatever is given."""
    twice = ledgers / "double_sealed_service/ledger"
    spoilt = base("6.x").copy(tmp_path / "spoilt")
    data = bytearray(spoilt.chunks[0].read_bytes())
    data[len(data) // 2] ^= 1
    spoilt.chunks[0].write_bytes(data)
    (tmp_path / "pin.pem").write_bytes(base("6.x").certificates[0])
    for arguments in (
        ["secrets", twice],
        ["verify", spoilt.directory, "--service-cert", tmp_path / "pin.pem", "--format", "json"],
    ):
        usual = tallystick(*arguments)
        command = [sys.executable, "-O", "-m", "tallystick", *map(str, arguments)]
        without = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert (without.returncode, without.stdout) == (usual.exit_code, usual.stdout)
    assert usual.exit_code == 1


def test_37_certificates_that_have_expired_do_not_matter(ledgers: Path, tmp_path: Path) -> None:
    service = ledgers / "expired_service"

    report = tallystick("verify", service / "ledger", "--uncommitted", "--trust-genesis", "--format", "json").json

    assert report["verdict"] == "verified", report["findings"]
    assert any("dates of certificates" in text for text in report["not_checked"])


def _prefix(directory: Path) -> Path:
    copy = base("6.x").copy(directory / "ledger")
    entries = copy.entries(copy.genesis_chunk)
    path = directory / f"ledger_1-{entries[-1].seqno}.committed_prefix"
    path.write_bytes(slow.encode_chunk([e.raw for e in entries], complete=False))
    return path


def test_41_a_committed_prefix_alone_is_read(tmp_path: Path) -> None:
    report = _verify(_prefix(tmp_path), pin=base("6.x").certificates[0], scratch=tmp_path)

    assert report["verdict"] == "verified", report["findings"]
    assert report["proven"]["last_txid"] == "2.2"


@pytest.mark.parametrize(
    "name", ["ledger_01-2.committed_prefix", "ledger_2-1.committed_prefix", "ledger_1-2.committed_prefix.committed"]
)
def test_41_bad_names_are_refused(name: str, tmp_path: Path) -> None:
    path = _prefix(tmp_path).rename(tmp_path / name)

    report = _verify(path, pin=base("6.x").certificates[0], scratch=tmp_path)

    assert report["verdict"] != "verified"


def test_47_files_of_a_recovery_are_read_when_asked_for(tmp_path: Path) -> None:
    service = _opened(tmp_path)
    last = service.seqno
    service.recover()
    service.leave_chunk_open()
    for path in slow.chunk_paths(service.directory):
        if slow.first_seqno(path) > last:
            path.rename(f"{path}.recovery")

    without = _closed(service, tmp_path)
    with_them = _closed(service, tmp_path, "--recovery")

    assert without["proven"]["last_seqno"] == last
    assert with_them["proven"]["last_seqno"] == service.seqno


def test_58_deeply_nested_json_in_a_signature(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    entry = copy.last_signature.entry
    entry.tables[SIGNATURES] = {SINGLETON_KEY: b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"}
    copy.replace(entry.seqno, reassemble(entry, public=encode_domain(entry, entry.tables)))

    report = _verify(copy.directory, pin=base("6.x").certificates[0], scratch=tmp_path, options=("--uncommitted",))

    assert report["verdict"] in ("failed", "undecided")
    assert "json-too-deep" in codes(report["findings"])


def test_62_a_flipped_byte_says_what_is_still_proven(tmp_path: Path) -> None:
    copy = base("6.x").copy(tmp_path / "ledger")
    place = copy.find(lambda e: b"public value" in e.public_domain)
    copy.flip_in(place, b"public value")
    before = max(p.entry.seqno for p in copy.places() if is_signature(p.entry) and p.entry.seqno < place.entry.seqno)

    report = _verify(copy.directory, pin=base("6.x").certificates[0], scratch=tmp_path, options=("--uncommitted",))

    assert report["proven"]["last_seqno"] == before
    (finding, *_) = [f for f in report["findings"] if f["severity"] == "error"]
    assert (finding["txid"], finding["offset"]) == (place.txid, place.entry.offset)
    assert finding["file"] == str(place.path)


def test_upgrades_by_recovery_from_1_x_to_7_x(tmp_path: Path) -> None:
    """One ledger through every style, as eol_service went through the versions."""
    service = new_service(tmp_path / "ledger", "1.x")
    service.genesis()
    service.open()
    from tallystick.demo.styles import STYLES

    for style in ("2.x", "4.x", "6.x", "7.x"):
        write_some(service, 2)
        service.sign()
        service.style = STYLES[style]
        service.recover()
    write_some(service, 2)
    service.sign()

    report = _closed(service, tmp_path)

    assert report["verdict"] == "verified", report["findings"]
    assert [identity["trusted_by"] for identity in report["identities"]] == ["pinned", *["opening"] * 4]


def test_a_second_life_lives_on_when_the_first_one_is_not_pinned(tmp_path: Path) -> None:
    valid = recovered_base("6.x")
    shutil.copytree(valid.directory, tmp_path / "ledger")

    report = _verify(tmp_path / "ledger", pin=valid.certificates[-1], scratch=tmp_path, options=("--uncommitted",))

    assert [identity["trusted_by"] for identity in report["identities"]] == ["endorsement", "endorsement", "pinned"]
