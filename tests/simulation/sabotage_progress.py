"""Guards of progress and of memory, each with a schedule and an exact bound in virtual time, or in bytes.

Without them nothing false is certified; the network stands still, changes views for nothing, or is filled.
Four validators, f = 1, q = 3; the scripts begin at height 2, in view 0, whose primary is validator 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from unittest import mock

from credchain import certificates
from credchain.certificates import Certificate, Height, View
from credchain.consensus import lost_record
from credchain.consensus.catch_up import CatchUp
from credchain.consensus.events import Neglected, Work
from credchain.consensus.lost_record import LostRecord
from credchain.consensus.messages import (
    COMMIT,
    PREPARE,
    Beacon,
    Blocks,
    Body,
    CertifiedBlock,
    FetchBlocks,
    FetchBody,
    PrePrepare,
    TipQuery,
    TipReply,
)
from credchain.consensus.pacemaker import Pacemaker
from credchain.consensus.record import Record
from credchain.consensus.replica import Replica
from credchain.consensus.votes import Votes
from credchain.encoding import Digest
from credchain.keys import PublicKey
from credchain.limits import LIMITS

from . import scheduler
from .ledger import EPOCH
from .machine import Machine
from .sabotage import Constant, Edit, Sabotage
from .sabotage_safety import (
    HUGE,
    JUNK,
    NOWHERE,
    body_of_another_header,
    forged_block,
    forgets,
    prepared_at,
    prepared_then_view_one,
    proposed,
)
from .schedule import Script
from .stage import Stage

BASE = LIMITS.base_timeout
QUICK = 200
"""Milliseconds in which messages that are not lost lead to a commit."""

# --- timers ------------------------------------------------------------------------------


def committed_within(stage: Stage, bound: int, *places: int, height: int = 1) -> None:
    """Live; measured to the millisecond that the bound says."""
    stage.go_live()
    stage.wait(bound)
    stage.expect(min(stage.heights[each] for each in places) >= height, f"a block within {bound} ms")


def dead_primary(stage: Stage) -> None:
    """Issue 4: "commits go on within 2 base timeouts of the primary's death"."""
    stage.crash(0)
    stage.submit(1)
    committed_within(stage, BASE + QUICK, 1, 2, 3)


def dead_backup(stage: Stage) -> None:
    """Issue 4: "without pause when a backup dies"."""
    stage.crash(3)
    stage.submit(1)
    committed_within(stage, QUICK, 0, 1, 2)


def dead_primaries(count: int) -> Script:
    """As many as f, one after the other: the timeouts add up, doubled each time."""

    def script(stage: Stage) -> None:
        for each in range(count):
            stage.crash(each)
        stage.submit(1)
        rest = range(count, len(stage.machines))
        committed_within(stage, BASE * (2**count - 1) + count * QUICK, *rest)

    return script


def timeouts(stage: Stage, count: int, first: int = 0) -> list[int]:
    """How long validator 2 stays in each of these views, counted from when a quorum is there."""
    lasted = []
    for _ in range(first, first + count):
        began = stage.world.scheduler.now
        stage.time_out(2)
        lasted.append(stage.world.scheduler.now - began)
        stage.time_out(1, 3)
        stage.deliver("view_change", to=(1, 2, 3))
        stage.drop()
    return lasted


def views_fail(stage: Stage) -> None:
    stage.submit(1)
    stage.drop()
    stage.expect(timeouts(stage, 6) == [2_000, 4_000, 8_000, 16_000, 30_000, 30_000], "2, 4, 8, 16, 30, 30 s")


def views_fail_then_commit(stage: Stage) -> None:
    """Three failed views make 16 s; a commit makes 8 s of it."""
    stage.submit(1)
    stage.drop()
    timeouts(stage, 2)
    stage.time_out(1, 2, 3)
    stage.deliver(("view_change", "new_view"))
    stage.deliver()
    assert stage.heights == [1, 1, 1, 1]
    stage.submit(2)
    stage.drop()
    began = stage.world.scheduler.now
    stage.time_out(2)
    stage.expect(stage.world.scheduler.now - began == 8_000, "halved on commit")


def commits_then_dead(stage: Stage) -> None:
    stage.submit(1)
    stage.deliver()
    stage.submit(2)
    stage.drop()
    began = stage.world.scheduler.now
    stage.time_out(2)
    stage.expect(stage.world.scheduler.now - began == BASE, "never below the base")


def joining(stage: Stage) -> None:
    """2 follows two others, twice, before its own timer rings."""
    stage.submit(1)
    stage.drop()
    stage.time_out(1, 3)
    stage.deliver("view_change", to=2)
    began = stage.world.scheduler.now
    stage.time_out(2)
    stage.expect(stage.world.scheduler.now - began == BASE, "joining does not double")


def alone(stage: Stage) -> None:
    stage.submit(1)
    stage.drop()
    stage.time_out(3)
    for _ in range(100):
        stage.fire(3)
    stage.expect(stage.views(3) == [1], "one alone waits for a quorum")


def new_view_and_nothing(stage: Stage) -> None:
    """The primary of view 1 sends NEW-VIEW after 1.5 s, and then nothing."""
    stage.submit(1)
    stage.drop()
    stage.time_out(1, 2, 3)
    stage.deliver("view_change", to=2)
    began = stage.world.scheduler.now
    stage.deliver("view_change", to=1)
    stage.wait(1_500)
    stage.deliver("new_view", to=2)
    stage.drop()
    stage.time_out(2)
    lasted = stage.world.scheduler.now - began
    # Its second timer: the first one expired.
    stage.expect(lasted == 2 * BASE, f"NEW-VIEW does not restart the timer: {lasted}")


def idle(stage: Stage) -> None:
    stage.submit(1)
    stage.deliver()
    stage.go_live()
    stage.wait(9_000)
    stage.expect(stage.views(0, 1, 2, 3) == [0, 0, 0, 0], "no view-change without work")


def idle_then_dead(stage: Stage) -> None:
    stage.crash(0)
    committed_within(stage, LIMITS.heartbeat + BASE + QUICK, 1, 2, 3)


def idle_with_skew(stage: Stage) -> None:
    """One wall clock is 3 s ahead: heartbeats are due by the own monotonic clock."""
    stage.machines[3].clocks.wall = 3_000
    stage.submit(1)
    stage.deliver()
    stage.go_live()
    stage.wait(LIMITS.heartbeat - 100)
    stage.expect(stage.views(3) == [0], "no view-change because of a clock")


def nobody_else_knows(stage: Stage) -> None:
    """A client reached the primary alone; it dies after its proposal."""
    stage.submit(1, to=(0,))
    stage.deliver("pre_prepare")
    stage.crash(0)
    stage.time_out(1, 2, 3)
    stage.expect(stage.world.scheduler.now <= BASE, "a proposal runs the timer")


def choice_without_proposal(stage: Stage) -> None:
    """NEW-VIEW demands a block, its primary dies; no client waits for anything at 3."""
    stage.submit(1, to=(0,))
    stage.deliver("pre_prepare")
    stage.deliver("prepare", to=2)
    stage.drop()
    stage.time_out(1, 2, 3)
    stage.deliver("view_change", to=(1, 2, 3))
    stage.crash(1)
    began = stage.world.scheduler.now
    stage.deliver("new_view", to=3)
    stage.drop()
    stage.time_out(3)
    stage.expect(stage.world.scheduler.now - began <= 2 * BASE, "a block to re-propose runs the timer")


def prepared_and_changing(stage: Stage) -> None:
    """Who has something prepared goes on from a view without NEW-VIEW, though no client waits."""
    stage.submit(1, to=(0,))
    stage.deliver("pre_prepare")
    stage.deliver("prepare", to=2)
    stage.drop()
    stage.time_out(1, 2, 3)
    stage.deliver("view_change", to=2)
    stage.drop()
    began = stage.world.scheduler.now
    stage.time_out(2)
    stage.expect(stage.world.scheduler.now - began <= 2 * BASE, "a prepared block runs the timer")


def _work(what: str) -> Edit:
    return Edit(Replica._has_work, what, "False")


TIMERS = (
    Sabotage(
        "work_waits",
        "The timer runs while a pooled transaction applies.",
        (_work("self._waiting"),),
        "a block within",
        dead_primary,
    ),
    Sabotage(
        "honest_suffice",
        "n-f are a quorum: a dead backup costs nothing.",
        (
            Edit(
                certificates.quorum, "return (validators + faults(validators) + 2) // 2", "return validators"
            ),
        ),
        "a block within",
        dead_backup,
    ),
    Sabotage(
        "two_dead_in_a_row",
        "The timer of the next view starts when a quorum is there, and the others join.",
        (Edit(Replica._set_timer, "if there < at.setting.quorum:", "if there < len(at.setting.members):"),),
        "a block within",
        dead_primaries(2),
        validators=7,
    ),
    Sabotage(
        "three_dead_in_a_row",
        "The same with three.",
        (Edit(Replica._set_timer, "if there < at.setting.quorum:", "if there < len(at.setting.members):"),),
        "a block within",
        dead_primaries(3),
        validators=10,
    ),
    Sabotage(
        "doubling",
        "The timeout doubles with each failed view.",
        (Edit(Pacemaker.view_failed, "2 * self.timeout", "self.timeout"),),
        "2, 4, 8",
        views_fail,
    ),
    Sabotage(
        "cap",
        "The timeout is capped at 30 s.",
        (Edit(Pacemaker.view_failed, "min(2 * self.timeout, LIMITS.most_timeout)", "2 * self.timeout"),),
        "2, 4, 8",
        views_fail,
    ),
    Sabotage(
        "halving",
        "The timeout halves with each commit.",
        (Edit(Pacemaker.block_committed, "self.timeout // 2", "self.timeout"),),
        "halved",
        views_fail_then_commit,
    ),
    Sabotage(
        "never_below_base",
        "The timeout is never below its base.",
        (
            Edit(
                Pacemaker.block_committed,
                "max(LIMITS.base_timeout, self.timeout // 2)",
                "self.timeout // 2",
            ),
        ),
        "never below",
        commits_then_dead,
    ),
    Sabotage(
        "joining_does_not_double",
        "Joining others does not double the timeout.",
        (
            Edit(
                Replica._join,
                "return self._change_view(views[at.setting.faults])",
                "self._pace.view_failed()\n    return self._change_view(views[at.setting.faults])",
            ),
        ),
        "does not double",
        joining,
    ),
    Sabotage(
        "quorum_first",
        "After a view-change the timer starts when a quorum is there.",
        (Edit(Replica._set_timer, "if there < at.setting.quorum:", "if False:"),),
        "one alone",
        alone,
    ),
    Sabotage(
        "new_view_does_not_restart",
        "NEW-VIEW does not restart the timer.",
        (Edit(Replica._enter_view, "at.changing = False", "at.changing = False\n    self._pace.stop()"),),
        "does not restart",
        new_view_and_nothing,
    ),
    Sabotage(
        "nothing_restarts",
        "A timer that runs is not restarted.",
        (Edit(Pacemaker.run, "if self.expires is None:", "if True:"),),
        "never leaves",
        new_view_and_nothing,
    ),
    Sabotage(
        "stops_without_work",
        "Without work the timer stops.",
        (Edit(Replica._set_timer, " or not self._has_work()", ""),),
        "without work",
        idle,
    ),
    Sabotage(
        "stale_pool",
        "The pool is revalidated after each commit: what is stale changes no views. (The driver's part.)",
        (
            Edit(
                Machine._commit,
                "for each in [each for each in self.pool if not self.ledger.applies(each, chain.time)]:",
                "for each in ():",
            ),
        ),
        "without work",
        idle,
    ),
    Sabotage(
        "heartbeat_is_work",
        "A heartbeat that is due is work.",
        (_work("self._now.monotonic >= self._pace.heartbeat"),),
        "a block within",
        idle_then_dead,
    ),
    Sabotage(
        "heartbeat_by_own_clock",
        "A heartbeat is due 10 s after the own commit, by the monotonic clock.",
        (
            Edit(
                Replica._committed,
                "block_committed(self._now.monotonic)",
                "block_committed(Millis(self._now.monotonic - self._now.wall + chain.time))",
            ),
        ),
        "because of a clock",
        idle_with_skew,
    ),
    Sabotage(
        "proposal_is_work",
        "A proposal is work.",
        (_work("at.candidate is not None"),),
        "a proposal runs",
        nobody_else_knows,
    ),
    Sabotage(
        "choice_is_work",
        "A block to be proposed again is work.",
        (_work("at.choice is not None"),),
        "runs the timer",
        choice_without_proposal,
    ),
    Sabotage(
        "prepared_is_work",
        "A prepared block is work.",
        (_work("(record is not None and record.prepared is not None)"),),
        "runs the timer",
        prepared_and_changing,
    ),
)

# --- saying things again -----------------------------------------------------------------


def prepares_are_lost(stage: Stage) -> None:
    proposed(stage)
    stage.deliver("pre_prepare")
    stage.drop()
    stage.fire(0, 1, 2, 3)
    stage.deliver()
    stage.expect(stage.heights == [1] * 4 and stage.views(0) == [0], "votes are said again")


def commits_are_lost(stage: Stage) -> None:
    """All have committed to the block, and left its view before they heard so."""
    proposed(stage)
    stage.deliver(("pre_prepare", "prepare"))
    stage.drop()
    stage.time_out(0, 1, 2, 3)
    stage.drop()
    stage.fire(0, 1, 2, 3)
    stage.deliver("commit")
    stage.expect(stage.heights == [1] * 4, "votes of earlier views are said again, and count")


def view_changes_are_lost(stage: Stage) -> None:
    stage.submit(1)
    stage.drop()
    stage.crash(0)
    stage.time_out(1, 2, 3)
    stage.drop()
    stage.fire(1, 2, 3)
    stage.deliver()
    stage.expect(stage.heights[1:] == [1] * 3, "view-changes are said again")


def new_view_is_lost(stage: Stage) -> None:
    """3 does not get it, 0 is dead: 3 is needed."""
    stage.submit(1)
    stage.drop()
    stage.crash(0)
    stage.time_out(1, 2, 3)
    stage.deliver("view_change")
    stage.drop("new_view", to=3)
    stage.deliver()
    stage.fire(1, 2, 3)
    stage.deliver()
    stage.expect(stage.heights[1:] == [1] * 3, "the NEW-VIEW is said again")


def proposal_is_lost(stage: Stage) -> None:
    proposed(stage)
    stage.crash(1)
    stage.deliver("pre_prepare", to=2)
    stage.drop()
    stage.fire(0, 2, 3)
    stage.deliver()
    stage.expect(stage.heights == [1, 0, 1, 1], "the proposal is said again")


def a_height_is_missed(stage: Stage) -> None:
    stage.submit(1)
    stage.deliver(match=lambda letter: letter.target != 3)
    stage.drop()
    stage.fire(3)
    stage.deliver(sender=3)
    stage.deliver(to=3)
    stage.expect(stage.heights == [1] * 4, "who is behind is sent the block")


def all_restart_in_the_middle(stage: Stage) -> None:
    """All that live have PREPAREd, nobody has heard so, and all restart."""
    proposed(stage)
    stage.crash(3)
    stage.deliver("pre_prepare")
    stage.drop()
    for each in (0, 1, 2):
        stage.restart(each)
    stage.drop()
    stage.fire(0, 1, 2)
    stage.deliver(("prepare", "commit"))
    stage.expect(stage.heights == [1, 1, 1, 0], "they go on where they were")


def all_restart_in_view_one(stage: Stage) -> None:
    """As before, in view 1, whose primary does not come back."""
    stage.submit(1)
    stage.drop()
    stage.time_out(0, 1, 2, 3)
    stage.deliver(("view_change", "new_view", "pre_prepare"))
    stage.drop()
    stage.crash(1)
    for each in (0, 2, 3):
        stage.restart(each)
    stage.drop()
    stage.fire(0, 2, 3)
    stage.deliver(("prepare", "commit"))
    stage.expect(stage.heights == [1, 0, 1, 1], "they go on where they were")


def body_from_before_the_crash(stage: Stage) -> None:
    """A block prepared in view 0, which all had; view 1 was about another; all restart; view 2 must
    propose the first again, and somebody must have it."""
    block = prepared_at(stage, 2)
    stage.time_out(0, 1, 2, 3)
    stage.deliver("view_change", sender=(0, 3), to=1)
    stage.drop("view_change")
    stage.deliver("new_view")
    stage.deliver("pre_prepare")
    stage.drop()
    for each in range(4):
        stage.restart(each)
    stage.time_out(0, 1, 2, 3)
    stage.deliver()
    stage.expect(stage.heights == [1] * 4, "the chosen block is still there")
    tip = stage.machines[0].ledger.tip
    assert tip is not None and tip.digest == block


RETRANSMISSION = (
    Sabotage(
        "votes_again",
        "Own votes are said again.",
        (Edit(Replica._say_again, "for vote in record.votes:", "for vote in ():"),),
        "votes are said again",
        prepares_are_lost,
    ),
    Sabotage(
        "votes_of_earlier_views_again",
        "Also those of earlier views.",
        (
            Edit(
                Replica._say_again,
                "for vote in record.votes:",
                "for vote in [each for each in record.votes if each.view == at.view]:",
            ),
        ),
        "earlier views",
        commits_are_lost,
    ),
    Sabotage(
        "certificates_of_any_view",
        "A quorum of COMMITs of any view is final, in any view.",
        (Edit(Replica._commit, "at.votes.committed()", "None if at.changing else at.votes.committed()"),),
        "earlier views",
        commits_are_lost,
    ),
    Sabotage(
        "view_changes_again",
        "While it waits for NEW-VIEW, a validator says its view-change again.",
        (Edit(Replica._say_again, "if at.changing:", "if False:"),),
        "view-changes are said again",
        view_changes_are_lost,
    ),
    Sabotage(
        "new_view_again",
        "Who is behind in views is sent the NEW-VIEW.",
        (Edit(Replica._help_along, "if at.new_view is not None and (", "if False and ("),),
        "NEW-VIEW is said again",
        new_view_is_lost,
    ),
    Sabotage(
        "proposal_again",
        "Who lacks the proposal is sent it.",
        (Edit(Replica._help_along, "if proposal is not None:", "if False:"),),
        "proposal is said again",
        proposal_is_lost,
    ),
    Sabotage(
        "beacons",
        "Who is behind in heights is sent blocks in answer to its beacon.",
        (Edit(Replica._receive_beacon, "if beacon.height < self.height:", "if False:"),),
        "who is behind",
        a_height_is_missed,
    ),
    Sabotage(
        "own_votes_counted_after_restart",
        "A restarted validator counts its votes.",
        (Edit(Replica._open, "for vote in record.votes:", "for vote in ():"),),
        "where they were",
        all_restart_in_the_middle,
    ),
    Sabotage(
        "candidate_after_restart",
        "A restarted validator knows what its view is about.",
        (Edit(Replica._open, "if found is not None:", "if False:"),),
        "where they were",
        all_restart_in_the_middle,
    ),
    Sabotage(
        "new_view_read_back",
        "A restarted validator stands in the view whose NEW-VIEW it had accepted.",
        (forgets("new_view=None"),),
        "where they were",
        all_restart_in_view_one,
    ),
    Sabotage(
        "bodies_read_back",
        "A restarted validator has the blocks that it voted for.",
        (Edit(Replica._open, "at.bodies.update(record.bodies)", "pass"),),
        "still there",
        body_from_before_the_crash,
    ),
    Sabotage(
        "bodies_kept",
        "A block stays on disk as long as the vote for it may be shown.",
        (
            Edit(
                Record.with_body,
                "kept = [each for each in self.bodies if each[0] in voted or each[0] == self.prepared_block]",
                "kept = []",
            ),
        ),
        "still there",
        body_from_before_the_crash,
    ),
)

# --- views -------------------------------------------------------------------------------


def certified_in_view_one(stage: Stage) -> None:
    prepared_then_view_one(stage)
    stage.deliver()
    stage.expect(min(stage.views(1, 2, 3)) == 1, "the height opens in the view of its certificate")


def certified_in_two_views(stage: Stage) -> None:
    """2 alone has the certificate of view 1, the others that of view 0."""
    proposed(stage)
    stage.deliver(("pre_prepare", "prepare"))
    old = [each for each in stage.held if each.target != 2]
    stage.drop()
    stage.time_out(0, 1, 2, 3)
    stage.deliver(("view_change", "new_view"))
    stage.deliver(("fetch_body", "body", "pre_prepare", "prepare"))
    stage.deliver("commit", to=2, match=lambda letter: getattr(letter.message, "view", 0) == 1)
    assert stage.heights == [0, 0, 1, 0]
    change = stage.changes(1)[2]
    stage.drop()
    for letter in old:
        stage.world.network.arrive(letter)
    stage.settle()
    assert stage.heights == [1] * 4 and change.height == 3
    stage.inject(2, 0, change)
    stage.expect(stage.views(0) == [1], "a certificate of a higher view is followed at once")


def wrong_root_to_one(stage: Stage) -> None:
    stage.mark_faulty(0)
    stage.inject(0, 2, stage.proposal(0, stage.block(0, root=NOWHERE)))
    stage.expect(stage.views(2) == [1], "refused at once")


def wrong_body_to_all(stage: Stage) -> None:
    body_of_another_header(stage)
    stage.expect(stage.views(1, 2, 3) == [1] * 3, "refused at once")


def relayed_proposal(stage: Stage) -> None:
    """A liar relays the primary's vote with other bytes."""
    proposed(stage)
    stage.mark_faulty(3)
    stage.inject(3, 2, PrePrepare(stage.proposed()[0].vote, stage.block(3)))
    stage.expect(stage.views(2) == [0], "a proposal counts from its primary only")


