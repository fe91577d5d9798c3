"""`tallystick fetch`: what has a final name is verified, whatever the node does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.growing_service import Scene
from support.mutation import LedgerCopy
from support.node_server import NodeServer
from support.run import tallystick
from support.services import outsider, write_some
from tallystick.printable import is_printable


def test_a_ledger_is_fetched_whole_and_gone_on_with(scene: Scene) -> None:
    first = scene.fetch("--format", "json")
    assert (first.exit_code, sorted(first.json["new_chunks"])) == (0, scene.names()), first.stderr
    assert scene.fetched() == scene.served()

    scene.grow()
    again = scene.fetch("--format", "json")

    assert again.exit_code == 0
    assert len(again.json["new_chunks"]) == 1
    assert scene.fetched() == scene.served()
    assert scene.fetch("--format", "json").json["new_chunks"] == []
    assert tallystick("verify", scene.target, "--service-cert", scene.pins[0]).exit_code == 0


def test_what_is_complete_is_not_asked_for_again(scene: Scene) -> None:
    scene.fetch()
    scene.node.requests.clear()
    scene.fetch("--no-snapshot")
    assert [request.split()[0] for request in scene.node.requests] == [
        f"/node/ledger-chunk?since={scene.service.seqno + 1}"
    ]


def once_each(*faults: str) -> Callable[[int, str], str | None]:
    waiting = list(faults)
    turns = count()

    def fault(_number: int, path: str) -> str | None:
        # Every other time: without a new byte in between, a download is given up.
        return waiting.pop() if waiting and "since" not in path and next(turns) % 2 else None

    return fault


@pytest.mark.parametrize("inclusive", [False, True], ids=["node", "rfc9110"])
@pytest.mark.parametrize("block", [100, 1 << 30])
def test_faults_that_pass_are_overcome(scene: Scene, block: int, inclusive: bool) -> None:
    scene.node.block, scene.node.inclusive = block, inclusive
    scene.node.fault = once_each("cut", "drop", "cut", "wrong-range", "cut", "error", "cut", "wrong-digest", "cut")

    outcome = scene.fetch()

    assert outcome.exit_code == 0, outcome.stderr
    assert scene.fetched() == scene.served()


def test_a_server_without_ranges_and_digests_will_do(scene: Scene) -> None:
    scene.node.ranges = scene.node.digests = False
    scene.node.fault = once_each("cut")
    assert scene.fetch().exit_code == 0
    assert scene.fetched() == scene.served()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("loop", "download-redirects"),
        ("drop", "download-failed"),
        ("error", "download-failed"),
        ("wrong-range", "download-range"),
        ("wrong-total", "download-range"),
        ("wrong-digest", "download-digest"),
    ],
)
def test_faults_that_stay_end_it_without_a_file(scene: Scene, fault: str, code: str) -> None:
    scene.node.block = 200
    total_differs = iter(range(10**6))

    def always(_number: int, path: str) -> str | None:
        if fault == "wrong-total" and next(total_differs) % 2:
            return None
        return fault if "since" not in path else None

    scene.node.fault = always
    outcome = scene.fetch()

    assert outcome.exit_code == 3
    assert f"[{code}]" in outcome.stderr
    assert scene.names() == []


def test_redirects_in_a_circle_of_two(scene: Scene) -> None:
    other = NodeServer(scene.node.directory, elsewhere=scene.node.url)
    with other.running() as url:
        scene.node.elsewhere = url
        outcome = scene.fetch()
    assert (outcome.exit_code, "[download-redirects]" in outcome.stderr) == (3, True)


@pytest.mark.parametrize(
    "location",
    [
        "http://[x/",
        "http://127.0.0.1:port/",
        "ftp://127.0.0.1/ledger",
        "file:///etc/passwd",
        "http://:80/",
        "/node/ledger-chunk/\u009b2J",
        "/node/ledger-chunk/a b",
    ],
)
def test_a_redirect_that_leads_to_no_node(scene: Scene, location: str) -> None:
    scene.node.location = location
    outcome = scene.fetch()
    assert (outcome.exit_code, "[download-redirects]" in outcome.stderr) == (3, True), outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert is_printable(outcome.stderr, lines=True)


def test_a_redirect_to_a_name_that_nobody_can_resolve(scene: Scene) -> None:
    scene.node.location = f"http://{'a' * 64}.invalid/"
    outcome = scene.fetch()
    assert (outcome.exit_code, "[download-failed]" in outcome.stderr) == (3, True), outcome.stderr


def test_what_follows_the_number_sign_is_no_part_of_a_location(scene: Scene) -> None:
    """It is not sent, so that nothing else would notice it; it must not get into what is printed."""
    scene.node.location = "/node/ledger-chunk/NAME#\x1b[2J"
    outcome = scene.fetch()
    assert outcome.exit_code == 0, outcome.stderr
    assert is_printable(outcome.stderr, lines=True)
    assert scene.fetched() == scene.served()


@pytest.mark.parametrize("url", ["http://[x", "http://host:port", "https://", "node:8000", "http://node/?query"])
def test_a_url_that_is_none(scene: Scene, url: str) -> None:
    outcome = scene.fetch(url=url)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert "not the URL of a node" in outcome.stderr


def test_a_redirect_to_another_node_is_followed(scene: Scene, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with NodeServer(empty, elsewhere=scene.node.url).running() as url:
        assert scene.fetch(url=url).exit_code == 0
    assert scene.fetched() == scene.served()


def test_an_interrupted_download_goes_on(scene: Scene) -> None:
    scene.node.block = 300
    # Nothing answers from the tenth request on, as when the node goes away.
    scene.node.fault = lambda number, _path: "drop" if number > 10 else None
    assert scene.fetch().exit_code == 3
    (part,) = (scene.target / ".tallystick" / "incoming").iterdir()
    size = part.stat().st_size
    assert size > 0

    scene.node.fault = lambda _number, _path: None
    scene.node.requests.clear()
    assert scene.fetch().exit_code == 0

    starts = [request.split("bytes=")[1].split("-")[0] for request in scene.node.requests if "since" not in request]
    assert starts[0] == "0"
    assert int(starts[1]) == size
    assert scene.fetched() == scene.served()


def flipped(scene: Scene, name: str) -> Callable[[str, bytes], bytes]:
    def spoil(served: str, data: bytes) -> bytes:
        if served != name:
            return data
        at = len(data) // 3
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return spoil


def test_a_node_that_lies_is_caught_and_nothing_of_the_lie_stays(scene: Scene) -> None:
    names = sorted(scene.served(), key=lambda name: int(name.split("_")[1].split("-")[0]))
    scene.node.spoil = flipped(scene, names[1])

    outcome = scene.fetch()

    assert outcome.exit_code == 1
    assert scene.names() == names[:1]
    assert names[1] in scene.names(".tallystick/rejected")
    assert tallystick("verify", scene.target, "--service-cert", scene.pins[0]).exit_code == 0

    scene.node.spoil = lambda _name, data: data
    assert scene.fetch().exit_code == 0
    assert scene.fetched() == scene.served()


def test_a_node_of_another_history_is_caught(scene: Scene, tmp_path: Path) -> None:
    assert scene.fetch().exit_code == 0
    before = scene.fetched()
    fork = LedgerCopy(scene.node.directory, tmp_path / "fork")
    forge = outsider(fork, tmp_path / "forged")
    forge.recover(vouched=False)
    write_some(forge)
    forge.sign(close_chunk=True)
    for path in (tmp_path / "forged").glob("*.committed"):
        shutil.copy(path, tmp_path / "fork")

    with NodeServer(tmp_path / "fork").running() as url:
        outcome = scene.fetch(url=url)

    # An unvouched recovery may still be vouched for later: it is held, and never gets a final name.
    assert outcome.exit_code == 3
    assert scene.fetched() == before


def test_a_ledger_of_another_service_is_refused(scene: Scene, tmp_path: Path) -> None:
    from support.services import base

    other = base("6.x")
    with NodeServer(other.directory).running() as url:
        outcome = scene.fetch(url=url)
    assert outcome.exit_code == 3
    assert scene.names() == []


def test_a_recovery_under_way_pinned_before_it(scene: Scene) -> None:
    assert scene.fetch().exit_code == 0
    scene.recover()
    scene.grow(2)
    assert scene.fetch(pin=0).exit_code == 0
    assert scene.fetched() == scene.served()


def test_a_recovery_pinned_after_it_holds_chunks_back_until_they_are_endorsed(scene: Scene) -> None:
    scene.recover()
    scene.grow()
    all_of_it = scene.served()
    last = max(all_of_it, key=lambda name: int(name.split("_")[1].split("-")[0]))
    (scene.node.directory / last).rename(scene.node.directory.parent / last)
    first_life = [name for name in all_of_it if int(name.split("_")[1].split("-")[0]) < 20]
    for name in all_of_it:
        if name not in first_life and name != last:
            (scene.node.directory / name).rename(scene.node.directory.parent / name)

    held = scene.fetch("--format", "json", pin=1)
    assert (held.exit_code, scene.names()) == (3, [])
    assert sorted(held.json["held_chunks"]) == sorted(first_life)

    for name in all_of_it:
        if not (scene.node.directory / name).exists():
            (scene.node.directory.parent / name).rename(scene.node.directory / name)
    assert scene.fetch(pin=1).exit_code == 0
    assert scene.fetched() == scene.served()


@pytest.mark.parametrize("name", ["evil.bin", "ledger_19-23.committed", "ledger_1-2.committed.ignored", "ledger_1"])
def test_a_file_that_was_not_asked_for_is_refused(scene: Scene, name: str) -> None:
    (scene.node.directory / name).write_bytes(b"x" * 100)
    scene.node.announced = name
    outcome = scene.fetch()
    assert (outcome.exit_code, "[download-name]" in outcome.stderr) == (3, True)
    assert scene.names() == []


def test_a_size_that_no_chunk_has_is_refused_before_it_comes(scene: Scene) -> None:
    scene.node.total = 1 << 40
    outcome = scene.fetch()
    assert (outcome.exit_code, "[download-too-large]" in outcome.stderr) == (3, True)
    assert scene.names(".tallystick/incoming") == []


def test_a_node_without_old_chunks(scene: Scene) -> None:
    served = sorted(scene.served(), key=lambda name: int(name.split("_")[1].split("-")[0]))
    (scene.node.directory / served[0]).unlink()
    outcome = scene.fetch()
    assert (outcome.exit_code, "[node-has-nothing]" in outcome.stderr) == (3, True)

    start = served[1].split("_")[1].split("-")[0]
    assert scene.fetch("--from", start).exit_code == 0
    assert scene.names() == sorted(served[1:])


def test_a_node_of_a_version_without_the_endpoint(scene: Scene) -> None:
    scene.node.fault = lambda _number, path: "old" if "chunk" in path else None
    outcome = scene.fetch()
    assert (outcome.exit_code, "[node-has-nothing]" in outcome.stderr) == (3, True)
    assert "does not offer ledger chunks" in outcome.stderr


def test_a_checkpoint_that_was_lost_is_made_again(scene: Scene) -> None:
    assert scene.fetch().exit_code == 0
    (scene.target / ".tallystick" / "checkpoint.json").unlink()
    scene.grow()
    assert scene.fetch().exit_code == 0
    assert scene.fetched() == scene.served()


def test_files_that_were_changed_meanwhile_are_noticed(scene: Scene) -> None:
    assert scene.fetch().exit_code == 0
    (scene.target / ".tallystick" / "checkpoint.json").unlink()
    path = scene.target / scene.names()[0]
    path.write_bytes(flipped(scene, path.name)(path.name, path.read_bytes()))
    outcome = scene.fetch()
    assert outcome.exit_code == 1
    assert "do not verify" in outcome.stderr


def test_tls_is_pinned_to_the_service(scene: Scene, tmp_path: Path) -> None:
    key = tmp_path / "node.key"
    node = scene.service.node
    key.write_bytes(node.key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate = tmp_path / "node.pem"
    certificate.write_text(node.certificate, encoding="ascii")
    with NodeServer(scene.node.directory, tls=(certificate, key)).running() as url:
        assert scene.fetch(url=url).exit_code == 0

        scene.recover()
        wrong = tallystick("fetch", url, "-o", tmp_path / "other", "--service-cert", scene.pins[1])
        assert (wrong.exit_code, "[download-tls]" in wrong.stderr) == (3, True)

        away = NodeServer(scene.node.directory, elsewhere="http://127.0.0.1:1", tls=(certificate, key))
        with away.running() as tls_url:
            outcome = scene.fetch(url=tls_url)
        assert (outcome.exit_code, "[download-redirects]" in outcome.stderr) == (3, True)


def test_two_at_once_do_not_meet(scene: Scene) -> None:
    from tallystick.remote.state_files import lock_directory

    work = scene.target / ".tallystick"
    work.mkdir(parents=True)
    descriptor = lock_directory(work)
    outcome = scene.fetch()
    assert (outcome.exit_code, "[state-busy]" in outcome.stderr) == (2, True)
    import os

    os.close(descriptor)


def test_the_snapshot_is_verified_too(scene: Scene, demonstration: Path) -> None:
    service = demonstration
    with NodeServer(service / "ledger", snapshots=service / "snapshots").running() as url:
        command = ["fetch", url, "-o", str(scene.target), "--service-cert", str(service / "service-cert.pem")]
        outcome = tallystick(*command, "--format", "json")
        assert outcome.exit_code == 0, outcome.stderr
        assert outcome.json["snapshot"]["verdict"] == "verified"
        (name,) = scene.names("snapshots")

        spoiling = NodeServer(
            service / "ledger", snapshots=service / "snapshots", spoil=flipped(scene, name), digests=False
        )
        shutil.rmtree(scene.target / "snapshots")
        with spoiling.running() as bad:
            outcome = tallystick("fetch", bad, *command[2:])
        assert outcome.exit_code == 1
        assert not (scene.target / "snapshots").exists()
        assert name in scene.names(".tallystick/rejected")


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fetched") / "files"
    assert tallystick("demo", "--directory", directory).exit_code == 0
    return directory


def test_an_anchor_is_required(scene: Scene) -> None:
    assert tallystick("fetch", scene.node.url, "-o", scene.target).exit_code == 2


def test_the_report_is_json(scene: Scene) -> None:
    report = json.loads(scene.fetch("--format", "json").stdout)
    assert report["schema"] == "tallystick.fetch/1"
    assert report["head"].endswith(f".{scene.service.last_signed.seqno}")
