"""One ledger, wherever it lies and whoever scans it: one verdict."""

from __future__ import annotations

import contextlib
import functools
import logging
import shutil
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.mutation import LedgerCopy
from support.run import Outcome, tallystick
from support.services import Base, recovered_base
from tallystick._native import LedgerScanner, MerkleTree
from tallystick.errors import UndecidedError
from tallystick.ledger.directory import find_ledger_files
from tallystick.ledger.scanning import ScanPart, ThreadEngine, scan_part, scan_parts

MISSING = "install the extra test-remote: pip install '.[test-remote]'"


@pytest.fixture(scope="module")
def valid() -> Base:
    return recovered_base("6.x")


@pytest.fixture(scope="module")
def pin(valid: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pin") / "service.pem"
    path.write_bytes(valid.certificates[-1])
    return path


@pytest.fixture(scope="module", params=["valid", "spoilt", "cut", "gap", "suffix"])
def directory(request: pytest.FixtureRequest, valid: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger, good and in several ways bad."""
    copy = LedgerCopy(valid.directory, tmp_path_factory.mktemp(request.param) / "ledger")
    chunks = copy.chunks
    if request.param == "spoilt":
        data = bytearray(chunks[2].read_bytes())
        data[len(data) // 2] ^= 1
        chunks[2].write_bytes(data)
    elif request.param == "cut":
        chunks[1].write_bytes(chunks[1].read_bytes()[:-9])
    elif request.param == "gap":
        chunks[2].unlink()
    elif request.param == "suffix":
        chunks[0].unlink()
    return copy.directory


def verify(place: str | Path, pin: Path, *options: str) -> Outcome:
    return tallystick("verify", place, "--uncommitted", "--service-cert", pin, "--format", "json", *options)


def assert_same(outcome: Outcome, place: str, directory: Path, pin: Path) -> None:
    local = verify(directory, pin)
    assert outcome.exit_code == local.exit_code, outcome.stderr
    # Byte for byte: the text, not only what it means.
    assert outcome.stdout.replace(place, "PLACE") == local.stdout.replace(str(directory), "PLACE")


# ------------------------------------------------------------------------------------------------ places


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; none may be left."""
    place = tmp_path / "spool"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    yield place
    assert list(place.iterdir()) == []


def test_memory(directory: Path, pin: Path, spool: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason=MISSING)
    filesystem = fsspec.filesystem("memory")
    root = f"/{uuid.uuid4().hex}/ledger"
    for path in directory.iterdir():
        filesystem.pipe(f"{root}/{path.name}", path.read_bytes())
    assert_same(verify(f"memory:/{root}", pin), f"memory:/{root}", directory, pin)


def test_a_web_server(directory: Path, pin: Path, spool: Path) -> None:
    pytest.importorskip("fsspec", reason=MISSING)
    pytest.importorskip("aiohttp", reason=MISSING)
    with serving(directory) as url:
        assert_same(verify(url, pin), url, directory, pin)


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(directory)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """An S3-compatible store on loopback, with one bucket."""
    pytest.importorskip("s3fs", reason=MISSING)
    moto_server = pytest.importorskip("moto.server", reason=MISSING)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        filesystem = s3fs.S3FileSystem()
        filesystem.mkdir("ledgers")
        yield filesystem
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_an_object_store(directory: Path, pin: Path, spool: Path, bucket: Any) -> None:
    root = f"ledgers/{uuid.uuid4().hex}"
    for path in directory.iterdir():
        bucket.pipe(f"{root}/{path.name}", path.read_bytes())
    assert_same(verify(f"s3://{root}", pin), f"s3://{root}", directory, pin)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_other_commands_read_there_too(valid: Base, pin: Path, spool: Path, bucket: Any, tmp_path: Path) -> None:
    root = f"ledgers/{uuid.uuid4().hex}"
    for path in valid.directory.iterdir():
        bucket.pipe(f"{root}/{path.name}", path.read_bytes())
    url = f"s3://{root}"
    one = f"{url}/{valid.directory.joinpath(sorted(p.name for p in valid.directory.iterdir())[0]).name}"
    for command in (
        ["log", "{}", "--format", "jsonl"],
        ["show", "{}", "3", "--format", "json"],
        ["state", "{}", "--format", "json"],
        ["history", "{}", "public:records", "key 1", "--format", "json"],
        ["gov", "log", "{}", "--format", "json"],
        ["verify", "{}", "--service-cert", str(pin), "--expect-head", "2.10", "--format", "json"],
    ):
        far = tallystick(*[word.format(url) for word in command])
        near = tallystick(*[word.format(valid.directory) for word in command])
        assert far.exit_code == near.exit_code == 0, (command, far.stderr)
        assert far.stdout.replace(url, "P") == near.stdout.replace(str(valid.directory), "P"), command
    assert verify(one, pin).stdout
    checkpoint = tmp_path / "checkpoint.json"
    for _ in range(2):
        again = tallystick("verify", url, "--service-cert", pin, "--checkpoint", checkpoint)
        assert again.exit_code == 0, again.stderr


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("memory://nowhere/at/all", "path-missing"),
        ("nosuchscheme://host/ledger", "extra-missing"),
        ("http://127.0.0.1:9/ledger", None),
    ],
)
def test_places_that_cannot_be_read(url: str, code: str | None, pin: Path) -> None:
    pytest.importorskip("fsspec", reason=MISSING)
    outcome = verify(url, pin)
    assert outcome.exit_code == (2 if code else 3), outcome.stderr
    assert url in outcome.stderr
    if code is not None:
        assert f"[{code}]" in outcome.stderr


