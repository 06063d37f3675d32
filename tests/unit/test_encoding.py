"""Canonical MessagePack: what the profile refuses, and hostile bytes into every typed decoder."""

from __future__ import annotations

import enum
import hashlib
import struct
import tracemalloc
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credchain.certificates import ValidatorSet
from credchain.encoding import (
    Fields,
    Value,
    check_ascending,
    check_text,
    decode,
    digest,
    encode,
    printable,
    unpack,
)
from credchain.errors import InvalidInput
from credchain.limits import LIMITS
from tests.unit.credential_helpers import HOSTILE, Sample, samples

SAMPLES = samples()
each_decoder = pytest.mark.parametrize("sample", SAMPLES, ids=[each.name for each in SAMPLES])


def read_one(shape: str) -> Callable[[bytes], Any]:
    """A decoder of ``{"v": …}`` with one accessor of `Fields`, by name."""

    def read(fields: Fields) -> Any:
        if shape == "nested":
            return fields.nested("v", lambda inner: inner.integer("w"))
        if shape == "texts":
            return fields.texts("v", at_most=3)
        if shape == "maps":
            return fields.maps("v", lambda inner: inner.integer("w"), at_most=3)
        return getattr(fields, shape)("v")

    def write(value: Any) -> Value:
        if value is None:
            return {}
        written: dict[str, Callable[[Any], Value]] = {
            "nested": lambda inner: {"w": inner},
            "texts": list,
            "maps": lambda items: [{"w": item} for item in items],
        }
        return {"v": written[shape](value) if shape in written else value}

    return lambda data: decode(data, read, write, "thing")


def packed(value: Any) -> bytes:
    """MessagePack of ``{"v": value}`` by the msgpack package, whatever our profile says."""
    result: bytes = msgpack.packb({"v": value}, use_bin_type=True)
    return result


OUTSIDE = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
UNICODE_3_2 = unicodedata.ucd_3_2_0

safe_text = st.text(
    st.characters(exclude_categories=("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")).filter(
        lambda character: UNICODE_3_2.category(character) not in OUTSIDE
    ),
    max_size=30,
).map(lambda text: UNICODE_3_2.normalize("NFC", text))
scalars = st.booleans() | st.integers(0, 2**53 - 1) | st.binary(max_size=40) | safe_text
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(safe_text, inner, max_size=4),
    max_leaves=12,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def plain(value: Any) -> Any:
    """The same value with maps in the order of their UTF-8 keys, recursively."""
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in sorted(value, key=str.encode)}
    return [plain(item) for item in value] if isinstance(value, list) else value


@HOSTILE
@given(values)
def test_every_value_of_the_profile_comes_back_from_an_independent_reader(value: Any) -> None:
    if depth(value) > 8:
        with pytest.raises(InvalidInput, match="nested deeper"):
            encode(value)
        return
    data = encode(value)
    assert msgpack.unpackb(data, raw=False) == value
    assert unpack(data, "value") == value
    assert data == msgpack.packb(plain(value), use_bin_type=True)


@HOSTILE
@given(st.dictionaries(safe_text, st.integers(0, 300), min_size=2, max_size=6), st.randoms())
def test_the_order_in_which_a_map_was_filled_does_not_show(value: dict[str, Value], random: Any) -> None:
    names = list(value)
    random.shuffle(names)
    assert encode({name: value[name] for name in names}) == encode(value)


def test_a_digest_is_sha256_over_purpose_zero_and_data() -> None:
    assert digest("header", b"data") == hashlib.sha256(b"credchain/v1/header\x00data").digest()


def test_digests_of_two_purposes_differ_even_where_the_bytes_run_on() -> None:
    assert digest("tx", b"-leaf") != digest("tx-leaf", b"")


