"""Guards of safety, each with the schedule that breaks it: what is signed, counted, accepted and chosen.

Scripts are with four validators, f = 1, q = 3, unless they say otherwise; they begin at height 2, in view
0, whose primary is validator 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from credchain import certificates
from credchain.certificates import Certificate, Height, View
from credchain.consensus import lost_record
from credchain.consensus import record as safety
from credchain.consensus.lost_record import LostRecord
from credchain.consensus.messages import (
    COMMIT,
    PREPARE,
    Blocks,
    CertifiedBlock,
    NewView,
    Prepared,
    PrePrepare,
    TipQuery,
    TipReply,
    ViewChange,
    Vote,
    prepare_digest,
)
from credchain.consensus.replica import Replica
from credchain.consensus.setting import Setting, first_view
from credchain.consensus.view_change import choose, new_view_holds, prepared_block, view_change_holds
from credchain.consensus.votes import Votes
from credchain.encoding import Digest, digest
from credchain.errors import InvalidInput

from . import ledger as stand_in
from .ledger import EPOCH, Transaction, encode_block
from .sabotage import Constant, Edit, Sabotage
from .schedule import Script
from .stage import Stage
from .world import FOREVER

HUGE = 2**50
JUNK = b"\x07" * 64
NOWHERE = digest("root", b"nowhere")

# --- openings ----------------------------------------------------------------------------


def proposed(stage: Stage) -> Digest:
    """Validator 0 has proposed a block; nobody has it yet."""
    stage.submit(1)
    return stage.proposed()[0].vote.block


def prepared_at(stage: Stage, *places: int) -> Digest:
    """All PREPARE validator 0's block; only these hear it, and COMMIT; nobody hears that."""
    block = proposed(stage)
    stage.deliver("pre_prepare", sender=0)
    stage.deliver("prepare", to=places)
    stage.drop()
    return block


def prepared_of(stage: Stage, index: int) -> Prepared:
    record = stage.machines[index].disk.record
    assert record is not None and record.prepared is not None
    return record.prepared


def in_view_one(stage: Stage) -> None:
    """Validators 1, 2 and 3 have gone there; 1 has proposed a block, which waits."""
    stage.submit(1)
    stage.drop()
    stage.time_out(1, 2, 3)
    stage.deliver("view_change", to=(1, 2, 3))
    stage.deliver("new_view", to=(2, 3))


# --- the safety record -------------------------------------------------------------------


def ledger_is_older_than_the_record(stage: Stage) -> None:
    """A ledger restored from a backup, beside the record of a later height."""
    stage.submit(1)
    stage.deliver()
    stage.submit(2)
    stage.deliver("pre_prepare", to=3)
    machine = stage.machines[3]
    stage.crash(3)
    machine.disk.ledger = machine.ledger.up_to(1)
    stage.restart(3)
    stage.submit(3, to=(3,))
    for _ in range(8):
        stage.fire(3)


def committing_after_leaving(stage: Stage) -> None:
    """3 has PREPAREd, leaves the view, and then hears the others' PREPAREs of it."""
    proposed(stage)
    stage.deliver("pre_prepare")
    for _ in range(6):
        stage.fire(3)
    stage.deliver("prepare", to=3)


def two_blocks_around_a_crash(stage: Stage) -> None:
    """The primary proposes one block, and another to a backup that has restarted meanwhile."""
    proposed(stage)
    stage.deliver("pre_prepare", to=1)
    stage.drop()
    stage.restart(1)
    stage.mark_faulty(0)
    stage.inject(0, 1, stage.proposal(0, stage.block(0, transactions=(Transaction(9, FOREVER),))))


def one_block(stage: Stage) -> None:
    stage.submit(1)
    stage.deliver(("pre_prepare", "prepare", "commit"))


def view_one(stage: Stage) -> None:
    in_view_one(stage)
    stage.deliver(("pre_prepare", "prepare", "commit"))


def leaving_a_prepared_block(stage: Stage) -> None:
    prepared_at(stage, 2)
    for _ in range(6):
        stage.fire(2)


def prepared_and_restarted(stage: Stage) -> None:
    prepared_at(stage, 2)
    stage.restart(2)
    stage.time_out(2)


def leaving_restarting_committing(stage: Stage) -> None:
    proposed(stage)
    stage.deliver("pre_prepare")
    stage.time_out(3)
    stage.restart(3)
    stage.deliver("prepare", to=3)


def leaving_the_same_view_twice(stage: Stage) -> None:
    in_view_one(stage)
    stage.deliver("pre_prepare")
    stage.deliver("prepare", to=2)
    for _ in range(10):
        stage.fire(2)


def going_back(stage: Stage) -> None:
    """View-changes to 1 and to 3, without any NEW-VIEW, and one more timeout."""
    stage.submit(1)
    stage.drop()
    for view in (1, 3):
        while min(stage.views(1, 2, 3)) < view:
            stage.time_out(*[each for each in (1, 2, 3) if stage.views(each) < [view]])
            stage.deliver("view_change", to=(1, 2, 3))
            stage.drop()
    for _ in range(30):
        stage.fire(2)


def announcing_twice(stage: Stage) -> None:
    """View 1's primary restarts after its NEW-VIEW, and gets view-changes of others than before."""
    stage.submit(1)
    stage.drop()
    stage.time_out(0, 1, 2, 3)
    changes = stage.changes(1)
    stage.deliver("view_change", sender=(2, 3), to=1)
    stage.drop()
    stage.restart(1)
    for each in (0, 2):
        stage.inject(each, 1, changes[each])


