"""Gossip: whatever one validator has pooled, the others get, also who had no room for it at first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from credchain.certificates import Millis
from credchain.errors import CredchainError
from credchain.ledger.transactions import Transaction, decode_batch, encode_batch
from credchain.limits import LIMITS
from credchain.node.admission import Admission
from credchain.node.gossip import TRANSACTIONS, Gossip
from credchain.node.ledger_port import LedgerPort, Opened
from credchain.node.pool import Pool
from tests.unit.test_admission import Calls, Ledger
from tests.unit.test_pool import NOW, SMALL, transaction


class Heard:
    """Links that keep what was sent: (to whom, None for all; the transactions)."""

    def __init__(self) -> None:
        self.frames: list[tuple[int | None, list[bytes]]] = []

    def send(self, to: int | None, data: bytes) -> None:
        assert data.startswith(TRANSACTIONS)
        self.frames.append((to, list(decode_batch(data[1:]))))

    def broadcast(self, data: bytes) -> None:
        self.send(None, data)

    def wires(self) -> list[bytes]:
        found = [wire for _, wires in self.frames for wire in wires]
        self.frames.clear()
        return found


def make(pool: Pool | None = None) -> tuple[Gossip, Pool, Heard]:
    pool = Pool() if pool is None else pool
    calls, heard = Calls(), Heard()
    gossip = Gossip(pool, Admission(cast(LedgerPort, Ledger()), pool, calls.ledger, calls.verify))
    gossip.links = heard
    return gossip, pool, heard


def later(seconds: float) -> Millis:
    return Millis(NOW + int(1_000 * seconds))


async def test_what_is_pooled_in_one_turn_of_the_loop_goes_in_one_frame() -> None:
    gossip, _, heard = make()
    wires = [transaction("A", number).encoded for number in range(3)]
    for each in wires:
        gossip.say(each)
    assert heard.frames == []
    await asyncio.sleep(0)
    assert heard.frames == [(None, wires)]


def test_what_waits_is_said_again_each_second_until_it_is_gone() -> None:
    gossip, pool, heard = make()
    mine, anothers = transaction("A", 0), transaction("B", 0)
    for each in (mine, anothers):
        pool.add(each, NOW)
    gossip.remind(later(0.9))
    assert heard.wires() == []
    gossip.remind(later(1))
    assert heard.wires() == [mine.encoded, anothers.encoded]
    gossip.remind(later(1.9))
    assert heard.wires() == []
    pool.commit(mine.id, lambda: None)  # type: ignore[arg-type, return-value]
    gossip.remind(later(2))
    assert heard.wires() == [anothers.encoded]


def test_reminders_are_bounded_and_each_transaction_has_its_turn() -> None:
    gossip, pool, heard = make()
    large = [transaction("A", number, 1_000) for number in range(5)]
    for each in large:
        pool.add(each, NOW)
    a_time = -(-LIMITS.reminder_bytes // len(large[0].encoded))
    assert 1 <= a_time < len(large)
    said = []
    for second in range(1, 6):
        gossip.remind(later(second))
        now = heard.wires()
        assert len(now) == a_time
        said += now
    assert set(said) == {each.encoded for each in large}


def test_reminders_are_bounded_a_second_however_often_the_node_looks() -> None:
    gossip, pool, heard = make()
    large = [transaction("A", number, 1_000) for number in range(20)]
    for each in large:
        pool.add(each, NOW)
    for eighth in range(1, 5 * 8):
        gossip.remind(later(eighth / 8))
    assert sum(map(len, heard.wires())) <= 4 * (LIMITS.reminder_bytes + len(large[0].encoded))


async def test_who_had_no_room_at_first_learns_of_it_when_there_is_some() -> None:
    """Without reminders, only one validator had it: that one waited for a primary that knew of nothing."""
    here, pool, heard = make()
    there, full, _ = make(Pool(SMALL))
    for number in range(8):
        full.add(transaction("A", number), NOW)
    waits = transaction("A", 8)
    pool.add(waits, NOW)
    here.say(waits.encoded)
    await asyncio.sleep(0)
    await deliver(there, heard.wires())
    assert waits.id not in full
    full.commit(transaction("A", 0).id, lambda: None)  # type: ignore[arg-type, return-value]
    here.remind(later(1))
    await deliver(there, heard.wires())
    assert waits.id in full


async def deliver(gossip: Gossip, wires: list[bytes]) -> None:
    await gossip.turn(0)
    await gossip.receive(0, encode_batch(wires))


async def test_what_is_pooled_already_is_not_looked_at_again() -> None:
    pool, calls, seen = Pool(), Calls(), []

    class Looked(Ledger):
        def admit_all(
            self, found: Sequence[Opened | CredchainError], now: Millis
        ) -> list[Transaction | CredchainError]:
            seen.append(found)
            return []

    gossip = Gossip(pool, Admission(cast(LedgerPort, Looked()), pool, calls.ledger, calls.verify))
    known = transaction("A", 0)
    pool.add(known, NOW)
    await deliver(gossip, [known.encoded])
    assert seen == []


async def test_a_new_link_hears_what_own_clients_wait_for() -> None:
    gossip, pool, heard = make()
    mine, anothers = transaction("A", 0), transaction("B", 0)
    pool.wait(mine, NOW)
    pool.add(anothers, NOW)
    gossip.linked(2)
    assert heard.frames == [(2, [mine.encoded])]
