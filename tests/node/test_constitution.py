"""Our constitution against CCF's: the same proposals, valid or not, must come to the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tallystick._native import GovernanceReplayer, GovernanceTables, ScriptFailure
from tallystick.ledger import Ledger
from tallystick.node.constitution import VARIANTS, constitution_files, constitution_text

GOV = "public:ccf.gov."
SINGLETON = bytes(8)
OTHER_PROPOSAL = "bb" * 32
NODE = "cd" * 32
PENDING_NODE = "ce" * 32
JWK = {"kid": "k", "kty": "RSA", "n": "3ZWrUY0Y6IKN1qI4BhxR2C7oHVFgGPYkd38uGq1jQNSq", "e": "AQAB"}


@pytest.fixture(scope="module")
def genesis(shared_data: Path) -> dict[str, dict[bytes, bytes | None]]:
    """What the first transaction of a real service wrote."""
    first = next(iter(Ledger(shared_data / "ccf-built" / "js1" / "ledger").transactions()))
    return {name: dict(first.table(name)) for name in first.table_names}


@pytest.fixture(scope="module")
def certificate(genesis: dict[str, dict[bytes, bytes | None]]) -> str:
    """A member's certificate."""
    return next(value.decode() for value in genesis[GOV + "members.certs"].values() if value is not None)


def member_id(pem: str) -> str:
    return hashlib.sha256(x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)).hexdigest()


def encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def state(genesis: dict[str, dict[bytes, bytes | None]], certificate: str) -> GovernanceTables:
    """A service with three active members, two nodes, an open proposal beside the one at hand, and an application."""
    tables = GovernanceTables()
    tables.update(1, genesis)
    members = genesis[GOV + "members.info"]
    writes: dict[str, dict[bytes, bytes | None]] = {
        GOV + "members.info": {key: encoded({"status": "Active"}) for key in members},
        GOV + "nodes.info": {
            NODE.encode(): encoded({"status": "Trusted", "certificate_signing_request": "csr"}),
            PENDING_NODE.encode(): encoded({"certificate_signing_request": "csr", "status": "Pending"}),
        },
        GOV + "proposals_info": {
            OTHER_PROPOSAL.encode(): encoded({"ballots": {}, "proposer_id": "m", "state": "Open"}),
            ("bc" * 32).encode(): encoded({"ballots": {}, "proposer_id": "m", "state": "Accepted"}),
        },
        GOV + "modules": {b"/old.js": b"old"},
        GOV + "endpoints": {b"GET /old": b"{}"},
        GOV + "modules_quickjs_bytecode": {b"/old.js": b"code"},
        GOV + "interpreter.flush": {SINGLETON: b"true"},
        GOV + "tls.ca_cert_bundles": {b"bundle": encoded(certificate)},
        GOV + "jwt.issuers": {b"https://issuer": encoded({"issuer": "https://issuer"})},
        GOV + "nodes.snp.tcb_versions": {b"00a00f11": b"{}"},
        GOV + "nodes.snp.uvm_endorsements": {b"did": encoded({"feed": {"svn": "1"}, "other": {"svn": "2"}})},
        "public:ccf.internal.signatures": {SINGLETON: encoded({"root": "ab" * 32})},
    }
    tables.update(2, writes)
    return tables


def run(tables: GovernanceTables, constitution: str, name: str, args: object, ballots: int = 2) -> dict[str, Any]:
    """What comes of a proposal with one action: verdict, writes, privileged functions; or the error."""
    replayer = GovernanceReplayer(jobs=1, max_time_ms=20_000)
    action: dict[str, object] = {"name": name} if args is None else {"name": name, "args": args}
    members = [key.decode() for key, _ in tables.items(GOV + "members.info")]
    replayer.submit(
        tables,
        constitution=constitution,
        proposal_id="aa" * 32,
        proposal=encoded({"actions": [action]}),
        proposer_id=members[0],
        ballots=dict.fromkeys(members[:ballots], "export const vote = () => true"),
        before_resolve={},
        before_apply={},
        validate=True,
        apply=True,
        ledger_secret_seqno=1,
    )
    (outcome,) = replayer.finish()
    validation = outcome.validation
    assert isinstance(validation, tuple), validation and validation.message
    valid, description = validation
    result: dict[str, Any] = {"valid": valid, "resolution": outcome.resolution}
    if not valid:
        # The first line; the others are places in the text of one constitution or the other.
        return result | {"description": description.split("\n")[0]}
    if isinstance(outcome.writes, ScriptFailure):
        return result | {"failure": outcome.writes.message}
    return result | {"writes": outcome.writes, "effects": outcome.effects}