class _Number(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.0,
        float("nan"),
        -1,
        2**53,
        10**400,
        (1, 2),
        {1, 2},
        bytearray(b"x"),
        memoryview(b"x"),
        _Number.ONE,
        {1: 2},
        {b"a": 1},
        {None: 1},
        {"a": None},
        [[1.5]],
        msgpack.Timestamp(1),
        msgpack.ExtType(5, b"x"),
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_encode_refuses_what_the_profile_lacks(value: Any) -> None:
    with pytest.raises(InvalidInput):
        encode(value)


def test_encode_names_the_field_that_is_wrong() -> None:
    with pytest.raises(InvalidInput) as caught:
        encode({"outer": [{"inner": -1}]})
    assert caught.value.field == "inner"


@pytest.mark.parametrize("container", ["list", "map"])
def test_eight_levels_are_the_most(container: str) -> None:
    value: Value = 1
    for _ in range(8):
        value = [value] if container == "list" else {"v": value}
    assert encode(value)[-1] == 1
    with pytest.raises(InvalidInput, match="nested deeper than 8"):
        encode([value])


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidInput, match="nested deeper"):
        encode(endless)


FORBIDDEN = [chr(point) for point in (*range(0x20), *range(0x7F, 0xA0))] + list(
    "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def test_no_control_separator_or_direction_character_is_text() -> None:
    refused = []
    for character in FORBIDDEN:
        with pytest.raises(InvalidInput, match=f"U\\+{ord(character):04X}") as caught:
            check_text(f"Dr. {character} Navarro", "name")
        refused.append(caught.value.field)
    assert refused == ["name"] * len(FORBIDDEN)


@pytest.mark.parametrize("position", ["", "a", "é"])
def test_a_forbidden_character_is_found_anywhere_in_a_text(position: str) -> None:
    for character in ("\n", "\x1b", "\u202e"):
        for text in (position + character, character + position):
            with pytest.raises(InvalidInput):
                encode({"v": text})
            with pytest.raises(InvalidInput):
                encode({text: 1})


def test_ordinary_names_are_text() -> None:
    for text in (
        *("", "Elena Navarro", "José Núñez", "李小龍", "Ελένη", "שרה", "محمد", "O’Neil–Smith", "김민준"),
        *("Đặng Thị Hạnh", "Weiß", "Groß-Gerau", "Ōe", "Šķēle", "Œuvre", "प्रिया", "山田　太郎"),
    ):
        assert check_text(text, "name") == text
        assert unpack(encode({text: text}), "value") == {text: text}


NEWER: dict[str, str] = {
    "\u0221": "4.0, beside U+0220 of 3.2",
    "\u1e9e": "5.1, capital sharp s",
    "\u20ba": "6.0, a currency sign",
    "\u061c": "6.3, a direction mark",
    "\U00010000": "4.0, beyond the basic plane",
    "\U0001f600": "6.1, an emoji",
    "\U0001fae8": "15.0, an emoji",
    "\U00010efd": "15.0, a combining mark",
    "\u0378": "in no version so far",
    "\ufdd0": "never: a noncharacter",
    "\ufffe": "never: a noncharacter",
    "\U0001ffff": "never: a noncharacter",
    "\U0010ffff": "never: a noncharacter",
}
PRIVATE = ["\ue000", "\uf8ff", "\U000f0000", "\U0010fffd"]
INVISIBLE = list("\u200b\u200c\u200d\u2060\u2061\u206f\ufeff\u180e\u070f\u06dd\ufff9\U000e0001\U000e0041")


@pytest.mark.parametrize("character", [*NEWER, *PRIVATE, *INVISIBLE], ids=ascii)
def test_what_unicode_3_2_does_not_assign_or_show_is_not_text(character: str) -> None:
    for text in (character, f"a{character}", f"é{character}é", f"{character}李"):
        with pytest.raises(InvalidInput, match=f"U\\+{ord(character):04X}") as caught:
            check_text(text, "name")
        assert caught.value.field == "name"
        assert caught.value.message.isprintable()
        for value in (text, [text], {text: 1}, {"v": {"w": text}}):
            with pytest.raises(InvalidInput):
                encode(value)
        with pytest.raises(InvalidInput):
            read_one("text")(packed(text))
        with pytest.raises(InvalidInput):
            read_one("texts")(packed([text]))


def test_the_soft_hyphen_is_not_text() -> None:
    """Invisible like U+200B, and like it no format character in Unicode 3.2: Pd there, Cf since 4.0."""
    with pytest.raises(InvalidInput, match=r"U\+00AD"):
        check_text("Navar\u00adro", "name")


def test_unicode_3_2_is_the_last_version_that_counts() -> None:
    """U+0220 and U+20B1 came with 3.2, U+10400 (beyond the basic plane) with 3.1."""
    for character in ("\u0220", "\u20b1", "\U00010400", "\U00020000"):
        assert check_text(character, "name") == character


def test_every_character_is_judged_by_its_category_in_unicode_3_2() -> None:
    """All of Unicode, so that no block is forgotten; a later version may only hide, never show."""
    accepted, wrong = 0, []
    for point in range(0x110000):
        character = chr(point)
        try:
            check_text(character, "name")
        except InvalidInput:
            continue
        accepted += 1
        if UNICODE_3_2.category(character) in OUTSIDE or character == "\u200b":
            wrong.append(point)
        if unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs", "Zl", "Zp"):
            wrong.append(point)
    assert wrong == []
    assert 90_000 < accepted < 95_156  # Unicode 3.2 has 95,156 characters, controls not counted


@pytest.mark.parametrize(
    "text", ["e\u0301", "\u212b", "\u1100\u1161", "a\u0323\u0307\u0301"[::-1] + "a\u0301"]
)
def test_text_must_be_in_normalization_form_c(text: str) -> None:
    with pytest.raises(InvalidInput, match="normalization form C"):
        check_text(text, "name")


def test_text_is_judged_alike_under_every_supported_python() -> None:
    """U+10EFD is unassigned in Unicode 14 (Python 3.11) and a combining mark of class 220 since 15.

    So this text is in NFC under Python 3.11 and not under 3.12: nodes would disagree on a transaction.
    """
    with pytest.raises(InvalidInput):
        check_text("b\u0301\U00010efd", "name")


class _EarlyPython:
    """`ucd_3_2_0` where its `is_normalized` answers False for everything (CPython issue 101372)."""

    category = staticmethod(UNICODE_3_2.category)
    normalize = staticmethod(UNICODE_3_2.normalize)

    @staticmethod
    def is_normalized(form: str, text: str) -> bool:
        return False


def test_text_is_judged_alike_before_pythons_repair_of_is_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credchain.encoding._UNICODE", _EarlyPython)
    assert check_text("José Núñez", "name") == "José Núñez"
    with pytest.raises(InvalidInput, match="normalization form C"):
        check_text("Jose\u0301", "name")


def test_half_a_surrogate_pair_is_not_text() -> None:
    for text in ("\ud800", "a\udfff", "\udc00\ud800"):
        with pytest.raises(InvalidInput, match="surrogate"):
            encode(text)


def test_the_length_of_text_counts_its_bytes() -> None:
    assert check_text("é" * 5, "name", max_bytes=10) == "é" * 5
    with pytest.raises(InvalidInput, match="12 bytes long, at most 10"):
        check_text("é" * 6, "name", max_bytes=10)


# One entry per rule of the profile: MessagePack bytes written by hand from the MessagePack
# specification, each the value of {"v": …}; `tests/vectors/encoding.json` has the whole maps.
V = b"\x81\xa1v"
WRONG: dict[str, list[tuple[str, bytes]]] = {
    "integer": [
        ("true for one", b"\xc3"),
        ("nil", b"\xc0"),
        ("float32 zero", b"\xca" + bytes(4)),
        ("float64 one", b"\xcb" + struct.pack(">d", 1.0)),
        ("not a number", b"\xcb" + struct.pack(">d", float("nan"))),
        ("minus one", b"\xff"),
        ("int8 minus one", b"\xd0\xff"),
        ("int64 minimum", b"\xd3\x80" + bytes(7)),
        ("int8 one", b"\xd0\x01"),
        ("int64 one", b"\xd3" + bytes(7) + b"\x01"),
        ("uint8 one", b"\xcc\x01"),
        ("uint16 one", b"\xcd\x00\x01"),
        ("uint16 255", b"\xcd\x00\xff"),
        ("uint32 one", b"\xce\x00\x00\x00\x01"),
        ("uint64 one", b"\xcf" + bytes(7) + b"\x01"),
        ("2^53", b"\xcf\x00\x20" + bytes(6)),
        ("2^64 - 1", b"\xcf" + b"\xff" * 8),
        ("text", b"\xa11"),
        ("list", b"\x91\x01"),
        ("extension", b"\xd4\x05\x00"),
        ("timestamp 32", b"\xd6\xff" + bytes(4)),
        ("timestamp 64", b"\xd7\xff" + bytes(8)),
        ("timestamp 96", b"\xc7\x0c\xff" + bytes(12)),
        ("timestamp of a wrong length", b"\xd5\xff\x00\x00"),
        ("the unused byte c1", b"\xc1"),
    ],
    "boolean": [
        ("zero", b"\x00"),
        ("one", b"\x01"),
        ("nil", b"\xc0"),
        ("text", b"\xa4true"),
    ],
    "binary": [
        ("text", b"\xa1x"),
        ("bin16 for one byte", b"\xc5\x00\x01x"),
        ("bin32 for one byte", b"\xc6\x00\x00\x00\x01x"),
        ("length beyond the end", b"\xc6\xff\xff\xff\xffx"),
    ],
    "text": [
        ("bytes", b"\xc4\x01x"),
        ("str8 for one byte", b"\xd9\x01x"),
        ("str16 for one byte", b"\xda\x00\x01x"),
        ("str32 for one byte", b"\xdb\x00\x00\x00\x01x"),
        ("half a surrogate pair", b"\xa3\xed\xa0\x80"),
        ("overlong UTF-8", b"\xa2\xc1\xa1"),
        ("not UTF-8", b"\xa1\xff"),
        ("cut UTF-8", b"\xa1\xc3"),
        ("decomposed é", b"\xa3e\xcc\x81"),
        ("escape", b"\xa1\x1b"),
        ("right-to-left override", b"\xa3\xe2\x80\xae"),
        ("U+1F600, an emoji after Unicode 3.2", b"\xa4\xf0\x9f\x98\x80"),
        ("U+1E9E, a letter after Unicode 3.2", b"\xa3\xe1\xba\x9e"),
        ("U+E000, private use", b"\xa3\xee\x80\x80"),
        ("U+200B, zero width space", b"\xa3\xe2\x80\x8b"),
        ("U+FFFE, a noncharacter", b"\xa3\xef\xbf\xbe"),
        ("length beyond the end", b"\xdb\xff\xff\xff\xffx"),
    ],
    "texts": [
        ("text", b"\xa1a"),
        ("descending", b"\x92\xa1b\xa1a"),
        ("twice the same", b"\x92\xa1a\xa1a"),
        ("one too many", b"\x94\xa1a\xa1b\xa1c\xa1d"),
        ("a number inside", b"\x92\xa1a\x01"),
        ("array16 for one", b"\xdc\x00\x01\xa1a"),
        ("array32 for one", b"\xdd\x00\x00\x00\x01\xa1a"),
        ("length beyond the end", b"\xdd\xff\xff\xff\xff\xa1a"),
    ],
    "nested": [
        ("a list", b"\x91\x01"),
        ("empty", b"\x80"),
        ("an unknown field", b"\x82\xa1w\x01\xa1x\x01"),
        ("map16 for one", b"\xde\x00\x01\xa1w\x01"),
        ("map32 for one", b"\xdf\x00\x00\x00\x01\xa1w\x01"),
        ("a key twice", b"\x82\xa1w\x01\xa1w\x01"),
        ("a key of bytes", b"\x81\xc4\x01w\x01"),
        ("a key of an integer", b"\x81\x01\x01"),
        ("a key of a list", b"\x81\x90\x01"),
        ("a key of nil", b"\x81\xc0\x01"),
        ("length beyond the end", b"\xdf\xff\xff\xff\xff\xa1w\x01"),
    ],
    "maps": [
        ("a number inside", b"\x91\x01"),
        ("an unknown field inside", b"\x91\x82\xa1w\x01\xa1x\x01"),
        ("one too many", b"\x94" + b"\x81\xa1w\x01" * 4),
    ],
    "digest": [("31 bytes", b"\xc4\x1f" + b"d" * 31), ("33 bytes", b"\xc4\x21" + b"d" * 33)],
    "optional_integer": [("nil for absent", b"\xc0"), ("false", b"\xc2")],
    "optional_text": [("nil for absent", b"\xc0")],
    "optional_digest": [("nil for absent", b"\xc0"), ("empty", b"\xc4\x00")],
}


@pytest.mark.parametrize(
    ("shape", "reason", "data"),
    [(shape, reason, V + data) for shape, cases in WRONG.items() for reason, data in cases],
)
def test_decode_refuses_what_the_profile_lacks(shape: str, reason: str, data: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_one(shape)(data)


RIGHT: list[tuple[str, bytes, Any]] = [
    ("integer", b"\x7f", 127),
    ("integer", b"\xcc\x80", 128),
    ("integer", b"\xcf\x00\x1f" + b"\xff" * 6, 2**53 - 1),
    ("boolean", b"\xc2", False),
    ("binary", b"\xc4\x00", b""),
    ("text", b"\xa2\xc3\xa9", "é"),
    ("texts", b"\x92\xa1a\xa1b", ("a", "b")),
    ("nested", b"\x81\xa1w\x05", 5),
    ("maps", b"\x91\x81\xa1w\x05", (5,)),
    ("optional_integer", b"\x00", 0),
]


@pytest.mark.parametrize(("shape", "data", "value"), RIGHT)
def test_the_same_decoders_accept_the_canonical_form(shape: str, data: bytes, value: Any) -> None:
    found = read_one(shape)(V + data)
    assert found == value
    assert type(found) is type(value)


def test_an_absent_optional_field_is_none_and_a_required_one_is_named() -> None:
    assert read_one("optional_integer")(b"\x80") is None
    with pytest.raises(InvalidInput, match=r"thing\.v is missing") as caught:
        read_one("integer")(b"\x80")
    assert caught.value.field == "thing.v"


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_one("integer")(b"\x82\xa1v\x01\xa1w\x01")
    assert caught.value.message == "thing.w is not a known field"
    assert caught.value.field == "thing.w"
    with pytest.raises(InvalidInput) as caught:
        read_one("nested")(V + b"\x82\xa1w\x01\xa1x\x01")
    assert caught.value.message == "thing.v.x is not a known field"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb", "a\\nb"),
        ("\u202ea", "\\u202ea"),
        ("é", "\\xe9"),
        ("\U0001f600", "\\U0001f600"),
        ("k" * 1_000, "k" * 60),
        ("\U0001f600" * 1_000, "\\U0001f600" * 60),
        ("", ""),
    ],
    ids=lambda text: ascii(text[:8]),
)
def test_an_unknown_field_is_named_printably_and_in_short(name: str, shown: str) -> None:
    assert printable(name) == shown
    for data in (b"\x82\xa1v\x01", b"\x82\xa1v\x81\xa1w\x01"):
        with pytest.raises(InvalidInput) as caught:
            shape = "integer" if len(data) == 4 else "nested"
            read_one(shape)(data + msgpack.packb(name) + b"\x01")
        assert caught.value.message == f"thing.{shown} is not a known field"
        assert caught.value.field == f"thing.{shown}"


