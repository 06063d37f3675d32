"""The safety record on disk: what this validator has said, durable before anybody hears it.

A database of its own, because what happens to the ledger's must not touch it. What a record means and
what it allows is `consensus.record`'s; when there may be a new one after a loss, the node's driver's
(DESIGN 7, "Lost record"). No backup contains this file: an old record lets a validator contradict itself.

The journal is SQLite's rollback journal, kept between transactions (`journal_mode=persist`), with
`synchronous=FULL`. Write-ahead logging syncs once a commit instead of four times (measured: 0.2 ms
against 0.5 ms), but leaves up to a thousand pages of the latest commits in the file beside the
database: after a crash, whoever moves `safety.db` alone would have an older record that looks whole.
Here the database is the truth except in the moment of a commit, a body is written once and not
twice, and the commit's last act is a sync (`delete` with FULL does not sync its unlinking).
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgpack

from ..certificates import Height, View
from ..consensus.record import BORN, Record
from ..encoding import Digest
from ..errors import InvalidInput, StorageError
from ..keys import Did
from ..limits import LIMITS
from .files import PRIVATE
from .sqlite import storage_errors, transaction

_SCHEMA_VERSION: Final = 1
_HINT: Final = (
    "this validator must not sign with a damaged record: check the disk, then move safety.db away; "
    "it then catches up as one that lost its record"
)
_FULL_HINT: Final = "check the disk's space and start the node again"
_TABLES: Final[dict[str, tuple[dict[str, Any], str | tuple[str, ...]]]] = {
    "record": (
        {
            "number": int,  # always 1: there is one record
            "height": int,
            "floor": int,
            "votes": int,
            "prepared_view": int,
            "view_change": int,
            "new_view": int,
            "bytes": bytes,
            "checksum": bytes,
        },
        "number",
    ),
    "bodies": ({"block": bytes, "size": int, "bytes": bytes, "checksum": bytes}, "block"),
    "evidence": (
        {
            "validator": str,
            "height": int,
            "view": int,
            "size": int,
            "checksum": bytes,
            "first": bytes,
            "second": bytes,
        },
        "checksum",
    ),
}


@dataclass(frozen=True, slots=True)
class KeptEvidence:
    """Two encoded statements of one validator, of which an honest one signs only one."""

    validator: Did
    height: Height
    view: View
    first: bytes
    second: bytes

    @property
    def kind(self) -> str:
        """What was said twice, as the statements' own fields show it."""
        statement = msgpack.unpackb(self.first)
        if "phase" in statement:
            return str(statement["phase"])
        return "new_view" if "view_changes" in statement else "view_change"


