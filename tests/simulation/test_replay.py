"""A seed is a schedule: the same story every time, with any order of sets, and with real keys."""

from __future__ import annotations

import os
import subprocess
import sys

from .schedule import run_schedule


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
