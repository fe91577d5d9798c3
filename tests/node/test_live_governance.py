"""Whole lives of proposals over a real data plane; and the ledger that comes of them, audited."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from support.live_governance import NO, YES, Identity, LiveService, make_identity
from support.peer import ask
from support.run import codes, tallystick
from tallystick.ledger import Ledger
from tallystick.node.constitution import constitution_files, constitution_text

GOV = "public:ccf.gov."
RSA_KEY = {
    "kid": "first",
    "kty": "RSA",
    "e": "AQAB",
    "n": (
        "3WNsqTvy9WNeSrkPfLTYb6QRxg1a78m-McheOc1GuYIG4LLG15jvsTxXSq50k0yPjFn8zaAlaBd7j15icagCSOp_tynKS2N1BkfB1mPKpgke"
        "YbuA7W9k4IZr43SapftFz_s5PWycR2rI6cympiI9pH9QU96lbGCl0YFZ9xYqFJqziF2dPF3WBDb0E6h_mWK3lELhuML0DNLTT-bybHnVzat6"
        "GtSfmcvinhDQ5lMgN9fiyRf9Coen6eGf_Yb_2lO9m1NOyl057Ks5RxAxw61c_QGp9LGJVviD3iBjF5MoNO7nJAIHDdlO1H7Ea4KW3G6b3mRe"
        "FlPWFbaWFfcGjW6rKQ"
    ),
}


def test_the_official_package_verifies_the_ledger(service: LiveService, peer_python: Path) -> None:
    user = make_identity("user")
    for actions in ([("set_user", {"cert": user.certificate})], [("trigger_ledger_rekey", None)]):
        assert service.pass_proposal(*actions).json()["proposalState"] == "Accepted"
    service.sign()
    service.stop()
    verdict = ask(peer_python, "verify", service.ledger)
    assert verdict["verdict"] == "verified", verdict
    assert verdict["last_txid"] == f"2.{verdict['transactions']}"


def audited(service: LiveService, *warnings: str) -> None:
    """Ends the service; its ledger must be verified and its governance replayed, with no findings but ``warnings``."""
    service.sign()
    service.stop()
    anchor = ("--uncommitted", "--service-cert", service.directory / "service.pem", "--format", "json", service.ledger)
    whole = tallystick("verify", *anchor)
    assert whole.exit_code == 0, whole.stdout
    replayed = tallystick("gov", "verify", *anchor)
    assert replayed.exit_code == 0, replayed.stdout
    assert replayed.json["verdict"] == "verified"
    assert codes(replayed.json["governance"]["findings"]) == set(warnings), replayed.stdout


@pytest.fixture(scope="module")
def people() -> list[Identity]:
    """Three members with recovery keys, on all three curves."""
    curves = (ec.SECP384R1(), ec.SECP256R1(), ec.SECP521R1())
    return [make_identity(f"member{index}", curve=curve, recovery=True) for index, curve in enumerate(curves)]


@pytest.fixture(scope="module")
def outsider() -> Identity:
    return make_identity("outsider", recovery=True)


@pytest.fixture
def fresh(tmp_path: Path, people: list[Identity]) -> Iterator[LiveService]:
    """A service whose members have acknowledged nothing yet."""
    service = LiveService(tmp_path / "node", people)
    yield service
    service.stop()


@pytest.fixture
def service(fresh: LiveService) -> LiveService:
    """An open service."""
    fresh.open()
    return fresh


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, people: list[Identity]) -> Iterator[LiveService]:
    """An open service for tests that leave nothing behind."""
    service = LiveService(tmp_path_factory.mktemp("shared") / "node", people)
    service.open()
    yield service
    service.stop()


# -------------------------------------------------------------------------------------------- acknowledgements


def test_members_acknowledge_and_open_the_service(fresh: LiveService) -> None:
    first = fresh.members[0]
    assert fresh.propose(first, ("trigger_snapshot", None)).refusal == "Signer is not an ACTIVE member"
    digest = fresh.get(f"/gov/members/state-digests/{first.id}").json()
    assert digest == {"memberId": first.id, "stateDigest": ""}
    fresh.open()
    info = fresh.get("/gov/service/info").json()
    assert (info["status"], info["configuration"]["recoveryThreshold"]) == ("Open", 1)
    members = {member["memberId"]: member for member in fresh.get("/gov/service/members").json()["value"]}
    assert {member.id for member in fresh.members} == set(members)
    assert {(member["status"], member["recoveryRole"]) for member in members.values()} == {("Active", "Participant")}
    for member in fresh.members:
        share = fresh.get(f"/gov/recovery/encrypted-shares/{member.id}").json()["encryptedShare"]
        assert len(member.decrypt(share)) == 44
    audited(fresh)


def test_an_acknowledgement_must_be_of_the_digest_asked_for(fresh: LiveService) -> None:
    first, second = fresh.members[:2]
    path = f"/gov/members/state-digests/{first.id}"
    fresh.request("POST", path + ":update", first.sign(b"", "state_digest", created_at=fresh.tick()))
    wrong = json.dumps({"stateDigest": "ab" * 32}).encode()
    answer = fresh.request("POST", path + ":ack", first.sign(wrong, "ack", created_at=fresh.tick()))
    assert answer.error == (400, "StateDigestMismatch")
    for content in (b"{}", b"[]", b'{"stateDigest": 7}'):
        answer = fresh.request("POST", path + ":ack", first.sign(content, "ack", created_at=fresh.tick()))
        assert answer.error == (400, "InvalidInput")
    answer = fresh.request("POST", path + ":ack", first.sign(b"not json", "ack", created_at=fresh.tick()))
    assert answer.error == (400, "InvalidInput")
    answer = fresh.request("POST", path + ":ack", second.sign(wrong, "ack", created_at=fresh.tick()))
    assert answer.error == (400, "InvalidAuthenticationInfo")
    assert fresh.get("/gov/members/state-digests/unknown").error == (404, "ResourceNotFound")


def test_half_a_surrogate_pair_in_a_request_is_text_like_any(fresh: LiveService) -> None:
    # JSON can spell it and UTF-8 cannot.
    first = fresh.members[0]
    path = f"/gov/members/state-digests/{first.id}"
    signed = first.sign(b'{"stateDigest": "\\ud800"}', "ack", created_at=fresh.tick())
    answer = fresh.request("POST", path + ":ack", signed)
    assert answer.error == (400, "StateDigestMismatch")
    assert answer.message.endswith("\ud800")


@pytest.mark.parametrize("opened", [True, False])
def test_nobody_is_active_to_whom_no_share_can_be_encrypted(
    fresh: LiveService, outsider: Identity, *, opened: bool
) -> None:
    # While a service is opening or recovering no share is issued at an acknowledgement, where it would show.
    if opened:
        fresh.open()
        arguments = {"cert": outsider.certificate, "encryption_pub_key": "no key"}
        assert fresh.pass_proposal(("set_member", arguments)).json()["proposalState"] == "Accepted"
        member = outsider
    else:
        member = fresh.members[0]
        tx = fresh.running.node.runtime.begin()
        tx.set(GOV + "members.encryption_public_keys", member.id.encode(), b"no key")
        fresh.running.node.commit(tx)
    answer = fresh.acknowledge(member)
    assert answer.error == (500, "InternalError")
    assert answer.message.endswith(f"new recovery member m[{member.id}]: encryption key cannot be read")
    assert fresh.get(f"/gov/service/members/{member.id}").json()["status"] == "Accepted"


def test_a_privileged_function_that_refuses_is_named(service: LiveService) -> None:
    node = service.running.node.node_id
    for action, refusal in (
        (("set_jwt_issuer", {"issuer": "https://a", "jwks": {"keys": []}}), "ccf.setJwtPublicSigningKeys: JWKS has no"),
        (
            ("set_node_certificate_validity", {"node_id": node, "valid_from": "0001-01-01T00:00:00+10:00"}),
            "ccf.network.generateEndorsedCertificate: not a time: 0001-01-01T00:00:00+10:00",
        ),
    ):
        answer = service.pass_proposal(action)
        assert answer.error == (500, "InternalError")
        assert f"Failed to apply(): InternalError: {refusal}" in answer.message


def test_data_of_members_may_hold_half_a_surrogate_pair(service: LiveService, outsider: Identity) -> None:
    arguments = {"cert": outsider.certificate, "member_data": {"name": "\ud800"}}
    assert service.pass_proposal(("set_member", arguments)).json()["proposalState"] == "Accepted"
    answer = service.get(f"/gov/service/members/{outsider.id}")
    assert answer.json()["memberData"] == {"name": "\ud800"}
    service.acknowledge(outsider)
    assert service.get(f"/gov/service/members/{outsider.id}").json()["status"] == "Active"
    audited(service)


def test_a_new_member_gets_a_share_with_its_acknowledgement(service: LiveService, outsider: Identity) -> None:
    assert service.get(f"/gov/recovery/encrypted-shares/{outsider.id}").error == (404, "ResourceNotFound")
    key = outsider.encryption_public_key
    added = service.pass_proposal(("set_member", {"cert": outsider.certificate, "encryption_pub_key": key}))
    assert added.json()["proposalState"] == "Accepted"
    before = service.read("public:ccf.internal.recovery_shares")
    assert service.acknowledge(outsider).status == 204
    after = service.read("public:ccf.internal.recovery_shares")
    assert set(after["encrypted_shares"]) == set(before["encrypted_shares"]) | {outsider.id}
    # Acknowledging again changes nothing but the record of it.
    assert service.acknowledge(outsider).status == 204
    assert service.read("public:ccf.internal.recovery_shares") == after
    removed = service.pass_proposal(("remove_member", {"member_id": outsider.id}))
    assert removed.json()["proposalState"] == "Accepted"
    rekeyed = service.read("public:ccf.internal.recovery_shares")
    assert set(rekeyed["encrypted_shares"]) == set(before["encrypted_shares"])
    assert service.propose(outsider, ("trigger_snapshot", None)).refusal == "Signer is not a known member"
    assert service.get(f"/gov/service/members/{outsider.id}").error == (404, "ResourceNotFound")
    audited(service)


# --------------------------------------------------------------------------------------------- authentication


def test_only_members_signatures_count(shared: LiveService, outsider: Identity) -> None:
    first = shared.members[0]
    content = json.dumps({"actions": []}).encode()
    path = "/gov/members/proposals:create"
    now = shared.tick()

    def refused(body: bytes, headers: dict[str, str] | None = None) -> str:
        answer = shared.request("POST", path, body, headers=headers)
        assert answer.error == (401, "InvalidAuthenticationInfo")
        assert answer.headers["www-authenticate"] == 'COSE-SIGN1 realm="Signed request access"'
        return answer.refusal

    signed = first.sign(content, "proposal", created_at=now)
    assert refused(outsider.sign(content, "proposal", created_at=now)) == "Signer is not a known member"
    expected = "Found ccf.gov.msg.type set to ballot, expected ccf.gov.msg.type to be proposal"
    assert refused(first.sign(content, "ballot", created_at=now)) == expected
    assert "created_at" in refused(first.sign(content, "proposal", created_at=None))
    assert "created_at" in refused(first.sign(content, "proposal", created_at=-1))
    assert refused(signed[:-1] + bytes([signed[-1] ^ 1])) == "Failed to validate COSE Sign1"
    assert refused(signed[1:]) == "Parse COSE tag: expected 18"
    assert refused(signed, {}) == "Missing content-type header"
    assert refused(signed, {"content-type": "application/json"}) == "Content type is not set to application/cose"
    for garbage in (b"", b"\xff", b"{}", signed[:40], signed + b"\0", b"\xd2" * 10_000):
        assert refused(garbage).startswith("Parse COSE")


def test_the_api_version_is_asked_for(shared: LiveService) -> None:
    path = "/gov/service/info"
    assert shared.get(path, query="").error == (400, "MissingApiVersionParameter")
    assert shared.get(path, query="api-version=2020-01-01").error == (400, "UnsupportedApiVersionValue")
    assert shared.get(path, query="api-version=2023-06-01-preview").status == 200


# -------------------------------------------------------------------------------------------------- proposals


def test_the_life_of_a_proposal(service: LiveService) -> None:
    first, second, third = service.members
    user = make_identity("user")
    actions = ("set_user", {"cert": user.certificate, "user_data": {"name": "Ärger"}})
    created = service.propose(first, actions)
    proposal = created.json()
    name = proposal["proposalId"]
    assert proposal == {"proposalId": name, "proposerId": first.id, "proposalState": "Open", "ballotCount": 0}
    assert "x-ms-ccf-transaction-id" in created.headers
    path = f"/gov/members/proposals/{name}"
    assert service.get(path).json() == proposal
    assert service.get(path + "/actions").json()["actions"][0]["name"] == "set_user"
    assert service.get(f"{path}/ballots/{first.id}").error == (404, "VoteNotFound")
    assert service.vote(first, name).json()["ballotCount"] == 1
    assert service.get(f"{path}/ballots/{first.id}").body.decode() == YES
    assert service.vote(first, name).json()["ballotCount"] == 1, "the same ballot again changes nothing"
    assert service.vote(first, name, NO).error == (400, "VoteAlreadyExists")
    assert service.vote(second, name, NO).json()["proposalState"] == "Open"
    accepted = service.vote(third, name).json()
    assert accepted["proposalState"] == "Accepted"
    assert accepted["finalVotes"] == {first.id: True, second.id: False, third.id: True}
    assert accepted["voteFailures"] == {}
    assert service.get(f"/gov/service/users/{user.id}").json() == {
        "userId": user.id,
        "certificate": user.certificate,
        "userData": {"user_data": {"name": "Ärger"}},
    }
    assert service.vote(first, name).error == (400, "ProposalNotOpen")
    assert service.withdraw(first, name).error == (400, "ProposalNotOpen")
    # The next one that is closed takes the place of this one in the tables.
    assert service.pass_proposal(("remove_user", {"user_id": user.id})).json()["proposalState"] == "Accepted"
    assert service.get(path).error == (404, "ProposalNotFound")
    assert service.withdraw(first, name).status == 204
    assert service.get("/gov/service/users").json() == {"value": []}
    audited(service)


def test_withdrawal(service: LiveService) -> None:
    first, second, _ = service.members
    name = service.propose(first, ("trigger_snapshot", None)).json()["proposalId"]
    assert service.withdraw(second, name).error == (403, "AuthorizationFailed")
    assert service.withdraw(first, name).json()["proposalState"] == "Withdrawn"
    assert service.withdraw(first, name).json()["proposalState"] == "Withdrawn"
    assert service.vote(second, name).error == (400, "ProposalNotOpen")
    assert service.withdraw(first, "ab" * 32).status == 204
    audited(service)


def test_names_must_fit(shared: LiveService) -> None:
    first, second, _ = shared.members
    name = shared.propose(first, ("trigger_snapshot", None)).json()["proposalId"]
    ballot = json.dumps({"ballot": YES}).encode()
    path = "/gov/members/proposals/{}/ballots/{}:submit"

    def submit(proposal_id: str | None, in_path: str, member: str, content: bytes = ballot) -> tuple[int, str]:
        signed = first.sign(content, "ballot", created_at=shared.tick(), proposal_id=proposal_id)
        return shared.request("POST", path.format(in_path, member), signed).error

    assert submit(None, name, first.id) == (400, "InvalidResourceName")
    assert submit("ab" * 32, name, first.id) == (400, "InvalidResourceName")
    assert submit(name, name, second.id) == (400, "InvalidResourceName")
    assert submit("short", "short", first.id) == (400, "InvalidResourceName")
    assert submit("ab" * 32, "ab" * 32, first.id) == (404, "ProposalNotFound")
    for content in (b"{}", b"[]", b'{"ballot": 7}', b"nothing", b'{"ballot": "\\ud800"}'):
        assert submit(name, name, first.id, content) == (400, "InvalidInput")
    assert shared.get("/gov/members/proposals/short").error == (400, "InvalidResourceName")
    assert shared.get("/gov/members/proposals/" + "ab" * 32).error == (404, "ProposalNotFound")
    assert shared.withdraw(first, name).status == 200


def test_what_the_constitution_finds_invalid_is_refused(shared: LiveService) -> None:
    first = shared.members[0]
    before = shared.running.node.runtime.last_seqno
    answer = shared.propose(first, ("set_user", {"cert": "x"}), ("no_such", None))
    assert answer.error == (400, "ProposalFailedToValidate")
    assert "set_user at position 0 failed validation: Error: cert must be a valid X509" in answer.message
    assert "no_such: no such action" in answer.message
    assert shared.propose_text(first, b"{}").error == (400, "ProposalFailedToValidate")
    assert shared.propose_text(first, b"not json").error == (500, "InternalError")
    assert shared.propose_text(first, b"\xff\xfe").error == (500, "InternalError")
    runtime = shared.running.node.runtime
    assert runtime.last_seqno - before <= 1, "at most a signature"


def test_a_request_cannot_be_used_twice(service: LiveService) -> None:
    first = service.members[0]
    signed = first.sign(b'{"actions": []}', "proposal", created_at=service.tick())
    created = service.request("POST", "/gov/members/proposals:create", signed)
    again = service.request("POST", "/gov/members/proposals:create", signed)
    assert again.error == (400, "ProposalReplay")
    assert created.json()["proposalId"] in again.message
    late = first.sign(b'{"actions": []}', "proposal", created_at=10_000_000_000)
    assert service.request("POST", "/gov/members/proposals:create", late).error == (400, "InvalidCreatedAt")
    old = service.propose(first, ("trigger_snapshot", None), created_at=service.clock - 1000)
    assert old.error == (400, "ProposalCreatedTooLongAgo")
    audited(service)


def test_the_window_forgets_and_the_median_remembers(tmp_path: Path, people: list[Identity]) -> None:
    service = LiveService(tmp_path / "node", people, recent_cose_proposals_window_size=3)
    service.open()
    first = service.members[0]
    start = service.tick()
    for offset in (10, 20, 30, 40, 15):
        created = service.propose(first, ("trigger_snapshot", None), created_at=start + offset)
        expected = (200, None) if offset != 15 else (400, "ProposalCreatedTooLongAgo")
        assert (created.status, created.json().get("error", {}).get("code")) == expected
    rows = service.running.node.runtime.begin().entries(GOV + "cose_recent_proposals")
    assert [int(key[:10]) - start for key, _ in rows] == [20, 30, 40]
    assert service.propose(first, ("trigger_snapshot", None), created_at=start + 30).status == 200
    audited(service)


# ----------------------------------------------------------------------------------------------------- scripts


def test_ballots_that_throw_or_loop_are_failures(service: LiveService) -> None:
    first, second, third = service.members
    name = service.propose(first, ("trigger_snapshot", None)).json()["proposalId"]
    assert service.vote(first, name, "export function vote () { throw new Error('no idea') }").status == 200
    assert service.vote(second, name).json()["proposalState"] == "Open"
    closed = service.vote(third, name).json()
    assert closed["proposalState"] == "Accepted"
    assert closed["finalVotes"] == {second.id: True, third.id: True}
    assert closed["voteFailures"][first.id]["reason"] == "Error: no idea"
    assert "vote" in closed["voteFailures"][first.id]["trace"]
    name = service.propose(first, ("trigger_snapshot", None)).json()["proposalId"]
    assert service.vote(first, name).status == 200
    looped = service.vote(second, name, "export function vote () { for (;;); }")
    assert looped.json()["proposalState"] == "Open"
    unusable = service.vote(third, name, "export function vote () {")
    assert unusable.error == (500, "InternalError")
    assert service.vote(third, name, "export const other = 1").error == (500, "InternalError")
    closed = service.vote(third, name).json()
    assert closed["voteFailures"][second.id]["reason"] == "Operation took too long to complete."
    audited(service, "gov-ballot-failed")


def test_ballots_see_public_tables_and_change_nothing(service: LiveService) -> None:
    first, second, third = service.members
    name = service.propose(first, ("trigger_snapshot", None)).json()["proposalId"]
    look = "export function vote (p, m) { return ccf.kv['public:ccf.gov.members.info'].has(ccf.strToBuf(m)) }"
    touch = "export function vote () { ccf.kv['public:ccf.gov.members.info'].clear(); return true }"
    pry = "export function vote () { return ccf.kv['secrets'].size >= 0 }"
    assert service.vote(first, name, touch).status == 200
    assert service.vote(second, name, pry).status == 200
    resolved = service.vote(third, name, look).json()
    assert resolved["proposalState"] == "Open"
    assert len(service.get("/gov/service/members").json()["value"]) == 3
    audited(service, "gov-ballot-failed")


def test_a_failed_application_leaves_no_trace(service: LiveService) -> None:
    first, second, _ = service.members
    user = make_identity("user")
    actions = [
        ("set_user", {"cert": user.certificate}),
        ("set_member_data", {"member_id": "ab" * 32, "member_data": {}}),
    ]
    name = service.propose(first, *actions).json()["proposalId"]
    assert service.vote(first, name).status == 200
    failed = service.vote(second, name)
    assert failed.error == (500, "InternalError")
    assert failed.message.startswith(f"Failed to apply(): Error: Member {'ab' * 32} does not exist\nTrace: ")
    assert service.get(f"/gov/members/proposals/{name}").json()["ballotCount"] == 1
    assert service.get("/gov/service/users").json() == {"value": []}
    audited(service)


def test_constitutions_that_go_wrong(tmp_path: Path, people: list[Identity]) -> None:
    odd = tmp_path / "odd.js"
    odd.write_text(
        """
        export function validate(input) {
          if (input.includes("none")) return 7;
          if (input.includes("throw")) throw new Error("bad day");
          return { valid: true };
        }
        export function resolve(proposal, proposer, votes) {
          if (proposal.includes("loop")) for (;;);
          if (proposal.includes("odd")) return "Maybe";
          return proposal.includes("reject") ? "Rejected" : "Open";
        }
        export function apply(proposal, id) {}
        """
    )
    service = LiveService(tmp_path / "node", people, constitution=[odd])
    first = service.members[0]
    assert service.acknowledge(first).status == 204
    assert "Validation failed to return an object" in service.propose_text(first, b'"none"').message
    assert service.propose_text(first, b'"throw"').message.startswith("Failed to execute validation: Error: bad day")
    assert 'resolve() returned invalid status value: "Maybe"' in service.propose_text(first, b'"odd"').message
    looped = service.propose_text(first, b'"loop"')
    assert looped.error == (500, "InternalError")
    assert looped.message.startswith("Failed to resolve(): Operation took too long to complete.")
    rejected = service.propose_text(first, b'"reject"').json()
    assert (rejected["proposalState"], rejected["finalVotes"], rejected["voteFailures"]) == ("Rejected", {}, {})
    audited(service)


def test_a_new_constitution_drops_open_proposals(service: LiveService) -> None:
    first = service.members[0]
    name = service.propose(first, ("trigger_snapshot", None)).json()["proposalId"]
    changed = service.pass_proposal(("set_constitution", {"constitution": constitution_text("sandbox")}))
    assert changed.json()["proposalState"] == "Accepted"
    assert service.get(f"/gov/members/proposals/{name}").json()["proposalState"] == "Dropped"
    assert service.vote(first, name).error == (400, "ProposalNotOpen")
    assert service.get("/gov/service/constitution").body.decode() == constitution_text("sandbox")
    at_once = service.propose(first, ("trigger_snapshot", None)).json()
    assert (at_once["proposalState"], at_once["ballotCount"]) == ("Accepted", 0)
    audited(service)


# ----------------------------------------------------------------------------------------------------- effects


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_what_members_can_change(
    whose: str, tmp_path: Path, people: list[Identity], request: pytest.FixtureRequest
) -> None:
    """Under our constitution, and under the one that a real service was started with."""
    constitution = None
    if whose == "theirs":
        ledger = request.getfixturevalue("shared_data") / "ccf-built" / "js1" / "ledger"
        text = (next(iter(Ledger(ledger).transactions())).table(GOV + "constitution") or {})[bytes(8)]
        (tmp_path / "theirs.js").write_text(json.loads(text or b""))
        constitution = [tmp_path / "theirs.js"]
    service = LiveService(tmp_path / "node", people, constitution=constitution)
    service.open()
    first, second, third = service.members
    bundle = {
        "metadata": {
            "endpoints": {
                "/log/{id}": {
                    "get": {
                        "js_module": "app.js",
                        "js_function": "get",
                        "forwarding_required": "never",
                        "authn_policies": ["no_auth"],
                        "mode": "readonly",
                        "openapi": {},
                    }
                }
            }
        },
        "modules": [{"name": "app.js", "module": "export function get() { return { body: 'x' } }"}],
    }
    service_certificate = service.running.node.service.certificate
    steps: list[list[tuple[str, Any]]] = [
        [("set_js_app", {"bundle": bundle, "disable_bytecode_cache": True})],
        [("set_js_app", {"bundle": bundle})],
        [("refresh_js_app_bytecode_cache", None)],
        [("set_recovery_threshold", {"recovery_threshold": 2})],
        [("trigger_ledger_rekey", None)],
        [("trigger_recovery_shares_refresh", None)],
        [("set_ca_cert_bundle", {"name": "roots", "cert_bundle": first.certificate})],
        [("set_jwt_issuer", {"issuer": "https://issuer.example", "auto_refresh": False, "jwks": {"keys": [RSA_KEY]}})],
        [("set_jwt_public_signing_keys", {"issuer": "https://issuer.example", "jwks": {"keys": [RSA_KEY]}})],
        [("set_member_data", {"member_id": second.id, "member_data": {"team": "blue"}})],
        [("set_service_configuration", {"recent_cose_proposals_window_size": 50})],
        [("set_node_data", {"node_id": service.running.node.node_id, "node_data": {"rack": 4}})],
        [("assert_service_identity", {"service_identity": service_certificate}), ("trigger_ledger_chunk", None)],
        [("set_all_nodes_certificate_validity", {"valid_from": "261125000000Z", "validity_period_days": 3})],
        [("set_js_runtime_options", {"max_heap_bytes": 1, "max_stack_bytes": 1, "max_execution_time_ms": 1})],
        [("add_snp_host_data", {"host_data": hashlib.sha256(b"p").hexdigest(), "security_policy": "p"})],
        [("add_snp_uvm_endorsement", {"did": "did:x509:a", "feed": "f", "svn": "7"})],
        [("remove_member", {"member_id": third.id})],
    ]
    for actions in steps:
        answer = service.pass_proposal(*actions)
        assert answer.status == 200, (actions, answer.body)
        assert answer.json()["proposalState"] == "Accepted", actions
    _check_state_of_the_service(service)
    audited(service)


def _check_state_of_the_service(service: LiveService) -> None:
    first, second, third = service.members
    app = service.get("/gov/service/javascript-app").json()["endpoints"]["/log/{id}"]["GET"]
    assert (app["jsModule"], app["authnPolicies"], app["mode"]) == ("/app.js", ["no_auth"], "readonly")
    original = service.get("/gov/service/javascript-app", query="api-version=2024-07-01&case=original").json()
    assert original["endpoints"]["/log/{id}"]["GET"]["js_module"] == "/app.js"
    odd = service.get("/gov/service/javascript-app", query="api-version=2024-07-01&case=odd")
    assert odd.error == (400, "InvalidQueryParameterValue")
    older = service.get("/gov/service/javascript-app", query="api-version=2023-06-01-preview")
    assert older.error == (400, "UnsupportedApiVersionValue")
    assert service.get("/gov/service/javascript-modules").json() == {"value": [{"moduleName": "/app.js"}]}
    module = service.get("/gov/service/javascript-modules/%2Fapp.js")
    assert module.headers["content-type"] == "text/javascript"
    assert module.body.startswith(b"export function get")
    assert service.get("/gov/service/javascript-modules/none").error == (404, "ResourceNotFound")
    jwk = service.get("/gov/service/jwk").json()
    assert jwk["issuers"] == {"https://issuer.example": {"autoRefresh": False}}
    assert jwk["keys"]["first"][0]["publicKey"].startswith("-----BEGIN PUBLIC KEY-----\n")
    assert jwk["caCertBundles"] == {"roots": first.certificate}
    policy = service.get("/gov/service/join-policy").json()
    assert policy["snp"]["hostData"] == {hashlib.sha256(b"p").hexdigest(): "p"}
    assert policy["snp"]["uvmEndorsements"] == {"did:x509:a": {"f": {"svn": "7"}}}
    assert len(policy["virtual"]["measurements"]) == 1
    (node,) = service.get("/gov/service/nodes").json()["value"]
    assert (node["status"], node["nodeData"], node["retiredCommitted"]) == ("Trusted", {"rack": 4}, False)
    assert node["quoteInfo"]["format"] == "Insecure_Virtual"
    assert set(node["quoteInfo"]["details"]) == {"measurement", "reportData", "hostData"}
    assert service.get(f"/gov/service/nodes/{node['nodeId']}").json() == node
    assert service.get("/gov/service/nodes/" + "ab" * 32).error == (404, "ResourceNotFound")
    assert service.get(f"/gov/service/members/{second.id}").json()["memberData"] == {"team": "blue"}
    assert service.get(f"/gov/service/members/{third.id}").error == (404, "ResourceNotFound")
    info = service.get("/gov/service/info").json()
    assert info["configuration"]["recoveryThreshold"] == 2
    assert info["configuration"]["recentCoseProposalsWindowSize"] == 50
    last = service.get("/gov/service/transactions/commit").json()
    assert last["status"] == "Committed"
    assert service.get(f"/gov/service/transactions/{last['transactionId']}").json() == last
    assert service.get("/gov/service/transactions/0.0").error == (400, "InvalidQueryParameterValue")


def test_shares_can_be_handed_in_only_during_a_recovery(shared: LiveService) -> None:
    first = shared.members[0]
    share = shared.get(f"/gov/recovery/encrypted-shares/{first.id}").json()["encryptedShare"]
    content = json.dumps({"share": base64.b64encode(first.decrypt(share)).decode()}).encode()
    signed = first.sign(content, "recovery_share", created_at=shared.tick())
    answer = shared.request("POST", f"/gov/recovery/members/{first.id}:recover", signed)
    assert answer.error == (403, "ServiceNotWaitingForRecoveryShares")


def test_operators_act_alone(tmp_path: Path, people: list[Identity]) -> None:
    operator = make_identity("operator")
    service = LiveService(tmp_path / "node", people, constitution=constitution_files("operator"))
    service.open()
    added = service.pass_proposal(("set_member", {"cert": operator.certificate, "member_data": {"is_operator": True}}))
    assert added.json()["proposalState"] == "Accepted"
    assert service.acknowledge(operator).status == 204
    assert service.propose(operator, ("trigger_snapshot", None)).json()["proposalState"] == "Accepted"
    other = service.propose(operator, ("trigger_ledger_rekey", None)).json()
    assert other["proposalState"] == "Open"
    assert service.vote(operator, other["proposalId"]).json()["proposalState"] == "Open"
    assert service.vote(people[0], other["proposalId"]).json()["proposalState"] == "Open"
    assert service.vote(people[1], other["proposalId"]).json()["proposalState"] == "Accepted"
    audited(service)


def test_a_service_that_signs_with_cose_alone(tmp_path: Path, people: list[Identity], outsider: Identity) -> None:
    service = LiveService(tmp_path / "node", people, signatures="CoseOnly")
    service.open()
    added = service.pass_proposal(("set_member", {"cert": outsider.certificate}))
    assert added.json()["proposalState"] == "Accepted"
    assert service.acknowledge(outsider).status == 204
    audited(service)


def test_a_service_with_actions_of_its_own(tmp_path: Path, people: list[Identity], repository: Path) -> None:
    """The example of the documentation."""
    example = (repository / "docs" / "constitutions.md").read_text().split("```js\n")[1].split("```")[0]
    (tmp_path / "more.js").write_text(example)
    pieces = constitution_files()
    service = LiveService(tmp_path / "node", people, constitution=[*pieces[:2], tmp_path / "more.js", *pieces[2:]])
    service.open()
    assert service.pass_proposal(("set_motd", {"text": 7})).error == (400, "ProposalFailedToValidate")
    assert service.pass_proposal(("set_motd", {"text": "Hello"})).json()["proposalState"] == "Accepted"
    assert service.running.node.runtime.begin().get("public:motd", bytes(8)) == b"Hello"
    audited(service)


def test_many_govern_at_once(service: LiveService) -> None:
    """Requests conflict, are run again, and each happens once; the sequencer signs in between."""
    first, second, third = service.members
    now = service.tick()

    def propose(number: int) -> str:
        content = json.dumps({"actions": [{"name": "set_member_data", "args": args(number)}]}).encode()
        signed = first.sign(content, "proposal", created_at=now)
        created = service.request("POST", "/gov/members/proposals:create", signed)
        assert created.status == 200, created.body
        name: str = created.json()["proposalId"]
        return name

    def args(number: int) -> dict[str, object]:
        return {"member_id": third.id, "member_data": {"number": number}}

    def vote(name: str) -> list[str]:
        states = []
        for member in (first, second):
            content = json.dumps({"ballot": YES}).encode()
            signed = member.sign(content, "ballot", created_at=now, proposal_id=name)
            path = f"/gov/members/proposals/{name}/ballots/{member.id}:submit"
            answer = service.request("POST", path, signed)
            assert answer.status == 200, answer.body
            states.append(answer.json()["proposalState"])
        return states

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(propose, range(40)))
        outcomes = list(pool.map(vote, names))
    assert len(set(names)) == 40
    assert outcomes == [["Open", "Accepted"]] * 40
    audited(service)