RECORD = (
    Sabotage(
        "other_height",
        "A statement of another height than the record's is never signed.",
        (Edit(safety.may_sign, "if statement.height != record.height:", "if False:"),),
        "hides what it had committed to",
        ledger_is_older_than_the_record,
    ),
    Sabotage(
        "floor",
        "Nothing is signed below the own view-change (covered: the replica leaves the view).",
        (Edit(safety.may_sign, "if statement.view != record.floor:", "if False:"),),
        "below its view-change|below an earlier view-change",
        committing_after_leaving,
        covered_by=(
            Edit(Replica._change_view, "at.view, at.changing = view, True", "pass"),
            Edit(Replica._change_view, "at.candidate = at.choice = at.new_view = None", "pass"),
        ),
    ),
    Sabotage(
        "one_vote_a_view",
        "One PREPARE a view (covered: the replica looks for its vote, and restores the candidate).",
        (Edit(safety.may_sign, "if said is not None:", "if False:"),),
        "equivocates: PREPARE",
        two_blocks_around_a_crash,
        covered_by=(
            Edit(Replica._open, "if found is not None:", "if False:"),
            Edit(
                Replica._prepare,
                "self._voted(PREPARE)",
                "at.candidate.digest in [each.block for each in before.votes]",
            ),
        ),
    ),
    Sabotage(
        "body_on_disk",
        "PREPARE only with the block's body on disk (covered: the replica puts it there).",
        (Edit(safety._may_prepare, "if record.body(vote.block) is None:", "if False:"),),
        "without having its block on disk",
        one_block,
        covered_by=(Edit(Replica._prepare, "before.with_body(block, body)", "before"),),
    ),
    Sabotage(
        "new_view_before_voting",
        "The NEW-VIEW is on disk before the first vote in its view (covered: the replica stores it).",
        (
            Edit(
                safety._may_prepare,
                "return record.new_view is not None and record.new_view.view == vote.view",
                "return True",
            ),
        ),
        "without its NEW-VIEW on disk",
        view_one,
        covered_by=(Edit(Replica._enter_view, "if record.new_view != new_view:", "if False:"),),
    ),
    Sabotage(
        "commit_what_is_prepared",
        "COMMIT only with the prepared certificate on disk (covered: the replica stores it).",
        (Edit(safety._may_commit, "return prepared is not None and", "return True or"),),
        "without a prepared certificate on disk",
        one_block,
        covered_by=(
            Edit(
                Replica._commit_vote,
                "before.with_prepared(Prepared(at.candidate.header, certificate), block)",
                "before",
            ),
        ),
    ),
    Sabotage(
        "view_change_shows_prepared",
        "VIEW-CHANGE carries the prepared certificate (covered: the replica takes it from the record).",
        (Edit(safety._may_change_view, " or statement.prepared != record.prepared", ""),),
        "hides what it had committed to",
        leaving_a_prepared_block,
        covered_by=(Edit(Replica._change_view, "self._record.prepared, at", "None, at"),),
    ),
    Sabotage(
        "one_view_change_a_view",
        "One VIEW-CHANGE a view: floor and memory both refuse a second (covered: views only rise).",
        (
            Edit(safety._may_change_view, "if said is not None and", "if False and"),
            Edit(safety._may_change_view, "statement.view <= record.floor", "statement.view < record.floor"),
        ),
        "carries a prepared certificate of elsewhere|equivocates: VIEW-CHANGE",
        leaving_the_same_view_twice,
        covered_by=(
            Edit(Replica._tick, "View(self._instance.view + 1)", "View(max(1, self._instance.view))"),
        ),
    ),
    Sabotage(
        "floor_never_sinks",
        "VIEW-CHANGE only for a view above the floor (covered: the replica's view only rises).",
        (Edit(safety._may_change_view, "statement.view <= record.floor or ", ""),),
        "its floor sank",
        going_back,
        covered_by=(
            Edit(
                Replica._tick,
                "View(self._instance.view + 1)",
                "View({0: 1, 1: 2, 2: 3}.get(self._instance.view, 1))",
            ),
        ),
    ),
    Sabotage(
        "new_view_once",
        "One NEW-VIEW a view (covered: the replica restores the one that it announced).",
        (
            Edit(
                safety._may_announce,
                "return record if replace(statement, signature=said.signature) == said else None",
                "return replace(record, new_view=statement)",
            ),
        ),
        "equivocates: NEW-VIEW",
        announcing_twice,
        covered_by=(
            Edit(Replica._open, "if record.new_view is not None:", "if False:"),
            Edit(Replica._open, "at.changing = record.new_view is None", "at.changing = True"),
        ),
    ),
    Sabotage(
        "persist_before_send",
        "The record is on disk before the statement leaves.",
        (
            Edit(
                Replica.step,
                "return self._effects",
                "return sorted(self._effects, key=lambda each: isinstance(each, Persist))",
            ),
        ),
        "before it is on disk",
        one_block,
    ),
    Sabotage(
        "persist",
        "A statement's record is written at all.",
        (Edit(Replica._sign, "self._effects.append(Persist(after))", "pass"),),
        "before it is on disk",
        one_block,
    ),
)


def forgets(what: str) -> Edit:
    """The record is read back at restart without this."""
    opened = "safety.open_height(self._record, setting.height, setting.first)"
    return Edit(Replica._open, opened, f"safety.replace({opened}, {what})")


READ_BACK = (
    Sabotage(
        "votes_read_back",
        "A restarted validator remembers its votes.",
        (forgets("votes=()"),),
        "equivocates: PREPARE",
        two_blocks_around_a_crash,
    ),
    Sabotage(
        "prepared_read_back",
        "A restarted validator shows the prepared certificate that it had (DESIGN: 2 of 1,500 seeds).",
        (forgets("prepared=None, prepared_block=None"),),
        "hides what it had committed to",
        prepared_and_restarted,
    ),
    Sabotage(
        "view_change_read_back",
        "A restarted validator remembers that it has left a view.",
        (forgets("view_change=None, floor=setting.first, new_view=None"),),
        "below an earlier view-change|below its view-change|floor sank",
        leaving_restarting_committing,
    ),
)

# --- view changes ------------------------------------------------------------------------

Made = Callable[[Stage, dict[int, ViewChange]], NewView]


def crafted(make: Made) -> Script:
    """The others want view 1; a liar sends validator 2 this NEW-VIEW."""

    def script(stage: Stage) -> None:
        stage.submit(1)
        stage.drop()
        stage.time_out(0, 2, 3)
        changes = stage.changes(1)
        stage.mark_faulty(1)
        made = make(stage, changes)
        stage.inject(1, 2, made)

    return script


def with_own(make: Callable[[Stage], ViewChange]) -> Script:
    """The primary's own view-change in it is this."""
    return crafted(lambda stage, changes: stage.new_view(1, 1, (changes[0], make(stage), changes[3])))


def _forged(stage: Stage) -> ViewChange:
    return replace(stage.change(1), validator=2, signature=JUNK)


def _invented(stage: Stage, count: int, signature: bytes | None = None) -> ViewChange:
    """A certificate for a block of its own, in view 0, by its signature or junk."""
    block = stage.block(1, transactions=(Transaction(9, FOREVER),), proposer=0)
    header, facts = stage.world.form.of_block(block)
    own = stage.vote(1, PREPARE, facts.digest).signature
    signatures = [(1, own), *((index, signature or JUNK) for index in range(2, count + 1))]
    return stage.change(1, prepared=Prepared(header, Certificate(View(0), tuple(signatures[:count]))))


def _one_signer_thrice(stage: Stage) -> ViewChange:
    block = stage.block(1, proposer=0)
    header, facts = stage.world.form.of_block(block)
    own = (1, stage.vote(1, PREPARE, facts.digest).signature)
    try:
        return stage.change(1, prepared=Prepared(header, Certificate(View(0), (own, own, own))))
    except InvalidInput:
        return stage.change(1)


