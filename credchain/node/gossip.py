"""Passing transactions on, so that each validator has all of them: whoever is primary can order them.

They are said when a client brings them, when a link comes up, and again for as long as they wait: a
validator that had no room, or lost its own copy, learns of them all the same. A transaction that only one
validator had would keep that one waiting for a primary that knows of nothing (Castro & Liskov, OSDI 1999,
section 4.1: a client that gets no answer sends its request to all replicas, which relay it to the primary).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

from ..certificates import Millis
from ..errors import CredchainError, NetworkError
from ..ledger.transactions import decode_batch, encode_batch
from ..limits import LIMITS
from .admission import Admission, parts
from .clock import both
from .pool import Pool

TRANSACTIONS: Final = b"\x02"
"""What a frame with transactions begins with."""


class Links(Protocol):
    """How frames reach the other validators; neither method waits."""

    def send(self, to: int, data: bytes) -> None: ...

    def broadcast(self, data: bytes) -> None: ...


class Unlinked:
    """Until the links are made, nobody can be told anything: frames are lost, as on a broken link."""

    def send(self, to: int, data: bytes) -> None:
        pass

    def broadcast(self, data: bytes) -> None:
        pass


class Gossip:
    """Lives in the event loop's thread. ``links`` are set once they are made (`Driver.attach`)."""

    def __init__(self, pool: Pool, admission: Admission) -> None:
        self.links: Links = Unlinked()
        self._pool = pool
        self._admission = admission
        self._unsaid: list[bytes] = []
        self._reminded = Millis(0)
        self._frames: defaultdict[int, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(LIMITS.admission_frames)
        )

    def say(self, wire: bytes) -> None:
        """Tell all validators, with what else is pooled in this turn of the event loop: in few frames."""
        if not self._unsaid:
            asyncio.get_running_loop().call_soon(self._say_all)
        self._unsaid.append(wire)

    def _say_all(self) -> None:
        unsaid, self._unsaid = self._unsaid, []
        for frame in _frames(unsaid):
            self.links.broadcast(frame)

    def linked(self, validator: int) -> None:
        """A link came up: what this node's clients wait for may have been said while it was down."""
        for frame in _frames([each.transaction.encoded for each in self._pool if each.done is not None]):
            self.links.send(validator, frame)

    def remind(self, now: Millis) -> None:
        """Say again what waits, once a second, a few of those first that were not said for longest."""
        if now - self._reminded < LIMITS.retransmission:
            return
        due = [each for each in self._pool if now - each.said >= LIMITS.retransmission]
        due.sort(key=lambda each: each.said)
        wires: list[bytes] = []
        size = 0
        for each in due:
            if size >= LIMITS.reminder_bytes:
                break
            each.said = now
            wires.append(each.transaction.encoded)
            size += len(wires[-1])
            self._reminded = now
        for frame in _frames(wires):
            self.links.broadcast(frame)

    async def turn(self, sender: int) -> None:
        """Wait until another frame of this validator may be looked at (`receive`): a few at a time."""
        await self._frames[sender].acquire()

    async def receive(self, sender: int, content: bytes) -> None:
        """What a validator passed on; one that cannot be admitted is its client's problem there.

        Errors: InvalidInput for a frame that is none, StorageError.
        """
        try:
            news = [wire for wire in decode_batch(content) if self._pool.verified(wire) is None]
            admitted = await self._admission.admit(news)
        finally:
            self._frames[sender].release()
        for each in admitted:
            with suppress(NetworkError):  # no room here: who has it says it again
                if not isinstance(each, CredchainError):
                    self._pool.add(each, both().monotonic)


def _frames(wires: Sequence[bytes]) -> list[bytes]:
    return [TRANSACTIONS + encode_batch(each) for each in parts(wires)]
