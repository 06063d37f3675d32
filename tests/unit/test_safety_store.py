"""The safety record on disk: before or after a save, never between; damage is never taken for absence.

Run as a program, this module is the victim that kills itself in front of each SQL statement
(`tests.network.test_crash`).
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from credchain.certificates import Certificate, Height, View
from credchain.consensus.messages import COMMIT, PREPARE, NewView, Prepared, ViewChange, Vote
from credchain.consensus.record import BORN, Record
from credchain.encoding import Digest
from credchain.errors import InvalidInput, StorageError
from credchain.limits import LIMITS
from credchain.storage.backup import Backup, restore
from credchain.storage.home import Home
from credchain.storage.keyfile import KeyPair
from credchain.storage.safety_store import KeptEvidence, SafetyStore
from tests.ledger_world import START, did, some_digest
from tests.network import test_crash as crash
from tests.network.node_process import PASSPHRASE, PATIENCE, ROOT, environment

_SIGNATURE: Final = b"s" * 64
_CERTIFICATE: Final = Certificate(View(2), ((0, _SIGNATURE), (2, _SIGNATURE), (3, _SIGNATURE)))


def _block(number: int) -> tuple[Digest, bytes]:
    return some_digest(f"block {number}"), f"body of block {number}".encode() * 400


def _vote(phase: str, view: int, number: int) -> Vote:
    return Vote(phase, Height(7), View(view), _block(number)[0], 1, _SIGNATURE)


def _view_change(view: int) -> ViewChange:
    prepared = Prepared(b"a header", _CERTIFICATE)
    return ViewChange(Height(7), View(view), 1, prepared, _CERTIFICATE, _SIGNATURE)


_EARLY: Final = Record(7, View(2), (_vote(PREPARE, 2, 1),), bodies=(_block(1), _block(2)))
_FULL: Final = Record(
    height=7,
    floor=View(5),
    votes=(_vote(PREPARE, 2, 1), _vote(COMMIT, 2, 1), _vote(PREPARE, 5, 3)),
    prepared=Prepared(b"a header", _CERTIFICATE),
    prepared_block=_block(1)[0],
    view_change=_view_change(5),
    new_view=NewView(Height(7), View(5), 2, (_view_change(5),), _SIGNATURE),
    bodies=(_block(1), _block(3)),
)
"""Of the early one's bodies it keeps one and drops one, and has a new one."""

_NEXT: Final = Record(8, View(5))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "safety.db"


@pytest.fixture
def store(path: Path) -> Iterator[SafetyStore]:
    with closing(SafetyStore.create(path)) as found:
        yield found


def _open(path: Path) -> SafetyStore:
    store = SafetyStore.open(path)
    assert store is not None
    return store


def _load(path: Path) -> Record:
    with closing(_open(path)) as store:
        return store.load()


def _change(path: Path, query: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        assert conn.execute(query, values).rowcount >= 1


# --- born, lost, damaged ----------------------------------------------------------------------


def test_a_created_record_is_the_born_one(path: Path) -> None:
    SafetyStore.create(path).close()
    assert _load(path) == BORN
    assert [each.name for each in path.parent.iterdir() if "new" in each.name] == []
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_record_is_never_overwritten(path: Path) -> None:
    with closing(SafetyStore.create(path)) as store:
        store.save(_FULL)
    with pytest.raises(InvalidInput, match="not overwritten"):
        SafetyStore.create(path)
    assert _load(path) == _FULL


def test_after_a_loss_the_first_record_is_not_the_born_one(path: Path) -> None:
    SafetyStore.create(path, _FULL).close()
    assert _load(path) == _FULL


@pytest.mark.parametrize("content", [None, b""], ids=["absent", "empty"])
def test_absence_is_a_loss(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    assert SafetyStore.open(path) is None
    assert path.exists() == (content is not None)
    SafetyStore.create(path, _NEXT).close()
    assert _load(path) == _NEXT


def test_a_store_without_its_row_is_a_loss(path: Path) -> None:
    SafetyStore.create(path).close()
    _change(path, "delete from record")
    assert SafetyStore.open(path) is None


@pytest.mark.parametrize("content", [b"no database at all, but long enough for one" * 200, b"\x00" * 4096])
def test_a_file_that_is_no_database(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for use in (SafetyStore.open, SafetyStore.create):
        with pytest.raises(StorageError) as caught:
            use(path)
        assert caught.value.hint
        assert path.read_bytes() == content


def test_a_folder_in_the_place_of_the_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageError):
        SafetyStore.open(path)


@pytest.mark.parametrize(
    "change",
    [
        "pragma user_version = 2",
        "pragma user_version = 0",
        "drop table bodies",
    ],
)
def test_another_schema_is_refused(path: Path, change: str) -> None:
    SafetyStore.create(path).close()
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(change)
    with pytest.raises(StorageError, match="schema"):
        SafetyStore.open(path)


def test_another_programs_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("create table notes (text)")
    with pytest.raises(StorageError, match="schema"):
        SafetyStore.open(path)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("update record set bytes = ?", b""),
        ("update record set bytes = ?", b"\x80"),
        ("update record set bytes = ?", None),
        ("update record set bytes = ?", "text"),
        ("update record set bytes = ?", BORN.encode()),
        ("update record set checksum = ?", bytes(32)),
        ("update record set height = ?", 6),
        ("update record set floor = ?", 4),
        ("insert into record (number) values (?)", 2),
        ("delete from bodies where size > ?", 0),
        ("update bodies set bytes = ?", b"another body"),
        ("update bodies set bytes = ?", None),
        ("insert into bodies (block, bytes) values (zeroblob(32), ?)", b""),
        ("update bodies set block = zeroblob(?) where rowid = 1", 31),
    ],
)
def test_a_damaged_record_is_neither_absent_nor_born(path: Path, change: str, value: object) -> None:
    SafetyStore.create(path, _FULL).close()
    _change(path, change, value)
    with pytest.raises(StorageError, match="damaged") as caught:
        SafetyStore.open(path)
    assert "safety.db" in caught.value.hint