def early_proposal(stage: Stage) -> None:
    """The primary's clock is 5.3 s ahead: its block is good in 300 ms."""
    stage.mark_faulty(0)
    began = stage.world.scheduler.now
    early = stage.machines[2].now().wall + LIMITS.proposal_early + 300
    stage.inject(0, 2, stage.proposal(0, stage.block(0, time=early)))
    while stage.world.scheduler.now < began + 300:
        stage.fire(2)
    good = bool(stage.said(2, PREPARE)) and stage.world.scheduler.now == began + 300
    stage.expect(good, "an early proposal waits for its time")


def neglected(sees: int, proposer: int, view: int) -> Script:
    def script(stage: Stage) -> None:
        did = stage.world.keyring.validators.members[proposer].did
        stage.machines[sees].put(Neglected(did))
        stage.expect(stage.views(sees) == [view], f"validator {proposer} neglected, view {view}")

    return script


def views_halve_blocks(stage: Stage) -> None:
    for number in (1, 2, 3, 4):
        stage.submit(number, to=(1, 2, 3))
    stage.submit(5)
    stage.drop()
    stage.time_out(1, 2, 3)
    stage.deliver("view_change", to=1)
    content = stage.world.form.block(stage.proposed()[0].block)[1]
    stage.expect(len(content) == 2, "a failed view halves the blocks")


