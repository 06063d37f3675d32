"""Virtual time: a queue of things to do, ordered by time and then by when they were planned."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

MOST_EVENTS: Final = 400_000
"""More than any schedule needs: reaching it means that messages or timers cause each other without end."""


class Scheduler:
    """Milliseconds from 0. What is planned for one instant happens in the order of planning."""

    def __init__(self) -> None:
        self.now = 0
        self.done = 0
        self._planned = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []

    def after(self, delay: int, action: Callable[[], None]) -> None:
        self._planned += 1
        heapq.heappush(self._queue, (self.now + max(0, delay), self._planned, action))

    def run(self, until: int, enough: Callable[[], bool] | None = None) -> None:
        """Everything up to and including this time; stops early once ``enough`` says so."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, action = heapq.heappop(self._queue)
            self.done += 1
            if self.done > MOST_EVENTS:
                raise RuntimeError(f"more than {MOST_EVENTS} events by {self.now} ms: a storm")
            action()
            if enough is not None and enough():
                return
        self.now = until