class SafetyStore:
    """The one record of a validator, and evidence against others. Use from one thread.

    After a StorageError of `save` the process must stop: whether the record was stored is then what the
    database says when it is opened anew. Until then this object refuses to store anything more.
    """

    def __init__(self, conn: sqlite3.Connection) -> None:
        """By `create` and `open` only."""
        self._conn = conn
        self._failed = False
        self._bodies: set[Digest] = set()

    @staticmethod
    def create(path: Path, first: Record = BORN) -> SafetyStore:
        """A new file with the record that is born with the key, whole or not at all.

        After a loss ``first`` is the record of the height at which the validator may sign again: a born
        one would be believed after a crash. Errors: InvalidInput if there is a record already.
        """
        if path.exists():
            _refuse_to_overwrite(path)
        building = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            building.unlink(missing_ok=True)
            building.touch(PRIVATE)
            _fill(building, first)
            building.rename(path)
            _sync_folder(path.parent)
        except OSError as problem:
            raise StorageError(f"cannot write {path}: {problem.strerror}", hint=_FULL_HINT) from problem
        finally:
            for left in (building, building.with_name(f"{building.name}-journal")):
                with suppress(OSError):
                    left.unlink(missing_ok=True)
        store = SafetyStore.open(path)
        if store is None:
            raise StorageError(f"the safety record {path} is gone as soon as it was written", hint=_FULL_HINT)
        return store

    @staticmethod
    def open(path: Path) -> SafetyStore | None:
        """The store, its record checked; None where there is no file or no record in it: it is lost.

        Errors: StorageError for what is there but cannot be believed.
        """
        if not path.exists():
            return None
        conn = _connect(path)
        try:
            store = SafetyStore(conn) if _is_there(conn, path) else None
            if store is not None:
                store._bodies = {block for block, _ in store.load().bodies}
        except BaseException:
            conn.close()
            raise
        if store is None:
            conn.close()
        return store

    def close(self) -> None:
        self._conn.close()

    # --- the record -----------------------------------------------------------------------

    def load(self) -> Record:
        """The record as it was last saved; StorageError if it is damaged."""
        with storage_errors("cannot read the safety record", hint=_HINT):
            rows = self._conn.execute("select height, floor, bytes, checksum from record").fetchall()
            bodies = self._conn.execute("select block, bytes, checksum from bodies").fetchall()
        if len(rows) != 1:
            raise _damaged(f"there are {len(rows)} of it")
        height, floor, content, checksum = rows[0]
        found = {_checked(block, 32): _checked(body, None, digest) for block, body, digest in bodies}
        try:
            record = Record.decode(_checked(content, None, checksum), _by_digest(found))
        except InvalidInput as problem:
            raise _damaged(problem.message) from problem
        if (record.height, record.floor, len(record.bodies)) != (height, floor, len(bodies)):
            raise _damaged("its columns are not its content's")
        return record

    def save(self, record: Record) -> None:
        """Put it in the place of the one before, on disk when this returns; all or nothing.

        Bodies are written when they are new, and go when the record no longer names them.
        """
        self._refuse_after_failure()
        named = dict(record.bodies)
        new = [_body_row(block, body) for block, body in named.items() if block not in self._bodies]
        old = [(block,) for block in self._bodies if block not in named]
        row = _record_row(record)
        self._failed = True  # until the commit is known to have succeeded
        with (
            storage_errors("cannot store the safety record", hint=_FULL_HINT),
            transaction(self._conn),
        ):
            if new:
                self._conn.executemany("insert into bodies values (?, ?, ?, ?)", new)
            self._conn.execute("replace into record values (1, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            if old:
                self._conn.executemany("delete from bodies where block = ?", old)
        self._failed = False
        self._bodies = set(named)

    def _refuse_after_failure(self) -> None:
        if self._failed:
            raise StorageError("the safety record could not be stored before", hint=_FULL_HINT)

    # --- evidence -------------------------------------------------------------------------

    def add_evidence(self, validator: Did, height: Height, view: View, first: bytes, second: bytes) -> bool:
        """Whether it was kept: no pair twice, so many a validator and so many bytes in all.

        The first that are met are kept: a liar that makes more of it displaces nothing.
        """
        self._refuse_after_failure()
        first, second = sorted((first, second))
        size = len(first) + len(second)
        checksum = sha256(sha256(first).digest() + sha256(second).digest()).digest()
        with storage_errors("cannot store evidence", hint=_FULL_HINT), transaction(self._conn):
            query = "select count(*) filter (where validator = ?), coalesce(sum(size), 0) from evidence"
            rows, total = self._conn.execute(query, (validator,)).fetchone()
            if rows >= LIMITS.evidence_per_validator or total + size > LIMITS.evidence_bytes:
                return False
            done = self._conn.execute(
                "insert or ignore into evidence values (?, ?, ?, ?, ?, ?, ?)",
                (validator, height, view, size, checksum, first, second),
            )
            return done.rowcount == 1

    def evidence(self) -> list[KeptEvidence]:
        """In the order in which it was met."""
        with storage_errors("cannot read the evidence", hint=_HINT):
            rows = self._conn.execute(
                "select validator, height, view, first, second from evidence order by rowid"
            ).fetchall()
        return [KeptEvidence(*row) for row in rows]


def _refuse_to_overwrite(path: Path) -> None:
    """InvalidInput if there is a record; a file without one (cut to nothing) goes."""
    store = SafetyStore.open(path)
    if store is not None:
        store.close()
        raise InvalidInput(
            f"{path} exists and is not overwritten",
            field="file",
            hint="it is what this validator has signed: never remove it while its key is in use",
        )
    with storage_errors(f"cannot remove the empty {path}", hint=_HINT):
        path.unlink()


def _connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that exists; an absent one is not made."""
    with storage_errors(f"cannot open the safety record {path}", hint=_HINT):
        conn = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    try:
        with storage_errors(f"cannot open the safety record {path}", hint=_HINT):
            conn.execute("pragma journal_mode = persist")
            conn.execute("pragma synchronous = full")
    except BaseException:
        conn.close()
        raise
    return conn


def _fill(path: Path, first: Record) -> None:
    """The schema and the first record, in one transaction."""
    import sqlite_utils

    bodies = [_body_row(*body) for body in first.bodies]
    with (
        closing(_connect(path)) as conn,
        storage_errors(f"cannot write {path}", hint=_FULL_HINT),
        transaction(conn),
    ):
        database = sqlite_utils.Database(conn)
        for name, (columns, primary_key) in _TABLES.items():
            database.table(name).create(columns, pk=primary_key)
        conn.execute(f"pragma user_version = {_SCHEMA_VERSION}")
        conn.executemany("insert into bodies values (?, ?, ?, ?)", bodies)
        conn.execute("insert into record values (1, ?, ?, ?, ?, ?, ?, ?, ?)", _record_row(first))


def _is_there(conn: sqlite3.Connection, path: Path) -> bool:
    """Whether there is a record; StorageError for another schema or another program's database."""
    with storage_errors(f"cannot read the safety record {path}", hint=_HINT):
        version = conn.execute("pragma user_version").fetchone()[0]
        tables = {name for (name,) in conn.execute("select name from sqlite_master where type = 'table'")}
        if not tables and not version:
            return False
        if version != _SCHEMA_VERSION or not tables.issuperset(_TABLES):
            raise StorageError(f"{path} has the schema {version}, unknown here", hint=_HINT)
        return conn.execute("select 1 from record").fetchone() is not None


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _record_row(record: Record) -> tuple[Any, ...]:
    content = record.encode()
    return (
        record.height,
        record.floor,
        len(record.votes),
        None if record.prepared is None else record.prepared.view,
        None if record.view_change is None else record.view_change.view,
        None if record.new_view is None else record.new_view.view,
        content,
        sha256(content).digest(),
    )


def _body_row(block: Digest, body: bytes) -> tuple[Any, ...]:
    return block, len(body), body, sha256(body).digest()


def _by_digest(found: dict[bytes, bytes]) -> dict[Digest, bytes]:
    return {Digest(block): body for block, body in found.items()}


def _checked(value: Any, size: int | None, checksum: Any = None) -> bytes:
    """Bytes of that size and checksum: SQLite stores what it is given, whatever the column says."""
    if type(value) is not bytes or size not in (None, len(value)):
        raise _damaged("a column is not bytes")
    if size is None and sha256(value).digest() != checksum:
        raise _damaged("a checksum does not hold")
    return value


def _damaged(why: str) -> StorageError:
    return StorageError(f"the safety record is damaged: {why}", hint=_HINT)
