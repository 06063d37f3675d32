"""Headers, certificates and receipts: what a quorum signed, and that it signed every field."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgpack
import pytest

from credchain import merkle
from credchain.certificates import Certificate, Height, Millis, View, certify, commit_digest, quorum
from credchain.encoding import Digest
from credchain.errors import InvalidInput, ProofError
from credchain.ledger.blocks import Block, CertifiedHeader, Header, Receipt, transactions_root
from credchain.ledger.operations import Attest
from tests.ledger_world import BOARD, START, World, did, signing_key, some_digest, with_field
from tests.values import replace, wire


@pytest.fixture(scope="module")
def world() -> World:
    """Four validators, three blocks, the last with five transactions."""
    made = World(4)
    made.commit()
    made.commit()
    made.commit([transaction(made, number) for number in range(5)])
    return made


def transaction(world: World, number: int) -> Any:
    operation = Attest("board_certification", some_digest(f"s{number}"), some_digest("c"), START)
    return world.transaction(BOARD, operation)


def check(world: World, certified: CertifiedHeader) -> None:
    certified.check(world.network.validators, world.network.id)


def assert_refused(world: World, certified: CertifiedHeader) -> ProofError:
    with pytest.raises(ProofError) as caught:
        check(world, certified)
    assert caught.value.check == 2
    return caught.value


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bytes):
        return Digest(value[:-1] + bytes([value[-1] ^ 1]))
    return value + 1 if isinstance(value, int) else did("Somebody else")


def test_a_header_is_signed_as_documented(world: World) -> None:
    header = world.certified.header
    names = {name: getattr(header, name) for name in Header.__struct_fields__}
    encoded = msgpack.packb(dict(sorted({"version": 1, **names}.items())))
    assert header.encoded == encoded
    assert header.digest == sha256(b"credchain/v1/header\x00" + encoded).digest()
    signed = {"header": header.digest, "height": 3, "network": world.network.id, "view": 0}
    commit = sha256(b"credchain/v1/commit\x00" + msgpack.packb(signed)).digest()
    assert commit_digest(world.network.id, Height(3), View(0), header.digest) == commit
    signatures = dict(world.certified.certificate.signatures)
    assert signatures == {index: key.sign(commit) for index, key in enumerate(world.validator_keys())}
    assert Header.decode(header.encoded) == header
    check(world, world.certified)


@pytest.mark.parametrize("name", Header.__struct_fields__)
def test_a_certificate_covers_every_field_of_the_header(world: World, name: str) -> None:
    header = world.certified.header
    changed = with_field(header, name, other(getattr(header, name)))
    assert changed.digest != header.digest
    assert_refused(world, CertifiedHeader(changed, world.certified.certificate))


@pytest.mark.parametrize("name", ["network", "validators"])
def test_a_header_of_another_network_is_refused_however_well_signed(world: World, name: str) -> None:
    header = with_field(world.certified.header, name, some_digest("other"))
    signed = world.certify(Block(header, ()))
    assert assert_refused(world, signed).field == f"header.{name}"


def test_a_certificate_is_of_its_network_height_view_and_header(world: World) -> None:
    header = world.certified.header
    right = (world.network.id, header.height, View(0), header.digest)
    wrong: tuple[Any, ...] = (some_digest("other"), Height(4), View(1), some_digest("header"))
    for place in range(4):
        parts: Any = (*right[:place], wrong[place], *right[place + 1 :])
        signatures = tuple(
            (index, key.sign(commit_digest(*parts))) for index, key in enumerate(world.validator_keys())
        )
        assert_refused(world, CertifiedHeader(header, Certificate(View(0), signatures)))


@pytest.mark.parametrize(("validators", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (7, 5)])
def test_a_quorum_is_needed_and_enough(validators: int, needed: int) -> None:
    """q = ceil((n+f+1)/2), f = (n-1)//3 (DESIGN, section 7)."""
    assert quorum(validators) == needed == -(-(validators + (validators - 1) // 3 + 1) // 2)
    world = World(validators)
    block = world.commit().block
    for count in range(validators + 1):
        for first in range(validators - count + 1):
            signed = world.certify(block, range(first, first + count))
            if count >= needed:
                check(world, signed)
            else:
                assert_refused(world, signed)


def test_a_certificate_of_a_later_view_holds_one_of_an_earlier_does_not(world: World) -> None:
    header = replace(world.certified.header, view=View(2))
    for view, holds in ((1, False), (2, True), (3, True), (2**40, True)):
        signed = world.certify(Block(header, ()), view=view)
        if holds:
            check(world, signed)
        else:
            assert assert_refused(world, signed).field == "certificate.view"


Change = Callable[[tuple[tuple[int, bytes], ...]], tuple[tuple[int, bytes], ...]]

CHANGES: dict[str, Change] = {
    "none": lambda each: (),
    "two of four": lambda each: each[:2],
    "one doubled to make three": lambda each: (each[0], each[0], each[0]),
    "two and one doubled": lambda each: (each[0], each[1], each[1]),
    "one under other names": lambda each: tuple((index, each[0][1]) for index in range(3)),
    "a validator that is not": lambda each: (*each[:3], (4, each[3][1])),
    "two exchanged": lambda each: ((0, each[1][1]), (1, each[0][1]), *each[2:]),
    "one of nothing": lambda each: (*each[:3], (3, bytes(64))),
    "one of 63 bytes": lambda each: (*each[:3], (3, each[3][1][:63])),
    "one from the end": lambda each: (*each[:2], (-1, each[3][1]), (3, each[3][1])),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_forged_certificate_is_refused(world: World, name: str) -> None:
    """As a value too, which consensus makes without reading bytes: it cannot be made, or does not hold."""
    forged = CHANGES[name](world.certified.certificate.signatures)
    with pytest.raises((InvalidInput, ProofError)):
        check(world, CertifiedHeader(world.certified.header, Certificate(View(0), forged)))


@pytest.mark.parametrize(
    "name",
    [
        "one doubled to make three",
        "two and one doubled",
        "one of 63 bytes",
        "one from the end",
    ],
)
def test_certificates_that_cannot_be_read(world: World, name: str) -> None:
    forged = CHANGES[name](world.certified.certificate.signatures)
    with pytest.raises(InvalidInput):
        Certificate.decode(certificate_bytes(forged))


def certificate_bytes(signatures: tuple[tuple[int, bytes], ...]) -> bytes:
    listed = [{"signature": each, "validator": index} for index, each in signatures]
    packed: bytes = msgpack.packb({"signatures": listed, "view": 0})
    return packed


def test_a_strangers_signature_is_refused(world: World) -> None:
    header = world.certified.header
    stranger = certify(world.network.id, header.height, View(0), header.digest, signing_key("Stranger"))
    forged = Certificate(View(0), tuple((index, stranger) for index in range(4)))
    assert_refused(world, CertifiedHeader(header, forged))


def test_a_certificate_comes_back_as_it_was_and_in_order_only(world: World) -> None:
    certificate = world.certified.certificate
    assert Certificate.decode(certificate.encode()) == certificate
    assert certificate.encode() == certificate_bytes(certificate.signatures)
    with pytest.raises(InvalidInput):
        Certificate.decode(certificate_bytes(certificate.signatures[::-1]))


def header_fields(world: World, **changed: Any) -> bytes:
    packed: bytes = msgpack.packb(dict(sorted({**wire(world.certified.header), **changed}.items())))
    return packed


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 0},
        {"version": 2},
        {"height": 0},
        {"height": -1},
        {"height": True},
        {"time": 1.5},
        {"time": 2**53},
        {"view": -1},
        {"parent": bytes(31)},
        {"proposer": "did:key:z6Mk"},
        {"state_root": None},
        {"transaction_count": "5"},
        {"extra": 1},
    ],
)
def test_malformed_headers_are_refused(world: World, changed: dict[str, Any]) -> None:
    assert Header.decode(header_fields(world)) == world.certified.header
    with pytest.raises(InvalidInput):
        Header.decode(header_fields(world, **changed))