def _without_parent(stage: Stage) -> ViewChange:
    return stage.sign(replace(stage.change(1), parent=None))


def _cut_parent(stage: Stage) -> ViewChange:
    whole = stage.machines[1].ledger.blocks[-1].certificate
    return stage.change(1, parent=Certificate(whole.view, whole.signatures[:2]))


def of_another_height(stage: Stage) -> ViewChange:
    parent = stage.machines[1].ledger.blocks[-1].certificate
    return stage.change(1, height=3, parent=parent)


def prepared_in_the_view_itself(stage: Stage) -> None:
    """A second NEW-VIEW of view 1, with a block that was prepared in view 1."""
    in_view_one(stage)
    stage.deliver("pre_prepare", to=2)
    stage.deliver("prepare", sender=(2,), to=1)
    stage.time_out(0)
    changes = stage.changes(1)
    stage.mark_faulty(1)
    stage.mark_faulty(3)
    stage.inject(3, 1, stage.vote(3, PREPARE, stage.proposed()[0].vote.block, view=1))
    own = stage.change(1, prepared=prepared_of(stage, 1))
    stage.inject(1, 0, stage.new_view(1, 1, (changes[0], own, stage.change(3))))


def prepared_at_another_height(stage: Stage) -> None:
    """The last height's prepared certificate, shown at this one."""
    proposed(stage)
    stage.deliver(("pre_prepare", "prepare"))
    old = prepared_of(stage, 0)
    stage.deliver()
    stage.submit(2)
    stage.drop()
    stage.time_out(0, 2, 3)
    changes = stage.changes(1)
    stage.mark_faulty(1)
    own = stage.change(1, height=3, prepared=old)
    stage.inject(1, 2, stage.new_view(1, 1, (changes[0], own, changes[3]), height=3))


def two_prepared(stage: Stage) -> None:
    """A block prepared in view 0 is known to 3, another prepared in view 1 to 2; view 2 must choose the
    latter, because some may have committed it."""
    prepared_at(stage, 3)
    stage.time_out(0, 1, 2, 3)
    stage.deliver("view_change", sender=(0, 2), to=1)
    stage.drop("view_change")
    stage.deliver("new_view")
    stage.deliver("pre_prepare")
    stage.deliver("prepare", to=2)
    assert stage.said(2) == [1]
    stage.drop()
    stage.time_out(0, 2, 3)
    stage.deliver("view_change", sender=(0, 3), to=2)


def prepared_then_view_one(stage: Stage) -> None:
    """Prepared in view 0 at 2 alone, which may be all that is left of a commit."""
    prepared_at(stage, 2)
    stage.time_out(1, 2, 3)
    stage.deliver(("view_change", "new_view"), to=(1, 2, 3))
    stage.deliver(("fetch_body", "body", "pre_prepare", "prepare", "commit"))


def disobedient_primary(stage: Stage) -> None:
    """It proposes a block of its own where NEW-VIEW demands the prepared one."""
    prepared_at(stage, 2)
    stage.time_out(1, 2, 3)
    stage.deliver(("view_change", "new_view"), to=(1, 2, 3))
    stage.mark_faulty(1)
    stage.drop()
    stage.inject(1, 3, stage.proposal(1, stage.block(1, view=1), view=1))


def old_new_view(stage: Stage) -> None:
    """3 has gone on to view 2 when the NEW-VIEW of view 1 arrives."""
    stage.submit(1)
    stage.drop()
    stage.time_out(1, 2, 3)
    stage.deliver("view_change", to=(1, 2, 3))
    stage.time_out(3)
    stage.deliver("new_view", to=3)


def first_sight_of_view_one(stage: Stage) -> None:
    """0 is in view 0 when the NEW-VIEW of view 1 and its proposal arrive."""
    in_view_one(stage)
    stage.drop("view_change")
    stage.time_out(2)
    stage.machines[1].crash()
    stage.restart(1)
    held = stage.machines[1].disk.record
    assert held is not None and held.new_view is not None
    stage.inject(1, 0, held.new_view)
    stage.deliver("pre_prepare", to=0)


def liars_view(stage: Stage) -> None:
    """One liar, with one honest validator, asks for a view that nobody lives to see."""
    stage.submit(1)
    stage.drop()
    stage.mark_faulty(3)
    stage.inject(3, 2, stage.change(3, HUGE))
    stage.time_out(1)
    stage.deliver("view_change", to=2)


def one_goes_alone(stage: Stage) -> None:
    stage.submit(1)
    stage.drop()
    stage.mark_faulty(3)
    stage.inject(3, 2, stage.change(3, 1))
    stage.expect(stage.views(2) == [0], "one validator alone does not pull others into its view")


def liars_parent(stage: Stage) -> None:
    """A view-change whose parent's "certificate" is of a view that nobody lives to see."""
    stage.mark_faulty(3)
    true = stage.machines[3].ledger.blocks[-1].certificate
    stage.inject(3, 2, stage.change(3, parent=Certificate(View(HUGE), true.signatures)))


def parent_below_the_first_height(stage: Stage) -> None:
    stage.mark_faulty(3)
    forged = Certificate(View(HUGE), ((3, JUNK),))
    stage.inject(3, 2, stage.sign(ViewChange(Height(1), View(1), 3, None, forged)))


def too_few_for_a_new_view(stage: Stage) -> None:
    stage.submit(1)
    stage.drop()
    stage.time_out(1, 2)
    stage.deliver("view_change", sender=2, to=1)


def views_mixed_by_the_primary(stage: Stage) -> None:
    """Others want view 1, one of them is in view 2 already."""
    stage.submit(1)
    stage.drop()
    stage.mark_faulty(3)
    stage.inject(3, 1, stage.change(3, 2))
    stage.time_out(1, 2)
    stage.deliver("view_change", sender=2, to=1)


def everybody_wants_view_one(stage: Stage) -> None:
    stage.submit(1)
    stage.drop()
    stage.time_out(0, 2, 3)
    stage.deliver("view_change", to=(0, 2, 3))


