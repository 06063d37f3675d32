"""How many schedules every run of the tests goes through; developers run more by hand.

A bug that a seed finds becomes a script in `test_scripts`, since what a seed means changes with the
simulator. No seed is excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Final

from credchain.limits import LIMITS

from .schedule import run_schedule

SMALL: Final = (4, 5, 6)
LARGE: Final = (7, 8, 9, 10)
SMALL_SEEDS: Final = 1_300
LARGE_SEEDS: Final = 700
PORTIONS: Final = 20
MEAN_RECOVERY: Final = 3 * LIMITS.base_timeout // 2
"""Milliseconds from healing until all have three more heights, on average over one portion: about 1,600
are usual, with a deviation of some 2,500, so a portion of 35 to 65 seeds stays below by far."""


def failures(sizes: Sequence[int], seeds: int, portion: int) -> str:
    """What failed of one portion of the seeds, each with the command that replays it; and whether all of
    them together recovered too slowly, which one alone is allowed to."""
    failed = []
    recoveries = []
    for seed in range(portion, seeds, PORTIONS):
        validators = sizes[seed // PORTIONS % len(sizes)]
        report = run_schedule(seed, validators)
        if report.violation is not None:
            command = f"python -m tests.simulation --validators {validators} --seed {seed}"
            failed.append(f"{command}: {report.violation}")
        elif report.recovery is not None:
            recoveries.append(report.recovery)
    if recoveries and mean(recoveries) > MEAN_RECOVERY:
        failed.append(f"progress took {mean(recoveries):.0f} ms after healing, on average")
    return "\n".join(failed)
