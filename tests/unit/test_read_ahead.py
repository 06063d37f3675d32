"""Reading ahead: every key has the answer that a query for it alone has, in few queries."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import pytest

from credchain.encoding import Digest
from credchain.storage.read_ahead import AT_ONCE, ReadAhead
from credchain.storage.sqlite import insert, select_in
from tests.ledger_world import some_digest

KEYS = [some_digest(f"key {number}") for number in range(1_000)]
STORED = {key: number for number, key in enumerate(KEYS) if number % 3}


class Store:
    def __init__(self) -> None:
        self.asked: list[int] = []

    def read(self, keys: Sequence[Digest]) -> dict[Digest, int]:
        assert len(set(keys)) == len(keys)
        self.asked.append(len(keys))
        return {key: STORED[key] for key in keys if key in STORED}


def test_keys_in_their_order_take_few_queries() -> None:
    store = Store()
    ahead = ReadAhead(KEYS, store.read)
    assert [ahead.value(key) for key in KEYS] == [STORED.get(key) for key in KEYS]
    assert len(store.asked) == -(-len(KEYS) // AT_ONCE)
    assert [ahead.value(key) for key in reversed(KEYS)] == [STORED.get(key) for key in reversed(KEYS)]
    assert sum(store.asked) == len(KEYS)


def test_keys_out_of_order_twice_or_unexpected_are_right_too() -> None:
    ahead = ReadAhead([*KEYS[:400], *KEYS[:400]], Store().read)
    asked = [KEYS[399], KEYS[0], KEYS[900], KEYS[900], KEYS[1], KEYS[301]]
    assert [ahead.value(key) for key in asked] == [STORED.get(key) for key in asked]


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 200])
def test_many_rows_go_in_and_come_out(count: int) -> None:
    conn = sqlite3.connect(":memory:")
    conn.execute("create table t (key blob primary key, value int)")
    rows = [(key, number) for number, key in enumerate(KEYS[:count])]
    insert(conn, "t", rows)
    insert(conn, "t", rows, "on conflict (key) do update set value = excluded.value + 1")
    found = select_in(conn, "key, value", "t", "key", KEYS[: count + 1])
    assert sorted(found) == sorted((key, number + 1) for key, number in rows)