def nothing_applies(stage: Stage) -> None:
    """The node says that transactions wait, and then has none that applies."""
    stage.machines[0].put(Work(True))
    stage.settle()


VIEWS = (
    Sabotage(
        "opening_first_half",
        "A height opens in the view of the certificate below: else a primary that withholds commits costs a"
        " timeout a block.",
        (Edit(Replica._open_above, "return self._change_view(certificate.view)", "return False"),),
        "the height opens",
        certified_in_view_one,
    ),
    Sabotage(
        "opening_second_half",
        "Another's certificate of a higher view is followed: else f holders are stranded.",
        (
            Edit(
                Replica._add_view_change,
                "if change.parent is not None and change.parent.view > at.view:",
                "if False:",
            ),
        ),
        "followed at once",
        certified_in_two_views,
    ),
    Sabotage(
        "reproposal_skips_fresh_checks",
        "What NEW-VIEW chose is old and another's: it skips the fresh checks.",
        (Edit(Replica._consider, "if at.choice is None and not", "if not"),),
        "without end",
        certified_in_view_one,
    ),
    Sabotage(
        "refused_at_once",
        "A block that does not hold costs its view, not a timeout.",
        (Edit(Replica._prepare, "return self._refuse()", "return False"),),
        "refused at once",
        wrong_root_to_one,
    ),
    Sabotage(
        "wrong_body_refused_at_once",
        "Nor does one whose bytes are not what was voted for.",
        (
            Edit(
                Replica._consider,
                "if offer.found is None:\n        return self._refuse()",
                "if offer.found is None:\n        return False",
            ),
        ),
        "refused at once",
        wrong_body_to_all,
    ),
    Sabotage(
        "proposals_are_not_relayed",
        "A proposal counts from its primary only: anybody could put other bytes beside its signature.",
        (Edit(Replica._receive_statement, "if sender == message.vote.validator:", "if True:"),),
        "from its primary only",
        relayed_proposal,
    ),
    Sabotage(
        "early_is_held",
        "A proposal that is early is held, not refused.",
        (
            Edit(
                Replica._consider,
                "return False if self._too_early(facts) and self._is_own_view(facts) else self._refuse()",
                "return self._refuse()",
            ),
        ),
        "waits for its time",
        early_proposal,
    ),
    Sabotage(
        "early_is_held_as_long_as_needed",
        "And considered as soon as its time has come.",
        (Edit(Replica._held_until, "return Millis(self._now.monotonic + early)", "return None"),),
        "waits for its time",
        early_proposal,
    ),
    Sabotage(
        "neglect",
        "A primary that leaves out what it has had for long is suspected.",
        (Edit(Replica._neglected, "self._change_view(View(at.view + 1))", "pass"),),
        "neglected",
        neglected(2, 0, 1),
    ),
    Sabotage(
        "neglect_of_whom",
        "The view's primary answers for its own blocks, not for another's.",
        (Edit(Replica._neglected, " and at.setting.members[primary].did == proposer", ""),),
        "neglected",
        neglected(2, 1, 0),
    ),
    Sabotage(
        "neglect_of_oneself",
        "Nobody suspects itself.",
        (Edit(Replica._neglected, " and primary != self._own", ""),),
        "neglected",
        neglected(0, 0, 0),
    ),
    Sabotage(
        "blocks_halve",
        "Blocks halve with each failed view.",
        (Edit(Replica._propose, "halvings = at.view - at.setting.first", "halvings = 0"),),
        "halves the blocks",
        views_halve_blocks,
    ),
    Sabotage(
        "nothing_to_propose",
        "A primary that has nothing to propose does not ask again until there is news.",
        (
            Edit(Replica._proposed, "self._waiting = self._news", "pass"),
            Constant(scheduler, "MOST_EVENTS", 3_000),
        ),
        "a storm",
        nothing_applies,
    ),
)

