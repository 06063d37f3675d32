"""This machine's two clocks: the only place where the node reads them."""

from __future__ import annotations

from time import monotonic_ns, time_ns

from ..certificates import Millis
from ..consensus.events import Now


def now() -> Millis:
    """Wall-clock time."""
    return Millis(time_ns() // 1_000_000)


def both() -> Now:
    """For the consensus: monotonic to measure, wall to compare with header times."""
    return Now(monotonic=Millis(monotonic_ns() // 1_000_000), wall=now())
