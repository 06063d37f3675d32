"""Validators that are killed, stopped and restarted under load."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from .validators import Validator, ValidatorNetwork, wait_until


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValidatorNetwork]:
    with ValidatorNetwork(tmp_path_factory.mktemp("crashes")).running() as network:
        yield network


@pytest.fixture(autouse=True)
def _whole(network: ValidatorNetwork) -> None:
    network.whole()


def test_a_backup_is_killed(network: ValidatorNetwork) -> None:
    with network.load() as load:
        load.more(20)
        backup = network.others(network.primary())[0]
        backup.kill()
        network.committed(10, network.others(backup))
        load.more(20)
        network.start(backup)
        network.caught_up(backup)
    network.account(load)


def test_the_primary_is_killed(network: ValidatorNetwork) -> None:
    with network.load() as load:
        load.more(20)
        primary = network.primary()
        primary.kill()
        network.committed(10, network.others(primary))
        load.more(20)
        network.start(primary)
        network.caught_up(primary)
    network.account(load)


def test_the_primary_is_stopped_for_longer_than_the_timeout_and_goes_on(network: ValidatorNetwork) -> None:
    """That the others commit without it shows that its time was over. It wakes as a primary that was
    replaced, with old timers and full sockets."""
    with network.load() as load:
        load.more(20)
        primary = network.primary()
        primary.signal(signal.SIGSTOP)
        network.committed(10, network.others(primary))
        primary.signal(signal.SIGCONT)
        network.caught_up(primary)
        load.more(20)
    network.account(load)


def test_one_is_stopped_until_the_others_have_given_up_its_links(network: ValidatorNetwork) -> None:
    with network.load() as load:
        load.more(20)
        stopped = network.others(network.primary())[-1]
        stopped.signal(signal.SIGSTOP)
        others = network.others(stopped)
        wait_until(lambda: not any(network.linked(each, stopped) for each in others), "links to be given up")
        network.committed(10, others)
        stopped.signal(signal.SIGCONT)
        network.caught_up(stopped)
        wait_until(lambda: all(network.linked(each, stopped) for each in others), "new links")
    network.account(load)


def test_all_four_are_killed_in_the_middle_of_a_block(network: ValidatorNetwork) -> None:
    """Again, if need be, until one of them was killed after a vote for a block that it does not have."""
    in_the_middle = False
    with network.load() as load:
        for _ in range(6):
            load.more(10)
            for validator in network:
                validator.signal(signal.SIGKILL)
            for validator in network:
                validator.kill()
            in_the_middle = any(_has_voted_above_its_ledger(each) for each in network)
            network.start()
            network.committed(2)
            if in_the_middle:
                break
        load.more(20)
    assert in_the_middle, "never killed in the middle of a block"
    network.account(load)


def test_a_rolling_restart(network: ValidatorNetwork) -> None:
    """As for an upgrade: one after the other, each by SIGTERM, each waited for before the next."""
    with network.load() as load:
        for validator in network:
            load.more(10)
            validator.stop()
            network.start(validator)
            network.caught_up(validator)
        load.more(10)
    network.account(load)


def test_afterwards_every_ledger_is_what_its_blocks_say(network: ValidatorNetwork) -> None:
    network.audit()


def _has_voted_above_its_ledger(validator: Validator) -> bool:
    with closing(sqlite3.connect(validator.home.ledger)) as ledger:
        (height,) = ledger.execute("select max(height) from blocks").fetchone()
    with closing(sqlite3.connect(validator.home.safety)) as safety:
        (at, votes) = safety.execute("select height, votes from record").fetchone()
    return bool(at == height + 1 and votes)