def test_without_fsspec_a_url_is_a_usage_error(pin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    outcome = verify("s3://bucket/ledger", pin)
    assert outcome.exit_code == 2
    assert "[extra-missing]" in outcome.stderr
    assert "tallystick[remote]" in outcome.stderr


# ---------------------------------------------------------------------------------------------- clusters


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A Dask cluster of two worker processes on loopback."""
    distributed = pytest.importorskip("distributed", reason=MISSING)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as local:
        yield local.scheduler_address.replace("tcp://", "dask://")


@pytest.mark.filterwarnings("ignore")
def test_a_cluster(directory: Path, pin: Path, cluster: str) -> None:
    outcome = verify(directory, pin, "--engine", cluster)
    # The cluster's word is all there is for what it read, and the verdict says so.
    trusting = f'    "what the Dask cluster {cluster} read and hashed: it is trusted as this machine is",\n'
    assert trusting in outcome.stdout
    same = replace(outcome, stdout=outcome.stdout.replace(trusting, ""))
    assert_same(same, str(directory), directory, pin)


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_whose_workers_cannot_read(valid: Base, pin: Path, cluster: str, tmp_path: Path) -> None:
    from tallystick.ledger.dask_engine import open_engine

    copy = tmp_path / "ledger"
    shutil.copytree(valid.directory, copy)
    parts = parts_of(copy)
    shutil.rmtree(copy)
    engine = open_engine(cluster)
    try:
        with pytest.raises(OSError, match="ledger_1"):
            list(scan_parts(parts, engine=engine))
    finally:
        engine.close()


def test_engines_that_are_none(valid: Base, pin: Path) -> None:
    assert verify(valid.directory, pin, "--engine", "spark://h:1").exit_code == 2
    assert verify(valid.directory, pin, "--engine", "dask://host").exit_code == 2


@pytest.mark.filterwarnings("ignore")
def test_no_scheduler(valid: Base, pin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason=MISSING)
    monkeypatch.setattr("tallystick.ledger.dask_engine._CONNECT_SECONDS", 0.5)
    outcome = verify(valid.directory, pin, "--engine", "dask://127.0.0.1:9")
    assert (outcome.exit_code, "[engine-failed]" in outcome.stderr) == (3, True)


# --------------------------------------------------------------------------------------------- two halves


def parts_of(directory: Path) -> list[ScanPart]:
    parts = find_ledger_files([directory], uncommitted=True).parts
    return [ScanPart(part.file.path, part.first, part.last) for part in parts]


def batches(scanner: LedgerScanner) -> dict[str, Any]:
    """Everything that a scan says, without how it was cut into batches."""
    said: dict[str, Any] = {"leaves": b"", "signatures": [], "notable": [], "findings": [], "rows": []}
    for batch in scanner:
        said["leaves"] += batch.leaves
        said["signatures"] += [
            (s.file_index, s.offset, s.seqno, s.view, s.root, s.root_holds, s.first_proven, s.raw_signature, s.cose)
            for s in batch.signatures
        ]
        said["notable"] += [(batch.file_index, e.offset, e.raw) for e in batch.notable]
        said["findings"] += [(f.file_index, f.offset, f.code, f.message, f.view, f.seqno) for f in batch.findings]
    tree = scanner.tree()
    return {**said, "tree": tree.to_compact() if tree is not None else None, "transactions": scanner.transactions}


@pytest.mark.parametrize("level", ["parse", "offsets", "headers", "merkle"])
def test_both_halves_together_are_the_whole(directory: Path, level: str) -> None:
    parts = parts_of(directory)
    tree = MerkleTree() if parts[0].first == 1 else None
    first = parts[0].first
    whole = scan_parts(parts, level=level, tree=tree, first_seqno=first)
    halves = scan_parts(parts, level=level, tree=tree, first_seqno=first, engine=ThreadEngine(3))
    assert batches(whole) == batches(halves)


def test_outcomes_that_were_damaged_are_refused(valid: Base) -> None:
    part = parts_of(valid.directory)[0]
    outcome = scan_part(part, "merkle", False)
    for damaged in (outcome[:-1], outcome + b"\0", b"", outcome.replace(b"0.1.0", b"9.9.9", 1)):
        with pytest.raises(UndecidedError, match="outcome of a scan") as caught:
            list(LedgerScanner.from_scanned([damaged], level="merkle"))
        assert caught.value.code == "engine-failed"
    with pytest.raises(UndecidedError, match="another level"):
        list(LedgerScanner.from_scanned([outcome], level="parse"))
