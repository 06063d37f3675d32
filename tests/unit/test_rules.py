"""Each rule of the ledger by its name: what it refuses, beside what it lets pass.

A refusal names the rule and the operation, and leaves the state as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest

from credchain.certificates import Height, Millis
from credchain.encoding import Digest
from credchain.errors import Rejected
from credchain.ledger.cards import MemberCard
from credchain.ledger.codes import ERASE_REASONS, REASONS
from credchain.ledger.execution import propose
from credchain.ledger.operations import Attest, Enroll, Erase, Operation, SetStatus
from credchain.ledger.records import Dossier, Entry, Member, StatusChange, Term
from credchain.ledger.rules import BlockContext, apply_transaction
from credchain.ledger.state import State
from credchain.ledger.transactions import Transaction
from credchain.limits import HOUR, LIMITS
from tests.ledger_world import (
    BOARD,
    GOVERNOR,
    HOSPITAL,
    IDENTITY_ISSUER,
    OTHER_BOARD,
    PROVIDER,
    STATE_BOARD,
    World,
    box_key,
    days,
    did,
    signing_key,
    some_digest,
)
from tests.values import replace

CATEGORY = "board_certification"
SUBJECT = some_digest("subject")
STATUSES = ("active", "probation", "suspended", "lapsed", "revoked", "surrendered", "issued_in_error")
TERMINAL = ("revoked", "surrendered", "issued_in_error")


def attest(name: str = "credential", **differing: Any) -> Attest:
    """Of a credential with this name, in force from long ago without an end."""
    return replace(Attest(CATEGORY, SUBJECT, some_digest(name), Millis(0)), **differing)


def context(world: World, time: int | None = None) -> BlockContext:
    return BlockContext(
        world.network.id,
        Height(world.tip.height + 1),
        Millis(world.now + 1_000 if time is None else time),
    )


def apply(
    world: World, transaction: Transaction, time: int | None = None, seen: Iterable[Digest] = ()
) -> State:
    """The state after the transaction, or Rejected."""
    state = State(world)
    apply_transaction(state, transaction, context(world, time), lambda each: each in set(seen))
    return state


def refusal(
    world: World, transaction: Transaction, time: int | None = None, seen: Iterable[Digest] = ()
) -> Rejected:
    """The refusal, having seen that the state keeps what it had and takes nothing on."""
    state = State(world)
    first = world.transaction(PROVIDER, attest("first", category="cme_credit"))
    apply_transaction(state, first, context(world), lambda each: False)
    before = state.changes()
    assert len(before) == 1
    with pytest.raises(Rejected) as caught:
        apply_transaction(state, transaction, context(world, time), lambda each: each in set(seen))
    assert state.changes() == before
    assert caught.value.message
    return caught.value


def assert_refused(world: World, sender: str, operation: Operation, rule: str) -> Rejected:
    """The operation is refused by this rule, alone and behind operations that would pass."""
    alone = refusal(world, world.transaction(sender, operation))
    assert (alone.rule, alone.operation) == (rule, 0)
    good = [each for each in GOOD.get(sender, ()) if each != operation]
    if good:
        behind = refusal(world, world.transaction(sender, *good, operation))
        assert (behind.rule, behind.operation) == (rule, len(good))
    return alone


GOOD: dict[str, tuple[Operation, ...]] = {
    BOARD: (
        attest("good 1", subject=some_digest("somebody")),
        attest("good 2", subject=some_digest("else")),
    ),
    IDENTITY_ISSUER: (attest("good", category="identity", subject=some_digest("somebody")),),
}
"""Operations that pass, to stand before one that does not."""


@pytest.fixture
def world() -> World:
    return World()


def commit(world: World, sender: str, operation: Attest) -> Digest:
    world.commit([world.transaction(sender, operation)])
    return world.attestation(sender, operation)


def entry_of(world: World, identifier: Digest, category: str = CATEGORY) -> Entry:
    found = State(world).dossier(category, SUBJECT).entry(identifier)
    assert found is not None
    return found


def set_status(attestation: Digest, status: str, reason: str, category: str = CATEGORY) -> SetStatus:
    return SetStatus(category, SUBJECT, attestation, status, reason)


def reason_for(status: str) -> str:
    return next(code for code, statuses in REASONS.items() if status in statuses)


# The transaction


def test_network(world: World) -> None:
    other = world.transaction(BOARD, attest(), network=some_digest("other network"))
    assert (refusal(world, other).rule, refusal(world, other).operation) == ("network", None)


def test_expired_and_expiry_too_far_at_their_bounds(world: World) -> None:
    time = world.now + 5_000
    window = world.network.genesis.parameters.expiry_window
    assert window == HOUR
    for expiry in (time, time + 1, time + window):
        changed = apply(world, world.transaction(BOARD, attest(), expiry=expiry), time).changes()
        assert len(changed) == 1
    past = refusal(world, world.transaction(BOARD, attest(), expiry=time - 1), time)
    assert (past.rule, past.operation) == ("expired", None)
    far = refusal(world, world.transaction(BOARD, attest(), expiry=time + window + 1), time)
    assert (far.rule, far.operation) == ("expiry_too_far", None)


def test_the_expiry_window_is_a_parameter() -> None:
    world = World(expiry_window=10)
    late = world.transaction(BOARD, attest(), expiry=world.now + 1_011)
    assert refusal_without_another(world, late).rule == "expiry_too_far"
    assert apply(world, world.transaction(BOARD, attest(), expiry=world.now + 1_010)).changes()


def test_repeated(world: World) -> None:
    transaction = world.transaction(BOARD, attest())
    found = refusal(world, transaction, seen=[transaction.id])
    assert (found.rule, found.operation) == ("repeated", None)
    again = replace(transaction, signature=transaction.signature[::-1])
    assert refusal(world, again, seen=[transaction.id]).rule == "repeated"


def test_too_large_by_operations() -> None:
    world = World(transaction_operations=3)
    operations = [attest(f"{number}") for number in range(4)]
    assert apply(world, world.transaction(BOARD, *operations[:3])).changes()
    found = refusal(world, world.transaction(BOARD, *operations))
    assert (found.rule, found.operation) == ("too_large", None)


def test_too_large_by_bytes() -> None:
    size = len(World().transaction(BOARD, attest()).encoded)
    exact, short = World(transaction_bytes=size), World(transaction_bytes=size - 1)
    assert apply(exact, exact.transaction(BOARD, attest())).changes()
    found = refusal_without_another(short, short.transaction(BOARD, attest()))
    assert (found.rule, found.operation) == ("too_large", None)


def refusal_without_another(world: World, transaction: Transaction) -> Rejected:
    with pytest.raises(Rejected) as caught:
        apply(world, transaction)
    return caught.value


def test_sender(world: World) -> None:
    found = refusal(world, world.transaction("Nobody", attest()))
    assert (found.rule, found.operation) == ("sender", None)


def test_key(world: World) -> None:
    foreign = world.transaction(BOARD, attest(), signer=OTHER_BOARD)
    assert foreign.signature_holds()
    found = refusal(world, foreign)
    assert (found.rule, found.operation) == ("key", None)


@pytest.mark.parametrize("part", ["end", "distrusted", "start"])
def test_key_of_another_time(world: World, part: str) -> None:
    board = world.member(BOARD)
    transaction = world.transaction(BOARD, attest())
    at = context(world).height
    signs, does_not = (at, at + 1) if part == "start" else (at + 1, at)
    for height, passes in ((signs, True), (does_not, False)):
        changed: dict[str, Any] = {part: Height(height)}
        term = replace(board.keys[0], **changed)
        state = State(world)
        state.put(replace(board, keys=(term,)))
        if passes:
            apply_transaction(state, transaction, context(world), lambda each: False)
            assert len(state.changes()) == 2
        else:
            with pytest.raises(Rejected) as caught:
                apply_transaction(state, transaction, context(world), lambda each: False)
            assert caught.value.rule == "key"
            assert len(state.changes()) == 1


# Attestations


def test_an_attestation_becomes_an_entry(world: World) -> None:
    earlier = commit(world, BOARD, attest("earlier"))
    operation = attest(valid_from=Millis(5), valid_until=Millis(5), renews=earlier)
    block = world.commit([world.transaction(BOARD, operation)])
    assert State(world).dossier(CATEGORY, SUBJECT).entries[1:] == (
        Entry(
            id=world.attestation(BOARD, operation),
            issuer=did(BOARD),
            key=signing_key(BOARD).public,
            height=block.block.header.height,
            time=block.block.header.time,
            credential=operation.credential,
            valid_from=Millis(5),
            history=(),
            valid_until=Millis(5),
            renews=earlier,
        ),
    )
    assert entry_of(world, world.attestation(BOARD, operation)).status == "active"


def test_category(world: World) -> None:
    assert_refused(world, BOARD, attest(category="astrology"), "category")


@pytest.mark.parametrize("sender", [STATE_BOARD, PROVIDER, IDENTITY_ISSUER, HOSPITAL, GOVERNOR, "Node 1"])
def test_authority(world: World, sender: str) -> None:
    assert_refused(world, sender, attest(), "authority")


@pytest.mark.parametrize("part", ["roles", "categories"])
def test_authority_at_this_height(world: World, part: str) -> None:
    """Both the role and the category must run at the block's height."""
    board = world.member(BOARD)
    at = context(world).height
    for start, end, passes in ((0, at + 1, True), (0, at, False), (at, None, True), (at + 1, None, False)):
        name = "issuer" if part == "roles" else CATEGORY
        term = Term(name, Height(start), None if end is None else Height(end))
        state = State(world)
        changed: dict[str, Any] = {part: (term,)}
        state.put(replace(board, **changed))
        before = state.changes()
        if passes:
            apply_transaction(state, world.transaction(BOARD, attest()), context(world), lambda each: False)
            assert len(state.changes()) == 2
        else:
            with pytest.raises(Rejected) as caught:
                apply_transaction(
                    state, world.transaction(BOARD, attest()), context(world), lambda each: False
                )
            assert (caught.value.rule, caught.value.operation) == ("authority", 0)
            assert state.changes() == before


