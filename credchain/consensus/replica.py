"""One validator's part in the agreement: `step(input, now) -> effects`, and nothing else.

What it knows of the height that it works on is plain data; after each input, the rules below are tried
in order until none applies. Each rule says what must hold, and what follows; the sections are Castro &
Liskov's (OSDI 1999), the argument for what differs from them is in PROTOCOL.md, "Agreement". There is
no clock, no randomness and no I/O here: the same inputs give the same effects.
"""

from __future__ import annotations

from ..certificates import Height, Millis, View
from ..encoding import Digest
from ..keys import Did
from ..limits import LIMITS
from . import record as safety
from .catch_up import CatchUp
from .events import (
    Chain,
    Commit,
    Committed,
    Effect,
    Evidence,
    Execute,
    Executed,
    Halt,
    HeaderFacts,
    Headers,
    Identity,
    Input,
    Neglected,
    Now,
    Outcome,
    Persist,
    Propose,
    Proposed,
    Received,
    Send,
    Serve,
    Tick,
    Verify,
    Work,
)
from .instance import Candidate, Instance, Offer, Standing
from .lost_record import LostRecord
from .messages import (
    COMMIT,
    PREPARE,
    Beacon,
    Blocks,
    Body,
    FetchBlocks,
    FetchBody,
    Message,
    NewView,
    Prepared,
    PrePrepare,
    Signed,
    TipQuery,
    TipReply,
    ViewChange,
    Vote,
)
from .pacemaker import Pacemaker
from .record import Record
from .setting import Setting, statement_key
from .view_change import choose, new_view_holds, view_change_holds
from .votes import Votes


