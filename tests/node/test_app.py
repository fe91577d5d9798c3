"""An application over TLS: who may call, what it computes, and what it cannot break."""

import base64
import json
import shutil
import subprocess
import threading
import time
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support.app_service import SINGLETON, AppService, endpoint, make_person
from support.started_node import start
from tallystick.cose import create_sign1

JWT_KEYS = "public:ccf.gov.jwt.public_signing_keys_metadata_v2"
ISSUER = "https://issuer.example.com"

SOURCE = """
export function caller(request) { return { body: request.caller }; }
export function content(request) {
  return { body: { caller: request.caller.id, text: ccf.bufToStr(request.caller.cose.content) } };
}
export function echo(request) {
  return { body: request.body.arrayBuffer(), headers: { "x-method": request.method, "x-host": request.hostname } };
}
export function evaluate(request) {
  const { expression, ...values } = request.body.json();
  return { body: new Function(...Object.keys(values), `return (${expression});`)(...Object.values(values)) };
}
export function write(request) {
  ccf.kv["records"].set(ccf.strToBuf(request.params.id), request.body.arrayBuffer());
  ccf.rpc.setClaimsDigest(ccf.crypto.digest("SHA-256", request.body.arrayBuffer()));
  console.log("wrote", request.params.id);
  return { statusCode: 204 };
}
export function loop() { for (;;); }
"""
NO_AUTH = "no_auth"
PRIMARY = {"kind": "NodeByRole", "target": {"role": "primary"}}
COSE = {"content-type": "application/cose"}
ENDPOINTS = {
    "GET /user": endpoint("caller", "user_cert"),
    "GET /member": endpoint("caller", "member_cert"),
    "GET /any": endpoint("caller", "any_cert"),
    "GET /jwt": endpoint("caller", "jwt"),
    "GET /both": endpoint("caller", {"all_of": ["user_cert", "jwt"]}),
    "GET /either": endpoint("caller", "user_cert", "member_cert", NO_AUTH),
    "GET /open": endpoint("caller"),
    "POST /signed": endpoint("content", "user_cose_sign1"),
    "POST /signed-member": endpoint("content", "member_cose_sign1"),
    "POST /echo": endpoint("echo", NO_AUTH),
    "POST /evaluate": endpoint("evaluate", NO_AUTH),
    "POST /write/{id}": endpoint("write", NO_AUTH),
    "GET /loop": endpoint("loop", NO_AUTH),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    node = start(tmp_path_factory.mktemp("app"))
    node.open()
    made = AppService(node)
    made.install({"/app.js": SOURCE}, ENDPOINTS)
    yield made
    node.stop()


@pytest.fixture(scope="module")
def people(service, tmp_path_factory):
    directory = tmp_path_factory.mktemp("people")
    long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)
    made = {
        "user": make_person(directory, "user"),
        "expired": make_person(directory, "expired", start=long_ago),
        "stranger": make_person(directory, "stranger"),
        "member": make_person(directory, "member"),
        "old_member": make_person(directory, "old_member", start=long_ago),
    }
    for name, person in made.items():
        if name == "stranger":
            continue
        kind = "members" if "member" in name else "users"
        data = json.dumps({f"{kind[:-1]}_data": {"name": name}, **({"status": "Active"} if kind == "members" else {})})
        service.node.commit(
            (f"public:ccf.gov.{kind}.certs", person.id.encode(), person.certificate.encode()),
            (f"public:ccf.gov.{kind}.info", person.id.encode(), data.encode()),
        )
    return made


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(key, kid, algorithm="RS256", **claims):
    header = b64url(json.dumps({"alg": algorithm, "kid": kid, "typ": "JWT"}).encode())
    payload = b64url(json.dumps({"iss": ISSUER, "exp": int(time.time()) + 60, "sub": "someone", **claims}).encode())
    signed = f"{header}.{payload}".encode()
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    else:
        r, s = utils.decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return f"{header}.{payload}.{b64url(signature)}"


@pytest.fixture(scope="module")
def signing_keys(service):
    keys = {"rsa": rsa.generate_private_key(65537, 2048), "ec": ec.generate_private_key(ec.SECP256R1())}
    for kid, key in keys.items():
        der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        entry = {"public_key": base64.b64encode(der).decode(), "issuer": "registered", "constraint": ISSUER}
        service.node.commit((JWT_KEYS, kid.encode(), json.dumps([entry]).encode()))
    return keys


