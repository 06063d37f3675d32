"""What is said again, and what is given to those who lag or lack something. Nothing here decides anything.

A liar may ask as well: each peer gets each kind of answer only so often, and none is larger than a message.
"""

from __future__ import annotations

from ..certificates import Height
from ..encoding import Digest
from ..limits import LIMITS
from .core import Core
from .events import Serve
from .messages import (
    COMMIT,
    PREPARE,
    Beacon,
    Body,
    FetchBlocks,
    FetchBody,
    NewView,
    PrePrepare,
    ViewChange,
    Vote,
)
from .setting import statement_key


class Helping(Core):
    """Beacons, retransmission, bodies and blocks by request."""

    def _help(self, peer: int, height: Height) -> None:
        """Send a laggard the blocks from its height on, at most once in a while."""
        if self._now_and_then(peer, "help"):
            self._effects.append(Serve(peer, height))

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

    def _add_late_vote(self, vote: Vote) -> None:
        """A COMMIT of the last height: for operators, who ask whose signatures are missing."""
        if vote.phase != COMMIT or self._last is None:
            return
        setting, votes = self._last
        if votes.get(COMMIT, vote.validator, vote.view) is None and setting.signature_holds(vote):
            votes.add(vote)

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
