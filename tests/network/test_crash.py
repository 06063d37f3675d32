"""Crashes and faults at each single write: afterwards the database holds the old or the new, whole.

Run as a program, this module is the victim: for n = 1, 2, 3, … it forks a child that does a piece of
work and kills itself with SIGKILL in front of the n-th SQL statement, until a child gets to the end.
The tests then open what was left.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from credchain.certificates import Height, Millis
from credchain.encoding import Digest
from credchain.errors import InvalidInput, StorageError
from credchain.node.ledger_port import LedgerPort
from credchain.storage.audit import audit
from credchain.storage.member_store import COMMITTED, PENDING, REFUSED, Envelope, Issued, MemberStore

from .node_process import PATIENCE, ROOT, environment, history

_LAST: Final = len(history().blocks)
_REAL_CONNECT: Final = sqlite3.connect
_NETWORK: Final = Digest(b"n" * 32)


# --- the pieces of work -----------------------------------------------------------------------


def _found_ledger(path: Path) -> None:
    LedgerPort(path, history().network).close()


def _commit_block(path: Path, height: int) -> None:
    port = LedgerPort(path, history().network)
    assert port.tip.height == height - 1
    block, certificate = history().blocks[height - 1]
    executed = port.validate(block)
    _start_counting()
    port.commit(executed, certificate)


def _deposit(path: Path) -> None:
    port = LedgerPort(path, history().network)
    _start_counting()
    port.deposit(history().documents[6])


def _row(number: int, envelope: int | None = None) -> Issued:
    return Issued(
        row=Digest(bytes([number]) * 32),
        envelope=envelope,
        state="",
        attestation=Digest(bytes([100 + number]) * 32),
        category="board_certification",
        npi="1000000004",
        subject=Digest(b"s" * 32),
        credential=Digest(bytes([200 + number]) * 32),
        document=f"document {number}~",
        claims={"number": number},
        matching="",
        valid_from=Millis(0),
        valid_until=None,
    )


_ROWS: Final = [_row(number) for number in range(1, 4)]


def _enqueue(store: MemberStore, number: int = 1) -> Envelope:
    identifier = Digest(bytes([number]) * 32)
    return store.enqueue(identifier, f"bytes {number}".encode(), Millis(1000), Millis(1), _ROWS)


def _found_member(path: Path) -> None:
    MemberStore(path, _NETWORK).close()


def _member_enqueue(path: Path) -> None:
    with closing(MemberStore(path, _NETWORK)) as store:
        _start_counting()
        _enqueue(store)


def _member_commit(path: Path) -> None:
    with closing(MemberStore(path, _NETWORK)) as store:
        (envelope,) = store.pending()
        _start_counting()
        store.commit(envelope, Height(7), Millis(700), b"receipt")


def _member_refuse(path: Path) -> None:
    with closing(MemberStore(path, _NETWORK)) as store:
        (envelope,) = store.pending()
        _start_counting()
        store.refuse(envelope, "because")


def _member_resign(path: Path) -> None:
    with closing(MemberStore(path, _NETWORK)) as store:
        (envelope,) = store.pending()
        _start_counting()
        store.resign(envelope, Digest(b"2" * 32), b"bytes 2", Millis(2000))


def _nothing(path: Path) -> None:
    """Before it there is no file."""


def _blocks_before(height: int) -> Callable[[Path], None]:
    def prepare(path: Path) -> None:
        history().file(path, height - 1)

    return prepare


def _block(height: int) -> Callable[[Path], None]:
    return lambda path: _commit_block(path, height)


def _one_pending(path: Path) -> None:
    store = MemberStore(path, _NETWORK)
    _enqueue(store)
    store.close()


_WORK: Final[dict[str, tuple[Callable[[Path], None], Callable[[Path], None], bool]]] = {
    "genesis": (_nothing, _found_ledger, True),
    **{f"block {height}": (_blocks_before(height), _block(height), False) for height in range(1, _LAST + 1)},
    "deposit": (_blocks_before(_LAST + 1), _deposit, False),
    "member": (_nothing, _found_member, True),
    "enqueue": (_found_member, _member_enqueue, False),
    "commit": (_one_pending, _member_commit, False),
    "refuse": (_one_pending, _member_refuse, False),
    "resign": (_one_pending, _member_resign, False),
}
"""By name: what is there before, what is done, and whether opening the database counts too."""


# --- the victim -------------------------------------------------------------------------------


class _Counter:
    """Kills this process in front of its n-th statement; counts only while it is started."""

    def __init__(self, last: int) -> None:
        self.left = last
        self.started = False

    def __call__(self, statement: str) -> None:
        if self.started:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)


_counter = _Counter(0)


def _start_counting() -> None:
    _counter.started = True


def _connect_and_trace(*arguments: Any, **how: Any) -> sqlite3.Connection:
    conn: sqlite3.Connection = _REAL_CONNECT(*arguments, **how)
    conn.set_trace_callback(_counter)
    return conn


def _kill_at_every_statement(name: str, folder: Path) -> None:
    """Prints how many statements the work has; databases are left as 1.db, 2.db, …"""
    prepare, work, whole = _WORK[name]
    for number in range(1, 10_000):
        path = folder / f"{number}.db"
        prepare(path)
        child = os.fork()
        if not child:
            _counter.left, _counter.started = number, whole
            sqlite3.connect = _connect_and_trace  # type: ignore[assignment]
            work(path)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            sys.stdout.write(f"{number - 1}\n")
            return
        assert os.WIFSIGNALED(status), f"statement {number}: the child failed"
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError("the work does not end")


def _victims(name: str, folder: Path) -> Iterator[Path]:
    """The databases after a kill in front of each statement, and last one of a whole run."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.network.test_crash", name, str(folder)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    count = int(done.stdout)
    assert count >= 3, "begin, a write and commit at least"
    for number in range(1, count + 2):
        yield folder / f"{number}.db"


