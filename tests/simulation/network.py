"""The links between validators: they drop, double, delay, reorder and break, one way or both ways.

A link is authenticated: what arrives names the sender's index truly, whatever the message says. A
validator with twins is several machines behind one index; which of them hears whom is the router's.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from credchain.consensus.messages import Message

from .scheduler import Scheduler
from .trace import kind_of


@dataclass(frozen=True, slots=True)
class Weather:
    """Probabilities per message, delays in milliseconds. ``straggle``: as late as a minute."""

    drop: float = 0.0
    double: float = 0.0
    straggle: float = 0.0
    least: int = 1
    most: int = 20


CALM = Weather()
MUTED = 0.8
"""How many messages of a muted kind are lost."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message under way between two machines, by their places in the world's list."""

    sender: int
    origin: int
    target: int
    message: Message


class Network:
    """``deliver(letter)`` hands what arrives to its machine."""

    def __init__(self, scheduler: Scheduler, rng: random.Random, deliver: Callable[[Letter], None]) -> None:
        self.weather = CALM
        self.cut: set[tuple[int, int]] = set()
        self.muted: dict[str, int | None] = {}
        self.held: list[Letter] | None = None
        self._scheduler = scheduler
        self._rng = rng
        self._deliver = deliver

    def hold(self) -> None:
        """From now on nothing travels by itself: a script delivers."""
        self.held = []

    def unmute(self, kind: str) -> None:
        self.muted.pop(kind, None)

    def heal(self) -> None:
        self.cut.clear()
        self.muted.clear()
        self.weather = CALM

    def post(self, letter: Letter) -> None:
        if self.held is not None:
            self.held.append(letter)
            return
        weather, rng = self.weather, self._rng
        if (letter.origin, letter.target) in self.cut or (weather.drop and rng.random() < weather.drop):
            return
        if self.muted and self._is_muted(letter):
            return
        copies = 2 if weather.double and rng.random() < weather.double else 1
        for _ in range(copies):
            delay = weather.least + int(rng.random() * (weather.most - weather.least + 1))
            if weather.straggle and rng.random() < weather.straggle:
                delay += rng.randint(1_000, 60_000)
            self._scheduler.after(delay, lambda: self.arrive(letter))

    def _is_muted(self, letter: Letter) -> bool:
        """Most messages of a muted kind are lost; where one machine is spared, all but its are."""
        kind = kind_of(letter.message)
        if kind not in self.muted:
            return False
        spared = self.muted[kind]
        return self._rng.random() < MUTED if spared is None else spared != letter.target

    def arrive(self, letter: Letter) -> None:
        if (letter.origin, letter.target) not in self.cut:
            self._deliver(letter)