def test_a_block_comes_back_as_it_was() -> None:
    world = World()
    block = world.commit([transaction(world, number) for number in range(3)]).block
    assert Block.decode(block.encoded) == block
    assert Block.decode(block.encoded).encoded == block.encoded
    assert len({each.encoded for each in block.transactions}) == 3


def test_malformed_blocks_are_refused(world: World) -> None:
    header = world.certified.header.encoded
    for value in (
        {"header": header},
        {"header": header, "transactions": [1]},
        {"header": header, "transactions": ["text"]},
        {"header": header, "transactions": [b"\xc1"]},
        {"header": b"", "transactions": []},
        {"header": header, "transactions": [], "x": 1},
    ):
        with pytest.raises(InvalidInput):
            Block.decode(msgpack.packb(value))


def test_the_transactions_root_covers_order_and_signatures(world: World) -> None:
    one, two = transaction(world, 1), transaction(world, 2)
    unsigned = replace(one, signature=bytes(64))
    roots = [
        transactions_root(each) for each in ((one, two), (two, one), (unsigned, two), (one,), (), (one, one))
    ]
    assert len(set(roots)) == len(roots)


def receipts() -> tuple[World, list[bytes], list[Receipt]]:
    world = World(4)
    block = world.commit([transaction(world, number) for number in range(5)]).block
    wire = [each.encoded for each in block.transactions]
    leaves = [merkle.leaf(each) for each in wire]
    made = [Receipt(world.certified, index, merkle.path(leaves, index)) for index in range(5)]
    return world, wire, made


