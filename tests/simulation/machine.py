"""One simulated node: a replica, its disk, its clocks, its pool. Carries out effects, and crashes.

A crash may come at any moment, also after any single effect. What is being written then is lost or
stored, never half; everything else that is not on the disk is gone.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from credchain.certificates import Millis
from credchain.consensus.events import (
    Commit,
    Committed,
    Effect,
    Evidence,
    Execute,
    Executed,
    Halt,
    Identity,
    Input,
    Neglected,
    Now,
    Persist,
    Propose,
    Proposed,
    Received,
    Send,
    Serve,
    Tick,
    Work,
)
from credchain.consensus.messages import Blocks, Message
from credchain.consensus.record import BORN, Record
from credchain.limits import LIMITS

from . import subject
from .ledger import EPOCH, MOST_IN_BLOCK, Ledger, Transaction
from .trace import describe

if TYPE_CHECKING:
    from .world import World

INBOX = 64
"""Messages that wait while the disk is busy, per validator of the network; more are dropped."""


@dataclass
class Disk:
    """What survives a crash."""

    record: Record | None
    ledger: Ledger


@dataclass
class Clocks:
    """Milliseconds that are added to virtual time. ``drift``: by how many in a million, about, the
    monotonic clock is too fast."""

    wall: int = 0
    monotonic: int = 0
    drift: int = 0

    def elapsed(self, virtual: int) -> int:
        return virtual + virtual * self.drift // 1_000_000

    def virtual(self, elapsed: int) -> int:
        """The least virtual time at which so much has elapsed."""
        found = elapsed * 1_000_000 // (1_000_000 + self.drift)
        while self.elapsed(found) < elapsed:
            found += 1
        return found


@dataclass
class Speed:
    """Milliseconds that a write, and making or executing a block, take at most."""

    write: int = 0
    execute: int = 0


@dataclass
class Machine:
    """``place`` is where it stands in the world's list; twins share ``index``, its validator's."""

    world: World
    place: int
    index: int
    honest: bool
    rng: random.Random
    disk: Disk
    clocks: Clocks = field(default_factory=Clocks)
    speed: Speed = field(default_factory=Speed)
    replica: subject.Replica | None = None
    halted: bool = False
    runs: int = 0
    pool: dict[Transaction, int] = field(default_factory=dict)
    crash_after: int | None = None
    _inbox: deque[Input] = field(default_factory=deque)
    _effects: deque[Effect] = field(default_factory=deque)
    _writing: Callable[[], None] | None = None
    _alarm: int | None = None
    _spins: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        return f"m{self.place}"

    @property
    def up(self) -> bool:
        return self.replica is not None

    @property
    def ledger(self) -> Ledger:
        return self.disk.ledger

    @property
    def lost(self) -> bool:
        """Its safety record is not there: until it is again, the validator counts towards f."""
        return self.disk.record is None

    def now(self) -> Now:
        at = self.world.scheduler.now
        monotonic = self.clocks.elapsed(at) + self.clocks.monotonic
        return Now(Millis(monotonic), Millis(EPOCH + at + self.clocks.wall))

    def note(self, what: str | Callable[[], str]) -> None:
        self.world.trace.note(self.name, what)

    # --- life and death -----------------------------------------------------------------

    def start(self) -> None:
        if self.up:
            return
        self.runs += 1
        self.halted = False
        self.clocks.monotonic = self.rng.randrange(10**9)
        record = self.disk.record
        if record is not None and record != BORN:
            record = Record.decode(record.encode(), dict(record.bodies))
        self.note(lambda: f"starts at height {self.ledger.height}, record {_summary(record)}")
        nonce = self.rng.randbytes(32)
        did = self.world.keyring.validators.members[self.index].did
        identity = Identity(did, self.world.keyring.signers[self.index], nonce)
        self.replica = subject.make(
            identity, self.world.keyring.verify, self.world.form, self.ledger.chain(), record, self.now()
        )
        self.put(Tick())

    def crash(self) -> None:
        """The power goes. A write under way has reached the disk, or has not."""
        if not self.up:
            return
        writing, self._writing = self._writing, None
        stored = writing is not None and self.rng.random() < 0.5
        self.note("crashes" + ("" if writing is None else f", the write {'stored' if stored else 'lost'}"))
        self.replica = None
        self.crash_after = None
        self._inbox.clear()
        self._effects.clear()
        self._alarm = None
        self.pool.clear()
        if writing is not None and stored:
            writing()
        self.ledger.forget_executed()

    def lose_record(self, keep: int | None) -> None:
        """While it is down: the record is gone; with ``keep``, blocks above that height too."""
        self.disk.record = None
        if keep is not None:
            self.disk.ledger = self.ledger.up_to(keep)
        self.note(f"loses its record, keeps {self.ledger.height} blocks")

    # --- inputs -------------------------------------------------------------------------

    def receive(self, sender: int, message: Message) -> None:
        if not self.up or len(self._inbox) > INBOX * len(self.world.keyring.validators.members):
            return
        self.put(Received(sender, message))

    def submit(self, transaction: Transaction) -> None:
        if self.up and not self.halted and self.ledger.applies(transaction, self.ledger.time):
            self.pool.setdefault(transaction, self.now().wall)
            self.put(Work(bool(self.pool)))

    def put(self, event: Input) -> None:
        """Takes its turn after what waits already."""
        if self.up and not self.halted:
            self._inbox.append(event)
            self._go_on()

    def _later(self, most: int, event: Callable[[], Input]) -> None:
        """An answer, after a while; none to a run that has ended."""
        run = self.runs

        def answer() -> None:
            if run == self.runs and self.up:
                self.put(event())

        self.world.scheduler.after(self.rng.randint(0, most) if most else 0, answer)

    def _go_on(self) -> None:
        while self.up and not self.halted and self._writing is None:
            if self._effects:
                self._carry_out(self._effects.popleft())
                continue
            if not self._inbox:
                break
            self._step(self._inbox.popleft())
        self.settle_alarm()

    def _step(self, event: Input) -> None:
        if self.replica is None:
            return
        now = self.now()
        self._effects.extend(self.replica.step(event, now))
        deadline = self.replica.deadline
        if isinstance(event, Tick) and deadline is not None and deadline <= now.monotonic:
            self.world.oracles.broken(self, "after a tick its deadline does not lie ahead")
        self.world.stepped(self)

    # --- effects ------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        if self.crash_after is not None:
            self.crash_after -= 1
        dies = self.crash_after is not None and self.crash_after <= 0
        match effect:
            case Persist(record):
                self._write(lambda: self._stored(record), dies)
            case Commit(block, certificate):
                self.world.oracles.commits(self, block, certificate)
                self._write(lambda: self._commit(effect), dies)
            case Send(to, message):
                self.note(lambda: f"-> {'all' if to is None else f'v{to}'}: {describe(message)}")
                self.world.send(self, to, message)
            case Propose():
                self._later(self.speed.execute, lambda: self._propose(effect))
            case Execute():
                self._later(self.speed.execute, lambda: self._execute(effect))
            case Serve(to, height):
                self._serve(to, height)
            case Evidence():
                self.note(lambda: f"evidence against v{effect.validator}")
                self.world.oracles.evidence(self, effect)
            case Halt(reason):
                self.note(f"halts: {reason}")
                self.halted = True
                self._effects.clear()
                self.world.oracles.halted(self, reason)
        if dies:
            self.world.crash(self)

    def _write(self, done: Callable[[], None], dies: bool) -> None:
        """The disk takes its time. ``dies``: the crash comes while it writes."""
        duration = self.rng.randint(0, self.speed.write) if self.speed.write else 0
        if not duration and not dies:
            done()
            return
        self._writing = done
        run = self.runs

        def finish() -> None:
            if run == self.runs and self._writing is done:
                self._writing = None
                done()
                self._go_on()

        if not dies:
            self.world.scheduler.after(duration, finish)

    def _stored(self, record: Record) -> None:
        before, self.disk.record = self.disk.record, record
        self.note(lambda: f"record {_summary(record)}")
        self.world.oracles.stored(self, before, record)

    def _commit(self, effect: Commit) -> None:
        self.ledger.commit(effect.block, effect.certificate)
        self.note(lambda: f"commits h{self.ledger.height} {effect.block.hex()[:6]}")
        self.world.oracles.committed(self)
        if not self.up:
            return
        chain = self.ledger.chain()
        self._inbox.append(Committed(chain))
        for each in [each for each in self.pool if not self.ledger.applies(each, chain.time)]:
            del self.pool[each]
        self._inbox.append(Work(bool(self.pool)))
        if self._is_neglected():
            header, _ = self.ledger.form.block(self.ledger.blocks[-1].block)
            self._inbox.append(Neglected(self.ledger.form.of_header(header).proposer))

    def _is_neglected(self) -> bool:
        """Whether the block is not full and leaves out what its proposer had for longer than the timeout.

        Full is a matter of how often its height's views had failed; two seconds are for the clocks.
        """
        header, transactions = self.ledger.form.block(self.ledger.blocks[-1].block)
        facts = self.ledger.form.of_header(header)
        below = self.ledger.form.block(self.ledger.blocks[-2].block)[0] if self.ledger.height > 1 else None
        first = 0 if below is None else self.ledger.form.of_header(below).view
        full = max(1, MOST_IN_BLOCK >> min(8, max(0, facts.view - first)))
        if len(transactions) >= full:
            return False
        since = facts.time - LIMITS.base_timeout - 2_000
        return any(came < since and facts.time <= each.expiry for each, came in self.pool.items())

    def _propose(self, wanted: Propose) -> Input:
        if self.ledger.height + 1 != wanted.height:
            return Proposed(wanted.height, wanted.view, None)
        block = self.ledger.propose(
            list(self.pool),
            view=wanted.view,
            time=wanted.time,
            halvings=wanted.halvings,
            heartbeat=wanted.heartbeat,
            proposer=self.world.keyring.validators.members[self.index].did,
        )
        if block is not None:
            self.ledger.execute(block, self.world.form.of_block(block)[1].digest)
        return Proposed(wanted.height, wanted.view, block)

    def _execute(self, wanted: Execute) -> Input:
        return Executed(wanted.digest, self.ledger.execute(wanted.block, wanted.digest))

    def _serve(self, to: int, height: int) -> None:
        blocks = tuple(self.ledger.blocks[height - 1 : height - 1 + LIMITS.blocks_per_fetch])
        if blocks:
            message = Blocks(self.world.height(height), blocks)
            self.note(lambda: f"-> v{to}: {describe(message)}")
            self.world.send(self, to, message)

    # --- the timer ----------------------------------------------------------------------

    def settle_alarm(self) -> None:
        deadline = None if self.replica is None or self.halted else self.replica.deadline
        if self.world.manual or self._writing is not None or deadline == self._alarm:
            return
        self._alarm = deadline
        if deadline is None:
            return
        run = self.runs

        def ring() -> None:
            if run == self.runs and self._alarm == deadline:
                self._alarm = None
                self.fire()

        at = self.clocks.virtual(deadline - self.clocks.monotonic)
        self.world.scheduler.after(at - self.world.scheduler.now, ring)

    def fire(self) -> None:
        """The deadline has passed."""
        at, times = self._spins
        self._spins = (self.world.scheduler.now, times + 1 if at == self.world.scheduler.now else 1)
        if self._spins[1] > 20:
            self.world.oracles.broken(None, f"{self.name}: its timer rings without time passing")
        self.put(Tick())


def _summary(record: Record | None) -> str:
    if record is None:
        return "lost"
    votes = " ".join(f"{each.phase[0]}{each.view}:{each.block.hex()[:4]}" for each in record.votes)
    prepared = "-" if record.prepared is None else f"v{record.prepared.view}"
    new_view = "" if record.new_view is None else ", new-view"
    return f"h{record.height} floor v{record.floor} [{votes}] prepared {prepared}{new_view}"
