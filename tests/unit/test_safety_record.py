"""`may_sign`: every statement that a validator may and may not sign (PROTOCOL 12, rules 2-4 and 8)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from credchain.certificates import Height, View
from credchain.consensus.messages import COMMIT, PREPARE, Signed
from credchain.consensus.record import BORN, Record, may_sign, open_height
from credchain.errors import InvalidInput

from .consensus_helpers import block, digest_of, header, new_view, prepared, view_change, vote

A, B = header(tag=1), header(tag=2)
ID_A, ID_B = digest_of(A), digest_of(B)
FRESH = open_height(BORN, Height(1), View(0))
WITH_BODIES = replace(FRESH, bodies=((ID_A, block(A)), (ID_B, block(B))))
CHANGES = tuple(view_change(1, 1, each) for each in (0, 1, 2))


def after(record: Record, *statements: Signed) -> Record:
    for each in statements:
        found = may_sign(record, each)
        assert found is not None, each
        record = found
    return record


def test_one_prepare_a_view_and_the_same_again() -> None:
    prepare = vote(PREPARE, 1, 0, ID_A, 1)
    record = after(WITH_BODIES, prepare)
    assert record.votes == (prepare,)
    assert may_sign(record, prepare) == record
    assert may_sign(record, vote(PREPARE, 1, 0, ID_B, 1)) is None


def test_no_prepare_without_the_body() -> None:
    assert may_sign(FRESH, vote(PREPARE, 1, 0, ID_A, 1)) is None


@pytest.mark.parametrize("view", [1, 2])
def test_no_vote_in_a_view_that_was_not_entered(view: int) -> None:
    assert may_sign(WITH_BODIES, vote(PREPARE, 1, view, ID_A, 1)) is None


@pytest.mark.parametrize("height", [2, 3])
def test_nothing_of_another_height(height: int) -> None:
    for statement in (
        vote(PREPARE, height, 0, ID_A, 1),
        view_change(height, 1, 1),
        new_view(height, 1, CHANGES),
    ):
        assert may_sign(WITH_BODIES, statement) is None
        later = Record(height + 1, View(0), bodies=WITH_BODIES.bodies)
        assert may_sign(later, statement) is None


def test_commit_only_what_is_prepared_in_this_view() -> None:
    record = after(WITH_BODIES, vote(PREPARE, 1, 0, ID_A, 1))
    assert may_sign(record, vote(COMMIT, 1, 0, ID_A, 1)) is None
    certified = record.with_prepared(prepared(1, 0, A), ID_A)
    assert may_sign(certified, vote(COMMIT, 1, 0, ID_B, 1)) is None
    committed = after(certified, vote(COMMIT, 1, 0, ID_A, 1))
    moved = after(committed, view_change(1, 1, 1, prepared(1, 0, A))).with_new_view(new_view(1, 1, CHANGES))
    assert may_sign(moved, vote(COMMIT, 1, 1, ID_A, 1)) is None  # prepared in view 0, not in view 1


def test_a_view_change_raises_the_floor() -> None:
    record = after(WITH_BODIES, view_change(1, 2, 1))
    for view in (0, 1):
        assert may_sign(record, vote(PREPARE, 1, view, ID_A, 1)) is None
        assert may_sign(record, view_change(1, view, 1)) is None
    assert may_sign(record, vote(PREPARE, 1, 2, ID_A, 1)) is None  # before its NEW-VIEW is stored
    changes = tuple(view_change(1, 2, each) for each in (0, 1, 2))
    entered = record.with_new_view(new_view(1, 2, changes))
    assert may_sign(entered, vote(PREPARE, 1, 2, ID_A, 1)) is not None
    assert may_sign(entered, view_change(1, 3, 1)) is not None


def test_a_view_change_shows_what_is_prepared() -> None:
    record = WITH_BODIES.with_prepared(prepared(1, 0, A), ID_A)
    assert may_sign(record, view_change(1, 1, 1)) is None
    assert may_sign(record, view_change(1, 1, 1, prepared(1, 0, B))) is None
    assert may_sign(record, view_change(1, 1, 1, prepared(1, 0, A))) is not None


def test_one_view_change_a_view() -> None:
    record = after(FRESH, view_change(1, 1, 1))
    assert may_sign(record, view_change(1, 1, 1)) == record
    assert may_sign(record, view_change(1, 1, 1, prepared(1, 0, A))) is None


def test_a_new_view_is_announced_once_after_its_view_change() -> None:
    announced = new_view(1, 1, CHANGES)
    assert may_sign(FRESH, announced) is None
    record = after(FRESH, view_change(1, 1, 1), announced)
    assert record.new_view == announced
    assert may_sign(record, announced) == record
    others = tuple(view_change(1, 1, each) for each in (1, 2, 3))
    assert may_sign(record, new_view(1, 1, others)) is None


def test_a_lower_prepared_certificate_does_not_replace_a_higher() -> None:
    record = FRESH.with_prepared(prepared(1, 3, B), ID_B)
    assert record.with_prepared(prepared(1, 2, A), ID_A) == record


def test_heights_never_go_back() -> None:
    record = after(WITH_BODIES, vote(PREPARE, 1, 0, ID_A, 1))
    assert open_height(record, Height(1), View(0)) == record
    later = open_height(record, Height(2), View(4))
    assert later == Record(2, View(4))
    assert open_height(later, Height(1), View(0)) == later


def test_bodies_stay_as_long_as_a_vote_for_them_may_be_shown() -> None:
    """A prepared certificate of any view may come up in a view-change, and its block be asked for."""
    record = FRESH
    blocks = [header(tag=10 + view) for view in range(12)]
    for view, each in enumerate(blocks):
        changes = tuple(view_change(1, view, who) for who in (0, 1, 2))
        if view:
            record = after(record, view_change(1, view, 1)).with_new_view(new_view(1, view, changes))
        record = record.with_body(digest_of(each), block(each))
        record = after(record, vote(PREPARE, 1, view, digest_of(each), 1))
    assert all(record.body(digest_of(each)) == block(each) for each in blocks)


def test_bodies_without_a_vote_go() -> None:
    record = FRESH.with_body(ID_A, block(A)).with_prepared(prepared(1, 0, A), ID_A)
    for tag in range(10, 30):
        other = header(tag=tag)
        record = record.with_body(digest_of(other), block(other))
    assert record.body(ID_A) == block(A)
    assert len(record.bodies) == 2


def test_a_record_is_read_back_as_it_was() -> None:
    record = after(WITH_BODIES, vote(PREPARE, 1, 0, ID_A, 1)).with_prepared(prepared(1, 0, A), ID_A)
    record = after(record, vote(COMMIT, 1, 0, ID_A, 1), view_change(1, 1, 1, prepared(1, 0, A)))
    record = record.with_new_view(new_view(1, 1, CHANGES))
    assert Record.decode(record.encode(), dict(record.bodies)) == record
    assert Record.decode(BORN.encode(), {}) == BORN


def test_a_record_without_a_body_that_it_names_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not there"):
        Record.decode(WITH_BODIES.encode(), {ID_A: block(A)})


def test_a_signature_makes_no_other_statement() -> None:
    """What is signed again after a restart is compared without its signature."""
    prepare = vote(PREPARE, 1, 0, ID_A, 1)
    record = after(WITH_BODIES, prepare)
    assert may_sign(record, replace(prepare, signature=bytes(64))) == record
