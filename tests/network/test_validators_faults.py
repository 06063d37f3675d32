"""One validator's machine fails it: its disk is full, its database is damaged, its clock is wrong."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from credchain.cli.exit_codes import ExitCode

from credchain.certificates import Millis
from credchain.ledger.blocks import Header
from credchain.limits import HOUR

from .validators import (
    CATCH_UP_PATIENCE,
    StoredLedger,
    Validator,
    ValidatorNetwork,
    remove_database,
    wait_until,
    with_clock,
)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValidatorNetwork]:
    with ValidatorNetwork(tmp_path_factory.mktemp("faults")).running() as network:
        yield network


@pytest.fixture(autouse=True)
def _whole(network: ValidatorNetwork) -> None:
    network.whole()


@pytest.mark.parametrize("leads", [False, True], ids=["backup", "primary"])
def test_the_disk_of_one_is_full(network: ValidatorNetwork, leads: bool) -> None:
    """No file of it can grow. It ends and says why, the others go on; with room again it catches up."""
    with network.load() as load:
        load.more(20)
        primary = network.primary()
        full = primary if leads else network.others(primary)[0]
        assert full.process is not None
        resource.prlimit(full.process.pid, resource.RLIMIT_FSIZE, (16 * 1024, resource.RLIM_INFINITY))
        assert full.wait_ended() == ExitCode.INTERNAL, full.said()[-2000:]
        said = full.said()
        assert "error: cannot store" in said, said[-2000:]
        assert "hint: check the disk's space" in said, said[-2000:]
        network.committed(10, network.others(full))
        network.start(full)
        network.caught_up(full)
    network.account(load)


def test_the_database_of_one_is_damaged(network: ValidatorNetwork) -> None:
    """It does not come up on it, or halts before it signs anything on top of it, and says why; without
    the file it gets everything from the others."""
    with network.load() as load:
        load.more(20)
        damaged = network[1]
        damaged.stop()
        content = bytearray(damaged.home.ledger.read_bytes())
        for place in range(0, len(content), 512):
            content[place] ^= 0x55
        damaged.home.ledger.write_bytes(content)
        before = network.height(network.others(damaged))
        damaged.start()
        assert damaged.wait_ended() == ExitCode.INTERNAL, damaged.said()[-2000:]
        said = damaged.said()
        assert "error: " in said and "hint: " in said, said[-2000:]
        network.committed(10, network.others(damaged))
        assert network.height(network.others(damaged)) > before
        remove_database(damaged.home.ledger)
        network.start(damaged)
        network.caught_up(damaged)
    network.account(load)


def test_one_value_in_the_database_of_one_is_changed(network: ValidatorNetwork) -> None:
    """SQLite finds nothing wrong with it. It shows against the certified state root, at the latest when a
    block is made on top of it; nothing is signed for such a state."""
    with network.load() as load:
        load.more(20)
        damaged = network[2]
        damaged.stop()
        with closing(sqlite3.connect(damaged.home.ledger)) as conn:
            key, value = conn.execute("select key, value from state where kind = 'dossier'").fetchone()
            changed = bytes([value[0], *(each ^ 1 for each in value[1:2]), *value[2:]])
            conn.execute("update state set value = ? where key = ?", (changed, key))
            conn.commit()
        damaged.start()
        wait_until(lambda: not damaged.running or damaged.state() == "halted", "it to refuse its ledger")
        said = damaged.said()
        assert "error: " in said or "halted" in said, said[-2000:]
        network.committed(10, network.others(damaged))
        damaged.kill()
        remove_database(damaged.home.ledger)
        network.start(damaged)
        network.caught_up(damaged)
    network.account(load)


@pytest.mark.parametrize("offset", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_the_clock_of_one_is_an_hour_off(network: ValidatorNetwork, offset: int) -> None:
    """Its proposals are refused, and it refuses the others'; it follows what they certify. They go on,
    also in a height whose first view it leads."""
    with network.load() as load:
        load.more(20)
        wrong = network[(network.primary().index + 1) % 4]
        wrong.stop()
        wrong.start(program=with_clock(Millis(offset)))
        wrong.wait_up()
        network.caught_up(wrong)
        since = network.height()
        wait_until(lambda: _has_led(network, wrong, since), "its turn to lead", patience=CATCH_UP_PATIENCE)
        network.committed(5)
        load.more(20)
        wrong.stop()
        network.start(wrong)
        network.caught_up(wrong)
    network.account(load)


def _has_led(network: ValidatorNetwork, validator: Validator, since: int) -> bool:
    """Whether the views from that height to now have passed one that it leads."""
    headers = StoredLedger.read(network.others(validator)[0].home.ledger).headers
    first = Header.decode(headers[since]).view
    last = Header.decode(headers[max(headers)]).view
    return any(view % len(network.validators) == validator.index for view in range(first + 1, last + 1))


def test_afterwards_every_ledger_is_what_its_blocks_say(network: ValidatorNetwork) -> None:
    network.audit()
