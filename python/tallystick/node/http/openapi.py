"""OpenAPI 3.0 documents of the frontends, made from what is installed in their registries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tallystick.node.http.registry import Endpoint, Registry
from tallystick.node.http.schemas import reference, with_dependencies

__all__ = ["Description", "describe", "document"]

_FORWARDING = {
    "always": "A node that is not the primary forwards this request to the primary.",
    "sometimes": (
        "A node that is not the primary answers this request itself, unless it has forwarded an earlier request of "
        "the same session: then it forwards this one as well, so that the session sees its own writes."
    ),
    "never": (
        "The node that receives this request always answers it itself, even if the session's earlier requests were "
        "forwarded. A write then fails on any node but the primary."
    ),
}
_DEFAULT_DESCRIPTION = "Success"


@dataclass(frozen=True)
class Description:
    """Title, description and version of a document."""

    title: str
    description: str
    version: str


def describe(
    summary: str = "",
    *,
    schema: str | None = None,
    query: Iterable[tuple[str, str, bool]] = (),
    status: int = 200,
    content_type: str = "application/json",
    description: str = "",
    body: str | None = None,
) -> dict[str, Any]:
    """The ``openapi`` of an :class:`~tallystick.node.http.registry.Endpoint`.

    Args:
        summary: one line.
        schema: name of the schema of the answer's body; None: no body, or one of no particular shape.
        query: query parameters: name, schema, whether it must be there.
        status: status of success.
        content_type: type of the answer's body.
        description: more lines.
        body: name of the schema of the request's body.
    """
    success: dict[str, Any] = {"description": _DEFAULT_DESCRIPTION}
    if schema is not None:
        success["content"] = {content_type: {"schema": reference(schema)}}
    operation: dict[str, Any] = {"responses": {str(status): success}}
    if summary:
        operation["summary"] = summary
    if description:
        operation["description"] = description
    parameters = [
        {"in": "query", "name": name, "required": required, "schema": reference(kind)} for name, kind, required in query
    ]
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": reference(body)}}}
    return operation


def document(
    registry: Registry, description: Description, more_paths: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """The document of a frontend.

    Args:
        registry: its endpoints.
        description: what stands at its head.
        more_paths: path items of an application, by path with prefix; they win over none of the registry's.
    """
    paths: dict[str, dict[str, Any]] = {}
    schemes: dict[str, Any] = {}
    for endpoint in registry.endpoints():
        if endpoint.openapi is not None:
            item = paths.setdefault(endpoint.full_path, {})
            item[endpoint.method.lower()] = _operation(endpoint, schemes)
            if endpoint.parameters:
                item["parameters"] = _path_parameters(endpoint.path_template)
    for path, operations in (more_paths or {}).items():
        paths.setdefault(path, {}).update(operations)
    components: dict[str, Any] = {
        "responses": {
            "default": {
                "description": "An error occurred",
                "content": {"application/json": {"schema": reference("CCFError")}},
            }
        },
        "schemas": with_dependencies({"CCFError", *_schemas_named(paths)}),
        "x-ccf-forwarding": {name: {"value": name, "description": meaning} for name, meaning in _FORWARDING.items()},
    }
    if schemes:
        components["securitySchemes"] = schemes
    return {
        "openapi": "3.0.0",
        "info": {
            "title": description.title,
            "description": description.description,
            "version": description.version,
        },
        "servers": [],
        "paths": dict(sorted(paths.items())),
        "components": components,
    }


def application_paths(endpoints: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Path items of a JavaScript application, from its rows in ``public:ccf.gov.endpoints``.

    What the application says of an endpoint (``openapi``) is taken over; what the format demands and it left
    out is added: responses, and parameters for the templates in the path.

    Args:
        endpoints: key (``VERB /path``) and decoded value of each row.
    """
    paths: dict[str, dict[str, Any]] = {}
    for key, properties in endpoints:
        verb, _, path = key.partition(" ")
        if properties.get("openapi_hidden") or not path.startswith("/"):
            continue
        said = properties.get("openapi")
        operation = dict(said) if isinstance(said, dict) else {}
        operation.setdefault("responses", {"default": {"$ref": "#/components/responses/default"}})
        item = paths.setdefault(f"/app{path}", {})
        item[verb.lower()] = operation
        missing = [
            parameter
            for parameter in _path_parameters(path)
            if not any(given.get("name") == parameter["name"] for given in operation.get("parameters", []))
        ]
        if missing:
            operation["parameters"] = [*operation.get("parameters", []), *missing]
    return paths


def _operation(endpoint: Endpoint, schemes: dict[str, Any]) -> dict[str, Any]:
    operation = dict(endpoint.openapi or {})
    responses = dict(operation.get("responses") or {"200": {"description": _DEFAULT_DESCRIPTION}})
    responses["default"] = {"$ref": "#/components/responses/default"}
    operation["responses"] = responses
    operation["operationId"] = _operation_id(endpoint)
    operation["x-ccf-forwarding"] = {"$ref": f"#/components/x-ccf-forwarding/{endpoint.forwarding}"}
    security = []
    for policy in endpoint.policies:
        if policy.scheme is not None:
            name, scheme = policy.scheme
            # OpenAPI 3.0 knows no mutual TLS; the nearest that it can say is a scheme of HTTP.
            schemes[name] = _portable_scheme(scheme)
            security.append({name: list[str]()})
    if security:
        operation["security"] = security
    return operation


def _portable_scheme(scheme: Mapping[str, Any]) -> dict[str, Any]:
    if scheme.get("type") != "mutualTLS":
        return dict(scheme)
    return {"type": "http", "scheme": "mutual", "description": scheme.get("description", "TLS client certificate")}


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"[A-Za-z0-9]+", endpoint.full_path)
    return endpoint.method.capitalize() + "".join(word[0].upper() + word[1:] for word in words)


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = re.findall(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", path)
    return [{"in": "path", "name": name, "required": True, "schema": {"type": "string"}} for name in names]


def _schemas_named(value: object) -> Iterable[str]:
    if isinstance(value, Mapping):
        target = value.get("$ref")
        if isinstance(target, str) and target.startswith("#/components/schemas/"):
            yield target.rpartition("/")[2]
        for inner in value.values():
            yield from _schemas_named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _schemas_named(inner)
