"""Liars: validators that run the honest code and change what it says, with their own key.

A habit takes one message on its way to one validator and gives what is sent instead; each seed gives a
liar some habits. Nothing here can sign for anybody else: that is all that the protocol assumes.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from credchain.certificates import Certificate, Height, View, quorum
from credchain.consensus.events import HeaderFacts
from credchain.consensus.messages import (
    COMMIT,
    PREPARE,
    Beacon,
    Blocks,
    Body,
    CertifiedBlock,
    FetchBody,
    Message,
    NewView,
    Prepared,
    PrePrepare,
    Signed,
    TipReply,
    ViewChange,
    Vote,
    decode_message,
    encode_message,
)
from credchain.encoding import Digest, digest
from credchain.errors import InvalidInput

from .ledger import EPOCH, Transaction, encode_block
from .trace import describe

if TYPE_CHECKING:
    from .machine import Machine
    from .world import World

HUGE = 2**50
MEMORY = 64


class Adversary:
    """``instead`` is asked for every outgoing message; ``hears`` sees every incoming one."""

    def __init__(self, world: World, machine: Machine, rng: random.Random) -> None:
        self.world = world
        self.machine = machine
        self.rng = rng
        self.heard: deque[Message] = deque(maxlen=MEMORY)
        self.spoken: deque[Message] = deque(maxlen=MEMORY)
        self.prepared: deque[Prepared] = deque(maxlen=8)
        self.made: dict[Digest, bytes] = {}
        self.alternatives: dict[tuple[int, int, str], bytes] = {}
        others = [each for each in range(world.cast.validators) if each != machine.index]
        self.other_side = frozenset(rng.sample(others, rng.randint(1, len(others) - 1)))
        self.cheats = rng.choice((0.1, 0.5, 1.0))
        names = sorted(HABITS)
        self.habits: list[str] = rng.sample(names, rng.choice((1, 1, 2, 3, 5)))
        self.bursts = 0
        self.flips = rng.random() < 0.1

    # --- what it can do ------------------------------------------------------------------

    def signed(self, statement: Signed) -> Signed:
        signer = self.world.keyring.signers[self.machine.index]
        own = replace(statement, validator=self.machine.index)
        return replace(own, signature=signer(own.signed(self.world.id)))

    def vote(self, phase: str, height: int, view: int, block: Digest) -> Vote:
        made = self.signed(Vote(phase, Height(height), View(view), block, self.machine.index))
        assert isinstance(made, Vote)
        return made

    def change(self, change: ViewChange) -> ViewChange:
        made = self.signed(change)
        assert isinstance(made, ViewChange)
        return made

    def new_view(self, made: NewView) -> NewView:
        signed = self.signed(made)
        assert isinstance(signed, NewView)
        return signed

    def proposal(self, height: int, view: int, block: bytes) -> PrePrepare:
        return PrePrepare(self.vote(PREPARE, height, view, self.facts(block).digest), block)

    def facts(self, block: bytes) -> HeaderFacts:
        """Of its header, whatever another lie has put beside it."""
        return self.world.form.of_header(self.world.form.block(block)[0])

    def block(
        self,
        view: int,
        *,
        time: int | None = None,
        root: Digest | None = None,
        transactions: tuple[Transaction, ...] = (),
    ) -> bytes:
        """One on its own tip, as its own primary would make it."""
        wall = self.machine.now().wall if time is None else time
        time = max(wall, self.machine.ledger.time + 1) if time is None else max(0, wall)
        did = self.world.keyring.validators.members[self.machine.index].did
        made = self.machine.ledger.make(transactions, view=view, time=time, proposer=did, root=root)
        self.made[self.world.form.of_block(made)[1].digest] = made
        return made

    # --- what it does --------------------------------------------------------------------

    def hears(self, sender: int, message: Message) -> None:
        self.heard.append(message)
        if isinstance(message, FetchBody) and message.block in self.made:
            self._post(sender, Body(message.height, self.made[message.block]))
        if isinstance(message, ViewChange) and message.prepared is not None:
            self.prepared.append(message.prepared)
        if "votes_for_everything" in self.habits and isinstance(message, Vote | PrePrepare):
            said = message.vote if isinstance(message, PrePrepare) else message
            if self.rng.random() < 0.3:
                for phase in (PREPARE, COMMIT):
                    target = self.rng.randrange(self.world.cast.validators)
                    self._post(target, self.vote(phase, said.height, said.view, said.block))

    def instead(self, to: int, message: Message) -> list[Message]:
        """What goes to this validator in the place of a message."""
        self.spoken.append(message)
        if isinstance(message, ViewChange) and message.prepared is not None:
            self.prepared.append(message.prepared)
        said = [message]
        for name in self.habits:
            if self.rng.random() < self.cheats:
                said = [each for one in said for each in self._cheat(name, to, one)]
        if self.flips and self.rng.random() < 0.2:
            said = [each for each in map(self.flipped, said) if each is not None]
        if said != [message]:
            shown = "; ".join(describe(each) for each in said)
            self.machine.note(lambda: f"   lies to v{to}: {shown or 'nothing'}")
        return said

    def _cheat(self, name: str, to: int, message: Message) -> list[Message]:
        try:
            return HABITS[name](self, to, message)
        except InvalidInput:  # an earlier habit made a lie of it that nobody can read
            return [message]

    def flipped(self, message: Message) -> Message | None:
        """What its reader makes of it after a byte or two were changed on the wire; None: it is refused."""
        data = bytearray(encode_message(message))
        for _ in range(self.rng.randint(1, 2)):
            data[self.rng.randrange(len(data))] = self.rng.randrange(256)
        try:
            return decode_message(bytes(data))
        except InvalidInput:
            return None

    def act(self) -> None:
        """Out of turn: something old, something of others, something huge, a view-change for nothing."""
        if not self.machine.up:
            return
        messages = OUTBURSTS[self.bursts % len(OUTBURSTS)](self)
        for target in range(self.world.cast.validators):
            for message in messages:
                self._post(target, message)
        self.bursts += self.rng.randint(1, 3)

    def _post(self, to: int, message: Message) -> None:
        if to != self.machine.index:
            self.machine.note(lambda: f"   lies to v{to}: {describe(message)}")
            self.world.post(self.machine, to, message)


Habit = Callable[[Adversary, int, Message], list[Message]]


# --- proposals ---------------------------------------------------------------------------


def _other_block(liar: Adversary, message: PrePrepare, kind: str, make: Callable[[], bytes]) -> list[Message]:
    """Another block for this height and view, the same one to everybody who gets this kind."""
    if message.height != liar.machine.ledger.height + 1:
        return [message]
    key = (message.height, message.vote.view, kind)
    if key not in liar.alternatives:
        liar.alternatives[key] = make()
    return [liar.proposal(message.height, message.vote.view, liar.alternatives[key])]


def equivocates(liar: Adversary, to: int, message: Message) -> list[Message]:
    """Two blocks for one view, and the votes that go with each."""
    if to not in liar.other_side:
        return [message]
    if isinstance(message, PrePrepare) and message.vote.validator == liar.machine.index:
        return _other_block(liar, message, "other", lambda: liar.block(message.vote.view))
    if isinstance(message, Vote) and message.validator == liar.machine.index:
        other = liar.alternatives.get((message.height, message.view, "other"))
        if other is not None:
            block = liar.world.form.of_block(other)[1].digest
            return [
                liar.vote(phase, message.height, message.view, block) for phase in (PREPARE, message.phase)
            ]
    return [message]


def lies_about_the_root(liar: Adversary, to: int, message: Message) -> list[Message]:
    if isinstance(message, PrePrepare):
        root = digest("root", b"a lie")
        return _other_block(liar, message, "root", lambda: liar.block(message.vote.view, root=root))
    return [message]


def stops_time(liar: Adversary, to: int, message: Message) -> list[Message]:
    """Blocks with their parent's time, or a little before it: never late enough for the ten seconds."""
    if isinstance(message, PrePrepare):
        time = liar.machine.ledger.time - liar.rng.choice((0, 0, 1, 1_000))
        return _other_block(liar, message, "time", lambda: liar.block(message.vote.view, time=time))
    return [message]


