"""Mailbox requests: one encoding, a signature over every field, and over what the request is for."""

from __future__ import annotations

import tracemalloc
from dataclasses import fields
from typing import Any

import msgpack
import pytest

from credchain.certificates import Millis
from credchain.encoding import encode
from credchain.errors import InvalidInput
from credchain.limits import LIMITS
from credchain.mailbox import (
    ACKNOWLEDGE,
    COLLECT,
    DEPOSIT,
    Item,
    Request,
    decode_request,
    sign_request,
)
from tests.ledger_world import IDENTITY_ISSUER, START, did, signing_key, some_digest
from tests.values import replace, wire

PURPOSES = (DEPOSIT, COLLECT, ACKNOWLEDGE)
ITEM = Item(did("Elena"), "cme_credit", some_digest("subject"), some_digest("attestation"), b"sealed")
SIGNER = signing_key(IDENTITY_ISSUER)


def make(purpose: str = DEPOSIT) -> Request:
    return sign_request(
        purpose,
        some_digest("network"),
        did(IDENTITY_ISSUER),
        SIGNER,
        START,
        items=(ITEM,),
        attestations=(some_digest("a"), some_digest("b")),
    )


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_request_comes_back(purpose: str) -> None:
    request = make(purpose)
    found = decode_request(purpose, request.encode())
    assert found == request
    assert found.signature_holds()


def test_a_request_for_one_purpose_is_none_for_another() -> None:
    """A collection that was overheard does not acknowledge."""
    for made in PURPOSES:
        for read in PURPOSES:
            assert decode_request(read, make(made).encode()).signature_holds() is (made == read)


def test_the_signature_covers_every_field() -> None:
    others: dict[str, Any] = {
        "purpose": COLLECT,
        "network": some_digest("x"),
        "member": did("x"),
        "key": signing_key("x").public,
        "time": Millis(START + 1),
        "items": (),
        "attestations": (),
        "signature": bytes(64),
    }
    assert set(others) == {each.name for each in fields(Request)}
    for name, value in others.items():
        assert not replace(make(), **{name: value}).signature_holds(), name
    items: dict[str, Any] = {
        "recipient": did("x"),
        "category": "x",
        "subject": some_digest("x"),
        "attestation": some_digest("x"),
        "sealed": b"x",
    }
    assert set(items) == set(Item.__struct_fields__)
    for name, value in items.items():
        assert not replace(make(), items=(replace(ITEM, **{name: value}),)).signature_holds(), name


def test_every_byte_flipped_cut_or_doubled() -> None:
    request = make()
    data = bytearray(request.encode())
    for index in range(len(data)):
        for bit in (1, 0x80):
            data[index] ^= bit
            try:
                found = decode_request(DEPOSIT, bytes(data))
            except InvalidInput:
                pass
            else:
                assert not found.signature_holds(), index
            data[index] ^= bit
        with pytest.raises(InvalidInput):
            decode_request(DEPOSIT, bytes(data[:index]))
    with pytest.raises(InvalidInput):
        decode_request(DEPOSIT, bytes(data) * 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"time": None},
        {"time": True},
        {"network": b"x"},
        {"member": "somebody"},
        {"key": b"x"},
        {"items": [{}]},
        {"items": [{**wire(ITEM), "more": 1}]},
        {"items": [{**wire(ITEM), "sealed": bytes(LIMITS.sealed_bytes + 1)}]},
        {"items": [{**wire(ITEM), "category": "c" * 65}]},
        {"attestations": [b"x"]},
        {"attestations": ["x" * 32]},
        {"attestations": [bytes(32)] * (LIMITS.documents_per_deposit + 1)},
    ],
)
def test_what_is_no_request(changes: dict[str, Any]) -> None:
    outer = msgpack.unpackb(make().encode())
    body = {**msgpack.unpackb(outer["body"]), **changes}
    signed = {**outer, "body": encode({name: each for name, each in body.items() if each is not None})}
    with pytest.raises(InvalidInput):
        decode_request(DEPOSIT, encode(signed))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x91" * 5_000, b"\xdd\xff\xff\xff\xff", b"{}"])
def test_bombs_and_nothing(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode_request(COLLECT, data)
    with pytest.raises(InvalidInput):
        decode_request(COLLECT, encode({"body": data, "signature": bytes(64)}))


def test_a_large_body_is_refused_at_its_first_wrong_value() -> None:
    """A stranger's bytes: nothing is built of the 8 MiB but what the first wrong value took."""
    for part in (encode({"a": 1}), b"\x80", b"\xc0", b"\xa1x", b"\x90"):
        body = b"\x81\xa5items\xdd" + (2_000_000).to_bytes(4, "big") + part * 2_000_000
        data = encode({"body": body[: LIMITS.message_bytes - 200], "signature": bytes(64)})
        tracemalloc.start()
        with pytest.raises(InvalidInput):
            decode_request(COLLECT, data)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 3 * LIMITS.message_bytes
