"""CSV tables that people hand in (RFC 4180, UTF-8), read with bounds and with line numbers.

A byte-order mark, CRLF, quoted commas and quoted line breaks are fine. What is wrong with the file as
a whole is InvalidInput; what is wrong with a row is the row's `Problem`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import InvalidInput
from ..limits import LIMITS

REJECT_COLUMNS = ("rejected_line", "rejected_column", "rejected_reason")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a row: its first line in the file, the column ("" for the whole row), why."""

    line: int
    column: str
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row. ``cells`` are by column, without those that are empty; ``raw`` is as it stood."""

    line: int
    cells: dict[str, str]
    raw: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    problems: tuple[Problem, ...]


def read_table(path: Path, *, required: Sequence[str], optional: Sequence[str]) -> Table:
    """The whole table; InvalidInput for a file that cannot be read as one."""
    try:
        with path.open("r", encoding="utf-8-sig", newline="") as file:
            return _read(file, str(path), required, optional)
    except UnicodeDecodeError as problem:
        raise InvalidInput(
            f"{path} is not UTF-8 text", field="csv", hint="save the table as CSV with UTF-8 encoding"
        ) from problem
    except OSError as problem:
        raise InvalidInput(f"cannot read {path}: {problem.strerror}", field="csv") from problem


def _lines(file: IO[str], name: str) -> Iterator[str]:
    """Physical lines, none longer than the bound: nobody has to hold a 50 MB one."""
    number = 0
    while line := file.readline(LIMITS.csv_line_bytes + 1):
        number += 1
        if len(line) > LIMITS.csv_line_bytes:
            raise InvalidInput(
                f"{name}: line {number} is longer than {LIMITS.csv_line_bytes} characters",
                field="csv",
                hint="a quotation mark may be missing, or the file is not a CSV table",
            )
        if "\x00" in line:
            raise InvalidInput(f"{name}: line {number} holds a NUL character", field="csv")
        yield line


def _read(file: IO[str], name: str, required: Sequence[str], optional: Sequence[str]) -> Table:
    csv.field_size_limit(LIMITS.csv_line_bytes)
    reader = csv.reader(_lines(file, name), strict=True)
    try:
        columns = tuple(cell.strip() for cell in next(reader, []))
        _check_columns(columns, name, required, optional)
        rows: list[TableRow] = []
        problems: list[Problem] = []
        before = reader.line_num
        for raw in reader:
            line, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in raw):
                continue
            if len(raw) != len(columns):
                problems.append(
                    Problem(line, "", f"the row has {len(raw)} cells, the table {len(columns)} columns")
                )
                rows.append(TableRow(line, {}, tuple(raw)))
                continue
            pairs = zip(columns, raw, strict=True)
            cells = {column: cell.strip() for column, cell in pairs if column not in REJECT_COLUMNS}
            rows.append(TableRow(line, {column: cell for column, cell in cells.items() if cell}, tuple(raw)))
            if len(rows) > LIMITS.csv_rows:
                raise InvalidInput(f"{name} has more than {LIMITS.csv_rows} rows", field="csv")
    except csv.Error as problem:
        raise InvalidInput(
            f"{name}: line {reader.line_num}: {problem}", field="csv", hint="check the quotation marks"
        ) from problem
    if not rows:
        raise InvalidInput(f"{name} has no rows", field="csv")
    return Table(columns, tuple(rows), tuple(problems))


def _check_columns(
    columns: tuple[str, ...], name: str, required: Sequence[str], optional: Sequence[str]
) -> None:
    if not columns or columns == ("",):
        raise InvalidInput(
            f"{name} is empty",
            field="csv",
            hint="credchain categories CATEGORY --csv-template prints a table",
        )
    for column in columns:
        if columns.count(column) > 1:
            raise InvalidInput(
                f"{name} has the column {column!r} twice", field=column or "csv", hint="name each column once"
            )
        if column not in (*required, *optional, *REJECT_COLUMNS):
            raise InvalidInput(
                f"{name} has the unknown column {column!r}",
                field=column or "csv",
                hint=f"columns are {', '.join((*required, *optional))}",
            )
    for column in required:
        if column not in columns:
            raise InvalidInput(
                f"{name} lacks the column {column}",
                field=column,
                hint=f"columns are {', '.join((*required, *optional))}",
            )


def check_rejects(path: Path, table: Path) -> None:
    """InvalidInput if the rejects would be written over the table, or over anything but earlier rejects."""
    if not path.is_file():
        return
    if table.exists() and path.samefile(table):
        raise InvalidInput(f"{path} is the table itself", field="rejects", hint="name another file")
    try:
        with path.open("r", encoding="utf-8-sig", errors="replace", newline="") as file:
            header = file.readline(LIMITS.csv_line_bytes)
    except OSError as problem:
        raise InvalidInput(f"cannot read {path}: {problem.strerror}", field="rejects") from problem
    if header and not header.rstrip().endswith(",".join(REJECT_COLUMNS)):
        raise InvalidInput(
            f"{path} exists, is no table of rejected rows, and is not overwritten",
            field="rejects",
            hint="name a new file",
        )


def write_rejects(path: Path, table: Table, problems: Sequence[Problem]) -> None:
    """The refused rows as a table: their own cells, then line, column and reason.

    The last three columns are passed over when the table is mended and handed in again.
    """
    kept = [at for at, column in enumerate(table.columns) if column not in REJECT_COLUMNS]
    by_line: dict[int, list[Problem]] = {}
    for problem in problems:
        by_line.setdefault(problem.line, []).append(problem)
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*(table.columns[at] for at in kept), *REJECT_COLUMNS])
            for row in table.rows:
                found = by_line.get(row.line)
                if found:
                    columns = "; ".join(each.column for each in found if each.column)
                    reasons = "; ".join(each.reason for each in found)
                    cells = [row.raw[at] for at in kept if at < len(row.raw)]
                    cells += [""] * (len(kept) - len(cells))
                    writer.writerow([*cells, row.line, columns, reasons])
    except OSError as problem:
        raise InvalidInput(f"cannot write {path}: {problem.strerror}", field="rejects") from problem
