"""read-ledger: the official tool's flags, and where it differs on purpose."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tallystick import Ledger
from tallystick.cli.main import main
from tallystick.printable import display_width

COSE = "cose_flipflop_service"


@pytest.fixture
def place(ledgers: Path) -> Path:
    return ledgers / COSE / "ledger"


@pytest.fixture
def pin(ledgers: Path) -> list[str]:
    return ["--service-cert", str(ledgers / COSE / "common" / "service_cert.pem")]


def test_verified_under_a_pinned_identity(capsys: pytest.CaptureFixture[str], place: Path, pin: list[str]) -> None:
    assert main(["read-ledger", str(place), *pin]) == 0
    out, err = capsys.readouterr()
    assert "txid 2.1 " in out
    assert out.splitlines()[-1] == "Verified at level FULL: 46 transactions, 23 signatures, proven until 2.46"
    assert "WARNING" not in err
    for line in out.splitlines():
        assert line.isprintable()
        assert display_width(line) <= 80 or line.startswith("chunk ")


def test_nothing_pinned_is_undecided_and_says_so_loudly(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    assert main(["read-ledger", "-q", str(place)]) == 3
    out, err = capsys.readouterr()
    assert "txid" not in out
    assert "WARNING: no service identity is pinned" in err
    assert "--service-cert FILE" in err


def test_digests_are_those_of_the_official_tool(
    capsys: pytest.CaptureFixture[str], place: Path, peer_python: Path
) -> None:
    main(["read-ledger", "-d", "--insecure-skip-verification", str(place)])
    ours = [line for line in capsys.readouterr().out.splitlines() if line.startswith("2.")]
    official = peer_python.parent / "read_ledger.py"
    ended = subprocess.run([peer_python, official, "-d", str(place)], capture_output=True, text=True, check=True)
    assert ours == [line for line in ended.stdout.splitlines() if line.startswith("2.")]
    assert len(ours) == 46


@pytest.mark.parametrize("level", ["NONE", "OFFSETS", "HEADERS", "MERKLE", "FULL"])
def test_levels(capsys: pytest.CaptureFixture[str], place: Path, pin: list[str], level: str) -> None:
    code = main(["read-ledger", "-q", "--verification-level", level, str(place), *pin])
    out = capsys.readouterr().out
    if level == "NONE":
        assert (code, out.splitlines()[-1]) == (0, "Not verified: verification was skipped")
    elif level == "FULL":
        assert code == 0
    else:
        # Less was checked than what an identity vouches for.
        assert code in (0, 3)
        assert f"at level {level}" in out


def test_tables_match_from_their_start(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    main(["read-ledger", "--insecure-skip-verification", "-t", "public:ccf.gov.members", str(place)])
    out = capsys.readouterr().out
    assert "table public:ccf.gov.members.certs" in out
    assert "table public:ccf.gov.nodes" not in out
    main(["read-ledger", "--insecure-skip-verification", "-t", "members", str(place)])
    assert "table" not in capsys.readouterr().out


def test_a_tampered_ledger_fails(
    capsys: pytest.CaptureFixture[str], place: Path, pin: list[str], tmp_path: Path
) -> None:
    shutil.copytree(place, tmp_path / "ledger")
    chunk = next(iter(Ledger(tmp_path / "ledger").chunks()))
    first = chunk[0]
    path = Path(chunk.path)
    data = bytearray(path.read_bytes())
    at = first.raw.index(b'"Opening"') + first.offset
    data[at + 1] ^= 1
    path.write_bytes(data)
    assert main(["read-ledger", "-q", str(tmp_path / "ledger"), *pin]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("Failed at level FULL")
    assert "error: " in err


def test_an_empty_directory_is_no_success(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["read-ledger", str(tmp_path)]) == 3
    assert "no ledger chunk to read" in capsys.readouterr().err


def test_a_snapshot(capsys: pytest.CaptureFixture[str], ccf_built: Path) -> None:
    snapshot = str(min((ccf_built / "js1" / "snapshots").glob("snapshot_*.committed")))
    pin = str(ccf_built / "js1" / "common" / "service_cert.pem")
    assert main(["read-ledger", "-s", snapshot, "--service-cert", pin]) == 0
    out, _ = capsys.readouterr()
    assert "table public:ccf.gov.service.info (1 write)" in out
    assert out.splitlines()[-1].startswith("Verified: snapshot of seqno ")
    assert main(["read-ledger", "-s", "-q", snapshot]) == 3
    out, err = capsys.readouterr()
    assert "table" not in out
    assert "WARNING" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-q", "-d", "LEDGER"],
        ["-d", "-t", "x", "LEDGER"],
        ["-t", "(", "LEDGER"],
        ["--verification-level", "SOME", "LEDGER"],
        ["-s", "LEDGER", "LEDGER"],
        ["-s", "LEDGER"],
        ["LEDGER", "--service-cert", "LEDGER/none.pem"],
    ],
)
def test_usage(capsys: pytest.CaptureFixture[str], place: Path, arguments: list[str]) -> None:
    assert main(["read-ledger", *[argument.replace("LEDGER", str(place)) for argument in arguments]]) == 2
    assert capsys.readouterr().err
