"""Configurations: what is accepted, with which defaults, and how precisely a mistake is named."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.node.config import ConfigError, parse_config, read_config, split_address
from tallystick.node.config_reader import duration_us, size_bytes


def minimal() -> dict[str, Any]:
    """The smallest configuration that starts a service."""
    return {
        "network": {
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": {"main": {"bind_address": "127.0.0.1:0"}},
        },
        "command": {
            "type": "Start",
            "start": {"members": [{"certificate_file": "member.pem"}], "constitution_files": ["constitution.js"]},
        },
    }


def test_defaults_are_those_of_ccf() -> None:
    config = parse_config(minimal())
    assert config.pid_file == "my_node.pid"
    assert config.service_certificate_file == "service_cert.pem"
    assert config.node_certificate_file == "nodecert.pem"
    assert (config.node_subject_name, config.curve, config.node_validity_days) == ("CN=CCF Node", "Secp384R1", 1)
    assert (config.chunk_size, config.signature_tx_count, config.signature_delay) == (5 << 20, 5000, 1_000_000)
    assert (config.max_uncommitted, config.idle_connection_timeout) == (10_000, 60_000_000)
    assert config.jwt_refresh_interval == 30 * 60 * 1_000_000
    interface = config.interfaces["main"]
    assert (interface.authority, interface.app_protocol) == ("Service", "HTTP1")
    assert (interface.max_open_sessions_soft, interface.max_open_sessions_hard) == (1000, 1010)
    assert interface.http.max_body_size == 1 << 20
    assert interface.published_address == interface.bind_address
    assert config.start is not None
    assert config.start.service_subject_name == "CN=CCF Service"
    assert config.start.service_configuration.recovery_threshold == 0


def test_sections_of_other_commands_are_not_read() -> None:
    document = minimal()
    document["command"]["join"] = {"target_rpc_address": "None"}
    document["command"]["recover"] = {"previous_service_identity_file": ""}
    assert parse_config(document).command == "Start"


def test_what_has_no_effect_is_told() -> None:
    document = {**minimal(), "tick_interval": "1ms", "memory": {"circuit_size": "16MB"}, "worker_threads": 2}
    document["consensus"] = {"election_timeout": "4000ms", "max_uncommitted_tx_count": 5}
    assert parse_config(document).ignored == ("consensus.election_timeout", "memory", "tick_interval")
    assert parse_config(minimal()).ignored == ()


def test_null_means_never_for_the_idle_timeout() -> None:
    assert parse_config({**minimal(), "idle_connection_timeout": None}).idle_connection_timeout is None


def test_an_interface_is_kept_as_it_was_written() -> None:
    document = minimal()
    written = {"bind_address": "127.0.0.1:0", "http_configuration": {"max_body_size": "1048576"}}
    document["network"]["rpc_interfaces"]["main"] = written
    interface = parse_config(document).interfaces["main"]
    assert interface.raw == written
    assert interface.http.max_body_size == 1 << 20


def _interface(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["network"]["rpc_interfaces"]["main"].update({key: value})


def _start(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["command"]["start"].update({key: value})


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown key": (lambda d: d.update(colour="red"), "colour: unknown key"),
    "unknown nested key": (lambda d: d.update(ledger={"direktory": "x"}), "ledger.direktory: unknown key"),
    "no network": (lambda d: d.pop("network"), "network: missing"),
    "no command": (lambda d: d.pop("command"), "command: missing"),
    "no interface": (lambda d: d["network"].update(rpc_interfaces={}), "network.rpc_interfaces: expected at least one"),
    "command": (lambda d: d["command"].update(type="Begin"), "command.type: expected one of Start, Join, Recover"),
    "no members": (_start("members", []), "command.start.members: expected at least one member"),
    "constitution": (_start("constitution_files", "a.js"), "command.start.constitution_files: expected an array"),
    "member": (_start("members", [{}]), "command.start.members[0].certificate_file: missing"),
    "threshold": (
        _start("service_configuration", {"recovery_threshold": 1}),
        "command.start.service_configuration.recovery_threshold: expected 0",
    ),
    "no threshold": (
        _start("service_configuration", {}),
        "command.start.service_configuration.recovery_threshold: missing",
    ),
    "no port": (
        _interface("bind_address", "localhost"),
        "network.rpc_interfaces.main.bind_address: expected host:port",
    ),
    "port": (_interface("bind_address", "a:70000"), "network.rpc_interfaces.main.bind_address: expected host:port"),
    "protocol": (_interface("app_protocol", "HTTP3"), "network.rpc_interfaces.main.app_protocol: expected HTTP1"),
    "udp": (_interface("protocol", "udp"), "network.rpc_interfaces.main.protocol: udp is not offered"),
    "body size": (
        _interface("http_configuration", {"max_body_size": "a lot"}),
        "network.rpc_interfaces.main.http_configuration.max_body_size: expected a size",
    ),
    "unsecured": (
        _interface("endorsement", {"authority": "Unsecured"}),
        "network.rpc_interfaces.main.accepted_endpoints: missing",
    ),
    "pattern": (_interface("accepted_endpoints", ["("]), "network.rpc_interfaces.main.accepted_endpoints: '('"),
    "sessions": (
        _interface("max_open_sessions_hard", 3),
        "network.rpc_interfaces.main.max_open_sessions_hard: expected at least",
    ),
    "true is no number": (lambda d: d.update(worker_threads=True), "worker_threads: expected a whole number"),
    "time": (lambda d: d.update(consensus={"message_timeout": "soon"}), "consensus.message_timeout: expected a time"),
    "a size beyond 64 bits": (lambda d: d.update(ledger={"chunk_size": "9999999PB"}), "ledger.chunk_size: expected at"),
    "a time beyond all clocks": (
        lambda d: d.update(jwt={"key_refresh_interval": "999999999999h"}),
        "jwt.key_refresh_interval: expected at most",
    ),
    "validity beyond all dates": (
        lambda d: d.update(node_certificate={"initial_validity_days": 10_000_000}),
        "node_certificate.initial_validity_days: expected a whole number from 1 to 36500",
    ),
    "frames that HTTP/2 has not": (
        _interface("http_configuration", {"max_frame_size": 0}),
        "network.rpc_interfaces.main.http_configuration.max_frame_size: expected 16384 to 16777215 bytes",
    ),
    "windows that HTTP/2 has not": (
        _interface("http_configuration", {"initial_window_size": "99GB"}),
        "network.rpc_interfaces.main.http_configuration.initial_window_size: expected at most 2147483647 bytes",
    ),
    "control characters": (
        _start("members", [{"certificate_file": "a\0b"}]),
        "command.start.members[0].certificate_file: expected text without control characters",
    ),
    "half a surrogate pair": (
        _start("cose_signatures", {"issuer": "\ud800"}),
        "command.start.cose_signatures.issuer: expected text without control characters",
    ),
    "name of an interface": (
        lambda d: d["network"]["rpc_interfaces"].update({"a\nb": {"bind_address": "127.0.0.1:0"}}),
        "name of an interface in network.rpc_interfaces: expected text without control characters",
    ),
    "constitution's path": (
        _start("constitution_files", ["a.js", "b\n.js"]),
        "command.start.constitution_files[1]: expected text without control characters",
    ),
    "no PID file": (lambda d: d.update(output_files={"pid_file": ""}), "output_files.pid_file: expected a path"),
    "no ledger": (lambda d: d.update(ledger={"directory": ""}), "ledger.directory: expected a path"),
    "not an object": (lambda d: d.update(ledger=[]), "ledger: expected an object"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_named_by_its_path(name: str) -> None:
    document = minimal()
    change, expected = WRONG[name]
    change(document)
    with pytest.raises(ConfigError) as refused:
        parse_config(document)
    assert refused.value.message.startswith(expected)
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("roles", "threshold", "accepted"),
    [
        ([None, None, "NonParticipant"], 0, 2),
        ([None, None, None], 2, 2),
        (["Owner"], 0, 1),
        (["Owner", "Owner"], 2, None),
        ([None, None], 3, None),
        (["Participant", "Owner"], 1, 1),
    ],
)
def test_recovery_threshold_fits_the_members(roles: list[str | None], threshold: int, accepted: int | None) -> None:
    document = minimal()
    start = document["command"]["start"]
    start["members"] = [
        {"certificate_file": "c", "encryption_public_key_file": "k", "recovery_role": role} for role in roles
    ]
    start["service_configuration"] = {"recovery_threshold": threshold}
    if accepted is None:
        with pytest.raises(ConfigError, match="recovery_threshold"):
            parse_config(document)
        return
    parsed = parse_config(document).start
    assert parsed is not None
    assert parsed.service_configuration.recovery_threshold == accepted


@pytest.mark.parametrize(
    ("text", "size", "time"),
    [
        ("10", 10, 10),
        ("1KB", 1024, None),
        ("16 mb", 16 << 20, None),
        ("2s", None, 2_000_000),
        ("100ms", None, 100_000),
        ("30min", None, 1_800_000_000),
        ("-1", None, None),
        ("1.5KB", None, None),
        ("", None, None),
        ("9" * 19, None, None),
    ],
)
def test_sizes_and_times(text: str, size: int | None, time: int | None) -> None:
    assert size_bytes(text) == size
    assert duration_us(text) == time


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:0", ("::1", 0)),
        ("host", None),
        (":80", None),
        ("host:", None),
        ("host:65536", None),
        ("host:٣", None),
    ],
)
def test_addresses(text: str, parsed: tuple[str, int] | None) -> None:
    assert split_address(text) == parsed


def test_a_file_that_is_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        read_config(path)
    path.write_text(json.dumps(minimal()))
    assert read_config(path).command == "Start"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.data())
def test_any_json_is_accepted_or_refused_with_a_reason(value: object, data: st.DataObject) -> None:
    document = copy.deepcopy(minimal())
    target: Any = document
    for _ in range(data.draw(st.integers(0, 4))):
        inner = [key for key, item in target.items() if isinstance(item, dict)]
        if not inner:
            break
        target = target[data.draw(st.sampled_from(sorted(inner)))]
    target[data.draw(st.sampled_from(sorted(target)) | st.text(max_size=8))] = value
    for candidate in (document, value):
        with contextlib.suppress(ConfigError):
            parse_config(candidate)
