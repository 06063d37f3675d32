"""Valid VIEW-CHANGEs and NEW-VIEWs, and what a new view must propose (PROTOCOL 12, rules 3-5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from credchain.certificates import View
from credchain.consensus.messages import COMMIT, NewView, ViewChange
from credchain.consensus.view_change import choose, new_view_holds, view_change_holds

from .consensus_helpers import (
    certificate,
    digest_of,
    header,
    new_view,
    prepared,
    setting,
    signed,
    view_change,
)

A = header(tag=1)
B = header(tag=2)
AT_ONE = setting()
AT_TWO = setting(height=1)


def test_a_view_change_with_nothing_prepared_holds() -> None:
    assert view_change_holds(view_change(1, 1, 2), AT_ONE)


def test_a_view_change_with_a_prepared_block_holds() -> None:
    assert view_change_holds(view_change(1, 3, 2, prepared(1, 2, A)), AT_ONE)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(view_change(2, 1, 2), id="of another height"),
        pytest.param(view_change(1, 0, 2), id="to the first view"),
        pytest.param(signed(view_change(1, 1, 2), by=3), id="signed by another"),
        pytest.param(replace(view_change(1, 1, 2), view=View(2)), id="changed after signing"),
        pytest.param(replace(view_change(1, 1, 2), validator=7), id="of no validator"),
        pytest.param(view_change(1, 2, 2, prepared(1, 2, A)), id="prepared in the view itself"),
        pytest.param(view_change(1, 2, 2, prepared(1, 5, A)), id="prepared in a later view"),
        pytest.param(view_change(1, 2, 2, prepared(1, 1, A, (0, 1))), id="prepared by less than a quorum"),
        pytest.param(
            view_change(1, 2, 2, prepared(1, 1, header(2), (0, 1, 2))), id="prepared at another height"
        ),
        pytest.param(
            view_change(1, 2, 2, replace(prepared(1, 1, A), header=B)), id="the certificate of another block"
        ),
        pytest.param(
            view_change(
                1, 2, 2, replace(prepared(1, 1, A), certificate=certificate(COMMIT, 1, 1, digest_of(A)))
            ),
            id="COMMITs in the place of PREPAREs",
        ),
        pytest.param(
            view_change(1, 2, 2, None, certificate(COMMIT, 1, 0, digest_of(A))), id="a parent below height 1"
        ),
    ],
)
def test_a_false_view_change_is_refused(change: ViewChange) -> None:
    assert not view_change_holds(change, AT_ONE)


def test_the_parent_must_be_shown_and_certified() -> None:
    parent = AT_TWO.chain.certificate
    other = certificate(COMMIT, 1, 0, digest_of(B))
    few = (
        replace(other, signatures=AT_TWO.chain.certificate.signatures[:2])
        if AT_TWO.chain.certificate
        else None
    )
    assert view_change_holds(view_change(2, 1, 0, None, parent), AT_TWO)
    for false in (None, other, few):
        assert not view_change_holds(view_change(2, 1, 0, None, false), AT_TWO)


CHANGES = tuple(view_change(1, 1, each) for each in (0, 1, 2))


def test_a_new_view_with_a_quorum_of_view_changes_holds() -> None:
    assert new_view_holds(new_view(1, 1, CHANGES), AT_ONE)


@pytest.mark.parametrize(
    "announced",
    [
        pytest.param(new_view(1, 1, CHANGES, validator=2), id="not its primary"),
        pytest.param(signed(new_view(1, 1, CHANGES), by=3), id="signed by another"),
        pytest.param(new_view(1, 1, CHANGES[:2]), id="less than a quorum"),
        pytest.param(new_view(1, 1, (*CHANGES[:2], CHANGES[1])), id="one twice"),
        pytest.param(
            new_view(1, 1, (*CHANGES[:2], view_change(1, 1, 1, prepared(1, 0, A)))), id="one validator twice"
        ),
        pytest.param(new_view(1, 1, (*CHANGES[:2], view_change(1, 2, 3))), id="one to a higher view"),
        pytest.param(new_view(1, 1, (*CHANGES[:2], view_change(2, 1, 3))), id="one of another height"),
        pytest.param(
            new_view(1, 1, (*CHANGES, replace(CHANGES[0], validator=3))), id="an invalid one beside a quorum"
        ),
        pytest.param(new_view(2, 1, CHANGES), id="of another height"),
    ],
)
def test_a_false_new_view_is_refused_whole(announced: NewView) -> None:
    assert not new_view_holds(announced, AT_ONE)


def test_a_new_view_is_not_believed_for_what_was_seen_before() -> None:
    """Only the very same view-changes are known to hold."""
    false = replace(CHANGES[2], signature=bytes(64))
    assert not new_view_holds(new_view(1, 1, (*CHANGES[:2], false)), AT_ONE, CHANGES)


def test_the_block_prepared_in_the_highest_view_is_chosen() -> None:
    low, high = prepared(1, 1, A), prepared(1, 4, B)
    changes = (view_change(1, 5, 0, low), view_change(1, 5, 1, high), view_change(1, 5, 2))
    assert choose(changes) == high
    assert choose(reversed(changes)) == high


def test_where_nothing_was_prepared_the_primary_is_free() -> None:
    assert choose(CHANGES) is None
