"""Schedules written by hand: nothing travels, no timer rings, nobody restarts unless the script says so.

def script(stage: Stage) -> None:
    stage.submit(1)
    stage.deliver(kind="pre_prepare")
    stage.deliver()              # everything, and what it causes, until all is quiet
    assert stage.heights == [1, 1, 1, 1]
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeVar

from credchain.certificates import Certificate, Height, View
from credchain.consensus.messages import (
    COMMIT,
    PREPARE,
    Message,
    NewView,
    Prepared,
    PrePrepare,
    Signed,
    ViewChange,
    Vote,
)
from credchain.consensus.replica import Replica
from credchain.encoding import Digest
from credchain.limits import LIMITS

from .ledger import Transaction
from .machine import Machine
from .network import Letter
from .oracles import Violation
from .trace import kind_of
from .world import FOREVER, Cast, World

MOST_ROUNDS = 200


Match = Callable[[Letter], bool]
Statement = TypeVar("Statement", Vote, ViewChange, NewView)


class Stage:
    """Places are validators' indexes; everybody is up and honest. The chain has one block already,
    so that no heartbeat is due at once."""

    def __init__(self, seed: int, cast: Cast, *, traced: bool = False) -> None:
        self.world = World(seed, cast, traced=traced, manual=True)
        self.held: list[Letter] = []
        self.world.network.held = self.held
        self.world.start()
        self.settle()

    @property
    def machines(self) -> list[Machine]:
        return self.world.machines

    @property
    def heights(self) -> list[int]:
        """How many blocks each has committed since the curtain rose."""
        return [each.ledger.height - self.world.cast.start for each in self.machines]

    def replica(self, index: int) -> Replica:
        found = self.machines[index].replica
        assert found is not None
        return found

    def views(self, *indexes: int) -> list[int]:
        return [self.replica(each).view for each in indexes]

    def expect(self, holds: bool, what: str) -> None:
        """The script's own oracle."""
        if not holds:
            self.world.oracles.broken(None, f"expected: {what}")
            raise Violation(what)

    def primary(self, view: int) -> int:
        return view % self.world.cast.validators

    def settle(self) -> None:
        """Carry out what takes no time."""
        self.world.scheduler.run(self.world.scheduler.now)

    def submit(self, number: int, to: Collection[int] | None = None, expiry: int = FOREVER) -> None:
        """A client's transaction reaches these validators, or all."""
        chosen = self.machines if to is None else [self.machines[each] for each in to]
        self.world.submit(Transaction(number, expiry), chosen)
        self.settle()

    # --- messages -----------------------------------------------------------------------

    def _matches(
        self,
        kind: str | Collection[str] | None,
        sender: int | Collection[int] | None,
        to: int | Collection[int] | None,
        match: Match | None,
    ) -> Match:
        kinds = [kind] if isinstance(kind, str) else kind
        senders = [sender] if isinstance(sender, int) else sender
        targets = [to] if isinstance(to, int) else to

        def matches(letter: Letter) -> bool:
            return (
                (kinds is None or kind_of(letter.message) in kinds)
                and (senders is None or letter.origin in senders)
                and (targets is None or letter.target in targets)
                and (match is None or match(letter))
            )

        return matches

    def deliver(
        self,
        kind: str | Collection[str] | None = None,
        sender: int | Collection[int] | None = None,
        to: int | Collection[int] | None = None,
        *,
        match: Match | None = None,
        rounds: int = MOST_ROUNDS,
    ) -> int:
        """Deliver what waits and matches, and what matches of what that causes; gives how many.

        ``rounds=1`` delivers only what waits now.
        """
        matches = self._matches(kind, sender, to, match)
        count = 0
        for _ in range(rounds):
            now = [each for each in self.held if matches(each)]
            if not now:
                return count
            self.held[:] = [each for each in self.held if not matches(each)]
            for letter in now:
                self.world.network.arrive(letter)
                self.settle()
            count += len(now)
        if rounds == MOST_ROUNDS:
            raise AssertionError("messages cause each other without end")
        return count

    def drop(
        self,
        kind: str | Collection[str] | None = None,
        sender: int | Collection[int] | None = None,
        to: int | Collection[int] | None = None,
        *,
        match: Match | None = None,
    ) -> int:
        matches = self._matches(kind, sender, to, match)
        before = len(self.held)
        self.held[:] = [each for each in self.held if not matches(each)]
        return before - len(self.held)

    def replace(self, kind: str, sender: int, change: Callable[[Message], Message]) -> int:
        """A liar's messages that wait become others; gives how many."""
        matches = self._matches(kind, sender, None, None)
        found = [index for index, each in enumerate(self.held) if matches(each)]
        for index in found:
            letter = self.held[index]
            self.held[index] = Letter(letter.sender, letter.origin, letter.target, change(letter.message))
        return len(found)

    def inject(self, sender: int, to: int, message: Message) -> None:
        """A message on the sender's link, whatever it says, arrives at once."""
        self.world.network.arrive(Letter(sender, sender, to, message))
        self.settle()

    def signed(self, index: int, statement: Signed) -> bytes:
        """The signature of a validator's own key, for liars."""
        return self.world.keyring.signers[index](statement.signed(self.world.id))

    def sign(self, statement: Statement) -> Statement:
        """By its validator's key, for liars."""
        return replace(statement, signature=self.signed(statement.validator, statement))

    def vote(self, index: int, phase: str, block: Digest, *, view: int = 0, height: int = 2) -> Vote:
        return self.sign(Vote(phase, Height(height), View(view), block, index))

    def change(
        self,
        index: int,
        view: int = 1,
        *,
        height: int = 2,
        prepared: Prepared | None = None,
        parent: Certificate | None = None,
    ) -> ViewChange:
        """Of that height; with its true parent's certificate, unless another is given."""
        below = self.machines[index].ledger.blocks[height - 2].certificate if parent is None else parent
        return self.sign(ViewChange(Height(height), View(view), index, prepared, below))

    def new_view(self, index: int, view: int, changes: Collection[ViewChange], *, height: int = 2) -> NewView:
        return self.sign(NewView(Height(height), View(view), index, tuple(changes)))

    def block(
        self,
        index: int,
        *,
        view: int = 0,
        time: int | None = None,
        transactions: tuple[Transaction, ...] = (),
        root: Digest | None = None,
        proposer: int | None = None,
    ) -> bytes:
        """On this one's tip, by it."""
        machine = self.machines[index]
        did = self.world.keyring.validators.members[index if proposer is None else proposer].did
        made = machine.now().wall if time is None else time
        return machine.ledger.make(transactions, view=view, time=made, proposer=did, root=root)

    def digest(self, block: bytes) -> Digest:
        return self.world.form.of_block(block)[1].digest

    def proposal(self, index: int, block: bytes, *, view: int = 0) -> PrePrepare:
        facts = self.world.form.of_block(block)[1]
        return PrePrepare(self.vote(index, PREPARE, facts.digest, view=view, height=facts.height), block)

    def changes(self, view: int) -> dict[int, ViewChange]:
        """The view-changes to this view that wait, by validator."""
        waiting = [each.message for each in self.held]
        found = [each for each in waiting if isinstance(each, ViewChange) and each.view == view]
        return {each.validator: each for each in sorted(found, key=lambda each: each.validator)}

    def mark_faulty(self, index: int) -> None:
        """The oracles expect nothing of it from now on."""
        self.machines[index].honest = False

    # --- time ---------------------------------------------------------------------------

    def wait(self, milliseconds: int) -> None:
        """The clocks go on; no timer rings by that."""
        self.world.scheduler.run(self.world.scheduler.now + milliseconds)

    def fire(self, *indexes: int) -> None:
        """Time passes to each one's deadline, one after the other, and that timer rings; no other."""
        for index in indexes:
            machine = self.machines[index]
            if machine.replica is None or machine.replica.deadline is None:
                raise AssertionError(f"validator {index} has no timer running")
            self.wait(max(0, machine.replica.deadline - machine.now().monotonic))
            machine.fire()
            self.settle()

    def time_out(self, *indexes: int) -> None:
        """Fire these ones' timers until each has left its view for a higher one."""
        for index in indexes:
            machine = self.machines[index]
            assert machine.replica is not None
            view, height = machine.replica.view, machine.replica.height
            for _ in range(4 * LIMITS.most_timeout // LIMITS.retransmission):
                if (machine.replica.height, machine.replica.view) != (height, view):
                    break
                self.fire(index)
            else:
                raise AssertionError(f"validator {index} never leaves view {view}")

    def go_live(self) -> None:
        """From now on messages travel and timers ring by themselves."""
        waiting, self.world.network.held = self.world.network.held, None
        self.world.manual = False
        for letter in waiting or []:
            self.world.network.post(letter)
        for machine in self.machines:
            machine.settle_alarm()

    # --- life ---------------------------------------------------------------------------

    def crash(self, index: int, *, after: int | None = None) -> None:
        """Now, or in the middle of its ``after``-th effect from now."""
        if after is None:
            self.machines[index].crash()
        else:
            self.machines[index].crash_after = after

    def restart(self, index: int, *, lost: bool = False, keep: int | None = None) -> None:
        """With ``lost`` without its safety record; with ``keep`` also without the blocks above."""
        self.machines[index].crash()
        if lost:
            self.machines[index].lose_record(keep)
        self.machines[index].start()
        self.settle()

    def said(self, index: int, phase: str = COMMIT) -> list[int]:
        """The views in which it has voted so at its present height, as its record says."""
        record = self.machines[index].disk.record
        return [] if record is None else [each.view for each in record.votes if each.phase == phase]

    def proposed(self) -> list[PrePrepare]:
        return [each.message for each in self.held if isinstance(each.message, PrePrepare)]