# --- memory and work for others ----------------------------------------------------------


def flood(say: Callable[[Stage], None]) -> Script:
    """Of a liar, 3, at 0; then what 0 holds is counted."""

    def script(stage: Stage) -> None:
        proposed(stage)
        stage.mark_faulty(3)
        say(stage)
        stage.world.oracles.check_memory(stage.machines[0])

    return script


def early_votes(stage: Stage) -> None:
    for view in range(1_500):
        stage.inject(3, 0, stage.vote(3, PREPARE, NOWHERE, view=view, height=3))


def early_proposals(stage: Stage) -> None:
    for view in range(20):
        vote = stage.vote(3, PREPARE, NOWHERE, view=view, height=3)
        stage.inject(3, 0, PrePrepare(vote, bytes([view]) * 20_000))


def votes_in_many_views(stage: Stage) -> None:
    for view in range(1_500):
        stage.inject(3, 0, stage.vote(3, PREPARE, NOWHERE, view=view))


def contradictions(stage: Stage) -> None:
    for view in range(700):
        for block in (NOWHERE, stage.world.id):
            stage.inject(3, 0, stage.vote(3, PREPARE, block, view=view))


def unwanted_bodies(stage: Stage) -> None:
    """2 has the COMMITs of a height but not its block; a liar sends it hundreds of others."""
    proposed(stage)
    stage.drop("pre_prepare", to=2)
    stage.deliver(("pre_prepare", "prepare", "commit"))
    assert stage.heights == [1, 1, 0, 1]
    stage.mark_faulty(3)
    older = stage.machines[3].ledger.up_to(1)
    did = stage.world.keyring.validators.members[0].did
    for time in range(300):
        block = older.make((), view=0, time=EPOCH + time, proposer=did)
        stage.inject(3, 2, Body(Height(2), block))
    stage.world.oracles.check_memory(stage.machines[2])


