"""Networks of several validators: from members' files, or with homes made for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from credchain.certificates import Millis, View
from credchain.client.connection import pinned_context
from credchain.consensus.record import BORN, Record
from credchain.errors import InvalidInput
from credchain.ledger.network import Network, NodeAddress, check_distinct
from credchain.limits import LIMITS
from credchain.node.founding import create_network, found, make_home, read_spec
from credchain.node.tls import read_certificate
from credchain.storage import keyfile
from credchain.storage.card_file import card_text
from credchain.storage.home import Home, load_network
from credchain.storage.safety_store import SafetyStore
from tests.ledger_world import make_network

NOW: Final = Millis(1_800_000_000_000)
PASSPHRASE: Final = "for tests"


@pytest.fixture(autouse=True)
def cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encrypting a key file is slow by intent, and not what is tested here."""
    monkeypatch.setattr(keyfile, "MEMORY", 2**20)


def member(number: int, **more: str) -> str:
    parts = {
        "peer": f"127.0.0.1:{7000 + number}",
        "api": f"http://127.0.0.1:{8000 + number}",
        **more,
    }
    lines = "".join(f'{name} = "{value}"\n' for name, value in parts.items() if value)
    return f'[[member]]\nname = "Node {number}"\nroles = ["validator"]\n{lines}'


def spec_of(folder: Path, *members: str) -> Path:
    path = folder / "spec.toml"
    path.write_text('name = "Several"\n' + "\n".join(members))
    return path


def make(folder: Path, *members: str, dev: bool = False) -> tuple[Network, Path]:
    out = folder / "out"
    spec = read_spec(spec_of(folder, *members))
    network, _ = create_network(spec, out, NOW, dev=dev, api=None, passphrase=lambda: PASSPHRASE)
    return network, out


def validator_home(folder: Path, number: int, **more: str) -> Path:
    """As an operator makes it, with `init --validator`."""
    addresses = {"peer": f"node{number}.example:7440", "api": f"https://node{number}.example:7441", **more}
    home = Home(folder / f"operator-{number}")
    make_home(home, f"Node {number}", PASSPHRASE, validator=True, **addresses)
    return home.card


def from_file(folder: Path, number: int, **more: str) -> str:
    card = validator_home(folder, number, **more)
    return member(number, peer="", api="", file=str(card.relative_to(folder)))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_homes_are_made_for_any_number(tmp_path: Path, count: int) -> None:
    network, out = make(tmp_path, *(member(number) for number in range(count)))
    assert len(network.validators.members) == count
    assert network.fingerprint == load_network(out / "network.json").fingerprint
    for number in range(count):
        home = Home(out / "validators" / f"node-{number}")
        assert home.network().fingerprint == network.fingerprint
        node = next(each for each in network.nodes if each.validator == home.did())
        assert (node.peer, node.api) == (f"127.0.0.1:{7000 + number}", f"http://127.0.0.1:{8000 + number}")
        assert node.certificate == home.tls_certificate.read_text(), "peers need it also with plain HTTP"


def test_from_members_own_files(tmp_path: Path) -> None:
    network, out = make(tmp_path, *(from_file(tmp_path, number) for number in range(4)))
    assert sorted(each.name for each in out.iterdir()) == ["network.json"], "nobody makes keys for others"
    for number in range(4):
        home = Home(tmp_path / f"operator-{number}")
        node = next(each for each in network.nodes if each.validator == home.did())
        assert node.peer == f"node{number}.example:7440"
        assert node.certificate == home.tls_certificate.read_text()


def test_files_and_made_homes_together(tmp_path: Path) -> None:
    network, out = make(tmp_path, from_file(tmp_path, 0), *(member(number) for number in (1, 2, 3)))
    assert len(network.nodes) == 4
    assert len(list((out / "validators").iterdir())) == 3


def test_dev_makes_one_of_many(tmp_path: Path) -> None:
    network, _ = make(tmp_path, *(member(number) for number in range(4)), dev=True)
    assert [each.api for each in network.nodes] == ["http://127.0.0.1:7441"]


def same_card_twice(folder: Path) -> list[str]:
    card = validator_home(folder, 0).relative_to(folder)
    return [member(number, peer="", api="", file=str(card)) for number in (0, 1)]


def without_certificate(folder: Path, pem: str | None = None) -> list[str]:
    """A card that another program could have made; its signature holds."""
    validator_home(folder, 0)
    home = Home(folder / "operator-0")
    from credchain.storage.card_file import read_card

    pair = home.unlock(PASSPHRASE)
    card = replace(read_card(home.card), certificate=pem)
    home.card.write_text(card_text(card, card.sign(pair.signing)))
    return [member(0, peer="", api="", file="operator-0/member.toml"), member(1)]


def shared_certificate(folder: Path) -> list[str]:
    validator_home(folder, 9)
    made = Home(folder / "operator-9").tls_certificate.read_text()
    first, _ = without_certificate(folder, made)
    return [first, member(9, peer="", api="", file="operator-9/member.toml")]


