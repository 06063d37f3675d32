"""What people and programs read: data on standard output, all else on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from credchain.errors import CredchainError

from .exit_codes import code_of

_WIDTH_OF_A_PIPE = 200
_GAP = "   "
"""Between two columns of a table."""
_FIRST_COMBINING = "\u0300"
"""Characters before it take one column each, once `printable` has seen them."""
_WHOLE = frozenset(
    ("attestation", "category", "verdict", "status", "from", "until", "NPI", "height", "claim", "check")
)
"""Columns of words that people copy: never broken across lines."""


def printable(text: str) -> str:
    """Text from elsewhere, with characters that could steer a terminal made visible."""
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)


def print_json(value: Any) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def say(text: str) -> None:
    """A line of data for people."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line that is not data, whatever a node put into it."""
    _write_aside(printable(text))


def note_json(value: Any) -> None:
    """One JSON document that is not data: an error."""
    _write_aside(json.dumps(value))


def _write_aside(line: str) -> None:
    """On standard error. That nobody reads it changes no exit code."""
    with suppress(BrokenPipeError):
        sys.stderr.write(line + "\n")


def reader_gone() -> None:
    """Whoever read our output has gone: nothing more can be said. The exit code stays what it was."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(problem: CredchainError, *, as_json: bool) -> int:
    """On standard error, in either form; returns the exit code."""
    code = code_of(problem)
    if as_json:
        body = {
            "error": problem.message,
            "field": problem.field or None,
            "hint": problem.hint or None,
            "code": int(code),
        }
        note_json(body)
        return int(code)
    note(f"error: {problem.message}")
    if problem.hint:
        note(f"hint: {problem.hint}")
    return int(code)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table for people, cells whole; on a terminal that is too narrow for it, a block a row."""
    cells = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    styled = sys.stdout.isatty() or os.environ.get("FORCE_COLOR")
    if not styled and _is_simple(table := [columns, *cells]):
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        if (width := sum(widths) + len(_GAP) * (len(columns) - 1)) <= _WIDTH_OF_A_PIPE:
            lines = [_GAP.join(map(str.ljust, row, widths)) for row in table]
            say("\n".join([lines[0], "─" * width, *lines[1:]]))
            return
    _print_by_rich(columns, cells)


def _is_simple(table: Sequence[Sequence[str]]) -> bool:
    """Whether each character takes one column, as Latin letters do, and our line can be written."""
    text = "".join(each for row in table for each in row)
    return (sys.stdout.encoding or "").lower() == "utf-8" and max(text, default="") < _FIRST_COMBINING


def _print_by_rich(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """The same table, bold on a terminal, and folded where it is too wide. Rich is slow to import."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, highlight=False, width=None if terminal else _WIDTH_OF_A_PIPE)
    if _least_width(columns, cells) > console.width:
        for row in cells:
            print_pairs([(column, cell) for column, cell in zip(columns, row, strict=True) if cell])
            say("")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _WHOLE)
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _least_width(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """What the table needs: whole columns their longest cell, the others their longest word."""
    width = 3 * (len(columns) - 1)
    for at, column in enumerate(columns):
        found = [column, *(row[at] for row in cells)]
        if column not in _WHOLE:
            found = [word for cell in found for word in cell.split()]
        width += max(map(len, found), default=0)
    return width


def print_pairs(pairs: Sequence[tuple[str, Any]]) -> None:
    """Names and values, aligned."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        say(f"{name:<{width}}  {'' if value is None else printable(str(value))}")


@contextmanager
def progress(total: int, label: str) -> Iterator[Any]:
    """A function that takes how many more are done; a bar with rate, on a terminal only."""
    if not sys.stderr.isatty() or total < 2:
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(label, total=total, rate="")

        def advance(count: int) -> None:
            speed = bars.tasks[0].speed
            bars.update(task, advance=count, rate=f"{speed:.0f}/s" if speed else "")

        yield advance


def short(identifier: str) -> str:
    """The first digits of an id, enough to type."""
    return identifier[:12]


def fingerprint_in_groups(fingerprint: bytes) -> str:
    """For reading aloud: 16 groups of four digits."""
    digits = fingerprint.hex()
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))