def questions(stage: Stage) -> None:
    """Short questions that draw long answers."""
    stage.submit(1)
    block = stage.proposed()[0].vote.block
    stage.drop()
    stage.mark_faulty(3)
    for _ in range(50):
        for question in (
            TipQuery(JUNK[:32]),
            FetchBlocks(Height(1)),
            FetchBody(Height(2), block),
            Beacon(Height(1), View(0), True, True),
            Beacon(Height(2), View(0), True, False),
        ):
            stage.inject(3, 0, question)
    stage.expect(
        len([each for each in stage.held if each.target == 3]) <= 5, "an answer of each kind at a time"
    )


def forged_new_views(stage: Stage) -> None:
    """A liar lets others verify: NEW-VIEWs in thousands, each with a view-change that does not hold."""
    checked = [0]
    true = stage.world.keyring.verify

    def counting(public: PublicKey, message: Digest, signature: bytes) -> bool:
        checked[0] += 1
        return true(public, message, signature)

    with mock.patch.object(stage.world.keyring, "verify", counting):
        stage.restart(2)
    stage.mark_faulty(1)
    for each in range(200):
        view = 1 + 4 * each
        forged = replace(stage.change(1, view), validator=3, signature=JUNK)
        changes = (stage.change(1, view), forged, replace(forged, validator=0))
        stage.inject(1, 2, stage.new_view(1, view, changes))
    stage.expect(checked[0] < 100, "a liar's NEW-VIEWs are not verified for ever")


