"""From an empty directory to an open service with an app, through governance alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tallystick.errors import UndecidedError
from tallystick.member.actions import Action, action, ballot, proposal, read_bundle, read_text
from tallystick.member.client import GovernanceClient
from tallystick.member.keys import MemberKeys
from tallystick.member.requests import GovernanceRequest, RequestType
from tallystick.node.constitution import constitution_files
from tallystick.sandbox.node_process import NodeProcess, SandboxError, require_free_port
from tallystick.sandbox.workspace import Workspace

__all__ = ["DEFAULT_APP", "OpenSandbox", "SandboxOptions", "open_sandbox"]

DEFAULT_APP = Path(__file__).parent / "app"
"""The app that a sandbox without ``--app`` installs: a log of messages."""

START_SECONDS = 60
"""How long a start may take before it is given up: thirty times what it takes on a busy machine."""

# Certificates start a little in the past, so that clocks may differ.
_CLOCK_SKEW = timedelta(minutes=5)
_YES = "export function vote(rawProposal, proposerId) { return true; }"


@dataclass(frozen=True)
class SandboxOptions:
    """What kind of sandbox.

    Attributes:
        app: a bundle; see :func:`tallystick.member.actions.read_bundle`.
        port: of 127.0.0.1; 0 for any.
        constitution: files, concatenated in order; empty for the default.
        members, users: how many.
        log_level: of the node.
    """

    app: Path = DEFAULT_APP
    port: int = 0
    constitution: Sequence[Path] = ()
    members: int = 3
    users: int = 1
    log_level: str = "info"


@dataclass(frozen=True)
class OpenSandbox:
    """A sandbox that is ready.

    Attributes:
        workspace: its files.
        node: its process, to be stopped.
        url: of the node.
        endpoints: of the app: verb and path.
        is_default_app: whether it is the one of this package.
    """

    workspace: Workspace
    node: NodeProcess
    url: str
    endpoints: list[tuple[str, str]]
    is_default_app: bool


def open_sandbox(workspace: Workspace, options: SandboxOptions) -> OpenSandbox:
    """Brings a service up in ``workspace`` and writes ``sandbox.json`` when it is ready.

    What people get wrong is found first, before a key is made.

    Raises:
        UsageError: the app, the constitution or the port cannot be used.
        SandboxError: the node does not come up, or members cannot open the service under this constitution.
        RefusedError, UndecidedError: see :class:`tallystick.member.client.GovernanceClient`.
    """
    bundle = read_bundle(options.app)
    constitution = list(options.constitution) or constitution_files(virtual=True)
    for path in constitution:
        read_text(path)
    if options.port:
        require_free_port(options.port)
    deadline = time.monotonic() + START_SECONDS
    # Starts first: while it loads and waits for its configuration, keys are made.
    node = NodeProcess(workspace, START_SECONDS, options.log_level)
    try:
        now = datetime.now(timezone.utc) - _CLOCK_SKEW
        workspace.make_identities(options.members, options.users, now)
        workspace.write_config(options.port, constitution)
        url = node.url(deadline)
        with GovernanceClient(url, [str(workspace.service_certificate)]) as client:
            _govern(client, workspace, node, bundle, deadline)
        workspace.write_env(url)
        workspace.write_ready(url, node.pid)
    except BaseException:
        node.stop()
        raise
    return OpenSandbox(workspace, node, url, _endpoints(bundle), options.app == DEFAULT_APP)


def _govern(
    client: GovernanceClient, workspace: Workspace, node: NodeProcess, bundle: dict[str, object], deadline: float
) -> None:
    """Members become active, add the users, install the app and open the service."""
    members = [identity.keys for identity in workspace.members]
    node.until(lambda: _gov_is_open(client), "open its governance", deadline)
    for member in members:
        client.acknowledge(member, _now())
    actions: list[Action] = [action("set_user", {"cert": user.keys.certificate}) for user in workspace.users]
    actions.append(action("set_js_app", {"bundle": bundle, "disable_bytecode_cache": False}))
    certificate = workspace.service_certificate.read_text(encoding="ascii")
    actions.append(action("transition_service_to_open", {"next_service_identity": certificate}))
    txid = _accept(client, members, proposal(actions))
    client.wait_for_commit(txid, max(0.0, deadline - time.monotonic()))
    node.until(lambda: client.request("GET", "/app/commit").status != 404, "open its application", deadline)


def _gov_is_open(client: GovernanceClient) -> bool:
    # Until its first transaction is committed the node shows a certificate of its own, and keeps governance closed.
    try:
        info = client.request("GET", "/gov/service/info?api-version=2024-07-01")
    except UndecidedError:
        return False
    return info.status == 200


def _accept(client: GovernanceClient, members: Sequence[MemberKeys], content: bytes) -> str:
    """Proposes, and lets members vote in favour until it is accepted; returns the transaction."""
    outcome = client.send(members[0], GovernanceRequest(RequestType.PROPOSAL, content, _now()))
    identifier = str(outcome.answer.get("proposalId"))
    for member in members:
        if outcome.answer.get("proposalState") != "Open":
            break
        request = GovernanceRequest(RequestType.BALLOT, ballot(_YES), _now(), identifier)
        outcome = client.send(member, request)
    state = outcome.answer.get("proposalState")
    if state != "Accepted" or outcome.transaction_id is None:
        raise SandboxError(
            f"service could not be opened: all {len(members)} members voted for it, and the proposal is {state}",
            hint="this constitution's resolve does not accept what all members want",
        )
    return outcome.transaction_id


def _now() -> int:
    return int(time.time())


def _endpoints(bundle: dict[str, object]) -> list[tuple[str, str]]:
    metadata = bundle["metadata"]
    endpoints = metadata["endpoints"] if isinstance(metadata, dict) else {}
    return [(verb.upper(), path) for path, verbs in endpoints.items() for verb in verbs]
