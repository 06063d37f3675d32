"""Admission: each transaction is decoded and verified once, in chunks, and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from credchain.certificates import Millis
from credchain.errors import CredchainError, InvalidInput, ProofError
from credchain.ledger.transactions import Transaction
from credchain.limits import LIMITS
from credchain.node.admission import Admission, parts
from credchain.node.ledger_port import LedgerPort, Opened
from credchain.node.pool import Pool
from tests.unit.test_pool import NOW, transaction
from tests.values import replace


class Ledger:
    """Takes whatever is signed."""

    def admit_all(
        self, found: Sequence[Opened | CredchainError], now: Millis
    ) -> list[Transaction | CredchainError]:
        def one(each: Opened | CredchainError) -> Transaction | CredchainError:
            if isinstance(each, CredchainError):
                return each
            return each.transaction if each.signed else ProofError("unsigned")

        return [one(each) for each in found]


class Calls:
    """Runs functions at once, and keeps how many transactions each verified."""

    def __init__(self) -> None:
        self.verified = 0

    async def verify(self, function: Callable[[], Any]) -> Any:
        await asyncio.sleep(0)
        found = function()
        self.verified += len(found)
        return found

    async def ledger(self, function: Callable[[], Any]) -> Any:
        await asyncio.sleep(0)
        return function()


def make() -> tuple[Admission, Pool, Calls]:
    pool, calls = Pool(), Calls()
    return Admission(cast(LedgerPort, Ledger()), pool, calls.ledger, calls.verify), pool, calls


async def test_many_come_back_in_order_with_what_is_wrong_in_its_place() -> None:
    admission, _, _ = make()
    good = [transaction("A", number) for number in range(20)]
    forged = replace(good[3], signature=bytes(64))
    wires = [each.encoded for each in good[:3]] + [forged.encoded, b"junk"] + [good[4].encoded]
    found = await admission.admit(wires)
    assert found[:3] == good[:3]
    assert isinstance(found[3], ProofError)
    assert isinstance(found[4], InvalidInput)
    assert found[5] == good[4]


async def test_each_is_verified_once_however_often_it_comes() -> None:
    admission, pool, calls = make()
    wires = [transaction("A", number).encoded for number in range(5)]
    await asyncio.gather(admission.admit(wires), admission.open(wires), admission.admit(wires + wires))
    assert calls.verified == 5
    for each in await admission.admit(wires):
        assert isinstance(each, Transaction)
        pool.add(each, NOW)
    opened = await admission.open(wires)
    assert [each.transaction.encoded for each in opened if isinstance(each, Opened)] == wires
    assert calls.verified == 5


async def test_other_bytes_of_the_same_id_are_verified_anew() -> None:
    admission, _, calls = make()
    signed = transaction("A", 0)
    forged = replace(signed, signature=bytes(64))
    good, bad = await admission.admit([signed.encoded, forged.encoded])
    assert good == signed
    assert isinstance(bad, ProofError)
    assert calls.verified == 2


async def test_what_was_opened_is_forgotten_for_the_memory_that_it_takes_not_for_its_few_bytes() -> None:
    """Counted by their bytes on the wire, 12,000 small transactions held 60 MB."""
    admission, _, calls = make()
    most = LIMITS.opened_bytes // 4_096
    first = transaction("A", 0).encoded
    some = [transaction("B", number).encoded for number in range(100)]
    await admission.open([first, *some])
    for number in range(most // len(some) + 1):
        forged = [wire[:-8] + number.to_bytes(8, "big") for wire in some]
        await admission.open(forged)
    before = calls.verified
    await admission.open(forged)
    assert calls.verified == before
    await admission.open([first])
    assert calls.verified == before + 1


def test_pieces_are_bounded_and_whole() -> None:
    wires = [bytes(LIMITS.admission_bytes // 3) for _ in range(10)]
    pieces = parts(wires)
    assert [each for piece in pieces for each in piece] == wires
    assert {len(piece) for piece in pieces[:-1]} == {4}
    small = [bytes([each % 256]) for each in range(2_500)]
    assert [len(piece) for piece in parts(small)] == [1_000, 1_000, 500]


async def test_who_waits_for_what_another_has_begun_hears_of_its_error() -> None:
    """Cancelled instead, the execution of a block would end without an answer, and its height never."""

    async def fails(function: Callable[[], Any]) -> Any:
        await asyncio.sleep(0)
        raise MemoryError

    calls = Calls()
    admission = Admission(cast(LedgerPort, Ledger()), Pool(), calls.ledger, fails)
    wires = [transaction("A", 1).encoded]
    both = await asyncio.gather(*(admission.open(wires) for _ in range(2)), return_exceptions=True)
    assert [type(each) for each in both] == [MemoryError, MemoryError]