WRONG: Final[dict[str, tuple[Callable[[Path], list[str]], str]]] = {
    "no validator": (lambda _: ['[[member]]\nname = "H"\nroles = ["hospital"]\n'], "member"),
    "too many": (lambda _: [member(each) for each in range(LIMITS.validators + 1)], "member"),
    "no peer": (lambda _: [member(0), member(1, peer="")], "peer"),
    "no API": (lambda _: [member(0), member(1, api="")], "api"),
    "a peer without a port": (lambda _: [member(0), member(1, peer="127.0.0.1")], "peer"),
    "plain HTTP elsewhere": (lambda _: [member(0), member(1, api="http://node.example:7441")], "api"),
    "one peer address": (lambda _: [member(0), member(1, peer="127.0.0.1:7000")], "nodes.peer"),
    "one peer address in capitals": (
        lambda _: [member(0, peer="localhost:7"), member(1, peer="LOCALHOST:7")],
        "nodes.peer",
    ),
    "one API address": (lambda _: [member(0), member(1, api="http://127.0.0.1:8000/")], "nodes.api"),
    "one file twice": (same_card_twice, "file"),
    "a file and an address": (lambda path: [from_file(path, 0) + 'peer = "127.0.0.1:7000"\n'], "peer"),
    "no such file": (lambda _: [member(0, peer="", api="", file="nowhere.toml")], "member card"),
    "no certificate": (without_certificate, "nodes.certificate"),
    "a certificate that is none": (lambda path: without_certificate(path, "PEM"), "certificate"),
    "one certificate": (shared_certificate, "nodes.certificate"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_spec_is_refused_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    members, field = WRONG[kind]
    with pytest.raises(InvalidInput) as caught:
        make(tmp_path, *members(tmp_path))
    assert caught.value.field == field
    assert caught.value.message
    assert not [each for each in tmp_path.iterdir() if "out" in each.name]


def test_alone_a_validator_may_lack_a_certificate(tmp_path: Path) -> None:
    (first, _) = without_certificate(tmp_path)
    network, _ = make(tmp_path, first)
    assert network.nodes[0].certificate is None


def test_a_validator_is_born_with_an_empty_safety_record(tmp_path: Path) -> None:
    _, out = make(tmp_path, member(0), '[[member]]\nname = "H"\nroles = ["hospital"]\n')
    home = Home(out / "validators" / "node-0")
    store = SafetyStore.open(home.safety)
    assert store is not None
    assert store.load() == BORN
    store.close()
    assert home.safety.stat().st_mode & 0o077 == 0
    assert not Home(out / "members" / "h").safety.exists(), "others sign no blocks"


def test_no_key_where_the_record_cannot_be_written(tmp_path: Path) -> None:
    """A key without a record would be taken for one that lost it; and one is never replaced."""
    home = Home(tmp_path / "h")
    made = SafetyStore.create(home.safety, Record(7, View(2)))
    made.close()
    with pytest.raises(InvalidInput):
        make_home(home, "Node", PASSPHRASE, validator=True, peer="a:1", api="https://a:2")
    assert not home.keys.exists()
    kept = SafetyStore.open(home.safety)
    assert kept is not None
    assert kept.load().height == 7
    kept.close()


# --- the network file -------------------------------------------------------------------------


def saved(folder: Path, nodes: list[dict[str, Any]]) -> Path:
    document = {**make_network(4).json(), "nodes": nodes}
    path = folder / "network.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("part", ["peer", "api", "certificate"])
def test_a_file_in_which_two_validators_share_something_is_refused(tmp_path: Path, part: str) -> None:
    nodes = [each.json() for each in make_network(4).nodes]
    nodes[2][part] = nodes[0][part]
    with pytest.raises(InvalidInput) as caught:
        Network.parse(saved(tmp_path, nodes).read_text())
    assert caught.value.field == f"nodes.{part}"
    assert caught.value.hint


def test_a_file_of_several_validators_without_a_certificate_cannot_be_used(tmp_path: Path) -> None:
    network = make_network(4)
    nodes = [each.json() for each in network.nodes]
    load_network(saved(tmp_path, nodes))
    del nodes[1]["certificate"]
    with pytest.raises(InvalidInput) as caught:
        load_network(saved(tmp_path, nodes))
    assert caught.value.field == "nodes.certificate"
    assert network.name_of(network.nodes[1].validator) in caught.value.message


def test_addresses_of_one_node_are_its_own_affair() -> None:
    (node,) = make_network(1).nodes
    check_distinct([node, NodeAddress(node.validator, "other:1", "https://other:2", None)])


@pytest.mark.parametrize("api", ["https", "http"])
def test_clients_pin_a_certificate_only_where_https_is_served(tmp_path: Path, api: str) -> None:
    network, _ = make(tmp_path, member(0, api=f"{api}://127.0.0.1:8000"))
    assert network.nodes[0].certificate
    context = pinned_context(network)
    assert (context is True) == (api == "http")
    assert api == "http" or (not isinstance(context, bool) and len(context.get_ca_certs()) == 1)


def test_a_certificate_is_one_and_of_ed25519(tmp_path: Path) -> None:
    validator_home(tmp_path, 0)
    pem = Home(tmp_path / "operator-0").tls_certificate.read_text()
    assert read_certificate(pem).subject
    for wrong in ("", "PEM", pem + pem, pem[:-40], pem.replace("A", "B")):
        with pytest.raises(InvalidInput) as caught:
            read_certificate(wrong)
        assert caught.value.field == "certificate"


def test_founding_checks_cards_that_no_file_gave(tmp_path: Path) -> None:
    """`found` is also what tests and benchmarks call."""
    spec = read_spec(spec_of(tmp_path, member(0)))
    card = make_home(
        Home(tmp_path / "h"), "Node 0", PASSPHRASE, validator=True, peer="a:1", api="https://a:2"
    )
    assert found(spec, [card], NOW).nodes[0].certificate == card.certificate
    for wrong in (replace(card, peer="nonsense"), replace(card, api="nonsense")):
        with pytest.raises(InvalidInput):
            found(spec, [wrong], NOW)