def test_validity(world: World) -> None:
    assert_refused(world, BOARD, attest(valid_from=Millis(7), valid_until=Millis(6)), "validity")


def test_attested_once_ever(world: World) -> None:
    identifier = commit(world, BOARD, attest())
    assert_refused(world, BOARD, attest(), "attested")
    assert_refused(world, BOARD, attest(valid_until=Millis(2**50)), "attested")
    world.commit([world.transaction(BOARD, set_status(identifier, "issued_in_error", "duplicate"))])
    assert_refused(world, BOARD, attest(), "attested")
    twice = refusal(world, world.transaction(BOARD, attest("a"), attest("b"), attest("a")))
    assert (twice.rule, twice.operation) == ("attested", 2)


def test_the_same_credential_is_anothers_to_attest_too(world: World) -> None:
    commit(world, BOARD, attest())
    commit(world, OTHER_BOARD, attest())
    commit(world, BOARD, attest(subject=some_digest("another subject")))
    assert len(State(world).dossier(CATEGORY, SUBJECT).entries) == 2


def test_entries_are_bounded_for_each_issuer_and_dossier() -> None:
    world = World(entries_per_issuer=3)
    three = [attest(f"{number}") for number in range(3)]
    world.commit([world.transaction(BOARD, *three)])
    assert_refused(world, BOARD, attest("fourth"), "entries")
    for each in three:
        ended = set_status(world.attestation(BOARD, each), "revoked", "fraud")
        world.commit([world.transaction(BOARD, ended)])
    assert_refused(world, BOARD, attest("fourth"), "entries")
    commit(world, OTHER_BOARD, attest("another issuer's"))
    commit(world, BOARD, attest("fourth", subject=some_digest("another dossier")))
    assert len(State(world).dossier(CATEGORY, SUBJECT).entries) == 4


