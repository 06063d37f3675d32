"""Transactions on their way into the pool: each decoded and verified once, in chunks.

What comes while a chunk is being checked makes the next one, so one transaction alone waits for nothing,
and under load a chunk shares the two changes of thread: to the few that verify signatures, so that the
event loop stays responsive (libsodium runs without Python's lock), and to the ledger's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import CredchainError
from ..ledger.transactions import Transaction
from ..limits import LIMITS
from .calls import Call
from .clock import now
from .ledger_port import LedgerPort, Opened, opened
from .pool import Pool

VERIFIERS = 2
"""Threads that decode and verify."""

_LEAST = 8
"""Transactions that are worth another thread."""

Admitted = Transaction | CredchainError
"""A transaction that may be pooled, or why not."""


@dataclass(eq=False)
class _Asked:
    """Some transactions, and who waits to hear of them."""

    wires: Sequence[bytes]
    answer: asyncio.Future[list[Admitted]]


class Admission:
    """Lives in the event loop's thread; ``on_verifiers`` and ``on_ledger`` run functions on theirs."""

    def __init__(self, ledger: LedgerPort, pool: Pool, on_ledger: Call, on_verifiers: Call) -> None:
        self._ledger = ledger
        self._pool = pool
        self._on_ledger = on_ledger
        self._on_verifiers = on_verifiers
        self._asked: deque[_Asked] = deque()
        self._opened: dict[bytes, asyncio.Future[Opened | CredchainError]] = {}
        self._opened_bytes = 0
        self._running: asyncio.Task[None] | None = None

    async def admit(self, wires: Sequence[bytes]) -> list[Admitted]:
        """Each decoded and checked as `LedgerPort.admit` says, in order. Errors: StorageError."""
        loop = asyncio.get_running_loop()
        asked = [_Asked(part, loop.create_future()) for part in parts(wires)]
        self._asked += asked
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return [each for part in asked for each in await part.answer]

    async def _run(self) -> None:
        while self._asked:
            chunk = self._next_chunk()
            try:
                admitted = iter(await self._check([wire for each in chunk for wire in each.wires]))
            except Exception as problem:  # noqa: BLE001  # who asked must hear of it, whatever it is
                for each in chunk:
                    if not each.answer.done():
                        each.answer.set_exception(problem)
                continue
            for each in chunk:
                found = [next(admitted) for _ in each.wires]
                if not each.answer.done():
                    each.answer.set_result(found)

    def _next_chunk(self) -> list[_Asked]:
        """What was asked, in order, until it is large."""
        chunk: list[_Asked] = []
        size = 0
        while self._asked and size < LIMITS.admission_bytes:
            chunk.append(self._asked.popleft())
            size += sum(map(len, chunk[-1].wires))
        return chunk

    async def _check(self, wires: list[bytes]) -> list[Admitted]:
        found = await self.open(wires)
        admitted: list[Admitted] = await self._on_ledger(lambda: self._ledger.admit_all(found, now()))
        return admitted

    async def open(self, wires: Sequence[bytes]) -> list[Opened | CredchainError]:
        """Each decoded and verified, in order; what is pooled or came a moment ago is not verified again.

        That is known by the whole wire bytes, signature included.
        """
        missing: list[bytes] = []
        found: list[asyncio.Future[Opened | CredchainError] | Opened] = []
        for wire in wires:
            known = self._pool.verified(wire)
            if known is None and wire not in self._opened:
                self._opened[wire] = asyncio.get_running_loop().create_future()
                missing.append(wire)
            found.append(self._opened[wire] if known is None else Opened(known, True))
        if missing:
            await self._open_new(missing)
        return [each if isinstance(each, Opened) else await each for each in found]

    async def _open_new(self, wires: list[bytes]) -> None:
        """Set the futures of these; forget the oldest that are too many."""
        waiting = [self._opened[wire] for wire in wires]
        share = max(_LEAST, -(-len(wires) // VERIFIERS))
        shares = [wires[at : at + share] for at in range(0, len(wires), share)]
        try:
            results = await asyncio.gather(*(self._on_verifiers(_Verifying(each)) for each in shares))
        except BaseException as problem:
            for wire, each in zip(wires, waiting, strict=True):
                self._opened.pop(wire, None)
                _fail(each, problem)
            raise
        for each, result in zip(waiting, (each for found in results for each in found), strict=True):
            each.set_result(result)
        self._opened_bytes += sum(map(_held, wires))
        while self._opened_bytes > LIMITS.opened_bytes:
            oldest = next(iter(self._opened))
            if not self._opened[oldest].done():
                break
            del self._opened[oldest]
            self._opened_bytes -= _held(oldest)


def _held(wire: bytes) -> int:
    """Bytes of memory, about, that a transaction takes with all that was decoded from it: measured, a small
    one takes 5 KiB, and an operation twice what it has on the wire."""
    return 3 * len(wire) + 4_096


def _fail(waiting: asyncio.Future[Opened | CredchainError], problem: BaseException) -> None:
    """Who else waits for it hears of the error: cancelled, a block's execution would just never end."""
    if isinstance(problem, Exception):
        waiting.set_exception(problem)
        waiting.exception()  # seen: nobody else need be waiting
    else:
        waiting.cancel()


@dataclass(frozen=True, slots=True)
class _Verifying:
    """Decode and verify these, on a thread that does only that."""

    wires: list[bytes]

    def __call__(self) -> list[Opened | CredchainError]:
        return [opened(each) for each in self.wires]


def parts(wires: Sequence[bytes]) -> list[list[bytes]]:
    """The same in pieces, none much larger than a chunk or longer than a batch may be."""
    found: list[list[bytes]] = []
    size = 0
    for wire in wires:
        full = (
            size >= LIMITS.admission_bytes or len(found[-1]) >= LIMITS.transactions_per_batch
            if found
            else True
        )
        if full:
            found.append([])
            size = 0
        found[-1].append(wire)
        size += len(wire)
    return found
