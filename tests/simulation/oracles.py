"""What must never happen, whatever the schedule; and how much a replica may hold.

The oracles remember every honest validator's whole life, across restarts and lost records. They check
signatures, blocks and certificates on their own: nothing of the replica's judgement is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from credchain.certificates import Certificate, View, faults
from credchain.consensus.events import Chain, Evidence, HeaderFacts, Outcome
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
from credchain.consensus.record import Record
from credchain.consensus.setting import Setting
from credchain.encoding import Digest, Value, encode
from credchain.limits import LIMITS

from .ledger import EPOCH, Ledger, content_digest
from .trace import describe

if TYPE_CHECKING:
    from .machine import Machine
    from .world import World


class Violation(AssertionError):
    """A rule was broken."""


SKEW = 2_000
"""Milliseconds by which an honest clock may differ from the true time; up to f wrong ones beside."""
MOST_VIEW = 1_000
"""More views than a schedule has time for: higher is where a liar wants the others."""
MEMORY_EACH_STEPS = 200
"""How often what a replica holds is counted."""


def memory_bound(validators: int) -> int:
    """Items in all containers of a replica, but for the signatures known to hold, which have a bound of
    their own: a view-change of each validator and the NEW-VIEWs made of them; of each liar the early
    messages that are kept, a NEW-VIEW among them, and its votes in many views."""
    change = 6 * validators
    liar = LIMITS.messages_kept * change + 2 * validators * change + 2 * LIMITS.votes_kept
    return 200 + 2 * validators * change + faults(validators) * liar


def bytes_bound(validators: int) -> int:
    """Bytes of all texts and byte strings of a replica, of the same things, in the simulation's blocks."""
    change = 2 * 64 * validators + 500
    liar = LIMITS.messages_kept * change + 2 * validators * change + 2 * LIMITS.votes_kept * 200
    return 4_000 + 2 * validators * change + faults(validators) * liar


@dataclass
class Life:
    """All that one honest validator has ever had on disk or said. Numbers are the order of storing."""

    stored: dict[Signed, int] = field(default_factory=dict)
    votes: dict[tuple[str, int, int], Digest] = field(default_factory=dict)
    changes: dict[tuple[int, int], Signed] = field(default_factory=dict)
    new_views: dict[tuple[int, int], Signed] = field(default_factory=dict)
    floors: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    committing: dict[int, int] = field(default_factory=dict)
    said: set[Signed] = field(default_factory=set)
    accepted: set[NewView] = field(default_factory=set)
    steps: int = 0


