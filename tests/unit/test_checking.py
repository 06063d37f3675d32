"""`node check`: what each finding means, and what it says of this machine's files and disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from credchain import __version__
from credchain.certificates import Millis
from credchain.errors import InvalidInput, NetworkError
from credchain.ledger.network import Network
from credchain.limits import DAY
from credchain.node import checking
from credchain.node.checking import (
    Asked,
    Check,
    check_files,
    check_node,
    judge_api,
    judge_clock,
    judge_expiry,
    judge_space,
    judge_sync,
)
from credchain.node.founding import create_network, read_spec
from credchain.node.status import NodeStatus
from credchain.storage import keyfile
from credchain.storage.home import Home
from credchain.storage.safety_store import SafetyStore
from tests.ledger_world import START, make_network

NETWORK: Final = make_network(4)
MIB: Final = 2**20


def asked(before: int = START, after: int = START, **told: Any) -> Asked:
    whole = {"network": NETWORK.id.hex(), "version": __version__, "height": 7, **told}
    return Asked(NodeStatus.read(whole), Millis(before), Millis(after))


UNREACHED: Final = Asked(NetworkError("nobody listens there"), START, START)


# --- judging ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "outcome"),
    [
        (0, "problem"),
        (500 * MIB - 1, "problem"),
        (500 * MIB, "warning"),
        (5 * 1024 * MIB - 1, "warning"),
        (5 * 1024 * MIB, "ok"),
    ],
)
def test_disk_space(free: int, outcome: str) -> None:
    found = judge_space(free)
    assert found.outcome == outcome
    assert bool(found.hint) == (outcome != "ok")


@pytest.mark.parametrize(("milliseconds", "outcome"), [(0.2, "ok"), (50, "ok"), (51, "warning")])
def test_disk_speed(milliseconds: float, outcome: str) -> None:
    assert judge_sync(milliseconds).outcome == outcome


@pytest.mark.parametrize(
    ("left", "outcome"), [(-1, "problem"), (0, "problem"), (DAY, "warning"), (90 * DAY, "ok")]
)
def test_expiry(left: int, outcome: str) -> None:
    assert judge_expiry("x", left).outcome == outcome


@pytest.mark.parametrize(
    ("answer", "outcome", "told"),
    [
        (asked(), "ok", f"version {__version__}, height 7"),
        (asked(version="0.0.1"), "warning", "version 0.0.1"),
        (asked(version=None), "warning", "version None"),
        (asked(height=80), "ok", "height 80"),
        (asked(height=79), "warning", "21 blocks behind"),
        (asked(network="00" * 32), "problem", "another network"),
        (asked(network=None), "problem", "another network"),
        (UNREACHED, "problem", "nobody listens"),
    ],
)
def test_api(answer: Asked, outcome: str, told: str) -> None:
    highest = 7 if answer is UNREACHED or (answer == asked()) else 100
    found = judge_api("Node 1", answer, NETWORK, highest)
    assert (found.name, found.target, found.outcome) == ("API", "Node 1", outcome)
    assert told in found.detail
    assert bool(found.hint) == (outcome != "ok")


CLOCK: Final = "2027-01-15T08:00:10Z"
AT: Final = START + 10_000


@pytest.mark.parametrize(
    ("before", "after", "outcome", "told"),
    [
        (AT, AT, "ok", "within 2 s"),
        (AT - 2_000, AT - 2_000, "ok", "within 2 s"),
        (AT - 2_100, AT - 2_100, "warning", "2.1 s ahead of"),
        (AT + 2_100, AT + 2_100, "warning", "2.1 s behind"),
        (AT - 5_000, AT - 5_000, "warning", "5.0 s ahead of"),
        (AT - 5_100, AT - 5_100, "problem", "5.1 s ahead of"),
        (AT - 3_600_000, AT - 3_600_000, "problem", "3600.0 s ahead of"),
        (AT + 3_600_000, AT + 3_600_000, "problem", "3600.0 s behind"),
        # An answer that took 8 s says little: only what it cannot explain counts.
        (AT - 10_000, AT - 2_000, "ok", "within 2 s"),
        (AT - 10_500, AT - 2_500, "warning", "2.5 s ahead of"),
    ],
)
def test_clock(before: int, after: int, outcome: str, told: str) -> None:
    (found,) = judge_clock("Node 1", asked(before, after, clock=CLOCK))
    assert found.outcome == outcome
    assert told in found.detail
    assert bool(found.hint) == (outcome != "ok")


@pytest.mark.parametrize("clock", [None, "", "yesterday", 7, "2027-01-15T08:00:10+02:00"])
def test_a_clock_that_is_not_told_is_not_judged(clock: Any) -> None:
    assert judge_clock("Node 1", asked(clock=clock)) == []
    assert judge_clock("Node 1", UNREACHED) == []


# --- this machine's files ---------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Network, Home]:
    monkeypatch.setattr(keyfile, "MEMORY", 2**20)
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "Two"\n'
        + "".join(
            f'[[member]]\nname = "Node {each}"\nroles = ["validator"]\npeer = "127.0.0.1:{each}"\n'
            f'api = "http://127.0.0.1:{each + 2}"\n'
            for each in (1, 2)
        )
        + '[[member]]\nname = "H"\nroles = ["hospital"]\n'
    )
    network, homes = create_network(
        read_spec(spec), tmp_path / "out", START, dev=False, api=None, passphrase=lambda: "for tests"
    )
    return network, Home(homes[0].path)


def files(network: Network, home: Home, now: int = START) -> dict[str, Check]:
    own = next(each for each in network.nodes if each.validator == home.did())
    return {each.target: each for each in check_files(home, network, own, Millis(now))}


def test_a_whole_home(made: tuple[Network, Home], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "SPACE_WARNING", 0)
    monkeypatch.setattr(checking, "SPACE_PROBLEM", 0)
    monkeypatch.setattr(checking, "SYNC_WARNING", 60_000)
    network, home = made
    before = sorted(each.name for each in home.path.iterdir())
    assert {each.outcome for each in files(*made).values()} == {"ok"}
    assert sorted(each.name for each in home.path.iterdir()) == before, "a check changes nothing"
    assert network


def break_mode(home: Home) -> None:
    home.keys.chmod(0o644)


def break_tls_mode(home: Home) -> None:
    home.tls_key.chmod(0o640)


def remove_keys(home: Home) -> None:
    home.tls_key.unlink()


def other_certificate(home: Home) -> None:
    """Its certificate and key are the neighbour's."""
    neighbour = Home(home.path.parent / "node-2")
    home.tls_certificate.write_bytes(neighbour.tls_certificate.read_bytes())
    home.tls_key.write_bytes(neighbour.tls_key.read_bytes())


