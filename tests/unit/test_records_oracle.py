"""Records as they are read, against the slow reading of old: accepted alike, and alike in value."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgpack
import pytest

from credchain.certificates import Certificate
from credchain.credentials.subjects import Opening
from credchain.encoding import decode_record
from credchain.errors import InvalidInput
from credchain.ledger.blocks import Header
from credchain.ledger.proofs import StateProof
from credchain.ledger.records import Dossier, Member
from credchain.verification.bundle import Bundle
from tests.unit import slow_records
from tests.unit.credential_helpers import samples
from tests.unit.test_bundle import BUNDLE

SAMPLES = {each.name: each.encoded for each in samples()}


def _opening(data: bytes) -> bytes:
    return decode_record(data, Opening, "opening").encode()


KINDS: dict[str, tuple[Callable[[bytes], bytes], slow_records.Read, bytes, int]] = {
    "member": (lambda data: Member.decode(data).encode(), slow_records.member, SAMPLES["member"], 2**23),
    "dossier": (lambda data: Dossier.decode(data).encode(), slow_records.dossier, SAMPLES["dossier"], 2**23),
    "header": (lambda data: Header.decode(data).encode(), slow_records.header, SAMPLES["header"], 4096),
    "certificate": (
        lambda data: Certificate.decode(data).encode(),
        slow_records.certificate,
        SAMPLES["certificate"],
        2**23,
    ),
    "proof": (
        lambda data: StateProof.decode(data).encode(),
        slow_records.proof,
        SAMPLES["state proof"],
        16 * 1024,
    ),
    "opening": (_opening, slow_records.opening, BUNDLE.body.openings[0].encode(), 2**23),
    "bundle": (lambda data: Bundle.decode(data).encode(), slow_records.bundle, BUNDLE.encode(), 2**20),
}
"""Reading and writing again, the oracle's reader, a sample, and the bound on its size."""

OTHER: list[Any] = [None, True, False, 0, 1, -1, 1.0, 0.5, 2**53 - 1, 2**53, 2**63, b"", b"x" * 32, b"x" * 64]
OTHER += ["", "x", "é", "e\u0301", "a\nb", "\u202e", "\U0001f600", "x" * 65, "x" * 5_000, [], {}, {"end": 1}]
OTHER += [["b", "a"], ["a", "b"], msgpack.Timestamp(1), msgpack.ExtType(5, b"x"), [[[[[[[[[[1]]]]]]]]]]]
NAMES = ["x", "end", "grant", "value", "name", "valid_until", "private_categories", "note", "erased", "\x1b"]


def pack(value: Any, random: Random, rate: float) -> bytes:
    """MessagePack in some form: with a fault every now and then, of value or of encoding."""
    if random.random() < rate:
        value = random.choice(OTHER)
    odd = random.random() < rate
    if isinstance(value, bool) or not isinstance(value, int | str | bytes | list | dict):
        packed: bytes = msgpack.packb(value)
        return packed
    if isinstance(value, int):
        long = odd and 0 <= value < 2**63
        return random.choice([b"\xcf", b"\xd3"]) + value.to_bytes(8, "big") if long else _packed(value)
    if isinstance(value, str | bytes):
        return _text(value, random, odd)
    if isinstance(value, list):
        plain = _packed([0] * len(value))
        head = b"\xdc" + len(value).to_bytes(2, "big") if odd else plain[: len(plain) - len(value)]
        return head + b"".join(pack(each, random, rate) for each in value)
    return _map(value, random, rate, odd)


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _text(value: str | bytes, random: Random, odd: bool) -> bytes:
    if not odd:
        return _packed(value)
    data = value.encode() if isinstance(value, str) else value
    if random.random() < 0.2:
        data += b"\xff"
    heads = [b"\xda", b"\xda", b"\xc5"] if isinstance(value, str) else [b"\xc5", b"\xc5", b"\xda"]
    return random.choice(heads) + len(data).to_bytes(2, "big") + data


def _map(value: dict[str, Any], random: Random, rate: float, odd: bool) -> bytes:
    pairs = [(_text(name, random, random.random() < rate / 4), each) for name, each in value.items()]
    if random.random() < rate:
        pairs.append(random.choice([*pairs, (_packed(random.choice(NAMES)), random.choice(OTHER))]))
    if pairs and random.random() < rate / 2:
        pairs.remove(random.choice(pairs))
    if random.random() < 0.8:
        pairs.sort(key=lambda pair: pair[0][1:])
    head = b"\xde" + len(pairs).to_bytes(2, "big") if odd else bytes([0x80 | len(pairs)])
    return head + b"".join(name + pack(each, random, rate) for name, each in pairs)


def flipped(data: bytes, random: Random) -> bytes:
    """The bytes with one changed, dropped or added."""
    at = random.randrange(len(data))
    return data[:at] + random.choice([b"", random.randbytes(1), random.randbytes(2)]) + data[at + 1 :]


def hostile(sample: bytes, random: Random) -> bytes:
    if random.random() < 0.3:
        return flipped(sample, random)
    value = msgpack.unpackb(sample)
    for name in ("header", "certificate"):
        if "evidence" in value and random.random() < 0.3:
            inner = msgpack.unpackb(value["evidence"][name])
            value["evidence"][name] = pack(inner, random, 0.02)
    return pack(value, random, random.choice([0.0, 0.01, 0.05]))


@pytest.mark.parametrize("kind", KINDS)
def test_records_are_accepted_as_they_were(kind: str) -> None:
    again, reader, sample, most = KINDS[kind]
    accepted = 0
    for seed in range(2_000):
        data = hostile(sample, Random(seed))
        try:
            slow_records.read(reader, data, kind, most)
            expected = True
        except InvalidInput:
            expected = False
        try:
            found = again(data) == data
        except InvalidInput as problem:
            assert problem.field, (seed, data)
            found = False
        assert found is expected, (seed, data)
        accepted += expected
    assert 20 < accepted < 1_980


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_is_wrong_is_named(kind: str) -> None:
    again, _, sample, _ = KINDS[kind]
    value = msgpack.unpackb(sample)
    for name in value:
        with pytest.raises(InvalidInput) as caught:
            again(msgpack.packb({**value, name: None}))
        assert name in caught.value.field


def test_a_key_that_stands_twice_is_named() -> None:
    name: bytes = msgpack.packb("view") + b"\x00"
    data = SAMPLES["certificate"].replace(b"\x82", b"\x83", 1) + name
    with pytest.raises(InvalidInput, match="view stands twice"):
        Certificate.decode(data)
