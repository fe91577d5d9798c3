"""The OpenAPI document of the governance API."""

from __future__ import annotations

from tallystick.node.governance import governance_endpoints
from tallystick.node.http.openapi import Description, document
from tallystick.node.http.registry import Registry


def test_every_versioned_endpoint_is_described() -> None:
    endpoints = governance_endpoints()
    made = document(Registry("gov", endpoints), Description("Governance", "", "1"))
    shown = {(path, verb) for path, item in made["paths"].items() for verb in item if verb != "parameters"}
    versioned = [endpoint for endpoint in endpoints if endpoint.versioned]
    assert shown == {(endpoint.full_path, endpoint.method.lower()) for endpoint in versioned}
    for path, verb in shown:
        operation = made["paths"][path][verb]
        assert operation["summary"], path
        assert [parameter["name"] for parameter in operation["parameters"]] == ["api-version"]
        assert ("security" in operation) == (verb == "post") == ("requestBody" in operation)
