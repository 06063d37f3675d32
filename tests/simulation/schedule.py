"""What a seed means: who lies, what breaks and when, then healing, and the progress that is demanded.

At most f validators are faulty in a schedule, liars, twins and lost records together. Crashes, cuts and
slow disks may hit any number. No seed is special, none is skipped.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from credchain.certificates import faults
from credchain.consensus.messages import COMMIT, PREPARE
from credchain.limits import LIMITS

from .ledger import EPOCH, Transaction
from .machine import Machine
from .network import Weather
from .oracles import SKEW, Violation
from .stage import Stage
from .world import FOREVER, Cast, World

SMALLEST, LARGEST = 4, 10
HEIGHTS_DEMANDED = 3
DRIFT = 5_000
"""Millionths by which monotonic clocks differ: far more than any real ones."""

Patch = Callable[[], AbstractContextManager[object]]
Script = Callable[[Stage], None]


@dataclass
class Report:
    """How a schedule went. Times are virtual milliseconds; ``recovery`` counts from the healing,
    ``cost`` is in real seconds of one processor."""

    seed: int
    cast: Cast
    violation: str | None = None
    heights: int = 0
    ended: int = 0
    recovery: int | None = None
    events: int = 0
    held: int = 0
    cost: float = 0.0
    lines: list[str] = field(default_factory=list)


def progress_bound(validators: int) -> int:
    """Milliseconds after healing in which every honest validator commits `HEIGHTS_DEMANDED` heights and
    everything that applies.

    A view timer set before the healing runs for at most the cap; from then on everybody hears everybody
    within a retransmission, so at most f views in a row, each at the cap, have a faulty primary before
    one is correct and stays. A faulty one may be in turn again if it proposed the block that is
    committed, and may neglect a transaction until it is suspected: f views more. A heartbeat may be
    waited for at each height, and for times that ran ahead of the slow clocks (at most the tolerance
    and twice the skew).
    """
    f = faults(validators)
    waits = (HEIGHTS_DEMANDED + 1) * LIMITS.heartbeat + LIMITS.proposal_early + 2 * SKEW
    return (2 * f + 2) * LIMITS.most_timeout + waits


def run_schedule(
    seed: int,
    validators: int | None = None,
    *,
    patch: Patch | None = None,
    script: Script | None = None,
    start: int = 1,
    traced: bool = False,
    real_keys: bool = False,
) -> Report:
    """One schedule, or a script with these many validators, on a chain of ``start`` blocks. ``patch`` is
    in force while it runs."""
    rng = random.Random(f"{seed} schedule")
    cast = (
        draw_cast(seed, rng, validators, real_keys)
        if script is None
        else Cast(validators or SMALLEST, start=start)
    )
    report = Report(seed, cast)
    with nullcontext() if patch is None else patch():
        world: World | None = None
        try:
            if script is None:
                world = World(seed, cast, traced=traced)
                Schedule(world, rng, report).run()
            else:
                stage = Stage(seed, cast, traced=traced)
                world = stage.world
                script(stage)
        except Violation as problem:
            report.violation = str(problem)
        except Exception as problem:  # noqa: BLE001 - whatever escapes a replica is a finding
            report.violation = f"{type(problem).__name__}: {problem}"
            if traced:
                report.lines.append(traceback.format_exc())
    if world is not None:
        report.heights = world.oracles.chain.height - cast.start
        report.ended = world.scheduler.now
        report.events = world.scheduler.done
        report.held = world.oracles.most_held
        report.lines = world.trace.lines + report.lines
    return report


def draw_cast(seed: int, rng: random.Random, validators: int | None, real_keys: bool) -> Cast:
    n = SMALLEST + seed % (LARGEST - SMALLEST + 1) if validators is None else validators
    f = faults(n)
    count = rng.choice((0, f, f, rng.randint(0, f)))
    # The first primaries more often than others: whoever never leads cannot lie about blocks.
    faulty = list(range(count)) if rng.random() < 0.4 else rng.sample(range(n), count)
    rng.shuffle(faulty)
    twins = rng.choice((0, rng.randint(0, len(faulty))))
    start = LIMITS.rotation - rng.randint(1, 6) if rng.random() < 0.1 else 0
    return Cast(
        n,
        tuple(sorted(faulty[:twins])),
        tuple(sorted(faulty[twins:])),
        start,
        rng.random() < 0.05,
        real_keys,
    )


class Schedule:
    """A phase of faults, then healing, then demanded progress."""

    def __init__(self, world: World, rng: random.Random, report: Report) -> None:
        self.world = world
        self.rng = rng
        self.report = report
        self.length = rng.choice((*[rng.randint(2_000, 14_000) for _ in range(4)], 30_000))
        self.may_jump = set(rng.sample(range(len(world.machines)), world.faults))
        self.skews = [rng.randint(-SKEW // 2, SKEW // 2) for _ in world.machines]
        self.healed = False
        self.next_transaction = 0

    def run(self) -> None:
        world = self.world
        world.trace.note("", f"seed {self.report.seed}: {self.report.cast}")
        for liar in world.adversaries.values():
            world.trace.note(liar.machine.name, f"lies: {liar.habits}, chance {liar.cheats}")
            self._let_act(liar.act)
        for machine, skew in zip(world.machines, self.skews, strict=True):
            machine.clocks.wall = skew
            machine.clocks.drift = self.rng.choice((0, 0, -DRIFT, DRIFT, 100))
        world.network.weather = self._weather()
        world.start()
        self._plan_transactions(self.rng.randint(2, 12))
        for _ in range(self.rng.randint(0, 10)):
            self._plan_fault(self.rng.randint(0, self.length))
        if self.rng.random() < 0.3:
            world.scheduler.after(self.length - self.rng.randint(0, 30), self._crash_all)
        world.scheduler.run(self.length)
        self._heal()
        self._demand_progress()

    # --- the phase of faults -------------------------------------------------------------

    def _let_act(self, act: Callable[[], None]) -> None:
        def again() -> None:
            act()
            self.world.scheduler.after(self.rng.randint(200, 4_000), again)

        self.world.scheduler.after(self.rng.randint(0, 2_000), again)

    def _weather(self) -> Weather:
        rng = self.rng
        return rng.choice(
            (
                Weather(),
                Weather(0.0, 0.1, 0.0, 1, rng.choice((50, 500, 3_000))),
                Weather(rng.choice((0.02, 0.1, 0.3)), 0.05, 0.01, 1, rng.choice((20, 200, 1_000))),
                Weather(0.05, 0.2, 0.05, 1, 100),
            )
        )

    def _plan_transactions(self, count: int) -> None:
        for _ in range(count):
            at = self.rng.randint(0, self.length)
            expiry = FOREVER if self.rng.random() < 0.7 else EPOCH + at + self.rng.randint(500, 8_000)
            some = [each for each in self.world.machines if self.rng.random() < 0.8]
            self._submit_at(at, expiry, some)

    def _submit_at(self, at: int, expiry: int, machines: list[Machine]) -> None:
        self.next_transaction += 1
        transaction = Transaction(self.next_transaction, expiry)
        self.world.scheduler.after(
            at - self.world.scheduler.now, lambda: self.world.submit(transaction, machines)
        )

    def _plan_fault(self, at: int) -> None:
        fault = self.rng.choice(
            (
                self._partition,
                self._cut_one_way,
                self._mute,
                self._mute,
                self._strand,
                self._strand,
                self._isolate_primary,
                self._crash_soon,
                self._crash_soon,
                self._crash_some,
                self._lose_record,
                self._slow_disk,
                self._slow_execution,
                self._jump_clock,
                self._change_weather,
            )
        )
        lasts = self.rng.choice((300, 2_000, 6_000, 15_000))

        def strike() -> None:
            if not self.healed:
                fault(lasts)

        self.world.scheduler.after(at, strike)

    def _for_a_while(self, lasts: int, undo: Callable[[], None]) -> None:
        def end() -> None:
            if not self.healed:
                undo()

        self.world.scheduler.after(lasts, end)

    def _cut(self, links: set[tuple[int, int]], lasts: int) -> None:
        self.world.network.cut |= links
        self._for_a_while(lasts, lambda: self.world.network.cut.difference_update(links))

    def _partition(self, lasts: int) -> None:
        side = [self.rng.random() < 0.5 for _ in self.world.machines]
        self.world.trace.note("", f"partition {[p for p, s in enumerate(side) if s]} for {lasts} ms")
        places = range(len(side))
        self._cut({(a, b) for a in places for b in places if side[a] != side[b]}, lasts)

    def _cut_one_way(self, lasts: int) -> None:
        places = range(len(self.world.machines))
        links = {(a, b) for a in places for b in places if self.rng.random() < 0.3}
        self.world.trace.note("", f"cut one way {sorted(links)} for {lasts} ms")
        self._cut(links, lasts)

    def _mute(self, lasts: int) -> None:
        """Most of one kind of message is lost everywhere: prepared but not committed, and the like."""
        kind = self.rng.choice((COMMIT, COMMIT, PREPARE, "pre_prepare", "view_change", "new_view", "blocks"))
        self.world.trace.note("", f"most of {kind} is lost for {lasts} ms")
        self._mute_kind(kind, None, lasts)

    def _mute_kind(self, kind: str, spared: int | None, lasts: int) -> None:
        self.world.network.muted[kind] = spared
        self._for_a_while(lasts, lambda: self.world.network.unmute(kind))

    def _strand(self, lasts: int) -> None:
        """One alone hears the COMMITs, or the PREPAREs, and nobody hears it: it knows what the others do
        not, and a view change must not contradict it. What was on its way is cut off too."""
        place = self.rng.randrange(len(self.world.machines))
        kind = self.rng.choice((COMMIT, PREPARE))
        lasts = max(lasts, self.rng.choice((3_000, 6_000)))
        self.world.trace.note(f"m{place}", f"alone hears {kind}s and is not heard for {lasts} ms")
        self._mute_kind(kind, place, lasts)
        self._cut({(place, other) for other in range(len(self.world.machines))}, lasts)
        self._submit_at(self.world.scheduler.now, FOREVER, self.world.machines)

    def _isolate_primary(self, lasts: int) -> None:
        machine = self.rng.choice(self.world.machines)
        if machine.replica is None:
            return
        index = machine.replica.view % self.world.cast.validators
        self.world.trace.note("", f"v{index}, a primary, hears and reaches nobody for {lasts} ms")
        places = range(len(self.world.machines))
        own = self.world.of_index[index]
        self._cut({(a, b) for a in places for b in places if a in own or b in own}, lasts)

    def _crash_soon(self, lasts: int) -> None:
        """After one of its next effects, also in the middle of a write."""
        for machine in self.rng.sample(self.world.machines, self.rng.choice((1, 1, 3))):
            machine.crash_after = self.rng.randint(1, 12)

    def _crash_some(self, lasts: int) -> None:
        for machine in self.world.machines:
            if self.rng.random() < 0.4:
                self.world.crash(machine)

    def _lose_record(self, lasts: int) -> None:
        machine = self.rng.choice(self.world.machines)
        faulty = {each.index for each in self.world.machines if not each.honest or each.lost}
        self.world.crash(machine)
        if len(faulty | {machine.index}) <= self.world.faults:
            height = machine.ledger.height
            machine.lose_record(self.rng.choice((None, 0, self.rng.randint(0, height))))

    def _slow_disk(self, lasts: int) -> None:
        machine = self.rng.choice(self.world.machines)
        machine.speed.write = self.rng.choice((5, 100, 1_000))
        self.world.trace.note(machine.name, f"slow disk, {machine.speed.write} ms")

    def _slow_execution(self, lasts: int) -> None:
        machine = self.rng.choice(self.world.machines)
        machine.speed.execute = self.rng.choice((5, 100, 2_500))
        self.world.trace.note(machine.name, f"slow execution, {machine.speed.execute} ms")

    def _jump_clock(self, lasts: int) -> None:
        place = self.rng.choice(sorted(self.may_jump)) if self.may_jump else None
        if place is not None:
            jump = self.rng.choice((-3_600_000, -30_000, -4_000, 4_000, 30_000, 3_600_000))
            self.world.machines[place].clocks.wall = jump
            self.world.trace.note(f"m{place}", f"clock off by {jump} ms")

    def _change_weather(self, lasts: int) -> None:
        self.world.network.weather = self._weather()
        self.world.trace.note("", f"weather {self.world.network.weather}")

    def _crash_all(self) -> None:
        self.world.trace.note("", "everybody crashes")
        for machine in self.world.machines:
            self.world.crash(machine)

    # --- healing and progress ------------------------------------------------------------

    def _heal(self) -> None:
        self.healed = True
        world = self.world
        world.trace.note("", "everything heals")
        world.network.heal()
        for machine, skew in zip(world.machines, self.skews, strict=True):
            machine.clocks.wall = 2 * skew
            machine.crash_after = None
            machine.speed.write = min(machine.speed.write, 5)
            machine.speed.execute = min(machine.speed.execute, 100)
            machine.start()

    def _demand_progress(self) -> None:
        world = self.world
        began = world.scheduler.now
        for transaction in list(world.submitted.values()):
            if transaction.expiry == FOREVER:
                world.submit(transaction, world.machines)
        for delay in (0, 600, 1_500):
            self._submit_at(began + delay, FOREVER, world.machines)
        goal = max(each.ledger.height for each in world.honest) + HEIGHTS_DEMANDED
        bound = began + progress_bound(world.cast.validators)
        while self._missing(goal) is not None:
            if world.scheduler.now >= bound:
                raise Violation(f"no progress {bound - began} ms after healing: {self._missing(goal)}")
            world.scheduler.run(min(bound, world.scheduler.now + 50))
        self.report.recovery = world.scheduler.now - began

    def _missing(self, goal: int) -> str | None:
        """What a validator still lacks."""
        wanted = {each.number for each in self.world.submitted.values() if each.expiry == FOREVER}
        for machine in self.world.honest:
            if machine.ledger.height < goal:
                return f"validator {machine.index} is at height {machine.ledger.height}, not {goal}"
            if machine.lost:
                return f"validator {machine.index} does not sign again, two blocks after it lost its record"
            if not wanted <= machine.ledger.applied:
                lacking = sorted(wanted - machine.ledger.applied)
                return f"validator {machine.index} lacks transactions {lacking}"
        return None
