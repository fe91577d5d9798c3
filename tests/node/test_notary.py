"""The sample app in TypeScript: built from npm, installed, used, and its receipts verified offline."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.run import tallystick
from support.sandbox import RunningSandbox, running_sandbox
from support.tokens import Issuer, decide

OK, FAILED = 0, 1
NPM_SECONDS = 240


@pytest.fixture(scope="module")
def app(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app, built in a copy; skips where npm or its packages are out of reach."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    source = repository / "samples" / "notary"
    directory = tmp_path_factory.mktemp("notary") / "app"
    shutil.copytree(source, directory, ignore=shutil.ignore_patterns("node_modules", "dist"))
    options = ["--no-audit", "--no-fund", "--loglevel=error"]
    install = subprocess.run(
        [npm, "install", "--ignore-scripts", *options],
        cwd=directory, capture_output=True, text=True, check=False, timeout=NPM_SECONDS,
    )  # fmt: skip
    if install.returncode != 0:
        pytest.skip(f"the packages of the app cannot be had from npm: {install.stderr[-300:]}")
    subprocess.run([npm, "run", "build"], cwd=directory, check=True, capture_output=True, timeout=NPM_SECONDS)
    return directory


@pytest.fixture(scope="module")
def notary(app: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("service") / "w", "--app", app) as running:
        yield running


def _digest(document: str) -> str:
    return hashlib.sha256(document.encode()).hexdigest()


def test_its_own_tests(app: Path) -> None:
    run = subprocess.run(
        ["npm", "test"], cwd=app, capture_output=True, text=True, check=False, timeout=NPM_SECONDS
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]


def test_entries_and_their_receipts(notary: RunningSandbox, tmp_path: Path) -> None:
    user = notary.description["users"][0]["id"]
    entered = notary.ask("/app/entries", {"digest": _digest("contract"), "note": "a contract"})
    assert entered.status == 201
    entry = entered.json
    assert {key: entry[key] for key in ("digest", "note", "by")} == {
        "digest": _digest("contract"), "note": "a contract", "by": f"user:{user}",
    }  # fmt: skip

    again = notary.ask("/app/entries", {"digest": _digest("contract"), "note": "changed"})
    assert (again.status, again.json) == (409, entry)
    assert notary.ask("/app/entries", {"digest": "x"}).status == 400
    assert notary.ask("/app/entries", {"digest": _digest("other")}, user=None).status == 401
    assert notary.ask(f"/app/entries/{_digest('contract')}", user=None).json == entry
    assert notary.ask(f"/app/entries/{_digest('unknown')}/receipt", user=None).status == 404

    proof = notary.until(
        f"/app/entries/{_digest('contract')}/receipt", lambda answer: answer.status == 200, user=None
    ).json
    assert proof["transactionId"] == entered.transaction_id
    assert proof["entry"] == entry
    assert json.loads(proof["claim"]) == [entry["line"], entry["digest"], entry["note"], entry["by"]]

    (tmp_path / "claim").write_text(proof["claim"])
    (tmp_path / "wrong").write_text(proof["claim"].replace("a contract", "a gift"))
    # What the app hands out, and what every node hands out, prove the same.
    standard = notary.ask(f"/app/receipt?transaction_id={entered.transaction_id}", user=None).body
    pinned = ["--service-cert", notary.service_cert, "--txid", entered.transaction_id]
    for name, receipt in (("app.json", json.dumps(proof["receipt"]).encode()), ("standard.json", standard)):
        path = tmp_path / name
        path.write_bytes(receipt)
        good = tallystick("--offline", "receipt", "verify", path, *pinned, "--claims-text", tmp_path / "claim")
        assert good.exit_code == OK, good
        bad = tallystick("--offline", "receipt", "verify", path, *pinned, "--claims-text", tmp_path / "wrong")
        assert bad.exit_code == FAILED


def test_who_enters_with_a_token_is_named_by_it(notary: RunningSandbox) -> None:
    issuer = Issuer("https://issuer.example")
    decide(notary, {"actions": [issuer.set_issuer_action()]})

    headers = {"authorization": f"Bearer {issuer.token({'sub': 'alice'})}"}
    entered = notary.ask("/app/entries", {"digest": _digest("by token")}, user=None, headers=headers)

    assert entered.status == 201, entered
    assert entered.json["by"] == "token:https://issuer.example:alice"


def test_the_book_is_read_in_pages(notary: RunningSandbox) -> None:
    before = notary.ask("/app/entries", user=None).json["length"]
    for index in range(3):
        assert notary.ask("/app/entries", {"digest": _digest(f"page {index}")}).status == 201
    page = notary.ask(f"/app/entries?first={before + 2}&last={before + 3}", user=None).json
    assert page["length"] == before + 3
    assert [entry["digest"] for entry in page["entries"]] == [_digest("page 1"), _digest("page 2")]
