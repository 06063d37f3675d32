"""Events on standard error, one a line, as text or as JSON.

An event is a template `name field=%s field=%d …` with its values apart, so that each value is written
whole and quoted where it must be. What a library logs is cut to its first line, and an exception to its
kind and place: its message may hold what no log may hold (a claim, a passphrase).
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

EVENT: Final = re.compile(r"[a-z_]+( [a-z_]+=\S+| %s)*")
"""The form of every event of ours. A lone %s stands for several fields, written as `name=value`."""
_FIELDS: Final = re.compile(r"[a-z_]+=\S+( [a-z_]+=\S+)*")
_CONVERSION: Final = re.compile(r"%[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")
_PLAIN: Final = re.compile(r"[!#-<>-\[\]-~]+")
"""Values that need no quotes: visible ASCII without `"`, `=` and backslash."""
_LEVELS: Final = (("credchain", logging.INFO), ("aiohttp", logging.WARNING), ("asyncio", logging.ERROR))
_MOST_CHARACTERS: Final = 500


def set_up_logging(log_format: str) -> None:
    """From now on, this process's events go to standard error. ``log_format`` is text or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    for name, level in _LEVELS:
        log = logging.getLogger(name)
        log.handlers[:] = [handler]
        log.setLevel(level)
        log.propagate = False


class TextLines(logging.Formatter):
    """`2026-11-21T08:00:00.000Z INFO committed height=7 transactions=1`"""

    def format(self, record: logging.LogRecord) -> str:
        name, fields = event_of(record)
        pairs = "".join(f" {field}={_quoted(value)}" for field, value in fields.items())
        return f"{_time(record)} {record.levelname} {name}{pairs}"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, event, then the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        name, fields = event_of(record)
        line = {"time": _time(record), "level": record.levelname.lower(), "event": name}
        return json.dumps({**line, **{field: fields[field] for field in fields if field not in line}})


def event_of(record: logging.LogRecord) -> tuple[str, dict[str, str | int]]:
    """(the event's name, its fields), of our events and of what a library says."""
    ours = record.name == "credchain" or record.name.startswith("credchain.")
    name, fields = _our_event(record) if ours else _foreign_event(record)
    return name, {**fields, **_exception(record)}


def _our_event(record: logging.LogRecord) -> tuple[str, dict[str, str | int]]:
    """Each field is filled with its own values; a template that is none is a library's words."""
    template = str(record.msg)
    if not EVENT.fullmatch(template):
        return _foreign_event(record)
    name, *parts = template.split(" ")
    values = list(record.args) if isinstance(record.args, tuple) else []
    fields: dict[str, str | int] = {}
    for part in parts:
        field, _, shape = part.partition("=") if "=" in part else ("", "", part)
        count = len(_CONVERSION.findall(shape.replace("%%", "")))
        mine, values = values[:count], values[count:]
        filled = _filled(shape, mine)
        fields.update({field: filled} if field else _several(str(filled)))
    return name, fields


def _several(text: str) -> dict[str, str | int]:
    """Fields that came as one value; other words are not a field of ours, and are left out."""
    if not _FIELDS.fullmatch(text):
        return {}
    return {field: value for field, _, value in (each.partition("=") for each in text.split(" "))}


def _filled(shape: str, values: list[object]) -> str | int:
    """A lone %d stays a number."""
    if shape == "%d" and len(values) == 1 and isinstance(values[0], int):
        return values[0]
    try:
        return (shape % tuple(values))[:_MOST_CHARACTERS]
    except (TypeError, ValueError):
        return shape


def _foreign_event(record: logging.LogRecord) -> tuple[str, dict[str, str | int]]:
    try:
        text = record.getMessage()
    except (TypeError, ValueError):
        text = str(record.msg)
    # asyncio names a callback with its arguments: they are cut off.
    first = (text.splitlines() or [""])[0].partition("(")[0][:_MOST_CHARACTERS].rstrip()
    return "library", {"logger": record.name, "message": first}


def _exception(record: logging.LogRecord) -> dict[str, str | int]:
    """Its kind, and the file and line where it was raised; never its message."""
    if not record.exc_info or record.exc_info[0] is None:
        return {}
    kind, _, trace = record.exc_info
    frames = traceback.extract_tb(trace)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
    return {"error": kind.__name__, "at": place}


def _quoted(value: str | int) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _time(record: logging.LogRecord) -> str:
    """RFC 3339, UTC, milliseconds."""
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