def bends_time(liar: Adversary, to: int, message: Message) -> list[Message]:
    if isinstance(message, PrePrepare):
        bend = liar.rng.choice((-60_000, -9_000, 4_000, 6_000, 60_000, 10**9))
        time = liar.machine.now().wall + bend
        return _other_block(liar, message, "bent", lambda: liar.block(message.vote.view, time=time))
    return [message]


def neglects(liar: Adversary, to: int, message: Message) -> list[Message]:
    """Never takes up anybody's transaction."""
    if isinstance(message, PrePrepare):
        return _other_block(liar, message, "empty", lambda: liar.block(message.vote.view))
    return [message]


def swaps_bodies(liar: Adversary, to: int, message: Message) -> list[Message]:
    """The header's bytes with another content."""
    if not isinstance(message, PrePrepare | Body):
        return [message]
    header_bytes, transactions = liar.world.form.block(message.block)
    header, _ = liar.world.form.header(header_bytes)
    swapped = (*transactions, Transaction(10**6 + header.height, EPOCH + 10**9))
    return [replace(message, block=encode_block(header, swapped))]


def claims_other_facts(liar: Adversary, to: int, message: Message) -> list[Message]:
    """A proposal whose header is of another view, height, parent or proposer than it is proposed in."""
    if not isinstance(message, PrePrepare):
        return [message]
    header_bytes, transactions = liar.world.form.block(message.block)
    header, _ = liar.world.form.header(header_bytes)
    wrong = liar.rng.choice(
        (
            replace(header, view=header.view + liar.rng.choice((1, 7, HUGE))),
            replace(header, height=header.height + 1),
            replace(header, parent=digest("root", b"nowhere")),
            replace(header, network=digest("root", b"elsewhere")),
            replace(header, proposer=liar.world.keyring.validators.members[to].did),
        )
    )
    block = encode_block(wrong, transactions)
    return [liar.proposal(message.height, message.vote.view, block)]


