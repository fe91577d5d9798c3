"""Members' commands on a running service: from the first proposal to recovery shares, and what it refuses."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384

from support.run import Outcome, tallystick
from support.sandbox import RunningSandbox, running_sandbox
from support.tokens import decide
from tallystick.member.keys import load_keys

OK, REFUSED, USAGE, UNDECIDED = 0, 1, 2, 3
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("governed") / "w") as running:
        yield running


def _refused(outcome: Outcome, words: str) -> None:
    assert outcome.exit_code == REFUSED, outcome
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("tallystick: error: ")
    assert "refused with status 4" in outcome.stderr
    assert words in outcome.stderr


def _propose(service: RunningSandbox, *form: str | Path, member: int = 0) -> str:
    outcome = tallystick("member", "propose", *form, "--format", "json", *service.member_arguments(member))
    assert outcome.exit_code == OK, outcome
    assert outcome.json["proposalState"] == "Open"
    assert outcome.json["committed"] is True
    return str(outcome.json["proposalId"])


def test_status(service: RunningSandbox) -> None:
    outcome = tallystick("member", "status", *service.service_arguments)
    assert outcome.exit_code == OK
    assert "service    Open, created in 2.1" in outcome.stdout
    for member in service.description["members"]:
        assert f"{member['id']}  Active, Participant" in outcome.stdout
    document = tallystick("member", "status", "--format", "json", *service.service_arguments).json
    assert document["service"]["configuration"]["recoveryThreshold"] == 2
    assert len(document["nodes"]) == 1


def test_a_majority_decides(service: RunningSandbox) -> None:
    identifier = _propose(service, "rekey")
    first = tallystick("member", "vote", identifier, *service.member_arguments(0))
    assert first.exit_code == OK
    assert first.stdout.startswith(f"proposal {identifier} is Open in transaction ")
    again = tallystick("member", "vote", identifier, "--against", *service.member_arguments(0))
    _refused(again, "VoteAlreadyExists")
    against = tallystick("member", "vote", identifier, "--against", *service.member_arguments(1))
    assert "is Open" in against.stdout
    last = tallystick("member", "vote", identifier, *service.member_arguments(2))
    assert "is Accepted" in last.stdout
    assert last.stdout.endswith(", committed\n")
    late = tallystick("member", "vote", identifier, *service.member_arguments(0))
    _refused(late, "ProposalNotOpen")


def test_withdrawing(service: RunningSandbox) -> None:
    identifier = _propose(service, "action", "trigger_ledger_chunk", member=1)
    _refused(tallystick("member", "withdraw", identifier, *service.member_arguments(0)), "AuthorizationFailed")
    outcome = tallystick("member", "withdraw", identifier, *service.member_arguments(1))
    assert outcome.exit_code == OK
    assert "is Withdrawn" in outcome.stdout
    unknown = tallystick("member", "withdraw", "ab" * 32, *service.member_arguments(1))
    assert unknown.exit_code == OK
    assert "is not there" in unknown.stdout


def test_a_ballot_of_ones_own(service: RunningSandbox, tmp_path: Path) -> None:
    script = tmp_path / "ballot.js"
    script.write_text(
        "export function vote(raw, proposer) { return JSON.parse(raw).actions[0].name === 'trigger_ledger_chunk'; }"
    )
    identifier = _propose(service, "action", "trigger_ledger_chunk", "--vote")
    outcome = tallystick("member", "vote", identifier, "--ballot", script, *service.member_arguments(1))
    assert "is Accepted" in outcome.stdout


def test_what_the_service_refuses(service: RunningSandbox, tmp_path: Path) -> None:
    _refused(
        tallystick("member", "propose", "action", "no_such_action", *service.member_arguments()),
        "ProposalFailedToValidate",
    )
    _refused(tallystick("member", "vote", "ab" * 32, *service.member_arguments()), "ProposalNotFound")
    tallystick("member", "keygen", "stranger", "-o", tmp_path)
    stranger = ["--cert", tmp_path / "stranger_cert.pem", "--key", tmp_path / "stranger_privk.pem"]
    for form in (["propose", "rekey"], ["ack"], ["vote", "ab" * 32]):
        outcome = tallystick("member", *form, *service.service_arguments, *stranger)
        assert outcome.exit_code == REFUSED, outcome
        assert "refused with status 401" in outcome.stderr
        assert "Signer is not a known member" in outcome.stderr


def test_another_service_is_pinned(service: RunningSandbox, tmp_path: Path) -> None:
    tallystick("member", "keygen", "other", "-o", tmp_path, "--no-encryption-key")
    outcome = tallystick("member", "status", "--url", service.url, "--service-cert", tmp_path / "other_cert.pem")
    assert outcome.exit_code == UNDECIDED
    assert "TLS certificate is not of the pinned service" in outcome.stderr
    elsewhere = service.url.replace("127.0.0.1", "localhost")
    outcome = tallystick("member", "status", "--url", elsewhere, "--service-cert", service.service_cert)
    assert outcome.exit_code == UNDECIDED
    assert "TLS certificate is of the pinned service, and for another host" in outcome.stderr
    assert "an address that its certificate names" in outcome.stderr


def test_a_new_member_gets_a_share(service: RunningSandbox, tmp_path: Path) -> None:
    tallystick("member", "keygen", "dora", "-o", tmp_path)
    form = ["add-member", tmp_path / "dora_cert.pem", "--encryption-key", tmp_path / "dora_enc_pubk.pem", "--vote"]
    identifier = _propose(service, *form)
    assert "is Accepted" in tallystick("member", "vote", identifier, *service.member_arguments(1)).stdout
    dora = [*service.service_arguments, "--cert", tmp_path / "dora_cert.pem"]
    signing = [*dora, "--key", tmp_path / "dora_privk.pem"]
    _refused(tallystick("member", "shares", "get", *dora), "")

    acknowledged = tallystick("member", "ack", *signing)
    assert acknowledged.exit_code == OK, acknowledged
    assert "is active" in acknowledged.stdout

    plain = tallystick("member", "shares", "get", *dora, "--encryption-key", tmp_path / "dora_enc_privk.pem")
    assert plain.exit_code == OK, plain
    assert len(base64.b64decode(plain.stdout)) == 44
    wrong = service.description["members"][0]["encryption_key"]
    outcome = tallystick("member", "shares", "get", *dora, "--encryption-key", wrong)
    assert outcome.exit_code == USAGE
    assert "does not decrypt" in outcome.stderr
    submitted = tallystick(
        "member", "shares", "submit", *signing, "--encryption-key", tmp_path / "dora_enc_privk.pem"
    )  # fmt: skip
    _refused(submitted, "ServiceNotWaitingForRecoveryShares")

    decide(service, {"actions": [{"name": "remove_member", "args": {"member_id": load_keys(
        tmp_path / "dora_cert.pem", tmp_path / "dora_privk.pem").id}}]})  # fmt: skip
    _refused(tallystick("member", "shares", "get", *dora), "")


def test_signed_elsewhere_and_submitted(service: RunningSandbox, tmp_path: Path) -> None:
    member = service.description["members"][0]
    actions = tmp_path / "actions.json"
    actions.write_text(tallystick("member", "propose", "rekey", "--print").stdout)
    request, signature = tmp_path / "request.json", tmp_path / "signature"
    prepared = tallystick(
        "member", "prepare", "--type", "proposal", "--content", actions, "--cert", member["cert"], "-o", request
    )
    assert prepared.exit_code == OK
    digest = base64.b64decode(json.loads(request.read_text())["value"])
    key = load_keys(member["cert"], member["key"]).key
    signature.write_bytes(key.sign(digest, ec.ECDSA(utils.Prehashed(SHA384()))))

    arguments = ["member", "finish", request, "--signature", signature, "--submit", *service.service_arguments]
    outcome = tallystick(*arguments)

    assert outcome.exit_code == OK, outcome
    assert " is Open in transaction " in outcome.stdout
    _refused(tallystick(*arguments), "ProposalReplay")
    assert tallystick("member", "withdraw", outcome.stdout.split()[1], *service.member_arguments()).exit_code == OK


def test_the_official_tool_and_curl_govern_it(service: RunningSandbox, tmp_path: Path, peer_python: Path) -> None:
    member = service.description["members"][0]
    content = tmp_path / "content.json"
    content.write_text('{"actions": [{"name": "trigger_ledger_chunk"}]}')
    script = "import sys; from ccf.cose import sign_cli; sys.exit(sign_cli())"
    message = subprocess.run(
        [
            peer_python, "-c", script, "--content", content, "--signing-cert", member["cert"], "--signing-key",
            member["key"], "--ccf-gov-msg-type", "proposal", "--ccf-gov-msg-created_at",
            datetime.now(timezone.utc).isoformat(),
        ],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    answer = subprocess.run(
        [
            "curl", "-sS", "--cacert", service.service_cert, "-H", "content-type: application/cose",
            "--data-binary", "@-", f"{service.url}/gov/members/proposals:create?api-version=2024-07-01",
        ],
        input=message, check=True, capture_output=True,
    ).stdout  # fmt: skip
    created = json.loads(answer)
    assert created["proposalState"] == "Open", created
    assert created["proposerId"] == member["id"]
    assert tallystick("member", "withdraw", created["proposalId"], *service.member_arguments()).exit_code == OK


def test_replacing_the_app(service: RunningSandbox, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    endpoint = {
        "js_module": "a.js", "js_function": "f", "mode": "readonly", "authn_policies": ["no_auth"],
        "forwarding_required": "never",
    }  # fmt: skip
    (tmp_path / "app.json").write_text(json.dumps({"endpoints": {"/f": {"get": endpoint}}}))
    (tmp_path / "src" / "a.js").write_text("export function f() { return { body: 'new' }; }")
    identifier = _propose(service, "set-app", tmp_path, "--vote")
    assert "is Accepted" in tallystick("member", "vote", identifier, *service.member_arguments(1)).stdout
    assert service.ask("/app/f", user=None).body == b"new"


def test_what_the_auditor_says_of_it(tmp_path: Path) -> None:
    with running_sandbox(tmp_path / "w") as running:
        decide(running, {"actions": [{"name": "trigger_ledger_rekey"}]})
        for index in range(20):
            assert running.ask("/app/log/private", {"id": index, "msg": "x" * index}).status == 200
        ledger, pinned = running.ledger, ["--service-cert", running.service_cert]
        members = running.description["members"]
    assert tallystick("verify", ledger, *pinned).exit_code == OK
    governance = tallystick("gov", "verify", ledger, *pinned)
    assert governance.exit_code == OK, governance.stdout
    keys = [argument for member in members for argument in ("--encryption-key", member["encryption_key"])]
    decrypted = tallystick("secrets", ledger, *keys)
    assert decrypted.exit_code == OK, decrypted
