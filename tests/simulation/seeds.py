"""How many schedules every run of the tests goes through; developers run more by hand.

A bug that a seed finds becomes a script in `test_scripts`, since what a seed means changes with the
simulator. No seed is excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .schedule import run_schedule

SMALL: Final = (4, 5, 6)
LARGE: Final = (7, 8, 9, 10)
SMALL_SEEDS: Final = 1_300
LARGE_SEEDS: Final = 700
PORTIONS: Final = 20


def failures(sizes: Sequence[int], seeds: int, portion: int) -> str:
    """What failed of one portion of the seeds, each with the command that replays it."""
    failed = []
    for seed in range(portion, seeds, PORTIONS):
        validators = sizes[seed // PORTIONS % len(sizes)]
        report = run_schedule(seed, validators)
        if report.violation is not None:
            command = f"python -m tests.simulation --validators {validators} --seed {seed}"
            failed.append(f"{command}: {report.violation}")
    return "\n".join(failed)
