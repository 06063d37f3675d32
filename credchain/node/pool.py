"""The pool of transactions that wait for a block: bounded, and fair between senders."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass

from ..encoding import Digest
from ..errors import CredchainError, NetworkError
from ..keys import Did
from ..ledger.transactions import Transaction
from ..limits import LIMITS

RETRY_AFTER = 2
"""Seconds that a client which is turned away is told to wait."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pooled transaction, and what its client waits for."""

    transaction: Transaction
    done: asyncio.Future[None]


class Pool:
    """Lives in the event loop's thread. Bounds count operations, since those cost."""

    def __init__(self) -> None:
        self._by_sender: OrderedDict[Did, deque[Waiting]] = OrderedDict()
        self._by_id: dict[Digest, Waiting] = {}
        self._operations: dict[Did, int] = {}
        self.arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def operations(self) -> int:
        return sum(self._operations.values())

    def add(self, transaction: Transaction) -> asyncio.Future[None]:
        """A future that ends when the transaction is in a block, or with the reason why it is not.

        The same transaction twice shares one place. NetworkError when the pool is full.
        """
        known = self._by_id.get(transaction.id)
        if known is not None:
            return known.done
        size = len(transaction.operations)
        own = self._operations.get(transaction.sender, 0)
        if own + size > LIMITS.pool_operations_per_sender or self.operations + size > LIMITS.pool_operations:
            raise NetworkError(
                "the node is busy", field="pool", hint=f"try again after {RETRY_AFTER} seconds"
            )
        waiting = Waiting(transaction, asyncio.get_running_loop().create_future())
        # A client may have gone when the outcome is set: that is no error of ours.
        waiting.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._by_id[transaction.id] = waiting
        self._by_sender.setdefault(transaction.sender, deque()).append(waiting)
        self._operations[transaction.sender] = own + size
        self.arrived.set()
        return waiting.done

    def candidates(self, operations: int) -> list[Transaction]:
        """At least this many operations, if there are, one transaction of each sender in turn."""
        chosen: list[Transaction] = []
        queues = [list(queue) for queue in self._by_sender.values()]
        turn = 0
        while operations > 0 and any(turn < len(queue) for queue in queues):
            for queue in queues:
                if turn < len(queue) and operations > 0:
                    chosen.append(queue[turn].transaction)
                    operations -= len(queue[turn].transaction.operations)
            turn += 1
        return chosen

    def settle(self, transaction: Digest, problem: CredchainError | None) -> None:
        """Remove a transaction and tell who waits for it."""
        waiting = self._by_id.pop(transaction, None)
        if waiting is None:
            return
        sender = waiting.transaction.sender
        queue = self._by_sender[sender]
        queue.remove(waiting)
        self._operations[sender] -= len(waiting.transaction.operations)
        if not queue:
            del self._by_sender[sender], self._operations[sender]
        if not self._by_id:
            self.arrived.clear()
        if waiting.done.done():
            return
        if problem is None:
            waiting.done.set_result(None)
        else:
            waiting.done.set_exception(problem)

    def turn_away(self) -> None:
        """Tell all who wait that this node stops: their transactions are not in a block of it."""
        problem = NetworkError("the node is stopping", hint="ask another node, or this one later")
        for transaction in list(self._by_id):
            self.settle(transaction, problem)