# Renewals


def test_a_renewal_of_what_was_never_attested(world: World) -> None:
    assert_refused(world, BOARD, attest(renews=some_digest("nothing")), "renews")


def test_a_renewal_across_dossiers(world: World) -> None:
    earlier = commit(world, BOARD, attest("earlier"))
    assert_refused(world, BOARD, attest(renews=earlier, subject=some_digest("another")), "renews")


def test_a_renewal_of_another_issuers(world: World) -> None:
    earlier = commit(world, OTHER_BOARD, attest("earlier"))
    assert_refused(world, BOARD, attest(renews=earlier), "renews")


@pytest.mark.parametrize("status", TERMINAL)
def test_a_renewal_of_what_has_ended(world: World, status: str) -> None:
    earlier = commit(world, BOARD, attest("earlier"))
    world.commit([world.transaction(BOARD, set_status(earlier, status, reason_for(status)))])
    assert_refused(world, BOARD, attest(renews=earlier), "renews")


@pytest.mark.parametrize("status", ["probation", "suspended", "lapsed"])
def test_a_renewal_of_what_may_come_back(world: World, status: str) -> None:
    earlier = commit(world, BOARD, attest("earlier"))
    world.commit([world.transaction(BOARD, set_status(earlier, status, reason_for(status)))])
    renewal = commit(world, BOARD, attest(renews=earlier))
    assert entry_of(world, renewal).renews == earlier