# --- what must hold afterwards ----------------------------------------------------------------


def _check_ledger(path: Path, heights: Iterable[int]) -> int:
    """It opens at one of these heights, whole; the audit passes; the next blocks can follow."""
    port = LedgerPort(path, history().network)
    height = port.tip.height
    assert height in heights
    genesis = history().network.genesis
    expected = history().tip_at(height) if height else (genesis.network, genesis.state_map().root)
    assert (port.tip.digest, port.tip.state_map.root) == expected
    port.close()
    assert audit(path, history().network).height == height
    port = LedgerPort(path, history().network)
    history().deposit(port)
    after = min(height + 1, _LAST)
    history().continue_(port, after)
    assert port.tip.height == after
    port.close()
    assert audit(path, history().network).height == after
    return height


def test_a_kill_at_each_statement_of_founding_a_ledger(tmp_path: Path) -> None:
    for path in _victims("genesis", tmp_path):
        assert _check_ledger(path, {0}) == 0


@pytest.mark.parametrize("height", range(1, _LAST + 1))
def test_a_kill_at_each_statement_of_a_block(tmp_path: Path, height: int) -> None:
    found = [_check_ledger(path, {height - 1, height}) for path in _victims(f"block {height}", tmp_path)]
    assert found == sorted(found), "once it is stored, it stays stored"
    assert {height - 1, height} == set(found)


def test_a_kill_at_each_statement_of_a_deposit(tmp_path: Path) -> None:
    for path in _victims("deposit", tmp_path):
        _check_ledger(path, {_LAST})


# --- statements that fail ---------------------------------------------------------------------


