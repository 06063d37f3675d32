"""What came of a table: counts, and every refused row by line, column and reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .exit_codes import ExitCode
from .output import note, note_json, print_json, say
from .session import Session

if TYPE_CHECKING:
    from credchain.issuing.tables import Problem


_SHOWN = 100
"""Problems that people are shown one by one."""


def _problems_json(problems: list[Problem]) -> list[dict[str, Any]]:
    return [{"line": each.line, "column": each.column or None, "reason": each.reason} for each in problems]


def report(session: Session, done: str, rows: int, count: int, already: int, problems: list[Problem]) -> None:
    """What came of a table; exit code 2 where rows were rejected."""
    if problems:
        session.exit_code = ExitCode.USAGE
    if session.as_json:
        print_json({"rows": rows, done: count, "already": already, "rejected": _problems_json(problems)})
        return
    rejected = len({each.line for each in problems})
    say(f"{rows} rows: {count} {done}, {already} already, {rejected} rejected")
    _list_problems(problems)


def _list_problems(problems: list[Problem]) -> None:
    for each in problems[:_SHOWN]:
        column = f", {each.column}" if each.column else ""
        note(f"line {each.line}{column}: {each.reason}")
    if len(problems) > _SHOWN:
        note(f"… and {len(problems) - _SHOWN} more; --json lists all of them")


def refuse_table(session: Session, rows: int, problems: list[Problem]) -> None:
    """Every bad row, and an error: nothing was sent."""
    from credchain.errors import InvalidInput

    lines = len({each.line for each in problems})
    problem = InvalidInput(
        f"{lines} of {rows} rows are wrong, so nothing was sent",
        field="csv",
        hint="mend them, or send the good ones with --partial --rejects FILE",
    )
    if session.as_json:
        body = {
            "error": problem.message,
            "field": problem.field,
            "hint": problem.hint,
            "code": int(ExitCode.USAGE),
            "rejected": _problems_json(problems),
        }
        note_json(body)
        session.exit_code = ExitCode.USAGE
        return
    _list_problems(problems)
    raise problem