def test_a_record_that_does_not_decode_under_a_right_checksum(path: Path) -> None:
    from hashlib import sha256

    SafetyStore.create(path).close()
    _change(path, "update record set bytes = ?, checksum = ?", b"\x80", sha256(b"\x80").digest())
    with pytest.raises(StorageError, match="damaged"):
        SafetyStore.open(path)


def test_no_flipped_byte_is_believed(path: Path) -> None:
    """Whatever byte is damaged, the record is the same or refused."""
    SafetyStore.create(path, _FULL).close()
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[place] ^= 0x41
        path.write_bytes(damaged)
        try:
            store = SafetyStore.open(path)
        except StorageError:
            continue
        assert store is not None, place
        assert store.load() == _FULL
        store.close()


# --- saving -----------------------------------------------------------------------------------


def test_records_come_back(store: SafetyStore, path: Path) -> None:
    for record in (_EARLY, _FULL, _FULL, _NEXT, BORN):
        store.save(record)
        assert store.load() == record
        assert _load(path) == record


def test_a_body_is_written_once_and_goes_with_its_name(path: Path) -> None:
    with closing(SafetyStore.create(path)) as store:
        statements: list[str] = []
        store._conn.set_trace_callback(statements.append)
        store.save(_EARLY)
        assert sum("bodies" in each for each in statements) == 2
        statements.clear()
        store.save(replace(_EARLY, votes=()))
        assert not any("bodies" in each for each in statements)
    with closing(_open(path)) as store:
        store._conn.set_trace_callback(statements.append)
        statements.clear()
        store.save(_FULL)
        assert [each.split()[0] for each in statements if "bodies" in each] == ["insert", "delete"]
    with closing(sqlite3.connect(path)) as conn:
        assert {block for (block,) in conn.execute("select block from bodies")} == {
            block for block, _ in _FULL.bodies
        }


def test_the_commit_is_durable(store: SafetyStore) -> None:
    assert store._conn.execute("pragma synchronous").fetchone() == (2,)
    assert store._conn.execute("pragma journal_mode").fetchone() == ("persist",)


def test_the_database_alone_is_the_record(store: SafetyStore, path: Path, tmp_path: Path) -> None:
    """Whoever copies the file without those beside it has the latest record."""
    store.save(_FULL)
    (tmp_path / "copy.db").write_bytes(path.read_bytes())
    assert _load(tmp_path / "copy.db") == _FULL


def test_columns_for_people(store: SafetyStore, path: Path) -> None:
    store.save(_FULL)
    with closing(sqlite3.connect(path)) as conn:
        query = "select height, floor, votes, prepared_view, view_change, new_view from record"
        assert conn.execute(query).fetchall() == [(7, 5, 3, 2, 5, 5)]


# --- evidence ---------------------------------------------------------------------------------


def test_evidence_is_kept_once(store: SafetyStore, path: Path) -> None:
    liar, other = did("Node 1"), did("Node 2")
    assert store.add_evidence(liar, Height(7), View(2), b"first", b"second")
    assert not store.add_evidence(liar, Height(7), View(2), b"first", b"second")
    assert not store.add_evidence(liar, Height(7), View(2), b"second", b"first")
    assert store.add_evidence(other, Height(8), View(0), b"1", b"0")
    store.save(_NEXT)
    with closing(_open(path)) as again:
        assert again.evidence() == [
            KeptEvidence(liar, Height(7), View(2), b"first", b"second"),
            KeptEvidence(other, Height(8), View(0), b"0", b"1"),
        ]