def endpoint(**changes: object) -> dict[str, object]:
    return {
        "js_module": "a.js",
        "js_function": "f",
        "forwarding_required": "never",
        "authn_policies": ["no_auth", {"all_of": ["jwt", "user_cert"]}],
        "mode": "readonly",
        "openapi": {},
    } | changes


def bundle(**changes: object) -> dict[str, object]:
    endpoints = {"/x": {"get": endpoint(**changes)}, "/y": {"post": endpoint(mode="readwrite")}}
    return {"metadata": {"endpoints": endpoints}, "modules": [{"name": "a.js", "module": "export const f = 1"}]}


POLICY_DIGEST = hashlib.sha256(b"policy").hexdigest()

CASES: list[tuple[str, Any]] = [
    ("no_such_action", {}),
    ("set_member", {"cert": "$CERT"}),
    ("set_member", {"cert": "$CERT", "encryption_pub_key": "key", "member_data": {"a": 1}, "recovery_role": "Owner"}),
    ("set_member", {"cert": "$CERT", "recovery_role": "Owner"}),
    ("set_member", {"cert": "$CERT", "encryption_pub_key": "key", "recovery_role": "King"}),
    ("set_member", {"cert": "nonsense"}),
    ("set_member", {"cert": "$CERT", "member_data": "text"}),
    ("remove_member", {"member_id": "$MEMBER"}),
    ("remove_member", {"member_id": "ff" * 32}),
    ("remove_member", {"member_id": "ff"}),
    ("remove_member", {"member_id": "zz" * 32}),
    ("remove_member", {}),
    ("set_member_data", {"member_id": "$MEMBER", "member_data": {"is_operator": True}}),
    ("set_member_data", {"member_id": "ff" * 32, "member_data": {}}),
    ("set_member_data", {"member_id": "$MEMBER"}),
    ("set_user", {"cert": "$CERT", "user_data": {"a": [1]}}),
    ("set_user", {"cert": "$CERT"}),
    ("set_user", {"cert": 7}),
    ("remove_user", {"user_id": "ff" * 32}),
    ("set_user_data", {"user_id": "ff" * 32, "user_data": {"a": 1}}),
    ("set_user_data", {"user_id": "ff" * 32}),
    ("set_recovery_threshold", {"recovery_threshold": 2}),
    ("set_recovery_threshold", {"recovery_threshold": 200}),
    ("set_recovery_threshold", {"recovery_threshold": 0}),
    ("set_recovery_threshold", {"recovery_threshold": 255}),
    ("set_recovery_threshold", {"recovery_threshold": 1.5}),
    ("trigger_recovery_shares_refresh", None),
    ("trigger_ledger_rekey", None),
    ("trigger_ledger_rekey", {"a": 1}),
    ("trigger_ledger_chunk", None),
    ("trigger_snapshot", None),
    ("transition_service_to_open", {"next_service_identity": "$CERT"}),
    ("transition_service_to_open", {"next_service_identity": "$CERT", "previous_service_identity": "$CERT"}),
    ("transition_service_to_open", {"previous_service_identity": "$CERT"}),
    ("transition_service_to_open", {"next_service_identity": "x"}),
    ("set_constitution", {"constitution": "$OURS"}),
    ("set_constitution", {"constitution": 7}),
    ("set_js_app", {"bundle": bundle()}),
    ("set_js_app", {"bundle": bundle(), "disable_bytecode_cache": True}),
    ("set_js_app", {"bundle": bundle(mode="odd")}),
    ("set_js_app", {"bundle": bundle(js_module="b.js")}),
    ("set_js_app", {"bundle": bundle(forwarding_required="perhaps")}),
    ("set_js_app", {"bundle": bundle(redirection_strategy="to_moon")}),
    ("set_js_app", {"bundle": bundle(redirection_strategy="to_primary")}),
    ("set_js_app", {"bundle": bundle(authn_policies=[7])}),
    ("set_js_app", {"bundle": bundle(authn_policies=[{"all_of": [7]}])}),
    ("set_js_app", {"bundle": bundle(authn_policies=[{}])}),
    ("set_js_app", {"bundle": bundle(openapi_hidden="yes")}),
    ("set_js_app", {"bundle": {"modules": []}}),
    ("set_js_app", {"bundle": {"metadata": {"endpoints": {}}}}),
    ("set_js_app", {}),
    ("remove_js_app", None),
    ("refresh_js_app_bytecode_cache", None),
    ("set_js_runtime_options", {"max_heap_bytes": 1, "max_stack_bytes": 2, "max_execution_time_ms": 3}),
    ("set_js_runtime_options", {"max_heap_bytes": 1, "max_stack_bytes": 2}),
    (
        "set_js_runtime_options",
        {"max_heap_bytes": 1, "max_stack_bytes": 2, "max_execution_time_ms": 3, "log_exception_details": 1},
    ),
    ("set_ca_cert_bundle", {"name": "b", "cert_bundle": "$CERT"}),
    ("set_ca_cert_bundle", {"name": "b", "cert_bundle": "x"}),
    ("remove_ca_cert_bundle", {"name": "bundle"}),
    ("set_jwt_issuer", {"issuer": "https://i", "auto_refresh": False, "jwks": {"keys": [JWK]}}),
    ("set_jwt_issuer", {"issuer": "https://i"}),
    ("set_jwt_issuer", {"issuer": "https://i", "auto_refresh": True, "ca_cert_bundle_name": "bundle"}),
    ("set_jwt_issuer", {"issuer": "https://i", "auto_refresh": True, "ca_cert_bundle_name": "none"}),
    ("set_jwt_issuer", {"issuer": "https://i", "auto_refresh": True}),
    ("set_jwt_issuer", {"issuer": "http://i", "auto_refresh": True, "ca_cert_bundle_name": "bundle"}),
    ("set_jwt_issuer", {"issuer": "https://i?q", "auto_refresh": True, "ca_cert_bundle_name": "bundle"}),
    ("set_jwt_issuer", {"issuer": "https://i", "jwks": {"keys": [{"kid": "k", "kty": "RSA"}]}}),
    ("set_jwt_issuer", {"issuer": "https://i", "jwks": {"keys": [{"kid": "k", "kty": "RSA", "x5c": ["bad"]}]}}),
    ("set_jwt_issuer", {"issuer": "https://i", "jwks": {"keys": [{"kid": "k", "kty": "EC", "x": "a", "y": "b"}]}}),
    ("set_jwt_public_signing_keys", {"issuer": "https://issuer", "jwks": {"keys": [JWK]}}),
    ("set_jwt_public_signing_keys", {"issuer": "https://other", "jwks": {"keys": [JWK]}}),
    ("remove_jwt_issuer", {"issuer": "https://issuer"}),
    ("remove_jwt_issuer", {"issuer": "https://other"}),
    ("add_node_code", {"code_id": "ab"}),
    ("remove_node_code", {"code_id": "ab"}),
    ("add_snp_measurement", {"measurement": "ab"}),
    ("remove_snp_measurement", {"measurement": "ab"}),
    ("add_snp_host_data", {"host_data": POLICY_DIGEST, "security_policy": "policy"}),
    ("add_snp_host_data", {"host_data": POLICY_DIGEST, "security_policy": ""}),
    ("remove_snp_host_data", {"host_data": POLICY_DIGEST}),
    ("add_snp_uvm_endorsement", {"did": "did", "feed": "new", "svn": "3"}),
    ("add_snp_uvm_endorsement", {"did": "did2", "feed": "new", "svn": "3"}),
    ("add_snp_uvm_endorsement", {"did": "did2", "feed": "new", "svn": 3}),
    ("remove_snp_uvm_endorsement", {"did": "did", "feed": "feed"}),
    ("remove_snp_uvm_endorsement", {"did": "did2", "feed": "feed"}),
    (
        "set_snp_minimum_tcb_version",
        {"cpuid": "00a00f11", "tcb_version": {"boot_loader": 1, "tee": 2, "snp": 3, "microcode": 4}},
    ),
    ("set_snp_minimum_tcb_version", {"cpuid": "00A00F11", "tcb_version": {}}),
    ("set_snp_minimum_tcb_version", {"cpuid": "00a00f11", "tcb_version": {"boot_loader": 1}}),
    ("set_snp_minimum_tcb_version_hex", {"cpuid": "00a00f11", "tcb_version": "d315000000000004"}),
    ("set_snp_minimum_tcb_version_hex", {"cpuid": "00a00f11", "tcb_version": "d3150000000000"}),
    ("remove_snp_minimum_tcb_version", {"cpuid": "00a00f11"}),
    ("remove_snp_minimum_tcb_version", {"cpuid": "00a00f12"}),
    ("remove_snp_minimum_tcb_version", {"cpuid": "00a0"}),
    ("set_node_data", {"node_id": NODE, "node_data": {"a": 1}}),
    ("transition_node_to_trusted", {"node_id": PENDING_NODE, "valid_from": "260101000000Z"}),
    ("transition_node_to_trusted", {"node_id": NODE, "valid_from": "260101000000Z"}),
    ("transition_node_to_trusted", {"node_id": "ff" * 32, "valid_from": "260101000000Z"}),
    (
        "transition_node_to_trusted",
        {"node_id": PENDING_NODE, "valid_from": "260101000000Z", "validity_period_days": 9999},
    ),
    ("transition_node_to_trusted", {"node_id": PENDING_NODE, "valid_from": 1}),
    ("remove_node", {"node_id": NODE}),
    ("remove_node", {"node_id": PENDING_NODE}),
    ("remove_node", {"node_id": "ff" * 32}),
    ("set_node_certificate_validity", {"node_id": NODE, "valid_from": "260101000000Z"}),
    ("set_node_certificate_validity", {"node_id": PENDING_NODE, "valid_from": "260101000000Z"}),
    ("set_node_certificate_validity", {"node_id": NODE, "valid_from": "260101000000Z", "validity_period_days": 9999}),
    ("set_node_certificate_validity", {"node_id": NODE, "valid_from": "260101000000Z", "validity_period_days": 0}),
    ("set_all_nodes_certificate_validity", {"valid_from": "260101000000Z", "validity_period_days": 5}),
    ("set_service_certificate_validity", {"valid_from": "260101000000Z", "validity_period_days": 5}),
    ("set_service_certificate_validity", {"valid_from": "260101000000Z", "validity_period_days": 9999}),
    ("set_service_configuration", {"recovery_threshold": 2, "recent_cose_proposals_window_size": 7}),
    ("set_service_configuration", {"reconfiguration_type": "TwoTransaction"}),
    ("set_service_configuration", {"reconfiguration_type": "Odd"}),
    ("set_service_configuration", {"consensus": "CFT"}),
    ("set_service_configuration", {"recent_cose_proposals_window_size": 10001}),
    ("assert_service_identity", {"service_identity": "$SERVICE"}),
    ("assert_service_identity", {"service_identity": "$CERT"}),
]