VIEW_CHANGE = (
    Sabotage(
        "view_change_height",
        "VIEW-CHANGE counts for its height only: view-changes of different heights are not mixed.",
        (Edit(view_change_holds, "change.height != setting.height or ", ""),),
        "with a view-change of elsewhere",
        with_own(of_another_height),
    ),
    Sabotage(
        "view_change_signature",
        "VIEW-CHANGE is signed by its validator.",
        (Edit(view_change_holds, "if not setting.signature_holds(change):", "if False:"),),
        "with a forged view-change",
        with_own(_forged),
    ),
    Sabotage(
        "prepared_below",
        "VIEW-CHANGE's prepared certificate is of a view below its own.",
        (Edit(view_change_holds, "change.prepared.view >= change.view or ", ""),),
        "a prepared certificate of elsewhere",
        prepared_in_the_view_itself,
    ),
    Sabotage(
        "prepared_true",
        "VIEW-CHANGE's prepared certificate is verified: an invented one would displace a committed block.",
        (Edit(view_change_holds, " or prepared_block(change.prepared, setting) is None", ""),),
        "a prepared certificate with a bad signature",
        with_own(lambda stage: _invented(stage, 3)),
    ),
    Sabotage(
        "prepared_signatures",
        "Each signature of a certificate is verified.",
        (
            Edit(
                Setting.certificate_holds,
                "all(self.signature_holds(vote) for vote in votes)",
                "any(self.signature_holds(vote) for vote in votes)",
            ),
        ),
        "a prepared certificate with a bad signature",
        with_own(lambda stage: _invented(stage, 3)),
    ),
    Sabotage(
        "prepared_quorum",
        "A certificate has a quorum of signatures.",
        (Edit(Setting.certificate_holds, "len(votes) >= self.quorum and ", ""),),
        "a prepared certificate of 1 validators",
        with_own(lambda stage: _invented(stage, 1)),
    ),
    Sabotage(
        "prepared_signers_distinct",
        "One signer counts once in a certificate.",
        (Edit(Certificate.__post_init__, "left >= right", "left > right"),),
        "a prepared certificate of 1 validators",
        with_own(_one_signer_thrice),
    ),
    Sabotage(
        "prepared_height",
        "A prepared certificate is of this height (covered: its signatures name the height).",
        (Edit(prepared_block, " or facts.height != setting.height", ""),),
        "a prepared certificate of elsewhere",
        prepared_at_another_height,
        covered_by=(Edit(prepared_block, "PREPARE, setting.height,", "PREPARE, facts.height,"),),
    ),
    Sabotage(
        "parent_shown",
        "VIEW-CHANGE shows the certificate of the block below.",
        (
            Edit(
                Setting.parent_certificate_holds,
                "if certificate is None:\n        return False",
                "if certificate is None:\n        return True",
            ),
        ),
        "without a parent's certificate",
        with_own(_without_parent),
    ),
    Sabotage(
        "parent_true",
        "VIEW-CHANGE's parent certificate is verified.",
        (Edit(view_change_holds, "return setting.parent_certificate_holds(change.parent)", "return True"),),
        "a parent's certificate of 2 validators",
        with_own(_cut_parent),
    ),
    Sabotage(
        "parent_of_a_huge_view",
        "The same: a forged parent's certificate would choose everybody's view.",
        (Edit(view_change_holds, "return setting.parent_certificate_holds(change.parent)", "return True"),),
        "liars chose it",
        liars_parent,
    ),
    Sabotage(
        "parent_at_the_first_height",
        "At height 1 there is no parent to show.",
        (Edit(Setting.parent_certificate_holds, "return certificate is None", "return True"),),
        "liars chose it",
        parent_below_the_first_height,
        start=0,
    ),
    Sabotage(
        "new_view_primary",
        "NEW-VIEW is its primary's.",
        (Edit(new_view_holds, " or new_view.validator != setting.primary(new_view.view)", ""),),
        "which is not its primary's",
        crafted(lambda stage, changes: stage.new_view(3, 1, [changes[0], stage.change(1), changes[3]])),
    ),
    Sabotage(
        "new_view_signature",
        "NEW-VIEW is signed.",
        (Edit(new_view_holds, " or not setting.signature_holds(new_view)", ""),),
        "which is not its primary's",
        crafted(
            lambda stage, changes: replace(
                stage.new_view(1, 1, [changes[0], stage.change(1), changes[3]]), signature=JUNK
            )
        ),
    ),
    Sabotage(
        "new_view_quorum",
        "NEW-VIEW shows a quorum of view-changes.",
        (Edit(new_view_holds, "len(senders) < setting.quorum or ", ""),),
        "not of a quorum",
        crafted(lambda stage, changes: stage.new_view(1, 1, [changes[0], stage.change(1)])),
    ),
    Sabotage(
        "new_view_distinct",
        "NEW-VIEW is refused whole if a view-change is doubled.",
        (Edit(new_view_holds, " or len(set(senders)) != len(senders)", ""),),
        "not of a quorum",
        crafted(lambda stage, changes: stage.new_view(1, 1, [stage.change(1)] * 3)),
    ),
    Sabotage(
        "new_view_exactly_this_view",
        "NEW-VIEW's view-changes are for exactly its view.",
        (Edit(new_view_holds, "any(each.view != new_view.view for each in changes) or ", ""),),
        "with a view-change of elsewhere",
        with_own(lambda stage: stage.change(1, 5)),
    ),
    Sabotage(
        "new_view_checked",
        "NEW-VIEW is refused whole if one of its view-changes does not hold.",
        (
            Edit(
                new_view_holds,
                "return all(each in before or view_change_holds(each, setting) for each in changes)",
                "return True",
            ),
        ),
        "with a forged view-change",
        with_own(_forged),
    ),
    Sabotage(
        "new_view_height",
        "NEW-VIEW counts for its height (covered: statements of other heights do not come so far).",
        (Edit(new_view_holds, "new_view.height != setting.height or ", ""),),
        "at height 2",
        crafted(lambda stage, changes: stage.new_view(1, 1, [*changes.values()], height=3)),
        covered_by=(
            Edit(
                Replica._receive_statement,
                "if height > self.height:",
                "if height > self.height and not isinstance(message, NewView):",
            ),
        ),
    ),
    Sabotage(
        "choose_highest",
        "The new view's block is the one that was prepared in the highest view.",
        (Edit(choose, "return max(", "return min("),),
        "its NEW-VIEW demands another block",
        two_prepared,
    ),
    Sabotage(
        "choose_something",
        "A block that was prepared is proposed again.",
        (Edit(choose, "return max(", "return None and max("),),
        "its NEW-VIEW demands another block",
        prepared_then_view_one,
    ),
    Sabotage(
        "propose_the_choice",
        "The new primary proposes what its NEW-VIEW demands.",
        (Edit(Replica._propose, "if at.choice is not None:", "if False:"),),
        "its NEW-VIEW demands another block",
        prepared_then_view_one,
    ),
    Sabotage(
        "choice_byte_for_byte",
        "What NEW-VIEW chose is re-proposed byte for byte, or refused.",
        (
            Edit(Replica._consider, "if at.choice is not None and header != at.choice.header:", "if False:"),
            Edit(Replica._consider, "if at.choice is None and not", "if False and not"),
        ),
        "its NEW-VIEW demands another block",
        disobedient_primary,
    ),
    Sabotage(
        "new_view_not_below",
        "A NEW-VIEW of a view that was left is not accepted.",
        (Edit(Replica._receive_new_view, "if new_view.view < at.view or", "if False and"),),
        "accepts NEW-VIEW .* at height 2, view 2",
        old_new_view,
    ),
    Sabotage(
        "own_view_change_first",
        "Nobody acts in a view above the first without having signed its view-change (covered: the record"
        " allows votes at its floor only, and only a validator that is changing enters a view).",
        (Edit(Replica._receive_new_view, "not self._change_view(new_view.view)", "False"),),
        "view 0|without a view-change to its view",
        first_sight_of_view_one,
        covered_by=(
            Edit(Replica._enter_view, " or not at.changing", ""),
            Edit(Replica._enter_view, "at.changing = False", "at.view, at.changing = new_view.view, False"),
        ),
    ),
    Sabotage(
        "announce_with_quorum",
        "The primary announces its view with a quorum of view-changes.",
        (
            Edit(Replica._announce_view, "if len(changes) < at.setting.quorum:", "if len(changes) < 2:"),
            Edit(Replica._announce_view, "changes[: at.setting.quorum]", "changes"),
        ),
        "not of a quorum",
        too_few_for_a_new_view,
    ),
    Sabotage(
        "announce_exactly_this_view",
        "The primary announces its view with view-changes for exactly it.",
        (Edit(Replica._announce_view, "if each.view == at.view", "if each.view >= at.view"),),
        "with a view-change of elsewhere",
        views_mixed_by_the_primary,
    ),
    Sabotage(
        "announce_own_views",
        "Only the view's primary announces it.",
        (Edit(Replica._announce_view, " or at.setting.primary(at.view) != own", ""),),
        "which is not its primary's",
        everybody_wants_view_one,
    ),
    Sabotage(
        "join_not_the_highest",
        "Who joins takes the (f+1)-th highest view seen: a liar cannot choose it.",
        (
            Edit(Replica._join, "views[at.setting.faults] <= at.view", "views[0] <= at.view"),
            Edit(Replica._join, "self._change_view(views[at.setting.faults])", "self._change_view(views[0])"),
        ),
        "liars chose it",
        liars_view,
    ),
    Sabotage(
        "join_more_than_f",
        "f validators in higher views pull nobody.",
        (
            Edit(Replica._join, "len(views) <= at.setting.faults or ", "not views or "),
            Edit(Replica._join, "views[at.setting.faults] <= at.view", "views[-1] <= at.view"),
            Edit(
                Replica._join, "self._change_view(views[at.setting.faults])", "self._change_view(views[-1])"
            ),
        ),
        "one validator alone",
        one_goes_alone,
    ),
)