def test_evidence_is_bounded_and_one_liar_displaces_nobody(store: SafetyStore) -> None:
    for number in range(2 * LIMITS.evidence_per_validator):
        kept = store.add_evidence(did("Node 1"), Height(number), View(0), b"a", b"%d" % number)
        assert kept == (number < LIMITS.evidence_per_validator)
    assert store.add_evidence(did("Node 2"), Height(1), View(0), b"a", b"b")
    large = bytes(LIMITS.evidence_bytes // 2)
    assert not store.add_evidence(did("Node 3"), Height(1), View(0), large, large + b"x")
    assert len(store.evidence()) == LIMITS.evidence_per_validator + 1


# --- crashes and faults -----------------------------------------------------------------------


def _create(path: Path) -> None:
    SafetyStore.create(path).close()


def _create_early(path: Path) -> None:
    SafetyStore.create(path, _EARLY).close()


def _saving(record: Record) -> Callable[[Path], None]:
    def work(path: Path) -> None:
        with closing(_open(path)) as store:
            crash._start_counting()
            store.save(record)

    return work


def _convict(path: Path) -> None:
    with closing(_open(path)) as store:
        crash._start_counting()
        store.add_evidence(did("Node 1"), Height(7), View(2), b"first", b"second")


_SAVES: Final = {
    "safety first": (_create, _saving(_EARLY), BORN, _EARLY),
    "safety bodies": (_create_early, _saving(_FULL), _EARLY, _FULL),
    "safety next height": (_create_early, _saving(_NEXT), _EARLY, _NEXT),
}
_WORK: Final = {
    **{name: (prepare, work, False) for name, (prepare, work, _, _) in _SAVES.items()},
    "safety create": (crash._nothing, _create, True),
    "safety evidence": (_create_early, _convict, False),
}


def _victims(name: str, folder: Path) -> list[Path]:
    """What a kill in front of each statement left, and last the result of a whole run."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.test_safety_store", name, str(folder)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [folder / f"{number}.db" for number in range(1, int(done.stdout) + 2)]


@pytest.mark.parametrize("name", _SAVES)
def test_a_kill_at_each_statement_of_a_save(tmp_path: Path, name: str) -> None:
    _, _, before, after = _SAVES[name]
    found = [_load(path) for path in _victims(name, tmp_path)]
    assert len(found) >= 4
    assert all(each in (before, after) for each in found)
    stored = [each == after for each in found]
    assert stored == sorted(stored), "once it is stored, it stays stored"
    assert {False, True} == set(stored)


def test_a_kill_at_each_statement_of_a_creation(tmp_path: Path) -> None:
    paths = _victims("safety create", tmp_path)
    found = []
    for path in paths:
        store = SafetyStore.open(path)
        found.append(store is not None)
        (store or SafetyStore.create(path)).close()
        assert _load(path) == BORN
    assert found == sorted(found)
    assert {False, True} == set(found)


def test_a_kill_at_each_statement_of_evidence(tmp_path: Path) -> None:
    found = []
    for path in _victims("safety evidence", tmp_path):
        with closing(_open(path)) as store:
            assert store.load() == _EARLY
            found.append(len(store.evidence()))
    assert found == sorted(found)
    assert {0, 1} == set(found)


@crash._FAULTS
@pytest.mark.parametrize("name", _SAVES)
def test_a_fault_at_each_call_of_a_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: bool
) -> None:
    prepare, _, old, new = _SAVES[name]
    found: list[Record] = []
    failures = 0
    for number in range(1, 100):
        path = tmp_path / f"{number}.db"
        prepare(path)
        with crash._fault(monkeypatch):
            store = _open(path)
            crash._arm(number, after=after)
            try:
                store.save(new)
            except StorageError:
                failures += 1
            armed = crash._Faulty.left > 0
            crash._arm(0, after=False)
            if not armed:
                _check_it_has_stopped(store)
            store.close()
        found.append(_load(path))
        assert found[-1] in (old, new)
        if armed:
            break
    assert failures >= 3
    assert old in found
    assert new in found


def _check_it_has_stopped(store: SafetyStore) -> None:
    """Nobody may go on after a failure whose outcome is not known."""
    with pytest.raises(StorageError, match="before"):
        store.save(_NEXT)
    with pytest.raises(StorageError, match="before"):
        store.add_evidence(did("Node 1"), Height(7), View(2), b"first", b"second")


@crash._FAULTS
def test_a_fault_at_each_call_of_a_creation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    failures = 0
    for number in range(1, 100):
        path = tmp_path / f"{number}.db"
        with crash._fault(monkeypatch):
            crash._arm(number, after=after)
            try:
                SafetyStore.create(path).close()
            except StorageError:
                failures += 1
            armed = crash._Faulty.left > 0
            crash._arm(0, after=False)
        store = SafetyStore.open(path)
        assert store is None or store.load() == BORN
        (store or SafetyStore.create(path)).close()
        if armed:
            break
    assert failures >= 3


def test_a_full_disk_keeps_the_record(path: Path) -> None:
    with closing(SafetyStore.create(path, _EARLY)) as store:
        pages = store._conn.execute("pragma page_count").fetchone()[0]
        store._conn.execute(f"pragma max_page_count = {pages}")
        with pytest.raises(StorageError):
            store.save(replace(_FULL, bodies=(_block(1), (_block(3)[0], bytes(10**6)))))
    assert _load(path) == _EARLY


def test_a_restored_home_has_no_record(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    restore(home, Backup(KeyPair.generate(), b"card"), PASSPHRASE, START)
    assert home.keys.exists()
    assert not home.safety.exists()
    assert SafetyStore.open(home.safety) is None


if __name__ == "__main__":
    crash._WORK.update(_WORK)
    crash._kill_at_every_statement(sys.argv[1], Path(sys.argv[2]))
