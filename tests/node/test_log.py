"""Log lines, in the layouts that operators' tools parse."""

from __future__ import annotations

import io
import json
import re

import pytest

from tallystick.node.log import Level, Log


def test_text_lines_have_a_preamble_of_fixed_width() -> None:
    stream = io.StringIO()
    log = Log(stream=stream)
    log.info("ready")
    log.fail("no luck", "gov")
    log.debug("not shown")
    first, second = stream.getvalue().splitlines()
    layout = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z {8}\d+ +(\[.{5}\].*?)\| (.*)"
    one, two = re.fullmatch(layout, first), re.fullmatch(layout, second)
    assert one is not None
    assert two is not None
    assert one[1].startswith("[info ] test_log.py:")
    assert two[1].startswith("[fail ][gov] test_log.py:")
    assert (one[2], two[2]) == ("ready", "no luck")
    assert first.index("| ") == second.index("| ")


def test_long_places_are_cut_at_the_left() -> None:
    stream = io.StringIO()
    Log(stream=stream).write(Level.FATAL, "x", place="/a/very/long/path/that/does/not/fit/into/the/column.js:1234")
    preamble = stream.getvalue().split("| ")[0]
    assert "[fatal] …" in preamble
    assert preamble.endswith("column.js:1234")


def test_json_lines() -> None:
    stream = io.StringIO()
    Log(as_json=True, stream=stream).fatal('say "no"', "app")
    line = json.loads(stream.getvalue())
    assert set(line) == {"h_ts", "thread_id", "level", "tag", "file", "number", "msg"}
    assert all(isinstance(value, str) for value in line.values())
    assert (line["level"], line["tag"], line["file"], line["msg"]) == ("fatal", "app", "test_log.py", 'say "no"')


def test_a_reader_that_went_away_does_not_stop_the_node() -> None:
    stream = io.StringIO()
    log = Log(stream=stream)
    stream.close()
    log.info("nobody hears this")
    log.info("nor this")


def test_a_message_does_not_begin_a_line_of_its_own() -> None:
    stream = io.StringIO()
    Log(stream=stream).info("no module a\n2026-11-25T00:00:00.000000Z        0   [fatal] forged\r\x1b[2J\u202e")
    first, second = stream.getvalue().splitlines()
    assert first.endswith("| no module a")
    assert second == "        2026-11-25T00:00:00.000000Z        0   [fatal] forged\\r\\x1b[2J\\u202e"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "iso-8859-1"])
def test_no_character_silences_the_log(encoding: str, *, as_json: bool) -> None:
    written = io.BytesIO()
    log = Log(as_json=as_json, stream=io.TextIOWrapper(written, encoding=encoding))
    log.info("expected \ud800 …")
    log.info("still here")
    first, second = written.getvalue().decode(encoding).splitlines()
    assert "still here" in second
    if as_json:
        assert json.loads(first)["msg"] == "expected \ud800 …"
    else:
        assert "expected \\ud800 " in first