def test_a_second_renewal(world: World) -> None:
    earlier = commit(world, BOARD, attest("earlier"))
    renewal = commit(world, BOARD, attest("renewal", renews=earlier))
    assert_refused(world, BOARD, attest("second", renews=earlier), "renews")
    # A renewal issued in error is none: the place is free again.
    world.commit([world.transaction(BOARD, set_status(renewal, "issued_in_error", "data_error"))])
    second = commit(world, BOARD, attest("second", renews=earlier))
    assert entry_of(world, second).renews == earlier
    # A renewal may be renewed; one that ended otherwise still counts.
    world.commit([world.transaction(BOARD, set_status(second, "revoked", "fraud"))])
    assert_refused(world, BOARD, attest("third", renews=earlier), "renews")


def test_a_renewal_of_itself(world: World) -> None:
    itself = world.attestation(BOARD, attest())
    assert_refused(world, BOARD, attest(renews=itself), "renews")


# Exclusive categories


def identity(name: str, **differing: Any) -> Attest:
    return attest(name, category="identity", **differing)


def test_one_identity_in_force_on_the_whole_ledger(world: World) -> None:
    commit(world, IDENTITY_ISSUER, identity("first"))
    assert_refused(world, IDENTITY_ISSUER, identity("second"), "exclusive")
    assert_refused(world, OTHER_BOARD, identity("third"), "exclusive")
    commit(world, OTHER_BOARD, identity("somebody else's", subject=some_digest("somebody else")))
    twice = refusal(
        world,
        world.transaction(
            OTHER_BOARD,
            identity("a", subject=some_digest("new")),
            identity("b", subject=some_digest("new")),
        ),
    )
    assert (twice.rule, twice.operation) == ("exclusive", 1)


def test_categories_that_are_not_exclusive_take_many(world: World) -> None:
    for number in range(3):
        commit(world, BOARD, attest(f"{number}"))
    assert len(State(world).dossier(CATEGORY, SUBJECT).entries) == 3


@pytest.mark.parametrize("status", TERMINAL)
def test_an_ended_identity_frees_the_place(world: World, status: str) -> None:
    first = commit(world, IDENTITY_ISSUER, identity("first"))
    ended = set_status(first, status, reason_for(status), "identity")
    world.commit([world.transaction(IDENTITY_ISSUER, ended)])
    commit(world, OTHER_BOARD, identity("second"))
    assert_refused(world, IDENTITY_ISSUER, identity("third"), "exclusive")


@pytest.mark.parametrize("status", ["probation", "suspended", "lapsed"])
def test_an_identity_that_may_come_back_keeps_the_place(world: World, status: str) -> None:
    first = commit(world, IDENTITY_ISSUER, identity("first"))
    change = set_status(first, status, reason_for(status), "identity")
    world.commit([world.transaction(IDENTITY_ISSUER, change)])
    assert_refused(world, OTHER_BOARD, identity("second"), "exclusive")


def test_an_expired_identity_frees_the_place(world: World) -> None:
    until = Millis(world.now + 10_000)
    commit(world, IDENTITY_ISSUER, identity("first", valid_until=until))
    second = world.transaction(OTHER_BOARD, identity("second"))
    assert refusal(world, second, until).rule == "exclusive"
    assert len(apply(world, second, until + 1).changes()) == 1


def test_an_identity_of_the_future_takes_the_place(world: World) -> None:
    commit(world, IDENTITY_ISSUER, identity("first", valid_from=Millis(world.now + days(30))))
    assert_refused(world, OTHER_BOARD, identity("second"), "exclusive")


def test_a_renewed_identity_frees_the_place_for_its_renewal(world: World) -> None:
    first = commit(world, IDENTITY_ISSUER, identity("first"))
    second = commit(world, IDENTITY_ISSUER, identity("second", renews=first))
    assert_refused(world, OTHER_BOARD, identity("third"), "exclusive")
    third = commit(world, IDENTITY_ISSUER, identity("third", renews=second))
    ended = set_status(third, "revoked", "fraud", "identity")
    world.commit([world.transaction(IDENTITY_ISSUER, ended)])
    commit(world, OTHER_BOARD, identity("fourth"))
    assert_refused(world, IDENTITY_ISSUER, identity("fifth"), "exclusive")


def test_a_renewal_of_the_future_does_not_free_the_place_yet(world: World) -> None:
    """Else its own renewal from today, for another holder, would stand beside the first one in force."""
    first = commit(world, IDENTITY_ISSUER, identity("first"))
    begins = Millis(world.now + days(30))
    later = commit(world, IDENTITY_ISSUER, identity("later", renews=first, valid_from=begins))
    assert_refused(world, IDENTITY_ISSUER, identity("now", renews=later), "exclusive")
    # Nor when the renewal ended before it began.
    world.commit([world.transaction(IDENTITY_ISSUER, set_status(later, "revoked", "fraud", "identity"))])
    another = world.transaction(OTHER_BOARD, identity("another"), expiry=begins)
    assert refusal(world, another, Millis(begins - 1)).rule == "exclusive"
    assert len(apply(world, another, begins).changes()) == 1


