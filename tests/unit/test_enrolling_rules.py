"""Enrolling on the ledger: a radiologist's card and its identity, in one transaction or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from credchain.errors import Rejected
from credchain.ledger.operations import Attest, Enroll, Operation
from credchain.ledger.state import State
from tests.ledger_world import (
    BOARD,
    GOVERNOR,
    HOSPITAL,
    IDENTITY_ISSUER,
    OTHER_BOARD,
    PROVIDER,
    START,
    Attested,
    Person,
    World,
    did,
    npi,
    some_digest,
)
from tests.values import replace

ELENA, MALLORY = Person("Elena's wallet", npi(1)), Person("Mallory's wallet", npi(2))


@pytest.fixture
def world() -> World:
    return World()


def identity_of(world: World, person: Person, issuer: str = IDENTITY_ISSUER, **differing: Any) -> Attest:
    made = world.issue("identity", person.npi, issuer=issuer, **{**person.identity_claims, **differing})
    return Attest("identity", made.subject, made.digest, made.valid_from, made.valid_until)


def assert_refused(
    world: World, rule: str, *operations: Operation, sender: str = IDENTITY_ISSUER
) -> Rejected:
    """Refused by this rule, and the state is as it was."""
    before = (world.tip.state_map.root, dict(world.store))
    with pytest.raises(Rejected) as caught:
        world.commit([world.transaction(sender, *operations)])
    assert caught.value.rule == rule
    assert (world.tip.state_map.root, world.store) == before
    return caught.value


def test_card_and_identity_in_one_transaction(world: World) -> None:
    identity = world.enroll(ELENA)
    member, entry = world.member(ELENA.name), world.entry(identity)
    assert (member.enrolled, entry.height) == (world.tip.height, world.tip.height)
    assert (member.subjects_root, member.did) == (ELENA.subjects.root, ELENA.did)
    assert (member.name, member.categories, member.jurisdictions) == (None, (), ())
    assert identity.credential.claims["subjects_root"] == ELENA.subjects.root.hex()


def test_nothing_readable_about_the_person_is_on_the_ledger(world: World) -> None:
    world.enroll(ELENA)
    state = b"".join(world.store.values())
    for text in (b"Elena", b"Navarro", ELENA.npi.encode()):
        assert text not in state


def test_both_or_none(world: World) -> None:
    """A refused identity takes the member back, and a refused card the identity."""
    world.enroll(MALLORY)
    taken = identity_of(world, replace(ELENA, npi=MALLORY.npi))
    assert assert_refused(world, "exclusive", ELENA.enroll(), taken).operation == 1
    assert State(world).member(ELENA.did) is None
    good = identity_of(world, ELENA)
    assert assert_refused(world, "member", good, MALLORY.enroll()).operation == 1
    assert world.dossier("identity", ELENA.npi).entries == ()


@pytest.mark.parametrize("issuer", [IDENTITY_ISSUER, OTHER_BOARD])
def test_one_identity_an_npi_whoever_attests(world: World, issuer: str) -> None:
    world.enroll(ELENA)
    second = identity_of(world, replace(MALLORY, npi=ELENA.npi), issuer)
    assert_refused(world, "exclusive", MALLORY.enroll(), second, sender=issuer)
    assert_refused(world, "exclusive", second, sender=issuer)


def test_two_identities_in_one_transaction(world: World) -> None:
    first, second = identity_of(world, ELENA), identity_of(world, ELENA)
    assert first.credential != second.credential
    assert_refused(world, "exclusive", ELENA.enroll(), first, second)


@pytest.mark.parametrize("status", ["probation", "suspended", "lapsed"])
def test_a_status_that_is_not_final_keeps_the_place(world: World, status: str) -> None:
    reason = {"probation": "conditions_imposed", "suspended": "under_investigation", "lapsed": "nonpayment"}
    world.set_status(world.enroll(ELENA), status, reason[status])
    assert_refused(world, "exclusive", identity_of(world, ELENA))


@pytest.mark.parametrize(("status", "reason"), [("revoked", "fraud"), ("issued_in_error", "wrong_person")])
def test_a_final_status_frees_the_place(world: World, status: str, reason: str) -> None:
    world.set_status(world.enroll(ELENA), status, reason)
    world.commit([world.transaction(IDENTITY_ISSUER, identity_of(world, ELENA))])
    assert len(world.dossier("identity", ELENA.npi).entries) == 2


def test_a_renewal_holds_the_same_place(world: World) -> None:
    first = world.enroll(ELENA)
    renewal = replace(identity_of(world, ELENA), renews=first.id)
    world.commit([world.transaction(IDENTITY_ISSUER, renewal)])
    assert_refused(world, "exclusive", identity_of(world, ELENA))


def test_an_error_in_the_renewal_brings_the_earlier_back_and_no_third_fits(world: World) -> None:
    first = world.enroll(ELENA)
    renewal = world.issue("identity", ELENA.npi, **ELENA.identity_claims)
    second = world.attest_credential(renewal, renews=first, published=False)
    world.set_status(second, "issued_in_error", "data_error")
    assert_refused(world, "exclusive", identity_of(world, ELENA))


def test_an_expired_identity_frees_the_place(world: World) -> None:
    world.enroll(ELENA, valid_until=START + 5_000 - 1)
    assert_refused(world, "exclusive", identity_of(world, ELENA))
    world.commit(time=START + 5_000)
    world.commit([world.transaction(IDENTITY_ISSUER, identity_of(world, ELENA))])


# The card


def test_a_card_without_subjects_root(world: World) -> None:
    assert_refused(world, "subjects", ELENA.enroll(subjects_root=None), identity_of(world, ELENA))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Elena Navarro"},
        {"name": "x"},
        {"peer": ""},
        {"api": ""},
        {"certificate": ""},
        {"peer": "192.0.2.1:7440"},
        {"api": "https://elena.example"},
        {"certificate": "PEM"},
    ],
)
def test_a_card_that_says_who_it_is(world: World, changes: dict[str, str]) -> None:
    assert_refused(world, "name", ELENA.enroll(**changes), identity_of(world, ELENA))


def test_a_card_without_recovery_key(world: World) -> None:
    """It is optional: who has none cannot recover."""
    world.commit([world.transaction(IDENTITY_ISSUER, ELENA.enroll(recovery=None))])
    assert world.member(ELENA.name).recovery is None


def test_a_card_signed_by_somebody_else(world: World) -> None:
    card = ELENA.card()
    for proof in (card.sign(MALLORY.signer), bytes(64), ELENA.signer.sign(some_digest("x"))):
        assert_refused(world, "card", Enroll(card.encode(), proof, ("radiologist",)))


def test_a_card_whose_root_was_exchanged(world: World) -> None:
    """The identity issuer cannot commit the holder to subjects that it did not choose."""
    proof = ELENA.card().sign(ELENA.signer)
    forged = ELENA.card(subjects_root=MALLORY.subjects.root)
    assert_refused(world, "card", Enroll(forged.encode(), proof, ("radiologist",)))


def test_every_byte_of_a_card(world: World) -> None:
    card = ELENA.card()
    data, proof = bytearray(card.encode()), card.sign(ELENA.signer)
    for index in range(len(data)):
        data[index] ^= 1
        assert_refused(world, "card", Enroll(bytes(data), proof, ("radiologist",)))
        data[index] ^= 1


def test_subjects_are_committed_to_once(world: World) -> None:
    """A member does not get a second root by enrolling again, of another issuer neither."""
    world.enroll(ELENA)
    again = ELENA.enroll(subjects_root=some_digest("a second root"))
    assert_refused(world, "member", again)
    assert_refused(world, "member", again, sender=OTHER_BOARD)
    assert world.member(ELENA.name).subjects_root == ELENA.subjects.root


# Who enrols, and as what


@pytest.mark.parametrize("sender", [BOARD, PROVIDER, HOSPITAL, GOVERNOR])
def test_only_identity_issuers_enrol(world: World, sender: str) -> None:
    assert_refused(world, "enroll", ELENA.enroll(), sender=sender)


def test_a_radiologist_enrols_nobody(world: World) -> None:
    world.enroll(ELENA)
    assert_refused(world, "enroll", MALLORY.enroll(), sender=ELENA.name)


@pytest.mark.parametrize(
    "changes",
    [
        {"roles": ()},
        {"roles": ("issuer",)},
        {"roles": ("hospital",)},
        {"roles": ("issuer", "radiologist")},
        {"categories": ("identity",)},
        {"jurisdictions": ("US-CA",)},
    ],
)
def test_as_a_radiologist_and_nothing_else(world: World, changes: dict[str, Any]) -> None:
    assert_refused(world, "enroll", replace(ELENA.enroll(), **changes))


def test_an_identity_without_an_enrolment_binds_no_member(world: World) -> None:
    """The rules let it stand; whoever verifies finds no member."""
    attested = world.attest("identity", ELENA.npi, **ELENA.identity_claims)
    assert isinstance(attested, Attested)
    assert State(world).member(did(ELENA.name)) is None