# --- counting ----------------------------------------------------------------------------


def only_the_first(count: int) -> Script:
    """The first few validators hear each other and nobody else."""

    def script(stage: Stage) -> None:
        proposed(stage)
        few = range(count)
        stage.deliver("pre_prepare", to=few)
        stage.deliver("prepare", sender=few, to=few)

    return script


def same_vote_again(stage: Stage) -> None:
    block = proposed(stage)
    stage.deliver("pre_prepare", to=2)
    vote = stage.vote(2, PREPARE, block)
    stage.inject(2, 0, vote)
    stage.inject(2, 0, vote)


def beside_one_true(make: Callable[[Stage, Digest], Vote], sender: int = 3) -> Script:
    """0 has its own PREPARE and validator 1's; the third is this one of a liar."""

    def script(stage: Stage) -> None:
        block = proposed(stage)
        stage.deliver("pre_prepare", to=1)
        stage.deliver("prepare", sender=1, to=0)
        stage.mark_faulty(3)
        stage.inject(sender, 0, make(stage, block))

    return script


def borrowed_signature(stage: Stage) -> None:
    """A liar's PREPARE, and the same signature under another's name."""
    block = proposed(stage)
    stage.mark_faulty(3)
    vote = stage.vote(3, PREPARE, block)
    stage.inject(3, 0, vote)
    stage.inject(3, 0, replace(vote, validator=2))


def many_true_signatures(stage: Stage) -> None:
    """A liar votes in thousands of views."""
    stage.mark_faulty(3)
    for view in range(8_500):
        stage.machines[0].receive(3, stage.vote(3, PREPARE, NOWHERE, view=view))
    stage.world.oracles.check_memory(stage.machines[0])


def same_digest_two_times(stage: Stage) -> None:
    """A liar's two blocks differ in what the digest leaves out."""
    stage.submit(1)
    stage.drop()
    stage.mark_faulty(0)
    now = stage.machines[0].now().wall
    for to in (1, 2, 3):
        stage.inject(0, to, stage.proposal(0, stage.block(0, time=now + to % 2)))
    stage.deliver("prepare")
    stage.deliver("commit")
    for each in (0, 1, 2, 3):
        stage.fire(each)
    stage.deliver()


COUNTING = (
    *(
        Sabotage(
            f"quorum_of_{validators}",
            "The quorum is ceil((n+f+1)/2): 2f+1 is too few where n is not 3f+1.",
            (
                Edit(
                    certificates.quorum,
                    "return (validators + faults(validators) + 2) // 2",
                    "return 2 * faults(validators) + 1",
                ),
            ),
            f"a prepared certificate of {few} validators",
            only_the_first(few),
            validators,
        )
        for validators, few in ((5, 3), (6, 3), (8, 5), (9, 5))
    ),
    Sabotage(
        "sender_counted_once",
        "A validator counts once.",
        (Edit(Votes.add, "(vote.phase, vote.validator), {}", "(vote.phase, len(self._votes)), {}"),),
        "a prepared certificate with a bad signature",
        same_vote_again,
    ),
    Sabotage(
        "same_digest",
        "Votes for another digest do not count.",
        (Edit(Votes.certificate, " and views[view].block == block", ""),),
        "a prepared certificate with a bad signature",
        beside_one_true(lambda stage, block: stage.vote(3, PREPARE, NOWHERE)),
    ),
    Sabotage(
        "same_view",
        "Votes of another view do not count.",
        (
            Edit(Votes.certificate, "views[view].signature", "next(iter(views.values())).signature"),
            Edit(
                Votes.certificate,
                "view in views and views[view].block == block",
                "any(each.block == block for each in views.values())",
            ),
        ),
        "a prepared certificate with a bad signature",
        beside_one_true(lambda stage, block: stage.vote(3, PREPARE, block, view=1)),
    ),
    Sabotage(
        "same_height",
        "Votes of another height do not count.",
        (
            Edit(
                Replica._receive_statement,
                "if height < self.height:",
                "if height < self.height and not isinstance(message, Vote):",
            ),
        ),
        "a prepared certificate with a bad signature",
        beside_one_true(lambda stage, block: stage.vote(3, PREPARE, block, height=1)),
    ),
    Sabotage(
        "vote_signature",
        "A vote's signature is checked.",
        (Edit(Replica._add_vote, "if not at.setting.signature_holds(vote):", "if False:"),),
        "a prepared certificate with a bad signature",
        beside_one_true(lambda stage, block: replace(stage.vote(3, PREPARE, block), validator=2)),
    ),
    Sabotage(
        "vote_of_a_stranger",
        "A validator's index is one of this height's.",
        (Edit(Setting.signature_holds, "if statement.validator >= len(self.members):", "if False:"),),
        "IndexError",
        beside_one_true(lambda stage, block: replace(stage.vote(3, PREPARE, block), validator=7)),
    ),
    Sabotage(
        "known_signature_of_whom",
        "A signature that is known to hold, holds for its validator.",
        (Edit(Setting.signature_holds, "seen = (statement.validator,", "seen = (0,"),),
        "a prepared certificate with a bad signature",
        borrowed_signature,
    ),
    Sabotage(
        "known_signature_of_what",
        "A signature that is known to hold, holds for what it signed.",
        (Edit(Setting.signature_holds, "seen = (statement.validator, signed,", "seen = (0, b'',"),),
        "a prepared certificate with a bad signature",
        borrowed_signature,
    ),
    Sabotage(
        "known_signatures_bounded",
        "As many signatures are remembered as the limits say.",
        (Edit(Setting.signature_holds, "if len(self._known) < LIMITS.signatures_known:", "if True:"),),
        "signatures that it knows",
        many_true_signatures,
    ),
    Sabotage(
        "digest_covers_the_header",
        "A header's digest covers every field.",
        (
            Edit(
                stand_in._facts,
                'digest("header", data)',
                'digest("header", data[:40] + str(header.view).encode() + header.root + header.content)',
            ),
        ),
        "fork|without having executed",
        same_digest_two_times,
    ),
)

