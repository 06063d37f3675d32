"""The pool of transactions that wait for a block: bounded, and fair between senders."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from ..certificates import Millis
from ..encoding import Digest
from ..errors import CredchainError, NetworkError
from ..keys import Did
from ..ledger.transactions import Transaction
from ..limits import LIMITS

RETRY_AFTER = 2
"""Seconds that a client which is turned away is told to wait."""


@dataclass
class Waiting:
    """A pooled transaction, since when (monotonic), and what its client, if it came from one, waits for.

    ``refused_at`` is when the rules first refused it on the tip, without it having applied since.
    """

    transaction: Transaction
    since: Millis
    done: asyncio.Future[None] | None = None
    refused_at: Millis | None = None


class Pool:
    """Lives in the event loop's thread. Bounds count operations, since those cost.

    A transaction is in here only if its signature holds (`LedgerPort.admit`).
    """

    def __init__(self) -> None:
        self._by_sender: OrderedDict[Did, deque[Waiting]] = OrderedDict()
        self._by_id: dict[Digest, Waiting] = {}
        self._by_bytes: dict[bytes, Transaction] = {}
        self._operations: dict[Did, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, transaction: Digest) -> Waiting | None:
        return self._by_id.get(transaction)

    def __contains__(self, transaction: Digest) -> bool:
        return transaction in self._by_id

    @property
    def operations(self) -> int:
        return self._total

    def add(self, transaction: Transaction, since: Millis) -> Waiting:
        """Its place; the same transaction twice shares one. NetworkError when the pool is full."""
        known = self._by_id.get(transaction.id)
        if known is not None:
            return known
        size = len(transaction.operations)
        own = self._operations.get(transaction.sender, 0)
        if own + size > LIMITS.pool_operations_per_sender or self._total + size > LIMITS.pool_operations:
            raise NetworkError(
                "the node is busy", field="pool", hint=f"try again after {RETRY_AFTER} seconds"
            )
        waiting = Waiting(transaction, since)
        self._by_id[transaction.id] = waiting
        self._by_bytes[transaction.encoded] = transaction
        self._by_sender.setdefault(transaction.sender, deque()).append(waiting)
        self._operations[transaction.sender] = own + size
        self._total += size
        return waiting

    def wait(self, transaction: Transaction, since: Millis) -> asyncio.Future[None]:
        """Add it for a client: a future that ends when it is in a block, or with the reason why not."""
        waiting = self.add(transaction, since)
        if waiting.done is None:
            waiting.done = asyncio.get_running_loop().create_future()
            # A client may have gone when the outcome is set: that is no error of ours.
            waiting.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        return waiting.done

    def verified(self, wire: bytes) -> Transaction | None:
        """The pooled transaction with exactly these bytes, signature included."""
        return self._by_bytes.get(wire)

    def __iter__(self) -> Iterator[Waiting]:
        """In the order of arrival."""
        return iter(self._by_id.values())

    def candidates(self, operations: int) -> list[Transaction]:
        """At least this many operations, if there are, one transaction of each sender in turn."""
        chosen: list[Transaction] = []
        queues = deque(iter(queue) for queue in self._by_sender.values())
        while operations > 0 and queues:
            queue = queues.popleft()
            waiting = next(queue, None)
            if waiting is None:
                continue
            chosen.append(waiting.transaction)
            operations -= len(waiting.transaction.operations)
            queues.append(queue)
        return chosen

    def settle(self, transaction: Digest, problem: CredchainError | None) -> None:
        """Remove a transaction and tell who waits for it."""
        waiting = self._by_id.pop(transaction, None)
        if waiting is None:
            return
        size = len(waiting.transaction.operations)
        sender = waiting.transaction.sender
        queue = self._by_sender[sender]
        if queue[0] is waiting:
            queue.popleft()
        else:
            queue.remove(waiting)
        self._by_bytes.pop(waiting.transaction.encoded, None)
        self._operations[sender] -= size
        self._total -= size
        if not queue:
            del self._by_sender[sender], self._operations[sender]
        done = waiting.done
        if done is None or done.done():
            return
        if problem is None:
            done.set_result(None)
        else:
            done.set_exception(problem)

    def turn_away(self) -> None:
        """Tell all who wait that this node stops: their transactions are not in a block of it."""
        problem = NetworkError("the node is stopping", hint="ask another node, or this one later")
        for transaction in list(self._by_id):
            self.settle(transaction, problem)
