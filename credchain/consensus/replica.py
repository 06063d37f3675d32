"""One validator's part in the agreement: `step(input, now) -> effects`, and nothing else.

What it knows of the height that it works on is plain data (`instance`); an input is taken in here, then the
rules (`rules`) are tried until none applies; who lags or lacks something is helped (`helping`). There is no
clock, no randomness and no I/O: the same inputs give the same effects.
"""

from __future__ import annotations

from ..certificates import Millis, View
from ..encoding import Digest
from ..keys import Did
from ..limits import LIMITS
from .events import (
    Chain,
    Committed,
    Effect,
    Executed,
    Input,
    Neglected,
    Now,
    Outcome,
    Proposed,
    Received,
    Serve,
    Tick,
    Work,
)
from .instance import Candidate, Offer, Standing
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
    PrePrepare,
    TipQuery,
    TipReply,
    ViewChange,
    Vote,
)
from .rules import Rules
from .view_change import new_view_holds, view_change_holds


class Replica(Rules):
    """A validator, or (its DID not among the validators) a follower that signs nothing."""

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
                self._receive_new_view(sender, message)

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

    def _receive_new_view(self, sender: int, new_view: NewView) -> None:
        """Accept a valid NEW-VIEW (section 4.4), after having signed the view-change to its view."""
        at = self._instance
        said = at.new_view
        if said is not None and said.view == new_view.view and said != new_view:
            if said.validator == new_view.validator and at.setting.signature_holds(new_view):
                self._accuse(said, new_view)
            return
        if new_view.view < at.view or (new_view.view == at.view and not at.changing):
            return
        # Of who sent them, not of whom they name: else a forger would silence an honest primary.
        if at.refused.get(sender, 0) >= LIMITS.new_views_refused:
            return
        if not new_view_holds(new_view, at.setting, at.view_changes.values()):
            at.refused[sender] = at.refused.get(sender, 0) + 1
            return
        # Nobody acts in a view without having signed its view-change: else, after a restart, too few
        # validators could show that they have left the views below.
        if new_view.view > at.view and not self._change_view(new_view.view):
            return
        self._enter_view(new_view)

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

    def _tick(self) -> None:
        now = self._now.monotonic
        if self._pace.expired(now):
            self._pace.view_failed()
            self._change_view(View(self._instance.view + 1))
        if now >= self._pace.resend:
            self._pace.resend = Millis(now + LIMITS.retransmission)
            self._say_again()

    def _held_until(self) -> Millis | None:
        """When a proposal that came too early by this clock may be considered again."""
        offer = self._current_offer()
        if offer is None or offer.found is None or not self._too_early(offer.found[1]):
            return None
        early = offer.found[1].time - self._now.wall - LIMITS.proposal_early
        return Millis(self._now.monotonic + early)

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
