"""Runs the consensus: hands inputs to the replica one at a time and carries its effects out in order.

It decides nothing about agreement. Disk writes happen on threads of their own (the safety record's, the
ledger's), each awaited before the next effect, so that what is persisted is on disk before a message
leaves; executing and making blocks run beside, and their answers come back as inputs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from ..certificates import Certificate, Height, Millis
from ..consensus.events import (
    Commit,
    Committed,
    Effect,
    Evidence,
    Execute,
    Executed,
    Halt,
    Input,
    Neglected,
    Outcome,
    Persist,
    Propose,
    Proposed,
    Received,
    Send,
    Serve,
    Tick,
    Work,
)
from ..consensus.messages import Blocks, Message, decode_message, encode_message
from ..consensus.record import Record
from ..consensus.replica import Replica
from ..consensus.setting import first_view
from ..encoding import Digest
from ..errors import CredchainError, InvalidInput, NetworkError, Rejected
from ..keys import Did
from ..ledger.blocks import CertifiedHeader, Header, Receipt, split_block
from ..ledger.execution import ExecutedBlock
from ..limits import LIMITS, SECOND
from .admission import Admission, Admitted
from .calls import Call
from .clock import both
from .gossip import TRANSACTIONS, Gossip, Links, Unlinked
from .ledger_port import LedgerPort, Opened
from .pool import Pool, Waiting

logger = logging.getLogger("credchain.node")

_MESSAGE = b"\x01"
_MOST_OPERATIONS = 20_000
"""Operations handed to a proposal; how many fit is the parameters' affair."""
_MOST_HALVINGS = 10
_QUIET = LIMITS.base_timeout // 2
"""Milliseconds without a block after which nothing seems to be under way; well before the view's timer
ends, which what no longer applies must not keep running."""
LOOK_AGAIN = 0.2
"""Seconds between looks at a ledger that another validator may be a block ahead of."""

Submitted = asyncio.Future[Receipt] | CredchainError
"""A transaction that was taken, until its receipt is there or the rules refuse it; or why it was not."""


class Safety(Protocol):
    """Where the safety record and evidence are kept, durable when a method returns."""

    def save(self, record: Record) -> None: ...

    def add_evidence(self, evidence: Evidence, accused: Did) -> None: ...


@dataclass
class CommitLog:
    """Who signed the last blocks, for operators: the indexes missing from each, whose COMMIT did not
    come before the block after it was final. Blocks that were fetched say nothing of it."""

    missing: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, signers: tuple[int, ...], validators: int) -> None:
        self.missing.append(tuple(each for each in range(validators) if each not in signers))
        del self.missing[: -LIMITS.certificates_shown]

    def count(self, index: int) -> int:
        return sum(index in each for each in self.missing)