BOUNDS = (
    Sabotage(
        "early_messages_bounded",
        "A few messages of the next height wait, of each validator.",
        (Edit(Replica._keep_early, "if len(waiting) > LIMITS.messages_kept:", "if False:"),),
        "holds .* (items|bytes)",
        flood(early_votes),
    ),
    Sabotage(
        "early_proposals_bounded",
        "One proposal of the next height waits, of each validator.",
        (
            Edit(
                Replica._keep_early,
                "(type(message).__name__, 0, 0) if large else statement_key(said)",
                "statement_key(said)",
            ),
        ),
        "holds .* bytes",
        flood(early_proposals),
    ),
    Sabotage(
        "votes_bounded",
        "Votes are kept in a few views, of each validator.",
        (Edit(Votes.add, "if len(views) > LIMITS.votes_kept:", "if False:"),),
        "holds .* (items|bytes)",
        flood(votes_in_many_views),
    ),
    Sabotage(
        "evidence_bounded",
        "Evidence is bounded.",
        (Edit(Replica._accuse, " and len(self._instance.evidence) < LIMITS.evidence_kept", ""),),
        "holds .* (items|bytes)",
        flood(contradictions),
    ),
    Sabotage(
        "wanted_bodies_only",
        "Only the block that is wanted is kept.",
        (Edit(Replica._receive_body, " and found[1].digest == wanted", ""),),
        "holds .* bytes",
        unwanted_bodies,
    ),
    Sabotage(
        "answers_now_and_then",
        "A short question does not draw long answers at will.",
        (Edit(Replica._now_and_then, "return False", "return True"),),
        "an answer of each kind",
        questions,
    ),
    Sabotage(
        "refused_new_views_bounded",
        "NEW-VIEWs that do not hold are verified a few times, of each sender.",
        (
            Edit(
                Replica._receive_new_view,
                "if at.refused.get(sender, 0) >= LIMITS.new_views_refused:",
                "if False:",
            ),
        ),
        "not verified for ever",
        forged_new_views,
    ),
)