@HOSTILE
@given(st.text(max_size=80))
def test_any_text_is_printable_in_an_error(text: str) -> None:
    assert printable(text).isascii()
    assert printable(text).isprintable() or not printable(text)
    assert len(printable(text)) <= 600


@dataclass(frozen=True)
class Pair:
    a: int
    b: int


def read_pair(data: bytes) -> Pair:
    return decode(
        data,
        lambda fields: Pair(fields.integer("a"), fields.integer("b")),
        lambda pair: {"a": pair.a, "b": pair.b},
        "pair",
    )


def test_a_map_has_one_order_and_each_key_once() -> None:
    assert read_pair(b"\x82\xa1a\x01\xa1b\x02") == Pair(1, 2)
    for data in (
        b"\x82\xa1b\x02\xa1a\x01",
        b"\x83\xa1a\x01\xa1a\x01\xa1b\x02",
        b"\x83\xa1a\x07\xa1b\x02\xa1a\x01",
    ):
        with pytest.raises(InvalidInput):
            read_pair(data)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x90", b"\xc0", b"\xa1v", b"\xc4\x00", b"\xc1", V])
def test_only_a_whole_map_is_a_value(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_one("integer")(data)


def test_trailing_and_missing_bytes_are_refused() -> None:
    good = V + b"\xcd\x01\x00"
    assert read_one("integer")(good) == 256
    for data in (good + b"\x00", good + good, *(good[:end] for end in range(len(good)))):
        with pytest.raises(InvalidInput):
            read_one("integer")(data)


def test_more_bytes_than_allowed_are_refused_before_they_are_read() -> None:
    with pytest.raises(InvalidInput, match="at most 10"):
        unpack(b"\xc1" * 11, "thing", max_bytes=10)


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1a", b"\xdc\x00\x01", b"\xde\x00\x01\xa1a"])
@pytest.mark.parametrize("levels", [9, 500, 1100, 100_000])
def test_deep_nesting_is_refused_as_a_value_and_as_a_field(opening: bytes, levels: int) -> None:
    bomb = opening * levels + b"\x00"
    for data in (bomb, V + bomb, b"\x82\xa1a" + bomb + b"\xa1v\x00"):
        with pytest.raises(InvalidInput):
            read_one("integer")(data)


def test_lists_that_mean_sets_ascend_strictly() -> None:
    check_ascending([b"a", b"aa", b"b"], "names")
    for wrong in ([b"b", b"a"], [b"a", b"a"], [b"a", b"b", b"ab"]):
        with pytest.raises(InvalidInput, match="ascending") as caught:
            check_ascending(wrong, "names")
        assert caught.value.field == "names"


def test_ascending_is_by_utf8_bytes_not_by_utf16_units() -> None:
    # U+FF21 is EF BC A1, U+10400 is F0 90 90 80; in UTF-16 the latter (D801 DC00) comes first.
    data = packed(["\uff21", "\U00010400"])
    assert read_one("texts")(data) == ("\uff21", "\U00010400")
    with pytest.raises(InvalidInput, match="ascending"):
        read_one("texts")(packed(["\U00010400", "\uff21"]))


# Hostile bytes into every typed decoder: a value whose encoding is these very bytes, or InvalidInput.


def refused_or_canonical(sample: Sample, data: bytes) -> bool:
    """True if the bytes were accepted; then they must be the one encoding of what they mean."""
    try:
        again = sample.again(data)
    except InvalidInput:
        return False
    assert again == data
    return True


@each_decoder
def test_a_valid_encoding_is_read_and_written_back(sample: Sample) -> None:
    assert refused_or_canonical(sample, sample.encoded)


@each_decoder
def test_random_bytes_are_refused(sample: Sample) -> None:
    @HOSTILE
    @given(st.binary(max_size=120))
    def attack(data: bytes) -> None:
        assert not refused_or_canonical(sample, data)

    attack()


anything = st.recursive(
    scalars
    | st.none()
    | st.floats()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abvk", max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@each_decoder
def test_a_field_replaced_by_anything_is_refused_or_canonical(sample: Sample) -> None:
    fields = msgpack.unpackb(sample.encoded, raw=False)

    @HOSTILE
    @given(st.sampled_from(sorted(fields)), anything)
    def attack(name: str, value: Any) -> None:
        refused_or_canonical(sample, msgpack.packb({**fields, name: value}, use_bin_type=True))
        assert not refused_or_canonical(
            sample, msgpack.packb({**fields, f"{name}_": value}, use_bin_type=True)
        )

    attack()


@each_decoder
def test_changed_cut_and_stretched_bytes_are_refused_or_canonical(sample: Sample) -> None:
    good = sample.encoded
    places = st.integers(0, len(good) - 1)

    @HOSTILE
    @given(places, st.integers(0, 255), places, st.integers(0, 40), st.binary(max_size=6))
    def attack(place: int, byte: int, start: int, length: int, inserted: bytes) -> None:
        refused_or_canonical(sample, good[:place] + bytes([byte]) + good[place + 1 :])
        refused_or_canonical(sample, good[:start] + inserted + good[start + length :])
        assert not refused_or_canonical(sample, good[:place])
        assert not refused_or_canonical(sample, good + inserted + b"\x00")

    attack()


@each_decoder
def test_every_single_byte_change_is_refused_or_canonical(sample: Sample) -> None:
    accepted = 0
    for place in range(min(len(sample.encoded), 700)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(sample.encoded)
            changed[place] ^= flip
            accepted += refused_or_canonical(sample, bytes(changed))
    assert accepted < min(len(sample.encoded), 700) * 3


def _peak_ratio(data: bytes) -> float:
    """Peak of traced memory while a typed decoder refuses the bytes, over their number."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput):
            ValidatorSet.decode(data)
        return tracemalloc.get_traced_memory()[1] / len(data)
    finally:
        tracemalloc.stop()


_OPEN = b"\x81\xaavalidators"

BOMBS: dict[str, bytes] = {
    "lists that declare far more than follows": _OPEN
    + (b"\xdd\x00\x00\xff\xff" * 1000).ljust(65_536, b"\x00"),
    "maps that declare far more than follows": _OPEN + b"\xdf\x00\x00\x7f\xff\xa1a" * 1000,
    "one list of 2^32-1 items": _OPEN + b"\xdd\xff\xff\xff\xff" + bytes(65_536),
    "bytes of 2^32-1": _OPEN + b"\xc6\xff\xff\xff\xff" + bytes(65_536),
    "many empty lists": _OPEN + b"\xdd\x00\x01\x00\x00" + b"\x90" * 65_536,
    "many empty maps": _OPEN + b"\xdd\x00\x01\x00\x00" + b"\x80" * 65_536,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_memory_stays_within_a_hundred_times_the_input(bomb: bytes) -> None:
    assert _peak_ratio(bomb) < 100


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x82\xa1v\x01\xa8\x1b[2J\x1b]0;\x01", id="an unknown field"),
        pytest.param(b"\x82\xa4\x1b[2J\x01\xa4\x1b[2J\x01", id="a key twice"),
        pytest.param(b"\x82\xa1v\x01\xdb\x00\x0f\x42\x40" + b"k" * 1_000_000 + b"\x01", id="a long key"),
    ],
)
def test_an_error_repeats_no_terminal_escape_and_no_megabyte(data: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_one("integer")(data)
    for part in (caught.value.message, caught.value.field, caught.value.hint):
        assert part.isprintable()
        assert len(part) < 1_000


def test_limits_are_those_of_the_protocol() -> None:
    assert (LIMITS.depth, LIMITS.max_integer) == (8, 9_007_199_254_740_991)
