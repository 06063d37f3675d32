"""The pool of transactions that wait for a block: bounded, and fair between senders."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..certificates import Millis
from ..encoding import Digest
from ..errors import CredchainError, NetworkError
from ..keys import Did
from ..ledger.blocks import Receipt
from ..ledger.transactions import Transaction
from ..limits import LIMITS, Limits

RETRY_AFTER = 2
"""Seconds that a client which is turned away is told to wait."""


@dataclass
class Waiting:
    """A pooled transaction, since when (monotonic), and what its client, if it came from one, waits for.

    ``refused_at`` is when the rules first refused it on the tip, without it having applied since;
    ``looked_at`` is when that was last tried, ``said`` when the other validators were last told of it.
    """

    transaction: Transaction
    since: Millis
    looked_at: Millis
    said: Millis
    done: asyncio.Future[Receipt] | None = None
    refused_at: Millis | None = None


@dataclass
class _Use:
    """What transactions take up: operations cost time, bytes cost memory."""

    operations: int = 0
    size: int = 0

    def add(self, transaction: Transaction, sign: int = 1) -> None:
        self.operations += sign * len(transaction.operations)
        self.size += sign * len(transaction.encoded)

    def fits(self, more: _Use, operations: int, size: int) -> bool:
        return self.operations + more.operations <= operations and self.size + more.size <= size

    def share(self, limits: Limits) -> float:
        """Of the whole pool, by whichever there is more of."""
        return max(self.operations / limits.pool_operations, self.size / limits.pool_bytes)


class Pool:
    """Lives in the event loop's thread. Bounds count operations and bytes.

    When it is full, whoever has the most of it makes room for others: its newest transactions go, and
    their clients are told that the node is busy. A transaction is in here only if its signature holds
    (`LedgerPort.admit`).
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._by_sender: dict[Did, dict[Digest, Waiting]] = {}
        self._by_id: dict[Digest, Waiting] = {}
        self._by_bytes: dict[bytes, Transaction] = {}
        self._uses: dict[Did, _Use] = {}
        self._total = _Use()

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, transaction: Digest) -> Waiting | None:
        return self._by_id.get(transaction)

    def __contains__(self, transaction: Digest) -> bool:
        return transaction in self._by_id

    @property
    def operations(self) -> int:
        return self._total.operations

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return self._total.size

    def add(self, transaction: Transaction, since: Millis) -> Waiting:
        """Its place; the same transaction twice shares one. NetworkError when there is no room for it."""
        known = self._by_id.get(transaction.id)
        if known is not None:
            return known
        self._make_room(transaction)
        waiting = Waiting(transaction, since, looked_at=since, said=since)
        self._by_id[transaction.id] = waiting
        self._by_bytes[transaction.encoded] = transaction
        self._by_sender.setdefault(transaction.sender, {})[transaction.id] = waiting
        self._uses.setdefault(transaction.sender, _Use()).add(transaction)
        self._total.add(transaction)
        return waiting

    def _make_room(self, transaction: Transaction) -> None:
        """NetworkError if its sender has its part, or no other has a larger share than it would have."""
        limits = self._limits
        own = self._uses.get(transaction.sender, _Use())
        more = _Use()
        more.add(transaction)
        if not own.fits(more, limits.pool_operations_per_sender, limits.pool_bytes_per_sender):
            raise _busy()
        share = _Use(own.operations + more.operations, own.size + more.size).share(limits)
        while not self._total.fits(more, limits.pool_operations, limits.pool_bytes):
            largest = max(self._uses, key=lambda sender: self._uses[sender].share(limits))
            if self._uses[largest].share(limits) <= share:
                raise _busy()
            self.refuse(next(reversed(self._by_sender[largest])), _busy())

    def wait(self, transaction: Transaction, since: Millis) -> asyncio.Future[Receipt]:
        """Add it for a client: a future that ends with the receipt, or with the reason why there is none."""
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
        queues = deque(iter(queue.values()) for queue in self._by_sender.values())
        while operations > 0 and queues:
            queue = queues.popleft()
            waiting = next(queue, None)
            if waiting is None:
                continue
            chosen.append(waiting.transaction)
            operations -= len(waiting.transaction.operations)
            queues.append(queue)
        return chosen

    def commit(self, transaction: Digest, receipt: Callable[[], Receipt]) -> None:
        """It is in a block: remove it, and give the receipt to who waits for it."""
        waiting = self._remove(transaction)
        if waiting is not None and waiting.done is not None and not waiting.done.done():
            waiting.done.set_result(receipt())

    def refuse(self, transaction: Digest, problem: CredchainError) -> None:
        """Remove it, and tell who waits for it."""
        waiting = self._remove(transaction)
        if waiting is not None and waiting.done is not None and not waiting.done.done():
            waiting.done.set_exception(problem)

    def _remove(self, transaction: Digest) -> Waiting | None:
        waiting = self._by_id.pop(transaction, None)
        if waiting is None:
            return None
        sender = waiting.transaction.sender
        queue = self._by_sender[sender]
        del queue[transaction]
        self._by_bytes.pop(waiting.transaction.encoded, None)
        self._uses[sender].add(waiting.transaction, -1)
        self._total.add(waiting.transaction, -1)
        if not queue:
            del self._by_sender[sender], self._uses[sender]
        return waiting

    def turn_away(self) -> None:
        """Tell all who wait that this node stops: their transactions are not in a block of it."""
        problem = NetworkError("the node is stopping", hint="ask another node, or this one later")
        for transaction in list(self._by_id):
            self.refuse(transaction, problem)


def _busy() -> NetworkError:
    return NetworkError("the node is busy", field="pool", hint=f"try again after {RETRY_AFTER} seconds")