# --- signed bytes ------------------------------------------------------------------------

SIGNED = (
    *(
        Sabotage(
            f"{phase}_signs_{field}",
            f"{phase.upper()} is signed over {field}.",
            (Edit(made, f'"{field}": {field}, ', ""),),
            "with a bad signature",
            one_block,
        )
        for phase, made in (("prepare", prepare_digest), ("commit", certificates.commit_digest))
        for field in ("network", "height", "view")
    ),
    Sabotage(
        "prepare_signs_its_block",
        "PREPARE is signed over the header's digest.",
        (Edit(prepare_digest, '"header": block', '"header": network'),),
        "with a bad signature",
        one_block,
    ),
    Sabotage(
        "commit_signs_its_block",
        "COMMIT is signed over the header's digest.",
        (Edit(certificates.commit_digest, '"header": header', '"header": network'),),
        "with a bad signature",
        one_block,
    ),
    Sabotage(
        "phases_signed_apart",
        "PREPARE and COMMIT are signed under purposes of their own.",
        (Edit(prepare_digest, 'digest("prepare",', 'digest("commit",'),),
        "with a bad signature",
        one_block,
    ),
    *(
        Sabotage(
            f"{name}_signs_{field}",
            f"{name.replace('_', '-').upper()} is signed over {field}.",
            (Edit(kind.signed, 'del content["signature"]', f'del content["signature"], content["{field}"]'),),
            "with a bad signature|not its primary's|forged",
            script,
        )
        for name, kind, script, names in (
            (
                "view_change",
                ViewChange,
                leaving_a_prepared_block,
                ("height", "view", "validator", "prepared", "parent"),
            ),
            ("new_view", NewView, view_one, ("height", "view", "validator", "view_changes")),
        )
        for field in names
    ),
    *(
        Sabotage(
            f"{name}_signs_network",
            f"{name.replace('_', '-').upper()} is signed over the network.",
            (Edit(kind.signed, '{"network": network, **content}', "content"),),
            "with a bad signature|not its primary's|forged",
            script,
        )
        for name, kind, script in (
            ("view_change", ViewChange, leaving_a_prepared_block),
            ("new_view", NewView, view_one),
        )
    ),
)

# --- proposals ---------------------------------------------------------------------------


def liars_block(make: Callable[[Stage], bytes], what: str = "", wait: int = 0) -> Script:
    """Validator 0 proposes this to 2. With ``what``, 2 must not PREPARE it: no oracle else would see."""

    def script(stage: Stage) -> None:
        stage.wait(wait)
        stage.mark_faulty(0)
        stage.inject(0, 2, stage.proposal(0, make(stage)))
        if what:
            stage.expect(not stage.said(2, PREPARE), what)

    return script


def wrong_root(stage: Stage) -> None:
    """All are given a block with a wrong state root; their votes travel."""
    stage.mark_faulty(0)
    block = stage.block(0, root=NOWHERE)
    for each in (1, 2, 3):
        stage.inject(0, each, stage.proposal(0, block))
    stage.deliver(("prepare", "commit"))


def wrong_root_certified(stage: Stage) -> None:
    """More than f faulty: a block that breaks a rule is certified. Then this node must stop."""
    for each in range(4):
        stage.mark_faulty(each)
    block = stage.block(0, root=NOWHERE)
    stage.inject(0, 3, stage.proposal(0, block))
    for each in (0, 1, 2):
        stage.inject(each, 3, stage.vote(each, COMMIT, stage.digest(block)))
    stage.expect(stage.machines[3].halted, "a certified block that does not hold halts the node")


def other_bytes_beside_the_vote(stage: Stage) -> None:
    """The primary's vote is for one block, the bytes beside it are another."""
    stage.mark_faulty(0)
    now = stage.machines[0].now().wall
    one, other = (stage.block(0, time=now + each) for each in (0, 1))
    stage.inject(0, 2, PrePrepare(stage.proposal(0, one).vote, other))
    stage.expect(not stage.said(2, PREPARE), "the block is the one that the primary voted for")


def body_of_another_header(stage: Stage) -> None:
    """The header's bytes with other transactions, to all."""
    stage.submit(1)
    held = stage.proposed()[0]
    stage.drop()
    stage.mark_faulty(0)
    header = stage.world.form.header(stage.world.form.block(held.block)[0])[0]
    for each in (1, 2, 3):
        stage.inject(0, each, PrePrepare(held.vote, encode_block(header, ())))
    stage.deliver(("prepare", "commit"))


def view_four_in_view_zero(stage: Stage) -> None:
    """The primary of views 0 and 4 proposes for view 4."""
    stage.mark_faulty(0)
    stage.inject(0, 2, stage.proposal(0, stage.block(0, view=4), view=4))


def late_block(stage: Stage) -> bytes:
    return stage.block(0, time=EPOCH + 5)