def floods_proposals(liar: Adversary, to: int, message: Message) -> list[Message]:
    """Many blocks for one view."""
    if not isinstance(message, PrePrepare):
        return [message]
    times = [liar.machine.ledger.time + 1 + liar.rng.randrange(5_000) for _ in range(5)]
    blocks = [liar.block(message.vote.view, time=time) for time in times]
    return [message, *(liar.proposal(message.height, message.vote.view, each) for each in blocks)]


# --- votes -------------------------------------------------------------------------------


def withholds_commits(liar: Adversary, to: int, message: Message) -> list[Message]:
    hidden = isinstance(message, Vote) and message.phase == COMMIT and to in liar.other_side
    return [] if hidden else [message]


def is_silent_to_some(liar: Adversary, to: int, message: Message) -> list[Message]:
    return [] if to in liar.other_side else [message]


def is_silent_by_kind(liar: Adversary, to: int, message: Message) -> list[Message]:
    kinds: tuple[tuple[type, ...], ...] = ((PrePrepare,), (NewView,), (ViewChange,), (Vote,), (Blocks, Body))
    return [] if isinstance(message, kinds[liar.machine.index % len(kinds)]) else [message]


def votes_for_everything(liar: Adversary, to: int, message: Message) -> list[Message]:
    """See `Adversary.hears`; and its own votes are doubled by votes for blocks that do not exist."""
    if isinstance(message, Vote) and message.validator == liar.machine.index:
        block = digest("root", bytes([liar.rng.randrange(4)]))
        return [message, liar.vote(message.phase, message.height, message.view, block)]
    return [message]


def votes_elsewhere(liar: Adversary, to: int, message: Message) -> list[Message]:
    """For other heights and views, early and late."""
    if isinstance(message, Vote) and message.validator == liar.machine.index:
        view = max(0, message.view + liar.rng.choice((-1, 1, 2, HUGE)))
        height = max(1, message.height + liar.rng.choice((-1, 1, 2, HUGE)))
        return [
            message,
            liar.vote(message.phase, message.height, view, message.block),
            liar.vote(message.phase, height, message.view, message.block),
        ]
    return [message]