def bearer(text):
    return {"authorization": f"Bearer {text}"}


class TestCertificates:
    def test_a_user_is_named_with_data_and_certificate(self, service, people):
        user = people["user"]
        answer = service.ask("GET", "/app/user", person=user)
        assert answer.json() == {
            "policy": "user_cert", "id": user.id, "data": {"name": "user"}, "cert": user.certificate,
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("path", "who", "policy", "reason"),
        [
            ("/app/user", None, "user_cert", "No caller user certificate"),
            ("/app/user", "stranger", "user_cert", "Could not find matching user certificate"),
            ("/app/user", "member", "user_cert", "Could not find matching user certificate"),
            ("/app/user", "expired", "user_cert", "Certificate has expired"),
            ("/app/member", None, "member_cert", "No caller member certificate"),
            ("/app/member", "user", "member_cert", "Could not find matching member certificate"),
            ("/app/any", None, "any_cert", "No caller certificate"),
            ("/app/any", "expired", "any_cert", "Certificate has expired"),
        ],
    )
    def test_others_are_refused_with_the_reason(self, service, people, path, who, policy, reason):
        answer = service.ask("GET", path, person=people.get(who))
        assert answer.status == 401
        assert answer.json()["error"]["code"] == "InvalidAuthenticationInfo"
        assert answer.reasons[policy].startswith(reason)

    def test_a_member_needs_no_current_certificate(self, service, people):
        for name in ("member", "old_member"):
            caller = service.ask("GET", "/app/member", person=people[name]).json()
            assert (caller["policy"], caller["data"]) == ("member_cert", {"name": name})

    def test_any_certificate_will_do_where_that_is_asked(self, service, people):
        stranger = people["stranger"]
        answer = service.ask("GET", "/app/any", person=stranger)
        assert answer.json() == {"policy": "any_cert", "cert": stranger.certificate}

    def test_the_first_policy_that_accepts_decides(self, service, people):
        policies = [
            service.ask("GET", "/app/either", person=people.get(who)).json()["policy"]
            for who in ("user", "member", "stranger", None)
        ]
        assert policies == ["user_cert", "member_cert", "no_auth", "no_auth"]

    def test_an_endpoint_without_policies_has_no_caller(self, service):
        assert service.ask("GET", "/app/open").json() is None


class TestTokens:
    @pytest.mark.parametrize(("kid", "algorithm"), [("rsa", "RS256"), ("ec", "ES256")])
    def test_a_token_names_issuer_and_claims(self, service, signing_keys, kid, algorithm):
        answer = service.ask("GET", "/app/jwt", headers=bearer(token(signing_keys[kid], kid, algorithm)))
        caller = answer.json()
        assert caller["policy"] == "jwt"
        assert caller["jwt"]["keyIssuer"] == "registered"
        assert caller["jwt"]["header"]["kid"] == kid
        assert caller["jwt"]["payload"]["sub"] == "someone"

    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            (lambda keys: token(keys["rsa"], "other"), "JWT signing key not found for kid other"),
            (lambda keys: token(keys["ec"], "rsa"), "Signature verification failed"),
            (lambda keys: token(keys["rsa"], "rsa")[:-8] + "AAAAAAAA", "Signature verification failed"),
            (lambda keys: token(keys["rsa"], "rsa", exp=1), "is after token's Expiration Time (exp) claim 1"),
            (lambda keys: token(keys["rsa"], "rsa", nbf=2**40), "is before token's Not Before (nbf) claim"),
            (lambda keys: token(keys["rsa"], "rsa", iss="https://x"), "failed issuer constraint validation"),
            (lambda keys: token(keys["rsa"], "rsa", tid="t"), "failed issuer constraint validation"),
            (lambda keys: token(keys["rsa"], "rsa", "none"), "JWT header does not follow schema"),
            (lambda _: "a.b", "Malformed JWT"),
        ],
    )
    def test_a_token_is_refused_with_the_reason(self, service, signing_keys, make, reason):
        answer = service.ask("GET", "/app/jwt", headers=bearer(make(signing_keys)))
        assert answer.status == 401
        assert reason in answer.reasons["jwt"]
        assert answer.headers["www-authenticate"].startswith("Bearer ")

    def test_both_of_two_policies_must_accept(self, service, people, signing_keys):
        good = bearer(token(signing_keys["rsa"], "rsa"))
        caller = service.ask("GET", "/app/both", person=people["user"], headers=good).json()
        assert caller["policy"] == ["jwt", "user_cert"]
        assert caller["user_cert"]["id"] == people["user"].id
        assert caller["jwt"]["jwt"]["keyIssuer"] == "registered"
        for person, headers in ((people["user"], {}), (None, good), (people["stranger"], good)):
            assert service.ask("GET", "/app/both", person=person, headers=headers).status == 401