class Driver:
    """Lives in the event loop's thread. ``run`` ends at `stop`, or with the StorageError that a write
    met: the process must then end, and start anew from what is on disk."""

    def __init__(
        self,
        replica: Replica,
        ledger: LedgerPort,
        pool: Pool,
        safety: Safety,
        own: Did,
        on_ledger: Call,
        on_disk: Call,
        on_verifiers: Call,
    ) -> None:
        self.replica = replica
        self.halted: str | None = None
        self.commits = CommitLog()
        self._ledger = ledger
        self._pool = pool
        self._safety = safety
        self._own = own
        self._links: Links = Unlinked()
        self._on_ledger = on_ledger
        self._on_disk = on_disk
        self._admission = Admission(ledger, pool, on_ledger, on_verifiers)
        self.gossip = Gossip(pool, self._admission)
        self._inputs: asyncio.Queue[Input | None] = asyncio.Queue(LIMITS.inputs_waiting)
        self._executed: dict[Digest, ExecutedBlock] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self._serving: dict[int, None] = {}
        self._failure: BaseException | None = None
        self._heard: dict[int, tuple[Millis, int | None]] = {}
        self._told_work = False
        self._applied = (0, Millis(0))
        self._ticked = False
        self._stopping = False

    # --- outside ------------------------------------------------------------------------------

    def attach(self, links: Links) -> None:
        """Where frames go from now on."""
        self._links = self.gossip.links = links

    async def run(self) -> None:
        """Until `stop`; raises the first error of a write or of work beside."""
        self._beside_run(self._prune_for_ever())
        try:
            while not self._stopping:
                event = await self._next()
                if self._failure is not None:
                    raise self._failure
                if event is not None:
                    await self._step(event)
        finally:
            for task in list(self._beside):
                task.cancel()
            self._pool.turn_away()

    def stop(self) -> None:
        self._stopping = True
        self._wake()

    async def receive(self, sender: int, frame: bytes) -> None:
        """A frame of an authenticated validator. Waits while too much waits: then its link backs up."""
        kind, content = frame[:1], frame[1:]
        self._heard[sender] = (both().monotonic, self._heard.get(sender, (Millis(0), None))[1])
        if kind == _MESSAGE:
            try:
                message = decode_message(content)
            except InvalidInput as problem:
                logger.warning("bad_message validator=%d at=%s", sender, problem.field)
                return
            if hasattr(message, "height"):
                self._heard[sender] = (self._heard[sender][0], int(message.height) - 1)
            await self._inputs.put(Received(sender, message))
        elif kind == TRANSACTIONS:
            # A few frames of each validator are checked beside, so that its messages need not wait.
            await self.gossip.turn(sender)
            self._beside_run(self._receive_transactions(sender, content))

    async def submit(self, wires: Sequence[bytes]) -> list[Submitted]:
        """A client's transactions: each checked, pooled, and passed to all validators, in order.

        What becomes of each, or why it was not taken: as `LedgerPort.admit`, or NetworkError when the
        pool is full. Errors: StorageError, NetworkError when the node stops.
        """
        self._refuse_when_stopping()
        admitted = await self._admit_from_client(wires)
        self._refuse_when_stopping()  # nobody would settle what is pooled now
        taken = [self._take(each) for each in admitted]
        self._tell_work()
        return taken

    def _refuse_when_stopping(self) -> None:
        if self._stopping:
            raise NetworkError("the node is stopping", hint="ask another node, or this one later")

    def _take(self, admitted: Admitted) -> Submitted:
        if isinstance(admitted, CredchainError):
            return admitted
        try:
            done = self._pool.wait(admitted, both().monotonic)
        except NetworkError as problem:
            return problem
        self.gossip.say(admitted.encoded)
        return done

    def last_heard(self, validator: int) -> tuple[Millis, int | None] | None:
        """(when, by the monotonic clock; its certified height as its last message implies)."""
        return self._heard.get(validator)

    @property
    def own_index(self) -> int | None:
        return self._ledger.tip.validators.index_of(self._own)

    # --- inputs -------------------------------------------------------------------------------

    async def _next(self) -> Input | None:
        """The next input, or a tick when the replica's deadline passes first."""
        deadline = self.replica.deadline
        if not self._inputs.empty():
            # In turn: neither may hold up the other.
            self._ticked = not self._ticked and deadline is not None and both().monotonic >= deadline
            return Tick() if self._ticked else self._inputs.get_nowait()
        wait = None if deadline is None else max(0, deadline - both().monotonic) / SECOND
        try:
            return await asyncio.wait_for(self._inputs.get(), wait)
        except TimeoutError:
            return Tick()

    def _wake(self) -> None:
        if self._inputs.empty():
            self._inputs.put_nowait(None)

    async def _receive_transactions(self, sender: int, content: bytes) -> None:
        try:
            await self.gossip.receive(sender, content)
        except InvalidInput as problem:
            logger.warning("bad_transactions validator=%d at=%s", sender, problem.field)
            return
        self._tell_work()

    async def _admit_from_client(self, wires: Sequence[bytes]) -> list[Admitted]:
        """A sender may have been enrolled a moment ago, in a block that is on its way here."""
        until = both().monotonic + (0 if self._ledger.alone else LIMITS.refusal_settles)
        found = await self._admission.admit(wires)
        while both().monotonic < until:
            unknown = [place for place, each in enumerate(found) if _of_unknown(each)]
            if not unknown:
                break
            await asyncio.sleep(LOOK_AGAIN)
            again = await self._admission.admit([wires[place] for place in unknown])
            for place, each in zip(unknown, again, strict=True):
                found[place] = each
        return found

    def _tell_work(self) -> None:
        """Whether something waits, when that is news to the replica."""
        if not self._told_work and self._works():
            self._told_work = True
            self._beside_run(self._inputs.put(Work(True)))

    def _works(self) -> bool:
        return any(each.refused_at is None for each in self._pool)

    def _beside_run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside; its error ends `run`."""
        task = asyncio.create_task(work)
        self._beside.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            self._beside.discard(done)
            if not done.cancelled() and done.exception() is not None:
                self._failure = self._failure or done.exception()
                self._wake()

        task.add_done_callback(ended)

    # --- effects ------------------------------------------------------------------------------

    async def _step(self, event: Input) -> None:
        waiting: list[Input] = [event]
        while waiting:
            for effect in self.replica.step(waiting.pop(0), both()):
                waiting += await self._carry_out(effect)

    async def _carry_out(self, effect: Effect) -> list[Input]:
        """Finished when this returns, or running beside; gives the inputs that follow at once."""
        match effect:
            case Persist(record):
                await self._on_disk(lambda: self._safety.save(record))
            case Send(to, message):
                self._send(to, message)
            case Propose():
                self._beside_run(self._propose(effect))
            case Execute(block, digest):
                self._beside_run(self._execute(block, digest))
            case Commit(block, certificate):
                return await self._commit(block, certificate)
            case Serve(to, height):
                if to not in self._serving:
                    self._serving[to] = None
                    self._beside_run(self._serve(to, height))
            case Evidence():
                await self._keep(effect)
            case Halt(reason):
                self.halted = reason
                logger.critical("halted reason=%s", reason)
        return []

    def _send(self, to: int | None, message: Message) -> None:
        frame = _MESSAGE + encode_message(message)
        if to is None:
            self._links.broadcast(frame)
        else:
            self._links.send(to, frame)

    async def _propose(self, wanted: Propose) -> None:
        candidates = self._pool.candidates(_MOST_OPERATIONS)
        executed, refused = await self._on_ledger(
            lambda: self._ledger.propose(
                candidates,
                time=wanted.time,
                view=wanted.view,
                proposer=self._own,
                halvings=min(wanted.halvings, _MOST_HALVINGS),
            )
        )
        now = both().monotonic
        for refusal in refused:
            self._refused(refusal.transaction.id, refusal.reason, now)
        block = None
        header = executed.block.header
        if header.height == wanted.height and (executed.block.transactions or wanted.heartbeat):
            block = executed.block.encoded
            self._executed[header.digest] = executed
        else:
            self._told_work = False
        await self._inputs.put(Proposed(wanted.height, wanted.view, block))
        self._tell_work()  # of what came while the block was made

    async def _execute(self, block: bytes, digest: Digest) -> None:
        try:
            _, wires = split_block(block)
        except InvalidInput:
            wires = ()
        opened = zip(wires, await self._admission.open(wires), strict=True)
        verified = {
            wire: each.transaction for wire, each in opened if isinstance(each, Opened) and each.signed
        }
        result = await self._on_ledger(lambda: self._ledger.examine(block, verified))
        outcome = Outcome.VALID
        if isinstance(result, Outcome):
            outcome = result
        else:
            self._executed[digest] = result
        await self._inputs.put(Executed(digest, outcome))

    async def _commit(self, block: Digest, certificate: Certificate) -> list[Input]:
        executed = self._executed[block]
        validators = len(self._ledger.tip.validators.members)
        signers = self.replica.last_signers()
        if signers is not None:
            self.commits.add(signers, validators)
        halvings = self._halvings(executed.block.header)
        certified, chain, room = await self._on_ledger(
            lambda: (
                self._ledger.commit(executed, certificate),
                self._ledger.chain(),
                self._ledger.room_in(executed.block, halvings),
            )
        )
        self._executed.clear()
        self._settle(executed, certified)
        header = executed.block.header
        logger.info(
            "committed height=%d view=%d transactions=%d waiting=%d",
            header.height,
            certificate.view,
            header.transaction_count,
            len(self._pool),
        )
        self._told_work = self._works()
        following: list[Input] = [Committed(chain), Work(self._told_work)]
        if executed.block.transactions and self._is_neglected(header, *room):
            logger.warning("neglected height=%d proposer=%s", header.height, header.proposer)
            following.append(Neglected(header.proposer))
        return following

    def _halvings(self, header: Header) -> int:
        """How often the bounds of this block, the tip's next, were halved: once a view that failed."""
        return min(max(0, header.view - first_view(self._ledger.chain())), _MOST_HALVINGS)

    def _settle(self, executed: ExecutedBlock, certified: CertifiedHeader) -> None:
        """Give their receipts to those who wait for a transaction of this block."""
        tree = executed.block.tree

        def receipt(place: int) -> Receipt:
            return Receipt(certified, place, tree.path(place))

        for place, each in enumerate(executed.block.transactions):
            self._pool.commit(each.id, partial(receipt, place))

    def _is_neglected(self, header: Header, operations: int, size: int) -> bool:
        """Whether a transaction has waited longer than the timeout while the block had this much room."""
        if header.proposer == self._own:
            return False
        oldest = next(iter(self._pool), None)
        if oldest is None or both().monotonic - oldest.since < 2 * LIMITS.base_timeout:
            return False
        transaction = oldest.transaction
        return operations >= len(transaction.operations) and size >= len(transaction.encoded)

    async def _serve(self, to: int, height: Height) -> None:
        """Certified blocks for a laggard: one answer at a time to each, so that many cannot slow us."""
        try:
            blocks = await self._on_ledger(
                lambda: self._ledger.blocks_from(height, LIMITS.blocks_per_fetch, LIMITS.fetch_bytes)
            )
            if blocks:
                self._send(to, Blocks(height, blocks))
        finally:
            self._serving.pop(to, None)

    async def _keep(self, evidence: Evidence) -> None:
        accused = self._ledger.tip.validators.members[evidence.validator].did
        logger.warning(
            "evidence validator=%s height=%d view=%d", accused, evidence.first.height, evidence.first.view
        )
        await self._on_disk(lambda: self._safety.add_evidence(evidence, accused))

    # --- the pool -----------------------------------------------------------------------------

    async def _prune_for_ever(self) -> None:
        """Find what no longer applies, so that it makes no work, and tell who waits for it."""
        while True:
            await asyncio.sleep((LIMITS.base_timeout / 16) / SECOND)
            self.gossip.remind(both().monotonic)
            await self._prune()

    async def _prune(self) -> None:
        now = both()
        standing = self.replica.standing()
        if standing.behind or not len(self._pool):
            return
        if self._applied[0] == self._ledger.tip.height and now.monotonic < self._applied[1]:
            return
        old = self._to_look_at(now.monotonic, quiet=now.monotonic - standing.opened >= _QUIET)
        if not old:
            return
        height = self._ledger.tip.height
        time = Millis(max(now.wall, self._ledger.tip.time + 1))
        transactions = [each.transaction for each in old]
        refused = await self._on_ledger(lambda: self._ledger.refusals(transactions, time))
        reasons = {each.transaction.id: each.reason for each in refused}
        for waiting in old:
            waiting.looked_at = now.monotonic
            reason = reasons.get(waiting.transaction.id)
            if reason is None:
                waiting.refused_at = None  # the tip takes now what an earlier one refused
            else:
                self._refused(waiting.transaction.id, reason, now.monotonic, final=self._ledger.alone)
        if len(refused) < len(old) and not self._ledger.alone:
            # There is work, whatever else no longer applies: that can wait for the next block.
            self._applied = (height, Millis(now.monotonic + LIMITS.pool_looked_at))
        self._tell_work()
        if self._told_work and not self._works():
            self._told_work = False
            await self._inputs.put(Work(False))

    def _to_look_at(self, now: Millis, *, quiet: bool) -> list[Waiting]:
        """Those that have waited for a while; while blocks follow each other, for a long one, since most
        of them only wait for their turn. A few operations at a time."""
        pause = _QUIET if quiet else LIMITS.pool_looked_at
        now = Millis(now + pause) if self._ledger.alone else now
        found: list[Waiting] = []
        operations = 0
        for each in self._pool:
            if operations >= LIMITS.pool_checked:
                break
            if now - each.looked_at >= pause:
                found.append(each)
                operations += len(each.transaction.operations)
        return found

    def _refused(
        self, transaction: Digest, reason: CredchainError, now: Millis, *, final: bool = False
    ) -> None:
        """The tip refuses it. That is told as final only if it lasts longer than another validator's
        commit takes to get here: this one's ledger may be a block behind."""
        waiting = self._pool.get(transaction)
        if waiting is None:
            return
        if waiting.refused_at is None:
            waiting.refused_at = now
        if final or now - waiting.refused_at >= LIMITS.refusal_settles:
            self._pool.refuse(transaction, reason)


def _of_unknown(admitted: Admitted) -> bool:
    """Whether it is refused only because its sender or key is not known here."""
    return isinstance(admitted, Rejected) and admitted.rule in ("sender", "key")
