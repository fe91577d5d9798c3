"""OpenAPI documents are documents of OpenAPI."""

import json

import pytest

openapi_spec_validator = pytest.importorskip("openapi_spec_validator", reason="openapi-spec-validator is missing")

APPLICATION = {
    "GET /log": {"openapi": {}},
    "GET /log/{id}": {"openapi": {"responses": {"200": {"description": "found"}}}},
    "POST /log/{id}": {
        "openapi": {"parameters": [{"in": "path", "name": "id", "required": True, "schema": {"type": "string"}}]}
    },
    "GET /hidden": {"openapi_hidden": True, "openapi": {}},
}
APPLICATION_ROWS = {key.encode(): json.dumps(row).encode() for key, row in APPLICATION.items()}


@pytest.mark.parametrize("api", ["node", "gov", "app"])
def test_documents_are_valid(node, api):
    node.write(
        {"public:ccf.gov.endpoints": {key.encode(): json.dumps(row).encode() for key, row in APPLICATION.items()}}
    )
    document = node.get(f"/{api}/api").json
    openapi_spec_validator.validate(document)
    assert all(path.startswith(f"/{api}/") for path in document["paths"])


def test_the_application_is_described(node):
    node.write(
        {"public:ccf.gov.endpoints": {key.encode(): json.dumps(row).encode() for key, row in APPLICATION.items()}}
    )
    paths = node.get("/app/api").json["paths"]
    assert set(paths["/app/log/{id}"]) == {"get", "post"}
    assert paths["/app/log/{id}"]["get"]["responses"] == {"200": {"description": "found"}}
    assert "/app/hidden" not in paths
    assert "/app/commit" in paths


def test_every_operation_of_a_real_node_is_there(node, ccf_built):
    recorded = json.loads((ccf_built / "js1" / "api" / "1-open" / "node__api.200").read_text())
    ours = node.get("/node/api").json
    for path, item in recorded["paths"].items():
        for verb, operation in item.items():
            if verb == "parameters":
                continue
            mine = ours["paths"][path][verb]
            assert mine["operationId"] == operation["operationId"]
            assert mine["x-ccf-forwarding"] == operation["x-ccf-forwarding"]
            assert mine["responses"] == {
                code: {**answer, "description": "Success"} if code != "default" else answer
                for code, answer in operation["responses"].items()
            }
            assert mine.get("parameters") == operation.get("parameters")
    schemas = ours["components"]["schemas"]
    for name, schema in recorded["components"]["schemas"].items():
        if name != "CCFError":
            assert _plain(schemas[name]) == _plain(schema), name


def _plain(schema):
    return {key: sorted(value) if key in ("required", "enum") else value for key, value in schema.items()}
