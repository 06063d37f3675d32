"""Schedules written by hand: the normal case and the view change, step by step; and an example to copy."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize(
    "script",
    [
        everybody_commits,
        two_prepares_are_no_quorum,
        silent_primary_is_replaced,
        prepared_block_survives,
        vote_is_repeated_after_a_crash,
        record_is_lost,
    ],
)
def test_script(script: Script) -> None:
    play(script)
