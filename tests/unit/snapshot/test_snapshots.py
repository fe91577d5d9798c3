"""Every real snapshot, under the identities of its service and beside its ledger; spoilt ones fail for their reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tallystick._native import SnapshotFile
from tallystick.errors import UndecidedError, VerificationError
from tallystick.findings import Verdict
from tallystick.identity.endorsements import parse_endorsements
from tallystick.identity.ledger_copy import LedgerCopy
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.snapshot.model import parse_snapshot_name
from tallystick.snapshot.verify import audit_snapshot, verify_snapshot

# Folder of snapshots, folders of its ledger, the identity in force when each was taken, by the last seqno of a life.
_CPP3 = [(1422, "service-cert-1.pem"), (1686, "service-cert-2.pem"), (1 << 62, "service-cert-3.pem")]
_SERVICES = {
    "js1": ("ccf-built/js1/snapshots", ["ccf-built/js1/ledger"], [(1 << 62, "ccf-built/js1/common/service_cert.pem")]),
    "cpp3-node1": (
        "ccf-built/cpp3/state-before-dr1/node1/snapshots",
        [f"ccf-built/cpp3/state-before-dr1/node1/ledger-{part}" for part in ("committed", "current")],
        [(last, f"ccf-built/cpp3/{name}") for last, name in _CPP3],
    ),
    "cpp3-node5": (
        "ccf-built/cpp3/state-before-dr2/node5/snapshots",
        [f"ccf-built/cpp3/state-before-dr2/node5/ledger-{part}" for part in ("committed", "current")],
        [(last, f"ccf-built/cpp3/{name}") for last, name in _CPP3],
    ),
    "cpp3-node8": (
        "ccf-built/cpp3/state-final/node8/snapshots",
        [f"ccf-built/cpp3/state-final/node8/ledger-{part}" for part in ("committed", "current")],
        [(last, f"ccf-built/cpp3/{name}") for last, name in _CPP3],
    ),
    "expired": (
        "ledgers/expired_service/snapshots",
        ["ledgers/expired_service/ledger"],
        [(1 << 62, "ledgers/expired_service/common/service_cert.pem")],
    ),
}


@pytest.mark.parametrize("name", _SERVICES)
def test_each_snapshot_holds_under_its_identity_and_beside_its_ledger(shared_data: Path, name: str) -> None:
    folder, ledgers, identities = _SERVICES[name]
    ledger = LedgerCopy([shared_data / part for part in ledgers])
    seen = 0
    for path in sorted((shared_data / folder).glob("snapshot_*")):
        named = parse_snapshot_name(path.name)
        assert named is not None
        data = path.read_bytes()
        for last, certificate in identities:
            anchor = TrustAnchor.from_options(service_certs=[shared_data / certificate])
            result = audit_snapshot(data, anchor, file=str(path))
            in_force = next(name for until, name in identities if named.evidence <= until)
            if certificate == in_force:
                assert result.verdict is Verdict.VERIFIED, (path, result.findings)
                verified = verify_snapshot(data, anchor, file=str(path), ledger=ledger)
                assert verified.seqno == named.seqno
                assert verified.evidence_txid.endswith(f".{named.evidence}")
                assert verified.not_checked[0] == "private state (encrypted)"
                assert not any("ledger's transactions" in item for item in verified.not_checked)
            else:
                assert (result.verdict, result.findings[0].code) == (Verdict.FAILED, "node-certificate-issuer"), last
        seen += 1
    assert seen


def test_snapshots_of_upgraded_services(shared_data: Path) -> None:
    """Services that recovered into newer versions: the pin is the identity of the last life, or of the one before."""
    for service, snapshots in (("eol", ["493_494"]), ("sgx", ["99_100", "138_139"])):
        folder = shared_data / "ledgers" / f"{service}_service"
        ledger = LedgerCopy([folder / "ledger"])
        for numbers in snapshots:
            data = (folder / "snapshots" / f"snapshot_{numbers}.committed").read_bytes()
            held = [
                TrustAnchor.from_keys([spki])
                for spki in dict.fromkeys(ledger.service_spkis)
                if audit_snapshot(data, TrustAnchor.from_keys([spki])).verdict is Verdict.VERIFIED
            ]
            assert len(held) == 1, (service, numbers)
            verify_snapshot(data, held[0], ledger=ledger)


@pytest.fixture
def expired(ledgers: Path) -> tuple[bytes, TrustAnchor]:
    service = ledgers / "expired_service"
    anchor = TrustAnchor.from_options(service_certs=[service / "common" / "service_cert.pem"])
    return (service / "snapshots" / "snapshot_61_62.committed").read_bytes(), anchor


def test_values_of_the_vector(expired: tuple[bytes, TrustAnchor]) -> None:
    verified = verify_snapshot(*expired, file="snapshot_61_62.committed")
    assert (verified.seqno, verified.evidence_txid) == (61, "4.62")
    assert verified.digest.hex() == "dec8e46577b9e3cef3a2275f5a97db026aac4a5e7683c530c483bcb2d1d11671"


def test_the_key_inside_a_snapshot_is_never_an_anchor(expired: tuple[bytes, TrustAnchor]) -> None:
    data, anchor = expired
    [fingerprint] = anchor.fingerprints
    with pytest.raises(UndecidedError) as caught:
        verify_snapshot(data, TrustAnchor.none())
    assert caught.value.code == "anchor-missing"
    # Given the fingerprint, the key is found inside; given another, the key inside changes nothing.
    assert verify_snapshot(data, TrustAnchor.from_options(service_key_sha256=[fingerprint])).seqno == 61
    other = TrustAnchor.from_options(service_key_sha256=["ab" * 32])
    with pytest.raises(UndecidedError) as caught:
        verify_snapshot(data, other)
    assert caught.value.code == "service-key-needed"


def test_every_flipped_bit_fails(expired: tuple[bytes, TrustAnchor]) -> None:
    data, anchor = expired
    size = SnapshotFile.parse(data).entry_size
    for position in [*range(0, size, 977), size - 1]:
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        assert audit_snapshot(bytes(changed), anchor).verdict is Verdict.FAILED, position


def test_reasons(expired: tuple[bytes, TrustAnchor]) -> None:
    data, anchor = expired
    size = SnapshotFile.parse(data).entry_size

    def reason(content: bytes, file: str | None = None) -> tuple[Verdict, str]:
        result = audit_snapshot(content, anchor, file=file)
        return result.verdict, result.findings[0].code

    changed = data[: size - 1] + bytes([data[size - 1] ^ 1]) + data[size:]
    assert reason(changed) == (Verdict.FAILED, "snapshot-digest-mismatch")
    assert reason(data[:size]) == (Verdict.UNDECIDED, "snapshot-unverified")
    assert reason(data[:size], "snapshot_61_62") == (Verdict.UNDECIDED, "snapshot-unverified")
    assert reason(data[:size], "snapshot_61_62.committed_70") == (Verdict.UNDECIDED, "snapshot-unverified")
    assert reason(data[:size], "snapshot_61_62.committed") == (Verdict.FAILED, "snapshot-receipt-missing")
    assert reason(data[:2000]) == (Verdict.FAILED, "snapshot-malformed")
    assert reason(b"") == (Verdict.FAILED, "snapshot-malformed")
    assert reason(data + b"x") == (Verdict.FAILED, "receipt-malformed")
    assert reason(data[:size] + b"x") == (Verdict.FAILED, "snapshot-malformed")
    assert reason(data, "snapshot_60_62.committed") == (Verdict.FAILED, "snapshot-name-mismatch")
    assert reason(data, "snapshot_61_63.committed") == (Verdict.FAILED, "snapshot-name-mismatch")
    assert reason(data, "snapshot_61_62.committed_70") == (Verdict.UNDECIDED, "snapshot-unverified")
    assert reason(data, "backup.bin") == (Verdict.VERIFIED, "snapshot-name-unknown")
    with pytest.raises(VerificationError) as caught:
        verify_snapshot(changed, anchor)
    assert caught.value.code == "snapshot-digest-mismatch"


def test_a_receipt_that_withholds_its_claims_is_completed_with_the_digest(expired: tuple[bytes, TrustAnchor]) -> None:
    data, anchor = expired
    size = SnapshotFile.parse(data).entry_size
    receipt = json.loads(data[size:])
    del receipt["leaf_components"]["claims_digest"]
    assert verify_snapshot(data[:size] + json.dumps(receipt).encode(), anchor).seqno == 61


def test_an_older_snapshot_under_the_present_identity(ccf_built: Path) -> None:
    cpp3 = ccf_built / "cpp3"
    data = next((cpp3 / "state-before-dr1/node1/snapshots").glob("snapshot_*")).read_bytes()
    anchor = TrustAnchor.from_options(service_certs=[cpp3 / "service-cert-3.pem"])
    links = parse_endorsements((cpp3 / "receipts/svc3-of-svc1/2.1030-private.cose_endorsements.json").read_bytes())
    verified = verify_snapshot(data, anchor, endorsements=links)
    assert [note.code for note in verified.notes] == ["service-endorsed"]


def test_another_history_does_not_fit(shared_data: Path, expired: tuple[bytes, TrustAnchor]) -> None:
    data, anchor = expired
    other = LedgerCopy([shared_data / "ledgers" / "sgx_service" / "ledger"])
    result = audit_snapshot(data, anchor, ledger=other)
    assert (result.verdict, result.findings[0].code) == (Verdict.FAILED, "snapshot-leaf-mismatch")
    chunk = max((shared_data / "ledgers" / "expired_service" / "ledger").glob("ledger_*"), key=lambda path: path.name)
    partial = audit_snapshot(data, anchor, ledger=LedgerCopy([chunk]))
    assert any(item.code in ("ledger-lacks-transaction", "snapshot-state-not-compared") for item in partial.findings)


@pytest.mark.parametrize(
    "name", ["snapshot_1", "snapshot_01_2", "snapshot_1_2.committed_", "snapshot_1_2.committed.x", "xsnapshot_1_2"]
)
def test_names_that_nodes_do_not_give(name: str) -> None:
    assert parse_snapshot_name(name) is None
