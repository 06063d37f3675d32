"""The trust anchor: a file that comes back as it was, and a fingerprint that covers all of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import Any

import msgpack
import pytest

from credchain.certificates import Validator, ValidatorSet
from credchain.errors import CredchainError, InvalidInput
from credchain.ledger.network import Genesis, Network, check_genesis
from credchain.ledger.records import CategoryRule
from tests.ledger_world import BOARD, did, make_network, signing_key, some_digest, with_field
from tests.values import replace

Path = tuple[str | int, ...]


@pytest.fixture(scope="module")
def network() -> Network:
    return make_network(2)


@pytest.fixture
def document(network: Network) -> dict[str, Any]:
    return copy.deepcopy(network.json())


def parse(document: Any) -> Network:
    return Network.parse(json.dumps(document))


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from leaves(each, (*path, name))
    elif isinstance(value, list) and value:
        for index, each in enumerate(value):
            yield from leaves(each, (*path, index))
    else:
        yield path


def at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def put(document: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy of the document with another value there."""
    changed = copy.deepcopy(document)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def alternatives(value: Any) -> list[Any]:
    """Other values for a leaf: near ones of the same type, and ones of other types."""
    match value:
        case bool():
            return [not value, int(value)]
        case int() | float():
            return [value + 1, -value - 1, str(value), None, [value]]
        case str() if value.startswith("hex:"):
            digit = "0" if value[-1] != "0" else "1"
            return [value[:-1] + digit, value.upper(), value[:-2], value[4:], None]
        case str():
            return [value + "x", value[:-1], "", 1, None, [value]]
        case _:
            return [None, 1, "", [*value, 1] if isinstance(value, list) else {"x": 1}]


def test_the_file_comes_back_as_it_was(network: Network) -> None:
    parsed = parse(network.json())
    assert parsed.genesis == network.genesis
    assert parsed.nodes == network.nodes
    assert parsed.json() == network.json()
    assert (parsed.id, parsed.fingerprint) == (network.id, network.fingerprint)
    assert {name: each.digest for name, each in parsed.categories.items()} == {
        name: each.digest for name, each in network.categories.items()
    }


def test_layout_of_the_file_does_not_matter(network: Network, document: dict[str, Any]) -> None:
    document["categories"].reverse()
    text = json.dumps(dict(reversed(document.items())), indent=3, ensure_ascii=False)
    assert Network.parse(text).fingerprint == network.fingerprint


def test_the_digests_are_as_documented(network: Network, document: dict[str, Any]) -> None:
    def binary(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: binary(value[name]) for name in sorted(value)}
        if isinstance(value, list):
            return [binary(each) for each in value]
        return bytes.fromhex(value[4:]) if isinstance(value, str) and value.startswith("hex:") else value

    genesis = msgpack.packb(binary(document["genesis"]))
    assert network.id == sha256(b"credchain/v1/genesis\x00" + genesis).digest()
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert network.fingerprint == sha256(b"credchain/v1/network-file\x00" + text.encode()).digest()


def test_every_leaf_of_the_file_is_covered(network: Network, document: dict[str, Any]) -> None:
    """Whatever is changed: the file is refused, or it has another fingerprint."""
    unnoticed, parsed = [], 0
    paths = list(leaves(document))
    assert len(paths) > 300
    for path in paths:
        value = at(document, path)
        # Categories are bound by one digest each: two changes of a leaf are enough there.
        for other in alternatives(value)[: 2 if path[0] == "categories" else None]:
            if other == value and type(other) is type(value):
                continue
            try:
                found = parse(put(document, path, other))
            except InvalidInput as problem:
                assert problem.message
                continue
            parsed += 1
            if found.fingerprint == network.fingerprint:
                unnoticed.append((path, other))
    assert unnoticed == []
    assert parsed > 20


def test_a_leaf_left_out_or_added_is_refused_or_covered(network: Network, document: dict[str, Any]) -> None:
    unnoticed = []
    for path in {leaf[:length] for leaf in leaves(document) for length in range(1, len(leaf) + 1)}:
        holder = at(document, path[:-1])
        if path[0] == "categories" and len(path) > 3:
            continue
        less, more = copy.deepcopy(document), copy.deepcopy(document)
        del at(less, path[:-1])[path[-1]]
        if isinstance(holder, dict):
            at(more, path[:-1])["extra"] = 1
        else:
            at(more, path[:-1]).insert(int(path[-1]), at(document, path))
        for changed in (less, more):
            try:
                found = parse(changed)
            except InvalidInput:
                continue
            if found.fingerprint == network.fingerprint:
                unnoticed.append(path)
    assert unnoticed == []


