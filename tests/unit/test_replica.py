"""What one message too many must not do to a replica; whole schedules are in tests/simulation."""

from __future__ import annotations

from dataclasses import replace

from credchain.certificates import Millis
from credchain.consensus.events import Now, Received
from credchain.limits import LIMITS

from .consensus_helpers import new_view, replica, view_change

NOW = Now(Millis(1_001), Millis(1_001))


def test_nobody_shuts_out_a_primary_by_forging_its_new_views() -> None:
    """How many false ones are examined is bounded for who sends them, not for whom they name."""
    honest = new_view(1, 1, tuple(view_change(1, 1, each) for each in (0, 1, 2)))
    forged = replace(honest, signature=bytes(64))
    machine = replica(3)
    for _ in range(LIMITS.new_views_refused + 1):
        machine.step(Received(2, forged), NOW)
    assert machine.view == 0
    machine.step(Received(1, honest), NOW)
    assert machine.view == 1
    assert not machine.standing().changing


def test_who_forges_too_many_new_views_is_not_heard_with_any() -> None:
    honest = new_view(1, 1, tuple(view_change(1, 1, each) for each in (0, 1, 2)))
    machine = replica(3)
    for _ in range(LIMITS.new_views_refused):
        machine.step(Received(2, replace(honest, signature=bytes(64))), NOW)
    machine.step(Received(2, honest), NOW)
    assert machine.view == 0