def test_an_error_in_the_middle_of_a_chain_does_not_make_two_of_it(world: World) -> None:
    """The first would be in force again, and the last from its first day on, which renews another."""
    first = commit(world, IDENTITY_ISSUER, identity("first"))
    middle = commit(world, IDENTITY_ISSUER, identity("middle", renews=first))
    begins = Millis(world.now + days(30))
    last = commit(world, IDENTITY_ISSUER, identity("last", renews=middle, valid_from=begins))
    in_error = set_status(middle, "issued_in_error", "data_error", "identity")
    assert_refused(world, IDENTITY_ISSUER, in_error, "exclusive")
    ended = set_status(last, "revoked", "fraud", "identity")
    world.commit([world.transaction(IDENTITY_ISSUER, ended)])
    world.commit([world.transaction(IDENTITY_ISSUER, in_error)])
    assert_refused(world, OTHER_BOARD, identity("another"), "exclusive")


def test_no_status_change_puts_a_second_identity_in_force(world: World) -> None:
    """One active identity per NPI, by rule: also when an expired renewal turns out an error."""
    first = commit(world, IDENTITY_ISSUER, identity("first"))
    until = Millis(world.now + 10_000)
    renewal = commit(world, IDENTITY_ISSUER, identity("renewal", renews=first, valid_until=until))
    attempts: list[tuple[str, Operation]] = [
        (OTHER_BOARD, identity("another")),
        (IDENTITY_ISSUER, set_status(renewal, "issued_in_error", "data_error", "identity")),
    ]
    world.commit(time=until + 1)
    for sender, operation in attempts:
        try:
            world.commit([world.transaction(sender, operation)])
        except Rejected as refused:
            assert refused.rule == "exclusive"
    assert len(in_force(State(world).dossier("identity", SUBJECT), world.now)) == 1


def in_force(dossier: Dossier, now: int) -> list[Entry]:
    """Active, within their dates, and not renewed: from DESIGN, not from the rules' own helper."""
    renewed = {each.renews for each in dossier.entries if each.status != "issued_in_error"}
    return [
        each
        for each in dossier.entries
        if each.status == "active"
        and each.valid_from <= now <= (now if each.valid_until is None else each.valid_until)
        and each.id not in renewed
    ]


# Statuses


def at_status(world: World, status: str) -> Digest:
    identifier = commit(world, BOARD, attest())
    if status != "active":
        world.commit([world.transaction(BOARD, set_status(identifier, status, reason_for(status)))])
    assert entry_of(world, identifier).status == status
    return identifier


@pytest.mark.parametrize("earlier", STATUSES)
def test_transition(earlier: str) -> None:
    """From every status that is not terminal to every other; from a terminal one to none."""
    world = World()
    identifier = at_status(world, earlier)
    for later in STATUSES:
        operation = set_status(identifier, later, reason_for(later))
        if earlier in TERMINAL or earlier == later:
            assert_refused(world, BOARD, operation, "transition")
        else:
            state = apply(world, world.transaction(BOARD, operation))
            changed = state.dossier(CATEGORY, SUBJECT).entry(identifier)
            assert changed is not None
            assert changed.status == later


@pytest.mark.parametrize("status", ["expired", "not_yet_valid", "", "Active", "renewed"])
def test_transition_to_what_is_no_status(world: World, status: str) -> None:
    identifier = at_status(world, "active")
    assert_refused(world, BOARD, set_status(identifier, status, "correction"), "transition")


def test_every_status_can_be_reached_and_left_with_a_listed_reason() -> None:
    for status in STATUSES:
        assert [code for code, statuses in REASONS.items() if status in statuses], status


@pytest.mark.parametrize(("reason", "status"), list(product([*REASONS, "bad_weather", ""], STATUSES)))
def test_reason(reason: str, status: str) -> None:
    """A reason gives the statuses that its name can mean; the clear cases are spelt out here."""
    never = {
        ("reinstated", "revoked"),
        ("conditions_met", "suspended"),
        ("deceased", "active"),
        ("data_error", "revoked"),
        ("fraud", "active"),
        ("nonpayment", "revoked"),
    }
    world = World()
    identifier = at_status(world, "lapsed" if status == "active" else "active")
    operation = set_status(identifier, status, reason)
    if status in REASONS.get(reason, ()):
        assert (reason, status) not in never
        assert apply(world, world.transaction(BOARD, operation)).changes()
    else:
        assert_refused(world, BOARD, operation, "reason")


