"""The rules of the agreement, tried in order after each input until none applies.

Each says what must hold, and what follows; the sections are Castro & Liskov's (OSDI 1999), the argument for
what differs from them is in PROTOCOL.md, "Agreement".
"""

from __future__ import annotations

from ..certificates import Millis, View
from ..encoding import Digest
from ..limits import LIMITS
from .events import (
    Commit,
    Execute,
    Halt,
    HeaderFacts,
    Outcome,
    Persist,
    Propose,
)
from .helping import Helping
from .instance import Candidate
from .messages import (
    COMMIT,
    PREPARE,
    NewView,
    Prepared,
    PrePrepare,
    Vote,
)
from .record import Record
from .view_change import choose


class Rules(Helping):
    """Each rule gives True where it made progress that others may build on."""

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

    def _too_early(self, facts: HeaderFacts) -> bool:
        return facts.time > self._now.wall + LIMITS.proposal_early

    def _refuse(self) -> bool:
        return self._change_view(View(self._instance.view + 1))

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
