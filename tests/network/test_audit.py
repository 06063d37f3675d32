"""The audit finds every change of a stored ledger, and says at which height it shows.

A ledger with every kind of operation is stored once; each test damages a copy of the file.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from credchain.errors import InvalidInput, StorageError
from credchain.storage.audit import AuditMismatch, audit
from credchain.storage.ledger_schema import AUDITED
from tests.ledger_world import make_network

from .node_process import credchain, history

_HEIGHT_OF: Final = {
    "blocks": "height",
    "transactions": "height",
    "state": "height",
    "attestations": "changed",
    "status_changes": "height",
    "members": "height",
}
"""By table, the column with the height of the block that last wrote the row."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return history().file(tmp_path / "ledger.db")


@dataclass(frozen=True)
class Cell:
    """One stored value, and the height of the block that wrote it."""

    table: str
    rowid: int
    column: str
    value: Any
    height: int


def _rows(conn: sqlite3.Connection, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    columns = [row[1] for row in conn.execute(f"pragma table_info({table})")]
    return columns, conn.execute(f"select rowid, * from {table} order by rowid").fetchall()


def _cells(path: Path) -> Iterator[Cell]:
    with closing(sqlite3.connect(path)) as conn:
        for table, height in _HEIGHT_OF.items():
            columns, rows = _rows(conn, table)
            for rowid, *values in rows:
                at = values[columns.index(height)]
                for column, value in zip(columns, values, strict=True):
                    yield Cell(table, rowid, column, value, at)


def _changed(cell: Cell) -> list[Any]:
    """Values one byte, or one, away; the places in long values are the same in every run."""
    value = cell.value
    if value is None:
        return [0, b"\x00"]
    if isinstance(value, int):
        return [value + 1, value - 1] if value else [1]
    data = value.encode() if isinstance(value, str) else value
    if not data:
        return [b"\x00", "x"]
    chosen = random.Random(f"{cell.table} {cell.rowid} {cell.column}")
    places = {0, len(data) - 1, *(chosen.randrange(len(data)) for _ in range(1))}
    flipped = [bytes([*data[:at], data[at] ^ (1 << chosen.randrange(8)), *data[at + 1 :]]) for at in places]
    return [*flipped, data[:-1]]


def _store(path: Path, cell: Cell, value: Any) -> bool:
    """False where the change is impossible, since it would make two rows of one key."""
    kind = "text" if isinstance(cell.value, str) else "blob" if isinstance(value, bytes) else "integer"
    new = f"cast(? as {kind})" if isinstance(value, bytes) else "?"
    with closing(sqlite3.connect(path)) as conn, conn:
        try:
            conn.execute(
                f'update {cell.table} set "{cell.column}" = {new} where rowid = ?', (value, cell.rowid)
            )
        except sqlite3.IntegrityError:
            return False
    return True


def _copy(path: Path, copy: Path) -> None:
    """Without the write-ahead log that the copy before may have left: it is not this one's."""
    for side in ("-wal", "-shm"):
        copy.with_name(copy.name + side).unlink(missing_ok=True)
    shutil.copyfile(path, copy)


def _expect(path: Path, height: int | None, what: object) -> None:
    try:
        report = audit(path, history().network)
    except AuditMismatch as problem:
        assert height is None or problem.height == height, f"{what}: {problem.message}"
        assert problem.message.startswith(f"height {problem.height}: ")
        return
    pytest.fail(f"{what}: the audit passed: {report}")


def test_the_audited_tables_are_the_ones_tested_here() -> None:
    assert set(AUDITED) == set(_HEIGHT_OF)


def test_the_whole_ledger_passes(path: Path) -> None:
    report = audit(path, history().network)
    transactions = sum(len(block.transactions) for block, _ in history().blocks)
    assert (report.height, report.blocks, report.transactions) == (6, 6, transactions)
    assert (report.attestations, report.documents) == (5, 4)


def test_the_audit_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    audit(path, history().network)
    assert path.read_bytes() == before


def test_progress_counts_every_block(path: Path) -> None:
    told: list[tuple[int, int]] = []
    audit(path, history().network, lambda done, total: told.append((done, total)))
    assert told == [(height, 6) for height in range(1, 7)]


@pytest.mark.parametrize("upto", range(7))
def test_each_beginning_of_it_passes(tmp_path: Path, upto: int) -> None:
    assert audit(history().file(tmp_path / "ledger.db", upto), history().network).height == upto


@pytest.mark.parametrize("table", ["blocks", "transactions", "state"])
def test_a_changed_cell_is_found_at_its_height(path: Path, tmp_path: Path, table: str) -> None:
    _change_cells(path, tmp_path, lambda cell: cell.table == table and not _is_key(cell))


@pytest.mark.parametrize("table", ["attestations", "status_changes", "members"])
def test_a_changed_readable_cell_is_found_at_its_height(path: Path, tmp_path: Path, table: str) -> None:
    _change_cells(path, tmp_path, lambda cell: cell.table == table and not _is_key(cell))


@pytest.mark.parametrize("table", AUDITED)
def test_a_changed_key_is_found(path: Path, tmp_path: Path, table: str) -> None:
    _change_cells(path, tmp_path, lambda cell: cell.table == table and _is_key(cell), exact=False)


@pytest.mark.parametrize("table", ["state", "attestations", "status_changes", "members"])
def test_a_changed_key_is_found_at_the_height_of_its_row(path: Path, tmp_path: Path, table: str) -> None:
    _change_cells(path, tmp_path, lambda cell: cell.table == table and _is_key(cell))


_KEYS: Final = {
    "blocks": ("height",),
    "transactions": ("height", "position"),
    "state": ("key",),
    "attestations": ("id",),
    "status_changes": ("attestation", "number"),
    "members": ("did",),
}


def _is_key(cell: Cell) -> bool:
    return cell.column in _KEYS[cell.table]


def _change_cells(path: Path, tmp_path: Path, chosen: Callable[[Cell], bool], *, exact: bool = True) -> None:
    copy = tmp_path / "copy.db"
    tried = 0
    for cell in filter(chosen, _cells(path)):
        for value in _changed(cell):
            _copy(path, copy)
            if _store(copy, cell, value):
                tried += 1
                _expect(copy, cell.height if exact else None, (cell.table, cell.rowid, cell.column, value))
    assert tried


@pytest.mark.parametrize("table", AUDITED)
def test_a_missing_row_is_found_at_its_height(path: Path, tmp_path: Path, table: str) -> None:
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(path)) as conn:
        rows = conn.execute(f"select rowid, {_HEIGHT_OF[table]} from {table}").fetchall()
    for rowid, height in rows:
        _copy(path, copy)
        with closing(sqlite3.connect(copy)) as conn, conn:
            conn.execute(f"delete from {table} where rowid = ?", (rowid,))
        _expect(copy, height, (table, rowid))


