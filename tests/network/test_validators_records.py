"""Validators that come back with less than they had: without a safety record, with an old ledger, with
none; and SIGTERM with everything connected. Each under load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from credchain.certificates import Certificate

from .validators import (
    CATCH_UP_PATIENCE,
    StoredLedger,
    Validator,
    ValidatorNetwork,
    copy_file,
    remove_database,
    wait_until,
)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValidatorNetwork]:
    with ValidatorNetwork(tmp_path_factory.mktemp("records")).running() as network:
        yield network


@pytest.fixture(autouse=True)
def _whole(network: ValidatorNetwork) -> None:
    network.whole()


def test_the_safety_record_of_one_is_lost(network: ValidatorNetwork) -> None:
    """It signs nothing until it holds a certified block two above what the others told it."""
    with network.load() as load:
        load.more(20)
        lost = network[0]
        lost.stop()
        remove_database(lost.home.safety)
        before = network.height(network.others(lost))
        network.start(lost)
        network.committed(10, network.others(lost))
        _signs_again(network, lost)
        load.more(20)
    _nothing_signed_below(network, lost, before + 2)
    network.account(load)


def test_no_two_above_without_the_others(network: ValidatorNetwork) -> None:
    """With the record of one lost and another dead, three are left of which two sign: nothing commits.
    When the dead one is back, it does, and the first one signs again."""
    lost, dead = network[1], network[2]
    with network.load() as load:
        load.more(10)
        lost.stop()
        remove_database(lost.home.safety)
        dead.kill()
        network.start(lost)
        left = network.others(dead)
        wait_until(lambda: lost.state() == "lost_record", "it to know that its record is lost")
        wait_until(lambda: _gave_up(network.others(lost, dead)), "the other two to give up the view")
        height = network.height(left)
        assert lost.state() == "lost_record"
        network.start(dead)
        _signs_again(network, lost)
        assert network.height() > height
        load.more(10)
    _nothing_signed_below(network, lost, height + 2)
    network.account(load)


def test_last_weeks_home_is_restored(network: ValidatorNetwork, tmp_path: Path) -> None:
    """An old copy of the ledger, no record: it catches up, and signs nothing that it may have signed."""
    restored = network[2]
    backup = tmp_path / "ledger.db"
    with network.load() as load:
        load.more(10)
        restored.stop()
        copy_file(restored.home.ledger, backup)
        network.start(restored)
        network.caught_up(restored)
        load.more(50)
        restored.kill()
        before = network.height()
        copy_file(backup, restored.home.ledger)
        remove_database(restored.home.safety)
        network.start(restored)
        _signs_again(network, restored)
        load.more(20)
    _nothing_signed_below(network, restored, before + 2, above=before)
    network.account(load)


def test_one_is_away_for_hundreds_of_blocks(network: ValidatorNetwork) -> None:
    """It fetches them while the others go on."""
    with network.load(senders=8, pause=0) as load:
        away = network[3]
        away.kill()
        others = network.others(away)
        network.committed(200, others, CATCH_UP_PATIENCE)
        network.start(away)
        network.committed(10, others)
        network.caught_up(away)
    network.account(load)


def test_a_new_one_starts_with_an_empty_ledger(network: ValidatorNetwork) -> None:
    with network.load() as load:
        new = network[0]
        new.stop()
        remove_database(new.home.ledger)
        remove_database(new.home.safety)
        network.start(new)
        network.caught_up(new)
        _signs_again(network, new)
    network.account(load)


def test_each_stops_in_time_with_peers_and_clients_connected(network: ValidatorNetwork) -> None:
    with network.load(senders=8, pause=0) as load:
        for validator in network:
            load.more(20)
            wait_until(lambda one=validator: network.linked(one), "its links")  # type: ignore[misc]
            validator.stop()
            network.start(validator)
            network.caught_up(validator)
    network.account(load)


def test_afterwards_every_ledger_is_what_its_blocks_say(network: ValidatorNetwork) -> None:
    network.audit()


def _gave_up(validators: list[Validator]) -> bool:
    return all(each.state() == "view_change" for each in validators)


def _signs_again(network: ValidatorNetwork, validator: Validator) -> None:
    """Wait until a certificate that another validator holds has its signature, of after its start."""
    start = network.height()
    other = network.others(validator)[0]

    def signed() -> bool:
        certificates = StoredLedger.read(other.home.ledger).certificates
        recent = (data for height, data in certificates.items() if height > start)
        return any(validator.index in _signers(data) for data in recent)

    wait_until(signed, f"{validator.name} to sign again", CATCH_UP_PATIENCE)
    assert validator.state() not in ("lost_record", "halted")


def _nothing_signed_below(
    network: ValidatorNetwork, validator: Validator, height: int, *, above: int = 0
) -> None:
    """No certificate of these heights, at any validator, has its signature of after its loss."""
    for each in network.others(validator):
        certificates = StoredLedger.read(each.home.ledger).certificates
        for at in range(max(above, height - 2) + 1, height):
            assert validator.index not in _signers(certificates[at]), f"it signed at {at}"


def _signers(certificate: bytes) -> set[int]:
    return {index for index, _ in Certificate.decode(certificate).signatures}
