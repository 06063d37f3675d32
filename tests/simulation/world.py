"""Everything of one schedule, tied together: time, keys, machines, links, oracles, trace."""

from __future__ import annotations

import random
from dataclasses import dataclass

from credchain.certificates import Certificate, Height, View, commit_digest, faults
from credchain.consensus.messages import CertifiedBlock, Message, decode_message, encode_message
from credchain.consensus.record import BORN
from credchain.encoding import digest
from credchain.errors import InvalidInput

from .byzantine import Adversary
from .keyring import Keyring
from .ledger import EPOCH, Format, Ledger, Transaction
from .machine import Disk, Machine
from .network import Letter, Network
from .oracles import Oracles
from .scheduler import Scheduler
from .trace import Trace, describe

FOREVER = EPOCH + 10**9


@dataclass(frozen=True)
class Cast:
    """Who takes part. ``twins`` and ``liars`` are validators' indexes; together at most f."""

    validators: int
    twins: tuple[int, ...] = ()
    liars: tuple[int, ...] = ()
    start: int = 0
    encoded: bool = False
    real_keys: bool = False


class World:
    """``manual``: nothing travels and no timer rings by itself, a script does it."""

    def __init__(self, seed: int, cast: Cast, *, traced: bool, manual: bool = False) -> None:
        self.rng = random.Random(f"{seed}")
        self.cast = cast
        self.manual = manual
        self.scheduler = Scheduler()
        self.trace = Trace(self.scheduler, on=traced)
        self.keyring = Keyring(seed, cast.validators, real=cast.real_keys)
        self.form = Format()
        self.id = digest("network", f"simulation {seed}".encode())
        self.network = Network(self.scheduler, random.Random(f"{seed} links"), self._deliver)
        self.submitted: dict[int, Transaction] = {}
        self.machines: list[Machine] = []
        self.of_index: list[list[int]] = []
        self.adversaries: dict[int, Adversary] = {}
        chain = self._first_blocks(cast.start)
        self.oracles = Oracles(self, chain)
        for index in range(cast.validators):
            places = [self._add(seed, index, chain)]
            if index in cast.twins:
                places.append(self._add(seed, index, chain))
            self.of_index.append(places)
            if index in cast.liars:
                rng = random.Random(f"{seed} liar {index}")
                self.adversaries[places[0]] = Adversary(self, self.machines[places[0]], rng)
        if manual:
            self.network.hold()

    @property
    def faults(self) -> int:
        return faults(self.cast.validators)

    @property
    def honest(self) -> list[Machine]:
        return [each for each in self.machines if each.honest]

    def _add(self, seed: int, index: int, chain: Ledger) -> int:
        place = len(self.machines)
        honest = index not in self.cast.twins and index not in self.cast.liars
        rng = random.Random(f"{seed} machine {place}")
        disk = Disk(BORN, chain.up_to(chain.height))
        self.machines.append(Machine(self, place, index, honest, rng, disk))
        return place

    def _first_blocks(self, count: int) -> Ledger:
        """A chain to start from, certified by everybody: reaches the rotation of primaries sooner."""
        ledger = Ledger(self.id, self.keyring.validators, self.form)
        proposer = self.keyring.validators.members[0].did
        for _ in range(count):
            time = ledger.time + 1 if ledger.height else EPOCH - count
            block = ledger.make((), view=0, time=time, proposer=proposer)
            facts = self.form.of_block(block)[1]
            signed = commit_digest(self.id, facts.height, View(0), facts.digest)
            signatures = tuple((index, sign(signed)) for index, sign in enumerate(self.keyring.signers))
            ledger.append(CertifiedBlock(block, Certificate(View(0), signatures)))
        return ledger

    @staticmethod
    def height(number: int) -> Height:
        return Height(number)

    # --- messages -----------------------------------------------------------------------

    def send(self, machine: Machine, to: int | None, message: Message) -> None:
        """What the replica wants sent; what a liar makes of it instead."""
        self.oracles.sends(machine, message)
        targets = [to] if to is not None else list(range(self.cast.validators))
        adversary = self.adversaries.get(machine.place)
        for target in targets:
            if target == machine.index or not 0 <= target < self.cast.validators:
                continue
            for each in [message] if adversary is None else adversary.instead(target, message):
                self.post(machine, target, each)

    def post(self, machine: Machine, to: int, message: Message) -> None:
        for place in self.of_index[to]:
            self.network.post(Letter(machine.index, machine.place, place, message))

    def _deliver(self, letter: Letter) -> None:
        machine = self.machines[letter.target]
        message = letter.message
        if self.cast.encoded:
            try:
                message = decode_message(encode_message(message))
            except InvalidInput as problem:
                if self.machines[letter.origin].honest:
                    self.oracles.broken(machine, f"cannot read {describe(message)}: {problem}")
                return
        if not machine.up:
            return
        machine.note(lambda: f"<- v{letter.sender}: {describe(message)}")
        adversary = self.adversaries.get(letter.target)
        if adversary is not None:
            adversary.hears(letter.sender, message)
        machine.receive(letter.sender, message)

    # --- life ---------------------------------------------------------------------------

    def start(self) -> None:
        for machine in self.machines:
            machine.start()

    def crash(self, machine: Machine) -> None:
        """It comes back after a while; in a script, when the script says so."""
        machine.crash()
        if not self.manual:
            self.scheduler.after(machine.rng.choice((0, 50, 500, 3_000, 15_000)), machine.start)

    def stepped(self, machine: Machine) -> None:
        self.oracles.stepped(machine)

    def submit(self, transaction: Transaction, machines: list[Machine]) -> None:
        self.submitted[transaction.number] = transaction
        self.trace.note("", f"transaction {transaction.number} reaches {[each.place for each in machines]}")
        for machine in machines:
            machine.submit(transaction)
