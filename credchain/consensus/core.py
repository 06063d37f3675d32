"""What a replica holds, and the few things that all its parts do with it: sign, send, change view."""

from __future__ import annotations

from ..certificates import Height, Millis, View
from ..limits import LIMITS
from . import record as safety
from .catch_up import CatchUp
from .events import (
    Chain,
    Effect,
    Evidence,
    Headers,
    Identity,
    Now,
    Persist,
    Send,
    Verify,
)
from .instance import Candidate, Instance, Offer
from .lost_record import LostRecord
from .messages import (
    PREPARE,
    Message,
    Signed,
    ViewChange,
)
from .pacemaker import Pacemaker
from .record import Record
from .setting import Setting, statement_key
from .view_change import choose
from .votes import Votes


class Core:
    """State and primitives; the rules are in `rules`."""

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

    @property
    def height(self) -> Height:
        """The height that it works on: one above its ledger's."""
        return self._instance.setting.height

    @property
    def view(self) -> View:
        return self._instance.view

    @property
    def _own(self) -> int | None:
        """Its index among this height's validators; None for a follower."""
        return self._instance.own

    @property
    def _said(self) -> Record | None:
        """The record of this height: None while lost, or while the ledger is older than the record."""
        record = self._record
        return record if record is not None and record.height == self.height else None

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

    def _accuse(self, first: Signed, second: Signed) -> None:
        key = statement_key(first)
        if key not in self._instance.evidence and len(self._instance.evidence) < LIMITS.evidence_kept:
            self._instance.evidence[key] = None
            self._effects.append(Evidence(first.validator, first, second))

    def _now_and_then(self, peer: int, what: str) -> bool:
        """Whether a peer may have this again: a short question must not draw long answers at will."""
        if self._now.monotonic < self._served.get((peer, what), Millis(0)):
            return False
        self._served[peer, what] = Millis(self._now.monotonic + LIMITS.retransmission // 2)
        return True

    def _voted(self, phase: str) -> bool:
        record = self._said
        return record is not None and record.vote(phase, self._instance.view) is not None

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