class _Faulty(sqlite3.Connection):
    """Fails at the n-th call: before doing it ("lost") or after it ("stored, but reported failed")."""

    left = 0
    after = False

    def _count(self) -> bool:
        _Faulty.left -= 1
        return _Faulty.left == 0

    def _run(self, call: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        failing = self._count()
        if failing and not _Faulty.after:
            raise sqlite3.OperationalError("disk I/O error")
        cursor = call()
        if failing:
            raise sqlite3.OperationalError("disk I/O error")
        return cursor

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        return self._run(lambda: super(_Faulty, self).execute(*arguments))

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        return self._run(lambda: super(_Faulty, self).executemany(*arguments))


@contextmanager
def _fault(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    _Faulty.left = 0
    opened: list[sqlite3.Connection] = []

    def connect(*arguments: Any, **how: Any) -> sqlite3.Connection:
        opened.append(_REAL_CONNECT(*arguments, factory=_Faulty, **how))
        return opened[-1]

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", connect)
        yield
    for conn in opened:  # a constructor that failed gives nothing to close
        conn.close()


def _arm(number: int, *, after: bool) -> None:
    _Faulty.left, _Faulty.after = number, after


_FAULTS: Final = pytest.mark.parametrize("after", [False, True], ids=["lost", "stored_but_reported_failed"])


@_FAULTS
@pytest.mark.parametrize("height", range(1, _LAST + 1))
def test_a_fault_at_each_call_of_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, height: int, after: bool
) -> None:
    found: set[int] = set()
    failures = 0
    for number in range(1, 10_000):
        path = history().file(tmp_path / f"{number}.db", height - 1)
        with _fault(monkeypatch):
            port = LedgerPort(path, history().network)
            executed = port.validate(history().blocks[height - 1][0])
            _arm(number, after=after)
            try:
                port.commit(executed, history().blocks[height - 1][1])
            except StorageError:
                failures += 1
            armed = _Faulty.left > 0
            _arm(0, after=False)
            port.close()
        found.add(_check_ledger(path, {height - 1, height}))
        if armed:
            break
    assert failures >= 3
    assert found == {height - 1, height}


@_FAULTS
def test_a_fault_at_each_call_of_founding_a_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    failures = 0
    for number in range(1, 10_000):
        path = tmp_path / f"{number}.db"
        with _fault(monkeypatch):
            _arm(number, after=after)
            try:
                LedgerPort(path, history().network).close()
            except StorageError:
                failures += 1
            armed = _Faulty.left > 0
            _arm(0, after=False)
        _check_ledger(path, {0})
        if armed:
            break
    assert failures >= 3


@_FAULTS
def test_a_fault_at_each_call_of_a_deposit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    failures = 0
    for number in range(1, 10_000):
        path = history().file(tmp_path / f"{number}.db")
        with closing(_REAL_CONNECT(path)) as conn, conn:
            conn.execute("delete from documents")
        with _fault(monkeypatch):
            port = LedgerPort(path, history().network)
            _arm(number, after=after)
            try:
                port.deposit(history().documents[1][:1] + history().documents[6])
            except StorageError:
                failures += 1
            armed = _Faulty.left > 0
            _arm(0, after=False)
            port.close()
        assert audit(path, history().network).documents in (0, 2)
        if armed:
            break
    assert failures >= 3


@_FAULTS
def test_a_refused_deposit_does_not_hurt_the_next_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """A store that reported a failure can be used again where it says that nothing was stored."""
    path = history().file(tmp_path / "ledger.db", 2)
    with _fault(monkeypatch):
        port = LedgerPort(path, history().network)
        _arm(1, after=after)
        with pytest.raises(StorageError):
            port.deposit(history().documents[1][:1])
        _arm(0, after=False)
        port.close()
    _check_ledger(path, {2})


# --- the member's database --------------------------------------------------------------------


def _state(path: Path) -> tuple[Any, ...]:
    """(envelopes, rows) as they are stored."""
    MemberStore(path, _NETWORK).close()
    with closing(sqlite3.connect(path)) as conn:
        envelopes = conn.execute(
            "select transaction_id, bytes, expiry, state, height, receipt, problem from envelopes order by id"
        ).fetchall()
        rows = conn.execute(
            "select row, envelope, state, height, document from issued order by rowid"
        ).fetchall()
    return envelopes, rows


def _after(prepare: Callable[[Path], None], work: Callable[[Path], None], path: Path) -> tuple[Any, Any]:
    """The states before and after the work, undisturbed."""
    prepare(path)
    before = _state(path)
    work(path)
    return before, _state(path)


_MEMBER_WORK: Final = pytest.mark.parametrize("name", ["enqueue", "commit", "refuse", "resign"])


@_MEMBER_WORK
def test_a_kill_at_each_statement_of_the_outbox(tmp_path: Path, name: str) -> None:
    prepare, work, _ = _WORK[name]
    old, new = _after(prepare, work, tmp_path / "whole.db")
    assert old != new
    found = [_state(path) for path in _victims(name, tmp_path)]
    assert all(each in (old, new) for each in found)
    stored = [each == new for each in found]
    assert stored == sorted(stored)
    assert {False, True} == set(stored)


def test_a_kill_at_each_statement_of_founding_the_members_database(tmp_path: Path) -> None:
    for path in _victims("member", tmp_path):
        store = MemberStore(path, _NETWORK)
        assert store.pending() == []
        envelope = _enqueue(store)
        assert store.pending() == [envelope]
        store.close()
        assert path.stat().st_mode & 0o777 == 0o600


@_MEMBER_WORK
@_FAULTS
def test_a_fault_at_each_call_of_the_outbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: bool
) -> None:
    prepare, work, _ = _WORK[name]
    old, new = _after(prepare, work, tmp_path / "whole.db")
    found: list[Any] = []
    failures = 0
    for number in range(1, 10_000):
        path = tmp_path / f"{number}.db"
        prepare(path)
        with _fault(monkeypatch), monkeypatch.context() as patched:
            patched.setattr(sys.modules[__name__], "_start_counting", lambda at=number: _arm(at, after=after))
            try:
                work(path)
            except StorageError:
                failures += 1
            armed = _Faulty.left > 0
            _arm(0, after=False)
        found.append(_state(path))
        assert found[-1] in (old, new)
        if armed:
            break
    assert failures >= 3
    assert new in found
    assert old in found