class TestSignedRequests:
    def test_a_signed_body_names_its_signer(self, service, people):
        for name, path in (("user", "/app/signed"), ("member", "/app/signed-member")):
            person = people[name]
            body = create_sign1(b"content", person.key, person.certificate)
            answer = service.ask("POST", path, body, headers=COSE)
            assert answer.json() == {"caller": person.id, "text": "content"}

    def test_other_bodies_are_refused(self, service, people):
        user, stranger = people["user"], people["stranger"]
        good = create_sign1(b"content", user.key, user.certificate)
        for body in (
            b"",
            b"content",
            good[:-1] + bytes([good[-1] ^ 1]),
            good[1:],
            create_sign1(b"content", stranger.key, stranger.certificate),
            create_sign1(b"content", people["member"].key, people["member"].certificate),
        ):
            answer = service.ask("POST", "/app/signed", body, headers=COSE)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == 'COSE-SIGN1 realm="Signed request access"'


class TestCryptography:
    def evaluate(self, service, expression, **values):
        answer = service.ask("POST", "/app/evaluate", json.dumps({"expression": expression, **values}).encode())
        assert answer.status == 200, answer.body
        return answer.body

    def test_signatures_verify_elsewhere(self, service):
        pair = json.loads(self.evaluate(service, "ccf.crypto.generateEcdsaKeyPair('secp384r1')"))
        sign = "ccf.crypto.sign(algorithm, key, ccf.strToBuf('data'))"
        signature = self.evaluate(
            service, sign, algorithm={"name": "ECDSA", "hash": "SHA-384"}, key=pair["privateKey"]
        )  # fmt: skip
        r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
        public = load_pem_public_key(pair["publicKey"].encode())
        public.verify(utils.encode_dss_signature(r, s), b"data", ec.ECDSA(hashes.SHA384()))
        pair = json.loads(self.evaluate(service, "ccf.crypto.generateRsaKeyPair(2048)"))
        public = load_pem_public_key(pair["publicKey"].encode())
        for salt in (0, 32):
            algorithm = {"name": "RSA-PSS", "hash": "SHA-256", "saltLength": salt}
            signature = self.evaluate(service, sign, algorithm=algorithm, key=pair["privateKey"])
            public.verify(signature, b"data", padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())

    def test_wrapped_keys_unwrap_elsewhere(self, service):
        pair = json.loads(self.evaluate(service, "ccf.crypto.generateRsaKeyPair(2048)"))
        wrapped = self.evaluate(
            service,
            "ccf.crypto.wrapKey(ccf.strToBuf('key'), ccf.strToBuf(pem), { name: 'RSA-OAEP', label: ccf.strToBuf(l) })",
            pem=pair["publicKey"],
            l="l",
        )
        private = load_pem_private_key(pair["privateKey"].encode(), None)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"l")
        assert private.decrypt(wrapped, oaep) == b"key"

    def test_certificate_chains(self, service):
        root, root_key = issue("root", None, ca=True)
        middle, middle_key = issue("middle", (root, root_key), ca=True)
        leaf, _ = issue("leaf", (middle, middle_key), ca=False)
        other, other_key = issue("root", None, ca=True)
        forged, _ = issue("leaf", (other, other_key), ca=False)
        below_leaf, _ = issue("below", (leaf, _), ca=False)
        past = datetime.now(timezone.utc) - timedelta(days=30)
        expired, _ = issue("leaf", (root, root_key), ca=False, start=past)
        # An authority whose key may sign anything but certificates vouches for none.
        no_signer = key_usage(sign_certificates=False)
        mute, mute_key = issue("mute", None, ca=True, extensions=[no_signer])
        mute_middle, mute_middle_key = issue("middle", (root, root_key), ca=True, extensions=[no_signer])
        signer, signer_key = issue("signer", None, ca=True, extensions=[key_usage(sign_certificates=True)])
        below_mute, _ = issue("leaf", (mute, mute_key), ca=False)
        below_mute_middle, _ = issue("leaf", (mute_middle, mute_middle_key), ca=False)
        code = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        below_signer, _ = issue("leaf", (signer, signer_key), ca=False, extensions=[code])
        for chain, trusted, expected in (
            ([leaf, middle], [root], True),
            ([leaf], [middle], True),
            ([middle], [middle], True),
            # Only authorities can be trusted, not even a certificate that is the target itself.
            ([leaf], [leaf], False),
            ([leaf], [root, leaf], False),
            ([leaf], [root], False),
            ([leaf, middle], [other], False),
            ([forged], [root], False),
            ([forged], [root, other], True),
            ([expired], [root], False),
            ([expired], [expired], False),
            ([below_leaf, leaf, middle], [root], False),
            ([below_mute], [mute], False),
            ([mute], [mute], False),
            ([below_mute_middle, mute_middle], [root], False),
            # What else a certificate is for is not asked.
            ([below_signer], [signer], True),
        ):
            found = self.evaluate(
                service, "ccf.crypto.isValidX509CertChain(chain, trusted)", chain=pems(chain), trusted=pems(trusted)
            )
            assert json.loads(found) is expected, (chain, trusted)


