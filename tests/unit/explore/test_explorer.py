"""The explorer: every page over a real ledger, who gets in, and what a browser makes of it."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from tallystick.audit.auditor import audit_ledger
from tallystick.cli.explore import _in_background
from tallystick.evidence.compare import Copy
from tallystick.explore.html import link, tag
from tallystick.explore.index import build_index
from tallystick.explore.server import ExplorerServer
from tallystick.explore.views import Explorer
from tallystick.governance.ledger import replay_governance
from tallystick.identity.trust_anchor import TrustAnchor
from tallystick.ledger.ledger import Ledger

PAGES = [
    "/",
    "/transactions",
    "/transactions?kind=signature",
    "/transactions?kind=private",
    "/transactions?before=20",
    "/transactions?table=public%3Accf.gov.members.info",
    "/transaction/1",
    "/transaction/22",
    "/transaction/727",
    "/tables",
    "/table/public%3Arecords",
    "/table/public%3Arecords?key=100",
    "/table/public%3Accf.gov.constitution",
    "/governance",
    "/search?q=2.22",
    "/search?q=records",
    "/search?q=nothing-of-this-name",
]


@dataclass
class Running:
    server: ExplorerServer
    cookie: str

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_address[1], timeout=20)
        connection.request("GET", path, headers={"Cookie": self.cookie} if headers is None else headers)
        response = connection.getresponse()
        body = response.read().decode("utf-8", "replace")
        found = {name.lower(): value for name, value in response.getheaders()}
        connection.close()
        return response.status, found, body


@pytest.fixture(scope="module")
def running(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = shared_data / "ccf-built/js1"
    paths = [root / "ledger"]
    index = build_index(Ledger(paths, uncommitted=True), tmp_path_factory.mktemp("explore") / "index.sqlite")
    copy = Copy("js1", Ledger(paths, uncommitted=True))
    for _ in copy.leaves():
        continue
    explorer = Explorer(Ledger(paths, uncommitted=True), index, copy)
    anchor = TrustAnchor.from_options(service_certs=[root / "common/service_cert.pem"])
    explorer.verdict = audit_ledger(paths, anchor, uncommitted=True).to_json()
    report = replay_governance(paths, uncommitted=True)
    explorer.governance = {**report.to_json(), "events": [event.to_json() for event in report.events]}
    server = ExplorerServer(explorer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield Running(server, f"{server.cookie}={server.token}")
    server.shutdown()
    server.server_close()
    index.close()


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_shown(running: Running, path: str) -> None:
    status, headers, body = running.get(path)
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "ledger verified" in body


def test_a_transaction_shows_its_proof(running: Running) -> None:
    _, _, body = running.get("/transaction/22")
    assert "node and service" in body
    assert "f369bd38bdb957de797839d95604eec1438dc9d4ef30cd85d509f07d79700346" in body
    assert body.count("<rect") == 2 * 4 + 1


def test_a_key_shows_what_was_written(running: Running) -> None:
    _, _, body = running.get("/table/public%3Arecords?key=100")
    assert "[svc1] public message 0" in body


def test_the_bytes_are_those_of_the_file(running: Running, shared_data: Path) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.server.server_address[1], timeout=20)
    connection.request("GET", "/raw/22", headers={"Cookie": running.cookie})
    body = connection.getresponse().read()
    connection.close()
    ledger = Ledger(shared_data / "ccf-built/js1/ledger", uncommitted=True)
    assert body == ledger.get_transaction(22).raw


@pytest.mark.parametrize("path", ["/nope", "/transaction/99999", "/transaction/x", "/table/none", "/table/a?after=zz"])
def test_what_is_not_there_is_not_found(running: Running, path: str) -> None:
    assert running.get(path)[0] == 404


@pytest.mark.parametrize("headers", [{}, {"Cookie": "NAME=wrong"}, {"Cookie": "other=1; ;;="}])
@pytest.mark.parametrize("path", ["/", "/raw/1", "/transaction/1", "/?token=wrong"])
def test_without_the_token_nothing_is_answered(running: Running, path: str, headers: dict[str, str]) -> None:
    headers = {name: value.replace("NAME", running.server.cookie) for name, value in headers.items()}
    status, _, body = running.get(path, headers)
    assert (status, body) == (403, "")


def test_another_host_name_gets_nothing(running: Running) -> None:
    status, _, body = running.get("/", {"Cookie": running.cookie, "Host": "attacker.example:80"})
    assert (status, body) == (403, "")


def test_the_token_becomes_a_cookie_and_leaves_the_address(running: Running) -> None:
    status, headers, _ = running.get(f"/tables?token={running.server.token}", {})
    assert (status, headers["location"]) == (303, "/tables")
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=Strict" in headers["set-cookie"]


def test_two_explorers_in_one_browser_keep_their_cookies(running: Running) -> None:
    other = ExplorerServer(running.server.explorer)
    try:
        assert other.cookie != running.server.cookie
        both = f"{other.cookie}={other.token}; {running.cookie}"
        assert running.get("/", {"Cookie": both})[0] == 200
    finally:
        other.server_close()


@pytest.mark.parametrize("path", ["/?" + "&".join("a=" * 40), "http://[::1/"])
def test_a_malformed_request_is_answered_and_leaves_no_traceback(
    running: Running, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert running.get(path, {"Host": "localhost"})[0] == 400
    assert capfd.readouterr().err == ""


def test_a_reader_who_leaves_is_no_defect(running: Running, capfd: pytest.CaptureFixture[str]) -> None:
    for error in (ConnectionResetError(104, "reset"), BrokenPipeError(32, "pipe"), TimeoutError()):
        try:
            raise error
        except OSError:
            running.server.handle_error(None, ("127.0.0.1", 1))
    assert capfd.readouterr().err == ""
    try:
        raise KeyError("a defect of ours")
    except KeyError:
        running.server.handle_error(None, ("127.0.0.1", 1))
    assert "a defect of ours" in capfd.readouterr().err


def test_identities_say_why_they_are_trusted(running: Running) -> None:
    explorer = running.server.explorer
    assert "pinned by you" in running.get("/")[2]
    kept = explorer.verdict
    assert kept is not None
    known = cast("list[dict[str, object]]", kept["identities"])
    identities = [{**item, "trusted_by": None, "last_signed_txid": None} for item in known]
    explorer.verdict = {**kept, "identities": identities}
    try:
        body = running.get("/")[2]
    finally:
        explorer.verdict = kept
    assert "not trusted" in body
    assert "never" in body


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [OSError(5, "read error"), RuntimeError("a defect of ours")])
def test_background_work_that_ends_badly_is_not_shown_as_going_on(running: Running, error: Exception) -> None:
    explorer = Explorer(running.server.explorer.ledger, running.server.explorer.index, running.server.explorer.copy)

    def work() -> dict[str, object]:
        raise error

    _in_background(explorer, "verdict", work).join(60)

    assert "verifying" not in explorer.status()
    assert "ended without a result" in explorer.status()


@pytest.mark.parametrize(
    ("ledger", "shown"), [(None, "not verified yet"), ("undecided", "undecided"), ("failed", "failed")]
)
def test_governance_is_worth_no_more_than_the_ledger_that_tells_it(
    running: Running, ledger: str | None, shown: str
) -> None:
    explorer = running.server.explorer
    verified = '<span class="verified">verified</span>'
    assert verified in running.get("/governance")[2]
    kept = explorer.verdict
    assert kept is not None
    explorer.verdict = None if ledger is None else {**kept, "verdict": ledger}
    try:
        body = running.get("/governance")[2]
    finally:
        explorer.verdict = kept
    assert verified not in body
    assert f"consistent, but the ledger {'is' if ledger is None else 'itself is'} {shown}" in body


def test_a_link_with_the_token_leads_to_its_page(running: Running) -> None:
    token = running.server.token
    for asked, place in (
        (f"/search?q=2.22%26x&token={token}", "/search?q=2.22%26x"),
        (f"/?token={token}", "/"),
        (f"/\\elsewhere.example/?token={token}", "/elsewhere.example/"),
        (f"///elsewhere.example/?token={token}", "/elsewhere.example/"),
    ):
        status, headers, _ = running.get(asked, {})
        assert (status, headers["location"]) == (303, place)


def test_nothing_is_loaded_and_no_script_runs(running: Running) -> None:
    for path in PAGES:
        _, headers, body = running.get(path)
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "<script" not in body
        assert "http://" not in body.replace("http://127.0.0.1", "")
        assert "https://" not in body or path.startswith(("/transaction", "/table", "/governance"))


def test_text_from_a_ledger_is_escaped() -> None:
    hostile = '<script>alert(1)</script>\x1b[31m"'
    assert "<script" not in tag("p", hostile)
    assert "\x1b" not in tag("p", hostile)
    assert '"' not in link("x", "/search", q='"><b>')[len('<a href="') : -len('">x</a>')]


def test_it_listens_on_loopback_only(running: Running) -> None:
    assert running.server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("width", [1000, 360])
def test_a_browser_draws_every_view(running: Running, tmp_path: Path, width: int) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    token, port = running.server.token, running.server.server_address[1]
    for number, path in enumerate(["/", "/transaction/22", "/transactions", "/tables", "/governance"]):
        picture = tmp_path / f"{number}.png"
        subprocess.run(
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                f"--user-data-dir={tmp_path / str(number)}", f"--window-size={width},900", f"--screenshot={picture}",
                f"http://127.0.0.1:{port}{path}?token={token}",
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        # A blank page compresses to next to nothing.
        assert picture.stat().st_size > 20_000