def slow_own_block(stage: Stage) -> None:
    """0 is asked for a block in view 0, leads again in view 4, and only then has the first one ready."""
    machine = stage.machines[0]
    machine.speed.execute = 10**6
    stage.submit(1)
    machine.speed.execute = 10**8
    for view in range(1, 5):
        while min(stage.views(0, 1, 2, 3)) < view:
            behind = [each for each in range(4) if stage.views(each) < [view]]
            stage.time_out(*behind[:3])
            stage.deliver("view_change")
    stage.wait(10**6)


def behind_its_parent(stage: Stage) -> None:
    """The primary's clock is behind the parent's time."""
    for machine in stage.machines:
        machine.clocks.wall = -3
    stage.submit(1)


PROPOSALS = (
    Sabotage(
        "fresh_view",
        "A fresh block's header has the view that it is proposed in.",
        (
            Edit(
                Replica._is_own_view,
                "(facts.view, facts.proposer) == (at.view, primary)",
                "facts.proposer == primary",
            ),
        ),
        "a fresh block of view 7",
        liars_block(lambda stage: stage.block(0, view=7)),
    ),
    Sabotage(
        "fresh_proposer",
        "A fresh block's header names this view's primary.",
        (
            Edit(
                Replica._is_own_view,
                "(facts.view, facts.proposer) == (at.view, primary)",
                "facts.view == at.view",
            ),
        ),
        "or another proposer",
        liars_block(lambda stage: stage.block(0, proposer=1)),
    ),
    Sabotage(
        "time_advances",
        "A fresh block's time is after its parent's.",
        (Edit(Replica._is_fresh, "and facts.time > self._instance.setting.chain.time", ""),),
        "not after its parent's",
        liars_block(lambda stage: stage.block(0, time=stage.machines[0].ledger.time)),
    ),
    Sabotage(
        "own_time_advances",
        "Nor does a primary propose another.",
        (Edit(Replica._propose, "max(self._now.wall, at.setting.chain.time + 1)", "self._now.wall"),),
        "not after its parent's",
        behind_its_parent,
    ),
    Sabotage(
        "not_too_old",
        "A fresh block's time is at most 10 s behind the own clock.",
        (Edit(Replica._is_fresh, "wall - LIMITS.proposal_late <= ", ""),),
        "too old",
        liars_block(late_block, "a block that is too old is not prepared", wait=10_100),
    ),
    Sabotage(
        "not_too_early",
        "A fresh block's time is at most 5 s ahead of the own clock.",
        (Edit(Replica._is_fresh, " <= wall + LIMITS.proposal_early", ""),),
        "too early",
        liars_block(
            lambda stage: stage.block(0, time=stage.machines[2].now().wall + 5_100),
            "a block that is too early is not prepared",
        ),
    ),
    Sabotage(
        "executed_and_valid",
        "Only a block that holds after executing is prepared.",
        (Edit(Replica._prepare, "if outcome is Outcome.INVALID:", "if False:"),),
        "halts|not valid",
        wrong_root,
    ),
    Sabotage(
        "only_certified_halts",
        "A block that does not hold is refused; only a certified one halts.",
        (Edit(Replica._prepare, "return self._refuse()", 'return bool(self._halt("it does not hold"))'),),
        "halts",
        wrong_root,
    ),
    Sabotage(
        "certified_halts",
        "A certified block that does not hold halts.",
        (Edit(Replica._commit, "if outcome is Outcome.INVALID:", "if False:"),),
        "halts the node",
        wrong_root_certified,
    ),
    Sabotage(
        "digest_of_the_vote",
        "A proposal's bytes are the block that its vote is for.",
        (Edit(Replica._receive_proposal, " and found[1].digest == vote.block", ""),),
        "the one that the primary voted for",
        other_bytes_beside_the_vote,
    ),
    Sabotage(
        "body_bound_to_header",
        "A digest stands for one body (covered: executing finds out).",
        (
            Edit(
                stand_in.Format.of_block,
                "if self.header(header)[0].content != content_digest(transactions):",
                "if False:",
            ),
        ),
        "another content|without having executed|not valid",
        body_of_another_header,
        covered_by=(
            Edit(
                stand_in.Ledger.execute,
                "if facts.digest != expected or header.content != content_digest(transactions):",
                "if False:",
            ),
            Edit(
                stand_in.Ledger.execute,
                "or header.root != next_root(self.root, transactions)",
                "",
            ),
        ),
    ),
    Sabotage(
        "higher_view_proposal",
        "A proposal of a higher view waits for that view (covered: proposals of views further than n ahead"
        " are not kept, and a fresh block is of its view).",
        (Edit(Replica._current_offer, " and offer.proposal.vote.view == at.view", ""),),
        "a fresh block of view 4",
        view_four_in_view_zero,
        covered_by=(
            Edit(
                Replica._receive_proposal,
                "if not at.view <= vote.view < at.view + len(at.setting.members):",
                "if False:",
            ),
            Edit(
                Replica._is_own_view,
                "(facts.view, facts.proposer) == (at.view, primary)",
                "facts.proposer == primary",
            ),
        ),
    ),
    Sabotage(
        "own_block_of_this_view",
        "A block that was asked for in another view is not proposed (covered: a view-change forgets that one"
        " was asked for; but the same validator may lead, and have asked, again).",
        (
            Edit(
                Replica._proposed,
                "(answer.height, answer.view) != (self.height, at.view) or not at.proposing",
                "not at.proposing",
            ),
        ),
        "a fresh block of view 0",
        slow_own_block,
    ),
)

# --- evidence ----------------------------------------------------------------------------


def forged_contradictions(stage: Stage) -> None:
    """A liar contradicts honest validators in their names."""
    in_view_one(stage)
    stage.mark_faulty(3)
    record = stage.machines[1].disk.record
    assert record is not None and record.new_view is not None
    own = record.view_change
    assert own is not None
    stage.inject(3, 2, replace(own, prepared=None, parent=None, signature=JUNK))
    stage.inject(3, 2, replace(record.new_view, signature=JUNK))


EVIDENCE = (
    Sabotage(
        "evidence_of_view_changes",
        "Nobody is accused by a view-change that it did not sign.",
        (Edit(Replica._add_view_change, " and at.setting.signature_holds(change)", ""),),
        "accuses validator 1, which is honest",
        forged_contradictions,
    ),
    Sabotage(
        "evidence_of_new_views",
        "Nobody is accused by a NEW-VIEW that it did not sign.",
        (Edit(Replica._receive_new_view, " and at.setting.signature_holds(new_view)", ""),),
        "accuses validator 1, which is honest",
        forged_contradictions,
    ),
    Sabotage(
        "evidence_of_votes",
        "Nobody is accused by a vote that it did not sign.",
        (Edit(Replica._add_vote, "if not at.setting.signature_holds(vote):", "if False:"),),
        "accuses validator 1, which is honest",
        beside_one_true(lambda stage, block: replace(stage.vote(3, PREPARE, NOWHERE), validator=1)),
    ),
)

