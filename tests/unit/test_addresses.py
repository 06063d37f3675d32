"""Addresses: what a radiologist gives an issuer, mistyped at every place and forged in every part."""

from __future__ import annotations

from typing import Any

import base58
import pytest

from credchain.certificates import Height
from credchain.credentials.addresses import PREFIX, Address
from credchain.encoding import encode
from credchain.errors import InvalidInput
from credchain.issuing.holders import recipient_of
from credchain.ledger.records import KeyTerm, Term
from tests.ledger_world import BOARD, Person, World, box_key, npi, signing_key, some_digest
from tests.values import replace

ELENA, MALLORY = Person("Elena's wallet", npi(1)), Person("Mallory's wallet", npi(2))
NETWORK = some_digest("network")
OPENING = ELENA.subjects.open("cme_credit")
ALPHABET = base58.BITCOIN_ALPHABET.decode()


def address(**differing: Any) -> Address:
    return replace(Address.make(NETWORK, ELENA.did, ELENA.signer, OPENING), **differing)


def repacked(**changes: Any) -> str:
    """An address whose fields were changed, with the right checksum."""
    fields = {**address()._fields(), **changes}
    return (
        PREFIX
        + base58.b58encode_check(
            encode({name: value for name, value in fields.items() if value is not None})
        ).decode()
    )


def test_an_address_comes_back_from_its_text() -> None:
    found = Address.parse(address().text)
    assert found == address()
    found.check(NETWORK, "cme_credit")
    assert found.opening.opens(ELENA.subjects.root)
    assert address().text.isalnum()


def test_white_space_from_a_mail_is_dropped() -> None:
    text = address().text
    assert Address.parse(f"  {text[:40]}\n\t{text[40:80]} {text[80:]}\r\n") == address()


def test_another_key_than_the_first() -> None:
    other = signing_key("Elena's second key")
    made = Address.make(NETWORK, ELENA.did, other, OPENING)
    found = Address.parse(made.text)
    assert (found.key, found.holder) == (other.public, ELENA.did)
    found.check(NETWORK, "cme_credit")


def test_mistyped_at_every_position() -> None:
    text = address().text
    for index in range(len(text)):
        other = ALPHABET[(ALPHABET.index(text[index]) + 1 + index) % 58] if text[index] in ALPHABET else "z"
        if other == text[index]:
            other = "2" if other != "2" else "3"
        with pytest.raises(InvalidInput) as caught:
            Address.parse(text[:index] + other + text[index + 1 :])
        assert caught.value.field == "to"


def test_neighbours_exchanged_left_out_doubled_or_cut() -> None:
    text = address().text
    for index in range(len(text) - 1):
        swapped = text[:index] + text[index + 1] + text[index] + text[index + 2 :]
        for other in {swapped, text[:index] + text[index + 1 :], text[:index] + text[index] + text[index:]}:
            if other != text:
                with pytest.raises(InvalidInput):
                    Address.parse(other)
        with pytest.raises(InvalidInput):
            Address.parse(text[:index])


@pytest.mark.parametrize(
    "text",
    ["", "ccaddr1", "ccaddr2abc", "did:key:z6Mk", "1234567893", "ccaddr1" + "é", "ccaddr1" + "1" * 3_000],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Address.parse(text)
    assert "wallet address" in caught.value.hint


def test_another_network_or_category() -> None:
    with pytest.raises(InvalidInput, match="another network"):
        address().check(some_digest("another"), "cme_credit")
    with pytest.raises(InvalidInput, match="not for residency"):
        address().check(NETWORK, "residency")


def test_a_network_that_begins_alike() -> None:
    alike = type(NETWORK)(NETWORK[:8] + bytes(24))
    with pytest.raises(InvalidInput, match="not signed"):
        address().check(alike, "cme_credit")


@pytest.mark.parametrize(
    "changes",
    [
        {"h": MALLORY.signer.public},
        {"k": MALLORY.signer.public},
        {"s": some_digest("s")},
        {"t": b"t" * 16},
        {"m": 2},
        {"p": bytes(32), "m": 2},
        {"g": bytes(64)},
        {"n": bytes(8)},
        {"c": "residency"},
    ],
)
def test_a_part_exchanged_with_the_right_checksum(changes: dict[str, Any]) -> None:
    found = Address.parse(repacked(**changes))
    with pytest.raises(InvalidInput):
        found.check(NETWORK, "cme_credit")


@pytest.mark.parametrize(
    "changes",
    [
        {"k": ELENA.signer.public},
        {"x": 1},
        {"g": None},
        {"i": 1},
        {"p": bytes(31)},
        {"h": bytes(31)},
        {"n": bytes(9)},
        {"m": 0},
        {"c": "c" * 65},
    ],
)
def test_fields_that_an_address_does_not_have(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Address.parse(repacked(**changes))


# What the ledger says of it


@pytest.fixture
def world() -> World:
    made = World()
    made.enroll(ELENA)
    return made


def of(world: World, person: Person = ELENA, **differing: Any) -> Address:
    opening = person.subjects.open("cme_credit")
    return replace(Address.make(world.network.id, person.did, person.signer, opening), **differing)


def test_the_recipient_is_the_member(world: World) -> None:
    found = recipient_of(of(world), world.member(ELENA.name), world.tip.height)
    assert (found.did, found.key) == (ELENA.did, ELENA.signer.public)
    assert found.encryption_key == box_key(ELENA.name).public


def test_nobody_who_is_enrolled(world: World) -> None:
    for member in (None, world.member(BOARD)):
        with pytest.raises(InvalidInput, match="enrolled"):
            recipient_of(of(world, MALLORY), member, world.tip.height)


def test_signed_by_another_key_than_the_holders(world: World) -> None:
    member, height = world.member(ELENA.name), world.tip.height
    forged = Address.make(world.network.id, ELENA.did, MALLORY.signer, OPENING)
    forged.check(world.network.id, "cme_credit")
    with pytest.raises(InvalidInput, match="current key"):
        recipient_of(forged, member, height)
    ended = replace(member, keys=(KeyTerm(ELENA.signer.public, Height(1), height),))
    with pytest.raises(InvalidInput, match="current key"):
        recipient_of(of(world), ended, height)


def test_a_leaf_that_was_not_committed_to(world: World) -> None:
    member, height = world.member(ELENA.name), world.tip.height
    signed = Address.make(world.network.id, ELENA.did, ELENA.signer, MALLORY.subjects.open("cme_credit"))
    for made in (signed, of(world, opening=replace(OPENING, count=2, path=some_digest("x")))):
        with pytest.raises(InvalidInput, match="committed"):
            recipient_of(made, member, height)
    with pytest.raises(InvalidInput, match="committed"):
        recipient_of(of(world), replace(member, subjects_root=None), height)


def test_a_radiologist_no_more(world: World) -> None:
    member, height = world.member(ELENA.name), world.tip.height
    gone = replace(member, roles=(Term("radiologist", Height(1), height),))
    with pytest.raises(InvalidInput, match="enrolled"):
        recipient_of(of(world), gone, height)
