"""Handing documents over: one recipient's bad key holds up nobody else's document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace as replaced

from credchain.client import Client
from credchain.credentials.addresses import Address
from credchain.errors import InvalidInput
from credchain.issuing.enrolling import Enrolling, Enrollment
from credchain.issuing.holders import recipient_of
from credchain.issuing.outbox import Outbox
from credchain.keys import Did, EncryptionKey
from credchain.ledger.blocks import Receipt
from credchain.ledger.records import Member
from credchain.ledger.state import State
from credchain.ledger.transactions import Transaction
from credchain.mailbox import Request
from credchain.storage.keyfile import KeyPair
from credchain.storage.member_store import MemberStore
from tests.ledger_world import CLAIMS, IDENTITY_ISSUER, START, Person, World, box_key, npi, signing_key

SMALL_ORDER = EncryptionKey(bytes(32))
ALICE, MALLORY, BOB = Person("Alice", npi(1)), Person("Mallory", npi(2)), Person("Bob", npi(3))


class _Client:
    """Commits what is submitted, and keeps for whom mail was deposited."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.network = world.network
        self.mail: list[Did] = []

    async def member(self, did: Did) -> Member | None:
        return State(self.world).member(did)

    async def submit(self, data: bytes) -> Receipt:
        self.world.commit([Transaction.decode(data)])
        return Receipt(self.world.certified, 0, ())

    async def deposit(self, documents: Sequence[object]) -> None:
        assert not documents

    async def deposit_mail(self, request: Request) -> None:
        self.mail += [each.recipient for each in request.items]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[_Client, Enrolling, MemberStore]]:
    client = _Client(World())
    pair = KeyPair(signing_key(IDENTITY_ISSUER), box_key(IDENTITY_ISSUER), b"", b"")
    store = MemberStore(tmp_path / "member.db", client.network.id)
    asked = cast(Client, client)
    outbox = Outbox(store, asked, pair, lambda: client.world.now)
    try:
        yield client, Enrolling(store, asked, outbox, pair, lambda: client.world.now), store
    finally:
        store.close()


def enrollment(person: Person, **card: Any) -> Enrollment:
    made = person.card(**card)
    claims = {name: each for name, each in CLAIMS["identity"].items() if name not in person.identity_claims}
    return Enrollment(made, made.sign(person.signer), person.npi, claims, START, None)


async def test_a_card_with_a_key_that_nothing_can_be_sealed_to(
    desk: tuple[_Client, Enrolling, MemberStore],
) -> None:
    client, enrolling, _ = desk
    with pytest.raises(InvalidInput) as refused:
        await enrolling.run(enrollment(MALLORY, encryption_key=SMALL_ORDER))
    assert refused.value.field == "card"
    assert await client.member(MALLORY.did) is None


async def test_who_has_such_a_key_on_the_ledger_holds_up_nobody(
    desk: tuple[_Client, Enrolling, MemberStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier version, or another program, may have enrolled it."""
    client, enrolling, store = desk
    await enrolling.run(enrollment(ALICE))
    monkeypatch.setattr("credchain.issuing.enrolling.check_sealable", lambda *_: None)
    await enrolling.run(enrollment(MALLORY, encryption_key=SMALL_ORDER))
    await enrolling.run(enrollment(BOB))
    assert client.mail == [ALICE.did, BOB.did]
    assert store.undelivered(10) == []


def test_nothing_is_attested_to_such_a_key() -> None:
    world = World()
    world.enroll(ALICE)
    member = State(world).member(ALICE.did)
    assert member is not None
    opening = ALICE.subjects.open("cme_credit")
    address = Address.make(world.network.id, ALICE.did, ALICE.signer, opening)
    assert recipient_of(address, member, 1).did == ALICE.did
    with pytest.raises(InvalidInput, match="sealed"):
        recipient_of(address, replaced(member, encryption_key=SMALL_ORDER), 1)
