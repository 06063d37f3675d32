"""Why nothing commits: a sentence for each cause, and which cause goes before which."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from credchain.node.why import STATES, Facts, why

FOUR: Final = Facts("waiting", 7, validators=4, primary="Node East", pool=3, round_age=2_500)

SENTENCES: Final = {
    "nothing waits": (
        Facts("committing", 7),
        "nothing waits; a heartbeat block follows every 10 seconds",
    ),
    "the next block": (Facts("committing", 7, pool=1), "1 transaction waits for the next block"),
    "the next block, more": (Facts("committing", 7, pool=3), "3 transactions wait for the next block"),
    "the primary": (FOUR, "3 transactions wait for a block from the primary Node East since 2.5 s"),
    "a primary without a name": (
        Facts("waiting", 7, pool=1),
        "1 transaction waits for a block from the primary",
    ),
    "two peers unreachable": (
        replace(FOUR, unreachable=("Node North", "Node West")),
        "3 of 4 validators are needed and 2 are connected, this one included: Node North and Node West"
        " cannot be reached",
    ),
    "all peers unreachable": (
        replace(FOUR, unreachable=("A", "B", "C")),
        "3 of 4 validators are needed and 1 is connected, this one included: A, B and C cannot be reached",
    ),
    "many peers unreachable": (
        replace(FOUR, validators=10, unreachable=tuple("ABCDEFGH")),
        "7 of 10 validators are needed and 2 are connected, this one included: A, B, C, D, E and 3 more"
        " cannot be reached",
    ),
    "one of two": (
        Facts("waiting", 7, validators=2, unreachable=("Node B",)),
        "2 of 2 validators are needed and 1 is connected, this one included: Node B cannot be reached",
    ),
    "the clock": (
        replace(FOUR, ahead=3_600_000),
        "the last block's time is 3600 s ahead of this machine's clock: check the clock",
    ),
    "the clock, a little": (
        replace(FOUR, ahead=1_234),
        "the last block's time is 1.2 s ahead of this machine's clock: check the clock",
    ),
    "a lost record": (
        replace(FOUR, state="lost_record", signs_from=9),
        "the safety record of this validator was lost, so it signs nothing until the others have made two"
        " more blocks (height 9)",
    ),
    "a lost record, one block later": (
        replace(FOUR, state="lost_record", height=8, signs_from=9),
        "the safety record of this validator was lost, so it signs nothing until the others have made one"
        " more block (height 9)",
    ),
    "a lost record, far behind": (
        replace(FOUR, state="lost_record", signs_from=109),
        "the safety record of this validator was lost, so it signs nothing until the others have made 102"
        " more blocks (height 109)",
    ),
    "a lost record, nobody has answered": (
        replace(FOUR, state="lost_record", unreachable=("A", "B", "C")),
        "the safety record of this validator was lost, so it signs nothing: first 3 other validators must"
        " tell it how far they are",
    ),
    "catching up": (
        replace(FOUR, state="catching_up", known_height=5_000),
        "this node is catching up: it is at height 7, the others are at 5000",
    ),
    "catching up, nobody knows how far": (
        replace(FOUR, state="catching_up"),
        "this node is at height 7 and fetches blocks that the others have",
    ),
    "a full disk": (
        replace(FOUR, state="halted", problem="the disk is full; make room and start it again"),
        "this node has stopped itself at height 7: the disk is full; make room and start it again",
    ),
    "halted without a word": (
        replace(FOUR, state="halted"),
        "this node has stopped itself at height 7: it says no reason; see its log",
    ),
    "a view change": (
        replace(FOUR, state="view_change", view=5, round_age=12_345),
        "the validators have been agreeing on a new primary for 12 s, for view 5",
    ),
    "a view change that just began": (
        replace(FOUR, state="view_change", view=5, round_age=None),
        "the validators have been agreeing on a new primary, for view 5",
    ),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_the_sentence(name: str) -> None:
    facts, sentence = SENTENCES[name]
    assert why(facts) == sentence


def test_one_unreachable_of_four_stops_nothing() -> None:
    """q of n are still connected: the cause is another."""
    assert why(replace(FOUR, unreachable=("Node West",))) == why(FOUR)


def test_the_graver_cause_is_told_first() -> None:
    everything = replace(
        FOUR,
        unreachable=("A", "B"),
        ahead=9_000,
        known_height=99,
        signs_from=9,
        problem="the disk is full",
    )
    assert "disk is full" in why(replace(everything, state="halted"))
    assert "safety record" in why(replace(everything, state="lost_record"))
    for state in ("catching_up", "view_change", "waiting", "committing"):
        assert "cannot be reached" in why(replace(everything, state=state))
        assert "clock" in why(replace(everything, state=state, unreachable=()))


@pytest.mark.parametrize("state", [*STATES, "a state of a later version"])
def test_one_line_for_any_state(state: str) -> None:
    for facts in (FOUR, Facts(state, 0), replace(FOUR, unreachable=("A", "B", "C"))):
        told = why(replace(facts, state=state))
        assert told
        assert "\n" not in told
        assert not told.endswith(".")
