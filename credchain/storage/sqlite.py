"""What the databases share: transactions that are whole, and SQLite's errors as ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..errors import StorageError

DISK_HINT: Final = "check the disk's space and run credchain audit"


@contextmanager
def storage_errors(what: str, *, hint: str = DISK_HINT) -> Iterator[None]:
    """SQLite's errors as StorageError."""
    try:
        yield
    except sqlite3.Error as problem:
        raise StorageError(f"{what}: {problem}", hint=hint) from problem


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
