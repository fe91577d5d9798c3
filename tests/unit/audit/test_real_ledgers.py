"""Every real service: counts and pins as in the reference's table of results (section 15)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick import TrustAnchor, audit_ledger, verify_ledger
from tallystick.audit.verdict import LedgerVerificationError
from tallystick.findings import Severity

GENESIS = {
    "acme_containing": "ad3f40d7da00c4be3c7580ab9b0fe91c7b4de9322e99b6680cece8e0629bd8ae",
    "cose_flipflop": "df77875da5452d5d4ebca2e90c644fbde9ff96b92bc655a899fdc9171641ffdb",
    "double_sealed": "25d7fc06a518065ba02d45120e3c54e60b4f37a50f579f5eb2a376b9a1c452b5",
    "eol": "43d784ebce2d1cb1b22b09608cf95a98ae2c50474810cfdd2f9e65fc93cea4a3",
    "expired": "b1a6c4c8f35a869fe0bbef82a4937c1093b6eb5846daa2cce913362106fce5b5",
    "sgx": "621dd0a718cd98a9ffa1962480dd7d5e2e980695c5e4f1d859dfe9ae0f3c5b8a",
}
# service: files, transactions, signatures, identities, last signed
COUNTS = {
    "acme_containing": (4, 22, 8, 1, "2.22"),
    "cose_flipflop": (2, 46, 23, 1, "2.46"),
    "double_sealed": (33, 509, 156, 2, "5.509"),
    "eol": (49, 500, 85, 5, "10.500"),
    "expired": (8, 74, 26, 2, "4.74"),
    "sgx": (11, 153, 54, 4, "8.153"),
}
WARNINGS = {
    "cose_flipflop": {"cose-signature-missing"},
    "double_sealed": {"endorsement-epoch-reversed"},
}
CPP3 = (
    "51aa189b955c240ef50e6688de760ef347a31803f48af447e43a43efda67ce89",
    "4bec65571b5d3644d86e1a74415a448cb8e08cb8b9120248514f854e17b339eb",
    "15f48fc18b4b48fd5127748eda7870980807d56f878061434e105f267f19dd4a",
)


def pin(*fingerprints: str) -> TrustAnchor:
    return TrustAnchor.from_options(service_key_sha256=fingerprints)


@pytest.mark.parametrize("service", COUNTS)
def test_service_verifies_from_its_first_identity(service: str, ledgers: Path) -> None:
    verified = verify_ledger([ledgers / f"{service}_service" / "ledger"], pin(GENESIS[service]), uncommitted=True)

    verdict = verified.verdict
    files, transactions, signatures, identities, last = COUNTS[service]
    assert (verdict.files, verdict.transactions, verdict.signatures) == (files, transactions, signatures)
    assert len(verdict.identities) == identities
    assert (verified.proven.first_seqno, str(verified.proven.last_txid)) == (1, last)
    assert verdict.unsigned_tail is None
    assert {item.code for item in verdict.findings if item.severity is not Severity.NOTE} == WARNINGS.get(
        service, set()
    )


@pytest.mark.parametrize(
    ("service", "reached"),
    # Only services that ran on 6.0 or later recorded who was before them.
    [("acme_containing", True), ("cose_flipflop", True), ("double_sealed", True), ("eol", False), ("expired", False),
     ("sgx", False)],
)  # fmt: skip
def test_the_last_certificate_alone(service: str, reached: bool, ledgers: Path) -> None:
    directory = ledgers / f"{service}_service"
    anchor = TrustAnchor.from_options(service_certs=[directory / "common" / "service_cert.pem"])
    if reached:
        assert verify_ledger([directory / "ledger"], anchor, uncommitted=True).proven.first_seqno == 1
        return

    with pytest.raises(LedgerVerificationError) as caught:
        verify_ledger([directory / "ledger"], anchor, uncommitted=True)

    assert caught.value.code == "service-identity-unreached"
    # The message names the one pin that is missing.
    assert caught.value.message.endswith(f"add --service-key-sha256 {GENESIS[service]}")
    both = pin(GENESIS[service], *anchor.fingerprints)
    assert verify_ledger([directory / "ledger"], both, uncommitted=True).proven.first_seqno == 1


def test_first_chunk_of_a_production_service(ledgers: Path) -> None:
    anchor = pin("67bc008b396d30543bdbe7a3f04146aaa0ca6a6762beb16f366d6637e4d0e840")

    verified = verify_ledger([ledgers / "cts_canary" / "ledger"], anchor)

    assert (verified.verdict.transactions, verified.verdict.signatures) == (14, 6)
    assert str(verified.proven.last_txid) == "2.14"


def test_js1(ccf_built: Path) -> None:
    anchor = pin("f369bd38bdb957de797839d95604eec1438dc9d4ef30cd85d509f07d79700346")

    verified = verify_ledger([ccf_built / "js1" / "ledger"], anchor, uncommitted=True)

    assert (verified.verdict.files, verified.verdict.transactions, verified.verdict.signatures) == (116, 1194, 329)
    assert str(verified.proven.last_txid) == "2.1194"


@pytest.mark.parametrize(
    ("state", "node", "transactions", "signatures", "last"),
    [
        ("state-final", "node8", 1910, 562, "7.1910"),
        ("state-final", "node9", 1910, 562, "7.1910"),
        ("state-before-dr1", "node1", 1422, 414, "3.1422"),
        ("state-before-dr2", "node5", 1686, 494, "5.1686"),
    ],
)
@pytest.mark.parametrize("pinned", [0, 1, 2])
def test_cpp3(
    state: str, node: str, transactions: int, signatures: int, last: str, pinned: int, ccf_built: Path
) -> None:
    directory = ccf_built / "cpp3" / state / node
    lives = {"state-before-dr1": 1, "state-before-dr2": 2, "state-final": 3}[state]
    anchor = TrustAnchor.from_options(service_certs=[ccf_built / "cpp3" / f"service-cert-{pinned + 1}.pem"])

    verdict = audit_ledger([directory / "ledger-committed", directory / "ledger-current"], anchor, uncommitted=True)

    assert (verdict.transactions, verdict.signatures) == (transactions, signatures)
    assert [item.service_key_sha256 for item in verdict.identities] == list(CPP3[:lives])
    if pinned >= lives:
        # The pinned identity is one that only came later.
        assert verdict.verdict.value == "failed"
        assert verdict.deciding is not None
        assert verdict.deciding.code == "anchor-mismatch"
        assert verdict.proven is None
        return
    assert verdict.verdict.value == "verified"
    assert verdict.proven is not None
    assert (verdict.proven.first_seqno, str(verdict.proven.last_txid)) == (1, last)


def test_states_of_one_network_agree(ccf_built: Path) -> None:
    # What old nodes held is a prefix of what the last one holds; all of it is compared.
    states = ("state-final/node8", "state-final/node9", "state-before-dr1/node1", "state-before-dr2/node5")
    directories = [ccf_built / "cpp3" / s / part for s in states for part in ("ledger-committed", "ledger-current")]
    anchor = pin(CPP3[0])

    verdict = audit_ledger([path for path in directories if path.is_dir()], anchor, uncommitted=True)

    assert verdict.verdict.value == "verified"
    assert verdict.transactions == 1910
    assert {item.code for item in verdict.findings} <= {
        "redundant-file", "chunk-empty", "file-ignored", "discarded-suffix",
    }  # fmt: skip


def test_without_an_anchor(ledgers: Path) -> None:
    verdict = audit_ledger([ledgers / "eol_service" / "ledger"], uncommitted=True)

    assert verdict.verdict.value == "undecided"
    assert verdict.proven is None
    assert verdict.deciding is not None
    assert verdict.deciding.code == "anchor-missing"
    assert f"--service-key-sha256 {GENESIS['eol']}" in verdict.deciding.message


@pytest.mark.parametrize("chunk", [1, 7, 20, -1])
def test_a_lone_chunk_is_verified_from_its_first_tree(chunk: int, ledgers: Path) -> None:
    directory = ledgers / "double_sealed_service"
    paths = sorted(
        (directory / "ledger").glob("*.committed"), key=lambda path: int(path.name.split("_")[1].split("-")[0])
    )
    path = paths[chunk]
    first, last = (int(text) for text in path.name.removesuffix(".committed").split("_")[1].split("-"))
    certificate = directory / "common" / "service_cert.pem"
    pins = [GENESIS["double_sealed"]] if first < 484 else []

    verdict = audit_ledger([path], TrustAnchor.from_options(service_certs=[certificate], service_key_sha256=pins))

    proven = verdict.proven
    if first < 484:
        # The fingerprint of the first life does not tell its key, which stands before this chunk.
        assert verdict.verdict.value in ("undecided", "failed")
        return
    assert verdict.verdict.value == "verified", verdict.findings
    assert proven is not None
    assert first <= proven.first_seqno <= last
    assert proven.last_seqno == last
    assert "no-genesis" in {item.code for item in verdict.findings}
