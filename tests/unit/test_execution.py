"""Blocks proposed and executed: the same on every machine, and nothing else accepted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from credchain.certificates import Height, Millis, View
from credchain.encoding import Digest
from credchain.errors import CredchainError, InvalidInput, ProofError, Rejected
from credchain.ledger.blocks import Block, Header, transactions_root
from credchain.ledger.execution import ExecutedBlock, Refusal, execute, next_tip, propose
from credchain.ledger.operations import Attest
from credchain.ledger.records import Parameters
from credchain.ledger.state import PARAMETERS, State, StateReader
from credchain.ledger.statemap import value_digest
from credchain.ledger.transactions import Transaction
from tests.ledger_world import BOARD, PROVIDER, START, World, did, some_digest, with_field
from tests.values import replace


def attest(number: int) -> Attest:
    return Attest("board_certification", some_digest(f"{number}"), some_digest("credential"), START)


def bulk(world: World, first: int, count: int) -> Transaction:
    return world.transaction(BOARD, *(attest(number) for number in range(first, first + count)))


def proposal(
    world: World,
    transactions: Iterable[Transaction],
    base: StateReader | None = None,
    **differing: Any,
) -> tuple[ExecutedBlock, list[Refusal]]:
    settings: dict[str, Any] = {
        "time": Millis(world.now + 1_000),
        "view": View(0),
        "proposer": world.network.validators.members[0].did,
        "repeated": world.repeated,
    }
    return propose(world.tip, base or world, transactions, **{**settings, **differing})


@pytest.fixture
def world() -> World:
    made = World(4)
    made.commit([bulk(made, 0, 3)])
    return made


def test_who_executes_gets_what_was_proposed(world: World) -> None:
    transactions = [bulk(world, 10, 2), bulk(world, 20, 1)]
    proposed, refused = proposal(world, transactions, view=View(3))
    executed = execute(world.tip, world, Block.decode(proposed.block.encoded), world.repeated)
    assert refused == []
    assert executed == proposed
    header = proposed.block.header
    assert header == Header(
        network=world.network.id,
        height=Height(2),
        parent=world.certified.header.digest,
        time=Millis(world.now + 1_000),
        view=View(3),
        proposer=world.network.validators.members[0].did,
        transactions_root=transactions_root(tuple(transactions)),
        transaction_count=2,
        state_root=executed.state_map.root,
        validators=world.network.validators.digest(),
        next_validators=world.network.validators.digest(),
    )
    changes = {change.key.key: value_digest(change.value) for change in executed.changes}
    assert len(changes) == 3
    assert world.tip.state_map.update(changes).root == header.state_root
    assert [change.key.key for change in executed.changes] == sorted(changes)
    assert all(change.record.encode() == change.value for change in executed.changes)


def test_executing_changes_neither_the_tip_nor_the_store(world: World) -> None:
    store, root = dict(world.store), world.tip.state_map.root
    proposed, _ = proposal(world, [bulk(world, 10, 2)])
    execute(world.tip, world, proposed.block, world.repeated)
    execute(world.tip, world, proposed.block, world.repeated)
    assert (world.store, world.tip.state_map.root) == (store, root)


def test_two_ledgers_with_the_same_blocks_are_the_same() -> None:
    one, two = World(4), World(4)
    for world in (one, two):
        for number in range(3):
            world.commit([bulk(world, number * 10, 4)], time=START + 1_000 * (number + 1))
    assert [each.header for each in one.chain] == [each.header for each in two.chain]
    assert one.store == two.store
    assert one.tip == two.tip


def test_an_empty_block_changes_the_height_and_nothing_else(world: World) -> None:
    before = world.tip.state_map.root
    executed = world.commit()
    header = executed.block.header
    assert (header.state_root, header.transaction_count) == (before, 0)
    assert header.transactions_root == transactions_root(())
    assert executed.changes == ()
    assert world.tip == next_tip(replace(world.tip), executed, world.network.validators)


def altered(header: Header, name: str) -> Header:
    value = getattr(header, name)
    if isinstance(value, bytes):
        return with_field(header, name, Digest(value[:-1] + bytes([value[-1] ^ 1])))
    if isinstance(value, int):
        return with_field(header, name, value + 1)
    return with_field(header, name, did(BOARD))


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("network", InvalidInput),
        ("height", InvalidInput),
        ("parent", InvalidInput),
        ("proposer", InvalidInput),
        ("transactions_root", ProofError),
        ("transaction_count", ProofError),
        ("state_root", ProofError),
        ("validators", ProofError),
        ("next_validators", ProofError),
    ],
)
def test_a_header_with_a_wrong_field_is_refused(world: World, name: str, error: type[CredchainError]) -> None:
    block = proposal(world, [bulk(world, 10, 2)])[0].block
    execute(world.tip, world, block, world.repeated)
    with pytest.raises(error):
        execute(world.tip, world, Block(altered(block.header, name), block.transactions), world.repeated)


@pytest.mark.parametrize("name", ["transaction_count", "height", "time"])
def test_a_smaller_number_is_refused_too(world: World, name: str) -> None:
    block = proposal(world, [bulk(world, 10, 2)], time=Millis(world.now + 1))[0].block
    header = with_field(block.header, name, getattr(block.header, name) - 1)
    with pytest.raises((InvalidInput, ProofError)):
        execute(world.tip, world, Block(header, block.transactions), world.repeated)


@pytest.mark.parametrize("before", [0, 1, 1_000])
def test_time_must_advance(world: World, before: int) -> None:
    block = proposal(world, [], time=Millis(world.now - before))[0].block
    with pytest.raises(InvalidInput) as caught:
        execute(world.tip, world, block, world.repeated)
    assert caught.value.field == "header.time"
    later = proposal(world, [], time=Millis(world.now + 1))[0].block
    assert execute(world.tip, world, later, world.repeated).block == later


def test_an_earlier_or_a_later_block_does_not_follow(world: World) -> None:
    tip = world.tip
    following = world.commit().block
    another = world.commit().block
    assert execute(tip, world, following, world.repeated).block == following
    for refused_at, block in ((tip, another), (world.tip, following), (world.tip, another)):
        with pytest.raises(InvalidInput):
            execute(refused_at, world, block, world.repeated)


@pytest.mark.parametrize("what", ["left out", "added", "exchanged", "doubled", "another"])
def test_the_transactions_are_those_of_the_header(world: World, what: str) -> None:
    one, two, three = (bulk(world, number, 1) for number in (10, 20, 30))
    block = proposal(world, [one, two])[0].block
    found = {
        "left out": (one,),
        "added": (one, two, three),
        "exchanged": (two, one),
        "doubled": (one, two, two),
        "another": (one, three),
    }[what]
    with pytest.raises((ProofError, Rejected)):
        execute(world.tip, world, Block(block.header, found), world.repeated)


def test_a_transaction_with_a_wrong_signature_is_refused(world: World) -> None:
    good, other = bulk(world, 10, 1), bulk(world, 20, 1)
    for signature in (bytes(64), other.signature, good.signature[:-1], b""):
        forged = replace(good, signature=signature)
        block = proposal(world, [forged])[0].block
        assert block.transactions == (forged,)
        with pytest.raises(ProofError) as caught:
            execute(world.tip, world, block, world.repeated)
        assert caught.value.field == "signature"


class Lenient:
    """What a proposer that breaks the rules reads: the committed values, with its own parameters."""

    def __init__(self, world: World, **parameters: Any) -> None:
        self._world = world
        self._parameters = replace(State(world).parameters, **parameters)

    def value(self, key: Digest) -> bytes | None:
        return self._parameters.encode() if key == PARAMETERS.key else self._world.value(key)


def test_a_transaction_that_the_rules_refuse_makes_the_block_invalid(world: World) -> None:
    late = world.transaction(BOARD, attest(10), expiry=world.now + 2 * 3_600_000)
    block, refused = proposal(world, [late], Lenient(world, expiry_window=7 * 24 * 3_600_000))
    assert refused == []
    with pytest.raises(Rejected) as caught:
        execute(world.tip, world, block.block, world.repeated)
    assert caught.value.rule == "expiry_too_far"


def test_a_repeated_transaction_makes_the_block_invalid(world: World) -> None:
    transaction = bulk(world, 10, 1)
    block = proposal(world, [transaction])[0].block
    with pytest.raises(Rejected) as caught:
        execute(world.tip, world, block, lambda each: each == transaction.id)
    assert caught.value.rule == "repeated"
    header = replace(
        block.header,
        transactions_root=transactions_root((transaction, transaction)),
        transaction_count=2,
    )
    with pytest.raises(Rejected) as caught:
        execute(world.tip, world, Block(header, (transaction, transaction)), world.repeated)
    assert caught.value.rule == "repeated"


def test_a_proposal_takes_a_transaction_once(world: World) -> None:
    transaction = bulk(world, 10, 1)
    executed, refused = proposal(world, [transaction, transaction])
    assert executed.block.transactions == (transaction,)
    assert [each.reason.rule for each in refused] == ["repeated"]


def test_a_proposal_gives_back_what_the_rules_refuse_and_takes_the_rest(world: World) -> None:
    bad = world.transaction(PROVIDER, attest(10))
    worse = world.transaction(BOARD, attest(0))
    good = [bulk(world, 20, 1), bulk(world, 30, 1)]
    executed, refused = proposal(world, [bad, good[0], worse, good[1]])
    assert executed.block.transactions == tuple(good)
    assert [(each.transaction, each.reason.rule, each.reason.operation) for each in refused] == [
        (bad, "authority", 0),
        (worse, "attested", 0),
    ]
    assert execute(world.tip, world, executed.block, world.repeated) == executed


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [
        ([2, 2, 2, 2], 2),
        ([5], 1),
        ([2, 3], 2),
        ([2, 4], 1),
        ([1, 1, 1, 1, 1, 1], 5),
        ([], 0),
    ],
)
def test_a_proposal_is_cut_to_the_operations_of_a_block(sizes: list[int], taken: int) -> None:
    world = World(block_operations=5)
    transactions = [bulk(world, 100 * place, size) for place, size in enumerate(sizes)]
    executed, refused = proposal(world, transactions)
    assert refused == []
    assert executed.block.transactions == tuple(transactions[:taken])
    assert execute(world.tip, world, executed.block, world.repeated) == executed


def test_a_transaction_larger_than_a_block_has_one_to_itself() -> None:
    """Or it would never be committed: the first of a block is always taken."""
    world = World(block_operations=5, transaction_operations=8)
    transactions = [bulk(world, 0, 8), bulk(world, 100, 1)]
    executed, refused = proposal(world, transactions)
    assert (executed.block.transactions, refused) == ((transactions[0],), [])
    assert execute(world.tip, world, executed.block, world.repeated) == executed


def test_refused_transactions_take_no_room() -> None:
    world = World(block_operations=5)
    bad = world.transaction(BOARD, *(attest(number) for number in (1, 2, 3, 3)))
    good = [bulk(world, 100, 3), bulk(world, 200, 2)]
    executed, refused = proposal(world, [bad, *good])
    assert [each.transaction for each in refused] == [bad]
    assert executed.block.transactions == tuple(good)


def test_a_proposal_is_cut_to_the_bytes_of_a_block() -> None:
    size = len(bulk(World(), 0, 1).encoded)
    world = World(block_bytes=3 * size, transaction_bytes=2 * size)
    transactions = [bulk(world, 10 * number, 1) for number in range(5)]
    assert {len(each.encoded) for each in transactions} == {size}
    executed, refused = proposal(world, transactions)
    assert refused == []
    assert executed.block.transactions == tuple(transactions[:3])
    narrow = World(block_bytes=3 * size - 1, transaction_bytes=2 * size)
    taken = proposal(narrow, [bulk(narrow, 10 * number, 1) for number in range(5)])[0]
    assert len(taken.block.transactions) == 2


def test_a_block_of_more_operations_than_the_parameters_allow_is_refused() -> None:
    world = World(block_operations=3, transaction_operations=2)
    transactions = [bulk(world, 10, 2), bulk(world, 20, 2)]
    block, refused = proposal(world, transactions, Lenient(world, block_operations=20_000))
    assert (len(block.block.transactions), refused) == (2, [])
    with pytest.raises(InvalidInput) as caught:
        execute(world.tip, world, block.block, world.repeated)
    assert caught.value.field == "block"


def test_a_block_of_more_bytes_than_the_parameters_allow_is_refused() -> None:
    size = len(bulk(World(), 0, 1).encoded)
    world = World(block_bytes=2 * size - 1, transaction_bytes=size)
    transactions = [bulk(world, 10, 1), bulk(world, 20, 1)]
    block, refused = proposal(world, transactions, Lenient(world, block_bytes=4 * 2**20))
    assert (len(block.block.transactions), refused) == (2, [])
    with pytest.raises(InvalidInput) as caught:
        execute(world.tip, world, block.block, world.repeated)
    assert caught.value.field == "block"


def test_the_state_of_genesis_is_its_records() -> None:
    world = World(2)
    genesis = world.network.genesis
    assert State(world).parameters == genesis.parameters
    assert State(world).validators == genesis.validators
    assert isinstance(State(world).parameters, Parameters)
    for member in genesis.members:
        assert State(world).member(member.did) == member.record()
    assert genesis.state_map().root == world.tip.state_map.root
    assert world.tip.digest == world.network.id
