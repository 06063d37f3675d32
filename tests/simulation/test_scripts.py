"""Schedules written by hand: the normal case and the view change, step by step; and an example to copy."""

from __future__ import annotations

import pytest

from credchain.certificates import Height
from credchain.consensus.messages import Blocks, CertifiedBlock, Message, PrePrepare

from .ledger import EPOCH, encode_block
from .schedule import Report, Script, run_schedule
from .stage import Stage


def play(script: Script, validators: int = 4) -> Report:
    """Run it; a broken rule fails with the whole story."""
    report = run_schedule(0, validators, script=script, traced=True)
    assert report.violation is None, "\n".join([*report.lines, report.violation])
    return report


def everybody_commits(stage: Stage) -> None:
    """Section 4.2: PRE-PREPARE, PREPARE from all, COMMIT from all."""
    stage.submit(1)
    assert stage.deliver("pre_prepare", sender=0) == 3
    stage.deliver("prepare")
    assert stage.heights == [0, 0, 0, 0]
    stage.deliver("commit")
    assert stage.heights == [1, 1, 1, 1]


def two_prepares_are_no_quorum(stage: Stage) -> None:
    """n = 4, q = 3: the primary's own and one more do not let anybody commit to it."""
    stage.submit(1)
    stage.deliver("pre_prepare", to=1)
    stage.deliver("prepare", sender=1, to=0)
    assert stage.deliver("commit") == 0


def silent_primary_is_replaced(stage: Stage) -> None:
    """Section 4.4: nobody hears view 0's primary; view 1's proposes."""
    stage.submit(1)
    stage.drop(sender=0)
    stage.time_out(1, 2, 3)
    stage.deliver("view_change", to=(1, 2, 3))
    stage.deliver("new_view", to=(2, 3))
    stage.deliver(("pre_prepare", "prepare", "commit"), sender=(1, 2, 3), to=(1, 2, 3))
    assert stage.heights == [0, 1, 1, 1]
    header = stage.machines[1].ledger.tip
    assert header is not None and header.view == 1


def prepared_block_survives(stage: Stage) -> None:
    """Section 4.4: one backup alone knows that the block was prepared; view 1 proposes it again."""
    stage.submit(1)
    block = stage.proposed()[0].vote.block
    stage.deliver("pre_prepare", sender=0)
    stage.deliver("prepare", to=2)
    assert stage.said(2) == [0]
    stage.drop()
    stage.time_out(1, 2, 3)
    stage.deliver(("view_change", "new_view"), to=(1, 2, 3))
    stage.deliver(("fetch_body", "body", "pre_prepare", "prepare", "commit"), sender=(1, 2, 3), to=(1, 2, 3))
    assert stage.heights == [0, 1, 1, 1]
    header = stage.machines[3].ledger.tip
    assert header is not None and (header.digest, header.view) == (block, 0)


def vote_is_repeated_after_a_crash(stage: Stage) -> None:
    """A crash while the PREPARE is written: lost or stored, the validator then says one thing only."""
    stage.submit(1)
    stage.crash(1, after=2)
    stage.deliver("pre_prepare", to=1)
    assert not stage.machines[1].up
    stage.restart(1)
    stage.deliver()
    stage.fire(0, 1, 2, 3)
    stage.deliver()
    assert stage.heights == [1, 1, 1, 1]


def record_is_lost(stage: Stage) -> None:
    """Section 7 of the design, "Lost record": silent until two blocks above what a quorum has proved."""
    stage.submit(1)
    stage.deliver()
    stage.restart(3, lost=True)
    for number in (2, 3):
        for _ in range(2):
            stage.wait(1_000)
            stage.fire(0, 1, 2, 3)
            stage.deliver()
        stage.submit(number)
        stage.deliver()
        assert stage.machines[3].lost == (number == 2)
    assert stage.heights == [3, 3, 3, 3]


def wrong_block_does_not_stand_before_a_certified_one(stage: Stage) -> None:
    """Validator 3 has the COMMITs of a height but not its block; a liar serves it another one first."""
    stage.submit(1)
    stage.drop("pre_prepare", to=3)
    stage.deliver(("pre_prepare", "prepare", "commit"))
    assert stage.heights == [1, 1, 1, 0]
    stage.mark_faulty(1)
    honest = stage.machines[1].ledger
    did = stage.world.keyring.validators.members[1].did
    wrong = honest.up_to(1).make((), view=0, time=EPOCH + 1, proposer=did)
    lie = Blocks(Height(2), (CertifiedBlock(wrong, honest.blocks[1].certificate),))
    stage.inject(1, 3, lie)
    for _ in range(4):
        stage.fire(3)
        stage.deliver()
    assert stage.heights == [1, 1, 1, 1]


def wrong_content_does_not_replace_the_right_one(stage: Stage) -> None:
    """View 1's primary re-proposes the prepared block's header with another content; view 2's, which had
    the right one, proposes that."""
    stage.submit(1)
    stage.deliver("pre_prepare")
    stage.deliver("prepare")
    stage.drop()
    stage.mark_faulty(1)
    stage.time_out(1, 2, 3)
    stage.deliver(("view_change", "new_view"))

    def swapped(message: Message) -> Message:
        assert isinstance(message, PrePrepare)
        header_bytes, _ = stage.world.form.block(message.block)
        header, _ = stage.world.form.header(header_bytes)
        return PrePrepare(message.vote, encode_block(header, ()))

    assert stage.replace("pre_prepare", 1, swapped) == 3
    stage.deliver("pre_prepare")
    assert stage.views(0, 2, 3) == [2, 2, 2]
    stage.deliver(sender=(0, 2, 3), to=(0, 2, 3))
    assert [stage.heights[each] for each in (0, 2, 3)] == [1, 1, 1]


@pytest.mark.parametrize(
    "script",
    [
        everybody_commits,
        two_prepares_are_no_quorum,
        silent_primary_is_replaced,
        prepared_block_survives,
        vote_is_repeated_after_a_crash,
        record_is_lost,
        wrong_block_does_not_stand_before_a_certified_one,
        wrong_content_does_not_replace_the_right_one,
    ],
)
def test_script(script: Script) -> None:
    play(script)