class Oracles:
    """``chain`` becomes the oracle's own ledger: every committed block is executed on it."""

    def __init__(self, world: World, chain: Ledger) -> None:
        self.world = world
        self.chain = chain
        self.lives: dict[int, Life] = {}
        self.most_held = 0
        self.most_bytes = 0

    def broken(self, machine: Machine | None, what: str) -> None:
        who = "" if machine is None else f"validator {machine.index}: "
        if machine is None or machine.honest:
            self.world.trace.note("!!!!", f"{who}{what}")
            raise Violation(f"{who}{what}")

    def _life(self, machine: Machine) -> Life:
        return self.lives.setdefault(machine.index, Life())

    # --- statements ---------------------------------------------------------------------

    def stored(self, machine: Machine, before: Record | None, record: Record) -> None:
        """The record is on disk. No step of it takes back what the one before said."""
        if not machine.honest:
            return
        life = self._life(machine)
        if before is not None:
            if record.height < before.height:
                self.broken(machine, f"its record went back from height {before.height} to {record.height}")
            if record.height == before.height and record.floor < before.floor:
                self.broken(machine, f"its floor sank from {before.floor} to {record.floor}")
        if record.floor > MOST_VIEW:
            self.broken(machine, f"is in view {record.floor}: liars chose it")
        if record.new_view is not None and record.new_view not in life.accepted:
            self._check_new_view(machine, record, record.new_view)
            life.accepted.add(record.new_view)
        for vote in record.votes:
            if vote not in life.stored:
                self._new_vote(machine, life, before, record, vote)
        if record.view_change is not None and record.view_change not in life.stored:
            self._new_change(machine, life, record.view_change)
        if record.new_view is not None and record.new_view.validator == machine.index:
            life.stored.setdefault(record.new_view, len(life.stored))

    def _new_vote(
        self, machine: Machine, life: Life, before: Record | None, record: Record, vote: Vote
    ) -> None:
        same = before is not None and before.height == record.height
        if same and before is not None and vote.view < before.floor:
            self.broken(machine, f"signed {describe(vote)} below its view-change to {before.floor}")
        if any(view > vote.view for view, _ in life.floors.get(vote.height, [])):
            self.broken(machine, f"signed {describe(vote)} below an earlier view-change")
        if vote.phase == COMMIT:
            self._check_prepared(machine, record.prepared, vote)
            life.committing[vote.height] = max(life.committing.get(vote.height, -1), vote.view)
        else:
            self._check_body(machine, record.body(vote.block), vote, "has on disk")
            self._check_proposal(machine, record, vote)
        life.stored[vote] = len(life.stored)

    def _new_change(self, machine: Machine, life: Life, change: ViewChange) -> None:
        prepared = -1 if change.prepared is None else change.prepared.view
        if prepared < life.committing.get(change.height, -1):
            self.broken(machine, f"{describe(change)} hides what it had committed to")
        if change.prepared is not None:
            facts = self.world.form.of_header(change.prepared.header)
            prepare = Vote(PREPARE, change.height, change.prepared.view, facts.digest, machine.index)
            self._check_quorum(machine, change.prepared.certificate, self._signed(prepare), "prepared")
            if facts.height != change.height or change.prepared.view >= change.view:
                self.broken(machine, f"{describe(change)} carries a prepared certificate of elsewhere")
        life.stored[change] = len(life.stored)
        life.floors.setdefault(change.height, []).append((change.view, life.stored[change]))

    def _check_prepared(self, machine: Machine, prepared: Prepared | None, vote: Vote) -> None:
        """A COMMIT needs a quorum of PREPAREs of its view for its block, and they are on disk."""
        if prepared is None or prepared.view != vote.view:
            self.broken(machine, f"signed {describe(vote)} without a prepared certificate on disk")
            return
        if self.world.form.of_header(prepared.header).digest != vote.block:
            self.broken(machine, f"signed {describe(vote)}, prepared is another block")
        prepare = Vote(PREPARE, vote.height, vote.view, vote.block, machine.index)
        self._check_quorum(machine, prepared.certificate, self._signed(prepare), "prepared")

    def _check_body(self, machine: Machine, block: bytes | None, vote: Vote, does: str) -> None:
        """The very block that the vote is for, with the content that its header names."""
        if block is None:
            self.broken(machine, f"signed {describe(vote)} without having its block on disk")
            return
        header_bytes, transactions = self.world.form.block(block)
        header, facts = self.world.form.header(header_bytes)
        if facts.digest != vote.block or header.content != content_digest(transactions):
            self.broken(machine, f"{does} another content than that of its {describe(vote)}")

    def _facts(self, height: int) -> HeaderFacts:
        """Of a block that somebody has committed."""
        header, _ = self.world.form.block(self.chain.blocks[height - 1].block)
        return self.world.form.of_header(header)

    def _first_view(self, height: int) -> int:
        if height == 1:
            return 0
        return self._facts(height - 1).view + (1 if (height - 1) % LIMITS.rotation == 0 else 0)

    def _check_proposal(self, machine: Machine, record: Record, vote: Vote) -> None:
        """PREPARE only what the accepted NEW-VIEW demands, else what this view's primary made for it."""
        what = describe(vote)
        choice = None
        if vote.view > self._first_view(vote.height):
            change, new_view = record.view_change, record.new_view
            if change is None or change.view != vote.view:
                self.broken(machine, f"signed {what} without a view-change to its view")
            if new_view is None or new_view.view != vote.view:
                self.broken(machine, f"signed {what} without its NEW-VIEW on disk")
                return
            shown = [each.prepared for each in new_view.view_changes if each.prepared is not None]
            choice = sorted(shown, key=lambda each: each.view)[-1] if shown else None
        body = record.body(vote.block)
        if body is None:
            return
        header, facts = self.world.form.of_block(body)
        if choice is not None:
            if header != choice.header:
                self.broken(machine, f"signed {what}, its NEW-VIEW demands another block")
            return
        members = self.world.keyring.validators.members
        if (facts.view, facts.proposer) != (vote.view, members[vote.view % len(members)].did):
            self.broken(machine, f"signed {what}, a fresh block of view {facts.view} or another proposer")
        if facts.time <= (self._facts(vote.height - 1).time if vote.height > 1 else EPOCH):
            self.broken(machine, f"signed {what}, a block whose time is not after its parent's")

    def _check_new_view(self, machine: Machine, record: Record, new_view: NewView) -> None:
        """What it accepted is signed by its primary, and shows a quorum of true view-changes."""
        what = f"accepts {describe(new_view)}"
        n = self.world.cast.validators
        if new_view.height != record.height or new_view.view != record.floor:
            self.broken(machine, f"{what} at height {record.height}, view {record.floor}")
        if new_view.validator != new_view.view % n or not self._signed_by(new_view, new_view.validator):
            self.broken(machine, f"{what}, which is not its primary's")
        senders = {each.validator for each in new_view.view_changes}
        if len(senders) < quorum_of(n) or len(senders) != len(new_view.view_changes):
            self.broken(machine, f"{what}, not of a quorum")
        for change in new_view.view_changes:
            if (change.height, change.view) != (new_view.height, new_view.view):
                self.broken(machine, f"{what} with a view-change of elsewhere")
            if change.validator >= n or not self._signed_by(change, change.validator):
                self.broken(machine, f"{what} with a forged view-change")
            self._check_shown(machine, change)

    def _check_shown(self, machine: Machine, change: ViewChange) -> None:
        """The certificates in another's view-change."""
        if change.prepared is not None:
            facts = self.world.form.of_header(change.prepared.header)
            if facts.height != change.height or change.prepared.view >= change.view:
                self.broken(machine, f"accepts a prepared certificate of elsewhere in {describe(change)}")
            prepare = Vote(PREPARE, change.height, change.prepared.view, facts.digest, machine.index)
            self._check_quorum(machine, change.prepared.certificate, self._signed(prepare), "prepared")
        if change.height == 1:
            if change.parent is not None:
                self.broken(machine, f"accepts {describe(change)} with a parent")
            return
        if change.parent is None:
            self.broken(machine, f"accepts {describe(change)} without a parent's certificate")
            return
        below = self._facts(change.height - 1)
        commit = Vote(COMMIT, below.height, change.parent.view, below.digest, machine.index)
        self._check_quorum(machine, change.parent, self._signed(commit), "parent's")

    def sends(self, machine: Machine, message: Message) -> None:
        """A message leaves. What it signs itself is on disk before, and contradicts nothing earlier."""
        if not machine.honest:
            return
        statement = message.vote if isinstance(message, PrePrepare) else message
        if not isinstance(statement, Vote | ViewChange | NewView) or statement.validator != machine.index:
            return
        if isinstance(message, PrePrepare):
            self._check_body(machine, message.block, message.vote, "proposes")
        life = self._life(machine)
        if statement in life.said:
            return
        if not self._signed_by(statement, machine.index):
            self.broken(machine, f"sends {describe(statement)} with a bad signature")
        if statement not in life.stored:
            self.broken(machine, f"sends {describe(statement)} before it is on disk")
        self._check_alone(machine, life, statement)
        at = life.stored[statement]
        if not isinstance(statement, ViewChange):
            floors = life.floors.get(statement.height, [])
            below = [view for view, when in floors if view > statement.view and when < at]
            if below:
                self.broken(machine, f"sends {describe(statement)} after a view-change to {max(below)}")
        life.said.add(statement)

    def _check_alone(self, machine: Machine, life: Life, statement: Signed) -> None:
        """One block per (phase, height, view); one view-change and one new-view per (height, view)."""
        other: object
        if isinstance(statement, Vote):
            key = (statement.phase, statement.height, statement.view)
            other = life.votes.setdefault(key, statement.block)
            if other != statement.block:
                self.broken(machine, f"equivocates: {describe(statement)} beside one for another block")
            return
        of_kind = life.changes if isinstance(statement, ViewChange) else life.new_views
        first = of_kind.setdefault((statement.height, statement.view), statement)
        if first != statement:
            self.broken(machine, f"equivocates: {describe(statement)} beside {describe(first)}")

    def _signed_by(self, statement: Signed, index: int) -> bool:
        key = self.world.keyring.validators.members[index].key
        return self.world.keyring.verify(key, self._signed(statement), statement.signature)

    def _signed(self, statement: Signed) -> Digest:
        return signed_digest(self.world.id, statement)

    def _check_quorum(self, machine: Machine, certificate: Certificate, signed: Digest, kind: str) -> None:
        members = self.world.keyring.validators.members
        indexes = {index for index, _ in certificate.signatures}
        if len(indexes) != len(certificate.signatures) or len(indexes) < quorum_of(len(members)):
            self.broken(machine, f"a {kind} certificate of {len(indexes)} validators")
        for index, signature in certificate.signatures:
            if not 0 <= index < len(members) or not self.world.keyring.verify(
                members[index].key, signed, signature
            ):
                self.broken(machine, f"a {kind} certificate with a bad signature of {index}")

    def evidence(self, machine: Machine, evidence: Evidence) -> None:
        """Nobody honest is accused, and the two statements really are of the accused."""
        if not machine.honest:
            return
        if all(each.index != evidence.validator or each.honest is False for each in self.world.machines):
            pair = (evidence.first, evidence.second)
            if not all(self._signed_by(each, evidence.validator) for each in pair) or pair[0] == pair[1]:
                self.broken(machine, "its evidence does not hold")
            return
        self.broken(machine, f"accuses validator {evidence.validator}, which is honest")

    # --- blocks -------------------------------------------------------------------------

    def commits(self, machine: Machine, block: Digest, certificate: Certificate) -> None:
        """Before it is written: executed here, and certified by a quorum."""
        if not machine.honest:
            return
        if not machine.ledger.has_executed(block):
            self.broken(machine, f"commits {block.hex()[:6]} without having executed it")
        height = machine.world.height(machine.ledger.height + 1)
        commit = Vote(COMMIT, height, certificate.view, block, machine.index)
        self._check_quorum(machine, certificate, self._signed(commit), "commit")

    def committed(self, machine: Machine) -> None:
        """Agreement, validity, equal roots: the oracle executes each height's first block itself."""
        if not machine.honest:
            return
        ledger = machine.ledger
        block = ledger.blocks[-1]
        if ledger.height == self.chain.height + 1:
            self._extend(machine, block.block, block.certificate)
        expected = self.chain.blocks[ledger.height - 1].block
        if block.block != expected:
            self.broken(machine, f"fork: another block at height {ledger.height}")
        if ledger.height == self.chain.height and ledger.root != self.chain.root:
            self.broken(machine, f"another state root at height {ledger.height}")

    def _extend(self, machine: Machine, block: bytes, certificate: Certificate) -> None:
        header_bytes, _ = self.world.form.block(block)
        facts = self.world.form.of_header(header_bytes)
        where = f"the block of height {facts.height}"
        if self.chain.execute(block, facts.digest) is not Outcome.VALID:
            self.broken(machine, f"{where} is not valid")
        # The fresh rules held when it was first proposed.
        if facts.time <= self.chain.time:
            self.broken(machine, f"{where} has a time that is not after its parent's")
        # At most f liars and f wrong clocks: one of the quorum that prepared it had a good clock.
        latest = EPOCH + self.world.scheduler.now + LIMITS.proposal_early + SKEW
        if facts.time > latest:
            self.broken(machine, f"{where} has a time {facts.time - latest} ms too far ahead")
        first = first_view(self.chain.chain())
        members = self.world.keyring.validators.members
        if not first <= facts.view <= certificate.view:
            views = f"first {first}, certified {certificate.view}"
            self.broken(machine, f"{where} is of view {facts.view}, {views}")
        if facts.proposer != members[facts.view % len(members)].did:
            self.broken(machine, f"{where} is not by the primary of view {facts.view}")
        self.chain.commit(facts.digest, certificate)

    def halted(self, machine: Machine, reason: str) -> None:
        self.broken(machine, f"halts: {reason}")

    # --- what a replica holds -----------------------------------------------------------

    def stepped(self, machine: Machine) -> None:
        life = self._life(machine)
        life.steps += 1
        if life.steps % MEMORY_EACH_STEPS == 0:
            self.check_memory(machine)

    def check_memory(self, machine: Machine) -> None:
        if machine.replica is None:
            return
        held = Held()
        held.count(machine.replica)
        self.most_held = max(self.most_held, held.items)
        self.most_bytes = max(self.most_bytes, held.bytes)
        n = self.world.cast.validators
        if held.items > memory_bound(n):
            self.broken(machine, f"holds {held.items} items, the bound is {memory_bound(n)}")
        if held.bytes > bytes_bound(n):
            self.broken(machine, f"holds {held.bytes} bytes, the bound is {bytes_bound(n)}")
        if held.signatures > 2 * LIMITS.signatures_known:
            self.broken(machine, f"holds {held.signatures} signatures that it knows")


