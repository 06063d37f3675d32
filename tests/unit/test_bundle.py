"""The bundle as bytes: one encoding, sealed for one, and never more memory than its bound."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from typing import Any

import msgpack
import pytest

from credchain import keys
from credchain.certificates import Millis
from credchain.encoding import encode
from credchain.errors import InvalidInput
from credchain.limits import DAY, LIMITS
from credchain.verification import bundle as bundle_module
from credchain.verification.bundle import (
    MAGIC,
    Bundle,
    BundleBody,
    ScopeEntry,
    decompress,
    open_bundle,
)
from tests.ledger_world import HOSPITAL, START, Person, World, box_key, did, npi, some_digest
from tests.values import replace, wire

ELENA = Person("Elena's wallet", npi(1))
KEY = box_key(HOSPITAL)


def make() -> Bundle:
    world = World()
    identity = world.enroll(ELENA).credential
    board = world.attest_to(ELENA, "board_certification").credential
    body = BundleBody(
        network=world.network.id,
        holder=ELENA.did,
        key=ELENA.signer.public,
        npi=ELENA.npi,
        audience=did(HOSPITAL),
        purpose="reappointment",
        scope=(ScopeEntry("board_certification", ("board",)), ScopeEntry("cme_credit")),
        issued=START,
        expires=Millis(START + DAY),
        identity=identity.text,
        credentials=(board.text,),
        openings=(ELENA.subjects.open("cme_credit"),),
    )
    evidence = world.evidence([("identity", ELENA.subject("identity"))], [ELENA.did])
    return Bundle.sign(body, ELENA.signer, evidence)


BUNDLE = make()
DATA = BUNDLE.encode()


def changed(*path: str, **changes: Any) -> bytes:
    """The bundle's content with fields of one of its maps set, or dropped where None."""
    content = msgpack.unpackb(DATA)
    inner = content
    for name in path:
        inner = inner[name]
    for name, value in changes.items():
        inner[name] = value
        if value is None:
            del inner[name]
    return encode(content)


def sealed(content: bytes) -> bytes:
    return MAGIC + keys.seal(content, KEY.public)


def test_a_bundle_comes_back() -> None:
    opened = open_bundle(BUNDLE.seal(KEY.public), KEY)
    assert opened == DATA
    assert Bundle.decode(opened) == BUNDLE
    assert BUNDLE.signature_holds()


def test_two_seals_of_one_bundle_differ() -> None:
    assert BUNDLE.seal(KEY.public) != BUNDLE.seal(KEY.public)


def test_nothing_of_the_content_can_be_read_in_the_file() -> None:
    data = BUNDLE.seal(KEY.public)
    for secret in (ELENA.npi, ELENA.did, "Navarro", "board_certification", BUNDLE.body.identity[:40]):
        assert secret.encode() not in data


@pytest.mark.parametrize("grant", [None, some_digest("grant")])
def test_the_signature_covers_every_field_of_the_body(grant: Any) -> None:
    body = replace(BUNDLE.body, grant=grant)
    others: dict[str, Any] = {
        "network": some_digest("x"),
        "holder": did("x"),
        "key": b"x" * 32,
        "npi": npi(5),
        "audience": did("x"),
        "purpose": "x",
        "scope": (ScopeEntry("board_certification"),),
        "issued": Millis(1),
        "expires": Millis(1),
        "identity": "x",
        "credentials": (),
        "openings": (),
        "grant": some_digest("x"),
    }
    assert set(others) == set(BundleBody.__struct_fields__)
    digests = {replace(body, **{name: value}).digest for name, value in others.items()}
    assert len(digests | {body.digest}) == len(others) + 1


def test_cut_short_at_every_length() -> None:
    for length in range(len(DATA)):
        with pytest.raises(InvalidInput):
            Bundle.decode(DATA[:length])


def test_doubled_or_continued() -> None:
    for data in (DATA + DATA, DATA + b"\x00", b"\x00" + DATA):
        with pytest.raises(InvalidInput):
            Bundle.decode(data)