def names_of_cases() -> list[str]:
    return [f"{name}-{index}" for index, (name, _) in enumerate(CASES)]


def filled(args: Any, genesis: dict[str, dict[bytes, bytes | None]], certificate: str) -> Any:
    service = json.loads(genesis[GOV + "service.info"][SINGLETON] or b"")["cert"]
    values = {
        "$CERT": certificate,
        "$MEMBER": member_id(certificate),
        "$SERVICE": service,
        "$OURS": constitution_text(),
    }
    if isinstance(args, dict):
        return {key: values.get(value, value) if isinstance(value, str) else value for key, value in args.items()}
    return args


@pytest.mark.parametrize(("name", "args"), CASES, ids=names_of_cases())
def test_actions_do_what_those_of_ccf_do(
    name: str, args: Any, genesis: dict[str, dict[bytes, bytes | None]], certificate: str
) -> None:
    tables = state(genesis, certificate)
    theirs_text = json.loads(genesis[GOV + "constitution"][SINGLETON] or b"")
    args = filled(args, genesis, certificate)
    ours, theirs = (run(tables, text, name, args) for text in (constitution_text(), theirs_text))
    assert ours == theirs


def test_every_action_of_ccf_is_tried() -> None:
    defined = "".join(path.read_text() for path in constitution_files())
    tried = {name for name, _ in CASES} - {"no_such_action"}
    assert all(f'"{name}"' in defined for name in tried)
    assert len(tried) == 41


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_are_constitutions(
    variant: str, genesis: dict[str, dict[bytes, bytes | None]], certificate: str
) -> None:
    tables = state(genesis, certificate)
    text = constitution_text(variant, virtual=True)
    accepted = run(tables, constitution_text(), "set_constitution", {"constitution": text})
    assert accepted["valid"]
    added = run(tables, text, "add_virtual_host_data", {"host_data": "ab"})
    assert added["writes"][GOV + "nodes.virtual.host_data"] == {b"ab": SINGLETON}
    assert added["resolution"] == "Accepted"