def test_a_receipt_shows_its_transaction_and_no_other() -> None:
    world, wire, made = receipts()
    for index, receipt in enumerate(made):
        decoded = Receipt.decode(receipt.encode())
        assert decoded == receipt
        for place, each in enumerate(wire):
            if place == index:
                decoded.check(each, world.network.validators, world.network.id)
            else:
                with pytest.raises(ProofError):
                    decoded.check(each, world.network.validators, world.network.id)


def test_a_receipt_needs_its_certificate_network_and_place() -> None:
    world, wire, made = receipts()
    elsewhere = World(1)
    elsewhere.commit()
    forged = [
        replace(made[0], certified=world.certify(world_block(world), [0, 1])),
        replace(made[0], certified=elsewhere.certified),
        replace(made[0], index=1),
        replace(made[0], index=5),
        replace(made[0], path=made[0].path[:-1]),
        replace(made[0], path=made[1].path),
    ]
    for each in forged:
        with pytest.raises(ProofError):
            each.check(wire[0], world.network.validators, world.network.id)
    with pytest.raises(ProofError):
        made[0].check(wire[0], elsewhere.network.validators, elsewhere.network.id)
    with pytest.raises(ProofError):
        made[0].check(wire[0] + b"\x00", world.network.validators, world.network.id)


def world_block(world: World) -> Block:
    return Block(world.certified.header, ())


def test_no_byte_of_a_receipt_can_change() -> None:
    world, wire, made = receipts()
    honest = made[2].encode()
    for at in range(len(honest)):
        changed = honest[:at] + bytes([honest[at] ^ 0x41]) + honest[at + 1 :]
        with pytest.raises((InvalidInput, ProofError)):
            Receipt.decode(changed).check(wire[2], world.network.validators, world.network.id)


def test_the_parent_of_the_first_block_is_the_network() -> None:
    world = World()
    first, second = world.commit().block.header, world.commit().block.header
    assert (first.height, first.parent) == (1, world.network.id)
    assert (second.height, second.parent) == (2, first.digest)
    assert second.time > first.time > Millis(START)