# --- catching up -------------------------------------------------------------------------


def _behind(stage: Stage) -> None:
    """3 has missed a height."""
    stage.submit(1)
    stage.deliver(match=lambda letter: letter.target != 3)
    stage.drop()


def false_heights(stage: Stage) -> None:
    """A liar claims to be far ahead, and gives nothing; the others have what is missing."""
    _behind(stage)
    stage.mark_faulty(0)
    stage.inject(0, 3, Beacon(Height(HUGE), View(0), True, True))
    for each in (1, 2):
        stage.inject(each, 3, Beacon(Height(3), View(0), True, True))
    for _ in range(8):
        stage.fire(3)
        stage.drop(to=0)
        stage.drop("beacon")
        stage.deliver(("fetch_blocks", "blocks"))
    stage.expect(stage.heights[3] == 1, "the next peer is asked")


def forged_then_true(stage: Stage) -> None:
    forged_block(stage)
    stage.inject(0, 3, Blocks(Height(2), tuple(stage.machines[0].ledger.blocks[1:])))
    stage.expect(stage.heights[3] == 1, "a forged block makes room")


def other_block_than_certified(stage: Stage) -> None:
    """3 has the COMMITs of a height but not its block; a liar serves it another one first."""
    stage.submit(1)
    stage.drop("pre_prepare", to=3)
    stage.deliver(("pre_prepare", "prepare", "commit"))
    stage.mark_faulty(1)
    honest = stage.machines[1].ledger
    did = stage.world.keyring.validators.members[1].did
    wrong = honest.up_to(1).make((), view=0, time=EPOCH + 1, proposer=did)
    stage.inject(1, 3, Blocks(Height(2), (CertifiedBlock(wrong, honest.blocks[1].certificate),)))
    stage.inject(0, 3, Blocks(Height(2), tuple(stage.machines[0].ledger.blocks[1:])))
    stage.expect(stage.heights[3] == 1, "another block makes room")


