"""The pool: bounded in operations and bytes, and fair when it is full."""

from __future__ import annotations

from functools import cache

import pytest

from credchain.certificates import Millis
from credchain.errors import NetworkError, Rejected
from credchain.ledger.operations import Attest
from credchain.ledger.transactions import Transaction
from credchain.limits import LIMITS
from credchain.node.pool import Pool
from tests.ledger_world import START, did, signing_key, some_digest
from tests.values import replace

NOW = Millis(1_000)
SMALL = replace(LIMITS, pool_operations=10, pool_operations_per_sender=8)


@cache
def transaction(sender: str, number: int, operations: int = 1) -> Transaction:
    attests = tuple(
        Attest("board_certification", some_digest(f"{sender} {number} {each}"), some_digest("c"), START)
        for each in range(operations)
    )
    return Transaction.sign(some_digest("network"), did(sender), signing_key(sender), START, attests)


def fill(pool: Pool, sender: str, count: int) -> None:
    for number in range(count):
        pool.add(transaction(sender, number), NOW)


def numbers(pool: Pool, sender: str) -> list[int]:
    """Which of a sender's transactions are there, in order."""
    there = [each.transaction for each in pool if each.transaction.sender == did(sender)]
    return [next(n for n in range(20) if transaction(sender, n) == each) for each in there]


def test_one_sender_cannot_have_more_than_its_part() -> None:
    pool = Pool(SMALL)
    fill(pool, "A", 8)
    with pytest.raises(NetworkError, match="busy"):
        pool.add(transaction("A", 8), NOW)
    assert (len(pool), pool.operations) == (8, 8)


def test_the_newest_of_the_largest_makes_room_for_who_has_less() -> None:
    pool = Pool(SMALL)
    fill(pool, "A", 8)
    fill(pool, "B", 5)
    assert numbers(pool, "A") == [0, 1, 2, 3, 4]
    assert numbers(pool, "B") == [0, 1, 2, 3, 4]
    assert pool.operations == 10


def test_who_would_have_as_much_as_the_largest_is_turned_away() -> None:
    pool = Pool(SMALL)
    fill(pool, "A", 5)
    fill(pool, "B", 5)
    for sender in ("A", "B"):
        with pytest.raises(NetworkError, match="busy"):
            pool.add(transaction(sender, 5), NOW)
    assert numbers(pool, "A") == numbers(pool, "B") == [0, 1, 2, 3, 4]


async def test_the_client_of_what_went_is_told_that_the_node_is_busy() -> None:
    pool = Pool(SMALL)
    waiting = [pool.wait(transaction("A", number), NOW) for number in range(8)]
    fill(pool, "B", 3)
    assert [each.done() for each in waiting] == [False] * 7 + [True]
    problem = waiting[-1].exception()
    assert isinstance(problem, NetworkError)
    assert problem.hint == "try again after 2 seconds"
    assert pool.verified(transaction("A", 7).encoded) is None


def test_bytes_count_as_well() -> None:
    size = len(transaction("A", 0).encoded)
    pool = Pool(replace(LIMITS, pool_bytes=4 * size, pool_bytes_per_sender=3 * size))
    fill(pool, "A", 3)
    with pytest.raises(NetworkError, match="busy"):
        pool.add(transaction("A", 3), NOW)
    fill(pool, "B", 2)
    assert (numbers(pool, "A"), numbers(pool, "B")) == ([0, 1], [0, 1])
    assert pool.size == sum(len(each.transaction.encoded) for each in pool)


def test_a_large_transaction_displaces_as_many_as_it_needs() -> None:
    pool = Pool(SMALL)
    fill(pool, "A", 8)
    pool.add(transaction("B", 0, operations=4), NOW)
    assert numbers(pool, "A") == [0, 1, 2, 3, 4, 5]
    with pytest.raises(NetworkError, match="busy"):
        pool.add(transaction("C", 0, operations=9), NOW)


def test_the_same_transaction_has_one_place() -> None:
    pool = Pool(SMALL)
    assert pool.add(transaction("A", 0), NOW) is pool.add(transaction("A", 0), NOW)
    assert (len(pool), pool.operations) == (1, 1)


def test_known_by_the_whole_bytes_only() -> None:
    pool = Pool(SMALL)
    signed = transaction("A", 0)
    forged = replace(signed, signature=bytes(64))
    pool.add(signed, NOW)
    assert forged.id == signed.id
    assert pool.verified(signed.encoded) is signed
    assert pool.verified(forged.encoded) is None


async def test_nothing_is_left_of_what_was_settled() -> None:
    pool = Pool(SMALL)
    waiting = [pool.wait(transaction("A", number), NOW) for number in range(3)]
    pool.refuse(transaction("A", 1).id, Rejected("attested", "once"))
    assert isinstance(waiting[1].exception(), Rejected)
    assert numbers(pool, "A") == [0, 2]
    for number in (2, 0):
        pool.refuse(transaction("A", number).id, Rejected("attested", "once"))
    assert (len(pool), pool.operations, pool.size) == (0, 0, 0)
    fill(pool, "A", 8)  # its part is whole again


def test_senders_take_turns() -> None:
    pool = Pool(SMALL)
    fill(pool, "A", 4)
    fill(pool, "B", 2)
    chosen = [each.sender for each in pool.candidates(5)]
    assert chosen == [did(each) for each in ("A", "B", "A", "B", "A")]