class Replica:
    """A validator, or (its DID not among the validators) a follower that signs nothing."""

    def __init__(
        self,
        identity: Identity,
        verify: Verify,
        headers: Headers,
        chain: Chain,
        record: Record | None,
        now: Now,
    ) -> None:
        """``record`` None: it was lost, and nothing is signed until that is harmless."""
        self._identity = identity
        self._verify = verify
        self._headers = headers
        self._record = record
        self._lost = LostRecord(identity.nonce) if record is None else None
        # Before the first block, and for a validator alone, nobody else brings the heartbeat.
        due = chain.height == 0 or len(chain.validators.members) == 1
        committed = Millis(now.monotonic - LIMITS.heartbeat) if due else now.monotonic
        self._pace = Pacemaker(committed, resend=now.monotonic)
        self._catch_up = CatchUp()
        self._early: dict[int, dict[tuple[str, int, int], Message]] = {}
        self._served: dict[tuple[int, str], Millis] = {}
        self._waiting = False
        self._news = False
        self._halted: str | None = None
        self._now = now
        self._effects: list[Effect] = []
        self._last: tuple[Setting, Votes] | None = None
        self._instance = self._open(chain)

    # --- outside ------------------------------------------------------------------------------

    @property
    def height(self) -> Height:
        """The height that it works on: one above its ledger's."""
        return self._instance.setting.height

    @property
    def view(self) -> View:
        return self._instance.view

    @property
    def deadline(self) -> Millis | None:
        """When the next `Tick` is due, by the monotonic clock."""
        if self._halted is not None:
            return None
        times = [self._pace.resend, self._pace.expires, self._catch_up.deadline, self._held_until()]
        if self._now.monotonic < self._pace.heartbeat:
            times.append(self._pace.heartbeat)
        return min(time for time in times if time is not None)

    def standing(self) -> Standing:
        at = self._instance
        return Standing(
            self.height,
            at.view,
            at.setting.primary(at.view),
            at.changing,
            at.opened,
            len(at.view_changes),
            self._catch_up.behind(self.height),
            self._has_work(),
            self._lost is not None,
            None if self._lost is None else self._lost.waits_for(at.setting.quorum),
            self._halted,
        )

    def last_signers(self) -> tuple[int, ...] | None:
        """Whose COMMITs for the last block are known here, also those that came after its certificate;
        None where the block was fetched. For operators only."""
        if self._last is None:
            return None
        return self._last[1].voters(COMMIT, self._instance.setting.chain.digest)

    def step(self, event: Input, now: Now) -> list[Effect]:
        """Take in one event; the effects that follow, in their order."""
        if self._halted is not None:
            return []
        self._now = now
        self._effects = []
        match event:
            case Received(sender, message):
                self._receive(sender, message)
            case Proposed():
                self._proposed(event)
            case Executed(block, outcome):
                self._executed(block, outcome)
            case Committed(chain):
                self._committed(chain)
            case Work(waiting):
                self._waiting = self._news = waiting
            case Neglected(proposer):
                self._neglected(proposer)
            case Tick():
                self._tick()
        self._apply_rules()
        return self._effects

    # --- heights ------------------------------------------------------------------------------

    def _open(self, chain: Chain) -> Instance:
        """The next height, with what the record says was done at it before a crash."""
        setting = Setting(chain, self._headers, self._verify)
        own = chain.validators.index_of(self._identity.did)
        at = Instance(setting, own, self._now.monotonic, Votes(setting.quorum), setting.first)
        if self._record is None:
            return at
        record = self._record = safety.open_height(self._record, setting.height, setting.first)
        if record.height != setting.height:
            return at  # the ledger is older than the record: nothing can be signed before it catches up
        at.view = record.floor
        at.bodies.update(record.bodies)
        for vote in record.votes:
            at.votes.add(vote)
        if record.view_change is not None:
            at.view_changes[record.view_change.validator] = record.view_change
            at.changing = record.new_view is None
        if record.new_view is not None:
            at.new_view = record.new_view
            at.choice = choose(record.new_view.view_changes)
        said = record.vote(PREPARE, record.floor)
        body = None if said is None else record.body(said.block)
        found = None if body is None else setting.block_facts(body)
        if found is not None:
            at.candidate = Candidate(found[1].digest, found[0])
        return at

    def _committed(self, chain: Chain) -> None:
        at = self._instance
        self._last = None if self._catch_up.blocks else (at.setting, at.votes)
        self._catch_up.committed()
        self._pace.block_committed(self._now.monotonic)
        self._instance = self._open(chain)
        early, self._early = self._early, {}
        for sender in sorted(early):
            for message in early[sender].values():
                self._receive(sender, message)

    @property
    def _own(self) -> int | None:
        """Its index among this height's validators; None for a follower."""
        return self._instance.own

    @property
    def _said(self) -> Record | None:
        """The record of this height: None while lost, or while the ledger is older than the record."""
        record = self._record
        return record if record is not None and record.height == self.height else None

    # --- signing ------------------------------------------------------------------------------

    def _sign(self, statement: Signed) -> Signed | None:
        """Sign what the record allows, and have it stored first; None where it must not be said."""
        if self._record is None:
            return None
        network = self._instance.setting.chain.network
        allowed = safety.sign(self._record, statement, network, self._identity.sign)
        if allowed is None:
            return None
        after, signed = allowed
        if after != self._record:
            self._record = after
            self._effects.append(Persist(after))
        return signed

    def _send(self, message: Message, to: int | None = None) -> None:
        self._effects.append(Send(to, message))

    # --- messages -----------------------------------------------------------------------------

    def _receive(self, sender: int, message: Message) -> None:
        match message:
            case Vote() | PrePrepare() | ViewChange() | NewView():
                self._receive_statement(sender, message)
            case Beacon():
                self._receive_beacon(sender, message)
            case FetchBlocks(height):
                if height < self.height and self._now_and_then(sender, "fetch"):
                    self._effects.append(Serve(sender, height))
            case Blocks():
                self._catch_up.receive(sender, message, self.height, self._now.monotonic)
            case FetchBody():
                self._serve_body(sender, message)
            case Body(height, block):
                if height == self.height:
                    self._receive_body(block)
            case TipQuery(nonce):
                chain = self._instance.setting.chain
                if self._now_and_then(sender, "tip"):
                    self._send(TipReply(nonce, chain.height, chain.header, chain.certificate), sender)
            case TipReply():
                if self._lost is not None and sender != self._own:
                    self._lost.receive(sender, message, self._instance.setting)

    def _receive_statement(self, sender: int, message: Vote | PrePrepare | ViewChange | NewView) -> None:
        """Only statements of this height count. Those of the next wait, since others may be one commit
        ahead; who is further behind or ahead is helped, or asked for blocks."""
        height = message.height
        if height < self.height:
            if isinstance(message, ViewChange | NewView):
                self._help(sender, height)
            elif isinstance(message, Vote) and height == self.height - 1:
                self._add_late_vote(message)
            return
        if height > self.height:
            self._catch_up.heights[sender] = max(self._catch_up.heights.get(sender, 0), height - 1)
            if height == self.height + 1:
                self._keep_early(sender, message)
            return
        match message:
            case Vote():
                self._add_vote(message)
            case PrePrepare():
                if sender == message.vote.validator:
                    self._receive_proposal(message)
            case ViewChange():
                self._add_view_change(message)
            case NewView():
                self._receive_new_view(message)

    def _keep_early(self, sender: int, message: Vote | PrePrepare | ViewChange | NewView) -> None:
        """A few of each peer's own, and one proposal and NEW-VIEW at most, since those are large."""
        said = message.vote if isinstance(message, PrePrepare) else message
        if said.validator != sender:
            return
        large = isinstance(message, PrePrepare | NewView)
        key = (type(message).__name__, 0, 0) if large else statement_key(said)
        waiting = self._early.setdefault(sender, {})
        waiting[key] = message
        if len(waiting) > LIMITS.messages_kept:
            del waiting[next(iter(waiting))]

    def _help(self, peer: int, height: Height) -> None:
        """Send a laggard the blocks from its height on, at most once in a while."""
        if self._now_and_then(peer, "help"):
            self._effects.append(Serve(peer, height))

    def _now_and_then(self, peer: int, what: str) -> bool:
        """Whether a peer may have this again: a short question must not draw long answers at will."""
        if self._now.monotonic < self._served.get((peer, what), Millis(0)):
            return False
        self._served[peer, what] = Millis(self._now.monotonic + LIMITS.retransmission // 2)
        return True

    def _add_vote(self, vote: Vote) -> bool:
        """Count a vote whose signature holds; two that contradict each other are evidence."""
        at = self._instance
        said = at.votes.get(vote.phase, vote.validator, vote.view)
        if said is not None and said.block == vote.block:
            return True
        if not at.setting.signature_holds(vote):
            return False
        if said is not None:
            self._accuse(said, vote)
            return False
        at.votes.add(vote)
        return True

    def _add_late_vote(self, vote: Vote) -> None:
        """A COMMIT of the last height: for operators, who ask whose signatures are missing."""
        if vote.phase != COMMIT or self._last is None:
            return
        setting, votes = self._last
        if votes.get(COMMIT, vote.validator, vote.view) is None and setting.signature_holds(vote):
            votes.add(vote)

    def _accuse(self, first: Signed, second: Signed) -> None:
        key = statement_key(first)
        if key not in self._instance.evidence and len(self._instance.evidence) < LIMITS.evidence_kept:
            self._instance.evidence[key] = None
            self._effects.append(Evidence(first.validator, first, second))

    def _receive_proposal(self, proposal: PrePrepare) -> None:
        """Keep the proposal of a view's primary, from itself (the signature is over the digest, anybody
        could put other bytes beside it), until that view is entered; earlier views are over."""
        at = self._instance
        vote = proposal.vote
        if not at.view <= vote.view < at.view + len(at.setting.members):
            return
        if vote.validator != at.setting.primary(vote.view) or not self._add_vote(vote):
            return
        kept = at.proposals.get(vote.validator)
        if kept is None or kept.proposal.vote.view < vote.view:
            found = at.setting.block_facts(proposal.block)
            holds = found is not None and found[1].digest == vote.block
            at.proposals[vote.validator] = Offer(proposal, found if holds else None)

    def _add_view_change(self, change: ViewChange) -> None:
        """One, the highest, is kept of each validator: a liar cannot fill the memory with views."""
        at = self._instance
        kept = at.view_changes.get(change.validator)
        if kept is not None and kept.view >= change.view:
            if kept.view == change.view and kept != change and at.setting.signature_holds(change):
                self._accuse(kept, change)
            return
        if not view_change_holds(change, at.setting):
            return
        at.view_changes[change.validator] = change
        # Opening a height, second half: a certificate of the block below in a view above ours shows
        # that its holders have gone there; waiting for the timer would strand them and us.
        if change.parent is not None and change.parent.view > at.view:
            self._change_view(change.parent.view)

    def _receive_new_view(self, new_view: NewView) -> None:
        """Accept a valid NEW-VIEW (section 4.4), after having signed the view-change to its view."""
        at = self._instance
        said = at.new_view
        if said is not None and said.view == new_view.view and said != new_view:
            if said.validator == new_view.validator and at.setting.signature_holds(new_view):
                self._accuse(said, new_view)
            return
        if new_view.view < at.view or (new_view.view == at.view and not at.changing):
            return
        if at.refused.get(new_view.validator, 0) >= LIMITS.new_views_refused:
            return
        if not new_view_holds(new_view, at.setting, at.view_changes.values()):
            at.refused[new_view.validator] = at.refused.get(new_view.validator, 0) + 1
            return
        # Nobody acts in a view without having signed its view-change: else, after a restart, too few
        # validators could show that they have left the views below.
        if new_view.view > at.view and not self._change_view(new_view.view):
            return
        self._enter_view(new_view)

    def _enter_view(self, new_view: NewView) -> None:
        """The NEW-VIEW is on disk before the first vote in its view."""
        at = self._instance
        record = self._said
        if record is None or not at.changing:
            return
        if record.new_view != new_view:
            self._record = record.with_new_view(new_view)
            self._effects.append(Persist(self._record))
        at.changing = False
        at.new_view = new_view
        at.choice = choose(new_view.view_changes)

    def _receive_beacon(self, sender: int, beacon: Beacon) -> None:
        self._catch_up.note(sender, beacon.height - 1)
        if beacon.height < self.height:
            self._help(sender, beacon.height)
        if beacon.height != self.height:
            return
        self._help_along(sender, beacon)

    def _help_along(self, peer: int, beacon: Beacon) -> None:
        """Say again to a peer of this height what its beacon shows that it lacks."""
        at = self._instance
        own = self._own
        if own is None or not self._now_and_then(peer, "beacon"):
            return
        if beacon.view < at.view and own in at.view_changes:
            self._send(at.view_changes[own], peer)
        if at.new_view is not None and (
            beacon.view < at.view or (beacon.view == at.view and not beacon.has_new_view)
        ):
            self._send(at.new_view, peer)
        if beacon.view == at.view and not beacon.has_proposal and at.setting.primary(at.view) == own:
            proposal = self._own_proposal()
            if proposal is not None:
                self._send(proposal, peer)

    def _own_proposal(self) -> PrePrepare | None:
        """What this validator proposed in its view, for saying it again: byte for byte the same."""
        at = self._instance
        record = self._said
        vote = None if record is None else record.vote(PREPARE, at.view)
        body = None if vote is None or record is None else record.body(vote.block)
        return None if vote is None or body is None else PrePrepare(vote, body)

    # --- blocks by digest ---------------------------------------------------------------------

    def _serve_body(self, sender: int, wanted: FetchBody) -> None:
        if wanted.height < self.height:
            self._help(sender, wanted.height)
        elif wanted.height == self.height:
            body = self._instance.bodies.get(wanted.block)
            if body is not None and self._now_and_then(sender, "body"):
                self._send(Body(wanted.height, body), sender)

    def _receive_body(self, block: bytes) -> None:
        wanted = self._wanted()
        found = None if wanted is None else self._instance.setting.block_facts(block)
        if found is not None and found[1].digest == wanted:
            self._instance.bodies[found[1].digest] = block

    def _wanted(self) -> Digest | None:
        """The block whose body is missing: the certified one, or the one that this primary must propose."""
        at = self._instance
        wanted = None
        if at.certified is not None:
            wanted = at.certified[0]
        elif at.choice is not None and not at.changing and at.setting.primary(at.view) == self._own:
            facts = at.setting.facts_of(at.choice.header)
            wanted = None if facts is None else facts.digest
        return None if wanted is None or wanted in at.bodies else wanted

    def _fetch_body(self) -> None:
        """Ask one of those who signed for it; then f+1 at a time, of whom one is honest."""
        at = self._instance
        wanted = self._wanted()
        if wanted is None:
            return
        certificate = at.certified[1] if at.certified is not None else None
        if certificate is None and at.choice is not None:
            certificate = at.choice.certificate
        signers = [index for index, _ in certificate.signatures if index != self._own] if certificate else []
        asked = min(len(signers), 1 if at.fetches == 0 else at.setting.faults + 1)
        for _ in range(asked):
            self._send(FetchBody(self.height, wanted), signers[at.fetches % len(signers)])
            at.fetches += 1

    # --- answers of the node ------------------------------------------------------------------

    def _proposed(self, answer: Proposed) -> None:
        at = self._instance
        if (answer.height, answer.view) != (self.height, at.view) or not at.proposing:
            return
        at.proposing = False
        if answer.block is None:
            self._waiting = self._news  # what has come since it was asked for
            return
        found = at.setting.block_facts(answer.block)
        if found is None or at.changing or at.candidate is not None:
            return
        header, facts = found
        at.bodies[facts.digest] = answer.block
        at.executed[facts.digest] = Outcome.VALID
        at.candidate = Candidate(facts.digest, header)

    def _executed(self, block: Digest, outcome: Outcome) -> None:
        at = self._instance
        if block not in at.executing:
            return
        del at.executing[block]
        if outcome is Outcome.WRONG_BODY:
            at.bodies.pop(block, None)
            if self._catch_up.blocks:
                self._catch_up.blame(self._catch_up.blocks[0][0], self._now.monotonic)
            if at.candidate is not None and at.candidate.digest == block and not self._voted(PREPARE):
                self._refuse()
            return
        at.executed[block] = outcome

    def _neglected(self, proposer: Did) -> None:
        """Give up the view of a primary that leaves out a transaction: f+1 who see it move all."""
        at = self._instance
        primary = at.setting.primary(at.view)
        if not at.changing and primary != self._own and at.setting.members[primary].did == proposer:
            self._change_view(View(at.view + 1))

    # --- timers -------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._now.monotonic
        if self._pace.expired(now):
            self._pace.view_failed()
            self._change_view(View(self._instance.view + 1))
        if now >= self._pace.resend:
            self._pace.resend = Millis(now + LIMITS.retransmission)
            self._say_again()

    def _say_again(self) -> None:
        """Beacon, and this height's own statements, if it has been open for a while: links lose things."""
        at = self._instance
        own = self._own
        has_proposal = at.candidate is not None or self._current_offer() is not None
        self._send(Beacon(self.height, at.view, not at.changing, has_proposal))
        if self._lost is not None and self._lost.waits_for(at.setting.quorum) is None:
            self._send(self._lost.query())
        if self._now.monotonic - at.opened < LIMITS.retransmission // 2:
            return
        self._fetch_body()
        record = self._said
        if record is None or own is None:
            return
        # Also votes of earlier views: a block that some have committed is final, and the votes for it
        # bring the others to it sooner than a view change.
        for vote in record.votes:
            self._send(vote)
        if at.changing:
            self._send(at.view_changes[own])

    def _held_until(self) -> Millis | None:
        """When a proposal that came too early by this clock may be considered again."""
        offer = self._current_offer()
        if offer is None or offer.found is None or not self._too_early(offer.found[1]):
            return None
        early = offer.found[1].time - self._now.wall - LIMITS.proposal_early
        return Millis(self._now.monotonic + early)

    def _too_early(self, facts: HeaderFacts) -> bool:
        return facts.time > self._now.wall + LIMITS.proposal_early

    def _has_work(self) -> bool:
        """Whether something must be agreed on: what waits, what began, or a heartbeat that is due."""
        at = self._instance
        record = self._said
        return (
            self._waiting
            or at.candidate is not None
            or at.choice is not None
            or (record is not None and record.prepared is not None)
            or self._now.monotonic >= self._pace.heartbeat
        )

    # --- rules --------------------------------------------------------------------------------

    def _apply_rules(self) -> None:
        """Try each rule until none applies; each makes progress, so this ends."""
        rules = (
            self._recover_record,
            self._take_certified,
            self._commit,
            self._open_above,
            self._join,
            self._announce_view,
            self._propose,
            self._consider,
            self._prepare,
            self._commit_vote,
        )
        while self._halted is None and any(rule() for rule in rules):
            pass
        if self._halted is None:
            self._set_timer()
            self._ask_for_blocks()

    def _recover_record(self) -> bool:
        """A lost record is replaced once nothing that was signed before can matter (`lost_record`)."""
        at = self._instance
        if self._lost is None or not self._lost.recovered(at.setting.chain.height, at.setting.quorum):
            return False
        self._lost = None
        self._record = Record(self.height, at.setting.first)
        self._effects.append(Persist(self._record))
        return True

    def _take_certified(self) -> bool:
        """A fetched block whose certificate holds is this height's, whatever was voted here."""
        at = self._instance
        if at.certified is not None or at.committing or not self._catch_up.blocks:
            return False
        peer, fetched = self._catch_up.blocks[0]
        found = at.setting.block_facts(fetched.block)
        if found is None or not at.setting.certificate_holds(
            COMMIT, self.height, found[1].digest, fetched.certificate
        ):
            self._catch_up.blame(peer, self._now.monotonic)
            return False
        at.certified = (found[1].digest, fetched.certificate)
        at.bodies[found[1].digest] = fetched.block
        return True

    def _commit(self) -> bool:
        """A quorum of COMMITs of any one view makes the block final (section 4.2), once executed here."""
        at = self._instance
        if at.committing:
            return False
        if at.certified is None:
            at.certified = at.votes.committed()
            if at.certified is None:
                return False
            self._fetch_body()
        block, certificate = at.certified
        if block not in at.bodies and self._catch_up.blocks:
            # What a peer gave should be the block that the votes certified; junk must make room.
            peer, fetched = self._catch_up.blocks[0]
            found = at.setting.block_facts(fetched.block)
            if found is not None and found[1].digest == block:
                at.bodies[block] = fetched.block
            else:
                self._catch_up.blame(peer, self._now.monotonic)
        outcome = at.executed.get(block)
        if outcome is Outcome.INVALID:
            self._halt(f"the certified block {self.height} does not hold here")
            return False
        if outcome is Outcome.VALID:
            at.committing = True
            self._effects.append(Commit(block, certificate))
            return False
        self._execute(block)
        return False

    def _halt(self, reason: str) -> None:
        self._halted = reason
        self._effects.append(Halt(reason))

    def _execute(self, block: Digest) -> None:
        at = self._instance
        body = at.bodies.get(block)
        if body is not None and block not in at.executing and block not in at.executed:
            at.executing[block] = None
            self._effects.append(Execute(body, block))

    def _open_above(self) -> bool:
        """Opening a height: who holds the block below certified in a higher view goes on in that view.

        Its first proposer may have withheld COMMITs; otherwise it would cost a timeout a block. While
        fetched blocks wait, this is not the tip yet.
        """
        at = self._instance
        certificate = at.setting.chain.certificate
        if certificate is None or certificate.view <= at.view or self._catch_up.blocks:
            return False
        return self._change_view(certificate.view)

    def _join(self) -> bool:
        """f+1 others in higher views: at least one honest one has given this view up (section 4.5.2 of
        TOCS). The (f+1)-th highest, so that liars cannot choose it."""
        at = self._instance
        views = sorted(
            (each.view for index, each in at.view_changes.items() if index != self._own), reverse=True
        )
        if len(views) <= at.setting.faults or views[at.setting.faults] <= at.view:
            return False
        return self._change_view(views[at.setting.faults])

    def _change_view(self, view: View) -> bool:
        """VIEW-CHANGE (section 4.4): leave the view for a higher one, with what is prepared here."""
        at = self._instance
        own = self._own
        if own is None or self._record is None or at.committing or at.certified is not None:
            return False
        statement = ViewChange(self.height, view, own, self._record.prepared, at.setting.chain.certificate)
        signed = self._sign(statement)
        if not isinstance(signed, ViewChange):
            return False
        self._pace.stop()
        at.view, at.changing = view, True
        at.candidate = at.choice = at.new_view = None
        at.proposing = False
        at.view_changes[own] = signed
        self._send(signed)
        return True

    def _announce_view(self) -> bool:
        """NEW-VIEW (section 4.4): its primary has a quorum of view-changes for exactly this view."""
        at = self._instance
        own = self._own
        if not at.changing or own is None or at.setting.primary(at.view) != own:
            return False
        changes = [each for _, each in sorted(at.view_changes.items()) if each.view == at.view]
        if len(changes) < at.setting.quorum:
            return False
        chosen = tuple(changes[: at.setting.quorum])
        signed = self._sign(NewView(self.height, at.view, own, chosen))
        if not isinstance(signed, NewView):
            return False
        self._enter_view(signed)
        self._send(signed)
        self._fetch_body()
        return True

    def _propose(self) -> bool:
        """The primary of the view proposes what the new view demands, else a fresh block of what waits."""
        at = self._instance
        if not self._leads() or at.candidate is not None or at.proposing:
            return False
        if at.choice is not None:
            facts = at.setting.facts_of(at.choice.header)
            if facts is None or facts.digest not in at.bodies:
                return False
            at.candidate = Candidate(facts.digest, at.choice.header)
            return True
        heartbeat = self._now.monotonic >= self._pace.heartbeat
        time = max(self._now.wall, at.setting.chain.time + 1)
        if not (self._waiting or heartbeat) or time > self._now.wall + LIMITS.proposal_early:
            return False
        at.proposing, self._news = True, False
        halvings = at.view - at.setting.first
        self._effects.append(Propose(self.height, at.view, Millis(time), halvings, heartbeat))
        return False

    def _leads(self) -> bool:
        at = self._instance
        return (
            self._said is not None
            and not at.changing
            and at.certified is None
            and at.setting.primary(at.view) == self._own
        )

    def _current_offer(self) -> Offer | None:
        at = self._instance
        if at.changing or at.candidate is not None or at.certified is not None:
            return None
        offer = at.proposals.get(at.setting.primary(at.view))
        return offer if offer is not None and offer.proposal.vote.view == at.view else None

    def _consider(self) -> bool:
        """A proposal of this view's primary: what the new view demands, or a fresh block (section 4.2).

        One that does not fit is refused, and the view given up; one that is early waits.
        """
        at = self._instance
        offer = self._current_offer()
        if offer is None or at.setting.primary(at.view) == self._own:
            return False
        if offer.found is None:
            return self._refuse()
        header, facts = offer.found
        if at.choice is None and not self._is_fresh(facts):
            return False if self._too_early(facts) and self._is_own_view(facts) else self._refuse()
        if at.choice is not None and header != at.choice.header:
            return self._refuse()
        at.bodies.setdefault(facts.digest, offer.proposal.block)
        at.candidate = Candidate(facts.digest, header)
        return True

    def _is_own_view(self, facts: HeaderFacts) -> bool:
        """A fresh block is first proposed in this view, by its primary."""
        at = self._instance
        primary = at.setting.members[at.setting.primary(at.view)].did
        return (facts.view, facts.proposer) == (at.view, primary)

    def _is_fresh(self, facts: HeaderFacts) -> bool:
        wall = self._now.wall
        return (
            self._is_own_view(facts)
            and facts.time > self._instance.setting.chain.time
            and wall - LIMITS.proposal_late <= facts.time <= wall + LIMITS.proposal_early
        )

    def _refuse(self) -> bool:
        return self._change_view(View(self._instance.view + 1))

    def _voted(self, phase: str) -> bool:
        record = self._said
        return record is not None and record.vote(phase, self._instance.view) is not None

    def _prepare(self) -> bool:
        """PREPARE (section 4.2) once the block was executed and holds; the primary's is its proposal."""
        at = self._instance
        own = self._own
        before = self._said
        if at.candidate is None or at.changing or own is None or before is None:
            return False
        if at.certified is not None or self._voted(PREPARE):
            return False
        block = at.candidate.digest
        outcome = at.executed.get(block)
        if outcome is None:
            self._execute(block)
            return False
        if outcome is Outcome.INVALID:
            return self._refuse()
        body = at.bodies[block]
        self._record = before.with_body(block, body)
        signed = self._sign(Vote(PREPARE, self.height, at.view, block, own))
        if not isinstance(signed, Vote):
            self._record = before
            return False
        at.votes.add(signed)
        leads = at.setting.primary(at.view) == own
        self._send(PrePrepare(signed, body) if leads else signed)
        return True

    def _commit_vote(self) -> bool:
        """COMMIT (section 4.2) once a quorum prepared what this validator prepared in this view; the
        certificate is stored with it, for the next view-change."""
        at = self._instance
        own = self._own
        before = self._said
        if at.candidate is None or at.changing or own is None or before is None:
            return False
        if not self._voted(PREPARE) or self._voted(COMMIT):
            return False
        block = at.candidate.digest
        certificate = at.votes.certificate(PREPARE, at.view, block)
        if certificate is None:
            return False
        self._record = before.with_prepared(Prepared(at.candidate.header, certificate), block)
        signed = self._sign(Vote(COMMIT, self.height, at.view, block, own))
        if not isinstance(signed, Vote):
            self._record = before
            return False
        at.votes.add(signed)
        self._send(signed)
        return True

    def _set_timer(self) -> None:
        """The view's timer runs while there is work; after a view-change only once a quorum is there
        too, or a few would run ahead of all others (section 4.5.2 of TOCS)."""
        at = self._instance
        settled = at.committing or at.certified is not None
        if settled or self._lost is not None or not self._has_work():
            self._pace.stop()
            return
        if at.changing:
            there = sum(1 for each in at.view_changes.values() if each.view >= at.view)
            if there < at.setting.quorum:
                return
        self._pace.run(self._now.monotonic)

    def _ask_for_blocks(self) -> None:
        """Fetch what others say they have; one block behind is usually a commit under way."""
        at = self._instance
        self._catch_up.expire(self._now.monotonic)
        behind = self._catch_up.behind(self.height)
        waited = self._now.monotonic - at.opened >= LIMITS.retransmission // 2
        if at.committing or at.certified is not None or not (behind > 1 or (behind == 1 and waited)):
            return
        peer = self._catch_up.ask(self.height, self._now.monotonic)
        if peer is not None:
            self._send(FetchBlocks(self.height), peer)
