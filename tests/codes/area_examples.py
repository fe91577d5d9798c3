"""The smallest input for each code about attestation, ledger secrets, and evidence of two histories.

``find`` gets a directory and pytest's monkeypatch, and returns the codes that were found.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import slow
from support.branches import branch, trunk, two_branches
from support.hardware import HOST_DATA, MEASUREMENT, maker, utility_vm_maker
from support.mutation import encode_domain, reassemble
from support.run import tallystick
from support.services import base, new_service, write_some
from tallystick._native import encode_public_domain, seal_entry
from tallystick.attestation import policy as policies
from tallystick.attestation import snp
from tallystick.attestation.audit import audit_attestation
from tallystick.demo.ledger import SINGLETON_KEY, json_bytes
from tallystick.demo.receipts import cose_receipt, json_receipt
from tallystick.demo.service import DemoService
from tallystick.evidence.bundle import Bundle
from tallystick.ledger.ledger import Ledger
from tallystick.tables.names import NODES_INFO

Find = Callable[[Path, pytest.MonkeyPatch], Iterable[str]]


@dataclass(frozen=True)
class AreaExample:
    """How to trigger one code."""

    code: str
    find: Find


AREA_EXAMPLES: list[AreaExample] = []


def example(code: str) -> Callable[[Find], Find]:
    def add(find: Find) -> Find:
        AREA_EXAMPLES.append(AreaExample(code, find))
        return find

    return add


def printed(*arguments: str | Path) -> set[str]:
    """Codes that a command prints."""
    outcome = tallystick(*arguments)
    return set(re.findall(r"\[([a-z-]+)\]", outcome.stdout + outcome.stderr))


# ------------------------------------------------------------------------------------------- attestation

ALLOWED = b'"AllowedToJoin"'


def _evidence(**parts: Any) -> dict[str, Any]:
    """A row's ``quote_info`` of a genuine node of our own maker, with changes."""
    info = {"format": "AMD_SEV_SNP_v1", **parts}
    return {key: base64.b64encode(v).decode() if isinstance(v, bytes) else v for key, v in info.items()}


def attest(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    quote: Callable[[str], bytes] | None = None,
    endorsements: bytes | None = None,
    uvm: bytes | None = None,
    policy: dict[str, dict[bytes, bytes]] | None = None,
    row: dict[str, Any] | None = None,
    first: bool = True,
) -> set[str]:
    """Codes for a ledger whose first transaction brings one node with this evidence, under this policy."""
    monkeypatch.setattr(snp, "AMD_ROOTS", {maker().fingerprint: "Ours"})
    service = new_service(directory / "ledger")
    node = service.new_node()
    if not first:
        service.append({"public:records": {b"k": b"v"}})
    info = _evidence(
        quote=(quote or maker().report)(node.id),
        endorsements=endorsements if endorsements is not None else maker().endorsements(),
    )
    if uvm is not None:
        info["uvm_endorsements"] = base64.b64encode(uvm).decode()
    value = {"status": "Trusted", "quote_info": info, **(row or {})}
    allowed = {
        policies.SNP_MEASUREMENTS: {MEASUREMENT.hex().encode(): ALLOWED},
        policies.SNP_HOST_DATA: {HOST_DATA.hex().encode(): b'"policy"'},
        **(policy or {}),
    }
    service.append({**allowed, NODES_INFO: {node.id.encode(): json_bytes(value)}})
    service.sign(close_chunk=True)
    transactions = Ledger([directory / "ledger"]).transactions(None if first else 2)
    audit = audit_attestation(transactions)
    return {item.code for item in (*audit.findings, *(item for node in audit.nodes for item in node.findings))}


