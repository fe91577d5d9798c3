"""Proposals: lists of actions of the default constitution, and app bundles from disk.

A bundle on disk is a directory with ``app.json`` and ``src/``, or what ``ccf-build-bundle`` of the npm package
``@microsoft/ccf-app`` writes: such a directory named ``dist``, or ``bundle.json`` in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tallystick.errors import UsageError

__all__ = ["RECOVERY_ROLES", "action", "ballot", "proposal", "read_bundle", "read_json", "read_proposal", "read_text"]

RECOVERY_ROLES = ("NonParticipant", "Participant", "Owner")
"""What a member does in a disaster recovery: nothing, hand in a share, or open it alone."""

MAX_FILE_BYTES = 64 << 20
"""Largest file that becomes part of a proposal; nodes take far smaller ones (1 MB unless configured)."""

MAX_MODULES = 10_000
"""Modules of an app: a node reads them all when the app is installed."""

Action = dict[str, object]


def action(name: str, arguments: Mapping[str, object] | None = None) -> Action:
    """One action of a proposal."""
    return {"name": name, "args": dict(arguments)} if arguments is not None else {"name": name}


def proposal(actions: Sequence[Action]) -> bytes:
    """A proposal with these actions, JSON."""
    return json.dumps({"actions": list(actions)}, ensure_ascii=False).encode()


def ballot(script: str) -> bytes:
    """The payload of a ballot: ``script`` is a JavaScript module that exports ``vote``."""
    return json.dumps({"ballot": script}, ensure_ascii=False).encode()


def read_text(path: str | Path) -> str:
    """The text of a file.

    Raises:
        UsageError: it cannot be read, is no UTF-8, or is too large.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(error.strerror or type(error).__name__, code="file-unreadable", file=str(path)) from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"file exceeds {MAX_FILE_BYTES} bytes", code="file-unreadable", file=str(path))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("not text in UTF-8", code="file-unreadable", file=str(path)) from error


def read_json(path: str | Path) -> object:
    """The JSON in a file.

    Raises:
        UsageError: it cannot be read, or is no JSON.
    """
    text = read_text(path)
    try:
        value: object = json.loads(text)
    except RecursionError as error:
        raise UsageError("JSON is nested too deeply", code="json-malformed", file=str(path)) from error
    except ValueError as error:
        raise UsageError(f"not JSON: {error}", code="json-malformed", file=str(path)) from error
    return value


def read_proposal(path: str | Path) -> bytes:
    """A proposal from a file, its bytes unchanged, once it has the shape of one.

    Raises:
        UsageError: it has not.
    """
    document = read_json(path)
    actions = document.get("actions") if isinstance(document, dict) else None
    if not isinstance(actions, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in actions
    ):
        raise UsageError(
            'not a proposal: expected {"actions": [{"name": …, "args": {…}}, …]}',
            code="proposal-malformed", file=str(path),
        )  # fmt: skip
    return read_text(path).encode()


# ---------------------------------------------------------------- app bundles


def read_bundle(path: str | Path) -> dict[str, object]:
    """The ``bundle`` of ``set_js_app`` from what is on disk at ``path``.

    Raises:
        UsageError: it is no bundle, or its endpoints name modules that are not there (``app-malformed``).
    """
    path = Path(path)
    if path.is_file():
        return _checked(read_json(path), path)
    if not path.is_dir():
        raise _bad("there is no such directory", path)
    built = path / "dist"
    # The sources of a TypeScript app have app.json too; what runs is what was built from them.
    needs_build = (path / "package.json").is_file()
    for directory in (built, path) if needs_build else (path, built):
        if (directory / "app.json").is_file() and any(_sources(directory)):
            return _checked(_from_directory(directory), directory)
        if (directory / "bundle.json").is_file():
            return _checked(read_json(directory / "bundle.json"), directory / "bundle.json")
    if needs_build:
        raise _bad("this app has not been built", path, "run npm install and npm run build in it")
    if (path / "app.json").is_file():
        raise _bad("there are no modules (*.js) in src", path)
    raise _bad("not an app: there is no app.json", path, "an app is a directory with app.json and src, or bundle.json")


def _bad(problem: str, path: Path, hint: str | None = None) -> UsageError:
    return UsageError(problem, code="app-malformed", file=str(path), hint=hint)


def _sources(directory: Path) -> list[Path]:
    source = directory / "src"
    return sorted(path for path in source.rglob("*") if path.suffix in (".js", ".mjs") and path.is_file())


def _from_directory(directory: Path) -> dict[str, object]:
    files = _sources(directory)
    if len(files) > MAX_MODULES:
        raise _bad(f"expected at most {MAX_MODULES} modules, got {len(files)}", directory)
    modules = [
        {"name": path.relative_to(directory / "src").as_posix(), "module": read_text(path)} for path in files
    ]  # fmt: skip
    return {"metadata": read_json(directory / "app.json"), "modules": modules}


def _checked(bundle: object, path: Path) -> dict[str, object]:
    """The bundle, once its two parts fit together."""
    if not isinstance(bundle, dict) or not isinstance(bundle.get("modules"), list):
        raise _bad('not a bundle: expected {"metadata": …, "modules": […]}', path)
    metadata = bundle.get("metadata")
    endpoints = metadata.get("endpoints") if isinstance(metadata, dict) else None
    if not isinstance(endpoints, dict):
        raise _bad('app.json has no object "endpoints"', path)
    names = set()
    for module in bundle["modules"]:
        if not isinstance(module, dict) or not all(isinstance(module.get(key), str) for key in ("name", "module")):
            raise _bad('not a bundle: a module needs the texts "name" and "module"', path)
        names.add(str(module["name"]).lstrip("/"))
    for url, verbs in endpoints.items():
        if not url.startswith("/") or not isinstance(verbs, dict):
            raise _bad(f"endpoint {url!r} is malformed: expected /PATH with an object of verbs", path)
        for verb, properties in verbs.items():
            _check_endpoint(f"{verb.upper()} {url}", properties, names, path)
    return bundle


def _check_endpoint(name: str, properties: object, modules: set[str], path: Path) -> None:
    if not isinstance(properties, dict):
        raise _bad(f"endpoint {name} is malformed: expected an object", path)
    for key in ("js_module", "js_function"):
        if not isinstance(properties.get(key), str):
            raise _bad(f"endpoint {name} lacks the text {key!r}", path)
    if str(properties["js_module"]).lstrip("/") not in modules:
        raise _bad(f"endpoint {name} names a module that is not there: {properties['js_module']!r}", path)