def key_usage(*, sign_certificates):
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")
    unset = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=True, key_cert_sign=sign_certificates, **unset)


def issue(name, issuer, *, ca, start=None, extensions=()):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, signing_key = (subject, key) if issuer is None else (issuer[0].subject, issuer[1])
    start = start or datetime.now(timezone.utc) - timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(signer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start)
    builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.not_valid_after(start + timedelta(days=10)).sign(signing_key, hashes.SHA256()), key


def pems(certificates):
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


class TestRequests:
    def test_bodies_pass_unchanged(self, service):
        body = bytes(range(256)) * 100
        answer = service.ask("POST", "/app/echo", body, headers={"host": "service.example"})
        assert (answer.status, answer.body, answer.headers["x-method"]) == (200, body, "POST")
        assert (answer.headers["x-host"], answer.headers["content-type"]) == (
            "service.example", "application/octet-stream",
        )  # fmt: skip

    def test_a_malformed_endpoint_spoils_no_other(self, service):
        service.node.commit(("public:ccf.gov.endpoints", b"GET /malformed", b"{"))
        assert service.ask("GET", "/app/malformed").json()["error"]["code"] == "InternalError"
        assert service.ask("GET", "/app/open").status == 200

    def test_claims_reach_the_ledger(self, service):
        answer = service.ask("POST", "/app/write/7", b"value")
        assert (answer.status, answer.body) == (204, b"")
        view, seqno = map(int, answer.headers["x-ms-ccf-transaction-id"].split("."))
        service.node.settle()
        entry, *_ = service.node.node.runtime.evidence(view, seqno)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(b"value")
        assert digest.finalize() in entry

    def test_a_loop_ends_and_others_are_answered_meanwhile(self, service):
        options = {"max_execution_time_ms": 1500, "max_heap_bytes": 1 << 26, "max_stack_bytes": 1 << 20}
        service.node.commit(("public:ccf.gov.js_runtime_options", SINGLETON, json.dumps(options).encode()))
        answers = []
        loops = [
            threading.Thread(target=lambda: answers.append(service.ask("GET", "/app/loop").status)) for _ in range(4)
        ]
        for loop in loops:
            loop.start()
        time.sleep(0.2)
        began = time.monotonic()
        assert service.ask("GET", "/app/open").status == 200
        assert time.monotonic() - began < 1
        for loop in loops:
            loop.join()
        assert answers == [500] * 4

    @pytest.mark.parametrize("prefix", ["", "/app"])
    def test_verbs_that_a_path_has_not_are_named_without_the_prefix(self, prefix, service):
        answer = service.ask("DELETE", f"{prefix}/open")
        assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, GET")
        error = {"code": "UnsupportedHttpVerb", "message": "Allowed methods for '/open' are: OPTIONS, GET."}
        assert answer.json()["error"] == error

    def test_a_new_application_takes_the_place_of_the_old(self, service):
        try:
            service.install({"/app.js": "export const f = () => ({ body: 1 })"}, {"GET /new": endpoint("f", NO_AUTH)})
            assert service.ask("GET", "/app/new").body == b"1"
            assert service.ask("GET", "/app/open").status == 404
        finally:
            service.install({"/app.js": SOURCE}, ENDPOINTS)
        assert service.ask("GET", "/app/open").status == 200