# --- the lost record ---------------------------------------------------------------------


def ahead_then_lost(stage: Stage) -> None:
    """3 alone has the certificate of height L = 2, and has said VIEW-CHANGE at L+1; it loses record and
    ledger. The others work at L, so M = L-1: what it holds must reach L+1 before it signs."""
    proposed(stage)
    stage.deliver(("pre_prepare", "prepare"))
    stage.deliver("commit", to=3)
    assert stage.heights == [0, 0, 0, 1]
    letters = [each for each in stage.held if each.target != 3]
    stage.drop()
    stage.submit(2)
    stage.drop()
    stage.time_out(3)
    stage.drop()
    stage.restart(3, lost=True, keep=1)
    stage.deliver(("tip_query", "tip_reply"))
    stage.drop()
    for letter in letters:
        stage.world.network.arrive(letter)
    stage.settle()
    assert stage.heights == [1, 1, 1, 0]
    stage.fire(3)
    stage.deliver("beacon", sender=3)
    stage.deliver("blocks", to=3)
    assert stage.heights == [1, 1, 1, 1]
    stage.deliver("pre_prepare", to=3)


def lost_before_two_blocks(stage: Stage) -> None:
    """It has PREPAREd a block, loses its record, and is given another block for the same view."""
    proposed(stage)
    stage.deliver("pre_prepare", to=3)
    stage.drop()
    stage.restart(3, lost=True)
    stage.deliver(("tip_query", "tip_reply"))
    stage.machines[3].honest = True
    stage.mark_faulty(0)
    stage.inject(0, 3, stage.proposal(0, stage.block(0, transactions=(Transaction(9, FOREVER),))))


def old_answers(stage: Stage) -> None:
    """Answers to the query of an earlier run arrive again, after the validator has signed above them."""
    stage.restart(3, lost=True)
    stage.deliver("tip_query")
    replies = [each for each in stage.held if isinstance(each.message, TipReply)]
    for number in (1, 2, 3):
        stage.deliver()
        stage.submit(number)
        stage.deliver()
    assert not stage.machines[3].lost
    stage.submit(4)
    stage.deliver("pre_prepare", to=3)
    assert stage.said(3, PREPARE)
    stage.drop()
    stage.restart(3, lost=True)
    stage.drop()
    for letter in replies:
        stage.world.network.arrive(letter)
    stage.settle()
    stage.wait(100)
    stage.mark_faulty(0)
    stage.inject(0, 3, stage.proposal(0, stage.block(0, transactions=(Transaction(9, FOREVER),))))


def one_answers_thrice(stage: Stage) -> None:
    """Validator 2 is far behind, and the only one whose answers arrive."""
    for number in (1, 2, 3):
        stage.submit(number)
        stage.deliver(match=lambda letter: letter.target != 2)
        stage.drop()
    stage.submit(4)
    stage.deliver("pre_prepare", to=3)
    stage.drop()
    stage.restart(3, lost=True)
    queries = [each for each in stage.held if each.target == 2 and isinstance(each.message, TipQuery)]
    stage.drop()
    for _ in range(3):
        stage.wait(1_000)
        for letter in queries:
            stage.world.network.arrive(letter)
        stage.deliver("tip_reply")
    stage.mark_faulty(0)
    stage.inject(0, 3, stage.proposal(0, stage.block(0, transactions=(Transaction(9, FOREVER),))))


LOST = (
    Sabotage(
        "loss_ignored",
        "A lost record is not a new one.",
        (
            Edit(Replica.__init__, "self._record = record", "self._record = record or safety.BORN"),
            Edit(
                Replica.__init__,
                "LostRecord(identity.nonce) if record is None else None",
                "None",
            ),
        ),
        "equivocates: PREPARE",
        lost_before_two_blocks,
    ),
    Sabotage(
        "m_plus_zero",
        "Signs again with a certified block of M+2; M is too low.",
        (Constant(lost_record, "_AHEAD", 0),),
        "equivocates|below|after a view-change",
        ahead_then_lost,
    ),
    Sabotage(
        "m_plus_one",
        "Signs again with a certified block of M+2; M+1 is too low.",
        (Constant(lost_record, "_AHEAD", 1),),
        "equivocates|below|after a view-change",
        ahead_then_lost,
    ),
    Sabotage(
        "old_nonce",
        "Answers to this run's nonce count, others do not.",
        (Edit(LostRecord.receive, "reply.nonce == self.nonce and ", ""),),
        "equivocates: PREPARE",
        old_answers,
    ),
    Sabotage(
        "answers_of_distinct_validators",
        "A validator's answer counts once.",
        (
            Edit(LostRecord.receive, "did in self.replies or ", ""),
            Edit(LostRecord.receive, "self.replies[did] =", "self.replies[did + str(len(self.replies))] ="),
        ),
        "equivocates: PREPARE",
        one_answers_thrice,
    ),
)

# --- fetched blocks, and the rest ---------------------------------------------------------


def forged_block(stage: Stage) -> None:
    """A liar serves a block of its own under the true certificate."""
    stage.submit(1)
    stage.deliver(match=lambda letter: letter.target != 3)
    stage.drop()
    stage.mark_faulty(1)
    true = stage.machines[1].ledger.blocks[1].certificate
    own = (
        stage.machines[1]
        .ledger.up_to(1)
        .make((), view=0, time=EPOCH + 1, proposer=stage.world.keyring.validators.members[0].did)
    )
    stage.inject(1, 3, Blocks(Height(2), (CertifiedBlock(own, true),)))


def last_height_of_a_hundred(stage: Stage) -> None:
    """Height 100 is committed; 101 begins in the next view."""
    stage.submit(1)
    stage.deliver()
    stage.submit(2)
    stage.deliver()


REST = (
    Sabotage(
        "fetched_certificate",
        "A fetched block counts by its certificate.",
        (
            Edit(
                Replica._take_certified,
                "if found is None or not at.setting.certificate_holds(",
                "if found is None or None is at.setting.certificate_holds(",
            ),
        ),
        "a commit certificate with a bad signature|fork",
        forged_block,
    ),
    Sabotage(
        "rotation",
        "The first view is one more every 100 heights: no primary rules for ever.",
        (Edit(first_view, "turn = 1 if", "turn = 0 if"),),
        "is of view 0, first 1|signed PREPARE",
        last_height_of_a_hundred,
        start=99,
    ),
)

TABLE = (
    *RECORD,
    *READ_BACK,
    *VIEW_CHANGE,
    *COUNTING,
    *SIGNED,
    *PROPOSALS,
    *EVIDENCE,
    *LOST,
    *REST,
)
