"""What people and programs read: data on standard output, all else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from credchain.errors import CredchainError

from .exit_codes import code_of

_WIDTH_OF_A_PIPE = 200


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
    sys.stderr.write(printable(text) + "\n")


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
        sys.stderr.write(json.dumps(body) + "\n")
        return int(code)
    note(f"error: {problem.message}")
    if problem.hint:
        note(f"hint: {problem.hint}")
    return int(code)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
    """A table for people; whole cells also when the output is a file."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, highlight=False, width=None if terminal else _WIDTH_OF_A_PIPE)
    table = Table(
        title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    console.print(table)


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
