"""Run schedules: ``python -m tests.simulation --seed 1 --seeds 500``.

The last line says how many ran and how many failed; the exit status is 1 if any did. A failing seed is
run again with its trace on, and printed with the command that replays it. The long run, before a release,
is of a hundred thousand: ``--seed 8000000 --seeds 100000 --lines 0``, some 80 minutes on two cores.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path

from .schedule import LARGEST, SMALLEST, Report, run_schedule

HANGS_AFTER = 30
"""Seconds of a processor: far more than any schedule takes."""


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    failed: list[Report] = []
    slowest = count = heights = 0
    cost = 0.0
    for report in _reports(options):
        count += 1
        heights += report.heights
        cost += report.cost
        slowest = max(slowest, report.recovery or 0)
        if report.violation is not None:
            failed.append(report)
            print(f"seed {report.seed}, {report.cast.validators} validators: {report.violation}", flush=True)
    for report in failed[: options.traces]:
        _show(report, options)
    each = 1000 * cost / max(1, count)
    print(f"{heights} heights, {each:.0f} ms of a processor each, slowest recovery {slowest} ms")
    print(f"{count} ran, {len(failed)} failed")
    return 1 if failed else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    many = f"of {SMALLEST} to {LARGEST}; without it, the seed decides"
    parser.add_argument("--validators", type=int, choices=range(SMALLEST, LARGEST + 1), help=many)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, counting up")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--real-keys", action="store_true", help="Ed25519 in the place of a keyed hash")
    parser.add_argument("--traces", type=int, default=1, help="how many failing seeds to print")
    parser.add_argument("--lines", type=int, default=400, help="how much of a trace's end to print; 0: all")
    parser.add_argument("--trace", type=Path, help="write the first seed's whole trace to this file")
    return parser.parse_args(arguments)


def _reports(options: argparse.Namespace) -> Iterator[Report]:
    seeds = range(options.seed, options.seed + options.seeds)
    jobs = [(seed, options.validators, options.real_keys) for seed in seeds]
    if options.trace is not None:
        report = run_schedule(options.seed, options.validators, traced=True, real_keys=options.real_keys)
        options.trace.write_text("\n".join(report.lines) + "\n")
    if options.processes == 1 or len(jobs) == 1:
        yield from map(_run, jobs)
        return
    with Pool(options.processes) as pool:
        yield from pool.imap(_run, jobs, chunksize=4)


def _run(job: tuple[int, int | None, bool]) -> Report:
    seed, validators, real_keys = job
    signal.signal(signal.SIGPROF, _hangs)
    signal.setitimer(signal.ITIMER_PROF, HANGS_AFTER)
    try:
        began = time.process_time()
        report = run_schedule(seed, validators, real_keys=real_keys)
        report.cost = time.process_time() - began
        return report
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _hangs(number: int, frame: object) -> None:
    raise TimeoutError(f"the schedule does not end within {HANGS_AFTER} seconds of a processor")


def _show(report: Report, options: argparse.Namespace) -> None:
    again = run_schedule(report.seed, options.validators, traced=True, real_keys=options.real_keys)
    number = f" --validators {options.validators}" if options.validators is not None else ""
    print(f"\n=== seed {report.seed}: {report.violation}")
    print("\n".join(again.lines[-options.lines :]))
    print(f"=== replay: python -m tests.simulation --seed {report.seed}{number} --lines 0")
    if again.violation != report.violation:
        print(f"=== NOT REPLAYED: now it says {again.violation}")


if __name__ == "__main__":
    sys.exit(main())