def signs_badly(liar: Adversary, to: int, message: Message) -> list[Message]:
    bad = liar.rng.randbytes(64)
    if isinstance(message, Vote | ViewChange | NewView):
        return [replace(message, signature=bad)]
    if isinstance(message, PrePrepare):
        return [replace(message, vote=replace(message.vote, signature=bad))]
    return [message]


def signs_for_others(liar: Adversary, to: int, message: Message) -> list[Message]:
    """Its own signature under another's name."""
    if isinstance(message, Vote | ViewChange):
        other = liar.rng.randrange(liar.world.cast.validators)
        return [message, replace(message, validator=other)]
    return [message]


# --- view changes ------------------------------------------------------------------------


def hides_prepared(liar: Adversary, to: int, message: Message) -> list[Message]:
    if isinstance(message, ViewChange) and message.validator == liar.machine.index:
        return [liar.change(replace(message, prepared=None))]
    return [message]


def shows_old_prepared(liar: Adversary, to: int, message: Message) -> list[Message]:
    """A true certificate, of a lower view or of another height."""
    if isinstance(message, ViewChange) and message.validator == liar.machine.index and liar.prepared:
        return [liar.change(replace(message, prepared=liar.prepared[0]))]
    return [message]


def forges_prepared(liar: Adversary, to: int, message: Message) -> list[Message]:
    """A block of its own, "prepared" in the view just below by made-up or borrowed signatures."""
    if not isinstance(message, ViewChange) or message.validator != liar.machine.index:
        return [message]
    if message.height != liar.machine.ledger.height + 1:
        return [message]
    header, facts = liar.world.form.of_block(liar.block(max(0, message.view - 1)))
    n = liar.world.cast.validators
    own = liar.vote(PREPARE, message.height, max(0, message.view - 1), facts.digest).signature
    kind = liar.rng.randrange(3)
    if kind == 0:
        signatures = tuple((index, liar.rng.randbytes(64)) for index in range(quorum(n)))
    elif kind == 1:
        signatures = ((liar.machine.index, own),)
    else:
        signatures = tuple((index, own) for index in range(n))
    forged = Prepared(header, Certificate(View(max(0, message.view - 1)), signatures))
    return [liar.change(replace(message, prepared=forged))]


def mixes_heights(liar: Adversary, to: int, message: Message) -> list[Message]:
    """The last height's certificate as a prepared one of this; a view-change of another height."""
    tip = liar.machine.ledger
    if not isinstance(message, ViewChange) or tip.tip_header is None:
        return [message]
    certificate = tip.blocks[-1].certificate
    wrong = replace(message, prepared=Prepared(tip.tip_header, certificate))
    higher = replace(message, height=Height(message.height + 1))
    return [liar.change(wrong), liar.change(higher)]


def shows_wrong_parent(liar: Adversary, to: int, message: Message) -> list[Message]:
    """None, one that claims a huge view, or one cut short."""
    if not isinstance(message, ViewChange) or message.parent is None:
        return [message]
    certificate = message.parent
    wrong = (
        None,
        replace(certificate, view=View(HUGE)),
        replace(certificate, signatures=certificate.signatures[1:]),
    )
    return [liar.change(replace(message, parent=liar.rng.choice(wrong)))]


def repeats_old_view_changes(liar: Adversary, to: int, message: Message) -> list[Message]:
    if isinstance(message, ViewChange):
        return [message, *[each for each in liar.spoken if isinstance(each, ViewChange)][:3]]
    return [message]


def jumps_to_huge_views(liar: Adversary, to: int, message: Message) -> list[Message]:
    if isinstance(message, ViewChange) and message.validator == liar.machine.index:
        return [liar.change(replace(message, view=View(HUGE + liar.rng.randrange(8))))]
    if isinstance(message, Beacon):
        return [replace(message, view=View(HUGE))]
    return [message]


