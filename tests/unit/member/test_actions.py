"""App bundles from disk: which directory counts, and what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tallystick.errors import UsageError
from tallystick.member.actions import read_bundle, read_proposal

ENDPOINT = {"js_module": "app.js", "js_function": "f", "mode": "readonly", "forwarding_required": "never"}


def _app(directory: Path, module: str = "app.js", endpoints: object = None) -> Path:
    (directory / "src").mkdir(parents=True)
    found = {"/f": {"get": ENDPOINT}} if endpoints is None else endpoints
    (directory / "app.json").write_text(json.dumps({"endpoints": found}))
    (directory / "src" / module).parent.mkdir(parents=True, exist_ok=True)
    (directory / "src" / module).write_text("export function f() { return {}; }")
    return directory


def test_a_directory_with_sources(tmp_path: Path) -> None:
    _app(tmp_path)
    (tmp_path / "src" / "lib").mkdir()
    (tmp_path / "src" / "lib" / "b.js").write_text("// é")
    (tmp_path / "src" / "README").write_text("no module")

    bundle = read_bundle(tmp_path)

    assert [module["name"] for module in bundle["modules"]] == ["app.js", "lib/b.js"]  # type: ignore[attr-defined] -- JSON
    assert bundle["metadata"] == {"endpoints": {"/f": {"get": ENDPOINT}}}


def test_what_was_built_counts_where_there_is_a_package(tmp_path: Path) -> None:
    _app(tmp_path)
    (tmp_path / "package.json").write_text("{}")
    built = _app(tmp_path / "dist", "built.js", {"/f": {"get": {**ENDPOINT, "js_module": "built.js"}}})

    assert read_bundle(tmp_path) == read_bundle(built)


def test_a_bundle_file(tmp_path: Path) -> None:
    bundle = read_bundle(_app(tmp_path / "app"))
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "bundle.json").write_text(json.dumps(bundle))

    assert read_bundle(tmp_path / "dist" / "bundle.json") == bundle
    assert read_bundle(tmp_path) == bundle


def test_what_is_no_app(tmp_path: Path) -> None:
    def problem(path: Path) -> str:
        with pytest.raises(UsageError) as raised:
            read_bundle(path)
        assert raised.value.code in ("app-malformed", "json-malformed")
        return raised.value.message

    (tmp_path / "empty").mkdir()
    assert "there is no app.json" in problem(tmp_path / "empty")
    assert "no such directory" in problem(tmp_path / "nowhere")
    (tmp_path / "typescript").mkdir()
    (tmp_path / "typescript" / "package.json").write_text("{}")
    assert "has not been built" in problem(tmp_path / "typescript")
    assert "not there: 'other.js'" in problem(
        _app(tmp_path / "other", endpoints={"/f": {"get": {**ENDPOINT, "js_module": "other.js"}}})
    )
    assert "lacks the text 'js_function'" in problem(
        _app(tmp_path / "function", endpoints={"/f": {"get": {"js_module": "app.js"}}})
    )
    assert "/PATH" in problem(_app(tmp_path / "path", endpoints={"f": {}}))
    assert "expected an object" in problem(_app(tmp_path / "verb", endpoints={"/f": {"get": []}}))
    assert 'no object "endpoints"' in problem(_app(tmp_path / "endpoints", endpoints=[]))
    broken = _app(tmp_path / "broken")
    (broken / "app.json").write_text("{")
    assert problem(broken).startswith("not JSON")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"actions": {}}', '{"actions": [{"args": {}}]}', "[" * 100_000])
def test_what_is_no_proposal(text: str, tmp_path: Path) -> None:
    path = tmp_path / "proposal.json"
    path.write_text(text)

    with pytest.raises(UsageError):
        read_proposal(path)


def test_a_proposal_is_sent_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "proposal.json"
    path.write_text('{ "actions": [ {"name": "x"} ] }\n')

    assert read_proposal(path) == b'{ "actions": [ {"name": "x"} ] }\n'