def quorum_of(validators: int) -> int:
    """ceil((n+f+1)/2), written down a second time: the oracle does not ask who is judged."""
    return -(-(validators + (validators - 1) // 3 + 1) // 2)


def first_view(chain: Chain) -> View:
    """DESIGN section 7: the last header's view, and one more after every 100 heights."""
    return View(chain.view + (1 if chain.height and chain.height % LIMITS.rotation == 0 else 0))


def signed_digest(network: Digest, statement: Signed) -> Digest:
    """PROTOCOL section 12, "What is signed", written down a second time."""
    content: dict[str, Value] = {
        "network": network,
        "height": statement.height,
        "view": statement.view,
    }
    if isinstance(statement, Vote):
        purpose = statement.phase
        content["header"] = statement.block
    elif isinstance(statement, NewView):
        purpose = "new-view"
        content["validator"] = statement.validator
        content["view_changes"] = [encode(each.fields()) for each in statement.view_changes]
    else:
        purpose = "view-change"
        content["validator"] = statement.validator
        if statement.prepared is not None:
            prepared = statement.prepared
            content["prepared"] = {
                "header": prepared.header,
                "certificate": prepared.certificate.encode(),
            }
        if statement.parent is not None:
            content["parent"] = statement.parent.encode()
    return Digest(hashlib.sha256(f"credchain/v1/{purpose}\0".encode() + encode(content)).digest())


@dataclass
class Held:
    """What is reachable from a replica: each container and each text once."""

    items: int = 0
    bytes: int = 0
    signatures: int = 0
    _seen: set[int] = field(default_factory=set)

    def count(self, value: Any) -> None:
        if isinstance(value, int | float | None) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, str | bytes):
            self.bytes += len(value)
            return
        inner: list[Any]
        if isinstance(value, dict):
            self.items += len(value)
            inner = [*value.keys(), *value.values()]
        elif isinstance(value, Setting):
            self.signatures += len(value._known)
            inner = [value.chain]
        elif is_dataclass(value) and not isinstance(value, type):
            inner = [getattr(value, each.name, None) for each in fields(value)]
        elif isinstance(value, Collection):
            self.items += len(value)
            inner = list(value)
        elif type(value).__module__.startswith("credchain.consensus"):
            inner = list(vars(value).values()) if hasattr(value, "__dict__") else []
        else:
            return
        for each in inner:
            self.count(each)