@example("attestation-malformed")
def _report_of_an_unknown_version(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return attest(directory, monkeypatch, quote=lambda node: maker().report(node, version=9))


@example("attestation-chain")
def _chain_without_its_middle(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    end = b"-----END CERTIFICATE-----\n"
    vcek, _, ark, _ = maker().endorsements().split(end)
    return attest(directory, monkeypatch, endorsements=vcek + end + ark + end)


@example("attestation-root")
def _somebody_elses_root(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    found = attest(directory / "a", monkeypatch)
    monkeypatch.undo()
    ledger = Ledger([directory / "a" / "ledger"])
    assert found == set()
    return {item.code for node in audit_attestation(ledger).nodes for item in node.findings}


@example("attestation-signature")
def _changed_report(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    def changed(node: str) -> bytes:
        report = bytearray(maker().report(node))
        report[0x90] ^= 1
        return bytes(report)

    return attest(directory, monkeypatch, quote=changed)


@example("attestation-vcek")
def _another_chips_key(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return attest(directory, monkeypatch, endorsements=maker().endorsements(chip_id=bytes(64)))


@example("attestation-binding")
def _another_nodes_report(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return attest(directory, monkeypatch, quote=lambda _: maker().report("ab" * 32))


@example("attestation-debug")
def _debuggable(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return attest(directory, monkeypatch, quote=lambda node: maker().report(node, policy=0x30000 | 1 << 19))


@example("attestation-migration")
def _migratable(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return attest(directory, monkeypatch, quote=lambda node: maker().report(node, policy=0x30000 | 1 << 18))


@example("attestation-vmpl")
def _beneath_the_guest(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return attest(directory, monkeypatch, quote=lambda node: maker().report(node, vmpl=1))


@example("attestation-measurement")
def _unlisted_code(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return attest(directory, monkeypatch, quote=lambda node: maker().report(node, measurement=b"\x22" * 48))


@example("attestation-host-data")
def _unlisted_policy(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return attest(directory, monkeypatch, quote=lambda node: maker().report(node, host_data=b"\x22" * 32))


@example("attestation-policy-text")
def _another_policy_text(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    rows = {policies.SNP_HOST_DATA: {HOST_DATA.hex().encode(): b'"another policy"'}}
    return attest(directory, monkeypatch, policy=rows)


@example("attestation-tcb")
def _old_firmware(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    rows = {policies.SNP_TCB: {b"00000000": b'{"boot_loader":5,"tee":0,"snp":24,"microcode":219}'}}
    return attest(directory, monkeypatch, quote=lambda node: maker().report(node, version=3), policy=rows)


@example("attestation-code-digest")
def _another_recorded_digest(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return attest(directory, monkeypatch, row={"code_digest": "00" * 48})


@example("attestation-missing")
def _nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return attest(directory, monkeypatch, quote=lambda _: b"")


@example("attestation-platform-unknown")
def _unknown_platform(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    info = _evidence(format="Quantum", quote=b"x", endorsements=b"")
    return attest(directory, monkeypatch, row={"quote_info": info})


@example("attestation-virtual")
def _virtual(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    return printed("attest", base("6.x").directory, "--uncommitted")


@example("attestation-start-unknown")
def _without_the_start(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return attest(directory, monkeypatch, first=False)


def _uvm(directory: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> set[str]:
    return attest(directory, monkeypatch, uvm=data)


@example("uvm-malformed")
def _version_that_is_no_number(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return _uvm(directory, monkeypatch, utility_vm_maker().endorse(svn="seven"))


@example("uvm-signature")
def _changed_endorsement(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return _uvm(directory, monkeypatch, utility_vm_maker().endorse(flip=True))


@example("uvm-issuer")
def _usage_that_the_leaf_lacks(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return _uvm(directory, monkeypatch, utility_vm_maker().endorse(usage="1.2.3.4"))


@example("uvm-measurement")
def _another_measurement(directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return _uvm(directory, monkeypatch, utility_vm_maker().endorse(b"\x33" * 48))


# ------------------------------------------------------------------------------------------------ secrets

INTERNAL = "public:ccf.internal."


def _opened(directory: Path) -> DemoService:
    service = new_service(directory / "ledger")
    service.genesis()
    service.open()
    return service


def _secrets(service: DemoService) -> set[str]:
    service.sign(close_chunk=True)
    return printed("secrets", service.directory)


def _history(service: DemoService, **link: Any) -> set[str]:
    previous = {
        "encrypted_data": base64.b64encode(bytes(60)).decode(),
        "previous_secret_stored_version": service.secret_stored,
        "version": 1,
        **link,
    }
    record = {"next_version": service.seqno + 2, "previous_ledger_secret": previous}
    service.append({INTERNAL + "historical_encrypted_ledger_secret": {SINGLETON_KEY: json_bytes(record)}})
    return _secrets(service)


@example("secret-record-malformed")
def _record(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    service = _opened(directory)
    service.append({INTERNAL + "historical_encrypted_ledger_secret": {SINGLETON_KEY: b"[]"}})
    return _secrets(service)


@example("secret-chain-broken")
def _unknown_predecessor(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    return _history(_opened(directory), version=3)


@example("secret-stored-elsewhere")
def _stored_elsewhere(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    return _history(_opened(directory), previous_secret_stored_version=2)


@example("secret-sealed-twice")
def _sealed_twice(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    service = _opened(directory)
    service.recover()
    value = service.value(INTERNAL + "historical_encrypted_ledger_secret") or b""
    service.append({INTERNAL + "historical_encrypted_ledger_secret": {SINGLETON_KEY: value}})
    return _secrets(service)


def _decrypt(service: DemoService, directory: Path, *more: str | Path) -> set[str]:
    secret = directory / "secret"
    secret.write_text(service.secret.hex())
    service.leave_chunk_open()
    return printed("decrypt", service.directory, "--uncommitted", "--ledger-secret", secret, *more)


def _foreign(service: DemoService, secret: bytes, private: bytes, **domain: Any) -> None:
    """Appends an entry that the writer would not make."""
    seqno = service.seqno + 1
    public = encode_public_domain(seqno, {}, **domain)
    service.append_entry(seal_entry(service.view, seqno, public, private, secret))


@example("entry-tag")
def _other_secret(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    service = _opened(directory)
    _foreign(service, bytes(32), b"")
    service.sign()
    return _decrypt(service, directory)


@example("commit-evidence-mismatch")
def _other_evidence(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    service = _opened(directory)
    _foreign(service, service.secret, b"", claims_digest=bytes(32), commit_evidence_digest=b"\x01" * 32)
    service.sign()
    return _decrypt(service, directory)


@example("private-domain-malformed")
def _garbled(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    service = _opened(directory)
    _foreign(service, service.secret, b"\xff" * 40, entry_type=0)
    service.sign()
    return _decrypt(service, directory)


@example("secret-unknown")
def _no_key(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    service = _opened(directory)
    service.recover()
    write_some(service, 2)
    service.sign()
    secret = directory / "oldest"
    secret.write_text(service.older_secrets[0][1].hex())
    service.leave_chunk_open()
    return printed("decrypt", service.directory, "--uncommitted", "--ledger-secret", secret)


# ----------------------------------------------------------------------------------------------- evidence


def _pin(directory: Path, service: DemoService) -> list[str]:
    path = directory / "service.pem"
    path.write_text(service.identities[0].certificate)
    return ["--service-cert", str(path)]


@example("history-forked")
def _forked(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    two_branches(directory)
    return printed("diff", directory / "a", directory / "b")


@example("history-signed-differs")
def _maybe_lost(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    two_branches(directory, elect=True)
    for path in (directory / "a").glob("*.committed"):
        path.rename(path.with_name(path.name.removesuffix(".committed")))
    return printed("diff", directory / "a", directory / "b", "--uncommitted")


@example("history-unsigned-differs")
def _unsigned_end(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    service = trunk(directory / "a")
    other = branch(service, directory / "b")
    write_some(service, 1)
    service.leave_chunk_open()
    other.recover()
    return printed("diff", directory / "a", directory / "b", "--uncommitted")


@example("history-unsigned")
def _no_signature(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    changed = base("6.x").copy(directory / "b")
    entry = changed.places()[0].entry
    for path in changed.chunks:
        path.unlink()
    raw = reassemble(entry, public=encode_domain(entry, {"public:records": {b"k": b"v"}}))
    (changed.directory / "ledger_1").write_bytes(slow.encode_chunk([raw], complete=False))
    return printed("diff", base("6.x").directory, changed.directory, "--uncommitted")


@example("history-altered")
def _altered(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    changed = base("6.x").copy(directory / "b")
    changed.flip_in(next(p for p in changed.places() if "public:records" in p.entry.tables), b"public value")
    return printed("diff", base("6.x").directory, changed.directory, "--uncommitted")


@example("history-other-service")
def _other_service(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    trunk(directory / "b")
    return printed("diff", base("6.x").directory, directory / "b", "--uncommitted")


@example("history-disjoint")
def _disjoint(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    early, late = base("6.x").copy(directory / "a"), base("6.x").copy(directory / "b")
    for path in early.chunks[1:]:
        path.unlink()
    late.chunks[0].unlink()
    return printed("diff", early.directory, late.directory, "--uncommitted")


def _with_receipt(directory: Path, ledger: Path, receipt: bytes, service: DemoService, *more: str | Path) -> set[str]:
    path = directory / "receipt"
    path.write_bytes(receipt)
    return printed("diff", ledger, "--uncommitted", "--receipt", path, *_pin(directory, service), *more)


@example("history-behind")
def _behind(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    service = base("6.x").service
    shorter = base("6.x").copy(directory / "b")
    shorter.chunks[-1].unlink()
    return _with_receipt(directory, shorter.directory, json_receipt(service, service.seqno - 1), service)


def _truncate(directory: Path) -> tuple[DemoService, bytes]:
    service = trunk(directory / "a")
    recovered = branch(service, directory / "b")
    write_some(service, 60)
    last = service.seqno
    service.sign(close_chunk=True)
    recovered.recover()
    return service, json_receipt(service, last)


@example("history-truncated")
def _truncated(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    service, receipt = _truncate(directory)
    return _with_receipt(directory, directory / "b", receipt, service)


@example("history-root-differs")
def _other_root(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    first = trunk(directory / "a")
    second = branch(first, directory / "b")
    same = first.append({"public:records": {b"same": b"same"}})
    second.append_entry(same.entry)
    for number, service in enumerate((first, second)):
        service.append({"public:records": {b"balance": b"%d" % number}})
        service.sign()
        write_some(service, 80)
        service.sign(close_chunk=True)
    return _with_receipt(directory, directory / "b", json_receipt(first, same.txid.seqno), first)


@example("history-receipt-unusable")
def _other_services_receipt(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    other = trunk(directory / "a")
    return _with_receipt(directory, base("6.x").directory, cose_receipt(other, 3), base("6.x").service)


def _bundle(directory: Path, *, elect: bool = False) -> tuple[Path, DemoService]:
    branches = two_branches(directory, elect=elect)
    target = directory / "evidence.json"
    printed("diff", directory / "a", directory / "b", "--evidence", target)
    return target, branches.first


@example("evidence-anchor")
def _unpinned(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    return printed("evidence", "verify", _bundle(directory)[0])


@example("evidence-inconclusive")
def _two_views(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    target, service = _bundle(directory, elect=True)
    return printed("evidence", "verify", target, *_pin(directory, service))


@example("evidence-untrue")
def _same_twice(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    target, _service = _bundle(directory)
    made = Bundle.parse(target.read_bytes())
    target.write_bytes(Bundle(made.kind, made.statements[:1] * 2).to_bytes())
    return printed("evidence", "verify", target)


@example("evidence-malformed")
def _no_bundle(directory: Path, _: pytest.MonkeyPatch) -> set[str]:
    target = directory / "evidence.json"
    target.write_text(json.dumps({"schema": "tallystick.evidence/1"}))
    return printed("evidence", "verify", target)