def other_key(home: Home) -> None:
    home.tls_key.write_bytes(Home(home.path.parent / "node-2").tls_key.read_bytes())


def garbage_certificate(home: Home) -> None:
    home.tls_certificate.write_bytes(b"\xff\xfe PEM")


def damaged_record(home: Home) -> None:
    home.safety.write_bytes(b"garbage" * 1000)


def lost_record(home: Home) -> None:
    home.safety.unlink()


@pytest.mark.parametrize(
    ("damage", "target", "outcome", "told"),
    [
        (break_mode, "keys.json", "problem", "can be read by others"),
        (break_tls_mode, "tls-key.pem", "problem", "can be read by others"),
        (remove_keys, "tls-key.pem", "problem", "cannot read"),
        (remove_keys, "tls-certificate.pem", "problem", "cannot load"),
        (other_certificate, "tls-certificate.pem", "problem", "not the one in network.json"),
        (other_key, "tls-certificate.pem", "problem", "cannot load"),
        (garbage_certificate, "tls-certificate.pem", "problem", "cannot be read"),
        (damaged_record, "safety.db", "problem", ""),
        (lost_record, "safety.db", "warning", "will sign nothing"),
    ],
)
def test_a_damaged_home(
    made: tuple[Network, Home], damage: Callable[[Home], None], target: str, outcome: str, told: str
) -> None:
    network, home = made
    damage(home)
    found = files(network, home)[target]
    assert found.outcome == outcome
    assert told in found.detail
    assert found.hint


def test_an_expired_certificate(made: tuple[Network, Home]) -> None:
    found = files(*made, now=START + 20 * 365 * DAY)["tls-certificate.pem"]
    assert (found.outcome, found.detail) == ("problem", "it has expired: nobody accepts it")


def test_a_validator_that_is_alone_needs_no_record(made: tuple[Network, Home]) -> None:
    network, home = made
    lost_record(home)
    alone = replace(network, nodes=tuple(each for each in network.nodes if each.validator == home.did()))
    assert files(alone, home)["safety.db"].outcome == "ok"
    assert SafetyStore.open(home.safety) is None, "a check makes no record"


async def test_the_home_of_somebody_else_is_refused(made: tuple[Network, Home]) -> None:
    network, home = made
    for other in (home.path.parent.parent / "members" / "h", home.path.parent / "nowhere"):
        with pytest.raises(InvalidInput) as caught:
            await check_node(Home(other), network, lambda: START)
        assert caught.value.field == "home"
        assert caught.value.hint