@pytest.mark.parametrize("table", AUDITED)
def test_an_added_row_is_found(path: Path, tmp_path: Path, table: str) -> None:
    """A copy of each row under another key, before and after all others."""
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(path)) as conn:
        columns, rows = _rows(conn, table)
    key = columns.index(_KEYS[table][-1])
    for _, *values in rows:
        for other in _other_keys(values[key]):
            added = [*values[:key], other, *values[key + 1 :]]
            _copy(path, copy)
            with closing(sqlite3.connect(copy)) as conn, conn:
                marks = ", ".join("?" * len(added))
                conn.execute(f"insert into {table} values ({marks})", added)
            _expect(copy, None, (table, other))


def _other_keys(value: Any) -> tuple[Any, ...]:
    if isinstance(value, int):
        return (-1, 1000)
    if isinstance(value, str):
        return ("", "zzz")
    return (b"", b"\xff" * 40)


def test_an_added_row_is_found_at_its_height(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        height = conn.execute("select max(height) from state").fetchone()[0]
        conn.execute("insert into state values (zeroblob(32), 'member', 'x', ?, x'80')", (height,))
    _expect(path, height, "an added state row")


@pytest.mark.parametrize(("one", "other"), [(1, 2), (2, 3), (5, 6)])
def test_two_blocks_in_each_others_place_are_found(path: Path, one: int, other: int) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        for old, new in ((one, -1), (other, one), (-1, other)):
            conn.execute("update blocks set height = ? where height = ?", (new, old))
    _expect(path, one, (one, other))


def test_two_transactions_in_each_others_place_are_found(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        for old, new in ((0, 9), (1, 0), (9, 1)):
            conn.execute("update transactions set position = ? where height = 2 and position = ?", (new, old))
    _expect(path, 2, "swapped transactions")


def test_the_certificate_of_another_block_is_found(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(
            "update blocks set certificate = (select certificate from blocks where height = 3) "
            "where height = 4"
        )
    _expect(path, 4, "another block's certificate")


@pytest.mark.parametrize("column", ["header", "certificate"])
@pytest.mark.parametrize("value", [None, "text", 7, 1.5, b""])
def test_block_columns_of_another_type_are_found(path: Path, column: str, value: object) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(f"update blocks set {column} = ? where height = 3", (value,))
    _expect(path, 3, (column, value))


@pytest.mark.parametrize("value", [None, "text", 7, 1.5, b""])
def test_transaction_bytes_of_another_type_are_found(path: Path, value: object) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("update transactions set bytes = ? where height = 3", (value,))
    _expect(path, 3, value)


@pytest.mark.parametrize("table", AUDITED)
def test_a_missing_table_is_found(path: Path, table: str) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(f"drop table {table}")
    _expect(path, None, table)


@pytest.mark.parametrize("table", AUDITED)
def test_an_added_or_renamed_column_is_found(path: Path, tmp_path: Path, table: str) -> None:
    for change in (
        f"alter table {table} add column extra text",
        f'alter table {table} rename column "{_KEYS[table][0]}" to other',
    ):
        copy = tmp_path / "copy.db"
        _copy(path, copy)
        with closing(sqlite3.connect(copy)) as conn, conn:
            conn.execute("drop view attestation_list")
            conn.execute("drop view block_list")
            conn.execute("drop view status_list")
            conn.execute("drop view transaction_list")
            conn.execute(change)
        _expect(copy, None, change)


# --- documents --------------------------------------------------------------------------------


def _documents(path: Path) -> list[tuple[bytes, str]]:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute("select credential, text from documents").fetchall()


def test_a_flipped_byte_in_a_document_is_found(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    for number, (credential, text) in enumerate(_documents(path)):
        chosen = random.Random(f"document {number}")
        data = text.encode()
        for at in {0, len(data) - 1, *(chosen.randrange(len(data)) for _ in range(25))}:
            damaged = bytes([*data[:at], data[at] ^ (1 << chosen.randrange(8)), *data[at + 1 :]])
            _copy(path, copy)
            with closing(sqlite3.connect(copy)) as conn, conn:
                conn.execute(
                    "update documents set text = cast(? as text) where credential = ?", (damaged, credential)
                )
            with closing(sqlite3.connect(copy)) as conn:
                height = conn.execute(
                    "select height from attestations where credential = ?", (credential,)
                ).fetchone()[0]
            _expect(copy, height, (number, at))


@pytest.mark.parametrize("text", [None, 7, b"", b"\xff\xfe", "", "~", "a.b.c~"])
def test_a_document_that_is_none_is_found(path: Path, text: object) -> None:
    credential = _documents(path)[0][0]
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("update documents set text = ? where credential = ?", (text, credential))
    _expect(path, None, text)


@pytest.mark.parametrize(
    "change",
    [
        "update documents set credential = zeroblob(32) where rowid = 1",
        "update documents set credential = null where rowid = 1",
        "update documents set credential = 7 where rowid = 1",
        "update documents set credential = cast(credential as text) where rowid = 1",
        "update documents set credential = 'text' where rowid = 1",
        "update documents set attestation = zeroblob(32) where rowid = 1",
        "update documents set attestation = null where rowid = 1",
        "update documents set attestation = 7 where rowid = 1",
        "update documents set attestation = cast(attestation as text) where rowid = 1",
        "update documents set attestation = 'text' where rowid = 1",
        "insert into documents (attestation, credential, text) values (zeroblob(32), zeroblob(32), 'x~')",
        "insert into documents (attestation, credential, text) "
        "select id, credential, 'x~' from attestations where erased is not null",
        "drop table documents",
    ],
)
def test_a_document_of_no_attestation_is_found(path: Path, change: str) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(change)
    _expect(path, None, change)


def test_an_erased_document_that_is_back_is_found_at_its_height(path: Path) -> None:
    from credchain.credentials.sdjwt import parse

    erased = parse(history().erased.text)
    with closing(sqlite3.connect(path)) as conn, conn:
        added = conn.execute(
            "insert into documents (attestation, credential, text) "
            "select id, credential, ? from attestations where credential = ?",
            (erased.text, erased.digest),
        )
        assert added.rowcount == 1
    _expect(path, 1, "an erased document")


def test_a_document_with_a_withheld_disclosure_is_found(path: Path) -> None:
    credential, text = _documents(path)[0]
    jwt, _, *rest = text.split("~")
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(
            "update documents set text = ? where credential = ?", ("~".join((jwt, *rest)), credential)
        )
    _expect(path, 1, "a withheld disclosure")


def test_a_missing_document_is_no_damage(path: Path) -> None:
    """Which documents a node holds does not follow from the blocks."""
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("delete from documents")
    assert audit(path, history().network).documents == 0


# --- about, and the file itself ---------------------------------------------------------------


def test_another_networks_ledger_is_not_audited_as_this_ones(path: Path) -> None:
    with pytest.raises(InvalidInput, match="another network"):
        audit(path, make_network(validators=4))


@pytest.mark.parametrize(
    "change",
    [
        "update about set value = '2' where name = 'schema'",
        "delete from about where name = 'schema'",
        "insert into about values ('more', 'x')",
    ],
)
def test_a_changed_about_is_found(path: Path, change: str) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(change)
    with pytest.raises((AuditMismatch, StorageError)):
        audit(path, history().network)


@pytest.mark.parametrize(
    "change",
    [
        "update about set name = 'other' where name = 'network'",
        "delete from about where name = 'network'",
        "update about set value = null where name = 'network'",
        "drop table about",
    ],
)
def test_a_ledger_that_does_not_say_its_network_does_not_pass(path: Path, change: str) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(change)
    with pytest.raises((AuditMismatch, StorageError, InvalidInput)):
        audit(path, history().network)


def _content(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, as the bytes that are stored."""
    with closing(sqlite3.connect(path)) as conn:
        conn.text_factory = bytes
        tables = (*AUDITED, "documents", "about")
        return {table: sorted(conn.execute(f"select * from {table}"), key=repr) for table in tables}


@pytest.mark.parametrize("seed", range(8))
def test_flipped_bytes_of_the_file_are_found_or_change_no_content(
    path: Path, tmp_path: Path, seed: int
) -> None:
    whole = path.read_bytes()
    content = _content(path)
    chosen = random.Random(seed)
    copy = tmp_path / "copy.db"
    found = 0
    for _ in range(80):
        damaged = bytearray(whole)
        at, bit = chosen.randrange(len(whole)), chosen.randrange(8)
        damaged[at] ^= 1 << bit
        copy.write_bytes(damaged)
        try:
            audit(copy, history().network)
        except (AuditMismatch, StorageError):
            found += 1
        except InvalidInput as problem:
            # The damage is in the network's name: told as another network's ledger.
            assert "another network" in problem.message
        except Exception as problem:  # noqa: BLE001  # that there is none is the point
            pytest.fail(f"seed {seed}, byte {at}, bit {bit}: {type(problem).__name__}: {problem}")
        else:
            assert _content(copy) == content, f"seed {seed}, byte {at}, bit {bit}"
    assert found


@pytest.mark.parametrize("seed", range(4))
def test_overwritten_pages_of_the_file_are_found_or_change_no_content(
    path: Path, tmp_path: Path, seed: int
) -> None:
    whole = path.read_bytes()
    content = _content(path)
    chosen = random.Random(seed)
    copy = tmp_path / "copy.db"
    for page in range(len(whole) // 4096):
        damaged = bytearray(whole)
        noise = chosen.choice([bytes(4096), chosen.randbytes(4096), whole[4096:8192]])
        damaged[page * 4096 : (page + 1) * 4096] = noise
        copy.write_bytes(damaged)
        try:
            audit(copy, history().network)
        except (AuditMismatch, StorageError):
            continue
        except InvalidInput as problem:
            assert "another network" in problem.message
            continue
        except Exception as problem:  # noqa: BLE001  # that there is none is the point
            pytest.fail(f"seed {seed}, page {page}: {type(problem).__name__}: {problem}")
        assert _content(copy) == content, f"seed {seed}, page {page}"


@pytest.mark.parametrize("share", [0, 1, 99, 100, 1000, 4096, 40_960, -4096, -1])
def test_a_cut_file_does_not_pass(path: Path, share: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:share])
    with pytest.raises((AuditMismatch, StorageError)):
        audit(path, history().network)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    with pytest.raises(InvalidInput):
        audit(missing, history().network)
    assert not missing.exists()


# --- the command ------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the network file and the ledger: all that an audit needs."""
    import json

    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "network.json").write_text(json.dumps(history().network.json()))
    history().file(folder / "ledger.db")
    return folder


def test_the_command_reports_a_whole_ledger(home: Path) -> None:
    import json

    done = credchain("audit", "--home", home, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "height": 6,
        "blocks": 6,
        "transactions": 8,
        "attestations": 5,
        "documents": 4,
    }


@pytest.mark.parametrize("height", [1, 4, 6])
def test_the_command_names_the_height_and_exits_3(home: Path, height: int) -> None:
    import json

    with closing(sqlite3.connect(home / "ledger.db")) as conn, conn:
        conn.execute("update blocks set time = time + 1 where height = ?", (height,))
    done = credchain("audit", "--home", home)
    assert (done.returncode, done.stdout) == (3, "")
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: height {height}: ")
    assert hint.startswith("hint: ")
    done = credchain("audit", "--home", home, "--json")
    assert (done.returncode, done.stdout) == (3, "")
    told = json.loads(done.stderr)
    assert told["code"] == 3
    assert told["error"].startswith(f"height {height}: ")


def test_the_command_needs_no_passphrase_and_changes_nothing(home: Path) -> None:
    before = (home / "ledger.db").read_bytes()
    done = credchain("audit", "--home", home, CREDCHAIN_PASSPHRASE="")
    assert done.returncode == 0
    assert (home / "ledger.db").read_bytes() == before
