"""Ed25519 and X25519 against RFC 8032 and the did:key method's vectors, and hostile keys."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from credchain.errors import InvalidInput
from credchain.keys import (
    BoxKey,
    EncryptionKey,
    PublicKey,
    SigningKey,
    check_did,
    did_of,
    key_of,
    seal,
    verify,
)
from tests.unit.credential_helpers import HOSTILE, signer, vectors

SPEC_DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
"""The example that the did:key method specification and the DID core documents use."""

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

ORDER = 2**252 + 27742317777372353535851937790883648493
"""L, the order of the base point (RFC 8032, section 5.1)."""


def base58_decode(text: str, length: int) -> bytes:
    """Base58btc by its definition, as a check on the library."""
    number = 0
    for character in text:
        number = number * 58 + ALPHABET.index(character)
    return number.to_bytes(length, "big")


def base58_encode(data: bytes) -> str:
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\x00"))) + text


CASES = vectors("ed25519.json")


@pytest.mark.parametrize("case", CASES["signing"], ids=lambda case: case["name"])
def test_signatures_are_those_of_rfc_8032(case: dict[str, str]) -> None:
    key = SigningKey.from_seed(bytes.fromhex(case["seed"]))
    message, signature = bytes.fromhex(case["message"]), bytes.fromhex(case["signature"])
    assert key.public.hex() == case["public"]
    assert key.sign(message) == signature
    assert verify(key.public, message, signature)


@pytest.mark.parametrize("case", CASES["verifying"], ids=lambda case: case["name"])
def test_the_one_verifier_says_what_the_vectors_say(case: dict[str, str | bool]) -> None:
    public, message, signature = (
        bytes.fromhex(str(case[part])) for part in ("public", "message", "signature")
    )
    assert verify(public, message, signature) is case["valid"]


def test_s_plus_l_is_no_second_signature() -> None:
    """RFC 8032, 5.1.7: S must be below L, or anybody could make a second signature of a first one."""
    key = signer(1)
    signature = key.sign(b"message")
    scalar = int.from_bytes(signature[32:], "little")
    for multiple in range(1, 16):
        if scalar + multiple * ORDER < 2**256:
            twin = signature[:32] + (scalar + multiple * ORDER).to_bytes(32, "little")
            assert not verify(key.public, b"message", twin)


def small_order_points() -> list[bytes]:
    """Encodings of the points whose order divides 8, among them the non-canonical ones (y + p)."""
    prime = 2**255 - 19
    eighth = [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ]
    ys = [0, 1, prime - 1, prime, prime + 1, *(int.from_bytes(bytes.fromhex(y), "little") for y in eighth)]
    return [(y + sign * 2**255).to_bytes(32, "little") for y in ys for sign in (0, 1)]


def test_keys_of_small_order_verify_nothing() -> None:
    """With A and R of small order and S = 0, a careless verifier accepts one signature for any message."""
    points = small_order_points()
    assert len(set(points)) == 14
    for public in points:
        for commitment in points:
            for message in (b"", b"a", b"b", b"c"):
                assert not verify(public, message, commitment + bytes(32))


def test_wrong_lengths_verify_nothing_and_raise_nothing() -> None:
    key = signer(1)
    signature = key.sign(b"message")
    assert verify(key.public, b"message", signature)
    for length in (0, 1, 31, 33, 64):
        assert not verify((key.public * 2)[:length], b"message", signature)
    for length in (0, 1, 32, 63, 65, 128):
        assert not verify(key.public, b"message", (signature * 2)[:length])


@HOSTILE
@given(st.binary(max_size=70), st.binary(max_size=20), st.binary(max_size=70))
def test_random_signatures_verify_nothing_and_raise_nothing(
    public: bytes, message: bytes, signed: bytes
) -> None:
    assert verify(public, message, signed) is False


def test_a_signature_is_of_one_message_and_one_key() -> None:
    key, other = signer(1), signer(2)
    signature = key.sign(b"message")
    assert not verify(other.public, b"message", signature)
    for message in (b"", b"messag", b"message\x00", b"Message"):
        assert not verify(key.public, message, signature)
    for place in range(64):
        changed = bytearray(signature)
        changed[place] ^= 1
        assert not verify(key.public, b"message", bytes(changed))


@HOSTILE
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_signatures_are_those_of_another_implementation(seed: bytes, message: bytes) -> None:
    other = Ed25519PrivateKey.from_private_bytes(seed)
    key = SigningKey.from_seed(seed)
    assert key.public == other.public_key().public_bytes_raw()
    assert key.sign(message) == other.sign(message)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length: int) -> None:
    for kind in (SigningKey, BoxKey):
        with pytest.raises(ValueError, match="seed"):
            kind.from_seed(bytes(length))


@pytest.mark.parametrize("kind", [SigningKey, BoxKey])
def test_a_key_shows_nothing_secret(kind: type[SigningKey] | type[BoxKey]) -> None:
    key = kind.from_seed(bytes(range(32)))
    for shown in (repr(key), str(key), f"{key}", f"{[key]}", f"{key!r:>200}"):
        for secret in (key.secret, bytes(range(32))):
            assert repr(secret)[2:-1] not in shown
            assert secret.hex()[:8] not in shown
        assert key.public.hex()[:16] in shown


def test_the_published_did_decodes_to_its_key_and_back() -> None:
    assert len(SPEC_DID) == 56
    decoded = base58_decode(SPEC_DID.removeprefix("did:key:z"), 34)
    assert decoded[:2] == b"\xed\x01"  # multicodec ed25519-pub, as an unsigned varint
    assert key_of(SPEC_DID) == decoded[2:]
    assert did_of(PublicKey(decoded[2:])) == SPEC_DID


@pytest.mark.parametrize(
    ("seed", "did"),
    [
        (bytes(32), "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
        (bytes(31) + b"\x01", "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"),
        (bytes(31) + b"\x02", "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"),
        (bytes(31) + b"\x03", "did:key:z6MkvqoYXQfDDJRv8L4wKzxYeuKyVZBfi9Qo6Ro8MiLH3kDQ"),
        (bytes(31) + b"\x04", "did:key:z6MkwW6aqMnjgrhJXFUko3NnZPGzVpkNzhYK7yEhnsibmLwL"),
    ],
)
def test_dids_are_those_of_the_methods_test_vectors(seed: bytes, did: str) -> None:
    """w3c-ccg/did-method-key, test-vectors/ed25519-x25519.json."""
    key = SigningKey.from_seed(seed)
    assert did_of(key.public) == did
    assert key_of(did) == key.public
    assert check_did(did) == did


@HOSTILE
@given(st.binary(min_size=32, max_size=32))
def test_every_key_has_one_did_of_56_characters(public: bytes) -> None:
    did = did_of(PublicKey(public))
    assert did == "did:key:z" + base58_encode(b"\xed\x01" + public)
    assert len(did) == 56
    assert key_of(did) == public


GOOD = SPEC_DID
BAD_DIDS = {
    "empty": "",
    "another method": GOOD.replace("did:key", "did:web"),
    "another multibase": GOOD.replace(":z6", ":u6"),
    "upper case": GOOD.upper(),
    "a fragment": GOOD + "#" + GOOD[8:],
    "a space after": GOOD + " ",
    "a space before": " " + GOOD,
    "a line end": GOOD + "\n",
    "a space for the last character": GOOD[:-1] + " ",
    "a line end for the last character": GOOD[:-1] + "\n",
    "one character short": GOOD[:-1],
    "one character more": GOOD + "1",
    "a leading one": GOOD.replace(":z", ":z1")[:56],
    "zero, which base58 lacks": GOOD[:-1] + "0",
    "O, which base58 lacks": GOOD[:-1] + "O",
    "l, which base58 lacks": GOOD[:-1] + "l",
    "a Cyrillic letter": GOOD[:-1] + "К",
    "half a surrogate pair": GOOD[:-1] + "\ud800",
    "a full-width digit": GOOD[:-1] + "\uff12",
    "an X25519 key": "did:key:z" + base58_encode(b"\xec\x01" + bytes(range(32))),
    "a P-256 key": "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169",
    "a key of 31 bytes": "did:key:z" + base58_encode(b"\xed\x01" + bytes(range(31))),
    "a key of 33 bytes": "did:key:z" + base58_encode(b"\xed\x01" + bytes(range(33))),
    "the prefix unvarinted": "did:key:z" + base58_encode(b"\xed\x00" + bytes(range(32))),
}


@pytest.mark.parametrize("text", BAD_DIDS.values(), ids=BAD_DIDS)
def test_what_is_no_did_of_ours_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_did(text, "issuer")
    assert caught.value.field == "issuer"


@HOSTILE
@given(st.text(max_size=60) | st.text(ALPHABET, min_size=47, max_size=47).map("did:key:z".__add__))
def test_any_text_is_a_did_in_its_one_form_or_refused(text: str) -> None:
    try:
        public = key_of(text)
    except InvalidInput:
        return
    assert did_of(public) == text


def test_only_the_recipient_opens_what_is_sealed() -> None:
    recipient, other = BoxKey.from_seed(bytes(32)), BoxKey.from_seed(b"\x01" * 32)
    for content in (b"", b"a document", bytes(100_000)):
        sealed = seal(content, recipient.public)
        assert recipient.open(sealed) == content
        assert content == b"" or content not in sealed
        with pytest.raises(InvalidInput):
            other.open(sealed)
    assert seal(b"same", recipient.public) != seal(b"same", recipient.public)


def test_changed_and_cut_boxes_do_not_open() -> None:
    recipient = BoxKey.from_seed(bytes(32))
    sealed = seal(b"a document", recipient.public)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(InvalidInput):
            recipient.open(bytes(changed))
        with pytest.raises(InvalidInput):
            recipient.open(sealed[:place])


@HOSTILE
@given(st.binary(max_size=120))
def test_random_bytes_do_not_open(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        BoxKey.from_seed(bytes(32)).open(data)


@pytest.mark.parametrize("recipient", [bytes(32), b"\x01" + bytes(31)], ids=["zero", "one"])
def test_a_key_that_nothing_can_be_sealed_to_is_invalid_input(recipient: bytes) -> None:
    """A member card can carry any 32 bytes: X25519 points of small order (RFC 7748, 6.1) seal nothing."""
    with pytest.raises(InvalidInput):
        seal(b"a document", EncryptionKey(recipient))
