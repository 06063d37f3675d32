"""Transactions on the wire: one encoding, one signature, and an id that covers what is signed."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgpack
import pytest

from credchain.certificates import Millis
from credchain.errors import InvalidInput
from credchain.keys import PublicKey
from credchain.ledger.cards import MemberCard
from credchain.ledger.operations import (
    Attest,
    Enroll,
    Erase,
    Operation,
    SetStatus,
    attestation_id,
    note_digest,
)
from credchain.ledger.state import dossier_key
from credchain.ledger.transactions import Transaction
from tests.ledger_world import START, box_key, did, signing_key, some_digest
from tests.values import replace, wire

NETWORK = some_digest("network")
CARD = MemberCard(signing_key("Holder").public, box_key("Holder").public)

OPERATIONS: dict[str, Operation] = {
    "attest": Attest("state_license", some_digest("subject"), some_digest("credential"), START),
    "attest with all": Attest(
        "state_license",
        some_digest("subject"),
        some_digest("credential"),
        START,
        Millis(START + 999),
        some_digest("earlier"),
    ),
    "set_status": SetStatus("state_license", some_digest("subject"), some_digest("id"), "revoked", "fraud"),
    "set_status with note": SetStatus(
        "state_license",
        some_digest("subject"),
        some_digest("id"),
        "revoked",
        "fraud",
        some_digest("note"),
    ),
    "enroll": Enroll(CARD.encode(), CARD.sign(signing_key("Holder")), ("radiologist",)),
    "enroll with all": Enroll(CARD.encode(), bytes(64), ("issuer", "validator"), ("a", "b"), ("US-CA",)),
    "erase": Erase("state_license", some_digest("subject"), some_digest("id"), "data_error"),
}


def sign(*operations: Operation) -> Transaction:
    return Transaction.sign(NETWORK, did("Sender"), signing_key("Sender"), START, operations)


def fields(operation: Operation) -> dict[str, Any]:
    return wire(operation)


def envelope(body: Any, signature: bytes = bytes(64)) -> bytes:
    """A transaction of any body, as MessagePack writes maps with their keys sorted."""
    packed = body if isinstance(body, bytes) else pack(body)
    return pack({"body": packed, "signature": signature})


def pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(ordered(value), use_bin_type=True)
    return packed


def ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: ordered(value[name]) for name in sorted(value)}
    return [ordered(each) for each in value] if isinstance(value, list) else value


def body_of(transaction: Transaction) -> dict[str, Any]:
    body: dict[str, Any] = msgpack.unpackb(transaction.body)
    return body


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_comes_back_as_it_was(name: str) -> None:
    signed = sign(OPERATIONS[name], OPERATIONS["erase"])
    decoded = Transaction.decode(signed.encoded)
    assert decoded == signed
    assert decoded.operations == (OPERATIONS[name], OPERATIONS["erase"])
    assert (decoded.id, decoded.body, decoded.encoded) == (signed.id, signed.body, signed.encoded)
    assert decoded.signature_holds()


def test_the_id_is_the_digest_of_the_body_and_the_signature_is_over_it() -> None:
    signed = sign(OPERATIONS["attest"])
    assert signed.id == sha256(b"credchain/v1/transaction\x00" + signed.body).digest()
    assert signed.body == pack(body_of(signed))
    assert signed.signature == signing_key("Sender").sign(signed.id)
    assert signed.encoded == envelope(signed.body, signed.signature)
    assert replace(signed, signature=bytes(64)).id == signed.id


@pytest.mark.parametrize("length", [0, 1, 31, 32, 63, 64])
def test_ids_and_places_are_of_the_canonical_bytes_whatever_the_category(length: int) -> None:
    parts: dict[str, Any] = {
        "network": NETWORK,
        "issuer": did("Sender"),
        "category": "c" * length,
        "subject": some_digest("subject"),
        "credential": some_digest("credential"),
    }
    assert attestation_id(*parts.values()) == sha256(b"credchain/v1/attestation\x00" + pack(parts)).digest()
    named = ["dossier", parts["category"], parts["subject"]]
    place = dossier_key(parts["category"], parts["subject"])
    assert place.key == sha256(b"credchain/v1/state-key\x00" + pack(named)).digest()
    assert [place.kind, *place.parts] == named


def test_an_attestations_id_covers_network_issuer_category_subject_and_credential() -> None:
    parts: dict[str, Any] = {
        "network": NETWORK,
        "issuer": did("Sender"),
        "category": "state_license",
        "subject": some_digest("subject"),
        "credential": some_digest("credential"),
    }
    expected = sha256(b"credchain/v1/attestation\x00" + pack(parts)).digest()
    assert attestation_id(*parts.values()) == expected
    others: dict[str, Any] = {
        **dict.fromkeys(("network", "subject", "credential"), some_digest("other")),
        "issuer": did("Other"),
        "category": "identity",
    }
    found = {attestation_id(*{**parts, name: other}.values()) for name, other in others.items()}
    assert len(found | {expected}) == 6


def test_a_note_is_salted() -> None:
    salt = b"0123456789abcdef"
    assert (
        note_digest(salt, "text")
        == sha256(b"credchain/v1/note\x00" + pack({"salt": salt, "text": "text"})).digest()
    )
    assert len({note_digest(salt, "text"), note_digest(salt[::-1], "text"), note_digest(salt, "t")}) == 3


CHANGES: dict[str, Callable[[Transaction], Transaction]] = {
    "network": lambda each: replace(each, network=some_digest("other")),
    "sender": lambda each: replace(each, sender=did("Other")),
    "key": lambda each: replace(each, key=signing_key("Other").public),
    "expiry": lambda each: replace(each, expiry=Millis(each.expiry + 1)),
    "an operation more": lambda each: replace(each, operations=each.operations * 2),
    "another operation": lambda each: replace(each, operations=(OPERATIONS["erase"],)),
    "the signature": lambda each: replace(each, signature=each.signature[::-1]),
    "no signature": lambda each: replace(each, signature=b""),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_signature_covers_every_field(name: str) -> None:
    signed = sign(OPERATIONS["attest"])
    changed = CHANGES[name](signed)
    assert signed.signature_holds()
    assert not changed.signature_holds()
    assert (changed.id == signed.id) == ("signature" in name)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_signature_covers_every_field_of_an_operation(name: str) -> None:
    operation = OPERATIONS[name]
    signed = sign(operation)
    for field, value in fields(operation).items():
        if field == "op":
            continue
        body = body_of(signed)
        if isinstance(value, bytes):
            other: Any = value[:-1] + bytes([value[-1] ^ 1])
        elif isinstance(value, int):
            other = value + 1
        else:
            other = value + "x" if isinstance(value, str) else [*value, "zz"]
        body["operations"][0][field] = other
        changed = Transaction.decode(envelope(body, signed.signature))
        assert changed.id != signed.id, field
        assert not changed.signature_holds(), field


def test_no_byte_of_a_transaction_can_change() -> None:
    honest = sign(OPERATIONS["attest with all"], OPERATIONS["erase"]).encoded
    for at in range(len(honest)):
        for mask in (0x01, 0x20, 0x80, 0xFF):
            changed = honest[:at] + bytes([honest[at] ^ mask]) + honest[at + 1 :]
            try:
                decoded = Transaction.decode(changed)
            except InvalidInput:
                continue
            assert not decoded.signature_holds(), at


def with_operation(**changed: Any) -> dict[str, Any]:
    body = body_of(sign(OPERATIONS["attest with all"]))
    body["operations"][0].update(changed)
    return body


def without(name: str) -> dict[str, Any]:
    body = body_of(sign(OPERATIONS["attest with all"]))
    del body["operations"][0][name]
    return body


def with_field(**changed: Any) -> dict[str, Any]:
    return {**body_of(sign(OPERATIONS["attest"])), **changed}


MALFORMED: dict[str, bytes] = {
    "no bytes": b"",
    "not MessagePack": b"\xc1",
    "cut short": sign(OPERATIONS["attest"]).encoded[:-1],
    "a byte more": sign(OPERATIONS["attest"]).encoded + b"\x00",
    "a list": pack([1]),
    "no signature": pack({"body": sign(OPERATIONS["attest"]).body}),
    "a short signature": envelope(sign(OPERATIONS["attest"]).body, bytes(63)),
    "an unknown part": pack({"body": b"", "signature": bytes(64), "x": 1}),
    "a body that is a list": envelope([]),
    "an unknown field": envelope(with_field(extra=1)),
    "no operations": envelope(with_field(operations=[])),
    "operations in a map": envelope(with_field(operations={})),
    "a negative expiry": envelope(with_field(expiry=-1)),
    "an expiry too large": envelope(with_field(expiry=2**53)),
    "a float for an expiry": envelope(with_field(expiry=1.0)),
    "true for an expiry": envelope(with_field(expiry=True)),
    "nil for an expiry": envelope(with_field(expiry=None)),
    "a short network": envelope(with_field(network=bytes(31))),
    "text for a network": envelope(with_field(network="0" * 32)),
    "a sender that is no DID": envelope(with_field(sender="did:web:example.org")),
    "a short key": envelope(with_field(key=bytes(31))),
    "an unknown operation": envelope(with_operation(op="amend")),
    "an operation that is text": envelope(with_field(operations=["attest"])),
    "an unknown field of an operation": envelope(with_operation(extra=1)),
    "a field of another operation": envelope(with_operation(status="active")),
    "a short subject": envelope(with_operation(subject=bytes(31))),
    "a long category": envelope(with_operation(category="a" * 65)),
    "a category with a control character": envelope(with_operation(category="a\x00")),
    "nil for an optional field": envelope(with_operation(renews=None)),
    "no subject": envelope(without("subject")),
    "no name of the operation": envelope(without("op")),
    "keys out of order": envelope(msgpack.packb(dict(reversed(body_of(sign(OPERATIONS["attest"])).items())))),
    "1001 operations": envelope(
        with_field(operations=[fields(OPERATIONS["erase"])] * 1001),
    ),
    "roles out of order": envelope(
        with_field(operations=[{**fields(OPERATIONS["enroll with all"]), "roles": ["b", "a"]}])
    ),
    "a role twice": envelope(
        with_field(operations=[{**fields(OPERATIONS["enroll with all"]), "roles": ["a", "a"]}])
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_transactions_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        Transaction.decode(MALFORMED[name])


def test_the_malformed_ones_differ_from_a_good_one_in_their_fault_only() -> None:
    good = [
        sign(OPERATIONS["attest"]).encoded,
        envelope(with_field()),
        envelope(with_operation()),
        envelope(with_field(operations=[fields(OPERATIONS["erase"])] * 1000)),
        envelope(with_field(operations=[fields(OPERATIONS["enroll with all"])])),
        envelope(with_operation(category="a" * 64)),
    ]
    assert [len(Transaction.decode(each).operations) for each in good] == [1, 1, 1, 1000, 1, 1]


def test_long_form_integers_are_refused() -> None:
    signed = sign(OPERATIONS["attest"])
    short = replace(signed, expiry=Millis(5))
    at = short.body.index(b"expiry") + len(b"expiry")
    assert short.body[at] == 5
    stretched = short.body[:at] + b"\xcc\x05" + short.body[at + 1 :]
    assert Transaction.decode(envelope(short.body)).expiry == 5
    with pytest.raises(InvalidInput):
        Transaction.decode(envelope(stretched))


def test_duplicate_keys_are_refused() -> None:
    body = sign(OPERATIONS["attest"]).body
    count = body[0] & 0x0F
    doubled = bytes([0x80 | (count + 1)]) + body[1:] + pack("expiry") + pack(5)
    with pytest.raises(InvalidInput):
        Transaction.decode(envelope(doubled))


def test_a_key_of_a_small_subgroup_signs_nothing() -> None:
    """The neutral element as a key would make one signature hold over every message."""
    neutral = PublicKey(b"\x01" + bytes(31))
    for signature in (neutral + bytes(32), bytes(64)):
        forged = replace(sign(OPERATIONS["attest"]), key=neutral, signature=signature)
        assert not forged.signature_holds()