def test_the_history_of_an_entry_grows(world: World) -> None:
    identifier = commit(world, BOARD, attest())
    steps = [
        ("probation", "conditions_imposed"),
        ("active", "conditions_met"),
        ("suspended", "disciplinary_action"),
        ("lapsed", "nonpayment"),
        ("active", "reinstated"),
        ("revoked", "fraud"),
    ]
    expected = []
    for status, reason in steps:
        note = some_digest(status) if status == "probation" else None
        operation = replace(set_status(identifier, status, reason), note=note)
        header = world.commit([world.transaction(BOARD, operation)]).block.header
        expected.append((status, reason, did(BOARD), header.height, header.time, note))
        found = entry_of(world, identifier).history
        assert [
            (each.status, each.reason, each.by, each.height, each.time, each.note) for each in found
        ] == expected


def test_status_changes_are_allowed_in_a_full_dossier() -> None:
    world = World(entries_per_issuer=1)
    identifier = commit(world, BOARD, attest())
    world.commit([world.transaction(BOARD, set_status(identifier, "revoked", "fraud"))])
    assert entry_of(world, identifier).status == "revoked"


# Whose attestation it is


def operations_on(identifier: Digest) -> list[Operation]:
    return [
        set_status(identifier, "suspended", "under_investigation"),
        Erase(CATEGORY, SUBJECT, identifier, "erasure_request"),
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_attestation(world: World, which: int) -> None:
    """It exists, and in the dossier that the operation names."""
    identifier = commit(world, BOARD, attest())
    operation = operations_on(identifier)[which]
    assert isinstance(operation, SetStatus | Erase)
    for wrong in (
        replace(operation, attestation=some_digest("nothing")),
        replace(operation, subject=some_digest("another")),
        replace(operation, category="identity"),
        replace(operation, category="astrology"),
    ):
        assert_refused(world, BOARD, wrong, "attestation")


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("sender", [OTHER_BOARD, STATE_BOARD, HOSPITAL, GOVERNOR, "Node 1"])
def test_own(world: World, sender: str, which: int) -> None:
    """A governor too, while the issuer is one."""
    identifier = commit(world, BOARD, attest())
    assert_refused(world, sender, operations_on(identifier)[which], "own")


@pytest.mark.parametrize("which", [0, 1])
def test_own_of_a_removed_issuer(world: World, which: int) -> None:
    identifier = commit(world, BOARD, attest())
    board = world.member(BOARD)
    removed = replace(board, roles=(Term("issuer", Height(0), context(world).height),))
    world.rewrite(removed)
    operation = operations_on(identifier)[which]
    for sender in (OTHER_BOARD, HOSPITAL, "Node 1"):
        assert_refused(world, sender, operation, "own")
    world.commit([world.transaction(GOVERNOR, operation)])
    entry = entry_of(world, identifier)
    assert entry.issuer == did(BOARD)
    assert [each.by for each in entry.history] == ([] if which else [did(GOVERNOR)])
    assert entry.erased == (world.tip.height if which else None)


def test_own_of_an_issuer_about_to_be_removed(world: World) -> None:
    """The role is read at the block's height, not at another."""
    identifier = commit(world, BOARD, attest())
    until = Height(world.tip.height + 3)
    world.rewrite(replace(world.member(BOARD), roles=(Term("issuer", Height(0), until),)))
    operation = operations_on(identifier)[0]
    assert context(world).height == until - 1
    assert_refused(world, GOVERNOR, operation, "own")
    world.commit()
    assert len(apply(world, world.transaction(GOVERNOR, operation)).changes()) == 1


def test_a_removed_governor_is_none(world: World) -> None:
    identifier = commit(world, BOARD, attest())
    end = context(world).height
    world.rewrite(
        replace(world.member(BOARD), roles=(Term("issuer", Height(0), end),)),
        replace(world.member(GOVERNOR), roles=(Term("governor", Height(0), end),)),
    )
    assert_refused(world, GOVERNOR, operations_on(identifier)[0], "own")


# Erasure


@pytest.mark.parametrize("reason", ERASE_REASONS)
def test_erase(world: World, reason: str) -> None:
    identifier = commit(world, BOARD, attest())
    before = entry_of(world, identifier)
    world.commit([world.transaction(BOARD, Erase(CATEGORY, SUBJECT, identifier, reason))])
    assert entry_of(world, identifier) == replace(before, erased=world.tip.height)
    assert_refused(world, BOARD, Erase(CATEGORY, SUBJECT, identifier, reason), "erased")


@pytest.mark.parametrize("reason", ["fraud", "", "revoked"])
def test_erase_with_a_reason_that_is_not_listed(world: World, reason: str) -> None:
    identifier = commit(world, BOARD, attest())
    assert_refused(world, BOARD, Erase(CATEGORY, SUBJECT, identifier, reason), "reason")


def test_an_erased_attestation_keeps_its_status_and_may_change_it(world: World) -> None:
    identifier = at_status(world, "suspended")
    world.commit([world.transaction(BOARD, Erase(CATEGORY, SUBJECT, identifier, "erasure_request"))])
    world.commit([world.transaction(BOARD, set_status(identifier, "revoked", "fraud"))])
    assert entry_of(world, identifier).status == "revoked"


# Enrolment


HOLDER = "Holder"


def card(**differing: Any) -> MemberCard:
    plain = MemberCard(
        signing_key(HOLDER).public,
        box_key(HOLDER).public,
        subjects_root=some_digest("subjects"),
        private_categories=("cme_credit",),
    )
    return replace(plain, **differing)


def enroll(of: MemberCard | None = None, signer: str = HOLDER, **differing: Any) -> Enroll:
    made = of or card()
    operation = Enroll(made.encode(), made.sign(signing_key(signer)), ("radiologist",))
    return replace(operation, **differing)


def test_an_enrolment_becomes_a_member_record(world: World) -> None:
    recovery = some_digest("recovery")
    operation = enroll(
        card(recovery=recovery, subjects_root=some_digest("subjects"), private_categories=("cme_credit",))
    )
    world.commit([world.transaction(IDENTITY_ISSUER, operation)])
    member = world.member(HOLDER)
    assert member == Member(
        did=did(HOLDER),
        enrolled=world.tip.height,
        encryption_key=box_key(HOLDER).public,
        keys=member.keys,
        roles=(Term("radiologist", world.tip.height),),
        categories=(),
        jurisdictions=(),
        recovery=recovery,
        subjects_root=some_digest("subjects"),
        private_categories=("cme_credit",),
    )
    assert [(term.key, term.start, term.end, term.distrusted) for term in member.keys] == [
        (signing_key(HOLDER).public, world.tip.height, None, None)
    ]


@pytest.mark.parametrize(
    "operation",
    [
        enroll(card=b""),
        enroll(card=b"\xc1"),
        enroll(card=card().encode() + b"\x00"),
        enroll(card=card().encode()[:-1]),
        enroll(proof=bytes(64)),
        enroll(signer="Somebody else"),
        enroll(card=card(recovery=some_digest("another")).encode()),
    ],
)
def test_card(world: World, operation: Enroll) -> None:
    assert_refused(world, IDENTITY_ISSUER, operation, "card")


@pytest.mark.parametrize("sender", [BOARD, STATE_BOARD, PROVIDER, HOSPITAL, GOVERNOR, "Node 1"])
def test_enroll_by_others_than_identity_issuers(world: World, sender: str) -> None:
    assert_refused(world, sender, enroll(), "enroll")


@pytest.mark.parametrize(
    "differing",
    [
        {"roles": ("issuer",)},
        {"roles": ("governor", "radiologist")},
        {"roles": ()},
        {"roles": ("validator",)},
        {"categories": ("identity",)},
        {"jurisdictions": ("US",)},
    ],
)
def test_enroll_as_anything_but_a_radiologist(world: World, differing: dict[str, Any]) -> None:
    assert_refused(world, IDENTITY_ISSUER, enroll(**differing), "enroll")


@pytest.mark.parametrize(
    "made",
    [
        card(name="Elena Navarro"),
        card(name=""),
        card(peer="home.example:7440"),
        card(api="https://home.example"),
        card(certificate="PEM"),
    ],
)
def test_name(world: World, made: MemberCard) -> None:
    assert_refused(world, IDENTITY_ISSUER, enroll(made), "name")


def test_member(world: World) -> None:
    world.commit([world.transaction(IDENTITY_ISSUER, enroll())])
    again = enroll(card(recovery=some_digest("another")))
    assert_refused(world, IDENTITY_ISSUER, again, "member")
    assert_refused(world, OTHER_BOARD, enroll(), "member")
    board = card(key=signing_key(BOARD).public, encryption_key=box_key(BOARD).public)
    assert_refused(world, IDENTITY_ISSUER, enroll(board, BOARD), "member")


def test_a_radiologist_may_do_nothing_yet(world: World) -> None:
    world.commit([world.transaction(IDENTITY_ISSUER, enroll())])
    identifier = commit(world, BOARD, attest())
    assert_refused(world, HOLDER, attest("own"), "authority")
    assert_refused(world, HOLDER, operations_on(identifier)[0], "own")
    other = MemberCard(signing_key("Friend").public, box_key("Friend").public)
    assert_refused(world, HOLDER, enroll(other, "Friend"), "enroll")


# All or nothing


@pytest.mark.parametrize("bad", [0, 1, 500, 999])
def test_an_envelope_of_a_thousand_with_one_bad_one_applies_none(world: World, bad: int) -> None:
    operations = [attest(f"{number}", subject=some_digest(f"{number}")) for number in range(1000)]
    good = apply(world, world.transaction(BOARD, *operations))
    assert len(good.changes()) == 1000
    operations[bad] = replace(operations[bad], category="identity")
    found = refusal(world, world.transaction(BOARD, *operations))
    assert (found.rule, found.operation) == ("authority", bad)
    with pytest.raises(Rejected):
        world.commit([world.transaction(BOARD, *operations)])
    assert State(world).dossier(CATEGORY, some_digest("5")).entries == ()


def test_operations_of_a_transaction_see_those_before_them(world: World) -> None:
    first = attest("first")
    renewal = attest("renewal", renews=world.attestation(BOARD, first))
    ended = set_status(world.attestation(BOARD, renewal), "revoked", "fraud")
    world.commit([world.transaction(BOARD, first, renewal, ended)])
    assert [each.status for each in State(world).dossier(CATEGORY, SUBJECT).entries] == [
        "active",
        "revoked",
    ]
    assert (
        refusal(World(), world.transaction(BOARD, renewal, first)).rule,
        refusal(World(), world.transaction(BOARD, ended, first, renewal)).rule,
    ) == ("renews", "attestation")


def test_transactions_of_a_block_see_those_before_them(world: World) -> None:
    first = attest("first")
    identifier = world.attestation(BOARD, first)
    one = world.transaction(BOARD, first)
    two = world.transaction(BOARD, set_status(identifier, "suspended", "fraud"))
    block = world.commit([one, two])
    assert block.block.header.transaction_count == 2
    assert entry_of(world, identifier).status == "suspended"
    # The other way round the first is refused and the second applies.
    fresh = World()
    executed, refused = propose(
        fresh.tip,
        fresh,
        [two, one],
        time=Millis(fresh.now + 1),
        view=world.tip.view,
        proposer=fresh.network.validators.members[0].did,
        repeated=fresh.repeated,
    )
    assert [(each.transaction, each.reason.rule) for each in refused] == [(two, "attestation")]
    assert executed.block.transactions == (one,)


def test_a_refused_transaction_leaves_no_trace_for_the_next(world: World) -> None:
    """The bad one's first operation must not stand in the way of the same operation sent well."""
    bad = world.transaction(BOARD, attest(), attest("x", category="identity"))
    good = world.transaction(BOARD, attest())
    state = State(world)
    with pytest.raises(Rejected):
        apply_transaction(state, bad, context(world), lambda each: False)
    apply_transaction(state, good, context(world), lambda each: False)
    assert len(state.dossier(CATEGORY, SUBJECT).entries) == 1


# What the rules write must stay readable


def test_a_dossier_never_grows_beyond_what_can_be_read(world: World) -> None:
    """Status changes are unlimited in number: their issuer must not close the dossier to all others."""
    identifier = commit(world, BOARD, attest())
    dossier = State(world).dossier(CATEGORY, SUBJECT)
    entry = entry_of(world, identifier)
    world.commit([world.transaction(BOARD, set_status(identifier, "suspended", "fraud"))])
    change = entry_of(world, identifier).history[0]
    one = len(replace_entry(dossier, entry, [change] * 2).encode())
    two = len(replace_entry(dossier, entry, [change] * 3).encode())
    most = (LIMITS.message_bytes - one) // (two - one)
    full = replace_entry(dossier, entry, [change] * most)
    assert Dossier.decode(full.encode()) == full
    world.rewrite(full)
    flips = [("active", "reinstated"), ("suspended", "fraud")] * 5
    changes = [set_status(identifier, *flip) for flip in flips]
    state = State(world)
    try:
        apply_transaction(state, world.transaction(BOARD, *changes), context(world), lambda each: False)
    except Rejected:
        return
    written = state.dossier(CATEGORY, SUBJECT)
    assert Dossier.decode(written.encode()) == written


def replace_entry(dossier: Dossier, entry: Entry, history: list[StatusChange]) -> Dossier:
    return dossier.with_entry(replace(entry, history=tuple(history)))


def test_the_table_of_reasons_names_statuses_only() -> None:
    assert {status for statuses in REASONS.values() for status in statuses} == set(STATUSES)
