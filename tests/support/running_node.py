"""A node in a process of its own, started as operators start it: an executable and a configuration file.

It serves our node and CCF's own ``js_generic`` alike, so that tests and benches can put the two side by side.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tallystick.errors import UndecidedError
from tallystick.member.actions import action, proposal
from tallystick.member.client import GovernanceClient
from tallystick.member.keys import MemberKeys, generate_keys, write_keys
from tallystick.member.requests import GovernanceRequest, RequestType

__all__ = ["Consortium", "RunningNode", "open_service", "recover_service", "start_node"]

START_SECONDS = 60.0
"""A busy machine may take so long to bring a node up; a free one takes less than one."""

STOP_SECONDS = 20.0

CLEAN_ENVIRONMENT = {"PATH": os.defpath}

OPEN = "Open"


@dataclass(frozen=True)
class Consortium:
    """Who governs and who uses a service, with the files of their keys.

    Attributes:
        members: each with an encryption key, so that each holds a recovery share.
        directory: holds ``member0_cert.pem``, ``user0_privk.pem`` and the like.
    """

    members: tuple[MemberKeys, ...]
    users: tuple[MemberKeys, ...]
    directory: Path

    @classmethod
    def create(cls, directory: Path, members: int = 1, users: int = 1) -> Consortium:
        """Makes fresh keys and writes them."""
        now = datetime.now(timezone.utc) - timedelta(hours=1)
        made = tuple(generate_keys(f"member{index}", now) for index in range(members))
        callers = tuple(generate_keys(f"user{index}", now, encryption=False) for index in range(users))
        for index, keys in enumerate(made):
            write_keys(keys, directory, f"member{index}")
        for index, keys in enumerate(callers):
            write_keys(keys, directory, f"user{index}")
        return cls(made, callers, directory)

    def file(self, name: str) -> Path:
        """Where a key or certificate is, e.g. ``user0_cert``."""
        return self.directory / f"{name}.pem"


@dataclass
class RunningNode:
    """A node that listens.

    Attributes:
        address: ``host:port`` of its interface.
        service_certificate: PEM file.
        log: standard output and standard error.
    """

    process: subprocess.Popen[bytes]
    directory: Path
    address: str
    service_certificate: Path
    log: Path

    @property
    def ledger(self) -> Path:
        """The ledger's directory."""
        return self.directory / "ledger"

    @property
    def snapshots(self) -> Path:
        """The snapshots' directory."""
        return self.directory / "snapshots"

    def governance(self) -> GovernanceClient:
        """A client of the node's governance API."""
        return GovernanceClient(f"https://{self.address}", [str(self.service_certificate)])

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        caller: tuple[Path, Path] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """One request over a connection of its own: status, headers with lower-case names, body.

        Args:
            caller: PEM files of certificate and key.
        """
        context = ssl.create_default_context(cafile=str(self.service_certificate))
        if caller is not None:
            context.load_cert_chain(*caller)
        connection = http.client.HTTPSConnection(self.address, context=context, timeout=START_SECONDS)
        try:
            sent = {"content-type": "application/json"} if body is not None else {}
            connection.request(method, path, body=body, headers={**sent, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def stop(self) -> int:
        """Ends the node cleanly; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self) -> RunningNode:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def configuration(
    command: Mapping[str, Any], *, port: int = 0, settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A configuration of one node on loopback, in CCF's keys; ``settings`` replaces whole top-level keys."""
    return {
        "network": {
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": {
                "main": {
                    "bind_address": f"127.0.0.1:{port}",
                    # CCF 7.0.0-dev5 ends at the first request on an interface that leaves this to the default.
                    "endorsement": {"authority": "Service"},
                    "max_open_sessions_soft": 1000,
                    "max_open_sessions_hard": 1010,
                }
            },
        },
        "node_certificate": {"subject_alt_names": ["iPAddress:127.0.0.1"], "initial_validity_days": 1},
        "command": command,
        "ledger": {"directory": "ledger", "chunk_size": "5MB"},
        "snapshots": {"directory": "snapshots", "tx_count": 10_000_000},
        "ledger_signatures": {"tx_count": 5000, "delay": "100ms"},
        "output_files": {"pid_file": "node.pid", "rpc_addresses_file": "addresses.json"},
        "tick_interval": "1ms",
        **(settings or {}),
    }


def start_command(consortium: Consortium, constitution: Sequence[Path]) -> dict[str, Any]:
    """``command`` of a configuration that starts a new service."""
    members = [
        {
            "certificate_file": str(consortium.file(f"member{index}_cert")),
            "encryption_public_key_file": str(consortium.file(f"member{index}_enc_pubk")),
        }
        for index in range(len(consortium.members))
    ]
    return {
        "type": "Start",
        "service_certificate_file": "service_cert.pem",
        "start": {
            "members": members,
            "constitution_files": [str(path) for path in constitution],
            "service_configuration": {"recovery_threshold": 1},
            "initial_service_certificate_validity_days": 30,
        },
    }


def recover_command(previous_certificate: Path) -> dict[str, Any]:
    """``command`` of a configuration that recovers a service from its ledger."""
    return {
        "type": "Recover",
        "service_certificate_file": "service_cert.pem",
        "recover": {
            "initial_service_certificate_validity_days": 30,
            "previous_service_identity_file": str(previous_certificate),
        },
    }


def start_node(
    executable: Sequence[str | Path], directory: Path, config: Mapping[str, Any], *, prefix: Sequence[str] = ()
) -> RunningNode:
    """Starts a node in ``directory`` and waits until it has written where it listens.

    Args:
        executable: the node, with arguments of its own if it has any.
        prefix: a command that starts it, such as ``chrt -r 5``.

    Raises:
        UndecidedError: it ended, or did not come up in time; the message holds the end of its log.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=1))
    log = directory / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*prefix, *map(str, executable), "--config", "config.json"],
            cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=CLEAN_ENVIRONMENT,
        )  # fmt: skip
    addresses = directory / "addresses.json"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise UndecidedError(f"the node ended with {process.returncode}: {_tail(log)}")
        try:
            address = json.loads(addresses.read_text())["main"]
        except (OSError, ValueError):
            time.sleep(0.01)
            continue
        node = RunningNode(process, directory, address, directory / "service_cert.pem", log)
        _wait_until(node, "/node/commit", lambda status, _: status == 200, deadline)
        return node
    process.kill()
    raise UndecidedError(f"the node did not come up: {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_bytes()[-3000:].decode("utf-8", "replace")


def _wait_until(node: RunningNode, path: str, good: Any, deadline: float) -> None:
    while True:
        try:
            status, _, body = node.request("GET", path)
            if good(status, body):
                return
            last = f"{status} {body[:300]!r}"
        except (OSError, http.client.HTTPException) as error:
            last = str(error)
        if time.monotonic() > deadline or node.process.poll() is not None:
            node.process.kill()
            raise UndecidedError(f"{path}: {last}; the node's log ends: {_tail(node.log)}")
        time.sleep(0.01)


def _wait_for_status(node: RunningNode, wanted: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    _wait_until(node, "/node/network", lambda _, body: json.loads(body)["service_status"] == wanted, deadline)


def _propose(client: GovernanceClient, consortium: Consortium, actions: Sequence[dict[str, object]]) -> None:
    """Submits a proposal, and ballots of all members until it is accepted."""
    now = int(time.time())
    made = client.send(consortium.members[0], GovernanceRequest(RequestType.PROPOSAL, proposal(list(actions)), now))
    state, identifier = made.answer["proposalState"], made.answer["proposalId"]
    approve = json.dumps({"ballot": "export function vote (proposal, proposerId) { return true; }"}).encode()
    for member in consortium.members:
        if state != OPEN:
            break
        request = GovernanceRequest(RequestType.BALLOT, approve, now, identifier)
        state = client.send(member, request).answer["proposalState"]
    if state != "Accepted":
        raise UndecidedError(f"the proposal is {state}")


def open_service(node: RunningNode, consortium: Consortium, bundle: Mapping[str, Any] | None) -> None:
    """Activates the members, adds the users, installs the app and opens the service."""
    now = int(time.time())
    deadline = time.monotonic() + START_SECONDS
    # Governance opens with the first commit.
    _wait_until(node, "/gov/service/info?api-version=2024-07-01", lambda status, _: status == 200, deadline)
    with node.governance() as client:
        for member in consortium.members:
            client.acknowledge(member, now)
        actions = [action("set_user", {"cert": user.certificate}) for user in consortium.users]
        if bundle is not None:
            actions.append(action("set_js_app", {"bundle": dict(bundle)}))
        certificate = node.service_certificate.read_text()
        actions.append(action("transition_service_to_open", {"next_service_identity": certificate}))
        _propose(client, consortium, actions)
    _wait_for_status(node, OPEN)
    _wait_until(node, "/app/commit", lambda status, _: status == 200, deadline)


def recover_service(node: RunningNode, consortium: Consortium, previous_certificate: Path) -> None:
    """Brings a service that a node recovers back into being: agreement, then the members' shares."""
    now = int(time.time())
    deadline = time.monotonic() + START_SECONDS
    _wait_until(node, "/node/state", lambda _, body: json.loads(body)["state"] == "PartOfPublicNetwork", deadline)
    _wait_until(node, "/gov/service/info?api-version=2024-07-01", lambda status, _: status == 200, deadline)
    with node.governance() as client:
        for member in consortium.members:
            client.acknowledge(member, now)
        identities = {
            "previous_service_identity": previous_certificate.read_text(),
            "next_service_identity": node.service_certificate.read_text(),
        }
        _propose(client, consortium, [action("transition_service_to_open", identities)])
        for member in consortium.members:
            if member.encryption_key is None:
                continue
            sealed = client.encrypted_share(member.id)
            digest = hashes.SHA256()
            share = member.encryption_key.decrypt(sealed, padding.OAEP(padding.MGF1(digest), digest, None))
            if client.submit_share(member, share, now).answer.get("submittedCount") == 1:
                break
    _wait_for_status(node, OPEN)
    _wait_until(node, "/app/commit", lambda status, _: status == 200, deadline)