def genesis_variants(value: Any) -> Iterator[tuple[str, Any]]:
    """The value with one leaf of its dataclasses changed, for each of them; with the leaf's name."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            for name, other in genesis_variants(getattr(value, field.name)):
                yield f".{field.name}{name}", with_field(value, field.name, other)
    elif isinstance(value, tuple):
        yield "+", (*value, *(value[-1:] or ("zz",)))
        for index, each in enumerate(value):
            yield f"-{index}", value[:index] + value[index + 1 :]
            for name, other in genesis_variants(each):
                yield f"[{index}]{name}", (*value[:index], other, *value[index + 1 :])
    elif isinstance(value, bool):
        yield "", not value
    elif isinstance(value, bytes):
        yield "", value[:-1] + bytes([value[-1] ^ 1])
    elif isinstance(value, int):
        yield "", value + 1
    elif value.startswith("did:"):
        yield "", did("Somebody else")
    else:
        yield "", value + "x"


def test_the_networks_name_covers_every_leaf_of_genesis(network: Network) -> None:
    genesis = network.genesis
    names: dict[str, bytes] = {}
    for part in ("name", "time", "parameters", "members"):
        for name, value in genesis_variants(getattr(genesis, part)):
            names[f"{part}{name}"] = with_field(genesis, part, value).network
    for index, each in enumerate(genesis.validators.members):
        for validator in (
            replace(each, key=signing_key("Other").public),
            Validator(did(f"Other {index}"), each.key),
        ):
            members = (
                *genesis.validators.members[:index],
                validator,
                *genesis.validators.members[index + 1 :],
            )
            ordered = ValidatorSet(tuple(sorted(members, key=lambda member: member.did)))
            names[f"validators {index} {validator}"] = replace(genesis, validators=ordered).network
    fewer = ValidatorSet(genesis.validators.members[:1])
    names["a validator less"] = replace(genesis, validators=fewer).network
    assert len(names) > 100
    assert {"name", "time", "parameters.expiry_window", "members[0].encryption_key"} <= set(names)
    assert genesis.network not in names.values()
    assert len(set(names.values())) == len(names)


MALFORMED: dict[str, tuple[Path, Any, str]] = {
    "another format": (("format",), "credchain-network/2", "network"),
    "genesis that is text": (("genesis",), "x", "genesis"),
    "genesis that is nil": (("genesis",), None, "genesis"),
    "a time that is a fraction": (("genesis", "time"), 1.5, "time"),
    "a negative time": (("genesis", "time"), -1, "time"),
    "a time that is true": (("genesis", "time"), True, "genesis.time"),
    "another version": (("genesis", "version"), 2, "genesis.version"),
    "a name with a control character": (("genesis", "name"), "a\u0007", "name"),
    "a name that is not normal": (("genesis", "name"), "e\u0301", "name"),
    "a name with half a surrogate": (("genesis", "name"), "\ud800", "name"),
    "a name that is too long": (("genesis", "name"), "n" * 201, "genesis.name"),
    "no members": (("genesis", "members"), [], "genesis.validators"),
    "no validators": (("genesis", "validators"), [], "validators"),
    "bytes that are not hexadecimal": (("genesis", "members", 0, "key"), "hex:zz", "key"),
    "bytes in capitals": (("genesis", "members", 0, "key"), "hex:" + "AA" * 32, "key"),
    "bytes with blanks": (("genesis", "members", 0, "key"), "hex:" + "aa " * 32, "key"),
    "a short key": (("genesis", "members", 0, "key"), "hex:" + "aa" * 31, "genesis.members[0].key"),
    "an unknown role": (("genesis", "members", 0, "roles"), ["king"], "roles"),
    "an unknown category": (("genesis", "members", 0, "categories"), ["astrology"], "genesis.members"),
    "a rules version of the future": (
        ("genesis", "parameters", "rules_version"),
        2,
        "rules_version",
    ),
    "a parameter of nought": (
        ("genesis", "parameters", "block_bytes"),
        0,
        "genesis.parameters.block_bytes",
    ),
    "categories that are a map": (("categories",), {}, "categories"),
    "no categories": (("categories",), [], "categories"),
    "a category that is text": (("categories", 0), "x", "category"),
    "a category that differs": (("categories", 0, "title"), "Another title", "categories"),
    "nodes that are a map": (("nodes",), {}, "nodes"),
    "no nodes": (("nodes",), [], "nodes"),
    "a node that is text": (("nodes", 0), "x", "nodes"),
    "a node of nobody": (("nodes", 0, "validator"), "did:key:z6Mk", "nodes.validator"),
    "a node of a member that is no validator": (("nodes", 0, "validator"), did(BOARD), "nodes"),
    "a port that is a number": (("nodes", 0, "peer"), 7440, "nodes"),
    "a certificate that is nil": (("nodes", 0, "certificate"), None, "nodes"),
    "an unknown part of a node": (("nodes", 0, "extra"), "x", "nodes"),
    "an unknown part of the file": (("extra",), 1, "network"),
    "a deep nest": (("genesis", "name"), [[[[[[[[[[["x"]]]]]]]]]]], "name"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_refused_naming_the_part(document: dict[str, Any], name: str) -> None:
    path, value, field = MALFORMED[name]
    with pytest.raises(InvalidInput) as caught:
        parse(put(document, path, value))
    assert caught.value.field == field
    assert caught.value.message


@pytest.mark.parametrize(
    "text", ["", "x", "null", "[]", "1", '"credchain-network/1"', "{}", '{"format": "credchain-network/1"}']
)
def test_what_is_no_network_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Network.parse(text)
    assert "network" in caught.value.field


def test_a_key_that_stands_twice_is_refused(network: Network) -> None:
    text = json.dumps(network.json())
    with pytest.raises(InvalidInput):
        Network.parse(text[:-1] + ', "format": "credchain-network/1"}')


def test_a_file_that_is_too_large_is_refused(network: Network) -> None:
    text = json.dumps(network.json())
    assert Network.parse(text + " " * 100).fingerprint == network.fingerprint
    with pytest.raises(InvalidInput):
        Network.parse(text + " " * 2**22)


@pytest.mark.parametrize("part", ["peer", "api", "certificate"])
def test_an_address_with_half_a_surrogate_pair_is_refused(document: dict[str, Any], part: str) -> None:
    """It has no UTF-8, so no fingerprint either."""
    with pytest.raises(InvalidInput):
        assert parse(put(document, ("nodes", 0, part), "\ud800")).fingerprint


def test_nests_of_any_depth_are_refused_as_input(document: dict[str, Any]) -> None:
    """Whoever opens a hostile file gets InvalidInput, not an overflow of the stack."""
    places: list[Path] = [
        ("genesis", "name"),
        ("categories", 0, "title"),
        ("categories", 0, "claims", "properties", "family_name", "examples"),
        ("nodes", 0, "peer"),
    ]
    for place in places:
        text = json.dumps(put(document, place, "HERE"))
        for depth in (10, 100, *range(800, 1000), 100_000):
            nested = text.replace('"HERE"', "[" * depth + "]" * depth)
            with pytest.raises(InvalidInput):
                Network.parse(nested)


def with_validators(genesis: Genesis, *validators: Validator) -> Genesis:
    return replace(genesis, validators=ValidatorSet(validators))


def test_genesis_is_consistent(network: Network) -> None:
    genesis = network.genesis
    first, second = genesis.validators.members
    board = next(member for member in genesis.members if member.name == BOARD)
    stranger = signing_key("Stranger").public
    members = genesis.members
    renamed = tuple(replace(each, name=BOARD) if each.key == first.key else each for each in members)
    unknown = tuple(replace(each, categories=("astrology",)) if each is board else each for each in members)
    less = replace(genesis.parameters, categories=genesis.parameters.categories[1:])
    wrong = {
        "a validator that is no member": with_validators(genesis, Validator(did("Stranger"), stranger)),
        "a validator without the role": with_validators(genesis, Validator(board.did, board.key)),
        "a validator with another key": with_validators(genesis, Validator(first.did, stranger)),
        "members out of order": replace(genesis, members=members[::-1]),
        "a member twice": replace(genesis, members=(members[0], *members)),
        "a name twice": replace(genesis, members=renamed),
        "a category that the network lacks": replace(genesis, members=unknown),
        "a category that the parameters lack": replace(genesis, parameters=less),
    }
    check_genesis(genesis)
    for name, each in wrong.items():
        with pytest.raises(InvalidInput):
            check_genesis(each)
            pytest.fail(name)
    for broken in ((second, first), (first, first), ()):
        with pytest.raises(InvalidInput):
            ValidatorSet(broken)


@pytest.mark.parametrize("what", ["digest", "exclusive", "category", "missing", "extra"])
def test_the_categories_are_those_that_genesis_names(network: Network, what: str) -> None:
    rules = network.genesis.parameters.categories
    last = rules[-1]
    found: tuple[CategoryRule, ...] = {
        "digest": (*rules[:-1], replace(last, digest=some_digest("other"))),
        "exclusive": (*rules[:-1], replace(last, exclusive=not last.exclusive)),
        "category": (*rules[:-1], replace(last, category="zz")),
        "missing": rules[:-1],
        "extra": (*rules, replace(last, category="zz")),
    }[what]
    genesis = replace(network.genesis, parameters=replace(network.genesis.parameters, categories=found))
    with pytest.raises(InvalidInput) as caught:
        parse(Network(genesis, network.categories, network.nodes).json())
    assert caught.value.field in ("categories", "genesis.members")


def test_a_category_that_is_asked_for(network: Network) -> None:
    assert network.category("identity").exclusive
    with pytest.raises(CredchainError) as caught:
        network.category("astrology")
    assert (type(caught.value), caught.value.field) == (InvalidInput, "category")
    assert "identity" in caught.value.hint
