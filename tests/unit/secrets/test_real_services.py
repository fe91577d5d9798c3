"""Private state of every real service whose members' keys are at hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tallystick import _native
from tallystick.errors import FormatError, UsageError, VerificationError
from tallystick.ledger.ledger import Ledger
from tallystick.secrets.decrypt import DecryptionReport
from tallystick.secrets.issue import issue_cose_receipt, issue_json_receipt, locate
from tallystick.secrets.open import PrivateLedger

# Folder, ledger directories, secrets by their start, transactions, private domains, commit evidence digests.
SERVICES = [
    ("ledgers/acme_containing_service", ["ledger"], [1], 22, 0, 22),
    ("ledgers/cose_flipflop_service", ["ledger"], [1], 46, 13, 46),
    ("ledgers/double_sealed_service", ["ledger"], [1, 484], 509, 0, 509),
    ("ledgers/eol_service", ["ledger"], [1, 36, 66, 160, 329], 500, 110, 465),
    ("ledgers/expired_service", ["ledger"], [1, 29], 74, 3, 74),
    ("ledgers/sgx_service", ["ledger"], [1, 38, 71, 102], 153, 0, 116),
    ("ccf-built/js1", ["ledger"], [1, 728, 833, 1003], 1194, 310, 1194),
    (
        "ccf-built/cpp3/state-final/node8",
        ["ledger-committed", "ledger-current"],
        [1, 743, 855, 1028, 1423, 1629, 1687],
        1910,
        468,
        1910,
    ),
]
BUILT = [service for service in SERVICES if service[0].startswith("ccf-built")]


def open_service(root: Path, directories: list[str]) -> PrivateLedger:
    keys = sorted((root / "common").glob("member*_enc_privk.pem"))
    ledger = Ledger([root / name for name in directories], uncommitted=True)
    return PrivateLedger(ledger, encryption_keys=keys)


@pytest.mark.parametrize(("folder", "directories", "starts", "transactions", "private", "evidence"), SERVICES)
def test_every_entry_authenticates_and_every_private_domain_opens(
    shared_data: Path,
    folder: str,
    directories: list[str],
    starts: list[int],
    transactions: int,
    private: int,
    evidence: int,
) -> None:
    opened = open_service(shared_data / folder, directories)
    assert sorted(opened.known.by_start) == opened.chain.starts == starts
    report = DecryptionReport()
    assert sum(1 for _ in opened.decrypt(report)) == private
    assert (report.authenticated, report.private, report.evidence) == (transactions, private, evidence)
    assert report.without_secret == 0
    assert report.findings == []


def test_a_secret_sealed_twice_is_named_and_either_record_serves(shared_data: Path) -> None:
    opened = open_service(shared_data / "ledgers/double_sealed_service", ["ledger"])
    named = {(item.code, item.txid, item.severity.value) for item in opened.chain.findings}
    assert named == {("secret-sealed-twice", "5.503", "warning"), ("secret-stored-elsewhere", "5.503", "warning")}


@pytest.mark.parametrize("service", BUILT, ids=lambda service: service[0])
def test_what_was_written_is_what_is_read(shared_data: Path, service: tuple[Any, ...]) -> None:
    folder, directories = service[0], service[1]
    opened = open_service(shared_data / folder, directories)
    root = shared_data / "/".join(folder.split("/")[:2])
    claims = json.loads((root / "claims.json").read_text())
    written = {item.seqno: item.tables for item in opened.decrypt(DecryptionReport())}
    compared = 0
    for txid, expected in claims.items():
        if expected["kind"] != "private" or "msg" not in expected:
            continue
        tables = written[int(txid.split(".")[1])]
        texts = [value for writes in tables.values() for value in writes.values() if value is not None]
        assert any(
            expected["msg"].encode() in value or json.dumps(expected["msg"]).encode() in value for value in texts
        )
        compared += 1
    assert compared >= 300


def _normalised(document: dict[str, Any]) -> dict[str, Any]:
    # Certificates for older services are made by a running node with the service's key, which no ledger holds.
    return {name: value for name, value in document.items() if name != "service_endorsements"}


@pytest.mark.parametrize("service", BUILT, ids=lambda service: service[0])
def test_issued_receipts_equal_those_that_nodes_served(shared_data: Path, service: tuple[Any, ...]) -> None:
    folder, directories = service[0], service[1]
    opened = open_service(shared_data / folder, directories)
    served_root = shared_data / "/".join(folder.split("/")[:2]) / "receipts"
    json_compared = cose_compared = 0
    for path in sorted(served_root.rglob("*.node.json")) + sorted(served_root.rglob("*.cose_receipt.cose")):
        match = re.match(r"(\d+)\.(\d+)-", path.name)
        assert match is not None
        view, seqno = int(match[1]), int(match[2])
        secret = opened.secret_at(seqno)
        assert secret is not None
        cose = path.suffix == ".cose"
        served = path.read_bytes()
        if not cose and "leaf_components" not in json.loads(served):
            continue  # a signature transaction: its receipt is the signed root alone
        entries = (transaction.entry for transaction in opened.ledger.transactions(seqno))
        position = locate(entries, seqno, view, cose=cose)
        if cose:
            assert issue_cose_receipt(position, secret).document == served
            cose_compared += 1
        else:
            assert _normalised(json.loads(issue_json_receipt(position, secret).document)) == _normalised(
                json.loads(served)
            )
            json_compared += 1
    assert json_compared >= 20
    assert cose_compared >= (80 if "cpp3" in folder else 0)


def test_too_few_keys_open_nothing(shared_data: Path) -> None:
    root = shared_data / "ledgers/eol_service"
    ledger = Ledger([root / "ledger"], uncommitted=True)
    with pytest.raises(UsageError) as caught:
        PrivateLedger(ledger, encryption_keys=[root / "common/member0_enc_privk.pem"])
    assert caught.value.code == "shares-open-nothing"
    # Which the ledger says, and what the caller has to look for.
    assert "any 3 of 3 members' keys or shares" in (caught.value.hint or "")


def test_a_wrong_secret_is_refused_at_once(shared_data: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("11" * 32)
    ledger = Ledger([shared_data / "ledgers/cose_flipflop_service/ledger"], uncommitted=True)
    with pytest.raises(VerificationError) as caught:
        PrivateLedger(ledger, secret_files=[secret])
    assert caught.value.code == "secret-wrong"


def test_only_newer_secrets_leave_the_older_range_undecided(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "ledgers/expired_service"
    everything = open_service(root, ["ledger"])
    secret = tmp_path / "secret"
    secret.write_text(f"1:{bytes(everything.known.by_start[1]).hex()}  # the first one only\n")
    opened = PrivateLedger(everything.ledger, secret_files=[secret])
    report = DecryptionReport()
    list(opened.decrypt(report))
    assert (report.authenticated, report.without_secret) == (28, 46)
    assert [item.code for item in report.findings] == ["secret-unknown"]


@pytest.mark.parametrize("offset", [10, 23, 24, 60, -1])
def test_a_changed_entry_does_not_authenticate(shared_data: Path, offset: int) -> None:
    # Offsets: the tag, its end, nothing that framing depends on: IV bytes are checked against the public domain.
    opened = open_service(shared_data / "ledgers/cose_flipflop_service", ["ledger"])
    entry = opened.ledger.get_transaction(17).entry
    data = bytearray(entry.raw)
    data[offset] ^= 1
    secret = opened.secret_at(17)
    if offset == 24:
        with pytest.raises(FormatError):
            _native.Entry.parse(bytes(data))
        return
    changed = _native.Entry.parse(bytes(data))
    assert [item is not None for item in _native.open_private_domains([entry, changed], [secret] * 2)] == [True, False]