def test_a_majority_is_needed(genesis: dict[str, dict[bytes, bytes | None]], certificate: str) -> None:
    tables = state(genesis, certificate)
    assert run(tables, constitution_text(), "trigger_snapshot", None, ballots=1)["resolution"] == "Open"
    assert run(tables, constitution_text(), "trigger_snapshot", None, ballots=2)["resolution"] == "Accepted"
    assert run(tables, constitution_text("sandbox"), "trigger_snapshot", None, ballots=0)["resolution"] == "Accepted"


VALIDATE = "export function validate(input) {}"
RESOLVE = "export function resolve(proposal, proposerId, votes) {}"
APPLY = "export function apply(proposal, proposerId) {}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "constitution is empty"),
        (None, "must be of type string"),
        ("Not syntactically valid JS", "Failed to compile proposed constitution"),
        (RESOLVE + APPLY, "Failed to find export 'validate' in module 'proposed constitution'"),
        (VALIDATE + APPLY, "Failed to find export 'resolve'"),
        (VALIDATE + RESOLVE, "Failed to find export 'apply'"),
        (VALIDATE + RESOLVE + "export const apply = 7", "Export 'apply' of module 'proposed constitution' is not a"),
        (
            VALIDATE + APPLY + "export function resolve(one) {}",
            "proposed constitution exports function resolve with 1 arg, expected between 3 and 4 args (proposal, "
            "proposerId, votes[, proposalId])",
        ),
        (
            RESOLVE + APPLY + "export function validate(too, many, args) {}",
            "proposed constitution exports function validate with 3 args, expected 1 arg (input)",
        ),
        # The top level cannot be tried without doing what it does; CCF forgives it as long as the functions are there.
        (VALIDATE + RESOLVE + APPLY + ";console.info('hello')", None),
        (VALIDATE + RESOLVE + APPLY + ";throw new Error('on the top level')", None),
    ],
)
def test_what_a_proposed_constitution_must_be(
    text: str | None, expected: str | None, genesis: dict[str, dict[bytes, bytes | None]], certificate: str
) -> None:
    result = run(state(genesis, certificate), constitution_text(), "set_constitution", {"constitution": text})
    assert result["valid"] == (expected is None)
    assert (expected or "") in result.get("description", "")