def test_every_byte_flipped_is_refused_or_another_bundle() -> None:
    data = bytearray(DATA)
    for index in range(len(data)):
        data[index] ^= 1 << (index % 8)
        try:
            found = Bundle.decode(bytes(data))
        except InvalidInput:
            pass
        else:
            assert found != BUNDLE
            assert found.encode() == bytes(data)
        data[index] ^= 1 << (index % 8)


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ((), {"more": 1}),
        ((), {"signature": None}),
        ((), {"signature": b"x" * 63}),
        ((), {"evidence": None}),
        (("body",), {"more": 1}),
        (("body",), {"network": b"x" * 31}),
        (("body",), {"npi": "1234567890"}),
        (("body",), {"npi": "x"}),
        (("body",), {"holder": "somebody"}),
        (("body",), {"audience": ""}),
        (("body",), {"issued": True}),
        (("body",), {"grant": b""}),
        (("body",), {"identity": "é~"}),
        (("body",), {"identity": "x" * (LIMITS.credential_bytes + 1)}),
        (("body",), {"credentials": ["a~"] * 2}),
        (("body",), {"credentials": ["é~"]}),
        (("body",), {"credentials": [1]}),
        (("body",), {"credentials": [f"{number}~" for number in range(LIMITS.bundle_credentials + 1)]}),
        (("body",), {"credentials": [BUNDLE.body.identity]}),
        (("body",), {"scope": [{"category": "b", "claims": []}, {"category": "a", "claims": []}]}),
        (("body",), {"scope": [{"category": "a", "claims": []}, {"category": "a", "claims": []}]}),
        (("body",), {"scope": [{"category": "a", "claims": ["b", "a"]}]}),
        (("body",), {"scope": [{"category": "a"}]}),
        (("body",), {"openings": [wire(BUNDLE.body.openings[0])] * 2}),
        (("body",), {"openings": [{**wire(BUNDLE.body.openings[0]), "index": 1}]}),
        (("evidence",), {"records": [{}]}),
        (("evidence",), {"header": b""}),
        (("evidence",), {"certificate": b"\x80"}),
        (("evidence",), {"documents": []}),
    ],
)
def test_what_is_no_bundle(path: tuple[str, ...], changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Bundle.decode(changed(*path, **changes))


def test_a_key_twice_or_in_another_order() -> None:
    content = msgpack.unpackb(DATA)
    reordered = msgpack.packb(dict(reversed(content.items())))
    twice = b"\x84" + DATA[1:] + b"\xa9signature" + msgpack.packb(BUNDLE.signature)
    for data in (reordered, twice, msgpack.packb(content, use_single_float=True)[:-1]):
        with pytest.raises(InvalidInput):
            Bundle.decode(data)


# The sealed file


@pytest.mark.parametrize(
    "data",
    [b"", MAGIC, MAGIC[:-1], b"{}", MAGIC + b"x", MAGIC + bytes(48), b"\n" + MAGIC, MAGIC.upper()],
)
def test_what_is_no_sealed_bundle(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        open_bundle(data, KEY)


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(InvalidInput, match="cannot open"):
        open_bundle(BUNDLE.seal(KEY.public), box_key("Second Hospital"))


def test_a_sealed_file_cut_short_or_doubled() -> None:
    data = BUNDLE.seal(KEY.public)
    for length in [*range(0, len(data), 97), len(data) - 1]:
        with pytest.raises(InvalidInput):
            open_bundle(data[:length], KEY)
    for other in (data + data, data + b"\x00", data + data[len(MAGIC) :]):
        with pytest.raises(InvalidInput):
            open_bundle(other, KEY)


def test_what_is_sealed_is_one_compressed_stream() -> None:
    packed = zlib.compress(DATA)
    for content in (DATA, b"", packed[:-1], packed[:-5], packed + packed, packed + b"x", b"x" + packed):
        with pytest.raises(InvalidInput):
            open_bundle(sealed(content), KEY)
    assert open_bundle(sealed(packed), KEY) == DATA


def peak_of_refusal(data: bytes, *, opened: bool = False) -> int:
    """Bytes that were allocated at most while this was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput):
            Bundle.decode(data) if opened else open_bundle(data, KEY)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_decompression_bomb() -> None:
    """256 MiB of zeros in some 260 kB."""
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(256)) + packer.flush()
    assert len(bomb) < LIMITS.bundle_bytes / 2
    assert peak_of_refusal(sealed(bomb)) < 8 * 2**20


def test_a_bomb_of_just_one_byte_too_many() -> None:
    with pytest.raises(InvalidInput):
        decompress(zlib.compress(bytes(LIMITS.bundle_bytes + 1)))
    assert decompress(zlib.compress(bytes(LIMITS.bundle_bytes - 1))) == bytes(LIMITS.bundle_bytes - 1)


def test_as_much_as_the_bound_allows() -> None:
    assert len(decompress(zlib.compress(bytes(LIMITS.bundle_bytes)))) == LIMITS.bundle_bytes


@pytest.mark.parametrize(
    "data",
    [
        b"\x91" * LIMITS.bundle_bytes,
        b"\x81\xa1a" * (LIMITS.bundle_bytes // 3),
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff" + b"\xa1a\x00" * 100,
        b"\xc6\xff\xff\xff\xff",
        b"\xdd" + (LIMITS.bundle_bytes - 5).to_bytes(4, "big") + b"\x80" * (LIMITS.bundle_bytes - 5),
        b"\xdd" + (LIMITS.bundle_bytes - 5).to_bytes(4, "big") + b"\x90" * (LIMITS.bundle_bytes - 5),
        b"\x91" * 500 + b"\x00",
        b"\x91" * 1_200 + b"\x00",
    ],
    ids=["lists", "maps", "long list", "long map", "long bytes", "empty maps", "empty lists", "500", "1200"],
)
def test_nesting_and_length_bombs(data: bytes) -> None:
    assert peak_of_refusal(data, opened=True) < 192 * 2**20


def test_the_content_is_bounded_too() -> None:
    with pytest.raises(InvalidInput):
        Bundle.decode(changed("body", identity="x" * LIMITS.bundle_bytes))


def test_nothing_of_a_bundle_is_json() -> None:
    with pytest.raises(InvalidInput):
        Bundle.decode(json.dumps({"body": {}}).encode())


def test_a_bundle_that_nobody_could_open_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "LIMITS", replace(LIMITS, bundle_bytes=len(DATA)))
    BUNDLE.seal(KEY.public)
    monkeypatch.setattr(bundle_module, "LIMITS", replace(LIMITS, bundle_bytes=len(DATA) - 1))
    with pytest.raises(InvalidInput, match="at most"):
        BUNDLE.seal(KEY.public)
