"""Links between validators that are cut under load, and healed: one validator, a minority, two halves,
one direction; with resets, and in silence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from credchain.limits import LIMITS

from .validators import Cut, ValidatorNetwork, wait_until


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValidatorNetwork]:
    with ValidatorNetwork(tmp_path_factory.mktemp("partitions"), wires=True).running() as network:
        yield network


@pytest.fixture(autouse=True)
def _whole(network: ValidatorNetwork) -> None:
    network.whole()


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.value)
def test_the_primary_is_cut_off(network: ValidatorNetwork, how: Cut) -> None:
    """The others go on without it, and it comes to nothing alone."""
    with network.load() as load:
        load.more(20)
        primary = network.primary()
        others = network.others(primary)
        network.cut([primary], others, how)
        network.committed(10, others)
        alone = primary.height()
        assert alone < network.height(others)
        network.committed(5, others)
        assert primary.height() == alone
        network.heal()
        network.caught_up(primary)
    network.account(load)


def test_a_minority_is_cut_off(network: ValidatorNetwork) -> None:
    """A backup; the others need no view change for it."""
    with network.load() as load:
        load.more(20)
        backup = network.others(network.primary())[0]
        others = network.others(backup)
        network.cut([backup], others, Cut.SILENT)
        network.committed(20, others)
        network.heal()
        network.caught_up(backup)
    network.account(load)


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.value)
def test_two_halves_are_cut_apart(network: ValidatorNetwork, how: Cut) -> None:
    """Neither has a quorum, so neither commits, whatever clients give to both; then both go on."""
    with network.load() as load:
        load.more(20)
        halves = network.validators[:2], network.validators[2:]
        network.cut(*halves, how)
        wait_until(lambda: _gave_up(network, 1), "all four to give up the view")
        heights = [each.height() for each in network]
        wait_until(lambda: _gave_up(network, 2), "all four to have waited in vain")
        assert [each.height() for each in network] == heights
        network.heal()
        network.committed(10)
        load.more(20)
    network.account(load)


def test_the_primary_hears_all_and_nobody_hears_it(network: ValidatorNetwork) -> None:
    with network.load() as load:
        load.more(20)
        primary = network.primary()
        others = network.others(primary)
        for other in others:
            network.cut_one_way(primary, other, Cut.SILENT)
        network.committed(10, others)
        network.heal()
        network.caught_up(primary)
    network.account(load)


def test_the_primary_is_heard_and_hears_nobody(network: ValidatorNetwork) -> None:
    with network.load() as load:
        load.more(20)
        primary = network.primary()
        others = network.others(primary)
        for other in others:
            network.cut_one_way(other, primary, Cut.SILENT)
        network.committed(10, others)
        network.heal()
        network.caught_up(primary)
    network.account(load)


def _gave_up(network: ValidatorNetwork, timeouts: int) -> bool:
    """Whether all wait for a new view, for so many base timeouts at least since their last commit."""
    said = [each.status() for each in network]
    return all(
        each is not None
        and each["state"] == "view_change"
        and (each["round_age_ms"] or 0) >= timeouts * LIMITS.base_timeout
        for each in said
    )


def test_afterwards_every_ledger_is_what_its_blocks_say(network: ValidatorNetwork) -> None:
    network.audit()
