"""A modest number of seeds for every run of the tests; CI and developers run more by hand.

A bug that a seed finds becomes a script in `test_scripts`, since what a seed means changes with the
simulator. No seed is excluded.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .schedule import run_schedule

SEEDS = 1_000
PORTIONS = 20


@pytest.mark.parametrize("portion", range(PORTIONS))
def test_seeds(portion: int) -> None:
    failed = []
    for seed in range(portion, SEEDS, PORTIONS):
        report = run_schedule(seed)
        if report.violation is not None:
            failed.append(f"python -m tests.simulation --seed {seed}: {report.violation}")
    assert not failed, "\n".join(failed)


def test_a_schedule_with_real_keys() -> None:
    assert run_schedule(1, 4, real_keys=True).violation is None


def test_a_seed_replays_exactly_whatever_the_order_of_sets() -> None:
    """The same trace in processes that hash text and bytes differently."""
    code = "from tests.simulation.schedule import run_schedule as run"
    code += "; print(*run(19, traced=True).lines, sep='\\n')"
    traces = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(salt)},
            check=True,
            capture_output=True,
        ).stdout
        for salt in (1, 2)
    ]
    assert traces[0] == traces[1]
    assert traces[0].count(b"\n") > 100