def spoils_new_views(liar: Adversary, to: int, message: Message) -> list[Message]:
    """One view-change twice, one of a lower view, of its own making, or one too few."""
    if not isinstance(message, NewView) or message.validator != liar.machine.index:
        return [message]
    changes = message.view_changes
    own = [each for each in changes if each.validator == liar.machine.index]
    hidden = [liar.change(replace(each, prepared=None)) for each in own]
    old = [each for each in liar.heard if isinstance(each, ViewChange)][:1]
    spoiled: tuple[tuple[ViewChange, ...], ...] = (
        (*changes[1:], changes[-1]),
        changes[:-1],
        (*[each for each in changes if each.validator != liar.machine.index], *hidden),
        (*changes, *own),
        (*changes[1:], *old),
        (*[each for each in changes if each.prepared is None], *hidden),
    )
    return [liar.new_view(replace(message, view_changes=liar.rng.choice(spoiled)))]


def disobeys_its_new_view(liar: Adversary, to: int, message: Message) -> list[Message]:
    """Proposes a block of its own where a prepared one is to be proposed again."""
    if not isinstance(message, PrePrepare) or message.vote.validator != liar.machine.index:
        return [message]
    facts = liar.facts(message.block)
    if facts.view == message.vote.view:
        return [message]
    return _other_block(liar, message, "own", lambda: liar.block(message.vote.view))


def keeps_new_view_for_some(liar: Adversary, to: int, message: Message) -> list[Message]:
    return [] if isinstance(message, NewView) and to in liar.other_side else [message]


# --- help for others ---------------------------------------------------------------------


def lies_about_its_tip(liar: Adversary, to: int, message: Message) -> list[Message]:
    if isinstance(message, TipReply):
        low = replace(message, height=0, header=None, certificate=None)
        high = replace(message, height=message.height + 50)
        header = liar.machine.ledger.tip_header
        bare = replace(message, height=HUGE, header=header, certificate=None)
        stale = replace(message, nonce=liar.rng.randbytes(32))
        return [liar.rng.choice((low, high, bare, stale)), low]
    return [message]


def lies_about_its_place(liar: Adversary, to: int, message: Message) -> list[Message]:
    if isinstance(message, Beacon):
        height = liar.rng.choice((1, message.height + 1, message.height + 3, HUGE))
        return [replace(message, height=Height(height), view=View(liar.rng.choice((0, message.view + 1))))]
    return [message]


def serves_wrong_blocks(liar: Adversary, to: int, message: Message) -> list[Message]:
    """Cut certificates, other blocks under true certificates, heights that do not follow."""
    if not isinstance(message, Blocks) or not message.blocks:
        return [message]
    first = message.blocks[0]
    cut = replace(first.certificate, signatures=first.certificate.signatures[:1])
    own = liar.block(0)
    wrong = (
        replace(message, blocks=(CertifiedBlock(first.block, cut), *message.blocks[1:])),
        replace(message, blocks=(CertifiedBlock(own, first.certificate), *message.blocks[1:])),
        replace(message, blocks=message.blocks[::-1]),
        replace(message, height=Height(message.height + 1)),
        replace(message, blocks=()),
        replace(message, blocks=message.blocks[1:]),
    )
    return [liar.rng.choice(wrong)]


def repeats_itself(liar: Adversary, to: int, message: Message) -> list[Message]:
    return [message, liar.rng.choice(liar.spoken)]


def repeats_others(liar: Adversary, to: int, message: Message) -> list[Message]:
    return [message, liar.rng.choice(liar.heard)] if liar.heard else [message]


HABITS: dict[str, Habit] = {
    each.__name__: each
    for each in (
        equivocates,
        lies_about_the_root,
        stops_time,
        bends_time,
        neglects,
        swaps_bodies,
        claims_other_facts,
        floods_proposals,
        withholds_commits,
        is_silent_to_some,
        is_silent_by_kind,
        votes_for_everything,
        votes_elsewhere,
        signs_badly,
        signs_for_others,
        hides_prepared,
        shows_old_prepared,
        forges_prepared,
        mixes_heights,
        shows_wrong_parent,
        repeats_old_view_changes,
        jumps_to_huge_views,
        spoils_new_views,
        disobeys_its_new_view,
        keeps_new_view_for_some,
        lies_about_its_tip,
        lies_about_its_place,
        serves_wrong_blocks,
        repeats_itself,
        repeats_others,
    )
}