def test_what_the_outbox_work_is_meant_to_do(tmp_path: Path) -> None:
    """The states that the tests above compare with are the right ones."""
    path = tmp_path / "member.db"
    store = MemberStore(path, _NETWORK)
    envelope = _enqueue(store)
    assert [row.row for row in store.rows_of(envelope)] == [row.row for row in _ROWS]
    assert {row.state for row in store.rows_of(envelope)} == {PENDING}
    store.refuse(envelope, "because")
    assert store.pending() == []
    refused = [store.issued(row.row) for row in _ROWS]
    assert {row.state for row in refused if row} == {REFUSED}
    assert [row.document for row in refused if row] == [row.document for row in _ROWS]
    second = _enqueue(store, 2)
    store.commit(second, Height(7), Millis(700), b"receipt")
    assert {row.state for row in store.rows_of(second)} == {COMMITTED}
    assert [row.height for row in store.undelivered(10)] == [7, 7, 7]
    assert [row.row for row in store.undelivered(2)] == [row.row for row in _ROWS[:2]]
    store.mark_delivered([row.row for row in _ROWS])
    assert store.undelivered(10) == []
    found = store.envelope(second.id)
    assert found is not None
    assert (found.state, found.height, found.receipt) == (COMMITTED, 7, b"receipt")
    store.close()


def test_another_networks_envelopes_are_not_this_ones(tmp_path: Path) -> None:
    path = tmp_path / "member.db"
    store = MemberStore(path, _NETWORK)
    _enqueue(store)
    store.close()
    other = MemberStore(path, Digest(b"o" * 32))
    assert other.pending() == []
    assert other.issued_list() == []
    assert other.undelivered(10) == []
    other.close()


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough for one" * 200, b"SQLite format 3\x00"]
)
def test_a_members_database_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "member.db"
    path.write_bytes(content)
    with pytest.raises((StorageError, InvalidInput)):
        MemberStore(path, _NETWORK)


if __name__ == "__main__":
    _kill_at_every_statement(sys.argv[1], Path(sys.argv[2]))
