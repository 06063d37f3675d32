"""What the databases share: transactions that are whole, and SQLite's errors as ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final

from ..errors import StorageError

DISK_HINT: Final = "check the disk's space and run credchain audit"


@contextmanager
def storage_errors(what: str, *, hint: str = DISK_HINT) -> Iterator[None]:
    """SQLite's errors as StorageError."""
    try:
        yield
    except sqlite3.Error as problem:
        raise StorageError(f"{what}: {problem}", hint=hint) from problem


_ROWS: Final = 64
_KEYS: Final = 64


def insert(conn: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]], conflict: str = "") -> None:
    """Rows of one length into a table, many with each statement: `executemany` steps through them one by
    one, and gives up Python's lock for each. ``conflict`` is an upsert clause."""
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        row = f"({', '.join('?' * len(some[0]))})"
        values = ", ".join([row] * len(some))
        statement = f"insert into {table} values {values} {conflict}"  # noqa: S608  # names of ours
        conn.execute(statement, list(chain.from_iterable(some)))


def select_in(
    conn: sqlite3.Connection, columns: str, table: str, key: str, keys: Sequence[bytes]
) -> list[tuple[Any, ...]]:
    """The rows with any of these keys."""
    found: list[tuple[Any, ...]] = []
    # One place or always as many, so that statements are prepared once; the last key fills the rest.
    size = _KEYS if len(keys) > 1 else 1
    query = f"select {columns} from {table} where {key} in ({', '.join('?' * size)})"  # noqa: S608  # ours
    for start in range(0, len(keys), size):
        some = keys[start : start + size]
        found += conn.execute(query, [*some, *[some[-1]] * (size - len(some))]).fetchall()
    return found


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[None]:
    """All that the body does, or nothing of it. The connection is in autocommit mode otherwise."""
    conn.execute("begin immediate")
    try:
        yield
        conn.execute("commit")
    except BaseException:
        if conn.in_transaction:
            conn.execute("rollback")
        raise