# --- out of turn -------------------------------------------------------------------------


def _next_view_change(liar: Adversary) -> list[Message]:
    ledger = liar.machine.ledger
    parent = ledger.blocks[-1].certificate if ledger.blocks else None
    view = View(liar.machine.replica.view + 1 if liar.machine.replica is not None else 1)
    return [liar.change(ViewChange(Height(ledger.height + 1), view, liar.machine.index, None, parent))]


def _huge_view_change(liar: Adversary) -> list[Message]:
    ledger = liar.machine.ledger
    parent = ledger.blocks[-1].certificate if ledger.blocks else None
    change = ViewChange(Height(ledger.height + 1), View(HUGE), liar.machine.index, None, parent)
    return [liar.change(change), Beacon(Height(HUGE), View(HUGE), True, True)]


def _old_messages(liar: Adversary) -> list[Message]:
    return [liar.rng.choice(liar.spoken) for _ in range(3)] if liar.spoken else []


def _messages_of_others(liar: Adversary) -> list[Message]:
    return [liar.rng.choice(liar.heard) for _ in range(3)] if liar.heard else []


def _early_votes(liar: Adversary) -> list[Message]:
    height = liar.machine.ledger.height
    block = digest("root", liar.rng.randbytes(2))
    return [
        liar.vote(phase, height + step, liar.rng.choice((0, 1, 5, HUGE)), block)
        for step in (1, 2, 3)
        for phase in (PREPARE, COMMIT)
    ]


def _forged_new_view(liar: Adversary) -> list[Message]:
    """In a view of its own, from its own view-change alone or one many times, with a block to follow."""
    ledger, n = liar.machine.ledger, liar.world.cast.validators
    now = liar.machine.replica.view if liar.machine.replica is not None else 0
    view = View(now + 1 + (liar.machine.index - now - 1) % n)
    parent = ledger.blocks[-1].certificate if ledger.blocks else None
    height = Height(ledger.height + 1)
    own = liar.change(ViewChange(height, view, liar.machine.index, None, parent))
    heard = [each for each in liar.heard if isinstance(each, ViewChange)]
    changes = liar.rng.choice(((own,), (own,) * quorum(n), (own, *heard)[:n]))
    made = NewView(height, view, liar.machine.index, changes)
    return [own, liar.new_view(made), liar.proposal(height, view, liar.block(view))]


def _unasked_help(liar: Adversary) -> list[Message]:
    """Blocks and bodies that nobody asked for: true ones of elsewhere, one of its own, and false beacons."""
    ledger = liar.machine.ledger
    height = Height(ledger.height + 1)
    own = liar.block(0)
    certificate = ledger.blocks[-1].certificate if ledger.blocks else Certificate(View(0), ())
    return [
        Body(height, own),
        Blocks(height, (CertifiedBlock(own, certificate), *ledger.blocks[-2:])),
        Blocks(Height(max(1, ledger.height - 1)), tuple(ledger.blocks[-2:])),
        Beacon(Height(ledger.height + liar.rng.randint(1, 4)), View(liar.rng.randrange(9)), False, False),
    ]


def _relayed_proposals(liar: Adversary) -> list[Message]:
    """Others' proposals with other bytes beside the vote, and others' votes with other blocks."""
    heard = [each for each in liar.heard if isinstance(each, PrePrepare)][-2:]
    votes = [each for each in liar.heard if isinstance(each, Vote)][-2:]
    return [
        *[replace(each, block=liar.block(each.vote.view)) for each in heard],
        *[replace(each, block=digest("root", b"relayed")) for each in votes],
    ]


OUTBURSTS: tuple[Callable[[Adversary], list[Message]], ...] = (
    _unasked_help,
    _relayed_proposals,
    _next_view_change,
    _old_messages,
    _huge_view_change,
    _messages_of_others,
    _early_votes,
    _forged_new_view,
)
