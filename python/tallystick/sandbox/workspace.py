"""The directory of a sandbox: what lies where, who may use it, and the node's configuration.

::

    sandbox.json            written last: the service is ready
    env                     for the shell: names the service and its first member to `tallystick member`
    service_cert.pem        what clients pin
    members/  users/        keys and certificates
    node0/                  configuration, log, ledger/, snapshots/
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO

from tallystick.errors import UsageError
from tallystick.member.keys import KeyFiles, MemberKeys, generate_keys, write_keys

__all__ = ["Identity", "Workspace", "node_configuration"]

LOCK_NAME = ".lock"

CERTIFICATE_DAYS = 90
"""Validity of the service's and the node's certificates: long for a sandbox, as in CCF's own."""

SIGNATURE_DELAY = "100ms"
"""Longest wait for a signature, and with it for commit: a person does not notice it."""


@dataclass(frozen=True)
class Identity:
    """A member or user with its files."""

    keys: MemberKeys
    files: KeyFiles

    def to_json(self) -> dict[str, str | None]:
        """As ``sandbox.json`` lists it; users have no encryption key."""
        document: dict[str, str | None] = {
            "id": self.keys.id,
            "cert": str(self.files.certificate),
            "key": str(self.files.key),
        }
        if self.files.encryption_key is not None:
            document["encryption_key"] = str(self.files.encryption_key)
        return document


@dataclass
class Workspace:
    """A directory that this process alone uses.

    Attributes:
        directory: absolute.
        members, users: once they are made.
    """

    directory: Path
    members: list[Identity] = field(default_factory=list)
    users: list[Identity] = field(default_factory=list)
    _lock: IO[bytes] | None = None

    @classmethod
    def create(cls, directory: Path) -> Workspace:
        """Takes ``directory``, which must be missing or empty.

        Raises:
            UsageError: another sandbox uses it (``workspace-in-use``), or something is in it
                (``workspace-not-empty``).
            OSError: it cannot be made.
        """
        directory = directory.resolve()
        if directory.exists() and not directory.is_dir():
            raise UsageError("workspace is no directory", code="workspace-not-empty", file=str(directory))
        directory.mkdir(parents=True, exist_ok=True)
        # Locked before looking, so that two sandboxes that start at once do not both find it empty.
        lock = (directory / LOCK_NAME).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise UsageError(
                "another sandbox is running in this workspace", code="workspace-in-use", file=str(directory),
                hint="name another directory, or none for a new one",
            ) from error  # fmt: skip
        if any(path.name != LOCK_NAME for path in directory.iterdir()):
            lock.close()
            raise UsageError(
                "workspace is not empty, and nothing in it would be overwritten", code="workspace-not-empty",
                file=str(directory), hint="name another directory, or none for a new one",
            )  # fmt: skip
        return cls(directory, _lock=lock)

    def release(self) -> None:
        """Lets others use the directory."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def node(self) -> Path:
        return self.directory / "node0"

    @property
    def ledger(self) -> Path:
        return self.node / "ledger"

    @property
    def snapshots(self) -> Path:
        return self.node / "snapshots"

    @property
    def config_file(self) -> Path:
        return self.node / "config.json"

    @property
    def log_file(self) -> Path:
        return self.node / "node.log"

    @property
    def addresses_file(self) -> Path:
        return self.node / "rpc_addresses.json"

    @property
    def service_certificate(self) -> Path:
        return self.directory / "service_cert.pem"

    def make_identities(self, members: int, users: int, now: datetime) -> None:
        """Makes and writes the keys of members and users."""
        self.members = [self._identity(f"member{index}", "members", now, True) for index in range(members)]
        self.users = [self._identity(f"user{index}", "users", now, False) for index in range(users)]

    def _identity(self, name: str, folder: str, now: datetime, encryption: bool) -> Identity:
        keys = generate_keys(name, now, encryption=encryption)
        return Identity(keys, write_keys(keys, self.directory / folder, name))

    def write_config(self, port: int, constitution: Sequence[Path]) -> None:
        """Writes the node's configuration, whole or not at all: a node may be waiting for it."""
        document = node_configuration(self, port, constitution)
        write_whole(self.config_file, json.dumps(document, indent=2) + "\n")

    def write_env(self, url: str) -> Path:
        """Writes shell variables that name the service, and its first member as the one who signs."""
        member = self.members[0].files
        values = {
            "TALLYSTICK_URL": url,
            "TALLYSTICK_SERVICE_CERT": str(self.service_certificate),
            "TALLYSTICK_MEMBER_CERT": str(member.certificate),
            "TALLYSTICK_MEMBER_KEY": str(member.key),
        }
        path = self.directory / "env"
        write_whole(path, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items()))
        return path

    def write_ready(self, url: str, pid: int) -> Path:
        """Writes ``sandbox.json``, which says that the service is ready."""
        document = {
            "nodes": [{"url": url, "ledger": str(self.ledger), "snapshots": str(self.snapshots), "pid": pid}],
            "service_cert": str(self.service_certificate),
            "members": [identity.to_json() for identity in self.members],
            "users": [identity.to_json() for identity in self.users],
        }
        path = self.directory / "sandbox.json"
        write_whole(path, json.dumps(document, indent=2) + "\n")
        return path


def node_configuration(workspace: Workspace, port: int, constitution: Sequence[Path]) -> dict[str, object]:
    """The configuration of the sandbox's node, in CCF's keys."""
    return {
        "network": {
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": {
                "main": {
                    "bind_address": f"127.0.0.1:{port}",
                    "enabled_operator_features": ["LedgerChunkRead", "SnapshotRead"],
                }
            },
        },
        "node_certificate": {"initial_validity_days": CERTIFICATE_DAYS},
        "command": {
            "type": "Start",
            "service_certificate_file": str(workspace.service_certificate),
            "start": {
                "members": [
                    {
                        "certificate_file": str(identity.files.certificate),
                        "encryption_public_key_file": str(identity.files.encryption_public_key),
                    }
                    for identity in workspace.members
                ],
                "constitution_files": [str(path.resolve()) for path in constitution],
                "service_configuration": {
                    # A majority opens the ledger secret again, as it decides everything else.
                    "recovery_threshold": len(workspace.members) // 2 + 1,
                    "maximum_node_certificate_validity_days": 365,
                    "maximum_service_certificate_validity_days": 365,
                },
                "initial_service_certificate_validity_days": CERTIFICATE_DAYS,
                "service_subject_name": "CN=Tallystick Sandbox",
            },
        },
        "ledger": {"directory": str(workspace.ledger)},
        "snapshots": {"directory": str(workspace.snapshots)},
        "ledger_signatures": {"delay": SIGNATURE_DELAY},
        "output_files": {
            "node_certificate_file": str(workspace.node / "node_cert.pem"),
            "pid_file": str(workspace.node / "node.pid"),
            "rpc_addresses_file": str(workspace.addresses_file),
        },
    }


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that whoever waits for it never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