def unproved_height(stage: Stage) -> None:
    """A liar says in answer to a lost validator that it is far ahead."""
    stage.restart(6, lost=True)
    query = next(each.message for each in stage.held if isinstance(each.message, TipQuery))
    stage.mark_faulty(1)
    header, facts = stage.world.form.of_block(stage.block(1))
    assert facts.height == 2
    own = stage.vote(1, COMMIT, facts.digest).signature
    forged = Certificate(View(0), tuple((index, own) for index in range(5)))
    stage.inject(1, 6, TipReply(query.nonce, 2, header, forged))
    stage.drop(sender=6, to=1)
    stage.deliver()
    for number in (1, 2):
        stage.submit(number)
        stage.deliver()
    stage.expect(not stage.machines[6].lost, "a height counts by its certificate")


def lost_and_idle(stage: Stage) -> None:
    """Nobody submits anything: two heartbeats bring the two blocks that a lost validator waits for."""
    stage.restart(3, lost=True)
    stage.go_live()
    stage.wait(2 * LIMITS.heartbeat + BASE)
    stage.expect(not stage.machines[3].lost, "a lost validator's goal does not move")


CATCHING_UP = (
    Sabotage(
        "goal_does_not_move",
        "The first answers to a lost validator count; later ones would move the goal (covered: it asks"
        " no more).",
        (Edit(LostRecord.receive, "did in self.replies or len(self.replies) >= setting.quorum", "False"),),
        "does not move",
        lost_and_idle,
        covered_by=(Edit(Replica._say_again, " and self._lost.waits_for(at.setting.quorum) is None", ""),),
    ),
    Sabotage(
        "who_gives_nothing_is_left_alone",
        "A peer that claims heights and gives nothing is not asked for a while.",
        (Edit(CatchUp._shun, "self._shunned[peer] = Millis(now + _SHUNNED)", "pass"),),
        "the next peer",
        false_heights,
    ),
    Sabotage(
        "answers_expire",
        "An answer that does not come is not waited for.",
        (Edit(CatchUp.expire, "if self.asked is not None and now >= self.until:", "if False:"),),
        "the next peer|deadline does not lie ahead",
        false_heights,
    ),
    Sabotage(
        "forged_blocks_make_room",
        "Blocks that do not hold are thrown away.",
        (Edit(Replica._take_certified, "self._catch_up.blame(peer, self._now.monotonic)", "pass"),),
        "makes room",
        forged_then_true,
    ),
    Sabotage(
        "other_blocks_make_room",
        "So is a block that is not the one that the votes certified.",
        (Edit(Replica._commit, "self._catch_up.blame(peer, self._now.monotonic)", "pass"),),
        "makes room",
        other_block_than_certified,
    ),
    Sabotage(
        "proved_heights",
        "An answer to a lost validator counts with a true certificate.",
        (
            Edit(
                lost_record._proved,
                "return setting.certificate_holds(",
                "return None is not setting.certificate_holds(",
            ),
        ),
        "by its certificate",
        unproved_height,
        validators=7,
    ),
)

TABLE = (*TIMERS, *RETRANSMISSION, *VIEWS, *BOUNDS, *CATCHING_UP)
