"""The driver's own work beside the consensus: an error in it is never lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from credchain.certificates import Millis
from credchain.consensus.replica import Replica
from credchain.node.clock import both
from credchain.node.driver import Driver
from credchain.node.ledger_port import LedgerPort
from credchain.node.pool import Pool
from tests.ledger_world import did
from tests.unit.test_admission import Calls
from tests.unit.test_pool import transaction


class _Ledger:
    """At height 1, alone; whatever reads its state to look at what waits meets a defect."""

    tip = SimpleNamespace(height=1, time=0)
    alone = True

    def refusals(self, *_: Any) -> None:
        raise RuntimeError("a defect")


class _Replica:
    deadline = None

    def standing(self) -> Any:
        return SimpleNamespace(behind=False, opened=Millis(0))


async def test_an_error_in_looking_at_what_waits_ends_the_node() -> None:
    """It once ended the looking and the reminders instead, silently and for good."""
    pool, calls = Pool(), Calls()
    driver = Driver(
        cast(Replica, _Replica()),
        cast(LedgerPort, _Ledger()),
        pool,
        cast(Any, None),
        did("A"),
        calls.ledger,
        calls.ledger,
        calls.verify,
    )
    pool.add(transaction("A", 0), both().monotonic)
    async with asyncio.timeout(30):
        with pytest.raises(RuntimeError, match="a defect"):
            await driver.run()