def test_an_interface_serves_what_it_lists(tmp_path):
    interfaces = {
        "main": {"bind_address": "127.0.0.1:0", "accepted_endpoints": ["/app/open", "/app/write/\\{id\\}"]},
        "other": {"bind_address": "127.0.0.1:0", "redirections": {"to_primary": PRIMARY}},
    }
    network = {"node_to_node_interface": {"bind_address": "127.0.0.1:0"}, "rpc_interfaces": interfaces}
    node = start(tmp_path, network=network)
    try:
        node.open()
        for name, expected in (
            ("main", {"GET /app/open": 200, "POST /app/write/1": 204, "POST /app/echo": 503, "GET /app/backup": 503}),
            ("other", {"GET /app/open": 200, "POST /app/write/1": 204, "POST /app/echo": 200, "GET /app/backup": 503}),
        ):
            service = AppService(node, name)
            backup = endpoint("caller", NO_AUTH, redirection_strategy="to_backup")
            service.install({"/app.js": SOURCE}, {**ENDPOINTS, "GET /backup": backup})
            for _ in range(2):
                answers = {what: service.ask(*what.split()) for what in expected}
                assert {what: answer.status for what, answer in answers.items()} == expected
        assert answers["GET /app/backup"].json()["error"]["code"] == "BackupNotFound"
    finally:
        node.stop()


TYPESCRIPT = """
import * as ccfapp from "@microsoft/ccf-app";
import { ccf } from "@microsoft/ccf-app/global";

interface Entry { text: string; }
const entries = ccfapp.typedKv("entries", ccfapp.uint32, ccfapp.json<Entry>());

export function put(request: ccfapp.Request<Entry>): ccfapp.Response<boolean> {
  entries.set(Number(request.params.id), request.body.json());
  return { body: true };
}
export function get(request: ccfapp.Request): ccfapp.Response<Entry | null> {
  return { body: entries.get(Number(request.params.id)) ?? null };
}
export function all(): ccfapp.Response<string[]> {
  const found: string[] = [];
  entries.forEach((value, key) => { found.push(`${key}=${value.text}`); });
  found.push(String(entries.size), String(ccf.consensus.getLastCommittedTxId().view));
  return { body: found };
}
"""


@pytest.fixture(scope="module")
def typescript_bundle(tmp_path_factory):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    directory = tmp_path_factory.mktemp("typescript")
    (directory / "package.json").write_text('{"private": true, "type": "module"}')
    (directory / "app.ts").write_text(TYPESCRIPT)
    install = [npm, "install", "--no-audit", "--no-fund", "@microsoft/ccf-app@6", "esbuild@0.25"]
    done = subprocess.run(install, cwd=directory, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm cannot install the packages: {done.stderr.strip()[-200:]}")
    build = ["node_modules/.bin/esbuild", "app.ts", "--bundle", "--format=esm", "--target=es2020", "--outfile=app.js"]
    subprocess.run(build, cwd=directory, capture_output=True, timeout=60, check=True)
    return (directory / "app.js").read_text()


def test_a_typescript_application_runs_unchanged(service, typescript_bundle):
    endpoints = {
        "PUT /entries/{id}": endpoint("put", NO_AUTH),
        "GET /entries/{id}": endpoint("get", NO_AUTH, mode="readonly"),
        "GET /entries": endpoint("all", NO_AUTH, mode="readonly"),
    }
    try:
        service.install({"/app.js": typescript_bundle}, endpoints)
        assert service.ask("GET", "/app/entries/1").json() is None
        assert service.ask("PUT", "/app/entries/1", b'{"text": "one"}').body == b"true"
        assert service.ask("GET", "/app/entries/1").json() == {"text": "one"}
        assert service.ask("GET", "/app/entries").json() == ["1=one", "1", "2"]
    finally:
        service.install({"/app.js": SOURCE}, ENDPOINTS)
