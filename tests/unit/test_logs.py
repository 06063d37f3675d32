"""Log lines: one event each, values whole, and nothing in them that a log may not hold."""

from __future__ import annotations

import ast
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any, Final

import pytest

import credchain
from credchain.node.logs import EVENT, JsonLines, TextLines, set_up_logging

FIELDS: Final = frozenset(
    (
        *("ahead_ms", "api", "at", "bytes", "connected", "count", "error", "from", "height", "host", "kind"),
        *("name", "peer", "primary", "refused", "route", "seconds", "to", "transactions", "validator"),
        *("validators", "view", "version", "target", "state", "block", "reason", "size", "port", "waited_ms"),
        *("waiting", "proposer"),
    )
)
"""What events may carry: numbers, places in our code, names of organisations, digests of blocks. A new
field is added here after asking whether a person, a claim or a secret could stand in it."""
RESERVED: Final = frozenset(("time", "level", "event"))


def record(message: str, *values: Any, name: str = "credchain.node", trace: Any = None) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, "file.py", 1, message, values, trace)
    made.created = 1_800_000_000.123
    return made


def in_json(*arguments: Any, **more: Any) -> dict[str, Any]:
    line = JsonLines().format(record(*arguments, **more))
    assert len(line.splitlines()) == 1
    found = json.loads(line)
    assert type(found) is dict
    return found


def in_text(*arguments: Any, **more: Any) -> str:
    line = TextLines().format(record(*arguments, **more))
    assert len(line.splitlines()) == 1
    return line


def test_an_event_as_text() -> None:
    line = in_text("committed height=%d transactions=%d", 7, 1)
    assert line == "2027-01-15T08:00:00.123Z INFO committed height=7 transactions=1"


def test_an_event_as_json() -> None:
    assert in_json("started height=%d api=%s:%d", 7, "::1", 7441) == {
        "time": "2027-01-15T08:00:00.123Z",
        "level": "info",
        "event": "started",
        "height": 7,
        "api": "::1:7441",
    }


@pytest.mark.parametrize(
    "value",
    [
        "Node North",
        "",
        "a=b",
        'say "no"',
        "two\nlines",
        "back\\slash",
        "\u2028",
        "\x1b[31m",
        " x ",
        "7 view=9",
    ],
)
def test_a_value_survives_whole(value: str) -> None:
    found = in_json("peer_gone peer=%s view=%d", value, 3)
    assert (found["peer"], found["view"]) == (value, 3)
    line = in_text("peer_gone peer=%s view=%d", value, 3)
    head, tail = "2027-01-15T08:00:00.123Z INFO peer_gone peer=", " view=3"
    assert line.startswith(head)
    assert line.endswith(tail)
    assert json.loads(line[len(head) : -len(tail)]) == value


def test_a_plain_value_has_no_quotes() -> None:
    assert in_text("peer_gone peer=%s", "10.0.0.1:7440").endswith("peer=10.0.0.1:7440")


def test_fields_that_come_as_one_value() -> None:
    found = in_json("failed validator=%d %s", 3, "error=KeyError at=file.py:7")
    assert (found["validator"], found["error"], found["at"]) == (3, "KeyError", "file.py:7")
    assert set(in_json("failed %s", "words that may be anything")) == RESERVED


@pytest.mark.parametrize("form", [in_text, in_json])
def test_wrong_arguments_stop_nobody(form: Any) -> None:
    """A mistake in an event is no reason for a node to end, or for a line to be lost."""
    for arguments in (("e height=%d", "x"), ("e height=%d",), ("e", 1), ("%s %s", 1)):
        assert form(*arguments)


def failed(secret: str) -> Any:
    try:
        raise ValueError(secret)
    except ValueError:
        return sys.exc_info()


def test_an_exception_is_its_kind_and_place_without_its_message() -> None:
    found = in_json("internal_error", trace=failed("the passphrase is swordfish"))
    assert found["error"] == "ValueError"
    assert re.fullmatch(r"test_logs\.py:\d+", found["at"])
    assert "swordfish" not in json.dumps(found)
    assert "swordfish" not in in_text("internal_error", trace=failed("swordfish"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("asyncio", "Exception in callback send('swordfish')\nhandle: <Handle 'swordfish'>"),
        ("asyncio", "Task exception was never retrieved\nfuture: ValueError('swordfish')"),
        ("credchain.node", "Some words (swordfish) that are no event"),
    ],
)
def test_what_a_library_says_is_cut(name: str, message: str) -> None:
    found = in_json(message, name=name, trace=failed("swordfish"))
    assert (found["event"], found["logger"]) == ("library", name)
    assert message.startswith(found["message"])
    assert found["message"]
    assert "swordfish" not in json.dumps(found)


@pytest.mark.parametrize("form", ["text", "json"])
def test_set_up(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("credchain", "aiohttp", "asyncio")
    logs = [logging.getLogger(name) for name in (*names, "credchain.x")]
    before = [(log, log.handlers[:], log.level, log.propagate) for log in logs]
    try:
        set_up_logging(form)
        logging.getLogger("credchain.x").info("ready peer=%s", "Node North")
        logging.getLogger("aiohttp.server").info("not said")
    finally:
        for log, handlers, level, propagate in before:
            log.handlers[:], log.propagate = handlers, propagate
            log.setLevel(level)
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert "Node North" in line
    assert (json.loads(line)["event"] == "ready") if form == "json" else (" INFO ready " in line)


# --- the events of this program ---------------------------------------------------------------


LEVELS: Final = ("debug", "info", "warning", "error", "exception", "critical", "log")


def events() -> list[tuple[str, list[ast.expr], list[ast.keyword]]]:
    """(place, template and values, other arguments) of every event that the program can log.

    A helper `_log(index, template, *values)` may log less often; its calls are looked at instead of it.
    """
    found = []
    root = Path(credchain.__file__).parent
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        helpers = [
            each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each.name == "_log"
        ]
        inside = {node for helper in helpers for node in ast.walk(helper)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node in inside:
                continue
            whose = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            place = f"{path.relative_to(root)}:{node.lineno}"
            if node.func.attr in LEVELS and whose in ("logger", "log", "logging"):
                found.append((place, node.args, node.keywords))
            elif node.func.attr == "_log":
                found.append((place, node.args[1:], node.keywords))
    return found


def test_every_event_is_a_template_with_known_fields() -> None:
    """The template is fixed text, so no value gets in but by a field, and each field was thought of."""
    found = events()
    assert len(found) >= 5
    for place, (template, *_), _ in found:
        assert isinstance(template, ast.Constant), f"{place}: the event is not a fixed template"
        assert isinstance(template.value, str), place
        assert EVENT.fullmatch(template.value), f"{place}: {template.value!r} is not `name field=%s …`"
        fields = {part.partition("=")[0] for part in template.value.split(" ")[1:] if part != "%s"}
        assert fields <= FIELDS, f"{place}: {fields - FIELDS} must be thought of; see FIELDS"
        assert not fields & RESERVED


FORBIDDEN: Final = re.compile(
    r"passphrase|secret|seed|signing|private|npi|claim|subject|document|credential|\.body|\.path\b|query"
)
"""Values of events: no expression that could give one of these."""


def test_no_value_of_an_event_comes_from_a_secret_or_a_person() -> None:
    for place, (_, *values), more in events():
        for value in values:
            text = ast.unparse(value).lower()
            assert not FORBIDDEN.search(text), f"{place}: {text}"
        assert {each.arg for each in more} <= {"exc_info"}, f"{place}: give values as fields"
